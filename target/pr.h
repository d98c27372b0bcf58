/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Persistent reservations of one logical unit at one gateway.
 *
 * Registrations belong to I_T nexuses: (initiator port = iSCSI name and ISID,
 * relative target port). They outlive sessions and end with the process (APTPL is
 * refused). Not yet cluster state: the caller must not offer PERSISTENT RESERVE
 * OUT while another gateway has the volume open.
 *
 * Pure; owner: tgt's loop. Source: spc4r31 5.9, 6.15, 6.16.
 */
#ifndef VMS_PR_H
#define VMS_PR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "target/opcodes.h"
#include "target/sense.h"

#define VMS_PR_REGISTRATIONS_MAX 128u

/* An I_T nexus. Compared by content. */
struct vms_pr_nexus {
	char initiator[224]; /* iSCSI name */
	uint8_t isid[6];
	uint16_t target_port; /* relative target port identifier */
};

enum vms_pr_type {
	VMS_PR_NONE = 0,
	VMS_PR_WE = 1,
	VMS_PR_EA = 3,
	VMS_PR_WE_RO = 5,
	VMS_PR_EA_RO = 6,
	VMS_PR_WE_AR = 7,
	VMS_PR_EA_AR = 8,
};

struct vms_pr_registration {
	struct vms_pr_nexus nexus;
	uint64_t key;
};

struct vms_pr {
	uint32_t generation;
	unsigned n;
	struct vms_pr_registration *reg; /* n of them, owned; in order of registration */
	uint8_t type;			 /* enum vms_pr_type, 0: no reservation */
	int holder; /* index into reg[]; -1 with the all-registrants types */
};

void vms_pr_init(struct vms_pr *pr);
void vms_pr_free(struct vms_pr *pr);

/* Does a command of this access class conflict with the reservation? */
bool vms_pr_conflict(const struct vms_pr *pr, const struct vms_pr_nexus *nexus,
		     enum vms_access access);
/* Some nexus is registered: RESERVE/RELEASE conflict then (CRH 0). */
static inline bool vms_pr_any(const struct vms_pr *pr)
{
	return pr->n != 0;
}

/* What a PERSISTENT RESERVE OUT does to others; called before it returns. */
struct vms_pr_sink {
	void *ctx;
	/* Establish a unit attention for every session of this nexus. */
	void (*unit_attention)(void *ctx, const struct vms_pr_nexus *nexus, uint16_t asc);
	/* PREEMPT AND ABORT: its commands have to be settled before the answer. */
	void (*abort)(void *ctx, const struct vms_pr_nexus *nexus);
};

/* cdb: 10 bytes. list: list_bytes of parameter data that came. 0, or -1 with s
 * (which may be RESERVATION CONFLICT; nothing has changed then). */
int vms_pr_out(struct vms_pr *pr, const struct vms_pr_nexus *nexus, const uint8_t *cdb,
	       const uint8_t *list, uint32_t list_bytes, const struct vms_pr_sink *sink,
	       struct vms_sense *s);

/* Answer to PERSISTENT RESERVE IN, not cut to the allocation length; out has
 * VMS_PR_IN_BYTES_MAX. Its length or -1 with s. */
#define VMS_PR_IN_BYTES_MAX (8u + VMS_PR_REGISTRATIONS_MAX * 320u)
int vms_pr_in(const struct vms_pr *pr, const uint8_t *cdb, uint8_t *out, struct vms_sense *s);

#endif
