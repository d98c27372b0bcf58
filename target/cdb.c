// SPDX-License-Identifier: GPL-2.0-only
/* Medium-access CDBs; see cdb.h. */
#include "target/cdb.h"

#include <string.h>

#include "utils/lib/bytes.h"

unsigned vms_cdb_group_bytes(uint8_t opcode)
{
	switch (opcode >> 5) {
	case 0:
		return 6;
	case 1:
	case 2:
		return 10;
	case 4:
		return 16;
	case 5:
		return 12;
	default:
		return 0;
	}
}

bool vms_cdb_is_io(const uint8_t *cdb, unsigned cdb_bytes)
{
	if (cdb_bytes < 2)
		return false;
	switch (cdb[0]) {
	case 0x08:
	case 0x28:
	case 0xa8:
	case 0x88: /* READ */
	case 0x0a:
	case 0x2a:
	case 0xaa:
	case 0x8a: /* WRITE */
	case 0x2e:
	case 0xae:
	case 0x8e: /* WRITE AND VERIFY */
	case 0x2f:
	case 0xaf:
	case 0x8f: /* VERIFY */
	case 0x34:
	case 0x90: /* PRE-FETCH */
	case 0x35:
	case 0x91: /* SYNCHRONIZE CACHE */
	case 0x41:
	case 0x93: /* WRITE SAME */
	case 0x42: /* UNMAP */
	case 0x89: /* COMPARE AND WRITE */
	case 0x9c: /* WRITE ATOMIC */
	case 0x8b: /* ORWRITE */
		return true;
	case 0x9e:
		return (cdb[1] & 0x1f) == 0x12; /* GET LBA STATUS */
	default:
		return false;
	}
}

/* LBA and length stand at the same places in all commands of one CDB length. */
static void get_range(const uint8_t *cdb, unsigned bytes, struct vms_cdb *c)
{
	switch (bytes) {
	case 6:
		c->lba = vms_get_be24(cdb + 1) & 0x1fffff;
		c->nblocks = cdb[4] ? cdb[4] : 256;
		break;
	case 10:
		c->lba = vms_get_be32(cdb + 2);
		c->nblocks = vms_get_be16(cdb + 7);
		break;
	case 12:
		c->lba = vms_get_be32(cdb + 2);
		c->nblocks = vms_get_be32(cdb + 6);
		break;
	default:
		c->lba = vms_get_be64(cdb + 2);
		c->nblocks = vms_get_be32(cdb + 10);
		break;
	}
}

static unsigned length_byte(unsigned bytes)
{
	return bytes == 6 ? 4 : bytes == 10 ? 7 : bytes == 12 ? 6 : 10;
}

/* The first block that is out of range goes into INFORMATION. */
static int check_range(uint64_t lba, uint64_t nblocks, uint64_t capacity, struct vms_sense *s)
{
	if (lba > capacity || (nblocks && lba == capacity))
		return vms_sense_bad_lba(s, lba);
	if (nblocks > capacity - lba)
		return vms_sense_bad_lba(s, capacity);
	return 0;
}

static int limit(const struct vms_cdb *c, uint32_t max_blocks, unsigned bytes, struct vms_sense *s)
{
	return c->nblocks > max_blocks ? vms_sense_bad_cdb(s, length_byte(bytes)) : 0;
}

static uint64_t bytes_of(const struct vms_cdb *c)
{
	return (uint64_t)c->nblocks * VMS_LB_BYTES;
}

/* Protection information (xxPROTECT in bits 7..5 of byte 1) is not supported, so
 * only 000b is valid. */
static int no_protect(const uint8_t *cdb, struct vms_sense *s)
{
	return cdb[1] & 0xe0 ? vms_sense_bad_cdb(s, 1) : 0;
}

static uint32_t dpo_fua(const uint8_t *cdb, unsigned bytes)
{
	uint32_t f = 0;

	if (bytes == 6)
		return 0;
	if (cdb[1] & 0x10)
		f |= VMS_GW_DPO;
	if (cdb[1] & 0x08)
		f |= VMS_GW_FUA;
	return f;
}

