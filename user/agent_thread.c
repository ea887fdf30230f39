// SPDX-License-Identifier: GPL-2.0-or-later
/* The agent's own thread: commands, the recorder's heartbeat, and what happens when it is gone. */
#include "agent_state.h"

#include "agent_step.h"
#include "agent_sys.h"

#include <limits.h>
#include <signal.h>
#include <string.h>

#define TICK_MS	       250
#define ENDING_WAIT_NS 2000000000ull
#define STACK_BYTES    (256 * 1024)

struct heart {
	u64 beat;
	u64 seen_ns;  /* when we last looked */
	u64 still_ns; /* how long it has stood still, as far as we were running ourselves */
};

/* Time in which this process stood still too (SIGSTOP, a suspended host) does not count. */
static bool heart_stopped(struct heart *h, const struct agent_shared *shared)
{
	u64 now_ns = sys_now_ns(), beat = __atomic_load_n(&shared->beat, __ATOMIC_RELAXED);
	u64 passed_ns = now_ns - h->seen_ns;

	if (passed_ns > 2 * TICK_MS * 1000000ull)
		passed_ns = 2 * TICK_MS * 1000000ull;
	h->still_ns = beat == h->beat ? h->still_ns + passed_ns : 0;
	h->beat = beat;
	h->seen_ns = now_ns;
	return h->still_ns > AGENT_STALL_NS;
}

static void count_tell(struct agent *a, enum change_what what, u64 gpa, u64 *untold)
{
	if (*untold)
		agent_say(a, AGENT_CHANGE, what, gpa & ~(SLOTS_PAGE - 1), SLOTS_PAGE, *untold);
	*untold = 0;
}

/* What happens too often to tell of each time. */
static void counts_tell(struct agent *a)
{
	u64 broken = __atomic_load_n(&a->run.token.broken, __ATOMIC_RELAXED) - a->broken_told;

	a->broken_told += broken;
	count_tell(a, CHANGE_WHAT_STORE_REPLAYED, a->replayed_gpa, &a->replayed_untold);
	count_tell(a, CHANGE_WHAT_STEPPED, a->stepped_gpa, &a->stepped_untold);
	if (broken)
		agent_say(a, AGENT_CHANGE, CHANGE_WHAT_ORDER_RACY, 0, 0, broken);
}

static void answered(u32 *word)
{
	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	sys_futex_wake(word);
}

static void command_do(struct agent *a, const struct agent_msg *msg)
{
	u64 gpa = msg->num[0], size = msg->num[1];
	enum why why = msg->num[2] && msg->num[2] < WHY_MAX ? (enum why)msg->num[2] : WHY_ENDED;

	switch (msg->type) {
	case AGENT_ARM_NOW:
		agent_arm(a);
		break;
	case AGENT_DISARM:
		agent_disarm(a, why, false);
		break;
	case AGENT_OPEN:
		if (gpa + size < gpa)
			size = ~0ull - gpa;
		if (slots_open(&a->slots, gpa, gpa + size, why))
			a->sync_pending = true;
		break;
	case AGENT_HARVEST:
		agent_harvest(a, msg->num[0]);
		return;
	case AGENT_RESUME:
		if (a->held)
			run_resume(&a->run);
		a->held = false;
		return;
	case AGENT_OK:
		answered(msg->num[0] == AGENT_STARTING ? &a->started : &a->ended);
		return;
	default:
		return;
	}
	agent_say(a, AGENT_OK, msg->type, 0, 0, 0);
}

/* Hangs up; nothing is said any more. */
static void recorder_leave(struct agent *a, enum why why)
{
	agent_disarm(a, why, true);
	agent_link_close(&a->link);
	answered(&a->started);
	answered(&a->ended);
}

static void *thread_main(void *arg)
{
	struct agent *a = arg;
	static struct agent_msg msg;
	struct heart heart = {.seen_ns = sys_now_ns()};

	pthread_setname_np(pthread_self(), "vmblame");
	while (a->link.fd >= 0 || a->sync_pending) {
		enum agent_recv got = AGENT_RECV_NONE;

		if (a->link.fd >= 0)
			got = agent_link_recv(&a->link, &msg, TICK_MS);
		else
			sys_futex_wait(&a->ended, 1, TICK_MS * 1000000ull);
		pthread_mutex_lock(&a->lock);
		if (got == AGENT_RECV_MSG)
			command_do(a, &msg);
		if (a->sync_pending && got == AGENT_RECV_NONE)
			a->sync_pending = slots_sync(&a->slots) != 0;
		if (got == AGENT_RECV_EOF)
			recorder_leave(a, WHY_ENDED);
		else if (a->link.fd >= 0 && heart_stopped(&heart, a->link.shared) &&
			 (a->watching || a->held))
			recorder_leave(a, WHY_STALLED);
		if (got == AGENT_RECV_NONE) {
			counts_tell(a);
			step_look(a);
		}
		pthread_mutex_unlock(&a->lock);
	}
	return NULL;
}

int agent_thread_start(struct agent *a)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	size_t stack = STACK_BYTES;
	int err;

	if (stack < (size_t)sysconf(_SC_THREAD_STACK_MIN))
		stack = (size_t)sysconf(_SC_THREAD_STACK_MIN);
	err = pthread_attr_init(&attr);
	if (err)
		return -err;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, stack);
	/* The VMM's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, thread_main, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

static void answer_await(u32 *word, u64 wait_ns)
{
	const u64 until_ns = sys_now_ns() + wait_ns;

	while (!__atomic_load_n(word, __ATOMIC_SEQ_CST) && sys_now_ns() < until_ns)
		sys_futex_wait(word, 0, wait_ns / 8);
}

void agent_starting(struct agent *a)
{
	pthread_mutex_lock(&a->lock);
	if (a->link.fd < 0 || !a->pages.on)
		answered(&a->started);
	else if (!a->starting)
		agent_say(a, AGENT_STARTING, 0, 0, 0, 0);
	a->starting = true;
	pthread_mutex_unlock(&a->lock);
	answer_await(&a->started, AGENT_START_NS);
	answered(&a->started);
}

void agent_ending(struct agent *a)
{

	if (getpid() != a->pid)
		return;
	pthread_mutex_lock(&a->lock);
	counts_tell(a);
	agent_harvest(a, false);
	if (a->link.fd >= 0)
		__atomic_store_n(&a->ended, 0, __ATOMIC_SEQ_CST);
	agent_say(a, AGENT_ENDING, 0, 0, 0, 0);
	pthread_mutex_unlock(&a->lock);
	answer_await(&a->ended, ENDING_WAIT_NS);
}
