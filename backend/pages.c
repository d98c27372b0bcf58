// SPDX-License-Identifier: GPL-2.0-only
/*
 * Index pages: the stored ones with two in-memory deltas on top.
 *
 * A delta is a hash table of sub-extents, each with its page versions in
 * ascending snap_gen order. A version is a whole page or a tombstone; in its
 * layer it hides what lies below it (active over frozen over store). So a
 * lookup that finds the asked snap_gen in a delta never touches the store, and
 * any other one costs a single seek unless it runs into a trimmed page.
 *
 * Owner: the node thread. Keeps invariants 1, 27: a change and the drain_seq
 * that tells replay about it lie in one value, so they are stored together.
 */
#include "backend/pages.h"

#include <stdlib.h>

#include <uthash.h>

#include "backend/page_patch.h"
#include "include/err.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define PAGE_VERSION 1

void vms_page_key_encode(uint8_t *out, const struct vms_page_key *k)
{
	out[0] = 'I';
	vms_put_be16(out + 1, (uint16_t)k->partition);
	vms_put_be64(out + 3, k->branch);
	vms_put_be32(out + 11, k->subext);
	vms_put_be64(out + 15, k->snap_gen);
}

int vms_page_key_decode(const uint8_t *p, uint32_t bytes, struct vms_page_key *k)
{
	if (bytes != VMS_PAGE_KEY_BYTES || p[0] != 'I')
		return VMS_E_CORRUPT;
	k->partition = vms_get_be16(p + 1);
	k->branch = vms_get_be64(p + 3);
	k->subext = vms_get_be32(p + 11);
	k->snap_gen = vms_get_be64(p + 15);
	return 0;
}

void vms_page_val_encode(uint8_t *out, const struct vms_page *p)
{
	memset(out, 0, 8);
	out[0] = PAGE_VERSION;
	vms_put_le64(out + 8, p->drain_seq);
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		vms_put_le64(out + 16 + 8 * i, p->entry[i]);
}

int vms_page_val_decode(const uint8_t *v, uint32_t bytes, struct vms_page *p)
{
	if (bytes != VMS_PAGE_VAL_BYTES || v[0] != PAGE_VERSION)
		return VMS_E_CORRUPT;
	p->drain_seq = vms_get_le64(v + 8);
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		p->entry[i] = vms_get_le64(v + 16 + 8 * i);
	return 0;
}

/* ---- deltas ---- */

struct version {
	struct version *next; /* greater snap_gen */
	bool dead;	      /* tombstone: the page is gone */
	struct vms_page page;
};

struct subext_key { /* hashed as bytes: no padding */
	uint64_t branch;
	uint32_t partition;
	uint32_t subext;
};

struct subext {
	struct subext_key key;
	struct version *first;
	struct subext *next; /* of the partition */
	UT_hash_handle hh;
};

/* The sub-extents of one partition: walks look at no others. */
struct plist {
	uint32_t partition;
	struct subext *first;
	UT_hash_handle hh;
};

struct delta {
	struct subext *table;
	struct plist *parts;
	size_t npages;
};

struct vms_pages {
	const struct vms_disk *disk; /* borrowed */
	struct delta active, frozen;
	uint64_t lookups;
	void (*copied)(void *arg, const struct vms_page_key *made, const struct vms_page_key *from);
	void *copied_arg;
	void (*bad)(void *arg, const struct vms_page_key *key);
	void *bad_arg;
};

static struct subext *delta_find(const struct delta *d, const struct vms_page_key *k)
{
	struct subext_key key = {k->branch, k->partition, k->subext};
	struct subext *s;

	if (!d->table)
		return NULL;
	HASH_FIND(hh, d->table, &key, sizeof(key), s);
	return s;
}

/* Greatest version with snap_gen <= gen, or NULL. */
static struct version *subext_le(const struct subext *s, uint64_t gen)
{
	struct version *found = NULL;

