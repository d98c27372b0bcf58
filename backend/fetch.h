/* SPDX-License-Identifier: GPL-2.0-only */
/* Chunks read from containers, here or at other nodes. */
#ifndef VMS_FETCH_H
#define VMS_FETCH_H

#include "backend/ctr.h"
#include "backend/htab.h"
#include "include/types.h"

struct vms_node;

struct fetch_ent {
	vms_addr addr; /* in; HOLE: zeros */
	uint8_t *buf;  /* in: 4096 bytes */
	uint32_t crc;  /* out */
	uint8_t valid; /* out: sector mask */
	int status;    /* out */
	bool skip;     /* in: nothing to read */
	bool asked;    /* another node is or was asked for it */
	bool any_node; /* in: also with own_only, others are asked when the own copy is bad */
	bool nowhere;  /* its segment's header is right and does not know it */
	bool has_fp;   /* out, with want_fp */
	uint8_t fp[32];
};
struct fetch {
	struct vms_node *n;
	void (*done)(struct vms_node *n, struct fetch *f);
	void *arg;
	unsigned nent;
	unsigned pending;
	bool issuing;
	bool own_only; /* a damaged chunk is not looked for at other members */
	bool patient;  /* AGAIN, not CORRUPT, while some member might still have it whole */
	bool want_fp;  /* fingerprints too: segment headers are read */
	struct fetch_ent *e;
};

struct seg_cache {
	struct vms_hlink link; /* key: address of the header */
	struct seg_cache *older, *newer;
	uint32_t n;
	uint32_t crc[VMS_SEG_ENTRIES_MAX];
	uint8_t valid[VMS_SEG_ENTRIES_MAX];
	uint64_t present;
	/* chunks that were written, or read and found right, since verified_ms */
	uint64_t verified, verified_ms;
};

void fetch_start(struct vms_node *n, struct fetch *f);
struct fetch *fetch_new(struct vms_node *n, unsigned nent);
void fetch_free(struct fetch *f);
void segs_close(struct vms_node *n);
void segs_put(struct vms_node *n, const struct vms_seg *s);
/* These bytes have just been written, or read and found right. */
void segs_verify(struct vms_node *n, vms_addr a);
bool segs_verified(struct vms_node *n, vms_addr a); /* lately */

#endif
