/* SPDX-License-Identifier: GPL-2.0-only */
/* Layers that nothing shows any more are removed. */
#ifndef VMS_PRUNE_H
#define VMS_PRUNE_H

#include "backend/pages.h"

struct json_t;
struct vms_node;

void prune_timer(struct vms_node *n);
void prune_hint(struct vms_node *n);
void prune_led(struct vms_node *n); /* something was deleted */
void prune_copied(void *arg, const struct vms_page_key *made, const struct vms_page_key *from);
void prune_close(struct vms_node *n);
struct json_t *prune_json(struct vms_node *n); /* "reclaim": what is still to be given back */
int prune_reading(const struct vms_node *n);   /* which prefix of the catalog; -1: none */
/* How long background work waits between two steps. */
uint64_t gc_pace_ms(const struct vms_node *n);

#endif
