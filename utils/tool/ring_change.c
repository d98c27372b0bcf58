// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring leave, drain, undrain, reweight, zone, cancel, give-up: what a node that
 * is in the ring ought to hold. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/size.h"
#include "utils/tool/ring.h"
#include "utils/tool/ring_cmds.h"

/* One change of one or more nodes. */
struct change {
	struct ring r; /* as it was, asked */
	struct ring_opts o;
	char **spec;
	unsigned n;
	uint8_t state; /* leave, drain, undrain */
	unsigned changed;
	uint32_t gone; /* the last node that leaves */
};

static int edit_state(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct change *ch = arg;

	ch->changed = 0;
	ch->gone = 0;
	for (unsigned i = 0; i < ch->n; i++) {
		struct view_node *x = ring_node(v, ch->spec[i], e);

		if (!x)
			return VMS_E_NOENT;
		if (ch->state == VMS_NODE_IN && x->n.state == VMS_NODE_LEAVING)
			return vms_fail(e, VMS_E_INVAL,
					"node %s is leaving; vmstore-ring cancel %s keeps it",
					x->n.name, x->n.name);
		ch->changed += x->n.state != ch->state;
		x->n.state = ch->state;
		if (ch->state == VMS_NODE_LEAVING)
			ch->gone = x->n.id;
	}
	if (!ch->changed)
		return VMS_E_CANCELLED;
	return ch->state == VMS_NODE_IN ? 0 : ring_may(&ch->r, v, &ch->o, e);
}

/* Back to where a change began: leaving and drained nodes stay, a node that is on its
 * way in leaves. */
static int edit_cancel(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct change *ch = arg;

	ch->changed = 0;
	for (size_t i = 0; !ch->n && i < v->nodes.n; i++) {
		struct view_node *x = &v->nodes.d[i];

		if (x->n.state != VMS_NODE_LEAVING)
			continue;
		x->n.state = VMS_NODE_IN;
		ch->changed++;
	}
	for (unsigned i = 0; i < ch->n; i++) {
		struct view_node *x = ring_node(v, ch->spec[i], e);
		bool coming = false;

		if (!x)
			return VMS_E_NOENT;
		for (uint32_t p = 0; p < v->nparts; p++) {
			const struct vms_part_conf *c = &v->part[p].conf;
			bool want = false, member = false;

			for (uint32_t k = 0; k < c->nwant; k++)
				want |= c->want[k] == x->n.id;
			for (uint32_t k = 0; k < c->nmembers; k++)
				member |= c->member[k].node == x->n.id;
			coming |= want && !member;
		}
		if (x->n.state == VMS_NODE_LEAVING || x->n.state == VMS_NODE_DRAINED)
			x->n.state = VMS_NODE_IN;
		else if (coming && x->n.state == VMS_NODE_IN)
			x->n.state = VMS_NODE_LEAVING;
		else
			return vms_fail(e, VMS_E_INVAL,
					"node %s is neither leaving nor drained, and nothing is on "
					"its way to it",
					x->n.name);
		ch->changed++;
	}
	if (!ch->changed)
		return vms_fail(e, VMS_E_INVAL, "no node is leaving");
	return ring_may(&ch->r, v, &ch->o, e);
}

static int edit_weight(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct change *ch = arg;

	ch->changed = 0;
	for (unsigned i = 0; i + 1 < ch->n; i += 2) {
		struct view_node *x = ring_node(v, ch->spec[i], e);
		uint64_t w = 0;

		if (!x)
			return VMS_E_NOENT;
		(void)vms_u64_parse(ch->spec[i + 1], &w, NULL); /* weight_check() has seen to it */
		ch->changed += x->n.weight != w;
		x->n.weight = (uint32_t)w;
	}
	return ch->changed ? ring_may(&ch->r, v, &ch->o, e) : VMS_E_CANCELLED;
}

static int edit_zone(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct change *ch = arg;

	ch->changed = 0;
	for (unsigned i = 0; i + 1 < ch->n; i += 2) {
		struct view_node *x = ring_node(v, ch->spec[i], e);
		const char *zone = strcmp(ch->spec[i + 1], "-") ? ch->spec[i + 1] : "";

		if (!x)
			return VMS_E_NOENT;
		ch->changed += strcmp(x->n.zone, zone) != 0;
		snprintf(x->n.zone, sizeof(x->n.zone), "%s", zone);
	}
	return ch->changed ? ring_may(&ch->r, v, &ch->o, e) : VMS_E_CANCELLED;
}

