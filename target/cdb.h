/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Medium-access CDBs: bytes to a request for the gateway core, or sense data.
 * A request is checked here completely, once: every later stage may rely on it.
 * All sums are 64-bit; a range is never outside 0..capacity.
 *
 * Pure. Sources: sbc3r36 clause 5, spc4r31 4.2.
 */
#ifndef VMS_CDB_H
#define VMS_CDB_H

#include <stdbool.h>
#include <stdint.h>

#include "target/gateway.h"
#include "target/sense.h"

/* Limits; VPD page B0 (vpd.c) tells the same numbers. They end well within T_op. */
/* One node takes at most 2 MiB of data in one message (NODE_WRITE_BYTES_MAX). */
#define VMS_XFER_BLOCKS_MAX 4096u /* reads, writes, verifies */
#define VMS_XFER_BLOCKS_OPT 2048u /* 1 MiB */
/* WRITE ATOMIC: one op of one primary, so within an extent. What starts at a multiple of
 * the maximum is always that. With an atomic boundary in the CDB the command may be cut
 * there, and extents are multiples of every boundary that is allowed. */
#define VMS_ATOMIC_BLOCKS_MAX	       256u
#define VMS_ATOMIC_BLOCKS_MAX_BOUNDARY VMS_XFER_BLOCKS_MAX
#define VMS_ATOMIC_BOUNDARY_MAX	       4096u /* blocks; a power of two */
#define VMS_CAW_BLOCKS_MAX	       128u
#define VMS_UNMAP_BLOCKS_MAX	       524288u /* 256 MiB, all descriptors together */
#define VMS_UNMAP_DESCS_MAX	       64u
#define VMS_WRITE_SAME_BLOCKS_MAX      4096u
#define VMS_PREFETCH_BLOCKS_MAX	       32768u
#define VMS_LBA_STATUS_RANGES_MAX      256u
#define VMS_LBA_STATUS_BLOCKS_MAX      (64u * VMS_EXTENT_BLOCKS)

struct vms_cdb {
	enum vms_gw_op op;
	uint32_t gw_flags; /* VMS_GW_FUA, VMS_GW_DPO */
	uint64_t lba;
	uint32_t nblocks;
	bool nothing;		/* valid, and there is nothing to do: GOOD */
	bool unmap_list;	/* UNMAP: ranges stand in the parameter list */
	bool repeat_block;	/* VERIFY with BYTCHK 3: one block against all */
	bool verify_after;	/* WRITE AND VERIFY: VERIFY the range when written */
	bool verify_compare;	/* ... comparing with the data (BYTCHK 1) */
	bool atomic;		/* WRITE ATOMIC: all of it or nothing */
	bool write;		/* changes the medium: write protection applies */
	bool exact_out;		/* more data than the CDB calls for is an error too */
	uint64_t out_bytes;	/* data-out to be used (vms_cdb_fit_data() may lower it) */
	uint64_t cdb_out_bytes; /* data-out the CDB calls for: residuals */
	uint64_t in_bytes;	/* data-in the CDB calls for (READ), or allocation length */
};

/* True for the opcodes (with service action) that vms_cdb_parse() knows. */
bool vms_cdb_is_io(const uint8_t *cdb, unsigned cdb_bytes);

/* cdb: cdb_bytes long (6..16; shorter than its group demands is refused).
 * capacity_blocks: of the volume. Returns 0 with out filled or -1 with sense. */
int vms_cdb_parse(const uint8_t *cdb, unsigned cdb_bytes, uint64_t capacity_blocks,
		  struct vms_cdb *out, struct vms_sense *sense);

/* Compare what came (out_bytes) with what the CDB calls for. A WRITE or WRITE AND
 * VERIFY with fewer whole blocks writes those and reports the residual; anything else
 * with too little (or, for COMPARE AND WRITE and WRITE SAME, too much) is refused, so
 * that nothing is half done. 0 or -1 with sense. */
int vms_cdb_fit_data(struct vms_cdb *c, uint64_t out_bytes, struct vms_sense *sense);

struct vms_range {
	uint64_t lba;
	uint32_t nblocks;
};
/* UNMAP parameter list of len_bytes. ranges: room for VMS_UNMAP_DESCS_MAX; empty
 * descriptors are left out. Returns the number of ranges or -1 with sense. */
int vms_cdb_unmap_list(const uint8_t *list, uint32_t len_bytes, uint64_t capacity_blocks,
		       struct vms_range *ranges, struct vms_sense *sense);

/* Length of a CDB by its opcode's group, 0 for variable or reserved groups. */
unsigned vms_cdb_group_bytes(uint8_t opcode);

#endif
