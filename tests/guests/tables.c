// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The `tables` guest: 64-bit, stores its page tables into watched pages and then uses each for the
 * first time, by one instruction of each kind, whose operand lies at the same place in its page as
 * the table's entry in its own (where KVM may take the one for the other), or elsewhere.
 */
#include "guest.h"
#include "tables_layout.h"

#define PAGE	 4096
#define REGION	 0x200000 /* what one table maps */
#define WINDOW	 0x80000000ull
#define BEFORE	 0x1122334455667788ull
#define OPERAND	 0x0102030405060708ull
#define ELSE	 64 /* bytes away from where the entry is */
#define PRESENT	 1
#define WRITABLE 2
#define ACCESSED 0x20
#define DIRTY	 0x40

static u64 directory[512] __attribute__((aligned(PAGE)));

enum kind { MOV, ADD, LOAD, STOS, XCHG, LOCK_ADD, PUSH, CMPXCHG, KINDS };

static const char *const names[KINDS] = {"mov",	 "add",	     "load", "stos",
					 "xchg", "lock add", "push", "cmpxchg"};

/* What the operand and the register are afterwards. */
static const struct {
	u64 memory, reg;
} after[KINDS] = {
	[MOV] = {OPERAND, OPERAND},  [ADD] = {BEFORE + OPERAND, OPERAND},
	[LOAD] = {BEFORE, BEFORE},   [STOS] = {OPERAND, OPERAND},
	[XCHG] = {OPERAND, BEFORE},  [LOCK_ADD] = {BEFORE + OPERAND, OPERAND},
	[PUSH] = {OPERAND, OPERAND}, [CMPXCHG] = {OPERAND, BEFORE},
};

/* One access to a page whose table nothing has used yet. What the register is then; *moved is how
 * far the pointer went. */
static u64 access(enum kind kind, u64 at, u64 *moved)
{
	u64 reg = OPERAND, to = at, stack;

	switch (kind) {
	case MOV:
		__asm__ volatile("movq %0, (%1)" : : "a"(reg), "D"(to) : "memory");
		break;
	case ADD:
		__asm__ volatile("addq %0, (%1)" : : "a"(reg), "D"(to) : "memory");
		break;
	case LOAD:
		__asm__ volatile("movq (%1), %0" : "=a"(reg) : "D"(to) : "memory");
		break;
	case STOS:
		__asm__ volatile("stosq" : "+D"(to) : "a"(reg) : "memory");
		break;
	case XCHG:
		__asm__ volatile("xchgq %0, (%1)" : "+a"(reg) : "D"(to) : "memory");
		break;
	case LOCK_ADD:
		__asm__ volatile("lock addq %0, (%1)" : : "a"(reg), "D"(to) : "memory");
		break;
	case PUSH:
		to += 8;
		__asm__ volatile("movq %%rsp, %0\n\tmovq %1, %%rsp\n\tpushq %2\n\t"
				 "movq %%rsp, %1\n\tmovq %0, %%rsp"
				 : "=&b"(stack), "+D"(to)
				 : "a"(reg)
				 : "memory");
		break;
	case CMPXCHG:
		reg = BEFORE;
		__asm__ volatile("cmpxchgq %2, (%1)"
				 : "+a"(reg)
				 : "D"(to), "c"(OPERAND)
				 : "memory");
		break;
	default:
		guest_panic("no such access");
	}
	*moved = to - at;
	return reg;
}

static bool same(unsigned op, const char *what, u64 got, u64 expected)
{
	if (got == expected)
		return true;
	serial_text("tables: ");
	serial_text(names[op % KINDS]);
	serial_text(op < KINDS ? " at the entry's place: " : " elsewhere: ");
	serial_text(what);
	serial_text(" 0x");
	serial_hex(got, 16);
	serial_text(" expected 0x");
	serial_hex(expected, 16);
	serial_char('\n');
	return false;
}

static bool try(unsigned op)
{
	const enum kind kind = op % KINDS;
	const unsigned number = 17 + op; /* of the entry in its table */
	const u64 offset = 8 * number + (op < KINDS ? 0 : ELSE);
	volatile u64 *entry = (u64 *)(TABLES_GPA + (u64)op * PAGE) + number;
	volatile u64 *mapped = (u64 *)(MAPPED_GPA + op * PAGE + offset);
	const u64 frame = MAPPED_GPA + op * PAGE;
	u64 moved, reg, bits;
	bool good;

	*mapped = BEFORE;
	*entry = frame | PRESENT | WRITABLE;
	directory[op] = (TABLES_GPA + (u64)op * PAGE) | PRESENT | WRITABLE;
	barrier();
	reg = access(kind, WINDOW + (u64)op * REGION + number * PAGE + offset, &moved);
	barrier();
	bits = kind == LOAD ? ACCESSED : ACCESSED | DIRTY;
	good = same(op, "memory", *mapped, after[kind].memory);
	good &= same(op, "register", reg, after[kind].reg);
	good &= same(op, "pointer", moved, kind == STOS ? 8 : 0);
	good &= same(op, "entry", *entry & ~(u64)(ACCESSED | DIRTY), frame | PRESENT | WRITABLE);
	if ((*entry & bits) != bits) {
		serial_text("tables: ");
		serial_text(names[kind]);
		serial_text(": accessed or dirty is missing\n");
	}
	return good;
}

unsigned guest_main(void)
{
	u64 cr3, *map, *pointers;
	bool good = true;

	serial_text("vmblame test guest: tables\n");
	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
	map = (u64 *)(cr3 & ~0xfffull);
	pointers = (u64 *)(map[0] & ~0xfffull);
	pointers[WINDOW >> 30] = (uintptr_t)directory | PRESENT | WRITABLE;
	for (unsigned op = 0; op < TABLES_OPS; op++)
		good &= try(op);
	serial_text(good ? "tables: ok\n" : "tables: BAD\n");
	return good ? GUEST_OK : GUEST_FAILED;
}
