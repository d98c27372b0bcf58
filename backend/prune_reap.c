// SPDX-License-Identifier: GPL-2.0-only
/* Dead branches of which nothing is left: what a node says of its partitions (reaped/), and
 * the end of their records. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/branch.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/prune_int.h"
#include "cluster/catalog.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define TXN_KEYS 100u

static char *bits_encode(const struct vms_node *n, const uint8_t *bits)
{
	size_t bytes = prune_bits_bytes(n);
	char *t = malloc(2 * bytes + 1);

	vms_assert(t);
	for (size_t i = 0; i < bytes; i++)
		snprintf(t + 2 * i, 3, "%02x", bits[i]);
	return t;
}

static void key_reaped(char *out, uint64_t branch, uint32_t node)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "reaped/%016llx/%08x", (unsigned long long)branch,
		 node);
}

static void reap_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct prune *pr = n->prune;

	pr->busy = false;
	/* whatever came of it: read again, where it stands */
	prune_again_in(n, pr, r->status ? 2ull * n->tm.tick_ms : 1);
}

/* What this node may say of a dead branch now, as text; NULL: nothing new. What was found is
 * durable on all members, and has been found by the one that leads still. */
static char *say(struct vms_node *n, struct prune *pr, const struct pbranch *b)
{
	uint8_t *bits = calloc(1, prune_bits_bytes(n));
	char *text = NULL;
	bool any = n->mut == MUT_PRUNE_NODES;

	vms_assert(bits);
	VMS_VEC_FOREACH (&pr->reaped, r)
		for (size_t i = 0; r->branch == b->branch && r->node == n->id && r->bits &&
				   i < prune_bits_bytes(n);
		     i++)
			bits[i] |= r->bits[i];
	VMS_VEC_FOREACH (&pr->clean, c)
		for (uint32_t i = 0; c->branch == b->branch && i < n->nparts; i++) {
			const struct part *p = n->part[i];

			if (!prune_bit(c->bits, i) || prune_bit(bits, i) || !p || !p->known ||
			    !p->primary || p->conf.epoch != pr->clean_epoch[i] ||
			    p->safe_seq < p->prune_seq)
				continue;
			bits[i / 8] |= (uint8_t)(1u << i % 8);
			any = true;
		}
	if (any)
		text = bits_encode(n, bits);
	free(bits);
	return text;
}

void prune_reap(struct vms_node *n, struct prune *pr)
{
	char(*keys)[VMS_CAT_KEY_BYTES_MAX] = calloc(TXN_KEYS + 1, sizeof(*keys));
	struct vms_cat_op op[TXN_KEYS + 1];
	struct vms_cat_cmp cmp;
	unsigned k = 0, ncmp = 0, said;
	bool later = false;

	vms_assert(keys);
	VMS_VEC_FOREACH (&pr->br, b) {
		char *text;

		if (!prune_gone(b) || b->left || b->here || k == TXN_KEYS)
			continue;
		text = say(n, pr, b);
		if (!text) { /* the lead has changed since */
			later = true;
			continue;
		}
		key_reaped(keys[k], b->branch, (uint32_t)n->id);
		op[k] = (struct vms_cat_op){keys[k], text, 0};
		k++;
	}
	said = k;
	VMS_VEC_FOREACH (&pr->reaped, r) {
		/* left over by the one that removed the record */
		if (k || prune_find(&pr->br, r->branch))
			continue;
		key_reaped(keys[k], r->branch, r->node);
		op[k] = (struct vms_cat_op){keys[k], NULL, 0};
		k++;
	}
	VMS_VEC_FOREACH (&pr->br, b) {
		if (k || !prune_gone(b) || !b->all)
			continue;
		vms_cat_key_branch(keys[k], b->branch);
		cmp = (struct vms_cat_cmp){keys[k], b->rev};
		ncmp = 1;
		op[k] = (struct vms_cat_op){keys[k], NULL, 0};
		k++;
		VMS_VEC_FOREACH (&pr->reaped, r) {
			if (r->branch != b->branch || k > TXN_KEYS)
				continue;
			key_reaped(keys[k], r->branch, r->node);
			op[k] = (struct vms_cat_op){keys[k], NULL, 0};
			k++;
		}
	}
	if (k) {
		pr->busy = true;
		n->cat->ops->txn(n->cat, &cmp, ncmp, op, k, reap_done, n);
	} else if (later) {
		prune_again_in(n, pr, 8ull * n->tm.tick_ms);
	} else {
		pr->phase = PR_IDLE;
	}
	for (unsigned i = 0; i < said; i++)
		free((char *)op[i].val);
	free(keys);
}

bool prune_settled(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (p && p->known && p->primary && p->safe_seq < p->prune_seq)
			return false;
	}
	return true;
}
