/* SPDX-License-Identifier: GPL-2.0-only */
/* A message for a person, filled in by functions that reject input: it names
 * what was wrong, where, and what was expected. The caller owns the struct and
 * prints it; libraries never print. NULL is allowed wherever one is taken. */
#ifndef VMS_ERRMSG_H
#define VMS_ERRMSG_H

#include <stdarg.h>
#include <stdio.h>

struct vms_errmsg {
	char text[256]; /* without newline; truncated when longer */
};

/* Fills e (if any) and returns -1, so that callers can `return vms_err_set(...)`. */
__attribute__((format(printf, 2, 3))) static inline int vms_err_set(struct vms_errmsg *e,
								    const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

#endif
