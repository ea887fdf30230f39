// SPDX-License-Identifier: GPL-2.0-or-later
/* Where memory operands lie, and how much of them is written: instructions as an assembler makes
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "user/agent_insn.h"
#include "user/insn.h"

enum cpu { REAL, PROT32, LONG64 };

struct row {
	const char *text;
	enum cpu cpu;
	u8 len;
	u8 bytes[15];
	u64 linear;	  /* 0: no operand that is looked for */
	unsigned written; /* of its first 512 bytes, by insn_operand_stores() */
	bool spins;
};

static const struct kvm_regs regs = {
	.rax = 0x10000,
	.rbx = 0x20000,
	.rcx = 0x8,
	.rdx = 0x40000,
	.rsi = 0x50000,
	.rdi = 0x60000,
	.rsp = 0x70000,
	.rbp = 0x80000,
	.r8 = 0x90000,
	.r12 = 0xa0000,
	.r13 = 0xb0000,
	.r15 = 0x20,
	.rip = 0x1000,
	.rflags = 2,
};

/* Addresses of segments: ds 0, ss 0x1000000, fs 0x2000000, but in 64-bit mode fs alone. */
static const struct row rows[] = {
	{"vmovups [rax], ymm0", LONG64, 4, {0xc5, 0xfc, 0x11, 0x00}, 0x10000, 32, false},
	{"vmovups [rax+0x40], xmm0", LONG64, 5, {0xc5, 0xf8, 0x11, 0x40, 0x40}, 0x10040, 16, false},
	{"vmovdqu [r12+r15*4+0x100], ymm9",
	 LONG64,
	 10,
	 {0xc4, 0x01, 0x7e, 0x7f, 0x8c, 0xbc, 0x00, 0x01, 0x00, 0x00},
	 0xa0180,
	 32,
	 false},
	{"vmovntdq [rip+0x20], ymm1",
	 LONG64,
	 8,
	 {0xc5, 0xfd, 0xe7, 0x0d, 0x20, 0, 0, 0},
	 0x1028,
	 32,
	 false},
	{"vpextrd [rip+0x20], xmm1, 2",
	 LONG64,
	 10,
	 {0xc4, 0xe3, 0x79, 0x16, 0x0d, 0x20, 0, 0, 0, 0x02},
	 0x102a,
	 4,
	 false},
	{"vmovdqu64 [rax+0x80], zmm0",
	 LONG64,
	 7,
	 {0x62, 0xf1, 0xfe, 0x48, 0x7f, 0x40, 0x02},
	 0x10080,
	 64,
	 false},
	{"vmovdqu64 [rax+0x80]{k1}, zmm0",
	 LONG64,
	 7,
	 {0x62, 0xf1, 0xfe, 0x49, 0x7f, 0x40, 0x02},
	 0x10080,
	 0,
	 false},
	{"vmaskmovps [rbx], ymm1, ymm0",
	 LONG64,
	 5,
	 {0xc4, 0xe2, 0x75, 0x2e, 0x03},
	 0x20000,
	 0,
	 false},
	{"fxsave [rsi]", LONG64, 3, {0x0f, 0xae, 0x06}, 0x50000, 5 + 8 + 80 + 256, true},
	{"fxsave [esi]", PROT32, 3, {0x0f, 0xae, 0x06}, 0x50000, 5 + 8 + 80 + 128, true},
	{"xsave [r13+0]", LONG64, 5, {0x41, 0x0f, 0xae, 0x65, 0x00}, 0xb0000, 0, false},
	{"sgdt fs:[rdx]", LONG64, 4, {0x64, 0x0f, 0x01, 0x02}, 0x2040000, 10, true},
	{"sidt [ebp+4]", PROT32, 4, {0x0f, 0x01, 0x4d, 0x04}, 0x1080004, 6, true},
	{"sgdt [bx+si]", REAL, 3, {0x0f, 0x01, 0x00}, 0x70000 & 0xffff, 6, true},
	{"vmovups [esp+ecx*2-8], ymm0",
	 PROT32,
	 6,
	 {0xc5, 0xfc, 0x11, 0x44, 0x4c, 0xf8},
	 0x1070008,
	 32,
	 false},
	{"vmovups [0x12345678], ymm0",
	 PROT32,
	 8,
	 {0xc5, 0xfc, 0x11, 0x05, 0x78, 0x56, 0x34, 0x12},
	 0x12345678,
	 32,
	 false},
	{"vmovups ymm0, ymm1", LONG64, 4, {0xc5, 0xfc, 0x11, 0xc8}, 0, 0, false},
	{"lds eax, [eax] (no vector prefix)", PROT32, 2, {0xc5, 0x00}, 0, 0, false},
	{"push rax", LONG64, 1, {0x50}, 0, 0, false},
	{"cut short", LONG64, 3, {0xc5, 0xfc, 0x11}, 0, 0, false},
	{"prefixes alone", LONG64, 3, {0x66, 0x66, 0x66}, 0, 0, false},
	{"nothing", LONG64, 0, {0}, 0, 0, false},
};

static void set_cpu(enum cpu cpu, struct kvm_sregs *s, unsigned *mode)
{
	static const unsigned modes[] = {CPU_MODE_REAL, CPU_MODE_PROT32, CPU_MODE_PROT64};

	memset(s, 0, sizeof(*s));
	*mode = modes[cpu];
	s->cr0 = cpu != REAL;
	s->efer = cpu == LONG64 ? 1u << 10 : 0;
	s->cs.l = cpu == LONG64;
	s->cs.db = cpu == PROT32;
	s->ss.base = cpu == REAL ? 0 : 0x1000000;
	s->fs.base = 0x2000000;
}

static void test_operands(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct insn_operand operand;
		struct kvm_sregs sregs;
		unsigned mode, written;
		bool found;

		set_cpu(row->cpu, &sregs, &mode);
		found = insn_operand(row->bytes, row->len, &regs, &sregs, &operand);
		if (found != (row->linear != 0 || row->cpu == REAL) ||
		    (found && (operand.linear != row->linear || operand.spins != row->spins)))
			fail_msg("%s: %s, linear 0x%llx, spins %d", row->text,
				 found ? "found" : "not found", (unsigned long long)operand.linear,
				 operand.spins);
		written = 0;
		for (unsigned off = 0; off < 512; off++)
			written += insn_operand_stores(mode, row->bytes, row->len, off);
		if (found && written != row->written)
			fail_msg("%s: writes %u bytes", row->text, written);
		if (found && row->written > operand.max)
			fail_msg("%s: writes more than %u", row->text, operand.max);
	}
}

/* Any bytes: an answer, no read beyond them (the sanitizers look). */
static void test_garbage(void **state)
{
	u64 x = 0x9e3779b97f4a7c15ull;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		struct insn_operand operand;
		struct kvm_sregs sregs;
		u8 *bytes, len;
		unsigned mode;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		len = x >> 60;
		bytes = test_malloc(len ? len : 1);
		for (u8 k = 0; k < len; k++)
			bytes[k] = (u8)(x >> (k * 4 % 56)) ^ k;
		set_cpu(i % 3, &sregs, &mode);
		if (insn_operand(bytes, len, &regs, &sregs, &operand))
			assert_in_range(operand.max, 1, 16384);
		insn_operand_stores(mode, bytes, len, (unsigned)i % 64);
		test_free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_operands),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
