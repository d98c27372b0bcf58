/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SCSI status and sense data: what a command ends with, its encoding in both
 * formats, and the one place where VMS_E_* codes become SCSI conditions.
 *
 * Pure. Keeps: a command of which a part may have been applied never ends BUSY
 * or TASK SET FULL (those promise that nothing happened); rules "Nothing late".
 */
#ifndef VMS_SENSE_H
#define VMS_SENSE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	VMS_SAM_GOOD = 0x00,
	VMS_SAM_CHECK_CONDITION = 0x02,
	VMS_SAM_CONDITION_MET = 0x04,
	VMS_SAM_BUSY = 0x08,
	VMS_SAM_RESERVATION_CONFLICT = 0x18,
	VMS_SAM_TASK_SET_FULL = 0x28,
	VMS_SAM_TASK_ABORTED = 0x40,
};

enum {
	VMS_SK_NO_SENSE = 0x0,
	VMS_SK_RECOVERED_ERROR = 0x1,
	VMS_SK_NOT_READY = 0x2,
	VMS_SK_MEDIUM_ERROR = 0x3,
	VMS_SK_HARDWARE_ERROR = 0x4,
	VMS_SK_ILLEGAL_REQUEST = 0x5,
	VMS_SK_UNIT_ATTENTION = 0x6,
	VMS_SK_DATA_PROTECT = 0x7,
	VMS_SK_COPY_ABORTED = 0xa,
	VMS_SK_ABORTED_COMMAND = 0xb,
	VMS_SK_MISCOMPARE = 0xe,
};

/* Additional sense code in the high byte, its qualifier in the low one. */
enum {
	VMS_ASC_NONE = 0x0000,
	VMS_ASC_NOT_READY_CAUSE_NOT_REPORTABLE = 0x0400,
	VMS_ASC_BECOMING_READY = 0x0401,
	VMS_ASC_OPERATION_IN_PROGRESS = 0x0016,
	VMS_ASC_UNREACHABLE_CSCD = 0x0804,
	VMS_ASC_WRITE_ERROR = 0x0c00,
	VMS_ASC_THIRD_PARTY_FAILURE = 0x0d01,
	VMS_ASC_CSCD_NOT_REACHABLE = 0x0d02,
	VMS_ASC_INVALID_FIELD_IN_COMMAND_IU = 0x0e03,
	VMS_ASC_UNRECOVERED_READ = 0x1100,
	VMS_ASC_PARAMETER_LIST_LENGTH = 0x1a00,
	VMS_ASC_MISCOMPARE_DURING_VERIFY = 0x1d00,
	VMS_ASC_INVALID_OPCODE = 0x2000,
	VMS_ASC_LBA_OUT_OF_RANGE = 0x2100,
	VMS_ASC_INVALID_FIELD_IN_CDB = 0x2400,
	VMS_ASC_LU_NOT_SUPPORTED = 0x2500,
	VMS_ASC_INVALID_FIELD_IN_PARAMETERS = 0x2600,
	VMS_ASC_INVALID_RELEASE = 0x2604,
	VMS_ASC_TOO_MANY_CSCDS = 0x2606,
	VMS_ASC_UNSUPPORTED_CSCD = 0x2607,
	VMS_ASC_TOO_MANY_SEGMENTS = 0x2608,
	VMS_ASC_UNSUPPORTED_SEGMENT = 0x2609,
	VMS_ASC_INLINE_DATA_LENGTH = 0x260b,
	VMS_ASC_WRITE_PROTECTED = 0x2700,
	VMS_ASC_SOFTWARE_WRITE_PROTECTED = 0x2702,
	VMS_ASC_SPACE_ALLOCATION_FAILED = 0x2707,
	VMS_ASC_MEDIUM_MAY_HAVE_CHANGED = 0x2800,
	VMS_ASC_BUS_DEVICE_RESET = 0x2903,
	VMS_ASC_MODE_PARAMETERS_CHANGED = 0x2a01,
	VMS_ASC_RESERVATIONS_PREEMPTED = 0x2a03,
	VMS_ASC_RESERVATIONS_RELEASED = 0x2a04,
	VMS_ASC_REGISTRATIONS_PREEMPTED = 0x2a05,
	VMS_ASC_CAPACITY_CHANGED = 0x2a09,
	VMS_ASC_COMMAND_TIMEOUT = 0x2e02, /* during processing due to error recovery */
	VMS_ASC_COMMANDS_CLEARED = 0x2f00,
	VMS_ASC_THIN_SOFT_THRESHOLD = 0x3807,
	VMS_ASC_SAVING_NOT_SUPPORTED = 0x3900,
	VMS_ASC_LU_NOT_CONFIGURED = 0x3e00,
	VMS_ASC_INQUIRY_DATA_CHANGED = 0x3f03,
	VMS_ASC_INTERNAL_TARGET_FAILURE = 0x4400,
	VMS_ASC_INSUFFICIENT_REGISTRATIONS = 0x5504,
};

/* How a command ended. Only CHECK CONDITION has the fields behind status. */
struct vms_sense {
	uint8_t status;
	uint8_t key;
	uint16_t asc;
	bool info_valid;
	uint64_t info; /* LBA, or byte offset of a miscompare */
	bool csi_valid;
	uint32_t csi;	   /* command-specific information (EXTENDED COPY: the segment) */
	bool field_valid;  /* sense-key specific field pointer (ILLEGAL REQUEST) */
	bool field_in_cdb; /* else in the parameter data */
	uint16_t field;	   /* byte offset */
};

#define VMS_SENSE_BYTES_MAX 32

/* Set s to CHECK CONDITION with key and asc and nothing else; returns -1, so that
 * a parser can `return vms_sense_fail(...)`. */
int vms_sense_fail(struct vms_sense *s, uint8_t key, uint16_t asc);
/* ILLEGAL REQUEST, INVALID FIELD IN CDB with the pointer to the byte; -1. */
int vms_sense_bad_cdb(struct vms_sense *s, unsigned byte);
/* ILLEGAL REQUEST, INVALID FIELD IN PARAMETER LIST with the byte's offset; -1. */
int vms_sense_bad_param(struct vms_sense *s, unsigned byte);
/* ILLEGAL REQUEST, LBA OUT OF RANGE, INFORMATION = the first LBA out of range; -1. */
int vms_sense_bad_lba(struct vms_sense *s, uint64_t lba);

/* Sense data of s, fixed (70h, 18 bytes) or descriptor format (72h), into
 * out[VMS_SENSE_BYTES_MAX]; returns its length. In the fixed format an INFORMATION
 * value beyond 32 bits is not reported (VALID 0). Source: spc4r31 4.5. */
unsigned vms_sense_encode(const struct vms_sense *s, bool descriptor, uint8_t *out);

/* What a failed command was, as far as the mapping needs it. */
struct vms_sense_cmd {
	bool write;	     /* may have changed the medium (flush included) */
	bool partly_applied; /* a part of it is known to be applied */
	uint64_t info_lba;   /* of CORRUPT, BAD_SECTORS, IO; valid with have_info */
	bool have_info;
	uint32_t miscompare_bytes;
};
/* Any VMS_E_* (and 0: GOOD) to how the command ends. */
void vms_sense_from_err(struct vms_sense *s, int err, const struct vms_sense_cmd *cmd);

#endif
