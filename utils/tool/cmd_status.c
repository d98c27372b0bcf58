// SPDX-License-Identifier: GPL-2.0-only
/* vmstore status: the cluster on one screen: how it is, what is lost or at risk, and
 * what is being done about it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/cmds.h"
#include "utils/tool/look.h"

static void print_nodes(const struct view *v, const struct view_health *h)
{
	printf("nodes     %u of %zu up\n", h->nodes_up, v->nodes.n);
	VMS_VEC_FOREACH (&v->nodes, n) {
		if (!n->up)
			printf("          %s (%s): %s%s%s\n", n->n.name, n->n.address, n->why,
			       n->n.state == VMS_NODE_IN ? "" : ", ",
			       n->n.state == VMS_NODE_IN ? "" : view_state_word(n->n.state));
		else if (n->n.state != VMS_NODE_IN)
			printf("          %s (%s): %s\n", n->n.name, n->n.address,
			       view_state_word(n->n.state));
		if (*view_node_full(n))
			printf("          %s (%s): %s%s\n", n->n.name, n->n.address,
			       view_node_full(n),
			       strcmp(view_node_full(n), "full")
				       ? ""
				       : ": new data is refused where it holds a copy");
		if (view_node_lost(n))
			printf("damaged   %" PRIu64
			       " places on every copy, says %s; see vmstore-ring scrub\n",
			       view_node_lost(n), n->n.name);
	}
}

static void print_copies(struct view *v, const struct view_health *h)
{
	uint32_t few = h->missing_copies + h->degraded;
	char names[300];

	if (h->complete < v->nparts)
		printf("copies    %u of %u partitions have all %u\n", h->complete, v->nparts,
		       v->cluster.copies);
	if (h->missing_copies)
		printf("          %u go on with fewer: one more failure %s\n", h->missing_copies,
		       v->cluster.copies > 2 ? "brings some nearer to loss" : "stops some of them");
	if (h->degraded)
		printf("          %u have a member that is down; the others go on without it in a "
		       "moment\n",
		       h->degraded);
	if (h->below_min)
		printf("          %u take no writes: these need %u copies\n", h->below_min,
		       v->cluster.min_copies);
	if (h->down) {
		view_missing(v, names, sizeof(names));
		printf("lost      %u partitions cannot be reached until one of these is back: %s\n",
		       h->down, names);
	}
	if (h->placed < v->nparts)
		printf("          %u are not placed; see vmstore-ring status\n",
		       v->nparts - h->placed);
	else if (!few && !h->down && h->serving < v->nparts)
		printf("starting  %u of %u partitions are served\n", h->serving, v->nparts);
	if (h->loss_epochs)
		printf("losses    unflushed writes may have been lost %" PRIu64 " times\n",
		       h->loss_epochs);
}

/* Copies that are wanted and not there, on nodes that are up, and on others. */
static void copies_to_come(struct view *v, uint32_t *up, uint32_t *away)
{
	*up = *away = 0;
	for (uint32_t p = 0; p < v->nparts; p++) {
		const struct vms_part_conf *c = &v->part[p].conf;
		uint32_t want[VMS_COPIES_MAX];

		for (unsigned k = c->epoch ? vms_cat_part_want(c, want) : 0; k; k--) {
			const struct view_node *n = view_node(v, want[k - 1]);
			bool in = false;

			for (uint32_t i = 0; i < c->nmembers; i++)
				in |= c->member[i].node == want[k - 1];
			*up += !in && n && n->up;
			*away += !in && !(n && n->up);
		}
	}
}

/* What is being done. */
static void print_doing(struct look *l)
{
	struct ring *r = &l->r;
	char text[VMS_SIZE_TEXT_MAX];
	uint32_t wait_s = r->v.cluster.rebuild_after_s, up, away;

	copies_to_come(&r->v, &up, &away);
	if (up)
		printf("doing     %u copies are being made; vmstore-ring status shows how fast\n",
		       up);
	else if (r->moving && !away)
		printf("doing     %u partitions change hands\n", r->moving);
	if (away && wait_s)
		printf("waiting   for the nodes that are away: their %u copies are made elsewhere "
		       "after %s\n",
		       away, vms_duration_format(wait_s * 1000ull, text));
	else if (away)
		printf("waiting   for the nodes that are away: their %u copies are not made "
		       "elsewhere (rebuild-after 0)\n",
		       away);
	if (l->h.nodes_full)
		printf("          nodes that are full get no copies; add space, or delete and "
		       "vmstore reclaim\n");
	if (strcmp(look_word(l), "ok"))
		printf("advice    vmstore-ring advise names each risk and what mends it\n");
}

static int run_status(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	char used[VMS_SIZE_TEXT_MAX], total[VMS_SIZE_TEXT_MAX];
	struct vms_errmsg e = {""};
	uint64_t sum = 0;
	struct look l;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (look_load(t, &l, &e)) {
		code = look_fail(t, &l, &e);
		look_free(&l);
		return code;
	}
	code = look_exit_code(&l);
	if (t->json) {
		tool_print_json(look_json(&l));
		look_free(&l);
		return code;
	}
	VMS_VEC_FOREACH (&l.r.v.volumes, vol)
		sum += vol->size_bytes;
	printf("health    %s\n", look_word(&l));
	print_nodes(&l.r.v, &l.h);
	print_copies(&l.r.v, &l.h);
	ring_stand_print(&l.r, "stands    ", 4);
	print_doing(&l);
	etcd_print(&l.e, 10);
	look_print_gateways(&l, 10);
	printf("volumes   %zu, %s in all\n", l.r.v.volumes.n, vms_size_human(sum, used));
	if (l.h.total_bytes)
		printf("space     %s of %s used\n", vms_size_human(l.h.used_bytes, used),
		       vms_size_human(l.h.total_bytes, total));
	look_free(&l);
	return code;
}

const struct cmd cmd_status = {
	.name = "status",
	.args = "[--json]",
	.brief = "the cluster on one screen",
	.about = "The cluster on one screen: how it is, what is lost or at "
		 "risk, what is being done about\n"
		 "it. Exit codes: 0 ok, 3 degraded (a node is down or full, "
		 "a partition short of copies,\n"
		 "a member of etcd away or with an alarm, a gateway down that "
		 "nobody has drained), 4 some\n"
		 "data cannot be reached.",
	.run = run_status};
