/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Volumes, snapshots and clones over the node rig, with an oracle in memory: what
 * each of them must show, chunk by chunk. What the tools do to the catalog is done
 * here directly, each step in one transaction.
 */
#ifndef VMS_TESTS_VOL_RIG_H
#define VMS_TESTS_VOL_RIG_H

#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/wal.h"
#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

#define V_CHUNK VMS_CHUNK_BYTES
#define V_EXTS	6u   /* extents of a volume that are used */
#define V_CHS	160u /* chunks of an extent that are used: two sub-extents */
#define V_VOLS	12u
#define V_SNAPS 64u

/* What is in a chunk: 0 zeros, else the seed of its bytes. */
struct v_image {
	uint32_t id[V_EXTS][V_CHS];
};
struct v_snap {
	bool used;
	uint64_t branch, gen;
	struct v_image img;
};
struct v_vol {
	bool used;
	uint64_t id, branch, gen, lineage;
	unsigned nanc;
	struct vms_cat_ancestor anc[VMS_ANCESTORS_MAX];
	bool cut; /* the next branch sees nothing of the one it grows from */
	struct v_image img;
	struct v_snap snap[V_SNAPS];
};
static struct rig R;
static struct v_vol V[V_VOLS];
static uint64_t v_next_branch;
static unsigned v_bad;
static unsigned v_turn;
static uint32_t v_next_id = 1000;
static bool v_nowait; /* several steps at one moment: nodes learn of them later */

__attribute__((format(printf, 1, 2))) static void v_fail(const char *fmt, ...)
{
	va_list ap;

	if (v_bad++ >= 5)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
}

static inline void v_fill(uint8_t *b, uint32_t id)
{
	struct vms_rng g;

	if (!id) {
		memset(b, 0, V_CHUNK);
		return;
	}
	vms_rng_init(&g, id);
	vms_rng_fill(&g, b, V_CHUNK);
}

static inline uint32_t v_part(const struct v_vol *v, uint32_t ext)
{
	return vms_extent_partition(v->lineage, ext, R.part_bits);
}

/* ---- what the tools do ---- */

static inline void v_learn(void)
{
	if (!v_nowait)
		rig_run(&R, 5);
}

static inline void v_put(const struct v_vol *v)
{
	struct vms_cat_volume c = {.branch = v->branch,
				   .id = v->id,
				   .lineage = v->lineage,
				   .snap_gen = v->gen,
				   .lun_fence = 1,
				   .dedup = true};

	snprintf(c.name, sizeof(c.name), "v%llu", (unsigned long long)v->id);
	rig_volume_put(&R, c);
}

static inline void v_branch_put(const struct v_vol *v, uint64_t branch, uint8_t state)
{
	struct vms_cat_branch b = {.branch = branch,
				   .owner = v->id,
				   .lineage = v->lineage,
				   .state = state,
				   .nancestors = v->nanc};

	memcpy(b.ancestor, v->anc, sizeof(b.ancestor));
	rig_branch_put(&R, b);
}

static inline void v_snap_key(char *key, const struct v_vol *v, unsigned s)
{
	char vol[32], name[32];

	snprintf(vol, sizeof(vol), "v%llu", (unsigned long long)v->id);
	snprintf(name, sizeof(name), "s%u", s);
	vms_assert(vms_cat_key_snap(key, vol, name, NULL) == 0);
}

static inline struct v_vol *v_create(unsigned i)
{
	struct v_vol *v = &V[i];

	memset(v, 0, sizeof(*v));
	v->used = true;
	v->id = v->branch = v->lineage = v_next_branch++;
	v->gen = 1;
	v_branch_put(v, v->branch, 1);
	v_put(v);
	return v;
}

/* The barrier's catalog part; writes under the old number have ended. */
static inline void v_snap(struct v_vol *v, unsigned s)
{
	struct vms_cat_snap c = {.id = v->id,
				 .branch = v->branch,
				 .snap_gen = v->gen,
				 .size_bytes = 1 << 30,
				 .state = 2};
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_assert(!v->snap[s].used);
	snprintf(c.volume, sizeof(c.volume), "v%llu", (unsigned long long)v->id);
	snprintf(c.name, sizeof(c.name), "s%u", s);
	v_snap_key(key, v, s);
	v->snap[s].used = true;
	v->snap[s].branch = v->branch;
	v->snap[s].gen = v->gen++;
	v->snap[s].img = v->img;
	v_put(v);
	rig_put(&R, key, vms_cat_snap_encode(&c));
	v_learn();
}

