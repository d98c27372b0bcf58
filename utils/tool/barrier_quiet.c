// SPDX-License-Identifier: GPL-2.0-only
/*
 * Barriers that make no snapshot: the volume itself changes (its size, who may write, the
 * branch it is on), and all gateways that have it open know it when the tool returns.
 *
 * Two kinds. Where nothing that was right becomes wrong (growing), gateways only have to
 * know: the record changes with the stop, their acknowledgements say that they have seen
 * it, and whether somebody lets go of his writes meanwhile does not matter. Everything
 * else is quiet: from the stop on gateways end what they have and begin nothing, and say
 * "stopped" when nothing is left; so no command sees the volume before and after, no
 * cached page is on its way, and no write is acknowledged on the side that is left. A
 * gateway that cannot reach the catalog stays quiet until it can.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utils/tool/barrier_int.h"

#define STOP_MS_MAX    6000u /* gateways end their commands: T_op, and what a failover takes */
#define RELEASE_MS_MAX 3000u
#define PAUSE_MS       100u

/* Until pending() names nobody. Those who are silent are looked at each second. */
static int wait_for(struct barrier_run *r, struct barrier_asked *(*pending)(struct barrier_run *r),
		    uint32_t ms, const char *what, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms(), look = t0 + BARRIER_SILENT_MS;
	const struct barrier_asked *a;
	char name[64];

	while ((a = pending(r))) {
		uint64_t now = vms_clock_ms();

		if (barrier_hopeless(r))
			return barrier_say_broken(r, msg);
		if (now - t0 >= ms)
			return vms_fail(msg, VMS_E_AGAIN, "gateway %s %s",
					gateways_name(&r->gateways, a->gateway, name), what);
		if (now >= look) {
			int rc = barrier_shut_out(r, msg);

			if (rc)
				return rc;
			look = now + 1000;
			continue;
		}
		tool_wait(r->t, (uint32_t)(look - now));
	}
	return 0;
}

int barrier_quiet_stopped(struct barrier_run *r, struct vms_errmsg *msg)
{
	int rc = barrier_find_asked(r, msg);

	return rc ? rc
		  : wait_for(r, barrier_not_stopped, STOP_MS_MAX,
			     r->v.barrier_quiet
				     ? "has commands that do not end"
				     : "does not answer, but its connections to the nodes live",
			     msg);
}

static struct barrier_asked *not_told(struct barrier_run *r)
{
	VMS_VEC_FOREACH (&r->asked, a)
		if (!a->gone && a->state != VMS_ACK_RELEASED)
			return a;
	return NULL;
}

int barrier_quiet_release(struct barrier_run *r, void (*edit)(void *arg, struct vms_cat_volume *v),
			  void *arg, bool *done, struct vms_errmsg *msg)
{
	int rc = 0;

	*done = false;
	r->edit = edit;
	r->edit_arg = arg;
	if (r->asked.n && r->v.barrier_quiet) {
		rc = barrier_step_again(r, VMS_BARRIER_RELEASE, NULL, NULL, 0, msg);
		*done = !rc;
		/* shut_out() looks at those without a state */
		VMS_VEC_FOREACH (&r->asked, a)
			if (a->state == VMS_ACK_STOPPED)
				a->state = 0;
		if (!rc)
			rc = wait_for(r, not_told, RELEASE_MS_MAX,
				      "does not say that it has seen it", msg);
	}
	if (!rc)
		rc = barrier_step_again(r, VMS_BARRIER_NONE, NULL, NULL, 0, msg);
	*done |= !rc;
	return rc;
}

void barrier_quiet_end(struct barrier_run *r, int rc)
{
	struct vms_cat_op op[BARRIER_ASKED_MAX];
	struct vms_errmsg ignored;
	unsigned n = 0;

	tool_unwatch(r->t, r->watch_ack);
	tool_unwatch(r->t, r->watch_open);
	r->watch_ack = r->watch_open = 0;
	if (rc)
		(void)barrier_abandon(r->t, r->v.name, r->v.barrier_id, &ignored);
	/* An acknowledgement that stays names a barrier that is over. */
	VMS_VEC_FOREACH (&r->asked, a)
		if (n < BARRIER_ASKED_MAX)
			op[n++] = (struct vms_cat_op){a->key, NULL, 0};
	if (!rc && n)
		(void)tool_txn(r->t, NULL, 0, op, n, &ignored);
	VMS_VEC_CLEAR(&r->asked);
	gateways_free(&r->gateways);
	r->edit = NULL;
}

static int attempt(struct barrier_run *r, const struct barrier_change *ch, bool *done,
		   struct vms_errmsg *msg)
{
	struct vms_cat_volume next = r->v;
	int rc;

	next.snap_gen++;
	next.barrier = VMS_BARRIER_STOP;
	next.barrier_id = next.snap_gen;
	next.barrier_s = (uint64_t)time(NULL);
	next.barrier_quiet = !ch->writes_only;
	rc = ch->stop(ch->arg, &next, done, msg);
	if (rc || *done)
		return rc;
	r->t0 = vms_clock_ms();
	rc = barrier_step(r, &next, NULL, NULL, 0, false, msg);
	if (rc)
		return rc;
	*done = ch->writes_only;
	rc = barrier_quiet_stopped(r, msg);
	if (!rc)
		rc = barrier_quiet_release(r, ch->release, ch->arg, done, msg);
	barrier_quiet_end(r, rc);
	if (rc && *done) {
		struct vms_errmsg why = *msg;

		return vms_fail(
			msg, VMS_E_TIMEOUT,
			"volume '%.60s' is changed, but not every gateway has confirmed it: %.150s",
			r->v.name, why.text);
	}
	return rc;
}

int barrier_change(struct tool *t, const char *volume, const struct barrier_change *ch,
		   uint32_t try_ms, struct barrier_report *rep, struct vms_errmsg *msg)
{
	struct barrier_run r = {.t = t, .rep = rep, .change = true};
	uint64_t t0 = vms_clock_ms();
	bool done = false;
	int rc;

	memset(rep, 0, sizeof(*rep));
	rc = nodes_open(t, &r.nodes, msg);
	while (!rc) {
		rc = barrier_settle(t, volume, NULL, msg);
		if (!rc)
			rc = barrier_volume_get(t, volume, &r.v, &r.v_revision, msg);
		if (rc)
			break;
		rep->attempts++;
		r.lost = false;
		for (unsigned i = 0; i < r.nodes.n; i++)
			tool_peer_open(t, &r.nodes.p[i]);
		rc = attempt(&r, ch, &done, msg);
		/* BUSY: somebody gave it up; a refusal of stop() is none of these */
		if (!rc || done ||
		    !(rc == VMS_E_AGAIN || rc == VMS_E_CONFLICT || tool_txn_again(rc)) ||
		    vms_clock_ms() - t0 >= try_ms || tool_interrupted())
			break;
		for (unsigned i = 0; i < PAUSE_MS / 20; i++)
			tool_wait(t, 20);
		rc = 0;
	}
	nodes_close(t, &r.nodes);
	gateways_free(&r.gateways);
	VMS_VEC_FREE(&r.asked);
	return rc;
}
