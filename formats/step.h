/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Times: each is predicted as the one before it plus the median of the last five steps that led to
 * an event of the same site. What remains is noise, which no dictionary shortens: it is cut into a
 * token (its magnitude and top bits, one of 256) and the bits below, and the tokens are dealt out
 *to classes by how noisy the site was of late, so that each class gets an entropy code of its own.
 *
 *	z < 8           token z, no bits
 *	z of b bits     token 8 + 4 * (b - 4) + (the two bits below the top one); b - 3 bits follow
 */
#ifndef VMBLAME_STEP_H
#define VMBLAME_STEP_H

#include "wire.h"

#define STEP_CLASSES   16
#define STEP_HISTORY   5
#define STEP_TOKEN_MAX 251

/* Per site. All zero at first. */
struct step {
	u64 last[STEP_HISTORY]; /* steps in ns, two's complement; a ring */
	u32 at;			/* in the ring: the oldest */
	u32 noise;		/* smoothed min(z, 1023), in 1/16 */
};

static inline s64 step_min(s64 a, s64 b)
{
	return a < b ? a : b;
}

static inline s64 step_max(s64 a, s64 b)
{
	return a < b ? b : a;
}

/* Median of the five last steps, by exchanges without branches. */
static inline u64 step_predict(const struct step *s)
{
	const s64 a = (s64)s->last[0], b = (s64)s->last[1], c = (s64)s->last[2];
	const s64 d = (s64)s->last[3], e = (s64)s->last[4];
	const s64 lo = step_max(step_min(a, b), step_min(c, d));
	const s64 hi = step_min(step_max(a, b), step_max(c, d));

	return (u64)step_max(step_min(lo, hi), step_min(step_max(lo, hi), e));
}

static inline unsigned step_class(const struct step *s)
{
	const unsigned bits = s->noise ? 32 - (unsigned)__builtin_clz(s->noise) : 0;

	return bits < STEP_CLASSES ? bits : STEP_CLASSES - 1;
}

static inline void step_update(struct step *s, u64 step, u64 z)
{
	const s64 noise = s->noise, now = (s64)(z < 1023 ? z : 1023) * 16;

	s->last[s->at] = step;
	s->at = s->at == STEP_HISTORY - 1 ? 0 : s->at + 1;
	s->noise = (u32)(noise + ((now - noise) >> 2));
}

struct step_writer {
	struct buf tokens[STEP_CLASSES];
	struct buf bits;
	unsigned __int128 word; /* bits not yet in the buffer, lowest first */
	unsigned nword;
};

void step_put(struct step_writer *w, struct step *s, u64 step);
/* Ends the bits with zeros to a whole byte. */
void step_flush(struct step_writer *w);
void step_writer_reset(struct step_writer *w);
void step_writer_free(struct step_writer *w);

struct step_reader {
	struct span tokens[STEP_CLASSES];
	struct span bits;
	u64 word;
	unsigned nword;
	bool bad; /* tokens or bits ran out */
};

u64 step_take(struct step_reader *r, struct step *s);

#endif
