/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the `console` guest puts things: the one place that says so; console.addr is made
 * from it, for scripts.
 *
 *	0x01f00000	boot memory: log ring, then the early console's cells; released when the
 *			video mode changes, after which the module is loaded over it
 *	0x02000000	lasting memory: the late console's cells
 */
#ifndef GUESTS_CONSOLE_LAYOUT_H
#define GUESTS_CONSOLE_LAYOUT_H

#define BOOTMEM_GPA  0x1f00000
#define BOOTMEM_END  0x2000000
#define LASTMEM_GPA  0x2000000
#define LASTMEM_END  0x2100000
#define LOG_BYTES    0x30000
#define MODULE_GPA   BOOTMEM_GPA
#define MODULE_BYTES 433702

/* The meter's place on the screen, in both modes. */
#define METER_ROW 34
#define METER_COL 32

/* The damage, as an offset in the module: cell (METER_ROW, METER_COL) of the early console. */
#define EARLY_COLS   80
#define EARLY_ROWS   50
#define CELL_BYTES   16
#define DAMAGE_OFF   0x3ac00
#define DAMAGE_CELLS 7

_Static_assert(BOOTMEM_GPA + LOG_BYTES + (METER_ROW * EARLY_COLS + METER_COL) * CELL_BYTES ==
		       MODULE_GPA + DAMAGE_OFF,
	       "the meter's early cells lie at the module's seven rows");

#endif
