// SPDX-License-Identifier: GPL-2.0-only
/*
 * Crash states of the real engine, LMDB included: every sequence of up to two
 * operations (of those below), then longer ones drawn at random, on a node that has data
 * already, every call it makes to the disk meanwhile, and what a power cut before each of
 * these calls may leave (tests/unit/disk_trace.h). On each such folder fsck finds nothing
 * wrong, the node starts, and holds every acknowledged operation, each one under way whole
 * or not at all.
 *
 * VMS_CRASH_STATES=N: at least so many different folders, should N be more than the short
 * sequences leave (a sample of 300 of these); VMS_CRASH_SEED=N: others.
 */
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/sim/real_disk.h"
#include "tests/unit/cunit.h"
#include "tests/unit/disk_trace.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"
#include "utils/lib/settings.h"
#include "utils/lib/vec.h"

#define BR	  7u
#define CHUNKS	  64u
#define SECTORS	  8u
#define LOG_BYTES (4u << 20)
#define LEN_MAX	  5u /* of a sequence */
#define GROUPS	  4u /* writes that are under way together */

/* Marks in the list of calls. Behind MARK_PART: the write of the burst that is acknowledged. */
enum { MARK_SENT, MARK_ACKED, MARK_PART };

enum act {
	OP_WRITE, /* one chunk */
	OP_PART,  /* some sectors of a chunk */
	OP_RANGE, /* 24 chunks */
	OP_ZERO,  /* half of all */
	OP_CAW,
	OP_SAME,  /* what another chunk holds already */
	OP_REST,  /* time passes: what is in the log goes to containers and index */
	OP_BURST, /* four of the others at once: a chunk, sectors, 8 chunks, 8 chunks of zeros */
	OPS
};
static const char *const op_name[OPS] = {"write", "part", "range", "zero",
					 "caw",	  "same", "rest",  "burst"};

struct image {
	uint32_t sec[CHUNKS][SECTORS]; /* 0: zeros */
	uint8_t group[CHUNKS];	       /* of the writes that led here; all 0 but in a burst */
};

static struct rig R;
static struct image truth;
static uint32_t next_content = 1;
static uint64_t sequence;
static unsigned place; /* of the operations on one chunk */
static char base_dir[100];
static void *rig_ctx; /* of the disk's schedule */
static void (*rig_schedule)(void *ctx, uint64_t delay_us, uint64_t id);
static char why[400];

/* ---- the disk ---- */

static struct real_disk *disk_open(void)
{
	char dir[120];
	struct real_disk_conf c = {.dir = dir,
				   .log_bytes = LOG_BYTES,
				   .index_bytes = 16u << 20,
				   .space_bytes = 1ull << 30,
				   .latency_us_min = 20,
				   .latency_us_max = 40,
				   .sync_us_min = 50,
				   .sync_us_max = 90,
				   .read_now_percent = 100,
				   .engine = VMS_IO_THREADS,
				   .schedule = rig_schedule,
				   .ctx = rig_ctx};
	struct vms_errmsg msg = {""};
	struct real_disk *d;

	snprintf(dir, sizeof(dir), "%s/n1", base_dir);
	d = real_disk_new(&c, 1, &msg);
	if (!d)
		snprintf(why, sizeof(why), "the disk does not open: %s", msg.text);
	return d;
}

struct box {
	struct real_disk *d;
};
static void *drv_make(struct rig *r, unsigned idx, uint64_t seed,
		      void (*schedule)(void *ctx, uint64_t delay_us, uint64_t id), void *ctx,
		      struct vms_disk *out)
{
	struct box *b = calloc(1, sizeof(*b));

	(void)r;
	(void)idx;
	(void)seed;
	rig_schedule = schedule;
	rig_ctx = ctx;
	vms_assert(b);
	b->d = disk_open();
	if (!b->d)
		fprintf(stderr, "%s\n", why);
	vms_assert(b->d);
	*out = real_disk_ops(b->d);
	return b;
}
static bool drv_finish(void *b, uint64_t id, struct vms_disk_event *ev)
{
	return real_disk_finish(((struct box *)b)->d, id, ev);
}
static void drv_crash(void *b, bool power)
{
	(void)power;
	/* the folder goes with it: the next one is made by dt_make() */
	real_disk_free(((struct box *)b)->d);
	((struct box *)b)->d = NULL;
}
static void drv_free(void *b)
{
	real_disk_free(((struct box *)b)->d);
	free(b);
}
static int drv_read(void *b, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	return real_disk_read(((struct box *)b)->d, ctr, off, buf, len);
}
static const struct rig_disk_drv drv = {drv_make, drv_finish, drv_crash, drv_free, drv_read};

