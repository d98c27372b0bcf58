/* SPDX-License-Identifier: GPL-2.0-only */
/* The commands of vmstore, each in the file of its subject: cmd_NAME.c. */
#ifndef VMS_TOOL_CMDS_H
#define VMS_TOOL_CMDS_H

#include "utils/tool/cmd.h"

extern const struct cmd cmd_root; /* all of them */
extern const struct cmd cmd_volume;
extern const struct cmd cmd_snap;
extern const struct cmd cmd_clone;
extern const struct cmd cmd_domain;
extern const struct cmd cmd_gateway;
extern const struct cmd cmd_gateway_drain, cmd_gateway_undrain;
extern const struct cmd cmd_target, cmd_target_account, cmd_target_apply, cmd_target_dump;
extern const struct cmd cmd_du;
extern const struct cmd cmd_reclaim;
extern const struct cmd cmd_stats;
extern const struct cmd cmd_trace;
extern const struct cmd cmd_status;
extern const struct cmd cmd_estimate;
extern const struct cmd cmd_fsck;
extern const struct cmd cmd_import;
extern const struct cmd cmd_export;
extern const struct cmd cmd_export_diff;
extern const struct cmd cmd_import_diff;

#endif
