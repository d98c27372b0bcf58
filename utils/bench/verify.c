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
#include "utils/bench/bench.h"
#include "utils/bench/gap.h"
#include "utils/bench/journal.h"
#include "utils/bench/model.h"
#include "utils/lib/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define BLOCK	      VMS_MODEL_BLOCK_BYTES
#define OP_BLOCKS_MAX 1024u /* 512 KiB */
#define PIECE_BLOCKS  8192u /* a write beyond a multiple of 4 MiB is in several pieces */
#define NS_PER_MS     1000000ull

static const char help[] =
	"Usage: vmstore-bench verify [OPTIONS] URL...\n"
	"\n"
	"Write stamped blocks through several sessions, over one or more URLs of the same\n"
	"LUN, and check every read: nothing acknowledged lost, nothing torn, nothing stale.\n"
	"\n"
	"  --seconds S       how long (10)\n"
	"  --ops N           or until N commands were answered\n"
	"  --sessions N      sessions, spread over the URLs (4)\n"
	"  --depth N         outstanding commands per session (8)\n"
	"  --offset SIZE     first byte used (0)\n"
	"  --span SIZE       bytes used from there (64M)\n"
	"  --write PERCENT   share of writes (50)\n"
	"  --zero PERCENT    share of the writes that are UNMAP or WRITE SAME of zeros (0)\n"
	"  --caw PERCENT     share of the writes that are READ, then COMPARE AND WRITE of\n"
	"                    one chunk or logical block (0)\n"
	"  --hot PERCENT     share of commands in the span's first MiB (25)\n"
	"  --max-bs SIZE     largest command, 512 to 512k (512k)\n"
	"  --flush-every N   SYNCHRONIZE CACHE after about N commands; 0 never (64)\n"
	"  --seed N          of the load (from the clock)\n"
	"  --fresh           unwritten blocks of the LUN must read as zeros\n"
	"  --no-overlap      never two commands on the same block at a time\n"
	"  --atomic WHAT     chunk: no read sees half a write in a chunk; block (chunk)\n"
	"  --failover-ms N   an unknown write takes effect within this time of losing its\n"
	"                    connection, or never; it is repeated only after it (5000)\n"
	"  --scale F         factor on the times above and below (1)\n"
	"  --ping-ms N       ping a session that was silent for so long (1500)\n"
	"  --ping-timeout-ms N  drop it when that was not answered for so long (3 x --ping-ms)\n"
	"  --login-ms N      give up a login that takes longer (10000)\n"
	"  --command-ms N    drop a session whose command takes longer (60000)\n"
	"  --give-up S       fail when nothing completes for so long (90)\n"
	"  --home-after S    a session that had to leave its URL tries it again after S\n"
	"                    seconds; 0: it stays where it is (0)\n"
	"  --progress MS     print how many commands, and writes, were answered this often (0,\n"
	"                    never)\n"
	"  --state FILE      journal of what was sent; continue it when it exists\n"
	"  --check-only      only check everything in the state file, through each URL\n"
	"  --no-final-check  skip the pass over everything at the end\n"
	"  --errors-ok       errors other than wrong data do not fail the run\n"
	"  --quiet           only the result\n"
	"  --json FILE       result as JSON (- for stdout)\n"
	"\n"
	"The longest time without an answer, of all and of each URL while it had sessions, and\n"
	"the longest that one command took, repeated when it was answered BUSY, are printed at\n"
	"the end of the load; SIGUSR1 starts that measurement over.\n"
	"\n"
	"Exit code: 0 right, 1 wrong data, 2 usage, 3 errors or no progress, 4 state file.\n";

enum op_state { OP_IDLE, OP_SENT, OP_WAIT };
enum op_kind {
	OP_READ,
	OP_WRITE,
	OP_ZERO,     /* UNMAP, WRITE SAME */
	OP_CAW_READ, /* first half of a COMPARE AND WRITE: what is there? */
	OP_CAW,
	OP_FLUSH,
};
enum sess_state { S_DOWN, S_CONNECTING, S_UP };

struct op {
	struct ver *v;
	struct vsess *sess; /* while sent */
	struct scsi_task *task;
	enum op_state state;
	enum op_kind kind;
	uint64_t lba;
	uint32_t n;
	uint64_t seq;
	uint64_t start;	     /* model time */
	uint64_t first;	     /* when it was sent for the first time */
	uint64_t not_before; /* OP_WAIT */
	unsigned char *buf;
};

