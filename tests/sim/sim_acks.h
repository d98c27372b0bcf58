/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Acknowledgements of a partition's writes, judged from outside: who may give one, and when.
 *
 * Those of one epoch come from one process, and none comes after one of a later epoch. But for
 * this: a former primary that stood still may repeat, once it goes on, an answer that was given
 * in its epoch or before, to a gateway that asks again. Such a write was committed by all
 * members of an epoch that its successors follow from, so whoever is told learns nothing that
 * they would not say. The same it is by all that names it: the record that it became, and whose
 * op (gateway, process, slot) that was.
 */
#ifndef SIM_ACKS_H
#define SIM_ACKS_H

#include <stdbool.h>
#include <stdint.h>

#include "utils/lib/vec.h"

struct sim_ack {
	uint32_t partition;
	uint64_t epoch, record; /* of the answer; number in the partition's log */
	uint32_t gateway, slot;
	uint64_t incarnation;
	int proc; /* who answers */
	uint32_t life;
};

struct sim_acks {
	VMS_VEC(struct sim_ack) given;	/* each once, as it was given first */
	VMS_VEC(struct sim_ack) newest; /* of each partition */
};

enum sim_ack_is {
	SIM_ACK_NEW,
	SIM_ACK_AGAIN, /* repeated by one that another has followed */
	SIM_ACK_LATE,  /* in an epoch that is over, and nobody gave it before */
	SIM_ACK_TWO,   /* two acknowledge in one epoch */
};

/* Takes note of it. before: the newest one of the partition until then. */
enum sim_ack_is sim_acks_add(struct sim_acks *t, const struct sim_ack *a, struct sim_ack *before);
void sim_acks_free(struct sim_acks *t);

#endif
