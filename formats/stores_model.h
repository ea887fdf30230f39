/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What encoder and decoder of stores remember, alike: sites, the path of sites that led here, and
 * values by address. docs/format.md, section 4.
 */
#ifndef VMBLAME_STORES_MODEL_H
#define VMBLAME_STORES_MODEL_H

#include "stores.h"

#define SITE_NONE 0xffffu
#define PATH_BITS 13
#define HELD_BITS 10

/* How the code byte tells the site (bits 0, 1), the address (2 to 4), the value (5 to 7). */
enum site_code { SITE_PATH, SITE_NEXT, SITE_KNOWN, SITE_NEW };
enum gva_code { GVA_AHEAD, GVA_STRIDE, GVA_SAME, GVA_STEP, GVA_SIDE, GVA_CODES };
enum value_code {
	VALUE_SAME,
	VALUE_HELD,
	VALUE_STRIDE,
	VALUE_GVA,
	VALUE_PREV,
	VALUE_NEAR1,
	VALUE_NEAR2,
	VALUE_PLAIN
};

/* What is told aside. */
enum stores_aside { ASIDE_TIME, ASIDE_THREAD, ASIDE_MAP, ASIDE_SEQ, ASIDE_RACED };

struct site_memory {
	u64 gva;    /* of its last store */
	u64 stride; /* from the one before */
	u64 ahead;  /* of the store before it, whatever its site */
	u64 value;
	u64 value_stride;
	u64 value_gva; /* value less address */
	u16 next;      /* the site that followed it last */
	u8 size;
} __attribute__((aligned(64)));

/* What every store changes: kept in registers from one to the next. */
struct stores_now {
	u64 gva, value; /* of the last store */
	u32 path;
	u16 last; /* its site, or SITE_NONE */
};

struct stores_model {
	struct stores_now now; /* between calls */
	u16 paths[1 << PATH_BITS];
	u64 held[1 << HELD_BITS];
	struct site_memory sites[SITE_NONE + 1];
};

static inline void model_begin(struct stores_model *m)
{
	m->now = (struct stores_now){.last = SITE_NONE};
	memset(m->paths, 0xff, sizeof(m->paths));
	memset(m->held, 0, sizeof(m->held));
	m->sites[SITE_NONE] = (struct site_memory){.next = SITE_NONE};
}

static inline void model_site(struct stores_model *m, const struct stores_now *now, u32 site,
			      u8 size)
{
	m->sites[site] = (struct site_memory){.gva = now->gva, .next = SITE_NONE, .size = size};
}

static inline u64 *model_held(struct stores_model *m, u64 gva, u8 size)
{
	return &m->held[(gva * 9 + size) * 0x9e3779b97f4a7c15ull >> (64 - HELD_BITS)];
}

static inline void model_went(struct stores_model *m, struct stores_now *now, u32 site)
{
	m->paths[now->path] = (u16)site;
	m->sites[now->last].next = (u16)site;
	now->path = (now->path << 5 ^ site ^ site << 7) & ((1u << PATH_BITS) - 1);
	now->last = (u16)site;
}

static inline void model_stored(struct stores_now *now, struct site_memory *s, u64 gva, u64 value,
				u64 *held)
{
	s->ahead = gva - now->gva;
	s->stride = gva - s->gva;
	s->gva = now->gva = gva;
	s->value_stride = value - s->value;
	s->value_gva = value - gva;
	s->value = now->value = value;
	*held = value;
}

#endif
