// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench compare: the same load on several LUNs, interleaved.
 *
 * Absolute figures of small machines drift within the hour, so each round
 * runs the load once on every LUN (the order turns round by round), and what
 * is reported are medians, their spread, and ratios to the first peer. A LUN may
 * have several paths (URLs): then sessions are spread over them.
 */
#include "utils/bench/bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LUNS_MAX	8
#define PATHS_MAX	8
#define ROUNDS_MAX	101
#define SESSIONS_OF_MAX 4096 /* as --sessions */

static const char help[] =
	"Usage: vmstore-bench compare [OPTIONS] --ours URL --peer URL [--lun NAME=URL]...\n"
	"\n"
	"Run the same load on several LUNs in turn, several rounds, and report medians,\n"
	"spread, and each LUN's ratio to the peer. Without --peer the environment's PEER\n"
	"is used.\n"
	"\n"
	"  --ours URL        same as --lun ours=URL\n"
	"  --peer URL        same as --lun peer=URL; ratios are against it\n"
	"  --lun NAME=URL    a further LUN\n"
	"  --path NAME=URL   a further path to that LUN: sessions are spread over all; repeat\n"
	"  --split-of NAME   each path of that LUN has its own part of the span (--split)\n"
	"  --pid NAME=PID    server process of that LUN, for CPU accounting; repeat\n"
	"  --rw-of NAME=WHAT read, write or mix:PERCENT for that LUN alone\n"
	"  --sessions-of NAME=N  sessions for that LUN alone\n"
	"  --flush NAME=FILE in place of a LUN: 4 KiB blocks of FILE overwritten one after\n"
	"                    the other, O_DIRECT and O_DSYNC; latencies are those of a flush\n"
	"  --want EXPR       a figure that should hold, FIELD:A/B>=X or FIELD:A<=X with\n"
	"                    LUN names A and B; X is a number or a sum such as 4.5*A+2*B.\n"
	"                    FIELD is iops, mb_s, p50_us, p99_us, cmds_per_machine_cpu_s or\n"
	"                    cmds_per_server_cpu_s; repeat\n"
	"  --rounds N        rounds (5)\n"
	"  --title TEXT      heading of the table\n";

struct lun {
	char *name;
	char *url[PATHS_MAX];
	unsigned n_urls;
	bool split;
	struct vms_bench_pids pids;
	int write_percent; /* -1: as the load says */
	unsigned sessions; /* 0: as the load says */
	bool is_file;	   /* url[0] is a file whose blocks are flushed */
	unsigned n;
	struct vms_bench_result *res; /* one per round */
};

#define TERMS_MAX 4

/* field of a (over b) at least or at most the sum of the terms */
struct want {
	const char *text;
	int field;
	const struct lun *a, *b;
	bool at_least;
	struct {
		double factor;
		const struct lun *of; /* its field; NULL: the number alone */
	} term[TERMS_MAX];
	unsigned n_terms;
	double limit, value;
	bool met;
};
#define WANTS_MAX 8

enum { F_IOPS, F_MBS, F_P50, F_P99, F_CPU, F_SRV, F_COUNT };
static const char *const field_name[F_COUNT] = {
	"iops", "mb_s", "p50_us", "p99_us", "cmds_per_machine_cpu_s", "cmds_per_server_cpu_s",
};

static double field(const struct vms_bench_result *r, int f)
{
	switch (f) {
	case F_IOPS:
		return r->iops;
	case F_MBS:
		return r->mb_s;
	case F_P50:
		return (double)vms_hist_percentile(&r->lat, 50) / 1e3;
	case F_P99:
		return (double)vms_hist_percentile(&r->lat, 99) / 1e3;
	case F_CPU:
		return r->cmds_per_machine_cpu_s;
	default:
		return r->cmds_per_server_cpu_s;
	}
}

/* What this LUN's load differs in. */
static struct vms_bench_load load_of(const struct vms_bench_load *l, const struct lun *t)
{
	struct vms_bench_load one = *l;

