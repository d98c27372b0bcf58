/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Clones, and the first volume going back to a snapshot: each is a new branch over what the
 * snapshot shows, as utils/tool/move.c makes it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_admin_int.h"
#include "utils/lib/assert.h"

/* A history that begins with what the snapshot shows. */
static struct sim_check *check_from(struct sim *s, const struct sim_vol *snap)
{
	struct sim_check *c = sim_check_add(s);

	for (uint64_t i = 0; i < s->plan.vol_bytes / VMS_LB_BYTES; i++)
		if (snap->image[i] != SIM_UNSEEN)
			sim_check_initial(c, i, snap->image[i]);
	return c;
}
/* a->b: a new branch over a->s, whose branch record is a->parent. */
static bool branch_grow(struct sim_admin *a)
{
	if (a->parent.nancestors == VMS_ANCESTORS_MAX)
		return false;
	a->b = (struct vms_cat_branch){.branch = a->cl.next_branch++,
				       .lineage = a->parent.lineage,
				       .state = 1,
				       .nancestors = 1};
	a->b.salted = a->parent.salted;
	memcpy(a->b.salt, a->parent.salt, sizeof(a->b.salt));
	a->b.ancestor[0] = (struct vms_cat_ancestor){a->s.branch, a->s.snap_gen,
						     a->s.size_bytes / VMS_CHUNK_BYTES};
	for (unsigned i = 0; i < a->parent.nancestors; i++)
		a->b.ancestor[a->b.nancestors++] = a->parent.ancestor[i];
	return true;
}

/* The reads that a new branch needs: snapshot, its branch, the cluster. true: all there. */
static bool grow_reads(struct sim_admin *a, enum step snap)
{
	struct sim_vol *v = adm_vol_of_job(a);
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_kv kv;

	if (!v) {
		adm_end(a);
		return false;
	}
	if (!a->asked) {
		if (a->step == snap)
			snprintf(key, sizeof(key), "snap/%s", v->name);
		else if (a->step == snap + 1)
			vms_cat_key_branch(key, a->s.branch);
		else
			snprintf(key, sizeof(key), "cluster");
		adm_get(a, key);
		return false;
	}
	if (a->status) {
		adm_later(a, 100000);
		return false;
	}
	if (!a->kv.n && a->step != snap + 1) {
		adm_end(a);
		return false;
	}
	if (a->kv.n)
		kv = adm_kv(a, 0);
	if (a->step == snap) {
		a->srev = kv.mod_revision;
		vms_assert(vms_cat_snap_decode(&kv, &a->s, NULL) == 0);
	} else if (a->step == snap + 1) {
		a->parent = (struct vms_cat_branch){.branch = a->s.branch, .lineage = a->v.lineage};
		if (a->kv.n)
			vms_assert(vms_cat_branch_decode(&kv, &a->parent, NULL) == 0);
	} else {
		a->clrev = kv.mod_revision;
		vms_assert(vms_cat_cluster_decode(&kv, &a->cl, NULL) == 0);
		return true;
	}
	adm_go(a, a->step + 1);
	return false;
}

/* The volume's record and the branch that it writes to from now on, over that snapshot.
 * vrev: of the record so far; 0: there is none. */
