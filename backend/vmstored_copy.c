// SPDX-License-Identifier: GPL-2.0-only
/* Keeps: the file is either the old copy or a new one, never half of one; a copy of a
 * catalog that has not been read whole is never written; the node's thread never waits
 * for the disk. */
#include "backend/vmstored_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "backend/meta.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"

#define WRITE_MS_MIN   5000u
#define READ_AGAIN_MS  1000u
#define PART_BYTES_MAX (1u << 20)
#define FILE_BYTES_MAX (256u << 20)

struct entry {
	char key[VMS_CAT_KEY_BYTES_MAX];
	char *val;
	uint64_t mod;
	UT_hash_handle hh;
};

struct vms_catcopy {
	char *path, *tmp;
	struct vms_catalog *cat; /* NULL: not following */
	struct entry *e;	 /* the catalog as far as it is known */
	uint64_t revision;	 /* ... up to here */
	char after[VMS_CAT_KEY_BYTES_MAX];
	uint64_t first; /* revision of the first part read */
	bool whole, asking, dirty;
	uint64_t read_at_ms, write_at_ms, now_ms;
	json_t *stored; /* what the file said at the start, or was known before a doubt */
	/* the writer */
	pthread_t thread;
	bool writing;
	atomic_bool done;
	char *text;
	int err;
};

static void drop(struct vms_catcopy *c)
{
	struct entry *e, *t;

	HASH_ITER (hh, c->e, e, t) {
		HASH_DEL(c->e, e);
		free(e->val);
		free(e);
	}
	c->revision = c->first = 0;
	c->after[0] = 0;
	c->whole = false;
}

/* An older word about a key does not count: parts and events overlap. */
static void take(struct vms_catcopy *c, const struct vms_cat_kv *kv)
{
	struct entry *e;

	HASH_FIND_STR(c->e, kv->key, e);
	if (e && e->mod > kv->mod_revision)
		return;
	if (!kv->val) {
		if (e) {
			HASH_DEL(c->e, e);
			free(e->val);
			free(e);
		}
		return;
	}
	if (!e) {
		e = calloc(1, sizeof(*e));
		vms_assert(e);
		snprintf(e->key, sizeof(e->key), "%s", kv->key);
		HASH_ADD_STR(c->e, key, e);
	}
	free(e->val);
	e->val = strdup(kv->val);
	vms_assert(e->val);
	e->mod = kv->mod_revision;
}

/* ---- as JSON ---- */

static int by_key(struct entry *a, struct entry *b)
{
	return strcmp(a->key, b->key);
}

static json_t *kv_json(const struct entry *e)
{
	return json_pack("[ssI]", e->key, e->val, (json_int_t)e->mod);
}

static json_t *head_json(const struct vms_catcopy *c)
{
	struct entry *e;
	json_t *uuid = NULL, *cluster, *j;

	HASH_FIND_STR(c->e, "cluster", e);
	cluster = e ? json_loads(e->val, 0, NULL) : NULL;
	if (cluster)
		uuid = json_incref(json_object_get(cluster, "uuid"));
	json_decref(cluster);
	j = json_pack("{so sI sI}", "cluster", uuid ? uuid : json_string(""), "revision",
		      (json_int_t)c->revision, "saved_s", (json_int_t)time(NULL));
	vms_assert(j);
	return j;
}

static json_t *all_json(struct vms_catcopy *c)
{
	json_t *j = head_json(c), *kvs = json_array();
	struct entry *e, *t;

	HASH_SORT(c->e, by_key);
	HASH_ITER (hh, c->e, e, t)
		json_array_append_new(kvs, kv_json(e));
	json_object_set_new(j, "kvs", kvs);
	return j;
}

/* ---- following ---- */

static void again(struct vms_catcopy *c)
{
	if (c->whole) { /* what was known counts until all is read anew */
		json_decref(c->stored);
		c->stored = all_json(c);
	}
	drop(c);
	c->read_at_ms = c->now_ms + READ_AGAIN_MS;
}

static void on_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_catcopy *c = arg;

	if (r->status) {
		again(c);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		take(c, &r->kv[i]);
	if (r->revision > c->revision)
		c->revision = r->revision;
	c->dirty = true;
}

