// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/advice_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct advice *advice_add(struct advices *out, enum advice_level level, const char *risk, ...)
{
	struct advice *a = VMS_VEC_ADD(out);
	va_list ap;

	memset(a, 0, sizeof(*a));
	a->level = level;
	va_start(ap, risk);
	vsnprintf(a->risk, sizeof(a->risk), risk, ap);
	va_end(ap);
	return a;
}

void advice_mend(struct advice *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->mend, sizeof(a->mend), fmt, ap);
	va_end(ap);
}

uint64_t advice_number(const json_t *o, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

const char *advice_word(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

uint32_t advice_holders(const struct view *v)
{
	uint32_t n = 0;

	VMS_VEC_FOREACH (&v->nodes, x)
		n += vms_place_weight(&x->n) > 0;
	return n;
}

void advice(const struct advice_facts *f, struct advices *out)
{
	struct advices all = VMS_VEC_INIT;

	advice_nodes(f, &all);
	advice_copies(f, &all);
	advice_service(f, &all);
	for (int level = ADVICE_NOW; level <= ADVICE_NOTE; level++)
		VMS_VEC_FOREACH (&all, a)
			if ((int)a->level == level)
				*VMS_VEC_ADD(out) = *a;
	VMS_VEC_FREE(&all);
}

const char *advice_level_word(enum advice_level level)
{
	static const char *const words[] = {"now", "soon", "note"};

	return words[level];
}

json_t *advice_commands(const struct advice *a)
{
	json_t *list = json_array();
	const char *from = strchr(a->mend, '`'), *to;

	while (from && (to = strchr(from + 1, '`'))) {
		json_array_append_new(list, json_stringn(from + 1, (size_t)(to - from - 1)));
		from = strchr(to + 1, '`');
	}
	return list;
}
