// SPDX-License-Identifier: GPL-2.0-or-later
/* The socket of a recorder, and who asks there. */
#include "user/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "user/cleanup.h"

#define CLIENTS 8 /* that are connected and have not asked yet */
#define WAIT_S	30

struct control {
	int fd;
	uid_t uid;
	int client[CLIENTS]; /* or -1 */
	unsigned next;
};

/* In *address; its length. */
static socklen_t name_make(const u8 uuid[16], struct sockaddr_un *address)
{
	char *at = address->sun_path + 1; /* behind a NUL: no file */

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	at += sprintf(at, "vmblame-control-");
	for (unsigned i = 0; i < 16; i++)
		at += sprintf(at, "%02x", uuid[i]);
	return (socklen_t)(at - (char *)address);
}

int control_open(struct control **out, const u8 uuid[16], uid_t uid)
{
	struct control *c = malloc(sizeof(*c));
	struct sockaddr_un address = {0};
	const socklen_t len = name_make(uuid, &address);

	*out = NULL;
	if (!c)
		return -ENOMEM;
	*c = (struct control){.uid = uid};
	for (unsigned i = 0; i < CLIENTS; i++)
		c->client[i] = -1;
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&address, len) || listen(c->fd, CLIENTS)) {
		const int err = -errno;

		control_close(c);
		return err;
	}
	*out = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CLIENTS; i++)
		fd_cleanup(&c->client[i]);
	fd_cleanup(&c->fd);
	free(c);
}

int control_fd(const struct control *c)
{
	return c->fd;
}

static bool is_ours(const struct control *c, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (!peer.uid || peer.uid == c->uid || peer.uid == geteuid());
}

/* Who connects and says nothing makes room in the end. */
static void clients_take(struct control *c)
{
	int fd;

	while ((fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (!is_ours(c, fd)) {
			close(fd);
			continue;
		}
		fd_cleanup(&c->client[c->next]);
		c->client[c->next] = fd;
		c->next = (c->next + 1) % CLIENTS;
	}
}

int control_receive(struct control *c, struct control_ask *asked)
{
	clients_take(c);
	for (unsigned i = 0; i < CLIENTS; i++) {
		const int fd = c->client[i];

		if (fd < 0)
			continue;
		const ssize_t n = recv(fd, asked, sizeof(*asked), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		c->client[i] = -1;
		asked->name[MARK_NAME_MAX] = 0;
		if (n == sizeof(*asked) && asked->version == CONTROL_VERSION &&
		    mark_name_good(asked->name))
			return fd;
		close(fd);
	}
	return -1;
}

void control_answer(int fd, const struct control_answer *answer)
{
	if (fd < 0)
		return;
	send(fd, answer, sizeof(*answer), MSG_NOSIGNAL);
	close(fd);
}

int control_ask(const u8 uuid[16], const char *name, struct control_answer *answer)
{
	const struct timeval wait = {.tv_sec = WAIT_S};
	struct control_ask asked = {.version = CONTROL_VERSION};
	struct sockaddr_un address = {0};
	const socklen_t len = name_make(uuid, &address);
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(asked.name, sizeof(asked.name), "%s", name);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) ||
	    connect(fd, (struct sockaddr *)&address, len) ||
	    send(fd, &asked, sizeof(asked), MSG_NOSIGNAL) != sizeof(asked))
		return errno == EPIPE ? -ECONNRESET : -errno;
	const ssize_t n = recv(fd, answer, sizeof(*answer), 0);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (!n)
		return -ECONNREFUSED; /* it ended */
	if (n != sizeof(*answer) || answer->version != CONTROL_VERSION)
		return -EPROTO;
	answer->error[sizeof(answer->error) - 1] = 0;
	return 0;
}
