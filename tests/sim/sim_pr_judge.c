/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every table of reservations that the catalog was given, and the commands there were.
 *
 *	12	a table is over, or its command GOOD, only when every gateway goes by it
 *		that had the volume open; a command on the LUN that its gateway read when a
 *		table held ends as that one, or a later one, says: GOOD only where one lets
 *		it in, RESERVATION CONFLICT only where one is in its way
 *	13	each table follows from the one before by one command that was under way
 *		and has not changed anything yet; what was answered BUSY, CONFLICT, aborted
 *		changes nothing, before or after; the next one begins when this one is
 *		over, and after the last fault each gets over
 *	14	nothing else ever changes a table, so it survives whatever dies; RESERVE ends
 *		by a command, with its session, or when another gateway says that its
 *		process is dead, and does not outlive it
 *
 * A table holds from when it is over (or its command GOOD); what is between the last one
 * that held when its gateway read a command and the last one decided when it ended there may
 * decide it. That goes for a gateway that stood still as well: what it cannot know to be
 * current it must not refuse by.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/gw_int.h"
#include "tests/sim/sim_pr.h"
#include "utils/lib/assert.h"

struct version {
	struct sim_pr_table t;
	uint64_t fence, rev;
	uint64_t decided_us, held_us;
	uint64_t reserve_incarnation;		 /* of the process whose session has RESERVE */
	bool over, holds;			 /* in the catalog; told */
	int cmd;				 /* that made it; -1: none, RESERVE has ended */
	bool gone[SIM_CLIENTS_MAX][SIM_GWS_MAX]; /* preempted with abort, or cleared */
};
struct asked {
	struct sim_pr_ask a;
	uint64_t incarnation;
	enum { OUT, UNKNOWN, NOT, GOOD } state;
	int version; /* it made; -1: none */
	size_t first;
};
struct sim_pr {
	VMS_VEC(struct version) v;
	VMS_VEC(struct asked) cmd;
	uint32_t gw_id[SIM_GWS_MAX];
};

static struct proc *gateway(struct sim *s, unsigned g)
{
	return &s->p[1 + s->plan.nodes + g];
}

void sim_pr_new(struct sim *s)
{
	struct version *v;

	s->pr = calloc(1, sizeof(*s->pr));
	vms_assert(s->pr);
	v = VMS_VEC_ADD(&s->pr->v);
	memset(v, 0, sizeof(*v));
	sim_pr_table_init(&v->t);
	v->over = v->holds = true;
	v->cmd = -1;
}

void sim_pr_free(struct sim *s)
{
	VMS_VEC_FREE(&s->pr->v);
	VMS_VEC_FREE(&s->pr->cmd);
	free(s->pr);
}

static struct version *last(struct sim *s)
{
	return &s->pr->v.d[s->pr->v.n - 1];
}

/* The last version that held at that time. */
static size_t held_at(const struct sim *s, uint64_t us)
{
	size_t i = s->pr->v.n - 1;

	while (i && (!s->pr->v.d[i].holds || s->pr->v.d[i].held_us > us))
		i--;
	return i;
}

static void now_holds(struct sim *s, struct version *v)
{
	if (v->holds)
		return;
	v->holds = true;
	v->held_us = s->now_us;
}

/* ---- what the catalog is given ---- */

static bool which(const struct sim *s, const struct vms_pr_nexus *n, unsigned *c, unsigned *g)
{
	for (*c = 0; *c < s->plan.clients; ++*c)
		for (*g = 0; *g < s->plan.gateways; ++*g) {
			struct vms_pr_nexus is;

			sim_pr_nexus(&is, *c, *g);
			if (vms_pr_same_nexus(&is, n))
				return true;
		}
	return false;
}

