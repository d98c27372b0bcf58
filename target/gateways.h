/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cluster's gateways as the catalog tells them ("gateway/<id>"): the target ports
 * that every LUN has, whichever gateway is asked. Tools register as gateways too, but
 * no initiator reaches them; who has no portal is left out.
 *
 * Sans-I/O over the catalog's calls; owner: tgt's loop. What was known last stays while
 * the catalog is away.
 */
#ifndef VMS_GATEWAYS_H
#define VMS_GATEWAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/catalog.h"

struct vms_gateways;

/* cat: borrowed. NULL: out of memory. */
struct vms_gateways *vms_gateways_open(struct vms_catalog *cat, uint64_t now_ms);
void vms_gateways_close(struct vms_gateways *g);
/* Now and then: reads again what could not be read. */
void vms_gateways_timer(struct vms_gateways *g, uint64_t now_ms);

/* Those with a portal, by id. An entry is good until the catalog is heard again (the
 * next turn). */
unsigned vms_gateways_count(const struct vms_gateways *g);
const struct vms_cat_gateway *vms_gateways_at(const struct vms_gateways *g, unsigned i);

#endif
