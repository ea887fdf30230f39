// SPDX-License-Identifier: GPL-2.0-or-later
/* The recorder's end of the agent's socket: listen, check who calls, configure, exchange messages.
 */
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct link {
	int epoll_fd;
	int listen_fd;
	int conn_fd;
	int shared_fd;
	int pages_fd;
	int dropped_fd;
	int greeted;	 /* the peer said HELLO */
	int owes_config; /* HELLO was handed on, CONFIG not sent yet */
	pid_t pid;	 /* the agent's, and its user */
	uid_t pid_uid;
	uid_t uid; /* the one that is expected */
	u32 flags;
	u32 nranges;
	struct agent_range range[AGENT_RANGES];
	struct agent_shared *shared;
	struct agent_pages *pages;
	char name[64];
};

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

static int ranges_check(const struct agent_range *range, u32 n)
{
	u64 last = 0;

	if (n > AGENT_RANGES)
		return -EINVAL;
	for (u32 i = 0; i < n; i++) {
		if (range[i].gpa >= range[i].end || (range[i].gpa | range[i].end) & 0xfff ||
		    (i && range[i].gpa < last))
			return -EINVAL;
		last = range[i].end;
	}
	return 0;
}

static int epoll_add(int epoll_fd, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int shared_make(size_t size, int *fd, void **map)
{
	*fd = memfd_create("vmblame", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0 || ftruncate(*fd, (off_t)size) ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (*map == MAP_FAILED) {
		*map = NULL;
		return -errno;
	}
	return 0;
}

static int listen_make(struct link *l)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	u8 random[16];
	size_t len;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	len = (size_t)sprintf(l->name, "vmblame-");
	for (size_t i = 0; i < sizeof(random); i++)
		len += (size_t)sprintf(l->name + len, "%02x", random[i]);
	memcpy(addr.sun_path + 1, l->name, len);
	l->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->listen_fd < 0 ||
	    bind(l->listen_fd, (struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) ||
	    listen(l->listen_fd, 4))
		return -errno;
	return epoll_add(l->epoll_fd, l->listen_fd);
}

int link_open(struct link **out, const struct link_opts *opts)
{
	struct link *l;
	int err = ranges_check(opts->range, opts->nranges);

	*out = NULL;
	if (err)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->listen_fd = l->conn_fd = l->shared_fd = l->pages_fd = -1;
	l->dropped_fd = opts->dropped_fd;
	l->uid = opts->uid;
	l->flags = opts->flags;
	l->nranges = opts->nranges;
	if (opts->nranges)
		memcpy(l->range, opts->range, opts->nranges * sizeof(l->range[0]));
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	err = l->epoll_fd < 0 ? -errno
			      : shared_make(sizeof(*l->shared), &l->shared_fd, (void **)&l->shared);
	if (!err && l->flags & AGENT_LOG)
		err = shared_make(sizeof(*l->pages), &l->pages_fd, (void **)&l->pages);
	if (!err)
		err = listen_make(l);
	if (err) {
		link_close(l);
		return err;
	}
	*out = l;
	return 0;
}

void link_arm(struct link *l, bool on)
{
	l->flags = on ? l->flags | AGENT_ARM : l->flags & ~(u32)AGENT_ARM;
}

const char *link_name(const struct link *l)
{
	return l->name;
}

int link_fd(const struct link *l)
{
	return l->epoll_fd;
}

pid_t link_pid(const struct link *l)
{
	return l->greeted ? l->pid : 0;
}

uid_t link_uid(const struct link *l)
{
	return l->pid_uid;
}

void link_beat(struct link *l)
{
	__atomic_fetch_add(&l->shared->beat, 1, __ATOMIC_RELAXED);
}

const struct agent_shared *link_shared(const struct link *l)
{
	return l->shared;
}

struct agent_pages *link_pages(const struct link *l)
{
	return l->pages;
}

/* Closing takes the descriptor out of the epoll set too: nobody else holds it. */
static void conn_drop(struct link *l)
{
	if (l->conn_fd >= 0)
		close(l->conn_fd);
	l->conn_fd = -1;
	l->greeted = l->owes_config = 0;
	l->pid = 0;
}

void link_refuse(struct link *l)
{
	conn_drop(l);
}

static int config_send(struct link *l)
{
	struct agent_msg msg = {.type = AGENT_CONFIG, .nranges = l->nranges, .num = {l->flags}};
	int fds[3] = {l->shared_fd};
	size_t nfds = 1;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(fds))];
	} control = {0};
	struct iovec iov = {&msg, AGENT_MSG_SIZE + l->nranges * sizeof(msg.range[0])};

	if (l->pages_fd >= 0)
		fds[nfds++] = l->pages_fd;
	if (l->dropped_fd >= 0)
		fds[nfds++] = l->dropped_fd;

	struct msghdr hdr = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = CMSG_SPACE(nfds * sizeof(fds[0]))};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&hdr);

	msg.t_ns = now_ns();
	memcpy(msg.range, l->range, l->nranges * sizeof(msg.range[0]));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(fds[0]));
	memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(fds[0]));
	if (sendmsg(l->conn_fd, &hdr, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	return 0;
}

/* Takes one waiting caller. One that is not ours, or comes while another is served, is hung up on;
 * one that was silent so far gives way. 1: there was a caller. */
static int conn_accept(struct link *l)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd = accept4(l->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
			return 0;
		return -errno;
	}
	if (l->greeted || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ||
	    (cred.uid != l->uid && cred.uid != 0 && cred.uid != geteuid())) {
		close(fd);
		return 1;
	}
	conn_drop(l);
	l->conn_fd = fd;
	l->pid = cred.pid;
	l->pid_uid = cred.uid;
	if (epoll_add(l->epoll_fd, fd))
		conn_drop(l);
	return 1;
}

