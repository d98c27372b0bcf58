// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/snap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/tool/barrier.h"
#include "utils/tool/branch.h"
#include "utils/tool/importing.h"
#include "utils/tool/leftover.h"
#include "utils/tool/target_store.h"
#include "utils/tool/volume.h"

#define PER_TXN 60u

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
	static const uint8_t none[16];
	char name[240], uuid[37];
	json_t *j;

	snprintf(name, sizeof(name), "%s@%s", s->volume, s->name);
	tool_uuid_text(s->uuid, uuid);
	j = json_pack("{ss ss ss ss sI ss sI sI sI}", "snapshot", name, "volume", s->volume, "name",
		      s->name, "uuid", uuid, "size_bytes", (json_int_t)s->size_bytes, "state",
		      snap_state_word(s->state), "created_s", (json_int_t)s->created_s, "branch",
		      (json_int_t)s->branch, "snap_gen", (json_int_t)s->snap_gen);

	if (memcmp(s->origin, none, 16)) {
		tool_uuid_text(s->origin, uuid);
		json_object_set_new(j, "origin", json_string(uuid));
	}
	return j;
}

int snap_get(struct tool *t, const char *volume, const char *snap, struct snap_info *out,
	     struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv = VMS_VEC_INIT;
	int rc = vms_cat_key_snap(key, volume, snap, msg);

	if (rc)
		return rc;
	rc = tool_get(t, key, &kv, msg);
	if (!rc && !kv.n)
		rc = vms_fail(msg, VMS_E_NOENT, "there is no snapshot '%.100s@%.100s'", volume,
			      snap);
	if (!rc) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		out->mod_revision = c.mod_revision;
		rc = vms_cat_snap_decode(&c, &out->s, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

int snap_get_made(struct tool *t, const char *volume, const char *snap, struct snap_info *out,
		  struct vms_errmsg *msg)
{
	char dead[240] = "";
	int rc = snap_get(t, volume, snap, out, msg);

	if (rc || out->s.state != VMS_SNAP_CREATING)
		return rc;
	rc = barrier_settle(t, volume, dead, msg);
	if (dead[0])
		tool_note(t, "snapshot %s had been begun and was given up", dead);
	return rc ? rc : snap_get(t, volume, snap, out, msg);
}

/* ---- who depends ---- */

static void add_name(char *names, size_t room, const char *name)
{
	size_t n = strlen(names);

	/* whole names only */
	if (n + strlen(name) + 3 < room)
		snprintf(names + n, room - n, "%s%s", n ? ", " : "", name);
	else if (n && n + 5 < room && !strstr(names, ", ..."))
		snprintf(names + n, room - n, ", ...");
}

int snap_clones(struct tool *t, const struct branches *all, uint64_t id, uint64_t branch,
		uint64_t snap_gen, struct snap_clones *out, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "volume/", &kv, msg);

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_volume v;

		rc = vms_cat_volume_decode(&c, &v, msg);
		if (rc || !branches_clone_of(all, v.id, id, branch, snap_gen))
			continue;
		out->n++;
		add_name(out->names, sizeof(out->names), v.name);
	}
	tool_kvs_free(&kv);
	return rc;
}

/* ---- delete ---- */

/* The record as it is now. */
static int refresh(struct tool *t, struct snap_info *s, struct snap_fate *fate,
		   struct vms_errmsg *msg)
{
	struct snap_info now;
	int rc = snap_get(t, s->s.volume, s->s.name, &now, msg);

	/* another snapshot of that name: ours is gone */
	fate->gone = rc == VMS_E_NOENT || (!rc && memcmp(now.s.uuid, s->s.uuid, 16));
	if (!rc && !fate->gone)
		*s = now;
	return fate->gone ? 0 : rc;
}

/* It was not what refused the transaction, or was the one that did: who refused to delete it
 * has put it back, and it may have got users since. */
static int still_marked(struct tool *t, struct snap_info *s, struct snap_fate *fate,
			struct vms_errmsg *msg)
{
	uint64_t marked = s->mod_revision;
	int rc = refresh(t, s, fate, msg);

	if (!rc && !fate->gone && s->mod_revision != marked)
		fate->status = vms_fail(&fate->why, VMS_E_BUSY,
					"somebody else has changed it meanwhile");
	return rc;
}

