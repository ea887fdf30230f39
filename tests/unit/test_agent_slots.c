// SPDX-License-Identifier: GPL-2.0-or-later
/* The agent's slot table against a model of KVM that keeps KVM's rules and may run out of memory.
 */
#include "../../user/agent_slots.h"

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE	  SLOTS_PAGE
#define PAGES	  256 /* of guest-physical memory in the model */
#define KVM_SLOTS 700
#define HVA	  0x7f0000000000ull

struct model_slot {
	u32 used, flags;
	u64 gpa, size, hva;
};

struct model {
	struct model_slot slot[2][KVM_SLOTS];
	u32 fail_in;	  /* count down to a refused call; 0 never */
	u32 fail_forever; /* and all installs after it */
	int paused, pauses, refuse_pause;
	bool told[PAGES]; /* armed, as far as the reports say */
	bool smram_told[PAGES];
	u32 opened[WHY_MAX];
	u32 armed, split;
};

static struct slots table;
static struct model kvm;

static int model_set(void *ctx, u32 id, u32 flags, u64 gpa, u64 size, u64 hva)
{
	struct model *m = ctx;
	struct model_slot *s;

	if (id >> 16 >= 2 || (id & 0xffff) >= KVM_SLOTS)
		return -EINVAL;
	s = &m->slot[id >> 16][id & 0xffff];
	if (m->fail_in && !--m->fail_in) {
		m->fail_in = m->fail_forever && size;
		return -ENOMEM;
	}
	if (!size) {
		if (!s->used)
			return -EINVAL;
		memset(s, 0, sizeof(*s));
		return 0;
	}
	if (s->used && (s->size != size || s->hva != hva || (s->flags ^ flags) & KVM_MEM_READONLY))
		return -EINVAL;
	for (u32 i = 0; i < KVM_SLOTS; i++) {
		const struct model_slot *o = &m->slot[id >> 16][i];

		if (o->used && o != s && gpa < o->gpa + o->size && o->gpa < gpa + size)
			return -EEXIST;
	}
	*s = (struct model_slot){1, flags, gpa, size, hva};
	return 0;
}

static int model_pause(void *ctx)
{
	struct model *m = ctx;

	if (m->refuse_pause)
		return -ETIMEDOUT;
	m->paused++;
	m->pauses++;
	return 0;
}

static void model_resume(void *ctx)
{
	struct model *m = ctx;

	assert_true(m->paused-- > 0);
}

static void model_report(void *ctx, enum agent_type type, u64 gpa, u64 size, u64 last)
{
	struct model *m = ctx;

	if (type == AGENT_CHANGE) {
		m->split++;
		return;
	}
	assert_true(size && gpa + size <= PAGES * PAGE);
	if (type == AGENT_ARMED || last == WHY_PAGE_TABLE || last == WHY_ENDED)
		assert_true(m->paused || m->refuse_pause);
	if (type == AGENT_ARMED) {
		m->armed++;
		assert_int_equal(last & (PAGE - 1), 0);
	} else {
		assert_int_equal(type, AGENT_OPENED);
		assert_true(last > WHY_NONE && last < WHY_MAX);
		m->opened[last]++;
	}
	for (u64 p = gpa / PAGE; p < (gpa + size) / PAGE; p++) {
		if (last == WHY_SMRAM) {
			m->smram_told[p] = true;
			continue;
		}
		if (type == AGENT_ARMED)
			assert_false(m->told[p]);
		m->told[p] = type == AGENT_ARMED;
	}
}

static const struct slots_ops model_ops = {
	.set = model_set,
	.pause = model_pause,
	.resume = model_resume,
	.report = model_report,
};

static const struct model_slot *model_at(u32 as, u64 gpa)
{
	for (u32 i = 0; i < KVM_SLOTS; i++) {
		const struct model_slot *s = &kvm.slot[as][i];

		if (s->used && gpa >= s->gpa && gpa - s->gpa < s->size)
			return s;
	}
	return NULL;
}

static u32 model_count(void)
{
	u32 n = 0;

	for (u32 as = 0; as < 2; as++)
		for (u32 i = 0; i < KVM_SLOTS; i++)
			n += kvm.slot[as][i].used;
	return n;
}

static void start(const struct agent_range *range, u32 n, bool armed)
{
	memset(&table, 0, sizeof(table));
	memset(&kvm, 0, sizeof(kvm));
	slots_init(&table, &model_ops, &kvm, KVM_SLOTS, range, n);
	if (armed)
		assert_int_equal(slots_arm(&table), 0);
}

