// SPDX-License-Identifier: GPL-2.0-only
/* Connections per address and the distance between logins after failed ones. */
#include <arpa/inet.h>
#include <string.h>

#include "target/peers.h"
#include "tests/unit/cunit.h"

static struct vms_peer *get(struct vms_peers *p, const char *text, int64_t now, int64_t *hold)
{
	bool v6 = strchr(text, ':');
	uint8_t a[16];

	CU_ASSERT_EQUAL_FATAL(inet_pton(v6 ? AF_INET6 : AF_INET, text, a), 1);
	return vms_peer_get(p, a, v6 ? 16 : 4, now, hold);
}

static void limit(void)
{
	struct vms_peers *p = vms_peers_open(3);
	struct vms_peer *a[3], *b;
	int64_t hold;

	for (int i = 0; i < 3; i++) {
		a[i] = get(p, "192.0.2.1", 100, &hold);
		CU_ASSERT_PTR_NOT_NULL_FATAL(a[i]);
		CU_ASSERT_EQUAL(hold, 100);
	}
	CU_ASSERT_PTR_NULL(get(p, "192.0.2.1", 100, &hold));
	/* the same host through a socket of both families */
	CU_ASSERT_PTR_NULL(get(p, "::ffff:192.0.2.1", 100, &hold));
	b = get(p, "192.0.2.2", 100, &hold);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	vms_peer_put(p, a[0]);
	a[0] = get(p, "192.0.2.1", 100, &hold);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a[0]);
	CU_ASSERT_EQUAL(vms_peer_conns(a[0]), 3);
	vms_peers_limit(p, 4);
	CU_ASSERT_PTR_NOT_NULL(get(p, "192.0.2.1", 100, &hold));
	vms_peers_close(p);
}

static void prefix(void)
{
	struct vms_peers *p = vms_peers_open(1);
	int64_t hold;

	CU_ASSERT_PTR_NOT_NULL(get(p, "2001:db8:1:2::1", 0, &hold));
	CU_ASSERT_PTR_NULL(get(p, "2001:db8:1:2::2", 0, &hold));
	CU_ASSERT_PTR_NOT_NULL(get(p, "2001:db8:1:3::1", 0, &hold));
	vms_peers_close(p);
}

static void failures(void)
{
	struct vms_peers *p = vms_peers_open(100);
	struct vms_peer *e;
	int64_t hold, now = 1000, want = VMS_PEER_HOLD_MS_MIN;

	for (int i = 0; i < 10; i++) {
		e = get(p, "192.0.2.1", now, &hold);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		CU_ASSERT_EQUAL(hold - now, i > VMS_PEER_FREE ? want : 0);
		if (i > VMS_PEER_FREE)
			want = want * 2 < VMS_PEER_HOLD_MS_MAX ? want * 2 : VMS_PEER_HOLD_MS_MAX;
		now = hold;
		vms_peer_failed(e, now);
		vms_peer_put(p, e);
	}
	/* others are not concerned */
	e = get(p, "192.0.2.9", now, &hold);
	CU_ASSERT_EQUAL(hold, now);
	vms_peer_put(p, e);
	/* logins in parallel queue up, and only so many */
	e = get(p, "192.0.2.1", now, &hold);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_EQUAL(hold, now + VMS_PEER_HOLD_MS_MAX);
	CU_ASSERT_PTR_NULL(get(p, "192.0.2.1", now, &hold));
	/* who succeeds goes on as before */
	vms_peer_passed(e);
	vms_peer_put(p, e);
	e = get(p, "192.0.2.1", now, &hold);
	CU_ASSERT_EQUAL(hold, now);
	vms_peer_failed(e, now);
	vms_peer_put(p, e);
	e = get(p, "192.0.2.1", now + VMS_PEER_FORGET_MS + 1, &hold);
	CU_ASSERT_EQUAL(hold, now + VMS_PEER_FORGET_MS + 1);
	vms_peer_put(p, e);
	vms_peers_close(p);
}

/* Failed logins from ever new addresses neither grow the table nor push out those
 * that are connected. */
static void bounded(void)
{
	struct vms_peers *p = vms_peers_open(2);
	struct vms_peer *mine, *e;
	uint32_t a;
	int64_t hold;

	mine = get(p, "192.0.2.1", 0, &hold);
	vms_peer_failed(mine, 0);
	for (uint32_t i = 1; i < 3 * VMS_PEERS_MAX; i++) {
		a = htonl(0x0a000000 + i);
		e = vms_peer_get(p, (const uint8_t *)&a, 4, i, &hold);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		vms_peer_failed(e, i);
		vms_peer_put(p, e);
	}
	CU_ASSERT_EQUAL(vms_peer_conns(mine), 1);
	vms_peer_put(p, mine);
	vms_peers_close(p);
}

static const struct vms_test tests[] = {
	VMS_TEST(limit),
	VMS_TEST(prefix),
	VMS_TEST(failures),
	VMS_TEST(bounded),
};
VMS_TEST_MAIN("peers", tests)
