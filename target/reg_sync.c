// SPDX-License-Identifier: GPL-2.0-only
/* The catalog's targets and accounts, see reg_sync.h. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/reg_sync.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define RETRY_MS 500u
#define KINDS	 2u

enum kind { TARGETS, ACCOUNTS };
static const char *const prefix[KINDS] = {"target/", "account/"};

struct table {
	struct vms_reg_sync *s;
	enum kind kind;
	struct vms_reg_entry **e;
	unsigned n, room;
	uint64_t watch, rev, retry_ms;
	bool loading, loaded;
	bool wanted;   /* a whole load as of s->refs_next or later */
	bool begun;    /* the one on its way began before it was wanted */
	uint32_t load; /* number of the last whole load */
	char after[VMS_CAT_KEY_BYTES_MAX];
};

struct vms_reg_sync {
	struct vms_catalog *cat;
	uint64_t now_ms;
	bool changed;
	struct table t[KINDS];
	struct change *changes;
	/* Everything that raised VMS_REG_REFS_KEY up to revision refs is in the tables. */
	uint64_t refs, refs_next, refs_retry_ms;
	bool refs_known, refs_reading;
};

/* A transaction on its way. */
struct change {
	struct vms_reg_sync *s;
	struct table *t;
	char name[256];
	char *value; /* NULL: deletes */
	uint32_t tid;
	bool with_tid;
	bool with_refs; /* compares VMS_REG_REFS_KEY */
	bool waiting;	/* conflicts; told when the tables are as they are now */
	vms_reg_done_fn done;
	void *arg;
	struct change *next, **prev;
};

static void refs_loaded(struct vms_reg_sync *s);
static void refs_failed(struct vms_reg_sync *s, int status);

static struct vms_reg_entry *find(struct table *t, const char *name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (!strcmp(t->e[i]->name, name))
			return t->e[i];
	return NULL;
}

static struct vms_reg_entry *add(struct table *t, const char *name)
{
	struct vms_reg_entry *e = calloc(1, sizeof(*e));

	vms_assert(e);
	if (t->n == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->e = realloc(t->e, t->room * sizeof(*t->e));
		vms_assert(t->e);
	}
	e->name = strdup(name);
	vms_assert(e->name);
	t->e[t->n++] = e;
	return e;
}

/* ---- the mirror ---- */

static json_t *account_decode(const char *text, const char *key, const char *user,
			      struct vms_errmsg *msg)
{
	json_t *r = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const char *u = json_string_value(json_object_get(r, "user"));

	if (u && !strcmp(u, user) && json_is_string(json_object_get(r, "sealed")))
		return r;
	json_decref(r);
	vms_fail(msg, VMS_E_CORRUPT, "%s: no account of that name", key);
	return NULL;
}

static void apply(struct table *t, const char *key, const char *val, uint64_t rev)
{
	const char *name = key + strlen(prefix[t->kind]);
	struct vms_reg_entry *e = find(t, name);
	struct vms_errmsg msg;
	json_t *v = NULL;

	if (e && e->rev >= rev)
		return;
	if (val) {
		v = t->kind == TARGETS ? vms_reg_decode(val, key, &msg)
				       : account_decode(val, key, name, &msg);
		if (v && t->kind == TARGETS && strcmp(vms_reg_name(v), name)) {
			vms_fail(&msg, VMS_E_CORRUPT, "%s: holds target %s", key, vms_reg_name(v));
			json_decref(v);
			v = NULL;
		}
		if (!v) {
			/* what cannot be understood is left as it was here */
			vms_error("catalog: %s", msg.text);
			return;
		}
	} else if (!e || !e->value) {
		if (e)
			e->rev = rev;
		return;
	}
	if (!e)
		e = add(t, name);
	json_decref(e->value);
	e->value = v;
	e->rev = rev;
	e->changed = true;
	t->s->changed = true;
}

