// SPDX-License-Identifier: GPL-2.0-only
/*
 * Containers for fsck: each against its index entry and the pages that name its
 * chunks; and the repair, which rebuilds entries, file headers and footers from what
 * the segments say.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/fsck_int.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"

#define LOST(c, f, ...)	     fsck_problem(c, VMS_FSCK_LOST, f, 0, __VA_ARGS__)
#define REPAIR(c, f, x, ...) fsck_problem(c, VMS_FSCK_REPAIR, f, x, __VA_ARGS__)

/* One large read instead of 65; a short one at the end of the file is no use. */
static void read_ahead(struct fsck *c, uint64_t ctr, uint32_t k)
{
	c->ahead_ctr = 0;
	if (c->io->read(c->io->ctx, ctr, vms_seg_offset(k), c->ahead, sizeof(c->ahead)))
		return;
	c->ahead_ctr = ctr;
	c->ahead_off = vms_seg_offset(k);
}

static int read_block(struct fsck *c, uint64_t ctr, uint64_t off)
{
	if (c->ahead_ctr == ctr && off >= c->ahead_off && off < c->ahead_off + sizeof(c->ahead)) {
		memcpy(c->block, c->ahead + (off - c->ahead_off), VMS_CHUNK_BYTES);
		return 0;
	}
	return c->io->read(c->io->ctx, ctr, off, c->block, VMS_CHUNK_BYTES);
}

static const char *read_error(int rc)
{
	return rc == VMS_E_NOENT ? "is not there" : "cannot be read";
}

static bool bit_of(const struct fctr *f, const uint64_t *bits, uint64_t off)
{
	uint64_t place = off / VMS_CHUNK_BYTES;

	return place / 64 < f->words && bits[place / 64] >> place % 64 & 1;
}

static bool is_ref(const struct fctr *f, uint64_t off)
{
	return bit_of(f, f->ref, off);
}

/* How many chunks of a segment pages name; pages of any, or of its own partition. */
static unsigned seg_refs(const struct fctr *f, const uint64_t *bits, uint32_t k)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VMS_SEG_ENTRIES_MAX; i++)
		n += bit_of(f, bits, vms_seg_chunk_offset(k, i));
	return n;
}

static bool own_refs(const struct fctr *f)
{
	bool any = false;

	for (uint32_t i = 0; i < f->words; i++)
		any |= f->own[i] != 0;
	return any;
}

static const struct fpart *part_of(const struct fsck *c, const struct fctr *f)
{
	return c->have_ident ? &c->part[vms_addr_partition(vms_addr_make(f->number, 0),
							   c->out->part_bits)]
			     : NULL;
}

/* Pages of other partitions are ahead of this copy: it was not opened here when the index
 * was written. Its log has what makes it, or other nodes have it, if this one has left that
 * set. */
static bool not_yet(const struct fsck *c, const struct fctr *f)
{
	const struct fpart *p = part_of(c, f);

	return p && p->here && !f->entry && f->number >= p->next_ctr && f->nrefs && !own_refs(f);
}

static uint64_t dead_places(const struct fctr *f, uint32_t k)
{
	return k < f->dead_segs ? f->dead[k] : 0;
}

static void used_set(struct fctr *f, uint32_t k, uint32_t n)
{
	if (k >= f->used_segs) {
		f->used = realloc(f->used, k + 1);
		vms_assert(f->used);
		memset(f->used + f->used_segs, 0, k + 1 - f->used_segs);
		f->used_segs = k + 1;
	}
	f->used[k] = (uint8_t)n;
}

static void check_header(struct fsck *c, struct fctr *f)
{
	struct vms_ctr_header h;
	const struct fpart *p = part_of(c, f);
	int rc = read_block(c, f->number, 0);

	if (p && p->half)
		return; /* the next attempt writes it */
	if (rc || vms_ctr_header_decode(c->block, &h)) {
		/* loses no chunk: segments name themselves */
		REPAIR(c, f, FIX_HEADER, "container %09" PRIx64 ": its file header %s", f->number,
		       rc ? read_error(rc) : "is damaged");
		return;
	}
	if (h.ctr != f->number) {
		REPAIR(c, f, FIX_HEADER,
		       "container %09" PRIx64 ": its file header is that of %09" PRIx64, f->number,
		       h.ctr);
		return;
	}
	if (!f->entry || f->entry_bad) {
		f->epoch = h.epoch;
		f->incarnation = h.incarnation;
	} else if (h.epoch != f->epoch || h.incarnation != f->incarnation) {
		REPAIR(c, f, FIX_HEADER,
		       "container %09" PRIx64
		       ": its file header tells another epoch or process than the index",
		       f->number);
	}
}

