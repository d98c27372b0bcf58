// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the index costs per random 4 KiB write and replica: the node's own pages and
 * LMDB store, and nothing else of it.
 *
 *   index_upkeep DIR [SPAN_GIB [GENERATION_MIB [GENERATIONS [US_MAX BYTES_MAX]]]]
 *
 * One node that holds all pages of SPAN_GIB (100) of address space, every chunk mapped.
 * Each generation of GENERATION_MIB (256, a quarter of a log of 1 GiB) of random writes
 * is applied as drains do it, sorted by partition and sub-extent in records of up to 64
 * chunks, then checkpointed with the states of all 1024 partitions in one commit.
 * CPU is that of the process, bytes are those given to write calls. With US_MAX and
 * BYTES_MAX: exit code 1 when the median generation takes more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "backend/meta_lmdb.h"
#include "backend/pages.h"
#include "utils/lib/assert.h"
#include "utils/lib/rng.h"

#define PART_BITS    10u
#define RECORD_BYTES (4096u + 152u) /* of the log, with header and piece */
#define LINEAGE	     1u

static int get(void *ctx, const void *key, uint32_t kb, void *val, uint32_t room)
{
	return vms_meta_lmdb_get(ctx, key, kb, val, room);
}

static int last_le(void *ctx, const void *key, uint32_t kb, void *fk, uint32_t *fkb, void *val,
		   uint32_t room)
{
	return vms_meta_lmdb_last_le(ctx, key, kb, fk, fkb, val, room);
}

static int range(void *ctx, const void *from, uint32_t fb, const void *to, uint32_t tb,
		 vms_meta_iter_fn fn, void *arg)
{
	return vms_meta_lmdb_range(ctx, from, fb, to, tb, fn, arg);
}

static const struct vms_disk_ops ops = {
	.meta_get = get, .meta_last_le = last_le, .meta_range = range};

struct wr {
	uint32_t part, subext;
	uint16_t index;
};

static int wr_cmp(const void *a, const void *b)
{
	const struct wr *x = a, *y = b;

	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	if (x->subext != y->subext)
		return x->subext < y->subext ? -1 : 1;
	return (int)x->index - (int)y->index;
}

static double cpu_us(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static uint64_t written(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	char line[128];
	uint64_t v = 0;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "wchar: %" SCNu64, &v);
	if (f)
		fclose(f);
	return v;
}

static uint32_t part_of(uint32_t subext)
{
	return vms_extent_partition(LINEAGE, subext / VMS_EXTENT_SUBEXTS, PART_BITS);
}

static void commit(struct vms_pages *ps, struct vms_meta_lmdb *m, struct vms_meta_batch *b)
{
	uint8_t state[88] = {1};

	vms_meta_batch_reset(b);
	for (uint32_t p = 0; p < 1u << PART_BITS; p++) {
		uint8_t k[3] = {'P', (uint8_t)(p >> 8), (uint8_t)p};

		vms_assert(!vms_meta_batch_put(b, k, 3, state, sizeof(state)));
	}
	vms_assert(!vms_pages_freeze(ps, b));
	vms_assert(!vms_meta_lmdb_commit(m, b));
	vms_pages_thaw(ps);
}

