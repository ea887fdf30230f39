// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rings between plugin and recorder: the plugin's producer and the recorder's consumer in one
 * process. What the producer would never write is put into the shared memory by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/plugin/plugin.h"
#include "user/rings.h"

#define CAPACITY RING_LEAST
#define GVA	 0xffff888000001000ull
#define GPA	 0x1000ull

static struct rings *rings;
static struct ring_shared *shared;
static int alive[2]; /* for producer_open() */

static struct got {
	u64 stores, sum, sites, maps, times, vcpus, ios, lost, rams, ends;
	u64 last;
	size_t spans;
	int answer;
} got;

static int on_stores(void *arg, u32 ring, const struct ring_record *rec, size_t n)
{
	(void)arg;
	(void)ring;
	if (got.answer)
		return got.answer;
	got.spans++;
	got.stores += n;
	for (size_t i = 0; i < n; i++) {
		got.sum += rec[i].b;
		got.last = rec[i].b;
	}
	return 0;
}

static int on_site(void *arg, u32 ring, u32 number, const struct rings_site *site)
{
	(void)arg;
	(void)ring;
	(void)number;
	got.sites++;
	assert_int_equal(site->pc, 0x1234);
	return 0;
}

static int on_map(void *arg, u32 ring, const struct rings_map *map)
{
	(void)arg;
	(void)ring;
	(void)map;
	got.maps++;
	return 0;
}

static int on_io(void *arg, u32 ring, const struct rings_io *io)
{
	(void)arg;
	(void)ring;
	got.ios++;
	assert_int_equal(io->gpa, 0xfee00000);
	assert_int_equal(io->gva, GVA);
	assert_int_equal(io->value, 7);
	assert_true(io->known);
	return 0;
}

static int on_ram(void *arg, u32 ring, const struct rings_ram *ram, size_t n)
{
	(void)arg;
	(void)ring;
	got.rams++;
	assert_int_equal(n, 1);
	assert_int_equal(ram[0].size, 1 << 20);
	return 0;
}

static int on_lost(void *arg, u32 ring, u64 stores, u64 since_ns, enum ring_lost why)
{
	(void)arg;
	(void)ring;
	(void)since_ns;
	assert_int_equal(why, RING_LOST_FULL);
	got.lost += stores;
	return 0;
}

static int on_end(void *arg, u64 t_ns)
{
	(void)arg;
	(void)t_ns;
	got.ends++;
	rings_end(rings);
	return 0;
}

static const struct rings_ops ops = {.stores = on_stores,
				     .site = on_site,
				     .map = on_map,
				     .io = on_io,
				     .ram = on_ram,
				     .lost = on_lost,
				     .end = on_end};

static int setup(void **state)
{
	(void)state;
	memset(&got, 0, sizeof(got));
	if (rings_open(&rings, CAPACITY, 0))
		return -1;
	shared = mmap(NULL, ring_shared_size(CAPACITY), PROT_READ | PROT_WRITE, MAP_SHARED,
		      rings_fd(rings), 0);
	return shared == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(shared, ring_shared_size(CAPACITY));
	rings_close(rings);
	rings = NULL;
	return 0;
}

/* By hand, into ring 0. */
static void put(u32 site, u64 a, u64 b, u32 c)
{
	struct ring_head *h = ring_head_at(shared, 0);

	ring_records_at(shared, CAPACITY, 0)[h->head & (CAPACITY - 1)] =
		(struct ring_record){a, b, site, c};
	shared->nrings = 1;
	__atomic_store_n(&h->head, h->head + 1, __ATOMIC_RELEASE);
}

static void put_ram(void)
{
	put(RING_RAM, 0, 0, 1);
	put(RING_RAM, 0, 0x7f0000000000, 0);
	put(RING_RAM_END, 1 << 20, 0, 0);
	put(RING_RAM, 0, 0, 2);
}

static void put_site(u32 number, u32 size)
{
	put(RING_SITE, 0x1234, size | 3 << 8, number);
	put(RING_INSN, 0x038948, 0, 0);
}

/* Everything that a store to GVA by site 5 needs. */
static void put_start(void)
{
	put_ram();
	put(RING_VCPU, 0, 0, 0);
	put_site(5, 8);
	put(RING_MAP, GVA, GPA, 0);
}

static void drains(s64 records)
{
	assert_int_equal(rings_drain(rings, &ops, NULL), records);
}

static void refused(const char *why)
{
	assert_int_equal(rings_drain(rings, &ops, NULL), -EBADMSG);
	if (!strstr(rings_error(rings), why))
		fail_msg("\"%s\" is not about \"%s\"", rings_error(rings), why);
}

