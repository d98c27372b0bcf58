/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first volume becomes larger and smaller while gateways have it open, as the tool does
 * it (utils/tool/volume_change.c): growing by a barrier that asks for nothing but to be
 * known, shrinking by a quiet one, after which the tail is trimmed; each may die between
 * any two steps, and is completed by a later one.
 *
 * Judged (invariant 17a), by the sizes that its record had:
 *
 *	a command beyond the end ends RANGE, one before it does not: of the sizes from the
 *	last one that was confirmed when the command began to the newest when it ended
 *	a size is confirmed only when each gateway that had the volume open goes by it
 *	no gateway goes back to a size that it had left: initiators are told once of each
 *	what was shrunk away is zeros when the volume has grown again; all else stays
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/gw_int.h"
#include "tests/sim/sim_admin_int.h"
#include "utils/lib/assert.h"

#define STOP_US	    7000000u
#define RELEASE_US  3000000u
#define NODE_US_MAX 10000000u

enum { READY = 1, SHRINKING = 3 };

struct size {
	uint64_t blocks, rev;
	uint64_t held_us; /* confirmed; 0: not */
};
struct sim_sizes {
	VMS_VEC(struct size) v;
	struct sim_check *check; /* of the tail that is being cut off; NULL: none */
	uint32_t check_id;
	uint8_t state;
};

/* ---- the judge ---- */

void sim_size_start(struct sim *s)
{
	s->sizes = calloc(1, sizeof(*s->sizes));
	vms_assert(s->sizes);
	s->vol[0].blocks = s->plan.vol_bytes / VMS_LB_BYTES;
	VMS_VEC_PUSH(&s->sizes->v, ((struct size){s->vol[0].blocks, 0, 1}));
}

void sim_size_free(struct sim *s)
{
	VMS_VEC_FREE(&s->sizes->v);
	free(s->sizes);
}

void sim_size_put(struct sim *s, const char *key, const char *val, uint64_t rev)
{
	struct sim_sizes *z = s->sizes;
	struct vms_cat_kv kv = {.key = key, .val = val};
	uint64_t was = s->vol[0].blocks, is;
	struct vms_cat_volume v;

	if (!val || strcmp(key, "volume/disk"))
		return;
	kv.val_bytes = (uint32_t)strlen(val);
	vms_assert(vms_cat_volume_decode(&kv, &v, NULL) == 0);
	is = v.size_bytes / VMS_LB_BYTES;
	if (is != was) {
		s->vol[0].blocks = is;
		VMS_VEC_PUSH(&z->v, ((struct size){is, rev, 0}));
		sim_note(s, "the volume has %" PRIu64 " blocks", is);
	}
	if (v.state == SHRINKING && z->state != SHRINKING) {
		z->check = s->vol[0].check;
		z->check_id = sim_check_invoke(z->check, true, is, (uint32_t)(was - is), 0,
					       s->now_us);
	} else if (v.state != SHRINKING && z->check) {
		sim_check_write_end(z->check, z->check_id, SIM_APPLIED, s->now_us);
		z->check = NULL;
	}
	z->state = v.state;
}

/* The tool's command returns: who has the volume open since before knows the size. */
void sim_size_held(struct sim *s)
{
	struct size *z = &s->sizes->v.d[s->sizes->v.n - 1];
	struct vms_cat_engine *e = &s->p[0].engine;
	char key[VMS_CAT_KEY_BYTES_MAX];

	for (unsigned g = 0; g < s->plan.gateways; g++) {
		const struct proc *p = &s->p[1 + s->plan.nodes + g];
		struct vms_cat_open o;
		struct vms_cat_kv kv;

		if (!p->up || p->fatal || !p->gw || !p->vol[0].ready)
			continue;
		vms_cat_key_open(key, p->vol[0].h->rec.id, p->gw->id);
		if (e->ops->get(e->ctx, key, &kv) || vms_cat_open_decode(&kv, &o, NULL) ||
		    o.incarnation != p->gw->incarnation || kv.create_revision > z->rev)
			continue;
		if (p->vol[0].h->nblocks != z->blocks)
			sim_fail(s,
				 "the volume has %" PRIu64 " blocks, says the tool; gateway %u "
				 "still has %" PRIu64,
				 z->blocks, p->idx, p->vol[0].h->nblocks);
	}
	if (!z->held_us)
		z->held_us = s->now_us;
}

