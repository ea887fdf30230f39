/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `wide` guest's steps, how one is entered at its privilege level and in its mode, and how it
 * ends: by a load from where nothing is, or by another trap.
 */
#include "guest.h"
#include "wide_layout.h"

#define COMMA	 ,
#define APIC_EOI 0xfee000b0

	.text
	.code64
	/* u32 wide_run(const struct wide_regs *regs): the vector that ended it. */
	.globl wide_run
	.type wide_run, @function
wide_run:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, wide_rsp
	pushq	REGS_SS(%rdi)
	pushq	REGS_RSP(%rdi)
	pushq	REGS_RFLAGS(%rdi)
	pushq	REGS_CS(%rdi)
	pushq	REGS_RIP(%rdi)
	movq	REGS_RBX(%rdi), %rbx
	movq	REGS_RBP(%rdi), %rbp
	movq	REGS_RSI(%rdi), %rsi
	movq	REGS_RDI(%rdi), %rdi
	movl	$0xa0a0a0a0, %eax
	movl	$0xc1c1c1c1, %ecx
	movl	$0xd2d2d2d2, %edx
	iretq

wide_return:
	cld
	movq	wide_rsp, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret
	.size wide_run, . - wide_run

	/* One entry for each vector, 16 bytes apart. */
	.balign 16
	.globl wide_traps
	.type wide_traps, @function
wide_traps:
	vector = 0
	.rept	32
	.balign	16
	movl	$vector, %eax
	.if	vector == 14
	jmp	1f
	.else
	jmp	wide_return
	.endif
	vector = vector + 1
	.endr
1:	movq	8(%rsp), %rcx		/* above the error code */
	movq	%rcx, wide_fault_rip
	jmp	wide_return
	.size wide_traps, . - wide_traps

	/* Nothing may be pushed: the stack is what is looked at. */
	.globl wide_on_frame
	.type wide_on_frame, @function
wide_on_frame:
	iretq
	.size wide_on_frame, . - wide_on_frame

	.globl wide_on_irq
	.type wide_on_irq, @function
wide_on_irq:
	movl	$APIC_EOI, %r11d
	movl	$0, (%r11)
	iretq
	.size wide_on_irq, . - wide_on_irq

	/* void wide_fill(volatile u64 *at, u64 value) */
	.globl wide_fill, wide_rip_fill
	.type wide_fill, @function
wide_fill:
wide_rip_fill:
	movq	%rsi, (%rdi)
	ret
	.size wide_fill, . - wide_fill

	/*
	 * A step that sets XCR0 with KVM's prefix for forced emulation: #UD where KVM does not know
	 * it. An emulated host may not trap XSETBV, and its KVM then puts back what it knows of.
	 */
	.globl wide_set_xcr0
wide_set_xcr0:
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	movl	$XCR0_SSE_AVX, %eax
	ud2
	.ascii	"kvm"
	xsetbv
	testb	%al, NOWHERE_GVA

	/* Compared with what lies there, so that it is stored. */
wide_cmpxchg_prepare:
	movl	(%rdi), %eax
	movl	4(%rdi), %edx
	movl	(%rsi), %ebx
	movl	4(%rsi), %ecx
	ret
wide_cmpxchg16_prepare:
	movq	(%rdi), %rax
	movq	8(%rdi), %rdx
	movq	(%rsi), %rbx
	movq	8(%rsi), %rcx
	ret
	/* The header must be valid, and its unknown bits are kept. */
wide_xsave_prepare:
	fninit
	movups	(%rsi), %xmm6
	pushq	%rdi
	addq	$512, %rdi
	xorl	%eax, %eax
	movl	$8, %ecx
	rep stosq
	popq	%rdi
	movl	$7, %eax
	xorl	%edx, %edx
	ret

#define STEP(name, bits, levels, pages, offset, place, needs, prelude, ...)                        \
	.code##bits; .globl wide_##name, wide_rip_##name, wide_end_##name;                         \
	wide_##name: prelude; wide_rip_##name: __VA_ARGS__; wide_end_##name: testb %al, NOWHERE_GVA;
#include "wide_ops.def"
#undef STEP

	.section .data
	.balign 32
wide_mask:	.quad 0x8000007f80ff0180, 0x80ffffff007f0081, 0x0000000080000000, 0x8123456700000001
wide_mxcsr:	.long 0x1f80
	.balign 8
wide_far:	.quad 0
wide_rsp:	.quad 0
	.globl wide_fault_rip
wide_fault_rip:	.quad 0

	.section .note.GNU-stack, "", @progbits
