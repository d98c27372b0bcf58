// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why the cut is consistent: a gateway that sees the intent sends no more writes under
 * the old number, and lets go by itself (with a veto) after 1 s at the earliest. All
 * gateways must have stopped within STOP_MS_MAX of the intent, so when the first one
 * could let go, the last has stopped. Then every node logs the new number as floor and
 * makes durable what it ordered before; only after that are writes released, under the
 * new number. A write that follows an answer given to a new one is therefore new too.
 *
 * A gateway that never acknowledged and is gone (its registration has vanished, or no
 * node has a live session of it and it is fenced) holds nothing back; one that stopped
 * must also have released without a veto.
 *
 * "Every node" is: the primary of every partition, as part/ tells after the intent. Who
 * takes over later reads volume/ before it serves, so it knows the new number; what was
 * ordered before is settled by its predecessor, or it is asked itself (nodes.h).
 */
#include "utils/tool/barrier_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STOP_MS_MAX	900u /* from the intent to the last stop; below the gateways' 1 s */
#define FLOOR_MS_MAX	5000u
#define RELEASE_MS_MAX	3000u
#define NODE_MS_MAX	3000u
#define SESSIONS_MS_MAX 500u  /* gateways hold meanwhile */
#define SAY_MS		2000u /* then the user learns what it waits for */
#define PAUSE_MS	100u  /* between two attempts */

/* ---- the records ---- */

