/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The moments at which a recording starts and ends, and those that it marks: --from, --until,
 * --mark and --exact.
 */
#ifndef VMBLAME_TRIGGER_H
#define VMBLAME_TRIGGER_H

#include <regex.h>
#include <stdbool.h>

#include "formats/event.h"

enum trigger_kind {
	TRIGGER_NONE,
	TRIGGER_TIME,
	TRIGGER_RESET,
	TRIGGER_PANIC,	      /* the guest said so (pvpanic, Hyper-V's crash registers) */
	TRIGGER_TRIPLE_FAULT, /* the vCPU shut down */
	TRIGGER_VIRTIO_ERROR, /* QEMU called a virtio device broken */
	TRIGGER_EXIT,	      /* the VMM's */
	TRIGGER_CONSOLE,
	TRIGGER_MARK,
	TRIGGER_KINDS
};

struct trigger {
	enum trigger_kind kind;
	bool hit;
	u64 t_ns;      /* TRIGGER_TIME: after the start of the recording */
	regex_t regex; /* TRIGGER_CONSOLE: extended, matched against one line as it grows */
	char line[4096];
	unsigned len;
	bool matched;  /* this line, already */
	char name[49]; /* TRIGGER_MARK */
};

/* What is written on the command line for it: "SECONDS", "reset", "console:REGEX". */
const char *trigger_word(enum trigger_kind kind);
/* Those words, but `except`, as a sentence has them. */
const char *trigger_words(enum trigger_kind except, char *buf, size_t size);

/* SECONDS (as duration_parse() takes them) or one of the words. 0, or -EINVAL with a line in err.
 */
int trigger_parse(struct trigger *t, const char *text, char *err, size_t err_size);
void trigger_free(struct trigger *t);

/* Whether it is this that pulls the trigger; a line of the console does so once. */
bool trigger_again(struct trigger *t, const struct event *ev);
/* Each returns true when it is this that pulls the trigger; never again after that. */
bool trigger_event(struct trigger *t, const struct event *ev);
bool trigger_time(struct trigger *t, u64 now_ns);

/* Whether the guest's console is in the middle of a line after this event, `open` before it. */
bool console_line_open(bool open, const struct event *ev);

#endif
