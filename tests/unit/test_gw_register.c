// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registrations of open volumes whose transaction ended without an outcome: what may have been
 * made is taken away when the volume is closed, so that it does not look open for ever, and a
 * snapshot does not wait for a gateway that knows nothing of it.
 */
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"

#define UNSURE_MS 10000u

static struct vms_gw_vol *w;

static struct vms_cat_kv kv_at(unsigned i)
{
	return (struct vms_cat_kv){.key = f.kv[i].key,
				   .val = f.kv[i].val,
				   .val_bytes = f.kv[i].val ? strlen(f.kv[i].val) : 0};
}

/* Registrations of volume "w", which is not the one that f_start() opens. */
static unsigned registered(void)
{
	struct vms_cat_open o;
	unsigned n = 0;

	for (unsigned i = 0; i < f.nkv; i++) {
		struct vms_cat_kv kv = kv_at(i);

		if (kv.val && !strncmp(kv.key, "open/", 5) && !vms_cat_open_decode(&kv, &o, NULL) &&
		    o.id != F_BRANCH)
			n++;
	}
	return n;
}

static void make_w(uint32_t mutant)
{
	f_start(mutant, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "w", 4096 * 16, VMS_ACK_DISK, NULL, &w, NULL), 0);
	f_run(500);
	CU_ASSERT_EQUAL(registered(), 1);
	vms_gw_vol_close(f.gw, w);
	f_run(500);
	CU_ASSERT_EQUAL(registered(), 0);
}

/* Its registration is made, the answer is lost; `after` ms later it is closed. */
static void lost(uint64_t after)
{
	f.cat_mute = true;
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "w", 0, VMS_ACK_DISK, NULL, &w, NULL), 0);
	f_pump();
	f_run(after);
	vms_gw_vol_close(f.gw, w);
	f.cat_mute = false;
}

static void one_that_was_made_unheard_is_taken_away(void)
{
	make_w(0);
	lost(100);
	f_run(1000);
	CU_ASSERT_EQUAL(registered(), 0);
	f_stop();

	make_w(VMS_GWM_REG_LEFT);
	lost(100);
	f_run(2 * UNSURE_MS);
	CU_ASSERT_EQUAL(registered(), 1);
	f_stop();
}

/* The volume is closed while the transaction is under way. */
static void also_when_it_was_closed_before_the_answer(void)
{
	for (unsigned bad = 0; bad < 2; bad++) {
		make_w(bad ? VMS_GWM_REG_LEFT : 0);
		f.cat_mute = true;
		CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "w", 0, VMS_ACK_DISK, NULL, &w, NULL), 0);
		for (unsigned i = 0; i < 1000 && !registered(); i++)
			if (f.ncall)
				f_call_run();
			else
				f_event(VMS_GEV_TIMER, 0, NULL);
		CU_ASSERT_EQUAL_FATAL(registered(), 1);
		vms_gw_vol_close(f.gw, w);
		f_pump();
		f.cat_mute = false;
		f_run(1000);
		CU_ASSERT_EQUAL(registered(), bad);
		f_stop();
	}
}

/* Opened again meanwhile, it keeps what it has. */
static void one_that_is_open_again_stays(void)
{
	make_w(0);
	lost(100);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "w", 0, VMS_ACK_DISK, NULL, &w, NULL), 0);
	f_run(2 * UNSURE_MS);
	CU_ASSERT_EQUAL(registered(), 1);
	vms_gw_vol_close(f.gw, w);
	f_run(1000);
	CU_ASSERT_EQUAL(registered(), 0);
	f_stop();
}

/* What was registered is registered once more: the transaction without an outcome comes. */
static char again_key[VMS_CAT_KEY_BYTES_MAX], again_val[300];

static void again(void)
{
	f_put(again_key, again_val);
}

static void remember(void)
{
	struct vms_cat_open o;

	for (unsigned i = 0; i < f.nkv; i++) {
		struct vms_cat_kv kv = kv_at(i);

		if (!kv.val || strncmp(kv.key, "open/", 5) || vms_cat_open_decode(&kv, &o, NULL) ||
		    o.id == F_BRANCH)
			continue;
		snprintf(again_key, sizeof(again_key), "%s", kv.key);
		snprintf(again_val, sizeof(again_val), "%s", kv.val);
	}
}

