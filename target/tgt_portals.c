// SPDX-License-Identifier: GPL-2.0-only
/*
 * This gateway among the others, see tgt_portals.h.
 *
 * A login that would replace a session of the same initiator port here is never sent
 * on: only this gateway can wait until what the old session has begun is settled
 * (rules, "Nothing late"). While the gateway is being emptied such a login is refused,
 * and sent on when it is repeated after that session has ended.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <jansson.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iscsid.h"
#include "tgtd.h"
#include "target.h"

#include "target/portals.h"
#include "target/tgt_glue.h"
#include "target/tgt_portals.h"
#include "target/tgt_registry.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#undef eprintf
#undef dprintf

#define LOOK_MS	 5000 /* portals and interfaces come and go seldom */
#define LEAVE_MS 100  /* who is to leave is looked for so often */

static struct {
	struct vms_portals *p; /* NULL: no gateway */
	const struct vms_settings *set;
	char portals[VMS_CAT_PORTALS_BYTES_MAX];
	int64_t look_ms, leave_ms;
	bool draining;
	uint32_t seconds; /* if draining */
	unsigned round;	  /* of drains */
	struct tgt_logouts logouts;
	bool warned, many; /* said once */
	uint64_t redirected, refused;
} t;

/* ---- where initiators come to ---- */

static void add(const char *host, bool v6, int port)
{
	char one[VMS_PORTAL_TEXT_MAX];

	snprintf(one, sizeof(one), v6 ? "[%s]:%d" : "%s:%d", host, port);
	if (vms_portals_list_add(t.portals, sizeof(t.portals), one) || t.many)
		return;
	t.many = true;
	vms_warn("portal %s and what comes after it is not told to initiators: there is no room "
		 "for so many",
		 one);
}

/* One that listens on all addresses: those of the interfaces that are up; of the loop
 * back only when there are no others. */
static void add_interfaces(const struct iscsi_portal *p)
{
	struct ifaddrs *list, *a;
	size_t before = strlen(t.portals);

	if (getifaddrs(&list))
		return;
	for (int loop = 0; loop < 2 && strlen(t.portals) == before; loop++)
		for (a = list; a; a = a->ifa_next) {
			char host[NI_MAXHOST];

			if (!a->ifa_addr || a->ifa_addr->sa_family != p->af ||
			    !(a->ifa_flags & IFF_UP) || !(a->ifa_flags & IFF_LOOPBACK) != !loop)
				continue;
			if (getnameinfo(a->ifa_addr,
					p->af == AF_INET6 ? sizeof(struct sockaddr_in6)
							  : sizeof(struct sockaddr_in),
					host, sizeof(host), NULL, 0, NI_NUMERICHOST))
				continue;
			if (!strchr(host, '%')) /* of one link only */
				add(host, p->af == AF_INET6, p->port);
		}
	freeifaddrs(list);
}

static void look_at_portals(void)
{
	struct iscsi_portal *p;

	t.portals[0] = 0;
	if (!vms_registry_active())
		return; /* its targets are its own */
	for (unsigned i = 0; i < t.set->gateway.portals.n; i++) {
		const struct vms_conf_addr *a = &t.set->gateway.portals.a[i];

		add(a->host, strchr(a->host, ':'), a->port);
	}
	if (t.portals[0])
		return;
	list_for_each_entry(p, &iscsi_portals_list, iscsi_portal_siblings)
	{
		if (!strcmp(p->addr, "0.0.0.0") || !strcmp(p->addr, "::"))
			add_interfaces(p);
		else if (!strchr(p->addr, '%'))
			add(p->addr, p->af == AF_INET6, p->port);
	}
}

/* ---- tgt's questions ---- */

/* All portals of all gateways; here among them, unless this gateway is being emptied or
 * has been told its addresses, and there are others. */
static int portal_hook(int tid, const char *here, int nr, char *addr, int len)
{
	char one[VMS_PORTAL_TEXT_MAX];
	bool redirect, ours, all;
	uint32_t seconds;

	ours = t.p && vms_registry_target(tid, &redirect);
	all = ours && (t.set->gateway.portals.n || vms_portals_draining(t.p, &seconds)) &&
	      vms_portals_at(t.p, 0, one);
	if (!all && !nr--) {
		snprintf(addr, (size_t)len, "%s", here);
		return 1;
	}
	for (unsigned i = 0; ours && vms_portals_at(t.p, i, one); i++) {
		if ((!all && !strcmp(one, here)) || nr--)
			continue;
		snprintf(addr, (size_t)len, "%s", one);
		return 1;
	}
	return 0;
}

/* Where a connection has come to, "HOST:PORT"; "": not known. */
static void local_of(struct iscsi_connection *conn, char out[VMS_PORTAL_TEXT_MAX])
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	out[0] = 0;
	if (conn->tp->ep_getsockname(conn, (struct sockaddr *)&ss, &len) ||
	    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	host[strcspn(host, "%")] = 0;
	snprintf(out, VMS_PORTAL_TEXT_MAX, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
		 port);
}

