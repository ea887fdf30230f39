// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The producer's side of the rings. What is read from the shared memory is checked, and no wait
 * outlives the recorder.
 *
 * A vCPU's thread waits here without QEMU's big lock: the callbacks of stores run in guest code.
 * Only producer_end() may hold it (an exit() within a device): it waits for the recorder alone.
 */
#include "plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAIT_NS	    50000000
#define END_WAIT_NS 100000000

__thread struct producer *own_producer;
struct ring_shared *shared_ring;

static u32 capacity;
static bool lossy;
static struct ring_range only[RING_ONLY];
static u32 nonly;
static int alive = -1;
static u32 dead, ending;
static u32 nproducers;
static u32 said_fail;

/* Per ring: 1 once its thread stands still because the VMM ends. */
static u32 stopped[RINGS_MAX];

static void futex_wait(u32 *word, u32 value)
{
	const struct timespec ts = {.tv_nsec = WAIT_NS};
	const int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
	errno = saved;
}

bool producer_dead(void)
{
	return __atomic_load_n(&dead, __ATOMIC_RELAXED);
}

/* Looks whether the recorder still holds the pipe's other end. */
static bool look_alive(void)
{
	struct pollfd pfd = {alive, POLLIN, 0};
	const int saved = errno;

	if (!producer_dead() && poll(&pfd, 1, 0) == 1)
		__atomic_store_n(&dead, 1, __ATOMIC_RELAXED);
	errno = saved;
	return !producer_dead();
}

