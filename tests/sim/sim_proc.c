/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes of the simulated cluster: start, turn, crash. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/xcopy_run.h"
#include "tests/sim/sim_int.h"
#include "tests/sim/sim_memory.h"
#include "utils/lib/assert.h"

#define IDLE_TURN_US 50000u

static struct proc *proc_of(void *ctx)
{
	return ctx;
}
static uint32_t node_id(const struct proc *p)
{
	return p->idx + 1;
}
static uint32_t gw_sender(const struct proc *p)
{
	return p->kind == SIM_NODE ? node_id(p) : 0;
}

/* ---- catalog connection of a node or gateway ---- */
static int cat_send(void *ctx, const struct vms_msg *m)
{
	struct proc *p = proc_of(ctx);
	if (!p->cat_conn || !p->cat_hello)
		return VMS_E_DISCONNECTED;
	return sim_send(p->s, p, p->cat_conn, m);
}
static void cat_try(struct proc *p)
{
	if (p->cat_conn || p->s->now_us < p->cat_try_us)
		return;
	p->cat_try_us = p->s->now_us + 100000;
	p->cat_conn = sim_connect(p->s, p, &p->s->p[0]);
	p->cat_hello = false;
}
static void cat_hello(struct proc *p)
{
	struct vms_hello h = {.role = p->kind == SIM_NODE    ? VMS_ROLE_NODE
				      : p->kind == SIM_ADMIN ? VMS_ROLE_TOOL
							     : VMS_ROLE_GATEWAY,
			      .version_min = 1,
			      .version_max = 1};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {.type = VMS_MSG_HELLO, .req_id = 1, .partition = VMS_PART_NONE};
	snprintf(h.name, sizeof(h.name), "%s%u",
		 p->kind == SIM_NODE	? "n"
		 : p->kind == SIM_ADMIN ? "a"
					: "g",
		 p->idx);
	memcpy(h.cluster_uuid, p->s->uuid, 16);
	m.sender = gw_sender(p);
	m.body_bytes = vms_hello_encode(body, &h);
	m.body = body;
	sim_send(p->s, p, p->cat_conn, &m);
}

/* ---- node sink ---- */
static int n_send(void *ctx, vms_conn_id conn, const struct vms_msg *m)
{
	return sim_send(proc_of(ctx)->s, ctx, conn, m);
}
static void n_close(void *ctx, vms_conn_id conn)
{
	sim_close(proc_of(ctx)->s, ctx, conn);
}
static void n_connect(void *ctx, uint32_t node, const char *address)
{
	struct proc *p = proc_of(ctx), *to = sim_node_proc(p->s, node);
	struct conn *c;
	if (!to || to == p)
		return;
	vms_assert(!strcmp(address, to->address));
	c = p->gconn[node] ? sim_conn(p->s, p->gconn[node]) : NULL;
	if (c && c->open[0] && c->life[0] == p->life)
		return;
	p->gconn[node] = sim_connect(p->s, p, to);
}
static void n_deadline(void *ctx, uint64_t at_ms)
{
	struct proc *p = proc_of(ctx);
	p->deadline_ms = at_ms;
	uint64_t now = sim_now_ms(p);
	sim_wake(p, at_ms > now ? (at_ms - now) * 1000 : 1);
}
static void any_fatal(void *ctx, int err, const char *text)
{
	struct proc *p = proc_of(ctx);
	/* shut out because it did not take a table of reservations in time: it starts anew */
	if (p->kind == SIM_GATEWAY && err == VMS_E_INCARNATION && p->s->plan.pr > 0) {
		sim_note(p->s, "gateway %u was shut out: it starts anew", p->idx);
		p->fatal = true;
		p->s->r->shut_out++;
		sim_at(p->s, 1, EV_CRASH, (uint64_t)(p - p->s->p), p->life, CRASH_PLAIN, NULL);
		return;
	}
	if (!p->disk || !sim_disk_failed(p->disk)) {
		sim_fail(p->s, "process %d refuses to go on: %s (%s)", (int)(p - p->s->p), text,
			 vms_err_name(err));
		return;
	}
	sim_note(p->s, "process %d stops: %s (%s)", (int)(p - p->s->p), text, vms_err_name(err));
	p->fatal = true;
	sim_at(p->s, 1, EV_CRASH, (uint64_t)(p - p->s->p), p->life, CRASH_DISK, NULL);
}
static void n_stopped(void *ctx)
{
	(void)ctx;
}
static void any_log(void *ctx, int level, const char *text)
{
	struct proc *p = proc_of(ctx);
	if (level <= 1 || p->s->conf.verbose)
		sim_note(p->s, "process %d: %s", (int)(p - p->s->p), text);
}

