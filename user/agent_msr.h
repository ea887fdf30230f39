/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pages that a guest asks KVM itself to write (kvmclock, steal time, ...), by the MSRs that
 * name them. KVM's writes to a read-only slot fail silently, so such a page must be opened before
 * KVM knows of it: a filter (KVM_X86_SET_MSR_FILTER) makes the guest's WRMSR return from KVM_RUN,
 * the agent opens the page and does the write with KVM_SET_MSRS. The VMM's own filter stays in
 * force beside ours.
 */
#ifndef VMBLAME_AGENT_MSR_H
#define VMBLAME_AGENT_MSR_H

#include "../formats/event.h"

#include <linux/kvm.h>
#include <stdbool.h>

#define MSR_BITMAP_BYTES                                                         \
	0x600 /* KVM_MSR_FILTER_MAX_BITMAP_SIZE, arch/x86/include/uapi/asm/kvm.h \
	       */

struct msr_state {
	bool installed;	 /* our filter is in force */
	bool hyperv;	 /* the guest's CPUID offers Hyper-V's MSRs */
	u64 vmm_reasons; /* what the VMM gave KVM_CAP_X86_USER_SPACE_MSR */
	struct kvm_msr_filter vmm;
	u8 vmm_bits[KVM_MSR_FILTER_MAX_RANGES][MSR_BITMAP_BYTES];
};

/* Does writing data to this MSR make KVM write guest memory? Where: [*gpa, *gpa + *len). */
bool msr_page(u32 index, u64 data, u64 *gpa, u64 *len);

/* One of the MSRs that our filter stops. */
bool msr_ours(u32 index);

/* Whether the VMM's own filter lets the guest write it. */
bool msr_vmm_allows(const struct msr_state *m, u32 index);

/* Takes a copy of the VMM's filter. 0, or -EINVAL for one that KVM would refuse. */
int msr_vmm_filter(struct msr_state *m, const struct kvm_msr_filter *filter);

/* Ours before the VMM's. Points into m and hv_bits (16 bytes). 0, or -ENOSPC: too many ranges. */
int msr_merge(struct msr_state *m, struct kvm_msr_filter *out, u8 *hv_bits);

/* Learns from the VMM's KVM_SET_CPUID2 what the guest is offered. */
void msr_cpuid(struct msr_state *m, const struct kvm_cpuid2 *cpuid);

/* Puts the merged filter in force. 0 or -errno: then KVM has the VMM's alone. */
int msr_install(struct msr_state *m, int vm_fd);

/* The guest's write, done for it. What KVM_RUN's msr.error should be. */
u8 msr_write(int vcpu_fd, u32 index, u64 data);

#endif
