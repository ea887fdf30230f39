// SPDX-License-Identifier: GPL-2.0-or-later
/* trigger.c: what --from and --until take, and what pulls them. */
#include "user/trigger.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool console(struct trigger *t, u16 port, const char *text)
{
	bool hit = false;

	for (; *text; text++) {
		struct event_pio ev = {
			.h = {.kind = EVENT_pio}, .port = port, .size = 1, .write = 1, .len = 1};

		ev.bytes[0] = (u8)*text;
		hit |= trigger_event(t, &ev.h);
	}
	return hit;
}

static void test_seconds(void **state)
{
	struct trigger t;
	char err[128];

	(void)state;
	assert_int_equal(trigger_parse(&t, "2.5", err, sizeof(err)), 0);
	assert_false(trigger_time(&t, 2499999999ull));
	assert_true(trigger_time(&t, 2500000000ull));
	assert_false(trigger_time(&t, 2600000000ull)); /* once */
	assert_int_equal(trigger_parse(&t, "3s", err, sizeof(err)), 0);
	assert_true(t.t_ns == 3000000000ull);
}

static void test_reset(void **state)
{
	struct event_reset reset = {.h = {.kind = EVENT_reset}};
	struct event_mark mark = {.h = {.kind = EVENT_mark}};
	struct trigger t;
	char err[128];

	(void)state;
	assert_int_equal(trigger_parse(&t, "reset", err, sizeof(err)), 0);
	assert_false(trigger_event(&t, &mark.h));
	assert_false(trigger_time(&t, UINT64_MAX));
	assert_true(trigger_event(&t, &reset.h));
	assert_false(trigger_event(&t, &reset.h));
}

static void test_console(void **state)
{
	struct trigger t;
	char err[128];

	(void)state;
	assert_int_equal(trigger_parse(&t, "console:pan[i]c: .*not", err, sizeof(err)), 0);
	assert_false(console(&t, 0x3f8, "panic: a\nnot"));
	assert_false(console(&t, 0x80, "panic: not"));
	assert_true(console(&t, 0x3f8, "\nKernel panic: did not"));
	trigger_free(&t);
}

/* A prompt has no end of line. */
static void test_console_prompt(void **state)
{
	struct trigger t;
	char err[128];

	(void)state;
	assert_int_equal(trigger_parse(&t, "console:^login: $", err, sizeof(err)), 0);
	assert_true(console(&t, 0x2f8, "welcome\r\nlogin: "));
	trigger_free(&t);
}

/* A guest that never ends its line does not overrun ours. */
static void test_console_long_line(void **state)
{
	struct trigger t;
	char err[128];

	(void)state;
	assert_int_equal(trigger_parse(&t, "console:needle", err, sizeof(err)), 0);
	for (int i = 0; i < 20000; i++)
		assert_false(console(&t, 0x3f8, "x"));
	assert_true(console(&t, 0x3f8, "needle"));
	trigger_free(&t);
}

/* Of what the guest does, each by its own word and no other. */
static void test_events(void **state)
{
	struct event_crash panic = {.h = {.kind = EVENT_crash}, .what = CRASH_PANIC};
	struct event_crash loaded = {.h = {.kind = EVENT_crash}, .what = CRASH_CRASHLOADED};
	struct event_crash triple = {.h = {.kind = EVENT_crash}, .what = CRASH_TRIPLE_FAULT};
	struct event_vq_error error = {.h = {.kind = EVENT_vq_error}};
	struct event_mark mark = {
		.h = {.kind = EVENT_mark}, .name_len = 4, .name = {'h', 'e', 'r', 'e'}};
	struct event_mark longer = {
		.h = {.kind = EVENT_mark}, .name_len = 5, .name = {'h', 'e', 'r', 'e', 's'}};
	const struct {
		const char *word;
		const struct event *ev;
	} rows[] = {{"panic", &panic.h},	{"panic", &loaded.h},	{"triple-fault", &triple.h},
		    {"virtio-error", &error.h}, {"mark:here", &mark.h}, {"mark:heres", &longer.h}};
	const size_t n = sizeof(rows) / sizeof(rows[0]);
	char err[128];

	(void)state;
	for (size_t i = 0; i < n; i++) {
		struct trigger t;

		assert_int_equal(trigger_parse(&t, rows[i].word, err, sizeof(err)), 0);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(trigger_again(&t, rows[k].ev),
					 !strcmp(rows[i].word, rows[k].word));
		assert_true(trigger_event(&t, rows[i].ev));
		assert_false(trigger_event(&t, rows[i].ev));
		assert_true(trigger_again(&t, rows[i].ev));
	}
}

/* A line counts once, however long it grows. */
static void test_console_again(void **state)
{
	const char *text = "a needle, a needle\nnone\nneedle\n";
	struct trigger t;
	char err[128];
	int n = 0;

	(void)state;
	assert_int_equal(trigger_parse(&t, "console:needle", err, sizeof(err)), 0);
	for (; *text; text++) {
		struct event_pio ev = {.h = {.kind = EVENT_pio},
				       .port = 0x3f8,
				       .size = 1,
				       .write = 1,
				       .len = 1,
				       .bytes = {(u8)*text}};

		n += trigger_again(&t, &ev.h);
	}
	assert_int_equal(n, 2);
	trigger_free(&t);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"",	     "x",     "1x",	"-1",	    "1e99",
					  "nan",     "inf",   "resets", "console:", "console:[",
					  "pc:0x10", "mark:", "mark:1x"};
	struct trigger t;
	char err[128];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err[0] = '\0';
		assert_int_equal(trigger_parse(&t, bad[i], err, sizeof(err)), -EINVAL);
		assert_true(err[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_console_prompt),
		cmocka_unit_test(test_console_long_line),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_console_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
