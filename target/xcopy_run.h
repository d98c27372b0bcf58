/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One EXTENDED COPY on its way: which logical units it means, whether it may, and its
 * segments one after the other (copy.h).
 *
 * Access control by construction: a descriptor is looked up among the logical units that
 * the caller gives, which are those of the target the session is logged in to; there is
 * no other way to name one. Reservations and write protection of each are asked as for a
 * read or write that came by itself, on behalf of the session. Everything that can be
 * known to fail is found before the first block is written.
 *
 * Owner: tgt's loop. The logical units are looked at in vms_xcopy_run_new() only; their
 * volumes stay open while vms_xcopy_run_uses() says so.
 */
#ifndef VMS_XCOPY_RUN_H
#define VMS_XCOPY_RUN_H

#include "target/copy.h"
#include "target/gateway.h"
#include "target/lu.h"
#include "target/xcopy.h"

struct vms_xcopy_lu {
	const struct vms_lu *lu;
	struct vms_gw_vol *vol;
};

struct vms_xcopy_run;

/* lus[0..n): those that the session may use; lus[self] got the command. who: its nexus,
 * borrowed as initiator_port. cookie: into each vms_gw_cmd. NULL: s says why. */
struct vms_xcopy_run *vms_xcopy_run_new(struct vms_gw *gw, const struct vms_xcopy *x,
					const struct vms_xcopy_lu *lus, unsigned n, unsigned self,
					const struct vms_pr_who *who, const char *initiator_port,
					void *cookie, struct vms_sense *s);
/* Nothing of it is pending. */
void vms_xcopy_run_free(struct vms_xcopy_run *r);
/* As vms_copy_run(). */
enum vms_copy_state vms_xcopy_run_step(struct vms_xcopy_run *r, uint64_t now_ms);
void vms_xcopy_run_ended(struct vms_xcopy_run *r, struct vms_gw_cmd *gc);
void vms_xcopy_run_abort(struct vms_xcopy_run *r);
bool vms_xcopy_run_uses(const struct vms_xcopy_run *r, const struct vms_gw_vol *vol);

/* How it ended (or how far it is), for its answer and for RECEIVE COPY RESULTS. */
void vms_xcopy_run_result(const struct vms_xcopy_run *r, struct vms_sense *s, uint16_t *segments,
			  uint64_t *blocks);

#endif
