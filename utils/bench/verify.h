/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of vmstore-bench verify: its options, sessions and commands, and what its parts share. */
#ifndef VMS_BENCH_VERIFY_H
#define VMS_BENCH_VERIFY_H

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "utils/bench/bench.h"
#include "utils/bench/gap.h"
#include "utils/bench/model.h"

#define BLOCK	      VMS_MODEL_BLOCK_BYTES
#define OP_BLOCKS_MAX 1024u /* 512 KiB */
#define PIECE_BLOCKS  8192u /* a write beyond a multiple of 4 MiB is in several pieces */
#define NS_PER_MS     1000000ull

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

/* The model's clock: strictly increasing, and above all of an earlier run's. */
static inline uint64_t verify_now(struct ver *v)
{
	uint64_t t = v->time_base + vms_bench_now();

	if (t <= v->time_last)
		t = v->time_last + 1;
	v->time_last = t;
	return t;
}

static inline uint64_t verify_ns(const struct ver *v, double ms)
{
	return (uint64_t)(ms * v->scale * 1e6);
}

static inline bool op_is_write(const struct op *o)
{
	return o->kind == OP_WRITE || o->kind == OP_ZERO || o->kind == OP_CAW;
}

static inline bool op_is_read(const struct op *o)
{
	return o->kind == OP_READ || o->kind == OP_CAW_READ;
}

/* ---- verify_opts.c ---- */

/* Returns 0, 1 when it printed the help, or -1 and a message. */
int verify_parse(struct ver *v, int argc, char **argv);

/* ---- verify_sess.c ---- */

/* Its connection is gone, or goes: what it had outstanding is unknown from now on. */
void verify_sess_down(struct vsess *s);
void verify_sess_timers(struct vsess *s, uint64_t now);

/* ---- verify_cmd.c ---- */

/* Give every free place of every session a command. Waiting ones go first. */
void verify_pump(struct ver *v);

/* ---- verify_end.c ---- */

const char *verify_kind_name(enum op_kind k);
void verify_done_cb(struct iscsi_context *ctx, int status, void *command_data, void *private_data);
/* Perhaps it takes effect within --failover-ms, perhaps never; it is repeated after that. */
void verify_settle_unknown(struct op *o);
/* Nothing of it takes effect; it is repeated soon. */
void verify_settle_refused(struct op *o);

#endif
