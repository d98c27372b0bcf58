// SPDX-License-Identifier: GPL-2.0-only
/*
 * Partitions that stand: their primary needs bytes that no node that runs has, as its own
 * copy and those of the other members are damaged (doc/storage-node.md). Only a copy on a
 * node that is away can bring them back, so these are named: first of all those that ought
 * to hold one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/tool/ring.h"

#define NAMES_MAX 6u /* in a line */

static bool member(const struct vms_part_conf *c, uint32_t node)
{
	for (uint32_t i = 0; i < c->nmembers; i++)
		if (c->member[i].node == node)
			return true;
	return false;
}

static bool wanted(const struct vms_part_conf *c, uint32_t node)
{
	uint32_t want[VMS_COPIES_MAX];

	for (unsigned k = vms_cat_part_want(c, want); k; k--)
		if (want[k - 1] == node)
			return true;
	return false;
}

static void add(char *out, size_t room, const char *text)
{
	size_t n = strlen(out);

	snprintf(out + n, room - n, "%s", text);
}

/* Names of those that are members and run (away: of those that do not run, the wanted ones
 * first), with commas. */
static unsigned names(struct ring *r, uint32_t p, bool away, char *out, size_t room)
{
	const struct vms_part_conf *c = &r->v.part[p].conf;
	unsigned n = 0;

	*out = 0;
	for (unsigned turn = 0; turn < (away ? 2 : 1); turn++)
		VMS_VEC_FOREACH (&r->v.nodes, x) {
			if (x->up == away ||
			    (away ? wanted(c, x->n.id) == (turn == 1) : !member(c, x->n.id)))
				continue;
			if (n++ >= NAMES_MAX)
				continue;
			add(out, room, n > 1 ? ", " : "");
			add(out, room, x->n.name);
		}
	if (n > NAMES_MAX)
		add(out, room, ", …");
	return n;
}

void ring_stand_who(struct ring *r, uint32_t p, char *out, size_t room)
{
	char bad[300], off[300];

	names(r, p, false, bad, sizeof(bad));
	if (names(r, p, true, off, sizeof(off)))
		snprintf(out, room, "damaged on %s, and may be whole on %s (not running)", bad,
			 off);
	else
		snprintf(out, room, "damaged on %s, and all nodes run", bad);
}

void ring_stand_mend(struct ring *r, uint32_t p, char *out, size_t room)
{
	const struct vms_part_conf *c = &r->v.part[p].conf;
	const struct view_node *best = NULL;

	VMS_VEC_FOREACH (&r->v.nodes, x)
		if (!x->up && (!best || (wanted(c, x->n.id) && !wanted(c, best->n.id))))
			best = x;
	if (best)
		snprintf(out, room,
			 "start vmstored on %s (node %s); its copy mends the others by itself: "
			 "`systemctl start vmstored`",
			 best->n.address, best->n.name);
	else
		snprintf(out, room,
			 "`vmstore-ring mark-lost %u` names what is lost; then 'A partition "
			 "stands' in doc/operations.md",
			 p);
}

void ring_stand_print(struct ring *r, const char *head, unsigned most)
{
	unsigned n = 0;
	char who[700];

	for (uint32_t p = 0; r->part && p < r->v.nparts; p++) {
		if (!r->part[p].stands || n++ >= most)
			continue;
		ring_stand_who(r, p, who, sizeof(who));
		printf("%spartition %u: the bytes of record %" PRIu64 " are %s%s\n", head, p,
		       r->part[p].stands, who, r->part[p].writes_wait ? "; its writes wait" : "");
	}
	if (n > most)
		printf("%sand %u partitions more\n", head, n - most);
}

static json_t *list(struct ring *r, uint32_t p, bool away)
{
	const struct vms_part_conf *c = &r->v.part[p].conf;
	json_t *a = json_array();

	VMS_VEC_FOREACH (&r->v.nodes, x)
		if (x->up != away && (away || member(c, x->n.id)))
			json_array_append_new(a, json_string(x->n.name));
	return a;
}

json_t *ring_stand_json(struct ring *r)
{
	json_t *a = json_array();

	for (uint32_t p = 0; r->part && p < r->v.nparts; p++)
		if (r->part[p].stands)
			json_array_append_new(
				a, json_pack("{sI sI sI sb so so}", "partition", (json_int_t)p,
					     "primary", (json_int_t)r->v.part[p].conf.primary,
					     "record", (json_int_t)r->part[p].stands, "writes_wait",
					     (int)r->part[p].writes_wait, "damaged",
					     list(r, p, false), "away", list(r, p, true)));
	return a;
}
