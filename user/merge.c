// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Events of all sources into the order of time. Waiting events are copies, one after the other in
 * one block of memory; an array of their places is what gets sorted.
 */
#include "user/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/desc.h"

struct entry {
	u64 t_ns;
	u64 order; /* as put */
	size_t off;
};

struct merge {
	u8 *data;
	size_t used, room;
	struct entry *entries;
	size_t done; /* of them that were handed over */
	size_t n, entries_room;
	bool unsorted;
	u64 order;
};

int merge_open(struct merge **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void merge_close(struct merge *m)
{
	if (!m)
		return;
	free(m->data);
	free(m->entries);
	free(m);
}

static int grow(void **array, size_t *room, size_t want, size_t width)
{
	size_t next = *room ? *room : 1024;
	void *p;

	if (want <= *room)
		return 0;
	while (next < want)
		next *= 2;
	p = realloc(*array, next * width);
	if (!p)
		return -ENOMEM;
	*array = p;
	*room = next;
	return 0;
}

int merge_put(struct merge *m, const struct event *ev)
{
	const struct event_desc *desc = event_desc(ev->kind);

	if (!desc)
		return -EINVAL;
	const size_t bytes = event_used_bytes(ev, desc), size = (bytes + 7) & ~(size_t)7;

	if (grow((void **)&m->data, &m->room, m->used + size, 1) ||
	    grow((void **)&m->entries, &m->entries_room, m->n + 1, sizeof(struct entry)))
		return -ENOMEM;
	memcpy(m->data + m->used, ev, bytes);
	if (m->n > m->done && ev->t_ns < m->entries[m->n - 1].t_ns)
		m->unsorted = true;
	m->entries[m->n++] = (struct entry){ev->t_ns, m->order++, m->used};
	m->used += size;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->t_ns != y->t_ns)
		return x->t_ns < y->t_ns ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* What is left moves to the front once it is less than what is done, so that the block does not
 * grow for ever, and each byte moves seldom. */
static void compact(struct merge *m)
{
	size_t used = m->used;

	if (2 * m->done < m->n)
		return;
	memmove(m->entries, m->entries + m->done, (m->n - m->done) * sizeof(*m->entries));
	m->n -= m->done;
	m->done = 0;
	if (!m->n) {
		m->used = 0;
		return;
	}
	/* Entries are in the order of time, their bytes in the order of arrival: only bytes that
	 * all entries lie behind can go. */
	for (size_t i = 0; i < m->n; i++)
		if (m->entries[i].off < used)
			used = m->entries[i].off;
	memmove(m->data, m->data + used, m->used - used);
	m->used -= used;
	for (size_t i = 0; i < m->n; i++)
		m->entries[i].off -= used;
}

int merge_flush(struct merge *m, u64 until_ns, int (*fn)(void *arg, const struct event *ev),
		void *arg)
{
	int err = 0;

	if (m->unsorted)
		qsort(m->entries + m->done, m->n - m->done, sizeof(*m->entries), compare);
	m->unsorted = false;
	for (; m->done < m->n && m->entries[m->done].t_ns <= until_ns; m->done++)
		if (!err) {
			const struct entry *next = &m->entries[m->done];
			const int ret = fn(arg, (const struct event *)(m->data + next->off));

			err = ret < 0 ? ret : 0;
		}
	compact(m);
	return err;
}
