// SPDX-License-Identifier: GPL-2.0-only
/*
 * Task management requests that cannot even begin are answered all the same: an initiator
 * that hears nothing drops its session. And how many can wait for how many commands is
 * bounded. The transport and tgt's objects, turns by hand.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <driver.h> /* tgt's, not ours */
#include "scsi.h"
#include "tgtadm.h"

#include "tests/unit/cunit.h"
#include "tests/unit/stream_rig.h"

#define BHS 48u

/* Memory is out for the next structure of this many bytes. (A malloc() that is cleared may
 * have become a calloc().) */
static size_t none_of;
void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);

static bool is_out(size_t bytes)
{
	if (!none_of || bytes != none_of)
		return false;
	none_of = 0;
	return true;
}

void *__wrap_malloc(size_t bytes)
{
	return is_out(bytes) ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return is_out(n * bytes) ? NULL : __real_calloc(n, bytes);
}

static void turn(void)
{
	tgt_turn_now_ms++;
	stream_events();
	stub_scheduled();
	stream_flush();
}

static int fd = -1;
static uint32_t itt;

/* One more, which the rest is about from here. */
static void session_add(int nr)
{
	int before = in_state(STATE_SCSI);

	fd = join();
	login_send(fd, nr);
	for (int64_t end = late_us() + 30000000; in_state(STATE_SCSI) != before + 1;) {
		turn();
		CU_ASSERT_FATAL(late_us() < end);
	}
}

static struct iscsi_session *session_join(void)
{
	struct stream_conn *sc;

	setup();
	session_add(1000);
	sc = container_of(stream.all.next, struct stream_conn, all);
	return sc->iscsi_conn.session;
}

static void session_leave(void)
{
	close(fd);
	for (int64_t end = late_us() + 30000000; stream.nr;) {
		turn();
		CU_ASSERT_FATAL(late_us() < end);
	}
}

/* The next answer's header; what it carries is dropped. */
static void next_answer(uint8_t h[BHS])
{
	uint8_t buf[BHS + 8192];
	size_t have = 0, want = BHS;

	for (int64_t end = late_us() + 30000000; have < want;) {
		ssize_t n = recv(fd, buf + have, want - have, MSG_DONTWAIT);

		CU_ASSERT_FATAL(late_us() < end && n);
		if (n < 0)
			turn();
		else
			have += (size_t)n;
		if (have >= BHS)
			want = BHS + (((size_t)(buf[6] << 8 | buf[7]) + 3) & ~(size_t)3);
		CU_ASSERT_FATAL(want <= sizeof(buf));
	}
	memcpy(h, buf, BHS);
}

static void request(uint8_t opcode, uint8_t flags)
{
	uint8_t h[BHS] = {0};

	h[0] = opcode | 0x40, h[1] = flags; /* immediate */
	h[19] = (uint8_t)++itt;
	h[9] = 1; /* LUN */
	memset(h + 20, 0xff, 4);
	h[27] = 1;
	CU_ASSERT_EQUAL_FATAL(send(fd, h, sizeof(h), MSG_NOSIGNAL), (ssize_t)sizeof(h));
}

/* What it is answered, or -1: not before a ping that comes after it. */
static int manage(int function)
{
	uint8_t h[BHS];
	uint32_t mine;
	int answer = -1;

	request(ISCSI_OP_SCSI_TMFUNC, (uint8_t)(0x80 | function));
	mine = itt;
	request(ISCSI_OP_NOOP_OUT, 0x80);
	do {
		next_answer(h);
		if (h[0] != ISCSI_OP_SCSI_TMFUNC_RSP)
			continue;
		CU_ASSERT_EQUAL(answer, -1);
		CU_ASSERT_EQUAL(h[19], mine);
		answer = h[2];
	} while (h[0] != ISCSI_OP_NOOP_IN);
	CU_ASSERT_EQUAL(h[19], itt);
	return answer;
}

static const int functions[] = {ISCSI_TM_FUNC_ABORT_TASK, ISCSI_TM_FUNC_ABORT_TASK_SET,
				ISCSI_TM_FUNC_CLEAR_TASK_SET, ISCSI_TM_FUNC_LOGICAL_UNIT_RESET,
				ISCSI_TM_FUNC_TARGET_WARM_RESET};
#define NR (sizeof(functions) / sizeof(functions[0]))

static void of_a_target_that_is_not_known(void)
{
	struct iscsi_session *s = session_join();
	int tid = s->target->tid;

	for (size_t i = 0; i < NR; i++) {
		s->target->tid = 99;
		CU_ASSERT_EQUAL(manage(functions[i]), ISCSI_TMF_RSP_NO_LUN);
		s->target->tid = tid;
		CU_ASSERT_EQUAL(manage(functions[i]),
				i ? ISCSI_TMF_RSP_COMPLETE : ISCSI_TMF_RSP_NO_TASK);
	}
	session_leave();
}

static void without_memory(void)
{
	(void)session_join();
	for (size_t i = 0; i < NR; i++) {
		none_of = sizeof(struct mgmt_req);
		CU_ASSERT_EQUAL(manage(functions[i]), ISCSI_TMF_RSP_REJECTED);
		CU_ASSERT_EQUAL(none_of, 0);
		CU_ASSERT_EQUAL(manage(functions[i]),
				i ? ISCSI_TMF_RSP_COMPLETE : ISCSI_TMF_RSP_NO_TASK);
	}
	session_leave();
}

