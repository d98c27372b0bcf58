// SPDX-License-Identifier: GPL-2.0-only
/*
 * A gateway without a cluster: target/gateway.h and target/gw_posix.h over RAM, for
 * testing the SCSI layer and the transport with real initiators (program
 * build/tests/tgtd-fake, mk/scsi.mk). Volumes live as long as the process. Opening
 * VOLUME@SNAP makes that snapshot.
 *
 * FAKE_PENDING=N: every Nth op ends in a later turn (default 3; 0: none, 1: all).
 * FAKE_ERROR_LBA=N: reads that touch block N end with VMS_E_BAD_SECTORS.
 * FAKE_STALL=FILE: while it exists no op ends, not even one that is aborted.
 * FAKE_WARNINGS=FILE: as many warnings of space getting short as FILE has bytes.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "target/gw_posix.h"
#include "utils/lib/assert.h"

struct vms_gw_vol {
	struct vms_gw_vol_info info;
	uint8_t *mem;
	uint8_t *mapped; /* one byte a chunk */
	bool open;
	struct vms_pr table;
	uint64_t settled;
	struct vms_gw_vol *next;
};

struct queued {
	struct vms_gw_cmd *cmd;
	bool cancelled;
	unsigned turns; /* left until it ends */
	struct queued *next;
};

/* A command on reservations, or (cmd NULL) RESERVE that has ended. */
struct pr_queued {
	struct vms_gw_pr_cmd *cmd;
	struct vms_gw_vol *vol;
	struct vms_pr_owner owner;
	uint64_t fence; /* waits for that table to be settled; 0: not looked at yet */
	struct pr_queued *next;
};

struct opened {
	struct vms_gw_vol *vol;
	void *arg;
	int status;
	char text[128];
	struct opened *next;
};

struct vms_gw {
	int unused;
};

struct vms_gwp {
	struct vms_gwp_hooks hooks;
	struct vms_gw gw;
	int fd;
	struct vms_net_loop loop;
	bool told;
	struct vms_gw_vol *vols;
	struct queued *queue;
	struct pr_queued *pr;
	struct opened *opened;
	unsigned n, pending_every;
	uint64_t error_lba;
};

static struct vms_gwp fake = {.fd = -1};

static uint64_t env_u64(const char *name, uint64_t def)
{
	const char *t = getenv(name);

	return t ? strtoull(t, NULL, 0) : def;
}

static bool stalled(void)
{
	const char *path = getenv("FAKE_STALL");

	return path && !access(path, F_OK);
}

