// SPDX-License-Identifier: GPL-2.0-only
#include "cluster/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

json_t *vms_admin_json(const struct vms_msg *m)
{
	json_error_t je;

	if (m->npayload != 1)
		return NULL;
	return json_loadb(m->payload[0].base, m->payload[0].len,
			  JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
}

int vms_admin_send_json(const struct vms_admin *a, uint64_t conn, const struct vms_msg *req,
			uint8_t type, uint64_t req_id, int status, json_t *j)
{
	struct vms_msg m = {.type = type, .req_id = req_id, .partition = VMS_PART_NONE};
	struct vms_iov iov = {NULL, 0};
	char *text;
	int rc;

	if (req)
		vms_msg_reply_init(&m, req, status);
	text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
	vms_assert(text);
	iov.base = text;
	iov.len = strlen(text);
	if (iov.len > VMS_FRAME_PAYLOAD_BYTES_MAX && !req) {
		free(text);
		return VMS_E_FULL;
	}
	if (iov.len > VMS_FRAME_PAYLOAD_BYTES_MAX) {
		static const char large[] = "{\"error\":\"the answer is larger than 4 MiB\"}";

		m.status = VMS_E_FULL;
		iov = (struct vms_iov){large, sizeof(large) - 1};
	}
	m.payload = &iov;
	m.npayload = 1;
	m.payload_bytes = iov.len;
	m.flags |= VMS_F_PAYLOAD_CRC;
	rc = a->send(a->ctx, conn, &m);
	free(text);
	return rc;
}

static void do_hello(const struct vms_admin *a, uint64_t conn, const struct vms_msg *m)
{
	struct vms_hello h, mine = {.role = a->role,
				    .version_min = VMS_WIRE_VERSION,
				    .version_max = VMS_WIRE_VERSION};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg re;
	int status = vms_hello_decode(m, &h);

	if (!status && (h.version_min > VMS_WIRE_VERSION || h.version_max < VMS_WIRE_VERSION))
		status = VMS_E_VERSION;
	memcpy(mine.cluster_uuid, a->cluster_uuid, 16);
	snprintf(mine.name, sizeof(mine.name), "%s", a->name);
	vms_msg_reply_init(&re, m, status);
	re.body = body;
	re.body_bytes = vms_hello_encode(body, &mine);
	(void)a->send(a->ctx, conn, &re);
}

static void do_call(const struct vms_admin *a, uint64_t conn, const struct vms_msg *m)
{
	json_t *req = vms_admin_json(m), *answer = NULL;
	const char *call = json_string_value(json_object_get(req, "call"));
	struct vms_errmsg msg = {""};
	int status;

	if (!call)
		status = vms_fail(&msg, VMS_E_INVAL, "an ADMIN request is {\"call\": NAME, ...}");
	else
		status = a->call(a->ctx, conn, call, req, &answer, &msg);
	if (status && !answer)
		answer = json_pack("{ss}", "error", msg.text[0] ? msg.text : vms_err_text(status));
	if (!answer)
		answer = json_object();
	(void)vms_admin_send_json(a, conn, m, 0, 0, status, answer);
	json_decref(answer);
	json_decref(req);
}

bool vms_admin_msg(const struct vms_admin *a, uint64_t conn, const struct vms_msg *m, bool hello)
{
	json_t *j;

	if (m->flags & VMS_F_REPLY)
		return false;
	switch (m->type) {
	case VMS_MSG_HELLO:
		if (!hello)
			return false;
		do_hello(a, conn, m);
		return true;
	case VMS_MSG_STATS:
		j = a->stats(a->ctx);
		(void)vms_admin_send_json(a, conn, m, 0, 0, 0, j);
		json_decref(j);
		return true;
	case VMS_MSG_ADMIN:
		do_call(a, conn, m);
		return true;
	default:
		return false;
	}
}