static int set(u32 id, u32 flags, u64 page, u64 npages)
{
	return slots_set(&table, id, flags, page * PAGE, npages * PAGE, HVA + page * PAGE);
}

/* The page maps where the VMM wants it, and is read-only or not. */
static void expect_page(u32 as, u64 page, bool readonly)
{
	const struct model_slot *s = model_at(as, page * PAGE);

	assert_non_null(s);
	assert_int_equal(s->hva + (page * PAGE - s->gpa), HVA + page * PAGE);
	assert_int_equal(!!(s->flags & KVM_MEM_READONLY), readonly);
	if (as == 0)
		assert_int_equal(kvm.told[page], readonly);
}

static void expect_pages(u32 as, u64 from, u64 to, bool readonly)
{
	for (u64 p = from; p < to; p++)
		expect_page(as, p, readonly);
}

static const struct agent_range middle = {10 * PAGE, 20 * PAGE};
static const struct agent_range three[] = {
	{0, 1 * PAGE}, {10 * PAGE, 12 * PAGE}, {99 * PAGE, 100 * PAGE}};

static void untouched_slot_stays_whole(void **state)
{
	(void)state;
	start(&middle, 1, true);
	assert_int_equal(set(0, 0, 20, 30), 0);
	assert_int_equal(model_count(), 1);
	assert_true(kvm.slot[0][0].used);
	assert_int_equal(kvm.armed + kvm.split, 0);
}

static void split_in_the_middle(void **state)
{
	(void)state;
	start(&middle, 1, true);
	assert_int_equal(set(3, KVM_MEM_LOG_DIRTY_PAGES, 0, 100), 0);
	assert_int_equal(model_count(), 3);
	assert_int_equal(kvm.slot[0][3].gpa, 0);
	assert_int_equal(kvm.slot[0][3].size, 10 * PAGE);
	expect_pages(0, 0, 10, false);
	expect_pages(0, 10, 20, true);
	expect_pages(0, 20, 100, false);
	assert_int_equal(kvm.armed, 1);
	assert_int_equal(kvm.split, 1);
	assert_int_equal(kvm.pauses, 1); /* no store comes before the report */
}

static void split_at_both_ends(void **state)
{
	(void)state;
	start(three, 3, true);
	assert_int_equal(set(0, 0, 0, 100), 0);
	assert_int_equal(model_count(), 5);
	expect_page(0, 0, true);
	expect_pages(0, 1, 10, false);
	expect_pages(0, 10, 12, true);
	expect_pages(0, 12, 99, false);
	expect_page(0, 99, true);
}

static void range_over_two_slots(void **state)
{
	(void)state;
	start(&middle, 1, true);
	assert_int_equal(set(0, 0, 0, 15), 0);
	assert_int_equal(set(1, 0, 15, 15), 0);
	expect_pages(0, 10, 20, true);
	assert_int_equal(kvm.armed, 2);
}

static void delete_takes_all_pieces(void **state)
{
	(void)state;
	start(&middle, 1, true);
	for (int i = 0; i < 1000; i++) { /* and gives their ids back */
		assert_int_equal(set(7, 0, 0, 100), 0);
		assert_int_equal(set(7, 0, 0, 0), 0);
		assert_int_equal(model_count(), 0);
	}
	assert_int_equal(kvm.opened[WHY_NO_RAM], 1000);
	assert_int_equal(set(7, 0, 0, 0), -EINVAL);
}

static void rom_is_never_split(void **state)
{
	(void)state;
	start(&middle, 1, true);
	assert_int_equal(set(0, KVM_MEM_READONLY, 0, 100), 0);
	assert_int_equal(model_count(), 1);
	assert_int_equal(kvm.armed, 0);
}

static void flags_reach_every_piece(void **state)
{
	(void)state;
	start(&middle, 1, true);
	set(0, 0, 0, 100);
	assert_int_equal(set(0, KVM_MEM_LOG_DIRTY_PAGES, 0, 100), 0);
	for (u64 p = 0; p < 100; p++)
		assert_true(model_at(0, p * PAGE)->flags & KVM_MEM_LOG_DIRTY_PAGES);
	expect_pages(0, 10, 20, true);
	kvm.fail_in = 2; /* halfway: back to what it was */
	assert_int_equal(set(0, 0, 0, 100), -ENOMEM);
	for (u64 p = 0; p < 100; p++)
		assert_true(model_at(0, p * PAGE)->flags & KVM_MEM_LOG_DIRTY_PAGES);
	assert_int_equal(kvm.pauses, 1); /* when it was made, not since */
}

