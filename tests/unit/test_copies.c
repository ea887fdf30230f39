// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages mode's copies: what is told of pages while devices write to them, too, and what they left
 * becomes known late. The guest is a part of this process, and the devices are, too.
 */
#include <stdlib.h>

#include "replay/film.h"
#include "replay/verify.h"
#include "tests/unit/random_event.h"
#include "tests/unit/scribe.h"
#include "user/record_pages.h"

#define BASE  0x100000ull
#define PAGES 4u

/* A device's write that the recorder does not know of yet. */
struct late {
	struct event_content ev;
	unsigned steps; /* until it does */
};

struct bench {
	struct record r;
	struct record_opts opts;
	int fd;
	u8 *guest; /* PAGES */
	u64 seed;
	struct late late[8];
	size_t nlate;
};

static u64 pick(struct bench *b, u64 n)
{
	return random_next(&b->seed) % n;
}

static void bench_open(struct bench *b, u64 seed)
{
	const struct writer_opts wopts = {0};

	memset(b, 0, sizeof(*b));
	b->seed = seed * 0x9e3779b97f4a7c15ull | 1;
	b->fd = memfd_create("trace", MFD_CLOEXEC);
	b->guest = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
	assert_true(b->fd >= 0 && b->guest != MAP_FAILED);
	b->opts.epoch_ns = 1;
	b->r.opts = &b->opts;
	b->r.vmm = getpid();
	b->r.from_hit = true;
	b->r.until_ns = UINT64_MAX;
	assert_int_equal(writer_open(&b->r.writer, dup(b->fd), &wopts), 0);
	assert_int_equal(merge_open(&b->r.merge), 0);
	assert_int_equal(
		link_open(&b->r.link, &(struct link_opts){.uid = getuid(), .dropped_fd = -1}), 0);
	assert_int_equal(record_pages_open(&b->r), 0);
	record_pages_vmm(&b->r);
	b->r.log->ram[b->r.log->nram++] =
		(struct ram){.gpa = BASE, .size = PAGES * PAGE, .hva = (u64)b->guest};
}

/* Few places and few values, so that they meet. */
static u64 place(struct bench *b)
{
	return pick(b, PAGES) * PAGE + 8 * pick(b, 3) + (pick(b, 8) ? 0 : PAGE - 24);
}

static void guest_stores(struct bench *b)
{
	b->guest[place(b) + pick(b, 8)] = (u8)pick(b, 3);
}

static void device_writes(struct bench *b)
{
	struct late *l = &b->late[b->nlate];
	const u64 at = place(b);

	if (b->nlate == sizeof(b->late) / sizeof(b->late[0]))
		return;
	*l = (struct late){.steps = (unsigned)pick(b, 6)};
	l->ev = (struct event_content){
		.h = {.t_ns = record_now(&b->r), .kind = EVENT_content, .vcpu = VCPU_NONE},
		.gpa = BASE + at,
		.why = CONTENT_WHY_DEVICE,
		.len = (u16)(1 + pick(b, 8)),
	};
	memset(l->ev.data, (int)pick(b, 3), l->ev.len);
	memcpy(b->guest + at, l->ev.data, l->ev.len);
	b->nlate++;
}

/* In whatever order: each CPU has a ring. */
static void devices_become_known(struct bench *b, bool all)
{
	for (size_t i = 0; i < b->nlate;) {
		if (!all && b->late[i].steps) {
			b->late[i++].steps--;
			continue;
		}
		assert_int_equal(record_take(&b->r, &b->late[i].ev.h), 0);
		b->late[i] = b->late[--b->nlate];
	}
}

static void some_are_copied(struct bench *b)
{
	for (u64 i = 0; i < PAGES; i++)
		if (pick(b, 2))
			assert_int_equal(copies_add(&b->r, BASE + i * PAGE,
						    (u64)b->guest + i * PAGE, VERSION_HOW_LOG),
					 0);
	assert_int_equal(copies_flush(&b->r), 0);
}

static void flush(struct bench *b, u64 until_ns)
{
	assert_int_equal(merge_flush(b->r.merge, until_ns, record_keep, &b->r), 0);
}

static void compared(struct bench *b)
{
	struct event_compared ev = {
		.h = {.t_ns = record_now(&b->r), .kind = EVENT_compared, .vcpu = VCPU_NONE},
		.size = BASE + PAGES * PAGE,
	};

	assert_int_equal(record_take(&b->r, &ev.h), 0);
}

/* As a recording goes, with an end at which all is known. */
static void story(struct bench *b, unsigned steps)
{
	guest_stores(b);
	assert_int_equal(copies_pass(&b->r, VERSION_HOW_PASS), 0);
	compared(b);
	b->r.log->begun = true;
	for (unsigned i = 0; i < steps; i++) {
		switch (pick(b, 5)) {
		case 0:
		case 1:
			guest_stores(b);
			break;
		case 2:
			device_writes(b);
			break;
		case 3:
			some_are_copied(b);
			break;
		default:
			/* Nobody waits for ever: some come too late for the order of time. */
			if (!pick(b, 4))
				flush(b, record_now(&b->r));
		}
		devices_become_known(b, false);
	}
	devices_become_known(b, true);
	assert_int_equal(copies_pass(&b->r, VERSION_HOW_LOG), 0);
	flush(b, UINT64_MAX);
	assert_int_equal(writer_close(b->r.writer), 0);
}

