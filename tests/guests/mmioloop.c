// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Makes 4-byte stores to one address in a tight loop, for timing: to a device's address with
 * nothing behind it, or to a page of RAM. Address and count are in the boot sector (mmioloop.img,
 * mmioloop-ram.img), where a script may change them.
 */
#include "guest.h"

/* Bytes 0x1f0..0x1fb of the image. The value stored counts down to 1. */
struct mmioloop_config {
	u32 gpa;
	u32 count;
	u32 pause; /* turns of an empty loop after each store; 0: none */
};

/* Not const to the compiler: the disk may say otherwise. */
volatile struct mmioloop_config mmioloop_config __attribute__((section(".config"))) = {
	.gpa = MMIOLOOP_GPA,
	.count = MMIOLOOP_COUNT,
};

void mmioloop_run(u32 gpa, u32 count);
void mmioloop_run_paused(u32 gpa, u32 count, u32 pause);
extern const u8 mmioloop_store[], mmioloop_store_paused[];

/* Three instructions a store. */
__asm__("	.text\n"
	"	.globl mmioloop_run, mmioloop_store\n"
	"	.type mmioloop_run, @function\n"
	"mmioloop_run:\n"
	"	movl 4(%esp), %edx\n"
	"	movl 8(%esp), %eax\n"
	"mmioloop_store:\n"
	"	movl %eax, (%edx)\n"
	"	decl %eax\n"
	"	jnz mmioloop_store\n"
	"	ret\n"
	"	.size mmioloop_run, . - mmioloop_run\n"
	"	.globl mmioloop_run_paused, mmioloop_store_paused\n"
	"	.type mmioloop_run_paused, @function\n"
	"mmioloop_run_paused:\n"
	"	movl 4(%esp), %edx\n"
	"	movl 8(%esp), %eax\n"
	"mmioloop_store_paused:\n"
	"	movl %eax, (%edx)\n"
	"	movl 12(%esp), %ecx\n"
	"1:	decl %ecx\n"
	"	jnz 1b\n"
	"	decl %eax\n"
	"	jnz mmioloop_store_paused\n"
	"	ret\n"
	"	.size mmioloop_run_paused, . - mmioloop_run_paused\n");

unsigned guest_main(void)
{
	const u32 gpa = mmioloop_config.gpa;
	const u32 count = mmioloop_config.count;
	const u32 pause = mmioloop_config.pause;

	if (!count)
		guest_panic("mmioloop: count 0");
	serial_text("mmioloop: 0x");
	serial_hex(gpa, 8);
	serial_text(", ");
	serial_dec(count);
	serial_text(" stores from rip 0x");
	serial_hex((uintptr_t)(pause ? mmioloop_store_paused : mmioloop_store), 8);
	serial_char('\n');
	if (pause)
		mmioloop_run_paused(gpa, count, pause);
	else
		mmioloop_run(gpa, count);
	serial_text("mmioloop: done\n");
	return GUEST_OK;
}
