// SPDX-License-Identifier: GPL-2.0-only
/*
 * Partitions: configuration, roles, view change.
 *
 * A changed configuration (a member's new incarnation) is a new epoch. Its
 * primary asks every member what it holds (VIEW_STATE), fetches what it lacks
 * itself from the member with the highest (last view, last seq), brings everyone
 * the whole suffix and then orders the VIEW record; when that is durable on all
 * members the partition serves. Sets are fixed, so all members must answer.
 *
 * The promise "nothing of a lower epoch is accepted" needs no log record of its
 * own here: a member that restarts raises the epoch in the catalog before it
 * takes part again, so it can never meet a lower one; and a stream of records is
 * accepted only from the connection on which VIEW_STATE was answered.
 *
 * Keeps invariants 2, 5, 6, 7 (rules A3, C9, D7).
 */
#include "backend/node_int.h"

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
		m->peer->inflight_bytes -= m->inflight_bytes < m->peer->inflight_bytes ?
						   m->inflight_bytes :
						   m->peer->inflight_bytes;
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

void part_conf_update(struct vms_node *n, uint32_t number, const struct vms_part_conf *conf,
		      uint64_t rev)
{
	struct part *p = node_part(n, number);
	bool member = false, fresh;

	for (unsigned i = 0; i < conf->nmembers; i++)
		member |= conf->member[i].node == n->id;
	if (!p && !member)
		return;
	if (p && rev <= p->conf_rev)
		return;
	if (!member) {
		p->known = false;
		p->primary = false;
		p->was_active = false;
		p->state = PS_NONE;
		p->conf = *conf;
		p->conf_rev = rev;
		p->nm = p->nl = 0;
		p->repl_conn = 0;
		p->in_ack = false;
		p->out = !part_empty(p);
		if (conf->epoch > p->epoch)
			p->epoch = conf->epoch;
		drain_abort(n, p);
		gc_abort(n, p);
		learn_conf(n, p);
		return;
	}
	p = node_part_make(n, number);
	fresh = !p->known || conf->epoch > p->conf.epoch;
	p->conf = *conf;
	p->conf_rev = rev;
	p->known = true;
	p->out = p->gone = false;
	learn_conf(n, p);
	if (!fresh)
		return;
	if (conf->epoch > p->epoch) {
		p->epoch = conf->epoch;
		p->repl_conn = 0;
	}
	for (unsigned i = 0; i < p->nm + p->nl; i++)
		member_inflight_drop(&p->m[i]);
	p->nm = conf->nmembers;
	p->nl = 0;
	for (unsigned i = 0; i < p->nm; i++) {
		struct member *m = &p->m[i];

		memset(m, 0, sizeof(*m));
		m->node = conf->member[i].node;
		m->incarnation = conf->member[i].incarnation;
		if (m->node == n->id)
			p->self = i;
		else
			m->peer = node_peer(n, m->node, true);
	}
	p->primary = conf->primary == n->id;
	drain_abort(n, p);
	gc_abort(n, p);
	round_part_changed(n, p);
	if (!p->primary) {
		p->state = PS_BACKUP;
		p->was_active = false;
		return;
	}
	p->state = PS_WAIT;
	part_step(n, p);
}

static void ask(struct vms_node *n, struct part *p, struct member *m)
{
	struct vms_msg q = {.type = VMS_MSG_VIEW_STATE, .partition = p->number};

	q.req_id = n->next_req++;
	q.epoch = p->conf.epoch;
	m->asked = true;
	node_send(n, m->peer->conn, &q);
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
		m->sent = m->vs_last < p->seq_last ? m->vs_last : p->seq_last;
		m->held = m->sent;
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
		m->inflight_bytes = 0; /* the peer's whole count starts anew */
		if (p->conf.primary == pe->id) {
			p->repl_conn = 0;
			p->in_ack = false;
		}
		if (!p->primary)
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
	(void)vms_rd_u64(&r); /* oldest seq in its log: for a later issue's learners */
	mb->vs_intact = vms_rd_u64(&r);
	mb->vs_pos = vms_rd_u64(&r);
	mb->vs_ctr = vms_rd_u64(&r);
	mb->vs_lost = vms_rd_u8(&r);
	mb->ckpt_seq = vms_rd_u64(&r);
	if (!vms_rd_ok(&r))
		return;
	member_inflight_drop(mb);
	mb->streaming = true;
	mb->progress_ms = n->now_ms;
	mb->told = mb->told_all = 0;
	if (p->state >= PS_VIEW) {
		/* the same view goes on after a broken connection */
		mb->sent = mb->held = mb->vs_last < p->seq_last ? mb->vs_last : p->seq_last;
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
			node_log(n, VMS_LOG_ERROR, "partition %u: record %llu is not in the log any "
				 "more", p->number, (unsigned long long)s);
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

void part_view_committed(struct vms_node *n, struct part *p)
{
	n->st.views++;
	drain_safe(n, p); /* what the indexes hold since earlier */
	match_view(n, p);
	p->state = PS_LEASE;
	if (n->now_ms >= n->serve_from_ms) {
		p->state = PS_ACTIVE;
		p->was_active = true;
	} else {
		node_wake_at(n, n->serve_from_ms);
	}
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
		if (p->state == PS_LEASE && n->now_ms >= n->serve_from_ms) {
			p->state = PS_ACTIVE;
			p->was_active = true;
			part_mark_retry(n, p);
		}
		if (p->wait_head || p->locks)
			write_timer(n, p);
		if (!p->primary || n->phase != SP_RUN)
			continue;
		for (unsigned k = 0; k < p->nm + p->nl; k++) {
			struct member *m = &p->m[k];

			if (k == p->self && !m->learner)
				continue;
			if (!m->streaming) {
				m->asked = false;
			} else if (p->state >= PS_VIEW && !m->in_out &&
				   (m->told < p->committed || m->told_all < p->all_durable)) {
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
