/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * HTTP towards etcd: the seam between the catalog client (catalog_etcd.c, no
 * threads, no sockets) and what moves bytes (catalog_etcd_thread.c: all of libcurl
 * in one thread of its own, answers through a queue and an eventfd).
 */
#ifndef VMS_CATALOG_ETCD_HTTP_H
#define VMS_CATALOG_ETCD_HTTP_H

#include "include/err.h"
#include "include/types.h"

#define VMS_ETCD_ENDPOINTS_MAX 16

struct vms_etcd_call {
	uint64_t id; /* > 0, never used twice */
	unsigned endpoint;
	const char *path;  /* "/v3/kv/range" */
	const char *token; /* Authorization; NULL: none */
	const char *body;
	uint32_t timeout_ms; /* of the whole call; stream: until the connection is up */
	bool stream;	     /* data is handed over as it comes */
	bool once;	     /* must not be sent a second time by the transport either */
};
struct vms_etcd_event {
	uint64_t id;
	bool end; /* nothing more of this call */
	const char *data;
	size_t bytes;
	/* end: */
	int http_status; /* 0: no answer */
	bool sent;	 /* may have reached the server */
	const char *why; /* for people, "" when it went well */
};
/* Takes copies. Both may be called at any time by the owner. */
struct vms_etcd_sink {
	void *ctx;
	void (*start)(void *ctx, const struct vms_etcd_call *call);
	void (*cancel)(void *ctx, uint64_t id); /* no event of it after this */
};

/* ---- catalog_etcd_thread.c ---- */

struct vms_etcd_tls {
	const char *ca;		/* file, or "system"; NULL: no TLS */
	const char *cert, *key; /* ours; NULL: none */
};
struct vms_etcd_thread;
/* 0, or VMS_E_CONFIG with msg: a file cannot be read, a key is readable by all. */
int vms_etcd_thread_new(struct vms_etcd_thread **out, const char *const *address,
			unsigned naddresses, const struct vms_etcd_tls *tls,
			struct vms_errmsg *msg);
void vms_etcd_thread_free(struct vms_etcd_thread *t);
struct vms_etcd_sink vms_etcd_thread_sink(struct vms_etcd_thread *t);
/* Readable when events wait. */
int vms_etcd_thread_fd(const struct vms_etcd_thread *t);
void vms_etcd_thread_events(struct vms_etcd_thread *t,
			    void (*event)(void *arg, const struct vms_etcd_event *ev), void *arg);
/* "NAME:PASSWORD" in the first line of a file only its owner can read. Callers free
 * both. */
int vms_etcd_user_file(const char *path, char **name, char **password, struct vms_errmsg *msg);

#endif
