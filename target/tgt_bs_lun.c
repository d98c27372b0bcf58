// SPDX-License-Identifier: GPL-2.0-only
/*
 * LUNs come and go: asked for by tgtadm, or by the cluster's registry. A LUN is made when
 * its volume is open, and goes when its commands have ended. See tgt_bs.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "target/reg_doc.h"
#include "target/tgt_bs.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/size.h"

#define OPEN_WAIT_MS 30000 /* for the cluster, when a LUN is made */

/* ---- tgtadm: new and delete ---- */

/* "size=20G;conf=/etc/...;write_ack=memory", perhaps in quotes. A snapshot has its
 * size, and nothing is written to it. */
static int parse_bsopts(const char *text, struct open_req *o, char *conf, size_t conf_room,
			struct vms_errmsg *msg)
{
	bool snap = strchr(o->name, '@');
	char buf[1024], *p = buf, *opt;
	size_t n;

	o->write_ack = VMS_ACK_DISK;
	if (!text)
		return 0;
	if (strlen(text) >= sizeof(buf))
		return vms_fail(msg, VMS_E_INVAL, "bsopts are longer than %zu bytes",
				sizeof(buf) - 1);
	strcpy(buf, text);
	n = strlen(buf);
	if (n >= 2 && (buf[0] == '"' || buf[0] == '\'') && buf[n - 1] == buf[0]) {
		buf[n - 1] = 0;
		p = buf + 1;
	}
	while ((opt = strsep(&p, ";"))) {
		char *val = strchr(opt, '=');

		if (!opt[0])
			continue;
		if (!val)
			return vms_fail(msg, VMS_E_INVAL,
					"bsopts: '%s' has no value; options are size=BYTES, "
					"conf=FILE, write_ack=disk|memory, joined by ';'",
					opt);
		*val++ = 0;
		if (snap && (!strcmp(opt, "size") || !strcmp(opt, "write_ack")))
			return vms_fail(msg, VMS_E_INVAL,
					"bsopts: %s=%s: %s is a snapshot, which has its size and "
					"takes no writes; leave the option out",
					opt, val, o->name);
		if (!strcmp(opt, "size")) {
			struct vms_errmsg why;
			int rc = vms_size_parse(val, &o->size_bytes, &why);

			if (rc)
				return vms_fail(msg, rc, "bsopts: size=%s: %s", val, why.text);
			if (!o->size_bytes || o->size_bytes % VMS_CHUNK_BYTES ||
			    o->size_bytes > VMS_VOL_BYTES_MAX)
				return vms_fail(msg, VMS_E_INVAL,
						"bsopts: size=%s must be a multiple of 4K between "
						"4K and %" PRIu64 "T",
						val, (uint64_t)(VMS_VOL_BYTES_MAX >> 40));
		} else if (!strcmp(opt, "conf")) {
			if (strlen(val) >= conf_room)
				return vms_fail(msg, VMS_E_INVAL, "bsopts: conf= is too long");
			strcpy(conf, val);
		} else if (!strcmp(opt, "write_ack")) {
			if (!strcmp(val, "memory"))
				o->write_ack = VMS_ACK_MEMORY;
			else if (strcmp(val, "disk"))
				return vms_fail(msg, VMS_E_INVAL,
						"bsopts: write_ack=%s: must be disk or memory",
						val);
		} else {
			return vms_fail(
				msg, VMS_E_INVAL,
				"bsopts: unknown option '%s'; known are size, conf and write_ack",
				opt);
		}
	}
	return 0;
}

