/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disassembles by Zydis, which needs to be told how the processor was running. */
#include "insn.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

static bool machine_mode(unsigned mode, ZydisMachineMode *out)
{
	switch (mode) {
	case CPU_MODE_REAL:
		*out = ZYDIS_MACHINE_MODE_REAL_16;
		return true;
	case CPU_MODE_VM86:
	case CPU_MODE_PROT16:
		*out = ZYDIS_MACHINE_MODE_LEGACY_16;
		return true;
	case CPU_MODE_PROT32:
		*out = ZYDIS_MACHINE_MODE_LEGACY_32;
		return true;
	case CPU_MODE_PROT64:
		*out = ZYDIS_MACHINE_MODE_LONG_64;
		return true;
	default:
		return false;
	}
}

/* What FXSAVE stores on every processor: FCW, FSW and FTW, MXCSR and its mask, ten bytes of each ST
 * register, the XMM registers. FOP, FIP, FDP depend on the processor, and what is reserved is left
 * alone (Intel SDM volume 1, table 10-2; AMD APM volume 3, FXSAVE). */
static bool fxsave_stores(ZydisMachineMode machine, unsigned off)
{
	if (off < 32)
		return off < 5 || off >= 24;
	if (off < 160)
		return (off & 15) < 10;
	return off < (machine == ZYDIS_MACHINE_MODE_LONG_64 ? 416 : 288);
}

bool insn_operand_stores(unsigned mode, const u8 *bytes, size_t len, unsigned off)
{
	ZydisMachineMode machine;
	ZydisDisassembledInstruction insn;

	if (!len || !machine_mode(mode, &machine) ||
	    !ZYAN_SUCCESS(ZydisDisassembleIntel(machine, 0, bytes, len, &insn)))
		return false;
	switch (insn.info.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
		return fxsave_stores(machine, off);
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
		return off < (machine == ZYDIS_MACHINE_MODE_LONG_64 ? 10 : 6);
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return false;
	default:
		break;
	}
	if (insn.info.avx.mask.mode != ZYDIS_MASK_MODE_INVALID &&
	    insn.info.avx.mask.mode != ZYDIS_MASK_MODE_DISABLED)
		return false;
	for (unsigned i = 0; i < insn.info.operand_count; i++) {
		const ZydisDecodedOperand *op = &insn.operands[i];

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT &&
		    op->actions & ZYDIS_OPERAND_ACTION_WRITE && op->size <= 64 * 8)
			return off < op->size / 8;
	}
	return false;
}

bool insn_format(unsigned mode, const u8 *bytes, size_t len, u64 rip, char *buf, size_t size)
{
	ZydisMachineMode machine;
	ZydisDisassembledInstruction insn;

	if (size)
		buf[0] = 0;
	if (!size || !len || !machine_mode(mode, &machine))
		return false;
	if (!ZYAN_SUCCESS(ZydisDisassembleIntel(machine, rip, bytes, len, &insn)))
		return false;
	snprintf(buf, size, "%s", insn.text);
	return true;
}
