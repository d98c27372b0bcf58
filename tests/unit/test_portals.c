// SPDX-License-Identifier: GPL-2.0-only
/* The gateways as initiators are told of them: discovery, loads, redirection, drains. */
#include "target/portals.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"

#define T "iqn.2026-01.org.example:t"

static struct vms_portals *p;
static uint64_t clock_ms;
static unsigned opens, renews, closes;
static int session_status;

/* ---- the fake's catalog, with sessions ---- */

struct session_call {
	vms_cat_done_fn fn;
	void *arg;
	uint64_t session;
};
static struct session_call waiting[8];
static unsigned nwaiting;

static void session_call(vms_cat_done_fn fn, void *arg, uint64_t session)
{
	vms_assert(nwaiting < 8);
	waiting[nwaiting++] = (struct session_call){fn, arg, session};
}

static void s_open(struct vms_catalog *c, uint32_t ttl_ms, vms_cat_done_fn done, void *arg)
{
	session_call(done, arg, ++opens);
}

static void s_renew(struct vms_catalog *c, uint64_t s, vms_cat_done_fn done, void *arg)
{
	renews++;
	session_call(done, arg, s);
}

static void s_close(struct vms_catalog *c, uint64_t s, vms_cat_done_fn done, void *arg)
{
	closes++;
}

static struct vms_catalog_ops ops;

static void run(void)
{
	for (unsigned i = 0; i < 20; i++) {
		while (f.ncall)
			f_call_run();
		for (unsigned n = nwaiting; n; n--) {
			struct session_call c = waiting[0];
			struct vms_cat_reply r = {.status = session_status, .session = c.session};

			memmove(waiting, waiting + 1, --nwaiting * sizeof(c));
			c.fn(c.arg, &r);
		}
	}
}

static void tick(uint64_t ms, uint32_t id, const char *portals)
{
	for (uint64_t end = clock_ms + ms; clock_ms < end;) {
		clock_ms += 100;
		vms_portals_timer(p, id, portals, clock_ms);
		run();
	}
}

static void gateway(uint32_t id, const char *portals)
{
	struct vms_cat_gateway g = {.id = id, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(g.name, sizeof(g.name), "gw%u", id);
	snprintf(g.portals, sizeof(g.portals), "%s", portals);
	vms_cat_key_gateway(key, id);
	f_put_free(key, vms_cat_gateway_encode(&g));
	run();
}

static void load(uint32_t id, uint32_t sessions, const char *who)
{
	struct vms_cat_gwload l = {.gateway = id, .sessions = sessions};
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_gwload(key, id);
	f_put_free(key, who ? vms_cat_gwload_encode(&l, who) : NULL);
	run();
}

static void drain(uint32_t id, bool on)
{
	struct vms_cat_gwdrain d = {.gateway = id, .seconds = 7};
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_gwdrain(key, id);
	f_put_free(key, on ? vms_cat_gwdrain_encode(&d) : NULL);
	run();
}

static void start(void)
{
	p = vms_portals_open(&f.cat, clock_ms);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT(!vms_portals_loaded(p));
	run();
	CU_ASSERT(vms_portals_loaded(p));
}

static void begin(void)
{
	memset(&f, 0, sizeof(f));
	ops = f_ops;
	ops.session_open = s_open;
	ops.session_renew = s_renew;
	ops.session_close = s_close;
	f.cat.ops = &ops;
	nwaiting = opens = renews = closes = 0;
	session_status = 0;
	clock_ms = 1000;
	gateway(1, "10.0.0.1:3260");
	start();
	tick(3000, 1, "10.0.0.1:3260");
}

static void end(void)
{
	vms_portals_close(p);
	run();
	for (unsigned i = 0; i < f.nkv; i++)
		free(f.kv[i].val);
}

static const char *listed(void)
{
	static char all[400];
	char one[VMS_PORTAL_TEXT_MAX];

	all[0] = 0;
	for (unsigned i = 0; vms_portals_at(p, i, one); i++) {
		strcat(all, i ? " " : "");
		strcat(all, one);
	}
	return all;
}

static const char *at(uint32_t id)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct f_kv *k;

	vms_cat_key_gwload(key, id);
	k = f_kv_find(key);
	return k && k->val ? k->val : "";
}

