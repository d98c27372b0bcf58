// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/move.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utils/lib/size.h"
#include "utils/tool/barrier_int.h"
#include "utils/tool/branch.h"
#include "utils/tool/nodes.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

#define NODE_MS_MAX 10000u

static int complete_only(const struct snap_info *s, struct vms_errmsg *msg)
{
	if (s->s.state == VMS_SNAP_COMPLETE)
		return 0;
	return vms_fail(msg, VMS_E_BUSY, "snapshot '%.100s@%.100s' is being %s", s->s.volume,
			s->s.name, s->s.state == VMS_SNAP_CREATING ? "made" : "deleted");
}

/* skip_down: a primary that is down reads branch/ and volume/ before it serves again, as
 * does who takes over from it. */
static int floors(struct tool *t, struct nodes *ns, uint64_t branch, const struct vms_cat_volume *v,
		  bool skip_down, struct vms_errmsg *msg)
{
	const struct vms_msg m = {.type = VMS_MSG_FLOOR,
				  .flags = VMS_F_FUA,
				  .partition = VMS_PART_NONE,
				  .branch = branch,
				  .snap_gen = v->snap_gen,
				  .lun_fence = v->lun_fence};
	const struct nodes_want want = {
		.timeout_ms = NODE_MS_MAX, .skip_down = skip_down, .all_up = true};

	return nodes_send(t, ns, &m, &want, msg);
}

/* Makes a branch and gives it to the volume (v: what is to be written) in one
 * transaction, whose other compares are cmp[3..]. The cluster's record gives the
 * number. 0: done, *revision; else as tool_txn(). */
static int put_branch(struct tool *t, struct vms_cat_branch *b, struct vms_cat_volume *v,
		      bool is_new, struct vms_cat_cmp *cmp, unsigned ncmp, uint64_t *revision,
		      struct vms_errmsg *msg)
{
	char bkey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op[3] = {{"cluster", NULL, 0}, {bkey, NULL, 0}, {cmp[2].key, NULL, 0}};
	struct vms_cat_cluster cluster;
	struct vms_errmsg ignored;
	struct tool_kvs kv;
	int rc = view_cluster(t, &cluster, &cmp[0].mod_revision, msg);

	if (rc)
		return rc;
	cmp[0].key = "cluster";
	b->branch = cluster.next_branch++;
	if (is_new)
		v->id = v->branch = b->owner = b->branch;
	vms_cat_key_branch(bkey, b->branch);
	cmp[1] = (struct vms_cat_cmp){bkey, 0};
	op[0].val = vms_cat_cluster_encode(&cluster);
	op[1].val = vms_cat_branch_encode(b);
	op[2].val = vms_cat_volume_encode(v);
	rc = tool_txn(t, cmp, ncmp, op, 3, msg);
	*revision = t->revision;
	/* The number is nobody else's: if the record is there, we wrote it. */
	if (rc == VMS_E_TIMEOUT || rc == VMS_E_DISCONNECTED) {
		if (!tool_get(t, bkey, &kv, &ignored) && kv.n && !strcmp(kv.d[0].val, op[1].val)) {
			*revision = kv.d[0].mod_revision;
			rc = 0;
		}
		tool_kvs_free(&kv);
	}
	for (unsigned i = 0; i < 3; i++)
		free((char *)op[i].val);
	return rc;
}

/* Ends the barrier with v as the volume then is; someone may have changed another field. */
static int finish(struct tool *t, struct vms_cat_volume *v, uint64_t revision,
		  struct vms_errmsg *msg)
{
	struct vms_cat_volume want = *v;
	int rc = 0;

	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct volume_view now;

		v->branch = want.branch;
		v->size_bytes = want.size_bytes;
		v->barrier = VMS_BARRIER_NONE;
		rc = volume_store(t, v, revision, msg);
		if (!tool_txn_again(rc))
			return rc;
		rc = volume_load(t, want.name, &now, msg);
		volume_free(&now);
		if (rc)
			return rc;
		*v = now.v;
		revision = now.mod_revision;
		if (now.v.barrier == VMS_BARRIER_NONE && now.v.branch == want.branch)
			return 0;
		if (now.v.barrier == VMS_BARRIER_NONE || now.v.barrier_id != want.barrier_id)
			return vms_fail(
				msg, VMS_E_BUSY,
				"it took longer than 10 s and was given up; nothing has changed");
	}
	return rc;
}

