/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process's connection to the catalog, whichever it is: used by vmstored, the
 * gateway and the tools. Embedded: binds a vms_cat_client to a vms_net; connects, says
 * HELLO, reconnects (250 ms, doubling to 4 s, the next address of the list each time).
 * etcd: binds a vms_cat_etcd to its HTTP thread, whose answers wake the vms_net.
 *
 * The owner of the vms_net hands on its handler's calls; each returns true when
 * it was about this connection. Owner: the net's thread.
 */
#ifndef VMS_CAT_CONN_H
#define VMS_CAT_CONN_H

#include <jansson.h>

#include "cluster/cat_client.h"
#include "cluster/net.h"
#include "utils/lib/settings.h"

#define VMS_CAT_CONN_ADDRESSES_MAX 16

struct vms_cat_conn_conf {
	/* "host:port" each; copied */
	const char *address[VMS_CAT_CONN_ADDRESSES_MAX];
	unsigned naddresses;
	uint32_t timeout_ms; /* of one request; 0: 5000 */
	uint8_t role;	     /* enum vms_role */
	char name[64];	     /* unique among the processes of that role: a second
				connection with it ends the first (cat_server.c) */
	char listen[64];     /* told in HELLO; may be empty */
	/* etcd, see vmstore.conf(5); strings are copied */
	bool etcd;
	const char *prefix, *ca, *cert, *key, *user;
	/* Cluster this process belongs to; all zero: any. A catalog of another
	 * cluster is refused. */
	uint8_t cluster_uuid[16];
};
/* What [cluster] says of the catalog; text: room for the addresses, like the settings
 * in use until vms_cat_conn_new(). */
void vms_cat_conn_conf_init(struct vms_cat_conn_conf *c, const struct vms_settings *s,
			    char text[VMS_CAT_CONN_ADDRESSES_MAX][VMS_CONF_ADDR_TEXT_MAX]);
/* The same for whoever asks this process (--via): into o. Files and what is in them are
 * not told. */
void vms_cat_conn_tell(const struct vms_settings *s, json_t *o);
struct vms_cat_conn;
struct vms_cat_conn *vms_cat_conn_new(struct vms_net *net, const struct vms_cat_conn_conf *conf,
				      uint64_t now_ms);
void vms_cat_conn_free(struct vms_cat_conn *c);
struct vms_catalog *vms_cat_conn_catalog(struct vms_cat_conn *c);

bool vms_cat_conn_connected(struct vms_cat_conn *c, vms_net_conn conn);
bool vms_cat_conn_closed(struct vms_cat_conn *c, vms_net_conn conn, int err, const char *why,
			 uint64_t now_ms);
bool vms_cat_conn_frame(struct vms_cat_conn *c, vms_net_conn conn, const struct vms_msg *m,
			uint64_t now_ms);
/* Call at least every 100 ms: time-outs, reconnects, answers that were put off. */
void vms_cat_conn_timer(struct vms_cat_conn *c, uint64_t now_ms);

/* Is HELLO done? What went wrong last, for people ("" while up). refused: the catalog
 * answered, but does not want this process (another cluster, no common version). */
bool vms_cat_conn_is_up(const struct vms_cat_conn *c);
const char *vms_cat_conn_why(const struct vms_cat_conn *c, bool *refused);
/* Cluster uuid the catalog told; false while unknown. */
bool vms_cat_conn_uuid(const struct vms_cat_conn *c, uint8_t uuid[16]);
/* etcd: adds its counters to o. */
void vms_cat_conn_stats(const struct vms_cat_conn *c, json_t *o);
/* NULL: the catalog is the embedded one. */
struct vms_cat_etcd *vms_cat_conn_etcd(struct vms_cat_conn *c);

#endif
