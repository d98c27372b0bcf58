/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In place of tgt's tgtd.c, for programs that include target/iscsi_stream_int.h and link tgt's
 * other objects: variables, scheduled events, and silence. The including file has its own
 * tgt_event_add(), _add_first(), _modify() and _del(), and runs turns by hand.
 */
#ifndef TESTS_TGTD_STUB_H
#define TESTS_TGTD_STUB_H

#include "utils/lib/assert.h"

int system_active = 1, tgt_more_work;
unsigned long pagesize = 4096, pageshift = 12;
short control_port;
int64_t tgt_turn_now_ms = 1000000;
void (*tgt_turn_begin_hook)(void);
int (*tgt_turn_end_hook)(void);
int (*tgt_turn_flush_hook)(void);
int (*tgt_start_hook)(void);
int (*tgt_stop_hook)(void);

static LIST_HEAD(sched);

void tgt_init_sched_event(struct event_data *evt, sched_event_handler_t handler, void *data)
{
	evt->sched_handler = handler;
	evt->data = data;
	evt->scheduled = 0;
}
void tgt_add_sched_event(struct event_data *evt)
{
	if (!evt->scheduled)
		list_add_tail(&evt->e_list, &sched);
	evt->scheduled = 1;
}
void tgt_remove_sched_event(struct event_data *evt)
{
	if (evt->scheduled)
		list_del_init(&evt->e_list);
	evt->scheduled = 0;
}
int call_program(const char *cmd, void (*callback)(void *data, int result), void *data,
		 char *output, int op_len, int flags)
{
	return -1;
}
int setup_param(char *name, int (*parser)(char *))
{
	return 0;
}
char *str_spacecpy(char **dest, const char *src);
char *str_spacecpy(char **dest, const char *src)
{
	return NULL;
}
int lld_init_one(int lld_index)
{
	return 0;
}
/* nothing is said: inputs are wrong by the thousand */
void log_error(const char *fmt, ...)
{
}
void log_warning(const char *fmt, ...)
{
}
void log_debug(const char *fmt, ...)
{
}
int is_debug;

static inline void stub_scheduled(void)
{
	struct event_data *evt;

	while (!list_empty(&sched)) {
		evt = list_first_entry(&sched, struct event_data, e_list);
		tgt_remove_sched_event(evt);
		evt->sched_handler(evt);
	}
}

/* A target for everybody, LUN 1 a null store. */
static inline void target_make(int tid, const char *name)
{
	char arg[128];
	int lld = get_driver_index("iscsi");

	snprintf(arg, sizeof(arg), "targetname=%s", name);
	vms_assert(!tgt_target_create(lld, tid, arg));
	snprintf(arg, sizeof(arg), "path=none,bstype=null");
	vms_assert(!tgt_device_create(tid, TYPE_DISK, 1, arg, 1));
	vms_assert(!acl_add(tid, (char *)"ALL"));
}

/* The first request of a login that has nothing to prove; it has to be sent once more
 * without text when the answer does not go to the full feature phase at once. */
static inline size_t good_login(uint8_t *out, const char *name)
{
	static const char rest[] = "SessionType=Normal\0InitialR2T=No\0ImmediateData=Yes\0"
				   "MaxRecvDataSegmentLength=8192\0FirstBurstLength=65536";
	int n;

	memset(out, 0, 48);
	out[0] = 0x43, out[1] = 0x87, out[8] = 0x80, out[13] = 1, out[27] = 1;
	n = snprintf((char *)out + 48, 300, "InitiatorName=iqn.fuzz%cTargetName=%s%c", 0, name, 0);
	memcpy(out + 48 + n, rest, sizeof(rest));
	n += (int)sizeof(rest);
	out[6] = (uint8_t)(n >> 8), out[7] = (uint8_t)n;
	return 48 + (((size_t)n + 3) & ~(size_t)3);
}

#endif