/* ---- operations ---- */

static void sector_fill(uint8_t *p, uint32_t content)
{
	for (unsigned i = 0; i < VMS_LB_BYTES; i += 4)
		vms_put_le32(p + i, content ? content * 2654435761u + i : 0);
}

/* Sends one op; its answer comes to re. */
static void post(uint8_t kind, unsigned chunk, unsigned n, uint8_t mask, const struct image *after,
		 struct rig_reply *re)
{
	static uint8_t data[2 * 32 * VMS_CHUNK_BYTES];
	uint8_t body[VMS_WRITE_BODY_BYTES(32)];
	struct vms_piece pc[32] = {0};
	struct vms_iov iov = {data, 0};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .sequence = sequence,
			    .tick = R.gw[0].tick[0],
			    .tick_incarnation = R.gw[0].tick_inc[0],
			    .epoch = R.gw[0].epoch[0]};
	unsigned np = kind == VMS_WRITE_ZERO ? 1 : n;
	size_t at = 0;

	for (unsigned s = 0; kind == VMS_WRITE_CAW && s < SECTORS; s++, at += VMS_LB_BYTES)
		sector_fill(data + at, truth.sec[chunk][s]);
	for (unsigned i = 0; i < np; i++) {
		size_t from = at;

		for (unsigned s = 0; kind != VMS_WRITE_ZERO && s < SECTORS; s++)
			if (mask >> s & 1) {
				sector_fill(data + at, after->sec[chunk + i][s]);
				at += VMS_LB_BYTES;
			}
		pc[i] = (struct vms_piece){.chunk = (uint16_t)(chunk + i),
					   .count = (uint16_t)(kind == VMS_WRITE_ZERO ? n : 1),
					   .mask = mask,
					   .crc = at > from ? vms_crc32c(0, data + from, at - from)
							    : 0};
	}
	vms_write_body_encode(body, kind, pc, np);
	m.body = body;
	m.body_bytes = VMS_WRITE_BODY_BYTES(np);
	iov.len = at;
	if (at) {
		m.payload = &iov;
		m.npayload = 1;
		m.payload_bytes = at;
	}
	rig_send(&R, 0, 0, &m, re);
}

/* One op and its answer; true: acknowledged. */
static bool send(uint8_t kind, unsigned chunk, unsigned n, uint8_t mask, const struct image *after)
{
	struct rig_reply re;
	bool ok;

	sequence++;
	post(kind, chunk, n, mask, after, &re);
	ok = rig_wait(&R, &re, 20000) && !re.status;
	if (re.done && re.status == VMS_E_EPOCH) { /* the node's is newer: as gateways do */
		R.gw[0].epoch[0] = re.m.epoch;
		rig_reply_free(&re);
		post(kind, chunk, n, mask, after, &re);
		ok = rig_wait(&R, &re, 20000) && !re.status;
	}
	if (!ok)
		snprintf(why, sizeof(why), "an operation ended with %s",
			 re.done ? vms_err_name(re.status) : "nothing");
	R.gw[0].nwait = 0;
	rig_reply_free(&re);
	return ok;
}

