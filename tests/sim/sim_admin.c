/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What people do with the tools, as one process that never crashes but whose jobs
 * die: snapshots (sim_snap.c), clones and rollback (sim_clone.c), new sizes (sim_resize.c),
 * deletion; and the reading of whole snapshots by the auditor. One job at a time, each a
 * chain of steps; a step asks the catalog or the nodes once and goes on with the answer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_admin_int.h"
#include "utils/lib/assert.h"

#define OLD_US	 10000000u
#define AUDIT_US 5000000u

/* ---- catalog ---- */

static void kv_clear(struct sim_admin *a)
{
	for (size_t i = 0; i < a->kv.n; i++)
		free(a->kv.d[i].val);
	a->kv.n = 0;
}
void adm_doomed_clear(struct sim_admin *a)
{
	for (size_t i = 0; i < a->doomed.n; i++)
		free(a->doomed.d[i].val);
	a->doomed.n = 0;
}
static void on_reply(void *arg, const struct vms_cat_reply *r)
{
	struct sim_admin *a = arg;

	a->answered = true;
	a->status = r->status;
	for (unsigned i = 0; i < r->nkv && !r->status; i++) {
		struct kv *k = VMS_VEC_ADD(&a->kv);

		snprintf(k->key, sizeof(k->key), "%s", r->kv[i].key);
		k->val = r->kv[i].val ? strdup(r->kv[i].val) : NULL;
		k->mod = r->kv[i].mod_revision;
	}
	sim_wake(a->p, 1);
}
static struct vms_catalog *ask(struct sim_admin *a)
{
	kv_clear(a);
	a->asked = true;
	a->answered = false;
	return vms_cat_client_catalog(a->p->cc);
}
void adm_get(struct sim_admin *a, const char *key)
{
	struct vms_catalog *c = ask(a);

	c->ops->get(c, key, on_reply, a);
}
void adm_range(struct sim_admin *a, const char *prefix)
{
	struct vms_catalog *c = ask(a);

	c->ops->range(c, prefix, NULL, on_reply, a);
}
void adm_txn(struct sim_admin *a, const struct vms_cat_cmp *cmp, unsigned nc,
	     const struct vms_cat_op *op, unsigned no)
{
	struct vms_catalog *c = ask(a);

	c->ops->txn(c, cmp, nc, op, no, on_reply, a);
}
struct vms_cat_kv adm_kv(const struct sim_admin *a, size_t i)
{
	return (struct vms_cat_kv){a->kv.d[i].key, a->kv.d[i].val, (uint32_t)strlen(a->kv.d[i].val),
				   a->kv.d[i].mod, 1};
}

/* ---- steps ---- */

void adm_go(struct sim_admin *a, enum step step)
{
	a->step = step;
	a->asked = false;
	a->again_us = 0;
	a->since_us = a->p->s->now_us;
	a->floored = 0;
	memset(a->req, 0, sizeof(a->req));
	sim_wake(a->p, 1);
}
void adm_end(struct sim_admin *a)
{
	struct sim *s = a->p->s;

	a->next_job_us = s->now_us + vms_rng_below(&s->rng, s->plan.admin_us);
	adm_go(a, IDLE);
}
/* The same step again, later. */
void adm_later(struct sim_admin *a, uint64_t us)
{
	a->asked = false;
	a->again_us = a->p->s->now_us + us;
	sim_wake(a->p, us);
}
struct sim_vol *adm_vol_of_job(struct sim_admin *a)
{
	return sim_vol_of(a->p->s, a->vol, a->vol_id);
}
bool sim_vol_open_anywhere(const struct sim *s, unsigned vol)
{
	for (unsigned i = 0; i < s->plan.gateways; i++)
		if (s->p[1 + s->plan.nodes + i].vol[vol].asked)
			return true;
	return false;
}
struct sim_vol *adm_vol_free(struct sim *s)
{
	for (unsigned i = 1; i < SIM_VOLS_MAX; i++)
		if (!s->vol[i].id && !sim_vol_open_anywhere(s, i))
			return &s->vol[i];
	return NULL;
}
struct sim_check *sim_check_add(struct sim *s)
{
	struct sim_check *c = sim_check_new(s->plan.vol_bytes / VMS_LB_BYTES);

