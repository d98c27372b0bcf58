// SPDX-License-Identifier: GPL-2.0-only
/* vmstore gateway drain, undrain. */
#include <stdio.h>
#include <unistd.h>

#include "utils/tool/cmds.h"
#include "utils/tool/gwdrain.h"

#define LOOK_MS 200u /* the gateway tells what has changed once a second */

static void line(struct tool *t, bool *drawn, const char *name, unsigned sessions)
{
	if (t->json || !isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K%s: %u session%s left", name, sessions, sessions == 1 ? "" : "s");
	*drawn = true;
}

/* Until the gateway has seen the drain (or its end) and, for a drain, nobody is left; or
 * it does not run; at most wait_ms. *done: it is so. */
static int wait_for(struct tool *t, const char *name, uint64_t wait_ms, bool drain,
		    struct gate_state *s, bool *done, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();
	bool drawn = false;
	int rc;

	for (;;) {
		struct vms_cat_gateway g;
		uint64_t now;

		rc = gate_look(t, name, s, &g, msg);
		if (rc)
			break;
		if (s->draining != drain) {
			rc = vms_fail(msg, VMS_E_CONFLICT, "somebody else has %s '%s' meanwhile",
				      drain ? "ended the drain of" : "drained", name);
			break;
		}
		*done = !s->up || (s->knows && (!drain || !s->sessions));
		now = vms_clock_ms();
		if (*done || now - t0 >= wait_ms || tool_interrupted())
			break;
		if (drain)
			line(t, &drawn, name, s->sessions);
		for (uint64_t until = now + LOOK_MS; now < until && !tool_interrupted();
		     now = vms_clock_ms())
			tool_wait(t, (uint32_t)(until - now));
	}
	if (drawn)
		fputs("\r\033[K", stderr);
	return rc;
}

static void print(struct tool *t, const char *name, const struct gate_state *s, bool done)
{
	tool_print_json(json_pack("{ss sb sb si sb}", "gateway", name, "draining", s->draining,
				  "up", s->up, "initiators", (int)s->sessions, "done", done));
}

static int run_drain(struct cmd_call *c)
{
	uint64_t time_ms = 5000, wait_ms = 30000;
	bool force = false, done = false;
	const struct vms_opt opts[] = {
		{0, "timeout", VMS_OPT_DURATION, &time_ms, "TIME",
		 "close sessions that have not left by then (5s)"},
		{0, "wait", VMS_OPT_DURATION, &wait_ms, "TIME",
		 "wait so long until nobody is left; 0: do not (30s)"},
		{0, "force", VMS_OPT_FLAG, &force, NULL,
		 "also when no other gateway takes initiators"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct gate_state s = {0};
	struct vms_errmsg e = {""};
	int code, rc;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (time_ms > 3600000)
		return cmd_usage(c, "--timeout: at most 1h");
	tool_catch_signals();
	rc = gate_drain(c->t, c->arg[0], (uint32_t)((time_ms + 999) / 1000), force, &e);
	if (!rc)
		rc = wait_for(c->t, c->arg[0], wait_ms, true, &s, &done, &e);
	if (rc)
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		print(c->t, c->arg[0], &s, done);
	else if (done && !s.up)
		printf("gateway %s is drained; it does not run, and will take no initiators when "
		       "it does\n",
		       c->arg[0]);
	else if (done)
		printf("gateway %s is drained\n", c->arg[0]);
	if (done || !wait_ms)
		return TOOL_OK;
	return tool_fail(c->t, "gateway %s has %u sessions left%s; the drain goes on", c->arg[0],
			 s.sessions, s.knows ? "" : " and has not heard of it yet");
}

static int run_undrain(struct cmd_call *c)
{
	uint64_t wait_ms = 10000;
	bool was = false, done = true;
	const struct vms_opt opts[] = {
		{0, "wait", VMS_OPT_DURATION, &wait_ms, "TIME",
		 "wait so long until it knows; 0: do not (10s)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct gate_state s = {0};
	struct vms_errmsg e = {""};
	int code, rc;

	if (!cmd_parse(c, opts, &code))
		return code;
	tool_catch_signals();
	rc = gate_undrain(c->t, c->arg[0], &was, &e);
	if (!rc)
		rc = wait_for(c->t, c->arg[0], wait_ms, false, &s, &done, &e);
	if (rc)
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		print(c->t, c->arg[0], &s, done);
	else if (!was)
		printf("gateway %s is not drained\n", c->arg[0]);
	else if (done)
		printf("gateway %s takes initiators again%s\n", c->arg[0],
		       s.up ? "" : " when it runs");
	if (done || !wait_ms)
		return TOOL_OK;
	return tool_fail(c->t, "gateway %s has not heard yet that its drain is over", c->arg[0]);
}

const struct cmd cmd_gateway_drain = {
	.name = "drain",
	.args = "NAME [--timeout TIME] [--wait TIME] [--force] [--json]",
	.brief = "let its initiators move to other gateways, take no new ones",
	.about = "Empties a gateway, for work on it: it asks every initiator to log out, closes "
		 "the\n"
		 "sessions that are still there after --timeout, and sends logins on to other "
		 "gateways\n"
		 "(an initiator that has another path is refused instead). Discovery no longer "
		 "lists\n"
		 "it. It stays so, over restarts of the gateway, until undrain. Exit 1: somebody "
		 "is\n"
		 "still there after --wait.",
	.min = 1,
	.max = 1,
	.run = run_drain};
const struct cmd cmd_gateway_undrain = {.name = "undrain",
					.args = "NAME [--wait TIME] [--json]",
					.brief = "let initiators come again",
					.min = 1,
					.max = 1,
					.run = run_undrain};
