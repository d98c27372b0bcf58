// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/branch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

int branches_load(struct tool *t, struct branches *out, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "branch/", &kv, msg);

	*out = (struct branches)VMS_VEC_INIT;
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct branch_info *b = VMS_VEC_ADD(out);

		b->mod_revision = c.mod_revision;
		rc = vms_cat_branch_decode(&c, &b->b, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

void branches_free(struct branches *l)
{
	VMS_VEC_FREE(l);
}

int branch_get(struct tool *t, uint64_t branch, const struct vms_cat_volume *v,
	       struct branch_info *out, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv;
	int rc;

	memset(out, 0, sizeof(*out));
	out->b = (struct vms_cat_branch){
		.branch = branch, .lineage = v->lineage, .owner = v->id, .state = BRANCH_LIVE};
	vms_cat_key_branch(key, branch);
	rc = tool_get(t, key, &kv, msg);
	if (!rc && kv.n) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		out->mod_revision = c.mod_revision;
		rc = vms_cat_branch_decode(&c, &out->b, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

int branch_grow(const struct vms_cat_branch *from, uint64_t snap_gen, uint64_t limit_bytes,
		struct vms_cat_branch *out, struct vms_errmsg *msg)
{
	uint64_t limit = limit_bytes / VMS_CHUNK_BYTES;

	if (from->nancestors >= VMS_ANCESTORS_MAX)
		return vms_fail(msg, VMS_E_FULL,
				"it descends from %u others already, which is the most: copy the "
				"data into a new volume (vmstore export, vmstore import)",
				VMS_ANCESTORS_MAX);
	*out = *from;
	out->branch = 0;
	out->state = BRANCH_LIVE;
	out->ancestor[0] = (struct vms_cat_ancestor){from->branch, snap_gen, limit};
	for (unsigned i = 0; i < from->nancestors; i++) {
		out->ancestor[i + 1] = from->ancestor[i];
		/* what is cut off stays cut off, also where the list is looked at alone */
		if (out->ancestor[i + 1].limit_chunks > limit)
			out->ancestor[i + 1].limit_chunks = limit;
	}
	out->nancestors = from->nancestors + 1;
	return 0;
}

bool branch_sees(const struct vms_cat_branch *b, uint64_t branch, uint64_t snap_gen)
{
	for (unsigned i = 0; i < b->nancestors; i++)
		if (b->ancestor[i].branch == branch &&
		    (!snap_gen || b->ancestor[i].snap_gen == snap_gen))
			return true;
	return false;
}

bool branches_clone_of(const struct branches *all, uint64_t volume, uint64_t of, uint64_t branch,
		       uint64_t snap_gen)
{
	if (volume == of)
		return false;
	VMS_VEC_FOREACH (all, b) {
		if (b->b.owner != volume || b->b.state != BRANCH_LIVE)
			continue;
		/* without a record of its own a volume's branch has the volume's number */
		if (branch_sees(&b->b, branch ? branch : of, branch ? snap_gen : 0))
			return true;
		if (branch)
			continue;
		VMS_VEC_FOREACH (all, o)
			if (o->b.owner == of && branch_sees(&b->b, o->b.branch, 0))
				return true;
	}
	return false;
}

int branches_settle(struct tool *t, const char *volume, struct vms_errmsg *msg)
{
	struct volume_view v;
	struct branches all = VMS_VEC_INIT;
	struct snaps snaps = VMS_VEC_INIT;
	char vkey[VMS_CAT_KEY_BYTES_MAX];
	int rc = volume_load(t, volume, &v, msg);

	/* A barrier may be about to move the volume to a new branch. */
	if (rc || v.v.barrier != VMS_BARRIER_NONE) {
		volume_free(&v);
		return rc == VMS_E_NOENT ? 0 : rc;
	}
	vms_cat_key_volume(vkey, volume, NULL);
	rc = branches_load(t, &all, msg);
	if (!rc)
		rc = snaps_load(t, volume, &snaps, msg);
	VMS_VEC_FOREACH (&all, b) {
		char key[VMS_CAT_KEY_BYTES_MAX];
		/* with the volume as it is, so that it is not moved there meanwhile */
		struct vms_cat_cmp cmp[2] = {{vkey, v.mod_revision}, {key, b->mod_revision}};
		struct vms_cat_op op = {key, NULL, 0};
		bool used = b->b.branch == v.v.branch;

		if (rc || b->b.owner != v.v.id || b->b.state != BRANCH_LIVE)
			continue;
		VMS_VEC_FOREACH (&snaps, s)
			used |= s->s.branch == b->b.branch;
		if (used)
			continue;
		vms_cat_key_branch(key, b->b.branch);
		b->b.state = BRANCH_DEAD;
		op.val = vms_cat_branch_encode(&b->b);
		rc = tool_txn(t, cmp, 2, &op, 1, msg);
		free((char *)op.val);
		if (tool_txn_again(rc))
			rc = 0; /* whoever changed it settles it, or the next command does */
	}
	snaps_free(&snaps);
	branches_free(&all);
	volume_free(&v);
	return rc;
}
