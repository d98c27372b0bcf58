// SPDX-License-Identifier: GPL-2.0-only
/*
 * One LUN over several gateways as a Linux host uses it: open-iscsi's and dm-multipath's
 * rules with the settings of conf/, over libiscsi. Does any gateway's loss cost more than
 * a pause, and is all that was acknowledged there, with nothing older on top?
 *
 *   mpath_rules [--seconds N] [--limit MS] [--depth N] [--blocks N] [--poll MS]
 *               [--round-robin] --iscsid FILE --multipath FILE URL URL [URL ...]
 *
 * Until N seconds are over or SIGTERM comes. SIGUSR1 ends a phase: its longest command
 * and its longest time without any answer are printed. Exit code: 0 all well; 1 wrong
 * data or an error that a guest would see; 3 a command took too long; 2 wrong use.
 *
 * Too long is longer than MS, and longer than the times of conf/ that the host waits by
 * itself, and as long again as the longest command of the same phase that no lost path
 * held, and as the longest pause of this program: what the machine takes from everybody
 * is no fault of the path.
 *
 * The rules. A session is pinged when nothing was heard for noop_out_interval, and given
 * up after noop_out_timeout more. A session that is lost keeps its commands and logs in
 * again, at once and then every 3 s; if that takes longer than replacement_timeout they
 * go back to multipath, which marks the path failed and sends them through another one.
 * A path comes back when its session has and TEST UNIT READY ends GOOD, asked each
 * polling_interval. BUSY and TASK SET FULL are repeated on their path, unit attentions
 * and aborted commands five times; then the path is failed. Without any path commands
 * wait for no_path_retry rounds. New commands go to the path with the least on its way
 * (service-time) or to each in turn, a blocked one included, as long as it is not failed.
 *
 * The data. One command per block at a time, so a read must find exactly what was last
 * acknowledged. Blocks whose write was under way when a path was lost are written and
 * read more often from then on: a write of the dead path that lands later is seen.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/it/mpath_conf.h"

#define PATHS_MAX    8
#define DEPTH_MAX    256
#define BLOCKS_MAX   4096
#define BYTES	     4096u
#define SECTORS	     (BYTES / 512)
#define STRIDE	     264u /* sectors from block to block: over many extents */
#define RELOGIN_MS   3000
#define BUSY_MS	     100
#define RETRIES	     5
#define LIVE_MAX_MS  30000 /* /sys/block/X/device/timeout */
#define HOT_MAX	     64
#define POLL_MS	     20
#define CHECK_TRIES  1000
#define RELOGINS_LOG 3

enum io_state { FREE, QUEUED, SENT, BLOCKED, WAITING };
struct path;
struct io {
	enum io_state state;
	bool write;
	unsigned block;
	uint64_t version; /* of a write */
	int tries;
	int64_t start, again, sent; /* again: WAITING ends */
	bool held;		    /* by a lost path, for a time */
	struct path *path;
	struct scsi_task *task;
	uint8_t buf[BYTES];
};
struct path {
	unsigned nr;
	const char *url;
	struct iscsi_context *ctx;
	int lun;
	bool up, connecting, broken; /* session; broken: to be torn down */
	bool destroying;
	bool failed; /* for multipath */
	bool checking, pinging;
	int64_t lost;  /* since when the session is lost, 0: it is not */
	int64_t heard; /* last sign of life */
	int64_t relogin, login_since, check;
	unsigned load, relogins;
};

static struct mpath_conf conf;
static struct path path[PATHS_MAX];
static struct io io[DEPTH_MAX];
static unsigned npaths, depth = 16, blocks = 512, turn, nhot, hot_next;
static unsigned hot[HOT_MAX];
static uint64_t acked[BLOCKS_MAX], given[BLOCKS_MAX];
static bool busy[BLOCKS_MAX];
static int64_t t0, limit_ms = 8000, last_answer, longest_io, longest_gap, phase_io, phase_gap;
static int64_t phase_free, phase_pause; /* longest command that no lost path held; pause */
static int64_t no_path_since;
static uint64_t nanswers, phase_answers;
static bool round_robin, wrong, too_long;
static unsigned phase = 1;
static volatile sig_atomic_t stop, mark;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		mark = 1;
	else
		stop = 1;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	printf("%7.3f ", (double)(now_ms() - t0) / 1000);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

