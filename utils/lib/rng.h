/* SPDX-License-Identifier: GPL-2.0-only */
/* Deterministic pseudo-random numbers: splitmix64 for seeding and hashing,
 * xoshiro256** as the generator. Cores hold their own generator, so that one
 * seed repeats one run. Not for secrets.
 * Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators". */
#ifndef VMS_RNG_H
#define VMS_RNG_H

#include <stdbool.h>
#include <stdint.h>

/* One step of splitmix64: a bijection of 64 bits with good avalanche. */
static inline uint64_t vms_splitmix64(uint64_t z)
{
	z += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

struct vms_rng {
	uint64_t s[4];
};

static inline void vms_rng_init(struct vms_rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		r->s[i] = vms_splitmix64(seed);
		seed += UINT64_C(0x9e3779b97f4a7c15);
	}
}

static inline uint64_t vms_rng_rotl_(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

static inline uint64_t vms_rng_u64(struct vms_rng *r)
{
	uint64_t *s = r->s;
	uint64_t out = vms_rng_rotl_(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = vms_rng_rotl_(s[3], 45);
	return out;
}

static inline uint32_t vms_rng_u32(struct vms_rng *r)
{
	return (uint32_t)(vms_rng_u64(r) >> 32);
}

/* Uniform in 0..n-1; n must not be 0 (0 gives 0). The bias of the multiply is
 * below n/2^64, nothing a simulation could see. */
static inline uint64_t vms_rng_below(struct vms_rng *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)vms_rng_u64(r) * n) >> 64);
}

/* Uniform in lo..hi, both included. */
static inline uint64_t vms_rng_between(struct vms_rng *r, uint64_t lo, uint64_t hi)
{
	uint64_t span = hi - lo + 1;

	return span ? lo + vms_rng_below(r, span) : vms_rng_u64(r);
}

/* Uniform in [0, 1). */
static inline double vms_rng_double(struct vms_rng *r)
{
	return (double)(vms_rng_u64(r) >> 11) * 0x1.0p-53;
}

/* True with probability p (0 never, 1 always). */
static inline bool vms_rng_chance(struct vms_rng *r, double p)
{
	return vms_rng_double(r) < p;
}

static inline void vms_rng_fill(struct vms_rng *r, void *dst, uint64_t len_bytes)
{
	uint8_t *d = dst;

	while (len_bytes) {
		uint64_t v = vms_rng_u64(r);

		for (int i = 0; i < 8 && len_bytes; i++, len_bytes--, v >>= 8)
			*d++ = (uint8_t)v;
	}
}

#endif
