// SPDX-License-Identifier: GPL-2.0-only
/* Connections between two vms_net of one process, over unix sockets and TCP; by their own
 * epolls, and all of it again in a loop of this file (vms_net_join). */
#include "cluster/net.h"
#include "tests/unit/cunit.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

struct side {
	struct vms_net *net;
	vms_net_conn conn; /* last accepted or connected */
	unsigned accepted, connected, closed, frames;
	int err;
	char why[128];
	uint64_t bytes;
	uint64_t next_req; /* frames must come in this order */
	uint32_t crc_bad;
	bool echo;
	uint64_t close_at; /* close the connection at this frame */
};

static struct side a, b;
static char path[64], address[80];

/* ---- a loop for vms_net_join: one epoll for both sides ---- */

#define WATCHES_MAX 64u

struct watched {
	struct side *side;
	int fd;
	uint64_t key;
	bool live;
};

static bool joined; /* the sides are in this loop */
static int loop_fd = -1;
static struct watched watched[WATCHES_MAX];
static unsigned nwatched;

static struct watched *watched_find(const struct side *s, int fd)
{
	for (unsigned i = 0; i < nwatched; i++)
		if (watched[i].live && watched[i].side == s && watched[i].fd == fd)
			return &watched[i];
	return NULL;
}

static int loop_watch(void *ctx, int fd, uint64_t key, uint32_t events, bool again)
{
	struct watched *w = watched_find(ctx, fd);
	struct epoll_event ev = {.events = events};

	CU_ASSERT_EQUAL(w != NULL, again || !events);
	if (w)
		CU_ASSERT_EQUAL(w->key, key);
	if (!w) {
		CU_ASSERT_FATAL(nwatched < WATCHES_MAX);
		w = &watched[nwatched++];
		*w = (struct watched){ctx, fd, key, true};
	}
	w->live = events != 0;
	ev.data.ptr = w;
	/* told in time: it is open still */
	CU_ASSERT_EQUAL(epoll_ctl(loop_fd,
				  !events ? EPOLL_CTL_DEL
				  : again ? EPOLL_CTL_MOD
					  : EPOLL_CTL_ADD,
				  fd, &ev),
			0);
	return 0;
}

static void loop_join(struct side *s)
{
	vms_net_join(s->net, &(struct vms_net_loop){s, loop_watch});
}

static int loop_turn(int timeout_ms)
{
	struct epoll_event ev[WATCHES_MAX];
	int n = epoll_wait(loop_fd, ev, WATCHES_MAX, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct watched *w = ev[i].data.ptr;

		if (w->live) /* not ended by another event of this turn */
			vms_net_ready(w->side->net, w->key, ev[i].events);
	}
	return n;
}

static int side_poll(struct side *s, int timeout_ms)
{
	return joined ? loop_turn(timeout_ms) : vms_net_poll(s->net, timeout_ms);
}

static void on_accepted(void *ctx, vms_net_conn c, const char *peer)
{
	struct side *s = ctx;

	s->accepted++;
	s->conn = c;
	CU_ASSERT(peer && *peer);
}

static void on_connected(void *ctx, vms_net_conn c)
{
	struct side *s = ctx;

	s->connected++;
	s->conn = c;
}

static void on_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	struct side *s = ctx;

	s->closed++;
	s->err = err;
	snprintf(s->why, sizeof(s->why), "%s", why);
}

static void on_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct side *s = ctx;

	s->frames++;
	s->bytes += m->payload_bytes;
	if (m->req_id != s->next_req++)
		s->crc_bad++;
	if (m->payload_bytes &&
	    vms_crc32c(0, m->payload[0].base, m->payload[0].len) != (uint32_t)m->aux)
		s->crc_bad++;
	if (s->echo) {
		struct vms_msg re;

		vms_msg_reply_init(&re, m, 0);
		re.aux = m->aux;
		re.payload = m->payload;
		re.npayload = m->npayload;
		re.payload_bytes = m->payload_bytes;
		vms_net_send(s->net, c, &re);
	}
	if (s->close_at && s->frames == s->close_at)
		vms_net_close(s->net, c);
}

