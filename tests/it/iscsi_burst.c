// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bursts of commands of a raw initiator, for tests/it/syscalls.sh: all that a session has to
 * say is one write of the socket, so a target that is ready finds it at once.
 *
 *   iscsi_burst HOST PORT TARGET LUN SESSIONS DEPTH ROUNDS SPAN
 *
 * Logs in SESSIONS times, reads SPAN chunks of 4 KiB once, prints `ready`, waits for a line
 * on its input. Then ROUNDS times: DEPTH reads of 4 KiB anywhere in the span on each session,
 * and all their answers. Prints `done COMMANDS PINGS` (the latter
 * answered since then), and stays until there is another line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/it/iscsi_ini.h"

#define SESSIONS_MAX 64
#define DEPTH_MAX    64
#define CHUNK_BLOCKS 8

static struct ini ses[SESSIONS_MAX];
static unsigned int rnd = 1;

/* PDU of a READ(10) of one chunk. */
static void put_read(struct ini *s, uint8_t *h, uint32_t chunk)
{
	hdr_init(s, h, 0x01, 0xc1);
	put32(h + 16, s->itt++);
	put32(h + 20, CHUNK_BLOCKS * BLOCK);
	put32(h + 24, s->cmd_sn++);
	h[32] = 0x28;
	put32(h + 34, chunk * CHUNK_BLOCKS);
	h[40] = CHUNK_BLOCKS;
}

/* depth reads in one write; chunk: of the first, -1: each anywhere below span */
static int ask(struct ini *s, int depth, int chunk, unsigned int span)
{
	uint8_t pdu[DEPTH_MAX][BHS];

	for (int i = 0; i < depth; i++)
		put_read(s, pdu[i], chunk < 0 ? rand_r(&rnd) % span : (unsigned int)(chunk + i));
	return send_all(s, pdu, (size_t)depth * BHS);
}

/* The answers: each command ends GOOD with its data. */
static int take(struct ini *s, int depth)
{
	uint32_t bytes = 0;

	for (int ended = 0; ended < depth;) {
		if (next_pdu(s, ANSWER_MS))
			return -1;
		switch (s->hdr[0] & 0x3f) {
		case 0x25:
			bytes += s->len;
			if (!(s->hdr[1] & 1))
				continue;
			/* fall through */
		case 0x21:
			if (s->hdr[3])
				return fail("status %x", s->hdr[3]);
			ended++;
			break;
		default:
			return fail("opcode %x", s->hdr[0]);
		}
	}
	if (bytes != (uint32_t)depth * CHUNK_BLOCKS * BLOCK)
		return fail("%u bytes of %d chunks", bytes, depth);
	return 0;
}

static int run(int sessions, int depth, int rounds, unsigned int span)
{
	char line[16];

	for (int i = 0; i < sessions; i++)
		if (login_ready(&ses[i], (uint16_t)(i + 1), false))
			return -1;
	for (unsigned int at = 0; at < span; at += depth)
		if (ask(&ses[0], depth, (int)at, 0) || take(&ses[0], depth))
			return -1;
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return fail("nobody said go");
	ini_pings = 0;
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < sessions; i++)
			if (ask(&ses[i], depth, -1, span))
				return -1;
		for (int i = 0; i < sessions; i++)
			if (take(&ses[i], depth))
				return -1;
	}
	printf("done %d %u\n", sessions * depth * rounds, ini_pings);
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) ? 0 : fail("nobody said stop");
}

int main(int argc, char **argv)
{
	int n[4];

	for (int i = 0; argc == 9 && i < 4; i++)
		n[i] = atoi(argv[5 + i]);
	if (argc != 9 || n[0] < 1 || n[0] > SESSIONS_MAX || n[1] < 1 || n[1] > DEPTH_MAX ||
	    n[2] < 1 || n[3] < n[1] || n[3] % n[1]) {
		fputs("usage: iscsi_burst HOST PORT TARGET LUN SESSIONS DEPTH ROUNDS SPAN\n",
		      stderr);
		return 2;
	}
	host = argv[1];
	port = argv[2];
	target = argv[3];
	lun_nr = (unsigned int)atoi(argv[4]);
	if (run(n[0], n[1], n[2], (unsigned int)n[3])) {
		fprintf(stderr, "iscsi_burst: %s\n", why);
		return 1;
	}
	return 0;
}
