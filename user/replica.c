// SPDX-License-Identifier: GPL-2.0-or-later
/* The replica, by address in the VMM. Pages that the VMM never touched are not read. */
#include "user/replica.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/regions.h"
#include "user/vmm_memory.h"

#define PAGE	     VMM_PAGE
#define WINDOW_PAGES VMM_WINDOW_MAX /* read at once */

struct replica {
	struct replica_part parts[REPLICA_PARTS];
	size_t nparts;
	struct regions regions; /* by address in the VMM */
	u8 window[WINDOW_PAGES * PAGE];
};

int replica_open(struct replica **out)
{
	struct replica *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	if (regions_open(&r->regions, 0)) {
		free(r);
		return -ENOMEM;
	}
	*out = r;
	return 0;
}

void replica_close(struct replica *r)
{
	if (!r)
		return;
	regions_close(&r->regions);
	free(r);
}

int replica_map(struct replica *r, const struct replica_part *parts, size_t n)
{
	if (n > REPLICA_PARTS)
		return -E2BIG;
	memcpy(r->parts, parts, n * sizeof(*parts));
	r->nparts = n;
	return 0;
}

const struct replica_part *replica_parts(const struct replica *r, size_t *n)
{
	*n = r->nparts;
	return r->parts;
}

/* What is kept of an address in the VMM; NULL when there is nothing, or no memory to make it. */
static u8 *kept(struct replica *r, u64 hva, bool make)
{
	struct region *region = regions_find(&r->regions, hva, make);

	return region ? region->bytes + (hva - region->start) : NULL;
}

u8 *replica_page(struct replica *r, u64 gpa, bool hidden)
{
	for (size_t i = 0; i < r->nparts; i++) {
		const struct replica_part *p = &r->parts[i];

		if (p->hidden == hidden && gpa - p->gpa < p->size)
			return kept(r, p->hva + ((gpa - p->gpa) & ~(u64)(PAGE - 1)), true);
	}
	return NULL;
}

struct comparison {
	struct replica *r;
	int (*fn)(void *arg, const struct replica_difference *d);
	void *arg;
	s64 differed;
};

/* The runs of bytes of a page that differ, and no byte between them: who wrote the same may have
 * been a store that was seen. */
static int page_compare(struct comparison *c, const struct replica_part *p, u64 gpa, const u8 *now,
			const u8 *was)
{
	size_t at = 0;

	while (at < PAGE) {
		while (at < PAGE && now[at] == was[at])
			at++;
		if (at == PAGE)
			break;
		size_t end = at + 1;
		while (end < PAGE && now[end] != was[end])
			end++;
		const struct replica_difference d = {
			.gpa = gpa + at,
			.now = now + at,
			.was = was + at,
			.len = (u16)(end - at),
			.hidden = p->hidden,
		};
		const int err = c->fn(c->arg, &d);
		if (err < 0)
			return err;
		c->differed += (s64)(end - at);
		at = end;
	}
	return 0;
}

/* now NULL: the VMM has no such pages, any more. */
static int pages_compare(struct comparison *c, const struct replica_part *p, u64 off, const u8 *now,
			 size_t n)
{
	static const u8 zeros[PAGE];

	for (size_t i = 0; i < n; i++, off += PAGE) {
		const u8 *known = kept(c->r, p->hva + off, false);
		const u8 *page = now ? now + i * PAGE : zeros;

		if (!known)
			known = zeros;
		if (known == page || !memcmp(page, known, PAGE))
			continue;
		const int err = page_compare(c, p, p->gpa + off, page, known);
		if (err)
			return err;
	}
	return 0;
}

/* Up to WINDOW_PAGES pages at hva, all of which were touched. */
static int window_read(struct replica *r, const struct vmm_memory *m, u64 hva, size_t n)
{
	u64 at[WINDOW_PAGES];

	for (size_t i = 0; i < n; i++)
		at[i] = hva + i * PAGE;
	return vmm_memory_read(m, at, n, r->window);
}

static int part_compare(struct comparison *c, const struct replica_part *p, struct vmm_memory *m,
			u64 *read)
{
	bool touched[WINDOW_PAGES];

	for (u64 off = 0; off < p->size;) {
		const u64 left = (p->size - off) / PAGE;
		const size_t n = left < WINDOW_PAGES ? left : WINDOW_PAGES;

		if (!n)
			break;
		vmm_memory_touched(m, p->hva + off, n, touched);
		for (size_t i = 0, run; i < n; i += run) {
			for (run = 1; i + run < n && touched[i + run] == touched[i]; run++)
				;
			int err =
				touched[i] ? window_read(c->r, m, p->hva + off + i * PAGE, run) : 0;
			if (err)
				return err;
			if (touched[i])
				*read += run * PAGE;
			err = pages_compare(c, p, off + i * PAGE, touched[i] ? c->r->window : NULL,
					    run);
			if (err)
				return err;
		}
		off += n * PAGE;
	}
	return 0;
}

s64 replica_compare(struct replica *r, pid_t pid,
		    int (*fn)(void *arg, const struct replica_difference *d), void *arg, u64 *read)
{
	struct comparison c = {.r = r, .fn = fn, .arg = arg};
	u64 bytes = 0;
	struct vmm_memory m;
	int err = 0;

	vmm_memory_open(&m, pid);
	for (size_t i = 0; i < r->nparts && !err; i++)
		err = part_compare(&c, &r->parts[i], &m, &bytes);
	vmm_memory_close(&m);
	if (read)
		*read = bytes;
	return err ? err : c.differed;
}