static void begin(size_t queue_bytes_max)
{
	struct vms_net_handler h = {NULL, on_accepted, on_connected, on_closed, on_frame};

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	h.ctx = &a;
	a.net = vms_net_new(&h, queue_bytes_max);
	h.ctx = &b;
	b.net = vms_net_new(&h, queue_bytes_max);
	if (joined) {
		loop_fd = epoll_create1(EPOLL_CLOEXEC);
		nwatched = 0;
		loop_join(&a);
		loop_join(&b);
	}
	snprintf(path, sizeof(path), "/tmp/vms-test-net-%d.sock", (int)getpid());
	snprintf(address, sizeof(address), "unix:%s", path);
}

static void end(void)
{
	vms_net_free(a.net);
	vms_net_free(b.net);
	if (loop_fd < 0)
		return;
	for (unsigned i = 0; i < nwatched; i++)
		CU_ASSERT(!watched[i].live);
	close(loop_fd);
	loop_fd = -1;
}

static void turn(void)
{
	vms_net_flush(a.net);
	vms_net_flush(b.net);
	side_poll(&a, 1);
	side_poll(&b, 1);
}

#define UNTIL(cond)                                                                                \
	do {                                                                                       \
		for (unsigned i_ = 0; i_ < 20000 && !(cond); i_++)                                 \
			turn();                                                                    \
		CU_ASSERT(cond);                                                                   \
	} while (0)

static void join(const char *addr)
{
	struct vms_errmsg e;

	CU_ASSERT_EQUAL_FATAL(vms_net_listen(b.net, addr, &e), 0);
	CU_ASSERT(vms_net_connect(a.net, addr) != 0);
	UNTIL(a.connected == 1 && b.accepted == 1);
}

static uint8_t *noise(size_t n)
{
	uint8_t *p = malloc(n);
	uint32_t x = 12345;

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
	return p;
}

static void send_one(struct side *s, uint64_t req, const uint8_t *data, size_t len)
{
	struct vms_iov iov[2] = {{data, len / 3}, {data + len / 3, len - len / 3}};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .req_id = req,
			    .aux = vms_crc32c(0, data, len),
			    .payload = iov,
			    .npayload = 2,
			    .payload_bytes = len};

	CU_ASSERT_EQUAL(vms_net_send(s->net, s->conn, &m), 0);
}

static void frames_of_all_sizes_echo(const char *addr)
{
	static const size_t size[] = {0,     1,	     100,    4096,     65536 - 128, 65536,
				      70000, 262144, 524288, 4u << 20, 3,	    512};
	uint8_t *data = noise(4u << 20);
	uint64_t total = 0;

	begin(0);
	b.echo = true;
	join(addr);
	for (unsigned i = 0; i < 60; i++) {
		size_t n = size[i % 12];

		send_one(&a, i, data, n);
		total += n;
		if (i % 5 == 0)
			turn();
	}
	UNTIL(a.frames == 60);
	CU_ASSERT(a.bytes == total && b.bytes == total);
	CU_ASSERT(a.crc_bad == 0 && b.crc_bad == 0);
	CU_ASSERT(a.closed == 0 && b.closed == 0);
	end();
	free(data);
}

static void unix_sockets_carry_frames(void)
{
	begin(0);
	end();
	frames_of_all_sizes_echo(address);
	CU_ASSERT(access(path, F_OK) != 0);
}

static void tcp_carries_frames(void)
{
	frames_of_all_sizes_echo("127.0.3.1:13401");
}

