// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Case 1: a small kernel that loads a module, starts it piece by piece while a progress meter runs
 * on its text console, and finds the module damaged. The meter's cells are those of a screen that
 * is long gone: the module was loaded where it lay.
 */
#include "cells.h"
#include "console_layout.h"
#include "disk.h"

_Static_assert(sizeof(struct cell) == CELL_BYTES, "the damage has this period");

static struct console console;
static struct meter meter;
static struct payload module;

static struct {
	char *text;
	u32 used;
} boot_log;

/* Memory for the time of booting, thrown away as a whole; and memory for good. */
static u32 bootmem_next = BOOTMEM_GPA;
static u32 lastmem_next = LASTMEM_GPA;

static void *mem_take(u32 *next, u32 end, u32 bytes)
{
	const u32 gpa = *next;

	if (bytes > end - gpa)
		guest_panic("out of memory");
	*next = gpa + bytes;
	return (void *)(uintptr_t)gpa;
}

static void bootmem_release(void)
{
	boot_log.text = NULL;
	bootmem_next = BOOTMEM_GPA;
}

/* To the serial port, the screen, and while there is boot memory the log. */
static void print(const char *text)
{
	serial_text(text);
	console_text(&console, text);
	for (; boot_log.text && *text && boot_log.used < LOG_BYTES; text++)
		boot_log.text[boot_log.used++] = *text;
}

static void console_init(void)
{
	boot_log.text = mem_take(&bootmem_next, BOOTMEM_END, LOG_BYTES);
	console_open(&console,
		     mem_take(&bootmem_next, BOOTMEM_END, EARLY_COLS * EARLY_ROWS * CELL_BYTES),
		     EARLY_COLS, EARLY_ROWS);
	meter_open(&meter, &console, METER_ROW, METER_COL);
}

/* 800x600 with an 8x16 font: a new screen of cells, and the old one goes with the boot memory. */
static void console_set_mode(u16 cols, u16 rows)
{
	console_open(&console, mem_take(&lastmem_next, LASTMEM_END, (u32)cols * rows * CELL_BYTES),
		     cols, rows);
	bootmem_release();
}

static u8 *module_load(void)
{
	payload_open(&module);

	const u32 sectors = payload_sectors(&module);
	u8 *data = mem_take(&bootmem_next, BOOTMEM_END, sectors * SECTOR_BYTES);

	disk_read_all(payload_data_sector(), (u32)(uintptr_t)data, sectors);
	return data;
}

static bool module_check(const u8 *data)
{
	const u32 sum = payload_sum(data, module.bytes);

	serial_text("module: ");
	serial_dec(module.bytes);
	serial_text(" bytes, checksum 0x");
	serial_hex(sum, 8);
	serial_text(" expected 0x");
	serial_hex(module.sum, 8);
	serial_text(sum == module.sum ? ": ok\n" : ": BAD\n");
	return sum == module.sum;
}

/* One step of the meter for each piece that came from the disk. */
__attribute__((noinline)) static void module_start(void)
{
	for (u32 at = 0; at < module.bytes; at += DISK_REQUEST_SECTORS * SECTOR_BYTES)
		meter_step(&meter);
}

unsigned guest_main(void)
{
	console_init();
	print("vmblame test guest: console\n");
	disk_init();
	console_set_mode(100, 37);
	print("video: 800x600, 100x37 cells\n");

	const u8 *data = module_load();

	serial_text("module: at 0x");
	serial_hex((uintptr_t)data, 8);
	serial_text(" from sector ");
	serial_dec((u32)payload_data_sector());
	serial_char('\n');
	if (!module_check(data)) {
		serial_text("module: damaged on the way from the disk\n");
		return GUEST_PANIC;
	}
	print("module: starting\n");
	module_start();
	if (module_check(data))
		return GUEST_OK;
	serial_text("kernel: module rejected, giving up\n");
	return GUEST_FAILED;
}
