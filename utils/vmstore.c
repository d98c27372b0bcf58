// SPDX-License-Identifier: GPL-2.0-only
/* vmstore: what an admin does with volumes, snapshots and the cluster's space. The
 * commands: utils/tool/cmd_*.c. */
#include "utils/tool/cmds.h"

int main(int argc, char **argv)
{
	return cmd_main(&cmd_root,
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the cluster is degraded, 4 "
			"some data\n"
			"cannot be reached.",
			argc, argv);
}
