/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * EXTENDED COPY (LID1) and RECEIVE COPY RESULTS as bytes: the parameter list, what is
 * offered (operating parameters, VPD page 8F), and the results that are kept until
 * somebody asks. Block device to block device (segment 02h) between logical units named
 * by their designators (CSCD descriptor E4h); anything else is refused.
 *
 * Pure. Source: spc4r31 6.4, 6.17 to 6.20, 7.8.17. Copying itself: xcopy_run.h.
 */
#ifndef VMS_XCOPY_H
#define VMS_XCOPY_H

#include <stdbool.h>
#include <stdint.h>

#include "target/sense.h"
#include "target/vpd.h"

#define VMS_XCOPY_CSCDS_MAX   8u
#define VMS_XCOPY_SEGS_MAX    8u
#define VMS_XCOPY_DESC_BYTES  (VMS_XCOPY_CSCDS_MAX * 32u + VMS_XCOPY_SEGS_MAX * 28u)
#define VMS_XCOPY_SEG_BLOCKS  32768u  /* 16 MiB */
#define VMS_XCOPY_COPIES_MAX  8u      /* at a time, of one gateway */
#define VMS_XCOPY_RESULTS_MAX 64u     /* kept, of one gateway */
#define VMS_XCOPY_SELF	      0xffffu /* as CSCD: the LUN that got the command */

struct vms_xcopy_cscd {
	uint8_t code_set, type, len; /* association is 0 */
	uint8_t designator[20];
};
struct vms_xcopy_seg {
	uint16_t from, to; /* VMS_XCOPY_SELF, or any number: cscd[] may not have it */
	uint64_t from_lba, to_lba;
	uint32_t nblocks;
};
struct vms_xcopy {
	bool identified; /* LIST IDENTIFIER means something */
	uint8_t list_id;
	unsigned ncscds, nsegs;
	struct vms_xcopy_cscd cscd[VMS_XCOPY_CSCDS_MAX];
	struct vms_xcopy_seg seg[VMS_XCOPY_SEGS_MAX];
};

/* cdb: 16 bytes; list: list_bytes that came with it. Everything that can be wrong with
 * the list alone is found here. 0 or -1 with sense. A list of length 0 copies nothing. */
int vms_xcopy_parse(const uint8_t *cdb, const uint8_t *list, uint64_t list_bytes,
		    struct vms_xcopy *out, struct vms_sense *s);

/* Does the descriptor name this logical unit? */
bool vms_xcopy_names(const struct vms_xcopy_cscd *c, const struct vms_lu_ident *id);

/* ---- results ---- */

struct vms_xcopy_result {
	uint64_t session; /* 0: free */
	const void *lu;	  /* the LUN that got the command; only compared */
	uint8_t list_id;
	bool running;
	uint16_t segments; /* processed */
	uint64_t blocks;   /* written */
	uint8_t status;	   /* SAM status it ended with */
	uint8_t sense[VMS_SENSE_BYTES_MAX], sense_len;
	uint64_t age; /* of the last change, counted up */
};
struct vms_xcopy_results {
	struct vms_xcopy_result r[VMS_XCOPY_RESULTS_MAX];
	uint64_t clock;
};

struct vms_xcopy_result *vms_xcopy_find(struct vms_xcopy_results *t, uint64_t session,
					const void *lu, uint8_t list_id);
/* A place for the result of a copy that begins: of an older one with this id that has
 * ended, a free one, or that of the oldest that has ended. */
struct vms_xcopy_result *vms_xcopy_keep(struct vms_xcopy_results *t, uint64_t session,
					const void *lu, uint8_t list_id);
/* A session has ended, or a LUN goes or is reset (session 0): what is kept for it is
 * dropped, but for copies that run. */
void vms_xcopy_forget(struct vms_xcopy_results *t, uint64_t session, const void *lu);

#define VMS_XCOPY_IN_BYTES_MAX 128u
/* RECEIVE COPY RESULTS: its answer, not cut to the allocation length; the length or -1
 * with sense. FAILED SEGMENT DETAILS drops the result. */
int vms_xcopy_receive(struct vms_xcopy_results *t, uint64_t session, const void *lu,
		      const uint8_t *cdb, uint8_t *out, struct vms_sense *s);

/* VPD page 8F behind its header into out[VMS_XCOPY_IN_BYTES_MAX]; its length. */
unsigned vms_xcopy_vpd(uint8_t *out);

#endif
