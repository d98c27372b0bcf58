// SPDX-License-Identifier: GPL-2.0-only
/*
 * Partitions: configuration, roles, view change.
 *
 * A changed configuration (a member's new incarnation) is a new epoch. Its
 * primary asks every member what it holds (VIEW_STATE), fetches what it lacks
 * itself from the member with the highest (last view, last seq), brings everyone
 * the whole suffix and then orders the VIEW record; when that is durable on all
 * members the partition serves, as soon as nothing that the former primary gave out can
 * be in use any more (PS_LEASE). All members of the set must answer.
 *
 * The promise "nothing of a lower epoch is accepted" needs no log record of its
 * own here: a member that restarts raises the epoch in the catalog before it
 * takes part again, so it can never meet a lower one; and a stream of records is
 * accepted only from the connection on which VIEW_STATE was answered.
 *
 * Who is in a set, and who leads, is changed in set.c; here a change that has been
 * read takes effect. A node that is not in the set any more keeps its copy (out) and
 * serves nothing.
 *
 * Keeps invariants 2, 5, 6, 7 (rules A3, C9, D7).
 */
#include "backend/node_part.h"

#include <stdlib.h>
#include <string.h>

#include "backend/collect.h"
#include "backend/drain.h"
#include "backend/fresh.h"
#include "backend/learn.h"
#include "backend/learn_serve.h"
#include "backend/lease.h"
#include "backend/match.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/prune.h"
#include "backend/record.h"
#include "backend/round.h"
#include "backend/set.h"
#include "backend/wal.h"
#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define VS_BYTES 57u

struct member *part_member(struct part *p, const struct peer *pe)
{
	for (unsigned i = 0; i < p->nm + p->nl; i++)
		if (p->m[i].peer == pe && (i != p->self || p->m[i].learner))
			return &p->m[i];
	return NULL;
}

struct member *part_learner(struct part *p, uint32_t node)
{
	for (unsigned i = p->nm; i < p->nm + p->nl; i++)
		if (p->m[i].node == node)
			return &p->m[i];
	return NULL;
}

struct member *part_learner_add(struct vms_node *n, struct part *p, struct peer *pe)
{
	struct member *m = part_learner(p, pe->id);

	if (m || part_member(p, pe) || p->nm + p->nl == PART_STREAMS_MAX || !pe->conn)
		return m;
	m = &p->m[p->nm + p->nl++];
	memset(m, 0, sizeof(*m));
	m->node = pe->id;
	m->incarnation = pe->incarnation;
	m->peer = pe;
	m->learner = true;
	m->progress_ms = n->now_ms;
	return m;
}

void part_learner_del(struct vms_node *n, struct part *p, uint32_t node)
{
	struct member *m = part_learner(p, node);

	(void)n;
	if (!m)
		return;
	member_inflight_drop(m);
	*m = p->m[p->nm + --p->nl];
}

/* Records of an epoch begin with its VIEW, and whoever holds that VIEW took part in
 * the view: the histories part where the epochs rise above the other's last view. */
bool part_common(const struct part *p, uint64_t view, uint64_t last, uint64_t *common)
{
	size_t have = p->recs.n - p->recs_head;

	*common = last < p->seq_last ? last : p->seq_last;
	if (view >= p->view_epoch)
		return true;
	for (size_t i = 0; i < have; i++) {
		const struct prec *r = &p->recs.d[p->recs_head + i];

		if (!r->log_pos || r->epoch <= view)
			continue;
		/* the first of them? Only when what lies before it is there, too. */
		if (p->recs_first + i > 1 && (i == 0 || !r[-1].log_pos))
			return false;
		if (p->recs_first + i - 1 < *common)
			*common = p->recs_first + i - 1;
		return true;
	}
	return false; /* VIEW is not in the log any more */
}

/* What was on its way to the member counts no more: its stream starts anew. */
void member_inflight_drop(struct member *m)
{
	if (m->peer)
		m->peer->inflight_bytes -= m->inflight_bytes < m->peer->inflight_bytes
						   ? m->inflight_bytes
						   : m->peer->inflight_bytes;
	m->inflight_bytes = 0;
}

bool part_members_ready(const struct part *p)
{
	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self && !p->m[i].streaming)
			return false;
	return true;
}

