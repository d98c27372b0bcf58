/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables for the command-line tools: columns as wide as their widest cell,
 * numbers to the right, no trailing blanks.
 *
 *	struct vms_table *t = vms_table_open("<volume|>size|state");
 *	vms_table_row(t, "%s|%s|%s", name, size, state);
 *	vms_table_print(t, stdout);
 *	vms_table_close(t);
 */
#ifndef VMS_FMT_H
#define VMS_FMT_H

#include <stdio.h>

#define VMS_TABLE_COLUMNS_MAX 24

struct vms_table;

/* headings: separated by '|', each may begin with '<' (left, the default) or '>'
 * (right). At most VMS_TABLE_COLUMNS_MAX. Aborts when memory is out. */
struct vms_table *vms_table_open(const char *headings);
void vms_table_close(struct vms_table *t);

/* One row, cells separated by '|' in the formatted text, missing ones empty; a '|'
 * inside a formatted value would start a new cell, so use vms_table_cells() for text
 * from outside. */
__attribute__((format(printf, 2, 3))) void vms_table_row(struct vms_table *t, const char *fmt, ...);

/* One row of n ready cells (borrowed during the call); control characters are shown
 * as '?', so that foreign text cannot disturb a terminal. */
void vms_table_cells(struct vms_table *t, unsigned n, const char *const *cells);

/* UTF-8 counts one column per character. */
void vms_table_print(const struct vms_table *t, FILE *f);

#endif