int barrier_volume_get(struct tool *t, const char *name, struct vms_cat_volume *v,
		       uint64_t *revision, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv = VMS_VEC_INIT;
	int rc = vms_cat_key_volume(key, name, msg);

	if (rc)
		return rc;
	rc = tool_get(t, key, &kv, msg);
	if (!rc && !kv.n)
		rc = vms_fail(msg, VMS_E_NOENT, "there is no volume '%s'", name);
	if (!rc) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		*revision = c.mod_revision;
		rc = vms_cat_volume_decode(&c, v, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

/* Drops the snapshot that was being made, the acknowledgements, the barrier. */
static int drop(struct tool *t, const struct vms_cat_volume *v, uint64_t revision, char *abandoned,
		struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], prefix[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_volume next = *v;
	struct vms_cat_cmp cmp = {key, revision};
	struct vms_cat_op op[BARRIER_ASKED_MAX + 20] = {{key, NULL, 0}};
	struct tool_kvs snaps, acks = VMS_VEC_INIT;
	unsigned n = 1;
	int rc;

	vms_cat_key_volume(key, v->name, NULL);
	snprintf(prefix, sizeof(prefix), "snap/%s@", v->name);
	rc = tool_range(t, prefix, &snaps, msg);
	for (size_t i = 0; !rc && i < snaps.n && n < 20; i++) {
		struct vms_cat_kv c = tool_cat_kv(&snaps.d[i]);
		struct vms_cat_snap s;

		if (vms_cat_snap_decode(&c, &s, NULL) || s.state != VMS_SNAP_CREATING)
			continue;
		op[n++] = (struct vms_cat_op){c.key, NULL, 0};
		if (abandoned)
			snprintf(abandoned, 240, "%.100s@%.100s", s.volume, s.name);
	}
	snprintf(prefix, sizeof(prefix), "ack/%016" PRIx64 "/", v->id);
	if (!rc)
		rc = tool_range(t, prefix, &acks, msg);
	for (size_t i = 0; !rc && i < acks.n && n < BARRIER_ASKED_MAX; i++)
		op[n++] = (struct vms_cat_op){acks.d[i].key, NULL, 0};
	next.barrier = VMS_BARRIER_NONE;
	op[0].val = vms_cat_volume_encode(&next);
	if (!rc)
		rc = tool_txn(t, &cmp, 1, op, n, msg);
	free((char *)op[0].val);
	tool_kvs_free(&snaps);
	tool_kvs_free(&acks);
	return rc;
}

int barrier_abandon(struct tool *t, const char *volume, uint64_t barrier_id, struct vms_errmsg *msg)
{
	struct vms_cat_volume v;
	uint64_t revision;
	int rc = 0;

	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		rc = barrier_volume_get(t, volume, &v, &revision, msg);
		if (rc == VMS_E_NOENT)
			return 0;
		if (rc || v.barrier == VMS_BARRIER_NONE || v.barrier_id != barrier_id)
			return rc;
		rc = drop(t, &v, revision, NULL, msg);
		if (!tool_txn_again(rc))
			return rc;
	}
	return rc;
}

/* How long ago did the tool that has put on this barrier begin, by the wall clock? 0 when
 * that is not known. */
static uint64_t age_ms(struct tool *t, const struct vms_cat_volume *v)
{
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	uint64_t now_s = (uint64_t)time(NULL), age_s = 0;
	struct tool_kvs kv;

	if (v->barrier_s && v->barrier_s < now_s)
		age_s = now_s - v->barrier_s;
	/* of an earlier release: of a snapshot alone it can be told */
	snprintf(prefix, sizeof(prefix), "snap/%s@", v->name);
	if (!tool_range(t, prefix, &kv, NULL))
		for (size_t i = 0; i < kv.n; i++) {
			struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
			struct vms_cat_snap s;

			if (!vms_cat_snap_decode(&c, &s, NULL) && s.state == VMS_SNAP_CREATING &&
			    s.created_s && s.created_s < now_s && now_s - s.created_s > age_s)
				age_s = now_s - s.created_s;
		}
	tool_kvs_free(&kv);
	return age_s * 1000;
}

int barrier_settle(struct tool *t, const char *volume, char *abandoned, struct vms_errmsg *msg)
{
	uint64_t id = 0, since = 0, revision, age = 0;
	struct vms_cat_volume v;
	int rc;

	if (abandoned)
		abandoned[0] = 0;
	for (;;) {
		rc = barrier_volume_get(t, volume, &v, &revision, msg);
		if (rc == VMS_E_NOENT || (!rc && v.barrier == VMS_BARRIER_NONE))
			return 0;
		if (rc)
			return rc;
		if (!since || v.barrier_id != id) {
			id = v.barrier_id;
			since = vms_clock_ms();
			/* A clock that is wrong abandons early or late, which hurts nobody:
			 * the coordinator's next compare fails, and it repeats. */
			age = age_ms(t, &v);
		}
		if (age + (vms_clock_ms() - since) >= BARRIER_OLD_MS) {
			rc = drop(t, &v, revision, abandoned, msg);
			if (rc && !tool_txn_again(rc))
				return rc;
			continue;
		}
		tool_wait(t, 20);
	}
}

/* ---- what the catalog tells meanwhile ---- */

static struct barrier_asked *asked_of(struct barrier_run *r, uint32_t gateway)
{
	VMS_VEC_FOREACH (&r->asked, a)
		if (a->gateway == gateway)
			return a;
	return NULL;
}

static void on_ack(void *arg, const struct vms_cat_reply *re)
{
	struct barrier_run *r = arg;

	r->lost |= re->status != 0;
	for (unsigned i = 0; !re->status && i < re->nkv; i++) {
		struct vms_cat_ack ack;
		struct barrier_asked *a;

		if (!re->kv[i].val || vms_cat_ack_decode(&re->kv[i], &ack, NULL) ||
		    ack.barrier_id != r->v.barrier_id)
			continue;
		a = asked_of(r, ack.gateway);
		if (!a || ack.incarnation != a->incarnation || a->state == VMS_ACK_VETO)
			continue;
		a->state = ack.state;
		a->ack_revision = re->kv[i].mod_revision;
	}
}

static void on_open(void *arg, const struct vms_cat_reply *re)
{
	struct barrier_run *r = arg;

	r->lost |= re->status != 0;
	for (unsigned i = 0; !re->status && i < re->nkv; i++) {
		const char *s = strrchr(re->kv[i].key, '/');
		struct barrier_asked *a = s ? asked_of(r, (uint32_t)strtoul(s + 1, NULL, 16))
					    : NULL;

		if (a && !re->kv[i].val)
			a->gone = true;
	}
}

/* Somebody let go, or went away after it had stopped. */
static struct barrier_asked *broken(struct barrier_run *r)
{
	if (r->change)
		return NULL; /* what was let go, or is gone, does no harm to it */
	VMS_VEC_FOREACH (&r->asked, a)
		if (a->state == VMS_ACK_VETO || (a->gone && a->state == VMS_ACK_STOPPED))
			return a;
	return NULL;
}

struct barrier_asked *barrier_not_stopped(struct barrier_run *r)
{
	VMS_VEC_FOREACH (&r->asked, a)
		if (!a->state && !a->gone)
			return a;
	return NULL;
}

struct barrier_asked *barrier_not_released(struct barrier_run *r)
{
	VMS_VEC_FOREACH (&r->asked, a)
		if (a->state == VMS_ACK_STOPPED)
			return a;
	return NULL;
}

bool barrier_hopeless(void *arg)
{
	struct barrier_run *r = arg;

	return r->lost || broken(r) || tool_interrupted();
}

int barrier_say_broken(struct barrier_run *r, struct vms_errmsg *msg)
{
	const struct barrier_asked *a = broken(r);
	char name[64];

	if (tool_interrupted())
		return vms_fail(msg, VMS_E_CANCELLED, "interrupted");
	if (!a)
		return vms_fail(msg, VMS_E_DISCONNECTED, "the catalog lost the thread");
	gateways_name(&r->gateways, a->gateway, name);
	if (a->state == VMS_ACK_VETO)
		return vms_fail(msg, VMS_E_BUSY,
				"gateway %s had held its writes for 1 s and let go: the nodes were "
				"too slow",
				name);
	return vms_fail(msg, VMS_E_BUSY, "gateway %s went away while it held its writes", name);
}

/* ---- the steps ---- */

/* Writes volume (and snapshot) by compare; an unknown outcome is read back. */
int barrier_step(struct barrier_run *r, const struct vms_cat_volume *next,
		 const struct vms_cat_snap *snap, const struct vms_cat_cmp *more_cmp, unsigned more,
		 bool forget_acks, struct vms_errmsg *msg)
{
	char vkey[VMS_CAT_KEY_BYTES_MAX], skey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[2 + BARRIER_ASKED_MAX] = {{vkey, r->v_revision}};
	struct vms_cat_op op[2 + BARRIER_ASKED_MAX] = {{vkey, NULL, 0}};
	unsigned nc = 1, no = 1;
	int rc;

	vms_cat_key_volume(vkey, next->name, NULL);
	op[0].val = vms_cat_volume_encode(next);
	if (snap) {
		vms_cat_key_snap(skey, snap->volume, snap->name, NULL);
		cmp[nc++] = (struct vms_cat_cmp){skey, r->s_revision};
		op[no++] = (struct vms_cat_op){skey, vms_cat_snap_encode(snap), 0};
	}
	for (unsigned i = 0; i < more; i++) {
		cmp[nc++] = more_cmp[i];
		if (forget_acks)
			op[no++] = (struct vms_cat_op){more_cmp[i].key, NULL, 0};
	}
	rc = tool_txn(r->t, cmp, nc, op, no, msg);
	if (rc == VMS_E_TIMEOUT || rc == VMS_E_DISCONNECTED) {
		/* The snapshot's record has its own identity, the volume's the barrier's. */
		const struct vms_cat_op *told = snap ? &op[1] : &op[0];
		struct vms_errmsg ignored;
		struct tool_kvs kv;

		if (!tool_get(r->t, told->key, &kv, &ignored) && kv.n &&
		    !strcmp(kv.d[0].val, told->val)) {
			r->t->revision = kv.d[0].mod_revision;
			rc = 0;
		}
		tool_kvs_free(&kv);
	}
	free((char *)op[0].val);
	if (snap)
		free((char *)op[1].val);
	if (rc)
		return rc;
	r->v = *next;
	r->v_revision = r->t->revision;
	if (snap) {
		r->s = *snap;
		r->s_revision = r->t->revision;
	}
	return 0;
}

/* Somebody may change the volume meanwhile (its dedup setting, say): repeated as long
 * as the barrier is ours and it was the volume that changed. */
int barrier_step_again(struct barrier_run *r, uint8_t barrier, const struct vms_cat_snap *snap,
		       const struct vms_cat_cmp *more_cmp, unsigned more, struct vms_errmsg *msg)
{
	int rc = 0;

	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct vms_cat_volume next = r->v;
		uint64_t revision;

		next.barrier = barrier;
		if (r->edit)
			r->edit(r->edit_arg, &next);
		if (r->origin && barrier == VMS_BARRIER_NONE)
			next.state = 1;
		rc = barrier_step(r, &next, snap, more_cmp, more, true, msg);
		if (rc != VMS_E_CONFLICT)
			return rc;
		rc = barrier_volume_get(r->t, r->v.name, &next, &revision, msg);
		if (rc)
			return rc;
		if (next.barrier != r->v.barrier || next.barrier_id != r->v.barrier_id)
			return vms_fail(msg, VMS_E_BUSY, "somebody gave it up meanwhile");
		if (revision == r->v_revision)
			return vms_fail(msg, VMS_E_BUSY, "a gateway let go at the last moment");
		r->v = next;
		r->v_revision = revision;
	}
	return rc;
}

