// SPDX-License-Identifier: GPL-2.0-only
/* CRC32C by isa-l's crc32_iscsi, with the usual pre- and post-inversion. */
#include "utils/lib/crc32c.h"

#include <limits.h>
#include <string.h>
#include <isa-l/crc.h>

/* isa-l takes an int length; stay well below it. */
#define VMS_CRC_STEP_BYTES ((size_t)1 << 30)
/* What has just been copied lies in the first cache still. */
#define VMS_CRC_HOT_BYTES ((size_t)4096)

uint32_t vms_crc32c(uint32_t crc, const void *p, size_t len_bytes)
{
	const unsigned char *b = p;
	uint32_t c = ~crc;

	while (len_bytes) {
		size_t n = len_bytes < VMS_CRC_STEP_BYTES ? len_bytes : VMS_CRC_STEP_BYTES;

		/* isa-l's prototype lacks const; it only reads */
		c = crc32_iscsi((unsigned char *)(uintptr_t)b, (int)n, c);
		b += n;
		len_bytes -= n;
	}
	return ~c;
}

uint32_t vms_crc32c_copy(uint32_t crc, void *dst, const void *src, size_t len_bytes)
{
	uint8_t *to = dst;
	const uint8_t *from = src;

	while (len_bytes) {
		size_t n = len_bytes < VMS_CRC_HOT_BYTES ? len_bytes : VMS_CRC_HOT_BYTES;

		memcpy(to, from, n);
		crc = vms_crc32c(crc, to, n);
		to += n;
		from += n;
		len_bytes -= n;
	}
	return crc;
}
