// SPDX-License-Identifier: GPL-2.0-only
/* vmstore export-diff: what changed between two snapshots (doc/diff-format.md). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/image/compare.h"
#include "utils/image/diff.h"
#include "utils/image/pace.h"
#include "utils/image/sink.h"
#include "utils/lib/progress.h"
#include "utils/lib/size.h"
#include "utils/lib/utf8.h"
#include "utils/tool/cmds.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

struct job {
	struct cmd_call *c;
	const char *from, *to; /* VOLUME@SNAP; from NULL: from nothing */
	struct diff_header h;
	struct image_dev *dev;
	struct image_vol *a, *b;
	struct image_sink *sink;
	struct image_sink_conf conf;
	struct image_pace pace;
	struct vms_progress bar;
	struct diff_counts n;
	uint64_t stream_bytes;
};

static int look(struct job *j, struct vms_errmsg *e)
{
	char volume[128], snap[104], of[128];
	struct tool *t = j->c->t;
	struct snap_info s;
	struct volume_view v;
	int rc = vms_cat_snap_name_split(j->to, volume, snap, e);

	if (!rc)
		rc = snap_get_made(t, volume, snap, &s, e);
	if (rc)
		return rc;
	memcpy(j->h.to_uuid, s.s.uuid, 16);
	j->h.to_bytes = s.s.size_bytes;
	j->h.created_s = s.s.created_s;
	snprintf(j->h.volume, sizeof(j->h.volume), "%s", volume);
	snprintf(j->h.to, sizeof(j->h.to), "%s", snap);
	rc = volume_load(t, volume, &v, e);
	if (!rc)
		memcpy(j->h.volume_uuid, v.v.uuid, 16);
	volume_free(&v);
	if (rc || !j->from)
		return rc;
	rc = vms_cat_snap_name_split(j->from, of, snap, e);
	if (!rc)
		rc = snap_get_made(t, of, snap, &s, e);
	if (!rc && strcmp(of, volume))
		rc = vms_fail(e, VMS_E_INVAL,
			      "%.100s and %.100s are snapshots of different volumes", j->from,
			      j->to);
	if (!rc && !memcmp(s.s.uuid, j->h.to_uuid, 16))
		rc = vms_fail(e, VMS_E_INVAL, "%s twice: there is no difference", j->from);
	if (rc)
		return rc;
	memcpy(j->h.from_uuid, s.s.uuid, 16);
	j->h.from_bytes = s.s.size_bytes;
	snprintf(j->h.from, sizeof(j->h.from), "%s", snap);
	return 0;
}

static int put(void *arg, const void *data, uint64_t len, struct vms_errmsg *msg)
{
	struct job *j = arg;

	j->stream_bytes += len;
	return image_sink_append(j->sink, data, len, msg);
}

static int write_stream(struct job *j, struct vms_errmsg *e)
{
	struct image_compare *c = image_compare_open(j->dev, j->a, j->b);
	uint8_t *buf = malloc(IMAGE_PIECE_BYTES);
	struct diff_writer *w = NULL;
	struct image_piece p;
	int rc = buf ? diff_writer_open(&w, &j->h, put, j, e) : VMS_E_NOMEM, more = 0;

	while (!rc && (more = image_compare_next(c, buf, &p, e)) == 1) {
		rc = p.zero ? diff_writer_zero(w, p.offset, p.len, e)
			    : diff_writer_data(w, p.offset, buf, p.len, e);
		vms_progress_update(&j->bar, image_compare_at(c), vms_clock_ms());
		image_pace(&j->pace, j->stream_bytes, tool_interrupted);
		if (!rc && tool_interrupted())
			rc = vms_fail(e, VMS_E_CANCELLED, "interrupted");
	}
	if (!rc)
		rc = more;
	if (!rc)
		rc = diff_writer_end(w, e);
	if (!rc)
		j->n = *diff_writer_counts(w);
	diff_writer_close(w);
	image_compare_close(c);
	free(buf);
	return rc;
}

