/* SPDX-License-Identifier: GPL-2.0-only */
/* Configuration files: one INI grammar for every program, driven by tables.
 *
 *	[node]
 *	# comment
 *	dir = /var/lib/vmstore/node1
 *	log_size = 1G
 *
 * A program describes its keys in one table; this module reads a file against
 * it, fills a struct, and prints the commented sample from the same table, so
 * that samples, checks and defaults cannot drift apart. Several sections (and so
 * several programs) may share one file: sections that the caller does not list
 * in its table but names as foreign are skipped, all else is an error.
 *
 * Rules: a key stands in a section; every key at most once; unknown sections and
 * keys are errors; '#' and ';' begin comment lines; a value ends at the line's
 * end (no inline comments, so that values may hold any sign); no continuation
 * lines. Each error names file, line, section, key and what was expected.
 *
 * Owner thread: the caller's, at start-up. */
#ifndef VMS_CONF_H
#define VMS_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "include/err.h"

enum vms_conf_type {
	VMS_CONF_STRING,    /* char *, malloc'd; NULL when unset without default */
	VMS_CONF_U64,	    /* uint64_t */
	VMS_CONF_SIZE,	    /* uint64_t bytes, K M G T suffix */
	VMS_CONF_DURATION,  /* uint64_t ms, unit ms, s, min, h */
	VMS_CONF_BOOL,	    /* bool; yes/no, on/off, true/false, 1/0 */
	VMS_CONF_ENUM,	    /* int, index into choices */
	VMS_CONF_ADDR,	    /* struct vms_conf_addr; HOST:PORT */
	VMS_CONF_ADDR_LIST, /* struct vms_conf_addrs; HOST:PORT separated by blanks or
			       commas, behind one of `choices` and a colon if it has any */
};

struct vms_conf_addr {
	char host[64]; /* numeric IPv4/IPv6 (IPv6 without brackets) or a name; "" unset */
	uint16_t port;
};

#define VMS_CONF_ADDRS_MAX 16
struct vms_conf_addrs {
	int scheme; /* index into the key's choices + 1; 0: none was given */
	unsigned n;
	struct vms_conf_addr a[VMS_CONF_ADDRS_MAX];
};

struct vms_conf_key {
	const char *section;
	const char *key;
	enum vms_conf_type type;
	size_t offset; /* offsetof() in the caller's struct */
	/* As it would stand in a file. NULL: optional without default (the field keeps
	 * its zero); for a key that must be given set required. */
	const char *def;
	uint64_t min;		    /* U64, SIZE, DURATION: least value, in bytes or ms */
	uint64_t max;		    /* greatest value; 0: no limit */
	const char *const *choices; /* ENUM: NULL-terminated words */
	const char *help;	    /* sentence(s) for the sample; \n breaks lines */
	bool required;
	const char *example; /* value shown in the sample instead of def (may be NULL) */
	/* SIZE, U64: value must be a multiple of this (0: any) */
	uint64_t multiple;
};

/* Table end marker. */
#define VMS_CONF_END                                                                               \
	{                                                                                          \
		.section = NULL                                                                    \
	}

/* Fills conf with the table's defaults. conf must be zeroed before. Every default
 * must parse (a wrong one is a programmer's error and asserts). */
void vms_conf_defaults(const struct vms_conf_key *keys, void *conf);

/* Defaults, then the file's values over them, then the check that every required key
 * of the table was given.
 * path: the file, or NULL for defaults only. foreign: NULL-terminated names of
 * sections that belong to other programs and are skipped (may be NULL).
 * 0, or VMS_E_CONFIG with e filled; conf must be released by vms_conf_free() in both cases. */
int vms_conf_load(const struct vms_conf_key *keys, const char *const *foreign, const char *path,
		  void *conf, struct vms_errmsg *e);

/* The same from memory; name stands for the path in messages. */
int vms_conf_parse(const struct vms_conf_key *keys, const char *const *foreign, const char *name,
		   const char *text, void *conf, struct vms_errmsg *e);

/* Sets one key from a "key=value" or "section.key=value" option (bsopts, command
 * line) over what is loaded; duplicates are the caller's matter. */
int vms_conf_set(const struct vms_conf_key *keys, const char *section, const char *key,
		 const char *value, void *conf, struct vms_errmsg *e);

/* Frees the strings in conf and zeroes their pointers. */
void vms_conf_free(const struct vms_conf_key *keys, void *conf);

/* Prints the commented sample: each key with its help, range and default; keys with a
 * default are commented out, required ones and those with an example are set. The
 * sample parses against the same table. */
void vms_conf_print_sample(const struct vms_conf_key *keys, FILE *f);

/* HOST:PORT, [V6]:PORT. def_port 0: the port must be given. */
int vms_conf_addr_parse(const char *text, uint16_t def_port, struct vms_conf_addr *a,
			struct vms_errmsg *e);
#define VMS_CONF_ADDR_TEXT_MAX 80
const char *vms_conf_addr_format(const struct vms_conf_addr *a, char out[VMS_CONF_ADDR_TEXT_MAX]);

#endif
