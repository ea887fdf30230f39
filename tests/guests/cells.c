// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The text console of the `console` guest. Its bug is real and common: the meter keeps the address
 * of a cell, and nobody tells it when the console moves to another screen.
 */
#include "cells.h"

/* The adapter latches each byte: the barriers keep the compiler from joining the stores. */
__attribute__((noinline)) void cell_draw(struct cell *cell, char c, u8 attr)
{
	cell->glyph = (u8)c;
	barrier();
	cell->page = 0;
	barrier();
	cell->attr |= attr;
	barrier();
	cell->mark[0] = 0;
	barrier();
	cell->mark[1] = 0;
	barrier();
}

void console_open(struct console *con, struct cell *cells, u16 cols, u16 rows)
{
	con->cells = cells;
	con->cols = cols;
	con->rows = rows;
	con->col = 0;
	con->row = 0;
}

struct cell *console_cell(const struct console *con, u16 row, u16 col)
{
	return &con->cells[row * con->cols + col];
}

__attribute__((noinline)) void console_char(struct console *con, char c)
{
	if (c != '\n') {
		cell_draw(console_cell(con, con->row, con->col), c, ATTR_WHITE);
		con->col++;
	}
	if (c == '\n' || con->col == con->cols) {
		con->col = 0;
		con->row = con->row + 1 < con->rows ? (u16)(con->row + 1) : 0;
	}
}

__attribute__((noinline)) void console_text(struct console *con, const char *text)
{
	while (*text)
		console_char(con, *text++);
}

void meter_open(struct meter *meter, const struct console *con, u16 row, u16 col)
{
	meter->at = console_cell(con, row, col);
}

__attribute__((noinline)) void meter_step(struct meter *meter)
{
	cell_draw(meter->at, '<', ATTR_WHITE);
	meter->at++;
}
