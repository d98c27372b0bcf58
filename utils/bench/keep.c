// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench: keeps sessions alive while the program is busy with something else.
 *
 * A gateway closes a session that answers none of its pings for T_nop. Logging in a
 * thousand sessions one after the other, or running a command, may take longer, so a
 * thread answers for them meanwhile. It owns the sessions given to it until
 * vms_bench_keep_end: nobody else may touch these.
 */
#include "utils/bench/bench.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <iscsi/iscsi.h>

#define LOOK_MS 20

struct vms_bench_keep {
	pthread_t thread;
	pthread_mutex_t lock; /* of all below */
	struct vms_bench_sess **sess;
	struct pollfd *pfd;
	unsigned n, max;
	bool ending;
};

static void serve(struct vms_bench_keep *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		struct vms_bench_sess *s = k->sess[i];

		k->pfd[i] = (struct pollfd){.fd = -1};
		if (!s->broken) {
			k->pfd[i].fd = iscsi_get_fd(s->ctx);
			k->pfd[i].events = (short)iscsi_which_events(s->ctx);
		}
	}
	if (poll(k->pfd, k->n, 0) <= 0)
		return;
	for (unsigned i = 0; i < k->n; i++) {
		struct vms_bench_sess *s = k->sess[i];

		if (k->pfd[i].revents && iscsi_service(s->ctx, k->pfd[i].revents) < 0)
			s->broken = true;
	}
}

static void *keeper(void *arg)
{
	struct vms_bench_keep *k = arg;
	bool ending;

	do {
		(void)poll(NULL, 0, LOOK_MS);
		pthread_mutex_lock(&k->lock);
		serve(k);
		ending = k->ending;
		pthread_mutex_unlock(&k->lock);
	} while (!ending);
	return NULL;
}

struct vms_bench_keep *vms_bench_keep_begin(unsigned max)
{
	struct vms_bench_keep *k = calloc(1, sizeof(*k));

	if (k) {
		k->max = max;
		k->sess = calloc(max, sizeof(*k->sess));
		k->pfd = calloc(max, sizeof(*k->pfd));
		pthread_mutex_init(&k->lock, NULL);
		if (k->sess && k->pfd && !pthread_create(&k->thread, NULL, keeper, k))
			return k;
		free(k->sess);
		free(k->pfd);
		pthread_mutex_destroy(&k->lock);
		free(k);
	}
	vms_bench_err("no thread to keep sessions alive");
	return NULL;
}

void vms_bench_keep_add(struct vms_bench_keep *k, struct vms_bench_sess *s)
{
	pthread_mutex_lock(&k->lock);
	k->sess[k->n++] = s;
	pthread_mutex_unlock(&k->lock);
}

int vms_bench_keep_end(struct vms_bench_keep *k)
{
	int rc = 0;

	if (!k)
		return 0;
	pthread_mutex_lock(&k->lock);
	k->ending = true;
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	for (unsigned i = 0; i < k->n && !rc; i++)
		if (k->sess[i]->broken) {
			vms_bench_err("%s: connection lost: %s", k->sess[i]->url,
				      iscsi_get_error(k->sess[i]->ctx));
			rc = -1;
		}
	pthread_mutex_destroy(&k->lock);
	free(k->sess);
	free(k->pfd);
	free(k);
	return rc;
}
