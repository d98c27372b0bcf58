/* SPDX-License-Identifier: GPL-2.0-only */
/* See meta_lmdb.h. The only file of backend/ that includes lmdb.h. */
#include "backend/meta_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

/* Blocks kept ready behind what is in use, so that a full disk still takes the commits
 * that deletions need. */
#define RESERVE_BYTES (16ull << 20)

struct vms_meta_lmdb {
	MDB_env *env;
	uint64_t reserved; /* the file has blocks up to here */
	MDB_dbi dbi;
	MDB_txn *rd; /* reset between calls */
	MDB_cursor *cur;
	_Atomic uint32_t used_permille;
};

static int map_err(int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return VMS_E_NOENT;
	case MDB_MAP_FULL:
		return VMS_E_FULL;
	case ENOSPC:
	case EDQUOT:
		return VMS_E_NOSPC;
	case ENOMEM:
		return VMS_E_NOMEM;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_PANIC:
		return VMS_E_CORRUPT;
	default:
		return VMS_E_IO;
	}
}

/* A file system that cannot do this, or has no room, is as before. */
static void reserve(struct vms_meta_lmdb *m, uint64_t end, uint64_t map_bytes)
{
	uint64_t want = end + RESERVE_BYTES;
	mdb_filehandle_t fd;

	if (want > map_bytes)
		want = map_bytes;
	if (want <= m->reserved || end + RESERVE_BYTES / 2 <= m->reserved ||
	    mdb_env_get_fd(m->env, &fd))
		return;
	if (!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)want))
		m->reserved = want;
}

/* Pages in use, without those freed and waiting to be used again: what deletes
 * give back must count, or a full index could never be emptied. */
static void count_used(struct vms_meta_lmdb *m)
{
	uint64_t nfree = 0, used;
	MDB_cursor *cur = NULL;
	MDB_txn *txn = NULL;
	MDB_envinfo info;
	MDB_val k, v;
	MDB_stat st;
	size_t n;

	if (mdb_env_info(m->env, &info) || mdb_env_stat(m->env, &st) || !info.me_mapsize ||
	    mdb_txn_begin(m->env, NULL, MDB_RDONLY, &txn))
		return;
	/* database 0 is LMDB's list of free pages: a count, then page numbers */
	if (!mdb_cursor_open(txn, 0, &cur))
		while (!mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
			memcpy(&n, v.mv_data, sizeof(n));
			nfree += n;
		}
	if (cur)
		mdb_cursor_close(cur);
	mdb_txn_abort(txn);
	used = info.me_last_pgno + 1;
	used -= nfree < used ? nfree : used;
	m->used_permille = (uint32_t)(used * st.ms_psize * 1000 / info.me_mapsize);
	reserve(m, (info.me_last_pgno + 1) * st.ms_psize, info.me_mapsize);
}

int vms_meta_lmdb_open(struct vms_meta_lmdb **out, const char *dir, uint64_t map_bytes,
		       struct vms_errmsg *msg)
{
	struct vms_meta_lmdb *m = calloc(1, sizeof(*m));
	MDB_txn *txn;
	int rc;

