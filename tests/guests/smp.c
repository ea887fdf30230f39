// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Several vCPUs at one word: they count in it with locked instructions, wake each other from hlt,
 * wait for each other in a loop. Each knows how often it stored, and so the sum is known.
 */
#include "guest.h"
#include "smp_layout.h"

#define APIC_GPA      0xfee00000
#define APIC_EOI      0xb0
#define APIC_SPURIOUS 0xf0
#define APIC_ICR_LOW  0x300
#define APIC_ICR_HIGH 0x310
#define APIC_ENABLE   0x1ff
#define ICR_BUSY      0x1000
#define ICR_INIT      0x4500
#define ICR_STARTUP   0x4600
#define ICR_FIXED     0x4000

#define VECTOR_WAKE 0x40
#define VECTORS	    0x41
#define GATE_INT64  0x8e00
#define PTE_DEVICE  0x93 /* present, writable, not cached, 2 MiB */
#define PTE_PW	    0x3

/* Bytes 0x1f0..0x1fb of the image, for a script to change. */
struct smp_config {
	u32 count;  /* of each counting operation, on each vCPU */
	u16 rounds; /* of each of the others */
	u8 vcpus;   /* that work, 1..SMP_VCPUS; ids from 0 */
	u8 parked;  /* and after them: woken up, then asleep for good */
	u8 ops;	    /* bit n: SMP_OPS's row n */
	u8 pad[3];
};

volatile struct smp_config smp_config __attribute__((section(".config"))) = {
	.count = 1000,
	.rounds = 20,
	.vcpus = 2,
	.ops = 0xef,
};

/* smp_ops.S adds to the first three. */
struct smp_score {
	u64 retries, old_sum, backward;
	volatile u32 woken;
	volatile u32 done; /* the last step that it finished; 1: it is up */
	u64 pad[4];
};

struct gate {
	u16 off0, selector, flags, off16;
	u32 off32, zero;
};

u32 smp_cr3;
extern const u8 smp_start[];
extern const u8 smp_rip_inc[], smp_rip_xadd[], smp_rip_cmpxchg[], smp_rip_cmpxchg8b[],
	smp_rip_cmpxchg16b[], smp_rip_store[];
void smp_inc(volatile u64 *word, u64 count, struct smp_score *score);
void smp_xadd(volatile u64 *word, u64 count, struct smp_score *score);
void smp_cmpxchg(volatile u64 *word, u64 count, struct smp_score *score);
void smp_cmpxchg8b(volatile u64 *word, u64 count, struct smp_score *score);
void smp_cmpxchg16b(volatile u64 *word, u64 count, struct smp_score *score);
void smp_store(volatile u64 *word, u64 value);
void smp_sleep(void);
void smp_wake(void);
void smp_trap(void);
void smp_vcpu(u32 id) __attribute__((noreturn));
void smp_woken(void);
void smp_trapped(u64 first, u64 second) __attribute__((noreturn));

static struct smp_score scores[SMP_VCPUS];
static struct gate idt[VECTORS];
static u64 apic_pages[512] __attribute__((aligned(4096)));
static volatile u32 step, step_op; /* step 1: coming up; each operation is one more */
static volatile u64 *const word = (volatile u64 *)WORD_GPA;
static volatile u64 *const flag = (volatile u64 *)FLAG_GPA;
static volatile u64 *const free_flag = (volatile u64 *)FREE_GPA;

static void relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static u32 self(void)
{
	u32 eax = 1, ebx, ecx, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
	return ebx >> 24;
}

static volatile u32 *apic(u32 reg)
{
	return (volatile u32 *)(uintptr_t)(APIC_GPA + reg);
}

static void apic_send(u32 to, u32 what)
{
	*apic(APIC_ICR_HIGH) = to << 24;
	*apic(APIC_ICR_LOW) = what;
	while (*apic(APIC_ICR_LOW) & ICR_BUSY)
		relax();
}

/* The last gigabyte below 4 GiB has no page table yet; the local APIC is in it. */
static void apic_map(void)
{
	u64 *map;

	__asm__ volatile("movq %%cr3, %0" : "=r"(map));
	smp_cr3 = (u32)(uintptr_t)map;

	u64 *ptrs = (u64 *)(map[0] & ~0xfffull);

	apic_pages[(APIC_GPA >> 21) & 511] = (APIC_GPA & ~0x1fffffu) | PTE_DEVICE;
	ptrs[3] = (uintptr_t)apic_pages | PTE_PW;
	out8(0x21, 0xff); /* the timer of the BIOS would interrupt a sleeper */
	out8(0xa1, 0xff);
}

static void idt_load(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uintptr_t)idt};

	__asm__ volatile("lidt %0" ::"m"(idtr));
	*apic(APIC_SPURIOUS) = APIC_ENABLE;
}

static void idt_init(void)
{
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		const u64 to = (uintptr_t)(vector == VECTOR_WAKE ? smp_wake : smp_trap);

		idt[vector] = (struct gate){(u16)to,	     SEL_CODE64,      GATE_INT64,
					    (u16)(to >> 16), (u32)(to >> 32), 0};
	}
}

void smp_trapped(u64 first, u64 second)
{
	serial_text("smp: vcpu ");
	serial_dec(self());
	serial_text(" trapped, 0x");
	serial_hex(first, 16);
	serial_text(" 0x");
	serial_hex(second, 16);
	serial_char('\n');
	guest_panic("unexpected trap");
}

/* On the vCPU that an interrupt woke: all but the first count, and wake the first. */
void smp_woken(void)
{
	const u32 id = self();

	*apic(APIC_EOI) = 0;
	if (id) {
		smp_inc(word, 1, &scores[id]);
		scores[id].woken++;
		apic_send(0, ICR_FIXED | VECTOR_WAKE);
	} else {
		scores[0].woken++;
	}
}

