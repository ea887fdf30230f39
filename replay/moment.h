/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A moment of a trace: a time, and among events of one time the event's number. "Before M" excludes
 * M itself, so that MOMENT_END, later than every event, stands for the end of the trace.
 */
#ifndef VMBLAME_MOMENT_H
#define VMBLAME_MOMENT_H

#include <stdbool.h>

#include "formats/event.h"

struct moment {
	u64 t_ns;
	u64 seq;
};

#define MOMENT_START ((struct moment){0, 0})
#define MOMENT_END   ((struct moment){UINT64_MAX, UINT64_MAX})

static inline bool moment_before(struct moment a, struct moment b)
{
	return a.t_ns < b.t_ns || (a.t_ns == b.t_ns && a.seq < b.seq);
}

static inline bool moment_is_end(struct moment m)
{
	return m.t_ns == UINT64_MAX && m.seq == UINT64_MAX;
}

#endif
