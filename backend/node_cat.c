// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node and the catalog: a new incarnation by compare, the lists of nodes,
 * gateways, volumes, branches and partitions, their watches, loss notices. Changes of
 * the partitions' sets: set.c.
 *
 * Every decision is a compare on a revision; an unknown outcome is resolved by
 * reading again (rules E2, E7, D7). While the catalog is away everything else
 * goes on (E6). Keeps invariants 5, 15.
 */
#include "backend/node_cat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/checkpoint.h"
#include "backend/htab.h"
#include "backend/lease.h"
#include "backend/meta.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_session.h"
#include "backend/plan.h"
#include "backend/set.h"
#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

static const char *const prefixes[NODE_PREFIXES] = {"node/", "gateway/", "volume/", "part/",
						    "loss/", "branch/",	 "cluster"};
#define RETRY_MS(n) ((n)->tm.tick_ms)

static void phase_go(struct vms_node *n);

static void retry_later(struct vms_node *n)
{
	n->cat_busy = false;
	n->retry_ms = n->now_ms + RETRY_MS(n);
	node_wake_at(n, n->retry_ms);
}

static bool reply_ok(struct vms_node *n, const struct vms_cat_reply *r, const char *what)
{
	if (r->status == 0)
		return true;
	node_log(n, VMS_LOG_DEBUG, "catalog: %s: %s", what, vms_err_text(r->status));
	return false;
}

/* ---- handlers of keys, for the first load and for watches ---- */

/* Its record is gone as of that revision: it has left the ring. This process has nothing to
 * do then; a list from before it wrote its own record says nothing. */
static void node_left(struct vms_node *n, uint32_t id, uint64_t revision)
{
	struct peer *pe = node_peer(n, id, false);

	if (pe)
		pe->known = false;
	if (id != n->id || n->phase <= SP_SELF || n->stopping)
		return;
	if (revision < n->self_rev && n->mut != MUT_LEFT_BEFORE)
		return;
	node_log(n, VMS_LOG_WARN,
		 "node %s (id %u) has left the ring and stops; its folder is not needed any more",
		 n->conf.name, id);
	n->stopping = true;
}

static void on_node(struct vms_node *n, const struct vms_cat_kv *kv)
{
	struct vms_cat_node cn;
	struct vms_errmsg e;
	struct peer *pe;

	plan_hint(n);
	if (!kv->val) {
		node_left(n, (uint32_t)strtoul(kv->key + strlen("node/"), NULL, 16),
			  kv->mod_revision);
		return;
	}
	if (vms_cat_node_decode(kv, &cn, &e)) {
		node_log(n, VMS_LOG_ERROR, "%s", e.text);
		return;
	}
	if (!n->id && !strcmp(cn.name, n->conf.name))
		n->id = cn.id;
	if (cn.id == n->id) {
		n->self_listed = true;
		if (kv->mod_revision > n->self_rev)
			n->self_rev = kv->mod_revision;
		if (n->phase > SP_SELF && cn.incarnation > n->incarnation)
			node_fatal(n, VMS_E_INCARNATION,
				   "a newer process runs as node %u (incarnation %llu, this one is "
				   "%llu): stop one of them",
				   cn.id, (unsigned long long)cn.incarnation,
				   (unsigned long long)n->incarnation);
		return;
	}
	pe = node_peer(n, cn.id, true);
	if (!pe)
		return;
	pe->known = pe->listed = true;
	snprintf(pe->address, sizeof(pe->address), "%s", cn.address);
	if (cn.incarnation > pe->cat_incarnation)
		pe->cat_incarnation = cn.incarnation;
}

static void on_gateway(struct vms_node *n, const struct vms_cat_kv *kv)
{
	struct vms_cat_gateway g;
	struct vms_errmsg e;

	if (!kv->val)
		return;
	if (vms_cat_gateway_decode(kv, &g, &e)) {
		node_log(n, VMS_LOG_ERROR, "%s", e.text);
		return;
	}
	floor_gateway_known(n, g.id, g.incarnation);
}

static void on_volume(struct vms_node *n, const struct vms_cat_kv *kv)
{
	struct vms_cat_volume v;
	struct vms_errmsg e;

	if (!kv->val)
		branch_on_volume_gone(n, kv->key + strlen("volume/"));
	else if (vms_cat_volume_decode(kv, &v, &e))
		node_log(n, VMS_LOG_ERROR, "%s", e.text);
	else
		branch_on_volume(n, &v);
}

