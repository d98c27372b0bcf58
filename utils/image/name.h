/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names that tools have as gateways: tool-HOST-MACHINE-N. MACHINE are 8 hex digits drawn
 * from the machine-id (not the id itself, machine-id(5)), so two machines of one host name
 * do not shut out each other's tools. Without a machine-id it is left out, as it was in
 * earlier versions: tool-HOST-N.
 *
 * Owner: any thread.
 */
#ifndef VMS_IMAGE_NAME_H
#define VMS_IMAGE_NAME_H

#include <stdbool.h>

#define IMAGE_NAME_BYTES 64u

/* MACHINE from the first of these files that holds a machine-id; NULL ends the list. None
 * of them does: "". */
void image_name_machine(const char *const files[], char out[9]);

/* All of the name but N, for this host and machine ("": unknown). */
void image_name_prefix(const char *host, const char *machine, char out[IMAGE_NAME_BYTES]);

/* Is it the name of a tool of this host and machine, or of this host without a machine? */
bool image_name_is(const char *name, const char *host, const char *machine);

/* The same two for the machine that this runs on. */
void image_name_own_prefix(char out[IMAGE_NAME_BYTES]);
bool image_name_is_own(const char *name);

#endif
