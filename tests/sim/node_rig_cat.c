// SPDX-License-Identifier: GPL-2.0-only
/* The catalog of the rig: what it holds, what nodes are told of it, and its defects. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/catalog.h"
#include "include/err.h"
#include "tests/sim/node_rig.h"
#include "tests/sim/node_rig_int.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

static struct cat_answer *answer_new(struct rig *r, struct rig_node *o, vms_cat_done_fn fn,
				     void *arg)
{
	struct cat_answer *a = calloc(1, sizeof(*a));

	vms_assert(a);
	a->fn = fn;
	a->arg = arg;
	a->owner = o;
	a->life = o->life;
	a->re.revision = r->revision;
	a->re.kv = a->kv;
	return a;
}

static void answer_kv(struct cat_answer *a, const char *key, const char *val, uint64_t mod)
{
	unsigned i = a->re.nkv++;

	snprintf(a->keys[i], sizeof(a->keys[i]), "%s", key);
	a->vals[i] = val ? strdup(val) : NULL;
	a->kv[i] = (struct vms_cat_kv){a->keys[i], a->vals[i], val ? (uint32_t)strlen(val) : 0, mod,
				       1};
}

static void answer_send(struct rig *r, struct cat_answer *a, enum rig_ev type)
{
	rig_push(r, 300, (struct rig_event){.type = type, .p = a});
}

static struct rig_cat *cat_of(struct vms_catalog *c)
{
	return (struct rig_cat *)c;
}

struct rig_kv *rig_kv_find(struct rig *r, const char *key)
{
	for (size_t i = 0; i < r->kv.n; i++)
		if (!strcmp(r->kv.d[i].key, key))
			return &r->kv.d[i];
	return NULL;
}

static void c_get(struct vms_catalog *c, const char *key, vms_cat_done_fn done, void *arg)
{
	struct rig_cat *rc = cat_of(c);
	struct cat_answer *a = answer_new(rc->r, rc->owner, done, arg);
	struct rig_kv *kv = rig_kv_find(rc->r, key);

	if (rc->owner->cat_mode == RIG_CAT_DOWN) {
		a->re.status = VMS_E_TIMEOUT;
		answer_send(rc->r, a, RE_CAT);
		return;
	}
	if (rc->owner->cat_stale_get &&
	    !strncmp(key, rc->owner->cat_stale_get, strlen(rc->owner->cat_stale_get))) {
		kv = NULL;
		VMS_VEC_FOREACH (&rc->r->old, o)
			if (!strcmp(o->key, key))
				kv = o;
		a->re.revision = rc->r->old_revision;
	}
	if (kv)
		answer_kv(a, kv->key, kv->val, kv->mod);
	answer_send(rc->r, a, RE_CAT);
}

static int kv_cmp(const void *a, const void *b)
{
	return strcmp(((const struct rig_kv *)a)->key, ((const struct rig_kv *)b)->key);
}

static void c_range(struct vms_catalog *c, const char *prefix, const char *after,
		    vms_cat_done_fn done, void *arg)
{
	struct rig_cat *rc = cat_of(c);
	struct rig *r = rc->r;
	struct cat_answer *a = answer_new(r, rc->owner, done, arg);

	const struct rig_kv *d;
	size_t nd;

	if (rc->owner->cat_mode == RIG_CAT_DOWN) {
		a->re.status = VMS_E_TIMEOUT;
		answer_send(r, a, RE_CAT);
		return;
	}
	qsort(r->kv.d, r->kv.n, sizeof(struct rig_kv), kv_cmp);
	d = r->kv.d;
	nd = r->kv.n;
	if (rc->owner->cat_mode == RIG_CAT_STALE ||
	    (rc->owner->cat_stale && !strcmp(prefix, rc->owner->cat_stale))) {
		d = r->old.d;
		nd = r->old.n;
		a->re.revision = r->old_revision;
	}
	for (size_t i = 0; i < nd; i++) {
		if (strncmp(d[i].key, prefix, strlen(prefix)) ||
		    (after && strcmp(d[i].key, after) <= 0))
			continue;
		if (a->re.nkv == 30) {
			a->re.more = true;
			break;
		}
		answer_kv(a, d[i].key, d[i].val, d[i].mod);
	}
	answer_send(r, a, RE_CAT);
}

void rig_kv_set(struct rig *r, const char *key, const char *val)
{
	struct rig_kv *kv = rig_kv_find(r, key);

	if (!kv) {
		if (!val)
			return;
		kv = VMS_VEC_ADD(&r->kv);
		snprintf(kv->key, sizeof(kv->key), "%s", key);
	}
	free(kv->val);
	if (val) {
		kv->val = strdup(val);
		kv->mod = r->revision;
	} else {
		*kv = VMS_VEC_LAST(&r->kv);
		r->kv.n--;
	}
	for (size_t i = 0; i < r->watches.n; i++) {
		struct rig_watch *w = &r->watches.d[i];
		struct cat_answer *a;

		if (strncmp(key, w->prefix, strlen(w->prefix)) ||
		    w->owner->cat_mode == RIG_CAT_DOWN || w->owner->cat_mode == RIG_CAT_STALE ||
		    (w->owner->cat_mute && !strcmp(w->owner->cat_mute, w->prefix)))
			continue;
		a = answer_new(r, w->owner, w->fn, w->arg);
		answer_kv(a, key, val, r->revision);
		answer_send(r, a, RE_CAT);
	}
}

static int txn_do(struct rig *r, const struct vms_cat_cmp *cmp, unsigned ncmp,
		  const struct vms_cat_op *op, unsigned nop)
{
	for (unsigned i = 0; i < ncmp; i++) {
		struct rig_kv *kv = rig_kv_find(r, cmp[i].key);

		if ((kv ? kv->mod : 0) != cmp[i].mod_revision)
			return VMS_E_CONFLICT;
	}
	r->revision++;
	for (unsigned i = 0; i < nop; i++)
		rig_kv_set(r, op[i].key, op[i].val);
	return 0;
}

/* One that is under way still. */
struct late_txn {
	unsigned ncmp, nop;
	struct vms_cat_cmp cmp[64];
	struct vms_cat_op op[64];
};

