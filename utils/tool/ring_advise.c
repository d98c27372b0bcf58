// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring advise: each risk, and the command that mends it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utils/lib/size.h"
#include "utils/tool/look.h"
#include "utils/tool/nodes.h"
#include "utils/tool/ring_cmds.h"

#define NEARFULL_PERCENT 85u
#define FULL_PERCENT	 95u
#define DAMAGED_MANY	 100u
#define STANDING_MAX	 8u   /* partitions that are named */
#define NUMBERS_PERMILLE 500u /* of a partition's container numbers (rule B9) */

enum level { NOW, SOON, NOTE };

struct advice {
	enum level level;
	char risk[900], mend[300];
};
struct list {
	VMS_VEC(struct advice) a;
	struct ring *r;
	struct tool *t;
};

__attribute__((format(printf, 4, 5))) static void say(struct list *l, enum level level,
						      const char *mend, const char *fmt, ...)
{
	struct advice *a = VMS_VEC_ADD(&l->a);
	va_list ap;

	a->level = level;
	snprintf(a->mend, sizeof(a->mend), "%s", mend);
	va_start(ap, fmt);
	vsnprintf(a->risk, sizeof(a->risk), fmt, ap);
	va_end(ap);
}

static const char *text(char out[200], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *text(char out[200], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, 200, fmt, ap);
	va_end(ap);
	return out;
}

