/* SPDX-License-Identifier: GPL-2.0-only */
/* Levelled log messages.
 *
 * One process has one sink (the only global of this library): by default lines
 * on stderr, "<name>: <level>: <text>", of daemons with the time before it. Set it up
 * before starting threads; the level may be changed at any time. Cores log through this
 * too: it is output only and decides nothing.
 *
 * Owner thread: any. The default sink writes each line with one call. */
#ifndef VMS_LOG_H
#define VMS_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "include/err.h"

enum vms_log_level {
	VMS_LOG_ERROR, /* something was lost or refused; an operator must act */
	VMS_LOG_WARN,  /* works, but not as configured or expected */
	VMS_LOG_INFO,  /* rare milestones: started, joined, stopped */
	VMS_LOG_DEBUG, /* for whoever reads the source at the same time */
};

/* text: borrowed, one line without newline. Called from any thread. */
typedef void (*vms_log_sink_fn)(void *ctx, enum vms_log_level level, const char *text);

/* name: shown before each line, borrowed for ever (NULL: none). */
void vms_log_open(const char *name, enum vms_log_level level);

/* The lines on stderr begin with the local time to the millisecond, unless the journal
 * reads them, which adds it. */
void vms_log_timed(void);
/* One such line without a level: of other people's code in this process. */
void vms_log_line(const char *text);
/* What the default sink does, for a sink that does something else now and then. */
void vms_log_to_stderr(enum vms_log_level level, const char *text);

/* fn NULL: back to stderr. ctx is handed to fn and stays the caller's. */
void vms_log_set_sink(vms_log_sink_fn fn, void *ctx);
void vms_log_set_level(enum vms_log_level level);
enum vms_log_level vms_log_get_level(void);

const char *vms_log_level_name(enum vms_log_level level);
/* 0 and *out, or VMS_E_INVAL and a message naming the allowed words. */
int vms_log_level_parse(const char *word, enum vms_log_level *out, struct vms_errmsg *e);

__attribute__((format(printf, 2, 3))) void vms_log(enum vms_log_level level, const char *fmt, ...);

#define vms_error(...) vms_log(VMS_LOG_ERROR, __VA_ARGS__)
#define vms_warn(...)  vms_log(VMS_LOG_WARN, __VA_ARGS__)
#define vms_info(...)  vms_log(VMS_LOG_INFO, __VA_ARGS__)
#define vms_debug(...)                                                                             \
	do {                                                                                       \
		if (vms_log_get_level() >= VMS_LOG_DEBUG)                                          \
			vms_log(VMS_LOG_DEBUG, __VA_ARGS__);                                       \
	} while (0)

/* At most burst messages per window_ms; what was dropped is counted in the first
 * message of the next window. The caller gives the clock, because cores have
 * none: now_ms is any monotonic milliseconds. */
struct vms_log_limit {
	uint64_t start_ms;
	uint32_t window_ms;
	uint32_t burst;
	uint32_t used;
	uint32_t dropped;
};
#define VMS_LOG_LIMIT_INIT(burst_, window_ms_)                                                     \
	{                                                                                          \
		.window_ms = (window_ms_), .burst = (burst_)                                       \
	}

/* True if a message may be logged now; *dropped gets the number suppressed since
 * the last one that was let through. */
bool vms_log_limit_pass(struct vms_log_limit *l, uint64_t now_ms, uint32_t *dropped);

/* The same for messages that are each about some place (of the disk, the index): one for each
 * place in that time, and of no more than VMS_LOG_PLACES places. All zeros: none seen yet. */
#define VMS_LOG_PLACES	  64u
#define VMS_LOG_PLACES_MS 60000u
struct vms_log_places {
	struct {
		uint64_t key, at_ms;
		bool used;
	} place[VMS_LOG_PLACES];
	uint32_t dropped;
};

/* key: the place, and what is said of it. True, *dropped: as above, of all places. */
bool vms_log_places_pass(struct vms_log_places *t, uint64_t key, uint64_t now_ms,
			 uint32_t *dropped);

/* For one place in the source: 10 messages per 10 s. Single-threaded callers. */
#define vms_log_ratelimited(now_ms, level, fmt, ...)                                               \
	do {                                                                                       \
		static struct vms_log_limit limit_ = VMS_LOG_LIMIT_INIT(10, 10000);                \
		uint32_t dropped_;                                                                 \
		if (vms_log_limit_pass(&limit_, (now_ms), &dropped_)) {                            \
			if (dropped_)                                                              \
				vms_log(level, fmt " (%u like it not shown)", ##__VA_ARGS__,       \
					dropped_);                                                 \
			else                                                                       \
				vms_log(level, fmt, ##__VA_ARGS__);                                \
		}                                                                                  \
	} while (0)

#endif
