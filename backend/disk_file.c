// SPDX-License-Identifier: GPL-2.0-only
/* Containers of the POSIX disk as files: their names, and those that are open. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

#include "backend/disk_int_posix.h"
#include "utils/lib/assert.h"

#define FDS_MAX 2048u

void disk_ctr_path(uint64_t ctr, char *out, size_t room)
{
	snprintf(out, room, "c/%02x/%09llx", (unsigned)(ctr & 0xff), (unsigned long long)ctr);
}
void disk_ctr_dir(uint64_t ctr, char *out, size_t room)
{
	snprintf(out, room, "c/%02x", (unsigned)(ctr & 0xff));
}
int disk_fsync_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	if (fd < 0)
		return disk_errno(errno);
	if (fsync(fd))
		rc = disk_errno(errno);
	close(fd);
	return rc;
}

static void lru_out(struct vms_disk_posix *d, struct file *f)
{
	if (f->prev)
		f->prev->next = f->next;
	else
		d->lru_head = f->next;
	if (f->next)
		f->next->prev = f->prev;
	else
		d->lru_tail = f->prev;
	f->prev = f->next = NULL;
}
static void lru_in(struct vms_disk_posix *d, struct file *f)
{
	f->next = d->lru_head;
	if (d->lru_head)
		d->lru_head->prev = f;
	else
		d->lru_tail = f;
	d->lru_head = f;
}
static void file_out(struct vms_disk_posix *d, struct file *f)
{
	if (f->dirty || f->fresh)
		d->ndirty--;
	lru_out(d, f);
	HASH_DEL(d->files, f);
	d->nfiles--;
}
void disk_file_close(struct vms_disk_posix *d, struct file *f)
{
	vms_assert(f->refs == 0);
	if (f->dirty || f->fresh)
		d->lost_dirty = true;
	file_out(d, f);
	close(f->fd);
	free(f);
}
void disk_file_gone(struct vms_disk_posix *d, uint64_t ctr)
{
	struct file *f;
	HASH_FIND(hh, d->files, &ctr, sizeof(ctr), f);
	if (!f)
		return;
	file_out(d, f);
	f->gone = true;
	f->refs++;
	disk_file_put(d, f);
}
void disk_file_put(struct vms_disk_posix *d, struct file *f)
{
	if (--f->refs || !f->gone)
		return;
	close(f->fd);
	free(f);
}
int disk_file_get(struct vms_disk_posix *d, uint64_t ctr, bool make, struct file **out)
{
	struct file *f;
	char path[32];
	HASH_FIND(hh, d->files, &ctr, sizeof(ctr), f);
	if (!f) {
		bool fresh = false;
		disk_ctr_path(ctr, path, sizeof(path));
		int fd = openat(d->dirfd, path, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT && make) {
			fd = openat(d->dirfd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			fresh = true;
		}
		if (fd < 0)
			return disk_errno(errno);
		for (struct file *o = d->lru_tail; o && d->nfiles >= FDS_MAX;) {
			struct file *p = o->prev;
			if (!o->refs)
				disk_file_close(d, o);
			o = p;
		}
		f = calloc(1, sizeof(*f));
		vms_assert(f);
		f->ctr = ctr;
		f->fd = fd;
		f->fresh = fresh;
		if (fresh)
			d->ndirty++;
		HASH_ADD(hh, d->files, ctr, sizeof(ctr), f);
		d->nfiles++;
	} else {
		lru_out(d, f);
	}
	lru_in(d, f);
	f->refs++;
	*out = f;
	return 0;
}