static inline void v_snap_rm(struct v_vol *v, unsigned s)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	v_snap_key(key, v, s);
	v->snap[s].used = false;
	rig_put(&R, key, NULL);
}

static inline void v_anc_of(struct v_vol *c, const struct v_vol *v, const struct v_snap *s)
{
	c->anc[0] = (struct vms_cat_ancestor){s->branch, s->gen, v->cut ? 0 : UINT32_MAX};
	c->nanc = 1;
	for (unsigned k = 0; k < v->nanc && c->nanc < VMS_ANCESTORS_MAX; k++)
		if (v->anc[k].branch < s->branch)
			c->anc[c->nanc++] = v->anc[k];
}

static inline struct v_vol *v_clone(unsigned i, const struct v_vol *v, unsigned s)
{
	struct v_vol *c = &V[i];

	memset(c, 0, sizeof(*c));
	c->used = true;
	c->id = c->branch = v_next_branch++;
	c->lineage = v->lineage;
	c->gen = 1;
	c->img = v->snap[s].img;
	v_anc_of(c, v, &v->snap[s]);
	v_branch_put(c, c->branch, 1);
	v_put(c);
	v_learn();
	return c;
}

static inline void v_rollback(struct v_vol *v, unsigned s)
{
	struct v_vol old = *v;

	v->branch = v_next_branch++;
	v->gen++;
	v->img = v->snap[s].img;
	v_anc_of(v, &old, &old.snap[s]);
	v_branch_put(v, v->branch, 1);
	v_put(v);
	v_branch_put(&old, old.branch, 2);
	v_learn();
}

static inline void v_rm(struct v_vol *v)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	v_branch_put(v, v->branch, 2);
	snprintf(key, sizeof(key), "volume/v%llu", (unsigned long long)v->id);
	rig_put(&R, key, NULL);
	v->used = false;
}

/* ---- reads and writes ---- */

/* Sends until it is settled. */
static inline int v_call(unsigned g, struct vms_msg m, struct rig_reply *re)
{
	int st = VMS_E_TIMEOUT;

	for (int i = 0; i < 600; i++) {
		unsigned nd = rig_primary(&R, m.partition);
		struct vms_msg q = m;

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			m.flags |= m.type == VMS_MSG_WRITE ? VMS_F_RETRY : 0;
			continue;
		}
		q.epoch = R.gw[g].epoch[m.partition];
		rig_send(&R, g, nd, &q, re);
		if (!rig_wait(&R, re, 30000)) {
			R.gw[g].nwait = 0;
			return VMS_E_TIMEOUT;
		}
		st = re->status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[m.partition] = re->m.epoch;
		if (!st)
			return 0;
		rig_reply_free(re);
		if (st == VMS_E_EPOCH)
			continue;
		if (st != VMS_E_DISCONNECTED && st != VMS_E_AGAIN && st != VMS_E_NOT_PRIMARY)
			return st;
		m.flags |= m.type == VMS_MSG_WRITE ? VMS_F_RETRY : 0;
		rig_run(&R, 50);
	}
	return st;
}

/* id 0: zeros, `count` chunks; else one chunk. Bytes beyond whole chunks: mask. */
static inline int v_write_raw(const struct v_vol *v, uint32_t ext, unsigned ch, unsigned count,
			      uint8_t mask, const uint8_t *data, size_t bytes)
{
	unsigned g = v_turn & 1, slot = v_turn++ % 8;
	struct vms_piece pc = {(uint16_t)ch, (uint16_t)count, mask, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov = {data, bytes};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = v_part(v, ext),
			    .branch = v->branch,
			    .snap_gen = v->gen,
			    .lun_fence = 1,
			    .extent = ext,
			    .slot = slot};
	struct rig_reply re;
	int rc;

	m.sequence = ++R.gw[g].next_seq[slot];
	if (bytes)
		pc.crc = vms_crc32c(0, data, bytes);
	vms_write_body_encode(body, bytes ? VMS_WRITE_DATA : VMS_WRITE_ZERO, &pc, 1);
	m.body = body;
	m.body_bytes = sizeof(body);
	if (bytes) {
		m.payload = &iov;
		m.npayload = 1;
		m.payload_bytes = bytes;
	}
	rc = v_call(g, m, &re);
	if (!rc)
		rig_reply_free(&re);
	return rc;
}

