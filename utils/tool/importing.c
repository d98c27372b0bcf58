// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/importing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/tool/barrier.h"
#include "utils/tool/leftover.h"

#define GONE_MS 10000u /* how long a killed tool's session may last */

void importing_key(char key[VMS_CAT_KEY_BYTES_MAX], const char *volume)
{
	snprintf(key, VMS_CAT_KEY_BYTES_MAX, "import/%s", volume);
}

char *importing_encode(const struct importing *in)
{
	json_t *j = json_pack("{ss ss% ss ss ss ss sI sI sI sb}", "kind", in->kind, "source",
			      in->source, strlen(in->source), "format", in->format, "identity",
			      in->identity, "base", in->base, "gateway", in->gateway, "bytes",
			      (json_int_t)in->bytes, "done", (json_int_t)in->done, "resize",
			      (json_int_t)in->resize, "blank", in->blank);
	char *text;

	/* a path that is no UTF-8 is not told */
	if (!j)
		j = json_pack("{ss ss ss ss ss ss sI sI sI sb}", "kind", in->kind, "source", "?",
			      "format", in->format, "identity", in->identity, "base", in->base,
			      "gateway", in->gateway, "bytes", (json_int_t)in->bytes, "done",
			      (json_int_t)in->done, "resize", (json_int_t)in->resize, "blank",
			      in->blank);
	text = json_dumps(j, JSON_COMPACT);
	vms_assert(text);
	json_decref(j);
	return text;
}

static void text_of(const json_t *j, const char *name, char *out, size_t room)
{
	const char *s = json_string_value(json_object_get(j, name));

	snprintf(out, room, "%s", s ? s : "");
}

int importing_load(struct tool *t, const char *volume, struct importing *out,
		   struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv;
	json_t *j;
	int rc;

	memset(out, 0, sizeof(*out));
	importing_key(key, volume);
	rc = tool_get(t, key, &kv, msg);
	if (!rc && !kv.n)
		rc = vms_fail(msg, VMS_E_NOENT, "volume '%s' is not being imported", volume);
	j = rc ? NULL : json_loads(kv.d[0].val, 0, NULL);
	if (!rc && !j)
		rc = vms_fail(msg, VMS_E_CORRUPT, "catalog key %s is no JSON text", key);
	tool_kvs_free(&kv);
	if (rc)
		return rc;
	text_of(j, "kind", out->kind, sizeof(out->kind));
	text_of(j, "source", out->source, sizeof(out->source));
	text_of(j, "format", out->format, sizeof(out->format));
	text_of(j, "identity", out->identity, sizeof(out->identity));
	text_of(j, "base", out->base, sizeof(out->base));
	text_of(j, "gateway", out->gateway, sizeof(out->gateway));
	out->bytes = (uint64_t)json_integer_value(json_object_get(j, "bytes"));
	out->done = (uint64_t)json_integer_value(json_object_get(j, "done"));
	out->resize = (uint64_t)json_integer_value(json_object_get(j, "resize"));
	out->blank = json_is_true(json_object_get(j, "blank"));
	json_decref(j);
	return 0;
}

/* Volume record and key in one transaction; in NULL: the key goes. */
static int change(struct tool *t, const struct volume_view *v, uint8_t state,
		  const struct importing *in, struct vms_errmsg *msg)
{
	char vkey[VMS_CAT_KEY_BYTES_MAX], ikey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp = {vkey, v->mod_revision};
	struct vms_cat_op op[2] = {{vkey, NULL, 0}, {ikey, NULL, 0}};
	struct vms_cat_volume next = v->v;
	char *vval, *ival = in ? importing_encode(in) : NULL;
	int rc;

	next.state = state;
	(void)vms_cat_key_volume(vkey, v->v.name, NULL);
	importing_key(ikey, v->v.name);
	op[0].val = vval = vms_cat_volume_encode(&next);
	op[1].val = ival;
	rc = tool_txn(t, &cmp, 1, op, 2, msg);
	free(vval);
	free(ival);
	return rc;
}

int importing_begin(struct tool *t, const char *volume, const struct importing *in,
		    struct vms_errmsg *msg)
{
	struct importing was;
	struct volume_view v;
	bool noted = false;
	int rc = 0;

	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		/* Who is shrinking it, say, gives it the state that comes next. */
		rc = barrier_settle(t, volume, NULL, msg);
		if (rc)
			return rc;
		rc = volume_load(t, volume, &v, msg);
		if (!rc && v.v.barrier != VMS_BARRIER_NONE)
			rc = vms_fail(msg, VMS_E_CONFLICT, "volume '%s' changes all the time",
				      volume);
		if (!rc)
			rc = volume_refuse_open(&v, "overwritten", msg);
		if (!rc && v.v.state != VOLUME_READY)
			rc = vms_fail(msg, VMS_E_BUSY, "volume '%s' is %s", volume,
				      volume_state_word(v.v.state));
		if (!rc && v.v.write_protect)
			rc = vms_fail(
				msg, VMS_E_PERM,
				"volume '%s' is read-only (vmstore volume set %s read-only=off)",
				volume, volume);
		if (!rc) {
			rc = importing_load(t, volume, &was, msg);
			noted = !rc;
			if (rc == VMS_E_NOENT)
				rc = 0;
		}
		if (!rc)
			rc = change(t, &v, VOLUME_IMPORTING, in, msg);
		volume_free(&v);
		if (!tool_txn_again(rc))
			break;
	}
	if (rc)
		return rc;
	/* A gateway may have been faster: it had registered before the state changed. What an
	 * import had noted that ended between two sizes is true as before. */
	rc = volume_load(t, volume, &v, msg);
	if (!rc && v.openers.n) {
		rc = change(t, &v, VOLUME_READY, noted ? &was : NULL, msg);
		if (!rc)
			rc = volume_refuse_open(&v, "overwritten", msg);
	}
	volume_free(&v);
	return rc;
}

