// SPDX-License-Identifier: GPL-2.0-only
/* See page_patch.h. */
#include "backend/page_patch.h"

#include "include/err.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define PATCH_LETTER  'J'
#define PATCH_VERSION 1
#define HEAD_BYTES    16u
#define ENTRY_BYTES   9u

void vms_patch_key_encode(uint8_t *out, const struct vms_page_key *k)
{
	vms_page_key_encode(out, k);
	out[0] = PATCH_LETTER;
}

int vms_patch_key_decode(const uint8_t *p, uint32_t bytes, struct vms_page_key *k)
{
	uint8_t key[VMS_PAGE_KEY_BYTES] = {'I'};

	if (bytes != sizeof(key) || p[0] != PATCH_LETTER)
		return VMS_E_CORRUPT;
	memcpy(key + 1, p + 1, sizeof(key) - 1);
	return vms_page_key_decode(key, sizeof(key), k);
}

static unsigned entries(const struct vms_page *p)
{
	return (unsigned)(__builtin_popcountll(p->patched[0]) +
			  __builtin_popcountll(p->patched[1]));
}

bool vms_patch_will_do(const struct vms_page *p)
{
	return p->stored && entries(p) <= VMS_PATCH_ENTRIES_MAX;
}

uint32_t vms_patch_val_encode(uint8_t *out, const struct vms_page *p)
{
	uint8_t *at = out + HEAD_BYTES;

	vms_assert(vms_patch_will_do(p));
	memset(out, 0, 8);
	out[0] = PATCH_VERSION;
	out[1] = (uint8_t)entries(p);
	vms_put_le64(out + 8, p->drain_seq);
	for (unsigned w = 0; w < 2; w++)
		for (uint64_t m = p->patched[w]; m; m &= m - 1) {
			unsigned i = 64 * w + (unsigned)__builtin_ctzll(m);

			at[0] = (uint8_t)i;
			vms_put_le64(at + 1, p->entry[i]);
			at += ENTRY_BYTES;
		}
	return (uint32_t)(at - out);
}

int vms_patch_val_decode(const uint8_t *v, uint32_t bytes, struct vms_page *p)
{
	unsigned next = 0;

	if (bytes < HEAD_BYTES || v[0] != PATCH_VERSION || v[1] > VMS_PATCH_ENTRIES_MAX ||
	    bytes != HEAD_BYTES + ENTRY_BYTES * v[1] || vms_get_le64(v + 8) < p->drain_seq)
		return VMS_E_CORRUPT;
	p->drain_seq = vms_get_le64(v + 8);
	p->patched[0] = p->patched[1] = 0;
	for (const uint8_t *e = v + HEAD_BYTES; e < v + bytes; e += ENTRY_BYTES) {
		if (e[0] < next || e[0] >= VMS_SUBEXT_CHUNKS)
			return VMS_E_CORRUPT;
		next = e[0] + 1u;
		p->entry[e[0]] = vms_get_le64(e + 1);
		p->patched[e[0] / 64] |= 1ull << e[0] % 64;
	}
	return 0;
}

int vms_patch_read(const struct vms_disk *d, struct vms_page *p)
{
	uint8_t key[VMS_PAGE_KEY_BYTES], val[VMS_PATCH_VAL_BYTES_MAX];
	int n;

	p->stored = true;
	p->patched[0] = p->patched[1] = 0;
	vms_patch_key_encode(key, &p->key);
	n = vms_meta_get(d, key, sizeof(key), val, sizeof(val));
	if (n == VMS_E_NOENT)
		return 0;
	if (n < 0)
		return n;
	return n > (int)sizeof(val) ? VMS_E_CORRUPT : vms_patch_val_decode(val, (uint32_t)n, p);
}
