// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fetching chunks from containers: segment headers (cached) and the engine that
 * reads chunks and checks each against its header. A misdirected or damaged chunk
 * never leaves it. Chunks of partitions that this node does not have (pages refer to
 * them since deduplication) come from a member of theirs, the primary first; AGAIN
 * when some member could not be asked. Keeps invariants 19, 25 (rules A11, B5).
 */
#include "backend/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/htab.h"
#include "backend/learn.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/repair.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"

#define NODE_SEGS_MAX 16384u /* segment headers cached */

/* ---- segment headers ---- */

static void seg_unlink(struct vms_node *n, struct seg_cache *s)
{
	if (s->older)
		s->older->newer = s->newer;
	else
		n->seg_oldest = s->newer;
	if (s->newer)
		s->newer->older = s->older;
	else
		n->seg_newest = s->older;
}

static void seg_newest(struct vms_node *n, struct seg_cache *s)
{
	s->newer = NULL;
	s->older = n->seg_newest;
	if (n->seg_newest)
		n->seg_newest->newer = s;
	else
		n->seg_oldest = s;
	n->seg_newest = s;
}

static struct seg_cache *seg_get(struct vms_node *n, vms_addr header)
{
	struct vms_hlink *l = vms_htab_find(&n->segs, header);
	struct seg_cache *s = l ? vms_hlink_entry(l, struct seg_cache, link) : NULL;

	if (s && n->seg_newest != s) {
		seg_unlink(n, s);
		seg_newest(n, s);
	}
	return s;
}

void segs_put(struct vms_node *n, const struct vms_seg *sg)
{
	vms_addr key = vms_addr_make(sg->ctr, sg->offset_bytes);
	struct seg_cache *s = seg_get(n, key);

	if (!s) {
		if (n->nsegs >= NODE_SEGS_MAX) {
			s = n->seg_oldest;
			seg_unlink(n, s);
			vms_htab_del(&n->segs, &s->link);
		} else {
			s = malloc(sizeof(*s));
			vms_assert(s);
			n->nsegs++;
		}
		s->verified = s->verified_ms = 0;
		vms_htab_add(&n->segs, &s->link, key);
		seg_newest(n, s);
	}
	s->n = sg->n;
	s->present = 0;
	for (uint32_t i = 0; i < sg->n; i++) {
		unsigned k = vms_seg_index(vms_addr_offset_bytes(sg->e[i].addr));

		if (vms_addr_container(sg->e[i].addr) != sg->ctr || k >= VMS_SEG_ENTRIES_MAX ||
		    vms_seg_header_offset(vms_addr_offset_bytes(sg->e[i].addr)) != sg->offset_bytes)
			continue;
		s->present |= 1ull << k;
		s->crc[k] = sg->e[i].crc;
		s->valid[k] = sg->e[i].valid;
	}
}

#define VERIFY_MS (24ull * 3600 * 1000)

static void seg_verify(struct vms_node *n, struct seg_cache *s, unsigned k)
{
	if (!s->verified || n->now_ms - s->verified_ms > VERIFY_MS) {
		s->verified = 0;
		s->verified_ms = n->now_ms;
	}
	s->verified |= 1ull << k;
}

static struct seg_cache *seg_of(struct vms_node *n, vms_addr a, unsigned *k)
{
	uint32_t off = vms_addr_offset_bytes(a);

	*k = vms_seg_index(off);
	return *k < VMS_SEG_ENTRIES_MAX ? seg_get(n, vms_addr_make(vms_addr_container(a),
								   vms_seg_header_offset(off)))
					: NULL;
}

void segs_verify(struct vms_node *n, vms_addr a)
{
	unsigned k;
	struct seg_cache *s = seg_of(n, a, &k);

	if (s)
		seg_verify(n, s, k);
}

bool segs_verified(struct vms_node *n, vms_addr a)
{
	unsigned k;
	struct seg_cache *s = seg_of(n, a, &k);

	return s && (s->verified >> k & 1) && n->now_ms - s->verified_ms <= VERIFY_MS;
}

void segs_close(struct vms_node *n)
{
	while (n->seg_oldest) {
		struct seg_cache *s = n->seg_oldest;

		n->seg_oldest = s->newer;
		free(s);
	}
	vms_htab_free(&n->segs);
}

/* ---- fetch ---- */

struct fetch *fetch_new(struct vms_node *n, unsigned nent)
{
	struct fetch *f = calloc(1, sizeof(*f));

	vms_assert(f);
	f->n = n;
	f->nent = nent;
	f->e = calloc(nent ? nent : 1, sizeof(*f->e));
	vms_assert(f->e);
	return f;
}

