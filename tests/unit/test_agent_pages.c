// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dirty log between KVM, the VMM and the recorder, against a model that knows which pages were
 * written: whoever asks gets every page that was written since it last asked (the VMM: cleared), in
 * each of KVM's ways to clear the log, whatever the other one does meanwhile.
 */
#include "../../user/agent_pages.h"

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE  SLOTS_PAGE
#define SLOTS 3
#define PAGES 333 /* of each slot */
#define WORDS ((PAGES + 63) / 64)
#define HVA   0x7f0000000000ull

/* By page of the VMM's address space. */
static struct {
	bool there, logged;
	u64 first; /* page */
	bool dirty[PAGES];
} kvm[SLOTS];
static bool vmm_owed[SLOTS][PAGES]; /* written since the VMM cleared it */
static bool recorder_owed[SLOTS * PAGES];
static bool vmm_logs[SLOTS];

static struct slots table;
static struct pages pages;
static struct dirty_scratch scratch;

static int model_set(void *ctx, u32 id, u32 flags, u64 gpa, u64 size, u64 hva)
{
	(void)ctx, (void)gpa;
	flags = pages_flags(&pages, flags, size);
	if (!size) {
		memset(&kvm[id], 0, sizeof(kvm[id]));
		return 0;
	}
	if (!kvm[id].there || (flags & KVM_MEM_LOG_DIRTY_PAGES && !kvm[id].logged))
		for (u32 i = 0; i < PAGES; i++)
			kvm[id].dirty[i] = pages.initially_set;
	kvm[id].there = true;
	kvm[id].logged = flags & KVM_MEM_LOG_DIRTY_PAGES;
	kvm[id].first = (hva - HVA) / PAGE;
	return 0;
}

static int model_pause(void *ctx)
{
	(void)ctx;
	return 0;
}

static void model_resume(void *ctx)
{
	(void)ctx;
}

static void model_report(void *ctx, enum agent_type type, u64 gpa, u64 size, u64 last)
{
	(void)ctx, (void)type, (void)gpa, (void)size, (void)last;
}

static int model_get(void *ctx, u32 id, u64 *bitmap)
{
	(void)ctx;
	if (!kvm[id].logged)
		return -ENOENT;
	memset(bitmap, 0, WORDS * 8);
	for (u64 i = 0; i < PAGES; i++)
		bitmap[i / 64] |= (u64)kvm[id].dirty[i] << i % 64;
	if (!pages.manual)
		memset(kvm[id].dirty, 0, sizeof(kvm[id].dirty));
	return 0;
}

static int model_clear(void *ctx, u32 id, u64 first, u32 npages, const u64 *bitmap)
{
	(void)ctx;
	if (!pages.manual || !kvm[id].logged)
		return -EINVAL;
	if (first & 63 || first > PAGES || npages > PAGES - first ||
	    (npages < PAGES - first && npages & 63))
		return -EINVAL;
	for (u64 i = 0; i < npages; i++)
		if (bitmap[i / 64] >> i % 64 & 1)
			kvm[id].dirty[first + i] = false;
	return 0;
}

static const struct slots_ops slot_ops = {model_set, model_pause, model_resume, model_report};
static const struct dirty_ops ops = {model_get, model_clear};

/* As agent.c does it. */
static void slot_set(u32 id, u32 flags, bool there)
{
	struct slot *s = slots_find(&table, id);
	const bool was = s;
	const u32 before = s ? s->flags : 0;
	const u64 size = there ? PAGES * PAGE : 0;

	if (s && !there)
		pages_leave(&pages, &table, s, id, &ops, NULL, &scratch);
	assert_int_equal(slots_set(&table, id, flags, id << 24, size, HVA + id * PAGES * PAGE), 0);
	s = slots_find(&table, id);
	if (s && !was)
		pages_note_all(&pages, s);
	if (s && (before ^ flags) & KVM_MEM_LOG_DIRTY_PAGES)
		pages_vmm_logs(&pages, s, id, flags & KVM_MEM_LOG_DIRTY_PAGES);
	if (!there || !(flags & KVM_MEM_LOG_DIRTY_PAGES))
		memset(vmm_owed[id], 0, sizeof(vmm_owed[id]));
	vmm_logs[id] = there && flags & KVM_MEM_LOG_DIRTY_PAGES;
}

static void guest_writes(u32 id, u32 page)
{
	if (!kvm[id].there)
		return;
	if (kvm[id].logged)
		kvm[id].dirty[page] = true;
	recorder_owed[kvm[id].first + page] = true;
	vmm_owed[id][page] |= vmm_logs[id];
}

static void vmm_asks(u32 id)
{
	u64 bitmap[WORDS];
	struct slot *s = slots_find(&table, id);

	if (!s || !vmm_logs[id])
		return;
	assert_int_equal(dirty_get(&table, s, id, &ops, NULL, &scratch, bitmap), 0);
	pages_vmm_got(&pages, s, id, bitmap);
	for (u32 i = 0; i < PAGES; i++)
		if (vmm_owed[id][i] && !(bitmap[i / 64] >> i % 64 & 1))
			fail_msg("slot %u: the VMM lacks page %u", id, i);
	if (!pages.manual)
		memset(vmm_owed[id], 0, sizeof(vmm_owed[id]));
	if (!pages.manual || rand() % 3 == 0)
		return;
	const u64 first = (u64)(rand() % WORDS) * 64;
	const u32 left = (u32)(PAGES - first), n = rand() % 2 || left < 64 ? left : 64;

	pages_vmm_clears(&pages, s, id, first, n, bitmap + first / 64);
	assert_int_equal(
		dirty_clear(&table, s, id, &ops, NULL, &scratch, first, n, bitmap + first / 64), 0);
	for (u32 i = 0; i < n; i++)
		if (bitmap[(first + i) / 64] >> i % 64 & 1)
			vmm_owed[id][first + i] = false;
}

