/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to sim_admin.c and the files of its jobs: the jobs of the tools. */
#ifndef SIM_ADMIN_INT_H
#define SIM_ADMIN_INT_H

#include "tests/sim/sim_int.h"

#define ADM_POLL_US 20000u

enum step {
	IDLE,
	SNAP_GET,
	SNAP_INTENT,
	SNAP_OPENS,
	SNAP_STOPPED,
	SNAP_FLOOR,
	SNAP_RELEASE,
	SNAP_RELEASED,
	SNAP_COMPLETE,
	SNAP_CHECK,
	SNAP_READ,
	DROP_GET,
	DROP_SNAPS,
	DROP_ACKS,
	DROP_TXN,
	CLONE_SNAP,
	CLONE_BRANCH,
	CLONE_CLUSTER,
	CLONE_TXN,
	CLONE_CHECK,
	CLONE_FLOOR,
	BACK_CLOSE,
	BACK_GET,
	BACK_SNAP,
	BACK_BRANCH,
	BACK_CLUSTER,
	BACK_TXN,
	BACK_FLOOR_OLD,
	BACK_FLOOR_NEW,
	BACK_FINISH,
	BACK_CHECK,
	DELS_READ,
	DELS_CLOSE,
	DELS_GET,
	DELS_TXN,
	DELV_CLOSE,
	DELV_GET,
	DELV_BRANCH,
	DELV_TXN,
	EMPTY_SNAPS,
	EMPTY_VOLUMES,
	EMPTY_BRANCHES,
	EMPTY_TXN,
	EMPTY_DONE,
	SIZE_GET,
	SIZE_SNAPS,
	SIZE_BRANCH,
	SIZE_STOP,
	SIZE_OPENS,
	SIZE_STOPPED,
	SIZE_RELEASE,
	SIZE_RELEASED,
	SIZE_OVER,
	SIZE_FLOOR,
	SIZE_TRIM,
	SIZE_READY,
	SIZE_CHECK,
};

struct kv {
	char key[VMS_CAT_KEY_BYTES_MAX];
	char *val;
	uint64_t mod;
};
struct sim_admin {
	struct proc *p;
	enum step step;
	bool asked, answered;
	int status;
	VMS_VEC(struct kv) kv; /* the answer */
	uint64_t again_us;     /* not before */
	uint64_t next_job_us, since_us;
	unsigned nsnaps, nclones;
	/* of the job */
	unsigned vol; /* snapshot or clone it is about */
	uint64_t vol_id;
	struct vms_cat_volume v;
	uint64_t vrev;
	struct vms_cat_snap s;
	uint64_t srev;
	struct vms_cat_branch b, parent;
	struct vms_cat_cluster cl;
	uint64_t clrev, brev;
	uint32_t gw[32]; /* that have the volume open */
	unsigned ngw;
	uint64_t begin_us, end_us;
	uint64_t seen_barrier, seen_us; /* the barrier met when it was somebody else's */
	VMS_VEC(struct kv) doomed;	/* keys to be deleted or branches to die */
	/* nodes */
	uint64_t conn[SIM_NODES_MAX + 1];
	bool up[SIM_NODES_MAX + 1];
	uint32_t led[SIM_NODES_MAX + 1]; /* partitions it leads, as it was asked */
	uint32_t floored;		 /* partitions whose primary has answered */
	uint64_t req[SIM_NODES_MAX + 1], next_req;
	/* a new size */
	uint64_t size_bytes, old_bytes, trim_mod;
	bool trimming;
	/* auditor */
	unsigned at;
	bool reading;
};

/* Calls of the catalog: the step is entered again with the answer in a->status, a->kv. */
void adm_get(struct sim_admin *a, const char *key);
void adm_range(struct sim_admin *a, const char *prefix);
void adm_txn(struct sim_admin *a, const struct vms_cat_cmp *cmp, unsigned nc,
	     const struct vms_cat_op *op, unsigned no);
struct vms_cat_kv adm_kv(const struct sim_admin *a, size_t i);
void adm_volume_get(struct sim_admin *a, const char *name);
bool adm_volume_got(struct sim_admin *a); /* false: not there */
/* Volume 0 is read, and nobody's barrier is on it; an old one is dropped. False: the step is
 * entered again, or another one. */
bool adm_volume_free(struct sim_admin *a);
/* Who has the volume open, into gw, then the step `next`; without an answer the barrier is given
 * up. */
void adm_opens(struct sim_admin *a, enum step next);
void adm_ack_prefix(struct sim_admin *a, char *out);

void adm_go(struct sim_admin *a, enum step step);
void adm_later(struct sim_admin *a, uint64_t us); /* the same step again */
void adm_end(struct sim_admin *a);
/* FLOOR with the volume's numbers, or its tail's TRIM, at the primary of every partition. */
bool adm_floors(struct sim_admin *a, uint64_t branch);

/* The snapshot or clone that the job is about; NULL: it is gone. */
struct sim_vol *adm_vol_of_job(struct sim_admin *a);
/* Room for another one, or NULL. */
struct sim_vol *adm_vol_free(struct sim *s);
/* Every used block of snapshot v, through whatever gateway has it; true: done. What
 * is read is compared as the answers come in. */
bool adm_audit(struct sim_admin *a, struct sim_vol *v);
void adm_doomed_clear(struct sim_admin *a);

/* sim_snap.c; drop: somebody else's barrier, that nobody ends */
void adm_snap_step(struct sim_admin *a);
void adm_drop_step(struct sim_admin *a);
/* sim_clone.c; back: the first volume to what a snapshot shows */
void adm_clone_step(struct sim_admin *a);
void adm_back_step(struct sim_admin *a);
/* sim_resize.c */
void adm_resize_step(struct sim_admin *a);

#endif
