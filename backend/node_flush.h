/* SPDX-License-Identifier: GPL-2.0-only */
/* FLUSH, and what else waits until something is durable. */
#ifndef VMS_NODE_FLUSH_H
#define VMS_NODE_FLUSH_H

#include "backend/node.h"
#include "include/wire.h"
#include "utils/lib/vec.h"

struct conn;
struct vms_node;

struct flush {
	struct flush *next;
	vms_conn_id conn;
	struct vms_msg req;
	uint64_t arrived_ms;
	bool settle; /* FLOOR: also for all that was ordered before */
	bool moved;  /* another node leads a partition that it waits for */
	VMS_VEC(struct {
		uint32_t part;
		uint64_t seq;
	})
	want;
	uint64_t log_pos; /* other waits (FLOOR): own log durable up to here */
	uint32_t aux;	  /* FLOOR: of the answer */
	bool armed;
};

/* One that waits, and is not armed yet; NULL: too many, answered BUSY. */
struct flush *flush_new(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void flush_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void flush_check(struct vms_node *n);
void flush_wait_floor(struct vms_node *n, struct conn *c, const struct vms_msg *m, uint64_t pos,
		      uint32_t aux);
void flush_conn_void(struct vms_node *n, vms_conn_id conn);

#endif
