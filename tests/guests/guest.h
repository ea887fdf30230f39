/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime that every test guest shares: serial port, port I/O, how a guest ends.
 *
 * A guest is one ELF whose load addresses are also its disk image: byte N of the image is address
 * 0x7c00 + N. The boot sector reads the rest of the ELF from the disk (INT 13h), enters flat
 * 32-bit mode (a 64-bit guest goes on to long mode, entry.S) and calls guest_main() with interrupts
 * off and a stack below 0x90000. Payload (a module, a table) follows on the disk: payload.h.
 *
 *	0x00007c00	boot sector, then the ELF's text, data and bss, ending below 0x80000
 *	0x00090000	top of the stack
 *	0x00100000	free up to the end of RAM; each guest says what it puts where
 */
#ifndef GUESTS_GUEST_H
#define GUESTS_GUEST_H

#define IMAGE_GPA     0x7c00
#define STACK_TOP_GPA 0x90000

/* Selectors of the boot sector's GDT. */
#define SEL_CODE32 0x08
#define SEL_DATA   0x10
#define SEL_CODE64 0x18
#define SEL_CODE16 0x20
#define SEL_DATA16 0x28

/*
 * The value that a guest writes to `-device isa-debug-exit,iobase=0x501,iosize=2`, which makes QEMU
 * exit with status (value << 1) | 1. Without that device the guest powers the machine off through
 * ACPI (QEMU's status 0; under -no-shutdown it stays, stopped), and halts if that fails too.
 */
#define GUEST_OK     0x10 /* QEMU exits with 33 */
#define GUEST_FAILED 0x11 /* 35: what the guest checked was wrong */
#define GUEST_PANIC  0x12 /* 37: the guest could not do its work */

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define barrier() __asm__ volatile("" ::: "memory")

static inline void out8(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void out16(u16 port, u16 value)
{
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void out32(u16 port, u32 value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline u8 in8(u16 port)
{
	u8 value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline u16 in16(u16 port)
{
	u16 value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline u32 in32(u16 port)
{
	u32 value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* Serial port 0x3f8, polled. A new line is CR LF there. */
void serial_char(char c);
void serial_text(const char *text);
void serial_hex(u64 value, unsigned digits); /* without 0x; digits 1..16 */
void serial_dec(u32 value);

/* Provided by each guest; its result goes to guest_exit(). */
unsigned guest_main(void);
void guest_exit(unsigned status) __attribute__((noreturn));
/* Prints "panic: text" and ends with GUEST_PANIC. */
void guest_panic(const char *text) __attribute__((noreturn));
#endif

#endif
