/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Judges from outside: what the catalog is told of partitions, and who acknowledges.
 *
 *	5	epochs only rise, by one, and with each change of primary or set
 *	6	writes of one (partition, epoch) are acknowledged by one process only, and
 *		none in an epoch after one in a later epoch has been
 *	7	who leads was in the set that its epoch replaced; a set never is empty, and
 *		never wholly new
 *	30	no epoch is raised twice from the same one
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_int.h"
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
		sim_note(s, "%s: epoch %llu: %s", key, (unsigned long long)now.epoch, is);
}

void sim_watch_send(struct sim *s, const struct proc *from, const struct vms_msg *m)
{
	int me = (int)(from - s->p);
	struct acker *a = NULL;

	if (from->kind != SIM_NODE || m->type != VMS_MSG_WRITE || !(m->flags & VMS_F_REPLY) ||
	    m->status || m->partition == VMS_PART_NONE)
		return;
	for (size_t i = 0; i < s->ackers.n && !a; i++)
		if (s->ackers.d[i].partition == m->partition)
			a = &s->ackers.d[i];
	if (!a) {
		a = VMS_VEC_ADD(&s->ackers);
		a->partition = m->partition;
	}
	if (m->epoch < a->epoch)
		sim_fail(
			s,
			"process %d acknowledges a write of partition %u in epoch %llu, process %d "
			"did so in epoch %llu before",
			me, m->partition, (unsigned long long)m->epoch, a->proc,
			(unsigned long long)a->epoch);
	else if (m->epoch == a->epoch && (a->proc != me || a->life != from->life))
		sim_fail(
			s,
			"processes %d and %d both acknowledge writes of partition %u in epoch %llu",
			a->proc, me, m->partition, (unsigned long long)m->epoch);
	a->epoch = m->epoch;
	a->proc = me;
	a->life = from->life;
}
