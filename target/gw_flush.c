// SPDX-License-Identifier: GPL-2.0-only
/*
 * FLUSH, and the notices of lost unflushed writes.
 *
 * With write_ack=disk all that was acknowledged is durable, so a flush only looks
 * for losses. With write_ack=memory it asks every node that is primary of anything,
 * not only those this gateway wrote to (rules D8).
 *
 * Losses are counted per volume in the catalog before the partition serves again.
 * The watch may lag behind, so after every change of a node's process or of a
 * partition's configuration (topo_stamp) the counter is read afresh before a flush
 * is answered. Each initiator port is told once, through whatever gateway: what it
 * was told is recorded in the catalog, begun after the answer has been handed over and
 * another question to the catalog has been answered: a record of what was never said would
 * make the loss silent. If this gateway ends in between, or the port asks another one at that
 * moment, it is told twice. What the transport has taken counts as said: an answer that it
 * still has when the connection breaks, a round trip to the catalog later, is not repeated.
 */
#include <inttypes.h>
#include <stdio.h>

#include "target/gw_int.h"

static void loss_run(struct vms_gw_vol *v);

/* Who is to be asked: the primaries of all partitions. */
static void leaders(const struct vms_gw *gw, uint64_t *set)
{
	for (uint32_t i = 0; i < gw->nparts; i++)
		if (gw->part[i].c.epoch && gw->part[i].c.primary < VMS_NODES_MAX)
			gw_bit_set(set, gw->part[i].c.primary);
}

static uint64_t patience_ms(const struct vms_gw *gw)
{
	return 4ull * gw->tm.t_op_ms;
}

/* A FUA write that is applied would have to be made again: as long as initiators themselves
 * wait for it. */
static uint64_t applied_patience_ms(const struct vms_gw *gw)
{
	return (uint64_t)VMS_OUTCOME_KEEP_T_OP / 2 * gw->tm.t_op_ms;
}

/* ---- asking the nodes ---- */

static void flush_send(struct vms_gw *gw, struct gw_req *r)
{
	for (uint32_t i = 1; i < gw->node_top; i++) {
		struct gw_node *n = gw->node[i];
		struct vms_msg m = {.type = VMS_MSG_FLUSH,
				    .partition = VMS_PART_NONE,
				    .branch = r->vol->rec.branch};

		/* one that was asked and leads more by now is asked again afterwards */
		if (!n || !gw_bit_get(r->need, i) || gw_bit_get(r->asked, i) ||
		    n->state != GN_READY)
			continue;
		gw_bit_clear(r->need, i);
		gw_bit_set(r->asked, i);
		if (!gw_rpc_send(gw, n, GR_FLUSH, r, &m)) {
			gw_bit_clear(r->asked, i);
			gw_bit_set(r->need, i);
		}
	}
	if (!gw_bits_none(r->need))
		gw_wake_at(gw, gw->now_ms + 2 * GW_RETRY_MS);
}

static void flush_forget_node(struct vms_gw *gw, struct gw_req *r, uint32_t i)
{
	if (!gw->node[i] || !gw_bit_get(r->asked, i))
		return;
	gw_each(l, &gw->node[i]->rpcs)
	{
		struct gw_rpc *rpc = gw_entry(l, struct gw_rpc, link);

		if (rpc->type == GR_FLUSH && rpc->obj == r)
			gw_rpc_forget(gw, rpc);
	}
	gw_bit_clear(r->asked, i);
}

static void flush_forget(struct vms_gw *gw, struct gw_req *r)
{
	for (uint32_t i = 1; i < gw->node_top; i++)
		flush_forget_node(gw, r, i);
}

