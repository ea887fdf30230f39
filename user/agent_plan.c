// SPDX-License-Identifier: GPL-2.0-or-later
/* Which pieces a slot should be in, given what is watched; and lists of pieces and spans. */
#include "agent_plan.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

int plan_add(struct plan *p, u64 gpa, u64 end, u32 readonly)
{
	struct piece *last = p->n ? &p->piece[p->n - 1] : NULL;

	if (gpa == end)
		return 0;
	if (last && last->readonly == readonly) {
		last->size += end - gpa;
		return 0;
	}
	if (p->n == SLOTS_PIECES)
		return -ENOSPC;
	p->piece[p->n++] = (struct piece){.readonly = readonly, .gpa = gpa, .size = end - gpa};
	return 0;
}

bool plan_same_memory(const struct slots *t, const struct slot *s, u64 gpa, u64 *end)
{
	bool same = false;

	for (u32 i = 0; i < t->nslots[0]; i++) {
		const struct slot *m = &t->slot[0][i];

		if (!m->used || m->flags & KVM_MEM_READONLY || m->gpa + m->size <= gpa)
			continue;
		if (m->gpa > gpa) {
			*end = min_u64(*end, m->gpa);
			continue;
		}
		*end = min_u64(*end, m->gpa + m->size);
		same = m->hva - m->gpa == s->hva - s->gpa;
	}
	return same;
}

int plan_make(const struct slots *t, const struct slot *s, u32 as, struct plan *p)
{
	u64 at = s->gpa, slot_end = s->gpa + s->size;
	int err = 0;

	p->n = 0;
	for (u32 i = 0;
	     t->armed && !s->whole && !(s->flags & KVM_MEM_READONLY) && !err && i < t->watch.n;
	     i++) {
		u64 from = max_u64(t->watch.span[i].gpa, s->gpa);
		u64 to = min_u64(t->watch.span[i].end, slot_end);

		while (from < to && !err) {
			u64 end = to;
			bool watch = as == 0 || plan_same_memory(t, s, from, &end);

			if (watch) {
				err = plan_add(p, at, from, 0);
				if (!err)
					err = plan_add(p, from, end, 1);
				at = end;
			}
			from = end;
		}
	}
	return err ? err : plan_add(p, at, slot_end, 0);
}

bool piece_same(const struct piece *a, const struct piece *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->readonly == b->readonly;
}

void plan_match(struct plan *p, const struct piece *old, u32 nold)
{
	u32 k = 0;

	for (u32 i = 0; i < p->n; i++) {
		while (k < nold && old[k].gpa < p->piece[i].gpa)
			k++;
		p->piece[i].id = PIECE_NO_ID;
		if (k < nold && piece_same(&old[k], &p->piece[i]))
			p->piece[i].id = old[k].id;
	}
}

bool plan_has(const struct plan *p, u32 id)
{
	for (u32 i = 0; i < p->n; i++)
		if (p->piece[i].id == id)
			return true;
	return false;
}

bool plan_split(const struct plan *p)
{
	return p->n != 1 || p->piece[0].readonly;
}

bool piece_list_armed(const struct piece *old, u32 nold, u64 gpa, u64 *end)
{
	for (u32 i = 0; i < nold; i++) {
		if (!old[i].readonly || old[i].gpa + old[i].size <= gpa)
			continue;
		if (old[i].gpa > gpa) {
			*end = min_u64(*end, old[i].gpa);
			return false;
		}
		*end = min_u64(*end, old[i].gpa + old[i].size);
		return true;
	}
	return false;
}

void span_set_remove(struct span_set *w, u64 gpa, u64 end, struct span_set *out)
{
	out->n = 0;
	for (u32 i = 0; i < w->n;) {
		struct agent_range *r = &w->span[i], rest, hit;

		if (gpa >= r->end || r->gpa >= end) {
			i++;
			continue;
		}
		hit = (struct agent_range){max_u64(gpa, r->gpa), min_u64(end, r->end)};
		rest = (struct agent_range){hit.end, r->end};
		if (hit.gpa > r->gpa && rest.gpa < rest.end && w->n == SLOTS_WATCH)
			rest.gpa = hit.end = rest.end;
		out->span[out->n++] = hit;
		if (hit.gpa > r->gpa) {
			r->end = hit.gpa;
			i++;
			if (rest.gpa == rest.end)
				continue;
			memmove(&w->span[i + 1], &w->span[i], (w->n - i) * sizeof(*r));
			w->n++;
			w->span[i++] = rest;
		} else if (rest.gpa < rest.end) {
			*r = rest;
			i++;
		} else {
			w->n--;
			memmove(r, r + 1, (w->n - i) * sizeof(*r));
		}
	}
}