static bool part_empty(const struct part *p)
{
	/* records of the views it took part in do not count */
	return !p->has_data && !p->drain_applied && p->ctrs.n == 0;
}

static bool member_connected(const struct member *m)
{
	return m->peer && m->peer->conn && m->peer->incarnation == m->incarnation;
}

/* Another node leads. */
static void demote(struct vms_node *n, struct part *p)
{
	p->primary = p->was_active = false;
	while (p->feeds)
		learn_stop(n, p, p->feeds->node, false);
	while (p->nl)
		part_learner_del(n, p, p->m[p->nm].node);
	write_demote(n, p);
	session_lost(n, p);
	drain_stubs_drop(n, p);
}

/* This node is not in the set (any more). Its copy stays as it is until the primary
 * wants it, or says that it may go. */
static void part_leave(struct vms_node *n, struct part *p)
{
	if (p->known)
		node_log(n, VMS_LOG_INFO, "partition %u: not in the set of epoch %llu%s", p->number,
			 (unsigned long long)p->conf.epoch,
			 part_empty(p) ? "" : ", its copy is kept");
	if (p->primary)
		demote(n, p);
	for (unsigned i = 0; i < p->nm; i++)
		member_inflight_drop(&p->m[i]);
	drain_abort(n, p);
	gc_abort(n, p);
	if (p->known)
		round_part_changed(n, p);
	p->nm = p->nl = p->self = 0;
	p->known = false;
	p->out = !part_empty(p);
	p->state = PS_NONE;
	p->repl_conn = 0;
	p->in_ack = false;
	if (p->conf.epoch > p->epoch)
		p->epoch = p->conf.epoch;
	learn_conf(n, p);
}

/* The members as the new epoch has them; learners that are none yet stay behind them. */
static void members_set(struct vms_node *n, struct part *p)
{
	const struct vms_part_conf *conf = &p->conf;
	struct member learner[PART_STREAMS_MAX];
	unsigned nl = p->nl;

	for (unsigned i = 0; i < p->nm; i++)
		member_inflight_drop(&p->m[i]);
	memcpy(learner, &p->m[p->nm], nl * sizeof(learner[0]));
	memset(p->m, 0, sizeof(p->m));
	p->nm = conf->nmembers;
	p->nl = 0;
	for (unsigned i = 0; i < p->nm; i++) {
		struct member *m = &p->m[i];

		m->node = conf->member[i].node;
		m->incarnation = conf->member[i].incarnation;
		if (m->node == n->id)
			p->self = i;
		else
			m->peer = node_peer(n, m->node, true);
	}
	for (unsigned i = 0; i < nl; i++) {
		bool member = false;

		for (unsigned k = 0; k < p->nm; k++)
			member |= p->m[k].node == learner[i].node;
		if (!member && p->nm + p->nl < PART_STREAMS_MAX) {
			p->m[p->nm + p->nl++] = learner[i];
			continue;
		}
		member_inflight_drop(&learner[i]);
		learn_stop(n, p, learner[i].node, member);
	}
}

void part_conf_update(struct vms_node *n, uint32_t number, const struct vms_part_conf *conf,
		      uint64_t rev)
{
	struct part *p = node_part(n, number);
	struct peer *former = NULL;
	uint64_t former_inc = 0;
	bool member = false, fresh;

	for (unsigned i = 0; i < conf->nmembers; i++)
		member |= conf->member[i].node == n->id;
	if (!p && !member)
		return;
	if (p && rev <= p->conf_rev)
		return;
	p = node_part_make(n, number);
	fresh = !p->known || conf->epoch > p->conf.epoch;
	if (p->known && p->conf.primary != n->id) {
		former = node_peer(n, p->conf.primary, false);
		for (unsigned i = 0; i < p->conf.nmembers; i++)
			if (p->conf.member[i].node == p->conf.primary)
				former_inc = p->conf.member[i].incarnation;
		if (conf->epoch != p->conf.epoch + 1)
			former_inc = UINT64_MAX; /* another process may have led between */
	}
	p->conf = *conf;
	p->conf_rev = rev;
	set_adopted(n, p);
	if (!member) {
		part_leave(n, p);
		return;
	}
	p->known = true;
	p->out = p->gone = false;
	learn_conf(n, p);
	if (!fresh)
		return;
	if (conf->epoch > p->epoch) {
		p->epoch = conf->epoch;
		p->repl_conn = 0;
	}
	if (p->primary && conf->primary != n->id)
		demote(n, p);
	members_set(n, p);
	drain_abort(n, p);
	gc_abort(n, p);
	round_part_changed(n, p);
	p->primary = conf->primary == n->id;
	if (!p->primary) {
		p->state = PS_BACKUP;
		return;
	}
	p->in_ack = false;
	p->serve_ms = 0;
	if (!p->was_active) {
		prune_led(n);
		p->rd_unsure |= !part_empty(p);
		/* What others have been told meanwhile; what the former primary may do on
		 * the strength of leases it has from here, and its gateways with it. */
		p->need_rev = rev;
		if (conf->handover != conf->epoch) {
			uint64_t granted = former ? lease_granted_ms(n, former, former_inc) : 0;

			p->serve_ms = n->serve_from_ms;
			if (granted > p->serve_ms && n->mut != MUT_NO_GRANT_WAIT)
				p->serve_ms = granted;
		}
		if (rev > n->took_rev)
			n->took_rev = rev;
	}
	p->state = PS_WAIT;
	part_step(n, p);
}

