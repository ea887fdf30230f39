// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Does what a watched page does not bear well: stacks in it for instructions that store more than
 * once (PUSHA, ENTER, far CALL, a real-mode interrupt), and the page of kvmclock, that KVM itself
 * writes. Says for each whether it found there what a machine would have put there.
 */
#include "guest.h"
#include "hostile_layout.h"

#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define CPUID_KVM		0x40000000u
#define CLOCK_ENABLE		1u
#define DELAY_LOOPS		400000u

/* Linux, Documentation/virt/kvm/x86/msr.rst */
struct pvclock {
	u32 version;
	u32 pad0;
	u64 tsc;
	u64 system_ns;
	u32 tsc_mul;
	int8_t tsc_shift;
	u8 flags;
	u8 pad[2];
};

u32 hostile_pusha(u32 esp);
u32 hostile_enter(u32 esp);
u32 hostile_lcall(u32 esp);
u32 hostile_call(u32 esp);
void hostile_real(void);
extern const u8 hostile_lcall_back[], hostile_call_back[];
extern const u8 hostile_real_lcall_back[], hostile_real_int_back[];

static bool all_good = true;

static void report(const char *what, bool good)
{
	serial_text("hostile: ");
	serial_text(what);
	serial_text(good ? ": ok\n" : ": BAD\n");
	all_good &= good;
}

/* Are these the 32-bit words from esp on, up to the stack's end? Says so when they are not. */
static void stack_check(const char *what, u32 esp, u32 end, const u32 *words, u32 count)
{
	const volatile u32 *stack = (const volatile u32 *)(uintptr_t)esp;
	bool good = esp == end - 4 * count;

	for (u32 i = 0; good && i < count; i++) {
		if (stack[i] == words[i])
			continue;
		serial_text("hostile: found 0x");
		serial_hex(stack[i], 8);
		serial_text(" expected 0x");
		serial_hex(words[i], 8);
		serial_text(" at 0x");
		serial_hex(esp + 4 * i, 8);
		serial_char('\n');
		good = false;
	}
	report(what, good);
}

static void protected_mode(void)
{
	u32 end = STACK_GPA + 0x1000, esp;

	esp = hostile_pusha(end);
	stack_check("pusha", esp, end,
		    (const u32[]){0xd7d7d7d7, 0x56565656, 0xe5e5e5e5, end, 0xb3b3b3b3, 0xd2d2d2d2,
				  0xc1c1c1c1, 0xa0a0a0a0},
		    8);
	end -= 0x100;
	esp = hostile_enter(end);
	stack_check("enter", esp, end, (const u32[]){0x11223344, 0, 0, 0, 0, 0xe5e5e5e5}, 6);
	end -= 0x100;
	esp = hostile_lcall(end);
	stack_check("far call", esp, end,
		    (const u32[]){(u32)(uintptr_t)hostile_lcall_back, SEL_CODE32}, 2);
	end -= 0x100;
	esp = hostile_call(end);

	const u32 back = *(const volatile u32 *)(uintptr_t)(end - 4);
	const u16 word = *(const volatile u16 *)(uintptr_t)(end - 10);

	report("call, pushf, push",
	       esp == end - 10 && back == (u32)(uintptr_t)hostile_call_back && word == 0x7788);
}

/* What lies below REAL_SP, lowest first: INT, far CALL, PUSHA. */
static void real_mode(void)
{
	static const u16 regs[] = {0xd7d7, 0x5656, 0xe5e5, REAL_SP, 0xb3b3, 0xd2d2, 0xc1c1, 0xa0a0};
	const volatile u16 *stack = (const volatile u16 *)((REAL_STACK_SEG << 4) + REAL_SP - 26);
	bool good = true;

	hostile_real();
	for (u32 i = 0; i < 8; i++)
		good &= stack[5 + i] == regs[i];
	report("real mode: pusha", good);
	report("real mode: far call",
	       stack[3] == (u16)(uintptr_t)hostile_real_lcall_back && stack[4] == 0);
	report("real mode: int", stack[0] == (u16)(uintptr_t)hostile_real_int_back &&
					 stack[1] == 0 && (stack[2] & 2));
}

static bool kvm_present(void)
{
	u32 eax = CPUID_KVM, ebx, ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return ebx == 0x4b4d564b && ecx == 0x564b4d56; /* "KVMKVMKVM" */
}

static void clock_set(u32 low)
{
	__asm__ volatile("wrmsr" ::"c"(MSR_KVM_SYSTEM_TIME_NEW), "a"(low), "d"(0) : "memory");
}

static void delay(void)
{
	for (u32 i = 0; i < DELAY_LOOPS; i++)
		__asm__ volatile("");
}

/* Nanoseconds by the page; 0 when KVM never wrote it, or is for ever about to. */
static u64 clock_read(const volatile struct pvclock *page)
{
	const u32 version = page->version;
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");

	u64 ticks = ((u64)high << 32 | low) - page->tsc;
	const u64 base_ns = page->system_ns;

	if (page->tsc_shift < 0)
		ticks >>= -page->tsc_shift;
	else
		ticks <<= page->tsc_shift;

	const u64 ns = base_ns + (ticks >> 32) * page->tsc_mul +
		       (((ticks & 0xffffffff) * page->tsc_mul) >> 32);

	return version && !(version & 1) && version == page->version ? ns : 0;
}

static void clock(void)
{
	volatile struct pvclock *page = (volatile struct pvclock *)CLOCK_GPA;

	if (!kvm_present()) {
		serial_text("hostile: kvmclock: no KVM\n");
		return;
	}
	page->version = 0;
	clock_set(CLOCK_GPA | CLOCK_ENABLE);
	delay();

	const u32 first_version = page->version;
	const u64 first_ns = clock_read(page);

	/* Set anew: KVM writes the page anew. */
	clock_set(CLOCK_GPA | CLOCK_ENABLE);
	delay();

	const u32 second_version = page->version;
	const u64 second_ns = clock_read(page);

	clock_set(0);
	serial_text("hostile: kvmclock version ");
	serial_dec(first_version);
	serial_text(" then ");
	serial_dec(second_version);
	serial_text(", 0x");
	serial_hex(second_ns - first_ns, 16);
	serial_text(" ns later\n");
	report("kvmclock written by KVM", first_version && second_version != first_version);
	report("kvmclock advances", first_ns && second_ns > first_ns);
}

unsigned guest_main(void)
{
	serial_text("vmblame test guest: hostile\n");
	protected_mode();
	real_mode();
	clock();
	serial_text(all_good ? "hostile: all good\n" : "hostile: not all good\n");
	return all_good ? GUEST_OK : GUEST_FAILED;
}