/* In each turn: what the adapter tells initiators (work_changes() of bs_vmstore.c). */
void sim_size_gateway(struct sim *s, struct proc *p)
{
	struct sim_sizes *z = s->sizes;
	struct vms_gw_vol_info info;
	size_t i;

	if (!sim_vol_ready(s, p, 0))
		return;
	vms_gw_vol_info(p->vol[0].h, &info);
	if (p->size_of != p->vol[0].h) { /* just opened */
		p->size_of = p->vol[0].h;
		for (i = z->v.n - 1; i && z->v.d[i].blocks * VMS_LB_BYTES != info.size_bytes; i--)
			;
		for (size_t k = i + 1; k < z->v.n; k++)
			if (z->v.d[k].held_us && z->v.d[k].held_us < p->open_us)
				sim_fail(s, "gateway %u opens the volume with a size it had before",
					 p->idx);
		p->size_at = i;
		return;
	}
	if (z->v.d[p->size_at].blocks * VMS_LB_BYTES == info.size_bytes)
		return;
	for (i = p->size_at + 1; i < z->v.n; i++)
		if (z->v.d[i].blocks * VMS_LB_BYTES == info.size_bytes)
			break;
	if (i == z->v.n) {
		sim_fail(s, "gateway %u tells of %" PRIu64 " bytes, a size that it had left",
			 p->idx, info.size_bytes);
		return;
	}
	p->size_at = i;
	for (unsigned c = 0; c < s->plan.clients; c++)
		s->r->capacity_told += s->cl[c].path[p->idx].up;
}

void sim_size_look(struct sim *s, const struct client *c, const struct client_op *o, int status)
{
	const struct sim_vol *v = sim_vol_of(s, o->vol, o->vol_id);
	const struct sim_sizes *z = s->sizes;
	uint64_t end = o->lba + o->nblocks, lo, hi;
	size_t i = z->v.n - 1;

	if (!v || (status && status != VMS_E_RANGE))
		return;
	lo = hi = v->blocks;
	if (!o->vol) {
		for (; i && (!z->v.d[i].held_us || z->v.d[i].held_us > o->start_us); i--)
			;
		for (; i < z->v.n; i++) {
			if (z->v.d[i].blocks < lo)
				lo = z->v.d[i].blocks;
			if (z->v.d[i].blocks > hi)
				hi = z->v.d[i].blocks;
		}
	}
	if ((!status && end > hi) || (status && end <= lo))
		sim_fail(s,
			 "client %d: op %d at lba %" PRIu64 " +%u, begun at %" PRIu64
			 " us, ended with %s; %s has %" PRIu64 " blocks",
			 c->idx, o->op, o->lba, o->nblocks, o->start_us,
			 status ? vms_err_name(status) : "GOOD", v->name, status ? lo : hi);
	s->r->beyond_end += status != 0;
}

/* As much of n blocks from lba as the volume has. */
uint32_t sim_vol_clip(const struct sim_vol *v, uint64_t lba, uint64_t n)
{
	if (lba >= v->blocks)
		return 0;
	return (uint32_t)(n < v->blocks - lba ? n : v->blocks - lba);
}

/* ---- the job ---- */

