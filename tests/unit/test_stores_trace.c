// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stores among the events of the other streams: written to a file, and read through every filter in
 * both directions.
 */
#include "formats/stores.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/by_page.h"
#include "formats/chunk.h"
#include "formats/reader.h"
#include "formats/writer.h"
#include "tests/unit/guest_stores.h"

#define NEVENTS_MAX 160000u

static char path[64];
static union any_event *events; /* number i + 1 is at i */
static size_t nevents;

static void event_note(const void *ev, size_t size)
{
	assert_true(nevents < NEVENTS_MAX);
	memset(&events[nevents], 0, sizeof(*events));
	memcpy(&events[nevents++], ev, size);
}

static void other_put(struct writer *w, u64 *seed, u64 t_ns)
{
	static const u8 kinds[] = {EVENT_mark, EVENT_mmio, EVENT_unseen, EVENT_compared};
	union any_event ev = {0};
	u64 seq;

	random_event(seed, kinds[random_next(seed) % 4], &ev);
	ev.h.t_ns = t_ns;
	if (ev.h.kind == EVENT_mmio) /* where stores are, too */
		ev.mmio.gpa %= 1 << 30;
	if (ev.h.kind == EVENT_unseen)
		ev.unseen.gpa %= 1 << 30;
	assert_int_equal(writer_put(w, &ev.h, &seq), 0);
	event_note(&ev, event_desc(ev.h.kind)->size);
	assert_int_equal(seq, nevents);
}

static struct writer *trace_begin(void)
{
	const struct writer_opts opts = {.start_mono_ns = 1, .chunk_events = 100, .stores = true};
	const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct writer *w;

	nevents = 0;
	assert_true(fd >= 0);
	assert_int_equal(writer_open(&w, fd, &opts), 0);
	return w;
}

static struct reader *trace_open(void)
{
	struct reader *r;
	char err[256];

	if (reader_open(&r, path, err, sizeof(err)))
		fail_msg("%s", err);
	return r;
}

/* Bursts of stores with other events between them, in chunks of all lengths, or of the least. */
static void trace_write(u64 seed, size_t n, bool small)
{
	static struct guest g;
	static struct guest_burst b;
	struct writer *w = trace_begin();
	struct stores_encoder *e = writer_stores(w);
	u64 stores = 0;

	assert_non_null(e);
	assert_ptr_equal(writer_stores(w), e);
	g = (struct guest){.seed = seed};
	while (nevents < n) {
		guest_next(&g, &b);
		assert_int_equal(guest_tell(&b, e), 0);
		assert_int_equal(writer_put_stores(w, b.lane, b.raw, b.n), 0);
		for (u32 i = 0; i < b.n; i++)
			event_note(&b.ev[i], sizeof(b.ev[i]));
		stores += b.n;
		for (u64 k = random_next(&seed) % 4; k; k--)
			other_put(w, &seed, g.t_ns);
		if (small || random_next(&seed) % 50 == 0)
			assert_int_equal(writer_seal(w), 0);
		assert_int_equal(writer_stats(w)->events, nevents);
		assert_int_equal(writer_stats(w)->kinds[EVENT_store], stores);
	}
	assert_int_equal(writer_close(w), 0);
}

static bool wanted(const struct cursor_spec *s, const struct event *ev)
{
	const struct event_desc *d = event_desc(ev->kind);
	u64 gpa, end;

	if ((s->streams && !(s->streams >> d->stream & 1)) || ev->t_ns < s->t_min ||
	    (s->t_max && ev->t_ns > s->t_max) || (s->kinds && !s->kinds[ev->kind]))
		return false;
	if ((!s->gpa && !s->gpa_end) || d->stream == STREAM_STATE)
		return true;
	return event_range(ev, &gpa, &end) && gpa < end && gpa < s->gpa_end && s->gpa < end;
}

