/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A world for the gateway core: a catalog in a table whose callbacks wait for
 * pump(), and storage nodes that speak the wire structs, keep chunks in memory and
 * can be told to misbehave. One partition, led by node 1, replicas 1 and 2; node 3 is
 * there for who wants it.
 */
#ifndef VMS_TESTS_GW_FAKE_H
#define VMS_TESTS_GW_FAKE_H

#include <stdlib.h>
#include <string.h>

#include "target/gateway.h"
#include "tests/unit/gw_fake_catalog.h"
#include "tests/unit/gw_fake_node.h"
#include "tests/unit/gw_fake_state.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"

static int f_send(void *ctx, uint32_t node, const struct vms_msg *m)
{
	if (!f.connected[node])
		return VMS_E_DISCONNECTED;
	vms_assert(f.nq < 1024);
	f.q[f.nq++] = f_copy(node, m);
	return 0;
}
static void f_connect(void *ctx, uint32_t node, const char *address)
{
	f.want[node] = true;
	snprintf(f.address[node], sizeof(f.address[node]), "%s", address);
}
static void f_disconnect(void *ctx, uint32_t node)
{
	f.connected[node] = false;
	f.want[node] = false;
}
static void f_complete(void *ctx, struct vms_gw_cmd *cmd)
{
	vms_assert(f.nended < 64);
	f.ended[f.nended++] = cmd;
}
static void f_dropped(void *ctx, const char *why)
{
	f.drops++;
}
static void f_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status, const char *text)
{
	f.opened++;
	f.open_status = (unsigned)-status;
}
static void f_changed(void *ctx, struct vms_gw_vol *vol)
{
	f.changes++;
}
static void f_pr_complete(void *ctx, struct vms_gw_pr_cmd *cmd)
{
	f.pr_ended = cmd;
}
static bool f_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *table)
{
	f.pr_told = table->fence;
	return !f.pr_wait;
}
static void f_deadline(void *ctx, uint64_t at)
{
}
static void f_fatal(void *ctx, int err, const char *text)
{
	f.fatals++;
}
static void f_log(void *ctx, int level, const char *text)
{
	if (level <= VMS_LOG_WARN)
		snprintf(f.warned, sizeof(f.warned), "%s", text);
}

static inline bool f_is_held(const struct f_msg *q)
{
	if (q->m.flags & VMS_F_REPLY)
		return false;
	if (f.mute[q->node])
		return true;
	return (f.hold_writes && q->m.type == VMS_MSG_WRITE) ||
	       (f.hold_flush && q->m.type == VMS_MSG_FLUSH) ||
	       (f.hold_pages && q->m.type == VMS_MSG_GET_PAGES) ||
	       (f.hold_lba && q->m.type == VMS_MSG_READ_LBA) ||
	       (f.hold_own && q->m.type == VMS_MSG_OWN) ||
	       (f.hold_cancel && q->m.type == VMS_MSG_CANCEL);
}

/* One loop turn: nodes, catalog and time make progress until nothing moves. */
static inline void f_pump(void)
{
	for (unsigned round = 0; round < 100; round++) {
		bool moved = false;

		for (uint32_t n = 1; n <= F_NODES; n++)
			if (f.want[n] && f.reachable[n] && !f.connected[n]) {
				f.want[n] = false;
				f.connected[n] = true;
				f_event(VMS_GEV_CONN_UP, n, NULL);
				moved = true;
			}
		while (f.ncall) {
			f_call_run();
			moved = true;
		}
		while (f.nq) {
			struct f_msg *q = f.q[0];

			memmove(f.q, f.q + 1, --f.nq * sizeof(q));
			moved = true;
			if (!f.connected[q->node]) {
				free(q);
			} else if (f_is_held(q)) {
				if (q->m.type == VMS_MSG_WRITE) {
					f.n_write++;
					f.prev_write = f.last_write;
					f.last_write = q->m;
					f.write_node = q->node;
				}
				if (q->m.type == VMS_MSG_FLUSH) {
					f.n_flush++;
					f.flush_node = q->node;
				}
				f.n_cancel += q->m.type == VMS_MSG_CANCEL;
				f.n_pages += q->m.type == VMS_MSG_GET_PAGES;
				vms_assert(f.nheld < 64);
				f.held[f.nheld++] = q;
			} else {
				f_handle(q);
				free(q);
			}
		}
		f_event(VMS_GEV_TIMER, 0, NULL);
		vms_gw_turn_begin(f.gw, f.now);
		vms_gw_turn_end(f.gw, f.now);
		if (!moved && !f.nq && !f.ncall)
			return;
	}
}