static int intent(struct barrier_run *r, const char *snap, struct vms_errmsg *msg)
{
	struct vms_cat_volume next = r->v;
	struct vms_cat_snap s = {.id = r->v.id,
				 .branch = r->v.branch,
				 .snap_gen = r->v.snap_gen,
				 .size_bytes = r->v.size_bytes,
				 .state = VMS_SNAP_CREATING,
				 .created_s = (uint64_t)time(NULL)};

	snprintf(s.volume, sizeof(s.volume), "%s", r->v.name);
	snprintf(s.name, sizeof(s.name), "%s", snap);
	tool_uuid_new(s.uuid);
	if (r->origin)
		memcpy(s.origin, r->origin, sizeof(s.origin));
	next.snap_gen++;
	next.barrier = VMS_BARRIER_STOP;
	next.barrier_id = next.snap_gen;
	next.barrier_s = s.created_s;
	next.barrier_quiet = false;
	r->s_revision = 0;
	r->t0 = vms_clock_ms();
	return barrier_step(r, &next, &s, NULL, 0, false, msg);
}

int barrier_find_asked(struct barrier_run *r, struct vms_errmsg *msg)
{
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	uint64_t from = r->v_revision;
	struct tool_kvs kv;
	int rc;

	snprintf(prefix, sizeof(prefix), "open/%016" PRIx64 "/", r->v.id);
	rc = tool_range(r->t, prefix, &kv, msg);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_open o;
		struct barrier_asked *a;

		rc = vms_cat_open_decode(&c, &o, msg);
		if (rc)
			break;
		a = VMS_VEC_ADD(&r->asked);
		a->gateway = o.gateway;
		a->incarnation = o.incarnation;
		vms_cat_key_ack(a->key, r->v.id, o.gateway);
	}
	tool_kvs_free(&kv);
	if (!rc && r->asked.n > BARRIER_ASKED_MAX)
		rc = vms_fail(msg, VMS_E_UNSUPPORTED,
			      "volume '%.60s' is open on %zu gateways; a barrier reaches %u",
			      r->v.name, r->asked.n, BARRIER_ASKED_MAX);
	if (rc || !r->asked.n)
		return rc;
	r->watch_open = tool_watch(r->t, prefix, r->t->revision, on_open, r);
	snprintf(prefix, sizeof(prefix), "ack/%016" PRIx64 "/", r->v.id);
	r->watch_ack = tool_watch(r->t, prefix, from, on_ack, r);
	return gateways_load(r->t, &r->gateways, msg);
}

