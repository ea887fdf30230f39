/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watched pages that turn out to hold page tables while the guest uses them: opened before the
 * guest goes on, and what the read-only page did to the instruction in hand mended.
 */
#ifndef VMBLAME_AGENT_TABLES_H
#define VMBLAME_AGENT_TABLES_H

#include "agent_state.h"

/* What the BPF program filed during a KVM_RUN of this vCPU; NULL: nothing. */
struct agent_tables *tables_filed(const struct agent *a, const struct vcpu *v);

/* Deals with it: by the vCPU's thread, with a->lock, straight after that KVM_RUN. True: what
 * KVM_RUN came back with is void, enter again. */
bool tables_open(struct agent *a, struct vcpu *v, struct agent_tables *t);

#endif
