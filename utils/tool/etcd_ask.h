/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The members of the etcd that the catalog is on, as a tool sees them: asked all at once,
 * each for two seconds at most.
 */
#ifndef VMS_TOOL_ETCD_ASK_H
#define VMS_TOOL_ETCD_ASK_H

#include "cluster/etcd_members.h"
#include "utils/tool/tool.h"

struct etcd_look {
	struct vms_etcd_members m; /* n 0: the catalog is no etcd, or they cannot be asked */
	char address[VMS_ETCD_ENDPOINTS_MAX][VMS_CONF_ADDR_TEXT_MAX];
	struct vms_errmsg why; /* they cannot be asked */
};

void etcd_ask(struct tool *t, struct etcd_look *e);
/* All answer, have a leader, and there is no alarm (or the catalog is no etcd). */
bool etcd_well(const struct etcd_look *e);
/* What is wrong with member i: it does not answer, or is alone; "" when nothing is. */
const char *etcd_member_text(const struct etcd_look *e, unsigned i, char out[256]);
/* Address of the member that alarm i is about, or its number. */
const char *etcd_alarm_member(const struct etcd_look *e, unsigned i, char out[96]);
/* "NOSPACE", "CORRUPT", or "of a kind unknown here" */
const char *etcd_alarm_word(enum vms_etcd_alarm_kind kind);
/* "none more may be lost before nothing can be changed", and so on */
const char *etcd_spare_text(const struct etcd_look *e, char out[128]);
/* How many answer, then a line for each that is not well, and for each alarm; `head` wide
 * are the labels. */
void etcd_print(const struct etcd_look *e, int head);
json_t *etcd_json(const struct etcd_look *e);

#endif
