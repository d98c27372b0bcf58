// SPDX-License-Identifier: GPL-2.0-only
/* Targets of the cluster in the catalog, see target_store.h. */
#include "utils/tool/target_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/reg_doc.h"
#include "utils/lib/assert.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

#define PREFIX "target/"
#define REFS   VMS_REG_REFS_KEY

static int by_name(const void *a, const void *b)
{
	const struct target_entry *x = a, *y = b;

	return strcmp(vms_reg_name(x->rec), vms_reg_name(y->rec));
}

int targets_load(struct tool *t, struct targets *out, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = tool_range(t, PREFIX, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		json_t *r = vms_reg_decode(kv.d[i].val, kv.d[i].key, msg);

		if (!r)
			rc = VMS_E_CORRUPT;
		else
			VMS_VEC_PUSH(out, ((struct target_entry){r, kv.d[i].mod_revision}));
	}
	tool_kvs_free(&kv);
	if (out->n)
		qsort(out->d, out->n, sizeof(out->d[0]), by_name);
	return rc;
}

void targets_free(struct targets *v)
{
	VMS_VEC_FOREACH (v, e)
		json_decref(e->rec);
	VMS_VEC_FREE(v);
}

struct target_entry *targets_find(struct targets *v, const char *name)
{
	VMS_VEC_FOREACH (v, e)
		if (!strcmp(vms_reg_name(e->rec), name))
			return e;
	return NULL;
}

uint32_t targets_free_tid(const struct targets *v)
{
	for (uint32_t tid = 1; tid <= VMS_REG_TID_MAX; tid++) {
		bool taken = false;

		VMS_VEC_FOREACH (v, e)
			taken |= vms_reg_tid(e->rec) == tid;
		if (!taken)
			return tid;
	}
	return 0;
}

int targets_elsewhere(const struct targets *v, const char *name, const char *volume,
		      struct vms_errmsg *msg)
{
	VMS_VEC_FOREACH (v, e) {
		const json_t *r = vms_reg_elsewhere((const json_t *const *)&e->rec, 1, name,
						    volume);

		if (r)
			return vms_fail(msg, VMS_E_EXIST,
					"volume %s is LUN %llu of %s; it can be one LUN only",
					volume, (unsigned long long)vms_reg_lun_of(r, volume),
					vms_reg_name(r));
	}
	return 0;
}

/* What lies under key is this text (NULL: nothing)? Decides after a lost answer. */
static bool is_now(struct tool *t, const char *key, const char *val)
{
	struct vms_errmsg ignored;
	struct tool_kvs kv;
	bool same = !tool_get(t, key, &kv, &ignored) &&
		    (val ? kv.n && !strcmp(kv.d[0].val, val) : !kv.n);

	tool_kvs_free(&kv);
	return same;
}

int target_refs(struct tool *t, uint64_t *revision, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_get(t, REFS, &kv, msg);

	*revision = !rc && kv.n ? kv.d[0].mod_revision : 0;
	tool_kvs_free(&kv);
	return rc;
}

void target_refs_part(uint64_t revision, struct vms_cat_cmp *cmp, struct vms_cat_op *op)
{
	*cmp = (struct vms_cat_cmp){REFS, revision};
	*op = (struct vms_cat_op){REFS, "1", 0};
}

int target_store(struct tool *t, const char *name, uint32_t tid, const json_t *rec,
		 uint64_t mod_revision, uint64_t *refs, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], idkey[32], id[VMS_REG_NAME_MAX + 3];
	char *text = rec ? vms_reg_encode(rec) : NULL;
	struct vms_cat_cmp cmp[3] = {{key, mod_revision}, {idkey, 0}};
	struct vms_cat_op op[3] = {{key, text, 0}, {idkey, rec ? id : NULL, 0}};
	unsigned ncmp = mod_revision ? 1 : 2, nop = !mod_revision || !rec ? 2 : 1;
	int rc = rec ? vms_reg_room_check(rec, msg) : 0;

	if (rc) {
		free(text);
		return rc;
	}
	vms_assert(text || !rec);
	snprintf(key, sizeof(key), PREFIX "%s", name);
	snprintf(idkey, sizeof(idkey), "targetid/%08x", tid);
	snprintf(id, sizeof(id), "\"%s\"", name);
	if (refs)
		target_refs_part(*refs, &cmp[ncmp++], &op[nop++]);
	/* the number's key comes and goes with the target */
	rc = tool_txn(t, cmp, ncmp, op, nop, msg);
	if (!rc && refs)
		*refs = t->revision;
	if (tool_txn_again(rc) && is_now(t, key, text))
		rc = 0;
	if (rc == VMS_E_CONFLICT && !mod_revision && is_now(t, key, NULL) &&
	    !is_now(t, idkey, NULL))
		rc = vms_fail(msg, VMS_E_EXIST, "target number %u is taken", tid);
	free(text);
	return rc;
}

int target_change(struct tool *t, const char *name, target_change_fn fn, void *arg, json_t **out,
		  struct vms_errmsg *msg)
{
	unsigned tries = 0;
	int rc;

	do {
		struct targets all = VMS_VEC_INIT;
		struct target_entry *e;
		uint64_t refs;

		rc = target_refs(t, &refs, msg);
		if (!rc)
			rc = targets_load(t, &all, msg);
		e = rc ? NULL : targets_find(&all, name);
		if (!rc && !e)
			rc = vms_fail(msg, VMS_E_NOENT, "there is no target %s", name);
		if (!rc) {
			json_t *next = json_deep_copy(e->rec);

			vms_assert(next);
			rc = fn(arg, &all, next, msg);
			if (!rc && !json_equal(next, e->rec))
				rc = target_store(t, name, vms_reg_tid(next), next, e->mod_revision,
						  vms_reg_refers_more(e->rec, next) ? &refs : NULL,
						  msg);
			if (!rc && out)
				*out = json_incref(next);
			json_decref(next);
		}
		targets_free(&all);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

int target_volume_check(struct tool *t, const char *volume, struct vms_errmsg *msg)
{
	char name[VMS_REG_NAME_MAX + 1];
	const char *snap = strchr(volume, '@');
	struct volume_view v;
	struct snap_info s;
	int rc;

	if (strlen(volume) > VMS_REG_NAME_MAX)
		return vms_fail(msg, VMS_E_INVAL, "volume '%.40s...': no such name", volume);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(volume, "@"), volume);
	rc = vms_cat_volume_name_check(name, msg);
	if (rc)
		return rc;
	rc = volume_load(t, name, &v, msg);
	if (!rc && v.v.state != VOLUME_READY && v.v.state != VOLUME_SHRINKING)
		rc = vms_fail(msg, VMS_E_BUSY, "volume %s is %s", name,
			      volume_state_word(v.v.state));
	volume_free(&v);
	if (rc || !snap)
		return rc;
	rc = snap_get_made(t, name, snap + 1, &s, msg);
	if (!rc && s.s.state != VMS_SNAP_COMPLETE)
		rc = vms_fail(msg, VMS_E_BUSY, "snapshot %s is not complete", volume);
	return rc;
}
