// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench: the load engine behind run and compare.
 *
 * One thread, one poll set. A completed command is replaced by the next one
 * inside its own callback, so each session keeps its depth; what completes
 * outside the measured window is not counted.
 */
#include "utils/bench/bench.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

struct run;

struct slot {
	struct run *run;
	struct vms_bench_sess *sess;
	unsigned index; /* of the session */
	uint64_t sent_ns;
	uint64_t offset_bytes;
	bool write;
	void *buf;
};

struct run {
	const struct vms_bench_load *l;
	struct vms_bench_result *r;
	struct vms_bench_sess *sess;
	struct slot *slot;
	unsigned n_sess;
	uint64_t *seq_next; /* per session, in blocks of block_bytes */
	uint64_t blocks;    /* span in blocks of block_bytes */
	uint64_t part;	    /* of it what one URL has: all, unless the load is split */
	unsigned n_urls;
	uint64_t rnd;
	struct vms_bench_gen gen;
	uint64_t issued;
	uint64_t t_from, t_to; /* measured window */
	uint64_t outstanding;
	bool measuring, stopping, failed;
	bool cancelled; /* commands have ended with their connection */
	struct vms_bench_cpu cpu_from, cpu_to;
	bool prefilling;
	uint64_t prefill_next;
	uint64_t prefill_blocks;
};

static void submit(struct slot *s);

static void begin_window(struct run *run)
{
	run->measuring = true;
	if (vms_bench_cpu_now(&run->cpu_from, &run->l->pids))
		run->failed = run->stopping = true;
	run->t_from = run->cpu_from.wall_ns;
}

static void end_window(struct run *run)
{
	run->measuring = false;
	run->stopping = true;
	if (vms_bench_cpu_now(&run->cpu_to, &run->l->pids))
		run->failed = true;
}

static void done_cb(struct iscsi_context *ctx, int status, void *command_data, void *private_data)
{
	struct slot *s = private_data;
	struct run *run = s->run;
	struct scsi_task *task = command_data;
	uint64_t now = vms_bench_now();

	(void)ctx;
	run->outstanding--;
	if (status != SCSI_STATUS_GOOD) {
		if (status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL) {
			run->r->busy++;
		} else if (status == SCSI_STATUS_CHECK_CONDITION && task &&
			   task->sense.key == SCSI_SENSE_UNIT_ATTENTION) {
			run->r->busy++;
		} else {
			bool cc = status == SCSI_STATUS_CHECK_CONDITION && task;

			run->cancelled |= status == SCSI_STATUS_CANCELLED;
			if (!run->r->errors++ && status != SCSI_STATUS_CANCELLED)
				vms_bench_err(
					"%s: %s at byte %llu: status %#x, sense key %s, ascq %s",
					s->sess->url, s->write ? "WRITE" : "READ",
					(unsigned long long)s->offset_bytes, (unsigned)status,
					cc ? scsi_sense_key_str(task->sense.key) : "-",
					cc ? scsi_sense_ascq_str(task->sense.ascq) : "-");
			run->failed = run->stopping = true;
		}
	} else if (run->measuring) {
		vms_hist_add(&run->r->lat, now - s->sent_ns);
		run->r->ops++;
		if (now >= run->t_to || (run->l->ops && run->r->ops >= run->l->ops))
			end_window(run);
	}
	if (task)
		scsi_free_scsi_task(task);
	if (!run->stopping)
		submit(s);
}

