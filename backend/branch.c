// SPDX-License-Identifier: GPL-2.0-only
/*
 * Branches and volumes: which pages show through which, salts, floors, as the
 * catalog tells them.
 *
 * A branch counts as known only when its record has been read, or the catalog has
 * said that there is none (a volume of the first release; a branch whose last page
 * went long ago), as of a revision made after the question: then it has no ancestors. Watches of
 * different prefixes run independently, so a volume seen before its branch means nothing: the
 * record is asked for. What is known of a branch never changes, so every replica applies a record
 * to the same pages; until then requests are answered AGAIN and the apply lane waits. Keeps
 * invariants 4, 5, 17 (rules D1, D4, D5).
 */
#include "backend/branch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/apply.h"
#include "backend/htab.h"
#include "backend/node_cat.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_session.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define ASK_MS(n) ((n)->tm.tick_ms / 8 + 1)

struct branch *node_branch(struct vms_node *n, uint64_t branch, bool create)
{
	struct vms_hlink *l = vms_htab_find(&n->branches, branch);
	struct branch *b;

	if (l)
		return vms_hlink_entry(l, struct branch, link);
	if (!create)
		return NULL;
	b = calloc(1, sizeof(*b));
	vms_assert(b);
	b->dedup = true;
	vms_htab_add(&n->branches, &b->link, branch);
	return b;
}

struct volume *node_volume(struct vms_node *n, uint64_t id, bool create)
{
	struct vms_hlink *l = vms_htab_find(&n->volumes, id);
	struct volume *v;

	if (l)
		return vms_hlink_entry(l, struct volume, link);
	if (!create)
		return NULL;
	v = calloc(1, sizeof(*v));
	vms_assert(v);
	v->dedup = true;
	vms_htab_add(&n->volumes, &v->link, id);
	return v;
}

struct volume *branch_volume(struct vms_node *n, uint64_t branch)
{
	struct branch *b = node_branch(n, branch, false);

	return b ? b->volume : NULL;
}

static void own(struct vms_node *n, struct branch *b, uint64_t id)
{
	struct volume *v = node_volume(n, id, true);

	if (b->volume == v)
		return;
	for (struct branch **at = b->volume ? &b->volume->branches : NULL; at && *at;
	     at = &(*at)->next_own)
		if (*at == b) {
			*at = b->next_own;
			break;
		}
	b->owner = id;
	b->volume = v;
	b->dedup = v->dedup;
	b->next_own = v->branches;
	v->branches = b;
}

void branch_raise(struct branch *b, uint64_t snap_gen, uint64_t fence)
{
	if (snap_gen > b->gen_min)
		b->gen_min = snap_gen;
	if (fence > b->fence_min)
		b->fence_min = fence;
}

static void learned(struct vms_node *n, struct branch *b)
{
	b->known = true;
	/* what shows through is sealed: nothing may be written below it any more */
	for (unsigned i = 0; i < b->nancestors; i++)
		branch_raise(node_branch(n, b->ancestor[i].branch, true),
			     b->ancestor[i].snap_gen + 1, 0);
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (p && p->branch_wait) {
			p->branch_wait = false;
			apply_run(n, p);
		}
	}
}

void branch_on_record(struct vms_node *n, const struct vms_cat_branch *r)
{
	struct branch *b = node_branch(n, r->branch, true);
	uint64_t limit = UINT64_MAX;

	b->dead |= r->state == 2;
	if (b->known)
		return; /* the rest is fixed for good */
	for (unsigned i = 0; i < r->nancestors; i++) {
		/* numbers are taken in turn, and drains rely on it: older first */
		if (r->ancestor[i].branch >= r->branch ||
		    (i && r->ancestor[i].branch >= r->ancestor[i - 1].branch)) {
			node_log(n, VMS_LOG_ERROR,
				 "the catalog's record of branch %llu names ancestors that are not "
				 "older: the branch is not served",
				 (unsigned long long)r->branch);
			return;
		}
		if (r->ancestor[i].limit_chunks < limit)
			limit = r->ancestor[i].limit_chunks;
		b->ancestor[i] = r->ancestor[i];
		b->ancestor[i].limit_chunks = n->mut == MUT_LIMIT ? UINT64_MAX : limit;
		if (n->mut == MUT_CEILING)
			b->ancestor[i].snap_gen++;
	}
	b->nancestors = r->nancestors;
	b->lineage = r->lineage;
	b->salted = r->salted;
	memcpy(b->salt, r->salt, sizeof(b->salt));
	own(n, b, r->owner);
	learned(n, b);
}

