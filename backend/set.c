// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sets: who changes them, when, and what must hold until it is known.
 *
 * Every change is a transaction that compares the partition's key with what this node
 * has read, and makes the next epoch. This node's part: an earlier process of its own
 * is replaced (raise); a member whose primary has no lease of this node any more takes
 * over; a primary drops dead members, adds learners that are ready, drops members that
 * are not wanted, hands the lead over to the one that is wanted. What a transaction
 * did counts only when it has been read back: until then the old set is needed, and
 * the candidate of an addition, too (rule E2). The outcome of one that is lost is
 * settled by the next one, which compares the same revision.
 *
 * Keeps invariants 2, 5, 6 (rules A3, C9, E1, E2).
 */
#include "backend/set.h"

#include <stdlib.h>
#include <string.h>

#include "backend/learn_serve.h"
#include "backend/lease.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_session.h"
#include "backend/retire.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/rng.h"

#define FEEDS_MAX     16u /* at a time, from this node; whole copies: learn_serve.c */
#define HANDOVERS_MAX 8u  /* at a time, from this node */
#define RETIRES_MAX   64u /* ... while it is being stopped */

enum why { WHY_RAISE, WHY_TAKEOVER, WHY_DROP, WHY_SETTLE, WHY_PROMOTE, WHY_UNWANTED, WHY_HANDOVER };
static const char *const why_text[] = {"raised by a restarted member",
				       "taken over",
				       "member dropped",
				       "settled",
				       "member added",
				       "member released",
				       "handed over"};

/* Since when this process can hear the others, and they it: not while it waits for the catalog
 * at its start. */
static uint64_t age_ms(const struct vms_node *n)
{
	if (n->mut == MUT_OLD_AT_START)
		return n->now_ms - n->start_ms;
	return n->phase == SP_RUN ? n->now_ms - n->run_ms : 0;
}

/* A process that has just started waits for members of the last set. */
static bool young(const struct vms_node *n)
{
	return age_ms(n) < 5ull * n->tm.tick_gap_ms && n->mut != MUT_YOUNG;
}

static unsigned conf_index(const struct vms_part_conf *c, uint32_t node)
{
	unsigned i = 0;

	while (i < c->nmembers && c->member[i].node != node)
		i++;
	return i;
}

static bool wanted(const struct vms_part_conf *c, uint32_t node)
{
	for (unsigned i = 0; i < c->nwant; i++)
		if (c->want[i] == node)
			return true;
	return c->nwant == 0;
}

static void conf_remove(struct vms_part_conf *c, uint32_t node)
{
	unsigned at = conf_index(c, node);

	if (at == c->nmembers)
		return;
	memmove(&c->member[at], &c->member[at + 1], (c->nmembers - at - 1) * sizeof(c->member[0]));
	c->nmembers--;
}

static void conf_lead(struct vms_part_conf *c, uint32_t node)
{
	unsigned at = conf_index(c, node);
	struct vms_member m;

	vms_assert(at < c->nmembers);
	m = c->member[at];
	memmove(&c->member[1], &c->member[0], at * sizeof(c->member[0]));
	c->member[0] = m;
	c->primary = node;
}

/* ---- dead or alive ---- */

/* Silent for 3/4 of a lease, or the connection gone for half of one (3/4, too, when a
 * new process is there that has not raised the epoch yet). */
static bool peer_dead(const struct vms_node *n, const struct peer *pe, uint64_t incarnation)
{
	if (young(n) || n->now_ms - n->gap_ms < n->tm.tick_ms)
		return false;
	/* It has said so. When all are stopped nobody is to be left alone with what it leads. */
	if (pe->leaving && !pe->conn && (!n->retiring || n->mut == MUT_STOP_DROPS))
		return true;
	if (pe->conn && pe->incarnation == incarnation)
		return n->now_ms - pe->heard_ms > n->tm.lease_ms / 4 * 3;
	return n->now_ms - pe->down_ms > (pe->conn ? n->tm.lease_ms / 4 * 3 : n->tm.lease_ms / 2);
}

/* It answers, but takes nothing: its disk stands still, or it needs records that are
 * not in the log any more. Or its copy is another than this one. It comes back as a
 * learner. */
static bool member_stuck(const struct vms_node *n, const struct member *m)
{
	return m->lost || m->differs ||
	       (m->streaming && m->durable < m->sent &&
		n->now_ms - m->moved_ms > 4ull * n->tm.lease_ms && !young(n));
}

