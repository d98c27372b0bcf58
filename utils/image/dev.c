// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/net.h"
#include "target/gw_posix.h"
#include "utils/image/name.h"
#include "utils/lib/assert.h"

#define READY_MS    20000u /* until the gateway has started */
#define CLOSE_MS    3000u  /* until registrations are withdrawn */
#define RETRY_MS    100u
#define CACHE_BYTES (16ull << 20)

enum vol_state { VOL_OPENING, VOL_OPEN, VOL_FAILED, VOL_CLOSING, VOL_WITHDRAWN, VOL_CLOSED };

struct image_vol {
	struct image_dev *d;
	struct image_vol *next;
	char name[256];
	struct vms_gw_vol *vol; /* gateway thread's */
	/* under the lock */
	enum vol_state state;
	bool asked; /* the gateway thread works on it */
	int status;
	struct vms_errmsg why;
	struct vms_gw_vol_info info;
};

struct image_dev {
	struct vms_settings set;
	char name[64];
	int lock_fd, wake_fd;
	pthread_t thread;
	bool running;

	/* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t cond; /* something has ended or changed */
	struct image_io *in, **in_tail;
	struct image_io *out, **out_tail; /* done, to be reaped */
	struct image_vol *vols;
	bool stop, ready, dead;
	int dead_status;
	struct vms_errmsg dead_why, wait_why;

	/* the gateway thread's alone */
	struct vms_gwp *gwp;
	struct image_io *retry, *ended, *running_io; /* running_io: in the core */
	bool fatal;
};

/* ---- the gateway thread: hooks only queue ---- */

static void unlist(struct image_io **at, struct image_io *io)
{
	for (; *at != io; at = &(*at)->next)
		;
	*at = io->next;
}

static void hook_complete(void *ctx, struct vms_gw_cmd *cmd)
{
	struct image_dev *d = ctx;
	struct image_io *io = cmd->cookie;

	unlist(&d->running_io, io);
	io->next = d->ended;
	d->ended = io;
}

static void hook_drop(void *ctx, const char *why)
{
	/* There are no initiators; what is under way ends by itself. */
}

static void hook_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status, const char *text)
{
	struct image_dev *d = ctx;
	struct image_vol *v = arg;

	pthread_mutex_lock(&d->lock);
	v->status = status;
	v->vol = status ? NULL : vol;
	v->state = status ? VOL_FAILED : VOL_OPEN;
	if (status)
		snprintf(v->why.text, sizeof(v->why.text), "%s", text ? text : "");
	else
		vms_gw_vol_info(vol, &v->info);
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
}

static void hook_changed(void *ctx, struct vms_gw_vol *vol)
{
}

static void hook_ready(void *ctx, const struct vms_timing *timing, uint32_t gateway_id)
{
	struct image_dev *d = ctx;

	pthread_mutex_lock(&d->lock);
	d->ready = true;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
}

static void hook_fatal(void *ctx, int err, const char *text)
{
	struct image_dev *d = ctx;

	d->fatal = true;
	d->dead_status = err;
	snprintf(d->dead_why.text, sizeof(d->dead_why.text), "%s", text);
}

/* ---- requests ---- */