/* The cursor gives what is wanted, in order; how many that is. */
static size_t check_cursor(struct reader *r, struct cursor_spec spec, bool backward)
{
	struct cursor *c;
	const struct event *ev;
	size_t given = 0;
	u64 seq;

	spec.backward = backward;
	assert_int_equal(cursor_open(&c, r, &spec), 0);
	for (size_t k = 0; k < nevents; k++) {
		const size_t i = backward ? nevents - 1 - k : k;

		if (!wanted(&spec, &events[i].h))
			continue;
		const enum cursor_status status = cursor_next(c, &ev, &seq);

		if (status != CURSOR_MORE)
			fail_msg("number %zu: status %d: %s", i + 1, status, cursor_message(c));
		assert_int_equal(seq, i + 1);
		assert_true(event_equal(ev, &events[i].h));
		given++;
	}
	enum cursor_status end = cursor_next(c, &ev, &seq);
	if (end == CURSOR_CORRUPT) { /* what belongs to no chunk is told last */
		assert_true(reader_info(r)->damaged);
		assert_non_null(strstr(cursor_message(c), "bytes that belong to no chunk"));
		end = cursor_next(c, &ev, &seq);
	}
	assert_int_equal(end, CURSOR_END);
	cursor_close(c);
	return given;
}

static size_t check_both_ways(struct reader *r, struct cursor_spec spec)
{
	const size_t n = check_cursor(r, spec, false);

	assert_int_equal(check_cursor(r, spec, true), n);
	return n;
}

static void test_filters(void **state)
{
	static const bool stores[EVENT_MAX] = {[EVENT_store] = true};
	static const bool marked[EVENT_MAX] = {[EVENT_store] = true, [EVENT_mark] = true};
	static const bool others[EVENT_MAX] = {[EVENT_mmio] = true, [EVENT_unseen] = true};

	(void)state;
	trace_write(2463534242, 20000, false);
	struct reader *r = trace_open();
	const u64 middle = events[nevents / 2].h.t_ns, third = events[nevents / 3].h.t_ns;

	assert_int_equal(reader_info(r)->events, nevents);
	assert_in_range(reader_info(r)->nchunks, 10, 2000);
	assert_false(reader_info(r)->damaged);
	assert_int_equal(check_both_ways(r, (struct cursor_spec){0}), nevents);
	for (unsigned streams = 1; streams < 1u << STREAM_MAX; streams++)
		assert_in_range(check_both_ways(r, (struct cursor_spec){.streams = streams}), 100,
				nevents);
	check_both_ways(r, (struct cursor_spec){.kinds = stores});
	check_both_ways(r, (struct cursor_spec){.kinds = marked});
	check_both_ways(r, (struct cursor_spec){.kinds = others});
	check_both_ways(r, (struct cursor_spec){.t_min = middle});
	check_both_ways(r, (struct cursor_spec){.t_max = middle});
	check_both_ways(r, (struct cursor_spec){.t_min = third, .t_max = middle, .kinds = stores});
	check_both_ways(r, (struct cursor_spec){.gpa = 1, .gpa_end = ~0ull});
	reader_close(r);
}

static void test_page_filter(void **state)
{
	static const bool stores[EVENT_MAX] = {[EVENT_store] = true};
	size_t found = 0;

	(void)state;
	trace_write(88172645463325252ull, 5000, false);
	struct reader *r = trace_open();

	for (unsigned i = 0; i < 200; i++) {
		u64 gpa, end;

		if (!event_range(&events[nevents / 200 * i].h, &gpa, &end) || gpa == end)
			continue;
		found += check_both_ways(
			r, (struct cursor_spec){.gpa = gpa, .gpa_end = gpa + 1, .kinds = stores});
		found += check_both_ways(
			r, (struct cursor_spec){.gpa = end - 1, .gpa_end = end, .kinds = stores});
		check_both_ways(r, (struct cursor_spec){.gpa = end, .gpa_end = end + 64});
		check_both_ways(r, (struct cursor_spec){.gpa = gpa - 4096, .gpa_end = gpa});
	}
	assert_true(found > 200);
	reader_close(r);
}

