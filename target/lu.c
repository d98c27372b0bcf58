// SPDX-License-Identifier: GPL-2.0-only
/* The logical unit's own commands; see lu.h. */
#include "target/lu.h"

#include <string.h>

#include "target/alua.h"
#include "target/opcodes.h"
#include "utils/lib/bytes.h"

/* Answers are built here and cut to the allocation length; one loop, one thread. */
static uint8_t scratch[4096];
_Static_assert(sizeof(scratch) >= VMS_OPCODES_REPORT_BYTES_MAX, "scratch");
_Static_assert(sizeof(scratch) >= VMS_INQUIRY_BYTES_MAX, "scratch");
_Static_assert(sizeof(scratch) >= VMS_MODE_BYTES_MAX, "scratch");
_Static_assert(sizeof(scratch) >= VMS_RTPG_BYTES_MAX, "scratch");

void vms_lu_no_reservations(struct vms_lu *lu)
{
	static const struct vms_pr none = {.holder = -1};

	lu->pr = &none;
}

void vms_lu_init(struct vms_lu *lu)
{
	memset(lu, 0, sizeof(*lu));
	vms_lu_no_reservations(lu);
}

static uint16_t not_ready(const struct vms_lu *lu)
{
	return lu->gone ? VMS_ASC_LU_NOT_CONFIGURED : VMS_ASC_BECOMING_READY;
}

/* Answer with len bytes of scratch, cut to the allocation length. */
static enum vms_lu_answer give(struct vms_lu_req *r, int len, uint64_t alloc)
{
	if (len < 0)
		return VMS_LU_END; /* sense is set */
	r->in = scratch;
	r->in_bytes = (uint64_t)len < alloc ? (uint32_t)len : (uint32_t)alloc;
	return VMS_LU_END;
}

static enum vms_lu_answer request_sense(struct vms_lu *lu, struct vms_lu_req *r)
{
	struct vms_sense none = {.status = VMS_SAM_GOOD};

	if (r->cdb[1] & 0xfe) {
		vms_sense_bad_cdb(&r->sense, 1);
		return VMS_LU_END;
	}
	if (!lu->ready && !r->no_lu) {
		none.key = VMS_SK_NOT_READY;
		none.asc = not_ready(lu);
	}
	if (r->no_lu) {
		none.key = VMS_SK_ILLEGAL_REQUEST;
		none.asc = VMS_ASC_LU_NOT_SUPPORTED;
	}
	return give(r, (int)vms_sense_encode(&none, r->cdb[1] & 1, scratch), r->cdb[4]);
}

/* No defects are listed: the medium has none that an initiator could avoid. */
static enum vms_lu_answer defect_data(struct vms_lu_req *r)
{
	uint8_t req = r->cdb[0] == 0x37 ? r->cdb[2] : r->cdb[1];

	memset(scratch, 0, 8);
	scratch[1] = req & 0x1f; /* the lists and the format that were asked for */
	if (r->cdb[0] == 0x37)
		return give(r, 4, vms_get_be16(r->cdb + 7));
	return give(r, 8, vms_get_be32(r->cdb + 6));
}

static enum vms_lu_answer maintenance_in(struct vms_lu *lu, struct vms_lu_req *r)
{
	int len;

	if ((r->cdb[1] & 0x1f) == 0x0a)
		return give(r, vms_alua_report(r->cdb, lu->ports, lu->nports, scratch, &r->sense),
			    vms_get_be32(r->cdb + 6));
	if ((r->cdb[1] & 0x1f) == 0x0c) {
		len = vms_opcodes_report(r->cdb, scratch, sizeof(scratch));
		if (len < 0)
			vms_sense_bad_cdb(&r->sense, (unsigned)(-1 - len));
		return give(r, len, vms_get_be32(r->cdb + 6));
	}
	/* REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: ABORT TASK, ABORT TASK SET,
	 * CLEAR TASK SET, LOGICAL UNIT RESET. Timeouts (REPD) are not told. */
	memset(scratch, 0, 16);
	scratch[0] = 0xd8;
	len = 4;
	if (r->cdb[2] & 0x80) {
		scratch[3] = 12;
		len = 16;
	}
	return give(r, len, vms_get_be32(r->cdb + 6));
}