	if (!m)
		return vms_fail(msg, VMS_E_NOMEM, "index %s: out of memory", dir);
	rc = mdb_env_create(&m->env);
	if (!rc)
		rc = mdb_env_set_mapsize(m->env, map_bytes);
	if (!rc)
		rc = mdb_env_open(m->env, dir, MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (!rc)
		rc = mdb_txn_begin(m->env, NULL, 0, &txn);
	if (!rc) {
		rc = mdb_dbi_open(txn, NULL, 0, &m->dbi);
		if (rc)
			mdb_txn_abort(txn);
		else
			rc = mdb_txn_commit(txn);
	}
	if (!rc)
		rc = mdb_txn_begin(m->env, NULL, MDB_RDONLY, &m->rd);
	if (!rc)
		rc = mdb_cursor_open(m->rd, m->dbi, &m->cur);
	if (rc) {
		int err = map_err(rc);
		vms_fail(msg, err, "index %s cannot be opened: %s", dir, mdb_strerror(rc));
		vms_meta_lmdb_close(m);
		return err == VMS_E_NOENT ? VMS_E_IO : err;
	}
	mdb_txn_reset(m->rd);
	count_used(m);
	*out = m;
	return 0;
}

void vms_meta_lmdb_close(struct vms_meta_lmdb *m)
{
	if (!m)
		return;
	if (m->cur)
		mdb_cursor_close(m->cur);
	if (m->rd)
		mdb_txn_abort(m->rd);
	if (m->env)
		mdb_env_close(m->env);
	free(m);
}

static int rd_begin(struct vms_meta_lmdb *m)
{
	int rc = mdb_txn_renew(m->rd);
	return map_err(rc);
}

static int copy_out(const MDB_val *v, void *val, uint32_t room)
{
	memcpy(val, v->mv_data, v->mv_size < room ? v->mv_size : room);
	return (int)v->mv_size;
}

int vms_meta_lmdb_get(struct vms_meta_lmdb *m, const void *key, uint32_t key_bytes, void *val,
		      uint32_t room_bytes)
{
	MDB_val k = {key_bytes, (void *)key}, v;
	int rc = rd_begin(m);

	if (rc)
		return rc;
	rc = mdb_get(m->rd, m->dbi, &k, &v);
	rc = rc ? map_err(rc) : copy_out(&v, val, room_bytes);
	mdb_txn_reset(m->rd);
	return rc;
}

int vms_meta_lmdb_last_le(struct vms_meta_lmdb *m, const void *key, uint32_t key_bytes, void *found,
			  uint32_t *found_bytes, void *val, uint32_t room_bytes)
{
	MDB_val want = {key_bytes, (void *)key}, k = want, v;
	int rc = rd_begin(m);

	if (rc)
		return rc;
	rc = mdb_cursor_renew(m->rd, m->cur);
	if (!rc)
		rc = mdb_cursor_get(m->cur, &k, &v, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		rc = mdb_cursor_get(m->cur, &k, &v, MDB_LAST);
	else if (!rc && mdb_cmp(m->rd, m->dbi, &k, &want) > 0)
		rc = mdb_cursor_get(m->cur, &k, &v, MDB_PREV);
	if (rc) {
		rc = map_err(rc);
	} else {
		memcpy(found, k.mv_data, k.mv_size < *found_bytes ? k.mv_size : *found_bytes);
		*found_bytes = (uint32_t)k.mv_size;
		rc = copy_out(&v, val, room_bytes);
	}
	mdb_txn_reset(m->rd);
	return rc;
}

int vms_meta_lmdb_range(struct vms_meta_lmdb *m, const void *from, uint32_t from_bytes,
			const void *to, uint32_t to_bytes, vms_meta_iter_fn fn, void *arg)
{
	MDB_val k = {from_bytes, (void *)from}, v, end = {to_bytes, (void *)to};
	MDB_txn *txn = NULL;
	MDB_cursor *cur = NULL;
	int rc, stop = 0;

	/* A transaction of its own: fn may call get or last_le. */
	rc = mdb_txn_begin(m->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return map_err(rc);
	rc = mdb_cursor_open(txn, m->dbi, &cur);
	if (!rc)
		rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
	while (!rc && mdb_cmp(txn, m->dbi, &k, &end) < 0) {
		stop = fn(arg, k.mv_data, (uint32_t)k.mv_size, v.mv_data, (uint32_t)v.mv_size);
		if (stop)
			break;
		rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT);
	}
	if (cur)
		mdb_cursor_close(cur);
	mdb_txn_abort(txn);
	if (stop)
		return stop;
	return rc == MDB_NOTFOUND ? 0 : map_err(rc);
}

int vms_meta_lmdb_commit(struct vms_meta_lmdb *m, const struct vms_meta_batch *batch)
{
	struct vms_meta_op op;
	MDB_txn *txn;
	size_t at = 0;
	int rc = mdb_txn_begin(m->env, NULL, 0, &txn);

	if (rc)
		return map_err(rc);
	while (!rc && vms_meta_batch_next(batch, &at, &op)) {
		MDB_val k = {op.key_bytes, (void *)op.key}, v = {op.val_bytes, (void *)op.val};
		if (op.op == 1) {
			rc = mdb_put(txn, m->dbi, &k, &v, 0);
		} else {
			rc = mdb_del(txn, m->dbi, &k, NULL);
			if (rc == MDB_NOTFOUND)
				rc = 0;
		}
	}
	if (rc) {
		mdb_txn_abort(txn);
		return map_err(rc);
	}
	rc = mdb_txn_commit(txn);
	if (!rc)
		count_used(m);
	return map_err(rc);
}

uint32_t vms_meta_lmdb_used_permille(struct vms_meta_lmdb *m)
{
	return m->used_permille;
}
