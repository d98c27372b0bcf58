/* SPDX-License-Identifier: GPL-2.0-only */
/* Filling a catalog with all keys of another one: what moving and restoring share. */
#ifndef VMS_TOOL_CATALOG_FILL_H
#define VMS_TOOL_CATALOG_FILL_H

#include "utils/tool/tool.h"

/* Where a catalog's keys go: it must hold no cluster yet, or this one (uuid), as an
 * earlier run left it (*done: nothing is to be written). VMS_E_EXIST: another one. */
int catalog_fill_check(struct tool *t, const struct tool_kvs *kvs, bool *done,
		       struct vms_errmsg *msg);
/* Writes all of kvs, "cluster" last (nobody uses a catalog without it), deletes what else
 * was there and reads it back. May be repeated after any failure. */
int catalog_fill(struct tool *t, const struct tool_kvs *kvs, struct vms_errmsg *msg);
/* Of a catalog without a cluster's record: VMS_E_BUSY when it was being filled. */
int catalog_fill_interrupted(struct tool *t, struct vms_errmsg *msg);
const struct tool_kv *catalog_find(const struct tool_kvs *kvs, const char *key);
/* Does the key go with the session of a process? What such a key says is over when it is
 * read from a copy, and nothing would ever delete it. */
bool catalog_key_passes(const char *key);
void catalog_drop_passing(struct tool_kvs *kvs);
/* [[key, value, ...], ...] of an answer behind what is there. */
int catalog_kvs_add(struct tool_kvs *kvs, const json_t *list);

#endif
