// SPDX-License-Identifier: GPL-2.0-only
/*
 * All of libcurl of a process, in a thread of its own: name look-ups, TLS
 * handshakes and a stuck peer never hold up the owner's loop. Keeps: calls go from
 * the owner to the thread and events back through two lists under one lock; after a
 * cancel no event of that call is handed out; events of a call come in order, its
 * end last.
 *
 * Calls use HTTP/1.1: each stream has a connection of its own, so that a slow answer
 * cannot starve the watch (under HTTP/2 they would share one); the connections of
 * other calls are kept and used again.
 */
#include "cluster/catalog_etcd_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "utils/lib/assert.h"
#include "utils/lib/buf.h"

#define CONNECT_MS_MAX	 1000L
#define ANSWER_BYTES_MAX (256u << 20)
#define CONNECTIONS_MAX	 32L

struct call {
	struct call *prev, *next;
	uint64_t id;
	char *url, *body, *token;
	uint32_t timeout_ms;
	bool stream, once, cancel; /* cancel: an order to end call id */
	/* in the thread */
	CURL *easy;
	struct curl_slist *headers;
	size_t body_at, body_bytes;
	struct vms_buf answer;
	char why[CURL_ERROR_SIZE];
	struct vms_etcd_thread *t;
};

struct event {
	struct event *prev, *next;
	struct vms_etcd_event ev; /* data and why are owned */
	char *data, *why;
};

struct vms_etcd_thread {
	unsigned naddresses;
	char *base[VMS_ETCD_ENDPOINTS_MAX]; /* "https://host:port" */
	char *ca, *cert, *key;
	bool tls;
	int fd;
	pthread_t thread;
	CURLM *multi;
	pthread_mutex_t lock;
	/* under the lock */
	struct call *orders;
	struct event *events;
	bool stop;
	/* the thread's */
	struct call *calls;
};

/* ---- events to the owner ---- */

static void post(struct vms_etcd_thread *t, const struct vms_etcd_event *ev)
{
	struct event *e = calloc(1, sizeof(*e));
	uint64_t one = 1;

	vms_assert(e);
	e->ev = *ev;
	e->data = malloc(ev->bytes + 1);
	vms_assert(e->data);
	if (ev->bytes)
		memcpy(e->data, ev->data, ev->bytes);
	e->data[ev->bytes] = 0;
	e->why = strdup(ev->why ? ev->why : "");
	vms_assert(e->why);
	e->ev.data = e->data;
	e->ev.why = e->why;
	pthread_mutex_lock(&t->lock);
	DL_APPEND(t->events, e);
	pthread_mutex_unlock(&t->lock);
	(void)!write(t->fd, &one, sizeof(one));
}

static void event_free(struct event *e)
{
	free(e->data);
	free(e->why);
	free(e);
}

/* ---- the thread ---- */

static void call_free(struct call *c)
{
	if (c->easy)
		curl_easy_cleanup(c->easy);
	curl_slist_free_all(c->headers);
	vms_buf_free(&c->answer);
	free(c->url);
	if (c->body)
		memset(c->body, 0, c->body_bytes); /* it may hold a password */
	free(c->body);
	free(c->token);
	free(c);
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct call *c = arg;

	if (c->stream)
		post(c->t, &(struct vms_etcd_event){.id = c->id, .data = data, .bytes = n});
	else if (!vms_buf_append(&c->answer, data, n))
		return 0;
	return n;
}

/* The body through a callback that cannot be wound back: curl then gives up where it
 * would otherwise send a request again on a new connection. */
static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
	struct call *c = arg;
	size_t left = c->body_bytes - c->body_at;

	n *= size;
	if (n > left)
		n = left;
	memcpy(to, c->body + c->body_at, n);
	c->body_at += n;
	return n;
}

static void header(struct call *c, const char *text)
{
	c->headers = curl_slist_append(c->headers, text);
	vms_assert(c->headers);
}

static void call_begin(struct vms_etcd_thread *t, struct call *c)
{
	char auth[1024];
	CURL *e = curl_easy_init();

	vms_assert(e);
	c->easy = e;
	c->t = t;
	vms_buf_init(&c->answer, ANSWER_BYTES_MAX);
	header(c, "Content-Type: application/json");
	header(c, "Expect:");
	if (c->token &&
	    (size_t)snprintf(auth, sizeof(auth), "Authorization: %s", c->token) < sizeof(auth))
		header(c, auth);
	if (c->stream) /* a member that has lost its leader ends the watch */
		header(c, "Grpc-Metadata-Hasleader: true");
	curl_easy_setopt(e, CURLOPT_URL, c->url);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
	curl_easy_setopt(e, CURLOPT_POST, 1L);
	curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body_bytes);
	if (c->once) {
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(e, CURLOPT_READDATA, c);
	} else {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->body);
	}
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->why);
	curl_easy_setopt(e, CURLOPT_PRIVATE, c);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 5L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 2L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			 c->timeout_ms < CONNECT_MS_MAX ? (long)c->timeout_ms : CONNECT_MS_MAX);
	if (!c->stream)
		curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
	if (t->tls) {
		if (strcmp(t->ca, "system"))
			curl_easy_setopt(e, CURLOPT_CAINFO, t->ca);
		if (t->cert)
			curl_easy_setopt(e, CURLOPT_SSLCERT, t->cert);
		if (t->key)
			curl_easy_setopt(e, CURLOPT_SSLKEY, t->key);
	}
	DL_APPEND(t->calls, c);
	vms_assert(!curl_multi_add_handle(t->multi, e));
}

