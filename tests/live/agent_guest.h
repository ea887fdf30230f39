/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest of the agent's tests: a 64 KiB firmware image, assembled into the test program itself.
 *
 * A pass stores pass+index to every 64th byte of [GUEST_FROM, GUEST_FROM + GUEST_SIZE) as a 32-bit
 * word, adds 1 to each by a read-modify-write, reads all back and compares, then prints '.' on
 * COM1. When a byte waits on COM1, it ends by isa-debug-exit (port 0xf4): 16 good, 17 bad (exit 33,
 * 35).
 */
#ifndef VMBLAME_TESTS_AGENT_GUEST_H
#define VMBLAME_TESTS_AGENT_GUEST_H

#define GUEST_FROM   0x200000
#define GUEST_SIZE   0x10000
#define GUEST_STEP   64
#define GUEST_WORDS  (GUEST_SIZE / GUEST_STEP)
#define GUEST_STORES (2 * GUEST_WORDS) /* a pass */
#define GUEST_BYTES  0x10000

extern const unsigned char guest_start[];

__asm__(".pushsection .rodata\n"
	".globl guest_start\n"
	".balign 16\n"
	"guest_start:\n"
	".code16\n"
	"	cli\n"
	"	lgdtl %cs:guest_gdtr - guest_start\n"
	"	movl %cr0, %eax\n"
	"	orl $1, %eax\n"
	"	movl %eax, %cr0\n"
	"	ljmpl $8, $guest_32 - guest_start + 0xf0000\n"
	".code32\n"
	"guest_32:\n"
	"	movw $16, %ax\n"
	"	movw %ax, %ds\n"
	"	movw %ax, %es\n"
	"	movw %ax, %ss\n"
	"	movl $0x8000, %esp\n"
	"	xorl %ebx, %ebx\n" /* pass */
	"guest_pass:	movl $0x200000, %edi\n"
	"	movl %ebx, %eax\n"
	"	movl $0x400, %ecx\n"
	"2:	movl %eax, (%edi)\n"
	"	incl %eax\n"
	"	addl $64, %edi\n"
	"	loop 2b\n"
	"	movl $0x200000, %edi\n"
	"	movl $0x400, %ecx\n"
	"3:	incl (%edi)\n"
	"	addl $64, %edi\n"
	"	loop 3b\n"
	"	movl $0x200000, %edi\n"
	"	movl $0x400, %ecx\n"
	"	leal 1(%ebx), %eax\n"
	"4:	cmpl %eax, (%edi)\n"
	"	jne guest_bad\n"
	"	incl %eax\n"
	"	addl $64, %edi\n"
	"	loop 4b\n"
	"	incl %ebx\n"
	"	movw $0x3f8, %dx\n"
	"	movb $'.', %al\n"
	"	outb %al, %dx\n"
	"	movw $0x3fd, %dx\n"
	"	inb %dx, %al\n"
	"	testb $1, %al\n"
	"	jz guest_pass\n"
	"	movl $16, %eax\n"
	"	jmp 5f\n"
	"guest_bad:	movl $17, %eax\n"
	"5:	movw $0xf4, %dx\n"
	"	outl %eax, %dx\n"
	"6:	hlt\n"
	"	jmp 6b\n"
	".balign 8\n"
	"guest_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	"guest_gdtr: .word 23\n"
	"	.long guest_gdt - guest_start + 0xf0000\n"
	".org guest_start + 0xfff0\n"
	".code16\n"
	"	jmp guest_start\n"
	".org guest_start + 0x10000\n"
	".code64\n"
	".popsection\n");

#endif
