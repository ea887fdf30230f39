// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Dirties pages at a pace, for timing. It is told by lines on the serial port, "PAGES PAUSE TURNS":
 * a turn stores once to each of so many pages, the next ones of its memory (dirty_layout.h), and
 * then goes round an empty loop PAUSE times. It makes turns until one more byte comes; then it says
 * "begin", makes TURNS of them and says "end". So what is being measured may settle at that pace
 * before, and the work timed is always the same. A line of three zeroes ends it.
 *
 * Its memory ends a megabyte before all of RAM does, as the CMOS tells that.
 */
#include "dirty_layout.h"
#include "guest.h"

#define SERIAL_DATA 0x3f8
#define SERIAL_LSR  (SERIAL_DATA + 5)
#define LSR_READY   1
#define CMOS_ABOVE  0x34 /* RAM above 16 MiB, in 64 KiB, below 4 GiB: QEMU's pc_cmos_init() */
#define PAGE	    4096

struct work {
	u32 pages, pause, turns;
};

void dirty_eights(u32 gpa, u32 eights, u32 value);
void dirty_ones(u32 gpa, u32 pages, u32 value);
void dirty_pause(u32 count);

/* Eleven instructions for eight pages, four for one, two a turn of the empty loop. */
__asm__("	.text\n"
	"	.globl dirty_eights, dirty_ones, dirty_pause\n"
	"	.type dirty_eights, @function\n"
	"dirty_eights:\n"
	"	movl 4(%esp), %edx\n"
	"	movl 8(%esp), %ecx\n"
	"	movl 12(%esp), %eax\n"
	"1:	movl %eax, (%edx)\n"
	"	movl %eax, 4096(%edx)\n"
	"	movl %eax, 8192(%edx)\n"
	"	movl %eax, 12288(%edx)\n"
	"	movl %eax, 16384(%edx)\n"
	"	movl %eax, 20480(%edx)\n"
	"	movl %eax, 24576(%edx)\n"
	"	movl %eax, 28672(%edx)\n"
	"	addl $32768, %edx\n"
	"	decl %ecx\n"
	"	jnz 1b\n"
	"	ret\n"
	"	.size dirty_eights, . - dirty_eights\n"
	"	.type dirty_ones, @function\n"
	"dirty_ones:\n"
	"	movl 4(%esp), %edx\n"
	"	movl 8(%esp), %ecx\n"
	"	movl 12(%esp), %eax\n"
	"1:	movl %eax, (%edx)\n"
	"	addl $4096, %edx\n"
	"	decl %ecx\n"
	"	jnz 1b\n"
	"	ret\n"
	"	.size dirty_ones, . - dirty_ones\n"
	"	.type dirty_pause, @function\n"
	"dirty_pause:\n"
	"	movl 4(%esp), %ecx\n"
	"1:	decl %ecx\n"
	"	jnz 1b\n"
	"	ret\n"
	"	.size dirty_pause, . - dirty_pause\n");

static u32 next = DIRTY_GPA, end, stored;

static void dirty_pages(u32 gpa, u32 pages, u32 value)
{
	const u32 eights = pages / 8;

	if (eights)
		dirty_eights(gpa, eights, value);
	if (pages % 8)
		dirty_ones(gpa + 8 * eights * PAGE, pages % 8, value);
}

static u32 cmos_read(u8 at)
{
	out8(0x70, at);
	return in8(0x71);
}

static bool byte_waits(void)
{
	return in8(SERIAL_LSR) & LSR_READY;
}

static char byte_read(void)
{
	while (!byte_waits())
		;
	return (char)in8(SERIAL_DATA);
}

/* Up to the byte after it, which is read too. */
static u32 number_read(void)
{
	u32 value = 0;

	for (char c; (c = byte_read()) >= '0' && c <= '9';)
		value = value * 10 + (u32)(c - '0');
	return value;
}

static void turn(const struct work *w)
{
	if (next + w->pages * PAGE > end)
		next = DIRTY_GPA;
	dirty_pages(next, w->pages, ++stored);
	next += w->pages * PAGE;
	dirty_pause(w->pause);
}

unsigned guest_main(void)
{
	/* Every page is there, and has content, before anything is timed. */
	end = (16u << 20) + ((cmos_read(CMOS_ABOVE) | cmos_read(CMOS_ABOVE + 1) << 8) << 16) -
	      DIRTY_LEFT;
	dirty_pages(DIRTY_GPA, (end - DIRTY_GPA) / PAGE, 0x6d656d21);
	for (;;) {
		struct work w;

		serial_text("dirty: ready\n");
		w.pages = number_read();
		w.pause = number_read();
		w.turns = number_read();
		if (!w.pages)
			return GUEST_OK;
		if (!w.pause || w.pages > (end - DIRTY_GPA) / PAGE)
			guest_panic("dirty: a line is PAGES PAUSE TURNS");
		while (!byte_waits())
			turn(&w);
		byte_read();
		serial_text("dirty: begin\n");
		for (u32 i = 0; i < w.turns; i++)
			turn(&w);
		serial_text("dirty: end\n");
	}
}
