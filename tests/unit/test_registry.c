// SPDX-License-Identifier: GPL-2.0-only
/* Records of targets: form, changes, and the steps from one to another. */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "target/registry.h"
#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"

#define IQN "iqn.2026-01.org.example:disks"

static struct vms_errmsg e;

static json_t *rec(void)
{
	json_t *r = vms_reg_new(IQN, 7);

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT(!vms_reg_check(r, "new", &e));
	return r;
}

static void names(void)
{
	CU_ASSERT(!vms_reg_name_check(IQN, &e));
	CU_ASSERT(!vms_reg_name_check("eui.02004567A425678D", &e));
	CU_ASSERT(vms_reg_name_check("disks", &e));
	CU_ASSERT(vms_reg_name_check("iqn.2026-01.org.example:a b", &e));
	CU_ASSERT(vms_reg_name_check("iqn.2026-01.org.example:a,b", &e));
	CU_ASSERT(vms_reg_name_check("iqn.", &e));
	/* records that have it are read, new ones do not get it */
	CU_ASSERT(!vms_reg_name_check("iqn.2026-01.org.example:A", &e));
	CU_ASSERT(vms_reg_new_name_check("iqn.2026-01.org.example:A", &e));
	CU_ASSERT(!vms_reg_new_name_check("iqn.2026-01.org.example:a", &e));
	CU_ASSERT(!vms_reg_new_name_check("eui.02004567A425678D", &e));
	CU_ASSERT(vms_reg_new_name_check("disks", &e));
}

static void changes(void)
{
	json_t *r = rec();
	char *a, *b;

	CU_ASSERT(!vms_reg_add_lun(r, 2, "two", &e));
	CU_ASSERT(!vms_reg_add_lun(r, 1, "one", &e));
	CU_ASSERT(!vms_reg_add_lun(r, 300, "pool/x@monday", &e));
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 2, "other", &e), VMS_E_EXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "two"));
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 3, "two", &e), VMS_E_EXIST);
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 0, "zero", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 16384, "big", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 4, "a,b", &e), VMS_E_INVAL);
	CU_ASSERT_STRING_EQUAL(vms_reg_volume(r, 1), "one");
	CU_ASSERT_PTR_NULL(vms_reg_volume(r, 3));
	CU_ASSERT_EQUAL(vms_reg_lun_of(r, "pool/x@monday"), 300);
	CU_ASSERT_EQUAL(vms_reg_lun_of(r, "none"), UINT64_MAX);
	CU_ASSERT_EQUAL(vms_reg_free_lun(r), 3);
	CU_ASSERT_EQUAL(vms_reg_luns(r), 3);
	CU_ASSERT(!vms_reg_set_lun_param(r, 2, "removable", "1", &e));
	CU_ASSERT_EQUAL(vms_reg_set_lun_param(r, 5, "removable", "1", &e), VMS_E_NOENT);
	CU_ASSERT(!vms_reg_bind(r, VMS_REG_ADDRESSES, "192.0.2.0/24", &e));
	CU_ASSERT_EQUAL(vms_reg_bind(r, VMS_REG_ADDRESSES, "192.0.2.0/24", &e), VMS_E_EXIST);
	CU_ASSERT(!vms_reg_bind(r, VMS_REG_USERS, "host1", &e));
	CU_ASSERT_EQUAL(vms_reg_unbind(r, VMS_REG_USERS, "host2", &e), VMS_E_NOENT);
	CU_ASSERT(!vms_reg_unbind(r, VMS_REG_USERS, "host1", &e));
	CU_ASSERT(!vms_reg_set_user_out(r, "us", &e));
	CU_ASSERT_EQUAL(vms_reg_set_user_out(r, "them", &e), VMS_E_EXIST);
	CU_ASSERT(!vms_reg_set_user_out(r, NULL, &e));
	CU_ASSERT_EQUAL(vms_reg_set_user_out(r, NULL, &e), VMS_E_NOENT);
	CU_ASSERT(!vms_reg_set_param(r, "MaxRecvDataSegmentLength", "65536", &e));
	CU_ASSERT_EQUAL(vms_reg_set_param(r, "a=b", "1", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_set_param(r, "x", "", &e), VMS_E_INVAL);
	vms_reg_set_redirect(r, true);
	CU_ASSERT(vms_reg_redirect(r));
	vms_reg_set_redirect(r, false);
	CU_ASSERT(!vms_reg_redirect(r));
	CU_ASSERT(!vms_reg_remove_lun(r, 2, &e));
	CU_ASSERT_EQUAL(vms_reg_remove_lun(r, 2, &e), VMS_E_NOENT);
	CU_ASSERT(!vms_reg_check(r, "r", &e));
	a = vms_reg_encode(r);
	json_decref(r);
	r = vms_reg_decode(a, "again", &e);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	b = vms_reg_encode(r);
	CU_ASSERT_STRING_EQUAL(a, b);
	free(a);
	free(b);
	json_decref(r);
}

