/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gateways of the cluster as initiators are told of them: where they listen, who
 * runs, who has the least to do, who is being emptied; and the same of this gateway for
 * the others. Sans-I/O, on the owner's loop.
 *
 * Keys (doc/architecture.md "Catalog keys"): "gateway/<id>" says where, "gwload/<id>"
 * says that it runs and which initiators it has, "gwsent/<id>" whom it has just sent to
 * others (both go with the gateway's catalog session), "gwdrain/<id>" that it is to be
 * emptied.
 *
 * Keeps: a load that is old or missing costs balance, never correctness. A login is sent
 * on only by a policy or a drain. One that was sent on by policy stays where it lands:
 * its port is in the catalog before the initiator hears of it, so before it knocks there;
 * should the watch be late all the same, the port is sent away from here once a minute at
 * most, so no two gateways play ball with it. Where nothing is
 * known (the catalog has not answered yet) nothing is redirected and nobody is drained:
 * wait for vms_portals_loaded() before the first login.
 */
#ifndef VMS_PORTALS_H
#define VMS_PORTALS_H

#include <stdbool.h>
#include <stddef.h>

#include "cluster/catalog.h"

#define VMS_PORTALS_KEEP_MS 600000u /* one that does not run stays in discovery so long */
#define VMS_PORTAL_TEXT_MAX 96u	    /* "[2001:db8::1]:3260,65535" */

struct vms_portals;

/* cat: borrowed. NULL: out of memory. */
struct vms_portals *vms_portals_open(struct vms_catalog *cat, uint64_t now_ms);
void vms_portals_close(struct vms_portals *p);
/* id: this gateway's, 0 until it is known. portals: as in struct vms_cat_gateway, what
 * ought to be told of this gateway; "": it does not serve the cluster's targets. Cheap
 * when nothing is due. */
void vms_portals_timer(struct vms_portals *p, uint32_t id, const char *portals, uint64_t now_ms);
/* All that was in the catalog when it started is known. */
bool vms_portals_loaded(const struct vms_portals *p);

/* Adds a portal to a list as in struct vms_cat_gateway, with blanks between them, unless it
 * is there. False: no room. */
bool vms_portals_list_add(char *list, size_t room, const char *one);

/* An initiator at a target, as a number: paths of one initiator have the same. */
uint64_t vms_portals_who(const char *initiator, const char *target);
/* Sessions at that target on other gateways that live, as they have told (once a second at
 * most, the first 5,000 of each): how many, and on which into names (room bytes, joined by
 * ", ", cut off at its end). Targets are told apart by 24 bits. */
unsigned vms_portals_elsewhere(const struct vms_portals *p, const char *target, char *names,
			       size_t room);
/* A session of an initiator has come here, or has gone. */
void vms_portals_session(struct vms_portals *p, uint64_t who, bool up);

/* Is this gateway to be emptied? *seconds: how long its sessions may stay. */
bool vms_portals_draining(const struct vms_portals *p, uint32_t *seconds);

/* The i-th portal that serves the cluster's targets and takes initiators, of all
 * gateways, as "HOST:PORT,GROUP" into out (VMS_PORTAL_TEXT_MAX). False: there are no
 * more. One that has not been heard of for VMS_PORTALS_KEEP_MS, and one that is being
 * emptied, is not among them. */
bool vms_portals_at(struct vms_portals *p, unsigned i, char *out);

enum vms_login_to {
	VMS_LOGIN_HERE,
	VMS_LOGIN_THERE,   /* to the portal in out, "HOST:PORT" */
	VMS_LOGIN_NOWHERE, /* out: why, for people */
};
struct vms_login {
	uint64_t who;
	uint64_t port;	 /* of the initiator port: name, ISID and target */
	bool everywhere; /* the target is the cluster's: other gateways have it */
	bool spread;	 /* its policy: to the gateway with the least to do */
	const char *at;	 /* "HOST:PORT" it has come to; NULL: not known */
	uint64_t ticket; /* out, if THERE: the answer waits for vms_portals_told() */
};
/* What becomes of a login that has come here. A gateway on which the initiator has no
 * session of that target yet is better than any on which it has, so that paths stay
 * paths; among those, the one with the fewest sessions; there, the portal that is nearest
 * to where it has come to (same family, the longest common beginning), as networks may be apart.
 * While this one is being emptied, an initiator that has another path is refused, not sent on. */
enum vms_login_to vms_portals_login(struct vms_portals *p, struct vms_login *l,
				    char out[VMS_PORTAL_TEXT_MAX]);
/* The others know of all logins sent on with a ticket up to this. (If the catalog does
 * not answer for a second they are let go all the same.) */
uint64_t vms_portals_told(const struct vms_portals *p);

#endif
