// SPDX-License-Identifier: GPL-2.0-or-later
#include "hot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "formats/stores.h"

/* Counters by key, an open hash; key 0 is a key like any other: `writes` tells what is in use. */
struct tally {
	struct hot_item *items;
	size_t n, max;
};

static struct hot_item *item_place(struct hot_item *items, size_t max, u64 key)
{
	size_t i = key * 0x9e3779b97f4a7c15ull >> 32 & (max - 1);

	while (items[i].writes && items[i].key != key)
		i = (i + 1) & (max - 1);
	return &items[i];
}

static bool tally_grow(struct tally *t)
{
	const size_t max = t->max ? 2 * t->max : 4096;
	struct hot_item *items = calloc(max, sizeof(*items));

	if (!items)
		return false;
	for (size_t i = 0; i < t->max; i++)
		if (t->items[i].writes)
			*item_place(items, max, t->items[i].key) = t->items[i];
	free(t->items);
	t->items = items;
	t->max = max;
	return true;
}

static inline bool tally_add(struct tally *t, u64 key, u64 bytes)
{
	if (2 * t->n >= t->max && !tally_grow(t))
		return false;
	struct hot_item *i = item_place(t->items, t->max, key);

	t->n += !i->writes;
	i->key = key;
	i->writes++;
	i->bytes += bytes;
	return true;
}

static int by_bytes(const void *a, const void *b)
{
	const struct hot_item *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

/* The items that are in use, sorted; the array is handed over. */
static struct hot_item *tally_sort(struct tally *t, size_t *n)
{
	struct hot_item *items = t->items;

	*n = 0;
	for (size_t i = 0; i < t->max; i++)
		if (items[i].writes)
			items[(*n)++] = items[i];
	if (*n)
		qsort(items, *n, sizeof(*items), by_bytes);
	t->items = NULL;
	return items;
}

struct hot_taker {
	struct hot *hot;
	struct tally pcs, pages;
};

static int hot_add(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct hot_taker *t = arg;

	(void)ev, (void)seq;
	for (const struct store *v = s->v; v < s->v + s->n; v++) {
		t->hot->bytes += v->size;
		if (!tally_add(&t->pcs, s->sites[v->site].pc, v->size) ||
		    !tally_add(&t->pages, v->gpa & ~0xfffull, v->size))
			return -ENOMEM;
	}
	t->hot->writes += s->n;
	return 0;
}

int hot_take(struct hot *h, struct reader *r, void (*progress)(u64 done, u64 all), char *err,
	     size_t err_size)
{
	const struct cursor_spec spec = {.streams = 1u << STREAM_STORES, .bulk = true};
	struct hot_taker t = {.hot = h};

	*h = (struct hot){0};
	const int ret = reader_each(r, &spec, hot_add, &t, progress, err, err_size);
	h->pcs = tally_sort(&t.pcs, &h->npcs);
	h->pages = tally_sort(&t.pages, &h->npages);
	return ret;
}
