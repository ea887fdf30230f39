// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pages_diff [MIB]: how fast pages are compared and told apart, next to memcmp() over as much
 *memory, from memory that no cache holds. Of each kind of pairs of pages a line
 *
 *	KIND MEMCMP DIFF KEEP EARLY
 *
 * in GB/s of one page of each pair: memcmp() of pairs that are the same, which reads them whole;
 * delta_make() of these pairs; that, the sum and the copy, as the recorder does; memcmp() of these
 * pairs, which ends at the first byte that differs.
 *
 * Kinds: same; few (four bytes, somewhere); some (eight runs of eight); half (every other 64
 *bytes); all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "formats/delta.h"

#define PASSES 5

static u8 *was, *now;
static size_t npages;
static u64 sink;

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static u32 random_next(void)
{
	static u64 state = 88172645463325252ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (u32)(state >> 16);
}

static void change_run(u8 *page, u32 at, u32 n)
{
	for (u32 i = 0; i < n; i++)
		page[at + i] ^= (u8)(random_next() % 255 + 1);
}

static void same(u8 *page)
{
	(void)page;
}

static void few(u8 *page)
{
	change_run(page, random_next() % (DELTA_PAGE / 4) * 4, 4);
}

static void some(u8 *page)
{
	for (int i = 0; i < 8; i++)
		change_run(page, random_next() % (DELTA_PAGE / 8) * 8, 8);
}

static void half(u8 *page)
{
	for (u32 at = 0; at < DELTA_PAGE; at += 128)
		change_run(page, at, 64);
}

static void all(u8 *page)
{
	change_run(page, 0, DELTA_PAGE);
}

static void compare(const u8 *a, u8 *b)
{
	sink += (u64)memcmp(a, b, DELTA_PAGE);
}

static void diff(const u8 *a, u8 *b)
{
	static u8 out[DELTA_MAX];

	sink += delta_make(b, a, out);
}

/* As page_take() of user/record_copies.c. */
static void keep(const u8 *a, u8 *b)
{
	static u8 out[DELTA_MAX];

	if (!memcmp(a, b, DELTA_PAGE))
		return;
	sink += delta_sum(a);
	sink += delta_make(b, a, out);
	memcpy(b, a, DELTA_PAGE);
}

/* GB/s. */
static double pass(void (*fn)(const u8 *a, u8 *b))
{
	const double t0 = now_s();

	for (size_t i = 0; i < npages; i++)
		fn(now + i * DELTA_PAGE, was + i * DELTA_PAGE);
	return (double)(npages * DELTA_PAGE) / 1e9 / (now_s() - t0);
}

static void change_all(void (*change)(u8 *page))
{
	memcpy(was, now, npages * DELTA_PAGE);
	for (size_t i = 0; i < npages; i++)
		change(was + i * DELTA_PAGE);
}

static u8 *memory(void)
{
	u8 *at = mmap(NULL, npages * DELTA_PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		exit(1);
	return at;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*change)(u8 *page);
	} kinds[] = {{"same", same}, {"few", few}, {"some", some}, {"half", half}, {"all", all}};

	npages = (size_t)(argc > 1 ? atoi(argv[1]) : 128) * 1024 * 1024 / DELTA_PAGE;
	now = memory();
	was = memory();
	for (size_t i = 0; i < npages * DELTA_PAGE; i += 4) {
		const u32 v = random_next();

		memcpy(now + i, &v, 4);
	}
	for (int n = 0; n < PASSES; n++)
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			change_all(same);
			const double base = pass(compare);

			change_all(kinds[k].change);
			const double early = pass(compare), made = pass(diff);

			printf("%s %.3f %.3f %.3f %.3f\n", kinds[k].name, base, made, pass(keep),
			       early);
		}
	return sink == 42;
}