/* Gateways that do not answer: those that no node hears of any more are shut out. */
int barrier_shut_out(struct barrier_run *r, struct vms_errmsg *msg)
{
	struct barrier_report *rep = r->rep;

	VMS_VEC_FOREACH (&r->asked, a) {
		char name[64];
		unsigned live;
		int rc;

		if (a->state || a->gone)
			continue;
		rc = gateway_sessions(r->t, &r->nodes, a->gateway, SESSIONS_MS_MAX, &live, msg);
		if (rc)
			return rc;
		if (live)
			continue;
		rc = gateway_fence(r->t, &r->nodes, a->gateway, a->incarnation, false, msg);
		if (rc)
			return rc;
		a->gone = true;
		gateways_name(&r->gateways, a->gateway, name);
		if (!strstr(rep->fenced, name))
			snprintf(rep->fenced + strlen(rep->fenced),
				 sizeof(rep->fenced) - strlen(rep->fenced), "%s%.40s",
				 rep->fenced[0] ? ", " : "", name);
	}
	return 0;
}

static int wait_stopped(struct barrier_run *r, struct vms_errmsg *msg)
{
	bool asked_nodes = false;
	const struct barrier_asked *a;
	char name[64];

	while ((a = barrier_not_stopped(r))) {
		uint64_t spent = vms_clock_ms() - r->t0;

		if (barrier_hopeless(r))
			return barrier_say_broken(r, msg);
		if (spent >= STOP_MS_MAX) {
			gateways_name(&r->gateways, a->gateway, name);
			return vms_fail(
				msg, VMS_E_AGAIN,
				"gateway %s does not answer, but its connections to the nodes live",
				name);
		}
		if (spent >= BARRIER_SILENT_MS && !asked_nodes) {
			int rc = barrier_shut_out(r, msg);

			if (rc)
				return rc;
			asked_nodes = true;
			continue;
		}
		tool_wait(r->t, asked_nodes ? (uint32_t)(STOP_MS_MAX - spent)
					    : (uint32_t)(BARRIER_SILENT_MS - spent));
	}
	/* Later than this the first that stopped may have let go before the last did. */
	if (vms_clock_ms() - r->t0 >= STOP_MS_MAX && r->asked.n)
		return vms_fail(msg, VMS_E_AGAIN, "the gateways took too long to stop");
	return barrier_hopeless(r) ? barrier_say_broken(r, msg) : 0;
}