struct vsess {
	struct ver *v;
	struct iscsi_context *ctx;
	enum sess_state state;
	unsigned index, url;
	int lun;
	unsigned in_flight;
	uint64_t since; /* of the state */
	uint64_t next_try;
	uint64_t heard;	 /* last answer */
	uint64_t pinged; /* a ping is under way since then; 0: none */
	bool leaving;	 /* gets no more commands, goes home when the last one is answered */
	const char *why; /* dead by this program's decision; NULL: libiscsi's */
	bool dead;	 /* to be torn down by the loop, never inside a callback */
};

struct ver {
	/* options */
	double seconds;
	uint64_t ops_max;
	unsigned n_sess, depth;
	uint64_t offset_bytes, span_bytes;
	unsigned write_percent, hot_percent, zero_percent, caw_percent;
	uint32_t max_blocks;
	unsigned flush_every;
	uint64_t seed;
	bool fresh, no_overlap, chunk_atomic, check_only, final_check, errors_ok, quiet;
	double failover_ms, scale, ping_ms, ping_timeout_ms, login_ms, command_ms, give_up_s,
		home_s, progress_ms;
	const char *state_file, *json_file;
	char **url;
	unsigned n_url;

	/* state */
	struct vms_model *m;
	struct vms_journal *j;
	struct vsess *sess;
	struct op *op;
	unsigned n_op;
	uint64_t rnd;
	uint64_t seq;
	uint64_t time_base, time_last;
	uint64_t lba_first, blocks;
	uint64_t last_done;
	bool stopping;
	bool pinned; /* a check pass: every session stays on url_pin */
	unsigned url_pin;
	bool checking;
	uint64_t check_next; /* LBA */
	struct vms_gap *gap; /* per URL, while a session is up there; the last one: of all */
	unsigned *up;	     /* sessions up per URL */

	/* figures */
	uint64_t reads, writes, zeros, caws, miscompares, flushes, busy, aborted, attention, lost,
		unknown, errors, wrong, logins;
	struct vms_hist lat;
	uint64_t slowest_ns;  /* from a command's first send to its success, BUSY and all */
	uint64_t slowest_end; /* when that was */
};

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

/* The model's clock: strictly increasing, and above all of an earlier run's. */
static uint64_t now_of(struct ver *v)
{
	uint64_t t = v->time_base + vms_bench_now();

	if (t <= v->time_last)
		t = v->time_last + 1;
	v->time_last = t;
	return t;
}

static uint64_t ns_of(const struct ver *v, double ms)
{
	return (uint64_t)(ms * v->scale * 1e6);
}

/* ---- sessions ---- */

static void settle_unknown(struct op *o);

static void sess_down(struct vsess *s)
{
	struct ver *v = s->v;

	if (s->state == S_UP && --v->up[s->url] == 0)
		vms_gap_end(&v->gap[s->url], vms_bench_now());
	if (s->state == S_UP && !s->leaving) {
		v->lost++;
		if (!v->quiet)
			printf("session %u: lost its connection to %s: %s\n", s->index,
			       v->url[s->url], s->why ? s->why : iscsi_get_error(s->ctx));
	}
	if (s->ctx)
		iscsi_destroy_context(s->ctx); /* ends every command: CANCELLED */
	/* ... but for those of a session that has logged out as the target asked */
	for (unsigned i = 0; i < v->n_op; i++)
		if (v->op[i].sess == s) {
			v->op[i].sess = NULL;
			scsi_free_scsi_task(v->op[i].task);
			s->in_flight--;
			settle_unknown(&v->op[i]);
		}
	s->ctx = NULL;
	s->why = NULL;
	s->dead = false;
	s->state = S_DOWN;
	s->since = vms_bench_now();
	s->next_try = s->since + 300 * NS_PER_MS;
	if (v->pinned)
		s->url = v->url_pin;
	else
		s->url = s->leaving ? s->index % v->n_url : (s->url + 1) % v->n_url;
	s->leaving = false;
}

static void login_cb(struct iscsi_context *ctx, int status, void *data, void *private_data)
{
	struct vsess *s = private_data;

	(void)ctx;
	(void)data;
	if (status == SCSI_STATUS_CANCELLED || s->state != S_CONNECTING)
		return;
	if (status != SCSI_STATUS_GOOD) {
		s->dead = true;
		return;
	}
	s->state = S_UP;
	s->since = s->heard = vms_bench_now();
	if (s->v->up[s->url]++ == 0 && !s->v->checking)
		vms_gap_begin(&s->v->gap[s->url], s->since);
	s->pinged = 0;
	s->v->logins++;
}