/* A number that cannot be logged now is enforced all the same. */
static void floor_log(struct vms_node *n, struct branch *b)
{
	uint64_t pos;

	if (floor_branch(n, b->link.key, b->gen_min, b->fence_min, &pos))
		n->floors_retry = true;
}

void branch_on_volume(struct vms_node *n, const struct vms_cat_volume *r)
{
	struct branch *b = node_branch(n, r->branch, true);
	struct volume *v = node_volume(n, r->id, true);

	v->known = true;
	v->write_ack = r->write_ack;
	v->dedup = r->dedup;
	v->branch = r->branch;
	v->lineage = r->lineage;
	snprintf(v->name, sizeof(v->name), "%s", r->name);
	if (!b->known)
		own(n, b, r->id);
	for (struct branch *o = v->branches; o; o = o->next_own)
		o->dedup = v->dedup;
	branch_raise(b, r->snap_gen, r->lun_fence);
	floor_log(n, b);
	branch_ask(n, b);
}

void branch_on_volume_gone(struct vms_node *n, const char *name)
{
	for (uint32_t i = 0; i <= n->volumes.mask; i++)
		for (struct vms_hlink *l = n->volumes.bucket[i]; l; l = l->next) {
			struct volume *v = vms_hlink_entry(l, struct volume, link);

			if (v->known && !strcmp(v->name, name))
				v->known = false;
		}
}

void branch_ask(struct vms_node *n, struct branch *b)
{
	if (b->known || b->asked)
		return;
	b->asked = true;
	/* its own watch usually brings it first */
	if (!n->branch_ask.n)
		n->branch_ask_ms = n->now_ms + ASK_MS(n);
	VMS_VEC_PUSH(&n->branch_ask, b->link.key);
	node_wake_at(n, n->branch_ask_ms);
}

static void asked_done(void *arg, const struct vms_cat_reply *r);

static void asked_ends(struct vms_node *n, struct branch *b, bool again)
{
	n->branch_asking = n->branch_fresh_rev = 0;
	b->asked = false;
	if (again)
		branch_ask(n, b);
	else
		branch_timer(n);
}

static void fresh_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (r->status) {
		asked_ends(n, node_branch(n, n->branch_asking, true), true);
		return;
	}
	n->branch_fresh_rev = r->revision;
	vms_cat_key_branch(key, n->branch_asking);
	n->cat->ops->get(n->cat, key, asked_done, n);
}

/* A read may be answered as of some time ago: that something is missing counts only
 * as of a revision which did not exist when the question came up. So a transaction
 * makes one. */
static void fresh_make(struct vms_node *n)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op = {key, "1", 0};

	snprintf(key, sizeof(key), "fresh/%08x", (unsigned)n->id);
	n->cat->ops->txn(n->cat, NULL, 0, &op, 1, fresh_done, n);
}

