// SPDX-License-Identifier: GPL-2.0-only
/*
 * history record: initiators over one or more gateways write down what they ask and
 * what they are answered. history check: is what they wrote down linearizable?
 *
 * Each write carries a number of its own in every word of its units; nothing is
 * ever sent twice, whatever became of it. Checking knows only the files.
 */
#include "tests/history/history.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define BLOCK	     512u
#define UNITS	     8u			 /* most units of one operation */
#define EXTENT_BYTES (UINT64_C(4) << 20) /* of it each piece of a write lies in one */
#define MS	     UINT64_C(1000000)

static const char help[] =
	"usage: history record --out FILE [OPTIONS] URL...\n"
	"       history check FILE...\n"
	"\n"
	"record: ask a LUN, fresh in the part used, through each URL and write down\n"
	"when which operation began, and how it ended.\n"
	"  --ops N, --seconds S   until then (10000; no limit)\n"
	"  --client N             number of this recorder; beside each other they need\n"
	"                         different ones (1)\n"
	"  --sessions N, --depth N   spread over the URLs (4); operations of each (4)\n"
	"  --first N, --units N   units used (0; 64)      --unit BYTES  of a unit (4096)\n"
	"  --write %, --zero %, --caw %   shares (35, 5, 10); the rest are reads\n"
	"  --bound-ms N           how long an operation without an answer may still take\n"
	"                         effect (10000)\n"
	"  --seed N\n"
	"check: exit code 0 linearizable, 1 not, 2 no histories, 3 undecided.\n";

enum sess_state { DOWN, CONNECTING, UP };

struct rec;

struct sess {
	struct rec *r;
	struct iscsi_context *ctx;
	enum sess_state state;
	unsigned url, home;
	int lun;
	unsigned busy;
	uint64_t since, heard, pinged;
	bool dead;
};

struct op {
	struct rec *r;
	struct sess *s; /* NULL: free */
	uint64_t id, value, expect;
	char kind; /* r w z c */
	uint32_t unit, n;
	unsigned char *buf;
};

