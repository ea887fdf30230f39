/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Coverage: what was observed where and when, and what losses put in doubt. */
#include "scribe.h"

#include "replay/coverage.h"

static void add(struct coverage *c, u64 t, enum origin origin, bool on, enum why why, u64 gpa,
		u64 size)
{
	const struct event_cover ev = {
		.h = {.t_ns = t}, .origin = origin, .on = on, .why = why, .gpa = gpa, .size = size};

	assert_int_equal(coverage_add(c, &ev, t), 0);
}

static void add_loss(struct coverage *c, u64 count, u64 t0, u64 t1, u64 gpa, u64 end, u16 origins)
{
	const struct event_lost ev = {.h = {.t_ns = t1 + 100},
				      .count = count,
				      .t0_ns = t0,
				      .t1_ns = t1,
				      .gpa = gpa,
				      .gpa_end = end,
				      .origins = origins};

	assert_int_equal(coverage_add_loss(c, &ev, t1 + 100), 0);
}

static struct moment at(u64 t)
{
	return (struct moment){t, UINT64_MAX};
}

static void nothing_is_observed_by_default(void **state)
{
	struct coverage c = {0};

	(void)state;
	assert_false(coverage_on(&c, ORIGIN_VCPU, 0, 16, MOMENT_END));
	assert_int_equal(coverage_horizon(&c, ORIGIN_VCPU, 0, MOMENT_END).why, WHY_NOT_WATCHED);
	assert_int_equal(coverage_horizon(&c, ORIGIN_VIRTQUEUE, 0, MOMENT_END).why, WHY_NO_PROBE);
	assert_false(coverage_horizon(&c, ORIGIN_VCPU, 0, MOMENT_END).on);
}

