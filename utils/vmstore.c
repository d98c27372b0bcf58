// SPDX-License-Identifier: GPL-2.0-only
/* vmstore: volumes, statistics and traces. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utils/lib/fmt.h"
#include "utils/lib/opt.h"
#include "utils/lib/size.h"
#include "utils/tool/volume.h"

static struct tool t;

/* Parses the options of a subcommand that takes `want` arguments. TOOL_OK: go on,
 * *args set; else *code is the exit code. */
static bool parse(const struct vms_opt_prog *p, int argc, char **argv, int min, int max,
		  char ***args, int *nargs, int *code)
{
	struct vms_errmsg e = {""};
	int first, rc = vms_opt_parse(p, argc, argv, &first, &e);

	if (rc == VMS_OPT_DONE) {
		*code = TOOL_OK;
		return false;
	}
	if (rc) {
		*code = tool_usage(&t, "%s", e.text);
		return false;
	}
	*args = argv + first;
	*nargs = argc - first;
	if (*nargs < min) {
		*code = tool_usage(&t, "usage: %s %s", p->name, p->usage);
		return false;
	}
	if (*nargs > max) {
		*code = tool_usage(&t, "unexpected argument '%s'", (*args)[max]);
		return false;
	}
	return true;
}

#define JSON_OPT                                                                          \
	{                                                                                 \
		0, "json", VMS_OPT_FLAG, &t.json, NULL, "print JSON"                      \
	}

/* ---- volume ---- */

static int cmd_create(int argc, char **argv)
{
	uint64_t size = 0;
	const char *ack = "disk";
	const struct vms_opt opts[] = {
		{0, "size", VMS_OPT_SIZE, &size, "SIZE", "such as 20G; a multiple of 4096"},
		{0, "write-ack", VMS_OPT_STRING, &ack, "MODE",
		 "a write is done when it is on `disk` (default) or in `memory` of all copies"},
		JSON_OPT,
		VMS_OPT_END,
	};
	const struct vms_opt_prog p = {.name = "vmstore volume create",
				       .usage = "NAME --size SIZE [--write-ack disk|memory]",
				       .about = "Creates a thin volume.",
				       .opts = opts};
	struct vms_cat_volume v;
	struct vms_errmsg e = {""};
	char text[VMS_SIZE_TEXT_MAX];
	int n, code, mode;
	char **a;

	if (!parse(&p, argc, argv, 1, 1, &a, &n, &code))
		return code;
	if (!size)
		return tool_usage(&t, "--size is missing");
	if (!strcmp(ack, "disk"))
		mode = VMS_ACK_DISK;
	else if (!strcmp(ack, "memory"))
		mode = VMS_ACK_MEMORY;
	else
		return tool_usage(&t, "--write-ack %s: must be disk or memory", ack);
	if (vms_cat_volume_name_check(a[0], &e))
		return tool_usage(&t, "%s", e.text);
	if (volume_create(&t, a[0], size, (uint8_t)mode, &v, &e))
		return tool_fail(&t, "%s", e.text);
	if (t.json) {
		struct volume_view vv = {.v = v};

		return tool_print_json(volume_json(&vv));
	}
	printf("volume %s created, %s\n", v.name, vms_size_format(v.size_bytes, text));
	return TOOL_OK;
}

static int cmd_ls(int argc, char **argv)
{
	const struct vms_opt opts[] = {JSON_OPT, VMS_OPT_END};
	const struct vms_opt_prog p = {.name = "vmstore volume ls",
				       .usage = "[--json]",
				       .about = "Lists volumes.",
				       .opts = opts};
	struct tool_kvs kv, open = VMS_VEC_INIT;
	struct vms_errmsg e = {""};
	json_t *list = json_array();
	struct vms_table *tab;
	int n, code;
	char **a;

	if (!parse(&p, argc, argv, 0, 0, &a, &n, &code))
		return code;
	code = tool_range(&t, "volume/", &kv, &e);
	if (!code)
		code = tool_range(&t, "open/", &open, &e);
	tab = vms_table_open("<volume|>size|<write-ack|<state|>open");
	for (size_t i = 0; !code && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_volume v;
		unsigned openers = 0;
		char size[VMS_SIZE_TEXT_MAX], cnt[16], prefix[32];

		code = vms_cat_volume_decode(&c, &v, &e);
		if (code)
			break;
		snprintf(prefix, sizeof(prefix), "open/%016" PRIx64 "/", v.id);
		for (size_t k = 0; k < open.n; k++)
			openers += !strncmp(open.d[k].key, prefix, strlen(prefix));
		snprintf(cnt, sizeof(cnt), "%u", openers);
		vms_table_cells(tab, 5,
				(const char *[]){v.name, vms_size_format(v.size_bytes, size),
						 volume_ack_word(v.write_ack),
						 volume_state_word(v.state), cnt});
		json_array_append_new(list,
				      json_pack("{ss sI ss ss sI}", "name", v.name, "size_bytes",
						(json_int_t)v.size_bytes, "write_ack",
						volume_ack_word(v.write_ack), "state",
						volume_state_word(v.state), "open",
						(json_int_t)openers));
	}
	if (code)
		code = tool_fail(&t, "%s", e.text);
	else if (t.json)
		tool_print_json(json_incref(list));
	else
		vms_table_print(tab, stdout);
	vms_table_close(tab);
	json_decref(list);
	tool_kvs_free(&kv);
	tool_kvs_free(&open);
	return code;
}