static void on_branch(struct vms_node *n, const struct vms_cat_kv *kv)
{
	struct vms_cat_branch b;
	struct vms_errmsg e;

	if (!kv->val)
		return; /* its last page is gone: nobody asks for it any more */
	if (vms_cat_branch_decode(kv, &b, &e))
		node_log(n, VMS_LOG_ERROR, "%s", e.text);
	else
		branch_on_record(n, &b);
}

void cat_part(struct vms_node *n, const struct vms_cat_kv *kv)
{
	struct vms_part_conf pc;
	struct vms_errmsg e;
	uint32_t number;

	if (!kv->val)
		return;
	if (vms_cat_part_decode(kv, &number, &pc, &e)) {
		node_log(n, VMS_LOG_ERROR, "%s", e.text);
		return;
	}
	if (number >= n->nparts) {
		node_fatal(n, VMS_E_CONFIG,
			   "the catalog has partition %u, but this node was set up "
			   "for %u partitions",
			   number, n->nparts);
		return;
	}
	if (pc.epoch > n->pconf[number].epoch)
		n->pconf[number] = pc;
	part_conf_update(n, number, &pc, kv->mod_revision);
}

static void on_loss(struct vms_node *n, const struct vms_cat_kv *kv)
{
	uint64_t count = kv->val ? strtoull(kv->val, NULL, 10) : 0;
	struct volume *v = node_volume(n, strtoull(kv->key + strlen("loss/"), NULL, 16), true);

	if (count > v->loss)
		v->loss = count;
}

/* What may change while the cluster runs: copies, min_copies, and how it is cared for. */
static void on_cluster(struct vms_node *n, const struct vms_cat_kv *kv)
{
	struct vms_cat_cluster c;
	struct vms_errmsg e;

	if (!kv->val || strcmp(kv->key, "cluster"))
		return;
	if (vms_cat_cluster_decode(kv, &c, &e)) {
		node_log(n, VMS_LOG_ERROR, "%s", e.text);
		return;
	}
	if (c.part_bits == n->conf.part_bits && !memcmp(c.uuid, n->conf.cluster_uuid, 16))
		n->cluster = c;
}

typedef void (*kv_fn)(struct vms_node *n, const struct vms_cat_kv *kv);
static const kv_fn handlers[NODE_PREFIXES] = {on_node, on_gateway, on_volume, cat_part,
					      on_loss, on_branch,  on_cluster};

const char *cat_prefix(unsigned w)
{
	return prefixes[w];
}

void cat_apply(struct vms_node *n, unsigned w, const struct vms_cat_kv *kv)
{
	handlers[w](n, kv);
}

/* ---- watches ---- */

static void watch_event(struct vms_node *n, unsigned w, const struct vms_cat_reply *r)
{
	if (r->status) {
		/* too old or broken: load again */
		n->cat->ops->unwatch(n->cat, n->watch[w]);
		n->watch[w] = 0;
		n->reload_ms[w] = n->now_ms + RETRY_MS(n);
		node_wake_at(n, n->reload_ms[w]);
		return;
	}
	for (unsigned i = 0; i < r->nkv && !n->poisoned; i++)
		handlers[w](n, &r->kv[i]);
	if (w == 3) {
		for (unsigned i = 0; i < r->nkv; i++)
			lease_part_rev(n, r->kv[i].mod_revision);
		set_step(n);
	}
}
#define WATCH_FN(i)                                                                                \
	static void watch_##i(void *arg, const struct vms_cat_reply *r)                            \
	{                                                                                          \
		watch_event(arg, i, r);                                                            \
	}
WATCH_FN(0)
WATCH_FN(1)
WATCH_FN(2)
WATCH_FN(3)
WATCH_FN(4)
WATCH_FN(5)
WATCH_FN(6)
static const vms_cat_done_fn watch_fns[NODE_PREFIXES] = {watch_0, watch_1, watch_2, watch_3,
							 watch_4, watch_5, watch_6};

/* ---- first load and reload of one prefix, page by page ---- */

static void load_page(struct vms_node *n);

/* A list that is read again does not say what has gone. */
static void nodes_unlisted(struct vms_node *n)
{
	for (unsigned i = 0; i < n->npeers; i++)
		if (!n->peer[i]->listed)
			node_left(n, n->peer[i]->id, n->load_rev);
	if (n->id && !n->self_listed)
		node_left(n, (uint32_t)n->id, n->load_rev);
}