static void sess_connect(struct vsess *s)
{
	struct ver *v = s->v;
	struct iscsi_url *u;
	char name[96];

	snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:verify-%d-%u", (int)getpid(),
		 s->index);
	s->since = vms_bench_now();
	s->next_try = s->since + 500 * NS_PER_MS;
	s->ctx = iscsi_create_context(name);
	if (!s->ctx)
		return;
	u = iscsi_parse_full_url(s->ctx, v->url[s->url]);
	if (!u) {
		vms_bench_err("%s: not an iSCSI URL", v->url[s->url]);
		exit(VMS_BENCH_USAGE);
	}
	iscsi_set_noautoreconnect(s->ctx, 1);
	iscsi_set_targetname(s->ctx, u->target);
	iscsi_set_session_type(s->ctx, ISCSI_SESSION_NORMAL);
	if (u->user[0])
		iscsi_set_initiator_username_pwd(s->ctx, u->user, u->passwd);
	s->lun = u->lun;
	s->state = S_CONNECTING;
	if (iscsi_full_connect_async(s->ctx, u->portal, u->lun, login_cb, s))
		s->dead = true;
	iscsi_destroy_url(u);
}

static void ping_cb(struct iscsi_context *ctx, int status, void *data, void *private_data)
{
	struct vsess *s = private_data;

	(void)ctx;
	(void)data;
	s->pinged = 0;
	if (status == SCSI_STATUS_GOOD)
		s->heard = vms_bench_now();
}

static void sess_timers(struct vsess *s, uint64_t now)
{
	struct ver *v = s->v;

	switch (s->state) {
	case S_DOWN:
		if (now >= s->next_try)
			sess_connect(s);
		break;
	case S_CONNECTING:
		if (now - s->since > ns_of(v, v->login_ms))
			s->dead = true;
		break;
	case S_UP:
		/* as open-iscsi does: one ping at a time, any answer counts */
		if (s->pinged && s->heard > s->pinged)
			s->pinged = 0;
		if (s->pinged && now - s->pinged > ns_of(v, v->ping_timeout_ms)) {
			s->dead = true;
			s->why = "no answer to pings";
		} else if (!s->pinged && now > s->heard && now - s->heard > ns_of(v, v->ping_ms)) {
			s->pinged = now;
			if (iscsi_nop_out_async(s->ctx, ping_cb, NULL, 0, s))
				s->dead = true;
		}
		if (v->home_s > 0 && !v->pinned && s->url != s->index % v->n_url &&
		    now - s->since > (uint64_t)(v->home_s * 1e9))
			s->leaving = true;
		if (s->leaving && !s->in_flight)
			s->dead = true;
		break;
	}
}

/* ---- commands ---- */

static bool is_write(const struct op *o)
{
	return o->kind == OP_WRITE || o->kind == OP_ZERO || o->kind == OP_CAW;
}

static bool is_read(const struct op *o)
{
	return o->kind == OP_READ || o->kind == OP_CAW_READ;
}

/* It returned nothing. A COMPARE AND WRITE reads too. */
static void cancel_read(struct op *o)
{
	if (is_read(o) || o->kind == OP_CAW)
		vms_model_read_cancel(o->v->m, o->lba, o->n);
}

static void settle_unknown(struct op *o)
{
	struct ver *v = o->v;

	cancel_read(o);
	if (is_write(o)) {
		uint64_t deadline = now_of(v) + ns_of(v, v->failover_ms);

		vms_model_write_lost(v->m, o->seq, o->lba, o->n, deadline);
		if (v->j)
			vms_journal_add(v->j, 'L', o->seq, o->lba, o->n, deadline, 0);
		v->unknown++;
		o->not_before = vms_bench_now() + ns_of(v, v->failover_ms);
		if (o->kind == OP_CAW) /* what it compares with is old by then */
			o->kind = OP_WRITE;
	} else {
		o->not_before = vms_bench_now();
	}
	o->state = OP_WAIT;
}

static bool in_pieces(const struct op *o)
{
	return is_write(o) && o->lba / PIECE_BLOCKS != (o->lba + o->n - 1) / PIECE_BLOCKS;
}

