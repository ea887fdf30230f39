/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG of a slot that is installed in pieces: the VMM goes on
 * seeing one slot with one bitmap. Pieces begin at any page, so bits are shifted between the two.
 * A bitmap has one bit a page, in whole 64-bit words (Documentation/virt/kvm/api.rst, 4.8
 * and 4.117).
 */
#ifndef VMBLAME_AGENT_DIRTY_H
#define VMBLAME_AGENT_DIRTY_H

#include "agent_slots.h"

struct dirty_ops {
	/* KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG (first page, number of pages). 0 or -errno. */
	int (*get)(void *ctx, u32 id, u64 *bitmap);
	int (*clear)(void *ctx, u32 id, u64 first, u32 npages, const u64 *bitmap);
};

/* Room for one piece's bitmap, mapped as it grows and kept. Zeroed at first. */
struct dirty_scratch {
	u64 *words;
	size_t nwords;
};

/* Makes room for so many words. 0 or -ENOMEM. */
int dirty_scratch_grow(struct dirty_scratch *scratch, size_t nwords);

/* dst[to, to+n) |= src[from, from+n), in bits. */
void dirty_bits_or(u64 *dst, u64 to, const u64 *src, u64 from, u64 n);

/* Fills the VMM's bitmap for slot s. 0 or the first error. */
int dirty_get(struct slots *t, struct slot *s, u32 id, const struct dirty_ops *ops, void *ctx,
	      struct dirty_scratch *scratch, u64 *bitmap);

/* Clears pages [first, first+npages) of slot s whose bit is set; bit 0 of the bitmap is `first`.
 * -EINVAL where KVM would say so for the slot in one piece. */
int dirty_clear(struct slots *t, struct slot *s, u32 id, const struct dirty_ops *ops, void *ctx,
		struct dirty_scratch *scratch, u64 first, u32 npages, const u64 *bitmap);

#endif