static void illegal_changes_are_refused(void **state)
{
	(void)state;
	start(&middle, 1, true);
	set(0, 0, 0, 100);
	assert_int_equal(set(0, 0, 0, 50), -EINVAL);
	assert_int_equal(set(0, KVM_MEM_READONLY, 0, 100), -EINVAL);
	assert_int_equal(slots_set(&table, 0, 0, 0, 100 * PAGE, HVA + PAGE), -EINVAL);
	assert_int_equal(set(1, 0, 50, 10), -EEXIST);
	assert_int_equal(set(1, 0, 5, 10), -EEXIST); /* in pieces: none of them stays */
	assert_int_equal(model_count(), 3);
	expect_pages(0, 10, 20, true);
}

static void slot_moves(void **state)
{
	(void)state;
	start(&middle, 1, true);
	assert_int_equal(slots_set(&table, 0, 0, 100 * PAGE, 50 * PAGE, HVA), 0);
	assert_int_equal(slots_set(&table, 0, 0, 0, 50 * PAGE, HVA), 0);
	expect_pages(0, 10, 20, true);
	expect_pages(0, 20, 50, false);
	assert_null(model_at(0, 100 * PAGE));
	assert_int_equal(kvm.pauses, 1);
}

static void arm_and_disarm_live(void **state)
{
	(void)state;
	start(three, 3, false);
	set(0, KVM_MEM_LOG_DIRTY_PAGES, 0, 100);
	assert_int_equal(model_count(), 1);
	assert_int_equal(slots_arm(&table), 0);
	assert_int_equal(kvm.pauses, 1);
	expect_pages(0, 10, 12, true);
	assert_true(slots_find(&table, 0)->all_dirty);
	assert_int_equal(slots_open(&table, 0, ~0ull, WHY_ENDED), 0);
	assert_int_equal(model_count(), 1);
	expect_pages(0, 0, 100, false);
	assert_int_equal(kvm.opened[WHY_ENDED], 3);
	assert_int_equal(set(0, 0, 0, 0), 0);
	assert_int_equal(set(0, 0, 0, 100), 0); /* and it stays so */
	expect_pages(0, 0, 100, false);
	assert_int_equal(kvm.paused, 0);
}

static void open_keeps_its_neighbours(void **state)
{
	(void)state;
	start(&middle, 1, true);
	set(0, 0, 0, 100);
	assert_int_equal(slots_open(&table, 15 * PAGE + 1, 15 * PAGE + 2, WHY_PAGE_TABLE), 0);
	expect_pages(0, 10, 15, true);
	expect_page(0, 15, false);
	expect_pages(0, 16, 20, true);
	assert_int_equal(kvm.armed, 1); /* the neighbours never were anything else */
	assert_int_equal(kvm.opened[WHY_PAGE_TABLE], 1);
	slots_open(&table, 15 * PAGE, 16 * PAGE, WHY_PAGE_TABLE);
	assert_int_equal(kvm.opened[WHY_PAGE_TABLE], 1);
}

static void busy_vcpu_leaves_all_as_it_is(void **state)
{
	(void)state;
	start(&middle, 1, false);
	set(0, 0, 0, 100);
	kvm.refuse_pause = 1;
	assert_int_equal(slots_arm(&table), -ETIMEDOUT);
	expect_pages(0, 0, 100, false);
	kvm.refuse_pause = 0;
	assert_int_equal(slots_sync(&table), 0);
	expect_pages(0, 10, 20, true);
}

static void failure_halfway_rolls_back(void **state)
{
	(void)state;
	for (u32 n = 1; n <= 5; n++) {
		start(three, 3, true);
		kvm.fail_in = n;
		assert_int_equal(set(0, 0, 0, 100), 0);
		assert_int_equal(model_count(), 1);
		expect_pages(0, 0, 100, false);
		assert_int_equal(kvm.opened[WHY_NOT_WATCHED], 3);
		assert_int_equal(set(0, 0, 0, 0), 0);
		assert_int_equal(model_count(), 0);
	}
}

static void failure_on_a_live_slot_rolls_back(void **state)
{
	(void)state;
	for (u32 n = 2; n <= 6; n++) { /* the first call deletes, and is tried again */
		start(three, 3, false);
		set(0, 0, 0, 100);
		kvm.fail_in = n;
		slots_arm(&table);
		assert_int_equal(model_count(), 1);
		expect_pages(0, 0, 100, false);
		assert_int_equal(kvm.opened[WHY_NOT_WATCHED], 3);
		assert_int_equal(kvm.paused, 0);
	}
}

