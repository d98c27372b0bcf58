/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the gateway core: a volume's reservations. gw_pr.c: the table this gateway
 * goes by, and its acknowledgement; gw_pr_run.c: changes; gw_fence.c: gateways that do
 * not answer. Included by gw_int.h's users that need it.
 *
 * How a change comes about (doc/architecture.md "Reservations"): one transaction puts
 * the next table, marked as under way, together with the volume's record, whose
 * lun_fence it raises to the table's number. That decides it; nobody takes it back.
 * Every gateway that has the volume open takes the table and says so; one that does not
 * is fenced off; every primary logs the number; then it is over and the command ends.
 * Any gateway can do any of these steps, so whoever dies leaves nothing half done.
 */
#ifndef VMS_GW_PR_H
#define VMS_GW_PR_H

#include "target/gw_int.h"
#include "target/pr.h"

#define GW_PR_OPENERS_MAX VMS_GATEWAYS_MAX

/* What is to be done, in order. */
enum gw_pr_kind {
	GW_PR_COMMAND = 1, /* of an initiator */
	GW_PR_RESET,	   /* LOGICAL UNIT RESET */
	GW_PR_CLEAR,	   /* CLEAR TASK SET */
	GW_PR_END,	   /* a session with RESERVE has ended */
	GW_PR_DOUBT,	   /* does the gateway whose session has RESERVE still live? */
	GW_PR_FINISH,	   /* a change that its gateway has left behind */
};
struct gw_pr_job {
	struct gw_pr_job *next;
	enum gw_pr_kind kind;
	struct vms_gw_pr_cmd *cmd; /* COMMAND, RESET, CLEAR; NULL: it has been answered meanwhile */
	struct vms_pr_owner owner; /* END, DOUBT: whose RESERVE */
	uint64_t since_ms;
};

/* Shutting out a process of a gateway. Owner: the run. */
struct gw_fence {
	struct vms_gw *gw; /* NULL: idle */
	uint32_t gateway;
	uint64_t incarnation, next; /* shut out; what the nodes ask for then */
	bool lives;		    /* its cached pages have to run out */
	char open_key[VMS_CAT_KEY_BYTES_MAX];
	enum { GF_CLAIM = 1, GF_FLOOR, GF_LEASE, GF_FORGET } step;
	bool busy;
	uint64_t at_ms; /* of the next attempt; GF_LEASE: the end */
	struct gw_ask ask;
	void (*done)(void *arg); /* always in the end */
	void *arg;
};
void gw_fence_start(struct gw_fence *f, struct vms_gw *gw, uint32_t gateway, uint64_t incarnation,
		    bool lives, const char *open_key);
void gw_fence_stop(struct gw_fence *f);
void gw_fence_timer(struct gw_fence *f);

enum gw_pr_step {
	PR_VOLUME = 1, /* read the volume's record */
	PR_TABLE,      /* and the table */
	PR_PUT,	       /* the transaction that decides */
	PR_OPENERS,    /* who has the volume open? */
	PR_WAIT,       /* for them to take the table */
	PR_ALIVE,      /* are there sessions of a gateway that is silent? */
	PR_FENCE,      /* it is shut out */
	PR_FLOOR,      /* every primary logs the number */
	PR_OVER,       /* the table is not under way any more */
};

struct gw_pr_run {
	struct gw_pr *p;
	struct gw_pr_job *job;
	enum gw_pr_step step;
	bool busy;	   /* a call of the catalog is on its way */
	uint64_t retry_ms; /* not before */
	/* read */
	struct vms_cat_volume rec;
	uint64_t rec_rev;
	uint64_t min_rev; /* as of then at least */
	/* to be put, and put */
	bool changed;  /* next is there */
	bool maybe;    /* its transaction has been sent, its outcome is not known */
	bool decided;  /* it is in the catalog */
	bool finishes; /* a change of somebody else, before its own */
	struct vms_pr next;
	uint64_t table_rev; /* what it compares */
	char *rec_text, *table_text;
	/* to be finished */
	uint64_t fence;
	uint64_t wait_ms;  /* waiting for acknowledgements since then */
	uint64_t asked_ms; /* about sessions, last */
	uint64_t look_ms;  /* who has it open is read again */
	unsigned nopeners;
	bool listing; /* DOUBT: they are read for its sake */
	struct {
		uint32_t gateway;
		uint64_t incarnation;
	} opener[GW_PR_OPENERS_MAX];
	uint32_t silent; /* gateway that is asked about */
	uint64_t silent_incarnation;
	bool live;
	struct gw_ask ask;
	struct gw_fence fencing;
};

struct gw_pr {
	struct vms_gw_vol *v;
	struct vms_pr table; /* what commands are checked against */
	uint64_t rev;	     /* of its record; 0: there is none */
	uint64_t pending_ms; /* it is under way, as far as we know, since then */
	uint64_t settled;    /* commands that earlier tables let through and this one aborts
				have ended up to this one's number */
	uint64_t watch;
	bool reload, reading;
	uint64_t read_rev; /* of the first part of what is being read; 0: it is still to come */
	uint64_t reload_ms;
	struct { /* our acknowledgement */
		uint64_t told, telling, retry_ms;
		bool busy;
	} ack;
	struct { /* those of all gateways, as the watch tells */
		uint64_t incarnation, fence;
	} acks[VMS_GATEWAYS_MAX];
	struct gw_pr_job *jobs, **jobs_tail;
	struct gw_pr_run *run; /* of the first job */
	uint64_t doubt_ms;     /* not before: the next look at who has RESERVE */
};

/* gw_pr.c */
/* The record, as read or told. */
void gw_pr_take(struct gw_pr *p, struct vms_pr *table, uint64_t rev);
void gw_pr_events(struct gw_pr *p, const struct vms_cat_reply *r);
void gw_pr_wake(struct gw_pr *p, uint64_t at_ms);

/* gw_pr_run.c */
void gw_pr_job_add(struct gw_pr *p, enum gw_pr_kind kind, struct vms_gw_pr_cmd *cmd,
		   const struct vms_pr_owner *owner);
void gw_pr_run_kick(struct gw_pr *p);
void gw_pr_run_free(struct gw_pr *p);

#endif
