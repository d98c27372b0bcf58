// SPDX-License-Identifier: GPL-2.0-only
/* See tests/sim/node_rig.h. */
#include "tests/sim/node_rig.h"

#include "backend/fsck.h"
#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig_int.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

void rig_push(struct rig *r, uint64_t delay, struct rig_event e)
{
	size_t i;

	if (r->nev == r->room) {
		r->room = r->room ? r->room * 2 : 1024;
		r->ev = realloc(r->ev, r->room * sizeof(e));
		vms_assert(r->ev);
	}
	e.at = r->now_us + delay;
	e.seq = r->seq++;
	for (i = r->nev++; i; i = (i - 1) / 2) {
		struct rig_event *up = &r->ev[(i - 1) / 2];

		if (up->at < e.at || (up->at == e.at && up->seq < e.seq))
			break;
		r->ev[i] = *up;
	}
	r->ev[i] = e;
}

static bool pop(struct rig *r, struct rig_event *out)
{
	struct rig_event last;
	size_t i = 0;

	if (!r->nev)
		return false;
	*out = r->ev[0];
	last = r->ev[--r->nev];
	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= r->nev)
			break;
		if (c + 1 < r->nev &&
		    (r->ev[c + 1].at < r->ev[c].at ||
		     (r->ev[c + 1].at == r->ev[c].at && r->ev[c + 1].seq < r->ev[c].seq)))
			c++;
		if (last.at < r->ev[c].at || (last.at == r->ev[c].at && last.seq < r->ev[c].seq))
			break;
		r->ev[i] = r->ev[c];
		i = c;
	}
	r->ev[i] = last;
	return true;
}

static uint64_t now_ms(const struct rig *r)
{
	return 100000 + r->now_us / 1000;
}

/* ---- network ---- */
static struct rig_conn *conn_find(struct rig *r, uint64_t id)
{
	return id && id <= r->conns.n ? &r->conns.d[id - 1] : NULL;
}

static uint32_t life_of(struct rig *r, int side)
{
	return side < 100 ? r->node[side].life : (uint32_t)r->gw[side - 100].incarnation;
}

static uint64_t conn_new(struct rig *r, int a, int b)
{
	struct rig_conn *c = VMS_VEC_ADD(&r->conns);

	memset(c, 0, sizeof(*c));
	c->id = r->conns.n;
	c->side[0] = a;
	c->side[1] = b;
	c->life[0] = life_of(r, a);
	c->life[1] = life_of(r, b);
	c->open = true;
	rig_push(r, 200, (struct rig_event){.type = RE_UP, .a = c->id, .b = 0});
	rig_push(r, 200, (struct rig_event){.type = RE_UP, .a = c->id, .b = 1});
	return c->id;
}

static void conn_break(struct rig *r, struct rig_conn *c)
{
	if (!c->open)
		return;
	c->open = false;
	rig_push(r, 300, (struct rig_event){.type = RE_DOWN, .a = c->id, .b = 0});
	rig_push(r, 300, (struct rig_event){.type = RE_DOWN, .a = c->id, .b = 1});
}

static int conn_send(struct rig *r, int from, uint64_t id, const struct vms_msg *m)
{
	struct rig_conn *c = conn_find(r, id);
	unsigned to;
	uint8_t *buf;
	size_t at;
	struct rig_event e;
	uint64_t when;

	if (!c || !c->open)
		return VMS_E_DISCONNECTED;
	to = c->side[0] == from ? 1 : 0;
	c->lost[to] |= from < 100 && c->side[to] < 100 && r->cut[from][c->side[to]];
	if (c->lost[to])
		return 0;
	buf = malloc(VMS_FRAME_HEADER_BYTES + m->body_bytes + m->payload_bytes);
	vms_assert(buf);
	vms_msg_encode_header(m, buf);
	at = VMS_FRAME_HEADER_BYTES;
	if (m->body_bytes)
		memcpy(buf + at, m->body, m->body_bytes);
	at += m->body_bytes;
	for (unsigned i = 0; i < m->npayload; i++) {
		memcpy(buf + at, m->payload[i].base, m->payload[i].len);
		at += m->payload[i].len;
	}
	when = r->now_us + 50 + vms_rng_below(&r->rng, 200);
	if (when <= c->last_us[to])
		when = c->last_us[to] + 1;
	c->last_us[to] = when;
	e = (struct rig_event){.type = RE_MSG, .a = id, .b = to, .p = buf, .len = at};
	rig_push(r, when - r->now_us, e);
	return 0;
}

