// SPDX-License-Identifier: GPL-2.0-only
/* A sound little node, then one thing broken at a time: each has to be found and
 * named, and nothing else reported with it. */
#include "backend/fsck.h"

#include <unistd.h>

#include "backend/ctr.h"
#include "backend/disk_posix.h"
#include "backend/pages.h"
#include "backend/wal.h"
#include "tests/unit/cunit.h"
#include "tests/unit/mem_disk.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define PART_BITS 4u
#define PART	  3u
#define NCHUNKS	  5u

static struct mem_disk mem;
static struct vms_fsck result;
static char said[8][300];
static unsigned nsaid;
static uint64_t ctr;

static void say(void *arg, const char *line)
{
	if (nsaid < 8)
		snprintf(said[nsaid], sizeof(said[0]), "%s", line);
	nsaid++;
}

static int read_mem(void *ctx, uint64_t c, uint64_t off, void *buf, size_t len)
{
	return mem_ctr_read_now(ctx, c, off, buf, len);
}

static unsigned check(void)
{
	nsaid = 0;
	memset(said, 0, sizeof(said));
	vms_fsck(&mem.disk, read_mem, &mem, &result, say, NULL);
	return (unsigned)result.errors;
}

static void drain(struct vms_wal *w)
{
	struct vms_disk_event ev;

	while (mem_disk_pop(&mem, &ev))
		if (w)
			vms_wal_event(w, &ev, 1000);
}

static void commit(struct vms_meta_batch *b)
{
	mem.disk.ops->meta_commit(&mem, b, 1);
	drain(NULL);
	vms_meta_batch_reset(b);
}

/* One container with NCHUNKS chunks, a page that maps them, three writes in the
 * log behind the tail. */
static void setup(void)
{
	static uint8_t file[4096 * (2 + NCHUNKS)], data[4096];
	struct vms_wal_conf conf = {.node_id = 9, .cluster_uuid = "0123456789abcde"};
	struct vms_ctr_header h = {.partition = PART};
	struct vms_page_key k = {PART, 7, 11, 1};
	struct vms_iov iov = {file, sizeof(file)};
	struct vms_wal_tail tail = {0};
	struct vms_meta_batch b = {0};
	uint16_t index[NCHUNKS];
	vms_addr to[NCHUNKS];
	struct vms_pages *ps;
	static struct vms_seg s;
	uint8_t v[40] = {0}, key[9] = {'C'};
	struct vms_wal *w;

	mem_disk_init(&mem, (256 << 10) + 8192);
	ctr = vms_ctr_first(PART, PART_BITS) + 1;
	h.ctr = ctr;
	vms_ctr_header_encode(file, &h);
	s = (struct vms_seg){.ctr = ctr, .offset_bytes = (uint32_t)vms_seg_offset(0), .n = NCHUNKS};
	for (unsigned i = 0; i < NCHUNKS; i++) {
		uint8_t *p = file + vms_seg_chunk_offset(0, i);

		memset(p, (int)i + 1, 4096);
		index[i] = (uint16_t)(i * 3);
		to[i] = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(0, i));
		s.e[i] = (struct vms_seg_entry){
			.addr = to[i], .crc = vms_crc32c(0, p, 4096), .valid = 0xff};
	}
	vms_seg_encode(file + 4096, &s);
	mem.disk.ops->ctr_write(&mem, ctr, 0, &iov, 1, 1);
	drain(NULL);

	vms_put_le32(v, 1);
	vms_put_le32(v + 4, PART_BITS);
	memcpy(v + 8, conf.cluster_uuid, 16);
	vms_put_le64(v + 24, 9);
	vms_meta_batch_put(&b, "V", 1, v, 32);
	memset(v, 0, sizeof(v));
	vms_put_le32(v, 2);
	vms_put_be64(key + 1, ctr);
	vms_meta_batch_put(&b, key, 9, v, 40);
	ps = vms_pages_new(&mem.disk);
	vms_pages_apply(ps, &k, NULL, 5, index, to, NCHUNKS, NULL, NULL, NULL);
	vms_pages_freeze(ps, &b);
	commit(&b);
	vms_pages_free(ps);

	vms_wal_format(&mem.disk, &conf);
	vms_wal_open(&w, &mem.disk, &conf, &tail, NULL, NULL, NULL);
	for (uint64_t q = 1; q <= 4; q++) {
		struct vms_piece p = {.chunk = 1, .count = 1, .mask = 0xff};
		uint8_t meta[20];
		struct vms_rec r = {.type = VMS_REC_WRITE, .partition = PART, .seq = q, .meta = meta,
				    .meta_bytes = 20, .payload_bytes = 4096};
		struct vms_iov d = {data, 4096};

		memset(data, (int)q, sizeof(data));
		p.crc = vms_crc32c(0, data, 4096);
		vms_rec_pieces_encode(meta, &p, 1);
		vms_wal_append(w, &r, &d, 1, false, NULL);
		if (q == 1)
			vms_wal_gen_seal(w);
		vms_wal_submit(w, true, 1000);
		drain(w);
	}
	tail = vms_wal_tail_after(w, 1);
	vms_put_le64(v, tail.log_pos);
	vms_put_le64(v + 8, tail.frame_seq);
	vms_put_le64(v + 16, tail.generation);
	vms_meta_batch_put(&b, "T", 1, v, 24);
	commit(&b);
	vms_wal_close(w);
	vms_meta_batch_free(&b);
}