/* ---- gateway sink ---- */
static int g_send(void *ctx, uint32_t node, const struct vms_msg *m)
{
	struct proc *p = proc_of(ctx);
	if (node > p->s->plan.nodes || !p->gconn[node])
		return VMS_E_DISCONNECTED;
	return sim_send(p->s, p, p->gconn[node], m);
}
static void g_disconnect(void *ctx, uint32_t node)
{
	struct proc *p = proc_of(ctx);
	if (p->gconn[node])
		sim_close(p->s, p, p->gconn[node]);
}
static void g_complete(void *ctx, struct vms_gw_cmd *cmd)
{
	struct proc *p = proc_of(ctx);
	struct sim_cmd *m = cmd->cookie, **at = &p->live;
	if (m->xcopy) {
		sim_copy_piece(p, m, cmd);
		return;
	}
	while (*at != m) {
		vms_assert(*at);
		at = &(*at)->next;
	}
	*at = m->next;
	m->next = p->ended;
	p->ended = m;
	sim_wake(p, 1);
}
static void g_drop(void *ctx, const char *why)
{
	struct proc *p = proc_of(ctx);
	sim_note(p->s, "gateway %u drops its initiators: %s", p->idx, why);
	p->dropped = true;
}
static void g_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status, const char *text)
{
	struct proc *p = proc_of(ctx);
	unsigned i = (unsigned)(uintptr_t)arg;
	if (status) {
		sim_note(p->s, "gateway %u: open of volume %u failed: %s", p->idx, i,
			 text ? text : "");
		p->vol[i].asked = false; /* again */
		p->vol[i].h = p->vol[i].opening = NULL;
		p->vol[i].again_us = p->s->now_us + 100000;
		return;
	}
	sim_note(p->s, "gateway %u: volume %u (%s) is open", p->idx, i, p->s->vol[i].name);
	if (i == 0) /* what the core was told while it was open before may be lost with that */
		p->pr_ended = 0;
	p->vol[i].h = vol;
	p->vol[i].opening = NULL;
	p->vol[i].ready = true;
}
static void g_changed(void *ctx, struct vms_gw_vol *vol)
{
	(void)ctx;
	(void)vol;
}

/* ---- catalog sink ---- */
static int c_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return sim_send(proc_of(ctx)->s, ctx, conn, m);
}
static void c_close(void *ctx, uint64_t conn)
{
	sim_close(proc_of(ctx)->s, ctx, conn);
}

static void node_conf(struct proc *p, struct vms_node_conf *c)
{
	struct sim *s = p->s;
	memset(c, 0, sizeof(*c));
	c->node_id = node_id(p);
	snprintf(c->name, sizeof(c->name), "n%u", p->idx);
	snprintf(c->address, sizeof(c->address), "%s", p->address);
	memcpy(c->cluster_uuid, s->uuid, 16);
	c->part_bits = s->plan.part_bits;
	c->timing = vms_timing_default(1.0);
	c->gen_bytes_max = s->plan.gen_bytes;
	c->gen_age_ms = 20000;
	c->container_bytes_max = 1u << 20;
	c->seed = s->conf.seed * 31 + p->idx + p->life * 1000;
	c->mutant = s->conf.node_mutant;
	c->fixed_sets = !s->plan.failover;
	c->fp_bits = s->plan.fp_bits;
	c->dedup_background = s->plan.dedup_background;
}

