/* SPDX-License-Identifier: GPL-2.0-only */
/* What happens to the cluster of test_model.c: nodes that die and come again, and what the
 * tools do to volumes, snapshots and clones. */
#ifndef VMS_TESTS_MODEL_ADMIN_H
#define VMS_TESTS_MODEL_ADMIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/sim/real_disk.h"
#include "tests/unit/model_answers.h"
#include "tests/unit/model_rig.h"
#include "tests/unit/model_send.h"
#include "utils/lib/assert.h"

/* ---- kill and reopen ---- */

static void check_folder(unsigned i)
{
	const char *wrong = rig_fsck(&R, i);

	if (wrong)
		fail("fsck of node %u: %s", i + 1, wrong);
	st.fscks++;
}

static void kill_node(unsigned i, bool power)
{
	if (!R.node[i].n)
		return;
	rig_node_crash(&R, i, power);
	st.kills++;
	st.powers += power;
	check_folder(i);
}

static void kill_some(void)
{
	bool power = percent(60);
	unsigned first = (unsigned)below(R.nnodes);
	unsigned n = one_at_a_time || percent(60) ? 1 : 1 + (unsigned)below(R.nnodes);

	for (unsigned i = 0; i < n; i++)
		kill_node((first + i) % R.nnodes, power);
	for (uint64_t end = R.now_us + below(300000); R.now_us < end && !failed[0];) {
		if (!rig_step(&R))
			break; /* all are down */
		ops_look();
	}
	/* some die again while they start */
	for (unsigned again = 0; again < 3 && percent(25); again++) {
		unsigned i = (first + (unsigned)below(n)) % R.nnodes;

		if (!R.node[i].n)
			rig_node_start(&R, i);
		for (uint64_t end = R.now_us + below(2500000); R.now_us < end && !failed[0];)
			step();
		kill_node(i, power);
	}
	for (unsigned i = 0; i < R.nnodes; i++)
		if (!R.node[i].n && !R.node[i].fatal)
			rig_node_start(&R, i);
	for (uint64_t end = R.now_us + 60000000; !rig_active(&R) && !failed[0];) {
		step();
		if (R.now_us > end)
			fail("60 s after a restart not every partition is served");
	}
	if (one_at_a_time)
		ops_settle();
}

/* ---- snapshots, clones: what the tools do ---- */

static void volume_put(const struct vol *v)
{
	struct vms_cat_volume c = {.id = v->id,
				   .branch = v->rec.branch,
				   .lineage = v->rec.lineage,
				   .snap_gen = v->gen,
				   .lun_fence = v->fence,
				   .dedup = true,
				   .write_ack = (uint8_t)v->ack};

	snprintf(c.name, sizeof(c.name), "v%llu", (unsigned long long)v->id);
	if (v->stopped) {
		c.barrier = VMS_BARRIER_STOP;
		c.barrier_id = v->gen;
	}
	rig_volume_put(&R, c);
}

static void snap_key(const struct vol *v, const struct snap *s, char *key)
{
	char volume[64], name[64];

	snprintf(volume, sizeof(volume), "v%llu", (unsigned long long)v->id);
	snprintf(name, sizeof(name), "s%llu", (unsigned long long)s->gen);
	vms_cat_key_snap(key, volume, name, NULL);
}

static void snap_put(const struct vol *v, const struct snap *s, uint8_t state)
{
	struct vms_cat_snap rec = {.id = v->id,
				   .branch = s->rec.branch,
				   .snap_gen = s->gen,
				   .size_bytes = 1 << 30,
				   .state = state};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(rec.volume, sizeof(rec.volume), "v%llu", (unsigned long long)v->id);
	snprintf(rec.name, sizeof(rec.name), "s%llu", (unsigned long long)s->gen);
	snap_key(v, s, key);
	rig_put(&R, key, vms_cat_snap_encode(&rec));
}