static void bench_close(struct bench *b)
{
	link_close(b->r.link);
	merge_close(b->r.merge);
	record_pages_close(&b->r);
	munmap(b->guest, PAGES * PAGE);
	close(b->fd);
}

static int disagrees(void *arg, const struct verify_problem *p)
{
	const u64 *seed = arg;

	fail_msg("story %llu: #%llu: %d, 0x%llx: %llx, not %llx", (unsigned long long)*seed,
		 (unsigned long long)p->at.seq, p->what, (unsigned long long)p->gpa,
		 (unsigned long long)p->got, (unsigned long long)p->want);
	return 1;
}

/* The trace agrees with itself, and its end with the guest. */
static void trace_is_right(struct bench *b, u64 seed, u64 *versions, u64 *keyframes)
{
	const struct verify_spec spec = {.problem = disagrees, .arg = &seed};
	const struct film_spec film = {.end = UINT64_MAX, .limit = MOMENT_END};
	static u8 played[PAGES * PAGE];
	struct verify_counts counts;
	struct state *state = NULL;
	struct reader *r;
	struct film *f = NULL;
	char path[64], err[256] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", b->fd);
	if (reader_open(&r, path, err, sizeof(err)) || state_load(&state, r, err, sizeof(err)) ||
	    verify_run(r, state, &spec, &counts, err, sizeof(err)) ||
	    film_play(&f, r, state, &film, err, sizeof(err)))
		fail_msg("%s", err);
	assert_true(film_read(f, BASE, played, sizeof(played)));
	assert_memory_equal(played, b->guest, sizeof(played));
	*versions += counts.versions;
	*keyframes += counts.keyframes;
	film_close(f);
	state_free(state);
	reader_close(r);
}

static void sums_hold_whatever_comes_late(void **state)
{
	static struct bench b;
	u64 versions = 0, keyframes = 0;

	(void)state;
	for (u64 seed = 1; seed <= 40; seed++) {
		bench_open(&b, seed);
		story(&b, 5000);
		trace_is_right(&b, seed, &versions, &keyframes);
		bench_close(&b);
	}
	assert_true(versions > 5000);
	assert_true(keyframes > 100);
}

/* The copy after a device's write found the page as it was before: the guest had put it back. That
 * is told though the device's write is known only later. */
static void what_was_put_back(void **state)
{
	static struct bench b;
	u64 versions = 0, keyframes = 0;

	(void)state;
	bench_open(&b, 1);
	b.guest[16] = 'a';
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_PASS), 0);
	compared(&b);
	b.r.log->begun = true;
	flush(&b, record_now(&b.r));
	struct event_content ev = {
		.h = {.t_ns = record_now(&b.r), .kind = EVENT_content, .vcpu = VCPU_NONE},
		.gpa = BASE + 16,
		.why = CONTENT_WHY_DEVICE,
		.len = 1,
		.data = {'d'},
	};
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_LOG), 0);
	assert_int_equal(record_take(&b.r, &ev.h), 0);
	flush(&b, UINT64_MAX);
	assert_int_equal(writer_close(b.r.writer), 0);
	trace_is_right(&b, 1, &versions, &keyframes);
	assert_int_equal(versions, 1);
	bench_close(&b);
}

/* A page changes and changes back, all while its first version waits for its place. */
static void what_changed_back_meanwhile(void **state)
{
	static struct bench b;
	u64 versions = 0, keyframes = 0;

	(void)state;
	bench_open(&b, 3);
	b.guest[16] = 'a';
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_PASS), 0);
	compared(&b);
	b.r.log->begun = true;
	flush(&b, record_now(&b.r));
	b.guest[16] = 'b';
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_LOG), 0);
	b.guest[16] = 'a';
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_LOG), 0);
	flush(&b, UINT64_MAX);
	assert_int_equal(writer_close(b.r.writer), 0);
	trace_is_right(&b, 3, &versions, &keyframes);
	assert_int_equal(versions, 2);
	bench_close(&b);
}

/* What lies before the recording, or behind it, is not told, and nothing rests on it. */
static void what_is_left_out_is_not_built_upon(void **state)
{
	static struct bench b;
	u64 versions = 0, keyframes = 0;

	(void)state;
	bench_open(&b, 2);
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_PASS), 0);
	compared(&b);
	b.r.log->begun = true;
	b.guest[0] = 1;
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_LOG), 0);
	b.r.from_ns = record_now(&b.r); /* that version is left out */
	b.guest[8] = 2;
	assert_int_equal(copies_pass(&b.r, VERSION_HOW_LOG), 0);
	flush(&b, UINT64_MAX);
	assert_int_equal(writer_close(b.r.writer), 0);
	trace_is_right(&b, 2, &versions, &keyframes);
	assert_int_equal(versions, 1);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_hold_whatever_comes_late),
		cmocka_unit_test(what_was_put_back),
		cmocka_unit_test(what_changed_back_meanwhile),
		cmocka_unit_test(what_is_left_out_is_not_built_upon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
