// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/fmt.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

struct row {
	char *cell[VMS_TABLE_COLUMNS_MAX]; /* NULL: empty */
};

struct vms_table {
	unsigned columns;
	bool right[VMS_TABLE_COLUMNS_MAX];
	VMS_VEC(struct row) rows; /* the first holds the headings */
};

static unsigned width(const char *s)
{
	unsigned n = 0;

	for (; s && *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static char *clean_copy(const char *s, size_t len)
{
	char *c = malloc(len + 1);

	vms_assert(c);
	for (size_t i = 0; i < len; i++) {
		unsigned char x = (unsigned char)s[i];

		c[i] = x < 0x20 || x == 0x7f ? '?' : s[i];
	}
	c[len] = 0;
	return c;
}

/* Cuts text at '|' into the cells of a new row. */
static void add_split(struct vms_table *t, const char *text)
{
	struct row *r = VMS_VEC_ADD(&t->rows);

	for (unsigned i = 0; i < t->columns; i++) {
		size_t n = strcspn(text, "|");

		r->cell[i] = clean_copy(text, n);
		text += n;
		if (!*text)
			return;
		text++;
	}
	vms_assert(!"more cells than columns");
}

struct vms_table *vms_table_open(const char *headings)
{
	struct vms_table *t = calloc(1, sizeof(*t));
	char *plain = strdup(headings), *out = plain;
	bool start = true;

	vms_assert(t && plain);
	for (const char *p = headings; *p; p++) {
		if (start && (*p == '<' || *p == '>')) {
			t->right[t->columns] = *p == '>';
			start = false;
			continue;
		}
		start = *p == '|';
		if (start) {
			t->columns++;
			vms_assert(t->columns < VMS_TABLE_COLUMNS_MAX);
		}
		*out++ = *p;
	}
	*out = 0;
	t->columns++;
	add_split(t, plain);
	free(plain);
	return t;
}

void vms_table_close(struct vms_table *t)
{
	if (!t)
		return;
	VMS_VEC_FOREACH (&t->rows, r)
		for (unsigned i = 0; i < t->columns; i++)
			free(r->cell[i]);
	VMS_VEC_FREE(&t->rows);
	free(t);
}

void vms_table_row(struct vms_table *t, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	vms_assert(n >= 0);
	add_split(t, text);
	free(text);
}

void vms_table_cells(struct vms_table *t, unsigned n, const char *const *cells)
{
	struct row *r = VMS_VEC_ADD(&t->rows);

	vms_assert(n <= t->columns);
	for (unsigned i = 0; i < n; i++)
		if (cells[i])
			r->cell[i] = clean_copy(cells[i], strlen(cells[i]));
}

void vms_table_print(const struct vms_table *t, FILE *f)
{
	unsigned w[VMS_TABLE_COLUMNS_MAX] = {0};

	VMS_VEC_FOREACH (&t->rows, r) {
		for (unsigned i = 0; i < t->columns; i++) {
			unsigned n = width(r->cell[i]);

			if (n > w[i])
				w[i] = n;
		}
	}
	VMS_VEC_FOREACH (&t->rows, r) {
		unsigned pad = 0; /* blanks owed; dropped at the line's end */

		for (unsigned i = 0; i < t->columns; i++) {
			unsigned n = width(r->cell[i]);

			if (t->right[i])
				pad += w[i] - n;
			if (n)
				fprintf(f, "%*s%s", (int)pad, "", r->cell[i]);
			if (n)
				pad = 0;
			pad += t->right[i] && n ? 2 : t->right[i] ? n + 2 : w[i] - n + 2;
		}
		fputc('\n', f);
	}
}
