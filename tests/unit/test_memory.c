/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory at a moment: the newest thing known of each byte, and nothing that is not known. */
#include "scribe.h"

#include "formats/delta.h"
#include "replay/memory.h"

/* What [gpa, gpa + strlen(expected)) held; '?' stands for a byte that is not known. */
static void holds(struct scribe *s, u64 gpa, struct moment limit, const char *expected)
{
	const size_t len = strlen(expected);
	char text[64] = "", err[256] = "";
	bool known[64];
	u8 data[64];

	assert_true(len < sizeof(text));
	if (memory_read(s->reader, s->state, gpa, len, limit, data, known, err, sizeof(err)))
		fail_msg("%s", err);
	for (size_t i = 0; i < len; i++)
		text[i] = known[i] ? (char)data[i] : '?';
	assert_string_equal(text, expected);
}

static struct moment after(u64 seq)
{
	return (struct moment){seq * 1000, seq + 1};
}

static void newest_store_wins_byte_by_byte(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED); /* 3 */
	scribe_store(&s, 0x1002, "bbbb", MMIO_DONE_EXITED); /* 4 */
	scribe_store(&s, 0x1001, "c", MMIO_DONE_EXITED);    /* 5 */
	scribe_read(&s);
	holds(&s, 0xfff, MOMENT_END, "?acbbbb?");
	holds(&s, 0xfff, after(4), "?aabbbb?");
	holds(&s, 0xfff, after(3), "?aaaa???");
	holds(&s, 0xfff, after(2), "????????");
	scribe_end(&s);
}

static void looks_count_and_devices_too(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "........"); /* 3 */
	scribe_transfer(&s, 1, 0, 0x1002, 2);			      /* 4, 5 */
	scribe_content(&s, CONTENT_WHY_DEVICE, 1, 0x1002, "dd");      /* 6 */
	scribe_content(&s, CONTENT_WHY_DEVICE, 2, 0x1005, "ee");      /* 7: before its transfer */
	scribe_transfer(&s, 2, 0, 0x1005, 2);			      /* 8, 9 */
	scribe_read(&s);
	holds(&s, 0x1000, MOMENT_END, "..dd.ee.");
	scribe_end(&s);
}

static void a_transfer_without_bytes_hides_what_was_there(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aaaaaa", MMIO_DONE_EXITED);	/* 3 */
	scribe_content(&s, CONTENT_WHY_DEVICE, 8, 0x1000, "x"); /* 4: another request's */
	scribe_transfer(&s, 9, 0, 0x1001, 3);			/* 5, 6 */
	scribe_store(&s, 0x1002, "b", MMIO_DONE_EXITED);	/* 7 */
	scribe_read(&s);
	holds(&s, 0x1001, MOMENT_END, "?b?aa");
	scribe_end(&s);
}

static void a_loss_hides_what_was_there(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED); /* 3, at 3000 */
	scribe_loss(&s, 1, 3500, 3600, 0x1001, 0x1003, 1 << ORIGIN_VCPU);
	scribe_store(&s, 0x1002, "b", MMIO_DONE_EXITED); /* 5 */
	scribe_read(&s);
	holds(&s, 0x1000, MOMENT_END, "a?ba");
	holds(&s, 0x1000, (struct moment){3400, 0}, "aaaa");
	scribe_end(&s);
}

static void a_comparison_after_a_loss_tells_what_is_there(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED); /* 3 */
	scribe_compared(&s, 0x1000, 2, 0, 0);		    /* 4 */
	scribe_loss(&s, 1, 4500, 4600, 0x1000, 0x1004, 1 << ORIGIN_VCPU);
	scribe_compared(&s, 0x1000, 2, 4000, 0); /* 6 */
	scribe_loss(&s, 1, 6500, 6600, 0x1000, 0x1001, 1 << ORIGIN_VCPU);
	scribe_read(&s);
	holds(&s, 0x1000, after(4), "aaaa");
	holds(&s, 0x1000, after(5), "????");
	holds(&s, 0x1000, after(6), "aa??");
	holds(&s, 0x1000, MOMENT_END, "?a??");
	scribe_end(&s);
}

static void a_gap_in_the_watch_hides_what_was_there(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED);		 /* 3 */
	scribe_cover(&s, ORIGIN_VCPU, false, WHY_PAGE_TABLE, 0x1000, 2); /* 4 */
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 2);	 /* 5 */
	scribe_store(&s, 0x1001, "b", MMIO_DONE_EXITED);		 /* 6 */
	scribe_read(&s);
	holds(&s, 0x1000, MOMENT_END, "?baa");
	scribe_end(&s);
}

static void unwatched_memory_is_known_only_when_looked_at(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_content(&s, CONTENT_WHY_MARK, 0, 0x5000, "mm"); /* 3 */
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED);       /* 4 */
	scribe_content(&s, CONTENT_WHY_END, 0, 0x6000, "ee");  /* 5 */
	scribe_cover(&s, ORIGIN_VCPU, false, WHY_ENDED, 0, 0); /* 6 */
	scribe_read(&s);
	holds(&s, 0x5000, after(3), "mm");
	holds(&s, 0x5000, MOMENT_END, "??");
	holds(&s, 0x6000, MOMENT_END, "ee");
	holds(&s, 0x1000, MOMENT_END, "a");
	scribe_end(&s);
}

