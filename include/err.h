/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Error codes shared by every module, tool and wire message.
 *
 * Functions return 0 or a negative VMS_E_*; errno and MDB_* values are turned
 * into these where they arise (disk_posix, meta_lmdb, net_posix), nowhere else.
 * The numbers are part of the wire format (frame field `status`): append only.
 *
 * X(name, number, retryable, text)
 *   retryable: the same request may succeed later without anyone acting.
 */
#ifndef VMS_ERR_H
#define VMS_ERR_H

#define VMS_ERR_LIST(X)                                                                            \
	X(INVAL, 1, 0, "invalid argument")                                                         \
	X(NOMEM, 2, 1, "out of memory")                                                            \
	X(IO, 3, 0, "input/output error")                                                          \
	X(NOSPC, 4, 0, "no space left on the storage node")                                        \
	X(CORRUPT, 5, 0, "checksum or format mismatch")                                            \
	X(NOENT, 6, 0, "no such object")                                                           \
	X(EXIST, 7, 0, "object exists already")                                                    \
	X(BUSY, 8, 1, "busy, try again")                                                           \
	X(AGAIN, 9, 1, "not available right now")                                                  \
	X(FULL, 10, 1, "queue or log full")                                                        \
	X(EPOCH, 11, 1, "partition epoch is older than the node's")                                \
	X(NOT_PRIMARY, 12, 1, "this node is not the partition's serving primary")                  \
	X(SNAP_GEN, 13, 1, "snap_gen is below the volume's floor")                                 \
	X(LUN_FENCE, 14, 1, "lun_fence is below the volume's floor")                               \
	X(INCARNATION, 15, 0, "the gateway's incarnation is fenced off")                           \
	X(TOO_OLD, 16, 1, "the operation is older than T_op")                                      \
	X(CANCELLED, 17, 0, "the operation was cancelled before it was ordered")                   \
	X(STALE_SEQ, 18, 0, "the slot's sequence was used by a later operation")                   \
	X(MISCOMPARE, 19, 0, "COMPARE AND WRITE found different data")                             \
	X(GONE, 20, 1, "the address is no longer in use, look the page up again")                  \
	X(UNKNOWN, 21, 1, "this replica does not know the address")                                \
	X(DATA_LOSS, 22, 0, "acknowledged but unflushed writes may have been lost")                \
	X(PROTO, 23, 0, "protocol violation")                                                      \
	X(VERSION, 24, 0, "no protocol version in common")                                         \
	X(UNSUPPORTED, 25, 0, "operation not supported by this process")                           \
	X(CONFLICT, 26, 1, "the compared revision has changed")                                    \
	X(TIMEOUT, 27, 1, "no answer in time, outcome unknown")                                    \
	X(DISCONNECTED, 28, 1, "connection lost, outcome unknown")                                 \
	X(POISONED, 29, 0, "a write or flush failed earlier, the process is stopping")             \
	X(OPEN, 30, 0, "the volume is open on a gateway")                                          \
	X(RANGE, 31, 0, "address beyond the end of the volume")                                    \
	X(BAD_SECTORS, 32, 0, "part of the chunk is unreadable until overwritten")                 \
	X(STOPPING, 33, 1, "the process is stopping")                                              \
	X(CONFIG, 34, 0, "configuration error")                                                    \
	X(PERM, 35, 0, "not permitted")                                                            \
	X(RESERVED, 36, 0, "another initiator's reservation is in the way")

enum vms_err {
	VMS_OK = 0,
#define X(name, number, retryable, text) VMS_E_##name = -(number),
	VMS_ERR_LIST(X)
#undef X
};

/* Name ("VMS_E_GONE"), sentence, and retryable flag of a code; never NULL. */
const char *vms_err_name(int err);
const char *vms_err_text(int err);
int vms_err_retryable(int err);

/* A human-readable explanation next to a code: what, where, how to fix it. */
struct vms_errmsg {
	char text[256];
};
/* Fill msg (may be NULL) and return err, so that a caller can `return vms_fail(...)`. */
int vms_fail(struct vms_errmsg *msg, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
