// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

#define AGAIN_MS  2u	 /* before a node is asked again that said AGAIN */
#define LOOK_MS	  100u	 /* part/ is read again, a lost connection made again */
#define LOST_MS	  10000u /* a partition is without a primary for longer: for good */
#define OTHERS_MS 1000u	 /* is waited for nodes that need not answer */

/* ---- the list ---- */

static int find(const struct nodes *ns, uint32_t id)
{
	for (unsigned i = 0; i < ns->n; i++)
		if (ns->lead[i].id == id)
			return (int)i;
	return -1;
}

static int list(struct tool *t, struct nodes *ns, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "node/", &kv, msg);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_node rec;
		int at;

		rc = vms_cat_node_decode(&c, &rec, msg);
		if (rc)
			break;
		at = find(ns, rec.id);
		if (at < 0 && ns->n == VMS_NODES_MAX)
			continue;
		if (at < 0)
			ns->lead[at = (int)ns->n++].id = rec.id;
		else if (strcmp(ns->p[at].address, rec.address))
			tool_peer_close(t, &ns->p[at]);
		snprintf(ns->p[at].name, sizeof(ns->p[at].name), "%s", rec.name);
		snprintf(ns->p[at].address, sizeof(ns->p[at].address), "%s", rec.address);
		tool_peer_open(t, &ns->p[at]);
	}
	tool_kvs_free(&kv);
	return rc;
}

int nodes_open(struct tool *t, struct nodes *ns, struct vms_errmsg *msg)
{
	memset(ns, 0, sizeof(*ns));
	ns->p = calloc(VMS_NODES_MAX, sizeof(*ns->p));
	ns->lead = calloc(VMS_NODES_MAX, sizeof(*ns->lead));
	ns->part = calloc(1u << VMS_PART_BITS_MAX, sizeof(*ns->part));
	vms_assert(ns->p && ns->lead && ns->part);
	return list(t, ns, msg);
}

void nodes_close(struct tool *t, struct nodes *ns)
{
	for (unsigned i = 0; i < ns->n; i++)
		tool_peer_close(t, &ns->p[i]);
	free(ns->p);
	free(ns->lead);
	free(ns->part);
	memset(ns, 0, sizeof(*ns));
}

int nodes_leaders(struct tool *t, struct nodes *ns, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	bool unknown = false;
	int rc = tool_range(t, "part/", &kv, msg);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		uint32_t number = (uint32_t)strtoul(c.key + strlen("part/"), NULL, 16);
		struct vms_part_conf pc;

		if (number >= 1u << VMS_PART_BITS_MAX ||
		    ns->part[number].revision == c.mod_revision)
			continue;
		rc = vms_cat_part_decode(&c, &number, &pc, msg);
		if (rc)
			break;
		ns->part[number].revision = c.mod_revision;
		ns->part[number].primary = pc.primary;
		if (c.mod_revision > ns->revision)
			ns->revision = c.mod_revision;
		if (number >= ns->nparts)
			ns->nparts = number + 1;
	}
	tool_kvs_free(&kv);
	if (rc)
		return rc;
	for (unsigned i = 0; i < ns->n; i++)
		ns->lead[i].leads = 0, ns->lead[i].newest = 0;
	for (unsigned k = 0; k < ns->nparts; k++) {
		int at = ns->part[k].revision ? find(ns, ns->part[k].primary) : -1;

		unknown |= ns->part[k].revision && at < 0;
		if (at < 0)
			continue;
		ns->lead[at].leads++;
		if (ns->part[k].revision > ns->lead[at].newest)
			ns->lead[at].newest = ns->part[k].revision;
	}
	if (!unknown)
		return 0;
	/* One that has joined since then. A primary that is not in node/ at all leads for
	 * nobody: another one takes over, or the partition is down for good. */
	return list(t, ns, msg);
}

/* ---- connections ---- */

static int down(const struct tool_peer *p, struct vms_errmsg *msg)
{
	return vms_fail(msg, VMS_E_DISCONNECTED, "storage node %s (%s) is down: %.120s", p->name,
			p->address, p->why[0] ? p->why : "no answer");
}

int nodes_ready(struct tool *t, struct nodes *ns, uint32_t timeout_ms, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();

	for (unsigned i = 0; i < ns->n; i++) {
		struct tool_peer *p = &ns->p[i];

		while (p->conn && !p->up && vms_clock_ms() - t0 < timeout_ms)
			tool_wait(t, 50);
		if (!p->up)
			return down(p, msg);
	}
	return 0;
}

int nodes_leaders_ready(struct tool *t, struct nodes *ns, uint32_t timeout_ms,
			struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms(), looked = t0;
	int rc = nodes_leaders(t, ns, msg);

	while (!rc) {
		const struct tool_peer *missing = NULL;

		for (unsigned i = 0; i < ns->n && !missing; i++)
			if (ns->lead[i].leads && !ns->p[i].up)
				missing = &ns->p[i];
		if (!missing)
			return 0;
		if (vms_clock_ms() - t0 >= timeout_ms || tool_interrupted())
			return down(missing, msg);
		tool_wait(t, 20);
		if (vms_clock_ms() - looked < LOOK_MS)
			continue;
		looked = vms_clock_ms();
		for (unsigned i = 0; i < ns->n; i++)
			tool_peer_open(t, &ns->p[i]);
		rc = nodes_leaders(t, ns, msg);
	}
	return rc;
}