/* May this member, with its present process, take the lead? */
static bool takeover_due(struct vms_node *n, const struct part *p)
{
	const struct peer *pe = node_peer(n, p->conf.primary, false);
	unsigned lead = conf_index(&p->conf, p->conf.primary);
	uint64_t due = n->serve_from_ms, granted;
	unsigned turn = 0;

	granted = pe && lead < p->conf.nmembers
			  ? lease_granted_ms(n, pe, p->conf.member[lead].incarnation)
			  : 0;
	if (granted > due && n->mut != MUT_TAKE_EARLY)
		due = granted;
	/* A restarted process that has not been brought up to date may lack memory-mode
	 * writes that the primary still has: its turn comes when that is surely gone. */
	if (p->mem_flag && p->intact_view != p->view_epoch)
		due += 10ull * n->tm.lease_ms;
	if (n->mut == MUT_TAKE_EARLY && pe && pe->conn)
		due = pe->heard_ms + n->tm.lease_ms / 2;
	if (young(n) || n->now_ms - n->gap_ms < 2 * n->tm.tick_ms)
		return false;
	for (unsigned i = 0; i < p->conf.nmembers && p->conf.member[i].node != n->id; i++)
		turn += p->conf.member[i].node != p->conf.primary;
	return n->now_ms > due + (uint64_t)turn * n->tm.tick_ms;
}

/* ---- one partition ---- */

static void heard_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;

	n->heard_busy = false;
	if (r->status)
		return;
	n->heard_ms = n->now_ms;
	n->set_step_ms = n->now_ms;
	node_wake_at(n, n->now_ms);
}

/* A node that nothing reaches, but whose words reach the others, would take everyone for
 * dead and be left alone with what it leads. So nobody is declared dead without an answer of
 * the catalog from the time in which that one has been silent. */
bool set_hears(struct vms_node *n)
{
	if (n->heard_ms && n->now_ms - n->heard_ms <= n->tm.lease_ms / 2)
		return true;
	if (!n->heard_busy) {
		n->heard_busy = true;
		n->cat->ops->get(n->cat, "cluster", heard_done, n);
	}
	return false;
}

/* This process has been started anew and finds that it led. It may not serve before all
 * that the former one gave out has run out, which is when another member takes over, too:
 * one that has not been started anew and whose lead a further death here does not end. */
static bool successor_there(const struct vms_node *n, const struct part *p)
{
	uint64_t age = age_ms(n);

	if (age > n->tm.lease_ms + 2ull * n->tm.tick_ms || n->mut == MUT_RAISE_LEAD)
		return false;
	for (unsigned i = 0; i < p->conf.nmembers; i++) {
		const struct vms_member *m = &p->conf.member[i];
		const struct peer *pe = node_peer((struct vms_node *)n, m->node, false);

		if (m->node == n->id || !pe)
			continue;
		if (pe->conn && lease_left_ms(n, pe) ? pe->incarnation == m->incarnation
						     : age < n->tm.lease_ms / 2)
			return true;
	}
	return false;
}

