/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between kernels and KVM back ends, all of it here: each structure of a back end as
 * far as it is read, to be relocated against the running kernel's BTF (its modules' included).
 */
#ifndef VMBLAME_COMPAT_BPF_H
#define VMBLAME_COMPAT_BPF_H

#define KVM_RUN_IOCTL	  0xae80
#define KVM_EXIT_MMIO	  6
#define KVM_EXIT_SHUTDOWN 8
#define SET_REGION	  0x4020ae46 /* KVM_SET_USER_MEMORY_REGION */
#define SET_REGION2	  0x40a0ae49 /* KVM_SET_USER_MEMORY_REGION2, Linux 6.8 */
#define NR_IOCTL_X86_64	  16
#define KVM_MMIO_READ	  1 /* KVM_TRACE_MMIO_READ, include/trace/events/kvm.h */
#define KVM_MMIO_WRITE	  2
#define KVM_PIO_OUT_RW	  1 /* arch/x86/kvm/trace.h */
#define REG_RSP		  4 /* enum kvm_reg, arch/x86/include/asm/kvm_host.h */
#define REG_RBP		  5
#define REG_RIP		  16
#define SREG_CS		  1 /* enum: VCPU_SREG_ES, CS, ... */
#define CR0_PG		  (1ull << 31)
#define CR0_PE		  1ull
#define CR4_PAE		  (1ull << 5)
#define CR4_LA57	  (1ull << 12)
#define EFER_LMA	  (1ull << 10)

#define SPTE_WRITABLE 2ull /* PT_WRITABLE_MASK, EPT's too: arch/x86/kvm/mmu/spte.h */
#define SPTE_PFN      0x000ffffffffff000ull
#define MEM_LOG_DIRTY 1u /* KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY */
#define MEM_READONLY  2u
#define FAULT_MMIO    8ull /* PFERR_RSVD_MASK: an entry that KVM made for MMIO */

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

/* The MMU's. Alike from 6.1 to 6.18 but for the comments. */
#define SLOT_TREE_DEPTH 32 /* of a red-black tree of KVM_MEM_SLOTS_NUM, 32764 */

struct kvm_memory_slot___vb {
	struct rb_node gfn_node[2];
	u64 base_gfn;
	unsigned long npages;
	unsigned long userspace_addr;
	u32 flags;
	short id;
	u16 as_id;
} __attribute__((preserve_access_index));

struct kvm_memslots___vb {
	struct rb_root gfn_tree;
	int node_idx;
} __attribute__((preserve_access_index));

struct kvm___vb {
	struct kvm_memslots___vb *memslots[2];
} __attribute__((preserve_access_index));

struct kvm_gfn_range___vb {
	struct kvm_memory_slot___vb *slot;
	u64 start, end;
} __attribute__((preserve_access_index));

struct kvm_page_fault___vb {
	u64 addr;
	u64 error_code; /* u32 before the error code was passed on whole, Linux 6.11 */
} __attribute__((preserve_access_index));

union kvm_mmu_page_role___vb {
	struct {
		unsigned int level : 4;
		unsigned int direct : 1;
		unsigned int smm : 8;
	};
} __attribute__((preserve_access_index));

struct kvm_mmu_page___vb {
	union kvm_mmu_page_role___vb role;
	u64 gfn;
} __attribute__((preserve_access_index));

struct kvm_mmu___vb {
	union kvm_mmu_page_role___vb root_role;
} __attribute__((preserve_access_index));

enum kvm_reg___vb { VCPU_EXREG_CR3___vb };

static __always_inline u64 fault_error(const struct kvm_page_fault___vb *fault)
{
	u64 error = 0;

	if (bpf_core_field_size(fault->error_code) == 4)
		bpf_core_read(&error, 4, &fault->error_code);
	else
		bpf_core_read(&error, 8, &fault->error_code);
	return error;
}

/* Before Linux 6.2 (commit d4963e319f1f) an exception's vector was called so. */
struct kvm_queued_exception___nr {
	u8 nr;
} __attribute__((preserve_access_index));

struct kvm_vcpu_arch___nr {
	struct kvm_queued_exception___nr exception;
} __attribute__((preserve_access_index));

struct kvm_vcpu___nr {
	struct kvm_vcpu_arch___nr arch;
} __attribute__((preserve_access_index));

/* What KVM_READ() calls them. */
#define KVM_TYPE_kvm_vcpu	  struct kvm_vcpu
#define KVM_TYPE_x86_emulate_ctxt struct x86_emulate_ctxt
#define KVM_TYPE_vcpu_svm	  struct vcpu_svm___vb
#define KVM_TYPE_vmcb		  struct vmcb___vb
#define KVM_TYPE_vcpu_vmx	  struct vcpu_vmx___vb
#define KVM_TYPE_vcpu_pvm	  struct vcpu_pvm___vb

#endif
