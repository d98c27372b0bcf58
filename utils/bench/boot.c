// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench boot: replay a recorded trace for many clones at once.
 *
 * Trace: doc/boot-trace.md, as `vmstore trace` records it. Paced replay issues each
 * request when its time has come (or as soon as the depth allows); --fast issues them
 * as soon as the depth allows. F waits for what came before it, as a guest's flush does.
 */
#include "utils/bench/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "utils/lib/vec.h"

static const char help[] =
	"Usage: vmstore-bench boot [OPTIONS] --trace FILE URL...\n"
	"\n"
	"Replay a recorded boot (doc/boot-trace.md, plain or gzip) for many clones.\n"
	"A %n in a URL is replaced by the clone's number, from 1; clones are spread over\n"
	"the URLs in turn.\n"
	"\n"
	"  --trace FILE   the recorded trace\n"
	"  --fill         only write unique data where the trace reads, through the first URL\n"
	"  --clones N     clones that boot (1)\n"
	"  --stagger-ms N time between the starts of two clones (0)\n"
	"  --fast         as fast as possible instead of paced\n"
	"  --speed F      paced, F times as fast as recorded (1)\n"
	"  --depth N      outstanding commands per clone (32)\n"
	"  --data KIND    of writes: unique, zero, dup:PERCENT (unique)\n"
	"  --read-only    skip writes, flushes and discards (clones share one LUN)\n"
	"  --pid N=PID    a server process whose CPU per boot is told under the name N; repeat\n"
	"  --counters CMD run CMD (sh -c) before and after; it prints a JSON object of numbers,\n"
	"                 and what they have grown by is told\n"
	"  --json FILE    figures as JSON (- for stdout)\n";

#define AGAIN_NS 1000000u

struct boot;

struct clone {
	struct boot *b;
	struct vms_bench_sess sess;
	size_t next;
	unsigned in_flight;
	/* ended BUSY or TASK SET FULL: sent again, as an initiator does */
	VMS_VEC(const struct vms_boot_req *) again;
	uint64_t again_ns;
	uint64_t start_ns, end_ns;
	bool done;
};

struct io {
	struct clone *c;
	const struct vms_boot_req *req;
	uint64_t sent_ns;
	char kind;
	uint32_t len_bytes;
	void *buf;
	unsigned char unmap[24];
};

struct boot {
	struct vms_boot_trace trace;
	struct clone *clone;
	unsigned n_clone, depth;
	bool fast;
	double speed;
	struct vms_bench_gen gen;
	struct vms_boot_cost cost;
	struct vms_hist lat;
	uint64_t reads, writes, others, bytes_read, bytes_written, again, errors;
	bool failed;
};

static void io_free(struct io *io)
{
	free(io->buf);
	free(io);
}

static void io_cb(struct iscsi_context *ctx, int status, void *command_data, void *private_data)
{
	struct io *io = private_data;
	struct boot *b = io->c->b;
	struct scsi_task *task = command_data;

	(void)ctx;
	io->c->in_flight--;
	if (status == SCSI_STATUS_GOOD) {
		vms_hist_add(&b->lat, vms_bench_now() - io->sent_ns);
		if (io->kind == 'R') {
			b->reads++;
			b->bytes_read += io->len_bytes;
		} else if (io->kind == 'W') {
			b->writes++;
			b->bytes_written += io->len_bytes;
		} else {
			b->others++;
		}
	} else if (status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL) {
		b->again++;
		VMS_VEC_PUSH(&io->c->again, io->req);
		io->c->again_ns = vms_bench_now() + AGAIN_NS;
	} else {
		if (!b->errors++)
			vms_bench_err("%s: a %c request failed: status %#x", io->c->sess.url,
				      io->kind, (unsigned)status);
		b->failed = true;
	}
	if (task)
		scsi_free_scsi_task(task);
	io_free(io);
}

static void be64(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> (56 - 8 * i));
}

