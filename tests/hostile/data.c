// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data of writes that is not what was agreed on: offsets, lengths, tags, numbers,
 * unasked (RFC 7143, 4.2.5.2, 11.4.7.2, 11.7). Nothing of it may reach the LUN.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define LBA   64
#define GUARD 0x5a

static uint8_t junk[1 << 20];

/* Blocks LBA.. hold GUARD; a session that sends data when it is asked. */
static int begin(struct ini *s, bool unsolicited)
{
	struct ini g;
	int rc = login_ready(&g, 0x100, true);

	for (unsigned i = 0; !rc && i < 4; i++)
		rc = write_block(&g, LBA + i, GUARD);
	ini_close(&g);
	memset(junk, 0xee, sizeof(junk));
	return rc ? -1 : login_ready(s, 0x101, unsolicited);
}

static int unchanged(struct ini *s)
{
	uint8_t buf[BLOCK];

	for (unsigned i = 0; i < 4; i++) {
		if (read_block(s, LBA + i, buf))
			return -1;
		if (buf[0] != GUARD || buf[BLOCK - 1] != GUARD)
			return fail("block %u was changed", LBA + i);
	}
	return 0;
}

/* begin(), and a write of so many blocks from LBA on that has been asked for its data. */
static int asked(struct ini *s, uint32_t blocks, uint32_t *itt, uint32_t *ttt)
{
	if (begin(s, false))
		return -1;
	*itt = rw10(s, 0x2a, LBA, blocks, NULL, 0);
	return expect_r2t(s, *itt, ttt, NULL);
}

/* The command ends with GOOD, and blocks LBA.. still hold GUARD. */
static int unharmed(struct ini *s, uint32_t itt)
{
	if (expect_good(s, itt) || unchanged(s))
		return -1;
	ini_close(s);
	return 0;
}

/* The command ends with ABORTED COMMAND, incorrect amount of data; the session goes on. */
static int data_error(struct ini *s, uint32_t itt)
{
	return expect_sense(s, itt, 0xb, 0x0c0d) || unchanged(s) ? -1 : (ini_close(s), 0);
}

static int one_bad(uint32_t off, uint32_t len, uint32_t sn)
{
	uint32_t itt, ttt;
	struct ini s;

	if (asked(&s, 2, &itt, &ttt) || data_out(&s, itt, ttt, sn, off, junk, len, true))
		return -1;
	return data_error(&s, itt);
}

static int t_offset_beyond(void)
{
	return one_bad(1 << 20, 512, 0);
}
static int t_offset_wraps(void)
{
	return one_bad(0xfffffe00, 512, 0);
}
static int t_offset_middle(void)
{
	return one_bad(512, 512, 0);
}
static int t_longer(void)
{
	return one_bad(0, 8192, 0);
}
static int t_sn_skipped(void)
{
	return one_bad(0, 512, 5);
}
static int t_sn_huge(void)
{
	return one_bad(0, 512, 0xffffffff);
}

static int t_sn_repeated(void)
{
	uint32_t itt, ttt;
	struct ini s;

	if (asked(&s, 2, &itt, &ttt) || data_out(&s, itt, ttt, 0, 0, junk, 512, false) ||
	    data_out(&s, itt, ttt, 0, 512, junk, 512, true))
		return -1;
	return data_error(&s, itt);
}

static int t_offset_again(void)
{
	uint32_t itt, ttt;
	struct ini s;

	if (asked(&s, 2, &itt, &ttt) || data_out(&s, itt, ttt, 0, 0, junk, 512, false) ||
	    data_out(&s, itt, ttt, 1, 0, junk, 512, true))
		return -1;
	return data_error(&s, itt);
}

/* Tags that fit nothing: dropped; the right data still counts. */
static int wrong_tags(struct ini *s, uint32_t itt, uint32_t ttt)
{
	uint8_t good[2 * BLOCK];

	memset(good, GUARD, sizeof(good));
	for (int i = 0; i < 32; i++)
		if (data_out(s, itt, ttt ^ 1U << i, 0, 0, junk, 512, i & 1))
			return -1;
	for (int i = 0; i < 32; i++)
		if (data_out(s, itt ^ 1U << i, ttt, 0, 0, junk, 512, true))
			return -1;
	if (data_out(s, itt, ttt, 0, 0, good, sizeof(good), true))
		return -1;
	return expect_good(s, itt) || unchanged(s) ? -1 : 0;
}