/* The first wakes each of the others in turn, and sleeps until it is woken by it. */
static void op_ipi(u32 id)
{
	const u32 rounds = smp_config.rounds;

	scores[id].woken = 0;
	if (id) {
		while (scores[id].woken < rounds)
			smp_sleep();
		return;
	}
	for (u32 round = 0; round < rounds; round++)
		for (u32 to = 1; to < smp_config.vcpus; to++) {
			const u32 before = scores[0].woken;

			apic_send(to, ICR_FIXED | VECTOR_WAKE);
			while (scores[0].woken == before)
				smp_sleep();
		}
}

static void op_spin(u32 id, volatile u64 *at)
{
	const u64 vcpus = smp_config.vcpus, last = vcpus * smp_config.rounds;

	for (u64 mine = id; mine < last; mine += vcpus) {
		while (*at != mine)
			relax();
		smp_store(at, mine + 1);
	}
	while (*at != last)
		relax();
}

static void op_run(u32 id, u32 op)
{
	static void (*const counters[])(volatile u64 *, u64, struct smp_score *) = {
		smp_inc, smp_xadd, smp_cmpxchg, smp_cmpxchg8b, smp_cmpxchg16b,
	};

	if (op < sizeof(counters) / sizeof(counters[0]))
		counters[op](word, smp_config.count, &scores[id]);
	else if (op == 5)
		op_ipi(id);
	else
		op_spin(id, op == 6 ? flag : free_flag);
}

/* A further vCPU: waits for steps, or sleeps for good. */
void smp_vcpu(u32 id)
{
	u32 seen = 1;

	idt_load();
	scores[id].done = 1;
	while (id < smp_config.vcpus) {
		while (step == seen)
			relax();
		seen = step;
		op_run(id, step_op);
		scores[id].done = seen;
	}
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void vcpus_start(void)
{
	const u32 all = smp_config.vcpus + smp_config.parked;

	step = 1;
	for (u32 id = 1; id < all; id++) {
		apic_send(id, ICR_INIT);
		apic_send(id, ICR_STARTUP | (u32)(uintptr_t)smp_start >> 12);
		while (!scores[id].done)
			relax();
	}
}

static void say(const char *name, const char *what)
{
	serial_text("smp: ");
	serial_text(name);
	serial_text(what);
}

static bool op_check(const char *name, u32 op)
{
	const u64 vcpus = smp_config.vcpus, sum = vcpus * smp_config.count;
	const u64 rounds = smp_config.rounds;
	u64 old_sum = 0, low = sum, high = 0;
	bool good = true;

	for (u32 id = 0; id < vcpus; id++) {
		say(name, " vcpu ");
		serial_dec(id);
		serial_text(" retries ");
		serial_dec((u32)scores[id].retries);
		serial_char('\n');
		old_sum += scores[id].old_sum;
		good &= !scores[id].backward;
	}
	if (op == 1)
		good &= old_sum == sum * (sum - 1) / 2;
	if (op == 3)
		low = sum | 3 * sum << 32;
	if (op == 4)
		high = 3 * sum;
	if (op == 5)
		low = (vcpus - 1) * rounds;
	if (op >= 6)
		good &= *(op == 6 ? flag : free_flag) == vcpus * rounds;
	else
		good &= word[0] == low && word[1] == high;
	say(name, " word 0x");
	serial_hex(word[0], 16);
	serial_text(" 0x");
	serial_hex(word[1], 16);
	serial_text(good ? ": ok\n" : ": BAD\n");
	return good;
}

static bool op_all(const char *name, u32 op, const u8 *rip)
{
	const u32 vcpus = smp_config.vcpus;

	for (u32 id = 0; id < vcpus; id++)
		scores[id].retries = scores[id].old_sum = scores[id].backward = 0;
	smp_store(&word[0], 0);
	smp_store(&word[1], 0);
	if (op == 6)
		smp_store(flag, 0);
	*free_flag = 0;
	say(name, " started, rip 0x");
	serial_hex((uintptr_t)rip, 8);
	serial_char('\n');
	step_op = op;
	barrier();
	step++;
	op_run(0, op);
	for (u32 id = 1; id < vcpus; id++)
		while (scores[id].done != step)
			relax();
	return op_check(name, op);
}

unsigned guest_main(void)
{
	static const u8 *const rips[SMP_OPS_COUNT] = {
		smp_rip_inc,	    smp_rip_xadd, smp_rip_cmpxchg, smp_rip_cmpxchg8b,
		smp_rip_cmpxchg16b, smp_rip_inc,  smp_rip_store,   smp_rip_store,
	};
	static const char *const names[SMP_OPS_COUNT] = {
#define SMP_NAME(number, name, doc) [number] = #name,
		SMP_OPS(SMP_NAME)
#undef SMP_NAME
	};
	bool good = true;

	if (!smp_config.vcpus || smp_config.vcpus + smp_config.parked > SMP_VCPUS ||
	    !smp_config.count)
		guest_panic("smp: settings that do not fit");
	say("", "vcpus ");
	serial_dec(smp_config.vcpus);
	serial_text(" count ");
	serial_dec(smp_config.count);
	serial_text(" rounds ");
	serial_dec(smp_config.rounds);
	serial_char('\n');
	apic_map();
	idt_init();
	idt_load();
	vcpus_start();
	for (u32 op = 0; op < SMP_OPS_COUNT; op++)
		if (smp_config.ops & 1u << op)
			good &= op_all(names[op], op, rips[op]);
	say("", good ? "all good\n" : "not all good\n");
	return good ? GUEST_OK : GUEST_FAILED;
}
