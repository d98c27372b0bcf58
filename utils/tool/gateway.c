// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/gateway.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_MS_MAX 8000u /* a failover included */
#define ASK_MS_MAX  3000u

int gateways_load(struct tool *t, struct gateways *out, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "gateway/", &kv, msg);

	*out = (struct gateways)VMS_VEC_INIT;
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct gateway_info *g = VMS_VEC_ADD(out);

		g->mod_revision = c.mod_revision;
		rc = vms_cat_gateway_decode(&c, &g->g, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

void gateways_free(struct gateways *g)
{
	VMS_VEC_FREE(g);
}

const char *gateways_name(const struct gateways *g, uint32_t id, char out[64])
{
	VMS_VEC_FOREACH (g, i)
		if (i->g.id == id && i->g.name[0]) {
			snprintf(out, 64, "%s", i->g.name);
			return out;
		}
	snprintf(out, 64, "number %" PRIu32, id);
	return out;
}

/* One round. VMS_E_DISCONNECTED: a primary did not answer; VMS_E_AGAIN: it has just
 * started, so does not know all of them yet. */
static int sessions(struct tool *t, struct nodes *ns, uint32_t gateway, unsigned *live,
		    struct vms_errmsg *msg)
{
	int rc = nodes_leaders(t, ns, msg);

	*live = 0;
	if (rc)
		return rc;
	nodes_ask(t, ns, "sessions", NULL, ASK_MS_MAX);
	for (unsigned i = 0; i < ns->n; i++) {
		const struct tool_peer *p = &ns->p[i];
		json_t *s;
		size_t k;

		/* pages and ops of partitions that others lead by now are void */
		if (!ns->lead[i].leads && p->status && !p->up)
			continue;
		if (!json_is_array(p->answer))
			return vms_fail(msg,
					p->status == VMS_E_AGAIN ? VMS_E_AGAIN
					: p->up			 ? VMS_E_PROTO
								 : VMS_E_DISCONNECTED,
					"storage node %s (%s): %.150s", p->name, p->address,
					p->status ? p->why : "its list of sessions is unreadable");
		json_array_foreach (p->answer, k, s)
			*live += (uint64_t)json_integer_value(json_object_get(s, "gateway")) ==
					 gateway &&
				 json_is_true(json_object_get(s, "live"));
	}
	return 0;
}

int gateway_sessions(struct tool *t, struct nodes *ns, uint32_t gateway, uint32_t try_ms,
		     unsigned *live, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();
	int rc;

	/* one that does not answer leads nothing any more in a moment */
	while (((rc = sessions(t, ns, gateway, live, msg)) == VMS_E_DISCONNECTED ||
		rc == VMS_E_AGAIN) &&
	       vms_clock_ms() - t0 < try_ms && !tool_interrupted())
		for (unsigned i = 0; i < 5; i++)
			tool_wait(t, 20);
	return rc;
}

/* Raises the incarnation in the catalog above the one that is to be shut out; *next:
 * what it is then; *ours: it was raised here, nobody was faster. */
static int claim(struct tool *t, uint32_t gateway, uint64_t incarnation, uint64_t *next, bool *ours,
		 struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	int rc = 0;

	vms_cat_key_gateway(key, gateway);
	*next = incarnation + 1;
	*ours = false;
	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct vms_cat_cmp cmp = {key, 0};
		struct vms_cat_op op = {key, NULL, 0};
		struct vms_cat_gateway g;
		struct vms_cat_kv c;
		struct tool_kvs kv;

		rc = tool_get(t, key, &kv, msg);
		if (rc || !kv.n) { /* no record: nothing can register as it again */
			tool_kvs_free(&kv);
			return rc;
		}
		c = tool_cat_kv(&kv.d[0]);
		rc = vms_cat_gateway_decode(&c, &g, msg);
		cmp.mod_revision = c.mod_revision;
		tool_kvs_free(&kv);
		if (rc)
			return rc;
		if (g.incarnation > incarnation) {
			*next = g.incarnation;
			return 0;
		}
		g.incarnation = *next;
		op.val = vms_cat_gateway_encode(&g);
		rc = tool_txn(t, &cmp, 1, &op, 1, msg);
		free((char *)op.val);
		if (!tool_txn_again(rc)) {
			*ours = !rc;
			return rc;
		}
	}
	return rc;
}

/* Deletes what processes of the gateway below `incarnation` registered under prefix. */
static int forget(struct tool *t, const char *prefix, uint32_t gateway, uint64_t incarnation,
		  struct vms_errmsg *msg)
{
	bool ack = !strcmp(prefix, "ack/");
	struct tool_kvs kv;
	int rc = tool_range(t, prefix, &kv, msg);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_cmp cmp = {c.key, c.mod_revision};
		struct vms_cat_op op = {c.key, NULL, 0};
		struct vms_cat_open o = {0};
		struct vms_cat_ack a = {0};

		if (ack ? vms_cat_ack_decode(&c, &a, NULL) : vms_cat_open_decode(&c, &o, NULL))
			continue;
		if ((ack ? a.gateway : o.gateway) != gateway ||
		    (ack ? a.incarnation : o.incarnation) >= incarnation)
			continue;
		rc = tool_txn(t, &cmp, 1, &op, 1, msg);
		if (rc == VMS_E_CONFLICT)
			rc = 0; /* somebody else did it */
	}
	tool_kvs_free(&kv);
	return rc;
}