static char to[VMS_PORTAL_TEXT_MAX];

static uint64_t ticket;

static enum vms_login_to login(const char *initiator, unsigned port, bool spread)
{
	struct vms_login l = {
		.who = vms_portals_who(initiator, T), .everywhere = true, .spread = spread};

	enum vms_login_to r;

	l.port = l.who + port;
	to[0] = 0;
	r = vms_portals_login(p, &l, to);
	ticket = l.ticket;
	return r;
}

static void discovery(void)
{
	struct vms_cat_gateway rec;
	struct vms_errmsg msg;
	struct f_kv *k;
	struct vms_cat_kv kv;

	begin();
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1");
	/* one joins, with two addresses; a tool is no portal */
	gateway(2, "10.0.0.2:3260 [2001:db8::2]:3260");
	gateway(3, "");
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1 10.0.0.2:3260,2 [2001:db8::2]:3260,2");
	/* ours are told to the others: in the record, whose rest stays */
	tick(2000, 1, "10.0.0.1:3260 10.9.0.1:3260");
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1 10.9.0.1:3260,1 10.0.0.2:3260,2 "
					 "[2001:db8::2]:3260,2");
	k = f_kv_find("gateway/00000001");
	kv = (struct vms_cat_kv){.key = k->key, .val = k->val};
	CU_ASSERT_EQUAL(vms_cat_gateway_decode(&kv, &rec, &msg), 0);
	CU_ASSERT_STRING_EQUAL(rec.name, "gw1");
	/* one that has run and runs no more stays for a while, and is back at once */
	load(2, 0, "");
	tick(VMS_PORTALS_KEEP_MS + 1000, 1, "10.0.0.1:3260");
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1 10.0.0.2:3260,2 [2001:db8::2]:3260,2");
	load(2, 0, NULL);
	tick(VMS_PORTALS_KEEP_MS - 1000, 1, "10.0.0.1:3260");
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1 10.0.0.2:3260,2 [2001:db8::2]:3260,2");
	tick(2000, 1, "10.0.0.1:3260");
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1");
	load(2, 0, "");
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1 10.0.0.2:3260,2 [2001:db8::2]:3260,2");
	/* forgotten */
	f_put("gateway/00000002", NULL);
	run();
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1");
	/* nonsense is not listed */
	f_put("gateway/00000002", "{}");
	f_put("gateway/zz", "{}");
	f_put("gwload/00000005", "[]");
	run();
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1");
	end();
}

/* Who has sessions at a target on other gateways. */
static void elsewhere(void)
{
	char who[64], names[64];

	begin();
	gateway(2, "10.0.0.2:3260");
	gateway(3, "10.0.0.3:3260");
	snprintf(who, sizeof(who), "%012llx%012llx%012llx",
		 (unsigned long long)vms_portals_who("iqn.a", T),
		 (unsigned long long)vms_portals_who("iqn.b", "iqn.another"),
		 (unsigned long long)vms_portals_who("iqn.b", T));
	load(2, 3, who);
	load(3, 1, who + 24);
	vms_portals_session(p, vms_portals_who("iqn.a", "iqn.here"), true);
	tick(1500, 1, "10.0.0.1:3260");
	CU_ASSERT_EQUAL(vms_portals_elsewhere(p, T, names, sizeof(names)), 3);
	CU_ASSERT_STRING_EQUAL(names, "gw2, gw3");
	CU_ASSERT_EQUAL(vms_portals_elsewhere(p, "iqn.another", names, sizeof(names)), 1);
	CU_ASSERT_STRING_EQUAL(names, "gw2");
	/* what is here is not elsewhere */
	CU_ASSERT_EQUAL(vms_portals_elsewhere(p, "iqn.here", names, sizeof(names)), 0);
	CU_ASSERT_STRING_EQUAL(names, "");
	CU_ASSERT_EQUAL(vms_portals_elsewhere(p, T, names, 5), 3);
	CU_ASSERT_STRING_EQUAL(names, "gw2,");
	/* one that is gone has none */
	load(2, 0, NULL);
	CU_ASSERT_EQUAL(vms_portals_elsewhere(p, T, names, sizeof(names)), 1);
	CU_ASSERT_STRING_EQUAL(names, "gw3");
	vms_portals_session(p, vms_portals_who("iqn.a", "iqn.here"), false);
	end();
}