	if (s)
		for (struct version *v = s->first; v && v->page.key.snap_gen <= gen; v = v->next)
			found = v;
	return found;
}

static struct version *delta_le(const struct delta *d, const struct vms_page_key *k)
{
	return subext_le(delta_find(d, k), k->snap_gen);
}

static struct version *delta_exact(const struct delta *d, const struct vms_page_key *k)
{
	struct version *v = delta_le(d, k);

	return v && v->page.key.snap_gen == k->snap_gen ? v : NULL;
}

static struct plist *plist_find(const struct delta *d, uint32_t partition)
{
	struct plist *pl = NULL;

	if (d->parts)
		HASH_FIND(hh, d->parts, &partition, sizeof(partition), pl);
	return pl;
}

static void plist_add(struct delta *d, struct subext *s)
{
	struct plist *pl = plist_find(d, s->key.partition);

	if (!pl) {
		pl = calloc(1, sizeof(*pl));
		vms_assert(pl);
		pl->partition = s->key.partition;
		HASH_ADD(hh, d->parts, partition, sizeof(pl->partition), pl);
	}
	s->next = pl->first;
	pl->first = s;
}

/* Make a version at exactly k (must not exist); content undefined. Out of memory
 * ends the process: the log has the change, and the index must not miss it. */
static struct version *delta_add(struct delta *d, const struct vms_page_key *k)
{
	struct subext *s = delta_find(d, k);
	struct version *v = malloc(sizeof(*v)), *prev;

	vms_assert(v);
	if (!s) {
		s = calloc(1, sizeof(*s));
		vms_assert(s);
		s->key = (struct subext_key){k->branch, k->partition, k->subext};
		HASH_ADD(hh, d->table, key, sizeof(s->key), s);
		plist_add(d, s);
	}
	prev = subext_le(s, k->snap_gen);
	vms_assert(!prev || prev->page.key.snap_gen != k->snap_gen);
	v->dead = false;
	v->page.key = *k;
	v->next = prev ? prev->next : s->first;
	if (prev)
		prev->next = v;
	else
		s->first = v;
	d->npages++;
	return v;
}

static void delta_free(struct delta *d)
{
	struct plist *pl, *ptmp;
	struct subext *s, *tmp;

	HASH_ITER (hh, d->parts, pl, ptmp) {
		HASH_DELETE(hh, d->parts, pl);
		free(pl);
	}

	HASH_ITER (hh, d->table, s, tmp) {
		for (struct version *v = s->first, *next; v; v = next) {
			next = v->next;
			free(v);
		}
		HASH_DELETE(hh, d->table, s);
		free(s);
	}
	*d = (struct delta){0};
}

struct vms_pages *vms_pages_new(const struct vms_disk *disk)
{
	struct vms_pages *ps = calloc(1, sizeof(*ps));

	vms_assert(ps);
	ps->disk = disk;
	return ps;
}

void vms_pages_free(struct vms_pages *ps)
{
	if (!ps)
		return;
	delta_free(&ps->active);
	delta_free(&ps->frozen);
	free(ps);
}

void vms_pages_on_copy(struct vms_pages *ps,
		       void (*fn)(void *arg, const struct vms_page_key *made,
				  const struct vms_page_key *from),
		       void *arg)
{
	ps->copied = fn;
	ps->copied_arg = arg;
}

void vms_pages_on_bad(struct vms_pages *ps, void (*fn)(void *arg, const struct vms_page_key *key),
		      void *arg)
{
	ps->bad = fn;
	ps->bad_arg = arg;
}

/* ---- lookup ---- */

static bool same_subext(const struct vms_page_key *a, const struct vms_page_key *b)
{
	return a->partition == b->partition && a->branch == b->branch && a->subext == b->subext;
}

/* A stored value and the patch over it. A commit that runs may have changed one of them
 * already: then the frozen delta hides both. */