static void start_io(struct image_dev *d, struct image_io *io)
{
	static const enum vms_gw_op ops[] = {
		[IMAGE_READ] = VMS_GW_READ,	   [IMAGE_WRITE] = VMS_GW_WRITE,
		[IMAGE_ZERO] = VMS_GW_ZERO,	   [IMAGE_FLUSH] = VMS_GW_FLUSH,
		[IMAGE_REF] = VMS_GW_REF,	   [IMAGE_MAP] = VMS_GW_MAP,
		[IMAGE_STATUS] = VMS_GW_LBA_STATUS};
	struct vms_gw_cmd *c = &io->cmd;

	memset(c, 0, sizeof(*c));
	c->op = ops[io->op];
	c->vol = io->vol->vol;
	c->cookie = io;
	c->initiator_port = d->name;
	c->lba = io->offset / VMS_LB_BYTES;
	c->nblocks = (uint32_t)(io->len / VMS_LB_BYTES);
	switch (io->op) {
	case IMAGE_READ:
		c->dest = io->buf;
		break;
	case IMAGE_WRITE:
		io->iov = (struct vms_iov){io->buf, io->len};
		c->data = &io->iov;
		c->ndata = 1;
		c->data_bytes = io->len;
		break;
	case IMAGE_REF:
		c->fps = io->fps;
		c->crcs = io->crcs;
		c->found = io->found;
		break;
	case IMAGE_MAP:
		c->addrs = io->addrs;
		break;
	case IMAGE_STATUS:
		c->nblocks = 1;
		c->ranges = io->range;
		c->nranges = IMAGE_RANGES_MAX;
		break;
	case IMAGE_FLUSH:
		c->lba = c->nblocks = 0;
		break;
	default:
		break;
	}
	/* listed first: complete() may follow at any later entry */
	io->next = d->running_io;
	d->running_io = io;
	if (vms_gw_submit(vms_gwp_core(d->gwp), c) == VMS_GW_DONE)
		hook_complete(d, c);
}

static void hand_back_locked(struct image_dev *d, struct image_io *io)
{
	io->done = true;
	if (io->sync)
		return;
	io->next = NULL;
	*d->out_tail = io;
	d->out_tail = &io->next;
}

static void hand_back(struct image_dev *d, struct image_io *io)
{
	pthread_mutex_lock(&d->lock);
	hand_back_locked(d, io);
	pthread_mutex_unlock(&d->lock);
}

/* Hands back what has ended, keeps what is worth another try. */
static void end_ios(struct image_dev *d, uint64_t now)
{
	struct image_io *io;
	bool told = false;

	while ((io = d->ended)) {
		d->ended = io->next;
		io->status = io->cmd.status;
		if (vms_err_retryable(io->status) && now - io->start_ms < IMAGE_PATIENCE_MS) {
			io->due_ms = now + RETRY_MS;
			io->next = d->retry;
			d->retry = io;
			continue;
		}
		io->nranges = io->op == IMAGE_STATUS && !io->status ? io->cmd.nranges : 0;
		hand_back(d, io);
		told = true;
	}
	if (told)
		pthread_cond_broadcast(&d->cond);
}

static void start_ios(struct image_dev *d, uint64_t now)
{
	struct image_io *io, *again = d->retry;

	d->retry = NULL;
	while ((io = again)) {
		again = io->next;
		if (now >= io->due_ms) {
			start_io(d, io);
		} else {
			io->next = d->retry;
			d->retry = io;
		}
	}
	pthread_mutex_lock(&d->lock);
	io = d->in;
	d->in = NULL;
	d->in_tail = &d->in;
	pthread_mutex_unlock(&d->lock);
	while (io) {
		struct image_io *next = io->next;

		io->start_ms = now;
		start_io(d, io);
		io = next;
	}
}

/* Have all registrations been withdrawn? */
static bool all_withdrawn(struct image_dev *d)
{
	json_t *j = vms_gw_json(vms_gwp_core(d->gwp), "status");
	json_int_t n = json_integer_value(json_object_get(j, "closing"));

	json_decref(j);
	return !n;
}

static void run_vols(struct image_dev *d)
{
	pthread_mutex_lock(&d->lock);
	for (struct image_vol *v = d->vols; v; v = v->next) {
		if (v->state == VOL_OPENING && !v->asked) {
			int rc;

			v->asked = true;
			rc = vms_gwp_vol_open(d->gwp, v->name, 0, VMS_ACK_DISK, v, &v->why);
			if (rc) {
				v->status = rc;
				v->state = VOL_FAILED;
				pthread_cond_broadcast(&d->cond);
			}
		} else if (v->state == VOL_CLOSING) {
			vms_gwp_vol_close(d->gwp, v->vol);
			v->vol = NULL;
			v->state = VOL_WITHDRAWN;
		}
		if (v->state == VOL_WITHDRAWN && all_withdrawn(d)) {
			v->state = VOL_CLOSED;
			pthread_cond_broadcast(&d->cond);
		}
	}
	if (!d->ready)
		snprintf(d->wait_why.text, sizeof(d->wait_why.text), "%s", vms_gwp_why(d->gwp));
	pthread_mutex_unlock(&d->lock);
}

