/* SPDX-License-Identifier: GPL-2.0-only */
/* See sim_catalog.h. */
#include "tests/sim/sim_catalog.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "cluster/cat_restore.h"
#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"

#define TIMEOUT_US	5000000u /* a transaction of unknown outcome ends within */
#define LATE_US		8000000u /* … and may be applied that long after */
#define LAG_US		3000000u
#define POLL_US		5000000u /* lost events are found out within */
#define STALE_REVISIONS 12u
#define AGAIN_REVISIONS 6u
#define REPLY_MAX	1024u

/* ---- what was true when ---- */

struct change {
	uint64_t rev, at_us, create;
	char *key, *val; /* val NULL: deleted */
};
struct sim_history {
	struct sim *s;
	struct vms_cat_engine under;
	VMS_VEC(struct change) ch;
	uint64_t first_rev; /* nothing before it can be read: it was another catalog */
	uint64_t late_us;   /* by then all that was to come late has come */
};

static uint64_t h_revision(void *ctx)
{
	struct sim_history *h = ctx;
	return h->under.ops->revision(h->under.ctx);
}
static int h_get(void *ctx, const char *key, struct vms_cat_kv *kv)
{
	struct sim_history *h = ctx;
	return h->under.ops->get(h->under.ctx, key, kv);
}
static int h_next(void *ctx, const char *prefix, const char *after, struct vms_cat_kv *kv)
{
	struct sim_history *h = ctx;
	return h->under.ops->next(h->under.ctx, prefix, after, kv);
}
static int h_apply(void *ctx, uint64_t rev, const struct vms_cat_op *op, unsigned nop)
{
	struct sim_history *h = ctx;
	int rc;

	for (unsigned i = 0; i < nop; i++) {
		struct vms_cat_kv kv;

		if (!strncmp(op[i].key, "part/", 5) &&
		    !h->under.ops->get(h->under.ctx, op[i].key, &kv))
			sim_watch_part(h->s, op[i].key, kv.val, op[i].val);
	}
	rc = h->under.ops->apply(h->under.ctx, rev, op, nop);
	for (unsigned i = 0; !rc && i < nop; i++) {
		struct vms_cat_kv kv;
		bool there = !h->under.ops->get(h->under.ctx, op[i].key, &kv);
		struct change *c = VMS_VEC_ADD(&h->ch);

		*c = (struct change){rev, h->s->now_us, there ? kv.create_revision : 0,
				     strdup(op[i].key), op[i].val ? strdup(op[i].val) : NULL};
	}
	for (unsigned i = 0; !rc && i < nop; i++) {
		if (!strncmp(op[i].key, "pr/", 3))
			sim_pr_put(h->s, op[i].key, op[i].val, rev);
		sim_size_put(h->s, op[i].key, op[i].val, rev);
	}
	return rc;
}
static const struct vms_cat_engine_ops h_ops = {
	.struct_bytes = sizeof(h_ops),
	.revision = h_revision,
	.get = h_get,
	.next = h_next,
	.apply = h_apply,
};

struct sim_history *sim_history_new(struct sim *s, struct vms_cat_engine *e)
{
	struct sim_history *h = calloc(1, sizeof(*h));

	vms_assert(h);
	h->s = s;
	h->under = *e;
	*e = (struct vms_cat_engine){&h_ops, h};
	return h;
}
void sim_history_free(struct sim_history *h, struct vms_cat_engine *e)
{
	*e = h->under;
	for (size_t i = 0; i < h->ch.n; i++) {
		free(h->ch.d[i].key);
		free(h->ch.d[i].val);
	}
	VMS_VEC_FREE(&h->ch);
	free(h);
}

