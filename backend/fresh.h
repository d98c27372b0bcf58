/* SPDX-License-Identifier: GPL-2.0-only */
/* Floors read afresh before a new primary serves. */
#ifndef VMS_FRESH_H
#define VMS_FRESH_H

#include <stdbool.h>
#include <stdint.h>

struct vms_node;

bool fresh_need(struct vms_node *n, uint64_t rev);

#endif