static void check_fp(struct fsck *c, struct fctr *f, const struct vms_seg_entry *e)
{
	uint8_t fp[VMS_FP_BYTES];

	for (unsigned i = 0; i < c->conf->nsalts; i++) {
		struct vms_fp *h = vms_fp_open(c->conf->salt[i], c->conf->salt_bytes[i]);

		vms_fp_chunk(h, c->block, VMS_CHUNK_BYTES, fp);
		vms_fp_close(h);
		if (!memcmp(fp, e->fp, sizeof(fp)))
			return;
	}
	fsck_problem(
		c, VMS_FSCK_HARMLESS, f, 0,
		"container %09" PRIx64
		": the fingerprint of the chunk at %u is that of other content, or of another salt",
		f->number, vms_addr_offset_bytes(e->addr));
}

static void check_chunk(struct fsck *c, struct fctr *f, uint32_t k, unsigned i)
{
	uint64_t off = vms_seg_chunk_offset(k, i);
	bool named = is_ref(f, off);
	int rc;

	if (dead_places(f, k) >> i & 1) {
		if (!named)
			return;
		c->out->lost_chunks++;
		LOST(c, f,
		     "container %09" PRIx64 ": a page names the place at %" PRIu64
		     ", which has been given back",
		     f->number, off);
		return;
	}
	if (i >= c->seg.n) {
		if (!named)
			return;
		c->out->lost_chunks++;
		LOST(c, f, "container %09" PRIx64 ": no segment entry names the place at %" PRIu64,
		     f->number, off);
		return;
	}
	if (!named && !c->conf->deep)
		return;
	rc = read_block(c, f->number, off);
	if (!rc && vms_crc32c(0, c->block, VMS_CHUNK_BYTES) == c->seg.e[i].crc) {
		c->out->chunks++;
		if (c->conf->deep && c->conf->nsalts && c->seg.e[i].has_fp)
			check_fp(c, f, &c->seg.e[i]);
		return;
	}
	c->out->lost_chunks += named;
	fsck_problem(c, named ? VMS_FSCK_LOST : VMS_FSCK_HARMLESS, f, 0,
		     "container %09" PRIx64 ": the chunk at %" PRIu64 " %s%s", f->number, off,
		     rc ? read_error(rc) : "fails its checksum", named ? "" : "; no page names it");
}

static void check_segments(struct fsck *c, struct fctr *f)
{
	bool counted = f->entry && !f->entry_bad; /* the index tells how many there are */
	uint32_t k, refs_to = f->words ? (f->words * 64 + 64) / 65 : 0;

	for (k = 0; k < VMS_CTR_SEGS_MAX; k++) {
		unsigned named = k < refs_to ? seg_refs(f, f->ref, k) : 0;
		int rc;

		if (counted ? k >= f->segs && !named : false)
			break;
		if (counted && k >= f->segs && f->state == 1 && !seg_refs(f, f->own, k)) {
			c->out->elsewhere += named; /* as in not_yet() */
			continue;
		}
		if (named || c->conf->deep)
			read_ahead(c, f->number, k);
		rc = read_block(c, f->number, vms_seg_offset(k));
		if (!rc)
			rc = vms_seg_decode(c->block, f->number, (uint32_t)vms_seg_offset(k),
					    &c->seg);
		if (rc && dead_places(f, k) && !named) {
			f->seen_segs = k + 1;
			f->segs_dead = true;
			continue;
		}
		if (rc) {
			if (!counted && !named && k >= refs_to && k >= f->dead_segs)
				break; /* its end */
			f->segs_damaged = true;
			c->out->lost_chunks += named;
			fsck_problem(c, named ? VMS_FSCK_LOST : VMS_FSCK_HARMLESS, f, 0,
				     "container %09" PRIx64 ": segment header at %" PRIu64
				     " %s; %u chunks that pages name are lost here",
				     f->number, vms_seg_offset(k),
				     rc == VMS_E_CORRUPT ? "is damaged" : read_error(rc), named);
			continue;
		}
		if (counted && k >= f->segs) {
			LOST(c, f,
			     "container %09" PRIx64
			     ": pages name %u chunks behind its end in the index",
			     f->number, named);
			c->out->lost_chunks += named;
			continue;
		}
		f->seen_segs = k + 1;
		f->seen_chunks += c->seg.n;
		used_set(f, k, c->seg.n);
		for (unsigned i = 0; i < VMS_SEG_ENTRIES_MAX; i++)
			check_chunk(c, f, k, i);
	}
	if (counted && !f->segs_damaged && !f->segs_dead && f->seen_chunks != f->chunks)
		REPAIR(c, f, FIX_ENTRY,
		       "container %09" PRIx64 ": %" PRIu64 " chunks, the index says %" PRIu64,
		       f->number, f->seen_chunks, f->chunks);
}

