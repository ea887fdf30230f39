/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events of any kind, filled from the table with values that are now regular, now random: what
 * tests of the codec encode and compare.
 */
#ifndef VMBLAME_TEST_RANDOM_EVENT_H
#define VMBLAME_TEST_RANDOM_EVENT_H

#include <string.h>

#include "formats/desc.h"

union any_event {
	struct event h;
	struct event_content content;
	struct event_mmio mmio;
	struct event_unseen unseen;
	struct event_version version;
	u8 bytes[sizeof(struct event_version) + 64];
};

static inline u64 random_next(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static inline void random_field(u64 *seed, const struct event_desc *d, const struct field_desc *f,
				u8 *ev, bool is_count, u64 count_max)
{
	u64 n = 1, v;

	if (f->count >= 0) {
		n = 0;
		memcpy(&n, ev + d->fields[f->count].off, d->fields[f->count].width);
		memset(ev + f->off, 0, (size_t)f->width * f->max);
	}
	for (u64 i = 0; i < n; i++) {
		u8 *p = ev + f->off + i * f->width;

		memcpy(&v, p, f->width);
		switch (random_next(seed) % 8) {
		case 0:
			v = random_next(seed);
			break;
		case 1:
			v = random_next(seed) % 3 * ~0ull;
			break;
		case 2:
			v += random_next(seed) % 16;
			break;
		default:
			if (f->codec == CODEC_STRIDE)
				v += 2;
		}
		if (is_count)
			v = random_next(seed) % (count_max + 1);
		memcpy(p, &v, f->width);
	}
}

/* Turns *ev, an event of the same kind (or zeros), into a next one. */
static inline void random_event(u64 *seed, unsigned kind, union any_event *ev)
{
	const struct event_desc *d = event_desc(kind);
	const bool change = random_next(seed) % 4 == 0;

	ev->h.kind = (u16)kind;
	ev->h.t_ns +=
		random_next(seed) % 10 ? 555 + random_next(seed) % 30 : random_next(seed) % 100000;
	ev->h.tseq++;
	if (random_next(seed) % 16 == 0) {
		ev->h.tid = 1000 + (u32)(random_next(seed) % 3);
		ev->h.vcpu = (u16)(ev->h.tid == 1002 ? VCPU_NONE : ev->h.tid - 1000);
		ev->h.boot = (u32)(random_next(seed) % 3);
		ev->h.tseq = (u32)random_next(seed);
	}
	for (unsigned i = 0; i < d->nfields; i++) {
		const struct field_desc *f = &d->fields[i];
		u64 count_max = 0;
		bool is_count = false;

		for (unsigned k = 0; k < d->nfields; k++)
			if (d->fields[k].count == (int)i) {
				is_count = true;
				count_max = d->fields[k].max;
			}
		if (is_count && !change)
			continue;
		if (change || f->codec == CODEC_STRIDE || random_next(seed) % 16 == 0)
			random_field(seed, d, f, ev->bytes, is_count, count_max);
	}
}

/* The same event? Padding may differ. */
static inline bool event_equal(const struct event *a, const struct event *b)
{
	const struct event_desc *d = event_desc(a->kind);

	if (memcmp(a, b, sizeof(*a)) != 0 || !d)
		return false;
	for (unsigned i = 0; i < d->nfields; i++) {
		const struct field_desc *f = &d->fields[i];

		if (memcmp((const u8 *)a + f->off, (const u8 *)b + f->off,
			   (size_t)f->width * f->max) != 0)
			return false;
	}
	return true;
}

#endif
