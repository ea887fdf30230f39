/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the stacks lie on which the `frames` guest takes its interrupts: one page for each round.
 */
#define FRAMES_GPA   0x1800000
#define FRAMES_BYTES 0x40000
#define FRAMES_PAGE  0x1000