/* All chunks of these writes get new addresses; seqs of a partition only grow. */
static uint64_t apply(struct vms_pages *ps, struct wr *w, size_t n, uint64_t seq, uint64_t *next)
{
	uint64_t records = 0;

	for (size_t i = 0; i < n;) {
		size_t record_end = i + 64 < n ? i + 64 : n;

		seq++;
		records++;
		while (i < record_end) {
			struct vms_page_key key = {w[i].part, 1, w[i].subext, 1};
			struct vms_stack st = {1, {{1, 1, UINT64_MAX}}};
			uint16_t index[64];
			vms_addr to[64], old[64];
			bool changed[64];
			unsigned k = 0;

			/* a chunk that is written twice shows once */
			while (i < record_end && w[i].part == key.partition &&
			       w[i].subext == key.subext) {
				if (k && index[k - 1] == w[i].index) {
					i++;
					continue;
				}
				index[k] = w[i].index;
				to[k++] = vms_addr_make(
					vms_ctr_first(key.partition, PART_BITS) + 1,
					(uint32_t)(++*next % (VMS_CTR_BYTES_MAX / 4096)) * 4096);
				i++;
			}
			vms_assert(vms_pages_apply(ps, &key, &st, seq, index, to, k, NULL, changed,
						   old) >= 0);
			if (i < n && w[i].part != key.partition)
				break; /* a record is of one partition */
		}
	}
	return records;
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	uint64_t span_gib = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
	uint64_t gen_mib = argc > 3 ? strtoull(argv[3], NULL, 10) : 256;
	unsigned gens = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 8;
	double us_max = argc > 6 ? strtod(argv[5], NULL) : 0,
	       bytes_max = argc > 6 ? strtod(argv[6], NULL) : 0;
	uint32_t subexts = (uint32_t)(span_gib << 11);
	size_t n = (size_t)((gen_mib << 20) / RECORD_BYTES);
	struct wr *w = malloc((n > 65536 ? n : 65536) * sizeof(*w));
	struct vms_meta_batch b = {0};
	struct vms_errmsg e = {""};
	double us[64], bytes[64];
	struct vms_meta_lmdb *m;
	struct vms_pages *ps;
	struct vms_disk disk;
	uint64_t seq = 0, next = 0;
	struct vms_rng rng;

	if (argc < 2 || !span_gib || span_gib > 1000 || !gen_mib || !gens || gens > 64) {
		fprintf(stderr, "usage: index_upkeep DIR [SPAN_GIB [GENERATION_MIB "
				"[GENERATIONS [US BYTES]]]]\n");
		return 2;
	}
	if (vms_meta_lmdb_open(&m, argv[1], 16ull << 30, &e)) {
		fprintf(stderr, "index_upkeep: %s: %s\n", argv[1], e.text);
		return 1;
	}
	disk = (struct vms_disk){&ops, m};
	ps = vms_pages_new(&disk);
	vms_assert(ps && w);
	vms_rng_init(&rng, 1);
	/* all pages, all entries */
	for (uint32_t s = 0; s < subexts;) {
		size_t k = 0;

		for (; s < subexts && k + VMS_SUBEXT_CHUNKS <= 65536; s++)
			for (uint16_t c = 0; c < VMS_SUBEXT_CHUNKS; c++)
				w[k++] = (struct wr){part_of(s), s, c};
		qsort(w, k, sizeof(*w), wr_cmp);
		seq += apply(ps, w, k, seq, &next);
		if (vms_pages_delta_count(ps) > 20000 || s == subexts)
			commit(ps, m, &b);
	}
	printf("index: %" PRIu32 " pages of %" PRIu64 " GiB, %zu writes per generation\n", subexts,
	       span_gib, n);
	printf("  generation   us CPU per write   bytes per write\n");
	for (unsigned g = 0; g < gens; g++) {
		double c;
		uint64_t by;

		for (size_t i = 0; i < n; i++) {
			uint32_t s = (uint32_t)(vms_rng_below(&rng, subexts));

			w[i] = (struct wr){part_of(s), s,
					   (uint16_t)(vms_rng_below(&rng, VMS_SUBEXT_CHUNKS))};
		}
		qsort(w, n, sizeof(*w), wr_cmp);
		c = cpu_us();
		by = written();
		seq += apply(ps, w, n, seq, &next);
		commit(ps, m, &b);
		us[g] = (cpu_us() - c) / (double)n;
		bytes[g] = (double)(written() - by) / (double)n;
		printf("  %10u %18.2f %17.0f\n", g + 1, us[g], bytes[g]);
	}
	qsort(us, gens, sizeof(us[0]), cmp_double);
	qsort(bytes, gens, sizeof(bytes[0]), cmp_double);
	printf("median: %.2f us CPU, %.0f bytes per random 4 KiB write and replica\n", us[gens / 2],
	       bytes[gens / 2]);
	vms_pages_free(ps);
	vms_meta_batch_free(&b);
	vms_meta_lmdb_close(m);
	free(w);
	return us_max > 0 && (us[gens / 2] > us_max || bytes[gens / 2] > bytes_max);
}