static void turn(struct image_dev *d)
{
	struct pollfd fd[3] = {{vms_gwp_net_fd(d->gwp), POLLIN, 0},
			       {vms_gwp_timer_fd(d->gwp), POLLIN, 0},
			       {d->wake_fd, POLLIN, 0}};
	uint64_t now, n;

	if (poll(fd, 3, d->retry ? (int)RETRY_MS : -1) < 0)
		vms_assert(errno == EINTR);
	for (unsigned i = 0; i < 2; i++)
		if (fd[i].revents && !d->fatal)
			vms_gwp_ready_fd(d->gwp, fd[i].fd);
	if (fd[2].revents && read(d->wake_fd, &n, sizeof(n)) < 0)
		vms_assert(errno == EAGAIN);
	if (d->fatal)
		return;
	now = vms_clock_ms();
	vms_gwp_turn_begin(d->gwp);
	end_ios(d, now);
	run_vols(d);
	start_ios(d, now);
	vms_gwp_turn_end(d->gwp);
	end_ios(d, now);
}

static void give_up(struct image_dev *d, struct image_io **list)
{
	struct image_io *io;

	while ((io = *list)) {
		*list = io->next;
		io->status = d->dead_status;
		hand_back_locked(d, io);
	}
}

/* The gateway is gone: nothing will complete any more. */
static void die(struct image_dev *d)
{
	pthread_mutex_lock(&d->lock);
	d->dead = true;
	give_up(d, &d->in);
	d->in_tail = &d->in;
	give_up(d, &d->retry);
	give_up(d, &d->running_io);
	give_up(d, &d->ended);
	for (struct image_vol *v = d->vols; v; v = v->next) {
		v->state = v->state == VOL_OPENING ? VOL_FAILED : VOL_CLOSED;
		v->status = d->dead_status;
		v->why = d->dead_why;
	}
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
}

static void *gateway_main(void *arg)
{
	struct image_dev *d = arg;
	uint64_t stop_ms = 0;

	for (;;) {
		turn(d);
		if (d->fatal)
			break;
		pthread_mutex_lock(&d->lock);
		if (d->stop && !stop_ms)
			stop_ms = vms_clock_ms();
		pthread_mutex_unlock(&d->lock);
		if (stop_ms && (all_withdrawn(d) || vms_clock_ms() - stop_ms > CLOSE_MS))
			break;
	}
	vms_gwp_close(d->gwp);
	d->gwp = NULL;
	die(d);
	return NULL;
}

/* ---- the caller's side ---- */

static void wake(struct image_dev *d)
{
	uint64_t one = 1;

	vms_assert(write(d->wake_fd, &one, sizeof(one)) == sizeof(one));
}

