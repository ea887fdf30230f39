// SPDX-License-Identifier: GPL-2.0-or-later
/* The guests' runtime: a polled serial port and the ways to end. */
#include "guest.h"

#define SERIAL_PORT   0x3f8
#define SERIAL_LSR    (SERIAL_PORT + 5)
#define LSR_THR_EMPTY 0x20
#define DEBUG_EXIT    0x501
#define ACPI_PM1A_CNT 0x604 /* where SeaBIOS puts it, on i440FX and Q35 */
#define ACPI_SLP_EN   0x2000

static void serial_byte(u8 byte)
{
	for (unsigned tries = 0; tries < 10000; tries++)
		if (in8(SERIAL_LSR) & LSR_THR_EMPTY)
			break;
	out8(SERIAL_PORT, byte);
}

void serial_char(char c)
{
	if (c == '\n')
		serial_byte('\r');
	serial_byte((u8)c);
}

void serial_text(const char *text)
{
	while (*text)
		serial_char(*text++);
}

void serial_hex(u64 value, unsigned digits)
{
	while (digits--)
		serial_char("0123456789abcdef"[(value >> (digits * 4)) & 15]);
}

void serial_dec(u32 value)
{
	char digits[11];
	unsigned at = sizeof(digits) - 1;

	digits[at] = 0;
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	serial_text(&digits[at]);
}

void guest_exit(unsigned status)
{
	out16(DEBUG_EXIT, (u16)status);
	out16(ACPI_PM1A_CNT, ACPI_SLP_EN);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void guest_panic(const char *text)
{
	serial_text("panic: ");
	serial_text(text);
	serial_char('\n');
	guest_exit(GUEST_PANIC);
}