static void load_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	unsigned w = n->cat_prefix_loading;

	if (!reply_ok(n, r, prefixes[w])) {
		n->cat_after[0] = 0;
		retry_later(n);
		return;
	}
	/* each page may be of an older moment than the one before it */
	if (!n->cat_after[0] || r->revision < n->load_rev)
		n->load_rev = r->revision;
	for (unsigned i = 0; i < r->nkv && !n->poisoned; i++)
		handlers[w](n, &r->kv[i]);
	if (r->more && r->nkv) {
		snprintf(n->cat_after, sizeof(n->cat_after), "%s", r->kv[r->nkv - 1].key);
		load_page(n);
		return;
	}
	n->cat_after[0] = 0;
	n->cat_busy = false;
	if (w == 3)
		lease_part_rev(n, n->load_rev);
	n->reload_ms[w] = 0;
	n->loss_loaded |= w == 4;
	if (w == 0)
		nodes_unlisted(n);
	if (!n->watch[w])
		n->watch[w] = n->cat->ops->watch(n->cat, prefixes[w], n->load_rev, watch_fns[w], n);
	if (n->phase == SP_NODES && w == 0)
		n->phase = SP_SELF;
	else if (n->phase == SP_GATEWAYS && w == 1)
		n->phase = SP_VOLUMES;
	else if (n->phase == SP_VOLUMES && w == 2)
		n->phase = SP_BRANCHES;
	else if (n->phase == SP_BRANCHES && w == 5)
		n->phase = SP_PARTS;
	else if (n->phase == SP_PARTS && w == 3) {
		n->phase = SP_RUN;
		n->run_ms = n->now_ms;
		n->freed_ms = n->now_ms; /* not since; members need a moment to be there */
		node_log(n, VMS_LOG_INFO, "node %llu runs, incarnation %llu",
			 (unsigned long long)n->id, (unsigned long long)n->incarnation);
	}
	set_step(n);
	phase_go(n);
}

static void load_page(struct vms_node *n)
{
	n->cat->ops->range(n->cat, prefixes[n->cat_prefix_loading],
			   n->cat_after[0] ? n->cat_after : NULL, load_done, n);
}

static void load(struct vms_node *n, unsigned w)
{
	n->cat_prefix_loading = w;
	n->cat_busy = true;
	for (unsigned i = 0; w == 0 && i < n->npeers; i++)
		n->peer[i]->listed = false;
	n->self_listed = n->self_listed && w != 0;
	n->cat_after[0] = 0;
	load_page(n);
}

void cat_load_parts(struct vms_node *n)
{
	if (!n->cat_busy && n->phase == SP_RUN)
		load(n, 3);
}

/* ---- cluster record and own incarnation ---- */

static void cluster_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct vms_errmsg e;

	if (!reply_ok(n, r, "cluster") || r->nkv == 0) {
		retry_later(n);
		return;
	}
	n->cat_busy = false;
	if (vms_cat_cluster_decode(&r->kv[0], &n->cluster, &e)) {
		node_fatal(n, VMS_E_CORRUPT, "%s", e.text);
		return;
	}
	if (n->cluster.part_bits != n->conf.part_bits ||
	    memcmp(n->cluster.uuid, n->conf.cluster_uuid, 16)) {
		node_fatal(n, VMS_E_CONFIG,
			   "the disk of this node belongs to another cluster (uuid or number of "
			   "partitions differ from the catalog's)");
		return;
	}
	if (n->cluster.timing_factor > 0) {
		n->tm = vms_timing_default(n->cluster.timing_factor);
		if (n->mut != MUT_NO_LEASE_WAIT)
			n->serve_from_ms = n->start_ms + n->tm.lease_ms + n->tm.lease_ms / 50 + 2;
	}
	n->phase = SP_NODES;
	phase_go(n);
}

static void self_set_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;

	if (r->status) {
		/* conflict or unknown: read it again and go above whatever is there */
		n->incarnation = 0;
		retry_later(n);
		return;
	}
	if (r->revision > n->self_rev)
		n->self_rev = r->revision;
	n->cat_busy = false;
	n->phase = SP_GATEWAYS;
	phase_go(n);
}

