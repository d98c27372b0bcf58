/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The verifier's state file: what was sent and acknowledged, so that a later
 * process (or one started after this one was killed) can check it.
 *
 * Text, one record a line, appended before the event it describes is acted on:
 *   VMSTATE 1 RUN_ID FIRST_LBA BLOCKS INITIAL CHUNK_ATOMIC   first line
 *   C SEQ LBA N START F S DEADLINE ZERO   a candidate (written when compacted)
 *   W SEQ LBA N TIME                 write sent
 *   Z SEQ LBA N TIME                 the same, of zeros
 *   A SEQ LBA N TIME                 answered GOOD
 *   L SEQ LBA N DEADLINE             connection lost, outcome unknown
 *   X SEQ LBA N                      refused, not applied
 *   O SEQ LBA N F S                  seen by a read
 * A torn last line (power loss) is ignored. Lines reach the file by write()
 * before the command is sent, so killing this process loses none; fdatasync
 * runs at least every 200 ms and at the end.
 */
#ifndef VMS_BENCH_JOURNAL_H
#define VMS_BENCH_JOURNAL_H

#include "utils/bench/model.h"

struct vms_journal;

/* Open FILE. An existing one is replayed into a new model (*o is replaced by its
 * header) and rewritten compactly; otherwise it is created for *o.
 * *m: new model, caller's. *seq: largest version used. *time: largest time seen.
 * must_exist: fail when there is none. Returns NULL with a message printed. */
struct vms_journal *vms_journal_open(const char *file, bool must_exist, struct vms_model_opts *o,
				     struct vms_model **m, uint64_t *seq, uint64_t *time);
/* One record; the kind decides which of a and b count. Aborts the process on a
 * write error: a verifier that forgets what it sent verifies nothing. */
void vms_journal_add(struct vms_journal *j, char kind, uint64_t seq, uint64_t lba, uint32_t n,
		     uint64_t a, uint64_t b);
/* Write out what is buffered; sync when sync is set or the last one is old. */
void vms_journal_flush(struct vms_journal *j, bool sync);
void vms_journal_close(struct vms_journal *j);

#endif
