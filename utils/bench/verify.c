// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench verify: the stamping load.
 *
 * Sessions over one or more URLs write stamped blocks of mixed sizes and read
 * them back; utils/bench/model.c decides what each read may return. A session
 * that is lost comes back on the next URL; what it had outstanding is unknown
 * from then on and repeated only after --failover-ms, as an initiator whose
 * fastest path failover is that long. BUSY and UNIT ATTENTION are repeated.
 * What was sent is in the state file before it is sent.
 */
#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "utils/bench/bench.h"
#include "utils/bench/gap.h"
#include "utils/bench/journal.h"
#include "utils/bench/model.h"
#include "utils/bench/verify.h"

static volatile sig_atomic_t interrupted, forget_gaps;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = interrupted + 1;
}

static void on_forget(int sig)
{
	(void)sig;
	forget_gaps = 1;
}

static bool busy(const struct ver *v)
{
	for (unsigned i = 0; i < v->n_op; i++)
		if (v->op[i].state != OP_IDLE)
			return true;
	return false;
}

static void drop_slow_commands(struct ver *v)
{
	uint64_t limit = verify_ns(v, v->command_ms), now = v->time_base + vms_bench_now();

	for (unsigned i = 0; i < v->n_op; i++) {
		struct op *o = &v->op[i];

		if (o->state == OP_SENT && now > o->start && now - o->start > limit) {
			if (!o->sess->dead)
				fprintf(stderr,
					"session %u: %s of %u blocks at LBA %" PRIu64
					" unanswered for %.0f s, dropping the session\n",
					o->sess->index, verify_kind_name(o->kind), o->n, o->lba,
					(double)(now - o->start) / 1e9);
			o->sess->dead = true;
			o->sess->why = "a command was not answered in time";
		}
	}
}

static void turn(struct ver *v, struct pollfd *pfd)
{
	uint64_t now;

	for (unsigned i = 0; i < v->n_sess; i++) {
		struct vsess *s = &v->sess[i];

		pfd[i] = (struct pollfd){.fd = -1};
		if (s->ctx && !s->dead) {
			pfd[i].fd = iscsi_get_fd(s->ctx);
			pfd[i].events = (short)iscsi_which_events(s->ctx);
		}
	}
	if (v->j)
		vms_journal_flush(v->j, false);
	if (poll(pfd, v->n_sess, 20) > 0) {
		for (unsigned i = 0; i < v->n_sess; i++) {
			struct vsess *s = &v->sess[i];

			if (pfd[i].revents && s->ctx && iscsi_service(s->ctx, pfd[i].revents) < 0)
				s->dead = true;
		}
	}
	now = vms_bench_now();
	drop_slow_commands(v);
	for (unsigned i = 0; i < v->n_sess; i++) {
		if (!v->sess[i].dead)
			verify_sess_timers(&v->sess[i], now);
		if (v->sess[i].dead)
			verify_sess_down(&v->sess[i]);
	}
	verify_pump(v);
}

/* Returns 0, or -1 when nothing completes any more. */
static int stalled(const struct ver *v)
{
	if ((double)(vms_bench_now() - v->last_done) / 1e9 <= v->give_up_s * v->scale)
		return 0;
	vms_bench_err("verify: no command completed for %.0f s, giving up",
		      v->give_up_s * v->scale);
	return -1;
}

static int load(struct ver *v, struct pollfd *pfd)
{
	uint64_t until, shown, told;

	v->last_done = shown = told = vms_bench_now();
	vms_gap_begin(&v->gap[v->n_url], v->last_done);
	until = v->last_done + (uint64_t)(v->seconds * 1e9);
	while (!v->stopping || busy(v)) {
		uint64_t now = vms_bench_now();

		turn(v, pfd);
		if (interrupted || now >= until ||
		    (v->ops_max && v->reads + v->writes + v->flushes >= v->ops_max))
			v->stopping = true;
		if (stalled(v))
			return -1;
		if (forget_gaps) {
			forget_gaps = 0;
			for (unsigned i = 0; i <= v->n_url; i++)
				vms_gap_forget(&v->gap[i], now);
			v->slowest_ns = 0;
			for (unsigned i = 0; i < v->n_op; i++)
				v->op[i].first = now;
		}
		if (v->progress_ms > 0 && (double)(now - told) >= v->progress_ms * 1e6) {
			printf("progress %.1f s: %" PRIu64 " answered, %" PRIu64 " writes\n",
			       v->seconds - (double)(int64_t)(until - now) / 1e9,
			       v->reads + v->writes + v->flushes, v->writes);
			fflush(stdout);
			told = now;
		}
		if (!v->quiet && now - shown > 10000 * NS_PER_MS) {
			printf("%.0f s: %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64
			       " lost connections, %" PRIu64 " unknown outcomes, %" PRIu64
			       " wrong\n",
			       v->seconds - (double)(int64_t)(until - now) / 1e9, v->reads,
			       v->writes, v->lost, v->unknown, v->wrong);
			shown = now;
		}
	}
	for (unsigned i = 0; i <= v->n_url; i++)
		vms_gap_end(&v->gap[i], vms_bench_now());
	return 0;
}

