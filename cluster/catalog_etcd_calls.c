// SPDX-License-Identifier: GPL-2.0-only
/* The ten calls of the catalog on etcd: each becomes a request; catalog_etcd.c does the rest. */
#include "cluster/catalog_etcd_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "cluster/cat_wire.h"
#include "cluster/catalog_etcd_wire.h"
#include "utils/lib/assert.h"

static struct vms_cat_etcd *self(struct vms_catalog *c)
{
	return (struct vms_cat_etcd *)c;
}

static void cat_get(struct vms_catalog *cat, const char *key, vms_cat_done_fn done, void *arg)
{
	struct vms_cat_etcd *e = self(cat);
	struct request *r = etcd_request_new(e, K_GET, done, arg);

	if (vms_cat_key_ok(key, false))
		strcpy(r->key, key);
	else
		r->failed = VMS_E_INVAL;
	etcd_pump(e);
}

static void cat_range(struct vms_catalog *cat, const char *prefix, const char *after,
		      vms_cat_done_fn done, void *arg)
{
	struct vms_cat_etcd *e = self(cat);
	struct request *r = etcd_request_new(e, K_RANGE, done, arg);

	if (!vms_cat_key_ok(prefix, true) || (after && !vms_cat_key_ok(after, true))) {
		r->failed = VMS_E_INVAL;
	} else {
		strcpy(r->key, prefix);
		strcpy(r->after, after ? after : "");
	}
	etcd_pump(e);
}

static json_t *op_json(const struct vms_cat_etcd *e, const struct vms_cat_op *op)
{
	json_t *put;

	if (!op->val)
		return json_pack("{s{so}}", "request_delete_range", "key", etcd_key(e, op->key));
	put = json_pack("{so so}", "key", etcd_key(e, op->key), "value",
			vms_etcd_text_json("", op->val));
	if (op->session)
		json_object_set_new(put, "lease", vms_etcd_u64_json(op->session));
	return json_pack("{so}", "request_put", put);
}

static bool txn_ok(const struct vms_cat_cmp *cmp, unsigned ncmp, const struct vms_cat_op *op,
		   unsigned nop)
{
	if (ncmp > VMS_CAT_TXN_OPS_MAX || nop > VMS_CAT_TXN_OPS_MAX)
		return false;
	for (unsigned i = 0; i < ncmp; i++)
		if (!vms_cat_key_ok(cmp[i].key, false))
			return false;
	for (unsigned i = 0; i < nop; i++) {
		if (!vms_cat_key_ok(op[i].key, false) ||
		    (op[i].val && strlen(op[i].val) > VMS_CAT_VAL_BYTES_MAX))
			return false;
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(op[i].key, op[k].key))
				return false;
	}
	return true;
}

static void cat_txn(struct vms_catalog *cat, const struct vms_cat_cmp *cmp, unsigned ncmp,
		    const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn done, void *arg)
{
	struct vms_cat_etcd *e = self(cat);
	struct request *r = etcd_request_new(e, K_TXN, done, arg);

	r->cmp = json_array();
	r->ops = json_array();
	snprintf(r->rid, sizeof(r->rid), "%.48s.%016" PRIx64 ".%" PRIu64, e->name, e->seed,
		 e->next_rid++);
	if (!txn_ok(cmp, ncmp, op, nop)) {
		r->failed = VMS_E_INVAL;
		return;
	}
	for (unsigned i = 0; i < ncmp; i++) {
		/* One that no revision of this etcd can be. */
		uint64_t m = cmp[i].mod_revision;

		m = !m ? 0 : m > e->base ? m - e->base : (uint64_t)INT64_MAX;
		json_array_append_new(r->cmp,
				      json_pack("{so ss ss so}", "key", etcd_key(e, cmp[i].key),
						"target", "MOD", "result", "EQUAL", "mod_revision",
						vms_etcd_u64_json(m)));
	}
	for (unsigned i = 0; i < nop; i++)
		json_array_append_new(r->ops, op_json(e, &op[i]));
	etcd_pump(e);
}

