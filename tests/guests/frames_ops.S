/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts twice, in memory and in a register, until a timer's interrupt comes.
 */
#define RFLAGS_IF 0x200

	.text
	.code32
	/* u32 frames_wait(u32 stack_end): on that stack; the register's count. */
	.globl frames_wait
	.type frames_wait, @function
frames_wait:
	pushl	%ebx
	movl	%esp, %edx
	movl	8(%esp), %esp
	xorl	%ebx, %ebx
1:	.rept	16
	movl	frames_counted, %eax
	leal	1(%eax), %ecx
	jmp	2f		/* emulated processors take interrupts between blocks */
2:	lock cmpxchgl %ecx, frames_counted
	je	3f
	incl	frames_failed	/* done already: it was done twice */
3:	incl	%ebx
	.endr
	.rept	4
	jmp	4f
4:	cli
	sti
	.endr
	cmpl	$0, frames_came
	je	1b
	cli
	movl	%edx, %esp
	movl	%ebx, %eax
	popl	%ebx
	ret
	.size frames_wait, . - frames_wait

	.globl frames_on_timer
	.type frames_on_timer, @function
frames_on_timer:
	pushl	%eax
	incl	frames_came
	movl	12(%esp), %eax	/* EFLAGS of where it came */
	testl	$RFLAGS_IF, %eax
	jnz	1f
	incl	frames_off
1:	movb	$0x20, %al
	outb	%al, $0x20	/* end of interrupt */
	popl	%eax
	iretl
	.size frames_on_timer, . - frames_on_timer

	.section .note.GNU-stack, "", @progbits