static int parse_write_same(const uint8_t *cdb, unsigned bytes, uint64_t capacity,
			    struct vms_cdb *c, struct vms_sense *s)
{
	bool ndob = bytes == 16 && (cdb[1] & 0x01);
	bool unmap = cdb[1] & 0x08;

	/* PBDATA and LBDATA are obsolete; ANCHOR has no meaning here (VPD page B2:
	 * ANC_SUP 0). */
	if (no_protect(cdb, s))
		return -1;
	if (cdb[1] & 0x16)
		return vms_sense_bad_cdb(s, 1);
	if (ndob && !unmap)
		return vms_sense_bad_cdb(s, 1);
	if (check_range(c->lba, c->nblocks, capacity, s))
		return -1;
	/* WSNZ is 1: zero does not mean 'to the end'. */
	if (!c->nblocks)
		return vms_sense_bad_cdb(s, length_byte(bytes));
	if (limit(c, VMS_WRITE_SAME_BLOCKS_MAX, bytes, s))
		return -1;
	c->write = true;
	/* The caller looks at the block: zeros are deallocated in either case. */
	c->op = ndob ? VMS_GW_ZERO : VMS_GW_WRITE_SAME;
	c->exact_out = !ndob;
	c->out_bytes = ndob ? 0 : VMS_LB_BYTES;
	return 0;
}

static int parse_verify(const uint8_t *cdb, unsigned bytes, uint64_t capacity, bool write,
			struct vms_cdb *c, struct vms_sense *s)
{
	unsigned bytchk = (cdb[1] >> 1) & 3;

	/* WRITE AND VERIFY with BYTCHK 1x is not offered. */
	if (no_protect(cdb, s))
		return -1;
	if (bytchk == 2 || (write && bytchk == 3))
		return vms_sense_bad_cdb(s, 1);
	if (check_range(c->lba, c->nblocks, capacity, s) || limit(c, VMS_XFER_BLOCKS_MAX, bytes, s))
		return -1;
	c->nothing = !c->nblocks;
	c->gw_flags = cdb[1] & 0x10 ? VMS_GW_DPO : 0;
	if (write) {
		c->op = VMS_GW_WRITE;
		c->gw_flags |= VMS_GW_FUA; /* what is verified is on the medium */
		c->write = true;
		c->verify_after = true;
		c->verify_compare = bytchk == 1;
		c->out_bytes = bytes_of(c);
		return 0;
	}
	c->op = VMS_GW_VERIFY;
	if (bytchk == 1)
		c->out_bytes = bytes_of(c);
	if (bytchk == 3 && c->nblocks) {
		c->out_bytes = VMS_LB_BYTES;
		c->repeat_block = true;
	}
	return 0;
}

static int parse_caw(const uint8_t *cdb, uint64_t capacity, struct vms_cdb *c, struct vms_sense *s)
{
	if (no_protect(cdb, s))
		return -1;
	c->nblocks = cdb[13];
	if (check_range(c->lba, c->nblocks, capacity, s))
		return -1;
	if (c->nblocks > VMS_CAW_BLOCKS_MAX)
		return vms_sense_bad_cdb(s, 13);
	/* One primary executes it, so it stays within an extent (rules C13). */
	if (c->nblocks &&
	    c->lba / VMS_EXTENT_BLOCKS != (c->lba + c->nblocks - 1) / VMS_EXTENT_BLOCKS)
		return vms_sense_bad_cdb(s, 13);
	c->op = VMS_GW_CAW;
	c->write = true;
	c->gw_flags = dpo_fua(cdb, 16);
	c->nothing = !c->nblocks;
	c->exact_out = true;
	c->out_bytes = 2 * bytes_of(c);
	return 0;
}

/* Within one extent it is one op: one record in the log of each member, applied and
 * made visible as a whole. */
static int parse_atomic(const uint8_t *cdb, uint64_t capacity, struct vms_cdb *c,
			struct vms_sense *s)
{
	unsigned boundary = vms_get_be16(cdb + 10);

