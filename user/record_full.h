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

enum stage { STAGE_BEGIN, STAGE_RUN, STAGE_END, STAGE_OVER };

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
	u64 ticked_ns;	  /* CLOCK_MONOTONIC */
	u64 parked_ns;	  /* when the vCPUs were asked to stop; 0: they were not */
	u64 compared_ns;  /* when the last comparison was done, from the start */
	u64 compare_cost; /* ns of the last one */
	u32 vcpu[RINGS_MAX];
	u8 *page[RINGS_MAX][RING_MAPS]; /* of the replica, by ring_map_slot() */
	u32 cross[CROSS_SITES_MAX];	/* the site whose bytes are told by CROSS + 8 * place */
	u32 ncross, nsites;
	u8 *size; /* of each site's access, by its number; 0: not known */
	u64 io, dropped, untaken;
	struct found *found;
	size_t nfound, found_max;
	struct buf bytes;
	bool heard;		   /* the plugin is there */
	bool from_hit;		   /* recording proper is to begin, or has */
	bool until_hit;		   /* it is to end at the next comparison */
	u32 ring;		   /* the one that stores came from first, plus 1 */
	bool racy;		   /* they came from another, too */
	unsigned marks, marks_due; /* told, and asked for */
	bool ended, failed;
	u64 differed, comparisons;
	u64 until_ns; /* when recording ended before the VMM did */
};

/* CLOCK_MONOTONIC. */
u64 full_mono_ns(void);
/* Hands an event to the file, with the time that it is. 0 or -errno. */
int full_put(struct full *f, struct event *ev);
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