/* A process that a node still heard of when it was shut out may serve pages of its cache until
 * its lease has run out; 1 % for drifting clocks (as target/gw_fence.c). */
static int lease_wait(struct tool *t, struct vms_errmsg *msg)
{
	struct vms_cat_cluster cl;
	struct vms_timing tm;
	struct tool_kvs kv;
	uint64_t until;
	int rc = tool_get(t, "cluster", &kv, msg);

	if (!rc && !kv.n)
		rc = vms_fail(msg, VMS_E_NOENT, "the catalog has no cluster");
	if (!rc) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		rc = vms_cat_cluster_decode(&c, &cl, msg);
	}
	tool_kvs_free(&kv);
	if (rc)
		return rc;
	tm = vms_timing_default(cl.timing_factor);
	for (until = vms_clock_ms() + tm.lease_ms + tm.lease_ms / 50 + 2; vms_clock_ms() < until;)
		tool_wait(t, (uint32_t)(until - vms_clock_ms()));
	return 0;
}

/* *ours, *next: as of claim(). */
static int fence(struct tool *t, struct nodes *ns, uint32_t gateway, uint64_t incarnation,
		 bool skip_down, uint64_t *next, bool *ours, struct vms_errmsg *msg)
{
	uint64_t lives = 0; /* one that was away when it was asked for may have come back */
	const struct nodes_want want = {
		.timeout_ms = NODE_MS_MAX, .skip_down = skip_down, .all_up = true, .aux = &lives};
	static const char *const prefixes[] = {"open/", "snapopen/", "ack/"};
	struct vms_msg m = {.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE, .aux = gateway};
	int rc = claim(t, gateway, incarnation, next, ours, msg);

	m.incarnation = *next;
	/* Nothing of it counts as closed before no node takes its ops. */
	if (!rc)
		rc = nodes_send(t, ns, &m, &want, msg);
	if (!rc && lives)
		rc = lease_wait(t, msg);
	for (unsigned i = 0; !rc && i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		rc = forget(t, prefixes[i], gateway, m.incarnation, msg);
	return rc;
}

int gateway_fence(struct tool *t, struct nodes *ns, uint32_t gateway, uint64_t incarnation,
		  bool skip_down, struct vms_errmsg *msg)
{
	uint64_t next;
	bool ours;

	return fence(t, ns, gateway, incarnation, skip_down, &next, &ours, msg);
}

/* The record as it is now; VMS_E_NOENT: there is none. */
static int reload(struct tool *t, struct gateway_info *g, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct tool_kvs kv;
	int rc;

	vms_cat_key_gateway(key, g->g.id);
	rc = tool_get(t, key, &kv, msg);
	if (!rc && !kv.n)
		rc = VMS_E_NOENT;
	if (!rc) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		g->mod_revision = c.mod_revision;
		rc = vms_cat_gateway_decode(&c, &g->g, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

/* The record goes as the fence left it: a gateway that has been started since has a
 * higher incarnation, lives, and keeps it (VMS_E_CONFLICT). */
static int record_delete(struct tool *t, const struct gateway_info *fenced, uint64_t next,
			 struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX], drain[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op[2] = {{key, NULL, 0}, {drain, NULL, 0}};
	struct vms_cat_cmp cmp = {key, 0};
	struct gateway_info now = *fenced;
	unsigned tries = 0;
	int rc;

	vms_cat_key_gateway(key, now.g.id);
	vms_cat_key_gwdrain(drain, now.g.id);
	do {
		rc = reload(t, &now, msg);
		if (rc == VMS_E_NOENT)
			return 0; /* by us, though the answer was lost, or by somebody else */
		if (!rc && now.g.incarnation != next)
			return VMS_E_CONFLICT;
		cmp.mod_revision = now.mod_revision;
		if (!rc)
			rc = tool_txn(t, &cmp, 1, op, 2, msg);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

int gateway_forget(struct tool *t, const struct gateway_info *g, bool force, bool *kept,
		   struct vms_errmsg *msg)
{
	struct nodes ns;
	unsigned live = 0;
	uint64_t next = 0;
	bool ours = false;
	int rc = nodes_open(t, &ns, msg);

	*kept = false;
	if (!rc && !force)
		rc = gateway_sessions(t, &ns, g->g.id, NODE_MS_MAX, &live, msg);
	if (!rc && live)
		rc = vms_fail(msg, VMS_E_BUSY,
			      "gateway '%s' lives: %u of %u storage nodes have a session of it; "
			      "--force shuts it out all the same",
			      g->g.name, live, ns.n);
	if (!rc)
		rc = fence(t, &ns, g->g.id, g->g.incarnation, force, &next, &ours, msg);
	for (unsigned i = 0; i < ns.n; i++)
		*kept |= ns.p[i].status != 0;
	/* A node that is down reads from the record, when it starts, whom to shut out. */
	if (!rc && !*kept) {
		rc = ours ? record_delete(t, g, next, msg) : VMS_E_CONFLICT;
		if (rc == VMS_E_CONFLICT)
			vms_fail(
				msg, rc,
				"gateway '%s' has been started meanwhile, or somebody else forgets "
				"it too: it stays on the list; look (vmstore gateway ls), and "
				"repeat",
				g->g.name);
	}
	nodes_close(t, &ns);
	return rc;
}
