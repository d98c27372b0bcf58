// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replays disk images through a model of drain-time dedup and says how much of what
 * an exact index of 4 KiB chunks finds the sparse index would find, by its parameters.
 *
 *   dedup_replay [--NAME=VALUE]... IMAGE...          see usage() for the names
 *
 * What is modelled: extents of 4 MiB hashed to partitions, each image a lineage of its
 * own; writes in order, cut into generations; per generation and partition the chunks
 * in order, looked up in windows; one open container per partition, sealed by size;
 * hooks by the low bits of the fingerprint; a bounded LRU cache of fingerprint lists
 * per node; what a generation wrote is seen from the next one on. Not modelled:
 * messages, time, overwriting, collection.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define NONE UINT32_MAX
#define NEW  (UINT32_MAX - 1) /* met, not stored yet */

struct conf {
	uint64_t gen_mib, cache_kib, window, parts, nodes, ctr_min, ctr_max, hook_bits;
	uint64_t open_seen, neighbours, quarter, first_pass, seal_gen;
};

struct ctr {
	uint32_t part, n, cap, seen; /* seen: chunks that others may refer to */
	uint64_t *fp;
	bool sealed;
};

struct part {
	uint32_t open, last; /* containers; last: the newest sealed one */
	uint64_t chunks;
};

/* fp -> container or generation, open addressing, no deletion. Of a cached list that
 * was dropped the entries stay and count for nothing. */
struct tab {
	uint64_t *fp;
	uint32_t *val;
	uint64_t size, used;
};

struct list { /* a cached list: in LRU order */
	uint32_t n;
	uint32_t prev, next;
	bool in;
};

struct node {
	struct tab t;
	struct list *l; /* by container; index 0 is the head of the ring */
	uint64_t bytes, fetches, fetched_bytes;
};

struct item {
	uint64_t fp;
	uint32_t image, chunk, extent;
	uint32_t part;
};

static struct conf conf = {.gen_mib = 256,
			   .cache_kib = 8192,
			   .window = 128,
			   .parts = 1024,
			   .nodes = 3,
			   .ctr_min = 256,
			   .ctr_max = 16384,
			   .hook_bits = 5,
			   .quarter = 1};
static struct ctr *ctrs;
static uint32_t n_ctr = 1, cap_ctr;
static struct part *parts;
static struct node *nodes;
static struct tab exact, hooks; /* exact: the generation that stored it first */
static uint64_t stored, lookups, hook_hits, generation, missed_same, missed_older;

static void tab_init(struct tab *t, uint64_t size)
{
	t->size = size;
	t->used = 0;
	t->fp = calloc(size, sizeof(*t->fp));
	t->val = malloc(size * sizeof(*t->val));
	vms_assert(t->fp && t->val);
	memset(t->val, 0xff, size * sizeof(*t->val));
}

static uint64_t tab_find(const struct tab *t, uint64_t fp)
{
	uint64_t i = vms_mix64(fp) & (t->size - 1);

	while (t->val[i] != NONE && t->fp[i] != fp)
		i = (i + 1) & (t->size - 1);
	return i;
}

static void tab_put(struct tab *t, uint64_t fp, uint32_t val)
{
	uint64_t i;

	if (t->used * 2 > t->size) {
		struct tab old = *t;

		tab_init(t, old.size * 2);
		for (i = 0; i < old.size; i++)
			if (old.val[i] != NONE) {
				uint64_t j = tab_find(t, old.fp[i]);

				t->fp[j] = old.fp[i];
				t->val[j] = old.val[i];
				t->used++;
			}
		free(old.fp);
		free(old.val);
	}
	i = tab_find(t, fp);
	t->used += t->val[i] == NONE;
	t->fp[i] = fp;
	t->val[i] = val;
}

static bool is_hook(uint64_t fp)
{
	return !(fp & ((1ull << conf.hook_bits) - 1));
}

/* ---- containers ---- */

static uint32_t ctr_new(uint32_t part)
{
	if (n_ctr >= cap_ctr) {
		uint32_t cap = cap_ctr ? cap_ctr * 2 : 4096;

		ctrs = realloc(ctrs, cap * sizeof(*ctrs));
		vms_assert(ctrs);
		memset(ctrs + cap_ctr, 0, (cap - cap_ctr) * sizeof(*ctrs));
		for (uint64_t i = 0; i < conf.nodes; i++) {
			nodes[i].l = realloc(nodes[i].l, cap * sizeof(*nodes[i].l));
			vms_assert(nodes[i].l);
			memset(nodes[i].l + cap_ctr, 0, (cap - cap_ctr) * sizeof(*nodes[i].l));
		}
		cap_ctr = cap;
	}
	ctrs[n_ctr].part = part;
	return n_ctr++;
}