void fetch_free(struct fetch *f)
{
	free(f->e);
	free(f);
}

/* A run of chunks that follow each other in one segment. */
struct run {
	struct dio d;
	struct fetch *f;
	unsigned first, count;
	bool data; /* the read in flight is the data's, else the header's */
	uint8_t *hdr;
};

static uint32_t zero_crc(void)
{
	static const uint8_t zero[VMS_CHUNK_BYTES];
	static uint32_t crc;

	if (!crc)
		crc = vms_crc32c(0, zero, sizeof(zero));
	return crc;
}

/* ---- from other nodes ---- */

#define REMOTE_MAX 256u /* chunks of one request */

struct remote {
	struct fetch *f;
	uint32_t part;
	unsigned next_member, n;
	bool missing; /* some member could not be asked */
	bool own_bad; /* the own copy is damaged */
	uint32_t idx[REMOTE_MAX];
};

static void remote_go(struct vms_node *n, struct remote *r);

static void fetch_part_done(struct vms_node *n, struct fetch *f)
{
	f->pending--;
	if (!f->pending && !f->issuing)
		f->done(n, f);
}

static void remote_reply(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	struct remote *r = arg;
	const uint8_t *data = m && m->npayload ? m->payload[0].base : NULL;
	size_t left = m && m->npayload ? m->payload[0].len : 0;
	unsigned k = 0;

	if (m && !m->status && m->body_bytes != 16 * r->n)
		m = NULL;
	if (!m || (m->status && m->status != VMS_E_UNKNOWN)) {
		r->missing = true;
		remote_go(n, r);
		return;
	}
	for (unsigned i = 0; i < r->n; i++) {
		struct fetch_ent *e = &r->f->e[r->idx[i]];
		const uint8_t *b = m->status ? NULL : m->body + 16 * i;
		int st = b ? (int16_t)vms_get_le16(b + 12) : VMS_E_UNKNOWN;

		if (st == 0 || st == VMS_E_BAD_SECTORS) {
			if (left < VMS_CHUNK_BYTES) {
				st = VMS_E_CORRUPT;
			} else {
				if (vms_get_le64(b) != e->addr ||
				    vms_crc32c(0, data, VMS_CHUNK_BYTES) != vms_get_le32(b + 8)) {
					st = VMS_E_CORRUPT;
				} else {
					memcpy(e->buf, data, VMS_CHUNK_BYTES);
					e->crc = vms_get_le32(b + 8);
					e->valid = st ? b[14] : VMS_MASK_FULL;
				}
				data += VMS_CHUNK_BYTES;
				left -= VMS_CHUNK_BYTES;
			}
		}
		e->status = st;
		if (st == 0 || st == VMS_E_BAD_SECTORS || st == VMS_E_GONE)
			continue;
		/* UNKNOWN: it may not have got there yet */
		if ((st != VMS_E_UNKNOWN || r->own_bad) && st != VMS_E_CORRUPT && st != VMS_E_IO)
			r->missing = true;
		r->idx[k++] = r->idx[i];
	}
	r->n = k;
	remote_go(n, r);
}

/* Ask the next member for what is still missing. */
static void remote_go(struct vms_node *n, struct remote *r)
{
	const struct vms_part_conf *pc = &n->pconf[r->part];
	struct fetch *f = r->f;

	while (r->n && r->next_member < pc->nmembers) {
		uint32_t node = pc->member[r->next_member++].node;
		struct vms_msg q = {.type = VMS_MSG_READ_ADDR, .partition = r->part};
		uint8_t body[8 * REMOTE_MAX];

		if (node == n->id)
			continue;
		for (unsigned i = 0; i < r->n; i++)
			vms_put_le64(body + 8 * i, f->e[r->idx[i]].addr);
		q.epoch = pc->epoch;
		q.body = body;
		q.body_bytes = 8 * r->n;
		if (rpc_send(n, node_peer(n, node, false), &q, n->tm.lease_ms, remote_reply, r)) {
			n->st.fetched_remote += r->n;
			return;
		}
		r->missing = true;
	}
	if (!pc->nmembers)
		r->missing = true;
	for (unsigned i = 0; i < r->n; i++)
		if (n->closing)
			f->e[r->idx[i]].status = VMS_E_STOPPING;
		else if (r->missing && (!r->own_bad || f->patient))
			f->e[r->idx[i]].status = VMS_E_AGAIN;
		else if (r->own_bad && !f->e[r->idx[i]].nowhere &&
			 !repair_lost(n, f->e[r->idx[i]].addr))
			f->e[r->idx[i]].status = VMS_E_AGAIN; /* it may be whole again soon */
	free(r);
	fetch_part_done(n, f);
}