/* Some of its pieces may be applied, none will be any more: repeated like any BUSY. */
static void settle_partly(struct op *o)
{
	struct ver *v = o->v;
	uint64_t now = now_of(v);

	vms_model_write_lost(v->m, o->seq, o->lba, o->n, now);
	if (v->j)
		vms_journal_add(v->j, 'L', o->seq, o->lba, o->n, now, 0);
	o->not_before = vms_bench_now() + 50 * NS_PER_MS;
	o->state = OP_WAIT;
}

static void not_applied(struct op *o)
{
	struct ver *v = o->v;

	cancel_read(o);
	if (is_write(o)) {
		unsigned seen = vms_model_write_refused(v->m, o->seq, o->lba, o->n);

		if (v->j)
			vms_journal_add(v->j, 'X', o->seq, o->lba, o->n, 0, 0);
		if (seen) {
			v->wrong += seen;
			fprintf(stderr,
				"WRONG: write seq %" PRIu64 " (LBA %" PRIu64
				", %u blocks) was refused, but %u of its blocks had been read\n",
				o->seq, o->lba, o->n, seen);
		}
	}
}

static void settle_refused(struct op *o)
{
	not_applied(o);
	if (o->kind == OP_CAW)
		o->kind = OP_CAW_READ;
	o->state = OP_WAIT;
	o->not_before = vms_bench_now() + 50 * NS_PER_MS;
}

static const char *kind_name(enum op_kind k)
{
	static const char *const name[] = {"READ",
					   "WRITE",
					   "UNMAP or WRITE SAME",
					   "READ",
					   "COMPARE AND WRITE",
					   "SYNCHRONIZE CACHE"};

	return name[k];
}

static const char *sense_text(const struct scsi_task *task)
{
	const char *t = scsi_sense_key_str((int)task->sense.key);

	return t ? t : "-";
}

/* An answered error: the command is over, a write applied in part, whole or not. */
static void settle_error(struct op *o, const struct scsi_task *task, int status)
{
	struct ver *v = o->v;

	if (v->errors++ < 20)
		fprintf(stderr,
			"ERROR: %s of %u blocks at LBA %" PRIu64
			" after %.0f ms: status %#x, sense key %#x asc/ascq %#06x (%s)\n",
			kind_name(o->kind), o->n, o->lba, (double)(now_of(v) - o->start) / 1e6,
			status, task ? (unsigned)task->sense.key : 0,
			task ? (unsigned)task->sense.ascq : 0,
			task ? sense_text(task) : "no answer");
	cancel_read(o);
	if (is_write(o)) {
		uint64_t t = now_of(v);

		vms_model_write_lost(v->m, o->seq, o->lba, o->n, t);
		if (v->j)
			vms_journal_add(v->j, 'L', o->seq, o->lba, o->n, t, 0);
	}
	o->state = OP_IDLE;
}