static void own_load(void)
{
	uint64_t a = vms_portals_who("iqn.a", T);
	char want[100];

	begin();
	CU_ASSERT_EQUAL(opens, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), "\"sessions\":0"));
	vms_portals_session(p, a, true);
	vms_portals_session(p, a, true);
	tick(1500, 1, "10.0.0.1:3260");
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), "\"sessions\":2"));
	snprintf(want, sizeof(want), "\"who\":\"%012llx%012llx\"", (unsigned long long)a,
		 (unsigned long long)a);
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), want));
	vms_portals_session(p, a, false);
	tick(1500, 1, "10.0.0.1:3260");
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), "\"sessions\":1"));
	CU_ASSERT_EQUAL(opens, 1);
	CU_ASSERT(renews >= 1);
	/* its catalog session has ended: another one, and it is told again */
	f_put("gwload/00000001", NULL);
	session_status = VMS_E_NOENT;
	tick(3500, 1, "10.0.0.1:3260");
	session_status = 0;
	tick(2000, 1, "10.0.0.1:3260");
	CU_ASSERT(opens > 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), "\"sessions\":1"));
	/* the catalog is away and comes back: nothing is lost, all is told */
	f.cat_down = true;
	vms_portals_session(p, a, false);
	session_status = VMS_E_TIMEOUT;
	tick(8000, 1, "10.0.0.1:3260");
	f_cat_up();
	session_status = 0;
	tick(3000, 1, "10.0.0.1:3260");
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), "\"sessions\":0"));
	end();
	CU_ASSERT_EQUAL(closes, 1);
}

static void spread(void)
{
	char who[16];

	begin();
	gateway(2, "10.0.0.2:3260");
	gateway(3, "10.0.0.3:3260");
	load(2, 2, "");
	load(3, 4, "");
	for (unsigned i = 0; i < 5; i++)
		vms_portals_session(p, i, true);
	/* without the policy, and for a target of this gateway alone, all stay */
	CU_ASSERT_EQUAL(login("iqn.a", 1, false), VMS_LOGIN_HERE);
	CU_ASSERT_EQUAL(vms_portals_login(p, &(struct vms_login){.who = 9, .spread = true}, to),
			VMS_LOGIN_HERE);
	/* to the one with the least, until it is no better */
	CU_ASSERT_EQUAL(login("iqn.a", 1, true), VMS_LOGIN_THERE);
	CU_ASSERT_STRING_EQUAL(to, "10.0.0.2:3260");
	CU_ASSERT_EQUAL(login("iqn.b", 1, true), VMS_LOGIN_THERE);
	CU_ASSERT_STRING_EQUAL(to, "10.0.0.2:3260");
	/* 2 and 3 have 4 now, this one 5 */
	CU_ASSERT_EQUAL(login("iqn.c", 1, true), VMS_LOGIN_THERE);
	CU_ASSERT_EQUAL(login("iqn.d", 1, true), VMS_LOGIN_THERE);
	CU_ASSERT_EQUAL(login("iqn.e", 1, true), VMS_LOGIN_HERE);
	/* one that comes back is taken; later it may be sent again */
	load(2, 0, "");
	CU_ASSERT_EQUAL(login("iqn.a", 1, true), VMS_LOGIN_HERE);
	CU_ASSERT_EQUAL(login("iqn.a", 2, true), VMS_LOGIN_THERE);
	tick(61000, 1, "10.0.0.1:3260");
	CU_ASSERT_EQUAL(login("iqn.a", 1, true), VMS_LOGIN_THERE);
	/* a dead one, one without portals and one that is drained are no choice */
	load(2, 0, NULL);
	gateway(3, "");
	CU_ASSERT_EQUAL(login("iqn.f", 1, true), VMS_LOGIN_HERE);
	gateway(3, "10.0.0.3:3260");
	load(3, 0, "");
	drain(3, true);
	CU_ASSERT_EQUAL(login("iqn.f", 1, true), VMS_LOGIN_HERE);
	drain(3, false);
	CU_ASSERT_EQUAL(login("iqn.f", 1, true), VMS_LOGIN_THERE);
	CU_ASSERT_STRING_EQUAL(to, "10.0.0.3:3260");
	/* paths of one initiator go to different gateways */
	snprintf(who, sizeof(who), "%012llx", (unsigned long long)vms_portals_who("iqn.g", T));
	load(3, 0, who);
	CU_ASSERT_EQUAL(login("iqn.g", 1, true), VMS_LOGIN_HERE);
	vms_portals_session(p, vms_portals_who("iqn.h", T), true);
	load(3, 90, "");
	CU_ASSERT_EQUAL(login("iqn.h", 2, true), VMS_LOGIN_THERE);
	/* when there are many, a difference that old figures make moves nobody: 16 here */
	for (unsigned i = 0; i < 10; i++)
		vms_portals_session(p, 1000 + i, true);
	load(3, 14, "");
	CU_ASSERT_EQUAL(login("iqn.i", 1, true), VMS_LOGIN_HERE);
	load(3, 13, "");
	CU_ASSERT_EQUAL(login("iqn.i", 1, true), VMS_LOGIN_THERE);
	end();
}