static void event(void *arg, const struct vms_cat_reply *r)
{
	struct table *t = arg;

	if (r->status) {
		t->s->cat->ops->unwatch(t->s->cat, t->watch);
		t->watch = 0;
		t->retry_ms = t->s->now_ms + RETRY_MS;
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		apply(t, r->kv[i].key, r->kv[i].val, r->kv[i].mod_revision);
}

/* Entries that a whole load did not bring are gone. */
static void sweep(struct table *t)
{
	for (unsigned i = 0; i < t->n; i++) {
		struct vms_reg_entry *e = t->e[i];

		if (e->value && e->rev <= t->rev && e->load != t->load) {
			json_decref(e->value);
			e->value = NULL;
			e->rev = t->rev;
			e->changed = true;
			t->s->changed = true;
		}
	}
}

static void load(struct table *t);

static void loaded(void *arg, const struct vms_cat_reply *r)
{
	struct table *t = arg;

	if (r->status) {
		t->loading = false;
		t->retry_ms = t->s->now_ms + RETRY_MS;
		if (t->wanted)
			refs_failed(t->s, r->status);
		return;
	}
	if (!t->after[0] || r->revision < t->rev) /* each page may be of another moment */
		t->rev = r->revision;
	for (unsigned i = 0; i < r->nkv; i++) {
		struct vms_reg_entry *e;

		apply(t, r->kv[i].key, r->kv[i].val, r->kv[i].mod_revision);
		e = find(t, r->kv[i].key + strlen(prefix[t->kind]));
		if (e)
			e->load = t->load;
	}
	if (r->more && r->nkv) {
		snprintf(t->after, sizeof(t->after), "%s", r->kv[r->nkv - 1].key);
		t->s->cat->ops->range(t->s->cat, prefix[t->kind], t->after, loaded, t);
		return;
	}
	sweep(t);
	t->loading = false;
	t->loaded = true;
	t->s->changed = true;
	if (!t->watch)
		t->watch = t->s->cat->ops->watch(t->s->cat, prefix[t->kind], t->rev, event, t);
	if (t->wanted && t->rev >= t->s->refs_next) {
		t->wanted = false;
		refs_loaded(t->s);
	} else if (t->wanted && t->begun) {
		t->begun = false;
		load(t);
	} else if (t->wanted) { /* a member of the catalog that is behind */
		t->retry_ms = t->s->now_ms + RETRY_MS;
	}
}

static void load(struct table *t)
{
	t->loading = true;
	t->after[0] = 0;
	t->load++;
	t->s->cat->ops->range(t->s->cat, prefix[t->kind], NULL, loaded, t);
}

/* ---- what refers to what ---- */

static void refs_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_reg_sync *s = arg;

	if (r->status) {
		refs_failed(s, r->status);
		return;
	}
	s->refs_next = r->nkv ? r->kv[0].mod_revision : 0;
	for (unsigned k = 0; k < KINDS; k++) {
		s->t[k].wanted = true;
		s->t[k].begun = s->t[k].loading;
		if (!s->t[k].loading)
			load(&s->t[k]);
	}
}

/* First the revision, then everything: whatever made that revision is seen, and what comes
 * later makes another one. */
static void refs_read(struct vms_reg_sync *s)
{
	s->refs_known = false;
	if (s->refs_reading)
		return;
	s->refs_reading = true;
	s->cat->ops->get(s->cat, VMS_REG_REFS_KEY, refs_got, s);
}

struct vms_reg_sync *vms_reg_sync_open(struct vms_catalog *cat, uint64_t now_ms)
{
	struct vms_reg_sync *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cat = cat;
	s->now_ms = now_ms;
	for (unsigned k = 0; k < KINDS; k++) {
		s->t[k].s = s;
		s->t[k].kind = (enum kind)k;
	}
	vms_reg_sync_timer(s, now_ms);
	return s;
}

void vms_reg_sync_close(struct vms_reg_sync *s)
{
	if (!s)
		return;
	while (s->changes) {
		struct change *c = s->changes;

		s->changes = c->next;
		s->cat->ops->forget(s->cat, c);
		free(c->value);
		free(c);
	}
	s->cat->ops->forget(s->cat, s);
	for (unsigned k = 0; k < KINDS; k++) {
		struct table *t = &s->t[k];

		if (t->watch)
			s->cat->ops->unwatch(s->cat, t->watch);
		s->cat->ops->forget(s->cat, t);
		for (unsigned i = 0; i < t->n; i++) {
			json_decref(t->e[i]->value);
			free((char *)t->e[i]->name);
			free(t->e[i]);
		}
		free(t->e);
	}
	free(s);
}

