// SPDX-License-Identifier: GPL-2.0-only
/* The key table and its sample. As a program:
 *   test_settings --sample        prints conf/vmstore.conf anew (`make conf-sample`)
 *   test_settings --parse FILE…   checks files, for scripts/check-docs */
#include "utils/lib/settings.h"
#include "cluster/cat_conn.h"
#include "tests/unit/cunit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_sample(FILE *f)
{
	fputs("# SPDX-License-Identifier: GPL-2.0-only\n"
	      "# VMStore: every key of every program, with its default.\n"
	      "#\n"
	      "# One file may serve all programs of a machine, or each gets its own; a program\n"
	      "# reads its own section and [cluster]. Sizes take K, M, G, T (powers of 1024),\n"
	      "# durations ms, s, min, h. A comment stands on its own line. Where a file is\n"
	      "# named in tgt's --bsopts (conf=FILE), its name must not hold a comma: tgt\n"
	      "# splits there.\n\n",
	      f);
	vms_conf_print_sample(vms_settings_keys, f);
}

static struct vms_settings s;
static struct vms_errmsg e;

static int load_text(const char *text)
{
	char path[] = "/tmp/vms-settings-XXXXXX";
	int fd = mkstemp(path), r;

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	memset(&e, 0, sizeof(e));
	r = vms_settings_load(&s, path, &e);
	unlink(path);
	return r;
}

static void defaults_make_a_working_machine(void)
{
	CU_ASSERT_EQUAL(vms_settings_load(&s, NULL, &e), 0);
	CU_ASSERT_EQUAL(s.cluster.catalog.n, 1);
	CU_ASSERT_EQUAL(s.cluster.catalog.a[0].port, s.catalog.listen.port);
	CU_ASSERT_STRING_EQUAL(s.cluster.catalog.a[0].host, s.catalog.listen.host);
	CU_ASSERT_EQUAL(s.node.address.port, s.node.listen.port);
	CU_ASSERT_NOT_EQUAL(s.node.listen.port, s.catalog.listen.port);
	CU_ASSERT_EQUAL(s.node.weight, 100);
	CU_ASSERT(s.node.generation_bytes <= s.node.log_bytes / 4);
	vms_settings_close(&s);
	CU_ASSERT_PTR_NULL(s.node.dir);
}

static void every_section_is_checked_by_every_program(void)
{
	CU_ASSERT_EQUAL(load_text("[gateway]\nchunk_cash = 1G\n"), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "did you mean 'chunk_cache'?"));
	vms_settings_close(&s);
	CU_ASSERT_EQUAL(load_text("[node]\nlog_size = 1M\n"), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "allowed is 8M to 1T"));
	vms_settings_close(&s);
}

static void names_and_addresses_are_checked(void)
{
	CU_ASSERT_EQUAL(load_text("[node]\nname = a/b\n"), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "name in [node]: 'a/b'"));
	vms_settings_close(&s);
	CU_ASSERT_EQUAL(load_text("[gateway]\nname = .x\n"), VMS_E_CONFIG);
	vms_settings_close(&s);
	CU_ASSERT_EQUAL(load_text("[node]\nlisten = 0.0.0.0:7601\n"), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "set address"));
	vms_settings_close(&s);
	CU_ASSERT_EQUAL(
		load_text("[node]\nlisten = 0.0.0.0:7601\naddress = n1:7601\nname = n-1.a_\n"), 0);
	CU_ASSERT_STRING_EQUAL(s.node.address.host, "n1");
	vms_settings_close(&s);
}

static void unset_names_are_the_hosts(void)
{
	char name[64], host[256] = "";

	vms_settings_name("given", name);
	CU_ASSERT_STRING_EQUAL(name, "given");
	vms_settings_name(NULL, name);
	CU_ASSERT(name[0] && !strchr(name, '.'));
	gethostname(host, sizeof(host) - 1);
	if (*host && *host != '.')
		CU_ASSERT(!strncmp(host, name, strlen(name)));
}

static void a_start_of_the_machine_has_a_name(void)
{
	char a[40], b[40];

	vms_settings_boot(a);
	vms_settings_boot(b);
	CU_ASSERT_STRING_EQUAL(a, b);
	CU_ASSERT(strlen(a) == 36 && a[8] == '-'); /* a UUID */
}

static void sample_file_is_what_the_table_prints(void)
{
	char *want = NULL, *have;
	size_t n = 0, got;
	FILE *f = open_memstream(&want, &n);

	print_sample(f);
	fclose(f);
	f = fopen("conf/vmstore.conf", "r"); /* tests run in the top folder */
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	have = calloc(1, n + 2);
	got = fread(have, 1, n + 1, f);
	fclose(f);
	CU_ASSERT_EQUAL(got, n);
	CU_ASSERT_STRING_EQUAL(have, want); /* else: make conf-sample */
	CU_ASSERT_EQUAL(vms_settings_load(&s, "conf/vmstore.conf", &e), 0);
	vms_settings_close(&s);
	free(have);
	free(want);
}

