/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to node_rig.c and node_rig_cat.c. */
#ifndef VMS_TESTS_NODE_RIG_INT_H
#define VMS_TESTS_NODE_RIG_INT_H

#include "tests/sim/node_rig.h"

/* An answer or event on its way (RE_CAT): for its owner, if that is the same process then. */
struct cat_answer {
	vms_cat_done_fn fn;
	void *arg;
	struct rig_node *owner;
	uint32_t life;
	struct vms_cat_reply re;
	struct vms_cat_kv kv[40];
	char keys[40][VMS_CAT_KEY_BYTES_MAX];
	char *vals[40];
};
struct late_txn; /* RE_TXN */

void rig_push(struct rig *r, uint64_t delay_us, struct rig_event e);

extern const struct vms_catalog_ops rig_cat_ops; /* of struct rig_cat */
/* NULL: not there */
struct rig_kv *rig_kv_find(struct rig *r, const char *key);
/* At the present revision, and told to those who watch; val NULL deletes. */
void rig_kv_set(struct rig *r, const char *key, const char *val);
/* Frees it; happens: after it was carried out. */
void rig_cat_late_end(struct rig *r, struct late_txn *t, bool happens);
void rig_cat_close(struct rig *r);

#endif
