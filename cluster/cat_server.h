/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Embedded catalog service. Sans-I/O over an engine (catalog_lmdb.c in
 * production, catalog_mem.c in the simulator). One process, one thread; each
 * transaction is durable before it is answered (the engine batches the commits
 * of one turn).
 */
#ifndef VMS_CAT_SERVER_H
#define VMS_CAT_SERVER_H

#include "cluster/catalog.h"
#include "include/wire.h"

/* Engine: an ordered durable map of key -> (value, create, mod revision) and the
 * log of recent changes for watches. apply is atomic and durable on return. */
struct vms_cat_engine_ops {
	uint32_t struct_bytes;
	uint64_t (*revision)(void *ctx);
	int (*get)(void *ctx, const char *key,
		   struct vms_cat_kv *kv); /* VMS_E_NOENT; kv valid until next call */
	/* Next key > after (or >= prefix when after is NULL) with the prefix. */
	int (*next)(void *ctx, const char *prefix, const char *after, struct vms_cat_kv *kv);
	/* Apply ops as `revision` (> current). */
	int (*apply)(void *ctx, uint64_t revision, const struct vms_cat_op *op, unsigned nop);
};
struct vms_cat_engine {
	const struct vms_cat_engine_ops *ops;
	void *ctx;
};
/* cluster/catalog_lmdb.c (includes lmdb.h) and cluster/catalog_mem.c */
/* map_bytes: upper limit of the file; 0: 1 GiB. */
int vms_cat_engine_lmdb_open(struct vms_cat_engine *e, const char *dir, uint64_t map_bytes,
			     struct vms_errmsg *msg);
void vms_cat_engine_lmdb_close(struct vms_cat_engine *e);
int vms_cat_engine_mem_open(struct vms_cat_engine *e);
void vms_cat_engine_mem_close(struct vms_cat_engine *e);

struct vms_cat_server_sink {
	void *ctx;
	int (*send)(void *ctx, uint64_t conn, const struct vms_msg *m);
	void (*close)(void *ctx, uint64_t conn);
};
struct vms_cat_server;
struct vms_cat_server *vms_cat_server_new(const struct vms_cat_engine *e,
					  const struct vms_cat_server_sink *sink);
void vms_cat_server_free(struct vms_cat_server *s);
void vms_cat_server_accept(struct vms_cat_server *s, uint64_t conn);
void vms_cat_server_down(struct vms_cat_server *s, uint64_t conn);
/* Frames of the connection, HELLO included. */
void vms_cat_server_msg(struct vms_cat_server *s, uint64_t conn, const struct vms_msg *m,
			uint64_t now_ms);
void vms_cat_server_timer(struct vms_cat_server *s, uint64_t now_ms); /* sessions */
/* The catalog goes elsewhere (to: as `catalog` says in a configuration): from here on,
 * also after a restart, it answers nobody but with that, and changes nothing. Durable on
 * return. to NULL: takes that back. */
int vms_cat_server_freeze(struct vms_cat_server *s, const char *to);
/* Where it has gone; "" while it serves. */
const char *vms_cat_server_moved(const struct vms_cat_server *s);
/* The next revision will be above this one (a catalog that is restored from a copy).
 * Only while it is empty of a cluster: VMS_E_EXIST. */
int vms_cat_server_raise(struct vms_cat_server *s, uint64_t revision);
/* What HELLO of a moved catalog is named; the rest of the name and the address say
 * where to. */
#define VMS_CAT_MOVED_NAME   "~moved "
#define VMS_CAT_MOVED_TO_MAX 118u /* characters that HELLO has room for */
/* 0, or the engine's error after a commit that may or may not have happened: all
 * requests are refused (VMS_E_POISONED); the process must exit and start anew. */
int vms_cat_server_poisoned(const struct vms_cat_server *s);

#endif
