// SPDX-License-Identifier: GPL-2.0-only
/*
 * Space per volume and snapshot, for `vmstore du`: what each point shows, and which
 * chunks only it, or only its volume, shows. A point is a (branch, snap_gen) that
 * someone reads; the tool names branches and points, so all nodes count alike.
 *
 * Each partition that this node leads is walked in three passes, a bounded number of
 * pages at a time, at the collector's pace:
 *
 * 1. KEYS: the key of each page, and how many chunks it maps;
 * 2. VIEW: sub-extent by sub-extent over all branches of a lineage: which points see
 *    which version, through ancestors where they have none of their own;
 * 3. ADDR: each address of each page into a table: seen by one point, or by more.
 *
 * What is exact: mapped chunks, but for the one page that a limit cuts, and for what
 * changes while it is counted. Unique chunks are counted per partition: a reference
 * from another partition to a chunk of this one is not seen here, and an address of
 * another partition never counts as unique. Above TABLE_MAX addresses only those whose
 * hash ends in zeros are counted. What is not drained yet is told apart.
 *
 * One count at a time; one that nobody asks for is dropped. Owner: the node thread.
 */
#include "backend/du.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "backend/node.h"
#include "backend/node_cat.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "include/err.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define PAGES_PER_STEP	128u
#define VISITS_PER_STEP 4096u /* branches looked at in pass 2 */
#define TABLE_MAX	(512u << 10)
#define MANY		UINT32_MAX
#define UNPOLLED_MS	30000u
#define BRANCHES_MAX	(1u << 20)
#define POINTS_MAX	(1u << 20)

enum du_phase { DU_NEXT, DU_KEYS, DU_VIEW, DU_ADDR, DU_DONE };

struct dlink {
	uint64_t branch, snap_gen, limit;
	uint32_t index; /* of that branch; MANY: it was not named */
};

struct dbranch {
	uint64_t branch, lineage;
	uint32_t nlinks, point, npoints; /* pts.d[point ..] are on it */
	struct dlink link[VMS_ANCESTORS_MAX];
	uint64_t undrained; /* chunks */
	/* in the partition at hand: its run of keys is [at, end), [lo, at) are its versions
	 * of the sub-extent that pass 2 is at */
	size_t lo, at, end;
};

struct dpoint {
	uint64_t branch, gen;
	uint32_t volume, given; /* its place in the request */
	int64_t mapped;		/* while counting: difference to the point before */
	uint64_t unique;
};

/* A page, and who sees it. */
struct dkey {
	uint64_t gen;
	uint32_t branch, subext;
	uint32_t point, volume;
	uint8_t count;		 /* chunks it maps */
	uint8_t points, volumes; /* 0, 1, 2: more */
};

struct daddr {
	vms_addr addr; /* 0: free */
	uint32_t point, volume;
};

struct du {
	uint64_t job, polled_ms, step_ms;
	enum du_phase phase;
	uint32_t led, walked, missing;
	VMS_VEC(struct dbranch) br; /* by branch */
	uint32_t *kin;		    /* indices of br, by lineage, branch */
	VMS_VEC(struct dpoint) pts; /* by branch, gen */
	uint64_t *vol_unique;
	uint32_t nvols;
	uint64_t distinct, foreign, unseen_pages;
	bool sampled;
	/* the partition at hand */
	unsigned part_bits;
	uint32_t part;
	uint64_t epoch;
	struct vms_page_key resume;
	bool more;
	unsigned pages;
	VMS_VEC(struct dkey) keys; /* in key order */
	size_t at;		   /* pass 1: branch; pass 2: place in kin; pass 3: key */
	unsigned shift;
	struct daddr *table;
	size_t room;
	uint32_t mask;
};

static void du_free(struct vms_node *n)
{
	struct du *d = n->du;

	if (!d)
		return;
	VMS_VEC_FREE(&d->br);
	VMS_VEC_FREE(&d->pts);
	VMS_VEC_FREE(&d->keys);
	free(d->kin);
	free(d->vol_unique);
	free(d->table);
	free(d);
	n->du = NULL;
}