/* ---- node sink ---- */
static int n_send(void *ctx, vms_conn_id conn, const struct vms_msg *m)
{
	struct rig_node *rn = ctx;

	rn->late += rn->fatal;
	return conn_send(rn->r, (int)rn->idx, conn, m);
}
static void n_close(void *ctx, vms_conn_id conn)
{
	struct rig_node *rn = ctx;
	struct rig_conn *c = conn_find(rn->r, conn);

	if (c)
		conn_break(rn->r, c);
}
static void n_connect(void *ctx, uint32_t node, const char *address)
{
	struct rig_node *rn = ctx;

	(void)address;
	if (rn->r->node[node - 1].n && !rn->r->cut[rn->idx][node - 1] &&
	    !rn->r->cut[node - 1][rn->idx])
		conn_new(rn->r, (int)rn->idx, (int)node - 1);
}
static void n_deadline(void *ctx, uint64_t at)
{
	((struct rig_node *)ctx)->deadline_ms = at;
}
static void n_fatal(void *ctx, int err, const char *text)
{
	struct rig_node *rn = ctx;

	rn->fatal = true;
	snprintf(rn->why, sizeof(rn->why), "%s: %s", vms_err_name(err), text);
	fprintf(stderr, "node %u fatal: %s\n", rn->idx + 1, rn->why);
}
static void n_stopped(void *ctx)
{
	((struct rig_node *)ctx)->stopped = true;
}
static void n_log(void *ctx, int level, const char *text)
{
	struct rig_node *rn = ctx;

	if (rn->r->verbose || level <= VMS_LOG_ERROR)
		fprintf(stderr, "[%llu] node %u: %s\n", (unsigned long long)now_ms(rn->r),
			rn->idx + 1, text);
}

static void d_schedule(void *ctx, uint64_t delay, uint64_t id)
{
	struct rig_node *rn = ctx;

	rig_push(rn->r, delay, (struct rig_event){.type = RE_DISK, .a = rn->idx, .b = id});
}

/* ---- gateways ---- */
static void gw_hello(struct rig *r, struct rig_gw *g, uint64_t conn)
{
	struct vms_hello h = {.role = VMS_ROLE_GATEWAY, .version_min = 1, .version_max = 1};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {.type = VMS_MSG_HELLO, .req_id = 1, .partition = VMS_PART_NONE};

	if (g->tool)
		h.role = VMS_ROLE_TOOL;
	m.sender = g->id;
	m.incarnation = g->incarnation;
	m.body_bytes = vms_hello_encode(body, &h);
	m.body = body;
	conn_send(r, 100 + (int)(g - r->gw), conn, &m);
}

static void gw_msg(struct rig *r, struct rig_gw *g, uint64_t conn, const struct vms_msg *m)
{
	struct vms_msg re;
	unsigned node = RIG_NODES;

	for (unsigned i = 0; i < RIG_NODES; i++)
		if (g->conn[i] == conn)
			node = i;
	if (node == RIG_NODES)
		return;
	if (m->type == VMS_MSG_HELLO && (m->flags & VMS_F_REPLY)) {
		if (m->status == 0)
			g->up[node] = true;
		return;
	}
	if (!(m->flags & VMS_F_REPLY)) {
		vms_msg_reply_init(&re, m, 0);
		re.sender = g->id;
		re.incarnation = g->incarnation;
		re.tick = m->tick;
		if (m->type == VMS_MSG_TICK) {
			if (g->mute_tick)
				return;
			g->tick[node] = m->tick;
			g->tick_inc[node] = m->tick_incarnation;
			g->npeers[node] = m->body_bytes >= 10 ? vms_get_le16(m->body + 8) : 0;
		} else if (m->type == VMS_MSG_INVALIDATE) {
			g->invals++;
			g->inval_runs = vms_inval_decode(m, g->inval_run);
			re.aux = g->inval_gone;
			if (g->mute_inval)
				return;
		} else {
			g->updates++;
			return;
		}
		conn_send(r, 100 + (int)(g - r->gw), conn, &re);
		return;
	}
	for (unsigned i = 0; i < g->nwait; i++) {
		struct rig_reply *w = g->wait[i].re;

		if (g->wait[i].req != m->req_id)
			continue;
		w->done = true;
		w->status = m->status;
		w->m = *m;
		w->body = malloc(m->body_bytes + 1);
		w->payload = malloc(m->payload_bytes + 1);
		if (m->body_bytes)
			memcpy(w->body, m->body, m->body_bytes);
		if (m->payload_bytes)
			memcpy(w->payload, m->payload[0].base, m->payload_bytes);
		g->wait[i] = g->wait[--g->nwait];
		return;
	}
}

