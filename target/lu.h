/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A SCSI logical unit without its medium: everything a command needs before or
 * instead of the gateway core. The tgt adapter gives it CDBs and executes what it
 * answers. Pure; owner: tgt's loop.
 *
 * Order of the checks, as SAM demands: opcode known, reservation, CDB fields,
 * write protection. Unit attentions are tgt's (before this is asked).
 */
#ifndef VMS_LU_H
#define VMS_LU_H

#include "target/cdb.h"
#include "target/pr.h"
#include "target/vpd.h"

struct vms_lu {
	struct vms_lu_ident ident;
	struct vms_mode mode;
	const struct vms_pr *pr; /* the reservations, borrowed; never NULL */
	bool ready;		 /* the volume can be used now */
	bool gone;		 /* never again: it is not what was opened */
	const uint16_t *ports;	 /* target ports of all gateways; borrowed */
	unsigned nports;
};

void vms_lu_init(struct vms_lu *lu);
void vms_lu_no_reservations(struct vms_lu *lu);

/* What other nexuses must be told. */
struct vms_lu_sink {
	void *ctx;
	/* A unit attention for every session but the one that asked. */
	void (*attention_others)(void *ctx, uint64_t session, uint16_t asc);
	/* Are the cluster's records (size, write protection, reservations) known to be what all
	 * gateways go by? Asked when one of them refuses a command, which else ends BUSY. NULL:
	 * they are. */
	bool (*current)(void *ctx);
};

struct vms_lu_req {
	/* in */
	const uint8_t *cdb;
	unsigned cdb_bytes;
	struct vms_pr_who who; /* session: id of the I_T nexus' session, not 0 */
	const uint8_t *out;    /* data that came with it; NULL with out_bytes 0 */
	uint64_t out_bytes;
	bool no_lu; /* the LUN does not exist: INQUIRY only */
	/* out */
	struct vms_sense sense; /* how it ends, with VMS_LU_END */
	const uint8_t *in;	/* data for the initiator; valid until the next call */
	uint32_t in_bytes;	/* cut to the allocation length */
	struct vms_cdb io;	/* with VMS_LU_IO */
	uint8_t access;		/* its class (VMS_ACC_*), for later checks */
};

enum vms_lu_answer {
	VMS_LU_END, /* done; sense.status and in/in_bytes */
	VMS_LU_IO,  /* checked: submit io to the core */
	/* PERSISTENT RESERVE IN and OUT, RESERVE, RELEASE: a question to the cluster; the
	 * answer is cut to in_bytes */
	VMS_LU_RESERVATION,
	/* EXTENDED COPY (xcopy_run.h); RECEIVE COPY RESULTS, cut to in_bytes (xcopy.h) */
	VMS_LU_COPY,
};
enum vms_lu_answer vms_lu_exec(struct vms_lu *lu, struct vms_lu_req *req,
			       const struct vms_lu_sink *sink);

#endif