static void submit(struct slot *s)
{
	struct run *run = s->run;
	const struct vms_bench_load *l = run->l;
	uint32_t bs = l->block_bytes, lb = s->sess->block_bytes;
	struct scsi_task *task;
	struct iscsi_data data;
	uint64_t n;

	if (run->prefilling) {
		bs = 512 * 1024;
		if (run->prefill_next >= run->prefill_blocks)
			return;
		n = run->prefill_next++;
		s->write = true;
	} else {
		if (l->random)
			n = vms_bench_rand(&run->rnd) % run->part;
		else
			n = run->seq_next[s->index]++ % run->part;
		if (l->split)
			n += s->index % run->n_urls * run->part;
		s->write = l->write_percent && (l->write_percent >= 100 ||
						vms_bench_rand(&run->rnd) % 100 < l->write_percent);
	}
	s->offset_bytes = l->offset_bytes + n * bs;
	if (run->prefilling) {
		uint64_t end = l->offset_bytes + run->blocks * l->block_bytes;

		if (s->offset_bytes + bs > end)
			bs = (uint32_t)(end - s->offset_bytes);
	}
	task = vms_bench_task_rw(s->write, s->offset_bytes / lb, bs / lb, lb, l->fua && s->write);
	if (!task) {
		run->failed = run->stopping = true;
		return;
	}
	data.data = s->buf;
	data.size = bs;
	if (s->write)
		vms_bench_fill(&run->gen, s->buf, bs);
	else
		scsi_task_add_data_in_buffer(task, (int)bs, s->buf);
	s->sent_ns = vms_bench_now();
	if (iscsi_scsi_command_async(s->sess->ctx, s->sess->lun, task, done_cb,
				     s->write ? &data : NULL, s)) {
		vms_bench_err("%s: cannot queue a command: %s", s->sess->url,
			      iscsi_get_error(s->sess->ctx));
		scsi_free_scsi_task(task);
		run->failed = run->stopping = true;
		return;
	}
	run->outstanding++;
	run->issued++;
}

static void turn(struct run *run, struct pollfd *pfd, int timeout_ms)
{
	for (unsigned i = 0; i < run->n_sess; i++) {
		pfd[i].fd = run->sess[i].broken ? -1 : iscsi_get_fd(run->sess[i].ctx);
		pfd[i].events = run->sess[i].broken ? 0
						    : (short)iscsi_which_events(run->sess[i].ctx);
		pfd[i].revents = 0;
	}
	if (poll(pfd, run->n_sess, timeout_ms) < 0)
		return;
	for (unsigned i = 0; i < run->n_sess; i++) {
		if (!pfd[i].revents || run->sess[i].broken)
			continue;
		if (iscsi_service(run->sess[i].ctx, pfd[i].revents) < 0 || run->cancelled) {
			run->cancelled = false;
			vms_bench_err("%s: connection lost: %s", run->sess[i].url,
				      iscsi_get_error(run->sess[i].ctx));
			run->sess[i].broken = true;
			run->failed = run->stopping = true;
		}
	}
}

static int drain(struct run *run, struct pollfd *pfd)
{
	uint64_t limit = vms_bench_now() + 60ull * 1000000000u;

	while (run->outstanding && !run->failed) {
		turn(run, pfd, 200);
		if (vms_bench_now() > limit) {
			vms_bench_err("%llu commands unanswered after 60 s",
				      (unsigned long long)run->outstanding);
			run->failed = true;
		}
	}
	return run->failed ? -1 : 0;
}

/* The sessions stay logged in and answer pings meanwhile. */
static int settle(struct run *run, struct pollfd *pfd)
{
	pid_t pid = fork(), got;
	int status = 0;

	if (!pid) {
		execl("/bin/sh", "sh", "-c", run->l->settle, (char *)NULL);
		_exit(127);
	}
	if (pid < 0) {
		vms_bench_err("--settle: %s", strerror(errno));
		return -1;
	}
	while (!(got = waitpid(pid, &status, WNOHANG)))
		turn(run, pfd, 5);
	if (got < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
		vms_bench_err("--settle: '%s' failed", run->l->settle);
		return -1;
	}
	return 0;
}

/* Behind the load: what the servers owe for it counts. */
static int settle_counted(struct run *run, struct pollfd *pfd)
{
	uint64_t from = vms_bench_now();

	if (settle(run, pfd))
		return -1;
	run->r->settle_s = (double)(vms_bench_now() - from) / 1e9;
	return vms_bench_cpu_now(&run->cpu_to, &run->l->pids);
}

static void kick(struct run *run)
{
	unsigned n = run->n_sess * run->l->depth;

	for (unsigned i = 0; i < n && !run->stopping; i++)
		submit(&run->slot[i]);
}

static int prefill(struct run *run, struct pollfd *pfd)
{
	uint64_t bytes = run->blocks * run->l->block_bytes;

	run->prefilling = true;
	run->prefill_blocks = (bytes + 512 * 1024 - 1) / (512 * 1024);
	kick(run);
	if (drain(run, pfd))
		return -1;
	run->prefilling = false;
	return 0;
}

