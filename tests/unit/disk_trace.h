/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything this process does to the files of one folder, as a list: writes, syncs,
 * creations, deletions, holes; log, containers and LMDB alike. The calls of libc are
 * defined again here, in the program, so they are also those of liblmdb (which a
 * preloaded library would catch in the same way). io_uring does not come by here: the
 * engine has to run on threads. One call at a time, so the list is what happened.
 *
 * From the list and a copy of the folder as it was before, every folder can be made that
 * a power cut may leave: what a sync covers is there; of the rest any part, in any
 * order, torn at 512 bytes; files whose folder was not synced may be there or not.
 */
#ifndef VMS_TESTS_DISK_TRACE_H
#define VMS_TESTS_DISK_TRACE_H

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "utils/lib/assert.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

enum dt_type {
	DT_WRITE,
	DT_SYNC,
	DT_SYNC_ALL,
	DT_SYNC_DIR,
	DT_CREATE,
	DT_DELETE,
	DT_HOLE,
	DT_SIZE,
	DT_MARK
};

struct dt_ev {
	enum dt_type type;
	unsigned file; /* DT_MARK: what the test says */
	bool durable;  /* the write was a sync too */
	uint64_t off, len;
	uint8_t *data;
};

struct dt_file {
	char path[64]; /* below the folder */
	bool base;     /* was there before */
	uint8_t *data;
	size_t len;
	/* as dt_make() made it */
	uint8_t *now;
	size_t now_len;
	bool there;
};

static struct {
	pthread_mutex_t lock;
	char dir[200];
	bool on;
	VMS_VEC(struct dt_ev) ev;
	VMS_VEC(struct dt_file) file;
} dt = {.lock = PTHREAD_MUTEX_INITIALIZER};

static unsigned dt_file_of(const char *path, bool add)
{
	struct dt_file f = {.base = false};

	for (unsigned i = 0; i < dt.file.n; i++)
		if (!strcmp(dt.file.d[i].path, path))
			return i;
	if (!add)
		return UINT_MAX;
	snprintf(f.path, sizeof(f.path), "%s", path);
	VMS_VEC_PUSH(&dt.file, f);
	return (unsigned)dt.file.n - 1;
}

/* Path below the folder, or NULL: not ours, or nothing that survives (locks). */
static const char *dt_path(int fd, char *buf, size_t len)
{
	char link[40];
	size_t base = strlen(dt.dir);
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, len - 1);
	if (n <= (ssize_t)base || strncmp(buf, dt.dir, base) || (buf[base] && buf[base] != '/'))
		return n == (ssize_t)base && !strncmp(buf, dt.dir, base) ? "" : NULL;
	buf[n] = '\0';
	return strstr(buf, "lock.mdb") ? NULL : buf + base + 1;
}

static void dt_add(struct dt_ev e)
{
	VMS_VEC_PUSH(&dt.ev, e);
}

static void dt_wrote(int fd, const struct iovec *v, int n, off_t off, ssize_t done, int flags)
{
	char buf[PATH_MAX];
	const char *p = done > 0 ? dt_path(fd, buf, sizeof(buf)) : NULL;
	struct dt_ev e = {.type = DT_WRITE, .off = (uint64_t)off, .len = (uint64_t)done};
	size_t at = 0;

	if (!p)
		return;
	e.durable = (flags & (RWF_DSYNC | RWF_SYNC)) || fcntl(fd, F_GETFL) & O_DSYNC;
	e.data = malloc((size_t)done);
	vms_assert(e.data);
	for (int i = 0; i < n && at < (size_t)done; i++) {
		size_t k = v[i].iov_len < (size_t)done - at ? v[i].iov_len : (size_t)done - at;

		memcpy(e.data + at, v[i].iov_base, k);
		at += k;
	}
	e.file = dt_file_of(p, false);
	if (e.file == UINT_MAX) {
		e.file = dt_file_of(p, true);
		dt_add((struct dt_ev){.type = DT_CREATE, .file = e.file});
	}
	dt_add(e);
}

static void dt_simple(int fd, enum dt_type type, uint64_t off, uint64_t len)
{
	char buf[PATH_MAX];
	const char *p = dt_path(fd, buf, sizeof(buf));
	struct stat st;

	if (!p || fstat(fd, &st))
		return;
	if (type == DT_SYNC && S_ISDIR(st.st_mode))
		type = DT_SYNC_DIR;
	if (type == DT_SYNC_ALL || type == DT_SYNC_DIR)
		dt_add((struct dt_ev){.type = type});
	else if (dt_file_of(p, false) != UINT_MAX)
		dt_add((struct dt_ev){
			.type = type, .file = dt_file_of(p, false), .off = off, .len = len});
}