static enum vms_lu_answer start_stop(struct vms_lu_req *r)
{
	/* No power conditions and nothing to eject; stopping a unit that other hosts
	 * use would only harm them, so START 0 changes nothing. */
	if (r->cdb[4] & 0xf0)
		vms_sense_bad_cdb(&r->sense, 4);
	else if (r->cdb[4] & 0x02)
		vms_sense_bad_cdb(&r->sense, 4);
	return VMS_LU_END;
}

static enum vms_lu_answer send_diagnostic(struct vms_lu_req *r)
{
	/* Only the default self-test: all that can be tested from here works if the
	 * command arrives. */
	if ((r->cdb[1] & 0xe4) != 0x04)
		vms_sense_bad_cdb(&r->sense, 1);
	else if (vms_get_be16(r->cdb + 3))
		vms_sense_bad_cdb(&r->sense, 3);
	return VMS_LU_END;
}

/* The cluster answers; here only what needs no table. */
static enum vms_lu_answer reservation(struct vms_lu_req *r)
{
	r->in_bytes = r->cdb[0] == 0x5e ? vms_get_be16(r->cdb + 7) : 0;
	return VMS_LU_RESERVATION;
}

/* EXTENDED COPY reads and writes; RECEIVE COPY RESULTS asks what became of it. */
static enum vms_lu_answer copy(struct vms_lu *lu, struct vms_lu_req *r)
{
	if (r->cdb[0] == 0x83 && !lu->ready) {
		vms_sense_fail(&r->sense, VMS_SK_NOT_READY, not_ready(lu));
		return VMS_LU_END;
	}
	r->in_bytes = r->cdb[0] == 0x84 ? vms_get_be32(r->cdb + 10) : 0;
	return VMS_LU_COPY;
}

