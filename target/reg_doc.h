/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Targets as an admin writes them down (`vmstore target apply`): a document that says
 * what ought to be, and the way from there to records (registry.h) and back.
 *
 *   {"version": 1,
 *    "targets":  [{"name", "tid", "offline", "redirect", "addresses", "names", "users",
 *                  "user_out", "params", "luns": [{"lun", "volume", "params"}]}],
 *    "accounts": [{"user", "sealed" or "secret_file"}]}
 *
 * A target needs its name only; what is not written is empty or false. Without "tid" it
 * keeps its number or gets a free one; without "lun" a volume keeps its LUN or gets the
 * lowest that is free. Pure functions; every graph is owned by its caller. Any thread.
 */
#ifndef VMS_REG_DOC_H
#define VMS_REG_DOC_H

#include <stddef.h>

#include "target/registry.h"

#define VMS_REG_DOC_VERSION 1

/* A parameter a target (tgtadm --op update) or a VMStore LUN takes, and a value of the
 * right kind: 0, or VMS_E_INVAL with what would be right. What tgt takes for LUNs of its own
 * and a VMStore LUN has from its volume is refused with that reason. */
int vms_reg_param_check(const char *name, const char *value, struct vms_errmsg *msg);
int vms_reg_lun_param_check(const char *name, const char *value, struct vms_errmsg *msg);

/* Form of the document: 0, or VMS_E_INVAL naming the place. Nothing unknown may be in
 * it, and nothing twice. */
int vms_reg_doc_check(const struct json_t *doc, struct vms_errmsg *msg);

/* The record that one of its targets asks for. have: the present record, or NULL; tid:
 * number of a new target that names none. What is equal keeps its order, so an unchanged
 * target gives an equal record. NULL with msg: it cannot be (another number than it has,
 * a LUN twice, a volume twice, a parameter nobody takes). */
struct json_t *vms_reg_doc_target(const struct json_t *want, const struct json_t *have,
				  uint32_t tid, struct vms_errmsg *msg);

/* What differs, as an array: {"target", "change": "add" | "remove" | "set", "what":
 * "target" | "lun" | "address" | "name" | "user" | "user_out" | "param" | "lun_param" |
 * "state" | "redirect", "lun", "value"}. from, to: records, or NULL. New reference. */
struct json_t *vms_reg_diff(const struct json_t *from, const struct json_t *to);
/* One of them in words: "+ iqn…: LUN 3 is volume vm1". out is cut to fit. */
void vms_reg_diff_text(const struct json_t *change, char *out, size_t room);

/* Volume `volume` is a LUN of another target than `name` (a volume is one LUN at each
 * gateway): that record, or NULL. recs: the records of all targets. */
const struct json_t *vms_reg_elsewhere(const struct json_t *const *recs, unsigned n,
				       const char *name, const char *volume);

#endif