static void small_frames_share_system_calls(void)
{
	uint8_t *data = noise(512);

	begin(0);
	join("127.0.3.1:13402");
	for (unsigned i = 0; i < 500; i++)
		send_one(&a, i, data, 512);
	UNTIL(b.frames == 500);
	CU_ASSERT(vms_net_counters(a.net)->writes <= 10);
	CU_ASSERT(vms_net_counters(b.net)->reads <= 20);
	CU_ASSERT_EQUAL(vms_net_counters(b.net)->frames_in, 500);
	CU_ASSERT_EQUAL(b.crc_bad, 0);
	end();
	free(data);
}

/* With the send, behind what is queued; what the socket did not take is kept. */
static void large_payloads_go_at_once(void)
{
	uint8_t *data = noise(4u << 20), *own = malloc(4u << 20);
	uint64_t sent = 0;

	begin(0);
	join("127.0.3.1:13404");
	for (unsigned i = 0; i < 8; i++) {
		size_t len = i % 4 == 3 ? 4u << 20 : i % 2 ? 100 : 300000;
		uint64_t before = vms_net_counters(a.net)->bytes_out;

		memcpy(own, data, len);
		send_one(&a, i, own, len);
		memset(own, 0, len); /* nothing of it is needed any more */
		if (i == 0)	     /* a new socket takes some of it */
			CU_ASSERT(vms_net_counters(a.net)->bytes_out > before);
		sent += len;
	}
	UNTIL(b.frames == 8);
	CU_ASSERT(b.bytes == sent && b.crc_bad == 0);
	end();
	free(data);
	free(own);
}

static void refused_and_bad_addresses_close(void)
{
	begin(0);
	vms_net_connect(a.net, "127.0.3.1:13449");
	UNTIL(a.closed == 1);
	CU_ASSERT_EQUAL(a.err, VMS_E_DISCONNECTED);
	vms_net_connect(a.net, "no port");
	UNTIL(a.closed == 2);
	CU_ASSERT_EQUAL(a.err, VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(a.why, "HOST:PORT"));
	vms_net_connect(a.net, "unix:/nonexistent/x");
	UNTIL(a.closed == 3);
	CU_ASSERT_EQUAL(a.connected, 0);
	end();
}

static void taken_addresses_are_named(void)
{
	struct vms_errmsg e;
	int fd;
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	begin(0);
	CU_ASSERT_EQUAL(vms_net_listen(a.net, "127.0.3.1:13403", &e), 0);
	CU_ASSERT_EQUAL(vms_net_listen(b.net, "127.0.3.1:13403", &e), VMS_E_EXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "127.0.3.1:13403"));
	CU_ASSERT_EQUAL(vms_net_listen(a.net, address, &e), 0);
	CU_ASSERT_EQUAL(vms_net_listen(b.net, address, &e), VMS_E_EXIST);
	CU_ASSERT(vms_net_listen(b.net, "203.0.113.7:1", &e) < 0);
	end();
	/* one left behind by a killed process is taken over */
	begin(0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	CU_ASSERT_EQUAL(vms_net_listen(b.net, address, &e), 0);
	end();
}

static void close_is_told_once_on_both_sides(void)
{
	uint8_t *data = noise(512);

	begin(0);
	b.close_at = 3;
	join(address);
	for (unsigned i = 0; i < 10; i++)
		send_one(&a, i, data, 512);
	UNTIL(a.closed == 1 && b.closed == 1);
	CU_ASSERT_EQUAL(b.frames, 3); /* none after the close */
	CU_ASSERT(b.err == 0 && a.err == VMS_E_DISCONNECTED);
	{
		struct vms_msg m = {.type = VMS_MSG_TICK};

		CU_ASSERT_EQUAL(vms_net_send(b.net, b.conn, &m), VMS_E_DISCONNECTED);
	}
	vms_net_close(b.net, b.conn);
	turn();
	CU_ASSERT(a.closed == 1 && b.closed == 1);
	end();
	free(data);
}

static void last_words_arrive(void)
{
	uint8_t *data = noise(512);

	begin(0);
	join(address);
	send_one(&a, 0, data, 512);
	vms_net_close(a.net, a.conn);
	UNTIL(b.closed == 1);
	CU_ASSERT_EQUAL(b.frames, 1);
	end();
	free(data);
}

