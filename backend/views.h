/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who was in the last view of each partition, from the folder of a node that does not run:
 * what restoring a lost catalog needs beside the copies of it.
 */
#ifndef VMS_VIEWS_H
#define VMS_VIEWS_H

#include "include/disk.h"
#include "include/types.h"

/* The partition's state in the index (with its CRC checked and off). */
void views_decode(const uint8_t *state, uint32_t bytes, struct vms_view *v);
/* By partition, nparts of them; n 0: it knows of none. Reads index and log, so it takes as
 * long as a start. Not 0: some of it could not be read, v has the rest. */
int vms_views_read(const struct vms_disk *d, struct vms_view *v, uint32_t nparts);

#endif