static void branch_txn(struct sim_admin *a, uint64_t vrev, const char *snap)
{
	char vk[VMS_CAT_KEY_BYTES_MAX], sk[VMS_CAT_KEY_BYTES_MAX], bk[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[] = {{vk, vrev}, {sk, a->srev}, {"cluster", a->clrev}, {bk, 0}};
	struct vms_cat_op op[] = {{vk, NULL, 0}, {bk, NULL, 0}, {"cluster", NULL, 0}};

	vms_cat_key_volume(vk, a->v.name, NULL);
	snprintf(sk, sizeof(sk), "snap/%s", snap);
	vms_cat_key_branch(bk, a->b.branch);
	op[0].val = vms_cat_volume_encode(&a->v);
	op[1].val = vms_cat_branch_encode(&a->b);
	op[2].val = vms_cat_cluster_encode(&a->cl);
	adm_txn(a, cmp, 4, op, 3);
	for (unsigned i = 0; i < 3; i++)
		free((char *)op[i].val);
}

void adm_clone_step(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	struct sim_vol *from = adm_vol_of_job(a), *v;

	if (!from) { /* cannot be: nothing else deletes it */
		adm_end(a);
		return;
	}
	switch (a->step) {
	case CLONE_SNAP:
	case CLONE_BRANCH:
	case CLONE_CLUSTER:
		a->v.lineage = s->lineage;
		if (!grow_reads(a, CLONE_SNAP))
			return;
		if (!branch_grow(a)) {
			adm_end(a);
			return;
		}
		memset(&a->v, 0, sizeof(a->v));
		snprintf(a->v.name, sizeof(a->v.name), "c%u", ++a->nclones);
		vms_rng_fill(&s->rng, a->v.uuid, 16);
		a->v.id = a->v.branch = a->b.owner = a->b.branch;
		a->v.lineage = a->b.lineage;
		a->v.size_bytes = a->s.size_bytes;
		a->v.snap_gen = a->v.lun_fence = 1;
		a->v.write_ack = (uint8_t)s->plan.ack;
		a->v.state = 1;
		a->v.dedup = true;
		snprintf(a->v.parent, sizeof(a->v.parent), "%s", from->name);
		adm_go(a, CLONE_TXN);
		return;
	case CLONE_TXN:
		if (a->asked)
			adm_go(a, CLONE_CHECK);
		else
			branch_txn(a, 0, from->name);
		return;
	case CLONE_CHECK:
		if (!a->asked)
			adm_volume_get(a, a->v.name);
		else if (a->status)
			adm_later(a, 100000);
		else if (!adm_volume_got(a))
			adm_end(a);
		else
			adm_go(a, CLONE_FLOOR);
		return;
	default:
		if (!adm_floors(a, a->v.branch))
			return;
		v = adm_vol_free(s);
		s->r->clones++;
		sim_note(s, "admin: %s is a clone of %s, branch %" PRIu64, a->v.name, from->name,
			 a->v.branch);
		if (v) {
			*v = (struct sim_vol){.id = ++s->next_vol,
					      .want = true,
					      .blocks = from->blocks,
					      .check = check_from(s, from)};
			snprintf(v->name, sizeof(v->name), "%s", a->v.name);
		}
		adm_end(a);
	}
}

static void back_over(struct sim_admin *a)
{
	a->p->s->vol[0].want = true;
	adm_end(a);
}

void adm_back_step(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	char vk[VMS_CAT_KEY_BYTES_MAX];
	struct sim_vol *snap = adm_vol_of_job(a);

	switch (a->step) {
	case BACK_CLOSE:
		if (sim_vol_open_anywhere(s, 0))
			adm_later(a, ADM_POLL_US);
		else
			adm_go(a, BACK_GET);
		return;
	case BACK_GET:
		if (!a->asked) {
			adm_volume_get(a, s->vol[0].name);
			return;
		}
		if (a->status || !adm_volume_got(a) || a->v.barrier || a->v.state != 1)
			back_over(a);
		else
			adm_go(a, BACK_SNAP);
		return;
	case BACK_SNAP:
	case BACK_BRANCH:
	case BACK_CLUSTER:
		if (!grow_reads(a, BACK_SNAP)) {
			if (a->step == IDLE)
				s->vol[0].want = true;
			return;
		}
		if (!branch_grow(a)) {
			back_over(a);
			return;
		}
		a->b.owner = a->v.id;
		a->v.snap_gen++;
		a->v.lun_fence++;
		a->v.barrier = VMS_BARRIER_STOP;
		a->v.barrier_id = a->v.snap_gen;
		a->v.barrier_quiet = false;
		adm_go(a, BACK_TXN);
		return;
	case BACK_TXN:
		if (!a->asked)
			branch_txn(a, a->vrev, snap->name);
		else if (a->status)
			back_over(a);
		else
			adm_go(a, BACK_FLOOR_OLD);
		return;
	case BACK_FLOOR_OLD:
		if (adm_floors(a, a->v.branch))
			adm_go(a, BACK_FLOOR_NEW);
		return;
	case BACK_FLOOR_NEW:
		if (adm_floors(a, a->b.branch))
			adm_go(a, BACK_FINISH);
		return;
	case BACK_FINISH: {
		struct vms_cat_volume next = a->v;
		struct vms_cat_cmp cmp = {vk, 0};
		struct vms_cat_op op = {vk, NULL, 0};

		if (!a->asked) {
			adm_volume_get(a, a->v.name);
			a->clrev = 0;
			return;
		}
		if (a->clrev) {
			adm_go(a, BACK_CHECK);
			return;
		}
		if (a->status || !adm_volume_got(a)) {
			adm_later(a, 100000);
			return;
		}
		if (a->v.barrier_id != next.barrier_id || !a->v.barrier) {
			adm_go(a, BACK_CHECK); /* given up by a gateway that wanted to open */
			return;
		}
		vms_cat_key_volume(vk, a->v.name, NULL);
		next.branch = a->b.branch;
		next.size_bytes = a->s.size_bytes;
		next.barrier = VMS_BARRIER_NONE;
		cmp.mod_revision = a->vrev;
		op.val = vms_cat_volume_encode(&next);
		a->clrev = 1;
		adm_txn(a, &cmp, 1, &op, 1);
		free((char *)op.val);
		return;
	}
	default: /* BACK_CHECK */
		if (!a->asked) {
			adm_volume_get(a, a->v.name);
			return;
		}
		if (a->status || !adm_volume_got(a)) {
			adm_later(a, 100000);
			return;
		}
		if (a->v.barrier && a->v.branch != a->b.branch) {
			adm_go(a, BACK_FINISH);
			return;
		}
		if (a->v.branch == a->b.branch) {
			s->r->rollbacks++;
			sim_note(s, "admin: rolled back to %s, branch %" PRIu64, snap->name,
				 a->v.branch);
			/* whoever had it open finds another volume in its place */
			s->vol[0].id = ++s->next_vol;
			s->vol[0].check = check_from(s, snap);
			sim_size_held(s);
			for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++)
				memset(s->cl[i].last, 0, sizeof(s->cl[i].last));
		}
		back_over(a);
	}
}