/* The record again, changed by edit(), when it is still ours; true: put. */
static bool put_again(struct sim_admin *a, void (*edit)(struct sim_admin *a))
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp = {key, 0};
	struct vms_cat_op op[40] = {{key, NULL, 0}};
	uint64_t id = a->v.barrier_id;
	unsigned no = 1;

	if (!a->asked) {
		adm_volume_get(a, a->p->s->vol[0].name);
		a->srev = 0;
		return false;
	}
	if (a->srev)
		return true;
	if (a->status) {
		adm_later(a, 100000);
		return false;
	}
	if (!adm_volume_got(a) || (a->step != SIZE_READY &&
				   (a->v.barrier_id != id || a->v.barrier == VMS_BARRIER_NONE))) {
		adm_end(a); /* somebody has given it up */
		return false;
	}
	edit(a);
	vms_cat_key_volume(key, a->v.name, NULL);
	cmp.mod_revision = a->vrev;
	op[0].val = vms_cat_volume_encode(&a->v);
	for (size_t i = 0; a->step == SIZE_OVER && i < a->doomed.n && no < 40; i++)
		op[no++] = (struct vms_cat_op){a->doomed.d[i].key, NULL, 0};
	a->srev = 1;
	adm_txn(a, &cmp, 1, op, no);
	free((char *)op[0].val);
	return false;
}

static void edit_release(struct sim_admin *a)
{
	a->v.size_bytes = a->size_bytes;
	a->v.state = SHRINKING;
	a->v.lun_fence++;
	a->v.barrier = VMS_BARRIER_RELEASE;
}

static void edit_over(struct sim_admin *a)
{
	a->v.barrier = VMS_BARRIER_NONE;
}

static void edit_ready(struct sim_admin *a)
{
	a->v.state = READY;
}

/* Have all who were asked acknowledged? 1, 0 not yet, -1 one will not. */
static int acknowledged(struct sim_admin *a, uint8_t state, bool veto_ok)
{
	unsigned n = 0;

	for (size_t i = 0; i < a->doomed.n; i++)
		free(a->doomed.d[i].val);
	a->doomed.n = 0;
	for (size_t i = 0; i < a->kv.n; i++) {
		struct vms_cat_kv kv = adm_kv(a, i);
		struct vms_cat_ack ack;
		struct kv *d;

		if (vms_cat_ack_decode(&kv, &ack, NULL) || ack.barrier_id != a->v.barrier_id)
			continue;
		d = VMS_VEC_ADD(&a->doomed);
		memset(d, 0, sizeof(*d));
		snprintf(d->key, sizeof(d->key), "%s", kv.key);
		for (unsigned k = 0; k < a->ngw; k++) {
			if (a->gw[k] != ack.gateway)
				continue;
			if (ack.state == VMS_ACK_VETO && !veto_ok)
				return -1;
			n += ack.state >= state;
		}
	}
	return n == a->ngw;
}

static bool grows(const struct sim_admin *a)
{
	return a->size_bytes > a->old_bytes;
}

static void size_get(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	uint64_t chunks = s->plan.vol_bytes / VMS_CHUNK_BYTES, n;

	if (!adm_volume_free(a))
		return;
	a->trimming = false;
	if (a->v.state == SHRINKING) {
		adm_go(a, SIZE_FLOOR);
		return;
	}
	n = chunks / 8 * (3 + vms_rng_below(&s->rng, 6));
	if (n < chunks)
		n -= vms_rng_below(&s->rng, 40);
	a->old_bytes = a->v.size_bytes;
	a->size_bytes = n * VMS_CHUNK_BYTES;
	if (a->size_bytes == a->old_bytes)
		adm_end(a);
	else
		adm_go(a, grows(a) ? SIZE_STOP : SIZE_SNAPS);
}

/* Snapshots and ancestors need what is behind the end: the tool moves such a volume to a
 * new branch instead, which rollback does here. */
static void size_alone(struct sim_admin *a)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_branch b;

	if (!a->asked) {
		if (a->step == SIZE_SNAPS) {
			snprintf(key, sizeof(key), "snap/%s@", a->v.name);
			adm_range(a, key);
		} else {
			vms_cat_key_branch(key, a->v.branch);
			adm_get(a, key);
		}
		return;
	}
	if (a->status || (a->step == SIZE_SNAPS && a->kv.n)) {
		adm_end(a);
		return;
	}
	if (a->step == SIZE_SNAPS) {
		adm_go(a, SIZE_BRANCH);
		return;
	}
	if (a->kv.n) {
		struct vms_cat_kv kv = adm_kv(a, 0);

		if (vms_cat_branch_decode(&kv, &b, NULL) || b.nancestors) {
			adm_end(a);
			return;
		}
	}
	adm_go(a, SIZE_STOP);
}

