// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Events into columns. The common event, all of it as predicted, costs one copy, one comparison and
 * the token of its time.
 */
#include "encode.h"

#include <errno.h>
#include <stdlib.h>

#include "model.h"

/* Columns of the header, in the order of the file. Times are not a column. */
enum head_column { HEAD_KIND, HEAD_SEQ, HEAD_TID, HEAD_TSEQ, HEAD_VCPU, HEAD_BOOT, HEAD_COLUMNS };

struct kind_writer {
	struct model model;
	u32 n;
	struct column_writer columns[MODEL_COLUMNS];
};

struct encoder {
	u32 n;
	size_t size;
	struct model_head head;
	struct column_writer columns[HEAD_COLUMNS];
	struct step_writer steps;
	struct kind_writer *kinds[EVENT_MAX];
	struct buf fields, literals;
};

/* What a miss takes at most: a pair, eight planes, and the hits before it filled in. */
#define MISS_BYTES 40

int encoder_open(struct encoder **out)
{
	struct encoder *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->head.generation = 1;
	*out = e;
	return 0;
}

void encoder_close(struct encoder *e)
{
	if (!e)
		return;
	for (unsigned k = 0; k < EVENT_MAX; k++) {
		struct kind_writer *kw = e->kinds[k];

		if (!kw)
			continue;
		for (unsigned i = 0; i < MODEL_COLUMNS; i++)
			column_writer_free(&kw->columns[i]);
		model_free(&kw->model);
		free(kw);
	}
	for (unsigned i = 0; i < HEAD_COLUMNS; i++)
		column_writer_free(&e->columns[i]);
	step_writer_free(&e->steps);
	buf_free(&e->fields);
	buf_free(&e->literals);
	free(e);
}

static struct kind_writer *kind_writer(struct encoder *e, unsigned kind)
{
	if (kind >= EVENT_MAX || !event_desc(kind))
		return NULL;
	if (e->kinds[kind])
		return e->kinds[kind];
	struct kind_writer *kw = calloc(1, sizeof(*kw));

	if (!kw || model_init(&kw->model, kind, false)) {
		free(kw);
		return NULL;
	}
	for (u32 i = 0; i < kw->model.plan.ncolumns; i++)
		kw->columns[i].form = kw->model.plan.columns[i].form;
	kw->model.generation = e->head.generation;
	e->kinds[kind] = kw;
	return kw;
}

/* v, which is not as predicted, as a number of `width` bytes. */
static void number_miss(struct encoder *e, struct column_writer *c, u32 at, u64 diff,
			unsigned width)
{
	const unsigned shift = 64 - 8 * width;

	column_miss(c, at, zigzag((u64)((s64)(diff << shift) >> shift)));
	e->size += MISS_BYTES;
}

static inline void number_put(struct encoder *e, struct column_writer *c, u32 at, u64 v,
			      u64 predicted, unsigned width)
{
	const u64 diff = (v - predicted) & bytes_mask(width);

	if (diff)
		number_miss(e, c, at, diff, width);
}

/* Which columns (bit 1 << column) are not as the site predicts. Right unless a column that counts
 * is among them: then the arrays have another length, and every column is to be looked at. */
static u64 columns_missed(const struct model_plan *plan, const struct site *site, const u8 *event)
{
	u64 guess[MODEL_WORDS], missed = 0;

	memcpy(guess, site->event, plan->stored);
	for (u32 i = 0; i < plan->nstrides; i++) {
		const struct model_column *c = &plan->columns[plan->strides[i]];
		const unsigned width = model_width(c, model_count(c, site->event));

		store_le((u8 *)guess + c->off, model_predict(c, site, &site->strides[i], width),
			 c->width);
	}
	/* A structure ends on eight bytes; one with a blob may not, and is looked at by bytes. */
	const u32 whole = plan->stored / 8, rest = plan->stored % 8;

	for (u32 i = sizeof(struct event) / 8; i < whole; i++)
		if (load_le(event + 8 * i, 8) != guess[i])
			missed |= plan->word_columns[i];
	if (rest && memcmp(event + 8 * whole, &guess[whole], rest) != 0)
		missed |= plan->word_columns[whole];
	return missed;
}

static void column_put(struct encoder *e, struct kind_writer *kw, u32 index, struct site *site,
		       const u8 *event)
{
	const struct model_plan *plan = &kw->model.plan;
	const struct model_column *c = &plan->columns[index];
	struct model_stride *stride = c->stride ? &site->strides[plan->stride_of[index]] : NULL;
	const unsigned width = model_width(c, model_count(c, event));
	const u64 v = width ? load_le(event + c->off, width) : 0;
	const u64 guess = model_predict(c, site, stride, width);

	if (c->form == COLUMN_WORD && v != guess) {
		column_miss_bytes(&kw->columns[index], kw->n, event + c->off, width);
		e->size += MISS_BYTES;
	} else if (c->form == COLUMN_NUMBER) {
		number_put(e, &kw->columns[index], kw->n, v, guess, c->width);
	}
	model_set(c, site, stride, v);
}

static void body_put(struct encoder *e, struct kind_writer *kw, struct site *site, const u8 *event)
{
	const struct model_plan *plan = &kw->model.plan;
	u64 todo = columns_missed(plan, site, event);

	if (todo & plan->count_columns)
		todo = ~0ull >> (64 - plan->ncolumns);
	else
		todo |= plan->stride_columns;
	if (plan->site >= 0)
		todo &= ~(1ull << plan->site);
	if (plan->blob >= 0)
		todo &= ~(1ull << plan->blob);
	for (; todo; todo &= todo - 1)
		column_put(e, kw, (u32)__builtin_ctzll(todo), site, event);
}

