// SPDX-License-Identifier: GPL-2.0-only
/* EXTENDED COPY and RECEIVE COPY RESULTS as bytes; see xcopy.h. */
#include "target/xcopy.h"

#include <string.h>

#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define HEADER	   16u
#define CSCD_BYTES 32u
#define SEG_BYTES  28u
#define CSCD_IDENT 0xe4
#define SEG_B2B	   0x02

/* ---- the parameter list ---- */

static int bad(struct vms_sense *s, uint16_t asc, unsigned byte)
{
	vms_sense_bad_param(s, byte);
	s->asc = asc;
	return -1;
}

static int parse_cscd(const uint8_t *d, unsigned at, struct vms_xcopy_cscd *c, struct vms_sense *s)
{
	if (d[0] != CSCD_IDENT)
		return bad(s, VMS_ASC_UNSUPPORTED_CSCD, at);
	/* LU ID TYPE and NUL mean nothing any more */
	if (d[1] & 0x1f) /* a disk */
		return vms_sense_bad_param(s, at + 1);
	if (d[5] & 0x30) /* ASSOCIATION: logical unit */
		return vms_sense_bad_param(s, at + 5);
	if (!d[7] || d[7] > 20)
		return vms_sense_bad_param(s, at + 7);
	if (vms_get_be24(d + 29) != VMS_LB_BYTES)
		return vms_sense_bad_param(s, at + 29);
	c->code_set = d[4] & 0x0f;
	c->type = d[5] & 0x0f;
	c->len = d[7];
	memcpy(c->designator, d + 8, c->len);
	return 0;
}

static int parse_seg(const uint8_t *d, unsigned at, uint32_t left, struct vms_xcopy_seg *g,
		     struct vms_sense *s)
{
	if (d[0] != SEG_B2B)
		return bad(s, VMS_ASC_UNSUPPORTED_SEGMENT, at);
	if (left < SEG_BYTES)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	/* DC and CAT make no difference between blocks of one size */
	if (vms_get_be16(d + 2) != SEG_BYTES - 4)
		return vms_sense_bad_param(s, at + 2);
	g->from = vms_get_be16(d + 4);
	g->to = vms_get_be16(d + 6);
	g->nblocks = vms_get_be16(d + 10);
	g->from_lba = vms_get_be64(d + 12);
	g->to_lba = vms_get_be64(d + 20);
	if (g->nblocks > VMS_XCOPY_SEG_BLOCKS)
		return vms_sense_bad_param(s, at + 10);
	return 0;
}

int vms_xcopy_parse(const uint8_t *cdb, const uint8_t *list, uint64_t got, struct vms_xcopy *x,
		    struct vms_sense *s)
{
	uint64_t want = vms_get_be32(cdb + 10);
	uint32_t cscds, segs;
	unsigned usage, at;

	memset(x, 0, sizeof(*x));
	if (!want)
		return 0;
	if (got < want)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
				      VMS_ASC_INVALID_FIELD_IN_COMMAND_IU);
	if (want < HEADER)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	usage = list[1] >> 3 & 3;
	cscds = vms_get_be16(list + 2);
	segs = vms_get_be32(list + 8);
	if (usage == 1)
		return vms_sense_bad_param(s, 1);
	if (usage == 3 && list[0])
		return vms_sense_bad_param(s, 0);
	if (vms_get_be32(list + 12))
		return bad(s, VMS_ASC_INLINE_DATA_LENGTH, 12);
	if (segs > VMS_XCOPY_DESC_BYTES || cscds + segs > VMS_XCOPY_DESC_BYTES ||
	    HEADER + cscds + segs > want)
		return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH);
	if (cscds / CSCD_BYTES > VMS_XCOPY_CSCDS_MAX)
		return bad(s, VMS_ASC_TOO_MANY_CSCDS, 2);
	if (segs / SEG_BYTES > VMS_XCOPY_SEGS_MAX)
		return bad(s, VMS_ASC_TOO_MANY_SEGMENTS, 8);
	x->identified = usage != 3;
	x->list_id = list[0];
	for (at = HEADER; at < HEADER + cscds; at += CSCD_BYTES) {
		/* the type first: those that are not offered may have other lengths */
		if (list[at] == CSCD_IDENT && HEADER + cscds - at < CSCD_BYTES)
			return vms_sense_fail(s, VMS_SK_ILLEGAL_REQUEST,
					      VMS_ASC_PARAMETER_LIST_LENGTH);
		if (parse_cscd(list + at, at, &x->cscd[x->ncscds], s))
			return -1;
		x->ncscds++;
	}
	for (uint32_t end = at + segs; at < end; at += SEG_BYTES) {
		if (parse_seg(list + at, at, end - at, &x->seg[x->nsegs], s))
			return -1;
		x->nsegs++;
	}
	return 0;
}

