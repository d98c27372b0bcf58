// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/conf.h"
#include "tests/unit/cunit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sample {
	char *dir;
	char *label;
	uint64_t partitions;
	uint64_t log_bytes;
	uint64_t tick_ms;
	bool direct;
	int ack;
	struct vms_conf_addr listen;
	struct vms_conf_addrs peers;
};

enum { ACK_DISK, ACK_MEMORY };
static const char *const acks[] = {"disk", "memory", NULL};

#define OFF(f) offsetof(struct sample, f)
static const struct vms_conf_key keys[] = {
	{"node", "dir", VMS_CONF_STRING, OFF(dir), .required = true, .example = "/var/lib/x",
	 .help = "Folder of the node.\nMust exist."},
	{"node", "label", VMS_CONF_STRING, OFF(label), .help = "A name."},
	{"node", "log_size", VMS_CONF_SIZE, OFF(log_bytes), "1G", 16 << 20, UINT64_C(1) << 40,
	 .multiple = 4096, .help = "Size of the log."},
	{"node", "tick", VMS_CONF_DURATION, OFF(tick_ms), "250ms", 10, 60000, .help = "Tick."},
	{"node", "direct", VMS_CONF_BOOL, OFF(direct), "yes", .help = "Use O_DIRECT."},
	{"node", "write_ack", VMS_CONF_ENUM, OFF(ack), "disk", .choices = acks, .help = "When."},
	{"node", "listen", VMS_CONF_ADDR, OFF(listen), "127.0.0.1:7600", .help = "Where."},
	{"cluster", "partitions", VMS_CONF_U64, OFF(partitions), "1024", 1, 65536,
	 .help = "How many."},
	{"cluster", "catalog", VMS_CONF_ADDR_LIST, OFF(peers), .help = "Whom to ask."},
	VMS_CONF_END,
};
static const char *const foreign[] = {"gateway", NULL};

static struct sample c;
static struct vms_errmsg e;

static int parse(const char *text)
{
	vms_conf_free(keys, &c);
	memset(&c, 0, sizeof(c));
	memset(&e, 0, sizeof(e));
	return vms_conf_parse(keys, foreign, "t.conf", text, &c, &e);
}

static bool rejects(const char *text, const char *part)
{
	bool ok = parse(text) == VMS_E_CONFIG && strstr(e.text, part);

	if (!ok)
		printf("\n  text <%s>\n  gave <%s>\n  expected <%s>\n", text, e.text, part);
	return ok;
}

static void defaults_stand_where_the_file_is_silent(void)
{
	CU_ASSERT_EQUAL(parse("[node]\ndir = /d\n"), 0);
	CU_ASSERT_STRING_EQUAL(c.dir, "/d");
	CU_ASSERT_PTR_NULL(c.label);
	CU_ASSERT_EQUAL(c.log_bytes, UINT64_C(1) << 30);
	CU_ASSERT_EQUAL(c.tick_ms, 250);
	CU_ASSERT(c.direct);
	CU_ASSERT_EQUAL(c.ack, ACK_DISK);
	CU_ASSERT_EQUAL(c.partitions, 1024);
	CU_ASSERT_STRING_EQUAL(c.listen.host, "127.0.0.1");
	CU_ASSERT_EQUAL(c.listen.port, 7600);
	CU_ASSERT_EQUAL(c.peers.n, 0);
	vms_conf_free(keys, &c);
}

static void every_type_is_read(void)
{
	CU_ASSERT_EQUAL(parse("# head\n\n; more\n[node]\r\n  dir=/a b;c#d \nlabel = x = y\n"
			      "log_size = 64M\ntick = 1.5s\ndirect = off\nwrite_ack = memory\n"
			      "listen = [::1]:99\n[gateway]\nanything = here\n[cluster]\n"
			      "partitions = 16\ncatalog = a.b:1  127.0.0.2:65535"),
			0);
	CU_ASSERT_STRING_EQUAL(c.dir, "/a b;c#d");
	CU_ASSERT_STRING_EQUAL(c.label, "x = y");
	CU_ASSERT_EQUAL(c.log_bytes, 64 << 20);
	CU_ASSERT_EQUAL(c.tick_ms, 1500);
	CU_ASSERT_FALSE(c.direct);
	CU_ASSERT_EQUAL(c.ack, ACK_MEMORY);
	CU_ASSERT_STRING_EQUAL(c.listen.host, "::1");
	CU_ASSERT_EQUAL(c.partitions, 16);
	CU_ASSERT_EQUAL(c.peers.n, 2);
	CU_ASSERT_STRING_EQUAL(c.peers.a[0].host, "a.b");
	CU_ASSERT_EQUAL(c.peers.a[1].port, 65535);
	vms_conf_free(keys, &c);
}

