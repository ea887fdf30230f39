/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the `hostile` guest's stacks and its clock page lie: three pages to watch. */
#ifndef GUESTS_HOSTILE_LAYOUT_H
#define GUESTS_HOSTILE_LAYOUT_H

#define STACK_GPA      0x1700000 /* 32-bit stack, grows down from the page's end */
#define CLOCK_GPA      0x1710000 /* kvmclock, at the page's start */
#define REAL_STACK_GPA 0x50000	 /* real mode: ss:0 */
#define REAL_STACK_SEG 0x5000
#define REAL_SP	       0x0f00

#endif
