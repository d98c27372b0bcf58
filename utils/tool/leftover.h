/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What killed tools leave behind: `vmstore export` and `import` are gateways of their
 * own (utils/image/dev.h), and a process that was killed has its volumes and snapshots
 * registered still.
 */
#ifndef VMS_TOOL_LEFTOVER_H
#define VMS_TOOL_LEFTOVER_H

#include "utils/tool/gateway.h"

/* A tool whose process is gone, and whose sessions have ended or do so within wait_ms, is
 * shut out, with all it had open. *gone: so it was; else it lives. */
int leftover_tool(struct tool *t, struct nodes *ns, const struct vms_cat_gateway *g,
		  uint32_t wait_ms, bool *gone, struct vms_errmsg *msg);

/* The same for every tool that has volume `id` or a snapshot of it open. Errors are no
 * error: what stays registered stands in the way and says so itself. */
void leftover_settle(struct tool *t, uint64_t id);

#endif
