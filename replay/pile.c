/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Collects the newest entries of a window. One counter a byte says how many writers it has; an
 * entry is kept only when some byte still wants it.
 */
#include "pile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PILE_BYTES_MAX (64u << 20)

/* Once every byte has its writers, go on this far for the bytes before them. */
#define OLD_CHUNKS  4
#define OLD_ENTRIES 4096

/* And at least this far for the captures of a transfer. */
#define CAPTURE_ENTRIES 64

#define BLOCK 4096u

struct counts {
	u16 *n;	       /* writers of each byte, up to want + 2 */
	bool *full;    /* one a BLOCK: all its bytes have want + 2 */
	u64 size;      /* bytes of the window */
	unsigned want; /* writers a byte */
	bool alone;    /* no captures can come, and what was before is not told */
	u64 unsatisfied, unsatisfied_old; /* bytes with fewer than want, and than want + 1 */
};

/* End of the part of [from,to) that lies in the block of from. */
static u64 block_end(u64 from, u64 to)
{
	const u64 end = (from / BLOCK + 1) * BLOCK;

	return end < to ? end : to;
}

/* Whether any byte of [from,to) has fewer than `limit` writers. */
static bool counts_below(const struct counts *c, u64 from, u64 to, unsigned limit)
{
	for (u64 i = from, end; i < to; i = end) {
		end = block_end(i, to);
		for (u64 k = i; k < end && !c->full[i / BLOCK]; k++) {
			if (c->n[k] < limit)
				return true;
		}
	}
	return false;
}

/* Blocks that are full are passed over, so that many large transfers cost no more than a few. */
static void counts_add(struct counts *c, u64 from, u64 to)
{
	for (u64 i = from, end; i < to; i = end) {
		bool full = i % BLOCK == 0;

		end = block_end(i, to);
		if (c->full[i / BLOCK])
			continue;
		for (u64 k = i; k < end; k++) {
			if (c->n[k] > c->want + 1)
				continue;
			c->n[k]++;
			c->unsatisfied -= c->n[k] == c->want;
			c->unsatisfied_old -= c->n[k] == c->want + 1;
			full &= c->n[k] == c->want + 2;
		}
		c->full[i / BLOCK] = full && (end % BLOCK == 0 || end == c->size);
	}
}

static int pile_grow(struct pile *p, void **array, size_t *max, size_t n, size_t size)
{
	if (n < *max)
		return 0;
	const size_t wanted = *max ? 2 * *max : 64;
	if (p->bytes + (wanted - *max) * size > PILE_BYTES_MAX)
		return -E2BIG;
	void *bigger = realloc(*array, wanted * size);
	if (!bigger)
		return -ENOMEM;
	p->bytes += (wanted - *max) * size;
	*array = bigger;
	*max = wanted;
	return 0;
}

static int keep_write(struct pile *p, const struct entry *e, size_t *index)
{
	const int err =
		pile_grow(p, (void **)&p->writes, &p->writes_max, p->nwrites, sizeof(*p->writes));
	if (err)
		return err;
	p->writes[p->nwrites] = entry_write(e);
	*index = p->nwrites++;
	return 0;
}

static int keep(struct pile *p, const struct entry *e, u64 gpa, u64 end)
{
	int err = pile_grow(p, (void **)&p->kept, &p->kept_max, p->nkept, sizeof(*p->kept));
	if (err)
		return err;
	struct kept *k = &p->kept[p->nkept];
	*k = (struct kept){
		.kind = e->kind,
		.look = e->look,
		.at = e->at,
		.gpa = gpa,
		.end = end,
		.req = e->req,
	};
	if (entry_is_write(e)) {
		err = keep_write(p, e, &k->write);
		if (err)
			return err;
	}
	if (e->bytes) {
		const size_t size = end - gpa;

		if (p->bytes + size + 32 > PILE_BYTES_MAX)
			return -E2BIG;
		u8 *copy = malloc(size);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, e->bytes + (gpa - e->gpa), size);
		p->bytes += size + 32;
		k->bytes = copy;
	}
	p->nkept++;
	return 0;
}

