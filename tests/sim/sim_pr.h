/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reservations judged from outside: what a command makes of a table, as SPC has it
 * (sim_pr_model.c, nothing of target/pr.c), and every table that the catalog was given,
 * who asked for it, and when it held (sim_pr_judge.c).
 */
#ifndef SIM_PR_H
#define SIM_PR_H

#include "tests/sim/sim_int.h"

enum {
	PR_RESERVE = 1,
	PR_RELEASE = 2,
	PR_CLEAR = 3,
	PR_PREEMPT = 4,
	PR_PREEMPT_ABORT = 5,
	PR_REGISTER = 6, /* and ignore existing key */
	PR_REGISTER_KEY = 0,
	PR_LEGACY_RESERVE = 0x16, /* RESERVE(6), RELEASE(6) */
	PR_LEGACY_RELEASE = 0x17,
	PR_CLEAR_TASKS = 0xc0, /* CLEAR TASK SET: changes no reservation */
};

/* Nexuses are (client, gateway). */
struct sim_pr_table {
	uint32_t generation;
	uint64_t key[SIM_CLIENTS_MAX][SIM_GWS_MAX]; /* 0: not registered */
	uint8_t type;				    /* 0: no persistent reservation */
	int holder_client, holder_gw;		    /* -1: none, or all registrants */
	uint32_t reserve_gw;			    /* RESERVE: id of the gateway, 0: none */
	uint64_t reserve_session;
};
struct sim_pr_ask {
	unsigned client, gw;
	uint8_t action, type;
	uint64_t key, sa_key;
	uint32_t gw_id;
	uint64_t session;  /* of all clients */
	uint64_t begun_us; /* PR_CLEAR_TASKS: what its gateway had read by then is over */
};
enum sim_pr_answer { PRA_CONFLICT, PRA_ERROR, PRA_SAME, PRA_CHANGED };

void sim_pr_table_init(struct sim_pr_table *t);
bool sim_pr_table_same(const struct sim_pr_table *a, const struct sim_pr_table *b);
/* next: only with PRA_CHANGED. */
enum sim_pr_answer sim_pr_model(const struct sim_pr_table *t, const struct sim_pr_ask *a,
				struct sim_pr_table *next);
/* May that session read or write? */
bool sim_pr_admits(const struct sim_pr_table *t, const struct sim_pr_ask *who, bool write);

static inline uint64_t sim_pr_session(unsigned client, uint32_t session)
{
	return (uint64_t)(client + 1) << 32 | session;
}

#endif
