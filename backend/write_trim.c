// SPDX-License-Identifier: GPL-2.0-only
/* TRIM: the tail of an extent goes, for volumes that get smaller. */
#include "backend/branch.h"
#include "backend/lease.h"
#include "backend/node_conn.h"
#include "backend/node_flush.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/record.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/vec.h"

/* All versions of the branch lose their tail, snapshots too: for volumes that have
 * none. Without its own page an ancestor's would show again, and descendants would
 * lose what they show: refused. */
void trim_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct flush *f;

	if (m->branch == 0 || m->aux >= VMS_EXTENT_CHUNKS) {
		node_reply(n, c->id, m, VMS_E_INVAL);
		return;
	}
	if (!node_branch_known(n, m->branch) || !branch_alone(n, m->branch)) {
		node_reply(n, c->id, m,
			   node_branch_known(n, m->branch) ? VMS_E_UNSUPPORTED : VMS_E_AGAIN);
		return;
	}
	if (part_behind(n, m->sequence)) {
		node_reply(n, c->id, m, VMS_E_AGAIN);
		return;
	}
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (p && p->known && p->primary && (!part_serving(p) || !part_members_ready(p))) {
			node_reply(n, c->id, m, VMS_E_AGAIN);
			return;
		}
	}
	f = flush_new(n, c, m);
	if (!f)
		return;
	f->armed = true;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];
		struct vms_rec r = {.type = VMS_REC_TRIM,
				    .flags = VMS_RF_INTERNAL,
				    .branch = m->branch,
				    .extent = m->extent,
				    .aux = m->aux};

		if (!p || !p->known || !p->primary)
			continue;
		if (part_order(n, p, &r, NULL, 0)) {
			/* TRIM is idempotent: the tool repeats it */
			node_reply(n, c->id, m, VMS_E_BUSY);
			flush_conn_void(n, c->id);
			return;
		}
		VMS_VEC_RESERVE(&f->want, f->want.n + 1);
		f->want.d[f->want.n].part = i;
		f->want.d[f->want.n++].seq = r.seq;
	}
}
