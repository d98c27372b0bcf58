// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring advise: collects the facts, prints what the rules (advice.h) make of them. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "utils/lib/assert.h"
#include "utils/tool/advice.h"
#include "utils/tool/nodes.h"
#include "utils/tool/ring_cmds.h"

/* Host of the embedded catalog; NULL: it is on etcd. */
static const char *embedded(struct tool *t)
{
	const struct vms_conf_addrs *a = &t->set.cluster.catalog;

	return a->scheme || a->n != 1 ? NULL : a->a[0].host;
}

static void print(struct tool *t, const struct advices *all)
{
	json_t *out = json_array();

	VMS_VEC_FOREACH (all, a) {
		const char *when = advice_level_word(a->level);

		if (t->json)
			json_array_append_new(out, json_pack("{ss ss ss so}", "when", when, "risk",
							     a->risk, "mend", a->mend, "commands",
							     advice_commands(a)));
		else
			printf("%-5s %s\n      -> %s\n", when, a->risk, a->mend);
	}
	if (t->json)
		tool_print_json(json_incref(out));
	else if (!all->n)
		printf("nothing to advise\n");
	json_decref(out);
}

static void advise(struct tool *t, struct look *l)
{
	struct advice_facts f = {.l = l, .catalog = embedded(t)};
	struct advices all = VMS_VEC_INIT;
	struct advice_scrub *scrub;
	struct nodes ns = {.p = NULL};
	struct timespec now = {0};
	struct vms_errmsg e;

	if (!nodes_open(t, &ns, &e))
		nodes_ask(t, &ns, "scrub", NULL, 3000);
	scrub = calloc(ns.n + 1, sizeof(*scrub));
	vms_assert(scrub);
	for (unsigned i = 0; i < ns.n; i++)
		if (ns.p[i].answer)
			scrub[f.nscrub++] = (struct advice_scrub){ns.p[i].name, ns.p[i].answer};
	f.scrub = scrub;
	clock_gettime(CLOCK_REALTIME, &now);
	f.now_s = (uint64_t)now.tv_sec;
	advice(&f, &all);
	print(t, &all);
	VMS_VEC_FREE(&all);
	free(scrub);
	nodes_close(t, &ns);
}

static int run_advise(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	struct look l;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = look_load(c->t, &l, &e);
	if (rc) {
		struct advices all = VMS_VEC_INIT;

		advice_etcd(&l.e, &all);
		if (all.n)
			print(c->t, &all);
		VMS_VEC_FREE(&all);
		rc = tool_fail(c->t, "%s", e.text);
	} else {
		advise(c->t, &l);
		rc = look_exit_code(&l);
	}
	look_free(&l);
	return rc;
}

const struct cmd ring_advise = {.name = "advise",
				.args = "[--json]",
				.brief = "name each risk and the command that mends it",
				.about = "Names what endangers the data or the service, what is "
					 "urgent first, each with the\n"
					 "command that mends it, in `backquotes`; HOST:PORT and "
					 "other capitals are yours to fill\n"
					 "in. Exit codes as of status.",
				.run = run_advise};
