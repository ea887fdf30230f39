// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stores come back as they were put, chunk by chunk; what cannot be told is refused.
 */
#include "formats/stores.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "formats/pages.h"
#include "tests/unit/guest_stores.h"
#include "tests/unit/sealed_stores.h"

#define NPUT_MAX 160000u

static struct stores_encoder *enc;
static struct stores_decoder *dec;

/* What was put, in order: each event's number is in its `tseq` here, which stores do not have. */
static struct event_store *put;
static size_t nput;

static void put_clear(void)
{
	nput = 0;
}

/* The burst's stores have come into the trace, the first as number seq. */
static void put_note(const struct event_store *ev, size_t n, u64 seq)
{
	for (size_t i = 0; i < n; i++) {
		assert_true(nput < NPUT_MAX);
		put[nput] = ev[i];
		put[nput++].h.tseq = (u32)(seq + i);
	}
}

static void check_store(const struct stores *s, u32 i, const struct event_store *want)
{
	const struct store *v = &s->v[i];
	const struct store_site *site = &s->sites[v->site];

	assert_int_equal(s->seq + i, want->h.tseq);
	assert_int_equal(s->t_ns, want->h.t_ns);
	assert_int_equal(s->tid, want->h.tid);
	assert_int_equal(s->vcpu, want->h.vcpu);
	assert_int_equal(v->gpa, want->gpa);
	assert_int_equal(v->gva, want->gva);
	assert_int_equal(v->smm, want->smm);
	assert_int_equal(v->size, want->len);
	assert_int_equal(v->value, load_le(want->bytes, 8));
	assert_int_equal(site->pc, want->pc);
	assert_int_equal(site->part, want->part);
	assert_int_equal(site->size, want->len);
}

/* The chunk holds just the stores put[first] and on. */
static void check_chunk(const struct sealed *c, size_t first)
{
	struct stores s;
	const char *why;
	size_t at = first;
	int ret;

	assert_int_equal(c->h.type, CHUNK_STORES);
	assert_int_equal(c->h.stream, STREAM_STORES);
	assert_int_equal(c->h.seq_min, put[first].h.tseq);
	assert_int_equal(c->h.t_min, put[first].h.t_ns);
	ret = stores_begin(dec, &c->h, c->blocks, &why);
	if (ret)
		fail_msg("%s", why);
	while ((ret = stores_next(dec, &s, &why)) == 1) {
		assert_in_range(s.n, 1, STORES_BATCH);
		assert_true(at + s.n <= nput);
		for (u32 i = 0; i < s.n; i++)
			check_store(&s, i, &put[at + i]);
		at += s.n;
	}
	if (ret)
		fail_msg("%s", why);
	assert_int_equal(stores_next(dec, &s, &why), 0);
	assert_int_equal(at - first, c->h.events);
	assert_int_equal(c->h.seq_max, put[at - 1].h.tseq);
	assert_int_equal(c->h.t_max, put[at - 1].h.t_ns);
}

/* Every page of the set was stored to, and the sum is that of both. */
static void check_words(const struct sealed *c)
{
	struct span words = c->blocks[STORES_WORDS];

	assert_true(pages_valid(c->pages));
	assert_int_equal(c->h.words_sum, stores_words_sum(c->pages, words));
	while (span_left(&words)) {
		const u8 *bits = span_take(&words, STORES_PAGE_BYTES);
		u64 any = 0;

		assert_non_null(bits);
		for (unsigned i = 0; i < STORES_PAGE_BYTES; i += 8)
			any |= load_le(bits + i, 8);
		assert_int_not_equal(any, 0);
	}
}

/* Puts a burst, over as many chunks as it takes; returns where the open chunk begins in put[]. */
static size_t burst_put(const struct guest_burst *b, u64 *seq, size_t first)
{
	for (u32 at = 0; at < b->n;) {
		const long got = stores_put(enc, b->lane, b->raw + at, b->n - at, *seq);

		assert_in_range(got, 1, b->n - at);
		put_note(b->ev + at, (size_t)got, *seq);
		*seq += (u64)got;
		at += (u32)got;
		assert_int_equal(stores_count(enc), nput - first);
		if (stores_full(enc)) {
			struct sealed c;

			seal(enc, &c);
			check_chunk(&c, first);
			check_words(&c);
			sealed_free(&c);
			first = nput;
		}
	}
	return first;
}

