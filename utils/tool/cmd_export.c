// SPDX-License-Identifier: GPL-2.0-only
/* vmstore export: a volume or snapshot becomes an image. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/image/copyout.h"
#include "utils/image/format.h"
#include "utils/image/pace.h"
#include "utils/image/sink.h"
#include "utils/lib/progress.h"
#include "utils/lib/size.h"
#include "utils/lib/utf8.h"
#include "utils/tool/cmds.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

#define CHECKPOINT_MS 5000u

struct job {
	struct cmd_call *c;
	const char *name; /* VOLUME or VOLUME@SNAP */
	struct volume_view v;
	bool snapshot;
	char identity[160];
	struct image_dev *dev;
	struct image_vol *vol;
	struct image_sink *sink;
	struct image_sink_conf conf;
	struct vms_progress bar;
	struct image_pace pace;
	uint64_t from, data_bytes, written, checked_ms;
	int rc; /* of a checkpoint, which cannot return one */
	struct vms_errmsg *e;
};

/* What is to be exported, and that it does not change meanwhile. */
static int look(struct job *j, bool live, struct vms_errmsg *e)
{
	char volume[128], snap[104], uuid[37], names[200];
	struct snap_info s;
	int rc;

	j->snapshot = strchr(j->name, '@') != NULL;
	if (!j->snapshot) {
		rc = volume_load_settled(j->c->t, j->name, &j->v, e);
		if (!rc && j->v.v.state == VOLUME_IMPORTING)
			return vms_fail(e, VMS_E_BUSY, "volume '%s' is being imported", j->name);
		if (rc || !j->v.openers.n || live)
			return rc;
		volume_openers_text(&j->v, names, sizeof(names));
		return vms_fail(e, VMS_E_OPEN,
				"volume '%.50s' is open %.100s and may change meanwhile: export a "
				"snapshot (vmstore snap create %.50s@NAME), or say --live",
				j->name, names, j->name);
	}
	rc = vms_cat_snap_name_split(j->name, volume, snap, e);
	if (!rc)
		rc = snap_get_made(j->c->t, volume, snap, &s, e);
	if (rc)
		return rc;
	/* a snapshot never changes: an export of it can go on later */
	tool_uuid_text(s.s.uuid, uuid);
	snprintf(j->identity, sizeof(j->identity), "snapshot %s, %" PRIu64 " bytes", uuid,
		 s.s.size_bytes);
	j->conf.identity = j->identity;
	return 0;
}

static int on_data(void *arg, uint64_t offset, const uint8_t *data, uint64_t len,
		   struct vms_errmsg *msg)
{
	struct job *j = arg;

	j->data_bytes += len;
	return j->rc ? j->rc : image_sink_data(j->sink, offset, data, len, msg);
}

static bool on_progress(void *arg, uint64_t done)
{
	struct job *j = arg;
	uint64_t now = vms_clock_ms();
	bool stop;

	vms_progress_update(&j->bar, done, now);
	image_pace(&j->pace, j->data_bytes, tool_interrupted);
	stop = tool_interrupted();
	if (stop || now - j->checked_ms >= CHECKPOINT_MS) {
		j->checked_ms = now;
		j->rc = image_sink_checkpoint(j->sink, done, j->e);
	}
	return stop || j->rc;
}

/* Did somebody write to it meanwhile? */
static void look_again(struct job *j)
{
	struct vms_errmsg ignored;
	struct volume_view v;

	if (j->snapshot)
		return;
	if (!volume_load(j->c->t, j->name, &v, &ignored) && v.openers.n > 1)
		tool_note(j->c->t,
			  "volume %s was open on a gateway meanwhile: what was written "
			  "then may be in the image in part",
			  j->name);
	volume_free(&v);
}

static int export(struct job *j, bool live, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	struct image_copyout c = {.arg = j, .data = on_data, .progress = on_progress};
	bool kept = false;
	int rc = look(j, live, e);

	if (!rc)
		rc = image_dev_open(&j->dev, &t->set, NULL, e);
	if (!rc)
		rc = image_vol_open(j->dev, j->name, &j->vol, e);
	if (!rc) {
		j->conf.bytes = image_vol_bytes(j->vol);
		rc = image_sink_open(&j->sink, &j->conf, &j->from, e);
	}
	if (!rc) {
		if (j->from)
			tool_note(t,
				  "going on at %" PRIu64 " bytes, where the export was interrupted",
				  j->from);
		c.dev = j->dev;
		c.vol = j->vol;
		c.from = j->from;
		c.to = j->conf.bytes;
		j->e = e;
		j->checked_ms = vms_clock_ms();
		vms_progress_open(&j->bar, stderr, t->json, j->name, j->from, c.to, j->checked_ms);
		rc = image_copy_out(&c, e);
		if (j->rc)
			rc = j->rc;
		if (!rc)
			look_again(j);
		if (!rc)
			rc = image_sink_finish(j->sink, e);
		vms_progress_close(&j->bar);
		j->written = image_sink_written(j->sink);
		image_sink_close(j->sink, &kept);
		if (kept)
			tool_note(t,
				  "%s.part is kept: the same command with --resume goes "
				  "on with it",
				  j->conf.path);
	}
	image_dev_close(j->dev);
	volume_free(&j->v);
	return rc;
}

