// SPDX-License-Identifier: GPL-2.0-only
/* What a change of the ring would move, and waiting until it has moved. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "utils/lib/assert.h"
#include "utils/lib/fmt.h"
#include "utils/lib/progress.h"
#include "utils/lib/size.h"
#include "utils/tool/ring.h"

#define POLL_MS	 500u
#define SAY_MS	 30000u /* without a terminal: one line */
#define STUCK_MS 15000u /* nothing moves: say why */

/* ---- what would move ---- */

static struct ring_node_moves *of(struct ring_moves *m, uint32_t node)
{
	VMS_VEC_FOREACH (&m->nodes, x)
		if (x->node == node)
			return x;
	return NULL;
}

static bool in_row(const struct vms_ring_row *row, uint32_t node)
{
	for (uint32_t i = 0; i < row->n; i++)
		if (row->node[i] == node)
			return true;
	return false;
}

static bool in_set(const struct vms_part_conf *c, uint32_t node)
{
	for (uint32_t i = 0; i < c->nmembers; i++)
		if (c->member[i].node == node)
			return true;
	return false;
}

static void count_part(struct ring_moves *m, const struct vms_part_conf *c,
		       const struct vms_ring_row *row, uint64_t bytes)
{
	struct ring_node_moves *x;

	for (uint32_t i = 0; i < row->n; i++) {
		x = of(m, row->node[i]);
		if (!x || in_set(c, row->node[i]))
			continue;
		x->gets++;
		x->get_bytes += bytes;
		m->copies++;
		m->bytes += bytes;
		x = of(m, c->primary);
		if (x)
			x->feed_bytes += bytes;
	}
	for (uint32_t i = 0; i < c->nmembers; i++) {
		x = of(m, c->member[i].node);
		if (!x || in_row(row, c->member[i].node))
			continue;
		x->gives++;
		x->give_bytes += bytes;
	}
	if (!row->n || row->node[0] == c->primary)
		return;
	m->leads++;
	x = of(m, row->node[0]);
	if (x)
		x->leads++;
	x = of(m, c->primary);
	if (x)
		x->leads--;
}

/* What each node sends is limited; the busiest one decides. */
static uint64_t seconds(const struct ring_moves *m, uint64_t rate)
{
	uint64_t most = 0;

	VMS_VEC_FOREACH (&m->nodes, x)
		most = x->feed_bytes > most ? x->feed_bytes : most;
	return most && rate ? (most + rate - 1) / rate : 0;
}

int ring_moves(const struct ring *r, const struct view *v, struct ring_moves *m,
	       struct vms_errmsg *e)
{
	struct vms_cat_node *list = ring_records(v);
	struct vms_part_conf *conf = ring_confs(v);
	struct vms_ring_table next;
	int rc;

	memset(m, 0, sizeof(*m));
	rc = vms_place(&v->cluster, list, (unsigned)v->nodes.n, conf, &next, e);
	for (size_t i = 0; !rc && i < v->nodes.n; i++)
		*VMS_VEC_ADD(&m->nodes) = (struct ring_node_moves){.node = list[i].id};
	for (uint32_t p = 0; !rc && p < v->nparts; p++)
		if (conf[p].epoch)
			count_part(m, &conf[p], &next.row[p], r->part ? r->part[p].bytes : 0);
	if (!rc)
		vms_ring_table_close(&next);
	m->seconds = seconds(m, v->cluster.move_bytes_s);
	free(list);
	free(conf);
	return rc;
}

void ring_moves_free(struct ring_moves *m)
{
	VMS_VEC_FREE(&m->nodes);
}

static const char *name_of(const struct view *v, uint32_t node)
{
	VMS_VEC_FOREACH (&v->nodes, x)
		if (x->n.id == node)
			return x->n.name;
	return "?";
}

void ring_moves_print(const struct view *v, const struct ring_moves *m)
{
	struct vms_table *tab = vms_table_open("<node|>gets|>bytes|>gives|>bytes|>leads");
	char in[VMS_SIZE_TEXT_MAX], out[VMS_SIZE_TEXT_MAX], dur[VMS_SIZE_TEXT_MAX];

	if (!m->copies && !m->leads) {
		vms_table_close(tab);
		printf("nothing would move\n");
		return;
	}
	VMS_VEC_FOREACH (&m->nodes, x)
		vms_table_row(tab, "%s|%u|%s|%u|%s|%+d", name_of(v, x->node), x->gets,
			      vms_size_human(x->get_bytes, in), x->gives,
			      vms_size_human(x->give_bytes, out), x->leads);
	vms_table_print(tab, stdout);
	vms_table_close(tab);
	printf("\n%u copies of partitions move, about %s", m->copies, vms_size_human(m->bytes, in));
	if (m->seconds)
		printf("; at least %s when no node sends more than %s/s",
		       vms_duration_format(m->seconds * 1000, dur),
		       vms_size_human(v->cluster.move_bytes_s, out));
	printf("; %u partitions change their primary\n", m->leads);
}

json_t *ring_moves_json(const struct view *v, const struct ring_moves *m)
{
	json_t *nodes = json_array();

	VMS_VEC_FOREACH (&m->nodes, x)
		json_array_append_new(
			nodes,
			json_pack("{sI ss sI sI sI sI si}", "node", (json_int_t)x->node, "name",
				  name_of(v, x->node), "gets", (json_int_t)x->gets, "get_bytes",
				  (json_int_t)x->get_bytes, "gives", (json_int_t)x->gives,
				  "give_bytes", (json_int_t)x->give_bytes, "leads", (int)x->leads));
	return json_pack("{sI sI sI sI so}", "copies", (json_int_t)m->copies, "bytes",
			 (json_int_t)m->bytes, "leads", (json_int_t)m->leads, "seconds",
			 (json_int_t)m->seconds, "nodes", nodes);
}