static void full_queue_ends_the_connection(void)
{
	uint8_t *data = noise(65536);
	struct vms_iov iov = {data, 65536};
	struct vms_msg m = {
		.type = VMS_MSG_WRITE, .payload = &iov, .npayload = 1, .payload_bytes = 65536};
	unsigned sent = 0;

	begin(1u << 20);
	join(address);
	while (sent < 1000 && !vms_net_send(a.net, a.conn, &m)) {
		sent++;
		vms_net_flush(a.net);
	}
	CU_ASSERT(sent >= 15 && sent < 1000);
	UNTIL(a.closed == 1);
	CU_ASSERT_EQUAL(a.err, VMS_E_FULL);
	end();
	free(data);
}

/* Bytes that are no frames, whole frames with a wrong bit, half frames. */
static void raw(const uint8_t *p, size_t n, int want)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct vms_errmsg e;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	begin(0);
	CU_ASSERT_EQUAL_FATAL(vms_net_listen(b.net, address, &e), 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	CU_ASSERT_EQUAL(write(fd, p, n), (ssize_t)n);
	UNTIL(b.accepted == 1);
	if (want == VMS_E_DISCONNECTED)
		close(fd);
	UNTIL(b.closed == 1);
	CU_ASSERT_EQUAL(b.err, want);
	CU_ASSERT_EQUAL(b.frames, 0);
	if (want != VMS_E_DISCONNECTED)
		close(fd);
	end();
}

static void garbage_ends_the_connection(void)
{
	struct vms_msg m = {.type = VMS_MSG_TICK};
	uint8_t h[VMS_FRAME_HEADER_BYTES];

	memset(h, 'x', sizeof(h));
	raw(h, sizeof(h), VMS_E_PROTO);
	vms_msg_encode_header(&m, h);
	h[40] ^= 1;
	raw(h, sizeof(h), VMS_E_CORRUPT);
	h[40] ^= 1;
	raw(h, sizeof(h) - 1, VMS_E_DISCONNECTED);
}