static void teardown(void)
{
	mem_disk_free(&mem);
}

static void sound_node_is_sound(void)
{
	setup();
	CU_ASSERT_EQUAL(check(), 0);
	CU_ASSERT_EQUAL(result.node_id, 9);
	CU_ASSERT_EQUAL(result.values, 4);
	CU_ASSERT_EQUAL(result.pages, 1);
	CU_ASSERT_EQUAL(result.chunks, NCHUNKS);
	CU_ASSERT_EQUAL(result.containers, 1);
	CU_ASSERT_EQUAL(result.log_records, 3);
	CU_ASSERT_EQUAL(result.container_bytes, 4096 * (2 + NCHUNKS));
	teardown();
}

static void finds(const char *word, unsigned errors)
{
	unsigned n = check();

	CU_ASSERT_EQUAL(n, errors);
	CU_ASSERT_PTR_NOT_NULL(strstr(said[0], word));
	if (n != errors || !strstr(said[0], word))
		printf("[%u errors, '%s', expected '%s'] ", n, said[0], word);
}

static void each_damage_is_named(void)
{
	uint8_t *f;

	setup();
	f = mem.file.d[0].data;
	f[vms_seg_chunk_offset(0, 2) + 9] ^= 1;
	finds("fails its checksum", 1);
	CU_ASSERT_EQUAL(result.chunks, NCHUNKS - 1);
	f[vms_seg_chunk_offset(0, 2) + 9] ^= 1;

	f[vms_seg_offset(0) + 70] ^= 1;
	finds("segment header", 1);
	f[vms_seg_offset(0) + 70] ^= 1;

	f[30] ^= 1;
	finds("file header is damaged", 1);
	CU_ASSERT_EQUAL(result.chunks, NCHUNKS);
	f[30] ^= 1;

	mem.file.d[0].size_bytes -= 4096;
	finds("is not there", 1);
	mem.file.d[0].size_bytes += 4096;

	mem.file.d[0].ctr++;
	finds("5 chunks are lost", 1);
	mem.file.d[0].ctr--;

	/* the log: data of a record, then a superblock pair */
	mem.log[8192 + 2 * 8192 + 80 + 200] ^= 1;
	finds("acknowledged", 1);
	mem.log[8192 + 2 * 8192 + 80 + 200] ^= 1;
	mem.log[100] ^= 1;
	CU_ASSERT_EQUAL(check(), 0); /* the copy is good */
	mem.log[4096 + 100] ^= 1;
	finds("superblock", 1);
	mem.log[100] ^= 1;
	mem.log[4096 + 100] ^= 1;
	CU_ASSERT_EQUAL(check(), 0);
	teardown();
}

static struct mem_kv *kv_of(char letter)
{
	VMS_VEC_FOREACH (&mem.kv, kv)
		if (kv->key[0] == letter)
			return kv;
	return NULL;
}

