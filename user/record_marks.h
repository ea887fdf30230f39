/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moments with a name: what the guest does (a reset, a crash, a line on its console), what --mark
 * and --exact wait for, SIGUSR1, and `vmblame mark`.
 *
 * What the guest does is marked at its own time. A mark that is to be exact falls due, and the
 * recorder puts it when memory is known: in the loop, since the vCPUs have to stop for it.
 */
#ifndef VMBLAME_RECORD_MARKS_H
#define VMBLAME_RECORD_MARKS_H

#include "user/control.h"
#include "user/record.h"

#define MARKS_DUE 16

/* A mark that is to be put. */
struct mark_due {
	char name[MARK_NAME_MAX + 1];
	u64 asked_ns; /* when it was asked for, or what it is about happened */
	bool after;   /* it is behind a mark of that moment, which has its name less "-exact" */
	int answer;   /* descriptor of who waits for it, or -1 */
};

struct record_marks {
	struct control *control;
	u32 told[TRIGGER_KINDS + 1]; /* marks of each kind; the last: by a signal */
	struct mark_due due[MARKS_DUE];
	size_t ndue;
	u64 dropped; /* that there was no room for */
	char (*names)[MARK_NAME_MAX + 1];
	size_t nnames, names_max;
};

struct record;
/* Whoever cannot be listened to is told of, and nothing more. */
void record_marks_open(struct record *r);
void record_marks_close(struct record *r);
/* Every event, in record_take(). */
void record_marks_event(struct record *r, const struct event *ev);
/* SIGUSR1. */
void record_marks_signal(struct record *r);
/* What time it is, and who asks. */
void record_marks_step(struct record *r, u64 now_ns);
/* The next one that is due; false when there is none. */
bool record_marks_next(struct record *r, struct mark_due *due);
/* It was put at t_ns: says so. */
void record_marks_done(const struct mark_due *due, u64 t_ns, bool exact);
/* The event of a mark. */
struct event_mark mark_event(const char *name, u64 t_ns);

#endif
