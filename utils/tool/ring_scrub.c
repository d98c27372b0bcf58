// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring scrub: what the nodes verify, what they found, what is lost. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/nodes.h"
#include "utils/tool/ring_cmds.h"

#define SCRUB_LIST_MAX 20u

static uint64_t num(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

static void when(uint64_t s, char out[32])
{
	time_t t = (time_t)s;
	struct tm tm;

	if (!s || !localtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M", &tm))
		strcpy(out, "never");
}

static void print_row(struct vms_table *tab, const struct tool_peer *p)
{
	const json_t *a = p->answer;
	uint64_t all = num(a, "total_bytes"), done = num(a, "done_bytes");
	char state[48], part[40], left[VMS_SIZE_TEXT_MAX], last[32], size[VMS_SIZE_TEXT_MAX];
	char found[24], mended[24], lost[24];
	const char *word = json_string_value(json_object_get(a, "state"));
	bool running = word && !strcmp(word, "running");

	if (!a || p->status) {
		const char *cells[] = {p->name, "does not answer", "", "", "", "", "", ""};

		vms_table_cells(tab, 8, cells);
		return;
	}
	snprintf(state, sizeof(state), "%s%s", word,
		 json_is_true(json_object_get(a, "fast")) ? ", at full speed" : "");
	if (running)
		snprintf(part, sizeof(part), "%" PRIu64 " %% of %s", all ? done * 100 / all : 0,
			 vms_size_human(all, size));
	else
		snprintf(part, sizeof(part), "%s", vms_size_human(all, size));
	if (running && json_object_get(a, "left_s"))
		vms_duration_format(num(a, "left_s") * 1000, left);
	else
		left[0] = 0;
	when(num(a, "last_complete"), last);
	snprintf(found, sizeof(found), "%" PRIu64, num(a, "damaged"));
	snprintf(mended, sizeof(mended), "%" PRIu64, num(a, "repaired"));
	snprintf(lost, sizeof(lost), "%" PRIu64, num(a, "lost"));
	const char *cells[] = {p->name, state, part, left, last, found, mended, lost};

	vms_table_cells(tab, 8, cells);
}

/* What no node has whole: each once, whoever tells of it. */
static void print_lost(const struct nodes *ns)
{
	unsigned shown = 0;

	for (unsigned i = 0; i < ns->n; i++) {
		const json_t *a = ns->p[i].answer;
		size_t k;
		json_t *l;

		if (!a || ns->p[i].status)
			continue;
		json_array_foreach (json_object_get(a, "lost_chunks"), k, l)
			if (shown++ < SCRUB_LIST_MAX)
				printf("lost: a chunk of partition %" PRIu64
				       " (container %09" PRIx64 " at %" PRIu64 "), says %s\n",
				       num(l, "partition"), num(l, "container"), num(l, "offset"),
				       ns->p[i].name);
		json_array_foreach (json_object_get(a, "lost_pages"), k, l)
			if (shown++ < SCRUB_LIST_MAX)
				printf("lost: an index page of partition %" PRIu64
				       " (branch %" PRIu64 ", 512 KiB from %" PRIu64
				       " MiB on), says %s\n",
				       num(l, "partition"), num(l, "branch"),
				       num(l, "sub_extent") / 2, ns->p[i].name);
	}
	if (shown > SCRUB_LIST_MAX)
		printf("… and %u more\n", shown - SCRUB_LIST_MAX);
	if (shown)
		printf("What is lost reads as a medium error until it is written again.\n");
}

static int run_scrub(struct cmd_call *c)
{
	static const char *const acts[] = {"status", "start", "pause", "resume"};
	struct tool *t = c->t;
	const struct vms_opt opts[] = {
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	unsigned act = 0, down = 0;
	uint64_t lost = 0;
	struct nodes ns;
	json_t *req;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	while (c->n && act < 4 && strcmp(c->arg[0], acts[act]))
		act++;
	if (act == 4)
		return cmd_usage(c, "'%s' is none of status, start, pause, resume", c->arg[0]);
	rc = nodes_open(t, &ns, &e);
	if (rc) {
		nodes_close(t, &ns);
		return tool_fail(t, "%s", e.text);
	}
	(void)nodes_ready(t, &ns, 3000, &e); /* nodes that are down are shown as such */
	req = json_pack("{ss}", "do", acts[act]);
	nodes_ask(t, &ns, "scrub", req, 5000);
	json_decref(req);
	for (unsigned i = 0; i < ns.n; i++) {
		down += !ns.p[i].answer || ns.p[i].status;
		if (ns.p[i].answer && !ns.p[i].status)
			lost += num(ns.p[i].answer, "lost");
	}
	if (t->json) {
		json_t *a = json_object();

		for (unsigned i = 0; i < ns.n; i++)
			json_object_set(a, ns.p[i].name,
					ns.p[i].answer && !ns.p[i].status ? ns.p[i].answer
									  : json_null());
		nodes_close(t, &ns);
		rc = tool_print_json(a);
		return rc ? rc : lost ? TOOL_UNAVAILABLE : down ? TOOL_DEGRADED : TOOL_OK;
	}
	struct vms_table *tab = vms_table_open(
		"<node|<scrub|<verified|>left|<last complete|>damaged|>repaired|>lost");

	for (unsigned i = 0; i < ns.n; i++)
		print_row(tab, &ns.p[i]);
	vms_table_print(tab, stdout);
	vms_table_close(tab);
	print_lost(&ns);
	nodes_close(t, &ns);
	return lost ? TOOL_UNAVAILABLE : down ? TOOL_DEGRADED : TOOL_OK;
}

const struct cmd ring_scrub = {
	.name = "scrub",
	.args = "[status|start|pause|resume] [--json]",
	.brief = "show, start or pause the verification of all that is stored",
	.about = "Each node reads and verifies everything it stores once in the time that\n"
		 "'vmstore-ring set --scrub-days' sets, and repairs what is damaged from other "
		 "nodes.\n"
		 "start begins a round now, at full speed; pause stops until resume or start.\n"
		 "Exit code 3: some node does not answer; 4: something is lost on every node.",
	.max = 1,
	.run = run_scrub};
