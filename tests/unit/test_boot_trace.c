// SPDX-License-Identifier: GPL-2.0-only
/* The trace of a boot: what is read of it, what is refused, what a boot reads of the image. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cunit.h"
#include "utils/bench/boot.h"

static char path[64];

static int load(struct vms_boot_trace *t, const char *text, bool read_only)
{
	FILE *f;

	snprintf(path, sizeof(path), "/tmp/vmstore-test-trace.%d", (int)getpid());
	f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	return vms_boot_trace_load(t, path, read_only);
}

static void test_requests(void)
{
	struct vms_boot_trace t;

	CU_ASSERT_EQUAL(load(&t,
			     "# a boot\n\n0 R 0 512\n10 W 4096 8192\n20 F\n30 D 1048576 4194304\n",
			     false),
			0);
	CU_ASSERT_EQUAL(t.n, 4);
	CU_ASSERT_EQUAL(t.req[1].kind, 'W');
	CU_ASSERT_EQUAL(t.req[1].time_us, 10);
	CU_ASSERT_EQUAL(t.req[2].kind, 'F');
	CU_ASSERT_EQUAL(t.end_bytes, 1048576 + 4194304);
	vms_boot_trace_free(&t);
	CU_ASSERT_EQUAL(load(&t, "0 R 0 512\n10 W 4096 8192\n", true), 0);
	CU_ASSERT_EQUAL(t.n, 1);
	vms_boot_trace_free(&t);
}

/* Chunks that are read, each once; not what the guest itself wrote before. */
static void test_unique(void)
{
	struct vms_boot_trace t;

	CU_ASSERT_EQUAL(load(&t, "0 R 0 512\n1 R 512 3584\n2 R 4096 8192\n3 R 8192 4096\n", false),
			0);
	CU_ASSERT_EQUAL(t.unique_read_bytes, 3 * 4096);
	CU_ASSERT_EQUAL(t.read_bytes, 512 + 3584 + 8192 + 4096);
	vms_boot_trace_free(&t);
	CU_ASSERT_EQUAL(load(&t, "0 W 0 4096\n1 R 0 4096\n2 W 4096 512\n3 R 4096 4096\n", false),
			0);
	CU_ASSERT_EQUAL(t.unique_read_bytes, 4096);
	vms_boot_trace_free(&t);
}

static void test_refused(void)
{
	static const char *const bad[] = {
		"",
		"# nothing\n",
		"0 X 0 512\n",
		"0 R 0\n",
		"0 R 0 0\n",
		"0 R 100 512\n",
		"0 R 0 100\n",
		"0 R 0 4194816\n",
		"0 D 0 4294967296\n",
		"0 W 9223372036854775808 512\n",
		"x R 0 512\n",
	};
	struct vms_boot_trace t;

	fclose(stderr);
	stderr = fopen("/dev/null", "w");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CU_ASSERT_EQUAL(load(&t, bad[i], false), -1);
	unlink(path);
	CU_ASSERT_EQUAL(vms_boot_trace_load(&t, path, false), -1);
}

static void test_gzip(void)
{
	struct vms_boot_trace t;
	char cmd[256];
	FILE *f;

	CU_ASSERT_EQUAL(load(&t, "0 R 0 4096\n", false), 0);
	vms_boot_trace_free(&t);
	snprintf(cmd, sizeof(cmd), "gzip -f %s", path);
	CU_ASSERT_EQUAL(system(cmd), 0);
	strcat(path, ".gz");
	CU_ASSERT_EQUAL(vms_boot_trace_load(&t, path, false), 0);
	CU_ASSERT_EQUAL(t.n, 1);
	vms_boot_trace_free(&t);
	f = fopen(path, "r+");
	fseek(f, -4, SEEK_END);
	fputs("abcd", f); /* its length does not fit */
	fclose(f);
	CU_ASSERT_EQUAL(vms_boot_trace_load(&t, path, false), -1);
	unlink(path);
}

/* The one that is shipped, and what its documentation says of it. */
static void test_shipped(void)
{
	struct vms_boot_trace t;

	CU_ASSERT_EQUAL_FATAL(
		vms_boot_trace_load(&t, "utils/bench/traces/debian12.trace.gz", false), 0);
	CU_ASSERT_EQUAL(t.n, 3699 + 17 + 11);
	CU_ASSERT_EQUAL(t.unique_read_bytes, 80379904);
	CU_ASSERT_EQUAL(t.req[0].time_us, 0);
	vms_boot_trace_free(&t);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_requests), VMS_TEST(test_unique),	 VMS_TEST(test_refused),
	VMS_TEST(test_gzip),	 VMS_TEST(test_shipped),
};

VMS_TEST_MAIN("boot_trace", tests)
