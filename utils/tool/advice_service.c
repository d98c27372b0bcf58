// SPDX-License-Identifier: GPL-2.0-only
/* Risks of what the nodes are reached by: the catalog, and the gateways. */
#include <inttypes.h>
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

#define LINE_MAX 130u /* a command with the longest address */

/* Alarms of one kind hold for all members alike: said once. */
static void alarm_of(const struct etcd_look *e, unsigned i, struct advices *out)
{
	const char *who;
	struct advice *a;
	uint64_t revision = 0;
	char text[96], list[600] = "";
	size_t at = 0;

	for (unsigned k = 0; k < i; k++)
		if (e->m.alarm[k].kind == e->m.alarm[i].kind)
			return;
	for (unsigned k = 0; k < e->m.n; k++) {
		if (e->m.m[k].revision > revision)
			revision = e->m.m[k].revision;
		if (e->m.m[k].up && at + LINE_MAX < sizeof(list))
			at += (size_t)snprintf(list + at, sizeof(list) - at,
					       "%s`etcdctl defrag --endpoints=%s`", at ? ", " : "",
					       e->address[k]);
	}
	who = etcd_alarm_member(e, i, text);
	switch (e->m.alarm[i].kind) {
	case VMS_ETCD_NOSPACE:
		a = advice_add(
			out, ADVICE_NOW,
			"etcd member %s has reached its quota (alarm NOSPACE): nothing can be "
			"changed and no failure is handled; I/O goes on",
			who);
		advice_mend(a,
			    "`etcdctl compact %" PRIu64 "`, then one after the other, the leader "
			    "last: %s; then `etcdctl alarm disarm` (doc/etcd.md)",
			    revision, list);
		break;
	case VMS_ETCD_CORRUPT:
		a = advice_add(
			out, ADVICE_NOW,
			"the data of etcd member %s differs from the others' (alarm CORRUPT): "
			"etcd answers nobody any more; I/O goes on",
			who);
		advice_mend(a,
			    "take it out, empty its folder and let it join again as 'A member is "
			    "lost, or damaged' in doc/etcd.md says: `etcdctl member remove %" PRIx64
			    "`; then `etcdctl alarm disarm`",
			    e->m.alarm[i].id);
		break;
	default:
		a = advice_add(out, ADVICE_NOW, "etcd member %s has raised an alarm", who);
		advice_mend(a, "`etcdctl alarm list` says which");
	}
}

void advice_etcd(const struct etcd_look *e, struct advices *out)
{
	char text[256], spare[128];
	struct advice *a;

	etcd_spare_text(e, spare);
	for (unsigned i = 0; i < e->m.n; i++) {
		if (!*etcd_member_text(e, i, text))
			continue;
		a = advice_add(out, ADVICE_NOW, "etcd member %s %s; %s", e->address[i], text,
			       spare);
		if (e->m.m[i].up)
			advice_mend(
				a, "start the members that are down, and check the network between "
				   "this one and the others; there: `journalctl -u etcd -n 50`");
		else
			advice_mend(
				a, "on its machine: `systemctl start etcd`, `journalctl -u etcd -n "
				   "50`; if it is lost for good see 'A member is lost, or damaged' "
				   "in doc/etcd.md");
	}
	for (unsigned i = 0; i < e->m.nalarms; i++)
		alarm_of(e, i, out);
	if (e->m.n && e->m.n < 3) {
		a = advice_add(
			out, ADVICE_SOON,
			"catalog names %u member%s of etcd: none may be lost, or nothing can "
			"be changed",
			e->m.n, e->m.n == 1 ? "" : "s");
		advice_mend(a,
			    "name all of its members in catalog of every configuration; if there "
			    "are no more: `etcdctl member add NAME --peer-urls=URL` until there "
			    "are three (doc/etcd.md)");
	}
	if (e->why.text[0])
		advice_mend(advice_add(out, ADVICE_NOTE,
				       "which members of etcd run is not known: %s", e->why.text),
			    "`etcdctl endpoint health`");
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
	advice_etcd(&f->l->e, out);
	gateways(&f->l->g, out);
}
