// SPDX-License-Identifier: GPL-2.0-only
/*
 * Batches of metadata changes and the checksum of stored values (rules A10).
 * The checksum covers the key too: a value that turns up under another key is
 * as wrong as a damaged one. Owner: the node thread; engines walk a batch that
 * is theirs until they report its end.
 */
#include "backend/meta.h"

#include <stdlib.h>

#include "include/err.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define OP_HEADER_BYTES 8u
#define CRC_BYTES	4u

static uint32_t value_crc(const void *key, uint32_t key_bytes, const void *val, uint32_t val_bytes)
{
	return vms_crc32c(vms_crc32c(0, key, key_bytes), val, val_bytes);
}

static uint8_t *batch_room(struct vms_meta_batch *b, uint8_t op, const void *key,
			   uint32_t key_bytes, uint32_t val_bytes)
{
	size_t need = OP_HEADER_BYTES + (size_t)key_bytes + val_bytes;
	uint8_t *p;

	vms_assert(key_bytes >= 1 && key_bytes <= VMS_META_KEY_BYTES_MAX);
	if (b->room_bytes - b->used_bytes < need) {
		size_t room = b->room_bytes ? b->room_bytes * 2 : 16384;

		while (room - b->used_bytes < need)
			room *= 2;
		p = realloc(b->data, room);
		if (!p)
			return NULL;
		b->data = p;
		b->room_bytes = room;
	}
	p = b->data + b->used_bytes;
	b->used_bytes += need;
	b->nops++;
	p[0] = op;
	p[1] = 0;
	vms_put_le16(p + 2, (uint16_t)key_bytes);
	vms_put_le32(p + 4, val_bytes);
	memcpy(p + OP_HEADER_BYTES, key, key_bytes);
	return p + OP_HEADER_BYTES + key_bytes;
}

int vms_meta_batch_put(struct vms_meta_batch *b, const void *key, uint32_t key_bytes,
		       const void *val, uint32_t val_bytes)
{
	uint8_t *p;

	vms_assert(val_bytes <= VMS_META_VAL_BYTES_MAX);
	p = batch_room(b, 1, key, key_bytes, val_bytes + CRC_BYTES);
	if (!p)
		return VMS_E_NOMEM;
	if (val_bytes)
		memcpy(p, val, val_bytes);
	vms_put_le32(p + val_bytes, value_crc(key, key_bytes, val, val_bytes));
	return 0;
}

int vms_meta_batch_del(struct vms_meta_batch *b, const void *key, uint32_t key_bytes)
{
	return batch_room(b, 2, key, key_bytes, 0) ? 0 : VMS_E_NOMEM;
}

void vms_meta_batch_reset(struct vms_meta_batch *b)
{
	b->used_bytes = 0;
	b->nops = 0;
}

void vms_meta_batch_free(struct vms_meta_batch *b)
{
	free(b->data);
	*b = (struct vms_meta_batch){0};
}

int vms_meta_batch_next(const struct vms_meta_batch *b, size_t *at, struct vms_meta_op *op)
{
	const uint8_t *p;

	if (*at >= b->used_bytes)
		return 0;
	p = b->data + *at;
	op->op = p[0];
	op->key_bytes = vms_get_le16(p + 2);
	op->val_bytes = vms_get_le32(p + 4);
	op->key = p + OP_HEADER_BYTES;
	op->val = op->key + op->key_bytes;
	*at += OP_HEADER_BYTES + op->key_bytes + op->val_bytes;
	vms_assert(*at <= b->used_bytes);
	return 1;
}

int vms_meta_check(const uint8_t *key, uint32_t key_bytes, const uint8_t *val, uint32_t val_bytes)
{
	if (val_bytes < CRC_BYTES)
		return VMS_E_CORRUPT;
	val_bytes -= CRC_BYTES;
	if (vms_get_le32(val + val_bytes) != value_crc(key, key_bytes, val, val_bytes))
		return VMS_E_CORRUPT;
	return (int)val_bytes;
}

int vms_meta_get(const struct vms_disk *d, const void *key, uint32_t key_bytes, void *val,
		 uint32_t room_bytes)
{
	uint8_t small[2048], *buf = small, *big = NULL;
	int n = d->ops->meta_get(d->ctx, key, key_bytes, small, sizeof(small));

	if (n > (int)sizeof(small)) {
		int m = n;

		if (n > (int)(VMS_META_VAL_BYTES_MAX + CRC_BYTES))
			return VMS_E_CORRUPT;
		buf = big = malloc((size_t)m);
		if (!big)
			return VMS_E_NOMEM;
		n = d->ops->meta_get(d->ctx, key, key_bytes, big, (uint32_t)m);
		if (n > m)
			n = VMS_E_CORRUPT;
	}
	if (n >= 0)
		n = vms_meta_check(key, key_bytes, buf, (uint32_t)n);
	if (n > 0 && room_bytes)
		memcpy(val, buf, (uint32_t)n < room_bytes ? (uint32_t)n : room_bytes);
	free(big);
	return n;
}
