// SPDX-License-Identifier: GPL-2.0-only
/*
 * The real engine against an oracle in memory: one or three node cores over files
 * and LMDB (tests/sim/real_disk.h), random operations with many in flight, and
 * moments at which nodes are dropped without any clean-up and opened again. After
 * each such moment the folder must pass fsck, and what was acknowledged be there.
 *
 * An episode is one cluster: its shape and every choice come from its seed, and it
 * repeats exactly. Environment:
 *	VMS_MODEL_OPS	operations in all (default 200000; one reopening per 1000)
 *	VMS_MODEL_SEED	seed of the first episode (default 1)
 *	VMS_MODEL_DIR	where the folders go (default /dev/shm, else /tmp)
 *	VMS_MODEL_MUTANT	a defect of the node (enum node_mutant), to see it found
 *	VMS_MODEL_VERBOSE=1
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "tests/sim/node_rig.h"
#include "tests/sim/real_disk.h"
#include "tests/unit/cunit.h"
#include "tests/unit/model_admin.h"
#include "tests/unit/model_answers.h"
#include "tests/unit/model_rig.h"
#include "tests/unit/model_send.h"
#include "utils/lib/rng.h"
#include "utils/lib/settings.h"

static char base_dir[200];

static void *drv_make(struct rig *r, unsigned idx, uint64_t seed,
		      void (*schedule)(void *ctx, uint64_t delay_us, uint64_t id), void *ctx,
		      struct vms_disk *out)
{
	char dir[300];
	struct real_disk_conf c = {.dir = dir,
				   .log_bytes = LOG_BYTES,
				   .index_bytes = 64u << 20,
				   .space_bytes = 4ull << 30,
				   .latency_us_min = 20,
				   .latency_us_max = 200,
				   .sync_us_min = 100,
				   .sync_us_max = 500,
				   .read_now_percent = 60,
				   .engine = seed % 2 ? VMS_IO_THREADS : VMS_IO_AUTO,
				   .schedule = schedule,
				   .ctx = ctx};
	struct vms_errmsg msg = {""};
	struct real_disk *d;

	(void)r;
	snprintf(dir, sizeof(dir), "%s/n%u", base_dir, idx + 1);
	d = real_disk_new(&c, seed, &msg);
	if (!d) {
		fprintf(stderr, "test_model: %s\n", msg.text);
		exit(2);
	}
	*out = real_disk_ops(d);
	return d;
}
static bool drv_finish(void *d, uint64_t id, struct vms_disk_event *ev)
{
	return real_disk_finish(d, id, ev);
}
static void drv_crash(void *d, bool power)
{
	real_disk_crash(d, power);
}
static void drv_free(void *d)
{
	real_disk_free(d);
}
static const struct rig_disk_drv drv = {drv_make, drv_finish, drv_crash, drv_free, real_disk_read};

static uint64_t env_number(const char *name, uint64_t other)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 10) : other;
}

static void episode_open(uint64_t seed)
{
	unsigned nodes, copies, bits;

	memset(&R, 0, sizeof(R));
	memset(slot, 0, sizeof(slot));
	memset(vol, 0, sizeof(vol));
	memset(known, 0, sizeof(known));
	next_content = 1 + ALPHABET * SECTORS;
	failed[0] = 0;
	seed_now = seed;
	vms_rng_init(&rng, seed);
	nodes = percent(50) ? 1 : 3;
	copies = nodes == 1 ? 1 : percent(70) ? 2 : 3;
	bits = (unsigned)below(4);
	one_at_a_time = nodes > 1 && percent(40);
	depth = 1 + (unsigned)below(DEPTH);
	dup_percent = percent(30) ? 0 : 30 + (unsigned)below(60);
	range_percent = (unsigned)below(9);
	R.drv = &drv;
	R.gen_bytes = LOG_BYTES / (percent(50) ? 4 : 16);
	R.container_bytes = percent(50) ? 1u << 20 : 4u << 20;
	R.verbose = getenv("VMS_MODEL_VERBOSE") != NULL;
	R.mutant = (uint32_t)env_number("VMS_MODEL_MUTANT", 0);
	rig_open(&R, nodes, copies, bits, seed);
	next_branch = 7;
	for (unsigned i = 0; i < VOLS / 2; i++) {
		struct vol *v = &vol[i];

		v->used = true;
		v->id = next_branch++;
		v->rec = (struct vms_cat_branch){.branch = v->id, .lineage = v->id, .owner = v->id};
		v->gen = v->fence = 1;
		v->ack = one_at_a_time && percent(50) ? VMS_ACK_MEMORY : VMS_ACK_DISK;
		rig_branch_put(&R, v->rec);
		volume_put(v);
	}
	R.gw[1].tool = true;
	if (!rig_wait_active(&R, 60000))
		fail("the cluster does not start");
	for (unsigned i = 0; i < nodes; i++)
		rig_gw_connect(&R, 0, i);
}

static void episode(uint64_t seed, uint64_t ops)
{
	uint64_t kill_at, admin_at;

	episode_open(seed);
	ops_done = 0;
	kill_at = below(OPS_PER_KILL);
	admin_at = below(OPS_PER_ADMIN);
	while (ops_done < ops && !failed[0]) {
		for (unsigned i = 0; i < depth; i++)
			if (!slot[i].used)
				op_make(&slot[i]);
		ops_look();
		step();
		if (ops_done >= kill_at) {
			kill_at += OPS_PER_KILL;
			kill_some();
			read_back(5);
		}
		if (ops_done >= admin_at) {
			admin_at = ops_done + 1 + below(2 * OPS_PER_ADMIN);
			admin();
		}
	}
	if (!failed[0])
		ops_settle();
	if (!failed[0])
		read_back(100);
	if (!failed[0])
		delete_all();
	for (unsigned i = 0; i < R.nnodes && !failed[0]; i++)
		kill_node(i, true);
	/* what waits for an answer lies in the slots */
	R.gw[0].nwait = 0;
	for (unsigned i = 0; i < DEPTH; i++)
		rig_reply_free(&slot[i].re);
	for (unsigned i = 0; i < VOLS; i++)
		for (unsigned k = 0; k < vol[i].nsnaps; k++)
			free(vol[i].snap[k].img);
	rig_close(&R);
}