/* A sealed container ends with a footer. Without an entry: the footer says where. */
static void check_footer(struct fsck *c, struct fctr *f)
{
	bool counted = f->entry && !f->entry_bad;
	uint32_t segs = counted ? f->segs : f->seen_segs;
	uint64_t chunks = (f->segs_damaged || f->segs_dead) && counted ? f->chunks : f->seen_chunks;
	struct vms_ctr_footer foot;
	const char *what;
	int rc = read_block(c, f->number, vms_seg_offset(segs));

	if (!rc)
		rc = vms_ctr_footer_decode(c->block, &foot);
	if (!counted) {
		f->state = !rc && foot.ctr == f->number ? 2 : 1;
		return;
	}
	if (f->state != 2)
		return;
	if (rc)
		REPAIR(c, f, FIX_FOOTER, "container %09" PRIx64 ": its footer %s", f->number,
		       rc == VMS_E_CORRUPT ? "is damaged" : read_error(rc));
	else if (foot.ctr != f->number || foot.length_bytes != vms_seg_offset(segs) ||
		 foot.nchunks != chunks)
		REPAIR(c, f, FIX_FOOTER, "container %09" PRIx64 ": its footer does not fit it",
		       f->number);
	else if ((what = fsck_list_check(c, f, &foot, segs)))
		REPAIR(c, f, FIX_FOOTER, "container %09" PRIx64 ": %s", f->number, what);
}

void fsck_container(struct fsck *c, struct fctr *f)
{
	c->ahead_ctr = 0;
	if (not_yet(c, f)) {
		c->out->elsewhere += f->nrefs;
		c->out->leftover += f->file;
		return;
	}
	if (f->nrefs)
		c->out->containers++;
	if (f->entry && f->state == 3) {
		if (f->nrefs) {
			c->out->lost_chunks += f->nrefs;
			LOST(c, f, "container %09" PRIx64 " is marked dead but pages refer to it",
			     f->number);
		}
		return;
	}
	if (!f->file) {
		f->fix = f->fixes = 0; /* a damaged entry: nothing to build it from */
		if (f->nrefs) {
			c->out->lost_chunks += f->nrefs;
			LOST(c, f,
			     "container %09" PRIx64 " is not there; pages name its chunks %" PRIu64
			     " times, they are lost here",
			     f->number, f->nrefs);
		} else if (f->entry && f->in_log) {
			/* the log may fill it again: its entry has to stay */
			fsck_problem(c, VMS_FSCK_HARMLESS, f, 0,
				     "container %09" PRIx64 " is not there; no page refers to it",
				     f->number);
		} else if (f->entry || f->dead_values) {
			f->fixes = f->entry_bad;
			REPAIR(c, f, FIX_DROP_ENTRY,
			       "container %09" PRIx64 " is not there; nothing refers to it",
			       f->number);
		}
		return;
	}
	if (!f->entry) {
		if (!f->nrefs && f->dead_values) {
			/* the node refuses what it cannot place */
			REPAIR(c, f, FIX_DROP_ENTRY,
			       "container %09" PRIx64
			       ": the index has places that died, but not the container",
			       f->number);
			return;
		}
		if (!f->nrefs) {
			/* written since the checkpoint, or swept before the last stop */
			c->out->leftover++;
			return;
		}
		REPAIR(c, f, FIX_ENTRY,
		       "container %09" PRIx64 " is not in the index but pages refer to it",
		       f->number);
	}
	check_header(c, f);
	check_segments(c, f);
	check_footer(c, f);
}

