// SPDX-License-Identifier: GPL-2.0-only
/* vmstore import-diff: a volume becomes the next snapshot (doc/diff-format.md). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utils/image/compare.h"
#include "utils/image/copyin.h"
#include "utils/image/diff.h"
#include "utils/image/pace.h"
#include "utils/lib/progress.h"
#include "utils/lib/size.h"
#include "utils/tool/barrier.h"
#include "utils/tool/branch.h"
#include "utils/tool/cmds.h"
#include "utils/tool/importing.h"
#include "utils/tool/snap.h"

struct job {
	struct cmd_call *c;
	const char *path, *volume;
	bool force;
	int fd;
	bool file; /* it can be read twice */
	uint64_t read_bytes, file_bytes;
	struct diff_reader *reader;
	struct diff_header h;
	struct snap_info base; /* of the volume, unless the stream is full */
	struct importing note;
	struct image_dev *dev;
	struct image_vol *vol, *base_vol;
	struct image_copyin copy;
	struct image_pace pace;
	struct vms_progress bar;
	uint64_t left_bytes; /* the size that an interrupted run has left the volume with, or 0 */
	bool marked;	     /* the volume may carry the mark of this run, see is_ours() */
};

/* ---- the stream ---- */

static int64_t get(void *arg, void *buf, uint64_t len, struct vms_errmsg *msg)
{
	struct job *j = arg;
	uint64_t got = 0;

	while (got < len) {
		ssize_t n = read(j->fd, (uint8_t *)buf + got, len - got);

		if (n < 0 && errno == EINTR && !tool_interrupted())
			continue;
		if (n < 0)
			return vms_fail(msg, errno == EINTR ? VMS_E_CANCELLED : VMS_E_IO, "%s: %s",
					j->path, errno == EINTR ? "interrupted" : strerror(errno));
		if (!n)
			break;
		got += (uint64_t)n;
	}
	j->read_bytes += got;
	return (int64_t)got;
}

static int open_stream(struct job *j, struct vms_errmsg *e)
{
	bool pipe = !strcmp(j->path, "-");
	struct stat st;

	j->fd = pipe ? dup(STDIN_FILENO) : open(j->path, O_RDONLY | O_CLOEXEC);
	if (j->fd < 0 || fstat(j->fd, &st))
		return vms_fail(e, VMS_E_IO, "%s: %s", j->path, strerror(errno));
	j->file = S_ISREG(st.st_mode) && lseek(j->fd, 0, SEEK_CUR) == 0;
	j->file_bytes = j->file ? (uint64_t)st.st_size : 0;
	if (pipe)
		j->path = "standard input";
	return diff_reader_open(&j->reader, &j->h, get, j, e);
}

/* A file is read once before anything is changed. */
static int check_stream(struct job *j, struct vms_errmsg *e)
{
	struct diff_record rec;
	uint8_t *buf;
	int rc;

	if (!j->file)
		return 0;
	buf = malloc(DIFF_DATA_MAX);
	if (!buf)
		return vms_fail(e, VMS_E_NOMEM, "out of memory");
	vms_progress_open(&j->bar, stderr, j->c->t->json, "checking", 0, j->file_bytes,
			  vms_clock_ms());
	while ((rc = diff_reader_next(j->reader, &rec, buf, e)) == 1) {
		vms_progress_update(&j->bar, j->read_bytes, vms_clock_ms());
		if (tool_interrupted()) {
			rc = vms_fail(e, VMS_E_CANCELLED, "interrupted");
			break;
		}
	}
	vms_progress_close(&j->bar);
	free(buf);
	diff_reader_close(j->reader);
	j->reader = NULL;
	j->read_bytes = 0;
	if (!rc && lseek(j->fd, 0, SEEK_SET))
		rc = vms_fail(e, VMS_E_IO, "%s: %s", j->path, strerror(errno));
	return rc ? rc : diff_reader_open(&j->reader, &j->h, get, j, e);
}

