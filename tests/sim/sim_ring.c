/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ring in motion: nodes join, leave, are drained, weigh more or less, the number of
 * copies, and of those that writes need, changes; as the tools do it, by a change of node/ and
 *cluster that the planner in the nodes turns into wants. And nodes that are lost for good: an
 *episode, planned so that the cluster must get over it:
 *
 *	calm	no new faults of nodes until all have been there for a while, every set is
 *		what is wanted and no transaction is still to come: then each partition has
 *		copies - 1 members to spare
 *	lost	one node (copies - 1 in some seeds) dies and never comes back; some are given
 *		up at once, as `vmstore-ring give-up` does
 *	heal	no other faults of nodes until no set has it and every set is whole again,
 *		two minutes at most
 *
 * Gateways, the catalog and its defects go on meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/node_int.h"
#include "backend/node_part.h"
#include "tests/sim/sim_int.h"
#include "tests/sim/sim_memory.h"
#include "utils/lib/assert.h"

#define CALM_US	    8000000u
#define CALM_US_MAX 90000000u
#define HEAL_US_MAX 120000000u

#define ZONES_NAMED_MAX 4

static unsigned most_copies(unsigned nodes)
{
	return nodes < VMS_COPIES_MAX ? nodes : VMS_COPIES_MAX;
}

static bool is_in(const struct proc *p)
{
	return p->kind == SIM_NODE && p->joined && !p->gone;
}

void sim_parts(const struct sim *s, struct sim_parts *p)
{
	if (s->parts->rev == sim_history_rev(s->history)) {
		*p = *s->parts;
		return;
	}
	memset(p, 0, sizeof(*p));
	p->rev = sim_history_rev(s->history);
	p->n = 1u << s->plan.part_bits;
	vms_assert(p->n <= SIM_PARTS_MAX);
	for (uint32_t i = 0; i < p->n; i++) {
		struct vms_cat_kv kv;
		char key[VMS_CAT_KEY_BYTES_MAX];
		uint64_t mod;
		uint32_t number;

		vms_cat_key_part(key, i);
		kv = (struct vms_cat_kv){.key = key, .val = sim_history_now(s->history, key, &mod)};
		vms_assert(kv.val);
		kv.val_bytes = (uint32_t)strlen(kv.val);
		vms_assert(vms_cat_part_decode(&kv, &number, &p->c[i], NULL) == 0);
		if (mod > p->mod)
			p->mod = mod;
	}
	*s->parts = *p;
}

static bool has(const uint32_t *a, uint32_t n, uint32_t node)
{
	for (uint32_t i = 0; i < n; i++)
		if (a[i] == node)
			return true;
	return false;
}

/* ---- what the seed draws ---- */

void sim_ring_draw(struct sim *s)
{
	struct sim_plan *p = &s->plan;

	if (vms_rng_chance(&s->mix_rng, 0.4))
		p->copies = 1 + (unsigned)vms_rng_below(&s->mix_rng, most_copies(p->first_nodes));
	if (p->copies == 1 && p->rot > 0) /* the others are good */
		p->copies = 2;
	if (vms_rng_chance(&s->mix_rng, 0.5))
		p->min_copies = 1 + (unsigned)vms_rng_below(&s->mix_rng, p->copies);
	if (p->learn && vms_rng_chance(&s->mix_rng, 0.4))
		p->zones = 2 + (unsigned)vms_rng_below(&s->mix_rng, ZONES_NAMED_MAX - 1);
}

void sim_ring_zones(struct sim *s)
{
	for (unsigned i = 1; i <= s->plan.nodes && s->plan.zones; i++)
		s->p[i].zone = (unsigned)vms_rng_below(&s->mix_rng, s->plan.zones + 1);
}

void sim_ring_zone_name(const struct proc *p, char *out, size_t room)
{
	if (p->zone)
		snprintf(out, room, "rack%u", p->zone);
	else
		*out = 0;
}

/* Does that node hold what is placed now? */
static bool is_counted(const struct proc *p)
{
	return is_in(p) && p->state == VMS_NODE_IN && p->weight;
}

#define ZONES_MAX (ZONES_NAMED_MAX + 1 + SIM_NODES_MAX)

static unsigned zone_of(const struct sim *s, unsigned node)
{
	return s->p[node].zone ? s->p[node].zone : ZONES_NAMED_MAX + node;
}

/* No copy can go to a zone where there are fewer by two: while there are enough zones each
 * has one at most. nodes: in each zone. */
