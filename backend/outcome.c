// SPDX-License-Identifier: GPL-2.0-only
/* Outcomes of ops; see outcome.h. Index keys: doc/disk-format.md "Index". */
#include "backend/outcome.h"

#include <string.h>

#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define KEY_BYTES 19u
#define VAL_BYTES 24u

void vms_outcomes_init(struct vms_outcomes *t)
{
	memset(t, 0, sizeof(*t));
	vms_htab_init(&t->tab, 4096);
}

void vms_outcomes_close(struct vms_outcomes *t)
{
	while (t->oldest)
		vms_outcome_drop(t, t->oldest);
	vms_htab_free(&t->tab);
}

static uint64_t key_of(uint32_t partition, const struct vms_opid *op)
{
	return vms_mix64(op->incarnation * 0x9e3779b97f4a7c15ull + op->gateway) ^
	       ((uint64_t)op->slot << 20) ^ partition;
}

struct vms_outcome *vms_outcome_find(const struct vms_outcomes *t, uint32_t partition,
				     const struct vms_opid *op)
{
	struct vms_hlink *l = vms_htab_find(&t->tab, key_of(partition, op));

	for (; l; l = vms_htab_next(l)) {
		struct vms_outcome *o = vms_hlink_entry(l, struct vms_outcome, link);

		if (o->partition == partition && o->op.gateway == op->gateway &&
		    o->op.incarnation == op->incarnation && o->op.slot == op->slot)
			return o;
	}
	return NULL;
}

static void unlink_age(struct vms_outcomes *t, struct vms_outcome *o)
{
	if (t->passed == o)
		t->passed = o->older;
	if (o->older)
		o->older->newer = o->newer;
	else
		t->oldest = o->newer;
	if (o->newer)
		o->newer->older = o->older;
	else
		t->newest = o->older;
}

static void link_newest(struct vms_outcomes *t, struct vms_outcome *o)
{
	o->newer = NULL;
	o->older = t->newest;
	if (t->newest)
		t->newest->newer = o;
	else
		t->oldest = o;
	t->newest = o;
}

struct vms_outcome *vms_outcome_put(struct vms_outcomes *t, uint32_t partition,
				    const struct vms_opid *op, int32_t status, uint32_t aux,
				    uint64_t seq, uint64_t log_pos, uint64_t now_ms)
{
	struct vms_outcome *o = vms_outcome_find(t, partition, op);

	if (o) {
		if (o->op.sequence > op->sequence)
			return o;
		unlink_age(t, o);
	} else {
		o = calloc(1, sizeof(*o));
		vms_assert(o);
		o->partition = partition;
		vms_htab_add(&t->tab, &o->link, key_of(partition, op));
		t->n++;
	}
	o->op = *op;
	o->status = status;
	o->aux = aux;
	o->seq = seq;
	o->log_pos = log_pos;
	o->time_ms = now_ms;
	o->pending = NULL;
	o->held = false;
	/* a stored key stays in the index under the same key: rewritten or deleted later */
	link_newest(t, o);
	return o;
}

void vms_outcome_settle(struct vms_outcomes *t, struct vms_outcome *o, uint64_t now_ms)
{
	o->pending = NULL;
	o->held = false;
	o->time_ms = now_ms;
	unlink_age(t, o);
	link_newest(t, o);
}

void vms_outcome_drop(struct vms_outcomes *t, struct vms_outcome *o)
{
	unlink_age(t, o);
	vms_htab_del(&t->tab, &o->link);
	t->n--;
	free(o);
}

static void key_encode(uint8_t *k, const struct vms_outcome *o)
{
	k[0] = 'O';
	vms_put_be16(k + 1, (uint16_t)o->partition);
	vms_put_be32(k + 3, o->op.gateway);
	vms_put_be64(k + 7, o->op.incarnation);
	vms_put_be32(k + 15, o->op.slot);
}

int vms_outcomes_expire(struct vms_outcomes *t, uint64_t before_ms, struct vms_meta_batch *b)
{
	struct vms_outcome *o = b || !t->passed ? t->oldest : t->passed->newer, *next;
	bool all_stored = true;
	int rc = 0;

	for (; o && o->time_ms < before_ms && !rc; o = next) {
		next = o->newer;
		t->looked++;
		if (o->pending) {
			all_stored = false;
			continue;
		}
		if (o->stored) {
			uint8_t k[KEY_BYTES];

			if (!b) {
				/* waits for the next checkpoint; until then nobody comes by here
				 * again, as there may be 100,000 of them and this runs every few
				 * milliseconds */
				if (all_stored)
					t->passed = o;
				continue;
			}
			key_encode(k, o);
			rc = vms_meta_batch_del(b, k, sizeof(k));
		}
		vms_outcome_drop(t, o);
	}
	return rc;
}