static int issue(struct clone *c, const struct vms_boot_req *r)
{
	struct boot *b = c->b;
	struct io *io = calloc(1, sizeof(*io));
	uint32_t lb = c->sess.block_bytes;
	uint64_t lba = r->offset_bytes / lb;
	struct iscsi_data data = {0};
	struct scsi_task *task = NULL;

	if (!io)
		return -1;
	io->c = c;
	io->req = r;
	io->kind = r->kind;
	io->len_bytes = r->len_bytes;
	if (r->kind == 'R' || r->kind == 'W') {
		io->buf = malloc(r->len_bytes);
		if (!io->buf)
			goto fail;
		task = vms_bench_task_rw(r->kind == 'W', lba, r->len_bytes / lb, lb, false);
		if (task && r->kind == 'R')
			scsi_task_add_data_in_buffer(task, (int)r->len_bytes, io->buf);
		if (r->kind == 'W') {
			vms_bench_fill(&b->gen, io->buf, r->len_bytes);
			data.data = io->buf;
			data.size = r->len_bytes;
		}
	} else if (r->kind == 'F') {
		task = scsi_cdb_synchronizecache10(0, 0, 0, 0);
	} else {
		task = scsi_cdb_unmap(0, 0, sizeof(io->unmap));
		io->unmap[1] = sizeof(io->unmap) - 2;
		io->unmap[3] = 16;
		be64(io->unmap + 8, lba);
		io->unmap[16] = (unsigned char)(r->len_bytes / lb >> 24);
		io->unmap[17] = (unsigned char)(r->len_bytes / lb >> 16);
		io->unmap[18] = (unsigned char)(r->len_bytes / lb >> 8);
		io->unmap[19] = (unsigned char)(r->len_bytes / lb);
		data.data = io->unmap;
		data.size = sizeof(io->unmap);
	}
	if (!task)
		goto fail;
	io->sent_ns = vms_bench_now();
	if (iscsi_scsi_command_async(c->sess.ctx, c->sess.lun, task, io_cb,
				     data.size ? &data : NULL, io)) {
		scsi_free_scsi_task(task);
		goto fail;
	}
	c->in_flight++;
	return 0;
fail:
	vms_bench_err("%s: cannot queue a request", c->sess.url);
	io_free(io);
	return -1;
}

/* Issue what may be issued; returns nanoseconds until the next is due. */
static uint64_t advance(struct clone *c, uint64_t now)
{
	struct boot *b = c->b;

	if (now < c->start_ns)
		return c->start_ns - now;
	if (c->again.n) {
		if (now < c->again_ns)
			return c->again_ns - now;
		while (c->again.n && c->in_flight < b->depth)
			if (issue(c, c->again.d[--c->again.n])) {
				b->failed = true;
				return 0;
			}
	}
	while (c->next < b->trace.n && c->in_flight < b->depth) {
		const struct vms_boot_req *r = &b->trace.req[c->next];

		if (!b->fast) {
			uint64_t due = c->start_ns +
				       (uint64_t)((double)(r->time_us - b->trace.req[0].time_us) *
						  1e3 / b->speed);

			if (due > now)
				return due - now;
		}
		if (r->kind == 'F' && c->in_flight)
			return UINT64_MAX;
		if (issue(c, r)) {
			b->failed = true;
			return 0;
		}
		c->next++;
		if (r->kind == 'F')
			return UINT64_MAX;
	}
	if (c->next == b->trace.n && !c->in_flight && !c->again.n && !c->done) {
		c->done = true;
		c->end_ns = now;
	}
	return UINT64_MAX;
}

static int replay(struct boot *b, struct pollfd *pfd, uint64_t stagger_ns)
{
	uint64_t start = vms_bench_now();

	for (unsigned i = 0; i < b->n_clone; i++)
		b->clone[i].start_ns = start + stagger_ns * i;
	for (;;) {
		uint64_t now = vms_bench_now(), wait = 100000000u;
		unsigned running = 0;

		for (unsigned i = 0; i < b->n_clone; i++) {
			struct clone *c = &b->clone[i];
			uint64_t w;

			if (c->done)
				continue;
			w = advance(c, now);
			if (!c->done)
				running++;
			if (w < wait)
				wait = w;
		}
		if (!running || b->failed)
			break;
		for (unsigned i = 0; i < b->n_clone; i++) {
			pfd[i].fd = iscsi_get_fd(b->clone[i].sess.ctx);
			pfd[i].events = (short)iscsi_which_events(b->clone[i].sess.ctx);
			pfd[i].revents = 0;
		}
		if (poll(pfd, b->n_clone, (int)((wait + 999999) / 1000000)) <= 0)
			continue;
		for (unsigned i = 0; i < b->n_clone; i++) {
			if (!pfd[i].revents)
				continue;
			if (iscsi_service(b->clone[i].sess.ctx, pfd[i].revents) < 0) {
				vms_bench_err("%s: connection lost", b->clone[i].sess.url);
				b->clone[i].sess.broken = true;
				b->failed = true;
				break;
			}
		}
	}
	return b->failed ? -1 : 0;
}

static struct vms_bench_keep *keep_all(struct boot *b)
{
	struct vms_bench_keep *k = vms_bench_keep_begin(b->n_clone);

