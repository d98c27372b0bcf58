// SPDX-License-Identifier: GPL-2.0-only
/* Initiators by address, see peers.h. */
#include <stdlib.h>
#include <string.h>

#include "target/peers.h"
#include "utils/lib/assert.h"

#define BUCKETS 1024u

struct vms_peer {
	struct vms_peer *next;
	uint8_t key[17]; /* family mark, then the address or its first 64 bits */
	unsigned conns, failures;
	int64_t failed_ms; /* the last failure */
	int64_t slot_ms;   /* the next login that waits may begin then */
};

struct vms_peers {
	unsigned n, conns_max;
	struct vms_peer *bucket[BUCKETS];
};

struct vms_peers *vms_peers_open(unsigned conns_max)
{
	struct vms_peers *p = calloc(1, sizeof(*p));

	if (p)
		p->conns_max = conns_max;
	return p;
}

void vms_peers_close(struct vms_peers *p)
{
	for (unsigned i = 0; p && i < BUCKETS; i++)
		while (p->bucket[i]) {
			struct vms_peer *e = p->bucket[i];

			p->bucket[i] = e->next;
			free(e);
		}
	free(p);
}

void vms_peers_limit(struct vms_peers *p, unsigned conns_max)
{
	p->conns_max = conns_max;
}

static void key_of(const uint8_t *addr, unsigned bytes, uint8_t key[17])
{
	static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

	memset(key, 0, 17);
	/* an IPv4 address is the same one through a socket of both families */
	if (bytes == 16 && !memcmp(addr, mapped, 12)) {
		addr += 12;
		bytes = 4;
	}
	key[0] = (uint8_t)bytes;
	memcpy(key + 1, addr, bytes == 16 ? 8 : bytes);
}

static unsigned bucket_of(const uint8_t key[17])
{
	uint32_t h = 2166136261u;

	for (unsigned i = 0; i < 17; i++)
		h = (h ^ key[i]) * 16777619u;
	return h % BUCKETS;
}

static void drop(struct vms_peers *p, struct vms_peer *e)
{
	struct vms_peer **at = &p->bucket[bucket_of(e->key)];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	p->n--;
	free(e);
}

/* The one whose failures are the oldest makes room. */
static bool make_room(struct vms_peers *p)
{
	struct vms_peer *old = NULL;

	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct vms_peer *e = p->bucket[i]; e; e = e->next)
			if (!e->conns && (!old || e->failed_ms < old->failed_ms))
				old = e;
	if (old)
		drop(p, old);
	return old;
}

static int64_t distance_ms(const struct vms_peer *e)
{
	int64_t d = VMS_PEER_HOLD_MS_MIN;

	for (unsigned i = VMS_PEER_FREE + 1; i < e->failures && d < VMS_PEER_HOLD_MS_MAX; i++)
		d *= 2;
	return d < VMS_PEER_HOLD_MS_MAX ? d : VMS_PEER_HOLD_MS_MAX;
}

struct vms_peer *vms_peer_get(struct vms_peers *p, const uint8_t *addr, unsigned bytes,
			      int64_t now_ms, int64_t *hold_until_ms)
{
	uint8_t key[17];
	struct vms_peer *e;
	unsigned b;

	key_of(addr, bytes, key);
	b = bucket_of(key);
	for (e = p->bucket[b]; e && memcmp(e->key, key, 17); e = e->next)
		;
	if (!e) {
		if (p->n >= VMS_PEERS_MAX && !make_room(p))
			return NULL;
		e = calloc(1, sizeof(*e));
		if (!e)
			return NULL;
		memcpy(e->key, key, 17);
		e->next = p->bucket[b];
		p->bucket[b] = e;
		p->n++;
	}
	if (e->conns >= p->conns_max)
		return NULL;
	if (e->failures && now_ms - e->failed_ms > VMS_PEER_FORGET_MS)
		e->failures = 0;
	*hold_until_ms = now_ms;
	if (e->failures > VMS_PEER_FREE) {
		if (e->slot_ms < now_ms)
			e->slot_ms = now_ms;
		if (e->slot_ms + distance_ms(e) - now_ms > VMS_PEER_QUEUE_MS_MAX)
			return NULL;
		e->slot_ms += distance_ms(e);
		*hold_until_ms = e->slot_ms;
	}
	e->conns++;
	return e;
}

void vms_peer_put(struct vms_peers *p, struct vms_peer *peer)
{
	vms_assert(peer->conns);
	peer->conns--;
	if (!peer->conns && !peer->failures)
		drop(p, peer);
}

void vms_peer_failed(struct vms_peer *peer, int64_t now_ms)
{
	if (peer->failures < 32)
		peer->failures++;
	peer->failed_ms = now_ms;
}

void vms_peer_passed(struct vms_peer *peer)
{
	peer->failures = 0;
	peer->slot_ms = 0;
}

unsigned vms_peer_conns(const struct vms_peer *peer)
{
	return peer->conns;
}