static int type_valid(u32 type)
{
	return (type >= AGENT_HELLO && type <= AGENT_HARVESTED) || type == AGENT_OK;
}

/* LINK_NONE also when the caller turned out not to be an agent: its connection is gone then. */
static int conn_receive(struct link *l, struct agent_msg *msg)
{
	ssize_t n;
	int was_greeted = l->greeted;

	do {
		n = recv(l->conn_fd, msg, AGENT_MSG_SIZE, MSG_DONTWAIT | MSG_TRUNC);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return LINK_NONE;
	if (n != AGENT_MSG_SIZE || !type_valid(msg->type)) {
		conn_drop(l);
		return was_greeted ? LINK_EOF : LINK_NONE;
	}
	msg->nranges = 0;
	msg->text[sizeof(msg->text) - 1] = '\0';
	if (was_greeted)
		return LINK_MSG;
	if (msg->type != AGENT_HELLO || msg->num[0] != AGENT_VERSION) {
		conn_drop(l);
		return LINK_NONE;
	}
	l->greeted = 1;
	l->owes_config = 1;
	return LINK_MSG;
}

int link_receive(struct link *l, struct agent_msg *msg)
{
	int ret = 0;

	/* Only now, so that the caller has dealt with HELLO before the VMM goes on. */
	if (l->owes_config) {
		l->owes_config = 0;
		if (config_send(l)) {
			conn_drop(l);
			return LINK_EOF;
		}
	}
	/* Waiting callers last: what the agent said before it hung up must not get lost to them. */
	for (int i = 0; i < 16; i++) {
		if (l->conn_fd >= 0) {
			ret = conn_receive(l, msg);
			if (ret != LINK_NONE)
				return ret;
		}
		ret = conn_accept(l);
		if (ret <= 0)
			break;
	}
	return ret < 0 ? ret : LINK_NONE;
}

int link_send(struct link *l, enum agent_type type, u64 gpa, u64 size, enum why why)
{
	struct agent_msg msg = {.type = type, .t_ns = now_ns(), .num = {gpa, size, why}};

	if (!l->greeted || l->owes_config)
		return -ENOTCONN;
	if (send(l->conn_fd, &msg, AGENT_MSG_SIZE, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	return 0;
}

void link_close(struct link *l)
{
	if (!l)
		return;
	conn_drop(l);
	if (l->listen_fd >= 0)
		close(l->listen_fd);
	if (l->shared)
		munmap(l->shared, sizeof(*l->shared));
	if (l->shared_fd >= 0)
		close(l->shared_fd);
	if (l->pages)
		munmap(l->pages, sizeof(*l->pages));
	if (l->pages_fd >= 0)
		close(l->pages_fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	free(l);
}
