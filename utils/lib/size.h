/* SPDX-License-Identifier: GPL-2.0-only */
/* Sizes and durations as people write them. K, M, G, T are powers of 1024.
 * Pure; any thread. */
#ifndef VMS_SIZE_H
#define VMS_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "include/err.h"

/* "4096", "512K", "20G", "1.5T", "20GiB", "20GB" (also 1024), lower case too.
 * 0 and *bytes, or VMS_E_INVAL and what was wrong. A fraction must come out as whole bytes. */
int vms_size_parse(const char *text, uint64_t *bytes, struct vms_errmsg *e);

/* "250ms", "2s", "1.5s", "10min", "1h"; "0" needs no unit, anything else does. */
int vms_duration_parse(const char *text, uint64_t *ms, struct vms_errmsg *e);

/* Plain decimal number, whole text. */
int vms_u64_parse(const char *text, uint64_t *value, struct vms_errmsg *e);

#define VMS_SIZE_TEXT_MAX 32

/* Exact: the largest unit that divides bytes ("20G", "513", "1536K"). Returns out. */
const char *vms_size_format(uint64_t bytes, char out[VMS_SIZE_TEXT_MAX]);
/* For eyes: three digits and a unit ("1.46 TiB"). */
const char *vms_size_human(uint64_t bytes, char out[VMS_SIZE_TEXT_MAX]);
/* Exact: the largest unit that divides ms ("250ms", "2s", "10min"). */
const char *vms_duration_format(uint64_t ms, char out[VMS_SIZE_TEXT_MAX]);

#endif