static int cmd_info(int argc, char **argv)
{
	const struct vms_opt opts[] = {JSON_OPT, VMS_OPT_END};
	const struct vms_opt_prog p = {.name = "vmstore volume info",
				       .usage = "NAME [--json]",
				       .about = "Shows one volume and who has it open.",
				       .opts = opts};
	char size[VMS_SIZE_TEXT_MAX], uuid[37], when[32];
	struct vms_errmsg e = {""};
	struct volume_view v;
	time_t created;
	struct tm tm;
	int n, code;
	char **a;

	if (!parse(&p, argc, argv, 1, 1, &a, &n, &code))
		return code;
	if (volume_load(&t, a[0], &v, &e)) {
		volume_free(&v);
		return tool_fail(&t, "%s", e.text);
	}
	if (t.json) {
		code = tool_print_json(volume_json(&v));
		volume_free(&v);
		return code;
	}
	tool_uuid_text(v.v.uuid, uuid);
	created = (time_t)v.v.created_s;
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&created, &tm));
	if (!created) /* made by a gateway's size= option: its core knows no calendar */
		strcpy(when, "not recorded");
	printf("volume     %s\nuuid       %s\nsize       %s (%" PRIu64 " bytes)\nwrite-ack  %s\n"
	       "state      %s\ncreated    %s\nbranch     %" PRIu64 " (lineage %" PRIu64
	       ", snap_gen %" PRIu64 ", lun_fence %" PRIu64 ")\n",
	       v.v.name, uuid, vms_size_format(v.v.size_bytes, size), v.v.size_bytes,
	       volume_ack_word(v.v.write_ack), volume_state_word(v.v.state), when, v.v.branch,
	       v.v.lineage, v.v.snap_gen, v.v.lun_fence);
	if (v.losses)
		printf("losses     unflushed writes may have been lost %" PRIu64 " times\n", v.losses);
	if (!v.openers.n)
		printf("open       nowhere\n");
	for (size_t i = 0; i < v.openers.n; i++)
		printf("open       gateway %u (%s)\n", v.openers.d[i].o.gateway,
		       v.openers.d[i].gateway);
	if (v.v.state == VOLUME_DELETING)
		printf("note       vmstore volume rm %s completes the deletion\n", v.v.name);
	if (v.v.state == VOLUME_SHRINKING)
		printf("note       vmstore volume resize %s %s completes the shrinking\n", v.v.name,
		       size);
	volume_free(&v);
	return TOOL_OK;
}

static int cmd_rm(int argc, char **argv)
{
	const struct vms_opt opts[] = {JSON_OPT, VMS_OPT_END};
	const struct vms_opt_prog p = {
		.name = "vmstore volume rm",
		.usage = "NAME",
		.about = "Deletes a volume and its data. Refused while a gateway has it open. When it\n"
			 "was interrupted, the same command goes on.",
		.opts = opts};
	struct vms_errmsg e = {""};
	int n, code;
	char **a;

	if (!parse(&p, argc, argv, 1, 1, &a, &n, &code))
		return code;
	if (volume_delete(&t, a[0], &e))
		return tool_fail(&t, "%s", e.text);
	if (t.json)
		return tool_print_json(json_pack("{ss}", "deleted", a[0]));
	printf("volume %s deleted\n", a[0]);
	return TOOL_OK;
}

