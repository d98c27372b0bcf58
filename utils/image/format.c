// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/format.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "utils/lib/assert.h"
#include "utils/lib/buf.h"

#define OUTPUT_BYTES_MAX (1u << 20)
#define PROBE_CPU_S	 30
#define PROBE_BYTES	 (4ull << 30) /* address space of a process that looks at a header */

const char *image_format_name(const char *word)
{
	static const char *const names[] = {"raw", "qcow2", "qcow", "vmdk", "vpc", "vhdx", "vdi"};

	if (!strcmp(word, "vhd"))
		return "vpc";
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(word, names[i]))
			return names[i];
	return NULL;
}

char *image_real_path(const char *path, struct vms_errmsg *msg)
{
	char *real = realpath(path, NULL);

	if (!real)
		vms_fail(msg, errno == ENOENT ? VMS_E_NOENT : VMS_E_IO, "%s: %s", path,
			 strerror(errno));
	return real;
}

/* ---- QEMU's programs ---- */

static void child(char *const *argv, int out, int err)
{
	const struct rlimit cpu = {PROBE_CPU_S, PROBE_CPU_S}, as = {PROBE_BYTES, PROBE_BYTES};
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	/* headers may lie; these programs have no business with more than this */
	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_AS, &as);
	execvp(argv[0], argv);
	_exit(127);
}

/* Runs argv, what it prints on stdout goes to *out (free it). code not NULL: an exit
 * code is told there and no error. */
static int run(char *const *argv, char **out, int *code, struct vms_errmsg *msg)
{
	struct vms_buf b[2];
	int fd[2][2], status = 0, rc = 0, open_fds = 2;
	pid_t pid;

	for (unsigned i = 0; i < 2; i++) {
		vms_buf_init(&b[i], OUTPUT_BYTES_MAX);
		vms_assert(!pipe2(fd[i], O_CLOEXEC));
	}
	pid = fork();
	vms_assert(pid >= 0);
	if (!pid)
		child(argv, fd[0][1], fd[1][1]);
	close(fd[0][1]);
	close(fd[1][1]);
	/* stderr is short: read it when stdout has ended */
	for (unsigned i = 0; i < 2; open_fds--, i++) {
		char part[4096];
		ssize_t n;

		while ((n = read(fd[i][0], part, sizeof(part))) > 0 || (n < 0 && errno == EINTR))
			if (n > 0)
				(void)vms_buf_append(&b[i], part, (size_t)n);
		close(fd[i][0]);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		rc = vms_fail(msg, VMS_E_CONFIG, "%s is not installed (Debian package qemu-utils)",
			      argv[0]);
	} else if (code && WIFEXITED(status)) {
		*code = WEXITSTATUS(status);
	} else if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		char *text = (char *)vms_buf_data(&b[1]);
		size_t n = vms_buf_len(&b[1]);

		while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
			n--;
		rc = vms_fail(msg, VMS_E_IO, "%.*s", n > 200 ? 200 : (int)n,
			      n ? text : "it was killed");
	} else if (out) {
		(void)vms_buf_append(&b[0], "", 1);
		*out = strdup((char *)vms_buf_data(&b[0]));
		vms_assert(*out);
	}
	vms_buf_free(&b[0]);
	vms_buf_free(&b[1]);
	return rc;
}

/* ---- what is it? ---- */

static void refers_to(struct image_format *out, const char *file)
{
	if (file && !out->other[0])
		snprintf(out->other, sizeof(out->other), "%s", file);
}

/* An image that was cut off reads as zeros where its clusters are missing, without an
 * error: its tables tell. */
static int check_whole(const char *path, char *real, const char *format, struct vms_errmsg *msg)
{
	enum { CLEAN = 0, LEAKS = 3, NO_CHECK = 63 }; /* qemu-img(1), check */
	int code = 0, rc;

	rc = run((char *[]){"qemu-img", "check", "-q", "-f", (char *)format, real, NULL}, NULL,
		 &code, msg);
	if (!rc && code != CLEAN && code != LEAKS && code != NO_CHECK)
		rc = vms_fail(msg, VMS_E_CORRUPT,
			      "%s is damaged or cut off: qemu-img check tells what is wrong", path);
	return rc;
}

int image_format_probe(const char *path, const char *format, struct image_format *out,
		       struct vms_errmsg *msg)
{
	char *real = image_real_path(path, msg), *text = NULL;
	struct vms_errmsg why = {""};
	json_t *j = NULL, *data, *extent;
	const char *word;
	size_t i;
	int rc;

