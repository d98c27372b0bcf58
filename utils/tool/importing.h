/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Volumes whose content is being replaced: state "importing" and a key
 * import/<volume> that tells by what and how far. Only a tool opens such a volume; it
 * is ready again when all of it is there. Whatever interrupts an import leaves a volume
 * that the same command goes on with, or that `volume rm` removes.
 *
 * import/<volume>: JSON. kind: "image", source, format, identity (of the source file),
 * bytes (of the image), done (all before it is durable), blank (the volume was new), or
 * kind: "diff", source, base (the snapshot that an interrupted import goes back to).
 *
 * A volume is ready while it is given another size. The note of a diff stays meanwhile and
 * says so (resize), or whoever is killed then would leave a volume that seems to be changed.
 */
#ifndef VMS_TOOL_IMPORTING_H
#define VMS_TOOL_IMPORTING_H

#include "utils/tool/volume.h"

struct importing {
	char kind[8];	   /* "image", "diff" */
	char source[1024]; /* absolute path, "-": standard input */
	char format[16];
	char identity[64]; /* "": cannot be told */
	char base[104];	   /* snapshot's name; "": the volume was new */
	char gateway[64];  /* name of the tool that works on it, or did */
	uint64_t bytes, done;
	uint64_t resize; /* of the volume, ready: the size that is not its base's; 0: it has that */
	bool blank;
};

void importing_key(char key[VMS_CAT_KEY_BYTES_MAX], const char *volume);
char *importing_encode(const struct importing *in);
/* VMS_E_NOENT: no import of that volume is under way or interrupted. */
int importing_load(struct tool *t, const char *volume, struct importing *out,
		   struct vms_errmsg *msg);

/* An existing volume, ready and open nowhere, becomes one that is being imported. Refused, it
 * keeps the note it had. */
int importing_begin(struct tool *t, const char *volume, const struct importing *in,
		    struct vms_errmsg *msg);
/* Notes how far it is, or that it begins anew. */
int importing_note(struct tool *t, const char *volume, const struct importing *in,
		   struct vms_errmsg *msg);
/* A volume that is being imported, and open nowhere, gets so many bytes if it has fewer. */
int importing_grow(struct tool *t, const char *volume, uint64_t bytes, struct vms_errmsg *msg);
/* All of it is there: the volume is ready; left: the note that stays, or NULL. Repeatable. */
int importing_end(struct tool *t, const char *volume, const struct importing *left,
		  struct vms_errmsg *msg);

/* The note of a volume that is ready goes. */
void importing_forget(struct tool *t, const char *volume);

/* Nobody but this gateway ("": nobody) has a volume open that is being imported:
 * whoever had and has no session left is shut out. VMS_E_OPEN: somebody lives. Any
 * other volume, and none at all: 0. */
int importing_shut_out(struct tool *t, const char *volume, const char *own_name,
		       struct vms_errmsg *msg);

#endif
