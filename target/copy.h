/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies blocks from one open volume to another, or within one, inside the gateway:
 * what EXTENDED COPY does. In pieces of at most 1 MiB within one extent of either side,
 * a few at a time:
 *
 *   holes become holes;
 *   chunks in containers are written by address (VMS_GW_COPY): no data comes here;
 *   the rest (just written, not aligned, gone when the primary looked) is read and
 *   written.
 *
 * A piece is as old as the turn that began it, not as the command: the caller aborts
 * when the command's session ends, and from then on nothing new begins (rules "Nothing
 * late"). Where the two ranges overlap the result is as of memmove().
 *
 * Owner: tgt's loop. Nothing is submitted but from vms_copy_run().
 */
#ifndef VMS_COPY_H
#define VMS_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "target/gateway.h"
#include "target/pr.h"

struct vms_copy;

struct vms_copy_range {
	struct vms_gw_vol *from, *to;
	uint64_t from_lba, to_lba;
	uint32_t nblocks; /* both ranges lie within their volumes */
};

/* cookie: put into each vms_gw_cmd, so that the completion finds its way. who: on whose
 * behalf, borrowed as initiator_port. NULL: out of memory. */
struct vms_copy *vms_copy_new(struct vms_gw *gw, void *cookie, const char *initiator_port,
			      const struct vms_pr_who *who);
/* Nothing of it is pending. */
void vms_copy_free(struct vms_copy *c);

/* The next range; the one before has ended well. */
void vms_copy_begin(struct vms_copy *c, const struct vms_copy_range *r);
enum vms_copy_state {
	VMS_COPY_ENDED,	    /* the range */
	VMS_COPY_WAITING,   /* call it again at later turns */
	VMS_COPY_SUBMITTED, /* the same, and the core has something new */
};
/* Submits what can be. */
enum vms_copy_state vms_copy_run(struct vms_copy *c, uint64_t now_ms);
/* One of its commands has ended; only notes it. */
void vms_copy_ended(struct vms_copy *c, struct vms_gw_cmd *gc);
/* Nothing new begins; what is pending is cancelled. It still ends through vms_copy_run(). */
void vms_copy_abort(struct vms_copy *c);

/* How the range ended: 0 or VMS_E_*. */
int vms_copy_status(const struct vms_copy *c);
/* Which side failed; for sense data. */
bool vms_copy_failed_reading(const struct vms_copy *c);
/* Blocks written since vms_copy_new(), all ranges. */
uint64_t vms_copy_blocks(const struct vms_copy *c);
/* Something may have been written, though none of it need be counted above. */
bool vms_copy_touched(const struct vms_copy *c);

#endif
