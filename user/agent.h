/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent (in the VMM's process) and the recorder say to each other.
 *
 * The recorder listens on a Unix socket of type SOCK_SEQPACKET in the abstract namespace and hands
 * its name (without the leading NUL) down in VMBLAME_AGENT; the agent connects when the process
 * makes a VM (KVM_CREATE_VM), says HELLO and waits for CONFIG before it lets that call go on. One
 * message is one packet. Both sides check versions, sizes and the peer's credentials.
 *
 * If the recorder closes the socket, or its heartbeat stands still for AGENT_STALL_NS, the agent
 * turns every watched range back into ordinary RAM and never speaks again; the guest runs on.
 */
#ifndef VMBLAME_AGENT_H
#define VMBLAME_AGENT_H

#include "../formats/event.h"

#define AGENT_ENV      "VMBLAME_AGENT"
#define AGENT_VERSION  4
#define AGENT_RANGES   64
#define AGENT_STALL_NS 3000000000ull
#define AGENT_START_NS 10000000000ull
#define AGENT_VCPUS    256

enum agent_type {
	/* --- agent to recorder; exactly AGENT_MSG_SIZE bytes --- */

	/* num: AGENT_VERSION, pid, its real parent's pid; text: the executable */
	AGENT_HELLO = 1,
	/* num: as, slot, flags, gpa, size, hva. The VMM set this slot (as it asked); sent only for
	 * slots that touch a configured range. Size 0: it deleted it; the rest says what it was */
	AGENT_SLOT = 2,
	/* num: gpa, size, hva. From now on every store to it exits */
	AGENT_ARMED = 3,
	/* num: gpa, size, enum why. Not watched (any more). With WHY_NO_RAM (the VMM took the RAM
	 * away or made it a ROM) until the next AGENT_ARMED of these pages; with WHY_SMRAM only
	 * stores made in SMM go unseen; otherwise for good */
	AGENT_OPENED = 4,
	/* num: vCPU id, tid. First KVM_RUN of this thread */
	AGENT_VCPU = 5,
	/* num: enum change_what, gpa, size, count */
	AGENT_CHANGE = 6,
	/* num: enum why; text: one line why the VM cannot be watched. The call that led to it fails
	 * (where the guest runs already it does not; that is AGENT_OPENED) */
	AGENT_REFUSED = 7,
	/* exit() was called; the agent waits for AGENT_OK, 2 s at most */
	AGENT_ENDING = 8,
	/* num: enum why; text: what this host's KVM cannot do, so that pages which should be opened
	 * for that reason would not be noticed */
	AGENT_LACKS = 9,

	/* What an instruction did that KVM could not emulate; text: struct agent_stepped */
	AGENT_STEPPED = 10,
	/* Pages mode: the first vCPU is about to run; the agent waits for AGENT_OK, AGENT_START_NS
	 * at most */
	AGENT_STARTING = 11,
	/* num: CLOCK_MONOTONIC before the first slot's log was read, which set of struct
	 * agent_pages has it, 1 when no vCPU is in KVM_RUN. Answers AGENT_HARVEST */
	AGENT_HARVESTED = 12,

	/* --- recorder to agent; exactly AGENT_MSG_SIZE bytes, but for CONFIG's ranges --- */

	/* num: flags (AGENT_ARM: from the start, AGENT_RACY: vCPUs need not take turns, AGENT_LOG:
	 * pages mode); nranges and range[]. Ancillary data: the fd of struct agent_shared; then, in
	 * pages mode, that of struct agent_pages; then, if there is one, that of a map of
	 * AGENT_VCPUS struct agent_dropped, by vCPU id */
	AGENT_CONFIG = 32,
	/* Arm all configured ranges, and in pages mode have KVM log; answered by AGENT_ARMED...
	 * and AGENT_OK */
	AGENT_ARM_NOW = 33,
	/* num[2] may be enum why. Open everything for good; answered by AGENT_OPENED... and
	   AGENT_OK */
	AGENT_DISARM = 34,
	/* num: gpa, size, enum why. Open these pages for good; answered likewise */
	AGENT_OPEN = 35,
	/* Either way: done. num[0] is the type that it answers */
	AGENT_OK = 36,
	/* Pages mode. num: 1: with no vCPU in KVM_RUN, until AGENT_RESUME. The other set is zeroes.
	 * Answered by AGENT_HARVESTED */
	AGENT_HARVEST = 37,
	AGENT_RESUME = 38,
};

#define AGENT_ARM  1
#define AGENT_RACY 2
#define AGENT_LOG  4

struct agent_range {
	u64 gpa, end; /* page-aligned, half-open, sorted, not overlapping */
};

struct agent_msg {
	u32 type;
	u32 nranges;
	u64 t_ns; /* CLOCK_MONOTONIC when it happened */
	u64 num[6];
	char text[256];
	struct agent_range range[AGENT_RANGES]; /* CONFIG only; other messages end before it */
};

#define AGENT_MSG_SIZE offsetof(struct agent_msg, range)

/*
 * Guest RAM after one instruction was run with its pages opened, a piece of at most 96 bytes of one
 * page. Its memory operand, where that is known, begins `offset` bytes before the piece, and
 * `changed` says which bytes differ from those before.
 */
struct agent_stepped {
	u64 gpa;
	u64 rip, cs_base, cr3, rsp, rbp;
	u32 vcpu;
	u32 offset;
	u8 operand; /* 1: the piece belongs to the memory operand; 0: the change was found elsewhere
		     */
	u8 len;
	u8 cpl;
	u8 mode; /* enum cpu_mode */
	u8 insn_len;
	u8 insn[15];
	u8 changed[12]; /* bit i%8 of byte i/8 */
	u8 bytes[96];
};

/* A segment register as in AMD's VMCB (manual 24593, appendix B). */
struct agent_segment {
	u16 selector, attributes;
	u32 limit;
	u64 base;
};

/*
 * Watched pages that turned out to hold page tables: the BPF program files them here and sends the
 * vCPU out of KVM_RUN by SIGUSR1; the agent opens them and sets n, walk and again to 0. With `walk`
 * the first is the entry that a page walk of the processor's came to, and the registers are those
 * before the instruction that KVM then emulated; with `again` they are to be put back, and what
 * KVM_RUN came back with is to be ignored.
 */
#define AGENT_TABLES 8 /* a power of two */
struct agent_tables {
	u32 n;
	u16 walk;
	u8 again;
	u8 linear; /* gpa[0] is a linear address, of a page that may not be watched */
	u64 gpa[AGENT_TABLES];
	u64 rip, rflags;
	u64 regs[16]; /* in the order of their numbers in instructions */
	struct agent_segment cs, ss;
	u64 event; /* that was being delivered: DELIVERY_*; else 0 */
};

/* An exception or interrupt whose frame did not find its way into a watched page. */
#define DELIVERY_EXCEPTION 1
#define DELIVERY_INTERRUPT 2
#define DELIVERY_NMI	   3
#define DELIVERY(kind, vector, has_error, error) \
	((u64)(kind) | (u64)(vector) << 8 | (u64)(has_error) << 16 | (u64)(error) << 32)
#define DELIVERY_KIND(event)	  ((event)&0xff)
#define DELIVERY_VECTOR(event)	  ((event) >> 8 & 0xff)
#define DELIVERY_HAS_ERROR(event) ((event) >> 16 & 1)
#define DELIVERY_ERROR(event)	  ((u32)((event) >> 32))

/* Stores that KVM dropped because the instruction made several (PUSHA, far CALL, a real-mode
 * interrupt): the BPF program files them here, the agent does them when KVM_RUN returns. */
struct agent_dropped {
	u32 n;
	u32 pad;
	struct {
		u64 gpa;
		u32 len;
		u32 pad;
		u8 bytes[16];
	} store[16];
	struct agent_tables tables;
};

/* Shared memory (a memfd of the recorder's). */
struct agent_shared {
	u64 beat;	 /* the recorder counts up at least twice a second */
	u64 disarmed_ns; /* the agent: when it took the watch off by itself, else 0 */
	u64 disarm_why;	 /* enum why */
	u64 stores;	 /* KVM_EXIT_MMIO writes to armed pages that KVM_RUN returned */
	u64 replayed;	 /* stores from struct agent_dropped that the agent did */
	u64 unreplayed;	 /* such stores that it could not do: not to an armed page */
	u64 unsent;	 /* messages that the socket did not take */
};

/*
 * Shared memory of pages mode (a sparse memfd of the recorder's): pages of guest RAM that KVM's log
 * named, by address in the VMM. The agent fills one set, the recorder reads the other, which it
 * leaves as zeroes; AGENT_HARVEST changes them over.
 */
#define AGENT_BLOCKS 512
#define AGENT_PAGES  (1ull << 25) /* 128 GiB */
struct agent_block {
	u64 hva, npages;
	u64 first; /* the bit of its first page */
};
struct agent_pages {
	u64 nblocks; /* only grows */
	u64 beyond;  /* pages that there was no room for: what happens to them is not known */
	struct agent_block block[AGENT_BLOCKS];
	u64 bits[2][AGENT_PAGES / 64];
};

#endif
