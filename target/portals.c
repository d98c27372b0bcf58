// SPDX-License-Identifier: GPL-2.0-only
/* The gateways of the cluster, for initiators; see portals.h. */
#include "target/portals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define RETRY_MS    500u
#define TTL_MS	    10000u /* of the session under which a load is told */
#define RENEW_MS    3000u
#define WRITE_MS    1000u  /* the load is told at most this often */
#define SENT_MS	    60000u /* a port that was sent away stays when it comes back */
#define SENT_PLACES 1024u
#define SLACK	    8u
#define WHO_DIGITS  12u
#define WHO_MAX	    5000u /* told with the load: it must fit into a catalog value */

#define MOVED_MS  3000u /* others are told so long of a login that was sent on */
#define MOVED_MAX 1000u
#define LANDED_MS 10000u /* and what they are told counts so long */
#define HELD_MS	  1000u	 /* an answer waits for the catalog at most */
#define BATCH_MS  25u	 /* between two tellings of logins that were sent on */
#define QUIET_MS  5000u

enum kind { GATEWAYS, LOADS, DRAINS, SENT, KINDS };
static const char *const prefix[KINDS] = {"gateway/", "gwload/", "gwdrain/", "gwsent/"};

VMS_VEC_TYPE(whos, uint64_t);

struct gate {
	uint32_t id;
	struct vms_cat_gateway rec; /* id 0: none that can be read */
	unsigned sessions;	    /* as told, and those sent there since */
	struct whos who;
	struct whos sent; /* ports that it has sent to others */
	uint64_t sent_ms; /* when that was heard */
	bool alive, draining;
	uint32_t drain_seconds;
	uint64_t gone_ms; /* when it was last known to run, or first heard of */
	uint64_t rev[KINDS];
	uint32_t load[KINDS]; /* the last whole load of that kind that brought it */
};

struct table {
	struct vms_portals *p;
	enum kind kind;
	uint64_t watch, rev, retry_ms;
	uint32_t load;
	bool loading, loaded;
	char after[VMS_CAT_KEY_BYTES_MAX];
};

/* An initiator port that was sent away from here. */
struct sent {
	uint64_t port, until_ms;
};
struct moved {
	uint64_t port, at_ms;
};

struct vms_portals {
	struct vms_catalog *cat;
	uint64_t now_ms;
	uint32_t id;
	struct table t[KINDS];
	VMS_VEC(struct gate *) gates;
	struct whos here; /* one for each session */
	struct sent sent[SENT_PLACES];
	/* telling */
	char portals[VMS_CAT_PORTALS_BYTES_MAX];
	uint64_t session, renew_ms, write_ms, retry_ms;
	uint64_t change, told; /* counts changes of what is told */
	uint64_t telling;
	bool busy, is_told;
	VMS_VEC(struct moved) moved;
	uint64_t ticket, announced, announcing; /* announcing 0: nothing is on its way */
	uint64_t announce_ms, announce_since_ms;
	uint64_t quiet_ms; /* the catalog does not answer: nobody is sent on until then */
};

bool vms_portals_list_add(char *list, size_t room, const char *one)
{
	size_t len = strlen(one), n;
	char *at = list;

	for (; *at; at += n + (at[n] == ' ')) {
		n = strcspn(at, " ");
		if (n == len && !memcmp(at, one, n))
			return true;
	}
	n = (size_t)(at - list);
	if (n + len + 2 > room)
		return false;
	snprintf(at, room - n, "%s%s", n ? " " : "", one);
	return true;
}

/* ---- what the catalog says ---- */

static struct gate *gate_of(struct vms_portals *p, uint32_t id, bool make)
{
	struct gate *g;

	VMS_VEC_FOREACH (&p->gates, x)
		if ((*x)->id == id)
			return *x;
	if (!make)
		return NULL;
	g = calloc(1, sizeof(*g));
	vms_assert(g);
	g->id = id;
	g->gone_ms = p->now_ms;
	VMS_VEC_PUSH(&p->gates, g);
	return g;
}