struct rec {
	FILE *out;
	char **url;
	unsigned urls, sessions, depth, client;
	uint64_t ops_max, bound_ms, rnd, ids, started;
	uint32_t first, units, unit_bytes;
	unsigned write, zero, caw;
	double seconds;
	uint64_t *last; /* the value last seen of each unit */
	struct sess *sess;
	struct op *op;
	bool stopping;
	int64_t closing; /* -1, or the unit that the closing reads have come to */
	unsigned close_url;
	uint64_t ok, failed, unknown, errors;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t rnd(struct rec *r)
{
	uint64_t z = r->rnd += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* ---- contents ---- */

static uint64_t word_of(uint64_t value, uint32_t i)
{
	return i ? (value + i) * 0x9e3779b97f4a7c15ull : value;
}

static void fill(struct rec *r, unsigned char *p, uint64_t value)
{
	for (uint32_t i = 0; i < r->unit_bytes / 8; i++) {
		uint64_t w = value ? word_of(value, i) : 0;

		memcpy(p + i * 8, &w, 8);
	}
}

static uint64_t value_in(const struct rec *r, const unsigned char *p)
{
	uint64_t value, w;

	memcpy(&value, p, 8);
	for (uint32_t i = 1; i < r->unit_bytes / 8; i++) {
		memcpy(&w, p + i * 8, 8);
		if (w != (value ? word_of(value, i) : 0))
			return VMS_HISTORY_TORN;
	}
	return value;
}

/* ---- sessions ---- */

static void sess_down(struct sess *s)
{
	struct rec *r = s->r;

	if (s->ctx)
		iscsi_destroy_context(s->ctx); /* ends what it had under way: CANCELLED */
	s->ctx = NULL;
	s->dead = false;
	s->state = DOWN;
	s->since = now_ns();
	s->url = r->closing >= 0 ? r->close_url : (s->url + 1) % r->urls;
}

static void login_cb(struct iscsi_context *ctx, int status, void *data, void *arg)
{
	struct sess *s = arg;

	(void)ctx;
	(void)data;
	if (status == SCSI_STATUS_CANCELLED || s->state != CONNECTING)
		return;
	if (status != SCSI_STATUS_GOOD) {
		s->dead = true;
		return;
	}
	s->state = UP;
	s->since = s->heard = now_ns();
	s->pinged = 0;
}

static void sess_connect(struct sess *s)
{
	struct rec *r = s->r;
	struct iscsi_url *u;
	char name[96];

	snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:history-%u-%u", r->client,
		 (unsigned)(s - r->sess));
	s->since = now_ns();
	s->ctx = iscsi_create_context(name);
	if (!s->ctx)
		return;
	u = iscsi_parse_full_url(s->ctx, r->url[s->url]);
	if (!u) {
		fprintf(stderr, "history: %s is no iSCSI URL\n", r->url[s->url]);
		exit(2);
	}
	iscsi_set_noautoreconnect(s->ctx, 1);
	iscsi_set_targetname(s->ctx, u->target);
	iscsi_set_session_type(s->ctx, ISCSI_SESSION_NORMAL);
	s->lun = u->lun;
	s->state = CONNECTING;
	if (iscsi_full_connect_async(s->ctx, u->portal, u->lun, login_cb, s))
		s->dead = true;
	iscsi_destroy_url(u);
}

static void ping_cb(struct iscsi_context *ctx, int status, void *data, void *arg)
{
	struct sess *s = arg;

	(void)ctx;
	(void)data;
	if (status == SCSI_STATUS_GOOD)
		s->heard = now_ns();
}

static void sess_timers(struct sess *s, uint64_t now)
{
	if (s->state == DOWN && now - s->since > 300 * MS) {
		sess_connect(s);
	} else if (s->state == CONNECTING && now - s->since > 5000 * MS) {
		s->dead = true;
	} else if (s->state == UP && now - s->heard > 5000 * MS) {
		s->dead = true;
	} else if (s->state == UP && now - s->heard > 1000 * MS && now - s->pinged > 1000 * MS) {
		s->pinged = now;
		if (iscsi_nop_out_async(s->ctx, ping_cb, NULL, 0, s))
			s->dead = true;
	} else if (s->state == UP && s->url != s->home && !s->busy && s->r->closing < 0 &&
		   now - s->since > 3000 * MS) {
		s->url = s->home + s->r->urls - 1; /* sess_down goes one on */
		s->dead = true;
	}
}

/* ---- operations ---- */

static void done_cb(struct iscsi_context *ctx, int status, void *data, void *arg)
{
	struct op *o = arg;
	struct rec *r = o->r;
	struct sess *s = o->s;
	struct scsi_task *task = data;
	uint64_t t = now_ns();
	int key = task ? (int)task->sense.key : 0;

	(void)ctx;
	s->busy--;
	o->s = NULL;
	fprintf(r->out, "o %" PRIu64 " %" PRIu64, o->id, t);
	if (status == SCSI_STATUS_GOOD) {
		s->heard = t;
		r->ok++;
		fprintf(r->out, " ok");
		for (uint32_t i = 0; i < o->n; i++) {
			uint64_t v = o->kind == 'z' ? 0 : o->value;

			if (o->kind == 'r') {
				v = value_in(r, o->buf + (size_t)i * r->unit_bytes);
				if (v == VMS_HISTORY_TORN)
					fprintf(r->out, " torn");
				else
					fprintf(r->out, " %" PRIu64, v);
			}
			r->last[o->unit - r->first + i] = v;
		}
	} else if (status == SCSI_STATUS_CHECK_CONDITION && o->kind == 'c' &&
		   key == SCSI_SENSE_MISCOMPARE) {
		s->heard = t;
		r->ok++;
		fprintf(r->out, " miscompare");
	} else if (status == SCSI_STATUS_BUSY && (o->kind == 'w' || o->kind == 'z') &&
		   (uint64_t)o->unit * r->unit_bytes / EXTENT_BYTES !=
			   ((uint64_t)(o->unit + o->n) * r->unit_bytes - 1) / EXTENT_BYTES) {
		/* in several pieces: some may be applied, none will be any more */
		s->heard = t;
		r->failed++;
		fprintf(r->out, " unknown %" PRIu64, t);
	} else if (status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL ||
		   (status == SCSI_STATUS_CHECK_CONDITION && key == SCSI_SENSE_UNIT_ATTENTION)) {
		s->heard = t;
		r->failed++;
		fprintf(r->out, " fail");
	} else {
		r->unknown++;
		fprintf(r->out, " unknown %" PRIu64, t + r->bound_ms * MS);
		if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR ||
		    status == SCSI_STATUS_TIMEOUT) {
			s->dead = true;
		} else if (status != SCSI_STATUS_TASK_ABORTED &&
			   key != SCSI_SENSE_COMMAND_ABORTED) {
			r->errors++;
			fprintf(stderr,
				"ERROR: operation %" PRIu64 " (%c of unit %" PRIu32
				": status %#x, sense key %#x, asc/ascq %#06x\n",
				o->id, o->kind, o->unit, (unsigned)status, (unsigned)key,
				task ? (unsigned)task->sense.ascq : 0);
		}
	}
	fprintf(r->out, "\n");
	if (task)
		scsi_free_scsi_task(task);
}