static struct vms_cat_kv kv_of(const struct change *c)
{
	return (struct vms_cat_kv){c->key, c->val, c->val ? (uint32_t)strlen(c->val) : 0, c->rev,
				   c->create};
}
uint64_t sim_history_rev(const struct sim_history *h)
{
	return h->under.ops->revision(h->under.ctx);
}
const char *sim_history_now(const struct sim_history *h, const char *key, uint64_t *mod)
{
	struct vms_cat_kv kv;

	*mod = 0;
	if (h->under.ops->get(h->under.ctx, key, &kv))
		return NULL;
	*mod = kv.mod_revision;
	for (size_t i = h->ch.n; i-- > 0;) /* the engine's own does not last */
		if (!strcmp(h->ch.d[i].key, key))
			return h->ch.d[i].val;
	return NULL;
}
bool sim_history_late(const struct sim_history *h)
{
	return h->late_us > h->s->now_us;
}
static int kv_cmp(const void *a, const void *b)
{
	return strcmp(((const struct vms_cat_kv *)a)->key, ((const struct vms_cat_kv *)b)->key);
}
/* Keys with this prefix behind `after` (NULL: all; exact: only the prefix itself) as of
 * revision rev; the first max of them in order. */
static unsigned as_of(const struct sim_history *h, const char *prefix, const char *after,
		      bool exact, uint64_t rev, struct vms_cat_kv **out)
{
	VMS_VEC(struct vms_cat_kv) all = VMS_VEC_INIT; /* newest of each key, also deleted ones */
	size_t n = strlen(prefix), live = 0;

	for (size_t i = h->ch.n; i-- > 0;) {
		const struct change *c = &h->ch.d[i];
		bool seen = false;

		if (c->rev > rev || c->key[0] == '~' ||
		    (exact ? strcmp(c->key, prefix) : strncmp(c->key, prefix, n)) ||
		    (after && strcmp(c->key, after) <= 0))
			continue;
		for (size_t k = 0; k < all.n && !seen; k++)
			seen = !strcmp(all.d[k].key, c->key);
		if (!seen)
			VMS_VEC_PUSH(&all, kv_of(c));
		if (exact)
			break;
	}
	for (size_t k = 0; k < all.n; k++)
		if (all.d[k].val)
			all.d[live++] = all.d[k];
	if (live)
		qsort(all.d, live, sizeof(*all.d), kv_cmp);
	vms_assert(live <= REPLY_MAX);
	*out = all.d;
	return (unsigned)live;
}

/* ---- lost, and made anew ---- */

static bool begins(const char *key, const char *prefix)
{
	return !strncmp(key, prefix, strlen(prefix));
}

static bool is_own(const struct change *c)
{
	bool made = c->create == c->rev || !c->val;

	if (begins(c->key, "part/") || c->key[0] == '~')
		return true;
	if (!strcmp(c->key, "planner") || !strcmp(c->key, "gc") || !strcmp(c->key, "cluster"))
		return !made;
	return !made && (begins(c->key, "node/") || begins(c->key, "gateway/"));
}

uint64_t sim_history_own_since(const struct sim_history *h)
{
	for (size_t i = h->ch.n; i-- > 0;)
		if (!is_own(&h->ch.d[i]))
			return h->ch.d[i].rev;
	return 0;
}

uint64_t sim_history_as_of(const struct sim_history *h, uint64_t us)
{
	for (size_t i = h->ch.n; i-- > 0;)
		if (h->ch.d[i].at_us <= us)
			return h->ch.d[i].rev;
	return 0;
}

bool sim_history_sets_since(const struct sim_history *h, uint64_t rev)
{
	for (size_t i = h->ch.n; i-- > 0 && h->ch.d[i].rev > rev;)
		if (begins(h->ch.d[i].key, "part/"))
			return true;
	return false;
}

static void restored(struct sim_history *h, const struct vms_cat_op *op, uint64_t rev)
{
	struct vms_cat_kv kv;
	bool there = !h->under.ops->get(h->under.ctx, op->key, &kv);
	struct change *c = VMS_VEC_ADD(&h->ch);

	*c = (struct change){rev, h->s->now_us, there ? kv.create_revision : 0, strdup(op->key),
			     op->val ? strdup(op->val) : NULL};
}