	VMS_VEC_PUSH(&s->checks, c);
	return c;
}
static void vol_drop(struct sim *s, struct sim_vol *v)
{
	if (v->snap) {
		struct sim_cut *c = VMS_VEC_ADD(&s->cuts);

		*c = (struct sim_cut){v->check, v->image, v->begin_us, v->end_us};
	}
	memset(v, 0, sizeof(*v));
}

/* ---- nodes ---- */

static void node_hello(struct sim_admin *a, uint64_t conn)
{
	struct vms_hello h = {.role = VMS_ROLE_TOOL, .version_min = 1, .version_max = 1};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {.type = VMS_MSG_HELLO, .req_id = 1, .partition = VMS_PART_NONE};

	snprintf(h.name, sizeof(h.name), "admin");
	memcpy(h.cluster_uuid, a->p->s->uuid, 16);
	m.body_bytes = vms_hello_encode(body, &h);
	m.body = body;
	sim_send(a->p->s, a->p, conn, &m);
}

bool sim_admin_input(struct proc *p, uint64_t conn, bool up, bool down, const struct vms_msg *m)
{
	struct sim_admin *a = p->s->admin;

	for (unsigned n = 1; n <= p->s->plan.nodes; n++) {
		if (a->conn[n] != conn)
			continue;
		if (up)
			node_hello(a, conn);
		if (down) {
			a->conn[n] = 0;
			a->up[n] = false;
			a->req[n] = 0;
		}
		if (m && m->type == VMS_MSG_HELLO && m->flags & VMS_F_REPLY)
			a->up[n] = m->status == 0;
		if (m && (m->type == VMS_MSG_FLOOR || m->type == VMS_MSG_TRIM) &&
		    m->flags & VMS_F_REPLY && m->req_id == a->req[n]) {
			a->req[n] = 0;
			a->floored |= m->status ? 0 : a->led[n];
		}
		return true;
	}
	return false;
}

/* FLOOR with the volume's numbers at the primary of every partition, as part/ tells now;
 * who takes over later learns of them before it serves. True: all have answered. */
bool adm_floors(struct sim_admin *a, uint64_t branch)
{
	struct sim *s = a->p->s;
	struct sim_parts ps;
	bool all;

	sim_parts(s, &ps);
	all = a->floored == (1u << ps.n) - 1;
	for (unsigned n = 1; n <= s->plan.nodes && !all; n++) {
		uint32_t led = 0;
		struct vms_msg m = {.type = VMS_MSG_FLOOR,
				    .flags = VMS_F_FUA,
				    .partition = VMS_PART_NONE,
				    .branch = branch,
				    .snap_gen = a->v.snap_gen,
				    .lun_fence = a->v.lun_fence,
				    .sequence = ps.mod};

		if (a->step == SIZE_TRIM) {
			m.type = VMS_MSG_TRIM;
			m.flags = 0;
			m.extent = (uint32_t)(a->v.size_bytes / VMS_EXTENT_BYTES);
			m.aux = (uint32_t)(a->v.size_bytes % VMS_EXTENT_BYTES / VMS_CHUNK_BYTES);
		}

		for (unsigned i = 0; i < ps.n; i++)
			led |= (uint32_t)(ps.c[i].primary == n) << i;
		if (!(led & ~a->floored))
			continue;
		if (!a->conn[n]) {
			a->conn[n] = sim_connect(s, a->p, &s->p[n]);
		} else if (a->up[n] && !a->req[n]) {
			a->req[n] = m.req_id = ++a->next_req + 1;
			a->led[n] = led;
			sim_send(s, a->p, a->conn[n], &m);
		}
	}
	if (!all)
		adm_later(a, ADM_POLL_US);
	return all;
}