/* Four writes under way together, answered in any order. */
static bool burst(unsigned turn)
{
	const struct {
		uint8_t kind, chunk, n, mask;
	} w[GROUPS] = {{VMS_WRITE_DATA, (uint8_t)(4 + turn), 1, 0xff},
		       {VMS_WRITE_DATA, (uint8_t)(12 + turn), 1, 0x71},
		       {VMS_WRITE_DATA, (uint8_t)(24 + turn), 8, 0xff},
		       {VMS_WRITE_ZERO, (uint8_t)(44 + turn), 8, 0xff}};
	uint64_t end = R.now_us + 20000000;
	struct rig_reply re[GROUPS];
	bool marked[GROUPS] = {false}, ok = true;
	struct image after = truth;
	unsigned left = GROUPS;

	memset(after.group, 0, sizeof(after.group));
	for (unsigned g = 0; g < GROUPS; g++)
		for (unsigned i = 0; i < w[g].n; i++) {
			after.group[w[g].chunk + i] = (uint8_t)g;
			for (unsigned s = 0; s < SECTORS; s++)
				if (w[g].mask >> s & 1)
					after.sec[w[g].chunk + i][s] = w[g].kind == VMS_WRITE_ZERO
									       ? 0
									       : next_content++;
		}
	for (unsigned g = 0; g < GROUPS; g++) {
		sequence++;
		post(w[g].kind, w[g].chunk, w[g].n, w[g].mask, &after, &re[g]);
	}
	while (left && R.now_us < end && rig_step(&R))
		for (unsigned g = 0; g < GROUPS; g++)
			if (re[g].done && !marked[g]) {
				marked[g] = true;
				left--;
				dt_mark(MARK_PART + g);
			}
	R.gw[0].nwait = 0;
	for (unsigned g = 0; g < GROUPS; g++) {
		if (!re[g].done || re[g].status) {
			ok = false;
			snprintf(why, sizeof(why), "a write of the burst ended with %s",
				 re[g].done ? vms_err_name(re[g].status) : "nothing");
		}
		rig_reply_free(&re[g]);
	}
	truth = after;
	return ok;
}

static bool put(enum act op, unsigned turn)
{
	struct image after = truth;
	uint8_t kind = VMS_WRITE_DATA, mask = 0xff;
	unsigned chunk = 3 + place, n = 1;

	memset(after.group, 0, sizeof(after.group));

	switch (op) {
	case OP_PART:
		mask = 0x1c;
		break;
	case OP_RANGE:
		chunk = 1 + turn * 8;
		n = 24;
		break;
	case OP_ZERO:
		kind = VMS_WRITE_ZERO;
		chunk = 0;
		n = 32;
		break;
	case OP_CAW:
		kind = VMS_WRITE_CAW;
		break;
	case OP_SAME:
		chunk = 40 + turn;
		break;
	case OP_REST:
		rig_run(&R, 4000);
		return true;
	case OP_BURST:
		return burst(turn);
	default:
		break;
	}
	for (unsigned i = 0; i < n; i++)
		for (unsigned s = 0; s < SECTORS; s++)
			if (mask >> s & 1)
				after.sec[chunk + i][s] = op == OP_ZERO	  ? 0
							  : op == OP_SAME ? truth.sec[50][s]
									  : next_content++;
	if (!send(kind, chunk, n, mask, &after))
		return false;
	truth = after;
	return true;
}

/* Does the node hold, of each group, what either of these has; of those in `done`, what b has? */
static bool holds(const struct image *a, const struct image *b, unsigned done)
{
	bool is_a[GROUPS], is_b[GROUPS];
	uint8_t body[2 * CHUNKS], want[VMS_LB_BYTES];
	struct rig_reply re;
	size_t at = 0;

	for (unsigned g = 0; g < GROUPS; g++) {
		is_a[g] = !(done >> g & 1);
		is_b[g] = true;
	}
	for (unsigned i = 0; i < CHUNKS; i++)
		vms_put_le16(body + 2 * i, (uint16_t)i);
	for (int tries = 0; tries < 50; tries++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .branch = BR,
				    .snap_gen = 1,
				    .body = body,
				    .body_bytes = sizeof(body),
				    .epoch = R.gw[0].epoch[0]};

		rig_send(&R, 0, 0, &m, &re);
		if (!rig_wait(&R, &re, 20000) || !re.status)
			break;
		if (re.status == VMS_E_EPOCH)
			R.gw[0].epoch[0] = re.m.epoch;
		rig_reply_free(&re);
		rig_run(&R, 50);
	}
	if (!re.done || re.status) {
		snprintf(why, sizeof(why), "a read ends with %s",
			 re.done ? vms_err_name(re.status) : "nothing");
		R.gw[0].nwait = 0;
		rig_reply_free(&re);
		return false;
	}
	for (unsigned i = 0; i < CHUNKS; i++) {
		int status = (int16_t)vms_get_le16(re.body + 16 * i + 12);
		bool hole = vms_get_le64(re.body + 16 * i) == VMS_ADDR_HOLE;
		unsigned k = b->group[i];

		if (status) {
			snprintf(why, sizeof(why), "chunk %u: %s", i, vms_err_name(status));
			rig_reply_free(&re);
			return false;
		}
		for (unsigned s = 0; s < SECTORS; s++) {
			static const uint8_t zero[VMS_LB_BYTES];
			const uint8_t *got = hole ? zero : re.payload + at + s * VMS_LB_BYTES;

			sector_fill(want, a->sec[i][s]);
			is_a[k] = is_a[k] && !memcmp(got, want, VMS_LB_BYTES);
			sector_fill(want, b->sec[i][s]);
			is_b[k] = is_b[k] && !memcmp(got, want, VMS_LB_BYTES);
			if (is_a[k] || is_b[k])
				continue;
			snprintf(why, sizeof(why),
				 "chunk %u, sector %u: neither as acknowledged nor as the "
				 "operation under way",
				 i, s);
			rig_reply_free(&re);
			return false;
		}
		at += hole ? 0 : VMS_CHUNK_BYTES;
	}
	rig_reply_free(&re);
	return true;
}