static struct remote *remote_new(struct fetch *f, uint32_t part)
{
	struct remote *r = malloc(sizeof(*r));

	vms_assert(r);
	r->f = f;
	r->part = part;
	r->next_member = r->n = 0;
	r->missing = r->own_bad = false;
	f->pending++;
	return r;
}

/* Is it read from the own disk? */
static bool is_local(const struct vms_node *n, uint32_t part)
{
	const struct part *p = n->part[part];

	return p && (p->known || (p->learn && !learn_holds(n, p)) ||
		     (!n->pconf[part].epoch && p->copy_state == COPY_WHOLE));
}

/* e[first..] whose addresses are of this partition: all of them that wait. */
static void remote_start(struct vms_node *n, struct fetch *f, unsigned first, uint32_t part)
{
	struct remote *r = remote_new(f, part);

	for (unsigned i = first; i < f->nent && r->n < REMOTE_MAX; i++) {
		struct fetch_ent *e = &f->e[i];

		if (e->skip || e->asked || e->addr == VMS_ADDR_HOLE || e->addr == VMS_ADDR_LOST ||
		    vms_addr_partition(e->addr, n->conf.part_bits) != part)
			continue;
		e->asked = true;
		e->status = VMS_E_UNKNOWN;
		r->idx[r->n++] = i;
	}
	remote_go(n, r);
}

/* ---- from the own disk ---- */

static void run_end(struct vms_node *n, struct run *r, int status)
{
	struct fetch *f = r->f;
	vms_addr first = f->e[r->first].addr;
	uint32_t off = vms_addr_offset_bytes(first);
	uint32_t part = vms_addr_partition(first, n->conf.part_bits);
	struct remote *other = NULL;
	struct seg_cache *s;

	s = seg_get(n, vms_addr_make(vms_addr_container(first), vms_seg_header_offset(off)));
	for (unsigned i = 0; i < r->count; i++) {
		struct fetch_ent *e = &f->e[r->first + i];
		unsigned k = vms_seg_index(vms_addr_offset_bytes(e->addr));

		e->status = status;
		if (status == VMS_E_NOENT) {
			struct part *p = node_part(n, part);
			int rc = p ? part_addr_check(n, p, e->addr) : VMS_E_UNKNOWN;

			e->status = rc ? rc : VMS_E_UNKNOWN;
		}
		if (!e->status && (!s || !(s->present >> k & 1))) {
			e->status = VMS_E_CORRUPT;
			e->nowhere = true;
		} else if (!e->status) {
			e->crc = vms_crc32c(0, e->buf, VMS_CHUNK_BYTES);
			e->valid = s->valid[k];
			if (e->crc == s->crc[k])
				seg_verify(n, s, k);
			if (e->crc != s->crc[k])
				e->status = VMS_E_CORRUPT;
			else if (e->valid != VMS_MASK_FULL)
				e->status = VMS_E_BAD_SECTORS;
		}
		if (e->status == VMS_E_CORRUPT) {
			n->st.corrupt++;
			node_log_place(
				n, VMS_LOG_ERROR, vms_mix64(e->addr),
				"container %09llx offset %u: chunk does not match its checksum",
				(unsigned long long)vms_addr_container(e->addr),
				vms_addr_offset_bytes(e->addr));
		}
		if (e->status == VMS_E_CORRUPT && n->mut == MUT_RP_LOST_READ) {
			memset(e->buf, 0, VMS_CHUNK_BYTES);
			e->crc = zero_crc();
			e->status = 0;
		}
		if (e->status == VMS_E_CORRUPT || e->status == VMS_E_IO)
			repair_addr(n, e->addr);
		if ((e->status == VMS_E_CORRUPT || e->status == VMS_E_IO) &&
		    (!f->own_only || e->any_node)) {
			if (!other) {
				other = remote_new(f, part);
				other->own_bad = true;
			}
			other->idx[other->n++] = r->first + i;
		}
	}
	if (other) /* a run lies in one segment: they all fit */
		remote_go(n, other);
	free(r->hdr);
	free(r);
	fetch_part_done(n, f);
}

