/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Snapshots taken, looked at and deleted through the commands' own code, over tool_rig.h: what
 * test_snap.c and test_snap_grow.c share.
 */
#ifndef VMS_TESTS_SNAP_RIG_H
#define VMS_TESTS_SNAP_RIG_H

#include <inttypes.h>
#include <time.h>
#include "tests/unit/tool_rig.h"
#include "utils/tool/barrier.h"
#include "utils/tool/branch.h"
#include "utils/tool/gateway.h"
#include "utils/tool/move.h"
#include "utils/tool/snap.h"
#include "utils/tool/target_store.h"

static struct barrier_report rep;

static inline int snapshot(const char *name, uint32_t try_ms)
{
	char volume[128], snap[104];
	struct vms_cat_snap s;

	CU_ASSERT_EQUAL_FATAL(vms_cat_snap_name_split(name, volume, snap, &e), 0);
	return barrier_snapshot(&t, volume, snap, try_ms, &s, &rep, &e);
}

static inline struct vms_cat_snap get(const char *volume, size_t i)
{
	struct vms_cat_snap s = {.state = 0};
	struct snaps l;

	CU_ASSERT_EQUAL(snaps_load(&t, volume, &l, &e), 0);
	if (i < l.n)
		s = l.d[i].s;
	snaps_free(&l);
	return s;
}

/* Nothing is left of an attempt but a spent number. */
static inline void is_clean(const char *volume, size_t nsnaps)
{
	struct snaps l;

	CU_ASSERT_EQUAL(look(volume).barrier, VMS_BARRIER_NONE);
	CU_ASSERT_EQUAL(count("ack/"), 0);
	CU_ASSERT_EQUAL(snaps_load(&t, volume, &l, &e), 0);
	CU_ASSERT_EQUAL(l.n, nsnaps);
	VMS_VEC_FOREACH (&l, s)
		CU_ASSERT_EQUAL(s->s.state, VMS_SNAP_COMPLETE);
	snaps_free(&l);
}

/* As a tool that was killed `ago` seconds ago leaves it. */
static inline void leave_behind(const char *name, uint64_t ago)
{
	struct vms_cat_volume v = look("a");
	struct vms_cat_snap s = {.id = v.id,
				 .branch = v.branch,
				 .snap_gen = v.snap_gen,
				 .size_bytes = v.size_bytes,
				 .state = VMS_SNAP_CREATING,
				 .created_s = (uint64_t)time(NULL) - ago};
	struct vms_cat_ack ack = {.id = v.id,
				  .gateway = 5,
				  .incarnation = 1,
				  .barrier_id = v.snap_gen + 1,
				  .state = VMS_ACK_STOPPED};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(s.volume, sizeof(s.volume), "a");
	snprintf(s.name, sizeof(s.name), "%s", name);
	vms_cat_key_snap(key, "a", name, &e);
	put(key, vms_cat_snap_encode(&s));
	vms_cat_key_ack(key, v.id, 5);
	put(key, vms_cat_ack_encode(&ack));
	v.barrier_id = ++v.snap_gen;
	v.barrier = VMS_BARRIER_STOP;
	v.barrier_s = 0; /* as an earlier release */
	put("volume/a", vms_cat_volume_encode(&v));
}

#endif
