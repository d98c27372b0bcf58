// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whose commands are ended through another gateway is told, once, by status TASK ABORTED
 * (TAS is 1), also of a write whose data has not come; what comes of its data later goes
 * nowhere. For tests/it/scsi_paths.sh.
 *
 *   iscsi_tas HOST:PORT HOST:PORT TARGET LUN
 *
 * The commands go through the first portal; CLEAR TASK SET, LOGICAL UNIT RESET and PREEMPT
 * AND ABORT through the second one. Exit status 1 with the reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iscsi_ini.h"

#define TASK_ABORTED 0x40
#define LBA	     20u

enum { PREEMPT = 0, CLEAR_TASK_SET = 4, LU_RESET = 5 };

static char at[2][2][64]; /* gateway: host, port */

static int session(struct ini *s, unsigned gateway, uint16_t isid)
{
	host = at[gateway][0];
	port = at[gateway][1];
	return login_ready(s, isid, true);
}

/* PERSISTENT RESERVE OUT: its status. */
static int reserve_out(struct ini *s, int action, uint8_t key, uint8_t other)
{
	uint8_t cdb[16] = {0x5f, (uint8_t)action, 1, 0, 0, 0, 0, 0, 24}, list[24] = {0};

	list[7] = key;
	list[15] = other;
	return status_of(s, command(s, cdb, 0xa0, sizeof(list), list, sizeof(list)), NULL,
			 ANSWER_MS);
}

static int r2t(struct ini *s, uint32_t itt, uint32_t *ttt)
{
	if (next_pdu(s, ANSWER_MS) || (s->hdr[0] & 0x3f) != 0x31 || get32(s->hdr + 16) != itt)
		return fail("no R2T: opcode %x", s->hdr[0]);
	*ttt = get32(s->hdr + 20);
	return 0;
}

static int run(int how)
{
	static const uint8_t tur[16];
	uint8_t junk[BLOCK], buf[BLOCK];
	uint32_t itt, ttt, own = 0;
	struct ini a, b;
	int st;

	memset(junk, 0xdd, sizeof(junk));
	if (session(&a, 0, 6) || session(&b, 1, 7) || write_block(&b, LBA, 0x22))
		return -1;
	if (how == PREEMPT && (reserve_out(&a, 6, 0, 0xa) || reserve_out(&b, 6, 0, 0xb)))
		return fail("REGISTER");
	itt = rw10(&a, 0x2a, LBA, 1, NULL, 0);
	if (r2t(&a, itt, &ttt))
		return -1;
	if (how == PREEMPT) {
		st = reserve_out(&b, 5, 0xb, 0xa);
		if (st)
			return fail("PREEMPT AND ABORT ends %d: %.100s", st, why);
	} else {
		/* one of its own is not answered */
		own = rw10(&b, 0x2a, LBA + 1, 1, NULL, 0);
		if (r2t(&b, own, &own) || tmf(&b, how, 0) || next_pdu(&b, ANSWER_MS) ||
		    (b.hdr[0] & 0x3f) != 0x22 || b.hdr[2])
			return fail("opcode %x response %u", b.hdr[0], b.hdr[2]);
	}
	st = status_of(&a, itt, NULL, ANSWER_MS);
	if (st != TASK_ABORTED)
		return fail("the write ends %d: %.100s", st, why);
	if (data_out(&a, itt, ttt, 0, 0, junk, BLOCK, true))
		return -1;
	st = status_of(&a, command(&a, tur, 0x80, 0, NULL, 0), NULL, ANSWER_MS);
	if (st != (how == CLEAR_TASK_SET ? 0 : 2))
		return fail("the next command ends %d: %.100s", st, why);
	if (settle(&b) || read_block(&b, LBA, buf))
		return -1;
	if (buf[0] != 0x22)
		return fail("the write took effect");
	if (how == PREEMPT && reserve_out(&b, 3, 0xb, 0))
		return fail("CLEAR");
	ini_close(&a);
	ini_close(&b);
	return 0;
}

static bool portal(const char *text, char where[2][64])
{
	return sscanf(text, "%63[^:]:%63[0-9]", where[0], where[1]) == 2;
}

int main(int argc, char **argv)
{
	static const struct {
		int how;
		const char *name;
	} all[] = {{CLEAR_TASK_SET, "CLEAR TASK SET"},
		   {LU_RESET, "LOGICAL UNIT RESET"},
		   {PREEMPT, "PREEMPT AND ABORT"}};

	if (argc != 5 || !portal(argv[1], at[0]) || !portal(argv[2], at[1])) {
		fprintf(stderr, "usage: iscsi_tas HOST:PORT HOST:PORT TARGET LUN\n");
		return 2;
	}
	target = argv[3], lun_nr = (unsigned)atoi(argv[4]);
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (run(all[i].how)) {
			printf("iscsi_tas: %s: %s\n", all[i].name, why);
			return 1;
		}
	printf("iscsi_tas: what another gateway ends is told, TASK ABORTED\n");
	return 0;
}
