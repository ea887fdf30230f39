/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table of pages, each with its bytes and which of them are known. */
#include "shadow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

struct shadow_page {
	u8 data[PAGE];
	u8 known[PAGE];
};

static size_t shadow_pages(const struct shadow *s)
{
	return (s->end - s->gpa + PAGE - 1) / PAGE;
}

int shadow_init(struct shadow *s, u64 gpa, u64 end, u64 max)
{
	*s = (struct shadow){.gpa = gpa, .end = end};
	if (end - gpa > max)
		return 0;
	s->pages = calloc(shadow_pages(s), sizeof(*s->pages));
	return s->pages ? 0 : -ENOMEM;
}

void shadow_free(struct shadow *s)
{
	for (size_t i = 0; s->pages && i < shadow_pages(s); i++)
		free(s->pages[i]);
	free(s->pages);
	*s = (struct shadow){0};
}

/* Bytes of [gpa,end) that lie in the page of gpa; *page and *off tell where. */
static size_t page_part(const struct shadow *s, u64 gpa, u64 end, size_t *page, size_t *off)
{
	const u64 at = gpa - s->gpa;
	const u64 room = PAGE - at % PAGE;

	*page = at / PAGE;
	*off = at % PAGE;
	return end - gpa < room ? end - gpa : room;
}

int shadow_set(struct shadow *s, u64 gpa, u64 end, const u8 *bytes)
{
	while (s->pages && gpa < end) {
		size_t page, off;
		const size_t n = page_part(s, gpa, end, &page, &off);

		if (!s->pages[page])
			s->pages[page] = calloc(1, sizeof(**s->pages));
		if (!s->pages[page])
			return -ENOMEM;
		memcpy(s->pages[page]->data + off, bytes, n);
		memset(s->pages[page]->known + off, 1, n);
		bytes += n;
		gpa += n;
	}
	return 0;
}

void shadow_forget(struct shadow *s, u64 gpa, u64 end)
{
	if (gpa < s->gpa)
		gpa = s->gpa;
	if (end > s->end)
		end = s->end;
	while (s->pages && gpa < end) {
		size_t page, off;
		const size_t n = page_part(s, gpa, end, &page, &off);

		if (s->pages[page])
			memset(s->pages[page]->known + off, 0, n);
		gpa += n;
	}
}

bool shadow_get(const struct shadow *s, u64 gpa, u64 end, u8 *bytes)
{
	if (!s->pages)
		return false;
	while (gpa < end) {
		size_t page, off;
		const size_t n = page_part(s, gpa, end, &page, &off);

		if (!s->pages[page] || memchr(s->pages[page]->known + off, 0, n))
			return false;
		memcpy(bytes, s->pages[page]->data + off, n);
		bytes += n;
		gpa += n;
	}
	return true;
}
