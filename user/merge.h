/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Puts the events of all sources into the order of time: they wait until no source can still hand
 * in an earlier one.
 */
#ifndef VMBLAME_MERGE_H
#define VMBLAME_MERGE_H

#include <stddef.h>

#include "formats/event.h"

struct merge;

int merge_open(struct merge **out); /* 0 or -ENOMEM */
void merge_close(struct merge *m);

/* Copies the event. 0, -EINVAL for a kind that is not in the table, or -ENOMEM. */
int merge_put(struct merge *m, const struct event *ev);

/* Hands every event with t_ns <= until_ns to fn, oldest first; of the same time, those of one
 * thread in their own order, otherwise as they were put. Of an event only event_used_bytes() are
 * there. Returns 0 or fn's first negative value (the rest is dropped then). */
int merge_flush(struct merge *m, u64 until_ns, int (*fn)(void *arg, const struct event *ev),
		void *arg);

#endif
