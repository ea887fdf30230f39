/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watched pages that turn out to hold page tables. The processor, or KVM, writes there itself
 * (accessed and dirty bits), which a read-only memory slot does not bear: the agent is told which
 * pages to open, and the vCPU is sent out of KVM_RUN before the guest goes on.
 *
 * With two-dimensional paging each walk through a read-only page faults, as a write, and the error
 * code says that it was a walk. KVM then emulates the instruction that the walk was for; in the
 * belief that the fault's address is its operand's where the two are the same modulo 4096
 * (emulator_read_write_onepage(), arch/x86/kvm/x86.c). Such an instruction has to be run again from
 * its beginning, so the registers are put by.
 *
 * The same befalls an exception or interrupt whose frame goes to a watched page, or is found by a
 * walk through one: KVM emulates the instruction at which it came, instead.
 *
 * With shadow paging KVM makes a shadow page for each of the guest's tables before it uses it; and
 * a fault tells the linear address: where that lies, the agent asks KVM.
 */
#ifndef VMBLAME_TABLES_BPF_H
#define VMBLAME_TABLES_BPF_H

#include "vcpu.bpf.h"

#define FAULT_WRITE	(1ull << 1)
#define FAULT_SVM_WALK	(1ull << 33) /* PFERR_GUEST_PAGE_MASK */
#define FAULT_VMX_GVA	(1ull << 7)  /* of the exit qualification: for a linear address, */
#define FAULT_VMX_FINAL (1ull << 8)  /* which had been translated */
#define SIGUSR1		10
#define OPERAND_MEMORY	1 /* OP_MEM, arch/x86/kvm/kvm_emulate.h */
#define KVM_EXIT_INTR	10
#define DEBUG_STEPPING	2 /* KVM_GUESTDBG_SINGLESTEP */
#define RFLAGS_TF	(1ull << 8)

struct vmcb_save_area___tables {
	struct vmcb_seg___vb cs, ss;
	u64 rflags;
} __attribute__((preserve_access_index));

struct vmcb___tables {
	struct vmcb_save_area___tables save;
} __attribute__((preserve_access_index));

struct vcpu_svm___tables {
	struct vmcb___tables *vmcb;
} __attribute__((preserve_access_index));

/* VMX hands on what it has from the processor, SVM an error code with KVM's own bits. */
static __always_inline bool fault_is_walk(u64 error)
{
	if (!(error & FAULT_WRITE))
		return false;
	if (backend == BACKEND_VMX)
		return error & FAULT_VMX_GVA && !(error & FAULT_VMX_FINAL);
	return backend == BACKEND_SVM && error & FAULT_SVM_WALK;
}

/*
 * What the processor was delivering to the guest when it faulted: SVM has filed it again by now
 * (svm_complete_interrupts()), but KVM is going to emulate the instruction that it was to come
 * before, and would do so for ever.
 */
static __always_inline u64 event_in_delivery(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu___nr *old = (void *)vcpu;
	u8 vector;

	/* INT n is an instruction that KVM cannot emulate there, and is stepped as such. */
	if (BPF_CORE_READ(vcpu, arch.interrupt.injected))
		return BPF_CORE_READ(vcpu, arch.interrupt.soft)
			       ? 0
			       : DELIVERY(DELIVERY_INTERRUPT,
					  BPF_CORE_READ(vcpu, arch.interrupt.nr), 0, 0);
	if (BPF_CORE_READ(vcpu, arch.nmi_injected))
		return DELIVERY(DELIVERY_NMI, 2, 0, 0);
	if (!BPF_CORE_READ(vcpu, arch.exception.injected))
		return 0;
	if (bpf_core_field_exists(vcpu->arch.exception.vector))
		vector = BPF_CORE_READ(vcpu, arch.exception.vector);
	else
		vector = BPF_CORE_READ(old, arch.exception.nr);
	return DELIVERY(DELIVERY_EXCEPTION, vector,
			BPF_CORE_READ(vcpu, arch.exception.has_error_code),
			BPF_CORE_READ(vcpu, arch.exception.error_code));
}

/* Tells the agent of a page, once KVM_RUN is over, which is now. NULL when there is no room: then
 * nobody listens. */
static __always_inline struct agent_tables *tell_table(struct thread *th, u64 gpa)
{
	u32 id = th->vcpu_id, n;
	struct agent_dropped *d = bpf_map_lookup_elem(&dropped, &id);

	if (!d)
		return NULL;
	n = d->tables.n;
	if (n >= AGENT_TABLES)
		return NULL;
	d->tables.gpa[n & (AGENT_TABLES - 1)] = gpa;
	d->tables.n = n + 1;
	bpf_send_signal_thread(SIGUSR1);
	return &d->tables;
}

