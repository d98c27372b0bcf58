/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Catalog client over the node protocol: implements struct vms_catalog.
 * Sans-I/O. The owner gives it frames and connection events and a sink.
 * Requests made while disconnected wait (bounded, 4096) and go out after the
 * reconnect; reads and watches are repeated after a reconnect, a txn that was
 * sent and not answered ends with VMS_E_DISCONNECTED (outcome unknown). A request
 * older than timeout_ms ends with VMS_E_TIMEOUT.
 */
#ifndef VMS_CAT_CLIENT_H
#define VMS_CAT_CLIENT_H

#include "cluster/catalog.h"
#include "include/wire.h"

struct vms_cat_client_sink {
	void *ctx;
	int (*send)(void *ctx, const struct vms_msg *m); /* copies; 0 or VMS_E_FULL */
};
struct vms_cat_client;
struct vms_cat_client *vms_cat_client_new(const struct vms_cat_client_sink *sink,
					  uint32_t timeout_ms);
void vms_cat_client_free(struct vms_cat_client *c);
struct vms_catalog *vms_cat_client_catalog(struct vms_cat_client *c);
/* The owner's connection to the catalog is up (HELLO done) or down. */
void vms_cat_client_up(struct vms_cat_client *c, uint64_t now_ms);
void vms_cat_client_down(struct vms_cat_client *c);
/* True if the frame was the client's (a CAT_* answer or event). Callbacks run
 * from here and from _timer only. */
bool vms_cat_client_msg(struct vms_cat_client *c, const struct vms_msg *m, uint64_t now_ms);
void vms_cat_client_timer(struct vms_cat_client *c, uint64_t now_ms);

#endif
