// SPDX-License-Identifier: GPL-2.0-only
/*
 * A number for a new name when all are given away.
 *
 * Who has a volume open is kept by number, in tables that end at VMS_GATEWAYS_MAX. Machines
 * come and go, and each that has ever run a tool (a command that is its own gateway for a
 * while) keeps numbers. A tool's number is free to take when nothing is registered under it:
 * whoever takes it counts its incarnation on, so what is left of the tool is shut out as a
 * gateway's earlier process is (rules E7). The longest unused one is taken. Numbers of
 * gateways stay theirs: initiators know ports by them.
 */
#include "target/gw_int.h"

#define SCANS 2
static const char *const scanned[SCANS] = {"open/", "snapopen/"};

static void tools_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;
	struct gw_number *nu = &gw->number;
	char text[256];

	if (r->status) {
		gw_start_retry(gw, GP_CLUSTER);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++) {
		struct vms_cat_gateway rec;

		if (vms_cat_gateway_decode(&r->kv[i], &rec, NULL) ||
		    !vms_cat_gateway_is_tool(&rec) || !rec.id || rec.id >= VMS_GATEWAYS_MAX)
			continue;
		if (gw_bit_get(nu->held, rec.id) && !gw_mutant(gw, VMS_GWM_NUMBER_HELD))
			continue;
		if (nu->rev && nu->rev <= r->kv[i].mod_revision)
			continue;
		nu->rev = r->kv[i].mod_revision;
		gw->found_gw = rec;
	}
	if (r->more && r->nkv) {
		gw->cat->ops->range(gw->cat, "gateway/", r->kv[r->nkv - 1].key, tools_got, gw);
		return;
	}
	if (!nu->rev) {
		snprintf(text, sizeof(text),
			 "%s is new, and all %u numbers of gateways and tools are given away: give "
			 "it the name of one that is gone (vmstore gateway ls)",
			 gw->conf.name, VMS_GATEWAYS_MAX - 1);
		gw_fatal(gw, VMS_E_FULL, text);
		return;
	}
	gw_log(gw, VMS_LOG_INFO, "all numbers of gateways are given away: '%s' gets that of '%s'",
	       gw->conf.name, gw->found_gw.name);
	gw->found = true;
	gw->found_rev = nu->rev;
	snprintf(gw->found_gw.name, sizeof(gw->found_gw.name), "%s", gw->conf.name);
	gw->phase = GP_CLAIM;
	gw->cat_busy = false;
	gw_start_run(gw);
}

static void open_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;
	struct gw_number *nu = &gw->number;

	if (r->status) {
		gw_start_retry(gw, GP_CLUSTER);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++) {
		struct vms_cat_open o;
		struct vms_errmsg msg;

		if (vms_cat_open_decode(&r->kv[i], &o, &msg)) { /* whose it is is not known */
			gw_fatal(gw, VMS_E_CORRUPT, msg.text);
			return;
		}
		if (o.gateway < VMS_GATEWAYS_MAX)
			gw_bit_set(nu->held, o.gateway);
	}
	if (r->more && r->nkv)
		gw->cat->ops->range(gw->cat, scanned[nu->scan], r->kv[r->nkv - 1].key, open_got,
				    gw);
	else if (++nu->scan < SCANS)
		gw->cat->ops->range(gw->cat, scanned[nu->scan], NULL, open_got, gw);
	else
		gw->cat->ops->range(gw->cat, "gateway/", NULL, tools_got, gw);
}

void gw_number_find(struct vms_gw *gw)
{
	memset(&gw->number, 0, sizeof(gw->number));
	gw->cat->ops->range(gw->cat, scanned[0], NULL, open_got, gw);
}