/* All primaries have answered. */
static bool flush_asked_all(struct vms_gw *gw, struct gw_req *r)
{
	/* moved: who has to be asked besides is found out in a moment */
	if (!gw_bits_none(r->asked) || !gw_bits_none(r->need) ||
	    (gw->moved && !gw_mutant(gw, VMS_GWM_FLUSH_ONCE)))
		return false;
	gw_list_del(&r->loss_link);
	if (r->status)
		gw_req_end(gw, r);
	else
		gw_loss_check(gw, r);
	return true;
}

/* What a new primary has taken over was not covered by the answer it gave before; one
 * that leads nothing any more need not answer. */
void gw_flush_moved(struct vms_gw *gw)
{
	uint64_t lead[VMS_NODES_MAX / 64] = {0};

	if (gw_list_empty(&gw->flushes) || gw_mutant(gw, VMS_GWM_FLUSH_ONCE))
		return;
	leaders(gw, lead);
	gw_each(l, &gw->flushes)
	{
		struct gw_req *r = gw_entry(l, struct gw_req, loss_link);

		for (uint32_t i = 1; i < gw->node_top; i++) {
			if (gw_bit_get(gw->gained, i))
				gw_bit_set(r->need, i);
			if (!gw_bit_get(lead, i)) {
				gw_bit_clear(r->need, i);
				flush_forget_node(gw, r, i);
			}
		}
		if (!flush_asked_all(gw, r))
			flush_send(gw, r);
	}
}

void gw_flush_reply(struct vms_gw *gw, struct gw_req *r, uint32_t node, const struct vms_msg *m,
		    int status)
{
	gw_bit_clear(r->asked, node);
	if (status && vms_err_retryable(status)) {
		gw_bit_set(r->need, node);
		gw_wake_at(gw, gw->now_ms + GW_RETRY_MS);
	} else if (status && !r->status) {
		r->status = status;
	} else if (m && m->aux > r->vol->loss && !gw_mutant(gw, VMS_GWM_FLUSH_LOSS)) {
		gw->topo_stamp++; /* our watch is late: look before it is answered */
	}
	if (!flush_asked_all(gw, r) && !gw_bits_none(r->need))
		gw_wake_at(gw, gw->now_ms + GW_RETRY_MS);
}

int gw_flush_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	bool memory = v->rec.write_ack == VMS_ACK_MEMORY;
	struct gw_req *r;

	gw->st.flushes++;
	if (v->snap || (!memory && !v->loss))
		return VMS_GW_DONE;
	r = gw_req_new(gw, cmd);
	r->nchunks = 0;
	if (memory) {
		leaders(gw, r->need);
		gw_list_add(&gw->flushes, &r->loss_link);
		flush_send(gw, r);
	} else {
		r->in_submit = true;
		gw_loss_check(gw, r);
		r->in_submit = false;
		if (r->ended) {
			cmd->priv = NULL;
			gw_req_free(gw, r);
			return VMS_GW_DONE;
		}
	}
	return VMS_GW_PENDING;
}

/* ---- loss notices ---- */

static uint64_t port_hash(const char *port)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (; port && *port; port++)
		h = (h ^ (uint8_t)*port) * 0x100000001b3ull;
	return vms_mix64(h) | 1;
}

/* "lossack/<volume id>/<port>"; a name that is too long is cut and told apart by its
 * hash. */
static void lossack_key(char *out, const struct gw_req *r)
{
	const char *port = r->cmd->initiator_port ? r->cmd->initiator_port : "";
	char safe[121];
	size_t n = 0;

	for (; port[n] && n < sizeof(safe) - 1; n++)
		safe[n] = port[n] > ' ' && port[n] < 0x7f && port[n] != '/' ? port[n] : '_';
	safe[n] = 0;
	if (port[n])
		snprintf(out, VMS_CAT_KEY_BYTES_MAX, "lossack/%016" PRIx64 "/%s~%016" PRIx64,
			 r->vol->rec.id, safe, port_hash(port));
	else
		snprintf(out, VMS_CAT_KEY_BYTES_MAX, "lossack/%016" PRIx64 "/%s", r->vol->rec.id,
			 safe);
}