/* Whatever lies in the catalog: an error that names the field, never a crash. */
static void bad_records(void)
{
	static const struct {
		const char *text, *names;
	} v[] = {
		{"", ""},
		{"[]", "object"},
		{"{}", "name"},
		{"{\"name\":\"iqn.x\"}", "tid"},
		{"{\"name\":7,\"tid\":1}", "name"},
		{"{\"name\":\"x\",\"tid\":1}", "name"},
		{"{\"name\":\"iqn.x\",\"tid\":0}", "tid"},
		{"{\"name\":\"iqn.x\",\"tid\":70000}", "tid"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":{}}", "addresses"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[1],\"names\":[],\"users\":[]}",
		 "addresses"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[\"\"],\"users\":["
		 "]}",
		 "names"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[],\"users\":[]}",
		 "luns"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[],\"users\":[],"
		 "\"luns\":[1]}",
		 "luns"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[],\"users\":[],"
		 "\"luns\":"
		 "[{\"lun\":2,\"volume\":\"a\"},{\"lun\":1,\"volume\":\"b\"}]}",
		 "luns"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[],\"users\":[],"
		 "\"luns\":"
		 "[{\"lun\":1,\"volume\":\"a b\"}]}",
		 "luns"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[],\"users\":[],"
		 "\"luns\":"
		 "[{\"lun\":1,\"volume\":\"a\",\"params\":{\"x\":1}}]}",
		 "params"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[],\"users\":[],"
		 "\"luns\":[],"
		 "\"offline\":1}",
		 "offline"},
		{"{\"name\":\"iqn.x\",\"tid\":1,\"addresses\":[],\"names\":[],\"users\":[],"
		 "\"luns\":[],"
		 "\"user_out\":1}",
		 "user_out"},
	};

	for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		json_t *r = vms_reg_decode(v[i].text, "target/x", &e);

		CU_ASSERT_PTR_NULL(r);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "target/x"));
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, v[i].names));
		json_decref(r);
	}
}

/* ---- steps: a gateway as a list of texts ---- */

struct model {
	json_t *rec; /* NULL: no target */
	char log[16384];
	bool open; /* somebody is admitted */
	unsigned n;
	unsigned stop_at;
};