static int next_record(void *src, uint8_t *buf, struct image_piece *p, struct vms_errmsg *msg)
{
	struct diff_record rec;
	int rc = diff_reader_next(((struct job *)src)->reader, &rec, buf, msg);

	if (rc == 1)
		*p = (struct image_piece){rec.offset, rec.len, rec.type == DIFF_ZERO};
	return rc;
}

static int next_difference(void *src, uint8_t *buf, struct image_piece *p, struct vms_errmsg *msg)
{
	return image_compare_next(src, buf, p, msg);
}

/* ---- volumes ---- */

static bool on_progress(void *arg, uint64_t done)
{
	struct job *j = arg;

	vms_progress_update(&j->bar, j->read_bytes, vms_clock_ms());
	image_pace(&j->pace, j->read_bytes, tool_interrupted);
	return tool_interrupted();
}

static int open_vols(struct job *j, struct vms_errmsg *e)
{
	char name[240];
	int rc = image_vol_open(j->dev, j->volume, &j->vol, e);

	if (rc || !j->note.base[0])
		return rc;
	snprintf(name, sizeof(name), "%s@%s", j->volume, j->note.base);
	return image_vol_open(j->dev, name, &j->base_vol, e);
}

static void close_vols(struct job *j)
{
	if (j->vol)
		image_vol_close(j->vol);
	if (j->base_vol)
		image_vol_close(j->base_vol);
	j->vol = j->base_vol = NULL;
}

static int learn_salt(struct job *j, struct image_copyin *c, struct vms_errmsg *e)
{
	struct branch_info b = {.mod_revision = 0};
	struct volume_view v;
	int rc = volume_load(j->c->t, j->volume, &v, e);

	if (!rc)
		rc = branch_get(j->c->t, v.v.branch, &v.v, &b, e);
	c->ask = v.v.dedup;
	if (b.b.salted) {
		memcpy(c->salt, b.b.salt, sizeof(c->salt));
		c->salt_bytes = sizeof(c->salt);
	}
	volume_free(&v);
	return rc;
}

/* Takes the volume, which is marked, back to what its base shows. It is at least as large
 * afterwards: the stream, or somebody before it, may have made it smaller. */
static int take_back(struct job *j, struct vms_errmsg *e)
{
	struct image_copyin c = {.dev = j->dev, .next = next_difference};
	uint64_t size = image_vol_bytes(j->vol), base = image_vol_bytes(j->base_vol);
	int rc = learn_salt(j, &c, e);

	if (!rc && size < base) {
		close_vols(j);
		rc = importing_grow(j->c->t, j->volume, base, e);
		if (!rc)
			rc = open_vols(j, e);
		size = base;
	}
	if (rc)
		return rc;
	c.vol = j->vol;
	c.src = image_compare_open(j->dev, j->vol, j->base_vol);
	rc = image_copy_in(&c, e);
	image_compare_close(c.src);
	return rc ? rc : image_zero_out(j->dev, j->vol, base, size, e);
}

/* Is the volume as its base? 0, VMS_E_CONFLICT. */
static int unchanged(struct job *j, struct vms_errmsg *e)
{
	struct image_compare *c = image_compare_open(j->dev, j->base_vol, j->vol);
	uint8_t *buf = malloc(IMAGE_PIECE_BYTES);
	uint64_t bytes = image_vol_bytes(j->vol);
	struct image_piece p;
	int rc = buf ? image_compare_next(c, buf, &p, e) : VMS_E_NOMEM;

	image_compare_close(c);
	free(buf);
	if (!rc && bytes != j->h.from_bytes && bytes != j->left_bytes)
		rc = 1;
	if (rc == 1)
		rc = vms_fail(e, VMS_E_CONFLICT,
			      "volume '%.60s' was changed since its snapshot %.60s; "
			      "--force throws that away",
			      j->volume, j->note.base);
	return rc;
}

/* Another size, which a volume in use or being imported does not take. */
static int resize(struct job *j, uint64_t bytes, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	uint64_t old;
	int rc;

	j->note.resize = bytes;
	rc = importing_end(t, j->volume, &j->note, e);
	j->note.resize = 0;
	if (!rc)
		rc = volume_resize(t, j->volume, bytes, true, &old, e);
	return rc ? rc : importing_begin(t, j->volume, &j->note, e);
}

