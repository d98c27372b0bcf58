/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to tests/sim: the world's state, shared by its three files. */
#ifndef SIM_INT_H
#define SIM_INT_H

#include "tests/sim/sim.h"
#include "tests/sim/sim_acks.h"
#include "utils/lib/vec.h"

struct sim;
struct sim_parts;
struct sim_pr;
struct sim_sizes;
struct proc;

enum ev_type {
	EV_DELIVER,
	EV_CLOSED,
	EV_CONNECTED,
	EV_DISK,
	EV_TURN,
	EV_CRASH,
	EV_START,
	EV_RESUME,
	EV_FAULTS,
	EV_CMD,
	EV_ANSWER,
	EV_CLIENT
};

/* EV_CRASH, c: why */
enum { CRASH_PLAIN, CRASH_DISK, CRASH_LONG };
#define FAULT_PERIOD_US 20000u
#define UNREADABLE_US	5000000u /* a read that failed may fail a command as long */

/* T_nop + T_op + tick + margin: no sooner does an initiator repeat elsewhere. */
#define FAILOVER_US 4000000u

#define SIM_VOLS_MAX  10
#define SIM_PARTS_MAX 16u
#define SIM_SETS      4u
#define SIM_ROT_NODE  1 /* the one whose disk rots, when one does */
struct ev {
	uint64_t at_us, seq;
	enum ev_type type;
	uint64_t a, b, c;
	void *p;
};

struct frame {
	size_t len;
	uint8_t data[];
};
struct input {
	enum { IN_MSG, IN_UP, IN_ACCEPT, IN_DOWN, IN_DISK } type;
	uint64_t conn;
	int peer; /* IN_UP, IN_ACCEPT: the process at the other end */
	struct frame *frame;
	struct vms_disk_event disk;
	bool must_stop; /* the disk event is an error that no process may survive */
};

/* side 0: who connected, side 1: who accepted */
struct conn {
	uint64_t id;
	int proc[2];
	uint32_t life[2];
	bool open[2];
	bool up;	     /* established */
	uint64_t last_us[2]; /* latest arrival scheduled towards side i */
	struct conn *next;
};

/* A volume or snapshot that initiators see. The first is the one the run began with. */
struct sim_vol {
	uint64_t id; /* never used twice; 0: free */
	bool snap;
	bool want;     /* gateways are to have it open */
	bool checking; /* read as a whole before it is deleted, or after it was made */
	char name[240];
	struct sim_check *check; /* of its history; snapshots: of the volume's */
	/* snapshots */
	uint64_t *image; /* by logical block, SIM_UNSEEN until it was read */
	uint64_t branch, gen, begin_us, end_us;
	uint64_t blocks; /* size; of the first volume: as the catalog has it */
	bool read;	 /* wholly */
};
/* What is left of a snapshot when it is deleted, to be judged at the end. */
struct sim_cut {
	struct sim_check *check;
	uint64_t *image;
	uint64_t begin_us, end_us;
};

/* EXTENDED COPY, see sim_copy.c. */
#define SIM_COPY	  ((enum vms_gw_op)100) /* of initiators' commands */
#define SIM_COPY_SEGS_MAX 3
struct sim_copy {
	unsigned from, to; /* volumes */
	uint64_t from_id;
	uint64_t to_lba;
	uint32_t nblocks;
	unsigned nsegs;
	struct { /* one behind the other at the destination */
		uint64_t from_lba;
		uint32_t nblocks;
	} seg[SIM_COPY_SEGS_MAX];
};
struct sim_copy_end { /* how it ended */
	struct vms_sense sense;
	uint16_t segments;
	uint64_t blocks;
	bool vain; /* something of it may have its effect later */
};

