/* SPDX-License-Identifier: GPL-2.0-only */
/* CRC32C (Castagnoli), the checksum of every disk and wire format.
 * Source: RFC 7143 appendix A.4 (polynomial, test vectors). */
#ifndef VMS_CRC32C_H
#define VMS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues a checksum over len_bytes more bytes.
 * crc: 0 to start, or the value returned for the bytes before, so that
 * crc(crc(0, a), b) equals the checksum of a followed by b.
 * p: borrowed; may be NULL if len_bytes is 0. Owner: any thread. */
uint32_t vms_crc32c(uint32_t crc, const void *p, size_t len_bytes);

/* Copies, and goes on with the CRC over what the copy holds: cheaper than one after the
 * other. */
uint32_t vms_crc32c_copy(uint32_t crc, void *dst, const void *src, size_t len_bytes);

#endif
