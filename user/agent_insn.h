/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an instruction's memory operand lies: prefixes, ModRM and SIB, as far as it takes to find
 * the address (Intel SDM volume 2, chapter 2). Operands without a ModRM byte (PUSH, STOS, ...) are
 * not found.
 */
#ifndef VMBLAME_AGENT_INSN_H
#define VMBLAME_AGENT_INSN_H

#include "../formats/event.h"

#include <linux/kvm.h>
#include <stdbool.h>

#define INSN_FXSAVE_LEN 512

struct insn_operand {
	u64 linear; /* address of the first byte */
	u32 max;    /* bytes from there that the instruction may write, at most */
	bool spins; /* FXSAVE, SGDT or SIDT: KVM's emulator tries these for ever on read-only memory
		     */
};

/* The operand of the instruction in bytes[0..len), which starts at regs->rip. False when it has
 * none, or is not one that can be looked through. */
bool insn_operand(const u8 *bytes, u32 len, const struct kvm_regs *regs,
		  const struct kvm_sregs *sregs, struct insn_operand *out);

#endif
