/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Units, addresses and identifiers shared by all folders.
 *
 * Units:  logical block  512 B   the LBA unit of SCSI
 *         chunk          4 KiB   addressing, dedup and cache unit
 *         sub-extent   512 KiB   128 chunks, what one index page maps
 *         extent         4 MiB   8 sub-extents, what one partition orders
 *
 * Global address (doc/architecture.md "Addresses"): bits 63..31 the container
 * number (33 bits), bits 30..0 the byte offset in it. The top p bits of the
 * container number are its partition, the next bit marks a log address.
 * 0 is a hole. Invariant: an address that has left its node never names other
 * content.
 */
#ifndef VMS_TYPES_H
#define VMS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMS_LB_BYTES	   512u
#define VMS_CHUNK_BYTES	   4096u
#define VMS_CHUNK_BLOCKS   8u
#define VMS_SUBEXT_CHUNKS  128u
#define VMS_EXTENT_SUBEXTS 8u
#define VMS_EXTENT_CHUNKS  1024u
#define VMS_EXTENT_BYTES   (4u << 20)
#define VMS_EXTENT_BLOCKS  (VMS_EXTENT_BYTES / VMS_LB_BYTES)
#define VMS_SUBEXT_BYTES   (512u << 10)
#define VMS_MASK_FULL	   0xffu /* sector mask of a whole chunk, bit i = logical block i */

#define VMS_COPIES_MAX	  5
#define VMS_NODES_MAX	  256
#define VMS_GATEWAYS_MAX  256
#define VMS_PART_BITS_MAX 16
#define VMS_PART_NONE	  0xffffffffu
#define VMS_VOL_BYTES_MAX (1ull << 54) /* 2^32 extents of 4 MiB */

typedef uint64_t vms_addr;
#define VMS_ADDR_HOLE ((vms_addr)0)
/* Page entry only: an uncommitted write is on its way, read by LBA (rules A4). */
#define VMS_ADDR_ASK ((vms_addr)1)
/* Page entry of a storage node only: the page was lost on every replica, what it named
 * is not known. Reads as damaged. Never leaves the node. */
#define VMS_ADDR_LOST ((vms_addr)2)

/* snap_gen of a read of a live volume: whatever is newest in its branch. */
#define VMS_GEN_LIVE UINT64_MAX
/* A branch sees its own pages, then those of at most so many ancestors. */
#define VMS_ANCESTORS_MAX 8

#define VMS_CTR_BITS	  33
#define VMS_CTR_OFF_BITS  31
#define VMS_CTR_BYTES_MAX (1ull << VMS_CTR_OFF_BITS)

static inline vms_addr vms_addr_make(uint64_t container, uint32_t offset_bytes)
{
	return (container << VMS_CTR_OFF_BITS) | offset_bytes;
}
static inline uint64_t vms_addr_container(vms_addr a)
{
	return a >> VMS_CTR_OFF_BITS;
}
static inline uint32_t vms_addr_offset_bytes(vms_addr a)
{
	return (uint32_t)(a & (VMS_CTR_BYTES_MAX - 1));
}
/* part_bits: p of the cluster, 0..VMS_PART_BITS_MAX. */
static inline uint32_t vms_addr_partition(vms_addr a, unsigned part_bits)
{
	return (uint32_t)(vms_addr_container(a) >> (VMS_CTR_BITS - part_bits));
}
/* First container number of a partition's range. */
static inline uint64_t vms_ctr_first(uint32_t partition, unsigned part_bits)
{
	return (uint64_t)partition << (VMS_CTR_BITS - part_bits);
}
/* Container numbers a partition may use for files: first + 1 .. first + this - 1. */
static inline uint64_t vms_ctr_count(unsigned part_bits)
{
	return 1ull << (VMS_CTR_BITS - part_bits - 1);
}
static inline bool vms_addr_is_log(vms_addr a, unsigned part_bits)
{
	return (vms_addr_container(a) >> (VMS_CTR_BITS - part_bits - 1)) & 1;
}
/* Log address of the chunk at position `pos` (counted in chunks) of a
 * partition's write sequence; pos < vms_logpos_max(). */