static void call_end(struct vms_etcd_thread *t, struct call *c)
{
	DL_DELETE(t->calls, c);
	curl_multi_remove_handle(t->multi, c->easy);
	call_free(c);
}

static void cancel(struct vms_etcd_thread *t, uint64_t id)
{
	struct call *c;

	DL_FOREACH (t->calls, c)
		if (c->id == id) {
			call_end(t, c);
			break;
		}
}

static void on_end(struct vms_etcd_thread *t, struct call *c, CURLcode rc)
{
	struct vms_etcd_event ev = {.id = c->id, .end = true};
	curl_off_t connected = 0;
	long status = 0;

	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
	if (rc) {
		ev.why = c->why[0] ? c->why : curl_easy_strerror(rc);
	} else {
		ev.http_status = (int)status;
		ev.data = (const char *)vms_buf_data(&c->answer);
		ev.bytes = vms_buf_len(&c->answer);
	}
	/* Before the connection was there nothing can have left. */
	ev.sent = !rc || connected > 0;
	post(t, &ev);
	call_end(t, c);
}

/* Orders of the owner; false: stop. */
static bool take_orders(struct vms_etcd_thread *t)
{
	struct call *list, *c, *tmp;
	bool stop;

	pthread_mutex_lock(&t->lock);
	list = t->orders;
	t->orders = NULL;
	stop = t->stop;
	pthread_mutex_unlock(&t->lock);
	DL_FOREACH_SAFE (list, c, tmp) {
		DL_DELETE(list, c);
		if (c->cancel) {
			cancel(t, c->id);
			free(c);
		} else if (stop) {
			call_free(c);
		} else {
			call_begin(t, c);
		}
	}
	return !stop;
}

static void *run(void *arg)
{
	struct vms_etcd_thread *t = arg;
	struct call *c;
	CURLMsg *m;
	int n;

	while (take_orders(t)) {
		curl_multi_perform(t->multi, &n);
		while ((m = curl_multi_info_read(t->multi, &n))) {
			if (m->msg != CURLMSG_DONE)
				continue;
			curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
			on_end(t, c, m->data.result);
		}
		curl_multi_poll(t->multi, NULL, 0, 1000, NULL);
	}
	while (t->calls)
		call_end(t, t->calls);
	return NULL;
}

/* ---- the owner's side ---- */

static void order(struct vms_etcd_thread *t, struct call *c)
{
	pthread_mutex_lock(&t->lock);
	DL_APPEND(t->orders, c);
	pthread_mutex_unlock(&t->lock);
	curl_multi_wakeup(t->multi);
}

static void do_start(void *ctx, const struct vms_etcd_call *call)
{
	struct vms_etcd_thread *t = ctx;
	struct call *c = calloc(1, sizeof(*c));

	vms_assert(c && call->endpoint < t->naddresses);
	c->id = call->id;
	vms_assert(asprintf(&c->url, "%s%s", t->base[call->endpoint], call->path) > 0);
	c->body = strdup(call->body);
	c->token = call->token ? strdup(call->token) : NULL;
	vms_assert(c->body && (c->token || !call->token));
	c->body_bytes = strlen(c->body);
	c->timeout_ms = call->timeout_ms;
	c->stream = call->stream;
	c->once = call->once;
	order(t, c);
}

static void do_cancel(void *ctx, uint64_t id)
{
	struct vms_etcd_thread *t = ctx;
	struct call *c = calloc(1, sizeof(*c));
	struct event *e, *tmp;

	vms_assert(c);
	c->id = id;
	c->cancel = true;
	/* Events that wait are dropped here; what the thread still posts is dropped by
	 * the client, which knows the id no more. */
	pthread_mutex_lock(&t->lock);
	DL_FOREACH_SAFE (t->events, e, tmp)
		if (e->ev.id == id) {
			DL_DELETE(t->events, e);
			event_free(e);
		}
	pthread_mutex_unlock(&t->lock);
	order(t, c);
}

struct vms_etcd_sink vms_etcd_thread_sink(struct vms_etcd_thread *t)
{
	return (struct vms_etcd_sink){t, do_start, do_cancel};
}

