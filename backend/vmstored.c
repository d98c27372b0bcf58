// SPDX-License-Identifier: GPL-2.0-only
/* vmstored: storage node, or with --catalog the embedded catalog. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/fsck.h"
#include "backend/vmstored_int.h"
#include "utils/lib/log.h"
#include "utils/lib/opt.h"
#include "utils/lib/stdfd.h"

static void log_open(const char *name, enum vms_log_level level)
{
	vms_log_open(name, level);
	vms_log_timed();
}

struct ready {
	const char *pid_file;
	bool written;  /* the pid file is ours */
	int to_parent; /* daemon: write end of a pipe, else -1 */
};

/* The process listens: now it may be told of. */
static int on_ready(void *arg, struct vms_errmsg *msg)
{
	struct ready *r = arg;

	if (r->pid_file) {
		FILE *f = fopen(r->pid_file, "w");

		if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f))
			return vms_fail(msg, VMS_E_IO, "cannot write pid file %s: %s", r->pid_file,
					strerror(errno));
		r->written = true;
	}
	if (r->to_parent >= 0) {
		int null = open("/dev/null", O_RDWR);

		if (null >= 0) {
			dup2(null, 0);
			dup2(null, 1);
			close(null);
		}
		if (write(r->to_parent, "+", 1) != 1)
			return vms_fail(msg, VMS_E_IO, "the starting process went away");
		close(r->to_parent);
		r->to_parent = -1;
	}
	return 0;
}

/* Forks; the parent waits until the child listens or has failed. Returns in the
 * child only. */
static void go_background(struct ready *r)
{
	int fd[2];
	char c;
	pid_t pid;

	if (pipe(fd) || (pid = fork()) < 0) {
		perror("vmstored");
		exit(VMSTORED_FAILED);
	}
	if (pid) {
		close(fd[1]);
		_exit(read(fd[0], &c, 1) == 1 ? VMSTORED_OK : VMSTORED_FAILED);
	}
	close(fd[0]);
	setsid();
	r->to_parent = fd[1];
}

static void print_sample(void)
{
	printf("# VMStore: every key of every program, with its default.\n"
	       "# What each means is also in vmstore.conf(5).\n\n");
	vms_conf_print_sample(vms_settings_keys, stdout);
}

int main(int argc, char **argv)
{
	bool catalog = false, format = false, daemon_ = false, sample = false;
	const char *conf = NULL, *fsck = NULL;
	struct ready ready = {.to_parent = -1};
	const struct vms_opt opts[] = {
		{'c', "conf", VMS_OPT_STRING, &conf, "FILE",
		 "configuration (default " VMS_SETTINGS_PATH ")"},
		{0, "catalog", VMS_OPT_FLAG, &catalog, NULL, "be the embedded catalog"},
		{0, "format", VMS_OPT_FLAG, &format, NULL,
		 "prepare the folder of a new node, then exit"},
		{0, "fsck", VMS_OPT_STRING, &fsck, "DIR",
		 "check the folder of a stopped node, then exit"},
		{0, "daemon", VMS_OPT_FLAG, &daemon_, NULL, "go to the background once it listens"},
		{0, "pid-file", VMS_OPT_STRING, &ready.pid_file, "FILE",
		 "write the process id there once it listens"},
		{0, "print-sample-config", VMS_OPT_FLAG, &sample, NULL,
		 "print a commented configuration, then exit"},
		VMS_OPT_END,
	};
	const struct vms_opt_prog prog = {
		.name = "vmstored",
		.usage = "[-c FILE] [--daemon] [--pid-file FILE]\n"
			 "--catalog [-c FILE] [--daemon] [--pid-file FILE]\n"
			 "--format [-c FILE]\n"
			 "--fsck DIR",
		.about = "Storage node of a VMStore cluster, or with --catalog its catalog. Stays "
			 "in\n"
			 "the foreground and stops cleanly on SIGTERM and SIGINT.",
		.opts = opts,
	};
	struct vms_settings set;
	struct vms_errmsg e = {""};
	int first, rc;

	vms_std_fds();
	rc = vms_opt_parse(&prog, argc, argv, &first, &e);
	if (rc == VMS_OPT_DONE)
		return vms_std_end("vmstored", VMSTORED_OK);
	if (!rc && first < argc)
		rc = vms_fail(&e, VMS_E_INVAL, "unexpected argument '%s'", argv[first]);
	if (!rc && (int)catalog + format + sample + !!fsck > 1)
		rc = vms_fail(&e, VMS_E_INVAL,
			      "--catalog, --format, --fsck and --print-sample-config exclude one "
			      "another");
	if (rc) {
		fprintf(stderr, "vmstored: %s\nvmstored --help shows the usage\n", e.text);
		return VMSTORED_USAGE;
	}
	if (sample) {
		print_sample();
		return vms_std_end("vmstored", VMSTORED_OK);
	}
	log_open("vmstored", VMS_LOG_INFO);
	if (fsck)
		return vms_std_end("vmstored", vms_fsck_main("vmstored", fsck,
							     &(struct vms_fsck_conf){0}, false));
	if (!conf)
		conf = VMS_SETTINGS_PATH;
	rc = vms_settings_load(&set, conf, &e);
	if (rc) {
		fprintf(stderr, "vmstored: %s\n", e.text);
		vms_settings_close(&set);
		return VMSTORED_FAILED;
	}
	log_open(catalog ? "vmstored-catalog" : "vmstored",
		 (enum vms_log_level)set.cluster.log_level);
	if (format) {
		rc = vmstored_format(&set);
	} else {
		if (daemon_)
			go_background(&ready);
		rc = catalog ? vmstored_run_catalog(&set, on_ready, &ready)
			     : vmstored_run_node(&set, on_ready, &ready);
		if (ready.written)
			unlink(ready.pid_file);
	}
	vms_settings_close(&set);
	return rc;
}
