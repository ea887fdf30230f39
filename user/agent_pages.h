/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages mode: KVM logs which pages of guest RAM are written; the agent takes the log whenever the
 * recorder asks, and files it by address in the VMM (struct agent_pages).
 *
 * The VMM may use the log as well. What the agent takes of a slot that the VMM logs it owes the
 * VMM, which gets it with its next KVM_GET_DIRTY_LOG; and pages that the VMM clears, the recorder
 * gets with the next harvest. Either may see a page once too often, never once too seldom.
 *
 * All calls with the agent's lock held. Sources: Documentation/virt/kvm/api.rst 4.8 (GET), 4.117
 * (CLEAR), 7.18 (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
 */
#ifndef VMBLAME_AGENT_PAGES_H
#define VMBLAME_AGENT_PAGES_H

#include "agent_dirty.h"

#define PAGES_OWED 128 /* slots that the VMM logs at the same time; of others it gets all pages */

struct pages {
	struct agent_pages *shared; /* NULL: not asked for */
	bool on;		    /* KVM logs for us */
	bool manual;		    /* reading the log does not clear it: the VMM asked for that */
	bool initially_set;	    /* a new log has all pages in it: so did the VMM */
	u32 set;		    /* of shared: which one is being filled */
	struct dirty_scratch bits;
	struct owed {
		u32 id;
		size_t nwords;
		u64 *words; /* NULL: free */
	} owed[PAGES_OWED];
};

/* The flags to install a slot with. */
u32 pages_flags(const struct pages *p, u32 flags, u64 size);

/* A slot is new in KVM, or all of it is to be looked at for another reason. */
void pages_note_all(struct pages *p, const struct slot *s);

/* Takes the log of a slot that is about to be deleted; no vCPU is in KVM_RUN. */
void pages_leave(struct pages *p, struct slots *t, struct slot *s, u32 id,
		 const struct dirty_ops *ops, void *ctx, struct dirty_scratch *scratch);

/* Takes the log of all slots, and turns to the other set. Which one was filled so far: it is the
 * recorder's now. */
u32 pages_harvest(struct pages *p, struct slots *t, const struct dirty_ops *ops, void *ctx,
		  struct dirty_scratch *scratch);

/* The VMM begins or ends logging a slot. */
void pages_vmm_logs(struct pages *p, const struct slot *s, u32 id, bool on);
/* What the VMM is to get for a slot: adds to the bitmap that KVM filled. */
void pages_vmm_got(struct pages *p, const struct slot *s, u32 id, u64 *bitmap);
/* The VMM is about to clear these pages of a slot; bit 0 is `first`. */
void pages_vmm_clears(struct pages *p, const struct slot *s, u32 id, u64 first, u32 npages,
		      const u64 *bitmap);

/* The VM is gone. */
void pages_forget(struct pages *p);

#endif
