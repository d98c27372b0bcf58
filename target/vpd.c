// SPDX-License-Identifier: GPL-2.0-only
/* INQUIRY, VPD, capacity and mode pages; see vpd.h. */
#include "target/vpd.h"

#include <stdio.h>
#include <string.h>

#include "include/types.h"
#include "target/cdb.h"
#include "target/xcopy.h"
#include "utils/lib/bytes.h"

void vms_vpd_uuid_text(const uint8_t *u, char *out)
{
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
}

/* NAA (4 bits), company id (24), then 100 of the UUID's 128 bits: the low 36 of its
 * first five bytes and its last eight. The UUID's version and variant fields are
 * among the bits left out or constant, so about 98 random bits remain. */
void vms_vpd_naa6(const uint8_t *uuid, uint8_t *out)
{
	vms_put_be32(out, 0x60000000u | VMS_NAA_COMPANY_ID << 4 | (uuid[0] & 0x0f));
	memcpy(out + 4, uuid + 1, 4);
	memcpy(out + 8, uuid + 8, 8);
}

/* Header of one designator; its body follows, its length is filled in by end(). */
static uint8_t *desig_begin(struct vms_wr *w, uint8_t code_set, uint8_t assoc, uint8_t type)
{
	uint8_t *p = vms_wr_room(w, 4);

	if (!p)
		return NULL;
	/* protocol identifier 5 (iSCSI) is valid for port and device names only */
	p[0] = (uint8_t)((assoc ? 0x50 : 0) | code_set);
	p[1] = (uint8_t)((assoc ? 0x80 : 0) | assoc << 4 | type);
	p[2] = 0;
	p[3] = 0;
	return p;
}

static void desig_end(struct vms_wr *w, uint8_t *p)
{
	if (p && vms_wr_ok(w))
		p[3] = (uint8_t)(w->p - p - 4);
}

/* SCSI name string: UTF-8, NUL-terminated, padded with NUL to a multiple of 4. */
static void put_name(struct vms_wr *w, const char *text)
{
	size_t n = strlen(text) + 1;

	vms_wr_bytes(w, text, n);
	vms_wr_zero(w, (4 - n % 4) % 4);
}

static void page_83(const struct vms_lu_ident *id, struct vms_wr *w)
{
	uint8_t naa[16], *d;
	char text[256], uuid[37];

	vms_vpd_naa6(id->uuid, naa);
	vms_vpd_uuid_text(id->uuid, uuid);

	d = desig_begin(w, 1, 0, 3); /* NAA */
	vms_wr_bytes(w, naa, 16);
	desig_end(w, d);

	d = desig_begin(w, 2, 0, 1); /* T10 vendor id */
	vms_wr_bytes(w, VMS_VPD_VENDOR " ", 8);
	vms_wr_bytes(w, uuid, 36);
	desig_end(w, d);

	d = desig_begin(w, 3, 0, 8); /* SCSI name string */
	memcpy(text, "naa.", 4);
	for (int i = 0; i < 16; i++)
		snprintf(text + 4 + 2 * i, 3, "%02X", naa[i]);
	put_name(w, text);
	desig_end(w, d);

	d = desig_begin(w, 1, 0, 0xa); /* UUID */
	vms_wr_u8(w, 0x10);
	vms_wr_u8(w, 0);
	vms_wr_bytes(w, id->uuid, 16);
	desig_end(w, d);

	d = desig_begin(w, 1, 1, 4); /* relative target port */
	vms_wr_be16(w, 0);
	vms_wr_be16(w, id->target_port);
	desig_end(w, d);

	d = desig_begin(w, 1, 1, 5); /* target port group: one of each gateway (alua.h) */
	vms_wr_be16(w, 0);
	vms_wr_be16(w, id->target_port);
	desig_end(w, d);

	if (id->target_name[0]) {
		d = desig_begin(w, 3, 1, 8); /* target port name */
		snprintf(text, sizeof(text), "%s,t,0x%04x", id->target_name, id->portal_group);
		put_name(w, text);
		desig_end(w, d);

		d = desig_begin(w, 3, 2, 8); /* target device name */
		put_name(w, id->target_name);
		desig_end(w, d);
	}
}

static void page_86(const struct vms_lu_ident *id, struct vms_wr *w)
{
	uint8_t *p = vms_wr_room(w, 60);

	if (!p)
		return;
	memset(p, 0, 60);
	p[1] = 0x07;			      /* HEADSUP, ORDSUP, SIMPSUP */
	p[2] = id->write_cache ? 0x01 : 0x00; /* V_SUP: there is a volatile cache */
	p[3] = 0x01;			      /* LUICLR: unit attentions are per LU */
}