static void choose(struct rec *r, struct op *o)
{
	uint64_t dice = rnd(r) % 100;

	o->n = 1 + (uint32_t)(rnd(r) % 4 ? 0 : rnd(r) % UNITS);
	if (o->n > r->units)
		o->n = r->units;
	/* half of all on an eighth of the units */
	o->unit = r->first +
		  (uint32_t)(rnd(r) % ((rnd(r) & 1 && r->units >= 16 ? r->units / 8 : r->units)));
	if (o->unit + o->n > r->first + r->units)
		o->unit = r->first + r->units - o->n;
	o->kind = dice < r->write		       ? 'w'
		  : dice < r->write + r->zero	       ? 'z'
		  : dice < r->write + r->zero + r->caw ? 'c'
						       : 'r';
	if (o->kind == 'c')
		o->n = 1;
}

static void send_op(struct rec *r, struct sess *s, struct op *o)
{
	uint32_t per = r->unit_bytes / BLOCK, blocks;
	uint64_t lba;
	struct iscsi_data data = {0};
	struct scsi_task *task;

	o->id = ++r->ids;
	o->value = (uint64_t)r->client << 40 | o->id;
	blocks = o->n * per;
	lba = (uint64_t)o->unit * per;
	data.data = o->buf;
	data.size = o->n * r->unit_bytes;
	fprintf(r->out, "i %" PRIu64 " ", o->id);
	switch (o->kind) {
	case 'r':
		task = scsi_cdb_read16(lba, data.size, BLOCK, 0, 0, 0, 0, 0);
		memset(o->buf, 0xa5, data.size);
		break;
	case 'w':
		for (uint32_t i = 0; i < o->n; i++)
			fill(r, o->buf + (size_t)i * r->unit_bytes, o->value);
		task = scsi_cdb_write16(lba, data.size, BLOCK, 0, 0, 0, 0, 0);
		break;
	case 'z':
		memset(o->buf, 0, BLOCK);
		if (rnd(r) & 1) {
			data.size = BLOCK;
			task = scsi_cdb_writesame16(0, 0, 0, lba, 0, blocks, BLOCK);
		} else {
			o->buf[1] = 22; /* UNMAP data length, block descriptor length */
			o->buf[3] = 16;
			for (unsigned i = 0; i < 8; i++)
				o->buf[8 + i] = (unsigned char)(lba >> (56 - 8 * i));
			o->buf[18] = (unsigned char)(blocks >> 8);
			o->buf[19] = (unsigned char)blocks;
			data.size = 24;
			task = scsi_cdb_unmap(0, 0, 24);
		}
		break;
	default:
		o->expect = r->last[o->unit - r->first];
		if (o->expect == VMS_HISTORY_TORN)
			o->expect = 0;
		fill(r, o->buf, o->expect);
		fill(r, o->buf + r->unit_bytes, o->value);
		data.size = 2 * r->unit_bytes;
		task = scsi_cdb_compareandwrite(lba, data.size, BLOCK, 0, 0, 0, 0, 0);
	}
	fprintf(r->out, "%" PRIu64 " %s %" PRIu32 " %" PRIu32, now_ns(),
		o->kind == 'r'	 ? "read"
		: o->kind == 'w' ? "write"
		: o->kind == 'z' ? "zero"
				 : "caw",
		o->unit, o->n);
	if (o->kind == 'c')
		fprintf(r->out, " %" PRIu64, o->expect);
	if (o->kind == 'w' || o->kind == 'c')
		fprintf(r->out, " %" PRIu64, o->value);
	fprintf(r->out, "\n");
	o->s = s;
	s->busy++;
	if (task && o->kind == 'r')
		scsi_task_add_data_in_buffer(task, (int)data.size, o->buf);
	if (task && !iscsi_scsi_command_async(s->ctx, s->lun, task, done_cb,
					      o->kind == 'r' ? NULL : &data, o))
		return;
	if (task)
		scsi_free_scsi_task(task);
	s->busy--;
	o->s = NULL;
	s->dead = true;
	r->failed++;
	fprintf(r->out, "o %" PRIu64 " %" PRIu64 " fail\n", o->id, now_ns());
}

