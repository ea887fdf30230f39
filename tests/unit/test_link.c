// SPDX-License-Identifier: GPL-2.0-or-later
/* The recorder's and the agent's ends of the socket against each other, and against strangers. */
#include "../../user/agent_link.h"
#include "../../user/link.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static const struct agent_range ranges[] = {{0x1000, 0x3000}, {0x8000, 0x9000}};

static struct link *start(int dropped_fd)
{
	struct link_opts opts = {.flags = AGENT_ARM,
				 .nranges = 2,
				 .range = ranges,
				 .dropped_fd = dropped_fd,
				 .uid = geteuid()};
	struct link *l;

	assert_int_equal(link_open(&l, &opts), 0);
	return l;
}

static int hear(struct link *l, struct agent_msg *msg)
{
	int got = LINK_NONE;

	for (int i = 0; i < 100 && got == LINK_NONE; i++) {
		struct pollfd pfd = {link_fd(l), POLLIN, 0};

		poll(&pfd, 1, 50);
		got = link_receive(l, msg);
	}
	return got;
}

static int stranger(const struct link *l)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(link_name(l));
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path + 1, link_name(l), len);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)),
			 0);
	return fd;
}

struct caller {
	struct agent_link link;
	const char *name;
	int err;
};

static void *call(void *arg)
{
	struct caller *c = arg;

	c->err = agent_link_open(&c->link, c->name);
	return NULL;
}

/* Both ends, introduced. */
static void connect_agent(struct link *l, struct caller *c)
{
	struct agent_msg msg;
	pthread_t thread;

	memset(c, 0, sizeof(*c));
	c->name = link_name(l);
	assert_int_equal(pthread_create(&thread, NULL, call, c), 0);
	assert_int_equal(hear(l, &msg), LINK_MSG);
	assert_int_equal(msg.type, AGENT_HELLO);
	assert_int_equal(msg.num[1], getpid());
	assert_int_equal(link_send(l, AGENT_ARM_NOW, 0, 0, WHY_NONE), -ENOTCONN);
	assert_int_equal(link_receive(l, &msg), LINK_NONE); /* CONFIG goes out */
	pthread_join(thread, NULL);
	assert_int_equal(c->err, 0);
	assert_int_equal(link_pid(l), getpid());
}

static void introduction(void **state)
{
	int dropped = memfd_create("dropped", MFD_CLOEXEC);
	struct agent_msg msg;
	struct caller c;
	struct link *l;

	(void)state;
	assert_int_equal(ftruncate(dropped, AGENT_VCPUS * sizeof(struct agent_dropped)), 0);
	l = start(dropped);
	connect_agent(l, &c);
	assert_int_equal(c.link.nranges, 2);
	assert_memory_equal(c.link.range, ranges, sizeof(ranges));
	assert_int_equal(c.link.flags, AGENT_ARM);
	assert_non_null(c.link.dropped);
	link_beat(l);
	assert_int_equal(c.link.shared->beat, 1);

	agent_link_send(&c.link, AGENT_ARMED, (u64[6]){1, 2, 3}, NULL);
	assert_int_equal(hear(l, &msg), LINK_MSG);
	assert_int_equal(msg.type, AGENT_ARMED);
	assert_int_equal(msg.num[2], 3);
	assert_int_equal(link_send(l, AGENT_OPEN, 4, 5, WHY_VFIO), 0);
	assert_int_equal(agent_link_recv(&c.link, &msg, 1000), AGENT_RECV_MSG);
	assert_int_equal(msg.type, AGENT_OPEN);
	assert_int_equal(msg.num[2], WHY_VFIO);
	assert_int_equal(agent_link_recv(&c.link, &msg, 0), AGENT_RECV_NONE);

	agent_link_close(&c.link);
	assert_int_equal(hear(l, &msg), LINK_EOF);
	assert_int_equal(link_pid(l), 0);
	assert_int_equal(link_send(l, AGENT_OK, 0, 0, WHY_NONE), -ENOTCONN);
	connect_agent(l, &c); /* it listens again */
	link_close(l);
	assert_int_equal(agent_link_recv(&c.link, &msg, 1000), AGENT_RECV_EOF);
	agent_link_close(&c.link);
	close(dropped);
}

