// SPDX-License-Identifier: GPL-2.0-only
/*
 * Recorded histories: reading the files, and what can be said of them without
 * looking for an order: ids and values used twice, outcomes that fit no operation.
 */
#include "tests/history/history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct slot { /* open addressing: id -> index of the operation + 1 */
	uint64_t key;
	size_t op;
};

struct table {
	struct slot *slot;
	size_t cap, used;
};

struct vms_history {
	struct vms_history_op *op;
	size_t n, cap;
	char **file;
	unsigned files;
	uint64_t unit_bytes;
	struct table values; /* of all files */
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	return x * 0xc4ceb9fe1a85ec53ull;
}

static struct slot *find(struct table *t, uint64_t key)
{
	size_t i = mix(key) & (t->cap - 1);

	while (t->slot[i].op && t->slot[i].key != key)
		i = (i + 1) & (t->cap - 1);
	return &t->slot[i];
}

/* The place of key, free or not; NULL when out of memory. */
static struct slot *place(struct table *t, uint64_t key)
{
	if (!t->slot || t->used * 2 >= t->cap) {
		struct table big = {.cap = t->cap ? t->cap * 2 : 1024};

		big.slot = calloc(big.cap, sizeof(*big.slot));
		if (!big.slot)
			return NULL;
		for (size_t i = 0; i < t->cap; i++)
			if (t->slot[i].op)
				*find(&big, t->slot[i].key) = t->slot[i];
		big.used = t->used;
		free(t->slot);
		*t = big;
	}
	return find(t, key);
}

struct vms_history *vms_history_new(void)
{
	return calloc(1, sizeof(struct vms_history));
}

void vms_history_free(struct vms_history *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n; i++)
		free(h->op[i].seen);
	for (unsigned i = 0; i < h->files; i++)
		free(h->file[i]);
	free(h->file);
	free(h->op);
	free(h->values.slot);
	free(h);
}

const struct vms_history_op *vms_history_ops(const struct vms_history *h, size_t *n)
{
	*n = h->n;
	return h->op;
}

const char *vms_history_file(const struct vms_history *h, unsigned file)
{
	return h->file[file];
}

/* The next word of *p as a number; false when there is none. */
static bool number(char **p, uint64_t *v)
{
	char *end;

	while (**p == ' ')
		(*p)++;
	if (**p < '0' || **p > '9')
		return false;
	*v = strtoull(*p, &end, 10);
	if (*end && *end != ' ' && *end != '\n')
		return false;
	*p = end;
	return true;
}

static bool word(char **p, const char *w)
{
	size_t n = strlen(w);

	while (**p == ' ')
		(*p)++;
	if (strncmp(*p, w, n) || ((*p)[n] && (*p)[n] != ' ' && (*p)[n] != '\n'))
		return false;
	*p += n;
	return true;
}

static bool at_end(const char *p)
{
	while (*p == ' ' || *p == '\n')
		p++;
	return !*p;
}

/* "ID T read|write|zero|caw UNIT N [EXPECT] [VALUE]"; NULL, or what is wrong. */
static const char *invoked(struct vms_history *h, struct table *ids, char *p, unsigned line)
{
	struct vms_history_op o = {.file = h->files - 1,
				   .line = line,
				   .outcome = VMS_HISTORY_UNKNOWN,
				   .end = VMS_HISTORY_NEVER};
	uint64_t unit, n;
	bool zero = false;
	struct slot *s;

	if (!number(&p, &o.id) || !number(&p, &o.start))
		return "no id and time";
	if (word(&p, "read"))
		o.kind = VMS_HISTORY_READ;
	else if (word(&p, "write"))
		o.kind = VMS_HISTORY_WRITE;
	else if (word(&p, "zero"))
		o.kind = VMS_HISTORY_WRITE, zero = true;
	else if (word(&p, "caw"))
		o.kind = VMS_HISTORY_CAW;
	else
		return "no such operation";
	if (!number(&p, &unit) || !number(&p, &n) || unit > UINT32_MAX - VMS_HISTORY_UNITS_MAX ||
	    n < 1 || n > VMS_HISTORY_UNITS_MAX)
		return "no units";
	o.unit = (uint32_t)unit;
	o.n = (uint32_t)n;
	if (o.kind == VMS_HISTORY_CAW && !number(&p, &o.expect))
		return "no value to compare with";
	if (o.kind != VMS_HISTORY_READ && !zero) {
		if (!number(&p, &o.value) || !o.value || o.value == VMS_HISTORY_TORN)
			return "no value";
		s = place(&h->values, o.value);
		if (!s)
			return "out of memory";
		if (s->op)
			return "its value was written before";
		*s = (struct slot){o.value, h->n + 1};
		h->values.used++;
	}
	if (!at_end(p))
		return "more than expected";
	s = place(ids, o.id);
	if (!s)
		return "out of memory";
	if (s->op)
		return "its id was used before";
	*s = (struct slot){o.id, h->n + 1};
	ids->used++;
	if (h->n == h->cap) {
		size_t cap = h->cap ? h->cap * 2 : 1024;
		struct vms_history_op *a = realloc(h->op, cap * sizeof(*a));

		if (!a)
			return "out of memory";
		h->op = a;
		h->cap = cap;
	}
	h->op[h->n++] = o;
	return NULL;
}

