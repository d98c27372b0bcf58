/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Histories of a LUN as its initiators saw them, and whether they are
 * linearizable. Knows nothing of VMStore and shares no code with it, nor with
 * vmstore-bench verify: it works on files that a recorder wrote
 * (tests/tools/history.c; the format is in doc/testing.md).
 *
 * A LUN is a row of units (chunks); each is a register of its own. An operation
 * on several units is one on each of them, at moments that may differ: SCSI
 * promises no more. Values are unique numbers; 0 is zeros, which many may write.
 */
#ifndef VMS_HISTORY_H
#define VMS_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define VMS_HISTORY_TORN      UINT64_MAX /* a unit that holds no value anyone wrote */
#define VMS_HISTORY_NEVER     UINT64_MAX /* times: no bound */
#define VMS_HISTORY_UNITS_MAX 64u	 /* of one operation */

enum vms_history_kind {
	VMS_HISTORY_READ,
	VMS_HISTORY_WRITE, /* also of zeros: value 0 */
	VMS_HISTORY_CAW,   /* COMPARE AND WRITE */
};

enum vms_history_outcome {
	VMS_HISTORY_OK,
	VMS_HISTORY_FAIL,	/* surely not applied, now or later */
	VMS_HISTORY_MISCOMPARE, /* a COMPARE AND WRITE that found something else */
	VMS_HISTORY_UNKNOWN,	/* applied until its bound, or never */
};

struct vms_history_op {
	uint64_t id; /* unique in its file */
	enum vms_history_kind kind;
	enum vms_history_outcome outcome;
	uint32_t unit, n;
	uint64_t value;	     /* written */
	uint64_t expect;     /* of a COMPARE AND WRITE */
	uint64_t start, end; /* ns; end of an unknown one: its bound */
	uint64_t *seen;	     /* n values that a read returned */
	unsigned file;
	unsigned line; /* where it was invoked */
};

struct vms_history;

struct vms_history_result {
	uint64_t ops, reads, writes, caws, unknown, refused;
	uint64_t units;	     /* with at least one operation */
	uint64_t wrong;	     /* units that are not linearizable */
	uint64_t undecided;  /* units with too much at once to decide */
	uint64_t states_max; /* most states of one unit at once: how hard it was */
};

/* NULL when out of memory. */
struct vms_history *vms_history_new(void);
void vms_history_free(struct vms_history *h);

/* Adds a recorded file. 0; -1 and a line on err when it is damaged or contradicts
 * itself or one added before (a value written twice, an outcome without an operation). */
int vms_history_add(struct vms_history *h, FILE *f, const char *name, FILE *err);

/* Checks every unit; each violation is told on err. 0, or -1 when out of memory. */
int vms_history_check(const struct vms_history *h, struct vms_history_result *r, FILE *err);

/* For the checker. */
const struct vms_history_op *vms_history_ops(const struct vms_history *h, size_t *n);
const char *vms_history_file(const struct vms_history *h, unsigned file);

#endif
