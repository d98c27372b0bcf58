// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/volume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utils/lib/assert.h"
#include "utils/lib/size.h"
#include "utils/tool/barrier.h"
#include "utils/tool/branch.h"
#include "utils/tool/domain.h"
#include "utils/tool/importing.h"
#include "utils/tool/leftover.h"
#include "utils/tool/move.h"
#include "utils/tool/snap.h"
#include "utils/tool/target_store.h"

#define NODE_MS_MAX 600000u /* one TRIM of a large volume */

const char *volume_state_word(uint8_t state)
{
	switch (state) {
	case VOLUME_READY:
		return "ready";
	case VOLUME_DELETING:
		return "deleting";
	case VOLUME_SHRINKING:
		return "shrinking";
	case VOLUME_IMPORTING:
		return "importing";
	default:
		return "unknown";
	}
}

const char *volume_ack_word(uint8_t write_ack)
{
	return write_ack == VMS_ACK_MEMORY ? "memory" : "disk";
}

const char *volume_barrier_word(uint8_t barrier)
{
	switch (barrier) {
	case VMS_BARRIER_NONE:
		return "none";
	case VMS_BARRIER_STOP:
		return "stop";
	default:
		return "release";
	}
}

static int load_openers(struct tool *t, struct volume_view *out, struct vms_errmsg *msg)
{
	char prefix[64], key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv, gw;
	int rc;

	snprintf(prefix, sizeof(prefix), "open/%016" PRIx64 "/", out->v.id);
	VMS_VEC_CLEAR(&out->openers);
	rc = tool_range(t, prefix, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct volume_opener *o = VMS_VEC_ADD(&out->openers);
		struct vms_cat_gateway g;

		rc = vms_cat_open_decode(&c, &o->o, msg);
		if (rc)
			break;
		vms_cat_key_gateway(key, o->o.gateway);
		rc = tool_get(t, key, &gw, msg);
		if (!rc && gw.n) {
			c = tool_cat_kv(&gw.d[0]);
			if (!vms_cat_gateway_decode(&c, &g, NULL))
				snprintf(o->gateway, sizeof(o->gateway), "%s", g.name);
		}
		tool_kvs_free(&gw);
	}
	tool_kvs_free(&kv);
	return rc;
}

int volume_load(struct tool *t, const char *name, struct volume_view *out, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv = VMS_VEC_INIT;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = vms_cat_key_volume(key, name, msg);
	if (rc)
		return rc;
	rc = tool_get(t, key, &kv, msg);
	if (!rc && !kv.n)
		rc = vms_fail(msg, VMS_E_NOENT, "there is no volume '%s'", name);
	if (!rc) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		out->mod_revision = c.mod_revision;
		rc = vms_cat_volume_decode(&c, &out->v, msg);
	}
	tool_kvs_free(&kv);
	if (rc)
		return rc;
	vms_cat_key_loss(key, out->v.id);
	rc = tool_get(t, key, &kv, msg);
	if (!rc && kv.n)
		out->losses = strtoull(kv.d[0].val, NULL, 10);
	tool_kvs_free(&kv);
	return rc ? rc : load_openers(t, out, msg);
}

int volume_load_settled(struct tool *t, const char *name, struct volume_view *out,
			struct vms_errmsg *msg)
{
	int rc = volume_load(t, name, out, msg);
	bool tool = false;

	for (size_t i = 0; !rc && i < out->openers.n; i++)
		tool |= !strncmp(out->openers.d[i].gateway, VMS_CAT_TOOL_PREFIX,
				 strlen(VMS_CAT_TOOL_PREFIX));
	if (rc || !tool)
		return rc;
	leftover_settle(t, out->v.id);
	volume_free(out);
	return volume_load(t, name, out, msg);
}

void volume_free(struct volume_view *v)
{
	VMS_VEC_FREE(&v->openers);
}

