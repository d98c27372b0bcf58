// SPDX-License-Identifier: GPL-2.0-only
#include "backend/vmstored_int.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utils/lib/log.h"

#ifndef VMS_VERSION
#define VMS_VERSION "unknown"
#endif

int vmstored_make_dir(const char *path, struct vms_errmsg *msg)
{
	char part[4096];
	size_t n = strlen(path);

	if (!n || n >= sizeof(part))
		return vms_fail(msg, VMS_E_INVAL, "folder '%.100s': the name is empty or too long",
				path);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, 0755) && errno != EEXIST)
			return vms_fail(msg, errno == EACCES ? VMS_E_PERM : VMS_E_IO,
					"cannot make folder %s: %s", part, strerror(errno));
	}
	return 0;
}

static void on_signal(void *arg)
{
	struct vmstored_proc *p = arg;
	struct signalfd_siginfo si;

	while (read(p->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGHUP) {
			p->hup(p->hup_arg);
			continue;
		}
		if (!p->stop_wanted)
			vms_info("%s: stopping", strsignal((int)si.ssi_signo));
		p->stop_wanted = true;
	}
}

int vmstored_proc_open(struct vmstored_proc *p, struct vms_errmsg *msg)
{
	static const struct vms_stat_def net_stats[] = {
		{"frames_in", VMS_STAT_COUNTER, offsetof(struct vms_net_counters, frames_in),
		 "frames received"},
		{"frames_out", VMS_STAT_COUNTER, offsetof(struct vms_net_counters, frames_out),
		 "frames sent"},
		{"bytes_in", VMS_STAT_COUNTER, offsetof(struct vms_net_counters, bytes_in),
		 "bytes received"},
		{"bytes_out", VMS_STAT_COUNTER, offsetof(struct vms_net_counters, bytes_out),
		 "bytes sent"},
		{"reads", VMS_STAT_COUNTER, offsetof(struct vms_net_counters, reads),
		 "system calls that read from sockets"},
		{"writes", VMS_STAT_COUNTER, offsetof(struct vms_net_counters, writes),
		 "system calls that wrote to sockets"},
		{"connections", VMS_STAT_GAUGE, offsetof(struct vms_net_counters, connections),
		 "connections open"},
		VMS_STAT_END,
	};
	sigset_t set;
	int rc;

	p->stats = vms_stats_open();
	vms_stats_add_table(p->stats, "net.", net_stats, vms_net_counters(p->net));
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (p->hup)
		sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (p->signal_fd < 0 || vms_net_watch_fd(p->net, p->signal_fd, on_signal, p))
		return vms_fail(msg, VMS_E_IO, "cannot watch signals: %s", strerror(errno));
	rc = vmstored_make_dir(p->set->cluster.run_dir, msg);
	if (rc)
		return rc;
	if ((size_t)snprintf(p->socket, sizeof(p->socket), "unix:%s/%s.sock",
			     p->set->cluster.run_dir, p->name) >= sizeof(p->socket))
		return vms_fail(msg, VMS_E_CONFIG,
				"run_dir and the process's name together are too long for a "
				"socket: %s/%s.sock",
				p->set->cluster.run_dir, p->name);
	return vms_net_listen(p->net, p->socket, msg);
}

void vmstored_proc_close(struct vmstored_proc *p)
{
	vms_stats_close(p->stats);
	vms_net_free(p->net);
	if (p->signal_fd > 0)
		close(p->signal_fd);
}

json_t *vmstored_status(const struct vmstored_proc *p, const char *role)
{
	return json_pack("{ss ss ss si}", "role", role, "name", p->name, "version", VMS_VERSION,
			 "pid", (int)getpid());
}

void vmstored_uuid_text(const uint8_t u[16], char out[37])
{
	for (unsigned i = 0, at = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		at += (unsigned)sprintf(out + at, "%02x", u[i]);
	}
}

int vmstored_uuid_parse(const char *text, uint8_t uuid[16])
{
	unsigned v;

	for (unsigned i = 0; i < 16; i++) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return VMS_E_INVAL;
		if (strspn(text, "0123456789abcdef") < 2 || sscanf(text, "%2x", &v) != 1)
			return VMS_E_INVAL;
		uuid[i] = (uint8_t)v;
		text += 2;
	}
	return *text ? VMS_E_INVAL : 0;
}
