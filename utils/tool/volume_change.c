// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes of a volume, while gateways have it open too: size, write protection, dedup.
 * What gateways have to know goes through a barrier (barrier.h), so that it holds on all
 * of them when the command returns; initiators learn it by unit attentions.
 *
 * Shrinking: all commands end, the volume is smaller for everybody and in state
 * "shrinking", its tail is trimmed, it is ready again. Killed half-way it serves what it
 * has left, and any later resize completes it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/lib/size.h"
#include "utils/tool/barrier.h"
#include "utils/tool/branch.h"
#include "utils/tool/move.h"
#include "utils/tool/nodes.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

#define NODE_MS_MAX 10000u

/* ---- the tail ---- */

struct saying {
	struct tool *t;
	const char *what;
	bool said;
};

static void still_waiting(void *arg, const char *node, uint64_t waited_ms)
{
	struct saying *s = arg;

	if (waited_ms < 2000 || s->t->json)
		return;
	s->said = true;
	fprintf(stderr, "\r%s: node %s has been working for %" PRIu64 " s ", s->what, node,
		waited_ms / 1000);
	fflush(stderr);
}

/* FLOOR and TRIM at the primaries of all partitions. */
static int fence_and_trim(struct tool *t, const struct vms_cat_volume *vol, uint64_t from_bytes,
			  const char *what, struct vms_errmsg *msg)
{
	struct saying s = {t, what, false};
	struct vms_errmsg why = {""};
	struct nodes ns;
	int rc = nodes_open(t, &ns, msg);

	for (unsigned step = 0; !rc && step < 2; step++) {
		struct vms_msg m = {.type = step ? VMS_MSG_TRIM : VMS_MSG_FLOOR,
				    .partition = VMS_PART_NONE,
				    .branch = vol->branch,
				    .snap_gen = vol->snap_gen,
				    .lun_fence = vol->lun_fence};
		/* a partition that moves may miss its TRIM */
		const struct nodes_want want = {.timeout_ms = NODE_MS_MAX,
						.still = step != 0,
						.slow = still_waiting,
						.arg = &s};

		if (step) {
			m.extent = (uint32_t)(from_bytes / VMS_EXTENT_BYTES);
			m.aux = (uint32_t)(from_bytes % VMS_EXTENT_BYTES / VMS_CHUNK_BYTES);
		}
		rc = nodes_send(t, &ns, &m, &want, &why);
		if (s.said)
			fputc('\n', stderr);
		s.said = false;
		if (rc)
			rc = vms_fail(msg, rc,
				      "volume '%.60s' is %s, but not done: %.130s. Run the same "
				      "command again when the node is up",
				      vol->name, what, why.text);
	}
	nodes_close(t, &ns);
	return rc;
}

/* Do its snapshots or ancestors show what is behind the end? */
static int has_history(struct tool *t, const struct vms_cat_volume *v, bool *yes,
		       struct vms_errmsg *msg)
{
	struct branch_info b;
	struct snaps l;
	int rc = branch_get(t, v->branch, v, &b, msg);

	if (rc)
		return rc;
	rc = snaps_load(t, v->name, &l, msg);
	*yes = b.b.nancestors || l.n;
	snaps_free(&l);
	return rc;
}

/* ---- resize ---- */

struct resize {
	struct tool *t;
	const char *name;
	uint64_t size_bytes;
	bool tell; /* gateways are to know, also if nothing changes */
};

static int usable(const struct vms_cat_volume *v, struct vms_errmsg *msg)
{
	if (v->state == VOLUME_DELETING)
		return vms_fail(msg, VMS_E_NOENT, "volume '%.60s' is being deleted", v->name);
	if (v->state == VOLUME_IMPORTING)
		return vms_fail(msg, VMS_E_BUSY, "volume '%.60s' is being imported", v->name);
	return 0;
}

static int grow_stop(void *arg, struct vms_cat_volume *next, bool *done, struct vms_errmsg *msg)
{
	const struct resize *r = arg;
	int rc = usable(next, msg);

	if (!rc && next->state == VOLUME_SHRINKING)
		rc = vms_fail(msg, VMS_E_AGAIN, "volume '%.60s' is being shrunk", next->name);
	if (!rc && next->size_bytes > r->size_bytes)
		rc = vms_fail(msg, VMS_E_AGAIN, "volume '%.60s' was made larger by somebody else",
			      next->name);
	*done = !rc && next->size_bytes == r->size_bytes && !r->tell;
	next->size_bytes = r->size_bytes;
	return rc;
}

static int shrink_stop(void *arg, struct vms_cat_volume *next, bool *done, struct vms_errmsg *msg)
{
	const struct resize *r = arg;
	bool history = false;
	int rc = usable(next, msg);

	/* The tail goes from all that the branch ever was. A snapshot may have been taken since
	 * shrink() looked; one that comes after this look makes the stop fail. */
	if (!rc)
		rc = has_history(r->t, next, &history, msg);
	*done = !rc &&
		(history || next->state == VOLUME_SHRINKING || next->size_bytes <= r->size_bytes);
	return rc;
}

static void shrink_release(void *arg, struct vms_cat_volume *next)
{
	const struct resize *r = arg;

	if (next->state == VOLUME_SHRINKING)
		return; /* by the stage before */
	next->size_bytes = r->size_bytes;
	next->state = VOLUME_SHRINKING;
	next->lun_fence++;
}