static int cmd_resize(int argc, char **argv)
{
	bool allow_shrink = false;
	uint64_t size = 0, old = 0;
	const struct vms_opt opts[] = {
		{0, "size", VMS_OPT_SIZE, &size, "SIZE", "the new size (or as second argument)"},
		{0, "allow-shrink", VMS_OPT_FLAG, &allow_shrink, NULL,
		 "cut off the end; the data there is lost"},
		JSON_OPT,
		VMS_OPT_END,
	};
	const struct vms_opt_prog p = {
		.name = "vmstore volume resize",
		.usage = "NAME SIZE [--allow-shrink]",
		.about = "Changes a volume's size. Refused while a gateway has it open.",
		.opts = opts};
	char was[VMS_SIZE_TEXT_MAX], now[VMS_SIZE_TEXT_MAX];
	struct vms_errmsg e = {""};
	int n, code;
	char **a;

	if (!parse(&p, argc, argv, 1, 2, &a, &n, &code))
		return code;
	if (n == 2 && vms_size_parse(a[1], &size, &e))
		return tool_usage(&t, "%s", e.text);
	if (!size)
		return tool_usage(&t, "usage: %s %s", p.name, p.usage);
	if (volume_resize(&t, a[0], size, allow_shrink, &old, &e))
		return tool_fail(&t, "%s", e.text);
	if (t.json)
		return tool_print_json(json_pack("{ss sI sI}", "name", a[0], "old_bytes",
						 (json_int_t)old, "size_bytes", (json_int_t)size));
	printf("volume %s: %s -> %s\n", a[0], vms_size_format(old, was),
	       vms_size_format(size, now));
	return TOOL_OK;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} volume_cmds[] = {
	{"create", cmd_create}, {"ls", cmd_ls},		{"info", cmd_info},
	{"rm", cmd_rm},		{"resize", cmd_resize},
};

static int cmd_volume(int argc, char **argv)
{
	const struct vms_opt_prog p = {
		.name = "vmstore volume",
		.usage = "create|ls|info|rm|resize [NAME] [OPTIONS]",
		.about = "Each command has its own --help.",
		.opts = (const struct vms_opt[]){VMS_OPT_END},
		.tail = "Commands:\n"
			"  create NAME        --size SIZE [--write-ack disk|memory]\n"
			"  ls                 list volumes\n"
			"  info NAME          one volume and who has it open\n"
			"  rm NAME            delete it\n"
			"  resize NAME SIZE   [--allow-shrink]",
		.stop_at_first = true,
	};
	struct vms_errmsg e = {""};
	int first, rc = vms_opt_parse(&p, argc, argv, &first, &e);

	if (rc == VMS_OPT_DONE)
		return TOOL_OK;
	if (rc)
		return tool_usage(&t, "%s", e.text);
	if (first >= argc)
		return tool_usage(&t, "volume needs a command: create, ls, info, rm or resize");
	for (size_t i = 0; i < sizeof(volume_cmds) / sizeof(volume_cmds[0]); i++)
		if (!strcmp(argv[first], volume_cmds[i].name))
			return volume_cmds[i].run(argc - first, argv + first);
	return tool_usage(&t, "no command 'volume %s'; there are create, ls, info, rm and resize",
			  argv[first]);
}

/* ---- stats ---- */