/* ---- moving ---- */

struct moving {
	const struct volume_move *mv;
	struct volume_view v;
	struct snap_info s;
	struct vms_cat_volume next;
	struct branch_info from;
	struct vms_cat_branch b;
	bool in_use; /* gateways have it open */
};

static int refuse(struct tool *t, const struct volume_view *v, const struct volume_move *mv,
		  struct vms_errmsg *msg)
{
	struct volume_view closed = *v;
	int rc;

	if (mv->snap && v->v.write_protect)
		return vms_fail(msg, VMS_E_PERM,
				"volume '%.60s' cannot be %.20s: it is read-only (vmstore volume "
				"set %.60s read-only=off)",
				mv->volume, mv->what, mv->volume);
	closed.openers.n = 0;
	rc = volume_refuse_busy(&closed, mv->what, msg);
	if (!rc && !mv->online && v->openers.n) {
		struct vms_errmsg why;

		(void)volume_refuse_open(v, mv->what, &why);
		rc = vms_fail(msg, VMS_E_OPEN, "%s, or say --online", why.text);
	}
	if (!rc)
		rc = volume_refuse_tools(v, mv->what, msg);
	return rc ? rc : volume_refuse_reserved(t, v, mv->what, msg);
}

/* Reads and checks everything, and what is to be: next, b. */
static int prepare(struct tool *t, struct moving *m, struct vms_errmsg *msg)
{
	const struct volume_move *mv = m->mv;
	struct vms_errmsg why;
	int rc = barrier_settle(t, mv->volume, NULL, msg);

	if (!rc)
		rc = volume_load_settled(t, mv->volume, &m->v, msg);
	if (!rc)
		rc = refuse(t, &m->v, mv, msg);
	if (!rc && mv->snap)
		rc = snap_get(t, mv->volume, mv->snap, &m->s, msg);
	if (!rc && mv->snap)
		rc = complete_only(&m->s, msg);
	if (rc)
		return rc;
	m->next = m->v.v;
	m->next.snap_gen++;
	m->next.lun_fence++;
	m->next.barrier = VMS_BARRIER_STOP;
	m->next.barrier_id = m->next.snap_gen;
	m->next.barrier_s = (uint64_t)time(NULL);
	m->next.barrier_quiet = true;
	/* What gateways have on its way when they see the stop is still of the old branch,
	 * under the number of the stop: it shows through too. */
	m->in_use = m->v.openers.n;
	if (!mv->snap)
		m->s.s = (struct vms_cat_snap){.branch = m->v.v.branch,
					       .snap_gen = m->v.v.snap_gen + m->in_use,
					       .size_bytes = mv->size_bytes};
	rc = branch_get(t, m->s.s.branch, &m->v.v, &m->from, msg);
	if (!rc && (rc = branch_grow(&m->from.b, m->s.s.snap_gen, m->s.s.size_bytes, &m->b, &why)))
		rc = vms_fail(msg, rc, "volume '%.60s' cannot be %.20s: %.170s", mv->volume,
			      mv->what, why.text);
	return rc;
}

/* The new branch, and the volume's record over the one at this revision. */
static int put_moving(struct tool *t, struct moving *m, uint64_t mod_revision, uint64_t *revision,
		      struct vms_errmsg *msg)
{
	char vkey[VMS_CAT_KEY_BYTES_MAX], skey[VMS_CAT_KEY_BYTES_MAX], fkey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[5] = {{NULL, 0}, {NULL, 0}, {vkey, 0}, {fkey, 0}, {skey, 0}};

	vms_cat_key_volume(vkey, m->mv->volume, NULL);
	cmp[2].mod_revision = mod_revision;
	/* "It has no record", too, may be what a stale read said: ancestors would be lost. */
	vms_cat_key_branch(fkey, m->s.s.branch);
	cmp[3].mod_revision = m->from.mod_revision;
	if (m->mv->snap) {
		vms_cat_key_snap(skey, m->mv->volume, m->mv->snap, NULL);
		cmp[4].mod_revision = m->s.mod_revision;
	}
	return put_branch(t, &m->b, &m->next, false, cmp, m->mv->snap ? 5 : 4, revision, msg);
}

/* The stop. With gateways that have it open the branch comes when they are quiet: a node
 * that knows it orders nothing any more in what it grows from. */