static int store_decode(struct vms_pages *ps, const uint8_t *key, uint32_t key_bytes,
			const uint8_t *val, uint32_t val_bytes, struct vms_page *out)
{
	int n = vms_meta_check(key, key_bytes, val, val_bytes);

	if (n < 0 || vms_page_key_decode(key, key_bytes, &out->key) ||
	    vms_page_val_decode(val, (uint32_t)n, out))
		return VMS_E_CORRUPT;
	return vms_patch_read(ps->disk, out);
}

/* Greatest stored version <= k: 0, VMS_E_NOENT or an error. */
static int store_le(struct vms_pages *ps, const struct vms_page_key *k, struct vms_page *out)
{
	uint8_t key[VMS_PAGE_KEY_BYTES], found[VMS_META_KEY_BYTES_MAX];
	uint8_t val[VMS_PAGE_VAL_BYTES + 4];
	uint32_t found_bytes = sizeof(found);
	struct vms_page_key fk;
	int n;

	ps->lookups++;
	vms_page_key_encode(key, k);
	n = ps->disk->ops->meta_last_le(ps->disk->ctx, key, sizeof(key), found, &found_bytes, val,
					sizeof(val));
	if (n < 0)
		return n;
	if (vms_page_key_decode(found, found_bytes, &fk) || !same_subext(&fk, k))
		return VMS_E_NOENT;
	out->key = fk; /* also of a damaged one */
	if (n > (int)sizeof(val))
		return VMS_E_CORRUPT;
	return store_decode(ps, found, found_bytes, val, (uint32_t)n, out);
}

int vms_pages_lookup(struct vms_pages *ps, const struct vms_page_key *key, struct vms_page *out)
{
	struct vms_page_key k = *key;

	for (;;) {
		struct version *v = delta_le(&ps->active, &k), *f;
		int err = VMS_E_NOENT;

		if (!v || v->page.key.snap_gen != k.snap_gen) {
			f = delta_le(&ps->frozen, &k);
			if (f && (!v || f->page.key.snap_gen > v->page.key.snap_gen))
				v = f;
		}
		if (!v || v->page.key.snap_gen != k.snap_gen) {
			err = store_le(ps, &k, out);
			if (err == VMS_E_CORRUPT && v && v->page.key.snap_gen >= out->key.snap_gen)
				err = VMS_E_NOENT; /* hidden, and replaced soon */
			if (err == VMS_E_CORRUPT && ps->bad)
				ps->bad(ps->bad_arg, &out->key);
			if (err && err != VMS_E_NOENT)
				return err;
		}
		if (!err && (!v || out->key.snap_gen > v->page.key.snap_gen))
			return 0;
		if (!v)
			return VMS_E_NOENT;
		if (!v->dead) {
			*out = v->page;
			return 0;
		}
		/* trimmed: what remains are older versions */
		if (v->page.key.snap_gen == 0)
			return VMS_E_NOENT;
		k.snap_gen = v->page.key.snap_gen - 1;
	}
}

int vms_pages_lookup_stack(struct vms_pages *ps, uint32_t partition, uint32_t subext,
			   const struct vms_stack *st, struct vms_page *out)
{
	uint64_t first = (uint64_t)subext * VMS_SUBEXT_CHUNKS;

	for (unsigned i = 0; i < st->n && first < st->l[i].limit_chunks; i++) {
		struct vms_page_key k = {partition, st->l[i].branch, subext, st->l[i].snap_gen};
		int err = vms_pages_lookup(ps, &k, out);

		if (err == VMS_E_NOENT)
			continue;
		for (unsigned e = 0; !err && e < VMS_SUBEXT_CHUNKS; e++)
			if (first + e >= st->l[i].limit_chunks) {
				out->entry[e] = VMS_ADDR_HOLE;
				out->stored = false; /* not so */
			}
		return err;
	}
	return VMS_E_NOENT;
}