static int do_step(void *arg, const struct vms_reg_step *s)
{
	struct model *m = arg;
	int rc = 0;

	if (m->stop_at && m->n + 1 == m->stop_at)
		return 1;
	m->n++;
	CU_ASSERT(s->what == VMS_RS_TARGET_NEW ? !m->rec : m->rec != NULL);
	switch (s->what) {
	case VMS_RS_TARGET_NEW:
		m->rec = vms_reg_new(s->a, s->tid);
		break;
	case VMS_RS_TARGET_DELETE:
		CU_ASSERT_EQUAL(vms_reg_luns(m->rec), 0);
		json_decref(m->rec);
		m->rec = NULL;
		break;
	case VMS_RS_BIND:
		rc = vms_reg_bind(m->rec, s->list, s->a, &e);
		break;
	case VMS_RS_UNBIND:
		rc = vms_reg_unbind(m->rec, s->list, s->a, &e);
		break;
	case VMS_RS_USER_OUT:
		rc = vms_reg_set_user_out(m->rec, s->a, &e);
		break;
	case VMS_RS_USER_OUT_OFF:
		rc = vms_reg_set_user_out(m->rec, NULL, &e);
		break;
	case VMS_RS_STATE:
		vms_reg_set_offline(m->rec, !strcmp(s->a, "offline"));
		break;
	case VMS_RS_PARAM:
		rc = vms_reg_set_param(m->rec, s->a, s->b, &e);
		break;
	case VMS_RS_LUN_NEW:
		rc = vms_reg_add_lun(m->rec, s->lun, s->a, &e);
		break;
	case VMS_RS_LUN_DELETE:
		rc = vms_reg_remove_lun(m->rec, s->lun, &e);
		break;
	case VMS_RS_LUN_PARAM:
		rc = vms_reg_set_lun_param(m->rec, s->lun, s->a, s->b, &e);
		break;
	case VMS_RS_PARAM_OFF:
		rc = vms_reg_set_param(m->rec, s->a, NULL, &e);
		break;
	case VMS_RS_LUN_PARAM_OFF:
		rc = vms_reg_set_lun_param(m->rec, s->lun, s->a, NULL, &e);
		break;
	}
	CU_ASSERT_EQUAL(rc, 0);
	return 0;
}

/* What tgtd matches; all else would admit nobody, or others than it says. */
static void addresses(void)
{
	static const char *const good[] = {
		"ALL",		 "192.0.2.7",	    "192.0.2.0/24", "10.0.0.0/8",
		"128.0.0.0/1",	 "192.0.2.6/31",    "::1",	    "[::1]",
		"2001:db8::/32", "[2001:db8::]/32", "::/1"};
	static const char *const wrong[] = {"",
					    "all",
					    "300.1.1.1",
					    "host1",
					    "192.0.2",
					    "192.0.2.0/",
					    "192.0.2.0/0x8",
					    "192.0.2.0/08",
					    "192.0.2.0/a",
					    "192.0.2.7/24",
					    "192.0.2.7/32",
					    "0.0.0.0/0",
					    "192.0.2.0/-1",
					    "[192.0.2.0",
					    "::1/128",
					    "2001:db8::1/32",
					    "192.0.2.0/4294967320",
					    "/24",
					    "ALL/8"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CU_ASSERT_EQUAL(vms_reg_address_check(good[i], &e), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		CU_ASSERT_EQUAL(vms_reg_address_check(wrong[i], &e), VMS_E_INVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "initiator address"));
	}
}

static json_t *random_record(struct vms_rng *g)
{
	static const char *const vols[] = {"a", "b", "c", "d", "e", "f"};
	static const char *const what[] = {"p", "q", "r"};
	static const char *const who[] = {"ALL", "192.0.2.1", "iqn.a", "iqn.b", "host"};
	json_t *r;

	if (vms_rng_below(g, 6) == 0)
		return NULL;
	r = vms_reg_new(vms_rng_below(g, 4) ? IQN : IQN "2", 1 + (uint32_t)vms_rng_below(g, 2));
	for (unsigned i = 0; i < 6; i++) {
		uint64_t lun = 1 + vms_rng_below(g, 8);

		if (vms_rng_below(g, 2))
			(void)vms_reg_add_lun(r, lun, vols[i], &e);
		if (vms_rng_below(g, 2))
			(void)vms_reg_set_lun_param(r, lun, what[vms_rng_below(g, 3)],
						    what[vms_rng_below(g, 3)], &e);
		if (vms_rng_below(g, 3) == 0)
			(void)vms_reg_set_param(r, what[vms_rng_below(g, 3)],
						what[vms_rng_below(g, 3)], &e);
		if (vms_rng_below(g, 2))
			(void)vms_reg_bind(r, vms_rng_below(g, 3), who[vms_rng_below(g, 5)], &e);
	}
	if (vms_rng_below(g, 2))
		(void)vms_reg_set_user_out(r, who[vms_rng_below(g, 5)], &e);
	vms_reg_set_offline(r, vms_rng_below(g, 2));
	return r;
}