static void blob_put(struct encoder *e, struct kind_writer *kw, const u8 *event)
{
	const struct model_plan *plan = &kw->model.plan;
	const struct model_column *c = &plan->columns[plan->blob];
	const u64 n = model_count(c, event);

	column_miss_bytes(&kw->columns[plan->blob], kw->n, event + c->off, n);
	e->size += n;
}

static void head_put(struct encoder *e, const struct event *ev, u64 seq)
{
	struct model_head *h = &e->head;
	const u32 n = e->n, generation = h->generation;
	const bool known = h->follow[h->kind].generation == generation;

	number_put(e, &e->columns[HEAD_KIND], n, ev->kind,
		   known ? h->follow[h->kind].kind : h->kind, 2);
	h->follow[h->kind].kind = ev->kind;
	h->follow[h->kind].generation = generation;
	h->kind = ev->kind;
	number_put(e, &e->columns[HEAD_SEQ], n, seq, n ? h->seq + 1 : seq, 8);
	h->seq = seq;
	number_put(e, &e->columns[HEAD_TID], n, ev->tid, h->tid, 4);
	h->tid = ev->tid;
	struct model_thread *t = model_thread(h, ev->tid);
	const bool met = t->generation == generation;

	number_put(e, &e->columns[HEAD_TSEQ], n, ev->tseq, (met ? t->tseq : h->tseq) + 1, 4);
	number_put(e, &e->columns[HEAD_VCPU], n, ev->vcpu, met ? t->vcpu : h->vcpu, 2);
	number_put(e, &e->columns[HEAD_BOOT], n, ev->boot, h->boot, 4);
	*t = (struct model_thread){generation, ev->tseq, ev->vcpu};
	h->tseq = ev->tseq;
	h->vcpu = ev->vcpu;
	h->boot = ev->boot;
}

int encoder_put(struct encoder *e, const struct event *ev, u64 seq)
{
	const u8 *event = (const u8 *)ev;
	struct kind_writer *kw = kind_writer(e, ev->kind);

	if (!kw)
		return event_desc(ev->kind) ? -ENOMEM : -EINVAL;
	struct model *m = &kw->model;
	u64 rip = 0;

	if (!model_counts_valid(&m->plan, event))
		return -EINVAL;
	if (m->plan.site >= 0) {
		rip = load_le(event + m->plan.columns[m->plan.site].off, 8);
		number_put(e, &kw->columns[m->plan.site], kw->n, rip, model_rip_predict(m), 8);
		model_rip_update(m, rip);
	}
	struct site *site = model_site(m, rip);

	body_put(e, kw, site, event);
	if (m->plan.blob >= 0)
		blob_put(e, kw, event);
	head_put(e, ev, seq);
	step_put(&e->steps, &site->step, ev->t_ns - e->head.t_ns);
	e->head.t_ns = ev->t_ns;
	e->size += 10;
	kw->n++;
	e->n++;
	return 0;
}

size_t encoder_size(const struct encoder *e)
{
	return e->size + 64 * 1024;
}

u32 encoder_events(const struct encoder *e)
{
	return e->n;
}

/* A kind's columns, behind how long they are, so that a reader may step over them. */
static void kind_flush(struct encoder *e, struct kind_writer *kw, unsigned kind)
{
	struct buf section = {0};
	const size_t literals = e->literals.len;

	for (u32 i = 0; i < kw->model.plan.ncolumns; i++)
		column_flush(&kw->columns[i], &section, &e->literals);
	buf_varint(&e->fields, kind);
	buf_varint(&e->fields, kw->n);
	buf_varint(&e->fields, kw->model.plan.ncolumns);
	buf_varint(&e->fields, section.len);
	buf_varint(&e->fields, e->literals.len - literals);
	buf_put(&e->fields, section.data, section.len);
	if (section.failed)
		e->fields.failed = true;
	buf_free(&section);
}

int encoder_seal(struct encoder *e, const struct buf *blocks[BLOCKS])
{
	unsigned nkinds = 0;
	bool failed = false;

	for (unsigned i = 0; i < HEAD_COLUMNS; i++)
		column_flush(&e->columns[i], &e->fields, &e->literals);
	for (unsigned k = 0; k < EVENT_MAX; k++)
		nkinds += e->kinds[k] && e->kinds[k]->n;
	buf_varint(&e->fields, nkinds);
	for (unsigned k = 0; k < EVENT_MAX; k++)
		if (e->kinds[k] && e->kinds[k]->n)
			kind_flush(e, e->kinds[k], k);
	step_flush(&e->steps);
	blocks[BLOCK_FIELDS] = &e->fields;
	blocks[BLOCK_LITERALS] = &e->literals;
	blocks[BLOCK_BITS] = &e->steps.bits;
	for (unsigned i = 0; i < STEP_CLASSES; i++)
		blocks[BLOCK_TOKENS + i] = &e->steps.tokens[i];
	for (unsigned i = 0; i < BLOCKS; i++)
		failed |= blocks[i]->failed;
	return failed ? -ENOMEM : 0;
}

void encoder_reset(struct encoder *e)
{
	const u32 generation = e->head.generation + 1;

	e->n = 0;
	e->size = 0;
	e->fields.len = e->literals.len = 0;
	step_writer_reset(&e->steps);
	e->head.generation = generation;
	e->head.tid = e->head.tseq = e->head.boot = 0;
	e->head.kind = e->head.vcpu = 0;
	e->head.seq = e->head.t_ns = 0;
	for (unsigned k = 0; k < EVENT_MAX; k++) {
		struct kind_writer *kw = e->kinds[k];

		if (!kw)
			continue;
		kw->n = 0;
		kw->model.generation = generation;
		kw->model.last = NULL;
		kw->model.rip = 0;
	}
}
