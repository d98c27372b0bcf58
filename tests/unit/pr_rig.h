/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several gateway cores over one catalog and one storage node, all in memory, with time
 * that the test moves. The catalog delays, forgets answers (what was asked for happens or
 * does not, perhaps later), reads stale, and can be cut off from a gateway; gateways die
 * and come back. The node keeps floors and what was written, and that no write came that
 * a reservation had shut out.
 */
#ifndef VMS_TESTS_PR_RIG_H
#define VMS_TESTS_PR_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/gateway.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/rng.h"

#define R_GWS	 3
#define R_NEXUS	 3 /* at each gateway */
#define R_KV	 64
#define R_HIST	 4096
#define R_STEP	 10u /* ms */
#define R_PREFIX "pr/"

struct r_version {
	char *val; /* NULL: deleted */
	uint64_t rev;
};
struct r_kv {
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct r_version v[R_HIST];
	unsigned n;
};
struct r_call {
	struct r_call *next;
	uint64_t at;
	int gw;
	vms_cat_done_fn fn;
	void *arg;
	enum { RC_GET, RC_RANGE, RC_APPLY, RC_ANSWER, RC_EVENT } kind;
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint64_t rev; /* ANSWER, EVENT */
	int status;
	bool unknown; /* APPLY: no answer, or a wrong one, has been given */
	unsigned ncmp, nop;
	char ckey[4][VMS_CAT_KEY_BYTES_MAX], okey[4][VMS_CAT_KEY_BYTES_MAX];
	uint64_t crev[4];
	char *oval[4];
};
struct r_watch {
	int gw;
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	vms_cat_done_fn fn;
	void *arg;
	uint64_t last_at;
};
struct r_msg {
	struct r_msg *next;
	uint64_t at;
	int gw;
	bool to_gw;
	uint32_t session;
	struct vms_msg m;
	uint8_t body[512];
};
struct r_gw {
	struct vms_catalog cat;
	int i;
	struct vms_gw *gw;
	struct vms_gw_vol *vol;
	bool open, cut, fatal, up;
	uint32_t session;
	uint64_t tick, lost_at;
	uint64_t told;	 /* the last table */
	bool wait;	 /* does not settle by itself */
	bool drop;	 /* the node closes its connection */
	uint64_t away;	 /* no connection before */
	unsigned errors; /* that it has logged */
};
struct r_cmd { /* on reservations */
	struct vms_gw_pr_cmd pc;
	uint8_t cdb[10], list[24];
	bool busy, ended;
	int gw;
	uint64_t key;
};
struct r_write {
	struct vms_gw_cmd c;
	struct vms_pr_who who;
	bool busy;
	unsigned ended;
	int status;
};

static struct {
	uint64_t now, rev;
	struct vms_rng rng;
	struct r_kv kv[R_KV];
	unsigned nkv;
	struct r_call *calls;
	struct r_watch watch[128];
	unsigned nwatch;
	struct r_msg *msgs;
	struct r_gw g[R_GWS];
	struct vms_pr_nexus nexus[R_GWS][R_NEXUS];
	struct r_cmd cmd[R_GWS][R_NEXUS];
	struct r_write wr[R_GWS][R_NEXUS];
	/* odds in 1000 */
	unsigned unknown, stale;
	unsigned delay_ms;
	unsigned page; /* keys of one answer, 0: all */
	/* the node */
	uint64_t fence, incarnation[R_GWS + 1];
	unsigned floors, applied;
	bool node_down;
	uint64_t born;	 /* when it was restarted; 0: never */
	uint64_t silent; /* so long after that it tells of no sessions */
	bool came_back;	 /* who is shut out had a session again when the floor came */
	bool rubbish;	 /* a table may be put that nobody can read */
	/* tables that have been, and the number of the last one that somebody was told of */
	struct vms_pr hist[R_HIST];
	uint64_t hist_ms[R_HIST];
	unsigned nhist;
	uint64_t good;
	unsigned violations;
	uint32_t mutant;
} R;

static inline unsigned r_below(unsigned n)
{
	return n ? (unsigned)(vms_rng_u64(&R.rng) % n) : 0;
}
static inline bool r_odds(unsigned permille)
{
	return r_below(1000) < permille;
}

