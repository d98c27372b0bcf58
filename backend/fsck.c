// SPDX-License-Identifier: GPL-2.0-only
/* See fsck.h. The order is that of trust: first what says whose disk this is, then
 * log and index each by itself, then what the index says about containers. */
#include "backend/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/ctr.h"
#include "backend/disk_posix.h"
#include "backend/pages.h"
#include "backend/wal.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/settings.h"
#include "utils/lib/vec.h"

#define LINES_MAX 100u
#define CTR_DEAD  3u

struct check {
	struct vms_fsck *out;
	const struct vms_disk *disk;
	vms_fsck_read_fn ctr_read;
	void *ctx;
	void (*say)(void *arg, const char *line);
	void *arg;
	bool have_ident; /* key V was read: part_bits is known */
	VMS_VEC(vms_addr) refs;
	VMS_VEC(uint64_t) dead, known;
	uint8_t held[(1u << VMS_PART_BITS_MAX) / 8]; /* partitions this node has */
	uint8_t block[VMS_CHUNK_BYTES];
};

__attribute__((format(printf, 2, 3))) static void bad(struct check *c, const char *fmt, ...)
{
	char line[300];
	va_list ap;

	if (c->out->errors++ >= LINES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	c->say(c->arg, line);
}

/* ---- log ---- */

static void check_record(struct check *c, const struct vms_rec *r, uint64_t pos)
{
	static struct vms_piece pieces[VMS_WRITE_PIECES_MAX];
	struct vms_move *moves;
	uint32_t n;
	int k = 0;

	c->out->log_records++;
	switch (r->type) {
	case VMS_REC_WRITE:
	case VMS_REC_ZERO:
		k = vms_rec_pieces_decode(r, pieces, VMS_WRITE_PIECES_MAX);
		for (int i = 0, at = 0; r->type == VMS_REC_WRITE && i < k; i++) {
			int len = (int)(vms_mask_sectors(pieces[i].mask) * VMS_LB_BYTES);

			if (vms_crc32c(0, r->payload + at, (size_t)len) != pieces[i].crc)
				bad(c,
				    "log: write %" PRIu64 " of partition %u at position %" PRIu64
				    ": the data of chunk %u fails its checksum",
				    r->seq, r->partition, pos, pieces[i].chunk);
			at += len;
		}
		break;
	case VMS_REC_DRAIN:
	case VMS_REC_REMAP:
		n = r->meta_bytes / VMS_MOVE_BYTES;
		moves = malloc((n + 1) * sizeof(*moves));
		vms_assert(moves);
		k = vms_rec_moves_decode(r, moves, n);
		free(moves);
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
		bad(c, "log: record %" PRIu64 " of partition %u (type %u) at position %" PRIu64
		       " is malformed",
		    r->seq, r->partition, r->type, pos);
}

static int on_record(void *arg, const struct vms_rec *r, struct vms_rec_ref ref,
		     uint64_t generation)
{
	struct check *c = arg;

	c->out->log_bytes += ref.bytes;
	check_record(c, r, ref.log_pos);
	return 0;
}

static void check_log(struct check *c)
{
	struct vms_wal_conf conf = {.node_id = c->out->node_id};
	struct vms_wal_tail tail = {0};
	struct vms_errmsg msg = {""};
	struct vms_wal *w = NULL;
	uint8_t v[32];
	int rc = vms_meta_get(c->disk, "T", 1, v, sizeof(v));

	memcpy(conf.cluster_uuid, c->out->cluster_uuid, 16);
	if (rc >= 24)
		tail = (struct vms_wal_tail){vms_get_le64(v), vms_get_le64(v + 8),
					     vms_get_le64(v + 16)};
	else if (rc != VMS_E_NOENT) {
		/* its checksum is reported with the other values */
		bad(c, "log: not checked, the index does not tell where it begins");
		return;
	}
	if (vms_wal_open(&w, c->disk, &conf, &tail, on_record, c, &msg))
		bad(c, "%s", msg.text);
	vms_wal_close(w);
}

/* ---- index ---- */

static void held_set(struct check *c, uint32_t partition)
{
	c->held[partition / 8] |= (uint8_t)(1u << partition % 8);
}

static bool held(const struct check *c, uint32_t partition)
{
	return c->held[partition / 8] >> partition % 8 & 1;
}

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

static void check_page(struct check *c, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		       uint32_t val_bytes)
{
	struct vms_page p;
	vms_addr a;

	c->out->pages++;
	if (vms_page_key_decode(key, key_bytes, &p.key) || vms_page_val_decode(val, val_bytes, &p)) {
		bad(c, "index: a page has a wrong size or version");
		return;
	}
	if (!c->have_ident)
		return;
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		a = p.entry[i];
		if (a == VMS_ADDR_HOLE)
			continue;
		c->out->addresses++;
		if (a == VMS_ADDR_ASK || vms_addr_is_log(a, c->out->part_bits))
			bad(c,
			    "page of partition %u, branch %" PRIu64
			    ", sub-extent %u, chunk %u: %016" PRIx64
			    " is no container address",
			    p.key.partition, p.key.branch, p.key.subext, i, a);
		else
			VMS_VEC_PUSH(&c->refs, a);
	}
	held_set(c, p.key.partition);
}

static int on_value(void *arg, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		    uint32_t val_bytes)
{
	struct check *c = arg;
	char text[80];
	int n = vms_meta_check(key, key_bytes, val, val_bytes);

	c->out->values++;
	if (n < 0) {
		key_text(key, key_bytes, text, sizeof(text));
		bad(c, "index: the value of key %s fails its checksum", text);
		return 0;
	}
	if (key_bytes && key[0] == 'I')
		check_page(c, key, key_bytes, val, (uint32_t)n);
	if (key_bytes == 3 && key[0] == 'P')
		held_set(c, vms_get_be16(key + 1));
	if (key_bytes == 9 && key[0] == 'C' && n >= 4) {
		uint64_t ctr = vms_get_be64(key + 1);

		if (val[0] == CTR_DEAD)
			VMS_VEC_PUSH(&c->dead, ctr);
		else
			VMS_VEC_PUSH(&c->known, ctr);
	}
	return 0;
}

/* Whose disk it is. Before the first checkpoint nothing says so: then the index
 * is empty and only the log is there. */
static void check_ident(struct check *c)
{
	uint8_t v[64];
	int rc = vms_meta_get(c->disk, "V", 1, v, sizeof(v));

	if (rc == VMS_E_NOENT)
		return;
	if (rc != 32 || vms_get_le32(v) != 1 || vms_get_le32(v + 4) > VMS_PART_BITS_MAX) {
		bad(c, "index: the entry that says what the index belongs to is %s",
		    rc == VMS_E_CORRUPT ? "damaged" : "of a version this release does not know");
		return;
	}
	c->have_ident = true;
	c->out->part_bits = vms_get_le32(v + 4);
	memcpy(c->out->cluster_uuid, v + 8, 16);
	c->out->node_id = vms_get_le64(v + 24);
}

/* ---- containers ---- */

static int by_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static const char *read_error(int rc)
{
	return rc == VMS_E_NOENT ? "is not there" : "cannot be read";
}

/* refs[from..to) lie in one container. */
static void check_container(struct check *c, uint64_t ctr, size_t from, size_t to)
{
	static struct vms_seg seg;
	struct vms_ctr_header h;
	uint32_t seg_at = 0;
	bool seg_ok = false;
	int rc;

	c->out->containers++;
	if (c->dead.n && bsearch(&ctr, c->dead.d, c->dead.n, sizeof(ctr), by_u64)) {
		bad(c, "container %09" PRIx64 " is marked dead but pages refer to it", ctr);
		return;
	}
	if (!c->known.n || !bsearch(&ctr, c->known.d, c->known.n, sizeof(ctr), by_u64))
		bad(c, "container %09" PRIx64 " is not in the index but pages refer to it", ctr);
	rc = c->ctr_read(c->ctx, ctr, 0, c->block, VMS_CHUNK_BYTES);
	if (rc) {
		bad(c, "container %09" PRIx64 " %s; %zu chunks are lost here", ctr, read_error(rc),
		    to - from);
		return;
	}
	/* a damaged file header loses no chunk: segments name themselves */
	if (vms_ctr_header_decode(c->block, &h))
		bad(c, "container %09" PRIx64 ": its file header is damaged", ctr);
	else if (h.ctr != ctr)
		bad(c, "container %09" PRIx64 ": its file header is that of %09" PRIx64, ctr, h.ctr);
	for (size_t i = from; i < to; i++) {
		uint32_t off = vms_addr_offset_bytes(c->refs.d[i]), at, k;

		if (i > from && c->refs.d[i] == c->refs.d[i - 1])
			continue; /* shared by page versions, looked at once */
		if (off % VMS_CHUNK_BYTES || off < 2 * VMS_CHUNK_BYTES) {
			bad(c, "address %016" PRIx64 " is no chunk place", c->refs.d[i]);
			continue;
		}
		at = vms_seg_header_offset(off);
		k = vms_seg_index(off);
		if (at != seg_at) {
			seg_at = at;
			rc = c->ctr_read(c->ctx, ctr, at, c->block, VMS_CHUNK_BYTES);
			seg_ok = !rc && !vms_seg_decode(c->block, ctr, at, &seg);
			if (!seg_ok)
				bad(c, "container %09" PRIx64 ": segment header at %u %s", ctr, at,
				    rc ? read_error(rc) : "is damaged");
		}
		if (!seg_ok)
			continue;
		if (k >= seg.n || seg.e[k].addr != c->refs.d[i]) {
			bad(c, "container %09" PRIx64 ": no segment entry names the place at %u",
			    ctr, off);
			continue;
		}
		rc = c->ctr_read(c->ctx, ctr, off, c->block, VMS_CHUNK_BYTES);
		if (rc)
			bad(c, "container %09" PRIx64 ": the chunk at %u %s", ctr, off,
			    read_error(rc));
		else if (vms_crc32c(0, c->block, VMS_CHUNK_BYTES) != seg.e[k].crc)
			bad(c, "container %09" PRIx64 ": the chunk at %u fails its checksum", ctr, off);
		else
			c->out->chunks++;
	}
}

static int add_bytes(void *arg, uint64_t ctr, uint64_t size_bytes)
{
	struct check *c = arg;

	c->out->container_bytes += size_bytes;
	return 0;
}

void vms_fsck(const struct vms_disk *disk, vms_fsck_read_fn ctr_read, void *ctx,
	      struct vms_fsck *out, void (*say)(void *arg, const char *line), void *arg)
{
	static const uint8_t first[1] = {0}, last[1] = {0xff};
	struct check *c = calloc(1, sizeof(*c));
	int rc;

	vms_assert(c);
	memset(out, 0, sizeof(*out));
	c->out = out;
	c->disk = disk;
	c->ctr_read = ctr_read;
	c->ctx = ctx;
	c->say = say;
	c->arg = arg;
	check_ident(c);
	rc = disk->ops->meta_range(disk->ctx, first, 1, last, 1, on_value, c);
	if (rc)
		bad(c, "index: cannot be read to its end: %s", vms_err_text(rc));
	if (out->values && !c->have_ident && !out->errors)
		bad(c, "index: nothing says what it belongs to (key V is missing)");
	check_log(c);
	if (c->refs.n)
		qsort(c->refs.d, c->refs.n, sizeof(c->refs.d[0]), by_u64);
	if (c->dead.n)
		qsort(c->dead.d, c->dead.n, sizeof(c->dead.d[0]), by_u64);
	if (c->known.n)
		qsort(c->known.d, c->known.n, sizeof(c->known.d[0]), by_u64);
	for (size_t i = 0, j; i < c->refs.n; i = j) {
		uint64_t ctr = vms_addr_container(c->refs.d[i]);

		for (j = i + 1; j < c->refs.n && vms_addr_container(c->refs.d[j]) == ctr; j++)
			;
		/* deduplicated into a partition that other nodes have */
		if (!held(c, vms_addr_partition(c->refs.d[i], c->out->part_bits)))
			out->foreign += j - i;
		else
			check_container(c, ctr, i, j);
	}
	rc = disk->ops->ctr_list(disk->ctx, add_bytes, c);
	if (rc)
		bad(c, "containers: their folder cannot be listed: %s", vms_err_text(rc));
	VMS_VEC_FREE(&c->refs);
	VMS_VEC_FREE(&c->dead);
	VMS_VEC_FREE(&c->known);
	free(c);
}

/* ---- a folder ---- */

struct reader {
	const char *dir;
	uint64_t ctr;
	int fd; /* of ctr, or -1 */
};

static int file_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	struct reader *r = ctx;
	char path[4200];
	ssize_t n;

	if (r->fd < 0 || r->ctr != ctr) {
		if (r->fd >= 0)
			close(r->fd);
		snprintf(path, sizeof(path), "%s/c/%02x/%09" PRIx64, r->dir,
			 (unsigned)(ctr & 0xff), ctr);
		r->ctr = ctr;
		r->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (r->fd < 0)
			return errno == ENOENT ? VMS_E_NOENT : VMS_E_IO;
	}
	n = pread(r->fd, buf, len, (off_t)off);
	if (n < 0)
		return VMS_E_IO;
	return (size_t)n == len ? 0 : VMS_E_NOENT;
}

