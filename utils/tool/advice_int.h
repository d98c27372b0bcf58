/* SPDX-License-Identifier: GPL-2.0-only */
/* What the rules share: advice_nodes.c (each node by itself), advice_copies.c (what they
 * are together), advice_service.c (catalog and gateways). */
#ifndef VMS_TOOL_ADVICE_INT_H
#define VMS_TOOL_ADVICE_INT_H

#include "utils/tool/advice.h"

/* One more; valid until the next one is added. */
__attribute__((format(printf, 3, 4))) struct advice *
advice_add(struct advices *out, enum advice_level level, const char *risk, ...);
__attribute__((format(printf, 2, 3))) void advice_mend(struct advice *a, const char *fmt, ...);

/* Fields of a node's answer; 0 and "" when they are missing. */
uint64_t advice_number(const json_t *o, const char *name);
const char *advice_word(const json_t *o, const char *name);
/* Nodes that the planner gives copies to. */
uint32_t advice_holders(const struct view *v);

void advice_nodes(const struct advice_facts *f, struct advices *out);
void advice_copies(const struct advice_facts *f, struct advices *out);
void advice_service(const struct advice_facts *f, struct advices *out);

#endif