/* ---- data ---- */

struct mark {
	uint32_t block, check;
	uint64_t version;
};

static struct mark mark_of(unsigned block, uint64_t version)
{
	struct mark m = {block, 0, version};

	m.check = (uint32_t)(version * 0x9e3779b97f4a7c15ull >> 32) ^ block * 2654435761u;
	return m;
}

static void fill(uint8_t *buf, unsigned block, uint64_t version)
{
	struct mark m = mark_of(block, version);

	for (unsigned i = 0; i < BYTES; i += sizeof(m))
		memcpy(buf + i, &m, sizeof(m));
}

static void verify(const struct io *o)
{
	struct mark want = mark_of(o->block, acked[o->block]), have;

	for (unsigned i = 0; i < BYTES; i += sizeof(have)) {
		memcpy(&have, o->buf + i, sizeof(have));
		if (!memcmp(&have, &want, sizeof(have)))
			continue;
		say("WRONG: block %u through path %u: version %" PRIu64
		    " at byte %u (block %u%s), %" PRIu64 " is acknowledged",
		    o->block, o->path->nr, have.version, i, have.block,
		    have.check == mark_of(have.block, have.version).check ? "" : ", damaged",
		    acked[o->block]);
		wrong = true;
		return;
	}
}

static void heat(unsigned block)
{
	hot[hot_next++ % HOT_MAX] = block;
	if (nhot < HOT_MAX)
		nhot++;
}

/* ---- commands ---- */

static void block(struct io *o)
{
	o->state = BLOCKED;
	o->held = true;
}

static void requeue(struct io *o)
{
	o->state = QUEUED;
	o->path = NULL;
	o->tries = 0;
}

static void wait_and_repeat(struct io *o)
{
	o->state = WAITING;
	o->again = now_ms() + BUSY_MS;
}

static void answered(struct io *o)
{
	int64_t now = now_ms(), ms = now - o->start;

	if (o->write)
		acked[o->block] = o->version;
	else
		verify(o);
	if (ms > longest_io)
		longest_io = ms;
	if (ms > phase_io)
		phase_io = ms;
	if (!o->held && ms > phase_free)
		phase_free = ms;
	if (now - last_answer > longest_gap)
		longest_gap = now - last_answer;
	if (now - last_answer > phase_gap)
		phase_gap = now - last_answer;
	last_answer = now;
	nanswers++;
	phase_answers++;
	busy[o->block] = false;
	o->state = FREE;
	o->path = NULL;
}

static void fail_path(struct path *p, const char *reason)
{
	unsigned n = 0;

	for (unsigned i = 0; i < depth; i++)
		if (io[i].path == p && (io[i].state == BLOCKED || io[i].state == WAITING)) {
			requeue(&io[i]);
			n++;
		}
	p->load = 0;
	for (unsigned i = 0; i < depth; i++)
		p->load += io[i].path == p;
	if (!p->failed)
		say("path %u: failed (%s), %u commands go elsewhere", p->nr, reason, n);
	p->failed = true;
	p->check = now_ms() + conf.polling_ms;
}

/* What the middle layer does with an answer that is not GOOD. */
static void not_good(struct io *o, int status)
{
	const struct scsi_sense *s = &o->task->sense;

	if (status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL) {
		wait_and_repeat(o);
		return;
	}
	if (status == SCSI_STATUS_CHECK_CONDITION &&
	    (s->key == SCSI_SENSE_UNIT_ATTENTION || s->key == SCSI_SENSE_COMMAND_ABORTED ||
	     s->key == SCSI_SENSE_NOT_READY)) {
		struct path *p = o->path;

		if (o->tries++ < RETRIES) {
			wait_and_repeat(o);
			return;
		}
		requeue(o);
		p->load--;
		fail_path(p, "a command failed five times");
		return;
	}
	say("ERROR: %s of block %u through path %u: status %x, sense %x/%04x",
	    o->write ? "write" : "read", o->block, o->path->nr, status, s->key, s->ascq);
	wrong = true;
	o->path->load--;
	busy[o->block] = false;
	o->state = FREE;
}