static uint64_t number(const json_t *o, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

static const char *word(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

/* ---- nodes ---- */

static void node_health(struct list *l, const struct view_node *x)
{
	char m[200];

	if (x->n.state == VMS_NODE_OUT)
		say(l, NOW,
		    text(m,
			 "start vmstored there; or, if it never comes back: vmstore-ring replace "
			 "%s HOST:PORT, or vmstore-ring leave %s",
			 x->n.name, x->n.name),
		    "node %s is taken for lost; its copies are made anew on the others", x->n.name);
	else if (!x->n.incarnation)
		say(l, SOON,
		    text(m, "start vmstored on %s, or vmstore-ring leave %s", x->n.address,
			 x->n.name),
		    "node %s has joined and has never run: it holds nothing", x->n.name);
	else if (!x->up && !strcmp(x->why, "not joined"))
		say(l, NOW,
		    text(m,
			 "if its data is lost: vmstore-ring join %s; otherwise set dir in its "
			 "configuration to the folder that it had, and start it anew",
			 x->n.address),
		    "node %s runs on an empty folder", x->n.name);
	else if (!x->up)
		say(l, NOW,
		    text(m,
			 "start vmstored on %s and look at its log; see doc/operations.md 'A node "
			 "is down'",
			 x->n.address),
		    "node %s: %s", x->n.name, x->why);
	else if (x->n.state == VMS_NODE_DRAINED)
		say(l, SOON,
		    text(m, "vmstore-ring undrain %s, or vmstore-ring leave %s", x->n.name,
			 x->n.name),
		    "node %s is drained: it holds nothing and adds no safety", x->n.name);
	if (x->up && !json_is_true(json_object_get(x->status, "catalog")))
		say(l, NOW,
		    text(m,
			 "check the network between %s and the catalog, and catalog in its "
			 "configuration",
			 x->n.address),
		    "node %s does not reach the catalog: I/O goes on, nothing can be changed there",
		    x->n.name);
}

static void node_space(struct list *l, const struct view_node *x)
{
	const json_t *s = json_object_get(x->status, "space");
	uint64_t total = number(s, "total_bytes"), fre = number(s, "free_bytes");
	uint64_t index = number(s, "index_used_permille") / 10;
	unsigned full = total ? (unsigned)((total - (fre < total ? fre : total)) * 100 / total) : 0;
	char m[200];

	if (view_node_lost(x))
		say(l, NOW,
		    "vmstore-ring scrub names it; write it again from a backup, or delete the "
		    "volume",
		    "%" PRIu64 " places are damaged on every node that has them, says %s: they "
		    "read as medium errors",
		    view_node_lost(x), x->n.name);
	if (full >= FULL_PERCENT || !strcmp(view_node_full(x), "full"))
		say(l, NOW,
		    "delete volumes or snapshots (vmstore reclaim shows what comes back), or "
		    "vmstore-ring join HOST:PORT",
		    "node %s is full (%u %% of its file system): writes to it end with 'no space'",
		    x->n.name, full);
	else if (full >= NEARFULL_PERCENT)
		say(l, SOON,
		    text(m,
			 "vmstore-ring join HOST:PORT; or give it a smaller share: vmstore-ring "
			 "reweight %s %u",
			 x->n.name, x->n.weight > 1 ? x->n.weight * 4 / 5 : 1),
		    "node %s is nearly full (%u %% of its file system)", x->n.name, full);
	if (index >= NEARFULL_PERCENT)
		say(l, index >= FULL_PERCENT ? NOW : SOON,
		    text(m, "raise index_size in [node] of %s and restart it", x->n.name),
		    "the index of node %s is %" PRIu64 " %% full", x->n.name, index);
}

static void versions(struct list *l)
{
	const char *first = NULL, *first_name = NULL;

	VMS_VEC_FOREACH (&l->r->v.nodes, x) {
		const char *v = word(x->status, "version");

		if (!*v)
			continue;
		if (first && strcmp(first, v)) {
			say(l, SOON,
			    "install the same version on all nodes, one node after the other",
			    "nodes run different versions: %s %s, %s %s", first_name, first,
			    x->n.name, v);
			return;
		}
		first = v;
		first_name = x->n.name;
	}
}

/* ---- copies ---- */

static void zones(struct list *l)
{
	const struct view *v = &l->r->v;
	uint32_t named = 0, nz = 0, nodes = 0;
	char m[200];

	for (size_t i = 0; i < v->nodes.n; i++) {
		const struct vms_cat_node *x = &v->nodes.d[i].n;
		bool first = true;

		if (!vms_place_weight(x))
			continue;
		nodes++;
		named += x->zone[0] != 0;
		for (size_t k = 0; k < i; k++)
			first &= !(x->zone[0] && vms_place_weight(&v->nodes.d[k].n) &&
				   !strcmp(x->zone, v->nodes.d[k].n.zone));
		nz += first;
	}
	if (nodes >= v->cluster.copies && nz < v->cluster.copies)
		say(l, SOON,
		    text(m, "vmstore-ring join HOST:PORT in another zone, or correct the zones: "
			    "vmstore-ring zone NODE ZONE"),
		    "%u zones for %u copies: one zone that fails takes several copies with it", nz,
		    v->cluster.copies);
	else if (named && named < nodes)
		say(l, NOTE, "vmstore-ring zone NODE ZONE",
		    "%u of %u nodes have no zone; each counts as one of its own", nodes - named,
		    nodes);
	if (nodes < v->cluster.copies)
		say(l, NOW,
		    text(m, "vmstore-ring join HOST:PORT, or vmstore-ring set --copies %u",
			 nodes ? nodes : 1),
		    "%u nodes hold data, %u copies are wanted", nodes, v->cluster.copies);
}

static void copies(struct list *l, const struct view_health *h)
{
	const struct vms_cat_cluster *c = &l->r->v.cluster;

	if (h->down)
		say(l, NOW,
		    "start the nodes that are down: 'Data cannot be reached' in doc/operations.md",
		    "%u partitions cannot be reached: no node that has them up to date runs",
		    h->down);
	if (h->below_min)
		say(l, NOW, "start the nodes that are down, or vmstore-ring set --min-copies 1",
		    "writes wait in %u partitions that have fewer than %u copies", h->below_min,
		    c->min_copies);
	if (h->missing_copies || h->degraded)
		say(l, NOW,
		    "none needed while vmstore-ring status shows them moving; start nodes that are "
		    "down",
		    "%u partitions have fewer copies than wanted", h->missing_copies + h->degraded);
	if (c->copies == 1)
		say(l, NOW, "vmstore-ring set --copies 2",
		    "there is one copy of everything: a lost disk loses data");
	else if (c->min_copies == c->copies)
		say(l, SOON, "vmstore-ring set --min-copies N, lower than copies",
		    "writes need all %u copies: each lost node stops writes until its copies are "
		    "made anew",
		    c->copies);
	else if (c->copies >= 3 && c->min_copies == 1)
		say(l, SOON, "vmstore-ring set --min-copies 2",
		    "writes are acknowledged with one copy of %u left: the next failure loses them",
		    c->copies);
	if (!c->rebuild_after_s && c->copies > 1)
		say(l, SOON, "vmstore-ring set --rebuild-after 10min",
		    "copies of a node that stays away are never made anew");
	if (c->timing_factor != 1)
		say(l, NOTE, "none: it is fixed by vmstore-ring init --timing-factor",
		    "all times are scaled by %g: failures are noticed %s than usual",
		    c->timing_factor, c->timing_factor > 1 ? "later" : "earlier");
	if (h->loss_epochs)
		say(l, NOTE, "check the volumes with write_ack=memory that were in use then",
		    "unflushed writes may have been lost %" PRIu64 " times so far", h->loss_epochs);
}

static void stopped(struct list *l)
{
	const struct ring *r = l->r;
	uint32_t n = 0, first = 0;

	for (uint32_t p = 0; p < r->v.nparts; p++)
		if (r->part[p].asked && !r->part[p].serving)
			first = n++ ? first : p;
	if (n)
		say(l, NOW,
		    "wait some seconds; if it stays, vmstore-ring status names what they wait for",
		    "%u partitions are not served (partition %u: %s)", n, first,
		    r->part[first].state);
}

/* What they need is damaged on every node that runs. */
static void standing(struct list *l)
{
	struct ring *r = l->r;
	char who[700], mend[300];
	uint32_t n = 0;

	for (uint32_t p = 0; p < r->v.nparts; p++) {
		if (!r->part[p].stands || n++ >= STANDING_MAX)
			continue;
		ring_stand_who(r, p, who, sizeof(who));
		ring_stand_mend(r, p, mend, sizeof(mend));
		say(l, NOW, mend, "partition %u stands: the bytes of record %" PRIu64 " are %s%s",
		    p, r->part[p].stands, who,
		    r->part[p].writes_wait ? "; its writes wait"
					   : "; it takes some writes more, then they wait");
	}
	if (n > STANDING_MAX)
		say(l, NOW, "vmstore-ring status --json lists them: standing",
		    "%u partitions more stand", n - STANDING_MAX);
}

/* ---- disks ---- */

static void numbers(struct list *l, const struct view_node *x)
{
	uint64_t used = number(json_object_get(x->status, "core"), "container_numbers_permille");

	if (used >= NUMBERS_PERMILLE)
		say(l, used >= 900 ? NOW : SOON,
		    "make a new cluster with more partitions and move the volumes: vmstore "
		    "export-diff, import-diff",
		    "on node %s a partition has used %" PRIu64 " %% of its container numbers",
		    x->n.name, used / 10);
}

static void scrub(struct list *l, const char *node, const json_t *a, uint64_t now_s)
{
	uint64_t days = l->r->v.cluster.scrub_days, last = number(a, "last_complete");
	uint64_t since = last > number(a, "began") ? last : number(a, "began");
	char m[200];

	if (number(a, "damaged") >= DAMAGED_MANY)
		say(l, SOON, text(m, "vmstore-ring replace %s HOST:PORT", node),
		    "the disk of node %s has lost %" PRIu64
		    " places that were mended: it may be failing",
		    node, number(a, "damaged"));
	if (!strcmp(word(a, "state"), "paused"))
		say(l, SOON, "vmstore-ring scrub resume",
		    "node %s does not verify its disk: it was told to pause", node);
	/* half as much again as the round ought to take */
	else if (days && since && now_s > since + days * 86400 * 3 / 2)
		say(l, SOON,
		    text(m, "vmstore-ring scrub start, or vmstore-ring set --scrub-days %u",
			 (unsigned)days * 2),
		    "node %s has not verified its whole disk for %" PRIu64 " days", node,
		    (now_s - since) / 86400);
}

static void disks(struct list *l)
{
	struct timespec now = {0};
	struct nodes ns = {.p = NULL};
	struct vms_errmsg e;

	VMS_VEC_FOREACH (&l->r->v.nodes, x)
		numbers(l, x);
	if (!l->r->v.cluster.scrub_days)
		say(l, SOON, "vmstore-ring set --scrub-days 7",
		    "stored data is not verified: a disk that rots is noticed when it is read");
	clock_gettime(CLOCK_REALTIME, &now);
	if (!nodes_open(l->t, &ns, &e))
		nodes_ask(l->t, &ns, "scrub", NULL, 3000);
	for (unsigned i = 0; i < ns.n; i++)
		if (ns.p[i].answer)
			scrub(l, ns.p[i].name, ns.p[i].answer, (uint64_t)now.tv_sec);
	nodes_close(l->t, &ns);
}

static void catalog_risks(struct list *l)
{
	const struct vms_conf_addrs *a = &l->t->set.cluster.catalog;
	char host[64] = "";

	if (a->scheme || a->n != 1)
		return;
	snprintf(host, sizeof(host), "%s", a->a[0].host);
	say(l, SOON,
	    "run it on etcd: vmstore-ring move-catalog --to etcd:HOST:PORT,HOST:PORT,HOST:PORT",
	    "the catalog is one process (%s): while it is away I/O goes on, but nothing can be "
	    "changed and no failure is handled",
	    host);
	VMS_VEC_FOREACH (&l->r->v.nodes, x) {
		size_t n = strlen(host);

		if (!strncmp(x->n.address, host, n) && x->n.address[n] == ':') {
			say(l, NOTE, "run the catalog on a machine of its own, or on etcd",
			    "the catalog shares a machine with node %s: both fail together",
			    x->n.name);
			break;
		}
	}
}

/* Initiators reach their LUNs through two gateways at least, if all is well. */
static void gateway_risks(struct list *l, const struct gates *g)
{
	unsigned serving = 0;
	char mend[200];

	if (g->why.text[0]) {
		say(l, NOTE, "vmstore gateway ls", "which gateways run is not known: %s",
		    g->why.text);
		return;
	}
	for (size_t i = 0; i < g->gws.n; i++) {
		const struct vms_cat_gateway *gw = &g->gws.d[i].g;

		if (!gw->portal[0])
			continue; /* a tool */
		serving += g->st[i].up && !g->st[i].draining;
		if (!g->st[i].up && !g->st[i].draining)
			say(l, SOON,
			    text(mend,
				 "start it, or if it is gone for good: vmstore gateway forget %s",
				 gw->name),
			    "gateway %s is down: its initiators have one path less", gw->name);
	}
	if (g->all && serving < 2)
		say(l, SOON,
		    g->all > 1
			    ? "vmstore gateway ls; start the others, or vmstore gateway undrain "
			      "NAME"
			    : "set up another one (doc/operations.md, vmstore.conf(5) [gateway])",
		    "%s: initiators have no other path",
		    serving ? "one gateway serves them all" : "no gateway takes initiators");
}

static int by_level(const void *a, const void *b)
{
	return (int)((const struct advice *)a)->level - (int)((const struct advice *)b)->level;
}

static const char *const levels[] = {"now", "soon", "note"};

static int print(struct list *l)
{
	json_t *out = json_array();

	if (l->a.n > 1)
		qsort(l->a.d, l->a.n, sizeof(l->a.d[0]), by_level);
	VMS_VEC_FOREACH (&l->a, a) {
		if (l->t->json)
			json_array_append_new(out, json_pack("{ss ss ss}", "when", levels[a->level],
							     "risk", a->risk, "mend", a->mend));
		else
			printf("%-5s %s\n      -> %s\n", levels[a->level], a->risk, a->mend);
	}
	if (l->t->json)
		return tool_print_json(out);
	json_decref(out);
	if (!l->a.n)
		printf("nothing to advise\n");
	return TOOL_OK;
}

static int run_advise(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	struct look k;
	struct list l = {.r = &k.r, .t = c->t};
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = look_load(c->t, &k, &e);
	if (rc) {
		look_free(&k);
		return tool_fail(c->t, "%s", e.text);
	}
	VMS_VEC_FOREACH (&k.r.v.nodes, x) {
		node_health(&l, x);
		node_space(&l, x);
	}
	versions(&l);
	copies(&l, &k.h);
	zones(&l);
	stopped(&l);
	standing(&l);
	disks(&l);
	catalog_risks(&l);
	gateway_risks(&l, &k.g);
	rc = print(&l);
	if (rc == TOOL_OK)
		rc = look_exit_code(&k);
	VMS_VEC_FREE(&l.a);
	look_free(&k);
	return rc;
}

const struct cmd ring_advise = {.name = "advise",
				.args = "[--json]",
				.brief = "name each risk and the command that mends it",
				.about = "Names what endangers the data or the service, what is "
					 "urgent first, each with the\n"
					 "command that mends it. Exit codes as of status.",
				.run = run_advise};
