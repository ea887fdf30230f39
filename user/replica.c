// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The replica: regions of 2 MiB of the VMM's address space, found by a hash. Pages that the VMM
 * never touched are not read: /proc/PID/pagemap tells which.
 */
#include "user/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "user/cleanup.h"

#define PAGE	     4096u
#define REGION	     (2u << 20)
#define WINDOW_PAGES 256u /* read at once */

/* proc_pid_pagemap(5) */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)

struct region {
	u64 hva; /* a multiple of REGION; 0: empty */
	u8 *bytes;
};

struct replica {
	struct replica_part parts[REPLICA_PARTS];
	size_t nparts;
	struct region *regions; /* a hash, at most half full */
	size_t nregions, max;
	u8 window[WINDOW_PAGES * PAGE];
};

int replica_open(struct replica **out)
{
	struct replica *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->max = 256;
	r->regions = calloc(r->max, sizeof(*r->regions));
	if (!r->regions) {
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
	for (size_t i = 0; i < r->max; i++)
		if (r->regions[i].bytes)
			munmap(r->regions[i].bytes, REGION);
	free(r->regions);
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

static struct region *region_place(struct region *regions, size_t max, u64 hva)
{
	size_t i = (hva / REGION) * 0x9e3779b97f4a7c15ull >> 32 & (max - 1);

	while (regions[i].hva && regions[i].hva != hva)
		i = (i + 1) & (max - 1);
	return &regions[i];
}

static bool regions_grow(struct replica *r)
{
	struct region *more = calloc(2 * r->max, sizeof(*more));

	if (!more)
		return false;
	for (size_t i = 0; i < r->max; i++)
		if (r->regions[i].hva)
			*region_place(more, 2 * r->max, r->regions[i].hva) = r->regions[i];
	free(r->regions);
	r->regions = more;
	r->max *= 2;
	return true;
}

/* What is kept of an address in the VMM; NULL when there is nothing, or no memory to make it. */
static u8 *kept(struct replica *r, u64 hva, bool make)
{
	const u64 start = hva & ~(u64)(REGION - 1);
	struct region *region = region_place(r->regions, r->max, start);

	if (!region->hva) {
		if (!make || (2 * r->nregions >= r->max && !regions_grow(r)))
			return NULL;
		u8 *bytes = mmap(NULL, REGION, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (bytes == MAP_FAILED)
			return NULL;
		region = region_place(r->regions, r->max, start);
		*region = (struct region){start, bytes};
		r->nregions++;
	}
	return region->bytes + (hva - start);
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

static ssize_t vmm_read(pid_t pid, u64 hva, void *to, size_t n)
{
	const struct iovec local = {to, n}, remote = {(void *)(uintptr_t)hva, n};
	const ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	return got < 0 ? -errno : got;
}

/* Pages of private anonymous memory that were never touched are zero, and need not be read; whether
 * others are in the page tables says nothing of what they hold. */
struct sparse {
	int pagemap;
	u64 start, end; /* of the mapping that was asked for last */
	bool anonymous;
	FILE *maps;
};

static void mapping_find(struct sparse *s, u64 hva)
{
	char line[512];

	if (hva >= s->start && hva < s->end)
		return;
	s->anonymous = false;
	s->start = hva;
	s->end = hva + 1;
	rewind(s->maps);
	while (fgets(line, sizeof(line), s->maps)) {
		unsigned long long start, end, inode;
		char mode[8];

		if (sscanf(line, "%llx-%llx %7s %*x %*s %llu", &start, &end, mode, &inode) != 4)
			continue;
		if (hva < start || hva >= end)
			continue;
		s->start = start;
		s->end = end;
		s->anonymous = !inode && mode[3] == 'p';
		return;
	}
}

/* Which of the pages from hva on are to be read: an array of n. */
static void pages_wanted(struct sparse *s, u64 hva, size_t n, bool *wanted)
{
	u64 entries[WINDOW_PAGES];

	for (size_t i = 0; i < n; i++)
		wanted[i] = true;
	if (s->pagemap < 0 || !s->maps)
		return;
	mapping_find(s, hva);
	if (!s->anonymous || hva + n * PAGE > s->end)
		return;
	if (pread(s->pagemap, entries, n * sizeof(u64), (off_t)(hva / PAGE * sizeof(u64))) !=
	    (ssize_t)(n * sizeof(u64)))
		return;
	for (size_t i = 0; i < n; i++)
		wanted[i] = entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED);
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

static int part_compare(struct comparison *c, const struct replica_part *p, pid_t pid,
			struct sparse *s, u64 *read)
{
	bool wanted[WINDOW_PAGES];

	for (u64 off = 0; off < p->size;) {
		const u64 left = (p->size - off) / PAGE;
		const size_t n = left < WINDOW_PAGES ? left : WINDOW_PAGES;

		if (!n)
			break;
		pages_wanted(s, p->hva + off, n, wanted);
		for (size_t i = 0, run; i < n; i += run) {
			for (run = 1; i + run < n && wanted[i + run] == wanted[i]; run++)
				;
			const ssize_t got = !wanted[i] ? (ssize_t)(run * PAGE)
						       : vmm_read(pid, p->hva + off + i * PAGE,
								  c->r->window, run * PAGE);
			if (got < 0)
				return (int)got;
			if ((size_t)got < run * PAGE)
				return -EFAULT;
			if (wanted[i])
				*read += run * PAGE;
			const int err = pages_compare(c, p, off + i * PAGE,
						      wanted[i] ? c->r->window : NULL, run);
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
	char path[64];
	int err = 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	struct sparse s = {.pagemap = open(path, O_RDONLY | O_CLOEXEC)};
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	s.maps = fopen(path, "re");
	for (size_t i = 0; i < r->nparts && !err; i++)
		err = part_compare(&c, &r->parts[i], pid, &s, &bytes);
	fd_cleanup(&s.pagemap);
	file_cleanup(&s.maps);
	if (read)
		*read = bytes;
	return err ? err : c.differed;
}
