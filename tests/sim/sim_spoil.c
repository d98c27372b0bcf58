/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * More damage than there are copies: behind the load, with everything there and whole, a chunk
 * that lies in a container is written over in part, and then that chunk rots on every member
 * of its partition. In most of these seeds all members lose power at the moment when the record
 * that merges the two is in all logs and in no index: it has to be applied again then, and
 * nobody has the bytes. In the others the record is made when the damage is there already.
 *
 * Allowed is a clean stop only: reads of that chunk end with MEDIUM ERROR or are right; whatever
 * else is read is right, and other partitions take writes. Then one copy is as it was
 * again: the partition goes on, and if it stood (it does when the record was ordered before)
 * nothing of the chunk may be missing. When it has been written again nothing is left of it all.
 *
 * Of those that stand an administrator gives half up before that. What was written over the
 * chunk is there then; the rest is an error, also when the copy is as it was again.
 */
#include "tests/sim/sim_int.h"
#include "tests/sim/sim_memory.h"

#define DRAIN_US_MAX 20000000u
#define STAND_US_MAX 30000000u
#define BACK_US_MAX  120000000u
#define STEP_US	     200u
#define TRIES_MAX    40u
#define PART_BLOCKS  3u

struct spoil {
	uint64_t chunk; /* of the volume */
	uint32_t partition;
	uint64_t ctr, block;
	uint32_t byte;
	bool power, forsake;
	unsigned part;	     /* the first of the PART_BLOCKS blocks that were written over it */
	struct sim_parts ps; /* when it rotted */
};

void sim_spoil_draw(struct sim *s)
{
	const struct sim_plan *p = &s->plan;

	s->plan.spoil = !s->conf.beyond && p->ack == VMS_ACK_DISK && p->rot == 0 && p->fill == 0 &&
			vms_rng_chance(&s->end_rng, 0.2);
}

bool sim_spoil_has(const struct sim *s, uint64_t lba, uint32_t nblocks)
{
	uint64_t first = lba / VMS_CHUNK_BLOCKS, last = (lba + nblocks - 1) / VMS_CHUNK_BLOCKS;

	return s->spoil.n && first < s->spoil.first + s->spoil.n && s->spoil.first <= last;
}

static bool is_up(const struct sim *s, unsigned i)
{
	return s->p[i].up && !s->p[i].gone && s->p[i].node;
}

/* Until it is in containers. */
static bool drain(struct sim *s)
{
	for (uint64_t end = s->now_us + DRAIN_US_MAX; !s->failed && s->now_us < end;) {
		unsigned left = 0;

		for (unsigned i = 1; i <= s->plan.nodes; i++) {
			if (!is_up(s, i))
				continue;
			left += sim_node_undrained(s->p[i].node);
			sim_node_seal(s->p[i].node);
			sim_wake(&s->p[i], 1);
		}
		if (!left)
			return true;
		sim_run_for(s, 100000);
	}
	return false;
}

static bool gateway_ready(struct sim *s, unsigned g)
{
	for (uint64_t end = s->now_us + BACK_US_MAX; !s->failed; sim_run_for(s, 100000)) {
		if (sim_vol_ready(s, &s->p[1 + s->plan.nodes + g], 0))
			return true;
		if (s->now_us > end)
			sim_fail(s, "gateway %u has not the volume", g);
	}
	return false;
}

/* The status of a command of one session, its last try: once GOOD, or what is asked for. */
static int command(struct sim *s, bool write, uint64_t lba, uint32_t n, bool medium, unsigned tries)
{
	struct client *c = &s->cl[0];
	int st = VMS_E_BUSY;

	for (unsigned k = 0; k < tries && !s->failed; k++) {
		unsigned g = (unsigned)vms_rng_below(&s->end_rng, s->plan.gateways);

		if (k)
			sim_run_for(s, 500000);
		if (!gateway_ready(s, g))
			break;
		sim_path_use(s, c, (int)g);
		if (write)
			sim_write(s, c, lba, n);
		else
			sim_read(s, c, 0, 0, lba, n);
		sim_run_until_idle(s, c);
		st = c->op[0].status;
		if (!st || st == VMS_E_RESERVED ||
		    (medium && (st == VMS_E_CORRUPT || st == VMS_E_BAD_SECTORS)))
			break;
	}
	return st;
}