static void edges_of_a_range_are_half_open(void **state)
{
	struct coverage c = {0};

	(void)state;
	add(&c, 10, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	coverage_sort(&c);
	assert_false(coverage_on(&c, ORIGIN_VCPU, 0xff8, 0x1000, at(20)));
	assert_true(coverage_on(&c, ORIGIN_VCPU, 0xff9, 0x1001, at(20)));
	assert_true(coverage_on(&c, ORIGIN_VCPU, 0x1fff, 0x2000, at(20)));
	assert_false(coverage_on(&c, ORIGIN_VCPU, 0x2000, 0x2001, at(20)));
	assert_false(coverage_on(&c, ORIGIN_VCPU, 0x1000, 0x1001, at(9)));
	assert_false(coverage_on(&c, ORIGIN_VIRTQUEUE, 0x1000, 0x1001, at(20)));
	coverage_free(&c);
}

static void a_hole_leaves_both_sides(void **state)
{
	struct coverage c = {0};

	(void)state;
	add(&c, 1, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	add(&c, 2, ORIGIN_VCPU, false, WHY_PAGE_TABLE, 0x1004, 4);
	coverage_sort(&c);
	assert_true(coverage_on(&c, ORIGIN_VCPU, 0x1000, 0x100c, at(3)));
	assert_false(coverage_on(&c, ORIGIN_VCPU, 0x1004, 0x1008, at(3)));
	assert_true(coverage_on(&c, ORIGIN_VCPU, 0x1004, 0x1009, at(3)));
	assert_int_equal(coverage_horizon(&c, ORIGIN_VCPU, 0x1005, at(3)).why, WHY_PAGE_TABLE);
	coverage_free(&c);
}

static void order_of_addition_does_not_matter(void **state)
{
	struct coverage c = {0};

	(void)state;
	add(&c, 30, ORIGIN_VCPU, false, WHY_STALLED, 0, 0);
	add(&c, 10, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	coverage_sort(&c);
	assert_true(coverage_on(&c, ORIGIN_VCPU, 0, 1, at(29)));
	assert_false(coverage_on(&c, ORIGIN_VCPU, 0, 1, at(30)));
	coverage_free(&c);
}

static void horizon_reaches_back_to_the_gap(void **state)
{
	struct coverage c = {0};

	(void)state;
	add(&c, 10, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	add(&c, 20, ORIGIN_VCPU, false, WHY_PAGE_TABLE, 0x1000, 0x1000);
	add(&c, 30, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	add(&c, 40, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	coverage_sort(&c);

	struct horizon h = coverage_horizon(&c, ORIGIN_VCPU, 0x1800, MOMENT_END);
	assert_true(h.on);
	assert_false(h.first);
	assert_int_equal(h.since.t_ns, 30);
	assert_int_equal(h.why, WHY_PAGE_TABLE);

	h = coverage_horizon(&c, ORIGIN_VCPU, 0x1800, at(25));
	assert_false(h.on);
	assert_int_equal(h.off.t_ns, 20);

	h = coverage_horizon(&c, ORIGIN_VCPU, 0x1800, at(15));
	assert_true(h.on && h.first);
	assert_int_equal(h.since.t_ns, 10);
	coverage_free(&c);
}

static void the_end_of_the_recording_is_no_gap(void **state)
{
	struct coverage c = {0};

	(void)state;
	add(&c, 10, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	add(&c, 50, ORIGIN_VCPU, false, WHY_ENDED, 0, 0);
	coverage_sort(&c);
	assert_true(coverage_horizon(&c, ORIGIN_VCPU, 7, MOMENT_END).on);
	assert_false(coverage_horizon(&c, ORIGIN_VCPU, 7, at(60)).on);
	assert_int_equal(coverage_horizon(&c, ORIGIN_VCPU, 7, at(60)).why, WHY_ENDED);
	coverage_free(&c);
}

static void memory_that_leaves_and_comes_back_is_no_gap(void **state)
{
	struct coverage c = {0};

	(void)state;
	add(&c, 10, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	add(&c, 20, ORIGIN_VCPU, false, WHY_NO_RAM, 0, 0);
	coverage_sort(&c);
	assert_false(coverage_horizon(&c, ORIGIN_VCPU, 7, MOMENT_END).on);
	assert_int_equal(coverage_horizon(&c, ORIGIN_VCPU, 7, MOMENT_END).why, WHY_NO_RAM);
	add(&c, 30, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	coverage_sort(&c);
	assert_true(coverage_horizon(&c, ORIGIN_VCPU, 7, MOMENT_END).on);
	assert_int_equal(coverage_horizon(&c, ORIGIN_VCPU, 7, MOMENT_END).since.t_ns, 10);
	coverage_free(&c);
}

static void losses_count_where_the_class_was_observed(void **state)
{
	struct coverage c = {0};
	struct losses l;

	(void)state;
	add(&c, 10, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	add_loss(&c, 7, 20, 30, 0, 0, 1 << ORIGIN_VCPU);
	coverage_sort(&c);
	coverage_losses(&c, 0x1000, MOMENT_START, MOMENT_END, &l);
	assert_int_equal(l.count, 7);
	assert_int_equal(l.origins, 1 << ORIGIN_VCPU);
	coverage_losses(&c, 0x2000, MOMENT_START, MOMENT_END, &l);
	assert_int_equal(l.count, 0);
	coverage_losses(&c, 0x1000, (struct moment){31, 0}, MOMENT_END, &l);
	assert_int_equal(l.count, 0);
	coverage_losses(&c, 0x1000, (struct moment){30, 0}, MOMENT_END, &l);
	assert_int_equal(l.count, 7);
	coverage_losses(&c, 0x1000, MOMENT_START, (struct moment){19, 0}, &l);
	assert_int_equal(l.count, 0);
	coverage_free(&c);
}

static void losses_keep_to_their_addresses(void **state)
{
	struct coverage c = {0};
	struct losses l;

	(void)state;
	add(&c, 1, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	add_loss(&c, 3, 20, 30, 0x1000, 0x1100, 1 << ORIGIN_VCPU);
	add_loss(&c, 4, 40, 50, 0x1000, 0x1001, 1 << ORIGIN_VCPU);
	coverage_sort(&c);
	coverage_losses(&c, 0xfff, MOMENT_START, MOMENT_END, &l);
	assert_int_equal(l.count, 0);
	coverage_losses(&c, 0x1000, MOMENT_START, MOMENT_END, &l);
	assert_int_equal(l.count, 7);
	assert_int_equal(l.t0_ns, 20);
	assert_int_equal(l.t1_ns, 50);
	coverage_losses(&c, 0x10ff, MOMENT_START, MOMENT_END, &l);
	assert_int_equal(l.count, 3);
	coverage_losses(&c, 0x1100, MOMENT_START, MOMENT_END, &l);
	assert_int_equal(l.count, 0);
	coverage_free(&c);
}

static void a_senseless_span_is_widened(void **state)
{
	struct coverage c = {0};
	struct losses l;

	(void)state;
	add(&c, 1, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	add_loss(&c, 1, 50, 40, 0x2000, 0x1000, 0);
	coverage_sort(&c);
	coverage_losses(&c, 0x99999, MOMENT_START, MOMENT_END, &l);
	assert_int_equal(l.count, 1);
	coverage_free(&c);
}

static void blind(const struct coverage *c, u64 from, u64 limit, enum blind_level level,
		  enum why why)
{
	const struct blind b =
		coverage_blind(c, ORIGIN_VHOST, 0x1800, (struct moment){from, UINT64_MAX},
			       (struct moment){limit, UINT64_MAX});

	assert_int_equal(b.level, level);
	if (level)
		assert_int_equal(b.why, why);
}

static void vhost_may_write_or_does(void **state)
{
	struct coverage c = {0};

	(void)state;
	blind(&c, 0, 99, BLIND_NOT, WHY_NONE); /* nothing is said of it */
	add(&c, 1, ORIGIN_VHOST, true, WHY_NONE, 0, 0);
	add(&c, 10, ORIGIN_VHOST, false, WHY_VHOST, 0, 0);
	add(&c, 20, ORIGIN_VHOST, false, WHY_VHOST, 0x1000, 0x1000);
	add(&c, 25, ORIGIN_VHOST, false, WHY_VHOST_USER, 0, 0); /* takes nothing back */
	add(&c, 30, ORIGIN_VHOST, true, WHY_NONE, 0, 0);
	add(&c, 40, ORIGIN_VHOST, false, WHY_NO_PROBE, 0, 0);
	coverage_sort(&c);
	blind(&c, 2, 5, BLIND_NOT, WHY_NONE);
	blind(&c, 2, 15, BLIND_MAYBE, WHY_VHOST);
	blind(&c, 2, 22, BLIND_HERE, WHY_VHOST);
	blind(&c, 2, 35, BLIND_HERE, WHY_VHOST);  /* it was, in between */
	blind(&c, 26, 35, BLIND_HERE, WHY_VHOST); /* and when the time begins */
	blind(&c, 31, 35, BLIND_NOT, WHY_NONE);
	blind(&c, 31, 99, BLIND_HERE, WHY_NO_PROBE);
	const struct blind b = coverage_blind(&c, ORIGIN_VHOST, 0x1800, MOMENT_START,
					      (struct moment){35, UINT64_MAX});
	assert_int_equal(b.since.t_ns, 20);
	assert_int_equal(b.until.t_ns, 30);
	assert_int_equal(coverage_blind(&c, ORIGIN_VHOST, 0x2000, MOMENT_START,
					(struct moment){35, UINT64_MAX})
				 .level,
			 BLIND_MAYBE);
	coverage_free(&c);
}

static void a_clip_keeps_what_touches(void **state)
{
	struct coverage c = {0}, part;

	(void)state;
	add(&c, 1, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	add(&c, 2, ORIGIN_VCPU, true, WHY_NONE, 0x3000, 0x1000);
	add_loss(&c, 1, 3, 4, 0x1800, 0x1900, 2);
	coverage_sort(&c);
	assert_int_equal(coverage_clip(&c, 0x1fff, 0x3000, &part), 0);
	assert_int_equal(part.ncovers, 1);
	assert_int_equal(part.nlosses, 0);
	coverage_free(&part);
	coverage_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_observed_by_default),
		cmocka_unit_test(edges_of_a_range_are_half_open),
		cmocka_unit_test(a_hole_leaves_both_sides),
		cmocka_unit_test(order_of_addition_does_not_matter),
		cmocka_unit_test(horizon_reaches_back_to_the_gap),
		cmocka_unit_test(the_end_of_the_recording_is_no_gap),
		cmocka_unit_test(memory_that_leaves_and_comes_back_is_no_gap),
		cmocka_unit_test(losses_count_where_the_class_was_observed),
		cmocka_unit_test(losses_keep_to_their_addresses),
		cmocka_unit_test(a_senseless_span_is_widened),
		cmocka_unit_test(vhost_may_write_or_does),
		cmocka_unit_test(a_clip_keeps_what_touches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