struct sim_cmd { /* a command inside a gateway */
	struct vms_gw_cmd cmd;
	struct vms_iov iov;
	uint8_t *buf;
	int client;
	int gw;
	uint32_t session;
	uint32_t slot; /* client's slot */
	uint64_t number;
	unsigned vol;
	uint64_t vol_id;
	uint64_t read_us; /* its gateway has read it; 0: not */
	bool submitted, aborting;
	bool cancelled; /* aborted, and its initiator is told all the same */
	bool preempted, preempt_told;
	struct vms_pr_nexus nexus;
	struct vms_pr_who who;
	struct sim_copy copy; /* op SIM_COPY; vol is its destination */
	struct sim_copy_end copy_end;
	struct vms_xcopy_run *xcopy; /* it runs */
	struct sim_cmd *next;	     /* in proc->cmdq or proc->live */
};

struct proc {
	enum sim_kind kind;
	unsigned idx;
	bool up, paused;
	bool joined;   /* nodes: has a record in the catalog; all others: true */
	bool gone;     /* never comes back */
	uint8_t state; /* nodes: what node/ is to say */
	uint32_t weight;
	unsigned zone;		/* nodes: number of their rack; 0: one of their own */
	uint64_t full_until_us; /* something else has filled its disk; 0: no */
	uint64_t unreadable_us; /* the disk fails to read until then, and what it caused lasts */
	bool fatal;		/* it said that it cannot go on: dies at the end of its turn */
	uint32_t life;
	uint64_t clock_base_ms;
	double drift;
	struct input *in;
	size_t nin, in_room;
	uint64_t turn_at, turn_seq;
	uint64_t up_since_us;
	uint64_t deadline_ms;
	char address[64];
	/* catalog connection of nodes and gateways */
	struct vms_cat_client *cc;
	struct sim_catalog *cat; /* nodes, gateways: between them and cc */
	uint64_t cat_conn;
	bool cat_hello;
	uint64_t cat_try_us;
	/* node */
	struct sim_disk *disk;
	struct vms_disk disk_ops;
	struct vms_node *node;
	struct vms_node_update nup;
	uint64_t had[SIM_PARTS_MAX]; /* records of each partition, when it died last */
	/* gateway */
	struct vms_gw *gw;
	struct vms_gw_update gup;
	struct {
		struct vms_gw_vol *h, *opening;
		uint64_t id; /* of the sim_vol it is */
		bool asked, ready;
		uint64_t again_us;
		char left[VMS_CAT_KEY_BYTES_MAX]; /* to be withdrawn before it is opened again */
	} vol[SIM_VOLS_MAX];
	bool dropped;
	uint64_t gconn[SIM_NODES_MAX + 1]; /* by node id */
	const struct vms_gw_vol *size_of;  /* the first volume: which of its sizes … */
	size_t size_at;			   /* … initiators were told last */
	uint64_t open_us;		   /* its opening was asked for then */
	struct sim_pr_cmd *prq;
	uint64_t pr_fence; /* of a table whose preempted commands have to end; 0: none */
	uint64_t pr_ended; /* session that had RESERVE and whose end the core has been told */
	bool pr_doubt;	   /* something met a reservation */
	struct sim_cmd *cmdq, **cmdq_tail;
	struct sim_cmd *live;
	struct sim_cmd *ended;
	/* catalog */
	struct vms_cat_engine engine;
	struct vms_cat_server *server;
	struct sim *s;
};