/* A chunk of stores is read only when its pages may matter. */
static void test_page_filter_skips(void **state)
{
	struct writer *w = trace_begin();
	struct stores_encoder *e = writer_stores(w);
	const struct event *got;
	struct event_store ev;
	struct cursor *c;
	u64 seq;

	(void)state;
	stores_time(e, 100);
	assert_int_equal(stores_site(e, 1, &(struct store_site){.size = 8}), 0);
	for (u64 i = 0; i < 50; i++) {
		const struct store_raw raw = {.gva = i << 12 | 0x10, .value = i, .site = 1};

		assert_int_equal(stores_map(e, 0, i << 12, i << 12, false), 0);
		assert_int_equal(writer_put_stores(w, 0, &raw, 1), 0);
		assert_int_equal(writer_seal(w), 0);
	}
	assert_int_equal(writer_close(w), 0);
	struct reader *r = trace_open();

	assert_int_equal(
		cursor_open(&c, r, &(struct cursor_spec){.gpa = 0x7017, .gpa_end = 0x7018}), 0);
	assert_int_equal(cursor_next(c, &got, &seq), CURSOR_MORE);
	assert_int_equal(seq, 8);
	memcpy(&ev, got, sizeof(ev));
	assert_int_equal(ev.gpa, 0x7010);
	assert_int_equal(ev.bytes[0], 7);
	assert_int_equal(cursor_next(c, &got, &seq), CURSOR_END);
	assert_int_equal(cursor_chunks_read(c), 1);
	cursor_close(c);
	reader_close(r);
}

/* No store is left out, wherever its page lies. */
static void test_last_page(void **state)
{
	struct writer *w = trace_begin();
	struct stores_encoder *e = writer_stores(w);
	const struct event_store ev = {.h = {.t_ns = 1, .kind = EVENT_store, .boot = BOOT_UNKNOWN},
				       .gpa = ~0ull - 7,
				       .gva = 0x1ff8,
				       .len = 8,
				       .bytes = {5}};
	const struct store_raw raw = {.gva = 0x1ff8, .value = 5};

	(void)state;
	stores_time(e, 1);
	assert_int_equal(stores_site(e, 0, &(struct store_site){.size = 8}), 0);
	assert_int_equal(stores_map(e, 0, 0x1000, ~0xfffull, false), 0);
	assert_int_equal(writer_put_stores(w, 0, &raw, 1), 0);
	event_note(&ev, sizeof(ev));
	assert_int_equal(writer_close(w), 0);
	struct reader *r = trace_open();

	assert_int_equal(check_both_ways(r, (struct cursor_spec){0}), 1);
	assert_int_equal(
		check_both_ways(r, (struct cursor_spec){.gpa = ~0ull - 9, .gpa_end = ~0ull}), 1);
	reader_close(r);
}

/* More stores than a chunk holds, and more sites, in one call. */
static void test_writer_splits(void **state)
{
	const u32 n = NEVENTS_MAX;
	struct store_raw *raw = calloc(n, sizeof(*raw));
	struct writer *w = trace_begin();
	struct stores_encoder *e = writer_stores(w);

	(void)state;
	assert_non_null(raw);
	assert_int_equal(stores_map(e, 0, 0x5000, 0x9000, false), 0);
	for (u32 i = 0; i < n; i++) {
		const u32 id = i < STORES_SITES + 10 ? i : i % 10;
		const struct event_store ev = {.h = {.kind = EVENT_store, .boot = BOOT_UNKNOWN},
					       .gpa = 0x9000 + i % 4096,
					       .gva = 0x5000 + i % 4096,
					       .pc = id,
					       .len = 1,
					       .bytes = {(u8)i}};

		if (i == id)
			assert_int_equal(stores_site(e, id, &(struct store_site){id, 1, 0}), 0);
		raw[i] = (struct store_raw){.gva = ev.gva, .value = (u8)i, .site = id};
		event_note(&ev, sizeof(ev));
	}
	assert_int_equal(writer_put_stores(w, 0, raw, n), 0);
	assert_int_equal(writer_close(w), 0);
	struct reader *r = trace_open();
	struct chunk_info chunk;

	assert_int_equal(reader_info(r)->nchunks, 2);
	assert_int_equal(reader_chunk_info(r, STREAM_STORES, 0, &chunk), 0);
	assert_int_equal(chunk.events, STORES_SITES);
	check_both_ways(r, (struct cursor_spec){0});
	reader_close(r);
	free(raw);
}