/* ---- the catalog as it was ---- */

static VMS_VEC(struct rig_kv) cat;

static void cat_free(void)
{
	for (size_t i = 0; i < cat.n; i++)
		free(cat.d[i].val);
	VMS_VEC_FREE(&cat);
}
static void cat_keep(void)
{
	cat_free();
	for (size_t i = 0; i < R.kv.n; i++) {
		struct rig_kv kv = R.kv.d[i];

		kv.val = kv.val ? strdup(kv.val) : NULL;
		VMS_VEC_PUSH(&cat, kv);
	}
}
static void cat_restore(void)
{
	for (size_t i = 0; i < cat.n; i++)
		rig_put(&R, cat.d[i].key, strdup(cat.d[i].val));
}

/* ---- one sequence ---- */

static struct {
	uint64_t made, distinct, sequences, events;
} st;

static uint64_t hashes[1u << 21]; /* of all folders there were; 0: free */

static bool is_new(uint64_t h)
{
	size_t i = (h ^ h >> 32) & (sizeof(hashes) / sizeof(*hashes) - 1);

	h += !h;
	while (hashes[i] && hashes[i] != h)
		i = (i + 1) & (sizeof(hashes) / sizeof(*hashes) - 1);
	if (hashes[i])
		return false;
	vms_assert(st.distinct < sizeof(hashes) / sizeof(*hashes) / 2);
	hashes[i] = h;
	return true;
}

/* The node on the folder that is there: is all right? */
static bool survives(const struct image *acked, const struct image *under_way, unsigned done)
{
	struct box *b = R.node[0].dd;
	const char *wrong;
	bool ok;

	b->d = disk_open();
	if (!b->d)
		return false;
	R.node[0].disk = real_disk_ops(b->d);
	wrong = rig_fsck(&R, 0);
	if (wrong) {
		snprintf(why, sizeof(why), "fsck: %s", wrong);
		return false;
	}
	cat_restore();
	rig_node_start(&R, 0);
	if (!rig_wait_active(&R, 60000)) {
		snprintf(why, sizeof(why), "the node does not serve: %s", R.node[0].why);
		return false;
	}
	rig_gw_restart(&R, 0);
	rig_gw_connect(&R, 0, 0);
	rig_run(&R, 100);
	ok = holds(acked, under_way, done);
	rig_node_crash(&R, 0, false);
	return ok;
}

static void name_of(const enum act *op, unsigned n)
{
	printf("\n");
	for (unsigned i = 0; i < n; i++)
		printf("%s%s", i ? ", " : "", op_name[op[i]]);
	printf(": ");
}

/* `seed`: of the rig, so of how long each call takes. */
static bool sequence_of(const enum act *op, unsigned n, uint64_t seed, unsigned share,
			struct vms_rng *g)
{
	struct image img[LEN_MAX + 1];
	bool ok = true;
	char dir[120], cmd[140];