/* 100 logins come to two gateways at once, each with old figures of the other. */
static void storm(void)
{
	unsigned here = 0, there = 0;

	begin();
	gateway(2, "10.0.0.2:3260");
	load(2, 0, "");
	for (unsigned i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "iqn.%u", i);
		if (login(name, 1, true) == VMS_LOGIN_HERE) {
			vms_portals_session(p, vms_portals_who(name, T), true);
			here++;
		} else {
			there++;
		}
	}
	CU_ASSERT(there > 35 && here > 35);
	end();
}

/* Where a login lands it stays: the others know before the initiator does. */
static void landing(void)
{
	struct vms_cat_kv kv;
	struct f_kv *k;
	char *ports, want[16];

	begin();
	gateway(2, "10.0.0.2:3260");
	load(2, 0, "");
	for (unsigned i = 0; i < 5; i++)
		vms_portals_session(p, i, true);
	CU_ASSERT_EQUAL(login("iqn.a", 1, true), VMS_LOGIN_THERE);
	CU_ASSERT(ticket > vms_portals_told(p));
	CU_ASSERT_EQUAL(login("iqn.b", 1, true), VMS_LOGIN_THERE);
	tick(100, 1, "10.0.0.1:3260");
	CU_ASSERT_EQUAL(ticket, vms_portals_told(p));
	k = f_kv_find("gwsent/00000001");
	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	kv = (struct vms_cat_kv){.key = k->key, .val = k->val};
	CU_ASSERT_EQUAL(vms_cat_gwsent_decode(&kv, &ports, NULL), 0);
	CU_ASSERT_EQUAL(strlen(ports), 24);
	free(ports);
	/* the other side of it: one that gateway 2 has sent here stays, for some time */
	load(2, 0, "");
	snprintf(want, sizeof(want), "%012llx",
		 (unsigned long long)(vms_portals_who("iqn.c", T) + 1));
	f_put_free("gwsent/00000002", vms_cat_gwsent_encode(2, want));
	run();
	CU_ASSERT_EQUAL(login("iqn.c", 1, true), VMS_LOGIN_HERE);
	CU_ASSERT_EQUAL(login("iqn.c", 2, true), VMS_LOGIN_THERE);
	tick(11000, 1, "10.0.0.1:3260");
	CU_ASSERT_EQUAL(login("iqn.c", 1, true), VMS_LOGIN_THERE);
	tick(100, 1, "10.0.0.1:3260");
	/* what is told is what has been sent lately */
	k = f_kv_find("gwsent/00000001");
	kv = (struct vms_cat_kv){.key = k->key, .val = k->val};
	CU_ASSERT_EQUAL(vms_cat_gwsent_decode(&kv, &ports, NULL), 0);
	CU_ASSERT_STRING_EQUAL(ports, want);
	free(ports);
	/* the catalog does not answer: nobody is held for long */
	f.cat_down = true;
	CU_ASSERT_EQUAL(login("iqn.d", 1, true), VMS_LOGIN_THERE);
	vms_portals_timer(p, 1, "10.0.0.1:3260", clock_ms);
	clock_ms += 900;
	vms_portals_timer(p, 1, "10.0.0.1:3260", clock_ms);
	CU_ASSERT(ticket > vms_portals_told(p));
	clock_ms += 200;
	vms_portals_timer(p, 1, "10.0.0.1:3260", clock_ms);
	CU_ASSERT_EQUAL(ticket, vms_portals_told(p));
	/* and nobody is sent on for the present */
	CU_ASSERT_EQUAL(login("iqn.e", 1, true), VMS_LOGIN_HERE);
	f_cat_up();
	tick(6000, 1, "10.0.0.1:3260");
	CU_ASSERT_EQUAL(login("iqn.e", 1, true), VMS_LOGIN_THERE);
	end();
}