static void self_get_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct vms_cat_node cn;
	struct vms_errmsg e;
	struct vms_cat_cmp cmp;
	struct vms_cat_op op;
	char key[VMS_CAT_KEY_BYTES_MAX], *val;

	if (!reply_ok(n, r, "own record") || r->nkv == 0) {
		retry_later(n);
		return;
	}
	if (vms_cat_node_decode(&r->kv[0], &cn, &e)) {
		node_fatal(n, VMS_E_CORRUPT, "%s", e.text);
		return;
	}
	/* never below what this disk has served under */
	if (cn.incarnation < n->last_incarnation)
		cn.incarnation = n->last_incarnation;
	cn.incarnation++;
	if (n->conf.address[0])
		snprintf(cn.address, sizeof(cn.address), "%s", n->conf.address);
	n->incarnation = cn.incarnation;
	vms_cat_key_node(key, (uint32_t)n->id);
	val = vms_cat_node_encode(&cn);
	vms_assert(val);
	cmp = (struct vms_cat_cmp){key, r->kv[0].mod_revision};
	op = (struct vms_cat_op){key, val, 0};
	n->cat->ops->txn(n->cat, &cmp, 1, &op, 1, self_set_done, n);
	free(val);
}

static void log_synced(struct vms_node *n, struct dio *d, int status);

struct clean_io {
	struct dio d;
};

static void clean_done(struct vms_node *n, struct dio *d, int status)
{
	free(d);
	if (status == VMS_E_STOPPING)
		return;
	if ((status == VMS_E_NOSPC || status == VMS_E_FULL) && n->mut != MUT_FULL_START) {
		/* nothing happened: the same again, until there is room */
		node_log(n, VMS_LOG_WARN,
			 "no room for the index: this node waits with its start until "
			 "something on its disk has been deleted");
		retry_later(n);
		return;
	}
	if (status) {
		node_fatal(n, status, "cannot write the index at start: %s", vms_err_text(status));
		return;
	}
	n->phase = SP_CLUSTER;
	n->cat_busy = false;
	phase_go(n);
}

/* The clean mark goes before anything can be acknowledged. */
static void log_synced(struct vms_node *n, struct dio *d, int status)
{
	if (status) {
		free(d);
		if (status != VMS_E_STOPPING)
			node_fatal(n, status, "cannot sync the log at start: %s",
				   vms_err_text(status));
		return;
	}
	d->fn = clean_done;
	vms_meta_batch_reset(&n->batch);
	if (ckpt_put_ident(n, &n->batch, false)) {
		free(d);
		node_fatal(n, VMS_E_NOMEM, "out of memory at start");
		return;
	}
	n->disk.ops->meta_commit(n->disk.ctx, &n->batch, dio_token(n, d));
}

static void phase_go(struct vms_node *n)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct clean_io *io;

	if (n->poisoned || n->cat_busy || n->now_ms < n->retry_ms)
		return;
	switch (n->phase) {
	case SP_CLEAN:
		/* What the log was read from must be durable before it counts as such. */
		io = calloc(1, sizeof(*io));
		vms_assert(io);
		io->d.fn = log_synced;
		n->cat_busy = true;
		n->disk.ops->log_sync(n->disk.ctx, dio_token(n, &io->d));
		break;
	case SP_CLUSTER:
		n->cat_busy = true;
		n->cat->ops->get(n->cat, "cluster", cluster_done, n);
		break;
	case SP_NODES:
		load(n, 0);
		break;
	case SP_SELF:
		if (!n->id) {
			/* not joined yet: the watch tells */
			n->retry_ms = n->now_ms + RETRY_MS(n);
			node_wake_at(n, n->retry_ms);
			break;
		}
		n->cat_busy = true;
		vms_cat_key_node(key, (uint32_t)n->id);
		n->cat->ops->get(n->cat, key, self_get_done, n);
		break;
	case SP_GATEWAYS:
		load(n, 1);
		break;
	case SP_VOLUMES:
		load(n, 2);
		break;
	case SP_BRANCHES:
		load(n, 5);
		break;
	case SP_PARTS:
		load(n, 3);
		break;
	case SP_RUN:
		for (unsigned w = 0; w < NODE_PREFIXES; w++)
			if (!n->watch[w] && n->now_ms >= n->reload_ms[w]) {
				load(n, w);
				break;
			}
		break;
	}
}

void cat_start(struct vms_node *n)
{
	n->phase = SP_CLEAN;
	n->cat_busy = false;
	phase_go(n);
}

void cat_timer(struct vms_node *n)
{
	phase_go(n);
}

/* ---- loss of memory-mode writes (rules D7, D8) ---- */

struct loss_job {
	struct vms_node *n;
	struct part *p;
	uint64_t *id, *rev, *count; /* of the volumes to tell */
	unsigned nb, at, written, batch;
	bool part_done;
};
static struct loss_job *loss_job_of(struct vms_node *n);

