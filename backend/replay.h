/* SPDX-License-Identifier: GPL-2.0-only */
/* The log is read when the process starts. */
#ifndef VMS_REPLAY_H
#define VMS_REPLAY_H

#include "include/err.h"

struct vms_node;

int replay_open(struct vms_node *n, struct vms_errmsg *msg);

#endif
