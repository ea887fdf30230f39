/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which events count as writes to guest RAM, and which requests lie behind device writes. */
#include "scribe.h"

#include "replay/ledger.h"

/* Kinds and numbers of the entries of a range, as text: "S3 T5 ". */
static void entries(struct scribe *s, u64 gpa, u64 end, struct moment limit, bool backward,
		    char *out, size_t size)
{
	const struct ledger_spec spec = {
		.gpa = gpa, .end = end, .limit = limit, .backward = backward};
	static const char letters[] = "STCLU";
	struct ledger *l = NULL;
	struct entry e;
	size_t used = 0;
	int more;

	out[0] = 0;
	assert_int_equal(ledger_open(&l, s->reader, &s->state->coverage, &spec), 0);
	while ((more = ledger_next(l, &e)) == 1)
		used += (size_t)snprintf(out + used, size - used, "%c%llu ", letters[e.kind],
					 (unsigned long long)e.at.seq);
	assert_int_equal(more, 0);
	ledger_close(l);
}

static void only_done_stores_to_watched_ram_count(void **state)
{
	struct scribe s;
	char out[128];

	(void)state;
	scribe_begin(&s);
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED); /* 1: not watched yet */
	scribe_watch(&s, 0x1000, 0x1000);		 /* 2, 3 */
	scribe_store(&s, 0x1000, "b", MMIO_DONE_EXITED);
	scribe_store(&s, 0x1000, "c", MMIO_DONE_REQUESTED);
	scribe_store(&s, 0x1000, "d", MMIO_DONE_SUPERSEDED);
	scribe_store(&s, 0x2000, "e", MMIO_DONE_EXITED);
	scribe_store(&s, 0xfff, "fg", MMIO_DONE_EXITED);
	scribe_cover(&s, ORIGIN_VCPU, false, WHY_PAGE_TABLE, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "h", MMIO_DONE_EXITED);
	scribe_read(&s);
	entries(&s, 0, 0x10000, MOMENT_END, false, out, sizeof(out));
	assert_string_equal(out, "S4 S6 S8 ");
	entries(&s, 0, 0x10000, MOMENT_END, true, out, sizeof(out));
	assert_string_equal(out, "S8 S6 S4 ");
	scribe_end(&s);
}

static void loads_are_not_writes(void **state)
{
	struct event_mmio load = {.gpa = 0x1000, .len = 4, .done = MMIO_DONE_EXITED};
	struct event_vq_sg sg = {.req = 1, .gpa = 0x1000, .len = 4};
	struct scribe s;
	char out[128];

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	scribe_put(&s, &load.h, EVENT_mmio);
	scribe_put(&s, &sg.h, EVENT_vq_sg);
	scribe_read(&s);
	entries(&s, 0, 0x10000, MOMENT_END, false, out, sizeof(out));
	assert_string_equal(out, "");
	scribe_end(&s);
}

static void ranges_and_limits_are_half_open(void **state)
{
	struct scribe s;
	char out[128];

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	scribe_store(&s, 0x1000, "abcd", MMIO_DONE_EXITED); /* 3, at 3000 ns */
	scribe_store(&s, 0x1004, "efgh", MMIO_DONE_EXITED); /* 4, at 4000 ns */
	scribe_read(&s);
	entries(&s, 0x1003, 0x1004, MOMENT_END, false, out, sizeof(out));
	assert_string_equal(out, "S3 ");
	entries(&s, 0x1004, 0x1005, MOMENT_END, false, out, sizeof(out));
	assert_string_equal(out, "S4 ");
	entries(&s, 0x1008, 0x2000, MOMENT_END, false, out, sizeof(out));
	assert_string_equal(out, "");
	entries(&s, 0, 0x2000, (struct moment){4000, 4}, false, out, sizeof(out));
	assert_string_equal(out, "S3 ");
	entries(&s, 0, 0x2000, (struct moment){4000, 5}, false, out, sizeof(out));
	assert_string_equal(out, "S3 S4 ");
	entries(&s, 0, 0x2000, MOMENT_START, false, out, sizeof(out));
	assert_string_equal(out, "");
	scribe_end(&s);
}

static void transfers_and_looks_are_told_apart(void **state)
{
	struct scribe s;
	char out[128];

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "....");  /* 3 */
	scribe_transfer(&s, 9, 63, 0x1000, 4);			   /* 4, 5 */
	scribe_content(&s, CONTENT_WHY_DEVICE, 9, 0x1000, "disk"); /* 6 */
	scribe_content(&s, CONTENT_WHY_END, 0, 0x1000, "disk");	   /* 7 */
	scribe_read(&s);
	entries(&s, 0x1000, 0x1004, MOMENT_END, false, out, sizeof(out));
	assert_string_equal(out, "L3 T5 C6 L7 ");
	scribe_end(&s);
}

static void requests_are_found_by_number(void **state)
{
	struct request requests[4] = {0};
	struct scribe s;
	u64 seqs[3], sector;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		seqs[i] = scribe_transfer(&s, i + 1, 100 + i, 0x1000, 512);
		requests[2 - i].at = (struct moment){s.t_ns, seqs[i]};
		requests[2 - i].req = i + 1;
	}
	requests[3].at = (struct moment){s.t_ns, seqs[2]};
	requests[3].req = 77;
	scribe_read(&s);
	assert_int_equal(ledger_requests(s.reader, requests, 4), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(requests[i].found, requests[i].req != 77);
		if (!requests[i].found)
			continue;
		assert_true(request_sector(&requests[i], &sector));
		assert_int_equal(sector, 99 + requests[i].req);
	}
	scribe_end(&s);
}

static void a_short_header_has_no_sector(void **state)
{
	struct request request = {.found = true, .header_len = 15};
	u64 sector;

	(void)state;
	assert_false(request_sector(&request, &sector));
	request.header_len = 16;
	assert_true(request_sector(&request, &sector));
	request.header[0] = 4; /* flush */
	assert_false(request_sector(&request, &sector));
	request = (struct request){.header_len = 16};
	assert_false(request_sector(&request, &sector));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_done_stores_to_watched_ram_count),
		cmocka_unit_test(loads_are_not_writes),
		cmocka_unit_test(ranges_and_limits_are_half_open),
		cmocka_unit_test(transfers_and_looks_are_told_apart),
		cmocka_unit_test(requests_are_found_by_number),
		cmocka_unit_test(a_short_header_has_no_sector),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
