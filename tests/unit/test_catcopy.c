// SPDX-License-Identifier: GPL-2.0-only
/* A node's copy of the catalog: parts and events of a catalog that the test plays, the
 * file and what is told of it. */
#include "backend/vmstored_copy.h"
#include "tests/unit/cunit.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLUSTER "{\"uuid\":\"11111111-2222-4333-8444-555555555555\"}"

static struct {
	struct vms_catalog cat;
	vms_cat_done_fn part, event;
	void *arg;
	char after[64];
	unsigned asked, watched, forgotten;
	uint64_t from;
	char dir[64];
	struct vms_catcopy *c;
	uint64_t now;
	unsigned threads; /* without the writer */
} w;

static unsigned threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void cat_range(struct vms_catalog *c, const char *prefix, const char *after,
		      vms_cat_done_fn done, void *arg)
{
	w.asked++;
	w.part = done;
	w.arg = arg;
	snprintf(w.after, sizeof(w.after), "%s", after ? after : "");
}

static uint64_t cat_watch(struct vms_catalog *c, const char *prefix, uint64_t from,
			  vms_cat_done_fn event, void *arg)
{
	w.event = event;
	w.from = from;
	return ++w.watched;
}

static void cat_forget(struct vms_catalog *c, void *arg)
{
	w.forgotten++;
}

static const struct vms_catalog_ops ops = {
	.struct_bytes = sizeof(ops), .range = cat_range, .watch = cat_watch, .forget = cat_forget};

static void begin(void)
{
	memset(&w, 0, sizeof(w));
	w.cat.ops = &ops;
	w.now = 1000;
	w.threads = threads();
	strcpy(w.dir, "/tmp/vms-test-copy-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(w.dir));
	w.c = vms_catcopy_new(w.dir);
}

static void end(void)
{
	char cmd[100];

	vms_catcopy_free(w.c);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w.dir);
	CU_ASSERT_EQUAL(system(cmd), 0);
}

static void say(vms_cat_done_fn to, uint64_t revision, bool more, const char *key, const char *val,
		uint64_t mod)
{
	struct vms_cat_kv kv = {.key = key, .val = val, .mod_revision = mod};
	struct vms_cat_reply r = {
		.revision = revision, .kv = &kv, .nkv = key ? 1 : 0, .more = more};

	to(w.arg, &r);
}

static void fail_with(vms_cat_done_fn to, int status)
{
	struct vms_cat_reply r = {.status = status};

	to(w.arg, &r);
}

static bool file_there(const char *name)
{
	char path[100];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", w.dir, name);
	return !stat(path, &st);
}

/* Time goes on, but not while the writer, a thread of its own, is at work: how long that
 * takes is a matter of this machine's disk. */
static void settle(void)
{
	for (unsigned i = 0; i < 100; i++) {
		vms_catcopy_timer(w.c, w.now += 200);
		for (unsigned k = 0; threads() > w.threads && k < 60000; k++)
			usleep(500);
	}
}

/* "key=val;" of all parts. */
static void told(char *out, size_t room, uint64_t *revision)
{
	char after[64] = "";
	bool more = true;

	out[0] = 0;
	while (more) {
		struct vms_errmsg e;
		json_t *j, *kvs;

		CU_ASSERT_EQUAL_FATAL(vms_catcopy_json(w.c, after[0] ? after : NULL, &j, &e), 0);
		kvs = json_object_get(j, "kvs");
		for (size_t i = 0; i < json_array_size(kvs); i++) {
			json_t *kv = json_array_get(kvs, i);

			snprintf(after, sizeof(after), "%s",
				 json_string_value(json_array_get(kv, 0)));
			if (strlen(out) + 80 < room)
				sprintf(out + strlen(out), "%s=%.40s;", after,
					json_string_value(json_array_get(kv, 1)));
		}
		*revision = (uint64_t)json_integer_value(json_object_get(j, "revision"));
		more = json_is_true(json_object_get(j, "more"));
		json_decref(j);
	}
}