int vms_fsck_dir(const char *dir, struct vms_fsck *out, void (*say)(void *arg, const char *line),
		 void *arg, struct vms_errmsg *msg)
{
	struct vms_disk_posix_conf dc = {.dir = dir, .engine = VMS_IO_THREADS};
	struct reader r = {.dir = dir, .fd = -1};
	struct vms_disk_posix *p;
	struct vms_disk d;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = vms_disk_posix_open(&p, &dc, msg);
	if (rc)
		return rc;
	d = vms_disk_posix_disk(p);
	vms_fsck(&d, file_read, &r, out, say, arg);
	if (r.fd >= 0)
		close(r.fd);
	vms_disk_posix_close(p);
	return 0;
}

static void print_line(void *arg, const char *line)
{
	printf("%s\n", line);
}

int vms_fsck_main(const char *dir)
{
	struct vms_errmsg msg = {""};
	struct vms_fsck f;
	int rc = vms_fsck_dir(dir, &f, print_line, NULL, &msg);

	if (rc) {
		fprintf(stderr, "vmstored: %s\n", msg.text[0] ? msg.text : vms_err_text(rc));
		return 8;
	}
	if (f.errors > LINES_MAX)
		printf("... and %" PRIu64 " more\n", f.errors - LINES_MAX);
	printf("%s: node %" PRIu64 ", %" PRIu64 " log records, %" PRIu64 " index values, %" PRIu64
	       " pages, %" PRIu64 " chunks in %" PRIu64 " containers, %" PRIu64
	       " references to other nodes: %" PRIu64 " errors\n",
	       dir, f.node_id, f.log_records, f.values, f.pages, f.chunks, f.containers, f.foreign,
	       f.errors);
	return f.errors ? 4 : 0;
}
