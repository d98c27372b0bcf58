// SPDX-License-Identifier: GPL-2.0-only
#include "target/pr.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"

enum { REG, RES, REL, CLR, PRE, PREAB, REGI, MOVE };

static struct vms_pr pr;
static struct vms_sense s;
static struct vms_pr_nexus A = {.initiator = "iqn.a", .isid = {1}, .target_port = 1};
static struct vms_pr_nexus B = {.initiator = "iqn.b", .isid = {1}, .target_port = 1};
static struct vms_pr_nexus C = {.initiator = "iqn.a", .isid = {2}, .target_port = 1};
static unsigned ua_n, aborts;
static uint16_t ua_asc[16];
static const char *ua_who[16];
static int last; /* of the last step */

static const char *letter(const struct vms_pr_nexus *n)
{
	return !memcmp(n, &A, sizeof(A)) ? "A" : !memcmp(n, &B, sizeof(B)) ? "B" : "C";
}

static int step(struct vms_pr_req *r)
{
	struct vms_pr next, back;
	char *text;

	ua_n = aborts = 0;
	last = vms_pr_step(&pr, r, &next, &s);
	if (last <= 0)
		return last;
	for (unsigned i = 0; i < next.nevents; i++) {
		ua_who[ua_n % 16] = letter(&next.event[i].nexus);
		ua_asc[ua_n++ % 16] = next.event[i].asc;
		aborts += next.event[i].abort;
	}
	/* every table comes back from its record as it was */
	next.fence = pr.fence + 1;
	next.by = (struct vms_pr_owner){1, 2, 3};
	text = vms_pr_encode(&next);
	CU_ASSERT_PTR_NOT_NULL(text);
	CU_ASSERT_EQUAL(vms_pr_decode(&back, "pr/x", text, NULL), 0);
	CU_ASSERT(!memcmp(&back.by, &next.by, sizeof(back.by)) && back.fence == next.fence &&
		  back.generation == next.generation && back.n == next.n &&
		  back.type == next.type && back.holder == next.holder && back.held == next.held &&
		  back.nevents == next.nevents && back.pending);
	CU_ASSERT(!back.n || !memcmp(back.reg, next.reg, back.n * sizeof(*back.reg)));
	for (unsigned i = 0; i < back.nevents; i++)
		CU_ASSERT(!memcmp(&back.event[i].nexus, &next.event[i].nexus,
				  sizeof(struct vms_pr_nexus)) &&
			  back.event[i].asc == next.event[i].asc &&
			  back.event[i].abort == next.event[i].abort);
	free(text);
	vms_pr_free(&back);
	vms_pr_free(&pr);
	pr = next;
	return 0;
}

static int out_list(struct vms_pr_nexus *n, unsigned sa, uint8_t type, const uint8_t *list,
		    uint32_t len)
{
	static const uint16_t ports[] = {1, 2, 3};
	const struct vms_pr_nexus known[] = {A, B, C};
	uint8_t cdb[10] = {0x5f, (uint8_t)sa, type};
	struct vms_pr_req r = {.cdb = cdb,
			       .list = list,
			       .list_bytes = len,
			       .who = {n, {n->target_port, 1, n->isid[0]}},
			       .port = ports,
			       .nports = 3,
			       .known = known,
			       .nknown = 3};

	vms_put_be32(cdb + 5, len);
	return step(&r);
}

static int out(struct vms_pr_nexus *n, unsigned sa, uint8_t type, uint64_t key, uint64_t sakey)
{
	uint8_t list[24] = {0};

	vms_put_be64(list, key);
	vms_put_be64(list + 8, sakey);
	return out_list(n, sa, type, list, 24);
}

static int six(struct vms_pr_nexus *n, uint8_t op, uint64_t session)
{
	uint8_t cdb[10] = {op};
	struct vms_pr_req r = {.cdb = cdb, .who = {n, {n->target_port, 1, session}}};

	return step(&r);
}

