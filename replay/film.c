// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Plays a trace forward. Stores come in bulk; the page of the one before is often that of the next.
 */
#include "film.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/delta.h"
#include "formats/stores.h"
#include "formats/wire.h"

#define PAGE_MASK     ((u64)FILM_PAGE - 1)
#define PROGRESS_EACH (1u << 22)

static const bool film_kinds[EVENT_MAX] = {
	[EVENT_mmio] = true,   [EVENT_store] = true,   [EVENT_content] = true,
	[EVENT_unseen] = true, [EVENT_version] = true,
};

struct film {
	struct reader *reader;
	const struct state *state;
	struct film_spec spec;
	struct cursor *cursor;
	bool zeroed; /* what was never written is zero */
	bool ended;
	/* An event or stores that lay behind the limit. */
	const struct event *event;
	u64 event_seq;
	struct stores stores;
	bool has_event, has_stores;
	struct film_page *pages;
	size_t npages, pages_max;
	size_t recent; /* page that was written last: index plus 1 */
	u32 *places;   /* hash of gpa: index in pages plus 1 */
	size_t nplaces;
	u64 done, all, told;
	char *err;
	size_t err_size;
};

static size_t place_of(const struct film *f, u64 gpa)
{
	return ((gpa / FILM_PAGE) * 0x9e3779b97f4a7c15ull >> 32) & (f->nplaces - 1);
}

struct film_page *film_page(const struct film *f, u64 gpa)
{
	gpa &= ~PAGE_MASK;
	for (size_t i = place_of(f, gpa); f->places[i]; i = (i + 1) & (f->nplaces - 1))
		if (f->pages[f->places[i] - 1].gpa == gpa)
			return &f->pages[f->places[i] - 1];
	return NULL;
}

size_t film_pages(const struct film *f)
{
	return f->npages;
}

struct film_page *film_page_number(const struct film *f, size_t i)
{
	return &f->pages[i];
}

static void place_put(struct film *f, u64 gpa, u32 index)
{
	size_t i = place_of(f, gpa);

	while (f->places[i])
		i = (i + 1) & (f->nplaces - 1);
	f->places[i] = index + 1;
}

static int places_grow(struct film *f)
{
	u32 *places = calloc(2 * f->nplaces, sizeof(*places));

	if (!places)
		return -ENOMEM;
	free(f->places);
	f->places = places;
	f->nplaces *= 2;
	for (size_t i = 0; i < f->npages; i++)
		place_put(f, f->pages[i].gpa, (u32)i);
	return 0;
}