static void ask(struct vms_node *n, struct part *p, struct member *m)
{
	struct vms_msg q = {.type = VMS_MSG_VIEW_STATE, .partition = p->number};
	char *text = vms_cat_part_encode(&p->conf);
	size_t bytes = strlen(text);
	uint8_t *b = malloc(8 + bytes);

	vms_assert(b);
	vms_put_le64(b, p->conf_rev);
	memcpy(b + 8, text, bytes);
	q.req_id = n->next_req++;
	q.epoch = p->conf.epoch;
	q.body = b;
	q.body_bytes = (uint32_t)(8 + bytes);
	m->asked = true;
	node_send(n, m->peer->conn, &q);
	free(b);
	free(text);
}

/* The primary's word is as good as the own watch, which may be behind, or have no
 * catalog to watch. */
static void conf_told(struct vms_node *n, const struct vms_msg *m)
{
	char key[VMS_CAT_KEY_BYTES_MAX], text[2048];
	struct vms_cat_kv kv = {.key = key, .val = text};
	struct vms_part_conf pc;
	uint32_t number;

	if (m->body_bytes <= 8 || m->body_bytes - 8 >= sizeof(text) || m->partition >= n->nparts)
		return;
	memcpy(text, m->body + 8, m->body_bytes - 8);
	text[m->body_bytes - 8] = 0;
	vms_cat_key_part(key, m->partition);
	if (vms_cat_part_decode(&kv, &number, &pc, NULL) || pc.epoch != m->epoch)
		return;
	if (pc.epoch > n->pconf[number].epoch)
		n->pconf[number] = pc;
	part_conf_update(n, number, &pc, vms_get_le64(m->body));
}

/* Its stream goes on behind what is surely the same there. */
static void member_place(struct vms_node *n, struct part *p, struct member *m)
{
	if (!part_common(p, m->vs_view, m->vs_last, &m->sent)) {
		node_log(n, VMS_LOG_WARN,
			 "partition %u: node %u was in view %llu last, and the log does not go "
			 "back there",
			 p->number, m->node, (unsigned long long)m->vs_view);
		m->lost = p->nm > 1;
	}
	m->held = m->sent;
}

static void view_order(struct vms_node *n, struct part *p)
{
	uint8_t meta[20 + 12 * VMS_COPIES_MAX];
	struct vms_rec r = {.type = VMS_REC_VIEW, .flags = VMS_RF_INTERNAL, .meta = meta};
	int rc;

	vms_put_le64(meta, p->conf.epoch);
	vms_put_le64(meta + 8, p->seq_last + 1);
	vms_put_le32(meta + 16, p->nm);
	for (unsigned i = 0; i < p->nm; i++) {
		vms_put_le32(meta + 20 + 12 * i, p->m[i].node);
		vms_put_le64(meta + 24 + 12 * i, p->m[i].incarnation);
	}
	r.meta_bytes = 20 + 12 * p->nm;
	for (unsigned i = 0; i < p->nm; i++) {
		struct member *m = &p->m[i];

		if (i == p->self)
			continue;
		member_place(n, p, m);
		m->durable = 0;
	}
	rc = part_order(n, p, &r, NULL, 0);
	if (rc) {
		p->state = PS_WAIT;
		return;
	}
	p->view_seq = p->seq_last;
	p->state = PS_VIEW;
}