struct sim_maybe { /* a write that may have been applied, or may be until … */
	struct sim_check *check;
	uint32_t id;
	uint64_t until_us; /* no effect after that; 0: not known */
};
struct client_op {
	bool used;
	enum vms_gw_op op;
	uint64_t lba;
	uint32_t nblocks;
	uint64_t value, old_value;
	struct sim_check *check;
	uint32_t check_id;
	unsigned nchecks; /* ids from check_id on: one for each segment of a copy */
	struct sim_copy copy;
	bool atomic; /* all of it or nothing, seen as a whole */
	unsigned vol;
	uint64_t vol_id;
	uint64_t start_us;
	uint64_t read_us; /* the gateway has read it; 0: not */
	int status;	  /* of the last answer */
	int gw;
	uint32_t session;
	uint64_t number; /* of the command */
	bool tmf;	 /* a task-management answer settles it */
	bool stuck;	 /* its session is lost: until window_us it may still be applied */
	uint64_t window_us;
	bool abort_known; /* the gateway has ended it, nobody was told how: abort_status */
	int abort_status;
	bool abort_partial;
	struct sim_copy_end abort_end;
	uint64_t until_us; /* it was preempted then: no effect after that */
	/* a write that has to be made again, until that is acknowledged; not before again_us */
	bool repeat;
	uint64_t again_us;
	VMS_VEC(struct sim_maybe) maybe; /* … the repetition is acknowledged */
};
#define SIM_DEPTH_MAX 8
struct path { /* of an initiator to a gateway: a session */
	bool up;
	bool closed;   /* by the gateway; the initiator does not know yet */
	bool tmf;      /* a task-management answer is waited for */
	uint32_t life; /* the process it logged in to */
	uint32_t session;
	uint32_t gone;	    /* session that the initiator has left; the gateway does not know */
	uint64_t since_us;  /* up since */
	uint64_t ready_us;  /* may log in again at */
	uint64_t silent_us; /* silent since */
	uint32_t patience_us;
};
struct client {
	int idx;
	bool multipath;	  /* all gateways at once; otherwise one at a time */
	int gw;		  /* of sim_read(); -1: none */
	uint32_t session; /* last number given */
	struct path path[SIM_GWS_MAX];
	struct client_op op[SIM_DEPTH_MAX];
	uint64_t last[64]; /* values seen lately, by hot place: for COMPARE AND WRITE */
	char port[64];
};
struct ilink { /* between an initiator and a gateway: what is sent is held until until_us */
	uint64_t since_us, until_us; /* 0: not cut, and the gateway has seen that */
	bool up, down;
};

struct sim {
	struct sim_conf conf;
	struct sim_plan plan;
	struct sim_result *r;
	struct vms_rng rng, cat_rng, mix_rng; /* the last: what was added to plans since */
	struct vms_rng open_rng;	      /* sim_register.c */
	struct vms_rng end_rng;		      /* sim_spoil.c */
	struct vms_rng restore_rng;	      /* sim_restore.c, and what was added with it */
	struct {
		uint64_t at_us;	   /* the catalog is lost then; or made anew … */
		uint64_t rev;	   /* … as of this revision */
		uint64_t part_rev; /* part of it is there, of that revision; 0: none or all */
	} restore;
	struct vms_rng logs_rng; /* sim_logs.c */
	struct {
		uint64_t at_us;	 /* containers stand still from then on, or until then at most */
		bool held, dark; /* they do; and all nodes have lost power meanwhile */
	} logs;
	struct {
		uint64_t first, n; /* chunks of volumes that have no good copy; n 0: none */
	} spoil;
	struct sim_history *history;
	struct sim_parts *parts; /* as last read */
	uint64_t now_us, ev_seq;
	struct ev *heap;
	size_t nheap, heap_room;
	struct proc p[SIM_PROCS_MAX];
	unsigned nprocs;
	struct conn *conns;
	uint64_t next_conn;
	uint64_t blocked_until[SIM_PROCS_MAX][SIM_PROCS_MAX];
	uint64_t slow_until[SIM_PROCS_MAX][SIM_PROCS_MAX];
	struct client cl[SIM_CLIENTS_MAX + 1]; /* the last reads whole snapshots */
	struct ilink ilink[SIM_CLIENTS_MAX + 1][SIM_GWS_MAX];
	struct sim_vol vol[SIM_VOLS_MAX];
	uint64_t next_vol, lineage;
	VMS_VEC(struct sim_check *) checks; /* all histories there were */
	VMS_VEC(struct sim_cut) cuts;
	struct sim_acks acks;
	struct vms_part_conf sets[SIM_PARTS_MAX][SIM_SETS]; /* of past epochs, by epoch */
	struct sim_admin *admin;
	uint64_t next_value, next_cmd;
	struct sim_pr *pr;
	struct sim_sizes *sizes;
	bool faults, stopping, failed, final;
	uint64_t hash;
	uint64_t *hot;		  /* chunk numbers of the volume that are used */
	uint64_t nodes_stable_us; /* all nodes up since */
	uint64_t full_us;	  /* a disk was full then, last */
	bool medium_ok; /* something could not be read when there was no other copy in reach */
	unsigned copies, min_copies, losses; /* wanted now, still to come */
	enum { EP_NONE, EP_CALM, EP_HEAL, EP_LOST } episode;
	uint64_t episode_us, insist_us;
	uint8_t uuid[16];
};

