// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors that are served last, see tgt_late.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "list.h"
#include "util.h"
#include "tgtd.h"

#include "target/tgt_late.h"

static void late_event(int fd, int events, void *data)
{
	((struct tgt_late *)data)->ready = true;
}

int tgt_late_open(struct tgt_late *late)
{
	int err;

	late->ready = false;
	late->fd = epoll_create1(EPOLL_CLOEXEC);
	if (late->fd < 0)
		return -errno;
	err = tgt_event_add(late->fd, EPOLLIN, late_event, late);
	if (err) {
		close(late->fd);
		late->fd = -1;
	}
	return err;
}

void tgt_late_close(struct tgt_late *late)
{
	if (late->fd < 0)
		return;
	tgt_event_del(late->fd);
	close(late->fd);
	late->fd = -1;
	late->ready = false;
}

static int control(struct tgt_late *late, int op, int fd, uint32_t events, void *data)
{
	struct epoll_event ev = {.events = events, .data.ptr = data};

	return epoll_ctl(late->fd, op, fd, &ev) ? -errno : 0;
}

int tgt_late_add(struct tgt_late *late, int fd, uint32_t events, void *data)
{
	return control(late, EPOLL_CTL_ADD, fd, events, data);
}

int tgt_late_modify(struct tgt_late *late, int fd, uint32_t events, void *data)
{
	return control(late, EPOLL_CTL_MOD, fd, events, data);
}

void tgt_late_del(struct tgt_late *late, int fd)
{
	if (late->fd >= 0 && control(late, EPOLL_CTL_DEL, fd, 0, NULL))
		eprintf("epoll_ctl: %m\n");
}

void *tgt_late_next(struct tgt_late *late, uint32_t *events)
{
	struct epoll_event ev;

	if (!late->ready)
		return NULL;
	/* one at a time: serving one may close another */
	if (epoll_wait(late->fd, &ev, 1, 0) != 1) {
		late->ready = false;
		return NULL;
	}
	*events = ev.events;
	return ev.data.ptr;
}