/* Reads, refuses or changes, waits. what: for messages. */
static int change(struct cmd_call *c, struct change *ch, ring_edit_fn edit, const char *what)
{
	struct tool *t = c->t;
	struct vms_errmsg e = {""};
	bool has_data;
	int rc, code = TOOL_OK;

	ch->spec = c->arg;
	ch->n = c->n;
	rc = ring_load(t, &ch->r, &e);
	if (!rc)
		ring_ask(t, &ch->r);
	if (!rc && ch->o.dry_run) {
		code = ring_dry_run(t, &ch->r, edit, ch);
		ring_free(&ch->r);
		return code;
	}
	if (!rc)
		rc = ring_change(t, edit, ch, &e);
	has_data = ch->r.v.cluster.has_data;
	ring_free(&ch->r);
	if (rc && rc != VMS_E_CANCELLED)
		return tool_fail(t, "%s", e.text);
	if (!t->json)
		printf(rc ? "%s: nothing to change\n" : "%s: begun\n", what);
	fflush(stdout);
	if (has_data && !ch->o.no_wait)
		code = ring_wait(t, what, ch->gone, ch->o.timeout_s);
	if (t->json && code == TOOL_OK)
		tool_print_json(json_pack("{ss sI sb}", "what", what, "changed",
					  (json_int_t)(rc ? 0 : ch->changed), "done",
					  (int)(!has_data || !ch->o.no_wait)));
	return code;
}

/* What stands behind each NODE. */
struct pairs {
	const char *what;
	int (*check)(const char *value, struct vms_errmsg *e);
};

static int weight_check(const char *value, struct vms_errmsg *e)
{
	uint64_t w;

	if (vms_u64_parse(value, &w, e))
		return VMS_E_INVAL;
	if (!w || w > VMS_RING_WEIGHT_MAX)
		return vms_fail(e, VMS_E_INVAL,
				"weight %" PRIu64
				": must be 1 to %u (to empty a node: vmstore-ring drain)",
				w, VMS_RING_WEIGHT_MAX);
	return 0;
}

static int zone_check(const char *value, struct vms_errmsg *e)
{
	return strcmp(value, "-") ? vms_settings_zone_check(value, e) : 0;
}

static const struct pairs weights = {"a WEIGHT", weight_check},
			  zone_names = {"a ZONE ('-' for none)", zone_check};