static void on_io(struct iscsi_context *ctx, int status, void *data, void *arg)
{
	struct io *o = arg;

	if (o->path->destroying || status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR ||
	    status == SCSI_STATUS_TIMEOUT) {
		o->path->broken = true;
		if (o->write)
			heat(o->block);
		block(o);
	} else if (status == SCSI_STATUS_GOOD) {
		if (!o->write && o->task->datain.size != (int)BYTES) {
			say("WRONG: read of block %u brings %d bytes", o->block,
			    o->task->datain.size);
			wrong = true;
		}
		if (!o->write)
			memcpy(o->buf, o->task->datain.data, BYTES);
		o->path->load--;
		answered(o);
	} else {
		not_good(o, status);
	}
	scsi_free_scsi_task(o->task);
	o->task = NULL;
}

static void send_io(struct path *p, struct io *o)
{
	uint32_t lba = o->block * STRIDE;

	o->state = SENT;
	o->sent = now_ms();
	o->path = p;
	o->task = o->write ? iscsi_write10_task(p->ctx, p->lun, lba, o->buf, BYTES, 512, 0, 0, 0, 0,
						0, on_io, o)
			   : iscsi_read10_task(p->ctx, p->lun, lba, BYTES, 512, 0, 0, 0, 0, 0,
					       on_io, o);
	if (!o->task) {
		block(o);
		p->broken = true;
	}
}

static struct path *choose(void)
{
	struct path *best = NULL;

	for (unsigned i = 0; i < npaths; i++) {
		struct path *p = &path[(turn + i) % npaths];

		if (p->failed)
			continue;
		if (!best || (!round_robin && p->load < best->load))
			best = p;
	}
	if (best)
		turn = best->nr; /* the one behind it */
	return best;
}

static void next_io(struct io *o)
{
	unsigned tries = 0;

	do {
		o->block = nhot && rand() % 2 ? hot[(unsigned)rand() % nhot]
					      : (unsigned)rand() % blocks;
	} while (busy[o->block] && ++tries < 20);
	if (busy[o->block])
		return;
	busy[o->block] = true;
	o->write = !acked[o->block] || rand() % 2;
	if (o->write) {
		o->version = ++given[o->block];
		fill(o->buf, o->block, o->version);
	}
	o->start = now_ms();
	o->tries = 0;
	o->held = false;
	o->state = QUEUED;
}

static void dispatch(bool more)
{
	int64_t now = now_ms();

	for (unsigned i = 0; i < depth; i++) {
		struct io *o = &io[i];

		if (o->state == FREE && more)
			next_io(o);
		if (o->state == WAITING && now >= o->again && o->path->up)
			send_io(o->path, o);
		if (o->state == QUEUED) {
			struct path *p = choose();

			if (!p)
				break;
			p->load++;
			o->path = p;
			if (p->up && !p->broken)
				send_io(p, o);
			else
				block(o);
		}
		if (o->state == SENT && now - o->sent > LIVE_MAX_MS) {
			say("ERROR: path %u lives and has not answered block %u for %d s",
			    o->path->nr, o->block, LIVE_MAX_MS / 1000);
			wrong = true;
			stop = 1;
		}
	}
}

/* ---- sessions ---- */

static void teardown(struct path *p)
{
	p->destroying = true;
	if (p->ctx)
		iscsi_destroy_context(p->ctx);
	p->ctx = NULL;
	p->destroying = p->broken = p->up = p->connecting = p->checking = p->pinging = false;
}

/* Commands stay with the path, blocked. */
static void lost(struct path *p, const char *reason)
{
	int64_t now = now_ms();

	if (p->up)
		say("path %u: session lost (%s), %u commands on it", p->nr, reason, p->load);
	teardown(p);
	for (unsigned i = 0; i < depth; i++)
		if (io[i].path == p && io[i].state == WAITING)
			block(&io[i]);
	if (!p->lost) {
		p->lost = now;
		p->relogin = now;
	} else {
		p->relogin = now + RELOGIN_MS;
	}
}