static void test_records(void **state)
{
	(void)state;
	put_start();
	put(5, GVA + 8, 1, 0);
	put(5, GVA + 16, 2, 0);
	put(RING_TIME, 100, 0, 0);
	put(5, GVA, 3, 0);
	put(RING_IO, 0xfee00000, 7, 5);
	put(RING_IO_AT, GVA, 1, 0);
	put(RING_LOST, 3, 90, RING_LOST_FULL);
	drains(15);
	assert_int_equal(got.stores, 3);
	assert_int_equal(got.spans, 2);
	assert_int_equal(got.sum, 6);
	assert_int_equal(got.ios, 1);
	assert_int_equal(got.lost, 3);
	assert_int_equal(got.rams, 1);
	assert_int_equal(rings_site(rings, 5)->size, 8);
	assert_null(rings_site(rings, 6));
	assert_int_equal(rings_map(rings, 0, GVA + 0xfff)->gpa, GPA);
	assert_null(rings_map(rings, 0, GVA + 0x1000));
	drains(0);
}

/* A span ends where the ring does; nothing is lost or seen twice over ten rounds. */
static void test_wraps(void **state)
{
	u64 sum = 0;

	(void)state;
	put_start();
	for (u64 i = 1; i <= 10 * CAPACITY; i++) {
		put(5, GVA, i, 0);
		sum += i;
		if (i % 1000 == 0)
			assert_true(rings_drain(rings, &ops, NULL) > 0);
	}
	assert_true(rings_drain(rings, &ops, NULL) >= 0);
	assert_int_equal(got.stores, 10 * CAPACITY);
	assert_int_equal(got.sum, sum);
}

/* A record of two that is there by half waits for the other half. */
static void test_halves(void **state)
{
	(void)state;
	put_start();
	put(RING_IO, 0xfee00000, 7, 5);
	drains(8);
	drains(0);
	put(RING_IO_AT, GVA, 1, 0);
	drains(2);
	assert_int_equal(got.ios, 1);
}

static void test_site_said_again(void **state)
{
	(void)state;
	put_start();
	put_site(5, 8);
	drains(10);
	assert_int_equal(got.sites, 1);
	put_site(5, 4);
	refused("was another one");
}

/* An ops function that fails gets the same span again. */
static void test_answer(void **state)
{
	(void)state;
	put_start();
	put(5, GVA, 9, 0);
	got.answer = -ENOSPC;
	drains(-ENOSPC);
	got.answer = 0;
	drains(1);
	assert_int_equal(got.sum, 9);
}

static void test_new_ram_voids_maps(void **state)
{
	(void)state;
	put_start();
	put_ram();
	put(5, GVA, 1, 0);
	refused("not mapped");
}

static void test_crossing_needs_both_pages(void **state)
{
	(void)state;
	put_start();
	put(5, GVA + 0xff8, 1, 0);
	drains(9);
	put(RING_MAP, GVA + 0x1000, GPA, 0);
	put(5, GVA + 0xffc, 1, 0);
	drains(2);
	put(5, GVA + 0x1ffc, 1, 0);
	refused("not mapped");
}

static const struct {
	const char *name;
	u32 site;
	u64 a, b;
	u32 c;
	const char *why;
} malformed[] = {
	{"unknown site", 6, GVA, 0, 0, "not known"},
	{"site out of range", RING_SITES, GVA, 0, 0, "not known"},
	{"site just below control", RING_CONTROL - 1, GVA, 0, 0, "not known"},
	{"unmapped page", 5, GVA + 0x1000, 0, 0, "not mapped"},
	{"page at 1", 5, 1, 0, 0, "not mapped"},
	{"kind", RING_CONTROL_MAX, 0, 0, 0, "kind"},
	{"insn alone", RING_INSN, 0, 0, 0, "kind"},
	{"io at alone", RING_IO_AT, 0, 0, 0, "kind"},
	{"ram end alone", RING_RAM_END, 1, 0, 0, "kind"},
	{"map not a page", RING_MAP, GVA + 1, GPA, 0, "mapping"},
	{"map to no page", RING_MAP, GVA, GPA + 8, 0, "mapping"},
	{"map flag", RING_MAP, GVA, GPA, 2, "mapping"},
	{"vcpu", RING_VCPU, VCPU_NONE, 0, 0, "vCPU"},
	{"idle vcpu", RING_IDLE, 1ull << 40, 0, 0, "vCPU"},
	{"lost none", RING_LOST, 0, 0, 1, "loss"},
	{"lost without reason", RING_LOST, 1, 0, 0, "loss"},
	{"ram closed twice", RING_RAM, 0, 0, 2, "RAM"},
};