/* Looks up the next definition of the function this stands in for. */
#define DT_REAL(name)                                                                              \
	static __typeof__(name) *real;                                                             \
	if (!real)                                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, #name)

#define DT_CALL(call, then)                                                                        \
	do {                                                                                       \
		__typeof__(call) rc_;                                                              \
		if (!dt.on)                                                                        \
			return call;                                                               \
		pthread_mutex_lock(&dt.lock);                                                      \
		rc_ = call;                                                                        \
		then;                                                                              \
		pthread_mutex_unlock(&dt.lock);                                                    \
		return rc_;                                                                        \
	} while (0)

ssize_t pwrite(int fd, const void *b, size_t n, off_t off)
{
	struct iovec v = {(void *)(uintptr_t)b, n};

	DT_REAL(pwrite);
	DT_CALL(real(fd, b, n, off), dt_wrote(fd, &v, 1, off, rc_, 0));
}
ssize_t pwrite64(int fd, const void *b, size_t n, off_t off)
{
	return pwrite(fd, b, n, off);
}
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t off)
{
	DT_REAL(pwritev);
	DT_CALL(real(fd, v, n, off), dt_wrote(fd, v, n, off, rc_, 0));
}
ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t off)
{
	return pwritev(fd, v, n, off);
}
ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
	DT_REAL(pwritev2);
	DT_CALL(real(fd, v, n, off, flags), dt_wrote(fd, v, n, off, rc_, flags));
}
ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
	return pwritev2(fd, v, n, off, flags);
}
/* LMDB seeks and writes where it writes several pages of one run. */
ssize_t writev(int fd, const struct iovec *v, int n)
{
	DT_REAL(writev);
	DT_CALL(real(fd, v, n), dt_wrote(fd, v, n, lseek(fd, 0, SEEK_CUR) - rc_, rc_, 0));
}
int fdatasync(int fd)
{
	DT_REAL(fdatasync);
	DT_CALL(real(fd), dt_simple(fd, DT_SYNC, 0, 0));
}
int fsync(int fd)
{
	DT_REAL(fsync);
	DT_CALL(real(fd), dt_simple(fd, DT_SYNC, 0, 0));
}
int syncfs(int fd)
{
	DT_REAL(syncfs);
	DT_CALL(real(fd), dt_simple(fd, DT_SYNC_ALL, 0, 0));
}
int ftruncate(int fd, off_t len)
{
	DT_REAL(ftruncate);
	DT_CALL(real(fd, len), dt_simple(fd, DT_SIZE, 0, (uint64_t)len));
}
int ftruncate64(int fd, off_t len)
{
	return ftruncate(fd, len);
}
int fallocate(int fd, int mode, off_t off, off_t len)
{
	DT_REAL(fallocate);
	DT_CALL(real(fd, mode, off, len), if (mode & FALLOC_FL_PUNCH_HOLE) dt_simple(
						  fd, DT_HOLE, (uint64_t)off, (uint64_t)len));
}
int fallocate64(int fd, int mode, off_t off, off_t len)
{
	return fallocate(fd, mode, off, len);
}
static void dt_unlinked(int dirfd, const char *name)
{
	char buf[PATH_MAX];
	const char *p = dt_path(dirfd, buf, sizeof(buf));
	char path[PATH_MAX + 300];

	if (!p)
		return;
	snprintf(path, sizeof(path), "%s%s%s", p, *p ? "/" : "", name);
	if (dt_file_of(path, false) != UINT_MAX)
		dt_add((struct dt_ev){.type = DT_DELETE, .file = dt_file_of(path, false)});
}
int unlinkat(int dirfd, const char *name, int flags)
{
	DT_REAL(unlinkat);
	DT_CALL(real(dirfd, name, flags), if (!rc_) dt_unlinked(dirfd, name));
}

/* ---- recording ---- */

