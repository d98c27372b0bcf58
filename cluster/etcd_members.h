/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How each member of an etcd is, as it says itself: one question to every address of
 * `catalog` at the same time. Nothing goes through raft, so members answer also when they
 * have no majority. Sans-I/O: calls go out through a sink of its own, answers come in as
 * events. Owner thread: any.
 */
#ifndef VMS_ETCD_MEMBERS_H
#define VMS_ETCD_MEMBERS_H

#include "cluster/catalog_etcd_http.h"

#define VMS_ETCD_MEMBERS_MS 2000u /* then a member counts as away */
#define VMS_ETCD_ALARMS_MAX 32u

enum vms_etcd_alarm_kind { VMS_ETCD_NOSPACE, VMS_ETCD_CORRUPT, VMS_ETCD_ALARM };

struct vms_etcd_member {
	bool told;   /* its answer, or that there is none, has come */
	bool up;     /* it answers */
	bool leader; /* and has a leader: it is one of a majority */
	uint64_t id; /* 0: not known */
	uint64_t revision;
	char version[24];
	char why[200]; /* it does not answer */
};

struct vms_etcd_members {
	unsigned n;
	struct vms_etcd_member m[VMS_ETCD_ENDPOINTS_MAX]; /* in the order of the addresses */
	unsigned nalarms;
	struct {
		uint64_t id; /* of the member that is meant */
		enum vms_etcd_alarm_kind kind;
	} alarm[VMS_ETCD_ALARMS_MAX];
};

/* Asks n members; the ids of the calls are 1 to n. */
void vms_etcd_members_ask(struct vms_etcd_members *m, unsigned n, const struct vms_etcd_sink *sink);
/* True: all have answered, or never will. */
bool vms_etcd_members_event(struct vms_etcd_members *m, const struct vms_etcd_event *ev);
/* How many more may be lost before nothing can be changed any more; -1: that is so now. */
int vms_etcd_members_spare(const struct vms_etcd_members *m);
/* Which of the addresses it is; n: none of them. */
unsigned vms_etcd_members_find(const struct vms_etcd_members *m, uint64_t id);

#endif
