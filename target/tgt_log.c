// SPDX-License-Identifier: GPL-2.0-only
/*
 * One form of log lines for the whole gateway, that of storage nodes: ours and tgt's own
 * (patches/40). A tgtd that has gone into the background writes to syslog; ours follow it
 * there.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

#include "target/tgt_glue.h"
#include "utils/lib/log.h"

#undef eprintf
#undef dprintf

static void ours(void *ctx, enum vms_log_level level, const char *text)
{
	const char *name = vms_log_level_name(level);

	if (!tgt_log_daemon())
		vms_log_to_stderr(level, text);
	else if (level == VMS_LOG_ERROR)
		log_error("%s: %s\n", name, text);
	else if (level == VMS_LOG_DEBUG)
		log_debug("%s: %s\n", name, text);
	else
		log_warning("%s: %s\n", name, text);
}

/* tgt says everything as an error: its lines have no level here. */
static void theirs(const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = 0;
	vms_log_line(text);
}

__attribute__((constructor)) static void log_constructor(void)
{
	vms_log_open("tgtd", VMS_LOG_INFO);
	vms_log_timed();
	vms_log_set_sink(ours, NULL);
	tgt_log_hook = theirs;
}
