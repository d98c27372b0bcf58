// SPDX-License-Identifier: GPL-2.0-only
/* vmstore status: the cluster on one screen. */
#include <stdio.h>
#include <string.h>

#include "utils/lib/size.h"
#include "utils/tool/cmds.h"
#include "utils/tool/view.h"

static int run_status(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	char used[VMS_SIZE_TEXT_MAX], total[VMS_SIZE_TEXT_MAX];
	struct vms_errmsg e = {""};
	struct view_health h;
	struct view v;
	uint64_t sum = 0;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (view_load(t, &v, &e)) {
		view_free(&v);
		return tool_fail(t, "%s", e.text);
	}
	view_ask_nodes(t, &v);
	view_health(&v, &h);
	code = view_exit_code(&v, &h);
	if (t->json) {
		tool_print_json(view_json(&v));
		view_free(&v);
		return code;
	}
	VMS_VEC_FOREACH(&v.volumes, vol)
		sum += vol->size_bytes;
	printf("health    %s\nnodes     %u of %zu up\n", view_health_word(&v, &h), h.nodes_up,
	       v.nodes.n);
	VMS_VEC_FOREACH(&v.nodes, node)
		if (!node->up)
			printf("          %s (%s): %s\n", node->n.name, node->n.address, node->why);
	printf("gateways  %zu known\nvolumes   %zu, %s in all\n", v.gateways.n, v.volumes.n,
	       vms_size_human(sum, used));
	if (h.total_bytes)
		printf("space     %s of %s used\n", vms_size_human(h.used_bytes, used),
		       vms_size_human(h.total_bytes, total));
	VMS_VEC_FOREACH(&v.nodes, node) {
		if (*view_node_full(node))
			printf("          %s is %s%s\n", node->n.name, view_node_full(node),
			       strcmp(view_node_full(node), "full") ?
				       "" :
				       ": new data is refused where it holds a copy");
		if (view_node_lost(node))
			printf("damaged   %llu places on every copy, says %s; see vmstore-ring "
			       "scrub\n", (unsigned long long)view_node_lost(node), node->n.name);
	}
	if (h.complete < v.nparts)
		printf("ring      %u of %u partitions complete; see vmstore-ring status\n", h.complete,
		       v.nparts);
	view_free(&v);
	return code;
}

const struct cmd cmd_status = {.name = "status",
			       .args = "[--json]",
			       .brief = "the cluster on one screen",
			       .about = "The cluster on one screen. Exit codes: 3 degraded, 4 some data\n"
					"cannot be reached.",
			       .run = run_status};
