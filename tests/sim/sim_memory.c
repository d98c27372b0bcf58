/* SPDX-License-Identifier: GPL-2.0-only */
/* Apart from the others: a node's connections and the simulator's have one name. */
#include "tests/sim/sim_memory.h"

#include <jansson.h>

#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/wal.h"
#include "include/err.h"

uint64_t sim_node_damage(const struct vms_node *n)
{
	return n->st.corrupt;
}

bool sim_node_remembers(struct vms_node *n, uint32_t partition, uint64_t epoch)
{
	const struct part *p = node_part(n, partition);

	return p && p->known && p->conf.epoch == epoch && p->view_epoch == epoch &&
	       p->intact_view == epoch;
}

unsigned sim_node_min_copies(const struct vms_node *n)
{
	return n->cluster.min_copies;
}

uint64_t sim_node_top(struct vms_node *n, uint32_t partition, bool memory)
{
	const struct part *p = node_part(n, partition);

	return !p ? 0 : memory ? p->seq_last : p->own_durable;
}

void sim_node_seal(struct vms_node *n)
{
	vms_wal_gen_seal(n->wal);
}

unsigned sim_node_undrained(const struct vms_node *n)
{
	unsigned k = 0;

	for (uint32_t i = 0; i < n->nparts; i++)
		k += n->part[i] && n->part[i]->known && n->part[i]->ovl.exts;
	return k;
}

static const struct part *led(const struct vms_node *n, uint32_t partition)
{
	const struct part *p = partition < n->nparts ? n->part[partition] : NULL;

	return p && p->known && p->primary && p->state == PS_ACTIVE ? p : NULL;
}

static bool merges(struct vms_node *n, struct part *p, const struct vms_ovl_ext *e, unsigned chunk,
		   vms_addr *at)
{
	struct vms_ovl_view v;
	struct vms_page page;
	struct seen seen;

	if (part_see(n, p, e->branch, e->extent, e->snap_gen, &seen))
		return false;
	vms_ovl_view(&n->ovl, e, (uint16_t)chunk, p->committed, &v);
	if (!(v.have | v.zero) || (v.have | v.zero) == VMS_MASK_FULL ||
	    part_page(n, p, &seen, chunk / VMS_SUBEXT_CHUNKS, &page))
		return false;
	*at = page.entry[chunk % VMS_SUBEXT_CHUNKS];
	return *at != VMS_ADDR_HOLE && *at != VMS_ADDR_LOST &&
	       vms_addr_partition(*at, n->conf.part_bits) == p->number &&
	       !part_addr_check(n, p, *at);
}

bool sim_node_merges(struct vms_node *n, uint32_t extent, unsigned chunk, uint32_t *partition,
		     uint64_t *ctr, uint64_t *block)
{
	vms_addr a;

	for (uint32_t i = 0; i < n->nparts; i++)
		for (struct vms_ovl_ext *e = led(n, i) ? n->part[i]->ovl.exts : NULL; e;
		     e = e->next) {
			if (e->extent != extent || !merges(n, n->part[i], e, chunk, &a))
				continue;
			*partition = i;
			*ctr = vms_addr_container(a);
			*block = vms_addr_offset_bytes(a) / VMS_CHUNK_BYTES;
			return true;
		}
	return false;
}

bool sim_node_moves(const struct vms_node *n, uint32_t partition)
{
	const struct part *p = led(n, partition);

	return p && p->moves_ordered && p->committed == p->seq_last &&
	       p->all_durable >= p->seq_last;
}

bool sim_node_stands(const struct vms_node *n, uint32_t partition)
{
	const struct part *p = led(n, partition);

	return p && p->bytes_wait;
}

bool sim_node_give_up(struct vms_node *n, uint32_t partition)
{
	const struct part *p = led(n, partition);
	json_t *a = NULL, *req, *away;
	struct vms_errmsg why;

	if (!p || !p->bytes_wait || vms_node_lost(n, NULL, &a, &why))
		return false;
	away = json_incref(json_object_get(a, "away"));
	json_decref(a);
	a = NULL;
	req = json_pack("{sI sI so}", "partition", (json_int_t)partition, "record",
			(json_int_t)p->peer_seq, "without", away);
	if (vms_node_lost(n, req, &a, &why))
		a = NULL;
	json_decref(req);
	json_decref(a);
	return a != NULL;
}

uint64_t sim_node_given_up(const struct vms_node *n)
{
	return n->st.given_up;
}

unsigned sim_node_log_used(const struct vms_node *n)
{
	return n->wal ? log_permille(n) : 0;
}

unsigned sim_node_log_left(const struct vms_node *n)
{
	return n->wal ? (unsigned)(vms_wal_free_bytes(n->wal) * 1000 / vms_wal_size_bytes(n->wal))
		      : 1000;
}
