// SPDX-License-Identifier: GPL-2.0-only
#include "cluster/placement.h"

#include <stdlib.h>
#include <string.h>

static struct vms_ring_params params_of(const struct vms_cat_cluster *c)
{
	return (struct vms_ring_params){c->part_bits, c->copies};
}

int vms_place_wants(const struct vms_cat_cluster *c, const struct vms_part_conf *part,
		    struct vms_ring_table *out)
{
	const struct vms_ring_params rp = params_of(c);
	int rc = vms_ring_table_init(out, &rp);

	for (uint32_t i = 0; !rc && i < vms_ring_parts(out); i++)
		if (part[i].epoch)
			out->row[i].n = vms_cat_part_want(&part[i], out->row[i].node);
	return rc;
}

int vms_place(const struct vms_cat_cluster *c, const struct vms_cat_node *node, unsigned nnodes,
	      const struct vms_part_conf *part, struct vms_ring_table *out, struct vms_errmsg *msg)
{
	const struct vms_ring_params rp = params_of(c);
	struct vms_ring_member *m = calloc(nnodes + 1, sizeof(*m));
	struct vms_ring_table prev;
	int rc = m ? vms_place_wants(c, part, &prev) : VMS_E_NOMEM;

	if (rc) {
		free(m);
		return vms_fail(msg, rc, "out of memory");
	}
	for (unsigned i = 0; i < nnodes; i++)
		m[i] = (struct vms_ring_member){node[i].id, vms_place_weight(&node[i]),
						node[i].zone};
	rc = vms_ring_check(&prev, m, nnodes, &rp, msg);
	if (!rc)
		rc = vms_ring_plan(&prev, m, nnodes, &rp, out);
	vms_ring_table_close(&prev);
	free(m);
	return rc;
}

bool vms_place_same(const struct vms_part_conf *part, const struct vms_ring_row *row)
{
	uint32_t want[VMS_COPIES_MAX];
	unsigned n = vms_cat_part_want(part, want);

	return n == row->n && !memcmp(want, row->node, n * sizeof(want[0]));
}
