/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between kernels and KVM back ends, all of it here: each structure of a back end as
 * far as it is read, to be relocated against the running kernel's BTF (its modules' included).
 */
#ifndef VMBLAME_COMPAT_BPF_H
#define VMBLAME_COMPAT_BPF_H

#define KVM_RUN_IOCTL	0xae80
#define KVM_EXIT_MMIO	6
#define SET_REGION	0x4020ae46 /* KVM_SET_USER_MEMORY_REGION */
#define SET_REGION2	0x40a0ae49 /* KVM_SET_USER_MEMORY_REGION2, Linux 6.8 */
#define NR_IOCTL_X86_64 16
#define KVM_MMIO_READ	1 /* KVM_TRACE_MMIO_READ, include/trace/events/kvm.h */
#define KVM_MMIO_WRITE	2
#define KVM_PIO_OUT_RW	1 /* arch/x86/kvm/trace.h */
#define REG_RSP		4 /* enum kvm_reg, arch/x86/include/asm/kvm_host.h */
#define REG_RBP		5
#define REG_RIP		16
#define SREG_CS		1 /* enum: VCPU_SREG_ES, CS, ... */
#define CR0_PG		(1ull << 31)
#define CR0_PE		1ull
#define CR4_PAE		(1ull << 5)
#define CR4_LA57	(1ull << 12)
#define EFER_LMA	(1ull << 10)

struct vmcb_seg___vb {
	u16 selector;
	u16 attrib;
	u32 limit;
	u64 base;
} __attribute__((preserve_access_index));

struct vmcb_save_area___vb {
	struct vmcb_seg___vb cs;
	u8 cpl;
} __attribute__((preserve_access_index));

struct vmcb___vb {
	struct vmcb_save_area___vb save;
} __attribute__((preserve_access_index));

struct vcpu_svm___vb {
	struct vmcb___vb *vmcb;
} __attribute__((preserve_access_index));

/* VMX reads segments lazily; what is cached has its bit set: bit 4*segment+field,
 * fields: selector, base, limit, access rights (arch/x86/kvm/vmx/vmx.h). */
struct kvm_save_segment___vb {
	u16 selector;
	unsigned long base;
	u32 limit;
	u32 ar;
} __attribute__((preserve_access_index));

struct segment_cache___vb {
	u32 bitmask;
	struct kvm_save_segment___vb seg[8];
} __attribute__((preserve_access_index));

struct vcpu_vmx___vb {
	struct segment_cache___vb segment_cache;
} __attribute__((preserve_access_index));

struct kvm_segment___vb {
	u64 base;
	u16 selector;
} __attribute__((preserve_access_index));

struct vcpu_pvm___vb {
	struct kvm_segment___vb seg[8];
	int cpl;
} __attribute__((preserve_access_index));

/* What KVM_READ() calls them. */
#define KVM_TYPE_kvm_vcpu	  struct kvm_vcpu
#define KVM_TYPE_x86_emulate_ctxt struct x86_emulate_ctxt
#define KVM_TYPE_vcpu_svm	  struct vcpu_svm___vb
#define KVM_TYPE_vmcb		  struct vmcb___vb
#define KVM_TYPE_vcpu_vmx	  struct vcpu_vmx___vb
#define KVM_TYPE_vcpu_pvm	  struct vcpu_pvm___vb

#endif