void du_close(struct vms_node *n)
{
	du_free(n);
}

/* ---- what is to be counted ---- */

static bool num(json_t *a, size_t i, uint64_t *out)
{
	json_t *v = json_array_get(a, i);

	*out = (uint64_t)json_integer_value(v);
	return json_is_integer(v) && json_integer_value(v) >= 0;
}

static int by_branch(const void *a, const void *b)
{
	const struct dbranch *x = a, *y = b;

	return x->branch < y->branch ? -1 : x->branch > y->branch;
}

static int by_point(const void *a, const void *b)
{
	const struct dpoint *x = a, *y = b;

	if (x->branch != y->branch)
		return x->branch < y->branch ? -1 : 1;
	return x->gen < y->gen ? -1 : x->gen > y->gen;
}

static bool read_branch(struct du *d, json_t *j)
{
	struct dbranch *b = VMS_VEC_ADD(&d->br);
	json_t *links = json_array_get(j, 2), *l;
	size_t i;

	if (!num(j, 0, &b->branch) || !num(j, 1, &b->lineage) ||
	    json_array_size(links) > VMS_ANCESTORS_MAX)
		return false;
	json_array_foreach (links, i, l) {
		struct dlink *k = &b->link[b->nlinks++];

		if (!num(l, 0, &k->branch) || !num(l, 1, &k->snap_gen) || !num(l, 2, &k->limit))
			return false;
	}
	return true;
}

static bool read_point(struct du *d, json_t *j)
{
	struct dpoint *p = VMS_VEC_ADD(&d->pts);
	uint64_t volume;

	p->given = (uint32_t)d->pts.n - 1;
	if (!num(j, 0, &p->branch) || !num(j, 1, &p->gen) || !num(j, 2, &volume) ||
	    volume >= d->nvols)
		return false;
	p->volume = (uint32_t)volume;
	if (!p->gen)
		p->gen = VMS_GEN_LIVE;
	return true;
}

static uint32_t branch_index(const struct du *d, uint64_t branch)
{
	size_t lo = 0, hi = d->br.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (d->br.d[mid].branch < branch)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < d->br.n && d->br.d[lo].branch == branch ? (uint32_t)lo : MANY;
}

