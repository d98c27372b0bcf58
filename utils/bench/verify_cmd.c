// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-bench verify: commands, drawn at random, into the model, the journal and a session. */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdlib.h>
#include <string.h>

#include "utils/bench/bench.h"
#include "utils/bench/journal.h"
#include "utils/bench/model.h"
#include "utils/bench/verify.h"
#include "utils/lib/bytes.h"

static bool overlaps(const struct ver *v, const struct op *self, uint64_t lba, uint32_t n)
{
	for (unsigned i = 0; i < v->n_op; i++) {
		const struct op *o = &v->op[i];

		if (o == self || o->state == OP_IDLE || o->kind == OP_FLUSH)
			continue;
		if (lba < o->lba + o->n && o->lba < lba + n)
			return true;
	}
	return false;
}

/* Sizes from one logical block to 512 KiB, half of them not chunk-aligned. */
static void choose_range(struct ver *v, struct op *o)
{
	uint64_t r = vms_bench_rand(&v->rnd);
	unsigned kind = r % 100;
	uint64_t span = v->blocks;
	uint32_t n, align = 1;

	r >>= 8;
	if (kind < 25) {
		n = 1 + (uint32_t)(r % 7);
	} else if (kind < 55) {
		n = 8;
		align = 8;
	} else if (kind < 75) {
		n = 8 * (1 + (uint32_t)(r % 16));
		align = 8;
	} else if (kind < 95) {
		n = 1 + (uint32_t)(r % 256);
	} else {
		n = OP_BLOCKS_MAX;
		align = kind < 97 ? 1 : 1024;
	}
	if (n > v->max_blocks)
		n = v->max_blocks;
	r = vms_bench_rand(&v->rnd);
	if (r % 100 < v->hot_percent && span > 2048)
		span = 2048;
	if (n > span)
		n = (uint32_t)span;
	r = vms_bench_rand(&v->rnd) % (span - n + 1);
	o->lba = v->lba_first + r / align * align;
	o->n = n;
}

static bool choose(struct ver *v, struct op *o)
{
	if (v->checking) {
		uint64_t end = v->lba_first + v->blocks;

		if (v->check_next >= end)
			return false;
		o->kind = OP_READ;
		o->lba = v->check_next;
		o->n = end - o->lba > 512 ? 512 : (uint32_t)(end - o->lba);
		v->check_next += o->n;
		return true;
	}
	if (v->stopping)
		return false;
	if (v->flush_every && vms_bench_rand(&v->rnd) % v->flush_every == 0) {
		o->kind = OP_FLUSH;
		o->lba = 0;
		o->n = 0;
		return true;
	}
	o->kind = OP_READ;
	if (vms_bench_rand(&v->rnd) % 100 < v->write_percent) {
		unsigned r = vms_bench_rand(&v->rnd) % 100;

		o->kind = r < v->zero_percent			 ? OP_ZERO
			  : r < v->zero_percent + v->caw_percent ? OP_CAW_READ
								 : OP_WRITE;
	}
	for (int i = 0; i < 20; i++) {
		choose_range(v, o);
		if (o->kind == OP_CAW_READ) {
			o->n = o->n % 2 ? 1 : 8;
			if (o->n == 8)
				o->lba &= ~(uint64_t)7;
		}
		if (!v->no_overlap || !overlaps(v, o, o->lba, o->n))
			return true;
	}
	return false;
}

/* UNMAP, or WRITE SAME(16) of zeros with or without the UNMAP bit. */
static struct scsi_task *task_zero(struct op *o, uint64_t r, struct iscsi_data *data)
{
	memset(o->buf, 0, BLOCK);
	data->data = o->buf;
	if (r % 3 == 0) {
		o->buf[1] = 22; /* UNMAP data length, block descriptor length */
		o->buf[3] = 16;
		vms_put_be64(o->buf + 8, o->lba);
		vms_put_be32(o->buf + 16, o->n);
		data->size = 24;
		return scsi_cdb_unmap(0, 0, 24);
	}
	data->size = BLOCK;
	return scsi_cdb_writesame16(0, 0, r % 3 == 1, o->lba, 0, o->n, BLOCK);
}

