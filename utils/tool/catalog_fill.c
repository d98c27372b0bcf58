// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/catalog_fill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

#define OPS_PER_TXN   64u
#define BYTES_PER_TXN (512u << 10)

const struct tool_kv *catalog_find(const struct tool_kvs *kvs, const char *key)
{
	for (size_t i = 0; i < kvs->n; i++)
		if (!strcmp(kvs->d[i].key, key))
			return &kvs->d[i];
	return NULL;
}

int catalog_kvs_add(struct tool_kvs *kvs, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *kv = json_array_get(list, i);
		const char *key = json_string_value(json_array_get(kv, 0));
		const char *val = json_string_value(json_array_get(kv, 1));
		struct tool_kv one;

		if (!key || !val)
			return VMS_E_PROTO;
		one = (struct tool_kv){.key = strdup(key), .val = strdup(val)};
		vms_assert(one.key && one.val);
		VMS_VEC_PUSH(kvs, one);
	}
	return 0;
}

bool catalog_key_passes(const char *key)
{
	return !strncmp(key, "gwload/", 7) || !strncmp(key, "gwsent/", 7);
}

void catalog_drop_passing(struct tool_kvs *kvs)
{
	for (size_t i = kvs->n; i-- > 0;)
		if (catalog_key_passes(kvs->d[i].key)) {
			free(kvs->d[i].key);
			free(kvs->d[i].val);
			VMS_VEC_REMOVE(kvs, i);
		}
}

static int uuid_of(const struct tool_kvs *kvs, uint8_t uuid[16], struct vms_errmsg *msg)
{
	const struct tool_kv *kv = catalog_find(kvs, "cluster");
	struct vms_cat_cluster cl;
	struct vms_cat_kv c;
	int rc;

	if (!kv)
		return VMS_E_NOENT;
	c = tool_cat_kv(kv);
	rc = vms_cat_cluster_decode(&c, &cl, msg);
	memcpy(uuid, cl.uuid, 16);
	return rc;
}

int catalog_fill_check(struct tool *t, const struct tool_kvs *kvs, bool *done,
		       struct vms_errmsg *msg)
{
	uint8_t mine[16], there[16];
	struct tool_kvs now;
	int rc = uuid_of(kvs, mine, msg);

	*done = false;
	if (rc)
		return rc == VMS_E_NOENT ? vms_fail(msg, rc, "there is no cluster to be copied")
					 : rc;
	rc = tool_get(t, "cluster", &now, msg);
	if (!rc && now.n) {
		rc = uuid_of(&now, there, msg);
		*done = !rc && !memcmp(mine, there, 16);
		if (!rc && !*done)
			rc = vms_fail(
				msg, VMS_E_EXIST,
				"the catalog that is to be filled holds another cluster already");
	}
	tool_kvs_free(&now);
	return rc;
}

/* One batch; the same again does no harm. */
static int write_ops(struct tool *t, const struct vms_cat_op *op, unsigned n,
		     struct vms_errmsg *msg)
{
	unsigned tries = 0;
	int rc;

	do {
		rc = n ? tool_txn(t, NULL, 0, op, n, msg) : 0;
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

static int write_all(struct tool *t, const struct tool_kvs *kvs, const struct tool_kvs *now,
		     struct vms_errmsg *msg)
{
	struct vms_cat_op op[OPS_PER_TXN];
	unsigned n = 0;
	size_t bytes = 0;
	int rc = 0;

	for (size_t i = 0; i < now->n + kvs->n && !rc; i++) {
		const struct tool_kv *kv = i < now->n ? &now->d[i] : &kvs->d[i - now->n], *have;

		if (!strcmp(kv->key, "cluster"))
			continue;
		have = catalog_find(i < now->n ? kvs : now, kv->key);
		if (i < now->n ? have != NULL : have && !strcmp(have->val, kv->val))
			continue;
		op[n++] = (struct vms_cat_op){kv->key, i < now->n ? NULL : kv->val, 0};
		bytes += strlen(kv->key) + strlen(kv->val);
		if (n == OPS_PER_TXN || bytes > BYTES_PER_TXN) {
			rc = write_ops(t, op, n, msg);
			n = 0;
			bytes = 0;
		}
	}
	return rc ? rc : write_ops(t, op, n, msg);
}

/* Is all of it there, and nothing else? */
static int read_back(struct tool *t, const struct tool_kvs *kvs, struct vms_errmsg *msg)
{
	struct tool_kvs now;
	int rc = tool_range(t, "", &now, msg);

	if (!rc && now.n != kvs->n - 1)
		rc = vms_fail(msg, VMS_E_CORRUPT, "%zu keys were written, %zu are there",
			      kvs->n - 1, now.n);
	for (size_t i = 0; !rc && i < kvs->n; i++) {
		const struct tool_kv *kv = &kvs->d[i], *have = catalog_find(&now, kv->key);

		if (strcmp(kv->key, "cluster") && (!have || strcmp(have->val, kv->val)))
			rc = vms_fail(msg, VMS_E_CORRUPT, "%.100s reads back different", kv->key);
	}
	tool_kvs_free(&now);
	return rc;
}

int catalog_fill_interrupted(struct tool *t, struct vms_errmsg *msg)
{
	struct tool_kvs now;
	int rc = tool_range(t, "", &now, msg);

	if (!rc)
		catalog_drop_passing(&now);
	if (!rc && now.n && !catalog_find(&now, "cluster"))
		rc = vms_fail(
			msg, VMS_E_BUSY,
			"the catalog holds part of a cluster: vmstore-ring restore-catalog or "
			"move-catalog was interrupted, and goes on when it is repeated");
	tool_kvs_free(&now);
	return rc;
}

int catalog_fill(struct tool *t, const struct tool_kvs *kvs, struct vms_errmsg *msg)
{
	const struct tool_kv *cluster = catalog_find(kvs, "cluster");
	struct vms_cat_op op = {"cluster", cluster->val, 0};
	struct vms_cat_cmp cmp = {"cluster", 0};
	struct tool_kvs now;
	bool done;
	int rc = tool_range(t, "", &now, msg);

	if (!rc)
		rc = write_all(t, kvs, &now, msg);
	tool_kvs_free(&now);
	if (!rc)
		rc = read_back(t, kvs, msg);
	if (rc)
		return rc;
	rc = tool_txn(t, &cmp, 1, &op, 1, msg);
	if (tool_txn_again(rc)) {
		/* ours, from a lost answer? */
		rc = catalog_fill_check(t, kvs, &done, msg);
		if (!rc && !done)
			rc = vms_fail(msg, VMS_E_AGAIN, "the last step failed; say it again");
	}
	return rc;
}