static int header_use(struct vms_node *n, struct run *r)
{
	vms_addr a = r->f->e[r->first].addr;
	struct vms_seg sg;
	int rc = vms_seg_decode(r->hdr, vms_addr_container(a),
				vms_seg_header_offset(vms_addr_offset_bytes(a)), &sg);

	if (rc)
		return rc;
	segs_put(n, &sg);
	for (unsigned i = 0; r->f->want_fp && i < r->count; i++) {
		struct fetch_ent *e = &r->f->e[r->first + i];
		unsigned k = vms_seg_index(vms_addr_offset_bytes(e->addr));

		if (k >= sg.n || sg.e[k].addr != e->addr || !sg.e[k].has_fp)
			continue;
		e->has_fp = true;
		memcpy(e->fp, sg.e[k].fp, sizeof(e->fp));
	}
	return 0;
}

static void run_event(struct vms_node *n, struct dio *d, int status);

static void run_go(struct vms_node *n, struct run *r)
{
	vms_addr a = r->f->e[r->first].addr;
	uint64_t c = vms_addr_container(a);
	uint32_t off = vms_addr_offset_bytes(a), hoff = vms_seg_header_offset(off);
	int rc;

	if (!r->data) {
		if (r->f->want_fp || !seg_get(n, vms_addr_make(c, hoff))) {
			r->hdr = malloc(VMS_CHUNK_BYTES);
			vms_assert(r->hdr);
			rc = n->disk.ops->ctr_read_now(n->disk.ctx, c, hoff, r->hdr,
						       VMS_CHUNK_BYTES);
			if (rc == VMS_E_AGAIN) {
				n->disk.ops->ctr_read(n->disk.ctx, c, hoff, r->hdr, VMS_CHUNK_BYTES,
						      dio_token(n, &r->d));
				return;
			}
			if (!rc)
				rc = header_use(n, r);
			if (rc) {
				run_end(n, r, rc);
				return;
			}
		}
		r->data = true;
	}
	rc = n->disk.ops->ctr_read_now(n->disk.ctx, c, off, r->f->e[r->first].buf,
				       (size_t)r->count * VMS_CHUNK_BYTES);
	if (rc == VMS_E_AGAIN) {
		n->disk.ops->ctr_read(n->disk.ctx, c, off, r->f->e[r->first].buf,
				      (size_t)r->count * VMS_CHUNK_BYTES, dio_token(n, &r->d));
		return;
	}
	run_end(n, r, rc);
}

static void run_event(struct vms_node *n, struct dio *d, int status)
{
	struct run *r = (struct run *)((char *)d - offsetof(struct run, d));

	if (!status && !r->data) {
		status = header_use(n, r);
		if (!status) {
			r->data = true;
			run_go(n, r);
			return;
		}
	}
	run_end(n, r, status);
}

/* Reads all entries; calls done() when all are there, maybe before it returns.
 * The fetch and its buffers stay the caller's. */
void fetch_start(struct vms_node *n, struct fetch *f)
{
	f->issuing = true;
	for (unsigned i = 0; i < f->nent;) {
		struct fetch_ent *e = &f->e[i];
		uint32_t number;
		struct run *r;
		struct part *p;
		unsigned k;

		if (e->skip) {
			i++;
			continue;
		}
		if (e->addr == VMS_ADDR_LOST) {
			e->status = VMS_E_CORRUPT;
			i++;
			continue;
		}
		if (e->addr == VMS_ADDR_HOLE) {
			memset(e->buf, 0, VMS_CHUNK_BYTES);
			e->crc = zero_crc();
			e->valid = VMS_MASK_FULL;
			e->status = 0;
			i++;
			continue;
		}
		number = vms_addr_partition(e->addr, n->conf.part_bits);
		if (!is_local(n, number)) {
			if (!e->asked)
				remote_start(n, f, i, number);
			i++;
			continue;
		}
		p = node_part(n, number);
		e->status = part_addr_check(n, p, e->addr);
		if (e->status) {
			i++;
			continue;
		}
		for (k = i + 1; k < f->nent; k++)
			if (f->e[k].skip || f->e[k].addr != e->addr + (k - i) * VMS_CHUNK_BYTES ||
			    f->e[k].buf != e->buf + (k - i) * VMS_CHUNK_BYTES ||
			    vms_seg_header_offset(vms_addr_offset_bytes(f->e[k].addr)) !=
				    vms_seg_header_offset(vms_addr_offset_bytes(e->addr)) ||
			    vms_addr_container(f->e[k].addr) != vms_addr_container(e->addr) ||
			    part_addr_check(n, p, f->e[k].addr))
				break;
		r = calloc(1, sizeof(*r));
		vms_assert(r);
		r->d.fn = run_event;
		r->f = f;
		r->first = i;
		r->count = k - i;
		f->pending++;
		run_go(n, r);
		i = k;
	}
	f->issuing = false;
	if (!f->pending)
		f->done(n, f);
}