/* What comes last, or may not be there yet. */
static bool left_out(const struct sim *s, unsigned i, const char *key)
{
	if (!strcmp(key, "cluster"))
		return s->conf.node_mutant != SIM_RESTORE_FIRST;
	return !strncmp(key, "gateway/", 8) && i % 2;
}

void sim_history_restore(struct sim_history *h, uint64_t rev, const struct vms_restore *to,
			 bool part)
{
	VMS_VEC(struct vms_cat_op) ops = VMS_VEC_INIT;
	struct vms_cat_kv *kv, now;
	unsigned n = as_of(h, "", NULL, false, rev, &kv);
	char after[VMS_CAT_KEY_BYTES_MAX];
	struct vms_errmsg msg = {""};

	for (const char *at = NULL; !h->under.ops->next(h->under.ctx, "", at, &now); at = after) {
		bool kept = now.key[0] == '~';

		for (unsigned i = 0; i < n && !kept; i++)
			kept = !strcmp(kv[i].key, now.key);
		if (!kept)
			VMS_VEC_PUSH(&ops, ((struct vms_cat_op){strdup(now.key), NULL, 0}));
		snprintf(after, sizeof(after), "%s", now.key);
	}
	for (unsigned i = 0; i < n; i++) {
		char *val = vms_restore_val(to, &kv[i], &msg);

		if (!val)
			sim_fail(h->s, "%s cannot be restored: %s", kv[i].key, msg.text);
		if (part && left_out(h->s, i, kv[i].key)) {
			free(val);
			val = NULL;
		}
		VMS_VEC_PUSH(&ops, ((struct vms_cat_op){strdup(kv[i].key), val, 0}));
	}
	h->first_rev = h_revision(h) + VMS_RESTORE_MARGIN;
	vms_assert(h->under.ops->apply(h->under.ctx, h->first_rev, ops.d, (unsigned)ops.n) == 0);
	VMS_VEC_FOREACH (&ops, op) {
		restored(h, op, h->first_rev);
		free((char *)op->key);
		free((char *)op->val);
	}
	VMS_VEC_FREE(&ops);
	free(kv);
}

/* ---- the ten calls ---- */

enum type { GET, RANGE, TXN, OTHER };
struct txn {
	struct vms_cat_cmp cmp[VMS_CAT_TXN_OPS_MAX];
	struct vms_cat_op op[VMS_CAT_TXN_OPS_MAX];
	unsigned ncmp, nop;
};
struct req {
	struct req *prev, *next;
	struct sim_catalog *c;
	enum type type;
	vms_cat_done_fn done; /* NULL: nobody waits any more */
	void *arg;
	bool below;	  /* the catalog client has it */
	bool hide;	  /* its answer is not told */
	uint64_t due_us;  /* answered here at that time … */
	uint64_t rev;	  /* … as of then; 0: with TIMEOUT */
	uint64_t late_us; /* then it is sent */
	char key[VMS_CAT_KEY_BYTES_MAX], after[VMS_CAT_KEY_BYTES_MAX];
	bool has_after;
	struct txn *txn;
};
struct watch {
	struct watch *prev, *next;
	struct sim_catalog *c;
	uint64_t id, under;
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	vms_cat_done_fn event;
	void *arg;
	uint64_t told; /* revision */
	uint64_t lag_us, gone_us;
	bool dead;
};
struct sim_catalog {
	struct vms_catalog cat; /* first */
	struct vms_catalog *under;
	struct proc *p;
	struct req *reqs;
	struct watch *watches;
	uint64_t next_watch, last_rev;
	uint64_t stale_rev, stale_until_us;
	unsigned depth;
};

static struct sim_catalog *self(struct vms_catalog *c)
{
	return (struct sim_catalog *)c;
}
static struct sim *sim_of(const struct sim_catalog *c)
{
	return c->p->s;
}
static bool chance(struct sim_catalog *c, double p)
{
	struct sim *s = sim_of(c);
	return p > 0 && s->faults && vms_rng_chance(&s->cat_rng, p);
}
static uint64_t below(struct sim_catalog *c, uint64_t n)
{
	return vms_rng_below(&sim_of(c)->cat_rng, n);
}
static struct req *req_new(struct sim_catalog *c, enum type type, vms_cat_done_fn done, void *arg)
{
	struct req *r = calloc(1, sizeof(*r));