uint8_t vms_pages_own(struct vms_pages *ps, uint32_t partition, uint64_t branch, uint32_t extent)
{
	uint32_t first = extent * VMS_EXTENT_SUBEXTS;
	struct vms_page_key k = {partition, branch, first, UINT64_MAX};
	uint8_t own = 0;

	for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++, k.subext++)
		if (delta_le(&ps->active, &k) || delta_le(&ps->frozen, &k))
			own |= (uint8_t)(1u << s);
	k.subext = first + VMS_EXTENT_SUBEXTS - 1;
	for (;;) {
		uint8_t key[VMS_PAGE_KEY_BYTES], found[VMS_META_KEY_BYTES_MAX], val[4];
		uint32_t found_bytes = sizeof(found);
		struct vms_page_key fk;
		int n;

		ps->lookups++;
		vms_page_key_encode(key, &k);
		n = ps->disk->ops->meta_last_le(ps->disk->ctx, key, sizeof(key), found,
						&found_bytes, val, sizeof(val));
		if (n < 0)
			return n == VMS_E_NOENT ? own : 0xff;
		if (vms_page_key_decode(found, found_bytes, &fk) || fk.partition != partition ||
		    fk.branch != branch || fk.subext < first)
			return own;
		own |= (uint8_t)(1u << (fk.subext - first));
		if (fk.subext == first)
			return own;
		k.subext = fk.subext - 1;
	}
}

/* ---- changes ---- */

/* Move a page into the active delta for changing. exact tells whether the page
 * existed; otherwise *base (found by lookup, may be NULL: holes) is copied. */
static struct version *active_take(struct vms_pages *ps, const struct vms_page_key *key,
				   const struct vms_page *base)
{
	struct version *v = delta_exact(&ps->active, key);

	if (!v)
		v = delta_add(&ps->active, key);
	if (v->dead || &v->page != base) {
		v->dead = false;
		if (base)
			v->page = *base;
		else
			memset(&v->page, 0, sizeof(v->page));
		v->page.stored &= same_subext(&v->page.key, key) &&
				  v->page.key.snap_gen == key->snap_gen;
		v->page.key = *key;
	}
	return v;
}

int vms_pages_apply(struct vms_pages *ps, const struct vms_page_key *key,
		    const struct vms_stack *below, uint64_t drain_seq, const uint16_t *index,
		    const vms_addr *to, unsigned n, const vms_addr *if_equal, bool *changed,
		    vms_addr *old)
{
	struct version *v = delta_exact(&ps->active, key);
	const struct vms_page *page = NULL;
	struct vms_page found;
	bool exact, any = !if_equal;
	int err;

	if (v && !v->dead) {
		page = &v->page;
	} else {
		err = below ? vms_pages_lookup_stack(ps, key->partition, key->subext, below, &found)
			    : vms_pages_lookup(ps, key, &found);
		if (err && err != VMS_E_NOENT)
			return err;
		if (!err)
			page = &found;
	}
	exact = page && page->key.branch == key->branch && page->key.snap_gen == key->snap_gen;
	if (exact && page->drain_seq >= drain_seq)
		return 1;
	/* a compare needs the page itself: an older version's entries are not ours */
	for (unsigned i = 0; i < n; i++) {
		bool hit = !if_equal || (exact && page->entry[index[i]] == if_equal[i]);

		vms_assert(index[i] < VMS_SUBEXT_CHUNKS);
		if (changed)
			changed[i] = hit;
		if (old)
			old[i] = exact ? page->entry[index[i]] : VMS_ADDR_HOLE;
		any |= hit;
	}
	if (!any)
		return 0;
	if (page && !exact && ps->copied)
		ps->copied(ps->copied_arg, key, &page->key);
	v = active_take(ps, key, page);
	for (unsigned i = 0; i < n; i++)
		if (!if_equal || v->page.entry[index[i]] == if_equal[i]) {
			v->page.entry[index[i]] = to[i];
			v->page.patched[index[i] / 64] |= 1ull << index[i] % 64;
		}
	v->page.drain_seq = drain_seq;
	return 0;
}

/* ---- ranges ---- */

typedef VMS_VEC(const struct version *) version_vec;

