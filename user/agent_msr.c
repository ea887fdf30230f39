// SPDX-License-Identifier: GPL-2.0-or-later
/* MSRs that name pages which KVM writes: the table of them, and the filter that stops their writes.
 */
#include "agent_msr.h"

#include "agent_sys.h"

#include <string.h>

/* Linux: arch/x86/include/uapi/asm/kvm_para.h, include/asm-generic/hyperv-tlfs.h; what KVM does
 * with each: kvm_set_msr_common() and kvm_hv_set_msr(). */
static const struct msr_row {
	u32 index;
	u32 len;    /* bytes that KVM writes */
	u64 enable; /* bits of which one must be set, 0: any value but 0 enables */
	u64 addr_mask;
} msr_rows[] = {
	{0x00000011, 12, 0, ~0ull},	  /* MSR_KVM_WALL_CLOCK */
	{0x00000012, 32, 1, ~1ull},	  /* MSR_KVM_SYSTEM_TIME */
	{0x4b564d00, 12, 0, ~0ull},	  /* MSR_KVM_WALL_CLOCK_NEW */
	{0x4b564d01, 32, 1, ~1ull},	  /* MSR_KVM_SYSTEM_TIME_NEW */
	{0x4b564d02, 64, 1, ~0x3full},	  /* MSR_KVM_ASYNC_PF_EN */
	{0x4b564d03, 64, 1, ~0x3full},	  /* MSR_KVM_STEAL_TIME */
	{0x4b564d04, 4, 1, ~3ull},	  /* MSR_KVM_PV_EOI_EN */
	{0x40000001, 4096, 1, ~0xfffull}, /* HV_X64_MSR_HYPERCALL */
	{0x40000021, 4096, 1, ~0xfffull}, /* HV_X64_MSR_REFERENCE_TSC */
	{0x40000073, 4096, 1, ~0xfffull}, /* HV_X64_MSR_VP_ASSIST_PAGE */
};

#define HV_FIRST 0x40000001u
#define HV_COUNT (0x40000073u - HV_FIRST + 1)

static const struct msr_row *row_find(u32 index)
{
	for (size_t i = 0; i < sizeof(msr_rows) / sizeof(msr_rows[0]); i++)
		if (msr_rows[i].index == index)
			return &msr_rows[i];
	return NULL;
}

bool msr_ours(u32 index)
{
	return row_find(index) != NULL;
}

bool msr_page(u32 index, u64 data, u64 *gpa, u64 *len)
{
	const struct msr_row *r = row_find(index);

	if (!r || !data || (r->enable && !(data & r->enable)))
		return false;
	*gpa = data & r->addr_mask;
	*len = r->len;
	return true;
}

bool msr_vmm_allows(const struct msr_state *m, u32 index)
{
	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *r = &m->vmm.ranges[i];
		u32 bit = index - r->base;

		if (r->flags & KVM_MSR_FILTER_WRITE && index >= r->base && bit < r->nmsrs)
			return m->vmm_bits[i][bit / 8] >> bit % 8 & 1;
	}
	return !(m->vmm.flags & KVM_MSR_FILTER_DEFAULT_DENY);
}

int msr_vmm_filter(struct msr_state *m, const struct kvm_msr_filter *filter)
{
	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		if (filter->ranges[i].nmsrs > MSR_BITMAP_BYTES * 8)
			return -EINVAL;
	m->vmm = *filter;
	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		struct kvm_msr_filter_range *r = &m->vmm.ranges[i];

		/* KVM reads whole longs. */
		if (r->nmsrs)
			memcpy(m->vmm_bits[i], r->bitmap, (r->nmsrs + 63) / 64 * 8);
		r->bitmap = m->vmm_bits[i];
	}
	return 0;
}

int msr_merge(struct msr_state *m, struct kvm_msr_filter *out, u8 *hv_bits)
{
	static u8 none[8];
	u32 n = 0;

	memset(out, 0, sizeof(*out));
	out->flags = m->vmm.flags;
	out->ranges[n++] = (struct kvm_msr_filter_range){
		.flags = KVM_MSR_FILTER_WRITE, .nmsrs = 2, .base = 0x11, .bitmap = none};
	out->ranges[n++] = (struct kvm_msr_filter_range){
		.flags = KVM_MSR_FILTER_WRITE, .nmsrs = 5, .base = 0x4b564d00, .bitmap = none};
	if (m->hyperv) {
		memset(hv_bits, 0, 16);
		for (u32 i = 0; i < HV_COUNT; i++)
			if (!msr_ours(HV_FIRST + i) && msr_vmm_allows(m, HV_FIRST + i))
				hv_bits[i / 8] |= (u8)(1u << i % 8);
		out->ranges[n++] = (struct kvm_msr_filter_range){.flags = KVM_MSR_FILTER_WRITE,
								 .nmsrs = HV_COUNT,
								 .base = HV_FIRST,
								 .bitmap = hv_bits};
	}
	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		if (!m->vmm.ranges[i].nmsrs)
			continue;
		if (n == KVM_MSR_FILTER_MAX_RANGES)
			return -ENOSPC;
		out->ranges[n++] = m->vmm.ranges[i];
	}
	return 0;
}

void msr_cpuid(struct msr_state *m, const struct kvm_cpuid2 *cpuid)
{
	/* 0x31237648 is "Hv#1", the interface's signature (Hypervisor TLFS, 2.4.2). */
	for (u32 i = 0; i < cpuid->nent && i < 512; i++)
		if (cpuid->entries[i].function == 0x40000001 && cpuid->entries[i].eax == 0x31237648)
			m->hyperv = true;
}

int msr_install(struct msr_state *m, int vm_fd)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
				     .args = {m->vmm_reasons | KVM_MSR_EXIT_REASON_FILTER}};
	struct kvm_msr_filter merged;
	u8 hv_bits[16];
	int err = kvm_call(vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_MSR_FILTER);

	if (err <= 0)
		return -EOPNOTSUPP;
	err = msr_merge(m, &merged, hv_bits);
	if (!err)
		err = kvm_call(vm_fd, KVM_ENABLE_CAP, &cap);
	if (!err)
		err = kvm_call(vm_fd, KVM_X86_SET_MSR_FILTER, &merged);
	m->installed = !err;
	if (err) {
		kvm_call(vm_fd, KVM_X86_SET_MSR_FILTER, &m->vmm);
		cap.args[0] = m->vmm_reasons;
		kvm_call(vm_fd, KVM_ENABLE_CAP, &cap);
	}
	return err;
}

u8 msr_write(int vcpu_fd, u32 index, u64 data)
{
	union {
		struct kvm_msrs msrs;
		u8 room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} set = {.msrs = {.nmsrs = 1}};

	set.msrs.entries[0] = (struct kvm_msr_entry){.index = index, .data = data};
	return kvm_call(vcpu_fd, KVM_SET_MSRS, &set) != 1;
}