static bool refused(const struct vms_pr_nexus *n, enum vms_access access)
{
	struct vms_pr_who who = {n, {n->target_port, 1, n->isid[0]}};

	return vms_pr_refuses(&pr, &who, access);
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

static void bits_and_lengths(void)
{
	uint8_t list[64] = {0};

	vms_pr_free(&pr);
	list[15] = 1;
	CU_ASSERT_EQUAL(out_list(&A, REG, 0, list, 23), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_PARAMETER_LIST_LENGTH);
	CU_ASSERT_EQUAL(out_list(&A, REG, 0, list, 28), -1);
	list[20] = 8; /* SPEC_I_PT without its list */
	CU_ASSERT_EQUAL(out_list(&A, REG, 0, list, 24), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_PARAMETER_LIST_LENGTH);
	CU_ASSERT_EQUAL(out_list(&A, REGI, 0, list, 24), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_PARAMETERS);
	list[20] = 0;
	CU_ASSERT_EQUAL(out_list(&A, 8, 0, list, 24), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_CDB);
	CU_ASSERT_EQUAL(pr.n, 0);
	list[20] = 1; /* APTPL: it persists anyway */
	CU_ASSERT_EQUAL(out_list(&A, REG, 0, list, 24), 0);
	CU_ASSERT_EQUAL(pr.n, 1);
}

/* Expected conflict for (holder, other registrant, stranger) x (read, write). */
static void access_by_type(void)
{
	static const struct {
		uint8_t type;
		bool reg_rd, reg_wr, str_rd, str_wr;
	} t[] = {
		{VMS_PR_WE, false, true, false, true},	   {VMS_PR_EA, true, true, true, true},
		{VMS_PR_WE_RO, false, false, false, true}, {VMS_PR_EA_RO, false, false, true, true},
		{VMS_PR_WE_AR, false, false, false, true}, {VMS_PR_EA_AR, false, false, true, true},
	};

	for (unsigned i = 0; i < 6; i++) {
		fresh();
		CU_ASSERT_EQUAL(out(&A, RES, t[i].type, 0xa, 0), 0);
		CU_ASSERT_FALSE(refused(&A, VMS_ACC_READ));
		CU_ASSERT_FALSE(refused(&A, VMS_ACC_WRITE));
		CU_ASSERT_EQUAL(refused(&B, VMS_ACC_READ), t[i].reg_rd);
		CU_ASSERT_EQUAL(refused(&B, VMS_ACC_WRITE), t[i].reg_wr);
		CU_ASSERT_EQUAL(refused(&C, VMS_ACC_READ), t[i].str_rd);
		CU_ASSERT_EQUAL(refused(&C, VMS_ACC_WRITE), t[i].str_wr);
		CU_ASSERT_FALSE(refused(&C, VMS_ACC_ANY));
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
	CU_ASSERT_TRUE(refused(&A, VMS_ACC_READ));
	out(&B, REG, 0, 0xb, 0);
	CU_ASSERT_EQUAL(pr.type, 0);
}

static void holder_index_follows_removals(void)
{
	fresh();
	out(&B, RES, VMS_PR_EA, 0xb, 0);
	out(&A, REG, 0, 0xa, 0);
	CU_ASSERT_FALSE(refused(&B, VMS_ACC_WRITE));
	CU_ASSERT_TRUE(refused(&A, VMS_ACC_WRITE));
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
	CU_ASSERT_TRUE(refused(&A, VMS_ACC_READ));
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
	CU_ASSERT_FALSE(refused(&B, VMS_ACC_WRITE));
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
	CU_ASSERT(o[2] == 0x0d && o[3] == 0x91);
	cdb[1] = 3;
	CU_ASSERT_EQUAL(vms_pr_in(&pr, cdb, o, &s), 8 + 2 * (24 + 4 + 24));
	CU_ASSERT_EQUAL(o[8 + 24], 0x45);
	CU_ASSERT_STRING_EQUAL((char *)o + 8 + 28, "iqn.a,i,0x010000000000");
	CU_ASSERT_EQUAL(o[8 + 52 + 12], 1); /* B holds it */
	cdb[1] = 4;
	CU_ASSERT_EQUAL(vms_pr_in(&pr, cdb, o, &s), -1);
	vms_pr_free(&pr);
}

/* A parameter list with TransportIDs behind it. */
static uint32_t put_id(uint8_t *p, const char *text, bool port)
{
	uint32_t n = (uint32_t)strlen(text) + 1;

	n = n < 20 ? 20 : (n + 3) & ~3u;
	memset(p, 0, 4 + n);
	p[0] = port ? 0x45 : 0x05;
	vms_put_be16(p + 2, (uint16_t)n);
	memcpy(p + 4, text, strlen(text));
	return 4 + n;
}

static int registered(const char *name, uint8_t isid0, uint16_t port)
{
	for (unsigned i = 0; i < pr.n; i++)
		if (!strcmp(pr.reg[i].nexus.initiator, name) && pr.reg[i].nexus.isid[0] == isid0 &&
		    pr.reg[i].nexus.target_port == port)
			return (int)pr.reg[i].key;
	return 0;
}

static int spec(struct vms_pr_nexus *n, uint8_t bits, uint64_t key, uint64_t sakey, const char *a,
		const char *b)
{
	uint8_t list[256] = {0};
	uint32_t len = 28;

	vms_put_be64(list, key);
	vms_put_be64(list + 8, sakey);
	list[20] = bits;
	len += put_id(list + len, a, strchr(a, ','));
	if (b)
		len += put_id(list + len, b, strchr(b, ','));
	vms_put_be32(list + 24, len - 28);
	return out_list(n, REG, 0, list, len);
}

static void registering_others(void)
{
	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(out(&B, REG, 0, 0, 0xb), 0);
	CU_ASSERT_EQUAL(spec(&A, 8, 0, 0xa, "iqn.b,i,0x010000000000", "iqn.x,i,0x3000000000FF"), 0);
	CU_ASSERT_EQUAL(pr.n, 3);
	CU_ASSERT(registered("iqn.a", 1, 1) == 0xa && registered("iqn.x", 0x30, 1) == 0xa);
	CU_ASSERT_EQUAL(registered("iqn.b", 1, 1), 0xb); /* it was already */
	/* a name alone: all its ports that are known */
	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(spec(&B, 8, 0, 0xb, "iqn.a", NULL), 0);
	CU_ASSERT(pr.n == 3 && registered("iqn.a", 1, 1) && registered("iqn.a", 2, 1));
	/* all or nothing */
	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(spec(&A, 8, 0, 0xa, "iqn.b,i,0x010000000000", "iqn.x,i,1"), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_PARAMETERS);
	CU_ASSERT_EQUAL(spec(&A, 8, 0, 0xa, "iqn.b,i,0x0100000000001", NULL), -1);
	CU_ASSERT_EQUAL(spec(&A, 8, 0, 0xa, ",i,0x1", NULL), -1);
	CU_ASSERT_EQUAL(spec(&A, 8, 0, 0xa, "iqn b,i,0x1", NULL), -1);
	CU_ASSERT_EQUAL(pr.n, 0);
	/* two keys of 0: nothing, whatever else it says */
	CU_ASSERT_EQUAL(spec(&A, 8, 0, 0, "iqn.b,i,0x1", NULL), 0);
	CU_ASSERT(last == 0 && s.status == VMS_SAM_GOOD && !pr.n);
	/* only who is not registered yet */
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0, 0xa), 0);
	CU_ASSERT_EQUAL(spec(&A, 8, 0xa, 0xaa, "iqn.b,i,0x1", NULL), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_CDB);
}

