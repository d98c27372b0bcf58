// SPDX-License-Identifier: GPL-2.0-only
#include "target/pr.h"

#include <string.h>

#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"

enum { REG, RES, REL, CLR, PRE, PREAB, REGI };

static struct vms_pr pr;
static struct vms_sense s;
static struct vms_pr_nexus A = {.initiator = "iqn.a", .isid = {1}, .target_port = 1};
static struct vms_pr_nexus B = {.initiator = "iqn.b", .isid = {1}, .target_port = 1};
static struct vms_pr_nexus C = {.initiator = "iqn.a", .isid = {2}, .target_port = 1};
static unsigned ua_n, aborts;
static uint16_t ua_asc[16];
static const char *ua_who[16];

static void on_ua(void *ctx, const struct vms_pr_nexus *n, uint16_t asc)
{
	ua_who[ua_n % 16] = !memcmp(n, &A, sizeof(A)) ? "A" : !memcmp(n, &B, sizeof(B)) ? "B" : "C";
	ua_asc[ua_n++ % 16] = asc;
}
static void on_abort(void *ctx, const struct vms_pr_nexus *n)
{
	aborts++;
}
static const struct vms_pr_sink sink = {NULL, on_ua, on_abort};

static int out(struct vms_pr_nexus *n, unsigned sa, uint8_t type, uint64_t key, uint64_t sakey)
{
	uint8_t cdb[10] = {0x5f, (uint8_t)sa, type}, list[24] = {0};

	cdb[8] = 24;
	vms_put_be64(list, key);
	vms_put_be64(list + 8, sakey);
	ua_n = aborts = 0;
	memset(&s, 0, sizeof(s));
	return vms_pr_out(&pr, n, cdb, list, 24, &sink, &s);
}

static void fresh(void)
{
	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0, 0xa), 0);
	CU_ASSERT_EQUAL(out(&B, REG, 0, 0, 0xb), 0);
}

static bool conflict_status(void)
{
	return s.status == VMS_SAM_RESERVATION_CONFLICT;
}

static void register_needs_the_right_key(void)
{
	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 5, 0xa), -1);
	CU_ASSERT_TRUE(conflict_status());
	CU_ASSERT_EQUAL(pr.generation, 0);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(pr.n, 0);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0, 0xa), 0);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0, 0xaa), -1);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0xa, 0xaa), 0);
	CU_ASSERT_EQUAL(pr.reg[0].key, 0xaa);
	CU_ASSERT_EQUAL(out(&A, REGI, 0, 0x77, 0xab), 0);
	CU_ASSERT_EQUAL(pr.reg[0].key, 0xab);
	CU_ASSERT_EQUAL(pr.generation, 3);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0xab, 0), 0);
	CU_ASSERT_EQUAL(pr.n, 0);
}

static void a_port_is_name_and_isid(void)
{
	fresh();
	CU_ASSERT_EQUAL(out(&C, RES, VMS_PR_WE, 0xa, 0), -1);
	CU_ASSERT_TRUE(conflict_status());
}

static void unsupported_bits_and_lengths_are_refused(void)
{
	uint8_t cdb[10] = {0x5f, REG}, list[24] = {0};

	vms_pr_free(&pr);
	list[15] = 1;
	cdb[8] = 24;
	list[20] = 1; /* APTPL */
	CU_ASSERT_EQUAL(vms_pr_out(&pr, &A, cdb, list, 24, &sink, &s), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_PARAMETERS);
	list[20] = 8; /* SPEC_I_PT */
	CU_ASSERT_EQUAL(vms_pr_out(&pr, &A, cdb, list, 24, &sink, &s), -1);
	list[20] = 0;
	CU_ASSERT_EQUAL(vms_pr_out(&pr, &A, cdb, list, 23, &sink, &s), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_PARAMETER_LIST_LENGTH);
	cdb[8] = 28;
	CU_ASSERT_EQUAL(vms_pr_out(&pr, &A, cdb, list, 24, &sink, &s), -1);
	cdb[8] = 24;
	cdb[1] = 7; /* REGISTER AND MOVE */
	CU_ASSERT_EQUAL(vms_pr_out(&pr, &A, cdb, list, 24, &sink, &s), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_CDB);
	CU_ASSERT_EQUAL(pr.n, 0);
}

