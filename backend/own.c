// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which pages of a clone are its own, and which still those of its ancestors.
 *
 * What an ancestor shows is sealed, so a page of which nothing is the clone's own is the
 * same for all clones of one snapshot, for ever (but for addresses that are GONE and then
 * asked for again). A gateway keeps one copy for all of them; what it has to be told of is
 * the first write to such a page, so it is a holder of it like of any other page. Anything
 * ordered counts as own, committed or not.
 * Owner: the node thread. Keeps invariants 2, 3 (rules A4, A5).
 */
#include "backend/own.h"

#include "backend/branch.h"
#include "backend/holders.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_session.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/bytes.h"

/* Sub-extents that hold chunks in [first, end) of their extent. */
static uint8_t subexts_of(unsigned first, unsigned end)
{
	uint8_t m = 0;

	for (unsigned s = first / VMS_SUBEXT_CHUNKS; s * VMS_SUBEXT_CHUNKS < end; s++)
		m |= (uint8_t)(1u << s);
	return m;
}

uint8_t own_in_log(const struct vms_node *n, const struct part *p, uint64_t branch, uint32_t extent)
{
	const struct vms_ovl_ext *e = vms_ovl_line(&n->ovl, p->number, branch, extent, UINT64_MAX);
	uint8_t own = 0;

	for (; e; e = e->older) {
		for (unsigned g = 0; g < VMS_EXTENT_CHUNKS / VMS_OVL_GROUP_CHUNKS; g++)
			if (e->group[g])
				own |= subexts_of(g * VMS_OVL_GROUP_CHUNKS,
						  (g + 1) * VMS_OVL_GROUP_CHUNKS);
		for (uint32_t r = 0; r < e->nranges; r++)
			own |= subexts_of(e->range[r].first, e->range[r].first + e->range[r].count);
	}
	return own;
}

void own_serve(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	unsigned count = m->body_bytes / VMS_OWN_ASK_BYTES;
	struct branch *b = node_branch(n, m->branch, false);
	uint8_t body[VMS_OWN_MAX * VMS_OWN_REPLY_BYTES];
	struct vms_msg re;

	if (!count || count > VMS_OWN_MAX || m->body_bytes % VMS_OWN_ASK_BYTES) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	if (!b || !b->known) {
		node_reply(n, c->id, m, VMS_E_AGAIN);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *q = m->body + i * VMS_OWN_ASK_BYTES;
		uint32_t extent = vms_get_le32(q + 4);
		struct part *p = node_part(n, vms_get_le32(q));
		int rc = read_check(n, p, vms_get_le64(q + 8));
		uint8_t own = 0xff;

		if (!rc && p->cand && n->mut != MUT_ADD_PAGES)
			rc = VMS_E_AGAIN; /* as for pages */
		if (!rc && b->nancestors)
			own = own_in_log(n, p, m->branch, extent) |
			      vms_pages_own(n->pages, p->number, m->branch, extent);
		if (!rc && own != 0xff)
			vms_holder_add(&n->holders, p->number, m->branch, extent, c->sess->gateway,
				       (uint8_t)~own);
		vms_put_le16(body + i * VMS_OWN_REPLY_BYTES, (uint16_t)(int16_t)rc);
		body[i * VMS_OWN_REPLY_BYTES + 2] = own;
		body[i * VMS_OWN_REPLY_BYTES + 3] = 0;
	}
	session_holders_trim(n);
	vms_msg_reply_init(&re, m, 0);
	re.body = body;
	re.body_bytes = count * VMS_OWN_REPLY_BYTES;
	node_send(n, c->id, &re);
}
