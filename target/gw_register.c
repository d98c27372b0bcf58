// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registrations of open volumes in the catalog (open/, snapopen/): making and
 * withdrawing them, many in one transaction. Each transaction of the catalog costs a
 * sync of its disk, and a gateway that starts or stops has hundreds of volumes to open
 * or close at once.
 *
 * Keeps: a volume is registered by a transaction that compares its record's revision
 * (rules D5). One that loses fails all that are in it, so each is then tried alone. One
 * transaction of each kind is on its way at a time; what comes meanwhile goes with the
 * next. A volume that is closed while it is being registered is withdrawn afterwards, also
 * when nobody knows whether it was: then the registration is looked for, and as it may come
 * late, for a while.
 */
#include "target/gw_int.h"

#define UNSURE_MS 10000u /* an outcome that was lost has come by then */
#define BATCH_MAX 50u	 /* of VMS_CAT_TXN_OPS_MAX */

struct gw_registering {
	struct vms_gw *gw;
	unsigned n;
	struct gw_reg_entry {
		struct vms_gw_vol *v; /* NULL: closed meanwhile */
		uint64_t id;
		char key[VMS_CAT_KEY_BYTES_MAX];
	} e[BATCH_MAX];
};

struct gw_withdrawing {
	struct vms_gw *gw;
	unsigned n;
	struct gw_closing *c[BATCH_MAX];
};

/* ---- withdrawing ---- */

static void closing_free(struct gw_closing *c)
{
	free(c->vkey);
	free(c->veto);
	free(c);
}

static bool is_closing(struct vms_gw *gw, const char *key)
{
	for (struct gw_closing *c = gw->closing; c; c = c->next)
		if (c->rev && !strcmp(c->key, key))
			return true;
	return false;
}

static void closing_out(struct gw_closing *c)
{
	struct gw_closing **at = &c->gw->closing;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	closing_free(c);
}

/* The volume's record after a conflict. It changes for other reasons than the barrier's
 * end (reservations, the release): while that barrier is on, the veto is still owed. */
static void volume_seen(void *arg, const struct vms_cat_reply *r)
{
	struct gw_closing *c = arg;
	struct vms_cat_volume rec;

	c->busy = false;
	gw_wake_at(c->gw, c->gw->now_ms);
	if (r->status || r->revision < c->min_rev) { /* older than what made the conflict */
		c->retry_ms = c->gw->now_ms + GW_CAT_RETRY_MS;
		gw_wake_at(c->gw, c->retry_ms);
		return;
	}
	if (!gw_mutant(c->gw, VMS_GWM_VETO_LOST) && r->nkv && r->kv[0].mod_revision != c->vrev &&
	    !vms_cat_volume_decode(&r->kv[0], &rec, NULL) && rec.id == c->id &&
	    rec.barrier != VMS_BARRIER_NONE && rec.barrier_id == c->barrier_id) {
		c->vrev = r->kv[0].mod_revision;
		return;
	}
	/* it is over; or the record is as it was, so the registration has gone */
	free(c->veto);
	c->veto = NULL;
}

static void closing_look(struct gw_closing *c, uint64_t revision)
{
	c->busy = true;
	c->min_rev = revision;
	c->gw->cat->ops->get(c->gw->cat, c->vkey, volume_seen, c);
}

/* One of them has its answer; alone: it was the only one. */
static void closing_end(struct gw_closing *c, const struct vms_cat_reply *r, bool alone)
{
	int status = r->status;

	c->busy = false;
	if (status == VMS_E_CONFLICT && !alone) {
		c->alone = true;
		gw_wake_at(c->gw, c->gw->now_ms);
		return;
	}
	if (status == VMS_E_CONFLICT && c->veto) {
		closing_look(c, r->revision);
		return;
	}
	if (status && status != VMS_E_CONFLICT) {
		c->retry_ms = c->gw->now_ms + GW_CAT_RETRY_MS;
		gw_wake_at(c->gw, c->retry_ms);
		return;
	}
	if ((status || c->unsure) && !gw_mutant(c->gw, VMS_GWM_REG_LATE)) {
		/* A transaction of before, without an outcome, may have registered it once more,
		 * or may yet. Without such a one a conflict says that it is gone: one look. */
		c->rev = 0;
		c->unsure_ms = c->unsure ? 0 : c->gw->now_ms;
		gw_wake_at(c->gw, c->gw->now_ms);
		return;
	}
	closing_out(c);
}