static void page_b0(struct vms_wr *w)
{
	uint8_t *p = vms_wr_room(w, 60);

	if (!p)
		return;
	memset(p, 0, 60);
	/* offsets are the page's minus its 4-byte header */
	p[0] = 0x01; /* WSNZ */
	p[1] = VMS_CAW_BLOCKS_MAX;
	vms_put_be16(p + 2, VMS_CHUNK_BLOCKS); /* optimal transfer granularity */
	vms_put_be32(p + 4, VMS_XFER_BLOCKS_MAX);
	vms_put_be32(p + 8, VMS_XFER_BLOCKS_OPT);
	vms_put_be32(p + 12, VMS_PREFETCH_BLOCKS_MAX);
	vms_put_be32(p + 16, VMS_UNMAP_BLOCKS_MAX);
	vms_put_be32(p + 20, VMS_UNMAP_DESCS_MAX);
	vms_put_be32(p + 24, VMS_CHUNK_BLOCKS); /* optimal unmap granularity */
	vms_put_be32(p + 28, 0x80000000u);	/* alignment valid, 0 */
	vms_put_be64(p + 32, VMS_WRITE_SAME_BLOCKS_MAX);
	vms_put_be32(p + 40, VMS_ATOMIC_BLOCKS_MAX);
	vms_put_be32(p + 44, VMS_ATOMIC_BLOCKS_MAX); /* alignment */
	vms_put_be32(p + 48, VMS_CHUNK_BLOCKS);	     /* granularity */
	vms_put_be32(p + 52, VMS_ATOMIC_BLOCKS_MAX_BOUNDARY);
	vms_put_be32(p + 56, VMS_ATOMIC_BOUNDARY_MAX);
}

static void page_b1(struct vms_wr *w)
{
	uint8_t *p = vms_wr_room(w, 60);

	if (!p)
		return;
	memset(p, 0, 60);
	vms_put_be16(p, 1); /* non-rotating */
}

/* The threshold is one of percentage (SBC-4), so the exponent only says that there
 * is one: the largest volume has 2^45 blocks, and less than 2^32 sets are allowed. */
#define THRESHOLD_EXPONENT    14
#define THRESHOLD_RANGE_TENTH 10 /* it is told with this exactness: 1 % */

static void page_b2(const struct vms_lu_ident *id, struct vms_wr *w)
{
	vms_wr_u8(w, id->thin_soft_percent ? THRESHOLD_EXPONENT : 0);
	vms_wr_u8(w, 0xe4); /* LBPU, LBPWS, LBPWS10, LBPRZ */
	vms_wr_u8(w, 0x02); /* thin */
	vms_wr_u8(w, id->thin_soft_percent ? THRESHOLD_RANGE_TENTH : 0);
}

/* Left-aligned, filled up with blanks. */
static void put_text(uint8_t *out, size_t room, const char *text, const char *ours)
{
	text = text ? text : ours;
	memset(out, ' ', room);
	memcpy(out, text, strnlen(text, room));
}

static int inquiry_standard(const struct vms_lu_ident *id, bool no_lu, uint8_t *out)
{
	/* SAM-5, SPC-4, SBC-3, iSCSI: each without a version claim, since no clause
	 * by clause comparison with a published version has been made */
	static const uint16_t version[] = {0x00a0, 0x0460, 0x04c0, 0x0960};

	memset(out, 0, 96);
	if (no_lu)
		out[0] = 0x7f;
	out[2] = 0x06; /* SPC-4 */
	out[3] = 0x12; /* HISUP, response data format 2 */
	out[4] = 96 - 5;
	out[5] = 0x18; /* TPGS: implicit; 3PC */
	out[7] = 0x02; /* CMDQUE */
	put_text(out + 8, 8, id->vendor, VMS_VPD_VENDOR);
	put_text(out + 16, 16, id->product, VMS_VPD_PRODUCT);
	put_text(out + 32, 4, id->revision, VMS_VPD_REVISION);
	for (unsigned i = 0; i < sizeof(version) / sizeof(version[0]); i++)
		vms_put_be16(out + 58 + 2 * i, version[i]);
	return 96;
}

int vms_vpd_inquiry(const struct vms_lu_ident *id, const uint8_t *cdb, bool no_lu, uint8_t *out,
		    struct vms_sense *s)
{
	static const uint8_t pages[] = {0x00, 0x80, 0x83, 0x86, 0x8f, 0xb0, 0xb1, 0xb2};
	uint8_t page = cdb[2];
	struct vms_wr w;