json_t *volume_json(const struct volume_view *v)
{
	json_t *open = json_array();
	char uuid[37];

	tool_uuid_text(v->v.uuid, uuid);
	for (size_t i = 0; i < v->openers.n; i++)
		json_array_append_new(open, json_pack("{sI ss}", "gateway",
						      (json_int_t)v->openers.d[i].o.gateway, "name",
						      v->openers.d[i].gateway));
	return json_pack("{ss ss sI ss ss sI sI sI sI sI sI so ss sb ss ss sb}", "name", v->v.name,
			 "uuid", uuid, "size_bytes", (json_int_t)v->v.size_bytes, "write_ack",
			 volume_ack_word(v->v.write_ack), "state", volume_state_word(v->v.state),
			 "branch", (json_int_t)v->v.branch, "lineage", (json_int_t)v->v.lineage,
			 "snap_gen", (json_int_t)v->v.snap_gen, "lun_fence",
			 (json_int_t)v->v.lun_fence, "created_s", (json_int_t)v->v.created_s,
			 "losses", (json_int_t)v->losses, "open", open, "parent", v->v.parent,
			 "dedup", (int)v->v.dedup, "domain", v->v.domain, "barrier",
			 volume_barrier_word(v->v.barrier), "read_only", (int)v->v.write_protect);
}

/* ---- create ---- */

/* Copies that are missing because a node is down are made again, and whether writes wait
 * until then min_copies says; a ring that never had nodes enough is a mistake. */
static int check_ring(struct view *v, struct vms_errmsg *msg)
{
	uint32_t empty = 0, nodes = 0;

	for (uint32_t p = 0; p < v->nparts; p++)
		empty += !v->part[p].conf.epoch;
	if (empty)
		return vms_fail(msg, VMS_E_AGAIN,
				"%u of %u partitions have no node yet: take nodes in with "
				"vmstore-ring join",
				empty, v->nparts);
	VMS_VEC_FOREACH (&v->nodes, n)
		nodes += n->n.state == VMS_NODE_IN || n->n.state == VMS_NODE_OUT;
	if (nodes < v->cluster.copies && !v->cluster.has_data)
		return vms_fail(msg, VMS_E_AGAIN,
				"the ring has %u nodes, %u copies need %u: take more in with "
				"vmstore-ring join",
				nodes, v->cluster.copies, v->cluster.copies);
	return 0;
}

int volume_check_size(uint64_t size_bytes, struct vms_errmsg *msg)
{
	if (!size_bytes || size_bytes % VMS_CHUNK_BYTES || size_bytes > VMS_VOL_BYTES_MAX)
		return vms_fail(msg, VMS_E_INVAL,
				"size %" PRIu64
				" bytes: must be a multiple of 4096 from 4096 to 16P",
				size_bytes);
	return 0;
}

int volume_create(struct tool *t, const char *name, uint64_t size_bytes, uint8_t write_ack,
		  struct vms_cat_volume *out, struct vms_errmsg *msg)
{
	return volume_make(t,
			   &(struct volume_new){.name = name,
						.size_bytes = size_bytes,
						.write_ack = write_ack,
						.state = VOLUME_READY},
			   out, msg);
}

int volume_make(struct tool *t, const struct volume_new *want, struct vms_cat_volume *out,
		struct vms_errmsg *msg)
{
	const char *name = want->name;
	char key[VMS_CAT_KEY_BYTES_MAX], bkey[VMS_CAT_KEY_BYTES_MAX], dkey[VMS_CAT_KEY_BYTES_MAX];
	const char *domain = want->domain ? want->domain : "";
	unsigned tries = 0;
	int rc = vms_cat_key_volume(key, name, msg);

