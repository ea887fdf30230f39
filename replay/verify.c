// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a page holds after a version is known to the bit: the recorder keeps its copies by the trace
 * that it writes, in the order in which they are in it (user/record_copies.c). So there is nothing
 * between two versions of a page that could excuse another sum.
 */
#include "verify.h"

#include <stdio.h>
#include <string.h>

#include "film.h"
#include "formats/check.h"
#include "formats/delta.h"

struct verify {
	const struct verify_spec *spec;
	struct verify_counts *counts;
	struct check *check;
	bool cut, by_page, has_versions;
	u64 unseen; /* bytes, since memory was compared last */
};

static int problem(struct verify *v, struct verify_problem p)
{
	p.by_page = v->by_page;
	v->counts->problems[p.what]++;
	return v->spec->problem(v->spec->arg, &p);
}

static int chunk_problem(void *arg, u64 off, const char *what)
{
	return problem(arg, (struct verify_problem){VERIFY_CHUNK, .off = off, .text = what});
}

static struct verify_problem malformed(const struct event_version *ev, struct moment at)
{
	return (struct verify_problem){VERIFY_DELTA, .at = at, .gpa = ev->gpa};
}

/* A film leaves it out. */
static bool no_page(const struct event_version *ev)
{
	return ev->gpa % FILM_PAGE || ev->gpa > UINT64_MAX - FILM_PAGE;
}

static int version(void *arg, const struct film_page *p, const struct event_version *ev,
		   struct moment at, bool whole)
{
	struct verify *v = arg;
	const struct verify_problem found = {
		.at = at, .gpa = ev->gpa, .want = ev->sum, .got = delta_sum(p->bytes)};

	if (ev->sum)
		v->counts->versions++;
	else
		v->counts->unsummed++; /* the field is younger than the kind */
	if (ev->sum && found.got != found.want)
		return problem(v, found);
	return whole ? 0 : problem(v, malformed(ev, at));
}

/* A keyframe repeats what the versions say. */
static int before(void *arg, const struct film_page *p, const struct film_write *w)
{
	struct verify *v = arg;
	const u32 at = w->gpa % FILM_PAGE;
	u32 i = 0;

	if (w->origin != ORIGIN_NONE || w->version || w->look != CONTENT_WHY_KEYFRAME)
		return 0;
	v->counts->keyframes++;
	if (!memcmp(p->bytes + at, w->bytes, w->len))
		return 0;
	while (p->bytes[at + i] == w->bytes[i])
		i++;
	return problem(v, (struct verify_problem){VERIFY_KEYFRAME, .at = w->at, .gpa = w->gpa + i,
						  .want = w->bytes[i], .got = p->bytes[at + i]});
}

/* What a comparison found is told ahead of it. It may have found more, where nobody can ask. */
static int compared(struct verify *v, const struct event_compared *ev, u64 seq)
{
	const u64 unseen = v->unseen;

	v->unseen = 0;
	if (v->cut) /* perhaps of another one, which is missing */
		return 0;
	v->counts->comparisons++;
	if (unseen <= ev->differed)
		return 0;
	return problem(v, (struct verify_problem){VERIFY_COMPARED, .at = {ev->h.t_ns, seq},
						  .gpa = ev->gpa, .want = ev->differed,
						  .got = unseen});
}

static int every(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct verify *v = arg;
	const int ret = check_take(v->check, ev, seq, s);

	if (ret || s)
		return ret;
	v->has_versions |= ev->kind == EVENT_version;
	if (ev->kind == EVENT_unseen)
		v->unseen += ((const struct event_unseen *)ev)->len;
	else if (ev->kind == EVENT_compared)
		return compared(v, (const struct event_compared *)ev, seq);
	else if (ev->kind == EVENT_version && no_page((const struct event_version *)ev))
		return problem(v, malformed((const struct event_version *)ev,
					    (struct moment){ev->t_ns, seq}));
	return 0;
}

/* The file beside the trace, if there is one that is used. */
static int by_page_check(struct verify *v, struct reader *r)
{
	v->by_page = true;
	const int ret = check_index(r, true, chunk_problem, v, &v->counts->bytes);
	v->by_page = false;
	return ret;
}

static int chunks_end(struct verify *v)
{
	struct check_counts c;
	const int ret = check_end(v->check, &c);

	v->counts->chunks = c.chunks;
	v->counts->events = c.events;
	v->counts->unknown = c.unknown;
	return ret;
}

/* Of a trace with stores there is no need to play them, and to hold what memory they make, unless
 * there is something to compare it with. */
static int play(struct verify *v, struct reader *r, const struct state *s, char *err,
		size_t err_size)
{
	struct film_spec spec = {
		.end = UINT64_MAX,
		.limit = MOMENT_END,
		.pages_max = v->spec->pages_max,
		.before = before,
		.every = every,
		.version = version,
		.progress = v->spec->progress,
		.arg = v,
	};
	struct film *film = NULL;
	int ret = 0;

	if (reader_chunks(r, STREAM_STORES)) {
		ret = reader_each(r, &(struct cursor_spec){.bulk = true}, every, v,
				  v->spec->progress, err, err_size);
		if (ret || !v->has_versions)
			return ret;
		spec.every = NULL;
	}
	ret = film_play(&film, r, s, &spec, err, err_size);
	v->counts->pages = film ? film_pages(film) : 0;
	film_close(film);
	return ret;
}

int verify_run(struct reader *r, const struct state *s, const struct verify_spec *spec,
	       struct verify_counts *counts, char *err, size_t err_size)
{
	struct verify v = {.spec = spec, .counts = counts, .cut = reader_info(r)->truncated};
	u64 bytes = 0; /* those of the index are part of the file */

	*counts = (struct verify_counts){.bytes = reader_info(r)->whole_bytes};
	err[0] = '\0';
	int ret = check_open(&v.check, r, chunk_problem, &v);
	if (!ret)
		ret = check_index(r, false, chunk_problem, &v, &bytes);
	if (!ret)
		ret = play(&v, r, s, err, err_size);
	if (!ret)
		ret = chunks_end(&v);
	if (!ret)
		ret = by_page_check(&v, r);
	check_close(v.check);
	if (ret < 0 && !err[0])
		snprintf(err, err_size, "cannot read the trace: %s", strerror(-ret));
	return ret;
}