int ring_dry_run(struct tool *t, const struct ring *r, ring_edit_fn edit, void *arg)
{
	struct vms_errmsg e = {""};
	struct ring_moves m = {.copies = 0};
	int rc, code = TOOL_OK;
	struct view v;

	rc = view_load(t, &v, &e);
	if (!rc)
		rc = edit(arg, &v, &e);
	if (!rc || rc == VMS_E_CANCELLED)
		rc = ring_moves(r, &v, &m, &e);
	if (rc)
		code = tool_fail(t, "%s", e.text);
	else if (t->json)
		tool_print_json(ring_moves_json(&v, &m));
	else
		ring_moves_print(&v, &m);
	ring_moves_free(&m);
	view_free(&v);
	return code;
}

/* ---- waiting ---- */

struct waiting {
	struct vms_progress bar;
	uint64_t first_ms, said_ms, changed_ms;
	uint64_t total, left, copies; /* bytes, bytes, copies */
	bool begun;
};

static bool all_there(struct ring *r, uint32_t gone)
{
	return ring_planned(r) && !r->moving && !(gone && view_node(&r->v, gone));
}

/* Says once in a while how far it is, and why nothing moves. */
static void tell(struct tool *t, struct waiting *w, const struct ring *r, uint64_t now)
{
	char left[VMS_SIZE_TEXT_MAX], down[160] = "";

	vms_progress_update(&w->bar, w->total > w->left ? w->total - w->left : 0, now);
	if (now - w->changed_ms < STUCK_MS && (w->bar.f || now - w->said_ms < SAY_MS))
		return;
	if (now - w->said_ms < STUCK_MS)
		return;
	w->said_ms = now;
	VMS_VEC_FOREACH (&r->v.nodes, x)
		if (x->asked && !x->up && strlen(down) < 100)
			snprintf(down + strlen(down), sizeof(down) - strlen(down), "%s%.40s",
				 down[0] ? ", " : "; down: ", x->n.name);
	vms_progress_wipe(&w->bar);
	tool_note(t, "%u copies, %s to go%s%s", r->left_copies, vms_size_human(w->left, left),
		  now - w->changed_ms < STUCK_MS ? "" : "; nothing has moved lately", down);
}

static int look(struct tool *t, struct waiting *w, uint32_t gone, bool *done, struct vms_errmsg *e)
{
	uint64_t now = vms_clock_ms();
	struct ring r;
	int rc = ring_load(t, &r, e);

	if (!rc) {
		ring_ask(t, &r);
		ring_count(&r);
		*done = all_there(&r, gone);
		if (r.left_bytes != w->left || r.moving != w->copies)
			w->changed_ms = now;
		w->left = r.left_bytes;
		w->copies = r.moving;
		if (w->left > w->total || !w->begun)
			w->total = w->left;
		w->bar.total_bytes = w->total;
		w->begun = true;
		if (!*done)
			tell(t, w, &r, now);
	}
	ring_free(&r);
	return rc;
}

int ring_wait(struct tool *t, const char *what, uint32_t gone, uint64_t timeout_s)
{
	struct waiting w = {.first_ms = vms_clock_ms()};
	char total[VMS_SIZE_TEXT_MAX], dur[VMS_SIZE_TEXT_MAX];
	struct vms_errmsg e = {""};
	uint64_t ms, until;
	bool done = false;
	int rc = 0;

	w.changed_ms = w.said_ms = w.first_ms;
	tool_catch_signals();
	vms_progress_open(&w.bar, stderr, t->json, what, 0, 0, w.first_ms);
	while (!done && !tool_interrupted()) {
		uint64_t t0 = vms_clock_ms();

		/* a catalog that is away for a moment is no reason to give up */
		rc = look(t, &w, gone, &done, &e);
		if (rc && !tool_txn_again(rc))
			break;
		ms = vms_clock_ms() - w.first_ms;
		if (done || (timeout_s && ms >= timeout_s * 1000))
			break;
		/* looking must not cost more than a little of the time */
		until = vms_clock_ms() + POLL_MS + 4 * (vms_clock_ms() - t0);
		while (vms_clock_ms() < until && !tool_interrupted())
			tool_wait(t, 50);
	}
	vms_progress_close(&w.bar);
	ms = vms_clock_ms() - w.first_ms;
	if (done) {
		if (!t->json)
			printf("%s: done in %s, about %s copied\n", what,
			       vms_duration_format(ms < 1000 ? ms : ms / 1000 * 1000, dur),
			       vms_size_human(w.total, total));
		return TOOL_OK;
	}
	if (tool_interrupted()) {
		tool_note(t, "stopped waiting. The change goes on by itself: vmstore-ring status "
			     "shows it, vmstore-ring cancel NODE takes it back");
		return TOOL_FAILED;
	}
	if (rc)
		return tool_fail(t, "%s", e.text);
	return tool_fail(t,
			 "%s: not done after %" PRIu64
			 " s; it goes on by itself: vmstore-ring status shows how far",
			 what, timeout_s);
}