static void ask(struct vms_catcopy *c);

static void on_part(void *arg, const struct vms_cat_reply *r)
{
	struct vms_catcopy *c = arg;

	c->asking = false;
	if (r->status) {
		again(c);
		return;
	}
	if (!c->first)
		c->first = r->revision;
	for (unsigned i = 0; i < r->nkv; i++)
		take(c, &r->kv[i]);
	if (r->more && r->nkv) {
		snprintf(c->after, sizeof(c->after), "%s", r->kv[r->nkv - 1].key);
		ask(c);
		return;
	}
	/* What changed while the parts were read comes as events; a key that was
	 * deleted behind our back does too. */
	c->revision = c->first;
	c->whole = c->dirty = true;
	(void)c->cat->ops->watch(c->cat, "", c->first, on_event, c);
}

static void ask(struct vms_catcopy *c)
{
	c->asking = true;
	c->cat->ops->range(c->cat, "", c->after[0] ? c->after : NULL, on_part, c);
}

void vms_catcopy_follow(struct vms_catcopy *c, struct vms_catalog *cat)
{
	if (!c->cat)
		c->cat = cat;
}

/* ---- the file ---- */

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static void *writer(void *arg)
{
	struct vms_catcopy *c = arg;
	int fd = open(c->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	size_t n = strlen(c->text);
	char head[64];

	snprintf(head, sizeof(head), "VMSCAT1 %08" PRIx32 " %zu\n", vms_crc32c(0, c->text, n), n);
	c->err = 0;
	if (fd < 0 || write_all(fd, head, strlen(head)) || write_all(fd, c->text, n) || fsync(fd))
		c->err = errno ? errno : EIO;
	if (fd >= 0)
		close(fd);
	if (!c->err && rename(c->tmp, c->path))
		c->err = errno;
	atomic_store(&c->done, true);
	return NULL;
}

static void write_begin(struct vms_catcopy *c)
{
	json_t *j = all_json(c);

	c->text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	vms_assert(c->text);
	atomic_store(&c->done, false);
	c->dirty = false;
	c->write_at_ms = c->now_ms + WRITE_MS_MIN;
	c->writing = !pthread_create(&c->thread, NULL, writer, c);
	if (!c->writing) {
		free(c->text);
		c->text = NULL;
		c->dirty = true;
	}
}

static void write_end(struct vms_catcopy *c)
{
	pthread_join(c->thread, NULL);
	c->writing = false;
	free(c->text);
	c->text = NULL;
	if (c->err) {
		vms_warn("the copy of the catalog in %s could not be written: %s", c->path,
			 strerror(c->err));
		c->dirty = true;
		c->write_at_ms = c->now_ms + 20 * WRITE_MS_MIN;
	}
}

static json_t *file_load(const char *path)
{
	char head[64], *text = NULL;
	FILE *f = fopen(path, "re");
	uint32_t crc;
	size_t n;
	json_t *j = NULL;

	if (!f)
		return NULL;
	if (fgets(head, sizeof(head), f) &&
	    sscanf(head, "VMSCAT1 %8" SCNx32 " %zu", &crc, &n) == 2 && n < FILE_BYTES_MAX) {
		text = malloc(n + 1);
		vms_assert(text);
		if (fread(text, 1, n, f) == n && vms_crc32c(0, text, n) == crc)
			j = json_loadb(text, n, 0, NULL);
	}
	if (!j)
		vms_warn("%s is damaged; it is written anew when the catalog answers", path);
	free(text);
	fclose(f);
	return j;
}

/* ---- lifecycle ---- */

struct vms_catcopy *vms_catcopy_new(const char *dir)
{
	struct vms_catcopy *c = calloc(1, sizeof(*c));

	vms_assert(c && asprintf(&c->path, "%s/catalog.copy", dir) > 0 &&
		   asprintf(&c->tmp, "%s/catalog.copy.new", dir) > 0);
	c->stored = file_load(c->path);
	return c;
}

void vms_catcopy_free(struct vms_catcopy *c)
{
	if (!c)
		return;
	if (c->cat)
		c->cat->ops->forget(c->cat, c);
	if (c->writing)
		write_end(c);
	drop(c);
	json_decref(c->stored);
	free(c->path);
	free(c->tmp);
	free(c);
}

void vms_catcopy_timer(struct vms_catcopy *c, uint64_t now_ms)
{
	c->now_ms = now_ms;
	if (c->writing && atomic_load(&c->done))
		write_end(c);
	if (!c->cat)
		return;
	if (!c->whole && !c->asking && now_ms >= c->read_at_ms)
		ask(c);
	if (c->whole && c->dirty && !c->writing && now_ms >= c->write_at_ms)
		write_begin(c);
}

/* ---- ADMIN ---- */

static int part_of(json_t *head, json_t *kvs, size_t from, json_t **answer)
{
	json_t *part = json_array();
	size_t bytes = 0, i;

	for (i = from; i < json_array_size(kvs) && bytes < PART_BYTES_MAX; i++) {
		json_t *kv = json_array_get(kvs, i);

		bytes += json_string_length(json_array_get(kv, 0)) +
			 json_string_length(json_array_get(kv, 1)) + 64;
		json_array_append(part, kv);
	}
	json_object_set_new(head, "more", json_boolean(i < json_array_size(kvs)));
	json_object_set_new(head, "kvs", part);
	*answer = head;
	return 0;
}

int vms_catcopy_json(struct vms_catcopy *c, const char *after, json_t **answer,
		     struct vms_errmsg *msg)
{
	json_t *all, *head, *kvs;
	size_t from = 0;
	int rc;

	if (!c->whole && !c->stored)
		return vms_fail(msg, VMS_E_NOENT, "this node has no copy of a catalog");
	all = c->whole ? all_json(c) : json_incref(c->stored);
	kvs = json_object_get(all, "kvs");
	head = json_copy(all);
	while (after && from < json_array_size(kvs) &&
	       strcmp(json_string_value(json_array_get(json_array_get(kvs, from), 0)), after) <= 0)
		from++;
	rc = part_of(head, kvs, from, answer);
	json_decref(all);
	return rc;
}

/* ---- numbers of the index ---- */

/* Highest numbers that the index knows, for a catalog that is to be restored above
 * them. The log may hold higher ones: restoring leaves room for them. */
struct highest {
	uint64_t epoch, incarnation, gateway_incarnation, branch, snap_gen, lun_fence, gc_cycle;
};

static void raise_to(uint64_t *to, uint64_t v)
{
	if (v > *to)
		*to = v;
}

static int high(void *arg, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		uint32_t val_bytes)
{
	struct highest *h = arg;
	int n = vms_meta_check(key, key_bytes, val, val_bytes);

	if (key[0] == 'P' && n >= 16) {
		raise_to(&h->epoch, vms_get_le64(val + 8));
		raise_to(&h->gc_cycle, n >= 88 ? vms_get_le64(val + 80) : 0);
	} else if (key[0] == 'G' && n >= 8) {
		raise_to(&h->gateway_incarnation, vms_get_le64(val));
	} else if (key[0] == 'F' && n >= 16 && key_bytes >= 9) {
		raise_to(&h->branch, vms_get_be64(key + 1));
		raise_to(&h->snap_gen, vms_get_le64(val));
		raise_to(&h->lun_fence, vms_get_le64(val + 8));
	} else if (key[0] == 'N' && n >= 8) {
		raise_to(&h->incarnation, vms_get_le64(val));
	}
	return 0;
}

json_t *vms_catcopy_highest(const struct vms_disk *d)
{
	static const char *const kinds[] = {"F", "G", "N", "P"};
	struct highest h = {0};

	for (unsigned i = 0; i < 4; i++) {
		char to = (char)(kinds[i][0] + 1);

		/* what cannot be read is left out: the margin covers it */
		(void)d->ops->meta_range(d->ctx, kinds[i], 1, &to, 1, high, &h);
	}
	return json_pack("{sI sI sI sI sI sI sI}", "epoch", (json_int_t)h.epoch, "incarnation",
			 (json_int_t)h.incarnation, "gateway_incarnation",
			 (json_int_t)h.gateway_incarnation, "branch", (json_int_t)h.branch,
			 "snap_gen", (json_int_t)h.snap_gen, "lun_fence", (json_int_t)h.lun_fence,
			 "gc_cycle", (json_int_t)h.gc_cycle);
}
