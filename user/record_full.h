/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of a recording in full mode, shared by record_full.c and record_compare.c.
 */
#ifndef VMBLAME_RECORD_FULL_H
#define VMBLAME_RECORD_FULL_H

#include "formats/stores.h"
#include "formats/wire.h"
#include "user/record_state.h"
#include "user/replica.h"
#include "user/rings.h"

/* Stores that cross into another page are told byte by byte; so many instructions may do that. */
#define CROSS_SITES_MAX 4096u

enum stage { STAGE_BEGIN, STAGE_RUN, STAGE_OVER };

/* Differences that a comparison found, until it is certain that no vCPU made them meanwhile. */
struct found {
	u64 gpa;
	u16 len;
	bool hidden;
	enum why why;
	size_t at; /* in bytes */
};

struct full {
	struct record *r;
	struct rings *rings;
	struct replica *replica;
	struct stores_encoder *stores;
	enum stage stage;
	pid_t vmm;
	u64 t_ns;	  /* the latest time that is in the file */
	u64 ticked_ns;	  /* this and those that follow: from the start */
	u64 parked_ns;	  /* when the vCPUs were asked to stop; 0: they were not */
	u64 compared_ns;  /* when the last comparison was done, from the start */
	u64 compare_cost; /* ns of the last one */
	u32 vcpu[RINGS_MAX];
	u8 *page[RINGS_MAX][RING_MAPS]; /* of the replica, by ring_map_slot() */
	u32 cross[CROSS_SITES_MAX];	/* sites that crossed; each has eight of its own, see
					   store_cross() */
	u32 ncross;
	u8 *size;		   /* of each site's access, by its number; 0: not known */
	u64 dropped, dropped_then; /* stores, and those before the last comparison */
	bool mapped;		   /* RAM's place was told: a vCPU has stored */
	struct found *found;
	size_t nfound, found_max;
	struct buf bytes;
	struct races *races;	     /* NULL as long as there is one ring */
	u32 pass, before[RINGS_MAX]; /* of drains, and that of each ring's last store */
	u32 access[RINGS_MAX]; /* `before` of the first part of the access that is being told of */
	u32 compared_pass;
	bool heard;	/* the plugin is there */
	bool until_hit; /* it is to end at the next comparison */
	u32 ring;	/* the one that stores came from first, plus 1 */
	bool ended, failed;
	u64 differed, comparisons;
	u64 until_ns; /* when recording ended before the VMM did */
};

/* Hands an event to the file, with the time that it is. 0 or -errno. */
int full_put(struct full *f, struct event *ev);
/* Stores count from now on, wherever RAM is. */
void full_begin(struct full *f);
/* Whether stores to this page are to be recorded. */
bool full_asked(const struct full *f, u64 gpa);
/* For struct rings_ops. */
int full_ram(void *f, u32 ring, const struct rings_ram *ram, size_t n);
void full_cover(struct full *f, enum origin origin, bool on, enum why why, u64 gpa, u64 size);
/* Takes what the rings hold. Records, or negative: recording is over then. */
s64 full_drain(struct full *f);
/* Recording ends; the VMM goes on as if there were no plugin. */
void full_give_up(struct full *f, int err);

/* The recording's end, before the VMM's: the vCPUs go on without it. */
void full_until(struct full *f);

/* Stops the vCPUs where a comparison is due, and compares once they have (record_compare.c). */
void compare_step(struct full *f);
/* The vCPUs stand still, or do not store. False when one did: once more, then. */
bool compare(struct full *f);

#endif