static void too_many_pieces(void **state)
{
	static struct agent_range many[AGENT_RANGES];

	(void)state;
	for (u64 i = 0; i < AGENT_RANGES; i++)
		many[i] = (struct agent_range){i * 3 * PAGE, (i * 3 + 2) * PAGE};
	start(many, AGENT_RANGES, true);
	table.reserved_n = 20;
	assert_int_equal(set(0, 0, 0, PAGES), 0);
	assert_int_equal(model_count(), 1);
	expect_pages(0, 0, PAGES, false);
	assert_int_equal(kvm.opened[WHY_NOT_WATCHED], AGENT_RANGES);
}

static void smm_sees_the_same_memory(void **state)
{
	(void)state;
	start(&middle, 1, true);
	set(0, 0, 0, 100);
	set(0x10000, 0, 0, 100);
	expect_pages(1, 10, 20, true);
	expect_pages(1, 0, 10, false);
	assert_int_equal(kvm.opened[WHY_SMRAM], 0);
	assert_int_equal(kvm.armed, 1); /* told of the main address space alone */
	slots_open(&table, 12 * PAGE, 13 * PAGE, WHY_KVM_WRITES);
	expect_page(1, 12, false);
	expect_page(1, 13, true);
}

static void smram_stays_writable(void **state)
{
	(void)state;
	start(&middle, 1, true);
	set(0, 0, 0, 15);
	/* The same up to page 12, other memory from there on. */
	assert_int_equal(set(0x10000, 0, 0, 12), 0);
	assert_int_equal(slots_set(&table, 0x10001, 0, 12 * PAGE, 20 * PAGE, HVA + 500 * PAGE), 0);
	expect_pages(1, 10, 12, true);
	assert_false(model_at(1, 12 * PAGE)->flags & KVM_MEM_READONLY);
	assert_int_equal(kvm.opened[WHY_SMRAM], 1);
	assert_true(kvm.smram_told[12]);
	set(0x10001, 0, 0, 0);
	slots_set(&table, 0x10001, 0, 12 * PAGE, 20 * PAGE, HVA + 500 * PAGE);
	assert_int_equal(kvm.opened[WHY_SMRAM], 1); /* once */
}

static void smm_follows_the_main_space(void **state)
{
	(void)state;
	start(&middle, 1, true);
	set(0, 0, 0, 100);
	set(0x10000, 0, 0, 100);
	set(0, 0, 0, 0);
	set(0x10000, 0, 0, 0);
	set(0x10000, 0, 0, 100);
	expect_page(1, 15, false);
	set(0, 0, 0, 100);
	expect_page(1, 15, true);
}

static void armed_hva(void **state)
{
	struct slot *s = NULL;

	(void)state;
	start(&middle, 1, true);
	set(0, 0, 0, 100);
	assert_int_equal(slots_armed_hva(&table, 10 * PAGE + 5, 8, &s), HVA + 10 * PAGE + 5);
	assert_ptr_equal(s, slots_find(&table, 0));
	assert_int_equal(slots_armed_hva(&table, 20 * PAGE - 8, 8, NULL), HVA + 20 * PAGE - 8);
	assert_int_equal(slots_armed_hva(&table, 20 * PAGE - 4, 8, NULL), 0);
	assert_int_equal(slots_armed_hva(&table, 20 * PAGE, 1, NULL), 0);
	assert_int_equal(slots_armed_hva(&table, 10 * PAGE, ~0ull, NULL), 0);
	assert_int_equal(slots_armed_hva(&table, ~0ull, 2, NULL), 0);
}

static void odd_calls_pass_through(void **state)
{
	(void)state;
	start(&middle, 1, true);
	assert_int_equal(slots_set(&table, 0x20000, 0, 0, PAGE, HVA), -EINVAL);
	assert_int_equal(slots_set(&table, KVM_SLOTS, 0, 0, PAGE, HVA), -EINVAL);
	assert_int_equal(slots_set(&table, SLOTS_TRACKED, 0, 0, PAGE, HVA), -EINVAL);
	assert_int_equal(slots_set(&table, 0, 0, ~0ull << 12, 2 * PAGE, HVA), 0);
	assert_int_equal(slots_answer(KVM_SLOTS), KVM_SLOTS - KVM_SLOTS / 2);
	assert_int_equal(slots_answer(32764), 32764 - SLOTS_RESERVED);
}

/* --- at random --- */

static u32 seed;

