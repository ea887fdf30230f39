// SPDX-License-Identifier: GPL-2.0-or-later
/* The agent's socket: connect, introduce ourselves, take the configuration, exchange messages. */
#include "agent_link.h"

#include "agent_sys.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#define CONFIG_WAIT_NS 60000000000ull

static int socket_connect(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval wait = {.tv_sec = CONFIG_WAIT_NS / 1000000000};
	size_t len = strlen(name);
	struct ucred cred;
	socklen_t cred_len = sizeof(cred);
	int fd, err;

	if (!len || len >= sizeof(addr.sun_path))
		return -EINVAL;
	memcpy(addr.sun_path + 1, name, len);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len))
		err = -errno;
	else
		err = cred.uid == 0 || cred.uid == getuid() || cred.uid == geteuid() ? 0 : -EPERM;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static void hello_send(struct agent_link *l)
{
	u64 num[6] = {AGENT_VERSION, (u64)getpid(), (u64)getppid()};
	char exe[256];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[n > 0 ? n : 0] = '\0';
	agent_link_send(l, AGENT_HELLO, num, exe);
}

static int ranges_valid(const struct agent_msg *msg, size_t size)
{
	u64 last = 0;

	if (msg->type != AGENT_CONFIG || msg->nranges > AGENT_RANGES ||
	    size != AGENT_MSG_SIZE + msg->nranges * sizeof(msg->range[0]))
		return 0;
	for (u32 i = 0; i < msg->nranges; i++) {
		const struct agent_range *r = &msg->range[i];

		if (r->gpa >= r->end || (r->gpa | r->end) & 0xfff || r->gpa < last)
			return 0;
		last = r->end;
	}
	return 1;
}

static void *map_shared(int fd, size_t size, bool memfd)
{
	struct stat st;
	void *map;

	/* A file that shrinks under us would be a SIGBUS in the VMM. */
	if (memfd && (fstat(fd, &st) || st.st_size < (off_t)size ||
		      !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK)))
		return NULL;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

/* Takes what CONFIG brought along; the descriptors are closed by the caller. */
static int config_take(struct agent_link *l, const struct agent_msg *msg, size_t size,
		       const int *fds, size_t nfds)
{
	if (!ranges_valid(msg, size) || !nfds)
		return -EPROTO;
	l->shared = map_shared(fds[0], sizeof(*l->shared), true);
	if (!l->shared)
		return -EPROTO;
	l->flags = (u32)msg->num[0];
	if (l->flags & AGENT_LOG) {
		l->pages = --nfds ? map_shared(*++fds, sizeof(*l->pages), true) : NULL;
		if (!l->pages)
			return -EPROTO;
	}
	if (nfds > 1)
		l->dropped = map_shared(fds[1], AGENT_VCPUS * sizeof(*l->dropped), false);
	l->nranges = msg->nranges;
	memcpy(l->range, msg->range, msg->nranges * sizeof(l->range[0]));
	return 0;
}

static int config_recv(struct agent_link *l)
{
	static struct agent_msg msg;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(3 * sizeof(int))];
	} control;
	struct iovec iov = {&msg, sizeof(msg)};
	struct msghdr hdr = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	ssize_t n = recvmsg(l->fd, &hdr, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int fds[3], err;
	size_t nfds = 0;

	if (n < 0)
		return -errno;
	if (!n)
		return -ECONNRESET;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		nfds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), nfds * sizeof(int));
	}
	err = hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EPROTO
						       : config_take(l, &msg, (size_t)n, fds, nfds);
	while (nfds)
		close(fds[--nfds]);
	return err;
}

int agent_link_open(struct agent_link *l, const char *name)
{
	u64 until_ns = sys_now_ns() + CONFIG_WAIT_NS, now_ns;
	int err = -ETIMEDOUT;

	l->shared = &l->none;
	l->fd = socket_connect(name);
	if (l->fd < 0)
		return l->fd;
	hello_send(l);
	while ((now_ns = sys_now_ns()) < until_ns) {
		struct pollfd pfd = {l->fd, POLLIN, 0};

		if (poll(&pfd, 1, (int)((until_ns - now_ns) / 1000000) + 1) <= 0)
			continue;
		err = config_recv(l);
		if (err != -EAGAIN && err != -EINTR)
			break;
		err = -ETIMEDOUT;
	}
	if (err) {
		l->shared = &l->none;
		agent_link_close(l);
	}
	return err;
}

void agent_link_send(struct agent_link *l, enum agent_type type, const u64 num[6], const char *text)
{
	agent_link_send_data(l, type, num, text, text ? strlen(text) : 0);
}

void agent_link_send_data(struct agent_link *l, enum agent_type type, const u64 num[6],
			  const void *data, size_t size)
{
	struct agent_msg msg = {.type = type, .t_ns = sys_now_ns()};
	int saved = errno;

	if (l->fd < 0)
		return;
	memcpy(msg.num, num, sizeof(msg.num));
	if (size)
		memcpy(msg.text, data, size < sizeof(msg.text) - 1 ? size : sizeof(msg.text) - 1);
	if (send(l->fd, &msg, AGENT_MSG_SIZE, MSG_NOSIGNAL | MSG_DONTWAIT) !=
	    (ssize_t)AGENT_MSG_SIZE)
		__atomic_fetch_add(&l->shared->unsent, 1, __ATOMIC_RELAXED);
	errno = saved;
}

enum agent_recv agent_link_recv(struct agent_link *l, struct agent_msg *msg, int timeout_ms)
{
	struct pollfd pfd = {l->fd, POLLIN, 0};
	ssize_t n;

	if (poll(&pfd, 1, timeout_ms) <= 0)
		return AGENT_RECV_NONE;
	n = recv(l->fd, msg, AGENT_MSG_SIZE, MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return AGENT_RECV_NONE;
	if (n != (ssize_t)AGENT_MSG_SIZE)
		return AGENT_RECV_EOF;
	return AGENT_RECV_MSG;
}

void agent_link_close(struct agent_link *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
