// SPDX-License-Identifier: GPL-2.0-only
/*
 * The verifier's state file; format in journal.h.
 */
#include "utils/bench/journal.h"
#include "utils/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <uthash.h>

struct vms_journal {
	int fd;
	char *file;
	size_t len;
	uint64_t synced_ns;
	char buf[64 * 1024];
};

struct open_write {
	uint64_t seq, lba;
	uint32_t n;
	UT_hash_handle hh;
};

static void die(const struct vms_journal *j, const char *what)
{
	vms_bench_err("state file %s: %s: %s", j->file, what, strerror(errno));
	_exit(VMS_BENCH_STATE);
}

static void write_out(struct vms_journal *j)
{
	size_t at = 0;

	while (at < j->len) {
		ssize_t w = write(j->fd, j->buf + at, j->len - at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			die(j, "write");
		at += (size_t)w;
	}
	j->len = 0;
}

static void line(struct vms_journal *j, const char *text, size_t len)
{
	if (j->len + len > sizeof(j->buf))
		write_out(j);
	memcpy(j->buf + j->len, text, len);
	j->len += len;
}

void vms_journal_add(struct vms_journal *j, char kind, uint64_t seq, uint64_t lba, uint32_t n,
		     uint64_t a, uint64_t b)
{
	char t[160];
	int len;

	if (kind == 'O')
		len = snprintf(t, sizeof(t),
			       "O %" PRIu64 " %" PRIu64 " %u %" PRIu64 " %" PRIu64 "\n", seq, lba,
			       n, a, b);
	else if (kind == 'X')
		len = snprintf(t, sizeof(t), "X %" PRIu64 " %" PRIu64 " %u\n", seq, lba, n);
	else
		len = snprintf(t, sizeof(t), "%c %" PRIu64 " %" PRIu64 " %u %" PRIu64 "\n", kind,
			       seq, lba, n, a);
	line(j, t, (size_t)len);
}

void vms_journal_flush(struct vms_journal *j, bool sync)
{
	uint64_t now = vms_bench_now();

	if (j->len)
		write_out(j);
	if (sync || now - j->synced_ns > 200000000u) {
		if (fdatasync(j->fd))
			die(j, "fdatasync");
		j->synced_ns = now;
	}
}

void vms_journal_close(struct vms_journal *j)
{
	if (!j)
		return;
	vms_journal_flush(j, true);
	close(j->fd);
	free(j->file);
	free(j);
}

static int dump_line(void *arg, uint64_t seq, uint64_t lba, uint32_t n, uint64_t start, uint64_t f,
		     uint64_t s, uint64_t deadline, bool zero)
{
	char t[256];
	int len = snprintf(t, sizeof(t),
			   "C %" PRIu64 " %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64
			   " %" PRIu64 " %d\n",
			   seq, lba, n, start, f, s, deadline, zero);

	line(arg, t, (size_t)len);
	return 0;
}

static bool in_range(const struct vms_model_opts *o, uint64_t lba, uint64_t n)
{
	return n > 0 && lba >= o->first_lba && lba - o->first_lba < o->blocks &&
	       n <= o->blocks - (lba - o->first_lba);
}

/* Returns 0 or -1 (message printed). */
static int replay(FILE *f, const char *file, struct vms_model_opts *o, struct vms_model **m,
		  uint64_t *seq_max, uint64_t *time_max)
{
	struct open_write *open = NULL, *w, *tmp;
	char t[512];
	unsigned long n_line = 1;
	unsigned initial = 0, atomic = 0;
	int rc = -1;

	if (!fgets(t, sizeof(t), f) ||
	    sscanf(t, "VMSTATE 1 %" SCNu64 " %" SCNu64 " %" SCNu64 " %u %u", &o->run_id,
		   &o->first_lba, &o->blocks, &initial, &atomic) != 5 ||
	    !o->blocks || o->blocks > (1ull << 40)) {
		vms_bench_err(
			"state file %s: line 1 is no 'VMSTATE 1' header of vmstore-bench verify",
			file);
		return -1;
	}
	o->initial = initial ? VMS_MODEL_ZERO : VMS_MODEL_ANY;
	o->chunk_atomic = atomic;
	*m = vms_model_new(o);
	if (!*m) {
		vms_bench_err("out of memory");
		return -1;
	}
	while (fgets(t, sizeof(t), f)) {
		uint64_t v[8] = {0};
		int n;

		n_line++;
		if (!strchr(t, '\n'))
			break;
		n = sscanf(t + 1,
			   "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			   " %" SCNu64 " %" SCNu64,
			   &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
		if (n < 3 || !in_range(o, v[1], v[2]) || ((strchr("WZAL", t[0])) && n < 4) ||
		    (t[0] == 'O' && n < 5) || (t[0] == 'C' && n < 8)) {
			vms_bench_err("state file %s: line %lu is malformed: %s", file, n_line, t);
			goto out;
		}
		if (v[0] > *seq_max)
			*seq_max = v[0];
		for (int i = 3; i < n && i < 7; i++)
			if (v[i] != VMS_MODEL_NEVER && v[i] > *time_max)
				*time_max = v[i];
		switch (t[0]) {
		case 'C':
			vms_model_restore(*m, v[0], v[1], (uint32_t)v[2], v[3], v[4], v[5], v[6],
					  v[7] != 0);
			break;
		case 'W':
		case 'Z':
			vms_model_write_begin(*m, v[0], v[1], (uint32_t)v[2], v[3], t[0] == 'Z');
			w = calloc(1, sizeof(*w));
			if (!w)
				goto out;
			w->seq = v[0];
			w->lba = v[1];
			w->n = (uint32_t)v[2];
			HASH_ADD(hh, open, seq, sizeof(w->seq), w);
			break;
		case 'A':
		case 'L':
		case 'X':
			if (t[0] == 'A')
				vms_model_write_done(*m, v[0], v[1], (uint32_t)v[2], v[3]);
			else if (t[0] == 'L')
				vms_model_write_lost(*m, v[0], v[1], (uint32_t)v[2], v[3]);
			else
				vms_model_write_refused(*m, v[0], v[1], (uint32_t)v[2]);
			HASH_FIND(hh, open, &v[0], sizeof(v[0]), w);
			if (w) {
				HASH_DEL(open, w);
				free(w);
			}
			break;
		case 'O':
			vms_model_observed(*m, v[0], v[1], (uint32_t)v[2], v[3], v[4]);
			break;
		default:
			vms_bench_err("state file %s: line %lu has no known kind: %s", file, n_line,
				      t);
			goto out;
		}
	}
	rc = 0;
out:
	/* Sent, and the verifier died: unknown, with no deadline that it can vouch
	 * for, which is what the model holds already. */
	HASH_ITER (hh, open, w, tmp) {
		HASH_DEL(open, w);
		free(w);
	}
	return rc;
}

struct vms_journal *vms_journal_open(const char *file, bool must_exist, struct vms_model_opts *o,
				     struct vms_model **m, uint64_t *seq, uint64_t *time)
{
	struct vms_journal *j = calloc(1, sizeof(*j));
	char tmp[4096], head[200];
	FILE *f;
	int len;

	*m = NULL;
	*seq = *time = 0;
	if (!j)
		return NULL;
	j->fd = -1;
	j->file = strdup(file);
	f = fopen(file, "re");
	if (!f && (errno != ENOENT || must_exist)) {
		vms_bench_err("state file %s: %s", file, strerror(errno));
		goto fail;
	}
	if (f) {
		int rc = 0;

		if (flock(fileno(f), LOCK_EX | LOCK_NB)) {
			vms_bench_err("state file %s: in use by another vmstore-bench", file);
			rc = -1;
		}
		if (!rc)
			rc = replay(f, file, o, m, seq, time);
		fclose(f);
		if (rc)
			goto fail;
	} else {
		*m = vms_model_new(o);
		if (!*m) {
			vms_bench_err("out of memory");
			goto fail;
		}
	}
	if (snprintf(tmp, sizeof(tmp), "%s.new", file) >= (int)sizeof(tmp)) {
		vms_bench_err("state file %s: name too long", file);
		goto fail;
	}
	j->fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
	if (j->fd < 0) {
		vms_bench_err("state file %s: %s", tmp, strerror(errno));
		goto fail;
	}
	len = snprintf(head, sizeof(head), "VMSTATE 1 %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %u\n",
		       o->run_id, o->first_lba, o->blocks, o->initial == VMS_MODEL_ZERO,
		       o->chunk_atomic);
	line(j, head, (size_t)len);
	vms_model_dump(*m, dump_line, j);
	vms_journal_flush(j, true);
	if (rename(tmp, file) || flock(j->fd, LOCK_EX | LOCK_NB)) {
		vms_bench_err("state file %s: %s", file, strerror(errno));
		goto fail;
	}
	return j;
fail:
	vms_model_free(*m);
	*m = NULL;
	if (j->fd >= 0)
		close(j->fd);
	free(j->file);
	free(j);
	return NULL;
}
