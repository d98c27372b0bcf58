// SPDX-License-Identifier: GPL-2.0-only
#include "backend/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/ctr.h"
#include "backend/disk_posix.h"
#include "backend/meta.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/settings.h"
#include "utils/lib/vec.h"

#define LINES_MAX 100u
#define CTR_DEAD  3u

struct ref {
	vms_addr addr;
};

struct check {
	struct vms_fsck *out;
	const char *dir;
	void (*say)(void *arg, const char *line);
	void *arg;
	VMS_VEC(struct ref) refs;
	VMS_VEC(uint64_t) dead, known;
	uint8_t *seg_block, *chunk;
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

static void key_text(const uint8_t *key, uint32_t n, char *out, size_t room)
{
	size_t at = 0;

	out[0] = 0;
	if (n)
		at = (size_t)snprintf(out, room, "%c", key[0]);
	for (uint32_t i = 1; i < n && at + 3 < room; i++)
		at += (size_t)snprintf(out + at, room - at, "%02x", key[i]);
}

static void check_page(struct check *c, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		       int val_bytes)
{
	uint32_t partition;

	c->out->pages++;
	if (key_bytes != 1 + 2 + 8 + 4 + 8 || val_bytes != 16 + 8 * (int)VMS_SUBEXT_CHUNKS ||
	    val[0] != 1) {
		bad(c, "index: a page has a wrong size or version");
		return;
	}
	partition = vms_get_be16(key + 1);
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		vms_addr a = vms_get_le64(val + 16 + 8 * i);

		if (a == VMS_ADDR_HOLE)
			continue;
		c->out->addresses++;
		if (a == VMS_ADDR_ASK || vms_addr_is_log(a, c->out->part_bits) ||
		    vms_addr_partition(a, c->out->part_bits) != partition) {
			bad(c,
			    "page of partition %u, branch %" PRIu64 ", sub-extent %u, chunk %u: %016" PRIx64
			    " is no container address of that partition",
			    partition, vms_get_be64(key + 3), vms_get_be32(key + 11), i, a);
			continue;
		}
		VMS_VEC_PUSH(&c->refs, (struct ref){a});
	}
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
		check_page(c, key, key_bytes, val, n);
	if (key_bytes == 9 && key[0] == 'C' && n >= 4) {
		uint64_t ctr = vms_get_be64(key + 1);

		if (vms_get_le32(val) == CTR_DEAD)
			VMS_VEC_PUSH(&c->dead, ctr);
		else
			VMS_VEC_PUSH(&c->known, ctr);
	}
	return 0;
}

static int by_addr(const void *a, const void *b)
{
	vms_addr x = ((const struct ref *)a)->addr, y = ((const struct ref *)b)->addr;

	return x < y ? -1 : x > y;
}

static int by_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* refs[from..to) lie in one container. */
static void check_container(struct check *c, uint64_t ctr, size_t from, size_t to)
{
	uint32_t seg_at = 0;
	bool seg_ok = false;
	struct vms_seg seg;
	char path[4200];
	int fd;

	c->out->containers++;
	if (c->dead.n && bsearch(&ctr, c->dead.d, c->dead.n, sizeof(ctr), by_u64)) {
		bad(c, "container %09" PRIx64 " is marked dead but pages refer to it", ctr);
		return;
	}
	if (!c->known.n || !bsearch(&ctr, c->known.d, c->known.n, sizeof(ctr), by_u64))
		bad(c, "container %09" PRIx64 " is not in the index but pages refer to it", ctr);
	snprintf(path, sizeof(path), "%s/c/%02x/%09" PRIx64, c->dir, (unsigned)(ctr & 0xff), ctr);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		bad(c, "%s: %s; %zu chunks are lost here", path, strerror(errno), to - from);
		return;
	}
	c->out->container_bytes += (uint64_t)lseek(fd, 0, SEEK_END);
	for (size_t i = from; i < to; i++) {
		uint32_t off = vms_addr_offset_bytes(c->refs.d[i].addr), at, k;

		if (off % VMS_CHUNK_BYTES || off < 2 * VMS_CHUNK_BYTES) {
			bad(c, "address %016" PRIx64 " is no chunk place", c->refs.d[i].addr);
			continue;
		}
		at = vms_seg_header_offset(off);
		k = vms_seg_index(off);
		if (at != seg_at) {
			seg_at = at;
			seg_ok = pread(fd, c->seg_block, VMS_CHUNK_BYTES, at) == VMS_CHUNK_BYTES &&
				 !vms_seg_decode(c->seg_block, ctr, at, &seg);
			if (!seg_ok)
				bad(c, "container %09" PRIx64 ": segment header at %u is damaged", ctr,
				    at);
		}
		if (!seg_ok)
			continue;
		if (k >= seg.n || seg.e[k].addr != c->refs.d[i].addr) {
			bad(c, "container %09" PRIx64 ": the place at %u belongs to another address",
			    ctr, off);
			continue;
		}
		if (pread(fd, c->chunk, VMS_CHUNK_BYTES, off) != VMS_CHUNK_BYTES)
			bad(c, "container %09" PRIx64 ": the chunk at %u cannot be read", ctr, off);
		else if (vms_crc32c(0, c->chunk, VMS_CHUNK_BYTES) != seg.e[k].crc)
			bad(c, "container %09" PRIx64 ": the chunk at %u fails its checksum", ctr, off);
		else
			c->out->chunks++;
	}
	close(fd);
}

