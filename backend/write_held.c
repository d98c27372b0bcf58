// SPDX-License-Identifier: GPL-2.0-only
/*
 * Below min_copies: nothing is ordered, and what was ordered before a member was dropped is
 * committed (it can be read, and the log goes on) and not acknowledged before there are copies
 * enough again, or fewer are wanted. Its outcome stays as long.
 */
#include "backend/node_mutant.h"
#include "backend/outcome.h"
#include "backend/write_int.h"

bool write_too_few(const struct vms_node *n, const struct part *p)
{
	return p->nm < n->cluster.min_copies && n->mut != MUT_MIN_COPIES;
}

void write_hold(struct part *p, struct op *o, struct vms_outcome *oc)
{
	oc->pending = o;
	oc->held = true;
	o->next = p->held;
	p->held = o;
}

void write_hold_again(struct vms_node *n, struct part *p, const struct wreq *w,
		      struct vms_outcome *oc)
{
	struct op *o = op_new(n);

	o->part = p;
	o->state = OP_ORDERED;
	o->conn = w->conn;
	o->req = *w->m;
	o->req.body = NULL;
	o->req.payload = NULL;
	o->req.npayload = 0;
	o->kind = w->kind;
	o->np = w->np;
	o->seq = oc->seq;
	write_hold(p, o, oc);
}

void write_held_end(struct vms_node *n, struct part *p, int status)
{
	struct op *o;

	while ((o = p->held)) {
		struct vms_opid op = opid_of(&o->req);
		struct vms_outcome *oc = vms_outcome_find(&n->outcomes, p->number, &op);
		struct wreq w = {.m = &o->req, .conn = o->conn, .np = o->np};

		p->held = o->next;
		/* its slot may have been used again: then nobody waits for it */
		if (oc && oc->pending == o) {
			vms_outcome_settle(&n->outcomes, oc, n->now_ms);
			if (o->conn && !status)
				write_answer_again(n, &w, p, oc);
			else if (o->conn)
				node_reply(n, o->conn, &o->req, status);
		}
		op_free(n, o);
	}
}

void write_held(struct vms_node *n, struct part *p)
{
	if (p->held && part_serving(p) && !write_too_few(n, p))
		write_held_end(n, p, 0);
}