	vms_assert(r);
	r->c = c;
	r->type = type;
	r->done = done;
	r->arg = arg;
	DL_APPEND(c->reqs, r);
	return r;
}
static void txn_free(struct txn *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->ncmp; i++)
		free((char *)t->cmp[i].key);
	for (unsigned i = 0; i < t->nop; i++) {
		free((char *)t->op[i].key);
		free((char *)t->op[i].val);
	}
	free(t);
}
static void req_free(struct req *r)
{
	DL_DELETE(r->c->reqs, r);
	txn_free(r->txn);
	free(r);
}
static void tell(struct req *r, const struct vms_cat_reply *re)
{
	struct sim_catalog *c = r->c;
	vms_cat_done_fn done = r->done;
	void *arg = r->arg;

	req_free(r);
	if (!done)
		return;
	c->depth++;
	done(arg, re);
	c->depth--;
}
static void on_reply(void *arg, const struct vms_cat_reply *re)
{
	struct req *r = arg;

	r->below = false;
	if (!re->status && re->revision > r->c->last_rev)
		r->c->last_rev = re->revision;
	if (r->hide) {
		if (!r->due_us)
			req_free(r);
		return;
	}
	tell(r, re);
}
static void wake_at(struct sim_catalog *c, uint64_t at_us)
{
	uint64_t now = sim_of(c)->now_us;
	sim_wake(c->p, at_us > now ? at_us - now : 1);
}

/* A read may be answered from the past; a server that lags does so for a while. */
static bool stale(struct sim_catalog *c, struct req *r)
{
	struct sim *s = sim_of(c);
	const struct sim_catalog_plan *pl = &s->plan.cat;
	uint64_t now = h_revision(s->history);

	if (s->now_us >= c->stale_until_us && chance(c, pl->stale_while)) {
		c->stale_rev = now;
		c->stale_until_us = s->now_us + below(c, LAG_US);
	}
	if (s->faults && s->now_us < c->stale_until_us)
		r->rev = c->stale_rev;
	else if (chance(c, pl->stale))
		r->rev = now - (now > STALE_REVISIONS ? below(c, STALE_REVISIONS) : 0);
	else
		return false;
	if (r->rev < s->history->first_rev)
		r->rev = s->history->first_rev;
	r->due_us = s->now_us + 1 + s->plan.net_us_min + below(c, s->plan.net_us_max);
	wake_at(c, r->due_us);
	return true;
}
static void c_get(struct vms_catalog *cat, const char *key, vms_cat_done_fn done, void *arg)
{
	struct sim_catalog *c = self(cat);
	struct req *r = req_new(c, GET, done, arg);

	snprintf(r->key, sizeof(r->key), "%s", key);
	if (stale(c, r))
		return;
	r->below = true;
	c->under->ops->get(c->under, key, on_reply, r);
}
static void c_range(struct vms_catalog *cat, const char *prefix, const char *after,
		    vms_cat_done_fn done, void *arg)
{
	struct sim_catalog *c = self(cat);
	struct req *r = req_new(c, RANGE, done, arg);

	snprintf(r->key, sizeof(r->key), "%s", prefix);
	r->has_after = after;
	if (after)
		snprintf(r->after, sizeof(r->after), "%s", after);
	if (stale(c, r))
		return;
	r->below = true;
	c->under->ops->range(c->under, prefix, after, on_reply, r);
}
static void c_txn(struct vms_catalog *cat, const struct vms_cat_cmp *cmp, unsigned ncmp,
		  const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn done, void *arg)
{
	struct sim_catalog *c = self(cat);
	struct sim *s = sim_of(c);
	struct req *r = req_new(c, TXN, done, arg);

	if (chance(c, s->plan.cat.unknown)) {
		unsigned how = (unsigned)below(c, 3);

		r->hide = true;
		r->due_us = s->now_us + below(c, TIMEOUT_US);
		wake_at(c, r->due_us);
		sim_note(s, "process %d: a transaction ends unknown, %s", (int)(c->p - s->p),
			 how == 0   ? "applied"
			 : how == 1 ? "not applied"
				    : "applied later");
		if (how == 1)
			return;
		if (how == 2) {
			struct txn *t = r->txn = calloc(1, sizeof(*t));

			vms_assert(t);
			t->ncmp = ncmp;
			t->nop = nop;
			for (unsigned i = 0; i < ncmp; i++)
				t->cmp[i] = (struct vms_cat_cmp){strdup(cmp[i].key),
								 cmp[i].mod_revision};
			for (unsigned i = 0; i < nop; i++)
				t->op[i] = (struct vms_cat_op){strdup(op[i].key),
							       op[i].val ? strdup(op[i].val) : NULL,
							       op[i].session};
			r->late_us = r->due_us + below(c, LATE_US);
			if (r->late_us + LAG_US > s->history->late_us)
				s->history->late_us = r->late_us + LAG_US;
			return;
		}
	}
	r->below = true;
	c->under->ops->txn(c->under, cmp, ncmp, op, nop, on_reply, r);
}
/* Leaves this process's hands: goes out from one that never crashes. */
static void send_late(struct sim *s, struct req *r)
{
	struct vms_catalog *cat = vms_cat_client_catalog(s->p[s->nprocs - 1].cc);
	struct txn *t = r->txn;

	cat->ops->txn(cat, t->cmp, t->ncmp, t->op, t->nop, NULL, NULL);
	req_free(r);
}