static int t_wrong_tags(void)
{
	uint32_t itt, ttt;
	struct ini s;

	if (asked(&s, 2, &itt, &ttt) || wrong_tags(&s, itt, ttt))
		return -1;
	ini_close(&s);
	return 0;
}

/* The tag of one write with the other write's task tag. */
static int t_crossed_tags(void)
{
	uint32_t a, b, ta, tb;
	uint8_t good[BLOCK];
	struct ini s;

	memset(good, GUARD, sizeof(good));
	if (begin(&s, false))
		return -1;
	a = rw10(&s, 0x2a, LBA, 1, NULL, 0);
	if (expect_r2t(&s, a, &ta, NULL))
		return -1;
	b = rw10(&s, 0x2a, LBA + 1, 1, NULL, 0);
	if (expect_r2t(&s, b, &tb, NULL) || data_out(&s, a, tb, 0, 0, junk, BLOCK, true) ||
	    data_out(&s, b, ta, 0, 0, junk, BLOCK, true) ||
	    data_out(&s, a, ta, 0, 0, good, BLOCK, true) || expect_good(&s, a) ||
	    data_out(&s, b, tb, 0, 0, good, BLOCK, true) || expect_good(&s, b) || unchanged(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* The tag of another session's write. */
static int t_foreign_tags(void)
{
	uint32_t itt, ttt;
	uint8_t good[BLOCK];
	struct ini s, o;

	memset(good, GUARD, sizeof(good));
	if (begin(&s, false) || login_ready(&o, 0x102, false))
		return -1;
	itt = rw10(&s, 0x2a, LBA, 1, NULL, 0);
	if (expect_r2t(&s, itt, &ttt, NULL) || data_out(&o, itt, ttt, 0, 0, junk, BLOCK, true) ||
	    goes_on(&o) || data_out(&s, itt, ttt, 0, 0, good, BLOCK, true) ||
	    expect_good(&s, itt) || unchanged(&s))
		return -1;
	ini_close(&s);
	ini_close(&o);
	return 0;
}

/* More after what was asked for. */
static int t_after_the_end(void)
{
	uint8_t good[BLOCK];
	uint32_t itt, ttt;
	struct ini s;

	memset(good, GUARD, sizeof(good));
	if (asked(&s, 1, &itt, &ttt) || data_out(&s, itt, ttt, 0, 0, good, BLOCK, true))
		return -1;
	for (int i = 1; i < 20; i++)
		if (data_out(&s, itt, ttt, (uint32_t)i, (uint32_t)i * BLOCK, junk, BLOCK, true))
			return -1;
	return unharmed(&s, itt);
}

/* F set before everything is there: the rest is asked for again. */
static int t_final_early(void)
{
	uint8_t good[2 * BLOCK];
	uint32_t itt, ttt, len;
	struct ini s;

	memset(good, GUARD, sizeof(good));
	if (asked(&s, 2, &itt, &ttt) || data_out(&s, itt, ttt, 0, 0, good, BLOCK, true) ||
	    expect_r2t(&s, itt, &ttt, &len))
		return -1;
	if (len != BLOCK)
		return fail("asks for %u bytes more", len);
	return data_out(&s, itt, ttt, 0, BLOCK, good, BLOCK, true) || unharmed(&s, itt) ? -1 : 0;
}

/* A thousand segments of nothing. */
static int t_empty_segments(void)
{
	uint8_t good[BLOCK];
	uint32_t itt, ttt;
	struct ini s;

	memset(good, GUARD, sizeof(good));
	if (asked(&s, 1, &itt, &ttt))
		return -1;
	for (uint32_t i = 0; i < 1000; i++)
		if (data_out(&s, itt, ttt, i, 0, NULL, 0, false))
			return -1;
	return data_out(&s, itt, ttt, 1000, 0, good, BLOCK, true) || unharmed(&s, itt) ? -1 : 0;
}

/* A word in each segment; then bytes, whose padding would be beyond the buffer. */
static int t_tiny_segments(void)
{
	uint8_t good[BLOCK];
	uint32_t itt, ttt;
	struct ini s;

	memset(good, GUARD, sizeof(good));
	if (begin(&s, false))
		return -1;
	for (uint32_t step = 4; step; step = step == 4 ? 1 : 0) {
		itt = rw10(&s, 0x2a, LBA, 1, NULL, 0);
		if (expect_r2t(&s, itt, &ttt, NULL))
			return -1;
		for (uint32_t at = 0; at < BLOCK; at += step)
			if (data_out(&s, itt, ttt, at / step, at, good + at, step,
				     at + step == BLOCK))
				return -1;
		if (step == 4 ? expect_good(&s, itt) : expect_sense(&s, itt, 0xb, 0x0c0d))
			return -1;
	}
	if (unchanged(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* ---- unasked ---------------------------------------------------------------------- */

/* Unasked data in the same breath as a write that waits for its R2T. */
static int t_unasked_before_r2t(void)
{
	uint32_t itt;
	struct ini s;

	for (int i = 0; i < 20; i++) {
		uint8_t both[2 * BHS + BLOCK] = {0}, *c = both, *d = both + BHS;

		if (begin(&s, false))
			return -1;
		itt = s.itt++;
		hdr_init(&s, c, OP_SCSI, 0xa1);
		put32(c + 16, itt);
		put32(c + 20, 2 * BLOCK);
		put32(c + 24, s.cmd_sn++);
		c[32] = 0x2a, c[37] = LBA, c[40] = 2;
		hdr_init(&s, d, OP_DATA_OUT, 0x80);
		put32(d + 16, itt);
		d[6] = BLOCK >> 8;
		if (send_all(&s, both, sizeof(both)) || expect_sense(&s, itt, 0xb, 0x0c0d) ||
		    unchanged(&s))
			return -1;
		ini_close(&s);
	}
	return 0;
}

/* The same while it waits for memory that the session's other writes have. */
static int t_unasked_before_budget(void)
{
	enum { BIG = 2 << 20, NR_BIG = 40 };
	uint8_t cdb[16] = {0x8a};
	uint32_t itt = 0;
	struct ini s;
	int r2ts = 0;

	if (begin(&s, false))
		return -1;
	put32(cdb + 10, BIG / BLOCK);
	for (int i = 0; i < NR_BIG; i++)
		itt = command(&s, cdb, 0xa0, BIG, NULL, 0);
	if (data_out(&s, itt, RESERVED, 0, 0, junk, BLOCK, true))
		return -1;
	for (;;) {
		if (next_pdu(&s, ANSWER_MS))
			return fail("after %d R2Ts: %s", r2ts, why);
		if (opcode(&s) != OP_R2T)
			break;
		r2ts++;
	}
	if (opcode(&s) != OP_SCSI_RSP || get32(s.hdr + 16) != itt || s.hdr[3] != 2)
		return fail("opcode %x for %u", opcode(&s), get32(s.hdr + 16));
	if (r2ts > 16)
		return fail("asked for %d x 2 MiB at a time", r2ts);
	if (goes_on(&s))
		return -1;
	ini_reset(&s);
	return 0;
}

/* Goes away with more writes waiting for memory than there is. */
static int t_vanish_over_budget(void)
{
	uint8_t cdb[16] = {0x8a};
	struct ini s;

	for (int k = 0; k < 4; k++) {
		uint32_t bytes = k & 1 ? 16 << 20 : 2 << 20;
		int n = k & 1 ? 20 : 100;

		if (begin(&s, k & 2))
			return -1;
		put32(cdb + 10, bytes / BLOCK);
		for (int i = 0; i < n; i++)
			command(&s, cdb, 0xa0, bytes, NULL, 0);
		if (next_pdu(&s, ANSWER_MS))
			return -1;
		if (k & 2)
			ini_close(&s);
		else
			ini_reset(&s);
	}
	return 0;
}

/* Announced although InitialR2T=Yes was agreed on. */
static int t_unasked_not_agreed(void)
{
	uint8_t h[BHS];
	struct ini s;

	if (begin(&s, false))
		return -1;
	hdr_init(&s, h, OP_SCSI, 0x21);
	put32(h + 20, 8 * BLOCK);
	put32(h + 24, s.cmd_sn);
	h[32] = 0x2a, h[37] = LBA, h[40] = 8;
	if (send_pdu(&s, h, NULL, 0) || expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return begin(&s, true) || unchanged(&s) ? -1 : (ini_close(&s), 0);
}

/* A write with F=0: what follows is announced. */
static uint32_t open_write(struct ini *s, uint32_t blocks)
{
	uint8_t h[BHS];
	uint32_t itt = s->itt++;

	hdr_init(s, h, OP_SCSI, 0x21);
	put32(h + 16, itt);
	put32(h + 20, blocks * BLOCK);
	put32(h + 24, s->cmd_sn++);
	h[32] = 0x2a, h[37] = LBA, h[39] = (uint8_t)(blocks >> 8), h[40] = (uint8_t)blocks;
	send_pdu(s, h, NULL, 0);
	return itt;
}

static uint32_t big_write(struct ini *s, uint32_t mib, bool announce)
{
	uint8_t h[BHS];
	uint32_t itt = s->itt++;

	hdr_init(s, h, OP_SCSI, announce ? 0x21 : 0xa1);
	put32(h + 16, itt);
	put32(h + 20, mib << 20);
	put32(h + 24, s->cmd_sn++);
	h[32] = 0x8a;
	put32(h + 32 + 10, mib << 11);
	send_pdu(s, h, NULL, 0);
	return itt;
}

/* Goes away when the memory of one write, freed, is enough for the next that waits, and
 * that one's for another: a session has 32 MiB. */
static int t_vanish_in_turn(void)
{
	uint32_t small, late;
	struct ini s;

	if (begin(&s, true))
		return -1;
	big_write(&s, 16, false);
	small = big_write(&s, 2, false);
	big_write(&s, 13, false);
	late = big_write(&s, 16, true);
	big_write(&s, 16, false);
	for (uint32_t at = 0; at < 2; at++)
		if (data_out(&s, late, RESERVED, at, at << 17, junk, 1 << 17, at == 1))
			return -1;
	for (int i = 0; i < 3; i++)
		if (expect_op(&s, OP_R2T, ANSWER_MS))
			return -1;
	if (tmf(&s, 1, small) || expect_op(&s, OP_TMF_RSP, ANSWER_MS))
		return -1;
	ini_reset(&s);
	return 0;
}

/* INQUIRY with room for so much: that much memory counts. */
static void inquiry_in(struct ini *s, uint8_t *h, uint32_t edtl)
{
	hdr_init(s, h, OP_SCSI, 0xc1);
	put32(h + 16, s->itt++), put32(h + 20, edtl), put32(h + 24, s->cmd_sn++);
	h[32] = 0x12, h[36] = 96;
}

/* Of a session's 32 MiB two reads have 28, one waits for 16, then one comes for which
 * there is room: it is not served before the one that waits. */
static int t_reads_keep_their_order(void)
{
	static const uint32_t edtl[] = {16 << 20, 12 << 20, 16 << 20, 4096};
	uint8_t h[4][BHS];
	uint32_t first;
	struct ini s;

	if (begin(&s, true))
		return -1;
	first = s.itt;
	for (unsigned i = 0; i < 4; i++)
		inquiry_in(&s, h[i], edtl[i]);
	if (send_all(&s, h, sizeof(h)))
		return -1;
	for (unsigned i = 0; i < 4; i++) {
		if (expect_op(&s, OP_DATA_IN, 3000))
			return -1;
		if (get32(s.hdr + 16) != first + i)
			return fail("answer %u is that of read %u", i, get32(s.hdr + 16) - first);
	}
	ini_close(&s);
	return 0;
}

/* All memory for writes is taken by eight sessions; one waits for some, then one of the
 * eight does, for what of its own ends next: that goes to who has waited longer. */
static int t_sessions_keep_their_order(void)
{
	struct ini hog[8], waits;
	uint32_t early[8];

	for (unsigned i = 0; i < 9; i++) {
		struct ini *s = i < 8 ? &hog[i] : &waits;

		if (login_ready(s, (uint16_t)(0x180 + i), false))
			return -1;
		for (unsigned k = 0; i < 8 && k < 2; k++) {
			uint32_t itt = big_write(s, 16, false);

			early[i] = k ? early[i] : itt;
			if (expect_op(s, OP_R2T, 3000))
				return fail("session %u, write %u: %.200s", i, k, why);
		}
	}
	big_write(&waits, 16, false);
	if (quiet(&waits, 100))
		return fail("it did not have to wait: %.200s", why);
	big_write(&hog[0], 16, false);
	if (quiet(&hog[0], 100) || tmf(&hog[0], 1, early[0]))
		return fail("the second one: %.200s", why);
	for (bool asked = false; !asked;) {
		struct pollfd p[2] = {{.fd = waits.fd, .events = POLLIN},
				      {.fd = hog[0].fd, .events = POLLIN}};

		if (poll(p, 2, 3000) < 1)
			return fail("nobody gets what became free");
		if (p[0].revents) {
			if (recv_pdu(&waits, 3000))
				return -1;
			asked = opcode(&waits) == OP_R2T;
		} else if (recv_pdu(&hog[0], 3000) || opcode(&hog[0]) == OP_R2T) {
			return fail("overtaken by the session whose write has ended");
		}
	}
	for (unsigned i = 0; i < 8; i++)
		ini_reset(&hog[i]);
	ini_reset(&waits);
	return 0;
}

static int t_beyond_first_burst(void)
{
	uint32_t itt, at, step = 128 << 10;
	struct ini s;

	if (begin(&s, true))
		return -1;
	itt = open_write(&s, 1024);
	for (at = 0; at < 512 << 10; at += step)
		if (data_out(&s, itt, RESERVED, at / step, at, junk, step, at + step == 512 << 10))
			return -1;
	return data_error(&s, itt);
}

static int t_beyond_write(void)
{
	uint32_t itt;
	struct ini s;

	if (begin(&s, true))
		return -1;
	itt = open_write(&s, 2);
	if (data_out(&s, itt, RESERVED, 0, 0, junk, 3 * BLOCK, true))
		return -1;
	return data_error(&s, itt);
}

/* An R2T's tag before there is one. */
static int t_asked_before_asked(void)
{
	uint32_t itt;
	uint8_t good[2 * BLOCK];
	struct ini s;

	memset(good, GUARD, sizeof(good));
	if (begin(&s, true))
		return -1;
	itt = open_write(&s, 2);
	for (uint32_t i = 0; i < 100; i++)
		if (data_out(&s, itt, i, 0, 0, junk, BLOCK, true))
			return -1;
	if (data_out(&s, itt, RESERVED, 0, 0, good, sizeof(good), true) || expect_good(&s, itt) ||
	    unchanged(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int immediate(bool agreed, int flags, uint32_t edtl, uint32_t len)
{
	uint8_t h[BHS];
	struct ini s;

	if (begin(&s, agreed))
		return -1;
	hdr_init(&s, h, OP_SCSI, flags);
	put32(h + 20, edtl);
	put32(h + 24, s.cmd_sn);
	h[32] = flags & 0x40 ? 0x28 : 0x2a, h[37] = LBA, h[40] = 2;
	send_pdu(&s, h, junk, len);
	if (expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return begin(&s, true) || unchanged(&s) ? -1 : (ini_close(&s), 0);
}

static int t_immediate_off(void)
{
	return immediate(false, 0xa1, 2 * BLOCK, 2 * BLOCK);
}
static int t_immediate_beyond(void)
{
	return immediate(true, 0xa1, 2 * BLOCK, 128 * BLOCK);
}
static int t_immediate_on_read(void)
{
	return immediate(true, 0xc1, 2 * BLOCK, 2 * BLOCK);
}
static int t_immediate_on_nothing(void)
{
	return immediate(true, 0x81, 2 * BLOCK, 2 * BLOCK);
}
static int t_immediate_of_zero(void)
{
	return immediate(true, 0xa1, 0, BLOCK);
}

/* Data for a read: of an R2T that never was (dropped). */
static int t_data_for_read(void)
{
	uint8_t both[2 * BHS + BLOCK] = {0}, *c = both, *d = both + BHS, buf[BLOCK];
	uint32_t itt;
	struct ini s;

	if (begin(&s, true))
		return -1;
	itt = s.itt++;
	hdr_init(&s, c, OP_SCSI, 0xc1);
	put32(c + 16, itt);
	put32(c + 20, BLOCK);
	put32(c + 24, s.cmd_sn++);
	c[32] = 0x28, c[37] = LBA, c[40] = 1;
	hdr_init(&s, d, OP_DATA_OUT, 0x80);
	put32(d + 16, itt);
	put32(d + 20, 7);
	d[6] = BLOCK >> 8;
	if (send_all(&s, both, sizeof(both)) || status_of(&s, itt, buf, ANSWER_MS) || unchanged(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* Data-Out of nobody, as fast as it goes: dropped. */
static int t_data_of_nobody(void)
{
	struct ini s;

	if (begin(&s, true))
		return -1;
	for (uint32_t i = 0; i < 2000; i++)
		if (data_out(&s, rnd(), rnd(), rnd(), rnd(), junk, rnd() % 4096, rnd() & 1))
			return -1;
	if (unchanged(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* A write is cut by RST after every byte of its header and of its data. */
static int t_reset_at_each_byte(void)
{
	uint8_t pdu[BHS + BLOCK] = {0};
	struct ini s;

	for (size_t cut = 1; cut < sizeof(pdu); cut += cut < BHS + 8 ? 1 : 97) {
		if (login(&s, 0x103, true))
			return -1;
		hdr_init(&s, pdu, OP_SCSI, 0xa1);
		put32(pdu + 20, BLOCK);
		put32(pdu + 24, s.cmd_sn);
		pdu[6] = BLOCK >> 8;
		pdu[32] = 0x2a, pdu[37] = LBA, pdu[40] = 1;
		memset(pdu + BHS, 0xee, BLOCK);
		if (send_all(&s, pdu, cut))
			return -1;
		ini_reset(&s);
	}
	return login_ready(&s, 0x103, true) ? -1 : (ini_close(&s), 0);
}

const struct hostile data_scripts[] = {
	{"offset-beyond-the-buffer", t_offset_beyond, 0},
	{"offset-wraps", t_offset_wraps, 0},
	{"offset-in-the-middle", t_offset_middle, 0},
	{"longer-than-asked-for", t_longer, 0},
	{"number-skipped", t_sn_skipped, 0},
	{"number-huge", t_sn_huge, 0},
	{"number-repeated", t_sn_repeated, 0},
	{"offset-again", t_offset_again, 0},
	{"wrong-tags", t_wrong_tags, 0},
	{"crossed-tags", t_crossed_tags, 0},
	{"tags-of-another-session", t_foreign_tags, 0},
	{"after-the-end", t_after_the_end, 0},
	{"final-early", t_final_early, 0},
	{"empty-segments", t_empty_segments, 0},
	{"tiny-segments", t_tiny_segments, 0},
	{"unasked-before-r2t", t_unasked_before_r2t, 0},
	{"unasked-before-budget", t_unasked_before_budget, 0},
	{"vanish-over-budget", t_vanish_over_budget, HOSTILE_HEAVY},
	{"reads-keep-their-order", t_reads_keep_their_order, 0},
	{"sessions-keep-their-order", t_sessions_keep_their_order, HOSTILE_HEAVY},
	{"vanish-in-turn", t_vanish_in_turn, 0},
	{"unasked-not-agreed", t_unasked_not_agreed, 0},
	{"beyond-first-burst", t_beyond_first_burst, 0},
	{"beyond-the-write", t_beyond_write, 0},
	{"asked-before-asked", t_asked_before_asked, 0},
	{"immediate-off", t_immediate_off, 0},
	{"immediate-beyond-the-write", t_immediate_beyond, 0},
	{"immediate-on-a-read", t_immediate_on_read, 0},
	{"immediate-on-no-data", t_immediate_on_nothing, 0},
	{"immediate-on-zero-length", t_immediate_of_zero, 0},
	{"data-for-a-read", t_data_for_read, 0},
	{"data-of-nobody", t_data_of_nobody, HOSTILE_HEAVY},
	{"reset-at-each-byte", t_reset_at_each_byte, HOSTILE_HEAVY},
	{NULL, NULL, 0},
};
