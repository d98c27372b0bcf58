// SPDX-License-Identifier: GPL-2.0-only
/* Page holders; see holders.h. */
#include "backend/holders.h"

#include <string.h>

void vms_holders_init(struct vms_holders *h, uint64_t max)
{
	memset(h, 0, sizeof(*h));
	vms_htab_init(&h->tab, 1024);
	h->max = max;
}

static void age_unlink(struct vms_holders *h, struct vms_holder *e)
{
	if (e->older)
		e->older->newer = e->newer;
	else
		h->oldest = e->newer;
	if (e->newer)
		e->newer->older = e->older;
	else
		h->newest = e->older;
}

static void age_newest(struct vms_holders *h, struct vms_holder *e)
{
	e->newer = NULL;
	e->older = h->newest;
	if (h->newest)
		h->newest->newer = e;
	else
		h->oldest = e;
	h->newest = e;
}

static void part_link(struct vms_holders *h, struct vms_holder *e)
{
	struct vms_holder **first;

	while (h->part.n <= e->partition)
		(void)VMS_VEC_ADD(&h->part);
	first = &h->part.d[e->partition];
	e->next = *first;
	if (*first)
		(*first)->prev = e;
	*first = e;
}

static void part_unlink(struct vms_holders *h, struct vms_holder *e)
{
	if (e->prev)
		e->prev->next = e->next;
	else
		h->part.d[e->partition] = e->next;
	if (e->next)
		e->next->prev = e->prev;
}

struct vms_holder *vms_holders_first(const struct vms_holders *h, uint32_t partition)
{
	return partition < h->part.n ? h->part.d[partition] : NULL;
}

static void drop(struct vms_holders *h, struct vms_holder *e)
{
	age_unlink(h, e);
	part_unlink(h, e);
	vms_htab_del(&h->tab, &e->link);
	h->n--;
	free(e->gw);
	free(e);
}

void vms_holders_close(struct vms_holders *h)
{
	while (h->oldest)
		drop(h, h->oldest);
	vms_htab_free(&h->tab);
	VMS_VEC_FREE(&h->part);
}

static uint64_t key_of(uint64_t branch, uint32_t extent)
{
	return vms_mix64(branch) + extent;
}

struct vms_holder *vms_holder_find(struct vms_holders *h, uint64_t branch, uint32_t extent)
{
	struct vms_hlink *l = vms_htab_find(&h->tab, key_of(branch, extent));

	for (; l; l = vms_htab_next(l)) {
		struct vms_holder *e = vms_hlink_entry(l, struct vms_holder, link);

		if (e->branch == branch && e->extent == extent)
			return e;
	}
	return NULL;
}

void vms_holder_add(struct vms_holders *h, uint32_t partition, uint64_t branch, uint32_t extent,
		    uint32_t gateway, uint8_t subexts)
{
	struct vms_holder *e = vms_holder_find(h, branch, extent);
	uint32_t i;

	if (!e) {
		e = calloc(1, sizeof(*e));
		vms_assert(e);
		e->branch = branch;
		e->extent = extent;
		e->partition = partition;
		part_link(h, e);
		vms_htab_add(&h->tab, &e->link, key_of(branch, extent));
		h->n++;
	} else {
		age_unlink(h, e);
	}
	age_newest(h, e);
	for (i = 0; i < e->n; i++)
		if (e->gw[i].gateway == gateway) {
			e->gw[i].subexts |= subexts;
			return;
		}
	if (e->n == e->room) {
		e->room = e->room ? e->room * 2 : 2;
		e->gw = realloc(e->gw, e->room * sizeof(*e->gw));
		vms_assert(e->gw);
	}
	e->gw[e->n++] = (struct vms_holder_gw){gateway, subexts};
}

bool vms_holder_clear(struct vms_holders *h, struct vms_holder *e, uint32_t gateway,
		      uint8_t subexts)
{
	for (uint32_t i = 0; i < e->n; i++)
		if (e->gw[i].gateway == gateway) {
			e->gw[i].subexts &= (uint8_t)~subexts;
			if (!e->gw[i].subexts)
				e->gw[i] = e->gw[--e->n];
			break;
		}
	if (e->n)
		return false;
	drop(h, e);
	return true;
}

void vms_holders_drop_gateway(struct vms_holders *h, uint32_t gateway)
{
	struct vms_holder *e, *next;

	for (e = h->oldest; e; e = next) {
		next = e->newer;
		vms_holder_clear(h, e, gateway, 0xff);
	}
}