/* ---- catalog ---- */

static inline struct r_kv *r_kv(const char *key, bool make)
{
	for (unsigned i = 0; i < R.nkv; i++)
		if (!strcmp(R.kv[i].key, key))
			return &R.kv[i];
	if (!make)
		return NULL;
	vms_assert(R.nkv < R_KV);
	snprintf(R.kv[R.nkv].key, VMS_CAT_KEY_BYTES_MAX, "%s", key);
	return &R.kv[R.nkv++];
}
static inline const struct r_version *r_at(const struct r_kv *k, uint64_t rev)
{
	for (unsigned i = k ? k->n : 0; i-- > 0;)
		if (k->v[i].rev <= rev)
			return k->v[i].val ? &k->v[i] : NULL;
	return NULL;
}
static inline void r_call_add(struct r_call *c)
{
	struct r_call **at = &R.calls;

	while (*at && (*at)->at <= c->at)
		at = &(*at)->next;
	c->next = *at;
	*at = c;
}
static inline struct r_call *r_call_new(int gw, vms_cat_done_fn fn, void *arg, int kind,
					uint64_t at)
{
	struct r_call *c = calloc(1, sizeof(*c));

	vms_assert(c);
	c->gw = gw;
	c->fn = fn;
	c->arg = arg;
	c->kind = kind;
	c->at = at;
	return c;
}
static inline uint64_t r_later(void)
{
	return R.now + 1 + r_below(R.delay_ms);
}
static inline void r_put(const char *key, const char *val)
{
	struct r_kv *k = r_kv(key, true);

	vms_assert(k->n < R_HIST);
	k->v[k->n++] = (struct r_version){val ? strdup(val) : NULL, R.rev};
	for (unsigned i = 0; i < R.nwatch; i++) {
		struct r_watch *w = &R.watch[i];
		struct r_call *c;

		if (!w->fn || R.g[w->gw].cut || strncmp(key, w->prefix, strlen(w->prefix)))
			continue;
		c = r_call_new(w->gw, w->fn, w->arg, RC_EVENT, r_later());
		if (c->at < w->last_at)
			c->at = w->last_at;
		w->last_at = c->at;
		snprintf(c->key, sizeof(c->key), "%s", key);
		c->rev = R.rev;
		r_call_add(c);
	}
	if (val && !R.rubbish && !strncmp(key, R_PREFIX, 3) && !strchr(key + 3, '/')) {
		struct vms_pr *t = &R.hist[R.nhist];

		vms_assert(R.nhist < R_HIST && !vms_pr_decode(t, key, val, NULL));
		if (R.nhist && t->fence == R.hist[R.nhist - 1].fence)
			vms_pr_free(t); /* it is over */
		else
			R.hist_ms[R.nhist++] = R.now;
	}
}
static inline void r_put_free(const char *key, char *val)
{
	R.rev++;
	r_put(key, val);
	free(val);
}
static inline int r_gw_of(struct vms_catalog *c)
{
	return ((struct r_gw *)c)->i;
}
static void r_get(struct vms_catalog *cat, const char *key, vms_cat_done_fn fn, void *arg)
{
	struct r_call *c = r_call_new(r_gw_of(cat), fn, arg, RC_GET, r_later());

	snprintf(c->key, sizeof(c->key), "%s", key);
	r_call_add(c);
}
static void r_range(struct vms_catalog *cat, const char *prefix, const char *after,
		    vms_cat_done_fn fn, void *arg)
{
	struct r_call *c = r_call_new(r_gw_of(cat), fn, arg, RC_RANGE, r_later());

	snprintf(c->key, sizeof(c->key), "%s", prefix);
	snprintf(c->ckey[0], sizeof(c->ckey[0]), "%s", after ? after : "");
	r_call_add(c);
}
static void r_txn(struct vms_catalog *cat, const struct vms_cat_cmp *cmp, unsigned ncmp,
		  const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn fn, void *arg)
{
	struct r_call *c = r_call_new(r_gw_of(cat), fn, arg, RC_APPLY, r_later());

	vms_assert(ncmp <= 4 && nop <= 4);
	for (unsigned i = 0; i < ncmp; i++) {
		snprintf(c->ckey[i], VMS_CAT_KEY_BYTES_MAX, "%s", cmp[i].key);
		c->crev[i] = cmp[i].mod_revision;
	}
	for (unsigned i = 0; i < nop; i++) {
		snprintf(c->okey[i], VMS_CAT_KEY_BYTES_MAX, "%s", op[i].key);
		c->oval[i] = op[i].val ? strdup(op[i].val) : NULL;
	}
	c->ncmp = ncmp;
	c->nop = nop;
	c->unknown = R.g[c->gw].cut || r_odds(R.unknown);
	if (c->unknown) { /* told so now; it happens now, later, or never */
		struct r_call *a = r_call_new(c->gw, fn, arg, RC_ANSWER, R.now + 50);

		a->status = r_odds(500) ? VMS_E_TIMEOUT : VMS_E_DISCONNECTED;
		r_call_add(a);
		c->fn = NULL;
		c->at = R.g[c->gw].cut || r_odds(300) ? UINT64_MAX : R.now + r_below(600);
	}
	r_call_add(c);
}
static uint64_t r_watch(struct vms_catalog *cat, const char *prefix, uint64_t from,
			vms_cat_done_fn fn, void *arg)
{
	struct r_watch *w = NULL;

	for (unsigned i = 0; i < R.nwatch && !w; i++)
		if (!R.watch[i].fn)
			w = &R.watch[i];
	if (!w) {
		vms_assert(R.nwatch < 128);
		w = &R.watch[R.nwatch++];
	}
	*w = (struct r_watch){.gw = r_gw_of(cat), .fn = fn, .arg = arg, .last_at = R.now};
	snprintf(w->prefix, sizeof(w->prefix), "%s", prefix);
	/* what happened between the reading and now */
	for (unsigned i = 0; i < R.nkv; i++)
		for (unsigned v = 0; v < R.kv[i].n; v++) {
			struct r_call *c;

			if (R.kv[i].v[v].rev <= from ||
			    strncmp(R.kv[i].key, prefix, strlen(prefix)))
				continue;
			c = r_call_new(w->gw, fn, arg, RC_EVENT, R.now + 1);
			snprintf(c->key, sizeof(c->key), "%s", R.kv[i].key);
			c->rev = R.kv[i].v[v].rev;
			r_call_add(c);
		}
	return (uint64_t)(w - R.watch) + 1;
}
static void r_unwatch(struct vms_catalog *cat, uint64_t id)
{
	R.watch[id - 1].fn = NULL;
}
static void r_forget(struct vms_catalog *cat, void *arg)
{
	int gw = r_gw_of(cat);

	for (struct r_call *c = R.calls; c; c = c->next)
		if (c->arg == arg && c->gw == gw)
			c->fn = NULL;
	for (unsigned i = 0; i < R.nwatch; i++)
		if (R.watch[i].arg == arg && R.watch[i].gw == gw)
			R.watch[i].fn = NULL;
}
static const struct vms_catalog_ops r_ops = {.struct_bytes = sizeof(r_ops),
					     .get = r_get,
					     .range = r_range,
					     .txn = r_txn,
					     .watch = r_watch,
					     .unwatch = r_unwatch,
					     .forget = r_forget};

