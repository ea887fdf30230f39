/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The token: with several vCPUs and read-only pages, one vCPU at a time is in the guest.
 *
 * KVM emulates a locked read-modify-write to a read-only slot as a read and a plain store, and the
 * VMM performs the store. So a vCPU keeps the token from before KVM_RUN until it comes back to
 * KVM_RUN after such an exit (which is when the instruction is over, its second half on the next
 * page included). That also puts all stores in one order.
 *
 * It stays with its owner until others wait and
 *	- its quantum is over, or it sleeps in the kernel (HLT, waiting for SIPI): the first of
 *those that wait kicks it out of KVM_RUN, as the VMM would;
 *	- it is busy elsewhere in the VMM: they take it.
 * Those that wait do so in the order in which they came. A kick of the VMM's own ends the wait
 * like KVM_RUN itself (-EINTR), but not while KVM still has to finish an instruction.
 */
#ifndef VMBLAME_AGENT_TOKEN_H
#define VMBLAME_AGENT_TOKEN_H

#include "agent.h"

#include <pthread.h>
#include <stdbool.h>

struct vcpu;

/* A vCPU's part in it; under token.lock, but for `turn`. */
struct token_seat {
	u32 turn;	 /* futex: 1 when the token was handed over */
	bool waits;	 /* is in the queue */
	bool busy;	 /* in KVM_RUN, or with a store that the VMM has still to do */
	bool evict;	 /* was kicked out: the next one's turn */
	bool unfinished; /* KVM finishes an instruction at the next KVM_RUN */
	u32 naps;	 /* turns in a row that ended asleep */
	int wchan_fd;	 /* /proc/self/task/TID/wchan, or -1 */
	u64 moved_ns;	 /* when it last went in or came out */
};

struct token {
	pthread_mutex_t lock;
	u32 on; /* changes only while no vCPU is in KVM_RUN */
	struct vcpu *owner;
	struct vcpu *queue[AGENT_VCPUS];
	u32 nqueue;
	u64 since_ns; /* the owner has it */
	u64 handovers;
	u64 broken; /* times it was taken from a vCPU whose store never came */
};

/* To be called by the vCPU's thread before its first KVM_RUN. */
void token_seat_open(struct token_seat *seat);
void token_seat_close(struct token_seat *seat);

/* Before KVM_RUN: returns with the token (0), or -EINTR when the VMM wants its thread back. */
int token_take(struct token *t, struct vcpu *v);

/* After it: KVM_RUN returned `ret`; `storing`: the VMM performs a store to a watched page now. */
void token_leave(struct token *t, struct vcpu *v, int ret, bool storing);

#endif