/* A command that changes nodes and nothing else. */
static int run_change(struct cmd_call *c, uint8_t state, ring_edit_fn edit, const char *what,
		      const struct pairs *pairs)
{
	struct change ch = {.state = state};
	const struct vms_opt opts[] = {RING_OPT_DRY(ch.o), RING_OPT_WAIT(ch.o),
				       RING_OPT_FORCE(ch.o), CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	if (pairs && c->n % 2)
		return cmd_usage(c, "each NODE needs %s", pairs->what);
	for (unsigned i = 1; pairs && i < c->n; i += 2)
		if (pairs->check(c->arg[i], &e))
			return cmd_usage(c, "%s: %s", c->arg[i - 1], e.text);
	return change(c, &ch, edit, what);
}

static int run_leave(struct cmd_call *c)
{
	return run_change(c, VMS_NODE_LEAVING, edit_state, "leave", NULL);
}

static int run_drain(struct cmd_call *c)
{
	return run_change(c, VMS_NODE_DRAINED, edit_state, "drain", NULL);
}

static int run_undrain(struct cmd_call *c)
{
	return run_change(c, VMS_NODE_IN, edit_state, "undrain", NULL);
}

static int run_cancel(struct cmd_call *c)
{
	return run_change(c, 0, edit_cancel, "cancel", NULL);
}

static int run_reweight(struct cmd_call *c)
{
	return run_change(c, 0, edit_weight, "reweight", &weights);
}

static int run_zone(struct cmd_call *c)
{
	return run_change(c, 0, edit_zone, "zone", &zone_names);
}

/* ---- give-up ---- */

/* A node that never comes back. Without last copies it is one that leaves while it is
 * down; with them nothing could be served in their place but zeros, which would be
 * worse than an error, so it is refused. */
static int run_give_up(struct cmd_call *c)
{
	struct change ch = {.state = VMS_NODE_LEAVING};
	const struct vms_opt opts[] = {
		RING_OPT_DRY(ch.o), RING_OPT_WAIT(ch.o), RING_OPT_FORCE(ch.o),
		CMD_OPT_JSON(c),    VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	struct view_node *x = NULL;
	uint32_t only = 0, first = 0;
	struct ring r;
	bool up = false;
	int rc, code = TOOL_OK;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = ring_load(c->t, &r, &e);
	if (!rc) {
		ring_ask(c->t, &r);
		x = ring_node(&r.v, c->arg[0], &e);
		rc = x ? 0 : VMS_E_NOENT;
	}
	if (x)
		only = ring_last_copies(&r, x->n.id, &first);
	up = x && x->up;
	if (rc)
		code = tool_fail(c->t, "%s", e.text);
	else if (up)
		code = tool_fail(c->t,
				 "node %s runs: vmstore-ring leave %s moves its data away first",
				 x->n.name, x->n.name);
	else if (only) {
		code = tool_fail(c->t,
				 "node %s has the only copy of %u partitions (the first is %u). "
				 "Each volume has parts in all of them: %zu volumes cannot be read "
				 "there, and go on everywhere else",
				 x->n.name, only, first, r.v.volumes.n);
		VMS_VEC_FOREACH (&r.v.volumes, vol)
			tool_note(c->t, "  damaged: volume %s", vol->name);
		tool_note(c->t, "this version does not put empty partitions in their place: reads "
				"would return zeros where data was. Bring the node or its disk "
				"back, or restore the volumes into a new cluster: 'The last copy "
				"is lost' in doc/operations.md");
	}
	ring_free(&r);
	if (code)
		return code;
	return change(c, &ch, edit_state, "give-up");
}

/* ---- the table ---- */

const struct cmd ring_leave = {.name = "leave",
			       .args = "[OPTIONS] NODE...",
			       .brief = "take a node out of the ring for good",
			       .about = "Moves what NODE (name or number) holds to the others; "
					"when nothing names it any more\n"
					"it is out of the ring and its process ends. A node that "
					"is down may leave when others\n"
					"have copies of all that it holds. Refused when fewer "
					"nodes than copies would be left.",
			       .min = 1,
			       .max = CMD_ARGS_MAX,
			       .run = run_leave};
const struct cmd ring_drain = {
	.name = "drain",
	.args = "[OPTIONS] NODE...",
	.brief = "empty a node that stays in the ring",
	.about = "Moves what NODE holds to the others, before work on its machine. It stays in the "
		 "ring\n"
		 "and holds nothing until vmstore-ring undrain. (What the logs hold goes into\n"
		 "containers by vmstore-ring empty-logs.)",
	.min = 1,
	.max = CMD_ARGS_MAX,
	.run = run_drain};
const struct cmd ring_undrain = {.name = "undrain",
				 .args = "[OPTIONS] NODE...",
				 .brief = "let a drained node hold its share again",
				 .about = "A drained node gets its share of the data again.",
				 .min = 1,
				 .max = CMD_ARGS_MAX,
				 .run = run_undrain};
const struct cmd ring_reweight = {.name = "reweight",
				  .args = "[OPTIONS] NODE WEIGHT...",
				  .brief = "change a node's share of the data",
				  .about = "Changes the shares of nodes; 100 is normal, twice as "
					   "much gets twice the data. Just\n"
					   "the difference moves.",
				  .min = 2,
				  .max = CMD_ARGS_MAX,
				  .run = run_reweight};
const struct cmd ring_zone = {.name = "zone",
			      .args = "[OPTIONS] NODE ZONE...",
			      .brief = "change what fails together with a node",
			      .about = "Changes the zones of nodes. Copies lie in different zones "
				       "while there are enough; a\n"
				       "node without zone ('-') is a zone of its own.",
			      .min = 2,
			      .max = CMD_ARGS_MAX,
			      .run = run_zone};
const struct cmd ring_cancel = {.name = "cancel",
				.args = "[OPTIONS] [NODE...]",
				.brief = "take back a change that is under way",
				.about = "Without NODE: all nodes that are leaving stay. With it: "
					 "a leaving or drained node stays\n"
					 "and keeps or gets back its share, a node that is still "
					 "being filled leaves. What has\n"
					 "moved already moves back only as far as needed.",
				.min = 0,
				.max = CMD_ARGS_MAX,
				.run = run_cancel};
const struct cmd ring_give_up = {
	.name = "give-up",
	.args = "[OPTIONS] NODE",
	.brief = "go on without a node that never comes back",
	.about = "For a node that is destroyed. When others have copies of all that it held this "
		 "is\n"
		 "vmstore-ring leave. When it has the only copy of partitions, says which volumes\n"
		 "are damaged and refuses: nothing takes the place of lost data by itself.",
	.min = 1,
	.max = 1,
	.run = run_give_up};