static inline void r_apply(struct r_call *c)
{
	int status = 0;

	for (unsigned i = 0; i < c->ncmp; i++) {
		const struct r_version *v = r_at(r_kv(c->ckey[i], false), UINT64_MAX);

		if ((v ? v->rev : 0) != c->crev[i])
			status = VMS_E_CONFLICT;
	}
	if (!status)
		R.rev++;
	for (unsigned i = 0; i < c->nop; i++) {
		if (!status)
			r_put(c->okey[i], c->oval[i]);
		free(c->oval[i]);
	}
	if (c->fn) {
		struct r_call *a = r_call_new(c->gw, c->fn, c->arg, RC_ANSWER, r_later());

		a->status = status;
		a->rev = R.rev;
		r_call_add(a);
	}
}
static inline void r_run_call(struct r_call *c)
{
	struct vms_cat_kv kv[R_KV];
	struct vms_cat_reply re = {.kv = kv, .status = c->status};
	uint64_t back = r_odds(R.stale) ? r_below(4) : 0;
	bool begun = !c->ckey[0][0];

	if (c->kind == RC_APPLY) {
		r_apply(c);
		return;
	}
	if (!c->fn)
		return;
	if (c->kind == RC_EVENT) {
		struct r_kv *k = r_kv(c->key, false);

		for (unsigned i = 0; i < k->n; i++)
			if (k->v[i].rev == c->rev)
				kv[0] = (struct vms_cat_kv){
					.key = k->key, .val = k->v[i].val, .mod_revision = c->rev};
		re.revision = c->rev;
		re.nkv = 1;
	} else if (c->kind == RC_ANSWER) {
		re.revision = c->rev;
	} else if (R.g[c->gw].cut) {
		re.status = VMS_E_TIMEOUT;
	} else {
		re.revision = R.rev > back ? R.rev - back : R.rev;
		for (unsigned i = 0; i < R.nkv; i++) {
			const struct r_version *v = r_at(&R.kv[i], re.revision);

			if (!begun) {
				begun = !strcmp(R.kv[i].key, c->ckey[0]);
				continue;
			}
			if (!v ||
			    (c->kind == RC_GET ? strcmp(R.kv[i].key, c->key)
					       : strncmp(R.kv[i].key, c->key, strlen(c->key))))
				continue;
			if (c->kind == RC_RANGE && R.page && re.nkv == R.page) {
				re.more = true;
				break;
			}
			kv[re.nkv++] = (struct vms_cat_kv){
				.key = R.kv[i].key, .val = v->val, .mod_revision = v->rev};
		}
	}
	c->fn(c->arg, &re);
}