static uint64_t *told_find(struct vms_gw_vol *v, const char *port, bool create)
{
	uint64_t h = port_hash(port);

	for (unsigned i = 0; i < GW_PORTS; i++)
		if (v->told[i].port == h)
			return &v->told[i].told;
	if (!create)
		return NULL;
	v->told[v->told_hand % GW_PORTS].port = h;
	return &v->told[v->told_hand++ % GW_PORTS].told;
}

static void loss_end(struct vms_gw *gw, struct gw_req *r, int status)
{
	gw_list_del(&r->loss_link);
	if (r->vol->loss_req == r)
		r->vol->loss_req = NULL;
	if (status)
		r->status = status;
	gw_req_end(gw, r);
}

static void loss_later(struct vms_gw_vol *v)
{
	v->loss_retry_ms = v->gw->now_ms + GW_CAT_RETRY_MS;
	gw_wake_at(v->gw, v->loss_retry_ms);
}

static void loss_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;

	v->loss_busy = false;
	if (r->status) {
		loss_later(v);
		return;
	}
	if (r->nkv && r->kv[0].val) {
		uint64_t n = strtoull(r->kv[0].val, NULL, 10);

		if (n > v->loss)
			v->loss = n;
	}
	v->loss_stamp = v->loss_asked_stamp;
	loss_run(v);
}

/* The port is told, by the answer of r. */
static void loss_tell(struct vms_gw_vol *v, struct gw_req *r)
{
	*told_find(v, r->cmd->initiator_port, true) = v->loss;
	loss_end(v->gw, r, VMS_E_DATA_LOSS);
}

static void lossack_put(void *arg, const struct vms_cat_reply *rep)
{
	struct vms_gw_vol *v = arg;
	struct gw_req *r = v->loss_req;

	v->loss_busy = false;
	v->loss_req = NULL;
	if (!rep->status || gw_mutant(v->gw, VMS_GWM_NOTED))
		v->loss_ack = 0;
	if (rep->status && rep->status != VMS_E_CONFLICT) {
		loss_later(v);
		return;
	}
	if (!rep->status && r) /* the mutant's: only now */
		loss_tell(v, r);
	loss_run(v);
}

static void lossack_store(struct vms_gw_vol *v, const struct vms_cat_reply *rep)
{
	uint64_t rev = rep->nkv && rep->kv[0].val ? rep->kv[0].mod_revision : 0;
	char val[24];

	snprintf(val, sizeof(val), "%" PRIu64, v->loss_ack);
	v->loss_busy = true;
	v->gw->cat->ops->txn(v->gw->cat, &(struct vms_cat_cmp){v->loss_ack_key, rev}, 1,
			     &(struct vms_cat_op){v->loss_ack_key, val, 0}, 1, lossack_put, v);
}

static uint64_t lossack_told(const struct vms_cat_reply *rep)
{
	return rep->nkv && rep->kv[0].val ? strtoull(rep->kv[0].val, NULL, 10) : 0;
}

/* What was said is to be recorded; an earlier attempt may have done it. */
static void ack_got(void *arg, const struct vms_cat_reply *rep)
{
	struct vms_gw_vol *v = arg;

	v->loss_busy = false;
	if (rep->status) {
		loss_later(v);
		return;
	}
	if (lossack_told(rep) < v->loss_ack) {
		lossack_store(v, rep);
		return;
	}
	v->loss_ack = 0;
	loss_run(v);
}

/* The answer first, then the record: who reads the record, be it of an attempt whose outcome
 * nobody knows, takes it that the port has been told. The answer leaves at the end of this
 * turn, a transaction would go at once: what the key has is asked for again before it. */
