/* SPDX-License-Identifier: GPL-2.0-only */
/* The catalog of the gateway's fake world: a table whose callbacks wait for f_pump(). */
#ifndef VMS_TESTS_GW_FAKE_CATALOG_H
#define VMS_TESTS_GW_FAKE_CATALOG_H

#include <stdlib.h>
#include <string.h>

#include "tests/unit/gw_fake_state.h"
#include "utils/lib/assert.h"

static inline struct f_kv *f_kv_find(const char *key)
{
	for (unsigned i = 0; i < f.nkv; i++)
		if (!strcmp(f.kv[i].key, key))
			return &f.kv[i];
	return NULL;
}
static inline void f_call_add(struct f_call c)
{
	if (f.cat_down && c.event) {
		vms_assert(f.nlate < 64);
		f.late[f.nlate++] = c;
		return;
	}
	if (f.cat_down || (f.cat_mute && c.key[0] == '\1'))
		c.status = VMS_E_TIMEOUT;
	vms_assert(f.ncall < 256);
	f.call[f.ncall++] = c;
}
static inline void f_put(const char *key, const char *val)
{
	struct f_kv *k = f_kv_find(key);

	if (!k) {
		vms_assert(f.nkv < 64);
		k = &f.kv[f.nkv++];
		snprintf(k->key, sizeof(k->key), "%s", key);
	}
	free(k->val);
	k->val = val ? strdup(val) : NULL;
	k->rev = ++f.rev;
	for (unsigned i = 0; i < f.nwatch; i++)
		if (f.watch[i].fn && !f.quiet &&
		    !strncmp(key, f.watch[i].prefix, strlen(f.watch[i].prefix))) {
			struct f_call c = {
				.fn = f.watch[i].fn, .arg = f.watch[i].arg, .event = true};

			snprintf(c.key, sizeof(c.key), "%s", key);
			f_call_add(c);
		}
}
static inline void f_put_free(const char *key, char *val)
{
	f_put(key, val);
	free(val);
}
static void f_get(struct vms_catalog *cat, const char *key, vms_cat_done_fn fn, void *arg)
{
	struct f_call c = {.fn = fn, .arg = arg};

	f.ngets++;
	snprintf(c.key, sizeof(c.key), "%s", key);
	f_call_add(c);
}
static void f_range(struct vms_catalog *cat, const char *prefix, const char *after,
		    vms_cat_done_fn fn, void *arg)
{
	struct f_call c = {.fn = fn, .arg = arg, .range = true};

	snprintf(c.key, sizeof(c.key), "%s", prefix);
	f_call_add(c);
}
static void f_txn(struct vms_catalog *cat, const struct vms_cat_cmp *cmp, unsigned ncmp,
		  const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn fn, void *arg)
{
	struct f_call c = {.fn = fn, .arg = arg};

	for (unsigned i = 0; i < ncmp; i++) {
		struct f_kv *k = f_kv_find(cmp[i].key);

		if ((k && k->val ? k->rev : 0) != cmp[i].mod_revision)
			c.status = VMS_E_CONFLICT;
	}
	for (unsigned i = 0; i < nop; i++) /* as etcd does */
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(op[i].key, op[j].key))
				c.status = VMS_E_INVAL;
	for (unsigned i = 0; i < nop && !c.status && !f.cat_down; i++) {
		f_put(op[i].key, op[i].val);
		if (i + 1 < nop)
			f.rev--;
	}
	c.rev = f.rev;
	c.key[0] = '\1';
	f_call_add(c);
}
static uint64_t f_watch(struct vms_catalog *cat, const char *prefix, uint64_t from,
			vms_cat_done_fn fn, void *arg)
{
	struct f_watch w = {.fn = fn, .arg = arg};

	if (f.watch_full) {
		struct f_call c = {.fn = fn, .arg = arg, .status = VMS_E_FULL, .event = true};

		c.key[0] = '\1';
		f_call_add(c);
		return 1000;
	}
	snprintf(w.prefix, sizeof(w.prefix), "%s", prefix);
	vms_assert(f.nwatch < 32);
	f.watch[f.nwatch++] = w;
	return f.nwatch;
}
static void f_unwatch(struct vms_catalog *cat, uint64_t id)
{
	if (id < 1000)
		f.watch[id - 1].fn = NULL;
}
static void f_forget(struct vms_catalog *cat, void *arg)
{
	for (unsigned i = 0; i < f.ncall; i++)
		if (f.call[i].arg == arg)
			f.call[i].fn = NULL;
	for (unsigned i = 0; i < f.nlate; i++)
		if (f.late[i].arg == arg)
			f.late[i].fn = NULL;
	for (unsigned i = 0; i < f.nwatch; i++)
		if (f.watch[i].arg == arg)
			f.watch[i].fn = NULL;
}
static const struct vms_catalog_ops f_ops = {.struct_bytes = sizeof(f_ops),
					     .get = f_get,
					     .range = f_range,
					     .txn = f_txn,
					     .watch = f_watch,
					     .unwatch = f_unwatch,
					     .forget = f_forget};

static inline void f_call_run(void)
{
	struct f_call c = f.call[0];
	struct vms_cat_kv kv[64];
	struct vms_cat_reply r = {.status = c.status, .revision = c.rev ? c.rev : f.rev, .kv = kv};

	if (f.branch_rev && !strncmp(c.key, "branch/", strlen("branch/")))
		r.revision = f.branch_rev;
	memmove(f.call, f.call + 1, --f.ncall * sizeof(c));
	if (!c.fn)
		return;
	for (unsigned i = 0; i < f.nkv && c.key[0] != '\1' && !c.status; i++) {
		struct f_kv *k = &f.kv[i];

		if (c.range ? strncmp(k->key, c.key, strlen(c.key)) : strcmp(k->key, c.key))
			continue;
		if (!c.event && (!k->val || k->rev > r.revision))
			continue;
		kv[r.nkv++] = (struct vms_cat_kv){.key = k->key,
						  .val = k->val,
						  .val_bytes = k->val ? strlen(k->val) : 0,
						  .mod_revision = k->rev};
	}
	c.fn(c.arg, &r);
}

static inline void f_cat_up(void)
{
	f.cat_down = false;
	for (unsigned i = 0; i < f.nlate; i++)
		f_call_add(f.late[i]);
	f.nlate = 0;
}

#endif