int importing_note(struct tool *t, const char *volume, const struct importing *in,
		   struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], *val = importing_encode(in);
	struct vms_cat_op op = {key, val, 0};
	int rc = 0;

	importing_key(key, volume);
	/* A note that comes twice says the same. */
	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		rc = tool_txn(t, NULL, 0, &op, 1, msg);
		if (!tool_txn_again(rc))
			break;
	}
	free(val);
	return rc;
}

int importing_grow(struct tool *t, const char *volume, uint64_t bytes, struct vms_errmsg *msg)
{
	int rc = 0;

	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct vms_cat_volume next;
		struct volume_view v;

		rc = volume_load(t, volume, &v, msg);
		if (!rc && v.v.state != VOLUME_IMPORTING)
			rc = vms_fail(msg, VMS_E_BUSY, "volume '%s' is %s", volume,
				      volume_state_word(v.v.state));
		if (!rc)
			rc = volume_refuse_open(&v, "resized", msg);
		next = v.v;
		if (!rc && next.size_bytes < bytes) {
			next.size_bytes = bytes;
			rc = volume_store(t, &next, v.mod_revision, msg);
		}
		volume_free(&v);
		if (!tool_txn_again(rc))
			break;
	}
	return rc;
}

int importing_end(struct tool *t, const char *volume, const struct importing *left,
		  struct vms_errmsg *msg)
{
	int rc = 0;

	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct volume_view v;

		rc = volume_load(t, volume, &v, msg);
		if (!rc && v.v.state == VOLUME_READY) {
			volume_free(&v);
			return 0;
		}
		if (!rc && v.v.state != VOLUME_IMPORTING)
			rc = vms_fail(msg, VMS_E_BUSY, "volume '%s' is %s", volume,
				      volume_state_word(v.v.state));
		if (!rc)
			rc = change(t, &v, VOLUME_READY, left, msg);
		volume_free(&v);
		if (!tool_txn_again(rc))
			break;
	}
	return rc;
}

void importing_forget(struct tool *t, const char *volume)
{
	char vkey[VMS_CAT_KEY_BYTES_MAX], ikey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op = {ikey, NULL, 0};
	int rc = 0;

	(void)vms_cat_key_volume(vkey, volume, NULL);
	importing_key(ikey, volume);
	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct vms_errmsg ignored;
		struct volume_view v;

		/* by now somebody else may have begun one */
		rc = volume_load(t, volume, &v, &ignored);
		if (!rc && v.v.state != VOLUME_IMPORTING) {
			struct vms_cat_cmp cmp = {vkey, v.mod_revision};

			rc = tool_txn(t, &cmp, 1, &op, 1, &ignored);
		}
		volume_free(&v);
		if (!tool_txn_again(rc))
			break;
	}
}

/* The gateway has no session left, or gets none: what a killed process had at the nodes
 * goes with its lease. */
static int wait_gone(struct tool *t, struct nodes *ns, const struct volume_opener *o,
		     const char *volume, struct vms_errmsg *msg)
{
	struct vms_cat_gateway g = {.id = o->o.gateway, .incarnation = o->o.incarnation};
	bool gone;
	int rc;

	snprintf(g.name, sizeof(g.name), "%s", o->gateway);
	rc = leftover_tool(t, ns, &g, GONE_MS, &gone, msg);
	if (!rc && !gone)
		rc = vms_fail(msg, VMS_E_OPEN, "volume '%.60s' is being imported by %.60s", volume,
			      o->gateway);
	return rc;
}

int importing_shut_out(struct tool *t, const char *volume, const char *own_name,
		       struct vms_errmsg *msg)
{
	struct volume_view v;
	struct nodes ns = {0};
	bool open = false;
	int rc = volume_load(t, volume, &v, msg);

	if (rc == VMS_E_NOENT)
		rc = 0;
	for (size_t i = 0; !rc && v.v.state == VOLUME_IMPORTING && i < v.openers.n; i++) {
		/* what an earlier process of ours left is written over */
		if (!strcmp(v.openers.d[i].gateway, own_name))
			continue;
		if (!open)
			rc = nodes_open(t, &ns, msg);
		open = true;
		if (!rc)
			rc = wait_gone(t, &ns, &v.openers.d[i], volume, msg);
	}
	if (open)
		nodes_close(t, &ns);
	volume_free(&v);
	return rc;
}
