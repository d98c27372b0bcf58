/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reservations of one logical unit, persistent ones and RESERVE/RELEASE: a table, and
 * what a command makes of it. The table belongs to the cluster (record "pr/<uuid>",
 * pr_record.c); gateways carry each new one to all of them (gw_pr.c).
 *
 * Registrations belong to I_T nexuses: (initiator port = iSCSI name and ISID,
 * relative target port = number of the gateway). They outlive sessions, gateways and
 * restarts of everything. RESERVE belongs to one session of one process of a gateway.
 *
 * Pure. A step never changes the table it is given. Source: spc4r31 5.9, 6.15, 6.16;
 * SPC-2 for RESERVE and RELEASE.
 */
#ifndef VMS_PR_H
#define VMS_PR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/err.h"
#include "target/opcodes.h"
#include "target/sense.h"

#define VMS_PR_REGISTRATIONS_MAX 128u
/* Nexuses that one change concerns: those it removes, and those that stay. */
#define VMS_PR_EVENTS_MAX (2 * VMS_PR_REGISTRATIONS_MAX)

/* An I_T nexus. Compared by content. */
struct vms_pr_nexus {
	char initiator[224]; /* iSCSI name */
	uint8_t isid[6];
	uint16_t target_port; /* relative target port identifier */
};
bool vms_pr_same_nexus(const struct vms_pr_nexus *a, const struct vms_pr_nexus *b);

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

/* A session of one process of a gateway; gateway 0: nobody. */
struct vms_pr_owner {
	uint32_t gateway;
	uint64_t incarnation;
	uint64_t session;
};

/* What the change that made a table means for a nexus. */
struct vms_pr_event {
	struct vms_pr_nexus nexus;
	uint16_t asc; /* unit attention for its sessions, 0: none */
	bool abort;   /* PREEMPT AND ABORT: its commands are settled before the answer */
	bool all;     /* LOGICAL UNIT RESET, or CLEAR TASK SET (asc 0): every nexus but those of
		       * the gateway that did it, which has seen to them by itself; nexus means
		       * nothing */
};

struct vms_pr {
	uint64_t fence; /* number of this table, raised by each change; 0: there was none */
	uint32_t generation;
	unsigned n;
	struct vms_pr_registration *reg; /* n of them, owned; in order of registration */
	uint8_t type;			 /* enum vms_pr_type, 0: no reservation */
	int holder;			 /* index into reg[]; -1 with the all-registrants types */
	struct vms_pr_owner reserve;	 /* RESERVE(6/10) */
	bool held;		/* a reservation of either kind: commands have to be looked at */
	struct vms_pr_owner by; /* who made it, and its number among those of that process */
	bool pending;		/* the change is under way: not yet at all gateways */
	unsigned nevents;
	struct vms_pr_event *event; /* owned */
};

void vms_pr_init(struct vms_pr *pr);
void vms_pr_free(struct vms_pr *pr);
void vms_pr_copy(struct vms_pr *to, const struct vms_pr *from); /* to: uninitialised */

/* ---- may a command run? ---- */

struct vms_pr_who {
	const struct vms_pr_nexus *nexus;
	struct vms_pr_owner owner; /* its session */
};

/* The slow half of the two below. */
bool vms_pr_conflict(const struct vms_pr *pr, const struct vms_pr_who *who, enum vms_access access);
/* Does an access of this class to the logical unit conflict with a reservation? For
 * commands that touch another logical unit than the one they were sent to as well. */
static inline bool vms_pr_refuses(const struct vms_pr *pr, const struct vms_pr_who *who,
				  enum vms_access access)
{
	return __builtin_expect(pr->held, 0) && vms_pr_conflict(pr, who, access);
}
/* The same of a command by its entry in the table of commands, exceptions included. */
bool vms_pr_command_conflict(const struct vms_pr *pr, const struct vms_pr_who *who,
			     const struct vms_opcode *op, const uint8_t *cdb);
