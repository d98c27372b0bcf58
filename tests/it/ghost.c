// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does a write that a dead path swallowed ever come back?
 *
 * Initiators write through gateway A. A is stopped, or its links are held or cut, or a
 * node is stopped, with a write in every stage of its way: on the way from the initiator
 * to A (not read by A), in A's queue (no way to the node), on the way from A to the node
 * (sent, not read; later delivered or lost), in the node's log (ordered, the answer on
 * its way back). No sooner than the published inequality allows, T_nop + T_op + tick +
 * margin after it was sent, each initiator repeats its write through gateway B and then
 * writes something newer there. A and everything that was held is let go at some moment
 * before, between or after. From the acknowledgement of the newer write on nothing else
 * may be read, through B and A, now, at the end, and after a restart of everything.
 *
 *   ghost run OPTIONS        rounds of it; every round has a write in each stage
 *   ghost boundary OPTIONS   how late can a write of the dead path land? An initiator
 * that repeats sooner than allowed is shown to see it ghost check OPTIONS      reads what
 * the file of --expect says, through A and B
 *
 * Exit code: 0 nothing came back (boundary: something did, before the time that is
 * allowed), 1 otherwise, 2 the test itself could not go on.
 */
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/it/ghost_net.h"
#include "tests/it/iscsi_ini.h"

#define LANES	   8u
#define NODES_MAX  8u
#define EXTENTS	   1024u /* of the LUN */
#define EXT_BLOCKS 8192u
#define SUB_BLOCKS 1024u

enum stage { ST_SOCKET, ST_QUEUE, ST_NODE, ST_LOST, ST_LOG, STAGES };
static const char *const stage_text[STAGES] = {"on the way to the gateway",
					       "in the gateway's queue", "on the way to the node",
					       "lost on the way to the node", "in the node's log"};

enum fault { F_STOP, F_CUT, F_LINKS, F_NODE, FAULTS };
static const char *const fault_text[FAULTS] = {"gateway stopped", "gateway cut off",
					       "gateway without nodes", "node stopped"};

/* Versions of a block; each is written once. */
enum { V_BASE = 1, V_OLD, V_NEW };

struct lane {
	struct link link; /* initiator to A */
	struct ini s;
	bool up;
	uint32_t lba, round;
	unsigned node;
	enum stage stage;
	int64_t t0; /* when the write was sent; 0: not yet */
	uint32_t itt;
	bool answered;
	int status;
	bool in_place; /* it was seen to be where it should be */
	/* through B: V_OLD, then V_NEW */
	uint32_t version;
	uint32_t b_itt; /* 0: to be sent, from b_at on */
	int64_t b_at;
	bool finished;
	bool ghost;
};

static struct lane lane[LANES];
static struct link nlink[NODES_MAX];
static unsigned nnodes;
static pid_t node_pid[NODES_MAX], a_pid;
static struct ini b;
static bool b_up;
static const char *a_host, *a_port, *b_host, *b_port, *expect_path;
static FILE *expect;
static double factor = 1;
static uint64_t rng;
static unsigned rounds = 20, verbose, first_only;
static uint64_t ghosts, writes[STAGES], answered_early;

static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % n;
}

/* Nobody stays stopped. */
static void resume_all(void)
{
	if (a_pid)
		kill(a_pid, SIGCONT);
	for (unsigned i = 0; i < nnodes; i++)
		kill(node_pid[i], SIGCONT);
}

static void stop(const char *what)
{
	fprintf(stderr, "ghost: %s: %s\n", what, why);
	exit(2);
}

static int t_nop(void)
{
	return (int)(1500 * factor);
}
static int t_op(void)
{
	return (int)(2000 * factor);
}
static int tick(void)
{
	return (int)(250 * factor);
}
/* The published inequality; the margin is a tick more. */
static int allowed(void)
{
	return t_nop() + t_op() + tick() + tick();
}

static void block_make(uint8_t *p, uint32_t lba, uint32_t round, uint32_t version)
{
	memset(p, 0, BLOCK);
	for (unsigned i = 0; i < BLOCK; i += 16) {
		put32(p + i, 0x67686f73);
		put32(p + i + 4, lba);
		put32(p + i + 8, round);
		put32(p + i + 12, version);
	}
}

static uint32_t block_version(const uint8_t *p, uint32_t lba, uint32_t round)
{
	uint8_t want[BLOCK];
	uint32_t v = get32(p + 12);

	block_make(want, lba, round, v);
	return memcmp(want, p, BLOCK) ? 0 : v;
}

