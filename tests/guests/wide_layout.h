/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the `wide` guest stores: two pages to watch, one beside them that is not, and two that only
 * tell what an instruction stores. A step sees two of them side by side, at WINDOW_GVA.
 */
#ifndef GUESTS_WIDE_LAYOUT_H
#define GUESTS_WIDE_LAYOUT_H

#define WATCHED_GPA   0x1800000
#define WATCHED_BYTES 0x2000
#define BESIDE_GPA    0x1810000
#define MIRROR_GPA    0x1820000
#define STACKS_GPA    0x1840000 /* tops: of the steps; of interrupts without a window; of traps */
#define STACK_BYTES   0x4000
#define WINDOW_GVA    0x40000000
#define NOWHERE_GVA   0x40002000 /* behind the window; a load from there ends a step */

/* What of the window a step can reach, from its operand. */
#define REACH_BELOW 0x100
#define REACH_BYTES 0x580

/* Segments behind those of the boot sector. */
#define SEL_USER_CODE32 0x33
#define SEL_USER_DATA	0x3b
#define SEL_USER_CODE64 0x43
#define SEL_TSS		0x50

#define VECTOR_PF    14
#define VECTOR_FRAME 0x80
#define VECTOR_IRQ   0x81

/* Privilege levels that do a step: bits. */
#define K  1
#define U  2
#define KU 3

/* The window's pages: watched, or not. */
#define WW 0
#define WU 1
#define UW 2

/* What lies at a step's place: its operand, its stack, the stack of the interrupt that it takes
 * from CPL 3; bits. IRQ: an interrupt is pending when it begins. */
#define OPERAND 0
#define STACK	1
#define RSP0	2
#define IRQ	4

/* What a processor must have: bits of wide_features(). */
#define ANY   0
#define AVX   1
#define XSAVE 2
#define CX16  4
#define SSE41 8

#define XCR0_SSE     3
#define XCR0_SSE_AVX 7

/* struct wide_regs */
#define REGS_RIP    0
#define REGS_CS	    8
#define REGS_RFLAGS 16
#define REGS_RSP    24
#define REGS_SS	    32
#define REGS_RDI    40
#define REGS_RSI    48
#define REGS_RBP    56
#define REGS_RBX    64

#endif
