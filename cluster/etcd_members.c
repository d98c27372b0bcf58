// SPDX-License-Identifier: GPL-2.0-only
#include "cluster/etcd_members.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster/catalog_etcd_wire.h"
#include "utils/lib/assert.h"

void vms_etcd_members_ask(struct vms_etcd_members *m, unsigned n, const struct vms_etcd_sink *sink)
{
	vms_assert(n && n <= VMS_ETCD_ENDPOINTS_MAX);
	memset(m, 0, sizeof(*m));
	m->n = n;
	for (unsigned i = 0; i < n; i++) {
		struct vms_etcd_call c = {.id = i + 1,
					  .endpoint = i,
					  .path = "/v3/maintenance/status",
					  .body = "{}",
					  .timeout_ms = VMS_ETCD_MEMBERS_MS};

		sink->start(sink->ctx, &c);
	}
}

static void alarm_add(struct vms_etcd_members *m, uint64_t id, enum vms_etcd_alarm_kind kind)
{
	for (unsigned i = 0; i < m->nalarms; i++)
		if (m->alarm[i].id == id && m->alarm[i].kind == kind)
			return; /* every member tells of all alarms */
	if (m->nalarms == VMS_ETCD_ALARMS_MAX)
		return;
	m->alarm[m->nalarms].id = id;
	m->alarm[m->nalarms++].kind = kind;
}

/* "memberID:123 alarm:NOSPACE " */
static void alarm_read(struct vms_etcd_members *m, const char *text)
{
	uint64_t id;

	if (sscanf(text, "memberID:%" SCNu64, &id) != 1 || !strstr(text, "alarm:"))
		return;
	alarm_add(m, id,
		  strstr(text, "alarm:NOSPACE")	  ? VMS_ETCD_NOSPACE
		  : strstr(text, "alarm:CORRUPT") ? VMS_ETCD_CORRUPT
						  : VMS_ETCD_ALARM);
}

static void status_read(struct vms_etcd_members *m, struct vms_etcd_member *x, const json_t *root)
{
	const json_t *head = json_object_get(root, "header"),
		     *errors = json_object_get(root, "errors");
	const char *version = json_string_value(json_object_get(root, "version"));

	x->id = vms_etcd_u64(head, "member_id");
	x->revision = vms_etcd_u64(head, "revision");
	x->up = x->id != 0;
	x->leader = x->up && vms_etcd_u64(root, "leader");
	snprintf(x->version, sizeof(x->version), "%s", version ? version : "");
	if (!x->up)
		snprintf(x->why, sizeof(x->why), "what answers is no etcd");
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const char *e = json_string_value(json_array_get(errors, i));

		if (e)
			alarm_read(m, e);
	}
}

bool vms_etcd_members_event(struct vms_etcd_members *m, const struct vms_etcd_event *ev)
{
	struct vms_etcd_member *x;
	bool all = true;

	if (ev->id && ev->id <= m->n && ev->end && !m->m[ev->id - 1].told) {
		json_t *root = json_loadb(ev->data ? ev->data : "", ev->bytes, 0, NULL);
		const char *text;
		int status;

		x = &m->m[ev->id - 1];
		x->told = true;
		switch (vms_etcd_error(root, ev->http_status, &status, &text)) {
		case VMS_ETCD_OK:
			status_read(m, x, root);
			break;
		case VMS_ETCD_AUTH:
		case VMS_ETCD_REFUSED: /* it runs; it would rather know who asks */
			x->up = x->leader = true;
			break;
		default:
			snprintf(x->why, sizeof(x->why), "%s", ev->http_status ? text : ev->why);
		}
		json_decref(root);
	}
	for (unsigned i = 0; i < m->n; i++)
		all &= m->m[i].told;
	return all;
}

int vms_etcd_members_spare(const struct vms_etcd_members *m)
{
	unsigned well = 0, need = m->n / 2 + 1;

	for (unsigned i = 0; i < m->n; i++)
		well += m->m[i].up && m->m[i].leader;
	return well < need ? -1 : (int)(well - need);
}

unsigned vms_etcd_members_find(const struct vms_etcd_members *m, uint64_t id)
{
	unsigned i = 0;

	while (i < m->n && (!id || m->m[i].id != id))
		i++;
	return i;
}
