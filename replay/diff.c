// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Plays up to the first moment, then keeps a copy of each page before its first write after that.
 */
#include "diff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kept_page {
	struct diff_page d;
	u8 was[FILM_PAGE];
	u8 known[FILM_PAGE / 8]; /* then; what was not cannot be said to have changed */
};

struct diff {
	const struct diff_spec *spec;
	struct kept_page **kept; /* page->user is an index plus 1 */
	size_t nkept, kept_max;
};

static int keep(struct diff *d, const struct film_page *p)
{
	if (d->spec->pages_max && d->nkept >= d->spec->pages_max)
		return -E2BIG;
	if (d->nkept == d->kept_max) {
		const size_t max = d->kept_max ? 2 * d->kept_max : 256;
		struct kept_page **more = realloc(d->kept, max * sizeof(struct kept_page *));

		if (!more)
			return -ENOMEM;
		d->kept = more;
		d->kept_max = max;
	}
	struct kept_page *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->d.gpa = p->gpa;
	memcpy(k->was, p->bytes, FILM_PAGE);
	memset(k->known, 0xff, sizeof(k->known));
	if (p->known)
		memcpy(k->known, p->known, sizeof(k->known));
	d->kept[d->nkept++] = k;
	return 0;
}

/* The counters of Misra and Gries: whoever wrote more than a fifth has one at the end. */
static void count(struct diff_page *d, const struct film_write *w)
{
	unsigned i;

	for (i = 0; i < d->nwriters; i++)
		if (d->writers[i].origin == w->origin && d->writers[i].pc == w->pc) {
			d->writers[i].writes++;
			return;
		}
	if (d->nwriters < DIFF_WRITERS) {
		d->writers[d->nwriters++] = (struct diff_writer){w->origin, w->pc, 1};
		return;
	}
	for (i = 0; i < d->nwriters;) {
		if (--d->writers[i].writes)
			i++;
		else
			d->writers[i] = d->writers[--d->nwriters];
	}
}

static int before(void *arg, const struct film_page *p, const struct film_write *w)
{
	struct diff *d = arg;

	(void)w;
	return p->user ? 0 : keep(d, p);
}

static int after(void *arg, struct film_page *p, const struct film_write *w)
{
	struct diff *d = arg;

	if (!p->user)
		p->user = d->nkept;
	struct diff_page *page = &d->kept[p->user - 1]->d;
	page->last = w->at;
	if (w->origin == ORIGIN_NONE && !w->version)
		return 0;
	page->writes++;
	count(page, w);
	return 0;
}

static int by_gpa(const void *a, const void *b)
{
	const struct kept_page *x = *(struct kept_page *const *)a,
			       *y = *(struct kept_page *const *)b;

	return x->d.gpa < y->d.gpa ? -1 : x->d.gpa > y->d.gpa;
}

static int by_writes(const void *a, const void *b)
{
	const struct diff_writer *x = a, *y = b;

	return x->writes > y->writes ? -1 : x->writes < y->writes;
}

static int tell(struct diff *d, const struct film *film)
{
	int ret = 0;

	if (d->nkept)
		qsort(d->kept, d->nkept, sizeof(*d->kept), by_gpa);
	for (size_t i = 0; i < d->nkept && !ret; i++) {
		struct diff_page *p = &d->kept[i]->d;
		const u8 *now = film_page(film, p->gpa)->bytes, *was = d->kept[i]->was;

		for (u32 k = 0; k < FILM_PAGE; k++) {
			if (now[k] == was[k] || !(d->kept[i]->known[k / 8] >> k % 8 & 1))
				continue;
			if (!p->changed++)
				p->first = k;
			p->end = k + 1;
		}
		p->now = now;
		p->was = was;
		qsort(p->writers, p->nwriters, sizeof(p->writers[0]), by_writes);
		if (p->changed || (d->spec->touched && p->writes))
			ret = d->spec->fn(d->spec->arg, p);
	}
	return ret;
}

int diff_run(struct reader *r, const struct state *s, const struct diff_spec *spec, char *err,
	     size_t err_size)
{
	struct diff d = {.spec = spec};
	struct film *film = NULL;
	struct film_spec f = {
		.gpa = spec->gpa,
		.end = spec->end,
		.limit = spec->from,
		.pages_max = spec->pages_max,
		.progress = spec->progress,
		.arg = &d,
	};
	int ret = film_play(&film, r, s, &f, err, err_size);

	f.limit = spec->until;
	f.before = before;
	f.after = after;
	if (!ret)
		ret = film_go_on(film, &f, err, err_size);
	if (!ret)
		ret = tell(&d, film);
	for (size_t i = 0; i < d.nkept; i++)
		free(d.kept[i]);
	free(d.kept);
	film_close(film);
	return ret;
}