/* Chunks full of what guests do, with numbers that are left out. */
static void test_round_trip(void **state)
{
	static struct guest g;
	static struct guest_burst b;
	struct sealed c;
	size_t first = 0;
	u64 seq = 1;

	(void)state;
	g = (struct guest){.seed = 88172645463325252ull};
	put_clear();
	while (nput < STORES_MAX + 20000) {
		guest_next(&g, &b);
		assert_int_equal(guest_tell(&b, enc), 0);
		if (random_next(&g.seed) % 5 == 0)
			seq += random_next(&g.seed) % 3000;
		first = burst_put(&b, &seq, first);
	}
	assert_int_equal(first, STORES_MAX); /* that one was full */
	seal(enc, &c);
	check_chunk(&c, first);
	check_words(&c);
	sealed_free(&c);
}

/* A chunk of one store, and chunks between which nothing is remembered. */
static void test_small_chunks(void **state)
{
	static struct guest g;
	static struct guest_burst b;
	u64 seq = 1;

	(void)state;
	g = (struct guest){.seed = 362436069};
	put_clear();
	for (unsigned i = 0; i < 2000; i++) {
		struct sealed c;
		const size_t first = nput;

		guest_next(&g, &b);
		if (i % 2)
			b.n = 1;
		assert_int_equal(guest_tell(&b, enc), 0);
		burst_put(&b, &seq, first);
		seal(enc, &c);
		check_chunk(&c, first);
		sealed_free(&c);
	}
}

/* Values and addresses at the ends of their ranges; a value's bits above its size do not count. */
static void test_extremes(void **state)
{
	static const u64 values[] = {0,	     1,	     ~0ull,	1ull << 63, 0x7f,
				     0x80,   0xff,   0x100,	0x7fffffff, 0xffffffff,
				     0x8000, 0xffff, ~0ull - 1, 1ull << 32};
	static const u64 gvas[] = {0, ~0xfffull, 0x7ffffffff000, 0xffff800000000000ull};
	const unsigned nvalues = sizeof(values) / sizeof(*values);
	u64 seed = 1, seq = 1;
	struct sealed c;

	(void)state;
	put_clear();
	stores_time(enc, ~0ull);
	stores_thread(enc, ~0u, VCPU_NONE);
	for (u32 id = 0; id < 4; id++)
		assert_int_equal(stores_site(enc, id,
					     &(struct store_site){.pc = id % 2 ? ~0ull : 0,
								  .size = (u8)(1 << id),
								  .part = (u8)(31 - id)}),
				 0);
	for (unsigned i = 0; i < 4000; i++) {
		const u32 id = (u32)(random_next(&seed) % 4);
		const u64 page = gvas[random_next(&seed) % 4];
		const u64 value = values[random_next(&seed) % nvalues];
		const u64 off = random_next(&seed) % 2 ? 0 : 4096 - (1ull << id);
		const u64 gpa = i % 3 ? 0 : (1ull << 52) - 4096;
		const struct store_raw raw = {.gva = page + off, .value = value, .site = id};
		struct event_store ev = {.h = {.t_ns = ~0ull, .tid = ~0u, .vcpu = VCPU_NONE},
					 .gpa = gpa + off,
					 .gva = page + off,
					 .pc = id % 2 ? ~0ull : 0,
					 .part = (u8)(31 - id),
					 .len = (u8)(1 << id)};

		store_le(ev.bytes, value & bytes_mask(ev.len), 8);
		assert_int_equal(stores_map(enc, 63, page, gpa, false), 0);
		assert_int_equal(stores_put(enc, 63, &raw, 1, seq), 1);
		put_note(&ev, 1, seq++);
	}
	seal(enc, &c);
	check_chunk(&c, 0);
	sealed_free(&c);
}

/* As many sites as there are numbers end a chunk. The page of a store that no longer fits is not
 * of it. */