/* Whether the reader gives all of a large trace, by time and page, too. */
static void check_large(void)
{
	struct reader *r = trace_open();
	const u64 third = events[nevents / 3].h.t_ns, middle = events[nevents / 2].h.t_ns;
	u64 gpa, end;

	assert_int_equal(reader_info(r)->events, nevents);
	assert_int_equal(check_both_ways(r, (struct cursor_spec){0}), nevents);
	check_both_ways(r, (struct cursor_spec){.t_min = third, .t_max = middle});
	for (unsigned i = 0; i < 20; i++)
		if (event_range(&events[nevents / 20 * i].h, &gpa, &end) && gpa < end)
			check_both_ways(r, (struct cursor_spec){.gpa = gpa, .gpa_end = gpa + 1});
	reader_close(r);
}

static void byte_flip_of(const char *file, u64 off)
{
	const int fd = open(file, O_RDWR);
	u8 byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)off), 1);
	byte ^= 0x20;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)off), 1);
	close(fd);
}

static void byte_flip(u64 off)
{
	byte_flip_of(path, off);
}

/* The headers of the index chunks. */
static size_t index_heads_of(const char *file, struct chunk_head *heads, size_t max)
{
	const int fd = open(file, O_RDONLY);
	struct trailer t;
	size_t n = 0;
	u64 off;

	assert_int_equal(pread(fd, &t, sizeof(t), lseek(fd, 0, SEEK_END) - (off_t)sizeof(t)),
			 sizeof(t));
	for (off = t.index_off; off < t.file_bytes - sizeof(t); off += heads[n++].size) {
		assert_true(n < max);
		assert_int_equal(pread(fd, &heads[n], sizeof(*heads), (off_t)off), sizeof(*heads));
	}
	close(fd);
	return n;
}

static size_t index_heads(struct chunk_head *heads, size_t max)
{
	return index_heads_of(path, heads, max);
}

/* What cannot be found is said before anything that is older, or by_page is not used. */
static void check_lost(u64 gpa, u64 end)
{
	const struct cursor_spec spec = {
		.streams = 1u << STREAM_STORES, .gpa = gpa, .gpa_end = end, .backward = true};
	struct reader *r = trace_open();
	const struct event *ev;
	struct cursor *c;
	u64 seq;

	assert_int_equal(cursor_open(&c, r, &spec), 0);
	assert_int_equal(cursor_next(c, &ev, &seq), CURSOR_CORRUPT);
	assert_non_null(strstr(cursor_message(c), "the index is damaged"));
	cursor_close(c);
	reader_close(r);
}

/* A large index is read in parts, as they are needed; what is damaged of them is found out again
 * from the chunks. */
static void test_large_index(void **state)
{
	struct chunk_head heads[32];
	size_t later = 0;

	(void)state;
	trace_write(1181783497276652981ull, 40000, true);
	check_large();
	const size_t n = index_heads(heads, 32);
	for (size_t i = 0; i < n; i++) {
		byte_flip(heads[i].off + heads[i].size - 1);
		struct reader *r = trace_open();
		assert_int_equal(reader_info(r)->damaged, heads[i].seq_max == 0);
		check_both_ways(r, (struct cursor_spec){0});
		assert_true(reader_info(r)->damaged);
		assert_non_null(strstr(reader_message(r), "the index is damaged"));
		reader_close(r);
		check_large();
		byte_flip(heads[i].off + heads[i].size - 1);
		if (!heads[i].seq_max)
			continue;
		later++;
		assert_true(heads[i].events <= 512);
		/* Its pages and its header are looked at at once. */
		const u64 at[] = {heads[i].off + sizeof(heads[i]) + heads[i].pages_bytes - 1,
				  heads[i].off + 70};
		for (size_t k = 0; k < 2; k++) {
			byte_flip(at[k]);
			r = trace_open();
			assert_true(reader_info(r)->damaged);
			reader_close(r);
			check_large();
			byte_flip(at[k]);
		}
	}
	assert_in_range(later, 4, n - 1);
	struct reader *r = trace_open();
	struct chunk_info first;
	assert_false(reader_info(r)->damaged);
	assert_int_equal(reader_chunk_info(r, STREAM_STORES, 0, &first), 0);
	reader_close(r);
	/* Nor can they be found by going from chunk to chunk. */
	byte_flip(heads[n - 1].off + heads[n - 1].size - 1);
	byte_flip(first.off + 70);
	assert_int_equal(heads[n - 1].stream, STREAM_STORES);
	check_lost(0, 0);
	byte_flip(first.off + 70);
	byte_flip(heads[n - 1].off + heads[n - 1].size - 1);
	r = trace_open();
	reader_close(r);
}