static void asked_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct branch *b = node_branch(n, n->branch_asking, true);
	struct vms_cat_branch rec;
	struct vms_errmsg e;

	if (r->status) {
		asked_ends(n, b, true);
		return;
	}
	if (r->nkv) {
		if (vms_cat_branch_decode(&r->kv[0], &rec, &e))
			node_log(n, VMS_LOG_ERROR, "%s", e.text);
		else
			branch_on_record(n, &rec);
	} else if (!b->known && !n->branch_fresh_rev && n->mut != MUT_ABSENT) {
		fresh_make(n);
		return;
	} else if (!b->known && r->revision < n->branch_fresh_rev) {
		asked_ends(n, b, true);
		return;
	} else if (!b->known) {
		if (!b->volume)
			own(n, b, b->link.key);
		b->lineage = b->volume->known ? b->volume->lineage : b->link.key;
		b->lost = !b->volume->known && n->mut != MUT_LN_BRANCH;
		learned(n, b);
	}
	asked_ends(n, b, false);
}

void branch_timer(struct vms_node *n)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (n->floors_retry) {
		n->floors_retry = false;
		floor_gateways_retry(n);
		for (uint32_t i = 0; i <= n->branches.mask; i++)
			for (struct vms_hlink *l = n->branches.bucket[i]; l; l = l->next)
				floor_log(n, vms_hlink_entry(l, struct branch, link));
	}
	while (n->branch_ask.n && !n->branch_asking) {
		struct branch *b = node_branch(n, VMS_VEC_LAST(&n->branch_ask), true);

		if (b->known) {
			b->asked = false;
			n->branch_ask.n--;
			continue;
		}
		if (n->phase < SP_RUN || n->now_ms < n->branch_ask_ms) {
			node_wake_at(n, n->branch_ask_ms);
			return;
		}
		n->branch_ask.n--;
		n->branch_asking = b->link.key;
		vms_cat_key_branch(key, n->branch_asking);
		n->cat->ops->get(n->cat, key, asked_done, n);
	}
}

int node_stack(struct vms_node *n, uint64_t branch, uint64_t snap_gen, struct vms_stack *st)
{
	struct branch *b = node_branch(n, branch, false);

	if (!b || !b->known)
		return VMS_E_AGAIN;
	/* Nothing is above what the catalog or a record has told. So a page that has not
	 * been written yet costs no seek to find out that there is no newer one. */
	if (snap_gen == VMS_GEN_LIVE && b->volume->known && b->volume->branch == branch)
		snap_gen = b->gen_min;
	st->n = 1;
	st->l[0] = (struct vms_layer){branch, snap_gen, UINT64_MAX};
	for (unsigned i = 0; i < b->nancestors; i++)
		st->l[st->n++] = (struct vms_layer){b->ancestor[i].branch, b->ancestor[i].snap_gen,
						    b->ancestor[i].limit_chunks};
	return 0;
}

bool branch_alone(struct vms_node *n, uint64_t branch)
{
	struct branch *b = node_branch(n, branch, false);

	if (!b || b->nancestors)
		return false;
	for (uint32_t i = 0; i <= n->branches.mask; i++)
		for (struct vms_hlink *l = n->branches.bucket[i]; l; l = l->next) {
			const struct branch *o = vms_hlink_entry(l, struct branch, link);

			for (unsigned k = 0; k < o->nancestors; k++)
				if (o->ancestor[k].branch == branch)
					return false;
		}
	return true;
}

static void table_close(struct vms_htab *t, void (*drop)(struct vms_hlink *l))
{
	for (uint32_t i = 0; t->bucket && i <= t->mask; i++)
		while (t->bucket[i]) {
			struct vms_hlink *l = t->bucket[i];

			t->bucket[i] = l->next;
			drop(l);
		}
	vms_htab_free(t);
}

static void drop_branch(struct vms_hlink *l)
{
	free(vms_hlink_entry(l, struct branch, link));
}

static void drop_volume(struct vms_hlink *l)
{
	free(vms_hlink_entry(l, struct volume, link));
}

void branch_close(struct vms_node *n)
{
	table_close(&n->branches, drop_branch);
	table_close(&n->volumes, drop_volume);
	VMS_VEC_FREE(&n->branch_ask);
}
