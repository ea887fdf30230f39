/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coverage: over which addresses, from when to when, each class of writer was observed, and where
 * events were lost. Silence counts only where and while this says so.
 */
#ifndef VMBLAME_COVERAGE_H
#define VMBLAME_COVERAGE_H

#include <stddef.h>

#include "moment.h"

/* A `cover` event. */
struct cover {
	struct moment at;
	u64 gpa, end;
	struct event_cover ev;
};

/* A `lost` event, with its span made half-open. */
struct loss {
	struct moment at; /* of the event, which may follow its span */
	u64 gpa, end;
	struct event_lost ev;
};

struct coverage {
	struct cover *covers; /* by moment, once sorted */
	size_t ncovers, covers_max;
	struct loss *losses; /* by ev.t0_ns, once sorted */
	size_t nlosses, losses_max;
};

/* Most that is kept of each; more covers are refused, more losses are folded into the last one. */
#define COVERAGE_MAX 1000000

/* 0, -ENOMEM or -E2BIG. */
int coverage_add(struct coverage *c, const struct event_cover *ev, u64 seq);
int coverage_add_loss(struct coverage *c, const struct event_lost *ev, u64 seq);
/* Call after the last addition, before any question. */
void coverage_sort(struct coverage *c);
void coverage_free(struct coverage *c);
/* What of `from` touches [gpa,end), sorted; *out is set, the caller frees it. 0 or -ENOMEM. */
int coverage_clip(const struct coverage *from, u64 gpa, u64 end, struct coverage *out);

/* Whether the class's writes to any byte of [gpa,end) were seen at that moment. */
bool coverage_on(const struct coverage *c, enum origin origin, u64 gpa, u64 end, struct moment at);
/* The same for one byte, at any moment of [t0_ns,t1_ns]. */
bool coverage_on_within(const struct coverage *c, enum origin origin, u64 gpa, u64 t0_ns,
			u64 t1_ns);

/* How far back from a moment the observation of a class at a byte reaches without a gap. */
struct horizon {
	bool on;	     /* it was observed just before the moment */
	bool first;	     /* and never before `since`: no gap, a beginning */
	struct moment since; /* when the unbroken observation began */
	struct moment off;   /* when it last stopped, when that was told */
	enum why why;	     /* why it was not observed before `since`, or is not at all */
};

/* An observation that ended because the recording did still counts at MOMENT_END; and one that was
 * taken up again after the memory had left the address space (no-ram) was never broken: nobody
 * could store there meanwhile. */
struct horizon coverage_horizon(const struct coverage *c, enum origin origin, u64 gpa,
				struct moment limit);

/* What a class that writes past every probe (vhost) can have done to a byte. */
enum blind_level {
	BLIND_NOT,   /* nothing */
	BLIND_MAYBE, /* it ran, and may write whatever memory the guest gives it */
	BLIND_HERE,  /* this byte was its to write, or whether it ran is not known */
};

struct blind {
	enum blind_level level; /* the highest there was */
	enum why why;		/* of that level */
	struct moment since;	/* when it was last said, */
	struct moment until;	/* and when it ended: MOMENT_END when it did not */
};

/* The same at any moment from `from` up to `limit`. `cover` events say it: not observed over gpa 0,
 * size 0 because it ran is a possibility, over any other range a fact. Where none speaks of the
 * class nothing is said against it. */
struct blind coverage_blind(const struct coverage *c, enum origin origin, u64 gpa,
			    struct moment from, struct moment limit);

/* Losses that may hide a write to a byte. */
struct losses {
	u64 count;	  /* events dropped */
	u64 t0_ns, t1_ns; /* from the first to the last */
	u64 gpa, end;	  /* where they were */
	u16 origins;	  /* bits 1 << origin */
};

/* Those that ended at or after `from` and began at or before `limit`, of classes that were being
 * observed at the byte. out->count 0: none. */
void coverage_losses(const struct coverage *c, u64 gpa, struct moment from, struct moment limit,
		     struct losses *out);

#endif
