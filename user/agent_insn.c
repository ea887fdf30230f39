// SPDX-License-Identifier: GPL-2.0-or-later
/* Finds an instruction's memory operand. */
#include "agent_insn.h"

#include <string.h>

#define CR0_PE	  1ull
#define EFER_LMA  (1ull << 10)
#define RFLAGS_VM (1ull << 17)

#define XSAVE_MAX  16384 /* more than any processor's XSAVE area without AMX */
#define TABLE_LEN  10	 /* SGDT, SIDT */
#define VECTOR_LEN 64

enum map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A };

struct insn {
	const u8 *at, *end;
	u32 address_bits; /* 16, 32 or 64 */
	u8 rex;		  /* W R X B in bits 3 to 0 */
	u8 segment;	  /* override's prefix byte, or 0 */
	u8 map;		  /* enum map */
	u8 opcode;
	u8 modrm;
	bool vector; /* VEX, EVEX */
	u8 scale;    /* of a one-byte displacement: log2, EVEX only */
};

static bool take(struct insn *in, u8 *byte)
{
	if (in->at == in->end)
		return false;
	*byte = *in->at++;
	return true;
}

static u32 code_bits(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	if (!(sregs->cr0 & CR0_PE) || regs->rflags & RFLAGS_VM)
		return 16;
	if (sregs->efer & EFER_LMA && sregs->cs.l)
		return 64;
	return sregs->cs.db ? 32 : 16;
}

/* VEX and EVEX stand in the place of LES, LDS and BOUND: outside 64-bit mode those have a memory
 * operand, hence never both upper bits set. */
static bool take_vector_prefix(struct insn *in, u8 first, u32 bits)
{
	u8 b[3] = {0};

	if (in->at == in->end || (bits != 64 && (*in->at & 0xc0) != 0xc0))
		return false;
	in->vector = true;
	if (!take(in, &b[0]))
		return false;
	in->rex = (u8)(~b[0] >> 5 & 7); /* inverted R, X, B from the top */
	if (first == 0xc5) {
		in->rex = (u8)((~b[0] >> 7 & 1) << 2);
		in->map = MAP_0F;
		return true;
	}
	in->map = b[0] & (first == 0x62 ? 7 : 31);
	if (!take(in, &b[1]))
		return false;
	if (first == 0x62) {
		if (!take(in, &b[2]))
			return false;
		in->scale = 4 + (b[2] >> 5 & 3); /* a full vector's, by far the most common */
	}
	return true;
}

static bool take_opcode(struct insn *in, u32 bits)
{
	u8 b;

	for (;;) {
		if (!take(in, &b))
			return false;
		if (b == 0x67)
			in->address_bits = bits == 32 ? 16 : 32;
		else if (b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x64 || b == 0x65)
			in->segment = b;
		else if (b != 0x66 && b != 0xf0 && b != 0xf2 && b != 0xf3)
			break;
	}
	if (bits == 64 && (b & 0xf0) == 0x40) {
		in->rex = b & 15;
		if (!take(in, &b))
			return false;
	}
	if ((b == 0xc4 || b == 0xc5 || b == 0x62) && take_vector_prefix(in, b, bits))
		return take(in, &in->opcode);
	if (in->vector)
		return false;
	in->opcode = b;
	if (b != 0x0f)
		return true;
	in->map = MAP_0F;
	if (!take(in, &in->opcode))
		return false;
	if (in->opcode == 0x38 || in->opcode == 0x3a) {
		in->map = in->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
		return take(in, &in->opcode);
	}
	return true;
}

static u64 reg(const struct kvm_regs *r, u32 n)
{
	const u64 all[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
			     r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};

	return all[n & 15];
}

static bool take_displacement(struct insn *in, u32 n, u64 *out)
{
	u64 v = 0;

	if ((u64)(in->end - in->at) < n)
		return false;
	for (u32 i = 0; i < n; i++)
		v |= (u64)in->at[i] << (8 * i);
	in->at += n;
	if (n == 1)
		*out += (u64)(int64_t)(int8_t)v << in->scale;
	else if (n == 2)
		*out += (u64)(int64_t)(int16_t)v;
	else if (n == 4)
		*out += (u64)(int64_t)(int32_t)v;
	return true;
}