static void all_target_ports(void)
{
	uint8_t list[24] = {0};

	vms_pr_free(&pr);
	list[15] = 0xa;
	list[20] = 4;
	CU_ASSERT_TRUE(vms_pr_needs_ports((const uint8_t[10]){0x5f, REG}, list, 24));
	CU_ASSERT_EQUAL(out_list(&A, REG, 0, list, 24), 0);
	CU_ASSERT_EQUAL(pr.n, 3);
	for (uint16_t p = 1; p <= 3; p++)
		CU_ASSERT_EQUAL(registered("iqn.a", 1, p), 0xa);
	/* one of them has a key of its own: it stays */
	A.target_port = 2;
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0xa, 0xb), 0);
	A.target_port = 1;
	list[7] = 0xa;
	list[15] = 0;
	CU_ASSERT_EQUAL(out_list(&A, REG, 0, list, 24), 0);
	CU_ASSERT(pr.n == 1 && registered("iqn.a", 1, 2) == 0xb);
	CU_ASSERT_EQUAL(spec(&A, 8 | 4, 0, 0xc, "iqn.b,i,0x010000000000", NULL), 0);
	CU_ASSERT_EQUAL(pr.n, 6);
	CU_ASSERT(registered("iqn.b", 1, 3) == 0xc && registered("iqn.a", 1, 2) == 0xb);
}

