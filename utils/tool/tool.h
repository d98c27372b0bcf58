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

enum tool_exit { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2, TOOL_DEGRADED = 3 };

struct tool {
	const char *prog;
	struct vms_settings set;
	bool json;
	struct vms_net *net;
	struct vms_cat_conn *cc; /* made by the first catalog call */
	/* the one remote call under way */
	vms_net_conn conn;
	bool up, ended;
	uint64_t want_req;
	int status;
	json_t *answer;
	char why[192];
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

/* "PROG: text" on stderr; returns TOOL_FAILED. */
__attribute__((format(printf, 2, 3))) int tool_fail(struct tool *t, const char *fmt, ...);
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

/* ---- other processes ---- */

/* One ADMIN (call NULL: STATS) request to address, on a connection of its own;
 * req: taken over, may be NULL. *answer: new reference. */
int tool_call(struct tool *t, const char *address, const char *call, json_t *req,
	      uint32_t timeout_ms, json_t **answer, struct vms_errmsg *msg);
/* One request frame (FLOOR, TRIM); only its status matters. progress: called about
 * once a second while waiting, may be NULL. */
int tool_request(struct tool *t, const char *address, struct vms_msg *m, uint32_t timeout_ms,
		 void (*progress)(void *arg, uint64_t waited_ms), void *arg,
		 struct vms_errmsg *msg);
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
