/* SPDX-License-Identifier: GPL-2.0-only */
/* The commands of vmstore, each in the file of its subject: cmd_NAME.c. */
#ifndef VMS_TOOL_CMDS_H
#define VMS_TOOL_CMDS_H

#include "utils/tool/cmd.h"

extern const struct cmd cmd_volume, cmd_snap, cmd_stats, cmd_trace, cmd_status,
	cmd_estimate, cmd_fsck;

#endif
