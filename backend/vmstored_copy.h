/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A node's copy of the catalog in its data folder, for the day when the catalog is
 * lost with all its own copies (vmstore-ring restore-catalog).
 *
 * File DIR/catalog.copy: one line "VMSCAT1 CRC BYTES" (CRC32C of what follows in eight
 * hex digits, its length), then JSON {"cluster", "revision", "saved_s", "kvs": [[key,
 * value, mod revision], ...]}. Written whole under another name, synced and renamed, when
 * the catalog has changed, at most once in 5 seconds, by a thread of its own. Nothing
 * but the tools ever reads it. Owner: the node's thread.
 */
#ifndef VMS_VMSTORED_COPY_H
#define VMS_VMSTORED_COPY_H

#include <jansson.h>

#include "cluster/catalog.h"
#include "include/disk.h"

struct vms_catcopy;
/* Knows what the file says, until it follows. */
struct vms_catcopy *vms_catcopy_new(const char *dir);
/* From now on what this catalog says, once it has been read whole. */
void vms_catcopy_follow(struct vms_catcopy *c, struct vms_catalog *cat);
/* Stops following; waits for a writer. */
void vms_catcopy_free(struct vms_catcopy *c);
void vms_catcopy_timer(struct vms_catcopy *c, uint64_t now_ms);
/* One part of the copy behind the key `after` (NULL: from the start) for ADMIN
 * "catalog-copy": {"cluster", "revision", "saved_s", "kvs", "more"}. */
int vms_catcopy_json(struct vms_catcopy *c, const char *after, json_t **answer,
		     struct vms_errmsg *msg);
/* Highest numbers that the node's index holds; the log may hold higher ones, for which
 * restoring leaves room. New reference. */
json_t *vms_catcopy_highest(const struct vms_disk *d);

#endif
