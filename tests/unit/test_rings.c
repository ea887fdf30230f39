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
/* ring_map_slot(GVA) << 12, GVA's offset being 0 */
#define ON_GVA (((u32)((GVA >> 12) ^ (GVA >> 24)) & (RING_MAPS - 1)) << 12)

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
		got.sum += rec[i].word;
		got.last = rec[i].word;
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
static void put(struct ring_record rec)
{
	struct ring_head *h = ring_head_at(shared, 0);

	ring_records_at(shared, CAPACITY, 0)[h->head & (CAPACITY - 1)] = rec;
	shared->nrings = 1;
	__atomic_store_n(&h->head, h->head + 1, __ATOMIC_RELEASE);
}

struct say {
	u32 kind, at;
	u64 word[RING_WORDS];
};

static void say(struct say c)
{
	put((struct ring_record){c.word[0], c.kind, c.at});
	for (u32 i = 1; i < ring_words(c.kind); i++)
		put((struct ring_record){c.word[i], RING_WORD, 0});
}

static struct ring_record to(u64 gva, u32 site, u64 value)
{
	return (struct ring_record){value, site, ring_map_slot(gva) << 12 | (u32)(gva & 0xfff)};
}

static void put_ram(void)
{
	say((struct say){RING_RAM, 0, {0}});
	say((struct say){RING_RANGE, 0, {0, 0x7f0000000000, 1 << 20}});
	say((struct say){RING_RAM_END, 0, {0}});
}

static void put_site(u32 number, u32 size)
{
	say((struct say){RING_SITE, number, {0x1234, size | 3 << 8, 0x038948}});
}

static void put_map(u64 gva)
{
	say((struct say){RING_MAP, 0, {gva, GPA}});
}

/* Everything that a store to GVA by site 5 needs: START records. */
#define START 12
static void put_start(void)
{
	put_ram();
	say((struct say){RING_VCPU, 0, {0}});
	put_site(5, 8);
	put_map(GVA);
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
	put(to(GVA + 8, 5, 1));
	put(to(GVA + 16, 5, 2));
	say((struct say){RING_TIME, 0, {100}});
	put(to(GVA, 5, 3));
	say((struct say){RING_IO, 5, {0xfee00000, 7, GVA, 1}});
	say((struct say){RING_LOST, RING_LOST_FULL, {3, 90}});
	drains(START + 10);
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
	assert_int_equal(rings_maps(rings, 0)[ring_map_slot(GVA)].gva, GVA);
	assert_int_equal(rings_maps(rings, 0)[ring_map_slot(GVA + 0x1000)].gva, RINGS_NO_PAGE);
	drains(0);
}

/* A span ends where the ring does; nothing is lost or seen twice over ten rounds. */
static void test_wraps(void **state)
{
	u64 sum = 0;

	(void)state;
	put_start();
	for (u64 i = 1; i <= 10 * CAPACITY; i++) {
		put(to(GVA, 5, i));
		sum += i;
		if (i % 1000 == 0)
			assert_true(rings_drain(rings, &ops, NULL) > 0);
	}
	assert_true(rings_drain(rings, &ops, NULL) >= 0);
	assert_int_equal(got.stores, 10 * CAPACITY);
	assert_int_equal(got.sum, sum);
}

/* What is there but in part waits for the rest. */
static void test_parts(void **state)
{
	(void)state;
	put_start();
	put((struct ring_record){0xfee00000, RING_IO, 5});
	drains(START);
	for (u32 i = 0; i < 3; i++) {
		drains(0);
		put((struct ring_record){i == 0 ? 7 : i == 1 ? GVA : 1, RING_WORD, 0});
	}
	drains(4);
	assert_int_equal(got.ios, 1);
}

static void test_site_said_again(void **state)
{
	(void)state;
	put_start();
	put_site(5, 8);
	drains(START + 4);
	assert_int_equal(got.sites, 1);
	put_site(5, 4);
	refused("was another one");
}

/* An ops function that fails gets the same span again. */
static void test_answer(void **state)
{
	(void)state;
	put_start();
	put(to(GVA, 5, 9));
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
	put(to(GVA, 5, 1));
	refused("not mapped");
}

static void test_crossing_needs_both_pages(void **state)
{
	(void)state;
	put_start();
	put(to(GVA + 0xff8, 5, 1));
	drains(START + 1);
	put_map(GVA + 0x1000);
	put(to(GVA + 0xffc, 5, 1));
	drains(3);
	put(to(GVA + 0x1ffc, 5, 1));
	refused("not mapped");
}

static const struct {
	const char *name;
	struct ring_record rec;
	const char *why;
} malformed[] = {
	{"unknown site", {0, 6, ON_GVA}, "not known"},
	{"site out of range", {0, RING_SITES, ON_GVA}, "not known"},
	{"site just below control", {0, RING_CONTROL - 1, ON_GVA}, "not known"},
	{"unmapped page", {0, 5, ON_GVA ^ 0x1000}, "not mapped"},
	{"place out of range", {0, 5, 1u << 24 | ON_GVA}, "not mapped"},
	{"place out of all range", {0, 5, ~0u}, "not mapped"},
	{"kind", {0, RING_CONTROL_MAX, 0}, "kind"},
	{"last kind", {0, ~0u, 0}, "kind"},
	{"word alone", {0, RING_WORD, 0}, "kind"},
};