void sim_at(struct sim *s, uint64_t delay_us, enum ev_type type, uint64_t a, uint64_t b, uint64_t c,
	    void *p);
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_note(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_mix(struct sim *s, uint64_t v);
uint64_t sim_now_ms(const struct proc *p);
void sim_wake(struct proc *p, uint64_t delay_us);

/* sim.c: run events until the client has nothing pending */
void sim_run_until_idle(struct sim *s, struct client *c);
void sim_run_for(struct sim *s, uint64_t us);

/* sim_watch.c: what the catalog is told, and who acknowledges */
void sim_watch_part(struct sim *s, const char *key, const char *was, const char *is);
void sim_watch_crash(struct sim *s, struct proc *p); /* it is about to */
void sim_watch_send(struct sim *s, const struct proc *from, const struct vms_msg *m);

/* sim_ring.c: nodes come and go, weights and numbers of copies change */
struct sim_parts { /* part/ as the catalog has it now */
	unsigned n;
	struct vms_part_conf c[SIM_PARTS_MAX];
	uint64_t mod; /* newest change of them */
	uint64_t rev; /* of the catalog, when they were read */
};
void sim_ring_draw(struct sim *s);
void sim_ring_zones(struct sim *s); /* which node is in which */
void sim_ring_zone_name(const struct proc *p, char *out, size_t room);
void sim_parts(const struct sim *s, struct sim_parts *p);
/* Every set is what is wanted, nobody who is gone is in one, and copies are in as many zones
 * as there are. */
bool sim_ring_whole(const struct sim *s, char *why, size_t room);
/* Every node goes by what the tools wrote last. */
bool sim_ring_known(const struct sim *s, char *why, size_t room);
/* Partitions all of whose members are gone. */
unsigned sim_ring_stopped(const struct sim *s);
void sim_ring(struct sim *s); /* every FAULT_PERIOD_US */

/* sim_faults.c: every FAULT_PERIOD_US */
void sim_faults(struct sim *s);
/* A read of p's disk has failed. */
void sim_faults_unread(struct sim *s, struct proc *p);
/* May new data be refused for lack of space, by a command that began then? */
bool sim_faults_full(const struct sim *s, uint64_t since_us);
void sim_faults_room(struct sim *s); /* all disks have room again */
/* All disks are full: everything reads, nodes start again; then there is room. */
void sim_clients_full(struct sim *s);
/* May a read end with MEDIUM ERROR? */
bool sim_faults_unreadable(const struct sim *s);

/* sim_register.c: openings of volumes that are given up */
void sim_register_draw(struct sim *s);
bool sim_register_give_up(struct sim *s, const struct vms_gw_vol *v);
bool sim_register_is(const struct sim *s, const char *key); /* by a process that lives */
/* Nothing is registered as open that no gateway has open, or is about to. */
bool sim_register_over(const struct sim *s, char *why, size_t room);

/* sim_restore.c: the catalog is lost, and made anew of the nodes' copies */
#define SIM_RESTORE_BLIND 185u /* node mutant: ... though nodes know of later sets */
#define SIM_RESTORE_FIRST 195u /* ... its cluster is there before all the rest is */
void sim_restore_draw(struct sim *s);
void sim_restore(struct sim *s);

/* sim_logs.c: logs fill up, as nothing gets into containers */
void sim_logs_draw(struct sim *s);
void sim_logs(struct sim *s);
void sim_logs_over(struct sim *s); /* they have to empty now */

/* sim_spoil.c: all copies of a chunk rot, and one comes back */
void sim_spoil_draw(struct sim *s);
void sim_spoil(struct sim *s);
/* Is a block of these among what has no good copy? */
bool sim_spoil_has(const struct sim *s, uint64_t lba, uint32_t nblocks);

/* sim_net.c */
uint64_t sim_connect(struct sim *s, struct proc *from, struct proc *to);
int sim_send(struct sim *s, struct proc *from, uint64_t conn, const struct vms_msg *m);
void sim_close(struct sim *s, struct proc *from, uint64_t conn);
void sim_conns_die(struct sim *s, struct proc *p); /* crash */
void sim_break_some(struct sim *s);
struct conn *sim_conn(struct sim *s, uint64_t id);
void sim_net_event(struct sim *s, struct ev *e);

/* sim_proc.c */
void sim_proc_start(struct sim *s, struct proc *p);
void sim_proc_crash(struct sim *s, struct proc *p, bool power);
void sim_proc_turn(struct sim *s, struct proc *p);
void sim_proc_input(struct proc *p, struct input in);
void sim_proc_free(struct proc *p);
void sim_cmd_free(struct sim_cmd *m);
void sim_cmd_abort(struct proc *p, struct sim_cmd *m);
static inline bool sim_cmd_uses(const struct sim_cmd *m, unsigned vol)
{
	return m->vol == vol || (m->cmd.op == SIM_COPY && m->copy.from == vol);
}

/* sim_admin.c: what people do with the tools, and how a snapshot is made */
void sim_admin_start(struct sim *s, struct proc *p);
void sim_admin_turn(struct sim *s, struct proc *p);
void sim_admin_stop(struct sim *s, struct proc *p);
bool sim_admin_input(struct proc *p, uint64_t conn, bool up, bool down, const struct vms_msg *m);
bool sim_admin_idle(const struct sim *s); /* no job under way */
bool sim_admin_empty(struct sim *s);	  /* deletes everything; true: done */
struct sim_check *sim_check_add(struct sim *s);
bool sim_vol_open_anywhere(const struct sim *s, unsigned vol);

/* sim_resize.c: sizes of the first volume */
void sim_size_start(struct sim *s);
void sim_size_free(struct sim *s);
void sim_size_put(struct sim *s, const char *key, const char *val, uint64_t rev);
void sim_size_held(struct sim *s);
void sim_size_gateway(struct sim *s, struct proc *p);
void sim_size_look(struct sim *s, const struct client *c, const struct client_op *o, int status);
uint32_t sim_vol_clip(const struct sim_vol *v, uint64_t lba, uint64_t n);

/* sim_client.c */
struct sim_vol *sim_vol_of(struct sim *s, unsigned vol, uint64_t id); /* NULL: gone */
void sim_read(struct sim *s, struct client *c, unsigned slot, unsigned vol, uint64_t lba,
	      uint32_t nblocks);
void sim_client_step(struct sim *s, struct client *c);
void sim_client_answer(struct sim *s, struct client *c, struct sim_cmd *cmd);
/* The outcome of an op is not known (its session is lost); the gateway has ended one that
 * nobody waits for; all is known to be over. */
void sim_client_unknown(struct sim *s, struct client *c, unsigned slot);
void sim_client_aborted(struct sim *s, const struct sim_cmd *m);
void sim_client_settled(struct sim *s, struct client *c, unsigned slot);
void sim_client_lost(struct sim *s, struct client *c, const char *why); /* all its sessions */
void sim_clients_final(struct sim *s);
/* Each node is away for a while in turn; what the others hold must be the same. */
void sim_clients_turns(struct sim *s);
unsigned sim_client_pending(const struct client *c);
/* A whole write of the first volume by that client's session; wait until it is over. */
void sim_write(struct sim *s, struct client *c, uint64_t lba, uint32_t nblocks);
/* After the load: is the session it uses gone? Then nothing is pending any more, what was
 * ended STOPPING. */
bool sim_client_cut(struct sim *s, struct client *c);

/* What that gateway had read of the client's before that has no effect from now on. */
void sim_client_ends(struct sim *s, struct client *c, unsigned g, uint64_t before_us);

/* sim_copy.c: EXTENDED COPY. The initiator's: */
bool sim_copy_draw(struct sim *s, int gw, struct sim_copy *x);
void sim_copy_invoke(struct sim *s, struct client_op *o);
enum sim_outcome sim_copy_outcome(const struct sim_copy_end *e, unsigned segment);
/* It was answered: did it fail for a reason? */
void sim_copy_look(struct sim *s, const struct client_op *o, const struct sim_cmd *m);
/* The gateway's. True: it runs; false: it has ended. */
bool sim_copy_start(struct sim *s, struct proc *p, struct sim_cmd *m);
void sim_copy_piece(struct proc *p, struct sim_cmd *m, struct vms_gw_cmd *cmd);
void sim_copy_turn(struct sim *s, struct proc *p);
void sim_copy_stop(struct proc *p);

/* sim_pr.c: reservations */
void sim_pr_nexus(struct vms_pr_nexus *n, unsigned client, unsigned g);
void sim_pr_client(struct sim *s, struct client *c);
void sim_pr_turn(struct sim *s, struct proc *p);
void sim_pr_stop(struct sim *s, struct proc *p);
void sim_pr_complete(void *ctx, struct vms_gw_pr_cmd *cmd);
bool sim_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *t);
void sim_pr_owner(const struct proc *p, struct sim_cmd *m); /* who of a command */
/* 0, or how the command ends that a reservation is in the way of. */
int sim_pr_refuses(struct sim *s, struct proc *p, struct sim_cmd *m);
/* Has the gateway that session (of that process of it) still? */
bool sim_pr_session_here(const struct sim *s, const struct proc *p, unsigned c, uint32_t session);

