// SPDX-License-Identifier: GPL-2.0-only
/* A sound little node, then one thing broken at a time: each has to be found and
 * named, and nothing else reported with it. */
#include "backend/fsck.h"

#include <unistd.h>

#include "backend/ctr.h"
#include "backend/disk_posix.h"
#include "backend/fplists.h"
#include "backend/page_patch.h"
#include "backend/wal.h"
#include "tests/unit/cunit.h"
#include "tests/unit/mem_disk.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"

#define PART_BITS 4u
#define PART	  3u
#define NCHUNKS	  5u

static struct mem_disk mem;
static struct vms_fsck result;
static struct vms_fsck_conf conf;
static char said[8][300];
static uint64_t ctr;
static unsigned writes;

static int read_mem(void *ctx, uint64_t c, uint64_t off, void *buf, size_t len)
{
	return mem_ctr_read_now(ctx, c, off, buf, len);
}

static int write_mem(void *ctx, uint64_t c, uint64_t off, const void *buf, size_t len)
{
	struct mem_disk *m = ctx;

	writes++;
	VMS_VEC_FOREACH (&m->file, f)
		if (f->ctr == c && off + len <= f->room_bytes) {
			memcpy(f->data + off, buf, len);
			if (off + len > f->size_bytes)
				f->size_bytes = off + len;
			return 0;
		}
	return VMS_E_IO;
}

static int commit_mem(void *ctx, const struct vms_meta_batch *b)
{
	writes++;
	mem_apply(ctx, b);
	return 0;
}

