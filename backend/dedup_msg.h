/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bodies of HOOK_LOOKUP, HOOK_ADD, LIST_FETCH and CONFIRM. Authority:
 * doc/wire-format.md. Pure; a decoder takes nothing that is not whole and in range,
 * whatever the bytes. Decoders return the number of entries, or VMS_E_PROTO.
 */
#ifndef VMS_DEDUP_MSG_H
#define VMS_DEDUP_MSG_H

#include "backend/hooks.h"
#include "include/wire.h"

#define VMS_DM_HOOKS_MAX   4096u /* keys of one HOOK_LOOKUP, entries of one HOOK_ADD */
#define VMS_DM_CONFIRM_MAX 1024u

/* HOOK_LOOKUP: u64 key each; answer: u64 container each, 0 when none is known. */
int vms_dm_keys_decode(const struct vms_msg *m, uint64_t *key, unsigned room);
int vms_dm_ctrs_decode(const struct vms_msg *m, uint64_t *ctr, unsigned room);

/* HOOK_ADD: aux 0 add, 1 remove. */
struct vms_dm_hook {
	vms_fp_prefix key;
	uint64_t ctr;
	uint64_t old; /* add: replaces this container; 0: only when there is none */
};
#define VMS_DM_HOOK_BYTES 24u
void vms_dm_hook_encode(uint8_t *out, const struct vms_dm_hook *h);
int vms_dm_hooks_decode(const struct vms_msg *m, struct vms_dm_hook *h, unsigned room);

/* CONFIRM: u64 address, 32 bytes fingerprint each. */
struct vms_dm_confirm {
	vms_addr addr;
	uint8_t fp[32];
};
#define VMS_DM_CONFIRM_BYTES 40u
void vms_dm_confirm_encode(uint8_t *out, vms_addr a, const uint8_t fp[32]);
int vms_dm_confirm_decode(const struct vms_msg *m, unsigned part_bits, struct vms_dm_confirm *c,
			  unsigned room);
/* Answer: u64 stamp, u32 CRC32C, i32 status each. */
struct vms_dm_answer {
	uint64_t stamp;
	uint32_t crc;
	int32_t status; /* 0: yes, it may be referred to */
};
#define VMS_DM_ANSWER_BYTES 16u
void vms_dm_answer_encode(uint8_t *out, const struct vms_dm_answer *a);
int vms_dm_answer_decode(const struct vms_msg *m, struct vms_dm_answer *a, unsigned room);

/* LIST_FETCH: body u64 container, aux: chunks wanted. Answer: payload of lists back to
 * back: u64 container, u32 segments, u32 bytes, the body of the list (fplists.h). */
#define VMS_DM_LIST_HEAD 16u
struct vms_dm_list {
	uint64_t ctr;
	uint32_t segs;
	uint32_t bytes;
	const uint8_t *body;
};
/* The next list of a payload: 1, 0 at its end, or VMS_E_PROTO. *at begins as 0. */
int vms_dm_list_next(const uint8_t *p, size_t bytes, size_t *at, struct vms_dm_list *l);

#endif