	for (unsigned i = 0; k && i < b->n_clone; i++)
		vms_bench_keep_add(k, &b->clone[i].sess);
	return k;
}

static char *clone_url(const char *url, unsigned number)
{
	const char *at = strstr(url, "%n");
	char *out;

	if (!at)
		return strdup(url);
	if (asprintf(&out, "%.*s%u%s", (int)(at - url), url, number, at + 2) < 0)
		return NULL;
	return out;
}

/* Table and JSON. Returns 0 or -1. */
static int report(const struct boot *b, const struct vms_hist *boots, double total_s,
		  double stagger_ms, const char *json_file)
{
	double per_min = b->n_clone / total_s * 60;
	char how[80];
	json_t *j;
	int rc;

	snprintf(how, sizeof(how),
		 b->fast ? "as fast as possible, %.0f ms apart"
			 : "paced, %.0f ms apart, at %g x the recorded speed",
		 stagger_ms, b->speed);
	if (!json_file || strcmp(json_file, "-")) {
		printf("boot: %u clones, %s: %.2f s, %.1f boots per minute\n", b->n_clone, how,
		       total_s, per_min);
		printf("  one boot   p50 %.2f s  p99 %.2f s  max %.2f s\n",
		       (double)vms_hist_percentile(boots, 50) / 1e9,
		       (double)vms_hist_percentile(boots, 99) / 1e9, (double)boots->max / 1e9);
		printf("  one command us p50 %.0f  p99 %.0f  max %.0f\n",
		       (double)vms_hist_percentile(&b->lat, 50) / 1e3,
		       (double)vms_hist_percentile(&b->lat, 99) / 1e3, (double)b->lat.max / 1e3);
		printf("  %" PRIu64 " reads (%.1f MB), %" PRIu64 " writes (%.1f MB), %" PRIu64
		       " others; one boot reads %.1f MB of the image\n",
		       b->reads, (double)b->bytes_read / 1e6, b->writes,
		       (double)b->bytes_written / 1e6, b->others,
		       (double)b->trace.unique_read_bytes / 1e6);
		if (b->again)
			printf("  %" PRIu64 " answers BUSY or TASK SET FULL, sent again\n",
			       b->again);
		vms_boot_cost_print(&b->cost, b->n_clone);
	}
	if (!json_file)
		return 0;
	j = json_pack("{s:i,s:s,s:f,s:f,s:b,s:f,s:f,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I}", "clones",
		      (int)b->n_clone, "how", how, "stagger_ms", stagger_ms, "speed",
		      b->fast ? 0.0 : b->speed, "fast", b->fast, "seconds", total_s,
		      "boots_per_minute", per_min, "boot", vms_bench_hist_json(boots), "command",
		      vms_bench_hist_json(&b->lat), "reads", (json_int_t)b->reads, "bytes_read",
		      (json_int_t)b->bytes_read, "writes", (json_int_t)b->writes, "bytes_written",
		      (json_int_t)b->bytes_written, "unique_read_bytes",
		      (json_int_t)b->trace.unique_read_bytes, "sent_again", (json_int_t)b->again);
	json_object_set_new(j, "cost", vms_boot_cost_json(&b->cost, b->n_clone));
	rc = vms_bench_json_write(j, json_file);
	json_decref(j);
	return rc;
}

