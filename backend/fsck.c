// SPDX-License-Identifier: GPL-2.0-only
/*
 * See fsck.h. The order is that of trust: first what says whose disk this is, then
 * index and log each by itself, then containers against both. Memory: a bit per
 * chunk place of the containers that are here.
 */
#include "backend/fsck_int.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

struct fctr *fsck_ctr(struct fsck *c, uint64_t number, bool make)
{
	struct fctr *f;

	HASH_FIND(hh, c->ctrs, &number, sizeof(number), f);
	if (!f && make) {
		f = calloc(1, sizeof(*f));
		vms_assert(f);
		f->number = number;
		HASH_ADD(hh, c->ctrs, number, sizeof(number), f);
	}
	return f;
}

void fsck_problem(struct fsck *c, enum vms_fsck_class class, struct fctr *f, unsigned fix,
		  const char *fmt, ...)
{
	struct vms_fsck_problem *p;
	va_list ap;

	if (f && c->part && c->have_ident &&
	    c->part[vms_addr_partition(vms_addr_make(f->number, 0), c->out->part_bits)].half)
		return; /* of a copy that is being made, or deleted: nobody counts on it */
	c->out->errors++;
	c->out->lost += class == VMS_FSCK_LOST;
	if (f && fix) {
		f->fix |= fix;
		f->fixes++;
	}
	if (c->out->problem.n >= VMS_FSCK_TEXTS_MAX)
		return;
	p = VMS_VEC_ADD(&c->out->problem);
	p->class = class;
	p->ctr = f ? f->number : 0;
	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
}

#define LOST(c, ...) fsck_problem(c, VMS_FSCK_LOST, NULL, 0, __VA_ARGS__)

static void progress(struct fsck *c, const char *what, uint64_t done, uint64_t total)
{
	if (c->conf->progress)
		c->conf->progress(c->conf->arg, what, done, total);
}

/* ---- whose disk it is ---- */

/* Before the first checkpoint nothing says so: then the index is empty and only the
 * log is there. */
static void check_ident(struct fsck *c)
{
	uint8_t v[64];
	int rc = vms_meta_get(c->disk, "V", 1, v, sizeof(v));

	if (rc == VMS_E_NOENT)
		return;
	if (rc != 32 || !vms_index_known(vms_get_le32(v)) ||
	    vms_get_le32(v + 4) > VMS_PART_BITS_MAX) {
		LOST(c, "index: the entry that says what the index belongs to is %s",
		     rc == VMS_E_CORRUPT ? "damaged" : "of a version this release does not know");
		return;
	}
	c->have_ident = true;
	c->out->part_bits = vms_get_le32(v + 4);
	memcpy(c->out->cluster_uuid, v + 8, 16);
	c->out->node_id = vms_get_le64(v + 24);
	c->part = calloc(1u << c->out->part_bits, sizeof(*c->part));
	vms_assert(c->part);
}

/* ---- index ---- */

static void key_text(const uint8_t *key, uint32_t n, char *out, size_t room)
{
	size_t at = 0;

	out[0] = 0;
	if (n)
		at = (size_t)snprintf(out, room, key[0] >= 'A' && key[0] <= 'Z' ? "%c " : "0x%02x ",
				      key[0]);
	for (uint32_t i = 1; i < n && at + 3 < room; i++)
		at += (size_t)snprintf(out + at, room - at, "%02x", key[i]);
}

static int on_part(void *arg, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		   uint32_t val_bytes)
{
	struct fsck *c = arg;
	int n = vms_meta_check(key, key_bytes, val, val_bytes);
	struct fpart *p;

	if (n == VMS_E_CORRUPT || key_bytes != 3)
		return 0; /* told with the other values */
	if (n < 80 || val[0] != 1 || vms_get_be16(key + 1) >> c->out->part_bits) {
		LOST(c, "index: the state of partition %u has a wrong size, version or number",
		     vms_get_be16(key + 1));
		return 0;
	}
	p = &c->part[vms_get_be16(key + 1)];
	p->here = true;
	p->half = n >= 96 && val[2];
	p->out = c->conf->out && c->conf->out[vms_get_be16(key + 1)];
	p->drain_seq = vms_get_le64(val + 24);
	p->next_ctr = vms_get_le64(val + 48);
	c->out->partitions++;
	return 0;
}

static void ref(struct fsck *c, vms_addr a, bool own)
{
	struct fctr *f = fsck_ctr(c, vms_addr_container(a), true);
	uint32_t place = vms_addr_offset_bytes(a) / VMS_CHUNK_BYTES;

	if (place / 64 >= f->words) {
		uint32_t words = place / 64 + 1 + f->words / 2;

		f->ref = realloc(f->ref, words * sizeof(*f->ref));
		f->own = realloc(f->own, words * sizeof(*f->own));
		vms_assert(f->ref && f->own);
		memset(f->ref + f->words, 0, (words - f->words) * sizeof(*f->ref));
		memset(f->own + f->words, 0, (words - f->words) * sizeof(*f->own));
		f->words = words;
	}
	f->nrefs++;
	f->ref[place / 64] |= 1ull << place % 64;
	if (own)
		f->own[place / 64] |= 1ull << place % 64;
}