/* From any record to any other, also when the way is broken off and begun again. */
static void steps(void)
{
	struct vms_rng g;

	vms_rng_init(&g, 1);
	for (int i = 0; i < 20000; i++) {
		struct model m = {.rec = NULL};
		json_t *from = random_record(&g), *to = random_record(&g);
		char *x, *y;

		m.rec = from ? json_deep_copy(from) : NULL;
		if (vms_rng_below(&g, 2)) {
			m.stop_at = 1 + (unsigned)vms_rng_below(&g, 6);
			(void)vms_reg_steps(from, to, do_step, &m);
			m.stop_at = 0;
			json_decref(from);
			from = m.rec ? json_deep_copy(m.rec) : NULL;
		}
		CU_ASSERT_EQUAL(vms_reg_steps(from, to, do_step, &m), 0);
		CU_ASSERT_EQUAL(!m.rec, !to);
		if (m.rec && to) {
			/* lists are sets */
			m.n = 0;
			CU_ASSERT_EQUAL(vms_reg_steps(m.rec, to, do_step, &m), 0);
			CU_ASSERT_EQUAL(m.n, 0);
			x = vms_reg_encode(json_object_get(m.rec, "luns"));
			y = vms_reg_encode(json_object_get(to, "luns"));
			CU_ASSERT_STRING_EQUAL(x, y);
			free(x);
			free(y);
			CU_ASSERT(json_equal(json_object_get(m.rec, "params"),
					     json_object_get(to, "params")) ||
				  (!json_object_get(m.rec, "params") &&
				   !json_object_get(to, "params")));
		}
		json_decref(m.rec);
		json_decref(from);
		json_decref(to);
	}
}

/* Nobody is admitted before everything else is there, or while something goes. */
static int order_step(void *arg, const struct vms_reg_step *s)
{
	struct model *m = arg;

	snprintf(m->log + strlen(m->log), sizeof(m->log) - strlen(m->log), "%d.%d ", (int)s->what,
		 s->what == VMS_RS_BIND || s->what == VMS_RS_UNBIND ? (int)s->list : 9);
	return 0;
}

static void order(void)
{
	struct model m = {.rec = NULL};
	json_t *r = rec();

	CU_ASSERT(!vms_reg_bind(r, VMS_REG_ADDRESSES, "ALL", &e));
	CU_ASSERT(!vms_reg_bind(r, VMS_REG_NAMES, "iqn.a", &e));
	CU_ASSERT(!vms_reg_bind(r, VMS_REG_USERS, "host", &e));
	CU_ASSERT(!vms_reg_add_lun(r, 1, "a", &e));
	CU_ASSERT(!vms_reg_set_lun_param(r, 1, "p", "v", &e));
	CU_ASSERT(!vms_reg_set_user_out(r, "us", &e));
	CU_ASSERT(!vms_reg_set_param(r, "p", "v", &e));
	vms_reg_steps(NULL, r, order_step, &m);
	CU_ASSERT_STRING_EQUAL(m.log, "4.9 6.9 7.9 8.9 10.2 9.9 10.1 10.0 ");
	m.log[0] = 0;
	vms_reg_steps(r, NULL, order_step, &m);
	CU_ASSERT_STRING_EQUAL(m.log, "2.1 2.0 1.9 2.2 3.9 0.9 ");
	json_decref(r);
}

static const struct vms_test tests[] = {
	VMS_TEST(names),     VMS_TEST(changes), VMS_TEST(bad_records),
	VMS_TEST(addresses), VMS_TEST(steps),	VMS_TEST(order),
};
VMS_TEST_MAIN("registry", tests)
