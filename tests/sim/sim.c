/* SPDX-License-Identifier: GPL-2.0-only */
/* The simulated world: clock, event queue, fault planner. See sim.h. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/fsck.h"
#include "backend/yield.h"
#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"

#define SETTLE_US_MAX 60000000ull
#define FAULTS_US_MAX 120000000ull
#define RUN_US_MAX    600000000ull
#define EMPTY_US_MAX  120000000u

static bool ev_less(const struct ev *a, const struct ev *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}
void sim_at(struct sim *s, uint64_t delay_us, enum ev_type type, uint64_t a, uint64_t b, uint64_t c,
	    void *p)
{
	if (s->nheap == s->heap_room) {
		s->heap_room = s->heap_room ? 2 * s->heap_room : 1024;
		s->heap = realloc(s->heap, s->heap_room * sizeof(*s->heap));
	}
	size_t i = s->nheap++;
	struct ev e = {s->now_us + delay_us, ++s->ev_seq, type, a, b, c, p};
	while (i && ev_less(&e, &s->heap[(i - 1) / 2])) {
		s->heap[i] = s->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	s->heap[i] = e;
}
static struct ev pop(struct sim *s)
{
	struct ev top = s->heap[0], e = s->heap[--s->nheap];
	size_t i = 0;
	for (;;) {
		size_t k = 2 * i + 1;
		if (k >= s->nheap)
			break;
		if (k + 1 < s->nheap && ev_less(&s->heap[k + 1], &s->heap[k]))
			k++;
		if (!ev_less(&s->heap[k], &e))
			break;
		s->heap[i] = s->heap[k];
		i = k;
	}
	if (s->nheap)
		s->heap[i] = e;
	return top;
}

void sim_mix(struct sim *s, uint64_t v)
{
	s->hash = vms_mix64(s->hash * 0x9e3779b97f4a7c15ull + v + s->now_us);
}
/* What each process knows of itself, for whoever debugs a seed. */
static void sim_dump(struct sim *s)
{
	struct vms_cat_engine *e = &s->p[0].engine;
	char after[VMS_CAT_KEY_BYTES_MAX + 8];
	struct vms_cat_kv kv;

	for (const char *a = NULL; !e->ops->next(e->ctx, "", a, &kv); a = after) {
		printf("catalog %s: %s\n", kv.key, kv.val);
		snprintf(after, sizeof(after), "%s", kv.key);
	}
	for (unsigned i = 1; i < s->nprocs; i++) {
		struct proc *p = &s->p[i];
		static const char *const what[] = {"status", "stats", "partitions"};
		for (unsigned k = 0; k < 3; k++) {
			json_t *j = p->node ? vms_node_json(p->node, what[k])
				    : p->gw ? vms_gw_json(p->gw, what[k])
					    : NULL;
			char *t = j ? json_dumps(j, JSON_COMPACT) : NULL;
			if (t)
				printf("process %u %s: %s\n", i, what[k], t);
			free(t);
			json_decref(j);
		}
	}
}
void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	if (s->failed)
		return;
	s->failed = true;
	va_start(ap, fmt);
	vsnprintf(s->r->why, sizeof(s->r->why), fmt, ap);
	va_end(ap);
	sim_note(s, "FAILED: %s", s->r->why);
	if (s->conf.verbose)
		sim_dump(s);
}
void sim_note(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	if (!s->conf.verbose)
		return;
	printf("%12.6f ", (double)s->now_us / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}
uint64_t sim_now_ms(const struct proc *p)
{
	return p->clock_base_ms + (uint64_t)((double)p->s->now_us * (1.0 + p->drift) / 1000.0);
}
void sim_wake(struct proc *p, uint64_t delay_us)
{
	uint64_t at = p->s->now_us + (delay_us ? delay_us : 1);
	if (!p->up || (p->turn_at > p->s->now_us && p->turn_at <= at))
		return;
	p->turn_at = at;
	sim_at(p->s, at - p->s->now_us, EV_TURN, (uint64_t)(p - p->s->p), p->life, ++p->turn_seq,
	       NULL);
}

/* The limit for copies: mostly none that is felt here, else one that takes seconds. */
static uint64_t draw_move_rate(uint64_t seed)
{
	static const uint64_t low[] = {512u << 10, 1u << 20, 2u << 20};
	struct vms_rng r;

	vms_rng_init(&r, seed ^ 0x30f3);
	return vms_rng_chance(&r, 0.4) ? low[vms_rng_below(&r, 3)] : 64u << 20;
}

/* In some runs all copies are made as after attempts that clients have outrun. */
static uint8_t draw_outrun(uint64_t seed)
{
	struct vms_rng r;

	vms_rng_init(&r, seed ^ 0x0a7b);
	return vms_rng_chance(&r, 0.3) ? (uint8_t)(1 + vms_rng_below(&r, YIELD_STEPS)) : 0;
}

static void draw_plan(struct sim *s)
{
	struct vms_rng *r = &s->rng;
	struct sim_plan *p = &s->plan;
#define PICK(...)                                                                                  \
	((const uint64_t[]){                                                                       \
		__VA_ARGS__})[vms_rng_below(r, sizeof((const uint64_t[]){__VA_ARGS__}) / 8)]
	p->first_nodes = (unsigned)PICK(3, 3, 3, 4, 5, 6, 7);
	p->nodes = p->first_nodes + (unsigned)PICK(0, 0, 1, 2);
	if (p->nodes > SIM_NODES_MAX)
		p->nodes = SIM_NODES_MAX;
	p->gateways = (unsigned)PICK(2, 2, 2, 3);
	p->clients = (unsigned)PICK(2, 3, 4);
	p->copies = (unsigned)PICK(2, 2, 2, 3);
	/* a few with sets as they were, to see what does not come from their changing */
	p->learn = !vms_rng_chance(&s->cat_rng, 0.15) || s->conf.beyond;
	p->min_copies = 1;
	p->depth = (unsigned)PICK(1, 2, 4, 8);
	p->part_bits = (unsigned)PICK(1, 2, 3, 4);
	p->ack = vms_rng_chance(r, 0.3) ? VMS_ACK_MEMORY : VMS_ACK_DISK;
	p->failover = p->learn;
	p->log_bytes = PICK(2, 2, 4, 8) << 20;
	p->gen_bytes = (uint32_t)(p->log_bytes / PICK(4, 8, 16));
	p->ops = 1100;
	p->net_us_min = (uint32_t)PICK(20, 100);
	p->net_us_max = (uint32_t)PICK(200, 1000, 5000);
	p->net_slow = (double)PICK(0, 1, 5) / 100;
	bool calm = vms_rng_chance(r, 0.05);
	double f = calm ? 0 : 1;
	p->crash_node = f * (double)PICK(0, 5, 15, 40) / 100 / p->nodes;
	p->crash_gw = f * (double)PICK(0, 2, 10) / 100;
	p->crash_cat = f * (double)PICK(0, 0, 5) / 100;
	p->pause_node = f * (double)PICK(0, 5, 20) / 100 / p->nodes;
	p->pause_gw = f * (double)PICK(0, 2, 20) / 100;
	p->cut = f * (double)PICK(0, 5, 20) / 100;
	p->brk = f * (double)PICK(0, 10, 100) / 100;
	p->abort = f * (double)PICK(0, 0, 1, 5) / 100;
	p->outage = (p->learn ? f : 0) * (double)PICK(0, 0, 2, 5) / 100 / p->nodes;
	p->ring = p->learn ? f * (double)PICK(0, 5, 20) / 100 : 0;
	p->move_bytes_s = draw_move_rate(s->conf.seed);
	p->outrun = draw_outrun(s->conf.seed);
	p->losses = p->learn && p->ack == VMS_ACK_DISK && !calm ? (unsigned)PICK(0, 0, 0, 1, 2) : 0;
	p->slow_link = f * (double)PICK(0, 0, 10, 40) / 100;
	p->isolate = f * (double)PICK(0, 0, 3, 10) / 100;
	p->disk_error = f * (double)PICK(0, 0, 5, 20) / 100 / p->nodes;
	p->power = (double)PICK(0, 50, 100) / 100;
	p->path_cut = f * (double)PICK(0, 5, 30) / 100;
	p->reset = f * (double)PICK(0, 0, 5, 20) / 10000;
	p->multipath = vms_rng_chance(r, 0.6);
	p->pr = (double)PICK(0, 0, 6, 20) / 1000;
	p->pr_type = (uint8_t)PICK(VMS_PR_WE, VMS_PR_WE_RO, VMS_PR_WE_RO, VMS_PR_WE_AR);
	p->read_percent = (unsigned)PICK(30, 50, 60);
	p->zero_percent = (unsigned)PICK(0, 3, 8);
	p->caw_percent = (unsigned)PICK(0, 2, 5);
	p->or_percent = (unsigned)PICK(0, 2);
	p->flush_percent = (unsigned)PICK(1, 3);
	p->part_chunk_percent = (unsigned)PICK(0, 10, 40);
	p->disk_us_max = (uint32_t)PICK(200, 1000, 10000);
	p->hot_chunks = (unsigned)PICK(8, 32, 64);
	p->think_us = (uint32_t)PICK(10000, 40000, 150000);
	p->vol_bytes = (uint64_t)PICK(8, 12, 32) << 20;
	p->admin = vms_rng_chance(r, 0.6);
	p->same = vms_rng_chance(r, 0.3);
	p->fp_bits = vms_rng_chance(r, 0.3) ? 16 : 0;
	p->dedup_background = vms_rng_chance(r, 0.7);
	p->empty = p->admin && vms_rng_chance(r, 0.3);
	p->admin_us = (uint32_t)PICK(200000, 1000000, 3000000);
	p->late_news = f * (double)PICK(0, 20, 50) / 100;
	p->admin_dies = f * (double)PICK(0, 1, 4) / 100;
#undef PICK
	p->rot = p->learn && !calm && vms_rng_chance(&s->cat_rng, 0.15) ? 4 : 0;
	if (p->rot > 0) { /* one node's blocks; the other copies are good, and stay in reach */
		p->crash_node = p->pause_node = p->cut = p->isolate = p->outage = p->disk_error =
			p->ring = 0;
		p->slow_link = p->brk = 0;
		p->losses = 0;
		p->empty = false;
	}
	if (s->conf.ops)
		p->ops = s->conf.ops;
	if (!calm && vms_rng_chance(&s->cat_rng, 0.6))
		sim_catalog_draw(&p->cat, &s->cat_rng, s->conf.cat_mask);
	p->turns = p->learn && vms_rng_chance(&s->cat_rng, 0.15);
	p->turns = p->turns && p->rot == 0;
	if (vms_rng_chance(&s->mix_rng, 0.35))
		p->resize = vms_rng_chance(&s->mix_rng, 0.5) ? SIM_RESIZE_TOO : SIM_RESIZE_ONLY;
	if (p->resize)
		p->admin = true;
	if (!calm && p->rot == 0 && vms_rng_chance(&s->mix_rng, 0.2))
		p->fill = 0.2 / p->nodes;
	p->pr_legacy = vms_rng_chance(&s->mix_rng, 0.3);
	if (!s->conf.beyond && vms_rng_chance(&s->mix_rng, 0.5))
		p->copy = vms_rng_chance(&s->mix_rng, 0.5) ? 0.01 : 0.03;
	if (vms_rng_chance(&s->mix_rng, 0.5))
		p->atomic = 0.05;
	if (s->conf.beyond) {
		p->rot = 0;
		p->turns = false;
		p->fill = 0;
		p->ack = VMS_ACK_DISK;
		p->failover = true;
		p->admin = p->empty = false;
		p->resize = SIM_RESIZE_NONE;
		p->losses = 1 + (unsigned)vms_rng_below(r, 3);
	}
	sim_spoil_draw(s);
	sim_register_draw(s);
	sim_ring_draw(s);
	sim_restore_draw(s);
	sim_logs_draw(s);
	if (s->conf.nodes) {
		p->nodes = p->first_nodes = s->conf.nodes;
		p->gateways = s->conf.gateways;
		p->copies = s->conf.copies;
		p->min_copies = 1;
	} else if (vms_rng_chance(&s->restore_rng, 0.05) && !s->conf.beyond) {
		p->nodes = p->first_nodes = 1 + (unsigned)vms_rng_below(&s->restore_rng, 2);
		if (p->copies > p->nodes)
			p->copies = p->nodes;
		if (p->min_copies > p->copies)
			p->min_copies = p->copies;
	}
	if (p->copies == 1) /* the others are good */
		p->rot = 0;
	if (s->conf.no_faults) {
		memset(&p->cat, 0, sizeof(p->cat));
		p->crash_node = p->crash_gw = p->crash_cat = p->pause_node = p->pause_gw = p->cut =
			p->brk = p->abort = p->path_cut = p->reset = p->rot = p->slow_link =
				p->fill = p->isolate = p->disk_error = p->outage = p->ring =
					p->losses = 0;
		p->spoil = p->give_up = p->restore = p->logs = false;
	}
	uint64_t chunks = p->vol_bytes / VMS_CHUNK_BYTES;
	s->hot = calloc(p->hot_chunks, sizeof(*s->hot));
	for (unsigned i = 0; i < p->hot_chunks; i++) {
		/* Near borders of extents and in runs, where mistakes live. */
		uint64_t c = i % 4 == 3	  ? s->hot[i - 1] + 1
			     : i % 4 == 2 ? (1 + vms_rng_below(r, chunks / VMS_EXTENT_CHUNKS - 1)) *
							    VMS_EXTENT_CHUNKS -
						    1 - vms_rng_below(r, 3)
					  : vms_rng_below(r, chunks);
		s->hot[i] = c % chunks;
	}
}

static void put(struct sim *s, const char *key, char *val)
{
	struct vms_cat_engine *e = &s->p[0].engine;
	struct vms_cat_op op = {.key = key, .val = val};
	vms_assert(e->ops->apply(e->ctx, e->ops->revision(e->ctx) + 1, &op, 1) == 0);
	free(val);
}
static void make_catalog(struct sim *s)
{
	const struct sim_plan *pl = &s->plan;
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cluster cl = {.part_bits = pl->part_bits,
				     .copies = pl->copies,
				     .min_copies = pl->min_copies,
				     .timing_factor = 1.0,
				     .next_branch = 1,
				     .next_node = pl->first_nodes + 1,
				     .has_data = true,
				     .rebuild_after_s = 8,
				     .move_bytes_s = pl->move_bytes_s,
				     .next_gateway = 1};
	memcpy(cl.uuid, s->uuid, 16);
	vms_assert(vms_cat_engine_mem_open(&s->p[0].engine) == 0);
	s->history = sim_history_new(s, &s->p[0].engine);
	put(s, "cluster", vms_cat_cluster_encode(&cl));
	s->copies = pl->copies;
	s->min_copies = pl->min_copies;
	s->losses = pl->losses;
	sim_ring_zones(s);
	for (unsigned i = 1; i <= pl->first_nodes; i++) {
		struct vms_cat_node n = {.id = i, .weight = 100, .state = VMS_NODE_IN};
		s->p[i].joined = true;
		s->p[i].state = VMS_NODE_IN;
		s->p[i].weight = 100;
		snprintf(n.name, sizeof(n.name), "n%u", i - 1);
		sim_ring_zone_name(&s->p[i], n.zone, sizeof(n.zone));
		snprintf(n.address, sizeof(n.address), "%s", s->p[i].address);
		vms_cat_key_node(key, i);
		put(s, key, vms_cat_node_encode(&n));
	}
	for (uint32_t k = 0; k < 1u << pl->part_bits; k++) {
		struct vms_part_conf pc = {.epoch = 1, .nmembers = pl->copies};
		for (unsigned i = 0; i < pl->copies; i++)
			pc.member[i].node = 1 + (k + i) % pl->first_nodes;
		pc.primary = pc.member[0].node;
		vms_cat_key_part(key, k);
		put(s, key, vms_cat_part_encode(&pc));
	}
}

static void handle(struct sim *s, struct ev *e)
{
	struct proc *p = e->a < s->nprocs ? &s->p[e->a] : NULL;
	switch (e->type) {
	case EV_DELIVER:
	case EV_CLOSED:
	case EV_CONNECTED:
		sim_net_event(s, e);
		break;
	case EV_DISK: {
		struct input in = {.type = IN_DISK};
		if (p->life == e->b && p->up && sim_disk_finish(p->disk, e->c, &in.disk)) {
			in.must_stop = in.disk.status == VMS_E_IO &&
				       sim_disk_failed(p->disk) == SIM_DISK_WRITES;
			if (in.disk.status == VMS_E_IO && !in.must_stop)
				sim_faults_unread(s, p);
			sim_proc_input(p, in);
		}
		break;
	}
	case EV_TURN:
		if (!p->up || p->life != e->b || p->turn_seq != e->c)
			break;
		if (p->paused)
			break;
		p->turn_at = 0;
		sim_mix(s, e->a);
		sim_proc_turn(s, p);
		break;
	case EV_CRASH:
		if (!p->up || p->life != e->b)
			break;
		{
			bool power = p->kind == SIM_NODE &&
				     (e->c == CRASH_DISK || vms_rng_chance(&s->rng, s->plan.power));
			uint64_t d = e->c == CRASH_LONG
					     ? 10000000 + vms_rng_below(&s->rng, 30000000)
					     : 50000 + vms_rng_below(&s->rng,
								     vms_rng_chance(&s->rng, 0.3)
									     ? 8000000
									     : 800000);
			sim_note(s, "process %llu crashes%s, back in %.3f s",
				 (unsigned long long)e->a, power ? " (power)" : "",
				 (double)d / 1e6);
			sim_proc_crash(s, p, power);
			if (p->kind == SIM_NODE)
				s->nodes_stable_us = 0;
			s->r->crashes++;
			sim_at(s, d, EV_START, e->a, p->life, 0, NULL);
		}
		break;
	case EV_START:
		if (!p->up && p->life == e->b && !p->gone) {
			sim_note(s, "process %llu starts", (unsigned long long)e->a);
			sim_proc_start(s, p);
		}
		break;
	case EV_RESUME:
		if (p->up && p->life == e->b && p->paused) {
			p->paused = false;
			p->turn_at = 0;
			sim_wake(p, 1);
			sim_note(s, "process %llu goes on", (unsigned long long)e->a);
		}
		break;
	case EV_FAULTS:
		sim_faults(s);
		sim_at(s, FAULT_PERIOD_US, EV_FAULTS, 0, 0, 0, NULL);
		break;
	case EV_CMD: {
		struct sim_cmd *m = e->p;
		if (!p->up || !sim_path_takes(s, p, m)) {
			free(m->buf);
			free(m);
			break;
		}
		*p->cmdq_tail = m;
		p->cmdq_tail = &m->next;
		m->next = NULL;
		sim_wake(p, 5);
		break;
	}
	case EV_ANSWER: {
		struct sim_cmd *m = e->p;
		sim_client_answer(s, &s->cl[e->a], m);
		free(m->buf);
		free(m);
		break;
	}
	case EV_CLIENT:
		if (!s->final)
			sim_client_step(s, &s->cl[e->a]);
		break;
	}
}

static void one_event(struct sim *s)
{
	struct ev e = pop(s);
	vms_assert(e.at_us >= s->now_us);
	s->now_us = e.at_us;
	handle(s, &e);
}

void sim_run_until_idle(struct sim *s, struct client *c)
{
	uint64_t end = s->now_us + (s->conf.beyond ? SETTLE_US_MAX / 10 : SETTLE_US_MAX);
	while (!s->failed && sim_client_pending(c)) {
		one_event(s);
		if (!s->conf.beyond && sim_client_cut(s, c))
			return;
		if (s->now_us > end && s->conf.beyond && sim_ring_stopped(s))
			sim_client_lost(s, c, "nobody answers");
		else if (s->now_us > end)
			sim_fail(s, "final read at lba %llu not answered within 60 s",
				 (unsigned long long)c->op[0].lba);
	}
}

void sim_run_for(struct sim *s, uint64_t us)
{
	uint64_t end = s->now_us + us;
	while (!s->failed && s->now_us < end)
		one_event(s);
}

static bool vols_ready(struct sim *s, struct proc *p)
{
	for (unsigned i = 0; i < SIM_VOLS_MAX; i++)
		if (s->vol[i].id && s->vol[i].want && !sim_vol_ready(s, p, i))
			return false;
	return true;
}

static bool all_ready(struct sim *s)
{
	for (unsigned i = 0; i < s->nprocs; i++)
		if (s->p[i].joined && !s->p[i].gone &&
		    (!s->p[i].up || s->p[i].paused ||
		     (s->p[i].kind == SIM_GATEWAY && !vols_ready(s, &s->p[i]))))
			return false;
	return true;
}

static void stop_faults(struct sim *s)
{
	s->faults = false;
	memset(s->blocked_until, 0, sizeof(s->blocked_until));
	memset(s->slow_until, 0, sizeof(s->slow_until));
	memset(s->ilink, 0, sizeof(s->ilink));
	sim_logs_over(s);
	for (unsigned i = 0; i < s->nprocs; i++) {
		struct proc *p = &s->p[i];
		if (p->disk)
			sim_disk_fail(p->disk, 0, false);
		if (i == 0)
			sim_faults_room(s);
		if (!p->up && p->joined && !p->gone)
			sim_proc_start(s, p);
		if (p->paused) {
			p->paused = false;
			p->turn_at = 0;
			sim_wake(p, 1);
		}
	}
}

/* Faults have stopped: everything must come back and settle. */
static void settle(struct sim *s)
{
	uint64_t end;
	s->stopping = true;
	stop_faults(s);
	end = s->now_us + SETTLE_US_MAX;
	for (;;) {
		char why[200] = "";
		bool idle = all_ready(s) && sim_admin_idle(s) &&
			    (!s->plan.learn || sim_ring_whole(s, why, sizeof(why))) &&
			    sim_ring_known(s, why, sizeof(why)) &&
			    sim_pr_over(s, why, sizeof(why)) &&
			    sim_register_over(s, why, sizeof(why));
		for (unsigned i = 0; i < s->plan.clients; i++)
			idle = idle && !sim_client_pending(&s->cl[i]);
		for (unsigned i = 0; i < s->nprocs; i++)
			idle = idle && !s->p[i].live;
		/* a gateway that wakes up drops its initiators first */
		if ((idle && s->now_us + SETTLE_US_MAX > end + 1000000) || s->failed)
			return;
		if (s->now_us > end) {
			for (unsigned i = 0; i < s->plan.clients; i++)
				for (unsigned k = 0; k < SIM_DEPTH_MAX; k++)
					if (s->cl[i].op[k].used)
						sim_fail(s,
							 "60 s after the last fault client %u op "
							 "%d at lba %llu is still pending",
							 i, s->cl[i].op[k].op,
							 (unsigned long long)s->cl[i].op[k].lba);
			sim_fail(s, "60 s after the last fault the cluster has not settled: %s",
				 why);
			return;
		}
		one_event(s);
	}
}

/* All histories, and all snapshots there were. */
static void judge(struct sim *s)
{
	char why[sizeof(s->r->why)];
	for (size_t i = 0; i < s->checks.n; i++)
		if (!sim_check_verify(s->checks.d[i], why, sizeof(why))) {
			sim_fail(s, "%s%s", i ? "of a clone or after a rollback: " : "", why);
			return;
		}
	for (size_t i = 0; i < s->cuts.n; i++) {
		struct sim_cut *c = &s->cuts.d[i];
		if (!sim_check_cut(c->check, c->image, c->begin_us, c->end_us, why, sizeof(why))) {
			sim_fail(s, "%s", why);
			return;
		}
	}
	for (unsigned i = 1; i < SIM_VOLS_MAX; i++) {
		struct sim_vol *v = &s->vol[i];
		if (v->image &&
		    !sim_check_cut(v->check, v->image, v->begin_us, v->end_us, why, sizeof(why))) {
			sim_fail(s, "%s: %s", v->name, why);
			return;
		}
	}
}

static uint64_t container_bytes(struct sim *s)
{
	uint64_t sum = 0;
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (s->p[i].disk && !s->p[i].gone)
			sum += sim_disk_container_bytes(s->p[i].disk);
	return sum;
}

/* Everything is deleted: nothing may be left in containers. */
static void empty(struct sim *s)
{
	uint64_t end = s->now_us + EMPTY_US_MAX;
	bool done = false;
	for (unsigned i = 0; i < SIM_VOLS_MAX; i++)
		s->vol[i].want = false;
	while (!s->failed) {
		bool open = false;
		for (unsigned i = 0; i < SIM_VOLS_MAX; i++)
			open |= sim_vol_open_anywhere(s, i);
		if (!open && !done)
			done = sim_admin_empty(s);
		if (done && !container_bytes(s))
			return;
		if (s->now_us > end)
			sim_fail(s, "%u s after everything was deleted containers hold %llu bytes",
				 EMPTY_US_MAX / 1000000, (unsigned long long)container_bytes(s));
		else
			one_event(s);
	}
}

/* Each disk as a power cut leaves it now must pass fsck. */
static void check_disks(struct sim *s)
{
	struct sim_parts ps;
	sim_parts(s, &ps);
	for (unsigned i = 1; i <= s->plan.nodes && !s->failed; i++) {
		bool out[sizeof(ps.c) / sizeof(ps.c[0])];
		struct vms_fsck_conf conf = {.deep = true, .out = out};
		struct proc *p = &s->p[i];
		struct vms_fsck_io io = {p->disk, sim_disk_read, NULL, NULL};
		struct vms_fsck f;
		if (!p->disk || p->gone || (s->r->rotten && i == SIM_ROT_NODE))
			continue;
		for (unsigned k = 0; k < ps.n; k++) {
			out[k] = true;
			for (uint32_t m = 0; m < ps.c[k].nmembers; m++)
				out[k] &= ps.c[k].member[m].node != i;
		}
		sim_proc_crash(s, p, true);
		vms_fsck(&p->disk_ops, &io, &conf, &f);
		if (f.errors)
			sim_fail(s, "fsck of node %u: %s", i - 1, f.problem.d[0].text);
		vms_fsck_free(&f);
	}
}

void sim_run(const struct sim_conf *conf, struct sim_result *r)
{
	struct sim *s = calloc(1, sizeof(*s));
	memset(r, 0, sizeof(*r));
	s->parts = calloc(1, sizeof(*s->parts));
	s->conf = *conf;
	s->r = r;
	r->log_left = 1000;
	vms_rng_init(&s->rng, conf->seed);
	vms_rng_init(&s->cat_rng, conf->seed ^ 0xca7a106);
	vms_rng_init(&s->mix_rng, conf->seed ^ 0x313e5);
	vms_rng_init(&s->end_rng, conf->seed ^ 0x5b011);
	vms_rng_fill(&s->rng, s->uuid, 16);
	draw_plan(s);
	s->nprocs = 2 + s->plan.nodes + s->plan.gateways;
	for (unsigned i = 0; i < s->nprocs; i++) {
		struct proc *p = &s->p[i];
		p->s = s;
		p->kind = i == 0	       ? SIM_CATALOG
			  : i <= s->plan.nodes ? SIM_NODE
			  : i == s->nprocs - 1 ? SIM_ADMIN
					       : SIM_GATEWAY;
		p->idx = i == 0 ? 0 : i <= s->plan.nodes ? i - 1 : i - 1 - s->plan.nodes;
		p->clock_base_ms = 1000 + vms_rng_below(&s->rng, 1u << 30);
		p->drift = ((double)vms_rng_below(&s->rng, 2001) - 1000) / 100000;
		p->cmdq_tail = &p->cmdq;
		snprintf(p->address, sizeof(p->address), "proc%u:7000", i);
	}
	for (unsigned i = 0; i < s->nprocs; i++)
		s->p[i].joined = s->p[i].kind != SIM_NODE;
	sim_pr_new(s);
	make_catalog(s);
	s->vol[0] = (struct sim_vol){
		.id = ++s->next_vol, .want = true, .name = "disk", .check = sim_check_add(s)};
	sim_size_start(s);
	s->lineage = 1; /* the first branch that is made */
	for (unsigned i = 0; i < s->nprocs && !s->failed; i++)
		if (s->p[i].joined)
			sim_proc_start(s, &s->p[i]);
	s->cl[SIM_AUDITOR].idx = SIM_AUDITOR;
	s->cl[SIM_AUDITOR].gw = -1;
	snprintf(s->cl[SIM_AUDITOR].port, sizeof(s->cl[0].port),
		 "iqn.2011-06.org.vmstore:audit,i,0x1");
	for (unsigned i = 0; i < s->plan.clients; i++) {
		struct client *c = &s->cl[i];
		c->idx = (int)i;
		c->gw = -1;
		c->multipath = s->plan.multipath && vms_rng_chance(&s->cat_rng, 0.6);
		snprintf(c->port, sizeof(c->port), "iqn.2011-06.org.vmstore:sim%u,i,0x%012x", i,
			 i + 1);
		sim_at(s, 1000 * (i + 1), EV_CLIENT, i, 0, 0, NULL);
	}
	sim_at(s, FAULT_PERIOD_US, EV_FAULTS, 0, 0, 0, NULL);
	while (!s->failed &&
	       (r->acked < s->plan.ops || s->losses || s->episode != EP_NONE || s->plan.logs)) {
		one_event(s);
		/* Start-up itself is fault-free, so that every seed does real work. */
		if (!s->faults && r->acked > 20 && s->now_us < FAULTS_US_MAX)
			s->faults = true;
		/* Under a dense rain of crashes little is ever acknowledged;
		 * after a while the rest of the operations runs dry. */
		if (s->faults && s->now_us >= FAULTS_US_MAX && s->episode == EP_NONE) {
			s->losses = 0;
			stop_faults(s);
		}
		if (s->conf.beyond && s->now_us >= FAULTS_US_MAX)
			break;
		if (s->now_us > RUN_US_MAX || (r->acked <= 20 && s->now_us > SETTLE_US_MAX))
			sim_fail(s, "only %llu operations acknowledged in %llu s",
				 (unsigned long long)r->acked,
				 (unsigned long long)(s->now_us / 1000000));
	}
	if (s->conf.beyond) {
		stop_faults(s);
		s->stopping = true;
		for (uint64_t end = s->now_us + SETTLE_US_MAX / 3; s->now_us < end && !s->failed;)
			one_event(s);
		for (unsigned i = 0; i < s->plan.clients; i++)
			sim_client_lost(s, &s->cl[i], "the end");
		r->stopped = sim_ring_stopped(s);
	} else if (!s->failed)
		settle(s);
	if (!s->failed)
		sim_clients_final(s);
	if (!s->failed && s->plan.fill > 0)
		sim_clients_full(s);
	if (!s->failed && s->plan.turns)
		sim_clients_turns(s);
	if (!s->failed && s->plan.spoil)
		sim_spoil(s);
	if (!s->failed)
		judge(s);
	if (!s->failed && s->plan.empty)
		empty(s);
	/* copies may be half made there; or made anew of what no copy had whole */
	if (!s->failed && !s->conf.beyond && !r->spoiled)
		check_disks(s);
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (s->p[i].disk)
			r->drains += sim_disk_container_bytes(s->p[i].disk);
	r->ok = !s->failed;
	r->trace_hash = s->hash;
	r->virtual_ms = s->now_us / 1000;
	for (size_t i = 0; i < s->nheap; i++) {
		if (s->heap[i].type == EV_DELIVER)
			free(s->heap[i].p);
		if (s->heap[i].type == EV_CMD || s->heap[i].type == EV_ANSWER) {
			free(((struct sim_cmd *)s->heap[i].p)->buf);
			free(s->heap[i].p);
		}
	}
	for (unsigned i = 0; i < s->nprocs; i++)
		sim_proc_free(&s->p[i]);
	for (unsigned i = 0; i <= SIM_CLIENTS_MAX; i++)
		for (unsigned k = 0; k < SIM_DEPTH_MAX; k++)
			VMS_VEC_FREE(&s->cl[i].op[k].maybe);
	while (s->conns) {
		struct conn *c = s->conns;
		s->conns = c->next;
		free(c);
	}
	for (size_t i = 0; i < s->checks.n; i++)
		sim_check_free(s->checks.d[i]);
	for (size_t i = 0; i < s->cuts.n; i++)
		free(s->cuts.d[i].image);
	for (unsigned i = 0; i < SIM_VOLS_MAX; i++)
		free(s->vol[i].image);
	sim_pr_free(s);
	sim_size_free(s);
	VMS_VEC_FREE(&s->checks);
	VMS_VEC_FREE(&s->cuts);
	sim_acks_free(&s->acks);
	free(s->parts);
	free(s->hot);
	free(s->heap);
	free(s);
}
