// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cunit.h"

static char dir[] = "/tmp/vms-test-tool-name-XXXXXX";
static char file_a[64], file_b[64];
static const char *const both[] = {file_a, file_b, NULL};

static void put(const char *file, const char *text)
{
	FILE *f = fopen(file, "w");

	CU_ASSERT_FATAL(f != NULL);
	fputs(text, f);
	fclose(f);
}

static void begin(void)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	CU_ASSERT_FATAL(mkdtemp(dir) != NULL);
	snprintf(file_a, sizeof(file_a), "%s/a", dir);
	snprintf(file_b, sizeof(file_b), "%s/b", dir);
}

static void end(void)
{
	unlink(file_a);
	unlink(file_b);
	rmdir(dir);
}

static void machines_of_one_host_name_differ(void)
{
	const char *const a[] = {file_a, NULL}, *const b[] = {file_b, NULL};
	char ma[9], mb[9], pa[IMAGE_NAME_BYTES], pb[IMAGE_NAME_BYTES];

	begin();
	put(file_a, "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
	put(file_b, "3d1219c7c4c5404aaa1f6d2a48adfda5\n");
	image_name_machine(a, ma);
	image_name_machine(b, mb);
	CU_ASSERT(strlen(ma) == 8 && strlen(mb) == 8 && strcmp(ma, mb));
	/* the id itself is nobody's business */
	CU_ASSERT_EQUAL(strstr("3d1219c7c4c5404aaa1f6d2a48adfda4", ma), NULL);
	image_name_prefix("h", ma, pa);
	image_name_prefix("h", mb, pb);
	CU_ASSERT(strcmp(pa, pb) && !strncmp(pa, "tool-h-", 7) && pa[strlen(pa) - 1] == '-');
	/* for ever: its next tool has the ids of this one */
	CU_ASSERT_STRING_EQUAL(ma, "23b00951");
	end();
}

static void without_an_id_it_is_left_out(void)
{
	static const char *const bad[] = {"", "uninitialized\n", "3d1219c7c4c5404aaa1f\n",
					  "3d1219c7c4c5404aaa1f6d2a48adfdaZ\n"};
	char m[9], p[IMAGE_NAME_BYTES];

	begin();
	image_name_machine(both, m);
	CU_ASSERT_STRING_EQUAL(m, "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(file_a, bad[i]);
		image_name_machine(both, m);
		CU_ASSERT_STRING_EQUAL(m, "");
	}
	image_name_prefix("h", m, p);
	CU_ASSERT_STRING_EQUAL(p, "tool-h-");
	/* the second file helps out */
	put(file_b, "3d1219c7c4c5404aaa1f6d2a48adfda4");
	image_name_machine(both, m);
	CU_ASSERT_EQUAL(strlen(m), 8);
	end();
}

static void names_tell_whose_they_are(void)
{
	CU_ASSERT(image_name_is("tool-h-0badcafe-1", "h", "0badcafe"));
	CU_ASSERT(image_name_is("tool-h-0badcafe-8", "h", "0badcafe"));
	CU_ASSERT(!image_name_is("tool-h-0badcaff-1", "h", "0badcafe"));
	CU_ASSERT(!image_name_is("tool-h-0badcafe-", "h", "0badcafe"));
	CU_ASSERT(!image_name_is("tool-h-0badcafe-1x", "h", "0badcafe"));
	CU_ASSERT(!image_name_is("tool-g-0badcafe-1", "h", "0badcafe"));
	CU_ASSERT(!image_name_is("gw1", "h", "0badcafe"));
	/* left by an earlier version */
	CU_ASSERT(image_name_is("tool-h-1", "h", "0badcafe"));
	CU_ASSERT(image_name_is("tool-h-1", "h", ""));
	CU_ASSERT(!image_name_is("tool-h-0badcafe-1", "h", ""));
	/* another host, whose name begins as ours does */
	CU_ASSERT(!image_name_is("tool-h-2-1", "h", "0badcafe"));
}

static void long_host_names_are_cut(void)
{
	char host[64], p[IMAGE_NAME_BYTES], name[IMAGE_NAME_BYTES + 8];

	memset(host, 'x', 63);
	host[63] = 0;
	for (int with = 0; with < 2; with++) {
		const char *machine = with ? "0badcafe" : "";

		image_name_prefix(host, machine, p);
		CU_ASSERT(strlen(p) + 2 <= IMAGE_NAME_BYTES);
		snprintf(name, sizeof(name), "%s1", p);
		CU_ASSERT(image_name_is(name, host, machine));
	}
}

static void ours_are_our_own(void)
{
	char p[IMAGE_NAME_BYTES], name[IMAGE_NAME_BYTES + 8];

	image_name_own_prefix(p);
	snprintf(name, sizeof(name), "%s3", p);
	CU_ASSERT(image_name_is_own(name));
	CU_ASSERT(!image_name_is_own("tool-elsewhere-1"));
}

static const struct vms_test tests[] = {
	VMS_TEST(machines_of_one_host_name_differ),
	VMS_TEST(without_an_id_it_is_left_out),
	VMS_TEST(names_tell_whose_they_are),
	VMS_TEST(long_host_names_are_cut),
	VMS_TEST(ours_are_our_own),
};
VMS_TEST_MAIN("tool_name", tests)
