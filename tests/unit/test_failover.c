// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failover: leases, take over, dropped members, hand-over. Several nodes in one process
 * over simulated disks and a catalog that loses, delays and repeats itself.
 */
#include "tests/sim/node_rig.h"
#include "tests/sim/sim_memory.h"
#include "tests/unit/cunit.h"

#include <jansson.h>

#define BR    7ull
#define CHUNK VMS_CHUNK_BYTES
#define BITS  2u

static struct rig R;

static uint32_t part_of(uint32_t extent)
{
	return vms_extent_partition(BR, extent, R.part_bits);
}

/* An extent of that partition. */
static uint32_t extent_in(uint32_t part)
{
	for (uint32_t e = 0;; e++)
		if (part_of(e) == part)
			return e;
}

static uint32_t extent_after(uint32_t part, uint32_t e)
{
	while (part_of(++e) != part)
		;
	return e;
}

static void connect_all(void)
{
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < R.nnodes; i++)
			rig_gw_connect(&R, g, i);
}

static void up(unsigned nnodes, unsigned copies, uint64_t seed, unsigned ack)
{
	R.failover = true;
	R.min_copies = R.min_copies ? R.min_copies : 1;
	rig_open(&R, nnodes, copies, BITS, seed);
	rig_volume(&R, BR, ack);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	connect_all();
	rig_run(&R, 6000); /* nobody is young any more */
	connect_all();
	rig_run(&R, 600);
}

static void down(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		CU_ASSERT_FALSE(R.node[i].fatal);
	rig_close(&R);
}

static void fill(uint8_t *b, uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	vms_rng_fill(&g, b, CHUNK);
}

struct w {
	uint32_t extent, slot, flags;
	uint64_t seed, sequence;
	uint8_t data[CHUNK];
};

static void write_to(unsigned g, unsigned node, struct w *w, struct rig_reply *re)
{
	struct vms_piece pc = {1, 1, 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov = {w->data, CHUNK};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(w->extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = w->extent,
			    .slot = w->slot,
			    .flags = (uint16_t)w->flags};

	fill(w->data, w->seed);
	if (!w->sequence)
		w->sequence = ++R.gw[g].next_seq[w->slot];
	m.sequence = w->sequence;
	pc.crc = vms_crc32c(0, w->data, CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	m.body = body;
	m.body_bytes = sizeof(body);
	m.payload = &iov;
	m.npayload = 1;
	m.payload_bytes = CHUNK;
	m.epoch = R.gw[g].epoch[m.partition];
	rig_send(&R, g, node, &m, re);
}

/* As a gateway does it: at the primary of the catalog, again until it is settled. */
static int write_within(unsigned g, struct w *w, uint64_t ms)
{
	uint64_t end = R.now_us + ms * 1000;
	struct rig_reply re;
	int st = VMS_E_TIMEOUT;

	while (R.now_us < end) {
		uint32_t p = part_of(w->extent);
		unsigned nd = rig_primary(&R, p);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 20);
			continue;
		}
		write_to(g, nd, w, &re);
		if (!rig_wait(&R, &re, 600)) {
			R.gw[g].nwait = 0;
			w->flags |= VMS_F_RETRY;
			st = VMS_E_TIMEOUT;
			continue;
		}
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[p] = re.m.epoch;
		rig_reply_free(&re);
		if (st == VMS_E_DISCONNECTED)
			w->flags |= VMS_F_RETRY;
		if (!st || st == VMS_E_STALE_SEQ || st == VMS_E_INVAL)
			return st;
		rig_run(&R, 20);
	}
	return st;
}

static int put(unsigned g, uint32_t extent, uint64_t seed, uint64_t ms)
{
	struct w w = {.extent = extent, .seed = seed};

	return write_within(g, &w, ms);
}