bool vms_xcopy_names(const struct vms_xcopy_cscd *c, const struct vms_lu_ident *id)
{
	uint8_t d[20];

	if (c->code_set != 1)
		return false;
	switch (c->type) {
	case 3:
		vms_vpd_naa6(id->uuid, d);
		return c->len == 16 && !memcmp(c->designator, d, 16);
	case 0xa:
		d[0] = 0x10;
		d[1] = 0;
		memcpy(d + 2, id->uuid, 16);
		return c->len == 18 && !memcmp(c->designator, d, 18);
	default: /* the T10 vendor id and the SCSI name string do not fit in a descriptor */
		return false;
	}
}

/* ---- results ---- */

struct vms_xcopy_result *vms_xcopy_find(struct vms_xcopy_results *t, uint64_t session,
					const void *lu, uint8_t list_id)
{
	for (unsigned i = 0; i < VMS_XCOPY_RESULTS_MAX; i++) {
		struct vms_xcopy_result *r = &t->r[i];

		if (r->session == session && r->lu == lu && r->list_id == list_id)
			return r;
	}
	return NULL;
}

struct vms_xcopy_result *vms_xcopy_keep(struct vms_xcopy_results *t, uint64_t session,
					const void *lu, uint8_t list_id)
{
	struct vms_xcopy_result *best = vms_xcopy_find(t, session, lu, list_id);

	for (unsigned i = 0; i < VMS_XCOPY_RESULTS_MAX && !best; i++)
		if (!t->r[i].session)
			best = &t->r[i];
	for (unsigned i = 0; !best || best->running; i++) {
		/* fewer run at a time than there are places */
		vms_assert(i < VMS_XCOPY_RESULTS_MAX);
		best = &t->r[i];
	}
	if (best->session &&
	    (best->session != session || best->lu != lu || best->list_id != list_id))
		for (unsigned i = 0; i < VMS_XCOPY_RESULTS_MAX; i++)
			if (!t->r[i].running && t->r[i].age < best->age)
				best = &t->r[i];
	memset(best, 0, sizeof(*best));
	best->session = session;
	best->lu = lu;
	best->list_id = list_id;
	best->running = true;
	best->age = ++t->clock;
	return best;
}

void vms_xcopy_forget(struct vms_xcopy_results *t, uint64_t session, const void *lu)
{
	for (unsigned i = 0; i < VMS_XCOPY_RESULTS_MAX; i++) {
		struct vms_xcopy_result *r = &t->r[i];

		if (!r->running && (session ? r->session == session : r->lu == lu))
			memset(r, 0, sizeof(*r));
	}
}

/* ---- RECEIVE COPY RESULTS ---- */

static int operating_parameters(uint8_t *out)
{
	memset(out, 0, 46);
	out[4] = 0x01; /* SNLID: usage 11b is understood */
	vms_put_be16(out + 8, VMS_XCOPY_CSCDS_MAX);
	vms_put_be16(out + 10, VMS_XCOPY_SEGS_MAX);
	vms_put_be32(out + 12, VMS_XCOPY_DESC_BYTES);
	vms_put_be32(out + 16, VMS_XCOPY_SEG_BLOCKS * VMS_LB_BYTES);
	/* no inline data, no held data, no streams */
	vms_put_be16(out + 34, VMS_XCOPY_COPIES_MAX);
	out[36] = VMS_XCOPY_COPIES_MAX;
	out[37] = 9; /* data segment granularity: a block */
	out[43] = 2;
	out[44] = SEG_B2B;
	out[45] = CSCD_IDENT;
	vms_put_be32(out, 46 - 4);
	return 46;
}

