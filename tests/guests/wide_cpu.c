// SPDX-License-Identifier: GPL-2.0-or-later
/* The `wide` guest's processor: segments, gates, page tables, features. */
#include "wide_cpu.h"

#define APIC_GPA      0xfee00000
#define APIC_SPURIOUS 0xf0
#define APIC_ICR      0x300
#define APIC_ENABLE   0x1ff
#define ICR_SELF      0x44000
#define PTE_PW	      0x3
#define PTE_PWU	      0x7
#define PTE_DEVICE    0x93 /* present, writable, not cached, 2 MiB */
#define PTE_GPA	      0xffffffffff000ull

#define GATE_INT64   0x8e00
#define GATE_DPL3    0x6000
#define GATE_IST1    0x0001
#define VECTOR_COUNT 0x82

#define CR4_OSFXSR   0x200
#define CR4_OSXMMEXC 0x400
#define CR4_OSXSAVE  0x40000
#define CPUID_CX16   (1u << 13)
#define CPUID_SSE41  (1u << 19)
#define CPUID_XSAVE  (1u << 26)
#define CPUID_AVX    (1u << 28)
#define FREE_PORT    0x80

struct gate {
	u16 off0, selector, flags, off16;
	u32 off32, zero;
};

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u32 io_map;
} __attribute__((packed));

struct table_pointer {
	u16 limit;
	u64 base;
} __attribute__((packed));

extern const u64 boot_gdt[];
extern u64 window_ptes[];
extern const u8 wide_set_xcr0[], wide_traps[], wide_on_frame[], wide_on_irq[];

static struct gate idt[VECTOR_COUNT];
static struct tss tss __attribute__((aligned(16)));
static u64 gdt[12];
static u64 apic_pages[512] __attribute__((aligned(4096)));
static u32 features;

static void gdt_init(void)
{
	const u64 base = (uintptr_t)&tss;
	const struct table_pointer pointer = {sizeof(gdt) - 1, (uintptr_t)gdt};

	for (unsigned i = 0; i < 6; i++)
		gdt[i] = boot_gdt[i];
	gdt[SEL_USER_CODE32 / 8] = 0x00cffb000000ffff;
	gdt[SEL_USER_DATA / 8] = 0x00cff3000000ffff;
	gdt[SEL_USER_CODE64 / 8] = 0x00affb000000ffff;
	gdt[SEL_TSS / 8] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
			   (base >> 24 & 0xff) << 56;
	gdt[SEL_TSS / 8 + 1] = base >> 32;
	tss.ist[0] = STACKS_GPA + 3 * STACK_BYTES;
	tss.io_map = sizeof(tss);
	__asm__ volatile("lgdt %0\n\tltr %w1" ::"m"(pointer), "r"(SEL_TSS) : "memory");
	/* A change of privilege takes away segments that are too good for it. */
	__asm__ volatile("movl %0, %%ds\n\tmovl %0, %%es" ::"r"(SEL_USER_DATA) : "memory");
}

static void gate_set(u32 vector, const u8 *to, u16 flags)
{
	const u64 at = (uintptr_t)to;

	idt[vector] = (struct gate){(u16)at,	     SEL_CODE64,      GATE_INT64 | flags,
				    (u16)(at >> 16), (u32)(at >> 32), 0};
}

static void idt_init(void)
{
	const struct table_pointer pointer = {sizeof(idt) - 1, (uintptr_t)idt};

	for (u32 vector = 0; vector < 32; vector++)
		gate_set(vector, wide_traps + 16 * vector, GATE_IST1);
	gate_set(VECTOR_FRAME, wide_on_frame, GATE_DPL3);
	gate_set(VECTOR_IRQ, wide_on_irq, 0);
	__asm__ volatile("lidt %0" ::"m"(pointer) : "memory");
}

static void pages_init(void)
{
	u64 *map;

	__asm__ volatile("movq %%cr3, %0" : "=r"(map));

	u64 *ptrs = (u64 *)(map[0] & PTE_GPA), *low = (u64 *)(ptrs[0] & PTE_GPA);
	u64 *window = (u64 *)(ptrs[1] & PTE_GPA);

	map[0] |= PTE_PWU;
	ptrs[0] |= PTE_PWU;
	ptrs[1] |= PTE_PWU;
	window[0] |= PTE_PWU;
	for (u32 i = 0; i < 512; i++)
		if (low[i])
			low[i] |= PTE_PWU;
	apic_pages[(APIC_GPA >> 21) & 511] = (APIC_GPA & ~0x1fffffu) | PTE_DEVICE;
	ptrs[3] = (uintptr_t)apic_pages | PTE_PW;
	__asm__ volatile("movq %0, %%cr3" ::"r"(map) : "memory");
	*(volatile u32 *)(uintptr_t)(APIC_GPA + APIC_SPURIOUS) = APIC_ENABLE;
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
}

static void xcr0_set(u32 xcr0)
{
	__asm__ volatile("xsetbv" ::"a"(xcr0), "c"(0), "d"(0));
}

static u32 xcr0_get(void)
{
	u32 low, high;

	out8(FREE_PORT, 0); /* an exit, behind which it is what KVM thinks that it is */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low;
}

static void avx_enable(void)
{
	const struct wide_regs regs = {
		.rip = (uintptr_t)wide_set_xcr0,
		.cs = SEL_CODE64,
		.rflags = 2,
		.rsp = STACKS_GPA + STACK_BYTES,
		.ss = SEL_DATA,
	};

	xcr0_set(XCR0_SSE_AVX);
	if (xcr0_get() != XCR0_SSE_AVX)
		wide_run(&regs);
	if (xcr0_get() == XCR0_SSE_AVX)
		features |= AVX;
}

static void features_init(bool plain)
{
	u32 eax = 1, ebx, ecx, edx;
	u64 cr4;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
	if (plain)
		ecx &= ~CPUID_XSAVE;
	features = (ecx & CPUID_CX16 ? CX16 : 0) | (ecx & CPUID_SSE41 ? SSE41 : 0);
	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_OSFXSR | CR4_OSXMMEXC | (ecx & CPUID_XSAVE ? CR4_OSXSAVE : 0);
	__asm__ volatile("movq %0, %%cr4" ::"r"(cr4));
	if (!(ecx & CPUID_XSAVE))
		return;
	features |= XSAVE;
	xcr0_set(XCR0_SSE);
	if (ecx & CPUID_AVX)
		avx_enable();
}

void wide_cpu_init(bool plain)
{
	gdt_init();
	idt_init();
	pages_init();
	features_init(plain);
}

u32 wide_features(void)
{
	return features;
}

void wide_window(u32 first_gpa, u32 second_gpa)
{
	window_ptes[0] = first_gpa | PTE_PWU;
	window_ptes[1] = second_gpa | PTE_PWU;
	__asm__ volatile("invlpg (%0)\n\tinvlpg 4096(%0)" ::"r"((u64)WINDOW_GVA) : "memory");
}

void wide_set_rsp0(u64 rsp0)
{
	tss.rsp[0] = rsp0;
}

void wide_send_irq(void)
{
	*(volatile u32 *)(uintptr_t)(APIC_GPA + APIC_ICR) = ICR_SELF | VECTOR_IRQ;
}
