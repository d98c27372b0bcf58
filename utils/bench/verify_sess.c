// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-bench verify: sessions that log in, ping, are lost and come back on the next URL. */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "utils/bench/bench.h"
#include "utils/bench/gap.h"
#include "utils/bench/verify.h"

void verify_sess_down(struct vsess *s)
{
	struct ver *v = s->v;

	if (s->state == S_UP && --v->up[s->url] == 0)
		vms_gap_end(&v->gap[s->url], vms_bench_now());
	if (s->state == S_UP && !s->leaving) {
		v->lost++;
		if (!v->quiet)
			printf("session %u: lost its connection to %s: %s\n", s->index,
			       v->url[s->url], s->why ? s->why : iscsi_get_error(s->ctx));
	}
	if (s->ctx)
		iscsi_destroy_context(s->ctx); /* ends every command: CANCELLED */
	/* ... but for those of a session that has logged out as the target asked */
	for (unsigned i = 0; i < v->n_op; i++)
		if (v->op[i].sess == s) {
			v->op[i].sess = NULL;
			scsi_free_scsi_task(v->op[i].task);
			s->in_flight--;
			verify_settle_unknown(&v->op[i]);
		}
	s->ctx = NULL;
	s->why = NULL;
	s->dead = false;
	s->state = S_DOWN;
	s->since = vms_bench_now();
	s->next_try = s->since + 300 * NS_PER_MS;
	if (v->pinned)
		s->url = v->url_pin;
	else
		s->url = s->leaving ? s->index % v->n_url : (s->url + 1) % v->n_url;
	s->leaving = false;
}

static void login_cb(struct iscsi_context *ctx, int status, void *data, void *private_data)
{
	struct vsess *s = private_data;

	(void)ctx;
	(void)data;
	if (status == SCSI_STATUS_CANCELLED || s->state != S_CONNECTING)
		return;
	if (status != SCSI_STATUS_GOOD) {
		s->dead = true;
		return;
	}
	s->state = S_UP;
	s->since = s->heard = vms_bench_now();
	if (s->v->up[s->url]++ == 0 && !s->v->checking)
		vms_gap_begin(&s->v->gap[s->url], s->since);
	s->pinged = 0;
	s->v->logins++;
}

static void sess_connect(struct vsess *s)
{
	struct ver *v = s->v;
	struct iscsi_url *u;
	char name[96];

	snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:verify-%d-%u", (int)getpid(),
		 s->index);
	s->since = vms_bench_now();
	s->next_try = s->since + 500 * NS_PER_MS;
	s->ctx = iscsi_create_context(name);
	if (!s->ctx)
		return;
	u = iscsi_parse_full_url(s->ctx, v->url[s->url]);
	if (!u) {
		vms_bench_err("%s: not an iSCSI URL", v->url[s->url]);
		exit(VMS_BENCH_USAGE);
	}
	iscsi_set_noautoreconnect(s->ctx, 1);
	iscsi_set_targetname(s->ctx, u->target);
	iscsi_set_session_type(s->ctx, ISCSI_SESSION_NORMAL);
	if (u->user[0])
		iscsi_set_initiator_username_pwd(s->ctx, u->user, u->passwd);
	s->lun = u->lun;
	s->state = S_CONNECTING;
	if (iscsi_full_connect_async(s->ctx, u->portal, u->lun, login_cb, s))
		s->dead = true;
	iscsi_destroy_url(u);
}

static void ping_cb(struct iscsi_context *ctx, int status, void *data, void *private_data)
{
	struct vsess *s = private_data;

	(void)ctx;
	(void)data;
	s->pinged = 0;
	if (status == SCSI_STATUS_GOOD)
		s->heard = vms_bench_now();
}

void verify_sess_timers(struct vsess *s, uint64_t now)
{
	struct ver *v = s->v;

	switch (s->state) {
	case S_DOWN:
		if (now >= s->next_try)
			sess_connect(s);
		break;
	case S_CONNECTING:
		if (now - s->since > verify_ns(v, v->login_ms))
			s->dead = true;
		break;
	case S_UP:
		/* as open-iscsi does: one ping at a time, any answer counts */
		if (s->pinged && s->heard > s->pinged)
			s->pinged = 0;
		if (s->pinged && now - s->pinged > verify_ns(v, v->ping_timeout_ms)) {
			s->dead = true;
			s->why = "no answer to pings";
		} else if (!s->pinged && now > s->heard &&
			   now - s->heard > verify_ns(v, v->ping_ms)) {
			s->pinged = now;
			if (iscsi_nop_out_async(s->ctx, ping_cb, NULL, 0, s))
				s->dead = true;
		}
		if (v->home_s > 0 && !v->pinned && s->url != s->index % v->n_url &&
		    now - s->since > (uint64_t)(v->home_s * 1e9))
			s->leaving = true;
		if (s->leaving && !s->in_flight)
			s->dead = true;
		break;
	}
}
