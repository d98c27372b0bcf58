// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls of the disk that fail, one kind after the other, on the primary and on another
 * member, under load: after an error of the log, a container write or sync or an index
 * commit the node says nothing more and ends (invariant 28); a full disk only delays; what
 * was acknowledged is there when it has been started again, also after a power loss.
 */
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/crc32c.h"

static struct v_vol *v;

static int write_mem(uint32_t ext, unsigned ch, uint32_t id)
{
	uint8_t b[V_CHUNK], body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_piece pc = {(uint16_t)ch, 1, VMS_MASK_FULL, 0, 0};
	struct vms_iov iov = {b, V_CHUNK};
	unsigned g = v_turn & 1, slot = v_turn++ % 8;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = v_part(v, ext),
			    .branch = v->branch,
			    .snap_gen = v->gen,
			    .lun_fence = 1,
			    .extent = ext,
			    .slot = slot,
			    .flags = VMS_F_MEMORY,
			    .body = body,
			    .body_bytes = sizeof(body),
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = V_CHUNK};
	struct rig_reply re;
	int rc;

	v_fill(b, id);
	m.sequence = ++R.gw[g].next_seq[slot];
	pc.crc = vms_crc32c(0, b, V_CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	rc = v_call(g, m, &re);
	if (!rc)
		rig_reply_free(&re);
	return rc;
}

static unsigned writes;

/* One more write on its way to the primary, not waited for. */
static void write_send(struct rig_reply *re)
{
	static uint8_t b[V_CHUNK], body[VMS_WRITE_BODY_BYTES(1)];
	static struct vms_iov iov = {b, V_CHUNK};
	struct vms_piece pc = {159, 1, VMS_MASK_FULL, 0, 0};
	unsigned nd = rig_primary(&R, v_part(v, 5));
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = v_part(v, 5),
			    .branch = v->branch,
			    .snap_gen = v->gen,
			    .lun_fence = 1,
			    .extent = 5,
			    .slot = 100,
			    .body = body,
			    .body_bytes = sizeof(body),
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = V_CHUNK};

	v_fill(b, ++writes);
	m.sequence = ++R.gw[0].next_seq[100];
	m.epoch = R.gw[0].epoch[m.partition];
	pc.crc = vms_crc32c(0, b, V_CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	if (R.gw[0].up[nd])
		rig_send(&R, 0, nd, &m, re);
}

static void fail_once(enum sim_disk_call call, int status, bool primary, bool ends, uint64_t seed)
{
	struct rig_reply re[200];
	unsigned nd, k = 0;

	memset(re, 0, sizeof(re));
	v_up(2, 2, 0, seed);
	v = v_create(0);
	v_learn();
	for (unsigned i = 0; i < 300; i++)
		v_write(v, i % 2, i / 2, v_next_id++);
	nd = rig_primary(&R, 0);
	nd = primary ? nd : !nd;
	if (call == SIM_UNLINK || call == SIM_PUNCH) {
		v_drain();
		v_zero(v, 0, 0, V_CHS);
		v_zero(v, 1, 0, V_CHS / 2);
	}
	sim_disk_fail_at(R.node[nd].sd, call, status);
	if (call == SIM_LOG_SYNC) { /* alone only when nothing else is written */
		for (unsigned i = 0; i < 5; i++) {
			CU_ASSERT_EQUAL(write_mem(0, i, v_next_id), 0);
			v->img.id[0][i] = v_next_id++;
		}
		rig_run(&R, 5000);
	} else {
		vms_wal_gen_seal(R.node[nd].n->wal);
	}
	for (; k < 200 && !R.node[nd].fatal && call != SIM_LOG_SYNC; k++) {
		write_send(&re[k]);
		rig_run(&R, 60);
	}
	CU_ASSERT_EQUAL(R.node[nd].fatal, ends);
	/* late: only what the same turn had said before counts as said */
	CU_ASSERT_EQUAL(R.node[nd].late, 0);
	if (ends) {
		CU_ASSERT_PTR_NOT_NULL(strstr(R.node[nd].why, "nothing more is acknowledged"));
		rig_run(&R, 200);
		CU_ASSERT_EQUAL(R.node[nd].late, 0);
		rig_node_crash(&R, nd, true);
		CU_ASSERT_PTR_NULL(rig_fsck(&R, nd));
		rig_node_start(&R, nd);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	if (call == SIM_LOG_SYNC) /* acknowledged in memory: gone with the power, or not */
		v_zero(v, 0, 0, 5);
	for (unsigned i = 0; i < k; i++)
		rig_reply_free(&re[i]);
	R.gw[0].nwait = 0;
	for (unsigned g = 0; g < RIG_GWS; g++)
		rig_gw_connect(&R, g, nd);
	rig_run(&R, 600);
	v_zero(v, 5, 159, 1); /* some of those were acknowledged, some not */
	v_check_all("failed call");
	v_write(v, 0, 3, v_next_id++);
	v_drain();
	v_check_all("goes on");
	v_down();
}

static void test_ends(void)
{
	static const enum sim_disk_call calls[] = {SIM_LOG_WRITE, SIM_LOG_SYNC, SIM_CTR_WRITE,
						   SIM_CTR_SYNC, SIM_COMMIT};

	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		for (unsigned p = 0; p < 2; p++)
			fail_once(calls[i], VMS_E_IO, p, true, 100 + 2 * i + p);
	/* no room for the log is no ordinary lack of space: it has all of its own */
	fail_once(SIM_LOG_WRITE, VMS_E_NOSPC, true, true, 130);
	fail_once(SIM_CTR_SYNC, VMS_E_NOSPC, false, true, 131);
}

static void test_goes_on(void)
{
	fail_once(SIM_CTR_WRITE, VMS_E_NOSPC, true, false, 140);
	fail_once(SIM_CTR_WRITE, VMS_E_NOSPC, false, false, 141);
	fail_once(SIM_COMMIT, VMS_E_NOSPC, true, false, 142);
	fail_once(SIM_COMMIT, VMS_E_FULL, false, false, 143);
	fail_once(SIM_UNLINK, VMS_E_IO, true, false, 144);
	fail_once(SIM_PUNCH, VMS_E_IO, false, false, 145);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_ends),
	VMS_TEST(test_goes_on),
};

VMS_TEST_MAIN("disk_fail", tests)