/* First point of the branch with at least this number. */
static uint32_t point_from(const struct du *d, const struct dbranch *b, uint64_t gen)
{
	uint32_t lo = b->point, hi = b->point + b->npoints;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (d->pts.d[mid].gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int by_kin(const void *a, const void *b, void *arg)
{
	const struct du *d = arg;
	const struct dbranch *x = &d->br.d[*(const uint32_t *)a];
	const struct dbranch *y = &d->br.d[*(const uint32_t *)b];

	if (x->lineage != y->lineage)
		return x->lineage < y->lineage ? -1 : 1;
	return by_branch(x, y);
}

static void link_up(struct du *d)
{
	uint32_t at = 0;

	if (d->br.n)
		qsort(d->br.d, d->br.n, sizeof(*d->br.d), by_branch);
	if (d->pts.n)
		qsort(d->pts.d, d->pts.n, sizeof(*d->pts.d), by_point);
	d->kin = calloc(d->br.n + 1, sizeof(*d->kin));
	vms_assert(d->kin);
	VMS_VEC_FOREACH (&d->br, b) {
		d->kin[b - d->br.d] = (uint32_t)(b - d->br.d);
		for (uint32_t i = 0; i < b->nlinks; i++)
			b->link[i].index = branch_index(d, b->link[i].branch);
		while (at < d->pts.n && d->pts.d[at].branch < b->branch)
			at++;
		b->point = at;
		while (at < d->pts.n && d->pts.d[at].branch == b->branch)
			at++;
		b->npoints = at - b->point;
	}
	qsort_r(d->kin, d->br.n, sizeof(*d->kin), by_kin, d);
}

static int start(struct vms_node *n, json_t *req, json_t **answer, struct vms_errmsg *msg)
{
	json_t *br = json_object_get(req, "branches"), *pts = json_object_get(req, "points"), *j;
	uint64_t nvols = (uint64_t)json_integer_value(json_object_get(req, "volumes"));
	struct du *d;
	size_t i;
	bool ok;

	if (n->du && n->du->phase != DU_DONE && n->now_ms - n->du->polled_ms < UNPOLLED_MS)
		return vms_fail(msg, VMS_E_BUSY, "another count is under way");
	du_free(n);
	if (!json_is_array(br) || json_array_size(br) > BRANCHES_MAX || !json_is_array(pts) ||
	    json_array_size(pts) > POINTS_MAX || nvols > POINTS_MAX)
		return vms_fail(msg, VMS_E_INVAL, "du: branches, points or volumes is wrong");
	d = n->du = calloc(1, sizeof(*d));
	vms_assert(d);
	d->part_bits = n->conf.part_bits;
	d->nvols = (uint32_t)nvols;
	d->vol_unique = calloc(nvols + 1, sizeof(*d->vol_unique));
	vms_assert(d->vol_unique);
	ok = true;
	json_array_foreach (br, i, j)
		ok &= read_branch(d, j);
	json_array_foreach (pts, i, j)
		ok &= read_point(d, j);
	if (!ok) {
		du_free(n);
		return vms_fail(msg, VMS_E_INVAL, "du: a branch or a point is wrong");
	}
	link_up(d);
	for (uint32_t p = 0; p < n->nparts; p++)
		d->led += n->part[p] && n->part[p]->known && n->part[p]->primary;
	d->job = (++n->du_jobs + (n->incarnation << 20)) & INT64_MAX;
	d->polled_ms = d->step_ms = n->now_ms;
	*answer = json_pack("{s:I}", "job", (json_int_t)d->job);
	node_wake_at(n, n->now_ms);
	return 0;
}

/* ---- the passes ---- */

static void pass_begin(struct du *d, enum du_phase phase)
{
	d->phase = phase;
	d->resume = (struct vms_page_key){.partition = d->part};
	d->at = 0;
}

/* Some pages more. True: it was the last of them. */
static bool pass_pages(struct vms_node *n, struct du *d,
		       int (*fn)(void *arg, const struct vms_page *pg))
{
	d->pages = 0;
	d->more = false;
	if (vms_pages_each(n->pages, d->part, &d->resume, fn, d) < 0) {
		d->missing++; /* a damaged page: fsck tells */
		d->part++;
		d->phase = DU_NEXT;
		return false;
	}
	n->st.pages_scanned += d->pages;
	return !d->more;
}

static bool enough(struct du *d, const struct vms_page *pg)
{
	if (d->pages++ < PAGES_PER_STEP)
		return false;
	d->resume = pg->key;
	d->more = true;
	return true;
}

static int key_add(void *arg, const struct vms_page *pg)
{
	struct dkey k = {.gen = pg->key.snap_gen, .subext = pg->key.subext};
	struct du *d = arg;

	if (enough(d, pg))
		return 1;
	while (d->at < d->br.n && d->br.d[d->at].branch < pg->key.branch)
		d->at++;
	if (d->at == d->br.n || d->br.d[d->at].branch != pg->key.branch)
		return 0; /* of a branch that nobody named */
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		k.count += pg->entry[i] > VMS_ADDR_LOST;
	k.branch = (uint32_t)d->at;
	VMS_VEC_PUSH(&d->keys, k);
	return 0;
}

/* Points [lo, hi) see the page, those chunks of it that lie below `cut`. */
static void see(struct du *d, struct dkey *k, const struct dbranch *b, uint32_t lo, uint32_t hi,
		uint64_t cut)
{
	int64_t count = k->count;

	if (lo == hi)
		return;
	if (cut < VMS_SUBEXT_CHUNKS)
		count = count * (int64_t)cut / VMS_SUBEXT_CHUNKS;
	d->pts.d[lo].mapped += count;
	if (hi < b->point + b->npoints)
		d->pts.d[hi].mapped -= count;
	if (!k->points && hi - lo == 1)
		k->point = lo;
	k->points = k->points || hi - lo > 1 ? 2 : 1;
	if (!k->volumes) {
		k->volume = d->pts.d[lo].volume;
		k->volumes = 1;
	} else if (k->volume != d->pts.d[lo].volume) {
		k->volumes = 2;
	}
}

/* Who of the points on branch b sees what of the sub-extent. */
static void view_branch(struct du *d, struct dbranch *b, uint32_t subext)
{
	uint64_t first = (uint64_t)subext * VMS_SUBEXT_CHUNKS, limit = UINT64_MAX;
	uint32_t end = b->point + b->npoints, lo = end;

	if (!b->npoints)
		return;
	for (size_t v = b->at; v-- > b->lo;) {
		uint32_t hi = lo;

		lo = point_from(d, b, d->keys.d[v].gen);
		see(d, &d->keys.d[v], b, lo, hi, VMS_SUBEXT_CHUNKS);
	}
	/* those older than its first version look through it */
	for (uint32_t i = 0; i < b->nlinks && lo > b->point; i++) {
		const struct dlink *l = &b->link[i];
		const struct dbranch *o;

		if (l->limit < limit)
			limit = l->limit;
		if (limit <= first)
			return;
		if (l->index == MANY)
			continue;
		o = &d->br.d[l->index];
		for (size_t v = o->at; v-- > o->lo;)
			if (d->keys.d[v].gen <= l->snap_gen) {
				see(d, &d->keys.d[v], b, b->point, lo, limit - first);
				return;
			}
	}
}

/* One sub-extent of the lineage whose branches are kin[from .. to). False: none left. */
static bool view_subext(struct du *d, size_t from, size_t to)
{
	uint32_t subext = UINT32_MAX;
	bool any = false;

	for (size_t i = from; i < to; i++) {
		const struct dbranch *b = &d->br.d[d->kin[i]];

		if (b->at == b->end)
			continue;
		any = true;
		if (d->keys.d[b->at].subext < subext)
			subext = d->keys.d[b->at].subext;
	}
	if (!any)
		return false;
	for (size_t i = from; i < to; i++) {
		struct dbranch *b = &d->br.d[d->kin[i]];

		b->lo = b->at;
		while (b->at < b->end && d->keys.d[b->at].subext == subext)
			b->at++;
	}
	for (size_t i = from; i < to; i++)
		view_branch(d, &d->br.d[d->kin[i]], subext);
	return true;
}

/* A bounded part of pass 2. True: done. */
static bool view_some(struct du *d)
{
	size_t visits = 0;

	while (d->at < d->br.n && visits < VISITS_PER_STEP) {
		uint64_t lineage = d->br.d[d->kin[d->at]].lineage;
		size_t to = d->at;

		while (to < d->br.n && d->br.d[d->kin[to]].lineage == lineage)
			to++;
		visits += to - d->at;
		if (!view_subext(d, d->at, to))
			d->at = to;
	}
	d->pages = (unsigned)(visits / 64);
	return d->at == d->br.n;
}

static void count_addr(struct du *d, const struct dkey *k, vms_addr a)
{
	uint64_t h = vms_mix64(a);
	struct daddr *e;

	if (h & ((1ull << d->shift) - 1))
		return;
	e = &d->table[(h >> d->shift) & d->mask];
	while (e->addr && e->addr != a)
		e = e == d->table + d->mask ? d->table : e + 1;
	if (!e->addr) {
		*e = (struct daddr){a, k->points == 1 ? k->point : MANY,
				    k->volumes == 1 ? k->volume : MANY};
		d->distinct += 1ull << d->shift;
		if (e->point != MANY)
			d->pts.d[e->point].unique += 1ull << d->shift;
		if (e->volume != MANY)
			d->vol_unique[e->volume] += 1ull << d->shift;
		return;
	}
	if (e->point != MANY && (k->points != 1 || k->point != e->point)) {
		d->pts.d[e->point].unique -= 1ull << d->shift;
		e->point = MANY;
	}
	if (e->volume != MANY && (k->volumes != 1 || k->volume != e->volume)) {
		d->vol_unique[e->volume] -= 1ull << d->shift;
		e->volume = MANY;
	}
}

static int addrs_add(void *arg, const struct vms_page *pg)
{
	struct du *d = arg;
	struct dkey *k;

	if (enough(d, pg))
		return 1;
	/* pages that came or went since pass 1 are not counted */
	for (; d->at < d->keys.n; d->at++) {
		const struct dbranch *b;

		k = &d->keys.d[d->at];
		b = &d->br.d[k->branch];
		if (b->branch != pg->key.branch	  ? b->branch > pg->key.branch
		    : k->subext != pg->key.subext ? k->subext > pg->key.subext
						  : k->gen >= pg->key.snap_gen)
			break;
	}
	if (d->at == d->keys.n)
		return 2;
	k = &d->keys.d[d->at];
	if (d->br.d[k->branch].branch != pg->key.branch || k->subext != pg->key.subext ||
	    k->gen != pg->key.snap_gen)
		return 0;
	if (!k->points) {
		d->unseen_pages++;
		return 0;
	}
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		vms_addr a = pg->entry[i];

		if (a <= VMS_ADDR_LOST)
			continue;
		if (vms_addr_partition(a, d->part_bits) == d->part)
			count_addr(d, k, a);
		else
			d->foreign++;
	}
	return 0;
}

/* ---- partition by partition ---- */

/* Pass 1 is over: each branch's run of keys. */
static void runs_make(struct du *d)
{
	uint64_t chunks = 0;
	size_t at = 0;

	VMS_VEC_FOREACH (&d->br, b) {
		b->lo = b->at = at;
		while (at < d->keys.n && d->keys.d[at].branch == (uint32_t)(b - d->br.d))
			chunks += d->keys.d[at++].count;
		b->end = at;
	}
	for (d->shift = 0; chunks >> d->shift > TABLE_MAX; d->shift++)
		d->sampled = true;
	for (d->mask = 15; d->mask < 2 * (chunks >> d->shift); d->mask = 2 * d->mask + 1)
		;
	if (d->mask >= d->room) {
		free(d->table);
		d->room = d->mask + 1;
		d->table = malloc(d->room * sizeof(*d->table));
		vms_assert(d->table);
	}
	memset(d->table, 0, (d->mask + 1ull) * sizeof(*d->table));
}

static void undrained_add(struct du *d, struct part *p)
{
	for (struct vms_ovl_ext *e = p->ovl.exts; e; e = e->next) {
		uint32_t i = branch_index(d, e->branch);

		if (i != MANY)
			d->br.d[i].undrained += e->nchunks;
	}
}

static void part_begin(struct vms_node *n, struct du *d)
{
	struct part *p = NULL;

	for (; d->part < n->nparts; d->part++) {
		p = node_part(n, d->part);
		if (p && p->known && p->primary)
			break;
	}
	if (d->part >= n->nparts) {
		d->phase = DU_DONE;
		return;
	}
	d->walked++;
	if (!part_serving(p)) {
		d->missing++;
		d->part++;
		return;
	}
	d->epoch = p->conf.epoch;
	VMS_VEC_CLEAR(&d->keys);
	undrained_add(d, p);
	pass_begin(d, DU_KEYS);
}

static void du_step(struct vms_node *n, struct du *d)
{
	struct part *p = d->phase == DU_NEXT ? NULL : node_part(n, d->part);

	if (d->phase != DU_NEXT && (!p || !p->primary || p->conf.epoch != d->epoch)) {
		/* what was counted of it stays in: the result says that it is not whole */
		d->missing++;
		d->part++;
		d->phase = DU_NEXT;
	}
	switch (d->phase) {
	case DU_NEXT:
		part_begin(n, d);
		return;
	case DU_KEYS:
		if (!pass_pages(n, d, key_add))
			return;
		runs_make(d);
		pass_begin(d, DU_VIEW);
		return;
	case DU_VIEW:
		if (view_some(d))
			pass_begin(d, DU_ADDR);
		return;
	case DU_ADDR:
		if (!pass_pages(n, d, addrs_add))
			return;
		d->part++;
		d->phase = DU_NEXT;
		return;
	default:
		return;
	}
}

void du_timer(struct vms_node *n)
{
	struct du *d = n->du;

	if (!d)
		return;
	if (n->now_ms - d->polled_ms > UNPOLLED_MS) {
		du_free(n);
		return;
	}
	if (d->phase == DU_DONE || n->stopping) {
		node_wake_at(n, d->polled_ms + UNPOLLED_MS + 1);
		return;
	}
	if (n->now_ms >= d->step_ms) {
		unsigned work = 0;

		/* small partitions share a step */
		while (d->phase != DU_DONE && work < PAGES_PER_STEP) {
			d->pages = 0;
			du_step(n, d);
			work += d->pages + 4;
		}
		d->step_ms = n->now_ms + gc_pace_ms(n);
	}
	node_wake_at(n, d->step_ms);
}

/* ---- the answer ---- */

static json_t *result(struct vms_node *n, struct du *d)
{
	json_t *pts = json_array(), *vols = json_array(), *log = json_array();
	uint64_t *mapped = calloc(d->pts.n + 1, sizeof(*mapped));
	uint32_t *place = calloc(d->pts.n + 1, sizeof(*place));
	uint64_t chunks = 0, live = 0;

	vms_assert(mapped && place);
	VMS_VEC_FOREACH (&d->br, b) {
		int64_t sum = 0;

		for (uint32_t i = b->point; i < b->point + b->npoints; i++) {
			sum += d->pts.d[i].mapped;
			mapped[i] = (uint64_t)(sum > 0 ? sum : 0);
		}
		json_array_append_new(
			log, json_pack("[II]", (json_int_t)b->branch, (json_int_t)b->undrained));
	}
	for (uint32_t i = 0; i < d->pts.n; i++)
		place[d->pts.d[i].given] = i;
	for (uint32_t i = 0; i < d->pts.n; i++)
		json_array_append_new(pts, json_pack("[II]", (json_int_t)mapped[place[i]],
						     (json_int_t)d->pts.d[place[i]].unique));
	for (uint32_t i = 0; i < d->nvols; i++)
		json_array_append_new(vols, json_integer((json_int_t)d->vol_unique[i]));
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i] && n->part[i]->primary)
			VMS_VEC_FOREACH (&n->part[i]->ctrs, c) {
				chunks += c->chunks;
				live += c->live;
			}
	free(mapped);
	free(place);
	return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:b}", "points", pts, "volumes",
			 vols, "undrained", log, "distinct_chunks", (json_int_t)d->distinct,
			 "foreign_references", (json_int_t)d->foreign, "unseen_pages",
			 (json_int_t)d->unseen_pages, "container_chunks", (json_int_t)chunks,
			 "live_chunks", (json_int_t)live, "sampled", d->sampled);
}

int vms_node_du(struct vms_node *n, struct json_t *req, struct json_t **answer,
		struct vms_errmsg *msg)
{
	json_t *job = json_object_get(req, "job");
	struct du *d = n->du;

	if (n->phase != SP_RUN)
		return vms_fail(msg, VMS_E_AGAIN, "the node is starting");
	if (!job)
		return start(n, req, answer, msg);
	if (!d || d->job != (uint64_t)json_integer_value(job))
		return vms_fail(msg, VMS_E_NOENT, "this count was given up");
	d->polled_ms = n->now_ms;
	*answer = d->phase == DU_DONE ? result(n, d) : json_object();
	json_object_set_new(*answer, "done", json_boolean(d->phase == DU_DONE));
	json_object_set_new(*answer, "partitions", json_integer((json_int_t)d->led));
	json_object_set_new(*answer, "walked", json_integer((json_int_t)d->walked));
	json_object_set_new(*answer, "missing", json_integer((json_int_t)d->missing));
	return 0;
}
