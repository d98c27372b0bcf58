// SPDX-License-Identifier: GPL-2.0-only
/* Records that take effect at once, without a write: TRIM, DROP, SWEEP, PUNCH, SHARE. */
#include "backend/apply.h"

#include <stdlib.h>

#include "backend/apply_int.h"
#include "backend/collect.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_session.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

static void trim_dropped(void *arg, vms_addr a)
{
	struct part *p = arg;

	gc_moved(p->node, p, a, VMS_ADDR_HOLE, false, p->applied + 1);
}

/* Trims and drops: false: a page is damaged and must be repaired first. What was done
 * already is not done again. */
bool apply_trim(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	uint64_t first = vms_rec_trim_first(r);
	size_t k = 0;
	int rc = 0;

	p->node = n;
	vms_ovl_trim(&n->ovl, &p->ovl, r->branch, first, r->seq);
	if (!(r->aux & VMS_TRIM_OVERLAY))
		rc = vms_pages_trim(n->pages, p->number, r->branch, first, r->seq, trim_dropped, p);
	if (rc)
		return false;
	/* a page that was given out until now shows what was there */
	if (p->primary && !(r->aux & VMS_TRIM_OVERLAY))
		session_void_branch(n, p, r->branch);
	for (size_t i = 0; i < p->trims.n; i++)
		if (p->trims.d[i].seq > r->seq)
			p->trims.d[k++] = p->trims.d[i];
	p->trims.n = k;
	p->drain_applied = r->seq;
	return true;
}

bool apply_drop(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	struct vms_drop d[VMS_DROPS_MAX];
	int k = vms_rec_drops_decode(r, d), rc = 0;

	if (k < 0)
		node_fatal(n, VMS_E_CORRUPT, "partition %u: record %llu cannot be decoded",
			   p->number, (unsigned long long)r->seq);
	p->node = n;
	for (int i = 0; i < k && rc >= 0; i++) {
		struct vms_page_key key = {p->number, d[i].branch, d[i].subext, d[i].snap_gen};

		rc = vms_pages_drop(n->pages, &key, r->seq, trim_dropped, p);
		n->st.pages_dropped += rc == 0;
	}
	if (rc < 0)
		return false;
	p->drain_applied = r->seq;
	return true;
}

void apply_sweep(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	for (uint32_t i = 0; i + 8 <= r->meta_bytes; i += 8) {
		struct ctr *c = part_ctr(p, vms_get_le64(r->meta + i));

		if (!c)
			continue;
		c->state = 3;
		c->dirty = true;
		n->st.swept++;
	}
}

void apply_punch(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	struct vms_punch *d = malloc(VMS_PUNCHES_MAX * sizeof(*d));
	uint64_t number;
	struct ctr *c;
	int k;

	vms_assert(d);
	k = vms_rec_punch_decode(r, &number, d, VMS_PUNCHES_MAX);
	c = k < 0 ? NULL : part_ctr(p, number);
	if (k < 0)
		node_fatal(n, VMS_E_CORRUPT, "partition %u: record %llu cannot be decoded",
			   p->number, (unsigned long long)r->seq);
	for (int i = 0; c && i < k; i++)
		places_or(&c->dead, d[i].seg, d[i].places);
	if (c && k > 0) {
		ctr_holes(n, c, d[0].seg, d[k - 1].seg + 1);
		c->dead_dirty = c->dirty = true;
		n->hungry = true;
	}
	if (c && c->punching)
		c->punching--;
	free(d);
}

void apply_share(struct part *p, const struct vms_rec *r)
{
	for (uint32_t i = 0; i + 8 <= r->meta_bytes; i += 8) {
		struct ctr *c = part_ctr(p, vms_get_le64(r->meta + i));

		if (!c || c->shared)
			continue;
		c->shared = c->sharing = true;
		c->dirty = true;
	}
}