static bool spread(const struct sim *s, unsigned part, const struct vms_part_conf *set,
		   const unsigned nodes[ZONES_MAX], char *why, size_t room)
{
	unsigned in[ZONES_MAX] = {0};

	for (uint32_t m = 0; m < set->nmembers; m++)
		in[zone_of(s, set->member[m].node)]++;
	for (unsigned a = 0; a < ZONES_MAX; a++)
		for (unsigned b = 0; b < ZONES_MAX && in[a] > 1; b++)
			if (in[a] >= in[b] + 2 && in[b] < nodes[b]) {
				snprintf(why, room,
					 "partition %u: %u copies are in one zone, %u in another "
					 "with %u nodes",
					 part, in[a], in[b], nodes[b]);
				return false;
			}
	return true;
}

bool sim_ring_known(const struct sim *s, char *why, size_t room)
{
	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		const struct proc *p = &s->p[i];

		if (!p->node || p->gone || sim_node_min_copies(p->node) == s->min_copies)
			continue;
		snprintf(why, room, "node %u goes by min_copies %u, not %u", i,
			 sim_node_min_copies(p->node), s->min_copies);
		return false;
	}
	return true;
}

bool sim_ring_whole(const struct sim *s, char *why, size_t room)
{
	struct sim_parts ps;
	unsigned in = 0, nodes[ZONES_MAX] = {0};

	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		in += is_counted(&s->p[i]);
		nodes[zone_of(s, i)] += is_counted(&s->p[i]);
	}
	sim_parts(s, &ps);
	for (unsigned i = 0; i < ps.n; i++) {
		const struct vms_part_conf *c = &ps.c[i];
		uint32_t set[VMS_COPIES_MAX], want = s->copies < in ? s->copies : in;

		for (uint32_t k = 0; k < c->nmembers; k++)
			set[k] = c->member[k].node;
		for (uint32_t k = 0; k < c->nmembers; k++)
			if (s->p[set[k]].gone || (c->nwant && !has(c->want, c->nwant, set[k]))) {
				snprintf(why, room, "partition %u: node %u is still in the set", i,
					 set[k]);
				return false;
			}
		for (uint32_t k = 0; k < c->nwant; k++)
			if (!has(set, c->nmembers, c->want[k]) || s->p[c->want[k]].gone) {
				snprintf(why, room,
					 "partition %u: node %u is wanted and not in the set%s", i,
					 c->want[k], s->p[c->want[k]].gone ? " (and gone)" : "");
				return false;
			}
		if (c->nmembers != want) {
			snprintf(why, room, "partition %u: %u members, not %u", i, c->nmembers,
				 want);
			return false;
		}
		if (s->plan.zones && !spread(s, i, c, nodes, why, room))
			return false;
	}
	return true;
}

unsigned sim_ring_stopped(const struct sim *s)
{
	struct sim_parts ps;
	unsigned stopped = 0;

	sim_parts(s, &ps);
	for (unsigned i = 0; i < ps.n; i++) {
		bool lives = false;

		for (uint32_t k = 0; k < ps.c[i].nmembers; k++)
			lives |= !s->p[ps.c[i].member[k].node].gone;
		stopped += !lives;
	}
	return stopped;
}

/* ---- what the tools write ---- */

/* One transaction: this node's record (NULL val: unchanged), and the cluster's. */
static void write_ring(struct sim *s, unsigned node, const struct vms_cat_node *rec)
{
	struct vms_catalog *cat = vms_cat_client_catalog(s->p[s->nprocs - 1].cc);
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cluster cl;
	struct vms_cat_kv kv = {.key = "cluster"};
	uint64_t cmod, nmod;
	struct vms_cat_cmp cmp[2];
	struct vms_cat_op op[2];
	unsigned n = 1;

	kv.val = sim_history_now(s->history, "cluster", &cmod);
	kv.val_bytes = (uint32_t)strlen(kv.val);
	vms_assert(vms_cat_cluster_decode(&kv, &cl, NULL) == 0);
	cl.copies = s->copies;
	cl.min_copies = s->min_copies;
	if (node >= cl.next_node)
		cl.next_node = node + 1;
	cmp[0] = (struct vms_cat_cmp){"cluster", cmod};
	op[0] = (struct vms_cat_op){"cluster", vms_cat_cluster_encode(&cl), 0};
	if (rec) {
		vms_cat_key_node(key, node);
		sim_history_now(s->history, key, &nmod);
		cmp[1] = (struct vms_cat_cmp){key, nmod};
		op[1] = (struct vms_cat_op){key, vms_cat_node_encode(rec), 0};
		n = 2;
	}
	/* one that loses by compare is written again when it is missed */
	cat->ops->txn(cat, cmp, n, op, n, NULL, NULL);
	for (unsigned i = 0; i < n; i++)
		free((char *)op[i].val);
}
static bool node_record(const struct sim *s, unsigned i, struct vms_cat_node *rec)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_kv kv = {.key = key};
	uint64_t mod;

	vms_cat_key_node(key, i);
	kv.val = sim_history_now(s->history, key, &mod);
	if (!kv.val)
		return false;
	kv.val_bytes = (uint32_t)strlen(kv.val);
	vms_assert(vms_cat_node_decode(&kv, rec, NULL) == 0);
	return true;
}

