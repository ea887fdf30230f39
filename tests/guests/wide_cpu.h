/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The `wide` guest's processor: two privilege levels, two code sizes, a window of two pages. */
#ifndef GUESTS_WIDE_CPU_H
#define GUESTS_WIDE_CPU_H

#include "guest.h"
#include "wide_layout.h"

/* How a step begins; wide_ops.S knows the offsets. */
struct wide_regs {
	u64 rip, cs, rflags, rsp, ss, rdi, rsi, rbp, rbx;
};

/* The vector of the trap that ended it; where, if that was a page fault. */
u32 wide_run(const struct wide_regs *regs);
extern volatile u64 wide_fault_rip;

/* Segments, interrupts, user pages, SSE; AVX and XSAVE too unless it is to be plain. */
void wide_cpu_init(bool plain);
/* AVX, XSAVE, CX16, SSE41; after wide_cpu_init(). */
u32 wide_features(void);
/* Two pages side by side at WINDOW_GVA. */
void wide_window(u32 first_gpa, u32 second_gpa);
/* The stack of interrupts from CPL 3. */
void wide_set_rsp0(u64 rsp0);
/* Makes an interrupt pending; interrupts are off. */
void wide_send_irq(void);

#endif
