/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime of the aarch64 guests, for `qemu-system-aarch64 -M virt`: EL1, MMU on, console, end.
 *
 * A guest is one ELF for -kernel. entry.S maps the first 2 GiB as they are, in blocks, and the page
 * tables' third GiB in 4 KiB pages, which the guest sets itself:
 *
 *	0x09000000	PL011, the serial port
 *	0x40200000	the ELF: text, data, page tables, bss, stack
 *	0x80000000	up to 512 pages by window_ptes[]
 */
#ifndef GUESTS_AARCH64_GUEST_H
#define GUESTS_AARCH64_GUEST_H

/* A page of normal memory (attribute 0, inner shareable), in use; EL1 may do anything with it. */
#define PTE_VALID 1
#define PTE_PAGE  0x703

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern volatile uint64_t window_ptes[512];

/* A new line is CR LF there. */
void serial_text(const char *text);
void serial_number(uint64_t value, unsigned base);

/* Provided by each guest. */
void guest_main(void);
/* A synchronous exception of EL1's own; true: handled, try again. */
bool guest_fault(uint64_t syndrome, uint64_t address);

/* Powers off (PSCI); under -no-shutdown the machine stays, stopped. */
void guest_exit(void) __attribute__((noreturn));
/* Prints "panic: text" and ends. */
void guest_panic(const char *text) __attribute__((noreturn));
#endif

#endif