/* Everything needed is in the own log: was anything lost? */
static void view_ready(struct vms_node *n, struct part *p)
{
	uint64_t best = p->view_epoch;
	bool intact, lost;

	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self && p->m[i].vs_view > best)
			best = p->m[i].vs_view;
	intact = best == 0 || p->intact_view == best;
	lost = p->view_epoch == best && p->mem_flag;
	for (unsigned i = 0; i < p->nm; i++) {
		if (i == p->self)
			continue;
		intact |= p->m[i].vs_intact == best;
		lost |= p->m[i].vs_view == best && p->m[i].vs_lost;
	}
	if (!intact && lost) {
		node_log(n, VMS_LOG_WARN,
			 "partition %u: all members restarted, unflushed writes of memory-mode "
			 "volumes may be lost",
			 p->number);
		p->state = PS_LOSS;
		cat_loss_start(n, p);
		return;
	}
	view_order(n, p);
}

void part_loss_done(struct vms_node *n, struct part *p)
{
	if (p->state == PS_LOSS && part_members_ready(p))
		view_order(n, p);
	else if (p->state == PS_LOSS)
		p->state = PS_WAIT;
}

static void fetch_ask(struct vms_node *n, struct part *p, struct member *m)
{
	struct vms_msg q = {.type = VMS_MSG_CATCHUP, .partition = p->number};

	q.req_id = n->next_req++;
	q.epoch = p->conf.epoch;
	q.sequence = p->seq_last + 1;
	node_send(n, m->peer->conn, &q);
}

static struct member *best_member(struct part *p)
{
	struct member *best = NULL;
	uint64_t view = p->view_epoch, last = p->seq_last;

	for (unsigned i = 0; i < p->nm; i++) {
		struct member *m = &p->m[i];

		if (i == p->self)
			continue;
		if (m->vs_view > view || (m->vs_view == view && m->vs_last > last)) {
			best = m;
			view = m->vs_view;
			last = m->vs_last;
		}
	}
	return best;
}

void part_step(struct vms_node *n, struct part *p)
{
	struct member *best;

	if (n->phase != SP_RUN || !p->known || !p->primary || n->stopping)
		return;
	if (p->conf.member[p->self].incarnation != n->incarnation)
		return; /* cat_raise_check() raises the epoch */
	if (p->state == PS_WAIT) {
		for (unsigned i = 0; i < p->nm; i++)
			if (i != p->self && !member_connected(&p->m[i]))
				return;
		p->state = PS_QUERY;
	}
	if (p->state != PS_WAIT)
		for (unsigned i = 0; i < p->nm; i++) {
			struct member *m = &p->m[i];

			if (i != p->self && !m->streaming && !m->asked && member_connected(m))
				ask(n, p, m);
		}
	if (p->state != PS_QUERY || !part_members_ready(p))
		return;
	for (unsigned i = 0; i < p->nm; i++) {
		if (i == p->self)
			continue;
		if (p->m[i].vs_ctr > p->next_ctr)
			p->next_ctr = p->m[i].vs_ctr;
		if (!p->was_active && p->m[i].vs_pos > p->next_pos && n->mut != MUT_NO_CEILING)
			p->next_pos = p->m[i].vs_pos;
	}
	if (!p->was_active && p->ceiling > p->next_pos && n->mut != MUT_NO_CEILING)
		p->next_pos = p->ceiling;
	best = n->mut == MUT_VIEW_OWN_LOG ? NULL : best_member(p);
	if (!best) {
		view_ready(n, p);
		return;
	}
	if (best->vs_last < p->seq_last)
		part_truncate(n, p, best->vs_last + 1);
	p->fetch_last = best->vs_last;
	p->state = PS_FETCH;
	if (p->seq_last >= p->fetch_last)
		view_ready(n, p);
	else
		fetch_ask(n, p, best);
}