static int try_move(struct tool *t, struct moving *m, struct barrier_run *r, struct vms_errmsg *msg)
{
	int rc = prepare(t, m, msg);

	r->v = m->v.v;
	r->v_revision = m->v.mod_revision;
	if (!rc && m->in_use)
		return barrier_step(r, &m->next, NULL, NULL, 0, false, msg);
	return rc ? rc : put_moving(t, m, m->v.mod_revision, &r->v_revision, msg);
}

/* What the volume is from the release on. */
static void moved(void *arg, struct vms_cat_volume *v)
{
	const struct moving *m = arg;

	v->branch = m->b.branch;
	v->size_bytes = m->s.s.size_bytes;
	v->snap_gen = m->next.snap_gen;
	v->rollbacks = m->v.v.rollbacks + (m->mv->snap != NULL);
}

/* From the stop to the end of the barrier. */
static int carry_out(struct tool *t, struct moving *m, struct barrier_run *r,
		     struct vms_errmsg *msg)
{
	bool done = false;
	int rc;

	r->v = m->next;
	rc = barrier_quiet_stopped(r, msg);
	/* A gateway may have registered just before the stop. */
	if (!rc && r->asked.n && !m->in_use)
		rc = m->mv->online
			     ? vms_fail(msg, VMS_E_CONFLICT, "a gateway has opened it meanwhile")
			     : vms_fail(msg, VMS_E_OPEN,
					"volume '%.60s' cannot be %.20s: a gateway has opened it "
					"meanwhile",
					m->mv->volume, m->mv->what);
	/* What shows through must not change any more. A snapshot's floors are everywhere;
	 * without one, every node has to have the new number. */
	if (!rc && m->in_use) {
		m->next.snap_gen++;
		rc = put_moving(t, m, r->v_revision, &r->v_revision, msg);
		r->v = m->next;
	}
	if (!rc)
		rc = floors(t, &r->nodes, m->v.v.branch, &m->next, m->mv->snap != NULL, msg);
	if (!rc)
		rc = floors(t, &r->nodes, m->b.branch, &m->next, true, msg);
	if (!rc)
		rc = barrier_quiet_release(r, moved, m, &done, msg);
	barrier_quiet_end(r, rc);
	if (rc && done) {
		struct vms_errmsg why = *msg;

		rc = vms_fail(
			msg, VMS_E_TIMEOUT,
			"volume '%.60s' is %.20s, but not every gateway has confirmed it: %.130s",
			m->mv->volume, m->mv->what, why.text);
	} else if (rc == VMS_E_BUSY) {
		vms_fail(msg, rc, "it took longer than 10 s and was given up; nothing has changed");
	}
	return rc;
}

int move_volume(struct tool *t, const struct volume_move *mv, struct vms_cat_volume *out,
		struct vms_errmsg *msg)
{
	struct moving m = {.mv = mv};
	struct barrier_report rep = {0};
	struct barrier_run r = {.t = t, .rep = &rep, .change = true};
	uint64_t t0 = vms_clock_ms();
	struct vms_errmsg ignored;
	unsigned tries = 0;
	int rc = nodes_open(t, &r.nodes, msg);

	if (rc)
		goto out;
	do {
		do {
			rc = try_move(t, &m, &r, msg);
			volume_free(&m.v);
		} while (tool_txn_again(rc) && tool_retry(t, &tries));
		if (rc)
			break;
		r.lost = false;
		for (unsigned i = 0; i < r.nodes.n; i++)
			tool_peer_open(t, &r.nodes.p[i]);
		rc = carry_out(t, &m, &r, msg);
		/* the branch it left, or the new one when that came to nothing */
		if (rc)
			(void)branches_settle(t, mv->volume, &ignored);
		else
			rc = branches_settle(t, mv->volume, msg);
	} while (mv->online && (rc == VMS_E_CONFLICT || rc == VMS_E_AGAIN) &&
		 vms_clock_ms() - t0 < BARRIER_TRY_MS && !tool_interrupted());
	m.next.branch = m.b.branch;
	m.next.size_bytes = m.s.s.size_bytes;
	m.next.barrier = VMS_BARRIER_NONE;
	*out = m.next;
out:
	nodes_close(t, &r.nodes);
	gateways_free(&r.gateways);
	VMS_VEC_FREE(&r.asked);
	return rc;
}

/* ---- clone ---- */