/* As the model has it; false: with nexuses that there are not. */
static bool table_of(const struct sim *s, const struct vms_pr *t, struct sim_pr_table *out)
{
	unsigned c, g;

	sim_pr_table_init(out);
	out->generation = t->generation;
	out->type = t->type;
	out->reserve_gw = t->reserve.gateway;
	out->reserve_session = t->reserve.session;
	for (unsigned i = 0; i < t->n; i++) {
		if (!which(s, &t->reg[i].nexus, &c, &g))
			return false;
		out->key[c][g] = t->reg[i].key;
		if (t->holder == (int)i) {
			out->holder_client = (int)c;
			out->holder_gw = (int)g;
		}
	}
	return true;
}

/* Does that session of that process live? */
static bool session_lives(struct sim *s, uint32_t gw_id, uint64_t incarnation, uint64_t session)
{
	unsigned c = (unsigned)(session >> 32) - 1;

	for (unsigned g = 0; g < s->plan.gateways; g++) {
		const struct proc *p = gateway(s, g);

		if (!p->up || !p->gw || p->gw->id != gw_id || p->gw->incarnation != incarnation)
			continue;
		return sim_pr_session_here(s, p, c, (uint32_t)session);
	}
	return false;
}

/* May the table have come to that by the end of a session alone? */
static bool reserve_ended(struct sim *s, const struct version *was, const struct sim_pr_table *is,
			  const struct vms_pr *t)
{
	struct sim_pr_table x = was->t;

	if (!x.reserve_gw)
		return false;
	x.reserve_gw = 0;
	x.reserve_session = 0;
	if (!sim_pr_table_same(&x, is))
		return false;
	/* another gateway has taken it for dead; itself it knows */
	if (t->by.gateway != was->t.reserve_gw)
		return true;
	return !session_lives(s, was->t.reserve_gw, was->reserve_incarnation,
			      was->t.reserve_session);
}

/* The command that made it: one whose outcome nobody will learn rather than one that is
 * to be answered still. */
static int made_by(struct sim *s, const struct version *was, const struct sim_pr_table *is,
		   const struct vms_pr *t)
{
	for (int unknown = 1; unknown >= 0; unknown--)
		for (size_t i = 0; i < s->pr->cmd.n; i++) {
			const struct asked *k = &s->pr->cmd.d[i];
			struct sim_pr_table next;

			if (k->version >= 0 || k->state != (unknown ? UNKNOWN : OUT) ||
			    k->a.gw_id != t->by.gateway || k->incarnation != t->by.incarnation)
				continue;
			if (sim_pr_model(&was->t, &k->a, &next) == PRA_CHANGED &&
			    sim_pr_table_same(&next, is))
				return (int)i;
		}
	return -1;
}

/* Is there a gateway that had the volume open when it was decided and goes by an older
 * table? */
static const struct proc *behind(struct sim *s, const struct version *v)
{
	struct vms_cat_engine *e = &s->p[0].engine;
	char key[VMS_CAT_KEY_BYTES_MAX];

	for (unsigned g = 0; g < s->plan.gateways; g++) {
		const struct proc *p = gateway(s, g);
		struct vms_cat_open o;
		struct vms_cat_kv kv;

		if (!p->up || p->fatal || !p->gw || !p->vol[0].ready || !p->gw->id)
			continue;
		vms_cat_key_open(key, p->vol[0].h->rec.id, p->gw->id);
		if (e->ops->get(e->ctx, key, &kv) || vms_cat_open_decode(&kv, &o, NULL) ||
		    o.incarnation != p->gw->incarnation || kv.create_revision > v->rev)
			continue; /* shut out, or it has read the table since */
		if (vms_gw_vol_pr(p->vol[0].h)->fence < v->fence)
			return p;
	}
	return NULL;
}

static void over(struct sim *s, struct version *v)
{
	const struct proc *p = behind(s, v);

	if (p)
		sim_fail(s,
			 "table %" PRIu64 " of reservations is over, gateway %u goes by table "
			 "%" PRIu64,
			 v->fence, p->idx, vms_gw_vol_pr(p->vol[0].h)->fence);
	v->over = true;
	now_holds(s, v);
}

