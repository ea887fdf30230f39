/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shows who could have changed a page in a window.
 */
#ifndef VMBLAME_VIEW_SUSPECTS_H
#define VMBLAME_VIEW_SUSPECTS_H

#include "replay/suspects.h"
#include "view.h"

/* Writes that were found page by page have suspects; the same page's window is looked up once for
 * all of its runs. NULL: none is known, or the trace could not be read (a line on stderr). */
const struct suspects *view_suspects(struct suspects *last, const struct view *view,
				     struct reader *r, const struct view_write *v);

/* Adds them to the array that is open. */
void view_suspects_json(struct json *j, const struct view *view, const struct suspects *s);
/* A line each. */
void view_suspects_text(FILE *f, const struct view *view, const struct suspects *s);

/* What would tell exactly: the options for record. */
void view_watch(char *buf, size_t size, u64 gpa, u64 end);

#endif