static unsigned check(void)
{
	struct vms_fsck_io io = {&mem, read_mem, write_mem, commit_mem};

	memset(said, 0, sizeof(said));
	CU_ASSERT_EQUAL(vms_fsck(&mem.disk, &io, &conf, &result), 0);
	for (unsigned i = 0; i < 8 && i < result.problem.n; i++)
		snprintf(said[i], sizeof(said[0]), "%s", result.problem.d[i].text);
	vms_fsck_free(&result);
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

/* One sealed container with NCHUNKS chunks, a page that maps them and one chunk of a
 * container that is another node's, three writes in the log behind the tail. */
static void setup(void)
{
	static uint8_t file[4096 * (1 + 65 + 2)], data[4096];
	uint8_t *list = file + vms_seg_offset(1) + 4096;
	struct vms_wal_conf wc = {.node_id = 9, .cluster_uuid = "0123456789abcde"};
	struct vms_ctr_header h = {.partition = PART, .epoch = 4, .incarnation = 6};
	struct vms_ctr_footer foot = {
		.nchunks = NCHUNKS, .length_bytes = vms_seg_offset(1), .segs = 1};
	struct vms_page_key k = {PART, 7, 11, 1};
	struct vms_iov iov = {file, sizeof(file)};
	struct vms_wal_tail tail = {0};
	struct vms_meta_batch b = {0};
	uint16_t index[NCHUNKS + 1];
	vms_addr to[NCHUNKS + 1];
	struct vms_pages *ps;
	static struct vms_seg s;
	uint8_t v[88] = {0}, key[9] = {'C'};
	uint8_t pkey[3] = {'P', 0, PART};
	struct vms_wal *w;

	mem_disk_init(&mem, (256 << 10) + 8192);
	conf = (struct vms_fsck_conf){0};
	writes = 0;
	ctr = vms_ctr_first(PART, PART_BITS) + 1;
	h.ctr = foot.ctr = ctr;
	memcpy(h.cluster_uuid, wc.cluster_uuid, 16);
	memset(file, 0, sizeof(file));
	vms_ctr_header_encode(file, &h);
	s = (struct vms_seg){.ctr = ctr, .offset_bytes = (uint32_t)vms_seg_offset(0), .n = NCHUNKS};
	for (unsigned i = 0; i < NCHUNKS; i++) {
		uint8_t *p = file + vms_seg_chunk_offset(0, i);

		memset(p, (int)i + 1, 4096);
		index[i] = (uint16_t)(i * 3);
		to[i] = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(0, i));
		s.e[i] = (struct vms_seg_entry){
			.addr = to[i], .crc = vms_crc32c(0, p, 4096), .valid = 0xff};
		/* the last two have fingerprints */
		s.e[i].has_fp = i >= NCHUNKS - 2;
		if (s.e[i].has_fp) {
			struct vms_fp *fp = vms_fp_open(NULL, 0);

			vms_fp_chunk(fp, p, 4096, s.e[i].fp);
			vms_fp_close(fp);
			memcpy(list + 8 + 8 * i, s.e[i].fp, 8);
		}
	}
	list[0] = NCHUNKS;
	vms_seg_encode(file + 4096, &s);
	foot.list_bytes = (uint32_t)vms_fplist_bytes(1, NCHUNKS);
	foot.list_crc = vms_crc32c(0, list, foot.list_bytes);
	vms_ctr_footer_encode(file + vms_seg_offset(1), &foot);
	index[NCHUNKS] = 100;
	to[NCHUNKS] = vms_addr_make(vms_ctr_first(PART + 1, PART_BITS) + 1, 8192);
	mem.disk.ops->ctr_write(&mem, ctr, 0, &iov, 1, 1);
	drain(NULL);

	vms_put_le32(v, 1);
	vms_put_le32(v + 4, PART_BITS);
	memcpy(v + 8, wc.cluster_uuid, 16);
	vms_put_le64(v + 24, 9);
	vms_meta_batch_put(&b, "V", 1, v, 32);
	memset(v, 0, sizeof(v));
	vms_put_le32(v, 2);
	vms_put_le32(v + 4, 1);
	vms_put_le64(v + 8, NCHUNKS);
	vms_put_le64(v + 16, h.epoch);
	vms_put_le64(v + 24, h.incarnation);
	vms_put_le64(v + 32, NCHUNKS);
	vms_put_be64(key + 1, ctr);
	vms_meta_batch_put(&b, key, 9, v, 40);
	memset(v, 0, sizeof(v));
	v[0] = 1;
	vms_put_le64(v + 24, 5);
	vms_put_le64(v + 48, ctr + 1);
	vms_meta_batch_put(&b, pkey, 3, v, 88);
	ps = vms_pages_new(&mem.disk);
	vms_pages_apply(ps, &k, NULL, 5, index, to, NCHUNKS + 1, NULL, NULL, NULL);
	vms_pages_freeze(ps, &b);
	commit(&b);
	vms_pages_free(ps);

	vms_wal_format(&mem.disk, &wc);
	vms_wal_open(&w, &mem.disk, &wc, &tail, NULL, NULL, NULL);
	for (uint64_t q = 1; q <= 4; q++) {
		struct vms_piece p = {.chunk = 1, .count = 1, .mask = 0xff};
		uint8_t meta[20];
		struct vms_rec r = {.type = VMS_REC_WRITE,
				    .partition = PART,
				    .seq = q,
				    .meta = meta,
				    .meta_bytes = 20,
				    .payload_bytes = 4096};
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
	CU_ASSERT_EQUAL(result.values, 5);
	CU_ASSERT_EQUAL(result.partitions, 1);
	CU_ASSERT_EQUAL(result.pages, 1);
	CU_ASSERT_EQUAL(result.addresses, NCHUNKS + 1);
	CU_ASSERT_EQUAL(result.elsewhere, 1);
	CU_ASSERT_EQUAL(result.chunks, NCHUNKS);
	CU_ASSERT_EQUAL(result.containers, 1);
	CU_ASSERT_EQUAL(result.files, 1);
	CU_ASSERT_EQUAL(result.leftover, 0);
	CU_ASSERT_EQUAL(result.log_records, 3);
	CU_ASSERT_EQUAL(result.container_bytes, 4096 * 68);
	CU_ASSERT_EQUAL(writes, 0);
	teardown();
}

/* So many errors, the first of which has this word; as many of them lost. */
static void finds_lost(const char *word, unsigned errors, unsigned lost)
{
	unsigned n = check();

	CU_ASSERT_EQUAL(n, errors);
	CU_ASSERT_EQUAL(result.lost, lost);
	CU_ASSERT_PTR_NOT_NULL(strstr(said[0], word));
	if (n != errors || result.lost != lost || !strstr(said[0], word))
		printf("[%u errors, %u lost, '%s', '%s', expected '%s'] ", n, (unsigned)result.lost,
		       said[0], said[1], word);
}

/* What is primary stays as it is, whatever the options say. */
static void finds(const char *word, unsigned errors)
{
	finds_lost(word, errors, errors);
	conf.repair = true;
	finds_lost(word, errors, errors);
	CU_ASSERT_EQUAL(result.repaired, 0);
	CU_ASSERT_EQUAL(writes, 0);
	conf.repair = false;
}

/* Found, repaired by a second run, and gone in a third. */
static void repairs(const char *word, unsigned errors)
{
	writes = 0;
	finds_lost(word, errors, 0);
	CU_ASSERT_EQUAL(writes, 0);
	conf.repair = true;
	finds_lost(word, errors, 0);
	CU_ASSERT_EQUAL(result.repaired, errors);
	conf.repair = false;
	CU_ASSERT_EQUAL(check(), 0);
	if (result.errors)
		printf("['%s' is left] ", said[0]);
	writes = 0;
}

static struct mem_kv *kv_of(char letter)
{
	VMS_VEC_FOREACH (&mem.kv, kv)
		if (kv->key[0] == letter)
			return kv;
	return NULL;
}

static uint8_t *file(void)
{
	return mem.file.d[0].data;
}

static void each_lost_chunk_is_named(void)
{
	uint8_t *f;

	setup();
	f = file();
	f[vms_seg_chunk_offset(0, 2) + 9] ^= 1;
	finds("fails its checksum", 1);
	CU_ASSERT_EQUAL(result.chunks, NCHUNKS - 1);
	CU_ASSERT_EQUAL(result.lost_chunks, 1);
	f[vms_seg_chunk_offset(0, 2) + 9] ^= 1;

	f[vms_seg_offset(0) + 70] ^= 1;
	finds("5 chunks that pages name are lost", 1);
	CU_ASSERT_EQUAL(result.lost_chunks, NCHUNKS);
	f[vms_seg_offset(0) + 70] ^= 1;

	mem.file.d[0].ctr++;
	finds("lost here", 1);
	CU_ASSERT_EQUAL(result.lost_chunks, NCHUNKS);
	CU_ASSERT_EQUAL(result.leftover, 1);
	mem.file.d[0].ctr--;

	mem.file.d[0].size_bytes = vms_seg_chunk_offset(0, 3);
	CU_ASSERT_EQUAL(check(), 3); /* two chunks and the footer */
	CU_ASSERT_EQUAL(result.lost, 2);
	CU_ASSERT_EQUAL(check(), 3);
	teardown();
}

static void log_damage_is_named(void)
{
	setup();
	/* data of a record, then a superblock pair */
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
	/* with a damaged log nothing is repaired: it may know better */
	file()[30] ^= 1;
	mem.log[8192 + 2 * 8192 + 80 + 200] ^= 1;
	conf.repair = true;
	CU_ASSERT_EQUAL(check(), 2);
	CU_ASSERT_EQUAL(result.repaired, 0);
	CU_ASSERT_EQUAL(writes, 0);
	teardown();
}

static void derived_state_is_rebuilt(void)
{
	uint8_t was[4096], *entry, v[40] = {2};
	struct vms_meta_batch b = {0};
	struct mem_kv *kv;

	setup();
	/* file header: damaged, or of another container */
	memcpy(was, file(), 4096);
	file()[30] ^= 1;
	repairs("file header is damaged", 1);
	CU_ASSERT_EQUAL(memcmp(was, file(), 4096), 0);
	vms_ctr_header_encode(file(), &(struct vms_ctr_header){.ctr = ctr + 7});
	repairs("is that of", 1);
	CU_ASSERT_EQUAL(memcmp(was, file(), 4096), 0);
	vms_ctr_header_encode(file(),
			      &(struct vms_ctr_header){.ctr = ctr, .partition = PART, .epoch = 3});
	repairs("another epoch", 1);
	CU_ASSERT_EQUAL(memcmp(was, file(), 4096), 0);

	/* footer: damaged, not there, of another length */
	memcpy(was, file() + vms_seg_offset(1), 4096);
	file()[vms_seg_offset(1) + 20] ^= 1;
	repairs("footer is damaged", 1);
	CU_ASSERT_EQUAL(memcmp(was, file() + vms_seg_offset(1), 4096), 0);
	mem.file.d[0].size_bytes = vms_seg_offset(1);
	repairs("footer is not there", 1);
	CU_ASSERT_EQUAL(memcmp(was, file() + vms_seg_offset(1), 4096), 0);
	vms_ctr_footer_encode(file() + vms_seg_offset(1),
			      &(struct vms_ctr_footer){
				      .ctr = ctr, .nchunks = 1, .length_bytes = vms_seg_offset(1)});
	repairs("footer does not fit", 1);
	CU_ASSERT_EQUAL(memcmp(was, file() + vms_seg_offset(1), 4096), 0);

	/* the list behind it: damaged, another one than the segments say */
	{
		uint8_t *list = file() + vms_seg_offset(1) + 4096, sound[64];
		struct vms_ctr_footer f;

		memcpy(sound, list, sizeof(sound));
		list[40] ^= 1;
		repairs("fingerprint list is damaged", 1);
		CU_ASSERT_EQUAL(memcmp(sound, list, sizeof(sound)), 0);
		list[40] ^= 1;
		CU_ASSERT_EQUAL(vms_ctr_footer_decode(was, &f), 0);
		f.list_crc = vms_crc32c(0, list, f.list_bytes);
		vms_ctr_footer_encode(file() + vms_seg_offset(1), &f);
		repairs("fingerprint list differs", 1);
		CU_ASSERT_EQUAL(memcmp(sound, list, sizeof(sound)), 0);
		CU_ASSERT_EQUAL(memcmp(was, file() + vms_seg_offset(1), 4096), 0);
	}

	/* entry in the index: wrong count, damaged, gone; sealed, since there is a footer */
	kv = kv_of('C');
	memcpy(was, kv->val, 44);
	vms_put_be64(was + 100, ctr);
	memcpy(v, was, 40);
	v[8]--;
	vms_meta_batch_put(&b, kv->key, 9, v, 40);
	commit(&b);
	repairs("5 chunks, the index says 4", 1);
	CU_ASSERT_EQUAL(memcmp(was, kv_of('C')->val, 40), 0);
	kv_of('C')->val[9] ^= 1;
	repairs("entry of container", 1);
	entry = kv_of('C')->val;
	CU_ASSERT_EQUAL(entry[0], 2);
	CU_ASSERT_EQUAL(entry[1], 1); /* shared: nobody knows */
	CU_ASSERT_EQUAL(memcmp(was + 4, entry + 4, 36), 0);
	vms_meta_batch_del(&b, kv_of('C')->key, 9);
	commit(&b);
	repairs("not in the index", 1);
	/* without a footer it stays open, and the node seals it */
	vms_meta_batch_del(&b, kv_of('C')->key, 9);
	commit(&b);
	mem.file.d[0].size_bytes = vms_seg_offset(1);
	repairs("not in the index", 1);
	CU_ASSERT_EQUAL(kv_of('C')->val[0], 1);
	vms_meta_batch_free(&b);
	teardown();
}

static void entry_without_file_goes(void)
{
	uint8_t key[9] = {'C'}, v[40] = {2};
	struct vms_meta_batch b = {0};

	setup();
	vms_put_be64(key + 1, ctr + 1);
	vms_meta_batch_put(&b, key, 9, v, 40);
	commit(&b);
	repairs("nothing refers to it", 1);
	/* damaged as well: one problem more, the same remedy */
	vms_meta_batch_put(&b, key, 9, v, 40);
	commit(&b);
	VMS_VEC_FOREACH (&mem.kv, kv)
		if (kv->key[0] == 'C' && vms_get_be64(kv->key + 1) == ctr + 1)
			kv->val[3] ^= 1;
	repairs("fails its checksum", 2);
	vms_meta_batch_free(&b);
	teardown();
}

/* Puts the patch of one entry, or takes it away. */
static void patch(const struct vms_page_key *k, unsigned i, vms_addr to, uint64_t seq, bool del)
{
	struct vms_page p = {.key = *k, .drain_seq = seq, .stored = true};
	uint8_t key[VMS_PAGE_KEY_BYTES], val[VMS_PATCH_VAL_BYTES_MAX];
	struct vms_meta_batch b = {0};

	p.patched[i / 64] = 1ull << i % 64;
	p.entry[i] = to;
	vms_patch_key_encode(key, k);
	if (del)
		vms_meta_batch_del(&b, key, sizeof(key));
	else
		vms_meta_batch_put(&b, key, sizeof(key), val, vms_patch_val_encode(val, &p));
	commit(&b);
	vms_meta_batch_free(&b);
}

static void each_index_damage_is_named(void)
{
	struct vms_meta_batch b = {0};
	struct vms_page_key k = {PART, 7, 12, 1};
	uint8_t key[VMS_PAGE_KEY_BYTES], val[VMS_PAGE_VAL_BYTES], ckey[9] = {'C'}, v[40] = {3};
	uint8_t pkey[3] = {'P'}, pv[88] = {0};
	struct vms_page p = {.key = k};

	setup();
	kv_of('I')->val[50] ^= 1;
	finds("fails its checksum", 1);
	kv_of('I')->val[50] ^= 1;
	kv_of('T')->val[1] ^= 1;
	finds("fails its checksum", 2);
	kv_of('T')->val[1] ^= 1;
	kv_of('P')->val[30] ^= 1;
	finds("no state of that partition", 2);
	kv_of('P')->val[30] ^= 1;
	kv_of('V')->val[4] ^= 1;
	CU_ASSERT_TRUE(check() >= 1);
	kv_of('V')->val[4] ^= 1;

	/* the version before patches, this one, one that is still to come */
	for (uint32_t version = 1; version <= 3; version++) {
		uint8_t ident[32];

		memcpy(ident, kv_of('V')->val, sizeof(ident));
		vms_put_le32(ident, version);
		vms_meta_batch_put(&b, "V", 1, ident, sizeof(ident));
		commit(&b);
		CU_ASSERT_EQUAL(check() == 0, version <= VMS_INDEX_VERSION);
		if (version > VMS_INDEX_VERSION)
			CU_ASSERT_PTR_NOT_NULL(strstr(said[0], "does not know"));
		vms_put_le32(ident, 1);
		vms_meta_batch_put(&b, "V", 1, ident, sizeof(ident));
		commit(&b);
	}

	/* patches: what the page shows is looked at, and they themselves */
	patch(&k, 1, 0, 6, false);
	finds("is not there, but a patch of it is", 1);
	patch(&k, 0, 0, 0, true);
	k.subext = 11;
	patch(&k, 100, vms_addr_make(ctr, (uint32_t)vms_seg_offset(0)), 5, false);
	finds("no place of a chunk", 1);
	patch(&k, 100, 0, 6, false);
	finds("holds drain 6", 1);
	patch(&k, 100, 0, 4, false);
	finds("its patch has a wrong", 1);
	patch(&k, 100, 0, 5, false);
	CU_ASSERT_EQUAL(check(), 0);
	kv_of('J')->val[18] ^= 1;
	finds("fails its checksum", 1);
	patch(&k, 0, 0, 0, true);
	CU_ASSERT_EQUAL(check(), 0);
	k.subext = 12;

	/* pages that name what they must not, or are ahead of their partition */
	vms_page_key_encode(key, &k);
	p.entry[1] = vms_logpos_addr(PART, 5, PART_BITS);
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("no place of a chunk", 1);
	p.entry[1] = vms_addr_make(ctr, (uint32_t)vms_seg_offset(0));
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("no place of a chunk", 1);
	p.entry[1] = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(0, NCHUNKS));
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("no segment entry", 1);
	p.entry[1] = vms_addr_make(ctr + 5, 8192);
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("is not there", 1);
	/* another partition's: elsewhere, unless this node has that partition too */
	p.entry[1] = vms_addr_make(vms_ctr_first(PART + 1, PART_BITS) + 1, 8192);
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	CU_ASSERT_EQUAL(check(), 0);
	CU_ASSERT_EQUAL(result.elsewhere, 2);
	pv[0] = 1;
	vms_put_le64(pv + 48, vms_ctr_first(PART + 1, PART_BITS) + 2);
	vms_put_be16(pkey + 1, PART + 1);
	vms_meta_batch_put(&b, pkey, sizeof(pkey), pv, sizeof(pv));
	commit(&b);
	finds("is not there", 1);
	vms_meta_batch_del(&b, pkey, sizeof(pkey));
	commit(&b);
	p.entry[1] = 0;
	p.drain_seq = 6;
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	finds("holds drain 6", 1);
	p.drain_seq = 5;
	vms_page_val_encode(val, &p);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	vms_put_be64(ckey + 1, ctr);
	vms_meta_batch_put(&b, ckey, 9, v, 40);
	commit(&b);
	finds("marked dead", 1);
	vms_meta_batch_free(&b);
	teardown();
}