/* Begins to make a LUN. NULL: *err is tgtadm's code, msg says why. */
static struct open_req *open_new(int tid, uint64_t lun, const char *path, const char *bsopts,
				 int *err, struct vms_errmsg *msg)
{
	char conf[256] = "", volume[128], snap[104];
	struct open_req *o;
	int rc;

	*err = TGTADM_INVALID_REQUEST;
	if (strchr(path, '@') ? vms_cat_snap_name_split(path, volume, snap, msg)
			      : vms_cat_volume_name_check(path, msg)) {
		return NULL;
	}
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next) {
		if (bl->dev->path && !strcmp(bl->dev->path, path)) {
			vms_fail(msg, VMS_E_INVAL,
				 "volume %s is LUN %" PRIu64
				 " of target %d on this tgtd already; export it once per tgtd",
				 path, bl->dev->lun, bl->dev->tgt->tid);
			*err = TGTADM_LUN_EXIST;
			return NULL;
		}
	}
	for (o = g.opens; o; o = o->next) {
		if (!strcmp(o->name, path) || (o->tid == tid && o->lun == lun)) {
			vms_fail(msg, VMS_E_INVAL,
				 "volume %s or LUN %" PRIu64 " is being set up by another request",
				 path, lun);
			*err = TGTADM_LUN_EXIST;
			return NULL;
		}
	}
	if (g.stopping) {
		vms_fail(msg, VMS_E_INVAL, "tgtd is stopping");
		*err = TGTADM_UNKNOWN_ERR;
		return NULL;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		vms_fail(msg, VMS_E_NOMEM, "out of memory");
		*err = TGTADM_NOMEM;
		return NULL;
	}
	snprintf(o->name, sizeof(o->name), "%s", path);
	rc = parse_bsopts(bsopts, o, conf, sizeof(conf), msg);
	if (!rc)
		rc = bs_gateway_start(conf, msg);
	if (rc) {
		free(o);
		return NULL;
	}
	o->tid = tid;
	o->lun = lun;
	o->since_ms = tgt_turn_now_ms;
	o->next = g.opens;
	g.opens = o;
	g.submitted = true;
	return o;
}

/* Without --bstype a LUN is made of a file of this machine, by tgt. Who meant a volume would
 * be told of an invalid request only. */
static int no_bstype(const struct tgtadm_req *req, const char *path)
{
	struct stat st;

	/* tgt refuses these by itself */
	if (!tgt_targetname(req->tid) || tgt_lu_find(req->tid, req->lun))
		return TGT_MGMT_LOCAL;
	if (!path || !*path || !stat(path, &st) || errno != ENOENT)
		return TGT_MGMT_LOCAL;
	tgt_adm_say("there is no file '%.300s'; a volume of VMStore needs --bstype vmstore", path);
	return TGTADM_INVALID_REQUEST;
}

/* Parameters of a LUN that somebody wants, cut out of params in buf. TGT_MGMT_LOCAL: not
 * ours; TGT_MGMT_PENDING: ours and right; or tgtadm's code. */
static int new_check(const struct tgtadm_req *req, const char *params, char *buf, size_t room,
		     const char **path, const char **bsopts)
{
	const char *blocksize = NULL, *bstype = NULL;
	char *p = buf, *opt;

	*path = *bsopts = NULL;
	snprintf(buf, room, "%s", params);
	while ((opt = strsep(&p, ","))) {
		if (!strncmp(opt, "path=", 5))
			*path = opt + 5;
		else if (!strncmp(opt, "bstype=", 7))
			bstype = opt + 7;
		else if (!strncmp(opt, "bsopts=", 7))
			*bsopts = opt + 7;
		else if (!strncmp(opt, "blocksize=", 10))
			blocksize = opt + 10;
	}
	if (!bstype)
		return no_bstype(req, *path);
	if (strcmp(bstype, bs_vmstore_name))
		return TGT_MGMT_LOCAL;
	if (strlen(params) >= room) {
		tgt_adm_say("the parameters are longer than %zu bytes", room - 1);
		return TGTADM_INVALID_REQUEST;
	}
	if (req->device_type != TYPE_DISK) {
		tgt_adm_say("backing store vmstore serves disks only, not device type %u",
			    req->device_type);
		return TGTADM_INVALID_REQUEST;
	}
	if (!*path || !(*path)[0]) {
		tgt_adm_say("backing store vmstore needs a volume: --backing-store VOLUME");
		return TGTADM_INVALID_REQUEST;
	}
	if (blocksize && strcmp(blocksize, "512")) {
		tgt_adm_say("blocksize=%s: vmstore has logical blocks of 512 bytes only",
			    blocksize);
		return TGTADM_INVALID_REQUEST;
	}
	return TGT_MGMT_PENDING;
}