/* ---- auditor ---- */

bool adm_audit(struct sim_admin *a, struct sim_vol *v)
{
	struct sim *s = a->p->s;
	struct client *c = &s->cl[SIM_AUDITOR];
	struct client_op *o = &c->op[0];

	if (o->used && s->now_us - o->start_us > AUDIT_US) {
		o->used = false;
		o->status = VMS_E_TIMEOUT;
		sim_path_use(s, c, -1);
	}
	if (o->used) {
		adm_later(a, 2000);
		return false;
	}
	if (a->reading && o->status == 0)
		a->at++;
	a->reading = false;
	if (a->at >= s->plan.hot_chunks) {
		sim_path_use(s, c, -1);
		return true;
	}
	if (c->gw < 0 || !c->path[c->gw].up ||
	    !sim_vol_ready(s, &s->p[1 + s->plan.nodes + (unsigned)c->gw], a->vol)) {
		unsigned g = (unsigned)vms_rng_below(&s->rng, s->plan.gateways);

		sim_path_use(s, c,
			     sim_vol_ready(s, &s->p[1 + s->plan.nodes + g], a->vol) ? (int)g : -1);
	}
	if (c->gw >= 0) {
		uint64_t lba = s->hot[a->at] * VMS_CHUNK_BLOCKS, n = 8 * VMS_CHUNK_BLOCKS;

		n = sim_vol_clip(v, lba, n);
		o->status = n ? VMS_E_TIMEOUT : 0;
		if (n)
			sim_read(s, c, 0, (unsigned)(v - s->vol), lba, (uint32_t)n);
		a->reading = true;
	}
	adm_later(a, c->gw >= 0 ? 2000 : 100000);
	return false;
}

/* ---- jobs ---- */

static void job_pick(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	unsigned d = (unsigned)vms_rng_below(&s->rng, 100);
	unsigned i = (unsigned)vms_rng_below(&s->rng, SIM_VOLS_MAX);
	struct sim_vol *v = &s->vol[i];

	if (!s->vol[0].id || s->stopping || s->now_us < a->next_job_us)
		return;
	a->at = 0;
	a->reading = false;
	if (s->plan.resize && (d < 20 || s->plan.resize == SIM_RESIZE_ONLY)) {
		adm_go(a, SIZE_GET);
		return;
	}
	if (d < 50) {
		if (adm_vol_free(s))
			adm_go(a, SNAP_GET);
		return;
	}
	if (!i || !v->id)
		return;
	a->vol = i;
	a->vol_id = v->id;
	if (!v->snap) {
		if (d < 70) {
			v->want = false;
			adm_go(a, DELV_CLOSE);
		}
	} else if (!v->read) {
		return;
	} else if (d < 75) {
		if (adm_vol_free(s))
			adm_go(a, CLONE_SNAP);
	} else if (d < 85) {
		s->vol[0].want = false;
		adm_go(a, BACK_CLOSE);
	} else {
		adm_go(a, DELS_READ);
	}
}

void adm_volume_get(struct sim_admin *a, const char *name)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_volume(key, name, NULL);
	adm_get(a, key);
}
/* false: not there. */
bool adm_volume_got(struct sim_admin *a)
{
	struct vms_cat_kv kv;

	if (!a->kv.n)
		return false;
	kv = adm_kv(a, 0);
	a->vrev = kv.mod_revision;
	return vms_cat_volume_decode(&kv, &a->v, NULL) == 0;
}
bool adm_volume_free(struct sim_admin *a)
{
	struct sim *s = a->p->s;

	if (!a->asked) {
		adm_volume_get(a, s->vol[0].name);
		return false;
	}
	if (a->status || !adm_volume_got(a)) {
		adm_end(a);
		return false;
	}
	if (!a->v.barrier)
		return true;
	if (a->seen_barrier != a->v.barrier_id)
		a->seen_us = s->now_us;
	a->seen_barrier = a->v.barrier_id;
	if (s->now_us - a->seen_us > OLD_US)
		adm_go(a, DROP_GET);
	else
		adm_later(a, 200000);
	return false;
}
void adm_ack_prefix(struct sim_admin *a, char *out)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "ack/%016" PRIx64 "/", a->v.id);
}