static void d_schedule(void *ctx, uint64_t delay_us, uint64_t id)
{
	struct proc *p = proc_of(ctx);
	sim_at(p->s, delay_us, EV_DISK, (uint64_t)(p - p->s->p), p->life, id, NULL);
}

void sim_proc_start(struct sim *s, struct proc *p)
{
	struct vms_errmsg msg = {""};
	int rc;
	p->up = true;
	p->paused = p->fatal = false;
	p->life++;
	p->nin = 0;
	p->turn_at = 0;
	p->cat_conn = 0;
	p->cat_hello = false;
	p->cat_try_us = 0;
	p->up_since_us = s->now_us;
	p->deadline_ms = 0;
	memset(p->gconn, 0, sizeof(p->gconn));
	if (p->kind == SIM_CATALOG) {
		struct vms_cat_server_sink sink = {p, c_send, c_close};
		p->server = vms_cat_server_new(&p->engine, &sink);
		sim_wake(p, IDLE_TURN_US);
		return;
	}
	struct vms_cat_client_sink cs = {p, cat_send};
	p->cc = vms_cat_client_new(&cs, 5000);
	if (p->kind != SIM_ADMIN)
		p->cat = sim_catalog_new(p, vms_cat_client_catalog(p->cc));
	if (p->kind == SIM_ADMIN) {
		sim_admin_start(s, p);
	} else if (p->kind == SIM_NODE) {
		struct vms_node_conf c;
		node_conf(p, &c);
		if (!p->disk) {
			struct sim_disk_conf dc = {.log_bytes = s->plan.log_bytes + 8192,
						   .latency_us_min = 20,
						   .latency_us_max = s->plan.disk_us_max,
						   .sync_us_min = 100,
						   .sync_us_max = s->plan.disk_us_max * 3,
						   .read_now_percent = 60,
						   .space_bytes = 1ull << 30,
						   .schedule = d_schedule,
						   .ctx = p};
			p->disk = sim_disk_new(&dc, s->conf.seed * 77 + p->idx);
			p->disk_ops = sim_disk_ops(p->disk);
			rc = vms_node_format(&p->disk_ops, &c, &msg);
			if (rc) {
				sim_fail(s, "node %u: format: %s", p->idx, msg.text);
				return;
			}
		}
		p->nup = (struct vms_node_update){p,	      n_send,	 n_close,   n_connect,
						  n_deadline, any_fatal, n_stopped, any_log};
		rc = vms_node_open(&p->node, &c, &p->disk_ops, sim_catalog_calls(p->cat), &p->nup,
				   sim_now_ms(p), &msg);
		if (rc) {
			sim_fail(s, "node %u: open: %s (%s)", p->idx, msg.text, vms_err_name(rc));
			return;
		}
	} else {
		struct vms_gw_conf c = {.timing = vms_timing_default(1.0),
					.chunk_cache_bytes = 256u << 10,
					.page_cache_bytes = 128u << 10,
					.slots = 64,
					.outstanding_bytes_max = 4u << 20,
					.seed = s->conf.seed * 131 + p->idx + p->life * 1000,
					.mutant = s->conf.gw_mutant};
		snprintf(c.name, sizeof(c.name), "g%u", p->idx);
		snprintf(c.portal, sizeof(c.portal), "%s", p->address);
		p->gup = (struct vms_gw_update){
			p,	 g_send,	  n_connect,	 g_disconnect, g_complete,
			g_drop,	 g_opened,	  g_changed,	 n_deadline,   any_fatal,
			any_log, sim_pr_complete, sim_pr_changed};
		memset(p->vol, 0, sizeof(p->vol));
		p->dropped = false;
		p->size_of = NULL;
		p->cmdq = NULL;
		p->cmdq_tail = &p->cmdq;
		p->live = p->ended = NULL;
		rc = vms_gw_new(&p->gw, &c, sim_catalog_calls(p->cat), &p->gup, sim_now_ms(p));
		if (rc) {
			sim_fail(s, "gateway %u: start: %s", p->idx, vms_err_name(rc));
			return;
		}
	}
	sim_wake(p, 1);
}

