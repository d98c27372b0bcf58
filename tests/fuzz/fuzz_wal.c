// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of log replay: the input is the front of the ring. First byte: 1
 * sets log id and checksums of everything right that looks like a frame.
 * Whatever is in the ring, the log opens or is refused, replays records that
 * decode, and when it opens it takes an append that the next open finds.
 */
#include "backend/wal.h"
#include "tests/fuzz/driver.h"
#include "tests/unit/mem_disk.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define RING (64u << 10)

static unsigned replayed;

static int on_replay(void *arg, const struct vms_rec *r, struct vms_rec_ref ref, uint64_t gen)
{
	vms_assert(ref.bytes >= VMS_REC_HEADER_BYTES && ref.bytes <= RING);
	vms_assert(r->meta_bytes + r->payload_bytes <= ref.bytes);
	replayed++;
	return 0;
}

static void fix_frames(uint8_t *ring, uint64_t id)
{
	for (uint32_t off = 0; off < RING; off += 4096) {
		uint8_t *p = ring + off;
		uint32_t n = vms_get_le32(p + 44);

		if (vms_get_le32(p) != 0x46534d56u)
			continue;
		vms_put_le64(p + 32, id);
		if (n <= RING - off - 80)
			vms_put_le32(p + 64, vms_crc32c(0, p + 80, n));
		vms_put_le32(p + 68, vms_crc32c(0, p, 68));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mem_disk m;
	struct vms_wal_conf conf = {.node_id = 1};
	struct vms_wal_tail tail = {0};
	struct vms_rec r = {.type = VMS_REC_SWEEP, .seq = 1};
	struct vms_disk_event ev;
	struct vms_wal *w;
	unsigned before;

	if (size < 1)
		return 0;
	if (!m.log)
		mem_disk_init(&m, RING + 8192);
	memset(m.log, 0, m.log_bytes);
	vms_assert(!vms_wal_format(&m.disk, &conf));
	memcpy(m.log + 8192, data + 1, size - 1 < RING ? size - 1 : RING);
	if (data[0] & 1)
		fix_frames(m.log + 8192, vms_get_le64(m.log + 64));
	replayed = 0;
	if (vms_wal_open(&w, &m.disk, &conf, &tail, on_replay, NULL, NULL))
		return 0;
	before = replayed;
	if (!vms_wal_append(w, &r, NULL, 0, true, NULL)) {
		vms_wal_submit(w, true, 1);
		while (mem_disk_pop(&m, &ev))
			vms_wal_event(w, &ev, 1);
		vms_assert(vms_wal_durable_pos(w) >= vms_wal_appended_pos(w));
		vms_wal_close(w);
		replayed = 0;
		vms_assert(!vms_wal_open(&w, &m.disk, &conf, &tail, on_replay, NULL, NULL));
		vms_assert(replayed == before + 1);
	}
	vms_wal_close(w);
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	struct vms_wal_conf conf = {.node_id = 1};
	struct vms_wal_tail tail = {0};
	static uint8_t payload[6000];
	struct vms_disk_event ev;
	struct vms_wal *w;
	struct mem_disk m;

	if (i > 1)
		return 0;
	mem_disk_init(&m, RING + 8192);
	vms_assert(!vms_wal_format(&m.disk, &conf));
	vms_assert(!vms_wal_open(&w, &m.disk, &conf, &tail, on_replay, NULL, NULL));
	for (unsigned k = 0; k < 3 + i; k++) {
		struct vms_rec r = {
			.type = VMS_REC_SWEEP, .seq = k + 1, .payload_bytes = i ? 6000 : 100};
		struct vms_iov iov = {payload, r.payload_bytes};

		vms_assert(!vms_wal_append(w, &r, &iov, 1, false, NULL));
		if (k == 1)
			vms_wal_gen_seal(w);
		vms_wal_submit(w, k & 1, 1);
		while (mem_disk_pop(&m, &ev))
			vms_wal_event(w, &ev, 1);
	}
	out[0] = 1;
	memcpy(out + 1, m.log + 8192, 32768);
	vms_wal_close(w);
	mem_disk_free(&m);
	return 1 + (i ? 32768 : 12288);
}