/* What it needs changed, if anything, as the next configuration. */
static bool propose(struct vms_node *n, struct part *p, struct vms_part_conf *c, enum why *why)
{
	unsigned self = conf_index(&p->conf, (uint32_t)n->id), lead;
	const struct peer *back;
	bool old;

	if (!p->known || !p->conf.epoch || self == p->conf.nmembers)
		return false;
	*c = p->conf;
	old = c->member[self].incarnation != n->incarnation;
	if (!c->nwant)
		c->nwant = vms_cat_part_want(&p->conf, c->want);
	c->member[self].incarnation = n->incarnation;
	c->epoch++;
	if (n->conf.fixed_sets) {
		*why = WHY_RAISE;
		c->nwant = p->conf.nwant;
		return old;
	}
	if (!p->primary) {
		*why = old ? WHY_RAISE : WHY_TAKEOVER;
		if (!takeover_due(n, p) || !set_hears(n))
			return old;
		*why = WHY_TAKEOVER;
		/* one that is back already stays, as a restarted member does */
		back = node_peer(n, p->conf.primary, false);
		lead = conf_index(c, p->conf.primary);
		if (back && back->conn && !back->leaving && lead < c->nmembers &&
		    back->incarnation > c->member[lead].incarnation && lease_left_ms(n, back))
			c->member[lead].incarnation = back->incarnation;
		else
			conf_remove(c, p->conf.primary);
		conf_lead(c, (uint32_t)n->id);
		return true;
	}
	bool missing = false;

	*why = WHY_RAISE;
	if (old && successor_there(n, p))
		return false;
	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self && p->m[i].peer &&
		    (peer_dead(n, p->m[i].peer, p->m[i].incarnation) ||
		     member_stuck(n, &p->m[i]))) {
			conf_remove(c, p->m[i].node);
			*why = WHY_DROP;
		}
	if (*why == WHY_DROP)
		return set_hears(n);
	if (old)
		return true;
	if (p->cand) {
		struct member *m = part_learner(p, p->cand);

		if (p->proposed && (!m || !m->streaming || peer_dead(n, m->peer, m->incarnation))) {
			/* it may be a member by now: the next epoch says that it is not */
			*why = WHY_SETTLE;
			return true;
		}
		if (!m || p->recalls || p->state != PS_ACTIVE || c->nmembers == VMS_COPIES_MAX)
			return false;
		c->member[c->nmembers++] = (struct vms_member){m->node, m->incarnation};
		*why = WHY_PROMOTE;
		return true;
	}
	if (p->handing) {
		if (p->recalls || p->committed < p->seq_last || p->state != PS_ACTIVE)
			return false;
		conf_lead(c, p->handing);
		c->handover = c->epoch;
		*why = WHY_HANDOVER;
		return true;
	}
	if (p->state != PS_ACTIVE || !part_members_ready(p))
		return false;
	for (unsigned i = 0; i < c->nwant; i++)
		missing |= conf_index(c, c->want[i]) == c->nmembers;
	/* first everyone who is wanted; a full set makes room for one */
	if (missing && c->nmembers < VMS_COPIES_MAX)
		return false;
	for (unsigned i = 0; i < p->nm && !(missing && *why == WHY_UNWANTED); i++)
		if (i != p->self && !wanted(c, p->m[i].node)) {
			conf_remove(c, p->m[i].node);
			*why = WHY_UNWANTED;
		}
	return *why == WHY_UNWANTED;
}

/* A learner that may become a member: everything that anyone relies on is there, too. */
static bool candidate(const struct vms_node *n, const struct part *p, const struct member *m)
{
	uint64_t done, total;

	return m->streaming && m->peer->conn && m->peer->incarnation == m->incarnation &&
	       lease_left_ms(n, m->peer) && m->held >= p->committed &&
	       m->durable >= p->all_durable && m->ckpt_seq >= p->safe_seq &&
	       learn_state(p, m->node, &done, &total) == LEARN_READY;
}

/* Copies that are fed to nodes nobody wants to have it any more. */
static void learners_check(struct vms_node *n, struct part *p)
{
	for (struct feed *f = p->feeds, *next; f; f = next) {
		next = f->next;
		if (f->node == p->cand && p->proposed)
			continue; /* needed until the outcome is known */
		if (wanted(&p->conf, f->node) &&
		    conf_index(&p->conf, f->node) == p->conf.nmembers) {
			if (f->node == p->cand && f->st != LEARN_READY)
				set_calm(n, p);
			continue;
		}
		if (f->node == p->cand)
			set_calm(n, p);
		learn_stop(n, p, f->node, false);
	}
}

/* learn_start() itself pauses after a failure. */
static void learners_start(struct vms_node *n, struct part *p)
{
	for (unsigned i = 0; i < p->conf.nwant && n->nfeeds < FEEDS_MAX; i++) {
		struct peer *pe = node_peer(n, p->conf.want[i], false);
		const struct feed *f = feed_get(p, p->conf.want[i]);

		if (pe && pe->conn && (!f || feed_rests(f)) &&
		    conf_index(&p->conf, pe->id) == p->conf.nmembers)
			(void)learn_start(n, p, pe);
	}
}

/* What has been prepared for a change is void: it has happened, or will not. */
void set_calm(struct vms_node *n, struct part *p)
{
	if (p->handing)
		n->handings--;
	if (n->retiring)
		set_soon(n);
	p->cand = p->handing = 0;
	p->proposed = p->unsure = false;
	session_recall_void(n, p);
	part_mark_retry(n, p);
}

static void hand_over(struct vms_node *n, struct part *p, uint32_t to)
{
	p->handing = to;
	p->handing_ms = n->now_ms;
	n->handings++;
	if (n->mut != MUT_HAND_PAGES)
		session_recall(n, p);
}

