// SPDX-License-Identifier: GPL-2.0-only
/* vmstore import: an image becomes the content of a volume. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "utils/image/copyin.h"
#include "utils/image/format.h"
#include "utils/image/pace.h"
#include "utils/lib/progress.h"
#include "utils/lib/size.h"
#include "utils/lib/utf8.h"
#include "utils/tool/branch.h"
#include "utils/tool/cmds.h"
#include "utils/tool/importing.h"

#define CHECKPOINT_MS 2000u

struct job {
	struct cmd_call *c;
	const char *volume;
	struct image_src *src;
	struct image_dev *dev;
	struct image_vol *vol;
	struct importing note;
	uint64_t volume_bytes;
	bool again;    /* the volume is marked: an import of it was interrupted */
	uint64_t from; /* where it goes on */
	bool ask;
	uint8_t salt[32];
	uint32_t salt_bytes;
	struct image_copyin copy;
	struct vms_progress bar;
	struct image_pace pace;
};

struct options {
	const char *format, *ack, *dedup, *domain;
	uint64_t size;
	bool overwrite, yes, restart, follow;
};

static uint64_t up_to_chunks(uint64_t bytes)
{
	return (bytes + VMS_CHUNK_BYTES - 1) & ~(VMS_CHUNK_BYTES - 1ull);
}

