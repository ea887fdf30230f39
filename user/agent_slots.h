/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VMM's memory slots, as it sees them and as KVM has them: slots with watched pages are
 *installed in pieces, the watched ones read-only, so that every guest store to them exits.
 *
 *	VMM:	slot 3	[0x0000 ........................ 0x8000)
 *	KVM:	slot 3	[0x0000 .. 0x2000)
 *		slot R	[0x2000 .. 0x3000) READONLY	<- watched
 *		slot R+1 [0x3000 ............. 0x8000)
 *
 * Pure: KVM, the pausing of vCPUs and the reports are calls through slots_ops, and nothing
 *allocates. The caller serialises all calls. Errors are 0 or -errno.
 *
 * KVM's rules (virt/kvm/kvm_main.c, kvm_set_memory_region): slots of an address space do not
 *overlap; of a live slot only gpa and KVM_MEM_LOG_DIRTY_PAGES may change; size 0 deletes.
 */
#ifndef VMBLAME_AGENT_SLOTS_H
#define VMBLAME_AGENT_SLOTS_H

#include "agent.h"

#include <stdbool.h>

#define SLOTS_SPACES   2    /* address spaces; 1 is SMM's */
#define SLOTS_TRACKED  4096 /* slot ids of the VMM's that are followed, in each address space */
#define SLOTS_RESERVED 512  /* ids kept back for pieces, in each address space, at most */
#define SLOTS_SPLITS   64   /* slots in pieces at the same time */
#define SLOTS_PIECES   256  /* pieces of a slot */
#define SLOTS_WATCH    256  /* spans in the set of watched pages */

#define SLOTS_PAGE 4096ull

struct slots_ops {
	/* KVM_SET_USER_MEMORY_REGION. 0 or -errno. */
	int (*set)(void *ctx, u32 id, u32 flags, u64 gpa, u64 size, u64 hva);
	/* Gets every vCPU out of KVM_RUN and keeps it out until resume. 0, or -errno: not paused.
	 */
	int (*pause)(void *ctx);
	void (*resume)(void *ctx);
	/* AGENT_ARMED (last is the hva), AGENT_OPENED (last is enum why); AGENT_CHANGE for a slot
	 * that was split (last is the number of pieces). While what is reported comes about no vCPU
	 * runs, so that the moment of the report parts the stores that exit from those that do not;
	 * unless pause failed, and memory that the VMM takes away (WHY_NO_RAM). */
	void (*report)(void *ctx, enum agent_type type, u64 gpa, u64 size, u64 last);
};

struct piece {
	u32 id;
	u32 readonly;
	u64 gpa, size;
};

struct slot {
	u64 gpa, size, hva; /* as the VMM asked */
	u32 flags;
	u8 used;
	u8 whole;     /* splitting failed: never split again */
	u8 all_dirty; /* bits of the dirty log went with deleted pieces: report all pages once */
	u8 split;     /* 0: in one piece under its own id; else 1 + index into slots.splits */
};

struct split {
	u32 used;
	u32 n;
	struct piece piece[SLOTS_PIECES];
};

struct span_set {
	u32 n;
	struct agent_range span[SLOTS_WATCH]; /* sorted, not overlapping, not empty */
};

struct slots {
	const struct slots_ops *ops;
	void *ctx;
	u32 reserved_base; /* first id of the reserved region, the same in each address space */
	u32 reserved_n;
	u8 armed;
	u64 smram_told; /* bit for each configured range that SMRAM was reported for */
	struct agent_range configured[AGENT_RANGES];
	u32 nconfigured;
	struct span_set watch;	  /* configured ranges less the pages opened for good */
	u32 nslots[SLOTS_SPACES]; /* ids beyond were never used */
	struct slot slot[SLOTS_SPACES][SLOTS_TRACKED];
	struct split splits[SLOTS_SPLITS];
	u8 reserved_used[SLOTS_SPACES][SLOTS_RESERVED];
};

/* t is zeroed memory; ranges as agent.h asks. nslots is what KVM_CAP_NR_MEMSLOTS says. */
void slots_init(struct slots *t, const struct slots_ops *ops, void *ctx, u32 nslots,
		const struct agent_range *range, u32 nranges);

/* What to answer the VMM for KVM_CAP_NR_MEMSLOTS. */
u32 slots_answer(u32 nslots);

/* Forgets all slots (their VM is gone), not what was opened. */
void slots_forget(struct slots *t);

/* The VMM sets a slot (size 0: deletes it). The result is the VMM's. */
int slots_set(struct slots *t, u32 id, u32 flags, u64 gpa, u64 size, u64 hva);

/* The VMM has a slot that cannot be split and is not followed (guest_memfd): not watched. */
void slots_skip(struct slots *t, u32 as, u64 gpa, u64 size);

/* Makes all watched pages read-only. */
int slots_arm(struct slots *t);

/* Opens pages for good. On an error (a vCPU could not be paused) the pages are no longer to be
 * watched, and slots_sync() tries again. */
int slots_open(struct slots *t, u64 gpa, u64 end, enum why why);

/* Brings KVM's slots in line with what is to be watched. */
int slots_sync(struct slots *t);

/* The VMM's slot, or NULL when it is not there or not followed. */
struct slot *slots_find(struct slots *t, u32 id);

/* The pieces of a slot: for one that is not split, *whole is filled and returned. */
const struct piece *slots_pieces(const struct slots *t, const struct slot *s, u32 id,
				 struct piece *whole, u32 *n);

/* Makes the read-only pieces that touch [gpa, end) writable for a moment, or read-only again, with
 * no vCPU in KVM_RUN and without a report. */
int slots_lift(struct slots *t, u64 gpa, u64 end, bool lift);

/* Where [gpa, gpa+len) of address space 0 lies in this process; 0 when it is not in one slot. */
u64 slots_hva(struct slots *t, u64 gpa, u64 len);

/* Calls fn for each armed piece of address space 0. */
void slots_each_armed(struct slots *t, void (*fn)(void *arg, u64 gpa, u64 size, u64 hva),
		      void *arg);

/* Where [gpa, gpa+len) lies in this process, when all of it is armed and contiguous; else 0. *slot
 * may be NULL. */
u64 slots_armed_hva(struct slots *t, u64 gpa, u64 len, struct slot **slot);

/* Does [gpa, end) touch a configured range? Needs no lock: what was configured never changes. */
bool slots_configured(const struct slots *t, u64 gpa, u64 end);

/* Does [gpa, end) touch pages that are to be watched? */
bool slots_watched(const struct slots *t, u64 gpa, u64 end);

#endif
