/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands to the gateway in its fake world (gw_fake.h), and what others do to the volume
 * meanwhile. */
#ifndef VMS_TESTS_GW_FAKE_CMD_H
#define VMS_TESTS_GW_FAKE_CMD_H

#include <stdlib.h>
#include <string.h>

#include "target/gateway.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_catalog.h"
#include "tests/unit/gw_fake_node.h"
#include "tests/unit/gw_fake_state.h"
#include "utils/lib/assert.h"

static struct vms_iov f_iov;

static inline struct vms_gw_cmd f_cmd(enum vms_gw_op op, uint64_t lba, uint32_t nblocks)
{
	return (struct vms_gw_cmd){.op = op,
				   .vol = f.vol,
				   .lba = lba,
				   .nblocks = nblocks,
				   .initiator_port = "iqn.a,i,0x1"};
}
static inline void f_data(struct vms_gw_cmd *c, struct vms_iov *iov, const void *p, size_t len)
{
	iov->base = p;
	iov->len = len;
	c->data = iov;
	c->ndata = 1;
	c->data_bytes = len;
}
static inline bool f_ended(const struct vms_gw_cmd *c)
{
	for (unsigned i = 0; i < f.nended; i++)
		if (f.ended[i] == c)
			return true;
	return false;
}
/* Runs it to its end and returns its status; 1: it is still pending. */
static inline int f_do(struct vms_gw_cmd *c)
{
	f.nended = 0;
	if (vms_gw_submit(f.gw, c) == VMS_GW_DONE)
		return c->status;
	f_pump();
	return f_ended(c) ? c->status : 1;
}
static inline int f_write_blocks(uint64_t lba, uint32_t n, uint8_t value)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_WRITE, lba, n);
	uint8_t *p = malloc(n * 512u);
	int rc;

	memset(p, value, n * 512u);
	f_data(&c, &f_iov, p, n * 512u);
	rc = f_do(&c);
	free(p);
	return rc;
}
/* The value all bytes have, or -1 when they differ, or the (negative) status - 1000. */
static inline int f_read_value(uint64_t lba, uint32_t n, bool *done)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_READ, lba, n);
	int rc, v = -2;

	f.nended = 0;
	rc = vms_gw_submit(f.gw, &c);
	if (done)
		*done = rc == VMS_GW_DONE;
	if (rc == VMS_GW_PENDING)
		f_pump();
	if (rc == VMS_GW_PENDING && !f_ended(&c)) {
		vms_gw_abort(f.gw, &c);
		f_pump();
		return -3000;
	}
	if (c.status)
		return c.status - 1000;
	for (unsigned i = 0; i < c.nriov; i++)
		for (size_t k = 0; k < c.riov[i].len; k++) {
			int b = ((const uint8_t *)c.riov[i].base)[k];

			v = v == -2 || v == b ? b : -1;
		}
	vms_gw_unpin(f.gw, &c);
	return v;
}
/* Snapshot NAME of volume "v" as it is now. */
static inline void f_snapshot(const char *name, uint8_t state)
{
	struct vms_cat_volume rec;
	struct vms_cat_snap s = {.state = state};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct f_kv *k = f_kv_find("volume/v");

	vms_assert(!vms_cat_volume_decode(&(struct vms_cat_kv){.key = k->key, .val = k->val}, &rec,
					  NULL));
	snprintf(s.volume, sizeof(s.volume), "v");
	snprintf(s.name, sizeof(s.name), "%s", name);
	s.id = rec.id;
	s.branch = rec.branch;
	s.snap_gen = f.snap_gen = rec.snap_gen++;
	s.size_bytes = rec.size_bytes;
	memset(s.uuid, 0x5a, sizeof(s.uuid));
	memcpy(f.snap, f.map, sizeof(f.snap));
	vms_assert(!vms_cat_key_snap(key, "v", name, NULL));
	f_put_free("volume/v", vms_cat_volume_encode(&rec));
	f_put_free(key, vms_cat_snap_encode(&s));
	f_pump();
}
/* Node 1 invalidates pages of the first extent: those in subs, or only what body names. */
static inline void f_invalidate(uint32_t extent, uint32_t subs, const void *body, uint32_t bytes)
{
	struct vms_msg m = {.type = VMS_MSG_INVALIDATE,
			    .req_id = 77,
			    .sender = f.primary,
			    .incarnation = f.incarnation[f.primary],
			    .epoch = f.epoch,
			    .branch = F_BRANCH,
			    .extent = extent,
			    .aux = subs,
			    .sequence = ++f.seq,
			    .body = body,
			    .body_bytes = bytes};

	if (f.connected[f.primary])
		f_event(VMS_GEV_MSG, f.primary, &m);
}
/* Another gateway writes: node 1 invalidates our pages first. */
static inline void f_other_writes(uint32_t chunk, uint8_t value)
{
	uint8_t p[4096];

	memset(p, value, sizeof(p));
	f_invalidate(chunk / 1024, 1u << (chunk % 1024 / 128), NULL, 0);
	f_store(chunk, 0xff, p);
	f_pump();
}
/* The same, naming the chunk. zero: it makes a hole of it. */
static inline void f_other_writes_one(uint32_t chunk, uint8_t value, bool zero)
{
	struct vms_inval_run run = {(uint16_t)(chunk % 1024), 1};
	uint8_t p[4096], body[VMS_INVAL_RUN_BYTES];

	memset(p, value, sizeof(p));
	vms_inval_encode(body, &run, 1);
	f_invalidate(chunk / 1024, 1u << (chunk % 1024 / 128), body, sizeof(body));
	f_store(chunk, 0xff, zero ? NULL : p);
	f_pump();
}

#endif
