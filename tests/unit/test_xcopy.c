// SPDX-License-Identifier: GPL-2.0-only
/* EXTENDED COPY's parameter list, RECEIVE COPY RESULTS, VPD page 8F, and what an
 * EXTENDED COPY may. */
#include "target/xcopy.h"

#include <stdio.h>

#include "target/xcopy_run.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

static uint8_t list[1024], cdb[16];
static unsigned len;
static struct vms_xcopy x;
static struct vms_sense s;

static struct vms_lu_ident ident[2] = {
	{.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, .nblocks = F_CHUNKS * 8},
	{.uuid = {9, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17}, .nblocks = 8000},
};

static void cscd(uint8_t *d, const struct vms_lu_ident *id)
{
	memset(d, 0, 32);
	d[0] = 0xe4;
	d[4] = 1;
	d[5] = 3;
	d[7] = 16;
	vms_vpd_naa6(id->uuid, d + 8);
	d[30] = 2;
}

static void seg(uint8_t *d, uint16_t from, uint16_t to, uint16_t n, uint64_t from_lba,
		uint64_t to_lba)
{
	memset(d, 0, 28);
	d[0] = 2;
	d[3] = 24;
	vms_put_be16(d + 4, from);
	vms_put_be16(d + 6, to);
	vms_put_be16(d + 10, n);
	vms_put_be64(d + 12, from_lba);
	vms_put_be64(d + 20, to_lba);
}

/* A list of nc descriptors (LUN 0, 1, 0 …) and ns segments from the first to the second. */
static void make(unsigned nc, unsigned ns)
{
	memset(list, 0, sizeof(list));
	list[0] = 7;
	vms_put_be16(list + 2, (uint16_t)(32 * nc));
	vms_put_be32(list + 8, 28 * ns);
	for (unsigned i = 0; i < nc; i++)
		cscd(list + 16 + 32 * i, &ident[i % 2]);
	for (unsigned i = 0; i < ns; i++)
		seg(list + 16 + 32 * nc + 28 * i, 0, 1, 100, 8 * i, 800 * i);
	len = 16 + 32 * nc + 28 * ns;
}

static int parse(void)
{
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x83;
	vms_put_be32(cdb + 10, len);
	memset(&s, 0, sizeof(s));
	return vms_xcopy_parse(cdb, list, len, &x, &s);
}

static bool refused(uint16_t asc, int byte)
{
	return parse() == -1 && s.key == VMS_SK_ILLEGAL_REQUEST && s.asc == asc &&
	       (byte < 0 || (s.field_valid && s.field == byte));
}

static void a_list_is_read(void)
{
	make(2, 3);
	CU_ASSERT_EQUAL(parse(), 0);
	CU_ASSERT(x.ncscds == 2 && x.nsegs == 3 && x.identified && x.list_id == 7);
	CU_ASSERT(x.seg[2].from == 0 && x.seg[2].to == 1 && x.seg[2].nblocks == 100);
	CU_ASSERT(x.seg[2].from_lba == 16 && x.seg[2].to_lba == 1600);
	CU_ASSERT(vms_xcopy_names(&x.cscd[0], &ident[0]) &&
		  !vms_xcopy_names(&x.cscd[0], &ident[1]));
	CU_ASSERT(vms_xcopy_names(&x.cscd[1], &ident[1]));
	/* the UUID designator names it too; one that is cut does not */
	x.cscd[0] = (struct vms_xcopy_cscd){
		.code_set = 1, .type = 0xa, .len = 18, .designator = {0x10}};
	memcpy(x.cscd[0].designator + 2, ident[0].uuid, 16);
	CU_ASSERT(vms_xcopy_names(&x.cscd[0], &ident[0]));
	x.cscd[0].len = 17;
	CU_ASSERT(!vms_xcopy_names(&x.cscd[0], &ident[0]));
	make(0, 0);
	len = 0;
	CU_ASSERT(!parse() && !x.nsegs);
	make(1, 0);
	list[1] = 3 << 3; /* no list identifier */
	list[0] = 0;
	CU_ASSERT(!parse() && !x.identified);
}

