/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPUs: who is inside KVM_RUN, and how to get them out.
 *
 * A pause closes the gate before KVM_RUN and kicks the vCPUs that are inside (immediate_exit and
 * SIGUSR1) until they are out; the VMM sees a KVM_RUN that was interrupted, as after a kick of its
 * own. A vCPU thread that is outside, anywhere in the VMM or in the agent, is not waited for: hence
 * no lock of the VMM's can be in the way.
 */
#ifndef VMBLAME_AGENT_RUN_H
#define VMBLAME_AGENT_RUN_H

#include "agent_token.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <sys/types.h>

struct vcpu {
	int fd;
	u32 id;
	pid_t tid;	     /* of the thread that ran it first; 0: it never ran */
	u32 in;		     /* futex: 1 in KVM_RUN */
	u32 kicked;	     /* we have set immediate_exit */
	struct kvm_run *run; /* our own mapping; NULL until it runs */
	struct token_seat seat;
	struct kvm_guest_debug debug; /* as the VMM set it */
	u32 looks;		      /* was kicked to look where it is (agent_step.h) */
	u32 stuck;		      /* times in a row that it was at ... */
	u64 stuck_rip, stuck_rsp;
};

struct run {
	u32 gate;   /* futex: 1 closed */
	u32 paused; /* depth of pauses; the caller serialises those */
	u32 nvcpus;
	size_t mmap_size;
	struct token token;
	struct vcpu vcpu[AGENT_VCPUS];
};

/* Takes down a new vCPU. -ENOSPC beyond AGENT_VCPUS. */
int run_add(struct run *r, int fd, u32 id);

/* NULL when fd is no vCPU's. */
struct vcpu *run_find(struct run *r, int fd);

/* To be called by its thread before the first KVM_RUN. 0 or -errno. */
int run_begin(struct run *r, struct vcpu *v);

bool run_ran(const struct run *r);

/* KVM_RUN through the gate. 0 or -errno. */
int run_enter(struct run *r, struct vcpu *v, void *arg);

/* After KVM_RUN and what the agent did about its exit; `storing` as token_leave() has it. */
void run_left(struct run *r, struct vcpu *v, int ret, bool storing);

/* Whether vCPUs are to take turns. The caller serialises; 0 or -ETIMEDOUT, as run_pause(). */
int run_take_turns(struct run *r, bool on);

/* Sees to it that SIGUSR1, the kick, does not end a VMM that has no use for it. */
void run_kick_prepare(void);

/* Gets a vCPU out of KVM_RUN, once and without waiting. */
void vcpu_kick(struct vcpu *v);

/* 0, or -ETIMEDOUT when a vCPU did not come out in time; then nothing is paused. Nests. */
int run_pause(struct run *r);
void run_resume(struct run *r);

#endif