/* Chunks of the volume that initiators use, one by one. */
static void read_all(struct sim *s, const struct spoil *x, bool medium, const char *when)
{
	for (unsigned i = 0; i < s->plan.hot_chunks && !s->failed; i++) {
		uint64_t lba = s->hot[i] * VMS_CHUNK_BLOCKS;
		uint32_t n = sim_vol_clip(&s->vol[0], lba, VMS_CHUNK_BLOCKS);
		int st = n ? command(s, false, lba, n, medium && s->hot[i] == x->chunk, TRIES_MAX)
			   : 0;

		if (st && !(medium && s->hot[i] == x->chunk) && !s->failed)
			sim_fail(s, "%s: a read at lba %llu ends with %s", when,
				 (unsigned long long)lba, vms_err_name(st));
	}
}

/* A chunk of a container that nothing else refers to, a part of it written over: who leads it
 * has to merge them. None while a reservation is in the way. */
static struct proc *choose(struct sim *s, struct spoil *x)
{
	for (unsigned k = 0; k < 4 && !s->failed; k++) {
		uint64_t chunk = s->hot[vms_rng_below(&s->end_rng, s->plan.hot_chunks)];
		uint64_t lba = chunk * VMS_CHUNK_BLOCKS;

		if (sim_vol_clip(&s->vol[0], lba, VMS_CHUNK_BLOCKS) < VMS_CHUNK_BLOCKS)
			continue;
		x->part = (unsigned)vms_rng_below(&s->end_rng, 5);
		if (command(s, true, lba, VMS_CHUNK_BLOCKS, false, TRIES_MAX) || !drain(s) ||
		    command(s, true, lba + x->part, PART_BLOCKS, false, TRIES_MAX))
			return NULL;
		for (unsigned i = 1; i <= s->plan.nodes; i++)
			if (is_up(s, i) &&
			    sim_node_merges(s->p[i].node, (uint32_t)(chunk / VMS_EXTENT_CHUNKS),
					    chunk % VMS_EXTENT_CHUNKS, &x->partition, &x->ctr,
					    &x->block)) {
				x->chunk = chunk;
				return &s->p[i];
			}
	}
	return NULL;
}

static struct proc *member(struct sim *s, const struct spoil *x, uint32_t i)
{
	return &s->p[x->ps.c[x->partition].member[i].node];
}

static void rot(struct sim *s, struct spoil *x)
{
	for (uint32_t i = 0; i < x->ps.c[x->partition].nmembers; i++)
		sim_disk_rot(member(s, x, i)->disk, x->ctr, x->block, x->byte);
	s->spoil.first = x->chunk;
	s->spoil.n = 1;
	s->r->spoiled++;
	sim_note(s, "chunk %llu rots on all nodes: partition %u, block %llu of container %llx",
		 (unsigned long long)x->chunk, x->partition, (unsigned long long)x->block,
		 (unsigned long long)x->ctr);
}

/* The record is in all logs; then all of them lose power. */
static void power_lost(struct sim *s, struct spoil *x, struct proc *leads)
{
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (is_up(s, i)) {
			sim_node_seal(s->p[i].node);
			sim_wake(&s->p[i], 1);
		}
	for (uint64_t end = s->now_us + DRAIN_US_MAX; s->now_us < end &&
						      is_up(s, (unsigned)(leads - s->p)) &&
						      !sim_node_moves(leads->node, x->partition);)
		sim_run_for(s, STEP_US);
	sim_parts(s, &x->ps);
	for (uint32_t i = 0; i < x->ps.c[x->partition].nmembers; i++)
		if (member(s, x, i)->up) {
			sim_proc_crash(s, member(s, x, i), true);
			s->r->crashes++;
		}
	rot(s, x);
	for (uint32_t i = 0; i < x->ps.c[x->partition].nmembers; i++) {
		sim_run_for(s, vms_rng_below(&s->end_rng, 1000000));
		if (!member(s, x, i)->up)
			sim_proc_start(s, member(s, x, i));
	}
}

static bool stands(const struct sim *s, const struct spoil *x)
{
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (is_up(s, i) && sim_node_stands(s->p[i].node, x->partition))
			return true;
	return false;
}

static void whole(struct sim *s, const struct spoil *x, const char *when)
{
	char why[200] = "it stands";

	for (uint64_t end = s->now_us + BACK_US_MAX; !s->failed; sim_run_for(s, 500000)) {
		if (!stands(s, x) && (!s->plan.learn || sim_ring_whole(s, why, sizeof(why))))
			return;
		if (s->now_us > end)
			sim_fail(s, "two minutes after %s: %s", when, why);
	}
}