static void pump(struct rec *r)
{
	for (unsigned i = 0; i < r->sessions * r->depth; i++) {
		struct op *o = &r->op[i];
		/* each place belongs to a session: its operations go that way */
		struct sess *s = &r->sess[i % r->sessions];

		if (o->s || s->state != UP || s->dead)
			continue;
		if (s->url != s->home && r->closing < 0 && now_ns() - s->since > 3000 * MS)
			continue; /* it is going home */
		if (r->closing >= 0) {
			if (r->closing >= r->units || s->url != r->close_url)
				continue;
			o->kind = 'r';
			o->unit = r->first + (uint32_t)r->closing;
			o->n = r->units - (uint32_t)r->closing < UNITS
				       ? r->units - (uint32_t)r->closing
				       : UNITS;
			r->closing += o->n;
		} else if (r->stopping) {
			continue;
		} else {
			choose(r, o);
		}
		send_op(r, s, o);
	}
}

static bool under_way(const struct rec *r)
{
	for (unsigned i = 0; i < r->sessions * r->depth; i++)
		if (r->op[i].s)
			return true;
	return false;
}

static void turn(struct rec *r, struct pollfd *pfd)
{
	for (unsigned i = 0; i < r->sessions; i++) {
		pfd[i] = (struct pollfd){.fd = -1};
		if (r->sess[i].ctx && !r->sess[i].dead) {
			pfd[i].fd = iscsi_get_fd(r->sess[i].ctx);
			pfd[i].events = (short)iscsi_which_events(r->sess[i].ctx);
		}
	}
	if (poll(pfd, r->sessions, 20) > 0)
		for (unsigned i = 0; i < r->sessions; i++)
			if (pfd[i].revents && r->sess[i].ctx &&
			    iscsi_service(r->sess[i].ctx, pfd[i].revents) < 0)
				r->sess[i].dead = true;
	for (unsigned i = 0; i < r->sessions; i++) {
		if (!r->sess[i].dead)
			sess_timers(&r->sess[i], now_ns());
		if (r->sess[i].dead)
			sess_down(&r->sess[i]);
	}
	pump(r);
}

/* At the end everything is read once through each URL. */
static int closing_reads(struct rec *r, struct pollfd *pfd)
{
	for (r->close_url = 0; r->close_url < r->urls; r->close_url++) {
		uint64_t from = now_ns();

		r->closing = 0;
		for (unsigned i = 0; i < r->sessions; i++)
			if (r->sess[i].url != r->close_url)
				sess_down(&r->sess[i]);
		while (r->closing < r->units || under_way(r)) {
			turn(r, pfd);
			if (now_ns() - from > 120000 * MS) {
				fprintf(stderr, "history: %s does not answer\n",
					r->url[r->close_url]);
				return -1;
			}
		}
	}
	return 0;
}

