/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest of the command line's live tests: a firmware of 64 KiB that says "ready" on COM1 and then
 * does what single bytes on COM1 tell it, so that a script decides when what happens.
 *
 *	w	adds 1 to a word at 0x10000 and stores it to the 16 words from there on; says "wrote"
 *	m	says "milestone 42"
 *	o	says "open" and leaves the line open
 *	r	resets the machine
 *	p	panics, by pvpanic (port 0x505)
 *	t	has a triple fault
 *	q	ends QEMU by isa-debug-exit (port 0x501, 2 bytes): exit status 33
 *	^C	says "interrupt"
 */
	.code16
	.globl start
start:
	cli
	movw %cs, %ax
	movw %ax, %ss
	movw $0x1000, %ax
	movw %ax, %es
	movw $ready, %si
	jmp say

read:
	movw $0x3fd, %dx
	inb %dx, %al
	testb $1, %al
	jz read
	movw $0x3f8, %dx
	inb %dx, %al
	cmpb $'w', %al
	je write
	cmpb $'r', %al
	je reset
	cmpb $'p', %al
	je panic
	cmpb $'t', %al
	je triple
	cmpb $'q', %al
	je quit
	movw $milestone, %si
	cmpb $'m', %al
	je say
	movw $open, %si
	cmpb $'o', %al
	je say
	movw $interrupt, %si
	cmpb $3, %al
	je say
	jmp read

write:
	movl %es:0, %eax
	incl %eax
	xorw %di, %di
	movw $16, %cx
	cld
store:
	stosl
	loop store
	movw $wrote, %si
	jmp say

reset:
	movw $0xcf9, %dx
	movb $6, %al
	outb %al, %dx
	jmp reset

panic:
	movw $0x505, %dx
	movb $1, %al
	outb %al, %dx
	movw $panicked, %si
	jmp say

	/* No vector of its table is there, not even that of the fault. */
triple:
	lidtl %cs:none - start
	int3
	jmp triple

quit:
	movw $0x501, %dx
	movw $16, %ax
	outw %ax, %dx
	jmp quit

say:
	movb %cs:(%si), %al
	incw %si
	testb %al, %al
	jz read
	movw $0x3f8, %dx
	outb %al, %dx
	jmp say

	/* Offsets from the start of the image, as %cs lies there. */
	.set ready, 9f - start
9:	.asciz "ready\n"
	.set wrote, 9f - start
9:	.asciz "wrote\n"
	.set milestone, 9f - start
9:	.asciz "milestone 42\n"
	.set open, 9f - start
9:	.asciz "open"
	.set panicked, 9f - start
9:	.asciz "panicked\n"
none:	.word 0
	.long 0
	.set interrupt, 9f - start
9:	.asciz "interrupt\n"

	.org 0xfff0
	jmp start
	.org 0x10000
