/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the two halves of the registry on a tgtd: tgt_registry.c makes here what the
 * cluster has, tgt_registry_adm.c turns what tgtadm asks for into records.
 */
#ifndef VMS_TGT_REGISTRY_INT_H
#define VMS_TGT_REGISTRY_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "tgtadm.h"

#include "target/reg_sync.h"
#include "target/tgt_registry.h"

/* A request of tgtadm. */
struct job {
	struct mgmt_task *mtask;
	struct tgtadm_req req;
	char *params;		 /* of req */
	struct vms_reg_entry *e; /* target */
	char name[256];		 /* of it */
	uint32_t tid;
	/* as registry_build() made them: */
	json_t *rec;   /* wanted; NULL: deleted */
	uint64_t base; /* revision of the record that it was made from */
	char *options; /* bsopts of the LUN it makes */
	uint64_t option_lun;
	int64_t since_ms;
	bool started, written;
	struct job *next;
};

/* It is done here, then written to the catalog, then answered; in turn. Takes j, which is
 * calloc'ed, with all it has. */
void registry_job(struct job *j);
void registry_job_free(struct job *j);
/* What it asks for, applied to the record as it is now: others may have changed that since
 * tgtadm asked. 0, or tgtadm's code with msg: it cannot be. */
int registry_build(struct job *j, struct vms_errmsg *msg);
struct vms_reg_sync *registry_sync(void);
/* The key that seals secrets; NULL: there is none. */
const uint8_t *registry_key(void);
/* Accounts of the mirror have changed: tgt follows. */
void registry_accounts(void);

#endif