	if (!rc)
		rc = volume_check_size(want->size_bytes, msg);
	if (rc)
		return rc;
	memset(out, 0, sizeof(*out));
	out->dedup = !want->no_dedup;
	snprintf(out->name, sizeof(out->name), "%s", name);
	snprintf(out->domain, sizeof(out->domain), "%s", domain);
	tool_uuid_new(out->uuid);
	out->size_bytes = want->size_bytes;
	out->snap_gen = 1;
	out->lun_fence = 1;
	out->write_ack = want->write_ack;
	out->state = want->state;
	out->created_s = (uint64_t)time(NULL);
	snprintf(dkey, sizeof(dkey), "domain/%.63s", domain);
	do {
		struct vms_cat_cmp cmp[3] = {{"cluster", 0}, {key, 0}, {dkey, 0}};
		struct vms_cat_branch b = {.state = BRANCH_LIVE, .salted = domain[0] != 0};
		struct vms_cat_op op[4] = {{"cluster", NULL, 0},
					   {bkey, NULL, 0},
					   {key, NULL, 0},
					   {want->key, want->val, 0}};
		struct volume_view have;
		struct view v;

		/* There already? Ours, when the answer to an earlier try was lost. */
		rc = volume_load(t, name, &have, msg);
		volume_free(&have);
		if (!rc && !memcmp(have.v.uuid, out->uuid, 16)) {
			*out = have.v;
			return 0;
		}
		if (!rc)
			return vms_fail(
				msg, VMS_E_EXIST, "volume '%s' exists already%s", name,
				have.v.state == VOLUME_DELETING
					? " (it is being deleted: vmstore volume rm completes that)"
					: "");
		if (rc != VMS_E_NOENT)
			return rc;
		if (b.salted) {
			rc = domain_salt(t, domain, b.salt, &cmp[2].mod_revision, msg);
			if (rc)
				return rc;
		}
		rc = view_load(t, &v, msg);
		if (!rc)
			rc = check_ring(&v, msg);
		if (rc) {
			view_free(&v);
			return rc;
		}
		cmp[0].mod_revision = v.cluster_revision;
		out->id = out->branch = out->lineage = v.cluster.next_branch++;
		vms_cat_key_branch(bkey, out->branch);
		v.cluster.has_data = true;
		op[0].val = vms_cat_cluster_encode(&v.cluster);
		b.branch = b.lineage = b.owner = out->id;
		op[1].val = vms_cat_branch_encode(&b);
		op[2].val = vms_cat_volume_encode(out);
		rc = tool_txn(t, cmp, b.salted ? 3 : 2, op, want->key ? 4 : 3, msg);
		for (unsigned k = 0; k < 3; k++)
			free((char *)op[k].val);
		view_free(&v);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

/* ---- refusals ---- */

/* refs: of target_refs(), or NULL. */
static int store(struct tool *t, const struct vms_cat_volume *next, uint64_t mod_revision,
		 const uint64_t *refs, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[2] = {{key, mod_revision}};
	struct vms_cat_op op[2] = {{key, NULL, 0}};
	int rc = vms_cat_key_volume(key, next->name, msg);

	if (rc)
		return rc;
	op[0].val = vms_cat_volume_encode(next);
	if (refs)
		target_refs_part(*refs, &cmp[1], &op[1]);
	rc = tool_txn(t, cmp, refs ? 2 : 1, op, refs ? 2 : 1, msg);
	free((char *)op[0].val);
	return rc;
}

int volume_store(struct tool *t, const struct vms_cat_volume *next, uint64_t mod_revision,
		 struct vms_errmsg *msg)
{
	return store(t, next, mod_revision, NULL, msg);
}

static bool by_tool(const struct volume_opener *o)
{
	return !strncmp(o->gateway, VMS_CAT_TOOL_PREFIX, strlen(VMS_CAT_TOOL_PREFIX));
}

void volume_openers_text(const struct volume_view *v, char *out, size_t room)
{
	size_t at = 0;

	*out = 0;
	for (unsigned tools = 0; tools < 2; tools++)
		for (size_t i = 0, n = 0; i < v->openers.n && at < room - 1; i++) {
			const struct volume_opener *o = &v->openers.d[i];
			int len;

			if (by_tool(o) != (tools == 1))
				continue;
			len = snprintf(out + at, room - at, "%s%s%s",
				       n    ? ", "
				       : at ? " and "
					    : "",
				       n       ? ""
				       : tools ? "in another export or import, "
					       : "on gateway ",
				       o->gateway[0] ? o->gateway : "unnamed");
			n++;
			at += len > 0 ? (size_t)len : 0;
		}
}

int volume_refuse_open(const struct volume_view *v, const char *what, struct vms_errmsg *msg)
{
	char names[200] = "";
	bool gateway = false;

	if (!v->openers.n)
		return 0;
	for (size_t i = 0; i < v->openers.n; i++)
		gateway |= !by_tool(&v->openers.d[i]);
	volume_openers_text(v, names, sizeof(names));
	return vms_fail(msg, VMS_E_OPEN, "volume '%.60s' cannot be %.20s: open %.120s; %s",
			v->v.name, what, names,
			gateway ? "take its LUN away first (vmstore target rm-lun)"
				: "wait until that has ended");
}

int volume_refuse_tools(const struct volume_view *v, const char *what, struct vms_errmsg *msg)
{
	for (size_t i = 0; i < v->openers.n; i++)
		if (by_tool(&v->openers.d[i]))
			return vms_fail(msg, VMS_E_OPEN,
					"volume '%.60s' cannot be %.20s: an export or import "
					"works on it (%.60s)",
					v->v.name, what, v->openers.d[i].gateway);
	return 0;
}

/* The record is written by gateways (target/pr_record.c); what matters here is whether
 * anybody holds something. */
int volume_refuse_reserved(struct tool *t, const struct volume_view *v, const char *what,
			   struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], uuid[37];
	struct tool_kvs kv;
	int rc;

	tool_uuid_text(v->v.uuid, uuid);
	snprintf(key, sizeof(key), "pr/%s", uuid);
	rc = tool_get(t, key, &kv, msg);
	if (!rc && kv.n) {
		json_t *j = json_loads(kv.d[0].val, 0, NULL);

		if (json_integer_value(json_object_get(j, "type")) || json_object_get(j, "reserve"))
			rc = vms_fail(msg, VMS_E_BUSY,
				      "volume '%.60s' cannot be %.20s: an initiator holds a "
				      "reservation of it",
				      v->v.name, what);
		json_decref(j);
	}
	tool_kvs_free(&kv);
	return rc;
}

int volume_refuse_busy(const struct volume_view *v, const char *what, struct vms_errmsg *msg)
{
	if (v->v.state == VOLUME_DELETING)
		return vms_fail(msg, VMS_E_BUSY,
				"volume '%.60s' is being deleted: vmstore volume rm completes that",
				v->v.name);
	if (v->v.state == VOLUME_SHRINKING)
		return vms_fail(
			msg, VMS_E_BUSY,
			"volume '%.60s' is being shrunk: vmstore volume resize completes that",
			v->v.name);
	if (v->v.state == VOLUME_IMPORTING)
		return vms_fail(msg, VMS_E_BUSY, "volume '%.60s' is being imported", v->v.name);
	return volume_refuse_open(v, what, msg);
}

/* ---- delete ---- */

/* Gateways that export one of its snapshots, or volumes made of them. */
static int refuse_used(struct tool *t, const struct vms_cat_volume *v, struct vms_errmsg *msg)
{
	struct branches all;
	struct snap_clones c;
	char prefix[64];
	struct tool_kvs kv;
	int rc;

	snprintf(prefix, sizeof(prefix), "snapopen/%016" PRIx64 "/", v->id);
	rc = tool_range(t, prefix, &kv, msg);
	if (!rc && kv.n) {
		leftover_settle(t, v->id);
		tool_kvs_free(&kv);
		rc = tool_range(t, prefix, &kv, msg);
	}
	if (!rc && kv.n)
		rc = vms_fail(msg, VMS_E_OPEN,
			      "volume '%.60s' cannot be deleted: gateways export a snapshot of it "
			      "(%zu LUNs); delete them there first (tgtadm)",
			      v->name, kv.n);
	tool_kvs_free(&kv);
	if (rc)
		return rc;
	rc = branches_load(t, &all, msg);
	if (!rc)
		rc = snap_clones(t, &all, v->id, 0, 0, &c, msg);
	branches_free(&all);
	if (!rc && c.n)
		rc = vms_fail(msg, VMS_E_BUSY,
			      "volume '%.60s' cannot be deleted: it has %u clone%s (%.120s); "
			      "vmstore clone ls %.30s lists them",
			      v->name, c.n, c.n > 1 ? "s" : "", c.names, v->name);
	return rc;
}

/* A target of the cluster has it, or a snapshot of it, as a LUN, though no gateway has it
 * open now. */
static int refuse_lun(struct tool *t, const char *name, struct vms_errmsg *msg)
{
	struct targets all;
	size_t n = strlen(name), i;
	json_t *x;
	int rc = targets_load(t, &all, msg);

	VMS_VEC_FOREACH (&all, e)
		json_array_foreach (json_object_get(e->rec, "luns"), i, x) {
			const char *v = json_string_value(json_object_get(x, "volume"));

			if (!rc && !strncmp(v, name, n) && (!v[n] || v[n] == '@'))
				rc = vms_fail(
					msg, VMS_E_OPEN,
					"volume '%.60s' cannot be deleted: %.100s is LUN %lld of "
					"%.100s; take it away there first (vmstore target rm-lun)",
					name, v,
					(long long)json_integer_value(json_object_get(x, "lun")),
					vms_reg_name(e->rec));
		}
	targets_free(&all);
	return rc;
}

static int refuse_snaps(struct tool *t, const char *name, struct vms_errmsg *msg)
{
	struct snaps l;
	int rc = snaps_load(t, name, &l, msg);

	if (!rc && l.n)
		rc = vms_fail(msg, VMS_E_BUSY,
			      "volume '%.60s' has %zu snapshot%s: say --snapshots to delete %s too",
			      name, l.n, l.n > 1 ? "s" : "", l.n > 1 ? "them" : "it");
	snaps_free(&l);
	return rc;
}

/* *v: in state "deleting" from here on. *began: this call or an earlier one made it so, of
 * the volume with this uuid. VMS_E_NOENT: it does not exist, or no more. */
static int begin_delete(struct tool *t, const char *name, bool snapshots, bool *began,
			uint8_t uuid[16], struct volume_view *v, struct vms_errmsg *msg)
{
	struct vms_cat_volume next;
	uint8_t was = VOLUME_READY;
	int rc;

	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		uint64_t refs = 0;

		rc = barrier_settle(t, name, NULL, msg);
		if (!rc)
			rc = target_refs(t, &refs, msg);
		if (!rc)
			rc = volume_load_settled(t, name, v, msg);
		if (!rc && *began && memcmp(v->v.uuid, uuid, 16))
			rc = vms_fail(msg, VMS_E_NOENT, "volume '%s' is another one now", name);
		if (!rc)
			memcpy(uuid, v->v.uuid, 16);
		if (!rc && v->v.state != VOLUME_DELETING) {
			was = v->v.state;
			rc = volume_refuse_open(v, "deleted", msg);
			if (!rc && !snapshots)
				rc = refuse_snaps(t, name, msg);
			if (!rc)
				rc = refuse_lun(t, name, msg);
			if (!rc)
				rc = refuse_used(t, &v->v, msg);
		}
		if (rc)
			return rc;
		if (v->v.state == VOLUME_DELETING)
			break;
		next = v->v;
		was = next.state;
		next.state = VOLUME_DELETING;
		next.lun_fence++;
		rc = store(t, &next, v->mod_revision, &refs, msg);
		volume_free(v);
		if (rc && !tool_txn_again(rc))
			return rc;
		*began = true;
	}
	if (v->v.state != VOLUME_DELETING)
		return vms_fail(msg, VMS_E_CONFLICT, "volume '%s' changes all the time", name);
	/* A gateway or a clone may have been faster. */
	rc = volume_refuse_open(v, "deleted", msg);
	if (!rc)
		rc = refuse_used(t, &v->v, msg);
	if (rc == VMS_E_OPEN || rc == VMS_E_BUSY) {
		struct vms_errmsg ignored;

		next = v->v;
		next.state = was;
		(void)volume_store(t, &next, v->mod_revision, &ignored);
	}
	return rc;
}