static void warm_up(struct run *run, struct pollfd *pfd)
{
	uint64_t until = vms_bench_now() + (uint64_t)(run->l->warmup_s * 1e9);

	run->t_to = UINT64_MAX;
	kick(run);
	while (!run->stopping && vms_bench_now() < until)
		turn(run, pfd, 20);
}

/* What the servers owe for filling and warming up is paid before anything is counted, so the
 * load cannot run on into the measured time. */
static int settle_before(struct run *run, struct pollfd *pfd)
{
	if (run->l->warmup_s > 0) {
		warm_up(run, pfd);
		run->stopping = true;
		if (drain(run, pfd))
			return -1;
		run->stopping = false;
	} else if (!run->l->prefill) {
		return 0;
	}
	return settle(run, pfd);
}

static int open_all(struct run *run, char *const *url, unsigned n_urls)
{
	const struct vms_bench_load *l = run->l;
	size_t buf = l->block_bytes;
	uint64_t size = UINT64_MAX;
	struct vms_bench_keep *keep = vms_bench_keep_begin(l->sessions);
	int rc = -1;

	if (!keep)
		return -1;
	if (l->prefill && buf < 512 * 1024)
		buf = 512 * 1024;
	for (unsigned i = 0; i < l->sessions; i++) {
		char tag[16];

		snprintf(tag, sizeof(tag), "%u", i);
		if (vms_bench_sess_open(&run->sess[i], url[i % n_urls], tag))
			goto out;
		run->n_sess++;
		vms_bench_keep_add(keep, &run->sess[i]);
		if (run->sess[i].size_bytes < size)
			size = run->sess[i].size_bytes;
		if (l->block_bytes % run->sess[i].block_bytes) {
			vms_bench_err("%s: --bs %u is no multiple of the logical block length %u",
				      run->sess[i].url, l->block_bytes, run->sess[i].block_bytes);
			goto out;
		}
		for (unsigned d = 0; d < l->depth; d++) {
			struct slot *s = &run->slot[i * l->depth + d];

			s->run = run;
			s->sess = &run->sess[i];
			s->index = i;
			if (posix_memalign(&s->buf, 4096, buf)) {
				s->buf = NULL;
				vms_bench_err("out of memory");
				goto out;
			}
			memset(s->buf, 0, buf);
		}
	}
	if (l->offset_bytes >= size || (l->span_bytes && l->span_bytes > size - l->offset_bytes)) {
		vms_bench_err("--offset + --span go beyond the LUN's %llu bytes",
			      (unsigned long long)size);
		goto out;
	}
	run->blocks = (l->span_bytes ? l->span_bytes : size - l->offset_bytes) / l->block_bytes;
	if (!run->blocks) {
		vms_bench_err("--span is smaller than one block of %u bytes", l->block_bytes);
		goto out;
	}
	run->part = l->split ? run->blocks / n_urls : run->blocks;
	if (!run->part) {
		vms_bench_err("--split: the span is smaller than one block for each URL");
		goto out;
	}
	for (unsigned i = 0; i < l->sessions; i++)
		run->seq_next[i] = run->part * i / l->sessions;
	rc = 0;
out:
	return vms_bench_keep_end(keep) ? -1 : rc;
}

int vms_bench_load_run(const struct vms_bench_load *l, char *const *url, unsigned n_urls,
		       struct vms_bench_result *r)
{
	struct run run = {.l = l, .r = r, .rnd = l->seed, .gen = l->data, .n_urls = n_urls};
	struct pollfd *pfd = calloc(l->sessions, sizeof(*pfd));
	int rc = -1;

	memset(r, 0, sizeof(*r));
	run.gen.state = l->seed * 0x2545f4914f6cdd1dull + vms_bench_now();
	run.sess = calloc(l->sessions, sizeof(*run.sess));
	run.slot = calloc((size_t)l->sessions * l->depth, sizeof(*run.slot));
	run.seq_next = calloc(l->sessions, sizeof(*run.seq_next));
	if (!pfd || !run.sess || !run.slot || !run.seq_next) {
		vms_bench_err("out of memory");
		goto out;
	}
	if (open_all(&run, url, n_urls))
		goto out;
	if (l->prefill && prefill(&run, pfd))
		goto out;
	if (l->settle && settle_before(&run, pfd))
		goto out;

