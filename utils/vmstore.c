// SPDX-License-Identifier: GPL-2.0-only
/* vmstore: what an admin does with volumes, snapshots and the cluster's space. The
 * commands: utils/tool/cmd_*.c. */
#include "utils/tool/cmds.h"

int main(int argc, char **argv)
{
	static const struct cmd *const subs[] = {
		&cmd_volume,   &cmd_snap,   &cmd_clone,	  &cmd_domain,	    &cmd_target,
		&cmd_gateway,  &cmd_du,	    &cmd_reclaim, &cmd_stats,	    &cmd_trace,
		&cmd_status,   &cmd_import, &cmd_export,  &cmd_export_diff, &cmd_import_diff,
		&cmd_estimate, &cmd_fsck,   NULL,
	};
	const struct cmd root = {
		.name = "vmstore",
		.brief = "Volumes, snapshots, space and statistics of a VMStore cluster",
		.sub = subs};

	return cmd_main(&root,
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the cluster is degraded, 4 "
			"some data\n"
			"cannot be reached.",
			argc, argv);
}