	if (cdb[1] & 0xfe) /* CMDDT is obsolete */
		return vms_sense_bad_cdb(s, 1);
	if (!(cdb[1] & 1)) {
		if (page)
			return vms_sense_bad_cdb(s, 2);
		return inquiry_standard(id, no_lu, out);
	}
	if (no_lu && page)
		return vms_sense_bad_cdb(s, 2);
	vms_wr_init(&w, out, VMS_INQUIRY_BYTES_MAX);
	vms_wr_u8(&w, no_lu ? 0x7f : 0x00);
	vms_wr_u8(&w, page);
	vms_wr_be16(&w, 0);
	switch (page) {
	case 0x00:
		vms_wr_bytes(&w, pages, no_lu ? 1 : sizeof(pages));
		break;
	case 0x80:
		for (int i = 0; i < 16; i++) {
			char hex[3];

			snprintf(hex, sizeof(hex), "%02x", id->uuid[i]);
			vms_wr_bytes(&w, hex, 2);
		}
		break;
	case 0x83:
		page_83(id, &w);
		break;
	case 0x86:
		page_86(id, &w);
		break;
	case 0x8f: {
		uint8_t copy[VMS_XCOPY_IN_BYTES_MAX];

		vms_wr_bytes(&w, copy, vms_xcopy_vpd(copy));
		break;
	}
	case 0xb0:
		page_b0(&w);
		break;
	case 0xb1:
		page_b1(&w);
		break;
	case 0xb2:
		page_b2(id, &w);
		break;
	default:
		return vms_sense_bad_cdb(s, 2);
	}
	vms_put_be16(out + 2, (uint16_t)(vms_wr_len(&w) - 4));
	return (int)vms_wr_len(&w);
}

int vms_vpd_read_capacity10(const struct vms_lu_ident *id, const uint8_t *cdb, uint8_t *out,
			    struct vms_sense *s)
{
	uint64_t last = id->nblocks - 1;

