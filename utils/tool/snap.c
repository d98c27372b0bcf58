// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/snap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *snap_state_word(uint8_t state)
{
	switch (state) {
	case VMS_SNAP_CREATING:
		return "creating";
	case VMS_SNAP_COMPLETE:
		return "complete";
	case VMS_SNAP_DELETING:
		return "deleting";
	default:
		return "unknown";
	}
}

static int by_age(const void *a, const void *b)
{
	const struct vms_cat_snap *x = &((const struct snap_info *)a)->s;
	const struct vms_cat_snap *y = &((const struct snap_info *)b)->s;
	int c = strcmp(x->volume, y->volume);

	if (c)
		return c;
	if (x->snap_gen != y->snap_gen)
		return x->snap_gen < y->snap_gen ? -1 : 1;
	return strcmp(x->name, y->name);
}

int snaps_load(struct tool *t, const char *volume, struct snaps *out, struct vms_errmsg *msg)
{
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv;
	int rc;

	*out = (struct snaps)VMS_VEC_INIT;
	snprintf(prefix, sizeof(prefix), volume[0] ? "snap/%.120s@" : "snap/", volume);
	rc = tool_range(t, prefix, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct snap_info *s = VMS_VEC_ADD(out);

		s->mod_revision = c.mod_revision;
		rc = vms_cat_snap_decode(&c, &s->s, msg);
	}
	tool_kvs_free(&kv);
	if (!rc && out->n)
		qsort(out->d, out->n, sizeof(out->d[0]), by_age);
	return rc;
}

void snaps_free(struct snaps *s)
{
	VMS_VEC_FREE(s);
}

json_t *snap_json(const struct vms_cat_snap *s)
{
	char name[240], uuid[37];

	snprintf(name, sizeof(name), "%s@%s", s->volume, s->name);
	tool_uuid_text(s->uuid, uuid);
	return json_pack("{ss ss ss ss sI ss sI sI sI}", "snapshot", name, "volume", s->volume,
			 "name", s->name, "uuid", uuid, "size_bytes", (json_int_t)s->size_bytes,
			 "state", snap_state_word(s->state), "created_s",
			 (json_int_t)s->created_s, "branch", (json_int_t)s->branch, "snap_gen",
			 (json_int_t)s->snap_gen);
}