void vms_cat_etcd_base_set(struct vms_cat_etcd *e, uint64_t base, vms_cat_done_fn done, void *arg)
{
	struct request *r = etcd_request_new(e, K_TXN, done, arg);
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, base);
	snprintf(r->rid, sizeof(r->rid), "%.48s.base.%" PRIu64, e->name, e->next_rid++);
	r->cmp = json_pack("[{so ss ss so}]", "key", etcd_key(e, "cluster"), "target", "MOD",
			   "result", "EQUAL", "mod_revision", vms_etcd_u64_json(0));
	r->ops = json_pack("[{s{so so}}]", "request_put", "key", etcd_key(e, "~base"), "value",
			   vms_etcd_text_json("", text));
	vms_assert(r->cmp && r->ops);
	etcd_pump(e);
}

static uint64_t cat_watch(struct vms_catalog *cat, const char *prefix, uint64_t from_revision,
			  vms_cat_done_fn event, void *arg)
{
	struct vms_cat_etcd *e = self(cat);
	uint64_t from = from_revision > e->base ? from_revision - e->base : 0, id;

	vms_assert(vms_cat_key_ok(prefix, true));
	id = watch_add(e, prefix, from, event, arg);
	if (from > e->seen)
		e->poll.due_ms = e->now_ms; /* does that revision exist? */
	etcd_pump(e);
	return id;
}

static void cat_unwatch(struct vms_catalog *cat, uint64_t watch)
{
	watch_remove(self(cat), watch);
	watches_sweep(self(cat));
}

static void session_call(struct vms_catalog *cat, enum kind kind, uint64_t session,
			 vms_cat_done_fn done, void *arg)
{
	struct request *r = etcd_request_new(self(cat), kind, done, arg);

	r->session = session;
	if (!session || session > INT64_MAX)
		r->failed = kind == K_OPEN ? VMS_E_INVAL : VMS_E_NOENT;
	etcd_pump(self(cat));
}

static void cat_session_open(struct vms_catalog *cat, uint32_t ttl_ms, vms_cat_done_fn done,
			     void *arg)
{
	session_call(cat, K_OPEN, ttl_ms, done, arg);
}

static void cat_session_renew(struct vms_catalog *cat, uint64_t session, vms_cat_done_fn done,
			      void *arg)
{
	session_call(cat, K_RENEW, session, done, arg);
}

static void cat_session_close(struct vms_catalog *cat, uint64_t session, vms_cat_done_fn done,
			      void *arg)
{
	session_call(cat, K_CLOSE, session, done, arg);
}

static void cat_status(struct vms_catalog *cat, vms_cat_done_fn done, void *arg)
{
	(void)etcd_request_new(self(cat), K_STATUS, done, arg);
	etcd_pump(self(cat));
}

static void cat_forget(struct vms_catalog *cat, void *arg)
{
	struct vms_cat_etcd *e = self(cat);
	struct request *r, *t;

	watch_forget(e, arg);
	DL_FOREACH_SAFE (e->requests, r, t) {
		if (!r->done || r->arg != arg)
			continue;
		if (r->kind == K_TXN && (r->call || r->unsure))
			r->done = NULL; /* its outcome still has to be settled */
		else
			etcd_request_free(e, r); /* an answer finds nobody */
	}
	watches_sweep(e);
}

const struct vms_catalog_ops etcd_ops = {
	.struct_bytes = sizeof(etcd_ops),
	.get = cat_get,
	.range = cat_range,
	.txn = cat_txn,
	.watch = cat_watch,
	.unwatch = cat_unwatch,
	.session_open = cat_session_open,
	.session_renew = cat_session_renew,
	.session_close = cat_session_close,
	.status = cat_status,
	.forget = cat_forget,
};