/* The first free name, or the one that is wanted; the lock goes with the process. */
static int take_name(struct image_dev *d, const char *want, struct vms_errmsg *msg)
{
	const char *dir = d->set.cluster.run_dir;
	char prefix[IMAGE_NAME_BYTES], path[4400];
	bool ours = false;

	image_name_own_prefix(prefix);
	if (mkdir(dir, 0755) && errno != EEXIST)
		return vms_fail(msg, VMS_E_CONFIG, "cannot create run_dir %s: %s", dir,
				strerror(errno));
	for (unsigned i = 1; want && i <= IMAGE_TOOLS_MAX; i++) {
		snprintf(d->name, sizeof(d->name), "%.61s%u", prefix, i);
		ours |= !strcmp(d->name, want);
	}
	for (unsigned i = 1; i <= IMAGE_TOOLS_MAX; i++) {
		snprintf(d->name, sizeof(d->name), "%.61s%u", prefix, i);
		if (ours && strcmp(d->name, want))
			continue;
		snprintf(path, sizeof(path), "%s/%s.lock", dir, d->name);
		d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		if (d->lock_fd < 0)
			return vms_fail(msg, VMS_E_CONFIG, "cannot create %s: %s", path,
					strerror(errno));
		if (!flock(d->lock_fd, LOCK_EX | LOCK_NB))
			return 0;
		close(d->lock_fd);
		d->lock_fd = -1;
	}
	if (ours)
		return vms_fail(msg, VMS_E_BUSY, "%s is at work", want);
	return vms_fail(msg, VMS_E_BUSY,
			"%u imports and exports run on this machine already: wait for one to end",
			IMAGE_TOOLS_MAX);
}

bool image_dev_name_held(const struct vms_settings *settings, const char *name)
{
	char path[4400];
	bool held;
	int fd;

	if (strchr(name, '/'))
		return false;
	snprintf(path, sizeof(path), "%s/%s.lock", settings->cluster.run_dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	held = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
	close(fd);
	return held;
}

static void timed_wait(struct image_dev *d, uint64_t ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += (time_t)(ms / 1000);
	ts.tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&d->cond, &d->lock, &ts);
}

int image_dev_open(struct image_dev **out, const struct vms_settings *settings, const char *name,
		   struct vms_errmsg *msg)
{
	struct image_dev *d = calloc(1, sizeof(*d));
	struct vms_gwp_hooks hooks = {.ctx = d,
				      .complete = hook_complete,
				      .drop_initiators = hook_drop,
				      .vol_opened = hook_opened,
				      .vol_changed = hook_changed,
				      .ready = hook_ready,
				      .fatal = hook_fatal};
	sigset_t all, before;
	uint64_t t0;
	int rc;

	vms_assert(d);
	/* The strings stay the caller's. */
	d->set = *settings;
	d->set.gateway.name = d->name;
	d->set.gateway.chunk_cache_bytes = CACHE_BYTES;
	d->set.gateway.page_cache_bytes = CACHE_BYTES;
	d->in_tail = &d->in;
	d->out_tail = &d->out;
	d->lock_fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->cond, NULL);
	d->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	vms_assert(d->wake_fd >= 0);
	rc = take_name(d, name, msg);
	if (!rc)
		rc = vms_gwp_open(&d->gwp, &d->set, NULL, &hooks, msg);
	if (rc) {
		image_dev_close(d);
		return rc;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	vms_assert(!pthread_create(&d->thread, NULL, gateway_main, d));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	d->running = true;

	t0 = vms_clock_ms();
	pthread_mutex_lock(&d->lock);
	while (!d->ready && !d->dead && vms_clock_ms() - t0 < READY_MS)
		timed_wait(d, 200);
	if (d->dead)
		rc = vms_fail(msg, d->dead_status, "%s: %.200s", d->name, d->dead_why.text);
	else if (!d->ready)
		rc = vms_fail(msg, VMS_E_TIMEOUT, "the cluster does not take this tool in: %.200s",
			      d->wait_why.text);
	pthread_mutex_unlock(&d->lock);
	if (rc) {
		image_dev_close(d);
		return rc;
	}
	*out = d;
	return 0;
}

