/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * main() of a fuzz target when it is not linked with libFuzzer
 * (-DVMS_LIBFUZZER): replays the files named by its arguments, then
 * FUZZ_MUTATIONS random mutations of them with a fixed seed (environment
 * VMS_FUZZ_SEED, VMS_FUZZ_N), so that a run can be repeated. `--write DIR` writes
 * the target's seed inputs there: that is how the corpus was made.
 *
 * A target defines LLVMFuzzerTestOneInput and fuzz_seed().
 */
#ifndef VMS_FUZZ_DRIVER_H
#define VMS_FUZZ_DRIVER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/rng.h"

#define FUZZ_BYTES_MAX 65536u
#ifndef FUZZ_MUTATIONS
#define FUZZ_MUTATIONS 20000u
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Seed input i into out (FUZZ_BYTES_MAX room): its length, 0 when there is none. */
static size_t fuzz_seed(unsigned i, uint8_t *out);

#ifndef VMS_LIBFUZZER
static size_t fuzz_mutate(struct vms_rng *rng, uint8_t *p, size_t n)
{
	static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 64, 65};

	for (unsigned k = 1 + (unsigned)vms_rng_below(rng, 6); k; k--) {
		/* half of the changes near the front, where headers are */
		size_t room = vms_rng_below(rng, 2) && n > 160 ? 160 : n;
		size_t at = room ? vms_rng_below(rng, room) : 0;

		switch (n ? vms_rng_below(rng, 7) : 6) {
		case 0:
			p[at] ^= (uint8_t)(1u << vms_rng_below(rng, 8));
			break;
		case 1:
			p[at] = odd[vms_rng_below(rng, sizeof(odd))];
			break;
		case 2:
			p[at] = (uint8_t)vms_rng_u32(rng);
			break;
		case 3: /* a run copied from elsewhere */
			for (size_t len = vms_rng_below(rng, 24), from = vms_rng_below(rng, n);
			     len && at < n && from < n; len--)
				p[at++] = p[from++];
			break;
		case 4: /* cut */
			if (vms_rng_below(rng, 4) == 0)
				n = vms_rng_below(rng, n + 1);
			break;
		case 5: /* a large number */
			for (size_t i = at; i < n && i < at + 4; i++)
				p[i] = vms_rng_below(rng, 2) ? 0xff : 0x00;
			break;
		default: /* grow */
			if (n < FUZZ_BYTES_MAX - 64 && vms_rng_below(rng, 4) == 0) {
				size_t more = vms_rng_below(rng, 64);

				memset(p + n, 0, more);
				n += more;
			}
		}
	}
	return n;
}

static size_t fuzz_load(const char *name, uint8_t *out)
{
	FILE *f = fopen(name, "rb");
	size_t n;

	if (!f) {
		perror(name);
		exit(1);
	}
	n = fread(out, 1, FUZZ_BYTES_MAX, f);
	fclose(f);
	return n;
}

int main(int argc, char **argv)
{
	static uint8_t buf[FUZZ_BYTES_MAX];
	const char *seed = getenv("VMS_FUZZ_SEED"), *count = getenv("VMS_FUZZ_N");
	unsigned n = count ? (unsigned)strtoul(count, NULL, 10) : FUZZ_MUTATIONS;
	struct vms_rng rng;
	size_t len;

	if (argc == 3 && !strcmp(argv[1], "--write")) {
		for (unsigned i = 0; (len = fuzz_seed(i, buf)); i++) {
			char name[512];
			FILE *f;

			snprintf(name, sizeof(name), "%s/seed-%02u", argv[2], i);
			f = fopen(name, "wb");
			if (!f || fwrite(buf, 1, len, f) != len || fclose(f)) {
				perror(name);
				return 1;
			}
		}
		return 0;
	}
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE... | --write DIR\n", argv[0]);
		return 1;
	}
	for (int i = 1; i < argc; i++)
		LLVMFuzzerTestOneInput(buf, fuzz_load(argv[i], buf));
	vms_rng_init(&rng, seed ? strtoull(seed, NULL, 10) : 1);
	for (unsigned i = 0; i < n; i++) {
		len = fuzz_load(argv[1 + vms_rng_below(&rng, (uint64_t)argc - 1)], buf);
		LLVMFuzzerTestOneInput(buf, fuzz_mutate(&rng, buf, len));
	}
	printf("%d inputs replayed, %u mutations\n", argc - 1, n);
	return 0;
}
#endif

#endif