static int page_make(struct film *f, u64 gpa, struct film_page **out)
{
	int err = 0;

	if (f->spec.pages_max && f->npages >= f->spec.pages_max)
		return -E2BIG;
	if (2 * f->npages >= f->nplaces)
		err = places_grow(f);
	if (!err && f->npages == f->pages_max) {
		const size_t max = 2 * f->pages_max;
		struct film_page *more = realloc(f->pages, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		f->pages = more;
		f->pages_max = max;
	}
	if (err)
		return err;
	struct film_page *p = &f->pages[f->npages];
	*p = (struct film_page){.gpa = gpa & ~PAGE_MASK, .bytes = calloc(1, FILM_PAGE)};
	if (p->bytes && !f->zeroed)
		p->known = calloc(1, FILM_PAGE / 8);
	if (!p->bytes || (!f->zeroed && !p->known)) {
		free(p->bytes);
		return -ENOMEM;
	}
	place_put(f, p->gpa, (u32)f->npages++);
	*out = p;
	return 0;
}

static void bytes_put(struct film_page *p, size_t at, const u8 *bytes, u32 len)
{
	memcpy(p->bytes + at, bytes, len);
	for (size_t i = at; p->known && i < at + len; i++)
		p->known[i / 8] |= (u8)(1 << i % 8);
}

/* A write to one page. */
static int page_write(struct film *f, struct film_page *p, const struct film_write *w)
{
	const size_t at = w->gpa & PAGE_MASK;
	int ret = f->spec.before ? f->spec.before(f->spec.arg, p, w) : 0;

	if (ret)
		return ret;
	bytes_put(p, at, w->bytes, w->len);
	return f->spec.after ? f->spec.after(f->spec.arg, p, w) : 0;
}

/* That, or a new one. */
static int page_get(struct film *f, u64 gpa, struct film_page **out)
{
	*out = f->recent ? &f->pages[f->recent - 1] : NULL;
	if (*out && (*out)->gpa == (gpa & ~PAGE_MASK))
		return 0;
	*out = film_page(f, gpa);
	const int err = *out ? 0 : page_make(f, gpa, out);
	if (!err)
		f->recent = (size_t)(*out - f->pages) + 1;
	return err;
}

static int write_take(struct film *f, struct film_write w)
{
	const u8 *bytes = w.bytes;
	const u64 start = w.gpa, end = w.gpa + w.len;

	if (w.gpa >= f->spec.end || end <= f->spec.gpa)
		return 0;
	for (u64 at = start, stop; at < end; at = stop) {
		struct film_page *p;

		stop = end - at > PAGE_MASK - (at & PAGE_MASK) ? (at | PAGE_MASK) + 1 : end;
		if (stop <= f->spec.gpa || at >= f->spec.end)
			continue;
		const int err = page_get(f, at, &p);
		if (err)
			return err;
		w.gpa = at;
		w.len = (u32)(stop - at);
		w.bytes = bytes + (at - start);
		const int ret = page_write(f, p, &w);
		if (ret)
			return ret;
	}
	return 0;
}

/* All of it at once. */
static int version_put(struct film *f, const struct event_version *v, struct moment at)
{
	struct film_page *p;
	int err = 0;

	if (v->gpa >= f->spec.end || v->gpa < f->spec.gpa)
		return 0;
	err = page_get(f, v->gpa, &p);
	if (err)
		return err;
	struct delta d = delta_open(v->data, v->len);

	while (delta_next(&d))
		bytes_put(p, d.off, d.bytes, d.len);
	return f->spec.version(f->spec.arg, p, v, at, d.at == d.stop);
}

/* Each run of it as a write. */
static int version_take(struct film *f, const struct event_version *v, struct film_write w)
{
	int err = 0;

	if (v->len > sizeof(v->data) || v->gpa & PAGE_MASK || v->gpa > UINT64_MAX - FILM_PAGE)
		return 0;
	f->done++;
	if (f->spec.version)
		return version_put(f, v, w.at);
	w.since_ns = v->t0_ns;
	w.version = true;
	for (struct delta d = delta_open(v->data, v->len); !err && delta_next(&d);) {
		w.gpa = v->gpa + d.off;
		w.len = d.len;
		w.bytes = d.bytes;
		err = write_take(f, w);
	}
	return err;
}

static int event_take(struct film *f, const struct event *ev, u64 seq)
{
	struct film_write w = {.at = {ev->t_ns, seq}, .vcpu = ev->vcpu};

	switch (ev->kind) {
	case EVENT_mmio: {
		const struct event_mmio *mmio = (const struct event_mmio *)ev;

		if (!mmio->write || mmio->done == MMIO_DONE_REQUESTED ||
		    mmio->done == MMIO_DONE_UNREAD || mmio->len > sizeof(mmio->bytes) ||
		    !coverage_on(&f->state->coverage, ORIGIN_VCPU, mmio->gpa, mmio->gpa + mmio->len,
				 w.at))
			return 0;
		w.gpa = mmio->gpa;
		w.len = mmio->len;
		w.bytes = mmio->bytes;
		w.origin = ORIGIN_VCPU;
		w.pc = mmio->cs_base + mmio->rip;
		break;
	}
	case EVENT_content: {
		const struct event_content *content = (const struct event_content *)ev;

		if (content->len > sizeof(content->data))
			return 0;
		w.gpa = content->gpa;
		w.len = content->len;
		w.bytes = content->data;
		w.origin = content->why == CONTENT_WHY_DEVICE ? ORIGIN_VIRTQUEUE : ORIGIN_NONE;
		w.look = content->why;
		break;
	}
	case EVENT_unseen: {
		const struct event_unseen *unseen = (const struct event_unseen *)ev;

		if (unseen->len > sizeof(unseen->data))
			return 0;
		w.gpa = unseen->gpa;
		w.len = unseen->len;
		w.bytes = unseen->data;
		w.origin = ORIGIN_UNSEEN;
		w.since_ns = unseen->t0_ns;
		break;
	}
	case EVENT_version:
		return version_take(f, (const struct event_version *)ev, w);
	default:
		f->done += f->spec.every != NULL;
		return 0;
	}
	f->done++;
	return w.len && w.gpa <= UINT64_MAX - w.len ? write_take(f, w) : 0;
}

/* Stores up to the limit; what is left stays in f->stores. */
static int stores_take(struct film *f)
{
	struct stores *s = &f->stores;
	struct film_page *page = NULL;
	struct film_write w = {.at = {s->t_ns, s->seq}, .origin = ORIGIN_VCPU, .vcpu = s->vcpu};

	for (; s->n; s->n--, s->v++, s->seq++) {
		const struct store *v = s->v;
		u8 bytes[8];

		w.at.seq = s->seq;
		if (!moment_before(w.at, f->spec.limit))
			return 0;
		f->done++;
		if (v->smm || v->gpa >= f->spec.end || v->gpa + v->size <= f->spec.gpa)
			continue;
		if (!page || page->gpa != (v->gpa & ~PAGE_MASK)) {
			const int err = page_get(f, v->gpa, &page);
			if (err)
				return err;
		}
		store_le(bytes, v->value, 8);
		w.gpa = v->gpa;
		w.len = v->size;
		w.bytes = bytes;
		w.pc = s->sites[v->site].pc;
		const int ret = page_write(f, page, &w);
		if (ret)
			return ret;
	}
	f->has_stores = false;
	return 0;
}

static void tell_progress(struct film *f)
{
	if (f->spec.progress && f->done - f->told >= PROGRESS_EACH) {
		f->told = f->done;
		f->spec.progress(f->done, f->all);
	}
}

static int every(struct film *f, const struct event *ev, u64 seq, const struct stores *s)
{
	return f->spec.every ? f->spec.every(f->spec.arg, ev, seq, s) : 0;
}

static int run(struct film *f)
{
	int ret = 0;

	while (!ret && !f->ended) {
		if (!f->has_event && !f->has_stores) {
			switch (cursor_next(f->cursor, &f->event, &f->event_seq)) {
			case CURSOR_MORE:
				f->has_event = true;
				ret = every(f, f->event, f->event_seq, NULL);
				break;
			case CURSOR_STORES:
				f->stores = *cursor_stores(f->cursor);
				f->has_stores = true;
				ret = every(f, NULL, 0, &f->stores);
				break;
			case CURSOR_TRUNCATED:
				break;
			case CURSOR_END:
				f->ended = true;
				break;
			case CURSOR_CORRUPT:
			case CURSOR_IO:
				snprintf(f->err, f->err_size, "%s", cursor_message(f->cursor));
				return -EBADMSG;
			}
		}
		if (ret)
			return ret;
		if (f->has_event) {
			const struct moment at = {f->event->t_ns, f->event_seq};

			if (!moment_before(at, f->spec.limit))
				return 0;
			f->has_event = false;
			ret = event_take(f, f->event, f->event_seq);
		} else if (f->has_stores) {
			ret = stores_take(f);
			if (!ret && f->has_stores)
				return 0;
		}
		tell_progress(f);
	}
	return ret;
}

/* Pages are played whole. */
static u64 range_end(const struct film_spec *spec)
{
	return spec->end > UINT64_MAX - PAGE_MASK ? UINT64_MAX
						  : (spec->end + PAGE_MASK) & ~PAGE_MASK;
}

int film_go_on(struct film *f, const struct film_spec *spec, char *err, size_t err_size)
{
	err[0] = 0;
	f->spec = *spec;
	f->spec.gpa &= ~PAGE_MASK;
	f->spec.end = range_end(spec);
	f->err = err;
	f->err_size = err_size;
	const int ret = run(f);
	if (ret == -E2BIG)
		snprintf(err, err_size, "more memory was written to than can be held at once");
	else if (ret < 0 && !err[0])
		snprintf(err, err_size, "cannot read the trace: %s", strerror(-ret));
	return ret;
}

int film_play(struct film **out, struct reader *r, const struct state *s,
	      const struct film_spec *spec, char *err, size_t err_size)
{
	struct film *f = calloc(1, sizeof(*f));
	const bool all = spec->every || (!spec->gpa && spec->end == UINT64_MAX);
	const struct cursor_spec cursor = {
		.streams = spec->every ? 0
				       : 1u << STREAM_ACTIVITY | 1u << STREAM_CONTENT |
						 1u << STREAM_STORES,
		.gpa = all ? 0 : spec->gpa & ~PAGE_MASK,
		.gpa_end = all ? 0 : range_end(spec),
		.kinds = spec->every ? NULL : film_kinds,
		.bulk = true,
	};

	*out = NULL;
	snprintf(err, err_size, "out of memory");
	if (!f)
		return -ENOMEM;
	*out = f;
	f->reader = r;
	f->state = s;
	f->zeroed = s->ncomparisons > 0;
	f->all = reader_info(r)->events;
	f->nplaces = 1024;
	f->pages_max = 256;
	f->places = calloc(f->nplaces, sizeof(*f->places));
	f->pages = malloc(f->pages_max * sizeof(*f->pages));
	if (!f->places || !f->pages || cursor_open(&f->cursor, r, &cursor)) {
		film_close(f);
		*out = NULL;
		return -ENOMEM;
	}
	return film_go_on(f, spec, err, err_size);
}

void film_close(struct film *f)
{
	if (!f)
		return;
	cursor_close(f->cursor);
	for (size_t i = 0; i < f->npages; i++) {
		free(f->pages[i].bytes);
		free(f->pages[i].known);
	}
	free(f->pages);
	free(f->places);
	free(f);
}

bool film_read(const struct film *f, u64 gpa, u8 *to, size_t n)
{
	for (size_t i = 0, some; i < n; i += some) {
		const struct film_page *p = film_page(f, gpa + i);
		const size_t at = (gpa + i) & PAGE_MASK;

		some = FILM_PAGE - at < n - i ? FILM_PAGE - at : n - i;
		/* Where memory was compared, all that was not zero was told of. */
		if (!p && !(f->zeroed && state_comparison(f->state, gpa + i, MOMENT_END)))
			return false;
		if (!p) {
			memset(to + i, 0, some);
			continue;
		}
		for (size_t k = at; p->known && k < at + some; k++)
			if (!(p->known[k / 8] >> k % 8 & 1))
				return false;
		memcpy(to + i, p->bytes + at, some);
	}
	return true;
}
