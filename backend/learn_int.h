/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to backend/learn.c and learn_ctr.c: a copy that is being made here. */
#ifndef VMS_LEARN_INT_H
#define VMS_LEARN_INT_H

#include "backend/node.h"
#include "backend/pages.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/vec.h"

struct part;
struct peer;
struct vms_node;

enum learn_phase {
	LP_BEGIN = 1, /* what is here is told, what is needed decided */
	LP_MARK,      /* "incomplete" becomes durable */
	LP_LOG,	      /* all records from the oldest one on */
	LP_STREAM,    /* ... and from now on as a member gets them */
	LP_PAGES,
	LP_OUTCOMES,
	LP_LIST,   /* containers */
	LP_DROP,   /* what the primary has not goes */
	LP_HEADS,  /* which segments are here already? */
	LP_FETCH,  /* the others */
	LP_SYNC,   /* durable, in the index */
	LP_VERIFY, /* everything is read back */
	LP_APPLY,  /* the records go over it */
	LP_CHECK,  /* a DIGEST record is asked for */
	LP_DIGEST,
	LP_COMMIT, /* "whole" becomes durable */
	LP_READY,
};

enum seg_state {
	SEG_NEED,  /* to be fetched */
	SEG_HEAD,  /* here; is its header the right one? */
	SEG_BYTES, /* the right header; are its chunks? */
	SEG_GOOD,
};

/* A container as the primary listed it. */
struct lctr {
	uint64_t number, epoch, incarnation, live;
	uint32_t segs, chunks;
	uint8_t state;
	bool shared;
	bool own;  /* one of that identity is here */
	bool head; /* its file header is, for certain */
	bool foot; /* its footer is */
	uint8_t *used, *st;
	uint32_t *crc;	/* of the headers; 0: not known */
	uint64_t *dead; /* places */
	uint64_t *lost; /* places of which nobody has a good copy; NULL: none */
};

VMS_VEC_TYPE(lctrs, struct lctr);

struct learn {
	uint32_t part;
	enum learn_phase phase;
	uint64_t id;	 /* of the feed */
	uint64_t serial; /* of this struct: late answers are told from it */
	uint64_t epoch;
	uint32_t primary;
	vms_conn_id conn; /* its stream comes on */
	bool base;	  /* the whole copy */
	bool pre;	  /* the pass before: containers only, and no record waits for them */
	bool pre_done;	  /* that one is over, or not wanted */
	bool may_base;	  /* BEGIN is asked, and was told that it may become one */
	bool busy;	  /* a request is out (not those for segments) */
	bool urgent;	  /* the own log waits for the base */
	bool paced;	  /* wait_ms is as the limit wants it */
	uint64_t wait_ms, told_ms, paused_ms;
	uint64_t applied, applied_ms; /* last seen, since then */
	uint64_t ticket;	      /* checkpoint */
	/* BEGIN's answer, as it is needed later */
	uint8_t blob[128];
	uint64_t next; /* record to ask for */
	struct vms_page_key page;
	bool page_any;
	struct vms_opid op;
	bool op_any;
	uint64_t ctr_after;
	uint64_t list_seq; /* applied at the primary when the list began; 0: no list yet */
	struct lctrs ctrs;
	struct lctrs known; /* of the pass before: what was verified there */
	size_t at;	    /* container */
	uint32_t seg;	    /* in it */
	unsigned flight;    /* requests and disk operations for segments */
	unsigned rounds;    /* of fetching what was found bad */
	bool bad;
	uint64_t end_seq; /* the base copy is exact once this has been applied */
	uint64_t digest_seq;
	/* progress */
	uint64_t total_bytes, done_bytes, moved_bytes, lost_chunks;
};

struct learn *learn_of(struct vms_node *n, uint32_t part, uint64_t serial);
void learn_go(struct vms_node *n, struct part *p);
void learn_fail(struct vms_node *n, struct part *p, const char *why);
/* A request to the primary, or to pe. False: not connected (the copy has ended). */
bool learn_ask(struct vms_node *n, struct learn *l, struct peer *pe, unsigned op,
	       const uint8_t *body, uint32_t bytes, rpc_fn fn, void *arg);
/* That answer says BUSY or AGAIN; after ms if it does not say when. */
void learn_later(struct vms_node *n, struct learn *l, const struct vms_msg *re, uint32_t ms);
/* The disk is too full to go on; looked at again later. */
bool learn_paused(struct vms_node *n, struct learn *l);

/* learn_ctr.c */
void learn_ctrs_free(struct lctrs *v);
void learn_ctrs_keep(struct vms_node *n, struct part *p, struct learn *l);
int learn_ctrs_add(struct learn *l, const uint8_t *p, size_t bytes); /* of CTRS' answer */
/* Each does what can be done now; true: the phase is over. */
bool learn_drop(struct vms_node *n, struct part *p, struct learn *l);
bool learn_heads(struct vms_node *n, struct part *p, struct learn *l);
bool learn_fetch(struct vms_node *n, struct part *p, struct learn *l);
bool learn_verify(struct vms_node *n, struct part *p, struct learn *l);
void learn_install(struct vms_node *n, struct part *p, struct learn *l);

#endif
