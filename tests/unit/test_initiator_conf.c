// SPDX-License-Identifier: GPL-2.0-only
/* The settings for initiators in conf/ against the times in the code: no path is given
 * up, and its writes repeated elsewhere, before they are too old to be applied. */
#include <string.h>

#include "include/types.h"
#include "target/vpd.h"
#include "tests/it/mpath_conf.h"
#include "tests/unit/cunit.h"

/* For drift of clocks (1 %), the initiator's timers, and a loop turn at the gateway. */
#define MARGIN_MS 1000
/* What is promised: I/O goes on after a gateway is lost. */
#define PROMISE_MS 8000

static struct mpath_conf c;
static char why[256];

static void load(void)
{
	int rc = mpath_conf_load("conf/iscsid-vmstore.conf", "conf/multipath-vmstore.conf", &c,
				 why);

	if (rc)
		printf("%s\n", why);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

/* doc/architecture.md "Sessions and nothing late". */
static void inequality(void)
{
	struct vms_timing t = vms_timing_default(1.0);
	int64_t late = (int64_t)t.t_nop_ms + t.t_op_ms + t.tick_ms + MARGIN_MS;

	CU_ASSERT(late < c.fast_io_fail_ms);
	CU_ASSERT(late < c.recovery_ms);
	/* multipathd puts the one in the place of the other */
	CU_ASSERT_EQUAL(c.fast_io_fail_ms, c.recovery_ms);
}

/* A silent gateway costs pings and the recovery time, one that closes less. */
static void within_the_promise(void)
{
	CU_ASSERT(c.noop_interval_ms + c.noop_timeout_ms + c.recovery_ms + MARGIN_MS / 2 <
		  PROMISE_MS);
}

static void paths(void)
{
	CU_ASSERT(c.one_group);
	CU_ASSERT(c.tur);
	/* bounded, and long enough for a gateway's machine to start anew */
	CU_ASSERT(c.no_path_retry * c.polling_ms >= 120000);
	CU_ASSERT(c.no_path_retry * c.polling_ms <= 3600000);
}

/* The device section is for what INQUIRY says. */
static void vendor(void)
{
	static const uint8_t cdb[16] = {0x12, [4] = 96};
	struct vms_lu_ident id = {.nblocks = 8};
	uint8_t out[VMS_INQUIRY_BYTES_MAX];
	struct vms_sense s;

	CU_ASSERT_FATAL(vms_vpd_inquiry(&id, cdb, false, out, &s) >= 36);
	CU_ASSERT_EQUAL(memcmp(out + 8, "VMSTORE ", 8), 0);
}

int main(void)
{
	static const struct vms_test tests[] = {VMS_TEST(load), VMS_TEST(inequality),
						VMS_TEST(within_the_promise), VMS_TEST(paths),
						VMS_TEST(vendor)};

	return vms_test_main_("settings for initiators", tests, 5);
}
