// SPDX-License-Identifier: GPL-2.0-only
/* The table of commands; see opcodes.h. REPORT LUNS stands here because the LU
 * has it, though tgt's target layer executes it. */
#include "target/opcodes.h"

#include <string.h>

#include "utils/lib/bytes.h"

#define LBA4 0xff, 0xff, 0xff, 0xff
#define LBA8 LBA4, LBA4
#define SA   VMS_OPF_SA
#define ANYL VMS_OPF_LEGACY_ANY

#define OP(code_, sa_, len_, acc_, flags_, nom_, rec_, name_, ...)                                 \
	{                                                                                          \
		.opcode = (code_), .sa = (sa_), .cdb_bytes = (len_), .access = VMS_ACC_##acc_,     \
		.flags = (flags_), .nominal_s = (nom_), .recommended_s = (rec_), .name = (name_),  \
		.usage = {__VA_ARGS__},                                                            \
	}

/* Sorted by opcode and service action. Control byte: nothing is looked at but
 * NACA, which is refused. */
const struct vms_opcode vms_opcodes[] = {
	OP(0x00, 0, 6, ANY, 0, 1, 30, "TEST UNIT READY", 0x00, 0, 0, 0, 0, 0x04),
	OP(0x03, 0, 6, ANY, ANYL, 1, 30, "REQUEST SENSE", 0x03, 0x01, 0, 0, 0xff, 0x04),
	OP(0x08, 0, 6, READ, 0, 1, 60, "READ(6)", 0x08, 0x1f, 0xff, 0xff, 0xff, 0x04),
	OP(0x0a, 0, 6, WRITE, 0, 1, 60, "WRITE(6)", 0x0a, 0x1f, 0xff, 0xff, 0xff, 0x04),
	OP(0x12, 0, 6, ANY, ANYL, 1, 30, "INQUIRY", 0x12, 0x01, 0xff, 0xff, 0xff, 0x04),
	OP(0x15, 0, 6, WRITE, 0, 1, 30, "MODE SELECT(6)", 0x15, 0x11, 0, 0, 0xff, 0x04),
	OP(0x16, 0, 6, ANY, ANYL, 1, 30, "RESERVE(6)", 0x16, 0, 0, 0, 0, 0x04),
	OP(0x17, 0, 6, ANY, ANYL, 1, 30, "RELEASE(6)", 0x17, 0, 0, 0, 0, 0x04),
	OP(0x1a, 0, 6, READ, 0, 1, 30, "MODE SENSE(6)", 0x1a, 0x08, 0xff, 0xff, 0xff, 0x04),
	OP(0x1b, 0, 6, WRITE, 0, 1, 30, "START STOP UNIT", 0x1b, 0x01, 0, 0x0f, 0xf7, 0x04),
	OP(0x1d, 0, 6, WRITE, 0, 1, 30, "SEND DIAGNOSTIC", 0x1d, 0xf7, 0, 0xff, 0xff, 0x04),
	OP(0x1e, 0, 6, WRITE, 0, 1, 30, "PREVENT ALLOW MEDIUM REMOVAL", 0x1e, 0, 0, 0, 0x03, 0x04),
	OP(0x25, 0, 10, ANY, ANYL, 1, 30, "READ CAPACITY(10)", 0x25, 0, LBA4, 0, 0, 0x01, 0x04),
	OP(0x28, 0, 10, READ, 0, 1, 60, "READ(10)", 0x28, 0xf8, LBA4, 0, 0xff, 0xff, 0x04),
	OP(0x2a, 0, 10, WRITE, 0, 1, 60, "WRITE(10)", 0x2a, 0xf8, LBA4, 0, 0xff, 0xff, 0x04),
	OP(0x2e, 0, 10, WRITE, 0, 1, 60, "WRITE AND VERIFY(10)", 0x2e, 0xf6, LBA4, 0, 0xff, 0xff,
	   0x04),
	OP(0x2f, 0, 10, READ, 0, 1, 60, "VERIFY(10)", 0x2f, 0xf6, LBA4, 0, 0xff, 0xff, 0x04),
	OP(0x34, 0, 10, READ, 0, 1, 30, "PRE-FETCH(10)", 0x34, 0x02, LBA4, 0, 0xff, 0xff, 0x04),
	OP(0x35, 0, 10, WRITE, 0, 1, 60, "SYNCHRONIZE CACHE(10)", 0x35, 0x02, LBA4, 0, 0xff, 0xff,
	   0x04),
	OP(0x37, 0, 10, READ, 0, 1, 30, "READ DEFECT DATA(10)", 0x37, 0, 0x1f, 0, 0, 0, 0, 0xff,
	   0xff, 0x04),
	OP(0x41, 0, 10, WRITE, 0, 1, 60, "WRITE SAME(10)", 0x41, 0xf8, LBA4, 0, 0xff, 0xff, 0x04),
	OP(0x42, 0, 10, WRITE, 0, 1, 60, "UNMAP", 0x42, 0x01, 0, 0, 0, 0, 0, 0xff, 0xff, 0x04),
	OP(0x55, 0, 10, WRITE, 0, 1, 30, "MODE SELECT(10)", 0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff,
	   0x04),
	OP(0x56, 0, 10, ANY, ANYL, 1, 30, "RESERVE(10)", 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0x04),
	OP(0x57, 0, 10, ANY, ANYL, 1, 30, "RELEASE(10)", 0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0x04),
	OP(0x5a, 0, 10, READ, 0, 1, 30, "MODE SENSE(10)", 0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff,
	   0xff, 0x04),
	OP(0x5e, 0, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE IN: READ KEYS", 0x5e, 0x1f, 0, 0, 0, 0,
	   0, 0xff, 0xff, 0x04),
	OP(0x5e, 1, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE IN: READ RESERVATION", 0x5e, 0x1f, 0, 0,
	   0, 0, 0, 0xff, 0xff, 0x04),
	OP(0x5e, 2, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE IN: REPORT CAPABILITIES", 0x5e, 0x1f, 0,
	   0, 0, 0, 0, 0xff, 0xff, 0x04),
	OP(0x5e, 3, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE IN: READ FULL STATUS", 0x5e, 0x1f, 0, 0,
	   0, 0, 0, 0xff, 0xff, 0x04),
	OP(0x5f, 0, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: REGISTER", 0x5f, 0x1f, 0xff, 0, 0,
	   LBA4, 0x04),
	OP(0x5f, 1, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: RESERVE", 0x5f, 0x1f, 0xff, 0, 0,
	   LBA4, 0x04),
	OP(0x5f, 2, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: RELEASE", 0x5f, 0x1f, 0xff, 0, 0,
	   LBA4, 0x04),
	OP(0x5f, 3, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: CLEAR", 0x5f, 0x1f, 0xff, 0, 0,
	   LBA4, 0x04),
	OP(0x5f, 4, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: PREEMPT", 0x5f, 0x1f, 0xff, 0, 0,
	   LBA4, 0x04),
	OP(0x5f, 5, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: PREEMPT AND ABORT", 0x5f, 0x1f,
	   0xff, 0, 0, LBA4, 0x04),
	OP(0x5f, 6, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: REGISTER AND IGNORE EXISTING KEY",
	   0x5f, 0x1f, 0xff, 0, 0, LBA4, 0x04),
	OP(0x5f, 7, 10, ANY, SA, 1, 30, "PERSISTENT RESERVE OUT: REGISTER AND MOVE", 0x5f, 0x1f,
	   0xff, 0, 0, LBA4, 0x04),
	OP(0x83, 0, 16, WRITE, SA, 1, 60, "EXTENDED COPY(LID1)", 0x83, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0,
	   LBA4, 0, 0x04),
	OP(0x84, 0, 16, WRITE, SA, 1, 30, "RECEIVE COPY STATUS(LID1)", 0x84, 0x1f, 0xff, 0, 0, 0, 0,
	   0, 0, 0, LBA4, 0, 0x04),
	OP(0x84, 1, 16, WRITE, SA, 1, 30, "RECEIVE COPY DATA(LID1)", 0x84, 0x1f, 0xff, 0, 0, 0, 0,
	   0, 0, 0, LBA4, 0, 0x04),
	OP(0x84, 3, 16, WRITE, SA, 1, 30, "RECEIVE COPY OPERATING PARAMETERS", 0x84, 0x1f, 0, 0, 0,
	   0, 0, 0, 0, 0, LBA4, 0, 0x04),
	OP(0x84, 4, 16, WRITE, SA, 1, 30, "RECEIVE COPY FAILURE DETAILS(LID1)", 0x84, 0x1f, 0xff, 0,
	   0, 0, 0, 0, 0, 0, LBA4, 0, 0x04),
	OP(0x88, 0, 16, READ, 0, 1, 60, "READ(16)", 0x88, 0xf8, LBA8, LBA4, 0, 0x04),
	OP(0x89, 0, 16, WRITE, 0, 1, 60, "COMPARE AND WRITE", 0x89, 0xf8, LBA8, 0, 0, 0, 0xff, 0,
	   0x04),
	OP(0x8a, 0, 16, WRITE, 0, 1, 60, "WRITE(16)", 0x8a, 0xf8, LBA8, LBA4, 0, 0x04),
	OP(0x8b, 0, 16, WRITE, 0, 1, 60, "ORWRITE(16)", 0x8b, 0xf8, LBA8, LBA4, 0, 0x04),
	OP(0x8e, 0, 16, WRITE, 0, 1, 60, "WRITE AND VERIFY(16)", 0x8e, 0xf6, LBA8, LBA4, 0, 0x04),
	OP(0x8f, 0, 16, READ, 0, 1, 60, "VERIFY(16)", 0x8f, 0xf6, LBA8, LBA4, 0, 0x04),
	OP(0x90, 0, 16, READ, 0, 1, 30, "PRE-FETCH(16)", 0x90, 0x02, LBA8, LBA4, 0, 0x04),
	OP(0x91, 0, 16, WRITE, 0, 1, 60, "SYNCHRONIZE CACHE(16)", 0x91, 0x02, LBA8, LBA4, 0, 0x04),
	OP(0x93, 0, 16, WRITE, 0, 1, 60, "WRITE SAME(16)", 0x93, 0xf9, LBA8, LBA4, 0, 0x04),
	OP(0x9c, 0, 16, WRITE, 0, 1, 60, "WRITE ATOMIC(16)", 0x9c, 0xf8, LBA8, 0xff, 0xff, 0xff,
	   0xff, 0, 0x04),
	OP(0x9e, 0x10, 16, ANY, SA | ANYL, 1, 30, "READ CAPACITY(16)", 0x9e, 0x1f, LBA8, LBA4, 0x01,
	   0x04),
	OP(0x9e, 0x12, 16, READ, SA, 1, 30, "GET LBA STATUS", 0x9e, 0x1f, LBA8, LBA4, 0, 0x04),
	OP(0xa0, 0, 12, ANY, ANYL, 1, 30, "REPORT LUNS", 0xa0, 0, 0xff, 0, 0, 0, LBA4, 0, 0x04),
	OP(0xa3, 0x0a, 12, ANY, SA | ANYL, 1, 30, "REPORT TARGET PORT GROUPS", 0xa3, 0xff, 0, 0, 0,
	   0, LBA4, 0, 0x04),
	OP(0xa3, 0x0c, 12, READ, SA, 1, 30, "REPORT SUPPORTED OPERATION CODES", 0xa3, 0x1f, 0x87,
	   0xff, 0xff, 0xff, LBA4, 0, 0x04),
	OP(0xa3, 0x0d, 12, READ, SA, 1, 30, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xa3,
	   0x1f, 0x80, 0, 0, 0, LBA4, 0, 0x04),
	OP(0xa8, 0, 12, READ, 0, 1, 60, "READ(12)", 0xa8, 0xf8, LBA4, LBA4, 0, 0x04),
	OP(0xaa, 0, 12, WRITE, 0, 1, 60, "WRITE(12)", 0xaa, 0xf8, LBA4, LBA4, 0, 0x04),
	OP(0xae, 0, 12, WRITE, 0, 1, 60, "WRITE AND VERIFY(12)", 0xae, 0xf6, LBA4, LBA4, 0, 0x04),
	OP(0xaf, 0, 12, READ, 0, 1, 60, "VERIFY(12)", 0xaf, 0xf6, LBA4, LBA4, 0, 0x04),
	OP(0xb7, 0, 12, READ, 0, 1, 30, "READ DEFECT DATA(12)", 0xb7, 0x1f, LBA4, LBA4, 0, 0x04),
};
const size_t vms_opcodes_count = sizeof(vms_opcodes) / sizeof(vms_opcodes[0]);