static void done_cb(struct iscsi_context *ctx, int status, void *command_data, void *private_data)
{
	struct op *o = private_data;
	struct ver *v = o->v;
	struct vsess *s = o->sess;
	struct scsi_task *task = command_data;
	uint64_t wall = vms_bench_now(), now;

	(void)ctx;
	s->in_flight--;
	o->sess = NULL;
	switch (status) {
	case SCSI_STATUS_GOOD:
		s->heard = v->last_done = wall;
		if (!v->checking) {
			vms_gap_mark(&v->gap[s->url], wall);
			vms_gap_mark(&v->gap[v->n_url], wall);
		}
		now = now_of(v);
		vms_hist_add(&v->lat, now - o->start);
		if (wall - o->first > v->slowest_ns) {
			v->slowest_ns = wall - o->first;
			v->slowest_end = wall;
		}
		o->state = OP_IDLE;
		if (is_write(o)) {
			v->writes++;
			v->zeros += o->kind == OP_ZERO;
			if (o->kind == OP_CAW) {
				v->caws++;
				v->wrong += vms_model_compared(v->m, o->lba, o->n, o->buf, o->start,
							       now, stderr);
			}
			vms_model_write_done(v->m, o->seq, o->lba, o->n, now);
			if (v->j)
				vms_journal_add(v->j, 'A', o->seq, o->lba, o->n, now, 0);
		} else if (is_read(o)) {
			v->reads++;
			if (task && task->residual_status != SCSI_RESIDUAL_NO_RESIDUAL) {
				settle_error(o, task, status);
				break;
			}
			v->wrong += vms_model_read_end(v->m, o->lba, o->n, o->buf, o->start, now,
						       stderr);
			if (o->kind == OP_CAW_READ) {
				o->kind = OP_CAW;
				o->state = OP_WAIT;
				o->not_before = 0;
			}
		} else {
			v->flushes++;
		}
		break;
	case SCSI_STATUS_BUSY:
	case SCSI_STATUS_TASK_SET_FULL:
		s->heard = wall;
		v->busy++;
		if (in_pieces(o) && status == SCSI_STATUS_BUSY)
			settle_partly(o);
		else
			settle_refused(o);
		break;
	case SCSI_STATUS_CHECK_CONDITION:
		s->heard = wall;
		if (task && task->sense.key == SCSI_SENSE_UNIT_ATTENTION) {
			v->attention++;
			settle_refused(o);
		} else if (task && task->sense.key == SCSI_SENSE_COMMAND_ABORTED) {
			/* Applied in part, whole or not; initiators repeat it. */
			v->aborted++;
			settle_unknown(o);
		} else if (task && o->kind == OP_CAW && task->sense.key == SCSI_SENSE_MISCOMPARE) {
			v->miscompares++;
			v->last_done = wall;
			not_applied(o);
			o->state = OP_IDLE;
		} else {
			settle_error(o, task, status);
		}
		break;
	case SCSI_STATUS_TASK_ABORTED:
		s->heard = wall;
		v->aborted++;
		settle_unknown(o);
		break;
	case SCSI_STATUS_CANCELLED:
	case SCSI_STATUS_ERROR:
	case SCSI_STATUS_TIMEOUT:
		s->dead = true;
		settle_unknown(o);
		break;
	default:
		settle_error(o, task, status);
	}
	if (task)
		scsi_free_scsi_task(task);
}

static bool overlaps(const struct ver *v, const struct op *self, uint64_t lba, uint32_t n)
{
	for (unsigned i = 0; i < v->n_op; i++) {
		const struct op *o = &v->op[i];

		if (o == self || o->state == OP_IDLE || o->kind == OP_FLUSH)
			continue;
		if (lba < o->lba + o->n && o->lba < lba + n)
			return true;
	}
	return false;
}

/* Sizes from one logical block to 512 KiB, half of them not chunk-aligned. */
static void choose_range(struct ver *v, struct op *o)
{
	uint64_t r = vms_bench_rand(&v->rnd);
	unsigned kind = r % 100;
	uint64_t span = v->blocks;
	uint32_t n, align = 1;

	r >>= 8;
	if (kind < 25) {
		n = 1 + (uint32_t)(r % 7);
	} else if (kind < 55) {
		n = 8;
		align = 8;
	} else if (kind < 75) {
		n = 8 * (1 + (uint32_t)(r % 16));
		align = 8;
	} else if (kind < 95) {
		n = 1 + (uint32_t)(r % 256);
	} else {
		n = OP_BLOCKS_MAX;
		align = kind < 97 ? 1 : 1024;
	}
	if (n > v->max_blocks)
		n = v->max_blocks;
	r = vms_bench_rand(&v->rnd);
	if (r % 100 < v->hot_percent && span > 2048)
		span = 2048;
	if (n > span)
		n = (uint32_t)span;
	r = vms_bench_rand(&v->rnd) % (span - n + 1);
	o->lba = v->lba_first + r / align * align;
	o->n = n;
}

static bool choose(struct ver *v, struct op *o)
{
	if (v->checking) {
		uint64_t end = v->lba_first + v->blocks;

		if (v->check_next >= end)
			return false;
		o->kind = OP_READ;
		o->lba = v->check_next;
		o->n = end - o->lba > 512 ? 512 : (uint32_t)(end - o->lba);
		v->check_next += o->n;
		return true;
	}
	if (v->stopping)
		return false;
	if (v->flush_every && vms_bench_rand(&v->rnd) % v->flush_every == 0) {
		o->kind = OP_FLUSH;
		o->lba = 0;
		o->n = 0;
		return true;
	}
	o->kind = OP_READ;
	if (vms_bench_rand(&v->rnd) % 100 < v->write_percent) {
		unsigned r = vms_bench_rand(&v->rnd) % 100;

		o->kind = r < v->zero_percent			 ? OP_ZERO
			  : r < v->zero_percent + v->caw_percent ? OP_CAW_READ
								 : OP_WRITE;
	}
	for (int i = 0; i < 20; i++) {
		choose_range(v, o);
		if (o->kind == OP_CAW_READ) {
			o->n = o->n % 2 ? 1 : 8;
			if (o->n == 8)
				o->lba &= ~(uint64_t)7;
		}
		if (!v->no_overlap || !overlaps(v, o, o->lba, o->n))
			return true;
	}
	return false;
}