void rig_cat_late_end(struct rig *r, struct late_txn *t, bool happens)
{
	if (happens)
		(void)txn_do(r, t->cmp, t->ncmp, t->op, t->nop);
	for (unsigned i = 0; i < t->ncmp; i++)
		free((char *)t->cmp[i].key);
	for (unsigned i = 0; i < t->nop; i++) {
		free((char *)t->op[i].key);
		free((char *)t->op[i].val);
	}
	free(t);
}

static void c_txn(struct vms_catalog *c, const struct vms_cat_cmp *cmp, unsigned ncmp,
		  const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn done, void *arg)
{
	struct rig_cat *rc = cat_of(c);
	struct rig *r = rc->r;
	struct cat_answer *a = answer_new(r, rc->owner, done, arg);

	switch (rc->owner->cat_mode) {
	case RIG_CAT_DOWN:
		a->re.status = VMS_E_TIMEOUT;
		break;
	case RIG_CAT_LATE: {
		struct late_txn *t = calloc(1, sizeof(*t));

		vms_assert(t && ncmp <= 64 && nop <= 64);
		t->ncmp = ncmp;
		t->nop = nop;
		for (unsigned i = 0; i < ncmp; i++)
			t->cmp[i] = (struct vms_cat_cmp){strdup(cmp[i].key), cmp[i].mod_revision};
		for (unsigned i = 0; i < nop; i++)
			t->op[i] = (struct vms_cat_op){strdup(op[i].key),
						       op[i].val ? strdup(op[i].val) : NULL, 0};
		rig_push(r, rc->owner->cat_late_ms * 1000,
			 (struct rig_event){.type = RE_TXN, .p = t});
		a->re.status = VMS_E_TIMEOUT;
		break;
	}
	default:
		a->re.status = txn_do(r, cmp, ncmp, op, nop);
		if (rc->owner->cat_mode == RIG_CAT_LOSE)
			a->re.status = VMS_E_TIMEOUT;
	}
	a->re.revision = r->revision;
	answer_send(r, a, RE_CAT);
}

