/* SPDX-License-Identifier: GPL-2.0-only */
/* What the gateway's fake world (gw_fake.h) is made of: its catalog, its nodes and what they
 * keep, how they are told to behave, and what was seen of the gateway. */
#ifndef VMS_TESTS_GW_FAKE_STATE_H
#define VMS_TESTS_GW_FAKE_STATE_H

#include "target/gateway.h"

#define F_NODES	  3
#define F_FIRST	  2u	/* nodes at the start */
#define F_CHUNKS  4096u /* of the volume: 16 MiB */
#define F_POS_MAX 8192u
#define F_BRANCH  1
#define F_CLONES  2 /* branches behind it, when told to be clones */

#define DISK   VMS_ACK_DISK
#define MEMORY VMS_ACK_MEMORY

struct f_kv {
	char key[VMS_CAT_KEY_BYTES_MAX];
	char *val; /* NULL: deleted */
	uint64_t rev;
};
struct f_call {
	vms_cat_done_fn fn;
	void *arg;
	int status;
	char key[VMS_CAT_KEY_BYTES_MAX];
	bool range, event;
	uint64_t rev;
};
struct f_watch {
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	vms_cat_done_fn fn;
	void *arg;
};

struct f_msg {
	struct vms_msg m;
	struct vms_iov iov;
	uint32_t node;
	uint8_t bytes[]; /* body, payload */
};

struct fake {
	struct vms_catalog cat;
	struct f_kv kv[64];
	unsigned nkv;
	uint64_t rev;
	struct f_call call[256];
	unsigned ncall;
	struct f_watch watch[32];
	unsigned nwatch;
	bool quiet;	 /* watches tell nothing */
	bool watch_full; /* and are refused */
	unsigned ngets;
	bool cat_down;	     /* calls end with VMS_E_TIMEOUT, events wait in late[] */
	bool cat_mute;	     /* transactions are done, and end with VMS_E_TIMEOUT */
	uint64_t branch_rev; /* branches are read as of then; 0: as of now */
	struct f_call late[64];
	unsigned nlate;

	struct vms_gw *gw;
	struct vms_gw_vol *vol;
	struct vms_gw_update up;
	uint64_t now;
	struct f_msg *q[1024]; /* from the gateway, not handled yet */
	unsigned nq;
	bool connected[F_NODES + 1], reachable[F_NODES + 1], want[F_NODES + 1];
	bool mute[F_NODES + 1];	       /* stands still: gives neither ticks nor answers */
	char address[F_NODES + 1][64]; /* connected to last */
	uint32_t primary;
	uint64_t epoch; /* of the partition, as the nodes know it */
	uint64_t incarnation[F_NODES + 1], tick[F_NODES + 1];
	unsigned drops, opened, open_status, fatals, changes;
	char warned[400]; /* last thing it had to say */
	struct vms_gw_cmd *ended[64];
	unsigned nended;

	/* the store: node 1's truth */
	vms_addr map[F_CHUNKS];
	vms_addr snap[F_CHUNKS]; /* what reads under snap_gen get */
	uint64_t snap_gen;	 /* 0: there is no snapshot */
	uint8_t *data[F_POS_MAX];
	uint64_t pos, seq;
	bool drained;  /* what is written lies in a container at once */
	vms_addr gone; /* a copy of it is refused */
	unsigned n_copy;
	vms_addr fp[256]; /* chunk that a fingerprint of this byte, repeated, names */

	/* Branches F_BRANCH + 1… are clones of what `map` shows: their own chunks, and which
	 * sub-extents have such. */
	bool clones;
	vms_addr clone[F_CLONES][F_CHUNKS];
	uint8_t clone_own[F_CLONES][F_CHUNKS / VMS_EXTENT_CHUNKS];
	vms_addr *to; /* where f_store() writes; NULL: map */
	bool no_own, hold_own;
	unsigned n_own, own_asked; /* OWN requests, extents in them */

	/* behaviour */
	bool hold_writes, hold_pages, hold_lba, hold_cancel; /* frames stay in held[] */
	struct f_msg *held[64];
	unsigned nheld;
	int write_status;	 /* != 0: the next writes are refused so */
	unsigned write_ok_first; /* ... after so many were taken */
	int second_status;	 /* those of the second partition */
	bool write_ask;		 /* something newer is ordered wherever they wrote */
	/* writes with lower numbers are refused; tell_floor: and told the higher one */
	uint64_t floor_gen, floor_fence;
	bool tell_floor;
	int cancel_status;
	int flush_status;
	uint32_t flush_loss; /* told with the answers */
	bool hold_flush;
	bool corrupt_node1; /* READ_ADDR answers of node 1 are damaged */
	bool corrupt_lba;   /* READ_LBA answers */
	bool gone_once;
	bool lba_ask; /* READ_LBA answers name no address: the chunk is being written */
	/* what was seen */
	unsigned n_write, n_pages, n_addr, n_lba, n_flush, n_cancel, n_repair, n_inval_ok;
	uint32_t inval_gone; /* what the last answer to INVALIDATE said is left of nothing */
	struct vms_msg last_write, prev_write;
	uint32_t write_node, flush_node, repair_node; /* who got the last one */
	unsigned writes_at[F_NODES + 1];
	uint64_t read_gen; /* of the last GET_PAGES or READ_LBA */
	/* leases that nodes tell with their ticks */
	unsigned npeers;
	uint32_t peer[F_NODES], peer_ms[F_NODES];
	/* reservations: the last command that ended, the last table told; the latter's
	 * commands have to end first */
	struct vms_gw_pr_cmd *pr_ended;
	uint64_t pr_told;
	bool pr_wait;
	uint32_t live; /* gateway that the nodes have a session of, besides ours */
	unsigned n_floor, n_floor_gw;
	struct vms_msg last_floor;
	bool floor_again; /* FLOOR is answered AGAIN */
	/* told with ticks, when tell_space */
	bool tell_space, refusing[F_NODES + 1];
	uint32_t used_permille[F_NODES + 1];
};

static struct fake f;
/* Where the gateway runs; before f_gw_start(). */
static struct {
	const char *portal, *host, *boot;
} f_place = {"", "", ""};
static uint32_t f_gateways;    /* before f_start(): as many numbers are given away already */
static void (*f_before)(void); /* puts what is in the catalog before the gateway starts */
static uint32_t f_second;      /* before f_start(): leads a second partition; 0: there is none */

static inline uint32_t f_leader(uint32_t partition)
{
	return partition ? f_second : f.primary;
}

#endif