void image_dev_close(struct image_dev *d)
{
	if (!d)
		return;
	while (d->vols)
		image_vol_close(d->vols);
	if (d->running) {
		pthread_mutex_lock(&d->lock);
		d->stop = true;
		pthread_mutex_unlock(&d->lock);
		wake(d);
		pthread_join(d->thread, NULL);
	}
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	close(d->wake_fd);
	pthread_cond_destroy(&d->cond);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

const char *image_dev_name(const struct image_dev *d)
{
	return d->name;
}

int image_vol_open(struct image_dev *d, const char *name, struct image_vol **out,
		   struct vms_errmsg *msg)
{
	struct image_vol *v = calloc(1, sizeof(*v));
	int rc = 0;

	vms_assert(v);
	v->d = d;
	snprintf(v->name, sizeof(v->name), "%s", name);
	pthread_mutex_lock(&d->lock);
	v->next = d->vols;
	d->vols = v;
	if (d->dead) {
		v->state = VOL_FAILED;
		v->status = d->dead_status;
		v->why = d->dead_why;
	}
	pthread_mutex_unlock(&d->lock);
	wake(d);
	pthread_mutex_lock(&d->lock);
	while (v->state == VOL_OPENING)
		pthread_cond_wait(&d->cond, &d->lock);
	if (v->state == VOL_FAILED)
		rc = vms_fail(msg, v->status, "%.250s", v->why.text);
	pthread_mutex_unlock(&d->lock);
	if (rc)
		image_vol_close(v);
	else
		*out = v;
	return rc;
}

void image_vol_close(struct image_vol *v)
{
	struct image_dev *d = v->d;
	struct image_vol **at = &d->vols;

	pthread_mutex_lock(&d->lock);
	if (v->state == VOL_OPEN && !d->dead) {
		v->state = VOL_CLOSING;
		pthread_mutex_unlock(&d->lock);
		wake(d);
		pthread_mutex_lock(&d->lock);
		for (uint64_t t0 = vms_clock_ms();
		     v->state != VOL_CLOSED && !d->dead &&
		     (v->state == VOL_CLOSING || vms_clock_ms() - t0 < CLOSE_MS);)
			timed_wait(d, 100);
	}
	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	pthread_mutex_unlock(&d->lock);
	free(v);
}

uint64_t image_vol_bytes(const struct image_vol *v)
{
	return v->info.size_bytes;
}

static void submit(struct image_dev *d, struct image_io *io, bool sync)
{
	vms_assert(io->len <= (io->op == IMAGE_ZERO || io->op == IMAGE_MAP ? VMS_EXTENT_BYTES
									   : VMS_SUBEXT_BYTES));
	io->sync = sync;
	io->done = io->reaped = false;
	io->next = NULL;
	pthread_mutex_lock(&d->lock);
	if (d->dead) {
		io->status = d->dead_status;
		hand_back_locked(d, io);
	} else {
		*d->in_tail = io;
		d->in_tail = &io->next;
	}
	pthread_mutex_unlock(&d->lock);
	wake(d);
}

void image_submit(struct image_dev *d, struct image_io *io)
{
	submit(d, io, false);
}

void image_reap(struct image_dev *d)
{
	struct image_io *io;

	pthread_mutex_lock(&d->lock);
	while (!d->out)
		pthread_cond_wait(&d->cond, &d->lock);
	io = d->out;
	d->out = io->next;
	if (!d->out)
		d->out_tail = &d->out;
	pthread_mutex_unlock(&d->lock);
	io->reaped = true;
}

int image_call(struct image_dev *d, struct image_io *io)
{
	submit(d, io, true);
	pthread_mutex_lock(&d->lock);
	while (!io->done)
		pthread_cond_wait(&d->cond, &d->lock);
	pthread_mutex_unlock(&d->lock);
	return io->status;
}

int image_io_fail(const struct image_dev *d, const struct image_io *io, struct vms_errmsg *msg)
{
	static const char *const what[] = {[IMAGE_READ] = "reading",	 [IMAGE_WRITE] = "writing",
					   [IMAGE_ZERO] = "zeroing",	 [IMAGE_FLUSH] = "flushing",
					   [IMAGE_REF] = "referring in", [IMAGE_MAP] = "looking at",
					   [IMAGE_STATUS] = "looking at"};

	if (d->dead)
		return vms_fail(msg, io->status, "%s: %.200s", d->name, d->dead_why.text);
	return vms_fail(msg, io->status, "%s volume %.100s at %" PRIu64 ": %s", what[io->op],
			io->vol->name, io->offset, vms_err_text(io->status));
}