static int move(struct vms_pr_nexus *n, uint64_t key, uint64_t sakey, uint8_t bits, uint16_t port,
		const char *to)
{
	uint8_t list[128] = {0};
	uint32_t len;

	vms_put_be64(list, key);
	vms_put_be64(list + 8, sakey);
	list[17] = bits;
	vms_put_be16(list + 18, port);
	len = put_id(list + 24, to, strchr(to, ','));
	vms_put_be32(list + 20, len);
	return out_list(n, MOVE, 0, list, 24 + len);
}

static void register_and_move(void)
{
	static const char b[] = "iqn.b,i,0x010000000000";

	fresh();
	CU_ASSERT_EQUAL(move(&A, 0xa, 0xbb, 0, 1, b), -1); /* nothing to move */
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_CDB);
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_WE, 0xa, 0), 0);
	CU_ASSERT_EQUAL(move(&B, 0xb, 0xbb, 0, 1, b), -1); /* not the holder */
	CU_ASSERT_EQUAL(move(&A, 0x99, 0xbb, 0, 1, b), -1);
	CU_ASSERT_TRUE(conflict_status());
	CU_ASSERT_EQUAL(move(&A, 0xa, 0, 0, 1, b), -1);
	CU_ASSERT_EQUAL(move(&A, 0xa, 0xbb, 0, 9, b), -1); /* no such target port */
	CU_ASSERT_EQUAL(s.field, 18);
	CU_ASSERT_EQUAL(move(&A, 0xa, 0xbb, 0, 1, "iqn.b"), -1);
	CU_ASSERT_EQUAL(move(&A, 0xa, 0xbb, 0, 1, "iqn.a,i,0x010000000000"), -1); /* itself */
	CU_ASSERT_EQUAL(move(&A, 0xa, 0xbb, 0, 2, b), 0);
	CU_ASSERT(pr.n == 3 && registered("iqn.b", 1, 2) == 0xbb &&
		  registered("iqn.b", 1, 1) == 0xb);
	CU_ASSERT(pr.holder == 2 && pr.type == VMS_PR_WE);
	CU_ASSERT_TRUE(refused(&A, VMS_ACC_WRITE));
	/* back, and out of the list with it */
	B.target_port = 2;
	CU_ASSERT_FALSE(refused(&B, VMS_ACC_WRITE));
	CU_ASSERT_EQUAL(move(&B, 0xbb, 0xa, 2, 1, "iqn.a,i,0x010000000000"), 0);
	B.target_port = 1;
	CU_ASSERT(pr.n == 2 && pr.holder == 0);
	CU_ASSERT_FALSE(refused(&A, VMS_ACC_WRITE));
	CU_ASSERT_EQUAL(out(&A, REL, VMS_PR_WE, 0xa, 0), 0);
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_WE_AR, 0xa, 0), 0);
	CU_ASSERT_EQUAL(move(&A, 0xa, 0xbb, 0, 1, b), -1);
	CU_ASSERT_TRUE(conflict_status());
}