static enum vms_lu_answer mode_select(struct vms_lu *lu, struct vms_lu_req *r,
				      const struct vms_lu_sink *sink)
{
	uint32_t want = r->cdb[0] == 0x55 ? vms_get_be16(r->cdb + 7) : r->cdb[4];
	int changed;

	if (r->out_bytes < want) {
		vms_sense_fail(&r->sense, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
		return VMS_LU_END;
	}
	changed = vms_vpd_mode_select(&lu->ident, &lu->mode, r->cdb, r->out, want, &r->sense);
	if (changed > 0)
		sink->attention_others(sink->ctx, r->who.owner.session,
				       VMS_ASC_MODE_PARAMETERS_CHANGED);
	return VMS_LU_END;
}

static enum vms_lu_answer medium(struct vms_lu *lu, struct vms_lu_req *r)
{
	struct vms_sense *s = &r->sense;

	if (!lu->ready) {
		vms_sense_fail(s, VMS_SK_NOT_READY, not_ready(lu));
		return VMS_LU_END;
	}
	if (vms_cdb_parse(r->cdb, r->cdb_bytes, lu->ident.nblocks, &r->io, s))
		return VMS_LU_END;
	if (r->io.write && lu->mode.swp) {
		vms_sense_fail(s, VMS_SK_DATA_PROTECT, VMS_ASC_SOFTWARE_WRITE_PROTECTED);
		return VMS_LU_END;
	}
	if (r->io.write && lu->ident.write_protect) {
		vms_sense_fail(s, VMS_SK_DATA_PROTECT, VMS_ASC_WRITE_PROTECTED);
		return VMS_LU_END;
	}
	if (vms_cdb_fit_data(&r->io, r->out_bytes, s) || r->io.nothing)
		return VMS_LU_END;
	return VMS_LU_IO;
}

static enum vms_lu_answer exec(struct vms_lu *lu, struct vms_lu_req *r,
			       const struct vms_lu_sink *sink)
{
	const struct vms_opcode *op = NULL;
	const uint8_t *cdb = r->cdb;
	unsigned sa;

	r->sense = (struct vms_sense){.status = VMS_SAM_GOOD};
	r->in = NULL;
	r->in_bytes = 0;
	if (r->cdb_bytes >= 6) {
		sa = cdb[1] & 0x1f;
		op = vms_opcode_find(cdb[0], sa);
		if (!op && vms_opcode_kind(cdb[0]) == 2) {
			vms_sense_bad_cdb(&r->sense, 1);
			return VMS_LU_END;
		}
	}
	if (!op || r->cdb_bytes < op->cdb_bytes) {
		vms_sense_fail(&r->sense, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_OPCODE);
		return VMS_LU_END;
	}
	if (r->no_lu && op->opcode != 0x12 && op->opcode != 0x03) {
		vms_sense_fail(&r->sense, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_LU_NOT_SUPPORTED);
		return VMS_LU_END;
	}
	if (!r->no_lu && vms_pr_refuses_command(lu->pr, &r->who, op, cdb)) {
		r->sense.status = VMS_SAM_RESERVATION_CONFLICT;
		return VMS_LU_END;
	}
	r->access = op->access;
	if (vms_cdb_is_io(cdb, r->cdb_bytes))
		return medium(lu, r);

	switch (cdb[0]) {
	case 0x00:
		if (!lu->ready)
			vms_sense_fail(&r->sense, VMS_SK_NOT_READY, not_ready(lu));
		return VMS_LU_END;
	case 0x03:
		return request_sense(lu, r);
	case 0x12:
		return give(r, vms_vpd_inquiry(&lu->ident, cdb, r->no_lu, scratch, &r->sense),
			    vms_get_be16(cdb + 3));
	case 0x15:
	case 0x55:
		return mode_select(lu, r, sink);
	case 0x16:
	case 0x17:
	case 0x56:
	case 0x57:
	case 0x5e:
	case 0x5f:
		return reservation(r);
	case 0x1a:
		return give(r, vms_vpd_mode_sense(&lu->ident, &lu->mode, cdb, scratch, &r->sense),
			    cdb[4]);
	case 0x5a:
		return give(r, vms_vpd_mode_sense(&lu->ident, &lu->mode, cdb, scratch, &r->sense),
			    vms_get_be16(cdb + 7));
	case 0x1b:
		return start_stop(r);
	case 0x1d:
		return send_diagnostic(r);
	case 0x1e: /* not removable: nothing to prevent */
		return VMS_LU_END;
	case 0x25:
		return give(r, vms_vpd_read_capacity10(&lu->ident, cdb, scratch, &r->sense), 8);
	case 0x9e:
		return give(r, vms_vpd_read_capacity16(&lu->ident, cdb, scratch, &r->sense),
			    vms_get_be32(cdb + 10));
	case 0x37:
	case 0xb7:
		return defect_data(r);
	case 0x83:
	case 0x84:
		return copy(lu, r);
	case 0xa3:
		return maintenance_in(lu, r);
	default: /* in the table for the report only (REPORT LUNS) */
		vms_sense_fail(&r->sense, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_OPCODE);
		return VMS_LU_END;
	}
}

/* Refused by what the cluster's records say, which may have changed while this gateway stood
 * still. What the initiator set itself (SWP, 27h/02h) is no record. */
static bool by_records(const struct vms_lu *lu, const struct vms_sense *s)
{
	return s->status == VMS_SAM_RESERVATION_CONFLICT ||
	       (s->status == VMS_SAM_CHECK_CONDITION &&
		(s->asc == VMS_ASC_LBA_OUT_OF_RANGE ||
		 (s->asc == VMS_ASC_WRITE_PROTECTED && lu->ident.write_protect)));
}

enum vms_lu_answer vms_lu_exec(struct vms_lu *lu, struct vms_lu_req *r,
			       const struct vms_lu_sink *sink)
{
	enum vms_lu_answer a = exec(lu, r, sink);

	if (a == VMS_LU_END && by_records(lu, &r->sense) && sink->current &&
	    !sink->current(sink->ctx)) {
		r->sense = (struct vms_sense){.status = VMS_SAM_BUSY};
		r->in_bytes = 0;
	}
	return a;
}