void vms_reg_sync_timer(struct vms_reg_sync *s, uint64_t now_ms)
{
	s->now_ms = now_ms;
	if (!s->refs_known && !s->refs_reading && now_ms >= s->refs_retry_ms)
		refs_read(s);
	for (unsigned k = 0; k < KINDS; k++)
		if ((!s->t[k].watch || s->t[k].wanted) && !s->t[k].loading &&
		    now_ms >= s->t[k].retry_ms)
			load(&s->t[k]);
}

bool vms_reg_sync_loaded(const struct vms_reg_sync *s)
{
	return s->t[TARGETS].loaded && s->t[ACCOUNTS].loaded;
}

bool vms_reg_sync_changed(struct vms_reg_sync *s)
{
	bool was = s->changed;

	s->changed = false;
	return was;
}

struct vms_reg_entry *vms_reg_target_at(struct vms_reg_sync *s, unsigned i)
{
	return i < s->t[TARGETS].n ? s->t[TARGETS].e[i] : NULL;
}

struct vms_reg_entry *vms_reg_account_at(struct vms_reg_sync *s, unsigned i)
{
	return i < s->t[ACCOUNTS].n ? s->t[ACCOUNTS].e[i] : NULL;
}

struct vms_reg_entry *vms_reg_target(struct vms_reg_sync *s, const char *name)
{
	return find(&s->t[TARGETS], name);
}

struct vms_reg_entry *vms_reg_target_make(struct vms_reg_sync *s, const char *name)
{
	struct vms_reg_entry *e = find(&s->t[TARGETS], name);

	return e ? e : add(&s->t[TARGETS], name);
}

struct vms_reg_entry *vms_reg_target_by_tid(struct vms_reg_sync *s, uint32_t tid)
{
	struct table *t = &s->t[TARGETS];

	for (unsigned i = 0; i < t->n; i++)
		if (t->e[i]->value && vms_reg_tid(t->e[i]->value) == tid)
			return t->e[i];
	return NULL;
}

struct vms_reg_entry *vms_reg_account(struct vms_reg_sync *s, const char *user)
{
	return find(&s->t[ACCOUNTS], user);
}

/* ---- changes ---- */

static void change_end(struct change *c, int status, const char *why)
{
	vms_reg_done_fn done = c->done;
	void *arg = c->arg;

	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	free(c->value);
	free(c);
	done(arg, status, why);
}

static bool tid_taken(const struct change *c)
{
	const struct vms_reg_entry *e = find(c->t, c->name);

	return c->with_tid && !(e && e->value) && vms_reg_target_by_tid(c->s, c->tid);
}

static void conflict_end(struct change *c, bool tid)
{
	if (tid)
		change_end(c, VMS_E_EXIST, "another target has that number (tid)");
	else
		change_end(c, VMS_E_CONFLICT, "somebody else changed it at the same moment");
}

/* Those that wait, one at a time: whoever is told may ask for something new. */
static void waiting_end(struct vms_reg_sync *s, int status)
{
	struct change *c;

	do {
		for (c = s->changes; c && !c->waiting; c = c->next)
			;
		if (c && status)
			change_end(c, status, vms_err_text(status));
		else if (c)
			conflict_end(c, tid_taken(c));
	} while (c);
}

static void refs_loaded(struct vms_reg_sync *s)
{
	for (unsigned k = 0; k < KINDS; k++)
		if (s->t[k].wanted)
			return;
	s->refs_reading = false;
	s->refs_known = true;
	s->refs = s->refs_next;
	waiting_end(s, 0);
}

static void refs_failed(struct vms_reg_sync *s, int status)
{
	for (unsigned k = 0; k < KINDS; k++)
		s->t[k].wanted = false;
	s->refs_reading = false;
	s->refs_retry_ms = s->now_ms + RETRY_MS;
	waiting_end(s, status);
}

/* Why it conflicted: the record as it is now. */
static void conflict_read(void *arg, const struct vms_cat_reply *r)
{
	struct change *c = arg;

	if (!r->status && r->nkv)
		apply(c->t, r->kv[0].key, r->kv[0].val, r->kv[0].mod_revision);
	conflict_end(c, !r->status && !r->nkv && c->with_tid);
}