static void reserve_six(void)
{
	const struct vms_opcode *write = vms_opcode_find(0x2a, 0), *inq = vms_opcode_find(0x12, 0),
				*tur = vms_opcode_find(0, 0);
	struct vms_pr_who b = {&B, {1, 1, 7}};
	struct vms_pr next;

	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(six(&A, 0x17, 5), 0); /* nothing to release */
	CU_ASSERT_EQUAL(last, 0);
	CU_ASSERT_EQUAL(six(&A, 0x16, 5), 0);
	CU_ASSERT_EQUAL(last, 1);
	CU_ASSERT_TRUE(pr.held);
	CU_ASSERT_EQUAL(six(&A, 0x56, 5), 0);
	CU_ASSERT_EQUAL(last, 0);
	CU_ASSERT_EQUAL(six(&A, 0x16, 6), -1); /* another session of the same name */
	CU_ASSERT_EQUAL(six(&B, 0x16, 7), -1);
	CU_ASSERT_TRUE(conflict_status());
	CU_ASSERT_EQUAL(six(&B, 0x17, 7), 0);
	CU_ASSERT_EQUAL(last, 0);
	CU_ASSERT_EQUAL(out(&A, REG, 0, 0, 0xa), -1); /* not the two kinds at once */
	CU_ASSERT_TRUE(conflict_status());
	CU_ASSERT_TRUE(vms_pr_refuses_command(&pr, &b, write, (const uint8_t[10]){0x2a}));
	CU_ASSERT_TRUE(vms_pr_refuses_command(&pr, &b, tur, (const uint8_t[6]){0}));
	CU_ASSERT_FALSE(vms_pr_refuses_command(&pr, &b, inq, (const uint8_t[6]){0x12}));
	CU_ASSERT_TRUE(vms_pr_refuses(&pr, &b, VMS_ACC_READ));
	b.owner.session = 5;
	CU_ASSERT_FALSE(vms_pr_refuses(&pr, &b, VMS_ACC_WRITE));
	b.owner.incarnation = 2; /* the next process of that gateway */
	CU_ASSERT_TRUE(vms_pr_refuses(&pr, &b, VMS_ACC_WRITE));
	CU_ASSERT_EQUAL(vms_pr_reserve_end(&pr, &(struct vms_pr_owner){1, 1, 6}, &next), 0);
	CU_ASSERT_EQUAL(vms_pr_reserve_end(&pr, &(struct vms_pr_owner){1, 2, 5}, &next), 0);
	CU_ASSERT_EQUAL(vms_pr_reserve_end(&pr, &(struct vms_pr_owner){1, 1, 5}, &next), 1);
	CU_ASSERT(!next.held && !next.reserve.gateway);
	vms_pr_free(&next);
	CU_ASSERT_EQUAL(six(&A, 0x57, 5), 0);
	CU_ASSERT_FALSE(pr.held);
	fresh();
	CU_ASSERT_EQUAL(six(&A, 0x16, 5), -1);
	CU_ASSERT_TRUE(conflict_status());
}

/* Its record, too, tells everybody, and that commands end. */
static void record_tells_all(struct vms_pr *next, uint16_t asc)
{
	struct vms_pr back;
	char *text;

	next->fence = 9;
	next->by = (struct vms_pr_owner){1, 2, 3};
	text = vms_pr_encode(next);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL_FATAL(vms_pr_decode(&back, "pr/x", text, NULL), 0);
	CU_ASSERT(back.nevents == 1 && back.event[0].all && back.event[0].abort &&
		  back.event[0].asc == asc);
	free(text);
	vms_pr_free(&back);
}

static void a_reset_is_for_every_nexus(void)
{
	struct vms_pr next;

	fresh();
	CU_ASSERT(pr.n > 0);
	CU_ASSERT_EQUAL(vms_pr_reset(&pr, &next), 1);
	/* registrations stay; everybody is told and their commands end first */
	CU_ASSERT(next.n == pr.n && next.pending && next.nevents == 1);
	CU_ASSERT(next.event[0].all && next.event[0].abort && next.event[0].asc == 0x2903);
	record_tells_all(&next, 0x2903);
	vms_pr_free(&next);
	/* RESERVE ends with it, whoever has it */
	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(six(&A, 0x16, 5), 0);
	CU_ASSERT_EQUAL(vms_pr_reset(&pr, &next), 1);
	CU_ASSERT(!next.held && !next.reserve.gateway);
	vms_pr_free(&next);
}

/* CLEAR TASK SET ends commands and nothing else. */
static void clearing_the_task_set_is_for_every_nexus(void)
{
	struct vms_pr next;

	fresh();
	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(six(&A, 0x16, 5), 0);
	CU_ASSERT_EQUAL(vms_pr_clear_tasks(&pr, &next), 1);
	CU_ASSERT(next.held && next.reserve.gateway && next.generation == pr.generation);
	CU_ASSERT(next.pending && next.nevents == 1);
	record_tells_all(&next, 0);
	vms_pr_free(&next);
}