/* Expected conflict for (holder, other registrant, stranger) x (read, write). */
static void access_by_type(void)
{
	static const struct {
		uint8_t type;
		bool reg_rd, reg_wr, str_rd, str_wr;
	} t[] = {
		{VMS_PR_WE, false, true, false, true},
		{VMS_PR_EA, true, true, true, true},
		{VMS_PR_WE_RO, false, false, false, true},
		{VMS_PR_EA_RO, false, false, true, true},
		{VMS_PR_WE_AR, false, false, false, true},
		{VMS_PR_EA_AR, false, false, true, true},
	};

	for (unsigned i = 0; i < 6; i++) {
		fresh();
		CU_ASSERT_EQUAL(out(&A, RES, t[i].type, 0xa, 0), 0);
		CU_ASSERT_FALSE(vms_pr_conflict(&pr, &A, VMS_ACC_READ));
		CU_ASSERT_FALSE(vms_pr_conflict(&pr, &A, VMS_ACC_WRITE));
		CU_ASSERT_EQUAL(vms_pr_conflict(&pr, &B, VMS_ACC_READ), t[i].reg_rd);
		CU_ASSERT_EQUAL(vms_pr_conflict(&pr, &B, VMS_ACC_WRITE), t[i].reg_wr);
		CU_ASSERT_EQUAL(vms_pr_conflict(&pr, &C, VMS_ACC_READ), t[i].str_rd);
		CU_ASSERT_EQUAL(vms_pr_conflict(&pr, &C, VMS_ACC_WRITE), t[i].str_wr);
		CU_ASSERT_FALSE(vms_pr_conflict(&pr, &C, VMS_ACC_ANY));
	}
}

static void reserve_and_release(void)
{
	fresh();
	CU_ASSERT_EQUAL(out(&A, RES, 2, 0xa, 0), -1); /* no such type */
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_CDB);
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_WE | 0x10, 0xa, 0), -1); /* scope */
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_WE, 0xa, 0), 0);
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_WE, 0xa, 0), 0); /* again: no change */
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_EA, 0xa, 0), -1);
	CU_ASSERT_TRUE(conflict_status());
	CU_ASSERT_EQUAL(out(&B, RES, VMS_PR_WE, 0xb, 0), -1);
	CU_ASSERT_EQUAL(out(&B, REL, VMS_PR_WE, 0xb, 0), 0); /* not the holder: nothing */
	CU_ASSERT_EQUAL(pr.type, VMS_PR_WE);
	CU_ASSERT_EQUAL(out(&A, REL, VMS_PR_EA, 0xa, 0), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_RELEASE);
	CU_ASSERT_EQUAL(out(&A, REL, VMS_PR_WE, 0xa, 0), 0);
	CU_ASSERT_EQUAL(pr.type, 0);
	CU_ASSERT_EQUAL(ua_n, 0);
	CU_ASSERT_EQUAL(pr.generation, 2); /* neither counts */
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_WE_RO, 0xa, 0), 0);
	CU_ASSERT_EQUAL(out(&A, REL, VMS_PR_WE_RO, 0xa, 0), 0);
	CU_ASSERT(ua_n == 1 && ua_asc[0] == VMS_ASC_RESERVATIONS_RELEASED && ua_who[0][0] == 'B');
}

static void unregistering_the_holder_releases(void)
{
	fresh();
	out(&A, RES, VMS_PR_EA_RO, 0xa, 0);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0xa, 0), 0);
	CU_ASSERT_EQUAL(pr.type, 0);
	CU_ASSERT_EQUAL(ua_n, 1);
	/* all registrants: it stays as long as one is left */
	fresh();
	out(&A, RES, VMS_PR_EA_AR, 0xa, 0);
	out(&A, REG, 0, 0xa, 0);
	CU_ASSERT_EQUAL(pr.type, VMS_PR_EA_AR);
	CU_ASSERT_TRUE(vms_pr_conflict(&pr, &A, VMS_ACC_READ));
	out(&B, REG, 0, 0xb, 0);
	CU_ASSERT_EQUAL(pr.type, 0);
}

static void holder_index_follows_removals(void)
{
	fresh();
	out(&B, RES, VMS_PR_EA, 0xb, 0);
	out(&A, REG, 0, 0xa, 0);
	CU_ASSERT_FALSE(vms_pr_conflict(&pr, &B, VMS_ACC_WRITE));
	CU_ASSERT_TRUE(vms_pr_conflict(&pr, &A, VMS_ACC_WRITE));
}

static void clear_tells_the_others(void)
{
	fresh();
	out(&A, RES, VMS_PR_WE, 0xa, 0);
	CU_ASSERT_EQUAL(out(&B, CLR, 0, 0xb, 0), 0);
	CU_ASSERT(pr.n == 0 && pr.type == 0);
	CU_ASSERT(ua_n == 1 && ua_asc[0] == VMS_ASC_RESERVATIONS_PREEMPTED && ua_who[0][0] == 'A');
}

static void preempt_takes_the_reservation(void)
{
	fresh();
	out(&A, RES, VMS_PR_WE, 0xa, 0);
	CU_ASSERT_EQUAL(out(&B, PREAB, VMS_PR_EA, 0xb, 0xa), 0);
	CU_ASSERT(pr.n == 1 && pr.type == VMS_PR_EA && pr.holder == 0);
	CU_ASSERT(ua_n == 1 && ua_asc[0] == VMS_ASC_REGISTRATIONS_PREEMPTED && ua_who[0][0] == 'A');
	CU_ASSERT_EQUAL(aborts, 1);
	CU_ASSERT_TRUE(vms_pr_conflict(&pr, &A, VMS_ACC_READ));
}

