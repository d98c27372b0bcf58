/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * This gateway among the others, as tgt's initiators see it: what discovery lists,
 * which logins are sent elsewhere or refused, and emptying the gateway. Between
 * bs_vmstore.c, tgt and the core of it, portals.h. One per process, on tgt's loop.
 *
 * Only a target of the cluster's registry is told of, and sent to, other gateways.
 */
#ifndef VMS_TGT_PORTALS_H
#define VMS_TGT_PORTALS_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/catalog.h"
#include "utils/lib/settings.h"

struct it_nexus;
struct json_t;

/* cat, settings: borrowed; cat NULL: no cluster, nothing to do. False: out of memory. */
bool tgt_portals_open(struct vms_catalog *cat, const struct vms_settings *settings);
void tgt_portals_close(void);
/* At each turn's end. id: of this gateway, 0 until it is known. */
void tgt_portals_work(uint32_t id);
/* A session has come, or has gone; before open and after close nothing happens. */
void tgt_portals_nexus(const struct it_nexus *itn, bool up);
/* See vms_portals_elsewhere(); 0 without a cluster. */
unsigned tgt_portals_elsewhere(const char *target, char *names, size_t room);
/* It is known whether this gateway may have initiators. */
bool tgt_portals_loaded(void);
/* Statistics "portals.…". New reference. */
struct json_t *tgt_portals_json(void);

#endif