/* 128 registrations with the longest names, and the same again as events, is a record. */
static void the_largest_table_is_a_record(void)
{
	struct vms_pr_nexus n = A;

	vms_pr_free(&pr);
	memset(n.initiator, 'x', 223);
	for (unsigned i = 0; i < VMS_PR_REGISTRATIONS_MAX; i++) {
		n.isid[5] = (uint8_t)i;
		CU_ASSERT_EQUAL(out(&n, REG, 0, 0, 1 + (i == 127)), 0);
	}
	CU_ASSERT_EQUAL(out(&n, PREAB, 0, 2, 1), 0);
	CU_ASSERT(pr.n == 1 && aborts == 127);
	/* what would not fit is refused before it is written */
	memset(n.initiator, '"', 223);
	for (unsigned i = 0; i < 100; i++) {
		struct vms_pr_registration *r = realloc(pr.reg, (pr.n + 1) * sizeof(*r));

		pr.reg = r;
		n.isid[4] = (uint8_t)(i + 1);
		r[pr.n++] = (struct vms_pr_registration){n, 1};
	}
	CU_ASSERT_PTR_NULL(vms_pr_encode(&pr));
	vms_pr_free(&pr);
}

/* One step of A, whose registration is 0xa; its record, or NULL. */
static char *next_text(unsigned sa, uint8_t type, uint64_t sakey, struct vms_pr_nexus *n)
{
	uint8_t cdb[10] = {0x5f, (uint8_t)sa, type}, list[24] = {0};
	struct vms_pr_req r = {.cdb = cdb,
			       .list = list,
			       .list_bytes = 24,
			       .who = {n, {n->target_port, 1, n->isid[0]}}};
	struct vms_pr next;
	char *text;

	vms_put_be32(cdb + 5, 24);
	vms_put_be64(list, n == &A ? 0xa : 0);
	vms_put_be64(list + 8, sakey);
	if (vms_pr_step(&pr, &r, &next, &s) <= 0)
		return NULL;
	next.fence = pr.fence + 1;
	next.by = (struct vms_pr_owner){UINT32_MAX, INT64_MAX, UINT64_MAX};
	text = vms_pr_encode_next(&pr, &next);
	if (text && sa == REG) { /* goes on from there */
		vms_pr_free(&pr);
		pr = next;
	} else {
		vms_pr_free(&next);
	}
	return text;
}

/* A full record takes no more registrations; what those that are there do always fits. */
static void a_full_record_can_be_worked_with(void)
{
	static const struct {
		unsigned sa;
		uint8_t type;
		uint64_t sakey;
	} t[] = {{REL, VMS_PR_WE_RO, 0},     {CLR, 0, 0},	    {PRE, VMS_PR_EA, 0xa},
		 {PREAB, VMS_PR_EA_RO, 0xa}, {PRE, VMS_PR_EA, 0xb}, {PREAB, VMS_PR_EA, 0xb},
		 {REGI, 0, UINT64_MAX},	     {REGI, 0, 0}};
	struct vms_pr_nexus n = B;
	unsigned len = sizeof(n.initiator) - 1;
	bool full = false;
	char *text;

	fresh();
	CU_ASSERT_EQUAL(out(&A, RES, VMS_PR_WE_RO, 0xa, 0), 0);
	n.target_port = UINT16_MAX;
	for (unsigned i = 0; len && pr.n < VMS_PR_REGISTRATIONS_MAX; i++) {
		memset(n.initiator, 0, sizeof(n.initiator));
		memset(n.initiator, '%', len);
		n.isid[4] = (uint8_t)(i >> 8);
		n.isid[5] = (uint8_t)i;
		text = next_text(REG, 0, 0xb, &n);
		if (!text) {
			CU_ASSERT_EQUAL(s.status, VMS_SAM_GOOD); /* the step alone would do */
			full = true;
			len--;
		}
		free(text);
	}
	CU_ASSERT(full && pr.n > 80);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		text = next_text(t[i].sa, t[i].type, t[i].sakey, &A);
		CU_ASSERT_PTR_NOT_NULL(text);
		free(text);
	}
}