int vms_etcd_thread_fd(const struct vms_etcd_thread *t)
{
	return t->fd;
}

void vms_etcd_thread_events(struct vms_etcd_thread *t,
			    void (*event)(void *arg, const struct vms_etcd_event *ev), void *arg)
{
	struct event *e;
	uint64_t n;

	(void)!read(t->fd, &n, sizeof(n));
	for (;;) { /* one by one: a callback may cancel what waits */
		pthread_mutex_lock(&t->lock);
		e = t->events;
		if (e)
			DL_DELETE(t->events, e);
		pthread_mutex_unlock(&t->lock);
		if (!e)
			break;
		event(arg, &e->ev);
		event_free(e);
	}
}

/* ---- files ---- */

static int secret_ok(const char *path, const char *what, struct vms_errmsg *msg)
{
	struct stat st;

	if (stat(path, &st) || access(path, R_OK))
		return vms_fail(msg, VMS_E_CONFIG, "%s %.150s: %s", what, path, strerror(errno));
	if (st.st_mode & S_IRWXO)
		return vms_fail(
			msg, VMS_E_CONFIG,
			"%s %.100s can be read by every user of this machine: chmod o= %.60s", what,
			path, path);
	return 0;
}

static int readable(const char *path, const char *what, struct vms_errmsg *msg)
{
	if (access(path, R_OK))
		return vms_fail(msg, VMS_E_CONFIG, "%s %.150s: %s", what, path, strerror(errno));
	return 0;
}

int vms_etcd_user_file(const char *path, char **name, char **password, struct vms_errmsg *msg)
{
	char line[512] = "", *colon;
	int rc = secret_ok(path, "catalog_user", msg);
	FILE *f;

	if (rc)
		return rc;
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		line[0] = 0;
	if (f)
		fclose(f);
	line[strcspn(line, "\r\n")] = 0;
	colon = strchr(line, ':');
	if (!colon || colon == line)
		return vms_fail(msg, VMS_E_CONFIG,
				"catalog_user %.150s: its first line must be NAME:PASSWORD", path);
	*colon = 0;
	*name = strdup(line);
	*password = strdup(colon + 1);
	vms_assert(*name && *password);
	explicit_bzero(line, sizeof(line));
	return 0;
}

static void init_curl(void)
{
	vms_assert(!curl_global_init(CURL_GLOBAL_DEFAULT));
}

static char *copy(const char *s)
{
	char *c = s ? strdup(s) : NULL;

	vms_assert(c || !s);
	return c;
}

int vms_etcd_thread_new(struct vms_etcd_thread **out, const char *const *address,
			unsigned naddresses, const struct vms_etcd_tls *tls, struct vms_errmsg *msg)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct vms_etcd_thread *t;
	sigset_t all, old;
	int rc = 0;

	if (tls->ca && strcmp(tls->ca, "system"))
		rc = readable(tls->ca, "catalog_ca", msg);
	if (!rc && tls->cert)
		rc = readable(tls->cert, "catalog_cert", msg);
	if (!rc && tls->key)
		rc = secret_ok(tls->key, "catalog_key", msg);
	if (!rc && !tls->ca && (tls->cert || tls->key))
		rc = vms_fail(msg, VMS_E_CONFIG,
			      "catalog_cert and catalog_key need catalog_ca: it switches TLS on");
	if (rc)
		return rc;
	pthread_once(&once, init_curl);
	t = calloc(1, sizeof(*t));
	vms_assert(t && naddresses && naddresses <= VMS_ETCD_ENDPOINTS_MAX);
	t->naddresses = naddresses;
	t->tls = tls->ca != NULL;
	t->ca = copy(tls->ca);
	t->cert = copy(tls->cert);
	t->key = copy(tls->key);
	for (unsigned i = 0; i < naddresses; i++)
		vms_assert(asprintf(&t->base[i], "http%s://%s", t->tls ? "s" : "", address[i]) > 0);
	pthread_mutex_init(&t->lock, NULL);
	t->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->multi = curl_multi_init();
	vms_assert(t->fd >= 0 && t->multi);
	curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
	/* Signals are the owner's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&t->thread, NULL, run, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	vms_assert(!rc);
	*out = t;
	return 0;
}

void vms_etcd_thread_free(struct vms_etcd_thread *t)
{
	struct event *e, *et;
	struct call *c, *ct;

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_mutex_unlock(&t->lock);
	curl_multi_wakeup(t->multi);
	pthread_join(t->thread, NULL);
	curl_multi_cleanup(t->multi);
	DL_FOREACH_SAFE (t->events, e, et)
		event_free(e);
	DL_FOREACH_SAFE (t->orders, c, ct)
		call_free(c);
	for (unsigned i = 0; i < t->naddresses; i++)
		free(t->base[i]);
	free(t->ca);
	free(t->cert);
	free(t->key);
	close(t->fd);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