static int mgmt_new(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params)
{
	char buf[4096];
	const char *path, *bsopts;
	struct vms_errmsg msg = {""};
	struct open_req *o;
	int rc = new_check(req, params, buf, sizeof(buf), &path, &bsopts);

	if (rc != TGT_MGMT_PENDING)
		return rc;
	/* tgt refuses these by itself */
	if (!tgt_targetname(req->tid) || tgt_lu_find(req->tid, req->lun))
		return TGT_MGMT_LOCAL;
	o = open_new(req->tid, req->lun, path, bsopts, &rc, &msg);
	if (!o) {
		tgt_adm_say("%s", msg.text);
		return rc;
	}
	o->mtask = mtask;
	return TGT_MGMT_PENDING;
}

bool bs_is_ours(const struct scsi_lu *dev)
{
	return !strcmp(dev->bst->bs_name, bs_vmstore_name);
}

static bool lu_busy(const struct scsi_lu *dev)
{
	return dev->cmd_queue.active_cmd || !list_empty(&dev->cmd_queue.queue) ||
	       bs_vol_copied(bs_lu_of(dev)->vol);
}

/* Ends what runs, lets nothing new in; the rest when all is settled. */
static struct delete_req *delete_new(struct scsi_lu *dev)
{
	struct delete_req *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	bs_lu_of(dev)->deleting = true;
	for (struct bs_req *r = g.live; r; r = r->live_next)
		if (bs_req_touches(r, dev) && !r->aborted && (r->xcopy || !r->done_queued))
			bs_req_abort(r);
	d->tid = dev->tgt->tid;
	d->lun = dev->lun;
	d->next = g.deletes;
	g.deletes = d;
	g.submitted = true;
	return d;
}

static int mgmt_delete(struct mgmt_task *mtask, const struct tgtadm_req *req)
{
	struct scsi_lu *dev = tgt_lu_find(req->tid, req->lun);
	struct delete_req *d;

	if (!dev || !bs_is_ours(dev) || !lu_busy(dev))
		return TGT_MGMT_LOCAL;
	d = delete_new(dev);
	if (!d)
		return TGTADM_NOMEM;
	d->mtask = mtask;
	return TGT_MGMT_PENDING;
}

/* ---- the cluster's registry ---- */

static void reg_lun_new(int tid, uint64_t lun, const char *volume, const char *options,
			vms_lun_done_fn done, void *arg)
{
	struct vms_errmsg msg = {""};
	struct open_req *o;
	int rc;

	o = open_new(tid, lun, volume, options, &rc, &msg);
	if (!o) {
		done(arg, rc, msg.text);
		return;
	}
	o->done = done;
	o->arg = arg;
}

static void reg_lun_delete(int tid, uint64_t lun, vms_lun_done_fn done, void *arg)
{
	struct scsi_lu *dev = tgt_lu_find(tid, lun);
	struct delete_req *d = dev ? delete_new(dev) : NULL;

	if (!d) {
		done(arg, dev ? TGTADM_NOMEM : 0, "out of memory");
		return;
	}
	d->done = done;
	d->arg = arg;
}

static bool of_inquiry(const char *name)
{
	return !strcmp(name, "vendor_id") || !strcmp(name, "product_id") ||
	       !strcmp(name, "product_rev");
}

static void reg_lun_param(int tid, uint64_t lun, const char *name)
{
	struct scsi_lu *dev = tgt_lu_find(tid, lun);

	if (dev && of_inquiry(name))
		ua_sense_add_other_it_nexus(0, dev, VMS_ASC_INQUIRY_DATA_CHANGED);
}

const struct vms_reg_bs bs_reg = {
	.lun_new = reg_lun_new,
	.lun_delete = reg_lun_delete,
	.lun_param = reg_lun_param,
	.settled = bs_targets_settled,
};

static int registry_hook(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params)
{
	char buf[4096];
	const char *path, *bsopts;

	if (req->mode == MODE_DEVICE && req->op == OP_NEW) {
		int rc = new_check(req, params, buf, sizeof(buf), &path, &bsopts);

		if (rc != TGT_MGMT_PENDING)
			return rc;
	}
	g.submitted = true;
	return vms_registry_mgmt(mtask, req, params);
}

/* Parameters of one of our LUNs on a tgtd that has its own configuration: tgt sets them, but
 * those that would have no effect. */
