/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The catalog on etcd (3.4 and later, through its JSON gateway): implements struct
 * vms_catalog. Sans-I/O: HTTP calls go out through a sink, answers come in as events.
 * Owner: one thread, the owner's loop.
 *
 * What etcd may do wrong and how it is met (doc/etcd.md "What is not trusted"):
 *  - A transaction without an answer may still be carried out, also later. Each one
 *    compares a fence key of this process; before anybody is told that an outcome is
 *    unknown, and before anything else is asked, the fence is moved, so that what the
 *    next read shows is final. Where the last transaction's id tells, the engine
 *    resolves it itself.
 *  - Answers may be old: one below the highest revision seen when it was asked for is
 *    asked again elsewhere.
 *  - Watch events may come twice, come again from an earlier point, stop without a
 *    word, or be left out: each revision is delivered once and in order, a revision
 *    that turns up behind a later one ends the watches with VMS_E_GONE, and the last
 *    transaction's revision is polled and compared with what was delivered.
 *  - Leases may end early or late: nothing depends on sessions.
 */
#ifndef VMS_CATALOG_ETCD_H
#define VMS_CATALOG_ETCD_H

#include "cluster/catalog.h"
#include "cluster/catalog_etcd_http.h"

#define VMS_CAT_ETCD_PREFIX  "/vmstore/"
#define VMS_CAT_ETCD_TRY_MS  2000u
#define VMS_CAT_ETCD_POLL_MS 2000u

struct vms_cat_etcd_conf {
	const char *address[VMS_ETCD_ENDPOINTS_MAX]; /* for messages; copied */
	unsigned naddresses;
	const char *prefix;	     /* of all keys of this cluster; NULL: VMS_CAT_ETCD_PREFIX */
	const char *user, *password; /* NULL: none */
	uint32_t timeout_ms;	     /* of one request */
	uint32_t try_ms;	     /* then the next member is asked; 0: VMS_CAT_ETCD_TRY_MS */
	uint32_t poll_ms;	     /* between looks for silent watches; 0: VMS_CAT_ETCD_POLL_MS */
	/* Who this is: of two processes of one name the later one's start settles the
	 * earlier one's transactions. lasting: comes back under its name (nodes,
	 * gateways), and has nothing to do before the catalog holds a cluster. */
	const char *name;
	bool lasting;
	uint8_t cluster_uuid[16]; /* all zero: any */
	uint64_t seed;
};
struct vms_cat_etcd;
struct vms_cat_etcd *vms_cat_etcd_new(const struct vms_cat_etcd_conf *conf,
				      const struct vms_etcd_sink *sink, uint64_t now_ms);
void vms_cat_etcd_free(struct vms_cat_etcd *e);
struct vms_catalog *vms_cat_etcd_catalog(struct vms_cat_etcd *e);
void vms_cat_etcd_event(struct vms_cat_etcd *e, const struct vms_etcd_event *ev, uint64_t now_ms);
/* At least every 100 ms. */
void vms_cat_etcd_timer(struct vms_cat_etcd *e, uint64_t now_ms);

bool vms_cat_etcd_is_up(const struct vms_cat_etcd *e);
/* As vms_cat_conn_why(); also "" with a note while etcd is up but full. */
const char *vms_cat_etcd_why(const struct vms_cat_etcd *e, bool *refused);
bool vms_cat_etcd_uuid(const struct vms_cat_etcd *e, uint8_t uuid[16]);

/* Every revision of this catalog is higher by base from here on (a catalog that was moved
 * or restored goes on above its old ones). Only while no cluster is in it
 * (VMS_E_CONFLICT); afterwards a new client must be opened. */
void vms_cat_etcd_base_set(struct vms_cat_etcd *e, uint64_t base, vms_cat_done_fn done, void *arg);

struct vms_cat_etcd_counters {
	uint64_t calls, failed, stale, fences, unknown, watch_starts, duplicates, silent, gone;
};
const struct vms_cat_etcd_counters *vms_cat_etcd_counters(const struct vms_cat_etcd *e);

#endif