/* A look that says what the one kept before it said, with nothing in between, is no news. */
static bool look_repeats(const struct pile *p, const struct entry *e, u64 gpa, u64 end)
{
	if (!p->nkept)
		return false;
	const struct kept *last = &p->kept[p->nkept - 1];

	return e->kind == ENTRY_LOOK && last->kind == ENTRY_LOOK && last->gpa == gpa &&
	       last->end == end && e->look == last->look &&
	       !memcmp(last->bytes, e->bytes + (gpa - e->gpa), end - gpa);
}

static int pile_walk(struct pile *p, struct ledger *l, struct counts *c)
{
	u64 entries_after = 0, chunks_done = 0;
	struct entry e;
	int more;

	while ((more = ledger_next(l, &e)) == 1) {
		const u64 gpa = e.gpa > p->gpa ? e.gpa : p->gpa;
		const u64 end = e.end < p->end ? e.end : p->end;
		/* A capture may come after its transfer in this walk. */
		const unsigned limit = c->want + 1 + (e.kind == ENTRY_CAPTURE);

		if (counts_below(c, gpa - p->gpa, end - p->gpa, limit) &&
		    !look_repeats(p, &e, gpa, end)) {
			const int err = keep(p, &e, gpa, end);
			if (err)
				return err;
		}
		if (entry_is_write(&e))
			counts_add(c, gpa - p->gpa, end - p->gpa);
		if (c->unsatisfied)
			continue;
		if (c->alone)
			return 0;
		if (!entries_after++)
			chunks_done = ledger_chunks_read(l);
		if (entries_after > CAPTURE_ENTRIES &&
		    (!c->unsatisfied_old || entries_after > OLD_ENTRIES ||
		     ledger_chunks_read(l) > chunks_done + OLD_CHUNKS))
			return 0;
	}
	return more;
}