/* A peer's connection came or went. */
void part_peer_change(struct vms_node *n, struct peer *pe)
{
	VMS_VEC_CLEAR(&pe->out);
	VMS_VEC_CLEAR(&pe->ack);
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];
		struct member *m;

		if (!p || !p->known)
			continue;
		m = part_member(p, pe);
		if (!m)
			continue;
		m->streaming = false;
		m->asked = false;
		m->in_out = false;
		m->moved_ms = n->now_ms;
		m->inflight_bytes = 0; /* the peer's whole count starts anew */
		if (p->conf.primary == pe->id) {
			p->repl_conn = 0;
			p->in_ack = false;
		}
		if (!p->primary || m->learner)
			continue;
		if (p->state == PS_QUERY || p->state == PS_FETCH || p->state == PS_LOSS)
			p->state = p->state == PS_LOSS ? PS_LOSS : PS_WAIT;
		part_step(n, p);
	}
}

static void view_answer(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct member *mb = p && p->known && p->primary ? part_member(p, c->peer) : NULL;
	struct vms_rd r;

	if (!mb || !mb->asked || mb->streaming)
		return;
	if (m->status) {
		/* the timer asks again */
		return;
	}
	vms_rd_init(&r, m->body, m->body_bytes);
	mb->vs_view = vms_rd_u64(&r);
	mb->vs_last = vms_rd_u64(&r);
	(void)vms_rd_u64(&r); /* oldest seq in its log */
	mb->vs_intact = vms_rd_u64(&r);
	mb->vs_pos = vms_rd_u64(&r);
	mb->vs_ctr = vms_rd_u64(&r);
	mb->vs_lost = vms_rd_u8(&r);
	mb->ckpt_seq = vms_rd_u64(&r);
	if (!vms_rd_ok(&r))
		return;
	member_inflight_drop(mb);
	mb->streaming = true;
	mb->progress_ms = mb->moved_ms = n->now_ms;
	mb->told = mb->told_all = mb->told_enough = 0;
	if (p->state >= PS_VIEW) {
		/* the same view goes on after a broken connection */
		member_place(n, p, mb);
		repl_want(n, p);
		part_mark_retry(n, p);
		part_mark_dirty(n, p);
	}
	part_step(n, p);
	drain_safe(n, p);
}

void part_view_state(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct vms_msg re;
	uint8_t b[VS_BYTES];
	int rc = 0;

	if (m->flags & VMS_F_REPLY) {
		view_answer(n, c, m);
		return;
	}
	if (n->phase == SP_RUN && !n->stopping && (!p || m->epoch > p->conf.epoch)) {
		conf_told(n, m);
		p = node_part(n, m->partition);
	}
	if (!p || !p->known || n->phase != SP_RUN || n->stopping)
		rc = VMS_E_AGAIN;
	else if (m->epoch < p->epoch)
		rc = VMS_E_EPOCH;
	else if (m->epoch > p->conf.epoch || p->conf.primary != c->peer->id ||
		 p->conf.member[p->self].incarnation != n->incarnation)
		rc = VMS_E_AGAIN; /* the own watch brings that configuration soon */
	if (rc) {
		node_reply(n, c->id, m, rc);
		return;
	}
	p->epoch = m->epoch;
	p->repl_conn = c->id;
	vms_put_le64(b, p->view_epoch);
	vms_put_le64(b + 8, p->seq_last);
	vms_put_le64(b + 16, p->recs_first);
	vms_put_le64(b + 24, p->intact_view);
	vms_put_le64(b + 32, p->next_pos > p->ceiling ? p->next_pos : p->ceiling);
	vms_put_le64(b + 40, p->next_ctr);
	b[48] = p->mem_flag;
	vms_put_le64(b + 49, p->drain_ckpt);
	vms_msg_reply_init(&re, m, 0);
	re.body = b;
	re.body_bytes = sizeof(b);
	node_send(n, c->id, &re);
	/* what is held and durable is told anew on this connection */
	p->ack_held = p->ack_durable = 0;
	repl_ack_want(n, p);
	c->peer->held_wanted = true;
}

