// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring set, throttle: what the cluster as a whole wants, changed online. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/lib/size.h"
#include "utils/tool/ring.h"
#include "utils/tool/ring_cmds.h"

#define REBUILD_S_MAX 315360000u
#define UNSET	      UINT64_MAX
#define MOVE_RATE_MIN 65536u		  /* below, a rebuild would never end */
#define MOVE_RATE_MAX (UINT64_C(1) << 40) /* above, it is no limit */

struct settings {
	struct ring r; /* as it was, asked */
	struct ring_opts o;
	uint64_t copies, min_copies, rebuild_s, rate, scrub_days;
	struct vms_cat_cluster now;
};

static int edit_set(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct settings *s = arg;
	struct vms_cat_cluster was = v->cluster, *c = &v->cluster;
	uint32_t nodes = 0;

	VMS_VEC_FOREACH (&v->nodes, x)
		nodes += vms_place_weight(&x->n) > 0;
	if (s->copies != UNSET) {
		if (s->copies > nodes && nodes && !s->o.fewer_copies)
			return vms_fail(e, VMS_E_INVAL,
					"%" PRIu64 " copies need as many nodes, the ring has %u: "
					"join more first (vmstore-ring join)",
					s->copies, nodes);
		c->copies = (uint32_t)s->copies;
	}
	if (s->min_copies != UNSET)
		c->min_copies = (uint32_t)s->min_copies;
	if (!c->min_copies || c->min_copies > c->copies)
		return vms_fail(e, VMS_E_INVAL,
				"writes would need %u of %u copies: say --min-copies 1 to %u",
				c->min_copies, c->copies, c->copies);
	if (c->min_copies > was.min_copies && c->has_data) {
		uint32_t fewer = 0;

		for (uint32_t p = 0; p < v->nparts; p++)
			fewer += v->part[p].conf.epoch && v->part[p].conf.nmembers < c->min_copies;
		if (fewer)
			return vms_fail(e, VMS_E_INVAL,
					"%" PRIu32 " of %" PRIu32 " partitions have fewer than %u "
					"copies now, and writes to them would wait: set --copies "
					"first, and --min-copies %u when they are made "
					"(vmstore-ring status)",
					fewer, v->nparts, c->min_copies, c->min_copies);
	}
	if (s->rebuild_s != UNSET)
		c->rebuild_after_s = (uint32_t)s->rebuild_s;
	if (s->rate != UNSET)
		c->move_bytes_s = s->rate;
	if (s->scrub_days != UNSET)
		c->scrub_days = (uint32_t)s->scrub_days;
	s->now = *c;
	if (!memcmp(&was, c, sizeof(was)))
		return VMS_E_CANCELLED;
	return c->copies > was.copies && c->has_data ? ring_may(&s->r, v, &s->o, e) : 0;
}

static bool rate_ok(uint64_t rate)
{
	return rate >= MOVE_RATE_MIN && rate <= MOVE_RATE_MAX;
}

static const char *rate_text(uint64_t rate, char out[VMS_SIZE_TEXT_MAX + 8])
{
	char size[VMS_SIZE_TEXT_MAX];

	if (rate)
		snprintf(out, VMS_SIZE_TEXT_MAX + 8, "%s/s", vms_size_human(rate, size));
	else
		snprintf(out, VMS_SIZE_TEXT_MAX + 8, "not limited");
	return out;
}

static void print_settings(const struct vms_cat_cluster *c)
{
	char rate[VMS_SIZE_TEXT_MAX + 8], after[VMS_SIZE_TEXT_MAX];

	printf("copies         %u\n", c->copies);
	printf("min-copies     %u (writes wait while there are fewer)\n", c->min_copies);
	if (c->rebuild_after_s)
		printf("rebuild-after  %s (a node that is away so long counts as lost)\n",
		       vms_duration_format(c->rebuild_after_s * 1000ull, after));
	else
		printf("rebuild-after  never\n");
	printf("move-rate      %s (what each node sends when data is copied)\n",
	       rate_text(c->move_bytes_s, rate));
	if (c->scrub_days)
		printf("scrub-days     %u (everything is verified once in that time)\n",
		       c->scrub_days);
	else
		printf("scrub-days     off\n");
}

static json_t *to_json(const struct vms_cat_cluster *c)
{
	return json_pack("{sI sI sI sI sI}", "copies", (json_int_t)c->copies, "min_copies",
			 (json_int_t)c->min_copies, "rebuild_after_s",
			 (json_int_t)c->rebuild_after_s, "move_bytes_s",
			 (json_int_t)c->move_bytes_s, "scrub_days", (json_int_t)c->scrub_days);
}

static int apply(struct cmd_call *c, struct settings *s, bool nothing)
{
	struct tool *t = c->t;
	struct vms_errmsg e = {""};
	bool moves;
	int rc, code = TOOL_OK;

	rc = ring_load(t, &s->r, &e);
	if (rc) {
		ring_free(&s->r);
		return tool_fail(t, "%s", e.text);
	}
	s->now = s->r.v.cluster;
	if (nothing) {
		ring_free(&s->r);
		if (t->json)
			return tool_print_json(to_json(&s->now));
		print_settings(&s->now);
		return TOOL_OK;
	}
	moves = s->r.v.cluster.has_data && s->copies != UNSET;
	if (moves)
		ring_ask(t, &s->r);
	if (s->o.dry_run) {
		code = ring_dry_run(t, &s->r, edit_set, s);
		ring_free(&s->r);
		return code;
	}
	rc = ring_change(t, edit_set, s, &e);
	ring_free(&s->r);
	if (rc && rc != VMS_E_CANCELLED)
		return tool_fail(t, "%s", e.text);
	if (!t->json)
		print_settings(&s->now);
	fflush(stdout);
	if (moves && !s->o.no_wait)
		code = ring_wait(t, "set", 0, s->o.timeout_s);
	if (t->json && code == TOOL_OK)
		tool_print_json(to_json(&s->now));
	return code;
}

