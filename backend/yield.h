/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes yield to copies that they outrun: an attempt at a copy that ended because a log was
 * full is followed by one during which less is written to that log. yield.c.
 */
#ifndef VMS_YIELD_H
#define VMS_YIELD_H

#include <stdbool.h>
#include <stdint.h>

struct part;
struct vms_node;

#define YIELD_STEPS 6u

/* What goes to the log of one node, this one's or a peer's, from the writes ordered here. */
struct yield {
	uint8_t steps; /* 0: as it comes */
	uint64_t at_ms;
	int64_t bytes; /* that may go now */
};

/* For those who ask why writes to this node's log are slow. */
struct yield_said {
	uint8_t steps;	   /* of the attempt that lasts, or of the last one */
	uint64_t since_ms; /* 0: they do not yield */
	uint64_t last_ms;
};

/* An attempt at this copy has ended as the log filled up. tries: of that copy. */
void yield_more(struct vms_node *n, const struct part *p, uint8_t *tries);
/* How far do writes to this node's log yield now? */
void yield_timer(struct vms_node *n);
/* How far, and since when; 0 and 0 s: they do not. Attempts come with pauses between them, so it
 * counts as over when there has been none for a minute. */
void yield_say(const struct vms_node *n, unsigned *steps, uint64_t *seconds);
/* May a write that came then be ordered? */
bool yield_admit(struct vms_node *n, struct part *p, uint64_t arrived_ms);
/* One of so many bytes is. */
void yield_count(struct vms_node *n, struct part *p, uint64_t bytes);

#endif