static void errors_name_file_line_key_and_expectation(void)
{
	CU_ASSERT(rejects("[node]\ndir=/d\n\nlog_size = much\n",
			  "t.conf:4: log_size in [node]: 'much' is not a size"));
	CU_ASSERT(rejects("[node]\ndir=/d\nlog_size = 1M\n", "allowed is 16M to 1T"));
	CU_ASSERT(rejects("[node]\ndir=/d\nlog_size = 16777217\n", "not a multiple of 4K"));
	CU_ASSERT(rejects("[node]\ndir=/d\ntick = 5\n", "t.conf:3: tick in [node]: '5' is not"));
	CU_ASSERT(rejects("[node]\ndir=/d\ntick = 5ms\n", "allowed is 10ms to 1min"));
	CU_ASSERT(rejects("[node]\ndir=/d\ndirect = maybe\n", "neither yes nor no"));
	CU_ASSERT(rejects("[node]\ndir=/d\nwrite_ack = ram\n", "not one of: disk, memory"));
	CU_ASSERT(rejects("[node]\ndir=/d\nlisten = 127.0.0.1\n", "expected HOST:PORT"));
	CU_ASSERT(rejects("[node]\ndir=/d\nlisten = ::1:5\n", "[::1]:7600"));
	CU_ASSERT(rejects("[node]\ndir=/d\nlisten = a:0\n", "HOST:PORT"));
	CU_ASSERT(rejects("[node]\ndir=/d\nlisten = a:65536\n", "HOST:PORT"));
	CU_ASSERT(rejects("[node]\ndir=\n", "t.conf:2: dir in [node]: the value is empty"));
	CU_ASSERT(rejects("[node]\ndir=/d\n[cluster]\ncatalog =\n", "one or more HOST:PORT"));
	vms_conf_free(keys, &c);
}

static void unknown_and_duplicate_names_are_errors(void)
{
	CU_ASSERT(rejects("[node]\ndir=/d\nlogsize = 1G\n",
			  "t.conf:3: unknown key 'logsize' in [node]; did you mean 'log_size'?"));
	CU_ASSERT(rejects("[node]\ndir=/d\nqqqqqq = 1\n", "unknown key 'qqqqqq' in [node]"));
	CU_ASSERT(rejects("[cluster]\ndir=/d\n", "unknown key 'dir' in [cluster]"));
	CU_ASSERT(rejects("[nodes]\n", "t.conf:1: unknown section [nodes]"));
	CU_ASSERT(rejects("dir=/d\n", "before any [section]"));
	CU_ASSERT(rejects("[node]\ndir=/d\n[cluster]\n[node]\ndir=/e\n",
			  "t.conf:5: key 'dir' in [node] is given twice"));
	CU_ASSERT(rejects("[cluster]\npartitions=1\n", "key 'dir' in [node] is missing"));
	CU_ASSERT(rejects("", "key 'dir' in [node] is missing"));
	vms_conf_free(keys, &c);
}

static void broken_lines_are_errors(void)
{
	char big[600] = "[node]\ndir = ";

	CU_ASSERT(rejects("[node\ndir=/d\n", "t.conf:1: '[node' is not a section"));
	CU_ASSERT(rejects("[node] x\n", "not a section"));
	CU_ASSERT(rejects("[node]\ndir\n", "t.conf:2: 'dir' is neither"));
	CU_ASSERT(rejects("[node]\n= /d\n", "t.conf:2: '= /d' is neither"));
	CU_ASSERT(rejects("[node]\ndir = /d ; folder\n", "comment must stand on its own line"));
	memset(big + strlen(big), 'x', 400);
	CU_ASSERT(rejects(big, "t.conf:2: the line is longer than"));
	/* an indented line is a key of its own, not a continuation */
	CU_ASSERT_EQUAL(parse("[node]\ndir = /d\n   label = x\n"), 0);
	CU_ASSERT_STRING_EQUAL(c.dir, "/d");
	CU_ASSERT_STRING_EQUAL(c.label, "x");
	CU_ASSERT_EQUAL(parse("\xef\xbb\xbf[node]\ndir = /d\n"), 0);
	vms_conf_free(keys, &c);
}

