// SPDX-License-Identifier: GPL-2.0-only
/* What members of an etcd say of themselves, in answers as etcd 3.4.23 gives them. */
#include <string.h>

#include "cluster/etcd_members.h"
#include "tests/unit/cunit.h"

static struct vms_etcd_members m;
static unsigned calls;

static void start(void *ctx, const struct vms_etcd_call *c)
{
	CU_ASSERT_STRING_EQUAL(c->path, "/v3/maintenance/status");
	CU_ASSERT_STRING_EQUAL(c->body, "{}");
	CU_ASSERT(c->id == calls + 1 && c->endpoint == calls && !c->stream && c->timeout_ms);
	calls++;
}

static void ask(unsigned n)
{
	struct vms_etcd_sink sink = {NULL, start, NULL};

	calls = 0;
	vms_etcd_members_ask(&m, n, &sink);
	CU_ASSERT_EQUAL(calls, n);
}

static bool answer(unsigned i, int http_status, const char *text)
{
	struct vms_etcd_event ev = {.id = i + 1,
				    .end = true,
				    .data = http_status ? text : "",
				    .bytes = http_status ? strlen(text) : 0,
				    .http_status = http_status,
				    .why = http_status ? "" : text};

	return vms_etcd_members_event(&m, &ev);
}

#define STATUS(id, leader, more)                                                                   \
	"{\"header\":{\"cluster_id\":\"1126502087536705\",\"member_id\":\"" id                     \
	"\",\"revision\":\"4711\",\"raft_term\":\"2\"},\"version\":\"3.4.23\","                    \
	"\"dbSize\":\"212992\"," leader                                                            \
	"\"raftIndex\":\"13\",\"raftTerm\":\"2\",\"raftAppliedIndex\":\"13\"" more                 \
	",\"dbSizeInUse\":\"110592\"}"
#define LEADER "\"leader\":\"14593247367553392847\","

static void well(unsigned i)
{
	static const char *const texts[] = {STATUS("14593247367553392847", LEADER, ""),
					    STATUS("12", LEADER, ""), STATUS("13", LEADER, ""),
					    STATUS("14", LEADER, ""), STATUS("15", LEADER, "")};

	answer(i, 200, texts[i]);
}

static void members_that_are_well(void)
{
	ask(3);
	CU_ASSERT_FALSE(answer(1, 200, STATUS("12", LEADER, "")));
	CU_ASSERT_FALSE(answer(1, 200, STATUS("99", LEADER, ""))); /* twice: the first counts */
	CU_ASSERT_FALSE(answer(0, 200, STATUS("14593247367553392847", LEADER, "")));
	CU_ASSERT_EQUAL(vms_etcd_members_spare(&m), 0);
	CU_ASSERT_TRUE(answer(2, 200, STATUS("13", LEADER, "")));
	CU_ASSERT_EQUAL(vms_etcd_members_spare(&m), 1);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT(m.m[i].up && m.m[i].leader && m.m[i].revision == 4711 && !m.m[i].why[0] &&
			  !strcmp(m.m[i].version, "3.4.23"));
	CU_ASSERT_EQUAL(m.nalarms, 0);
	CU_ASSERT_EQUAL(m.m[0].id, UINT64_C(14593247367553392847));
	CU_ASSERT_EQUAL(vms_etcd_members_find(&m, 12), 1);
	CU_ASSERT_EQUAL(vms_etcd_members_find(&m, 99), 3);
}

static void members_that_are_away(void)
{
	ask(3);
	well(0);
	well(2);
	CU_ASSERT_TRUE(answer(1, 0, "Connection refused"));
	CU_ASSERT_FALSE(m.m[1].up);
	CU_ASSERT_STRING_EQUAL(m.m[1].why, "Connection refused");
	CU_ASSERT_EQUAL(vms_etcd_members_spare(&m), 0);

	ask(3);
	well(0);
	answer(1, 0, "Timeout was reached");
	CU_ASSERT_TRUE(answer(2, 404, "404 page not found"));
	CU_ASSERT(!m.m[2].up && m.m[2].why[0]);
	CU_ASSERT_EQUAL(vms_etcd_members_spare(&m), -1);

	/* something answers, but it is no etcd */
	ask(1);
	CU_ASSERT_TRUE(answer(0, 200, "{\"health\":\"true\"}"));
	CU_ASSERT(!m.m[0].up && m.m[0].why[0]);

	ask(5);
	for (unsigned i = 0; i < 4; i++)
		well(i);
	answer(4, 0, "Connection refused");
	CU_ASSERT_EQUAL(vms_etcd_members_spare(&m), 1);
}

/* One that is cut off from the others answers, but is not one of a majority. */
static void a_member_without_a_leader(void)
{
	ask(3);
	well(1);
	well(2);
	CU_ASSERT_TRUE(answer(0, 200, STATUS("11", "", ",\"errors\":[\"etcdserver: no leader\"]")));
	CU_ASSERT(m.m[0].up && !m.m[0].leader && !m.nalarms);
	CU_ASSERT_EQUAL(vms_etcd_members_spare(&m), 0);
}

static void alarms(void)
{
	static const char both[] = STATUS("12", LEADER,
					  ",\"errors\":[\"memberID:14593247367553392847 "
					  "alarm:NOSPACE \",\"memberID:77 alarm:CORRUPT \"]");

	ask(3);
	well(0);
	well(2);
	CU_ASSERT_TRUE(answer(1, 200, both));
	CU_ASSERT_EQUAL_FATAL(m.nalarms, 2);
	CU_ASSERT_EQUAL(m.alarm[0].kind, VMS_ETCD_NOSPACE);
	CU_ASSERT_EQUAL(vms_etcd_members_find(&m, m.alarm[0].id), 0);
	CU_ASSERT(m.alarm[1].kind == VMS_ETCD_CORRUPT && m.alarm[1].id == 77);
	CU_ASSERT(m.m[1].up && m.m[1].leader);
	/* each member tells of all alarms: they are the same ones */
	ask(2);
	answer(0, 200, both);
	answer(1, 200, both);
	CU_ASSERT_EQUAL(m.nalarms, 2);
	ask(1);
	answer(0, 200,
	       STATUS("12", LEADER,
		      ",\"errors\":[\"memberID:12 alarm:SOMETHING \",\"memberID:x\",\"\",7]"));
	CU_ASSERT_EQUAL_FATAL(m.nalarms, 1);
	CU_ASSERT_EQUAL(m.alarm[0].kind, VMS_ETCD_ALARM);
}

/* One that wants to know who asks runs all the same. */
static void a_member_that_wants_a_user(void)
{
	ask(1);
	CU_ASSERT_TRUE(answer(0, 401,
			      "{\"error\":\"etcdserver: invalid auth token\",\"message\":"
			      "\"etcdserver: invalid auth token\",\"code\":16}"));
	CU_ASSERT(m.m[0].up && m.m[0].leader && !m.m[0].id);
	CU_ASSERT_EQUAL(vms_etcd_members_find(&m, 0), 1);
	ask(1);
	answer(0, 403, "{\"error\":\"etcdserver: permission denied\",\"code\":7}");
	CU_ASSERT(m.m[0].up && m.m[0].leader);
}

int main(void)
{
	static const struct vms_test tests[] = {
		VMS_TEST(members_that_are_well),      VMS_TEST(members_that_are_away),
		VMS_TEST(a_member_without_a_leader),  VMS_TEST(alarms),
		VMS_TEST(a_member_that_wants_a_user),
	};

	return vms_test_main_("etcd_members", tests, sizeof(tests) / sizeof(tests[0]));
}
