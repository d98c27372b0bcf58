// SPDX-License-Identifier: GPL-2.0-only
/* Frames are copied into a chain of blocks and written from there; a large payload
 * goes to the socket at once from where it lies, and only what the socket does not take is
 * copied. One writev per connection and flush. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "cluster/net_int_posix.h"
#include "utils/lib/assert.h"

#define BLOCK_BYTES	 (64u << 10)
#define BLOCKS_SPARE_MAX 128u
#define DIRECT_BYTES	 (32u << 10) /* payloads that are worth a system call of their own */

static void block_free(struct vms_net *n, struct block *b)
{
	if (n->nspare < BLOCKS_SPARE_MAX) {
		b->next = n->spare;
		n->spare = b;
		n->nspare++;
	} else {
		free(b);
	}
}

/* All of one size, also for large frames: a block of their size would be mapped and
 * cleared by the kernel each time. */
static struct block *block_new(struct vms_net *n)
{
	struct block *b = n->spare;

	if (b) {
		n->spare = b->next;
		n->nspare--;
	} else {
		b = malloc(sizeof(*b) + BLOCK_BYTES);
		vms_assert(b);
	}
	b->next = NULL;
	b->off = b->len = 0;
	return b;
}

void net_out_drop(struct vms_net *n, struct conn *c)
{
	while (c->head) {
		struct block *b = c->head;

		c->head = b->next;
		block_free(n, b);
	}
	c->tail = NULL;
	c->queued_bytes = 0;
}

void net_out_free(struct vms_net *n)
{
	while (n->spare) {
		struct block *b = n->spare;

		n->spare = b->next;
		free(b);
	}
}

static void out_append(struct vms_net *n, struct conn *c, const void *data, size_t len)
{
	const uint8_t *p = data;

	c->queued_bytes += len;
	while (len) {
		struct block *b = c->tail;
		size_t k;

		if (!b || b->len == BLOCK_BYTES) {
			b = block_new(n);
			if (c->tail)
				c->tail->next = b;
			else
				c->head = b;
			c->tail = b;
		}
		k = BLOCK_BYTES - b->len < len ? BLOCK_BYTES - b->len : len;
		memcpy(b->data + b->len, p, k);
		b->len += k;
		p += k;
		len -= k;
	}
}

/* Takes what was written off the queue; returns how many bytes did not come from it. */
static size_t out_written(struct vms_net *n, struct conn *c, size_t done)
{
	n->counters.bytes_out += done;
	while (done && c->head) {
		struct block *b = c->head;
		size_t k = b->len - b->off < done ? b->len - b->off : done;

		b->off += k;
		done -= k;
		c->queued_bytes -= k;
		if (b->off == b->len) {
			c->head = b->next;
			if (!c->head)
				c->tail = NULL;
			block_free(n, b);
		}
	}
	return done;
}

/* One write of the queue and of the payload behind it. Returns how much of the payload the
 * socket took; the connection may have ended. */
static size_t out_direct(struct vms_net *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_iov iov[IOV_MAX_NET];
	size_t want = c->queued_bytes + m->payload_bytes;
	unsigned niov = 0;
	int64_t done;

	for (struct block *b = c->head; b; b = b->next) {
		if (niov + m->npayload >= IOV_MAX_NET)
			return 0;
		iov[niov++] = (struct vms_iov){b->data + b->off, b->len - b->off};
	}
	memcpy(iov + niov, m->payload, m->npayload * sizeof(*iov));
	done = c->tr->writev(c->t, iov, niov + m->npayload);
	n->counters.writes++;
	if (done < 0 && done != VMS_E_AGAIN) {
		net_conn_end(n, c, VMS_E_DISCONNECTED, "the connection was lost while sending");
		return 0;
	}
	/* the rest has to wait for it anyway */
	if (done < 0 || (size_t)done < want)
		net_conn_watch(n, c, EPOLLIN | EPOLLOUT);
	return done < 0 ? 0 : out_written(n, c, (size_t)done);
}

int vms_net_send(struct vms_net *n, vms_net_conn id, const struct vms_msg *m)
{
	struct conn *c = net_conn_find(n, id);
	uint8_t hdr[VMS_FRAME_HEADER_BYTES];
	size_t bytes = sizeof(hdr) + m->body_bytes + m->payload_bytes, gone = 0;

	if (!c || c->state == CLOSING)
		return VMS_E_DISCONNECTED;
	if (c->queued_bytes + bytes > n->queue_bytes_max) {
		net_conn_end(n, c, VMS_E_FULL, "the peer does not take what is sent to it");
		return VMS_E_FULL;
	}
	vms_msg_encode_header(m, hdr);
	out_append(n, c, hdr, sizeof(hdr));
	out_append(n, c, m->body, m->body_bytes);
	if (m->payload_bytes >= DIRECT_BYTES && m->npayload < IOV_MAX_NET && c->state == UP &&
	    !(c->events & EPOLLOUT))
		gone = out_direct(n, c, m);
	if (c->state == CLOSING)
		return VMS_E_DISCONNECTED;
	for (unsigned i = 0; i < m->npayload; i++) {
		size_t skip = gone < m->payload[i].len ? gone : m->payload[i].len;

		gone -= skip;
		out_append(n, c, (const uint8_t *)m->payload[i].base + skip,
			   m->payload[i].len - skip);
	}
	n->counters.frames_out++;
	if (!c->dirty && c->head) {
		c->dirty = true;
		c->flush_next = n->flush_list;
		n->flush_list = c;
	}
	return 0;
}

void net_out_write(struct vms_net *n, struct conn *c)
{
	while (c->head) {
		struct vms_iov iov[IOV_MAX_NET];
		unsigned niov = 0;
		size_t want = 0;
		int64_t done;

		for (struct block *b = c->head; b && niov < IOV_MAX_NET; b = b->next) {
			iov[niov++] = (struct vms_iov){b->data + b->off, b->len - b->off};
			want += b->len - b->off;
		}
		done = c->tr->writev(c->t, iov, niov);
		n->counters.writes++;
		if (done == VMS_E_AGAIN)
			break;
		if (done < 0) {
			net_conn_end(n, c, VMS_E_DISCONNECTED,
				     "the connection was lost while sending");
			return;
		}
		out_written(n, c, (size_t)done);
		if ((size_t)done < want)
			break;
	}
	net_conn_watch(n, c, c->head ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void vms_net_flush(struct vms_net *n)
{
	/* another's loop calls vms_net_ready() for what is ready only, and this each turn */
	if (n->nconnecting)
		net_expire(n);
	while (n->flush_list) {
		struct conn *c = n->flush_list;

		n->flush_list = c->flush_next;
		c->dirty = false;
		/* with EPOLLOUT set the socket is full: epoll tells when it is not */
		if (c->state == UP && !(c->events & EPOLLOUT))
			net_out_write(n, c);
	}
}