const struct vms_opcode *vms_opcode_find(uint8_t opcode, unsigned sa)
{
	/* index of an opcode's first entry + 1; 0: none */
	static uint8_t first[256];
	static bool ready;

	if (!ready) {
		for (size_t i = vms_opcodes_count; i-- > 0;)
			first[vms_opcodes[i].opcode] = (uint8_t)(i + 1);
		ready = true;
	}
	if (!first[opcode])
		return NULL;
	for (size_t i = first[opcode] - 1u;
	     i < vms_opcodes_count && vms_opcodes[i].opcode == opcode; i++)
		if (!(vms_opcodes[i].flags & VMS_OPF_SA) || vms_opcodes[i].sa == sa)
			return &vms_opcodes[i];
	return NULL;
}

int vms_opcode_kind(uint8_t opcode)
{
	for (size_t i = 0; i < vms_opcodes_count; i++)
		if (vms_opcodes[i].opcode == opcode)
			return vms_opcodes[i].flags & VMS_OPF_SA ? 2 : 1;
	return 0;
}

static void put_timeouts(struct vms_wr *w, const struct vms_opcode *o)
{
	vms_wr_be16(w, 0x000a);
	vms_wr_u8(w, 0);
	vms_wr_u8(w, 0);
	vms_wr_be32(w, o->nominal_s);
	vms_wr_be32(w, o->recommended_s);
}