int vms_fsck_dir(const char *dir, struct vms_fsck *out, void (*say)(void *arg, const char *line),
		 void *arg, struct vms_errmsg *msg)
{
	struct vms_disk_posix_conf dc = {.dir = dir, .engine = VMS_IO_THREADS};
	struct check c = {.out = out, .dir = dir, .say = say, .arg = arg};
	static const uint8_t first[1] = {0}, last[1] = {0xff};
	uint8_t v[64];
	struct vms_disk_posix *p;
	struct vms_disk d;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = vms_disk_posix_open(&p, &dc, msg);
	if (rc)
		return rc;
	d = vms_disk_posix_disk(p);
	rc = vms_meta_get(&d, "V", 1, v, sizeof(v));
	if (rc < 32) {
		vms_disk_posix_close(p);
		return vms_fail(msg, rc < 0 ? rc : VMS_E_CORRUPT,
				rc == VMS_E_NOENT
					? "%s: nothing has been stored here yet"
					: "%s: the index does not say what it belongs to",
				dir);
	}
	out->part_bits = vms_get_le32(v + 4);
	memcpy(out->cluster_uuid, v + 8, 16);
	out->node_id = vms_get_le64(v + 24);
	c.seg_block = malloc(VMS_CHUNK_BYTES);
	c.chunk = malloc(VMS_CHUNK_BYTES);
	vms_assert(c.seg_block && c.chunk && out->part_bits <= VMS_PART_BITS_MAX);
	rc = d.ops->meta_range(d.ctx, first, 1, last, 1, on_value, &c);
	if (rc)
		bad(&c, "index: cannot be read to its end: %s", vms_err_text(rc));
	if (c.refs.n)
		qsort(c.refs.d, c.refs.n, sizeof(c.refs.d[0]), by_addr);
	if (c.dead.n)
		qsort(c.dead.d, c.dead.n, sizeof(c.dead.d[0]), by_u64);
	if (c.known.n)
		qsort(c.known.d, c.known.n, sizeof(c.known.d[0]), by_u64);
	for (size_t i = 0, j; i < c.refs.n; i = j) {
		uint64_t ctr = vms_addr_container(c.refs.d[i].addr);

		for (j = i + 1; j < c.refs.n && vms_addr_container(c.refs.d[j].addr) == ctr; j++)
			;
		check_container(&c, ctr, i, j);
	}
	VMS_VEC_FREE(&c.refs);
	VMS_VEC_FREE(&c.dead);
	VMS_VEC_FREE(&c.known);
	free(c.seg_block);
	free(c.chunk);
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
		return 1;
	}
	printf("%s: node %" PRIu64 ", %" PRIu64 " index values, %" PRIu64 " pages, %" PRIu64
	       " chunks in %" PRIu64 " containers: %" PRIu64 " errors\n",
	       dir, f.node_id, f.values, f.pages, f.chunks, f.containers, f.errors);
	return f.errors ? 1 : 0;
}