static void print_stall(const char *what, uint64_t ns, uint64_t end)
{
	printf("stall: %s longest %" PRIu64 " ms, until %" PRIu64 "\n", what,
	       (uint64_t)(ns / NS_PER_MS), (uint64_t)(end / NS_PER_MS));
}

/* The longest time without an answered command, per URL while sessions were up there. */
static void print_gaps(const struct ver *v)
{
	for (unsigned i = 0; i <= v->n_url; i++)
		print_stall(i < v->n_url ? v->url[i] : "any", v->gap[i].longest_ns,
			    v->gap[i].longest_end);
	print_stall("one command", v->slowest_ns, v->slowest_end);
}

/* Read everything in the span through one URL. */
static int check(struct ver *v, struct pollfd *pfd, unsigned url)
{
	uint64_t before = v->wrong;

	v->pinned = true;
	v->url_pin = url;
	for (unsigned i = 0; i < v->n_sess; i++) {
		struct vsess *s = &v->sess[i];

		if (s->url != url || s->state == S_DOWN) {
			s->leaving = true; /* on purpose: not a loss */
			verify_sess_down(s);
			s->next_try = 0;
		}
	}
	v->checking = true;
	v->check_next = v->lba_first;
	v->last_done = vms_bench_now();
	while ((v->check_next < v->lba_first + v->blocks || busy(v))) {
		turn(v, pfd);
		if (stalled(v) || interrupted >= 2)
			return -1;
	}
	v->checking = false;
	v->pinned = false;
	if (!v->quiet)
		printf("checked %" PRIu64 " MiB through %s: %" PRIu64 " wrong\n",
		       v->blocks * BLOCK >> 20, v->url[url], v->wrong - before);
	return 0;
}

static void observed(void *arg, uint64_t lba, uint32_t n, uint64_t seq, uint64_t f, uint64_t s)
{
	struct ver *v = arg;

	if (v->j)
		vms_journal_add(v->j, 'O', seq, lba, n, f, s);
}

static int prepare(struct ver *v)
{
	struct vms_model_opts mo = {.blocks = v->span_bytes / BLOCK,
				    .first_lba = v->offset_bytes / BLOCK,
				    .initial = v->fresh ? VMS_MODEL_ZERO : VMS_MODEL_ANY,
				    .chunk_atomic = v->chunk_atomic};
	uint64_t t = 0;

	v->rnd = v->seed;
	mo.run_id = vms_bench_rand(&v->rnd);
	if (v->state_file) {
		v->j = vms_journal_open(v->state_file, v->check_only, &mo, &v->m, &v->seq, &t);
		if (!v->j)
			return VMS_BENCH_STATE;
	} else {
		v->m = vms_model_new(&mo);
	}
	if (!v->m)
		return VMS_BENCH_FAILED;
	vms_model_set_observer(v->m, observed, v);
	v->time_base = t + 1;
	v->lba_first = mo.first_lba;
	v->blocks = mo.blocks;
	if (v->max_blocks > v->blocks)
		v->max_blocks = (uint32_t)v->blocks;
	v->n_op = v->n_sess * v->depth;
	v->sess = calloc(v->n_sess, sizeof(*v->sess));
	v->op = calloc(v->n_op, sizeof(*v->op));
	v->gap = calloc(v->n_url + 1, sizeof(*v->gap));
	v->up = calloc(v->n_url, sizeof(*v->up));
	if (!v->sess || !v->op || !v->gap || !v->up)
		return VMS_BENCH_FAILED;
	for (unsigned i = 0; i < v->n_sess; i++) {
		v->sess[i].v = v;
		v->sess[i].index = i;
		v->sess[i].url = i % v->n_url;
	}
	for (unsigned i = 0; i < v->n_op; i++) {
		v->op[i].v = v;
		v->op[i].buf = malloc(OP_BLOCKS_MAX * BLOCK);
		if (!v->op[i].buf)
			return VMS_BENCH_FAILED;
	}
	return 0;
}

/* A LUN smaller than the span is a mistake to name before anything is written. */
static int capacity_ok(struct ver *v)
{
	struct vms_bench_sess s;
	int rc = -1;

	for (unsigned i = 0; i < v->n_url && rc; i++) {
		if (vms_bench_sess_open(&s, v->url[i], "verify"))
			continue;
		rc = 0;
		if (s.block_bytes != BLOCK) {
			vms_bench_err("%s: logical blocks of %u bytes; verify needs %u", s.url,
				      s.block_bytes, BLOCK);
			rc = -2;
		} else if ((v->lba_first + v->blocks) * BLOCK > s.size_bytes) {
			vms_bench_err("%s: %" PRIu64 " bytes are less than offset + span (%" PRIu64
				      " bytes)",
				      s.url, s.size_bytes, (v->lba_first + v->blocks) * BLOCK);
			rc = -2;
		}
		vms_bench_sess_close(&s);
		if (rc == -2)
			return -1;
	}
	return rc;
}