/* The floor at every node, which settles what was ordered before. */
static void floor_all(const struct vol *v)
{
	struct rig_reply re[RIG_NODES] = {{0}};
	bool done[RIG_NODES] = {false}, sent[RIG_NODES] = {false};
	uint64_t since = R.now_us;

	for (unsigned left = R.nnodes; left && !failed[0];) {
		for (unsigned i = 0; i < R.nnodes; i++) {
			struct vms_msg m = {.type = VMS_MSG_FLOOR,
					    .flags = VMS_F_FUA,
					    .partition = VMS_PART_NONE,
					    .branch = v->rec.branch,
					    .snap_gen = v->gen,
					    .lun_fence = v->fence};

			if (done[i])
				continue;
			if (sent[i] && re[i].done) {
				sent[i] = false;
				done[i] = re[i].status == 0;
				left -= done[i];
				if (re[i].status && re[i].status != VMS_E_AGAIN &&
				    re[i].status != VMS_E_DISCONNECTED &&
				    re[i].status != VMS_E_BUSY)
					fail("FLOOR ends with %s", vms_err_name(re[i].status));
				rig_reply_free(&re[i]);
				continue;
			}
			if (!sent[i] && R.gw[1].up[i]) {
				rig_send(&R, 1, i, &m, &re[i]);
				sent[i] = true;
			} else if (!sent[i]) {
				rig_gw_connect(&R, 1, i);
			}
		}
		step();
		if (R.now_us - since > 60000000)
			fail("FLOOR of branch %llu is not answered",
			     (unsigned long long)v->rec.branch);
	}
	/* what is still under way belongs to nobody any more */
	R.gw[1].nwait = 0;
	for (unsigned i = 0; i < R.nnodes; i++)
		rig_reply_free(&re[i]);
}

static bool any_older(const struct vol *v)
{
	for (unsigned i = 0; i < DEPTH; i++)
		if (slot[i].used && slot[i].v == v && is_write(&slot[i]) && slot[i].gen &&
		    slot[i].gen < v->gen)
			return true;
	return false;
}

/* Writes of the volume are on their way meanwhile: each belongs to the snapshot, or
 * is refused and goes out again under the new number. */
static void snap_create(struct vol *v)
{
	struct snap *s;

	if (v->nsnaps == SNAPS)
		return;
	s = &v->snap[v->nsnaps];
	*s = (struct snap){.gen = v->gen++, .rec = v->rec};
	v->stopped = true;
	snap_put(v, s, 1);
	volume_put(v);
	if (percent(20) && !one_at_a_time)
		kill_some();
	floor_all(v);
	while (any_older(v) && !failed[0])
		step();
	s->img = malloc(sizeof(*s->img));
	vms_assert(s->img);
	*s->img = v->img;
	v->nsnaps++;
	v->stopped = false;
	snap_put(v, s, 2);
	volume_put(v);
	st.snaps++;
}

static struct vms_cat_branch branch_over(const struct snap *s, uint64_t limit)
{
	struct vms_cat_branch b = {
		.branch = next_branch++, .lineage = s->rec.lineage, .nancestors = 1};

	b.ancestor[0] = (struct vms_cat_ancestor){s->rec.branch, s->gen, limit};
	for (unsigned i = 0; i < s->rec.nancestors; i++)
		b.ancestor[b.nancestors++] = s->rec.ancestor[i];
	return b;
}

static void image_of(struct image *img, const struct snap *s, uint64_t limit)
{
	*img = *s->img;
	for (unsigned i = 0; i < NPLACE; i++)
		if ((uint64_t)(i / PLACES) * VMS_EXTENT_CHUNKS + chunk_of(i) >= limit)
			memset(img->sec[i], 0, sizeof(img->sec[i]));
}

