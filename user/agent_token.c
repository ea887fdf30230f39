// SPDX-License-Identifier: GPL-2.0-or-later
/* Who may enter the guest: a queue of vCPUs, and a first one in it that keeps an eye on the owner.
 */
#include "agent_token.h"

#include "agent_run.h"
#include "agent_sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define QUANTUM_NS 2000000ull
#define LOOK_NS	   100000ull	  /* before the first look whether the owner sleeps */
#define AWAY_NS	   100000ull	  /* out of KVM_RUN for so long: it does not need the token */
#define STORE_NS   10000000000ull /* for the VMM to perform a store */
#define NAPS_MAX   5

void token_seat_open(struct token_seat *seat)
{
	char path[64];
	int saved = errno;

	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", (int)syscall(SYS_gettid));
	seat->wchan_fd = open(path, O_RDONLY | O_CLOEXEC);
	errno = saved;
}

void token_seat_close(struct token_seat *seat)
{
	if (seat->wchan_fd > 0)
		close(seat->wchan_fd);
	seat->wchan_fd = -1;
}

/* A thread that runs has no wait channel: "0". In KVM_RUN that leaves a halted vCPU. */
static bool asleep(const struct token_seat *seat)
{
	char where[2] = {'0'};
	int saved = errno;
	ssize_t n = seat->wchan_fd > 0 ? pread(seat->wchan_fd, where, sizeof(where), 0) : 0;

	errno = saved;
	return n > 0 && where[0] != '0';
}

static void own(struct token *t, struct vcpu *v, u64 now_ns)
{
	if (t->owner != v)
		t->handovers++;
	t->owner = v;
	t->since_ns = now_ns;
	v->seat.evict = false;
}

static void queue_remove(struct token *t, struct vcpu *v)
{
	u32 i = 0;

	while (i < t->nqueue && t->queue[i] != v)
		i++;
	if (i == t->nqueue)
		return;
	t->nqueue--;
	memmove(&t->queue[i], &t->queue[i + 1], (t->nqueue - i) * sizeof(t->queue[0]));
	v->seat.waits = false;
	/* There is a new first one, to keep an eye on the owner. */
	if (!i && t->nqueue)
		sys_futex_wake(&t->queue[0]->seat.turn);
}

static void hand_on(struct token *t, u64 now_ns)
{
	struct vcpu *next = t->queue[0];

	queue_remove(t, next);
	own(t, next, now_ns);
	next->seat.moved_ns = now_ns;
	next->seat.busy = true;
	__atomic_store_n(&next->seat.turn, 1, __ATOMIC_RELEASE);
	sys_futex_wake(&next->seat.turn);
}

/* By the first in the queue, with the lock held: takes the token, or sees to it that the owner
 * gives it up. Returns how long to wait before the next look. */
static u64 press(struct token *t, struct vcpu *v, u64 *look_ns)
{
	struct vcpu *owner = t->owner;
	u64 now_ns = sys_now_ns(), had_ns = now_ns - t->since_ns;
	bool hurry = v->seat.unfinished;
	u64 patience_ns = LOOK_NS << v->seat.naps;

	if (!owner->seat.busy) {
		u64 away_ns = now_ns - owner->seat.moved_ns;

		if (!hurry && had_ns < QUANTUM_NS && away_ns < AWAY_NS)
			return AWAY_NS - away_ns;
		hand_on(t, now_ns);
		return 0;
	}
	if (!__atomic_load_n(&owner->in, __ATOMIC_SEQ_CST)) {
		/* It has a store to do, or is on its way in or out. */
		if (now_ns - owner->seat.moved_ns < STORE_NS || had_ns < STORE_NS)
			return AWAY_NS;
		t->broken++;
		hand_on(t, now_ns);
		return 0;
	}
	if (hurry || had_ns >= QUANTUM_NS || owner->seat.evict) {
		owner->seat.naps = 0;
		owner->seat.evict = true;
		vcpu_kick(owner);
		return QUANTUM_NS;
	}
	if (had_ns < patience_ns)
		return patience_ns - had_ns;
	if (asleep(&owner->seat)) {
		if (owner->seat.naps < NAPS_MAX)
			owner->seat.naps++;
		owner->seat.evict = true;
		vcpu_kick(owner);
		return QUANTUM_NS;
	}
	*look_ns *= 2;
	return had_ns + *look_ns < QUANTUM_NS ? *look_ns : QUANTUM_NS - had_ns;
}

int token_take(struct token *t, struct vcpu *v)
{
	struct token_seat *seat = &v->seat;
	u64 look_ns = LOOK_NS;
	bool interrupted = false;

	pthread_mutex_lock(&t->lock);
	if (!t->owner || t->owner == v) {
		const u64 now_ns = sys_now_ns();

		if (!t->owner || !t->nqueue)
			own(t, v, now_ns);
		seat->moved_ns = now_ns;
		seat->busy = true;
		pthread_mutex_unlock(&t->lock);
		return 0;
	}
	__atomic_store_n(&seat->turn, 0, __ATOMIC_RELAXED);
	t->queue[t->nqueue++] = v;
	seat->waits = true;
	while (seat->waits) {
		u64 wait_ns = t->queue[0] == v ? press(t, v, &look_ns) : QUANTUM_NS;

		if (!seat->waits)
			break;
		if (!seat->unfinished &&
		    (interrupted || __atomic_load_n(&v->run->immediate_exit, __ATOMIC_SEQ_CST))) {
			queue_remove(t, v);
			pthread_mutex_unlock(&t->lock);
			return -EINTR;
		}
		pthread_mutex_unlock(&t->lock);
		interrupted = sys_futex_wait(&seat->turn, 0, wait_ns) == -EINTR;
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return 0;
}

void token_leave(struct token *t, struct vcpu *v, int ret, bool storing)
{
	struct token_seat *seat = &v->seat;
	u64 now_ns = sys_now_ns();

	pthread_mutex_lock(&t->lock);
	seat->moved_ns = now_ns;
	seat->unfinished = !ret;
	seat->busy = storing;
	if (t->owner == v && !storing && t->nqueue &&
	    (seat->evict || now_ns - t->since_ns >= QUANTUM_NS))
		hand_on(t, now_ns);
	pthread_mutex_unlock(&t->lock);
}
