/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The census: one pass over a whole trace that counts its events and keeps the notable ones. */
#ifndef VMBLAME_CENSUS_H
#define VMBLAME_CENSUS_H

#include <stddef.h>

#include "replay/state.h"

#define CENSUS_NOTES_MAX 10000

/* A reset, mark, probe or change. */
struct note {
	u64 seq;
	union {
		struct event h;
		struct event_reset reset;
		struct event_reset_request reset_request;
		struct event_mark mark;
		struct event_probe probe;
		struct event_change change;
		struct event_vq_error vq_error;
	} ev;
	char text[65]; /* the name of a mark or probe */
};

struct census {
	u64 kinds[EVENT_MAX];
	u64 writes[ORIGIN_MAX];	 /* to guest RAM */
	u64 written[ORIGIN_MAX]; /* bytes; without those of `store` events */
	u64 device_accesses;	 /* MMIO that is no write to RAM */
	u64 requests_undone;	 /* stores to watched RAM that came to nothing */
	u64 boots;
	struct note *notes;
	size_t nnotes, notes_max;
	u64 notes_left; /* beyond CENSUS_NOTES_MAX */
};

/* 0 or -errno with a line in err. */
int census_take(struct census *c, struct reader *r, const struct state *s, char *err,
		size_t err_size);
void census_free(struct census *c);

static inline void census_cleanup(struct census *c)
{
	census_free(c);
}

const char *backend_text(unsigned num); /* of enum queue_backend */
const char *probe_how_text(unsigned num);
const char *change_what_text(unsigned num);

#endif