/* What the catalog says that should not: written until it is there. */
static void insist(struct sim *s)
{
	uint64_t mod;
	struct vms_cat_cluster cl;
	struct vms_cat_kv kv = {.key = "cluster",
				.val = sim_history_now(s->history, "cluster", &mod)};

	if (!kv.val)
		return; /* sim_restore.c: the tool is still at it */
	kv.val_bytes = (uint32_t)strlen(kv.val);
	vms_assert(vms_cat_cluster_decode(&kv, &cl, NULL) == 0);
	if (cl.copies != s->copies || cl.min_copies != s->min_copies)
		write_ring(s, 0, NULL);
	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		struct proc *p = &s->p[i];
		struct vms_cat_node rec;

		if (!p->joined)
			continue;
		if (!node_record(s, i, &rec)) {
			if (p->state == VMS_NODE_LEAVING) {
				if (!p->gone) {
					sim_note(s, "node %u has left", i);
					s->r->left++;
					p->gone = true;
					if (p->up)
						sim_proc_crash(s, p, false);
				}
				continue;
			}
			rec = (struct vms_cat_node){
				.id = i, .weight = p->weight, .state = p->state};
			snprintf(rec.name, sizeof(rec.name), "n%u", p->idx);
			sim_ring_zone_name(p, rec.zone, sizeof(rec.zone));
			snprintf(rec.address, sizeof(rec.address), "%s", p->address);
			write_ring(s, i, &rec);
		} else if (rec.weight != p->weight ||
			   (rec.state != p->state && rec.state != VMS_NODE_OUT)) {
			rec.weight = p->weight;
			rec.state = p->state;
			write_ring(s, i, &rec);
		}
	}
}

/* `vmstore-ring set --copies N --min-copies M` on a ring of that many nodes: it refuses more
 * than a partition has members. */
static void change_copies(struct sim *s, unsigned in)
{
	/* in memory mode one member's memory may go at any time */
	unsigned least = s->plan.ack == VMS_ACK_MEMORY ? 2 : 1, most = most_copies(in);
	unsigned copies, min_copies;
	struct sim_parts ps;

	if (most < least)
		return;
	copies = least + (unsigned)vms_rng_below(&s->rng, most - least + 1);
	min_copies = 1 + (unsigned)vms_rng_below(&s->rng, copies);
	sim_parts(s, &ps);
	for (unsigned i = 0; i < ps.n && min_copies > s->min_copies; i++)
		if (ps.c[i].nmembers < min_copies)
			min_copies = s->min_copies;
	if (min_copies > copies)
		min_copies = copies;
	if (copies == s->copies && min_copies == s->min_copies)
		return;
	s->copies = copies;
	s->min_copies = min_copies;
	s->r->copies_set++;
	sim_note(s, "there are to be %u copies, writes need %u", copies, min_copies);
	write_ring(s, 0, NULL);
}

static void change(struct sim *s)
{
	unsigned d = (unsigned)vms_rng_below(&s->rng, 100), in = 0;
	unsigned i = 1 + (unsigned)vms_rng_below(&s->rng, s->plan.nodes);
	struct proc *p = &s->p[i];

	for (unsigned k = 1; k <= s->plan.nodes; k++)
		in += is_in(&s->p[k]) && s->p[k].state == VMS_NODE_IN;
	if (d < 40 && !p->joined) {
		p->joined = true;
		p->state = VMS_NODE_IN;
		p->weight = 100;
		sim_note(s, "node %u joins", i);
		s->r->joined++;
		sim_proc_start(s, p);
	} else if (!is_in(p)) {
		return;
	} else if (d < 50 && p->state == VMS_NODE_IN && in > s->copies) {
		p->state = VMS_NODE_LEAVING;
		sim_note(s, "node %u is to leave", i);
	} else if (d < 60 && p->state == VMS_NODE_IN && in > s->copies) {
		p->state = VMS_NODE_DRAINED;
		sim_note(s, "node %u is to be drained", i);
	} else if (d < 75 && p->state == VMS_NODE_DRAINED) {
		p->state = VMS_NODE_IN;
		sim_note(s, "node %u is to be filled again", i);
	} else if (d < 85 && p->state == VMS_NODE_IN) {
		p->weight = 25 + (uint32_t)vms_rng_below(&s->rng, 4) * 75;
		sim_note(s, "node %u weighs %u", i, p->weight);
	} else if (d >= 85) {
		change_copies(s, in);
	}
}