void rig_gw_connect(struct rig *r, unsigned gi, unsigned node)
{
	struct rig_gw *g = &r->gw[gi];

	if (g->conn[node] && conn_find(r, g->conn[node])->open)
		return;
	g->up[node] = false;
	g->conn[node] = 0;
	if (r->node[node].n)
		g->conn[node] = conn_new(r, 100 + (int)gi, (int)node);
}

void rig_gw_restart(struct rig *r, unsigned gi)
{
	struct rig_gw *g = &r->gw[gi];

	for (unsigned i = 0; i < RIG_NODES; i++)
		if (g->conn[i]) {
			conn_break(r, conn_find(r, g->conn[i]));
			g->conn[i] = 0;
			g->up[i] = false;
			g->tick[i] = 0;
		}
	g->incarnation++;
	for (unsigned i = 0; i < g->nwait; i++) {
		g->wait[i].re->done = true;
		g->wait[i].re->status = VMS_E_DISCONNECTED;
	}
	g->nwait = 0;
}

void rig_send(struct rig *r, unsigned gi, unsigned node, struct vms_msg *m, struct rig_reply *re)
{
	struct rig_gw *g = &r->gw[gi];

	memset(re, 0, sizeof(*re));
	m->req_id = ++r->next_req;
	m->sender = g->id;
	m->incarnation = g->incarnation;
	if (!m->tick) {
		m->tick = g->tick[node];
		m->tick_incarnation = g->tick_inc[node];
	}
	vms_assert(g->nwait < 512);
	if (!g->conn[node] || conn_send(r, 100 + (int)gi, g->conn[node], m)) {
		re->done = true;
		re->status = VMS_E_DISCONNECTED;
		return;
	}
	g->wait[g->nwait].req = m->req_id;
	g->wait[g->nwait++].re = re;
}

static void gw_conn_down(struct rig *r, struct rig_gw *g, uint64_t conn)
{
	for (unsigned i = 0; i < RIG_NODES; i++)
		if (g->conn[i] == conn) {
			g->conn[i] = 0;
			g->up[i] = false;
			for (unsigned k = 0; k < g->nwait; k++) {
				g->wait[k].re->done = true;
				g->wait[k].re->status = VMS_E_DISCONNECTED;
			}
			g->nwait = 0;
		}
	(void)r;
}

void rig_reply_free(struct rig_reply *re)
{
	free(re->body);
	free(re->payload);
	re->body = re->payload = NULL;
}

/* ---- the loop ---- */
static void node_event(struct rig_node *rn, struct vms_node_event ev)
{
	if (!rn->n || rn->fatal)
		return;
	ev.now_ms = now_ms(rn->r);
	vms_node_step(rn->n, &ev);
	vms_node_turn_end(rn->n, ev.now_ms);
}

