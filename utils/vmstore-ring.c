// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring: creates the cluster, changes and shows its ring. The commands:
 * utils/tool/ring_*.c. */
#include "utils/tool/ring_cmds.h"

int main(int argc, char **argv)
{
	static const struct cmd *const subs[] = {
		&ring_init,
		&ring_join,
		&ring_leave,
		&ring_replace,
		&ring_drain,
		&ring_undrain,
		&ring_reweight,
		&ring_zone,
		&ring_cancel,
		&ring_give_up,
		&ring_set,
		&ring_throttle,
		&ring_plan,
		&ring_status,
		&ring_advise,
		&ring_empty_logs,
		&ring_scrub,
		&ring_move_catalog,
		&ring_restore_catalog,
		NULL,
	};
	const struct cmd root = {
		.name = "vmstore-ring",
		.brief = "Creates a VMStore cluster, takes nodes in and out, shows the ring",
		.sub = subs};

	return cmd_main(&root,
			"Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the "
			"cluster is degraded,\n"
			"4 some of its data cannot be reached.",
			argc, argv);
}