static void what_is_wrong_with_a_list_is_said(void)
{
	make(2, 2);
	len--;
	CU_ASSERT(refused(VMS_ASC_PARAMETER_LIST_LENGTH, -1));
	len = 15;
	CU_ASSERT(refused(VMS_ASC_PARAMETER_LIST_LENGTH, -1));
	make(2, 2);
	CU_ASSERT_EQUAL(parse(), 0);
	CU_ASSERT_EQUAL(vms_xcopy_parse(cdb, list, len - 1, &x, &s), -1); /* less data came */
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_COMMAND_IU);
	make(VMS_XCOPY_CSCDS_MAX + 1, 1);
	CU_ASSERT(refused(VMS_ASC_TOO_MANY_CSCDS, 2));
	make(1, VMS_XCOPY_SEGS_MAX + 1);
	CU_ASSERT(refused(VMS_ASC_TOO_MANY_SEGMENTS, 8));
	make(VMS_XCOPY_CSCDS_MAX + 1, VMS_XCOPY_SEGS_MAX + 1);
	CU_ASSERT(refused(VMS_ASC_PARAMETER_LIST_LENGTH, -1));
	make(VMS_XCOPY_CSCDS_MAX, VMS_XCOPY_SEGS_MAX);
	CU_ASSERT(!parse() && x.nsegs == VMS_XCOPY_SEGS_MAX);
	make(2, 1);
	vms_put_be32(list + 8, 0xfffffff0u); /* no sum wraps */
	CU_ASSERT(refused(VMS_ASC_PARAMETER_LIST_LENGTH, -1));
	make(2, 1);
	list[15] = 1;
	CU_ASSERT(refused(VMS_ASC_INLINE_DATA_LENGTH, 12));
	make(2, 1);
	list[1] = 1 << 3;
	CU_ASSERT(refused(VMS_ASC_INVALID_FIELD_IN_PARAMETERS, 1));
	list[1] = 3 << 3; /* but an identifier stands there */
	CU_ASSERT(refused(VMS_ASC_INVALID_FIELD_IN_PARAMETERS, 0));
	make(2, 1);
	list[16 + 32] = 0xe0;
	CU_ASSERT(refused(VMS_ASC_UNSUPPORTED_CSCD, 48));
	make(2, 1);
	list[16 + 64] = 3;
	CU_ASSERT(refused(VMS_ASC_UNSUPPORTED_SEGMENT, 80));
	make(2, 1);
	list[16 + 64 + 3] = 20;
	CU_ASSERT(refused(VMS_ASC_INVALID_FIELD_IN_PARAMETERS, 82));
	make(2, 1);
	vms_put_be16(list + 16 + 64 + 10, VMS_XCOPY_SEG_BLOCKS + 1);
	CU_ASSERT(refused(VMS_ASC_INVALID_FIELD_IN_PARAMETERS, 90));
	static const uint8_t at[][2] = {{1, 1}, {5, 0x13}, {7, 21}, {7, 0}, {29, 1}, {31, 1}};
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		make(1, 1);
		list[16 + at[i][0]] = at[i][1];
		CU_ASSERT_EQUAL(parse(), -1);
		CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_PARAMETERS);
	}
	/* anything at all, at every length: an answer, and nothing read beyond the end */
	for (unsigned seed = 1; seed < 20000; seed++) {
		uint8_t *p;

		make(seed % 10, seed % 7);
		for (unsigned k = 0; k < seed % 5; k++)
			list[(seed * 2654435761u >> 8) % len] = (uint8_t)(seed * (k + 3));
		len -= seed % 3 ? 0 : len > 9 ? seed % 9 : 0;
		p = malloc(len);
		memcpy(p, list, len);
		vms_put_be32(cdb + 10, len);
		(void)vms_xcopy_parse(cdb, p, len, &x, &s);
		free(p);
	}
}

