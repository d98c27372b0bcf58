// SPDX-License-Identifier: GPL-2.0-only
/* See disk_fault.h. */
#include "backend/disk_fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const call_name[VMS_DC_MAX] = {"log_write", "log_sync", "ctr_write", "ctr_read",
						  "ctr_sync",  "commit",   "unlink",	"punch",
						  "digest",    "log_read", "index_read"};

static const struct {
	const char *name;
	int what;
} whats[] = {{"eio", VMS_E_IO},
	     {"enospc", VMS_E_NOSPC},
	     {"crash", VMS_FAULT_CRASH},
	     {"flip", VMS_FAULT_FLIP}};

static bool reads(enum vms_disk_call c)
{
	return c == VMS_DC_CTR_READ || c == VMS_DC_LOG_READ || c == VMS_DC_INDEX_READ;
}

/* One KIND:N[+]:WHAT into f->f[f->n]. */
static bool parse_one(struct vms_disk_faults *f, const char *t)
{
	char call[16], what[16], junk;
	unsigned long long n;
	int at = 0;

	if (f->n == VMS_DISK_FAULTS_MAX || sscanf(t, "%15[a-z_]:%llu%n", call, &n, &at) != 2)
		return false;
	f->f[f->n].n = n;
	f->f[f->n].on = t[at] == '+';
	f->f[f->n].call = VMS_DC_MAX;
	f->f[f->n].what = 0;
	if (sscanf(t + at + f->f[f->n].on, ":%15[a-z]%c", what, &junk) != 1)
		return false;
	for (int k = 0; k < VMS_DC_MAX; k++)
		if (!strcmp(call, call_name[k]))
			f->f[f->n].call = (enum vms_disk_call)k;
	for (size_t k = 0; k < sizeof(whats) / sizeof(whats[0]); k++)
		if (!strcmp(what, whats[k].name))
			f->f[f->n].what = whats[k].what;
	return f->f[f->n].call != VMS_DC_MAX && f->f[f->n].what &&
	       (f->f[f->n].what != VMS_FAULT_FLIP || reads(f->f[f->n].call)) && ++f->n;
}

int vms_disk_faults_set(struct vms_disk_faults *f, const char *text, struct vms_errmsg *msg)
{
	struct vms_disk_faults neu = {.hits = f->hits, .taken = f->taken + 1};
	char copy[512], *save = NULL;
	bool bad = strlen(text) >= sizeof(copy);

	if (!bad)
		strcpy(copy, text);
	for (char *t = bad ? NULL : strtok_r(copy, ", \t\n", &save); t && !bad;
	     t = strtok_r(NULL, ", \t\n", &save))
		bad = !parse_one(&neu, t);
	if (bad)
		return vms_fail(
			msg, VMS_E_CONFIG,
			"VMS_DISK_FAULT '%.200s': expected KIND:N[+]:eio|enospc|crash|flip[,...]",
			text);
	memcpy(neu.path, f->path, sizeof(neu.path));
	*f = neu;
	return 0;
}

int vms_disk_faults_reload(struct vms_disk_faults *f, struct vms_errmsg *msg)
{
	char text[512];
	FILE *in;
	size_t n;

	if (!f->path[0])
		return VMS_E_UNSUPPORTED;
	in = fopen(f->path, "re");
	if (!in && errno != ENOENT)
		return vms_fail(msg, VMS_E_IO, "VMS_DISK_FAULT: %s: %s", f->path, strerror(errno));
	n = in ? fread(text, 1, sizeof(text) - 1, in) : 0;
	text[n] = 0;
	if (in)
		fclose(in);
	return vms_disk_faults_set(f, text, msg);
}

int vms_disk_faults_env(struct vms_disk_faults *f, struct vms_errmsg *msg)
{
	const char *env = getenv("VMS_DISK_FAULT");

	if (!env || !*env)
		return 0;
	if (*env != '@')
		return vms_disk_faults_set(f, env, msg);
	if (strlen(env + 1) >= sizeof(f->path))
		return vms_fail(msg, VMS_E_CONFIG, "VMS_DISK_FAULT: the path is too long");
	strcpy(f->path, env + 1);
	return vms_disk_faults_reload(f, msg);
}

int vms_disk_faults_hit(struct vms_disk_faults *f, enum vms_disk_call c)
{
	f->calls[c]++;
	for (unsigned i = 0; i < f->n; i++) {
		if (f->f[i].call != c ||
		    (f->calls[c] != f->f[i].n && !(f->f[i].on && f->calls[c] > f->f[i].n)))
			continue;
		if (f->f[i].what == VMS_FAULT_CRASH)
			_exit(77);
		f->hits++;
		return f->f[i].what;
	}
	return 0;
}
