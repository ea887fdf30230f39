// SPDX-License-Identifier: GPL-2.0-or-later
/* The aarch64 guests' runtime: a polled serial port, what an exception means, the end. */
#include "guest.h"

#define UART_DR		((volatile uint32_t *)0x09000000)
#define UART_FR		((volatile uint32_t *)0x09000018)
#define FR_TXFF		0x20
#define PSCI_SYSTEM_OFF 0x84000008u

void fault_entered(uint64_t syndrome, uint64_t address, uint64_t pc);
void trap_entered(uint64_t syndrome, uint64_t address, uint64_t pc) __attribute__((noreturn));

static void serial_byte(char byte)
{
	while (*UART_FR & FR_TXFF)
		;
	*UART_DR = (unsigned char)byte;
}

void serial_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			serial_byte('\r');
		serial_byte(*text);
	}
}

void serial_number(uint64_t value, unsigned base)
{
	if (value >= base)
		serial_number(value / base, base);
	serial_byte("0123456789abcdef"[value % base]);
}

void guest_exit(void)
{
	register uint64_t function __asm__("x0") = PSCI_SYSTEM_OFF;

	__asm__ volatile("hvc 0" : "+r"(function)::"memory");
	for (;;)
		__asm__ volatile("wfi");
}

void guest_panic(const char *text)
{
	serial_text("panic: ");
	serial_text(text);
	serial_text("\n");
	guest_exit();
}

void trap_entered(uint64_t syndrome, uint64_t address, uint64_t pc)
{
	serial_text("exception: syndrome 0x");
	serial_number(syndrome, 16);
	serial_text(" address 0x");
	serial_number(address, 16);
	serial_text(" pc 0x");
	serial_number(pc, 16);
	serial_text("\n");
	guest_panic("unexpected exception");
}

void fault_entered(uint64_t syndrome, uint64_t address, uint64_t pc)
{
	if (!guest_fault(syndrome, address))
		trap_entered(syndrome, address, pc);
}
