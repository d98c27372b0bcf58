/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Volumes for the tools: a gateway of the cluster inside this process, named
 * tool-HOST-MACHINE-N (utils/image/name.h), so that barriers, fences and deletes see
 * whatever a tool reads and writes as they see any gateway. N is the first of 1..8 whose
 * lock file in run_dir is free; ids and incarnations are used again by the next run.
 *
 * The gateway lives on a thread of its own: it has to answer its nodes' ticks whatever
 * the caller waits for (a slow pipe, a disk). Requests go to it and come back; nothing
 * else is shared. A request that is refused for now (a node is down, a barrier) is
 * repeated for IMAGE_PATIENCE_MS; all here is idempotent.
 *
 * Owner: one thread, which makes all calls.
 */
#ifndef VMS_IMAGE_DEV_H
#define VMS_IMAGE_DEV_H

#include "target/gateway.h"
#include "utils/lib/settings.h"

#define IMAGE_PATIENCE_MS 60000u
#define IMAGE_TOOLS_MAX	  8u

struct image_dev;
struct image_vol;

enum image_op {
	IMAGE_READ = 1,
	IMAGE_WRITE,
	IMAGE_ZERO,
	IMAGE_FLUSH,
	IMAGE_REF,    /* write what the cluster has already; VMS_E_NOENT: see found */
	IMAGE_MAP,    /* addresses of its chunks: what has the same has the same content */
	IMAGE_STATUS, /* what is a hole, from offset on: at most 32 MiB are looked at */
};

#define IMAGE_RANGES_MAX 64u

/* A request; the caller's until submitted and again when it is done. */
struct image_io {
	enum image_op op;
	struct image_vol *vol;
	/* bytes, multiples of 512 (REF: of 4096). READ, WRITE, REF: within one 512 KiB
	 * block of the volume, ZERO, MAP: within one extent of 4 MiB. */
	uint64_t offset, len;
	uint8_t *buf; /* READ, WRITE; used until done */
	/* REF: fingerprint and CRC32C of each chunk; found is filled */
	const uint8_t *fps;
	const uint32_t *crcs;
	uint8_t *found;
	vms_addr *addrs; /* MAP: is filled */
	/* out */
	int status;
	struct vms_gw_lba_range range[IMAGE_RANGES_MAX]; /* STATUS */
	unsigned nranges;
	bool reaped; /* it is done and image_reap() has told so */
	/* private */
	bool done, sync;
	uint64_t start_ms, due_ms;
	struct image_io *next;
	struct vms_iov iov;
	struct vms_gw_cmd cmd;
};

/* settings: of [cluster]; used until close. name: the one to take, or NULL or "": any
 * free one. 0 or VMS_E_* with a message; VMS_E_BUSY: that name, or all of them, are in
 * use. A name of another machine is not taken: any other one is. */
int image_dev_open(struct image_dev **out, const struct vms_settings *settings, const char *name,
		   struct vms_errmsg *msg);
/* All requests are done. Volumes still open are closed. */
void image_dev_close(struct image_dev *d);
const char *image_dev_name(const struct image_dev *d);
/* Does a process hold this name, on this machine? */
bool image_dev_name_held(const struct vms_settings *settings, const char *name);

int image_vol_open(struct image_dev *d, const char *name, struct image_vol **out,
		   struct vms_errmsg *msg);
void image_vol_close(struct image_vol *v);
uint64_t image_vol_bytes(const struct image_vol *v);

/* Never blocks; image_reap() hands it back. Several parties may share a dev: whoever
 * calls image_reap() may get another's request, which finds it by its `reaped`. */
void image_submit(struct image_dev *d, struct image_io *io);
/* Waits until another submitted request is done. One must be under way. */
void image_reap(struct image_dev *d);
/* Submits, waits, returns its status; nothing to reap. */
int image_call(struct image_dev *d, struct image_io *io);
/* Fills msg from a request that failed; returns its status. */
int image_io_fail(const struct image_dev *d, const struct image_io *io, struct vms_errmsg *msg);

#endif
