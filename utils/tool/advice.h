/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What endangers data or service, and what mends it: the rules behind `vmstore-ring
 * advise`. A pure function of what was collected; no call to anybody, no clock.
 */
#ifndef VMS_TOOL_ADVICE_H
#define VMS_TOOL_ADVICE_H

#include "utils/tool/look.h"

enum advice_level {
	ADVICE_NOW,  /* something is lost, stands still, or is one failure away from that */
	ADVICE_SOON, /* a failure would cost more than it has to */
	ADVICE_NOTE,
};

struct advice {
	enum advice_level level;
	char risk[900];
	char mend[900]; /* commands in `backquotes`, ready to be typed; WORDS are to be filled in */
};
VMS_VEC_TYPE(advices, struct advice);

/* How far one node's verifying of its disk is. */
struct advice_scrub {
	const char *node;
	const json_t *said; /* ADMIN scrub */
};

struct advice_facts {
	struct look *l;
	const char *catalog; /* host of the embedded catalog; NULL: it is on etcd */
	const struct advice_scrub *scrub;
	unsigned nscrub;
	uint64_t now_s; /* of the calendar */
};

/* Adds to out, what is urgent first. */
void advice(const struct advice_facts *f, struct advices *out);
/* What can be said when the catalog cannot be read: its etcd alone. */
void advice_etcd(const struct etcd_look *e, struct advices *out);
/* "now", "soon", "note" */
const char *advice_level_word(enum advice_level level);
/* The commands of it: an array of texts. */
json_t *advice_commands(const struct advice *a);

#endif