static inline uint64_t vms_logpos_max(unsigned part_bits)
{
	return 1ull << (VMS_CTR_BITS - part_bits - 1 + VMS_CTR_OFF_BITS - 12);
}
static inline vms_addr vms_logpos_addr(uint32_t partition, uint64_t pos, unsigned part_bits)
{
	uint64_t c = vms_ctr_first(partition, part_bits) |
		     (1ull << (VMS_CTR_BITS - part_bits - 1)) | (pos >> 19);
	return vms_addr_make(c, (uint32_t)(pos & 0x7ffff) << 12);
}
static inline uint64_t vms_addr_logpos(vms_addr a, unsigned part_bits)
{
	uint64_t c = vms_addr_container(a) & ((1ull << (VMS_CTR_BITS - part_bits - 1)) - 1);
	return (c << 19) | (vms_addr_offset_bytes(a) >> 12);
}

static inline uint64_t vms_mix64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}
/* Partition of an extent: parent's and clone's pages of one extent share it. */
static inline uint32_t vms_extent_partition(uint64_t lineage, uint32_t extent, unsigned part_bits)
{
	uint64_t h = vms_mix64(vms_mix64(lineage) + 0x9e3779b97f4a7c15ull * (extent + 1ull));
	return part_bits ? (uint32_t)(h >> (64 - part_bits)) : 0;
}

/* A member of an in-sync set: a process, not just a machine (rules D7). */
struct vms_member {
	uint32_t node;
	uint64_t incarnation; /* 0: has never served in this set */
};

/* Who was in a view of a partition, as its VIEW record tells; n 0: not known. */
struct vms_view {
	uint64_t epoch;
	uint32_t n;
	struct vms_member member[VMS_COPIES_MAX];
};

/* A partition's configuration as the catalog holds it. */
struct vms_part_conf {
	uint64_t epoch; /* 0: partition does not exist */
	uint32_t primary;
	uint32_t nmembers;
	struct vms_member member[VMS_COPIES_MAX]; /* in-sync set, primary first */
	uint64_t loss_epoch;
	/* Nodes that ought to hold it, wanted primary first; none: the members, in
	 * their order. Who changes the members writes it out first. */
	uint32_t nwant;
	uint32_t want[VMS_COPIES_MAX];
	/* == epoch: the former primary took back all it had given out before it let
	 * the lead go, so the new one need not wait for leases of gateways. */
	uint64_t handover;
};

enum vms_write_ack { VMS_ACK_DISK = 0, VMS_ACK_MEMORY = 1 };

/* Times of "Nothing late"; all in ms of the boot clock; one factor scales them. */
struct vms_timing {
	uint32_t tick_ms;     /* node tick period, 250 */
	uint32_t tick_gap_ms; /* largest allowed gap between ticks, 1000 */
	uint32_t lease_ms;    /* peer lease and session lease, 2000 */
	uint32_t t_nop_ms;    /* silence of an initiator before its connection closes, 1500 */
	uint32_t t_op_ms;     /* largest age of an op when it is ordered, 2000 */
};
/* Nodes remember the outcome of an op for so many T_op, and gateways believe for half as
 * long that a primary which does not know an op has never had it: as long as a failover
 * with everything that may come between lasts. */
#define VMS_OUTCOME_KEEP_T_OP 30u

static inline struct vms_timing vms_timing_default(double factor)
{
	struct vms_timing t = {(uint32_t)(250 * factor), (uint32_t)(1000 * factor),
			       (uint32_t)(2000 * factor), (uint32_t)(1500 * factor),
			       (uint32_t)(2000 * factor)};
	return t;
}

/* Identity of one op (one piece of a command): rules C5. */
struct vms_opid {
	uint32_t gateway;
	uint32_t slot;
	uint64_t incarnation;
	uint64_t sequence;
};

struct vms_iov {
	const void *base;
	size_t len;
};

#endif
