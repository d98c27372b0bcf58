/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The STATS and ADMIN messages: JSON text in the payload of request and answer.
 * Every process serves them on its local socket RUNDIR/NAME.sock; storage nodes
 * and the catalog also on TCP. Pure: the caller sends.
 *
 * ADMIN request: {"call": NAME, ...}. An answer with a status carries
 * {"error": TEXT}. The calls: doc/wire-format.md "Administration".
 */
#ifndef VMS_ADMIN_H
#define VMS_ADMIN_H

#include <jansson.h>

#include "include/wire.h"

struct vms_admin {
	void *ctx;
	uint8_t role; /* enum vms_role, for HELLO */
	const char *name;
	uint8_t cluster_uuid[16];
	json_t *(*stats)(void *ctx); /* new reference */
	/* 0 and *answer (new reference), or a VMS_E_* and msg filled in. */
	int (*call)(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
		    struct vms_errmsg *msg);
	int (*send)(void *ctx, uint64_t conn, const struct vms_msg *m);
};

/* Answers HELLO (only when hello is set), STATS and ADMIN. False: another type. */
bool vms_admin_msg(const struct vms_admin *a, uint64_t conn, const struct vms_msg *m, bool hello);

/* A whole answer or request; send copies. req NULL: a request with req_id; VMS_E_FULL: it is
 * larger than a message takes, and was not sent. */
int vms_admin_send_json(const struct vms_admin *a, uint64_t conn, const struct vms_msg *req,
			uint8_t type, uint64_t req_id, int status, json_t *j);
/* Text of a received frame as JSON, NULL if it is none. New reference. */
json_t *vms_admin_json(const struct vms_msg *m);

#endif