int vms_opcodes_report(const uint8_t *cdb, uint8_t *out, size_t room)
{
	bool rctd = cdb[2] & 0x80;
	unsigned option = cdb[2] & 0x07;
	uint8_t opcode = cdb[3];
	unsigned sa = vms_get_be16(cdb + 4);
	const struct vms_opcode *o = NULL;
	int kind;
	struct vms_wr w;

	vms_wr_init(&w, out, room);
	if (option == 0) {
		vms_wr_be32(&w, 0);
		for (size_t i = 0; i < vms_opcodes_count; i++) {
			o = &vms_opcodes[i];
			vms_wr_u8(&w, o->opcode);
			vms_wr_u8(&w, 0);
			vms_wr_be16(&w, o->sa);
			vms_wr_u8(&w, 0);
			vms_wr_u8(&w, (uint8_t)((rctd ? 2 : 0) | (o->flags & VMS_OPF_SA)));
			vms_wr_be16(&w, o->cdb_bytes);
			if (rctd)
				put_timeouts(&w, o);
		}
		vms_put_be32(out, (uint32_t)(vms_wr_len(&w) - 4));
		return vms_wr_ok(&w) ? (int)vms_wr_len(&w) : -1;
	}
	if (option > 3)
		return -1 - 2;
	kind = vms_opcode_kind(opcode);
	/* 1: the opcode must have no service actions, 2: it must have some,
	 * 3: whatever it is (the service action is then compared, 0 if there is none). */
	if ((option == 1 && kind == 2) || (option == 2 && kind == 1))
		return -1 - 2;
	if (kind && !(option == 3 && kind == 1 && sa))
		o = vms_opcode_find(opcode, sa);
	vms_wr_u8(&w, 0);
	if (!o) {
		vms_wr_u8(&w, 0x01); /* not supported */
		vms_wr_be16(&w, 0);
		return (int)vms_wr_len(&w);
	}
	vms_wr_u8(&w, (uint8_t)((rctd ? 0x80 : 0) | 0x03));
	vms_wr_be16(&w, o->cdb_bytes);
	for (unsigned i = 0; i < o->cdb_bytes; i++) {
		uint8_t u = o->usage[i];

		/* the opcode and the service action are told as values, not masks */
		if (i == 0)
			u = o->opcode;
		else if (i == 1 && (o->flags & VMS_OPF_SA))
			u = (uint8_t)((u & ~0x1f) | o->sa);
		vms_wr_u8(&w, u);
	}
	if (rctd)
		put_timeouts(&w, o);
	return vms_wr_ok(&w) ? (int)vms_wr_len(&w) : -1;
}
