// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-bench verify: what a command's end, or the loss of its session, means to the model
 * and the journal, and whether it is repeated. */
#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdio.h>

#include "utils/bench/bench.h"
#include "utils/bench/gap.h"
#include "utils/bench/journal.h"
#include "utils/bench/model.h"
#include "utils/bench/verify.h"

/* It returned nothing. A COMPARE AND WRITE reads too. */
static void cancel_read(struct op *o)
{
	if (op_is_read(o) || o->kind == OP_CAW)
		vms_model_read_cancel(o->v->m, o->lba, o->n);
}

void verify_settle_unknown(struct op *o)
{
	struct ver *v = o->v;

	cancel_read(o);
	if (op_is_write(o)) {
		uint64_t deadline = verify_now(v) + verify_ns(v, v->failover_ms);

		vms_model_write_lost(v->m, o->seq, o->lba, o->n, deadline);
		if (v->j)
			vms_journal_add(v->j, 'L', o->seq, o->lba, o->n, deadline, 0);
		v->unknown++;
		o->not_before = vms_bench_now() + verify_ns(v, v->failover_ms);
		if (o->kind == OP_CAW) /* what it compares with is old by then */
			o->kind = OP_WRITE;
	} else {
		o->not_before = vms_bench_now();
	}
	o->state = OP_WAIT;
}

static bool in_pieces(const struct op *o)
{
	return op_is_write(o) && o->lba / PIECE_BLOCKS != (o->lba + o->n - 1) / PIECE_BLOCKS;
}

/* Some of its pieces may be applied, none will be any more: repeated like any BUSY. */
static void settle_partly(struct op *o)
{
	struct ver *v = o->v;
	uint64_t now = verify_now(v);

	vms_model_write_lost(v->m, o->seq, o->lba, o->n, now);
	if (v->j)
		vms_journal_add(v->j, 'L', o->seq, o->lba, o->n, now, 0);
	o->not_before = vms_bench_now() + 50 * NS_PER_MS;
	o->state = OP_WAIT;
}

static void not_applied(struct op *o)
{
	struct ver *v = o->v;

	cancel_read(o);
	if (op_is_write(o)) {
		unsigned seen = vms_model_write_refused(v->m, o->seq, o->lba, o->n);

		if (v->j)
			vms_journal_add(v->j, 'X', o->seq, o->lba, o->n, 0, 0);
		if (seen) {
			v->wrong += seen;
			fprintf(stderr,
				"WRONG: write seq %" PRIu64 " (LBA %" PRIu64
				", %u blocks) was refused, but %u of its blocks had been read\n",
				o->seq, o->lba, o->n, seen);
		}
	}
}

void verify_settle_refused(struct op *o)
{
	not_applied(o);
	if (o->kind == OP_CAW)
		o->kind = OP_CAW_READ;
	o->state = OP_WAIT;
	o->not_before = vms_bench_now() + 50 * NS_PER_MS;
}

const char *verify_kind_name(enum op_kind k)
{
	static const char *const name[] = {"READ",
					   "WRITE",
					   "UNMAP or WRITE SAME",
					   "READ",
					   "COMPARE AND WRITE",
					   "SYNCHRONIZE CACHE"};

	return name[k];
}

static const char *sense_text(const struct scsi_task *task)
{
	const char *t = scsi_sense_key_str((int)task->sense.key);

	return t ? t : "-";
}

/* An answered error: the command is over, a write applied in part, whole or not. */
static void settle_error(struct op *o, const struct scsi_task *task, int status)
{
	struct ver *v = o->v;

	if (v->errors++ < 20)
		fprintf(stderr,
			"ERROR: %s of %u blocks at LBA %" PRIu64
			" after %.0f ms: status %#x, sense key %#x asc/ascq %#06x (%s)\n",
			verify_kind_name(o->kind), o->n, o->lba,
			(double)(verify_now(v) - o->start) / 1e6, status,
			task ? (unsigned)task->sense.key : 0, task ? (unsigned)task->sense.ascq : 0,
			task ? sense_text(task) : "no answer");
	cancel_read(o);
	if (op_is_write(o)) {
		uint64_t t = verify_now(v);

		vms_model_write_lost(v->m, o->seq, o->lba, o->n, t);
		if (v->j)
			vms_journal_add(v->j, 'L', o->seq, o->lba, o->n, t, 0);
	}
	o->state = OP_IDLE;
}

