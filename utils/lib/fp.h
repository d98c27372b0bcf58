/* SPDX-License-Identifier: GPL-2.0-only */
/* Fingerprints of chunks: SHA-256(salt || chunk), the salt being that of the dedup
 * domain and at most VMS_FP_SALT_BYTES_MAX long.
 *
 * Owner thread: whoever owns the context; one each for threads that hash. */
#ifndef VMS_FP_H
#define VMS_FP_H

#include <stddef.h>
#include <stdint.h>

#define VMS_FP_BYTES	      32u
#define VMS_FP_SALT_BYTES_MAX 64u

struct vms_fp;

/* salt_bytes may be 0. Aborts when memory is out. */
struct vms_fp *vms_fp_open(const void *salt, size_t salt_bytes);
void vms_fp_close(struct vms_fp *f);
void vms_fp_chunk(struct vms_fp *f, const void *data, size_t len_bytes, uint8_t out[VMS_FP_BYTES]);

#endif