static int try_clone(struct tool *t, const struct snap_info *s, const char *name,
		     uint64_t size_bytes, struct vms_cat_volume *v, struct vms_cat_branch *b,
		     uint64_t *revision, struct vms_errmsg *msg)
{
	char vkey[VMS_CAT_KEY_BYTES_MAX], skey[VMS_CAT_KEY_BYTES_MAX], pkey[VMS_CAT_KEY_BYTES_MAX];
	char fkey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[6] = {{NULL, 0}, {NULL, 0}, {vkey, 0}, {skey, s->mod_revision},
				     {pkey, 0}, {fkey, 0}};
	struct branch_info from;
	struct volume_view parent, have;
	struct vms_errmsg why;
	int rc = volume_load(t, s->s.volume, &parent, msg);

	volume_free(&parent);
	if (!rc && parent.v.state == VOLUME_DELETING)
		rc = vms_fail(msg, VMS_E_BUSY, "volume '%s' is being deleted", s->s.volume);
	if (rc)
		return rc;
	rc = volume_load(t, name, &have, &why);
	volume_free(&have);
	if (!rc)
		return vms_fail(msg, VMS_E_EXIST, "volume '%s' exists already", name);
	if (rc != VMS_E_NOENT)
		return vms_fail(msg, rc, "%s", why.text);
	rc = branch_get(t, s->s.branch, &parent.v, &from, msg);
	if (!rc && (rc = branch_grow(&from.b, s->s.snap_gen, s->s.size_bytes, b, &why)))
		rc = vms_fail(msg, rc, "'%.80s@%.80s' cannot be cloned: %s", s->s.volume, s->s.name,
			      why.text);
	if (rc)
		return rc;
	*v = (struct vms_cat_volume){.lineage = b->lineage,
				     .size_bytes = size_bytes ? size_bytes : s->s.size_bytes,
				     .snap_gen = 1,
				     .lun_fence = 1,
				     .write_ack = parent.v.write_ack,
				     .state = VOLUME_READY,
				     .barrier = VMS_BARRIER_STOP,
				     .barrier_quiet = true,
				     .barrier_id = 1,
				     .barrier_s = (uint64_t)time(NULL),
				     .dedup = parent.v.dedup,
				     .created_s = (uint64_t)time(NULL)};
	snprintf(v->name, sizeof(v->name), "%s", name);
	snprintf(v->domain, sizeof(v->domain), "%s", parent.v.domain);
	snprintf(v->parent, sizeof(v->parent), "%.100s@%.100s", s->s.volume, s->s.name);
	tool_uuid_new(v->uuid);
	vms_cat_key_volume(vkey, name, NULL);
	vms_cat_key_snap(skey, s->s.volume, s->s.name, NULL);
	/* the parent too: its deletion begins with a change of it */
	vms_cat_key_volume(pkey, s->s.volume, NULL);
	cmp[4].mod_revision = parent.mod_revision;
	vms_cat_key_branch(fkey, s->s.branch); /* as in try_move() */
	cmp[5].mod_revision = from.mod_revision;
	return put_branch(t, b, v, true, cmp, 6, revision, msg);
}

int move_clone(struct tool *t, const char *volume, const char *snap, const char *name,
	       uint64_t size_bytes, struct vms_cat_volume *out, struct vms_errmsg *msg)
{
	char was[VMS_SIZE_TEXT_MAX];
	struct vms_cat_branch b;
	struct snap_info s;
	uint64_t revision = 0;
	unsigned tries = 0;
	struct nodes ns;
	int rc = vms_cat_volume_name_check(name, msg);

	if (rc)
		return rc;
	rc = nodes_open(t, &ns, msg);
	if (rc)
		goto out;
	do {
		rc = snap_get_made(t, volume, snap, &s, msg);
		if (!rc)
			rc = complete_only(&s, msg);
		if (!rc && size_bytes && size_bytes < s.s.size_bytes)
			rc = vms_fail(msg, VMS_E_INVAL,
				      "the snapshot has %s; a clone can be larger, not smaller",
				      vms_size_format(s.s.size_bytes, was));
		if (!rc)
			rc = try_clone(t, &s, name, size_bytes, out, &b, &revision, msg);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	/* The volume exists and cannot be opened yet: every node is to know its branch. If
	 * one does not say so, it will; until then it answers "again". */
	if (!rc) {
		struct vms_errmsg ignored;

		(void)floors(t, &ns, b.branch, out, true, &ignored);
		rc = finish(t, out, revision, msg);
	}
out:
	nodes_close(t, &ns);
	return rc;
}