void verify_done_cb(struct iscsi_context *ctx, int status, void *command_data, void *private_data)
{
	struct op *o = private_data;
	struct ver *v = o->v;
	struct vsess *s = o->sess;
	struct scsi_task *task = command_data;
	uint64_t wall = vms_bench_now(), now;

	(void)ctx;
	s->in_flight--;
	o->sess = NULL;
	switch (status) {
	case SCSI_STATUS_GOOD:
		s->heard = v->last_done = wall;
		if (!v->checking) {
			vms_gap_mark(&v->gap[s->url], wall);
			vms_gap_mark(&v->gap[v->n_url], wall);
		}
		now = verify_now(v);
		vms_hist_add(&v->lat, now - o->start);
		if (wall - o->first > v->slowest_ns) {
			v->slowest_ns = wall - o->first;
			v->slowest_end = wall;
		}
		o->state = OP_IDLE;
		if (op_is_write(o)) {
			v->writes++;
			v->zeros += o->kind == OP_ZERO;
			if (o->kind == OP_CAW) {
				v->caws++;
				v->wrong += vms_model_compared(v->m, o->lba, o->n, o->buf, o->start,
							       now, stderr);
			}
			vms_model_write_done(v->m, o->seq, o->lba, o->n, now);
			if (v->j)
				vms_journal_add(v->j, 'A', o->seq, o->lba, o->n, now, 0);
		} else if (op_is_read(o)) {
			v->reads++;
			if (task && task->residual_status != SCSI_RESIDUAL_NO_RESIDUAL) {
				settle_error(o, task, status);
				break;
			}
			v->wrong += vms_model_read_end(v->m, o->lba, o->n, o->buf, o->start, now,
						       stderr);
			if (o->kind == OP_CAW_READ) {
				o->kind = OP_CAW;
				o->state = OP_WAIT;
				o->not_before = 0;
			}
		} else {
			v->flushes++;
		}
		break;
	case SCSI_STATUS_BUSY:
	case SCSI_STATUS_TASK_SET_FULL:
		s->heard = wall;
		v->busy++;
		if (in_pieces(o) && status == SCSI_STATUS_BUSY)
			settle_partly(o);
		else
			verify_settle_refused(o);
		break;
	case SCSI_STATUS_CHECK_CONDITION:
		s->heard = wall;
		if (task && task->sense.key == SCSI_SENSE_UNIT_ATTENTION) {
			v->attention++;
			verify_settle_refused(o);
		} else if (task && task->sense.key == SCSI_SENSE_COMMAND_ABORTED) {
			/* Applied in part, whole or not; initiators repeat it. */
			v->aborted++;
			verify_settle_unknown(o);
		} else if (task && o->kind == OP_CAW && task->sense.key == SCSI_SENSE_MISCOMPARE) {
			v->miscompares++;
			v->last_done = wall;
			not_applied(o);
			o->state = OP_IDLE;
		} else {
			settle_error(o, task, status);
		}
		break;
	case SCSI_STATUS_TASK_ABORTED:
		s->heard = wall;
		v->aborted++;
		verify_settle_unknown(o);
		break;
	case SCSI_STATUS_CANCELLED:
	case SCSI_STATUS_ERROR:
	case SCSI_STATUS_TIMEOUT:
		s->dead = true;
		verify_settle_unknown(o);
		break;
	default:
		settle_error(o, task, status);
	}
	if (task)
		scsi_free_scsi_task(task);
}
