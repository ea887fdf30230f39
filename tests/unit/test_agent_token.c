// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Threads that take turns by the token. Their "guest" is a loop that ends when it is kicked, as
 * KVM_RUN does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "user/agent_run.h"
#include "user/agent_sys.h"

#define VCPUS 4

static struct run run;
static struct kvm_run kvm[VCPUS];
static volatile u64 word;	/* what a read-modify-write in two halves adds to */
static u64 turns[VCPUS], kicks; /* of each; how often one was kicked out */
static bool stop_all;

static void on_signal(int sig)
{
	(void)sig;
}

static struct vcpu *vcpu_make(u32 i)
{
	struct vcpu *v = &run.vcpu[i];

	memset(v, 0, sizeof(*v));
	v->id = i;
	v->run = &kvm[i];
	v->seat.wchan_fd = -1;
	memset(&kvm[i], 0, sizeof(kvm[i]));
	return v;
}

static void start(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &sa, NULL);
	memset(&run, 0, sizeof(run));
	pthread_mutex_init(&run.token.lock, NULL);
	run.token.on = 1;
	run.nvcpus = VCPUS;
	word = 0;
	kicks = 0;
	stop_all = false;
	memset(turns, 0, sizeof(turns));
	for (u32 i = 0; i < VCPUS; i++)
		vcpu_make(i);
}

/* One KVM_RUN: 0 for an exit, -EINTR when it was kicked. */
static int guest(struct vcpu *v, u32 loops)
{
	int ret = 0;

	__atomic_store_n(&v->in, 1, __ATOMIC_SEQ_CST);
	for (u32 i = 0; !loops || i < loops; i++)
		if (__atomic_load_n(&v->run->immediate_exit, __ATOMIC_SEQ_CST)) {
			ret = -EINTR;
			break;
		}
	__atomic_store_n(&v->in, 0, __ATOMIC_SEQ_CST);
	return ret;
}

static void kick_forget(struct vcpu *v)
{
	if (__atomic_exchange_n(&v->kicked, 0, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&kicks, 1, __ATOMIC_RELAXED);
	}
}

/* Adds 1 in two halves, with an exit in between, 20,000 times. */
static void *adder(void *arg)
{
	struct vcpu *v = arg;
	u32 done = 0;

	v->tid = (pid_t)syscall(SYS_gettid);
	while (done < 20000) {
		u64 before;

		if (token_take(&run.token, v)) {
			kick_forget(v);
			continue;
		}
		before = word;
		if (guest(v, 20)) { /* not begun */
			kick_forget(v);
			token_leave(&run.token, v, -EINTR, false);
			continue;
		}
		token_leave(&run.token, v, 0, true);
		word = before + 1; /* the VMM stores */
		assert_int_equal(token_take(&run.token, v), 0);
		done++;
		turns[v->id]++;
		token_leave(&run.token, v, 0, false);
	}
	return NULL;
}

static void test_updates_are_not_lost(void **state)
{
	pthread_t thread[VCPUS];

	(void)state;
	start();
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, adder, &run.vcpu[i]), 0);
	for (u32 i = 0; i < VCPUS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(word, VCPUS * 20000);
	assert_int_equal(run.token.broken, 0);
	assert_int_equal(run.token.nqueue, 0);
}

/* Never leaves by itself. */
static void *spinner(void *arg)
{
	struct vcpu *v = arg;

	v->tid = (pid_t)syscall(SYS_gettid);
	while (!__atomic_load_n(&stop_all, __ATOMIC_SEQ_CST)) {
		int ret = token_take(&run.token, v);

		if (!ret) {
			__atomic_fetch_add(&turns[v->id], 1, __ATOMIC_RELAXED);
			ret = guest(v, 0);
			kick_forget(v);
			token_leave(&run.token, v, ret, false);
		} else {
			kick_forget(v);
		}
	}
	return NULL;
}

static void test_a_quantum_ends(void **state)
{
	pthread_t thread[VCPUS];
	u64 least = ~0ull, most = 0;

	(void)state;
	start();
	for (u32 i = 0; i < VCPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, spinner, &run.vcpu[i]), 0);
	while (__atomic_load_n(&turns[0], __ATOMIC_RELAXED) < 100)
		sched_yield();
	__atomic_store_n(&stop_all, true, __ATOMIC_SEQ_CST);
	/* The last ones have nobody left to end their quantum. */
	for (u32 i = 0; i < VCPUS; i++) {
		while (pthread_tryjoin_np(thread[i], NULL)) {
			for (u32 k = 0; k < VCPUS; k++)
				__atomic_store_n(&run.vcpu[k].run->immediate_exit, 1,
						 __ATOMIC_SEQ_CST);
			sched_yield();
		}
	}
	for (u32 i = 0; i < VCPUS; i++) {
		least = turns[i] < least ? turns[i] : least;
		most = turns[i] > most ? turns[i] : most;
	}
	assert_true(kicks >= 100);
	assert_true(least > 0 && most <= 2 * least); /* in the order in which they came */
}

/* The VMM wants its thread: the wait ends; but not in the middle of an instruction. */
static void test_a_kick_ends_the_wait(void **state)
{
	struct vcpu *a, *b;

	(void)state;
	start();
	a = &run.vcpu[0];
	b = &run.vcpu[1];
	assert_int_equal(token_take(&run.token, a), 0);
	token_leave(&run.token, a, 0, true); /* keeps it: a store is to be done */
	b->run->immediate_exit = 1;
	assert_int_equal(token_take(&run.token, b), -EINTR);
	assert_int_equal(run.token.nqueue, 0);
	assert_int_equal(token_take(&run.token, a), 0);
	token_leave(&run.token, a, 0, false);
	b->seat.unfinished = true; /* KVM has to end an instruction of b's: it gets the token */
	assert_int_equal(token_take(&run.token, b), 0);
	assert_ptr_equal(run.token.owner, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_updates_are_not_lost),
		cmocka_unit_test(test_a_quantum_ends),
		cmocka_unit_test(test_a_kick_ends_the_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
