// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Columns: runs of hits and misses, and the misses in byte planes.
 */
#include "column.h"

/* So few hits between two misses cost less as misses of 0 than as a run of their own. */
#define FILL_HITS 2

static void run_close(struct column_writer *c)
{
	buf_varint(&c->pairs, c->hits);
	buf_varint(&c->pairs, c->misses);
	c->npairs++;
}

static void run_extend(struct column_writer *c, u32 at)
{
	if (c->misses == 0) {
		c->hits = at;
	} else if (at != c->next) {
		run_close(c);
		c->hits = at - c->next;
		c->misses = 0;
	}
	c->misses++;
	c->next = at + 1;
}

void column_miss(struct column_writer *c, u32 at, u64 z)
{
	static const u64 zero;

	while (c->misses && at != c->next && at - c->next <= FILL_HITS) {
		buf_put(&c->values, &zero, sizeof(zero));
		run_extend(c, c->next);
	}
	buf_put(&c->values, &z, sizeof(z));
	run_extend(c, at);
	if (z > c->max)
		c->max = z;
}

void column_miss_bytes(struct column_writer *c, u32 at, const void *bytes, size_t n)
{
	buf_put(&c->values, bytes, n);
	if (c->form != COLUMN_BLOB)
		run_extend(c, at);
}

static void planes_put(const struct column_writer *c, struct buf *out)
{
	const size_t n = c->values.len / sizeof(u64);
	unsigned planes = 1;

	while (planes < 8 && c->max >> (8 * planes))
		planes++;
	buf_u8(out, (u8)planes);
	if (!buf_reserve(out, planes * n))
		return;
	for (unsigned p = 0; p < planes; p++)
		for (size_t i = 0; i < n; i++)
			out->data[out->len++] = c->values.data[i * sizeof(u64) + p];
}

void column_flush(struct column_writer *c, struct buf *fields, struct buf *literals)
{
	buf_u8(fields, (u8)c->form);
	if (c->form != COLUMN_BLOB) {
		if (c->misses)
			run_close(c);
		buf_varint(fields, c->npairs);
		buf_put(fields, c->pairs.data, c->pairs.len);
	}
	if (c->form == COLUMN_BLOB || c->form == COLUMN_WORD) {
		buf_varint(fields, c->values.len);
		buf_put(literals, c->values.data, c->values.len);
	} else if (c->npairs) {
		planes_put(c, fields);
	}
	if (c->pairs.failed || c->values.failed)
		fields->failed = true;
	c->npairs = c->next = c->hits = c->misses = 0;
	c->max = 0;
	c->pairs.len = c->values.len = 0;
}

void column_writer_free(struct column_writer *c)
{
	buf_free(&c->pairs);
	buf_free(&c->values);
}

/* Moves to the next run of misses. The pairs were checked by column_open(). */
static void run_next(struct column_reader *c, u32 from)
{
	if (c->npairs == 0) {
		c->next = UINT32_MAX;
		return;
	}
	c->npairs--;
	c->next = from + (u32)span_varint(&c->pairs);
	c->left = (u32)span_varint(&c->pairs);
}

bool column_open(struct column_reader *c, struct span *fields, u32 n)
{
	u64 events = 0, misses = 0;

	*c = (struct column_reader){.form = span_u8(fields), .next = UINT32_MAX};
	if (c->form > COLUMN_SITE)
		return false;
	if (c->form == COLUMN_BLOB) {
		c->nliterals = span_varint(fields);
		return !fields->bad;
	}
	const u64 npairs = span_varint(fields);

	if (npairs > n)
		return false;
	c->npairs = (u32)npairs;
	c->pairs.p = fields->p;
	for (u32 i = 0; i < c->npairs; i++) {
		const u64 hits = span_varint(fields), miss = span_varint(fields);

		if (fields->bad || miss == 0 || hits > n - events || miss > n - events - hits)
			return false;
		events += hits + miss;
		misses += miss;
	}
	c->pairs.end = fields->p;
	c->nmiss = (u32)misses;
	if (c->form == COLUMN_WORD) {
		c->nliterals = span_varint(fields);
	} else if (misses) {
		c->nplanes = span_u8(fields);
		if (c->nplanes < 1 || c->nplanes > 8)
			return false;
		c->planes = span_take(fields, c->nplanes * misses);
	}
	if (fields->bad)
		return false;
	run_next(c, 0);
	return true;
}

static void miss_step(struct column_reader *c)
{
	c->at++;
	if (--c->left)
		c->next++;
	else
		run_next(c, c->next + 1);
}

u64 column_take(struct column_reader *c)
{
	const u8 *p = c->planes + c->at;
	u64 z = 0;

	for (unsigned i = 0; i < c->nplanes; i++, p += c->nmiss)
		z |= (u64)*p << (8 * i);
	miss_step(c);
	return z;
}

const u8 *column_take_bytes(struct column_reader *c, size_t n)
{
	if (c->form != COLUMN_BLOB)
		miss_step(c);
	return span_take(&c->literals, n);
}