/* ---- many requests for many commands ------------------------------------------------------ */

#define CMDS	128
#define ENTRIES (128u << 10) /* of requests that wait, one at each command */
#define MORE	6

static struct scsi_cmd *pending[CMDS + 1];
static int pending_nr;

static int pend_submit(struct scsi_cmd *cmd)
{
	vms_assert(pending_nr <= CMDS);
	pending[pending_nr++] = cmd;
	set_cmd_async(cmd);
	return 0;
}

static int pend_open(struct scsi_lu *lu, char *path, int *lu_fd, uint64_t *size)
{
	*size = 1 << 30;
	return 0;
}

static void pend_close(struct scsi_lu *lu)
{
}

static struct backingstore_template pend = {
	.bs_name = "pend",
	.bs_open = pend_open,
	.bs_close = pend_close,
	.bs_cmd_submit = pend_submit,
};

/* A command without data to LUN 2; its number is its tag too. */
static void command(uint8_t op, int sn)
{
	uint8_t h[BHS] = {0x01, 0x81, [9] = 2, [32] = op};

	h[18] = h[26] = (uint8_t)(sn >> 8), h[19] = h[27] = (uint8_t)sn;
	CU_ASSERT_EQUAL_FATAL(send(fd, h, sizeof(h), MSG_NOSIGNAL), (ssize_t)sizeof(h));
}

/* The first one of a session; takes the unit attention. */
static void first_command(void)
{
	uint8_t h[BHS];

	command(0x00, 1);
	do {
		next_answer(h);
	} while (h[0] == ISCSI_OP_LOGIN_RSP);
	CU_ASSERT_EQUAL(h[0], ISCSI_OP_SCSI_CMD_RSP);
}

static void commands(int first_sn, int n)
{
	int want = pending_nr + n;

	for (int i = 0; i < n; i++)
		command(0x35, first_sn + i);
	for (int64_t end = late_us() + 30000000; pending_nr < want;) {
		turn();
		CU_ASSERT_FATAL(late_us() < end);
	}
}

static void commands_end(void)
{
	while (pending_nr)
		target_cmd_io_done(pending[--pending_nr], SAM_STAT_GOOD);
}

static void abort_all(int n)
{
	uint8_t h[BHS] = {0x42, 0x80 | ISCSI_TM_FUNC_ABORT_TASK_SET, [9] = 2, [16] = 1, [27] = 1};

	memset(h + 20, 0xff, 4);
	for (int i = 0; i < n; i++) {
		h[18] = (uint8_t)(i >> 8), h[19] = (uint8_t)i;
		CU_ASSERT_EQUAL_FATAL(send(fd, h, sizeof(h), MSG_NOSIGNAL), (ssize_t)sizeof(h));
		turn();
	}
}

/* The tag of what is answered next. */
static int answered(int response)
{
	uint8_t h[BHS];

	next_answer(h);
	CU_ASSERT_EQUAL(h[0], ISCSI_OP_SCSI_TMFUNC_RSP);
	CU_ASSERT_EQUAL(h[2], response);
	return h[18] << 8 | h[19];
}

/* A session has all entries that there are. The next ones are rejected, but another session
 * ends a command all the same; not twice. */
static void for_many_commands(void)
{
	enum { ALL = ENTRIES / CMDS };
	char arg[] = "path=none,bstype=pend";
	bool seen[ALL] = {0};
	int first, tag;

	setup();
	vms_assert(!register_backingstore_template(&pend));
	vms_assert(!tgt_device_create(1, TYPE_DISK, 2, arg, 1));
	(void)session_join();
	first_command();
	commands(2, CMDS);
	abort_all(ALL + MORE);
	for (int i = 0; i < MORE; i++)
		CU_ASSERT_EQUAL(answered(ISCSI_TMF_RSP_REJECTED), ALL + i);
	first = fd;
	session_add(1001);
	first_command();
	commands(2, 1);
	abort_all(2);
	CU_ASSERT_EQUAL(answered(ISCSI_TMF_RSP_REJECTED), 1);
	commands_end();
	CU_ASSERT_EQUAL(answered(ISCSI_TMF_RSP_COMPLETE), 0);
	close(fd);
	fd = first;
	for (int i = 0; i < ALL; i++) {
		tag = answered(ISCSI_TMF_RSP_COMPLETE);
		CU_ASSERT_FATAL(tag < ALL && !seen[tag]);
		seen[tag] = true;
	}
	/* and they are free again */
	commands(2 + CMDS, CMDS);
	abort_all(1);
	commands_end();
	CU_ASSERT_EQUAL(answered(ISCSI_TMF_RSP_COMPLETE), 0);
	session_leave();
}

static const struct vms_test tests[] = {
	VMS_TEST(of_a_target_that_is_not_known),
	VMS_TEST(without_memory),
	VMS_TEST(for_many_commands),
};
VMS_TEST_MAIN("iscsi_tmf", tests)