static int version_cmp(const void *a, const void *b)
{
	const struct vms_page_key *x = &(*(const struct version *const *)a)->page.key;
	const struct vms_page_key *y = &(*(const struct version *const *)b)->page.key;

#define CMP(f)                                                                                     \
	if (x->f != y->f)                                                                          \
	return x->f < y->f ? -1 : 1
	CMP(partition);
	CMP(branch);
	CMP(subext);
	CMP(snap_gen);
#undef CMP
	return 0;
}

static bool key_le(const struct vms_page_key *a, const struct vms_page_key *b)
{
	struct version va = {.page.key = *a}, vb = {.page.key = *b};
	const struct version *pa = &va, *pb = &vb;

	return version_cmp(&pa, &pb) <= 0;
}

/* Versions of a delta with from <= key <= to, those hidden by `over` left out. */
static void delta_collect(const struct delta *d, const struct delta *over,
			  const struct vms_page_key *from, const struct vms_page_key *to,
			  version_vec *out)
{
	const struct plist *pl = plist_find(d, from->partition);

	for (const struct subext *s = pl ? pl->first : NULL; s; s = s->next) {
		for (const struct version *v = s->first; v; v = v->next)
			if (key_le(from, &v->page.key) && key_le(&v->page.key, to) &&
			    !(over && delta_exact(over, &v->page.key)))
				VMS_VEC_PUSH(out, v);
	}
}

struct merge {
	struct vms_pages *ps;
	version_vec delta; /* sorted; tombstones included */
	size_t at;
	int (*fn)(void *arg, const struct vms_page *p);
	void *arg;
};

static int merge_store(void *arg, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		       uint32_t val_bytes)
{
	struct merge *m = arg;
	struct vms_page page;
	int ret;

	if (vms_page_key_decode(key, key_bytes, &page.key))
		return VMS_E_CORRUPT;
	while (m->at < m->delta.n && key_le(&m->delta.d[m->at]->page.key, &page.key)) {
		const struct version *v = m->delta.d[m->at++];
		bool same = key_le(&page.key, &v->page.key);

		ret = v->dead ? 0 : m->fn(m->arg, &v->page);
		if (ret || same)
			return ret;
	}
	if (store_decode(m->ps, key, key_bytes, val, val_bytes, &page)) {
		if (m->ps->bad)
			m->ps->bad(m->ps->bad_arg, &page.key);
		return VMS_E_CORRUPT;
	}
	return m->fn(m->arg, &page);
}

/* All pages with from <= key <= to in order; both of one partition. */
static int merge_range(struct vms_pages *ps, const struct vms_page_key *from,
		       const struct vms_page_key *to,
		       int (*fn)(void *arg, const struct vms_page *p), void *arg)
{
	struct merge m = {.ps = ps, .fn = fn, .arg = arg};
	uint8_t first[VMS_PAGE_KEY_BYTES], end[VMS_PAGE_KEY_BYTES + 1];
	int ret;

	delta_collect(&ps->active, NULL, from, to, &m.delta);
	delta_collect(&ps->frozen, &ps->active, from, to, &m.delta);
	if (m.delta.n)
		qsort(m.delta.d, m.delta.n, sizeof(*m.delta.d), version_cmp);
	vms_page_key_encode(first, from);
	vms_page_key_encode(end, to);
	end[VMS_PAGE_KEY_BYTES] = 0; /* the least key behind `to` */
	ret = ps->disk->ops->meta_range(ps->disk->ctx, first, sizeof(first), end, sizeof(end),
					merge_store, &m);
	while (!ret && m.at < m.delta.n) {
		const struct version *v = m.delta.d[m.at++];

		ret = v->dead ? 0 : fn(arg, &v->page);
	}
	VMS_VEC_FREE(&m.delta);
	return ret;
}