static void test_sites_fill_chunk(void **state)
{
	const u32 n = STORES_SITES + 100;
	struct store_raw *raw = calloc(n, sizeof(*raw));
	struct sealed c;

	(void)state;
	assert_non_null(raw);
	put_clear();
	stores_time(enc, 5);
	stores_thread(enc, 6, 7);
	for (u32 i = 0; i < n; i++) {
		/* The first that does not fit is the first to another page. */
		const u64 gva = i < STORES_SITES ? i % 0x10000 : 0x10001000;
		const struct store_site site = {.pc = 16 * i, .size = 1};
		const struct event_store ev = {.h = {.t_ns = 5, .tid = 6, .vcpu = 7},
					       .gpa = gva + 0x4000,
					       .gva = gva,
					       .pc = 16 * i,
					       .len = 1,
					       .bytes = {(u8)i}};

		assert_int_equal(stores_site(enc, i, &site), 0);
		assert_int_equal(
			stores_map(enc, 0, gva & ~0xfffull, (gva & ~0xfffull) + 0x4000, false), 0);
		raw[i] = (struct store_raw){.gva = gva, .value = (u8)i, .site = i};
		put_note(&ev, 1, i + 1);
	}
	assert_int_equal(stores_put(enc, 0, raw, n, 1), STORES_SITES);
	assert_true(stores_full(enc));
	seal(enc, &c);
	check_chunk(&c, 0);
	check_words(&c);
	sealed_free(&c);
	assert_int_equal(stores_put(enc, 0, raw + STORES_SITES, 100, STORES_SITES + 1), 100);
	assert_false(stores_full(enc));
	seal(enc, &c);
	check_chunk(&c, STORES_SITES);
	sealed_free(&c);
	free(raw);
}

/* One site and page, to which each of the tests below adds. */
static struct event_store simple_begin(void)
{
	static const struct store_site site = {.pc = 0x1234, .size = 8, .part = 1};

	put_clear();
	stores_time(enc, 100);
	stores_thread(enc, 42, 1);
	assert_int_equal(stores_site(enc, 1, &site), 0);
	assert_int_equal(stores_map(enc, 0, 0x5000, 0x9000, true), 0);
	return (struct event_store){.h = {.t_ns = 100, .tid = 42, .vcpu = 1},
				    .gpa = 0x9010,
				    .gva = 0x5010,
				    .pc = 0x1234,
				    .smm = 1,
				    .part = 1,
				    .len = 8,
				    .bytes = {9}};
}

static const struct store_raw simple = {.gva = 0x5010, .value = 9, .site = 1};

/* From then on a number means another site. */
static void test_site_redefined(void **state)
{
	struct event_store ev = simple_begin();
	struct sealed c;

	(void)state;
	for (u64 seq = 1; seq < 10; seq++) {
		const struct store_site site = {
			.pc = 0x1234 + seq, .size = (u8)(1 << seq % 4), .part = (u8)seq};

		assert_int_equal(stores_put(enc, 0, &simple, 1, seq), 1);
		put_note(&ev, 1, seq);
		assert_int_equal(stores_site(enc, 1, &site), 0);
		ev.pc = site.pc;
		ev.len = site.size;
		ev.part = site.part;
	}
	seal(enc, &c);
	check_chunk(&c, 0);
	sealed_free(&c);
}

/* Threads have maps of their own, and SMM another view of the same address. */
static void test_lanes_differ(void **state)
{
	struct event_store ev = simple_begin();
	struct sealed c;

	(void)state;
	for (unsigned lane = 0; lane < STORES_LANES; lane++)
		assert_int_equal(stores_map(enc, lane, 0x5000, 0x9000 + lane * 0x1000ull, lane % 2),
				 0);
	for (u32 seq = 1; seq < 500; seq++) {
		const unsigned lane = seq * 29 % STORES_LANES;

		stores_thread(enc, 100 + lane, (u16)lane);
		ev.h.tid = 100 + lane;
		ev.h.vcpu = (u16)lane;
		ev.gpa = 0x9010 + lane * 0x1000ull;
		ev.smm = lane % 2;
		assert_int_equal(stores_put(enc, lane, &simple, 1, seq), 1);
		put_note(&ev, 1, seq);
	}
	seal(enc, &c);
	check_chunk(&c, 0);
	sealed_free(&c);
}

static void test_facts_refused(void **state)
{
	(void)state;
	for (unsigned size = 0; size < 256; size++) {
		const struct store_site site = {.size = (u8)size};
		const bool good = size == 1 || size == 2 || size == 4 || size == 8;

		assert_int_equal(stores_site(enc, 1, &site), good ? 0 : -EINVAL);
	}
	assert_int_equal(stores_site(enc, 1, &(struct store_site){.size = 1, .part = 32}), -EINVAL);
	assert_int_equal(stores_site(enc, STORES_SITE_IDS, &(struct store_site){.size = 1}),
			 -EINVAL);
	assert_int_equal(stores_map(enc, STORES_LANES, 0, 0, false), -EINVAL);
	assert_int_equal(stores_map(enc, 0, 1, 0, false), -EINVAL);
	assert_int_equal(stores_map(enc, 0, 0, 0xfff, false), -EINVAL);
}

