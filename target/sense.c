// SPDX-License-Identifier: GPL-2.0-only
/* SCSI status and sense data; see sense.h. */
#include "target/sense.h"

#include <string.h>

#include "include/err.h"
#include "utils/lib/bytes.h"

int vms_sense_fail(struct vms_sense *s, uint8_t key, uint16_t asc)
{
	*s = (struct vms_sense){
		.status = VMS_SAM_CHECK_CONDITION,
		.key = key,
		.asc = asc,
	};
	return -1;
}

int vms_sense_bad_cdb(struct vms_sense *s, unsigned byte)
{
	vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_CDB);
	s->field_valid = true;
	s->field_in_cdb = true;
	s->field = (uint16_t)byte;
	return -1;
}

int vms_sense_bad_param(struct vms_sense *s, unsigned byte)
{
	vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_PARAMETERS);
	s->field_valid = true;
	s->field = (uint16_t)byte;
	return -1;
}

int vms_sense_bad_lba(struct vms_sense *s, uint64_t lba)
{
	vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_LBA_OUT_OF_RANGE);
	s->info_valid = true;
	s->info = lba;
	return -1;
}

static void put_field_pointer(uint8_t *p, const struct vms_sense *s)
{
	p[0] = 0x80 | (s->field_in_cdb ? 0x40 : 0);
	vms_put_be16(p + 1, s->field);
}

unsigned vms_sense_encode(const struct vms_sense *s, bool descriptor, uint8_t *out)
{
	unsigned n = 8;

	memset(out, 0, VMS_SENSE_BYTES_MAX);
	if (!descriptor) {
		out[0] = 0x70;
		if (s->info_valid && s->info <= UINT32_MAX) {
			out[0] |= 0x80;
			vms_put_be32(out + 3, (uint32_t)s->info);
		}
		out[2] = s->key;
		out[7] = 10;
		if (s->csi_valid)
			vms_put_be32(out + 8, s->csi);
		vms_put_be16(out + 12, s->asc);
		if (s->field_valid)
			put_field_pointer(out + 15, s);
		return 18;
	}
	out[0] = 0x72;
	out[1] = s->key;
	vms_put_be16(out + 2, s->asc);
	if (s->info_valid) {
		out[n] = 0x00;
		out[n + 1] = 0x0a;
		out[n + 2] = 0x80;
		vms_put_be64(out + n + 4, s->info);
		n += 12;
	}
	if (s->csi_valid && !s->info_valid) { /* never both: there is no room */
		out[n] = 0x01;
		out[n + 1] = 0x0a;
		vms_put_be64(out + n + 4, s->csi);
		n += 12;
	}
	if (s->field_valid) {
		out[n] = 0x02;
		out[n + 1] = 0x06;
		put_field_pointer(out + n + 4, s);
		n += 8;
	}
	out[7] = (uint8_t)(n - 8);
	return n;
}

void vms_sense_from_err(struct vms_sense *s, int err, const struct vms_sense_cmd *cmd)
{
	*s = (struct vms_sense){.status = VMS_SAM_GOOD};
	switch (err) {
	case VMS_OK:
		return;
	/* Nothing is on its way any more, the initiator may repeat at will. */
	case VMS_E_FULL:
		s->status = VMS_SAM_TASK_SET_FULL;
		break;
	case VMS_E_BUSY:
	case VMS_E_AGAIN:
	case VMS_E_NOMEM:
	case VMS_E_TOO_OLD:
	case VMS_E_EPOCH:
	case VMS_E_NOT_PRIMARY:
	case VMS_E_SNAP_GEN:
	case VMS_E_LUN_FENCE:
	case VMS_E_STOPPING:
	case VMS_E_GONE:
	case VMS_E_UNKNOWN:
	case VMS_E_CONFLICT:
		s->status = VMS_SAM_BUSY;
		break;
	case VMS_E_RESERVED:
		s->status = VMS_SAM_RESERVATION_CONFLICT;
		break;
	case VMS_E_CANCELLED:
		s->status = VMS_SAM_TASK_ABORTED;
		break;
	/* The outcome is not known, or not wholly: the initiator has to decide. */
	case VMS_E_TIMEOUT:
	case VMS_E_DISCONNECTED:
		vms_sense_fail(s, VMS_SK_ABORTED_COMMAND, VMS_ASC_COMMAND_TIMEOUT);
		break;
	case VMS_E_IO:
	case VMS_E_CORRUPT:
	case VMS_E_BAD_SECTORS:
		vms_sense_fail(s, VMS_SK_MEDIUM_ERROR,
			       cmd->write ? VMS_ASC_WRITE_ERROR : VMS_ASC_UNRECOVERED_READ);
		s->info_valid = cmd->have_info;
		s->info = cmd->info_lba;
		break;
	case VMS_E_DATA_LOSS:
		/* Acknowledged, unflushed writes are gone: the flush (or FUA write)
		 * that should have covered them fails. */
		vms_sense_fail(s, VMS_SK_MEDIUM_ERROR, VMS_ASC_WRITE_ERROR);
		break;
	case VMS_E_MISCOMPARE:
		vms_sense_fail(s, VMS_SK_MISCOMPARE, VMS_ASC_MISCOMPARE_DURING_VERIFY);
		s->info_valid = true;
		s->info = cmd->miscompare_bytes;
		break;
	case VMS_E_NOSPC:
		vms_sense_fail(s, VMS_SK_DATA_PROTECT, VMS_ASC_SPACE_ALLOCATION_FAILED);
		break;
	case VMS_E_PERM:
		vms_sense_fail(s, VMS_SK_DATA_PROTECT, VMS_ASC_WRITE_PROTECTED);
		break;
	case VMS_E_RANGE:
		vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_LBA_OUT_OF_RANGE);
		break;
	case VMS_E_INVAL:
		vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_CDB);
		break;
	case VMS_E_UNSUPPORTED:
		vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_OPCODE);
		break;
	case VMS_E_NOENT:
		vms_sense_fail(s, VMS_SK_NOT_READY, VMS_ASC_LU_NOT_CONFIGURED);
		break;
	case VMS_E_INCARNATION:
		vms_sense_fail(s, VMS_SK_NOT_READY, VMS_ASC_NOT_READY_CAUSE_NOT_REPORTABLE);
		break;
	default:
		vms_sense_fail(s, VMS_SK_HARDWARE_ERROR, VMS_ASC_INTERNAL_TARGET_FAILURE);
		break;
	}
	/* The others say that nothing has happened. BUSY is repeated, and the repetition is told
	 * what is in its way. */
	if (cmd->partly_applied && s->status == VMS_SAM_TASK_ABORTED)
		vms_sense_fail(s, VMS_SK_ABORTED_COMMAND, VMS_ASC_COMMAND_TIMEOUT);
	else if (cmd->partly_applied && s->status != VMS_SAM_CHECK_CONDITION)
		s->status = VMS_SAM_BUSY;
}