static inline bool vms_pr_refuses_command(const struct vms_pr *pr, const struct vms_pr_who *who,
					  const struct vms_opcode *op, const uint8_t *cdb)
{
	return __builtin_expect(pr->held, 0) && vms_pr_command_conflict(pr, who, op, cdb);
}

/* ---- changes ---- */

struct vms_pr_req {
	const uint8_t *cdb; /* PERSISTENT RESERVE OUT: 10 bytes; RESERVE, RELEASE */
	const uint8_t *list;
	uint32_t list_bytes; /* that came */
	struct vms_pr_who who;
	/* Target ports (ALL_TG_PT, REGISTER AND MOVE); the own one always counts. */
	const uint16_t *port;
	unsigned nports;
	/* Initiator ports that are known (SPEC_I_PT with a name alone). */
	const struct vms_pr_nexus *known;
	unsigned nknown;
};

/* Does a step of this command ask for all target ports? */
bool vms_pr_needs_ports(const uint8_t *cdb, const uint8_t *list, uint32_t list_bytes);

/* 0: GOOD, and the table stays as it is. 1: GOOD, once all gateways have the table
 * *next (to be freed), which is pending, with fence and by left for the caller. -1: s
 * (which may be RESERVATION CONFLICT). */
int vms_pr_step(const struct vms_pr *pr, const struct vms_pr_req *req, struct vms_pr *next,
		struct vms_sense *s);
/* LOGICAL UNIT RESET: RESERVE ends, and every other gateway ends the commands of its
 * sessions and tells them. 1 as above. */
int vms_pr_reset(const struct vms_pr *pr, struct vms_pr *next);
/* CLEAR TASK SET: every other gateway ends the commands of its sessions. 1 as above. */
int vms_pr_clear_tasks(const struct vms_pr *pr, struct vms_pr *next);
/* RESERVE ends with its session, its gateway, or a LOGICAL UNIT RESET, if it still is
 * this owner's. 0 or 1 as above. */
int vms_pr_reserve_end(const struct vms_pr *pr, const struct vms_pr_owner *owner,
		       struct vms_pr *next);

/* Answer to PERSISTENT RESERVE IN, not cut to the allocation length; out has
 * VMS_PR_IN_BYTES_MAX. Its length or -1 with s. */
#define VMS_PR_IN_BYTES_MAX (8u + VMS_PR_REGISTRATIONS_MAX * 320u)
int vms_pr_in(const struct vms_pr *pr, const uint8_t *cdb, uint8_t *out, struct vms_sense *s);

/* ---- the record (pr_record.c) ---- */

/* "pr/<uuid>", and "pr/<uuid>/<gateway>" of a gateway that has a table; out has
 * VMS_CAT_KEY_BYTES_MAX. */
void vms_pr_key(char *out, const uint8_t uuid[16]);
void vms_pr_key_ack(char *out, const uint8_t uuid[16], uint32_t gateway);
/* malloc'ed text; NULL: longer than the catalog takes. */
char *vms_pr_encode(const struct vms_pr *pr);
/* The same of what a change has made of the table before it; NULL also when it brings
 * new registrations and leaves no room for what later changes of all those tell. */
char *vms_pr_encode_next(const struct vms_pr *before, const struct vms_pr *next);
/* 0 or VMS_E_CORRUPT with msg; text NULL: an empty table. pr: uninitialised, to be freed
 * after success. */
int vms_pr_decode(struct vms_pr *pr, const char *key, const char *text, struct vms_errmsg *msg);

/* A gateway has taken the table with this number (and all before). */
struct vms_pr_ack {
	uint32_t gateway;
	uint64_t incarnation;
	uint64_t fence;
};
char *vms_pr_ack_encode(const struct vms_pr_ack *a);
int vms_pr_ack_decode(struct vms_pr_ack *a, const char *key, const char *text,
		      struct vms_errmsg *msg);

#endif