int vms_bench_cmd_verify(int argc, char **argv)
{
	struct ver *v = calloc(1, sizeof(*v));
	struct pollfd *pfd = NULL;
	int rc = VMS_BENCH_USAGE;
	bool failed = false;

	if (!v)
		return VMS_BENCH_FAILED;
	v->seconds = 10;
	v->n_sess = 4;
	v->depth = 8;
	v->span_bytes = 64u << 20;
	v->write_percent = 50;
	v->hot_percent = 25;
	v->max_blocks = OP_BLOCKS_MAX;
	v->flush_every = 64;
	v->seed = vms_bench_now() ^ (uint64_t)getpid() << 32;
	v->chunk_atomic = true;
	v->final_check = true;
	v->failover_ms = 5000;
	v->scale = 1;
	v->ping_ms = 1500;
	v->login_ms = 10000;
	v->command_ms = 60000;
	v->give_up_s = 90;
	switch (verify_parse(v, argc, argv)) {
	case 1:
		rc = VMS_BENCH_OK;
		goto out;
	case 0:
		break;
	default:
		goto out;
	}
	if (v->ping_timeout_ms <= 0)
		v->ping_timeout_ms = 3 * v->ping_ms;
	rc = prepare(v);
	if (rc)
		goto out;
	pfd = calloc(v->n_sess, sizeof(*pfd));
	rc = VMS_BENCH_FAILED;
	if (!pfd || capacity_ok(v))
		goto out;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGUSR1, on_forget);
	if (!v->check_only) {
		if (!v->quiet)
			printf("verify: seed %" PRIu64 ", span %" PRIu64 " MiB, %u sessions x %u\n",
			       v->seed, v->blocks * BLOCK >> 20, v->n_sess, v->depth);
		failed = load(v, pfd) != 0;
		if (!v->quiet)
			print_gaps(v);
	}
	if (!failed && (v->check_only || v->final_check))
		for (unsigned i = 0; i < v->n_url && !failed; i++)
			failed = check(v, pfd, i) != 0;
	if (v->j)
		vms_journal_flush(v->j, true);
	printf("verify: %" PRIu64 " reads, %" PRIu64 " writes (%" PRIu64 " of zeros, %" PRIu64
	       " COMPARE AND WRITE, %" PRIu64 " miscompared), %" PRIu64 " flushes; %" PRIu64
	       " connections lost, %" PRIu64 " unknown outcomes, %" PRIu64 " BUSY, %" PRIu64
	       " aborted, %" PRIu64 " unit attentions, %" PRIu64
	       " errors; latency ms p50 %.1f p99 %.1f max %.0f; %" PRIu64 " wrong\n",
	       v->reads, v->writes, v->zeros, v->caws, v->miscompares, v->flushes, v->lost,
	       v->unknown, v->busy, v->aborted, v->attention, v->errors,
	       (double)vms_hist_percentile(&v->lat, 50) / 1e6,
	       (double)vms_hist_percentile(&v->lat, 99) / 1e6, (double)v->lat.max / 1e6, v->wrong);
	rc = v->wrong				      ? VMS_BENCH_WRONG
	     : failed || (v->errors && !v->errors_ok) ? VMS_BENCH_FAILED
						      : VMS_BENCH_OK;
	if (v->json_file) {
		json_t *j = json_pack(
			"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "seed",
			(json_int_t)v->seed, "reads", (json_int_t)v->reads, "writes",
			(json_int_t)v->writes, "zeros", (json_int_t)v->zeros, "compare_and_write",
			(json_int_t)v->caws, "miscompares", (json_int_t)v->miscompares, "flushes",
			(json_int_t)v->flushes, "lost_connections", (json_int_t)v->lost,
			"unknown_outcomes", (json_int_t)v->unknown, "busy", (json_int_t)v->busy,
			"aborted", (json_int_t)v->aborted, "unit_attentions",
			(json_int_t)v->attention, "errors", (json_int_t)v->errors, "wrong",
			(json_int_t)v->wrong, "latency", vms_bench_hist_json(&v->lat));

		if (vms_bench_json_write(j, v->json_file) && rc == VMS_BENCH_OK)
			rc = VMS_BENCH_FAILED;
		json_decref(j);
	}
out:
	for (unsigned i = 0; v->sess && i < v->n_sess; i++) {
		v->sess[i].state = S_CONNECTING;
		verify_sess_down(&v->sess[i]);
	}
	free(v->gap);
	free(v->up);
	for (unsigned i = 0; v->op && i < v->n_op; i++)
		free(v->op[i].buf);
	vms_journal_close(v->j);
	vms_model_free(v->m);
	free(v->sess);
	free(v->op);
	free(pfd);
	free(v);
	return rc;
}