static void changed(void *arg, const struct vms_cat_reply *r)
{
	struct change *c = arg;
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(key, sizeof(key), "%s%s", prefix[c->t->kind], c->name);
	if (!r->status) {
		apply(c->t, key, c->value, r->revision);
		/* nobody has written it since it was read, so it is known as of now */
		if (c->with_refs && c->s->refs < r->revision)
			c->s->refs = r->revision;
		change_end(c, 0, "");
	} else if (r->status == VMS_E_CONFLICT && c->with_refs) {
		c->waiting = true;
		refs_read(c->s);
	} else if (r->status == VMS_E_CONFLICT) {
		c->s->cat->ops->get(c->s->cat, key, conflict_read, c);
	} else {
		change_end(c, r->status, vms_err_text(r->status));
	}
}

static struct change *change_new(struct vms_reg_sync *s, enum kind k, const char *name, char *value,
				 vms_reg_done_fn done, void *arg)
{
	struct change *c = calloc(1, sizeof(*c));

	vms_assert(c);
	c->s = s;
	c->t = &s->t[k];
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->value = value;
	c->done = done;
	c->arg = arg;
	c->next = s->changes;
	c->prev = &s->changes;
	if (c->next)
		c->next->prev = &c->next;
	s->changes = c;
	return c;
}

/* Puts VMS_REG_REFS_KEY into the transaction. False: what it was decided on is not known to
 * be all there is; c ends when it is. */
static bool with_refs(struct change *c, struct vms_cat_cmp *cmp, struct vms_cat_op *op)
{
	struct vms_reg_sync *s = c->s;

	if (!s->refs_known) {
		c->waiting = true;
		refs_read(s);
		return false;
	}
	c->with_refs = true;
	*cmp = (struct vms_cat_cmp){VMS_REG_REFS_KEY, s->refs};
	*op = (struct vms_cat_op){VMS_REG_REFS_KEY, "1", 0};
	return true;
}

void vms_reg_put_target(struct vms_reg_sync *s, const char *name, uint32_t tid, const json_t *rec,
			uint64_t rev, vms_reg_done_fn done, void *arg)
{
	struct change *c = change_new(s, TARGETS, name, rec ? vms_reg_encode(rec) : NULL, done,
				      arg);
	char key[VMS_CAT_KEY_BYTES_MAX], idkey[32], id[VMS_REG_NAME_MAX + 3];
	struct vms_reg_entry *e = find(&s->t[TARGETS], name);
	struct vms_cat_cmp cmp[3];
	struct vms_cat_op op[3];
	unsigned nop = 1, ncmp = 1;

	/* a deleted one has a revision here, but none in the catalog */
	if (e && !e->value)
		rev = 0;
	c->tid = tid;
	snprintf(key, sizeof(key), "target/%s", name);
	cmp[0] = (struct vms_cat_cmp){key, rev};
	op[0] = (struct vms_cat_op){key, c->value, 0};
	if (!rev || !rec) {
		snprintf(idkey, sizeof(idkey), "targetid/%08x", tid);
		snprintf(id, sizeof(id), "\"%s\"", name);
		if (!rev)
			cmp[ncmp++] = (struct vms_cat_cmp){idkey, 0};
		op[nop++] = (struct vms_cat_op){idkey, rec ? id : NULL, 0};
		c->with_tid = !rev;
	}
	if (rec && vms_reg_refers_more(e ? e->value : NULL, rec) &&
	    !with_refs(c, &cmp[ncmp++], &op[nop++]))
		return;
	s->cat->ops->txn(s->cat, cmp, ncmp, op, nop, changed, c);
}

void vms_reg_put_account(struct vms_reg_sync *s, const char *user, const char *value, uint64_t rev,
			 vms_reg_done_fn done, void *arg)
{
	struct change *c = change_new(s, ACCOUNTS, user, value ? strdup(value) : NULL, done, arg);
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_reg_entry *e = find(&s->t[ACCOUNTS], user);
	struct vms_cat_cmp cmp[2];
	struct vms_cat_op op[2];
	unsigned n = 1;

	if (e && !e->value)
		rev = 0;
	snprintf(key, sizeof(key), "account/%s", user);
	cmp[0] = (struct vms_cat_cmp){key, rev};
	op[0] = (struct vms_cat_op){key, c->value, 0};
	/* a target may begin to demand it at this moment */
	if (!value && !with_refs(c, &cmp[n], &op[n]))
		return;
	s->cat->ops->txn(s->cat, cmp, value ? n : n + 1, op, value ? n : n + 1, changed, c);
}