/* Prepare the changes that need more than a transaction. */
static void prepare(struct vms_node *n, struct part *p)
{
	uint32_t want[VMS_COPIES_MAX], to;
	struct peer *pe;
	unsigned nwant;

	learners_check(n, p);
	if (p->handing && !p->proposed && n->now_ms - p->handing_ms > n->tm.lease_ms / 2) {
		/* it does not come to rest: later */
		p->hand_at_ms = n->now_ms + 5ull * n->tm.lease_ms;
		set_calm(n, p);
	}
	if (p->state != PS_ACTIVE || p->cand || p->handing || n->stopping)
		return;
	for (unsigned i = p->nm; i < p->nm + p->nl; i++)
		if (candidate(n, p, &p->m[i]) && p->nm < VMS_COPIES_MAX) {
			/* Pages say how long they are good by the set their gateway knows:
			 * one that does not know of the new member must not have any. */
			p->cand = p->m[i].node;
			if (n->mut != MUT_ADD_PAGES)
				session_recall(n, p);
			return;
		}
	if (n->retiring) {
		to = retire_gives(n) && n->handings < RETIRES_MAX ? retire_heir(n, p) : 0;
		if (to)
			hand_over(n, p, to);
		return;
	}
	learners_start(n, p);
	if (!p->conf.nwant || p->conf.want[0] == n->id || n->now_ms < p->hand_at_ms ||
	    n->handings >= HANDOVERS_MAX || !part_members_ready(p))
		return;
	nwant = vms_cat_part_want(&p->conf, want);
	to = want[0];
	/* Who is to lead is not a member, and there is no room for one more while this node
	 * leads, which nobody wants: another one is to make it. */
	for (unsigned i = 1;
	     i < nwant && p->nm == VMS_COPIES_MAX && !wanted(&p->conf, n->id) &&
	     conf_index(&p->conf, to) == p->conf.nmembers && n->mut != MUT_FULL_LEAD;
	     i++)
		to = want[i];
	pe = node_peer(n, to, false);
	/* one that dies again and again is not to stop everything each time */
	if (!pe || pe->leaving || n->now_ms - pe->up_ms < 5ull * n->tm.tick_gap_ms)
		return;
	if (conf_index(&p->conf, to) == p->conf.nmembers || !lease_left_ms(n, pe) ||
	    peer_dead(n, pe, p->conf.member[conf_index(&p->conf, to)].incarnation))
		return;
	hand_over(n, p, to);
}

/* ---- transactions ---- */

static void txn_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	bool open = false;

	n->raise_busy = false;
	for (unsigned i = 0; i < n->nraise; i++) {
		struct part *p = node_part(n, n->raise_part[i]);

		if (p->conf_rev != n->raise_rev[i])
			continue; /* a newer one has been read */
		open = true;
		if (r->status && r->status != VMS_E_CONFLICT)
			p->unsure = true; /* it may happen yet */
		else if (r->status && !p->unsure)
			p->proposed = false;
	}
	n->nraise = 0;
	if (r->status) {
		/* conflict: someone else was first; unknown: part/ tells. Read it again,
		 * compare, try again, with fewer at a time. */
		if (n->raise_batch > 1)
			n->raise_batch /= 2;
		n->raise_retry_ms = n->now_ms + n->tm.tick_ms / 8 + 1 +
				    vms_rng_below(&n->rng, n->tm.tick_ms / 4 + 1);
		node_wake_at(n, n->raise_retry_ms);
		cat_load_parts(n);
		return;
	}
	if (n->raise_batch < NODE_RAISE_BATCH)
		n->raise_batch *= 2;
	if (n->raise_batch > NODE_RAISE_BATCH)
		n->raise_batch = NODE_RAISE_BATCH;
	if (open) {
		/* the watch has not told yet: it counts when it is read */
		n->raise_retry_ms = n->now_ms + n->tm.tick_ms / 4 + 1;
		node_wake_at(n, n->raise_retry_ms);
		n->raise_read = true;
		return;
	}
	set_step(n);
}

static void count_change(struct vms_node *n, enum why why)
{
	switch (why) {
	case WHY_TAKEOVER:
		n->st.takeovers++;
		break;
	case WHY_DROP:
	case WHY_UNWANTED:
		n->st.drops++;
		break;
	case WHY_PROMOTE:
		n->st.promotions++;
		break;
	case WHY_HANDOVER:
		n->st.handovers++;
		break;
	default:
		break;
	}
}