/* ---- what there is ---- */

/* The snapshot of the volume that the stream starts from: itself, or a restored one. */
static int find_base(struct job *j, struct vms_errmsg *e)
{
	struct snaps all;
	struct snap_info *newest = NULL;
	bool found = false;
	int rc = snaps_load(j->c->t, j->volume, &all, e);

	VMS_VEC_FOREACH (&all, s) {
		if (s->s.state != VMS_SNAP_COMPLETE)
			continue;
		newest = s;
		if (!memcmp(s->s.uuid, j->h.from_uuid, 16) ||
		    !memcmp(s->s.origin, j->h.from_uuid, 16)) {
			j->base = *s;
			found = true;
		}
	}
	if (!rc && !found)
		rc = vms_fail(e, VMS_E_CONFLICT,
			      "the stream goes on from %.60s@%.40s, which volume '%.60s' "
			      "does not have; its newest snapshot is %.40s",
			      j->h.volume, j->h.from, j->volume, newest ? newest->s.name : "none");
	if (!rc && j->base.s.size_bytes != j->h.from_bytes)
		rc = vms_fail(e, VMS_E_CONFLICT,
			      "snapshot %.60s has %" PRIu64 " bytes, the stream's first %" PRIu64,
			      j->base.s.name, j->base.s.size_bytes, j->h.from_bytes);
	snaps_free(&all);
	if (!rc)
		snprintf(j->note.base, sizeof(j->note.base), "%s", j->base.s.name);
	return rc;
}

/* Takes back what a diff has done to its volume, which is ready then; killed before it has its
 * size again the next diff knows that size by the note. */
static int give_back(struct job *j, struct vms_errmsg *e)
{
	uint64_t old, bytes = 0;
	int rc = 0;

	j->note.resize = 0;
	if (!j->vol || !j->base_vol) {
		close_vols(j);
		rc = open_vols(j, e);
	}
	if (!rc)
		rc = take_back(j, e);
	if (!rc)
		bytes = image_vol_bytes(j->base_vol);
	if (!rc && image_vol_bytes(j->vol) != bytes)
		j->note.resize = image_vol_bytes(j->vol);
	close_vols(j);
	if (!rc)
		rc = importing_end(j->c->t, j->volume, j->note.resize ? &j->note : NULL, e);
	if (rc || !j->note.resize)
		return rc;
	rc = volume_resize(j->c->t, j->volume, bytes, true, &old, e);
	if (!rc)
		importing_forget(j->c->t, j->volume);
	return rc;
}

/* A run that ended between two sizes has left the volume ready, as its base but for the size.
 * 0, also if there was none. */
static int left_size(struct job *j, struct vms_errmsg *e)
{
	struct importing was;
	int rc = importing_load(j->c->t, j->volume, &was, e);

	if (!rc && !strcmp(was.kind, "diff") && !strcmp(was.base, j->base.s.name))
		j->left_bytes = was.resize;
	return rc == VMS_E_NOENT ? 0 : rc;
}

/* Takes back, or removes, what an interrupted import left. */
static int clean_up(struct job *j, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	struct importing was;
	int rc = importing_load(t, j->volume, &was, e);

	if (!rc && strcmp(was.kind, "diff"))
		rc = vms_fail(e, VMS_E_BUSY, "an image is being imported into volume '%s'",
			      j->volume);
	if (!rc)
		rc = importing_shut_out(t, j->volume, image_dev_name(j->dev), e);
	if (rc)
		return rc;
	if (!was.base[0])
		return volume_delete(t, j->volume, true, e);
	tool_note(t, "an interrupted import is taken back to %s@%s first", j->volume, was.base);
	j->note = was;
	return give_back(j, e);
}

/* Does the volume carry the mark that this run has set? What others have begun, and what
 * an interrupted run has left that could not be taken back now, is not ours to undo. */