static void used_rings_are_not_known(void **state)
{
	struct event_vq_rings rings = {.desc = 0x1000, .avail = 0x1020, .used = 0x2000};
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	scribe_store(&s, 0x2000, "aaaa", MMIO_DONE_EXITED);
	scribe_put(&s, &rings.h, EVENT_vq_rings); /* 2 descriptors: 4 + 16 + 2 bytes */
	scribe_store(&s, 0x2014, "bbbb", MMIO_DONE_EXITED);
	scribe_read(&s);
	holds(&s, 0x2000, MOMENT_END, "????");
	holds(&s, 0x2014, MOMENT_END, "??bb");
	scribe_end(&s);
}

static void what_vhost_may_write_is_not_known(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);					     /* 1, 2 */
	scribe_store(&s, 0x2000, "aaaa", MMIO_DONE_EXITED);	     /* 3 */
	scribe_cover(&s, ORIGIN_VHOST, false, WHY_VHOST, 0, 0);	     /* 4 */
	scribe_cover(&s, ORIGIN_VHOST, false, WHY_VHOST, 0x2000, 2); /* 5 */
	scribe_store(&s, 0x2000, "b", MMIO_DONE_EXITED);	     /* 6 */
	scribe_cover(&s, ORIGIN_VHOST, true, WHY_NONE, 0, 0);	     /* 7 */
	scribe_store(&s, 0x2001, "c", MMIO_DONE_EXITED);	     /* 8 */
	scribe_read(&s);
	holds(&s, 0x2000, after(3), "aaaa");
	holds(&s, 0x2000, after(6), "b?aa"); /* at that very moment */
	holds(&s, 0x2000, MOMENT_END, "?caa");
	scribe_end(&s);
}

static void the_top_of_the_address_space(void **state)
{
	struct scribe s;
	u8 data[16];
	bool known[16];
	char err[128];

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	scribe_store(&s, UINT64_MAX - 2, "abcd", MMIO_DONE_EXITED);
	scribe_read(&s);
	holds(&s, UINT64_MAX - 4, MOMENT_END, "??ab");
	assert_true(memory_read(s.reader, s.state, UINT64_MAX - 4, 16, MOMENT_END, data, known, err,
				sizeof(err)) < 0);
	scribe_end(&s);
}

static void version(struct scribe *s, u64 gpa, u32 off, const char *was, const char *now, u64 t0_ns)
{
	struct event_version ev = {.gpa = gpa, .t0_ns = t0_ns, .how = VERSION_HOW_LOG};
	u8 pages[2][DELTA_PAGE] = {0};

	memcpy(pages[0] + off, was, strlen(was));
	memcpy(pages[1] + off, now, strlen(now));
	ev.len = (u16)delta_make(pages[0], pages[1], ev.data);
	ev.sum = delta_sum(pages[1]);
	scribe_put(s, &ev.h, EVENT_version);
}

/* As holds(), of memory that was found changed. */
static void shows(struct scribe *s, u64 gpa, struct moment limit, const char *expected)
{
	const size_t len = strlen(expected);
	char text[64] = "", err[256] = "";
	bool known[64];
	u8 data[64];

	assert_int_equal(
		memory_show(s->reader, s->state, gpa, len, limit, data, known, err, sizeof(err)),
		0);
	for (size_t i = 0; i < len; i++)
		text[i] = known[i] ? (char)data[i] : '?';
	assert_string_equal(text, expected);
}

/* A change has a window: within it a byte may have been the one or the other. */
static void what_changes_in_a_window_is_not_known_there(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0x10000);
	scribe_cover(&s, ORIGIN_KVM, true, WHY_NONE, 0, 0x10000);
	scribe_compared(&s, 0, 0x10000, 0, 0);		       /* 4 */
	version(&s, 0x1000, 4, "\0\0\0\0", "abcd", 4000);      /* 5 */
	scribe_put(&s, &(struct event_mark){0}.h, EVENT_mark); /* 6 */
	version(&s, 0x1000, 4, "abcd", "abxd", 4500); /* 7: since the copy before was begun */
	scribe_compared(&s, 0, 0x10000, 0, 0);	      /* 8 */
	version(&s, 0x1000, 4, "abxd", "ABxd", 8000); /* 9: since the comparison */
	scribe_compared(&s, 0, 0x10000, 0, 0);	      /* 10 */
	scribe_read(&s);
	shows(&s, 0x1004, (struct moment){4600, 5}, "????");
	shows(&s, 0x1004, after(5), "ab?d");
	shows(&s, 0x1004, after(6), "ab?d");
	shows(&s, 0x1004, after(7), "abxd");
	shows(&s, 0x1004, (struct moment){8000, 9}, "abxd"); /* the moment of the comparison */
	shows(&s, 0x1004, (struct moment){8500, 9}, "??xd");
	shows(&s, 0x1004, MOMENT_END, "ABxd");
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(newest_store_wins_byte_by_byte),
		cmocka_unit_test(looks_count_and_devices_too),
		cmocka_unit_test(a_transfer_without_bytes_hides_what_was_there),
		cmocka_unit_test(a_loss_hides_what_was_there),
		cmocka_unit_test(a_comparison_after_a_loss_tells_what_is_there),
		cmocka_unit_test(a_gap_in_the_watch_hides_what_was_there),
		cmocka_unit_test(unwatched_memory_is_known_only_when_looked_at),
		cmocka_unit_test(used_rings_are_not_known),
		cmocka_unit_test(what_vhost_may_write_is_not_known),
		cmocka_unit_test(the_top_of_the_address_space),
		cmocka_unit_test(what_changes_in_a_window_is_not_known_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