/* A newer configuration has been read: was it what this node asked for? */
void set_adopted(struct vms_node *n, struct part *p)
{
	if (p->proposed && p->conf.epoch == p->proposed_epoch &&
	    p->conf.primary == p->proposed_lead && p->conf.nmembers == p->proposed_n) {
		count_change(n, (enum why)p->proposed_why);
		if (p->proposed_why != WHY_RAISE)
			node_log(n, VMS_LOG_INFO, "partition %u: epoch %llu, %s, %u of %u copies",
				 p->number, (unsigned long long)p->conf.epoch,
				 why_text[p->proposed_why], p->conf.nmembers, n->cluster.copies);
	}
	set_calm(n, p);
}

/* Partitions that need a change, some at a time. */
void set_step(struct vms_node *n)
{
	struct vms_cat_cmp cmp[NODE_RAISE_BATCH];
	struct vms_cat_op op[NODE_RAISE_BATCH];
	char(*keys)[VMS_CAT_KEY_BYTES_MAX];
	unsigned k = 0;

	if (n->phase != SP_RUN || n->raise_busy || n->loss_busy || n->poisoned || n->stopping ||
	    n->now_ms < n->raise_retry_ms)
		return;
	if (n->raise_read) {
		n->raise_read = false;
		cat_load_parts(n);
	}
	if (!n->raise_batch)
		n->raise_batch = NODE_RAISE_BATCH;
	keys = NULL;
	for (uint32_t x = 0; x < n->nparts && k < n->raise_batch; x++) {
		/* not always the same ones first */
		uint32_t i = (x + n->raise_next) % n->nparts;
		struct part *p = n->part[i];
		struct vms_part_conf c;
		enum why why;

		if (!p || !propose(n, p, &c, &why))
			continue;
		if (!keys) {
			keys = malloc(NODE_RAISE_BATCH * sizeof(*keys));
			vms_assert(keys);
		}
		vms_cat_key_part(keys[k], i);
		cmp[k] = (struct vms_cat_cmp){keys[k], p->conf_rev};
		op[k] = (struct vms_cat_op){keys[k], vms_cat_part_encode(&c), 0};
		n->raise_part[k] = i;
		n->raise_rev[k] = p->conf_rev;
		p->proposed = true;
		p->proposed_epoch = c.epoch;
		p->proposed_lead = c.primary;
		p->proposed_n = c.nmembers;
		p->proposed_why = why;
		k++;
	}
	if (!k)
		return;
	if (k == n->raise_batch)
		n->raise_next = n->raise_part[k - 1] + 1;
	n->nraise = k;
	n->raise_busy = true;
	n->cat->ops->txn(n->cat, cmp, k, op, k, txn_done, n);
	for (unsigned i = 0; i < k; i++)
		free((char *)op[i].val);
	free(keys);
}

/* Something has come to its end that others waited for. */
void set_soon(struct vms_node *n)
{
	uint64_t at = n->set_did_ms + n->tm.tick_ms / 16;

	if (at < n->now_ms)
		at = n->now_ms;
	if (at < n->set_ms) {
		n->set_ms = n->set_step_ms = at;
		node_wake_at(n, at);
	}
}

void set_timer(struct vms_node *n)
{
	if (n->phase != SP_RUN || n->poisoned)
		return;
	if (n->behind && n->now_ms >= n->behind_ms) {
		n->behind = false;
		n->behind_ms = n->now_ms + n->tm.tick_ms;
		cat_load_parts(n);
	}
	if (n->now_ms >= n->set_ms && !n->conf.fixed_sets) {
		n->set_ms = n->now_ms + n->tm.tick_ms / 2;
		n->set_did_ms = n->now_ms;
		for (uint32_t x = 0; x < n->nparts; x++) {
			uint32_t i = (x + n->set_next) % n->nparts;

			if (n->part[i] && n->part[i]->known && n->part[i]->primary)
				prepare(n, n->part[i]);
		}
		n->set_next++;
	}
	/* it looks at all partitions, and the timer may run every millisecond or two */
	if (n->now_ms >= n->set_step_ms) {
		n->set_step_ms = n->now_ms + n->tm.tick_ms / 8;
		set_step(n);
	}
}