static bool is_ours(struct job *j)
{
	struct vms_errmsg ignored;
	struct importing now;
	struct volume_view v;
	bool yes = j->marked && !volume_load(j->c->t, j->volume, &v, &ignored);

	if (!yes)
		return false;
	yes = v.v.state == VOLUME_IMPORTING;
	volume_free(&v);
	return yes && !importing_load(j->c->t, j->volume, &now, &ignored) &&
	       !strcmp(now.kind, "diff") && !strcmp(now.gateway, j->note.gateway) &&
	       !strcmp(now.base, j->note.base);
}

/* The volume is marked and open, and as the stream wants it. */
static int prepare(struct job *j, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	struct volume_view v;
	struct snap_info have;
	int rc = volume_load(t, j->volume, &v, e);

	if (!rc && v.v.state == VOLUME_IMPORTING) {
		rc = clean_up(j, e);
		volume_free(&v);
		if (rc)
			return rc;
		rc = volume_load(t, j->volume, &v, e);
	}
	volume_free(&v);
	memset(&j->note, 0, sizeof(j->note));
	strcpy(j->note.kind, "diff");
	snprintf(j->note.source, sizeof(j->note.source), "%s", j->path);
	snprintf(j->note.gateway, sizeof(j->note.gateway), "%s", image_dev_name(j->dev));
	if (diff_is_full(&j->h)) {
		char key[VMS_CAT_KEY_BYTES_MAX], *val;
		struct vms_cat_volume made;
		struct volume_new want = {.name = j->volume,
					  .size_bytes = j->h.to_bytes,
					  .state = VOLUME_IMPORTING,
					  .key = key};

		if (!rc)
			return vms_fail(e, VMS_E_EXIST,
					"volume '%s' exists already; a full stream makes "
					"a new one",
					j->volume);
		if (rc != VMS_E_NOENT)
			return rc;
		importing_key(key, j->volume);
		want.val = val = importing_encode(&j->note);
		j->marked = true;
		rc = volume_make(t, &want, &made, e);
		free(val);
		return rc ? rc : open_vols(j, e);
	}
	if (rc == VMS_E_NOENT)
		return vms_fail(e, rc,
				"there is no volume '%.80s'; it begins with a full "
				"stream (export-diff --full)",
				j->volume);
	if (!rc)
		rc = find_base(j, e);
	if (!rc)
		rc = left_size(j, e);
	if (!rc) {
		rc = snap_get_made(t, j->volume, j->h.to, &have, e);
		if (!rc)
			rc = vms_fail(e, VMS_E_EXIST, "snapshot %.100s@%.100s exists already",
				      j->volume, j->h.to);
		else if (rc == VMS_E_NOENT)
			rc = 0;
	}
	if (rc)
		return rc;
	j->marked = true;
	rc = importing_begin(t, j->volume, &j->note, e);
	if (rc)
		return rc;
	rc = open_vols(j, e);
	if (!rc)
		rc = unchanged(j, e);
	/* what was cut off is back in its base alone */
	if ((rc == VMS_E_CONFLICT && j->force) ||
	    (!rc && image_vol_bytes(j->vol) < j->h.from_bytes))
		rc = take_back(j, e);
	else if (rc) {
		struct vms_errmsg ignored;

		/* nothing was touched */
		close_vols(j);
		j->note.resize = j->left_bytes;
		(void)importing_end(t, j->volume,
				    rc == VMS_E_CONFLICT || !j->left_bytes ? NULL : &j->note,
				    &ignored);
		j->marked = false;
		return rc;
	}
	if (!rc && image_vol_bytes(j->vol) != j->h.to_bytes) {
		close_vols(j);
		rc = resize(j, j->h.to_bytes, e);
		if (!rc)
			rc = open_vols(j, e);
	}
	return rc;
}

/* After a failure: as if nothing had been. */
static int undo(struct job *j, struct vms_errmsg *e)
{
	if (!diff_is_full(&j->h))
		return give_back(j, e);
	close_vols(j);
	return volume_delete(j->c->t, j->volume, true, e);
}

