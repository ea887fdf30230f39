/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `hostile` guest's instructions: each makes several stores, to a stack that is watched.
 */
#include "guest.h"
#include "hostile_layout.h"

	.text
	.code32
	/* u32 hostile_NAME(u32 stack_end): runs the instruction with esp = stack_end; returns esp. */
	.macro on_stack name
	.globl hostile_\name
	.type hostile_\name, @function
hostile_\name:
	pushl	%ebp
	movl	%esp, %ebp
	pushl	%ebx
	pushl	%esi
	pushl	%edi
	movl	%ebp, saved_ebp
	movl	%esp, saved_esp
	movl	8(%ebp), %esp
	.endm
	.macro off_stack name
	movl	%esp, %eax
	movl	saved_esp, %esp
	movl	saved_ebp, %ebp
	cld
	popl	%edi
	popl	%esi
	popl	%ebx
	popl	%ebp
	ret
	.size hostile_\name, . - hostile_\name
	.endm

	on_stack pusha
	movl	$0xa0a0a0a0, %eax
	movl	$0xc1c1c1c1, %ecx
	movl	$0xd2d2d2d2, %edx
	movl	$0xb3b3b3b3, %ebx
	movl	$0xe5e5e5e5, %ebp
	movl	$0x56565656, %esi
	movl	$0xd7d7d7d7, %edi
	.globl hostile_pusha_rip
hostile_pusha_rip:
	pushal
	off_stack pusha

	on_stack enter
	movl	$0xe5e5e5e5, %ebp
	.globl hostile_enter_rip
hostile_enter_rip:
	enter	$16, $0
	pushl	$0x11223344
	off_stack enter

	on_stack lcall
	.globl hostile_lcall_rip
hostile_lcall_rip:
	lcall	$SEL_CODE32, $1f
	.globl hostile_lcall_back
hostile_lcall_back:
	ud2
1:
	off_stack lcall

	on_stack call
	.globl hostile_call_rip
hostile_call_rip:
	call	1f
	.globl hostile_call_back
hostile_call_back:
	ud2
1:	pushfl
	pushw	$0x7788
	off_stack call

	/* void hostile_real(void): below, in real mode, with ss:sp = REAL_STACK_SEG:REAL_SP. */
	.globl hostile_real
	.type hostile_real, @function
hostile_real:
	pushal
	movl	%esp, saved_esp
	lidtl	real_idt
	ljmp	$SEL_CODE16, $real_from_pm
real_back:
	movw	$SEL_DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	saved_esp, %esp
	popal
	ret
	.size hostile_real, . - hostile_real

	.code16
real_from_pm:
	movw	$SEL_DATA16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	%cr0, %eax
	andb	$0xfe, %al
	movl	%eax, %cr0
	ljmp	$0, $real_start
real_start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	$REAL_STACK_SEG, %ax
	movw	%ax, %ss
	movw	$REAL_SP, %sp
	movw	$real_int, 4 * 0x60
	movw	$0, 4 * 0x60 + 2
	movw	$0xa0a0, %ax
	movw	$0xc1c1, %cx
	movw	$0xd2d2, %dx
	movw	$0xb3b3, %bx
	movw	$0xe5e5, %bp
	movw	$0x5656, %si
	movw	$0xd7d7, %di
	.globl hostile_real_pusha
hostile_real_pusha:
	pushaw			/* ss:sp-16 */
	.globl hostile_real_lcall
hostile_real_lcall:
	lcall	$0, $1f		/* ss:sp-20 */
	.globl hostile_real_lcall_back
hostile_real_lcall_back:
	hlt
1:	.globl hostile_real_int
hostile_real_int:
	int	$0x60		/* ss:sp-26 */
	.globl hostile_real_int_back
hostile_real_int_back:
	hlt
real_int:
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $real_back

	.section .data
	.align 4
saved_esp:	.long 0
saved_ebp:	.long 0
	.word 0
real_idt:	.word 0x3ff
		.long 0

	.section .note.GNU-stack, "", @progbits