static void dead_put(uint64_t number, uint64_t places)
{
	struct vms_meta_batch b = {0};
	uint8_t key[11] = {'D'}, v[8];

	vms_put_be64(key + 1, number);
	vms_put_le64(v, places);
	vms_meta_batch_put(&b, key, sizeof(key), v, sizeof(v));
	commit(&b);
	vms_meta_batch_free(&b);
}

/* Places that were given back are holes; a segment's header goes with the last. */
static void dead_places_are_no_damage(void)
{
	struct vms_meta_batch b = {0};

	setup();
	dead_put(ctr, 1 << 2);
	finds("has been given back", 1);
	CU_ASSERT_EQUAL(result.lost_chunks, 1);
	/* no page names anything there any more */
	vms_meta_batch_del(&b, kv_of('I')->key, kv_of('I')->key_bytes);
	commit(&b);
	conf.deep = true;
	memset(file() + vms_seg_chunk_offset(0, 2), 0, 4096);
	CU_ASSERT_EQUAL(check(), 0);
	dead_put(ctr, (1 << NCHUNKS) - 1);
	memset(file() + vms_seg_offset(0), 0, 65 * 4096);
	CU_ASSERT_EQUAL(check(), 0);
	if (result.errors)
		printf("['%s'] ", said[0]);
	/* its entry goes: so do they, else the node would not start */
	vms_meta_batch_del(&b, kv_of('C')->key, 9);
	commit(&b);
	repairs("places that died", 1);
	CU_ASSERT_PTR_NULL(kv_of('D'));
	dead_put(ctr + 3, 1);
	repairs("nothing refers to it", 1);
	CU_ASSERT_PTR_NULL(kv_of('D'));
	vms_meta_batch_free(&b);
	teardown();
}

