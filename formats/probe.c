// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The columns gpa and len of an events chunk, decoded by themselves. The predictions are those of
 * model.h, for these fields.
 */
#include "probe.h"

#include <errno.h>
#include <stdlib.h>

#include "model.h"

#define HEAD_COLUMNS 6

struct probe_site {
	u32 generation;
	u64 gpa, len;
	struct model_stride stride;
};

struct probe {
	u32 generation;
	u64 gpa, end; /* what is asked for */
	struct probe_site sites[MODEL_SLOTS];
	struct {
		u64 rip;
		u32 generation;
	} follow[MODEL_SLOTS];
};

/* The columns of one kind that matter here. */
struct probe_columns {
	struct column_reader gpa, len, site;
	u64 len_mask;
	u64 whole; /* bytes of every event's range, where no column tells; else 0 */
	bool has_site;
};

int probe_open(struct probe **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void probe_close(struct probe *p)
{
	free(p);
}

static u64 number_take(struct column_reader *c, u32 at, u64 predicted)
{
	return c->next == at ? predicted + unzigzag(column_take(c)) : predicted;
}

static u32 slot_take(struct probe *p, struct column_reader *c, u32 at, u64 *rip)
{
	const u32 from = model_slot(*rip);
	const bool known = p->follow[from].generation == p->generation;

	*rip = number_take(c, at, known ? p->follow[from].rip : *rip);
	p->follow[from].rip = *rip;
	p->follow[from].generation = p->generation;
	return model_slot(*rip);
}

static bool kind_touches(struct probe *p, struct probe_columns *c, u32 n)
{
	struct probe_site *last = NULL;
	u64 rip = 0;

	p->generation++;
	for (u32 i = 0; i < n; i++) {
		struct probe_site *site = p->sites;

		if (c->has_site)
			site += slot_take(p, &c->site, i, &rip);
		if (site->generation != p->generation)
			*site = (struct probe_site){.generation = p->generation,
						    .gpa = last ? last->gpa : 0,
						    .len = last ? last->len : 0};
		last = site;
		const u64 gpa = number_take(&c->gpa, i, site->gpa + site->stride.step);

		model_stride_update(&site->stride, gpa - site->gpa);
		site->gpa = gpa;
		site->len = number_take(&c->len, i, site->len) & c->len_mask;
		/* gpa + len may wrap: then it reaches to the end of everything. */
		const u64 len = c->whole ? c->whole : site->len;
		if (len && gpa < p->end && (gpa + len > p->gpa || gpa + len < gpa))
			return true;
	}
	return false;
}

/* Parses a kind's columns. False when they are malformed. */
static bool columns_open(struct probe_columns *c, const struct model_plan *plan, u64 ncolumns,
			 struct span section, u32 n)
{
	static const struct column_reader none = {.next = UINT32_MAX};

	*c = (struct probe_columns){.gpa = none, .len = none, .site = none};
	for (u64 i = 0; i < ncolumns; i++) {
		struct column_reader column;

		if (!column_open(&column, &section, n))
			return false;
		if (i >= plan->ncolumns)
			continue;
		const struct model_column *mc = &plan->columns[i];

		if (column.form != mc->form)
			return false;
		if ((int)i == plan->site) {
			c->site = column;
			c->has_site = true;
		} else if (strcmp(mc->field->name, "gpa") == 0) {
			c->gpa = column;
		} else if (strcmp(mc->field->name, "len") == 0) {
			c->len = column;
			c->len_mask = bytes_mask(mc->width);
		}
	}
	return true;
}

/* Whether events of the kind have a range: event_range() knows. */
static bool kind_has_range(u64 kind)
{
	struct event_version ev = {0};
	u64 gpa, end;

	if (kind >= EVENT_MAX)
		return false;
	ev.h.kind = (u16)kind; /* the greatest event: room enough for any */
	return event_range(&ev.h, &gpa, &end);
}

bool probe_run(struct probe *p, struct span fields, u32 events, u64 gpa, u64 end)
{
	struct column_reader head;
	struct probe_columns columns;
	struct model_plan plan;

	p->gpa = gpa;
	p->end = end;
	for (unsigned i = 0; i < HEAD_COLUMNS; i++)
		if (!column_open(&head, &fields, events))
			return true;
	for (u64 left = span_varint(&fields); left > 0; left--) {
		const u64 kind = span_varint(&fields), n = span_varint(&fields);
		const u64 ncolumns = span_varint(&fields), size = span_varint(&fields);

		span_varint(&fields); /* of the literals */
		const u8 *section = span_take(&fields, size);

		if (!section || n > events)
			return true;
		if (!kind_has_range(kind))
			continue;
		model_plan_make(&plan, (unsigned)kind);
		if (!columns_open(&columns, &plan, ncolumns, span_of(section, size), (u32)n))
			return true;
		columns.whole = kind == EVENT_version ? VERSION_PAGE : 0;
		if (kind_touches(p, &columns, (u32)n))
			return true;
	}
	return fields.bad;
}
