/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory that the `dirty` guest dirties: the one place that says so. */
#ifndef GUESTS_DIRTY_LAYOUT_H
#define GUESTS_DIRTY_LAYOUT_H

#define DIRTY_GPA  0x2000000
#define DIRTY_LEFT 0x100000 /* at the end of RAM */

#endif