static void drained(void)
{
	uint32_t seconds = 0;
	char who[16];

	begin();
	gateway(2, "10.0.0.2:3260");
	load(2, 50, "");
	CU_ASSERT(!vms_portals_draining(p, &seconds));
	drain(1, true);
	CU_ASSERT(vms_portals_draining(p, &seconds));
	CU_ASSERT_EQUAL(seconds, 7);
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.2:3260,2");
	tick(1500, 1, "10.0.0.1:3260");
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), "\"draining\":true"));
	/* whatever the policy and however busy, again and again */
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(login("iqn.a", 1, false), VMS_LOGIN_THERE);
		CU_ASSERT_STRING_EQUAL(to, "10.0.0.2:3260");
	}
	/* one that has a path there keeps that, and only that */
	snprintf(who, sizeof(who), "%012llx", (unsigned long long)vms_portals_who("iqn.a", T));
	load(2, 50, who);
	CU_ASSERT_EQUAL(login("iqn.a", 1, false), VMS_LOGIN_NOWHERE);
	CU_ASSERT_PTR_NOT_NULL(strstr(to, "another path"));
	CU_ASSERT_EQUAL(login("iqn.b", 1, false), VMS_LOGIN_THERE);
	/* a target of this gateway alone; nobody else */
	CU_ASSERT_EQUAL(vms_portals_login(p, &(struct vms_login){.who = 9}, to), VMS_LOGIN_NOWHERE);
	load(2, 0, NULL);
	CU_ASSERT_EQUAL(login("iqn.b", 1, false), VMS_LOGIN_NOWHERE);
	/* it is known when the gateway starts anew, before anybody comes */
	vms_portals_close(p);
	run();
	start();
	vms_portals_timer(p, 1, "10.0.0.1:3260", clock_ms);
	CU_ASSERT(vms_portals_draining(p, &seconds));
	/* a record that nobody can read drains as well */
	drain(1, false);
	CU_ASSERT(!vms_portals_draining(p, &seconds));
	f_put("gwdrain/00000001", "{}");
	run();
	CU_ASSERT(vms_portals_draining(p, &seconds));
	drain(1, false);
	tick(1500, 1, "10.0.0.1:3260");
	CU_ASSERT_PTR_NOT_NULL(strstr(at(1), "\"draining\":false"));
	CU_ASSERT_EQUAL(login("iqn.b", 1, false), VMS_LOGIN_HERE);
	end();
}