/* Chunks that no page names are looked at with `deep` only; then fingerprints too. */
static void deep_reads_everything(void)
{
	struct vms_meta_batch b = {0};
	uint8_t fp[32], *f;
	struct vms_seg s;
	struct vms_fp *h;

	setup();
	f = file();
	CU_ASSERT_EQUAL(vms_seg_decode(f + 4096, ctr, 4096, &s), 0);
	/* sealed by a release that wrote no lists */
	vms_ctr_footer_encode(f + vms_seg_offset(1),
			      &(struct vms_ctr_footer){.ctr = ctr,
						       .nchunks = NCHUNKS,
						       .length_bytes = vms_seg_offset(1)});
	h = vms_fp_open("01234567890123456789012345678901", 32);
	vms_fp_chunk(h, f + vms_seg_chunk_offset(0, 4), 4096, fp);
	vms_fp_close(h);
	s.e[4].has_fp = true;
	memcpy(s.e[4].fp, fp, 32);
	vms_seg_encode(f + 4096, &s);
	conf.deep = true;
	CU_ASSERT_EQUAL(check(), 0);
	conf.nsalts = 2;
	memcpy(conf.salt[1], "01234567890123456789012345678901", 32);
	conf.salt_bytes[1] = 32;
	CU_ASSERT_EQUAL(check(), 0);
	s.e[4].fp[3] ^= 1;
	vms_seg_encode(f + 4096, &s);
	finds_lost("fingerprint", 1, 0);
	conf.nsalts = 0;
	CU_ASSERT_EQUAL(check(), 0);
	/* the page is gone: nothing names the chunk */
	vms_meta_batch_del(&b, kv_of('I')->key, kv_of('I')->key_bytes);
	commit(&b);
	f[vms_seg_chunk_offset(0, 1)] ^= 1;
	finds_lost("no page names it", 1, 0);
	conf.deep = false;
	CU_ASSERT_EQUAL(check(), 0);
	vms_meta_batch_free(&b);
	teardown();
}

