// SPDX-License-Identifier: GPL-2.0-only
/*
 * Catalog engine in memory: the simulator's and the tests'. Its memory counts as
 * durable: a simulated crash of the service keeps the engine.
 */
#include <stdlib.h>
#include <string.h>

#include "cluster/cat_server.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

struct entry {
	char *key, *val;
	uint32_t val_bytes;
	uint64_t mod, create;
};

struct mem {
	VMS_VEC(struct entry) e; /* sorted by key */
	uint64_t revision;
};

/* First entry with key >= k; *same: is it k itself? */
static size_t find(const struct mem *m, const char *k, bool *same)
{
	size_t lo = 0, hi = m->e.n;

	*same = false;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(m->e.d[mid].key, k);

		if (!c)
			*same = true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void show(const struct entry *e, struct vms_cat_kv *kv)
{
	*kv = (struct vms_cat_kv){.key = e->key,
				  .val = e->val,
				  .val_bytes = e->val_bytes,
				  .mod_revision = e->mod,
				  .create_revision = e->create};
}

static uint64_t mem_revision(void *ctx)
{
	return ((struct mem *)ctx)->revision;
}

static int mem_get(void *ctx, const char *key, struct vms_cat_kv *kv)
{
	struct mem *m = ctx;
	bool same;
	size_t i = find(m, key, &same);

	if (!same)
		return VMS_E_NOENT;
	show(&m->e.d[i], kv);
	return 0;
}

static int mem_next(void *ctx, const char *prefix, const char *after, struct vms_cat_kv *kv)
{
	struct mem *m = ctx;
	bool same;
	size_t i = find(m, after && strcmp(after, prefix) > 0 ? after : prefix, &same);

	if (same && after && !strcmp(m->e.d[i].key, after))
		i++;
	if (i >= m->e.n || strncmp(m->e.d[i].key, prefix, strlen(prefix)))
		return VMS_E_NOENT;
	show(&m->e.d[i], kv);
	return 0;
}

static int mem_apply(void *ctx, uint64_t revision, const struct vms_cat_op *op, unsigned nop)
{
	struct mem *m = ctx;

	vms_assert(revision > m->revision);
	for (unsigned k = 0; k < nop; k++) {
		bool same;
		size_t i = find(m, op[k].key, &same);

		if (!op[k].val) {
			if (same) {
				free(m->e.d[i].key);
				free(m->e.d[i].val);
				VMS_VEC_REMOVE(&m->e, i);
			}
			continue;
		}
		if (!same) {
			(void)VMS_VEC_ADD(&m->e);
			memmove(&m->e.d[i + 1], &m->e.d[i], (m->e.n - 1 - i) * sizeof(m->e.d[0]));
			m->e.d[i] = (struct entry){.key = strdup(op[k].key), .create = revision};
			vms_assert(m->e.d[i].key);
		}
		free(m->e.d[i].val);
		m->e.d[i].val = strdup(op[k].val);
		vms_assert(m->e.d[i].val);
		m->e.d[i].val_bytes = (uint32_t)strlen(op[k].val);
		m->e.d[i].mod = revision;
	}
	m->revision = revision;
	return 0;
}

static const struct vms_cat_engine_ops mem_ops = {
	.struct_bytes = sizeof(mem_ops),
	.revision = mem_revision,
	.get = mem_get,
	.next = mem_next,
	.apply = mem_apply,
};

int vms_cat_engine_mem_open(struct vms_cat_engine *e)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m)
		return VMS_E_NOMEM;
	e->ops = &mem_ops;
	e->ctx = m;
	return 0;
}

void vms_cat_engine_mem_close(struct vms_cat_engine *e)
{
	struct mem *m = e->ctx;

	for (size_t i = 0; i < m->e.n; i++) {
		free(m->e.d[i].key);
		free(m->e.d[i].val);
	}
	VMS_VEC_FREE(&m->e);
	free(m);
	e->ctx = NULL;
}