static int report(struct job *j, uint64_t ms)
{
	char size[VMS_SIZE_TEXT_MAX], data[VMS_SIZE_TEXT_MAX], rate[VMS_SIZE_TEXT_MAX];
	bool pipe = !strcmp(j->conf.path, "-");

	/* standard output has the image */
	if (j->c->t->json && !pipe)
		return tool_print_json(
			json_pack("{ss so ss sI sI sI sI sI}", "volume", j->name, "file",
				  vms_json_text(j->conf.path), "format", j->conf.format,
				  "size_bytes", (json_int_t)j->conf.bytes, "resumed_from_bytes",
				  (json_int_t)j->from, "data_bytes", (json_int_t)j->data_bytes,
				  "written_bytes", (json_int_t)j->written, "ms", (json_int_t)ms));
	if (!pipe)
		printf("%s: %s of volume %s, %s of it data, in %.1f s (%s/s)\n", j->conf.path,
		       vms_size_human(j->conf.bytes, size), j->name,
		       vms_size_human(j->data_bytes, data), (double)ms / 1000,
		       vms_size_human(ms ? (j->conf.bytes - j->from) * 1000 / ms : 0, rate));
	return TOOL_OK;
}

static int run(struct cmd_call *c)
{
	const char *format = "raw";
	struct job j = {.c = c};
	bool live = false;
	const struct vms_opt opts[] = {
		{'O', "format", VMS_OPT_STRING, &format, "FORMAT",
		 "raw (default), qcow2, vmdk, vpc (vhd), vhdx or vdi"},
		{'o', "options", VMS_OPT_STRING, &j.conf.options, "OPTIONS",
		 "of that format, as qemu-img create -o takes them"},
		{0, "overwrite", VMS_OPT_FLAG, &j.conf.overwrite, NULL,
		 "replace FILE if it exists"},
		{0, "live", VMS_OPT_FLAG, &live, NULL,
		 "also while the volume is in use (the image is no consistent cut)"},
		{0, "limit", VMS_OPT_SIZE, &j.pace.bytes_per_s, "SIZE",
		 "read at most so much data a second"},
		{0, "resume", VMS_OPT_FLAG, &j.conf.resume, NULL,
		 "go on with an interrupted raw export of a snapshot"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	uint64_t t0 = vms_clock_ms();
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	j.name = c->arg[0];
	j.conf.path = c->arg[1];
	j.conf.format = image_format_name(format);
	if (!j.conf.format)
		return cmd_usage(c, "--format %s: must be " IMAGE_FORMATS, format);
	if (j.conf.options && !strcmp(j.conf.format, "raw"))
		return cmd_usage(c, "--options: a raw image has none");
	if (!strchr(j.name, '@') && vms_cat_volume_name_check(j.name, &e))
		return cmd_usage(c, "%s", e.text);
	if (j.conf.resume && (!strchr(j.name, '@') || strcmp(j.conf.format, "raw")))
		return cmd_usage(c, "--resume: only of a snapshot, and raw, can be gone on with");
	tool_catch_signals();
	if (export(&j, live, &e))
		return tool_fail(c->t, "%s", e.text);
	return report(&j, vms_clock_ms() - t0);
}

const struct cmd cmd_export = {
	.name = "export",
	.args = "VOLUME[@SNAP] FILE [-O FORMAT] [-o OPTIONS] [--overwrite] [--json]",
	.brief = "a volume or snapshot becomes an image",
	.about = "Copies a snapshot, or a volume that is open nowhere, into an image "
		 "file: raw with\n"
		 "holes, or in another format through QEMU, without a raw copy in "
		 "between. `-` is\n"
		 "standard output (raw). Until it is whole the file is FILE.part.",
	.min = 2,
	.max = 2,
	.run = run,
};
