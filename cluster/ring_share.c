// SPDX-License-Identifier: GPL-2.0-only
/* How much each node gets: the members and zones of a plan, their best achievable shares, and
 * the quotas that come of them. */
#include "cluster/ring.h"

#include <stdbool.h>
#include <string.h>

#include "cluster/ring_int.h"
#include "utils/lib/assert.h"

#define LEVEL_SHIFT 24 /* water level: share per unit of weight, 2^-24 more */
/* One step of the water level changes a share by less than this (weights are at most
 * 2^20, so by 2^-4 units each); shares so near below a whole number mean that number. */
#define SHARE_EPSILON 64u

/* ---- membership ---- */

int vms_ring_check(const struct vms_ring_table *prev, const struct vms_ring_member *m, unsigned n,
		   const struct vms_ring_params *params, struct vms_errmsg *e)
{
	unsigned active = 0;

	if (params->part_bits > VMS_PART_BITS_MAX)
		return vms_fail(e, VMS_E_INVAL, "2^%u partitions: at most 2^%d are possible",
				params->part_bits, VMS_PART_BITS_MAX);
	if (params->copies < 1 || params->copies > VMS_COPIES_MAX)
		return vms_fail(e, VMS_E_INVAL, "%u copies: 1 to %d are possible", params->copies,
				VMS_COPIES_MAX);
	if (prev && prev->part_bits != params->part_bits)
		return vms_fail(e, VMS_E_INVAL,
				"2^%u partitions asked for, but the ring has 2^%u: their number "
				"is fixed when the cluster is created",
				params->part_bits, prev->part_bits);
	if (n > VMS_NODES_MAX)
		return vms_fail(e, VMS_E_INVAL, "%u nodes: at most %d are possible", n,
				VMS_NODES_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (m[i].id == VMS_RING_NONE)
			return vms_fail(e, VMS_E_INVAL, "node id %u is reserved", m[i].id);
		if (m[i].weight > VMS_RING_WEIGHT_MAX)
			return vms_fail(e, VMS_E_INVAL, "node %u has weight %u: at most %u",
					m[i].id, m[i].weight, VMS_RING_WEIGHT_MAX);
		for (unsigned k = 0; k < i; k++)
			if (m[k].id == m[i].id)
				return vms_fail(e, VMS_E_INVAL, "node id %u occurs twice", m[i].id);
		active += m[i].weight > 0;
	}
	if (!active)
		return vms_fail(e, VMS_E_INVAL,
				"no node has a weight above 0: nothing can hold the data");
	return 0;
}

