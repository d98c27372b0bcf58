// SPDX-License-Identifier: GPL-2.0-only
/* Risks of what the nodes are reached by: the catalog, and the gateways. */
#include <stdio.h>
#include <string.h>

#include "utils/tool/advice_int.h"

static void catalog(const struct advice_facts *f, struct advices *out)
{
	size_t n = f->catalog ? strlen(f->catalog) : 0;
	struct advice *a;

	if (!n)
		return;
	a = advice_add(out, ADVICE_SOON,
		       "the catalog is one process (%s): while it is away I/O goes on, but nothing "
		       "can be changed and no failure is handled",
		       f->catalog);
	advice_mend(a, "run it on etcd (doc/etcd.md): `vmstore-ring move-catalog --to "
		       "etcd:HOST:PORT,HOST:PORT,HOST:PORT`");
	VMS_VEC_FOREACH (&f->l->r.v.nodes, x)
		if (!strncmp(x->n.address, f->catalog, n) && x->n.address[n] == ':') {
			a = advice_add(out, ADVICE_NOTE,
				       "the catalog shares a machine with node %s: both fail "
				       "together",
				       x->n.name);
			advice_mend(a, "run the catalog on a machine of its own, or on etcd");
			break;
		}
}

/* Initiators reach their LUNs through two gateways at least, if all is well. */
static void gateways(const struct gates *g, struct advices *out)
{
	const char *undrain = NULL;
	unsigned serving = 0;
	struct advice *a;

	if (g->why.text[0]) {
		a = advice_add(out, ADVICE_NOTE, "which gateways run is not known: %s",
			       g->why.text);
		advice_mend(a, "`vmstore gateway ls`");
		return;
	}
	for (size_t i = 0; i < g->gws.n; i++) {
		const char *name = g->gws.d[i].g.name;

		if (!g->gws.d[i].g.portal[0])
			continue; /* a tool */
		serving += g->st[i].up && !g->st[i].draining;
		if (g->st[i].draining)
			undrain = undrain ? undrain : name;
		if (g->st[i].up || g->st[i].draining)
			continue;
		a = advice_add(out, ADVICE_SOON,
			       "gateway %s is down: its initiators have one path less", name);
		advice_mend(a,
			    "on its machine: `systemctl start vmstore-gateway`; or, if it is gone "
			    "for good: `vmstore gateway forget %s`",
			    name);
	}
	if (!g->all || serving > 1)
		return;
	a = advice_add(out, ADVICE_SOON, "%s: initiators have no other path",
		       serving ? "one gateway serves them all" : "no gateway takes initiators");
	if (undrain)
		advice_mend(a, "`vmstore gateway undrain %s`", undrain);
	else if (g->all > 1)
		advice_mend(a, "start the others; `vmstore gateway ls` shows them");
	else
		advice_mend(a, "set up another one (doc/operations.md, vmstore.conf(5) [gateway])");
}

void advice_service(const struct advice_facts *f, struct advices *out)
{
	catalog(f, out);
	gateways(&f->l->g, out);
}
