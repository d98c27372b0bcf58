/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the logical unit says about itself: INQUIRY, VPD pages, READ CAPACITY,
 * mode pages. All identity comes from the volume's UUID, so that it is the same
 * through every gateway; only the target port differs.
 *
 * Pure. Sources: spc4r31 6.6, 7.5, 7.8; sbc3r36 5.15, 5.16, 6.4, 6.5.
 */
#ifndef VMS_VPD_H
#define VMS_VPD_H

#include <stdbool.h>
#include <stdint.h>

#include "target/sense.h"

/* First three bytes of the NAA-6 designator. The second bit of the first byte
 * (universal/local) is set: a locally administered value, so it can never be
 * another company's OUI. */
#define VMS_NAA_COMPANY_ID 0x02564du

/* Vendor, product and its revision, unless the LUN has others. */
#define VMS_VPD_VENDOR	 "VMSTORE"
#define VMS_VPD_PRODUCT	 "VMStore disk"
#define VMS_VPD_REVISION "0001"

struct vms_lu_ident {
	uint8_t uuid[16];
	/* As INQUIRY tells them, at most 8, 16 and 4 characters; borrowed. NULL: ours. They
	 * are for people: what initiators know the LUN by is in the pages. */
	const char *vendor, *product, *revision;
	uint64_t nblocks; /* capacity in logical blocks */
	bool write_cache; /* write_ack=memory */
	bool write_protect;
	uint8_t thin_soft_percent; /* of the space used: initiators are warned; 0: never */
	char target_name[224];	   /* iSCSI name of the target */
	uint16_t portal_group;	   /* target portal group tag */
	uint16_t target_port;	   /* relative target port identifier, 1.. */
};

#define VMS_INQUIRY_BYTES_MAX 1024u
/* Answer to an INQUIRY CDB, not cut to its allocation length; out has
 * VMS_INQUIRY_BYTES_MAX. no_lu: the addressed LUN does not exist. Returns the
 * length or -1 with sense. */
int vms_vpd_inquiry(const struct vms_lu_ident *id, const uint8_t *cdb, bool no_lu, uint8_t *out,
		    struct vms_sense *s);

/* READ CAPACITY(10): 8 bytes, (16): 32 bytes. -1 with sense for a bad CDB. */
int vms_vpd_read_capacity10(const struct vms_lu_ident *id, const uint8_t *cdb, uint8_t *out,
			    struct vms_sense *s);
int vms_vpd_read_capacity16(const struct vms_lu_ident *id, const uint8_t *cdb, uint8_t *out,
			    struct vms_sense *s);

/* The mode parameters that can be changed. */
struct vms_mode {
	bool d_sense; /* descriptor format sense data */
	bool swp;     /* software write protect */
};
/* MODE SENSE(6) or (10); out has VMS_MODE_BYTES_MAX. */
#define VMS_MODE_BYTES_MAX 256u
int vms_vpd_mode_sense(const struct vms_lu_ident *id, const struct vms_mode *m, const uint8_t *cdb,
		       uint8_t *out, struct vms_sense *s);
/* MODE SELECT(6) or (10) with its parameter list; everything is checked before m
 * changes. Returns 1 when something changed, 0 when not, -1 with sense. */
int vms_vpd_mode_select(const struct vms_lu_ident *id, struct vms_mode *m, const uint8_t *cdb,
			const uint8_t *list, uint32_t list_bytes, struct vms_sense *s);

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"; out has 37 bytes. */
void vms_vpd_uuid_text(const uint8_t *uuid, char *out);
/* The 16 bytes of the NAA-6 designator. */
void vms_vpd_naa6(const uint8_t *uuid, uint8_t *out);

#endif