static uint64_t c_watch(struct vms_catalog *c, const char *prefix, uint64_t from,
			vms_cat_done_fn fn, void *arg)
{
	struct rig_cat *rc = cat_of(c);
	struct rig *r = rc->r;
	struct rig_watch *w = VMS_VEC_ADD(&r->watches);

	w->id = ++r->next_watch;
	w->from = from;
	snprintf(w->prefix, sizeof(w->prefix), "%s", prefix);
	w->fn = fn;
	w->arg = arg;
	w->owner = rc->owner;
	for (size_t i = 0; i < r->kv.n; i++) {
		struct cat_answer *a;

		if (r->kv.d[i].mod <= from || strncmp(r->kv.d[i].key, prefix, strlen(prefix)))
			continue;
		a = answer_new(r, rc->owner, fn, arg);
		answer_kv(a, r->kv.d[i].key, r->kv.d[i].val, r->kv.d[i].mod);
		answer_send(r, a, RE_CAT);
	}
	return r->next_watch;
}

static void c_unwatch(struct vms_catalog *c, uint64_t id)
{
	struct rig *r = cat_of(c)->r;

	for (size_t i = 0; i < r->watches.n; i++)
		if (r->watches.d[i].id == id) {
			VMS_VEC_REMOVE_FAST(&r->watches, i);
			return;
		}
}

static void c_forget(struct vms_catalog *c, void *arg)
{
	struct rig_cat *rc = cat_of(c);

	(void)arg;
	for (size_t i = 0; i < rc->r->watches.n;)
		if (rc->r->watches.d[i].owner == rc->owner)
			VMS_VEC_REMOVE_FAST(&rc->r->watches, i);
		else
			i++;
}

const struct vms_catalog_ops rig_cat_ops = {
	.struct_bytes = sizeof(rig_cat_ops),
	.get = c_get,
	.range = c_range,
	.txn = c_txn,
	.watch = c_watch,
	.unwatch = c_unwatch,
	.forget = c_forget,
};

uint64_t rig_cat_number(struct rig *r, const char *key)
{
	struct rig_kv *kv = rig_kv_find(r, key);

	return kv ? strtoull(kv->val, NULL, 10) : 0;
}

static void old_free(struct rig *r)
{
	for (size_t i = 0; i < r->old.n; i++)
		free(r->old.d[i].val);
	VMS_VEC_FREE(&r->old);
}

void rig_cat_freeze(struct rig *r)
{
	old_free(r);
	qsort(r->kv.d, r->kv.n, sizeof(struct rig_kv), kv_cmp);
	for (size_t i = 0; i < r->kv.n; i++) {
		struct rig_kv *kv = VMS_VEC_ADD(&r->old);

		*kv = r->kv.d[i];
		kv->val = strdup(kv->val);
	}
	r->old_revision = r->revision;
}

void rig_cat_gap(struct rig *r, unsigned i)
{
	for (size_t k = 0; k < r->watches.n; k++) {
		struct rig_watch *w = &r->watches.d[k];
		struct cat_answer *a;

		if (w->owner != &r->node[i])
			continue;
		a = answer_new(r, w->owner, w->fn, w->arg);
		a->re.status = VMS_E_GONE;
		answer_send(r, a, RE_CAT);
	}
}

void rig_cat_told(struct rig *r, unsigned i)
{
	const char *mute = r->node[i].cat_mute;

	r->node[i].cat_mute = NULL;
	for (size_t k = 0; mute && k < r->watches.n; k++) {
		struct rig_watch *w = &r->watches.d[k];

		if (w->owner != &r->node[i] || strcmp(mute, w->prefix))
			continue;
		VMS_VEC_FOREACH (&r->kv, kv) {
			struct cat_answer *a;

			if (strncmp(kv->key, mute, strlen(mute)))
				continue;
			a = answer_new(r, w->owner, w->fn, w->arg);
			answer_kv(a, kv->key, kv->val, kv->mod);
			answer_send(r, a, RE_CAT);
		}
	}
}

void rig_cat_close(struct rig *r)
{
	for (size_t i = 0; i < r->kv.n; i++)
		free(r->kv.d[i].val);
	VMS_VEC_FREE(&r->kv);
	old_free(r);
	VMS_VEC_FREE(&r->watches);
}