int vms_outcomes_store(struct vms_outcomes *t, uint64_t log_pos, struct vms_meta_batch *b)
{
	int rc = 0;

	for (struct vms_outcome *o = t->oldest; o && !rc; o = o->newer) {
		uint8_t k[KEY_BYTES], v[VAL_BYTES];

		if (o->log_pos >= log_pos || o->log_pos == 0)
			continue;
		key_encode(k, o);
		vms_put_le64(v, o->op.sequence);
		vms_put_le32(v + 8, (uint32_t)o->status);
		vms_put_le32(v + 12, o->aux);
		vms_put_le64(v + 16, o->seq);
		rc = vms_meta_batch_put(b, k, sizeof(k), v, sizeof(v));
		o->stored = true;
		o->log_pos = 0; /* in the index now */
	}
	return rc;
}

int vms_outcomes_drop_part(struct vms_outcomes *t, uint32_t partition, struct vms_meta_batch *b)
{
	struct vms_outcome *o = t->oldest, *next;
	int rc = 0;

	for (; o && !rc; o = next) {
		next = o->newer;
		if (o->partition != partition || o->pending)
			continue;
		if (o->stored) {
			uint8_t k[KEY_BYTES];

			key_encode(k, o);
			rc = vms_meta_batch_del(b, k, sizeof(k));
		}
		vms_outcome_drop(t, o);
	}
	return rc;
}

static int op_cmp(const struct vms_opid *a, const struct vms_opid *b)
{
	if (a->gateway != b->gateway)
		return a->gateway < b->gateway ? -1 : 1;
	if (a->incarnation != b->incarnation)
		return a->incarnation < b->incarnation ? -1 : 1;
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static int ptr_cmp(const void *a, const void *b)
{
	return op_cmp(&(*(const struct vms_outcome *const *)a)->op,
		      &(*(const struct vms_outcome *const *)b)->op);
}

unsigned vms_outcomes_list(const struct vms_outcomes *t, uint32_t partition,
			   const struct vms_opid *after, const struct vms_outcome **out,
			   unsigned room)
{
	VMS_VEC(const struct vms_outcome *) all = VMS_VEC_INIT;
	unsigned k = 0;

	for (const struct vms_outcome *o = t->oldest; o; o = o->newer)
		if (o->partition == partition && (!o->pending || o->held) &&
		    (!after || op_cmp(&o->op, after) > 0))
			VMS_VEC_PUSH(&all, o);
	if (all.n)
		qsort(all.d, all.n, sizeof(*all.d), ptr_cmp);
	for (; k < room && k < all.n; k++)
		out[k] = all.d[k];
	VMS_VEC_FREE(&all);
	return k;
}

void vms_outcomes_again(struct vms_outcomes *t, const uint8_t *key, uint32_t key_bytes)
{
	for (struct vms_outcome *o = t->oldest; o && key_bytes == KEY_BYTES; o = o->newer) {
		uint8_t k[KEY_BYTES];

		key_encode(k, o);
		if (!memcmp(k, key, KEY_BYTES) && o->stored && !o->log_pos)
			o->log_pos = 1; /* below all records */
	}
}

struct load {
	struct vms_outcomes *t;
	uint64_t now_ms;
	int rc;
};

static int load_one(void *arg, const uint8_t *k, uint32_t kb, const uint8_t *v, uint32_t vb)
{
	struct load *l = arg;
	struct vms_opid op;
	struct vms_outcome *o;
	int n = vms_meta_check(k, kb, v, vb);

	if (n != (int)VAL_BYTES || kb != KEY_BYTES) {
		l->rc = VMS_E_CORRUPT;
		return 1;
	}
	op.gateway = vms_get_be32(k + 3);
	op.incarnation = vms_get_be64(k + 7);
	op.slot = vms_get_be32(k + 15);
	op.sequence = vms_get_le64(v);
	o = vms_outcome_put(l->t, vms_get_be16(k + 1), &op, (int32_t)vms_get_le32(v + 8),
			    vms_get_le32(v + 12), vms_get_le64(v + 16), 0, l->now_ms);
	o->stored = true;
	return 0;
}

int vms_outcomes_load(struct vms_outcomes *t, const struct vms_disk *d, uint64_t now_ms)
{
	struct load l = {t, now_ms, 0};
	int rc = d->ops->meta_range(d->ctx, "O", 1, "P", 1, load_one, &l);

	if (l.rc)
		return l.rc;
	return rc < 0 ? rc : 0;
}