static void each_index_damage_is_named(void)
{
	struct vms_meta_batch b = {0};
	struct vms_page_key k = {PART, 7, 12, 1};
	uint8_t key[VMS_PAGE_KEY_BYTES], val[VMS_PAGE_VAL_BYTES], ckey[9] = {'C'}, v[40] = {3};
	uint8_t pkey[3] = {'P'};
	struct vms_page p = {.key = k};

	setup();
	kv_of('I')->val[50] ^= 1;
	finds("fails its checksum", 1);
	kv_of('I')->val[50] ^= 1;
	kv_of('T')->val[1] ^= 1;
	finds("fails its checksum", 2);
	kv_of('T')->val[1] ^= 1;
	kv_of('V')->val[4] ^= 1;
	CU_ASSERT_TRUE(check() >= 1);
	kv_of('V')->val[4] ^= 1;

	/* pages that name what they must not */
	vms_page_key_encode(key, &k);
	p.entry[1] = vms_logpos_addr(PART, 5, PART_BITS);
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("no container address", 1);
	p.entry[1] = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(0, NCHUNKS));
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("no segment entry", 1);
	p.entry[1] = vms_addr_make(ctr + 5, 8192);
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("not in the index", 2);
	/* another partition's: to be found elsewhere, unless this node has that one too */
	p.entry[1] = vms_addr_make(vms_ctr_first(PART + 1, PART_BITS) + 1, 8192);
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	CU_ASSERT_EQUAL(check(), 0);
	CU_ASSERT_EQUAL(result.foreign, 1);
	vms_put_be16(pkey + 1, PART + 1);
	vms_meta_batch_put(&b, pkey, sizeof(pkey), v, sizeof(v));
	commit(&b);
	finds("not in the index", 2);
	p.entry[1] = 0;
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	vms_put_be64(ckey + 1, ctr);
	vms_meta_batch_put(&b, ckey, 9, v, 40);
	commit(&b);
	finds("marked dead", 1);
	vms_meta_batch_free(&b);
	teardown();
}

static void write_that_fails_its_checksum_in_a_sound_frame(void)
{
	struct vms_wal_conf conf = {.node_id = 9};
	struct vms_wal_tail tail = {0};
	struct vms_piece p = {.chunk = 1, .count = 1, .mask = 0x01, .crc = 12345};
	uint8_t meta[20], data[512] = {1};
	struct vms_rec r = {.type = VMS_REC_WRITE, .seq = 1, .meta = meta, .meta_bytes = 20,
			    .payload_bytes = 512};
	struct vms_iov iov = {data, 512};
	struct vms_wal *w;

	mem_disk_init(&mem, (256 << 10) + 8192);
	vms_wal_format(&mem.disk, &conf);
	vms_wal_open(&w, &mem.disk, &conf, &tail, NULL, NULL, NULL);
	vms_rec_pieces_encode(meta, &p, 1);
	vms_wal_append(w, &r, &iov, 1, false, NULL);
	vms_wal_submit(w, true, 1000);
	drain(w);
	vms_wal_close(w);
	finds("the data of chunk 1 fails", 1);
	teardown();
}

static void exit_codes_of_the_program(void)
{
	char dir[] = "/tmp/vms-fsck-XXXXXX", cmd[64];
	struct vms_disk_posix_conf c = {.dir = dir, .log_bytes = 4 << 20, .index_bytes = 1 << 20};
	struct vms_wal_conf wc = {.node_id = 1};
	struct vms_disk_posix *d;
	struct vms_disk disk;
	struct vms_errmsg msg;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_EQUAL(vms_fsck_main(dir), 8); /* no node's */
	CU_ASSERT_EQUAL_FATAL(vms_disk_posix_format(&c, &msg), 0);
	CU_ASSERT_EQUAL_FATAL(vms_disk_posix_open(&d, &c, &msg), 0);
	CU_ASSERT_EQUAL(vms_fsck_main(dir), 8); /* in use */
	disk = vms_disk_posix_disk(d);
	CU_ASSERT_EQUAL(vms_wal_format(&disk, &wc), 0);
	vms_disk_posix_close(d);
	CU_ASSERT_EQUAL(vms_fsck_main(dir), 0); /* formatted, nothing stored yet */
	snprintf(cmd, sizeof(cmd), "%s/log", dir);
	CU_ASSERT_EQUAL(truncate(cmd, 4096), 0);
	CU_ASSERT_EQUAL(vms_fsck_main(dir), 4);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	CU_ASSERT_EQUAL(system(cmd), 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(sound_node_is_sound),
	VMS_TEST(each_damage_is_named),
	VMS_TEST(each_index_damage_is_named),
	VMS_TEST(write_that_fails_its_checksum_in_a_sound_frame),
	VMS_TEST(exit_codes_of_the_program),
};
VMS_TEST_MAIN("fsck", tests)