	c->nblocks = vms_get_be16(cdb + 12);
	if (no_protect(cdb, s))
		return -1;
	if (check_range(c->lba, c->nblocks, capacity, s))
		return -1;
	if (c->lba % VMS_CHUNK_BLOCKS)
		return vms_sense_bad_cdb(s, 2);
	if (boundary % VMS_CHUNK_BLOCKS || boundary & (boundary - 1) ||
	    boundary > VMS_ATOMIC_BOUNDARY_MAX)
		return vms_sense_bad_cdb(s, 10);
	if (c->nblocks % VMS_CHUNK_BLOCKS ||
	    c->nblocks > (boundary ? VMS_ATOMIC_BLOCKS_MAX_BOUNDARY : VMS_ATOMIC_BLOCKS_MAX))
		return vms_sense_bad_cdb(s, 12);
	if (c->nblocks && !boundary &&
	    c->lba / VMS_EXTENT_BLOCKS != (c->lba + c->nblocks - 1) / VMS_EXTENT_BLOCKS)
		return vms_sense_bad_cdb(s, 2);
	c->op = VMS_GW_WRITE;
	c->write = true;
	c->atomic = true;
	c->gw_flags = dpo_fua(cdb, 16);
	c->nothing = !c->nblocks;
	c->out_bytes = bytes_of(c);
	return 0;
}

static int parse_lba_status(const uint8_t *cdb, uint64_t capacity, struct vms_cdb *c,
			    struct vms_sense *s)
{
	uint64_t left;

	c->lba = vms_get_be64(cdb + 2);
	c->in_bytes = vms_get_be32(cdb + 10);
	if (c->lba >= capacity)
		return vms_sense_bad_lba(s, c->lba);
	/* Provisioning is known by physical block: a start inside one is rounded up
	 * (iscsi-test-cu asks for it), but for the last one. */
	left = (c->lba + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS * VMS_CHUNK_BLOCKS;
	if (left < capacity)
		c->lba = left;
	left = capacity - c->lba;
	c->nblocks = left < VMS_LBA_STATUS_BLOCKS_MAX ? (uint32_t)left : VMS_LBA_STATUS_BLOCKS_MAX;
	c->op = VMS_GW_LBA_STATUS;
	c->nothing = !c->in_bytes;
	return 0;
}

static int parse(const uint8_t *cdb, unsigned cdb_bytes, uint64_t capacity, struct vms_cdb *c,
		 struct vms_sense *s)
{
	unsigned bytes = cdb_bytes ? vms_cdb_group_bytes(cdb[0]) : 0;

	memset(c, 0, sizeof(*c));
	if (!bytes || cdb_bytes < bytes)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_OPCODE);
	get_range(cdb, bytes, c);