static struct vms_xcopy_results t;

static int receive(unsigned sa, uint8_t id, uint64_t session, uint8_t *out)
{
	uint8_t b[16] = {0x84, (uint8_t)sa, id};

	return vms_xcopy_receive(&t, session, &t, b, out, &s);
}

static void results_are_kept_for_those_who_may_ask(void)
{
	uint8_t out[VMS_XCOPY_IN_BYTES_MAX];
	struct vms_xcopy_result *r;

	memset(&t, 0, sizeof(t));
	CU_ASSERT_EQUAL(receive(3, 0, 1, out), 46);
	CU_ASSERT_EQUAL(vms_get_be32(out), 42);
	CU_ASSERT_EQUAL(vms_get_be16(out + 8), VMS_XCOPY_CSCDS_MAX);
	CU_ASSERT_EQUAL(vms_get_be32(out + 12), VMS_XCOPY_DESC_BYTES);
	CU_ASSERT_EQUAL(vms_get_be32(out + 16), 16u << 20);
	CU_ASSERT(out[43] == 2 && out[44] == 0x02 && out[45] == 0xe4);
	for (unsigned sa = 0; sa < 5; sa++)
		if (sa != 3 && sa != 2)
			CU_ASSERT_EQUAL(receive(sa, 7, 1, out), -1);
	r = vms_xcopy_keep(&t, 1, &t, 7);
	CU_ASSERT_EQUAL(receive(0, 7, 1, out), 12);
	CU_ASSERT(out[4] == 0);			    /* in progress */
	CU_ASSERT_EQUAL(receive(4, 7, 1, out), -1); /* too early */
	CU_ASSERT_EQUAL(receive(0, 7, 2, out), -1); /* another session's */
	r->running = false;
	r->segments = 2;
	r->blocks = 1ull << 30; /* 512 GiB: more than 32 bits of bytes */
	CU_ASSERT_EQUAL(receive(0, 7, 1, out), 12);
	CU_ASSERT(out[4] == 1 && vms_get_be16(out + 5) == 2);
	CU_ASSERT(out[7] == 1 && vms_get_be32(out + 8) == 1u << 29);
	CU_ASSERT_EQUAL(receive(1, 7, 1, out), 4);
	CU_ASSERT_EQUAL(receive(4, 7, 1, out), 4); /* nothing failed; and it is dropped */
	CU_ASSERT_EQUAL(receive(0, 7, 1, out), -1);
	r = vms_xcopy_keep(&t, 1, &t, 8);
	r->running = false;
	r->status = VMS_SAM_CHECK_CONDITION;
	r->sense_len = 18;
	memset(r->sense, 0x5a, 18);
	CU_ASSERT_EQUAL(receive(0, 8, 1, out), 12);
	CU_ASSERT_EQUAL(out[4], 2);
	CU_ASSERT_EQUAL(receive(4, 8, 1, out), 78);
	CU_ASSERT(vms_get_be32(out) == 74 && out[56] == 2 && vms_get_be16(out + 58) == 18);
	CU_ASSERT(out[60] == 0x5a && out[77] == 0x5a);
	/* bounded: the oldest go, but never one that runs */
	r = vms_xcopy_keep(&t, 9, &t, 1);
	for (unsigned i = 0; i < 3 * VMS_XCOPY_RESULTS_MAX; i++)
		vms_xcopy_keep(&t, 100 + i, &t, 1)->running = false;
	CU_ASSERT_PTR_EQUAL(vms_xcopy_find(&t, 9, &t, 1), r);
	CU_ASSERT_PTR_NOT_NULL(vms_xcopy_find(&t, 100 + 3 * VMS_XCOPY_RESULTS_MAX - 1, &t, 1));
	CU_ASSERT_PTR_NULL(vms_xcopy_find(&t, 100, &t, 1));
	vms_xcopy_forget(&t, 9, NULL); /* its place is needed when it ends */
	CU_ASSERT_PTR_EQUAL(vms_xcopy_find(&t, 9, &t, 1), r);
	r->running = false;
	vms_xcopy_forget(&t, 9, NULL);
	CU_ASSERT_PTR_NULL(vms_xcopy_find(&t, 9, &t, 1));
	vms_xcopy_forget(&t, 0, &t);
	for (unsigned i = 0; i < VMS_XCOPY_RESULTS_MAX; i++)
		CU_ASSERT_EQUAL(t.r[i].session, 0);
}