/* ---- watches ---- */

static void event_of(struct watch *w, uint64_t rev)
{
	struct sim_history *h = sim_of(w->c)->history;
	struct vms_cat_kv kv[VMS_CAT_TXN_OPS_MAX];
	struct vms_cat_reply re = {.revision = rev, .kv = kv};
	size_t n = strlen(w->prefix), lo = 0, hi = h->ch.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (h->ch.d[mid].rev < rev)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < h->ch.n && h->ch.d[lo].rev == rev; lo++)
		if (!strncmp(h->ch.d[lo].key, w->prefix, n) && h->ch.d[lo].key[0] != '~')
			kv[re.nkv++] = kv_of(&h->ch.d[lo]);
	if (!re.nkv || w->dead)
		return;
	w->c->depth++;
	w->event(w->arg, &re);
	w->c->depth--;
}
static void events(struct watch *w, uint64_t from, uint64_t to)
{
	if (to > w->told)
		w->told = to;
	for (uint64_t rev = from; rev <= to && !w->dead; rev++)
		event_of(w, rev);
}
static void watch_ends(struct watch *w, int status)
{
	struct vms_cat_reply re = {.status = status};

	w->dead = true;
	w->c->depth++;
	w->event(w->arg, &re);
	w->c->depth--;
}
static void on_event(void *arg, const struct vms_cat_reply *re)
{
	struct watch *w = arg;
	struct sim_catalog *c = w->c;
	struct sim *s = sim_of(c);
	const struct sim_catalog_plan *pl = &s->plan.cat;

	if (w->dead)
		return;
	if (re->status) {
		watch_ends(w, re->status);
		return;
	}
	if (w->gone_us)
		return; /* lost */
	if (w->lag_us > s->now_us)
		return; /* later, from what is known of the past */
	if (chance(c, pl->lag)) {
		w->lag_us = s->now_us + below(c, LAG_US);
		wake_at(c, w->lag_us);
		return;
	}
	if (chance(c, pl->lose)) {
		w->gone_us = s->now_us + 1 + below(c, POLL_US);
		sim_note(s, "process %d: events of %s are lost", (int)(c->p - s->p), w->prefix);
		wake_at(c, w->gone_us);
		return;
	}
	if (chance(c, pl->gone)) {
		w->gone_us = s->now_us;
		return;
	}
	events(w, w->told + 1, re->revision);
	if (chance(c, pl->twice))
		events(w, re->revision, re->revision);
	if (chance(c, pl->again)) {
		uint64_t back = below(c, AGAIN_REVISIONS);
		events(w, re->revision > back ? re->revision - back : 1, re->revision);
	}
}
static uint64_t c_watch(struct vms_catalog *cat, const char *prefix, uint64_t from,
			vms_cat_done_fn event, void *arg)
{
	struct sim_catalog *c = self(cat);
	struct watch *w = calloc(1, sizeof(*w));

	vms_assert(w);
	w->c = c;
	w->id = ++c->next_watch;
	snprintf(w->prefix, sizeof(w->prefix), "%s", prefix);
	w->event = event;
	w->arg = arg;
	w->told = from;
	DL_APPEND(c->watches, w);
	w->under = c->under->ops->watch(c->under, prefix, from, on_event, w);
	return w->id;
}
static void watch_drop(struct watch *w)
{
	if (w->under)
		w->c->under->ops->unwatch(w->c->under, w->under);
	w->under = 0;
	w->dead = true;
}
static void c_unwatch(struct vms_catalog *cat, uint64_t id)
{
	struct watch *w;

	DL_FOREACH (self(cat)->watches, w)
		if (w->id == id)
			watch_drop(w);
}

