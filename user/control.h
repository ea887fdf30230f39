/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How `vmblame mark` talks to a recorder: a socket in the abstract name space, called after the
 * trace's header. Whoever can read the header of the trace, which is its owner's alone, and is of
 * the same user or root is heard. One packet asks, one answers.
 */
#ifndef VMBLAME_CONTROL_H
#define VMBLAME_CONTROL_H

#include <stdbool.h>
#include <sys/types.h>

#include "formats/event.h"
#include "user/range.h"

#define CONTROL_VERSION 1

struct control_ask {
	u32 version;
	char name[MARK_NAME_MAX + 1]; /* of the mark */
};

struct control_answer {
	u32 version;
	u32 exact;	 /* memory is known as of this moment */
	u64 t_ns;	 /* of the mark, since the start of the recording */
	u64 lag_ns;	 /* since it was asked for */
	char error[128]; /* "" when there is a mark now */
};

/* The recorder's side. 0 or -errno. */
struct control;
int control_open(struct control **out, const u8 uuid[16], uid_t uid);
void control_close(struct control *c); /* NULL is fine */
/* To be polled for reading, as long as nobody waits to be heard. */
int control_fd(const struct control *c);
/* Never blocks. A descriptor to answer, or -1: nobody asked. *asked is checked but for its name's
 * use. */
int control_receive(struct control *c, struct control_ask *asked);
/* Takes the descriptor over; one of -1 is fine. */
void control_answer(int fd, const struct control_answer *answer);

/* The other side: waits for the answer. -ECONNREFUSED: nobody records to that file (any more);
 * -ECONNRESET: it does not listen to us; -ETIMEDOUT; -EPROTO: another version's. */
int control_ask(const u8 uuid[16], const char *name, struct control_answer *answer);

#endif
