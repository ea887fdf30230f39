// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Disk and processor write the same page in turns, so that their order is known: the serial port
 * tells each write as it ends, "vq: N cpu|disk GPA LEN ...", and at the end the page is checked.
 */
#include "disk.h"
#include "vq_layout.h"

#define VQ_REQUESTS 6

static const struct {
	u32 cpu_off; /* a 4-byte store of VQ_STAMP + the step's number, before the request */
	u32 gpa_off, sector, sectors;
	u32 late_off; /* and one after it */
} steps[VQ_REQUESTS] = {
	{0x010, 0x000, 0, 1, 0x020}, /* the request overwrites the first store, not the second */
	{0x7fc, 0x200, 1, 3, 0x3fe}, /* across what becomes a sector's edge */
	{0x100, 0x400, 4, 2, 0x400}, /* first bytes of the request */
	{0x9ff, 0x600, 2, 2, 0x9fd}, /* last byte, and across the end */
	{0xe00, 0x123, 7, 1, 0x200}, /* a buffer that is not aligned */
	{0xffc, 0xe00, 8, 4, 0xff8}, /* beyond the page */
};

#define VQ_STAMP 0xc0de0000u

static u8 expected[VQ_PAGE_BYTES];
static u8 sectors[12][SECTOR_BYTES];

static void expect_store(u32 off, u32 value)
{
	for (u32 i = 0; i < 4; i++)
		expected[off + i] = (u8)(value >> (8 * i));
}

void vq_store(u32 off, u32 value);

/* The one instruction of this guest that stores to the page. */
__attribute__((noinline)) void vq_store(u32 off, u32 value)
{
	*(volatile u32 *)(uintptr_t)(VQ_PAGE_GPA + off) = value;
}

static void tell(const char *who, u32 off, u32 len, const char *what, u32 number)
{
	static u32 writes;

	serial_text("vq: ");
	serial_dec(++writes);
	serial_text(who);
	serial_hex(VQ_PAGE_GPA + off, 8);
	serial_char(' ');
	serial_dec(len);
	serial_text(what);
	serial_hex(number, 8);
	serial_char('\n');
}

static void cpu_write(u32 off, u32 value)
{
	vq_store(off, value);
	expect_store(off, value);
	tell(" cpu 0x", off, 4, " value 0x", value);
}

static void disk_write(u32 off, u32 sector, u32 count)
{
	const u32 from = (u32)payload_data_sector() + sector;

	disk_read(from, VQ_PAGE_GPA + off, count);
	for (u32 i = 0; i < count * SECTOR_BYTES && off + i < VQ_PAGE_BYTES; i++)
		expected[off + i] = sectors[sector + i / SECTOR_BYTES][i % SECTOR_BYTES];
	tell(" disk 0x", off, count * SECTOR_BYTES, " sector 0x", from);
}

unsigned guest_main(void)
{
	static struct payload payload;
	const u8 *page = (const u8 *)VQ_PAGE_GPA;

	serial_text("vmblame test guest: vq\n");
	disk_init();
	payload_open(&payload);
	if (payload_sectors(&payload) < sizeof(sectors) / SECTOR_BYTES)
		guest_panic("the payload is too small");
	disk_read(payload_data_sector(), (u32)(uintptr_t)sectors, sizeof(sectors) / SECTOR_BYTES);
	for (u32 i = 0; i < VQ_REQUESTS; i++) {
		cpu_write(steps[i].cpu_off, VQ_STAMP + 2 * i);
		disk_write(steps[i].gpa_off, steps[i].sector, steps[i].sectors);
		cpu_write(steps[i].late_off, VQ_STAMP + 2 * i + 1);
	}
	for (u32 i = 0; i < VQ_PAGE_BYTES; i++) {
		if (page[i] == expected[i])
			continue;
		serial_text("vq: wrong at 0x");
		serial_hex(VQ_PAGE_GPA + i, 8);
		serial_text(": BAD\n");
		return GUEST_FAILED;
	}
	serial_text("vq: page as expected: ok\n");
	return GUEST_OK;
}
