/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asymmetric access as a VMStore LUN has it: none. Each gateway is one target port
 * group with one port, number = gateway id, for life; all are active/optimized, always,
 * and nobody can change that (TPGS 01b: implicit only), so SET TARGET PORT GROUPS is
 * not among the commands. Every gateway tells the ports of all.
 *
 * Pure. Source: spc4r31 6.37, 5.12.
 */
#ifndef VMS_ALUA_H
#define VMS_ALUA_H

#include <stdint.h>

#include "target/sense.h"

#define VMS_PORTS_MAX	   255u /* told; more gateways than that do not fit anywhere */
#define VMS_RTPG_BYTES_MAX (8u + VMS_PORTS_MAX * 12u)

/* Answer to REPORT TARGET PORT GROUPS, not cut to the allocation length; out has
 * VMS_RTPG_BYTES_MAX. ports: relative target port identifiers, n of them. Its length or
 * -1 with sense. */
int vms_alua_report(const uint8_t *cdb, const uint16_t *ports, unsigned n, uint8_t *out,
		    struct vms_sense *s);

#endif
