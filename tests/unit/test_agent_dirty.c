// SPDX-License-Identifier: GPL-2.0-or-later
/* Dirty logs of split slots: the VMM's bitmap against a model that keeps one bit a page. */
#include "../../user/agent_dirty.h"

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE	SLOTS_PAGE
#define PAGES	1000
#define WORDS	((PAGES + 63) / 64)
#define RESERVE 100

/* Where each id of KVM's begins, and the pages of the guest that are dirty. */
static struct {
	u64 first[2 * RESERVE], npages[2 * RESERVE];
	u8 dirty[PAGES];
	int gets, clears, fail;
} kvm;

static struct slots table;
static struct dirty_scratch scratch;

static int model_set(void *ctx, u32 id, u32 flags, u64 gpa, u64 size, u64 hva)
{
	(void)ctx, (void)flags, (void)hva;
	kvm.first[id] = gpa / PAGE;
	kvm.npages[id] = size / PAGE;
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
	kvm.gets++;
	if (kvm.fail)
		return kvm.fail;
	assert_true(kvm.npages[id] > 0);
	memset(bitmap, 0, (kvm.npages[id] + 63) / 64 * 8);
	for (u64 i = 0; i < kvm.npages[id]; i++)
		bitmap[i / 64] |= (u64)kvm.dirty[kvm.first[id] + i] << i % 64;
	return 0;
}

/* KVM's own checks: kvm_clear_dirty_log_protect(). */
static int model_clear(void *ctx, u32 id, u64 first, u32 npages, const u64 *bitmap)
{
	u64 have = kvm.npages[id];

	(void)ctx;
	kvm.clears++;
	if (kvm.fail)
		return kvm.fail;
	if (first & 63 || first > have || npages > have - first ||
	    (npages < have - first && npages & 63))
		return -EINVAL;
	for (u64 i = 0; i < npages; i++)
		if (bitmap[i / 64] >> i % 64 & 1)
			kvm.dirty[kvm.first[id] + first + i] = 0;
	return 0;
}

static const struct slots_ops slot_ops = {model_set, model_pause, model_resume, model_report};
static const struct dirty_ops ops = {model_get, model_clear};

static struct slot *start(const struct agent_range *range, u32 n)
{
	memset(&table, 0, sizeof(table));
	memset(&kvm, 0, sizeof(kvm));
	slots_init(&table, &slot_ops, NULL, 2 * RESERVE, range, n);
	slots_arm(&table);
	assert_int_equal(slots_set(&table, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, PAGES * PAGE, 0x10000000),
			 0);
	srand(1);
	for (int i = 0; i < PAGES; i++)
		kvm.dirty[i] = rand() % 3 == 0;
	return slots_find(&table, 0);
}

static const struct agent_range ranges[] = {
	{3 * PAGE, 4 * PAGE}, {67 * PAGE, 300 * PAGE}, {999 * PAGE, 1000 * PAGE}};

static int get(struct slot *s, u64 *bitmap)
{
	return dirty_get(&table, s, 0, &ops, NULL, &scratch, bitmap);
}

static int clear(struct slot *s, u64 first, u32 npages, const u64 *bitmap)
{
	return dirty_clear(&table, s, 0, &ops, NULL, &scratch, first, npages, bitmap);
}

static void get_gathers_all_pieces(void **state)
{
	u64 bitmap[WORDS + 1];
	struct slot *s = start(ranges, 3);

	(void)state;
	memset(bitmap, 0x5a, sizeof(bitmap));
	assert_int_equal(get(s, bitmap), 0);
	assert_int_equal(kvm.gets, 6);
	for (int i = 0; i < PAGES; i++)
		assert_int_equal(bitmap[i / 64] >> i % 64 & 1, kvm.dirty[i]);
	assert_int_equal(bitmap[WORDS - 1] >> PAGES % 64, 0);
	assert_int_equal(bitmap[WORDS], 0x5a5a5a5a5a5a5a5a);
}

static void clear_reaches_the_right_pages(void **state)
{
	static const struct {
		u64 first;
		u32 npages;
	} spans[] = {{0, 1000}, {0, 64}, {64, 128}, {256, 64}, {960, 40}, {64, 936}, {128, 0}};

	(void)state;
	for (size_t k = 0; k < sizeof(spans) / sizeof(spans[0]); k++) {
		struct slot *s = start(ranges, 3);
		u8 before[PAGES];
		u64 bitmap[WORDS];

		memcpy(before, kvm.dirty, sizeof(before));
		for (int i = 0; i < WORDS; i++)
			bitmap[i] = (u64)rand() << 40 ^ (u64)rand() << 20 ^ (u64)rand();
		assert_int_equal(clear(s, spans[k].first, spans[k].npages, bitmap), 0);
		for (u64 i = 0; i < PAGES; i++) {
			u64 bit = i - spans[k].first;
			bool in = i >= spans[k].first && bit < spans[k].npages &&
				  bitmap[bit / 64] >> bit % 64 & 1;

			assert_int_equal(kvm.dirty[i], in ? 0 : before[i]);
		}
	}
}

static void clear_refuses_what_kvm_refuses(void **state)
{
	struct slot *s = start(ranges, 3);
	u64 bitmap[WORDS] = {0};

	(void)state;
	assert_int_equal(clear(s, 1, 64, bitmap), -EINVAL);
	assert_int_equal(clear(s, 0, 63, bitmap), -EINVAL);
	assert_int_equal(clear(s, 0, 1001, bitmap), -EINVAL);
	assert_int_equal(clear(s, 1024, 0, bitmap), -EINVAL);
	assert_int_equal(clear(s, ~63ull, 64, bitmap), -EINVAL);
	assert_int_equal(kvm.clears, 0);
}

static void whole_slot_passes_through(void **state)
{
	struct slot *s = start(ranges, 0);
	u64 bitmap[WORDS];

	(void)state;
	assert_int_equal(get(s, bitmap), 0);
	assert_int_equal(clear(s, 64, 64, bitmap), 0);
	assert_int_equal(kvm.gets + kvm.clears, 2);
}

static void errors_are_the_vmms(void **state)
{
	struct slot *s = start(ranges, 3);
	u64 bitmap[WORDS] = {0};

	(void)state;
	kvm.fail = -ENOENT;
	assert_int_equal(get(s, bitmap), -ENOENT);
	assert_int_equal(clear(s, 0, 1000, bitmap), -ENOENT);
}

/* Bits that went with deleted pieces come back as all pages, once. */
static void surgery_marks_all_once(void **state)
{
	struct slot *s = start(ranges, 3);
	u64 bitmap[WORDS];

	(void)state;
	memset(kvm.dirty, 0, sizeof(kvm.dirty));
	slots_open(&table, 100 * PAGE, 101 * PAGE, WHY_PAGE_TABLE);
	assert_int_equal(get(s, bitmap), 0);
	for (int i = 0; i < PAGES; i++)
		assert_int_equal(bitmap[i / 64] >> i % 64 & 1, 1);
	assert_int_equal(bitmap[WORDS - 1] >> PAGES % 64, 0);
	assert_int_equal(get(s, bitmap), 0);
	for (int i = 0; i < WORDS; i++)
		assert_int_equal(bitmap[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_gathers_all_pieces),
		cmocka_unit_test(clear_reaches_the_right_pages),
		cmocka_unit_test(clear_refuses_what_kvm_refuses),
		cmocka_unit_test(whole_slot_passes_through),
		cmocka_unit_test(errors_are_the_vmms),
		cmocka_unit_test(surgery_marks_all_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