static int raise_floors(struct barrier_run *r, const struct vms_cat_volume *v,
			struct vms_errmsg *msg)
{
	const struct vms_msg m = {.type = VMS_MSG_FLOOR,
				  .flags = VMS_F_FUA,
				  .partition = VMS_PART_NONE,
				  .branch = v->branch,
				  .snap_gen = v->snap_gen,
				  .lun_fence = v->lun_fence};
	const struct nodes_want want = {
		.timeout_ms = FLOOR_MS_MAX, .enough = barrier_hopeless, .arg = r};
	int rc = nodes_send(r->t, &r->nodes, &m, &want, msg);

	return rc == VMS_E_CANCELLED ? barrier_say_broken(r, msg) : rc;
}

static int wait_released(struct barrier_run *r, struct vms_errmsg *msg)
{
	uint64_t until = vms_clock_ms() + RELEASE_MS_MAX;
	const struct barrier_asked *a;
	char name[64];

	while ((a = barrier_not_released(r))) {
		if (barrier_hopeless(r))
			return barrier_say_broken(r, msg);
		if (vms_clock_ms() >= until)
			return vms_fail(msg, VMS_E_AGAIN,
					"gateway %s stopped, but does not answer now",
					gateways_name(&r->gateways, a->gateway, name));
		tool_wait(r->t, 50);
	}
	return 0;
}

static int complete(struct barrier_run *r, struct vms_errmsg *msg)
{
	struct vms_cat_cmp acks[BARRIER_ASKED_MAX];
	struct vms_cat_snap s = r->s;
	unsigned n = 0;

	s.state = VMS_SNAP_COMPLETE;
	VMS_VEC_FOREACH (&r->asked, a)
		if (a->state == VMS_ACK_RELEASED)
			acks[n++] = (struct vms_cat_cmp){a->key, a->ack_revision};
	return barrier_step_again(r, VMS_BARRIER_NONE, &s, acks, n, msg);
}

static int attempt(struct barrier_run *r, const char *snap, struct vms_errmsg *msg)
{
	struct vms_errmsg ignored;
	uint64_t stop_ms;
	int rc;

	/* Nobody is held while a partition is known to be without its primary, and after a
	 * failure what can be made durable beforehand is. */
	rc = nodes_leaders_ready(r->t, &r->nodes, NODE_MS_MAX, msg);
	if (!rc && r->rep->attempts > 1)
		rc = raise_floors(r, &r->v, msg);
	if (!rc)
		rc = intent(r, snap, msg);
	if (rc)
		return rc;
	stop_ms = vms_clock_ms();
	rc = barrier_find_asked(r, msg);
	if (!rc)
		rc = wait_stopped(r, msg);
	if (!rc)
		rc = raise_floors(r, &r->v, msg);
	if (!rc && r->asked.n) {
		rc = barrier_step_again(r, VMS_BARRIER_RELEASE, NULL, NULL, 0, msg);
		r->rep->held_ms = vms_clock_ms() - stop_ms;
		if (!rc)
			rc = wait_released(r, msg);
	}
	if (!rc)
		rc = complete(r, msg);
	tool_unwatch(r->t, r->watch_ack);
	tool_unwatch(r->t, r->watch_open);
	r->watch_ack = r->watch_open = 0;
	if (rc)
		(void)barrier_abandon(r->t, r->v.name, r->v.barrier_id, &ignored);
	return rc;
}

