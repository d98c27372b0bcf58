/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Space per volume and snapshot: the tool names branches and points, every node walks
 * the pages that it leads, the tool adds up. Bytes of one copy.
 */
#ifndef VMS_TOOL_DU_H
#define VMS_TOOL_DU_H

#include "utils/tool/tool.h"

struct du_point {
	char name[240];	 /* "VOLUME" or "VOLUME@SNAP" */
	uint32_t volume; /* index of its volume's own point, which comes first */
	bool snap;
	uint64_t size_bytes;
	uint64_t mapped_bytes; /* what it shows that is no hole */
	uint64_t unique_bytes; /* stored for it alone */
	/* what deleting it gives back; a volume: with all its snapshots */
	uint64_t returns_bytes;
	uint64_t undrained_bytes; /* volumes: in the logs, not in the above */
	uint64_t branch, gen;	  /* gen 0: the newest */
};
struct du_result {
	VMS_VEC(struct du_point) points; /* each volume, then its snapshots by age */
	uint32_t copies;
	uint64_t size_bytes, mapped_bytes; /* of all volumes */
	uint64_t stored_bytes;		   /* chunks that something shows */
	uint64_t garbage_bytes;		   /* in containers and not needed any more */
	uint64_t undrained_bytes;
	bool sampled;	  /* unique and stored are estimates */
	uint32_t missing; /* partitions that could not be counted */
	char down[160];	  /* nodes that were not there, or "" */
};
/* Runs on all nodes; seconds to minutes, told on the terminal. Free in any case. */
int du_count(struct tool *t, struct du_result *out, struct vms_errmsg *msg);
void du_free(struct du_result *r);

#endif