	if (l->idle_s > 0) {
		struct vms_bench_cpu a, b;
		uint64_t until = vms_bench_now() + (uint64_t)(l->idle_s * 1e9);

		if (vms_bench_cpu_now(&a, NULL))
			goto out;
		while (vms_bench_now() < until)
			turn(&run, pfd, 50);
		if (vms_bench_cpu_now(&b, NULL))
			goto out;
		r->idle_busy_per_s = ((b.machine_s - a.machine_s) - (b.client_s - a.client_s)) /
				     ((double)(b.wall_ns - a.wall_ns) / 1e9);
		if (r->idle_busy_per_s < 0)
			r->idle_busy_per_s = 0;
	}

	if (l->settle)
		kick(&run);
	else
		warm_up(&run, pfd);
	if (!run.stopping) {
		begin_window(&run);
		run.t_to = run.t_from + (uint64_t)(l->seconds * 1e9);
	}
	while (!run.stopping) {
		turn(&run, pfd, 100);
		if (run.measuring && vms_bench_now() >= run.t_to)
			end_window(&run);
	}
	if (drain(&run, pfd) || (l->settle && settle_counted(&run, pfd)))
		goto out;
	r->seconds = (double)(run.cpu_to.wall_ns - run.cpu_from.wall_ns) / 1e9;
	r->bytes = r->ops * l->block_bytes;
	r->iops = (double)r->ops / r->seconds;
	r->mb_s = (double)r->bytes / 1e6 / r->seconds;
	r->client_s = run.cpu_to.client_s - run.cpu_from.client_s;
	r->server_s = run.cpu_to.server_s - run.cpu_from.server_s;
	r->machine_s = run.cpu_to.machine_s - run.cpu_from.machine_s;
	r->others_s = r->machine_s - r->client_s - r->idle_busy_per_s * r->seconds;
	if (r->others_s < 0)
		r->others_s = 0;
	if (r->server_s > 0)
		r->cmds_per_server_cpu_s = (double)r->ops / r->server_s;
	if (r->others_s > 0)
		r->cmds_per_machine_cpu_s = (double)r->ops / r->others_s;
	rc = 0;
out:
	for (unsigned i = 0; i < run.n_sess; i++)
		vms_bench_sess_close(&run.sess[i]);
	for (size_t i = 0; run.slot && i < (size_t)l->sessions * l->depth; i++)
		free(run.slot[i].buf);
	free(run.sess);
	free(run.slot);
	free(run.seq_next);
	free(pfd);
	return rc;
}

/* ---- options ---- */

const char vms_bench_load_help[] =
	"  --sessions N      sessions in all, spread over the URLs (1)\n"
	"  --depth N         outstanding commands per session (32)\n"
	"  --bs SIZE         bytes per command (4k)\n"
	"  --pattern P       rand or seq (rand)\n"
	"  --rw WHAT         read, write, or mix:WRITE_PERCENT (read)\n"
	"  --fua             writes carry FUA\n"
	"  --seconds S       measured time (5)\n"
	"  --ops N           or stop after N commands\n"
	"  --warmup S        load before measuring (0.5)\n"
	"  --idle S          idle baseline before the load, for CPU accounting (0.5)\n"
	"  --offset SIZE     first byte used (0)\n"
	"  --span SIZE       bytes used from there (the whole LUN)\n"
	"  --split           each URL has its own part of the span, all of one size\n"
	"  --seed N          of offsets (1)\n"
	"  --data KIND       unique, zero, or dup:PERCENT (unique)\n"
	"  --prefill         write the span once before the load\n"
	"  --settle COMMAND  run COMMAND (sh -c) behind the load; its time and what the\n"
	"                    servers do meanwhile count as well (latencies do not). It is\n"
	"                    run behind --prefill and --warmup, too, which do not count\n"
	"  --server-pid PID  server process whose CPU is counted; repeat\n";

enum {
	O_SESSIONS = 1000,
	O_DEPTH,
	O_BS,
	O_PATTERN,
	O_RW,
	O_FUA,
	O_SECONDS,
	O_OPS,
	O_WARMUP,
	O_IDLE,
	O_OFFSET,
	O_SPAN,
	O_SPLIT,
	O_SEED,
	O_DATA,
	O_PREFILL,
	O_SETTLE,
	O_PID,
};

