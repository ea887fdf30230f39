// SPDX-License-Identifier: GPL-2.0-or-later
/* The merged MSR filter: KVM's own way of reading it must give ours, then the VMM's, answers. */
#include "../../user/agent_msr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct msr_state m;

/* kvm_msr_allowed(), arch/x86/kvm/x86.c. */
static bool kvm_allows(const struct kvm_msr_filter *f, u32 index, u32 type)
{
	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *r = &f->ranges[i];

		if (r->nmsrs && index >= r->base && index - r->base < r->nmsrs && r->flags & type)
			return r->bitmap[(index - r->base) / 8] >> (index - r->base) % 8 & 1;
	}
	return !(f->flags & KVM_MSR_FILTER_DEFAULT_DENY);
}

static void expect_same_but_ours(const struct kvm_msr_filter *vmm, bool hyperv)
{
	static const u32 blocks[] = {0, 0x800, 0x40000000, 0x4b564d00, 0xc0000000};
	struct kvm_msr_filter merged;
	u8 hv_bits[16];

	assert_int_equal(msr_merge(&m, &merged, hv_bits), 0);
	for (size_t b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++) {
		for (u32 i = blocks[b]; i < blocks[b] + 0x200; i++) {
			bool hv_msr = i >= 0x40000000 && i < 0x40001000;
			bool stopped = msr_ours(i) && (hyperv || !hv_msr);

			assert_int_equal(kvm_allows(&merged, i, KVM_MSR_FILTER_READ),
					 kvm_allows(vmm, i, KVM_MSR_FILTER_READ));
			assert_int_equal(kvm_allows(&merged, i, KVM_MSR_FILTER_WRITE),
					 !stopped && kvm_allows(vmm, i, KVM_MSR_FILTER_WRITE));
			assert_int_equal(msr_vmm_allows(&m, i),
					 kvm_allows(vmm, i, KVM_MSR_FILTER_WRITE));
		}
	}
}

static void without_a_filter_of_the_vmms(void **state)
{
	static const struct kvm_msr_filter none;

	(void)state;
	memset(&m, 0, sizeof(m));
	expect_same_but_ours(&none, false);
	m.hyperv = true;
	expect_same_but_ours(&none, true);
}

static void beside_the_vmms(void **state)
{
	u8 bits[3][16] = {{0x0f, 0xf0, 0xaa, 0x55}, {0}, {0xff, 0, 0xff}};
	struct kvm_msr_filter vmm = {
		.flags = KVM_MSR_FILTER_DEFAULT_DENY,
		.ranges =
			{
				{KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, 100, 0x40000010,
				 bits[0]},
				{KVM_MSR_FILTER_READ, 1, 0x35,
				 bits[1]}, /* QEMU's core thread count */
				{KVM_MSR_FILTER_WRITE, 20, 0x4b564d02, bits[2]},
			},
	};

	(void)state;
	memset(&m, 0, sizeof(m));
	assert_int_equal(msr_vmm_filter(&m, &vmm), 0);
	expect_same_but_ours(&vmm, false);
	m.hyperv = true;
	expect_same_but_ours(&vmm, true);
}

static void vmm_filter_is_copied(void **state)
{
	u8 bits[8] = {0xff};
	struct kvm_msr_filter vmm = {.ranges = {{KVM_MSR_FILTER_WRITE, 8, 0x100, bits}}};

	(void)state;
	memset(&m, 0, sizeof(m));
	assert_int_equal(msr_vmm_filter(&m, &vmm), 0);
	bits[0] = 0;
	assert_true(msr_vmm_allows(&m, 0x100));
	vmm.ranges[0].nmsrs = MSR_BITMAP_BYTES * 8 + 1;
	assert_int_equal(msr_vmm_filter(&m, &vmm), -EINVAL);
}

static void too_many_ranges(void **state)
{
	static u8 bits[8];
	struct kvm_msr_filter vmm = {0}, merged;
	u8 hv_bits[16];

	(void)state;
	memset(&m, 0, sizeof(m));
	for (u32 i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		vmm.ranges[i] = (struct kvm_msr_filter_range){KVM_MSR_FILTER_READ, 1, i, bits};
	assert_int_equal(msr_vmm_filter(&m, &vmm), 0);
	assert_int_equal(msr_merge(&m, &merged, hv_bits), -ENOSPC);
}

static void pages_of_the_msrs(void **state)
{
	u64 gpa, len;

	(void)state;
	assert_true(msr_page(0x4b564d01, 0xe8c21, &gpa, &len));
	assert_int_equal(gpa, 0xe8c20);
	assert_int_equal(len, 32);
	assert_false(msr_page(0x4b564d01, 0xe8c20, &gpa, &len)); /* off */
	assert_true(msr_page(0x11, 0x1000, &gpa, &len));
	assert_false(msr_page(0x11, 0, &gpa, &len));
	assert_true(msr_page(0x40000021, 0x12345001, &gpa, &len));
	assert_int_equal(gpa, 0x12345000);
	assert_int_equal(len, 4096);
	assert_false(msr_page(0xc0000080, 1, &gpa, &len));
}

static void hyperv_by_cpuid(void **state)
{
	union {
		struct kvm_cpuid2 cpuid;
		u8 room[sizeof(struct kvm_cpuid2) + 2 * sizeof(struct kvm_cpuid_entry2)];
	} set = {.cpuid = {.nent = 2}};

	(void)state;
	memset(&m, 0, sizeof(m));
	set.cpuid.entries[0] = (struct kvm_cpuid_entry2){.function = 0x40000000};
	set.cpuid.entries[1] = (struct kvm_cpuid_entry2){.function = 0x40000001, .eax = 0x1000000};
	msr_cpuid(&m, &set.cpuid);
	assert_false(m.hyperv);
	set.cpuid.entries[1].eax = 0x31237648;
	msr_cpuid(&m, &set.cpuid);
	assert_true(m.hyperv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_filter_of_the_vmms),
		cmocka_unit_test(beside_the_vmms),
		cmocka_unit_test(vmm_filter_is_copied),
		cmocka_unit_test(too_many_ranges),
		cmocka_unit_test(pages_of_the_msrs),
		cmocka_unit_test(hyperv_by_cpuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