/* Larger: the record says so, and whoever has it open has seen it. */
static int grow(struct resize *r, struct volume_view *v, struct vms_errmsg *msg)
{
	const struct barrier_change ch = {.writes_only = true, .stop = grow_stop, .arg = r};
	struct vms_cat_volume next = v->v;
	struct barrier_report rep;
	struct volume_view now;
	int rc = volume_refuse_tools(v, "resized", msg);

	if (rc)
		return rc;
	if (v->openers.n)
		return barrier_change(r->t, r->name, &ch, BARRIER_TRY_MS, &rep, msg);
	next.size_bytes = r->size_bytes;
	rc = volume_store(r->t, &next, v->mod_revision, msg);
	if (rc)
		return tool_txn_again(rc) ? 0 : rc;
	/* a gateway may have opened it with the old size at that moment */
	rc = volume_load(r->t, r->name, &now, msg);
	r->tell = now.openers.n;
	volume_free(&now);
	return !rc && r->tell ? barrier_change(r->t, r->name, &ch, BARRIER_TRY_MS, &rep, msg) : rc;
}

static int shrink(struct resize *r, struct volume_view *v, bool *done, struct vms_errmsg *msg)
{
	const struct barrier_change ch = {.stop = shrink_stop, .release = shrink_release, .arg = r};
	struct volume_move mv = {
		.volume = r->name, .what = "shrunk", .size_bytes = r->size_bytes, .online = true};
	struct vms_cat_volume next = v->v;
	struct barrier_report rep;
	bool history;
	int rc = has_history(r->t, &v->v, &history, msg);

	if (!rc)
		rc = volume_refuse_tools(v, "shrunk", msg);
	if (!rc)
		rc = volume_refuse_reserved(r->t, v, "shrunk", msg);
	if (rc)
		return rc;
	if (history) {
		*done = true;
		return move_volume(r->t, &mv, &next, msg);
	}
	return barrier_change(r->t, r->name, &ch, BARRIER_TRY_MS, &rep, msg);
}

/* One step towards the size; *done: it is reached. */
static int resize_step(struct resize *r, struct volume_view *v, bool allow_shrink, bool *done,
		       struct vms_errmsg *msg)
{
	char a[VMS_SIZE_TEXT_MAX], b[VMS_SIZE_TEXT_MAX];
	struct vms_cat_volume next = v->v;
	int rc = usable(&v->v, msg);

	if (rc)
		return rc;
	if (v->v.state == VOLUME_SHRINKING) {
		/* Its tail must be gone before anything else. */
		rc = fence_and_trim(r->t, &v->v, v->v.size_bytes, "shrinking", msg);
		next.state = VOLUME_READY;
		if (!rc)
			rc = volume_store(r->t, &next, v->mod_revision, msg);
		return tool_txn_again(rc) ? 0 : rc;
	}
	if (v->v.size_bytes == r->size_bytes) {
		*done = true;
		return 0;
	}
	if (r->size_bytes > v->v.size_bytes)
		return grow(r, v, msg);
	if (!allow_shrink)
		return vms_fail(msg, VMS_E_INVAL,
				"volume '%s' has %s; %s would cut off its end: say --allow-shrink "
				"if the data there is not needed",
				v->v.name, vms_size_format(v->v.size_bytes, a),
				vms_size_format(r->size_bytes, b));
	return shrink(r, v, done, msg);
}

int volume_resize(struct tool *t, const char *name, uint64_t size_bytes, bool allow_shrink,
		  uint64_t *old_bytes, struct vms_errmsg *msg)
{
	struct resize r = {.t = t, .name = name, .size_bytes = size_bytes};
	struct volume_view v;
	uint64_t first = 0;
	bool done = false;
	int rc = volume_check_size(size_bytes, msg);

	if (rc)
		return rc;
	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		rc = barrier_settle(t, name, NULL, msg);
		if (rc)
			return rc;
		rc = volume_load_settled(t, name, &v, msg);
		if (!rc && !first)
			first = v.v.size_bytes;
		*old_bytes = first;
		if (!rc)
			rc = resize_step(&r, &v, allow_shrink, &done, msg);
		volume_free(&v);
		if (rc || done)
			return rc;
	}
	return vms_fail(msg, VMS_E_CONFLICT, "volume '%s' changes all the time", name);
}

/* ---- settings ---- */

struct protect {
	bool on;
};

static int protect_stop(void *arg, struct vms_cat_volume *next, bool *done, struct vms_errmsg *msg)
{
	const struct protect *p = arg;

	*done = next->write_protect == p->on;
	return usable(next, msg);
}

static void protect_release(void *arg, struct vms_cat_volume *next)
{
	next->write_protect = ((const struct protect *)arg)->on;
}

int volume_set_write_protect(struct tool *t, const char *name, bool on, struct vms_errmsg *msg)
{
	struct protect p = {on};
	const struct barrier_change ch = {
		.stop = protect_stop, .release = protect_release, .arg = &p};
	struct barrier_report rep;

	return barrier_change(t, name, &ch, BARRIER_TRY_MS, &rep, msg);
}

int volume_set_dedup(struct tool *t, const char *name, bool dedup, struct vms_errmsg *msg)
{
	struct volume_view v;
	unsigned tries = 0;
	int rc;

	do {
		rc = volume_load(t, name, &v, msg);
		if (!rc && v.v.state == VOLUME_DELETING)
			rc = vms_fail(msg, VMS_E_BUSY, "volume '%s' is being deleted", name);
		if (!rc && v.v.dedup != dedup) {
			v.v.dedup = dedup;
			rc = volume_store(t, &v.v, v.mod_revision, msg);
		}
		volume_free(&v);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}