static void on_login(struct iscsi_context *ctx, int status, void *data, void *arg)
{
	struct path *p = arg;
	unsigned n = 0;

	if (p->destroying)
		return;
	if (status != SCSI_STATUS_GOOD) {
		if (p->relogins++ < RELOGINS_LOG)
			say("path %u: no login: %s", p->nr, iscsi_get_error(ctx));
		p->broken = true;
		return;
	}
	p->connecting = false;
	p->up = true;
	p->heard = now_ms();
	p->relogins = 0;
	for (unsigned i = 0; i < depth; i++)
		if (io[i].path == p && io[i].state == BLOCKED) {
			send_io(p, &io[i]);
			n++;
		}
	if (p->lost)
		say("path %u: session is back after %" PRId64 " ms, %u commands again", p->nr,
		    p->heard - p->lost, n);
	p->lost = 0;
	p->check = p->failed ? p->heard : p->heard + conf.polling_ms;
}

static void login(struct path *p)
{
	struct iscsi_url *u;

	p->ctx = iscsi_create_context("iqn.2011-06.org.vmstore:mpath");
	u = p->ctx ? iscsi_parse_full_url(p->ctx, p->url) : NULL;
	if (!u) {
		fprintf(stderr, "mpath_rules: %s: not an iscsi:// URL\n", p->url);
		exit(2);
	}
	p->lun = u->lun;
	/* as iscsid: the same session each time, which the target reinstates */
	iscsi_set_isid_oui(p->ctx, 0x1234, p->nr);
	iscsi_set_targetname(p->ctx, u->target);
	iscsi_set_session_type(p->ctx, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(p->ctx, ISCSI_HEADER_DIGEST_NONE);
	iscsi_set_noautoreconnect(p->ctx, 1);
	p->connecting = true;
	p->login_since = now_ms();
	if (iscsi_full_connect_async(p->ctx, u->portal, u->lun, on_login, p))
		p->broken = true;
	iscsi_destroy_url(u);
}

static void on_ping(struct iscsi_context *ctx, int status, void *data, void *arg)
{
	struct path *p = arg;

	p->pinging = false;
	if (status == SCSI_STATUS_CANCELLED)
		p->broken = true;
}

static void on_check(struct iscsi_context *ctx, int status, void *data, void *arg)
{
	struct path *p = arg;
	struct scsi_task *t = data;

	p->checking = false;
	if (t)
		scsi_free_scsi_task(t);
	if (p->destroying)
		return;
	if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR) {
		p->broken = true;
	} else if (status == SCSI_STATUS_GOOD) {
		if (p->failed)
			say("path %u: reinstated", p->nr);
		p->failed = false;
	} else if (!p->failed && t && t->sense.key != SCSI_SENSE_UNIT_ATTENTION) {
		fail_path(p, "the checker says so");
	}
}

static void timers(struct path *p)
{
	int64_t now = now_ms();

	if (p->ctx && (p->broken || iscsi_get_fd(p->ctx) < 0))
		lost(p, "closed");
	if (p->up) {
		int64_t silent = now - p->heard;

		if (silent >= conf.noop_interval_ms + conf.noop_timeout_ms && p->pinging)
			lost(p, "no answer to pings");
		else if (silent >= conf.noop_interval_ms && !p->pinging)
			p->pinging = !iscsi_nop_out_async(p->ctx, on_ping, NULL, 0, p);
	}
	if (p->connecting && now - p->login_since > conf.login_ms)
		lost(p, "no answer to the login");
	if (!p->ctx && now >= p->relogin)
		login(p);
	if (p->lost && !p->failed && now - p->lost >= conf.recovery_ms)
		fail_path(p, "recovery timed out");
	if (p->up && !p->checking && now >= p->check) {
		p->check = now + conf.polling_ms;
		p->checking = iscsi_testunitready_task(p->ctx, p->lun, on_check, p) != NULL;
	}
}

