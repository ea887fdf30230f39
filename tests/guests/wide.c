// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Instructions that store much, or several times, or on a stack: each into watched pages, at CPL 0
 * and 3. What one stores is found by doing it twice where nobody watches, over zeros and over ones;
 * then its bytes are spoiled in the watched pages, and it has to put all of them there, and no
 *more.
 *
 *	wide: step NUMBER NAME cpl N rip 0x...
 *	wide: put 0xGPA LEN 0xSUM	a piece that it stores, its checksum as in payload.h
 *	wide: ok, or what is wrong
 */
#include "payload.h"
#include "wide_cpu.h"

#define SOURCE_BYTES 512
#define PAGE	     4096u

struct step {
	const char *name;
	const u8 *entry, *rip, *end;
	u16 off;
	u8 bits, levels, pages, place, needs;
};

#define STEP(name, bits, levels, pages, offset, place, needs, prelude, ...) \
	extern const u8 wide_##name[], wide_rip_##name[], wide_end_##name[];
#include "wide_ops.def"
#undef STEP

static const struct step steps[] = {
#define STEP(name, bits, levels, pages, offset, place, needs, prelude, ...) \
	{#name, wide_##name, wide_rip_##name, wide_end_##name, offset,      \
	 bits,	levels,	     pages,	      place,	       needs},
#include "wide_ops.def"
#undef STEP
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* Bytes 0x1f0..0x1fb of the image: bit n of byte n / 8 leaves out step n. Not const to the
 * compiler: a script may change them. */
volatile u8 wide_skip[12] __attribute__((section(".config"))) = {0};

_Static_assert(STEPS < 8 * sizeof(wide_skip), "a bit for each step");

void wide_fill(volatile u64 *at, u64 value);
extern const u8 wide_rip_fill[];

static u8 source[SOURCE_BYTES] __attribute__((aligned(64)));
static u64 over_zeros[REACH_BYTES / 8], over_ones[REACH_BYTES / 8];
static u64 watched[WATCHED_BYTES / 8], beside[PAGE / 8]; /* what they should hold */
static u32 window_gpa[2];

static volatile u64 *reach(const struct step *step)
{
	return (volatile u64 *)((WINDOW_GVA + step->off - REACH_BELOW) & ~7ull);
}

/* Where what this word should hold is kept. */
static u64 *should(const volatile u64 *at)
{
	const u32 off = (u32)((uintptr_t)at - WINDOW_GVA), page = off / PAGE;
	const u32 gpa = window_gpa[page] + off % PAGE;

	if (gpa >= BESIDE_GPA)
		return &beside[(gpa - BESIDE_GPA) / 8];
	return &watched[(gpa - WATCHED_GPA) / 8];
}

static void window_real(u8 pages)
{
	window_gpa[0] = pages == UW ? BESIDE_GPA : pages == WU ? WATCHED_GPA + PAGE : WATCHED_GPA;
	window_gpa[1] = pages == UW ? WATCHED_GPA : pages == WU ? BESIDE_GPA : WATCHED_GPA + PAGE;
	wide_window(window_gpa[0], window_gpa[1]);
}

#define DONE 256 /* no vector */

static u32 step_run(const struct step *step, u32 cpl)
{
	const u64 place = WINDOW_GVA + step->off;
	const bool wide = step->bits == 64;
	const struct wide_regs regs = {
		.rip = (uintptr_t)step->entry,
		.cs = cpl ? (wide ? SEL_USER_CODE64 : SEL_USER_CODE32)
			  : (wide ? SEL_CODE64 : SEL_CODE32),
		.rflags = cpl ? 0x202 : 2, /* no interrupt but that of a step is there to come */
		.rsp = step->place & STACK ? place : STACKS_GPA + STACK_BYTES,
		.ss = cpl ? SEL_USER_DATA : SEL_DATA,
		.rdi = place,
		.rsi = (uintptr_t)source,
		.rbp = (uintptr_t)source + SOURCE_BYTES / 2,
		.rbx = cpl ? (wide ? SEL_USER_CODE64 : SEL_USER_CODE32)
			   : (wide ? SEL_CODE64 : SEL_CODE32),
	};

	wide_set_rsp0(step->place & RSP0 ? place : STACKS_GPA + 2 * STACK_BYTES);
	if (step->place & IRQ)
		wide_send_irq();

	const u32 vector = wide_run(&regs);

	return vector == VECTOR_PF && wide_fault_rip == (uintptr_t)step->end ? DONE : vector;
}

/* What it leaves of a background. */
static u32 step_learn(const struct step *step, u32 cpl, u64 background, u64 *found)
{
	volatile u64 *at = reach(step);

	wide_window(MIRROR_GPA, MIRROR_GPA + PAGE);
	for (u32 i = 0; i < REACH_BYTES / 8; i++)
		at[i] = background;

	const u32 trap = step_run(step, cpl);

	for (u32 i = 0; i < REACH_BYTES / 8; i++)
		found[i] = at[i];
	return trap;
}

/* Bytes that are the same over zeros as over ones were stored. */
static u64 stored(u32 i)
{
	u64 mask = 0;

	if (over_zeros[i] == 0 && over_ones[i] == ~0ull)
		return 0;
	for (u32 shift = 0; shift < 64; shift += 8)
		if ((u8)(over_zeros[i] >> shift) == (u8)(over_ones[i] >> shift))
			mask |= 0xffull << shift;
	return mask;
}

static void window_spoil(const struct step *step)
{
	volatile u64 *at = reach(step);

	for (u32 i = 0; i < REACH_BYTES / 8; i++) {
		const u64 mask = stored(i);
		u64 *word = should(&at[i]);

		if (mask)
			wide_fill(&at[i], (*word & ~mask) | (~over_zeros[i] & mask));
		*word = (*word & ~mask) | (over_zeros[i] & mask);
	}
}

static bool piece_ends(u32 i, u32 gpa)
{
	return i + 1 == REACH_BYTES || gpa % PAGE == PAGE - 1 ||
	       !(stored((i + 1) / 8) >> (8 * ((i + 1) % 8)) & 1);
}

/* Pages and gaps end a piece. False when there is nothing to tell. */
static bool tell(const struct step *step)
{
	const u8 *bytes = (const u8 *)over_zeros;
	u32 len = 0;
	bool some = false;

	for (u32 i = 0; i < REACH_BYTES; i++) {
		const u64 at = (u64)(uintptr_t)reach(step) + i - WINDOW_GVA;
		const u32 gpa = window_gpa[at / PAGE] + at % PAGE;

		if (!(stored(i / 8) >> (8 * (i % 8)) & 1))
			continue;
		len++;
		if (!piece_ends(i, gpa))
			continue;
		serial_text("wide: put 0x");
		serial_hex(gpa + 1 - len, 8);
		serial_char(' ');
		serial_dec(len);
		serial_text(" 0x");
		serial_hex(payload_sum(bytes + i + 1 - len, len), 8);
		serial_char('\n');
		len = 0;
		some = true;
	}
	if (!some)
		serial_text("wide: puts nothing\n");
	return some;
}

static bool window_check(const struct step *step)
{
	volatile u64 *at = reach(step);
	bool good = true;

	for (u32 i = 0; i < REACH_BYTES / 8; i++) {
		u64 *word = should(&at[i]);

		if (at[i] == *word)
			continue;
		serial_text("wide: found 0x");
		serial_hex(at[i], 16);
		serial_text(" expected 0x");
		serial_hex(*word, 16);
		serial_text(" at 0x");
		serial_hex((uintptr_t)&at[i] - WINDOW_GVA, 4);
		serial_char('\n');
		*word = at[i];
		good = false;
	}
	return good;
}

static bool trapped(const char *where, u32 trap)
{
	if (trap == DONE)
		return false;
	serial_text("wide: trap ");
	serial_dec(trap);
	serial_text(where);
	return true;
}

static bool step_do(u32 number, const struct step *step, u32 cpl)
{
	serial_text("wide: step ");
	serial_dec(number);
	serial_char(' ');
	serial_text(step->name);
	serial_text(cpl ? " cpl 3 rip 0x" : " cpl 0 rip 0x");
	serial_hex((uintptr_t)step->rip, 8);
	serial_char('\n');

	const u32 trap0 = step_learn(step, cpl, 0, over_zeros);
	const u32 trap1 = step_learn(step, cpl, ~0ull, over_ones);

	if (trapped(" where nobody watches\n", trap0 != DONE ? trap0 : trap1))
		return false;
	window_real(step->pages);

	const bool some = tell(step);

	window_spoil(step);

	const u32 trap = step_run(step, cpl);
	const bool good = window_check(step) && some && trap == DONE;

	trapped("\n", trap);
	serial_text(good ? "wide: ok\n" : "wide: BAD\n");
	return good;
}

/* Every byte of all pages, those that no step ever stored to included. */
static bool pages_check(void)
{
	bool good = true;

	for (u32 i = 0; i < WATCHED_BYTES / 8; i++)
		good &= ((const volatile u64 *)WATCHED_GPA)[i] == watched[i];
	for (u32 i = 0; i < PAGE / 8; i++)
		good &= ((const volatile u64 *)BESIDE_GPA)[i] == beside[i];
	serial_text(good ? "wide: pages: ok\n" : "wide: pages: BAD\n");
	return good;
}

unsigned guest_main(void)
{
	u32 done = 0, bad = 0;

	wide_cpu_init(wide_skip[sizeof(wide_skip) - 1] & 0x80);
	for (u32 i = 0; i < SOURCE_BYTES; i++)
		source[i] = (u8)(0x11 + 37 * i + (i >> 5));
	for (u32 i = 0; i < WATCHED_BYTES / 8; i++)
		watched[i] = ((volatile u64 *)WATCHED_GPA)[i] = 0x5a5a000000000000 + i;
	for (u32 i = 0; i < PAGE / 8; i++)
		beside[i] = ((volatile u64 *)BESIDE_GPA)[i] = 0xbe51de0000000000 + i;
	serial_text("wide: features ");
	serial_hex(wide_features(), 2);
	serial_text(", filled by rip 0x");
	serial_hex((uintptr_t)wide_rip_fill, 8);
	serial_char('\n');
	for (u32 n = 0; n < STEPS; n++) {
		if (wide_skip[n / 8] & 1u << (n % 8) || (steps[n].needs & ~wide_features()))
			continue;
		for (u32 level = 0; level < 2; level++) {
			if (!(steps[n].levels & 1u << level))
				continue;
			done++;
			bad += !step_do(n, &steps[n], level);
		}
	}
	bad += !pages_check();
	serial_text("wide: ");
	serial_dec(done);
	serial_text(" steps, ");
	serial_dec(bad);
	serial_text(bad ? " bad\n" : " bad: all good\n");
	return bad ? GUEST_FAILED : GUEST_OK;
}