/* UNMAP, or WRITE SAME(16) of zeros with or without the UNMAP bit. */
static struct scsi_task *task_zero(struct op *o, uint64_t r, struct iscsi_data *data)
{
	memset(o->buf, 0, BLOCK);
	data->data = o->buf;
	if (r % 3 == 0) {
		o->buf[1] = 22; /* UNMAP data length, block descriptor length */
		o->buf[3] = 16;
		vms_put_be64(o->buf + 8, o->lba);
		vms_put_be32(o->buf + 16, o->n);
		data->size = 24;
		return scsi_cdb_unmap(0, 0, 24);
	}
	data->size = BLOCK;
	return scsi_cdb_writesame16(0, 0, r % 3 == 1, o->lba, 0, o->n, BLOCK);
}

static void send_op(struct vsess *s, struct op *o)
{
	struct ver *v = s->v;
	struct scsi_task *task;
	struct iscsi_data data = {0};
	uint64_t r = vms_bench_rand(&v->rnd);
	/* 10- and 16-byte CDBs alike */
	bool wide = r % 2 || o->lba + o->n > UINT32_MAX, fua;
	int len = (int)(o->n * BLOCK);

	o->start = now_of(v);
	switch (o->kind) {
	case OP_FLUSH:
		task = wide ? scsi_cdb_synchronizecache16(0, 0, 0, 0)
			    : scsi_cdb_synchronizecache10(0, 0, 0, 0);
		break;
	case OP_ZERO:
		task = task_zero(o, r / 2, &data);
		break;
	case OP_CAW: /* old, then new */
		task = scsi_cdb_compareandwrite(o->lba, (uint32_t)len * 2, BLOCK, 0, 0, 0, 0, 0);
		data.data = o->buf;
		data.size = (size_t)len * 2;
		break;
	case OP_WRITE:
		fua = r / 2 % 10 == 0;
		task = wide ? scsi_cdb_write16(o->lba, (uint32_t)len, BLOCK, 0, 0, fua, 0, 0)
			    : scsi_cdb_write10((uint32_t)o->lba, (uint32_t)len, BLOCK, 0, 0, fua, 0,
					       0);
		data.data = o->buf;
		data.size = (size_t)len;
		break;
	default:
		task = wide ? scsi_cdb_read16(o->lba, (uint32_t)len, BLOCK, 0, 0, 0, 0, 0)
			    : scsi_cdb_read10((uint32_t)o->lba, (uint32_t)len, BLOCK, 0, 0, 0, 0,
					      0);
	}
	if (!task) {
		vms_bench_err("out of memory");
		exit(VMS_BENCH_FAILED);
	}
	if (is_write(o)) {
		bool zero = o->kind == OP_ZERO;

		o->seq = ++v->seq;
		if (!zero)
			vms_model_stamp(v->m, o->kind == OP_CAW ? o->buf + len : o->buf, o->seq,
					s->index, o->lba, o->n);
		if (o->kind == OP_CAW)
			vms_model_read_begin(v->m, o->lba, o->n, o->start);
		vms_model_write_begin(v->m, o->seq, o->lba, o->n, o->start, zero);
		if (v->j) {
			vms_journal_add(v->j, zero ? 'Z' : 'W', o->seq, o->lba, o->n, o->start, 0);
			vms_journal_flush(v->j, false);
		}
	} else if (is_read(o)) {
		memset(o->buf, 0xa5, (size_t)len);
		vms_model_read_begin(v->m, o->lba, o->n, o->start);
		scsi_task_add_data_in_buffer(task, len, o->buf);
	}
	o->state = OP_SENT;
	o->task = task;
	o->sess = s;
	s->in_flight++;
	if (iscsi_scsi_command_async(s->ctx, s->lun, task, done_cb, data.size ? &data : NULL, o)) {
		/* Never left this process. */
		s->in_flight--;
		o->sess = NULL;
		scsi_free_scsi_task(task);
		settle_refused(o);
		s->dead = true;
	}
}