static void closing_done(void *arg, const struct vms_cat_reply *r)
{
	closing_end(arg, r, true);
}

static void withdrawn(void *arg, const struct vms_cat_reply *r)
{
	struct gw_withdrawing *w = arg;
	struct vms_gw *gw = w->gw;

	gw->withdrawing = NULL;
	for (unsigned i = 0; i < w->n; i++)
		closing_end(w->c[i], r, w->n == 1);
	free(w);
	gw_closing_run(gw);
}

/* With its veto, or after a conflict: in a transaction of its own. */
static void closing_alone(struct gw_closing *c)
{
	char akey[VMS_CAT_KEY_BYTES_MAX];
	unsigned n = c->veto ? 2 : 1;

	c->busy = true;
	vms_cat_key_ack(akey, c->id, c->gw->id);
	c->gw->cat->ops->txn(
		c->gw->cat, (struct vms_cat_cmp[]){{c->key, c->rev}, {c->vkey, c->vrev}}, n,
		(struct vms_cat_op[]){{c->key, NULL, 0}, {akey, c->veto, 0}}, n, closing_done, c);
}

/* Opened again, it answers for what is registered under that key. */
static bool taken_over(const struct gw_closing *c)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	gw_each(l, &c->gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(l, struct vms_gw_vol, link);

		if (v->rec.id != c->id)
			continue;
		gw_vol_open_key(v, key);
		if (strcmp(key, c->key))
			continue;
		v->reg_unsure = true;
		return true;
	}
	return false;
}

/* What a transaction without an outcome has made. */
static void unsure_got(void *arg, const struct vms_cat_reply *r)
{
	struct gw_closing *c = arg;
	struct vms_gw *gw = c->gw;
	struct vms_cat_open o;

	c->busy = false;
	if (taken_over(c)) {
		closing_out(c);
		return;
	}
	if (!r->status && r->nkv && !vms_cat_open_decode(&r->kv[0], &o, NULL) &&
	    o.gateway == gw->id && o.incarnation == gw->incarnation) {
		c->rev = r->kv[0].mod_revision;
		gw_wake_at(gw, gw->now_ms);
		return;
	}
	/* while the catalog does not answer, the time for it has not begun */
	if (r->status || !c->unsure_ms)
		c->unsure_ms = gw->now_ms + UNSURE_MS;
	if (gw->now_ms >= c->unsure_ms) {
		closing_out(c);
		return;
	}
	c->retry_ms = gw->now_ms + GW_CAT_RETRY_MS;
	gw_wake_at(gw, c->retry_ms);
}

/* A volume that was opened and closed twice meanwhile has two to withdraw: etcd refuses a
 * transaction that names a key twice, as a whole. */
static bool names(const struct gw_withdrawing *w, const char *key)
{
	for (unsigned i = 0; i < w->n; i++)
		if (!strcmp(w->c[i]->key, key))
			return true;
	return false;
}

void gw_closing_run(struct vms_gw *gw)
{
	struct vms_cat_cmp cmp[BATCH_MAX];
	struct vms_cat_op op[BATCH_MAX];
	struct gw_withdrawing *w = NULL;

	for (struct gw_closing *c = gw->closing; c; c = c->next) {
		if (c->busy || gw->now_ms < c->retry_ms)
			continue;
		if (!c->rev) {
			c->busy = true;
			gw->cat->ops->get(gw->cat, c->key, unsure_got, c);
			continue;
		}
		if (c->veto || c->alone) {
			closing_alone(c);
			continue;
		}
		if (gw->withdrawing || (w && (w->n == BATCH_MAX || names(w, c->key))))
			continue;
		if (!w) {
			w = calloc(1, sizeof(*w));
			vms_assert(w);
			w->gw = gw;
		}
		c->busy = true;
		cmp[w->n] = (struct vms_cat_cmp){c->key, c->rev};
		op[w->n] = (struct vms_cat_op){c->key, NULL, 0};
		w->c[w->n++] = c;
	}
	if (!w)
		return;
	gw->withdrawing = w;
	gw->cat->ops->txn(gw->cat, cmp, w->n, op, w->n, withdrawn, w);
}

struct gw_closing *gw_closing_new(struct vms_gw *gw, uint64_t id, const char *key, uint64_t rev)
{
	struct gw_closing *c = calloc(1, sizeof(*c));