/* ---- the node ---- */

static inline void r_msg_add(int gw, bool to_gw, uint64_t at, const struct vms_msg *m)
{
	struct r_msg *c = calloc(1, sizeof(*c)), **p = &R.msgs;

	vms_assert(c && m->body_bytes <= sizeof(c->body));
	c->gw = gw;
	c->to_gw = to_gw;
	c->at = at;
	c->session = R.g[gw].session;
	c->m = *m;
	if (m->body_bytes)
		memcpy(c->body, m->body, m->body_bytes);
	c->m.body = c->body;
	c->m.payload = NULL;
	c->m.npayload = 0;
	c->m.payload_bytes = 0;
	while (*p && (*p)->at <= at)
		p = &(*p)->next;
	c->next = *p;
	*p = c;
}
static inline void r_reply(struct r_msg *q, int status, const void *body, uint32_t bytes)
{
	struct vms_msg re;

	vms_msg_reply_init(&re, &q->m, status);
	re.sender = 1;
	re.incarnation = 1;
	re.epoch = 1;
	re.body = body;
	re.body_bytes = bytes;
	re.sequence = q->m.sequence;
	if (q->m.type == VMS_MSG_FLOOR)
		re.aux = q->m.aux;
	r_msg_add(q->gw, true, R.now + 1, &re);
}
/* Is this write shut out by all that anybody may go by now? */
static inline void r_check_write(uint32_t extent_chunk, int gw)
{
	unsigned i = extent_chunk % R_NEXUS;
	struct r_write *w = &R.wr[gw][i];

	for (unsigned h = R.nhist; h-- > 0 && R.hist[h].fence >= R.good;)
		if (!vms_pr_refuses(&R.hist[h], &w->who, VMS_ACC_WRITE))
			return;
	if (!R.nhist || !R.good)
		return;
	R.violations++;
}
static inline void r_node(struct r_msg *q)
{
	struct vms_msg *m = &q->m;
	uint8_t addrs[64] = {0};
	char text[512];
	int n = 0;

	switch (m->type) {
	case VMS_MSG_HELLO:
		if (m->incarnation < R.incarnation[m->sender]) {
			r_reply(q, VMS_E_INCARNATION, NULL, 0);
			break;
		}
		R.incarnation[m->sender] = m->incarnation;
		r_reply(q, 0, NULL, 0);
		break;
	case VMS_MSG_FLOOR:
		R.floors++;
		if (m->branch && m->lun_fence > R.fence)
			R.fence = m->lun_fence;
		if (!m->branch && m->incarnation > R.incarnation[m->aux]) {
			R.incarnation[m->aux] = m->incarnation;
			R.g[m->aux - 1].drop = true;
			q->m.aux = R.came_back; /* the answer's */
		} else {
			q->m.aux = 0;
		}
		r_reply(q, 0, NULL, 0);
		break;
	case VMS_MSG_ADMIN:
		if (R.born && R.now - R.born < R.silent) {
			r_reply(q, VMS_E_AGAIN, NULL, 0);
			break;
		}
		for (int i = 0; i < R_GWS; i++) {
			const struct r_gw *g = &R.g[i];
			bool live = g->up || (g->lost_at > R.born && R.now - g->lost_at < 2050);

			n += snprintf(text + n, sizeof(text) - (size_t)n,
				      "%s{\"gateway\":%d,\"live\":%s}", i ? "," : "[", i + 1,
				      live ? "true" : "false");
		}
		n += snprintf(text + n, sizeof(text) - (size_t)n, "]");
		r_reply(q, 0, text, (uint32_t)n);
		break;
	case VMS_MSG_WRITE:
		if (m->incarnation < R.incarnation[m->sender]) {
			r_reply(q, VMS_E_INCARNATION, NULL, 0);
			break;
		}
		if (m->lun_fence < R.fence) {
			r_reply(q, VMS_E_LUN_FENCE, NULL, 0);
			break;
		}
		r_check_write(vms_get_le16(m->body + 8), q->gw);
		R.applied++;
		r_reply(q, 0, addrs, 8);
		break;
	default: /* OPEN, CANCEL, TICK answers */
		if (!(m->flags & VMS_F_REPLY))
			r_reply(q, 0, NULL, 0);
	}
}

