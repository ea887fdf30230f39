/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the TCG plugin and the recorder share: one piece of memory, made by the recorder and
 * inherited by the VMM as a descriptor, with a ring for each thread that runs vCPUs (one in all
 * under thread=single, one a vCPU under thread=multi).
 *
 *	struct ring_shared, then RINGS_MAX struct ring_head, then RINGS_MAX times `capacity` records
 *
 * A ring has one producer, the vCPUs' thread, and one consumer. Indices count records since the
 * beginning and are taken modulo `capacity`, a power of two. The producer publishes with a release
 * store of `head`, the consumer with one of `tail`; each reads the other's with an acquire load.
 * The producer publishes after each store (measured: a release store of `head` for each costs
 * nothing), so that nothing stays behind when the guest halts. A full ring makes the producer wait
 * (futex on `tail_low`, shared between processes), or, with RING_LOSSY, drop stores and count them.
 *
 * Neither side trusts the other: the consumer checks every index and record, and the producer
 * never waits for a recorder that is gone (it holds the read end of a pipe whose write end only
 * the recorder has).
 */
#ifndef VMBLAME_PLUGIN_RING_H
#define VMBLAME_PLUGIN_RING_H

#include "formats/event.h"

#define RING_MAGIC   0x72626d76u /* "vmbr" */
#define RING_VERSION 2
#define RINGS_MAX    64
#define RING_LEAST   4096	/* records: the smallest capacity */
#define RING_MOST    (1u << 26) /* the largest */
#define RING_SITES   (1u << 24) /* numbers of sites are below this */
#define RING_ONLY    64		/* ranges that can be asked for */

/*
 * A record: a store when `site` is below RING_CONTROL, else the first of what enum ring_control
 * says. The lines that hold stores go from one core to the other, and cost the guest most of what
 * it pays (docs/modes.md): a store is as small as it can be, and the rest is said around it.
 *
 * The bytes of a store are what memory holds right after it. Where ring_shared.exact is 0 and
 * several rings are in use another vCPU may have stored to the same bytes in between.
 */
struct ring_record {
	u64 word; /* of a store: the bytes as the guest's memory holds them, the lowest first */
	u32 site;
	u32 at; /* of a store: the page's place (ring_map_slot()) << 12 | offset in the page */
};

#define RING_CONTROL 0xffffff00u

/*
 * Each says a number `at`, and as many words as ring_words() has: the first record's, then that
 * of a RING_WORD each.
 */
enum ring_control {
	RING_WORD = RING_CONTROL,
	/* A site: one access of one instruction. at: its number; numbers are given in the order of
	 * first use and some may never be said. Every ring says a site before it uses it, so that
	 * a consumer may see it more than once, each time the same. Words: the instruction's
	 * address (linear: CS base included), and with a length of 0 no instruction's at all but
	 * the processor's own, of an interrupt's frame; size of the access in bytes (1, 2, 4, 8) |
	 * instruction length << 8 | which part of a wider access << 16, counted in parts of this
	 * size; 16 bytes of the instruction, zeros past its length. */
	RING_SITE,
	/* From now on the page of this guest-virtual address lies at this guest-physical one (both
	 * multiples of 4096); at: 1 when in SMM's address space. Said before the first store to it,
	 * and again when another address was said that shares its place, or it changed. A store
	 * that crosses into the next page has both said. */
	RING_MAP,
	RING_TIME, /* CLOCK_MONOTONIC in ns. Stores lie between the times around them. */
	RING_VCPU, /* at: the vCPU whose stores follow; before the first store of a ring */
	/* A store to a device: guest-physical address, value, guest-virtual address, 1 when the
	 * value is known; at: its site. */
	RING_IO,
	/* Guest RAM lies so from now on, for this ring. RING_RAM opens a map, in which everything
	 * that RING_MAP said is void; then its ranges, in order of address, first those that are
	 * not hidden; RING_RAM_END closes it. */
	RING_RAM,
	/* Guest-physical address, address in the VMM, bytes; at: enum ring_ram. */
	RING_RANGE,
	RING_RAM_END,
	/* Stores that were dropped before the next record: how many, since which CLOCK_MONOTONIC;
	 * at: enum ring_lost, the last one's reason. */
	RING_LOST,
	RING_IDLE, /* at: the vCPU that halted at this CLOCK_MONOTONIC */
	/* The VMM ends, at this CLOCK_MONOTONIC. Nothing follows in this ring, and nothing was
	 * published in another after it but by a vCPU that could not be stopped within a tenth of a
	 * second. */
	RING_END,
	RING_CONTROL_MAX,
};