/* A frame that arrives byte by byte is one frame. */
static void crumbs_make_a_frame(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct vms_msg m = {.type = VMS_MSG_STATS, .body = (const uint8_t *)"{}", .body_bytes = 2};
	uint8_t f[VMS_FRAME_HEADER_BYTES + 2];
	struct vms_errmsg e;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	vms_msg_encode_header(&m, f);
	memcpy(f + VMS_FRAME_HEADER_BYTES, "{}", 2);
	begin(0);
	CU_ASSERT_EQUAL_FATAL(vms_net_listen(b.net, address, &e), 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	for (size_t i = 0; i < sizeof(f); i++) {
		CU_ASSERT_EQUAL(write(fd, f + i, 1), 1);
		side_poll(&b, 1);
	}
	UNTIL(b.frames == 1);
	close(fd);
	end();
}

static int pipe_fd[2];
static unsigned pipe_ready;

static void on_pipe(void *arg)
{
	char c;

	CU_ASSERT_EQUAL(read(pipe_fd[0], &c, 1), 1);
	pipe_ready++;
}

static void other_fds_are_watched(void)
{
	begin(0);
	CU_ASSERT_EQUAL_FATAL(pipe(pipe_fd), 0);
	CU_ASSERT_EQUAL(vms_net_watch_fd(a.net, pipe_fd[0], on_pipe, NULL), 0);
	CU_ASSERT_EQUAL(vms_net_watch_fd(a.net, pipe_fd[0], on_pipe, NULL), VMS_E_EXIST);
	CU_ASSERT_EQUAL(write(pipe_fd[1], "x", 1), 1);
	CU_ASSERT_EQUAL(side_poll(&a, 1000), 1);
	CU_ASSERT_EQUAL(pipe_ready, 1);
	pipe_ready = 0;
	CU_ASSERT_EQUAL(vms_net_watch_fd(a.net, pipe_fd[0], NULL, NULL), 0);
	CU_ASSERT_EQUAL(write(pipe_fd[1], "x", 1), 1);
	CU_ASSERT_EQUAL(side_poll(&a, 10), 0);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	end();
}

/* A connection that is up, with a full socket, and an address that is listened at. */
static void connections_go_over_to_a_loop(void)
{
	uint8_t *data = noise(1u << 20);
	bool was = joined;

	joined = false;
	begin(0);
	join(address);
	for (unsigned i = 0; i < 8; i++)
		send_one(&a, i, data, 1u << 20);
	vms_net_flush(a.net);
	CU_ASSERT_EQUAL(b.frames, 0);
	loop_fd = epoll_create1(EPOLL_CLOEXEC);
	nwatched = 0;
	loop_join(&a);
	loop_join(&b);
	joined = true;
	UNTIL(b.frames == 8);
	CU_ASSERT(b.bytes == 8u << 20 && b.crc_bad == 0);
	CU_ASSERT(vms_net_connect(a.net, address) != 0);
	UNTIL(a.connected == 2 && b.accepted == 2);
	CU_ASSERT_EQUAL(vms_net_poll(a.net, 0), 0); /* nothing is left in the own epoll */
	end();
	joined = was;
	free(data);
}

/* Both ends are ready in one turn; the first to be handled ends, and so does the connection
 * whose event is still to come. */
static void what_ended_in_a_turn_is_not_ready_in_it(void)
{
	uint8_t *data = noise(512);
	bool was = joined;

	joined = true;
	begin(0);
	a.close_at = b.close_at = 1;
	join(address);
	send_one(&a, 0, data, 512);
	send_one(&b, 0, data, 512);
	vms_net_flush(a.net);
	vms_net_flush(b.net);
	UNTIL(a.closed == 1 && b.closed == 1);
	CU_ASSERT_EQUAL(a.frames + b.frames, 2);
	end();
	joined = was;
	free(data);
}

/* ---- names: the machine's resolver, but for hosts that end in .test ---- */

static atomic_bool held;   /* it does not answer */
static atomic_bool failed; /* it answers that it cannot tell */
static atomic_uint lookups;

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
	int rc;

	if (!node || !strstr(node, ".test"))
		return real(node, service, hints, res);
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	while (held)
		usleep(1000);
	lookups++;
	if (failed)
		return EAI_AGAIN;
	if (strcmp(node, "two.test"))
		return real("127.0.3.1", service, hints, res);
	/* nobody listens at .9: in front, behind, in front, as name servers answer in turn */
	rc = real(lookups % 2 ? "127.0.3.9" : "127.0.3.1", service, hints, res);
	return rc ? rc
		  : real(lookups % 2 ? "127.0.3.1" : "127.0.3.9", service, hints, &(*res)->ai_next);
}

static void names_do_not_hold_the_loop_up(void)
{
	struct vms_errmsg e;
	unsigned up;

	begin(0);
	join(address);
	CU_ASSERT_EQUAL_FATAL(vms_net_listen(b.net, "127.0.3.1:13407", &e), 0);
	held = true;
	lookups = 0;
	CU_ASSERT(vms_net_connect(a.net, "host.test:13407") != 0);
	CU_ASSERT(vms_net_connect(a.net, "host.test:13407") != 0);
	for (unsigned i = 0; i < 50; i++) {
		send_one(&b, i, NULL, 0);
		UNTIL(a.frames == i + 1);
	}
	CU_ASSERT_EQUAL(a.connected, 1);
	held = false;
	UNTIL(a.connected == 3 && b.accepted == 3);
	CU_ASSERT_EQUAL(lookups, 1); /* both waited for one */
	CU_ASSERT_EQUAL(a.closed, 0);
	/* known now, and asked for again behind its back */
	held = true;
	CU_ASSERT(vms_net_connect(a.net, "host.test:13407") != 0);
	UNTIL(a.connected == 4 && b.accepted == 4);
	CU_ASSERT_EQUAL(lookups, 1);
	/* no name server any more: what it stood for stays (a third lookup begins when the
	 * failed one has been heard of) */
	failed = true;
	held = false;
	for (up = 4; lookups < 3 && up < 1000 && a.connected == up;) {
		CU_ASSERT(vms_net_connect(a.net, "host.test:13407") != 0);
		up++;
		UNTIL(a.connected == up && b.accepted == up);
	}
	CU_ASSERT(lookups >= 3);
	/* nothing is known of another */
	CU_ASSERT(vms_net_connect(a.net, "other.test:13407") != 0);
	UNTIL(a.closed == 1);
	CU_ASSERT_EQUAL(a.err, VMS_E_DISCONNECTED);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(a.why, "other.test:13407: Temporary failure in name resolution"));
	CU_ASSERT_EQUAL(a.connected, up);
	failed = false;
	end();
}