/* ---- the run ---- */

static void paths_left(void)
{
	int64_t now = now_ms();

	for (unsigned i = 0; i < npaths; i++)
		if (!path[i].failed) {
			no_path_since = 0;
			return;
		}
	if (!no_path_since)
		say("no path is left");
	no_path_since = no_path_since ? no_path_since : now;
	if (conf.no_path_retry >= 0 && now - no_path_since > conf.no_path_retry * conf.polling_ms) {
		say("ERROR: no path for %" PRId64 " rounds: guests see errors", conf.no_path_retry);
		wrong = true;
		stop = 1;
	}
}

static void serve(int wait_ms)
{
	struct pollfd pfd[PATHS_MAX];

	for (unsigned i = 0; i < npaths; i++)
		pfd[i] = (struct pollfd){
			.fd = path[i].ctx ? iscsi_get_fd(path[i].ctx) : -1,
			.events = path[i].ctx ? (short)iscsi_which_events(path[i].ctx) : 0};
	if (poll(pfd, npaths, wait_ms) < 0 && errno != EINTR)
		exit(2);
	for (unsigned i = 0; i < npaths; i++) {
		struct path *p = &path[i];

		if (!p->ctx || pfd[i].fd < 0 || !pfd[i].revents)
			continue;
		if (pfd[i].revents & POLLIN)
			p->heard = now_ms();
		if (iscsi_service(p->ctx, pfd[i].revents))
			p->broken = true;
	}
}

static void end_phase(void)
{
	int64_t now = now_ms(), may;

	if (now - last_answer > phase_gap)
		phase_gap = now - last_answer;
	for (unsigned i = 0; i < depth; i++) {
		int64_t ms = io[i].state != FREE ? now - io[i].start : 0;

		phase_io = ms > phase_io ? ms : phase_io;
		phase_free = ms > phase_free && !io[i].held ? ms : phase_free;
	}
	may = conf.noop_interval_ms + conf.noop_timeout_ms + conf.recovery_ms + phase_free +
	      phase_pause;
	may = may > limit_ms ? may : limit_ms;
	if (phase_io > longest_io)
		longest_io = phase_io;
	if (phase_gap > longest_gap)
		longest_gap = phase_gap;
	say("phase %u: %" PRIu64 " answers, longest command %" PRId64
	    " ms, longest time without any answer %" PRId64 " ms; held by no lost path %" PRId64
	    " ms, own pause %" PRId64 " ms%s",
	    phase++, phase_answers, phase_io, phase_gap, phase_free, phase_pause,
	    phase_io > may ? ", TOO LONG" : "");
	too_long |= phase_io > may;
	phase_io = phase_gap = phase_free = phase_pause = 0;
	phase_answers = 0;
}

static void run(int64_t until)
{
	unsigned left = 1;
	int64_t turn_ms;

	last_answer = turn_ms = now_ms();
	while (left) {
		int64_t pause = now_ms() - turn_ms - POLL_MS;

		turn_ms += pause + POLL_MS;
		if (pause > phase_pause)
			phase_pause = pause;
		if (mark) {
			mark = 0;
			end_phase();
		}
		if (until && now_ms() >= until)
			stop = 1;
		for (unsigned i = 0; i < npaths; i++)
			timers(&path[i]);
		paths_left();
		dispatch(!stop);
		serve(POLL_MS);
		/* what is under way ends by the same rules; a hang must not */
		left = !stop;
		for (unsigned i = 0; stop && i < depth; i++) {
			left += io[i].state != FREE;
			if (io[i].state != FREE && now_ms() - io[i].start > 10 * limit_ms) {
				say("ERROR: block %u has waited for %" PRId64 " ms", io[i].block,
				    now_ms() - io[i].start);
				wrong = true;
				return;
			}
		}
	}
}

/* One block through one path, which has its session again first if it was lost; the other
 * paths' pings are answered meanwhile. */
