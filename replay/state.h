/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the rare events of a trace say, read once: coverage and losses, virtio devices and where
 * their rings lay, marks. Every question starts from it.
 */
#ifndef VMBLAME_STATE_H
#define VMBLAME_STATE_H

#include "coverage.h"
#include "formats/reader.h"

struct device {
	u32 dev;
	u16 device_id; /* enum virtio_id */
};

/* A used ring, which the VMM or vhost writes unseen. */
struct ring {
	struct moment from, until; /* until: the driver moved it or took it down; else MOMENT_END */
	u32 dev;
	u16 queue;    /* or QUEUE_ALL */
	u8 backend;   /* enum queue_backend: who serves it */
	u64 gpa, end; /* half-open; an upper bound where the queue's size is not told */
};

struct mark {
	struct moment at;
	char name[49];
};

/* RAM was compared with what had been seen; what differed is in the ledger, before it. */
struct comparison {
	struct moment at;
	u64 gpa, end;
};

struct state {
	struct coverage coverage;
	struct device *devices;
	size_t ndevices, devices_max;
	struct ring *rings; /* in the order they were set */
	size_t nrings, rings_max;
	struct mark *marks;
	size_t nmarks, marks_max;
	struct comparison *comparisons; /* by moment */
	size_t ncomparisons, comparisons_max;
	bool racy;	   /* vCPUs ran at once: the order of their stores is not certain */
	struct moment end; /* MOMENT_END, or where a cut file stops being complete: answers are as
			    * of then. Use it where the user names no time. */
};

/* *out is set; state_free() it. 0 or -errno with a line in err (no newline). */
int state_load(struct state **out, struct reader *r, char *err, size_t err_size);
void state_free(struct state *s); /* NULL is fine */

/* "virtio-blk#0"; returns buf. */
const char *state_device_name(const struct state *s, u32 dev, char *buf, size_t size);
/* enum virtio_id; VIRTIO_ID_NONE when the device is not known. */
u16 state_device_id(const struct state *s, u32 dev);
/* The first mark of that name, or NULL. */
const struct mark *state_mark(const struct state *s, const char *name);
/* A used ring that holds the byte and was in use at some moment of (from,limit), or NULL. */
const struct ring *state_ring(const struct state *s, u64 gpa, struct moment from,
			      struct moment limit);
/* A queue that vhost served at some moment of (from,limit), rather one whose used ring holds the
 * byte; or NULL. */
const struct ring *state_vhost(const struct state *s, u64 gpa, struct moment from,
			       struct moment limit);
/* The first comparison of the byte at or after a moment (of MOMENT_END: the last one there was), or
 * NULL. */
const struct comparison *state_comparison(const struct state *s, u64 gpa, struct moment from);
/* The last one before a moment, or NULL: what was lost ahead of it hides no byte after it. */
const struct comparison *state_comparison_before(const struct state *s, u64 gpa,
						 struct moment limit);
/* The moment of event number seq. 0, -ENOENT when the trace has no such event, or -errno. */
int event_moment(struct reader *r, u64 seq, struct moment *out);

#endif
