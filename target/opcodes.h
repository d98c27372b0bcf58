/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The commands a VMStore logical unit has: one table for dispatch, reservations
 * and REPORT SUPPORTED OPERATION CODES, so that they cannot disagree.
 * Pure. Sources: spc4r31 6.35, sbc3r36 clause 5 and table 13 (reservations).
 */
#ifndef VMS_OPCODES_H
#define VMS_OPCODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a reservation held by others means for a command. */
enum vms_access {
	VMS_ACC_ANY,   /* never conflicts (INQUIRY, REQUEST SENSE, PERSISTENT RESERVE) */
	VMS_ACC_READ,  /* conflicts with Exclusive Access */
	VMS_ACC_WRITE, /* conflicts with Write Exclusive and Exclusive Access */
};

enum vms_opcode_flags {
	VMS_OPF_SA = 1,		/* has a service action in byte 1 bits 4..0 */
	VMS_OPF_LEGACY_ANY = 4, /* allowed while another nexus holds RESERVE */
};

struct vms_opcode {
	uint8_t opcode;
	uint8_t sa;
	uint8_t cdb_bytes;
	uint8_t access; /* enum vms_access */
	uint8_t flags;
	uint16_t nominal_s, recommended_s; /* command timeouts; 0: not told */
	uint8_t usage[16];		   /* bits of the CDB that are looked at */
	const char *name;
};

extern const struct vms_opcode vms_opcodes[];
extern const size_t vms_opcodes_count;

/* Entry of a CDB's opcode (and service action), or NULL. */
const struct vms_opcode *vms_opcode_find(uint8_t opcode, unsigned sa);
/* 0: opcode unknown, 1: known, 2: known and has service actions. */
int vms_opcode_kind(uint8_t opcode);

/* REPORT SUPPORTED OPERATION CODES for this CDB into out[room_bytes] (not cut to
 * the allocation length): its length, or -1 - byte when that byte of the CDB is
 * invalid. */
int vms_opcodes_report(const uint8_t *cdb, uint8_t *out, size_t room_bytes);
#define VMS_OPCODES_REPORT_BYTES_MAX 2048u

#endif
