// SPDX-License-Identifier: GPL-2.0-only
/* The cluster's gateways, see gateways.h. */
#include "target/gateways.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define RETRY_MS 500u
static const char prefix[] = "gateway/";

struct entry {
	struct vms_cat_gateway gw;
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint64_t rev;
	bool seen;
};

struct vms_gateways {
	struct vms_catalog *cat;
	struct entry *e; /* n of them, by id; only those with a portal */
	unsigned n, room;
	uint64_t watch, rev, now_ms, retry_ms;
	bool loading;
	char after[VMS_CAT_KEY_BYTES_MAX];
};

static struct entry *find(struct vms_gateways *g, const char *key)
{
	for (unsigned i = 0; i < g->n; i++)
		if (!strcmp(g->e[i].key, key))
			return &g->e[i];
	return NULL;
}

static void drop(struct vms_gateways *g, struct entry *e)
{
	unsigned i = (unsigned)(e - g->e);

	memmove(e, e + 1, (g->n - i - 1) * sizeof(*e));
	g->n--;
}

static struct entry *add(struct vms_gateways *g, uint32_t id)
{
	unsigned i = 0;

	if (g->n == g->room) {
		g->room = g->room ? 2 * g->room : 8;
		g->e = realloc(g->e, g->room * sizeof(*g->e));
		vms_assert(g->e);
	}
	while (i < g->n && g->e[i].gw.id < id)
		i++;
	memmove(&g->e[i + 1], &g->e[i], (g->n - i) * sizeof(*g->e));
	memset(&g->e[i], 0, sizeof(g->e[i]));
	g->n++;
	return &g->e[i];
}

static void apply(struct vms_gateways *g, const struct vms_cat_kv *kv)
{
	struct entry *e = find(g, kv->key);
	struct vms_cat_gateway gw;
	struct vms_errmsg msg;

	if (e && e->rev >= kv->mod_revision) {
		e->seen = true;
		return;
	}
	if (kv->val && vms_cat_gateway_decode(kv, &gw, &msg)) {
		/* what cannot be understood is left as it was here */
		vms_error("catalog: %s", msg.text);
		if (e)
			e->seen = true;
		return;
	}
	if (!kv->val || !gw.portal[0]) {
		if (e)
			drop(g, e);
		return;
	}
	if (!e) {
		e = add(g, gw.id);
		strcpy(e->key, kv->key);
	}
	e->gw = gw;
	e->rev = kv->mod_revision;
	e->seen = true;
}

static void event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gateways *g = arg;

	if (r->status) {
		g->cat->ops->unwatch(g->cat, g->watch);
		g->watch = 0;
		g->retry_ms = g->now_ms + RETRY_MS;
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		apply(g, &r->kv[i]);
}

static void got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gateways *g = arg;

	if (r->status) {
		g->loading = false;
		g->retry_ms = g->now_ms + RETRY_MS;
		return;
	}
	if (!g->after[0] || r->revision < g->rev) /* each page may be of another moment */
		g->rev = r->revision;
	for (unsigned i = 0; i < r->nkv; i++)
		apply(g, &r->kv[i]);
	if (r->more && r->nkv) {
		strcpy(g->after, r->kv[r->nkv - 1].key);
		g->cat->ops->range(g->cat, prefix, g->after, got, g);
		return;
	}
	/* what a whole load did not bring is gone */
	for (unsigned i = g->n; i-- > 0;)
		if (!g->e[i].seen)
			drop(g, &g->e[i]);
	g->loading = false;
	g->watch = g->cat->ops->watch(g->cat, prefix, g->rev, event, g);
}

struct vms_gateways *vms_gateways_open(struct vms_catalog *cat, uint64_t now_ms)
{
	struct vms_gateways *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->cat = cat;
	vms_gateways_timer(g, now_ms);
	return g;
}

void vms_gateways_close(struct vms_gateways *g)
{
	if (!g)
		return;
	if (g->watch)
		g->cat->ops->unwatch(g->cat, g->watch);
	g->cat->ops->forget(g->cat, g);
	free(g->e);
	free(g);
}

void vms_gateways_timer(struct vms_gateways *g, uint64_t now_ms)
{
	g->now_ms = now_ms;
	if (g->watch || g->loading || now_ms < g->retry_ms)
		return;
	g->loading = true;
	g->after[0] = 0;
	for (unsigned i = 0; i < g->n; i++)
		g->e[i].seen = false;
	g->cat->ops->range(g->cat, prefix, NULL, got, g);
}

unsigned vms_gateways_count(const struct vms_gateways *g)
{
	return g->n;
}

const struct vms_cat_gateway *vms_gateways_at(const struct vms_gateways *g, unsigned i)
{
	return &g->e[i].gw;
}
