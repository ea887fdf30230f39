/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every reading command does first: find FILE and RANGE among the operands, open the trace,
 * and say what is wrong with it. These print their errors themselves.
 */
#ifndef VMBLAME_TRACE_H
#define VMBLAME_TRACE_H

#include "cleanup.h"
#include "formats/reader.h"
#include "options.h"
#include "range.h"
#include "replay/state.h"

#define TRACE_DEFAULT "vmblame.vmb"

struct trace {
	const char *path;
	struct reader *reader;
	struct state *state;
};

/* [FILE]: 0, or 2 after a usage error. */
int operands_file(const char *command, const struct operands *operands, const char **path);
/* [FILE] RANGE: the last operand is the range. 0, or 2 after a usage error. */
int operands_range(const char *command, const struct operands *operands, const char **path,
		   struct range *range);

/* Opens and reads the state. A truncated file gets a warning, a damaged one is refused. 0 or 1. */
int trace_open(struct trace *t, const char *path);
/* The same, whatever the stores by pages beside it are like. */
int trace_open_alone(struct trace *t, const char *path);
void trace_close(struct trace *t);

static inline void trace_cleanup(struct trace *t)
{
	trace_close(t);
}

/* A time as typed: the moment just before it, or with `after` the one just after it. text NULL: the
 * end of the trace. 0; 1 or 2 after an error. */
int trace_moment(const struct trace *t, const char *command, const char *text, bool after,
		 struct moment *out);

/* Flushes stdout; 1 after an error message when what was printed did not arrive, else `status`. */
int output_finish(int status);

#endif
