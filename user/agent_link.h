/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's end of the socket to the recorder (agent.h). Sending never blocks and never raises
 * SIGPIPE; what the socket does not take is counted in agent_shared.unsent.
 */
#ifndef VMBLAME_AGENT_LINK_H
#define VMBLAME_AGENT_LINK_H

#include "agent.h"

#include <stdbool.h>

struct agent_link {
	int fd;			       /* -1: not connected (any more) */
	u32 flags;		       /* of CONFIG */
	struct agent_shared *shared;   /* never NULL */
	struct agent_pages *pages;     /* in pages mode, else NULL */
	struct agent_dropped *dropped; /* AGENT_VCPUS of them, or NULL */
	u32 nranges;
	struct agent_range range[AGENT_RANGES];
	struct agent_shared none; /* stands in where there is no recorder's */
};

enum agent_recv { AGENT_RECV_NONE, AGENT_RECV_MSG, AGENT_RECV_EOF };

/* Connects to the abstract name, says HELLO, waits up to 60 s for CONFIG. 0 or -errno. */
int agent_link_open(struct agent_link *l, const char *name);

/* text may be NULL. */
void agent_link_send(struct agent_link *l, enum agent_type type, const u64 num[6],
		     const char *text);

/* The same with bytes in the place of the text, as many as it has room for. */
void agent_link_send_data(struct agent_link *l, enum agent_type type, const u64 num[6],
			  const void *data, size_t size);

/* Waits for a command, timeout_ms at most. */
enum agent_recv agent_link_recv(struct agent_link *l, struct agent_msg *msg, int timeout_ms);

void agent_link_close(struct agent_link *l);

#endif