void sim_cmd_abort(struct proc *p, struct sim_cmd *m)
{
	if (m->xcopy)
		vms_xcopy_run_abort(m->xcopy);
	else
		vms_gw_abort(p->gw, &m->cmd);
}

void sim_cmd_free(struct sim_cmd *m)
{
	free(m->buf);
	free(m);
}
static void cmds_free(struct sim_cmd *m)
{
	while (m) {
		struct sim_cmd *n = m->next;
		sim_cmd_free(m);
		m = n;
	}
}

/* How many copies differed from the primary's when they were compared: they are made
 * again, so it is told, and no failure. */
static void copies_equal(struct proc *p)
{
	json_t *j = vms_node_json(p->node, "stats");
	long long bad = json_integer_value(json_object_get(j, "node.digest_bad"));

	json_decref(j);
	if (bad)
		sim_note(p->s, "node %u: %lld comparisons of replicas found a difference", p->idx,
			 bad);
	p->s->r->differed += (unsigned)bad;
}

static void proc_stop(struct proc *p)
{
	for (size_t i = 0; i < p->nin; i++)
		free(p->in[i].frame);
	p->nin = 0;
	if (p->node) {
		copies_equal(p);
		vms_node_close(p->node);
	}
	p->node = NULL;
	sim_copy_stop(p);
	if (p->gw)
		vms_gw_free(p->gw);
	p->gw = NULL;
	sim_pr_stop(p->s, p);
	if (p->kind == SIM_ADMIN)
		sim_admin_stop(p->s, p);
	cmds_free(p->cmdq);
	cmds_free(p->live);
	cmds_free(p->ended);
	p->cmdq = p->live = p->ended = NULL;
	p->cmdq_tail = &p->cmdq;
	if (p->cat)
		sim_catalog_free(p->cat);
	p->cat = NULL;
	if (p->cc)
		vms_cat_client_free(p->cc);
	p->cc = NULL;
	if (p->server)
		vms_cat_server_free(p->server);
	p->server = NULL;
}

void sim_proc_crash(struct sim *s, struct proc *p, bool power)
{
	sim_watch_crash(s, p);
	p->up = false;
	p->paused = false;
	memset(p->vol, 0, sizeof(p->vol));
	sim_conns_die(s, p);
	proc_stop(p);
	if (p->disk)
		sim_disk_crash(p->disk, power);
}

void sim_proc_free(struct proc *p)
{
	proc_stop(p);
	free(p->in);
	if (p->disk)
		sim_disk_free(p->disk);
	if (p->kind == SIM_CATALOG) {
		sim_history_free(p->s->history, &p->engine);
		vms_cat_engine_mem_close(&p->engine);
	}
}

void sim_proc_input(struct proc *p, struct input in)
{
	if (p->nin == p->in_room) {
		p->in_room = p->in_room ? 2 * p->in_room : 32;
		p->in = realloc(p->in, p->in_room * sizeof(*p->in));
	}
	p->in[p->nin++] = in;
	sim_wake(p, 5);
}

/* A frame or connection event of the catalog connection? */
static bool cat_input(struct proc *p, struct input *in, const struct vms_msg *m)
{
	if (!p->cat_conn || in->conn != p->cat_conn)
		return false;
	switch (in->type) {
	case IN_UP:
		cat_hello(p);
		break;
	case IN_DOWN:
		if (p->cat_hello)
			vms_cat_client_down(p->cc);
		p->cat_conn = 0;
		p->cat_hello = false;
		break;
	case IN_MSG:
		if (m->type == VMS_MSG_HELLO) {
			p->cat_hello = true;
			vms_cat_client_up(p->cc, sim_now_ms(p));
		} else {
			vms_cat_client_msg(p->cc, m, sim_now_ms(p));
		}
		break;
	default:
		break;
	}
	return true;
}

