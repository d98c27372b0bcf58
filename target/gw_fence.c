// SPDX-License-Identifier: GPL-2.0-only
/*
 * A gateway that does not answer is shut out: its incarnation goes up in the catalog, so
 * that it is no successor's; every primary logs that, so no op of it is ordered any more
 * and its sessions are closed; when it may still live, the lease of its cached pages runs
 * out; only then does its registration go, which is what others wait for. Each step can
 * be repeated, by anybody. Keeps invariants 4, 8 (rules D9).
 */
#include <stdio.h>

#include "target/gw_pr.h"

#define AGAIN_MS 100u

static void fence_run(struct gw_fence *f);

static void fence_again(struct gw_fence *f)
{
	f->busy = false;
	f->at_ms = f->gw->now_ms + AGAIN_MS;
	gw_wake_at(f->gw, f->at_ms);
}

static void fence_end(struct gw_fence *f)
{
	gw_fence_stop(f);
	f->done(f->arg);
}

static void forgotten(void *arg, const struct vms_cat_reply *r)
{
	struct gw_fence *f = arg;

	if (r->status) /* changed, or nobody knows: look again */
		fence_again(f);
	else
		fence_end(f);
}

static void open_got(void *arg, const struct vms_cat_reply *r)
{
	struct gw_fence *f = arg;
	struct vms_catalog *cat = f->gw->cat;
	struct vms_cat_open o;

	if (r->status) {
		fence_again(f);
		return;
	}
	/* gone, or a successor's */
	if (!r->nkv || vms_cat_open_decode(&r->kv[0], &o, NULL) || o.incarnation >= f->next) {
		fence_end(f);
		return;
	}
	cat->ops->txn(cat, &(struct vms_cat_cmp){f->open_key, r->kv[0].mod_revision}, 1,
		      &(struct vms_cat_op){f->open_key, NULL, 0}, 1, forgotten, f);
}

static void floors_done(void *arg, int status)
{
	struct gw_fence *f = arg;

	if (status) {
		fence_again(f);
		return;
	}
	f->busy = false;
	f->step = f->lives ? GF_LEASE : GF_FORGET;
	f->at_ms = f->gw->now_ms;
	/* from the last tick it answered; 1 % for drifting clocks */
	if (f->lives)
		f->at_ms += f->gw->tm.lease_ms + f->gw->tm.lease_ms / 50 + 2;
	gw_wake_at(f->gw, f->at_ms);
}

/* One that was away when it was asked for may have come back before the floor. */
static void floor_told(void *arg, const struct vms_msg *m)
{
	struct gw_fence *f = arg;

	f->lives |= m->aux != 0 && !gw_mutant(f->gw, VMS_GWM_FENCE_BACK);
}

static void floors(struct gw_fence *f, uint64_t revision)
{
	const struct vms_msg m = {.type = VMS_MSG_FLOOR,
				  .partition = VMS_PART_NONE,
				  .aux = f->gateway,
				  .incarnation = f->next};

	f->step = GF_FLOOR;
	f->ask.done = floors_done;
	f->ask.reply = floor_told;
	f->ask.arg = f;
	gw_ask_start(&f->ask, f->gw, &m, revision, UINT32_MAX);
}

static void claimed(void *arg, const struct vms_cat_reply *r)
{
	struct gw_fence *f = arg;

	if (r->status)
		fence_again(f);
	else
		floors(f, r->revision);
}

static void gateway_got(void *arg, const struct vms_cat_reply *r)
{
	struct gw_fence *f = arg;
	struct vms_catalog *cat = f->gw->cat;
	struct vms_cat_gateway rec;
	char key[VMS_CAT_KEY_BYTES_MAX], *val;

	if (r->status) {
		fence_again(f);
		return;
	}
	f->next = f->incarnation + 1;
	if (!r->nkv || vms_cat_gateway_decode(&r->kv[0], &rec, NULL)) {
		floors(f, r->revision); /* no record: nothing can register as it again */
		return;
	}
	if (rec.incarnation > f->incarnation) {
		f->next = rec.incarnation;
		floors(f, r->revision);
		return;
	}
	gw_log(f->gw, VMS_LOG_WARN, "gateway %s (number %u) does not answer%s: it is shut out",
	       rec.name, rec.id, f->lives ? ", though its connections to the nodes live" : "");
	f->gw->st.gateways_fenced++;
	rec.incarnation = f->next;
	vms_cat_key_gateway(key, f->gateway);
	val = vms_cat_gateway_encode(&rec);
	cat->ops->txn(cat, &(struct vms_cat_cmp){key, r->kv[0].mod_revision}, 1,
		      &(struct vms_cat_op){key, val, 0}, 1, claimed, f);
	free(val);
}

static void fence_run(struct gw_fence *f)
{
	struct vms_catalog *cat = f->gw->cat;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (f->busy)
		return;
	if (f->gw->now_ms < f->at_ms) {
		gw_wake_at(f->gw, f->at_ms);
		return;
	}
	f->busy = true;
	switch (f->step) {
	case GF_CLAIM:
	case GF_FLOOR:
		vms_cat_key_gateway(key, f->gateway);
		cat->ops->get(cat, key, gateway_got, f);
		break;
	case GF_LEASE:
	case GF_FORGET:
		f->step = GF_FORGET;
		cat->ops->get(cat, f->open_key, open_got, f);
		break;
	}
}

void gw_fence_start(struct gw_fence *f, struct vms_gw *gw, uint32_t gateway, uint64_t incarnation,
		    bool lives, const char *open_key)
{
	vms_assert(!f->gw);
	f->gw = gw;
	f->gateway = gateway;
	f->incarnation = incarnation;
	f->lives = lives;
	snprintf(f->open_key, sizeof(f->open_key), "%s", open_key);
	f->step = GF_CLAIM;
	f->busy = false;
	f->at_ms = 0;
	fence_run(f);
}

void gw_fence_stop(struct gw_fence *f)
{
	if (!f->gw)
		return;
	gw_ask_stop(&f->ask);
	f->gw->cat->ops->forget(f->gw->cat, f);
	f->gw = NULL;
}

void gw_fence_timer(struct gw_fence *f)
{
	if (f->gw)
		fence_run(f);
}
