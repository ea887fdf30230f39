/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent knows about the one VM of its process. There is one struct agent, in agent.c: an
 * interposed ioctl() has no other place for it.
 *
 * `lock` guards everything but what KVM_RUN's way reads without it: state, run (see agent_run.h)
 * and slots.configured, which is constant. All messages are sent with the lock held.
 */
#ifndef VMBLAME_AGENT_STATE_H
#define VMBLAME_AGENT_STATE_H

#include "agent_dirty.h"
#include "agent_link.h"
#include "agent_msr.h"
#include "agent_pages.h"
#include "agent_run.h"
#include "agent_slots.h"

#include <pthread.h>

enum agent_phase {
	PHASE_IDLE,   /* no VM so far, or no reason to care */
	PHASE_LINKED, /* the recorder is there, the VM not yet */
	PHASE_ACTIVE, /* there is a VM, and it is ours to look at */
	PHASE_INERT,  /* out of the way for good */
};

struct agent {
	pthread_mutex_t lock;
	u32 phase;     /* enum agent_phase */
	bool watching; /* there are configured ranges; constant once active */
	int vm_fd;
	pid_t pid;
	struct agent_link link;
	struct slots slots;
	struct run run;
	struct msr_state msr;
	struct dirty_scratch scratch;
	struct pages pages;
	bool emulation_cap;	/* we have KVM_CAP_EXIT_ON_EMULATION_FAILURE on */
	bool emulation_cap_vmm; /* the VMM wants it on */
	bool sync_pending;	/* slots are not yet as they should be: try again */
	bool ring_told;
	bool several_told; /* that vCPUs take turns, or do not */
	u32 started;	   /* futex: the recorder answered STARTING, or is gone */
	u32 ended;	   /* futex: the recorder answered ENDING, or is gone */
	bool starting;	   /* the recorder was told */
	bool held;	   /* vCPUs are paused until AGENT_RESUME */
	u64 replayed_gpa, replayed_untold;
	u64 stepped_gpa, stepped_untold;
	u64 broken_told; /* of run.token.broken */
};

/* What the BPF program files for this vCPU; NULL: nobody does. */
static inline struct agent_dropped *agent_dropped_of(const struct agent *a, const struct vcpu *v)
{
	return a->link.dropped && v->id < AGENT_VCPUS ? &a->link.dropped[v->id] : NULL;
}

/* Sends a message of up to four numbers. */
void agent_say(struct agent *a, enum agent_type type, u64 n0, u64 n1, u64 n2, u64 n3);

/* Opens everything for good. `self`: it is the agent's own decision, which the recorder may not be
 * there to hear. */
void agent_disarm(struct agent *a, enum why why, bool self);

/* Makes the watched pages read-only, and KVM tell us what it cannot emulate; in pages mode, has KVM
 * log. 0 or -errno. */
int agent_arm(struct agent *a);

/* Lets vCPUs take turns where there are several and pages are read-only. 0 or -ETIMEDOUT. */
int agent_turns(struct agent *a);

/* Opens pages that KVM is about to write. */
void agent_open_kvm_page(struct agent *a, u32 msr, u64 data);

/* Called without the lock, after KVM_RUN returned `ret` (0 or -errno) to vCPU v. True: enter again.
 * *storing: the VMM is going to perform a store to a watched page. */
bool agent_exit(struct agent *a, struct vcpu *v, int ret, bool *storing);

/* KVM's dirty log of the VM. */
extern const struct dirty_ops agent_dirty_kvm;

/* In pages mode: has KVM log all of RAM, or no more than the VMM asks for. */
void agent_log(struct agent *a, bool on);

/* Takes the log and tells the recorder; `hold`: with the vCPUs out of KVM_RUN until AGENT_RESUME.
 */
void agent_harvest(struct agent *a, bool hold);

/* Starts the thread that serves the recorder. 0 or -errno. */
int agent_thread_start(struct agent *a);

/* The first vCPU is about to run, in pages mode: the recorder looks at memory first. */
void agent_starting(struct agent *a);

/* The process is about to end: tells the recorder and waits for its answer, 2 s at most. */
void agent_ending(struct agent *a);

#endif