/* Does what that nexus has under way end before the command's GOOD? */
static bool gone(const struct sim_pr_ask *a, unsigned c, unsigned g, const struct sim_pr_table *was,
		 const struct sim_pr_table *is)
{
	if (a->action == PR_CLEAR_TASKS)
		return true;
	return a->action == PR_PREEMPT_ABORT && was->key[c][g] && !is->key[c][g] &&
	       (c != a->client || g != a->gw);
}

static void changed(struct sim *s, const struct vms_pr *t, const struct sim_pr_table *is,
		    uint64_t rev)
{
	struct version *was = last(s), *v,
		       next = {.t = *is,
			       .fence = t->fence,
			       .rev = rev,
			       .decided_us = s->now_us,
			       .reserve_incarnation = t->reserve.incarnation};
	uint64_t mod;
	struct vms_cat_volume rec;
	struct vms_cat_kv kv = {.key = "volume/disk"};

	if (!was->over) {
		sim_fail(s,
			 "table %" PRIu64 " of reservations begins while table %" PRIu64
			 " is under way",
			 t->fence, was->fence);
		return;
	}
	kv.val = sim_history_now(s->history, kv.key, &mod);
	kv.val_bytes = kv.val ? (uint32_t)strlen(kv.val) : 0;
	if (!kv.val || vms_cat_volume_decode(&kv, &rec, NULL) || rec.pr_fence != t->fence ||
	    rec.lun_fence < t->fence || mod != rev) {
		sim_fail(s, "table %" PRIu64 " of reservations came without its volume: %s",
			 t->fence, kv.val ? kv.val : "(none)");
		return;
	}
	next.cmd = made_by(s, was, is, t);
	if (next.cmd < 0 && !reserve_ended(s, was, is, t)) {
		sim_fail(s,
			 "table %" PRIu64 " of reservations: nobody's command under way at "
			 "gateway %u (incarnation %" PRIu64 ") makes it of table %" PRIu64,
			 t->fence, t->by.gateway, t->by.incarnation, was->fence);
		return;
	}
	for (unsigned c = 0; c < s->plan.clients && next.cmd >= 0; c++)
		for (unsigned g = 0; g < s->plan.gateways; g++)
			next.gone[c][g] = gone(&s->pr->cmd.d[next.cmd].a, c, g, &was->t, is);
	if (next.cmd >= 0)
		s->pr->cmd.d[next.cmd].version = (int)s->pr->v.n;
	v = VMS_VEC_ADD(&s->pr->v);
	*v = next;
	s->r->pr_tables++;
}

void sim_pr_put(struct sim *s, const char *key, const char *is, uint64_t rev)
{
	struct vms_errmsg msg = {""};
	struct sim_pr_table t;
	struct version *v = last(s);
	struct vms_pr pr;

	if (strchr(key + 3, '/'))
		return; /* an acknowledgement */
	if (!is || vms_pr_decode(&pr, key, is, &msg)) {
		sim_fail(s, "%s %s%s", key, is ? "cannot be read: " : "is deleted", msg.text);
		return;
	}
	if (!table_of(s, &pr, &t)) {
		sim_fail(s, "%s has a registration that nobody asked for: %s", key, is);
	} else if (pr.fence < v->fence) {
		sim_fail(s, "%s: table %" PRIu64 " after %" PRIu64, key, pr.fence, v->fence);
	} else if (pr.fence == v->fence) {
		if (v->over || pr.pending || !sim_pr_table_same(&t, &v->t))
			sim_fail(s, "%s: table %" PRIu64 " changes once more: %s", key, pr.fence,
				 is);
		else
			over(s, v);
	} else if (!pr.pending) {
		sim_fail(s, "%s: table %" PRIu64 " is over at once: %s", key, pr.fence, is);
	} else {
		changed(s, &pr, &t, rev);
	}
	vms_pr_free(&pr);
}

