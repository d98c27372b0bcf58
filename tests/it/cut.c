// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is a snapshot a consistent cut? Writers that go through two gateways in turn, each
 * write made only after the one before it was acknowledged, and the look at what a
 * snapshot holds of them.
 *
 *   cut write URL URL LANES   until SIGTERM: every lane writes k to its block A through
 *                             one gateway, then k to its block B, in another extent,
 *                             through the other; then k + 1 …
 *   cut check URL LANES       prints A and B of each lane; fails unless A = B or
 *                             A = B + 1, and all blocks are whole
 *
 * A block is a chunk of 4 KiB: k and the lane, repeated. BUSY, unit attentions
 * and lost connections are repeated with the same k, which changes nothing.
 */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LANE_BLOCKS 32768u /* 16 MiB: A in its first extent, B in its third */
#define B_OFFSET    16384u
#define BLOCKS	    8u
#define BYTES	    4096u
#define REPEATS_MAX 600

/* Shared with the lanes, which end with the write they are at: a signal would break
 * into libiscsi's poll(). */
static volatile sig_atomic_t *stop;

static void on_term(int sig)
{
	(void)sig;
	*stop = 1;
}

static struct iscsi_context *session(const char *text, int *lun, unsigned number)
{
	struct iscsi_context *c;
	struct iscsi_url *url;
	char name[64];

	snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:cut%u", number);
	c = iscsi_create_context(name);
	url = c ? iscsi_parse_full_url(c, text) : NULL;
	if (!url) {
		fprintf(stderr, "cut: %s: not an iscsi:// URL\n", text);
		exit(2);
	}
	*lun = url->lun;
	iscsi_set_session_type(c, ISCSI_SESSION_NORMAL);
	iscsi_set_targetname(c, url->target);
	iscsi_set_reconnect_max_retries(c, -1);
	iscsi_set_timeout(c, 60);
	if (iscsi_full_connect_sync(c, url->portal, url->lun)) {
		fprintf(stderr, "cut: %s: %s\n", text, iscsi_get_error(c));
		exit(1);
	}
	iscsi_destroy_url(url);
	return c;
}

static int io(struct iscsi_context *c, int lun, bool write, uint64_t lba, uint8_t *buf)
{
	for (int i = 0; i < REPEATS_MAX; i++) {
		struct scsi_task *t =
			write ? iscsi_write16_sync(c, lun, lba, buf, BYTES, 512, 0, 0, 0, 0, 0)
			      : iscsi_read16_sync(c, lun, lba, BYTES, 512, 0, 0, 0, 0, 0);
		int status = t ? t->status : -1;

		if (status == SCSI_STATUS_GOOD && !write) {
			if (t->datain.size != (int)BYTES)
				status = -1;
			else
				memcpy(buf, t->datain.data, BYTES);
		}
		/* what an initiator repeats by itself */
		bool again = status < 0 || status == SCSI_STATUS_BUSY ||
			     status == SCSI_STATUS_TASK_SET_FULL ||
			     (status == SCSI_STATUS_CHECK_CONDITION &&
			      (t->sense.key == SCSI_SENSE_UNIT_ATTENTION ||
			       t->sense.key == SCSI_SENSE_COMMAND_ABORTED ||
			       t->sense.key == SCSI_SENSE_NOT_READY)) ||
			     status >= SCSI_STATUS_CANCELLED;

		if (t)
			scsi_free_scsi_task(t);
		if (status == SCSI_STATUS_GOOD)
			return 0;
		if (!again) {
			fprintf(stderr, "cut: %s of block %llu: status %x, %s\n",
				write ? "write" : "read", (unsigned long long)lba, status,
				iscsi_get_error(c));
			return -1;
		}
		usleep(100000);
	}
	fprintf(stderr, "cut: block %llu: given up\n", (unsigned long long)lba);
	return -1;
}

static int lane_write(const char *const url[2], unsigned lane)
{
	struct iscsi_context *c[2];
	uint64_t word[BYTES / 8], k = 0;
	int lun[2];

	for (int i = 0; i < 2; i++)
		c[i] = session(url[(lane + i) % 2], &lun[i], 2 * lane + i);
	while (!*stop) {
		k++;
		for (unsigned i = 0; i < BYTES / 8; i += 2) {
			word[i] = k;
			word[i + 1] = lane;
		}
		for (int i = 0; i < 2; i++)
			if (io(c[i], lun[i], true, lane * LANE_BLOCKS + i * B_OFFSET,
			       (uint8_t *)word))
				return 1;
	}
	printf("lane %u: %llu\n", lane, (unsigned long long)k);
	return k == 0;
}

static int check(const char *url, unsigned lanes)
{
	int lun, bad = 0;
	struct iscsi_context *c = session(url, &lun, 1000);

	for (unsigned lane = 0; lane < lanes; lane++) {
		uint64_t word[BYTES / 8], k[2];

		for (int i = 0; i < 2; i++) {
			if (io(c, lun, false, lane * LANE_BLOCKS + i * B_OFFSET, (uint8_t *)word))
				return 1;
			k[i] = word[0];
			for (unsigned n = 0; n < BYTES / 8; n += 2)
				if (word[n] != k[i] || word[n + 1] != (k[i] ? lane : 0)) {
					fprintf(stderr,
						"cut: lane %u, block %d is torn or foreign\n", lane,
						i);
					bad = 1;
					break;
				}
		}
		printf("%u %llu %llu\n", lane, (unsigned long long)k[0], (unsigned long long)k[1]);
		if (k[0] != k[1] && k[0] != k[1] + 1) {
			fprintf(stderr,
				"cut: lane %u: A is %llu, B is %llu: an effect without "
				"its cause\n",
				lane, (unsigned long long)k[0], (unsigned long long)k[1]);
			bad = 1;
		}
	}
	iscsi_logout_sync(c);
	iscsi_destroy_context(c);
	return bad;
}

int main(int argc, char **argv)
{
	unsigned lanes;
	int status, failed = 0;

	if (argc == 4 && !strcmp(argv[1], "check"))
		return check(argv[2], (unsigned)atoi(argv[3]));
	if (argc != 5 || strcmp(argv[1], "write")) {
		fprintf(stderr, "usage: cut write URL URL LANES | cut check URL LANES\n");
		return 2;
	}
	lanes = (unsigned)atoi(argv[4]);
	stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stop == MAP_FAILED)
		return 1;
	signal(SIGTERM, on_term);
	for (unsigned lane = 0; lane < lanes; lane++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (!pid) {
			const char *url[2] = {argv[2], argv[3]};

			signal(SIGTERM, SIG_IGN);
			exit(lane_write(url, lane));
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	return failed ? 1 : 0;
}
