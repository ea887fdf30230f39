// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupts whose frames go to watched pages, each the first of its page, while something is
 * counted: no instruction may be lost or done twice for it, and none come where interrupts are off.
 */
#include "guest.h"

#include "frames_layout.h"

#define VECTOR_TIMER 0x20
#define GATE32	     0x8e00
#define PIT_HZ	     1193182
#define TIMER_HZ     1000
#define PIC	     0x20
#define PIC_SECOND   0xa0
#define PIT	     0x40

struct gate {
	u16 low, selector, flags, high;
};

u32 frames_wait(u32 stack_end);
extern const u8 frames_on_timer[];
volatile u32 frames_counted, frames_failed, frames_came, frames_off;

static struct gate idt[VECTOR_TIMER + 1];

static void timer_start(void)
{
	const u32 handler = (u32)(uintptr_t)frames_on_timer;
	const struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) at = {sizeof(idt) - 1, (u32)(uintptr_t)idt};

	idt[VECTOR_TIMER] = (struct gate){(u16)handler, SEL_CODE32, GATE32, (u16)(handler >> 16)};
	__asm__ volatile("lidt %0" ::"m"(at));
	/* 8259A: both cascaded, vectors from 0x20, only the timer is let through. */
	out8(PIC, 0x11);
	out8(PIC + 1, VECTOR_TIMER);
	out8(PIC + 1, 4);
	out8(PIC + 1, 1);
	out8(PIC + 1, 0xfe);
	out8(PIC_SECOND + 1, 0xff);
	/* 8254: counter 0, mode 2. */
	out8(PIT + 3, 0x34);
	out8(PIT, (PIT_HZ / TIMER_HZ) & 0xff);
	out8(PIT, (PIT_HZ / TIMER_HZ) >> 8);
}

unsigned guest_main(void)
{
	bool good = true;

	serial_text("vmblame test guest: frames\n");
	timer_start();
	for (u32 page = 0; page < FRAMES_BYTES; page += FRAMES_PAGE) {
		u32 count;

		frames_counted = frames_failed = frames_came = frames_off = 0;
		count = frames_wait(FRAMES_GPA + page + FRAMES_PAGE);
		if (count == frames_counted && !frames_failed && !frames_off)
			continue;
		good = false;
		serial_text("frames: page 0x");
		serial_hex(FRAMES_GPA + page, 8);
		serial_text(" counted ");
		serial_dec(count);
		serial_text(" and in memory ");
		serial_dec(frames_counted);
		serial_text(frames_failed ? ", twice at once" : "");
		serial_text(frames_off ? ", interrupted with interrupts off\n" : "\n");
	}
	serial_text(good ? "frames: all good\n" : "frames: BAD\n");
	return good ? GUEST_OK : GUEST_FAILED;
}