void adm_opens(struct sim_admin *a, enum step next)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (!a->asked) {
		snprintf(key, sizeof(key), "open/%016" PRIx64 "/", a->v.id);
		adm_range(a, key);
		return;
	}
	if (a->status) {
		adm_go(a, DROP_GET);
		return;
	}
	a->ngw = 0;
	for (size_t i = 0; i < a->kv.n && a->ngw < 32; i++) {
		struct vms_cat_kv kv = adm_kv(a, i);
		struct vms_cat_open o;

		if (!vms_cat_open_decode(&kv, &o, NULL))
			a->gw[a->ngw++] = o.gateway;
	}
	adm_go(a, next);
}

/* One step of the making of a snapshot. */
static void delete_step(struct sim_admin *a)
{
	struct sim *s = a->p->s;
	struct sim_vol *v = adm_vol_of_job(a);
	char key[VMS_CAT_KEY_BYTES_MAX], bk[VMS_CAT_KEY_BYTES_MAX];

	switch (a->step) {
	case DELS_READ: /* its last content is its first */
		if (!adm_audit(a, v))
			return;
		v->want = false;
		adm_go(a, DELS_CLOSE);
		return;
	case DELS_CLOSE:
	case DELV_CLOSE:
		if (sim_vol_open_anywhere(s, a->vol))
			adm_later(a, ADM_POLL_US);
		else
			adm_go(a, a->step + 1);
		return;
	case DELS_GET:
	case DELV_GET:
		if (!a->asked) {
			snprintf(key, sizeof(key), "%s/%s", v->snap ? "snap" : "volume", v->name);
			adm_get(a, key);
			return;
		}
		if (a->status) {
			adm_later(a, 100000);
		} else if (!a->kv.n) {
			s->r->deleted++;
			sim_note(s, "admin: %s is deleted", v->name);
			vol_drop(s, v);
			adm_end(a);
		} else if (a->step == DELS_GET) {
			a->srev = a->kv.d[0].mod;
			adm_go(a, DELS_TXN);
		} else {
			adm_volume_got(a);
			adm_go(a, DELV_BRANCH);
		}
		return;
	case DELS_TXN: {
		struct vms_cat_cmp cmp = {key, a->srev};
		struct vms_cat_op op = {key, NULL, 0};

		if (a->asked) {
			adm_go(a, DELS_GET);
			return;
		}
		snprintf(key, sizeof(key), "snap/%s", v->name);
		adm_txn(a, &cmp, 1, &op, 1);
		return;
	}
	case DELV_BRANCH:
		if (!a->asked) {
			vms_cat_key_branch(key, a->v.branch);
			adm_get(a, key);
		} else if (a->status) {
			adm_later(a, 100000);
		} else {
			struct vms_cat_kv kv = adm_kv(a, 0);

			a->brev = kv.mod_revision;
			vms_assert(vms_cat_branch_decode(&kv, &a->b, NULL) == 0);
			adm_go(a, DELV_TXN);
		}
		return;
	default: {
		struct vms_cat_cmp cmp[] = {{key, a->vrev}, {bk, a->brev}};
		struct vms_cat_op op[] = {{key, NULL, 0}, {bk, NULL, 0}};

		if (a->asked) {
			adm_go(a, DELV_GET);
			return;
		}
		vms_cat_key_volume(key, a->v.name, NULL);
		vms_cat_key_branch(bk, a->v.branch);
		a->b.state = 2;
		op[1].val = vms_cat_branch_encode(&a->b);
		adm_txn(a, cmp, 2, op, 2);
		free((char *)op[1].val);
	}
	}
}