static struct scsi_task *check_read(struct path *p, unsigned block)
{
	for (int tries = 0; tries < CHECK_TRIES; tries++) {
		struct scsi_task *t;

		for (unsigned k = 0; k < npaths; k++)
			timers(&path[k]);
		serve(p->up ? 0 : POLL_MS);
		if (!p->up || p->broken)
			continue;
		t = iscsi_read10_sync(p->ctx, p->lun, block * STRIDE, BYTES, 512, 0, 0, 0, 0, 0);
		if (t && t->status == SCSI_STATUS_GOOD && t->datain.size == (int)BYTES)
			return t;
		if (t && t->status == SCSI_STATUS_CHECK_CONDITION &&
		    t->sense.key != SCSI_SENSE_UNIT_ATTENTION)
			say("block %u through path %u: sense %x/%04x", block, p->nr, t->sense.key,
			    t->sense.ascq);
		if (t)
			scsi_free_scsi_task(t);
		else
			p->broken = true;
		serve(POLL_MS);
	}
	return NULL;
}

/* Everything once more, through each path. */
static void check_all(void)
{
	for (unsigned k = 0; k < npaths; k++)
		for (unsigned b = 0; b < blocks; b++) {
			struct io o = {.block = b, .path = &path[k]};
			struct scsi_task *t = acked[b] ? check_read(&path[k], b) : NULL;

			if (!acked[b])
				continue;
			if (!t) {
				say("ERROR: block %u cannot be read through path %u", b,
				    path[k].nr);
				wrong = true;
				break;
			}
			memcpy(o.buf, t->datain.data, BYTES);
			verify(&o);
			scsi_free_scsi_task(t);
		}
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"seconds", 1, NULL, 's'}, {"limit", 1, NULL, 'l'},
		{"depth", 1, NULL, 'd'},   {"blocks", 1, NULL, 'b'},
		{"poll", 1, NULL, 'p'},	   {"round-robin", 0, NULL, 'r'},
		{"iscsid", 1, NULL, 'i'},  {"multipath", 1, NULL, 'm'},
		{NULL, 0, NULL, 0}};
	const char *iscsid = NULL, *multipath = NULL;
	int64_t seconds = 0, poll_ms = 0;
	char why[256];
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) >= 0)
		switch (c) {
		case 's':
			seconds = atoll(optarg);
			break;
		case 'l':
			limit_ms = atoll(optarg);
			break;
		case 'd':
			depth = (unsigned)atoi(optarg);
			break;
		case 'b':
			blocks = (unsigned)atoi(optarg);
			break;
		case 'p':
			poll_ms = atoll(optarg);
			break;
		case 'r':
			round_robin = true;
			break;
		case 'i':
			iscsid = optarg;
			break;
		case 'm':
			multipath = optarg;
			break;
		default:
			return 2;
		}
	npaths = (unsigned)(argc - optind);
	if (!iscsid || !multipath || npaths < 2 || npaths > PATHS_MAX || !depth ||
	    depth > DEPTH_MAX || blocks < depth || blocks > BLOCKS_MAX) {
		fprintf(stderr, "mpath_rules: wrong use, see tests/it/mpath_rules.c\n");
		return 2;
	}
	if (mpath_conf_load(iscsid, multipath, &conf, why)) {
		fprintf(stderr, "mpath_rules: %s\n", why);
		return 2;
	}
	conf.polling_ms = poll_ms ? poll_ms : conf.polling_ms;
	round_robin |= !conf.service_time;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGUSR1, on_signal);
	signal(SIGPIPE, SIG_IGN);
	t0 = now_ms();
	for (unsigned i = 0; i < npaths; i++) {
		path[i].nr = i + 1;
		path[i].url = argv[optind + (int)i];
		login(&path[i]);
	}
	run(seconds ? t0 + seconds * 1000 : 0);
	end_phase();
	check_all();
	for (unsigned i = 0; i < npaths; i++)
		teardown(&path[i]);
	say("%" PRIu64 " answers, longest command %" PRId64
	    " ms, longest time without any answer %" PRId64 " ms, %s",
	    nanswers, longest_io, longest_gap, wrong ? "WRONG" : "0 wrong");
	return wrong ? 1 : too_long ? 3 : 0;
}