/* ---- commands on reservations ---- */

unsigned sim_pr_asked(struct sim *s, const struct sim_pr_ask *a, uint64_t incarnation)
{
	struct asked *k = VMS_VEC_ADD(&s->pr->cmd);

	*k = (struct asked){
		.a = *a, .incarnation = incarnation, .version = -1, .first = held_at(s, s->now_us)};
	s->pr->gw_id[a->gw] = a->gw_id;
	return (unsigned)(s->pr->cmd.n - 1);
}

void sim_pr_unknown(struct sim *s, unsigned id)
{
	s->pr->cmd.d[id].state = UNKNOWN;
}

/* Does that command make this version of the one before? */
static bool makes(const struct sim *s, const struct asked *k, size_t version)
{
	struct sim_pr_table next;

	return sim_pr_model(&s->pr->v.d[version - 1].t, &k->a, &next) == PRA_CHANGED &&
	       sim_pr_table_same(&next, &s->pr->v.d[version].t);
}

/* Another one, not answered yet, that may have made (made: has, as it was thought) the same
 * as k has (may have): which of them it was cannot be seen. */
static struct asked *twin(struct sim *s, const struct asked *k, bool made)
{
	for (size_t i = 0; i < s->pr->cmd.n; i++) {
		struct asked *o = &s->pr->cmd.d[i];

		if (o == k || o->state == GOOD || o->state == NOT || (o->version >= 0) != made ||
		    o->incarnation != k->incarnation || o->a.gw != k->a.gw)
			continue;
		if (made ? makes(s, k, (size_t)o->version) : makes(s, o, (size_t)k->version))
			return o;
	}
	return NULL;
}

static void trade(struct sim *s, struct asked *k, struct asked *o)
{
	int v = k->version;

	k->version = o->version;
	o->version = v;
	for (int i = 0; i < 2; i++, k = o)
		if (k->version >= 0)
			s->pr->v.d[k->version].cmd = (int)(k - s->pr->cmd.d);
}

/* Does one of the tables that may have been looked at give that answer? */
static bool explained(const struct sim *s, const struct asked *k, enum sim_pr_answer is)
{
	struct sim_pr_table next;

	for (size_t i = k->first; i < s->pr->v.n; i++)
		if (sim_pr_model(&s->pr->v.d[i].t, &k->a, &next) == is)
			return true;
	return false;
}

static const char *name_of(const struct asked *k, char *out, size_t room)
{
	snprintf(out, room,
		 "client %u: command %u on reservations (key %" PRIu64 ") through gateway %u",
		 k->a.client, k->a.action, k->a.sa_key, k->a.gw);
	return out;
}

static void good(struct sim *s, struct asked *k)
{
	struct asked *o;
	const struct proc *p;
	struct version *v;
	char who[100];

	k->state = GOOD;
	if (k->version < 0 && explained(s, k, PRA_SAME))
		return;
	o = k->version < 0 ? twin(s, k, true) : NULL;
	if (o)
		trade(s, k, o);
	if (k->version < 0) {
		sim_fail(s, "%s: GOOD, and it was never made", name_of(k, who, sizeof(who)));
		return;
	}
	v = &s->pr->v.d[k->version];
	p = v->over ? NULL : behind(s, v);
	if (p) {
		sim_fail(s, "%s: GOOD, and gateway %u goes by an older table",
			 name_of(k, who, sizeof(who)), p->idx);
		return;
	}
	now_holds(s, v);
	for (unsigned c = 0; c < s->plan.clients; c++)
		for (unsigned g = 0; g < s->plan.gateways; g++)
			if (v->gone[c][g])
				sim_client_ends(s, &s->cl[c], g,
						k->a.begun_us && g == k->a.gw ? k->a.begun_us
									      : v->decided_us);
}