static void clone_create(const struct vol *from)
{
	const struct snap *s = from->nsnaps ? &from->snap[below(from->nsnaps)] : NULL;
	uint64_t limit = UINT32_MAX;
	struct vol *v = NULL;

	for (unsigned i = 0; i < VOLS; i++)
		if (!vol[i].used)
			v = &vol[i];
	if (!v || !s || s->rec.nancestors == VMS_ANCESTORS_MAX)
		return;
	if (percent(15)) /* a smaller one */
		limit = below(EXTENTS) * VMS_EXTENT_CHUNKS + chunk_of((unsigned)below(PLACES));
	memset(v, 0, sizeof(*v));
	v->rec = branch_over(s, limit);
	v->id = v->rec.owner = v->rec.branch;
	v->gen = v->fence = 1;
	v->ack = from->ack;
	image_of(&v->img, s, limit);
	rig_branch_put(&R, v->rec);
	volume_put(v);
	floor_all(v);
	v->used = true;
	st.clones++;
}

/* The volume goes on from one of its snapshots, on a branch of its own; those taken
 * since stay. */
static bool snaps_on(const struct vol *v, uint64_t branch)
{
	for (unsigned i = 0; i < v->nsnaps; i++)
		if (v->snap[i].rec.branch == branch)
			return true;
	return false;
}

static void branch_dies(struct vms_cat_branch b)
{
	b.state = 2;
	rig_branch_put(&R, b);
}

static void rollback(struct vol *v)
{
	const struct snap *s = v->nsnaps ? &v->snap[below(v->nsnaps)] : NULL;
	struct vms_cat_branch old = v->rec;

	if (!s || s->rec.nancestors == VMS_ANCESTORS_MAX)
		return;
	v->rec = branch_over(s, UINT32_MAX);
	v->rec.owner = v->id;
	v->gen++;
	v->fence++;
	image_of(&v->img, s, UINT32_MAX);
	rig_branch_put(&R, v->rec);
	volume_put(v);
	if (!snaps_on(v, old.branch))
		branch_dies(old);
	floor_all(v);
	st.rollbacks++;
}

static void snap_delete(struct vol *v)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_branch b;
	struct snap *s;

	if (!v->nsnaps)
		return;
	s = &v->snap[below(v->nsnaps)];
	b = s->rec;
	snap_key(v, s, key);
	rig_put(&R, key, NULL);
	free(s->img);
	*s = v->snap[--v->nsnaps];
	/* the last one on a branch that the volume has left */
	if (b.branch != v->rec.branch && !snaps_on(v, b.branch))
		branch_dies(b);
	st.deleted++;
}

static void volume_delete(struct vol *v)
{
	char name[64], key[VMS_CAT_KEY_BYTES_MAX];

	while (v->nsnaps)
		snap_delete(v);
	snprintf(name, sizeof(name), "v%llu", (unsigned long long)v->id);
	vms_cat_key_volume(key, name, NULL);
	branch_dies(v->rec);
	rig_put(&R, key, NULL);
	v->used = false;
	st.deleted++;
}

/* Everything goes; then no container may hold a byte. */
static void delete_all(void)
{
	uint64_t end = R.now_us + 300000000, left = 1;

	for (unsigned i = 0; i < VOLS; i++)
		if (vol[i].used)
			volume_delete(&vol[i]);
	while (left && !failed[0]) {
		for (unsigned i = 0; i < 200 && !failed[0]; i++)
			step();
		left = 0;
		for (unsigned i = 0; i < R.nnodes; i++)
			left += real_disk_container_bytes(R.node[i].dd);
		if (left && R.now_us > end)
			fail("300 s after everything was deleted containers hold %llu bytes",
			     (unsigned long long)left);
	}
}

static unsigned vols_used(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VOLS; i++)
		n += vol[i].used;
	return n;
}

static void admin(void)
{
	struct vol *v = vol_draw();
	unsigned d = (unsigned)below(100);

	if (d < 55) {
		snap_create(v);
		return;
	}
	ops_settle(); /* nobody has it open */
	if (d < 70)
		clone_create(v);
	else if (d < 80)
		rollback(v);
	else if (d < 95)
		snap_delete(v);
	else if (vols_used() > 2)
		volume_delete(v);
}

#endif
