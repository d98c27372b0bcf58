/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the command-line tools share: configuration, the catalog and the other
 * processes as blocking calls, exit codes. One thread.
 */
#ifndef VMS_TOOL_H
#define VMS_TOOL_H

#include <jansson.h>

#include "cluster/admin.h"
#include "cluster/cat_conn.h"
#include "cluster/net.h"
#include "utils/lib/settings.h"
#include "utils/lib/vec.h"

struct tool_peer;

enum tool_exit {
	TOOL_OK = 0,
	TOOL_FAILED = 1,
	TOOL_USAGE = 2,
	TOOL_DEGRADED = 3,
	TOOL_UNAVAILABLE = 4, /* some data cannot be reached */
};

struct tool {
	const char *prog;
	struct vms_settings set;
	bool json;
	struct vms_net *net;
	struct vms_cat_conn *cc; /* made by the first catalog call */
	uint64_t revision;	 /* of the catalog, in its last answer */
	struct tool_peer *peers; /* with a connection */
	/* frames that are no answer (trace) */
	void (*frame)(void *arg, vms_net_conn c, const struct vms_msg *m);
	void (*gone)(void *arg, vms_net_conn c, const char *why);
	void *frame_arg;
};

/* conf NULL: $VMSTORE_CONF, else the default path if it exists, else defaults.
 * catalog: "HOST:PORT [...]" over the file's, or NULL. 0 or VMS_E_CONFIG; call
 * tool_close in both cases. */
int tool_open(struct tool *t, const char *prog, const char *conf, const char *catalog,
	      struct vms_errmsg *msg);
void tool_close(struct tool *t);
/* Asks a storage node or a gateway where the catalog is; its answer counts from then on. */
int tool_via(struct tool *t, const char *address, struct vms_errmsg *msg);

/* "PROG: text" on stderr; returns TOOL_FAILED. */
__attribute__((format(printf, 2, 3))) int tool_fail(struct tool *t, const char *fmt, ...);
/* The same without being an error; silent when JSON is wanted. */
__attribute__((format(printf, 2, 3))) void tool_note(struct tool *t, const char *fmt, ...);
/* From the first call on SIGINT and SIGTERM only set a flag, so that what is under way
 * can be undone. Has one come? */
void tool_catch_signals(void);
bool tool_interrupted(void);
/* j pretty on stdout; takes the reference. */
int tool_print_json(json_t *j);

/* ---- catalog ---- */

struct tool_kv {
	char *key, *val;
	uint64_t mod_revision;
};
VMS_VEC_TYPE(tool_kvs, struct tool_kv);
void tool_kvs_free(struct tool_kvs *v);
/* As a decoder wants it. */
struct vms_cat_kv tool_cat_kv(const struct tool_kv *kv);

/* 0 or a VMS_E_*; msg says what and where. get: out has 0 or 1 entries. */
int tool_get(struct tool *t, const char *key, struct tool_kvs *out, struct vms_errmsg *msg);
int tool_range(struct tool *t, const char *prefix, struct tool_kvs *out, struct vms_errmsg *msg);
/* 0, VMS_E_CONFLICT, VMS_E_TIMEOUT or _DISCONNECTED (outcome unknown: read again), … */
int tool_txn(struct tool *t, const struct vms_cat_cmp *cmp, unsigned ncmp,
	     const struct vms_cat_op *op, unsigned nop, struct vms_errmsg *msg);
/* Worth reading again and repeating? */
static inline bool tool_txn_again(int rc)
{
	return rc == VMS_E_CONFLICT || rc == VMS_E_TIMEOUT || rc == VMS_E_DISCONNECTED;
}
#define TOOL_TRIES 10
/* Before a repetition, after many tools wanted the same record: waits for a moment that
 * chance picks and that grows. False: it is enough (some seconds in all). */
bool tool_retry(struct tool *t, unsigned *tries);

/* Another catalog than the configuration says (text: as its `catalog`) from the next
 * call on; NULL: the same one on a new connection. */
int tool_catalog_set(struct tool *t, const char *text, struct vms_errmsg *msg);
/* etcd: its revisions are higher by base from here on (vms_cat_etcd_base_set). */
int tool_catalog_base(struct tool *t, uint64_t base, struct vms_errmsg *msg);

/* Every later change under prefix; event is called while the tool waits for
 * anything (cluster/catalog.h). */
uint64_t tool_watch(struct tool *t, const char *prefix, uint64_t from_revision,
		    vms_cat_done_fn event, void *arg);
void tool_unwatch(struct tool *t, uint64_t watch);
/* Waits at most ms for something to happen, and handles it. */
void tool_wait(struct tool *t, uint32_t ms);

/* ---- other processes ---- */

/* A process and the last request to it. Several of them work in parallel. */
struct tool_peer {
	char name[64], address[128];
	struct tool_peer *next;
	vms_net_conn conn; /* 0: none */
	bool up;	   /* HELLO is answered */
	bool waiting;	   /* for an answer */
	bool queued;	   /* the request waits for HELLO */
	struct vms_msg m;
	int status;	/* of the last request: 0 or VMS_E_* */
	uint64_t aux;	/* what its answer says there */
	char why[192];	/* it failed */
	json_t *answer; /* ADMIN, STATS: the text of the answer */
};
/* Connects, unless it is connected. */
void tool_peer_open(struct tool *t, struct tool_peer *p);
void tool_peer_close(struct tool *t, struct tool_peer *p);
/* A frame without body or payload (FLOOR, TRIM). */
void tool_peer_send(struct tool *t, struct tool_peer *p, const struct vms_msg *m);
/* ADMIN, or STATS (call NULL); req: taken over, may be NULL. */
void tool_peer_ask(struct tool *t, struct tool_peer *p, const char *call, json_t *req);
/* Until all have answered (true), or none has for timeout_ms, or enough() says so.
 * Who did not answer has status VMS_E_TIMEOUT. */
bool tool_peers_wait(struct tool *t, struct tool_peer *p, unsigned n, uint32_t timeout_ms,
		     bool (*enough)(void *arg), void *arg);

/* One ADMIN (call NULL: STATS) request to address, on a connection of its own;
 * req: taken over, may be NULL. *answer: new reference. */
int tool_call(struct tool *t, const char *address, const char *call, json_t *req,
	      uint32_t timeout_ms, json_t **answer, struct vms_errmsg *msg);
/* A connection that stays; frames go to t->frame. */
vms_net_conn tool_connect(struct tool *t, const char *address, struct vms_errmsg *msg);
/* Sockets of this machine's processes: "unix:…/NAME.sock", sorted. */
VMS_VEC_TYPE(tool_names, char *);
int tool_sockets(struct tool *t, struct tool_names *names, struct vms_errmsg *msg);
void tool_names_free(struct tool_names *names);
/* "NAME" of such an address. out: 128 bytes. */
void tool_socket_name(const char *address, char out[128]);

void tool_uuid_new(uint8_t uuid[16]);
void tool_uuid_text(const uint8_t uuid[16], char out[37]);

#endif