static void lossack_got(void *arg, const struct vms_cat_reply *rep)
{
	struct vms_gw_vol *v = arg;
	struct gw_req *r = v->loss_req;
	uint64_t told;

	v->loss_busy = false;
	if (rep->status || !r) {
		v->loss_req = NULL;
		if (rep->status)
			loss_later(v);
		else
			loss_run(v);
		return;
	}
	told = lossack_told(rep);
	if (told >= v->loss) {
		*told_find(v, r->cmd->initiator_port, true) = told;
		loss_end(v->gw, r, 0);
		loss_run(v);
		return;
	}
	lossack_key(v->loss_ack_key, r);
	v->loss_ack = v->loss;
	if (gw_mutant(v->gw, VMS_GWM_NOTED)) {
		lossack_store(v, rep);
		return;
	}
	if (gw_mutant(v->gw, VMS_GWM_NOTE_GOES))
		lossack_store(v, rep);
	loss_tell(v, r);
	loss_run(v);
}

/* Record what was told, and serve the commands that wait for the check, one catalog call at a
 * time. */
static void loss_run(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;
	char key[VMS_CAT_KEY_BYTES_MAX];

	while (!v->loss_busy && !gw_list_empty(&v->loss_wait)) {
		struct gw_req *r = gw_entry(v->loss_wait.next, struct gw_req, loss_link);
		uint64_t *told;

		if (v->loss_stamp != gw->topo_stamp) {
			v->loss_busy = true;
			v->loss_asked_stamp = gw->topo_stamp;
			vms_cat_key_loss(key, v->rec.id);
			gw->cat->ops->get(gw->cat, key, loss_got, v);
			return;
		}
		if (!v->loss) {
			loss_end(gw, r, 0);
			continue;
		}
		told = told_find(v, r->cmd->initiator_port, false);
		if (told && *told >= v->loss) {
			loss_end(gw, r, 0);
			continue;
		}
		if (v->loss_ack)
			break;
		v->loss_busy = true;
		v->loss_req = r;
		lossack_key(key, r);
		gw->cat->ops->get(gw->cat, key, lossack_got, v);
	}
	if (v->loss_ack && !v->loss_busy) {
		v->loss_busy = true;
		gw->cat->ops->get(gw->cat, v->loss_ack_key, ack_got, v);
	}
}

void gw_loss_check(struct vms_gw *gw, struct gw_req *r)
{
	struct vms_gw_vol *v = r->vol;

	if ((v->loss_stamp == gw->topo_stamp && !v->loss) || gw_mutant(gw, VMS_GWM_SKIP_LOSS)) {
		gw_req_end(gw, r);
		return;
	}
	gw_list_add(&v->loss_wait, &r->loss_link);
	loss_run(v);
}

void gw_loss_abandon(struct vms_gw *gw, struct gw_req *r)
{
	flush_forget(gw, r);
	gw_list_del(&r->loss_link);
	if (r->vol->loss_req == r)
		r->vol->loss_req = NULL;
}

void gw_flush_timer(struct vms_gw *gw)
{
	gw_each(l, &gw->flushes)
	{
		struct gw_req *r = gw_entry(l, struct gw_req, loss_link);

		if (gw->now_ms - r->t_ms > patience_ms(gw)) {
			gw_loss_abandon(gw, r);
			r->status = VMS_E_BUSY;
			gw_req_end(gw, r);
		} else if (!gw_bits_none(r->need)) {
			flush_send(gw, r);
		}
	}
	gw_each(lv, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(lv, struct vms_gw_vol, link);

		gw_each(l, &v->loss_wait)
		{
			struct gw_req *r = gw_entry(l, struct gw_req, loss_link);

			if (gw->now_ms - r->t_ms <=
			    (r->applied ? applied_patience_ms(gw) : patience_ms(gw)))
				continue;
			/* an applied FUA write: the repetition asks again */
			r->cmd->partial = r->applied;
			loss_end(gw, r, VMS_E_BUSY);
		}
		if (gw->now_ms >= v->loss_retry_ms)
			loss_run(v);
	}
}
