/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Formats of image files. What is not raw is read and written by QEMU: qemu-img tells
 * what a file is, qemu-nbd (nbd.h) moves the data. Nothing here parses an image.
 *
 * Calls block and start processes. One thread.
 */
#ifndef VMS_IMAGE_FORMAT_H
#define VMS_IMAGE_FORMAT_H

#include "include/err.h"
#include "include/types.h"

#define IMAGE_FORMATS "raw, qcow2, vmdk, vpc (vhd), vhdx or vdi"

/* QEMU's name of a format as people call it ("vhd" is vpc), or NULL: not one of ours. */
const char *image_format_name(const char *word);

struct image_format {
	const char *name; /* QEMU's */
	uint64_t bytes;	  /* what a guest sees */
	char other[256];  /* a file the image refers to: backing file, extent, data file;
			     or "" */
};

/* What is in this file? format: it is that (QEMU's name), nothing is guessed; NULL: find
 * out. Raw content that looks like another format is taken for that one, so content
 * that somebody else could write must come with its format. */
int image_format_probe(const char *path, const char *format, struct image_format *out,
		       struct vms_errmsg *msg);

/* Could it be something else than raw, by its magic number? Cheaper than asking QEMU
 * about each of many plain files. */
bool image_format_maybe(const char *path);

/* Makes an empty image of this size. options: of qemu-img create -o, or NULL. */
int image_format_create(const char *path, const char *format, const char *options, uint64_t bytes,
			struct vms_errmsg *msg);

/* What QEMU takes for a file name: this file in this format, and nothing that it names
 * unless follow is set. Free it; NULL: the path is no UTF-8. */
char *image_format_opts(const char *path, const char *format, bool follow);

/* The absolute path without links; free it. NULL with msg: it does not exist. */
char *image_real_path(const char *path, struct vms_errmsg *msg);

#endif