#define RING_WORDS 4

/* 0: no control record begins so. */
static inline u32 ring_words(u32 control)
{
	static const u8 words[] = {
		[RING_SITE - RING_CONTROL] = 4,	 [RING_MAP - RING_CONTROL] = 2,
		[RING_TIME - RING_CONTROL] = 1,	 [RING_VCPU - RING_CONTROL] = 1,
		[RING_IO - RING_CONTROL] = 4,	 [RING_RAM - RING_CONTROL] = 1,
		[RING_RANGE - RING_CONTROL] = 3, [RING_RAM_END - RING_CONTROL] = 1,
		[RING_LOST - RING_CONTROL] = 2,	 [RING_IDLE - RING_CONTROL] = 1,
		[RING_END - RING_CONTROL] = 1,
	};

	return control - RING_CONTROL < sizeof(words) ? words[control - RING_CONTROL] : 0;
}

enum ring_ram {
	RING_ROM = 1,	 /* read-only */
	RING_HIDDEN = 2, /* behind devices: SMM's */
};

enum ring_lost {
	RING_LOST_FULL = 1,
	RING_LOST_PLACE, /* QEMU did not tell where it went */
	RING_LOST_SITES, /* no number left for its site */
};

/* Stores to a page are mapped by RING_MAP; both sides keep this many, by this place. */
#define RING_MAPS 4096
static inline u32 ring_map_slot(u64 gva)
{
	return (u32)((gva >> 12) ^ (gva >> 24)) & (RING_MAPS - 1);
}

struct ring_head {
	u64 head __attribute__((aligned(64))); /* the producer's, and so on to `idle` */
	u64 lost;			       /* all in all */
	u64 rom;			       /* stores to ROM, which changed nothing: not told */
	u32 thread;			       /* its Linux thread id, 0: not used yet */
	u32 waiting;			       /* 1 while it waits for room */
	u32 parked; /* generation of the park request that it obeys, see below */
	u32 idle;   /* 1 while its vCPU halts, as far as QEMU tells (not under thread=single) */
	u64 tail __attribute__((aligned(64))); /* the consumer's */
	u32 tail_low;			       /* low bits of tail: a futex word */
};

enum ring_flags { RING_LOSSY = 1 };

struct ring_shared {
	u32 magic, version;
	u32 capacity; /* records of each ring: a power of two, RING_LEAST..RING_MOST */
	u32 flags;
	/* The recorder changes it every quarter of a millisecond: the producer writes RING_TIME
	 * when it sees another value, and looks at `park`. */
	u64 tick __attribute__((aligned(64)));
	/* Odd: every thread that runs vCPUs shall stop at its next store, with all its records
	 * published and `parked` set to this value; when `park` changes it goes on (a futex word).
	 * The VMM's end is such a stop too: with RING_END published it waits until `ended` (a futex
	 * word) is not 0, holding QEMU's big lock.
	 */
	u32 park;
	u32 ended;
	u32 nrings __attribute__((aligned(64))); /* in use: the producer's, and what follows */
	u32 ready;	/* 1: the plugin is there; 2: it cannot work: see text */
	u32 exact;	/* 1: bytes are a store's own, whatever other vCPUs do */
	u32 quick;	/* 1: instructions that only load are not asked any more */
	u64 unringed;	/* stores of threads that got no ring, or came after the end */
	char text[256]; /* what the plugin has to say, one line */
	/* The recorder's, before the VMM starts: only stores that touch pages of these are told of.
	 * Guest-physical, half-open, multiples of 4096. 0 ranges: all are. */
	struct ring_range {
		u64 gpa, end;
	} only[RING_ONLY] __attribute__((aligned(64)));
	u32 nonly;
} __attribute__((aligned(64)));

static inline size_t ring_shared_size(u32 capacity)
{
	return sizeof(struct ring_shared) +
	       RINGS_MAX *
		       (sizeof(struct ring_head) + (size_t)capacity * sizeof(struct ring_record));
}

static inline struct ring_head *ring_head_at(struct ring_shared *s, u32 ring)
{
	return (struct ring_head *)(s + 1) + ring;
}

static inline struct ring_record *ring_records_at(struct ring_shared *s, u32 capacity, u32 ring)
{
	return (struct ring_record *)ring_head_at(s, RINGS_MAX) + (size_t)ring * capacity;
}

_Static_assert(sizeof(struct ring_record) == 16, "four records are a line");
_Static_assert(sizeof(struct ring_head) == 128, "two cache lines");
_Static_assert(sizeof(struct ring_shared) % 64 == 0, "heads are aligned");

#endif
