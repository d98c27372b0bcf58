// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 1024

static void stderr_sink(void *ctx, enum vms_log_level level, const char *text);

/* The documented global: one sink per process. */
static struct {
	const char *name;
	vms_log_sink_fn fn;
	void *ctx;
	int level; /* atomic: read by every thread */
	bool timed;
} sink = {NULL, stderr_sink, NULL, VMS_LOG_INFO, false};

static const char *const level_names[] = {"error", "warning", "info", "debug"};
#define N_LEVELS ((int)(sizeof(level_names) / sizeof(level_names[0])))

static void put_line(const char *level, const char *text)
{
	const char *name = sink.name;
	char line[TEXT_MAX + 128];
	size_t n = 0;

	if (sink.timed) {
		struct timespec ts;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &ts);
		localtime_r(&ts.tv_sec, &tm);
		n = strftime(line, sizeof(line), "%F %T", &tm);
		n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ld ", ts.tv_nsec / 1000000);
	}
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%.60s%s%s%s%.*s\n", name ? name : "",
			      name ? ": " : "", level, *level ? ": " : "", TEXT_MAX, text);
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere to complain */
}

static void stderr_sink(void *ctx, enum vms_log_level level, const char *text)
{
	vms_log_to_stderr(level, text);
}

void vms_log_to_stderr(enum vms_log_level level, const char *text)
{
	put_line(vms_log_level_name(level), text);
}

void vms_log_line(const char *text)
{
	put_line("", text);
}

void vms_log_timed(void)
{
	sink.timed = !getenv("JOURNAL_STREAM");
}

void vms_log_open(const char *name, enum vms_log_level level)
{
	sink.name = name;
	vms_log_set_level(level);
}

void vms_log_set_sink(vms_log_sink_fn fn, void *ctx)
{
	sink.fn = fn ? fn : stderr_sink;
	sink.ctx = ctx;
}

void vms_log_set_level(enum vms_log_level level)
{
	__atomic_store_n(&sink.level, (int)level, __ATOMIC_RELAXED);
}

enum vms_log_level vms_log_get_level(void)
{
	return (enum vms_log_level)__atomic_load_n(&sink.level, __ATOMIC_RELAXED);
}

const char *vms_log_level_name(enum vms_log_level level)
{
	return (int)level >= 0 && (int)level < N_LEVELS ? level_names[level] : "unknown";
}

int vms_log_level_parse(const char *word, enum vms_log_level *out, struct vms_errmsg *e)
{
	for (int i = 0; i < N_LEVELS; i++) {
		if (!strcmp(word, level_names[i])) {
			*out = (enum vms_log_level)i;
			return 0;
		}
	}
	return vms_fail(e, VMS_E_INVAL,
			"'%s' is not a log level: use error, warning, info or debug", word);
}

void vms_log(enum vms_log_level level, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	if (level > vms_log_get_level())
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sink.fn(sink.ctx, level, text);
}

bool vms_log_limit_pass(struct vms_log_limit *l, uint64_t now_ms, uint32_t *dropped)
{
	*dropped = 0;
	if (now_ms - l->start_ms >= l->window_ms) {
		l->start_ms = now_ms;
		l->used = 0;
		*dropped = l->dropped;
		l->dropped = 0;
	}
	if (l->used >= l->burst) {
		l->dropped++;
		return false;
	}
	l->used++;
	return true;
}

bool vms_log_places_pass(struct vms_log_places *t, uint64_t key, uint64_t now_ms, uint32_t *dropped)
{
	unsigned room = VMS_LOG_PLACES;

	*dropped = 0;
	for (unsigned i = 0; i < VMS_LOG_PLACES; i++) {
		bool over = !t->place[i].used || now_ms - t->place[i].at_ms >= VMS_LOG_PLACES_MS;

		if (over) {
			room = i;
		} else if (t->place[i].key == key) {
			room = VMS_LOG_PLACES;
			break;
		}
	}
	if (room == VMS_LOG_PLACES) {
		t->dropped++;
		return false;
	}
	t->place[room].key = key;
	t->place[room].at_ms = now_ms;
	t->place[room].used = true;
	*dropped = t->dropped;
	t->dropped = 0;
	return true;
}