/* Everything goes: snapshots, volumes, and all branches die. */
static void empty_step(struct sim_admin *a)
{
	static const char *const prefix[] = {"snap/", "volume/", "branch/"};
	struct vms_cat_op op[VMS_CAT_TXN_OPS_MAX];
	unsigned no = 0;

	if (a->step == EMPTY_DONE)
		return;
	if (a->step < EMPTY_TXN) {
		if (!a->asked) {
			if (a->step == EMPTY_SNAPS)
				adm_doomed_clear(a);
			adm_range(a, prefix[a->step - EMPTY_SNAPS]);
			return;
		}
		if (a->status) {
			adm_later(a, 100000);
			return;
		}
		for (size_t i = 0; i < a->kv.n; i++) {
			struct vms_cat_kv kv = adm_kv(a, i);
			struct vms_cat_branch b;
			struct kv *d = VMS_VEC_ADD(&a->doomed);

			snprintf(d->key, sizeof(d->key), "%s", kv.key);
			if (a->step != EMPTY_BRANCHES || vms_cat_branch_decode(&kv, &b, NULL))
				continue;
			b.state = 2;
			d->val = vms_cat_branch_encode(&b);
		}
		adm_go(a, a->step + 1);
		return;
	}
	if (a->asked) {
		adm_go(a, a->status ? EMPTY_SNAPS : EMPTY_DONE);
		return;
	}
	for (size_t i = 0; i < a->doomed.n && no < VMS_CAT_TXN_OPS_MAX; i++)
		op[no++] = (struct vms_cat_op){a->doomed.d[i].key, a->doomed.d[i].val, 0};
	adm_txn(a, NULL, 0, op, no);
}

bool sim_admin_empty(struct sim *s)
{
	struct sim_admin *a = s->admin;

	if (a->step == IDLE)
		adm_go(a, EMPTY_SNAPS);
	return a->step == EMPTY_DONE;
}

bool sim_admin_idle(const struct sim *s)
{
	return !s->plan.admin || s->admin->step == IDLE;
}

void sim_admin_turn(struct sim *s, struct proc *p)
{
	struct sim_admin *a = s->admin;

	if (!s->plan.admin)
		return;
	/* as long as something is to be done and nothing has to be waited for */
	for (unsigned i = 0; i < 20 && !s->failed; i++) {
		if (a->asked && !a->answered)
			return;
		if (a->again_us > s->now_us)
			return;
		if (a->step == IDLE)
			job_pick(a);
		if (a->step == IDLE)
			return;
		if (a->step <= SNAP_READ)
			adm_snap_step(a);
		else if (a->step <= DROP_TXN)
			adm_drop_step(a);
		else if (a->step <= CLONE_FLOOR)
			adm_clone_step(a);
		else if (a->step <= BACK_CHECK)
			adm_back_step(a);
		else if (a->step <= DELV_TXN)
			delete_step(a);
		else if (a->step >= SIZE_GET)
			adm_resize_step(a);
		else
			empty_step(a);
		if (a->step == EMPTY_DONE)
			return;
	}
}

void sim_admin_start(struct sim *s, struct proc *p)
{
	struct sim_admin *a = calloc(1, sizeof(*a));

	vms_assert(a);
	a->p = p;
	s->admin = a;
	a->next_job_us = vms_rng_below(&s->rng, s->plan.admin_us + 1);
}

void sim_admin_stop(struct sim *s, struct proc *p)
{
	struct sim_admin *a = s->admin;

	if (!a)
		return;
	kv_clear(a);
	adm_doomed_clear(a);
	VMS_VEC_FREE(&a->kv);
	VMS_VEC_FREE(&a->doomed);
	free(a);
	s->admin = NULL;
}
