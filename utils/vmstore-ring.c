// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring: creates the cluster, changes and shows its ring. The commands:
 * utils/tool/ring_*.c. */
#include "utils/tool/ring_cmds.h"

int main(int argc, char **argv)
{
	return cmd_main(&ring_root,
			"Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the "
			"cluster is degraded,\n"
			"4 some of its data cannot be reached.",
			argc, argv);
}
