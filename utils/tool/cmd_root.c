// SPDX-License-Identifier: GPL-2.0-only
/* The commands of vmstore as a tree. */
#include "utils/tool/cmds.h"

static const struct cmd *const subs[] = {
	&cmd_volume, &cmd_snap,	       &cmd_clone,	 &cmd_domain,	&cmd_target, &cmd_gateway,
	&cmd_du,     &cmd_reclaim,     &cmd_stats,	 &cmd_trace,	&cmd_status, &cmd_import,
	&cmd_export, &cmd_export_diff, &cmd_import_diff, &cmd_estimate, &cmd_fsck,   NULL,
};

const struct cmd cmd_root = {
	.name = "vmstore",
	.brief = "Volumes, snapshots, space and statistics of a VMStore cluster",
	.sub = subs};
