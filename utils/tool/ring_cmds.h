/* SPDX-License-Identifier: GPL-2.0-only */
/* The commands of vmstore-ring, each in the file of its subject: ring_NAME.c. */
#ifndef VMS_TOOL_RING_CMDS_H
#define VMS_TOOL_RING_CMDS_H

#include "utils/tool/cmd.h"

extern const struct cmd ring_root; /* all of them */
extern const struct cmd ring_init;
extern const struct cmd ring_join, ring_replace;
extern const struct cmd ring_leave, ring_drain, ring_undrain, ring_reweight, ring_zone, ring_cancel,
	ring_give_up;
extern const struct cmd ring_mark_lost;
extern const struct cmd ring_set, ring_throttle;
extern const struct cmd ring_plan;
extern const struct cmd ring_status;
extern const struct cmd ring_advise;
extern const struct cmd ring_empty_logs;
extern const struct cmd ring_scrub;
extern const struct cmd ring_move_catalog, ring_restore_catalog;

#endif