/* ---- the gateways' sink ---- */

static int r_send(void *ctx, uint32_t node, const struct vms_msg *m)
{
	struct r_gw *g = ctx;

	if (!g->up)
		return VMS_E_DISCONNECTED;
	r_msg_add(g->i, false, R.now + 1 + r_below(5), m);
	return 0;
}
static void r_connect(void *ctx, uint32_t node, const char *address)
{
	struct r_gw *g = ctx;

	if (R.node_down || R.now < g->away)
		return;
	g->up = true;
	g->session++;
	r_msg_add(g->i, true, R.now + 1, &(struct vms_msg){.type = VMS_MSG_TYPE_MAX});
}
static void r_disconnect(void *ctx, uint32_t node)
{
	struct r_gw *g = ctx;

	g->up = false;
	g->lost_at = R.now;
	g->session++;
}
static void r_complete(void *ctx, struct vms_gw_cmd *c)
{
	struct r_write *w = c->cookie;

	w->busy = false;
	w->ended++;
	w->status = c->status;
}
static void r_dropped(void *ctx, const char *why)
{
}
static void r_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status, const char *text)
{
	struct r_gw *g = ctx;

	g->open = !status;
}
static void r_changed(void *ctx, struct vms_gw_vol *vol)
{
}
static void r_deadline(void *ctx, uint64_t at)
{
}
static void r_fatal(void *ctx, int err, const char *text)
{
	((struct r_gw *)ctx)->fatal = true;
}
static void r_log(void *ctx, int level, const char *text)
{
	((struct r_gw *)ctx)->errors += level == VMS_LOG_ERROR;
	if (getenv("R_LOG"))
		fprintf(stderr, "%8llu g%d %s\n", (unsigned long long)R.now,
			((struct r_gw *)ctx)->i + 1, text);
}
static bool r_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *t)
{
	struct r_gw *g = ctx;

	vms_assert(t->fence > g->told);
	g->told = t->fence;
	return !g->wait;
}
/* The last table that this process has made: its changes come one after the other, so of
 * one that has just ended it is its own, or an earlier one. */