static void dt_read_tree(const char *below)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", dt.dir, below);
	d = opendir(path);
	vms_assert(d);
	while ((e = readdir(d))) {
		char rel[sizeof(((struct dt_file *)0)->path)];
		struct stat st;
		FILE *f;

		if (e->d_name[0] == '.' || strstr(e->d_name, "lock.mdb"))
			continue;
		vms_assert(snprintf(rel, sizeof(rel), "%s%s%s", below, *below ? "/" : "",
				    e->d_name) < (int)sizeof(rel));
		snprintf(path, sizeof(path), "%s/%s", dt.dir, rel);
		if (stat(path, &st))
			continue;
		if (S_ISDIR(st.st_mode)) {
			char dir[sizeof(rel) + 1];
			unsigned i;

			snprintf(dir, sizeof(dir), "%s/", rel);
			i = dt_file_of(dir, true);
			dt.file.d[i].base = true;
			dt_read_tree(rel);
			continue;
		}
		unsigned at = dt_file_of(rel, true);
		struct dt_file *t = &dt.file.d[at];

		t->base = true;
		t->len = (size_t)st.st_size;
		t->data = malloc(t->len + 1);
		f = fopen(path, "r");
		vms_assert(t->data && f && fread(t->data, 1, t->len, f) == t->len);
		fclose(f);
	}
	closedir(d);
}

/* From now on; what is in the folder at this moment counts as safe. */
static void dt_begin(const char *dir)
{
	vms_assert(!dt.file.n && !dt.ev.n);
	vms_assert(realpath(dir, dt.dir));
	pthread_mutex_lock(&dt.lock);
	dt_read_tree("");
	dt.on = true;
	pthread_mutex_unlock(&dt.lock);
}
static void dt_mark(unsigned what)
{
	pthread_mutex_lock(&dt.lock);
	dt_add((struct dt_ev){.type = DT_MARK, .file = what});
	pthread_mutex_unlock(&dt.lock);
}
static void dt_end(void)
{
	dt.on = false;
}
static void dt_free(void)
{
	for (size_t i = 0; i < dt.ev.n; i++)
		free(dt.ev.d[i].data);
	for (size_t i = 0; i < dt.file.n; i++)
		free(dt.file.d[i].data), free(dt.file.d[i].now);
	VMS_VEC_FREE(&dt.ev);
	VMS_VEC_FREE(&dt.file);
}

/* ---- what a power cut leaves ---- */

enum dt_loss {
	DT_ALL,	     /* all that was called is there */
	DT_SYNCED,   /* nothing that was not synced */
	DT_TORN,     /* as DT_ALL, the last write torn */
	DT_ONE_LOST, /* as DT_ALL without one that was not synced */
	DT_ANY,	     /* any part of what was not synced */
	DT_LOSSES
};

/* Is event e safe when the power fails before event k? */
static bool dt_safe(size_t e, size_t k)
{
	const struct dt_ev *v = &dt.ev.d[e];

	if (v->durable)
		return true;
	for (size_t i = e + 1; i < k; i++) {
		const struct dt_ev *s = &dt.ev.d[i];

		if (s->type == DT_SYNC_ALL)
			return true;
		if (v->type == DT_CREATE || v->type == DT_DELETE
			    ? s->type == DT_SYNC_DIR
			    : s->type == DT_SYNC && s->file == v->file)
			return true;
	}
	return false;
}

/* Is it open whether event e has happened, when the power fails before event k? */
static bool dt_loose(size_t e, size_t k)
{
	switch (dt.ev.d[e].type) {
	case DT_WRITE:
	case DT_CREATE:
	case DT_DELETE:
	case DT_HOLE:
	case DT_SIZE:
		return !dt_safe(e, k);
	default:
		return false;
	}
}

static void dt_grow(uint8_t **data, size_t *len, size_t want)
{
	if (want <= *len)
		return;
	*data = realloc(*data, want);
	vms_assert(*data);
	memset(*data + *len, 0, want - *len);
	*len = want;
}

#define DT_BLOCK 4096u

static bool dt_zeros(const uint8_t *p, size_t n)
{
	return !n || (!*p && !memcmp(p, p + 1, n - 1));
}

/* Of the blocks that hold something, where they are, and the length. */
static uint64_t dt_hash(uint64_t h, const uint8_t *data, size_t len)
{
	for (size_t at = 0; at < len; at += DT_BLOCK) {
		size_t n = len - at < DT_BLOCK ? len - at : DT_BLOCK;

		if (dt_zeros(data + at, n))
			continue;
		h = (h ^ at) * 1099511628211ull;
		for (size_t i = 0; i + 8 <= n; i += 8) {
			uint64_t w;

			memcpy(&w, data + at + i, 8);
			h = (h ^ w) * 1099511628211ull;
			h ^= h >> 29;
		}
	}
	return (h ^ len) * 1099511628211ull;
}

