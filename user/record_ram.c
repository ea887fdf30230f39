// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Full mode: where RAM lies, as the plugin says it, and what of that is recorded.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/record_full.h"

bool full_asked(const struct full *f, u64 gpa)
{
	for (size_t i = 0; i < f->r->npages; i++)
		if (gpa >= f->r->pages[i].gpa && gpa < f->r->pages[i].end)
			return true;
	return !f->r->npages;
}

static bool is_ram(const struct replica_part *parts, size_t n, u64 gpa)
{
	for (size_t i = 0; i < n; i++)
		if (!parts[i].hidden && gpa - parts[i].gpa < parts[i].size)
			return true;
	return false;
}

static int u64_order(const void *a, const void *b)
{
	const u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* Says of which addresses stores are seen that were no RAM before, and the other way round. */
static void cover_ram(struct full *f, const struct replica_part *before, size_t nbefore,
		      const struct replica_part *now, size_t nnow)
{
	u64 cuts[4 * REPLICA_PARTS];
	size_t n = 0;

	for (size_t i = 0; i < nbefore; i++) {
		cuts[n++] = before[i].gpa;
		cuts[n++] = before[i].gpa + before[i].size;
	}
	for (size_t i = 0; i < nnow; i++) {
		cuts[n++] = now[i].gpa;
		cuts[n++] = now[i].gpa + now[i].size;
	}
	qsort(cuts, n, sizeof(*cuts), u64_order);
	for (size_t i = 0; i + 1 < n; i++) {
		const bool was = is_ram(before, nbefore, cuts[i]), is = is_ram(now, nnow, cuts[i]);

		if (was != is && cuts[i] < cuts[i + 1])
			full_cover(f, ORIGIN_VCPU, is, WHY_NO_RAM, cuts[i], cuts[i + 1] - cuts[i]);
	}
}

void full_begin(struct full *f)
{
	size_t n;
	const struct replica_part *parts = replica_parts(f->replica, &n);

	cover_ram(f, NULL, 0, parts, n);
}

/* What is asked for of a range of RAM. False: it is too much. */
static bool parts_add(const struct full *f, const struct rings_ram *ram, struct replica_part *parts,
		      size_t *n)
{
	static const struct gpa_range all = {0, UINT64_MAX};
	const size_t nranges = f->r->npages ? f->r->npages : 1;
	const struct gpa_range *ranges = f->r->npages ? f->r->pages : &all;

	for (size_t i = 0; i < nranges; i++) {
		const u64 from = ranges[i].gpa > ram->gpa ? ranges[i].gpa : ram->gpa;
		const u64 end = ram->gpa + ram->size;
		const u64 to = ranges[i].end < end ? ranges[i].end : end;

		if (from >= to)
			continue;
		if (*n == REPLICA_PARTS)
			return false;
		parts[(*n)++] = (struct replica_part){
			from, to - from, ram->host + (from - ram->gpa), ram->readonly, ram->hidden};
	}
	return true;
}

int full_ram(void *arg, u32 ring, const struct rings_ram *ram, size_t n)
{
	struct full *f = arg;
	struct replica_part parts[REPLICA_PARTS];
	size_t have, count = 0;
	const struct replica_part *before = replica_parts(f->replica, &have);

	for (size_t i = 0; i < n; i++)
		if (!parts_add(f, &ram[i], parts, &count))
			return -E2BIG;
	f->mapped = true;
	/* Those of other rings hold until they say the map, too: what they stored lies where it
	 * lay. */
	memset(f->page[ring], 0, sizeof(f->page[ring]));
	if (f->stage != STAGE_BEGIN)
		cover_ram(f, before, have, parts, count);
	return replica_map(f->replica, parts, count);
}
