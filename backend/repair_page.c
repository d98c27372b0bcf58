// SPDX-License-Identifier: GPL-2.0-only
/*
 * Repair of index values. A damaged page comes from another member of the set: what it
 * has fits when our applied records lie between the last one that changed its page and
 * the last one it has applied. A page that no member has whole is *lost*: one that names
 * no address (VMS_ADDR_LOST: reads as damaged, never as zeros) takes its place, so that
 * the partition goes on, and it is listed. Everything else in the index is in memory too
 * and is written again. Keeps invariant 25.
 */
#include <stdlib.h>

#include "backend/branch.h"
#include "backend/lease.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/outcome.h"
#include "backend/page_patch.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/repair.h"
#include "backend/repair_int.h"
#include "backend/rpc.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PAGES_MAX 1024u
#define WORKING	  8u

struct rpage {
	struct rpage *next;
	struct vms_page_key key;
	bool busy, dead, found, missing;
	unsigned next_peer, tries;
	uint64_t retry_ms;
	uint32_t asked;
};

static bool same(const struct vms_page_key *a, const struct vms_page_key *b)
{
	return a->partition == b->partition && a->branch == b->branch && a->subext == b->subext &&
	       a->snap_gen == b->snap_gen;
}

static void page_drop(struct vms_node *n, struct rpage *j)
{
	struct rpage **at = &n->repair->pages;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	n->repair->npages--;
	free(j);
}

/* vms_pages_on_bad(): may be called while pages are walked, so nothing is changed here. */
void repair_page(void *node, const struct vms_page_key *key)
{
	struct vms_node *n = node;
	struct repair *r = n->repair;
	struct rpage *j;

	if (r->npages >= PAGES_MAX || n->mut == MUT_RP_IGNORE)
		return;
	for (j = r->pages; j; j = j->next)
		if (same(&j->key, key))
			return;
	j = calloc(1, sizeof(*j));
	vms_assert(j);
	j->key = *key;
	j->next = r->pages;
	r->pages = j;
	r->npages++;
	r->st.found++;
	n->st.corrupt++;
	node_log(n, VMS_LOG_WARN,
		 "partition %u: the index page of branch %llu, sub-extent %u, "
		 "number %llu is damaged",
		 key->partition, (unsigned long long)key->branch, key->subext,
		 (unsigned long long)key->snap_gen);
	node_wake_at(n, n->now_ms + 1);
}

bool repair_page_waits(struct vms_node *n, uint32_t partition)
{
	for (struct rpage *j = n->repair->pages; j; j = j->next)
		if (j->key.partition == partition)
			return true;
	return false;
}

static void later(struct vms_node *n, struct rpage *j)
{
	j->tries++;
	j->next_peer = 0;
	j->retry_ms = n->now_ms + repair_pause_ms(j->missing ? j->tries : 0);
	node_wake_at(n, j->retry_ms);
}

static void finished(struct vms_node *n, struct rpage *j)
{
	struct part *p = node_part(n, j->key.partition);

	n->rewrite = n->hungry = true; /* the next checkpoint writes it */
	page_drop(n, j);
	if (p && p->apply_wait)
		p->hold_ms = n->now_ms;
}

static void done(struct vms_node *n, struct rpage *j, const struct vms_page *page)
{
	vms_pages_install(n->pages, page);
	finished(n, j);
}

static void lost(struct vms_node *n, struct rpage *j)
{
	struct part *p = node_part(n, j->key.partition);
	struct vms_page page = {.key = j->key, .drain_seq = p->drain_applied};

	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		page.entry[i] = n->mut == MUT_RP_ZEROS ? VMS_ADDR_HOLE : VMS_ADDR_LOST;
	node_log(n, VMS_LOG_ERROR,
		 "partition %u: the index page of branch %llu, sub-extent %u is "
		 "damaged on every member: what it named cannot be read any more until it is "
		 "written again",
		 j->key.partition, (unsigned long long)j->key.branch, j->key.subext);
	VMS_VEC_PUSH(&n->repair->lost_pages, ((struct lost_page){j->key, n->now_ms}));
	done(n, j, &page);
}

static void ask(struct vms_node *n, struct rpage *j);