static int record(int argc, char **argv)
{
	static const struct option opts[] = {
		{"out", 1, NULL, 'o'},	    {"ops", 1, NULL, 'n'},	{"seconds", 1, NULL, 's'},
		{"client", 1, NULL, 'c'},   {"sessions", 1, NULL, 'S'}, {"depth", 1, NULL, 'd'},
		{"first", 1, NULL, 'f'},    {"units", 1, NULL, 'u'},	{"unit", 1, NULL, 'U'},
		{"write", 1, NULL, 'w'},    {"zero", 1, NULL, 'z'},	{"caw", 1, NULL, 'C'},
		{"bound-ms", 1, NULL, 'b'}, {"seed", 1, NULL, 'r'},	{NULL, 0, NULL, 0},
	};
	struct rec r = {.sessions = 4,
			.depth = 4,
			.client = 1,
			.ops_max = 10000,
			.bound_ms = 10000,
			.units = 64,
			.unit_bytes = 4096,
			.write = 35,
			.zero = 5,
			.caw = 10,
			.closing = -1,
			.rnd = now_ns(),
			.started = now_ns()};
	struct pollfd *pfd;
	int c, rc;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		uint64_t n = c != 'o' && c != '?' ? strtoull(optarg, NULL, 10) : 0;

		switch (c) {
		case 'o':
			r.out = fopen(optarg, "w");
			if (!r.out) {
				fprintf(stderr, "history: %s: %s\n", optarg, strerror(errno));
				return 2;
			}
			break;
		case 'n':
			r.ops_max = n;
			break;
		case 's':
			r.seconds = strtod(optarg, NULL);
			break;
		case 'c':
			r.client = (unsigned)n;
			break;
		case 'S':
			r.sessions = (unsigned)n;
			break;
		case 'd':
			r.depth = (unsigned)n;
			break;
		case 'f':
			r.first = (uint32_t)n;
			break;
		case 'u':
			r.units = (uint32_t)n;
			break;
		case 'U':
			r.unit_bytes = (uint32_t)n;
			break;
		case 'w':
			r.write = (unsigned)n;
			break;
		case 'z':
			r.zero = (unsigned)n;
			break;
		case 'C':
			r.caw = (unsigned)n;
			break;
		case 'b':
			r.bound_ms = n;
			break;
		case 'r':
			r.rnd = n;
			break;
		default:
			return 2;
		}
	}
	r.url = argv + optind;
	r.urls = (unsigned)(argc - optind);
	if (!r.out || !r.urls || !r.sessions || !r.depth || !r.units || !r.unit_bytes ||
	    r.unit_bytes % BLOCK) {
		fputs(help, stderr);
		return 2;
	}
	r.last = calloc(r.units, sizeof(*r.last));
	r.sess = calloc(r.sessions, sizeof(*r.sess));
	r.op = calloc((size_t)r.sessions * r.depth, sizeof(*r.op));
	pfd = calloc(r.sessions, sizeof(*pfd));
	if (!r.last || !r.sess || !r.op || !pfd)
		return 2;
	for (unsigned i = 0; i < r.sessions; i++)
		r.sess[i] = (struct sess){.r = &r, .url = i % r.urls, .home = i % r.urls};
	for (unsigned i = 0; i < r.sessions * r.depth; i++) {
		r.op[i].r = &r;
		r.op[i].buf = malloc((size_t)(UNITS + 1) * r.unit_bytes);
		if (!r.op[i].buf)
			return 2;
	}
	fprintf(r.out,
		"vmstore-history 1 unit %" PRIu32 "\n# client %u, units %" PRIu32 " to %" PRIu32
		"\n",
		r.unit_bytes, r.client, r.first, r.first + r.units - 1);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	while (!r.stopping || under_way(&r)) {
		turn(&r, pfd);
		if (interrupted || (r.ops_max && r.ids >= r.ops_max) ||
		    (r.seconds > 0 && (double)(now_ns() - r.started) > r.seconds * 1e9))
			r.stopping = true;
	}
	rc = closing_reads(&r, pfd) ? 3 : 0;
	for (unsigned i = 0; i < r.sessions; i++)
		if (r.sess[i].ctx)
			iscsi_destroy_context(r.sess[i].ctx);
	if (fclose(r.out))
		rc = 3;
	printf("history: %" PRIu64 " operations: %" PRIu64 " answered, %" PRIu64
	       " refused, %" PRIu64 " unknown, %" PRIu64 " errors\n",
	       r.ids, r.ok, r.failed, r.unknown, r.errors);
	for (unsigned i = 0; i < r.sessions * r.depth; i++)
		free(r.op[i].buf);
	free(r.op);
	free(r.sess);
	free(r.last);
	free(pfd);
	return r.errors && !rc ? 3 : rc;
}

static int check(int argc, char **argv)
{
	struct vms_history *h = vms_history_new();
	struct vms_history_result r;
	uint64_t t = now_ns();
	int rc = h && argc > 1 ? 0 : 2;

	for (int i = 1; i < argc && !rc; i++) {
		FILE *f = fopen(argv[i], "r");

		if (!f) {
			fprintf(stderr, "history: %s: %s\n", argv[i], strerror(errno));
			rc = 2;
		} else {
			rc = vms_history_add(h, f, argv[i], stderr) ? 2 : 0;
			fclose(f);
		}
	}
	if (!rc && vms_history_check(h, &r, stderr)) {
		fprintf(stderr, "history: out of memory\n");
		rc = 2;
	}
	if (!rc) {
		printf("history: %" PRIu64 " operations (%" PRIu64 " reads, %" PRIu64
		       " writes, %" PRIu64 " COMPARE AND WRITE; %" PRIu64 " refused, %" PRIu64
		       " unknown) on %" PRIu64 " units: %" PRIu64 " wrong, %" PRIu64
		       " undecided; at most %" PRIu64 " states, %.1f s\n",
		       r.ops, r.reads, r.writes, r.caws, r.refused, r.unknown, r.units, r.wrong,
		       r.undecided, r.states_max, (double)(now_ns() - t) / 1e9);
		rc = r.wrong ? 1 : r.undecided ? 3 : 0;
	}
	vms_history_free(h);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "record"))
		return record(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "check"))
		return check(argc - 1, argv + 1);
	fputs(help, argc > 1 && !strcmp(argv[1], "--help") ? stdout : stderr);
	return argc > 1 && !strcmp(argv[1], "--help") ? 0 : 2;
}