/* Gives those that are refused, or are not, this state; 0 deletes their records. */
static int put_states(struct tool *t, struct snap_info *s, size_t n, struct snap_fate *fate,
		      bool refused, uint8_t state, struct vms_errmsg *msg)
{
	char key[PER_TXN][VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[PER_TXN];
	struct vms_cat_op op[PER_TXN + 1];
	size_t which[PER_TXN], at = 0;
	unsigned tries = 0;

	while (at < n) {
		size_t from = at;
		unsigned k = 0;
		int rc = 0;

		for (; at < n && k < PER_TXN; at++) {
			struct vms_cat_snap next = s[at].s;

			if (fate[at].gone || (fate[at].status != 0) != refused ||
			    next.state == state)
				continue;
			next.state = state;
			vms_cat_key_snap(key[k], next.volume, next.name, NULL);
			cmp[k] = (struct vms_cat_cmp){key[k], s[at].mod_revision};
			op[k] = (struct vms_cat_op){key[k],
						    state ? vms_cat_snap_encode(&next) : NULL, 0};
			which[k++] = at;
		}
		/* Who makes one a LUN of a target has looked before this, then that is not
		 * taken, or looks after it (target/registry.h). */
		op[k] = (struct vms_cat_op){VMS_REG_REFS_KEY, "1", 0};
		if (k)
			rc = tool_txn(t, cmp, k, op, k + (state == VMS_SNAP_DELETING), msg);
		for (unsigned i = 0; i < k; i++)
			free((char *)op[i].val);
		if (tool_txn_again(rc) && ++tries <= TOOL_TRIES) {
			/* One of them changed, or the answer was lost: these once more. */
			rc = 0;
			for (unsigned i = 0; !rc && i < k; i++)
				rc = state ? refresh(t, &s[which[i]], &fate[which[i]], msg)
					   : still_marked(t, &s[which[i]], &fate[which[i]], msg);
			at = from;
			k = 0;
		}
		if (rc)
			return rc;
		for (unsigned i = 0; i < k; i++) {
			s[which[i]].s.state = state;
			s[which[i]].mod_revision = t->revision;
			fate[which[i]].gone = !state;
		}
	}
	return 0;
}

/* One that is being made: by a tool that lives, then it is complete in a moment, or by
 * one that died, then it is given up. */
static int wait_made(struct tool *t, struct snap_info *s, struct snap_fate *fate,
		     struct vms_errmsg *msg)
{
	int rc;

	if (s->s.state != VMS_SNAP_CREATING)
		return 0;
	rc = barrier_settle(t, s->s.volume, NULL, msg);
	if (!rc)
		rc = refresh(t, s, fate, msg);
	if (!rc && !fate->gone && s->s.state == VMS_SNAP_CREATING)
		fate->status = vms_fail(&fate->why, VMS_E_BUSY, "it is being made");
	return rc;
}

/* Gateways that export it, by name. */
static int exporters(struct tool *t, const struct snap_info *s, const struct gateways *gws,
		     struct snap_clones *out, struct vms_errmsg *msg)
{
	char prefix[VMS_CAT_KEY_BYTES_MAX], name[64];
	struct tool_kvs kv;
	int rc;

	memset(out, 0, sizeof(*out));
	snprintf(prefix, sizeof(prefix), "snapopen/%016" PRIx64 "/%016" PRIx64 "/", s->s.id,
		 s->s.snap_gen);
	rc = tool_range(t, prefix, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_open o;

		rc = vms_cat_open_decode(&c, &o, msg);
		if (!rc)
			add_name(out->names, sizeof(out->names),
				 gateways_name(gws, o.gateway, name));
		out->n++;
	}
	tool_kvs_free(&kv);
	return rc;
}

/* A target of the cluster has it as a LUN, though no gateway may run now. */
static void find_lun(const struct targets *all, const struct snap_info *s, struct snap_fate *fate)
{
	char name[240];

	snprintf(name, sizeof(name), "%s@%s", s->s.volume, s->s.name);
	VMS_VEC_FOREACH (all, e) {
		uint64_t lun = vms_reg_lun_of(e->rec, name);

		if (lun != UINT64_MAX) {
			fate->status = vms_fail(&fate->why, VMS_E_OPEN,
						"it is LUN %" PRIu64 " of %.100s; take that away "
						"first (vmstore target rm-lun NAME %" PRIu64 ")",
						lun, vms_reg_name(e->rec), lun);
			return;
		}
	}
}

/* An import-diff that is under way, or was interrupted, takes its volume back to it. Whoever
 * begins one opens the snapshot after that is noted, so one that is marked here stays. */
static int find_import(struct tool *t, const struct snap_info *s, struct snap_fate *fate,
		       struct vms_errmsg *msg)
{
	struct importing in;
	struct volume_view v;
	int rc = importing_load(t, s->s.volume, &in, msg);

	if (rc)
		return rc == VMS_E_NOENT ? 0 : rc;
	if (strcmp(in.base, s->s.name) != 0)
		return 0;
	rc = volume_load(t, s->s.volume, &v, msg);
	if (!rc && v.v.state == VOLUME_IMPORTING)
		fate->status = vms_fail(&fate->why, VMS_E_BUSY,
					"the volume goes back to it, or on from it, by the next "
					"vmstore import-diff, as one was interrupted or is under "
					"way");
	volume_free(&v);
	return rc;
}

/* The reasons not to delete, looked for when no new ones can come any more. */
static int find_users(struct tool *t, struct snap_info *s, size_t n, struct snap_fate *fate,
		      struct vms_errmsg *msg)
{
	struct branches all = VMS_VEC_INIT;
	struct gateways gws = VMS_VEC_INIT;
	struct targets tgts = VMS_VEC_INIT;
	int rc = branches_load(t, &all, msg);

	if (!rc)
		rc = gateways_load(t, &gws, msg);
	if (!rc)
		rc = targets_load(t, &tgts, msg);
	for (size_t i = 0; !rc && i < n; i++) {
		struct snap_clones c;
		bool grown = false;

		if (!fate[i].status && !fate[i].gone)
			find_lun(&tgts, &s[i], &fate[i]);
		if (!fate[i].status && !fate[i].gone)
			rc = find_import(t, &s[i], &fate[i], msg);
		if (rc || fate[i].status || fate[i].gone)
			continue;
		rc = exporters(t, &s[i], &gws, &c, msg);
		if (!rc && c.n) { /* an export that was killed is none */
			leftover_settle(t, s[i].s.id);
			rc = exporters(t, &s[i], &gws, &c, msg);
		}
		if (!rc && c.n)
			fate[i].status = vms_fail(&fate[i].why, VMS_E_OPEN,
						  "it is exported by gateway %s; take its LUN away "
						  "first (vmstore target rm-lun), "
						  "or, if that is gone: vmstore gateway forget",
						  c.names);
		/* the list of volumes is read only when a branch of another one grew from it */
		VMS_VEC_FOREACH (&all, b)
			grown |= b->b.owner != s[i].s.id && b->b.state == BRANCH_LIVE &&
				 branch_sees(&b->b, s[i].s.branch, s[i].s.snap_gen);
		if (rc || fate[i].status || !grown)
			continue;
		rc = snap_clones(t, &all, s[i].s.id, s[i].s.branch, s[i].s.snap_gen, &c, msg);
		if (!rc && c.n)
			fate[i].status = vms_fail(
				&fate[i].why, VMS_E_BUSY, "it has %u clone%s: %s; delete %s first",
				c.n, c.n > 1 ? "s" : "", c.names, c.n > 1 ? "them" : "it");
	}
	branches_free(&all);
	gateways_free(&gws);
	targets_free(&tgts);
	return rc;
}

/* Of LUNs that exported those that go now. */
static int forget_reservations(struct tool *t, const struct snap_info *s, size_t n,
			       const struct snap_fate *fate, struct vms_errmsg *msg)
{
	uint8_t(*uuid)[16] = malloc((n + 1) * sizeof(*uuid));
	size_t k = 0;
	int rc;

	if (!uuid)
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		if (!fate[i].gone && !fate[i].status)
			memcpy(uuid[k++], s[i].s.uuid, sizeof(*uuid));
	rc = k ? volume_forget_reservations(t, (const uint8_t(*)[16])uuid, k, msg) : 0;
	free(uuid);
	return rc;
}

int snaps_remove(struct tool *t, struct snap_info *s, size_t n, struct snap_fate *fate,
		 struct vms_errmsg *msg)
{
	int rc = 0;

	memset(fate, 0, n * sizeof(*fate));
	for (size_t i = 0; !rc && i < n; i++)
		rc = wait_made(t, &s[i], &fate[i], msg);
	/* Marked first: from then on no gateway exports it and no clone is made of it, and
	 * who did so just before is seen. */
	if (!rc)
		rc = put_states(t, s, n, fate, false, VMS_SNAP_DELETING, msg);
	if (!rc)
		rc = find_users(t, s, n, fate, msg);
	if (!rc)
		rc = put_states(t, s, n, fate, true, VMS_SNAP_COMPLETE, msg);
	if (!rc)
		rc = forget_reservations(t, s, n, fate, msg);
	if (!rc)
		rc = put_states(t, s, n, fate, false, 0, msg);
	/* A branch that its volume has left may have lost its last snapshot. */
	for (size_t i = 0; !rc && i < n; i++)
		if (!i || strcmp(s[i].s.volume, s[i - 1].s.volume))
			rc = branches_settle(t, s[i].s.volume, msg);
	return rc;
}