static inline void f_release(void)
{
	unsigned n = f.nheld;

	f.nheld = 0;
	for (unsigned i = 0; i < n; i++) {
		struct f_msg *q = f.held[i];

		if (f.connected[q->node]) {
			if (q->m.type == VMS_MSG_WRITE) {
				f_write(q);
			} else if (q->m.type == VMS_MSG_GET_PAGES) {
				f_pages(q, f.seq);
			} else {
				f_handle(q);
			}
		}
		free(q);
	}
	f_pump();
}

static inline void f_forget_held(void)
{
	for (unsigned i = 0; i < f.nheld; i++)
		free(f.held[i]);
	f.nheld = 0;
}

static inline void f_tick(uint32_t node)
{
	uint8_t body[15 + 8 * F_NODES] = {0}, *p = body + 10;
	struct vms_msg m = {.type = VMS_MSG_TICK,
			    .partition = VMS_PART_NONE,
			    .sender = node,
			    .req_id = 99,
			    .tick = ++f.tick[node],
			    .tick_incarnation = f.incarnation[node],
			    .incarnation = f.incarnation[node],
			    .body = body};

	vms_put_le64(body, f.now);
	vms_put_le16(body + 8, (uint16_t)f.npeers);
	for (unsigned i = 0; i < f.npeers; i++, p += 8) {
		vms_put_le32(p, f.peer[i]);
		vms_put_le32(p + 4, f.peer_ms[i]);
	}
	if (f.tell_space) {
		vms_put_le32(p, f.used_permille[node]);
		p[4] = f.refusing[node];
		p += 5;
	}
	m.body_bytes = (uint32_t)(p - body);
	if (f.connected[node] && !f.mute[node])
		f_event(VMS_GEV_MSG, node, &m);
}

/* Time passes, with a tick of every node each 250 ms. */
static inline void f_run(uint64_t ms)
{
	for (uint64_t end = f.now + ms; f.now < end;) {
		f.now += end - f.now < 250 ? end - f.now : 250;
		for (uint32_t n = 1; n <= F_NODES; n++)
			f_tick(n);
		f_pump();
	}
}

static inline void f_lose(uint32_t node)
{
	f.connected[node] = false;
	f_event(VMS_GEV_CONN_DOWN, node, NULL);
	f_pump();
}