static inline uint64_t r_fence_by(const struct r_gw *g)
{
	for (unsigned h = R.nhist; h-- > 0;)
		if (R.hist[h].by.gateway == (uint32_t)g->i + 1 &&
		    R.hist[h].by.incarnation == vms_gw_incarnation(g->gw))
			return R.hist[h].fence;
	return 0;
}
static inline uint64_t r_fence_of(uint64_t key)
{
	for (unsigned h = 0; h < R.nhist; h++)
		for (unsigned i = 0; i < R.hist[h].n; i++)
			if (R.hist[h].reg[i].key == key)
				return R.hist[h].fence;
	return 0;
}
static void r_pr_complete(void *ctx, struct vms_gw_pr_cmd *pc)
{
	struct r_gw *g = ctx;
	struct r_cmd *c = pc->cookie;
	uint64_t fence = c->key ? r_fence_of(c->key) : 0;

	c->busy = false;
	c->ended = true;
	if (pc->sense.status != VMS_SAM_GOOD || pc->req.cdb[0] == 0x5e)
		return;
	if (!fence)
		fence = r_fence_by(g);
	if (fence > R.good)
		R.good = fence;
	for (int i = 0; i < R_GWS; i++) {
		const struct r_gw *o = &R.g[i];

		if (!o->gw || !o->open || o->fatal ||
		    R.incarnation[i + 1] > vms_gw_incarnation(o->gw))
			continue;
		if (vms_gw_vol_pr(o->vol)->fence < fence)
			R.violations++;
	}
	/* the node has the number, or all that it should keep out is too old by now */
	for (unsigned h = 0; h < R.nhist; h++)
		if (R.hist[h].fence == fence && R.fence < fence && R.now - R.hist_ms[h] < 6000)
			R.violations++;
}

/* ---- time ---- */

static inline void r_gw_tick(struct r_gw *g)
{
	uint8_t body[15] = {0};
	struct vms_msg m = {.type = VMS_MSG_TICK,
			    .partition = VMS_PART_NONE,
			    .sender = 1,
			    .req_id = 99,
			    .tick = ++g->tick,
			    .tick_incarnation = 1,
			    .incarnation = 1,
			    .body = body,
			    .body_bytes = sizeof(body)};

	vms_put_le64(body, R.now);
	if (g->up && !R.node_down)
		r_msg_add(g->i, true, R.now + 1, &m);
}
static inline void r_deliver(struct r_msg *q)
{
	struct r_gw *g = &R.g[q->gw];
	struct vms_gw_event ev = {.now_ms = R.now, .node = 1, .msg = &q->m};

	if (!g->gw || q->session != g->session)
		return;
	if (!q->to_gw) {
		if (!R.node_down)
			r_node(q);
		return;
	}
	ev.type = q->m.type == VMS_MSG_TYPE_MAX ? VMS_GEV_CONN_UP : VMS_GEV_MSG;
	vms_gw_step(g->gw, &ev);
}
static inline void r_step(void)
{
	R.now += R_STEP;
	for (int i = 0; i < R_GWS; i++)
		if (R.now % 250 == 0 && R.g[i].gw)
			r_gw_tick(&R.g[i]);
	while ((R.calls && R.calls->at <= R.now) || (R.msgs && R.msgs->at <= R.now)) {
		if (R.calls && R.calls->at <= R.now) {
			struct r_call *c = R.calls;

			R.calls = c->next;
			r_run_call(c);
			free(c);
		}
		if (R.msgs && R.msgs->at <= R.now) {
			struct r_msg *q = R.msgs;

			R.msgs = q->next;
			r_deliver(q);
			free(q);
		}
	}
	for (int i = 0; i < R_GWS; i++) {
		struct r_gw *g = &R.g[i];

		if (!g->gw)
			continue;
		if (g->drop && g->up) {
			r_disconnect(g, 1);
			vms_gw_step(g->gw, &(struct vms_gw_event){.type = VMS_GEV_CONN_DOWN,
								  .now_ms = R.now,
								  .node = 1});
		}
		g->drop = false;
		vms_gw_turn_begin(g->gw, R.now);
		vms_gw_step(g->gw, &(struct vms_gw_event){.type = VMS_GEV_TIMER, .now_ms = R.now});
		vms_gw_turn_end(g->gw, R.now);
	}
}
static inline void r_run(uint64_t ms)
{
	for (uint64_t end = R.now + ms; R.now < end;)
		r_step();
}

/* ---- life ---- */