const struct option vms_bench_load_options[VMS_BENCH_LOAD_OPTIONS] = {
	{"sessions", 1, NULL, O_SESSIONS},
	{"depth", 1, NULL, O_DEPTH},
	{"bs", 1, NULL, O_BS},
	{"pattern", 1, NULL, O_PATTERN},
	{"rw", 1, NULL, O_RW},
	{"fua", 0, NULL, O_FUA},
	{"seconds", 1, NULL, O_SECONDS},
	{"ops", 1, NULL, O_OPS},
	{"warmup", 1, NULL, O_WARMUP},
	{"idle", 1, NULL, O_IDLE},
	{"offset", 1, NULL, O_OFFSET},
	{"span", 1, NULL, O_SPAN},
	{"split", 0, NULL, O_SPLIT},
	{"seed", 1, NULL, O_SEED},
	{"data", 1, NULL, O_DATA},
	{"prefill", 0, NULL, O_PREFILL},
	{"server-pid", 1, NULL, O_PID},
	{"settle", 1, NULL, O_SETTLE},
	{NULL, 0, NULL, 0},
};

void vms_bench_load_defaults(struct vms_bench_load *l)
{
	memset(l, 0, sizeof(*l));
	l->sessions = 1;
	l->depth = 32;
	l->block_bytes = 4096;
	l->random = true;
	l->seconds = 5;
	l->warmup_s = 0.5;
	l->idle_s = 0.5;
	l->seed = 1;
}

static int number(const char *arg, double min, double max, double *out)
{
	char *end;

	*out = strtod(arg, &end);
	return (end == arg || *end || *out < min || *out > max) ? -1 : 0;
}

int vms_bench_parse_rw(const char *arg, double *write_percent)
{
	*write_percent = !strcmp(arg, "write") ? 100 : 0;
	if (!strcmp(arg, "read") || !strcmp(arg, "write"))
		return 0;
	return strncmp(arg, "mix:", 4) ? -1 : number(arg + 4, 0, 100, write_percent);
}

int vms_bench_load_option(struct vms_bench_load *l, int c, const char *arg)
{
	double d = 0;
	uint64_t v = 0;

	switch (c) {
	case O_SESSIONS:
		if (number(arg, 1, 4096, &d))
			return -1;
		l->sessions = (unsigned)d;
		return 1;
	case O_DEPTH:
		if (number(arg, 1, 1024, &d))
			return -1;
		l->depth = (unsigned)d;
		return 1;
	case O_BS:
		if (vms_bench_parse_size(arg, &v) || v < 512 || v % 512 || v > (16u << 20))
			return -1;
		l->block_bytes = (uint32_t)v;
		return 1;
	case O_PATTERN:
		if (strcmp(arg, "rand") && strcmp(arg, "seq"))
			return -1;
		l->random = arg[0] == 'r';
		return 1;
	case O_RW:
		if (vms_bench_parse_rw(arg, &d))
			return -1;
		l->write_percent = (unsigned)d;
		return 1;
	case O_FUA:
		l->fua = true;
		return 1;
	case O_SECONDS:
		return number(arg, 0.01, 1e7, &l->seconds) ? -1 : 1;
	case O_OPS:
		return vms_bench_parse_size(arg, &l->ops) ? -1 : 1;
	case O_WARMUP:
		return number(arg, 0, 1e5, &l->warmup_s) ? -1 : 1;
	case O_IDLE:
		return number(arg, 0, 1e5, &l->idle_s) ? -1 : 1;
	case O_OFFSET:
		return vms_bench_parse_size(arg, &l->offset_bytes) || l->offset_bytes % 512 ? -1
											    : 1;
	case O_SPAN:
		return vms_bench_parse_size(arg, &l->span_bytes) ? -1 : 1;
	case O_SPLIT:
		l->split = true;
		return 1;
	case O_SEED:
		return vms_bench_parse_size(arg, &l->seed) ? -1 : 1;
	case O_DATA:
		return vms_bench_parse_data(arg, &l->data) ? -1 : 1;
	case O_PREFILL:
		l->prefill = true;
		return 1;
	case O_SETTLE:
		l->settle = arg;
		return 1;
	case O_PID:
		if (number(arg, 1, 1 << 22, &d) || l->pids.n >= VMS_BENCH_PIDS_MAX)
			return -1;
		l->pids.pid[l->pids.n++] = (int)d;
		return 1;
	default:
		return 0;
	}
}