static void who_take(struct whos *v, const char *s)
{
	VMS_VEC_CLEAR(v);
	for (; s && strlen(s) >= WHO_DIGITS; s += WHO_DIGITS) {
		char one[WHO_DIGITS + 1];

		memcpy(one, s, WHO_DIGITS);
		one[WHO_DIGITS] = 0;
		VMS_VEC_PUSH(v, strtoull(one, NULL, 16));
	}
}

static bool who_has(const struct whos *v, uint64_t who)
{
	VMS_VEC_FOREACH (v, x)
		if (*x == who)
			return true;
	return false;
}

static void set_gateway(struct gate *g, const struct vms_cat_kv *kv)
{
	struct vms_errmsg msg;

	if (!kv || vms_cat_gateway_decode(kv, &g->rec, &msg)) {
		if (kv)
			vms_error("%s", msg.text);
		memset(&g->rec, 0, sizeof(g->rec));
	}
}

static void set_load(struct vms_portals *p, struct gate *g, const struct vms_cat_kv *kv)
{
	struct vms_cat_gwload rec = {0};
	struct vms_errmsg msg;
	char *who = NULL;

	if (kv && vms_cat_gwload_decode(kv, &rec, &who, &msg))
		vms_error("%s", msg.text);
	if (g->alive && !kv)
		g->gone_ms = p->now_ms;
	g->alive = kv != NULL;
	g->sessions = rec.sessions;
	who_take(&g->who, who);
	free(who);
}

static void set_drain(struct vms_portals *p, struct gate *g, const struct vms_cat_kv *kv)
{
	struct vms_cat_gwdrain rec = {0};
	struct vms_errmsg msg;

	/* one that nobody can read is still one */
	if (kv && vms_cat_gwdrain_decode(kv, &rec, &msg))
		vms_error("%s", msg.text);
	g->draining = kv != NULL;
	if (g->id == p->id)
		p->change++; /* who waits for it is told that it is known */
	g->drain_seconds = rec.seconds;
}

static void set_sent(struct vms_portals *p, struct gate *g, const struct vms_cat_kv *kv)
{
	struct vms_errmsg msg;
	char *ports = NULL;

	if (kv && vms_cat_gwsent_decode(kv, &ports, &msg))
		vms_error("%s", msg.text);
	who_take(&g->sent, ports);
	g->sent_ms = p->now_ms;
	free(ports);
}

static void set(struct vms_portals *p, struct gate *g, enum kind k, const struct vms_cat_kv *kv)
{
	if (k == GATEWAYS)
		set_gateway(g, kv);
	else if (k == LOADS)
		set_load(p, g, kv);
	else if (k == DRAINS)
		set_drain(p, g, kv);
	else
		set_sent(p, g, kv);
}

static uint32_t id_in(const struct table *t, const char *key)
{
	const char *s = key + strlen(prefix[t->kind]);
	char *end;
	unsigned long id = strtoul(s, &end, 16);

	return end == s || *end || id > UINT32_MAX ? 0 : (uint32_t)id;
}

static void apply(struct table *t, const struct vms_cat_kv *kv)
{
	uint32_t id = id_in(t, kv->key);
	struct gate *g = id ? gate_of(t->p, id, kv->val != NULL) : NULL;

	if (!g)
		return;
	if (kv->val)
		g->load[t->kind] = t->load;
	if (g->rev[t->kind] >= kv->mod_revision)
		return;
	g->rev[t->kind] = kv->mod_revision;
	set(t->p, g, t->kind, kv->val ? kv : NULL);
}

