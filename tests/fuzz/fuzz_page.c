// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of index keys and values. First byte: 1 sets the value's checksum
 * right; the second is the key's length.
 */
#include "backend/page_patch.h"
#include "include/err.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *key, *val, again[VMS_PAGE_VAL_BYTES], key2[VMS_PAGE_KEY_BYTES];
	uint8_t patch[VMS_PATCH_VAL_BYTES_MAX];
	struct vms_page p = {.drain_seq = 0}, p2;
	uint32_t kb, vb;
	int n;

	if (size < 2)
		return 0;
	kb = data[1] < size - 2 ? data[1] : (uint32_t)size - 2;
	vb = (uint32_t)(size - 2 - kb);
	key = malloc(kb + 1);
	val = malloc(vb + 1);
	memcpy(key, data + 2, kb);
	memcpy(val, data + 2 + kb, vb);
	if (data[0] & 1 && vb >= 4)
		vms_put_le32(val + vb - 4, vms_crc32c(vms_crc32c(0, key, kb), val, vb - 4));
	n = vms_meta_check(key, kb, val, vb);
	if (n >= 0) {
		vms_assert((uint32_t)n == vb - 4);
		if (!vms_page_val_decode(val, (uint32_t)n, &p)) {
			vms_page_val_encode(again, &p);
			vms_assert(!vms_page_val_decode(again, sizeof(again), &p2));
			vms_assert(p.drain_seq == p2.drain_seq &&
				   !memcmp(p.entry, p2.entry, sizeof(p.entry)));
		}
		p = (struct vms_page){.stored = true};
		if (!vms_patch_val_decode(val, (uint32_t)n, &p))
			vms_assert(vms_patch_will_do(&p) &&
				   vms_patch_val_encode(patch, &p) == (uint32_t)n &&
				   !memcmp(patch + 8, val + 8, (size_t)n - 8));
	}
	if (!vms_page_key_decode(key, kb, &p.key)) {
		vms_page_key_encode(key2, &p.key);
		vms_assert(!memcmp(key, key2, sizeof(key2)));
	}
	if (!vms_patch_key_decode(key, kb, &p.key)) {
		vms_patch_key_encode(key2, &p.key);
		vms_assert(!memcmp(key, key2, sizeof(key2)));
	}
	free(key);
	free(val);
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	struct vms_page p = {.key = {3, 4, 5, 6}, .drain_seq = 7};

	if (i == 2) {
		uint32_t n;

		p.stored = true;
		p.patched[1] = 5;
		out[0] = 1;
		out[1] = VMS_PAGE_KEY_BYTES;
		vms_patch_key_encode(out + 2, &p.key);
		n = vms_patch_val_encode(out + 2 + VMS_PAGE_KEY_BYTES, &p);
		memset(out + 2 + VMS_PAGE_KEY_BYTES + n, 0, 4);
		return 2 + VMS_PAGE_KEY_BYTES + n + 4;
	}
	if (i > 2)
		return 0;
	for (unsigned k = 0; k < VMS_SUBEXT_CHUNKS; k++)
		p.entry[k] = i ? vms_addr_make(8, 4096 * (k + 2)) : 0;
	out[0] = 1;
	out[1] = VMS_PAGE_KEY_BYTES;
	vms_page_key_encode(out + 2, &p.key);
	vms_page_val_encode(out + 2 + VMS_PAGE_KEY_BYTES, &p);
	memset(out + 2 + VMS_PAGE_KEY_BYTES + VMS_PAGE_VAL_BYTES, 0, 4);
	return 2 + VMS_PAGE_KEY_BYTES + VMS_PAGE_VAL_BYTES + 4;
}
