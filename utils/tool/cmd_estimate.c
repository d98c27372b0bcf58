// SPDX-License-Identifier: GPL-2.0-only
/* vmstore estimate: what dedup would save, before anything is stored. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "utils/image/estimate.h"
#include "utils/image/format.h"
#include "utils/image/source.h"
#include "utils/lib/fmt.h"
#include "utils/lib/progress.h"
#include "utils/lib/size.h"
#include "utils/lib/utf8.h"
#include "utils/tool/cmds.h"

#define MEMORY_BYTES (512ull << 20)

struct job {
	struct image_est *est;
	struct vms_progress bar;
	uint64_t done;
	bool follow;
	uint8_t *buf;
};

/* 0 or VMS_E_*. */
static int count_file(struct job *j, const char *path, struct vms_errmsg *e)
{
	struct image_src_conf conf = {
		.path = path, .follow = j->follow, .raw = !image_format_maybe(path)};
	struct image_piece p;
	struct image_src *s;
	int rc = image_src_open(&s, &conf, e);

	if (rc)
		return rc;
	image_est_file(j->est);
	while ((rc = image_src_next(s, j->buf, &p, e)) > 0) {
		if (p.zero)
			image_est_zeros(j->est, p.len);
		else
			image_est_data(j->est, j->buf, p.len);
		j->done += p.len;
		vms_progress_update(&j->bar, j->done, vms_clock_ms());
	}
	image_src_close(s);
	return rc;
}

static double ratio(const struct image_est_counts *c)
{
	return c->distinct ? (double)(c->distinct + c->dup) / (double)c->distinct : 1.0;
}

static json_t *counts_json(const struct image_est_counts *c)
{
	return json_pack("{sI sI sI sI sI sI sI sf}", "bytes", (json_int_t)c->bytes, "zero_bytes",
			 (json_int_t)c->zero, "distinct_bytes", (json_int_t)c->distinct,
			 "duplicate_bytes", (json_int_t)c->dup, "unique_bytes",
			 (json_int_t)c->unique, "shared_bytes", (json_int_t)c->shared,
			 "added_bytes", (json_int_t)c->added, "ratio", ratio(c));
}

static void print_json(const struct image_est *est, char **names, unsigned n)
{
	json_t *files = json_array();
	struct image_est_counts c;

	for (unsigned i = 0; i < n; i++) {
		json_t *f;

		image_est_counts(est, i, &c);
		f = counts_json(&c);
		json_object_set_new(f, "name", vms_json_text(names[i]));
		json_array_append_new(files, f);
	}
	image_est_total(est, &c);
	tool_print_json(json_pack("{so so sI sb sI}", "files", files, "total", counts_json(&c),
				  "chunk_bytes", (json_int_t)VMS_CHUNK_BYTES, "exact",
				  image_est_one_of(est) == 1, "one_of",
				  (json_int_t)image_est_one_of(est)));
}

static void row(struct vms_table *tab, const char *name, const struct image_est_counts *c)
{
	char cell[6][VMS_SIZE_TEXT_MAX], r[32];

	snprintf(r, sizeof(r), "%.2f", ratio(c));
	vms_table_cells(
		tab, 8,
		(const char *[]){
			name, vms_size_human(c->bytes, cell[0]), vms_size_human(c->zero, cell[1]),
			vms_size_human(c->unique, cell[2]), vms_size_human(c->dup, cell[3]),
			vms_size_human(c->shared, cell[4]), vms_size_human(c->added, cell[5]), r});
}

static void print_table(const struct image_est *est, char **names, unsigned n)
{
	struct vms_table *tab = vms_table_open(
		"<file|>size|>zeros|>unique|>duplicate|>shared|>added|>ratio");
	char stored[VMS_SIZE_TEXT_MAX], data[VMS_SIZE_TEXT_MAX];
	struct image_est_counts c;

	for (unsigned i = 0; i < n; i++) {
		image_est_counts(est, i, &c);
		row(tab, names[i], &c);
	}
	image_est_total(est, &c);
	if (n > 1)
		row(tab, "total", &c);
	vms_table_print(tab, stdout);
	vms_table_close(tab);
	printf("\n%s of data would take %s: %.2f to 1\n", vms_size_human(c.distinct + c.dup, data),
	       vms_size_human(c.distinct, stored), ratio(&c));
	if (image_est_one_of(est) > 1)
		printf("estimated from one chunk of %" PRIu64 "; more --memory makes it exact\n",
		       image_est_one_of(est));
}

static int run(struct cmd_call *c)
{
	uint64_t memory = MEMORY_BYTES, total = 0;
	struct job j = {0};
	const struct vms_opt opts[] = {
		{0, "memory", VMS_OPT_SIZE, &memory, "SIZE",
		 "for the table of fingerprints (default 512M: 68 GiB of distinct "
		 "content)"},
		{0, "follow", VMS_OPT_FLAG, &j.follow, NULL,
		 "read files that an image names, too (backing files, extents)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	bool sized = true;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	code = TOOL_OK;
	/* Sizes first: for the progress bar, and for a table no larger than needed. */
	for (unsigned i = 0; i < c->n; i++) {
		struct image_src_conf conf = {.path = c->arg[i],
					      .follow = j.follow,
					      .raw = !image_format_maybe(c->arg[i])};
		struct image_src *s;

		if (image_src_open(&s, &conf, &e))
			return tool_fail(c->t, "%s", e.text);
		if (image_src_bytes(s) == IMAGE_BYTES_UNKNOWN)
			sized = false;
		else
			total += (image_src_bytes(s) + VMS_CHUNK_BYTES - 1) &
				 ~(VMS_CHUNK_BYTES - 1ull);
		image_src_close(s);
	}
	j.est = image_est_open(memory, sized ? total / VMS_CHUNK_BYTES + 1 : 0);
	j.buf = malloc(IMAGE_PIECE_BYTES);
	if (!j.est || !j.buf) {
		image_est_close(j.est);
		free(j.buf);
		return tool_fail(c->t,
				 "no memory for a table of that size: say a smaller --memory");
	}
	vms_progress_open(&j.bar, stderr, c->t->json, "estimate", 0, sized ? total : 0,
			  vms_clock_ms());
	for (unsigned i = 0; i < c->n && code == TOOL_OK; i++) {
		if (count_file(&j, c->arg[i], &e)) {
			vms_progress_close(&j.bar);
			code = tool_fail(c->t, "%s", e.text);
		}
	}
	vms_progress_close(&j.bar);
	if (code == TOOL_OK && c->t->json)
		print_json(j.est, c->arg, c->n);
	else if (code == TOOL_OK)
		print_table(j.est, c->arg, c->n);
	image_est_close(j.est);
	free(j.buf);
	return code;
}

const struct cmd cmd_estimate = {
	.name = "estimate",
	.args = "FILE... [--memory SIZE] [--follow] [--json]",
	.brief = "what dedup would save on files, before they are stored",
	.about = "Counts what deduplication would save on files, in chunks of 4 KiB; "
		 "needs no\n"
		 "cluster; images are read through QEMU. `-` is standard input. When the table of\n"
		 "fingerprints is full, a sample is counted, and the result says so. Columns:\n"
		 "    zeros      holes and zeros, which are never stored\n"
		 "    unique     content that is in this file only\n"
		 "    duplicate  repeated within the file\n"
		 "    shared     content that is also in another of the files\n"
		 "    added      what the files before this one lacked\n"
		 "    ratio      data by distinct content",
	.alone = true,
	.min = 1,
	.max = CMD_ARGS_MAX,
	.run = run,
};
