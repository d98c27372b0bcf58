/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Emptying gateways: what the catalog says of who takes initiators, and asking for a
 * drain or its end. The gateway itself does it (target/tgt_portals.c); the record stays
 * until the drain is ended, whatever starts or stops meanwhile.
 */
#ifndef VMS_TOOL_GWDRAIN_H
#define VMS_TOOL_GWDRAIN_H

#include "utils/tool/gateway.h"

/* One gateway as its initiators see it. */
struct gate_state {
	bool up;       /* it runs */
	bool draining; /* it is to be emptied */
	bool knows;    /* and knows it; or knows that it is not */
	unsigned sessions;
	struct vms_cat_gwdrain drain; /* if draining */
	uint64_t drain_rev;	      /* 0: not draining */
};
/* Of the gateways in g, in their order; *out: malloc'ed. */
int gate_states(struct tool *t, const struct gateways *g, struct gate_state **out,
		struct vms_errmsg *msg);
/* "up", "down", "draining", "drained", "drained,down", or "tool" for one that initiators
 * cannot reach. */
const char *gate_state_text(const struct vms_cat_gateway *g, const struct gate_state *s);

/* Puts the drain on: sessions that have not left after so many seconds are closed.
 * VMS_E_BUSY: no other gateway takes initiators (force: all the same). */
int gate_drain(struct tool *t, const char *name, uint32_t seconds, bool force,
	       struct vms_errmsg *msg);
/* Takes it off. *was: there was one. */
int gate_undrain(struct tool *t, const char *name, bool *was, struct vms_errmsg *msg);
/* The present state of one; VMS_E_NOENT: there is no such gateway. */
int gate_look(struct tool *t, const char *name, struct gate_state *out, struct vms_cat_gateway *g,
	      struct vms_errmsg *msg);

#endif
