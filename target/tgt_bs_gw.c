// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one gateway of the process: how it is started with the first LUN, or with the
 * configuration, and what it tells. Initiators are let in only when it is ready, and dropped
 * when it says so.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "target/tgt_bs.h"
#include "target/tgt_chap.h"
#include "target/tgt_portals.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

/* ---- what the gateway tells ---- */

static void on_complete(void *ctx, struct vms_gw_cmd *gc)
{
	struct bs_req *r = gc->cookie;

	if (r->xcopy) {
		vms_xcopy_run_ended(r->xcopy, gc);
		return;
	}
	vms_assert(r->pending);
	gc->cookie = NULL;
	bs_req_note(r, gc);
	if (--r->pending == 0)
		bs_queue_done(r);
}

static void on_drop_initiators(void *ctx, const char *why)
{
	vms_warn("closing all connections of initiators: %s", why);
	tgt_close_initiators(why);
}

static void on_vol_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status,
			  const char *text)
{
	struct open_req *o = arg;

	o->ended = true;
	o->status = status;
	o->vol = status ? NULL : vol;
	snprintf(o->text, sizeof(o->text), "%s", text && text[0] ? text : vms_err_text(status));
}

static void on_vol_changed(void *ctx, struct vms_gw_vol *vol)
{
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next)
		if (bl->vol == vol)
			bl->changed = g.changed = true;
}

static void on_ready(void *ctx, const struct vms_timing *t, uint32_t id)
{
	if (id)
		g.gateway_id = id;
	tgt_set_timing((int)(t->t_nop_ms / 3), (int)t->t_nop_ms, (int)(t->t_nop_ms * 20 / 3));
	tgt_set_portal_group((int)g.gateway_id);
	tgt_set_limits((int)g.settings.gateway.connections,
		       (int)g.settings.gateway.connections_per_address);
	tgt_chap_allow(g.settings.gateway.weak_chap ? ~0u : 1u << 7 | 1u << 8);
	g.ready = true;
}

/* The cluster's targets are all here. */
void bs_targets_settled(void)
{
	g.settled = true;
}

void bs_work_logins(void)
{
	bool admit = g.ready && (!vms_registry_active() || g.settled) && tgt_portals_loaded() &&
		     vms_gwp_reaches(g.gwp);

	if (admit == g.admitting)
		return;
	g.admitting = admit;
	tgt_accept_logins(admit);
}

static void on_fatal(void *ctx, int err, const char *text)
{
	vms_error("this gateway must stop: %s (%s)", text, vms_err_text(err));
	exit(1);
}

static json_t *on_stats(void *ctx)
{
	unsigned nlus = 0, nnexus = 0;
	json_t *j, *reg = vms_registry_json(), *portals = tgt_portals_json();

	for (struct bs_lu *bl = g.lus; bl; bl = bl->next)
		nlus++;
	for (struct bs_nexus *n = g.nexuses; n; n = n->next)
		nnexus++;
	j = json_pack("{sI sI sI sI sI sI sI sI sI sI sI}", "scsi.copies", (json_int_t)g.n.copies,
		      "scsi.commands", (json_int_t)g.n.commands, "scsi.reads",
		      (json_int_t)g.n.reads, "scsi.reads_cached", (json_int_t)g.n.reads_cached,
		      "scsi.writes", (json_int_t)g.n.writes, "scsi.aborts", (json_int_t)g.n.aborts,
		      "scsi.task_set_full", (json_int_t)g.n.task_set_full, "scsi.sense_errors",
		      (json_int_t)g.n.sense_errors, "scsi.pending", (json_int_t)g.npending,
		      "scsi.luns", (json_int_t)nlus, "scsi.sessions", (json_int_t)nnexus);
	json_object_update(j, reg);
	json_decref(reg);
	json_object_update(j, portals);
	json_decref(portals);
	return j;
}

/* ---- start of the gateway ---- */

static void fd_ready(int fd, int events, void *data)
{
	vms_gwp_ready_fd(g.gwp, fd);
}

static void net_ready(int fd, int events, void *data)
{
	vms_gwp_net_ready(g.gwp, (uintptr_t)data, (uint32_t)events);
}

/* What goes is not handled any more in this turn either: tgt_event_del() sees to that. */
static int net_watch(void *ctx, int fd, uint64_t key, uint32_t events, bool again)
{
	if (!events)
		tgt_event_del(fd);
	else if (again)
		return tgt_event_modify(fd, (int)events);
	else
		return tgt_event_add_first(fd, (int)events, net_ready, (void *)(uintptr_t)key);
	return 0;
}

/* The address initiators use, told to the cluster: tgtd's first portal. */
static void portal_text(char *out, size_t room)
{
	struct iscsi_portal *p;

	out[0] = 0;
	list_for_each_entry(p, &iscsi_portals_list, iscsi_portal_siblings)
	{
		snprintf(out, room, p->af == AF_INET6 ? "[%s]:%d" : "%s:%d", p->addr, p->port);
		break;
	}
}

int bs_gateway_start(const char *conf, struct vms_errmsg *msg)
{
	static const struct vms_gwp_hooks hooks = {
		.complete = on_complete,
		.pr_complete = bs_pr_complete,
		.pr_changed = bs_pr_changed,
		.drop_initiators = on_drop_initiators,
		.vol_opened = on_vol_opened,
		.vol_changed = on_vol_changed,
		.ready = on_ready,
		.fatal = on_fatal,
		.stats = on_stats,
	};
	const char *path = conf && conf[0] ? conf : getenv("VMSTORE_CONF");
	char portal[128];
	int rc;

	if (!path || !path[0])
		path = VMS_SETTINGS_PATH;
	if (g.gwp) {
		if (conf && conf[0] && strcmp(path, g.conf_path))
			return vms_fail(
				msg, VMS_E_CONFIG,
				"this tgtd already works with the configuration %s; one tgtd is "
				"one gateway, so conf= must be the same for all its LUNs",
				g.conf_path);
		return 0;
	}
	rc = vms_settings_load(&g.settings, path, msg);
	if (!rc) {
		vms_log_set_level((enum vms_log_level)g.settings.cluster.log_level);
		portal_text(portal, sizeof(portal));
		rc = vms_gwp_open(&g.gwp, &g.settings, portal, &hooks, msg);
	}
	if (!rc && vms_gwp_catalog(g.gwp) &&
	    !tgt_portals_open(vms_gwp_catalog(g.gwp), &g.settings)) {
		vms_gwp_close(g.gwp);
		rc = vms_fail(msg, VMS_E_NOMEM, "out of memory");
	}
	if (rc) {
		g.gwp = NULL;
		vms_settings_close(&g.settings);
		return rc;
	}
	snprintf(g.conf_path, sizeof(g.conf_path), "%s", path);
	if (vms_gwp_catalog(g.gwp))
		g.gateways = vms_gateways_open(vms_gwp_catalog(g.gwp), (uint64_t)tgt_turn_now_ms);
	/* rules E7: nobody comes in before every reachable node knows this process */
	tgt_accept_logins(0);
	g.admitting = false;
	for (struct bs_nexus *n = g.nexuses; n; n = n->next)
		tgt_portals_nexus(n->itn, true);
	vms_gwp_net_join(g.gwp, &(struct vms_net_loop){NULL, net_watch});
	if (tgt_event_add_first(vms_gwp_timer_fd(g.gwp), EPOLLIN, fd_ready, NULL))
		vms_assert(!"the loop watches the gateway");
	return 0;
}
