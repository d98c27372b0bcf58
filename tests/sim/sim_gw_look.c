/* SPDX-License-Identifier: GPL-2.0-only */
/* Apart from the others, as sim_memory.c: what has to be looked into a gateway for. */
#include "target/gw_int.h"
#include "tests/sim/sim_memory.h"

bool sim_gw_unsure(const struct vms_gw_vol *v, char *key)
{
	if (!v->reg_unsure || v->open_rev)
		return false;
	if (key)
		gw_vol_open_key(v, key);
	return true;
}

bool sim_gw_is(const struct vms_gw *gw, uint32_t id, uint64_t incarnation)
{
	return gw->id == id && gw->incarnation == incarnation;
}
