/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Judges from outside: what the catalog is told of partitions, and who acknowledges.
 *
 *	5	epochs only rise, by one, and with each change of primary or set
 *	6	writes of one (partition, epoch) are acknowledged by one process only, and
 *		none in an epoch after one in a later epoch has been, but for what is
 *		repeated (sim_acks.h)
 *	7	who leads was in the set that its epoch replaced; a set never is empty, and
 *		never wholly new
 *	1	a write that is acknowledged is on as many members of its epoch's set as
 *		min_copies says, durable or, in memory mode, in memory
 *	30	no epoch is raised twice from the same one
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_int.h"
#include "tests/sim/sim_memory.h"
#include "utils/lib/assert.h"

static const struct vms_member *member_of(const struct vms_part_conf *c, uint32_t node)
{
	for (uint32_t i = 0; i < c->nmembers; i++)
		if (c->member[i].node == node)
			return &c->member[i];
	return NULL;
}

static bool same_set(const struct vms_part_conf *a, const struct vms_part_conf *b)
{
	if (a->primary != b->primary || a->nmembers != b->nmembers)
		return false;
	for (uint32_t i = 0; i < a->nmembers; i++) {
		const struct vms_member *m = member_of(b, a->member[i].node);

		if (!m || m->incarnation != a->member[i].incarnation)
			return false;
	}
	return true;
}

void sim_watch_part(struct sim *s, const char *key, const char *was, const char *is)
{
	struct vms_cat_kv a = {.key = key, .val = was}, b = {.key = key, .val = is};
	struct vms_part_conf old, now;
	uint32_t part, kept = 0;

	if (!was)
		return;
	if (!is) {
		sim_fail(s, "%s is deleted", key);
		return;
	}
	a.val_bytes = (uint32_t)strlen(was);
	b.val_bytes = (uint32_t)strlen(is);
	if (vms_cat_part_decode(&a, &part, &old, NULL) ||
	    vms_cat_part_decode(&b, &part, &now, NULL)) {
		sim_fail(s, "%s cannot be read: %s", key, is);
		return;
	}
	for (uint32_t i = 0; i < now.nmembers; i++)
		kept += member_of(&old, now.member[i].node) != NULL;
	if (now.epoch < old.epoch || now.epoch > old.epoch + 1)
		sim_fail(s, "%s: epoch %llu after %llu", key, (unsigned long long)now.epoch,
			 (unsigned long long)old.epoch);
	else if (now.epoch == old.epoch && !same_set(&old, &now))
		sim_fail(s, "%s: the set changes within epoch %llu: %s, then %s", key,
			 (unsigned long long)now.epoch, was, is);
	else if (!now.nmembers || !member_of(&now, now.primary))
		sim_fail(s, "%s: nobody leads: %s", key, is);
	else if (!kept)
		sim_fail(s, "%s: nobody of the former set stays: %s, then %s", key, was, is);
	else if (now.primary != old.primary && !member_of(&old, now.primary))
		sim_fail(s, "%s: led by a node that was not in the set: %s, then %s", key, was, is);
	else if (now.nmembers > kept + 1)
		sim_fail(s, "%s: two join the set at once: %s, then %s", key, was, is);
	if (now.epoch != old.epoch)
		s->sets[part][old.epoch % SIM_SETS] = old;
	if (now.epoch != old.epoch)
		sim_note(s, "%s: epoch %llu: %s", key, (unsigned long long)now.epoch, is);
}

void sim_watch_crash(struct sim *s, struct proc *p)
{
	for (uint32_t i = 0; p->node && i < SIM_PARTS_MAX; i++)
		p->had[i] = sim_node_top(p->node, i, s->plan.ack == VMS_ACK_MEMORY);
}

/* The write that is acknowledged has to be on enough members; one that has died since it
 * said so counts as well. */
static void copies(struct sim *s, const struct proc *from, const struct vms_msg *m)
{
	const struct vms_part_conf *set = NULL;
	unsigned have = 0, need = sim_node_min_copies(from->node);
	struct sim_parts ps;

	sim_parts(s, &ps);
	if (ps.c[m->partition].epoch == m->epoch)
		set = &ps.c[m->partition];
	else if (s->sets[m->partition][m->epoch % SIM_SETS].epoch == m->epoch)
		set = &s->sets[m->partition][m->epoch % SIM_SETS];
	for (uint32_t i = 0; set && i < set->nmembers; i++) {
		const struct proc *p = &s->p[set->member[i].node];

		have += m->sequence <= p->had[m->partition] ||
			(p->node && m->sequence <= sim_node_top(p->node, m->partition,
								s->plan.ack == VMS_ACK_MEMORY));
	}
	if (set && have < need)
		sim_fail(
			s,
			"process %d acknowledges record %llu of partition %u in epoch %llu with %u "
			"copies, not %u",
			(int)(from - s->p), (unsigned long long)m->sequence, m->partition,
			(unsigned long long)m->epoch, have, need);
}

void sim_watch_send(struct sim *s, const struct proc *from, const struct vms_msg *m)
{
	struct sim_ack before, a = {.partition = m->partition,
				    .epoch = m->epoch,
				    .record = m->sequence,
				    .gateway = m->sender,
				    .slot = m->slot,
				    .incarnation = m->incarnation,
				    .proc = (int)(from - s->p),
				    .life = from->life};

	if (from->kind != SIM_NODE || m->type != VMS_MSG_WRITE || !(m->flags & VMS_F_REPLY) ||
	    m->status || m->partition == VMS_PART_NONE)
		return;
	switch (sim_acks_add(&s->acks, &a, &before)) {
	case SIM_ACK_NEW:
		copies(s, from, m);
		break;
	case SIM_ACK_AGAIN:
		s->r->acked_again++;
		sim_note(s, "process %d repeats what it said of record %llu of partition %u",
			 a.proc, (unsigned long long)a.record, a.partition);
		break;
	case SIM_ACK_LATE:
		sim_fail(
			s,
			"process %d acknowledges a write of partition %u in epoch %llu, process %d "
			"did so in epoch %llu before",
			a.proc, a.partition, (unsigned long long)a.epoch, before.proc,
			(unsigned long long)before.epoch);
		break;
	case SIM_ACK_TWO:
		sim_fail(
			s,
			"processes %d and %d both acknowledge writes of partition %u in epoch %llu",
			before.proc, a.proc, a.partition, (unsigned long long)a.epoch);
		break;
	}
}
