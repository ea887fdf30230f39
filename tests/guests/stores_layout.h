/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `stores` guest's memory: the ranges to watch, and the window. Read by the guest, by the
 *host's model of it, and (numbers alone) by the assembler.
 *
 *	0x00400000	the table of operations (stores_table.h), as it came from the disk
 *	0x00ff0000	the arena: ranges A and B and unwatched neighbours; zero at the start
 *	0x40000000	the window: 4 KiB pages that lead somewhere into the arena (WINDOW_PAGES);
 *			virtual neighbours are physical strangers, and a page may be not present
 *
 * Elsewhere virtual and physical addresses are the same.
 */
#ifndef GUESTS_STORES_LAYOUT_H
#define GUESTS_STORES_LAYOUT_H

#define TABLE_GPA 0x400000
#define TABLE_END 0xf00000

#define ARENA_GPA 0xff0000
#define ARENA_END 0x1240000

#define RANGE_A_GPA   0x1000000
#define RANGE_A_BYTES 0x10000
#define RANGE_B_GPA   0x1234c38
#define RANGE_B_BYTES 9001

#define WINDOW_GVA 0x40000000

/* X(number, gpa): the page of the arena that page `number` of the window leads to. */
#define WINDOW_PAGES(X)                       \
	X(0, 0x1003000)	 /* A */              \
	X(1, 0x1009000)	 /* A, elsewhere */   \
	X(2, 0x1020000)	 /* not watched */    \
	X(3, 0x100f000)	 /* A's last page */  \
	X(4, 0x1235000)	 /* B, whole */       \
	X(5, 0x1021000)	 /* not watched */    \
	X(6, 0x1000000)	 /* A's first page */ \
	X(7, 0x1000000)	 /* the same again */ \
	X(8, 0x1234000)	 /* B begins in it */ \
	X(9, 0x1236000)	 /* B ends in it */   \
	X(10, 0x1022000) /* not watched */    \
	X(11, 0x1005000) /* A */              \
	X(12, 0x1006000) /* A, and for once the next page */
#define WINDOW_COUNT 13

/* Where the one absolute store of the table goes (movabs). */
#define MOVABS_GPA 0x1001239

#endif