/* "Overwrite? [y/N]" on the terminal. */
static bool ask(const char *volume)
{
	char line[16] = "";

	if (!isatty(STDIN_FILENO))
		return false;
	fprintf(stderr, "volume %s has content, which will be lost; overwrite it? [y/N] ", volume);
	return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

/* An interrupted import of the same image goes on, any other needs --restart. */
static int plan_again(struct job *j, const struct options *o, const struct importing *was,
		      struct vms_errmsg *e)
{
	bool same = !strcmp(was->source, j->note.source) && !strcmp(was->format, j->note.format) &&
		    !strcmp(was->identity, j->note.identity) && was->bytes == j->note.bytes;

	if (strcmp(was->kind, "image"))
		return vms_fail(e, VMS_E_BUSY, "a diff is being imported into volume '%s'",
				j->volume);
	j->note.blank = false;
	if (o->restart)
		return 0;
	if (!same)
		return vms_fail(e, VMS_E_CONFLICT,
				"volume '%.60s' is being imported from %.80s, which is another "
				"image or has changed; --restart begins anew",
				j->volume, was->source);
	if (!j->note.identity[0])
		return 0; /* nobody knows whether it brings the same again: all is compared */
	j->note.blank = was->blank;
	j->note.done = was->done;
	j->from = was->done;
	return 0;
}

/* What there is, and what is to be done with it. */
static int plan(struct job *j, const struct options *o, struct vms_errmsg *e)
{
	struct importing was = {0};
	struct volume_view v;
	int rc = volume_load(j->c->t, j->volume, &v, e);

	j->note.blank = true;
	if (rc == VMS_E_NOENT) {
		volume_free(&v);
		if (j->volume_bytes)
			return 0;
		return vms_fail(e, VMS_E_INVAL, "how long %s is shows at its end only: say --size",
				image_src_bytes(j->src) ? "the input" : "an empty image");
	}
	if (!rc && v.v.state == VOLUME_IMPORTING) {
		j->again = true;
		rc = importing_load(j->c->t, j->volume, &was, e);
		if (!rc)
			rc = plan_again(j, o, &was, e);
		snprintf(j->note.gateway, sizeof(j->note.gateway), "%s", was.gateway);
	} else if (!rc) {
		j->note.blank = false;
		if (!o->overwrite)
			rc = vms_fail(
				e, VMS_E_EXIST,
				"volume '%s' exists already; --overwrite replaces its content",
				j->volume);
		else if (!o->yes && !ask(j->volume))
			rc = vms_fail(e, VMS_E_PERM,
				      "not overwritten; --yes overwrites without asking");
	}
	if (!rc && j->volume_bytes > v.v.size_bytes)
		rc = vms_fail(e, VMS_E_RANGE,
			      "volume '%.60s' has %" PRIu64 " bytes, the image needs %" PRIu64
			      ": vmstore volume resize makes it larger",
			      j->volume, v.v.size_bytes, j->volume_bytes);
	if (!rc)
		j->volume_bytes = v.v.size_bytes;
	volume_free(&v);
	return rc;
}

/* Fingerprints are those that the nodes make for this volume. */
static int learn_salt(struct job *j, struct vms_errmsg *e)
{
	struct branch_info b = {.mod_revision = 0};
	struct volume_view v;
	int rc = volume_load(j->c->t, j->volume, &v, e);

	if (!rc)
		rc = branch_get(j->c->t, v.v.branch, &v.v, &b, e);
	if (!rc)
		j->ask = v.v.dedup;
	if (!rc && b.b.salted) {
		memcpy(j->salt, b.b.salt, sizeof(j->salt));
		j->salt_bytes = sizeof(j->salt);
	}
	volume_free(&v);
	return rc;
}

/* From here on the volume is marked. */
static int mark(struct job *j, const struct options *o, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	struct vms_cat_volume made;
	char key[VMS_CAT_KEY_BYTES_MAX], *val;
	struct volume_new want = {.name = j->volume,
				  .size_bytes = j->volume_bytes,
				  .write_ack = !strcmp(o->ack, "memory") ? VMS_ACK_MEMORY
									 : VMS_ACK_DISK,
				  .state = VOLUME_IMPORTING,
				  .no_dedup = !strcmp(o->dedup, "off"),
				  .domain = o->domain,
				  .key = key};
	int rc;

	snprintf(j->note.gateway, sizeof(j->note.gateway), "%s", image_dev_name(j->dev));
	if (j->again) {
		rc = importing_shut_out(t, j->volume, image_dev_name(j->dev), e);
		return rc ? rc : importing_note(t, j->volume, &j->note, e);
	}
	/* a note of a volume that is ready, or of none, is one that importing_forget() or a
	 * deletion did not come to */
	if (!j->note.blank)
		return importing_begin(t, j->volume, &j->note, e);
	importing_key(key, j->volume);
	want.val = val = importing_encode(&j->note);
	rc = volume_make(t, &want, &made, e);
	free(val);
	return rc;
}

static int on_checkpoint(void *arg, uint64_t done, struct vms_errmsg *msg)
{
	struct job *j = arg;

	j->note.done = done;
	return importing_note(j->c->t, j->volume, &j->note, msg);
}

static bool on_progress(void *arg, uint64_t done)
{
	struct job *j = arg;

	vms_progress_update(&j->bar, done, vms_clock_ms());
	image_pace(&j->pace, j->copy.n.read - j->copy.n.zero, tool_interrupted);
	return tool_interrupted();
}

static int next_piece(void *src, uint8_t *buf, struct image_piece *p, struct vms_errmsg *msg)
{
	return image_src_next(src, buf, p, msg);
}

static int copy(struct job *j, struct vms_errmsg *e)
{
	struct image_copyin *c = &j->copy;
	int rc;

	*c = (struct image_copyin){.dev = j->dev,
				   .vol = j->vol,
				   .src = j->src,
				   .next = next_piece,
				   .ask = j->ask,
				   .salt_bytes = j->salt_bytes,
				   .blank = j->note.blank,
				   .checkpoint_ms = CHECKPOINT_MS,
				   .arg = j,
				   .checkpoint = on_checkpoint,
				   .progress = on_progress};
	memcpy(c->salt, j->salt, sizeof(c->salt));
	if (j->from)
		image_src_seek(j->src, j->note.done);
	rc = image_copy_in(c, e);
	/* behind the end of a shorter image */
	if (!rc && !j->note.blank)
		rc = image_zero_out(j->dev, j->vol, up_to_chunks(image_src_bytes(j->src)),
				    image_vol_bytes(j->vol), e);
	if (!rc && !j->note.blank) {
		struct image_io io = {.op = IMAGE_FLUSH, .vol = j->vol};

		if (image_call(j->dev, &io))
			rc = image_io_fail(j->dev, &io, e);
	}
	return rc;
}

static int report(struct job *j, uint64_t ms)
{
	const struct image_counts *n = &j->copy.n;
	char size[VMS_SIZE_TEXT_MAX], zero[VMS_SIZE_TEXT_MAX], ref[VMS_SIZE_TEXT_MAX],
		sent[VMS_SIZE_TEXT_MAX], rate[VMS_SIZE_TEXT_MAX], same[VMS_SIZE_TEXT_MAX];

	if (j->c->t->json)
		return tool_print_json(
			json_pack("{ss ss ss sI sI sI sI sI sI sI sI}", "volume", j->volume,
				  "source", j->note.source, "format", j->note.format, "size_bytes",
				  (json_int_t)j->volume_bytes, "resumed_from_bytes",
				  (json_int_t)j->from, "read_bytes", (json_int_t)n->read,
				  "zero_bytes", (json_int_t)n->zero, "referenced_bytes",
				  (json_int_t)n->referenced, "unchanged_bytes", (json_int_t)n->same,
				  "sent_bytes", (json_int_t)n->sent, "ms", (json_int_t)ms));
	printf("volume %s: %s of %s read in %.1f s (%s/s): %s zeros, %s referenced, %s unchanged, "
	       "%s sent\n",
	       j->volume, vms_size_human(n->read, size), j->note.format, (double)ms / 1000,
	       vms_size_human(ms ? n->read * 1000 / ms : 0, rate), vms_size_human(n->zero, zero),
	       vms_size_human(n->referenced, ref), vms_size_human(n->same, same),
	       vms_size_human(n->sent, sent));
	return TOOL_OK;
}

static int import(struct job *j, const struct options *o, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	bool marked = false;
	int rc = plan(j, o, e);

	if (!rc)
		rc = image_dev_open(&j->dev, &t->set, j->note.gateway, e);
	if (rc == VMS_E_BUSY && j->note.gateway[0])
		vms_fail(e, rc, "volume '%.60s' is being imported by %s", j->volume,
			 j->note.gateway);
	if (!rc)
		rc = mark(j, o, e);
	marked = !rc;
	if (!rc)
		rc = learn_salt(j, e);
	if (!rc)
		rc = image_vol_open(j->dev, j->volume, &j->vol, e);
	if (!rc) {
		if (j->from)
			tool_note(t,
				  "going on at %" PRIu64 " bytes, where the import was interrupted",
				  j->note.done);
		vms_progress_open(&j->bar, stderr, t->json, j->volume, j->note.done,
				  image_src_bytes(j->src) == IMAGE_BYTES_UNKNOWN
					  ? 0
					  : image_src_bytes(j->src),
				  vms_clock_ms());
		rc = copy(j, e);
		vms_progress_close(&j->bar);
	}
	image_dev_close(j->dev);
	if (!rc)
		rc = importing_end(t, j->volume, NULL, e);
	if (rc && marked)
		tool_note(t,
			  "volume %s is incomplete: the same command goes on with it, vmstore "
			  "volume rm removes it",
			  j->volume);
	return rc;
}

/* An image that is damaged at its begin, or no image, is raw by its content, and would become
 * the volume of a guest that finds no disk in it. */
static void say_if_raw(struct tool *t, const char *path, const char *format)
{
	const char *dot = strrchr(path, '.');
	const char *name = dot ? image_format_name(dot + 1) : NULL;

	if (name && strcmp(name, "raw") != 0 && !strcmp(format, "raw"))
		tool_note(t,
			  "%s is no %s image by its content and is read as raw; --format %s if it "
			  "is one all the same",
			  path, dot + 1, dot + 1);
}

static int run(struct cmd_call *c)
{
	struct job j = {.c = c};
	struct options o = {.ack = "disk", .dedup = "on"};
	const struct vms_opt opts[] = {
		{0, "format", VMS_OPT_STRING, &o.format, "FORMAT",
		 IMAGE_FORMATS "; default: what qemu-img finds"},
		{0, "size", VMS_OPT_SIZE, &o.size, "SIZE",
		 "of the volume, if larger than the image"},
		{0, "write-ack", VMS_OPT_STRING, &o.ack, "MODE", "as of vmstore volume create"},
		{0, "dedup", VMS_OPT_STRING, &o.dedup, "on|off", "as of vmstore volume create"},
		{0, "domain", VMS_OPT_STRING, &o.domain, "NAME", "as of vmstore volume create"},
		{0, "overwrite", VMS_OPT_FLAG, &o.overwrite, NULL,
		 "replace the content of an existing volume that is open nowhere"},
		{'y', "yes", VMS_OPT_FLAG, &o.yes, NULL, "do not ask"},
		{0, "restart", VMS_OPT_FLAG, &o.restart, NULL,
		 "begin an interrupted import anew, perhaps with another image"},
		{0, "follow", VMS_OPT_FLAG, &o.follow, NULL,
		 "read files that the image names, too (backing files, extents)"},
		{0, "limit", VMS_OPT_SIZE, &j.pace.bytes_per_s, "SIZE",
		 "write at most so much data a second"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct image_src_conf conf = {0};
	struct vms_errmsg e = {""};
	uint64_t t0 = vms_clock_ms();
	json_t *source;
	int code, rc;
	char *real;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (o.format && !(conf.format = image_format_name(o.format)))
		return cmd_usage(c, "--format %s: must be " IMAGE_FORMATS, o.format);
	if (strcmp(o.ack, "disk") && strcmp(o.ack, "memory"))
		return cmd_usage(c, "--write-ack %s: must be disk or memory", o.ack);
	if (strcmp(o.dedup, "on") && strcmp(o.dedup, "off"))
		return cmd_usage(c, "--dedup %s: must be on or off", o.dedup);
	if (o.size % VMS_CHUNK_BYTES)
		return cmd_usage(c, "--size: must be a multiple of 4096");
	if (vms_cat_volume_name_check(c->arg[1], &e))
		return cmd_usage(c, "%s", e.text);
	conf.path = c->arg[0];
	conf.follow = o.follow;
	j.volume = c->arg[1];
	rc = image_src_open(&j.src, &conf, &e);
	if (rc)
		return tool_fail(c->t, "%s", e.text);
	tool_catch_signals();
	strcpy(j.note.kind, "image");
	real = strcmp(conf.path, "-") ? image_real_path(conf.path, NULL) : NULL;
	source = vms_json_text(real ? real : conf.path); /* as the catalog keeps it */
	snprintf(j.note.source, sizeof(j.note.source), "%s", json_string_value(source));
	json_decref(source);
	free(real);
	snprintf(j.note.format, sizeof(j.note.format), "%s", image_src_format(j.src));
	snprintf(j.note.identity, sizeof(j.note.identity), "%s", image_src_identity(j.src));
	if (image_src_bytes(j.src) != IMAGE_BYTES_UNKNOWN)
		j.note.bytes = image_src_bytes(j.src);
	j.volume_bytes = up_to_chunks(j.note.bytes);
	if (o.size > j.volume_bytes)
		j.volume_bytes = o.size;
	else if (o.size)
		rc = vms_fail(&e, o.size < j.volume_bytes ? VMS_E_INVAL : 0,
			      "--size is smaller than the image, %" PRIu64 " bytes", j.note.bytes);
	if (!rc && !conf.format)
		say_if_raw(c->t, conf.path, image_src_format(j.src));
	if (!rc)
		rc = import(&j, &o, &e);
	code = rc ? tool_fail(c->t, "%s", e.text) : report(&j, vms_clock_ms() - t0);
	image_src_close(j.src);
	return code;
}

const struct cmd cmd_import = {
	.name = "import",
	.args = "IMAGE VOLUME [--format FORMAT] [--size SIZE] [--overwrite] [--json]",
	.brief = "an image becomes the content of a volume",
	.about =
		"Copies a disk image into a volume, which it makes. `-` is standard input (raw; "
		"--size\n"
		"says how large the volume is to be). Zeros become holes. When it is interrupted, "
		"the\n"
		"volume cannot be used: the same command goes on, `vmstore volume rm` removes it.\n"
		"What an image is, is guessed from its content: where others can write that, say\n"
		"--format (a raw disk may pretend to be something else).",
	.min = 2,
	.max = 2,
	.run = run,
};