static void event(struct rig *r, struct rig_event *e)
{
	struct rig_conn *c;
	int side;

	if (e->type == RE_TXN) {
		rig_cat_late_end(r, e->p, true);
		return;
	}
	side = e->type == RE_CAT    ? (int)((struct cat_answer *)e->p)->owner->idx
	       : e->type == RE_DISK ? (int)e->a
				    : conn_find(r, e->a)->side[e->b];
	if (side < 100 && r->node[side].paused_us > r->now_us) {
		struct rig_event later = *e;

		rig_push(r, r->node[side].paused_us - r->now_us, later);
		return;
	}
	switch (e->type) {
	case RE_CAT: {
		struct cat_answer *a = e->p;
		struct rig_node *o = a->owner;

		if (o->n && o->life == a->life && !o->fatal) {
			a->fn(a->arg, &a->re);
			vms_node_turn_end(o->n, now_ms(r));
		}
		for (unsigned i = 0; i < a->re.nkv; i++)
			free(a->vals[i]);
		free(a);
		return;
	}
	case RE_DISK: {
		struct rig_node *rn = &r->node[e->a];
		struct vms_node_event ev = {.type = VMS_NEV_DISK};

		if (r->drv ? r->drv->finish(rn->dd, e->b, &ev.disk)
			   : sim_disk_finish(rn->sd, e->b, &ev.disk))
			node_event(rn, ev);
		return;
	}
	default:
		break;
	}
	c = conn_find(r, e->a);
	side = c->side[e->b];
	if (e->type == RE_MSG) {
		struct vms_msg m;
		struct vms_iov iov;
		int rc = vms_msg_decode(e->p, e->len, &m, &iov);

		vms_assert(rc == 0);
		if (c->open && c->life[e->b] == life_of(r, side)) {
			if (side < 100)
				node_event(&r->node[side],
					   (struct vms_node_event){
						   .type = VMS_NEV_MSG, .conn = c->id, .msg = &m});
			else
				gw_msg(r, &r->gw[side - 100], c->id, &m);
		}
		free(e->p);
		return;
	}
	if (c->life[e->b] != life_of(r, side))
		return;
	if (e->type == RE_UP) {
		if (side >= 100) {
			if (e->b == 0)
				gw_hello(r, &r->gw[side - 100], c->id);
			return;
		}
		node_event(&r->node[side],
			   (struct vms_node_event){.type = e->b == 0 ? VMS_NEV_CONN_UP
								     : VMS_NEV_ACCEPT,
						   .conn = c->id,
						   .node = (uint32_t)(c->side[1 - e->b] + 1)});
	} else if (side >= 100) {
		gw_conn_down(r, &r->gw[side - 100], c->id);
	} else {
		node_event(&r->node[side],
			   (struct vms_node_event){.type = VMS_NEV_CONN_DOWN, .conn = c->id});
	}
}

bool rig_step(struct rig *r)
{
	uint64_t next = UINT64_MAX;
	struct rig_node *due = NULL;
	struct rig_event e;

	for (unsigned i = 0; i < r->nnodes; i++) {
		struct rig_node *rn = &r->node[i];
		uint64_t at;

		if (!rn->n || rn->fatal || rn->deadline_ms == UINT64_MAX)
			continue;
		at = rn->deadline_ms < 100000 ? 0 : (rn->deadline_ms - 100000) * 1000;
		if (at < rn->paused_us)
			at = rn->paused_us;
		if (at < next) {
			next = at;
			due = rn;
		}
	}
	if (r->nev && r->ev[0].at <= next) {
		pop(r, &e);
		if (e.at > r->now_us)
			r->now_us = e.at;
		event(r, &e);
		return true;
	}
	if (!due)
		return false;
	if (next > r->now_us)
		r->now_us = next;
	due->deadline_ms = UINT64_MAX;
	node_event(due, (struct vms_node_event){.type = VMS_NEV_TIMER});
	return true;
}

void rig_run(struct rig *r, uint64_t ms)
{
	uint64_t end = r->now_us + ms * 1000;

	while (r->now_us < end && rig_step(r))
		;
}

bool rig_wait(struct rig *r, struct rig_reply *re, uint64_t ms)
{
	uint64_t end = r->now_us + ms * 1000;

	while (!re->done && r->now_us < end && rig_step(r))
		;
	return re->done;
}

