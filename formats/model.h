/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the encoder and the decoder of a chunk know alike: the columns of each kind, and what each
 * field of the next event is predicted to be.
 *
 * A site is a slot, chosen by a hash of the event's `rip` (kinds without one have a single site).
 * It holds the last event there, the steps of its STRIDE fields and of its time. Two rips that
 * share a slot share a site: that costs some bytes and nothing else. A site first met in a chunk
 * starts as a copy of the site of the kind's previous event, but for the steps of its STRIDE
 * fields, which are 0.
 */
#ifndef VMBLAME_MODEL_H
#define VMBLAME_MODEL_H

#include "column.h"
#include "desc.h"
#include "step.h"

#define MODEL_KINDS   256 /* kinds are below this */
#define MODEL_SLOTS   4096
#define MODEL_COLUMNS 64 /* of one kind, at most */
#define MODEL_STRIDES 4	 /* among them */
#define MODEL_COUNTS  4
#define MODEL_WORDS   64 /* of eight bytes, in a structure without its blob, at most */
#define MODEL_THREADS 256

struct model_column {
	const struct field_desc *field;
	enum column_form form;
	bool stride;
	u8 width;	/* bytes: of a number, or of this word */
	u16 index;	/* in an array: the element, of bytes the first one */
	u16 off;	/* in the structure */
	u16 count_off;	/* of the field that counts the array */
	u8 count_width; /* of that field; 0 for one value */
};

/* The columns of a kind; const once made. */
struct model_plan {
	const struct event_desc *desc;
	u32 ncolumns;
	u32 stored; /* bytes of the structure before the blob: what a site and a decoded chunk keep
		     */
	int site;   /* column of the rip, -1 */
	int blob;   /* column of the blob, -1 */
	u32 nstrides, ncounts;
	u8 strides[MODEL_STRIDES];
	u8 counts[MODEL_COUNTS]; /* fields that are arrays */
	struct model_column columns[MODEL_COLUMNS];
	u64 stride_columns, count_columns; /* bit 1 << column: those that are strides, or count */
	u64 word_columns[MODEL_WORDS]; /* by the eight bytes of the structure: columns in them */
	u8 stride_of[MODEL_COLUMNS];   /* index of a stride column among the strides */
};

struct model_stride {
	u64 step, candidate;
};

struct site {
	u32 generation; /* of the chunk that it belongs to */
	struct step step;
	struct model_stride strides[MODEL_STRIDES];
	u8 event[]; /* plan->stored bytes; the header's are not used */
};

/* The sites of one kind, kept from chunk to chunk: a new generation empties them. */
struct model {
	struct model_plan plan;
	u32 generation;
	u32 nslots;
	size_t site_size;
	u8 *sites;
	struct site *last; /* of the previous event of this kind in the chunk, or NULL */
	u64 rip;	   /* of the previous event, 0 at first */
	struct {
		u64 rip;
		u32 generation;
	} * follow; /* by the slot of a rip: what followed it; NULL for kinds without */
};

/* Header fields that are predicted from the thread's last event. */
struct model_thread {
	u32 generation;
	u32 tseq;
	u16 vcpu;
};

struct model_head {
	u32 generation;
	u32 tid, tseq, boot;
	u16 kind, vcpu;
	u64 seq, t_ns;
	struct {
		u32 generation;
		u16 kind;
	} follow[MODEL_KINDS];
	struct model_thread threads[MODEL_THREADS];
};

/* The columns of a kind that is in the table. */
void model_plan_make(struct model_plan *plan, unsigned kind);

/* Allocates the sites of a kind; `kind` may be one that is not in the table, with a site column
 * when has_site. 0 or -ENOMEM. */
int model_init(struct model *m, unsigned kind, bool has_site);
void model_free(struct model *m);

static inline u32 model_slot(u64 rip)
{
	return (u32)((rip * 0x9e3779b97f4a7c15ull) >> 52);
}

static inline struct model_thread *model_thread(struct model_head *h, u32 tid)
{
	return &h->threads[(tid * 0x9e3779b1u) >> 24];
}

/* The rip that is expected next, and what to remember once it is known. */
static inline u64 model_rip_predict(const struct model *m)
{
	const u32 slot = model_slot(m->rip);

	return m->follow[slot].generation == m->generation ? m->follow[slot].rip : m->rip;
}

static inline void model_rip_update(struct model *m, u64 rip)
{
	const u32 slot = model_slot(m->rip);

	m->follow[slot].rip = rip;
	m->follow[slot].generation = m->generation;
	m->rip = rip;
}

/* Makes a site that the chunk has not met yet. */
void model_site_make(struct model *m, struct site *site);

/* The site of the next event. */
static inline struct site *model_site(struct model *m, u64 rip)
{
	const u32 slot = m->nslots == 1 ? 0 : model_slot(rip);
	struct site *site = (struct site *)(m->sites + slot * m->site_size);

	if (site->generation != m->generation)
		model_site_make(m, site);
	m->last = site;
	return site;
}

static inline void model_stride_update(struct model_stride *s, u64 step)
{
	if (step == s->step)
		return;
	if (step == s->candidate)
		s->step = step;
	s->candidate = step;
}

/* Whether no array of the event claims more elements than it has room for. */
static inline bool model_counts_valid(const struct model_plan *plan, const u8 *event)
{
	for (u32 i = 0; i < plan->ncounts; i++) {
		const struct field_desc *array = &plan->desc->fields[plan->counts[i]];
		const struct field_desc *count = &plan->desc->fields[array->count];

		if (load_le(event + count->off, count->width) > array->max)
			return false;
	}
	return true;
}

/* Valid elements of the array that column c is of; UINT64_MAX for one value. */
static inline u64 model_count(const struct model_column *c, const u8 *event)
{
	return c->count_width ? load_le(event + c->count_off, c->count_width) : UINT64_MAX;
}

/* Bytes of column c that an event with `count` valid elements has. */
static inline unsigned model_width(const struct model_column *c, u64 count)
{
	if (count <= c->index)
		return 0;
	if (c->form == COLUMN_WORD && count - c->index < c->width)
		return (unsigned)(count - c->index);
	return c->width;
}

/* What column c is predicted to hold in the next event at the site. */
static inline u64 model_predict(const struct model_column *c, const struct site *site,
				const struct model_stride *stride, unsigned width)
{
	u64 v = load_le(site->event + c->off, c->width);

	if (stride)
		v += stride->step;
	return v & (width ? bytes_mask(width) : 0);
}

/* Column c of the site's last event becomes v. */
static inline void model_set(const struct model_column *c, struct site *site,
			     struct model_stride *stride, u64 v)
{
	u8 *at = site->event + c->off;

	if (stride)
		model_stride_update(stride, (v - load_le(at, c->width)) & bytes_mask(c->width));
	store_le(at, v, c->width);
}

#endif
