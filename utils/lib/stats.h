/* SPDX-License-Identifier: GPL-2.0-only */
/* Named counters and gauges of a process, shown by `vmstore stats`.
 *
 * Modules keep their numbers in plain uint64_t fields of their own structs and
 * register pointers to them here; counting costs an increment, nothing else. Names
 * are dotted lower case ("log.commits"); each is described in doc/statistics.md.
 *
 * Owner thread: one; a thread that counts elsewhere must hand its numbers over. */
#ifndef VMS_STATS_H
#define VMS_STATS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>

#include "utils/lib/hist.h"

enum vms_stat_kind {
	VMS_STAT_COUNTER, /* only grows since the process started */
	VMS_STAT_GAUGE,	  /* a level */
};

/* One entry of a module's table. offset: of the uint64_t in the module's struct. */
struct vms_stat_def {
	const char *name;
	enum vms_stat_kind kind;
	size_t offset;
	const char *help; /* one line with the unit */
};
#define VMS_STAT_END                                                                               \
	{                                                                                          \
		.name = NULL                                                                       \
	}

struct vms_stats;

struct vms_stats *vms_stats_open(void);
void vms_stats_close(struct vms_stats *s);

/* name, help, value: borrowed until close. A name twice, or one that is not
 * [a-z0-9_.], is a programmer's error. */
void vms_stats_add(struct vms_stats *s, const char *name, enum vms_stat_kind kind,
		   const uint64_t *value, const char *help);
/* A whole table over one struct; prefix ("" or "wal.") is copied. */
void vms_stats_add_table(struct vms_stats *s, const char *prefix, const struct vms_stat_def *defs,
			 const void *base);
/* A histogram shows as NAME.count .mean .p50 .p99 .p999 .max. */
void vms_stats_add_hist(struct vms_stats *s, const char *name, const struct vms_hist *h,
			const char *help);

/* The value of one plain counter or gauge, for tests; 0 with *found = 0 when absent. */
uint64_t vms_stats_get(const struct vms_stats *s, const char *name, int *found);

/* New reference: {"name": number, …, "hist": {"count": …, …}}, sorted by name. */
json_t *vms_stats_json(const struct vms_stats *s);
/* name, value, help; one line each, sorted. */
void vms_stats_print(const struct vms_stats *s, FILE *f);
/* Every name with kind and help, one line each: "name<TAB>kind<TAB>help". */
void vms_stats_print_names(const struct vms_stats *s, FILE *f);

#endif