static int mgmt_update(const struct tgtadm_req *req, const char *params)
{
	struct scsi_lu *dev = tgt_lu_find(req->tid, req->lun);
	struct vms_errmsg msg = {""};
	char buf[4096], *p = buf, *opt;
	bool tell = false;

	if (!dev || !bs_is_ours(dev))
		return TGT_MGMT_LOCAL;
	snprintf(buf, sizeof(buf), "%s", strncmp(params, "targetOps ", 10) ? params : params + 10);
	while ((opt = strsep(&p, ","))) {
		char *eq = strchr(opt, '=');

		if (!opt[0])
			continue;
		if (eq)
			*eq = 0;
		if (vms_reg_lun_param_check(opt, eq ? eq + 1 : "", &msg)) {
			tgt_adm_say("%s", msg.text);
			return TGTADM_INVALID_REQUEST;
		}
		tell |= of_inquiry(opt);
	}
	if (tell)
		ua_sense_add_other_it_nexus(0, dev, VMS_ASC_INQUIRY_DATA_CHANGED);
	return TGT_MGMT_LOCAL;
}

int bs_mgmt(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params)
{
	if (vms_registry_active())
		return registry_hook(mtask, req, params);
	if (req->mode != MODE_DEVICE)
		return TGT_MGMT_LOCAL;
	if (req->op == OP_NEW)
		return mgmt_new(mtask, req, params);
	if (g.lus && req->op == OP_DELETE)
		return mgmt_delete(mtask, req);
	if (g.lus && req->op == OP_UPDATE)
		return mgmt_update(req, params);
	return TGT_MGMT_LOCAL;
}

static int adm_err_of(int err)
{
	switch (err) {
	case VMS_E_NOMEM:
		return TGTADM_NOMEM;
	case VMS_E_BUSY:
	case VMS_E_TIMEOUT:
	case VMS_E_DISCONNECTED:
	case VMS_E_AGAIN:
	case VMS_E_IO:
		return TGTADM_UNKNOWN_ERR;
	default:
		return TGTADM_INVALID_REQUEST;
	}
}

/* The registry's LUN: its volume is open. */
static void open_make(struct open_req *o)
{
	char args[400];

	snprintf(args, sizeof(args), "path=%s,bstype=%s", o->name, bs_vmstore_name);
	o->done(o->arg, tgt_device_create(o->tid, TYPE_DISK, o->lun, args, 1),
		"tgt does not make the LUN");
}

/* Steps of the opens; true when one of them moved. */
void bs_work_opens(void)
{
	struct open_req **at = &g.opens, *o;
	struct vms_errmsg msg = {""};

	while ((o = *at)) {
		if (!o->asked && vms_gwp_is_ready(g.gwp)) {
			o->asked = true;
			o->status = vms_gwp_vol_open(g.gwp, o->name, o->size_bytes, o->write_ack, o,
						     &msg);
			if (o->status) {
				o->ended = true;
				snprintf(o->text, sizeof(o->text), "%s", msg.text);
			}
			g.submitted = true;
		} else if (!o->asked && tgt_turn_now_ms - o->since_ms > OPEN_WAIT_MS) {
			o->ended = true;
			o->status = VMS_E_TIMEOUT;
			snprintf(o->text, sizeof(o->text),
				 "gateway %s has not started within %d s: %s", vms_gwp_name(g.gwp),
				 OPEN_WAIT_MS / 1000, vms_gwp_why(g.gwp));
		}
		if (!o->ended) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		if (o->status && !o->mtask) {
			o->done(o->arg, adm_err_of(o->status), o->text);
		} else if (o->status) {
			tgt_adm_say("%s", o->text);
			mtask_complete(o->mtask, adm_err_of(o->status));
		} else {
			g.opening = o;
			if (o->mtask)
				mtask_execute_now(o->mtask);
			else
				open_make(o);
			g.opening = NULL;
			/* tgt did not make the LU: the volume is not needed */
			if (o->vol)
				vms_gwp_vol_close(g.gwp, o->vol);
			g.submitted = true;
		}
		free(o);
	}
}

void bs_work_deletes(void)
{
	struct delete_req **at = &g.deletes, *d;

	while ((d = *at)) {
		struct scsi_lu *dev = tgt_lu_find(d->tid, d->lun);

		if (dev && lu_busy(dev)) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		if (d->mtask)
			mtask_execute_now(d->mtask);
		else
			d->done(d->arg, dev ? (int)tgt_device_destroy(d->tid, d->lun, 0) : 0,
				"tgt does not delete the LUN");
		free(d);
	}
}
