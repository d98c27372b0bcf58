// SPDX-License-Identifier: GPL-2.0-only
/*
 * One question to the primary of every partition: floors, and whether a gateway still
 * has sessions.
 *
 * Who has to answer: the primaries that part/ tells when it is read as of the change
 * that the question is about, or later. Who takes over after that reads volumes and
 * gateways before it serves, so it knows without being asked; and a node that leads
 * nothing any more need not answer. Where the answers themselves count (whether a gateway
 * has sessions) that is no answer: who leads now has to give one. Owner: who asked (struct gw_ask
 * is its own). Keeps invariant 4 (rules "Snapshots, clones, barriers").
 */
#include <stdio.h>

#include "target/gw_int.h"

#define LOOK_MS	 250u /* part/ is read again while somebody is silent */
#define AGAIN_MS 50u

static void ask_run(struct gw_ask *a);

static void ask_end(struct gw_ask *a, int status)
{
	gw_ask_stop(a);
	a->done(a->arg, status);
}

static void parts_got(void *arg, const struct vms_cat_reply *r)
{
	struct gw_ask *a = arg;
	struct vms_gw *gw = a->gw;
	struct vms_part_conf c;
	uint32_t number;

	if (r->status || (r->revision < a->revision && !gw_mutant(gw, VMS_GWM_ASK_OLD))) {
		a->reading = false;
		a->look_ms = gw->now_ms + AGAIN_MS;
		gw_wake_at(gw, a->look_ms);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		if (!vms_cat_part_decode(&r->kv[i], &number, &c, NULL) && c.epoch &&
		    c.primary < VMS_NODES_MAX)
			gw_bit_set(a->leads, c.primary);
	if (r->more && r->nkv) {
		gw->cat->ops->range(gw->cat, "part/", r->kv[r->nkv - 1].key, parts_got, a);
		return;
	}
	a->reading = false;
	for (unsigned i = 0; i < VMS_NODES_MAX / 64; i++) {
		uint64_t left = a->reply ? ~a->answered[i] : a->known ? a->need[i] : UINT64_MAX;

		if (!a->known || !gw_mutant(gw, VMS_GWM_ASK_ALL))
			a->need[i] = a->leads[i] & left;
	}
	a->known = true;
	a->look_ms = gw->now_ms + LOOK_MS;
	ask_run(a);
}

static void ask_run(struct gw_ask *a)
{
	struct vms_gw *gw = a->gw;

	if (gw->now_ms >= a->until_ms) {
		ask_end(a, VMS_E_TIMEOUT);
		return;
	}
	gw_wake_at(gw, a->until_ms);
	if (!a->reading && gw->now_ms >= a->look_ms) {
		a->reading = true;
		memset(a->leads, 0, sizeof(a->leads));
		gw->cat->ops->range(gw->cat, "part/", NULL, parts_got, a);
	}
	if (!a->known)
		return;
	if (gw_bits_none(a->need)) {
		ask_end(a, 0);
		return;
	}
	for (uint32_t i = 1; i < gw->node_top; i++) {
		struct gw_node *n = gw->node[i];
		struct vms_msg m = a->m;

		if (!n || !gw_bit_get(a->need, i) || gw_bit_get(a->asked, i) ||
		    n->state != GN_READY || gw->now_ms < a->again_ms[i])
			continue;
		gw_bit_set(a->asked, i);
		if (!gw_rpc_send(gw, n, GR_ASK, a, &m)) {
			gw_bit_clear(a->asked, i);
			a->again_ms[i] = gw->now_ms + AGAIN_MS;
		}
	}
	gw_wake_at(gw, gw->now_ms + AGAIN_MS);
}

void gw_ask_reply(struct gw_ask *a, uint32_t node, const struct vms_msg *m, int status)
{
	gw_bit_clear(a->asked, node);
	if (status) {
		a->again_ms[node] = a->gw->now_ms + AGAIN_MS;
		gw_wake_at(a->gw, a->again_ms[node]);
		return;
	}
	gw_bit_clear(a->need, node);
	gw_bit_set(a->answered, node);
	if (a->reply && m)
		a->reply(a->arg, m);
	/* not from inside an answer: the asker may go on and send */
	a->gw->kick = true;
	gw_wake_at(a->gw, a->gw->now_ms);
}

void gw_ask_start(struct gw_ask *a, struct vms_gw *gw, const struct vms_msg *m, uint64_t revision,
		  uint32_t wait_ms)
{
	vms_assert(!a->gw);
	a->gw = gw;
	a->m = *m;
	a->revision = revision;
	a->until_ms = gw->now_ms + wait_ms;
	a->look_ms = 0;
	a->reading = a->known = false;
	memset(a->asked, 0, sizeof(a->asked));
	memset(a->answered, 0, sizeof(a->answered));
	memset(a->again_ms, 0, sizeof(a->again_ms));
	gw_list_add(&gw->asks, &a->link);
	ask_run(a);
}

void gw_ask_stop(struct gw_ask *a)
{
	struct vms_gw *gw = a->gw;

	if (!gw)
		return;
	for (uint32_t i = 1; i < gw->node_top; i++) {
		if (!gw->node[i])
			continue;
		gw_each(l, &gw->node[i]->rpcs)
		{
			struct gw_rpc *r = gw_entry(l, struct gw_rpc, link);

			if (r->type == GR_ASK && r->obj == a)
				r->obj = NULL;
		}
	}
	gw->cat->ops->forget(gw->cat, a);
	gw_list_del(&a->link);
	a->gw = NULL;
}

void gw_asks_timer(struct vms_gw *gw)
{
	gw_each(l, &gw->asks) ask_run(gw_entry(l, struct gw_ask, link));
}
