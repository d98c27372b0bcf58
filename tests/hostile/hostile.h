/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hostile initiators: scripts that send what no initiator should, each with what the
 * target must answer. One file per theme with its table of scripts; main.c runs them and
 * keeps a well-behaved session going next to them (witness.c), which no script may
 * disturb. On tests/it/iscsi_ini.h, whose conventions hold: 0, or -1 with `why` set.
 */
#ifndef VMS_TEST_HOSTILE_H
#define VMS_TEST_HOSTILE_H

#include "tests/it/iscsi_ini.h"

#define HOSTILE_HEAVY  1 /* loads the target: the witness' latencies are printed */
#define HOSTILE_RESETS 2 /* may abort the witness' commands: they end TASK ABORTED */

struct hostile {
	const char *name;
	int (*fn)(void);
	unsigned flags;
};

extern const struct hostile data_scripts[], pdu_scripts[], order_scripts[], login_scripts[],
	text_scripts[], chap_scripts[], scsi_scripts[], tmf_scripts[], session_scripts[],
	flood_scripts[];

/* ---- opcodes, reasons ------------------------------------------------------------ */

enum {
	OP_NOP_OUT = 0x00,
	OP_SCSI = 0x01,
	OP_TMF = 0x02,
	OP_LOGIN = 0x03,
	OP_TEXT = 0x04,
	OP_DATA_OUT = 0x05,
	OP_LOGOUT = 0x06,
	OP_SNACK = 0x10,
	OP_NOP_IN = 0x20,
	OP_SCSI_RSP = 0x21,
	OP_TMF_RSP = 0x22,
	OP_LOGIN_RSP = 0x23,
	OP_TEXT_RSP = 0x24,
	OP_DATA_IN = 0x25,
	OP_LOGOUT_RSP = 0x26,
	OP_R2T = 0x31,
	OP_REJECT = 0x3f,
	IMMEDIATE = 0x40,
};

/* ---- the second target, with CHAP (main.c's arguments); NULL: not there ------------ */

extern const char *chap_target, *chap_user, *chap_secret;
extern int tgtd_pid; /* 0: not known */

/* ---- common.c ------------------------------------------------------------------- */

/* Text of a request, and how it is sent. */
struct text {
	char buf[70000];
	uint32_t len;
};

void text_init(struct text *t);
void text_raw(struct text *t, const void *p, size_t len);
void text_key(struct text *t, const char *key, const char *value);
/* InitiatorName, TargetName, SessionType of an ordinary login */
void text_names(struct text *t, const char *session_type);

struct login_req {
	uint8_t flags;
	uint8_t min_version;
	uint8_t isid[6];
	uint16_t tsih, cid;
	uint32_t itt;
	bool not_immediate;
};
struct login_req login_req(uint16_t isid, uint8_t flags);
int login_put(struct ini *s, const struct login_req *r, const struct text *t);
/* Sends one login request on a new connection; takes its answer: status class and
 * detail, or -1. */
int login_once(struct ini *s, const struct login_req *r, const struct text *t);
/* Value of a key in the last PDU's data, NULL: not there. */
const char *answer_key(const struct ini *s, const char *key);

int opcode(const struct ini *s);
/* The next PDU must be of this kind. */
int expect_op(struct ini *s, int op, int ms);
/* Nothing but pings, which are answered, for so long. */
int quiet(struct ini *s, int ms);
int expect_reject(struct ini *s, int reason);
/* A write or read by R2T: its transfer tag and length. */
int expect_r2t(struct ini *s, uint32_t itt, uint32_t *ttt, uint32_t *len);
/* CHECK CONDITION with this sense key, and this code unless it is 0 (0x2400 is 24h/00h). */
int expect_sense(struct ini *s, uint32_t itt, int key, int asc_ascq);
int expect_good(struct ini *s, uint32_t itt);
/* The session answers an ordinary command. */
int goes_on(struct ini *s);
/* Number of bytes of resident memory of the target in KiB, 0: not known. */
long target_rss_kib(void);
/* Closed with RST instead of FIN. */
void ini_reset(struct ini *s);
uint32_t rnd(void);

/* ---- witness.c -------------------------------------------------------------------- */

int witness_start(void);
void witness_stop(void);
void witness_resets(bool on);
/* Operations that it has done. */
unsigned witness_ops(void);
/* It does at least n more within ms, and has not failed. */
int witness_goes_on(unsigned n, int ms);
/* The 99th percentile of operations [from, to), in microseconds. */
uint32_t witness_p99(unsigned from, unsigned to);
uint32_t witness_worst(unsigned from, unsigned to);
struct ops_range {
	unsigned from, to;
};
/* Of the operations of n ranges, which follow each other. */
uint32_t witness_p99_of(const struct ops_range *r, unsigned n);

/* ---- bursts.c: figures, for a machine with nothing else on it ---- */

int bursts_begin(void);
/* The script once a second, for so long. */
int bursts_run(const char *theme, const struct hostile *h, unsigned seconds);
int bursts_end(void);

#define NR(a) (sizeof(a) / sizeof((a)[0]))

#endif