/* ---- requests ---- */

enum state { S_DONE, S_AGAIN, S_LOST, S_WAITING, S_FAILED };

static enum state state_of(const struct nodes *ns, unsigned i)
{
	const struct tool_peer *p = &ns->p[i];

	if (p->waiting)
		return S_WAITING;
	if (!p->status) /* it may have led less when it was asked */
		return ns->lead[i].leads && ns->lead[i].newest > ns->lead[i].asked ? S_AGAIN
										   : S_DONE;
	if (p->status == VMS_E_AGAIN)
		return S_AGAIN;
	if (p->status == VMS_E_TIMEOUT || p->status == VMS_E_DISCONNECTED ||
	    p->status == VMS_E_STOPPING)
		return S_LOST;
	return S_FAILED;
}

static void ask(struct tool *t, struct nodes *ns, unsigned i, const struct vms_msg *m)
{
	struct vms_msg now = *m;

	now.sequence = ns->revision; /* it answers when it knows what it leads by then */
	tool_peer_send(t, &ns->p[i], &now);
	ns->lead[i].asked = ns->revision;
	ns->lead[i].asked_ms = vms_clock_ms();
}

/* One look at all nodes: repeats what has to be repeated. *left: one that has to answer
 * and has not. */
static int look(struct tool *t, struct nodes *ns, const struct vms_msg *m,
		const struct nodes_want *want, uint64_t t0, int *left, struct vms_errmsg *msg)
{
	uint64_t now = vms_clock_ms();

	*left = -1;
	for (unsigned i = 0; i < ns->n; i++) {
		struct tool_peer *p = &ns->p[i];
		bool needed = ns->lead[i].leads != 0;
		enum state s = state_of(ns, i);

		if (want->aux && !p->waiting && !p->status)
			*want->aux |= p->aux;
		if (p->up)
			ns->lead[i].lost_ms = 0;
		else if (!ns->lead[i].lost_ms)
			ns->lead[i].lost_ms = now;
		else if (needed && !want->skip_down && now - ns->lead[i].lost_ms >= LOST_MS)
			return down(p, msg);
		if (s == S_FAILED && needed)
			return vms_fail(msg, p->status, "storage node %s (%s): %.150s", p->name,
					p->address, p->why);
		if (s == S_DONE || s == S_FAILED || (want->skip_down && s == S_LOST))
			continue;
		if (s == S_AGAIN && now - ns->lead[i].asked_ms >= AGAIN_MS)
			ask(t, ns, i, m);
		else if (s == S_LOST && needed && now - ns->lead[i].asked_ms >= LOOK_MS)
			ask(t, ns, i, m);
		if (needed ? !want->skip_down || p->up || now - t0 < OTHERS_MS
			   : want->all_up && p->up && now - t0 < OTHERS_MS)
			*left = (int)i;
	}
	return 0;
}

int nodes_send(struct tool *t, struct nodes *ns, const struct vms_msg *m,
	       const struct nodes_want *want, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms(), looked, said = t0;
	bool sure = !want->still;
	int rc = ns->revision ? 0 : nodes_leaders(t, ns, msg), left = -1;

	/* On their way while part/ is read; who has gained something since it was read last
	 * is asked again. */
	for (unsigned i = 0; !rc && i < ns->n; i++) {
		ns->lead[i].lost_ms = 0;
		ask(t, ns, i, m);
	}
	if (!rc)
		rc = nodes_leaders(t, ns, msg);
	for (looked = vms_clock_ms(); !rc; tool_wait(t, 10)) {
		uint64_t now = vms_clock_ms();

		if (want->enough && want->enough(want->arg))
			return VMS_E_CANCELLED;
		if (now - looked >= LOOK_MS) {
			looked = now;
			rc = nodes_leaders(t, ns, msg);
		}
		if (!rc)
			rc = look(t, ns, m, want, t0, &left, msg);
		if (rc)
			break;
		if (left < 0 && sure)
			return 0;
		if (left < 0) {
			sure = true;
			looked = 0;
			continue;
		}
		sure = !want->still;
		if (now - t0 >= want->timeout_ms) {
			const struct tool_peer *p = &ns->p[left];

			return vms_fail(msg, p->status ? p->status : VMS_E_TIMEOUT,
					"storage node %s (%s): %.150s", p->name, p->address,
					p->why);
		}
		if (want->slow && now - said >= 1000) {
			said = now;
			want->slow(want->arg, ns->p[left].name, now - t0);
		}
	}
	return rc;
}

void nodes_ask(struct tool *t, struct nodes *ns, const char *call, json_t *req, uint32_t timeout_ms)
{
	for (unsigned i = 0; i < ns->n; i++)
		tool_peer_ask(t, &ns->p[i], call, req ? json_deep_copy(req) : NULL);
	tool_peers_wait(t, ns->p, ns->n, timeout_ms, NULL, NULL);
	for (unsigned i = 0; i < ns->n; i++) {
		if (!ns->p[i].status)
			continue;
		json_decref(ns->p[i].answer);
		ns->p[i].answer = NULL;
	}
}
