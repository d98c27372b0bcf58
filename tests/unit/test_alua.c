// SPDX-License-Identifier: GPL-2.0-only
/* REPORT TARGET PORT GROUPS, and the mirror of gateways that it tells. */
#include "target/alua.h"

#include "target/gateways.h"
#include "target/opcodes.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"

static void every_port_is_a_group(void)
{
	static const uint16_t ports[] = {1, 2, 7};
	uint8_t cdb[12] = {0xa3, 0x0a}, out[VMS_RTPG_BYTES_MAX];
	struct vms_sense s;

	for (unsigned ext = 0; ext < 2; ext++) {
		unsigned at = ext ? 8 : 4;

		cdb[1] = (uint8_t)(0x0a | ext << 5);
		memset(out, 0xee, sizeof(out));
		CU_ASSERT_EQUAL(vms_alua_report(cdb, ports, 3, out, &s), (int)at + 36);
		CU_ASSERT_EQUAL(vms_get_be32(out), at + 36 - 4);
		if (ext)
			CU_ASSERT_EQUAL(out[4], 0x10);
		for (unsigned i = 0; i < 3; i++) {
			const uint8_t *d = out + at + 12 * i;

			CU_ASSERT_EQUAL(d[0], 0); /* active/optimized, no preference */
			CU_ASSERT_EQUAL(d[1], 1); /* and that is all there is */
			CU_ASSERT_EQUAL(vms_get_be16(d + 2), ports[i]);
			CU_ASSERT_EQUAL(d[5], 0);
			CU_ASSERT_EQUAL(d[7], 1);
			CU_ASSERT_EQUAL(vms_get_be16(d + 10), ports[i]);
		}
	}
	cdb[1] = 0x4a;
	CU_ASSERT_EQUAL(vms_alua_report(cdb, ports, 3, out, &s), -1);
	CU_ASSERT(s.asc == VMS_ASC_INVALID_FIELD_IN_CDB && s.field == 1);
	/* nobody sets what never changes */
	CU_ASSERT_EQUAL(vms_opcode_kind(0xa4), 0);
	CU_ASSERT_PTR_NOT_NULL(vms_opcode_find(0xa3, 0x0a));
}

static void put(uint32_t id, const char *name, const char *portal)
{
	struct vms_cat_gateway gw = {.id = id, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(gw.name, sizeof(gw.name), "%s", name);
	snprintf(gw.portal, sizeof(gw.portal), "%s", portal);
	vms_cat_key_gateway(key, id);
	f_put_free(key, vms_cat_gateway_encode(&gw));
}

static void run(void)
{
	while (f.ncall)
		f_call_run();
}

static void the_mirror_follows(void)
{
	struct vms_gateways *g;
	char key[VMS_CAT_KEY_BYTES_MAX];

	memset(&f, 0, sizeof(f));
	f.cat.ops = &f_ops;
	put(3, "c", "10.0.0.3:3260");
	put(1, "a", "10.0.0.1:3260");
	put(2, "tool-x", ""); /* no initiator gets there */
	g = vms_gateways_open(&f.cat, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(vms_gateways_count(g), 0);
	run();
	CU_ASSERT_EQUAL_FATAL(vms_gateways_count(g), 2);
	CU_ASSERT_EQUAL(vms_gateways_at(g, 0)->id, 1);
	CU_ASSERT_EQUAL(vms_gateways_at(g, 1)->id, 3);
	CU_ASSERT_STRING_EQUAL(vms_gateways_at(g, 1)->portal, "10.0.0.3:3260");
	/* one comes, one moves, one goes; what nobody can read changes nothing */
	put(2, "b", "10.0.0.2:3260");
	put(3, "c", "10.0.0.9:3260");
	run();
	CU_ASSERT_EQUAL_FATAL(vms_gateways_count(g), 3);
	CU_ASSERT_EQUAL(vms_gateways_at(g, 1)->id, 2);
	CU_ASSERT_STRING_EQUAL(vms_gateways_at(g, 2)->portal, "10.0.0.9:3260");
	vms_cat_key_gateway(key, 1);
	f_put(key, NULL);
	vms_cat_key_gateway(key, 3);
	f_put(key, "{\"id\":\"x\"}");
	run();
	CU_ASSERT_EQUAL_FATAL(vms_gateways_count(g), 2);
	CU_ASSERT_EQUAL(vms_gateways_at(g, 0)->id, 2);
	CU_ASSERT_EQUAL(vms_gateways_at(g, 1)->id, 3);
	vms_gateways_close(g);
	run();
	for (unsigned i = 0; i < f.nkv; i++)
		free(f.kv[i].val);
}

static const struct vms_test tests[] = {
	VMS_TEST(every_port_is_a_group),
	VMS_TEST(the_mirror_follows),
};
VMS_TEST_MAIN("alua", tests)
