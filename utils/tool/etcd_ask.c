// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/etcd_ask.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* The calls end by themselves; this only keeps a defect from holding up a command. */
#define WAIT_MS (2 * VMS_ETCD_MEMBERS_MS)

struct asking {
	struct vms_etcd_members *m;
	bool all;
};

static void on_event(void *arg, const struct vms_etcd_event *ev)
{
	struct asking *a = arg;

	a->all = vms_etcd_members_event(a->m, ev);
}

void etcd_ask(struct tool *t, struct etcd_look *e)
{
	const struct vms_conf_addrs *list = &t->set.cluster.catalog;
	struct vms_etcd_tls tls = {t->set.cluster.catalog_ca, t->set.cluster.catalog_cert,
				   t->set.cluster.catalog_key};
	const char *address[VMS_ETCD_ENDPOINTS_MAX];
	struct asking a = {.m = &e->m};
	struct vms_etcd_thread *http;
	struct vms_etcd_sink sink;
	uint64_t t0 = vms_clock_ms(), ms;

	memset(e, 0, sizeof(*e));
	if (!list->scheme || !list->n || list->n > VMS_ETCD_ENDPOINTS_MAX)
		return;
	for (unsigned i = 0; i < list->n; i++)
		address[i] = vms_conf_addr_format(&list->a[i], e->address[i]);
	if (vms_etcd_thread_new(&http, address, list->n, &tls, &e->why))
		return;
	sink = vms_etcd_thread_sink(http);
	vms_etcd_members_ask(&e->m, list->n, &sink);
	while (!a.all && (ms = vms_clock_ms() - t0) < WAIT_MS) {
		struct pollfd p = {vms_etcd_thread_fd(http), POLLIN, 0};

		if (poll(&p, 1, (int)(WAIT_MS - ms)) > 0)
			vms_etcd_thread_events(http, on_event, &a);
	}
	vms_etcd_thread_free(http);
}

bool etcd_well(const struct etcd_look *e)
{
	bool well = !e->m.nalarms && !e->why.text[0];

	for (unsigned i = 0; i < e->m.n; i++)
		well &= e->m.m[i].up && e->m.m[i].leader;
	return well;
}

const char *etcd_member_text(const struct etcd_look *e, unsigned i, char out[256])
{
	const struct vms_etcd_member *x = &e->m.m[i];

	*out = 0;
	if (!x->up)
		snprintf(out, 256, "does not answer (%s)", x->why[0] ? x->why : "no answer");
	else if (!x->leader)
		snprintf(out, 256, "runs, but has no leader: it does not reach a majority");
	return out;
}

const char *etcd_alarm_member(const struct etcd_look *e, unsigned i, char out[96])
{
	unsigned k = vms_etcd_members_find(&e->m, e->m.alarm[i].id);

	if (k < e->m.n)
		return e->address[k];
	snprintf(out, 96, "%" PRIx64, e->m.alarm[i].id);
	return out;
}

const char *etcd_alarm_word(enum vms_etcd_alarm_kind kind)
{
	switch (kind) {
	case VMS_ETCD_NOSPACE:
		return "NOSPACE";
	case VMS_ETCD_CORRUPT:
		return "CORRUPT";
	default:
		return "of a kind unknown here";
	}
}

const char *etcd_spare_text(const struct etcd_look *e, char out[128])
{
	int spare = vms_etcd_members_spare(&e->m);

	if (spare < 0)
		snprintf(out, 128, "without a majority nothing can be changed");
	else if (!spare)
		snprintf(out, 128, "none more may be lost, or nothing can be changed");
	else
		snprintf(out, 128, "%d more may be lost", spare);
	return out;
}

void etcd_print(const struct etcd_look *e, int head)
{
	unsigned up = 0;
	char text[256];

	if (e->why.text[0])
		printf("%-*setcd; its members cannot be asked: %s\n", head, "catalog", e->why.text);
	if (!e->m.n)
		return;
	for (unsigned i = 0; i < e->m.n; i++)
		up += e->m.m[i].up;
	printf("%-*setcd, %u of %u members answer", head, "catalog", up, e->m.n);
	printf("; %s\n", etcd_spare_text(e, text));
	for (unsigned i = 0; i < e->m.n; i++)
		if (*etcd_member_text(e, i, text))
			printf("%*s%s %s\n", head, "", e->address[i], text);
	for (unsigned i = 0; i < e->m.nalarms; i++)
		printf("%*s%s: alarm %s, see vmstore-ring advise\n", head, "",
		       etcd_alarm_member(e, i, text), etcd_alarm_word(e->m.alarm[i].kind));
}

json_t *etcd_json(const struct etcd_look *e)
{
	json_t *members = json_array(), *alarms = json_array();
	char text[96];

	for (unsigned i = 0; i < e->m.n; i++) {
		const struct vms_etcd_member *x = &e->m.m[i];

		snprintf(text, sizeof(text), "%" PRIx64, x->id);
		json_array_append_new(members, json_pack("{ss sb sb ss ss ss}", "address",
							 e->address[i], "up", (int)x->up, "leader",
							 (int)x->leader, "id", x->id ? text : "",
							 "version", x->version, "why", x->why));
	}
	for (unsigned i = 0; i < e->m.nalarms; i++)
		json_array_append_new(alarms,
				      json_pack("{ss ss}", "member", etcd_alarm_member(e, i, text),
						"alarm", etcd_alarm_word(e->m.alarm[i].kind)));
	if (!e->m.n && !e->why.text[0]) {
		json_decref(members);
		json_decref(alarms);
		return json_pack("{ss}", "kind", "embedded");
	}
	return json_pack("{ss si so so}", "kind", "etcd", "may_lose",
			 e->m.n ? vms_etcd_members_spare(&e->m) : -1, "members", members, "alarms",
			 alarms);
}
