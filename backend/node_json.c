// SPDX-License-Identifier: GPL-2.0-only
/* Status and statistics of a node as JSON, for the tools (ADMIN, STATS). */
#include "backend/node_json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/dedup.h"
#include "backend/learn.h"
#include "backend/learn_serve.h"
#include "backend/lease.h"
#include "backend/match.h"
#include "backend/node.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_part.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/plan.h"
#include "backend/prune.h"
#include "backend/repair.h"
#include "backend/scrub.h"
#include "backend/wal.h"
#include "backend/yield.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/vec.h"

/* A gateway that lost its connection tries again within a second. */
#define SESSIONS_BACK_MS 1000u

static const char *state_name(const struct part *p)
{
	static const char *const names[] = {"none", "backup", "waiting", "query", "fetch",
					    "loss", "view",   "lease",	 "active"};

	return p->out ? "out" : names[p->state];
}

/* How a partition stands, in words. */
static void part_text(struct vms_node *n, const struct part *p, char *out, size_t room)
{
	unsigned copies = n->cluster.copies;

	if (p->out)
		snprintf(out, room, "a copy that is not in the set of epoch %llu",
			 (unsigned long long)p->conf.epoch);
	else if (!p->primary)
		snprintf(out, room, "member, led by node %u%s", p->conf.primary,
			 p->bytes_wait ? "; its copy is damaged" : "");
	else if (p->handing)
		snprintf(out, room, "the lead goes over to node %u", p->handing);
	else if (p->state != PS_ACTIVE)
		snprintf(out, room, "not served yet (%s)", state_name(p));
	else if (p->bytes_wait)
		snprintf(out, room, "stands: no node that runs has the bytes of record %llu%s",
			 (unsigned long long)p->peer_seq,
			 part_stands_full(n, p) ? "; writes wait" : "");
	else if (part_used_up(n, p, true))
		snprintf(out, room, "used up: no numbers are left for what is written");
	else if (p->nm < n->cluster.min_copies)
		snprintf(out, room, "degraded: %u of %u copies, min_copies %u: writes wait", p->nm,
			 copies, n->cluster.min_copies);
	else if (!part_members_ready(p) || !part_leased(n, p))
		snprintf(out, room, "a member does not answer: writes wait");
	else if (p->nm < copies)
		snprintf(out, room, "degraded: %u of %u copies, min_copies %u", p->nm, copies,
			 n->cluster.min_copies);
	else
		snprintf(out, room, "healthy: %u of %u copies", p->nm, copies);
}

static void part_set(const struct part *p, json_t *o)
{
	json_t *set = json_array(), *want = json_array(), *learners = json_array();
	static const char *const names[] = {
		[LEARN_NONE] = "none",	 [LEARN_COPY] = "copying",  [LEARN_VERIFY] = "verifying",
		[LEARN_READY] = "ready", [LEARN_FAILED] = "failed", [LEARN_WAITS] = "waiting",
	};
	uint32_t w[VMS_COPIES_MAX];
	unsigned k = vms_cat_part_want(&p->conf, w);

	for (unsigned i = 0; i < p->conf.nmembers; i++)
		json_array_append_new(set, json_integer(p->conf.member[i].node));
	for (unsigned i = 0; i < k; i++)
		json_array_append_new(want, json_integer(w[i]));
	for (const struct feed *f = p->feeds; f; f = f->next)
		json_array_append_new(learners,
				      json_pack("{s:i, s:s, s:s, s:I, s:I, s:b, s:s}", "node",
						(int)f->node, "state", names[f->st], "phase",
						learn_phase_name(f->phase), "done_bytes",
						(json_int_t)f->done_bytes, "total_bytes",
						(json_int_t)f->total_bytes, "urgent",
						f->st == LEARN_COPY && f->urgent, "why", f->why));
	json_object_set_new(o, "primary", json_integer(p->conf.primary));
	json_object_set_new(o, "set", set);
	json_object_set_new(o, "want", want);
	if (p->primary)
		json_object_set_new(o, "learners", learners);
	else
		json_decref(learners);
}

/* What a primary knows of its other members, and what its oldest ordered write
 * waits for. */