int rig_ask(struct rig *r, unsigned g, struct vms_msg *m, struct rig_reply *re, int tries,
	    void (*sent)(const struct rig_reply *re))
{
	int st = VMS_E_TIMEOUT;

	for (int i = 0; i < tries; i++) {
		unsigned nd = rig_primary(r, m->partition);

		if (!r->gw[g].up[nd]) {
			rig_gw_connect(r, g, nd);
			rig_run(r, 100);
			m->flags |= m->type == VMS_MSG_WRITE ? VMS_F_RETRY : 0;
			continue;
		}
		m->epoch = r->gw[g].epoch[m->partition];
		m->tick = 0;
		rig_send(r, g, nd, m, re);
		if (sent)
			sent(re);
		if (!rig_wait(r, re, 20000)) {
			r->gw[g].nwait = 0;
			return VMS_E_TIMEOUT;
		}
		st = re->status;
		if (!st || st == VMS_E_EPOCH)
			r->gw[g].epoch[m->partition] = re->m.epoch;
		if (st == VMS_E_EPOCH || st == VMS_E_DISCONNECTED || st == VMS_E_AGAIN ||
		    st == VMS_E_NOT_PRIMARY || (st == VMS_E_BUSY && m->type != VMS_MSG_WRITE)) {
			rig_reply_free(re);
			if (st == VMS_E_DISCONNECTED && m->type == VMS_MSG_WRITE)
				m->flags |= VMS_F_RETRY;
			if (st != VMS_E_EPOCH && i + 1 < tries)
				rig_run(r, 20);
			continue;
		}
		return st;
	}
	return st;
}

bool rig_active(struct rig *r)
{
	for (uint32_t p = 0; p < 1u << r->part_bits; p++) {
		struct rig_node *rn = &r->node[rig_primary(r, p)];
		struct part *pt = rn->n && !rn->fatal ? node_part(rn->n, p) : NULL;

		if (!part_serving(pt) || !part_members_ready(pt))
			return false;
	}
	return true;
}

bool rig_wait_active(struct rig *r, uint64_t ms)
{
	uint64_t end = r->now_us + ms * 1000;

	while (!rig_active(r)) {
		if (r->now_us >= end || !rig_step(r))
			return false;
	}
	return true;
}

struct vms_part_conf rig_conf(struct rig *r, uint32_t part, uint64_t *rev)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_part_conf pc;
	struct vms_cat_kv kv;
	struct rig_kv *have;
	uint32_t number;

	vms_cat_key_part(key, part);
	have = rig_kv_find(r, key);
	vms_assert(have);
	kv = (struct vms_cat_kv){key, have->val, (uint32_t)strlen(have->val), have->mod, 1};
	vms_assert(vms_cat_part_decode(&kv, &number, &pc, NULL) == 0);
	if (rev)
		*rev = have->mod;
	return pc;
}

unsigned rig_primary(struct rig *r, uint32_t part)
{
	if (r->failover)
		return rig_conf(r, part, NULL).primary - 1;
	return part < 64 && r->lead[part] ? r->lead[part] - 1u : part % r->nnodes;
}

void rig_node_pause(struct rig *r, unsigned i, uint64_t ms)
{
	r->node[i].paused_us = r->now_us + ms * 1000 + 1;
}

void rig_cut(struct rig *r, unsigned from, unsigned to, bool on)
{
	r->cut[from][to] = on;
}

void rig_node_start(struct rig *r, unsigned i)
{
	struct rig_node *rn = &r->node[i];
	const char *mutant = getenv("VMS_NODE_MUTANT"); /* would the test at hand find it? */
	struct vms_node_conf conf = {.node_id = i + 1,
				     .part_bits = r->part_bits,
				     .timing = vms_timing_default(1.0),
				     .gen_bytes_max = r->gen_bytes,
				     .container_bytes_max = r->container_bytes,
				     .seed = vms_rng_u64(&r->rng),
				     .fp_bits = r->fp_bits,
				     .dedup_background = r->match,
				     .fixed_sets = !r->failover,
				     .mutant = r->mutant || !mutant ? r->mutant
								    : (uint32_t)atoi(mutant)};
	struct vms_node_update up = {rn,	 n_send,  n_close,   n_connect,
				     n_deadline, n_fatal, n_stopped, n_log};
	struct vms_errmsg e = {""};
	int rc;

	snprintf(conf.name, sizeof(conf.name), "n%u", i + 1);
	snprintf(conf.address, sizeof(conf.address), "n%u:1", i + 1);
	memcpy(conf.cluster_uuid, r->uuid, 16);
	rn->fatal = rn->stopped = false;
	rn->cat = (struct rig_cat){{&rig_cat_ops}, r, rn};
	rc = vms_node_open(&rn->n, &conf, &rn->disk, &rn->cat.base, &up, now_ms(r), &e);
	if (rc) {
		fprintf(stderr, "node %u does not start: %s %s\n", i + 1, vms_err_name(rc), e.text);
		rn->fatal = true;
		rn->n = NULL;
		return;
	}
	vms_node_turn_end(rn->n, now_ms(r));
}

