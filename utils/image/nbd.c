// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/nbd.h"

#include <libnbd.h>
#include <stdlib.h>
#include <string.h>

#include "utils/image/format.h"
#include "utils/lib/assert.h"

#define STATUS_BYTES (1ull << 30) /* asked about at once */
#define RANGES_MAX   512u

struct range {
	uint64_t end;
	bool zero;
};

struct image_nbd {
	struct nbd_handle *h;
	char *path;
	uint64_t bytes;
	bool can_status;
	/* answers about [.., last end) */
	uint64_t status_from;
	unsigned nranges, at;
	struct range range[RANGES_MAX];
};

static int fail(struct image_nbd *n, const char *what, struct vms_errmsg *msg)
{
	const char *why = nbd_get_error();

	return vms_fail(msg, VMS_E_IO, "%s %.80s through qemu-nbd: %.120s", what, n->path,
			why ? why : "unknown error");
}

int image_nbd_open(struct image_nbd **out, const char *path, const char *format, bool writable,
		   bool follow, struct vms_errmsg *msg)
{
	struct image_nbd *n = calloc(1, sizeof(*n));
	char *real = image_real_path(path, msg), *opts;
	char *argv[4] = {"qemu-nbd"};
	int64_t bytes;
	int rc = 0;

	vms_assert(n);
	if (!real) {
		free(n);
		return VMS_E_NOENT;
	}
	n->path = strdup(path);
	opts = image_format_opts(real, format, follow);
	free(real);
	n->h = nbd_create();
	vms_assert(n->path && n->h);
	(void)nbd_add_meta_context(n->h, LIBNBD_CONTEXT_BASE_ALLOCATION);
	/* written to: the caller flushes at the end, until then nothing is worth a wait
	 */
	argv[1] = writable ? "--cache=writeback" : "--read-only";
	argv[2] = opts;
	if (!opts)
		rc = vms_fail(msg, VMS_E_INVAL,
			      "%s: QEMU cannot be told of a name that is not UTF-8", path);
	else if (nbd_connect_systemd_socket_activation(n->h, argv) < 0)
		rc = fail(n, "opening", msg);
	free(opts);
	if (!rc) {
		bytes = nbd_get_size(n->h);
		if (bytes < 0)
			rc = fail(n, "opening", msg);
		n->bytes = (uint64_t)bytes;
		n->can_status = nbd_can_meta_context(n->h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
	}
	if (rc) {
		image_nbd_close(n);
		return rc;
	}
	*out = n;
	return 0;
}

void image_nbd_close(struct image_nbd *n)
{
	if (!n)
		return;
	(void)nbd_shutdown(n->h, 0);
	nbd_close(n->h);
	free(n->path);
	free(n);
}

uint64_t image_nbd_bytes(const struct image_nbd *n)
{
	return n->bytes;
}

int image_nbd_read(struct image_nbd *n, uint64_t offset, uint8_t *buf, uint64_t len,
		   struct vms_errmsg *msg)
{
	return nbd_pread(n->h, buf, len, offset, 0) < 0 ? fail(n, "reading", msg) : 0;
}

int image_nbd_write(struct image_nbd *n, uint64_t offset, const uint8_t *buf, uint64_t len,
		    struct vms_errmsg *msg)
{
	return nbd_pwrite(n->h, buf, len, offset, 0) < 0 ? fail(n, "writing", msg) : 0;
}

int image_nbd_flush(struct image_nbd *n, struct vms_errmsg *msg)
{
	return nbd_flush(n->h, 0) < 0 ? fail(n, "flushing", msg) : 0;
}

static int on_extents(void *arg, const char *context, uint64_t offset, uint32_t *entries,
		      size_t nentries, int *error)
{
	struct image_nbd *n = arg;

	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION))
		return 0;
	n->status_from = offset;
	n->nranges = n->at = 0;
	for (size_t i = 0; i + 1 < nentries && n->nranges < RANGES_MAX; i += 2) {
		offset += entries[i];
		n->range[n->nranges++] = (struct range){offset,
							(entries[i + 1] & LIBNBD_STATE_ZERO) != 0};
	}
	return 0;
}

int image_nbd_status(struct image_nbd *n, uint64_t offset, bool *zero, uint64_t *end,
		     struct vms_errmsg *msg)
{
	uint64_t len = n->bytes - offset;
	nbd_extent_callback cb = {.callback = on_extents, .user_data = n};

	*zero = false;
	*end = n->bytes;
	if (!n->can_status)
		return 0;
	while (n->at < n->nranges && n->range[n->at].end <= offset)
		n->at++;
	if (n->at == n->nranges || offset < n->status_from) {
		n->nranges = n->at = 0;
		if (len > STATUS_BYTES)
			len = STATUS_BYTES;
		if (nbd_block_status(n->h, len, offset, cb, 0) < 0)
			return fail(n, "looking at", msg);
		if (!n->nranges || n->range[0].end <= offset)
			return vms_fail(msg, VMS_E_PROTO,
					"%.100s: qemu-nbd does not tell what is allocated",
					n->path);
	}
	*zero = n->range[n->at].zero;
	*end = n->range[n->at].end;
	return 0;
}