/* ---- the rest is handed on ---- */

static struct req *handed_on(struct vms_catalog *cat, vms_cat_done_fn done, void *arg)
{
	struct req *r = req_new(self(cat), OTHER, done, arg);

	r->below = true;
	return r;
}
static void c_session_open(struct vms_catalog *cat, uint32_t ttl_ms, vms_cat_done_fn done,
			   void *arg)
{
	struct vms_catalog *u = self(cat)->under;
	u->ops->session_open(u, ttl_ms, on_reply, handed_on(cat, done, arg));
}
static void c_session_renew(struct vms_catalog *cat, uint64_t session, vms_cat_done_fn done,
			    void *arg)
{
	struct vms_catalog *u = self(cat)->under;
	u->ops->session_renew(u, session, on_reply, handed_on(cat, done, arg));
}
static void c_session_close(struct vms_catalog *cat, uint64_t session, vms_cat_done_fn done,
			    void *arg)
{
	struct vms_catalog *u = self(cat)->under;
	u->ops->session_close(u, session, on_reply, handed_on(cat, done, arg));
}
static void c_status(struct vms_catalog *cat, vms_cat_done_fn done, void *arg)
{
	struct vms_catalog *u = self(cat)->under;
	u->ops->status(u, on_reply, handed_on(cat, done, arg));
}
static void c_forget(struct vms_catalog *cat, void *arg)
{
	struct sim_catalog *c = self(cat);
	struct watch *w;
	struct req *r;

	DL_FOREACH (c->watches, w)
		if (w->arg == arg)
			watch_drop(w);
	DL_FOREACH (c->reqs, r)
		if (r->arg == arg)
			r->done = NULL;
}
static const struct vms_catalog_ops c_ops = {
	.struct_bytes = sizeof(c_ops),
	.get = c_get,
	.range = c_range,
	.txn = c_txn,
	.watch = c_watch,
	.unwatch = c_unwatch,
	.session_open = c_session_open,
	.session_renew = c_session_renew,
	.session_close = c_session_close,
	.status = c_status,
	.forget = c_forget,
};

/* ---- turns ---- */

