// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names of hosts. getaddrinfo() waits for name servers, for many seconds when they are
 * gone, and the loop that renews leases must not: a thread for each lookup calls it, at most
 * one at a time for each name. It shares only its struct lookup with the loop, and whoever
 * is done with that last frees it: a lookup may end long after its net.
 */
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/net_int_posix.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

struct lookup {
	atomic_uint users; /* the thread and the loop */
	atomic_bool done;  /* what follows is the thread's until then */
	int kick;	   /* a duplicate: the net may be gone */
	int rc;
	struct addrs found;
	char *port; /* behind host */
	char host[];
};

struct net_name {
	struct lookup *lookup; /* under way */
	struct addrs last;     /* what it stood for, n 0: not known yet */
	unsigned use;	       /* of those, until it fails */
	unsigned change;       /* counts changes of which address that is */
	UT_hash_handle hh;
	char address[]; /* HOST:PORT */
};

static void lookup_put(struct lookup *l)
{
	if (atomic_fetch_sub(&l->users, 1) > 1)
		return;
	close(l->kick);
	free(l);
}

static void *look_up(void *arg)
{
	struct lookup *l = arg;
	uint64_t one = 1;

	l->rc = net_lookup(l->host, l->port, &l->found);
	atomic_store(&l->done, true);
	(void)!write(l->kick, &one, sizeof(one));
	lookup_put(l);
	return NULL;
}

static struct lookup *lookup_start(struct vms_net *n, const char *host, const char *port)
{
	size_t host_bytes = strlen(host) + 1;
	struct lookup *l = calloc(1, sizeof(*l) + host_bytes + strlen(port) + 1);
	sigset_t all, old;
	pthread_attr_t at;
	pthread_t t;
	int rc;

	vms_assert(l);
	l->port = l->host + host_bytes;
	strcpy(l->host, host);
	strcpy(l->port, port);
	atomic_init(&l->users, 2);
	l->kick = fcntl(n->kick, F_DUPFD_CLOEXEC, 0);
	if (l->kick < 0) {
		free(l);
		return NULL;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&at);
	pthread_attr_setdetachstate(&at, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&t, &at, look_up, l);
	pthread_attr_destroy(&at);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		return l;
	close(l->kick);
	free(l);
	return NULL;
}

static void dial(struct vms_net *n, struct conn *c)
{
	struct net_name *m = c->name;

	c->name_change = m->change;
	net_conn_dial(n, c, &m->last.a[m->use], m->last.len[m->use]);
}

void net_name_dial(struct vms_net *n, struct conn *c, const char *host, const char *port)
{
	char address[HOST_TEXT_MAX + 8];
	struct net_name *m;
	size_t len = (size_t)snprintf(address, sizeof(address), "%s:%s", host, port);

	vms_assert(c->state == RESOLVING && len < sizeof(address));
	HASH_FIND(hh, n->names, address, len, m);
	if (!m) {
		m = calloc(1, sizeof(*m) + len + 1);
		vms_assert(m);
		memcpy(m->address, address, len);
		HASH_ADD_KEYPTR(hh, n->names, m->address, len, m);
	}
	c->name = m;
	if (!m->lookup && (m->lookup = lookup_start(n, host, port)))
		n->nlookups++;
	if (m->last.n)
		dial(n, c);
	else if (!m->lookup)
		net_conn_end(n, c, VMS_E_FULL, "no thread to look its name up");
}

void net_name_failed(struct conn *c)
{
	struct net_name *m = c->name;

	/* not when another connection has found out before, or the name stands for others now */
	if (c->name_change != m->change)
		return;
	m->use = (m->use + 1) % m->last.n;
	m->change++;
}

/* The address in use stays that, wherever it stands in what the name stands for now. */
static void learn(struct net_name *m, const struct addrs *now)
{
	const union any_addr *was = &m->last.a[m->use];
	unsigned i;

	for (i = 0; m->last.n && i < now->n; i++)
		if (now->len[i] == m->last.len[m->use] && !memcmp(&now->a[i], was, now->len[i]))
			break;
	if (!m->last.n || i == now->n) {
		i = 0;
		m->change++;
	}
	m->last = *now;
	m->use = i;
}

static void collect(struct vms_net *n, struct net_name *m)
{
	struct lookup *l = m->lookup;
	struct conn *c, *t;
	char why[96];

	m->lookup = NULL;
	n->nlookups--;
	if (!l->rc)
		learn(m, &l->found);
	else if (m->last.n)
		vms_log_ratelimited(vms_clock_ms(), VMS_LOG_WARN,
				    "looking up %s: %s; what it stood for before is used",
				    m->address, gai_strerror(l->rc));
	snprintf(why, sizeof(why), "looking up %.40s: %.40s", m->address, gai_strerror(l->rc));
	lookup_put(l);
	HASH_ITER (hh, n->conns, c, t) {
		if (c->name != m || c->state != RESOLVING)
			continue;
		if (m->last.n)
			dial(n, c);
		else
			net_conn_end(n, c, VMS_E_DISCONNECTED, why);
	}
}

void net_names_collect(struct vms_net *n)
{
	struct net_name *m, *t;

	HASH_ITER (hh, n->names, m, t)
		if (m->lookup && atomic_load(&m->lookup->done))
			collect(n, m);
}

void net_names_free(struct vms_net *n)
{
	struct net_name *m, *t;

	HASH_ITER (hh, n->names, m, t) {
		if (m->lookup)
			lookup_put(m->lookup);
		HASH_DEL(n->names, m);
		free(m);
	}
}
