/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vmstore-bench boot: the trace, and what a storm of boots costs.
 *
 * boot.c replays, boot_trace.c owns the file format (doc/boot-trace.md), boot_fill.c the
 * data that a replay finds on its LUN, boot_cost.c asks processes for their CPU
 * time and a command for counters, before and after. One thread.
 */
#ifndef VMS_BENCH_BOOT_H
#define VMS_BENCH_BOOT_H

#include "utils/bench/bench.h"

struct vms_boot_req {
	uint64_t time_us, offset_bytes;
	uint32_t len_bytes; /* 0 for F */
	char kind;	    /* R, W, F, D */
};

struct vms_boot_trace {
	struct vms_boot_req *req; /* owned */
	size_t n;
	uint64_t end_bytes;	    /* the LUN needs this size */
	uint64_t read_bytes;	    /* of all reads */
	uint64_t unique_read_bytes; /* chunks that are read, each once, read before written */
};

/* Plain or gzip. Returns 0, or -1 with a message printed. */
int vms_boot_trace_load(struct vms_boot_trace *t, const char *file, bool read_only);
void vms_boot_trace_free(struct vms_boot_trace *t);
/* For each chunk up to end_bytes: what the trace does with it. Allocated, or NULL. */
#define VMS_BOOT_IMAGE	 1u /* reads what the image has there */
#define VMS_BOOT_WRITTEN 2u
uint8_t *vms_boot_trace_image(const struct vms_boot_trace *t, uint64_t *nchunks);
/* Write unique data to all chunks that it reads of the image. Returns 0 or -1 (message printed). */
int vms_boot_trace_fill(const struct vms_boot_trace *t, const char *url, struct vms_bench_gen *g);

/* ---- cost ---- */

#define VMS_BOOT_PIDS_MAX 64u

struct vms_boot_cost {
	struct {
		char name[32];
		int pid;
		double cpu_s; /* at the beginning, then the difference */
	} p[VMS_BOOT_PIDS_MAX];
	unsigned n;
	const char *counters;	  /* command that prints a JSON object of numbers, or NULL */
	json_t *before;		  /* owned; what it printed */
	json_t *grown;		  /* owned; differences, levels left out */
	struct vms_bench_cpu cpu; /* of the machine and of this process, likewise */
	double busy;		  /* share of all processors, 0 to 1 */
};

/* "NAME=PID"; several processes may share a name. Returns 0 or -1 (message printed). */
int vms_boot_cost_pid(struct vms_boot_cost *c, const char *text);
int vms_boot_cost_begin(struct vms_boot_cost *c);
int vms_boot_cost_end(struct vms_boot_cost *c);
void vms_boot_cost_free(struct vms_boot_cost *c);
/* Table for people, and {"cpu_ms_per_boot": {...}, "counters": {...}, ...}: new reference. */
void vms_boot_cost_print(const struct vms_boot_cost *c, unsigned boots);
json_t *vms_boot_cost_json(const struct vms_boot_cost *c, unsigned boots);

#endif