/* Every key can be set to the value the sample shows. */
static void sample_parses_with_all_keys_set(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	for (const struct vms_conf_key *k = vms_settings_keys; k->section; k++)
		if (k->def)
			fprintf(f, "[%s]\n%s = %s\n", k->section, k->key, k->def);
	fclose(f);
	CU_ASSERT_EQUAL(load_text(text), 0);
	if (e.text[0])
		printf("%s\n", e.text);
	vms_settings_close(&s);
	free(text);
}

static void the_catalog_is_told_as_it_is_read(void)
{
	static const char *const texts[] = {"127.0.0.1:7600", "a:1 [::1]:2",
					    "etcd:a:2379,b:2379,c:2379"};
	char line[300], out[VMS_SETTINGS_CATALOG_MAX];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(line, sizeof(line), "[cluster]\ncatalog = %s\n", texts[i]);
		CU_ASSERT_EQUAL(load_text(line), 0);
		CU_ASSERT_STRING_EQUAL(vms_settings_catalog(&s, out), texts[i]);
		vms_settings_close(&s);
	}
}

static void a_zone_is_text(void)
{
	static const char *const good[] = {"", "rack a", "Z\xc3\xbcrich", "\xf0\x9f\x98\x80"};
	static const char *const bad[] = {
		"\xff",	    "a\tb",	    "a\x1b[2J",	    "\xc3",
		"\xc0\x80", "\xed\xa0\x80", "\xe0\x80\x80", "\xf5\x80\x80\x80"};
	char text[128];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CU_ASSERT_EQUAL(vms_settings_zone_check(good[i], &e), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(vms_settings_zone_check(bad[i], &e), VMS_E_CONFIG);
	memset(text, 'x', 64);
	text[64] = 0;
	CU_ASSERT_EQUAL(vms_settings_zone_check(text, &e), VMS_E_CONFIG);
	CU_ASSERT_EQUAL(load_text("[node]\nzone = \xff\n"), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "[node] zone"));
	vms_settings_close(&s);
}

static void a_prefix_is_a_path(void)
{
	static const char *const bad[] = {"vmstore/", "/vmstore", "x", ""};
	char text[128];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_EQUAL(vms_settings_prefix_check(bad[i], &e), VMS_E_CONFIG);
		snprintf(text, sizeof(text), "[cluster]\ncatalog_prefix = %s\n", bad[i]);
		CU_ASSERT_EQUAL(load_text(text), VMS_E_CONFIG);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "catalog_prefix"));
		vms_settings_close(&s);
	}
	CU_ASSERT_EQUAL(vms_settings_prefix_check("/a/", &e), 0);
	CU_ASSERT_EQUAL(vms_settings_prefix_check("/", &e), 0);
}

/* Whoever asks a process learns where its etcd is, and not what is in its files. */
static void a_process_tells_where_its_catalog_is(void)
{
	json_t *o = json_object();

	CU_ASSERT_EQUAL(load_text("[cluster]\ncatalog = etcd:a:1,b:2\ncatalog_prefix = /x/\n"
				  "catalog_ca = /ca\ncatalog_key = /key\ncatalog_user = /user\n"),
			0);
	vms_cat_conn_tell(&s, o);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(o, "catalog")), "etcd:a:1,b:2");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(o, "catalog_prefix")), "/x/");
	CU_ASSERT(json_is_true(json_object_get(o, "catalog_tls")));
	CU_ASSERT(json_is_true(json_object_get(o, "catalog_user")));
	CU_ASSERT_EQUAL(json_object_size(o), 4);
	vms_settings_close(&s);
	json_object_clear(o);
	CU_ASSERT_EQUAL(load_text("[cluster]\ncatalog = a:1\n"), 0);
	vms_cat_conn_tell(&s, o);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(o, "catalog")), "a:1");
	CU_ASSERT_EQUAL(json_object_size(o), 1);
	vms_settings_close(&s);
	json_decref(o);
}

static const struct vms_test tests[] = {
	VMS_TEST(defaults_make_a_working_machine),
	VMS_TEST(a_zone_is_text),
	VMS_TEST(a_prefix_is_a_path),
	VMS_TEST(a_process_tells_where_its_catalog_is),
	VMS_TEST(every_section_is_checked_by_every_program),
	VMS_TEST(names_and_addresses_are_checked),
	VMS_TEST(unset_names_are_the_hosts),
	VMS_TEST(a_start_of_the_machine_has_a_name),
	VMS_TEST(the_catalog_is_told_as_it_is_read),
	VMS_TEST(sample_file_is_what_the_table_prints),
	VMS_TEST(sample_parses_with_all_keys_set),
};

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc > 1 && !strcmp(argv[1], "--sample")) {
		print_sample(stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--parse")) {
		for (int i = 2; i < argc; i++) {
			if (vms_settings_load(&s, argv[i], &e)) {
				fprintf(stderr, "%s\n", e.text);
				bad = 1;
			}
			vms_settings_close(&s);
		}
		return bad;
	}
	return vms_test_main_("settings", tests, sizeof(tests) / sizeof(tests[0]));
}