static void primary_state(const struct part *p, json_t *o)
{
	json_t *m = json_array();

	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self)
			json_array_append_new(m, json_pack("{s:i, s:b, s:I, s:I, s:I}", "node",
							   (int)p->m[i].node, "streaming",
							   p->m[i].streaming, "sent",
							   (json_int_t)p->m[i].sent, "held",
							   (json_int_t)p->m[i].held, "durable",
							   (json_int_t)p->m[i].durable));
	json_object_set_new(o, "members", m);
	json_object_set_new(o, "durable", json_integer((json_int_t)p->own_durable));
	json_object_set_new(o, "invalidations_left",
			    json_integer(p->pend_head ? (json_int_t)p->pend_head->inval_left : 0));
	json_object_set_new(o, "ops_waiting", json_integer((json_int_t)p->nwait));
}

static json_t *partitions(struct vms_node *n, uint32_t from, uint32_t max)
{
	json_t *a = json_array();

	for (uint32_t i = from; i < n->nparts && json_array_size(a) < max; i++) {
		struct part *p = n->part[i];

		char text[120];

		if (!p || (!p->known && !p->out))
			continue;
		part_text(n, p, text, sizeof(text));
		json_t *o = json_pack(
			"{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "number",
			(int)i, "state", state_name(p), "text", text, "epoch",
			(json_int_t)p->conf.epoch, "seq", (json_int_t)p->seq_last, "committed",
			(json_int_t)p->committed, "applied", (json_int_t)p->applied, "undrained",
			(json_int_t)(p->ovl.npieces + p->ovl.nranges), "containers",
			(json_int_t)p->ctrs.n, "live_chunks", (json_int_t)p->live_chunks,
			"members_ready", p->primary && part_members_ready(p), "bytes_wait",
			p->bytes_wait);

		if (p->bytes_wait)
			json_object_set_new(o, "bytes_seq", json_integer((json_int_t)p->peer_seq));

		part_set(p, o);
		if (p->primary)
			primary_state(p, o);
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *space(struct vms_node *n)
{
	uint64_t chunks = 0, live = 0, ctrs = 0, undrained = 0;

	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		undrained += p->ovl.npieces + p->ovl.nranges;
		/* what the collector moves is safe where it was */
		for (size_t k = p->stubs_head; k < p->stubs.n; k++)
			undrained += p->stubs.d[k].log;
		VMS_VEC_FOREACH (&p->ctrs, c) {
			ctrs++;
			chunks += c->chunks - c->dead.count;
			live += c->live;
		}
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s}", "total_bytes",
			 (json_int_t)n->space_total, "free_bytes", (json_int_t)n->space_free,
			 "index_used_permille", (json_int_t)n->meta_permille, "log_bytes",
			 (json_int_t)vms_wal_size_bytes(n->wal), "log_used_bytes",
			 (json_int_t)vms_wal_used_bytes(n->wal), "undrained", (json_int_t)undrained,
			 "containers", (json_int_t)ctrs, "container_chunks", (json_int_t)chunks,
			 "live_chunks", (json_int_t)live, "low", n->nospc, "state",
			 n->nospc      ? "full"
			 : n->nearfull ? "nearfull"
				       : "ok");
}

static void stats_dedup(struct vms_node *n, json_t *o)
{
	static const char *const gauges[] = {"hooks", "hook_bytes", "hooks_evicted", "lists",
					     "list_bytes"};
	const struct dedup_stats *s = dedup_stats(n);

#define S(name) json_object_set_new(o, "dedup." #name, json_integer((json_int_t)s->name))
	S(hashed);
	S(hits_batch);
	S(hits_own);
	S(hits_foreign);
	S(hits_refused);
	S(lookups);
	S(lookups_timed_out);
	S(unanswered);
	S(hooks_asked);
	S(hooks_found);
	S(lists_fetched);
	S(lists_gone);
	S(confirms);
	S(confirms_no);
	S(shares);
	S(hooks_told);
	S(hooks_told_again);
#undef S
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
		char key[32] = "dedup.";

		strcat(key, gauges[i]);
		json_object_set_new(o, key, json_integer((json_int_t)dedup_gauge(n, gauges[i])));
	}
}