static int later_order(const void *a, const void *b)
{
	const struct later *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static int later_add(struct pile *p, u64 gpa, u64 end)
{
	struct later *last = p->nlater ? &p->later[p->nlater - 1] : NULL;

	if (last && last->gpa <= gpa && end <= last->end)
		return 0;
	const int err =
		pile_grow(p, (void **)&p->later, &p->later_max, p->nlater, sizeof(*p->later));
	if (!err)
		p->later[p->nlater++] = (struct later){gpa, end};
	return err;
}

/* Nobody who asks for the end, or where nothing was compared, needs this. */
static int later_collect(struct pile *p, struct reader *r, const struct state *s,
			 const struct query *window)
{
	const struct comparison *c = moment_is_end(window->limit)
					     ? NULL
					     : state_comparison(s, window->gpa, window->limit);
	const struct ledger_spec spec = {.gpa = p->gpa,
					 .end = p->end,
					 .from = window->limit,
					 .limit = c ? c->at : MOMENT_START};
	struct ledger *l = NULL;
	struct entry e;

	if (!c)
		return 0;
	int ret = ledger_open(&l, r, &p->coverage, &spec);
	while (!ret && (ret = ledger_next(l, &e)) == 1) {
		ret = 0;
		if (entry_is_write(&e) &&
		    (e.kind != ENTRY_UNSEEN || e.since_ns < window->limit.t_ns))
			ret = later_add(p, e.gpa > p->gpa ? e.gpa : p->gpa,
					e.end < p->end ? e.end : p->end);
	}
	ledger_close(l);
	if (p->nlater)
		qsort(p->later, p->nlater, sizeof(*p->later), later_order);
	size_t n = 0;
	for (size_t i = 0; i < p->nlater; i++) {
		if (n && p->later[i].gpa <= p->later[n - 1].end) {
			if (p->later[i].end > p->later[n - 1].end)
				p->later[n - 1].end = p->later[i].end;
			continue;
		}
		p->later[n++] = p->later[i];
	}
	p->nlater = n;
	return ret;
}

/* For the walk: words of which some byte still lacks a writer, or the one before it. */
struct wanted {
	const struct pile *pile;
	const struct counts *counts;
};

static bool pile_wants(void *arg, u64 gpa, const u64 *words)
{
	const struct wanted *w = arg;

	for (unsigned i = 0; i < 512; i++) {
		if (!(words[i / 64] >> i % 64 & 1))
			continue;
		const u64 word = gpa + 8 * i;
		const u64 from = word > w->pile->gpa ? word : w->pile->gpa;
		const u64 to = word + 8 < w->pile->end ? word + 8 : w->pile->end;

		if (from < to && counts_below(w->counts, from - w->pile->gpa, to - w->pile->gpa,
					      w->counts->want + !w->counts->alone))
			return true;
	}
	return false;
}

int pile_collect(struct pile *p, struct reader *r, const struct state *s,
		 const struct query *window, char *err, size_t err_size)
{
	*p = (struct pile){.gpa = window->gpa, .end = window->end};
	err[0] = 0;

	struct counts c = {.size = window->end - window->gpa, .want = window->n};
	c.unsatisfied = c.unsatisfied_old = c.size;
	c.alone = s->ncomparisons && !s->ndevices;
	int ret = coverage_clip(&s->coverage, p->gpa, p->end, &p->coverage);
	c.n = calloc(c.size, sizeof(*c.n));
	c.full = calloc(c.size / BLOCK + 1, sizeof(*c.full));
	struct ledger *l = NULL;
	const struct wanted wanted = {p, &c};
	const struct ledger_spec spec = {.gpa = p->gpa,
					 .end = p->end,
					 .limit = window->limit,
					 .backward = true,
					 .wants = pile_wants,
					 .wants_arg = (void *)&wanted};
	if (!ret && (!c.n || !c.full))
		ret = -ENOMEM;
	if (!ret)
		ret = later_collect(p, r, s, window);
	if (!ret)
		ret = ledger_open(&l, r, &p->coverage, &spec);
	if (!ret) {
		ret = pile_walk(p, l, &c);
		p->chunks_read = ledger_chunks_read(l);
		if (ret == -EBADMSG)
			snprintf(err, err_size, "%s", ledger_message(l));
	}
	if (ret && !err[0])
		snprintf(err, err_size, "cannot read the trace: %s", strerror(-ret));
	ledger_close(l);
	free(c.n);
	free(c.full);
	return ret;
}

void pile_free(struct pile *p)
{
	for (size_t i = 0; i < p->nkept; i++)
		free((void *)p->kept[i].bytes);
	free(p->kept);
	free(p->writes);
	free(p->later);
	coverage_free(&p->coverage);
	*p = (struct pile){0};
}

static int u64_order(const void *a, const void *b)
{
	const u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

int pile_cuts(const struct pile *p, const struct state *s, u64 **out, size_t *n)
{
	const size_t max = 2 * (1 + p->nkept + p->coverage.ncovers + p->coverage.nlosses +
				s->nrings + s->ncomparisons + p->nlater);
	u64 *cuts = malloc(max * sizeof(*cuts));
	size_t count = 0;

	if (!cuts)
		return -ENOMEM;
	cuts[count++] = p->gpa;
	cuts[count++] = p->end;
	for (size_t i = 0; i < p->nkept; i++) {
		cuts[count++] = p->kept[i].gpa;
		cuts[count++] = p->kept[i].end;
	}
	for (size_t i = 0; i < p->coverage.ncovers; i++) {
		cuts[count++] = p->coverage.covers[i].gpa;
		cuts[count++] = p->coverage.covers[i].end;
	}
	for (size_t i = 0; i < p->coverage.nlosses; i++) {
		cuts[count++] = p->coverage.losses[i].gpa;
		cuts[count++] = p->coverage.losses[i].end;
	}
	for (size_t i = 0; i < s->nrings; i++) {
		cuts[count++] = s->rings[i].gpa;
		cuts[count++] = s->rings[i].end;
	}
	for (size_t i = 0; i < s->ncomparisons; i++) {
		cuts[count++] = s->comparisons[i].gpa;
		cuts[count++] = s->comparisons[i].end;
	}
	for (size_t i = 0; i < p->nlater; i++) {
		cuts[count++] = p->later[i].gpa;
		cuts[count++] = p->later[i].end;
	}
	qsort(cuts, count, sizeof(*cuts), u64_order);

	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (cuts[i] < p->gpa || cuts[i] > p->end || (kept && cuts[kept - 1] == cuts[i]))
			continue;
		cuts[kept++] = cuts[i];
	}
	*out = cuts;
	*n = kept;
	return 0;
}
