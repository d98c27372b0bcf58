// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/leftover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/image/dev.h"
#include "utils/image/name.h"

#define GONE_MS 10000u /* how long a killed tool's session may last */

int leftover_tool(struct tool *t, struct nodes *ns, const struct vms_cat_gateway *g,
		  uint32_t wait_ms, bool *gone, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();
	unsigned live;
	int rc;

	*gone = false;
	do {
		if (image_dev_name_held(&t->set, g->name))
			return 0;
		rc = gateway_sessions(t, ns, g->id, 8000, &live, msg);
		if (rc)
			return rc;
		if (!live) {
			rc = gateway_fence(t, ns, g->id, g->incarnation, false, msg);
			*gone = !rc;
			return rc;
		}
		for (unsigned i = 0; i < 5; i++)
			tool_wait(t, 20);
	} while (vms_clock_ms() - t0 < wait_ms && !tool_interrupted());
	return 0;
}

void leftover_settle(struct tool *t, uint64_t id)
{
	static const char *const kinds[] = {"open", "snapopen"};
	struct gateways all = VMS_VEC_INIT;
	struct vms_errmsg ignored;
	struct nodes ns = {0};
	bool loaded = false;

	for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		char prefix[VMS_CAT_KEY_BYTES_MAX];
		struct tool_kvs kv;

		snprintf(prefix, sizeof(prefix), "%s/%016" PRIx64 "/", kinds[k], id);
		if (tool_range(t, prefix, &kv, &ignored))
			kv.n = 0;
		for (size_t i = 0; i < kv.n; i++) {
			struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
			struct vms_cat_open o;
			bool gone;

			if (vms_cat_open_decode(&c, &o, NULL))
				continue;
			if (!loaded &&
			    (gateways_load(t, &all, &ignored) || nodes_open(t, &ns, &ignored)))
				break;
			loaded = true;
			VMS_VEC_FOREACH (&all, g) {
				struct vms_cat_gateway was = g->g;

				if (was.id != o.gateway || !vms_cat_gateway_is_tool(&was))
					continue;
				was.incarnation = o.incarnation;
				/* If it ran on this machine its lock, which is free, says that
				 * it is dead, and its session ends in a moment. */
				(void)leftover_tool(t, &ns, &was,
						    image_name_is_own(was.name) ? GONE_MS : 0,
						    &gone, &ignored);
			}
		}
		tool_kvs_free(&kv);
	}
	gateways_free(&all);
	nodes_close(t, &ns);
}
