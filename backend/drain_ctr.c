// SPDX-License-Identifier: GPL-2.0-only
/* The container that a partition's drains fill: opened, filled segment by segment, sealed. */
#include "backend/drain_int.h"

#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "include/types.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

/* With how many chunks the open container is sealed. */
static uint64_t seal_chunks(const struct vms_node *n, const struct part *p, bool run)
{
	uint64_t c = p->live_chunks / 4, min = run ? CTR_CHUNKS_RUN : CTR_CHUNKS_MIN;

	if (c < min)
		c = min;
	if (c > n->conf.container_bytes_max / VMS_CHUNK_BYTES)
		c = n->conf.container_bytes_max / VMS_CHUNK_BYTES;
	return c;
}

static int seal_order(struct vms_node *n, struct part *p, uint64_t number, uint32_t segs)
{
	struct vms_rec r = {.type = VMS_REC_CTR_SEAL, .flags = VMS_RF_INTERNAL};
	uint8_t meta[16];

	vms_put_le64(meta, number);
	vms_put_le64(meta + 8, vms_seg_offset(segs));
	r.meta = meta;
	r.meta_bytes = sizeof(meta);
	return part_order(n, p, &r, NULL, 0);
}

/* A free segment for `want` chunks. VMS_E_AGAIN: a container is being opened. */
int drain_place(struct vms_node *n, struct part *p, unsigned want, uint64_t *ctr, uint32_t *seg)
{
	struct vms_rec r = {.type = VMS_REC_CTR_OPEN, .flags = VMS_RF_INTERNAL};
	uint64_t first = vms_ctr_first(p->number, n->conf.part_bits);
	uint8_t meta[16];
	int rc;

	if (p->open_ctr && p->open_chunks &&
	    (p->open_chunks + want > seal_chunks(n, p, p->drain && p->drain->run) ||
	     p->open_seg > 7000)) {
		rc = seal_order(n, p, p->open_ctr, p->open_seg);
		if (rc)
			return rc;
		p->open_ctr = 0;
	}
	if (p->open_ctr) {
		*ctr = p->open_ctr;
		*seg = p->open_seg;
		return 0;
	}
	if (p->open_ordered)
		return VMS_E_AGAIN;
	if (p->next_ctr - first >= vms_ctr_count(n->conf.part_bits))
		return VMS_E_NOSPC; /* out of numbers */
	vms_put_le64(meta, p->next_ctr);
	vms_put_le64(meta + 8, n->incarnation);
	r.meta = meta;
	r.meta_bytes = sizeof(meta);
	p->open_ordered = p->next_ctr;
	rc = part_order(n, p, &r, NULL, 0);
	if (rc) {
		p->open_ordered = 0;
		return rc;
	}
	return VMS_E_AGAIN;
}

void drain_run_end(struct vms_node *n, struct part *p)
{
	if (p->open_ctr && p->open_chunks > seal_chunks(n, p, false) && n->mut != MUT_RUN_OPEN &&
	    seal_order(n, p, p->open_ctr, p->open_seg) == 0)
		p->open_ctr = 0;
}

/* The collector: nothing in the open container is live. */
void drain_seal_open(struct vms_node *n, struct part *p)
{
	if (p->open_ctr && seal_order(n, p, p->open_ctr, p->open_seg) == 0)
		p->open_ctr = 0;
}

void drain_seal_left(struct vms_node *n, struct part *p)
{
	if (p->moves_ordered || p->applied != p->committed || p->committed != p->seq_last)
		return;
	VMS_VEC_FOREACH (&p->ctrs, c)
		if (c->state == 1 && c->number != p->open_ctr && c->number != p->open_ordered &&
		    !c->sealing && seal_order(n, p, c->number, c->segs) == 0)
			c->sealing = true;
}