static json_t *stats(struct vms_node *n)
{
	const struct node_stats *s = &n->st;
	json_t *o = json_object();

#define S(name) json_object_set_new(o, "node." #name, json_integer((json_int_t)s->name))
	S(writes);
	S(write_bytes);
	S(reads);
	S(read_chunks);
	S(fetched_remote);
	S(feeds);
	S(learnt);
	S(moved_bytes);
	S(moved_urgent_bytes);
	S(learnt_bytes);
	S(kept_bytes);
	S(lost_chunks);
	S(copies_deleted);
	S(digests);
	S(digest_bad);
	S(given_up);
	S(pages);
	S(invalidations);
	S(flushes);
	S(busy);
	S(too_old);
	S(dups);
	S(stale);
	S(recs_sent);
	S(frames_sent);
	S(recs_recv);
	S(acks);
	S(drains);
	S(drained_chunks);
	S(holes);
	S(checkpoints);
	S(copied);
	S(swept);
	S(remapped);
	S(marks);
	S(pages_marked);
	S(mark_frames);
	S(rounds);
	S(punched);
	S(emptied);
	S(pages_scanned);
	S(pages_dropped);
	S(scans);
	S(page_updates);
	S(views);
	S(losses);
	S(takeovers);
	S(drops);
	S(promotions);
	S(handovers);
	S(corrupt);
	S(nospc);
#undef S
#define S(name)                                                                                    \
	json_object_set_new(o, "match." #name, json_integer((json_int_t)match_stats(n)->name))
	S(passes);
	S(pairs);
	S(remapped);
	S(lost);
#undef S
	json_object_set_new(o, "node.index_seeks",
			    json_integer((json_int_t)vms_pages_lookups(n->pages)));
	json_object_set_new(o, "repair.found", json_integer((json_int_t)repair_stats(n)->found));
	json_object_set_new(o, "repair.repaired",
			    json_integer((json_int_t)repair_stats(n)->repaired));
	json_object_set_new(o, "repair.told", json_integer((json_int_t)repair_stats(n)->told));
	json_object_set_new(o, "repair.served", json_integer((json_int_t)repair_stats(n)->served));
	json_object_set_new(o, "repair.running", json_integer((json_int_t)repair_running(n)));
	json_object_set_new(o, "repair.lost", json_integer((json_int_t)repair_lost_count(n)));
	if (n->scrub) {
		json_object_set_new(o, "scrub.rounds", json_integer((json_int_t)scrub_rounds(n)));
		json_object_set_new(o, "scrub.bytes", json_integer((json_int_t)scrub_bytes(n)));
	}
	stats_dedup(n, o);
	return o;
}

/* Gateways as this node knows them. live: ops and cached pages of that process may
 * still be in use. NULL after a start until all that live have had time to come back:
 * by a list without them they would be shut out. */
static json_t *sessions(struct vms_node *n)
{
	json_t *a;

	if (n->now_ms - n->start_ms < (uint64_t)n->tm.lease_ms + SESSIONS_BACK_MS)
		return NULL;
	a = json_array();
	for (struct session *s = n->sessions; s; s = s->next)
		json_array_append_new(a, json_pack("{s:I, s:I, s:b, s:b}", "gateway",
						   (json_int_t)s->gateway, "incarnation",
						   (json_int_t)s->incarnation, "live", s->live,
						   "connected", s->conn != 0));
	return a;
}

/* The partition that has used most of its container numbers, or of the places of its
 * sequence, in 1/1000 (rule B9). */
static unsigned numbers_permille(struct vms_node *n)
{
	uint64_t ctr_1000th = vms_ctr_count(n->conf.part_bits) / 1000;
	uint64_t pos_1000th = vms_logpos_max(n->conf.part_bits) / 1000, most = 0;

	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct part *p = n->part[i];
		uint64_t first, ctr, pos;

		if (!p)
			continue;
		/* a copy that is being made or deleted has no number yet, or none any more */
		first = vms_ctr_first(i, n->conf.part_bits);
		ctr = p->next_ctr > first ? (p->next_ctr - first) / ctr_1000th : 0;
		pos = p->next_pos / pos_1000th;
		most = ctr > most ? ctr : most;
		most = pos > most ? pos : most;
	}
	return (unsigned)most;
}