/* What was said before the end is heard before the end. */
static void last_words(void **state)
{
	struct agent_msg msg;
	struct caller c;
	struct link *l = start(-1);

	(void)state;
	connect_agent(l, &c);
	for (int i = 0; i < 5; i++)
		agent_link_send(&c.link, AGENT_OPENED, (u64[6]){0}, NULL);
	agent_link_close(&c.link);
	for (int i = 0; i < 5; i++)
		assert_int_equal(hear(l, &msg), LINK_MSG);
	assert_int_equal(hear(l, &msg), LINK_EOF);
	link_close(l);
}

static void full_socket_counts(void **state)
{
	struct caller c;
	struct link *l = start(-1);

	(void)state;
	connect_agent(l, &c);
	for (int i = 0; i < 20000; i++)
		agent_link_send(&c.link, AGENT_CHANGE, (u64[6]){0}, NULL);
	assert_true(link_shared(l)->unsent > 0);
	link_close(l);
	agent_link_send(&c.link, AGENT_CHANGE, (u64[6]){0}, NULL); /* no SIGPIPE */
	agent_link_close(&c.link);
}

static void second_agent_is_turned_away(void **state)
{
	struct agent_msg msg;
	struct caller c;
	struct link *l = start(-1);
	int fd;

	(void)state;
	connect_agent(l, &c);
	fd = stranger(l);
	assert_int_equal(link_receive(l, &msg), LINK_NONE);
	assert_int_equal(recv(fd, &msg, sizeof(msg), 0), 0);
	assert_int_equal(link_pid(l), getpid());
	close(fd);
	link_close(l);
	agent_link_close(&c.link);
}

static void strangers_are_dropped(void **state)
{
	static const u32 sizes[] = {
		1, 8, AGENT_MSG_SIZE - 1, AGENT_MSG_SIZE + 1, 4096, AGENT_MSG_SIZE};
	struct agent_msg msg;
	struct caller c;
	struct link *l = start(-1);
	int silent;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		u8 junk[4096] = {AGENT_HELLO};
		int fd = stranger(l);

		/* Of the right size, the version is wrong. */
		assert_int_equal(send(fd, junk, sizes[i], 0), sizes[i]);
		assert_int_equal(link_receive(l, &msg), LINK_NONE);
		assert_int_equal(link_receive(l, &msg), LINK_NONE);
		assert_int_equal(recv(fd, junk, sizeof(junk), 0), 0);
		close(fd);
	}
	/* One that says nothing gives way to the next. */
	silent = stranger(l);
	assert_int_equal(link_receive(l, &msg), LINK_NONE);
	connect_agent(l, &c);
	agent_link_close(&c.link);
	close(silent);
	link_close(l);
}

static void bad_ranges_are_refused(void **state)
{
	static const struct agent_range bad[][2] = {
		{{0x1000, 0x1000}, {0x2000, 0x3000}},
		{{0x1000, 0x3000}, {0x2000, 0x4000}},
		{{0x1001, 0x2000}, {0x3000, 0x4000}},
		{{0x3000, 0x4000}, {0x1000, 0x2000}},
	};
	struct link_opts opts = {.nranges = 2, .dropped_fd = -1, .uid = geteuid()};
	struct link *l;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		opts.range = bad[i];
		assert_int_equal(link_open(&l, &opts), -EINVAL);
		assert_null(l);
	}
	opts.nranges = AGENT_RANGES + 1;
	assert_int_equal(link_open(&l, &opts), -EINVAL);
	link_close(NULL);
}

static void nobody_listens(void **state)
{
	struct agent_link a = {0};

	(void)state;
	assert_int_equal(agent_link_open(&a, "vmblame-nobody"), -ECONNREFUSED);
	assert_int_equal(agent_link_open(&a, ""), -EINVAL);
	assert_true(a.fd < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(introduction),
		cmocka_unit_test(last_words),
		cmocka_unit_test(full_socket_counts),
		cmocka_unit_test(second_agent_is_turned_away),
		cmocka_unit_test(strangers_are_dropped),
		cmocka_unit_test(bad_ranges_are_refused),
		cmocka_unit_test(nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
