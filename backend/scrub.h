/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scrub: everything a node has on disk is read and verified once in `scrub_days`
 * (cluster record), a piece at a time; see scrub.c.
 */
#ifndef VMS_SCRUB_H
#define VMS_SCRUB_H

#include <stdbool.h>
#include <stdint.h>

struct vms_node;
struct vms_meta_batch;
struct json_t;

void scrub_open(struct vms_node *n); /* takes up where the last process was */
void scrub_close(struct vms_node *n);
void scrub_timer(struct vms_node *n);
/* A round from the start, at full speed. */
void scrub_start(struct vms_node *n);
void scrub_pause(struct vms_node *n, bool on);
uint64_t scrub_rounds(struct vms_node *n);
uint64_t scrub_bytes(struct vms_node *n);
/* State and cursor, for the checkpoint. */
int scrub_put(struct vms_node *n, struct vms_meta_batch *b);
struct json_t *scrub_json(struct vms_node *n);

#endif