static inline void r_gw_start(int i)
{
	struct r_gw *g = &R.g[i];
	struct vms_gw_conf conf = {.timing = vms_timing_default(1),
				   .chunk_cache_bytes = 1u << 20,
				   .page_cache_bytes = 1u << 20,
				   .slots = 16,
				   .seed = (uint64_t)i + 1,
				   .mutant = R.mutant};
	struct vms_gw_update up = {g,	      r_send,	     r_connect,	  r_disconnect, r_complete,
				   r_dropped, r_opened,	     r_changed,	  r_deadline,	r_fatal,
				   r_log,     r_pr_complete, r_pr_changed};

	g->cat.ops = &r_ops;
	g->i = i;
	g->open = g->fatal = g->cut = g->wait = false;
	g->told = 0;
	snprintf(conf.name, sizeof(conf.name), "g%d", i + 1);
	vms_assert(!vms_gw_new(&g->gw, &conf, &g->cat, &up, R.now));
	vms_assert(!vms_gw_vol_open(g->gw, "v", 16u << 20, VMS_ACK_DISK, NULL, &g->vol, NULL));
}
/* As kill -9: nothing is said to anybody. */
static inline void r_gw_kill(int i)
{
	struct r_gw *g = &R.g[i];

	if (!g->gw)
		return;
	for (struct r_call *c = R.calls; c; c = c->next)
		if (c->gw == i)
			c->fn = NULL;
	for (unsigned w = 0; w < R.nwatch; w++)
		if (R.watch[w].gw == i)
			R.watch[w].fn = NULL;
	for (int k = 0; k < R_NEXUS; k++)
		R.cmd[i][k].busy = R.wr[i][k].busy = false;
	r_disconnect(g, 1);
	vms_gw_free(g->gw);
	g->gw = NULL;
	g->vol = NULL;
	g->open = false;
}
/* It knows nobody any more, and gateways come back when they can. */
static inline void r_node_restart(void)
{
	R.born = R.now;
	for (int i = 0; i < R_GWS; i++) {
		struct r_gw *g = &R.g[i];

		if (!g->up)
			continue;
		r_disconnect(g, 1);
		vms_gw_step(g->gw, &(struct vms_gw_event){
					   .type = VMS_GEV_CONN_DOWN, .now_ms = R.now, .node = 1});
	}
}
static inline void r_cut(int i, bool cut)
{
	R.g[i].cut = cut;
	if (cut)
		return;
	for (unsigned w = 0; w < R.nwatch; w++) {
		struct r_call *c;

		if (R.watch[w].gw != i || !R.watch[w].fn)
			continue;
		c = r_call_new(i, R.watch[w].fn, R.watch[w].arg, RC_EVENT, R.now + 1);
		c->kind = RC_ANSWER;
		c->status = VMS_E_GONE;
		r_call_add(c);
		R.watch[w].fn = NULL;
	}
}
static inline void r_start(uint64_t seed, uint32_t mutant)
{
	struct vms_cat_cluster cl = {.copies = 1,
				     .min_copies = 1,
				     .timing_factor = 1,
				     .next_branch = 1,
				     .next_node = 2,
				     .next_gateway = 1};
	struct vms_cat_node node = {.id = 1, .weight = 100, .incarnation = 1};
	struct vms_part_conf pc = {.epoch = 1, .primary = 1, .nmembers = 1, .member = {{1, 1}}};
	char key[VMS_CAT_KEY_BYTES_MAX];

	const char *env = getenv("VMS_GW_MUTANT"); /* would the test at hand find it? */

	if (env && !mutant)
		mutant = (uint32_t)atoi(env);
	memset(&R, 0, sizeof(R));
	R.now = 1000000;
	R.delay_ms = 3;
	R.mutant = mutant;
	vms_rng_init(&R.rng, seed);
	cl.uuid[0] = 7;
	r_put_free("cluster", vms_cat_cluster_encode(&cl));
	snprintf(node.name, sizeof(node.name), "n1");
	snprintf(node.address, sizeof(node.address), "h:1");
	vms_cat_key_node(key, 1);
	r_put_free(key, vms_cat_node_encode(&node));
	vms_cat_key_part(key, 0);
	r_put_free(key, vms_cat_part_encode(&pc));
	for (int i = 0; i < R_GWS; i++) {
		r_gw_start(i);
		r_run(400);
		vms_assert(R.g[i].open);
		for (int k = 0; k < R_NEXUS; k++) {
			struct vms_pr_nexus *n = &R.nexus[i][k];

			snprintf(n->initiator, sizeof(n->initiator), "iqn.h%d", k);
			n->isid[0] = 1;
			n->target_port = (uint16_t)(i + 1);
		}
	}
}
static inline void r_stop(void)
{
	for (int i = 0; i < R_GWS; i++) {
		r_gw_kill(i);
		for (int k = 0; k < R_NEXUS; k++)
			free(R.cmd[i][k].pc.in);
	}
	while (R.calls) {
		struct r_call *c = R.calls;

		R.calls = c->next;
		for (unsigned i = 0; i < c->nop && c->kind == RC_APPLY; i++)
			free(c->oval[i]);
		free(c);
	}
	while (R.msgs) {
		struct r_msg *q = R.msgs;

		R.msgs = q->next;
		free(q);
	}
	for (unsigned i = 0; i < R.nkv; i++)
		for (unsigned v = 0; v < R.kv[i].n; v++)
			free(R.kv[i].v[v].val);
	for (unsigned i = 0; i < R.nhist; i++)
		vms_pr_free(&R.hist[i]);
}

