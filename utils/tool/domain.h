/* SPDX-License-Identifier: GPL-2.0-only */
/* Dedup domains: volumes of different ones share no chunks, and cannot find out what the
 * others hold, because a secret salt goes into every fingerprint. */
#ifndef VMS_TOOL_DOMAIN_H
#define VMS_TOOL_DOMAIN_H

#include "utils/tool/tool.h"

int domain_name_check(const char *name, struct vms_errmsg *msg);
int domain_create(struct tool *t, const char *name, struct vms_errmsg *msg);
/* VMS_E_BUSY: volumes are in it, msg names them. */
int domain_remove(struct tool *t, const char *name, struct vms_errmsg *msg);
/* VMS_E_NOENT in words; the key's revision. */
int domain_salt(struct tool *t, const char *name, uint8_t salt[32], uint64_t *mod_revision,
		struct vms_errmsg *msg);

#endif