	switch (cdb[0]) {
	case 0x08:
	case 0x28:
	case 0xa8:
	case 0x88:
		c->op = VMS_GW_READ;
		if (bytes > 6 && no_protect(cdb, s))
			return -1;
		if (check_range(c->lba, c->nblocks, capacity, s) ||
		    limit(c, VMS_XFER_BLOCKS_MAX, bytes, s))
			return -1;
		c->gw_flags = dpo_fua(cdb, bytes);
		c->nothing = !c->nblocks;
		c->in_bytes = bytes_of(c);
		return 0;
	case 0x0a:
	case 0x2a:
	case 0xaa:
	case 0x8a:
	case 0x8b:
		c->op = cdb[0] == 0x8b ? VMS_GW_ORWRITE : VMS_GW_WRITE;
		c->write = true;
		if (bytes > 6 && no_protect(cdb, s))
			return -1;
		if (check_range(c->lba, c->nblocks, capacity, s) ||
		    limit(c, VMS_XFER_BLOCKS_MAX, bytes, s))
			return -1;
		c->gw_flags = dpo_fua(cdb, bytes);
		c->nothing = !c->nblocks;
		c->out_bytes = bytes_of(c);
		return 0;
	case 0x2e:
	case 0xae:
	case 0x8e:
		return parse_verify(cdb, bytes, capacity, true, c, s);
	case 0x2f:
	case 0xaf:
	case 0x8f:
		return parse_verify(cdb, bytes, capacity, false, c, s);
	case 0x34:
	case 0x90:
		/* 0 blocks: to the end; the core fetches as much as is sensible. */
		c->op = VMS_GW_PREFETCH;
		if (check_range(c->lba, c->nblocks, capacity, s))
			return -1;
		if (c->lba == capacity)
			return vms_sense_bad_lba(s, c->lba);
		if (!c->nblocks)
			c->nblocks = capacity - c->lba < VMS_PREFETCH_BLOCKS_MAX
					     ? (uint32_t)(capacity - c->lba)
					     : VMS_PREFETCH_BLOCKS_MAX;
		return limit(c, VMS_PREFETCH_BLOCKS_MAX, bytes, s);
	case 0x35:
	case 0x91:
		/* The range is checked, the whole volume is flushed; IMMED: the
		 * status comes when it is done all the same. */
		c->op = VMS_GW_FLUSH;
		if (check_range(c->lba, c->nblocks, capacity, s))
			return -1;
		c->lba = 0;
		c->nblocks = 0;
		return 0;
	case 0x41:
	case 0x93:
		return parse_write_same(cdb, bytes, capacity, c, s);
	case 0x42:
		if (cdb[1] & 0x01) /* ANCHOR */
			return vms_sense_bad_cdb(s, 1);
		c->op = VMS_GW_ZERO;
		c->write = true;
		c->unmap_list = true;
		c->lba = 0;
		c->nblocks = 0;
		c->out_bytes = vms_get_be16(cdb + 7);
		c->nothing = !c->out_bytes;
		if (c->out_bytes && c->out_bytes < 8)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_PARAMETER_LIST_LENGTH);
		return 0;
	case 0x89:
		return parse_caw(cdb, capacity, c, s);
	case 0x9c:
		return parse_atomic(cdb, capacity, c, s);
	case 0x9e:
		if ((cdb[1] & 0x1f) == 0x12)
			return parse_lba_status(cdb, capacity, c, s);
		return vms_sense_bad_cdb(s, 1);
	default:
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_OPCODE);
	}
}

int vms_cdb_parse(const uint8_t *cdb, unsigned cdb_bytes, uint64_t capacity, struct vms_cdb *c,
		  struct vms_sense *s)
{
	int rc = parse(cdb, cdb_bytes, capacity, c, s);

	c->cdb_out_bytes = c->out_bytes;
	return rc;
}

int vms_cdb_fit_data(struct vms_cdb *c, uint64_t got, struct vms_sense *s)
{
	if (c->op == VMS_GW_CAW && c->nothing && got)
		return vms_sense_bad_cdb(s, 13);
	if (got < c->out_bytes && c->op == VMS_GW_WRITE && !c->atomic && got % VMS_LB_BYTES == 0) {
		c->nblocks = (uint32_t)(got / VMS_LB_BYTES);
		c->out_bytes = got;
		c->nothing = !got;
		return 0;
	}
	if (got < c->out_bytes || (c->exact_out && got > c->out_bytes))
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
				      VMS_ASC_INVALID_FIELD_IN_COMMAND_IU);
	return 0;
}

int vms_cdb_unmap_list(const uint8_t *list, uint32_t len, uint64_t capacity,
		       struct vms_range *ranges, struct vms_sense *s)
{
	uint32_t desc_bytes, n;
	uint64_t total = 0;
	int used = 0;

	if (len < 8)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	desc_bytes = vms_get_be16(list + 2);
	/* A list that is cut off holds fewer descriptors; an incomplete last one is
	 * not processed (sbc3r36 5.28.2). */
	if (desc_bytes > len - 8)
		desc_bytes = len - 8;
	n = desc_bytes / 16;
	if (n > VMS_UNMAP_DESCS_MAX)
		return vms_sense_bad_param(s, 2);
	/* Everything is checked before anything happens. */
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *d = list + 8 + 16 * i;
		uint64_t lba = vms_get_be64(d);
		uint32_t blocks = vms_get_be32(d + 8);

		if (check_range(lba, blocks, capacity, s))
			return -1;
		total += blocks;
		if (total > VMS_UNMAP_BLOCKS_MAX)
			return vms_sense_bad_param(s, 8 + 16 * i + 8);
		if (!blocks)
			continue;
		ranges[used].lba = lba;
		ranges[used].nblocks = blocks;
		used++;
	}
	return used;
}