static inline int v_write(struct v_vol *v, uint32_t ext, unsigned ch, uint32_t id)
{
	uint8_t b[V_CHUNK];
	int rc;

	v_fill(b, id);
	rc = v_write_raw(v, ext, ch, 1, 0xff, b, id ? V_CHUNK : 0);
	if (!rc)
		v->img.id[ext][ch] = id;
	else
		v_fail("write of %llu ext %u ch %u: %s", (unsigned long long)v->branch, ext, ch,
		       vms_err_name(rc));
	return rc;
}

static inline void v_zero(struct v_vol *v, uint32_t ext, unsigned ch, unsigned count)
{
	int rc = v_write_raw(v, ext, ch, count, 0xff, NULL, 0);

	if (rc)
		v_fail("zero of %llu ext %u ch %u: %s", (unsigned long long)v->branch, ext, ch,
		       vms_err_name(rc));
	for (unsigned i = ch; !rc && i < ch + count; i++)
		v->img.id[ext][i] = 0;
}

/* All used chunks of an extent by LBA; gen VMS_GEN_LIVE: the volume. */
static inline void v_check_ext(const char *what, const struct v_vol *v, uint64_t branch,
			       uint64_t gen, const struct v_image *img, uint32_t ext)
{
	uint8_t body[2 * V_CHS], want[V_CHUNK];
	struct rig_reply re;

	for (unsigned i = 0; i < V_CHS; i++)
		vms_put_le16(body + 2 * i, (uint16_t)i);
	for (int turn = 0;; turn++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = v_part(v, ext),
				    .branch = branch,
				    .snap_gen = gen,
				    .extent = ext,
				    .body = body,
				    .body_bytes = sizeof(body)};
		int rc = v_call(0, m, &re);
		size_t at = 0;
		bool again = false;

		if (rc) {
			v_fail("%s: reading branch %llu gen %llu ext %u: %s", what,
			       (unsigned long long)branch, (unsigned long long)gen, ext,
			       vms_err_name(rc));
			return;
		}
		for (unsigned i = 0; i < V_CHS && !again; i++) {
			vms_addr a = vms_get_le64(re.body + 16 * i);
			int st = (int16_t)vms_get_le16(re.body + 16 * i + 12);

			/* collected between look-up and read, or being repaired */
			again = (st == VMS_E_GONE || st == VMS_E_UNKNOWN || st == VMS_E_AGAIN) &&
				turn < 200;
			if (again)
				break;
			v_fill(want, img->id[ext][i]);
			if (st)
				v_fail("%s: branch %llu gen %llu ext %u ch %u addr %llx: %s", what,
				       (unsigned long long)branch, (unsigned long long)gen, ext, i,
				       (unsigned long long)a, vms_err_name(st));
			else if (a == VMS_ADDR_HOLE ? img->id[ext][i] != 0
						    : memcmp(want, re.payload + at, V_CHUNK) != 0)
				v_fail("%s: branch %llu gen %llu ext %u ch %u addr %llx: wrong "
				       "content, want id %u",
				       what, (unsigned long long)branch, (unsigned long long)gen,
				       ext, i, (unsigned long long)a, img->id[ext][i]);
			if (st == 0 && a != VMS_ADDR_HOLE)
				at += V_CHUNK;
		}
		rig_reply_free(&re);
		if (!again)
			return;
		rig_run(&R, 20);
	}
}

/* Everything that is reachable shows what it must. */
static inline void v_check_all(const char *what)
{
	for (unsigned i = 0; i < V_VOLS && v_bad < 5; i++) {
		if (!V[i].used)
			continue;
		for (uint32_t e = 0; e < V_EXTS && v_bad < 5; e++)
			v_check_ext(what, &V[i], V[i].branch, VMS_GEN_LIVE, &V[i].img, e);
		for (unsigned s = 0; s < V_SNAPS && v_bad < 5; s++)
			for (uint32_t e = 0; V[i].snap[s].used && e < V_EXTS && v_bad < 5; e++)
				v_check_ext(what, &V[i], V[i].snap[s].branch, V[i].snap[s].gen,
					    &V[i].snap[s].img, e);
	}
}

/* ---- the nodes ---- */

