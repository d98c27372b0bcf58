/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Snapshots of the first volume through the barrier of doc/architecture.md, as
 * utils/tool/barrier.c makes them, and the giving up of a barrier whose tool has died.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_admin_int.h"
#include "utils/lib/assert.h"

#define STOP_US	   900000u
#define FLOOR_US   5000000u
#define RELEASE_US 3000000u

static void snap_put(struct sim_admin *a, uint8_t barrier, uint8_t state, bool acks)
{
	char vk[VMS_CAT_KEY_BYTES_MAX], sk[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[40] = {{vk, a->vrev}, {sk, a->srev}};
	struct vms_cat_op op[40] = {{vk, NULL, 0}, {sk, NULL, 0}};
	unsigned nc = state ? 2 : 1, no = nc;

	vms_cat_key_volume(vk, a->v.name, NULL);
	vms_cat_key_snap(sk, a->s.volume, a->s.name, NULL);
	a->v.barrier = barrier;
	a->s.state = state;
	op[0].val = vms_cat_volume_encode(&a->v);
	if (state)
		op[1].val = vms_cat_snap_encode(&a->s);
	for (size_t i = 0; acks && i < a->doomed.n && nc < 40; i++) {
		cmp[nc++] = (struct vms_cat_cmp){a->doomed.d[i].key, a->doomed.d[i].mod};
		op[no++] = (struct vms_cat_op){a->doomed.d[i].key, NULL, 0};
	}
	adm_txn(a, cmp, nc, op, no);
	free((char *)op[0].val);
	if (state)
		free((char *)op[1].val);
}

/* How many of those asked have acknowledged with at least this state; -1: a veto. */
static int acks(struct sim_admin *a, uint8_t state)
{
	int n = 0;

	adm_doomed_clear(a);
	for (size_t i = 0; i < a->kv.n; i++) {
		struct vms_cat_kv kv = adm_kv(a, i);
		struct vms_cat_ack ack;

		if (vms_cat_ack_decode(&kv, &ack, NULL) || ack.barrier_id != a->v.barrier_id)
			continue;
		for (unsigned k = 0; k < a->ngw; k++) {
			if (a->gw[k] != ack.gateway)
				continue;
			if (ack.state == VMS_ACK_VETO)
				return -1;
			n += ack.state >= state;
			struct kv *d = VMS_VEC_ADD(&a->doomed);

			snprintf(d->key, sizeof(d->key), "%s", kv.key);
			d->mod = kv.mod_revision;
		}
	}
	return n;
}

static void snap_done(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	struct sim_vol *v = adm_vol_free(s);
	uint64_t n = s->plan.vol_bytes / VMS_LB_BYTES;

	s->r->snaps++;
	sim_note(s, "admin: %s@%s is complete, number %" PRIu64 ", branch %" PRIu64, a->s.volume,
		 a->s.name, a->s.snap_gen, a->s.branch);
	if (!v) {
		adm_end(a);
		return;
	}
	*v = (struct sim_vol){.id = ++s->next_vol,
			      .snap = true,
			      .want = true,
			      .check = s->vol[0].check,
			      .branch = a->s.branch,
			      .gen = a->s.snap_gen,
			      .blocks = a->s.size_bytes / VMS_LB_BYTES,
			      .begin_us = a->begin_us,
			      .end_us = a->end_us};
	snprintf(v->name, sizeof(v->name), "%s@%s", a->s.volume, a->s.name);
	v->image = malloc(n * sizeof(*v->image));
	for (uint64_t i = 0; i < n; i++)
		v->image[i] = SIM_UNSEEN;
	a->vol = (unsigned)(v - s->vol);
	a->vol_id = v->id;
	a->at = 0;
	a->reading = false;
	adm_go(a, SNAP_READ);
}

void adm_snap_step(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	char key[VMS_CAT_KEY_BYTES_MAX];
	int n;

	if (a->step != SNAP_GET && a->step != SNAP_READ && a->step != SNAP_CHECK && s->faults &&
	    !a->asked && !a->again_us && vms_rng_chance(&s->rng, s->plan.admin_dies)) {
		sim_note(s, "admin: the coordinator of %s dies (step %d)", a->s.name, a->step);
		s->r->deaths++;
		adm_end(a);
		return;
	}
	switch (a->step) {
	case SNAP_GET:
		if (!adm_volume_free(a))
			return;
		if (a->v.state != 1) { /* is being shrunk */
			adm_go(a, SIZE_GET);
			return;
		}
		s->r->snap_tries++;
		memset(&a->s, 0, sizeof(a->s));
		a->s.id = a->v.id;
		a->s.branch = a->v.branch;
		a->s.snap_gen = a->v.snap_gen++;
		a->v.barrier_id = a->v.snap_gen;
		a->v.barrier_quiet = false; /* as the one before it may have been */
		a->s.size_bytes = a->v.size_bytes;
		vms_rng_fill(&s->rng, a->s.uuid, 16);
		snprintf(a->s.volume, sizeof(a->s.volume), "%s", a->v.name);
		snprintf(a->s.name, sizeof(a->s.name), "s%u", ++a->nsnaps);
		a->srev = 0;
		a->begin_us = s->now_us;
		/* some learn of it late: what do the others do meanwhile? */
		for (unsigned i = 1; i <= s->plan.nodes + s->plan.gateways && s->faults; i++)
			if (vms_rng_chance(&s->rng, s->plan.late_news))
				s->blocked_until[0][i] = s->now_us +
							 vms_rng_below(&s->rng, STOP_US);
		adm_go(a, SNAP_INTENT);
		return;
	case SNAP_INTENT:
		if (!a->asked) {
			snap_put(a, VMS_BARRIER_STOP, VMS_SNAP_CREATING, false);
			return;
		}
		if (a->status) { /* refused, or not known: then somebody will find it */
			adm_end(a);
			return;
		}
		adm_go(a, SNAP_OPENS);
		return;
	case SNAP_OPENS:
		adm_opens(a, SNAP_STOPPED);
		return;
	case SNAP_STOPPED:
	case SNAP_RELEASED:
		if (!a->asked) {
			adm_ack_prefix(a, key);
			adm_range(a, key);
			return;
		}
		n = a->status
			    ? -1
			    : acks(a, a->step == SNAP_STOPPED ? VMS_ACK_STOPPED : VMS_ACK_RELEASED);
		if (n == (int)a->ngw)
			adm_go(a, a->step == SNAP_STOPPED ? SNAP_FLOOR : SNAP_COMPLETE);
		else if (n < 0 ||
			 s->now_us - (a->step == SNAP_STOPPED ? a->begin_us : a->since_us) >
				 (a->step == SNAP_STOPPED ? STOP_US : RELEASE_US))
			adm_go(a, DROP_GET);
		else
			adm_later(a, ADM_POLL_US);
		return;
	case SNAP_FLOOR:
		/* the last stop must have come in time: the gateways' second has not passed */
		if (s->now_us - a->since_us > FLOOR_US)
			adm_go(a, DROP_GET);
		else if (adm_floors(a, a->v.branch))
			adm_go(a, SNAP_RELEASE);
		return;
	case SNAP_RELEASE:
	case SNAP_COMPLETE:
		/* both need the records' revisions as they are now */
		if (!a->asked) {
			if (a->step == SNAP_RELEASE)
				a->end_us = s->now_us;
			adm_volume_get(a, a->v.name);
			a->step = a->step == SNAP_RELEASE ? SNAP_RELEASE : SNAP_COMPLETE;
			a->srev = 0;
			return;
		}
		if (a->srev == 0) { /* the volume has been read; now the snapshot */
			struct vms_cat_volume now = a->v;
			uint64_t id = a->v.barrier_id;

			if (a->status || !adm_volume_got(a) || a->v.barrier_id != id ||
			    a->v.barrier == VMS_BARRIER_NONE) {
				a->v = now;
				adm_go(a, DROP_GET);
				return;
			}
			a->srev = 1;
			vms_cat_key_snap(key, a->s.volume, a->s.name, NULL);
			adm_get(a, key);
			return;
		}
		if (a->srev == 1) {
			if (a->status || !a->kv.n) {
				adm_go(a, DROP_GET);
				return;
			}
			a->srev = a->kv.d[0].mod;
			if (a->step == SNAP_RELEASE)
				snap_put(a, VMS_BARRIER_RELEASE, 0, false);
			else
				snap_put(a, VMS_BARRIER_NONE, VMS_SNAP_COMPLETE, true);
			return;
		}
		if (a->step == SNAP_RELEASE)
			adm_go(a, a->status ? DROP_GET : SNAP_RELEASED);
		else
			adm_go(a, SNAP_CHECK);
		return;
	case SNAP_CHECK: /* whatever the answer was: what does the catalog say? */
		if (!a->asked) {
			vms_cat_key_snap(key, a->s.volume, a->s.name, NULL);
			adm_get(a, key);
			return;
		}
		if (a->status) {
			adm_later(a, 100000);
			return;
		}
		if (a->kv.n) {
			struct vms_cat_kv kv = adm_kv(a, 0);
			struct vms_cat_snap now;

			if (!vms_cat_snap_decode(&kv, &now, NULL) &&
			    now.state == VMS_SNAP_COMPLETE) {
				snap_done(a);
				return;
			}
		}
		adm_go(a, DROP_GET);
		return;
	default: { /* SNAP_READ */
		struct sim_vol *v = adm_vol_of_job(a);

		if (v && !adm_audit(a, v))
			return;
		if (v)
			v->read = true;
		adm_end(a);
	}
	}
}

/* Gives up a barrier, ours or one that nobody ends. */
void adm_drop_step(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	char key[VMS_CAT_KEY_BYTES_MAX];

	switch (a->step) {
	case DROP_GET:
		if (!a->asked) {
			adm_volume_get(a, s->vol[0].name);
			return;
		}
		if (a->status || !adm_volume_got(a) || !a->v.barrier) {
			adm_end(a);
			return;
		}
		adm_doomed_clear(a);
		adm_go(a, DROP_SNAPS);
		return;
	case DROP_SNAPS:
	case DROP_ACKS:
		if (!a->asked) {
			if (a->step == DROP_SNAPS)
				snprintf(key, sizeof(key), "snap/%s@", a->v.name);
			else
				adm_ack_prefix(a, key);
			adm_range(a, key);
			return;
		}
		if (a->status) {
			adm_end(a);
			return;
		}
		for (size_t i = 0; i < a->kv.n; i++) {
			struct vms_cat_kv kv = adm_kv(a, i);
			struct vms_cat_snap sn;
			struct kv *d;

			if (a->step == DROP_SNAPS &&
			    (vms_cat_snap_decode(&kv, &sn, NULL) || sn.state != VMS_SNAP_CREATING))
				continue;
			d = VMS_VEC_ADD(&a->doomed);
			snprintf(d->key, sizeof(d->key), "%s", kv.key);
		}
		adm_go(a, a->step == DROP_SNAPS ? DROP_ACKS : DROP_TXN);
		return;
	default: {
		struct vms_cat_cmp cmp = {key, a->vrev};
		struct vms_cat_op op[60] = {{key, NULL, 0}};
		unsigned no = 1;

		if (a->asked) {
			adm_end(a);
			return;
		}
		vms_cat_key_volume(key, a->v.name, NULL);
		a->v.barrier = VMS_BARRIER_NONE;
		op[0].val = vms_cat_volume_encode(&a->v);
		for (size_t i = 0; i < a->doomed.n && no < 60; i++)
			op[no++] = (struct vms_cat_op){a->doomed.d[i].key, NULL, 0};
		adm_txn(a, &cmp, 1, op, no);
		free((char *)op[0].val);
		sim_note(s, "admin: gives up barrier %" PRIu64, a->v.barrier_id);
	}
	}
}
