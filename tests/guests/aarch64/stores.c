// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The aarch64 `stores` guest: does the plan's operations on its memory and on the model, and
 * compares the two at the end.
 */
#include "stores.h"
#include "../payload.h"
#include "guest.h"

#define CLASS_ABORT    0x25 /* a data abort at EL1 */
#define STATUS_TRANSL3 7    /* translation fault, level 3 */
#define ZVA_BYTES_LOG2 6

static struct stores_model model;
static uint32_t faults;

bool stores_run(const struct store_op *op);

bool guest_fault(uint64_t syndrome, uint64_t address)
{
	const uint64_t page = (address - WINDOW) / PAGE;

	if (syndrome >> 26 != CLASS_ABORT || (syndrome & 0x3f) != STATUS_TRANSL3 ||
	    page >= WINDOW_COUNT || window_ptes[page] & PTE_VALID)
		return false;
	window_ptes[page] |= PTE_VALID;
	__asm__ volatile("dsb ishst; isb" ::: "memory");
	faults++;
	return true;
}

static void window_unmap(uint64_t gva)
{
	window_ptes[(gva - WINDOW) / PAGE] &= ~(uint64_t)PTE_VALID;
	__asm__ volatile("dsb ishst; tlbi vaae1, %0; dsb ish; isb" ::"r"(gva >> 12) : "memory");
}

static bool cpu_has_lse(void)
{
	uint64_t features, zva;

	__asm__("mrs %0, dczid_el0" : "=r"(zva));
	if (zva != ZVA_BYTES_LOG2 - 2)
		guest_panic("DC ZVA is not of 64 bytes");
	__asm__("mrs %0, id_aa64isar0_el1" : "=r"(features));
	return (features >> 20 & 15) >= 2;
}

/* What the memory holds, as the model has it? Says where not. */
static bool arena_check(void)
{
	const uint8_t *arena = (const uint8_t *)(uintptr_t)(RAM_GPA + ARENA_GPA);

	for (size_t i = 0; i < sizeof(model.arena); i++) {
		if (arena[i] == model.arena[i])
			continue;
		serial_text("stores: wrong at 0x");
		serial_number(RAM_GPA + ARENA_GPA + i, 16);
		serial_text("\n");
		return false;
	}
	return true;
}

static void range_say(const char *name, uint32_t gpa, uint32_t bytes)
{
	serial_text(name);
	serial_number(payload_sum((const uint8_t *)(uintptr_t)(RAM_GPA + gpa), bytes), 16);
}

void guest_main(void)
{
	struct stores_plan plan = {.operations = STORES_OPERATIONS, .lse = cpu_has_lse()};
	struct store_op op;
	bool good = true;

	serial_text("vmblame test guest: stores, aarch64");
	serial_text(plan.lse ? ", LSE\n" : "\n");
	for (unsigned page = 0; page < WINDOW_COUNT; page++)
		window_ptes[page] = window_gpa[page] | PTE_PAGE;
	__asm__ volatile("dsb ishst; isb" ::: "memory");
	while (good && plan_next(&plan, &model, &op)) {
		if (op.op == STORE_unmap)
			window_unmap(op.gva);
		else
			good = stores_run(&op);
		model_run(&model, &op);
	}
	if (!good) {
		serial_text("stores: store_");
		serial_text(store_descs[op.op].name);
		serial_text(" did something else\n");
	}
	good = arena_check() && good && faults == model.faults;
	serial_text("stores: ");
	serial_number(model.stores, 10);
	serial_text(" done, faults ");
	serial_number(faults, 10);
	serial_text(" expected ");
	serial_number(model.faults, 10);
	range_say(", checksum A 0x", RANGE_A_GPA, RANGE_A_BYTES);
	range_say(", checksum B 0x", RANGE_B_GPA, RANGE_B_BYTES);
	serial_text(good ? ": ok\n" : ": BAD\n");
}
