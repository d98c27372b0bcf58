/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A raw iSCSI initiator: connections, PDUs, logins and commands as a test wants them,
 * right or wrong. One thread; the target is named once, in the globals.
 * Functions return 0, or -1 with the reason in `why`; those that give a SCSI status
 * return it, or -1. Source: RFC 7143.
 */
#ifndef VMS_TEST_ISCSI_INI_H
#define VMS_TEST_ISCSI_INI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BHS	 48
#define RESERVED 0xffffffffU
#define BLOCK	 512
/* For what must come: a hang, however busy the machine. */
#define ANSWER_MS 15000

extern const char *host, *port, *target;
extern unsigned int lun_nr;
extern char why[256];
extern unsigned int ini_pings; /* that next_pdu() has answered */
extern int ini_mss;	       /* of the connections that are made next; 0: the system's */

/* How the scenarios use the wire. */
struct ini {
	int fd;
	uint32_t cmd_sn, exp_stat_sn, itt;
	uint16_t isid;
	bool digests;
	uint8_t hdr[BHS]; /* last PDU received */
	uint8_t *data;
	uint32_t len;
	uint32_t max_cmd_sn, exp_cmd_sn;
};

int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int64_t now_ms(void);
void put32(uint8_t *p, uint32_t v);
uint32_t get32(const uint8_t *p);
int ini_connect(struct ini *s, uint16_t isid);
void ini_close(struct ini *s);
int send_all(struct ini *s, const void *buf, size_t len);
/* 0; -1 with why set: time-out or closed */
int recv_all(struct ini *s, void *buf, size_t len, int64_t deadline);
void hdr_init(struct ini *s, uint8_t *h, int op, int flags);
int send_pdu(struct ini *s, uint8_t *h, const void *data, uint32_t len);
int recv_pdu(struct ini *s, int ms);
/* The next PDU that is not a ping; pings are answered on the way. */
int next_pdu(struct ini *s, int ms);
int login_send(struct ini *s, const char *extra, size_t extra_len, int flags);
int login_extra(struct ini *s, uint16_t isid, const char *extra, size_t extra_len);
/* unsolicited: whether writes may send their data unasked */
int login(struct ini *s, uint16_t isid, bool unsolicited);
/* A SCSI command; data: immediate data. Returns its tag. */
uint32_t command(struct ini *s, const uint8_t *cdb, int flags, uint32_t edtl, const void *data,
		 uint32_t len);
uint32_t rw10(struct ini *s, int op, uint32_t lba, uint32_t blocks, const void *data, uint32_t len);
int data_out(struct ini *s, uint32_t itt, uint32_t ttt, uint32_t sn, uint32_t off, const void *data,
	     uint32_t len, bool final);
int tmf(struct ini *s, int fn, uint32_t rtt);
/* Status of the command with this tag: skips pings; collects data of a read. */
int status_of(struct ini *s, uint32_t itt, uint8_t *into, int ms);
/* Get rid of the unit attentions of a new session. */
int settle(struct ini *s);
int login_ready(struct ini *s, uint16_t isid, bool unsolicited);
int read_block(struct ini *s, uint32_t lba, uint8_t *buf);
int write_block(struct ini *s, uint32_t lba, int byte);
int expect_closed(struct ini *s, int ms);
int still_serving(void);

#define OPER_TO_FFP 0x87 /* flags of a login request: from operational stage on */

#endif
