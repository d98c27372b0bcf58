// SPDX-License-Identifier: GPL-2.0-only
#include "include/err.h"

#include <stdarg.h>
#include <stdio.h>

const char *vms_err_name(int err)
{
	switch (err) {
	case 0:
		return "VMS_OK";
#define X(name, number, retryable, text)                                                           \
	case VMS_E_##name:                                                                         \
		return "VMS_E_" #name;
		VMS_ERR_LIST(X)
#undef X
	}
	return "VMS_E_?";
}

const char *vms_err_text(int err)
{
	switch (err) {
	case 0:
		return "success";
#define X(name, number, retryable, text)                                                           \
	case VMS_E_##name:                                                                         \
		return text;
		VMS_ERR_LIST(X)
#undef X
	}
	/* a newer peer may send a code appended after this build */
	return "unknown error code";
}

int vms_err_retryable(int err)
{
	switch (err) {
#define X(name, number, retryable, text)                                                           \
	case VMS_E_##name:                                                                         \
		return retryable;
		VMS_ERR_LIST(X)
#undef X
	}
	return 0;
}

int vms_fail(struct vms_errmsg *msg, int err, const char *fmt, ...)
{
	va_list ap;

	if (!msg)
		return err;
	va_start(ap, fmt);
	vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
	va_end(ap);
	return err;
}