int vms_pages_each(struct vms_pages *ps, uint32_t partition, const struct vms_page_key *resume,
		   int (*fn)(void *arg, const struct vms_page *p), void *arg)
{
	struct vms_page_key from = {.partition = partition};
	struct vms_page_key to = {partition, UINT64_MAX, UINT32_MAX, UINT64_MAX};

	return merge_range(ps, resume ? resume : &from, &to, fn, arg);
}

typedef VMS_VEC(struct vms_page_key) key_vec;

static int trim_collect(void *arg, const struct vms_page *p)
{
	key_vec *keys = arg;

	VMS_VEC_PUSH(keys, p->key);
	return 0;
}

int vms_pages_trim(struct vms_pages *ps, uint32_t partition, uint64_t branch, uint64_t first_chunk,
		   uint64_t drain_seq, void (*dropped)(void *arg, vms_addr a), void *arg)
{
	uint64_t first_subext = first_chunk / VMS_SUBEXT_CHUNKS;
	struct vms_page_key from = {partition, branch, (uint32_t)first_subext, 0};
	struct vms_page_key to = {partition, branch, UINT32_MAX, UINT64_MAX};
	key_vec keys = VMS_VEC_INIT;
	int err;

	if (first_subext > UINT32_MAX)
		return 0;
	err = merge_range(ps, &from, &to, trim_collect, &keys);
	for (size_t k = 0; !err && k < keys.n; k++) {
		const struct vms_page_key *key = &keys.d[k];
		unsigned cut = 0;
		struct vms_page page;
		struct version *v;

		err = vms_pages_lookup(ps, key, &page);
		vms_assert(err || page.key.snap_gen == key->snap_gen);
		if (err || page.drain_seq >= drain_seq)
			continue;
		if (key->subext == first_subext)
			cut = first_chunk % VMS_SUBEXT_CHUNKS;
		v = active_take(ps, key, &page);
		v->page.stored = false;
		for (unsigned i = cut; i < VMS_SUBEXT_CHUNKS; i++) {
			if (v->page.entry[i] > VMS_ADDR_LOST && dropped)
				dropped(arg, v->page.entry[i]);
			v->page.entry[i] = VMS_ADDR_HOLE;
		}
		v->page.drain_seq = drain_seq;
		/* A page wholly behind the cut goes, and so do all its older
		 * versions. One cut in the middle stays, even if it is empty now:
		 * without it an older version's front would show through. */
		v->dead = cut == 0;
	}
	VMS_VEC_FREE(&keys);
	return err;
}

int vms_pages_drop(struct vms_pages *ps, const struct vms_page_key *key, uint64_t drain_seq,
		   void (*dropped)(void *arg, vms_addr a), void *arg)
{
	struct version *v;
	struct vms_page page;
	int err = vms_pages_lookup(ps, key, &page);

	if (err == VMS_E_NOENT || (!err && page.key.snap_gen != key->snap_gen))
		return 1;
	if (err)
		return err;
	if (page.drain_seq >= drain_seq)
		return 1; /* made again since */
	v = active_take(ps, key, &page);
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		if (page.entry[i] > VMS_ADDR_LOST && dropped)
			dropped(arg, page.entry[i]);
	memset(v->page.entry, 0, sizeof(v->page.entry));
	v->page.drain_seq = drain_seq;
	v->dead = true;
	return 0;
}

void vms_pages_put(struct vms_pages *ps, const struct vms_page *p)
{
	struct version *v = delta_exact(&ps->active, &p->key);

	if (!v)
		v = delta_add(&ps->active, &p->key);
	v->dead = false;
	v->page = *p;
	v->page.stored = false;
}

void vms_pages_del(struct vms_pages *ps, const struct vms_page_key *key)
{
	struct version *v = delta_exact(&ps->active, key);

	if (!v)
		v = delta_add(&ps->active, key);
	memset(v->page.entry, 0, sizeof(v->page.entry));
	v->page.drain_seq = 0;
	v->dead = true;
}

/* ---- repair ---- */

