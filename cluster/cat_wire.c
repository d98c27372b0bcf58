// SPDX-License-Identifier: GPL-2.0-only
#include "cluster/cat_wire.h"

#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

bool vms_cat_key_ok(const char *key, bool empty_ok)
{
	size_t n = strnlen(key, VMS_CAT_KEY_BYTES_MAX);

	if (n >= VMS_CAT_KEY_BYTES_MAX || (!n && !empty_ok) || key[0] == '~')
		return false;
	for (size_t i = 0; i < n; i++)
		if (key[i] < 0x21 || key[i] > 0x7e)
			return false;
	return true;
}

/* u16 length, text, NUL */
static void put_key(struct vms_wr *w, const char *s)
{
	size_t n = strlen(s);

	vms_wr_u16(w, (uint16_t)n);
	vms_wr_bytes(w, s, n + 1);
}

static const char *get_key(struct vms_rd *r, bool empty_ok)
{
	size_t n = vms_rd_u16(r);
	const char *s = (const char *)vms_rd_take(r, n + 1);

	if (!vms_rd_ok(r) || s[n] || strlen(s) != n || !vms_cat_key_ok(s, empty_ok)) {
		r->bad = true;
		return NULL;
	}
	return s;
}

#define SMALL_BODY_BYTES (2 * VMS_CAT_KEY_BYTES_MAX + 32)

unsigned vms_cat_get_encode(uint8_t *out, const char *key)
{
	struct vms_wr w;

	vms_wr_init(&w, out, SMALL_BODY_BYTES);
	put_key(&w, key);
	vms_assert(vms_wr_ok(&w));
	return (unsigned)vms_wr_len(&w);
}

int vms_cat_get_decode(const struct vms_msg *m, const char **key)
{
	struct vms_rd r;

	vms_rd_init(&r, m->body, m->body_bytes);
	*key = get_key(&r, false);
	return vms_rd_done(&r) ? 0 : VMS_E_PROTO;
}

unsigned vms_cat_range_encode(uint8_t *out, const char *prefix, const char *after)
{
	struct vms_wr w;

	vms_wr_init(&w, out, SMALL_BODY_BYTES);
	put_key(&w, prefix);
	put_key(&w, after ? after : "");
	vms_assert(vms_wr_ok(&w));
	return (unsigned)vms_wr_len(&w);
}

int vms_cat_range_decode(const struct vms_msg *m, const char **prefix, const char **after)
{
	struct vms_rd r;

	vms_rd_init(&r, m->body, m->body_bytes);
	*prefix = get_key(&r, true);
	*after = get_key(&r, true);
	if (!vms_rd_done(&r))
		return VMS_E_PROTO;
	if (!**after)
		*after = NULL;
	return 0;
}

unsigned vms_cat_watch_encode(uint8_t *out, uint64_t watch, uint64_t from_revision,
			      const char *prefix)
{
	struct vms_wr w;

	vms_wr_init(&w, out, SMALL_BODY_BYTES);
	vms_wr_u64(&w, watch);
	vms_wr_u64(&w, from_revision);
	put_key(&w, prefix);
	vms_assert(vms_wr_ok(&w));
	return (unsigned)vms_wr_len(&w);
}

int vms_cat_watch_decode(const struct vms_msg *m, uint64_t *watch, uint64_t *from_revision,
			 const char **prefix)
{
	struct vms_rd r;

	vms_rd_init(&r, m->body, m->body_bytes);
	*watch = vms_rd_u64(&r);
	*from_revision = vms_rd_u64(&r);
	*prefix = get_key(&r, true);
	return vms_rd_done(&r) && *watch ? 0 : VMS_E_PROTO;
}

/* ---- TXN ---- */

int vms_cat_txn_encode(struct vms_buf *b, const struct vms_cat_cmp *cmp, unsigned ncmp,
		       const struct vms_cat_op *op, unsigned nop)
{
	size_t bytes = 8;
	struct vms_wr w;
	uint8_t *p;

	if (ncmp > VMS_CAT_TXN_OPS_MAX || nop > VMS_CAT_TXN_OPS_MAX)
		return VMS_E_INVAL;
	for (unsigned i = 0; i < ncmp; i++) {
		if (!vms_cat_key_ok(cmp[i].key, false))
			return VMS_E_INVAL;
		bytes += 8 + 3 + strlen(cmp[i].key);
	}
	for (unsigned i = 0; i < nop; i++) {
		size_t n = op[i].val ? strlen(op[i].val) : 0;

		if (!vms_cat_key_ok(op[i].key, false) || n > VMS_CAT_VAL_BYTES_MAX)
			return VMS_E_INVAL;
		bytes += 16 + 3 + strlen(op[i].key) + n + 1;
	}
	if (bytes > VMS_CAT_TXN_BYTES_MAX)
		return VMS_E_FULL;
	p = vms_buf_reserve(b, bytes);
	if (!p)
		return VMS_E_NOMEM;
	vms_wr_init(&w, p, bytes);
	vms_wr_u16(&w, (uint16_t)ncmp);
	vms_wr_u16(&w, (uint16_t)nop);
	vms_wr_u32(&w, 0);
	for (unsigned i = 0; i < ncmp; i++) {
		vms_wr_u64(&w, cmp[i].mod_revision);
		put_key(&w, cmp[i].key);
	}
	for (unsigned i = 0; i < nop; i++) {
		size_t n = op[i].val ? strlen(op[i].val) : 0;

		vms_wr_u64(&w, op[i].session);
		vms_wr_u8(&w, op[i].val ? 0 : 1);
		vms_wr_zero(&w, 3);
		vms_wr_u32(&w, (uint32_t)n);
		put_key(&w, op[i].key);
		vms_wr_bytes(&w, op[i].val ? op[i].val : "", n + 1);
	}
	vms_assert(vms_wr_ok(&w) && vms_wr_len(&w) == bytes);
	vms_buf_commit(b, bytes);
	return 0;
}

