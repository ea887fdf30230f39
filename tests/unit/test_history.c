/* SPDX-License-Identifier: GPL-2.0-or-later */
/* History: every write in order, with what it replaced, and what was not seen in between. */
#include "scribe.h"

#include "replay/history.h"
#include "tests/unit/random_event.h"

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

struct lines {
	struct line {
		u64 seq, gpa, end;
		u8 bytes[16], old[16];
		bool known, known_old;
	} v[1024];
	size_t n, olds;
};

static int line_take(void *arg, const struct history_item *item)
{
	struct lines *all = arg;
	struct line *l = &all->v[all->n];

	if (item->event)
		return 0;
	assert_true(all->n < 1024);
	*l = (struct line){.seq = item->write->at.seq, .gpa = item->gpa, .end = item->end};
	l->known = item->bytes;
	l->known_old = item->old;
	if (l->known)
		memcpy(l->bytes, item->bytes, item->end - item->gpa);
	if (l->known_old)
		memcpy(l->old, item->old, item->end - item->gpa);
	all->olds += l->known_old;
	all->n++;
	return 0;
}

static void lines_of(struct scribe *s, struct moment from, struct lines *all)
{
	const struct history h = {0x1000, 0x1010, from, MOMENT_END};
	char err[256] = "";

	all->n = all->olds = 0;
	if (history_run(s->reader, s->state, &h, line_take, all, err, sizeof(err)))
		fail_msg("%s", err);
}

/* Begun later, it is the end of what it is from the beginning, what was there before included. */
static void from_later_on_it_is_the_same(void **state)
{
	static struct lines all, late;
	static u64 times[400];
	u64 seed = 2463534242, compared = 0;
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "................");
	for (unsigned i = 0; i < 400; i++) {
		const u64 gpa = 0x1000 + random_next(&seed) % 15, what = random_next(&seed) % 100;
		const char bytes[] = {(char)('a' + random_next(&seed) % 26), (char)('A' + i % 26),
				      0};

		s.t_ns += random_next(&seed) % 3 ? 1000 : random_next(&seed) % 30000000;
		times[i] = s.t_ns;
		if (what < 70) {
			scribe_store(&s, gpa, bytes, MMIO_DONE_EXITED);
		} else if (what < 95) {
			scribe_transfer(&s, i + 1, 0, gpa, 2);
			if (what < 92)
				scribe_content(&s, CONTENT_WHY_DEVICE, i + 1, gpa, bytes);
		} else if (what < 97) {
			scribe_loss(&s, 3, s.t_ns - 500, s.t_ns, 0x1004, 0x1006, 1 << ORIGIN_VCPU);
		} else {
			scribe_cover(&s, ORIGIN_VCPU, false, WHY_STALLED, 0x1008, 8);
			scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0x1008, 8);
		}
	}
	scribe_read(&s);
	lines_of(&s, MOMENT_START, &all);
	assert_in_range(all.olds, 100, all.n - 10);
	for (unsigned i = 0; i < 400; i += 7) {
		lines_of(&s, (struct moment){times[i], 0}, &late);
		assert_true(late.n && late.n <= all.n);
		for (size_t k = 0; k < late.n; k++) {
			const struct line *x = &all.v[all.n - late.n + k], *y = &late.v[k];

			assert_int_equal(x->seq, y->seq);
			assert_int_equal(x->known, y->known);
			assert_memory_equal(x->bytes, y->bytes, sizeof(x->bytes));
			if (x->known_old != y->known_old)
				fail_msg("from %u: #%llu: %s is known of what was there", i,
					 (unsigned long long)x->seq,
					 x->known_old ? "less" : "more");
			assert_memory_equal(x->old, y->old, sizeof(x->old));
			compared += x->known_old;
		}
	}
	assert_true(compared > 1000);
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
		cmocka_unit_test(from_later_on_it_is_the_same),
		cmocka_unit_test(a_huge_range_is_no_problem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
