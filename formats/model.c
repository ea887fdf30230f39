// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Columns of the kinds, made from their descriptions, and the sites with what they remember.
 */
#include "model.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static void plan_add(struct model_plan *plan, const struct field_desc *f, enum column_form form,
		     unsigned index, unsigned width)
{
	assert(plan->ncolumns < MODEL_COLUMNS);
	struct model_column *c = &plan->columns[plan->ncolumns];

	*c = (struct model_column){
		.field = f,
		.form = form,
		.stride = f->codec == CODEC_STRIDE,
		.width = (u8)width,
		.index = (u16)index,
		.off = (u16)(f->off + index * f->width),
	};
	if (f->count >= 0) {
		c->count_off = plan->desc->fields[f->count].off;
		c->count_width = plan->desc->fields[f->count].width;
	}
	if (form == COLUMN_SITE)
		plan->site = (int)plan->ncolumns;
	if (form == COLUMN_BLOB) {
		plan->blob = (int)plan->ncolumns;
		plan->stored = f->off;
	}
	if (c->stride) {
		assert(plan->nstrides < MODEL_STRIDES);
		plan->stride_of[plan->ncolumns] = (u8)plan->nstrides;
		plan->stride_columns |= 1ull << plan->ncolumns;
		plan->strides[plan->nstrides++] = (u8)plan->ncolumns;
	}
	plan->ncolumns++;
}

static void plan_columns(struct model_plan *plan)
{
	const struct event_desc *desc = plan->desc;

	for (unsigned i = 0; i < desc->nfields; i++) {
		const struct field_desc *f = &desc->fields[i];

		if (f->count >= 0) {
			assert(plan->ncounts < MODEL_COUNTS);
			plan->counts[plan->ncounts++] = (u8)i;
		}
		if (f->codec == CODEC_NEXT)
			plan_add(plan, f, COLUMN_SITE, 0, 8);
		else if (f->codec == CODEC_BLOB)
			plan_add(plan, f, COLUMN_BLOB, 0, 1);
		else if (f->count >= 0 && f->width == 1)
			for (unsigned k = 0; k < f->max; k += 8)
				plan_add(plan, f, COLUMN_WORD, k, f->max - k < 8 ? f->max - k : 8);
		else
			for (unsigned k = 0; k < f->max; k++)
				plan_add(plan, f, COLUMN_NUMBER, k, f->width);
	}
}

/* Which columns lie in which eight bytes, and which of them count. */
static void plan_index(struct model_plan *plan)
{
	assert(plan->stored <= MODEL_WORDS * 8);
	for (u32 i = 0; i < plan->ncolumns; i++) {
		const struct model_column *c = &plan->columns[i];

		if ((int)i == plan->blob || (int)i == plan->site)
			continue;
		for (unsigned byte = c->off; byte < c->off + (unsigned)c->width; byte++)
			plan->word_columns[byte / 8] |= 1ull << i;
		for (u32 k = 0; k < plan->ncounts; k++)
			if (&plan->desc->fields[plan->desc->fields[plan->counts[k]].count] ==
			    c->field)
				plan->count_columns |= 1ull << i;
	}
}

void model_plan_make(struct model_plan *plan, unsigned kind)
{
	const struct event_desc *desc = event_desc(kind);

	*plan = (struct model_plan){
		.desc = desc,
		.stored = desc->size,
		.site = -1,
		.blob = -1,
	};
	plan_columns(plan);
	plan_index(plan);
}

int model_init(struct model *m, unsigned kind, bool has_site)
{
	*m = (struct model){.plan = {.site = -1, .blob = -1}, .generation = 1};
	if (event_desc(kind)) {
		model_plan_make(&m->plan, kind);
		has_site = m->plan.site >= 0;
	}
	m->nslots = has_site ? MODEL_SLOTS : 1;
	m->site_size = (sizeof(struct site) + m->plan.stored + 7) & ~(size_t)7;
	m->sites = calloc(m->nslots, m->site_size);
	if (has_site)
		m->follow = calloc(m->nslots, sizeof(*m->follow));
	if (m->sites && (m->follow || !has_site))
		return 0;
	model_free(m);
	return -ENOMEM;
}

void model_free(struct model *m)
{
	free(m->sites);
	free(m->follow);
	m->sites = NULL;
	m->follow = NULL;
}

void model_site_make(struct model *m, struct site *site)
{
	if (m->last)
		memcpy(site, m->last, m->site_size);
	else
		memset(site, 0, m->site_size);
	memset(site->strides, 0, sizeof(site->strides));
	site->generation = m->generation;
}
