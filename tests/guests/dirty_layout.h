/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory that the `dirty` guest dirties: the one place that says so. */
#ifndef GUESTS_DIRTY_LAYOUT_H
#define GUESTS_DIRTY_LAYOUT_H

#define DIRTY_GPA   0x2000000 /* of 512 MiB, all but the first 32 and the last */
#define DIRTY_BYTES 0x1df00000

#endif