int vms_bench_cmd_boot(int argc, char **argv)
{
	static const struct option opts[] = {
		{"trace", 1, NULL, 't'}, {"clones", 1, NULL, 'n'},    {"stagger-ms", 1, NULL, 's'},
		{"fast", 0, NULL, 'f'},	 {"speed", 1, NULL, 'x'},     {"depth", 1, NULL, 'd'},
		{"data", 1, NULL, 'D'},	 {"read-only", 0, NULL, 'r'}, {"json", 1, NULL, 'j'},
		{"fill", 0, NULL, 'F'},	 {"pid", 1, NULL, 'p'},	      {"counters", 1, NULL, 'C'},
		{"help", 0, NULL, 'h'},	 {NULL, 0, NULL, 0},
	};
	struct boot *b = calloc(1, sizeof(*b));
	struct vms_hist *boots = calloc(1, sizeof(*boots));
	struct vms_bench_keep *keep = NULL;
	struct pollfd *pfd = NULL;
	const char *trace = NULL, *json_file = NULL;
	double stagger_ms = 0;
	bool read_only = false, fill = false;
	uint64_t first = UINT64_MAX, last = 0;
	unsigned opened = 0;
	int c, lost, rc = VMS_BENCH_USAGE;

	if (!b || !boots)
		goto out;
	b->n_clone = 1;
	b->depth = 32;
	b->speed = 1;
	b->gen.state = vms_bench_now();
	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		bool bad = false;

		switch (c) {
		case 't':
			trace = optarg;
			break;
		case 'n':
			b->n_clone = (unsigned)atoi(optarg);
			bad = b->n_clone < 1 || b->n_clone > 4096;
			break;
		case 's':
			stagger_ms = atof(optarg);
			bad = stagger_ms < 0;
			break;
		case 'f':
			b->fast = true;
			break;
		case 'x':
			b->speed = atof(optarg);
			bad = b->speed <= 0;
			break;
		case 'd':
			b->depth = (unsigned)atoi(optarg);
			bad = b->depth < 1 || b->depth > 1024;
			break;
		case 'D':
			bad = vms_bench_parse_data(optarg, &b->gen);
			break;
		case 'r':
			read_only = true;
			break;
		case 'F':
			fill = true;
			break;
		case 'p':
			if (vms_boot_cost_pid(&b->cost, optarg))
				goto out;
			break;
		case 'C':
			b->cost.counters = optarg;
			break;
		case 'j':
			json_file = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			rc = VMS_BENCH_OK;
			goto out;
		default:
			goto out;
		}
		if (bad) {
			vms_bench_err("boot: bad value '%s' for %s (see --help)", optarg,
				      argv[optind - 2]);
			goto out;
		}
	}
	if (!trace || optind == argc) {
		vms_bench_err("boot: want --trace FILE and at least one URL (see --help)");
		goto out;
	}
	rc = VMS_BENCH_STATE;
	if (vms_boot_trace_load(&b->trace, trace, read_only))
		goto out;
	if (fill) {
		rc = vms_boot_trace_fill(&b->trace, argv[optind], &b->gen) ? VMS_BENCH_FAILED
									   : VMS_BENCH_OK;
		goto out;
	}
	rc = VMS_BENCH_FAILED;
	b->clone = calloc(b->n_clone, sizeof(*b->clone));
	pfd = calloc(b->n_clone, sizeof(*pfd));
	if (!b->clone || !pfd)
		goto out;
	keep = vms_bench_keep_begin(b->n_clone);
	if (!keep)
		goto out;
	for (; opened < b->n_clone; opened++) {
		struct clone *k = &b->clone[opened];
		char *url = clone_url(argv[optind + (int)opened % (argc - optind)], opened + 1);
		char tag[24];

		snprintf(tag, sizeof(tag), "clone%u", opened + 1);
		lost = !url || vms_bench_sess_open(&k->sess, url, tag);
		free(url);
		if (lost)
			goto out;
		k->b = b;
		vms_bench_keep_add(keep, &k->sess);
	}
	if (b->trace.end_bytes > b->clone[0].sess.size_bytes) {
		vms_bench_err("trace %s reaches byte %" PRIu64 ", the LUN has %" PRIu64, trace,
			      b->trace.end_bytes, b->clone[0].sess.size_bytes);
		goto out;
	}
	if (vms_boot_cost_begin(&b->cost))
		goto out;
	lost = vms_bench_keep_end(keep);
	keep = NULL;
	if (lost || replay(b, pfd, (uint64_t)(stagger_ms * 1e6)))
		goto out;
	/* they log out when what it has cost is known */
	keep = keep_all(b);
	if (!keep || vms_boot_cost_end(&b->cost))
		goto out;
	lost = vms_bench_keep_end(keep);
	keep = NULL;
	if (lost)
		goto out;
	for (unsigned i = 0; i < b->n_clone; i++) {
		vms_hist_add(boots, b->clone[i].end_ns - b->clone[i].start_ns);
		if (b->clone[i].start_ns < first)
			first = b->clone[i].start_ns;
		if (b->clone[i].end_ns > last)
			last = b->clone[i].end_ns;
	}
	rc = report(b, boots, (double)(last - first) / 1e9, stagger_ms, json_file)
		     ? VMS_BENCH_FAILED
		     : VMS_BENCH_OK;
out:
	vms_bench_keep_end(keep);
	for (unsigned i = 0; i < opened; i++) {
		vms_bench_sess_close(&b->clone[i].sess);
		VMS_VEC_FREE(&b->clone[i].again);
	}
	if (b) {
		vms_boot_cost_free(&b->cost);
		free(b->clone);
		vms_boot_trace_free(&b->trace);
	}
	free(pfd);
	free(boots);
	free(b);
	return rc;
}
