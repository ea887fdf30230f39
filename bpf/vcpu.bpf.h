/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of a vCPU at the instruction that it is executing: registers from struct kvm_vcpu,
 * segments from the back end's own structure, instruction bytes from the emulator's fetch buffer,
 * return addresses from guest memory.
 */
#ifndef VMBLAME_VCPU_BPF_H
#define VMBLAME_VCPU_BPF_H

#include "core.bpf.h"

static __always_inline u8 mode_of(u32 emul_mode)
{
	/* enum x86emul_mode, arch/x86/kvm/kvm_emulate.h: REAL, VM86, PROT16, PROT32, PROT64 */
	return emul_mode < 5 ? emul_mode + 1 : CPU_MODE_UNKNOWN;
}

/*
 * A field of one of KVM's structures. Where KVM is built into the kernel and has bpf_rdonly_cast()
 * (Linux 6.2, commit a35b9af4ec2c) it is a plain load; else a call of a helper. The numbers of the
 * types come from the recorder: with KVM as a module each of its modules has its own, and libbpf
 * takes that for an ambiguity.
 */
extern void *bpf_rdonly_cast(const void *obj, u32 type_id) __ksym __weak;

#define KVM_READ(type, ptr, field)                                                                 \
	({                                                                                         \
		void *from_ = (void *)(ptr);                                                       \
		typeof(((KVM_TYPE_##type *)0)->field) value_ = 0;                                  \
		if (typed_reads)                                                                   \
			value_ =                                                                   \
				((KVM_TYPE_##type *)bpf_rdonly_cast(from_, type_ids.type))->field; \
		else                                                                               \
			bpf_core_read(&value_, sizeof(value_),                                     \
				      &((KVM_TYPE_##type *)from_)->field);                         \
		value_;                                                                            \
	})

/*
 * One or two words of kernel memory by plain loads, where typed_reads: any structure of two words
 * will do to name their type. What cannot be read is 0. `to` need not be aligned.
 */
static __always_inline void read_words(u8 *to, const void *from, u32 n)
{
	const struct timespec64 *words = bpf_rdonly_cast(from, type_ids.timespec64);

	((volatile u64 *)to)[0] = words->tv_sec;
	if (n > 1)
		((volatile u64 *)to)[1] = words->tv_nsec;
}

static __always_inline void fill_segment(struct thread *th, u64 *cs_base, u8 *cpl)
{
	*cs_base = 0;
	*cpl = 0xff;
	if (backend == BACKEND_PVM) {
		*cs_base = KVM_READ(vcpu_pvm, th->vcpu, seg[SREG_CS].base);
		*cpl = KVM_READ(vcpu_pvm, th->vcpu, cpl);
	} else if (backend == BACKEND_SVM) {
		struct vmcb___vb *vmcb = KVM_READ(vcpu_svm, th->vcpu, vmcb);

		*cs_base = KVM_READ(vmcb, vmcb, save.cs.base);
		*cpl = KVM_READ(vmcb, vmcb, save.cpl);
	} else if (backend == BACKEND_VMX) {
		u32 cached = KVM_READ(vcpu_vmx, th->vcpu, segment_cache.bitmask);

		if (cached & (1u << (4 * SREG_CS + 1)))
			*cs_base = KVM_READ(vcpu_vmx, th->vcpu, segment_cache.seg[SREG_CS].base);
		if (cached & (1u << (4 * SREG_CS)))
			*cpl = KVM_READ(vcpu_vmx, th->vcpu, segment_cache.seg[SREG_CS].selector) &
			       3;
	}
}

/* What the emulator fetched of the instruction; the length is how far it decoded. */
static __always_inline u8 fill_insn(u64 ctxt, u64 rip, u8 *insn)
{
	u64 len = KVM_READ(x86_emulate_ctxt, ctxt, _eip) - rip;

	const void *from =
		__builtin_preserve_access_index(&((struct x86_emulate_ctxt *)ctxt)->fetch.data[0]);

	if (typed_reads)
		read_words(insn, from, 2);
	else
		bpf_probe_read_kernel(insn, 15, from);
	return len > 15 ? 15 : len;
}

/* The fields of EVENT_VCPU_FIELDS, without return addresses: nret is 0 and the arrays hold whatever
 * was there. `e` is any event that has them. */
#define FILL_VCPU(th, e, emulated)                                                     \
	do {                                                                           \
		(e)->rsp = KVM_READ(kvm_vcpu, (th)->vcpu, arch.regs[REG_RSP]);         \
		(e)->rbp = KVM_READ(kvm_vcpu, (th)->vcpu, arch.regs[REG_RBP]);         \
		(e)->cr3 = KVM_READ(kvm_vcpu, (th)->vcpu, arch.cr3);                   \
		fill_segment((th), &(e)->cs_base, &(e)->cpl);                          \
		(e)->nret = 0;                                                         \
		(e)->mode = mode_of(KVM_READ(x86_emulate_ctxt, (th)->ctxt, mode));     \
		if (emulated) {                                                        \
			(e)->rip = KVM_READ(x86_emulate_ctxt, (th)->ctxt, eip);        \
			(e)->insn_len = fill_insn((th)->ctxt, (e)->rip, (e)->insn);    \
		} else {                                                               \
			(e)->rip = KVM_READ(kvm_vcpu, (th)->vcpu, arch.regs[REG_RIP]); \
			(e)->insn_len = 0;                                             \
		}                                                                      \
	} while (0)

/* The guest's own page tables play no part: two-dimensional paging, or paging off. */
static __always_inline bool maps_directly(u64 vcpu)
{
	struct kvm_mmu___vb *mmu = (void *)BPF_CORE_READ((struct kvm_vcpu *)vcpu, arch.mmu);

	return BPF_CORE_READ_BITFIELD_PROBED(mmu, root_role.direct);
}

#endif
