/* SPDX-License-Identifier: GPL-2.0-only */
/* What SPC makes of a command on reservations; see sim_pr.h. Source: spc4r31 5.9. */
#include <string.h>

#include "tests/sim/sim_pr.h"

void sim_pr_table_init(struct sim_pr_table *t)
{
	memset(t, 0, sizeof(*t));
	t->holder_client = t->holder_gw = -1;
}

bool sim_pr_table_same(const struct sim_pr_table *a, const struct sim_pr_table *b)
{
	return a->generation == b->generation && !memcmp(a->key, b->key, sizeof(a->key)) &&
	       a->type == b->type && a->holder_client == b->holder_client &&
	       a->holder_gw == b->holder_gw && a->reserve_gw == b->reserve_gw &&
	       a->reserve_session == b->reserve_session;
}

static bool all_registrants(unsigned type)
{
	return type == VMS_PR_WE_AR || type == VMS_PR_EA_AR;
}

static bool registrants_only(unsigned type)
{
	return type == VMS_PR_WE_RO || type == VMS_PR_EA_RO;
}

static unsigned registrants(const struct sim_pr_table *t)
{
	unsigned n = 0;

	for (unsigned c = 0; c < SIM_CLIENTS_MAX; c++)
		for (unsigned g = 0; g < SIM_GWS_MAX; g++)
			n += t->key[c][g] != 0;
	return n;
}

static void let_go(struct sim_pr_table *t)
{
	t->type = 0;
	t->holder_client = t->holder_gw = -1;
}

static bool holds(const struct sim_pr_table *t, unsigned c, unsigned g)
{
	return t->type && t->key[c][g] &&
	       (all_registrants(t->type) || (t->holder_client == (int)c && t->holder_gw == (int)g));
}

static void take(struct sim_pr_table *t, const struct sim_pr_ask *a)
{
	t->type = a->type;
	t->holder_client = all_registrants(a->type) ? -1 : (int)a->client;
	t->holder_gw = all_registrants(a->type) ? -1 : (int)a->gw;
}

static enum sim_pr_answer legacy(const struct sim_pr_table *t, const struct sim_pr_ask *a,
				 struct sim_pr_table *n)
{
	bool mine = t->reserve_gw == a->gw_id && t->reserve_session == a->session;

	if (registrants(t))
		return PRA_CONFLICT;
	if (a->action == PR_LEGACY_RELEASE) {
		if (!t->reserve_gw || !mine)
			return PRA_SAME;
		n->reserve_gw = 0;
		n->reserve_session = 0;
		return PRA_CHANGED;
	}
	if (t->reserve_gw)
		return mine ? PRA_SAME : PRA_CONFLICT;
	n->reserve_gw = a->gw_id;
	n->reserve_session = a->session;
	return PRA_CHANGED;
}

static enum sim_pr_answer enter(const struct sim_pr_table *t, const struct sim_pr_ask *a,
				struct sim_pr_table *n)
{
	uint64_t mine = t->key[a->client][a->gw];

	if (a->action == PR_REGISTER_KEY && a->key != mine)
		return PRA_CONFLICT;
	if (!mine && !a->sa_key)
		return PRA_SAME;
	if (!a->sa_key && holds(t, a->client, a->gw) &&
	    (!all_registrants(t->type) || registrants(t) == 1))
		let_go(n);
	n->key[a->client][a->gw] = a->sa_key;
	n->generation++;
	return PRA_CHANGED;
}

/* Who has the victim's key goes; who takes the reservation over stays. */
static enum sim_pr_answer preempt(const struct sim_pr_table *t, const struct sim_pr_ask *a,
				  struct sim_pr_table *n)
{
	bool found = false, takes;

	if (!a->sa_key)
		return PRA_ERROR; /* the simulator does not ask for it otherwise */
	for (unsigned c = 0; c < SIM_CLIENTS_MAX; c++)
		for (unsigned g = 0; g < SIM_GWS_MAX; g++)
			found |= t->key[c][g] == a->sa_key;
	if (!found)
		return PRA_CONFLICT;
	takes = t->type && !all_registrants(t->type) &&
		t->key[t->holder_client][t->holder_gw] == a->sa_key;
	for (unsigned c = 0; c < SIM_CLIENTS_MAX; c++)
		for (unsigned g = 0; g < SIM_GWS_MAX; g++)
			if (t->key[c][g] == a->sa_key && !(takes && c == a->client && g == a->gw))
				n->key[c][g] = 0;
	if (takes)
		take(n, a);
	else if (!registrants(n))
		let_go(n);
	n->generation++;
	return PRA_CHANGED;
}

enum sim_pr_answer sim_pr_model(const struct sim_pr_table *t, const struct sim_pr_ask *a,
				struct sim_pr_table *n)
{
	*n = *t;
	if (a->action == PR_CLEAR_TASKS) /* a table that is the same, and later */
		return PRA_CHANGED;
	if (a->action == PR_LEGACY_RESERVE || a->action == PR_LEGACY_RELEASE)
		return legacy(t, a, n);
	if (t->reserve_gw)
		return PRA_CONFLICT;
	if (a->action == PR_REGISTER || a->action == PR_REGISTER_KEY)
		return enter(t, a, n);
	if (!t->key[a->client][a->gw] || t->key[a->client][a->gw] != a->key)
		return PRA_CONFLICT;
	switch (a->action) {
	case PR_RESERVE:
		if (!t->type) {
			take(n, a);
			return PRA_CHANGED;
		}
		return holds(t, a->client, a->gw) && t->type == a->type ? PRA_SAME : PRA_CONFLICT;
	case PR_RELEASE:
		if (!holds(t, a->client, a->gw))
			return PRA_SAME;
		if (t->type != a->type)
			return PRA_ERROR;
		let_go(n);
		return PRA_CHANGED;
	case PR_CLEAR:
		let_go(n);
		memset(n->key, 0, sizeof(n->key));
		n->generation++;
		return PRA_CHANGED;
	default:
		return preempt(t, a, n);
	}
}

bool sim_pr_admits(const struct sim_pr_table *t, const struct sim_pr_ask *who, bool write)
{
	if (t->reserve_gw && (t->reserve_gw != who->gw_id || t->reserve_session != who->session))
		return false;
	/* the simulator draws types that shut out writes only */
	if (!t->type || !write)
		return true;
	return t->key[who->client][who->gw] &&
	       (registrants_only(t->type) || holds(t, who->client, who->gw));
}
