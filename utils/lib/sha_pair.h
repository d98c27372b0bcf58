/* SPDX-License-Identifier: GPL-2.0-only */
/* SHA-256 (FIPS 180-4) of two messages of one length at a time, with the processor's own
 * instructions. One message leaves their units idle half of the time: each step waits for
 * the one before; two messages in turn take hardly longer than one.
 *
 * Pure; any thread. */
#ifndef VMS_SHA_PAIR_H
#define VMS_SHA_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does this processor have the instructions? Without them the call below must not be made. */
bool vms_sha_pair_usable(void);

/* out[i] = SHA-256(head || data[i]). head_bytes at most 64; the sum of both lengths below
 * 2^32. */
void vms_sha_pair(const void *head, size_t head_bytes, const uint8_t *const data[2],
		  size_t len_bytes, uint8_t *const out[2]);

#endif