/* (simulator seeds 698, 1887) */
static void one_that_comes_late_is_taken_away(void)
{
	for (unsigned bad = 0; bad < 2; bad++) {
		make_w(bad ? VMS_GWM_REG_LATE : 0);
		lost(100);
		CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "w", 0, VMS_ACK_DISK, NULL, &w, NULL), 0);
		f_run(2000);
		CU_ASSERT_EQUAL(registered(), 1);
		remember();
		/* while it is open ... */
		again();
		f_run(100);
		vms_gw_vol_close(f.gw, w);
		f_run(2000);
		CU_ASSERT_EQUAL(registered(), bad);
		/* ... and when it has been closed */
		again();
		f_run(2000);
		CU_ASSERT_EQUAL(registered(), bad);
		f_run(2 * UNSURE_MS);
		CU_ASSERT_EQUAL(registered(), bad);
		f_stop();
	}
}

static void before(uint32_t id, const char *name, const char *portal, uint64_t incarnation)
{
	struct vms_cat_gateway g = {.id = id, .incarnation = incarnation};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(g.name, sizeof(g.name), "%s", name);
	snprintf(g.portal, sizeof(g.portal), "%s", portal);
	vms_cat_key_gateway(key, id);
	f_put_free(key, vms_cat_gateway_encode(&g));
}

/* Numbers 9 (oldest), 7, 5 and 3: a gateway's, two with something open, one of a tool. */
static void tools(void)
{
	struct vms_cat_open o = {.id = F_BRANCH + 5, .gateway = 7, .incarnation = 40};
	char key[VMS_CAT_KEY_BYTES_MAX];

	before(9, "tool-gate", "10.0.0.9:3260", 1);
	before(7, "tool-b-1", "", 40);
	vms_cat_key_open(key, o.id, 7);
	f_put_free(key, vms_cat_open_encode(&o));
	before(5, "tool-b-2", "", 50);
	o.gateway = 5;
	o.snap_gen = 3;
	o.incarnation = 50;
	vms_cat_key_snapopen(key, o.id, o.snap_gen, 5);
	f_put_free(key, vms_cat_open_encode(&o));
	before(3, "tool-a-1", "", 70);
}

/* The tables of who has a volume open end at VMS_GATEWAYS_MAX. */
static void no_number_is_left(void)
{
	f_gateways = VMS_GATEWAYS_MAX - 2;
	f_start(0, 0);
	CU_ASSERT(f.fatals == 0 && f.open_status == 0 && f.opened == 1);
	f_stop();
	f_gateways = VMS_GATEWAYS_MAX - 1;
	f_start(0, 0);
	CU_ASSERT(f.fatals == 1 && f.opened == 0);
	f_stop();
	f_gateways = 0;
}

static uint32_t number_of(const char *name, uint64_t *incarnation)
{
	struct vms_cat_gateway g;
	uint32_t id = 0;

	for (unsigned i = 0; i < f.nkv; i++) {
		struct vms_cat_kv kv = kv_at(i);

		if (!kv.val || strncmp(kv.key, "gateway/", 8) ||
		    vms_cat_gateway_decode(&kv, &g, NULL) || strcmp(g.name, name))
			continue;
		id = g.id;
		*incarnation = g.incarnation;
	}
	return id;
}

/* Who takes a number goes on from the tool's incarnation, so that nothing of it counts. */
static void that_of_an_idle_tool_is_taken(void)
{
	uint64_t incarnation;

	f_before = tools;
	for (uint32_t more = 0; more < 2000; more += 1000) { /* (restored by an earlier release) */
		f_gateways = VMS_GATEWAYS_MAX - 1 + more;
		f_start(0, 0);
		CU_ASSERT(f.fatals == 0 && f.open_status == 0 && f.opened == 1);
		CU_ASSERT(number_of("gw", &incarnation) == 3 && incarnation == 71);
		CU_ASSERT(number_of("tool-a-1", &incarnation) == 0);
		CU_ASSERT(number_of("tool-b-1", &incarnation) == 7 && incarnation == 40);
		f_stop();
	}
	f_start(VMS_GWM_NUMBER_HELD, 0);
	CU_ASSERT(number_of("gw", &incarnation) == 7);
	f_stop();
	f_gateways = 0;
	f_start(0, 0); /* as long as there are new ones */
	CU_ASSERT(number_of("gw", &incarnation) == 1 && incarnation == 1);
	f_stop();
	f_before = NULL;
}

static const struct vms_test tests[] = {
	VMS_TEST(one_that_was_made_unheard_is_taken_away),
	VMS_TEST(also_when_it_was_closed_before_the_answer),
	VMS_TEST(one_that_is_open_again_stays),
	VMS_TEST(one_that_comes_late_is_taken_away),
	VMS_TEST(no_number_is_left),
	VMS_TEST(that_of_an_idle_tool_is_taken),
};
VMS_TEST_MAIN("gateway: registrations", tests)