static int import_diff(struct job *j, struct vms_errmsg *e)
{
	struct tool *t = j->c->t;
	struct image_copyin *c = &j->copy;
	struct vms_errmsg why = {""};
	struct barrier_report rep;
	struct vms_cat_snap made;
	int rc = open_stream(j, e);

	if (!rc)
		rc = check_stream(j, e);
	if (!rc)
		rc = image_dev_open(&j->dev, &t->set, NULL, e);
	if (rc)
		return rc;
	rc = prepare(j, e);
	*c = (struct image_copyin){.dev = j->dev,
				   .vol = j->vol,
				   .src = j,
				   .next = next_record,
				   .blank = diff_is_full(&j->h),
				   .arg = j,
				   .progress = on_progress};
	if (!rc)
		rc = learn_salt(j, c, e);
	if (!rc) {
		vms_progress_open(&j->bar, stderr, t->json, j->volume, 0, j->file_bytes,
				  vms_clock_ms());
		rc = image_copy_in(c, e);
		vms_progress_close(&j->bar);
	}
	if (!rc) {
		close_vols(j);
		rc = barrier_snapshot_of_import(t, j->volume, j->h.to, j->h.to_uuid, BARRIER_TRY_MS,
						&made, &rep, e);
	}
	if (!rc) {
		importing_forget(t, j->volume);
		return 0;
	}
	if (!is_ours(j))
		return rc;
	if (undo(j, &why))
		tool_note(t,
			  "volume %s is not whole: %s; vmstore import-diff or volume rm "
			  "cleans up",
			  j->volume, why.text[0] ? why.text : "it was not reached");
	else if (j->note.base[0])
		tool_note(t, "volume %s is again as its snapshot %s", j->volume, j->note.base);
	return rc;
}

static int report(struct job *j, uint64_t ms)
{
	char data[VMS_SIZE_TEXT_MAX], sent[VMS_SIZE_TEXT_MAX], name[240];
	const struct diff_counts *n = diff_reader_counts(j->reader);

	snprintf(name, sizeof(name), "%s@%s", j->volume, j->h.to);
	if (j->c->t->json)
		return tool_print_json(json_pack(
			"{ss sI sI sI sI sI}", "snapshot", name, "data_bytes",
			(json_int_t)n->data_bytes, "zero_bytes", (json_int_t)n->zero_bytes,
			"referenced_bytes", (json_int_t)j->copy.n.referenced, "sent_bytes",
			(json_int_t)j->copy.n.sent, "ms", (json_int_t)ms));
	printf("%s made of %s@%s: %s of data, %s of it sent, in %.1f s\n", name, j->h.volume,
	       j->h.to, vms_size_human(n->data_bytes, data), vms_size_human(j->copy.n.sent, sent),
	       (double)ms / 1000);
	return TOOL_OK;
}

static int run(struct cmd_call *c)
{
	struct job j = {.c = c, .fd = -1};
	const struct vms_opt opts[] = {
		{0, "force", VMS_OPT_FLAG, &j.force, NULL,
		 "throw away what was written to the volume since the snapshot"},
		{0, "limit", VMS_OPT_SIZE, &j.pace.bytes_per_s, "SIZE",
		 "read at most so much a second"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	uint64_t t0 = vms_clock_ms();
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	j.path = c->n == 2 ? c->arg[0] : "-";
	j.volume = c->arg[c->n - 1];
	if (vms_cat_volume_name_check(j.volume, &e))
		return cmd_usage(c, "%s", e.text);
	tool_catch_signals();
	code = import_diff(&j, &e) ? tool_fail(c->t, "%s", e.text)
				   : report(&j, vms_clock_ms() - t0);
	image_dev_close(j.dev);
	diff_reader_close(j.reader);
	if (j.fd >= 0)
		close(j.fd);
	return code;
}

const struct cmd cmd_import_diff = {
	.name = "import-diff",
	.args = "[FILE] VOLUME [--force] [--json]",
	.brief = "a stream of export-diff brings a volume to its next snapshot",
	.about = "Applies a stream of `vmstore export-diff`, from FILE or standard "
		 "input, to a volume\n"
		 "that is at the snapshot it starts from, and makes the snapshot it "
		 "leads to. A full\n"
		 "stream makes the volume. A stream that is damaged or breaks off "
		 "changes nothing:\n"
		 "what was applied is taken back.",
	.min = 1,
	.max = 2,
	.run = run,
};