static void check_page(struct fsck *c, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		       uint32_t val_bytes)
{
	const struct fpart *part, *of;
	struct vms_page p;
	int rc;

	c->out->pages++;
	if (vms_page_key_decode(key, key_bytes, &p.key) ||
	    vms_page_val_decode(val, val_bytes, &p)) {
		LOST(c, "index: a page has a wrong size or version");
		return;
	}
	/* a damaged one is told by itself */
	rc = vms_patch_read(c->disk, &p);
	if (rc && rc != VMS_E_CORRUPT)
		LOST(c,
		     "page of partition %u, branch %" PRIu64
		     ", sub-extent %u: its patch cannot be read: %s",
		     p.key.partition, p.key.branch, p.key.subext, vms_err_text(rc));
	if (rc || !c->have_ident)
		return;
	if (p.key.partition >> c->out->part_bits || !c->part[p.key.partition].here) {
		LOST(c,
		     "page of partition %u, branch %" PRIu64
		     ", sub-extent %u: the index has no state "
		     "of that partition",
		     p.key.partition, p.key.branch, p.key.subext);
		return;
	}
	part = &c->part[p.key.partition];
	if (part->half)
		return;
	if (p.drain_seq > part->drain_seq)
		LOST(c,
		     "page of partition %u, branch %" PRIu64 ", sub-extent %u holds drain %" PRIu64
		     ", the partition only knows of %" PRIu64,
		     p.key.partition, p.key.branch, p.key.subext, p.drain_seq, part->drain_seq);
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		vms_addr a = p.entry[i];
		uint32_t off = vms_addr_offset_bytes(a);

		if (a == VMS_ADDR_HOLE)
			continue;
		c->out->addresses++;
		if (a == VMS_ADDR_LOST) {
			LOST(c,
			     "page of partition %u, branch %" PRIu64
			     ", sub-extent %u was lost on every replica: chunk %u cannot be read",
			     p.key.partition, p.key.branch, p.key.subext, i);
			c->out->lost_chunks++;
			continue;
		}
		if (a == VMS_ADDR_ASK || vms_addr_is_log(a, c->out->part_bits) ||
		    off % VMS_CHUNK_BYTES || off < 2 * VMS_CHUNK_BYTES ||
		    (off / VMS_CHUNK_BYTES - 1) % 65 == 0) {
			LOST(c,
			     "page of partition %u, branch %" PRIu64
			     ", sub-extent %u, chunk %u: %016" PRIx64
			     " is no place of a chunk in a container",
			     p.key.partition, p.key.branch, p.key.subext, i, a);
			c->out->lost_chunks++;
			continue;
		}
		of = &c->part[vms_addr_partition(a, c->out->part_bits)];
		if (of->here && !of->half && (of == part || (!of->out && !part->out)))
			ref(c, a, of == part);
		else
			c->out->elsewhere++;
	}
}

/* What it says is looked at with its page. */
static void check_patch(struct fsck *c, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
			uint32_t val_bytes)
{
	uint8_t page_key[VMS_PAGE_KEY_BYTES], page[VMS_PAGE_VAL_BYTES];
	struct vms_page p;
	int n;

	if (vms_patch_key_decode(key, key_bytes, &p.key)) {
		LOST(c, "index: the patch of a page has a key of a wrong size");
		return;
	}
	vms_page_key_encode(page_key, &p.key);
	n = vms_meta_get(c->disk, page_key, sizeof(page_key), page, sizeof(page));
	if (n == VMS_E_NOENT)
		LOST(c,
		     "page of partition %u, branch %" PRIu64
		     ", sub-extent %u is not there, but a patch of it is",
		     p.key.partition, p.key.branch, p.key.subext);
	else if (n >= 0 && !vms_page_val_decode(page, (uint32_t)n, &p) &&
		 vms_patch_val_decode(val, val_bytes, &p))
		LOST(c,
		     "page of partition %u, branch %" PRIu64
		     ", sub-extent %u: its patch has a wrong size, version or entry",
		     p.key.partition, p.key.branch, p.key.subext);
}