static void print_stats(const char *name, json_t *s)
{
	const char *key, *sub;
	struct vms_table *tab = vms_table_open("<statistic|>value");
	json_t *v, *w;

	printf("%s\n", name);
	json_object_foreach(s, key, v) {
		char cell[256], num[32];

		if (json_is_object(v)) {
			json_object_foreach(v, sub, w) {
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

static int cmd_stats(int argc, char **argv)
{
	const struct vms_opt opts[] = {JSON_OPT, VMS_OPT_END};
	const struct vms_opt_prog p = {
		.name = "vmstore stats",
		.usage = "[--json] [PROCESS]",
		.about = "Shows the counters of one process of this machine, or of all, through the\n"
			 "sockets in run_dir. doc/statistics.md explains each.",
		.opts = opts};
	json_t *all = json_object();
	struct tool_names names;
	struct vms_errmsg e = {""};
	unsigned found = 0;
	int n, code;
	char **a;

	if (!parse(&p, argc, argv, 0, 1, &a, &n, &code)) {
		json_decref(all);
		return code;
	}
	if (tool_sockets(&t, &names, &e)) {
		json_decref(all);
		return tool_fail(&t, "%s", e.text);
	}
	code = TOOL_OK;
	VMS_VEC_FOREACH(&names, address) {
		char name[128];
		json_t *s;

		tool_socket_name(*address, name);
		if (n && strcmp(name, a[0]))
			continue;
		if (tool_call(&t, *address, NULL, NULL, 3000, &s, &e)) {
			/* one that was killed leaves its socket */
			if (n)
				code = tool_fail(&t, "%s", e.text);
			found += n;
			continue;
		}
		if (!t.json)
			printf("%s", found ? "\n" : "");
		found++;
		if (!t.json)
			print_stats(name, s);
		json_object_set_new(all, name, s);
	}
	if (n && !found)
		code = tool_fail(&t, "no process '%s' has a socket in %s", a[0],
				 t.set.cluster.run_dir);
	else if (!n && !found)
		code = tool_fail(&t, "no process answers in %s", t.set.cluster.run_dir);
	else if (t.json && code == TOOL_OK)
		tool_print_json(json_incref(all));
	json_decref(all);
	tool_names_free(&names);
	return code;
}

/* ---- trace ---- */

static volatile sig_atomic_t stop;
static vms_net_conn tracers[64]; /* connections to gateways that send lines */
static unsigned tracing, answered;
static uint64_t trace_t0_us;
static const char *trace_volume;
static struct vms_errmsg trace_error;

static void on_signal(int sig)
{
	stop = 1;
}

static void on_trace_frame(void *arg, vms_net_conn c, const struct vms_msg *m)
{
	const char *p, *end;

	if (m->flags & VMS_F_REPLY) {
		json_t *j;

		answered++;
		if (!m->status) {
			if (tracing < sizeof(tracers) / sizeof(tracers[0]))
				tracers[tracing++] = c;
			return;
		}
		j = vms_admin_json(m);
		p = json_string_value(json_object_get(j, "error"));
		if (m->status != VMS_E_UNSUPPORTED)
			vms_fail(&trace_error, m->status, "%s", p ? p : vms_err_text(m->status));
		json_decref(j);
		vms_net_close(t.net, c);
		return;
	}
	if (m->type != VMS_MSG_ADMIN || m->npayload != 1)
		return;
	/* The gateway's times are of the boot clock; ours start with the trace. */
	p = m->payload[0].base;
	end = p + m->payload[0].len;
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		char line[128];
		uint64_t us;
		int used = 0;
		size_t n = (size_t)((nl ? nl : end) - p);

		if (n < sizeof(line)) {
			memcpy(line, p, n);
			line[n] = 0;
			if (sscanf(line, "%" SCNu64 "%n", &us, &used) == 1 && used)
				printf("%" PRIu64 "%s\n", us > trace_t0_us ? us - trace_t0_us : 0,
				       line + used);
		}
		p += n + 1;
	}
	fflush(stdout);
	if (ferror(stdout))
		stop = 1;
}

static void on_trace_gone(void *arg, vms_net_conn c, const char *why)
{
	for (unsigned i = 0; i < tracing; i++) {
		if (tracers[i] == c) {
			tracers[i] = tracers[--tracing];
			return;
		}
	}
}

static int send_frame(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(t.net, conn, m);
}

static int cmd_trace(int argc, char **argv)
{
	uint64_t for_ms = 0;
	const struct vms_opt opts[] = {
		{0, "for", VMS_OPT_DURATION, &for_ms, "TIME", "stop after this time, such as 60s"},
		JSON_OPT,
		VMS_OPT_END,
	};
	const struct vms_opt_prog p = {
		.name = "vmstore trace",
		.usage = "VOLUME [--for TIME]",
		.about = "Prints what initiators do with a volume through the gateways of this machine,\n"
			 "until interrupted: microseconds since the start, R (read), W (write), F\n"
			 "(flush) or D (discard), offset and length in bytes.",
		.opts = opts};
	struct sigaction sa = {.sa_handler = on_signal};
	struct vms_admin via = {.send = send_frame};
	struct tool_names names;
	struct vms_errmsg e = {""};
	uint64_t t0, asked = 0;
	int n, code;
	char **a;

	if (!parse(&p, argc, argv, 1, 1, &a, &n, &code))
		return code;
	if (vms_cat_volume_name_check(a[0], &e))
		return tool_usage(&t, "%s", e.text);
	if (tool_sockets(&t, &names, &e))
		return tool_fail(&t, "%s", e.text);
	trace_volume = a[0];
	t.frame = on_trace_frame;
	t.gone = on_trace_gone;
	trace_t0_us = vms_clock_us();
	VMS_VEC_FOREACH(&names, address) {
		vms_net_conn c = tool_connect(&t, *address, &e);
		json_t *req;

		if (!c)
			continue;
		req = json_pack("{ssss}", "call", "trace", "volume", a[0]);
		(void)vms_admin_send_json(&via, c, NULL, VMS_MSG_ADMIN, 2, 0, req);
		json_decref(req);
		asked++;
	}
	tool_names_free(&names);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	t0 = vms_clock_ms();
	while (!stop && (!for_ms || vms_clock_ms() - t0 < for_ms)) {
		vms_net_flush(t.net);
		vms_net_poll(t.net, 50);
		if (!tracing && (answered >= asked || vms_clock_ms() - t0 > 3000)) {
			if (trace_error.text[0])
				return tool_fail(&t, "%s", trace_error.text);
			return tool_fail(&t, "no gateway of this machine has volume '%s' open (%" PRIu64 " processes asked)",
					 a[0], asked);
		}
	}
	return TOOL_OK;
}

/* ---- status ---- */

static int cmd_status(int argc, char **argv)
{
	const struct vms_opt opts[] = {JSON_OPT, VMS_OPT_END};
	const struct vms_opt_prog p = {
		.name = "vmstore status",
		.usage = "[--json]",
		.about = "The cluster on one screen. Exit code 3: degraded.",
		.opts = opts};
	char used[VMS_SIZE_TEXT_MAX], total[VMS_SIZE_TEXT_MAX];
	struct vms_errmsg e = {""};
	struct view_health h;
	struct view v;
	uint64_t sum = 0;
	int n, code;
	char **a;

	if (!parse(&p, argc, argv, 0, 0, &a, &n, &code))
		return code;
	if (view_load(&t, &v, &e)) {
		view_free(&v);
		return tool_fail(&t, "%s", e.text);
	}
	view_ask_nodes(&t, &v);
	view_health(&v, &h);
	code = strcmp(view_health_word(&v, &h), "ok") ? TOOL_DEGRADED : TOOL_OK;
	if (t.json) {
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
	if (h.complete < v.nparts)
		printf("ring      %u of %u partitions complete; see vmstore-ring status\n", h.complete,
		       v.nparts);
	view_free(&v);
	return code;
}

int main(int argc, char **argv)
{
	const char *conf = NULL, *catalog = NULL;
	bool json = false;
	const struct vms_opt opts[] = {
		{'c', "conf", VMS_OPT_STRING, &conf, "FILE",
		 "configuration (default $VMSTORE_CONF, " VMS_SETTINGS_PATH ")"},
		{0, "catalog", VMS_OPT_STRING, &catalog, "ADDR", "the catalog's HOST:PORT, over the file's"},
		{0, "json", VMS_OPT_FLAG, &json, NULL, "print JSON"},
		VMS_OPT_END,
	};
	const struct vms_opt_prog prog = {
		.name = "vmstore",
		.usage = "[-c FILE] volume create|ls|info|rm|resize ...\n"
			 "[-c FILE] stats [--json] [PROCESS]\n"
			 "[-c FILE] trace VOLUME\n"
			 "[-c FILE] status [--json]",
		.about = "Volumes, statistics and traces of a VMStore cluster.",
		.opts = opts,
		.tail = "Commands:\n"
			"  volume        create, list, show, delete, resize volumes\n"
			"  stats         counters of this machine's processes\n"
			"  trace VOLUME  what initiators do with it, as it happens\n"
			"  status        the cluster on one screen\n"
			"\n"
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the cluster is degraded.",
		.stop_at_first = true,
	};
	struct vms_errmsg e = {""};
	int first, rc = vms_opt_parse(&prog, argc, argv, &first, &e);

	if (rc == VMS_OPT_DONE)
		return TOOL_OK;
	t.prog = "vmstore";
	if (rc)
		return tool_usage(&t, "%s", e.text);
	if (first >= argc)
		return tool_usage(&t, "a command is missing: volume, stats, trace or status");
	rc = tool_open(&t, "vmstore", conf, catalog, &e);
	t.json = json;
	if (rc)
		rc = tool_fail(&t, "%s", e.text);
	else if (!strcmp(argv[first], "volume"))
		rc = cmd_volume(argc - first, argv + first);
	else if (!strcmp(argv[first], "stats"))
		rc = cmd_stats(argc - first, argv + first);
	else if (!strcmp(argv[first], "trace"))
		rc = cmd_trace(argc - first, argv + first);
	else if (!strcmp(argv[first], "status"))
		rc = cmd_status(argc - first, argv + first);
	else
		rc = tool_usage(&t, "no command '%s'; there are volume, stats, trace and status",
				argv[first]);
	tool_close(&t);
	return rc;
}