/* ---- repair ---- */

static int fix_header(struct fsck *c, struct fctr *f)
{
	struct vms_ctr_header h = {
		.ctr = f->number,
		.partition = vms_addr_partition(vms_addr_make(f->number, 0), c->out->part_bits),
		.epoch = f->epoch,
		.incarnation = f->incarnation};

	memcpy(h.cluster_uuid, c->out->cluster_uuid, 16);
	vms_ctr_header_encode(c->block, &h);
	return c->io->write(c->io->ctx, f->number, 0, c->block, VMS_CHUNK_BYTES);
}

static int fix_footer(struct fsck *c, struct fctr *f)
{
	struct vms_ctr_footer foot = {.ctr = f->number,
				      .length_bytes = vms_seg_offset(f->segs),
				      .nchunks = (uint32_t)(f->segs_damaged || f->segs_dead
								    ? f->chunks
								    : f->seen_chunks)};

	return fsck_footer_write(c, f, &foot, f->segs);
}

/* From the segments. Shared when in doubt: then only a round of the whole cluster
 * takes anything away from it. Open when there is no footer: the node seals it. */
static int fix_entry(struct fctr *f, struct vms_meta_batch *b)
{
	bool counted = f->entry && !f->entry_bad;
	uint32_t segs = counted ? f->segs : f->seen_segs;
	uint8_t key[11] = {'C'}, v[40 + VMS_CTR_SEGS_MAX] = {0};
	int rc = 0;

	vms_put_be64(key + 1, f->number);
	if (f->fix & FIX_DROP_ENTRY) {
		rc = vms_meta_batch_del(b, key, 9);
		key[0] = 'D';
		for (uint16_t i = 0; !rc && i < 64; i++) {
			vms_put_be16(key + 9, i);
			if (f->dead_values >> i & 1)
				rc = vms_meta_batch_del(b, key, sizeof(key));
		}
		return rc;
	}
	v[0] = f->state;
	v[1] = counted ? f->shared : 1;
	vms_put_le32(v + 4, segs);
	vms_put_le64(v + 8, f->segs_dead && counted ? f->chunks : f->seen_chunks);
	vms_put_le64(v + 16, f->epoch);
	vms_put_le64(v + 24, f->incarnation);
	vms_put_le64(v + 32, f->nrefs < f->seen_chunks ? f->nrefs : f->seen_chunks);
	if (f->used)
		memcpy(v + 40, f->used, f->used_segs < segs ? f->used_segs : segs);
	return vms_meta_batch_put(b, key, 9, v, 40 + segs);
}

/* Files first, then one commit for all entries. */
int fsck_repair(struct fsck *c)
{
	struct vms_meta_batch b = {0};
	struct fctr *f, *ft;
	int rc = 0;

	HASH_ITER (hh, c->ctrs, f, ft) {
		if (!rc && f->fix & FIX_HEADER)
			rc = fix_header(c, f);
		if (!rc && f->fix & FIX_FOOTER)
			rc = fix_footer(c, f);
		if (!rc && f->fix & (FIX_ENTRY | FIX_DROP_ENTRY))
			rc = fix_entry(f, &b);
	}
	if (!rc && b.nops)
		rc = c->io->commit(c->io->ctx, &b);
	vms_meta_batch_free(&b);
	if (rc)
		return rc;
	HASH_ITER (hh, c->ctrs, f, ft)
		c->out->repaired += f->fixes;
	VMS_VEC_FOREACH (&c->out->problem, p)
		p->repaired = p->class == VMS_FSCK_REPAIR && fsck_ctr(c, p->ctr, true)->fix;
	return 0;
}