/* ---- nodes that are lost ---- */

/* May it go: has each of its partitions another member that stays? */
static bool spare(const struct sim *s, const struct sim_parts *ps, unsigned node)
{
	for (unsigned i = 0; i < ps->n; i++) {
		bool mine = false, other = false;

		for (uint32_t k = 0; k < ps->c[i].nmembers; k++) {
			mine |= ps->c[i].member[k].node == node;
			other |= ps->c[i].member[k].node != node &&
				 !s->p[ps->c[i].member[k].node].gone;
		}
		if (mine && !other)
			return false;
	}
	return true;
}

static void lose(struct sim *s)
{
	struct sim_parts ps;
	unsigned in = 0, left = vms_rng_chance(&s->rng, 0.3) ? s->copies - 1 : 1;

	for (unsigned i = 1; i <= s->plan.nodes; i++)
		in += is_in(&s->p[i]) && s->p[i].state == VMS_NODE_IN;
	sim_parts(s, &ps);
	if (s->conf.beyond)
		left = 1 + (unsigned)vms_rng_below(&s->rng, in - 1);
	for (unsigned tries = 0; tries < 20 && left && (in > s->copies || s->conf.beyond);
	     tries++) {
		unsigned i = 1 + (unsigned)vms_rng_below(&s->rng, s->plan.nodes);

		if (!is_in(&s->p[i]) || (!s->conf.beyond && !spare(s, &ps, i)))
			continue;
		sim_note(s, "node %u is lost for good", i);
		s->p[i].gone = true;
		if (!s->conf.beyond && vms_rng_chance(&s->restore_rng, 0.4)) {
			sim_note(s, "node %u is given up", i);
			s->p[i].state = VMS_NODE_LEAVING; /* insist() */
		}
		sim_proc_crash(s, &s->p[i], true);
		s->r->lost++;
		left--;
		in--;
	}
}

/* Those that are being made had attempts before that clients have outrun. */
static void outrun(struct sim *s)
{
	for (unsigned i = 0; i < s->nprocs && s->plan.outrun; i++) {
		struct vms_node *n = s->p[i].kind == SIM_NODE && s->p[i].up ? s->p[i].node : NULL;

		for (uint32_t k = 0; n && k < n->nparts; k++) {
			struct part *p = n->part[k];

			if (!p || !p->learn || p->outrun)
				continue;
			p->outrun = s->plan.outrun;
			s->r->outrun++;
		}
	}
}

void sim_ring(struct sim *s)
{
	char why[200];

	if (!s->plan.learn && !s->conf.beyond)
		return;
	outrun(s);
	if (s->now_us >= s->insist_us) {
		s->insist_us = s->now_us + 500000;
		insist(s);
	}
	switch (s->episode) {
	case EP_NONE:
		if (!s->faults)
			return;
		if (s->losses && s->now_us >= s->episode_us) {
			s->losses--;
			if (s->conf.beyond) {
				s->episode_us = s->now_us + vms_rng_below(&s->rng, 20000000);
				lose(s);
				return;
			}
			s->episode = EP_CALM;
			s->episode_us = s->now_us + CALM_US_MAX;
			sim_note(s, "calm before the loss of a node");
		} else if (vms_rng_chance(&s->rng, s->plan.ring * FAULT_PERIOD_US / 1e6)) {
			change(s);
		}
		return;
	case EP_CALM:
		if (s->faults && s->now_us > s->episode_us && sim_ring_whole(s, why, sizeof(why))) {
			/* nobody's fault: news of the catalog were late all the time */
			sim_note(s, "no node is lost after all");
			s->episode = EP_NONE;
			s->episode_us = s->now_us + 5000000;
			return;
		}
		if (!s->faults || s->now_us > s->episode_us) {
			sim_fail(s, "the cluster does not become whole without faults: %s",
				 sim_ring_whole(s, why, sizeof(why)) ? "nodes" : why);
			return;
		}
		if (!s->nodes_stable_us || s->now_us - s->nodes_stable_us < CALM_US ||
		    sim_history_late(s->history) || !sim_ring_whole(s, why, sizeof(why)))
			return;
		lose(s);
		s->episode = EP_HEAL;
		s->episode_us = s->now_us + HEAL_US_MAX;
		return;
	case EP_HEAL:
		if (sim_ring_whole(s, why, sizeof(why))) {
			sim_note(s, "the loss is healed");
			s->episode = EP_NONE;
			s->episode_us = s->now_us + 5000000 + vms_rng_below(&s->rng, 10000000);
		} else if (s->now_us > s->episode_us) {
			sim_fail(s, "two minutes after a node was lost: %s", why);
		}
		return;
	case EP_LOST:
		return;
	}
}
