/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recorder's end of the socket that agent.h describes.
 *
 * link_open() listens; link_name() goes into the VMM's environment as AGENT_ENV. Poll link_fd() for
 * reading and then call link_receive() until it says LINK_NONE. The link accepts one agent at a
 * time (a process of the expected user that says HELLO in the right version); a further one is
 * turned away and stays inert. After LINK_EOF it listens again. The agent holds its VMM before
 * KVM_CREATE_VM until it has CONFIG, 60 s at most.
 */
#ifndef VMBLAME_LINK_H
#define VMBLAME_LINK_H

#include "agent.h"

#include <stdbool.h>
#include <sys/types.h>

struct link;

struct link_opts {
	u32 flags;			 /* AGENT_ARM, AGENT_RACY, AGENT_LOG */
	u32 nranges;			 /* 0: the agent is passive */
	const struct agent_range *range; /* as agent.h asks: else -EINVAL */
	int dropped_fd; /* map of struct agent_dropped, or -1; stays the caller's */
	uid_t uid;	/* the VMM's user; root and the caller's own pass too */
};

enum link_result {
	LINK_NONE, /* nothing to read now */
	LINK_MSG,  /* a message */
	LINK_EOF,  /* the agent is gone (the VMM ended, closed or was killed) */
};

/* 0 or -errno. All descriptors are close-on-exec. */
int link_open(struct link **out, const struct link_opts *opts);

/* Whether an agent that has no CONFIG yet arms at once; else as link_opts said. */
void link_arm(struct link *l, bool on);

/* The name for AGENT_ENV: printable, without the leading NUL. Valid until link_close(). */
const char *link_name(const struct link *l);

/* One descriptor to poll for POLLIN, the same for the life of the link. */
int link_fd(const struct link *l);

/* Never blocks. An enum link_result, or -errno when the socket fails for good. Messages have been
 * checked: a type that an agent sends, the right size, text terminated. HELLO is handed on too;
 * CONFIG goes out with the next call after that, and only then does the VMM go on. */
int link_receive(struct link *l, struct agent_msg *msg);

/* Hangs up on the agent that has just said HELLO: it stays inert. */
void link_refuse(struct link *l);

/* Sends a command (AGENT_ARM_NOW, AGENT_DISARM, AGENT_OPEN, AGENT_OK, AGENT_HARVEST,
 * AGENT_RESUME). -ENOTCONN without an agent
 * that has its CONFIG, -EAGAIN when the socket is full. */
int link_send(struct link *l, enum agent_type type, u64 gpa, u64 size, enum why why);

/* The connected agent's process as the kernel tells it; 0 when there is none. */
pid_t link_pid(const struct link *l);
/* The user it ran as when it called. */
uid_t link_uid(const struct link *l);

/* Call at least twice a second while all is well: without it the agent takes the watch off. */
void link_beat(struct link *l);

/* Read with __atomic_load_n. Valid until link_close(). */
const struct agent_shared *link_shared(const struct link *l);

/* With AGENT_LOG; else NULL. The VMM can write to it at any time. Valid until link_close(). */
struct agent_pages *link_pages(const struct link *l);

/* Hangs up, which makes the agent open everything. NULL is fine. */
void link_close(struct link *l);

#endif
