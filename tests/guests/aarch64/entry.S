/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From QEMU's -kernel to guest_main(): stack, vectors, SIMD, MMU. And exceptions.
 */
#include "guest.h"

#define CPACR_FPEN 0x300000
#define MAIR_EL1_V 0xff			/* attribute 0 normal, write-back; 1 device-nGnRnE */
#define TCR_EL1_V  0x803520		/* 4 GiB from 0 on, 4 KiB pages, write-back tables; no TTBR1 */
#define SCTLR_MMU  0x1005		/* M, C, I; alignment is not checked */
#define BLOCK_RAM  0x701
#define BLOCK_IO   0x60000000000405	/* attribute 1, never run */
#define TABLE      3

	.text
	.globl entry
	.type entry, @function
entry:
	adrp	x0, stack_top
	add	x0, x0, :lo12:stack_top
	mov	sp, x0
	mov	x29, xzr
	adrp	x0, vectors
	add	x0, x0, :lo12:vectors
	msr	vbar_el1, x0
	mov	x0, CPACR_FPEN
	msr	cpacr_el1, x0

	adrp	x0, level1
	ldr	x1, =BLOCK_IO
	str	x1, [x0]
	ldr	x1, =0x40000000 + BLOCK_RAM
	str	x1, [x0, 8]
	adrp	x2, level2
	orr	x1, x2, TABLE
	str	x1, [x0, 16]
	adrp	x1, window_ptes
	orr	x1, x1, TABLE
	str	x1, [x2]
	msr	ttbr0_el1, x0
	mov	x1, MAIR_EL1_V
	msr	mair_el1, x1
	ldr	x1, =TCR_EL1_V
	msr	tcr_el1, x1
	dsb	sy
	tlbi	vmalle1
	dsb	sy
	isb
	mrs	x1, sctlr_el1
	mov	x2, SCTLR_MMU
	orr	x1, x1, x2
	and	x1, x1, ~2		/* A */
	msr	sctlr_el1, x1
	isb
	bl	guest_main
	bl	guest_exit
	.size entry, . - entry

	/* A fault of ours, which may be tried again. */
	.type fault, @function
fault:
	stp	x0, x1, [sp, -160]!
	stp	x2, x3, [sp, 16]
	stp	x4, x5, [sp, 32]
	stp	x6, x7, [sp, 48]
	stp	x8, x9, [sp, 64]
	stp	x10, x11, [sp, 80]
	stp	x12, x13, [sp, 96]
	stp	x14, x15, [sp, 112]
	stp	x16, x17, [sp, 128]
	stp	x18, x30, [sp, 144]
	mrs	x0, esr_el1
	mrs	x1, far_el1
	mrs	x2, elr_el1
	bl	fault_entered
	ldp	x2, x3, [sp, 16]
	ldp	x4, x5, [sp, 32]
	ldp	x6, x7, [sp, 48]
	ldp	x8, x9, [sp, 64]
	ldp	x10, x11, [sp, 80]
	ldp	x12, x13, [sp, 96]
	ldp	x14, x15, [sp, 112]
	ldp	x16, x17, [sp, 128]
	ldp	x18, x30, [sp, 144]
	ldp	x0, x1, [sp], 160
	eret
	.size fault, . - fault

	.type trap, @function
trap:
	mrs	x0, esr_el1
	mrs	x1, far_el1
	mrs	x2, elr_el1
	bl	trap_entered
	.size trap, . - trap

	/* Sixteen entries of 128 bytes; the fifth is EL1's own synchronous one. */
	.balign 2048
vectors:
	.rept 4
	b	trap
	.balign 128
	.endr
	b	fault
	.balign 128
	.rept 11
	b	trap
	.balign 128
	.endr

	.section .bss.tables, "aw", @nobits
	.balign 4096
level1:		.skip 4096
level2:		.skip 4096
	.globl window_ptes
window_ptes:	.skip 4096
	.skip 16384
stack_top:

	.section .note.GNU-stack, "", @progbits