static char *beside(void)
{
	static char pages[sizeof(path) + 16];

	snprintf(pages, sizeof(pages), "%s" BY_PAGE_SUFFIX, path);
	return pages;
}

static void by_page_make(size_t memory)
{
	struct reader *r = trace_open();
	const struct by_page_opts opts = {.memory = memory};
	const int fd = open(beside(), O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct by_page_stats stats;
	char err[256];

	assert_true(fd >= 0);
	if (by_page_write(r, fd, &opts, &stats, err, sizeof(err)))
		fail_msg("%s", err);
	reader_close(r);
}

/* False when the last store to a byte is given, and rightly so. */
static bool last_is_lost(u64 gpa)
{
	const struct cursor_spec spec = {
		.streams = 1u << STREAM_STORES, .gpa = gpa, .gpa_end = gpa + 1, .backward = true};
	struct reader *r = trace_open();
	const struct event *ev;
	struct cursor *c;
	size_t i = nevents;
	u64 seq;

	while (events[i - 1].h.kind != EVENT_store || !wanted(&spec, &events[i - 1].h))
		i--;
	assert_int_equal(cursor_open(&c, r, &spec), 0);
	const enum cursor_status status = cursor_next(c, &ev, &seq);
	if (status == CURSOR_MORE)
		assert_int_equal(seq, i);
	else
		assert_int_equal(status, CURSOR_CORRUPT);
	cursor_close(c);
	reader_close(r);
	return status == CURSOR_CORRUPT;
}

/* Pages that are asked for alone, or a few at once, are read by pages: what is given is the same.
 */
static void test_by_page(void **state)
{
	static const size_t memory[] = {1, 20000, 1u << 20};
	size_t found = 0;
	const char *why;
	u64 gpa, end;

	(void)state;
	trace_write(88172645463325252ull, 30000, false);
	for (unsigned k = 0; k < 3; k++) {
		by_page_make(memory[k]);
		struct reader *r = trace_open();

		assert_true(reader_by_page(r, &why));
		check_both_ways(r, (struct cursor_spec){0});
		for (unsigned i = 0; i < 60; i++) {
			if (!event_range(&events[nevents / 60 * i].h, &gpa, &end) || gpa == end)
				continue;
			found += check_both_ways(
				r, (struct cursor_spec){.gpa = gpa, .gpa_end = gpa + 1});
			check_both_ways(r, (struct cursor_spec){.gpa = gpa & ~0xfffull,
								.gpa_end = (gpa | 0x3fff) + 1});
			check_both_ways(r,
					(struct cursor_spec){.gpa = gpa, .gpa_end = gpa + 0x20000});
			check_both_ways(r,
					(struct cursor_spec){.gpa = gpa & ~0xfffull,
							     .gpa_end = (gpa | 0xfff) + 1,
							     .t_min = events[nevents / 3].h.t_ns,
							     .t_max = events[nevents / 2].h.t_ns});
		}
		reader_close(r);
	}
	assert_true(found > 500);
	/* Its index is damaged where the last chunks are. */
	struct chunk_head heads[64];
	by_page_make(1);
	const size_t n = index_heads_of(beside(), heads, 64);
	assert_true(n > 2 && heads[n - 1].seq_max);
	byte_flip_of(beside(), heads[n - 1].off + heads[n - 1].size - 1);
	/* Each page's last store, or that it cannot be found. */
	size_t lost = 0;
	for (size_t i = nevents; i-- && lost < 4;) {
		const struct event_store *s = (const void *)&events[i];

		if (events[i].h.kind == EVENT_store)
			lost += last_is_lost(s->gpa);
	}
	assert_true(lost);
	assert_int_equal(unlink(beside()), 0);
}

/* What does not belong to the trace is not used, nor what is damaged or cut. */
static void test_by_page_of_another(void **state)
{
	struct chunk_head heads[32];
	const char *why;
	char err[256];

	(void)state;
	trace_write(1, 3000, false);
	by_page_make(0);
	struct reader *r = NULL;
	assert_int_equal(reader_open(&r, beside(), err, sizeof(err)), -EPROTO);
	assert_non_null(strstr(err, "name the trace"));
	trace_write(1, 3000, false);
	r = trace_open();
	assert_false(reader_by_page(r, &why));
	assert_string_equal(why, "it is of another trace");
	check_both_ways(r, (struct cursor_spec){.gpa = 1, .gpa_end = 0x8000});
	reader_close(r);
	by_page_make(0);
	assert_int_equal(truncate(beside(), 5000), 0);
	r = trace_open();
	assert_false(reader_by_page(r, &why));
	assert_string_equal(why, "it is cut or damaged");
	reader_close(r);
	assert_int_equal(truncate(beside(), 50), 0);
	r = trace_open();
	assert_false(reader_by_page(r, &why));
	assert_string_equal(why, "it cannot be read");
	reader_close(r);
	assert_int_equal(unlink(beside()), 0);
	r = trace_open();
	assert_false(reader_by_page(r, &why));
	assert_null(why);
	/* A cut trace has no stores by pages, and a damaged chunk of one is an error. */
	struct by_page_stats stats;
	struct chunk_info chunk;
	assert_int_equal(reader_chunk_info(r, STREAM_STORES, 1, &chunk), 0);
	reader_close(r);
	byte_flip(chunk.off + chunk.size - 1);
	r = trace_open();
	const struct by_page_opts opts = {0};
	assert_int_equal(
		by_page_write(r, open("/dev/null", O_WRONLY), &opts, &stats, err, sizeof(err)),
		-EBADMSG);
	assert_non_null(strstr(err, "offset"));
	reader_close(r);
	assert_true(index_heads(heads, 32));
	assert_int_equal(truncate(path, (off_t)heads[0].off), 0);
	r = trace_open();
	assert_int_equal(
		by_page_write(r, open("/dev/null", O_WRONLY), &opts, &stats, err, sizeof(err)),
		-EBADMSG);
	reader_close(r);
}

/* What is refused is not in the trace, and what comes next is. */
static void test_writer_refuses(void **state)
{
	struct writer *w = trace_begin();
	const struct store_raw raw = {.gva = 0x5010, .value = 9, .site = 1};
	const struct store_raw wrong = {.gva = 0x5000, .site = 9};
	const struct event_mark mark = {.h.kind = EVENT_mark, .name_len = 1, .name = "x"};
	const struct event_store ev = {.h = {.kind = EVENT_store, .boot = BOOT_UNKNOWN},
				       .gpa = 0x9010,
				       .gva = 0x5010,
				       .len = 1,
				       .bytes = {9}};

	(void)state;
	assert_int_equal(writer_put_stores(w, 0, &raw, 1), -EINVAL); /* nothing is known */
	struct stores_encoder *e = writer_stores(w);

	assert_int_equal(stores_site(e, 1, &(struct store_site){.size = 1}), 0);
	assert_int_equal(stores_map(e, 0, 0x5000, 0x9000, false), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(writer_put_stores(w, 0, &raw, 1), 0);
		event_note(&ev, sizeof(ev));
		assert_int_equal(writer_put(w, &mark.h, NULL), 0);
		event_note(&mark, sizeof(mark));
		assert_int_equal(writer_put_stores(w, 0, &wrong, 1), -EINVAL);
		if (i % 3 == 0)
			assert_int_equal(writer_seal(w), 0);
	}
	assert_int_equal(writer_close(w), 0);
	struct reader *r = trace_open();

	assert_int_equal(check_both_ways(r, (struct cursor_spec){0}), 40);
	reader_close(r);
}

static int setup(void **state)
{
	(void)state;
	strcpy(path, "/tmp/vmblame-test-XXXXXX");
	const int fd = mkstemp(path);

	events = calloc(NEVENTS_MAX, sizeof(*events));
	return fd < 0 || !events ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	free(events);
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filters),		  cmocka_unit_test(test_page_filter),
		cmocka_unit_test(test_page_filter_skips), cmocka_unit_test(test_last_page),
		cmocka_unit_test(test_by_page),		  cmocka_unit_test(test_by_page_of_another),
		cmocka_unit_test(test_large_index),	  cmocka_unit_test(test_writer_splits),
		cmocka_unit_test(test_writer_refuses),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
