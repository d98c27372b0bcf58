/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cluster's targets and accounts on this tgtd: what the catalog holds
 * (reg_sync.h) is made here step by step, and what this tgtd is told by tgtadm is
 * done here, then written to the catalog; if that fails, undone.
 *
 * Between the backing store (tgt_bs.h) and tgt. One per process, on tgt's loop. In two halves, see
 * tgt_registry_int.h.
 */
#ifndef VMS_TGT_REGISTRY_H
#define VMS_TGT_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/catalog.h"

struct mgmt_task;
struct tgtadm_req;
struct json_t;

/* End of a LUN's making or deletion; err: tgtadm's code, 0: done. why: borrowed. */
typedef void (*vms_lun_done_fn)(void *arg, int err, const char *why);

/* What tgt_bs_lun.c does for it. */
struct vms_reg_bs {
	/* Opens the volume and makes the LUN; options: bsopts text or NULL. done comes
	 * once, later or from inside the call. */
	void (*lun_new)(int tid, uint64_t lun, const char *volume, const char *options,
			vms_lun_done_fn done, void *arg);
	void (*lun_delete)(int tid, uint64_t lun, vms_lun_done_fn done, void *arg);
	/* That parameter of it has another value now. */
	void (*lun_param)(int tid, uint64_t lun, const char *name);
	/* All that was in the catalog has been made here, or has failed: initiators may
	 * come. */
	void (*settled)(void);
};

/* key_path: file of the key that seals secrets; NULL: accounts cannot be made. cat, bs:
 * borrowed. 0 or VMS_E_* with msg. */
int vms_registry_open(struct vms_catalog *cat, const char *key_path, const struct vms_reg_bs *bs,
		      struct vms_errmsg *msg);
void vms_registry_close(void);
bool vms_registry_active(void);
/* At each turn's end. */
void vms_registry_work(int64_t now_ms);
/* A request of tgtadm. As tgt_mgmt_hook; requests that concern this tgtd alone (other
 * backing stores, discovery accounts) are left to tgt. */
int vms_registry_mgmt(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params);
/* Is the target the cluster's, so on all gateways? *redirect: its policy. */
bool vms_registry_target(int tid, bool *redirect);
/* "vmstore" statistics: targets, accounts, what could not be made. New reference. */
struct json_t *vms_registry_json(void);

#endif
