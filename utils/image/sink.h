/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where an exported image goes: a raw file with holes, a block device, standard output,
 * or a file of another format through qemu-nbd. A file appears under its name only when
 * it is whole: until then it is FILE.part.
 *
 * Calls block. One thread.
 */
#ifndef VMS_IMAGE_SINK_H
#define VMS_IMAGE_SINK_H

#include "include/err.h"
#include "include/types.h"

struct image_sink;

struct image_sink_conf {
	const char *path;    /* "-": standard output */
	const char *format;  /* QEMU's name */
	const char *options; /* of qemu-img create -o, or NULL */
	uint64_t bytes;
	bool overwrite; /* a file of that name is replaced */
	/* What the content is, for FILE.part.state: a raw export that was interrupted
	 * goes on where the same content was last known to be on disk. NULL: it never
	 * does. */
	const char *identity;
	bool resume;
};

/* *from: where to go on, 0 as a rule. */
int image_sink_open(struct image_sink **out, const struct image_sink_conf *conf, uint64_t *from,
		    struct vms_errmsg *msg);
/* Ascending. What is left out is zeros. */
int image_sink_data(struct image_sink *s, uint64_t offset, const uint8_t *data, uint64_t len,
		    struct vms_errmsg *msg);
/* What has no size beforehand (bytes 0): behind what is there. */
int image_sink_append(struct image_sink *s, const uint8_t *data, uint64_t len,
		      struct vms_errmsg *msg);
/* Notes that all before done_bytes is there; nothing where that is of no use. */
int image_sink_checkpoint(struct image_sink *s, uint64_t done_bytes, struct vms_errmsg *msg);
/* All is there: durable, under its name. */
int image_sink_finish(struct image_sink *s, struct vms_errmsg *msg);
/* Without finish: what was written goes, unless it can be gone on with; *kept tells. */
void image_sink_close(struct image_sink *s, bool *kept);

/* Bytes written as data. */
uint64_t image_sink_written(const struct image_sink *s);

#endif