static void the_next_address_of_a_name_is_tried(void)
{
	struct vms_errmsg e;

	begin(0);
	lookups = 0;
	CU_ASSERT_EQUAL_FATAL(vms_net_listen(b.net, "127.0.3.1:13408", &e), 0);
	/* two that fail together have tried one address */
	CU_ASSERT(vms_net_connect(a.net, "two.test:13408") != 0);
	CU_ASSERT(vms_net_connect(a.net, "two.test:13408") != 0);
	UNTIL(a.closed == 2);
	CU_ASSERT_EQUAL(a.connected, 0);
	/* the other stays in use, in whatever order they come from now on */
	for (unsigned up = 1; lookups < 8 && up <= 1000 && a.connected == up - 1; up++) {
		CU_ASSERT(vms_net_connect(a.net, "two.test:13408") != 0);
		UNTIL(a.connected == up);
	}
	CU_ASSERT(lookups >= 8);
	CU_ASSERT_EQUAL(a.closed, 2);
	end();
}

/* Nobody answers: closed after the time that connecting has; and the net goes first. */
static void a_lookup_outlives_its_net(void)
{
	begin(0);
	held = true;
	lookups = 0;
	CU_ASSERT(vms_net_connect(a.net, "late.test:13409") != 0);
	UNTIL(a.closed == 1);
	CU_ASSERT_EQUAL(a.err, VMS_E_TIMEOUT);
	CU_ASSERT_PTR_NOT_NULL(strstr(a.why, "name"));
	end();
	held = false;
	for (unsigned i = 0; i < 5000 && !lookups; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(lookups, 1);
}

static void all_of_it_in_anothers_loop(void);

static const struct vms_test tests[] = {
	VMS_TEST(unix_sockets_carry_frames),
	VMS_TEST(tcp_carries_frames),
	VMS_TEST(small_frames_share_system_calls),
	VMS_TEST(large_payloads_go_at_once),
	VMS_TEST(refused_and_bad_addresses_close),
	VMS_TEST(taken_addresses_are_named),
	VMS_TEST(close_is_told_once_on_both_sides),
	VMS_TEST(last_words_arrive),
	VMS_TEST(full_queue_ends_the_connection),
	VMS_TEST(garbage_ends_the_connection),
	VMS_TEST(crumbs_make_a_frame),
	VMS_TEST(other_fds_are_watched),
	VMS_TEST(connections_go_over_to_a_loop),
	VMS_TEST(what_ended_in_a_turn_is_not_ready_in_it),
	VMS_TEST(names_do_not_hold_the_loop_up),
	VMS_TEST(the_next_address_of_a_name_is_tried),
	VMS_TEST(a_lookup_outlives_its_net),
	VMS_TEST(all_of_it_in_anothers_loop),
};

static void all_of_it_in_anothers_loop(void)
{
	joined = true;
	for (unsigned i = 0; tests[i].fn != all_of_it_in_anothers_loop; i++)
		tests[i].fn();
	joined = false;
}

VMS_TEST_MAIN("cluster/net", tests)
