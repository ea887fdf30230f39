/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recorder's side of the plugin's rings (plugin/ring.h): makes the memory, drains the rings,
 * keeps time, parks vCPUs. What comes out is checked; the VMM can write to the memory at any time,
 * so whoever uses a record must not index by its fields but through rings_site() and rings_map().
 *
 * One thread uses a struct rings.
 */
#ifndef VMBLAME_RINGS_H
#define VMBLAME_RINGS_H

#include "plugin/ring.h"

#include <stdbool.h>

struct rings;

#define RINGS_BATCH 1024u

/* One access of one instruction. */
struct rings_site {
	u64 pc; /* linear: CS base included */
	u8 insn[16];
	u8 len;	   /* of the instruction */
	u8 size;   /* of the access: 1, 2, 4, 8 */
	u16 part;  /* which part of a wider access, in units of size */
	u32 known; /* 1 */
};

struct rings_map {
	u64 gva, gpa; /* page addresses */
	bool smm;
};

struct rings_ram {
	u64 gpa, host, size;
	bool readonly;
	bool hidden; /* behind a device: only SMM gets there */
};

struct rings_io {
	u64 gpa, gva, value;
	u32 site;
	bool known; /* the value is */
};

/*
 * What is found in ring `ring`, in its order. A function that is NULL is not called; one that
 * returns not 0 ends rings_drain(), which returns that and comes back to the same record, or span,
 * at the next call.
 */
struct rings_ops {
	/* The caller checks each store itself, copying it first: its site, and whether the page is
	 * mapped. Stores come by RINGS_BATCH at most then. */
	bool unchecked;
	/* Stores, nothing else between them: the records in the ring itself, as long as it runs. */
	int (*stores)(void *arg, u32 ring, const struct ring_record *rec, size_t n);
	/* A site that this ring had not said before. */
	int (*site)(void *arg, u32 ring, u32 number, const struct rings_site *site);
	int (*map)(void *arg, u32 ring, const struct rings_map *map);
	int (*time)(void *arg, u32 ring, u64 t_ns);
	int (*vcpu)(void *arg, u32 ring, u32 vcpu);
	int (*io)(void *arg, u32 ring, const struct rings_io *io);
	/* All of RAM; every mapping said before is void. */
	int (*ram)(void *arg, u32 ring, const struct rings_ram *ram, size_t n);
	int (*lost)(void *arg, u32 ring, u64 stores, u64 since_ns, enum ring_lost why);
	int (*idle)(void *arg, u32 ring, u32 vcpu, u64 t_ns);
	/* The last call of all: every ring is drained. The VMM waits for rings_end(). */
	int (*end)(void *arg, u64 t_ns);
};

/* Makes the memory. capacity: records of a ring, a power of two, RING_LEAST..RING_MOST; flags: enum
 * ring_flags. 0 or -errno. */
int rings_open(struct rings **out, u32 capacity, u32 flags);
/* The VMM goes on without us. Takes NULL. */
void rings_close(struct rings *r);

/* Before the VMM starts: only stores that touch pages of these ranges are told of (and others, if
 * the plugin thinks so). Multiples of 4096; at most RING_ONLY. */
void rings_only(struct rings *r, const struct ring_range *ranges, size_t n);

/* For the plugin's arguments fd= and alive=; both are close-on-exec, the VMM's process has to undo
 * that. Owned by r. */
int rings_fd(const struct rings *r);
int rings_alive_fd(const struct rings *r);
/* The VMM has its descriptors: closes the pipe's end that is its own. */
void rings_handed_over(struct rings *r);

/* 0: the plugin was not heard of yet, 1: it is there, -ENOTSUP: it cannot work, rings_error() says
 * why. */
int rings_ready(struct rings *r);

/* Hands over what the rings hold. Number of records, or a negative value: an ops function's, or
 * -EBADMSG: not what a plugin of ours writes; rings_error() says what. */
s64 rings_drain(struct rings *r, const struct rings_ops *ops, void *arg);
/* Empty before the first error. */
const char *rings_error(const struct rings *r);

/* To be called every quarter of a millisecond. */
void rings_tick(struct rings *r);

/* Asks every vCPU's thread to stop at its next store. */
void rings_park(struct rings *r);
/* True when each stands still with all its records published, or halts as far as is known. A thread
 * that does not store does not stop; under thread=single a halted guest's is such a one. */
bool rings_parked(const struct rings *r);
void rings_unpark(struct rings *r);

/* Lets the VMM end after ops->end. */
void rings_end(struct rings *r);

/* NULL when no ring said it. Valid until rings_close(). */
const struct rings_site *rings_site(const struct rings *r, u32 number);
/* The RING_MAPS pages as the ring said them last, by ring_map_slot(), for ring_record.at; a gva of
 * RINGS_NO_PAGE: none. NULL before ops saw anything of the ring. Valid until rings_close(). */
#define RINGS_NO_PAGE 1
const struct rings_map *rings_maps(const struct rings *r, u32 ring);
/* The page of gva as the ring said it last, or NULL. Valid until the next rings_drain(). */
const struct rings_map *rings_map(const struct rings *r, u32 ring, u64 gva);

/* The Linux thread that writes a ring; 0: none does. */
u32 rings_thread(const struct rings *r, u32 ring);

struct rings_totals {
	u64 records, stores; /* drained */
	u64 lost, rom, unringed;
	u32 rings, sites;
	bool exact, quick; /* struct ring_shared */
};

void rings_totals(const struct rings *r, struct rings_totals *out);

#endif