static uint32_t seal_at(const struct part *p)
{
	uint64_t c = conf.quarter ? p->chunks / 4 : conf.ctr_max;

	c = c < conf.ctr_min ? conf.ctr_min : c;
	return (uint32_t)(c > conf.ctr_max ? conf.ctr_max : c);
}

static void store(struct part *p, uint32_t number, uint64_t fp)
{
	uint32_t seen_at;
	struct ctr *c;

	if (!p->open || ctrs[p->open].n >= seal_at(p)) {
		if (p->open) {
			ctrs[p->open].sealed = true;
			p->last = p->open;
		}
		p->open = ctr_new(number);
	}
	c = &ctrs[p->open];
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 64;
		c->fp = realloc(c->fp, c->cap * sizeof(*c->fp));
		vms_assert(c->fp);
	}
	c->fp[c->n++] = fp;
	seen_at = exact.val[tab_find(&exact, fp)];
	if (seen_at == NEW)
		tab_put(&exact, fp, (uint32_t)generation);
	else if (seen_at == generation)
		missed_same++;
	else
		missed_older++;
	p->chunks++;
	stored++;
}

/* The checkpoint behind a generation. */
static void publish(void)
{
	for (uint32_t i = 1; i < n_ctr; i++) {
		struct ctr *c = &ctrs[i];

		if (conf.seal_gen && !c->sealed && c->n >= conf.seal_gen) {
			c->sealed = true;
			parts[c->part].open = 0;
		}
		if (!c->sealed && !conf.open_seen)
			continue;
		for (; c->seen < c->n; c->seen++)
			if (is_hook(c->fp[c->seen]) &&
			    hooks.val[tab_find(&hooks, c->fp[c->seen])] == NONE)
				tab_put(&hooks, c->fp[c->seen], i);
	}
}

/* ---- cached lists ---- */

static void list_out(struct node *n, uint32_t c)
{
	struct list *l = &n->l[c];

	n->l[l->prev].next = l->next;
	n->l[l->next].prev = l->prev;
	l->in = false;
}

static void list_use(struct node *n, uint32_t c)
{
	struct list *l = &n->l[c];

	if (l->in)
		list_out(n, c);
	if (!l->in && l->n < ctrs[c].seen) {
		n->fetches++;
		n->fetched_bytes += 8ull * ctrs[c].seen;
		n->bytes += 8ull * (ctrs[c].seen - l->n);
		for (uint32_t i = l->n; i < ctrs[c].seen; i++)
			tab_put(&n->t, ctrs[c].fp[i], c);
		l->n = ctrs[c].seen;
	}
	l->in = true;
	l->next = n->l[0].next;
	l->prev = 0;
	n->l[l->next].prev = c;
	n->l[0].next = c;
	while (n->bytes > conf.cache_kib << 10 && n->l[0].prev != c) {
		uint32_t last = n->l[0].prev;

		list_out(n, last);
		n->bytes -= 8ull * n->l[last].n;
		n->l[last].n = 0;
	}
}

static bool cached(struct node *n, const struct item *it)
{
	uint32_t c = n->t.val[tab_find(&n->t, it->fp)];

	return c != NONE && n->l[c].n;
}

/* ---- draining ---- */

static int item_cmp(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	if (x->image != y->image)
		return x->image < y->image ? -1 : 1;
	return x->chunk < y->chunk ? -1 : x->chunk > y->chunk;
}

static void look_up(struct node *n, const struct item *it, size_t count)
{
	lookups++;
	for (size_t i = 0; i < count; i++) {
		uint32_t c;

		if (!is_hook(it[i].fp))
			continue;
		c = hooks.val[tab_find(&hooks, it[i].fp)];
		if (c == NONE)
			continue;
		hook_hits++;
		for (uint64_t k = conf.neighbours; k > 0; k--) {
			/* of the same partition, before and behind it */
			uint32_t a = c, b = c;

			for (uint64_t x = 0; x < k; x++) {
				while (a > 1 && ctrs[--a].part != ctrs[c].part)
					;
				while (b + 1 < n_ctr && ctrs[++b].part != ctrs[c].part)
					;
			}
			if (ctrs[a].part == ctrs[c].part && ctrs[a].seen)
				list_use(n, a);
			if (ctrs[b].part == ctrs[c].part && ctrs[b].seen)
				list_use(n, b);
		}
		list_use(n, c);
	}
}

