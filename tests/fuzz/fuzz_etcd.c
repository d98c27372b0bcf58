// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the etcd client: every line of the input is something that comes from
 * etcd. A: an answer to the oldest call; E: that call fails after it was sent; R: it
 * never left; S: a line of the watch stream; X: its end; anything else: time passes.
 */
#include "cluster/catalog_etcd.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define CALLS_MAX 256

static struct {
	uint64_t id[CALLS_MAX];
	unsigned n;
	uint64_t stream;
	unsigned answers[6]; /* per request: at most one */
	uint64_t last;	     /* revision told by the watch */
	bool over;	     /* the watch has ended */
} w;

static void start(void *ctx, const struct vms_etcd_call *c)
{
	if (c->stream)
		w.stream = c->id;
	else if (w.n < CALLS_MAX)
		w.id[w.n++] = c->id;
}

static void cancel(void *ctx, uint64_t id)
{
	if (w.stream == id)
		w.stream = 0;
	for (unsigned i = 0; i < w.n; i++)
		if (w.id[i] == id) {
			memmove(w.id + i, w.id + i + 1, (--w.n - i) * sizeof(w.id[0]));
			return;
		}
}

static void on_reply(void *arg, const struct vms_cat_reply *r)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	vms_assert(!w.answers[i]++);
	for (unsigned k = 0; k < r->nkv; k++)
		vms_assert(r->kv[k].val && strlen(r->kv[k].key) < (1u << 20));
}

static void on_watch(void *arg, const struct vms_cat_reply *r)
{
	vms_assert(!w.over);
	if (r->status) {
		w.over = true;
		return;
	}
	vms_assert(r->revision > w.last && r->nkv);
	w.last = r->revision;
}

static uint64_t oldest(void)
{
	uint64_t id = w.n ? w.id[0] : 0;

	if (w.n)
		memmove(w.id, w.id + 1, --w.n * sizeof(w.id[0]));
	return id;
}

static void line(struct vms_cat_etcd *e, char *p, size_t n, uint64_t *now)
{
	struct vms_etcd_event ev = {.why = "broken", .data = p + 1, .bytes = n - 1};

	switch (p[0]) {
	case 'A':
		ev.id = oldest();
		ev.end = true;
		ev.http_status = 200;
		ev.why = "";
		break;
	case 'E':
	case 'R':
		ev = (struct vms_etcd_event){
			.id = oldest(), .end = true, .sent = p[0] == 'E', .why = "broken"};
		break;
	case 'S':
		ev.id = w.stream;
		p[n] = '\n'; /* there is room for it */
		ev.bytes = n;
		break;
	case 'X':
		ev = (struct vms_etcd_event){.id = w.stream, .end = true, .why = "broken"};
		w.stream = 0;
		break;
	default:
		ev.id = 0;
	}
	if (ev.id)
		vms_cat_etcd_event(e, &ev, *now);
	else
		vms_cat_etcd_timer(e, *now += 700);
}

static void drop_logs(void *ctx, enum vms_log_level level, const char *text)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vms_cat_etcd_conf c = {.address = {"a:1", "b:1", "c:1"},
				      .naddresses = 3,
				      .name = "tool.f",
				      .timeout_ms = 5000,
				      .seed = 7};
	struct vms_etcd_sink sink = {NULL, start, cancel};
	struct vms_cat_op op[2] = {{"v/a", "1", 0}, {"v/b", NULL, 0}};
	struct vms_cat_cmp cmp = {"v/a", 7};
	char *p = malloc(size + 2), *at;
	struct vms_cat_etcd *e;
	struct vms_catalog *cat;
	uint64_t now = 1000;

	vms_log_set_sink(drop_logs, NULL);
	memset(&w, 0, sizeof(w));
	memcpy(p, data, size);
	p[size] = '\n';
	e = vms_cat_etcd_new(&c, &sink, now);
	cat = vms_cat_etcd_catalog(e);
	cat->ops->get(cat, "cluster", on_reply, (void *)0);
	cat->ops->range(cat, "v/", NULL, on_reply, (void *)1);
	cat->ops->txn(cat, &cmp, 1, op, 2, on_reply, (void *)2);
	cat->ops->session_renew(cat, 77, on_reply, (void *)3);
	cat->ops->session_open(cat, 1000, on_reply, (void *)4);
	cat->ops->status(cat, on_reply, (void *)5);
	(void)cat->ops->watch(cat, "v/", 3, on_watch, &w);
	w.last = 3;
	at = p;
	for (size_t i = 0; i <= size; i++)
		if (p[i] == '\n') {
			if (&p[i] > at)
				line(e, at, (size_t)(&p[i] - at), &now);
			at = &p[i + 1];
		}
	for (unsigned i = 0; i < 10; i++)
		vms_cat_etcd_timer(e, now += 700);
	for (unsigned i = 0; i < 6; i++)
		vms_assert(w.answers[i] == 1);
	vms_cat_etcd_free(e);
	free(p);
	return 0;
}

#define HEAD "\"header\":{\"cluster_id\":\"9\",\"member_id\":\"7\",\"revision\":\"12\"}"
#define INIT                                                                                       \
	"A{" HEAD ",\"succeeded\":true,\"responses\":[{\"response_range\":{}},{\"response_"        \
	"range\":{}},{\"response_range\":{}}]}\n"
/* L3Ztc3RvcmUvdi9h is /vmstore/v/a */
#define KV                                                                                         \
	"{\"key\":\"L3Ztc3RvcmUvdi9h\",\"value\":\"MQ==\",\"mod_revision\":\"7\",\"create_"        \
	"revision\":\"5\"}"
#define CREATED "S{\"result\":{" HEAD ",\"created\":true}}\n"

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static const char *const seed[] = {
		INIT "A{" HEAD ",\"kvs\":[" KV "],\"count\":\"1\"}\nA{" HEAD ",\"kvs\":[" KV "," KV
		     "],\"more\":true}\nA{" HEAD
		     ",\"succeeded\":true,\"responses\":[]}\nA{\"result\":{" HEAD
		     ",\"ID\":\"77\",\"TTL\":\"60\"}}\n",
		INIT CREATED "S{\"result\":{" HEAD ",\"events\":[{\"kv\":" KV
			     "},{\"type\":\"DELETE\",\"kv\":" KV "}]}}\n"
			     "S{\"result\":{" HEAD
			     ",\"canceled\":true,\"compact_revision\":\"9\"}}\n",
		INIT "A{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}\nE\nR\n"
		     "A{" HEAD ",\"responses\":[{\"response_range\":{\"kvs\":[" KV "]}}]}\nT\nT\n",
		"E\nA{" HEAD "}\nR\n" INIT "E\nE\nE\nE\nT\nA{" HEAD
		",\"succeeded\":true,\"responses\":[{\"response_range\":{\"kvs\":[" KV
		"]}},{\"response_put\":{}}]}\n",
		INIT CREATED "X\n" CREATED "S{\"result\":{" HEAD ",\"events\":[{\"kv\":" KV
			     "}]}}\nT\nT\nT\n",
	};

	if (i >= sizeof(seed) / sizeof(seed[0]))
		return 0;
	memcpy(out, seed[i], strlen(seed[i]));
	return strlen(seed[i]);
}