/* The snapshot's record, if somebody has made it. */
static int look(struct tool *t, const char *volume, const char *snap, struct vms_cat_snap *out,
		struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv = VMS_VEC_INIT;
	int rc = vms_cat_key_snap(key, volume, snap, msg);

	if (!rc)
		rc = tool_get(t, key, &kv, msg);
	if (!rc && !kv.n)
		rc = VMS_E_NOENT;
	if (!rc) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		rc = vms_cat_snap_decode(&c, out, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

/* Is it worth another attempt? */
static bool again(int rc)
{
	return rc == VMS_E_AGAIN || rc == VMS_E_BUSY || rc == VMS_E_FULL || tool_txn_again(rc);
}

int barrier_snapshot(struct tool *t, const char *volume, const char *snap, uint32_t try_ms,
		     struct vms_cat_snap *out, struct barrier_report *rep, struct vms_errmsg *msg)
{
	return barrier_snapshot_of_import(t, volume, snap, NULL, try_ms, out, rep, msg);
}

int barrier_snapshot_of_import(struct tool *t, const char *volume, const char *snap,
			       const uint8_t origin[16], uint32_t try_ms, struct vms_cat_snap *out,
			       struct barrier_report *rep, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();
	struct barrier_run r = {.t = t, .rep = rep, .origin = origin};
	bool said = false;
	int rc;

	memset(rep, 0, sizeof(*rep));
	rc = nodes_open(t, &r.nodes, msg);
	while (!rc) {
		struct vms_cat_snap have;

		char abandoned[sizeof(rep->abandoned)];

		rc = barrier_settle(t, volume, abandoned, msg);
		if (abandoned[0])
			memcpy(rep->abandoned, abandoned, sizeof(abandoned));
		if (!rc)
			rc = barrier_volume_get(t, volume, &r.v, &r.v_revision, msg);
		if (rc)
			break;
		rc = look(t, volume, snap, &have, msg);
		if (!rc && rep->attempts && !memcmp(have.uuid, r.s.uuid, 16)) {
			r.s = have; /* the answer to its completion was lost */
			break;
		}
		if (!rc)
			rc = vms_fail(msg, VMS_E_EXIST, "snapshot '%.100s@%.100s' exists already",
				      volume, snap);
		else if (rc == VMS_E_NOENT)
			rc = 0;
		if (!rc && r.v.state != (origin ? 4 : 1))
			rc = vms_fail(msg, VMS_E_BUSY, "volume '%.100s' is being %s", volume,
				      r.v.state == 2   ? "deleted"
				      : r.v.state == 3 ? "shrunk"
				      : r.v.state == 4 ? "imported"
						       : "used");
		if (rc)
			break;
		rep->attempts++;
		r.lost = false;
		VMS_VEC_CLEAR(&r.asked);
		gateways_free(&r.gateways);
		for (unsigned i = 0; i < r.nodes.n; i++)
			tool_peer_open(t, &r.nodes.p[i]);
		rc = attempt(&r, snap, msg);
		if (!rc || !again(rc) || vms_clock_ms() - t0 >= try_ms || tool_interrupted())
			break;
		if (!said && vms_clock_ms() - t0 >= SAY_MS) {
			said = true;
			tool_note(t, "%s@%s: %s; trying again", volume, snap, msg->text);
		}
		for (unsigned i = 0; i < PAUSE_MS / 20; i++)
			tool_wait(t, 20);
		rc = 0;
	}
	*out = r.s;
	nodes_close(t, &r.nodes);
	gateways_free(&r.gateways);
	VMS_VEC_FREE(&r.asked);
	return rc;
}