/* "ID T ok [VALUE…] | fail | miscompare | unknown [BOUND]" */
static const char *ended(struct vms_history *h, struct table *ids, char *p)
{
	struct vms_history_op *o;
	struct slot *s;
	uint64_t id, t;

	if (!number(&p, &id) || !number(&p, &t))
		return "no id and time";
	s = place(ids, id);
	if (!s)
		return "out of memory";
	if (!s->op)
		return "an outcome of nothing";
	o = &h->op[s->op - 1];
	if (o->outcome != VMS_HISTORY_UNKNOWN || o->end != VMS_HISTORY_NEVER)
		return "a second outcome";
	if (t < o->start)
		return "it ended before it began";
	if (word(&p, "ok")) {
		o->outcome = VMS_HISTORY_OK;
		if (o->kind == VMS_HISTORY_READ) {
			o->seen = calloc(o->n, sizeof(*o->seen));
			if (!o->seen)
				return "out of memory";
			for (uint32_t i = 0; i < o->n; i++)
				if (word(&p, "torn"))
					o->seen[i] = VMS_HISTORY_TORN;
				else if (!number(&p, &o->seen[i]))
					return "a value is missing";
		}
	} else if (word(&p, "fail")) {
		o->outcome = VMS_HISTORY_FAIL;
	} else if (word(&p, "miscompare")) {
		if (o->kind != VMS_HISTORY_CAW)
			return "only a caw can miscompare";
		if (o->n != 1)
			return "a caw of several units";
		o->outcome = VMS_HISTORY_MISCOMPARE;
	} else if (word(&p, "unknown")) {
		uint64_t bound = VMS_HISTORY_NEVER;

		if (!at_end(p) && !number(&p, &bound))
			return "no such bound";
		if (bound < t)
			return "its bound is before its end";
		o->end = bound;
		return at_end(p) ? NULL : "more than expected";
	} else {
		return "no such outcome";
	}
	o->end = t;
	return at_end(p) ? NULL : "more than expected";
}

int vms_history_add(struct vms_history *h, FILE *f, const char *name, FILE *err)
{
	struct table ids = {0};
	const char *why = NULL;
	char *line = NULL, **files;
	size_t cap = 0;
	unsigned at = 0;
	ssize_t len;

	files = realloc(h->file, (h->files + 1) * sizeof(*files));
	if (!files)
		return -1;
	h->file = files;
	h->file[h->files] = strdup(name);
	if (!h->file[h->files])
		return -1;
	h->files++;
	while (!why && (len = getline(&line, &cap, f)) > 0) {
		char *p = line;

		at++;
		if (line[len - 1] != '\n')
			break; /* the recorder was killed in the middle of it */
		if (at == 1) {
			uint64_t version, unit;

			if (!word(&p, "vmstore-history") || !number(&p, &version) || version != 1 ||
			    !word(&p, "unit") || !number(&p, &unit) || !unit || !at_end(p))
				why = "not a history (vmstore-history 1 unit BYTES)";
			else if (h->unit_bytes && h->unit_bytes != unit)
				why = "its units have another size than those before";
			else
				h->unit_bytes = unit;
		} else if (word(&p, "i")) {
			why = invoked(h, &ids, p, at);
		} else if (word(&p, "o")) {
			why = ended(h, &ids, p);
		} else if (*line != '#') {
			why = "neither i nor o";
		}
	}
	if (!at)
		why = "empty";
	if (why)
		fprintf(err, "%s:%u: %s\n", name, at, why);
	free(line);
	free(ids.slot);
	return why ? -1 : 0;
}
