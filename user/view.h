/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a write is shown: as fields of a JSON object, as one line, as a paragraph for people.
 */
#ifndef VMBLAME_VIEW_H
#define VMBLAME_VIEW_H

#include <stdio.h>

#include "formats/print.h"
#include "replay/query.h"
#include "symbols.h"

struct view {
	const struct state *state;
	const struct symbols *symbols; /* NULL: none */
	bool colour;
};

/* A write as seen through [gpa,end). */
struct view_write {
	const struct write *write;
	u64 gpa, end;
	const u8 *bytes, *old; /* end - gpa; or NULL */
};

/* The fields of one write in --json, without "v" and brackets. */
void view_json(struct json *j, const struct view *view, const struct view_write *w);
/* One line, with its newline. */
void view_line(FILE *f, const struct view *view, const struct view_write *w);
/* Lines below a heading, indented. */
void view_paragraph(FILE *f, const struct view *view, const struct view_write *w);

/* "vCPU 0 at func+0x1c" or "virtio-blk#0 queue 0 request 5". */
void view_actor(const struct view *view, const struct write *w, char *buf, size_t size);

/* "12.345678901 s" */
const char *view_time(u64 t_ns, char *buf, size_t size);
/* Hexadecimal bytes with spaces between, at most `most` of them, then an ellipsis. */
void view_bytes(FILE *f, const u8 *bytes, u64 n, u64 most);

enum tint { TINT_NONE, TINT_BOLD, TINT_GOOD, TINT_WARN, TINT_BAD, TINT_DIM };
/* Escape sequences, or empty strings without colour. */
const char *tint(const struct view *view, enum tint tint);
#define TINT_OFF(view) ((view)->colour ? "\033[0m" : "")

#endif