static void node_input(struct proc *p, struct input *in, const struct vms_msg *m)
{
	struct vms_node_event ev = {.now_ms = sim_now_ms(p), .conn = in->conn, .msg = m};
	switch (in->type) {
	case IN_UP:
		/* both ends may have given the connection up while the process paused */
		ev.type = VMS_NEV_CONN_UP;
		ev.node = (uint32_t)in->peer;
		break;
	case IN_ACCEPT:
		ev.type = VMS_NEV_ACCEPT;
		break;
	case IN_DOWN:
		ev.type = VMS_NEV_CONN_DOWN;
		break;
	case IN_MSG:
		ev.type = VMS_NEV_MSG;
		break;
	case IN_DISK:
		ev.type = VMS_NEV_DISK;
		ev.disk = in->disk;
		break;
	}
	vms_node_step(p->node, &ev);
	if (in->type == IN_DISK && in->must_stop && !p->fatal)
		sim_fail(p->s, "process %d goes on after a write or sync failed",
			 (int)(p - p->s->p));
}

static void gw_input(struct proc *p, struct input *in, const struct vms_msg *m)
{
	struct vms_gw_event ev = {.now_ms = sim_now_ms(p), .msg = m};
	for (uint32_t n = 1; n <= p->s->plan.nodes; n++)
		if (p->gconn[n] == in->conn)
			ev.node = n;
	if (!ev.node)
		return; /* of a connection given up meanwhile */
	switch (in->type) {
	case IN_UP:
		ev.type = VMS_GEV_CONN_UP;
		break;
	case IN_DOWN:
		ev.type = VMS_GEV_CONN_DOWN;
		p->gconn[ev.node] = 0;
		break;
	case IN_MSG:
		ev.type = VMS_GEV_MSG;
		break;
	default:
		return;
	}
	vms_gw_step(p->gw, &ev);
}

static void read_result(struct sim_cmd *m)
{
	if (m->cmd.op != VMS_GW_READ || m->cmd.status || m->buf)
		return;
	size_t at = 0, want = (size_t)m->cmd.nblocks * VMS_LB_BYTES;
	m->buf = malloc(want);
	for (unsigned i = 0; i < m->cmd.nriov; i++) {
		vms_assert(at + m->cmd.riov[i].len <= want);
		memcpy(m->buf + at, m->cmd.riov[i].base, m->cmd.riov[i].len);
		at += m->cmd.riov[i].len;
	}
	vms_assert(at == want);
}

static void answers(struct sim *s, struct proc *p)
{
	while (p->ended) {
		struct sim_cmd *m = p->ended;
		p->ended = m->next;
		read_result(m);
		if (m->submitted)
			vms_gw_unpin(p->gw, &m->cmd);
		sim_pr_look(s, p, m);
		if (!m->aborting)
			sim_at(s, sim_link_delay(s, (unsigned)m->client, p->idx, false), EV_ANSWER,
			       (uint64_t)m->client, m->session, 0, m);
		else {
			sim_client_aborted(s, m);
			sim_cmd_free(m);
		}
	}
}

/* All initiator connections close: what was not read is gone, what runs is aborted. */
static void drop_initiators(struct sim *s, struct proc *p)
{
	p->dropped = false;
	cmds_free(p->cmdq);
	p->cmdq = NULL;
	p->cmdq_tail = &p->cmdq;
	for (struct sim_cmd *m = p->live; m; m = m->next)
		if (!m->aborting) {
			m->aborting = true;
			sim_cmd_abort(p, m);
		}
	for (unsigned i = 0; i <= SIM_AUDITOR; i++)
		if (s->cl[i].path[p->idx].up) {
			s->cl[i].path[p->idx].closed = true;
			/* those that a cut keeps from hearing of it find out by themselves */
			if (!sim_link_cut(s, i, p->idx, false))
				sim_path_lost(s, &s->cl[i], p->idx, "dropped by the gateway");
		}
}