/* Everything written so far is drained. */
static inline void v_drain(void)
{
	for (int turn = 0; turn < 200; turn++) {
		bool any = false;

		for (unsigned i = 0; i < R.nnodes; i++) {
			struct vms_node *n = R.node[i].n;

			for (uint32_t p = 0; n && p < n->nparts; p++)
				any |= n->part[p] && n->part[p]->primary &&
				       n->part[p]->ovl.npieces + n->part[p]->ovl.nranges;
		}
		if (!any)
			return;
		for (unsigned i = 0; i < R.nnodes && turn % 20 == 0; i++)
			if (R.node[i].n)
				vms_wal_gen_seal(R.node[i].n->wal);
		rig_run(&R, 100);
	}
	v_fail("not drained");
}

struct v_count {
	uint64_t branch;
	unsigned pages;
};

static inline int v_count_page(void *arg, const struct vms_page *p)
{
	struct v_count *c = arg;

	c->pages += !c->branch || p->key.branch == c->branch;
	return 0;
}

/* Index pages at the primaries; branch 0: of all. */
static inline unsigned v_pages(uint64_t branch)
{
	struct v_count c = {branch, 0};

	for (uint32_t p = 0; p < 1u << R.part_bits; p++)
		vms_pages_each(R.node[rig_primary(&R, p)].n->pages, p, NULL, v_count_page, &c);
	return c.pages;
}

static inline uint64_t v_ctr_bytes(void)
{
	uint64_t b = 0;

	for (unsigned i = 0; i < R.nnodes; i++)
		b += sim_disk_container_bytes(R.node[i].sd);
	return b;
}

/* Containers that are left, for people. */
static inline void v_print_ctrs(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		for (uint32_t k = 0; R.node[i].n && k < R.node[i].n->nparts; k++) {
			struct part *p = R.node[i].n->part[k];

			if (!p)
				continue;
			VMS_VEC_FOREACH (&p->ctrs, c)
				fprintf(stderr,
					"node %u part %u primary %d: %llx state %u chunks %u live "
					"%llu "
					"moved %llu safe %llu refs %u shared %d sweeping %d open "
					"%llx "
					"gc %d undrained %llu\n",
					i + 1, k, p->primary, (unsigned long long)c->number,
					c->state, c->chunks, (unsigned long long)c->live,
					(unsigned long long)c->moved_seq,
					(unsigned long long)p->safe_seq, c->refs_ordered, c->shared,
					c->sweeping, (unsigned long long)p->open_ctr, p->gc != NULL,
					(unsigned long long)(p->ovl.npieces + p->ovl.nranges));
		}
}

static inline struct rig_kv *v_key(const char *key)
{
	for (size_t i = 0; i < R.kv.n; i++)
		if (!strcmp(R.kv.d[i].key, key))
			return &R.kv.d[i];
	return NULL;
}

/* The set of a partition as the catalog has it from now on: node numbers from 0, the
 * primary first, ended by a negative one. */
static inline void v_set_put(uint32_t number, const int *nodes)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_part_conf pc;
	struct vms_cat_kv kv;
	struct rig_kv *k;
	uint32_t got;

	vms_cat_key_part(key, number);
	k = v_key(key);
	kv = (struct vms_cat_kv){k->key, k->val, (uint32_t)strlen(k->val), k->mod, 1};
	CU_ASSERT_EQUAL_FATAL(vms_cat_part_decode(&kv, &got, &pc, NULL), 0);
	pc.epoch++;
	pc.nmembers = 0;
	for (; *nodes >= 0; nodes++) {
		struct vms_node *n = R.node[*nodes].n;
		struct vms_member *m = &pc.member[pc.nmembers++];

		m->node = (uint32_t)*nodes + 1;
		if (n)
			m->incarnation = n->incarnation;
	}
	pc.primary = pc.member[0].node;
	if (number < 64)
		R.lead[number] = (uint8_t)pc.primary;
	rig_put(&R, key, vms_cat_part_encode(&pc));
	for (unsigned g = 0; g < RIG_GWS; g++)
		R.gw[g].epoch[number] = pc.epoch;
}

static inline unsigned v_keys(const char *prefix)
{
	unsigned k = 0;

	for (size_t i = 0; i < R.kv.n; i++)
		k += !strncmp(R.kv.d[i].key, prefix, strlen(prefix));
	return k;
}

/* Waits until cond is true. */
#define V_WAIT(ms, cond)                                                                           \
	({                                                                                         \
		uint64_t end_ = R.now_us + (ms)*1000ull;                                           \
		while (!(cond) && R.now_us < end_)                                                 \
			rig_run(&R, 50);                                                           \
		(cond);                                                                            \
	})

