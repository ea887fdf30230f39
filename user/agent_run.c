// SPDX-License-Identifier: GPL-2.0-or-later
/* The way into KVM_RUN: the token, the gate; and the kick that gets a vCPU out of it. */
#include "agent_run.h"

#include "agent_sys.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define PAUSE_WAIT_NS 10000000000ull
#define KICK_EVERY_NS 2000000ull

int run_add(struct run *r, int fd, u32 id)
{
	struct vcpu *v = run_find(r, fd);

	if (!v) {
		if (r->nvcpus == AGENT_VCPUS)
			return -ENOSPC;
		v = &r->vcpu[r->nvcpus];
	}
	if (v->run) {
		munmap(v->run, r->mmap_size);
		token_seat_close(&v->seat);
	}
	memset(v, 0, sizeof(*v));
	v->seat.wchan_fd = -1;
	v->fd = fd;
	v->id = id;
	if (v == &r->vcpu[r->nvcpus])
		__atomic_store_n(&r->nvcpus, r->nvcpus + 1, __ATOMIC_RELEASE);
	return 0;
}

struct vcpu *run_find(struct run *r, int fd)
{
	u32 n = __atomic_load_n(&r->nvcpus, __ATOMIC_ACQUIRE);

	for (u32 i = 0; i < n; i++)
		if (r->vcpu[i].fd == fd)
			return &r->vcpu[i];
	return NULL;
}

int run_begin(struct run *r, struct vcpu *v)
{
	if (!v->run) {
		void *map = mmap(NULL, r->mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);

		if (map == MAP_FAILED)
			return -errno;
		v->run = map;
		token_seat_open(&v->seat);
	}
	v->tid = (pid_t)syscall(SYS_gettid);
	return 0;
}

bool run_ran(const struct run *r)
{
	for (u32 i = 0; i < r->nvcpus; i++)
		if (r->vcpu[i].tid)
			return true;
	return false;
}

/* A VMM that does not use immediate_exit would never clear it; one that does looks, after any
 * EINTR, why it was kicked, so a kick of its own is not lost. */
static void kick_forget(struct vcpu *v)
{
	if (__atomic_exchange_n(&v->kicked, 0, __ATOMIC_SEQ_CST))
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

int run_enter(struct run *r, struct vcpu *v, void *arg)
{
	int ret = 0;

	for (;;) {
		u32 turns = __atomic_load_n(&r->token.on, __ATOMIC_SEQ_CST);

		if (__builtin_expect(turns, 0))
			ret = token_take(&r->token, v);
		if (__builtin_expect(ret, 0)) {
			kick_forget(v);
			return ret;
		}
		__atomic_store_n(&v->in, 1, __ATOMIC_SEQ_CST);
		if (__builtin_expect(
			    !__atomic_load_n(&r->gate, __ATOMIC_SEQ_CST) &&
				    turns == __atomic_load_n(&r->token.on, __ATOMIC_SEQ_CST),
			    1))
			break;
		__atomic_store_n(&v->in, 0, __ATOMIC_SEQ_CST);
		sys_futex_wake(&v->in);
		sys_futex_wait(&r->gate, 1, KICK_EVERY_NS * 50);
	}
	ret = kvm_call(v->fd, KVM_RUN, arg);
	__atomic_store_n(&v->in, 0, __ATOMIC_RELEASE);
	if (__builtin_expect(ret == -EINTR, 0))
		kick_forget(v);
	if (__builtin_expect(__atomic_load_n(&r->gate, __ATOMIC_RELAXED), 0))
		sys_futex_wake(&v->in);
	return ret;
}

void run_left(struct run *r, struct vcpu *v, int ret, bool storing)
{
	if (__builtin_expect(__atomic_load_n(&r->token.on, __ATOMIC_RELAXED), 0))
		token_leave(&r->token, v, ret, storing);
}

int run_take_turns(struct run *r, bool on)
{
	int err;

	if (r->token.on == on)
		return 0;
	err = run_pause(r);
	if (err)
		return err;
	__atomic_store_n(&r->token.on, on, __ATOMIC_SEQ_CST);
	run_resume(r);
	return 0;
}

static void on_kick(int sig)
{
	(void)sig;
}

/* A VMM that has no use for SIGUSR1 would die of it. */
void run_kick_prepare(void)
{
	struct sigaction sa;

	if (sigaction(SIGUSR1, NULL, &sa) || sa.sa_flags & SA_SIGINFO ||
	    (sa.sa_handler != SIG_DFL && sa.sa_handler != SIG_IGN))
		return;
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_kick;
	sa.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &sa, NULL);
}

void vcpu_kick(struct vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->kicked, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_tgkill, getpid(), v->tid, SIGUSR1);
}

static int vcpu_kick_out(struct vcpu *v, u64 until_ns)
{
	while (__atomic_load_n(&v->in, __ATOMIC_SEQ_CST)) {
		if (sys_now_ns() > until_ns)
			return -ETIMEDOUT;
		vcpu_kick(v);
		sys_futex_wait(&v->in, 1, KICK_EVERY_NS);
	}
	return 0;
}

int run_pause(struct run *r)
{
	u64 until_ns = sys_now_ns() + PAUSE_WAIT_NS;
	int err = 0;

	if (r->paused++)
		return 0;
	run_kick_prepare();
	__atomic_store_n(&r->gate, 1, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < r->nvcpus && !err; i++)
		err = vcpu_kick_out(&r->vcpu[i], until_ns);
	if (err)
		run_resume(r);
	return err;
}

void run_resume(struct run *r)
{
	if (--r->paused)
		return;
	__atomic_store_n(&r->gate, 0, __ATOMIC_SEQ_CST);
	sys_futex_wake(&r->gate);
}