static void answer_due(struct sim_catalog *c, struct req *r)
{
	struct sim *s = sim_of(c);
	struct vms_cat_reply re = {.status = VMS_E_TIMEOUT};
	struct vms_cat_kv *kv = NULL;
	vms_cat_done_fn done = r->done;
	void *arg = r->arg;

	if (r->rev) {
		re = (struct vms_cat_reply){.revision = r->rev};
		re.nkv = as_of(s->history, r->key, r->has_after ? r->after : NULL, r->type == GET,
			       r->rev, &kv);
		re.kv = kv;
	}
	r->due_us = 0;
	r->done = NULL;
	if (!r->below && !r->late_us)
		req_free(r);
	if (done) {
		c->depth++;
		done(arg, &re);
		c->depth--;
	}
	free(kv);
}
void sim_catalog_turn(struct sim_catalog *c)
{
	struct sim *s = sim_of(c);
	struct watch *w, *wt;
	struct req *r, *rt;
	uint64_t next = UINT64_MAX;
	bool again;

	do { /* a callback may do anything: start over after each */
		again = false;
		DL_FOREACH (c->reqs, r) {
			if (r->due_us && r->due_us <= s->now_us) {
				answer_due(c, r);
				again = true;
				break;
			}
		}
		DL_FOREACH (c->watches, w) {
			if (again || w->dead)
				continue;
			if (w->gone_us && w->gone_us <= s->now_us) {
				watch_ends(w, VMS_E_GONE);
				again = true;
			} else if (w->lag_us && w->lag_us <= s->now_us) {
				w->lag_us = 0;
				events(w, w->told + 1, h_revision(s->history));
				again = true;
			}
		}
	} while (again && !s->failed);
	DL_FOREACH_SAFE (c->reqs, r, rt) {
		if (r->late_us && !r->due_us && r->late_us <= s->now_us)
			send_late(s, r);
		else if (r->due_us && r->due_us < next)
			next = r->due_us;
		else if (r->late_us && r->late_us < next)
			next = r->late_us;
	}
	DL_FOREACH_SAFE (c->watches, w, wt) {
		if (w->dead) {
			watch_drop(w);
			DL_DELETE(c->watches, w);
			free(w);
		} else if (w->gone_us && w->gone_us < next) {
			next = w->gone_us;
		} else if (w->lag_us && w->lag_us < next) {
			next = w->lag_us;
		}
	}
	if (next != UINT64_MAX)
		wake_at(c, next);
}

struct sim_catalog *sim_catalog_new(struct proc *p, struct vms_catalog *under)
{
	struct sim_catalog *c = calloc(1, sizeof(*c));

	vms_assert(c);
	c->cat.ops = &c_ops;
	c->under = under;
	c->p = p;
	return c;
}
struct vms_catalog *sim_catalog_calls(struct sim_catalog *c)
{
	return &c->cat;
}
/* Its process has died or ended: what is to come late still comes. */
void sim_catalog_free(struct sim_catalog *c)
{
	struct sim *s = sim_of(c);
	struct watch *w, *wt;
	struct req *r, *rt;

	DL_FOREACH_SAFE (c->reqs, r, rt) {
		c->under->ops->forget(c->under, r);
		if (r->late_us && s->faults && s->p[s->nprocs - 1].cc)
			send_late(s, r);
		else
			req_free(r);
	}
	DL_FOREACH_SAFE (c->watches, w, wt) {
		watch_drop(w);
		DL_DELETE(c->watches, w);
		free(w);
	}
	free(c);
}

void sim_catalog_draw(struct sim_catalog_plan *p, struct vms_rng *r, unsigned mask)
{
	static const double one[] = {0, 0.02, 0.1, 0.4}, some[] = {0, 0.05, 0.3};
#define PICK(a) a[vms_rng_below(r, sizeof(a) / sizeof(a[0]))]
	p->stale = PICK(one);
	p->stale_while = PICK(some) / 10;
	p->unknown = PICK(one) / 2;
	p->twice = PICK(some);
	p->again = PICK(some);
	p->lag = PICK(one) / 2;
	p->lose = PICK(some) / 5;
	p->gone = PICK(some) / 10;
#undef PICK
	double *const all[] = {&p->stale, &p->stale_while, &p->unknown, &p->twice,
			       &p->again, &p->lag,	   &p->lose,	&p->gone};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!(mask >> i & 1))
			*all[i] = 0;
}