	/* LBA is obsolete and has to be 0 without PMI */
	if (!(cdb[8] & 1) && vms_get_be32(cdb + 2))
		return vms_sense_bad_cdb(s, 2);
	vms_put_be32(out, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
	vms_put_be32(out + 4, VMS_LB_BYTES);
	return 8;
}

int vms_vpd_read_capacity16(const struct vms_lu_ident *id, const uint8_t *cdb, uint8_t *out,
			    struct vms_sense *s)
{
	if (!(cdb[14] & 1) && vms_get_be64(cdb + 2))
		return vms_sense_bad_cdb(s, 2);
	memset(out, 0, 32);
	vms_put_be64(out, id->nblocks - 1);
	vms_put_be32(out + 8, VMS_LB_BYTES);
	out[13] = 3;	/* 2^3 logical blocks per physical block */
	out[14] = 0xc0; /* LBPME, LBPRZ; lowest aligned LBA 0 */
	return 32;
}

/* ---- mode pages ---- */

enum { PC_CURRENT, PC_CHANGEABLE, PC_DEFAULT, PC_SAVED };

#define CACHING_BYTES	  20
#define CONTROL_BYTES	  12
#define CONTROL_EXT_BYTES 32
#define LBP_BYTES	  24

static void put_caching(const struct vms_lu_ident *id, int pc, uint8_t *p)
{
	memset(p, 0, CACHING_BYTES);
	p[0] = 0x08;
	p[1] = CACHING_BYTES - 2;
	/* write_ack belongs to the volume, so WCE cannot be changed from here */
	if (pc != PC_CHANGEABLE && id->write_cache)
		p[2] = 0x04;
}

static void put_control(const struct vms_mode *m, int pc, uint8_t *p)
{
	memset(p, 0, CONTROL_BYTES);
	p[0] = 0x0a;
	p[1] = CONTROL_BYTES - 2;
	if (pc == PC_CHANGEABLE) {
		p[2] = 0x04; /* D_SENSE */
		p[4] = 0x08; /* SWP */
		return;
	}
	p[2] = 0x02; /* GLTSD: no log pages are saved */
	p[3] = 0x10; /* commands may be reordered */
	p[5] = 0x40; /* TAS: a command that another nexus aborts ends TASK ABORTED */
	if (pc == PC_CURRENT) {
		p[2] |= m->d_sense ? 0x04 : 0;
		p[4] |= m->swp ? 0x08 : 0;
	}
}

static void put_control_ext(int pc, uint8_t *p)
{
	memset(p, 0, CONTROL_EXT_BYTES);
	p[0] = 0x4a;
	p[1] = 0x01;
	vms_put_be16(p + 2, CONTROL_EXT_BYTES - 4);
	if (pc != PC_CHANGEABLE)
		p[6] = VMS_SENSE_BYTES_MAX; /* maximum sense data length */
}

/* Logical block provisioning: one threshold, on the available percentage of the space
 * that all volumes share. It is set in the gateway's configuration. */
static void put_lbp(const struct vms_lu_ident *id, int pc, uint8_t *p)
{
	memset(p, 0, LBP_BYTES);
	p[0] = 0x5c;
	p[1] = 0x02;
	vms_put_be16(p + 2, LBP_BYTES - 4);
	if (pc == PC_CHANGEABLE)
		return;
	p[16] = 0x80 | 1 << 3; /* enabled; a percentage; armed decreasing */
	p[17] = 0x03;	       /* available provisioning resource percentage */
	vms_put_be32(p + 20, 100u - id->thin_soft_percent);
}

/* Pages that a (page, subpage) asks for; -1 if there is none of it. */
static int put_pages(const struct vms_lu_ident *id, const struct vms_mode *m, int pc, uint8_t page,
		     uint8_t sub, struct vms_wr *w)
{
	bool all = page == 0x3f, lbp = id->thin_soft_percent;
	uint8_t *p;

	/* page 1Ch has no subpage 0 (informational exceptions) here */
	if (sub != 0 && sub != 0xff && !(page == 0x0a && sub == 0x01) &&
	    !(page == 0x1c && sub == 0x02))
		return -1;
	if (!all && page != 0x08 && page != 0x0a && !(page == 0x1c && sub && lbp))
		return -1;
	if (all || page == 0x08) {
		p = vms_wr_room(w, CACHING_BYTES);
		if (p)
			put_caching(id, pc, p);
	}
	if (all || page == 0x0a) {
		if (sub == 0 || sub == 0xff) {
			p = vms_wr_room(w, CONTROL_BYTES);
			if (p)
				put_control(m, pc, p);
		}
		if (sub == 0x01 || sub == 0xff) {
			p = vms_wr_room(w, CONTROL_EXT_BYTES);
			if (p)
				put_control_ext(pc, p);
		}
	}
	if (lbp && (page == 0x1c || (all && sub == 0xff))) {
		p = vms_wr_room(w, LBP_BYTES);
		if (p)
			put_lbp(id, pc, p);
	}
	return 0;
}

int vms_vpd_mode_sense(const struct vms_lu_ident *id, const struct vms_mode *m, const uint8_t *cdb,
		       uint8_t *out, struct vms_sense *s)
{
	bool ten = cdb[0] == 0x5a;
	bool dbd = cdb[1] & 0x08;
	bool llbaa = ten && (cdb[1] & 0x10);
	unsigned desc = dbd ? 0 : llbaa ? 16 : 8;
	uint8_t page = cdb[2] & 0x3f, dev;
	int pc = cdb[2] >> 6;
	struct vms_wr w;
	uint8_t *p;
	size_t len;

	if (pc == PC_SAVED)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_SAVING_NOT_SUPPORTED);
	vms_wr_init(&w, out, VMS_MODE_BYTES_MAX);
	vms_wr_zero(&w, ten ? 8 : 4);
	if (desc) {
		p = vms_wr_room(&w, desc);
		memset(p, 0, desc);
		/* what does not fit in 32 bits is told as all ones */
		if (desc == 16) {
			vms_put_be64(p, id->nblocks);
			vms_put_be32(p + 12, VMS_LB_BYTES);
		} else {
			vms_put_be32(p,
				     id->nblocks > UINT32_MAX ? UINT32_MAX : (uint32_t)id->nblocks);
			vms_put_be32(p + 4, VMS_LB_BYTES);
		}
	}
	if (put_pages(id, m, pc, page, cdb[3], &w))
		return vms_sense_bad_cdb(s, page == 0x08 || page == 0x0a || page == 0x3f ||
							    (page == 0x1c && id->thin_soft_percent)
						    ? 3
						    : 2);
	/* WP and DPOFUA */
	dev = (uint8_t)((id->write_protect || m->swp ? 0x80 : 0) | 0x10);
	len = vms_wr_len(&w);
	if (ten) {
		vms_put_be16(out, (uint16_t)(len - 2));
		out[3] = dev;
		out[4] = desc == 16 ? 1 : 0;
		vms_put_be16(out + 6, (uint16_t)desc);
	} else {
		out[0] = (uint8_t)(len - 1);
		out[2] = dev;
		out[3] = (uint8_t)desc;
	}
	return (int)len;
}