static int copy_status(const struct vms_xcopy_result *r, uint8_t *out)
{
	uint64_t bytes = r->blocks * VMS_LB_BYTES, units = 0;

	while (bytes >> (10 * units) > UINT32_MAX)
		units++;
	memset(out, 0, 12);
	vms_put_be32(out, 8);
	/* in progress, completed without errors, completed with errors */
	out[4] = r->running ? 0 : r->status == VMS_SAM_GOOD ? 1 : 2;
	vms_put_be16(out + 5, r->segments);
	out[7] = (uint8_t)units;
	vms_put_be32(out + 8, (uint32_t)(bytes >> (10 * units)));
	return 12;
}

static int failed_segment(struct vms_xcopy_result *r, uint8_t *out)
{
	unsigned n = r->status == VMS_SAM_GOOD ? 4 : 60u + r->sense_len;

	memset(out, 0, VMS_XCOPY_IN_BYTES_MAX);
	vms_put_be32(out, n - 4); /* 0: nothing has failed */
	if (n > 4) {
		out[56] = r->status;
		vms_put_be16(out + 58, r->sense_len);
		memcpy(out + 60, r->sense, r->sense_len);
	}
	memset(r, 0, sizeof(*r));
	return (int)n;
}

int vms_xcopy_receive(struct vms_xcopy_results *t, uint64_t session, const void *lu,
		      const uint8_t *cdb, uint8_t *out, struct vms_sense *s)
{
	unsigned sa = cdb[1] & 0x1f;
	struct vms_xcopy_result *r;

	if (sa == 0x03)
		return operating_parameters(out);
	r = vms_xcopy_find(t, session, lu, cdb[2]);
	if (!r || (r->running && sa != 0x00))
		return vms_sense_bad_cdb(s, 2);
	if (sa == 0x00)
		return copy_status(r, out);
	if (sa == 0x04)
		return failed_segment(r, out);
	/* RECEIVE DATA: no segment that is offered holds any */
	vms_put_be32(out, 0);
	return 4;
}

/* ---- VPD page 8F ---- */

static uint8_t *desc(uint8_t *p, uint16_t type, uint16_t bytes)
{
	vms_put_be16(p, type);
	vms_put_be16(p + 2, bytes);
	return p + 4 + bytes;
}

unsigned vms_xcopy_vpd(uint8_t *out)
{
	static const uint8_t commands[] = {0x83, 1, 0x00, 0x84, 4, 0x00, 0x01, 0x03, 0x04};
	uint8_t *p = out, *q;

	memset(out, 0, VMS_XCOPY_IN_BYTES_MAX);
	q = desc(p, 0x0001, 12); /* supported commands */
	p[4] = sizeof(commands);
	memcpy(p + 5, commands, sizeof(commands));
	p = q;
	q = desc(p, 0x0004, 28); /* parameter data */
	vms_put_be16(p + 8, VMS_XCOPY_CSCDS_MAX);
	vms_put_be16(p + 10, VMS_XCOPY_SEGS_MAX);
	vms_put_be32(p + 12, VMS_XCOPY_DESC_BYTES);
	p = q;
	q = desc(p, 0x0008, 4); /* supported descriptors */
	p[4] = 2;
	p[5] = SEG_B2B;
	p[6] = CSCD_IDENT;
	p = q;
	q = desc(p, 0x000c, 4); /* supported CSCD ids beyond the list */
	vms_put_be16(p + 4, 2);
	vms_put_be16(p + 6, VMS_XCOPY_SELF);
	p = q;
	q = desc(p, 0x8001, 32); /* general copy operations */
	vms_put_be32(p + 4, VMS_XCOPY_COPIES_MAX);
	vms_put_be32(p + 8, VMS_XCOPY_COPIES_MAX);
	vms_put_be32(p + 12, VMS_XCOPY_SEG_BLOCKS * VMS_LB_BYTES);
	p[16] = 9;
	vms_assert(q <= out + VMS_XCOPY_IN_BYTES_MAX);
	return (unsigned)(q - out);
}