static json_t *status(struct vms_node *n)
{
	unsigned led = 0, active = 0, backup = 0, waiting = 0, out = 0, degraded = 0, stand = 0;
	json_t *peers = json_array();
	unsigned steps;
	uint64_t yield_s;

	yield_say(n, &steps, &yield_s);
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		out += p && p->out;
		if (!p || !p->known)
			continue;
		if (!p->primary) {
			backup++;
			continue;
		}
		led++;
		active += p->state == PS_ACTIVE;
		stand += p->bytes_wait;
		degraded += p->nm < n->cluster.copies;
		waiting += p->state == PS_ACTIVE &&
			   (!part_members_ready(p) || p->nm < n->cluster.min_copies ||
			    part_stands_full(n, p));
	}
	for (unsigned i = 0; i < n->npeers; i++)
		json_array_append_new(peers,
				      json_pack("{s:i, s:s, s:b, s:I}", "id", (int)n->peer[i]->id,
						"address", n->peer[i]->address, "connected",
						n->peer[i]->conn != 0, "incarnation",
						(json_int_t)n->peer[i]->incarnation));
	return json_pack(
		"{s:I, s:I, s:i, s:s, s:I, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, "
		"s:o, s:o, s:i, s:{s:i, s:i, s:I}}",
		"lost", (json_int_t)repair_lost_count(n), "repairing",
		(json_int_t)repair_running(n), "node", (int)n->id, "name", n->conf.name,
		"incarnation", (json_int_t)n->incarnation, "state",
		n->poisoned	     ? "failed"
		: n->stopping	     ? "stopping"
		: n->phase == SP_RUN ? "running"
				     : "starting",
		"partitions_led", (int)led, "partitions_active", (int)active, "partitions_degraded",
		(int)degraded, "partitions_waiting", (int)waiting, "partitions_bytes_wait",
		(int)stand, "partitions_backup", (int)backup, "partitions_out", (int)out,
		"gateways", (int)n->nsessions, "peers", peers, "space", space(n), "planner",
		plan_json(n), "container_numbers_permille", (int)numbers_permille(n), "yield",
		"step", (int)steps, "steps", (int)YIELD_STEPS, "seconds", (json_int_t)yield_s);
}

struct json_t *vms_node_json(struct vms_node *n, const char *what)
{
	if (!strcmp(what, "scrub"))
		return n->scrub ? scrub_json(n) : NULL;
	if (!strcmp(what, "partitions"))
		return partitions(n, 0, UINT32_MAX);
	if (!strcmp(what, "space"))
		return space(n);
	if (!strcmp(what, "stats"))
		return stats(n);
	if (!strcmp(what, "sessions"))
		return sessions(n);
	if (!strcmp(what, "reclaim"))
		return n->prune ? prune_json(n) : NULL;
	return status(n);
}

struct json_t *vms_node_partitions(struct vms_node *n, const struct json_t *req)
{
	json_int_t from = json_integer_value(json_object_get(req, "from"));
	json_int_t max = json_integer_value(json_object_get(req, "max"));

	if (from < 0 || from > UINT32_MAX)
		return json_array();
	return partitions(n, (uint32_t)from,
			  max > 0 && max < UINT32_MAX ? (uint32_t)max : UINT32_MAX);
}

/* ADMIN and STATS: body {"what": "status" | "partitions" | "space" | "stats" |
 * "sessions" | "reclaim" | "scrub"}. */
void node_json_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	json_t *q = json_loadb((const char *)m->body, m->body_bytes, 0, NULL), *a;
	const char *what = q ? json_string_value(json_object_get(q, "what")) : NULL;
	struct vms_msg re;
	struct vms_iov iov;
	char *text;

	a = vms_node_json(n, what ? what : m->type == VMS_MSG_STATS ? "stats" : "status");
	text = a ? json_dumps(a, JSON_COMPACT) : NULL;
	json_decref(a);
	json_decref(q);
	if (!text) { /* not now */
		node_reply(n, c->id, m, VMS_E_AGAIN);
		return;
	}
	vms_msg_reply_init(&re, m, 0);
	if (strlen(text) <= VMS_FRAME_BODY_BYTES_MAX) {
		re.body = (const uint8_t *)text;
		re.body_bytes = (uint32_t)strlen(text);
	} else {
		iov = (struct vms_iov){text, strlen(text)};
		re.flags |= VMS_F_PAYLOAD_CRC;
		re.payload = &iov;
		re.npayload = 1;
		re.payload_bytes = iov.len;
	}
	node_send(n, c->id, &re);
	free(text);
}
