// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Columns into events: the mirror of encode.c, with every count and length checked.
 */
#include "decode.h"

#include <errno.h>
#include <stdlib.h>

#include "model.h"

enum head_column { HEAD_KIND, HEAD_SEQ, HEAD_TID, HEAD_TSEQ, HEAD_VCPU, HEAD_BOOT, HEAD_COLUMNS };

#define KINDS_MAX 64 /* in one chunk */

/* What stands before each event in struct decoded. */
struct record {
	u64 seq;
	u64 blob_off; /* in raw */
	u8 event[];
};

struct kind_reader {
	struct model model;
	bool made, here; /* model was made; the chunk has this kind */
	u32 at, n;
	u32 ncolumns; /* in the file, of those known */
	u32 next;     /* event with a miss in any column but the site's: the least of */
	u32 nexts[MODEL_COLUMNS];
	struct column_reader site;
	struct column_reader columns[MODEL_COLUMNS];
};

struct decoder {
	struct model_head head;
	struct column_reader columns[HEAD_COLUMNS];
	struct step_reader steps;
	struct kind_reader *kinds[MODEL_KINDS];
	const char *why;
};

static const struct column_reader column_none = {.next = UINT32_MAX};

int decoder_open(struct decoder **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

static void kind_free(struct kind_reader *kr)
{
	if (!kr)
		return;
	model_free(&kr->model);
	free(kr);
}

void decoder_close(struct decoder *d)
{
	if (!d)
		return;
	for (unsigned k = 0; k < MODEL_KINDS; k++)
		kind_free(d->kinds[k]);
	free(d);
}

static int bad(struct decoder *d, const char *why)
{
	d->why = why;
	return -EBADMSG;
}

static struct kind_reader *kind_reader(struct decoder *d, unsigned kind, bool has_site)
{
	struct kind_reader *kr = d->kinds[kind];

	/* What an unknown kind is like may change from chunk to chunk. */
	if (kr && !kr->model.plan.desc && has_site != (kr->model.nslots > 1)) {
		kind_free(kr);
		d->kinds[kind] = kr = NULL;
	}
	if (kr)
		return kr;
	kr = calloc(1, sizeof(*kr));
	if (!kr || model_init(&kr->model, kind, has_site)) {
		free(kr);
		return NULL;
	}
	d->kinds[kind] = kr;
	return kr;
}

/* Parses a kind's columns: those known by the table, then any that a later version added. */
static int columns_open(struct decoder *d, unsigned kind, u32 n, u64 ncolumns, struct span fields,
			struct span *literals)
{
	struct column_reader columns[MODEL_COLUMNS], site = column_none;
	bool has_site = false;

	for (u64 i = 0; i < ncolumns; i++) {
		struct column_reader extra = column_none,
				     *c = i < MODEL_COLUMNS ? &columns[i] : &extra;

		if (!column_open(c, &fields, n))
			return bad(d, "a column is malformed");
		const u8 *bytes = span_take(literals, c->nliterals);

		if (!bytes)
			return bad(d, "a column has too few literals");
		c->literals = span_of(bytes, c->nliterals);
		if (c->form == COLUMN_SITE) {
			if (has_site)
				return bad(d, "a kind has two site columns");
			has_site = true;
			site = *c;
		}
	}
	if (span_left(&fields))
		return bad(d, "a kind is longer than its columns");
	struct kind_reader *kr = kind_reader(d, kind, has_site);

	if (!kr)
		return -ENOMEM;
	const struct model_plan *plan = &kr->model.plan;

	if (plan->desc && plan->site < 0 && has_site)
		return bad(d, "a site column is out of place");
	kr->ncolumns = ncolumns < plan->ncolumns ? (u32)ncolumns : plan->ncolumns;
	kr->site = site;
	kr->at = 0;
	kr->n = n;
	kr->here = true;
	for (u32 i = 0; i < kr->ncolumns; i++) {
		if (columns[i].form != plan->columns[i].form)
			return bad(d, "a column has the wrong form");
		kr->columns[i] = columns[i];
	}
	for (u32 i = kr->ncolumns; i < plan->ncolumns; i++) {
		kr->columns[i] = column_none;
		if ((int)i == plan->site && has_site)
			return bad(d, "a site column is out of place");
	}
	kr->model.generation = d->head.generation;
	kr->model.last = NULL;
	kr->model.rip = 0;
	return 0;
}

static void nexts_begin(struct kind_reader *kr)
{
	kr->next = UINT32_MAX;
	for (u32 i = 0; i < MODEL_COLUMNS; i++) {
		const bool used = i < kr->ncolumns && (int)i != kr->model.plan.site;

		kr->nexts[i] = used ? kr->columns[i].next : UINT32_MAX;
		if (kr->nexts[i] < kr->next)
			kr->next = kr->nexts[i];
	}
}

static int kinds_open(struct decoder *d, struct span *fields, struct span literals, u32 events)
{
	const u64 nkinds = span_varint(fields);
	u64 before = 0, sum = 0;

	if (nkinds > KINDS_MAX)
		return bad(d, "too many kinds");
	for (u64 i = 0; i < nkinds; i++) {
		const u64 kind = span_varint(fields), n = span_varint(fields);
		const u64 ncolumns = span_varint(fields), size = span_varint(fields);
		const u64 nliterals = span_varint(fields);
		const u8 *section = span_take(fields, size);
		const u8 *bytes = span_take(&literals, nliterals);

		if (!section || !bytes || kind <= before || kind >= MODEL_KINDS || n == 0 ||
		    n > events - sum)
			return bad(d, "a kind's columns are malformed");
		struct span own = span_of(bytes, nliterals);
		const int err = columns_open(d, (unsigned)kind, (u32)n, ncolumns,
					     span_of(section, size), &own);

		if (err)
			return err;
		nexts_begin(d->kinds[kind]);
		before = kind;
		sum += n;
	}
	if (fields->bad || span_left(fields) || sum != events)
		return bad(d, "the kinds do not add up");
	return 0;
}

static inline u64 number_take(struct column_reader *c, u32 at, u64 predicted, unsigned width)
{
	if (c->next == at)
		predicted += unzigzag(column_take(c));
	return predicted & bytes_mask(width);
}

static int column_get(struct decoder *d, struct kind_reader *kr, u32 index, struct site *site,
		      u8 *event)
{
	const struct model_plan *plan = &kr->model.plan;
	const struct model_column *c = &plan->columns[index];
	struct column_reader *in = &kr->columns[index];
	struct model_stride *stride = c->stride ? &site->strides[plan->stride_of[index]] : NULL;
	/* The count comes earlier in the event: the site has the new one already. */
	const unsigned width = model_width(c, model_count(c, site->event));
	u64 v = model_predict(c, site, stride, width);

	if (kr->nexts[index] == kr->at) {
		if (c->form == COLUMN_WORD) {
			const u8 *bytes = column_take_bytes(in, width);

			if (!bytes)
				return bad(d, "literals ran out");
			v = load_le(bytes, width);
		} else {
			v = (v + unzigzag(column_take(in))) & bytes_mask(c->width);
		}
		if (width == 0 && v)
			return bad(d, "a value past the end of its array");
		kr->nexts[index] = in->next;
		if (in->next < kr->next)
			kr->next = in->next;
	}
	model_set(c, site, stride, v);
	store_le(event + c->off, v, c->width);
	return 0;
}

/* Columns (bit 1 << column) of the next event that were not as predicted; kr->next becomes the next
 * miss of the others. */
static u64 columns_missed(struct kind_reader *kr)
{
	const u32 at = kr->at;
	u32 next = UINT32_MAX;
	u64 missed = 0;

	for (u32 i = 0; i < kr->ncolumns; i++) {
		const u32 column_next = kr->nexts[i];

		if (column_next == at)
			missed |= 1ull << i;
		else if (column_next < next)
			next = column_next;
	}
	kr->next = next;
	return missed;
}

/* The site's last event becomes the next one, and `event` too. (To copy it after the change would
 * wait for the stores.) */
static int body_get(struct decoder *d, struct kind_reader *kr, struct site *site, u64 rip,
		    u8 *event)
{
	const struct model_plan *plan = &kr->model.plan;
	u64 todo = plan->stride_columns;
	int err = 0;

	memcpy(event, site->event, plan->stored);
	if (kr->at == kr->next)
		todo |= columns_missed(kr);
	/* Arrays of another length: what is past their end becomes zero. */
	const bool recount = todo & plan->count_columns;

	if (recount)
		todo = ~0ull >> (64 - plan->ncolumns) & ~(plan->site >= 0 ? 1ull << plan->site : 0);
	if (plan->blob >= 0)
		todo &= ~(1ull << plan->blob);
	for (; todo && !err; todo &= todo - 1)
		err = column_get(d, kr, (u32)__builtin_ctzll(todo), site, event);
	if (err)
		return err;
	if (recount && !model_counts_valid(plan, site->event))
		return bad(d, "a count exceeds its array");
	if (plan->site >= 0)
		store_le(event + plan->columns[plan->site].off, rip, 8);
	return 0;
}

/* Moves d->head to the next event. */
static int head_get(struct decoder *d, u32 at)
{
	struct model_head *h = &d->head;
	const u32 generation = h->generation;
	const bool known = h->follow[h->kind].generation == generation;
	const u64 kind = number_take(&d->columns[HEAD_KIND], at,
				     known ? h->follow[h->kind].kind : h->kind, 2);

	if (kind >= MODEL_KINDS || !d->kinds[kind] || !d->kinds[kind]->here ||
	    d->kinds[kind]->at >= d->kinds[kind]->n)
		return bad(d, "an event of a kind that has no more columns");
	h->follow[h->kind].kind = (u16)kind;
	h->follow[h->kind].generation = generation;
	h->kind = (u16)kind;
	const u64 seq = number_take(&d->columns[HEAD_SEQ], at, h->seq + 1, 8);

	if (seq <= h->seq)
		return bad(d, "sequence numbers do not rise");
	h->seq = seq;
	h->tid = (u32)number_take(&d->columns[HEAD_TID], at, h->tid, 4);
	struct model_thread *t = model_thread(h, h->tid);
	const bool met = t->generation == generation;

	h->tseq = (u32)number_take(&d->columns[HEAD_TSEQ], at, (met ? t->tseq : h->tseq) + 1, 4);
	h->vcpu = (u16)number_take(&d->columns[HEAD_VCPU], at, met ? t->vcpu : h->vcpu, 2);
	h->boot = (u32)number_take(&d->columns[HEAD_BOOT], at, h->boot, 4);
	t->generation = generation;
	t->tseq = h->tseq;
	t->vcpu = h->vcpu;
	return 0;
}

static int blob_get(struct decoder *d, struct kind_reader *kr, struct record *r,
		    const struct buf *raw)
{
	const struct model_plan *plan = &kr->model.plan;

	r->blob_off = 0;
	if (plan->blob < 0 || (u32)plan->blob >= kr->ncolumns)
		return 0;
	const u8 *bytes = column_take_bytes(&kr->columns[plan->blob],
					    model_count(&plan->columns[plan->blob], r->event));

	if (!bytes)
		return bad(d, "a blob's bytes ran out");
	r->blob_off = (u64)(bytes - raw->data);
	return 0;
}

static int event_get(struct decoder *d, u32 at, struct decoded *out)
{
	int err = head_get(d, at);

	if (err)
		return err;
	const struct model_head *h = &d->head;
	struct kind_reader *kr = d->kinds[h->kind];
	const struct model_plan *plan = &kr->model.plan;
	const size_t size = sizeof(struct record) + ((plan->stored + 7) & ~7u);
	u64 rip = 0;

	if (kr->model.follow) {
		rip = number_take(&kr->site, kr->at, model_rip_predict(&kr->model), 8);
		model_rip_update(&kr->model, rip);
	}
	struct site *site = model_site(&kr->model, rip);

	if (!buf_reserve(&out->records, size))
		return -ENOMEM;
	struct record *r = (struct record *)(out->records.data + out->records.len);
	struct event *ev = (struct event *)r->event;

	if (plan->desc && (err = body_get(d, kr, site, rip, r->event)))
		return err;
	d->head.t_ns += step_take(&d->steps, &site->step);
	if (d->steps.bad)
		return bad(d, "times ran out");
	if (!plan->desc) {
		out->nunknown++;
		kr->at++;
		return 0;
	}
	r->seq = h->seq;
	ev->t_ns = h->t_ns;
	ev->tid = h->tid;
	ev->tseq = h->tseq;
	ev->kind = h->kind;
	ev->vcpu = h->vcpu;
	ev->boot = h->boot;
	err = blob_get(d, kr, r, &out->raw);
	if (err)
		return err;
	out->offs[out->n++] = (u32)out->records.len;
	out->records.len += size;
	kr->at++;
	return 0;
}

static int body_open(struct decoder *d, const struct span blocks[BLOCKS], u32 events, u64 seq_first)
{
	struct span fields = blocks[BLOCK_FIELDS];

	d->head.generation++;
	d->head.tid = d->head.tseq = d->head.boot = 0;
	d->head.kind = d->head.vcpu = 0;
	d->head.t_ns = 0;
	d->head.seq = seq_first - 1;
	for (unsigned k = 0; k < MODEL_KINDS; k++)
		if (d->kinds[k])
			d->kinds[k]->here = false;
	for (unsigned i = 0; i < HEAD_COLUMNS; i++)
		if (!column_open(&d->columns[i], &fields, events) ||
		    d->columns[i].form != COLUMN_NUMBER)
			return bad(d, "a column of the header is malformed");
	d->steps = (struct step_reader){.bits = blocks[BLOCK_BITS]};
	for (unsigned i = 0; i < STEP_CLASSES; i++)
		d->steps.tokens[i] = blocks[BLOCK_TOKENS + i];
	return kinds_open(d, &fields, blocks[BLOCK_LITERALS], events);
}

int decoder_run(struct decoder *d, const struct span blocks[BLOCKS], u32 events, u64 seq_first,
		struct decoded *out, const char **why)
{
	out->n = out->nunknown = 0;
	out->records.len = 0;
	*why = "an events chunk has no events, or too many";
	if (events == 0 || events > DECODE_EVENTS || seq_first == 0)
		return -EBADMSG;
	u32 *offs = realloc(out->offs, events * sizeof(*offs));

	if (!offs)
		return -ENOMEM;
	out->offs = offs;
	int err = body_open(d, blocks, events, seq_first);

	for (u32 i = 0; !err && i < events; i++)
		err = event_get(d, i, out);
	*why = d->why;
	out->seq_last = d->head.seq;
	if (err)
		out->n = 0;
	return err;
}

static const struct record *record_at(const struct decoded *d, u32 i)
{
	return (const struct record *)(d->records.data + d->offs[i]);
}

u64 decoded_seq(const struct decoded *d, u32 i)
{
	return record_at(d, i)->seq;
}

const struct event *decoded_peek(const struct decoded *d, u32 i)
{
	return (const struct event *)record_at(d, i)->event;
}

const struct event *decoded_event(const struct decoded *d, u32 i, void *scratch)
{
	const struct record *r = record_at(d, i);
	const struct event *ev = (const struct event *)r->event;
	const struct event_desc *desc = event_desc(ev->kind);
	const struct field_desc *last = &desc->fields[desc->nfields - 1];

	if (last->codec != CODEC_BLOB)
		return ev;
	const struct field_desc *count = &desc->fields[last->count];
	const size_t n = r->blob_off ? load_le(r->event + count->off, count->width) : 0;

	memcpy(scratch, r->event, last->off);
	memset((u8 *)scratch + last->off, 0, desc->size - last->off);
	if (n)
		memcpy((u8 *)scratch + last->off, d->raw.data + r->blob_off, n);
	return scratch;
}

void decoded_free(struct decoded *d)
{
	free(d->offs);
	buf_free(&d->records);
	buf_free(&d->raw);
	*d = (struct decoded){0};
}

size_t event_size_max(void)
{
	size_t size = 0;

	for (unsigned k = 0; k < EVENT_MAX; k++) {
		const struct event_desc *desc = event_desc(k);

		if (desc && desc->size > size)
			size = desc->size;
	}
	return size;
}