static const struct {
	const char *name;
	unsigned lane;
	struct store_raw raw;
} refused[] = {
	{"an unknown site", 0, {.gva = 0x5010, .site = 2}},
	{"a site beyond all", 0, {.gva = 0x5010, .site = ~0u}},
	{"an unknown page", 0, {.gva = 0x6010, .site = 1}},
	{"a page of another thread", 1, {.gva = 0x5010, .site = 1}},
	{"a thread of which nothing is known", 2, {.gva = 0x5010, .site = 1}},
	{"a thread beyond all", STORES_LANES, {.gva = 0x5010, .site = 1}},
	{"a store beyond its page", 0, {.gva = 0x5ff9, .site = 1}},
};
#define NREFUSED (sizeof(refused) / sizeof(*refused))

/* A wrong store is refused, those before it are taken, and neither it nor what was told for it
 * leaves a trace. */
static void test_stores_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < NREFUSED; i++) {
		const struct event_store ev = simple_begin();
		struct store_raw two[2] = {simple, refused[i].raw};
		struct sealed c;

		assert_int_equal(stores_map(enc, 1, 0x7000, 0x7000, false), 0);
		assert_int_equal(stores_put(enc, refused[i].lane, &refused[i].raw, 1, 1), -EINVAL);
		assert_int_equal(stores_count(enc), 0);
		if (refused[i].lane == 0)
			assert_int_equal(stores_put(enc, 0, two, 2, 1), 1);
		else
			assert_int_equal(stores_put(enc, 0, two, 1, 1), 1);
		put_note(&ev, 1, 1);
		assert_int_equal(stores_put(enc, refused[i].lane, &refused[i].raw, 1, 2), -EINVAL);
		assert_int_equal(stores_put(enc, 0, two, 1, 2), 1);
		put_note(&ev, 1, 2);
		seal(enc, &c);
		check_chunk(&c, 0);
		check_words(&c);
		sealed_free(&c);
	}
}

/* The same when it would have been the chunk's last, at another time, with numbers left out. */
static void test_refused_at_the_end(void **state)
{
	const struct event_store ev = simple_begin();
	struct sealed c;

	(void)state;
	assert_int_equal(stores_put(enc, 0, &simple, 1, 1), 1);
	put_note(&ev, 1, 1);
	stores_time(enc, 200);
	assert_int_equal(stores_put(enc, 0, &refused[0].raw, 1, 9), -EINVAL);
	seal(enc, &c);
	check_chunk(&c, 0);
	sealed_free(&c);
}

/* The same when it would have been the first, by another thread. */
static void test_refused_at_the_start(void **state)
{
	struct event_store ev = simple_begin();
	struct sealed c;

	(void)state;
	assert_int_equal(stores_put(enc, 0, &refused[0].raw, 1, 1), -EINVAL);
	stores_thread(enc, 0, 0);
	stores_time(enc, 150);
	ev.h.tid = ev.h.vcpu = 0;
	ev.h.t_ns = 150;
	assert_int_equal(stores_put(enc, 0, &simple, 1, 4), 1);
	put_note(&ev, 1, 4);
	seal(enc, &c);
	check_chunk(&c, 0);
	sealed_free(&c);
}

static void test_nothing_put(void **state)
{
	const struct event_store ev = simple_begin();
	struct sealed c;

	(void)state;
	assert_int_equal(stores_put(enc, 0, &simple, 0, 1), 0);
	assert_int_equal(stores_count(enc), 0);
	assert_int_equal(stores_put(enc, 0, &simple, 1, 7), 1);
	put_note(&ev, 1, 7);
	assert_int_equal(stores_put(enc, 0, &simple, 0, 20), 0);
	seal(enc, &c);
	check_chunk(&c, 0);
	sealed_free(&c);
}

static bool words_touch_brute(u64 gpa, u64 end)
{
	for (size_t i = 0; i < nput && gpa < end; i++) {
		const u64 first = put[i].gpa & ~7ull, last = (put[i].gpa + put[i].len - 1) | 7;

		if (first < end && last >= gpa)
			return true;
	}
	return false;
}

