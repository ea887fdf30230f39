/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shape that a slot should have: its pieces in address order, ordinary and read-only ones
 * taking turns. Pure computing on the tables of agent_slots.h; nothing here talks to KVM.
 */
#ifndef VMBLAME_AGENT_PLAN_H
#define VMBLAME_AGENT_PLAN_H

#include "agent_slots.h"

#define PIECE_NO_ID ~0u /* a piece that is not in KVM (yet) */

struct plan {
	u32 n;
	struct piece piece[SLOTS_PIECES];
};

static inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

static inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

/* Appends [gpa, end), nothing when that is empty. 0, or -ENOSPC. */
int plan_add(struct plan *p, u64 gpa, u64 end, u32 readonly);

/* The pieces for a slot of address space `as`. 0, or -ENOSPC when they would be too many. */
int plan_make(const struct slots *t, const struct slot *s, u32 as, struct plan *p);

/* Whether a slot has at gpa the same memory as the main address space, in an ordinary RAM slot;
 * *end (in: where to stop) comes down to where that answer ends. */
bool plan_same_memory(const struct slots *t, const struct slot *s, u64 gpa, u64 *end);

/* Gives the pieces that are there already, just so, their ids, and the others PIECE_NO_ID. */
void plan_match(struct plan *p, const struct piece *old, u32 nold);

bool plan_has(const struct plan *p, u32 id);

/* More than the whole slot as an ordinary one. */
bool plan_split(const struct plan *p);

bool piece_same(const struct piece *a, const struct piece *b);

/* Whether gpa lies in a read-only piece of the list; *end as in plan_same_memory(). */
bool piece_list_armed(const struct piece *old, u32 nold, u64 gpa, u64 *end);

/* Takes [gpa, end) out of the set; what it took goes to `out`. Where that would need a span too
 * many, the rest of the span goes too. */
void span_set_remove(struct span_set *w, u64 gpa, u64 end, struct span_set *out);

#endif