static void event(void *arg, const struct vms_cat_reply *r)
{
	struct table *t = arg;

	if (r->status) {
		t->watch = 0; /* it has ended */
		t->retry_ms = t->p->now_ms + RETRY_MS;
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		apply(t, &r->kv[i]);
}

static void loaded(void *arg, const struct vms_cat_reply *r)
{
	struct table *t = arg;
	struct vms_portals *p = t->p;

	if (r->status) {
		t->loading = false;
		t->retry_ms = p->now_ms + RETRY_MS;
		return;
	}
	if (!t->after[0])
		t->rev = r->revision;
	for (unsigned i = 0; i < r->nkv; i++)
		apply(t, &r->kv[i]);
	if (r->more && r->nkv) {
		snprintf(t->after, sizeof(t->after), "%s", r->kv[r->nkv - 1].key);
		p->cat->ops->range(p->cat, prefix[t->kind], t->after, loaded, t);
		return;
	}
	VMS_VEC_FOREACH (&p->gates, g)
		if ((*g)->load[t->kind] != t->load && (*g)->rev[t->kind] <= t->rev)
			set(p, *g, t->kind, NULL);
	t->loading = false;
	t->loaded = true;
	t->watch = p->cat->ops->watch(p->cat, prefix[t->kind], t->rev, event, t);
}

/* ---- life ---- */

struct vms_portals *vms_portals_open(struct vms_catalog *cat, uint64_t now_ms)
{
	struct vms_portals *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->cat = cat;
	for (unsigned k = 0; k < KINDS; k++) {
		p->t[k].p = p;
		p->t[k].kind = (enum kind)k;
	}
	vms_portals_timer(p, 0, "", now_ms);
	return p;
}

static void ignored(void *arg, const struct vms_cat_reply *r)
{
	(void)arg;
	(void)r;
}

void vms_portals_close(struct vms_portals *p)
{
	if (!p)
		return;
	for (unsigned k = 0; k < KINDS; k++) {
		if (p->t[k].watch)
			p->cat->ops->unwatch(p->cat, p->t[k].watch);
		p->cat->ops->forget(p->cat, &p->t[k]);
	}
	p->cat->ops->forget(p->cat, p);
	if (p->session) /* its key goes with it */
		p->cat->ops->session_close(p->cat, p->session, ignored, NULL);
	VMS_VEC_FOREACH (&p->gates, g) {
		VMS_VEC_FREE(&(*g)->who);
		VMS_VEC_FREE(&(*g)->sent);
		free(*g);
	}
	VMS_VEC_FREE(&p->gates);
	VMS_VEC_FREE(&p->here);
	VMS_VEC_FREE(&p->moved);
	free(p);
}

bool vms_portals_loaded(const struct vms_portals *p)
{
	return p->t[GATEWAYS].loaded && p->t[LOADS].loaded && p->t[DRAINS].loaded;
}

/* ---- telling the others ---- */

static void opened(void *arg, const struct vms_cat_reply *r)
{
	struct vms_portals *p = arg;

	p->busy = false;
	p->is_told = false;
	if (r->status)
		p->retry_ms = p->now_ms + RETRY_MS;
	else
		p->session = r->session;
	p->renew_ms = p->now_ms + RENEW_MS;
}

static bool unknown(int status)
{
	return status == VMS_E_TIMEOUT || status == VMS_E_DISCONNECTED;
}

static void renewed(void *arg, const struct vms_cat_reply *r)
{
	struct vms_portals *p = arg;

	p->busy = false;
	p->renew_ms = p->now_ms + RENEW_MS;
	if (unknown(r->status)) {
		p->renew_ms = p->now_ms; /* it runs out meanwhile */
		p->retry_ms = p->now_ms + RETRY_MS;
	} else if (r->status) {
		p->session = 0; /* it has ended: another one */
	}
}

static void written(void *arg, const struct vms_cat_reply *r)
{
	struct vms_portals *p = arg;

	p->busy = false;
	p->write_ms = p->now_ms + WRITE_MS;
	p->is_told = !r->status;
	p->told = p->telling;
	if (r->status && !unknown(r->status))
		p->session = 0;
	if (r->status)
		p->retry_ms = p->now_ms + RETRY_MS;
}

static void tell_load(struct vms_portals *p)
{
	struct vms_cat_gwload rec = {.gateway = p->id, .sessions = (uint32_t)p->here.n};
	char key[VMS_CAT_KEY_BYTES_MAX], *val, *who;
	uint32_t seconds;
	size_t n = p->here.n < WHO_MAX ? p->here.n : WHO_MAX;

	who = malloc(n * WHO_DIGITS + 1);
	vms_assert(who);
	who[0] = 0;
	for (size_t i = 0; i < n; i++)
		snprintf(who + i * WHO_DIGITS, WHO_DIGITS + 1, "%012" PRIx64, p->here.d[i]);
	rec.draining = vms_portals_draining(p, &seconds);
	vms_cat_key_gwload(key, p->id);
	val = vms_cat_gwload_encode(&rec, who);
	p->busy = true;
	p->telling = p->change;
	p->cat->ops->txn(p->cat, NULL, 0, &(struct vms_cat_op){key, val, p->session}, 1, written,
			 p);
	free(val);
	free(who);
}

/* The record is the gateway core's: only what it says of the portals is changed here. */
static void portals_written(void *arg, const struct vms_cat_reply *r)
{
	struct vms_portals *p = arg;

	p->busy = false;
	p->retry_ms = p->now_ms + RETRY_MS; /* the watch brings what is there now */
}

static void tell_portals(struct vms_portals *p, const struct gate *own)
{
	char key[VMS_CAT_KEY_BYTES_MAX], *val;
	struct vms_cat_gateway rec = own->rec;

	snprintf(rec.portals, sizeof(rec.portals), "%s", p->portals);
	vms_cat_key_gateway(key, p->id);
	val = vms_cat_gateway_encode(&rec);
	p->busy = true;
	p->cat->ops->txn(p->cat, &(struct vms_cat_cmp){key, own->rev[GATEWAYS]}, 1,
			 &(struct vms_cat_op){key, val, 0}, 1, portals_written, p);
	free(val);
}

static void announced(void *arg, const struct vms_cat_reply *r)
{
	struct vms_portals *p = arg;

	if (p->announcing > p->announced) /* else they were let go meanwhile */
		p->announced = p->announcing;
	p->announcing = 0;
	p->announce_ms = p->now_ms + (r->status ? RETRY_MS : BATCH_MS);
	if (r->status)
		p->quiet_ms = p->now_ms + QUIET_MS;
}

/* Whom this gateway has sent to others, before the initiators know. */
static void announce(struct vms_portals *p)
{
	char key[VMS_CAT_KEY_BYTES_MAX], text[MOVED_MAX * WHO_DIGITS + 1], *val;
	size_t old = 0;

	if (p->announced < p->ticket && p->now_ms - p->announce_since_ms >= HELD_MS) {
		p->announced = p->ticket;
		p->quiet_ms = p->now_ms + QUIET_MS;
		return;
	}
	if (p->announced >= p->ticket || p->announcing || p->now_ms < p->announce_ms || !p->session)
		return;
	while (old < p->moved.n &&
	       (p->moved.n - old > MOVED_MAX || p->now_ms - p->moved.d[old].at_ms >= MOVED_MS))
		old++;
	memmove(p->moved.d, p->moved.d + old, (p->moved.n - old) * sizeof(*p->moved.d));
	p->moved.n -= old;
	text[0] = 0;
	for (size_t i = 0; i < p->moved.n; i++)
		snprintf(text + i * WHO_DIGITS, WHO_DIGITS + 1, "%012" PRIx64, p->moved.d[i].port);
	vms_cat_key_gwsent(key, p->id);
	val = vms_cat_gwsent_encode(p->id, text);
	p->announcing = p->ticket;
	p->cat->ops->txn(p->cat, NULL, 0, &(struct vms_cat_op){key, val, p->session}, 1, announced,
			 p);
	free(val);
}

static void tell(struct vms_portals *p)
{
	const struct gate *own;

	if (p->busy || !p->id || p->now_ms < p->retry_ms)
		return;
	if (!p->session) {
		p->busy = true;
		p->cat->ops->session_open(p->cat, TTL_MS, opened, p);
	} else if (p->now_ms >= p->renew_ms) {
		p->busy = true;
		p->cat->ops->session_renew(p->cat, p->session, renewed, p);
	} else if ((!p->is_told || p->told != p->change) && p->now_ms >= p->write_ms) {
		tell_load(p);
	} else if ((own = gate_of(p, p->id, false)) && own->rec.id &&
		   strcmp(own->rec.portals, p->portals)) {
		tell_portals(p, own);
	}
}

void vms_portals_timer(struct vms_portals *p, uint32_t id, const char *portals, uint64_t now_ms)
{
	p->now_ms = now_ms;
	p->id = id;
	if (strcmp(portals, p->portals))
		snprintf(p->portals, sizeof(p->portals), "%s", portals);
	for (unsigned k = 0; k < KINDS; k++) {
		struct table *t = &p->t[k];

		if (t->watch || t->loading || now_ms < t->retry_ms)
			continue;
		t->loading = true;
		t->load++;
		t->after[0] = 0;
		p->cat->ops->range(p->cat, prefix[k], NULL, loaded, t);
	}
	tell(p);
	announce(p);
}

/* ---- sessions here ---- */

static uint64_t fnv(uint64_t h, const char *s) /* FNV-1a */
{
	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3ull;
	return h;
}

static uint64_t fold(uint64_t h) /* to 24 bits */
{
	return (h ^ h >> 24 ^ h >> 48) & 0xffffff;
}

static uint64_t target_hash(const char *target)
{
	return fold(fnv(0xcbf29ce484222325ull, target));
}

/* The target in the upper half, both together in the lower one. */
uint64_t vms_portals_who(const char *initiator, const char *target)
{
	uint64_t h = fnv(0xcbf29ce484222325ull, initiator);

	return target_hash(target) << 24 | fold(fnv((h ^ '\n') * 0x100000001b3ull, target));
}

unsigned vms_portals_elsewhere(const struct vms_portals *p, const char *target, char *names,
			       size_t room)
{
	uint64_t hash = target_hash(target);
	unsigned n = 0;
	size_t used = 0;

	names[0] = 0;
	VMS_VEC_FOREACH (&p->gates, at) {
		const struct gate *g = *at;
		unsigned here = 0;

		if (g->id == p->id || !g->alive)
			continue;
		VMS_VEC_FOREACH (&g->who, x)
			here += *x >> 24 == hash;
		if (!here)
			continue;
		n += here;
		if (used < room)
			used += (size_t)snprintf(
				names + used, room - used, "%s%s", used ? ", " : "",
				g->rec.name[0] ? g->rec.name : "one without a record");
	}
	return n;
}

void vms_portals_session(struct vms_portals *p, uint64_t who, bool up)
{
	p->change++;
	if (up) {
		VMS_VEC_PUSH(&p->here, who);
		return;
	}
	for (size_t i = 0; i < p->here.n; i++)
		if (p->here.d[i] == who) {
			VMS_VEC_REMOVE_FAST(&p->here, i);
			return;
		}
	vms_assert(!"a session goes that came");
}

/* ---- what initiators are told ---- */

bool vms_portals_draining(const struct vms_portals *p, uint32_t *seconds)
{
	VMS_VEC_FOREACH (&p->gates, g)
		if ((*g)->id == p->id && p->id && (*g)->draining) {
			*seconds = (*g)->drain_seconds;
			return true;
		}
	return false;
}

/* The n-th of a list joined by blanks. */
static bool word(const char *list, unsigned n, char out[VMS_PORTAL_TEXT_MAX])
{
	for (;; n--) {
		size_t len = strcspn(list, " ");

		if (!len)
			return false;
		if (!n) {
			snprintf(out, VMS_PORTAL_TEXT_MAX, "%.*s", (int)len, list);
			return true;
		}
		list += len + (list[len] == ' ');
	}
}

bool vms_portals_at(struct vms_portals *p, unsigned i, char *out)
{
	VMS_VEC_FOREACH (&p->gates, at) {
		struct gate *g = *at;
		char one[VMS_PORTAL_TEXT_MAX];

		/* one that is down now may be back when the initiator logs in */
		if (g->draining ||
		    (!g->alive && g->id != p->id && p->now_ms - g->gone_ms >= VMS_PORTALS_KEEP_MS))
			continue;
		for (unsigned n = 0; word(g->rec.portals, n, one); n++)
			if (!i--) {
				size_t len = strlen(one);

				snprintf(out, VMS_PORTAL_TEXT_MAX, "%.*s,%" PRIu32,
					 (int)(len > VMS_PORTAL_TEXT_MAX - 12
						       ? VMS_PORTAL_TEXT_MAX - 12
						       : len),
					 one, g->id);
				return true;
			}
	}
	return false;
}

/* How near two "HOST:PORT" are: the parts of the address that are the same from its
 * beginning on, by text; 0: another family, or a name. */
static unsigned nearness(const char *a, const char *b)
{
	bool v6 = a[0] == '[';
	unsigned parts = 1;

	if (v6 != (b[0] == '[') || (!v6 && (a[0] < '0' || a[0] > '9' || b[0] < '0' || b[0] > '9')))
		return 0;
	for (; *a && *a == *b; a++, b++)
		parts += *a == (v6 ? ':' : '.');
	return parts;
}

/* Of a list joined by blanks, the one that is nearest to at. */
static void nearest(const char *list, const char *at, char out[VMS_PORTAL_TEXT_MAX])
{
	char one[VMS_PORTAL_TEXT_MAX];
	unsigned best = 0;

	out[0] = 0;
	for (unsigned i = 0; word(list, i, one); i++) {
		unsigned near = at ? nearness(at, one) : 0;

		if (!out[0] || near > best) {
			best = near;
			snprintf(out, VMS_PORTAL_TEXT_MAX, "%s", one);
		}
	}
}

static struct sent *sent_of(struct vms_portals *p, uint64_t port)
{
	return &p->sent[port % SENT_PLACES];
}

/* Has it been sent on by another gateway just now? */
static bool landed(const struct vms_portals *p, uint64_t port)
{
	VMS_VEC_FOREACH (&p->gates, g)
		if ((*g)->id != p->id && p->now_ms - (*g)->sent_ms < LANDED_MS &&
		    who_has(&(*g)->sent, port))
			return true;
	return false;
}

uint64_t vms_portals_told(const struct vms_portals *p)
{
	return p->announced;
}

enum vms_login_to vms_portals_login(struct vms_portals *p, struct vms_login *l,
				    char out[VMS_PORTAL_TEXT_MAX])
{
	struct sent *sent = sent_of(p, l->port);
	bool elsewhere = false, draining, here = who_has(&p->here, l->who);
	struct gate *best = NULL;
	uint32_t seconds;

	l->ticket = 0;
	draining = vms_portals_draining(p, &seconds);
	if (!draining && (!l->spread || !l->everywhere || !p->session || p->now_ms < p->quiet_ms ||
			  landed(p, l->port)))
		return VMS_LOGIN_HERE;
	VMS_VEC_FOREACH (&p->gates, at) {
		struct gate *g = *at;

		if (g->id == p->id || !g->rec.portals[0] || !g->alive || g->draining ||
		    !l->everywhere)
			continue;
		if (who_has(&g->who, l->who)) {
			elsewhere = true;
			continue;
		}
		if (!best || g->sessions < best->sessions)
			best = g;
	}
	if (draining && (elsewhere || !best)) {
		snprintf(out, VMS_PORTAL_TEXT_MAX, "%s",
			 elsewhere	 ? "this gateway is being emptied; it has another path"
			 : l->everywhere ? "this gateway is being emptied; no other takes it"
					 : "this gateway is being emptied; the target is its own");
		return VMS_LOGIN_NOWHERE;
	}
	if (!draining) {
		bool again = sent->port == l->port && p->now_ms < sent->until_ms;

		/* the more there are, the less an old figure may move */
		if (again || !best || (!here && best->sessions + 1 + p->here.n / SLACK > p->here.n))
			return VMS_LOGIN_HERE;
		*sent = (struct sent){l->port, p->now_ms + SENT_MS};
		if (p->announced >= p->ticket)
			p->announce_since_ms = p->now_ms;
		VMS_VEC_PUSH(&p->moved, ((struct moved){l->port, p->now_ms}));
		l->ticket = ++p->ticket;
	}
	best->sessions++;
	nearest(best->rec.portals, l->at, out);
	return VMS_LOGIN_THERE;
}
