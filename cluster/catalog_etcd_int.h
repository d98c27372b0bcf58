/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the etcd client share: catalog_etcd.c (requests, endpoints, the
 * fence), catalog_etcd_calls.c (where requests come from) and catalog_etcd_watch.c (the watch
 * stream and the poll behind it). */
#ifndef VMS_CATALOG_ETCD_INT_H
#define VMS_CATALOG_ETCD_INT_H

#include <jansson.h>

#include "cluster/catalog_etcd.h"
#include "utils/lib/buf.h"
#include "utils/lib/vec.h"

#define SEEN_RING 1024u

enum kind { K_GET, K_RANGE, K_TXN, K_OPEN, K_RENEW, K_CLOSE, K_STATUS };

struct request {
	struct request *prev, *next;
	enum kind kind;
	char key[VMS_CAT_KEY_BYTES_MAX], after[VMS_CAT_KEY_BYTES_MAX];
	json_t *cmp, *ops; /* TXN, of the caller */
	uint64_t session;  /* OPEN: the ttl in ms */
	char rid[96];	   /* TXN: unique */
	uint64_t call;	   /* in flight; 0: not */
	unsigned endpoint;
	uint64_t seen;	/* highest revision known when it was sent */
	uint64_t fence; /* TXN: as compared */
	bool unsure;	/* TXN: sent, the answer is lost */
	unsigned tries;
	uint64_t not_before_ms, deadline_ms;
	int failed; /* != 0: answer with this at the next occasion */
	vms_cat_done_fn done;
	void *arg;
};

struct watch {
	struct watch *prev, *next;
	uint64_t id;
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	uint64_t from, last; /* etcd's revisions */
	uint64_t polled;     /* last as of when the poll under way was sent; 0: younger */
	vms_cat_done_fn event;
	void *arg;
	bool dead;
};

/* A call of the engine's own, one at a time of each sort. */
struct side {
	uint64_t call;
	unsigned endpoint;
	uint64_t due_ms, seen;
	unsigned tries;
};

struct stream {
	uint64_t call;
	unsigned endpoint;
	bool created;
	uint64_t start_ms, due_ms;
	unsigned fails;	    /* since it last brought something */
	uint64_t base;	    /* it was asked for what is above */
	uint64_t delivered; /* highest revision handed on */
	uint64_t ring[SEEN_RING];
	uint64_t nring;
	struct vms_buf buf;
	uint64_t doubt, doubt_ms; /* a revision it ought to have brought, since when */
	unsigned doubts;
};

struct vms_cat_etcd {
	struct vms_catalog cat; /* first: vms_catalog * is vms_cat_etcd * */
	struct vms_etcd_sink sink;
	unsigned nep, cur;
	char *address[VMS_ETCD_ENDPOINTS_MAX];
	bool bad[VMS_ETCD_ENDPOINTS_MAX];
	char *prefix, *user, *password, *token, *name;
	bool lasting;
	uint8_t want_uuid[16], uuid[16];
	uint32_t timeout_ms, try_ms, poll_ms;
	uint64_t seed, now_ms, next_call, next_watch, next_rid;

	bool inited, refused, need_fence;
	uint64_t base;	      /* added to etcd's revisions */
	uint64_t fence, seen; /* etcd's revisions */
	uint64_t cluster_id;
	unsigned page;	     /* keys per range answer */
	uint64_t last_ok_ms; /* 0: never */
	bool full_told;
	char why[320], full[200];

	struct side auth, init, fencing, poll;
	struct request *requests; /* in the order they were made */
	unsigned nrequests, in_flight;
	struct watch *watches;
	struct stream st;
	unsigned depth; /* callbacks running */
	struct vms_cat_etcd_counters n;
};

/* ---- catalog_etcd.c ---- */

uint64_t etcd_call(struct vms_cat_etcd *e, unsigned endpoint, const char *path, json_t *body,
		   uint32_t timeout_ms, bool stream, bool once);
/* A member did not answer, or not well: the next one is asked from now on. */
void etcd_bad(struct vms_cat_etcd *e, unsigned endpoint, const char *why);
void etcd_good(struct vms_cat_etcd *e, unsigned endpoint);
/* Does this answer come from the etcd that the first one came from? Raises seen. */
bool etcd_header(struct vms_cat_etcd *e, const json_t *root, uint64_t *revision);
json_t *etcd_key(const struct vms_cat_etcd *e, const char *key);
/* kv of an answer; false: not one of ours. Texts are the caller's to free. */
bool etcd_kv(const struct vms_cat_etcd *e, const json_t *j, struct vms_cat_kv *kv);
void etcd_kv_free(struct vms_cat_kv *kv);
json_t *etcd_range_json(const struct vms_cat_etcd *e, const char *key);

/* One more, behind those that there are: sent by a pump, or answered with what `failed` says. */
struct request *etcd_request_new(struct vms_cat_etcd *e, enum kind kind, vms_cat_done_fn done,
				 void *arg);
void etcd_request_free(struct vms_cat_etcd *e, struct request *r);
/* Sends what can be sent. */
void etcd_pump(struct vms_cat_etcd *e);

/* ---- catalog_etcd_calls.c ---- */

extern const struct vms_catalog_ops etcd_ops;

/* ---- catalog_etcd_watch.c ---- */

void watch_stream_pump(struct vms_cat_etcd *e);
void watch_stream_event(struct vms_cat_etcd *e, const struct vms_etcd_event *ev);
void watch_stream_deadline(struct vms_cat_etcd *e);
/* The poll: what its answer can be compared with is what is known as it is sent. */
void watch_poll_sent(struct vms_cat_etcd *e);
/* Its answer. The last transaction's revision is m, etcd's is revision. True: a watch that has
 * come meanwhile is ahead of it. */
bool watch_polled(struct vms_cat_etcd *e, uint64_t m, uint64_t revision);
uint64_t watch_add(struct vms_cat_etcd *e, const char *prefix, uint64_t from, vms_cat_done_fn event,
		   void *arg);
void watch_remove(struct vms_cat_etcd *e, uint64_t id);
void watch_forget(struct vms_cat_etcd *e, const void *arg);
void watches_sweep(struct vms_cat_etcd *e);
bool watch_any(const struct vms_cat_etcd *e);

#endif