const char *producer_open(int fd, int alive_fd)
{
	struct ring_shared *s;
	struct stat st;

	/* Memory that shrinks under us would be a SIGBUS. */
	if (fstat(fd, &st) || !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
		return "fd is no sealed shared memory";
	if (fcntl(alive_fd, F_GETFD) < 0)
		return "alive is no descriptor";
	if (st.st_size < (off_t)sizeof(*s))
		return "the shared memory is too small";
	s = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return "the shared memory cannot be mapped";
	capacity = __atomic_load_n(&s->capacity, __ATOMIC_RELAXED);
	lossy = s->flags & RING_LOSSY;
	nonly = s->nonly < RING_ONLY ? s->nonly : RING_ONLY;
	memcpy(only, s->only, sizeof(only));
	if (s->magic != RING_MAGIC || s->version != RING_VERSION || capacity < RING_LEAST ||
	    capacity > RING_MOST || capacity & (capacity - 1) ||
	    (size_t)st.st_size < ring_shared_size(capacity)) {
		munmap(s, (size_t)st.st_size);
		return "the shared memory is another version's";
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(alive_fd, F_SETFD, FD_CLOEXEC);
	shared_ring = s;
	alive = alive_fd;
	return NULL;
}

bool producer_wants(u64 gpa)
{
	for (u32 i = 0; i < nonly; i++)
		if (gpa >= only[i].gpa && gpa < only[i].end)
			return true;
	return !nonly;
}

void plugin_fail(const char *text)
{
	size_t len = strlen(text);

	if (!shared_ring || __atomic_exchange_n(&said_fail, 1, __ATOMIC_RELAXED))
		return;
	if (len > sizeof(shared_ring->text) - 1)
		len = sizeof(shared_ring->text) - 1;
	memcpy(shared_ring->text, text, len);
	shared_ring->text[len] = '\0';
	__atomic_store_n(&shared_ring->ready, 2, __ATOMIC_RELEASE);
}

struct producer *producer_get(void)
{
	struct producer *p = own_producer;
	u32 number;

	if (p || producer_dead())
		return producer_dead() ? NULL : p;
	number = __atomic_load_n(&nproducers, __ATOMIC_RELAXED);
	do {
		if (number >= RINGS_MAX)
			return NULL;
	} while (!__atomic_compare_exchange_n(&nproducers, &number, number + 1, false,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	p = calloc(1, sizeof(*p));
	if (p)
		p->said = mmap(NULL, RING_SITES / 8, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!p || p->said == MAP_FAILED) {
		plugin_fail("no memory");
		return NULL;
	}
	p->number = number;
	p->capacity = capacity;
	p->shared = ring_head_at(shared_ring, number);
	p->rec = ring_records_at(shared_ring, capacity, number);
	p->vcpu = p->quick_vcpu = ~0u;
	p->tick = ~(u64)0;
	__atomic_store_n(&p->shared->thread, (u32)syscall(SYS_gettid), __ATOMIC_RELEASE);
	/* Threads come in any order: the recorder looks at each below nrings that has a thread. */
	number = __atomic_load_n(&shared_ring->nrings, __ATOMIC_RELAXED);
	while (number <= p->number &&
	       !__atomic_compare_exchange_n(&shared_ring->nrings, &number, p->number + 1, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return own_producer = p;
}

/* The consumer's tail; a value that cannot be is a recorder not to be trusted any more. */
static bool tail_read(struct producer *p)
{
	const u64 tail = __atomic_load_n(&p->shared->tail, __ATOMIC_SEQ_CST);

	if (p->head - tail > p->capacity) {
		__atomic_store_n(&dead, 1, __ATOMIC_RELAXED);
		return false;
	}
	p->tail = tail;
	return true;
}

bool producer_room_slow(struct producer *p, u32 n, bool wait)
{
	while (tail_read(p)) {
		u32 low;

		if (p->head + n - p->tail <= p->capacity)
			return true;
		if (lossy || !wait)
			return false;
		producer_publish(p);
		low = __atomic_load_n(&p->shared->tail_low, __ATOMIC_RELAXED);
		__atomic_store_n(&p->shared->waiting, 1, __ATOMIC_SEQ_CST);
		if (!tail_read(p) || !look_alive())
			break;
		if (p->head + n - p->tail > p->capacity)
			futex_wait(&p->shared->tail_low, low);
		__atomic_store_n(&p->shared->waiting, 0, __ATOMIC_RELAXED);
	}
	return false;
}

void producer_say(struct producer *p, enum ring_control control, u32 at, const u64 *words)
{
	producer_put(p, words[0], control, at);
	for (u32 i = 1; i < ring_words(control); i++)
		producer_put(p, words[i], RING_WORD, 0);
}

void producer_lost(struct producer *p, enum ring_lost why)
{
	if (!p->lost++)
		p->lost_since_ns = now_ns();
	p->lost_why = why;
	p->quick_vcpu = ~0u;
	__atomic_store_n(&p->shared->lost, p->shared->lost + 1, __ATOMIC_RELAXED);
}

void producer_say_lost(struct producer *p)
{
	producer_say(p, RING_LOST, p->lost_why, (u64[]){p->lost, p->lost_since_ns});
	p->lost = 0;
}

/* Stands still, with all told, as long as the word holds the value. */
static void stand(struct producer *p, u32 *word, u32 value)
{
	producer_publish(p);
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value && look_alive())
		futex_wait(word, value);
}

void producer_tick(struct producer *p)
{
	p->tick = __atomic_load_n(&shared_ring->tick, __ATOMIC_RELAXED);
	p->ticked = true;
	if (producer_room(p, 1))
		producer_say_one(p, RING_TIME, 0, now_ns());
}

bool producer_rest(struct producer *p)
{
	u32 park;

	p->ticked = false;
	if (__atomic_load_n(&ending, __ATOMIC_SEQ_CST)) {
		producer_publish(p);
		__atomic_store_n(&stopped[p->number], 1, __ATOMIC_RELEASE);
		stand(p, &shared_ring->ended, 0);
		__atomic_store_n(&dead, 1, __ATOMIC_RELAXED);
		return false;
	}
	while ((park = __atomic_load_n(&shared_ring->park, __ATOMIC_ACQUIRE)) & 1 && look_alive()) {
		producer_publish(p);
		__atomic_store_n(&p->shared->parked, park, __ATOMIC_RELEASE);
		stand(p, &shared_ring->park, park);
	}
	return !producer_dead();
}

/* Waits until the other threads stand still, or halt. */
static void others_stop(const struct producer *own)
{
	const u64 until_ns = now_ns() + END_WAIT_NS;
	const u32 n = __atomic_load_n(&nproducers, __ATOMIC_RELAXED);

	/* Every thread looks at `ending` when it sees another tick. */
	__atomic_store_n(&ending, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&shared_ring->tick, 1, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < n && i < RINGS_MAX; i++)
		while (i != own->number && !__atomic_load_n(&stopped[i], __ATOMIC_ACQUIRE) &&
		       !__atomic_load_n(&ring_head_at(shared_ring, i)->idle, __ATOMIC_RELAXED) &&
		       now_ns() < until_ns && look_alive()) {
			const struct timespec ts = {.tv_nsec = 100000};

			nanosleep(&ts, NULL);
		}
}

void producer_end(void)
{
	struct producer *p = producer_get();

	if (!p || !look_alive())
		return;
	others_stop(p);
	if (p->lost && producer_room_slow(p, 2, true))
		producer_say_lost(p);
	/* RING_END comes through even where stores do not wait. */
	while (look_alive() && !producer_room_slow(p, 1, true)) {
		const struct timespec ts = {.tv_nsec = 1000000};

		nanosleep(&ts, NULL);
	}
	if (producer_dead())
		return;
	producer_say_one(p, RING_END, 0, now_ns());
	stand(p, &shared_ring->ended, 0);
	__atomic_store_n(&dead, 1, __ATOMIC_RELAXED);
}
