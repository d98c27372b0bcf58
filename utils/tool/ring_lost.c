// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-ring mark-lost: what partitions that stand lack, by volume and place; and, when that
 * is asked for in so many words, giving it up. The primary looks for the bytes on all nodes
 * once more before it does (backend/lack_search.c); so this only asks, and waits.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/size.h"
#include "utils/tool/branch.h"
#include "utils/tool/ring.h"
#include "utils/tool/ring_cmds.h"
#include "utils/tool/snap.h"

#define NODE_MS_MAX 5000u
#define POLL_MS	    300u
#define LINES_MAX   40u

struct lost {
	struct tool *t;
	struct ring r;
	struct snaps snaps;
	struct branches branches;
	bool give, all;
	uint64_t timeout_s;
	const char *without;  /* as it was given */
	VMS_VEC(uint32_t) go; /* nodes in it */
	VMS_VEC(uint32_t) parts;
	json_t *json;
};

static uint64_t num(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

static struct view_node *primary(struct lost *l, uint32_t p)
{
	return view_node(&l->r.v, l->r.v.part[p].conf.primary);
}

/* Does no node run that has it up to date? names: of those that have it. */
static bool out_of_reach(struct lost *l, uint32_t p, char *names, size_t room)
{
	const struct vms_part_conf *c = &l->r.v.part[p].conf;
	size_t n = 0;

	names[0] = 0;
	for (uint32_t i = 0; i < c->nmembers; i++) {
		const struct view_node *x = view_node(&l->r.v, c->member[i].node);

		if (x && x->up)
			return false;
		if (x && n < room)
			n += (size_t)snprintf(names + n, room - n, "%s%s", n ? ", " : "",
					      x->n.name);
	}
	return c->epoch && c->nmembers;
}

/* That is not what is given up here. */
static void say_whole(struct lost *l)
{
	tool_note(l->t, "mark-lost gives up blocks of partitions that stand, never whole "
			"partitions. Start one of these nodes; if none ever comes back, "
			"`vmstore-ring give-up NODE` names the damaged volumes: see 'The last "
			"copy is lost' in doc/operations.md");
}

/* What the primary says of the partition; NULL: it does not stand, or *rc and e. *given: how
 * many chunks it has given up so far. */
static json_t *ask(struct lost *l, uint32_t p, uint64_t *given, int *rc, struct vms_errmsg *e)
{
	struct view_node *x = primary(l, p);
	json_t *a = NULL, *one, *out = NULL;
	size_t i;

	if (x)
		*rc = tool_call(l->t, x->n.address, "lost", json_pack("{si}", "of", (int)p),
				NODE_MS_MAX, &a, e);
	else
		*rc = vms_fail(e, VMS_E_NOENT, "no node leads it");
	*given = num(a, "given_up");
	json_array_foreach (json_object_get(a, "partitions"), i, one)
		if (num(one, "partition") == p)
			out = json_incref(one);
	json_decref(a);
	return out;
}

/* ---- what is lost ---- */

/* Does one see what was written in (branch, gen)? own 0: the newest state. */
static bool sees(const struct lost *l, uint64_t branch, uint64_t own, uint64_t of, uint64_t gen)
{
	if (branch == of)
		return !own || own >= gen;
	VMS_VEC_FOREACH (&l->branches, b)
		for (unsigned i = 0; b->b.branch == branch && i < b->b.nancestors; i++)
			if (b->b.ancestor[i].branch == of && b->b.ancestor[i].snap_gen >= gen)
				return true;
	return false;
}

/* Volumes and snapshots that may show what was written in (branch, gen): a newer write may
 * hide it from some. */
static json_t *who_sees(const struct lost *l, uint64_t of, uint64_t gen)
{
	json_t *a = json_array();
	char name[256];

	VMS_VEC_FOREACH (&l->r.v.volumes, v)
		if (sees(l, v->branch, 0, of, gen))
			json_array_append_new(a, json_string(v->name));
	VMS_VEC_FOREACH (&l->snaps, s) {
		if (!sees(l, s->s.branch, s->s.snap_gen, of, gen))
			continue;
		snprintf(name, sizeof(name), "%s@%s", s->s.volume, s->s.name);
		json_array_append_new(a, json_string(name));
	}
	return a;
}

static void print_names(const json_t *who)
{
	const json_t *v;
	size_t i;

	if (!json_array_size(who))
		printf("(no volume or snapshot any more)");
	json_array_foreach (who, i, v)
		printf("%s%s", i ? ", " : "", json_string_value(v));
}

/* Adds to each chunk where it is: lba, blocks, who shows it. */
static void places(const struct lost *l, json_t *one)
{
	json_t *c;
	size_t i;

	json_array_foreach (json_object_get(one, "chunks"), i, c) {
		uint64_t at = num(c, "extent") * VMS_EXTENT_CHUNKS + num(c, "chunk");
		unsigned mask = (unsigned)num(c, "lost_sectors");

		json_object_set_new(c, "offset_bytes",
				    json_integer((json_int_t)(at * VMS_CHUNK_BYTES)));
		json_object_set_new(c, "lba", json_integer((json_int_t)(at * VMS_CHUNK_BLOCKS)));
		json_object_set_new(c, "lost_blocks", json_integer(__builtin_popcount(mask)));
		json_object_set_new(c, "shown_by",
				    num(c, "branch")
					    ? who_sees(l, num(c, "branch"), num(c, "snap_gen"))
					    : json_array());
	}
}

/* "lba 25104-25107, 25110" */
static void print_lbas(uint64_t lba, unsigned mask)
{
	const char *sep = "lba ";

	for (unsigned s = 0; s < VMS_CHUNK_BLOCKS; s++) {
		unsigned end = s;

		if (!(mask >> s & 1))
			continue;
		while (end + 1 < VMS_CHUNK_BLOCKS && (mask >> (end + 1) & 1))
			end++;
		printf("%s%" PRIu64, sep, lba + s);
		if (end > s)
			printf("-%" PRIu64, lba + end);
		sep = ", ";
		s = end;
	}
}

static void print_lost(const json_t *one)
{
	const json_t *chunks = json_object_get(one, "chunks"), *c;
	uint64_t blocks = 0;
	char size[VMS_SIZE_TEXT_MAX];
	size_t i;

	json_array_foreach (chunks, i, c)
		blocks += num(c, "lost_blocks");
	printf("partition %" PRIu64 ": record %" PRIu64 " lacks %s in %zu chunks of 4 KiB:\n",
	       num(one, "partition"), num(one, "record"),
	       vms_size_human(blocks * VMS_LB_BYTES, size), json_array_size(chunks));
	json_array_foreach (chunks, i, c) {
		if (i == LINES_MAX) {
			printf("  and %zu more (--json lists them)\n", json_array_size(chunks) - i);
			break;
		}
		printf("  ");
		print_lbas(num(c, "lba"), (unsigned)num(c, "lost_sectors"));
		printf(" of ");
		print_names(json_object_get(c, "shown_by"));
		printf("\n");
	}
}

/* ---- giving up ---- */

/* Nodes that do not run, and are not named as ones to go on without. */
static int look_away(struct lost *l)
{
	char names[400] = "";

	VMS_VEC_FOREACH (&l->r.v.nodes, x) {
		size_t n = strlen(names), i = 0;

		while (i < l->go.n && l->go.d[i] != x->n.id)
			i++;
		if (!x->up && i == l->go.n)
			snprintf(names + n, sizeof(names) - n, "%s%s", n ? "," : "", x->n.name);
	}
	if (!names[0])
		return TOOL_OK;
	tool_note(l->t,
		  "nodes that do not run may have the bytes, and bring them back when they "
		  "are started: %s",
		  names);
	return tool_fail(l->t, "nothing was given up. For nodes that never come back: --without %s",
			 names);
}

static json_t *request(const struct lost *l, uint32_t p, uint64_t record)
{
	json_t *w = json_array();

	VMS_VEC_FOREACH (&l->go, id)
		json_array_append_new(w, json_integer(*id));
	return json_pack("{sI sI so}", "partition", (json_int_t)p, "record", (json_int_t)record,
			 "without", w);
}

/* One partition, until it does not stand any more: what it lacked may be in more than one
 * record. */
static int give_up(struct lost *l, uint32_t p)
{
	uint64_t end = vms_clock_ms() + l->timeout_s * 1000, before = 0, now = 0;
	struct view_node *x = primary(l, p);
	struct vms_errmsg e = {""}, said = {""};
	json_t *one, *a;
	bool first = true;
	int rc;

	while ((one = ask(l, p, &now, &rc, &e)) || rc) {
		const char *state = json_string_value(json_object_get(one, "state"));
		const char *why = json_string_value(json_object_get(one, "why"));

		if (!rc && first)
			before = now;
		first &= rc != 0;
		if (why && *why)
			snprintf(said.text, sizeof(said.text), "%s", why);
		if (!rc && state && !strcmp(state, "stands")) {
			rc = tool_call(l->t, x->n.address, "lost",
				       request(l, p, num(one, "record")), NODE_MS_MAX, &a, &e);
			json_decref(a);
			if (rc == VMS_E_NOENT)
				rc = 0; /* it has gone on meanwhile */
		}
		json_decref(one);
		if (rc && !vms_err_retryable(rc))
			return tool_fail(l->t, "partition %u: %s", p, e.text);
		if (vms_clock_ms() > end)
			return tool_fail(l->t, "partition %u: nothing is given up yet: %s", p,
					 rc		? e.text
					 : said.text[0] ? said.text
							: "its nodes are still looking for it");
		tool_wait(l->t, POLL_MS);
	}
	if (l->t->json)
		return TOOL_OK;
	if (now > before)
		printf("partition %u goes on; %" PRIu64 " chunks were given up: what was lost of "
		       "them is a medium error until it is written\n",
		       p, now - before);
	else
		printf("partition %u goes on; nothing had to be given up\n", p);
	return TOOL_OK;
}

/* ---- the command ---- */

static int which(struct lost *l, struct cmd_call *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		char *end;
		unsigned long p = strtoul(c->arg[i], &end, 10);

		if (!c->arg[i][0] || *end || p >= l->r.v.nparts)
			return cmd_usage(c, "'%s' is no partition: 0 to %u", c->arg[i],
					 l->r.v.nparts - 1);
		VMS_VEC_PUSH(&l->parts, (uint32_t)p);
	}
	for (uint32_t p = 0; !c->n && p < l->r.v.nparts; p++)
		if (l->r.part[p].stands)
			VMS_VEC_PUSH(&l->parts, p);
	return TOOL_OK;
}

