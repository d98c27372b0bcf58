// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/size.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Reads "123" or "1.25" as value/scale with scale a power of ten; false on overflow
 * or when no digit is there. *rest points behind it. */
static bool read_decimal(const char *s, uint64_t *value, uint64_t *scale, const char **rest)
{
	uint64_t v = 0, sc = 1;
	bool frac = false, digit = false;

	for (;; s++) {
		if (*s == '.' && !frac && digit) {
			frac = true;
			continue;
		}
		if (!isdigit((unsigned char)*s))
			break;
		digit = true;
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return false;
		if (frac && __builtin_mul_overflow(sc, (uint64_t)10, &sc))
			return false;
	}
	if (frac && (sc == 1))
		return false; /* "1." */
	*value = v;
	*scale = sc;
	*rest = s;
	return digit;
}

/* value/scale * mult as a whole number. */
static bool scale_up(uint64_t value, uint64_t scale, uint64_t mult, uint64_t *out)
{
	unsigned __int128 x = (unsigned __int128)value * mult;

	if (x % scale)
		return false;
	x /= scale;
	if (x > UINT64_MAX)
		return false;
	*out = (uint64_t)x;
	return true;
}

int vms_size_parse(const char *text, uint64_t *bytes, struct vms_errmsg *e)
{
	static const char units[] = "KMGTPE";
	uint64_t v, sc, mult = 1;
	const char *rest;

	if (!read_decimal(text, &v, &sc, &rest))
		goto bad;
	if (*rest) {
		const char *u = strchr(units, toupper((unsigned char)*rest));

		if (u) {
			mult = UINT64_C(1) << (10 * (u - units + 1));
			rest++;
			if (*rest && strcasecmp(rest, "iB") && strcasecmp(rest, "B"))
				goto bad;
		} else if (strcasecmp(rest, "B")) {
			goto bad;
		}
	}
	if (!scale_up(v, sc, mult, bytes))
		return vms_fail(e, VMS_E_INVAL,
				"size '%.60s' is not a whole number of bytes below 16E", text);
	return 0;
bad:
	return vms_fail(e, VMS_E_INVAL,
			"'%.60s' is not a size: expected a number with K, M, G or T, such as 20G",
			text);
}

static const struct {
	const char *name;
	uint64_t ms;
} time_units[] = {
	{"h", 3600000},
	{"min", 60000},
	{"s", 1000},
	{"ms", 1},
};
#define N_TIME_UNITS (sizeof(time_units) / sizeof(time_units[0]))

int vms_duration_parse(const char *text, uint64_t *ms, struct vms_errmsg *e)
{
	uint64_t v, sc;
	const char *rest;

	if (!read_decimal(text, &v, &sc, &rest))
		goto bad;
	if (!*rest && v == 0) {
		*ms = 0;
		return 0;
	}
	for (size_t i = 0; i < N_TIME_UNITS; i++) {
		if (strcmp(rest, time_units[i].name))
			continue;
		if (!scale_up(v, sc, time_units[i].ms, ms))
			return vms_fail(e, VMS_E_INVAL,
					"duration '%.60s' is not a whole number of ms", text);
		return 0;
	}
bad:
	return vms_fail(
		e, VMS_E_INVAL,
		"'%.60s' is not a duration: expected a number with ms, s, min or h, such as 250ms",
		text);
}

int vms_u64_parse(const char *text, uint64_t *value, struct vms_errmsg *e)
{
	uint64_t v, sc;
	const char *rest;

	if (!read_decimal(text, &v, &sc, &rest) || *rest || strchr(text, '.'))
		return vms_fail(e, VMS_E_INVAL, "'%.60s' is not a whole number", text);
	*value = v;
	return 0;
}

const char *vms_size_format(uint64_t bytes, char out[VMS_SIZE_TEXT_MAX])
{
	static const char units[] = "KMGTPE";
	int u = -1;

	while (bytes && u < 5 && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	if (u < 0)
		snprintf(out, VMS_SIZE_TEXT_MAX, "%" PRIu64, bytes);
	else
		snprintf(out, VMS_SIZE_TEXT_MAX, "%" PRIu64 "%c", bytes, units[u]);
	return out;
}

const char *vms_size_human(uint64_t bytes, char out[VMS_SIZE_TEXT_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	int u = -1;

	while (v >= 999.5 && u < 5) {
		v /= 1024;
		u++;
	}
	if (u < 0)
		snprintf(out, VMS_SIZE_TEXT_MAX, "%" PRIu64 " B", bytes);
	else
		snprintf(out, VMS_SIZE_TEXT_MAX, "%.*f %s",
			 v < 9.995   ? 2
			 : v < 99.95 ? 1
				     : 0,
			 v, units[u]);
	return out;
}

const char *vms_duration_format(uint64_t ms, char out[VMS_SIZE_TEXT_MAX])
{
	size_t i = 0;

	if (!ms)
		i = N_TIME_UNITS - 1;
	while (ms % time_units[i].ms)
		i++;
	snprintf(out, VMS_SIZE_TEXT_MAX, "%" PRIu64 "%s", ms / time_units[i].ms,
		 time_units[i].name);
	return out;
}
