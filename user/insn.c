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
