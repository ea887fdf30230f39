/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The boot sector: reads the rest of the image behind itself, enters flat 32-bit mode.
 */
#include "guest.h"

#define SECTORS_AT_ONCE 64

	.code16
	.section .boot, "ax"
	.globl boot_start
	.type boot_start, @function
boot_start:
	cli
	cld
	ljmp	$0, $boot_load
boot_load:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$boot_start, %sp
	sti
	movw	$kernel_sectors, %bp	/* still to read; the linker script knows */
1:	movw	$SECTORS_AT_ONCE, %ax
	cmpw	%ax, %bp
	jae	2f
	movw	%bp, %ax
2:	movw	%ax, packet_count
	movw	$packet, %si
	movb	$0x42, %ah		/* INT 13h extensions: read by LBA; %dl is the BIOS's */
	pushw	%bp
	int	$0x13
	popw	%bp
	jc	boot_failed
	movw	packet_count, %ax
	addw	%ax, packet_lba
	subw	%ax, %bp
	shlw	$5, %ax			/* sectors to paragraphs */
	addw	%ax, packet_segment
	testw	%bp, %bp
	jnz	1b

	cli
	inb	$0x92, %al		/* A20, if the BIOS left it off */
	orb	$2, %al
	outb	%al, $0x92
	lgdtl	gdt_pointer
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $entry

boot_failed:
	movw	$GUEST_PANIC, %ax
	movw	$0x501, %dx
	outw	%ax, %dx
3:	hlt
	jmp	3b
	.size boot_start, . - boot_start

	.align 4
packet:
	.byte	16, 0
packet_count:
	.word	0
	.word	0			/* offset */
packet_segment:
	.word	(IMAGE_GPA + 512) >> 4
packet_lba:
	.quad	1

	.align 8
	.globl boot_gdt
boot_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad	0x00cf93000000ffff	/* SEL_DATA */
	.quad	0x00af9b000000ffff	/* SEL_CODE64 */
	.quad	0x00009b000000ffff	/* SEL_CODE16 */
	.quad	0x000093000000ffff	/* SEL_DATA16 */
gdt_pointer:
	.word	. - boot_gdt - 1
	.long	boot_gdt

	.section .note.GNU-stack, "", @progbits