static void random_operations_and_reopenings(void)
{
	uint64_t ops = env_number("VMS_MODEL_OPS", 200000), seed = env_number("VMS_MODEL_SEED", 1);
	uint64_t left, total = 0;
	const char *dir = getenv("VMS_MODEL_DIR");
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	snprintf(base_dir, sizeof(base_dir), "%s/vms-model-XXXXXX",
		 dir			    ? dir
		 : access("/dev/shm", W_OK) ? "/tmp"
					    : "/dev/shm");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(base_dir));
	for (left = ops; left && !failed[0]; seed++) {
		uint64_t n = left < EPISODE_OPS ? left : EPISODE_OPS;

		episode(seed, n);
		total += ops_done;
		left -= n;
		if (failed[0])
			printf("\nepisode %llu, about operation %llu: %s\n"
			       "  repeat with: VMS_MODEL_SEED=%llu VMS_MODEL_OPS=%llu "
			       "build/tests/test_model\n",
			       (unsigned long long)seed, (unsigned long long)ops_done, failed,
			       (unsigned long long)seed, (unsigned long long)n);
	}
	CU_ASSERT_EQUAL(failed[0], 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("[%llu ops, %llu writes, %llu never, %llu reads, %llu old addresses, %llu gone; "
	       "%llu kills, "
	       "%llu with power; %llu fscks; %llu snapshots, %llu clones, %llu rollbacks, %llu "
	       "deleted, "
	       "%llu renumbered; %.1f s] ",
	       (unsigned long long)total, (unsigned long long)st.writes,
	       (unsigned long long)st.never, (unsigned long long)st.reads,
	       (unsigned long long)st.old_addrs, (unsigned long long)st.gone,
	       (unsigned long long)st.kills, (unsigned long long)st.powers,
	       (unsigned long long)st.fscks, (unsigned long long)st.snaps,
	       (unsigned long long)st.clones, (unsigned long long)st.rollbacks,
	       (unsigned long long)st.deleted, (unsigned long long)st.renumbered,
	       (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
	rmdir(base_dir);
}

static const struct vms_test tests[] = {
	VMS_TEST(random_operations_and_reopenings),
};
VMS_TEST_MAIN("model", tests)