void rig_node_crash(struct rig *r, unsigned i, bool power)
{
	struct rig_node *rn = &r->node[i];

	if (!rn->n)
		return;
	for (size_t k = 0; k < r->conns.n; k++) {
		struct rig_conn *c = &r->conns.d[k];

		if (c->open && (c->side[0] == (int)i || c->side[1] == (int)i))
			conn_break(r, c);
	}
	vms_node_close(rn->n);
	rn->n = NULL;
	rn->life++;
	if (r->drv)
		r->drv->crash(rn->dd, power);
	else
		sim_disk_crash(rn->sd, power);
}

const char *rig_fsck(struct rig *r, unsigned i)
{
	static const struct vms_fsck_conf conf = {.deep = true};
	struct vms_fsck_io io = {r->drv ? r->node[i].dd : r->node[i].sd,
				 r->drv ? r->drv->read : sim_disk_read, NULL, NULL};
	static char text[300];
	struct vms_fsck f;
	bool wrong;

	vms_assert(!r->node[i].n);
	vms_fsck(&r->node[i].disk, &io, &conf, &f);
	wrong = f.errors > 0;
	if (wrong)
		snprintf(text, sizeof(text), "%s", f.problem.d[0].text);
	vms_fsck_free(&f);
	return wrong ? text : NULL;
}

void rig_put(struct rig *r, const char *key, char *val)
{
	r->revision++;
	rig_kv_set(r, key, val);
	free(val);
}

void rig_volume_put(struct rig *r, struct vms_cat_volume v)
{
	char key[VMS_CAT_KEY_BYTES_MAX], *val;

	v.lineage = v.lineage ? v.lineage : v.branch;
	v.size_bytes = 1 << 30;
	v.state = 1;
	if (!v.name[0])
		snprintf(v.name, sizeof(v.name), "v%llu", (unsigned long long)v.branch);
	vms_cat_key_volume(key, v.name, NULL);
	val = vms_cat_volume_encode(&v);
	rig_put(r, key, val);
}

void rig_branch_put(struct rig *r, struct vms_cat_branch b)
{
	char key[VMS_CAT_KEY_BYTES_MAX], *val;

	b.lineage = b.lineage ? b.lineage : b.branch;
	b.owner = b.owner ? b.owner : b.branch;
	b.state = b.state ? b.state : 1;
	vms_cat_key_branch(key, b.branch);
	val = vms_cat_branch_encode(&b);
	r->revision++;
	rig_kv_set(r, key, val);
	free(val);
}

void rig_volume(struct rig *r, uint64_t branch, unsigned write_ack)
{
	rig_branch_put(r, (struct vms_cat_branch){.branch = branch});
	rig_volume_put(r, (struct vms_cat_volume){.branch = branch,
						  .snap_gen = 1,
						  .dedup = true,
						  .write_ack = (uint8_t)write_ack});
}