/* Opens what is to be open, closes what is not, once its commands have ended. */
static void gw_volumes(struct sim *s, struct proc *p)
{
	if (!vms_gw_ready(p->gw))
		return;
	for (unsigned i = 0; i < SIM_VOLS_MAX; i++) {
		struct sim_vol *v = &s->vol[i];
		bool want = v->id && v->want, busy = false;
		if (p->vol[i].ready && (!want || p->vol[i].id != v->id)) {
			for (struct sim_cmd *m = p->live; m; m = m->next)
				busy |= sim_cmd_uses(m, i);
			busy |= i == 0 && p->prq; /* which are given up: it is another volume now */
			if (busy)
				continue;
			sim_note(s, "gateway %u: closes volume %u", p->idx, i);
			vms_gw_vol_close(p->gw, p->vol[i].h);
			p->size_of = i ? p->size_of : NULL;
			memset(&p->vol[i], 0, sizeof(p->vol[i]));
		}
		if (p->vol[i].opening && s->plan.give_up &&
		    sim_register_give_up(s, p->vol[i].opening)) {
			char left[VMS_CAT_KEY_BYTES_MAX] = "";

			sim_note(s, "gateway %u: gives the opening of volume %u up", p->idx, i);
			if (vms_rng_chance(&s->open_rng, 0.5))
				sim_gw_unsure(p->vol[i].opening, left);
			vms_gw_vol_close(p->gw, p->vol[i].opening);
			memset(&p->vol[i], 0, sizeof(p->vol[i]));
			strcpy(p->vol[i].left, left);
			p->vol[i].again_us = s->now_us + vms_rng_below(&s->open_rng, 3000000);
		}
		if (p->vol[i].left[0] && sim_register_is(s, p->vol[i].left))
			continue;
		p->vol[i].left[0] = 0;
		if (want && !p->vol[i].asked && s->now_us >= p->vol[i].again_us) {
			struct vms_errmsg msg;
			struct vms_gw_vol *h = NULL;
			p->vol[i].id = v->id;
			p->open_us = i ? p->open_us : s->now_us;
			p->vol[i].again_us = s->now_us + 100000;
			p->vol[i].asked = vms_gw_vol_open(p->gw, v->name, i ? 0 : s->plan.vol_bytes,
							  s->plan.ack, (void *)(uintptr_t)i, &h,
							  &msg) == 0;
			p->vol[i].opening = p->vol[i].asked && !p->vol[i].ready ? h : NULL;
		}
	}
}

