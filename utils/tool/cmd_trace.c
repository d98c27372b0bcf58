// SPDX-License-Identifier: GPL-2.0-only
/* vmstore trace: what initiators do with a volume, as the gateways tell it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/tool/cmds.h"

static bool stop;		 /* the output is closed */
static vms_net_conn tracers[64]; /* connections to gateways that send lines */
static unsigned tracing, answered;
static uint64_t trace_t0_us;
static struct vms_errmsg trace_error;

/* rest: " R OFFSET BYTES". With --json an object a line, as it goes on until interrupted. */
static void print_line(const struct tool *t, uint64_t us, const char *rest)
{
	uint64_t offset, bytes;
	char op;

	if (!t->json)
		printf("%" PRIu64 "%s\n", us, rest);
	else if (sscanf(rest, " %c %" SCNu64 " %" SCNu64, &op, &offset, &bytes) == 3)
		printf("{\"us\": %" PRIu64 ", \"op\": \"%c\", \"offset\": %" PRIu64
		       ", \"bytes\": %" PRIu64 "}\n",
		       us, op, offset, bytes);
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
		vms_net_close(((struct tool *)arg)->net, c);
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
				print_line(arg, us > trace_t0_us ? us - trace_t0_us : 0,
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
	return vms_net_send(((struct tool *)ctx)->net, conn, m);
}

static int run_trace(struct cmd_call *c)
{
	struct tool *t = c->t;
	uint64_t for_ms = 0;
	const struct vms_opt opts[] = {
		{0, "for", VMS_OPT_DURATION, &for_ms, "TIME", "stop after this time, such as 60s"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_admin via = {.ctx = t, .send = send_frame};
	struct tool_names names;
	struct vms_errmsg e = {""};
	uint64_t t0, asked = 0;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (vms_cat_volume_name_check(c->arg[0], &e))
		return cmd_usage(c, "%s", e.text);
	if (tool_sockets(t, &names, &e))
		return tool_fail(t, "%s", e.text);
	t->frame = on_trace_frame;
	t->gone = on_trace_gone;
	t->frame_arg = t;
	trace_t0_us = vms_clock_us();
	VMS_VEC_FOREACH (&names, address) {
		vms_net_conn conn = tool_connect(t, *address, &e);
		json_t *req;

		if (!conn)
			continue;
		req = json_pack("{ssss}", "call", "trace", "volume", c->arg[0]);
		(void)vms_admin_send_json(&via, conn, NULL, VMS_MSG_ADMIN, 2, 0, req);
		json_decref(req);
		asked++;
	}
	tool_names_free(&names);
	tool_catch_signals();
	t0 = vms_clock_ms();
	while (!stop && !tool_interrupted() && (!for_ms || vms_clock_ms() - t0 < for_ms)) {
		vms_net_flush(t->net);
		vms_net_poll(t->net, 50);
		if (!tracing && (answered >= asked || vms_clock_ms() - t0 > 3000)) {
			if (trace_error.text[0])
				return tool_fail(t, "%s", trace_error.text);
			return tool_fail(t,
					 "no gateway of this machine has volume '%s' open (%" PRIu64
					 " processes asked)",
					 c->arg[0], asked);
		}
	}
	return TOOL_OK;
}

const struct cmd cmd_trace = {
	.name = "trace",
	.args = "VOLUME [--for TIME]",
	.brief = "what initiators do with a volume, as it happens",
	.about = "Prints what initiators do with a volume through the gateways of this machine,\n"
		 "until interrupted: microseconds since the start, R (read), W (write), F\n"
		 "(flush) or D (discard), offset and length in bytes.",
	.min = 1,
	.max = 1,
	.run = run_trace};