static void send_op(struct vsess *s, struct op *o)
{
	struct ver *v = s->v;
	struct scsi_task *task;
	struct iscsi_data data = {0};
	uint64_t r = vms_bench_rand(&v->rnd);
	/* 10- and 16-byte CDBs alike */
	bool wide = r % 2 || o->lba + o->n > UINT32_MAX, fua;
	int len = (int)(o->n * BLOCK);

	o->start = verify_now(v);
	switch (o->kind) {
	case OP_FLUSH:
		task = wide ? scsi_cdb_synchronizecache16(0, 0, 0, 0)
			    : scsi_cdb_synchronizecache10(0, 0, 0, 0);
		break;
	case OP_ZERO:
		task = task_zero(o, r / 2, &data);
		break;
	case OP_CAW: /* old, then new */
		task = scsi_cdb_compareandwrite(o->lba, (uint32_t)len * 2, BLOCK, 0, 0, 0, 0, 0);
		data.data = o->buf;
		data.size = (size_t)len * 2;
		break;
	case OP_WRITE:
		fua = r / 2 % 10 == 0;
		task = wide ? scsi_cdb_write16(o->lba, (uint32_t)len, BLOCK, 0, 0, fua, 0, 0)
			    : scsi_cdb_write10((uint32_t)o->lba, (uint32_t)len, BLOCK, 0, 0, fua, 0,
					       0);
		data.data = o->buf;
		data.size = (size_t)len;
		break;
	default:
		task = wide ? scsi_cdb_read16(o->lba, (uint32_t)len, BLOCK, 0, 0, 0, 0, 0)
			    : scsi_cdb_read10((uint32_t)o->lba, (uint32_t)len, BLOCK, 0, 0, 0, 0,
					      0);
	}
	if (!task) {
		vms_bench_err("out of memory");
		exit(VMS_BENCH_FAILED);
	}
	if (op_is_write(o)) {
		bool zero = o->kind == OP_ZERO;

		o->seq = ++v->seq;
		if (!zero)
			vms_model_stamp(v->m, o->kind == OP_CAW ? o->buf + len : o->buf, o->seq,
					s->index, o->lba, o->n);
		if (o->kind == OP_CAW)
			vms_model_read_begin(v->m, o->lba, o->n, o->start);
		vms_model_write_begin(v->m, o->seq, o->lba, o->n, o->start, zero);
		if (v->j) {
			vms_journal_add(v->j, zero ? 'Z' : 'W', o->seq, o->lba, o->n, o->start, 0);
			vms_journal_flush(v->j, false);
		}
	} else if (op_is_read(o)) {
		memset(o->buf, 0xa5, (size_t)len);
		vms_model_read_begin(v->m, o->lba, o->n, o->start);
		scsi_task_add_data_in_buffer(task, len, o->buf);
	}
	o->state = OP_SENT;
	o->task = task;
	o->sess = s;
	s->in_flight++;
	if (iscsi_scsi_command_async(s->ctx, s->lun, task, verify_done_cb, data.size ? &data : NULL,
				     o)) {
		/* Never left this process. */
		s->in_flight--;
		o->sess = NULL;
		scsi_free_scsi_task(task);
		verify_settle_refused(o);
		s->dead = true;
	}
}

void verify_pump(struct ver *v)
{
	uint64_t now = vms_bench_now();
	unsigned from = v->n_op ? (unsigned)(vms_bench_rand(&v->rnd) % v->n_op) : 0;

	for (unsigned k = 0; k < v->n_op; k++) {
		struct op *o = &v->op[(from + k) % v->n_op];
		struct vsess *s = NULL;
		unsigned first;

		if (o->state == OP_SENT || (o->state == OP_WAIT && o->not_before > now))
			continue;
		first = (unsigned)(vms_bench_rand(&v->rnd) % v->n_sess);
		for (unsigned i = 0; i < v->n_sess && !s; i++) {
			struct vsess *c = &v->sess[(first + i) % v->n_sess];

			if (c->state == S_UP && !c->dead && !c->leaving && c->in_flight < v->depth)
				s = c;
		}
		if (!s)
			return;
		if (o->state == OP_WAIT) {
			send_op(s, o);
		} else if (choose(v, o)) {
			o->first = now;
			send_op(s, o);
		}
	}
}