	one.pids = t->pids;
	if (t->write_percent >= 0)
		one.write_percent = (unsigned)t->write_percent;
	if (t->sessions)
		one.sessions = t->sessions;
	one.split |= t->split;
	return one;
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct stat3 {
	double median, min, max;
};

static struct stat3 stat_of(const struct lun *t, int f)
{
	double v[ROUNDS_MAX];
	struct stat3 s = {0, 0, 0};

	for (unsigned i = 0; i < t->n; i++)
		v[i] = field(&t->res[i], f);
	if (!t->n)
		return s;
	qsort(v, t->n, sizeof(v[0]), cmp_double);
	s.min = v[0];
	s.max = v[t->n - 1];
	s.median = t->n % 2 ? v[t->n / 2] : (v[t->n / 2 - 1] + v[t->n / 2]) / 2;
	return s;
}

static struct lun *find(struct lun *t, unsigned n, const char *name, size_t len)
{
	for (unsigned i = 0; i < n; i++)
		if (strlen(t[i].name) == len && !strncmp(t[i].name, name, len))
			return &t[i];
	return NULL;
}

static int add(struct lun *t, unsigned *n, const char *name, size_t len, const char *url)
{
	if (*n == LUNS_MAX) {
		vms_bench_err("compare: at most %d LUNs", LUNS_MAX);
		return -1;
	}
	if (find(t, *n, name, len)) {
		vms_bench_err("compare: LUN '%.*s' given twice", (int)len, name);
		return -1;
	}
	memset(&t[*n], 0, sizeof(t[*n]));
	t[*n].write_percent = -1;
	t[*n].name = strndup(name, len);
	t[*n].url[t[*n].n_urls++] = strdup(url);
	(*n)++;
	return 0;
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

/* "4.5", "4.5*A+2*B". Returns 0 or -1. */
static int want_terms(struct want *w, const char *text, struct lun *t, unsigned n)
{
	char *end;

	for (;; text = end + 1) {
		if (w->n_terms == TERMS_MAX)
			return -1;
		w->term[w->n_terms].factor = strtod(text, &end);
		if (end == text)
			return -1;
		if (*end == '*') {
			text = end + 1;
			end += 1 + strcspn(text, "+");
			w->term[w->n_terms].of = find(t, n, text, (size_t)(end - text));
			if (!w->term[w->n_terms].of)
				return -1;
		}
		w->n_terms++;
		if (*end != '+')
			return *end ? -1 : 0;
	}
}

/* "FIELD:A[/B]>=X" or "<=". Returns 0, or -1 with a message printed. */
static int want_parse(struct want *w, const char *text, struct lun *t, unsigned n)
{
	const char *colon = strchr(text, ':'), *op = strpbrk(text, "<>"), *slash, *end_a;

	memset(w, 0, sizeof(*w));
	w->text = text;
	if (!colon || !op || op < colon || op[1] != '=')
		goto bad;
	for (w->field = 0; w->field < F_COUNT; w->field++)
		if (strlen(field_name[w->field]) == (size_t)(colon - text) &&
		    !strncmp(field_name[w->field], text, (size_t)(colon - text)))
			break;
	if (w->field == F_COUNT)
		goto bad;
	slash = memchr(colon, '/', (size_t)(op - colon));
	end_a = slash ? slash : op;
	w->a = find(t, n, colon + 1, (size_t)(end_a - colon - 1));
	if (slash)
		w->b = find(t, n, slash + 1, (size_t)(op - slash - 1));
	w->at_least = *op == '>';
	if (!w->a || (slash && !w->b) || want_terms(w, op + 2, t, n))
		goto bad;
	return 0;
bad:
	vms_bench_err("compare: --want '%s': want FIELD:A/B>=X with LUNs given before it", text);
	return -1;
}

static void want_check(struct want *w)
{
	w->value = stat_of(w->a, w->field).median;
	if (w->b)
		w->value = ratio(w->value, stat_of(w->b, w->field).median);
	w->limit = 0;
	for (unsigned i = 0; i < w->n_terms; i++)
		w->limit += w->term[i].factor *
			    (w->term[i].of ? stat_of(w->term[i].of, w->field).median : 1);
	w->met = w->at_least ? w->value >= w->limit : w->value <= w->limit;
	printf("  want %s: %.2f", w->text, w->value);
	if (w->n_terms > 1 || w->term[0].of)
		printf(" of %.2f", w->limit);
	printf(", %s\n", w->met ? "met" : "not met");
}

static void table(const char *title, const struct lun *t, unsigned n, const struct lun *peer)
{
	printf("%s\n", title);
	printf("  %-14s %22s %9s %9s %9s %22s %10s\n", "LUN", "IOPS median (min-max)", "MB/s",
	       "p50 us", "p99 us", "cmd/CPU-s (min-max)", "srv cmd/s");
	for (unsigned i = 0; i < n; i++) {
		struct stat3 io = stat_of(&t[i], F_IOPS), cpu = stat_of(&t[i], F_CPU);
		char a[64], b[64];

		snprintf(a, sizeof(a), "%.0f (%.0f-%.0f)", io.median, io.min, io.max);
		snprintf(b, sizeof(b), "%.0f (%.0f-%.0f)", cpu.median, cpu.min, cpu.max);
		printf("  %-14s %22s %9.1f %9.0f %9.0f %22s %10.0f\n", t[i].name, a,
		       stat_of(&t[i], F_MBS).median, stat_of(&t[i], F_P50).median,
		       stat_of(&t[i], F_P99).median, b, stat_of(&t[i], F_SRV).median);
	}
	for (unsigned i = 0; i < n && peer; i++) {
		if (&t[i] == peer)
			continue;
		printf("  %s/%s: IOPS %.2f  p50 %.2f  cmd/CPU-s %.2f  srv cmd/CPU-s %.2f\n",
		       t[i].name, peer->name,
		       ratio(stat_of(&t[i], F_IOPS).median, stat_of(peer, F_IOPS).median),
		       ratio(stat_of(&t[i], F_P50).median, stat_of(peer, F_P50).median),
		       ratio(stat_of(&t[i], F_CPU).median, stat_of(peer, F_CPU).median),
		       ratio(stat_of(&t[i], F_SRV).median, stat_of(peer, F_SRV).median));
	}
}

static json_t *as_json(const char *title, const struct vms_bench_load *l, const struct lun *t,
		       unsigned n, const struct lun *peer, const struct want *want, unsigned n_want)
{
	json_t *luns = json_object(), *ratios = json_object(), *wants = json_array();

	for (unsigned i = 0; i < n_want; i++)
		json_array_append_new(wants, json_pack("{s:s,s:f,s:f,s:b}", "want", want[i].text,
						       "limit", want[i].limit, "value",
						       want[i].value, "met", (int)want[i].met));

	for (unsigned i = 0; i < n; i++) {
		json_t *o = json_object(), *runs = json_array(), *paths = json_array();
		struct vms_bench_load own = load_of(l, &t[i]);

		for (int f = 0; f < F_COUNT; f++) {
			struct stat3 s = stat_of(&t[i], f);

			json_object_set_new(o, field_name[f],
					    json_pack("{s:f,s:f,s:f}", "median", s.median, "min",
						      s.min, "max", s.max));
		}
		for (unsigned k = 0; k < t[i].n; k++)
			json_array_append_new(runs, vms_bench_result_json(&own, &t[i].res[k]));
		json_object_set_new(o, "runs", runs);
		json_object_set_new(o, "url", json_string(t[i].url[0]));
		for (unsigned k = 0; k < t[i].n_urls; k++)
			json_array_append_new(paths, json_string(t[i].url[k]));
		json_object_set_new(o, "paths", paths);
		json_object_set_new(o, "split", json_boolean(t[i].split));
		json_object_set_new(luns, t[i].name, o);
		if (peer && &t[i] != peer) {
			json_t *q = json_object();

			for (int f = 0; f < F_COUNT; f++)
				json_object_set_new(q, field_name[f],
						    json_real(ratio(stat_of(&t[i], f).median,
								    stat_of(peer, f).median)));
			json_object_set_new(ratios, t[i].name, q);
		}
	}
	return json_pack("{s:s,s:s,s:o,s:o,s:o}", "title", title, "peer", peer ? peer->name : "",
			 "luns", luns, "ratios", ratios, "wants", wants);
}

#define OPTIONS 14 /* compare's own */

int vms_bench_cmd_compare(int argc, char **argv)
{
	struct option opts[VMS_BENCH_LOAD_OPTIONS + OPTIONS] = {
		{"json", 1, NULL, 'j'},	       {"help", 0, NULL, 'h'},	{"ours", 1, NULL, 'o'},
		{"peer", 1, NULL, 'p'},	       {"lun", 1, NULL, 'l'},	{"pid", 1, NULL, 'i'},
		{"rounds", 1, NULL, 'r'},      {"title", 1, NULL, 't'}, {"want", 1, NULL, 'w'},
		{"rw-of", 1, NULL, 'W'},       {"path", 1, NULL, 'P'},	{"split-of", 1, NULL, 'S'},
		{"sessions-of", 1, NULL, 'N'}, {"flush", 1, NULL, 'F'},
	};
	struct want want[WANTS_MAX];
	unsigned n_want = 0;
	struct lun t[LUNS_MAX];
	unsigned n = 0, rounds = 5;
	struct vms_bench_load l;
	const char *json_file = NULL, *title = "compare";
	int c, rc = VMS_BENCH_USAGE;
	struct lun *peer;

	vms_bench_load_defaults(&l);
	memcpy(opts + OPTIONS, vms_bench_load_options, sizeof(vms_bench_load_options));
	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		const char *eq = optarg ? strchr(optarg, '=') : NULL;

		switch (c) {
		case 'h':
			printf("%s%s  --json FILE       figures as JSON (- for stdout)\n", help,
			       vms_bench_load_help);
			rc = VMS_BENCH_OK;
			goto out;
		case 'j':
			json_file = optarg;
			break;
		case 't':
			title = optarg;
			break;
		case 'r':
			rounds = (unsigned)atoi(optarg);
			if (rounds < 1 || rounds > ROUNDS_MAX) {
				vms_bench_err("compare: --rounds wants 1 to %d", ROUNDS_MAX);
				goto out;
			}
			break;
		case 'o':
			if (add(t, &n, "ours", 4, optarg))
				goto out;
			break;
		case 'p':
			if (add(t, &n, "peer", 4, optarg))
				goto out;
			break;
		case 'l':
			if (!eq) {
				vms_bench_err("compare: --lun wants NAME=URL, not '%s'", optarg);
				goto out;
			}
			if (add(t, &n, optarg, (size_t)(eq - optarg), eq + 1))
				goto out;
			break;
		case 'F':
			if (!eq) {
				vms_bench_err("compare: --flush wants NAME=FILE, not '%s'", optarg);
				goto out;
			}
			if (add(t, &n, optarg, (size_t)(eq - optarg), eq + 1))
				goto out;
			t[n - 1].is_file = true;
			break;
		case 'w':
			if (n_want == WANTS_MAX || want_parse(&want[n_want++], optarg, t, n))
				goto out;
			break;
		case 'W': {
			struct lun *x = eq ? find(t, n, optarg, (size_t)(eq - optarg)) : NULL;
			double d = 0;

			if (!x || vms_bench_parse_rw(eq + 1, &d)) {
				vms_bench_err(
					"compare: --rw-of wants NAME=read, write or mix:PERCENT "
					"after that LUN, not '%s'",
					optarg);
				goto out;
			}
			x->write_percent = (int)d;
			break;
		}
		case 'N': {
			struct lun *x = eq ? find(t, n, optarg, (size_t)(eq - optarg)) : NULL;
			int k = eq ? atoi(eq + 1) : 0;

			if (!x || k < 1 || k > SESSIONS_OF_MAX) {
				vms_bench_err("compare: --sessions-of wants NAME=N after that LUN, "
					      "N from 1 to %d, not '%s'",
					      SESSIONS_OF_MAX, optarg);
				goto out;
			}
			x->sessions = (unsigned)k;
			break;
		}
		case 'P': {
			struct lun *x = eq ? find(t, n, optarg, (size_t)(eq - optarg)) : NULL;

			if (!x || x->n_urls == PATHS_MAX) {
				vms_bench_err("compare: --path wants NAME=URL after that LUN, at "
					      "most %d of them, not '%s'",
					      PATHS_MAX, optarg);
				goto out;
			}
			x->url[x->n_urls++] = strdup(eq + 1);
			break;
		}
		case 'S': {
			struct lun *x = find(t, n, optarg, strlen(optarg));

			if (!x) {
				vms_bench_err("compare: --split-of wants NAME after that LUN, not "
					      "'%s'",
					      optarg);
				goto out;
			}
			x->split = true;
			break;
		}
		case 'i': {
			struct lun *x = eq ? find(t, n, optarg, (size_t)(eq - optarg)) : NULL;

			if (!x || atoi(eq + 1) < 1 || x->pids.n == VMS_BENCH_PIDS_MAX) {
				vms_bench_err(
					"compare: --pid wants NAME=PID after that LUN, not '%s'",
					optarg);
				goto out;
			}
			x->pids.pid[x->pids.n++] = atoi(eq + 1);
			break;
		}
		default: {
			int h = vms_bench_load_option(&l, c, optarg);

			if (h < 0)
				vms_bench_err("compare: bad value '%s' for %s", optarg,
					      argv[optind - 2]);
			if (h <= 0)
				goto out;
		}
		}
	}
	if (!find(t, n, "peer", 4) && getenv("PEER") && add(t, &n, "peer", 4, getenv("PEER")))
		goto out;
	if (n < 1 || optind != argc) {
		vms_bench_err("compare: want --ours URL and --peer URL (see --help)");
		goto out;
	}
	peer = find(t, n, "peer", 4);
	rc = VMS_BENCH_FAILED;
	for (unsigned i = 0; i < n; i++) {
		t[i].res = calloc(rounds, sizeof(*t[i].res));
		if (!t[i].res)
			goto out;
	}
	for (unsigned r = 0; r < rounds; r++) {
		for (unsigned k = 0; k < n; k++) {
			struct lun *x = &t[(k + r) % n];
			struct vms_bench_load one = load_of(&l, x);

			one.prefill = l.prefill && r == 0;
			one.seed = l.seed + r;
			if (x->is_file ? vms_bench_flush_run(x->url[0], one.seconds, one.seed,
							     &x->res[x->n])
				       : vms_bench_load_run(&one, x->url, x->n_urls, &x->res[x->n]))
				goto out;
			x->n++;
		}
	}
	rc = VMS_BENCH_OK;
	if (!json_file || strcmp(json_file, "-"))
		table(title, t, n, peer);
	for (unsigned i = 0; i < n_want; i++)
		want_check(&want[i]);
	if (json_file) {
		json_t *j = as_json(title, &l, t, n, peer, want, n_want);

		if (vms_bench_json_write(j, json_file))
			rc = VMS_BENCH_FAILED;
		json_decref(j);
	}
out:
	for (unsigned i = 0; i < n; i++) {
		free(t[i].name);
		for (unsigned k = 0; k < t[i].n_urls; k++)
			free(t[i].url[k]);
		free(t[i].res);
	}
	return rc;
}