static u32 harvested;

static u64 recorder_asks(void)
{
	const u32 set = pages_harvest(&pages, &table, &ops, NULL, &scratch);
	u64 *bits = pages.shared->bits[set], count = 0;

	for (u64 i = 0; i < pages.shared->nblocks; i++) {
		const struct agent_block *b = &pages.shared->block[i];

		for (u64 k = 0; k < b->npages; k++) {
			const u64 page = (b->hva - HVA) / PAGE + k, bit = b->first + k;
			const bool told = bits[bit / 64] >> bit % 64 & 1;

			count += told;
			if (recorder_owed[page] && !told)
				fail_msg("the recorder lacks page %llu", (unsigned long long)page);
			recorder_owed[page] = false;
		}
	}
	for (u32 i = 0; i < SLOTS * PAGES; i++)
		assert_false(recorder_owed[i]); /* in no block */
	memset(bits, 0, sizeof(pages.shared->bits[set]) / 1024);
	harvested += count != 0;
	return count;
}

static void start(bool manual, bool initially_set)
{
	static const struct agent_range nothing;

	memset(&table, 0, sizeof(table));
	memset(kvm, 0, sizeof(kvm));
	memset(vmm_owed, 0, sizeof(vmm_owed));
	memset(recorder_owed, 0, sizeof(recorder_owed));
	memset(vmm_logs, 0, sizeof(vmm_logs));
	if (pages.shared)
		munmap(pages.shared, sizeof(*pages.shared));
	pages_forget(&pages);
	memset(&pages, 0, sizeof(pages));
	pages.shared = mmap(NULL, sizeof(*pages.shared), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(pages.shared != MAP_FAILED);
	pages.on = true;
	pages.manual = manual;
	pages.initially_set = initially_set;
	slots_init(&table, &slot_ops, NULL, 64, &nothing, 0);
	for (u32 id = 0; id < SLOTS; id++)
		slot_set(id, 0, true);
}

static void run(bool manual, bool initially_set)
{
	start(manual, initially_set);
	harvested = 0;
	for (int step = 0; step < 20000; step++) {
		const u32 id = (u32)rand() % SLOTS;

		switch (rand() % 16) {
		case 0:
			recorder_asks();
			break;
		case 1:
		case 2:
			vmm_asks(id);
			break;
		case 3:
			if (kvm[id].there && rand() % 4 == 0)
				slot_set(id, vmm_logs[id] ? 0 : KVM_MEM_LOG_DIRTY_PAGES, true);
			break;
		case 4:
			if (rand() % 8 == 0)
				slot_set(id, 0, !kvm[id].there);
			break;
		default:
			guest_writes(id, (u32)rand() % PAGES);
			break;
		}
	}
	recorder_asks();
	assert_true(harvested > 500);
}

static void test_manual(void **state)
{
	(void)state;
	srand(1);
	run(true, false);
}

static void test_initially_set(void **state)
{
	(void)state;
	srand(2);
	run(true, true);
}

static void test_get_clears(void **state)
{
	(void)state;
	srand(3);
	run(false, false);
}

/* Pages that nobody wrote are not told, but the first time. */
static void test_no_more(void **state)
{
	(void)state;
	start(true, true);
	assert_int_equal(recorder_asks(), SLOTS * PAGES);
	assert_int_equal(recorder_asks(), 0);
	guest_writes(1, 5);
	guest_writes(1, 332);
	assert_int_equal(recorder_asks(), 2);
}

/* A VMM that never logs sees the log of nothing; and one that ends it is told no old pages. */
static void test_vmm_off_and_on(void **state)
{
	u64 bitmap[WORDS];

	(void)state;
	start(true, false);
	slot_set(0, KVM_MEM_LOG_DIRTY_PAGES, true);
	guest_writes(0, 7);
	recorder_asks();
	slot_set(0, 0, true);
	slot_set(0, KVM_MEM_LOG_DIRTY_PAGES, true);
	assert_int_equal(dirty_get(&table, slots_find(&table, 0), 0, &ops, NULL, &scratch, bitmap),
			 0);
	pages_vmm_got(&pages, slots_find(&table, 0), 0, bitmap);
	for (u32 i = 0; i < WORDS; i++)
		assert_int_equal(bitmap[i], 0);
}

/* Memory beyond what there is room for is said. */
static void test_beyond(void **state)
{
	(void)state;
	start(true, false);
	const struct slot s = {.hva = 1ull << 40, .size = (AGENT_PAGES + 1) * PAGE};

	pages_note_all(&pages, &s);
	assert_int_equal(pages.shared->beyond, AGENT_PAGES + 1);
}

/* A slot of memory of which a part was in another slot before. */
static void test_overlapping(void **state)
{
	(void)state;
	start(true, false);
	const struct slot s = {.hva = HVA - 2 * PAGE, .size = (SLOTS * PAGES + 5) * PAGE};

	pages_note_all(&pages, &s);
	assert_int_equal(pages.shared->nblocks, SLOTS + 2);
	assert_int_equal(pages.shared->block[SLOTS].npages, 2);
	assert_int_equal(pages.shared->block[SLOTS + 1].npages, 3);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manual),	       cmocka_unit_test(test_initially_set),
		cmocka_unit_test(test_get_clears),     cmocka_unit_test(test_no_more),
		cmocka_unit_test(test_vmm_off_and_on), cmocka_unit_test(test_beyond),
		cmocka_unit_test(test_overlapping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
