/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the boot sector to guest_main(): segments, stack, bss, and for a 64-bit guest long mode.
 */
#include "guest.h"

	.code32
	.text
	.globl entry
	.type entry, @function
entry:
	movw	$SEL_DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movl	$STACK_TOP_GPA, %esp
	xorl	%ebp, %ebp		/* the chain of frame pointers ends here */
	cld
	movl	$bss_start, %edi
	movl	$bss_dwords, %ecx
	xorl	%eax, %eax
	rep stosl
#ifdef __x86_64__
#define PTE_PW     0x003
#define PTE_PW_2M  0x083
#define CR4_PAE    0x20
#define CR0_PG_WP  0x80010000
#define MSR_EFER   0xc0000080
#define EFER_LME   0x100

	/* RAM up to 64 MiB as it is, then the window of 4 KiB pages (stores_layout.h). */
	movl	$page_dir_low + PTE_PW, page_dir_ptrs
	movl	$page_dir_window + PTE_PW, page_dir_ptrs + 8
	movl	$page_dir_ptrs + PTE_PW, page_map
	movl	$window_ptes + PTE_PW, page_dir_window
	movl	$page_dir_low, %edi
	movl	$PTE_PW_2M, %eax
1:	movl	%eax, (%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	cmpl	$0x4000000, %eax
	jb	1b

	movl	$page_map, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$CR0_PG_WP, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE64, $entry64
	.size entry, . - entry

	.code64
	.type entry64, @function
entry64:
	movl	$STACK_TOP_GPA, %esp
	xorl	%ebp, %ebp
	call	guest_main
	movl	%eax, %edi
	call	guest_exit
	.size entry64, . - entry64

	.bss
	.align 4096
page_map:		.skip 4096
page_dir_ptrs:		.skip 4096
page_dir_low:		.skip 4096
page_dir_window:	.skip 4096
	.globl window_ptes
window_ptes:		.skip 4096
#else
	subl	$12, %esp
	call	guest_main
	movl	%eax, (%esp)
	call	guest_exit
	.size entry, . - entry
#endif

	.section .note.GNU-stack, "", @progbits