static int export_diff(struct job *j, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	uint64_t ignored;
	int rc = look(j, e);

	if (!rc)
		rc = image_sink_open(&j->sink, &j->conf, &ignored, e);
	if (rc)
		return rc;
	rc = image_dev_open(&j->dev, &t->set, NULL, e);
	if (!rc && j->from)
		rc = image_vol_open(j->dev, j->from, &j->a, e);
	if (!rc)
		rc = image_vol_open(j->dev, j->to, &j->b, e);
	if (!rc) {
		vms_progress_open(&j->bar, stderr, t->json, j->to, 0, j->h.to_bytes,
				  vms_clock_ms());
		rc = write_stream(j, e);
		vms_progress_close(&j->bar);
	}
	if (!rc)
		rc = image_sink_finish(j->sink, e);
	image_sink_close(j->sink, NULL);
	image_dev_close(j->dev);
	return rc;
}

static int report(struct job *j, uint64_t ms)
{
	char data[VMS_SIZE_TEXT_MAX], zero[VMS_SIZE_TEXT_MAX], size[VMS_SIZE_TEXT_MAX];

	if (!strcmp(j->conf.path, "-"))
		return TOOL_OK;
	if (j->c->t->json)
		return tool_print_json(json_pack(
			"{ss? ss so sI sI sI sI}", "from", j->from, "to", j->to, "file",
			vms_json_text(j->conf.path), "data_bytes", (json_int_t)j->n.data_bytes,
			"zero_bytes", (json_int_t)j->n.zero_bytes, "stream_bytes",
			(json_int_t)j->stream_bytes, "ms", (json_int_t)ms));
	printf("%s: %s, from %s: %s changed, %s became zeros, %s in %.1f s\n", j->conf.path, j->to,
	       j->from ? j->from : "nothing", vms_size_human(j->n.data_bytes, data),
	       vms_size_human(j->n.zero_bytes, zero), vms_size_human(j->stream_bytes, size),
	       (double)ms / 1000);
	return TOOL_OK;
}

static int run(struct cmd_call *c)
{
	struct job j = {.c = c, .conf = {.path = "-", .format = "raw"}};
	bool full = false;
	const struct vms_opt opts[] = {
		{0, "full", VMS_OPT_FLAG, &full, NULL, "all content of one snapshot, from nothing"},
		{0, "overwrite", VMS_OPT_FLAG, &j.conf.overwrite, NULL,
		 "replace FILE if it exists"},
		{0, "limit", VMS_OPT_SIZE, &j.pace.bytes_per_s, "SIZE",
		 "write at most so much a second"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	uint64_t t0 = vms_clock_ms();
	struct vms_errmsg e = {""};
	unsigned snaps;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	snaps = full ? 1 : 2;
	if (c->n < snaps)
		return cmd_usage(c, "two snapshots are needed, or one and --full");
	if (c->n > snaps + 1)
		return cmd_usage(c, "unexpected argument '%s'", c->arg[snaps + 1]);
	j.from = full ? NULL : c->arg[0];
	j.to = c->arg[snaps - 1];
	if (c->n > snaps)
		j.conf.path = c->arg[snaps];
	for (unsigned i = 0; i < snaps; i++) {
		char volume[128], snap[104];

		if (vms_cat_snap_name_split(c->arg[i], volume, snap, &e))
			return cmd_usage(c, "%s", e.text);
	}
	tool_catch_signals();
	if (export_diff(&j, &e))
		return tool_fail(c->t, "%s", e.text);
	return report(&j, vms_clock_ms() - t0);
}

const struct cmd cmd_export_diff = {
	.name = "export-diff",
	.args = "VOLUME@A VOLUME@B [FILE] [--overwrite] [--json], or --full VOLUME@B "
		"[FILE]",
	.brief = "what changed between two snapshots, as a stream",
	.about = "Writes what changed from snapshot A to B of a volume, or with --full "
		 "all of B, as a\n"
		 "stream for `vmstore import-diff`, to FILE or standard output. "
		 "Everything in it is\n"
		 "checksummed. FILE appears when it is whole.",
	.min = 1,
	.max = 3,
	.run = run,
};
