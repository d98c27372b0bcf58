// SPDX-License-Identifier: GPL-2.0-only
/* What vmstore-ring refuses to do to a ring that holds data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/size.h"
#include "utils/tool/ring.h"

#define KEEP_PERCENT 10u /* of a node's space that a change must leave free */

static const struct view_node *was(const struct ring *r, uint32_t id)
{
	VMS_VEC_FOREACH (&r->v.nodes, x)
		if (x->n.id == id)
			return x;
	return NULL;
}

uint32_t ring_last_copies(const struct ring *r, uint32_t node, uint32_t *first)
{
	uint32_t n = 0;

	for (uint32_t p = 0; p < r->v.nparts; p++) {
		const struct vms_part_conf *c = &r->v.part[p].conf;
		bool here = false, elsewhere = false;

		for (uint32_t i = 0; c->epoch && i < c->nmembers; i++) {
			const struct view_node *x = was(r, c->member[i].node);

			here |= c->member[i].node == node;
			elsewhere |= c->member[i].node != node && x && x->up;
		}
		if (!here || elsewhere)
			continue;
		if (!n++ && first)
			*first = p;
	}
	return n;
}

static int enough_nodes(const struct view *v, const struct ring_opts *o, struct vms_errmsg *e)
{
	uint32_t n = 0;

	VMS_VEC_FOREACH (&v->nodes, x)
		n += vms_place_weight(&x->n) > 0;
	if (!n)
		return vms_fail(e, VMS_E_INVAL,
				"no node would be left to hold the data; join another one first");
	if (n >= v->cluster.copies || o->fewer_copies)
		return 0;
	return vms_fail(
		e, VMS_E_INVAL,
		"%u %s would be left for %u copies: join another node first (vmstore-ring join), "
		"or have fewer copies (vmstore-ring set --copies %u, or --fewer-copies for now)",
		n, n == 1 ? "node" : "nodes", v->cluster.copies, n);
}

/* A node that is to give its copies away must be there to give the last ones. */
static int can_give(const struct ring *r, const struct view *v, struct vms_errmsg *e)
{
	VMS_VEC_FOREACH (&v->nodes, x) {
		const struct view_node *before = was(r, x->n.id);
		uint32_t only;

		if (!before || before->up || vms_place_weight(&x->n) ||
		    before->n.state == x->n.state)
			continue;
		only = ring_last_copies(r, x->n.id, NULL);
		if (only)
			return vms_fail(
				e, VMS_E_PERM,
				"node %s is down and has the only copy of %u partitions: bring it "
				"back first; see 'The last copy is lost' in doc/operations.md",
				x->n.name, only);
	}
	return 0;
}

int ring_lacks(const struct ring *r, const struct view *v, struct ring_lack *out,
	       struct vms_errmsg *e)
{
	struct ring_moves m;
	uint64_t most = 0;
	int rc = ring_moves(r, v, &m, e);

	memset(out, 0, sizeof(*out));
	out->moves = m.bytes;
	for (size_t i = 0; !rc && i < m.nodes.n; i++) {
		const struct ring_node_moves *x = &m.nodes.d[i];
		const struct view_node *node = was(r, x->node);
		uint64_t used, total, room;

		if (!node || !view_node_space(node, &used, &total) || !x->get_bytes)
			continue;
		room = total - used > total / 100 * KEEP_PERCENT
			       ? total - used - total / 100 * KEEP_PERCENT
			       : 0;
		room += x->give_bytes;
		if (x->get_bytes <= room)
			continue;
		out->bytes += x->get_bytes - room;
		if (x->get_bytes - room <= most)
			continue;
		most = x->get_bytes - room;
		snprintf(out->node, sizeof(out->node), "%s", node->n.name);
		out->need = x->get_bytes;
		out->room = room;
	}
	ring_moves_free(&m);
	return rc;
}

static int fits(const struct ring *r, const struct view *v, const struct ring_opts *o,
		struct vms_errmsg *e)
{
	char need[VMS_SIZE_TEXT_MAX], have[VMS_SIZE_TEXT_MAX];
	struct ring_lack lack;
	int rc = ring_lacks(r, v, &lack, e);

	if (rc || !lack.bytes || o->ignore_space)
		return rc;
	return vms_fail(
		e, VMS_E_NOSPC,
		"node %s would get %s, but has room for %s; join another node first, or say "
		"--ignore-space (no node is ever filled up: what does not fit stays where "
		"it is)",
		lack.node, vms_size_human(lack.need, need), vms_size_human(lack.room, have));
}

int ring_may(const struct ring *r, const struct view *v, const struct ring_opts *o,
	     struct vms_errmsg *e)
{
	int rc = enough_nodes(v, o, e);

	if (rc || !v->cluster.has_data)
		return rc;
	rc = can_give(r, v, e);
	return rc ? rc : fits(r, v, o, e);
}
