// SPDX-License-Identifier: GPL-2.0-or-later
/* Pages in a table with hash chains, mappings in a list: they are few. */
#include "user/flights.h"

#include <string.h>

#define FORGET_NS 1000000000ull /* an end whose beginning does not come */

static u32 bucket(u64 gpa)
{
	return (u32)(gpa / FLIGHT_PAGE * 0x9e3779b97f4a7c15ull >> 52) % FLIGHT_HASH;
}

static struct flight_page *page_find(const struct flights *f, u64 gpa)
{
	for (u32 i = f->first[bucket(gpa)]; i; i = f->next[i - 1])
		if (f->page[i - 1].gpa == gpa)
			return (struct flight_page *)&f->page[i - 1];
	return NULL;
}

static void page_put(struct flights *f, struct flight_page page)
{
	u16 *first = &f->first[bucket(page.gpa)];

	f->page[f->npages] = page;
	f->next[f->npages] = *first;
	*first = (u16)++f->npages;
}

bool flights_add(struct flights *f, u64 gpa, u64 end, u64 until_ns)
{
	for (gpa &= ~(u64)(FLIGHT_PAGE - 1); gpa < end; gpa += FLIGHT_PAGE) {
		struct flight_page *page = page_find(f, gpa);

		if (page && page->until_ns < until_ns)
			page->until_ns = until_ns;
		if (page)
			continue;
		if (f->npages == FLIGHT_PAGES)
			return false;
		page_put(f, (struct flight_page){gpa, until_ns});
		if (gpa > UINT64_MAX - FLIGHT_PAGE)
			break;
	}
	return true;
}

bool flights_has(const struct flights *f, u64 gpa, u64 end)
{
	if (end / FLIGHT_PAGE - gpa / FLIGHT_PAGE < 8) {
		for (gpa &= ~(u64)(FLIGHT_PAGE - 1); gpa < end; gpa += FLIGHT_PAGE)
			if (page_find(f, gpa))
				return true;
		return false;
	}
	for (size_t i = 0; i < f->npages; i++)
		if (f->page[i].gpa < end && gpa < f->page[i].gpa + FLIGHT_PAGE)
			return true;
	return false;
}

void flights_copied(struct flights *f, u64 t0_ns)
{
	const size_t n = f->npages;

	f->npages = 0;
	memset(f->first, 0, sizeof(f->first));
	for (size_t i = 0; i < n; i++)
		if (f->page[i].until_ns >= t0_ns)
			page_put(f, f->page[i]);
	for (size_t i = f->nmaps; i--;)
		if (f->map[i].n < 0 && t0_ns > f->map[i].t_ns + FORGET_NS)
			f->map[i] = f->map[--f->nmaps];
}

/* Some are taken off with another size than they were made with. */
static struct flight_map *map_find(struct flights *f, u64 hva, u64 size)
{
	struct flight_map *other = NULL;

	for (size_t i = 0; i < f->nmaps; i++) {
		struct flight_map *map = &f->map[i];

		if (map->hva == hva && map->size == size)
			return map;
		if (map->hva == hva && map->n > 0)
			other = map;
	}
	return other;
}

static void map_drop(struct flights *f, struct flight_map *map)
{
	*map = f->map[--f->nmaps];
}

void flights_map(struct flights *f, u64 hva, u64 size, u64 t_ns)
{
	struct flight_map *map = map_find(f, hva, size);

	if (map && map->n < 0 && map->t_ns < t_ns)
		map->n = 0; /* the end of another one, that was never told of */
	if (map && map->size == size) {
		map->t_ns = map->n > 0 ? map->t_ns : t_ns;
		if (!++map->n)
			map_drop(f, map);
	} else if (f->nmaps == FLIGHT_MAPS) {
		f->beyond++;
		f->left_out++;
	} else {
		f->map[f->nmaps++] = (struct flight_map){hva, size, t_ns, 1};
	}
}

void flights_unmap(struct flights *f, u64 hva, u64 size, u64 t_ns)
{
	struct flight_map *map = map_find(f, hva, size);

	if (map) {
		if (map->n < 0)
			map->t_ns = t_ns;
		if (!--map->n)
			map_drop(f, map);
	} else if (f->beyond) {
		f->beyond--;
	} else if (f->nmaps < FLIGHT_MAPS) {
		f->map[f->nmaps++] = (struct flight_map){hva, size, t_ns, -1};
	}
}

const struct flight_map *flights_mapped(const struct flights *f, size_t *i, u64 hva, u64 end)
{
	while (*i < f->nmaps) {
		const struct flight_map *map = &f->map[(*i)++];

		if (map->n > 0 && map->hva < end && (hva <= map->hva || hva - map->hva < map->size))
			return map;
	}
	return NULL;
}

u64 flights_open(const struct flights *f)
{
	u64 n = f->beyond;

	for (size_t i = 0; i < f->nmaps; i++)
		n += f->map[i].n > 0 ? (u64)f->map[i].n : 0;
	return n;
}
