/* SPDX-License-Identifier: GPL-2.0-only */
/* One line that shows how far a long job is: percent, bytes, rate, time left. Drawn
 * over itself, at most ten times a second, and only on a terminal.
 *
 * The caller tells the time, so that nothing here needs a clock. One thread. */
#ifndef VMS_PROGRESS_H
#define VMS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define VMS_PROGRESS_TEXT_MAX 160

struct vms_progress {
	FILE *f; /* NULL: silent */
	char label[48];
	uint64_t total_bytes; /* 0: not known */
	uint64_t start_ms, drawn_ms, mark_ms;
	uint64_t mark_bytes; /* done at mark_ms: the rate is that since the mark, smoothed
			      */
	double rate;	     /* bytes a second; 0: not known yet */
	bool drawn;
};

/* f: stderr as a rule; silent when it is NULL or no terminal, or quiet is set. label
 * is copied and cut to fit. done_bytes: what is done already (a job that goes on). */
void vms_progress_open(struct vms_progress *p, FILE *f, bool quiet, const char *label,
		       uint64_t done_bytes, uint64_t total_bytes, uint64_t now_ms);
void vms_progress_update(struct vms_progress *p, uint64_t done_bytes, uint64_t now_ms);
/* Wipes the line, for a message; the next update draws it again. */
void vms_progress_wipe(struct vms_progress *p);
/* Wipes the line. Error messages belong behind it. */
void vms_progress_close(struct vms_progress *p);

/* What update() would draw; out: VMS_PROGRESS_TEXT_MAX. */
const char *vms_progress_text(const struct vms_progress *p, uint64_t done_bytes, char *out);

#endif
