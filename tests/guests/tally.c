// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Does each thing that a probe may tell of a known number of times (tally_layout.h), so that what
 * was told can be compared with what happened.
 */
#include "disk.h"
#include "tally_layout.h"

#define CMOS_INDEX    0x70
#define CMOS_DATA     0x71
#define CMOS_BOOTS    0x70 /* neither QEMU nor SeaBIOS uses this byte */
#define RESET_CONTROL 0xcf9
#define RESET_FULL    6
#define SERIAL_DATA   0x3f8
#define SERIAL_LSR    (SERIAL_DATA + 5)
#define LSR_READY     1
#define PAGE	      4096

static void told(const char *what, u32 count)
{
	serial_text("tally: ");
	serial_text(what);
	serial_char(' ');
	serial_dec(count);
	serial_char('\n');
}

static volatile u32 *at(u32 gpa)
{
	return (volatile u32 *)(uintptr_t)gpa;
}

static void boot_next(u8 boots)
{
	out8(CMOS_INDEX, CMOS_BOOTS);
	out8(CMOS_DATA, boots + 1);
	out8(RESET_CONTROL, RESET_FULL);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void first_touches(void)
{
	u32 sum = 0;

	for (u32 i = 0; i < LOADED_PAGES; i++)
		sum += *at(LOADED_GPA + i * PAGE);
	told("pages loaded from", LOADED_PAGES);
	for (u32 i = 0; i < STORED_PAGES; i++)
		*at(STORED_GPA + i * PAGE) = i + 1 + sum;
	told("pages stored to", STORED_PAGES);
}

static void devices(void)
{
	for (u32 i = 0; i < MMIO_STORES; i++)
		*at(MMIO_GPA) = i;
	for (u32 i = 0; i < MMIO_LOADS; i++)
		(void)*at(MMIO_GPA);
	for (u32 i = 0; i < PORT_WRITES; i++)
		out8(TALLY_PORT, (u8)i);
	for (u32 i = 0; i < PORT_READS; i++)
		(void)in8(TALLY_PORT);
	for (u32 i = 0; i < WATCHED_STORES; i++)
		*at(WATCHED_GPA + 4 * i) = i;
	told("device accesses", MMIO_STORES + MMIO_LOADS + PORT_WRITES + PORT_READS);
}

static void requests(void)
{
	static u8 sector[SECTOR_BYTES];

	disk_init();
	for (u32 i = 0; i < DISK_REQUESTS; i++)
		disk_read(DISK_SECTOR + i, (u32)(uintptr_t)sector, 1);
	told("requests", DISK_REQUESTS);
}

static void dirty_pass(u32 number)
{
	for (u32 i = 0; i < DIRTY_PAGES; i++)
		*at(DIRTY_GPA + i * PAGE) = number;
}

/* Each page is dirtied in each epoch, wherever that begins and ends. It is told once all of them
 * are there: a page that is touched for the first time in an epoch faults in another way. */
static void dirty(void)
{
	u32 passes = 0;

	dirty_pass(passes++);
	told("pages dirtied over and over", DIRTY_PAGES);
	while (!(in8(SERIAL_LSR) & LSR_READY))
		dirty_pass(passes++);
	told("passes", passes);
}

unsigned guest_main(void)
{
	out8(CMOS_INDEX, CMOS_BOOTS);

	const u8 boots = in8(CMOS_DATA);

	told("boot", boots);
	if (!boots)
		first_touches();
	if (boots < TALLY_RESETS)
		boot_next(boots);
	devices();
	requests();
	dirty();
	serial_text("tally: done\n");
	return GUEST_OK;
}
