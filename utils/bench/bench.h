/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vmstore-bench: what its subcommands share.
 *
 * Everything here runs on one thread, but for keep.c. Times are CLOCK_MONOTONIC nanoseconds
 * unless a name says otherwise. A *logical block* is 512 bytes, a *chunk*
 * 4 KiB.
 */
#ifndef VMS_BENCH_H
#define VMS_BENCH_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "utils/lib/hist.h"

struct iscsi_context;

#define VMS_BENCH_CHUNK_BYTES 4096u

/* Exit codes of the program. */
enum {
	VMS_BENCH_OK = 0,
	VMS_BENCH_WRONG = 1,  /* verification found a violation */
	VMS_BENCH_USAGE = 2,  /* bad command line */
	VMS_BENCH_FAILED = 3, /* no connection, I/O errors, no progress */
	VMS_BENCH_STATE = 4,  /* state or trace file unusable */
};

/* ---- latencies: utils/lib/hist.h, in nanoseconds ---- */

/* {"count","mean_us","p50_us","p90_us","p99_us","p999_us","max_us"}; new reference. */
json_t *vms_bench_hist_json(const struct vms_hist *h);

/* ---- CPU accounting ---- */

struct vms_bench_cpu {
	uint64_t wall_ns;
	double machine_s; /* all CPUs of the machine, busy */
	double client_s;  /* this process and the commands it ran */
	double server_s;  /* the processes named by --server-pid */
};

#define VMS_BENCH_PIDS_MAX 64
struct vms_bench_pids {
	int pid[VMS_BENCH_PIDS_MAX];
	unsigned n;
};

/* Returns 0, or -1 and a message on stderr when a server process is gone. */
int vms_bench_cpu_now(struct vms_bench_cpu *c, const struct vms_bench_pids *pids);

/* ---- data ---- */

enum vms_bench_data { VMS_BENCH_UNIQUE, VMS_BENCH_ZERO, VMS_BENCH_DUP };

struct vms_bench_gen {
	enum vms_bench_data kind;
	unsigned dup_percent; /* VMS_BENCH_DUP: this share of chunks comes from a pool */
	uint64_t state;	      /* never repeats within a run, seeded per run */
};

uint64_t vms_bench_rand(uint64_t *state);
/* Fill len_bytes; incompressible unless the kind is zero. */
void vms_bench_fill(struct vms_bench_gen *g, void *buf, size_t len_bytes);

/* ---- arguments ---- */

/* "4k", "16G", "512" to bytes. Returns 0, -1 when malformed. */
int vms_bench_parse_size(const char *text, uint64_t *bytes);
/* "unique", "zero" or "dup:PERCENT". Returns 0 or -1. */
int vms_bench_parse_data(const char *text, struct vms_bench_gen *g);
/* "read", "write" or "mix:PERCENT" to a share of writes. Returns 0 or -1. */
int vms_bench_parse_rw(const char *text, double *write_percent);
/* Print a message that starts with the program's name and "error: ". */
void vms_bench_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

uint64_t vms_bench_now(void);

/* ---- one iSCSI session, connected synchronously ---- */

struct vms_bench_sess {
	struct iscsi_context *ctx;
	int lun;
	uint64_t size_bytes;
	uint32_t block_bytes; /* logical block length the LUN reports */
	bool broken;
	char *url; /* owned */
};

/* Log in and read the capacity. Returns 0, or -1 with a message printed. */
int vms_bench_sess_open(struct vms_bench_sess *s, const char *url, const char *tag);
void vms_bench_sess_close(struct vms_bench_sess *s);

/* Answers the pings of up to max sessions while this thread does something else; see
 * keep.c. NULL with a message printed. */
struct vms_bench_keep *vms_bench_keep_begin(unsigned max);
/* The session belongs to the keeper until its end; it must not move meanwhile. */
void vms_bench_keep_add(struct vms_bench_keep *k, struct vms_bench_sess *s);
/* Returns 0, or -1 with a message printed when one of them is lost. */
int vms_bench_keep_end(struct vms_bench_keep *k);

struct scsi_task;
/* READ or WRITE CDB for a byte range; 10-byte CDB when it fits. New task. */
struct scsi_task *vms_bench_task_rw(bool write, uint64_t lba, uint32_t blocks, uint32_t block_bytes,
				    bool fua);

/* ---- the load engine (run, compare) ---- */

struct vms_bench_load {
	unsigned sessions; /* in all, spread over the URLs */
	unsigned depth;	   /* outstanding commands per session */
	uint32_t block_bytes;
	bool random;
	unsigned write_percent; /* 0 read, 100 write */
	bool fua;
	double seconds;
	uint64_t ops; /* 0: no limit */
	double warmup_s;
	double idle_s; /* idle baseline before the load */
	uint64_t offset_bytes;
	uint64_t span_bytes; /* 0: the whole LUN */
	bool split;	     /* each URL has its own part of the span, all of one size */
	uint64_t seed;
	bool prefill;
	const char *settle; /* command run behind the load, inside the measurement; or NULL */
	struct vms_bench_gen data;
	struct vms_bench_pids pids;
};

struct vms_bench_result {
	double seconds;	 /* of the load and of settling */
	double settle_s; /* of settling */
	uint64_t ops;
	uint64_t bytes;
	uint64_t errors;
	uint64_t busy;
	double iops;
	double mb_s; /* 10^6 bytes */
	/* CPU seconds in the measured window. server_s is 0 without pids. */
	double server_s;
	double client_s;
	double machine_s;	/* busy */
	double idle_busy_per_s; /* baseline: busy minus client, per second */
	double others_s;	/* machine - client - baseline */
	double cmds_per_server_cpu_s;
	double cmds_per_machine_cpu_s;
	struct vms_hist lat;
};

/* Run one load. url: n_urls strings, borrowed. Returns 0 or -1 (message printed). */
int vms_bench_load_run(const struct vms_bench_load *l, char *const *url, unsigned n_urls,
		       struct vms_bench_result *r);
/* Overwrite 4 KiB blocks of the file (made when it is not there), each durable when the next
 * begins: the latencies of a flush. Returns 0 or -1 (message printed). */
int vms_bench_flush_run(const char *path, double seconds, uint64_t seed,
			struct vms_bench_result *r);

/* Option parsing shared by run and compare. */
extern const char vms_bench_load_help[];
void vms_bench_load_defaults(struct vms_bench_load *l);
#define VMS_BENCH_LOAD_OPTIONS 19
extern const struct option vms_bench_load_options[VMS_BENCH_LOAD_OPTIONS];
/* Handle one getopt_long value; returns 1 handled, 0 not ours, -1 bad value. */
int vms_bench_load_option(struct vms_bench_load *l, int c, const char *arg);

json_t *vms_bench_result_json(const struct vms_bench_load *l, const struct vms_bench_result *r);
void vms_bench_result_print(const struct vms_bench_result *r);
/* Write to FILE, or to stdout for "-". Returns 0 or -1. */
int vms_bench_json_write(json_t *j, const char *file);

/* ---- subcommands: argv[0] is the subcommand's name; return an exit code ---- */
int vms_bench_cmd_run(int argc, char **argv);
int vms_bench_cmd_compare(int argc, char **argv);
int vms_bench_cmd_verify(int argc, char **argv);
int vms_bench_cmd_boot(int argc, char **argv);

#endif