/* ---- what the tests do ---- */

static inline struct vms_pr_who r_who(int gw, int k)
{
	return (struct vms_pr_who){
		&R.nexus[gw][k],
		{(uint32_t)gw + 1, vms_gw_incarnation(R.g[gw].gw), (uint64_t)k + 100}};
}
/* Begins a command; key: of a registration that is unique. */
static inline struct r_cmd *r_submit(int gw, int k, uint8_t op, unsigned sa, uint8_t type,
				     uint64_t own, uint64_t sark, uint64_t key)
{
	struct r_cmd *c = &R.cmd[gw][k];

	vms_assert(!c->busy && R.g[gw].open);
	free(c->pc.in);
	memset(c, 0, sizeof(*c));
	c->cdb[0] = op;
	c->cdb[1] = (uint8_t)sa;
	c->cdb[2] = type;
	vms_put_be32(c->cdb + 5, op == 0x5f ? 24 : 0);
	vms_put_be64(c->list, own);
	vms_put_be64(c->list + 8, sark);
	c->gw = gw;
	c->key = key;
	c->busy = true;
	c->pc.vol = R.g[gw].vol;
	c->pc.cookie = c;
	c->pc.req = (struct vms_pr_req){
		.cdb = c->cdb, .list = c->list, .list_bytes = 24, .who = r_who(gw, k)};
	vms_gw_pr_submit(R.g[gw].gw, &c->pc);
	return c;
}
/* The same, to its end: its status. */
static inline int r_do(int gw, int k, uint8_t op, unsigned sa, uint8_t type, uint64_t own,
		       uint64_t sark)
{
	struct r_cmd *c = r_submit(gw, k, op, sa, type, own, sark, 0);

	for (unsigned i = 0; i < 3000 && c->busy; i++)
		r_step();
	return c->busy ? -1 : c->pc.sense.status;
}
static inline bool r_write(int gw, int k)
{
	static uint8_t data[4096];
	static const struct vms_iov iov = {data, sizeof(data)};
	struct r_write *w = &R.wr[gw][k];

	w->who = r_who(gw, k);
	if (vms_pr_refuses(vms_gw_vol_pr(R.g[gw].vol), &w->who, VMS_ACC_WRITE))
		return false;
	w->c = (struct vms_gw_cmd){.op = VMS_GW_WRITE,
				   .vol = R.g[gw].vol,
				   .lba = 8ull * (unsigned)k,
				   .nblocks = 8,
				   .data = &iov,
				   .ndata = 1,
				   .data_bytes = sizeof(data),
				   .initiator_port = "",
				   .who = &w->who,
				   .access = VMS_ACC_WRITE,
				   .cookie = w};
	w->busy = true;
	if (vms_gw_submit(R.g[gw].gw, &w->c) == VMS_GW_DONE) {
		w->busy = false;
		w->ended++;
		w->status = w->c.status;
	}
	return true;
}

#endif
