// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/stats.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/fmt.h"
#include "utils/lib/vec.h"

struct entry {
	char *name; /* owned */
	const char *help;
	enum vms_stat_kind kind;
	const uint64_t *value;	  /* NULL for a histogram */
	const struct vms_hist *h; /* NULL for a number */
};

struct vms_stats {
	VMS_VEC(struct entry) e; /* sorted by name */
};

struct vms_stats *vms_stats_open(void)
{
	struct vms_stats *s = calloc(1, sizeof(*s));

	vms_assert(s);
	return s;
}

void vms_stats_close(struct vms_stats *s)
{
	if (!s)
		return;
	VMS_VEC_FOREACH (&s->e, e)
		free(e->name);
	VMS_VEC_FREE(&s->e);
	free(s);
}

/* Inserts in order; a name that is there already is a bug of the caller. */
static void add(struct vms_stats *s, const char *prefix, struct entry n, const char *name)
{
	size_t at;

	vms_assert(asprintf(&n.name, "%s%s", prefix, name) > 0);
	vms_assert(!n.name[strspn(n.name, "abcdefghijklmnopqrstuvwxyz0123456789_.")]);
	VMS_VEC_PUSH(&s->e, n);
	for (at = s->e.n - 1; at; at--) {
		int c = strcmp(s->e.d[at - 1].name, n.name);

		vms_assert(c != 0);
		if (c < 0)
			break;
		s->e.d[at] = s->e.d[at - 1];
	}
	s->e.d[at] = n;
}

void vms_stats_add(struct vms_stats *s, const char *name, enum vms_stat_kind kind,
		   const uint64_t *value, const char *help)
{
	add(s, "", (struct entry){.kind = kind, .value = value, .help = help}, name);
}

void vms_stats_add_table(struct vms_stats *s, const char *prefix, const struct vms_stat_def *defs,
			 const void *base)
{
	for (; defs->name; defs++) {
		const char *at = (const char *)base + defs->offset;

		add(s, prefix,
		    (struct entry){.kind = defs->kind,
				   .value = (const uint64_t *)(const void *)at,
				   .help = defs->help},
		    defs->name);
	}
}

void vms_stats_add_hist(struct vms_stats *s, const char *name, const struct vms_hist *h,
			const char *help)
{
	add(s, "", (struct entry){.h = h, .help = help}, name);
}

uint64_t vms_stats_get(const struct vms_stats *s, const char *name, int *found)
{
	VMS_VEC_FOREACH (&s->e, e) {
		if (e->value && !strcmp(e->name, name)) {
			if (found)
				*found = 1;
			return *e->value;
		}
	}
	if (found)
		*found = 0;
	return 0;
}

static const struct {
	const char *name;
	double percent;
} quantiles[] = {{"p50", 50}, {"p99", 99}, {"p999", 99.9}, {"max", 100}};
#define N_QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

/* JSON integers are signed in jansson; a gauge beyond 2^63 is shown as the limit. */
static json_t *number(uint64_t v)
{
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

json_t *vms_stats_json(const struct vms_stats *s)
{
	json_t *j = json_object();

	vms_assert(j);
	VMS_VEC_FOREACH (&s->e, e) {
		json_t *v;

		if (e->value) {
			v = number(*e->value);
		} else {
			v = json_object();
			json_object_set_new(v, "count", number(e->h->n));
			json_object_set_new(v, "mean", json_real(vms_hist_mean(e->h)));
			for (size_t i = 0; i < N_QUANTILES; i++)
				json_object_set_new(
					v, quantiles[i].name,
					number(vms_hist_percentile(e->h, quantiles[i].percent)));
		}
		vms_assert(!json_object_set_new(j, e->name, v));
	}
	return j;
}

void vms_stats_print(const struct vms_stats *s, FILE *f)
{
	struct vms_table *t = vms_table_open("name|>value|help");

	VMS_VEC_FOREACH (&s->e, e) {
		if (e->value) {
			vms_table_row(t, "%s|%" PRIu64 "|%s", e->name, *e->value, e->help);
			continue;
		}
		vms_table_row(t, "%s.count|%" PRIu64 "|%s", e->name, e->h->n, e->help);
		vms_table_row(t, "%s.mean|%.1f|", e->name, vms_hist_mean(e->h));
		for (size_t i = 0; i < N_QUANTILES; i++)
			vms_table_row(t, "%s.%s|%" PRIu64 "|", e->name, quantiles[i].name,
				      vms_hist_percentile(e->h, quantiles[i].percent));
	}
	vms_table_print(t, f);
	vms_table_close(t);
}

void vms_stats_print_names(const struct vms_stats *s, FILE *f)
{
	VMS_VEC_FOREACH (&s->e, e)
		fprintf(f, "%s\t%s\t%s\n", e->name,
			e->h			      ? "histogram"
			: e->kind == VMS_STAT_COUNTER ? "counter"
						      : "gauge",
			e->help);
}