static void loss_end(struct loss_job *j, bool ok)
{
	struct vms_node *n = j->n;
	struct part *p = j->p;

	n->loss_busy = false;
	for (unsigned i = 0; ok && i < j->nb; i++) {
		struct volume *v = node_volume(n, j->id[i], true);

		if (j->count[i] + 1 > v->loss)
			v->loss = j->count[i] + 1;
	}
	free(j->id);
	free(j->rev);
	free(j->count);
	j->id = NULL;
	if (ok)
		part_loss_done(n, p);
	else
		p->state = PS_WAIT; /* the timer tries the whole view again */
}

static void loss_write(struct loss_job *j);

static void loss_txn_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct loss_job *j = loss_job_of(n);

	if (r->status) {
		node_log(n, VMS_LOG_DEBUG, "loss notice: %s", vms_err_text(r->status));
		loss_end(j, false);
		return;
	}
	j->written += j->batch;
	if (j->part_done)
		loss_end(j, true);
	else
		loss_write(j);
}

/* The notices of all volumes come before the partition's: a crash in between
 * tells a volume twice rather than never. */
static void loss_write(struct loss_job *j)
{
	enum { BATCH = 100 };
	struct vms_node *n = j->n;
	struct vms_part_conf pc = j->p->conf;
	struct vms_cat_cmp cmp[BATCH];
	struct vms_cat_op op[BATCH];
	char(*keys)[VMS_CAT_KEY_BYTES_MAX] = calloc(BATCH, sizeof(*keys));
	char vals[BATCH][24], *pv = NULL;
	unsigned k = 0;

	vms_assert(keys);
	for (; k < BATCH && j->written + k < j->nb; k++) {
		unsigned i = j->written + k;

		vms_cat_key_loss(keys[k], j->id[i]);
		snprintf(vals[k], sizeof(vals[k]), "%llu", (unsigned long long)j->count[i] + 1);
		cmp[k] = (struct vms_cat_cmp){keys[k], j->rev[i]};
		op[k] = (struct vms_cat_op){keys[k], vals[k], 0};
	}
	j->batch = k;
	if (j->written + k == j->nb && k < BATCH) {
		pc.loss_epoch++;
		pv = vms_cat_part_encode(&pc);
		vms_assert(pv);
		vms_cat_key_part(keys[k], j->p->number);
		cmp[k] = (struct vms_cat_cmp){keys[k], j->p->conf_rev};
		op[k] = (struct vms_cat_op){keys[k], pv, 0};
		j->part_done = true;
		k++;
	}
	n->cat->ops->txn(n->cat, cmp, k, op, k, loss_txn_done, n);
	free(pv);
	free(keys);
}

static void loss_get_next(struct loss_job *j);

static void loss_get_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct loss_job *j = loss_job_of(n);

	if (r->status) {
		loss_end(j, false);
		return;
	}
	if (r->nkv) {
		j->rev[j->at] = r->kv[0].mod_revision;
		j->count[j->at] = strtoull(r->kv[0].val, NULL, 10);
	}
	j->at++;
	loss_get_next(j);
}

static void loss_get_next(struct loss_job *j)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (j->at == j->nb) {
		loss_write(j);
		return;
	}
	vms_cat_key_loss(key, j->id[j->at]);
	j->n->cat->ops->get(j->n->cat, key, loss_get_done, j->n);
}

static struct loss_job *loss_job_of(struct vms_node *n)
{
	return (struct loss_job *)n->loss_job;
}

void cat_loss_start(struct vms_node *n, struct part *p)
{
	struct loss_job *j;
	unsigned room = n->volumes.n + 1;

	if (n->loss_busy || n->raise_busy) {
		p->state = PS_WAIT;
		return;
	}
	if (!n->loss_job)
		n->loss_job = calloc(1, sizeof(*j));
	j = n->loss_job;
	vms_assert(j);
	memset(j, 0, sizeof(*j));
	j->n = n;
	j->p = p;
	j->id = calloc(room, 8);
	j->rev = calloc(room, 8);
	j->count = calloc(room, 8);
	vms_assert(j->id && j->rev && j->count);
	for (uint32_t i = 0; i <= n->volumes.mask; i++)
		for (struct vms_hlink *l = n->volumes.bucket[i]; l; l = l->next) {
			struct volume *v = vms_hlink_entry(l, struct volume, link);

			if (v->known && v->write_ack == VMS_ACK_MEMORY)
				j->id[j->nb++] = l->key;
		}
	n->loss_busy = true;
	n->st.losses++;
	loss_get_next(j);
}
