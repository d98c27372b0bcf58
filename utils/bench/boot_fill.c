// SPDX-License-Identifier: GPL-2.0-only
/* The data that a replay finds on its LUN; see boot.h. */
#include "utils/bench/boot.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define FILL_BYTES_MAX (512u << 10)
#define AGAIN_MS       50
#define AGAIN_FOR_NS   UINT64_C(60000000000)

/* BUSY, TASK SET FULL and unit attentions are no errors: initiators send again. */
static bool again(const struct scsi_task *task)
{
	return task->status == SCSI_STATUS_BUSY || task->status == SCSI_STATUS_TASK_SET_FULL ||
	       (task->status == SCSI_STATUS_CHECK_CONDITION &&
		task->sense.key == SCSI_SENSE_UNIT_ATTENTION);
}

static int write_run(struct vms_bench_sess *s, uint64_t off, uint32_t len, const void *data)
{
	uint64_t until = vms_bench_now() + AGAIN_FOR_NS;
	struct iscsi_data d = {.size = len, .data = (unsigned char *)data};

	for (;;) {
		struct scsi_task *task = vms_bench_task_rw(
			true, off / s->block_bytes, len / s->block_bytes, s->block_bytes, false);
		bool good, repeat;

		good = task && iscsi_scsi_command_sync(s->ctx, s->lun, task, &d) &&
		       task->status == SCSI_STATUS_GOOD;
		repeat = task && !good && again(task) && vms_bench_now() < until;
		if (!good && !repeat)
			vms_bench_err("%s: cannot write at byte %" PRIu64 ": %s", s->url, off,
				      iscsi_get_error(s->ctx));
		if (task)
			scsi_free_scsi_task(task);
		if (!repeat)
			return good ? 0 : -1;
		(void)poll(NULL, 0, AGAIN_MS);
	}
}

int vms_boot_trace_fill(const struct vms_boot_trace *t, const char *url, struct vms_bench_gen *g)
{
	uint64_t nchunks = 0;
	uint8_t *image = vms_boot_trace_image(t, &nchunks);
	char *buf = malloc(FILL_BYTES_MAX);
	struct vms_bench_sess s;
	int rc = -1;

	if (!image || !buf) {
		vms_bench_err("out of memory");
		goto out;
	}
	if (vms_bench_sess_open(&s, url, "fill"))
		goto out;
	rc = 0;
	for (uint64_t c = 0; c < nchunks && !rc;) {
		uint64_t from = c;
		uint32_t len;

		if (!(image[c] & VMS_BOOT_IMAGE)) {
			c++;
			continue;
		}
		while (c < nchunks && (image[c] & VMS_BOOT_IMAGE) &&
		       (c - from) * VMS_BENCH_CHUNK_BYTES < FILL_BYTES_MAX)
			c++;
		len = (uint32_t)((c - from) * VMS_BENCH_CHUNK_BYTES);
		vms_bench_fill(g, buf, len);
		rc = write_run(&s, from * VMS_BENCH_CHUNK_BYTES, len, buf);
	}
	vms_bench_sess_close(&s);
out:
	free(image);
	free(buf);
	return rc;
}