int vms_cat_txn_decode(const struct vms_msg *m, struct vms_cat_cmp *cmp, unsigned *ncmp,
		       struct vms_cat_op *op, unsigned *nop)
{
	struct vms_rd r;

	if (m->npayload != 1)
		return VMS_E_PROTO;
	vms_rd_init(&r, m->payload[0].base, m->payload[0].len);
	*ncmp = vms_rd_u16(&r);
	*nop = vms_rd_u16(&r);
	vms_rd_skip(&r, 4);
	if (!vms_rd_ok(&r) || *ncmp > VMS_CAT_TXN_OPS_MAX || *nop > VMS_CAT_TXN_OPS_MAX ||
	    m->payload[0].len > VMS_CAT_TXN_BYTES_MAX)
		return VMS_E_PROTO;
	for (unsigned i = 0; i < *ncmp; i++) {
		cmp[i].mod_revision = vms_rd_u64(&r);
		cmp[i].key = get_key(&r, false);
		if (!vms_rd_ok(&r))
			return VMS_E_PROTO;
	}
	for (unsigned i = 0; i < *nop; i++) {
		uint8_t del;
		uint32_t n;

		op[i].session = vms_rd_u64(&r);
		del = vms_rd_u8(&r);
		vms_rd_skip(&r, 3);
		n = vms_rd_u32(&r);
		op[i].key = get_key(&r, false);
		if (!vms_rd_ok(&r) || del > 1 || n > VMS_CAT_VAL_BYTES_MAX || (del && n))
			return VMS_E_PROTO;
		op[i].val = (const char *)vms_rd_take(&r, n + 1);
		if (!vms_rd_ok(&r) || strnlen(op[i].val, n + 1) != n)
			return VMS_E_PROTO;
		if (del)
			op[i].val = NULL;
		/* Two changes of one key in one revision would have no order. */
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(op[j].key, op[i].key))
				return VMS_E_INVAL;
	}
	return vms_rd_done(&r) ? 0 : VMS_E_PROTO;
}

/* ---- answers and events ---- */

void vms_cat_reply_encode(uint8_t *body, uint64_t revision, uint64_t session, bool more)
{
	memset(body, 0, VMS_CAT_REPLY_BODY_BYTES);
	vms_put_le64(body, revision);
	vms_put_le64(body + 8, session);
	vms_put_u8(body + 16, more);
}

int vms_cat_kv_encode(struct vms_buf *b, const struct vms_cat_kv *kv)
{
	size_t key_bytes = strlen(kv->key), val_bytes = kv->val ? kv->val_bytes : 0;
	size_t bytes = 24 + 3 + key_bytes + val_bytes + 1;
	uint8_t *p = vms_buf_reserve(b, bytes);
	struct vms_wr w;

	if (!p)
		return VMS_E_FULL;
	vms_wr_init(&w, p, bytes);
	vms_wr_u64(&w, kv->mod_revision);
	vms_wr_u64(&w, kv->create_revision);
	vms_wr_u8(&w, kv->val ? 0 : 1);
	vms_wr_zero(&w, 3);
	vms_wr_u32(&w, (uint32_t)val_bytes);
	put_key(&w, kv->key);
	vms_wr_bytes(&w, kv->val ? kv->val : "", val_bytes + 1);
	vms_assert(vms_wr_ok(&w) && vms_wr_len(&w) == bytes);
	vms_buf_commit(b, bytes);
	return 0;
}

int vms_cat_reply_decode(const struct vms_msg *m, struct vms_cat_reply *r, struct vms_cat_kv *kv)
{
	struct vms_rd rd;

	memset(r, 0, sizeof(*r));
	r->status = m->status;
	vms_rd_init(&rd, m->body, m->body_bytes);
	r->revision = vms_rd_u64(&rd);
	r->session = vms_rd_u64(&rd);
	r->more = vms_rd_u8(&rd) & 1;
	vms_rd_skip(&rd, 7);
	if (!vms_rd_done(&rd) || m->aux > VMS_CAT_REPLY_KV_MAX)
		return VMS_E_PROTO;
	vms_rd_init(&rd, m->npayload ? m->payload[0].base : NULL,
		    m->npayload ? m->payload[0].len : 0);
	for (uint32_t i = 0; i < m->aux; i++) {
		uint8_t del;

		kv[i].mod_revision = vms_rd_u64(&rd);
		kv[i].create_revision = vms_rd_u64(&rd);
		del = vms_rd_u8(&rd);
		vms_rd_skip(&rd, 3);
		kv[i].val_bytes = vms_rd_u32(&rd);
		kv[i].key = get_key(&rd, false);
		if (!vms_rd_ok(&rd) || del > 1 || kv[i].val_bytes > VMS_CAT_VAL_BYTES_MAX ||
		    (del && kv[i].val_bytes))
			return VMS_E_PROTO;
		kv[i].val = (const char *)vms_rd_take(&rd, kv[i].val_bytes + 1);
		if (!vms_rd_ok(&rd) || strnlen(kv[i].val, kv[i].val_bytes + 1) != kv[i].val_bytes)
			return VMS_E_PROTO;
		if (del)
			kv[i].val = NULL;
	}
	if (!vms_rd_done(&rd))
		return VMS_E_PROTO;
	r->kv = kv;
	r->nkv = m->aux;
	return 0;
}
