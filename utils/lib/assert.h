/* SPDX-License-Identifier: GPL-2.0-only */
/* Assertions that stay in release builds.
 *
 * They guard against programmer errors only; operating errors return VMS_E_*.
 * A process that finds its own state impossible stops at once: a crash is a
 * failure the cluster is built to survive, a wrong byte on disk is not. */
#ifndef VMS_ASSERT_H
#define VMS_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

#define vms_assert(x)                                                                              \
	do {                                                                                       \
		if (__builtin_expect(!(x), 0)) {                                                   \
			fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", __FILE__, __LINE__,   \
				__func__, #x);                                                     \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