static int run_set(struct cmd_call *c)
{
	struct settings s = {.copies = UNSET,
			     .min_copies = UNSET,
			     .rebuild_s = UNSET,
			     .rate = UNSET,
			     .scrub_days = UNSET};
	const char *after = NULL, *rate = NULL, *scrub = NULL;
	const struct vms_opt opts[] = {
		{0, "copies", VMS_OPT_U64, &s.copies, "N", "of everything, 1 to 5"},
		{0, "min-copies", VMS_OPT_U64, &s.min_copies, "N",
		 "writes wait while there are fewer"},
		{0, "rebuild-after", VMS_OPT_STRING, &after, "TIME",
		 "a node that is away so long counts as lost: 10min; never"},
		{0, "move-rate", VMS_OPT_STRING, &rate, "SIZE",
		 "what each node sends a second when data is copied: 64M; none"},
		{0, "scrub-days", VMS_OPT_STRING, &scrub, "N",
		 "everything is verified once in that time: 7; off"},
		RING_OPT_DRY(s.o),
		RING_OPT_WAIT(s.o),
		RING_OPT_FORCE(s.o),
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	uint64_t ms;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	if (s.copies != UNSET && (!s.copies || s.copies > VMS_COPIES_MAX))
		return cmd_usage(c, "--copies %" PRIu64 ": must be 1 to %d", s.copies,
				 VMS_COPIES_MAX);
	if (s.min_copies != UNSET && (!s.min_copies || s.min_copies > VMS_COPIES_MAX))
		return cmd_usage(
			c, "--min-copies %" PRIu64 ": must be 1 to %d, and no more than copies",
			s.min_copies, VMS_COPIES_MAX);
	if (after && strcmp(after, "never")) {
		if (vms_duration_parse(after, &ms, &e))
			return cmd_usage(c, "--rebuild-after: %s", e.text);
		s.rebuild_s = ms / 1000;
		if (!s.rebuild_s || s.rebuild_s > REBUILD_S_MAX)
			return cmd_usage(c,
					 "--rebuild-after %s: one second to ten years, or 'never'",
					 after);
	} else if (after) {
		s.rebuild_s = 0;
	}
	if (rate && !strcmp(rate, "none"))
		s.rate = 0;
	else if (rate && vms_size_parse(rate, &s.rate, &e))
		return cmd_usage(c, "--move-rate: %s", e.text);
	else if (rate && !rate_ok(s.rate))
		return cmd_usage(c, "--move-rate %s: 64K to 1T a second, or 'none' for no limit",
				 rate);
	if (scrub && !strcmp(scrub, "off"))
		s.scrub_days = 0;
	else if (scrub && (vms_u64_parse(scrub, &s.scrub_days, &e) || s.scrub_days > 36500))
		return cmd_usage(c, "--scrub-days %s: a number of days, or 'off'", scrub);
	return apply(c, &s,
		     s.copies == UNSET && s.min_copies == UNSET && !after && !rate && !scrub);
}

static int run_throttle(struct cmd_call *c)
{
	struct settings s = {.copies = UNSET,
			     .min_copies = UNSET,
			     .rebuild_s = UNSET,
			     .rate = UNSET,
			     .scrub_days = UNSET};
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	char text[VMS_SIZE_TEXT_MAX + 8];
	struct vms_errmsg e = {""};
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	if (c->n && strcmp(c->arg[0], "none")) {
		if (vms_size_parse(c->arg[0], &s.rate, &e))
			return cmd_usage(c, "%s", e.text);
		if (!rate_ok(s.rate))
			return cmd_usage(c, "%s: 64K to 1T a second, or 'none' for no limit",
					 c->arg[0]);
	} else if (c->n) {
		s.rate = 0;
	}
	rc = ring_load(c->t, &s.r, &e);
	s.now = s.r.v.cluster;
	if (!rc && c->n)
		rc = ring_change(c->t, edit_set, &s, &e);
	ring_free(&s.r);
	if (rc && rc != VMS_E_CANCELLED)
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(
			json_pack("{sI}", "move_bytes_s", (json_int_t)s.now.move_bytes_s));
	rate_text(s.now.move_bytes_s, text);
	if (s.now.move_bytes_s)
		printf("copying is limited to %s for each node\n", text);
	else
		printf("copying is %s\n", text);
	return TOOL_OK;
}

const struct cmd ring_set = {
	.name = "set",
	.args = "[OPTIONS]",
	.brief = "show or change copies, rebuild delay, rates",
	.about = "Without options: shows what the cluster wants. With them: changes it, online. "
		 "More\n"
		 "copies are made in the background, superfluous ones dropped.",
	.run = run_set};
const struct cmd ring_throttle = {
	.name = "throttle",
	.args = "[SIZE|none] [--json]",
	.brief = "limit how fast data is moved",
	.about = "Limits what each node copies a second when data is moved or rebuilt (64M); none: "
		 "no\n"
		 "limit. It yields to initiators below that by itself. Without argument: shows it.",
	.min = 0,
	.max = 1,
	.run = run_throttle};