static void test_malformed(void **state)
{
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		put_start();
		put(malformed[i].site, malformed[i].a, malformed[i].b, malformed[i].c);
		refused(malformed[i].why);
		/* It stays refused. */
		refused(malformed[i].why);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static const struct {
	const char *name;
	struct ring_record first, second;
	const char *why;
} pairs[] = {
	{"site and store", {0x1234, 8, RING_SITE, 6}, {GVA, 0, 5, 0}, "not a site"},
	{"site number", {0x1234, 8, RING_SITE, RING_SITES}, {0, 0, RING_INSN, 0}, "not a site"},
	{"size 0", {0x1234, 0, RING_SITE, 6}, {0, 0, RING_INSN, 0}, "not a site"},
	{"size 3", {0x1234, 3, RING_SITE, 6}, {0, 0, RING_INSN, 0}, "not a site"},
	{"size 16", {0x1234, 16, RING_SITE, 6}, {0, 0, RING_INSN, 0}, "not a site"},
	{"long", {0x1234, 8 | 17 << 8, RING_SITE, 6}, {0, 0, RING_INSN, 0}, "not a site"},
	{"part", {0x1234, 8 | 64 << 16, RING_SITE, 6}, {0, 0, RING_INSN, 0}, "not a site"},
	{"io's site", {0xfee00000, 7, RING_IO, 9}, {GVA, 1, RING_IO_AT, 0}, "to a device"},
	{"io known", {0xfee00000, 7, RING_IO, 5}, {GVA, 2, RING_IO_AT, 0}, "to a device"},
	{"ram not open", {0, 0, RING_RAM, 0}, {4096, 0, RING_RAM_END, 0}, "range of RAM"},
	{"ram of a store", {0, 0, RING_RAM, 1}, {GVA, 0, 5, 0}, "does not end"},
};

static void test_malformed_pairs(void **state)
{
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct ring_record *p[] = {&pairs[i].first, &pairs[i].second};

		put_start();
		for (int k = 0; k < 2; k++)
			put(p[k]->site, p[k]->a, p[k]->b, p[k]->c);
		refused(pairs[i].why);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static void test_ram_ranges(void **state)
{
	static const struct {
		u64 gpa, size;
	} wrong[] = {{0x1000, 0}, {0x800, 0x1000}, {~0xfffull, 0x2000}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		put(RING_RAM, 0, 0, 1);
		put(RING_RAM, 0, 0x7f0000000000, 0);
		put(RING_RAM_END, 0x1000, 0, 0);
		put(RING_RAM, wrong[i].gpa, 0x7f0000001000, 0);
		put(RING_RAM_END, wrong[i].size, 0, 0);
		refused("range of RAM");
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static void test_no_store_before_vcpu(void **state)
{
	(void)state;
	put_ram();
	put_site(5, 8);
	put(RING_MAP, GVA, GPA, 0);
	put(5, GVA, 0, 0);
	refused("before its vCPU");
}

static void test_time_goes_back(void **state)
{
	(void)state;
	put(RING_TIME, 100, 0, 0);
	put(RING_TIME, 99, 0, 0);
	refused("time");
}

static void test_indices(void **state)
{
	(void)state;
	shared->nrings = 1;
	ring_head_at(shared, 0)->head = CAPACITY + 1;
	refused("more records");
	ring_head_at(shared, 0)->head = ~0ull;
	refused("more records");
	ring_head_at(shared, 0)->head = 0;
	shared->nrings = RINGS_MAX + 1;
	refused("rings");
}

static void test_end_is_last(void **state)
{
	(void)state;
	put_start();
	put(RING_END, 5, 0, 0);
	drains(9);
	assert_int_equal(got.ends, 1);
	assert_int_equal(shared->ended, 1);
	drains(0);
	assert_int_equal(got.ends, 1);
	put(RING_TIME, 5, 0, 0);
	refused("after the end");
}

static void test_capacity(void **state)
{
	struct rings *r = NULL;

	(void)state;
	assert_int_equal(rings_open(&r, 3 * RING_LEAST, 0), -EINVAL);
	assert_int_equal(rings_open(&r, RING_LEAST / 2, 0), -EINVAL);
	assert_int_equal(rings_open(&r, RING_MOST * 2, 0), -EINVAL);
	assert_null(r);
}

static void test_says_why_not(void **state)
{
	(void)state;
	assert_int_equal(rings_ready(rings), 0);
	shared->ready = 1;
	assert_int_equal(rings_ready(rings), 1);
	memset(shared->text, 'x', sizeof(shared->text));
	shared->text[1] = '\n';
	shared->ready = 2;
	assert_int_equal(rings_ready(rings), -ENOTSUP);
	assert_true(!strncmp(rings_error(rings), "x?xx", 4));
	assert_int_equal(strlen(rings_error(rings)), sizeof(shared->text) - 1);
}

/* From here on the plugin's own producer, which a process has once. */

#define STORES 200000

static bool parks_seen;

static void *produce(void *arg)
{
	struct producer *p = producer_get();
	u64 said = 0;

	(void)arg;
	assert_non_null(p);
	for (u64 i = 0; i < STORES; i++) {
		if (__atomic_load_n(&shared_ring->tick, __ATOMIC_RELAXED) != p->tick)
			producer_tick(p);
		assert_true(producer_room(p, 16));
		if (!said++) {
			producer_put(p, 0, 0, RING_RAM, 1);
			producer_put(p, 0, 0x7f0000000000, RING_RAM, 0);
			producer_put(p, 1 << 20, 0, RING_RAM_END, 0);
			producer_put(p, 0, 0, RING_RAM, 2);
			producer_put(p, 0, 0, RING_VCPU, 0);
			producer_put(p, 0x1234, 8 | 3 << 8, RING_SITE, 5);
			producer_put(p, 0, 0, RING_INSN, 0);
			producer_put(p, GVA, GPA, RING_MAP, 0);
		}
		producer_put(p, GVA, i, 5, 0);
		producer_publish(p);
		if (p->ticked)
			assert_true(producer_rest(p));
	}
	producer_end();
	return p;
}

/* A ring far smaller than what goes through it: the producer waits, parks, ends; nothing is lost.
 */
static void test_producer(void **state)
{
	pthread_t thread;
	void *producer = NULL;
	u64 drained = 0;

	(void)state;
	assert_int_equal(pipe(alive), 0);
	assert_null(producer_open(rings_fd(rings), alive[0]));
	assert_int_equal(pthread_create(&thread, NULL, produce, NULL), 0);
	while (!got.ends) {
		const s64 n = rings_drain(rings, &ops, NULL);

		assert_true(n >= 0);
		rings_tick(rings);
		drained += (u64)n;
		if (!parks_seen && drained > STORES / 2) {
			rings_park(rings);
			while (!rings_parked(rings))
				assert_true(rings_drain(rings, &ops, NULL) >= 0);
			assert_true(rings_drain(rings, &ops, NULL) >= 0);
			parks_seen = true;
			for (int i = 0; i < 1000; i++)
				assert_int_equal(rings_drain(rings, &ops, NULL), 0);
			rings_unpark(rings);
		}
	}
	assert_int_equal(pthread_join(thread, &producer), 0);
	free(producer);
	assert_true(parks_seen);
	assert_int_equal(got.stores, STORES);
	assert_int_equal(got.sum, (u64)STORES * (STORES - 1) / 2);
	assert_int_equal(got.last, STORES - 1);
	close(alive[0]);
	close(alive[1]);
}

/* The producer refuses memory that is not what it should be. */
static void test_producer_refuses(void **state)
{
	(void)state;
	assert_int_equal(pipe(alive), 0);
	shared->capacity = CAPACITY * 2;
	assert_non_null(producer_open(rings_fd(rings), alive[0]));
	shared->capacity = CAPACITY - 1;
	assert_non_null(producer_open(rings_fd(rings), alive[0]));
	shared->capacity = 0;
	assert_non_null(producer_open(rings_fd(rings), alive[0]));
	shared->capacity = CAPACITY;
	shared->version++;
	assert_non_null(producer_open(rings_fd(rings), alive[0]));
	assert_non_null(producer_open(alive[0], alive[0]));
	assert_non_null(producer_open(-1, alive[0]));
	close(alive[0]);
	close(alive[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_records),
		TEST(test_wraps),
		TEST(test_halves),
		TEST(test_site_said_again),
		TEST(test_answer),
		TEST(test_new_ram_voids_maps),
		TEST(test_crossing_needs_both_pages),
		TEST(test_malformed),
		TEST(test_malformed_pairs),
		TEST(test_ram_ranges),
		TEST(test_no_store_before_vcpu),
		TEST(test_time_goes_back),
		TEST(test_indices),
		TEST(test_end_is_last),
		TEST(test_capacity),
		TEST(test_says_why_not),
		TEST(test_producer_refuses),
		TEST(test_producer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
