/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Initiators by address: how many connections each has, and how long its next login
 * waits after failed ones.
 *
 * A wrong CHAP secret is never a reason to lock an address out (that would let one
 * guest of a host cut off the others); it makes the logins from there slower: from the
 * third failure on each doubles the distance between two of them, from 250 ms to 5 s,
 * which is well within every initiator's login deadline. A login that succeeds, or a
 * minute without a failure, ends it: a host with one wrong account among hundreds of
 * right ones hardly notices. An IPv6 address counts by its first 64 bits.
 *
 * Owner: the gateway's loop. Bounded memory: VMS_PEERS_MAX addresses; beyond, those
 * without connections are forgotten, oldest failure first.
 */
#ifndef VMS_PEERS_H
#define VMS_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#define VMS_PEERS_MAX	      4096u
#define VMS_PEER_FREE	      2 /* failures without consequence */
#define VMS_PEER_HOLD_MS_MIN  250
#define VMS_PEER_HOLD_MS_MAX  5000
#define VMS_PEER_QUEUE_MS_MAX 8000 /* logins that would wait longer are refused */
#define VMS_PEER_FORGET_MS    60000

struct vms_peers;
struct vms_peer;

/* conns_max: connections of one address at a time. NULL: out of memory. */
struct vms_peers *vms_peers_open(unsigned conns_max);
void vms_peers_close(struct vms_peers *p);
void vms_peers_limit(struct vms_peers *p, unsigned conns_max);

/* A connection from that address, addr[0..bytes): 4 bytes of IPv4 or 16 of IPv6, in
 * network order. NULL: it has too many, or too many logins wait; do
 * not serve it. *hold_until_ms: read nothing from it before then (now_ms: at once). */
struct vms_peer *vms_peer_get(struct vms_peers *p, const uint8_t *addr, unsigned bytes,
			      int64_t now_ms, int64_t *hold_until_ms);
/* The connection is gone. peer may be forgotten. */
void vms_peer_put(struct vms_peers *p, struct vms_peer *peer);

/* A login from there was refused for its credentials; or one succeeded. */
void vms_peer_failed(struct vms_peer *peer, int64_t now_ms);
void vms_peer_passed(struct vms_peer *peer);

unsigned vms_peer_conns(const struct vms_peer *peer);

#endif
