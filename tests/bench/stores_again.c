// SPDX-License-Identifier: GPL-2.0-or-later
/* Sites get numbers of the whole trace's, mappings are told where they change. */
#include "stores_again.h"

#include <stdlib.h>
#include <string.h>

#include "stores_each.h"

#define SITES (1u << 20)
#define NONE  UINT32_MAX

enum step_kind { STEP_SITE, STEP_MAP, STEP_TIME, STEP_THREAD, STEP_STORES };

struct step {
	enum step_kind kind;
	u32 n; /* number of the site; stores; thread */
	u16 lane;
	bool smm;
	u64 a, b;
};

struct again {
	struct store_site sites[SITES];
	u32 places[2 * SITES]; /* hash of a site: its number */
	u32 nsites;
	u32 local[STORES_SITES + 1]; /* number of a chunk's site, to be looked at again */
	struct {
		u64 gva, gpa;
		bool valid, smm;
	} map[STORES_LANES][STORES_MAPS];
	struct store_raw *raw;
	size_t nraw, raw_max;
	struct step *steps;
	size_t nsteps, steps_max;
};

struct again *again_open(void)
{
	struct again *a = calloc(1, sizeof(*a));

	if (!a)
		die("again", "out of memory");
	memset(a->places, 0xff, sizeof(a->places));
	return a;
}

void again_close(struct again *a)
{
	free(a->raw);
	free(a->steps);
	free(a);
}

static void step_add(struct again *a, struct step step)
{
	if (a->nsteps == a->steps_max) {
		a->steps_max = a->steps_max ? 2 * a->steps_max : 1024;
		a->steps = realloc(a->steps, a->steps_max * sizeof(*a->steps));
		if (!a->steps)
			die("again", "out of memory");
	}
	a->steps[a->nsteps++] = step;
}

static bool site_is(const struct again *a, u32 id, const struct store_site *site)
{
	const struct store_site *have = &a->sites[id];

	return id < a->nsites && have->pc == site->pc && have->size == site->size &&
	       have->part == site->part;
}

static u32 site_number(struct again *a, const struct store_site *site)
{
	const u64 key = site->pc * 64 + site->size + (u64)site->part * 0x10001;
	size_t i = (key * 0x9e3779b97f4a7c15ull >> 40) & (2 * SITES - 1);

	for (; a->places[i] != NONE; i = (i + 1) & (2 * SITES - 1))
		if (site_is(a, a->places[i], site))
			return a->places[i];
	if (a->nsites == SITES)
		die("again", "too many sites");
	const u32 id = a->places[i] = a->nsites++;
	a->sites[id] = *site;
	step_add(a, (struct step){.kind = STEP_SITE, .n = id});
	return id;
}

/* From the last step on. */
static void stores_end(struct again *a, size_t *from, u16 lane)
{
	if (a->nraw > *from)
		step_add(a, (struct step){STEP_STORES, .n = (u32)(a->nraw - *from), .lane = lane});
	*from = a->nraw;
}

void again_add(struct again *a, const struct stores *s, u64 later_ns)
{
	const u16 lane = s->vcpu % STORES_LANES;
	size_t from = a->nraw;

	while (a->nraw + s->n > a->raw_max) {
		a->raw_max = a->raw_max ? 2 * a->raw_max : 1u << 20;
		a->raw = realloc(a->raw, a->raw_max * sizeof(*a->raw));
		if (!a->raw)
			die("again", "out of memory");
	}
	step_add(a, (struct step){.kind = STEP_TIME, .a = s->t_ns + later_ns});
	step_add(a, (struct step){.kind = STEP_THREAD, .n = s->tid, .a = s->vcpu});
	for (u32 i = 0; i < s->n; i++) {
		const struct store *v = &s->v[i];
		const struct store_site *site = &s->sites[v->site];
		u32 *id = &a->local[v->site];
		typeof(a->map[0][0]) *m = &a->map[lane][stores_map_slot(v->gva)];
		const u64 gva = v->gva & ~0xfffull, gpa = v->gpa & ~0xfffull;

		if (!site_is(a, *id, site))
			*id = site_number(a, site);
		if (!m->valid || m->gva != gva || m->gpa != gpa || m->smm != v->smm) {
			*m = (typeof(*m)){gva, gpa, true, v->smm};
			stores_end(a, &from, lane);
			step_add(a, (struct step){STEP_MAP, .lane = lane, .smm = v->smm, .a = gva,
						  .b = gpa});
		}
		a->raw[a->nraw++] = (struct store_raw){v->gva, v->value, *id, 0};
	}
	stores_end(a, &from, lane);
}

size_t again_count(const struct again *a)
{
	return a->nraw;
}

int again_put(struct again *a, struct writer *w)
{
	struct stores_encoder *e = writer_stores(w);
	const struct store_raw *raw = a->raw;
	int err = 0;

	for (const struct step *s = a->steps; s < a->steps + a->nsteps && !err; s++) {
		switch (s->kind) {
		case STEP_SITE:
			err = stores_site(e, s->n, &a->sites[s->n]);
			break;
		case STEP_MAP:
			err = stores_map(e, s->lane, s->a, s->b, s->smm);
			break;
		case STEP_TIME:
			stores_time(e, s->a);
			break;
		case STEP_THREAD:
			stores_thread(e, s->n, (u16)s->a);
			break;
		case STEP_STORES:
			err = writer_put_stores(w, s->lane, raw, s->n);
			raw += s->n;
			break;
		}
	}
	a->nraw = a->nsteps = 0;
	return err;
}
