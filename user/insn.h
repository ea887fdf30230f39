/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shows an x86 instruction as text. */
#ifndef VMBLAME_INSN_H
#define VMBLAME_INSN_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/event.h"

/* The first instruction of the bytes, Intel syntax, in the mode given (enum cpu_mode), for the
 * address rip. False, and an empty text, when the mode is not known or the bytes are no
 * instruction. */
bool insn_format(unsigned mode, const u8 *bytes, size_t len, u64 rip, char *buf, size_t size);

/* Whether the first instruction of the bytes stores to the byte `off` of its memory operand,
 * whatever its operands hold. False when that is not known (a mask decides, or the processor). */
bool insn_operand_stores(unsigned mode, const u8 *bytes, size_t len, unsigned off);

#endif