/* sim_pr_judge.c: what reservations are to be, see sim_pr.h */
struct sim_pr_ask;
void sim_pr_new(struct sim *s);
void sim_pr_free(struct sim *s);
/* "pr/…" in the catalog. */
void sim_pr_put(struct sim *s, const char *key, const char *is, uint64_t rev);
/* A gateway has got a command (its number there), ended it, or will never do so. */
unsigned sim_pr_asked(struct sim *s, const struct sim_pr_ask *a, uint64_t incarnation);
void sim_pr_answered(struct sim *s, unsigned id, const struct vms_sense *sense);
void sim_pr_unknown(struct sim *s, unsigned id);
/* A command on the first volume has ended at its gateway, whoever learns of it. */
void sim_pr_look(struct sim *s, const struct proc *p, const struct sim_cmd *m);
/* Nothing is under way, and RESERVE belongs to a session that is there. */
bool sim_pr_over(struct sim *s, char *why, size_t room);
bool sim_pr_reserved(const struct sim *s, unsigned client, uint32_t session);

/* sim_path.c: sessions of initiators */
bool sim_link_cut(const struct sim *s, unsigned c, unsigned g, bool up);
uint64_t sim_link_delay(struct sim *s, unsigned c, unsigned g, bool up);
void sim_link_faults(struct sim *s);
void sim_paths_gateway(struct sim *s, struct proc *p);
void sim_paths_client(struct sim *s, struct client *c);
bool sim_path_takes(const struct sim *s, const struct proc *p, const struct sim_cmd *m);
void sim_path_lost(struct sim *s, struct client *c, unsigned g, const char *why);
int sim_path_pick(struct sim *s, const struct client *c);
void sim_path_use(struct sim *s, struct client *c, int g);

static inline bool sim_vol_ready(const struct sim *s, const struct proc *gw, unsigned vol)
{
	return gw->vol[vol].ready && gw->vol[vol].id == s->vol[vol].id && s->vol[vol].id;
}
#define SIM_AUDITOR SIM_CLIENTS_MAX
static inline struct proc *sim_node_proc(struct sim *s, uint32_t node_id)
{
	return node_id >= 1 && node_id <= s->plan.nodes ? &s->p[node_id] : 0;
}

#endif
