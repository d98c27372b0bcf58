// SPDX-License-Identifier: GPL-2.0-only
/*
 * SHA-256 of two messages at a time; see sha_pair.h.
 *
 * The instructions keep the eight words of the state as (a b e f) and (c d g h), highest
 * word first, and take four words of the message schedule at a time.
 */
#include "utils/lib/sha_pair.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define BLOCK 64u
#define SHA   __attribute__((target("sha,sse4.1,ssse3")))
#define STEP  SHA __attribute__((always_inline)) inline

static const uint32_t k256[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2};

struct state {
	__m128i abef, cdgh;
};

bool vms_sha_pair_usable(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}

static STEP void load(__m128i w[4], const uint8_t *p)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);

	for (unsigned i = 0; i < 4; i++)
		w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p + i),
					swap);
}

/* Rounds 4 g to 4 g + 3; then w[g % 4] becomes what round group g + 4 needs. */
static STEP void rounds(struct state *s, __m128i w[4], unsigned g)
{
	__m128i m = _mm_add_epi32(w[g % 4],
				  _mm_loadu_si128((const __m128i *)(const void *)(k256 + 4ul * g)));

	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, m);
	s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(m, 0x0e));
	if (g < 12)
		w[g % 4] = _mm_sha256msg2_epu32(
			_mm_add_epi32(_mm_sha256msg1_epu32(w[g % 4], w[(g + 1) % 4]),
				      _mm_alignr_epi8(w[(g + 3) % 4], w[(g + 2) % 4], 4)),
			w[(g + 3) % 4]);
}

static SHA void blocks(struct state s[2], const uint8_t *a, const uint8_t *b, size_t n)
{
	struct state x = s[0], y = s[1];

	for (; n; n--, a += BLOCK, b += BLOCK) {
		struct state x0 = x, y0 = y;
		__m128i u[4], v[4];

		load(u, a);
		load(v, b);
#pragma GCC unroll 16
		for (unsigned g = 0; g < 16; g++) {
			rounds(&x, u, g);
			rounds(&y, v, g);
		}
		x.abef = _mm_add_epi32(x.abef, x0.abef);
		x.cdgh = _mm_add_epi32(x.cdgh, x0.cdgh);
		y.abef = _mm_add_epi32(y.abef, y0.abef);
		y.cdgh = _mm_add_epi32(y.cdgh, y0.cdgh);
	}
	s[0] = x;
	s[1] = y;
}

static SHA void finish(const struct state *s, uint8_t *out)
{
	uint32_t abef[4], cdgh[4];

	memcpy(abef, &s->abef, 16);
	memcpy(cdgh, &s->cdgh, 16);
	for (unsigned i = 0; i < 2; i++) {
		vms_put_be32(out + 4 * i, abef[3 - i]);
		vms_put_be32(out + 8 + 4 * i, cdgh[3 - i]);
		vms_put_be32(out + 16 + 4 * i, abef[1 - i]);
		vms_put_be32(out + 24 + 4 * i, cdgh[1 - i]);
	}
}

SHA void vms_sha_pair(const void *head, size_t head_bytes, const uint8_t *const data[2],
		      size_t len_bytes, uint8_t *const out[2])
{
	/* the first block with the head, the last one or two with the length */
	uint8_t edge[2][2 * BLOCK];
	uint64_t bits = 8 * (uint64_t)(head_bytes + len_bytes);
	size_t at = 0, whole, rest, tail;
	struct state s[2];

	vms_assert(head_bytes <= BLOCK && len_bytes < UINT32_MAX - BLOCK);
	for (unsigned i = 0; i < 2; i++)
		s[i] = (struct state){
			_mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c),
			_mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19)};
	rest = head_bytes;
	if (head_bytes && head_bytes + len_bytes >= BLOCK) {
		at = BLOCK - head_bytes;
		for (unsigned i = 0; i < 2; i++) {
			memcpy(edge[i], head, head_bytes);
			if (at)
				memcpy(edge[i] + head_bytes, data[i], at);
		}
		blocks(s, edge[0], edge[1], 1);
		rest = 0;
	}
	whole = rest ? 0 : (len_bytes - at) / BLOCK;
	blocks(s, data[0] + at, data[1] + at, whole);
	at += whole * BLOCK;
	tail = rest + (len_bytes - at) + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
	for (unsigned i = 0; i < 2; i++) {
		size_t k = rest;

		memset(edge[i], 0, sizeof(edge[i]));
		if (rest)
			memcpy(edge[i], head, rest);
		if (len_bytes > at)
			memcpy(edge[i] + k, data[i] + at, len_bytes - at);
		k += len_bytes - at;
		edge[i][k] = 0x80;
		vms_put_be64(edge[i] + tail - 8, bits);
	}
	blocks(s, edge[0], edge[1], tail / BLOCK);
	finish(&s[0], out[0]);
	finish(&s[1], out[1]);
}
