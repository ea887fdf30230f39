/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `smp` guest's instructions: how a further vCPU comes up, the counting loops (smp_rip_NAME is
 * the instruction that stores), the interrupts.
 */
#include "guest.h"
#include "smp_layout.h"

#define MSR_EFER   0xc0000080
#define EFER_LME   0x100
#define CR4_PAE    0x20
#define CR0_LONG   0x80010011	/* paging, write protect, protected mode; caches on */
#define STACK_BITS 13

	.text
	/* A start-up interrupt's vector names a page; below 64 KiB, so that DS can be 0. */
	.balign 4096
	.code16
	.globl smp_start
	.type smp_start, @function
smp_start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	smp_gdt
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $smp_start32
	.code32
smp_start32:
	movw	$SEL_DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movl	%cr4, %eax
	orl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	smp_cr3, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$CR0_LONG, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE64, $smp_start64
	.code64
smp_start64:
	movl	$1, %eax
	cpuid
	shrl	$24, %ebx		/* the local APIC's id */
	movl	%ebx, %edi
	leal	1(%rbx), %esp
	shll	$STACK_BITS, %esp
	addl	$smp_stacks, %esp
	xorl	%ebp, %ebp
	call	smp_vcpu
	ud2
	.size smp_start, . - smp_start

	/*
	 * void smp_NAME(volatile u64 *word, u64 count, struct smp_score *score): counts `count`
	 * times. The score's first number is how often it had to try again.
	 */
	.macro counter name
	.globl smp_\name, smp_rip_\name
	.type smp_\name, @function
smp_\name:
	.endm

	counter inc
smp_rip_inc:
	lock incq (%rdi)
	decq	%rsi
	jnz	smp_rip_inc
	ret
	.size smp_inc, . - smp_inc

	/* Also: the sum of the old values, and how often one was not above the one before it. */
	counter xadd
	movq	$-1, %rcx
1:	movl	$1, %eax
smp_rip_xadd:
	lock xaddq %rax, (%rdi)
	addq	%rax, 8(%rdx)
	cmpq	%rcx, %rax
	jg	2f
	incq	16(%rdx)
2:	movq	%rax, %rcx
	decq	%rsi
	jnz	1b
	ret
	.size smp_xadd, . - smp_xadd

	counter cmpxchg
1:	movq	(%rdi), %rax
2:	leaq	1(%rax), %rcx
smp_rip_cmpxchg:
	lock cmpxchgq %rcx, (%rdi)
	jz	3f
	incq	(%rdx)
	jmp	2b
3:	decq	%rsi
	jnz	1b
	ret
	.size smp_cmpxchg, . - smp_cmpxchg

	counter cmpxchg8b
	pushq	%rbx
	movq	%rdx, %r8
1:	movl	(%rdi), %eax
	movl	4(%rdi), %edx
2:	leal	1(%rax), %ebx
	leal	3(%rdx), %ecx
smp_rip_cmpxchg8b:
	lock cmpxchg8b (%rdi)
	jz	3f
	incq	(%r8)
	jmp	2b
3:	decq	%rsi
	jnz	1b
	popq	%rbx
	ret
	.size smp_cmpxchg8b, . - smp_cmpxchg8b

	counter cmpxchg16b
	pushq	%rbx
	movq	%rdx, %r8
1:	movq	(%rdi), %rax
	movq	8(%rdi), %rdx
2:	leaq	1(%rax), %rbx
	leaq	3(%rdx), %rcx
smp_rip_cmpxchg16b:
	lock cmpxchg16b (%rdi)
	jz	3f
	incq	(%r8)
	jmp	2b
3:	decq	%rsi
	jnz	1b
	popq	%rbx
	ret
	.size smp_cmpxchg16b, . - smp_cmpxchg16b

	/* void smp_store(volatile u64 *word, u64 value): one store, its RIP the same for all. */
	.globl smp_store, smp_rip_store
	.type smp_store, @function
smp_store:
smp_rip_store:
	movq	%rsi, (%rdi)
	ret
	.size smp_store, . - smp_store

	/* void smp_sleep(void): with interrupts on, until one came; then off again. */
	.globl smp_sleep
	.type smp_sleep, @function
smp_sleep:
	sti
	hlt
	cli
	ret
	.size smp_sleep, . - smp_sleep

	/* The interrupt that wakes: smp_woken() does the rest. */
	.globl smp_wake
	.type smp_wake, @function
smp_wake:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	call	smp_woken
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
	.size smp_wake, . - smp_wake

	.globl smp_trap
	.type smp_trap, @function
smp_trap:
	movq	(%rsp), %rdi
	movq	8(%rsp), %rsi
	cld
	andq	$-16, %rsp
	call	smp_trapped
	.size smp_trap, . - smp_trap

	.section .data
	.balign 8
	.word 0
smp_gdt:	.word 0x1f
		.long boot_gdt

	.bss
	.balign 16
	.skip 0
	.globl smp_stacks
smp_stacks:	.skip SMP_VCPUS << STACK_BITS

	.section .note.GNU-stack, "", @progbits
