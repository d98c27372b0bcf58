/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/sim_acks.h"

static struct sim_ack *newest_of(struct sim_acks *t, const struct sim_ack *a)
{
	for (size_t i = 0; i < t->newest.n; i++)
		if (t->newest.d[i].partition == a->partition)
			return &t->newest.d[i];
	VMS_VEC_PUSH(&t->newest, *a);
	return &t->newest.d[t->newest.n - 1];
}

/* Was it given before, in this epoch or an earlier one? */
static bool given(const struct sim_acks *t, const struct sim_ack *a)
{
	for (size_t i = t->given.n; i--;) {
		const struct sim_ack *g = &t->given.d[i];

		if (g->partition == a->partition && g->record == a->record &&
		    g->gateway == a->gateway && g->incarnation == a->incarnation &&
		    g->slot == a->slot && g->epoch <= a->epoch)
			return true;
	}
	return false;
}

enum sim_ack_is sim_acks_add(struct sim_acks *t, const struct sim_ack *a, struct sim_ack *before)
{
	struct sim_ack *newest = newest_of(t, a);

	*before = *newest;
	if (a->epoch < newest->epoch)
		return given(t, a) ? SIM_ACK_AGAIN : SIM_ACK_LATE;
	if (a->epoch == newest->epoch && (a->proc != newest->proc || a->life != newest->life))
		return SIM_ACK_TWO;
	*newest = *a;
	VMS_VEC_PUSH(&t->given, *a);
	return SIM_ACK_NEW;
}

void sim_acks_free(struct sim_acks *t)
{
	VMS_VEC_FREE(&t->given);
	VMS_VEC_FREE(&t->newest);
}
