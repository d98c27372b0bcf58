// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench: one libiscsi session, logged in synchronously.
 */
#include "utils/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

struct scsi_task *vms_bench_task_rw(bool write, uint64_t lba, uint32_t blocks, uint32_t block_bytes,
				    bool fua)
{
	uint32_t len_bytes = blocks * block_bytes;

	if (lba + blocks <= UINT32_MAX && blocks <= UINT16_MAX) {
		if (write)
			return scsi_cdb_write10((uint32_t)lba, len_bytes, (int)block_bytes, 0, 0,
						fua, 0, 0);
		return scsi_cdb_read10((uint32_t)lba, len_bytes, (int)block_bytes, 0, 0, fua, 0, 0);
	}
	if (write)
		return scsi_cdb_write16(lba, len_bytes, (int)block_bytes, 0, 0, fua, 0, 0);
	return scsi_cdb_read16(lba, len_bytes, (int)block_bytes, 0, 0, fua, 0, 0);
}

static int read_capacity(struct vms_bench_sess *s)
{
	struct scsi_task *t = iscsi_readcapacity16_sync(s->ctx, s->lun);
	struct scsi_readcapacity16 *rc = NULL;
	int ret = -1;

	if (t && t->status == SCSI_STATUS_GOOD)
		rc = scsi_datain_unmarshall(t);
	if (rc && rc->block_length) {
		s->size_bytes = (rc->returned_lba + 1) * rc->block_length;
		s->block_bytes = rc->block_length;
		ret = 0;
	} else {
		vms_bench_err("%s: READ CAPACITY(16) failed: %s", s->url, iscsi_get_error(s->ctx));
	}
	if (t)
		scsi_free_scsi_task(t);
	return ret;
}

int vms_bench_sess_open(struct vms_bench_sess *s, const char *url, const char *tag)
{
	char name[128];
	struct iscsi_url *u = NULL;

	memset(s, 0, sizeof(*s));
	snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:bench-%d-%s", (int)getpid(), tag);
	s->url = strdup(url);
	s->ctx = iscsi_create_context(name);
	if (!s->url || !s->ctx) {
		vms_bench_err("out of memory");
		goto fail;
	}
	iscsi_set_noautoreconnect(s->ctx, 1);
	u = iscsi_parse_full_url(s->ctx, url);
	if (!u) {
		vms_bench_err("%s: not an iSCSI URL: want iscsi://host:port/target/lun (%s)", url,
			      iscsi_get_error(s->ctx));
		goto fail;
	}
	s->lun = u->lun;
	iscsi_set_targetname(s->ctx, u->target);
	iscsi_set_session_type(s->ctx, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(s->ctx, ISCSI_HEADER_DIGEST_NONE);
	if (u->user[0])
		iscsi_set_initiator_username_pwd(s->ctx, u->user, u->passwd);
	iscsi_set_timeout(s->ctx, 15);
	if (iscsi_full_connect_sync(s->ctx, u->portal, u->lun)) {
		vms_bench_err("%s: login failed: %s", url, iscsi_get_error(s->ctx));
		goto fail;
	}
	if (read_capacity(s))
		goto fail;
	iscsi_set_timeout(s->ctx, 0);
	iscsi_destroy_url(u);
	return 0;
fail:
	if (u)
		iscsi_destroy_url(u);
	if (s->ctx)
		iscsi_destroy_context(s->ctx);
	free(s->url);
	memset(s, 0, sizeof(*s));
	return -1;
}

void vms_bench_sess_close(struct vms_bench_sess *s)
{
	if (s->ctx) {
		if (!s->broken) {
			iscsi_set_timeout(s->ctx, 2);
			iscsi_logout_sync(s->ctx);
		}
		iscsi_destroy_context(s->ctx);
	}
	free(s->url);
	memset(s, 0, sizeof(*s));
}