static int who_is_out(struct lost *l, struct cmd_call *c)
{
	char list[400], *save = NULL;
	struct vms_errmsg e = {""};

	snprintf(list, sizeof(list), "%s", l->without ? l->without : "");
	for (char *s = strtok_r(list, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		struct view_node *x = ring_node(&l->r.v, s, &e);

		if (!x)
			return tool_fail(c->t, "%s", e.text);
		if (x->up)
			return tool_fail(c->t, "node %s runs: it is asked", x->n.name);
		VMS_VEC_PUSH(&l->go, x->n.id);
	}
	return TOOL_OK;
}

static int run_parts(struct lost *l)
{
	unsigned stand = 0, whole = 0;
	int code = TOOL_OK;
	char names[200];

	VMS_VEC_FOREACH (&l->parts, p) {
		struct vms_errmsg e = {""};
		uint64_t given;
		json_t *one;
		int rc;

		if (out_of_reach(l, *p, names, sizeof(names))) {
			code = tool_fail(l->t,
					 "partition %u cannot be reached: no node that has it up "
					 "to date runs (%s)",
					 *p, names);
			whole++;
			continue;
		}
		one = ask(l, *p, &given, &rc, &e);
		if (rc) {
			code = tool_fail(l->t, "partition %u: %s", *p, e.text);
			continue;
		}
		if (!one) {
			tool_note(l->t, "partition %u does not stand: it lacks nothing", *p);
			continue;
		}
		stand++;
		places(l, one);
		if (!l->t->json)
			print_lost(one);
		json_array_append_new(l->json, one);
	}
	if (whole)
		say_whole(l);
	if (!stand || code)
		return code;
	if (l->give)
		code = look_away(l);
	for (size_t i = 0; l->give && !code && i < l->parts.n; i++)
		code = give_up(l, l->parts.d[i]);
	if (l->give)
		return code;
	tool_note(l->t, "nothing was changed. The bytes come back with a node or disk that has "
			"them (vmstore-ring status); --lose-data gives them up for good");
	return TOOL_DEGRADED;
}

/* Of all partitions: those that nobody can be asked about. */
static int rest(struct lost *l)
{
	char names[200], first_names[200] = "";
	uint32_t n = 0, first = 0;

	for (uint32_t p = 0; p < l->r.v.nparts; p++) {
		if (!out_of_reach(l, p, names, sizeof(names)))
			continue;
		if (!n++) {
			first = p;
			memcpy(first_names, names, sizeof(names));
		}
	}
	if (!n) {
		if (!l->parts.n)
			tool_note(l->t, "no partition stands: nothing is lacking");
		return TOOL_OK;
	}
	tool_note(
		l->t,
		"%u partitions cannot be reached: the first is %u, no node that has it up to date "
		"runs (%s)",
		n, first, first_names);
	say_whole(l);
	return TOOL_DEGRADED;
}

static int run_mark_lost(struct cmd_call *c)
{
	struct lost l = {.t = c->t, .timeout_s = 60};
	const struct vms_opt opts[] = {
		{0, "all", VMS_OPT_FLAG, &l.all, NULL, "all partitions that stand"},
		{0, "lose-data", VMS_OPT_FLAG, &l.give, NULL,
		 "give up what no node has: it cannot be had back"},
		{0, "without", VMS_OPT_STRING, &l.without, "NODE,...",
		 "nodes that do not run and never come back"},
		{0, "timeout", VMS_OPT_SECONDS, &l.timeout_s, "TIME",
		 "try at most so long for each partition (default 1min)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	int rc, code;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	if (l.all && c->n)
		return cmd_usage(c, "either PARTITION or --all");
	if (l.give && !l.all && !c->n)
		return cmd_usage(c, "--lose-data needs PARTITION, or --all");
	if (l.without && !l.give)
		return cmd_usage(c, "--without goes with --lose-data");
	l.json = json_array();
	rc = ring_load(c->t, &l.r, &e);
	if (!rc)
		rc = snaps_load(c->t, "", &l.snaps, &e);
	if (!rc)
		rc = branches_load(c->t, &l.branches, &e);
	if (rc) {
		code = tool_fail(c->t, "%s", e.text);
	} else {
		ring_ask(c->t, &l.r);
		code = which(&l, c);
		if (!code)
			code = who_is_out(&l, c);
		if (!code)
			code = run_parts(&l);
		if (!code && !c->n)
			code = rest(&l);
	}
	if (c->t->json && (code == TOOL_OK || code == TOOL_DEGRADED)) {
		rc = tool_print_json(l.json);
		code = rc ? rc : code;
	} else {
		json_decref(l.json);
	}
	ring_free(&l.r);
	snaps_free(&l.snaps);
	branches_free(&l.branches);
	VMS_VEC_FREE(&l.go);
	VMS_VEC_FREE(&l.parts);
	return code;
}

const struct cmd ring_mark_lost = {
	.name = "mark-lost",
	.args = "[PARTITION...|--all] [--lose-data [--without NODE,...]] [--timeout S] [--json]",
	.brief = "show or give up what partitions that stand lack",
	.about =
		"A partition stands when a record needs bytes that are damaged on every node that\n"
		"runs. Lists these by volume, snapshot and LBA. With --lose-data they are looked "
		"for\n"
		"once more on all nodes; what none has is given up: it reads as a medium error "
		"until it\n"
		"is written again, and the partition goes on. Nodes that do not run may have it: "
		"start\n"
		"them, or name those that never come back with --without; they are not believed "
		"later.\n"
		"Exit code 3: something is lacking, and nothing was given up.",
	.min = 0,
	.max = CMD_ARGS_MAX,
	.run = run_mark_lost};