void rig_open(struct rig *r, unsigned nnodes, unsigned copies, unsigned part_bits, uint64_t seed)
{
	struct vms_cat_cluster cl = {.part_bits = part_bits,
				     .copies = copies,
				     .min_copies = r->min_copies ? r->min_copies : 1,
				     .timing_factor = 1.0,
				     .next_branch = 10};
	char key[VMS_CAT_KEY_BYTES_MAX], *val;

	vms_rng_init(&r->rng, seed);
	r->nnodes = nnodes;
	r->copies = copies;
	r->part_bits = part_bits;
	for (int i = 0; i < 16; i++)
		r->uuid[i] = (uint8_t)(i + 1);
	memcpy(cl.uuid, r->uuid, 16);
	r->revision = 1;
	val = vms_cat_cluster_encode(&cl);
	rig_kv_set(r, "cluster", val);
	free(val);
	for (unsigned i = 0; i < nnodes; i++) {
		struct vms_cat_node cn = {.id = i + 1, .weight = 100};

		snprintf(cn.name, sizeof(cn.name), "n%u", i + 1);
		snprintf(cn.address, sizeof(cn.address), "n%u:1", i + 1);
		snprintf(cn.zone, sizeof(cn.zone), "z%u", i + 1);
		vms_cat_key_node(key, i + 1);
		val = vms_cat_node_encode(&cn);
		rig_kv_set(r, key, val);
		free(val);
	}
	for (uint32_t p = 0; p < 1u << part_bits; p++) {
		struct vms_part_conf pc = {.epoch = 1, .nmembers = copies};

		for (unsigned k = 0; k < copies; k++)
			pc.member[k].node = (p + k) % nnodes + 1;
		pc.primary = pc.member[0].node;
		vms_cat_key_part(key, p);
		val = vms_cat_part_encode(&pc);
		rig_kv_set(r, key, val);
		free(val);
	}
	for (unsigned i = 0; i < nnodes; i++) {
		struct rig_node *rn = &r->node[i];
		struct sim_disk_conf dc = {.log_bytes = RIG_LOG_BYTES,
					   .latency_us_min = 20,
					   .latency_us_max = 200,
					   .sync_us_min = r->slow_sync == i + 1 ? 4000 : 100,
					   .sync_us_max = r->slow_sync == i + 1 ? 8000 : 500,
					   .read_now_percent = 50,
					   .space_bytes = r->space_bytes ? r->space_bytes
									 : 1ull << 30,
					   .schedule = d_schedule,
					   .ctx = rn};
		struct vms_node_conf conf = {.node_id = i + 1, .part_bits = part_bits};
		struct vms_errmsg e;

		memcpy(conf.cluster_uuid, r->uuid, 16);
		rn->r = r;
		rn->idx = i;
		rn->life = 1;
		if (r->drv) {
			rn->dd = r->drv->make(r, i, vms_rng_u64(&r->rng), d_schedule, rn,
					      &rn->disk);
		} else {
			rn->sd = sim_disk_new(&dc, vms_rng_u64(&r->rng));
			rn->disk = sim_disk_ops(rn->sd);
		}
		vms_assert(vms_node_format(&rn->disk, &conf, &e) == 0);
		rig_node_start(r, i);
	}
	for (unsigned g = 0; g < RIG_GWS; g++) {
		r->gw[g].id = g + 1;
		r->gw[g].incarnation = 1;
	}
}

void rig_close(struct rig *r)
{
	struct rig_event e;

	for (unsigned i = 0; i < r->nnodes; i++) {
		vms_node_close(r->node[i].n);
		if (r->drv)
			r->drv->free(r->node[i].dd);
		else
			sim_disk_free(r->node[i].sd);
	}
	while (pop(r, &e)) {
		if (e.type == RE_CAT) {
			struct cat_answer *a = e.p;

			for (unsigned i = 0; i < a->re.nkv; i++)
				free(a->vals[i]);
		}
		if (e.type == RE_TXN)
			rig_cat_late_end(r, e.p, false);
		else if (e.type != RE_DISK)
			free(e.p);
	}
	free(r->ev);
	rig_cat_close(r);
	VMS_VEC_FREE(&r->conns);
	memset(r, 0, sizeof(*r));
}

int rig_log_fill(struct vms_wal *w, uint64_t (*left)(const struct vms_wal *w), uint64_t bytes)
{
	static uint8_t filler[RIG_FILL_BYTES];
	struct vms_iov iov = {filler, sizeof(filler)};
	struct vms_rec r = {.type = VMS_REC_COPY,
			    .flags = VMS_RF_INTERNAL,
			    .partition = VMS_PART_NONE,
			    .payload_bytes = sizeof(filler)};
	struct vms_rec_ref ref;
	int rc = 0;

	while (!rc && left(w) > bytes)
		rc = vms_wal_append(w, &r, &iov, 1, true, &ref);
	return rc;
}
