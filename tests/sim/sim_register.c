/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Openings that are given up: a volume is closed again before its gateway has opened it, at any
 * moment, also when its registration (open/, snapopen/) has ended without an outcome or is
 * still under way. Then nobody may be left registered who has it not open: snapshots and all
 * else that asks those who are registered would wait for him. In half of those cases the volume
 * is opened again only when the registration has been withdrawn, which has to come.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim_int.h"
#include "tests/sim/sim_memory.h"

void sim_register_draw(struct sim *s)
{
	vms_rng_init(&s->open_rng, s->conf.seed ^ 0x0be7);
	s->plan.give_up = !s->conf.beyond && vms_rng_chance(&s->open_rng, 0.4);
}

/* More gladly when the outcome of its registration is not known, as that is rare. */
bool sim_register_give_up(struct sim *s, const struct vms_gw_vol *v)
{
	bool unsure = sim_gw_unsure(v, NULL);

	if (!s->faults || !vms_rng_chance(&s->open_rng, unsure ? 0.8 : 0.01))
		return false;
	s->r->given_up++;
	s->r->unsure += unsure;
	return true;
}

/* Does a gateway that runs say so? One that was restarted may be another one now, and its
 * record of before stays. */
static bool by_the_living(const struct sim *s, const struct vms_cat_open *o)
{
	for (unsigned g = 0; g < s->plan.gateways; g++) {
		const struct proc *p = &s->p[1 + s->plan.nodes + g];

		if (p->up && p->gw && sim_gw_is(p->gw, o->gateway, o->incarnation))
			return true;
	}
	return false;
}

bool sim_register_is(const struct sim *s, const char *key)
{
	struct vms_cat_kv kv = {.key = key};
	struct vms_cat_open o;
	uint64_t mod;

	kv.val = sim_history_now(s->history, key, &mod);
	if (!kv.val)
		return false;
	kv.val_bytes = (uint32_t)strlen(kv.val);
	return !vms_cat_open_decode(&kv, &o, NULL) && by_the_living(s, &o);
}

bool sim_register_over(const struct sim *s, char *why, size_t room)
{
	static const char *const kinds[] = {"open/", "snapopen/"};
	const struct vms_cat_engine *e = &s->p[0].engine;
	char after[VMS_CAT_KEY_BYTES_MAX + 8];
	unsigned registered = 0, open = 0;
	struct vms_cat_open o;
	struct vms_cat_kv kv;

	if (!s->plan.give_up)
		return true;
	for (unsigned k = 0; k < 2; k++)
		for (const char *a = NULL; !e->ops->next(e->ctx, kinds[k], a, &kv); a = after) {
			registered += !vms_cat_open_decode(&kv, &o, NULL) && by_the_living(s, &o);
			snprintf(after, sizeof(after), "%s", kv.key);
		}
	for (unsigned g = 0; g < s->plan.gateways; g++)
		for (unsigned i = 0; i < SIM_VOLS_MAX; i++)
			open += s->p[1 + s->plan.nodes + g].vol[i].asked;
	if (registered > open)
		snprintf(why, room, "%u volumes are registered, %u are open", registered, open);
	return registered <= open;
}
