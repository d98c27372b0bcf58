// SPDX-License-Identifier: GPL-2.0-only
/* vmstore stats: the counters of this machine's processes. */
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/tool/cmds.h"

static void print_stats(const char *name, json_t *s)
{
	const char *key, *sub;
	struct vms_table *tab = vms_table_open("<statistic|>value");
	json_t *v, *w;

	printf("%s\n", name);
	json_object_foreach (s, key, v) {
		char cell[256], num[32];

		if (json_is_object(v)) {
			json_object_foreach (v, sub, w) {
				snprintf(cell, sizeof(cell), "%s.%s", key, sub);
				snprintf(num, sizeof(num), "%.0f", json_number_value(w));
				vms_table_cells(tab, 2, (const char *[]){cell, num});
			}
			continue;
		}
		snprintf(num, sizeof(num), "%.0f", json_number_value(v));
		vms_table_cells(tab, 2, (const char *[]){key, num});
	}
	vms_table_print(tab, stdout);
	vms_table_close(tab);
}

static int run_stats(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	json_t *all = json_object();
	struct tool_names names;
	struct vms_errmsg e = {""};
	unsigned found = 0;
	int code;

	if (!cmd_parse(c, opts, &code)) {
		json_decref(all);
		return code;
	}
	if (tool_sockets(t, &names, &e)) {
		json_decref(all);
		return tool_fail(t, "%s", e.text);
	}
	code = TOOL_OK;
	VMS_VEC_FOREACH (&names, address) {
		char name[128];
		json_t *s;

		tool_socket_name(*address, name);
		if (c->n && strcmp(name, c->arg[0]))
			continue;
		if (tool_call(t, *address, NULL, NULL, 3000, &s, &e)) {
			if (c->n)
				code = tool_fail(t, "%s", e.text);
			else /* one that was killed leaves its socket */
				fprintf(stderr, "%s: %s: not shown\n", t->prog, e.text);
			found += c->n;
			continue;
		}
		if (!t->json)
			printf("%s", found ? "\n" : "");
		found++;
		if (!t->json)
			print_stats(name, s);
		json_object_set_new(all, name, s);
	}
	if (c->n && !found)
		code = tool_fail(t, "no process '%s' has a socket in %s", c->arg[0],
				 t->set.cluster.run_dir);
	else if (!c->n && !found)
		code = tool_fail(t, "no process answers in %s", t->set.cluster.run_dir);
	else if (t->json && code == TOOL_OK)
		tool_print_json(json_incref(all));
	json_decref(all);
	tool_names_free(&names);
	return code;
}

const struct cmd cmd_stats = {
	.name = "stats",
	.args = "[--json] [PROCESS]",
	.brief = "counters of this machine's processes",
	.about = "Shows the counters of one process of this machine, or of all, through the\n"
		 "sockets in run_dir. doc/statistics.md explains each.",
	.max = 1,
	.run = run_stats};