/* Give every free place of every session a command. Waiting ones go first. */
static void pump(struct ver *v)
{
	uint64_t now = vms_bench_now();
	unsigned from = v->n_op ? (unsigned)(vms_bench_rand(&v->rnd) % v->n_op) : 0;

	for (unsigned k = 0; k < v->n_op; k++) {
		struct op *o = &v->op[(from + k) % v->n_op];
		struct vsess *s = NULL;
		unsigned first;

		if (o->state == OP_SENT || (o->state == OP_WAIT && o->not_before > now))
			continue;
		first = (unsigned)(vms_bench_rand(&v->rnd) % v->n_sess);
		for (unsigned i = 0; i < v->n_sess && !s; i++) {
			struct vsess *c = &v->sess[(first + i) % v->n_sess];

			if (c->state == S_UP && !c->dead && !c->leaving && c->in_flight < v->depth)
				s = c;
		}
		if (!s)
			return;
		if (o->state == OP_WAIT) {
			send_op(s, o);
		} else if (choose(v, o)) {
			o->first = now;
			send_op(s, o);
		}
	}
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
	uint64_t limit = ns_of(v, v->command_ms), now = v->time_base + vms_bench_now();

	for (unsigned i = 0; i < v->n_op; i++) {
		struct op *o = &v->op[i];

		if (o->state == OP_SENT && now > o->start && now - o->start > limit) {
			if (!o->sess->dead)
				fprintf(stderr,
					"session %u: %s of %u blocks at LBA %" PRIu64
					" unanswered for %.0f s, dropping the session\n",
					o->sess->index, kind_name(o->kind), o->n, o->lba,
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
			sess_timers(&v->sess[i], now);
		if (v->sess[i].dead)
			sess_down(&v->sess[i]);
	}
	pump(v);
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
			sess_down(s);
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

static int parse(struct ver *v, int argc, char **argv)
{
	enum {
		A_SECONDS = 1,
		A_OPS,
		A_SESSIONS,
		A_DEPTH,
		A_OFFSET,
		A_SPAN,
		A_WRITE,
		A_HOT,
		A_ZERO,
		A_CAW,
		A_MAXBS,
		A_FLUSH,
		A_SEED,
		A_FRESH,
		A_NOOVER,
		A_ATOMIC,
		A_FAILOVER,
		A_SCALE,
		A_PING,
		A_PINGTIME,
		A_LOGIN,
		A_COMMAND,
		A_GIVEUP,
		A_HOME,
		A_PROGRESS,
		A_STATE,
		A_CHECK,
		A_NOFINAL,
		A_ERRORS,
		A_QUIET,
		A_JSON,
		A_HELP
	};
	static const struct option opts[] = {
		{"seconds", 1, NULL, A_SECONDS},
		{"ops", 1, NULL, A_OPS},
		{"sessions", 1, NULL, A_SESSIONS},
		{"depth", 1, NULL, A_DEPTH},
		{"offset", 1, NULL, A_OFFSET},
		{"span", 1, NULL, A_SPAN},
		{"write", 1, NULL, A_WRITE},
		{"hot", 1, NULL, A_HOT},
		{"zero", 1, NULL, A_ZERO},
		{"caw", 1, NULL, A_CAW},
		{"max-bs", 1, NULL, A_MAXBS},
		{"flush-every", 1, NULL, A_FLUSH},
		{"seed", 1, NULL, A_SEED},
		{"fresh", 0, NULL, A_FRESH},
		{"no-overlap", 0, NULL, A_NOOVER},
		{"atomic", 1, NULL, A_ATOMIC},
		{"failover-ms", 1, NULL, A_FAILOVER},
		{"scale", 1, NULL, A_SCALE},
		{"ping-ms", 1, NULL, A_PING},
		{"ping-timeout-ms", 1, NULL, A_PINGTIME},
		{"login-ms", 1, NULL, A_LOGIN},
		{"command-ms", 1, NULL, A_COMMAND},
		{"give-up", 1, NULL, A_GIVEUP},
		{"home-after", 1, NULL, A_HOME},
		{"progress", 1, NULL, A_PROGRESS},
		{"state", 1, NULL, A_STATE},
		{"check-only", 0, NULL, A_CHECK},
		{"no-final-check", 0, NULL, A_NOFINAL},
		{"errors-ok", 0, NULL, A_ERRORS},
		{"quiet", 0, NULL, A_QUIET},
		{"json", 1, NULL, A_JSON},
		{"help", 0, NULL, A_HELP},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		uint64_t n = 0;
		double d = -1;
		bool size_ok = optarg && !vms_bench_parse_size(optarg, &n);
		char *end = NULL;
		bool bad = false;

		if (optarg) {
			d = strtod(optarg, &end);
			if (end == optarg || *end)
				d = -1;
		}
		switch (c) {
		case A_SECONDS:
			v->seconds = d;
			bad = d < 0;
			break;
		case A_OPS:
			v->ops_max = n;
			bad = !size_ok;
			break;
		case A_SESSIONS:
			v->n_sess = (unsigned)n;
			bad = !size_ok || n < 1 || n > 512;
			break;
		case A_DEPTH:
			v->depth = (unsigned)n;
			bad = !size_ok || n < 1 || n > 512;
			break;
		case A_OFFSET:
			v->offset_bytes = n;
			bad = !size_ok || n % 4096;
			break;
		case A_SPAN:
			v->span_bytes = n;
			bad = !size_ok || n < 4096 || n % 4096;
			break;
		case A_WRITE:
			v->write_percent = (unsigned)n;
			bad = !size_ok || n > 100;
			break;
		case A_HOT:
			v->hot_percent = (unsigned)n;
			bad = !size_ok || n > 100;
			break;
		case A_ZERO:
			v->zero_percent = (unsigned)n;
			bad = !size_ok || n > 50;
			break;
		case A_CAW:
			v->caw_percent = (unsigned)n;
			bad = !size_ok || n > 50;
			break;
		case A_MAXBS:
			v->max_blocks = (uint32_t)(n / BLOCK);
			bad = !size_ok || n < BLOCK || n % BLOCK || n > OP_BLOCKS_MAX * BLOCK;
			break;
		case A_FLUSH:
			v->flush_every = (unsigned)n;
			bad = !size_ok || n > 1u << 30;
			break;
		case A_SEED:
			v->seed = n;
			bad = !size_ok;
			break;
		case A_FRESH:
			v->fresh = true;
			break;
		case A_NOOVER:
			v->no_overlap = true;
			break;
		case A_ATOMIC:
			bad = strcmp(optarg, "chunk") && strcmp(optarg, "block");
			v->chunk_atomic = !strcmp(optarg, "chunk");
			break;
		case A_FAILOVER:
			v->failover_ms = d;
			bad = d < 0;
			break;
		case A_SCALE:
			v->scale = d;
			bad = d <= 0;
			break;
		case A_PING:
			v->ping_ms = d;
			bad = d < 1;
			break;
		case A_PINGTIME:
			v->ping_timeout_ms = d;
			bad = d < 1;
			break;
		case A_LOGIN:
			v->login_ms = d;
			bad = d < 1;
			break;
		case A_COMMAND:
			v->command_ms = d;
			bad = d < 1;
			break;
		case A_GIVEUP:
			v->give_up_s = d;
			bad = d <= 0;
			break;
		case A_HOME:
			v->home_s = d;
			bad = d < 0;
			break;
		case A_PROGRESS:
			v->progress_ms = d;
			bad = d < 0;
			break;
		case A_STATE:
			v->state_file = optarg;
			break;
		case A_CHECK:
			v->check_only = true;
			break;
		case A_NOFINAL:
			v->final_check = false;
			break;
		case A_ERRORS:
			v->errors_ok = true;
			break;
		case A_QUIET:
			v->quiet = true;
			break;
		case A_JSON:
			v->json_file = optarg;
			break;
		case A_HELP:
			fputs(help, stdout);
			return 1;
		default:
			return -1;
		}
		if (bad) {
			vms_bench_err("verify: bad value '%s' for %s (see --help)", optarg,
				      argv[optind - 2]);
			return -1;
		}
	}
	if (optind == argc) {
		vms_bench_err("verify: no URL given: want iscsi://host:port/target/lun");
		return -1;
	}
	if (v->check_only && !v->state_file) {
		vms_bench_err("verify: --check-only needs --state FILE");
		return -1;
	}
	v->url = argv + optind;
	v->n_url = (unsigned)(argc - optind);
	return 0;
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
	switch (parse(v, argc, argv)) {
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
		sess_down(&v->sess[i]);
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