static void wake(void)
{
	uint64_t one = 1;

	vms_assert(write(fake.fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

int vms_gwp_open(struct vms_gwp **out, const struct vms_settings *settings, const char *portal,
		 const struct vms_gwp_hooks *hooks, struct vms_errmsg *msg)
{
	fake.hooks = *hooks;
	fake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fake.pending_every = (unsigned)env_u64("FAKE_PENDING", 3);
	fake.error_lba = env_u64("FAKE_ERROR_LBA", UINT64_MAX);
	vms_assert(fake.fd >= 0);
	wake();
	*out = &fake;
	return 0;
}

void vms_gwp_close(struct vms_gwp *p)
{
	while (p->vols) {
		struct vms_gw_vol *v = p->vols;

		p->vols = v->next;
		vms_pr_free(&v->table);
		munmap(v->mem, v->info.size_bytes);
		free(v->mapped);
		free(v);
	}
	if (p->loop.watch)
		p->loop.watch(p->loop.ctx, p->fd, 0, 0, false);
	close(p->fd);
}

int vms_gwp_net_fd(const struct vms_gwp *p)
{
	return p->fd;
}

void vms_gwp_net_join(struct vms_gwp *p, const struct vms_net_loop *loop)
{
	p->loop = *loop;
	vms_assert(!loop->watch(loop->ctx, p->fd, 0, EPOLLIN, false));
}

void vms_gwp_net_ready(struct vms_gwp *p, uint64_t key, uint32_t events)
{
	vms_gwp_ready_fd(p, p->fd);
}

int vms_gwp_timer_fd(const struct vms_gwp *p)
{
	static const struct itimerspec often = {{0, 20000000}, {0, 20000000}};
	static int fd = -1;

	if (fd >= 0)
		return fd;
	if (!getenv("FAKE_STALL"))
		return fd = eventfd(0, EFD_CLOEXEC); /* never ready */
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	vms_assert(fd >= 0 && !timerfd_settime(fd, 0, &often, NULL));
	return fd;
}

void vms_gwp_ready_fd(struct vms_gwp *p, int fd)
{
	struct vms_timing t = vms_timing_default(1.0);
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return;
	if (!p->told) {
		p->told = true;
		p->hooks.ready(p->hooks.ctx, &t, 1);
	}
	for (struct opened *o; (o = p->opened);) {
		p->opened = o->next;
		p->hooks.vol_opened(p->hooks.ctx, o->vol, o->arg, o->status, o->text);
		free(o);
	}
}

static int run(struct vms_gw_cmd *c);
static void pr_run(struct vms_gwp *p);

void vms_gwp_turn_begin(struct vms_gwp *p)
{
}

void vms_gwp_turn_end(struct vms_gwp *p)
{
	struct queued **at = &p->queue, *q;

	if (stalled())
		return; /* the timer looks again */
	while ((q = *at)) {
		if (q->turns) {
			q->turns--;
			at = &q->next;
			continue;
		}
		*at = q->next;
		if (q->cancelled)
			q->cmd->status = VMS_E_CANCELLED;
		else
			run(q->cmd);
		p->hooks.complete(p->hooks.ctx, q->cmd);
		free(q);
	}
	pr_run(p);
	if (p->queue || p->pr)
		wake();
}

struct vms_gw *vms_gwp_core(struct vms_gwp *p)
{
	return &p->gw;
}

/* No cluster: nothing to share with other gateways. */
struct vms_catalog *vms_gwp_catalog(struct vms_gwp *p)
{
	(void)p;
	return NULL;
}

bool vms_gwp_is_ready(const struct vms_gwp *p)
{
	return p->told;
}

const char *vms_gwp_why(const struct vms_gwp *p)
{
	return "";
}

const char *vms_gwp_name(const struct vms_gwp *p)
{
	return "fake";
}

static struct vms_gw_vol *vol_find(struct vms_gwp *p, const char *name, size_t len)
{
	struct vms_gw_vol *v = p->vols;

	while (v && (strncmp(v->info.name, name, len) || v->info.name[len]))
		v = v->next;
	return v;
}

int vms_gwp_vol_open(struct vms_gwp *p, const char *name, uint64_t create_bytes, uint8_t write_ack,
		     void *arg, struct vms_errmsg *msg)
{
	struct opened *o = calloc(1, sizeof(*o));
	struct vms_gw_vol *v = vol_find(p, name, strlen(name)), *of = NULL;

	vms_assert(o);
	if (!v && strchr(name, '@')) {
		of = vol_find(p, name, strcspn(name, "@"));
		create_bytes = of ? of->info.size_bytes : 0;
	}
	if (!v && create_bytes) {
		v = calloc(1, sizeof(*v));
		vms_assert(v);
		snprintf(v->info.name, sizeof(v->info.name), "%s", name);
		for (unsigned i = 0; i < 16; i++)
			v->info.uuid[i] = (uint8_t)(name[i % strlen(name)] * 7 + (int)i);
		v->info.size_bytes = create_bytes;
		v->info.write_ack = write_ack;
		v->info.openers = 1;
		v->table.holder = -1;
		v->mem = mmap(NULL, create_bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		vms_assert(v->mem != MAP_FAILED);
		v->mapped = calloc(1, create_bytes / VMS_CHUNK_BYTES);
		vms_assert(v->mapped);
		if (of) {
			v->info.read_only = true;
			memcpy(v->mapped, of->mapped, create_bytes / VMS_CHUNK_BYTES);
			for (uint64_t c = 0; c < create_bytes / VMS_CHUNK_BYTES; c++)
				if (v->mapped[c])
					memcpy(v->mem + c * VMS_CHUNK_BYTES,
					       of->mem + c * VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);
		}
		v->next = p->vols;
		p->vols = v;
	}
	o->arg = arg;
	if (v) {
		o->vol = v;
		v->open = true;
	} else {
		o->status = VMS_E_NOENT;
		snprintf(o->text, sizeof(o->text), "volume %.80s does not exist", name);
	}
	o->next = p->opened;
	p->opened = o;
	wake();
	return 0;
}

void vms_gwp_vol_close(struct vms_gwp *p, struct vms_gw_vol *vol)
{
	vms_assert(vol->open);
	vol->open = false;
}

void vms_gw_vol_info(const struct vms_gw_vol *vol, struct vms_gw_vol_info *out)
{
	*out = vol->info;
}

bool vms_gwp_reaches(const struct vms_gwp *p)
{
	return true;
}

bool vms_gw_current(struct vms_gw *gw)
{
	return true;
}

void vms_gw_space(const struct vms_gw *gw, struct vms_gw_space *out)
{
	const char *path = getenv("FAKE_WARNINGS");
	struct stat st;

	memset(out, 0, sizeof(*out));
	if (path && !stat(path, &st))
		out->warnings = (uint64_t)st.st_size;
}

/* ---- ops ---- */

static void map(struct vms_gw_vol *v, uint64_t lba, uint32_t n, bool mapped)
{
	for (uint64_t b = lba; b < lba + n; b++)
		if (mapped || (b % 8 == 0 && b + 8 <= lba + n))
			v->mapped[b / 8] = mapped;
}

static size_t gather(uint8_t *out, size_t room, const struct vms_gw_cmd *c)
{
	size_t at = 0;

	for (unsigned i = 0; i < c->ndata; i++) {
		vms_assert(at + c->data[i].len <= room);
		memcpy(out + at, c->data[i].base, c->data[i].len);
		at += c->data[i].len;
	}
	vms_assert(at == c->data_bytes);
	return at;
}

static bool differs(struct vms_gw_cmd *c, const uint8_t *mem, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (mem[i] != data[i]) {
			c->miscompare_bytes = (uint32_t)i;
			c->info_lba = c->lba + i / VMS_LB_BYTES;
			return true;
		}
	return false;
}

static int run(struct vms_gw_cmd *c)
{
	struct vms_gw_vol *v = c->vol;
	size_t n = (size_t)c->nblocks * VMS_LB_BYTES, got;
	uint8_t *mem = v->mem + c->lba * VMS_LB_BYTES, *data = NULL;

	vms_assert(v->open && c->lba * VMS_LB_BYTES + n <= v->info.size_bytes);
	c->status = 0;
	if (v->info.read_only && c->op != VMS_GW_READ && c->op != VMS_GW_VERIFY &&
	    c->op != VMS_GW_LBA_STATUS && c->op != VMS_GW_FLUSH && c->op != VMS_GW_PREFETCH)
		return c->status = VMS_E_PERM;
	if (c->ndata) {
		data = malloc(c->data_bytes);
		vms_assert(data);
		got = gather(data, c->data_bytes, c);
		vms_assert(got == (c->op == VMS_GW_CAW		? 2 * n
				   : c->op == VMS_GW_WRITE_SAME ? VMS_LB_BYTES
								: n));
	}
	switch (c->op) {
	case VMS_GW_READ:
		if (fake.error_lba >= c->lba && fake.error_lba < c->lba + c->nblocks) {
			c->status = VMS_E_BAD_SECTORS;
			c->info_lba = fake.error_lba;
			break;
		}
		if (c->dest) {
			memcpy(c->dest, mem, n);
			break;
		}
		/* pieces of chunks, each a copy that dies when it is unpinned */
		c->riov = calloc(n / VMS_CHUNK_BYTES + 2, sizeof(*c->riov));
		vms_assert(c->riov);
		c->nriov = 0;
		for (size_t at = 0; at < n;) {
			size_t step = VMS_CHUNK_BYTES -
				      (c->lba * VMS_LB_BYTES + at) % VMS_CHUNK_BYTES;
			uint8_t *copy;

			if (step > n - at)
				step = n - at;
			copy = malloc(step);
			vms_assert(copy);
			memcpy(copy, mem + at, step);
			c->riov[c->nriov].base = copy;
			c->riov[c->nriov++].len = step;
			at += step;
		}
		break;
	case VMS_GW_WRITE:
		memcpy(mem, data, n);
		map(v, c->lba, c->nblocks, true);
		break;
	case VMS_GW_ZERO:
		memset(mem, 0, n);
		map(v, c->lba, c->nblocks, false);
		break;
	case VMS_GW_WRITE_SAME:
		for (uint32_t i = 0; i < c->nblocks; i++)
			memcpy(mem + (size_t)i * VMS_LB_BYTES, data, VMS_LB_BYTES);
		map(v, c->lba, c->nblocks, true);
		break;
	case VMS_GW_CAW:
		if (differs(c, mem, data, n)) {
			c->status = VMS_E_MISCOMPARE;
			break;
		}
		memcpy(mem, data + n, n);
		map(v, c->lba, c->nblocks, true);
		break;
	case VMS_GW_ORWRITE:
		for (size_t i = 0; i < n; i++)
			mem[i] |= data[i];
		map(v, c->lba, c->nblocks, true);
		break;
	case VMS_GW_VERIFY:
		if (data && differs(c, mem, data, n))
			c->status = VMS_E_MISCOMPARE;
		break;
	case VMS_GW_LBA_STATUS: {
		unsigned used = 0;

		for (uint64_t b = c->lba; b < c->lba + c->nblocks;) {
			bool m = v->mapped[b / 8];
			uint64_t end = b;

			while (end < c->lba + c->nblocks && v->mapped[end / 8] == m)
				end = end / 8 * 8 + 8;
			if (end > c->lba + c->nblocks)
				end = c->lba + c->nblocks;
			if (used == c->nranges)
				break;
			c->ranges[used++] = (struct vms_gw_lba_range){b, (uint32_t)(end - b), m};
			b = end;
		}
		c->nranges = used;
		break;
	}
	case VMS_GW_MAP:
		for (uint32_t i = 0; i < c->nblocks / 8; i++)
			c->addrs[i] = v->mapped[c->lba / 8 + i] ? VMS_ADDR_ASK : VMS_ADDR_HOLE;
		break;
	case VMS_GW_COPY:
	case VMS_GW_REF:
		c->status = VMS_E_UNSUPPORTED;
		break;
	case VMS_GW_FLUSH:
	case VMS_GW_PREFETCH:
		break;
	}
	free(data);
	return c->status;
}

bool vms_gw_addr_fixed(const struct vms_gw *gw, vms_addr a)
{
	return false;
}

int vms_gw_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct queued *q, **at;

	if (!stalled() && (!fake.pending_every || ++fake.n % fake.pending_every)) {
		run(cmd);
		return VMS_GW_DONE;
	}
	q = calloc(1, sizeof(*q));
	vms_assert(q);
	q->cmd = cmd;
	q->turns = fake.n % 5;
	for (at = &fake.queue; *at; at = &(*at)->next)
		;
	*at = q;
	wake();
	return VMS_GW_PENDING;
}

void vms_gw_unpin(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	if (cmd->dest || !cmd->riov)
		return;
	for (unsigned i = 0; i < cmd->nriov; i++)
		free((void *)(uintptr_t)cmd->riov[i].base);
	free(cmd->riov);
	cmd->riov = NULL;
}

void vms_gw_abort(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct queued *q;

	for (q = fake.queue; q && q->cmd != cmd; q = q->next)
		;
	vms_assert(q);
	q->cancelled = true;
}

/* ---- reservations: the pure table, one change a turn ---- */

int vms_gw_refusal(struct vms_gw *gw)
{
	(void)gw;
	return VMS_E_RESERVED;
}

uint64_t vms_gw_incarnation(const struct vms_gw *gw)
{
	return 1;
}

const struct vms_pr *vms_gw_vol_pr(const struct vms_gw_vol *vol)
{
	return &vol->table;
}

static void pr_add(struct vms_gw_pr_cmd *cmd, struct vms_gw_vol *vol, struct vms_pr_owner owner)
{
	struct pr_queued *q = calloc(1, sizeof(*q)), **at = &fake.pr;

	vms_assert(q);
	q->cmd = cmd;
	q->vol = vol;
	q->owner = owner;
	while (*at)
		at = &(*at)->next;
	*at = q;
	wake();
}

void vms_gw_pr_submit(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	cmd->in = NULL;
	cmd->in_bytes = 0;
	pr_add(cmd, cmd->vol, (struct vms_pr_owner){0});
}

/* The other gateways are none. */
void vms_gw_pr_reset(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	static const uint8_t read_keys[10] = {0x5e};

	cmd->req.cdb = read_keys;
	vms_gw_pr_submit(gw, cmd);
}

void vms_gw_pr_clear_tasks(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	vms_gw_pr_reset(gw, cmd);
}

void vms_gw_pr_abort(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
}

void vms_gw_pr_forget(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	for (struct pr_queued *q = fake.pr; q; q = q->next)
		if (q->cmd == cmd)
			q->cmd = NULL;
}

void vms_gw_pr_session_end(struct vms_gw *gw, struct vms_gw_vol *vol, uint64_t session)
{
	if (!session)
		pr_add(NULL, vol, vol->table.reserve);
	else
		pr_add(NULL, vol, (struct vms_pr_owner){1, 1, session});
}

void vms_gw_pr_doubt(struct vms_gw *gw, struct vms_gw_vol *vol)
{
}

void vms_gw_pr_settled(struct vms_gw *gw, struct vms_gw_vol *vol, uint64_t fence)
{
	vol->settled = fence;
	wake();
}

/* One step of the first that waits. True: it has ended. */
static bool pr_one(struct vms_gwp *p, struct pr_queued *q)
{
	struct vms_gw_vol *v = q->vol;
	struct vms_gw_pr_cmd *cmd = q->cmd;
	struct vms_pr next;
	int rc;

	if (q->fence)
		return v->settled >= q->fence;
	if (cmd && cmd->req.cdb[0] == 0x5e) {
		cmd->in = malloc(VMS_PR_IN_BYTES_MAX);
		vms_assert(cmd->in);
		rc = vms_pr_in(&v->table, cmd->req.cdb, cmd->in, &cmd->sense);
		cmd->in_bytes = rc < 0 ? 0 : (uint32_t)rc;
		return true;
	}
	rc = cmd ? vms_pr_step(&v->table, &cmd->req, &next, &cmd->sense)
		 : vms_pr_reserve_end(&v->table, &q->owner, &next);
	if (rc <= 0)
		return true;
	next.fence = v->table.fence + 1;
	vms_pr_free(&v->table);
	v->table = next;
	q->fence = next.fence;
	if (p->hooks.pr_changed(p->hooks.ctx, v, &v->table))
		v->settled = q->fence;
	return v->settled >= q->fence;
}

static void pr_run(struct vms_gwp *p)
{
	struct pr_queued *q = p->pr;

	if (!q || !pr_one(p, q))
		return;
	p->pr = q->next;
	if (q->cmd)
		p->hooks.pr_complete(p->hooks.ctx, q->cmd);
	free(q);
}
