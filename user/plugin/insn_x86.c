// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which x86 instructions store inline, and which never do: by opcode and ModRM, from Intel's SDM
 * volume 2 (appendix A) and QEMU's target/i386/tcg/translate.c and decode-new.c.inc. In doubt it is
 * INSN_MAYBE.
 *
 * The mode is not known and need not be: a byte 40..4f that is not the last one is a REX prefix, as
 * the length tells, and ModRM's mod and reg mean the same in each mode.
 */
#include "plugin.h"

#define N INSN_NEVER
#define S INSN_INLINE /* when its operand is memory */
#define P 3	      /* inline, with an operand that ModRM does not tell */
#define M INSN_MAYBE

static const u8 one_byte[256] = {
	/* 0 */ S, S, N, N, N, N, M, M, S, S, N, N, N, N, M, M,
	/* 1 */ S, S, N, N, N, N, M, M, S, S, N, N, N, N, M, M,
	/* 2 */ S, S, N, N, N, N, M, M, S, S, N, N, N, N, M, M,
	/* 3 */ S, S, N, N, N, N, M, M, N, N, N, N, N, N, M, M,
	/* 4 */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	/* 5 */ P, P, P, P, P, P, P, P, N, N, N, N, N, N, N, N,
	/* 6 */ M, M, M, M, M, M, M, M, P, N, P, N, M, M, M, M,
	/* 7 */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	/* 8 */ M, M, M, M, N, N, M, M, S, S, N, N, M, N, M, M,
	/* 9 */ N, N, N, N, N, N, N, N, N, N, M, M, M, M, M, M,
	/* a */ N, N, P, P, P, P, N, N, N, N, P, P, N, N, N, N,
	/* b */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	/* c */ S, S, N, N, M, M, M, M, M, N, M, M, M, M, M, M,
	/* d */ S, S, S, S, M, M, M, N, M, M, M, M, M, M, M, M,
	/* e */ N, N, N, N, N, N, N, N, P, N, M, N, N, N, N, N,
	/* f */ M, M, M, M, N, N, M, M, N, N, N, N, N, N, M, M,
};

static const u8 two_bytes[256] = {
	/* 0 */ M, M, M, M, M, N, N, N, N, N, M, N, M, N, M, M,
	/* 1 */ N, S, N, S, N, N, N, S, N, M, M, M, M, M, M, N,
	/* 2 */ N, N, N, N, M, M, M, M, N, S, N, S, N, N, N, N,
	/* 3 */ N, N, N, N, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 4 */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	/* 5 */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	/* 6 */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	/* 7 */ N, N, N, N, N, N, N, N, M, M, M, M, N, N, S, S,
	/* 8 */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	/* 9 */ S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
	/* a */ M, M, N, N, S, S, M, M, M, M, M, S, S, S, M, N,
	/* b */ M, M, M, S, M, M, N, N, M, M, M, S, N, N, N, N,
	/* c */ M, M, N, S, N, N, N, M, N, N, N, N, N, N, N, N,
	/* d */ N, N, N, N, N, N, S, N, N, N, N, N, N, N, N, N,
	/* e */ N, N, N, N, N, N, N, S, N, N, N, N, N, N, N, N,
	/* f */ N, N, N, N, N, N, N, M, N, N, N, N, N, N, N, M,
};

/* Opcodes that are groups: what ModRM's reg makes of them. */
static u8 group(u8 opcode, u8 reg, bool wide)
{
	switch (opcode) {
	case 0x80:
	case 0x81:
	case 0x83:
		return reg == 7 ? N : S;
	case 0x63: /* MOVSXD with REX.W, else ARPL perhaps */
		return wide ? N : M;
	case 0xc6:
	case 0xc7:
		return reg ? M : S;
	case 0xf6:
	case 0xf7:
		return reg == 2 || reg == 3 ? S : N;
	case 0xcf: /* IRETQ; other IRETs may switch tasks */
		return wide ? N : M;
	case 0xfe:
		return reg < 2 ? S : M;
	case 0xff:
		return reg < 2 ? S : reg == 2 || reg == 6 ? P : reg == 4 ? N : M;
	default:
		return M;
	}
}

enum insn_stores insn_x86_stores(const u8 *bytes, size_t len)
{
	bool wide = false;
	size_t i = 0;
	u8 kind, modrm;

	for (; i < len; i++) {
		const u8 b = bytes[i];

		if (b == 0xf0)
			return INSN_MAYBE;
		if ((b & 0xf0) == 0x40 && i + 1 < len)
			wide = b & 8;
		else if (b != 0x66 && b != 0x67 && b != 0xf2 && b != 0xf3 && b != 0x26 &&
			 b != 0x2e && b != 0x36 && b != 0x3e && b != 0x64 && b != 0x65)
			break;
	}
	if (i >= len)
		return INSN_MAYBE;
	if (bytes[i] == 0x0f) {
		if (++i >= len)
			return INSN_MAYBE;
		kind = two_bytes[bytes[i]];
		if (bytes[i] == 0xba && i + 1 < len)
			kind = ((bytes[i + 1] >> 3) & 7) == 4 ? N : S;
	} else {
		kind = one_byte[bytes[i]];
		if (kind == M)
			kind = group(bytes[i], i + 1 < len ? (bytes[i + 1] >> 3) & 7 : 7, wide);
	}
	if (kind == P)
		return INSN_INLINE;
	if (kind != S)
		return kind;
	if (i + 1 >= len)
		return INSN_MAYBE;
	modrm = bytes[i + 1];
	return modrm >> 6 == 3 ? INSN_NEVER : INSN_INLINE;
}
