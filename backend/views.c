// SPDX-License-Identifier: GPL-2.0-only
/* Keeps: a view counts when it is in the log, committed or not. Its epoch is one that the
 * catalog had, and who has its VIEW has all that came before it. */
#include "backend/views.h"

#include <string.h>

#include "backend/meta.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/err.h"
#include "utils/lib/bytes.h"

struct reading {
	struct vms_view *v;
	uint32_t nparts;
	bool damaged;
};

void views_decode(const uint8_t *state, uint32_t bytes, struct vms_view *v)
{
	uint32_t n = bytes >= 120 ? vms_get_le32(state + 96) : 0;

	v->n = 0;
	if (n > VMS_COPIES_MAX)
		return;
	v->epoch = vms_get_le64(state + 8);
	for (; v->n < n; v->n++)
		v->member[v->n] = (struct vms_member){vms_get_le32(state + 100 + 4 * v->n), 0};
}

static void take(struct reading *r, uint32_t part, const struct vms_view *v)
{
	if (part < r->nparts && v->n && v->epoch > r->v[part].epoch)
		r->v[part] = *v;
}

static int in_index(void *arg, const uint8_t *k, uint32_t kb, const uint8_t *val, uint32_t vb)
{
	int bytes = vms_meta_check(k, kb, val, vb);
	struct reading *r = arg;
	struct vms_view v;

	if (kb != 3 || bytes < 0) {
		r->damaged = true;
		return 0;
	}
	views_decode(val, (uint32_t)bytes, &v);
	take(r, vms_get_be16(k + 1), &v);
	return 0;
}

static int in_log(void *arg, const struct vms_rec *rec, struct vms_rec_ref ref, uint64_t gen)
{
	struct vms_view v;

	(void)ref;
	(void)gen;
	if (rec->type == VMS_REC_VIEW && vms_rec_view_decode(rec, &v))
		take(arg, rec->partition, &v);
	return 0;
}

int vms_views_read(const struct vms_disk *d, struct vms_view *views, uint32_t nparts)
{
	struct reading r = {.v = views, .nparts = nparts};
	struct vms_wal_conf conf = {0};
	struct vms_wal_tail tail = {0};
	struct vms_errmsg msg;
	struct vms_wal *w = NULL;
	uint8_t v[32];
	int rc;

	memset(views, 0, nparts * sizeof(*views));
	if (d->ops->meta_range(d->ctx, "P", 1, "Q", 1, in_index, &r))
		r.damaged = true;
	rc = vms_meta_get(d, "V", 1, v, sizeof(v));
	if (rc == VMS_E_NOENT && !r.damaged)
		return 0; /* it has joined and never run */
	if (rc != 32)
		return VMS_E_CORRUPT;
	memcpy(conf.cluster_uuid, v + 8, 16);
	conf.node_id = vms_get_le64(v + 24);
	if (vms_meta_get(d, "T", 1, v, sizeof(v)) == 24)
		tail = (struct vms_wal_tail){vms_get_le64(v), vms_get_le64(v + 8),
					     vms_get_le64(v + 16)};
	rc = vms_wal_open(&w, d, &conf, &tail, in_log, &r, &msg);
	if (!rc)
		vms_wal_close(w);
	return !rc && r.damaged ? VMS_E_CORRUPT : rc;
}
