// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the wire codec: LLVMFuzzerTestOneInput, so that it links with
 * libFuzzer (-DVMS_LIBFUZZER); without it a main() that replays the files named
 * by its arguments.
 *
 * When the first byte is odd the frame's CRCs are set right before it is
 * decoded: otherwise no input would ever get past them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix_crcs(uint8_t *f, size_t len)
{
	int64_t whole = vms_msg_frame_bytes(f, len);
	uint32_t body;

	if (whole <= 0 || (uint64_t)whole != len)
		return;
	body = vms_get_le32(f + 8);
	if (vms_get_le16(f + 6) & VMS_F_PAYLOAD_CRC)
		vms_put_le32(f + 116, vms_crc32c(0, f + VMS_FRAME_HEADER_BYTES + body,
						 vms_get_le32(f + 12)));
	vms_put_le32(f + 120, 0);
	vms_put_le32(f + 120, vms_crc32c(0, f, VMS_FRAME_HEADER_BYTES + body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vms_piece pieces[VMS_WRITE_PIECES_MAX];
	struct vms_hello h;
	struct vms_iov iov;
	struct vms_msg m;
	uint8_t *f, kind;

	if (size < 1)
		return 0;
	f = malloc(size);
	memcpy(f, data + 1, size - 1);
	if (data[0] & 1)
		fix_crcs(f, size - 1);
	if (!vms_msg_decode(f, size - 1, &m, &iov)) {
		uint8_t hdr[VMS_FRAME_HEADER_BYTES];

		/* what was accepted encodes to the same bytes */
		vms_msg_encode_header(&m, hdr);
		vms_assert(!memcmp(hdr, f, sizeof(hdr)));
		if (vms_write_body_decode(&m, &kind, pieces) > 0)
			vms_assert(kind >= VMS_WRITE_DATA && kind <= VMS_WRITE_ORWRITE);
		if (!vms_hello_decode(&m, &h))
			vms_assert(strlen(h.name) < sizeof(h.name));
	}
	free(f);
	return 0;
}

#ifndef VMS_LIBFUZZER
int main(int argc, char **argv)
{
	static uint8_t buf[8 << 20];

	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		size_t n;

		if (!f) {
			perror(argv[i]);
			return 1;
		}
		n = fread(buf, 1, sizeof(buf), f);
		fclose(f);
		LLVMFuzzerTestOneInput(buf, n);
	}
	printf("%d inputs replayed\n", argc - 1);
	return 0;
}
#endif