static void preempt_removes_registrations(void)
{
	fresh();
	out(&C, REG, 0, 0, 0xb); /* the same key as B */
	out(&A, RES, VMS_PR_WE_RO, 0xa, 0);
	CU_ASSERT_EQUAL(out(&A, PRE, VMS_PR_WE_RO, 0xa, 0xb), 0);
	CU_ASSERT(pr.n == 1 && pr.type == VMS_PR_WE_RO && pr.holder == 0);
	CU_ASSERT_EQUAL(ua_n, 2);
	CU_ASSERT_EQUAL(aborts, 0);
	CU_ASSERT_EQUAL(out(&A, PRE, VMS_PR_WE_RO, 0xa, 0x99), -1);
	CU_ASSERT_TRUE(conflict_status());
	CU_ASSERT_EQUAL(out(&A, PRE, VMS_PR_WE_RO, 0xa, 0), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_PARAMETERS);
}

static void preempt_of_all_registrants(void)
{
	fresh();
	out(&C, REG, 0, 0, 0xc);
	out(&A, RES, VMS_PR_WE_AR, 0xa, 0);
	CU_ASSERT_EQUAL(out(&B, PRE, VMS_PR_EA, 0xb, 0), 0);
	CU_ASSERT(pr.n == 1 && pr.type == VMS_PR_EA && pr.holder == 0);
	CU_ASSERT_FALSE(vms_pr_conflict(&pr, &B, VMS_ACC_WRITE));
	CU_ASSERT_EQUAL(ua_n, 2);
}

static void own_preempt_changes_the_type(void)
{
	fresh();
	out(&A, RES, VMS_PR_WE, 0xa, 0);
	CU_ASSERT_EQUAL(out(&A, PRE, VMS_PR_EA_RO, 0xa, 0xa), 0);
	CU_ASSERT(pr.n == 2 && pr.type == VMS_PR_EA_RO && pr.holder == 0);
	CU_ASSERT(ua_n == 1 && ua_asc[0] == VMS_ASC_RESERVATIONS_RELEASED && ua_who[0][0] == 'B');
}

static void registrations_are_bounded(void)
{
	struct vms_pr_nexus n = A;

	vms_pr_free(&pr);
	for (unsigned i = 0; i < VMS_PR_REGISTRATIONS_MAX; i++) {
		n.isid[5] = (uint8_t)i;
		CU_ASSERT_EQUAL(out(&n, REG, 0, 0, i + 1), 0);
	}
	n.isid[4] = 1;
	CU_ASSERT_EQUAL(out(&n, REG, 0, 0, 1), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INSUFFICIENT_REGISTRATIONS);
}

static void persistent_reserve_in(void)
{
	static uint8_t o[VMS_PR_IN_BYTES_MAX];
	uint8_t cdb[10] = {0x5e, 0};

	fresh();
	out(&B, RES, VMS_PR_WE, 0xb, 0);
	CU_ASSERT_EQUAL(vms_pr_in(&pr, cdb, o, &s), 8 + 16);
	CU_ASSERT_EQUAL(vms_get_be32(o), 2);
	CU_ASSERT_EQUAL(vms_get_be64(o + 16), 0xb);
	cdb[1] = 1;
	CU_ASSERT_EQUAL(vms_pr_in(&pr, cdb, o, &s), 24);
	CU_ASSERT_EQUAL(vms_get_be64(o + 8), 0xb);
	CU_ASSERT_EQUAL(o[21], VMS_PR_WE);
	cdb[1] = 2;
	CU_ASSERT_EQUAL(vms_pr_in(&pr, cdb, o, &s), 8);
	CU_ASSERT_EQUAL(vms_get_be16(o), 8);
	CU_ASSERT_EQUAL(vms_get_be16(o + 4), 0xea01);
	cdb[1] = 3;
	CU_ASSERT_EQUAL(vms_pr_in(&pr, cdb, o, &s), 8 + 2 * (24 + 4 + 24));
	CU_ASSERT_EQUAL(o[8 + 24], 0x45);
	CU_ASSERT_STRING_EQUAL((char *)o + 8 + 28, "iqn.a,i,0x010000000000");
	CU_ASSERT_EQUAL(o[8 + 52 + 12], 1); /* B holds it */
	cdb[1] = 4;
	CU_ASSERT_EQUAL(vms_pr_in(&pr, cdb, o, &s), -1);
	vms_pr_free(&pr);
}

static const struct vms_test tests[] = {
	VMS_TEST(register_needs_the_right_key), VMS_TEST(a_port_is_name_and_isid),
	VMS_TEST(unsupported_bits_and_lengths_are_refused), VMS_TEST(access_by_type),
	VMS_TEST(reserve_and_release), VMS_TEST(unregistering_the_holder_releases),
	VMS_TEST(holder_index_follows_removals), VMS_TEST(clear_tells_the_others),
	VMS_TEST(preempt_takes_the_reservation), VMS_TEST(preempt_removes_registrations),
	VMS_TEST(preempt_of_all_registrants), VMS_TEST(own_preempt_changes_the_type),
	VMS_TEST(registrations_are_bounded), VMS_TEST(persistent_reserve_in),
};
VMS_TEST_MAIN("pr", tests)