/* Nobody could read a table with such an entry. */
static void who_has_no_name_is_not_registered(void)
{
	struct vms_pr_nexus none = {.target_port = 1};

	vms_pr_free(&pr);
	CU_ASSERT_EQUAL(out(&none, REG, 0, 0, 0xa), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INSUFFICIENT_REGISTRATIONS);
	CU_ASSERT_EQUAL(out(&none, REGI, 0, 0, 0xa), -1);
	CU_ASSERT_EQUAL(pr.n, 0);
}

static void wrong_records_are_refused(void)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"fence\":0,\"generation\":1,\"type\":0,\"holder\":-1,\"registrations\":[]}",
		"{\"fence\":1,\"generation\":1,\"type\":1,\"holder\":0,\"registrations\":[]}",
		"{\"fence\":1,\"generation\":1,\"type\":2,\"holder\":-1,\"registrations\":[]}",
		"{\"fence\":1,\"generation\":1,\"type\":7,\"holder\":-1,\"registrations\":[]}",
		"{\"fence\":1,\"generation\":1,\"type\":0,\"holder\":-1,\"registrations\":"
		"[[\"a\",\"010000000000\",1,\"0000000000000000\"]]}",
		"{\"fence\":1,\"generation\":1,\"type\":0,\"holder\":-1,\"registrations\":"
		"[[\"a%0\",\"010000000000\",1,\"0000000000000001\"]]}",
		"{\"fence\":1,\"generation\":1,\"type\":0,\"holder\":-1,\"registrations\":"
		"[[\"a\",\"010000000000\",1,\"0000000000000001\"],"
		"[\"a\",\"010000000000\",1,\"0000000000000002\"]]}",
		"{\"fence\":1,\"generation\":1,\"type\":0,\"holder\":-1,\"registrations\":[],"
		"\"reserve\":[0,1,\"0000000000000001\"]}",
		"{\"fence\":1,\"generation\":1,\"type\":0,\"holder\":-1,\"registrations\":[],"
		"\"by\":[1,1,\"0000000000000001\"],\"tell\":[[0,1,false]]}",
	};
	struct vms_errmsg msg;
	struct vms_pr_ack ack = {7, 3, 9}, b;
	char *text;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_EQUAL(vms_pr_decode(&pr, "pr/x", bad[i], &msg), VMS_E_CORRUPT);
		CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "pr/x"));
	}
	CU_ASSERT_EQUAL(vms_pr_decode(&pr, "pr/x", NULL, &msg), 0);
	CU_ASSERT(!pr.fence && !pr.held);
	text = vms_pr_ack_encode(&ack);
	CU_ASSERT_EQUAL(vms_pr_ack_decode(&b, "k", text, NULL), 0);
	CU_ASSERT(b.gateway == 7 && b.incarnation == 3 && b.fence == 9);
	free(text);
	CU_ASSERT_EQUAL(vms_pr_ack_decode(&b, "k", "{}", &msg), VMS_E_CORRUPT);
}

static const struct vms_test tests[] = {
	VMS_TEST(register_needs_the_right_key),
	VMS_TEST(a_port_is_name_and_isid),
	VMS_TEST(bits_and_lengths),
	VMS_TEST(access_by_type),
	VMS_TEST(reserve_and_release),
	VMS_TEST(unregistering_the_holder_releases),
	VMS_TEST(holder_index_follows_removals),
	VMS_TEST(clear_tells_the_others),
	VMS_TEST(preempt_takes_the_reservation),
	VMS_TEST(preempt_removes_registrations),
	VMS_TEST(preempt_of_all_registrants),
	VMS_TEST(own_preempt_changes_the_type),
	VMS_TEST(registrations_are_bounded),
	VMS_TEST(persistent_reserve_in),
	VMS_TEST(registering_others),
	VMS_TEST(all_target_ports),
	VMS_TEST(register_and_move),
	VMS_TEST(reserve_six),
	VMS_TEST(a_reset_is_for_every_nexus),
	VMS_TEST(clearing_the_task_set_is_for_every_nexus),
	VMS_TEST(the_largest_table_is_a_record),
	VMS_TEST(a_full_record_can_be_worked_with),
	VMS_TEST(who_has_no_name_is_not_registered),
	VMS_TEST(wrong_records_are_refused),
};
VMS_TEST_MAIN("pr", tests)