bool vms_pages_stored_bad(struct vms_pages *ps, const struct vms_page_key *key)
{
	uint8_t k[VMS_PAGE_KEY_BYTES], val[VMS_PAGE_VAL_BYTES];
	struct version *v = delta_exact(&ps->active, key);
	struct vms_page page = {.key = *key};
	int n;

	if (v)
		v->page.stored = false; /* a patch over it would not do */
	if (v || delta_exact(&ps->frozen, key))
		return false;
	vms_page_key_encode(k, key);
	n = vms_meta_get(ps->disk, k, sizeof(k), val, sizeof(val));
	return n == VMS_E_CORRUPT || (n >= 0 && (vms_page_val_decode(val, (uint32_t)n, &page) ||
						 vms_patch_read(ps->disk, &page) == VMS_E_CORRUPT));
}

void vms_pages_install(struct vms_pages *ps, const struct vms_page *page)
{
	struct version *v;

	if (delta_exact(&ps->active, &page->key) || delta_exact(&ps->frozen, &page->key))
		return;
	v = delta_add(&ps->active, &page->key);
	v->page = *page;
	v->page.stored = false;
}

void vms_pages_forget(struct vms_pages *ps, const struct vms_page_key *key, uint64_t drain_seq)
{
	struct version *v;

	if (delta_exact(&ps->active, key) || delta_exact(&ps->frozen, key))
		return;
	v = delta_add(&ps->active, key);
	memset(v->page.entry, 0, sizeof(v->page.entry));
	v->page.drain_seq = drain_seq;
	v->dead = true;
}

/* ---- checkpoint ---- */

static int patch_del(const struct vms_page_key *k, struct vms_meta_batch *b)
{
	uint8_t key[VMS_PAGE_KEY_BYTES];

	vms_patch_key_encode(key, k);
	return vms_meta_batch_del(b, key, sizeof(key));
}

static int patch_put(const struct vms_page *p, struct vms_meta_batch *b)
{
	uint8_t key[VMS_PAGE_KEY_BYTES], val[VMS_PATCH_VAL_BYTES_MAX];

	vms_patch_key_encode(key, &p->key);
	return vms_meta_batch_put(b, key, sizeof(key), val, vms_patch_val_encode(val, p));
}

/* Afterwards the page says what the store has once the batch is committed: it may be
 * changed on before that. */
static int page_put(struct vms_page *p, struct vms_meta_batch *b)
{
	uint8_t key[VMS_PAGE_KEY_BYTES], val[VMS_PAGE_VAL_BYTES];
	int err;

	if (vms_patch_will_do(p))
		return patch_put(p, b);
	vms_page_key_encode(key, &p->key);
	vms_page_val_encode(val, p);
	p->stored = true;
	p->patched[0] = p->patched[1] = 0;
	err = vms_meta_batch_put(b, key, sizeof(key), val, sizeof(val));
	return err ? err : patch_del(&p->key, b);
}

int vms_pages_freeze(struct vms_pages *ps, struct vms_meta_batch *b)
{
	uint8_t key[VMS_PAGE_KEY_BYTES];
	int err = 0;

	vms_assert(!ps->frozen.table);
	ps->frozen = ps->active;
	ps->active = (struct delta){0};
	for (struct subext *s = ps->frozen.table; s && !err; s = s->hh.next)
		for (struct version *v = s->first; v && !err; v = v->next) {
			if (!v->dead) {
				err = page_put(&v->page, b);
				continue;
			}
			vms_page_key_encode(key, &v->page.key);
			err = vms_meta_batch_del(b, key, sizeof(key));
			if (!err)
				err = patch_del(&v->page.key, b);
		}
	return err;
}

void vms_pages_thaw(struct vms_pages *ps)
{
	delta_free(&ps->frozen);
}

size_t vms_pages_delta_count(const struct vms_pages *ps)
{
	return ps->active.npages + ps->frozen.npages;
}

uint64_t vms_pages_lookups(const struct vms_pages *ps)
{
	return ps->lookups;
}