/* The state of the other partition whose container a page names. */
static void neighbour(uint64_t next_ctr, bool half)
{
	uint8_t key[3] = {'P'}, val[96] = {1, 0, half};
	struct vms_meta_batch b = {0};

	vms_put_be16(key + 1, PART + 1);
	vms_put_le64(val + 48, next_ctr);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	vms_meta_batch_free(&b);
}

/* The copies of two partitions are of different times: what one names and the other has
 * not come to yet is no damage, what it had is (simulator seed 16967). */
static void copies_that_are_behind_are_no_damage(void)
{
	uint64_t other = vms_ctr_first(PART + 1, PART_BITS) + 1;
	uint8_t key[9] = {'C'}, val[40] = {1}, block[4096];
	struct vms_ctr_header h = {.ctr = other, .partition = PART + 1};
	struct vms_iov iov = {block, sizeof(block)};
	struct vms_meta_batch b = {0};
	bool out[1 << PART_BITS] = {false};

	setup();
	neighbour(other, false);
	CU_ASSERT_EQUAL(check(), 0);
	CU_ASSERT_EQUAL(result.elsewhere, 1);
	neighbour(other + 1, false); /* there was one: gone */
	finds("is not there", 1);
	conf.out = out; /* unless nobody counts one of the two copies */
	finds("is not there", 1);
	out[PART] = true;
	CU_ASSERT_EQUAL(check(), 0);
	CU_ASSERT_EQUAL(result.elsewhere, 1);
	out[PART] = false;
	out[PART + 1] = true;
	CU_ASSERT_EQUAL(check(), 0);
	CU_ASSERT_EQUAL(result.elsewhere, 1);
	out[PART + 1] = false;

	/* open, and not yet that long; sealed it grows no more */
	vms_put_be64(key + 1, other);
	vms_ctr_header_encode(block, &h);
	mem.disk.ops->ctr_write(&mem, other, 0, &iov, 1, 1);
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	CU_ASSERT_EQUAL(check(), 0);
	CU_ASSERT_EQUAL(result.elsewhere, 1);
	val[0] = 2;
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	commit(&b);
	CU_ASSERT_EQUAL(check(), 2); /* and it has no footer */
	CU_ASSERT_PTR_NOT_NULL(strstr(said[0], "1 chunks that pages name are lost"));

	/* a copy that is being made: the attempt that goes on writes the header */
	val[0] = 1;
	vms_meta_batch_put(&b, key, sizeof(key), val, sizeof(val));
	memset(block, 0, sizeof(block));
	mem.disk.ops->ctr_write(&mem, other, 0, &iov, 1, 1);
	commit(&b);
	finds_lost("its file header", 1, 0);
	neighbour(other + 1, true);
	CU_ASSERT_EQUAL(check(), 0);
	vms_meta_batch_free(&b);
	teardown();
}

