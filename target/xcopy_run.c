// SPDX-License-Identifier: GPL-2.0-only
/* EXTENDED COPY at work; see xcopy_run.h. */
#include "target/xcopy_run.h"

#include <stdlib.h>
struct vms_xcopy_run {
	struct vms_copy *copy;
	struct vms_copy_range range[VMS_XCOPY_SEGS_MAX];
	unsigned n, at; /* segments; the one in work */
	bool begun, aborted;
};

/* COPY ABORTED for a reason, with the segment in the command-specific information. */
static int copy_aborted(struct vms_sense *s, uint16_t asc, unsigned segment)
{
	vms_sense_fail(s, VMS_SK_COPY_ABORTED, asc);
	s->csi_valid = true;
	s->csi = segment;
	return -1;
}

/* The logical unit that a segment means; NULL with asc. */
static const struct vms_xcopy_lu *find(const struct vms_xcopy *x, uint16_t cscd,
				       const struct vms_xcopy_lu *lus, unsigned n, unsigned self,
				       uint16_t *asc)
{
	if (cscd == VMS_XCOPY_SELF)
		return &lus[self];
	if (cscd >= x->ncscds) {
		*asc = VMS_ASC_UNREACHABLE_CSCD;
		return NULL;
	}
	for (unsigned i = 0; i < n; i++)
		if (lus[i].lu->ready && vms_xcopy_names(&x->cscd[cscd], &lus[i].lu->ident))
			return &lus[i];
	*asc = VMS_ASC_CSCD_NOT_REACHABLE;
	return NULL;
}

static bool beyond(const struct vms_lu *lu, uint64_t lba, uint32_t n)
{
	return lba > lu->ident.nblocks || n > lu->ident.nblocks - lba;
}

/* By a record of the cluster, if that is sure to be what it says now. */
static int refused(struct vms_gw *gw, struct vms_sense *s, uint16_t asc, unsigned i)
{
	if (vms_gw_refusal(gw) == VMS_E_RESERVED)
		return copy_aborted(s, asc, i);
	*s = (struct vms_sense){.status = VMS_SAM_BUSY};
	return -1;
}

/* Segment i, wholly checked. */
static int segment(struct vms_gw *gw, const struct vms_xcopy *x, unsigned i,
		   const struct vms_xcopy_lu *lus, unsigned n, unsigned self,
		   const struct vms_pr_who *who, struct vms_copy_range *out, struct vms_sense *s)
{
	const struct vms_xcopy_seg *g = &x->seg[i];
	const struct vms_xcopy_lu *from, *to;
	uint16_t asc = 0;

	from = find(x, g->from, lus, n, self, &asc);
	to = from ? find(x, g->to, lus, n, self, &asc) : NULL;
	if (!to)
		return copy_aborted(s, asc, i);
	if (beyond(from->lu, g->from_lba, g->nblocks) || beyond(to->lu, g->to_lba, g->nblocks))
		return refused(gw, s, VMS_ASC_NONE, i);
	if (vms_pr_refuses(from->lu->pr, who, VMS_ACC_READ) ||
	    vms_pr_refuses(to->lu->pr, who, VMS_ACC_WRITE))
		return refused(gw, s, VMS_ASC_THIRD_PARTY_FAILURE, i);
	if (to->lu->mode.swp)
		return copy_aborted(s, VMS_ASC_SOFTWARE_WRITE_PROTECTED, i);
	if (to->lu->ident.write_protect)
		return refused(gw, s, VMS_ASC_WRITE_PROTECTED, i);
	*out = (struct vms_copy_range){from->vol, to->vol, g->from_lba, g->to_lba, g->nblocks};
	return 0;
}

struct vms_xcopy_run *vms_xcopy_run_new(struct vms_gw *gw, const struct vms_xcopy *x,
					const struct vms_xcopy_lu *lus, unsigned n, unsigned self,
					const struct vms_pr_who *who, const char *initiator_port,
					void *cookie, struct vms_sense *s)
{
	struct vms_xcopy_run *r = calloc(1, sizeof(*r));

	if (r)
		r->copy = vms_copy_new(gw, cookie, initiator_port, who);
	if (!r || !r->copy) {
		free(r);
		*s = (struct vms_sense){.status = VMS_SAM_BUSY};
		return NULL;
	}
	r->n = x->nsegs;
	for (unsigned i = 0; i < r->n; i++) {
		if (segment(gw, x, i, lus, n, self, who, &r->range[i], s)) {
			vms_xcopy_run_free(r);
			return NULL;
		}
	}
	return r;
}

void vms_xcopy_run_free(struct vms_xcopy_run *r)
{
	vms_copy_free(r->copy);
	free(r);
}

enum vms_copy_state vms_xcopy_run_step(struct vms_xcopy_run *r, uint64_t now_ms)
{
	enum vms_copy_state state;

	while (r->at < r->n) {
		if (!r->begun && r->aborted)
			return VMS_COPY_ENDED;
		if (!r->begun)
			vms_copy_begin(r->copy, &r->range[r->at]);
		r->begun = true;
		state = vms_copy_run(r->copy, now_ms);
		if (state != VMS_COPY_ENDED)
			return state;
		if (vms_copy_status(r->copy))
			return VMS_COPY_ENDED;
		r->begun = false;
		r->at++;
	}
	return VMS_COPY_ENDED;
}

void vms_xcopy_run_ended(struct vms_xcopy_run *r, struct vms_gw_cmd *gc)
{
	vms_copy_ended(r->copy, gc);
}

void vms_xcopy_run_abort(struct vms_xcopy_run *r)
{
	r->aborted = true;
	vms_copy_abort(r->copy);
}

bool vms_xcopy_run_uses(const struct vms_xcopy_run *r, const struct vms_gw_vol *vol)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->range[i].from == vol || r->range[i].to == vol)
			return true;
	return false;
}

void vms_xcopy_run_result(const struct vms_xcopy_run *r, struct vms_sense *s, uint16_t *segments,
			  uint64_t *blocks)
{
	struct vms_sense_cmd what = {.write = !vms_copy_failed_reading(r->copy)};
	int status = vms_copy_status(r->copy);

	*segments = (uint16_t)r->at;
	*blocks = vms_copy_blocks(r->copy);
	if (!status && r->aborted && r->at < r->n)
		status = VMS_E_CANCELLED;
	vms_sense_from_err(s, status, &what);
	/* nothing was written: the initiator may repeat it as it is */
	if (!status || (s->status != VMS_SAM_CHECK_CONDITION && status != VMS_E_RESERVED &&
			!vms_copy_touched(r->copy)))
		return;
	/* what the other logical unit would have answered; a cause that nobody would look
	 * for at a copy becomes the general one */
	copy_aborted(s,
		     s->status == VMS_SAM_CHECK_CONDITION && s->key == VMS_SK_DATA_PROTECT
			     ? s->asc
			     : VMS_ASC_THIRD_PARTY_FAILURE,
		     r->at);
}
