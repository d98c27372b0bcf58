// SPDX-License-Identifier: GPL-2.0-only
/*
 * Catalog engine on LMDB: one database, one synced write transaction per
 * revision. Values: u32 version 1, u32 0, u64 create revision, u64 mod revision,
 * text with its NUL, u32 CRC32C of key and all before it. The key "~rev" holds
 * the revision. A folder belongs to one process (LMDB's lock file plus ours).
 */
#include "cluster/cat_server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define MAP_BYTES  (1ull << 30) /* address space only; the file grows as needed */
#define HEAD_BYTES 24u
#define KEY_MAX	   (VMS_CAT_KEY_BYTES_MAX + 8)
static const char rev_key[] = "~rev";

struct lmdb {
	MDB_env *env;
	MDB_dbi dbi;
	int lock_fd;
	uint64_t revision;
	char key[KEY_MAX]; /* of the kv handed out last */
	char *val;	   /* VMS_CAT_VAL_BYTES_MAX + 1 */
};

static int to_err(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return VMS_E_NOENT;
	case MDB_MAP_FULL:
		return VMS_E_FULL;
	case ENOMEM:
		return VMS_E_NOMEM;
	case ENOSPC:
		return VMS_E_NOSPC;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
		return VMS_E_CORRUPT;
	default:
		return VMS_E_IO;
	}
}

static uint32_t val_crc(const MDB_val *key, const uint8_t *v, size_t bytes)
{
	return vms_crc32c(vms_crc32c(0, key->mv_data, key->mv_size), v, bytes);
}

/* Copies an entry out of the map. */
static int load(struct lmdb *l, const MDB_val *key, const MDB_val *v, struct vms_cat_kv *kv)
{
	const uint8_t *p = v->mv_data;
	size_t text_bytes;

	if (v->mv_size < HEAD_BYTES + 1 + 4 ||
	    v->mv_size > HEAD_BYTES + VMS_CAT_VAL_BYTES_MAX + 1 + 4 || key->mv_size >= KEY_MAX ||
	    vms_get_le32(p + v->mv_size - 4) != val_crc(key, p, v->mv_size - 4) ||
	    vms_get_le32(p) != 1)
		return VMS_E_CORRUPT;
	text_bytes = v->mv_size - HEAD_BYTES - 4;
	memcpy(l->key, key->mv_data, key->mv_size);
	l->key[key->mv_size] = 0;
	memcpy(l->val, p + HEAD_BYTES, text_bytes);
	if (l->val[text_bytes - 1])
		return VMS_E_CORRUPT;
	*kv = (struct vms_cat_kv){.key = l->key,
				  .val = l->val,
				  .val_bytes = (uint32_t)text_bytes - 1,
				  .create_revision = vms_get_le64(p + 8),
				  .mod_revision = vms_get_le64(p + 16)};
	return 0;
}

static uint64_t lmdb_revision(void *ctx)
{
	return ((struct lmdb *)ctx)->revision;
}

static int lmdb_get(void *ctx, const char *key, struct vms_cat_kv *kv)
{
	struct lmdb *l = ctx;
	MDB_val k = {strlen(key), (void *)key}, v;
	MDB_txn *txn;
	int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return to_err(rc);
	rc = to_err(mdb_get(txn, l->dbi, &k, &v));
	if (!rc)
		rc = load(l, &k, &v, kv);
	mdb_txn_abort(txn);
	return rc;
}

static int lmdb_next(void *ctx, const char *prefix, const char *after, struct vms_cat_kv *kv)
{
	struct lmdb *l = ctx;
	bool behind = after && strcmp(after, prefix) >= 0;
	const char *from = behind ? after : prefix;
	MDB_val k = {strlen(from), (void *)from}, v;
	MDB_cursor *cur;
	MDB_txn *txn;
	int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return to_err(rc);
	rc = mdb_cursor_open(txn, l->dbi, &cur);
	if (rc) {
		mdb_txn_abort(txn);
		return to_err(rc);
	}
	if (k.mv_size)
		rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
	else
		rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST);
	if (!rc && behind && k.mv_size == strlen(after) && !memcmp(k.mv_data, after, k.mv_size))
		rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT);
	rc = to_err(rc);
	if (!rc && (k.mv_size < strlen(prefix) || memcmp(k.mv_data, prefix, strlen(prefix))))
		rc = VMS_E_NOENT;
	if (!rc)
		rc = load(l, &k, &v, kv);
	mdb_cursor_close(cur);
	mdb_txn_abort(txn);
	return rc;
}

