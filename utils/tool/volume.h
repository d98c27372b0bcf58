/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is done with volumes, each step repeatable: a tool that dies half-way
 * leaves a state from which the same command goes on.
 *
 * Delete: state "deleting" and lun_fence + 1 by compare -> its snapshots -> the key
 *         goes, its branches are dead; storage nodes drop the data by themselves.
 * Shrink: with snapshots or ancestors, a new branch that sees less (move.h); else, when
 *         gateways have no command any more, state "shrinking", new size and
 *         lun_fence + 1 -> FLOOR -> TRIM behind the new end -> state "ready".
 */
#ifndef VMS_TOOL_VOLUME_H
#define VMS_TOOL_VOLUME_H

#include "utils/tool/view.h"

enum { VOLUME_READY = 1, VOLUME_DELETING = 2, VOLUME_SHRINKING = 3, VOLUME_IMPORTING = 4 };

struct volume_opener {
	struct vms_cat_open o;
	char gateway[64];
};
struct volume_view {
	struct vms_cat_volume v;
	uint64_t mod_revision;
	uint64_t losses;
	VMS_VEC(struct volume_opener) openers;
};
/* VMS_E_NOENT and a message when it does not exist. Free in any case. */
int volume_load(struct tool *t, const char *name, struct volume_view *out, struct vms_errmsg *msg);
/* ... after what killed tools have left open is closed (leftover.h). */
int volume_load_settled(struct tool *t, const char *name, struct volume_view *out,
			struct vms_errmsg *msg);
void volume_free(struct volume_view *v);
json_t *volume_json(const struct volume_view *v);
const char *volume_state_word(uint8_t state);
const char *volume_ack_word(uint8_t write_ack);
const char *volume_barrier_word(uint8_t barrier);

/* Writes the record, if it is still at this revision. */
int volume_store(struct tool *t, const struct vms_cat_volume *next, uint64_t mod_revision,
		 struct vms_errmsg *msg);
/* Who has it open, in words: "on gateway gw1, gw2 and in another export or import, tool-h-0". */
void volume_openers_text(const struct volume_view *v, char *out, size_t room);
/* VMS_E_OPEN when a gateway has it open. what: "deleted", for the message. */
int volume_refuse_open(const struct volume_view *v, const char *what, struct vms_errmsg *msg);
/* ... or when it is being deleted, shrunk or imported. */
int volume_refuse_busy(const struct volume_view *v, const char *what, struct vms_errmsg *msg);

/* What a new volume is to be. */
struct volume_new {
	const char *name;
	uint64_t size_bytes;
	uint8_t write_ack; /* enum vms_write_ack */
	uint8_t state;	   /* VOLUME_READY or VOLUME_IMPORTING */
	bool no_dedup;
	const char *domain; /* dedup domain; NULL or "": the cluster's */
	/* a key written in the same transaction, or NULL */
	const char *key, *val;
};
int volume_make(struct tool *t, const struct volume_new *want, struct vms_cat_volume *out,
		struct vms_errmsg *msg);
int volume_create(struct tool *t, const char *name, uint64_t size_bytes, uint8_t write_ack,
		  struct vms_cat_volume *out, struct vms_errmsg *msg);
/* VMS_E_OPEN: a gateway has it open. snapshots: those go too, else they are a reason to
 * refuse. */
int volume_delete(struct tool *t, const char *name, bool snapshots, struct vms_errmsg *msg);
/* Multiple of a chunk, within the limits: 0 or VMS_E_INVAL. */
int volume_check_size(uint64_t size_bytes, struct vms_errmsg *msg);
/* VMS_E_OPEN: a command such as `vmstore export` has it open, which would see a mixture. */
int volume_refuse_tools(const struct volume_view *v, const char *what, struct vms_errmsg *msg);
/* VMS_E_BUSY: an initiator holds a reservation. */
int volume_refuse_reserved(struct tool *t, const struct volume_view *v, const char *what,
			   struct vms_errmsg *msg);
/* Removes the tables of reservations of what is being deleted: n volumes or snapshots. */
int volume_forget_reservations(struct tool *t, const uint8_t (*uuid)[16], size_t n,
			       struct vms_errmsg *msg);

/* ---- volume_change.c ---- */

/* Also while gateways have it open: on all of them when it returns. *old_bytes: the size
 * before. */
int volume_resize(struct tool *t, const char *name, uint64_t size_bytes, bool allow_shrink,
		  uint64_t *old_bytes, struct vms_errmsg *msg);
/* Nobody writes to it from here on, or everybody may again; on all gateways. */
int volume_set_write_protect(struct tool *t, const char *name, bool on, struct vms_errmsg *msg);
/* Storing chunks that exist already once, from now on; also while it is open. */
int volume_set_dedup(struct tool *t, const char *name, bool dedup, struct vms_errmsg *msg);

#endif