static void page_8f_is_well_formed(void)
{
	uint8_t out[VMS_XCOPY_IN_BYTES_MAX];
	unsigned n = vms_xcopy_vpd(out), at = 0, types = 0;

	for (; at < n; at += 4 + vms_get_be16(out + at + 2)) {
		CU_ASSERT_EQUAL(vms_get_be16(out + at + 2) % 4, 0);
		types++;
	}
	CU_ASSERT_EQUAL(at, n);
	CU_ASSERT_EQUAL(types, 5);
}

/* ---- what it may ---- */

static const struct vms_pr_nexus nexus[2] = {{.initiator = "iqn.a"}, {.initiator = "iqn.b"}};
static struct vms_pr_registration reg = {.key = 1};
static struct vms_pr pr[2];
static struct vms_lu lu[2];

/* COPY ABORTED with asc for segment `which` before anything was done; 0: it may. */
static uint16_t tried(int which)
{
	struct vms_xcopy_lu lus[2] = {{&lu[0], f.vol}, {&lu[1], f.vol}};
	struct vms_pr_who who = {.nexus = &nexus[0]};
	struct vms_xcopy_run *r;

	CU_ASSERT_EQUAL_FATAL(parse(), 0);
	r = vms_xcopy_run_new(f.gw, &x, lus, 2, 0, &who, "", NULL, &s);
	if (r) {
		CU_ASSERT(vms_xcopy_run_uses(r, f.vol));
		vms_xcopy_run_free(r);
		return 1;
	}
	CU_ASSERT(s.status == VMS_SAM_CHECK_CONDITION && s.key == VMS_SK_COPY_ABORTED);
	CU_ASSERT(s.csi_valid && s.csi == (uint32_t)which);
	return s.asc;
}

static void luns(void)
{
	for (unsigned i = 0; i < 2; i++) {
		memset(&lu[i], 0, sizeof(lu[i]));
		memset(&pr[i], 0, sizeof(pr[i]));
		lu[i].ident = ident[i];
		lu[i].pr = &pr[i];
		lu[i].ready = true;
	}
}