/* Those of this volume: by now another one may have its name. */
static int delete_snaps(struct tool *t, const struct vms_cat_volume *v, struct vms_errmsg *msg)
{
	struct snap_fate *fate;
	struct snaps l;
	size_t n = 0;
	int rc = snaps_load(t, v->name, &l, msg);

	VMS_VEC_FOREACH (&l, s)
		if (s->s.id == v->id)
			l.d[n++] = *s;
	l.n = n;
	fate = calloc(l.n + 1, sizeof(*fate));
	vms_assert(fate);
	if (!rc)
		rc = snaps_remove(t, l.d, l.n, fate, msg);
	for (size_t i = 0; !rc && i < l.n; i++)
		if (!fate[i].gone)
			rc = vms_fail(msg, fate[i].status,
				      "volume '%.60s' is not deleted: its snapshot %.60s: %.100s",
				      v->name, l.d[i].s.name, fate[i].why.text);
	free(fate);
	snaps_free(&l);
	return rc;
}

static int delete_lossacks(struct tool *t, uint64_t id, struct vms_errmsg *msg)
{
	struct vms_cat_op op[100];
	char prefix[64];
	struct tool_kvs kv;
	int rc;

	snprintf(prefix, sizeof(prefix), "lossack/%016" PRIx64 "/", id);
	rc = tool_range(t, prefix, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n;) {
		unsigned n = 0;

		for (; i < kv.n && n < 100; i++)
			op[n++] = (struct vms_cat_op){kv.d[i].key, NULL, 0};
		rc = tool_txn(t, NULL, 0, op, n, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

int volume_forget_reservations(struct tool *t, const uint8_t (*uuid)[16], size_t n,
			       struct vms_errmsg *msg)
{
	char prefix[64] = "pr/", text[37];
	struct vms_cat_op op[100];
	struct tool_kvs kv;
	int rc;

	if (n == 1) {
		tool_uuid_text(uuid[0], text);
		snprintf(prefix, sizeof(prefix), "pr/%s", text);
	}
	rc = tool_range(t, prefix, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n;) {
		unsigned k = 0;

		for (; i < kv.n && k < 100; i++)
			for (size_t u = 0; u < n; u++) {
				tool_uuid_text(uuid[u], text);
				if (strncmp(kv.d[i].key + 3, text, 36))
					continue;
				op[k++] = (struct vms_cat_op){kv.d[i].key, NULL, 0};
				break;
			}
		if (k)
			rc = tool_txn(t, NULL, 0, op, k, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

/* The volume's record goes and its branch dies. */
static int end_delete(struct tool *t, const struct volume_view *v, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], loss[VMS_CAT_KEY_BYTES_MAX], bkey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[2] = {{key, v->mod_revision}, {bkey, 0}};
	char ikey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op[4] = {
		{key, NULL, 0}, {loss, NULL, 0}, {bkey, NULL, 0}, {ikey, NULL, 0}};
	struct branch_info b;
	int rc = branch_get(t, v->v.branch, &v->v, &b, msg);

	if (rc)
		return rc;
	vms_cat_key_volume(key, v->v.name, NULL);
	vms_cat_key_loss(loss, v->v.id);
	vms_cat_key_branch(bkey, v->v.branch);
	importing_key(ikey, v->v.name);
	cmp[1].mod_revision = b.mod_revision;
	b.b.state = BRANCH_DEAD;
	op[2].val = vms_cat_branch_encode(&b.b);
	rc = tool_txn(t, cmp, 2, op, 4, msg);
	free((char *)op[2].val);
	return rc;
}

int volume_delete(struct tool *t, const char *name, bool snapshots, struct vms_errmsg *msg)
{
	struct volume_view v = {.losses = 0};
	uint8_t uuid[16];
	unsigned tries = 0;
	bool began = false;
	int rc = importing_shut_out(t, name, "", msg);

	if (rc)
		return rc;
	do {
		volume_free(&v);
		rc = begin_delete(t, name, snapshots || began, &began, uuid, &v, msg);
		if (rc == VMS_E_NOENT && began)
			rc = 0; /* an answer was lost: it is gone */
		else if (!rc && !(rc = delete_snaps(t, &v.v, msg)) &&
			 !(rc = delete_lossacks(t, v.v.id, msg)) &&
			 !(rc = volume_forget_reservations(t, (const uint8_t(*)[16]) & v.v.uuid, 1,
							   msg)))
			rc = end_delete(t, &v, msg);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	volume_free(&v);
	return rc;
}