static void files_load_and_missing_ones_are_named(void)
{
	char path[] = "/tmp/vms-conf-XXXXXX";
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(write(fd, "[node]\ndir=/d\0x\n", 16), 16);
	memset(&c, 0, sizeof(c));
	CU_ASSERT_EQUAL(vms_conf_load(keys, foreign, path, &c, &e), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "zero byte"));
	vms_conf_free(keys, &c);
	CU_ASSERT_EQUAL(ftruncate(fd, 13), 0);
	memset(&c, 0, sizeof(c));
	CU_ASSERT_EQUAL(vms_conf_load(keys, foreign, path, &c, &e), 0);
	CU_ASSERT_STRING_EQUAL(c.dir, "/d");
	vms_conf_free(keys, &c);
	close(fd);
	unlink(path);
	memset(&c, 0, sizeof(c));
	CU_ASSERT_EQUAL(vms_conf_load(keys, foreign, path, &c, &e), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, path));
	CU_ASSERT_EQUAL(vms_conf_load(keys, foreign, NULL, &c, &e), 0);
	CU_ASSERT_EQUAL(c.tick_ms, 250);
	vms_conf_free(keys, &c);
}

static void options_set_single_keys(void)
{
	CU_ASSERT_EQUAL(parse("[node]\ndir=/d\n"), 0);
	CU_ASSERT_EQUAL(vms_conf_set(keys, "node", "tick", "1s", &c, &e), 0);
	CU_ASSERT_EQUAL(c.tick_ms, 1000);
	CU_ASSERT_EQUAL(vms_conf_set(keys, "node", "dir", "/x", &c, &e), 0);
	CU_ASSERT_STRING_EQUAL(c.dir, "/x");
	CU_ASSERT_EQUAL(vms_conf_set(keys, "node", "tick", "1", &c, &e), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "tick in [node]"));
	CU_ASSERT_EQUAL(vms_conf_set(keys, "node", "none", "1", &c, &e), VMS_E_CONFIG);
	CU_ASSERT_EQUAL(c.tick_ms, 1000);
	vms_conf_free(keys, &c);
}

static void the_sample_parses_and_names_every_key(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	vms_conf_print_sample(keys, f);
	fclose(f);
	CU_ASSERT_EQUAL(parse(text), 0);
	if (e.text[0])
		printf("%s\n%s\n", e.text, text);
	CU_ASSERT_STRING_EQUAL(c.dir, "/var/lib/x");
	for (const struct vms_conf_key *k = keys; k->section; k++) {
		char line[80];

		snprintf(line, sizeof(line), "%s =", k->key);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, line));
		CU_ASSERT_PTR_NOT_NULL(strstr(text, k->section));
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "#log_size = 1G"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "16M to 1T, a multiple of 4K; default 1G"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "# Folder of the node.\n# Must exist."));
	vms_conf_free(keys, &c);
	free(text);
}

static void addresses_format_back(void)
{
	struct vms_conf_addr a;
	char t[VMS_CONF_ADDR_TEXT_MAX];

	CU_ASSERT_EQUAL(vms_conf_addr_parse("[fe80::1%eth0]:7", 0, &a, &e), 0);
	CU_ASSERT_STRING_EQUAL(vms_conf_addr_format(&a, t), "[fe80::1%eth0]:7");
	CU_ASSERT_EQUAL(vms_conf_addr_parse("host", 3260, &a, &e), 0);
	CU_ASSERT_STRING_EQUAL(vms_conf_addr_format(&a, t), "host:3260");
	CU_ASSERT_EQUAL(vms_conf_addr_parse("ho st:1", 0, &a, &e), VMS_E_CONFIG);
	CU_ASSERT_EQUAL(vms_conf_addr_parse("[::1]x:1", 0, &a, &e), VMS_E_CONFIG);
	CU_ASSERT_EQUAL(vms_conf_addr_parse("[::1", 0, &a, &e), VMS_E_CONFIG);
	CU_ASSERT_EQUAL(vms_conf_addr_parse("", 5, &a, &e), VMS_E_CONFIG);
}

static const struct vms_test tests[] = {
	VMS_TEST(defaults_stand_where_the_file_is_silent),
	VMS_TEST(every_type_is_read),
	VMS_TEST(errors_name_file_line_key_and_expectation),
	VMS_TEST(unknown_and_duplicate_names_are_errors),
	VMS_TEST(broken_lines_are_errors),
	VMS_TEST(files_load_and_missing_ones_are_named),
	VMS_TEST(options_set_single_keys),
	VMS_TEST(the_sample_parses_and_names_every_key),
	VMS_TEST(addresses_format_back),
};
VMS_TEST_MAIN("conf", tests)