static __always_inline void keep_registers(struct thread *th, struct agent_tables *t)
{
	struct kvm_vcpu *vcpu = (void *)th->vcpu;
	struct vmcb___tables *vmcb;

	/* On VMX some of them are not known yet. */
	if (backend != BACKEND_SVM)
		return;
	bpf_probe_read_kernel(t->regs, sizeof(t->regs),
			      __builtin_preserve_access_index(&vcpu->arch.regs));
	t->rip = KVM_READ(kvm_vcpu, th->vcpu, arch.regs[REG_RIP]);
	vmcb = BPF_CORE_READ((struct vcpu_svm___tables *)vcpu, vmcb);
	t->rflags = BPF_CORE_READ(vmcb, save.rflags);
	if (BPF_CORE_READ(vcpu, guest_debug) & DEBUG_STEPPING) /* it is KVM's, then */
		t->rflags &= ~RFLAGS_TF;
	bpf_probe_read_kernel(&t->cs, sizeof(t->cs),
			      __builtin_preserve_access_index(&vmcb->save.cs));
	bpf_probe_read_kernel(&t->ss, sizeof(t->ss),
			      __builtin_preserve_access_index(&vmcb->save.ss));
	t->walk = 1;
}

SEC("?raw_tp/kvm_page_fault")
int BPF_PROG(tables__page_fault_tp, u64 vcpu, u64 addr, u64 error)
{
	struct agent_tables *t;
	struct thread *th;
	u64 event = 0;
	bool linear;

	if (!(error & FAULT_WRITE))
		return 0;
	linear = !maps_directly(vcpu);
	if (!linear && !in_watch(addr, addr + 8))
		return 0;
	if (backend == BACKEND_SVM)
		event = event_in_delivery((void *)vcpu);
	if (!event && !fault_is_walk(error))
		return 0;
	th = thread_get_vcpu();
	if (!th)
		return 0;
	FIRED(tables__page_fault);
	t = tell_table(th, addr);
	if (!t)
		return 0;
	keep_registers(th, t);
	t->event = event;
	t->again = DELIVERY_KIND(event) == DELIVERY_EXCEPTION;
	t->linear = linear;
	return 0;
}

SEC("?raw_tp/kvm_mmu_get_page")
int BPF_PROG(tables__shadow_page_tp, struct kvm_mmu_page___vb *page, bool created)
{
	struct thread *th;
	u64 gpa;

	if (!created || BPF_CORE_READ_BITFIELD_PROBED(page, role.direct))
		return 0;
	gpa = BPF_CORE_READ(page, gfn) << 12;
	if (!in_watch(gpa, gpa + 4096))
		return 0;
	th = thread_get_vcpu();
	if (!th)
		return 0;
	FIRED(tables__shadow_page);
	tell_table(th, gpa);
	return 0;
}

/* Whether the instruction that was emulated for a walk took the table's entry for its operand. */
static __always_inline bool operand_mistaken(struct thread *th, struct agent_tables *t)
{
	struct x86_emulate_ctxt *ctxt = (void *)th->ctxt;
	u64 ea;

	if (KVM_READ(x86_emulate_ctxt, ctxt, eip) == t->rip ||
	    BPF_CORE_READ(ctxt, memop.type) != OPERAND_MEMORY)
		return false;
	ea = BPF_CORE_READ(ctxt, memop.addr.mem.ea);
	return !((ea ^ t->gpa[0]) & 0xfff);
}

/*
 * KVM_RUN ends. Of a walk's instruction, whether it has to be run again: it stored to the table
 * (`gpa` is where the last store that was asked for goes, ~0 without any; such a store is none), or
 * may have read from there. True when the stores that were asked for are not to be done.
 */
static __always_inline bool tables_settle(struct thread *th, u32 reason, u64 gpa)
{
	u32 id = th->vcpu_id;
	struct agent_dropped *d = bpf_map_lookup_elem(&dropped, &id);

	if (!d || !d->tables.walk)
		return false;
	if (d->tables.again)
		return true;
	if (d->tables.linear) /* told so, KVM mistakes nothing for an operand */
		return false;
	if (reason == KVM_EXIT_MMIO && gpa >> 12 == d->tables.gpa[0] >> 12)
		d->tables.again = 1;
	else if (reason == KVM_EXIT_INTR && operand_mistaken(th, &d->tables))
		d->tables.again = 1;
	return d->tables.again;
}

#endif