/* What a power cut before event k may leave in the folder, for dt_write(); a hash of it. */
static uint64_t dt_make(size_t k, enum dt_loss loss, struct vms_rng *g)
{
	uint8_t *fate = calloc(k + 1, 1); /* 0 there, 1 not, 2 torn */
	uint64_t hash = 14695981039346656037ull;
	size_t loose = 0, pick;

	vms_assert(fate);
	for (size_t e = 0; e < k; e++)
		if (dt_loose(e, k)) {
			loose++;
			fate[e] = loss == DT_SYNCED ? 1
				  : loss == DT_ANY  ? (uint8_t)(vms_rng_u64(g) % 3)
						    : 0;
		}
	if (loss == DT_ONE_LOST && loose) {
		pick = (size_t)(vms_rng_u64(g) % loose);
		for (size_t e = 0; e < k; e++)
			if (dt_loose(e, k) && pick-- == 0)
				fate[e] = 1;
	}
	if (loss == DT_TORN)
		for (size_t e = k; e-- > 0;)
			if (dt.ev.d[e].type == DT_WRITE) {
				/* it was under way, so nobody was told of it */
				fate[e] = e + 1 == k ? 2 : fate[e];
				break;
			}
	for (unsigned i = 0; i < dt.file.n; i++) {
		struct dt_file *f = &dt.file.d[i];
		size_t len = f->len;
		uint8_t *data = malloc(len + 1);
		bool there = f->base;

		vms_assert(data);
		if (f->data)
			memcpy(data, f->data, len);
		for (size_t e = 0; e < k; e++) {
			const struct dt_ev *v = &dt.ev.d[e];

			if (v->file != i || fate[e] == 1)
				continue;
			switch (v->type) {
			case DT_CREATE:
				there = true;
				len = 0;
				break;
			case DT_DELETE:
				there = false;
				break;
			case DT_SIZE:
				dt_grow(&data, &len, (size_t)v->len);
				len = (size_t)v->len;
				break;
			case DT_HOLE:
				if (v->off < len)
					memset(data + v->off, 0,
					       v->off + v->len < len ? (size_t)v->len
								     : len - (size_t)v->off);
				break;
			case DT_WRITE:
				dt_grow(&data, &len, (size_t)(v->off + v->len));
				for (size_t at = 0; at < v->len; at += 512)
					if (fate[e] != 2 || vms_rng_u64(g) & 1)
						memcpy(data + v->off + at, v->data + at,
						       v->len - at < 512 ? (size_t)v->len - at
									 : 512);
				break;
			default:
				break;
			}
		}
		free(f->now);
		f->now = data;
		f->now_len = len;
		f->there = there;
		if (there)
			hash = (dt_hash(hash, data, len) ^ i) * 1099511628211ull;
	}
	free(fate);
	return hash;
}

static void dt_write_file(const struct dt_file *f, const char *path)
{
	int fd;

	/* the threads of the node before may still be closing its files */
	for (unsigned t = 0;
	     (fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)) < 0 && t < 500; t++)
		usleep(10000);
	if (fd < 0)
		perror(path);
	vms_assert(fd >= 0);
	for (size_t at = 0; at < f->now_len; at += DT_BLOCK) {
		size_t n = f->now_len - at < DT_BLOCK ? f->now_len - at : DT_BLOCK;

		if (!dt_zeros(f->now + at, n))
			vms_assert(pwrite(fd, f->now + at, n, (off_t)at) == (ssize_t)n);
	}
	vms_assert(!ftruncate(fd, (off_t)f->now_len));
	close(fd);
}

/* The folder as dt_make() made it last. */
static void dt_write(void)
{
	mkdir(dt.dir, 0700); /* the last one went with its node, or is written over */
	for (unsigned i = 0; i < dt.file.n; i++) {
		const struct dt_file *f = &dt.file.d[i];
		char path[500], *slash;

		snprintf(path, sizeof(path), "%s/%s", dt.dir, f->path);
		if (path[strlen(path) - 1] == '/') {
			mkdir(path, 0700);
			continue;
		}
		if (!f->there) {
			unlink(path);
			continue;
		}
		for (slash = strchr(path + strlen(dt.dir) + 1, '/'); slash;
		     slash = strchr(slash + 1, '/')) {
			*slash = '\0';
			mkdir(path, 0700);
			*slash = '/';
		}
		dt_write_file(f, path);
	}
}

#endif
