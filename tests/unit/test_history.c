/* SPDX-License-Identifier: GPL-2.0-or-later */
/* History: every write in order, with what it replaced, and what was not seen in between. */
#include "scribe.h"

#include "replay/history.h"

struct text {
	char buf[2048];
	size_t used;
	unsigned items;
};

static int take(void *arg, const struct history_item *item)
{
	struct text *t = arg;
	const int len = (int)(item->end - item->gpa);
	char *at = t->buf + t->used;
	const size_t room = sizeof(t->buf) - t->used;

	t->items++;
	if (t->items > 64)
		return 0;
	if (item->event)
		t->used += (size_t)snprintf(at, room, "%s@%llu; ",
					    item->event->kind == EVENT_lost ? "lost" : "cover",
					    (unsigned long long)item->seq);
	else
		t->used += (size_t)snprintf(
			at, room, "#%llu %llx %.*s<%.*s; ", (unsigned long long)item->write->at.seq,
			(unsigned long long)item->gpa, item->bytes ? len : 1,
			item->bytes ? (const char *)item->bytes : "?", item->old ? len : 1,
			item->old ? (const char *)item->old : "?");
	assert_true(t->used < sizeof(t->buf));
	return 0;
}

static void tells(struct scribe *s, u64 gpa, u64 end, struct moment from, struct moment limit,
		  const char *expected)
{
	const struct history h = {gpa, end, from, limit};
	struct text t = {.used = 0};
	char err[256] = "";

	if (history_run(s->reader, s->state, &h, take, &t, err, sizeof(err)))
		fail_msg("%s", err);
	assert_string_equal(t.buf, expected);
}

static void writes_in_order_with_what_they_replaced(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);			    /* 1, 2 */
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "......"); /* 3 */
	scribe_store(&s, 0x1000, "aa", MMIO_DONE_EXITED);	    /* 4 */
	scribe_store(&s, 0x1001, "bb", MMIO_DONE_EXITED);	    /* 5 */
	scribe_transfer(&s, 1, 0, 0x1002, 2);			    /* 6, 7 */
	scribe_content(&s, CONTENT_WHY_DEVICE, 1, 0x1002, "dd");    /* 8 */
	scribe_store(&s, 0x1003, "c", MMIO_DONE_EXITED);	    /* 9 */
	scribe_read(&s);
	tells(&s, 0x1000, 0x1006, MOMENT_START, MOMENT_END,
	      "cover@1; cover@2; #4 1000 aa<..; #5 1001 bb<a.; #7 1002 dd<b.; #9 1003 c<d; ");
	tells(&s, 0x1000, 0x1001, (struct moment){4000, 0}, MOMENT_END, "#4 1000 a<.; ");
	tells(&s, 0x1003, 0x1006, (struct moment){5000, 0}, (struct moment){8000, 0},
	      "#7 1003 d<.; ");
	scribe_end(&s);
}

static void doubt_ends_what_is_known(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);				  /* 1, 2 */
	scribe_store(&s, 0x1000, "aa", MMIO_DONE_EXITED);		  /* 3 */
	scribe_store(&s, 0x1000, "bb", MMIO_DONE_EXITED);		  /* 4 at 4000 */
	scribe_store(&s, 0x1001, "c", MMIO_DONE_EXITED);		  /* 5 at 5000 */
	scribe_loss(&s, 1, 4200, 4300, 0x1000, 0x1004, 1 << ORIGIN_VCPU); /* 6 */
	scribe_store(&s, 0x1001, "d", MMIO_DONE_EXITED);		  /* 7 */
	scribe_transfer(&s, 1, 0, 0x1001, 1);				  /* 8, 9: no bytes */
	scribe_store(&s, 0x1001, "e", MMIO_DONE_EXITED);		  /* 10 */
	scribe_read(&s);
	tells(&s, 0x1000, 0x1004, (struct moment){3000, 0}, MOMENT_END,
	      "#3 1000 aa<?; #4 1000 bb<aa; lost@6; #5 1001 c<?; #7 1001 d<c; #9 1001 ?<d; "
	      "#10 1001 e<?; ");
	scribe_end(&s);
}

static void many_writes_pass_the_queue(void **state)
{
	const struct history h = {0x1000, 0x1001, MOMENT_START, MOMENT_END};
	struct text t = {.used = 0};
	struct scribe s;
	char err[256];

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	for (unsigned i = 0; i < 10000; i++)
		scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED);
	scribe_read(&s);
	assert_int_equal(history_run(s.reader, s.state, &h, take, &t, err, sizeof(err)), 0);
	assert_int_equal(t.items, 10002);
	scribe_end(&s);
}

static void a_huge_range_is_no_problem(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED);
	scribe_transfer(&s, 1, 0, 0, UINT32_MAX);
	scribe_read(&s);
	tells(&s, 0, UINT64_MAX, MOMENT_START, MOMENT_END, "cover@1; #2 1000 a<?; #4 0 ?<?; ");
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_in_order_with_what_they_replaced),
		cmocka_unit_test(doubt_ends_what_is_known),
		cmocka_unit_test(many_writes_pass_the_queue),
		cmocka_unit_test(a_huge_range_is_no_problem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
