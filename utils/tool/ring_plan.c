// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring plan: what is on its way, or would be. Changes show the same with
 * --dry-run. */
#include <stdio.h>
#include <string.h>

#include "utils/tool/ring.h"
#include "utils/tool/ring_cmds.h"

/* Nothing is changed: what a plan of the present membership wants, from where the
 * copies are now. */
static int edit_nothing(void *arg, struct view *v, struct vms_errmsg *e)
{
	return 0;
}

static int run_plan(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	struct ring r;
	int rc, code;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = ring_load(c->t, &r, &e);
	if (rc) {
		ring_free(&r);
		return tool_fail(c->t, "%s", e.text);
	}
	ring_ask(c->t, &r);
	code = ring_dry_run(c->t, &r, edit_nothing, NULL);
	ring_free(&r);
	return code;
}

const struct cmd ring_plan = {
	.name = "plan",
	.args = "[--json]",
	.brief = "show what is still to be moved, node by node",
	.about =
		"Shows what is to be moved from where the copies are to where they belong. What a\n"
		"change would move is shown by that change with --dry-run.",
	.run = run_plan};