/* ---- sessions ---- */

static bool readable(struct ini *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static struct ini *in_use; /* by block_io() */

/* What came is a ping: it is answered. */
static int pong(struct ini *s)
{
	uint8_t h[BHS];

	hdr_init(s, h, 0x40, 0x80);
	put32(h + 16, RESERVED);
	memcpy(h + 20, s->hdr + 20, 4);
	put32(h + 24, s->cmd_sn);
	return send_pdu(s, h, NULL, 0);
}

/* Answers pings, notes the answer of the lane's write. */
static void lane_look(struct lane *l)
{
	while (l->up && &l->s != in_use && readable(&l->s)) {
		if (recv_pdu(&l->s, 1000)) {
			l->up = false;
			ini_close(&l->s);
			return;
		}
		if ((l->s.hdr[0] & 0x3f) == 0x20) {
			if (pong(&l->s)) {
				l->up = false;
				ini_close(&l->s);
			}
		} else if ((l->s.hdr[0] & 0x3f) == 0x21 && l->t0 && !l->answered &&
			   get32(l->s.hdr + 16) == l->itt) {
			l->answered = true;
			l->status = l->s.hdr[3];
		}
	}
}

static void b_lost(void)
{
	ini_close(&b);
	b_up = false;
	for (unsigned i = 0; i < LANES; i++)
		lane[i].b_itt = 0;
}

/* Answers pings; goes on with what is written through B. BUSY and the like are repeated.
 */
static void b_look(void)
{
	while (b_up && in_use != &b && readable(&b)) {
		if (recv_pdu(&b, 1000) || ((b.hdr[0] & 0x3f) == 0x20 && pong(&b))) {
			b_lost();
			return;
		}
		for (unsigned i = 0; i < LANES && (b.hdr[0] & 0x3f) == 0x21; i++) {
			struct lane *l = &lane[i];

			if (!l->b_itt || l->b_itt != get32(b.hdr + 16))
				continue;
			l->b_itt = 0;
			l->b_at = now_ms() + (b.hdr[3] ? 10 : 0);
			if (!b.hdr[3] && l->version++ == V_NEW)
				l->finished = true;
		}
	}
}

/* All initiators live for so long. */
static void live(int ms)
{
	int64_t until = now_ms() + ms;

	do {
		struct pollfd p[LANES + 1];
		int left = (int)(until - now_ms());

		for (unsigned i = 0; i < LANES; i++)
			p[i] = (struct pollfd){
				.fd = lane[i].up && &lane[i].s != in_use ? lane[i].s.fd : -1,
				.events = POLLIN};
		p[LANES] = (struct pollfd){.fd = b_up && in_use != &b ? b.fd : -1,
					   .events = POLLIN};
		poll(p, LANES + 1, left > 20 ? 20 : left > 0 ? left : 0);
		for (unsigned i = 0; i < LANES; i++)
			lane_look(&lane[i]);
		b_look();
	} while (now_ms() < until);
}

static bool session(struct ini *s, const char *to_host, const char *to_port, uint16_t isid)
{
	host = to_host;
	port = to_port;
	if (!login_ready(s, isid, true))
		return true;
	ini_close(s);
	return false;
}

/* READ or WRITE of a block in a direct session, with what an initiator repeats by itself.
 * The lanes live meanwhile. False: given up after ms. */
static bool block_io(struct ini *s, bool *up, const char *to_host, const char *to_port,
		     uint16_t isid, bool write, uint32_t lba, uint8_t *buf, int ms)
{
	int64_t until = now_ms() + ms;

	while (now_ms() < until) {
		uint32_t itt;
		int st = -1;

		if (!*up && !(*up = session(s, to_host, to_port, isid))) {
			live(20);
			continue;
		}
		itt = rw10(s, write ? 0x2a : 0x28, lba, 1, write ? buf : NULL, write ? BLOCK : 0);
		in_use = s;
		while (now_ms() < until && !readable(s))
			live(1);
		in_use = NULL;
		if (readable(s))
			st = status_of(s, itt, write ? NULL : buf, 3000);
		if (st == 0)
			return true;
		if (st < 0) {
			ini_close(s);
			*up = false;
		}
		live(st == 8 ? 10 : 1);
	}
	return false;
}

static bool through_b(bool write, uint32_t lba, uint8_t *buf)
{
	return block_io(&b, &b_up, b_host, b_port, 0x900, write, lba, buf, 30000);
}

/* ---- one round ---- */

static void holds_end(void)
{
	for (unsigned i = 0; i < nnodes; i++)
		nlink[i].hold_up = nlink[i].hold_down = nlink[i].cut = false;
	for (unsigned i = 0; i < LANES; i++)
		lane[i].link.hold_up = lane[i].link.hold_down = lane[i].link.cut = false;
	net_wake();
}

static uint16_t lane_port[LANES];

static void lane_base(struct lane *l, unsigned i, uint32_t round, bool read)
{
	uint32_t n = round * LANES + i;
	size_t before[NODES_MAX], most = 0;
	uint8_t buf[BLOCK];
	char p[8];

	l->round = round;
	l->lba = n % EXTENTS * EXT_BLOCKS + n / EXTENTS % 8 * SUB_BLOCKS + rnd(128) * 8 + rnd(8);
	l->t0 = 0;
	l->answered = l->in_place = l->finished = l->ghost = false;
	l->version = l->b_itt = 0;
	snprintf(p, sizeof(p), "%u", lane_port[i]);
	for (unsigned k = 0; k < nnodes; k++)
		before[k] = nlink[k].up_bytes;
	block_make(buf, l->lba, round, V_BASE);
	if (!block_io(&l->s, &l->up, "127.0.0.1", p, (uint16_t)(0x100 + i), true, l->lba, buf,
		      30000))
		stop("the first write through gateway A does not end");
	for (unsigned k = 0; k < nnodes; k++)
		if (nlink[k].up_bytes - before[k] > most) {
			most = nlink[k].up_bytes - before[k];
			l->node = k;
		}
	/* then A has the page in its cache too, and B's writes wait for it */
	if (read && !block_io(&l->s, &l->up, "127.0.0.1", p, (uint16_t)(0x100 + i), false, l->lba,
			      buf, 30000))
		stop("the first read through gateway A does not end");
}

static void lane_send(struct lane *l)
{
	uint8_t buf[BLOCK];
	size_t before = nlink[l->node].up_bytes;

	if (!l->up)
		return;
	block_make(buf, l->lba, l->round, V_OLD);
	l->t0 = now_ms();
	l->itt = rw10(&l->s, 0x2a, l->lba, 1, buf, BLOCK);
	for (int ms = 0; ms < 60 && !l->in_place && !l->answered; ms++) {
		live(1);
		switch (l->stage) {
		case ST_SOCKET:
			l->in_place = l->link.up_held > BLOCK || !l->link.hold_up;
			break;
		case ST_QUEUE: /* A has read it by then */
			l->in_place = ms >= 10;
			break;
		case ST_NODE:
		case ST_LOST:
			l->in_place = nlink[l->node].up_bytes - before > BLOCK;
			break;
		default:
			l->in_place = nlink[l->node].up_bytes - before > BLOCK && ms >= 5;
		}
	}
}

static void release(enum fault fault, unsigned stopped)
{
	for (unsigned i = 0; i < nnodes; i++)
		nlink[i].newest = rnd(2);
	if (rnd(2))
		holds_end();
	if (fault == F_STOP)
		kill(a_pid, SIGCONT);
	if (fault == F_NODE)
		kill(node_pid[stopped], SIGCONT);
	holds_end();
}

static bool is_new(struct lane *l, const uint8_t *buf, const char *where)
{
	uint32_t v = block_version(buf, l->lba, l->round);

	if (v == V_NEW)
		return true;
	if (l->ghost)
		return false;
	l->ghost = true;
	ghosts++;
	printf("GHOST: round %u, block %u, the write was %s: read %s: %s\n", l->round, l->lba,
	       stage_text[l->stage], where,
	       v == V_OLD    ? "the old write came back over the newer one"
	       : v == V_BASE ? "what was there before both"
			     : "neither of what was written");
	return false;
}

static void through_a_all(void)
{
	struct ini s;
	bool up = false;
	uint8_t buf[BLOCK];

	for (unsigned i = 0; i < LANES; i++) {
		if (!lane[i].t0)
			continue;
		if (!block_io(&s, &up, a_host, a_port, 0x800, false, lane[i].lba, buf, 30000))
			stop("gateway A does not come back");
		is_new(&lane[i], buf, "through A");
	}
	if (up)
		ini_close(&s);
}

/* The initiator turns to B. */
static void lane_gives_up(struct lane *l, bool released)
{
	if (l->answered)
		answered_early++;
	else if (l->in_place)
		writes[l->stage]++;
	if (l->stage == ST_LOST && !released) {
		nlink[l->node].cut = true; /* with all that is on the way */
		net_wake();
	}
	if (l->up && !l->answered && rnd(2)) { /* some close the path */
		ini_close(&l->s);
		l->up = false;
	}
	l->version = V_OLD;
	l->b_at = 0;
}

static void lane_through_b(struct lane *l)
{
	uint8_t buf[BLOCK];

	if (!b_up && !(b_up = session(&b, b_host, b_port, 0x900))) {
		l->b_at = now_ms() + 20;
		return;
	}
	block_make(buf, l->lba, l->round, l->version);
	l->b_itt = rw10(&b, 0x2a, l->lba, 1, buf, BLOCK);
}

static void round_run(uint32_t round)
{
	enum fault fault = (enum fault)(rnd(20) == 0 ? F_NODE : rnd(3));
	enum stage of_node[NODES_MAX];
	unsigned stopped = 0, turn = rnd(4);
	int64_t t_last = 0, release_at = 0, done_at = 0;
	bool released = false, all;

	for (unsigned i = 0; i < LANES; i++)
		lane_base(&lane[i], i, round, rnd(2));
	for (unsigned k = 0; k < nnodes; k++) {
		static const enum stage way[4] = {ST_QUEUE, ST_NODE, ST_LOG, ST_LOST};

		of_node[k] = way[(k + turn) % 4];
		if (fault == F_NODE) {
			of_node[k] = ST_NODE;
			stopped = turn % nnodes;
		}
	}
	for (unsigned i = 0; i < LANES; i++)
		lane[i].stage = i % 4 == 0 && fault != F_NODE ? ST_SOCKET : of_node[lane[i].node];
	/* The later stages first: what they hold must not be in the way of the others. */
	live(tick() / 2);
	for (unsigned k = 0; k < nnodes; k++) {
		if (fault == F_NODE)
			continue;
		nlink[k].cut = of_node[k] == ST_QUEUE;
		nlink[k].hold_up = of_node[k] == ST_NODE || of_node[k] == ST_LOST;
		nlink[k].hold_down = of_node[k] != ST_QUEUE;
	}
	net_wake();
	if (fault == F_NODE)
		kill(node_pid[stopped], SIGSTOP);
	for (unsigned i = 0; i < LANES; i++)
		if (lane[i].stage != ST_SOCKET)
			lane_send(&lane[i]);
	if (fault == F_STOP)
		kill(a_pid, SIGSTOP);
	for (unsigned i = 0; i < LANES; i++) {
		if (lane[i].stage != ST_SOCKET)
			continue;
		if (fault != F_STOP) {
			lane[i].link.hold_up = true;
			net_wake();
		}
		lane_send(&lane[i]);
	}
	if (fault == F_CUT) {
		for (unsigned k = 0; k < nnodes; k++)
			nlink[k].hold_up = nlink[k].hold_down = true;
		for (unsigned i = 0; i < LANES; i++)
			lane[i].link.hold_up = lane[i].link.hold_down = true;
		net_wake();
	}
	for (unsigned i = 0; i < LANES; i++)
		if (lane[i].t0 > t_last)
			t_last = lane[i].t0;
	/* mostly when all is over, sometimes at any moment */
	if (rnd(5) == 0)
		release_at = t_last + rnd((uint32_t)(allowed() * 3 / 2));

	do {
		all = true;
		for (unsigned i = 0; i < LANES; i++) {
			struct lane *l = &lane[i];
			int64_t now = now_ms();

			if (!released && release_at && now >= release_at) {
				released = true;
				release(fault, stopped);
			}
			if (l->finished || !l->t0)
				continue;
			all = false;
			/* what was answered was settled; all else only after the time */
			if (!l->version && (l->answered || now >= l->t0 + allowed()))
				lane_gives_up(l, released);
			if (l->version && !l->b_itt && now >= l->b_at)
				lane_through_b(l);
		}
		if (!all)
			live(2);
		if (now_ms() > t_last + 60000)
			stop("writes through gateway B do not end");
	} while (!all);
	done_at = now_ms();
	if (!released) {
		live((int)rnd(50));
		release(fault, stopped);
	}
	if (verbose)
		printf("round %u: %s, over after %" PRId64 " ms\n", round, fault_text[fault],
		       done_at - t_last);

	for (int n = 0; n < 2; n++) {
		for (unsigned i = 0; i < LANES; i++) {
			uint8_t buf[BLOCK];

			if (!lane[i].t0)
				continue;
			if (!through_b(false, lane[i].lba, buf))
				stop("a read through gateway B does not end");
			is_new(&lane[i], buf, "through B");
		}
		live(tick());
	}
	through_a_all();
	for (unsigned i = 0; i < LANES; i++) {
		if (lane[i].t0 && expect)
			fprintf(expect, "%u %u %d\n", lane[i].lba, round, (int)lane[i].stage);
		/* a new path each time */
		if (lane[i].up)
			ini_close(&lane[i].s);
		lane[i].up = false;
	}
}

static int cmd_run(void)
{
	uint64_t all = 0;
	int64_t t = now_ms();
	uint32_t r;

	for (r = 0; r < rounds && !(first_only && ghosts); r++)
		round_run(r);
	for (unsigned i = 0; i < STAGES; i++) {
		printf("%6" PRIu64 " writes %s\n", writes[i], stage_text[i]);
		all += writes[i];
	}
	printf("%u rounds in %.1f s, %" PRIu64 " writes repeated after %d ms (%" PRIu64
	       " were answered before): %" PRIu64 " came back\n",
	       r, (double)(now_ms() - t) / 1000, all, allowed(), answered_early, ghosts);
	if (!all) {
		fprintf(stderr, "ghost: no write was on its way: nothing was tested\n");
		return 2;
	}
	return ghosts ? 1 : 0;
}

/* ---- check ---- */

static int cmd_check(void)
{
	FILE *f = fopen(expect_path, "r");
	struct ini s;
	bool up = false;
	uint8_t buf[BLOCK];
	unsigned n = 0, st;
	struct lane l = {0};

	if (!f) {
		snprintf(why, sizeof(why), "cannot be read");
		stop(expect_path);
	}
	while (fscanf(f, "%u %u %u", &l.lba, &l.round, &st) == 3) {
		l.stage = (enum stage)st;
		l.ghost = false;
		if (!through_b(false, l.lba, buf))
			stop("gateway B does not answer");
		is_new(&l, buf, "at the end through B");
		if (!block_io(&s, &up, a_host, a_port, 0x800, false, l.lba, buf, 30000))
			stop("gateway A does not answer");
		is_new(&l, buf, "at the end through A");
		n++;
	}
	fclose(f);
	printf("%u blocks read through both gateways: %" PRIu64 " are not as they should be\n", n,
	       ghosts);
	return ghosts || !n ? 1 : 0;
}

/* ---- the boundary ---- */

/* The write is held almost T_nop on its way to A, then almost T_op on its way to the
 * node. The initiator repeats, and writes something newer, just before it is let go. On a
 * busy machine that is missed: each attempt leaves a bit more time than the one before. */
static bool boundary_once(uint32_t round, int *landed_ms)
{
	struct lane *l = &lane[0];
	int slack = 12 + (int)rnd(20) + (int)round * tick() / 20, x;
	uint8_t buf[BLOCK];
	int64_t tick_at;

	lane_base(l, 0, round, false);
	l->stage = ST_SOCKET;
	live(5);
	l->link.hold_up = true;
	net_wake();
	lane_send(l);
	live((int)(l->t0 + t_nop() - slack - now_ms()));
	/* what A refers to is the last tick that it has */
	tick_at = nlink[l->node].down_ms;
	nlink[l->node].hold_up = true;
	l->link.hold_up = false;
	net_wake();
	live((int)(tick_at + t_op() - 2 * slack - 15 - now_ms()));
	x = (int)(now_ms() - l->t0);
	for (uint32_t v = V_OLD; v <= V_NEW; v++) {
		block_make(buf, l->lba, round, v);
		if (!through_b(true, l->lba, buf))
			stop("a write through gateway B does not end");
	}
	live((int)(tick_at + t_op() - slack - now_ms()));
	*landed_ms = (int)(now_ms() - l->t0);
	if (verbose)
		printf("round %u: sent 0, repeated %d, newer one acknowledged and old "
		       "one let go %d\n",
		       round, x, *landed_ms);
	holds_end();
	live(2 * tick());
	if (!through_b(false, l->lba, buf))
		stop("a read through gateway B does not end");
	if (l->up)
		ini_close(&l->s);
	l->up = false;
	return block_version(buf, l->lba, round) == V_OLD;
}

static int cmd_boundary(void)
{
	unsigned seen = 0, n;
	int latest = 0, ms;

	for (n = 0; n < rounds && seen < 2; n++)
		if (boundary_once(n, &ms)) {
			seen++;
			if (ms > latest)
				latest = ms;
		}
	printf("%u of %u writes of a path that was given up too early came over newer "
	       "ones, the "
	       "latest %d ms after it was sent; allowed is to repeat after %d ms (T_nop "
	       "%d + T_op "
	       "%d + tick %d + margin %d)\n",
	       seen, n, latest, allowed(), t_nop(), t_op(), tick(), tick());
	return !seen || latest > allowed();
}

static void address(char *text, const char **h, const char **p)
{
	char *colon = strrchr(text, ':');

	if (!colon) {
		snprintf(why, sizeof(why), "HOST:PORT is wanted");
		stop(text);
	}
	*colon = 0;
	*h = text;
	*p = colon + 1;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {{"a", 1, 0, 'a'},	    {"b", 1, 0, 'b'},
					     {"target", 1, 0, 't'}, {"lun", 1, 0, 'l'},
					     {"factor", 1, 0, 'f'}, {"rounds", 1, 0, 'r'},
					     {"seed", 1, 0, 's'},   {"a-pid", 1, 0, 'A'},
					     {"node", 1, 0, 'n'},   {"lanes", 1, 0, 'L'},
					     {"expect", 1, 0, 'e'}, {"verbose", 0, 0, 'v'},
					     {"first", 0, 0, 'F'},  {0}};
	unsigned first = 0, node, listen_port, pid;
	const char *cmd = argc > 1 ? argv[1] : "";
	bool net = strcmp(cmd, "check") != 0;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	while ((c = getopt_long(argc - 1, argv + 1, "", opts, NULL)) != -1)
		switch (c) {
		case 'a':
			address(optarg, &a_host, &a_port);
			break;
		case 'b':
			address(optarg, &b_host, &b_port);
			break;
		case 't':
			target = optarg;
			break;
		case 'l':
			lun_nr = (unsigned)atoi(optarg);
			break;
		case 'f':
			factor = atof(optarg);
			break;
		case 'r':
			rounds = (unsigned)atoi(optarg);
			break;
		case 's':
			rng = strtoull(optarg, NULL, 10);
			break;
		case 'A':
			a_pid = atoi(optarg);
			break;
		case 'L':
			first = (unsigned)atoi(optarg);
			break;
		case 'e':
			expect_path = optarg;
			break;
		case 'v':
			verbose = 1;
			break;
		case 'F':
			first_only = 1;
			break; /* one is enough */
		case 'n':      /* PORT-OF-NODE,PORT-OF-LINK,PID */
			if (nnodes == NODES_MAX ||
			    sscanf(optarg, "%u,%u,%u", &node, &listen_port, &pid) != 3)
				return 2;
			node_pid[nnodes] = (pid_t)pid;
			link_open(&nlink[nnodes++], (uint16_t)listen_port, "127.0.0.1",
				  (uint16_t)node);
			break;
		default:
			return 2;
		}
	if (!a_host || !b_host || !target || (net && (!first || !nnodes || !a_pid))) {
		fprintf(stderr, "usage: ghost run|boundary|check --a HOST:PORT --b HOST:PORT "
				"--target IQN "
				"--lun N --factor F --rounds N --seed N --a-pid PID --lanes PORT "
				"--node PORT,LINK,PID… --expect FILE\n");
		return 2;
	}
	if (rounds > EXTENTS) /* blocks are used once */
		rounds = EXTENTS;
	rng = rng * 0x9e3779b97f4a7c15u + 88172645463325252u;
	if (!net)
		return cmd_check();
	for (unsigned i = 0; i < LANES; i++) {
		lane_port[i] = (uint16_t)(first + i);
		link_open(&lane[i].link, lane_port[i], a_host, (uint16_t)atoi(a_port));
	}
	atexit(resume_all);
	net_start();
	if (expect_path && !(expect = fopen(expect_path, "w")))
		return 2;
	c = !strcmp(cmd, "boundary") ? cmd_boundary() : cmd_run();
	if (expect)
		fclose(expect);
	return c;
}
