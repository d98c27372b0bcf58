// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring empty-logs: what the nodes' logs hold goes into containers, now. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/tool/nodes.h"
#include "utils/tool/ring_cmds.h"

#define LOGS_POLL_MS  50u
#define LOGS_AGAIN_MS 1000u /* what came meanwhile is in a log, too */

/* Sum of what the nodes have not in containers yet, or -1 when one did not answer. */
static int64_t undrained(struct tool *t, struct nodes *ns, const char *call, struct vms_errmsg *e)
{
	int64_t sum = 0;

	nodes_ask(t, ns, call, NULL, 10000);
	for (unsigned i = 0; i < ns->n; i++) {
		if (!ns->p[i].answer || ns->p[i].status) {
			vms_fail(e, VMS_E_DISCONNECTED, "%s: %s", ns->p[i].name, ns->p[i].why);
			return -1;
		}
		sum += json_integer_value(json_object_get(ns->p[i].answer, "undrained"));
	}
	return sum;
}

static int run_empty_logs(struct cmd_call *c)
{
	struct tool *t = c->t;
	uint64_t timeout_s = 600, begin, now, asked;
	const struct vms_opt opts[] = {
		{0, "timeout", VMS_OPT_SECONDS, &timeout_s, "TIME",
		 "give up after so long: 10min, or seconds (default 10min)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	struct nodes ns;
	unsigned nodes;
	int64_t left;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = nodes_open(t, &ns, &e);
	if (!rc)
		rc = nodes_ready(t, &ns, 5000, &e);
	if (rc) {
		nodes_close(t, &ns);
		return tool_fail(t, "%s", e.text);
	}
	begin = asked = vms_clock_ms();
	left = undrained(t, &ns, "drain", &e);
	while (left > 0) {
		now = vms_clock_ms();
		if (now - begin > timeout_s * 1000) {
			vms_fail(&e, VMS_E_TIMEOUT,
				 "%" PRIi64 " chunks are not drained after %" PRIu64
				 " s (is anything writing?)",
				 left, timeout_s);
			left = -1;
			break;
		}
		tool_wait(t, LOGS_POLL_MS);
		if (now - asked >= LOGS_AGAIN_MS)
			asked = now;
		left = undrained(t, &ns, asked == now ? "drain" : "space", &e);
	}
	nodes = ns.n;
	nodes_close(t, &ns);
	if (left < 0)
		return tool_fail(t, "%s", e.text);
	now = vms_clock_ms() - begin;
	if (t->json)
		return tool_print_json(json_pack("{sf sI}", "seconds", (double)now / 1e3, "nodes",
						 (json_int_t)nodes));
	printf("drained in %.1f s\n", (double)now / 1e3);
	return TOOL_OK;
}

const struct cmd ring_empty_logs = {
	.name = "empty-logs",
	.args = "[--timeout S] [--json]",
	.brief = "move all that the logs hold into containers, now",
	.about = "Makes every node drain its log now instead of when it fills or ages, and waits\n"
		 "until all written data is in containers and checkpointed on all its copies.",
	.run = run_empty_logs};
