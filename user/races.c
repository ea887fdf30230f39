/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Words are kept by a hash without keys: words that share a place are taken for the same. */
#include "user/races.h"

#include <errno.h>
#include <stdlib.h>

#define PLACES_BITS 20

struct place {
	u32 pass, others; /* of the last store, and of the last one of another ring */
	u32 ring;
	u32 raced; /* the pass of the last one that did */
};

struct races {
	u32 since;
	struct place places[1u << PLACES_BITS];
};

int races_open(struct races **out, u32 since)
{
	struct races *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->since = since;
	*out = r;
	return 0;
}

void races_close(struct races *r)
{
	free(r);
}

static size_t place_of(u64 word)
{
	return word * 0x9e3779b97f4a7c15ull >> (64 - PLACES_BITS);
}

static bool word_store(struct races *r, u32 ring, u32 before, u32 pass, u64 word)
{
	struct place *p = &r->places[place_of(word)];

	if (p->ring != ring && p->others < p->pass)
		p->others = p->pass;
	p->ring = ring;
	p->pass = pass;
	/* What came before there were passes is not known. */
	if (before >= (p->others > r->since ? p->others : r->since) + 2)
		return false;
	p->raced = pass;
	return true;
}

bool races_since(const struct races *r, u32 pass, u64 at, u32 size)
{
	for (u64 word = at >> 3; word <= (at + size - 1) >> 3; word++)
		if (r->places[place_of(word)].raced >= pass)
			return true;
	return false;
}

bool races_store(struct races *r, u32 ring, u32 before, u32 pass, u64 at, u32 size)
{
	const bool raced = word_store(r, ring, before, pass, at >> 3);

	return (at & 7) + size > 8 ? word_store(r, ring, before, pass, (at >> 3) + 1) || raced
				   : raced;
}
