// SPDX-License-Identifier: GPL-2.0-only
/* REPORT TARGET PORT GROUPS; see alua.h. */
#include "target/alua.h"

#include <string.h>

#include "utils/lib/bytes.h"

int vms_alua_report(const uint8_t *cdb, const uint16_t *ports, unsigned n, uint8_t *out,
		    struct vms_sense *s)
{
	unsigned format = cdb[1] >> 5;
	unsigned at = format ? 8 : 4;

	if (format > 1)
		return vms_sense_bad_cdb(s, 1);
	memset(out, 0, VMS_RTPG_BYTES_MAX);
	if (format == 1)
		out[4] = 0x10; /* extended header; no transition ever takes time */
	for (unsigned i = 0; i < n && i < VMS_PORTS_MAX; i++, at += 12) {
		out[at] = 0x00;	    /* active/optimized */
		out[at + 1] = 0x01; /* AO_SUP: and no other state */
		vms_put_be16(out + at + 2, ports[i]);
		/* STATUS CODE 0: it has never changed */
		out[at + 7] = 1;
		vms_put_be16(out + at + 10, ports[i]);
	}
	vms_put_be32(out, at - 4);
	return (int)at;
}
