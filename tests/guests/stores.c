// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The `stores` guest: 64-bit, its own page tables, does what the table on its disk says and checks
 * what the ranges hold at the end. The ground truth of each store is stores_truth.c's.
 */
#include "disk.h"
#include "stores_table.h"

#define IDT_VECTORS 32
#define VECTOR_PF   14
#define GATE_INT64  0x8e00
#define PTE_PW	    3

struct gate {
	u16 off0, selector, flags, off16;
	u32 off32, zero;
};

extern u64 window_ptes[];
extern volatile u32 stores_faults;
void stores_run(const struct store_op *op, const struct store_op *end);
void stores_fault(void);
void stores_trap(void);
void stores_trapped(u64 cr2) __attribute__((noreturn));

volatile u32 stores_faults;
static struct gate idt[IDT_VECTORS];

void stores_trapped(u64 cr2)
{
	serial_text("stores: trap, cr2 0x");
	serial_hex(cr2, 16);
	serial_char('\n');
	guest_panic("unexpected trap");
}

static void idt_init(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uintptr_t)idt};

	for (unsigned vector = 0; vector < IDT_VECTORS; vector++) {
		const u64 to = (uintptr_t)(vector == VECTOR_PF ? stores_fault : stores_trap);

		idt[vector] = (struct gate){(u16)to,	     SEL_CODE64,      GATE_INT64,
					    (u16)(to >> 16), (u32)(to >> 32), 0};
	}
	__asm__ volatile("lidt %0" ::"m"(idtr));
}

static void window_init(void)
{
#define WINDOW_PTE(number, gpa) window_ptes[number] = (gpa) | PTE_PW;
	WINDOW_PAGES(WINDOW_PTE)
#undef WINDOW_PTE
}

static bool range_check(char name, u32 gpa, u32 bytes, u32 expected)
{
	const u32 sum = payload_sum((const u8 *)(uintptr_t)gpa, bytes);

	serial_text(", checksum ");
	serial_char(name);
	serial_text(" 0x");
	serial_hex(sum, 8);
	serial_text(" expected 0x");
	serial_hex(expected, 8);
	return sum == expected;
}

unsigned guest_main(void)
{
	static struct payload payload;
	const struct stores_table *table = (const struct stores_table *)TABLE_GPA;
	const struct store_op *ops = (const struct store_op *)(table + 1);

	serial_text("vmblame test guest: stores\n");
	idt_init();
	window_init();
	disk_init();
	payload_open(&payload);
	if (payload.bytes > TABLE_END - TABLE_GPA)
		guest_panic("the table is too large");
	disk_read_all(payload_data_sector(), TABLE_GPA, payload_sectors(&payload));
	if (table->magic != TABLE_MAGIC ||
	    sizeof(*table) + table->ops * sizeof(*ops) > payload.bytes)
		guest_panic("no table");
	serial_text("stores: ");
	serial_dec(table->ops);
	serial_text(" operations, ");
	serial_dec(table->passes);
	serial_text(" passes\n");
	for (u32 pass = 0; pass < table->passes; pass++)
		stores_run(ops, ops + table->ops);

	serial_text("stores: ");
	serial_dec(table->stores);
	serial_text(" done, faults ");
	serial_dec(stores_faults);
	serial_text(" expected ");
	serial_dec(table->faults);

	const bool good_a = range_check('A', RANGE_A_GPA, RANGE_A_BYTES, table->sum_a);
	const bool good_b = range_check('B', RANGE_B_GPA, RANGE_B_BYTES, table->sum_b);
	const bool good = good_a && good_b && stores_faults == table->faults;

	serial_text(good ? ": ok\n" : ": BAD\n");
	return good ? GUEST_OK : GUEST_FAILED;
}