static void catchup_answer(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct member *mb = p && p->known && p->primary ? part_member(p, c->peer) : NULL;
	const uint8_t *at = m->npayload ? m->payload[0].base : NULL;
	size_t left = m->npayload ? m->payload[0].len : 0;

	if (!mb || p->state != PS_FETCH || m->epoch != p->conf.epoch)
		return;
	if (m->status || !left) {
		if (m->status)
			node_log(n, VMS_LOG_WARN, "partition %u: log of node %u: %s", p->number,
				 c->peer->id, vms_err_text(m->status));
		p->state = PS_WAIT;
		return;
	}
	while (left) {
		struct vms_rec r;
		int64_t bytes = vms_rec_decode(at, left, &r, true);

		if (bytes < 0 || r.partition != p->number ||
		    (r.seq <= p->seq_last ? 0 : part_append_raw(n, p, &r, at, (uint32_t)bytes))) {
			p->state = PS_WAIT;
			return;
		}
		at += bytes;
		left -= (size_t)bytes;
	}
	if (p->seq_last >= p->fetch_last)
		view_ready(n, p);
	else
		fetch_ask(n, p, mb);
}

void part_catchup(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct vms_iov iov[512];
	struct vms_msg re;
	size_t bytes = 0;
	unsigned k = 0;

	if (m->flags & VMS_F_REPLY) {
		catchup_answer(n, c, m);
		return;
	}
	if (!p || !p->known || m->epoch != p->epoch || p->repl_conn != c->id) {
		node_reply(n, c->id, m, VMS_E_EPOCH);
		return;
	}
	vms_msg_reply_init(&re, m, 0);
	for (uint64_t s = m->sequence; s <= p->seq_last && k < 512; s++) {
		struct prec *pr = part_rec(p, s);

		if (!pr) {
			node_log(n, VMS_LOG_ERROR,
				 "partition %u: record %llu is not in the log any "
				 "more",
				 p->number, (unsigned long long)s);
			re.status = VMS_E_GONE;
			k = 0;
			break;
		}
		if (k && bytes + pr->bytes > (1u << 20))
			break;
		iov[k++] = (struct vms_iov){vms_wal_ptr(n->wal, pr->log_pos), pr->bytes};
		bytes += pr->bytes;
	}
	re.aux = k;
	re.payload = iov;
	re.npayload = k;
	re.payload_bytes = k ? bytes : 0;
	node_send(n, c->id, &re);
}

/* Nothing that the former primary gave out may be in use any more, and what gateways
 * and volumes must not do any more is known. */
static void serve_check(struct vms_node *n, struct part *p)
{
	uint64_t from = n->mut == MUT_NO_LEASE_WAIT ? 0 : p->serve_ms;

	if (p->state != PS_LEASE)
		return;
	if (n->now_ms < from) {
		node_wake_at(n, from);
		return;
	}
	if (!p->was_active && !fresh_need(n, p->need_rev))
		return;
	p->state = PS_ACTIVE;
	p->was_active = true;
	part_mark_retry(n, p);
}

void part_serve_check(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i])
			serve_check(n, n->part[i]);
}

void part_view_committed(struct vms_node *n, struct part *p)
{
	n->st.views++;
	drain_safe(n, p); /* what the indexes hold since earlier */
	match_view(n, p);
	p->state = PS_LEASE;
	serve_check(n, p);
	part_order_ceiling(n, p);
	part_mark_retry(n, p);
}

void part_timer(struct vms_node *n)
{
	if (n->now_ms < n->part_ms)
		return;
	n->part_ms = n->now_ms + n->tm.tick_ms / 4 + 1;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		serve_check(n, p);
		if (p->wait_head || p->locks)
			write_timer(n, p);
		write_held(n, p);
		if (!p->primary || n->phase != SP_RUN)
			continue;
		for (unsigned k = 0; k < p->nm + p->nl; k++) {
			struct member *m = &p->m[k];

			if (k == p->self && !m->learner)
				continue;
			if (!m->streaming) {
				m->asked = false;
			} else if (p->state >= PS_VIEW && !m->in_out && repl_to_tell(p, m)) {
				/* the last commits of a quiet partition are told late */
				m->in_out = true;
				VMS_VEC_PUSH(&m->peer->out, p->number);
			} else if (p->state >= PS_VIEW && m->durable < m->sent && !m->learner &&
				   n->now_ms - m->progress_ms > n->tm.lease_ms) {
				/* it dropped something (its log was full): ask where it is */
				m->streaming = false;
				m->asked = false;
				m->progress_ms = n->now_ms;
			}
		}
		if (p->state != PS_ACTIVE || !part_members_ready(p))
			part_step(n, p);
	}
}