static void write_that_fails_its_checksum_in_a_sound_frame(void)
{
	struct vms_wal_conf wc = {.node_id = 9};
	struct vms_wal_tail tail = {0};
	struct vms_piece p = {.chunk = 1, .count = 1, .mask = 0x01, .crc = 12345};
	uint8_t meta[20], data[512] = {1};
	struct vms_rec r = {.type = VMS_REC_WRITE,
			    .seq = 1,
			    .meta = meta,
			    .meta_bytes = 20,
			    .payload_bytes = 512};
	struct vms_iov iov = {data, 512};
	struct vms_wal *w;

	mem_disk_init(&mem, (256 << 10) + 8192);
	conf = (struct vms_fsck_conf){0};
	writes = 0;
	vms_wal_format(&mem.disk, &wc);
	vms_wal_open(&w, &mem.disk, &wc, &tail, NULL, NULL, NULL);
	vms_rec_pieces_encode(meta, &p, 1);
	vms_wal_append(w, &r, &iov, 1, false, NULL);
	vms_wal_submit(w, true, 1000);
	drain(w);
	vms_wal_close(w);
	finds("the data of chunk 1 fails", 1);
	teardown();
}

/* On a real folder, through the body of the tools. */
static void exit_codes_of_the_program(void)
{
	char dir[] = "/tmp/vms-fsck-XXXXXX", cmd[64];
	struct vms_disk_posix_conf c = {.dir = dir, .log_bytes = 4 << 20, .index_bytes = 1 << 20};
	struct vms_fsck_conf look = {0}, repair = {.repair = true};
	struct vms_wal_conf wc = {.node_id = 1};
	uint8_t key[9] = {'C'}, v[40] = {2}, ident[32] = {1};
	struct vms_meta_batch b = {0};
	struct vms_disk_posix *d;
	struct vms_disk disk;
	struct vms_errmsg msg;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_EQUAL(vms_fsck_main("t", dir, &look, false), 8); /* no node's */
	CU_ASSERT_EQUAL_FATAL(vms_disk_posix_format(&c, &msg), 0);
	CU_ASSERT_EQUAL_FATAL(vms_disk_posix_open(&d, &c, &msg), 0);
	CU_ASSERT_EQUAL(vms_fsck_main("t", dir, &look, false), 8); /* in use */
	disk = vms_disk_posix_disk(d);
	CU_ASSERT_EQUAL(vms_wal_format(&disk, &wc), 0);
	vms_disk_posix_close(d);
	CU_ASSERT_EQUAL(vms_fsck_main("t", dir, &look, false), 0); /* nothing stored yet */
	/* the entry of a container that is not there */
	CU_ASSERT_EQUAL_FATAL(vms_disk_posix_open(&d, &c, &msg), 0);
	disk = vms_disk_posix_disk(d);
	vms_meta_batch_put(&b, "V", 1, ident, sizeof(ident));
	vms_put_be64(key + 1, 5);
	vms_meta_batch_put(&b, key, 9, v, 40);
	disk.ops->meta_commit(disk.ctx, &b, 1);
	vms_disk_posix_close(d);
	vms_meta_batch_free(&b);
	CU_ASSERT_EQUAL(vms_fsck_main("t", dir, &look, false), 4);
	CU_ASSERT_EQUAL(vms_fsck_main("t", dir, &repair, true), 1);
	CU_ASSERT_EQUAL(vms_fsck_main("t", dir, &look, false), 0);
	snprintf(cmd, sizeof(cmd), "%s/log", dir);
	CU_ASSERT_EQUAL(truncate(cmd, 4096), 0);
	CU_ASSERT_EQUAL(vms_fsck_main("t", dir, &repair, false), 4);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	CU_ASSERT_EQUAL(system(cmd), 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(sound_node_is_sound),
	VMS_TEST(each_lost_chunk_is_named),
	VMS_TEST(log_damage_is_named),
	VMS_TEST(derived_state_is_rebuilt),
	VMS_TEST(entry_without_file_goes),
	VMS_TEST(each_index_damage_is_named),
	VMS_TEST(dead_places_are_no_damage),
	VMS_TEST(deep_reads_everything),
	VMS_TEST(copies_that_are_behind_are_no_damage),
	VMS_TEST(write_that_fails_its_checksum_in_a_sound_frame),
	VMS_TEST(exit_codes_of_the_program),
};
VMS_TEST_MAIN("fsck", tests)