static void check_ctr_entry(struct fsck *c, const uint8_t *key, const uint8_t *val, int n)
{
	struct fctr *f = fsck_ctr(c, vms_get_be64(key + 1), true);

	f->entry = true;
	if (n < 40 || val[0] < 1 || val[0] > 3) {
		f->entry_bad = true;
		fsck_problem(c, VMS_FSCK_REPAIR, f, FIX_ENTRY,
			     "index: the entry of container %09" PRIx64 " %s", f->number,
			     n == VMS_E_CORRUPT ? "fails its checksum"
						: "has a wrong size or state");
		return;
	}
	f->state = val[0];
	f->shared = val[1] & 1;
	f->segs = vms_get_le32(val + 4);
	f->chunks = vms_get_le64(val + 8);
	f->epoch = vms_get_le64(val + 16);
	f->incarnation = vms_get_le64(val + 24);
}

/* What a page names must not be there; no other replica's pages can tell what is. */
static void check_dead(struct fsck *c, const uint8_t *key, const uint8_t *val, int n)
{
	struct fctr *f = fsck_ctr(c, vms_get_be64(key + 1), true);
	uint32_t first = 128u * vms_get_be16(key + 9), segs = first + (uint32_t)n / 8;

	if (n % 8 || n > 8 * 128 || segs > VMS_CTR_SEGS_MAX) {
		LOST(c, "index: the dead places of container %09" PRIx64 " have a wrong size",
		     f->number);
		return;
	}
	f->dead_values |= 1ull << first / 128;
	if (segs > f->dead_segs) {
		f->dead = realloc(f->dead, segs * sizeof(*f->dead));
		vms_assert(f->dead);
		memset(f->dead + f->dead_segs, 0, (segs - f->dead_segs) * sizeof(*f->dead));
		f->dead_segs = segs;
	}
	for (uint32_t i = first; i < segs; i++)
		f->dead[i] = vms_get_le64(val + 8ul * (i - first));
}

static int on_value(void *arg, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		    uint32_t val_bytes)
{
	struct fsck *c = arg;
	char text[80];
	int n = vms_meta_check(key, key_bytes, val, val_bytes);

	if (c->out->values++ % 1000 == 0)
		progress(c, "index", c->out->values, 0);
	if (key_bytes == 9 && key[0] == 'C') {
		check_ctr_entry(c, key, val, n);
		return 0;
	}
	if (n < 0) {
		key_text(key, key_bytes, text, sizeof(text));
		LOST(c, "index: the value of key %s fails its checksum", text);
		return 0;
	}
	if (key_bytes == 11 && key[0] == 'D')
		check_dead(c, key, val, n);
	if (key_bytes && key[0] == 'I')
		check_page(c, key, key_bytes, val, (uint32_t)n);
	if (key_bytes && key[0] == 'J')
		check_patch(c, key, key_bytes, val, (uint32_t)n);
	return 0;
}

/* ---- log ---- */

static void log_names(struct fsck *c, uint64_t number)
{
	fsck_ctr(c, number, true)->in_log = true;
}

static int log_moves(struct fsck *c, const struct vms_rec *r)
{
	uint32_t n = r->meta_bytes / VMS_MOVE_BYTES;
	struct vms_move *m = malloc((n + 1) * sizeof(*m));
	int k;

	vms_assert(m);
	k = vms_rec_moves_decode(r, m, n);
	for (int i = 0; i < k; i++)
		if (m[i].to != VMS_ADDR_HOLE && !(m[i].flags & VMS_MOVE_REF))
			log_names(c, vms_addr_container(m[i].to));
	free(m);
	return k;
}

static void check_record(struct fsck *c, const struct vms_rec *r, uint64_t pos)
{
	static struct vms_piece pieces[VMS_WRITE_PIECES_MAX];
	int k = 0;

	c->out->log_records++;
	switch (r->type) {
	case VMS_REC_WRITE:
	case VMS_REC_ZERO:
		k = vms_rec_pieces_decode(r, pieces, VMS_WRITE_PIECES_MAX);
		for (int i = 0, at = 0; r->type == VMS_REC_WRITE && i < k; i++) {
			int len = (int)(vms_mask_sectors(pieces[i].mask) * VMS_LB_BYTES);

			if (vms_crc32c(0, r->payload + at, (size_t)len) != pieces[i].crc)
				LOST(c,
				     "log: write %" PRIu64 " of partition %u at position %" PRIu64
				     ": the data of chunk %u fails its checksum",
				     r->seq, r->partition, pos, pieces[i].chunk);
			at += len;
		}
		break;
	case VMS_REC_DRAIN:
	case VMS_REC_REMAP:
		k = log_moves(c, r);
		break;
	case VMS_REC_SWEEP:
	case VMS_REC_SHARE:
		for (uint32_t i = 0; i + 8 <= r->meta_bytes; i += 8)
			log_names(c, vms_get_le64(r->meta + i));
		break;
	case VMS_REC_CTR_OPEN:
	case VMS_REC_CTR_SEAL:
		if (r->meta_bytes < 16)
			k = VMS_E_CORRUPT;
		else
			log_names(c, vms_get_le64(r->meta));
		break;
	case VMS_REC_COPY:
		for (size_t at = 0; at < r->payload_bytes;) {
			struct vms_rec in;
			int64_t bytes = vms_rec_decode(r->payload + at, r->payload_bytes - at, &in,
						       false);

			if (bytes < 0 || in.type == VMS_REC_COPY) {
				k = VMS_E_CORRUPT;
				break;
			}
			check_record(c, &in, pos);
			at += (size_t)bytes;
		}
		break;
	default:
		break;
	}
	if (k < 0)
		LOST(c,
		     "log: record %" PRIu64 " of partition %u (type %u) at position %" PRIu64
		     " is malformed",
		     r->seq, r->partition, r->type, pos);
}