static void answered(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	struct rpage *j = arg;
	struct vms_page page = {.key = j->key};
	struct part *p;

	j->busy = false;
	if (j->dead) {
		free(j);
		return;
	}
	p = node_part(n, j->key.partition);
	if (!m || !p || (m->status && vms_err_retryable(m->status))) {
		j->missing = true;
	} else if (!m->status && m->body_bytes == 8) {
		uint64_t theirs = vms_get_le64(m->body);
		bool none = !m->npayload || !m->payload[0].len;

		if (!none && (m->payload[0].len != VMS_PAGE_VAL_BYTES ||
			      vms_page_val_decode(m->payload[0].base, VMS_PAGE_VAL_BYTES, &page))) {
			j->missing = true;
			ask(n, j);
			return;
		}
		if (none) /* dropped by a record that is still to come here */
			page.drain_seq = theirs;

		/* a record of ours that it has not applied may have changed it; one of its
		 * that we have not may have, but our apply lane may be waiting for it */
		if ((theirs >= p->applied || n->mut == MUT_RP_OLD_PAGE) &&
		    (page.drain_seq <= p->applied || p->apply_wait || p->page_wait)) {
			n->repair->st.repaired++;
			if (none) {
				vms_pages_forget(n->pages, &j->key, theirs);
				finished(n, j);
				return;
			}
			node_log(n, VMS_LOG_WARN,
				 "partition %u: the index page of branch %llu, "
				 "sub-extent %u is repaired with the copy of node %u",
				 j->key.partition, (unsigned long long)j->key.branch, j->key.subext,
				 j->asked);
			done(n, j, &page);
			return;
		}
		j->missing = true;
	}
	ask(n, j);
}

static void ask(struct vms_node *n, struct rpage *j)
{
	struct vms_msg q = {
		.type = VMS_MSG_REPAIR, .partition = j->key.partition, .aux = REPAIR_PAGE};
	uint8_t body[VMS_PAGE_KEY_BYTES];
	struct peer *pe;
	bool in_set;

	vms_page_key_encode(body, &j->key);
	q.body = body;
	q.body_bytes = sizeof(body);
	while ((pe = repair_next_peer(n, j->key.partition, false, &j->next_peer, &in_set,
				      &j->missing))) {
		j->busy = true;
		j->asked = pe->id;
		if (rpc_send(n, pe, &q, n->tm.lease_ms, answered, j))
			return;
		j->busy = false;
		j->missing = true;
	}
	if (j->missing || j->tries + 1 < REPAIR_TRIES)
		later(n, j);
	else
		lost(n, j);
}

void repair_pages_timer(struct vms_node *n)
{
	unsigned busy = 0;

	for (struct rpage *j = n->repair->pages, *next; j && busy < WORKING; j = next) {
		struct part *p = node_part(n, j->key.partition);

		next = j->next;
		if (j->busy) {
			busy++;
			continue;
		}
		if (n->now_ms < j->retry_ms) {
			node_wake_at(n, j->retry_ms);
			continue;
		}
		/* gone, or changed since: then the next checkpoint writes it anyway */
		if (!p || !p->known || !vms_pages_stored_bad(n->pages, &j->key)) {
			page_drop(n, j);
			continue;
		}
		if (p->state == PS_NONE || (p->primary && !part_readable(n, p))) {
			j->retry_ms = n->now_ms + REPAIR_MS_MIN;
			node_wake_at(n, j->retry_ms);
			continue;
		}
		j->missing = false;
		busy++;
		ask(n, j);
		next = n->repair->pages; /* the list may have changed */
		if (busy >= WORKING)
			break;
		for (; next && (next->busy || n->now_ms < next->retry_ms); next = next->next)
			;
	}
}

void repair_pages_close(struct vms_node *n)
{
	struct rpage *j;

	while ((j = n->repair->pages)) {
		n->repair->pages = j->next;
		if (j->busy)
			j->dead = true; /* freed when its request ends */
		else
			free(j);
	}
}

/* The scrub found a damaged value under this key. */
void repair_value(struct vms_node *n, const uint8_t *key, uint32_t bytes)
{
	struct vms_page_key pk;
	struct part *p;
	struct ctr *c;
	uint64_t number;

	if (!vms_page_key_decode(key, bytes, &pk) || !vms_patch_key_decode(key, bytes, &pk)) {
		repair_page(n, &pk);
		return;
	}
	n->repair->st.found++;
	n->repair->st.repaired++;
	n->rewrite = n->hungry = true;
	switch (key[0]) {
	case 'P':
		p = bytes == 3 ? node_part(n, vms_get_be16(key + 1)) : NULL;
		if (p)
			p->state_dirty = true;
		break;
	case 'C':
	case 'D':
		number = bytes >= 9 ? vms_get_be64(key + 1) : 0;
		p = node_part(n, vms_addr_partition(vms_addr_make(number, 0), n->conf.part_bits));
		c = p ? part_ctr(p, number) : NULL;
		if (c) {
			c->dirty = true;
			c->dead_dirty |= key[0] == 'D';
		}
		break;
	case 'F': {
		struct branch *b = bytes == 9 ? node_branch(n, vms_get_be64(key + 1), false) : NULL;

		if (b)
			b->floor_dirty = true;
		n->floors_dirty = true;
	} break;
	case 'G':
		n->floors_dirty = true;
		break;
	case 'O':
		vms_outcomes_again(&n->outcomes, key, bytes);
		break;
	default: /* V and N go with every checkpoint, T with the next that frees log */
		break;
	}
	node_log(n, VMS_LOG_WARN, "a value '%c' of the index is damaged: it is written again",
		 key[0]);
}