static inline void v_up(unsigned nnodes, unsigned copies, unsigned bits, uint64_t seed)
{
	if (R.nnodes) { /* a test before ended in the middle */
		uint32_t mutant = R.mutant;

		memset(&R, 0, sizeof(R));
		R.mutant = mutant;
	}
	v_turn = 0;
	memset(V, 0, sizeof(V));
	v_bad = 0;
	v_next_branch = 7;
	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	rig_open(&R, nnodes, copies, bits, seed);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 600);
}

/* Does the test fail with this defect switched on? In a process of its own. */
static inline bool v_catches(unsigned mutant, void (*test)(void))
{
	char text[16];
	int st = 0;
	pid_t pid;

	fflush(stdout);
	fflush(stderr);
	pid = fork();
	if (pid == 0) {
		unsigned before = CU_get_number_of_failures();

		if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout))
			_exit(0);
		R.mutant = mutant;
		snprintf(text, sizeof(text), "%u", mutant);
		setenv("VMS_NODE_MUTANT", text, 1); /* the test may close the rig and go on */
		test();
		_exit(CU_get_number_of_failures() > before ? 1 : 0);
	}
	vms_assert(pid > 0 && waitpid(pid, &st, 0) == pid);
	return !WIFEXITED(st) || WEXITSTATUS(st) == 1;
}

static inline void v_down(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		if (R.node[i].fatal)
			v_fail("node %u: %s", i + 1, R.node[i].why);
	CU_ASSERT_EQUAL(v_bad, 0);
	rig_close(&R);
}

static inline unsigned v_pick(unsigned n)
{
	return (unsigned)vms_rng_below(&R.rng, n);
}

/* Everything at random, with crashes; then nothing is left. Some chunks have one of few
 * contents. */
static inline void v_random(uint64_t seed, unsigned dup_percent)
{
	v_up(3, 2, 2, seed);
	for (unsigned i = 0; i < 3; i++)
		v_create(i);
	for (unsigned op = 0; op < 260 && v_bad < 5; op++) {
		struct v_vol *v = &V[v_pick(V_VOLS)];
		unsigned s = v_pick(6), what = v_pick(100);

		if (!v->used) {
			struct v_vol *from = &V[v_pick(V_VOLS)];

			if (what < 30 && from->used && from->snap[s].used && from->nanc < 6)
				v_clone((unsigned)(v - V), from, s);
			else if (what < 33)
				v_create((unsigned)(v - V));
			continue;
		}
		if (what < 55)
			v_write(v, v_pick(V_EXTS), v_pick(V_CHS),
				v_pick(100) < dup_percent ? 1 + v_pick(30) : v_next_id++);
		else if (what < 60)
			v_zero(v, v_pick(V_EXTS), v_pick(V_CHS / 2), 1 + v_pick(V_CHS / 2));
		else if (what < 72 && !v->snap[s].used)
			v_snap(v, s);
		else if (what < 84 && v->snap[s].used)
			v_snap_rm(v, s);
		else if (what < 87 && v->snap[s].used && v->nanc < 6)
			v_rollback(v, s);
		else if (what < 89) {
			for (unsigned k = 0; k < V_SNAPS; k++)
				if (v->snap[k].used)
					v_snap_rm(v, k);
			v_rm(v);
		} else if (what < 91) {
			v_drain();
		} else if (what < 93) {
			unsigned nd = v_pick(3);

			rig_run(&R, v_pick(30));
			rig_node_crash(&R, nd, op & 1);
			rig_run(&R, v_pick(300));
			rig_node_start(&R, nd);
			CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		} else {
			rig_run(&R, v_pick(1500));
		}
		if (op % 40 == 39)
			v_check_all("random");
	}
	v_check_all("at the end");
	for (unsigned i = 0; i < V_VOLS; i++) {
		if (!V[i].used)
			continue;
		for (unsigned k = 0; k < V_SNAPS; k++)
			if (V[i].snap[k].used)
				v_snap_rm(&V[i], k);
		v_rm(&V[i]);
	}
	if (!V_WAIT(120000, v_keys("branch/") == 0 && v_ctr_bytes() == 0)) {
		v_fail("left: %u branches, %u pages, %llu bytes", v_keys("branch/"), v_pages(0),
		       (unsigned long long)v_ctr_bytes());
		v_print_ctrs();
	}
	CU_ASSERT_EQUAL(v_keys("reaped/"), 0);
	v_down();
}

#endif