static void everything_is_checked_before_anything_is_written(void)
{
	f_start(0, VMS_ACK_DISK);
	luns();
	make(2, 3);
	CU_ASSERT_EQUAL(tried(0), 1);
	/* a descriptor that is not there; one that names nothing here */
	vms_put_be16(list + 16 + 64 + 28 + 6, 2);
	CU_ASSERT_EQUAL(tried(1), VMS_ASC_UNREACHABLE_CSCD);
	make(2, 3);
	list[16 + 32 + 20] ^= 1;
	CU_ASSERT_EQUAL(tried(0), VMS_ASC_CSCD_NOT_REACHABLE);
	make(2, 3);
	lu[1].ready = false;
	CU_ASSERT_EQUAL(tried(0), VMS_ASC_CSCD_NOT_REACHABLE);
	luns();
	/* beyond either end */
	vms_put_be64(list + 16 + 64 + 28 + 20, 7901);
	CU_ASSERT_EQUAL(tried(1), VMS_ASC_NONE);
	make(2, 3);
	vms_put_be64(list + 16 + 64 + 56 + 12, UINT64_MAX - 5);
	CU_ASSERT_EQUAL(tried(2), VMS_ASC_NONE);
	make(2, 1);
	/* the LUN itself, whatever the descriptors say */
	vms_put_be16(list + 16 + 64 + 4, VMS_XCOPY_SELF);
	vms_put_be16(list + 16 + 64 + 6, VMS_XCOPY_SELF);
	CU_ASSERT_EQUAL(tried(0), 1);
	make(2, 1);
	lu[1].ident.write_protect = true;
	CU_ASSERT_EQUAL(tried(0), VMS_ASC_WRITE_PROTECTED);
	luns();
	lu[1].mode.swp = true;
	CU_ASSERT_EQUAL(tried(0), VMS_ASC_SOFTWARE_WRITE_PROTECTED);
	luns();
	lu[0].ident.write_protect = true; /* is only read */
	CU_ASSERT_EQUAL(tried(0), 1);
	luns();
	/* somebody else's reservation: of the destination, of the source */
	reg.nexus = nexus[1];
	for (unsigned i = 0; i < 2; i++) {
		luns();
		pr[i] = (struct vms_pr){
			.n = 1, .reg = &reg, .type = VMS_PR_WE, .holder = 0, .held = true};
		CU_ASSERT_EQUAL(tried(0), i ? VMS_ASC_THIRD_PARTY_FAILURE : 1);
		pr[i].type = VMS_PR_EA;
		CU_ASSERT_EQUAL(tried(0), VMS_ASC_THIRD_PARTY_FAILURE);
	}
	reg.nexus = nexus[0]; /* one's own */
	CU_ASSERT_EQUAL(tried(0), 1);
	f_stop();
}

/* It ends BUSY before anything was done. */
static bool is_busy(void)
{
	struct vms_xcopy_lu lus[2] = {{&lu[0], f.vol}, {&lu[1], f.vol}};
	struct vms_pr_who who = {.nexus = &nexus[0]};
	struct vms_xcopy_run *r;

	CU_ASSERT_EQUAL_FATAL(parse(), 0);
	r = vms_xcopy_run_new(f.gw, &x, lus, 2, 0, &who, "", NULL, &s);
	if (r)
		vms_xcopy_run_free(r);
	return !r && s.status == VMS_SAM_BUSY;
}

/* Its volumes' sizes, write protection and reservations are as before: they may allow by now
 * what they refused. What is in no record of the cluster stays refused. */
static void a_gateway_that_stood_still_does_not_refuse_by_old_records(void)
{
	f_start(0, VMS_ACK_DISK);
	for (int slept = 0; slept < 3; slept++) {
		bool old = slept == 1;

		luns();
		make(2, 3);
		vms_put_be64(list + 16 + 64 + 28 + 20, 7901);
		CU_ASSERT(old ? is_busy() : tried(1) == VMS_ASC_NONE);
		make(2, 3);
		vms_put_be64(list + 16 + 64 + 56 + 12, UINT64_MAX - 5);
		CU_ASSERT(old ? is_busy() : tried(2) == VMS_ASC_NONE);
		make(2, 1);
		lu[1].ident.write_protect = true;
		CU_ASSERT(old ? is_busy() : tried(0) == VMS_ASC_WRITE_PROTECTED);
		luns();
		reg.nexus = nexus[1];
		for (unsigned i = 0; i < 2; i++) {
			luns();
			pr[i] = (struct vms_pr){
				.n = 1, .reg = &reg, .type = VMS_PR_EA, .holder = 0, .held = true};
			CU_ASSERT(old ? is_busy() : tried(0) == VMS_ASC_THIRD_PARTY_FAILURE);
		}
		luns();
		lu[1].mode.swp = true;
		CU_ASSERT_EQUAL(tried(0), VMS_ASC_SOFTWARE_WRITE_PROTECTED);
		luns();
		lu[1].ready = false;
		CU_ASSERT_EQUAL(tried(0), VMS_ASC_CSCD_NOT_REACHABLE);
		luns();
		CU_ASSERT_EQUAL(tried(0), 1);
		if (!slept) {
			f.now += 2300;
			vms_gw_turn_begin(f.gw, f.now);
		} else if (slept == 1) {
			vms_gw_turn_end(f.gw, f.now);
			f_run(4000);
		}
	}
	f_stop();
}