static u32 dice(u32 n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* Everything that must hold between KVM, the VMM's view and the reports, page by page. */
static void expect_consistent(void)
{
	u32 pieces = 0;

	for (u32 as = 0; as < 2; as++) {
		for (u32 id = 0; id < 8; id++) {
			const struct slot *s = slots_find(&table, as << 16 | id);
			struct piece whole;
			u32 n;

			if (!s)
				continue;
			slots_pieces(&table, s, as << 16 | id, &whole, &n);
			pieces += n;
			for (u64 gpa = s->gpa; gpa < s->gpa + s->size; gpa += PAGE) {
				const struct model_slot *m = model_at(as, gpa);

				assert_non_null(m);
				assert_int_equal(m->hva - m->gpa, s->hva - s->gpa);
				assert_int_equal((m->flags ^ s->flags) & KVM_MEM_LOG_DIRTY_PAGES,
						 0);
			}
		}
	}
	assert_int_equal(pieces, model_count());
	for (u64 p = 0; p < PAGES; p++) {
		const struct model_slot *m = model_at(0, p * PAGE);
		bool rom = false, ro = m && m->flags & KVM_MEM_READONLY;

		for (u32 id = 0; id < 8; id++) {
			const struct slot *s = slots_find(&table, id);

			if (s && p * PAGE >= s->gpa && p * PAGE < s->gpa + s->size)
				rom = s->flags & KVM_MEM_READONLY;
		}
		assert_int_equal(kvm.told[p], ro && !rom);
		assert_int_equal(ro && !rom, m && !rom && table.armed &&
						     slots_watched(&table, p * PAGE, p * PAGE + 1));
	}
	assert_int_equal(kvm.paused, 0);
}

static void random_step(void)
{
	u32 id = dice(8) | (dice(4) ? 0 : 0x10000);
	struct slot *s = slots_find(&table, id);
	u64 gpa = dice(PAGES - 40), size = 1 + dice(40);
	u32 flags = dice(2) | (dice(8) ? 0 : KVM_MEM_READONLY);

	if (!dice(10))
		kvm.fail_in = 1 + dice(6);
	switch (dice(8)) {
	case 0:
		if (!dice(6))
			slots_open(&table, gpa * PAGE, (gpa + 1 + dice(2)) * PAGE, WHY_PAGE_TABLE);
		break;
	case 1:
		slots_arm(&table);
		break;
	case 2:
		if (s)
			slots_set(&table, id, s->flags ^ KVM_MEM_LOG_DIRTY_PAGES, s->gpa, s->size,
				  s->hva);
		break;
	case 3:
		if (s)
			slots_set(&table, id, s->flags, gpa * PAGE, s->size, s->hva);
		break;
	default:
		if (s)
			set(id, 0, 0, 0);
		else
			slots_set(&table, id, flags, gpa * PAGE, size * PAGE,
				  HVA + (gpa + (dice(4) ? 0 : 1000)) * PAGE);
	}
	kvm.fail_in = 0;
}

static void random_steps(void **state)
{
	(void)state;
	for (u32 round = 0; round < 300; round++) {
		static const struct agent_range ranges[] = {{8 * PAGE, 9 * PAGE},
							    {50 * PAGE, 90 * PAGE},
							    {100 * PAGE, 103 * PAGE},
							    {160 * PAGE, 256 * PAGE}};

		seed = round;
		start(ranges, 4, dice(2));
		for (int i = 0; i < 120; i++) {
			random_step();
			expect_consistent();
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(untouched_slot_stays_whole),
		cmocka_unit_test(split_in_the_middle),
		cmocka_unit_test(split_at_both_ends),
		cmocka_unit_test(range_over_two_slots),
		cmocka_unit_test(delete_takes_all_pieces),
		cmocka_unit_test(rom_is_never_split),
		cmocka_unit_test(flags_reach_every_piece),
		cmocka_unit_test(illegal_changes_are_refused),
		cmocka_unit_test(slot_moves),
		cmocka_unit_test(arm_and_disarm_live),
		cmocka_unit_test(open_keeps_its_neighbours),
		cmocka_unit_test(busy_vcpu_leaves_all_as_it_is),
		cmocka_unit_test(failure_halfway_rolls_back),
		cmocka_unit_test(failure_on_a_live_slot_rolls_back),
		cmocka_unit_test(too_many_pieces),
		cmocka_unit_test(smm_sees_the_same_memory),
		cmocka_unit_test(smram_stays_writable),
		cmocka_unit_test(smm_follows_the_main_space),
		cmocka_unit_test(armed_hva),
		cmocka_unit_test(odd_calls_pass_through),
		cmocka_unit_test(random_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