/* A page of a list must equal the current one but for changeable bits. */
static int check_page(const uint8_t *p, unsigned at, const uint8_t *cur, const uint8_t *changeable,
		      unsigned hdr, unsigned len, struct vms_sense *s)
{
	for (unsigned i = hdr; i < len; i++)
		if ((p[i] ^ cur[i]) & ~changeable[i])
			return vms_sense_bad_param(s, at + i);
	return 0;
}

int vms_vpd_mode_select(const struct vms_lu_ident *id, struct vms_mode *m, const uint8_t *cdb,
			const uint8_t *list, uint32_t list_bytes, struct vms_sense *s)
{
	bool ten = cdb[0] == 0x55;
	unsigned hdr = ten ? 8 : 4, desc, at;
	uint32_t want = ten ? vms_get_be16(cdb + 7) : cdb[4];
	struct vms_mode new = *m;
	bool changed;

	if (!(cdb[1] & 0x10)) /* PF */
		return vms_sense_bad_cdb(s, 1);
	if (cdb[1] & 0x01) /* SP: pages cannot be saved */
		return vms_sense_bad_cdb(s, 1);
	if (!want)
		return 0;
	if (list_bytes > want)
		list_bytes = want;
	if (list_bytes < hdr)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	/* the mode data length field is reserved here, and so not looked at */
	desc = ten ? vms_get_be16(list + 6) : list[3];
	if (desc > list_bytes - hdr)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	if (desc) {
		const uint8_t *d = list + hdr;
		bool longd = ten && (list[4] & 1);
		uint64_t n;
		uint32_t block;

		if (desc != (longd ? 16u : 8u))
			return vms_sense_bad_param(s, ten ? 6 : 3);
		n = longd ? vms_get_be64(d) : vms_get_be32(d);
		block = longd ? vms_get_be32(d + 12) : vms_get_be24(d + 5);
		/* 0 and all ones mean: leave the capacity alone */
		if (n && n != id->nblocks && n != (longd ? UINT64_MAX : UINT32_MAX))
			return vms_sense_bad_param(s, hdr);
		if (block != VMS_LB_BYTES)
			return vms_sense_bad_param(s, hdr + (longd ? 12 : 5));
	}
	for (at = hdr + desc; at < list_bytes;) {
		const uint8_t *p = list + at;
		unsigned left = list_bytes - at, len, phdr;
		uint8_t cur[CONTROL_EXT_BYTES], chg[CONTROL_EXT_BYTES];
		uint8_t code = p[0] & 0x7f; /* PS is reserved here */
		bool spf = p[0] & 0x40;

		if (left < 2 || (spf && left < 4))
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_PARAMETER_LIST_LENGTH);
		phdr = spf ? 4 : 2;
		len = phdr + (spf ? vms_get_be16(p + 2) : p[1]);
		if (code == 0x08) {
			put_caching(id, PC_CURRENT, cur);
			put_caching(id, PC_CHANGEABLE, chg);
			if (len != CACHING_BYTES)
				return vms_sense_bad_param(s, at + 1);
		} else if (code == 0x0a) {
			put_control(m, PC_CURRENT, cur);
			put_control(m, PC_CHANGEABLE, chg);
			if (len != CONTROL_BYTES)
				return vms_sense_bad_param(s, at + 1);
		} else if (code == 0x4a && p[1] == 0x01) {
			put_control_ext(PC_CURRENT, cur);
			put_control_ext(PC_CHANGEABLE, chg);
			if (len != CONTROL_EXT_BYTES)
				return vms_sense_bad_param(s, at + 2);
		} else if (code == 0x5c && p[1] == 0x02 && id->thin_soft_percent) {
			put_lbp(id, PC_CURRENT, cur);
			put_lbp(id, PC_CHANGEABLE, chg);
			if (len != LBP_BYTES)
				return vms_sense_bad_param(s, at + 2);
		} else {
			return vms_sense_bad_param(s, at);
		}
		if (len > left)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_PARAMETER_LIST_LENGTH);
		memset(chg, 0, phdr);
		if (check_page(p, at, cur, chg, phdr, len, s))
			return -1;
		if (code == 0x0a) {
			new.d_sense = p[2] & 0x04;
			new.swp = p[4] & 0x08;
		}
		at += len;
	}
	changed = new.d_sense != m->d_sense || new.swp != m->swp;
	*m = new;
	return changed;
}
