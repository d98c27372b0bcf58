// SPDX-License-Identifier: GPL-2.0-only
#include "backend/dedup_msg.h"

#include <string.h>

#include "backend/fplists.h"
#include "utils/lib/bytes.h"

#define CTRS (1ull << VMS_CTR_BITS)

/* Entries of `each` bytes in the body: 1..room, or VMS_E_PROTO. */
static int entries(const struct vms_msg *m, unsigned each, unsigned room)
{
	unsigned n = m->body_bytes / each;

	if (!n || m->body_bytes % each || n > room)
		return VMS_E_PROTO;
	return (int)n;
}

int vms_dm_keys_decode(const struct vms_msg *m, uint64_t *key, unsigned room)
{
	int n = entries(m, 8, room);

	for (int i = 0; i < n; i++) {
		key[i] = vms_get_le64(m->body + 8 * i);
		if (!vms_is_hook(key[i]))
			return VMS_E_PROTO;
	}
	return n;
}

int vms_dm_ctrs_decode(const struct vms_msg *m, uint64_t *ctr, unsigned room)
{
	int n = entries(m, 8, room);

	for (int i = 0; i < n; i++) {
		ctr[i] = vms_get_le64(m->body + 8 * i);
		if (ctr[i] >= CTRS)
			return VMS_E_PROTO;
	}
	return n;
}

void vms_dm_hook_encode(uint8_t *out, const struct vms_dm_hook *h)
{
	vms_put_le64(out, h->key);
	vms_put_le64(out + 8, h->ctr);
	vms_put_le64(out + 16, h->old);
}

int vms_dm_hooks_decode(const struct vms_msg *m, struct vms_dm_hook *h, unsigned room)
{
	int n = entries(m, VMS_DM_HOOK_BYTES, room);

	for (int i = 0; i < n; i++) {
		const uint8_t *b = m->body + VMS_DM_HOOK_BYTES * (unsigned)i;

		h[i] = (struct vms_dm_hook){vms_get_le64(b), vms_get_le64(b + 8),
					    vms_get_le64(b + 16)};
		if (!vms_is_hook(h[i].key) || h[i].ctr == 0 || h[i].ctr >= CTRS || h[i].old >= CTRS)
			return VMS_E_PROTO;
	}
	return n;
}

void vms_dm_confirm_encode(uint8_t *out, vms_addr a, const uint8_t fp[32])
{
	vms_put_le64(out, a);
	memcpy(out + 8, fp, 32);
}

int vms_dm_confirm_decode(const struct vms_msg *m, unsigned part_bits, struct vms_dm_confirm *c,
			  unsigned room)
{
	int n = entries(m, VMS_DM_CONFIRM_BYTES, room);

	for (int i = 0; i < n; i++) {
		const uint8_t *b = m->body + VMS_DM_CONFIRM_BYTES * (unsigned)i;
		uint32_t off;

		c[i].addr = vms_get_le64(b);
		memcpy(c[i].fp, b + 8, 32);
		off = vms_addr_offset_bytes(c[i].addr);
		if (off % VMS_CHUNK_BYTES || off < 2 * VMS_CHUNK_BYTES ||
		    vms_addr_is_log(c[i].addr, part_bits))
			return VMS_E_PROTO;
	}
	return n;
}

void vms_dm_answer_encode(uint8_t *out, const struct vms_dm_answer *a)
{
	vms_put_le64(out, a->stamp);
	vms_put_le32(out + 8, a->crc);
	vms_put_le32(out + 12, (uint32_t)a->status);
}

int vms_dm_answer_decode(const struct vms_msg *m, struct vms_dm_answer *a, unsigned room)
{
	int n = entries(m, VMS_DM_ANSWER_BYTES, room);

	for (int i = 0; i < n; i++) {
		const uint8_t *b = m->body + VMS_DM_ANSWER_BYTES * (unsigned)i;

		a[i] = (struct vms_dm_answer){vms_get_le64(b), vms_get_le32(b + 8),
					      (int32_t)vms_get_le32(b + 12)};
	}
	return n;
}

int vms_dm_list_next(const uint8_t *p, size_t bytes, size_t *at, struct vms_dm_list *l)
{
	uint32_t chunks;

	if (*at == bytes)
		return 0;
	if (bytes - *at < VMS_DM_LIST_HEAD)
		return VMS_E_PROTO;
	l->ctr = vms_get_le64(p + *at);
	l->segs = vms_get_le32(p + *at + 8);
	l->bytes = vms_get_le32(p + *at + 12);
	*at += VMS_DM_LIST_HEAD;
	if (l->bytes > bytes - *at || l->ctr == 0 || l->ctr >= CTRS ||
	    !vms_fplist_check(p + *at, l->bytes, l->segs, &chunks))
		return VMS_E_PROTO;
	l->body = p + *at;
	*at += l->bytes;
	return 1;
}