static bool in_open(const struct part *p, uint64_t fp)
{
	const struct ctr *c = &ctrs[p->open];

	for (uint32_t i = 0; p->open && i < c->n; i++)
		if (c->fp[i] == fp)
			return true;
	return false;
}

static void drain_one(struct item *it, size_t count)
{
	size_t at = 0;

	while (at < count) {
		size_t end = at, w;
		struct part *p = &parts[it[at].part];
		struct node *n = &nodes[it[at].part % conf.nodes];

		while (end < count && it[end].part == it[at].part)
			end++;
		/* window: 0 the whole job */
		w = conf.window ? conf.window : end - at;
		for (size_t i = at; i < end; i += w) {
			size_t k = i + w < end ? w : end - i;

			look_up(n, it + i, k);
			for (size_t j = i; j < i + k; j++)
				if (!cached(n, &it[j]) && !in_open(p, it[j].fp))
					store(p, it[j].part, it[j].fp);
		}
		at = end;
	}
}

static void drain(struct item *it, size_t count)
{
	qsort(it, count, sizeof(*it), item_cmp);
	if (conf.first_pass)
		/* every hook of the generation is asked before the first chunk is decided
		 */
		for (size_t i = 0; i < count; i++)
			look_up(&nodes[it[i].part % conf.nodes], it + i, 1);
	drain_one(it, count);
	publish();
	generation++;
}

/* ---- images ---- */

static uint64_t fingerprint(EVP_MD_CTX *ctx, const uint8_t *b)
{
	uint8_t md[EVP_MAX_MD_SIZE];
	uint64_t v;

	vms_assert(EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
		   EVP_DigestUpdate(ctx, b, VMS_CHUNK_BYTES) == 1 &&
		   EVP_DigestFinal_ex(ctx, md, NULL) == 1);
	memcpy(&v, md, sizeof(v));
	return v;
}

static unsigned log2_of(uint64_t v)
{
	unsigned b = 0;

	while (1ull << b < v)
		b++;
	return b;
}

static void usage(void)
{
	puts("dedup_replay [OPTION]... IMAGE...\n"
	     "  --gen=MIB         bytes written cluster-wide per generation (256)\n"
	     "  --cache=KIB       lists cached per node, 8 bytes an entry (8192)\n"
	     "  --window=CHUNKS   looked up together before they are decided (128; 0: "
	     "the job)\n"
	     "  --parts=N --nodes=N                                 (1024, 3)\n"
	     "  --ctr-min=CHUNKS --ctr-max=CHUNKS                   (256, 16384)\n"
	     "  --quarter=0|1     containers of a quarter of the partition, within these "
	     "(1)\n"
	     "  --open-seen=0|1   checkpointed chunks of open containers can be referred "
	     "to (0)\n"
	     "  --seal-gen=CHUNKS open containers of so many chunks are sealed per "
	     "generation (0: no)\n"
	     "  --neighbours=N    fetch so many containers on each side as well (0)\n"
	     "  --first-pass=0|1  ask all hooks of a generation first (0)\n"
	     "  --hook-bits=N     (5)");
}

static const char *const names[] = {"gen",     "cache",	     "window",	  "parts",     "nodes",
				    "ctr-min", "ctr-max",    "hook-bits", "open-seen", "neighbours",
				    "quarter", "first-pass", "seal-gen"};
static uint64_t *const vars[] = {&conf.gen_mib,	  &conf.cache_kib,  &conf.window,  &conf.parts,
				 &conf.nodes,	  &conf.ctr_min,    &conf.ctr_max, &conf.hook_bits,
				 &conf.open_seen, &conf.neighbours, &conf.quarter, &conf.first_pass,
				 &conf.seal_gen};