static void size_stop(struct sim_admin *a)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp = {key, a->vrev};
	struct vms_cat_op op = {key, NULL, 0};

	if (a->asked) {
		if (a->status)
			adm_end(a);
		else
			adm_go(a, SIZE_OPENS);
		return;
	}
	a->v.barrier_id = ++a->v.snap_gen;
	a->v.barrier = VMS_BARRIER_STOP;
	a->v.barrier_quiet = !grows(a);
	if (grows(a))
		a->v.size_bytes = a->size_bytes;
	vms_cat_key_volume(key, a->v.name, NULL);
	op.val = vms_cat_volume_encode(&a->v);
	adm_txn(a, &cmp, 1, &op, 1);
	free((char *)op.val);
}

static void size_wait(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	char key[VMS_CAT_KEY_BYTES_MAX];
	bool stopped = a->step == SIZE_STOPPED;
	int n;

	if (!a->asked) {
		adm_ack_prefix(a, key);
		adm_range(a, key);
		return;
	}
	n = a->status ? 0 : acknowledged(a, stopped ? VMS_ACK_STOPPED : VMS_ACK_RELEASED, grows(a));
	if (n == 1) {
		a->trimming = false; /* all have confirmed it */
		adm_go(a, stopped && !grows(a) ? SIZE_RELEASE : SIZE_OVER);
	} else if (n < 0 || s->now_us - a->since_us > (stopped ? STOP_US : RELEASE_US)) {
		adm_go(a, DROP_GET);
	} else {
		adm_later(a, ADM_POLL_US);
	}
}

void adm_resize_step(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	struct sim_parts ps;

	if (a->step > SIZE_BRANCH && s->faults && !a->asked && !a->again_us &&
	    vms_rng_chance(&s->rng, s->plan.admin_dies)) {
		sim_note(s, "admin: who makes the volume %s dies (step %d)",
			 grows(a) ? "larger" : "smaller", a->step);
		s->r->deaths++;
		adm_end(a);
		return;
	}
	/* the tool gives up as well (a clone that is being deleted holds the tail): whoever
	 * runs it again goes on there */
	if ((a->step == SIZE_FLOOR || a->step == SIZE_TRIM) &&
	    s->now_us - a->since_us > NODE_US_MAX) {
		adm_end(a);
		return;
	}
	switch (a->step) {
	case SIZE_GET:
		size_get(a);
		return;
	case SIZE_SNAPS:
	case SIZE_BRANCH:
		size_alone(a);
		return;
	case SIZE_STOP:
		size_stop(a);
		return;
	case SIZE_OPENS:
		adm_opens(a, SIZE_STOPPED);
		return;
	case SIZE_STOPPED:
	case SIZE_RELEASED:
		size_wait(a);
		return;
	case SIZE_RELEASE:
		if (put_again(a, edit_release))
			adm_go(a, a->status ? DROP_GET : SIZE_RELEASED);
		return;
	case SIZE_OVER:
		if (!put_again(a, edit_over))
			return;
		if (a->status) {
			adm_go(a, DROP_GET);
			return;
		}
		sim_size_held(s);
		s->r->resizes++;
		if (grows(a))
			adm_end(a);
		else
			adm_go(a, SIZE_FLOOR);
		return;
	case SIZE_FLOOR:
		if (adm_floors(a, a->v.branch)) {
			a->trimming = false;
			adm_go(a, SIZE_TRIM);
		}
		return;
	case SIZE_TRIM: /* until no partition has moved while it was done */
		sim_parts(s, &ps);
		if (!a->trimming)
			a->trim_mod = ps.mod;
		a->trimming = true;
		if (!adm_floors(a, a->v.branch))
			return;
		a->trimming = false;
		adm_go(a, ps.mod == a->trim_mod ? SIZE_READY : SIZE_TRIM);
		return;
	default: /* SIZE_READY */
		if (!put_again(a, edit_ready))
			return;
		if (a->status)
			adm_go(a, SIZE_READY);
		else
			adm_end(a);
	}
}