static void gw_turn(struct sim *s, struct proc *p)
{
	gw_volumes(s, p);
	sim_size_gateway(s, p);
	if (p->dropped)
		drop_initiators(s, p);
	vms_gw_turn_begin(p->gw, sim_now_ms(p));
	if (p->dropped)
		drop_initiators(s, p);
	sim_paths_gateway(s, p);
	sim_pr_turn(s, p);
	while (p->cmdq) {
		struct sim_cmd *m = p->cmdq;
		p->cmdq = m->next;
		if (!p->cmdq)
			p->cmdq_tail = &p->cmdq;
		if (!sim_vol_ready(s, p, m->vol) || s->vol[m->vol].id != m->vol_id ||
		    !s->vol[m->vol].want || !sim_path_takes(s, p, m) ||
		    (m->cmd.op == SIM_COPY &&
		     (!sim_vol_ready(s, p, m->copy.from) ||
		      s->vol[m->copy.from].id != m->copy.from_id || !s->vol[m->copy.from].want))) {
			m->cmd.status = VMS_E_BUSY;
			m->next = p->ended;
			p->ended = m;
			continue;
		}
		m->read_us = s->now_us;
		if (m->cmd.op == SIM_COPY) {
			struct sim_cmd **to = sim_copy_start(s, p, m) ? &p->live : &p->ended;

			if (s->cl[m->client].op[m->slot].number == m->number)
				s->cl[m->client].op[m->slot].read_us = s->now_us;
			m->next = *to;
			*to = m;
			continue;
		}
		if (m->vol == 0 && m->client != SIM_AUDITOR && !s->final &&
		    (m->cmd.status = sim_pr_refuses(s, p, m))) {
			m->next = p->ended;
			p->ended = m;
			continue;
		}
		m->cmd.vol = p->vol[m->vol].h;
		m->submitted = true;
		if (s->cl[m->client].op[m->slot].number == m->number)
			s->cl[m->client].op[m->slot].read_us = s->now_us;
		m->next = p->live;
		p->live = m;
		if (vms_gw_submit(p->gw, &m->cmd) == VMS_GW_DONE)
			g_complete(p, &m->cmd);
		else if (s->faults && vms_rng_chance(&s->rng, s->plan.abort) && p->live == m) {
			/* ABORT TASK: the command still ends with its true outcome. */
			m->cancelled = true;
			vms_gw_abort(p->gw, &m->cmd);
		}
	}
	sim_copy_turn(s, p);
	vms_gw_turn_end(p->gw, sim_now_ms(p));
	answers(s, p);
}

void sim_proc_turn(struct sim *s, struct proc *p)
{
	struct input *in = p->in;
	size_t n = p->nin;
	uint64_t now_ms = sim_now_ms(p);

	p->in = NULL;
	p->nin = p->in_room = 0;
	if (p->kind != SIM_CATALOG)
		cat_try(p);
	for (size_t i = 0; i < n && !s->failed; i++) {
		struct vms_msg m;
		struct vms_iov iov;
		if (in[i].type == IN_MSG) {
			int rc = vms_msg_decode(in[i].frame->data, in[i].frame->len, &m, &iov);
			if (rc) {
				sim_fail(s, "a frame does not decode: %s", vms_err_name(rc));
				break;
			}
			sim_mix(s, m.req_id ^ (uint64_t)m.type << 56 ^ m.sequence << 20);
		}
		if (p->kind == SIM_CATALOG) {
			if (in[i].type == IN_ACCEPT)
				vms_cat_server_accept(p->server, in[i].conn);
			else if (in[i].type == IN_DOWN)
				vms_cat_server_down(p->server, in[i].conn);
			else if (in[i].type == IN_MSG)
				vms_cat_server_msg(p->server, in[i].conn, &m, now_ms);
		} else if (!p->fatal && !cat_input(p, &in[i], &m)) {
			if (p->kind == SIM_NODE)
				node_input(p, &in[i], &m);
			else if (p->kind == SIM_ADMIN)
				sim_admin_input(p, in[i].conn, in[i].type == IN_UP,
						in[i].type == IN_DOWN,
						in[i].type == IN_MSG ? &m : NULL);
			else
				gw_input(p, &in[i], &m);
		}
	}
	for (size_t i = 0; i < n; i++)
		free(in[i].frame);
	free(in);
	if (s->failed || p->fatal)
		return;
	if (p->kind == SIM_CATALOG) {
		vms_cat_server_timer(p->server, now_ms);
	} else {
		vms_cat_client_timer(p->cc, now_ms);
		if (p->cat)
			sim_catalog_turn(p->cat);
		if (p->kind == SIM_ADMIN) {
			sim_admin_turn(s, p);
		} else if (p->kind == SIM_NODE) {
			struct vms_node_event ev = {.type = VMS_NEV_TIMER, .now_ms = now_ms};
			vms_node_step(p->node, &ev);
			vms_node_turn_end(p->node, now_ms);
		} else {
			struct vms_gw_event ev = {.type = VMS_GEV_TIMER, .now_ms = now_ms};
			vms_gw_step(p->gw, &ev);
			gw_turn(s, p);
		}
	}
	sim_wake(p, IDLE_TURN_US);
}