static int login_hook(struct iscsi_connection *conn, char *addr, int len)
{
	char port[ISCSI_NAME_MAX + 32], out[VMS_PORTAL_TEXT_MAX] = "", at[VMS_PORTAL_TEXT_MAX];
	const char *target = tgt_targetname(conn->tid);
	struct vms_login l;
	uint32_t seconds;

	if (!t.p)
		return 0;
	if (session_find_name(conn->tid, conn->initiator, conn->isid)) {
		if (!vms_portals_draining(t.p, &seconds))
			return 0;
		t.refused++;
		return -1;
	}
	snprintf(port, sizeof(port), "%s,%02x%02x%02x%02x%02x%02x", conn->initiator, conn->isid[0],
		 conn->isid[1], conn->isid[2], conn->isid[3], conn->isid[4], conn->isid[5]);
	l.who = vms_portals_who(conn->initiator, target);
	l.port = vms_portals_who(port, target);
	local_of(conn, at);
	l.at = at;
	l.everywhere = vms_registry_target(conn->tid, &l.spread);
	switch (vms_portals_login(t.p, &l, out)) {
	case VMS_LOGIN_HERE:
		return 0;
	case VMS_LOGIN_THERE:
		t.redirected++;
		vms_debug("login of %s to %s: sent to %s", conn->initiator, target, out);
		snprintf(addr, (size_t)len, "%s", out);
		conn->held_as = l.ticket;
		return l.ticket > vms_portals_told(t.p) ? 2 : 1;
	default:
		t.refused++;
		if (!t.warned)
			vms_warn("login of %s to %s refused: %s (more of these are not logged)",
				 conn->initiator, target, out);
		t.warned = true;
		return -1;
	}
}

/* ---- the owner's calls ---- */

bool tgt_portals_open(struct vms_catalog *cat, const struct vms_settings *settings)
{
	memset(&t, 0, sizeof(t));
	if (!cat)
		return true; /* no cluster, no other gateways */
	t.p = vms_portals_open(cat, (uint64_t)tgt_turn_now_ms);
	t.set = settings;
	tgt_portal_hook = portal_hook;
	tgt_login_hook = login_hook;
	return t.p != NULL;
}

/* Initiators hear where to go when the gateway there knows that they come. */
static void work_held(void)
{
	struct iscsi_connection *conn;

	while (!list_empty(&tgt_held_logins)) {
		conn = list_first_entry(&tgt_held_logins, struct iscsi_connection, park_siblings);
		if (t.p && conn->held_as > vms_portals_told(t.p))
			return;
		tgt_login_release(conn);
	}
}

void tgt_portals_close(void)
{
	tgt_portal_hook = NULL;
	tgt_login_hook = NULL;
	vms_portals_close(t.p);
	t.p = NULL;
	work_held();
}

static void work_drain(void)
{
	uint32_t seconds = 0;
	bool draining = vms_portals_draining(t.p, &seconds);

	/* another time counts from now: initiators are asked again */
	if (draining != t.draining || (draining && seconds != t.seconds)) {
		t.draining = draining;
		t.seconds = seconds;
		if (draining) {
			t.round++;
			t.warned = false;
			vms_info("this gateway is being emptied: initiators are asked to log out, "
				 "and closed after %" PRIu32 " s",
				 seconds);
		} else {
			vms_info("this gateway takes initiators again");
		}
	}
	if (!draining || tgt_turn_now_ms < t.leave_ms)
		return;
	t.leave_ms = tgt_turn_now_ms + LEAVE_MS;
	tgt_logout_sessions(t.round, seconds, &t.logouts);
}

void tgt_portals_work(uint32_t id)
{
	if (!t.p)
		return;
	if (tgt_turn_now_ms >= t.look_ms) {
		t.look_ms = tgt_turn_now_ms + LOOK_MS;
		look_at_portals();
	}
	vms_portals_timer(t.p, id, t.portals, (uint64_t)tgt_turn_now_ms);
	work_held();
	work_drain();
}

void tgt_portals_nexus(const struct it_nexus *itn, bool up)
{
	if (t.p)
		vms_portals_session(t.p, vms_portals_who(itn->initiator, itn->nexus_target->name),
				    up);
}

unsigned tgt_portals_elsewhere(const char *target, char *names, size_t room)
{
	names[0] = 0;
	return t.p ? vms_portals_elsewhere(t.p, target, names, room) : 0;
}

bool tgt_portals_loaded(void)
{
	return !t.p || vms_portals_loaded(t.p);
}

json_t *tgt_portals_json(void)
{
	return json_pack("{sb sI sI sI sI}", "portals.draining", t.draining,
			 "portals.logins_redirected", (json_int_t)t.redirected,
			 "portals.logins_refused", (json_int_t)t.refused, "portals.logouts_asked",
			 (json_int_t)t.logouts.asked, "portals.sessions_dropped",
			 (json_int_t)t.logouts.dropped);
}
