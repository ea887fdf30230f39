/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that KVM cannot emulate, on pages that are read-only: the pages are opened, the
 * instruction is run alone (KVM_GUESTDBG_SINGLESTEP, interrupts held, the other vCPUs out), what it
 * changed is told, and the pages are closed again.
 *
 * Two kinds of them: those that come out of KVM_RUN as an error (AVX, XSAVE), and those that KVM's
 * emulator tries again and again, since a plain write to guest memory fails there (SGDT, SIDT,
 * FXSAVE: segmented_write_std(), arch/x86/kvm/emulate.c); a vCPU that stands at one of these for a
 * while is stepped over it.
 */
#ifndef VMBLAME_AGENT_STEP_H
#define VMBLAME_AGENT_STEP_H

#include "agent_state.h"

/* The instruction that vCPU v is at; KVM_RUN came back with KVM_INTERNAL_ERROR_EMULATION. By the
 * vCPU's thread, with a->lock held. 0: it is done, or has got the #UD that it would get without us:
 * enter again. 1: what KVM_RUN came back with now is for the VMM. Else -errno. */
int step_failed_instruction(struct agent *a, struct vcpu *v);

/* KVM_RUN was interrupted by step_look(): true when an instruction was stepped over. */
bool step_stuck_instruction(struct agent *a, struct vcpu *v);

/* By the agent's thread, now and then: makes vCPUs that are in KVM_RUN look where they are. */
void step_look(struct agent *a);

#endif