	snprintf(dir, sizeof(dir), "%s/n1", base_dir);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	vms_assert(!system(cmd));
	memset(&R, 0, sizeof(R));
	memset(&truth, 0, sizeof(truth));
	next_content = 1;
	sequence = 0;
	why[0] = '\0';
	R.drv = &drv;
	R.gen_bytes = 64u << 10;
	R.container_bytes = 256u << 10;
	rig_open(&R, 1, 1, 0, seed);
	rig_volume(&R, BR, VMS_ACK_DISK);
	ok = rig_wait_active(&R, 20000);
	rig_gw_connect(&R, 0, 0);
	rig_run(&R, 600);
	for (unsigned i = 0; i < 3 && ok; i++) { /* something is there, most of it in containers */
		ok = put(OP_RANGE, i);
		rig_run(&R, 1500);
	}
	ok = ok && put(OP_SAME, 10);
	dt_begin(dir);
	img[0] = truth;
	for (unsigned i = 0; i < n && ok; i++) {
		dt_mark(MARK_SENT);
		ok = put(op[i], i);
		img[i + 1] = truth;
		dt_mark(MARK_ACKED);
	}
	if (ok && op[n - 1] != OP_REST)
		rig_run(&R, 200);
	dt_end();
	if (!ok) {
		name_of(op, n);
		printf("%s\n", why);
	}
	cat_keep();
	rig_node_crash(&R, 0, true);
	st.sequences++;
	st.events += dt.ev.n;
	for (size_t k = 0; k <= dt.ev.n && ok; k++) {
		unsigned sent = 0, acked = 0, done = 0;

		if (k < dt.ev.n && dt.ev.d[k].type == DT_MARK)
			continue; /* as the call behind it */
		for (size_t e = 0; e < k; e++)
			if (dt.ev.d[e].type == DT_MARK) {
				unsigned mark = dt.ev.d[e].file;

				sent += mark == MARK_SENT;
				acked += mark == MARK_ACKED;
				done = mark < MARK_PART ? 0 : done | 1u << (mark - MARK_PART);
			}
		for (unsigned i = 0; i < DT_LOSSES + 3 && ok; i++) {
			enum dt_loss loss = i < DT_LOSSES ? (enum dt_loss)i : DT_ANY;

			if (vms_rng_u64(g) % 1000 >= share)
				continue;
			st.made++;
			if (!is_new(dt_make(k, loss, g) ^ done << 8 ^ acked << 4 ^ sent))
				continue;
			st.distinct++;
			dt_write();
			ok = survives(&img[acked], &img[sent], done);
			if (ok && st.distinct % 1000 == 0)
				fprintf(stderr, "%llu different states are right\n",
					(unsigned long long)st.distinct);
			if (!ok) {
				name_of(op, n);
				printf("power fails before call %zu of %zu, loss %d: %s\n", k,
				       dt.ev.n, (int)loss, why);
			}
		}
	}
	dt_free();
	cat_free();
	if (ok)
		rig_close(&R);
	return ok;
}

static void all_short_sequences(void)
{
	const char *e = getenv("VMS_CRASH_STATES"), *d = getenv("VMS_CRASH_SEED");
	uint64_t want = e ? strtoull(e, NULL, 10) : 300, seed = d ? strtoull(d, NULL, 10) : 1;
	unsigned share = 1000;
	struct vms_rng g;

	vms_rng_init(&g, seed);
	snprintf(base_dir, sizeof(base_dir), "%s/vms-crash-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(base_dir));
	for (unsigned n = 1; n <= 2; n++)
		for (unsigned a = 0; a < OPS; a++)
			for (unsigned b = 0; b < (n == 2 ? OPS : 1); b++) {
				enum act op[2] = {(enum act)a, (enum act)b};

				if (st.sequences == 1 && st.made) {
					/* about as many states as wanted, spread over all */
					uint64_t all = st.made * 3 * (OPS + OPS * OPS);

					share = all > 3 * want ? (unsigned)(want * 3000 / all) + 1
							       : 1000;
				}
				CU_ASSERT_TRUE_FATAL(sequence_of(op, n, seed, share, &g));
			}
	/* longer ones, each with a timing of its own */
	while (st.distinct < want) {
		enum act op[LEN_MAX];
		unsigned n = 3 + (unsigned)(vms_rng_u64(&g) % (LEN_MAX - 2));

		for (unsigned i = 0; i < n; i++)
			op[i] = (enum act)(vms_rng_u64(&g) % OPS);
		place = (unsigned)(vms_rng_u64(&g) % 16);
		CU_ASSERT_TRUE_FATAL(sequence_of(op, n, (seed << 20) + st.sequences, share, &g));
	}
	printf("[%llu sequences, %llu calls, %llu states, %llu of them different] ",
	       (unsigned long long)st.sequences, (unsigned long long)st.events,
	       (unsigned long long)st.made, (unsigned long long)st.distinct);
	snprintf(why, sizeof(why), "rm -rf '%s'", base_dir);
	CU_ASSERT_FALSE(system(why));
}

static const struct vms_test tests[] = {
	VMS_TEST(all_short_sequences),
};
VMS_TEST_MAIN("crash_states", tests)
