// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/nodes.h"

#include <stdio.h>
#include <stdlib.h>

#include "utils/lib/assert.h"

#define AGAIN_MS 2u /* before a node is asked again */

int nodes_open(struct tool *t, struct nodes *ns, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "node/", &kv, msg);

	ns->n = 0;
	ns->p = calloc(kv.n + 1, sizeof(*ns->p));
	vms_assert(ns->p);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct tool_peer *p = &ns->p[ns->n];
		struct vms_cat_node rec;

		rc = vms_cat_node_decode(&c, &rec, msg);
		if (rc)
			break;
		snprintf(p->name, sizeof(p->name), "%s", rec.name);
		snprintf(p->address, sizeof(p->address), "%s", rec.address);
		tool_peer_open(t, p);
		ns->n++;
	}
	tool_kvs_free(&kv);
	return rc;
}

void nodes_close(struct tool *t, struct nodes *ns)
{
	for (unsigned i = 0; i < ns->n; i++)
		tool_peer_close(t, &ns->p[i]);
	free(ns->p);
	ns->p = NULL;
	ns->n = 0;
}

int nodes_ready(struct tool *t, struct nodes *ns, uint32_t timeout_ms, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();

	for (unsigned i = 0; i < ns->n; i++) {
		struct tool_peer *p = &ns->p[i];

		while (p->conn && !p->up && vms_clock_ms() - t0 < timeout_ms)
			tool_wait(t, 50);
		if (!p->up)
			return vms_fail(msg, VMS_E_DISCONNECTED, "storage node %s (%s) is down: %.120s",
					p->name, p->address, p->why[0] ? p->why : "no answer");
	}
	return 0;
}

/* The answers are in: asks those again that said AGAIN. How many? */
static unsigned repeat(struct tool *t, struct nodes *ns, const struct vms_msg *m)
{
	unsigned again = 0;

	for (unsigned i = 0; i < ns->n; i++)
		again += ns->p[i].status == VMS_E_AGAIN;
	if (again)
		tool_wait(t, AGAIN_MS);
	for (unsigned i = 0; i < ns->n; i++)
		if (ns->p[i].status == VMS_E_AGAIN)
			tool_peer_send(t, &ns->p[i], m);
	return again;
}

int nodes_send(struct tool *t, struct nodes *ns, const struct vms_msg *m,
	       const struct nodes_want *want, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms(), spent = 0;

	for (unsigned i = 0; i < ns->n; i++)
		tool_peer_send(t, &ns->p[i], m);
	do {
		tool_peers_wait(t, ns->p, ns->n, want->timeout_ms - (uint32_t)spent, want->enough,
				want->arg);
		if (want->enough && want->enough(want->arg))
			return VMS_E_CANCELLED;
		spent = vms_clock_ms() - t0;
	} while (spent < want->timeout_ms && repeat(t, ns, m));
	for (unsigned i = 0; i < ns->n; i++) {
		const struct tool_peer *p = &ns->p[i];

		if (!p->status || (want->skip_down && !p->up))
			continue;
		return vms_fail(msg, p->status, "storage node %s (%s): %.150s", p->name, p->address,
				p->why);
	}
	return 0;
}

void nodes_ask(struct tool *t, struct nodes *ns, const char *call, json_t *req,
	       uint32_t timeout_ms)
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