	memset(out, 0, sizeof(*out));
	if (!real)
		return VMS_E_NOENT;
	/* An absolute path is never taken for a protocol ("nbd:...", "json:..."). */
	rc = run(format ? (char *[]){"qemu-img", "info", "--output=json", "-f", (char *)format,
				     real, NULL}
			: (char *[]){"qemu-img", "info", "--output=json", real, NULL},
		 &text, NULL, &why);
	if (rc) {
		vms_fail(msg, rc, "%.250s", why.text);
		goto out;
	}
	j = json_loads(text, 0, NULL);
	word = json_string_value(json_object_get(j, "format"));
	out->name = word ? image_format_name(word) : NULL;
	out->bytes = (uint64_t)json_integer_value(json_object_get(j, "virtual-size"));
	if (!word || json_integer_value(json_object_get(j, "virtual-size")) < 0) {
		rc = vms_fail(msg, VMS_E_PROTO, "%s: cannot understand what qemu-img info says",
			      path);
		goto out;
	}
	if (!out->name) {
		rc = vms_fail(msg, VMS_E_UNSUPPORTED,
			      "%s has the format %s; expected " IMAGE_FORMATS, path, word);
		goto out;
	}
	data = json_object_get(json_object_get(j, "format-specific"), "data");
	refers_to(out, json_string_value(json_object_get(j, "backing-filename")));
	refers_to(out, json_string_value(json_object_get(data, "data-file")));
	json_array_foreach (json_object_get(data, "extents"), i, extent) {
		word = json_string_value(json_object_get(extent, "filename"));
		if (word && strcmp(word, real))
			refers_to(out, word);
	}
	if (strcmp(out->name, "raw") && !out->other[0])
		rc = check_whole(path, real, out->name, msg);
out:
	json_decref(j);
	free(text);
	free(real);
	return rc;
}

bool image_format_maybe(const char *path)
{
	static const char *const magic[] = {"QFI\xfb",	"KDMV",	    "COWD", "# Disk Desc",
					    "vhdxfile", "conectix", "<<< "};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool yes = false;

	if (fd < 0)
		return false;
	/* a fixed-size VHD has its magic number at its end */
	for (unsigned last = 0; last < 2; last++) {
		char head[16] = "";
		off_t at = last ? lseek(fd, -512, SEEK_END) : 0;

		if (at < 0 || pread(fd, head, sizeof(head), at) != (ssize_t)sizeof(head))
			continue;
		for (size_t i = last ? 5 : 0; i < sizeof(magic) / sizeof(magic[0]); i++)
			yes |= !memcmp(head, magic[i], strlen(magic[i]));
	}
	close(fd);
	return yes;
}

/* ---- making one ---- */

int image_format_create(const char *path, const char *format, const char *options, uint64_t bytes,
			struct vms_errmsg *msg)
{
	/* vpc would round the size up to whole cylinders of its geometry */
	const char *own = !strcmp(format, "vpc") ? "force_size=on" : NULL;
	struct vms_errmsg why = {""};
	char size[32], file[4400];
	char *argv[12] = {"qemu-img", "create", "-q", "-f", (char *)format};
	unsigned n = 5;
	int rc;

	for (unsigned i = 0; i < 2; i++) {
		const char *o = i ? options : own;

		if (o) {
			argv[n++] = "-o";
			argv[n++] = (char *)o;
		}
	}
	/* a relative path could look like a protocol */
	snprintf(file, sizeof(file), "%s%s", path[0] == '/' ? "" : "./", path);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	argv[n++] = file;
	argv[n++] = size;
	argv[n] = NULL;
	rc = run(argv, NULL, NULL, &why);
	if (rc)
		vms_fail(msg, rc, "%.250s", why.text);
	return rc;
}

char *image_format_opts(const char *path, const char *format, bool follow)
{
	json_t *j = json_pack("{ss s{ss ss}}", "driver", format, "file", "driver", "file",
			      "filename", path);
	char *text, *opts = NULL;

	/* a path that is no UTF-8 has no place in JSON */
	if (!j)
		return NULL;
	if (!follow && (!strcmp(format, "qcow2") || !strcmp(format, "qcow")))
		json_object_set_new(j, "backing", json_null());
	text = json_dumps(j, JSON_COMPACT);
	vms_assert(text && asprintf(&opts, "json:%s", text) > 0);
	json_decref(j);
	free(text);
	return opts;
}