static void test_malformed(void **state)
{
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		put_start();
		put(malformed[i].rec);
		refused(malformed[i].why);
		/* It stays refused. */
		refused(malformed[i].why);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

static const struct {
	const char *name;
	struct say say;
	const char *why;
} malsaid[] = {
	{"map not a page", {RING_MAP, 0, {GVA + 1, GPA}}, "mapping"},
	{"map to no page", {RING_MAP, 0, {GVA, GPA + 8}}, "mapping"},
	{"map flag", {RING_MAP, 2, {GVA, GPA}}, "mapping"},
	{"vcpu", {RING_VCPU, VCPU_NONE, {0}}, "vCPU"},
	{"idle vcpu", {RING_IDLE, ~0u, {0}}, "vCPU"},
	{"lost none", {RING_LOST, 1, {0}}, "loss"},
	{"lost without reason", {RING_LOST, 0, {1}}, "loss"},
	{"lost for what", {RING_LOST, 4, {1}}, "loss"},
	{"ram closed twice", {RING_RAM_END, 0, {0}}, "RAM"},
	{"ram not open", {RING_RANGE, 0, {0, 0x7f0000000000, 0x1000}}, "range of RAM"},
	{"site number", {RING_SITE, RING_SITES, {0x1234, 8}}, "not a site"},
	{"size 0", {RING_SITE, 6, {0x1234, 0}}, "not a site"},
	{"size 3", {RING_SITE, 6, {0x1234, 3}}, "not a site"},
	{"size 16", {RING_SITE, 6, {0x1234, 16}}, "not a site"},
	{"long", {RING_SITE, 6, {0x1234, 8 | 17 << 8}}, "not a site"},
	{"part", {RING_SITE, 6, {0x1234, 8 | 64 << 16}}, "not a site"},
	{"shape", {RING_SITE, 6, {0x1234, 8 | 1ull << 32}}, "not a site"},
	{"io's site", {RING_IO, 9, {0xfee00000, 7, GVA, 1}}, "to a device"},
	{"io known", {RING_IO, 5, {0xfee00000, 7, GVA, 2}}, "to a device"},
};

static void test_malformed_said(void **state)
{
	for (size_t i = 0; i < sizeof(malsaid) / sizeof(malsaid[0]); i++) {
		put_start();
		say(malsaid[i].say);
		refused(malsaid[i].why);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

/* A store, or the beginning of something else, where a word should be. */
static void test_ends_early(void **state)
{
	static const u32 instead[] = {5, RING_TIME};

	for (size_t i = 0; i < 2; i++) {
		put_start();
		put((struct ring_record){GVA, RING_MAP, 0});
		put((struct ring_record){0, instead[i], ON_GVA});
		refused("ends early");
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
	put_start();
	say((struct say){RING_RAM, 0, {0}});
	put(to(GVA, 5, 0));
	refused("does not end");
	assert_int_equal(teardown(state), 0);
	assert_int_equal(setup(state), 0);
	say((struct say){RING_RAM, 0, {0}});
	say((struct say){RING_TIME, 0, {1}});
	refused("does not end");
}

static void test_ram_ranges(void **state)
{
	static const struct {
		u64 gpa, size;
	} wrong[] = {{0x1000, 0}, {0x800, 0x1000}, {~0xfffull, 0x2000}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		say((struct say){RING_RAM, 0, {0}});
		say((struct say){RING_RANGE, 0, {0, 0x7f0000000000, 0x1000}});
		say((struct say){RING_RANGE, 0, {wrong[i].gpa, 0x7f0000001000, wrong[i].size}});
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
	put_map(GVA);
	put(to(GVA, 5, 0));
	refused("before its vCPU");
}

static void test_time_goes_back(void **state)
{
	(void)state;
	say((struct say){RING_TIME, 0, {100}});
	say((struct say){RING_TIME, 0, {99}});
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
	say((struct say){RING_END, 0, {5}});
	drains(START + 1);
	assert_int_equal(got.ends, 1);
	assert_int_equal(shared->ended, 1);
	drains(0);
	assert_int_equal(got.ends, 1);
	say((struct say){RING_TIME, 0, {5}});
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
			producer_say_one(p, RING_RAM, 0, 0);
			producer_say(p, RING_RANGE, 0, (u64[]){0, 0x7f0000000000, 1 << 20});
			producer_say_one(p, RING_RAM_END, 0, 0);
			producer_say_one(p, RING_VCPU, 0, 0);
			producer_say(p, RING_SITE, 5, (u64[]){0x1234, 8 | 3 << 8, 0, 0});
			producer_say(p, RING_MAP, 0, (u64[]){GVA, GPA});
		}
		producer_put(p, i, 5, ON_GVA);
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
		TEST(test_parts),
		TEST(test_site_said_again),
		TEST(test_answer),
		TEST(test_new_ram_voids_maps),
		TEST(test_crossing_needs_both_pages),
		TEST(test_malformed),
		TEST(test_malformed_said),
		TEST(test_ends_early),
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