/* Others take writes, one in each partition at least; this one may. */
static void write_all(struct sim *s, const struct spoil *x)
{
	for (unsigned i = 0; i < s->plan.hot_chunks && !s->failed; i++) {
		uint64_t lba = s->hot[i] * VMS_CHUNK_BLOCKS;
		uint32_t extent = (uint32_t)(s->hot[i] / VMS_EXTENT_CHUNKS);
		bool same = extent == x->chunk / VMS_EXTENT_CHUNKS;

		if (s->hot[i] == x->chunk ||
		    sim_vol_clip(&s->vol[0], lba, VMS_CHUNK_BLOCKS) < VMS_CHUNK_BLOCKS)
			continue;
		if (command(s, true, lba, VMS_CHUNK_BLOCKS, false, same ? 2 : TRIES_MAX) && !same &&
		    !s->failed)
			sim_fail(s, "a chunk has no copy, and lba %llu takes no write",
				 (unsigned long long)lba);
	}
}

/* How many blocks of the chunk are an error; what was written over it must not be. */
static unsigned errors(struct sim *s, const struct spoil *x, const char *when)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VMS_CHUNK_BLOCKS && !s->failed; i++) {
		bool part = i >= x->part && i < x->part + PART_BLOCKS;
		int st = command(s, false, x->chunk * VMS_CHUNK_BLOCKS + i, 1, true, TRIES_MAX);

		if (st && (part || (st != VMS_E_CORRUPT && st != VMS_E_BAD_SECTORS)) && !s->failed)
			sim_fail(s, "%s: block %u of the chunk ends with %s", when, i,
				 vms_err_name(st));
		n += st != 0;
	}
	return n;
}

static uint64_t given_up(const struct sim *s)
{
	uint64_t n = 0;

	for (unsigned i = 1; i <= s->plan.nodes; i++)
		n += is_up(s, i) ? sim_node_given_up(s->p[i].node) : 0;
	return n;
}

/* Until it does not stand any more. False: some node had the bytes. */
static bool forsake(struct sim *s, const struct spoil *x)
{
	uint64_t before = given_up(s), n;

	for (uint64_t end = s->now_us + BACK_US_MAX; !s->failed && stands(s, x);
	     sim_run_for(s, 500000)) {
		for (unsigned i = 1; i <= s->plan.nodes; i++)
			if (is_up(s, i) && sim_node_give_up(s->p[i].node, x->partition))
				sim_wake(&s->p[i], 1);
		if (s->now_us > end)
			sim_fail(s, "partition %u cannot be given up", x->partition);
	}
	n = given_up(s) - before;
	s->r->forsaken += (unsigned)n;
	sim_note(s, "%llu chunks of partition %u are given up", (unsigned long long)n,
		 x->partition);
	return n != 0;
}

void sim_spoil(struct sim *s)
{
	struct spoil x = {.power = vms_rng_chance(&s->end_rng, 0.75),
			  .byte = (uint32_t)vms_rng_below(&s->end_rng, VMS_CHUNK_BYTES),
			  .forsake = vms_rng_chance(&s->end_rng, 0.5)};
	struct proc *leads;
	bool stood = false, gone = false;
	unsigned bad = 0;
	uint32_t good;

	if (!gateway_ready(s, 0))
		return;
	leads = choose(s, &x);
	if (!leads || s->failed)
		return;
	if (x.power) {
		power_lost(s, &x, leads);
	} else {
		sim_parts(s, &x.ps);
		rot(s, &x);
	}
	for (uint64_t end = s->now_us + STAND_US_MAX / (x.power ? 1 : 4);
	     !s->failed && s->now_us < end && !(stood = stands(s, &x));)
		sim_run_for(s, 100000);
	s->r->stood += stood;
	sim_note(s, "partition %u %s", x.partition, stood ? "stands" : "goes on");
	read_all(s, &x, true, "a chunk has no copy");
	write_all(s, &x);
	read_all(s, &x, true, "a chunk has no copy, others were written");
	if (stood && x.forsake && stands(s, &x)) {
		gone = forsake(s, &x);
		whole(s, &x, "its bytes were given up");
		bad = errors(s, &x, "given up");
		if (gone != (bad != 0) && !s->failed)
			sim_fail(s, "given up or not, %u blocks are an error", bad);
	}
	good = (uint32_t)vms_rng_below(&s->end_rng, x.ps.c[x.partition].nmembers);
	sim_note(s, "the copy of node %u is good again", x.ps.c[x.partition].member[good].node);
	stood = stood && stands(s, &x);
	sim_disk_rot(member(s, &x, good)->disk, x.ctr, x.block, x.byte);
	whole(s, &x, "a copy is good again");
	if (gone && errors(s, &x, "given up, and a copy is good again") != bad && !s->failed)
		sim_fail(s, "what was given up has come back");
	/* what was merged without its base is bad until it is written */
	if (!stood)
		command(s, true, x.chunk * VMS_CHUNK_BLOCKS, VMS_CHUNK_BLOCKS, false, TRIES_MAX);
	s->spoil.n = 0;
	read_all(s, &x, false, stood ? "a copy is good again" : "the chunk was written again");
}
