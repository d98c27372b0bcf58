// SPDX-License-Identifier: GPL-2.0-only
/* The commands of vmstore-ring as a tree. */
#include "utils/tool/ring_cmds.h"

static const struct cmd *const subs[] = {
	&ring_init,   &ring_join,      &ring_leave,	   &ring_replace,
	&ring_drain,  &ring_undrain,   &ring_reweight,	   &ring_zone,
	&ring_cancel, &ring_give_up,   &ring_set,	   &ring_throttle,
	&ring_plan,   &ring_status,    &ring_advise,	   &ring_empty_logs,
	&ring_scrub,  &ring_mark_lost, &ring_move_catalog, &ring_restore_catalog,
	NULL,
};

const struct cmd ring_root = {
	.name = "vmstore-ring",
	.brief = "Creates a VMStore cluster, takes nodes in and out, shows the ring",
	.sub = subs};
