// SPDX-License-Identifier: GPL-2.0-only
/* vmstore reclaim: how much of what was deleted is still to be given back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "utils/lib/size.h"
#include "utils/tool/branch.h"
#include "utils/tool/cmds.h"
#include "utils/tool/nodes.h"

#define NODE_MS_MAX 3000u
#define POLL_MS	    500u
#define STILL_MS    10000u /* no more comes when nothing has changed for so long */
#define SAY_MS	    2000u

struct state {
	uint64_t garbage_bytes; /* one copy, in containers */
	unsigned dead_branches; /* deleted, and pages are left */
	unsigned pruning;	/* nodes that drop pages, or will soon */
	uint64_t walked, partitions;
	char down[160];
};

static uint64_t field(const json_t *o, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

static int look(struct tool *t, struct nodes *ns, struct state *s, struct vms_errmsg *e)
{
	struct branches all;
	int rc = branches_load(t, &all, e);

	memset(s, 0, sizeof(*s));
	VMS_VEC_FOREACH (&all, b)
		s->dead_branches += b->b.state == BRANCH_DEAD;
	branches_free(&all);
	if (rc)
		return rc;
	rc = nodes_leaders(t, ns, e);
	if (rc)
		return rc;
	nodes_ask(t, ns, "reclaim", NULL, NODE_MS_MAX);
	for (unsigned i = 0; i < ns->n; i++) {
		const json_t *a = ns->p[i].answer;
		uint64_t chunks = field(a, "container_chunks"), live = field(a, "live_chunks");
		size_t n = strlen(s->down);

		if (!a && !ns->lead[i].leads)
			continue;
		if (!a) {
			snprintf(s->down + n, sizeof(s->down) - n, "%s%.40s", n ? ", " : "",
				 ns->p[i].name);
			continue;
		}
		s->garbage_bytes += chunks > live ? (chunks - live) * VMS_CHUNK_BYTES : 0;
		s->pruning += json_is_true(json_object_get(a, "pending"));
		s->walked += field(a, "walked");
		s->partitions += field(a, "partitions");
	}
	return 0;
}

/* Seconds until the rest is given back at the pace so far; 0: nobody knows. */
static uint64_t left_s(const struct state *first, uint64_t first_ms, const struct state *now)
{
	uint64_t ms = vms_clock_ms() - first_ms;

	if (now->garbage_bytes >= first->garbage_bytes || ms < 1000)
		return 0;
	return (uint64_t)((double)now->garbage_bytes * (double)ms / 1000 /
			  (double)(first->garbage_bytes - now->garbage_bytes)) +
	       1;
}

static void print(const struct state *s, uint64_t eta_s)
{
	char bytes[VMS_SIZE_TEXT_MAX];

	printf("to give back   about %s of each copy\n", vms_size_human(s->garbage_bytes, bytes));
	if (eta_s)
		printf("time           %" PRIu64 " s at the present pace\n", eta_s);
	if (s->dead_branches)
		printf("deleted        %u %s still pages\n", s->dead_branches,
		       s->dead_branches == 1 ? "branch of a volume has"
					     : "branches of volumes have");
	if (s->pruning)
		printf("pages          %u node%s for pages that nothing shows, %u %% done\n",
		       s->pruning, s->pruning == 1 ? " looks" : "s look",
		       s->partitions ? (unsigned)(100 * s->walked / s->partitions) : 0);
	if (s->down[0])
		printf("down           %s: what it holds stays until it is back\n", s->down);
}

static json_t *to_json(const struct state *s, uint64_t eta_s, bool done)
{
	return json_pack("{sI sI sI sb sI ss}", "garbage_bytes", (json_int_t)s->garbage_bytes,
			 "dead_branches", (json_int_t)s->dead_branches, "nodes_pruning",
			 (json_int_t)s->pruning, "done", (int)done, "eta_s", (json_int_t)eta_s,
			 "nodes_down", s->down);
}

static void say(struct tool *t, const struct state *s, uint64_t eta_s, uint64_t since_ms, bool end)
{
	char bytes[VMS_SIZE_TEXT_MAX], eta[32] = "";

	if (t->json || !isatty(STDERR_FILENO) || vms_clock_ms() - since_ms < SAY_MS)
		return;
	if (eta_s)
		snprintf(eta, sizeof(eta), ", %" PRIu64 " s left", eta_s);
	if (end)
		fprintf(stderr, "\r%60s\r", "");
	else
		fprintf(stderr, "\r%s to give back%s, %u branch%s   ",
			vms_size_human(s->garbage_bytes, bytes), eta, s->dead_branches,
			s->dead_branches == 1 ? "" : "es");
	fflush(stderr);
}

static void pause_ms(struct tool *t, struct nodes *ns, uint64_t ms)
{
	uint64_t until = vms_clock_ms() + ms;

	while (vms_clock_ms() < until && !tool_interrupted())
		tool_wait(t, 50);
	for (unsigned i = 0; i < ns->n; i++)
		tool_peer_open(t, &ns->p[i]); /* one that was down */
}

static bool all_quiet(const struct state *s)
{
	return !s->dead_branches && !s->pruning && !s->down[0];
}

/* Until nothing changes any more: nodes keep a little garbage until it is worth the
 * moving of what lives beside it. */
static int wait_done(struct tool *t, struct nodes *ns, struct state *s, struct vms_errmsg *e)
{
	uint64_t t0 = vms_clock_ms(), changed = t0;
	const struct state first = *s;
	int rc = 0;

	while (!rc && !tool_interrupted()) {
		struct state was = *s;

		if (all_quiet(s) && !s->garbage_bytes)
			break;
		if (vms_clock_ms() - changed >= STILL_MS)
			break; /* also when a node is down: without it no more comes */
		pause_ms(t, ns, POLL_MS);
		rc = look(t, ns, s, e);
		if (s->garbage_bytes != was.garbage_bytes ||
		    s->dead_branches != was.dead_branches || (s->pruning && !s->down[0]))
			changed = vms_clock_ms();
		say(t, s, left_s(&first, t0, s), t0, false);
	}
	say(t, s, 0, t0, true);
	if (!rc && tool_interrupted())
		rc = vms_fail(e, VMS_E_CANCELLED, "interrupted; storage nodes go on");
	return rc;
}

static int run_reclaim(struct cmd_call *c)
{
	bool wait = false;
	const struct vms_opt opts[] = {
		{0, "wait", VMS_OPT_FLAG, &wait, NULL, "until all is given back that will be"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct nodes ns = {0};
	struct vms_errmsg e = {""};
	uint64_t eta_s = 0;
	struct state s;
	int code, rc;

	if (!cmd_parse(c, opts, &code))
		return code;
	tool_catch_signals();
	rc = nodes_open(c->t, &ns, &e);
	if (!rc)
		rc = look(c->t, &ns, &s, &e);
	if (!rc && wait) {
		rc = wait_done(c->t, &ns, &s, &e);
	} else if (!rc && s.garbage_bytes) {
		/* how fast does it go? */
		const struct state first = s;
		uint64_t t0 = vms_clock_ms();

		pause_ms(c->t, &ns, 1500);
		rc = look(c->t, &ns, &s, &e);
		eta_s = rc ? 0 : left_s(&first, t0, &s);
	}
	if (rc)
		code = tool_fail(c->t, "%s", e.text);
	else if (c->t->json)
		tool_print_json(to_json(&s, eta_s, all_quiet(&s)));
	else
		print(&s, eta_s);
	if (!rc && s.down[0])
		code = TOOL_DEGRADED;
	nodes_close(c->t, &ns);
	return code;
}

const struct cmd cmd_reclaim = {
	.name = "reclaim",
	.args = "[--wait] [--json]",
	.brief = "what is still to be given back of what was deleted",
	.about = "Shows how much of what was deleted or overwritten storage nodes still hold. They "
		 "give\n"
		 "it back by themselves, in the background, behind the work of initiators; a "
		 "little\n"
		 "stays until moving what lives beside it pays. Exit code 3: a node is down.",
	.run = run_reclaim};