static int option(const char *s)
{
	const char *eq = strchr(s, '=');

	for (size_t i = 0; eq && i < sizeof(vars) / sizeof(vars[0]); i++)
		if (strlen(names[i]) == (size_t)(eq - s) &&
		    !strncmp(s, names[i], (size_t)(eq - s))) {
			*vars[i] = strtoull(eq + 1, NULL, 10);
			return 0;
		}
	return -1;
}

int main(int argc, char **argv)
{
	static uint8_t buf[1 << 20];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct item *it;
	size_t n_it = 0, cap_it;
	uint64_t total = 0, found_before = 0, dup_before = 0, fetches = 0, fetched = 0, lists = 0;
	unsigned bits;
	int first = 1;

	for (; first < argc && !strncmp(argv[first], "--", 2); first++)
		if (option(argv[first] + 2)) {
			usage();
			return strcmp(argv[first], "--help") ? 2 : 0;
		}
	if (first == argc || !conf.nodes || !conf.parts) {
		usage();
		return 2;
	}
	cap_it = conf.gen_mib << 8;
	it = malloc(cap_it * sizeof(*it));
	nodes = calloc(conf.nodes, sizeof(*nodes));
	parts = calloc(conf.parts, sizeof(*parts));
	vms_assert(ctx && it && nodes && parts);
	for (uint64_t i = 0; i < conf.nodes; i++)
		tab_init(&nodes[i].t, 1 << 16);
	tab_init(&exact, 1 << 20);
	tab_init(&hooks, 1 << 12);
	bits = log2_of(conf.parts);
	n_ctr = 0;
	ctr_new(NONE);
	for (int a = first; a < argc; a++) {
		int fd = open(argv[a], O_RDONLY);
		uint32_t chunk = 0;
		ssize_t got;

		if (fd < 0) {
			fprintf(stderr, "dedup_replay: %s: %s\n", argv[a], strerror(errno));
			return 1;
		}
		while ((got = read(fd, buf, sizeof(buf))) > 0) {
			for (ssize_t o = 0; o + VMS_CHUNK_BYTES <= got;
			     o += VMS_CHUNK_BYTES, chunk++) {
				uint32_t ext = chunk / VMS_EXTENT_CHUNKS;

				if (vms_is_zero(buf + o, VMS_CHUNK_BYTES))
					continue;
				it[n_it] = (struct item){
					fingerprint(ctx, buf + o), (uint32_t)a, chunk, ext,
					vms_extent_partition((uint64_t)a, ext, bits)};
				total++;
				if (exact.val[tab_find(&exact, it[n_it].fp)] == NONE)
					tab_put(&exact, it[n_it].fp, NEW);
				if (++n_it == cap_it) {
					drain(it, n_it);
					n_it = 0;
				}
			}
		}
		close(fd);
		/* the rest too, so that each image's own figure can be told */
		drain(it, n_it);
		n_it = 0;
		printf("%-32s chunks %8" PRIu64 " unique %8" PRIu64 " stored %8" PRIu64
		       "  of its duplicates found %6.2f %% (missed: %" PRIu64
		       " of its generation, %" PRIu64 " older)\n",
		       argv[a], total, exact.used, stored,
		       total - exact.used == dup_before
			       ? 100.0
			       : 100.0 * (double)(total - stored - found_before) /
					 (double)(total - exact.used - dup_before),
		       missed_same, missed_older);
		missed_same = missed_older = 0;
		found_before = total - stored;
		dup_before = total - exact.used;
	}
	for (uint64_t i = 0; i < conf.nodes; i++) {
		fetches += nodes[i].fetches;
		fetched += nodes[i].fetched_bytes;
	}
	for (uint32_t i = 1; i < n_ctr; i++)
		lists += ctrs[i].sealed;
	printf("all: found %.2f %% of %" PRIu64
	       " duplicates; ratio %.2f (exact %.2f); hooks %" PRIu64
	       " = %.3f bytes per unique chunk at load 0.65; %u containers, %" PRIu64
	       " sealed; %" PRIu64 " look-ups, %" PRIu64 " lists fetched, %" PRIu64 " KiB\n",
	       100.0 * (double)(total - stored) / (double)(total - exact.used), total - exact.used,
	       (double)total / (double)stored, (double)total / (double)exact.used, hooks.used,
	       8.0 * (double)hooks.used / 0.65 / (double)exact.used, n_ctr - 1, lists, lookups,
	       fetches, fetched >> 10);
	EVP_MD_CTX_free(ctx);
	return 0;
}
