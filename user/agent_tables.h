/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watched pages that turn out to hold page tables while the guest uses them: opened before the
 * guest goes on, and what the read-only page did to the instruction in hand mended.
 */
#ifndef VMBLAME_AGENT_TABLES_H
#define VMBLAME_AGENT_TABLES_H

#include "agent_state.h"

/* By the vCPU's thread, without a->lock, after a KVM_RUN during which the BPF program filed pages.
 * True: what KVM_RUN came back with is void, enter again. */
bool tables_open(struct agent *a, struct vcpu *v, struct agent_tables *t);
/* The same with a->lock held, and for any vCPU: false when nothing was filed. */
bool tables_look(struct agent *a, struct vcpu *v);

#endif
