/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shows who could have changed a page in a window.
 */
#ifndef VMBLAME_VIEW_SUSPECTS_H
#define VMBLAME_VIEW_SUSPECTS_H

#include "replay/suspects.h"
#include "view.h"

struct view_suspects {
	const struct view *view;
	struct reader *reader;
	/* What will be asked about, to be read at once. Where that is empty, each window is read by
	 * itself. */
	u64 gpa, end;
	struct suspects_book *book;
	struct suspicion last; /* what the book was read for */
	struct suspects found;
};

/* Of a write that was found page by page. NULL: of another, or the trace could not be read (a line
 * on stderr). Valid until the next call. */
const struct suspects *view_suspects(struct view_suspects *s, const struct view_write *v);
void view_suspects_close(struct view_suspects *s);

/* Adds them to the array that is open. */
void view_suspects_json(struct json *j, const struct view *view, const struct suspects *s);
/* A line each. */
void view_suspects_text(FILE *f, const struct view *view, const struct suspects *s);

/* What would tell exactly: the options for record. */
void view_watch(char *buf, size_t size, u64 gpa, u64 end);

#endif
