/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What conf/iscsid-vmstore.conf and conf/multipath-vmstore.conf tell an initiator's host,
 * read as open-iscsi and multipathd read it: for tests that hold the shipped settings
 * against the code, or play them.
 */
#ifndef VMS_TEST_MPATH_CONF_H
#define VMS_TEST_MPATH_CONF_H

#include <stdbool.h>
#include <stdint.h>

struct mpath_conf {
	/* open-iscsi, ms */
	int64_t recovery_ms; /* replacement_timeout */
	int64_t noop_interval_ms, noop_timeout_ms, login_ms;
	/* multipath */
	int64_t fast_io_fail_ms;
	int64_t polling_ms;    /* 5 s unless it is told */
	int64_t no_path_retry; /* rounds of the checker; -1: queue, 0: fail */
	bool service_time;     /* else round-robin */
	bool one_group, tur;
};

/* 0, or -1 with why: a file that cannot be read, a setting that is missing or odd. */
int mpath_conf_load(const char *iscsid, const char *multipath, struct mpath_conf *out,
		    char why[256]);

#endif
