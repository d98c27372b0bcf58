/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bodies of the CAT_* messages: what cat_client.c and cat_server.c share.
 * Authority: doc/wire-format.md "Catalog". Pure, any thread.
 *
 * Keys and values travel with their terminating NUL, so that a decoder can hand
 * out pointers into the frame.
 */
#ifndef VMS_CAT_WIRE_H
#define VMS_CAT_WIRE_H

#include "cluster/catalog.h"
#include "include/wire.h"
#include "utils/lib/buf.h"

/* A range answer ends (with `more`) behind the entry that passes one of these. */
#define VMS_CAT_RANGE_KEYS_MAX	1024u
#define VMS_CAT_RANGE_BYTES_MAX (1u << 20)
/* Cuts a transaction well before the frame's limit: its event has to fit too. */
#define VMS_CAT_TXN_BYTES_MAX	 (2u << 20)
#define VMS_CAT_REPLY_BODY_BYTES 24u

/* 1..VMS_CAT_KEY_BYTES_MAX - 1 printable ASCII characters, not starting with
 * '~' (kept for the service itself). empty_ok: a prefix may be empty. */
bool vms_cat_key_ok(const char *key, bool empty_ok);

/* GET, WATCH, RANGE: body. Return bytes written; out has room for
 * 2 * VMS_CAT_KEY_BYTES_MAX + 32. */
unsigned vms_cat_get_encode(uint8_t *out, const char *key);
int vms_cat_get_decode(const struct vms_msg *m, const char **key);
unsigned vms_cat_range_encode(uint8_t *out, const char *prefix, const char *after);
int vms_cat_range_decode(const struct vms_msg *m, const char **prefix, const char **after);
unsigned vms_cat_watch_encode(uint8_t *out, uint64_t watch, uint64_t from_revision,
			      const char *prefix);
int vms_cat_watch_decode(const struct vms_msg *m, uint64_t *watch, uint64_t *from_revision,
			 const char **prefix);

/* TXN: payload. encode appends to b: VMS_E_INVAL (bad key, too many ops),
 * VMS_E_FULL (larger than VMS_CAT_TXN_BYTES_MAX). decode: arrays have room for
 * VMS_CAT_TXN_OPS_MAX each; pointers live as long as m. */
int vms_cat_txn_encode(struct vms_buf *b, const struct vms_cat_cmp *cmp, unsigned ncmp,
		       const struct vms_cat_op *op, unsigned nop);
int vms_cat_txn_decode(const struct vms_msg *m, struct vms_cat_cmp *cmp, unsigned *ncmp,
		       struct vms_cat_op *op, unsigned *nop);

/* Answers and events: body of VMS_CAT_REPLY_BODY_BYTES, payload of entries,
 * aux = their number. */
void vms_cat_reply_encode(uint8_t *body, uint64_t revision, uint64_t session, bool more);
int vms_cat_kv_encode(struct vms_buf *b, const struct vms_cat_kv *kv);
/* kv: array with room for m->aux entries (at most VMS_CAT_REPLY_KV_MAX). Fills
 * r->kv too. */
#define VMS_CAT_REPLY_KV_MAX 8192u
int vms_cat_reply_decode(const struct vms_msg *m, struct vms_cat_reply *r, struct vms_cat_kv *kv);

#endif