static int on_record(void *arg, const struct vms_rec *r, struct vms_rec_ref where,
		     uint64_t generation)
{
	struct fsck *c = arg;

	c->out->log_bytes += where.bytes;
	check_record(c, r, where.log_pos);
	return 0;
}

static void check_log(struct fsck *c)
{
	struct vms_wal_conf conf = {.node_id = c->out->node_id};
	struct vms_wal_tail tail = {0};
	struct vms_errmsg msg = {""};
	struct vms_wal *w = NULL;
	uint8_t v[32];
	int rc = vms_meta_get(c->disk, "T", 1, v, sizeof(v));

	progress(c, "log", 0, 0);
	memcpy(conf.cluster_uuid, c->out->cluster_uuid, 16);
	if (rc >= 24)
		tail = (struct vms_wal_tail){vms_get_le64(v), vms_get_le64(v + 8),
					     vms_get_le64(v + 16)};
	else if (rc != VMS_E_NOENT) {
		/* its checksum is reported with the other values */
		LOST(c, "log: not checked, the index does not tell where it begins");
		return;
	}
	if (vms_wal_open(&w, c->disk, &conf, &tail, on_record, c, &msg))
		LOST(c, "%s", msg.text);
	else
		c->have_log = true;
	vms_wal_close(w);
}

/* ---- all of it ---- */

static int on_file(void *arg, uint64_t ctr, uint64_t size_bytes)
{
	struct fsck *c = arg;
	struct fctr *f = fsck_ctr(c, ctr, true);

	f->file = true;
	f->file_bytes = size_bytes;
	c->out->files++;
	c->out->container_bytes += size_bytes;
	return 0;
}

static int by_number(const struct fctr *a, const struct fctr *b)
{
	return a->number < b->number ? -1 : a->number > b->number;
}

int vms_fsck(const struct vms_disk *disk, const struct vms_fsck_io *io,
	     const struct vms_fsck_conf *conf, struct vms_fsck *out)
{
	static const uint8_t first[1] = {0}, last[1] = {0xff};
	struct fsck *c = calloc(1, sizeof(*c));
	struct fctr *f, *ft;
	uint64_t done = 0;
	int rc;

	vms_assert(c);
	memset(out, 0, sizeof(*out));
	c->out = out;
	c->disk = disk;
	c->io = io;
	c->conf = conf;
	check_ident(c);
	if (c->have_ident)
		rc = disk->ops->meta_range(disk->ctx, "P", 1, "Q", 1, on_part, c);
	else
		rc = 0;
	if (!rc)
		rc = disk->ops->meta_range(disk->ctx, first, 1, last, 1, on_value, c);
	if (rc)
		LOST(c, "index: cannot be read to its end: %s", vms_err_text(rc));
	c->whole_index = !rc;
	if (out->values && !c->have_ident && !out->errors)
		LOST(c, "index: nothing says what it belongs to (key V is missing)");
	check_log(c);
	rc = disk->ops->ctr_list(disk->ctx, on_file, c);
	if (rc) {
		fsck_problem(c, VMS_FSCK_LOST, NULL, 0,
			     "containers: their folder cannot be listed: %s", vms_err_text(rc));
		c->whole_index = false;
	}
	HASH_SORT(c->ctrs, by_number);
	HASH_ITER (hh, c->ctrs, f, ft) {
		progress(c, "containers", done++, HASH_COUNT(c->ctrs));
		fsck_container(c, f);
	}
	/* what is missing of index or log could say more about what is derived */
	rc = conf->repair && c->whole_index && c->have_ident && c->have_log ? fsck_repair(c) : 0;
	progress(c, NULL, 0, 0);
	HASH_ITER (hh, c->ctrs, f, ft) {
		HASH_DEL(c->ctrs, f);
		free(f->ref);
		free(f->own);
		free(f->dead);
		free(f->used);
		free(f);
	}
	free(c->part);
	free(c);
	return rc;
}

void vms_fsck_free(struct vms_fsck *f)
{
	VMS_VEC_FREE(&f->problem);
}