void sim_pr_answered(struct sim *s, unsigned id, const struct vms_sense *sense)
{
	struct asked *k = &s->pr->cmd.d[id];
	struct asked *o;
	char who[100];

	if (sense->status == VMS_SAM_GOOD) {
		good(s, k);
		return;
	}
	if (sense->status == VMS_SAM_CHECK_CONDITION && sense->key != VMS_SK_ILLEGAL_REQUEST) {
		k->state = UNKNOWN;
		return;
	}
	k->state = NOT;
	o = k->version >= 0 ? twin(s, k, false) : NULL;
	if (o)
		trade(s, k, o);
	if (k->version >= 0)
		sim_fail(s, "%s: status 0x%02x, but it was made", name_of(k, who, sizeof(who)),
			 sense->status);
	else if ((sense->status == VMS_SAM_RESERVATION_CONFLICT &&
		  !explained(s, k, PRA_CONFLICT)) ||
		 (sense->status == VMS_SAM_CHECK_CONDITION && !explained(s, k, PRA_ERROR)))
		sim_fail(s, "%s: status 0x%02x, and nothing calls for it",
			 name_of(k, who, sizeof(who)), sense->status);
}

/* ---- commands that a reservation may shut out ---- */

void sim_pr_look(struct sim *s, const struct proc *p, const struct sim_cmd *m)
{
	const struct vms_gw_cmd *cmd = &m->cmd;
	struct sim_pr_ask who = {.client = (unsigned)m->client,
				 .gw = p->idx,
				 .gw_id = p->gw->id,
				 .session = sim_pr_session((unsigned)m->client, m->session)};
	bool admitted = false, refused = false, copy = cmd->op == SIM_COPY;
	bool write = copy ? m->vol == 0 : cmd->op != VMS_GW_READ;
	size_t first = held_at(s, m->read_us);

	if (!m->read_us || !sim_cmd_uses(m, 0) || cmd->op == VMS_GW_FLUSH ||
	    m->client == SIM_AUDITOR || s->final)
		return;
	for (size_t i = first; i < s->pr->v.n; i++) {
		bool ok = sim_pr_admits(&s->pr->v.d[i].t, &who, write);

		admitted |= ok;
		refused |= !ok;
	}
	if (!cmd->status && !admitted)
		sim_fail(s,
			 "client %d: op %d at lba %" PRIu64
			 " over gateway %u, which read it at %" PRIu64
			 " us, ended with GOOD; table %" PRIu64
			 " of reservations shuts it out since %" PRIu64 " us",
			 m->client, cmd->op, cmd->lba, p->idx, m->read_us, s->pr->v.d[first].fence,
			 s->pr->v.d[first].held_us);
	else if (cmd->status == VMS_E_RESERVED && !refused && !copy)
		sim_fail(s,
			 "client %d: op %d at lba %" PRIu64
			 " over gateway %u, which read it at %" PRIu64
			 " us: RESERVATION CONFLICT, and since table %" PRIu64
			 " no reservation is in its way (the gateway goes by table %" PRIu64 ")",
			 m->client, cmd->op, cmd->lba, p->idx, m->read_us, s->pr->v.d[first].fence,
			 vms_gw_vol_pr(p->vol[0].h)->fence);
}

bool sim_pr_over(struct sim *s, char *why, size_t room)
{
	const struct version *v = last(s);

	if (!v->over) {
		snprintf(why, room, "table %" PRIu64 " of reservations is under way still",
			 v->fence);
		return false;
	}
	if (v->t.reserve_gw &&
	    !session_lives(s, v->t.reserve_gw, v->reserve_incarnation, v->t.reserve_session)) {
		snprintf(why, room, "RESERVE of a session of gateway %u that has gone is there",
			 v->t.reserve_gw);
		return false;
	}
	return true;
}

/* Has that session RESERVE? */
bool sim_pr_reserved(const struct sim *s, unsigned client, uint32_t session)
{
	const struct version *v = &s->pr->v.d[s->pr->v.n - 1];

	return v->t.reserve_gw && v->t.reserve_session == sim_pr_session(client, session);
}
