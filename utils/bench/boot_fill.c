// SPDX-License-Identifier: GPL-2.0-only
/* The data that a replay finds on its LUN; see boot.h. */
#include "utils/bench/boot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define FILL_BYTES_MAX (512u << 10)

static int write_run(struct vms_bench_sess *s, uint64_t off, uint32_t len, const void *data)
{
	struct scsi_task *task = vms_bench_task_rw(true, off / s->block_bytes, len / s->block_bytes,
						   s->block_bytes, false);
	struct iscsi_data d = {.size = len, .data = (unsigned char *)data};
	int rc = -1;

	if (task && iscsi_scsi_command_sync(s->ctx, s->lun, task, &d))
		rc = task->status == SCSI_STATUS_GOOD ? 0 : -1;
	if (rc)
		vms_bench_err("%s: cannot write at byte %" PRIu64 ": %s", s->url, off,
			      iscsi_get_error(s->ctx));
	if (task)
		scsi_free_scsi_task(task);
	return rc;
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
