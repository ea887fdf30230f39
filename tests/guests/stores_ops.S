/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `stores` guest's interpreter: walks the table, one labelled instruction for each operation.
 */
#include "guest.h"
#include "stores_table.h"

#define PTE_PRESENT 1
#define COMMA       ,

	.text
	.code64
	/* void stores_run(const struct store_op *op, const struct store_op *end) */
	.globl stores_run
	.type stores_run, @function
stores_run:
	pushq	%rbp
	movq	%rsp, %rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	movq	%rdi, %r12
	movq	%rsi, %r13
stores_next:
	cmpq	%r13, %r12
	jae	1f
	cld
	movq	OP_GVA(%r12), %rdi
	movq	OP_VALUE(%r12), %rax
	movq	OP_EXTRA(%r12), %rdx
	movl	OP_COUNT(%r12), %ecx
	movzwl	OP_OP(%r12), %ebx
	movq	%rdx, %rsi
	addq	$OP_BYTES, %r12
	jmp	*stores_ops(,%rbx,8)
1:	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size stores_run, . - stores_run

#define OP(name, kind, bytes, arg, prelude, ...)                                                   \
op_##name: prelude; .globl store_##name; .type store_##name, @function;                            \
store_##name: __VA_ARGS__; .size store_##name, . - store_##name; jmp stores_next
#include "stores_ops.def"
#undef OP

stores_push:
	pushq	(%rdi)
	addq	$8, %rsp
	ret

stores_unmap:
	movl	%edi, %eax
	shrl	$12, %eax
	andl	$511, %eax
	andb	$~PTE_PRESENT, window_ptes(,%rax,8)
	invlpg	(%rdi)
	jmp	stores_next

stores_delay:
	decl	%ecx
	jnz	stores_delay
	jmp	stores_next

	/* #PF: brings the window's page back; any other address is the end. */
	.globl stores_fault
	.type stores_fault, @function
stores_fault:
	pushq	%rax
	pushq	%rbx
	movq	%cr2, %rax
	movq	%rax, %rbx
	subq	$WINDOW_GVA, %rbx
	shrq	$12, %rbx
	cmpq	$WINDOW_COUNT, %rbx
	jae	stores_trap
	testb	$PTE_PRESENT, window_ptes(,%rbx,8)
	jnz	stores_trap
	orb	$PTE_PRESENT, window_ptes(,%rbx,8)
	invlpg	(%rax)
	incl	stores_faults
	popq	%rbx
	popq	%rax
	addq	$8, %rsp		/* the error code */
	iretq
	.size stores_fault, . - stores_fault

	/* Any other trap, with the page fault's stack or another: nothing to go back to. */
	.globl stores_trap
	.type stores_trap, @function
stores_trap:
	cld
	movq	%cr2, %rdi
	call	stores_trapped
	.size stores_trap, . - stores_trap

	.section .rodata
	.align 8
stores_ops:
#define OP(name, ...) .quad op_##name
#include "stores_ops.def"
#undef OP

	.section .note.GNU-stack, "", @progbits