/* Table 2-1: 16-bit addressing. */
static bool address16(struct insn *in, const struct kvm_regs *r, u64 *out, bool *stack)
{
	static const u8 base[8] = {3, 3, 5, 5, 6, 7, 5, 3}, index[8] = {6, 7, 6, 7, 0, 0, 0, 0};
	u8 mod = in->modrm >> 6, rm = in->modrm & 7;

	*out = 0;
	*stack = false;
	if (mod == 0 && rm == 6)
		return take_displacement(in, 2, out);
	*stack = base[rm] == 5;
	*out = reg(r, base[rm]) + (rm < 4 ? reg(r, index[rm]) : 0);
	return take_displacement(in, mod == 1 ? 1 : mod == 2 ? 2 : 0, out);
}

/* Tables 2-2 and 2-3. *relative: to the end of the instruction. */
static bool address32(struct insn *in, const struct kvm_regs *r, u32 bits, u64 *out, bool *stack,
		      bool *relative)
{
	u8 mod = in->modrm >> 6, rm = in->modrm & 7, sib = 0;
	u32 b = rm | (in->rex & 1) << 3, disp = mod == 1 ? 1 : mod == 2 ? 4 : 0;

	*out = 0;
	*stack = *relative = false;
	if (rm == 4) {
		u32 index;

		if (!take(in, &sib))
			return false;
		b = (sib & 7) | (in->rex & 1) << 3;
		index = (sib >> 3 & 7) | (in->rex & 2) << 2;
		if (index != 4)
			*out += reg(r, index) << (sib >> 6);
		rm = sib & 7;
	} else if (mod == 0 && rm == 5) {
		*relative = bits == 64;
		return take_displacement(in, 4, out);
	}
	if (mod == 0 && rm == 5)
		return take_displacement(in, 4, out);
	*out += reg(r, b);
	*stack = b == 4 || b == 5;
	return take_displacement(in, disp, out);
}

static u64 segment_base(const struct insn *in, const struct kvm_sregs *s, u32 bits, bool stack)
{
	switch (in->segment) {
	case 0x64:
		return s->fs.base;
	case 0x65:
		return s->gs.base;
	}
	if (bits == 64)
		return 0;
	switch (in->segment) {
	case 0x26:
		return s->es.base;
	case 0x2e:
		return s->cs.base;
	case 0x36:
		return s->ss.base;
	case 0x3e:
		return s->ds.base;
	}
	return stack ? s->ss.base : s->ds.base;
}

/* Bytes of an immediate operand after the address, as far as stores of vectors have them. */
static u32 immediate(const struct insn *in)
{
	return in->map == MAP_0F3A || (in->map == MAP_0F && in->opcode == 0xc2);
}

bool insn_operand(const u8 *bytes, u32 len, const struct kvm_regs *regs,
		  const struct kvm_sregs *sregs, struct insn_operand *out)
{
	const u32 bits = code_bits(regs, sregs);
	struct insn in = {.at = bytes, .end = bytes + len, .address_bits = bits};
	bool stack, relative = false;
	u8 op;

	memset(out, 0, sizeof(*out));
	if (!take_opcode(&in, bits) || in.map == MAP_ONE || !take(&in, &in.modrm) ||
	    in.modrm >> 6 == 3)
		return false;
	op = in.modrm >> 3 & 7;
	if (in.address_bits == 16 ? !address16(&in, regs, &out->linear, &stack)
				  : !address32(&in, regs, bits, &out->linear, &stack, &relative))
		return false;
	if (relative)
		out->linear += regs->rip + (u64)(in.at - bytes) + immediate(&in);
	if (in.address_bits != 64)
		out->linear &= (1ull << in.address_bits) - 1;
	out->linear += segment_base(&in, sregs, bits, stack);
	if (bits != 64)
		out->linear &= 0xffffffff;
	out->max = VECTOR_LEN;
	if (!in.vector && in.map == MAP_0F && in.opcode == 0x01 && op < 2) {
		out->max = TABLE_LEN;
		out->spins = true;
	} else if (!in.vector && in.map == MAP_0F && in.opcode == 0xae && op == 0) {
		out->max = INSN_FXSAVE_LEN;
		out->spins = true;
	} else if (!in.vector && in.map == MAP_0F &&
		   ((in.opcode == 0xae && (op == 4 || op == 6)) ||
		    (in.opcode == 0xc7 && (op == 4 || op == 5)))) {
		out->max = XSAVE_MAX;
	}
	return true;
}