static int read_from(unsigned g, unsigned nd, uint32_t extent, uint8_t *out, uint64_t ms)
{
	struct rig_reply re;
	uint8_t body[2] = {1, 0};
	struct vms_msg m = {.type = VMS_MSG_READ_LBA,
			    .partition = part_of(extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .extent = extent,
			    .body = body,
			    .body_bytes = 2};
	int st;

	m.epoch = R.gw[g].epoch[m.partition];
	rig_send(&R, g, nd, &m, &re);
	if (!rig_wait(&R, &re, ms)) {
		R.gw[g].nwait = 0;
		return VMS_E_TIMEOUT;
	}
	st = re.status;
	if (!st || st == VMS_E_EPOCH)
		R.gw[g].epoch[m.partition] = re.m.epoch;
	if (!st) {
		vms_addr a = vms_get_le64(re.body);

		st = (int16_t)vms_get_le16(re.body + 12);
		if (!a)
			memset(out, 0, CHUNK);
		else if (!st)
			memcpy(out, re.payload, CHUNK);
	}
	rig_reply_free(&re);
	return st;
}

/* What the present primary answers. */
static bool shows(uint32_t extent, uint64_t seed)
{
	uint8_t x[CHUNK], want[CHUNK];

	fill(want, seed);
	for (int i = 0; i < 400; i++) {
		unsigned nd = rig_primary(&R, part_of(extent));
		int st = VMS_E_AGAIN;

		if (R.gw[0].up[nd])
			st = read_from(0, nd, extent, x, 500);
		else
			rig_gw_connect(&R, 0, nd);
		if (!st)
			return !memcmp(x, want, CHUNK);
		rig_run(&R, 20);
	}
	return false;
}

static struct part *part_at(unsigned node, uint32_t part)
{
	return R.node[node].n ? node_part(R.node[node].n, part) : NULL;
}

static bool in_set(uint32_t part, unsigned node)
{
	struct vms_part_conf c = rig_conf(&R, part, NULL);

	for (unsigned i = 0; i < c.nmembers; i++)
		if (c.member[i].node == node + 1)
			return true;
	return false;
}

/* Partition 0 is led by node 0; members follow in their order. */
static uint32_t E0;

static void test_primary_killed(void)
{
	for (unsigned copies = 2; copies <= 3; copies++) {
		struct vms_part_conf c;
		uint64_t from;

		up(3, copies, 10 + copies, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		rig_node_crash(&R, 0, false);
		from = R.now_us;
		CU_ASSERT_EQUAL(put(1, E0, 2, 8000), 0);
		CU_ASSERT(R.now_us - from < 3500000);
		CU_ASSERT(R.now_us - from > 1500000); /* the lease had to run out */
		c = rig_conf(&R, 0, NULL);
		CU_ASSERT(c.primary == 2 && c.nmembers == copies - 1 && c.member[0].node == 2);
		CU_ASSERT(c.nwant == copies && c.want[0] == 1);
		CU_ASSERT_TRUE(shows(E0, 2));
		CU_ASSERT(R.node[1].n->st.takeovers > 0);
		/* it comes back: not in the set, it serves nothing, until it has caught up */
		rig_node_start(&R, 0);
		for (int i = 0; i < 400 && !R.gw[0].up[0]; i++) {
			rig_gw_connect(&R, 0, 0);
			rig_run(&R, 2);
		}
		CU_ASSERT_FALSE(in_set(0, 0));
		{
			uint8_t x[CHUNK];

			CU_ASSERT_EQUAL(read_from(0, 0, E0, x, 1000), VMS_E_NOT_PRIMARY);
			CU_ASSERT(part_at(0, 0)->out && !part_at(0, 0)->primary);
		}
		CU_ASSERT_TRUE(shows(E0, 2));
		/* then it is a member, and leads again, as wanted */
		for (int i = 0; i < 200 && rig_primary(&R, 0) != 0; i++)
			rig_run(&R, 100);
		CU_ASSERT_TRUE(rig_wait_active(&R, 5000));
		c = rig_conf(&R, 0, NULL);
		CU_ASSERT(c.primary == 1 && c.nmembers == copies && c.handover == c.epoch);
		CU_ASSERT(R.node[1].n->st.promotions > 0 && R.node[1].n->st.handovers > 0);
		CU_ASSERT_TRUE(shows(E0, 2));
		CU_ASSERT_EQUAL(put(1, E0, 3, 5000), 0);
		CU_ASSERT_TRUE(shows(E0, 3));
		down();
	}
}

static void test_backup_killed(void)
{
	uint64_t from;

	up(3, 2, 20, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, true);
	from = R.now_us;
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	/* the connection was gone for half a lease */
	CU_ASSERT(R.now_us - from < 1700000 && R.now_us - from > 900000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT(R.node[0].n->st.drops > 0);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* It answers nothing, but its connections stay. */
static void test_backup_paused(void)
{
	uint64_t from;

	up(3, 2, 21, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_pause(&R, 1, 30000);
	from = R.now_us;
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	CU_ASSERT(R.now_us - from < 2300000 && R.now_us - from > 1200000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* A primary that stood still and wakes: it neither reads nor commits, also before it
 * has heard of its successor. */
static void test_primary_paused(void)
{
	uint8_t x[CHUNK], old[CHUNK];
	struct rig_reply re, late;
	struct w w = {.slot = 3, .seed = 9};
	int st;

	up(3, 2, 22, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	fill(old, 1);
	/* no news from the catalog either */
	R.node[0].cat_mode = RIG_CAT_DOWN;
	rig_node_pause(&R, 0, 8000);
	CU_ASSERT_EQUAL(put(1, E0, 2, 7000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
	/* these wait in its socket */
	w.extent = E0;
	write_to(0, 0, &w, &late);
	(void)re;
	while (R.node[0].paused_us > R.now_us)
		rig_run(&R, 1);
	for (int i = 0; i < 10; i++) {
		st = R.gw[0].up[0] ? read_from(0, 0, E0, x, 300) : VMS_E_DISCONNECTED;
		CU_ASSERT(st != 0 || !memcmp(x, old, 0));
		CU_ASSERT_NOT_EQUAL(st, 0);
		rig_run(&R, 100);
	}
	CU_ASSERT(!late.done || late.status != 0);
	R.gw[0].nwait = 0;
	rig_reply_free(&late);
	CU_ASSERT_TRUE(part_at(0, 0)->primary); /* it still thinks so */
	R.node[0].cat_mode = RIG_CAT_OK;
	rig_run(&R, 4000);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* Cut off from its backup in one direction only. */
static void test_one_way(void)
{
	for (int dir = 0; dir < 2; dir++) {
		uint64_t from;

		up(3, 2, 30 + (unsigned)dir, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		rig_cut(&R, dir ? 1 : 0, dir ? 0 : 1, true);
		from = R.now_us;
		CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
		CU_ASSERT(R.now_us - from < 3500000);
		rig_run(&R, 5000);
		/* exactly one of them is in the set, and it leads */
		CU_ASSERT(in_set(0, 0) != in_set(0, 1));
		CU_ASSERT_TRUE(shows(E0, 2));
		rig_cut(&R, dir ? 1 : 0, dir ? 0 : 1, false);
		rig_run(&R, 8000);
		CU_ASSERT_TRUE(shows(E0, 2));
		CU_ASSERT_EQUAL(put(1, E0, 3, 8000), 0);
		CU_ASSERT_TRUE(shows(E0, 3));
		down();
	}
}

/* The lead goes over with the primary cut off from the other members alone: gateways
 * reach both, and its pages and answers must not outlast what it was promised. */
static void test_primary_cut_off(void)
{
	uint8_t x[CHUNK], want[CHUNK];
	bool taken = false;

	up(3, 3, 35, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_DOWN;
	for (unsigned i = 1; i < 3; i++) {
		rig_cut(&R, 0, i, true);
		rig_cut(&R, i, 0, true);
	}
	fill(want, 1);
	for (int i = 0; i < 100 && !taken; i++) {
		int st = read_from(0, 0, E0, x, 300);

		CU_ASSERT(st == 0 || st == VMS_E_AGAIN);
		rig_run(&R, 50);
		taken = rig_primary(&R, 0) != 0;
	}
	CU_ASSERT_TRUE(taken);
	CU_ASSERT_EQUAL(put(1, E0, 2, 5000), 0);
	for (int i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(read_from(0, 0, E0, x, 300), VMS_E_AGAIN);
		rig_run(&R, 100);
	}
	/* what its ticks tell gateways: nothing of these peers runs */
	for (unsigned i = 0; i < R.node[0].n->npeers; i++)
		CU_ASSERT_EQUAL(lease_left_ms(R.node[0].n, R.node[0].n->peer[i]), 0);
	down();
}

/* The backup took over while the primary could not be reached; then they meet again
 * before the primary has heard of it: an answered tick does not count. */
static void test_lease_revision(void)
{
	uint8_t x[CHUNK];
	uint64_t epoch;

	up(3, 2, 36, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_DOWN;
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	for (int i = 0; i < 100 && rig_primary(&R, 0) == 0; i++)
		rig_run(&R, 50);
	CU_ASSERT_EQUAL(put(1, E0, 2, 5000), 0);
	rig_cut(&R, 0, 1, false);
	rig_cut(&R, 1, 0, false);
	for (int i = 0; i < 40; i++) {
		CU_ASSERT_NOT_EQUAL(read_from(0, 0, E0, x, 300), 0);
		rig_run(&R, 200);
	}
	/* they do meet */
	CU_ASSERT(R.node[0].n->peer[0]->conn || R.node[0].n->peer[1]->conn);
	epoch = part_at(0, 0)->conf.epoch;
	R.node[0].cat_mode = RIG_CAT_OK;
	rig_run(&R, 1000);
	/* it may have been brought up to date and got the lead back by then */
	CU_ASSERT_TRUE(part_at(0, 0)->conf.epoch > epoch);
	down();
}

/* A write is on both disks while the backup's lease does not count, because the primary
 * has not read the backup's last take over: it ends as soon as it has, whatever else
 * happens. */
static void test_lease_counts_later(void)
{
	struct vms_node *n;
	struct rig_reply re;
	struct peer *pe;
	struct w w = {0};
	uint64_t rev;

	up(2, 2, 37, VMS_ACK_DISK);
	w.extent = E0 = extent_in(0);
	w.seed = 3;
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	n = R.node[0].n;
	pe = node_peer(n, 2, false);
	CU_ASSERT_TRUE_FATAL(rig_primary(&R, 0) == 0 && pe);
	/* right after a tick, and for less than the time to the next */
	while (n->now_ms - pe->tick_sent_ms > 5 || pe->tick_wait)
		rig_step(&R);
	rev = pe->lease_rev;
	write_to(0, 0, &w, &re);
	while (part_at(0, 0)->seq_last == part_at(0, 0)->committed)
		rig_step(&R);
	pe->lease_rev = n->part_rev + 1;
	rig_run(&R, 60);
	CU_ASSERT_FALSE(re.done);
	CU_ASSERT_TRUE(part_at(0, 0)->m[1].durable == part_at(0, 0)->seq_last);
	CU_ASSERT_EQUAL_FATAL(pe->lease_rev, n->part_rev + 1);
	lease_part_rev(n, n->part_rev + 1);
	vms_node_turn_end(n, n->now_ms);
	rig_run(&R, 60);
	CU_ASSERT_TRUE(re.done);
	pe->lease_rev = rev;
	CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
	CU_ASSERT_EQUAL(re.status, 0);
	rig_reply_free(&re);
	down();
}

/* Kill one, write, kill the other, start the first alone: it must not serve. */
static void test_succession(void)
{
	uint8_t x[CHUNK];

	up(3, 2, 40, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, true);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	rig_node_crash(&R, 0, true);
	rig_node_start(&R, 1);
	rig_run(&R, 15000);
	connect_all();
	rig_run(&R, 300);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	CU_ASSERT_NOT_EQUAL(read_from(0, 1, E0, x, 500), 0);
	rig_node_start(&R, 0);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(shows(E0, 2));
	CU_ASSERT_EQUAL(put(0, E0, 3, 8000), 0);
	down();
}

/* A process that starts with an old view of the catalog decides nothing by it. */
static void test_stale_catalog(void)
{
	up(3, 2, 41, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_cat_freeze(&R);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	rig_node_crash(&R, 0, false);
	R.node[1].cat_mode = RIG_CAT_STALE;
	rig_node_start(&R, 1);
	rig_run(&R, 15000);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	CU_ASSERT(!part_at(1, 0) || part_at(1, 0)->state != PS_ACTIVE);
	R.node[1].cat_mode = RIG_CAT_OK;
	rig_node_start(&R, 0);
	rig_run(&R, 6000);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* Answers of the catalog get lost, or what was asked for happens much later. */
static void test_unknown_outcome(void)
{
	static const enum rig_cat_mode mode[] = {RIG_CAT_LOSE, RIG_CAT_LATE, RIG_CAT_LATE};
	static const uint64_t late_ms[] = {0, 700, 4000};

	for (int k = 0; k < 3; k++) {
		for (unsigned victim = 0; victim < 2; victim++) {
			up(3, 2, 50 + 2 * (unsigned)k + victim, VMS_ACK_DISK);
			E0 = extent_in(0);
			CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
			R.node[1 - victim].cat_mode = mode[k];
			R.node[1 - victim].cat_late_ms = late_ms[k];
			rig_node_crash(&R, victim, false);
			CU_ASSERT_EQUAL(put(1, E0, 2, 15000), 0);
			CU_ASSERT_EQUAL(rig_primary(&R, 0), 1 - victim);
			CU_ASSERT_TRUE(shows(E0, 2));
			down();
		}
	}
}

/* A member about to be dropped is needed until it is known that it has been. */
static void test_drop_unknown(void)
{
	up(3, 2, 58, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_LATE;
	R.node[0].cat_late_ms = 6000;
	rig_node_crash(&R, 1, false);
	rig_run(&R, 4600); /* asked for, not done */
	CU_ASSERT_TRUE(in_set(0, 1));
	CU_ASSERT_NOT_EQUAL(put(0, E0, 2, 300), 0);
	CU_ASSERT_TRUE(in_set(0, 1));
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT_EQUAL(put(0, E0, 3, 5000), 0);
	down();
}

/* The same of a write that was on its way, and that the third copy has meanwhile. */
static void test_drop_asked_for(void)
{
	struct rig_reply re;
	struct w w = {.slot = 2, .seed = 2};
	struct part *p;

	up(3, 3, 58, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_LATE;
	R.node[0].cat_late_ms = 6000;
	w.extent = E0;
	p = part_at(0, 0);
	if (!R.gw[0].up[0])
		rig_gw_connect(&R, 0, 0);
	rig_run(&R, 50);
	write_to(0, 0, &w, &re);
	CU_ASSERT_FALSE(re.done);
	for (int i = 0; i < 2000 && !p->pend_head && !re.done; i++)
		rig_step(&R);
	CU_ASSERT_PTR_NOT_NULL(p->pend_head); /* ordered, and nobody has it yet */
	rig_node_pause(&R, 1, 1400);
	rig_node_crash(&R, 2, true);
	rig_run(&R, 3500);
	CU_ASSERT_TRUE(in_set(0, 2) && p->proposed);
	CU_ASSERT_EQUAL(p->m[1].held, p->seq_last);
	CU_ASSERT_TRUE(p->committed < p->seq_last);
	rig_run(&R, 5000);
	CU_ASSERT_FALSE(in_set(0, 2));
	CU_ASSERT_EQUAL(p->committed, p->seq_last);
	R.gw[0].nwait = 0;
	if (re.done)
		rig_reply_free(&re);
	CU_ASSERT_EQUAL(put(0, E0, 3, 5000), 0);
	down();
}

/* The take over happens when the former primary is back already and has been promised
 * a lease again: its successor waits for the end of that. */
static void test_late_take_over(void)
{
	uint8_t x[CHUNK], old[CHUNK];
	bool stale = false;

	up(3, 2, 59, VMS_ACK_DISK);
	E0 = extent_in(0);
	fill(old, 1);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[1].cat_mode = RIG_CAT_LATE;
	R.node[1].cat_late_ms = 3000;
	/* node 0 must not drop node 1, nor hear of what happens */
	R.node[0].cat_mode = RIG_CAT_DOWN;
	rig_node_pause(&R, 0, 2600);
	rig_run(&R, 2700);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	for (int i = 0; i < 4000 && rig_primary(&R, 0) == 0; i++) {
		rig_gw_connect(&R, 0, 0);
		rig_run(&R, 1);
	}
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
	CU_ASSERT_EQUAL(part_at(0, 0)->state, PS_ACTIVE);
	CU_ASSERT_TRUE(R.gw[0].up[0]);
	/* the connection that brings the news that leases do not count is cut */
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	R.node[1].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 200 && !stale; i++) {
		struct part *b = part_at(1, 0);

		rig_gw_connect(&R, 0, 0);

		if (b->state == PS_ACTIVE && b->primary)
			stale = read_from(0, 0, E0, x, 5) == 0;
		rig_run(&R, 20);
	}
	CU_ASSERT_FALSE(stale);
	down();
}

/* Node 1 has been dropped and comes back; returns when it is about to be made a member:
 * what the catalog is asked from then on happens 3 s later. */
static struct part *about_to_add(uint64_t seed)
{
	struct part *p;

	up(3, 2, seed, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	CU_ASSERT_FALSE(in_set(0, 1));
	rig_node_start(&R, 1);
	p = part_at(0, 0);
	R.node[0].cat_late_ms = 3000;
	for (int i = 0; i < 200000 && !p->cand && rig_step(&R); i++)
		if (learn_state(p, 2, NULL, NULL) == LEARN_READY)
			R.node[0].cat_mode = RIG_CAT_LATE;
	CU_ASSERT_EQUAL(p->cand, 2);
	return p;
}

/* A candidate is needed from before it is proposed until it is known what became of
 * that: it may be a member by then, and take over. */
static void test_add_unknown(void)
{
	struct rig_reply re;
	struct w w = {.slot = 2, .seed = 3};
	struct part *p = about_to_add(63);
	uint8_t x[CHUNK];

	for (int i = 0; i < 200000 && !p->proposed && rig_step(&R); i++)
		;
	CU_ASSERT_TRUE(p->proposed);
	/* node 0 hears nothing more, neither from it nor from the catalog */
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	rig_run(&R, 10);
	R.node[0].cat_mode = RIG_CAT_DOWN;
	w.extent = E0;
	write_to(0, 0, &w, &re);
	rig_run(&R, 2500);
	CU_ASSERT(!re.done || re.status != 0);
	CU_ASSERT_FALSE(in_set(0, 1));
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(in_set(0, 1)); /* it happened in the end */
	CU_ASSERT(!re.done || re.status != 0);
	for (int i = 0; i < 100 && rig_primary(&R, 0) == 0; i++)
		rig_run(&R, 100);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1); /* and it has taken over */
	CU_ASSERT_EQUAL(put(1, E0, 4, 8000), 0);
	CU_ASSERT_NOT_EQUAL(R.gw[0].up[0] ? read_from(0, 0, E0, x, 300) : VMS_E_AGAIN, 0);
	R.gw[0].nwait = 0;
	rig_reply_free(&re);
	rig_cut(&R, 0, 1, false);
	rig_cut(&R, 1, 0, false);
	R.node[0].cat_mode = RIG_CAT_OK;
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(shows(E0, 4));
	down();
}

/* Pages that gateways hold say nothing of a new member: they come back before it is
 * proposed. */
static void test_add_pages(void)
{
	struct vms_msg m = {
		.type = VMS_MSG_GET_PAGES, .partition = 0, .branch = BR, .snap_gen = 1, .aux = 1};
	struct rig_reply re;

	up(3, 2, 64, VMS_ACK_DISK);
	E0 = extent_in(0);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	m.extent = E0;
	m.epoch = rig_conf(&R, 0, NULL).epoch;
	rig_send(&R, 1, 0, &m, &re);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 1000));
	CU_ASSERT_EQUAL(re.status, 0);
	rig_reply_free(&re);
	R.gw[1].invals = 0;
	R.gw[1].mute_inval = true;
	rig_node_start(&R, 1);
	rig_run(&R, 2000);
	CU_ASSERT_EQUAL(part_at(0, 0)->cand, 2);
	CU_ASSERT_EQUAL(R.gw[1].invals, 1);
	CU_ASSERT_FALSE(in_set(0, 1));
	R.gw[1].mute_inval = false;
	rig_gw_restart(&R, 1); /* its pages are void with its session */
	for (int i = 0; i < 100 && !in_set(0, 1); i++) {
		connect_all();
		rig_run(&R, 100);
	}
	CU_ASSERT_TRUE(in_set(0, 1));
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

static void test_double_fault(void)
{
	up(3, 3, 60, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	/* the first in line dies, too: the second takes over */
	rig_node_crash(&R, 0, false);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 10000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 2);
	CU_ASSERT(rig_conf(&R, 0, NULL).nmembers == 1);
	CU_ASSERT_TRUE(shows(E0, 2));
	/* one after the other */
	down();
	up(3, 3, 61, VMS_ACK_DISK);
	E0 = extent_in(0);
	rig_node_crash(&R, 0, false);
	CU_ASSERT_EQUAL(put(0, E0, 1, 10000), 0);
	rig_node_crash(&R, rig_primary(&R, 0), true);
	CU_ASSERT_EQUAL(put(0, E0, 2, 10000), 0);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* All nodes down, started in any order, some much later. */
static void test_cold_start(void)
{
	static const uint8_t order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
					    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	for (int k = 0; k < 6; k++) {
		uint64_t gap[] = {0, 300, 3000, 12000, 4000, 1500};
		unsigned changed = 0;

		up(3, 2, 70 + (unsigned)k, VMS_ACK_DISK);
		for (uint32_t p = 0; p < 4; p++)
			CU_ASSERT_EQUAL(put(0, extent_in(p), 100 + p, 5000), 0);
		for (unsigned i = 0; i < 3; i++)
			rig_node_crash(&R, i, true);
		rig_run(&R, 1000);
		for (unsigned i = 0; i < 3; i++) {
			rig_node_start(&R, order[k][i]);
			rig_run(&R, gap[(unsigned)k]);
			for (uint32_t p = 0; p < 4; p++)
				changed += rig_conf(&R, p, NULL).nmembers < 2;
		}
		CU_ASSERT_TRUE(rig_wait_active(&R, 20000));
		for (uint32_t p = 0; p < 4; p++) {
			CU_ASSERT_TRUE(shows(extent_in(p), 100 + p));
			changed += rig_conf(&R, p, NULL).nmembers < 2;
		}
		/* those that come within 5 s are waited for */
		if (gap[k] * 2 < 4500)
			CU_ASSERT_EQUAL(changed, 0);
		down();
	}
}

static void test_min_copies(void)
{
	struct rig_reply re;
	struct w w = {.slot = 1, .seed = 2};
	json_t *j, *e;
	size_t i;
	bool said = false;

	R.min_copies = 2;
	up(3, 2, 80, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, false);
	rig_run(&R, 3000);
	CU_ASSERT_FALSE(in_set(0, 1)); /* it shrinks all the same */
	w.extent = E0;
	for (int k = 0; k < 2; k++) {
		write_to(0, 0, &w, &re);
		rig_wait(&R, &re, 5000);
		R.gw[0].epoch[0] = re.m.epoch;
		if (re.status != VMS_E_EPOCH)
			break;
		rig_reply_free(&re);
	}
	CU_ASSERT_EQUAL(re.status, VMS_E_BUSY);
	rig_reply_free(&re);
	CU_ASSERT_TRUE(shows(E0, 1)); /* reads go on */
	j = vms_node_json(R.node[0].n, "partitions");
	json_array_foreach (j, i, e)
		said |= !strcmp(json_string_value(json_object_get(e, "text")),
				"degraded: 1 of 2 copies, min_copies 2: writes wait");
	CU_ASSERT_TRUE(said);
	json_decref(j);
	/* fewer are enough, says the admin */
	{
		struct vms_cat_cluster cl = R.node[0].n->cluster;

		cl.min_copies = 1;
		rig_put(&R, "cluster", vms_cat_cluster_encode(&cl));
	}
	CU_ASSERT_EQUAL(put(0, E0, 3, 3000), 0);
	down();
}

static void test_hand_over(void)
{
	struct vms_part_conf c;
	uint64_t rev, from;
	char key[VMS_CAT_KEY_BYTES_MAX];

	up(3, 2, 90, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	/* both gateways hold the page */
	for (unsigned g = 0; g < 2; g++) {
		struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
				    .partition = 0,
				    .branch = BR,
				    .snap_gen = 1,
				    .extent = E0,
				    .aux = 1};
		struct rig_reply re;

		m.epoch = rig_conf(&R, 0, NULL).epoch;
		rig_send(&R, g, 0, &m, &re);
		CU_ASSERT_TRUE(rig_wait(&R, &re, 1000));
		CU_ASSERT_EQUAL(re.status, 0);
		rig_reply_free(&re);
	}
	c = rig_conf(&R, 0, &rev);
	c.nwant = 2;
	c.want[0] = 2;
	c.want[1] = 1;
	vms_cat_key_part(key, 0);
	R.gw[1].mute_inval = true; /* it has to be waited for */
	R.gw[0].invals = 0;
	rig_put(&R, key, vms_cat_part_encode(&c));
	rig_run(&R, 700);
	CU_ASSERT_EQUAL(R.gw[0].invals, 1);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	R.gw[1].mute_inval = false;
	rig_run(&R, 30000);
	from = R.now_us;
	CU_ASSERT_EQUAL(put(0, E0, 2, 5000), 0);
	CU_ASSERT(R.now_us - from < 1000000);
	c = rig_conf(&R, 0, NULL);
	CU_ASSERT(c.primary == 2 && c.nmembers == 2 && c.handover == c.epoch &&
		  c.member[0].node == 2);
	CU_ASSERT(R.node[0].n->st.handovers == 1);
	CU_ASSERT_EQUAL(part_at(0, 0)->state, PS_BACKUP);
	CU_ASSERT_TRUE(shows(E0, 2));
	/* the new one fails: back again */
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 3, 8000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	CU_ASSERT_TRUE(shows(E0, 3));
	down();
}

/* A hand-over under load stalls nobody for long, and loses nothing. */
static void test_hand_over_load(void)
{
	struct vms_part_conf c;
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint64_t worst = 0;

	up(3, 2, 91, VMS_ACK_DISK);
	E0 = extent_in(0);
	vms_cat_key_part(key, 0);
	for (unsigned k = 0; k < 120; k++) {
		uint64_t from = R.now_us;

		if (k % 40 == 20) {
			c = rig_conf(&R, 0, NULL);
			c.nwant = 2;
			c.want[0] = c.primary == 1 ? 2 : 1;
			c.want[1] = c.primary;
			rig_put(&R, key, vms_cat_part_encode(&c));
		}
		CU_ASSERT_EQUAL(put(k % 2, E0, 1000 + k, 5000), 0);
		if (R.now_us - from > worst)
			worst = R.now_us - from;
		rig_run(&R, 10);
	}
	CU_ASSERT_TRUE(shows(E0, 1119));
	CU_ASSERT(R.node[0].n->st.handovers + R.node[1].n->st.handovers == 3);
	CU_ASSERT(worst < 700000);
	down();
}

/* A write that was ordered, then its primary dies: once, with its outcome. */
static void test_retry_once(void)
{
	struct rig_reply re, re2;
	struct w w = {.slot = 4, .seed = 5}, w2;
	uint64_t dups;

	up(3, 2, 95, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	w.extent = E0;
	/* the backup gets it, the answer is lost */
	write_to(0, 0, &w, &re);
	while (part_at(1, 0)->seq_last == part_at(0, 0)->seq_last && rig_step(&R))
		;
	while (part_at(1, 0)->seq_last < part_at(0, 0)->seq_last && rig_step(&R))
		;
	rig_node_crash(&R, 0, false);
	if (!rig_wait(&R, &re, 1000))
		R.gw[0].nwait = 0;
	rig_reply_free(&re);
	/* something newer over the other path, then the retry */
	for (int i = 0; i < 400 && (rig_primary(&R, 0) == 0 || part_at(1, 0)->state != PS_ACTIVE);
	     i++)
		rig_run(&R, 20);
	CU_ASSERT_EQUAL(put(1, E0, 6, 8000), 0);
	dups = R.node[1].n->st.dups;
	w2 = w;
	w2.flags |= VMS_F_RETRY;
	CU_ASSERT_EQUAL(write_within(0, &w2, 3000), 0);
	CU_ASSERT_EQUAL(R.node[1].n->st.dups, dups + 1);
	CU_ASSERT_TRUE(shows(E0, 6));
	(void)re2;
	down();
}

/* Records that a former primary ordered alone are void, and so are their outcomes. */
static void test_void_outcome(void)
{
	struct part *p;
	struct rig_reply re;
	struct w w = {.slot = 5, .seed = 5};
	struct vms_opid op;

	up(3, 2, 96, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	w.extent = E0;
	write_to(0, 0, &w, &re);
	rig_run(&R, 20);
	p = part_at(0, 0);
	CU_ASSERT(p->seq_last > p->committed && p->pend_head);
	op = (struct vms_opid){R.gw[0].id, 5, 1, w.sequence};
	CU_ASSERT_PTR_NOT_NULL(vms_outcome_find(&R.node[0].n->outcomes, 0, &op));
	R.node[0].cat_mode = RIG_CAT_DOWN;
	CU_ASSERT_EQUAL(put(1, E0, 2, 8000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
	R.node[0].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 100 && part_at(0, 0)->primary; i++)
		rig_run(&R, 100);
	CU_ASSERT_FALSE(p->primary);
	CU_ASSERT_PTR_NULL(p->pend_head);
	/* its gateway is not told that it failed, nor that it is done */
	CU_ASSERT(!re.done || re.status == VMS_E_DISCONNECTED);
	if (!re.done)
		R.gw[0].nwait = 0;
	rig_reply_free(&re);
	part_truncate(R.node[0].n, p, p->committed + 1);
	{
		const struct vms_outcome *o = vms_outcome_find(&R.node[0].n->outcomes, 0, &op);

		/* it is ordered when it is sent again; the op before it is still known */
		CU_ASSERT(o && o->op.sequence == w.sequence - 1);
	}
	down();
}

/* Floors that were raised while this node did not lead are known before it serves. */
static void test_fresh_floors(void)
{
	uint64_t before;

	up(3, 2, 97, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	/* node 1 hears nothing of a newer process of gateway 1 */
	{
		struct vms_cat_gateway g = {.id = 1, .name = "g1", .incarnation = 9};

		R.node[1].cat_mode = RIG_CAT_DOWN;
		rig_put(&R, "gateway/00000001", vms_cat_gateway_encode(&g));
		rig_run(&R, 50);
		R.node[1].cat_mode = RIG_CAT_OK;
	}
	CU_ASSERT(!node_gwfloor(R.node[1].n, 1, false) ||
		  node_gwfloor(R.node[1].n, 1, false)->incarnation < 9);
	before = R.node[1].n->fresh_rev;
	rig_node_crash(&R, 0, false);
	for (int i = 0; i < 400 && part_at(1, 0)->state != PS_ACTIVE; i++)
		rig_run(&R, 10);
	CU_ASSERT_EQUAL(part_at(1, 0)->state, PS_ACTIVE);
	CU_ASSERT(R.node[1].n->fresh_rev > before);
	CU_ASSERT_EQUAL(node_gwfloor(R.node[1].n, 1, false)->incarnation, 9);
	down();
}

/* The primary of a memory-mode volume dies: the member has what was acknowledged.
 * Both die: the loss is told. */
static void test_memory_mode(void)
{
	for (int both = 0; both < 2; both++) {
		struct w w = {.seed = 2, .flags = VMS_F_MEMORY};
		char key[VMS_CAT_KEY_BYTES_MAX];

		up(3, 2, 100 + (unsigned)both, VMS_ACK_MEMORY);
		E0 = extent_in(0);
		w.extent = E0;
		CU_ASSERT_EQUAL(write_within(0, &w, 8000), 0);
		rig_node_crash(&R, 0, true);
		if (both) {
			rig_node_crash(&R, 1, true);
			rig_node_start(&R, 1);
		}
		for (int i = 0;
		     i < 800 && (rig_primary(&R, 0) == 0 || part_at(1, 0)->state != PS_ACTIVE); i++)
			rig_run(&R, 20);
		CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
		vms_cat_key_loss(key, BR);
		if (both) {
			CU_ASSERT(rig_cat_number(&R, key) > 0);
		} else {
			CU_ASSERT_EQUAL(rig_cat_number(&R, key), 0);
			connect_all();
			rig_run(&R, 300);
			CU_ASSERT_TRUE(shows(E0, 2));
		}
		down();
	}
}

/* The primary loses its power while the catalog is away, and comes back before it: it waits
 * for the catalog longer than for the others. With the first answer it must not drop the one
 * who has what was acknowledged (simulator seed 13912). Returns losses told. */
static uint64_t start_without_catalog(uint32_t mutant)
{
	struct w w = {.seed = 2, .flags = VMS_F_MEMORY};
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint64_t lost;

	R.mutant = mutant;
	up(3, 2, 103, VMS_ACK_MEMORY);
	E0 = extent_in(0);
	w.extent = E0;
	CU_ASSERT_EQUAL(write_within(0, &w, 8000), 0);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	rig_node_crash(&R, 0, true);
	rig_run(&R, 300);
	rig_node_start(&R, 0);
	rig_run(&R, 8000);
	/* it is the first to hear again, and is not connected yet */
	rig_node_pause(&R, 1, 1500);
	R.node[0].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 300 && R.node[0].n->phase != SP_RUN; i++)
		rig_run(&R, 20);
	rig_run(&R, 1500);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 800 && !(part_at(0, 0)->state == PS_ACTIVE && part_at(0, 0)->primary) &&
			!(part_at(1, 0)->state == PS_ACTIVE && part_at(1, 0)->primary);
	     i++)
		rig_run(&R, 20);
	vms_cat_key_loss(key, BR);
	rig_run(&R, 3000);
	lost = rig_cat_number(&R, key);
	if (!lost) {
		connect_all();
		rig_run(&R, 300);
		CU_ASSERT_TRUE(shows(E0, 2));
	}
	down();
	R.mutant = 0;
	return lost;
}

static void test_started_without_catalog(void)
{
	CU_ASSERT_EQUAL(start_without_catalog(0), 0);
	CU_ASSERT(start_without_catalog(MUT_OLD_AT_START) > 0);
}

/* A member whose watch is behind, or that has no catalog at all, follows its primary. */
/* One frame without body to a node; its status, or 1: no answer within ms. */
static int ask(unsigned g, unsigned nd, uint8_t type, uint16_t flags, uint64_t sequence,
	       uint64_t ms)
{
	struct vms_msg m = {.type = type,
			    .flags = flags,
			    .partition = VMS_PART_NONE,
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .sequence = sequence};
	struct rig_reply re;

	rig_send(&R, g, nd, &m, &re);
	if (rig_wait(&R, &re, ms))
		return re.status;
	R.gw[g].nwait = 0;
	return 1;
}

/* A primary that does not know yet that it is none any more: "all is durable" is not for
 * it to say, what others have taken since then is not. */
static void test_flush_without_lease(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		struct w w = {.seed = 2, .flags = VMS_F_MEMORY};
		bool flushed;

		R.mutant = mutant ? MUT_FLUSH_LEASE : 0;
		up(3, 3, 37, VMS_ACK_MEMORY);
		w.extent = E0 = extent_in(0);
		CU_ASSERT_EQUAL(write_within(0, &w, 5000), 0);
		CU_ASSERT_EQUAL(ask(0, 0, VMS_MSG_FLUSH, 0, 0, 3000), 0);
		R.node[0].cat_mode = RIG_CAT_DOWN;
		for (unsigned i = 1; i < 3; i++) {
			rig_cut(&R, 0, i, true);
			rig_cut(&R, i, 0, true);
		}
		for (int i = 0; i < 100 && rig_primary(&R, 0) == 0; i++)
			rig_run(&R, 50);
		CU_ASSERT(part_at(0, 0)->primary);
		CU_ASSERT_NOT_EQUAL(rig_primary(&R, 0), 0);
		flushed = ask(0, 0, VMS_MSG_FLUSH, 0, 0, 3000) == 0 ||
			  ask(0, 0, VMS_MSG_FLOOR, VMS_F_FUA, 0, 3000) == 0;
		CU_ASSERT_EQUAL(flushed, mutant);
		down();
	}
	R.mutant = 0;
}

/* What is asked of "all that you lead" is answered when the node has heard of all that
 * the asker has. */
static void test_floor_of_who_is_behind(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		uint64_t rev;

		R.mutant = mutant ? MUT_FLOOR_BEHIND : 0;
		up(2, 2, 38, VMS_ACK_DISK);
		rev = R.node[0].n->part_rev;
		CU_ASSERT_EQUAL(ask(0, 0, VMS_MSG_FLOOR, 0, rev, 3000), 0);
		CU_ASSERT_EQUAL(ask(0, 0, VMS_MSG_FLOOR, 0, rev + 1000, 3000),
				mutant ? 0 : VMS_E_AGAIN);
		down();
	}
	R.mutant = 0;
}

/* A member is added by a transaction that happens long after the candidate has lost
 * sight of the primary: what it has must still be there then. */
static void test_added_late(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		struct vms_part_conf pc;
		struct part *a, *c = NULL;

		R.mutant = mutant ? MUT_LN_LIMBO : 0;
		up(3, 2, 41, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
		CU_ASSERT_FALSE_FATAL(in_set(0, 2));
		CU_ASSERT_EQUAL(put(0, E0, 2, 5000), 0);
		R.node[0].cat_mode = RIG_CAT_LATE;
		R.node[0].cat_late_ms = 9000;
		pc = part_at(0, 0)->conf;
		pc.nwant = 2;
		pc.want[0] = 1;
		pc.want[1] = 3;
		rig_put(&R, "part/0000", vms_cat_part_encode(&pc));
		for (int i = 0; i < 4000; i++) {
			a = part_at(0, 0);
			if (a->cand && a->proposed)
				break;
			rig_run(&R, 5);
		}
		CU_ASSERT_TRUE_FATAL(a->cand == 3 && a->proposed);
		rig_cut(&R, 0, 2, true);
		rig_cut(&R, 2, 0, true);
		for (int i = 0; i < 1600 && (c = part_at(2, 0)) && c->learn; i++)
			rig_run(&R, 5);
		CU_ASSERT_FALSE(c && c->learn);
		CU_ASSERT_FALSE(in_set(0, 2));
		for (int i = 0; i < 4000 && !in_set(0, 2); i++)
			rig_run(&R, 5);
		CU_ASSERT_TRUE(in_set(0, 2));
		rig_node_crash(&R, 0, true);
		rig_node_crash(&R, 1, true);
		for (int i = 0; i < 800 && (rig_primary(&R, 0) != 2 || !part_at(2, 0) ||
					    part_at(2, 0)->state != PS_ACTIVE);
		     i++)
			rig_run(&R, 20);
		connect_all();
		rig_run(&R, 600);
		CU_ASSERT_EQUAL(shows(E0, 2), !mutant);
		if (mutant)
			rig_close(&R);
		else
			down();
	}
	R.mutant = 0;
}

/* The primary dies and is back at once, again and again. The other member leads as soon as
 * the leases of the first process have run out, neither earlier nor later. */
static void test_primary_restarted_at_once(void)
{
	static const unsigned mutant[] = {0, MUT_RAISE_LEAD, MUT_GRANT_ANY, MUT_GRANT_NEW};

	for (unsigned k = 0; k < 4; k++) {
		struct vms_node *n;
		uint64_t until;
		bool early, late;

		R.mutant = mutant[k];
		up(3, 2, 42, VMS_ACK_DISK);
		E0 = extent_in(0);
		rig_run(&R, 6000);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		n = R.node[1].n;
		until = node_peer(n, 1, false)->grant_until_ms;
		for (int i = 0; i < 5 && rig_primary(&R, 0) == 0; i++) {
			rig_node_crash(&R, 0, false);
			rig_run(&R, 300);
			rig_node_start(&R, 0);
			for (int j = 0; j < 90 && rig_primary(&R, 0) == 0; j++)
				rig_run(&R, 10);
		}
		early = n->now_ms < until;
		late = n->now_ms > until + 700;
		CU_ASSERT_EQUAL(late, mutant[k] == MUT_RAISE_LEAD || mutant[k] == MUT_GRANT_ANY);
		CU_ASSERT_EQUAL(early, mutant[k] == MUT_GRANT_NEW);
		if (!k) {
			CU_ASSERT_EQUAL(put(1, E0, 2, 5000), 0);
			CU_ASSERT_TRUE(shows(E0, 2));
		}
		down();
	}
	R.mutant = 0;
}

/* A node that is stopped gives away what it leads; as a backup it is not waited for. */
static void test_stopped_on_purpose(void)
{
	for (int hard = 0; hard < 2; hard++)
		for (unsigned who = 0; who < 2; who++) {
			struct vms_node_event ev = {.type = VMS_NEV_STOP};
			uint64_t from, took = 0;

			R.mutant = hard ? MUT_STOP_HARD : 0;
			up(3, 2, 43, VMS_ACK_DISK);
			E0 = extent_in(0);
			rig_run(&R, 6000);
			CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
			ev.now_ms = R.node[who].n->now_ms;
			vms_node_step(R.node[who].n, &ev);
			vms_node_turn_end(R.node[who].n, ev.now_ms);
			from = R.now_us;
			for (unsigned i = 0; R.now_us - from < 5000000; i++) {
				uint64_t t = R.now_us;

				if (R.node[who].stopped && R.node[who].n)
					rig_node_crash(&R, who, true);
				if (!hard || !R.node[who].n) {
					CU_ASSERT_EQUAL(put(0, E0, 2 + i, 8000), 0);
					took = R.now_us - t > took ? R.now_us - t : took;
				}
				rig_run(&R, 10);
			}
			CU_ASSERT(!R.node[who].n);
			CU_ASSERT_FALSE(in_set(0, who));
			CU_ASSERT_EQUAL(took < 400000, !hard);
			for (uint32_t p = 0; p < 1u << BITS && !hard; p++)
				CU_ASSERT_NOT_EQUAL(rig_primary(&R, p), who);
			rig_node_start(&R, who);
			rig_run(&R, 12000);
			CU_ASSERT_TRUE(in_set(0, 0) && in_set(0, 1));
			CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
			down();
		}
	R.mutant = 0;
}

/* All nodes are stopped, one soon after the other: the sets stay as they are, and nobody is
 * left alone with what it leads. */
static void test_all_stopped(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		unsigned copies = 0;

		R.mutant = mutant ? MUT_STOP_DROPS : 0;
		up(3, 3, 44, VMS_ACK_DISK);
		E0 = extent_in(0);
		rig_run(&R, 6000);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		for (unsigned i = 0; i < 3; i++) {
			struct vms_node_event ev = {.type = VMS_NEV_STOP};

			ev.now_ms = R.node[i].n->now_ms;
			vms_node_step(R.node[i].n, &ev);
			vms_node_turn_end(R.node[i].n, ev.now_ms);
			rig_run(&R, 80);
		}
		for (int i = 0; i < 600; i++) {
			for (unsigned k = 0; k < 3; k++)
				if (R.node[k].n && R.node[k].stopped)
					rig_node_crash(&R, k, true);
			rig_run(&R, 10);
		}
		for (unsigned k = 0; k < 3; k++)
			CU_ASSERT(!R.node[k].n);
		for (uint32_t p = 0; p < 1u << BITS; p++)
			copies += rig_conf(&R, p, NULL).nmembers;
		CU_ASSERT_EQUAL(copies == 3u << BITS, !mutant);
		for (unsigned k = 0; k < 3; k++)
			rig_node_start(&R, k);
		CU_ASSERT_TRUE(rig_wait_active(&R, 20000));
		connect_all();
		CU_ASSERT_TRUE(shows(E0, 1));
		down();
	}
	R.mutant = 0;
}

/* A node that is stopped while no catalog answers gives nothing away, as nobody could take it:
 * it serves until it goes. */
static uint64_t stop_without_catalog(unsigned mutant)
{
	struct vms_node_event ev = {.type = VMS_NEV_STOP};
	uint64_t worst = 0, last;
	unsigned seed = 2;

	R.mutant = mutant;
	up(3, 2, 47, VMS_ACK_DISK);
	E0 = extent_in(0);
	rig_run(&R, 6000);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	rig_run(&R, 2000);
	ev.now_ms = R.node[0].n->now_ms;
	vms_node_step(R.node[0].n, &ev);
	vms_node_turn_end(R.node[0].n, ev.now_ms);
	last = R.now_us;
	while (!R.node[0].stopped && R.now_us - last < 20000000) {
		if (!put(0, E0, seed++, 60)) {
			worst = R.now_us - last > worst ? R.now_us - last : worst;
			last = R.now_us;
		}
		rig_run(&R, 10);
	}
	CU_ASSERT(R.node[0].stopped);
	worst = R.now_us - last > worst ? R.now_us - last : worst;
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_OK;
	down();
	R.mutant = 0;
	return worst / 1000;
}

static void test_stopped_without_catalog(void)
{
	CU_ASSERT(stop_without_catalog(0) < 600);
	CU_ASSERT(stop_without_catalog(MUT_RETIRE_DEAF) > 2000);
}

/* The catalog has moved (doc/etcd.md): the old one changes nothing any more, all nodes are
 * stopped and started together, with the new one. Nothing is lost in memory mode either. */
static void test_move_catalog(void)
{
	uint64_t last;

	up(3, 2, 46, VMS_ACK_MEMORY);
	rig_run(&R, 6000);
	for (uint32_t p = 0; p < 1u << BITS; p++)
		CU_ASSERT_EQUAL(put(0, extent_in(p), 10 + p, 5000), 0);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	last = R.now_us;
	for (unsigned i = 0; i < 3; i++) {
		struct vms_node_event ev = {.type = VMS_NEV_STOP, .now_ms = R.node[i].n->now_ms};

		vms_node_step(R.node[i].n, &ev);
		vms_node_turn_end(R.node[i].n, ev.now_ms);
	}
	for (unsigned i = 0; i < 3; i++)
		while (!R.node[i].stopped && R.now_us - last < 5000000)
			rig_run(&R, 10);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(R.node[i].stopped);
		rig_node_crash(&R, i, true);
		R.node[i].cat_mode = RIG_CAT_OK;
	}
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	for (uint32_t p = 0; p < 1u << BITS; p++)
		CU_ASSERT_EQUAL(put(0, extent_after(p, extent_in(p)), 20 + p, 5000), 0);
	CU_ASSERT(R.now_us - last < 4000000);
	for (size_t i = 0; i < R.kv.n; i++)
		CU_ASSERT(strncmp(R.kv.d[i].key, "loss/", 5) != 0 || !R.kv.d[i].val);
	connect_all();
	for (uint32_t p = 0; p < 1u << BITS; p++)
		CU_ASSERT_TRUE(shows(extent_in(p), 10 + p));
	down();
}

/* No checkpoint for some seconds, so no address becomes safe. */
static void checkpoints_wait(void)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		R.node[i].n->ckpt_ms = R.node[i].n->now_ms;
		R.node[i].n->copy_end = UINT64_MAX;
	}
}

/* What a primary keeps of the names that gateways know goes with its lead. */
static void test_stubs_go_with_the_lead(void)
{
	struct part *p;

	up(3, 2, 45, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	p = part_at(0, 0);
	CU_ASSERT_TRUE_FATAL(p && p->primary);
	checkpoints_wait();
	for (unsigned i = 0; i < R.nnodes; i++)
		vms_node_drain(R.node[i].n);
	for (int i = 0; i < 2000 && !p->ovl.nstubs; i++) {
		checkpoints_wait();
		rig_run(&R, 1);
	}
	CU_ASSERT_TRUE(p->ovl.nstubs && p->stubs.n);
	{
		struct vms_part_conf pc = p->conf;

		pc.nwant = 2;
		pc.want[0] = 2;
		pc.want[1] = 1;
		rig_put(&R, "part/0000", vms_cat_part_encode(&pc));
	}
	for (int i = 0; i < 2000 && p->primary; i++) {
		CU_ASSERT_TRUE(p->ovl.nstubs);
		checkpoints_wait();
		rig_run(&R, 5);
	}
	CU_ASSERT_FALSE(p->primary);
	CU_ASSERT_EQUAL(p->ovl.nstubs, 0);
	CU_ASSERT_EQUAL(p->stubs.n, 0);
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->copy_end = 0;
	connect_all();
	CU_ASSERT_TRUE(shows(E0, 1));
	down();
}

/* Ticks name the peers whose leases matter, and no others. */
static void test_ticks_name_who_matters(void)
{
	up(3, 2, 39, VMS_ACK_DISK);
	for (int round = 0; round < 2; round++) {
		for (unsigned nd = 0; nd < 2; nd++) {
			unsigned want = 0;

			for (unsigned k = 0; k < 3; k++) {
				bool with = false;

				for (uint32_t p = 0; p < 1u << BITS; p++)
					with |= k != nd && part_at(nd, p) &&
						part_at(nd, p)->primary && in_set(p, k);
				want += with;
			}
			CU_ASSERT_EQUAL(R.gw[0].npeers[nd], want);
			CU_ASSERT(!round || want <= 1);
		}
		rig_node_crash(&R, 2, false);
		rig_run(&R, 6000);
	}
	down();
}

static void test_member_without_catalog(void)
{
	up(3, 3, 110, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[2].cat_mode = RIG_CAT_DOWN;
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	CU_ASSERT(rig_conf(&R, 0, NULL).nmembers == 2 && in_set(0, 2));
	CU_ASSERT_EQUAL(part_at(2, 0)->conf.epoch, rig_conf(&R, 0, NULL).epoch);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* Restarted within the lease: a backup stays in the set; what a primary led goes to the
 * other member, and comes back when it has been up for a while. */
static void test_quick_restart(void)
{
	for (unsigned who = 0; who < 2; who++) {
		up(3, 2, 111 + who, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		rig_node_crash(&R, who, false);
		rig_run(&R, 300);
		rig_node_start(&R, who);
		CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
		CU_ASSERT_EQUAL(rig_primary(&R, 0), !who);
		CU_ASSERT(in_set(0, 0) && in_set(0, 1));
		CU_ASSERT_TRUE(shows(E0, 2));
		rig_run(&R, 12000);
		CU_ASSERT(in_set(0, 0) && in_set(0, 1));
		CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
		CU_ASSERT_TRUE(shows(E0, 2));
		down();
	}
}

static void test_no_catalog_no_change(void)
{
	up(3, 2, 115, VMS_ACK_DISK);
	E0 = extent_in(0);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	rig_run(&R, 20000);
	CU_ASSERT_EQUAL(put(0, E0, 1, 3000), 0);
	CU_ASSERT_TRUE(shows(E0, 1));
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(R.node[i].n->st.drops, 0);
		R.node[i].cat_mode = RIG_CAT_OK;
	}
	rig_run(&R, 5000);
	CU_ASSERT_EQUAL(put(0, E0, 2, 3000), 0);
	down();
}

/* What the simulator's planner of faults goes by. The catalog tells of a restarted member at
 * once; the set's memory it has when the primary has formed a view with it, and that one may
 * not hear of it for long. */
static void test_remembers(void)
{
	struct vms_part_conf pc;
	unsigned lead, other;
	uint64_t inc;

	up(3, 2, 81, VMS_ACK_MEMORY);
	pc = rig_conf(&R, 0, NULL);
	lead = pc.member[0].node - 1;
	other = pc.member[1].node - 1;
	inc = pc.member[1].incarnation;
	CU_ASSERT_TRUE(sim_node_remembers(R.node[lead].n, 0, pc.epoch));
	CU_ASSERT_TRUE(sim_node_remembers(R.node[other].n, 0, pc.epoch));
	R.node[lead].cat_mode = RIG_CAT_DOWN;
	rig_node_crash(&R, other, true);
	rig_node_start(&R, other);
	rig_run(&R, 9000);
	pc = rig_conf(&R, 0, NULL);
	CU_ASSERT_EQUAL(pc.nmembers, 2);
	CU_ASSERT_EQUAL(pc.primary, lead + 1);
	CU_ASSERT(pc.member[1].node == other + 1 && pc.member[1].incarnation > inc);
	CU_ASSERT_FALSE(sim_node_remembers(R.node[lead].n, 0, pc.epoch));
	CU_ASSERT_FALSE(sim_node_remembers(R.node[other].n, 0, pc.epoch));
	R.node[lead].cat_mode = RIG_CAT_OK;
	CU_ASSERT_TRUE(rig_wait_active(&R, 20000));
	pc = rig_conf(&R, 0, NULL);
	CU_ASSERT_TRUE(sim_node_remembers(R.node[lead].n, 0, pc.epoch));
	CU_ASSERT_TRUE(sim_node_remembers(R.node[other].n, 0, pc.epoch));
	down();
}

static const struct vms_test tests[] = {
	VMS_TEST(test_primary_killed),
	VMS_TEST(test_backup_killed),
	VMS_TEST(test_backup_paused),
	VMS_TEST(test_primary_paused),
	VMS_TEST(test_one_way),
	VMS_TEST(test_primary_cut_off),
	VMS_TEST(test_lease_revision),
	VMS_TEST(test_lease_counts_later),
	VMS_TEST(test_succession),
	VMS_TEST(test_stale_catalog),
	VMS_TEST(test_unknown_outcome),
	VMS_TEST(test_started_without_catalog),
	VMS_TEST(test_drop_unknown),
	VMS_TEST(test_drop_asked_for),
	VMS_TEST(test_late_take_over),
	VMS_TEST(test_add_unknown),
	VMS_TEST(test_add_pages),
	VMS_TEST(test_double_fault),
	VMS_TEST(test_cold_start),
	VMS_TEST(test_min_copies),
	VMS_TEST(test_hand_over),
	VMS_TEST(test_hand_over_load),
	VMS_TEST(test_retry_once),
	VMS_TEST(test_void_outcome),
	VMS_TEST(test_fresh_floors),
	VMS_TEST(test_memory_mode),
	VMS_TEST(test_flush_without_lease),
	VMS_TEST(test_floor_of_who_is_behind),
	VMS_TEST(test_primary_restarted_at_once),
	VMS_TEST(test_stopped_on_purpose),
	VMS_TEST(test_all_stopped),
	VMS_TEST(test_stopped_without_catalog),
	VMS_TEST(test_move_catalog),
	VMS_TEST(test_stubs_go_with_the_lead),
	VMS_TEST(test_added_late),
	VMS_TEST(test_ticks_name_who_matters),
	VMS_TEST(test_member_without_catalog),
	VMS_TEST(test_quick_restart),
	VMS_TEST(test_no_catalog_no_change),
	VMS_TEST(test_remembers),
};

VMS_TEST_MAIN("failover", tests)