	vms_assert(c);
	c->gw = gw;
	c->id = id;
	snprintf(c->key, sizeof(c->key), "%s", key);
	c->rev = rev;
	c->next = gw->closing;
	gw->closing = c;
	return c;
}

/* ---- registering ---- */

static void registered(void *arg, const struct vms_cat_reply *r)
{
	struct gw_registering *b = arg;
	struct vms_gw *gw = b->gw;

	gw->registering = NULL;
	for (unsigned i = 0; i < b->n; i++) {
		struct vms_gw_vol *v = b->e[i].v;

		bool unsure = r->status && r->status != VMS_E_CONFLICT;

		if (v && unsure)
			v->reg_unsure = true;
		if (!v && (!r->status || (unsure && !gw_mutant(gw, VMS_GWM_REG_LEFT)))) {
			gw_closing_new(gw, b->e[i].id, b->e[i].key, unsure ? 0 : r->revision);
		} else if (v && r->status == VMS_E_CONFLICT && b->n > 1) {
			v->reg_alone = true;
			v->reg_waits = true;
		} else if (v) {
			v->reg_alone = false;
			gw_vol_registered(v, r->status, r->revision);
		}
	}
	free(b);
	gw->kick = true;
	gw_wake_at(gw, gw->now_ms);
}

void gw_register_run(struct vms_gw *gw)
{
	struct gw_registering *b = NULL;
	struct vms_cat_cmp cmp[BATCH_MAX];
	struct vms_cat_op op[BATCH_MAX];
	char(*vkey)[VMS_CAT_KEY_BYTES_MAX] = NULL;
	bool alone = false;

	if (gw->registering)
		return;
	gw_each(l, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(l, struct vms_gw_vol, link);
		struct vms_cat_open o = {.id = v->rec.id,
					 .snap_gen = v->snap ? v->read_gen : 0,
					 .gateway = gw->id,
					 .incarnation = gw->incarnation};
		struct gw_reg_entry *e;

		if (!v->reg_waits || alone || (b && (b->n == BATCH_MAX || v->reg_alone)))
			continue;
		if (v->gone || v->rec.barrier != VMS_BARRIER_NONE) { /* since it has waited */
			v->reg_waits = false;
			gw_vol_registered(v, VMS_E_CONFLICT, 0);
			continue;
		}
		if (!b) {
			b = calloc(1, sizeof(*b));
			vkey = calloc(BATCH_MAX, sizeof(*vkey));
			vms_assert(b && vkey);
			b->gw = gw;
		}
		e = &b->e[b->n];
		gw_vol_key(v, vkey[b->n]);
		gw_vol_open_key(v, e->key);
		if (is_closing(gw, e->key))
			continue; /* its withdrawal is on its way */
		v->reg_waits = false;
		alone = v->reg_alone;
		e->v = v;
		e->id = v->rec.id;
		cmp[b->n] = (struct vms_cat_cmp){vkey[b->n], v->rev};
		/* our key under an older incarnation is simply overwritten */
		op[b->n] = (struct vms_cat_op){e->key, vms_cat_open_encode(&o), 0};
		b->n++;
	}
	if (b && b->n) {
		gw->registering = b;
		gw->cat->ops->txn(gw->cat, cmp, b->n, op, b->n, registered, b);
		for (unsigned i = 0; i < b->n; i++)
			free((char *)op[i].val);
	} else {
		free(b);
	}
	free(vkey);
}

void gw_register_vol_gone(struct vms_gw_vol *v)
{
	struct gw_registering *b = v->gw->registering;

	for (unsigned i = 0; b && i < b->n; i++)
		if (b->e[i].v == v)
			b->e[i].v = NULL;
}

void gw_register_fini(struct vms_gw *gw)
{
	if (gw->registering)
		gw->cat->ops->forget(gw->cat, gw->registering);
	if (gw->withdrawing)
		gw->cat->ops->forget(gw->cat, gw->withdrawing);
	free(gw->registering);
	free(gw->withdrawing);
	gw->registering = NULL;
	gw->withdrawing = NULL;
	while (gw->closing) {
		struct gw_closing *c = gw->closing;

		gw->closing = c->next;
		gw->cat->ops->forget(gw->cat, c);
		closing_free(c);
	}
}
