/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `console` guest's text console: a screen of cells in memory, a frame-buffer adapter draws
 * them.
 */
#ifndef GUESTS_CELLS_H
#define GUESTS_CELLS_H

#include "guest.h"

/*
 * One cell. The adapter sets pixel and width as it lays out the screen; drawing a character touches
 * the others, one byte at a time, as the adapter wants it.
 */
struct cell {
	u32 pixel;  /*  0: first pixel in the frame buffer */
	u32 width;  /*  4: in pixels */
	u8 glyph;   /*  8: character */
	u8 page;    /*  9: code page of the glyph, 0 is ASCII */
	u8 font[2]; /* 10 */
	u8 attr;    /* 12: colours: foreground in the low nibble, background in the high one */
	u8 blink;   /* 13 */
	u8 mark[2]; /* 14: combining mark, 0 is none */
};

#define ATTR_WHITE 0x07 /* on whatever background the cell has */

struct console {
	struct cell *cells;
	u16 cols, rows;
	u16 col, row; /* the cursor */
};

void console_open(struct console *con, struct cell *cells, u16 cols, u16 rows);
void console_char(struct console *con, char c);
void console_text(struct console *con, const char *text);
struct cell *console_cell(const struct console *con, u16 row, u16 col);

void cell_draw(struct cell *cell, char c, u8 attr);

/* A progress meter: draws one '<' a step, from right where it was put on the screen. */
struct meter {
	struct cell *at; /* the next cell */
};

void meter_open(struct meter *meter, const struct console *con, u16 row, u16 col);
void meter_step(struct meter *meter);

#endif
