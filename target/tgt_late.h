/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Descriptors that a turn of the loop serves last, and only some of them: portals, and
 * connections that have not logged in.
 *
 * Each set is one descriptor of the loop (an epoll within it), so a thousand that are
 * ready cost a turn no more than one. Whoever is served goes behind the others that are
 * ready (epoll's own rotation), so nobody is overtaken for ever; who is left is ready in
 * the next turn as well, so the loop does not sleep and nothing is forgotten.
 *
 * Owner: the loop's thread.
 */
#ifndef TGT_LATE_H
#define TGT_LATE_H

#include <stdbool.h>
#include <stdint.h>

struct tgt_late {
	int fd;	    /* -1: closed */
	bool ready; /* the loop has said so, and nobody has found it empty since */
};

/* 0 or -errno. late must stay where it is. */
int tgt_late_open(struct tgt_late *late);
void tgt_late_close(struct tgt_late *late);

/* data: what tgt_late_next() returns, not NULL. 0 or -errno. */
int tgt_late_add(struct tgt_late *late, int fd, uint32_t events, void *data);
int tgt_late_modify(struct tgt_late *late, int fd, uint32_t events, void *data);
void tgt_late_del(struct tgt_late *late, int fd);

/* The next that is ready, or NULL. */
void *tgt_late_next(struct tgt_late *late, uint32_t *events);

#endif