static void parts_and_events_make_the_copy(void)
{
	char text[400];
	struct vms_errmsg e;
	uint64_t revision;
	json_t *j;

	begin();
	CU_ASSERT_EQUAL(vms_catcopy_json(w.c, NULL, &j, &e), VMS_E_NOENT);
	vms_catcopy_timer(w.c, w.now);
	CU_ASSERT_EQUAL(w.asked, 0); /* follows nobody yet */
	vms_catcopy_follow(w.c, &w.cat);
	vms_catcopy_timer(w.c, w.now);
	say(w.part, 10, true, "a", "1", 5);
	CU_ASSERT_STRING_EQUAL(w.after, "a");
	settle();
	CU_ASSERT(!file_there("catalog.copy")); /* not read whole yet */
	say(w.part, 12, false, "cluster", CLUSTER, 11);
	CU_ASSERT(w.watched == 1 && w.from == 10);
	say(w.event, 11, false, "cluster", "old", 11 - 1); /* older than what a part said */
	say(w.event, 13, false, "b", "2", 13);
	settle();
	CU_ASSERT(file_there("catalog.copy") && !file_there("catalog.copy.new"));
	say(w.event, 14, false, "a", NULL, 14);
	told(text, sizeof(text), &revision);
	CU_ASSERT_STRING_EQUAL(text, "b=2;cluster={\"uuid\":\"11111111-2222-4333-8444-5555555;");
	CU_ASSERT_EQUAL(revision, 14);
	settle();
	/* the next process knows it from the file */
	vms_catcopy_free(w.c);
	CU_ASSERT_EQUAL(w.forgotten, 1);
	w.c = vms_catcopy_new(w.dir);
	told(text, sizeof(text), &revision);
	CU_ASSERT_STRING_EQUAL(text, "b=2;cluster={\"uuid\":\"11111111-2222-4333-8444-5555555;");
	CU_ASSERT_EQUAL(revision, 14);
	CU_ASSERT_EQUAL(vms_catcopy_json(w.c, NULL, &j, &e), 0);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(j, "cluster")),
			       "11111111-2222-4333-8444-555555555555");
	json_decref(j);
	end();
}

static void after_a_doubt_it_is_read_anew(void)
{
	char text[400];
	uint64_t revision;

	begin();
	vms_catcopy_follow(w.c, &w.cat);
	vms_catcopy_timer(w.c, w.now);
	say(w.part, 10, false, "a", "1", 5);
	settle();
	fail_with(w.event, VMS_E_GONE);
	/* the file speaks until all is read again */
	told(text, sizeof(text), &revision);
	CU_ASSERT_EQUAL(w.asked, 1);
	vms_catcopy_timer(w.c, w.now += 2000);
	CU_ASSERT_EQUAL(w.asked, 2);
	fail_with(w.part, VMS_E_TIMEOUT);
	vms_catcopy_timer(w.c, w.now += 2000);
	CU_ASSERT_EQUAL(w.asked, 3);
	say(w.part, 20, false, "b", "2", 15);
	CU_ASSERT_EQUAL(w.watched, 2);
	told(text, sizeof(text), &revision);
	CU_ASSERT_STRING_EQUAL(text, "b=2;");
	end();
}

static void a_damaged_file_is_no_copy(void)
{
	struct vms_errmsg e;
	char path[100];
	json_t *j;
	FILE *f;

	begin();
	vms_catcopy_follow(w.c, &w.cat);
	vms_catcopy_timer(w.c, w.now);
	say(w.part, 10, false, "a", "value", 5);
	settle();
	vms_catcopy_free(w.c);
	snprintf(path, sizeof(path), "%s/catalog.copy", w.dir);
	f = fopen(path, "r+");
	fseek(f, -8, SEEK_END);
	fputc('X', f);
	fclose(f);
	w.c = vms_catcopy_new(w.dir);
	CU_ASSERT_EQUAL(vms_catcopy_json(w.c, NULL, &j, &e), VMS_E_NOENT);
	end();
}

static void large_copies_are_told_in_parts(void)
{
	char key[32], text[64], *val = malloc(60001);
	uint64_t revision;
	struct vms_errmsg e;
	json_t *j;

	begin();
	memset(val, 'x', 60000);
	val[60000] = 0;
	vms_catcopy_follow(w.c, &w.cat);
	vms_catcopy_timer(w.c, w.now);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(key, sizeof(key), "k/%02u", i);
		say(w.part, 10, i < 39, key, val, 5);
	}
	CU_ASSERT_EQUAL(vms_catcopy_json(w.c, NULL, &j, &e), 0);
	CU_ASSERT(json_is_true(json_object_get(j, "more")));
	json_decref(j);
	told(text, sizeof(text), &revision);
	CU_ASSERT_EQUAL(vms_catcopy_json(w.c, "k/38", &j, &e), 0);
	CU_ASSERT(json_array_size(json_object_get(j, "kvs")) == 1 &&
		  !json_is_true(json_object_get(j, "more")));
	json_decref(j);
	free(val);
	end();
}

static const struct vms_test tests[] = {
	VMS_TEST(parts_and_events_make_the_copy),
	VMS_TEST(after_a_doubt_it_is_read_anew),
	VMS_TEST(a_damaged_file_is_no_copy),
	VMS_TEST(large_copies_are_told_in_parts),
};

VMS_TEST_MAIN("backend/vmstored_copy", tests)
