/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What people type: sizes, ranges of addresses, times.
 *
 *	number	0x1f3ac08, 4096, or decimal with K, M, G or T (powers of 1024; KiB and kB mean the
 *same) range	START..END, START+LEN, or START alone, which means one byte; half-open
 *	time	12.5s, 300ms, 40us, 7ns, 2.5 (seconds), #EVENT, or the name of a mark
 */
#ifndef VMBLAME_RANGE_H
#define VMBLAME_RANGE_H

#include <stdbool.h>

#include "formats/event.h"

struct range {
	u64 gpa, end; /* half-open, not empty */
};

enum when_kind { WHEN_TIME, WHEN_EVENT, WHEN_MARK };

struct when {
	enum when_kind kind;
	u64 t_ns;	  /* WHEN_TIME */
	u64 seq;	  /* WHEN_EVENT */
	const char *mark; /* WHEN_MARK: the text as given */
};

/* All of them read the whole text. 0, -EINVAL when it is not of that form, -ERANGE when it does not
 * fit 64 bits or the range is empty or backwards. */
int size_parse(const char *text, u64 *out);
int range_parse(const char *text, struct range *out);
int duration_parse(const char *text, u64 *out_ns);
/* Never -EINVAL but for the empty text: what is neither a time nor an event is a mark's name.
 * "mark:NAME" is always a mark. */
int when_parse(const char *text, struct when *out);

/* A mark's name: a letter, then letters, digits, '-', '_' and '.', at most MARK_NAME_MAX in all. */
#define MARK_NAME_MAX  48
#define MARK_NAME_RULE "a mark's name is a letter and up to 47 letters, digits, '-', '_' or '.'"
bool mark_name_good(const char *name);

/* One line why a range was refused; err is what range_parse returned. */
const char *range_complaint(int err);

#endif