/* The partition's next epoch: led by the first of the members (ids, ended by 0). */
static inline void f_set(uint64_t epoch, const uint32_t *member)
{
	struct vms_part_conf pc = {.epoch = epoch, .primary = member[0]};
	char key[VMS_CAT_KEY_BYTES_MAX];

	for (; member[pc.nmembers]; pc.nmembers++)
		pc.member[pc.nmembers] = (struct vms_member){member[pc.nmembers],
							     f.incarnation[member[pc.nmembers]]};
	f.primary = member[0];
	f.epoch = epoch;
	vms_cat_key_part(key, 0);
	f_put_free(key, vms_cat_part_encode(&pc));
}
static inline void f_part(uint64_t epoch)
{
	f_set(epoch, (uint32_t[]){1, 2, 0});
}
static inline void f_node(uint32_t id, const char *address)
{
	struct vms_cat_node node = {.id = id, .weight = 100, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(node.name, sizeof(node.name), "n%u", id);
	snprintf(node.address, sizeof(node.address), "%s", address);
	vms_cat_key_node(key, id);
	f_put_free(key, vms_cat_node_encode(&node));
}
/* Changes from now on are told by no watch; afterwards the watches end. */
static inline void f_watches(bool on)
{
	for (unsigned i = 0; i < f.nwatch; i++) {
		if (on && f.watch[i].fn)
			f_call_add((struct f_call){.fn = f.watch[i].fn,
						   .arg = f.watch[i].arg,
						   .status = VMS_E_GONE,
						   .event = true});
		if (on)
			f.watch[i].fn = NULL;
	}
	f.quiet = !on;
}

static inline void f_gw_start(uint32_t mutant)
{
	struct vms_gw_conf conf = {.timing = vms_timing_default(1),
				   .chunk_cache_bytes = 8u << 20,
				   .page_cache_bytes = 1u << 20,
				   .slots = 64,
				   .outstanding_bytes_max = 4u << 20,
				   .readahead_chunks = 16,
				   .thin_soft_percent = 80,
				   .seed = 1,
				   .mutant = mutant};

	snprintf(conf.name, sizeof(conf.name), "gw");
	snprintf(conf.portal, sizeof(conf.portal), "%s", f_place.portal);
	snprintf(conf.host, sizeof(conf.host), "%s", f_place.host);
	snprintf(conf.boot, sizeof(conf.boot), "%s", f_place.boot);
	f.up = (struct vms_gw_update){&f,	   f_send,    f_connect, f_disconnect,
				      f_complete,  f_dropped, f_opened,	 f_changed,
				      f_deadline,  f_fatal,   f_log,	 f_pr_complete,
				      f_pr_changed};
	vms_assert(vms_gw_new(&f.gw, &conf, &f.cat, &f.up, f.now) == 0);
	f_pump();
	f_run(500);
}

/* A cluster with one gateway that has volume "v" open. */
static inline void f_start(uint32_t mutant, uint8_t write_ack)
{
	struct vms_cat_cluster cl = {.part_bits = f_second ? 1 : 0,
				     .copies = 2,
				     .min_copies = 1,
				     .timing_factor = 1,
				     .next_branch = F_BRANCH,
				     .next_node = 3,
				     .next_gateway = f_gateways + 1};
	const char *env = getenv("VMS_GW_MUTANT"); /* would the test at hand find it? */

	if (env && !mutant)
		mutant = (uint32_t)atoi(env);
	memset(&f, 0, sizeof(f));
	f.cat.ops = &f_ops;
	f.npeers = 1; /* ticks name the other member of the set, F_FIRST */
	f.peer[0] = F_FIRST;
	f.peer_ms[0] = UINT32_MAX;
	f.now = 1000000;
	f.pos = 1;
	f.seq = 100;
	cl.uuid[0] = 7;
	f_put_free("cluster", vms_cat_cluster_encode(&cl));
	for (uint32_t n = 1; n <= F_NODES; n++) {
		char address[64];

		snprintf(address, sizeof(address), "host%u:1", n);
		if (n <= F_FIRST)
			f_node(n, address);
		f.reachable[n] = true;
		f.incarnation[n] = 1;
	}
	f_part(1);
	if (f_second) {
		struct vms_part_conf pc = {
			.epoch = 1, .primary = f_second, .nmembers = 1, .member = {{f_second, 1}}};
		char key[VMS_CAT_KEY_BYTES_MAX];

		vms_cat_key_part(key, 1);
		f_put_free(key, vms_cat_part_encode(&pc));
	}
	if (f_before)
		f_before();
	f_gw_start(mutant);
	if (f.fatals)
		return;
	vms_assert(vms_gw_vol_open(f.gw, "v", F_CHUNKS * 4096ull, write_ack, NULL, &f.vol, NULL) ==
		   0);
	f_pump();
	f_run(500);
}

static inline void f_stop(void)
{
	vms_gw_free(f.gw);
	f_forget_held();
	while (f.nq)
		free(f.q[--f.nq]);
	for (unsigned i = 0; i < f.nkv; i++)
		free(f.kv[i].val);
	for (unsigned i = 0; i < F_POS_MAX; i++)
		free(f.data[i]);
}

#endif