static int put(struct lmdb *l, MDB_txn *txn, const char *key, const char *text, uint64_t revision)
{
	MDB_val k = {strlen(key), (void *)key}, v, old;
	size_t text_bytes = strlen(text) + 1;
	uint64_t create = revision;
	int rc = mdb_get(txn, l->dbi, &k, &old);
	uint8_t *p;

	if (rc && rc != MDB_NOTFOUND)
		return rc;
	if (!rc && old.mv_size >= HEAD_BYTES)
		create = vms_get_le64((uint8_t *)old.mv_data + 8);
	v.mv_size = HEAD_BYTES + text_bytes + 4;
	p = malloc(v.mv_size);
	if (!p)
		return ENOMEM;
	v.mv_data = p;
	vms_put_le32(p, 1);
	vms_put_le32(p + 4, 0);
	vms_put_le64(p + 8, create);
	vms_put_le64(p + 16, revision);
	memcpy(p + HEAD_BYTES, text, text_bytes);
	vms_put_le32(p + v.mv_size - 4, val_crc(&k, p, v.mv_size - 4));
	rc = mdb_put(txn, l->dbi, &k, &v, 0);
	free(p);
	return rc;
}

static int lmdb_apply(void *ctx, uint64_t revision, const struct vms_cat_op *op, unsigned nop)
{
	struct lmdb *l = ctx;
	char text[24];
	MDB_txn *txn;
	int rc;

	vms_assert(revision > l->revision);
	rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (rc)
		return to_err(rc);
	for (unsigned i = 0; i < nop && !rc; i++) {
		MDB_val k = {strlen(op[i].key), (void *)op[i].key};

		if (op[i].val) {
			rc = put(l, txn, op[i].key, op[i].val, revision);
		} else {
			rc = mdb_del(txn, l->dbi, &k, NULL);
			if (rc == MDB_NOTFOUND)
				rc = 0;
		}
	}
	snprintf(text, sizeof(text), "%" PRIu64, revision);
	if (!rc)
		rc = put(l, txn, rev_key, text, revision);
	if (rc) {
		mdb_txn_abort(txn);
		return to_err(rc);
	}
	rc = mdb_txn_commit(txn);
	if (rc)
		return to_err(rc);
	l->revision = revision;
	return 0;
}

static const struct vms_cat_engine_ops lmdb_ops = {
	.struct_bytes = sizeof(lmdb_ops),
	.revision = lmdb_revision,
	.get = lmdb_get,
	.next = lmdb_next,
	.apply = lmdb_apply,
};

int vms_cat_engine_lmdb_open(struct vms_cat_engine *e, const char *dir, uint64_t map_bytes,
			     struct vms_errmsg *msg)
{
	struct lmdb *l = calloc(1, sizeof(*l));
	struct vms_cat_kv kv;
	char path[4096];
	MDB_txn *txn;
	int rc;

	if (!l)
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	l->lock_fd = -1;
	l->val = malloc(VMS_CAT_VAL_BYTES_MAX + 1);
	if (!l->val) {
		rc = vms_fail(msg, VMS_E_NOMEM, "out of memory");
		goto fail;
	}
	if (mkdir(dir, 0750) && errno != EEXIST) {
		rc = vms_fail(msg, VMS_E_IO, "catalog folder %s cannot be made: %s", dir,
			      strerror(errno));
		goto fail;
	}
	if ((size_t)snprintf(path, sizeof(path), "%s/lock", dir) >= sizeof(path)) {
		rc = vms_fail(msg, VMS_E_INVAL, "catalog folder: the path is too long");
		goto fail;
	}
	l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (l->lock_fd < 0) {
		rc = vms_fail(msg, VMS_E_IO, "%s cannot be opened: %s", path, strerror(errno));
		goto fail;
	}
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB)) {
		rc = vms_fail(msg, VMS_E_BUSY,
			      "catalog folder %s is in use by another process; stop it first", dir);
		goto fail;
	}
	rc = mdb_env_create(&l->env);
	if (!rc)
		rc = mdb_env_set_mapsize(l->env, map_bytes ? map_bytes : MAP_BYTES);
	if (!rc)
		rc = mdb_env_open(l->env, dir, 0, 0640);
	if (!rc)
		rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (!rc) {
		rc = mdb_dbi_open(txn, NULL, 0, &l->dbi);
		if (rc)
			mdb_txn_abort(txn);
		else
			rc = mdb_txn_commit(txn);
	}
	if (rc) {
		rc = vms_fail(msg, to_err(rc), "catalog in %s cannot be opened: %s", dir,
			      mdb_strerror(rc));
		goto fail;
	}
	rc = lmdb_get(l, rev_key, &kv);
	if (rc && rc != VMS_E_NOENT) {
		rc = vms_fail(msg, rc, "catalog in %s is damaged: its revision cannot be read",
			      dir);
		goto fail;
	}
	l->revision = rc ? 0 : strtoull(kv.val, NULL, 10);
	e->ops = &lmdb_ops;
	e->ctx = l;
	return 0;
fail:
	e->ctx = l;
	vms_cat_engine_lmdb_close(e);
	return rc;
}

void vms_cat_engine_lmdb_close(struct vms_cat_engine *e)
{
	struct lmdb *l = e->ctx;

	if (!l)
		return;
	if (l->env)
		mdb_env_close(l->env);
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	free(l->val);
	free(l);
	e->ctx = NULL;
}