/* Takes the members with a weight, in order of id, and numbers their zones. */
void ring_take_members(struct plan *p, const struct vms_ring_member *m, unsigned n)
{
	const char *zone_name[VMS_NODES_MAX];
	unsigned order[VMS_NODES_MAX];

	for (unsigned i = 0; i < n; i++) {
		unsigned at;

		if (!m[i].weight)
			continue;
		for (at = p->n++; at && m[order[at - 1]].id > m[i].id; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	for (unsigned i = 0; i < p->n; i++) {
		const struct vms_ring_member *x = &m[order[i]];
		bool named = x->zone && *x->zone;
		unsigned z = p->nz;

		p->id[i] = x->id;
		p->weight[i] = x->weight;
		for (unsigned k = 0; named && k < p->nz; k++) {
			if (zone_name[k] && !strcmp(zone_name[k], x->zone)) {
				z = k;
				break;
			}
		}
		if (z == p->nz)
			zone_name[p->nz++] = named ? x->zone : NULL;
		p->zone[i] = (uint16_t)z;
		p->zone_nodes[z]++;
	}
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Rule 2 as bounds: with c the smallest ceiling that still makes room for r replicas,
 * each zone takes c - 1 or c of a partition's replicas (or all its nodes, if fewer). */
void ring_zone_bounds(struct plan *p)
{
	uint32_t c = 0, room = 0;

	while (room < p->r) {
		room = 0;
		c++;
		for (unsigned z = 0; z < p->nz; z++)
			room += least(p->zone_nodes[z], c);
	}
	for (unsigned z = 0; z < p->nz; z++) {
		p->zone_min[z] = least(p->zone_nodes[z], c - 1);
		p->zone_max[z] = least(p->zone_nodes[z], c);
	}
	p->zone_has_min = c > 1;
}

/* ---- shares ---- */

static uint64_t node_share(const struct plan *p, unsigned i, uint64_t level)
{
	unsigned __int128 x = ((unsigned __int128)p->weight[i] * level) >> LEVEL_SHIFT;
	uint64_t most = (uint64_t)p->parts << SHARE_SHIFT;

	return x > most ? most : (uint64_t)x;
}

static uint64_t zone_share(const struct plan *p, unsigned z, uint64_t level)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < p->n; i++)
		if (p->zone[i] == z)
			sum += node_share(p, i, level);
	return sum;
}

static uint64_t zone_bounded(const struct plan *p, unsigned z, uint64_t level)
{
	uint64_t lo = ((uint64_t)p->zone_min[z] * p->parts) << SHARE_SHIFT;
	uint64_t hi = ((uint64_t)p->zone_max[z] * p->parts) << SHARE_SHIFT;
	uint64_t s = zone_share(p, z, level);

	return s < lo ? lo : s > hi ? hi : s;
}

/* Highest level at which zone z (or, for z = nz, the whole cluster) holds no more than
 * total. */
static uint64_t find_level(const struct plan *p, unsigned z, uint64_t total)
{
	uint64_t level = 0;

	for (uint64_t bit = UINT64_C(1) << 62; bit; bit >>= 1) {
		uint64_t sum = 0;

		if (z < p->nz) {
			sum = zone_share(p, z, level | bit);
		} else {
			for (unsigned k = 0; k < p->nz; k++)
				sum += zone_bounded(p, k, level | bit);
		}
		if (sum <= total)
			level |= bit;
	}
	return level;
}

static uint64_t whole(uint64_t share)
{
	return (share + SHARE_EPSILON) >> SHARE_SHIFT;
}

/* Shares out `units` whole units over n things with the given real shares: each gets
 * its share rounded down, and what remains goes one each to those that have most
 * already (they would have to give it away), then to the largest remainder. */
static void round_shares(unsigned n, const uint64_t *share, const uint32_t *have,
			 const uint32_t *cap, uint64_t units, uint32_t *out)
{
	bool given[VMS_NODES_MAX] = {false};
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		out[i] = (uint32_t)whole(share[i]);
		sum += out[i];
	}
	vms_assert(sum <= units);
	while (sum < units) {
		unsigned best = n;
		bool best_has = false, best_frac = false;
		uint64_t best_rest = 0;

		for (unsigned i = 0; i < n; i++) {
			uint64_t floor_ = whole(share[i]) << SHARE_SHIFT;
			uint64_t rest = share[i] > floor_ ? share[i] - floor_ : 0;
			bool frac = rest > SHARE_EPSILON, has = have[i] > out[i];

			if (given[i] || out[i] >= cap[i])
				continue;
			if (best < n) {
				if (frac != best_frac ? !frac
				    : has != best_has ? !has
						      : rest <= best_rest)
					continue;
			}
			best = i;
			best_has = has;
			best_frac = frac;
			best_rest = rest;
		}
		if (best == n) { /* all had one: another round */
			memset(given, 0, sizeof(given));
			continue;
		}
		given[best] = true;
		out[best]++;
		sum++;
	}
}

void ring_find_shares(struct plan *p)
{
	uint64_t total = ((uint64_t)p->parts * p->r) << SHARE_SHIFT;
	uint64_t level = find_level(p, p->nz, total);

	for (unsigned z = 0; z < p->nz; z++) {
		uint64_t own = find_level(p, z, zone_bounded(p, z, level));

		for (unsigned i = 0; i < p->n; i++)
			if (p->zone[i] == z)
				p->share[i] = node_share(p, i, own);
	}
}

/* Quotas from shares and present loads: whole units per zone first, then per node. */
void ring_find_quotas(struct plan *p)
{
	uint64_t zshare[VMS_NODES_MAX] = {0};
	uint32_t zload[VMS_NODES_MAX] = {0}, zcap[VMS_NODES_MAX], zquota[VMS_NODES_MAX];

	for (unsigned i = 0; i < p->n; i++) {
		zshare[p->zone[i]] += p->share[i];
		zload[p->zone[i]] += p->load[i];
	}
	for (unsigned z = 0; z < p->nz; z++)
		zcap[z] = p->zone_max[z] * p->parts;
	round_shares(p->nz, zshare, zload, zcap, (uint64_t)p->parts * p->r, zquota);
	for (unsigned z = 0; z < p->nz; z++) {
		unsigned at[VMS_NODES_MAX], k = 0;
		uint64_t share[VMS_NODES_MAX];
		uint32_t load[VMS_NODES_MAX], cap[VMS_NODES_MAX], out[VMS_NODES_MAX];

		for (unsigned i = 0; i < p->n; i++) {
			if (p->zone[i] != z)
				continue;
			share[k] = p->share[i];
			load[k] = p->load[i];
			cap[k] = p->parts;
			at[k++] = i;
		}
		round_shares(k, share, load, cap, zquota[z], out);
		for (unsigned i = 0; i < k; i++)
			p->quota[at[i]] = out[i];
	}
}