static void segments_go_one_after_the_other(void)
{
	struct vms_xcopy_lu one = {&lu[0], f.vol};
	struct vms_pr_who who = {.nexus = &nexus[0]};
	struct vms_xcopy_run *r;
	enum vms_copy_state state = VMS_COPY_WAITING;
	uint16_t segments;
	uint64_t blocks;
	int cookie;

	f_start(0, VMS_ACK_DISK);
	luns();
	one.vol = f.vol;
	CU_ASSERT_EQUAL(f_write_blocks(0, 100, 'a'), 0);
	make(1, 3);
	for (unsigned i = 0; i < 3; i++) /* each copies what the one before wrote */
		seg(list + 16 + 32 + 28 * i, 0, 0, 100, 10000 * i, 10000 * (i + 1));
	vms_put_be64(list + 16 + 32 + 28 * 2 + 20, 30008);
	CU_ASSERT_EQUAL_FATAL(parse(), 0);
	r = vms_xcopy_run_new(f.gw, &x, &one, 1, 0, &who, "", &cookie, &s);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	f.nended = 0;
	for (unsigned i = 0; i < 200 && state != VMS_COPY_ENDED; i++) {
		state = vms_xcopy_run_step(r, f.now);
		f_run(1);
		for (unsigned k = 0; k < f.nended; k++)
			vms_xcopy_run_ended(r, f.ended[k]);
		f.nended = 0;
	}
	CU_ASSERT_EQUAL(state, VMS_COPY_ENDED);
	vms_xcopy_run_result(r, &s, &segments, &blocks);
	CU_ASSERT(s.status == VMS_SAM_GOOD && segments == 3 && blocks == 300);
	CU_ASSERT_EQUAL(f_read_value(30008, 100, NULL), 'a');
	vms_xcopy_run_free(r);
	/* the second one fails: COPY ABORTED, and the first is told as done */
	r = vms_xcopy_run_new(f.gw, &x, &one, 1, 0, &who, "", &cookie, &s);
	f.nended = 0;
	state = VMS_COPY_WAITING;
	for (unsigned i = 0; i < 200 && state != VMS_COPY_ENDED; i++) {
		state = vms_xcopy_run_step(r, f.now);
		vms_xcopy_run_result(r, &s, &segments, &blocks);
		if (segments == 1)
			f.write_status = VMS_E_NOSPC;
		f_run(1);
		for (unsigned k = 0; k < f.nended; k++)
			vms_xcopy_run_ended(r, f.ended[k]);
		f.nended = 0;
	}
	CU_ASSERT_EQUAL(state, VMS_COPY_ENDED);
	vms_xcopy_run_result(r, &s, &segments, &blocks);
	CU_ASSERT(s.status == VMS_SAM_CHECK_CONDITION && s.key == VMS_SK_COPY_ABORTED);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_SPACE_ALLOCATION_FAILED);
	CU_ASSERT(segments == 1 && blocks == 100 && s.csi == 1);
	vms_xcopy_run_free(r);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(a_list_is_read),
	VMS_TEST(what_is_wrong_with_a_list_is_said),
	VMS_TEST(results_are_kept_for_those_who_may_ask),
	VMS_TEST(page_8f_is_well_formed),
	VMS_TEST(everything_is_checked_before_anything_is_written),
	VMS_TEST(a_gateway_that_stood_still_does_not_refuse_by_old_records),
	VMS_TEST(segments_go_one_after_the_other),
};
VMS_TEST_MAIN("xcopy", tests)