/* A watch breaks; what was deleted meanwhile is gone after the new load. */
static void reload(void)
{
	uint32_t seconds;

	begin();
	gateway(2, "10.0.0.2:3260");
	load(2, 0, "");
	drain(1, true);
	f.quiet = true;
	drain(1, false);
	f_put("gateway/00000002", NULL);
	gateway(4, "10.0.0.4:3260");
	f.quiet = false;
	CU_ASSERT(vms_portals_draining(p, &seconds));
	for (unsigned i = 0; i < f.nwatch; i++)
		if (f.watch[i].fn) {
			struct vms_cat_reply r = {.status = VMS_E_GONE};
			vms_cat_done_fn fn = f.watch[i].fn;

			f.watch[i].fn = NULL;
			fn(f.watch[i].arg, &r);
		}
	tick(2000, 1, "10.0.0.1:3260");
	CU_ASSERT(!vms_portals_draining(p, &seconds));
	CU_ASSERT_STRING_EQUAL(listed(), "10.0.0.1:3260,1 10.0.0.4:3260,4");
	/* and the new watches are there */
	gateway(2, "10.0.0.2:3260");
	CU_ASSERT_PTR_NOT_NULL(strstr(listed(), "10.0.0.2:3260,2"));
	end();
}

/* Of several portals the one in the same network. */
static void networks(void)
{
	struct vms_login l = {.who = 1, .everywhere = true, .spread = true};

	begin();
	gateway(2, "10.1.0.2:3260 10.2.0.2:3260 [2001:db8:1::2]:3260 [2001:db8:2::2]:3260 "
		   "gw2.example:3260");
	load(2, 0, "");
	drain(1, true);
	l.at = "10.2.0.1:3260";
	CU_ASSERT_EQUAL(vms_portals_login(p, &l, to), VMS_LOGIN_THERE);
	CU_ASSERT_STRING_EQUAL(to, "10.2.0.2:3260");
	l.at = "[2001:db8:2::1]:3260";
	(void)vms_portals_login(p, &l, to);
	CU_ASSERT_STRING_EQUAL(to, "[2001:db8:2::2]:3260");
	l.at = "[2001:db8:1::1]:3260";
	(void)vms_portals_login(p, &l, to);
	CU_ASSERT_STRING_EQUAL(to, "[2001:db8:1::2]:3260");
	l.at = NULL;
	(void)vms_portals_login(p, &l, to);
	CU_ASSERT_STRING_EQUAL(to, "10.1.0.2:3260");
	l.at = "nonsense";
	(void)vms_portals_login(p, &l, to);
	CU_ASSERT_STRING_EQUAL(to, "10.1.0.2:3260");
	end();
}

static void lists(void)
{
	char list[64] = "";

	CU_ASSERT_TRUE(vms_portals_list_add(list, sizeof(list), "110.0.0.1:3260"));
	CU_ASSERT_TRUE(vms_portals_list_add(list, sizeof(list), "10.0.0.1:3260"));
	CU_ASSERT_TRUE(vms_portals_list_add(list, sizeof(list), "10.0.0.1:3260"));
	CU_ASSERT_TRUE(vms_portals_list_add(list, sizeof(list), "0.0.1:3260"));
	CU_ASSERT_TRUE(vms_portals_list_add(list, sizeof(list), "110.0.0.1:3260"));
	CU_ASSERT_STRING_EQUAL(list, "110.0.0.1:3260 10.0.0.1:3260 0.0.1:3260");
	CU_ASSERT_FALSE(vms_portals_list_add(list, sizeof(list), "[2001:db8::1]:65535 12345"));
	CU_ASSERT_STRING_EQUAL(list, "110.0.0.1:3260 10.0.0.1:3260 0.0.1:3260");
}

static const struct vms_test tests[] = {
	VMS_TEST(lists),  VMS_TEST(networks),  VMS_TEST(discovery), VMS_TEST(own_load),
	VMS_TEST(spread), VMS_TEST(storm),     VMS_TEST(landing),   VMS_TEST(drained),
	VMS_TEST(reload), VMS_TEST(elsewhere),
};
VMS_TEST_MAIN("portals", tests)
