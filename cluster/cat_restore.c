// SPDX-License-Identifier: GPL-2.0-only
/* Keeps invariants 1, 5, 7 when the catalog is lost. */
#include "cluster/cat_restore.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/err.h"

#define MARGIN	     VMS_RESTORE_MARGIN
#define MARGIN_NODES 16u /* numbers that new nodes may have got since */

static void raise_to(uint64_t *to, uint64_t v)
{
	if (v > *to)
		*to = v;
}

void vms_restore_view_add(struct vms_restore *r, uint32_t part, const struct vms_view *v)
{
	if (part < r->nviews && v->n && v->epoch > r->view[part].epoch)
		r->view[part] = *v;
}

/* Who went on after the copy was made is the set, and one of them leads: nobody else has it
 * all, and who was in it before may have no copy any more. */
static void to_view(struct vms_part_conf *p, const struct vms_view *v)
{
	uint32_t first = 0;

	p->epoch = v->epoch;
	p->nmembers = v->n;
	for (uint32_t i = 0; i < v->n; i++)
		if (v->member[i].node == p->primary)
			first = i;
	for (uint32_t i = 0; i < v->n; i++)
		p->member[i] = v->member[(first + i) % v->n];
	p->primary = p->member[0].node;
}

static char *part(const struct vms_restore *r, const struct vms_cat_kv *kv, struct vms_errmsg *msg)
{
	struct vms_part_conf p;
	uint32_t number;

	if (vms_cat_part_decode(kv, &number, &p, msg))
		return NULL;
	if (number < r->nviews && r->view[number].n && r->view[number].epoch > p.epoch)
		to_view(&p, &r->view[number]);
	raise_to(&p.epoch, r->epoch);
	p.epoch += MARGIN;
	p.handover = 0;
	return vms_cat_part_encode(&p);
}

static char *node(const struct vms_restore *r, const struct vms_cat_kv *kv, struct vms_errmsg *msg)
{
	struct vms_cat_node n;

	if (vms_cat_node_decode(kv, &n, msg))
		return NULL;
	raise_to(&n.incarnation, r->incarnation ? r->incarnation(r->ctx, n.id) : 0);
	n.incarnation += MARGIN;
	return vms_cat_node_encode(&n);
}

static char *gateway(const struct vms_restore *r, const struct vms_cat_kv *kv,
		     struct vms_errmsg *msg)
{
	struct vms_cat_gateway g;

	if (vms_cat_gateway_decode(kv, &g, msg))
		return NULL;
	raise_to(&g.incarnation, r->gateway_incarnation);
	g.incarnation += MARGIN;
	return vms_cat_gateway_encode(&g);
}

static char *volume(const struct vms_restore *r, const struct vms_cat_kv *kv,
		    struct vms_errmsg *msg)
{
	struct vms_cat_volume v;
	bool same;

	if (vms_cat_volume_decode(kv, &v, msg))
		return NULL;
	same = v.barrier_id == v.snap_gen;
	raise_to(&v.snap_gen, r->snap_gen);
	raise_to(&v.lun_fence, r->lun_fence);
	v.snap_gen += MARGIN;
	v.lun_fence += MARGIN;
	if (same)
		v.barrier_id = v.snap_gen;
	return vms_cat_volume_encode(&v);
}

static uint32_t next_node(const struct vms_restore *r, uint32_t next)
{
	if (next <= r->node)
		next = r->node + 1;
	if (next >= VMS_NODES_MAX)
		return next;
	return next + MARGIN_NODES < VMS_NODES_MAX ? next + MARGIN_NODES : VMS_NODES_MAX;
}

static char *cluster(const struct vms_restore *r, const struct vms_cat_kv *kv,
		     struct vms_errmsg *msg)
{
	struct vms_cat_cluster c;

	if (vms_cat_cluster_decode(kv, &c, msg))
		return NULL;
	raise_to(&c.next_branch, r->branch + 1);
	c.next_branch += MARGIN;
	/* Of these there are few. A gateway that the copy does not know has its number only as
	 * long as nobody gets it with a higher incarnation; a node whose number is another's by
	 * now is told by its name, and does not start. */
	raise_to(&c.gateways_from, r->gateway_incarnation);
	c.gateways_from += MARGIN;
	c.next_node = next_node(r, c.next_node);
	return vms_cat_cluster_encode(&c);
}

/* A cycle that has begun is never begun again: what was marked in it counts no more. */
static char *gc(const struct vms_restore *r, const struct vms_cat_kv *kv, struct vms_errmsg *msg)
{
	json_t *o = json_loadb(kv->val, kv->val_bytes, 0, NULL);
	json_int_t cycle = json_integer_value(json_object_get(o, "cycle"));
	uint64_t to = cycle > 0 ? (uint64_t)cycle : 0;
	char *val = NULL;

	json_decref(o);
	raise_to(&to, r->gc_cycle);
	if (cycle <= 0)
		vms_fail(msg, VMS_E_CORRUPT, "gc: no cycle");
	else if (asprintf(&val, "{\"cycle\": %llu}", (unsigned long long)(to + MARGIN)) < 0)
		val = NULL;
	return val;
}

static bool below(const char *key, const char *prefix)
{
	return !strncmp(key, prefix, strlen(prefix));
}

char *vms_restore_val(const struct vms_restore *r, const struct vms_cat_kv *kv,
		      struct vms_errmsg *msg)
{
	if (below(kv->key, "part/"))
		return part(r, kv, msg);
	if (below(kv->key, "node/"))
		return node(r, kv, msg);
	if (below(kv->key, "gateway/"))
		return gateway(r, kv, msg);
	if (below(kv->key, "volume/"))
		return volume(r, kv, msg);
	if (!strcmp(kv->key, "cluster"))
		return cluster(r, kv, msg);
	if (!strcmp(kv->key, "gc"))
		return gc(r, kv, msg);
	return strdup(kv->val);
}