static void test_words_touch(void **state)
{
	static struct guest g;
	static struct guest_burst b;
	u64 seq = 1, touched = 0;
	struct sealed c;

	(void)state;
	g = (struct guest){.seed = 521288629};
	put_clear();
	for (unsigned i = 0; i < 40; i++) {
		guest_next(&g, &b);
		assert_int_equal(guest_tell(&b, enc), 0);
		burst_put(&b, &seq, 0);
	}
	seal(enc, &c);
	for (unsigned i = 0; i < 40000; i++) {
		const u64 near = put[random_next(&g.seed) % nput].gpa;
		const u64 gpa = random_next(&g.seed) % 4 ? near - 300 + random_next(&g.seed) % 600
							 : random_next(&g.seed) % (1ull << 33);
		const u64 len = random_next(&g.seed) % 3 ? random_next(&g.seed) % 130
							 : random_next(&g.seed) % 9000;
		const bool touch = words_touch_brute(gpa, gpa + len);

		assert_int_equal(stores_words_touch(c.pages, c.blocks[STORES_WORDS], gpa, gpa + len,
						    NULL, NULL),
				 touch);
		touched += touch;
	}
	assert_in_range(touched, 1000, 39000);
	assert_true(stores_words_touch(c.pages, c.blocks[STORES_WORDS], 0, ~0ull, NULL, NULL));
	assert_false(stores_words_touch(c.pages, c.blocks[STORES_WORDS], put[0].gpa, put[0].gpa,
					NULL, NULL));
	/* Malformed: nothing can be ruled out. */
	c.blocks[STORES_WORDS].end -= 4;
	assert_true(
		stores_words_touch(c.pages, c.blocks[STORES_WORDS], 1ull << 50, ~0ull, NULL, NULL));
	c.blocks[STORES_WORDS].end += 4;
	c.pages.end--;
	assert_true(
		stores_words_touch(c.pages, c.blocks[STORES_WORDS], 1ull << 50, ~0ull, NULL, NULL));
	c.pages.end++;
	sealed_free(&c);
}

/* The last page of all. */
static void test_words_touch_top(void **state)
{
	struct sealed c;

	(void)state;
	simple_begin();
	assert_int_equal(stores_map(enc, 0, 0x5000, ~0xfffull, false), 0);
	assert_int_equal(stores_put(enc, 0, &simple, 1, 1), 1);
	seal(enc, &c);
	const struct span words = c.blocks[STORES_WORDS];

	assert_true(stores_words_touch(c.pages, words, ~0xfffull, ~0ull, NULL, NULL));
	assert_true(
		stores_words_touch(c.pages, words, ~0xfffull + 0x10, ~0xfffull + 0x11, NULL, NULL));
	assert_false(stores_words_touch(c.pages, words, ~0xfffull + 0x40, ~0ull, NULL, NULL));
	assert_false(stores_words_touch(c.pages, words, 0, ~0xfffull, NULL, NULL));
	sealed_free(&c);
}

static int open_codec(void **state)
{
	(void)state;
	return stores_encoder_open(&enc) || stores_decoder_open(&dec);
}

static int close_codec(void **state)
{
	(void)state;
	stores_encoder_close(enc);
	stores_decoder_close(dec);
	enc = NULL;
	dec = NULL;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	put = calloc(NPUT_MAX, sizeof(*put));
	return put ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(put);
	return 0;
}

#define CODEC_TEST(f) cmocka_unit_test_setup_teardown(f, open_codec, close_codec)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CODEC_TEST(test_round_trip),	     CODEC_TEST(test_small_chunks),
		CODEC_TEST(test_extremes),	     CODEC_TEST(test_sites_fill_chunk),
		CODEC_TEST(test_site_redefined),     CODEC_TEST(test_lanes_differ),
		CODEC_TEST(test_facts_refused),	     CODEC_TEST(test_stores_refused),
		CODEC_TEST(test_refused_at_the_end), CODEC_TEST(test_refused_at_the_start),
		CODEC_TEST(test_nothing_put),	     CODEC_TEST(test_words_touch),
		CODEC_TEST(test_words_touch_top),
	};

	stores_encoder_close(NULL);
	stores_decoder_close(NULL);
	return cmocka_run_group_tests(tests, setup, teardown);
}
