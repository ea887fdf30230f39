// SPDX-License-Identifier: GPL-2.0-or-later
/* The slot table: computes the pieces that a slot should be in, and takes KVM there step by step.
 */
#include "agent_slots.h"

#include "agent_plan.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

u32 slots_answer(u32 nslots)
{
	return nslots - min_u64(SLOTS_RESERVED, nslots / 2);
}

void slots_init(struct slots *t, const struct slots_ops *ops, void *ctx, u32 nslots,
		const struct agent_range *range, u32 nranges)
{
	t->ops = ops;
	t->ctx = ctx;
	t->reserved_base = slots_answer(nslots);
	t->reserved_n = nslots - t->reserved_base;
	t->nconfigured = t->watch.n = nranges;
	memcpy(t->configured, range, nranges * sizeof(*range));
	memcpy(t->watch.span, range, nranges * sizeof(*range));
}

void slots_forget(struct slots *t)
{
	for (u32 as = 0; as < SLOTS_SPACES; as++) {
		memset(t->slot[as], 0, t->nslots[as] * sizeof(t->slot[as][0]));
		t->nslots[as] = 0;
	}
	memset(t->reserved_used, 0, sizeof(t->reserved_used));
	for (u32 i = 0; i < SLOTS_SPLITS; i++)
		t->splits[i].used = 0;
}

struct slot *slots_find(struct slots *t, u32 id)
{
	u32 as = id >> 16, i = id & 0xffff;

	if (as >= SLOTS_SPACES || i >= SLOTS_TRACKED || !t->slot[as][i].used)
		return NULL;
	return &t->slot[as][i];
}

const struct piece *slots_pieces(const struct slots *t, const struct slot *s, u32 id,
				 struct piece *whole, u32 *n)
{
	if (s->split) {
		*n = t->splits[s->split - 1].n;
		return t->splits[s->split - 1].piece;
	}
	*whole = (struct piece){id, 0, s->gpa, s->size};
	*n = 1;
	return whole;
}

static bool set_touches(const struct agent_range *r, u32 n, u64 gpa, u64 end)
{
	for (u32 i = 0; i < n; i++)
		if (gpa < r[i].end && r[i].gpa < end)
			return true;
	return false;
}

bool slots_configured(const struct slots *t, u64 gpa, u64 end)
{
	return set_touches(t->configured, t->nconfigured, gpa, end);
}

bool slots_watched(const struct slots *t, u64 gpa, u64 end)
{
	return set_touches(t->watch.span, t->watch.n, gpa, end);
}

u64 slots_armed_hva(struct slots *t, u64 gpa, u64 len, struct slot **slot)
{
	for (u32 i = 0; i < t->nslots[0]; i++) {
		struct slot *s = &t->slot[0][i];
		const struct split *sp;

		if (!s->used || !s->split || gpa < s->gpa || gpa - s->gpa >= s->size)
			continue;
		sp = &t->splits[s->split - 1];
		for (u32 k = 0; k < sp->n; k++) {
			const struct piece *p = &sp->piece[k];

			if (gpa < p->gpa || gpa - p->gpa >= p->size)
				continue;
			if (!p->readonly || len > p->size - (gpa - p->gpa))
				return 0;
			if (slot)
				*slot = s;
			return s->hva + (gpa - s->gpa);
		}
	}
	return 0;
}

u64 slots_hva(struct slots *t, u64 gpa, u64 len)
{
	for (u32 i = 0; i < t->nslots[0]; i++) {
		const struct slot *s = &t->slot[0][i];

		if (s->used && gpa >= s->gpa && gpa - s->gpa < s->size)
			return len <= s->size - (gpa - s->gpa) ? s->hva + (gpa - s->gpa) : 0;
	}
	return 0;
}

void slots_each_armed(struct slots *t, void (*fn)(void *arg, u64 gpa, u64 size, u64 hva), void *arg)
{
	for (u32 i = 0; i < t->nslots[0]; i++) {
		const struct slot *s = &t->slot[0][i];
		const struct split *sp = s->split ? &t->splits[s->split - 1] : NULL;

		for (u32 k = 0; s->used && sp && k < sp->n; k++)
			if (sp->piece[k].readonly)
				fn(arg, sp->piece[k].gpa, sp->piece[k].size,
				   s->hva + (sp->piece[k].gpa - s->gpa));
	}
}

/* --- taking KVM there --- */

static int id_reserve(struct slots *t, u32 as, u32 *id)
{
	for (u32 i = 0; i < t->reserved_n; i++) {
		if (t->reserved_used[as][i])
			continue;
		t->reserved_used[as][i] = 1;
		*id = as << 16 | (t->reserved_base + i);
		return 0;
	}
	return -ENOSPC;
}

static void id_release(struct slots *t, u32 id)
{
	u32 i = (id & 0xffff) - t->reserved_base;

	if ((id & 0xffff) >= t->reserved_base && i < t->reserved_n)
		t->reserved_used[id >> 16][i] = 0;
}

static int piece_set(struct slots *t, const struct slot *s, const struct piece *p)
{
	return t->ops->set(t->ctx, p->id, s->flags | (p->readonly ? KVM_MEM_READONLY : 0), p->gpa,
			   p->size, s->hva + (p->gpa - s->gpa));
}

static int piece_delete(struct slots *t, const struct slot *s, const struct piece *p)
{
	int err = t->ops->set(t->ctx, p->id, 0, p->gpa, 0, s->hva + (p->gpa - s->gpa));

	/* Deleting may need a little memory; losing a slot halfway would lose the guest. */
	for (int i = 0; err == -ENOMEM && i < 100; i++)
		err = t->ops->set(t->ctx, p->id, 0, p->gpa, 0, s->hva + (p->gpa - s->gpa));
	if (!err)
		id_release(t, p->id);
	return err;
}

static int split_find(struct slots *t)
{
	for (int i = 0; i < SLOTS_SPLITS; i++)
		if (!t->splits[i].used)
			return i;
	return -ENOSPC;
}

/* Installs the pieces of a plan that have no id. On an error those installed so far stay, with ids.
 */
static int plan_install(struct slots *t, const struct slot *s, u32 own, struct plan *p)
{
	u32 as = own >> 16;
	bool own_free = !plan_has(p, own);
	int err = 0;

	for (u32 i = 0; i < p->n && !err; i++) {
		struct piece *q = &p->piece[i];

		if (q->id != PIECE_NO_ID)
			continue;
		if (own_free)
			q->id = own;
		else
			err = id_reserve(t, as, &q->id);
		if (err)
			break;
		own_free = false;
		err = piece_set(t, s, q);
		if (err) {
			id_release(t, q->id);
			q->id = PIECE_NO_ID;
		}
	}
	return err;
}

static void split_store(struct slots *t, struct slot *s, const struct plan *p)
{
	struct split *sp;
	int i;

	if (p->n == 1 && !p->piece[0].readonly) {
		if (s->split)
			t->splits[s->split - 1].used = 0;
		s->split = 0;
		return;
	}
	i = s->split ? s->split - 1 : split_find(t);
	sp = &t->splits[i];
	sp->used = 1;
	sp->n = p->n;
	memcpy(sp->piece, p->piece, p->n * sizeof(p->piece[0]));
	s->split = (u8)(i + 1);
}

/* Takes a slot from its old pieces (none: it is new) to the plan. On an error nothing of it is left
 * in KVM but, where it was there before, the whole slot under its own id. */
static int slot_move(struct slots *t, struct slot *s, u32 own, const struct piece *old, u32 nold,
		     struct plan *p)
{
	struct piece whole = {own, 0, s->gpa, s->size};
	int err = 0, deleted = 0;

	plan_match(p, old, nold);
	if (plan_split(p) && !s->split && split_find(t) < 0)
		return -ENOSPC;
	for (u32 i = 0; i < nold && !err; i++) {
		if (plan_has(p, old[i].id))
			continue;
		err = piece_delete(t, s, &old[i]);
		deleted = 1;
	}
	if (!err)
		err = plan_install(t, s, own, p);
	if (!err) {
		if (nold && deleted && s->flags & KVM_MEM_LOG_DIRTY_PAGES)
			s->all_dirty = 1;
		split_store(t, s, p);
		return 0;
	}
	for (u32 i = 0; i < p->n; i++)
		if (p->piece[i].id != PIECE_NO_ID)
			piece_delete(t, s, &p->piece[i]);
	for (u32 i = 0; i < nold; i++)
		if (!plan_has(p, old[i].id))
			piece_delete(t, s, &old[i]); /* mostly gone already; -EINVAL then */
	if (s->split)
		t->splits[s->split - 1].used = 0;
	s->split = 0;
	s->whole = 1;
	if (nold) {
		s->all_dirty = !!(s->flags & KVM_MEM_LOG_DIRTY_PAGES);
		for (int i = 0; i < 100 && piece_set(t, s, &whole) == -ENOMEM; i++)
			;
	}
	return err;
}

static int set_surely(struct slots *t, const struct slot *s, const struct piece *p, u64 size)
{
	u32 flags = size ? s->flags | (p->readonly ? KVM_MEM_READONLY : 0) : 0;
	int err = -ENOMEM;

	for (int i = 0; err == -ENOMEM && i < 100; i++)
		err = t->ops->set(t->ctx, p->id, flags, p->gpa, size, s->hva + (p->gpa - s->gpa));
	return err;
}

int slots_lift(struct slots *t, u64 gpa, u64 end, bool lift)
{
	int err = 0;

	for (u32 as = 0; as < SLOTS_SPACES; as++)
		for (u32 i = 0; i < t->nslots[as]; i++) {
			struct slot *s = &t->slot[as][i];
			const struct split *sp = s->split ? &t->splits[s->split - 1] : NULL;

			for (u32 k = 0; s->used && sp && k < sp->n; k++) {
				struct piece p = sp->piece[k];

				if (!p.readonly || gpa >= p.gpa + p.size || p.gpa >= end)
					continue;
				p.readonly = !lift;
				err = err ? err : set_surely(t, s, &p, 0);
				err = err ? err : set_surely(t, s, &p, p.size);
				s->all_dirty |= !!(s->flags & KVM_MEM_LOG_DIRTY_PAGES);
			}
		}
	return err;
}

/* --- reports --- */

static void report_armed(struct slots *t, const struct slot *s, const struct piece *p)
{
	t->ops->report(t->ctx, AGENT_ARMED, p->gpa, p->size, s->hva + (p->gpa - s->gpa));
}

/* Tells what is armed now and was not before. */
static void report_new(struct slots *t, const struct slot *s, const struct plan *p,
		       const struct piece *old, u32 nold)
{
	for (u32 i = 0; i < p->n; i++) {
		struct piece q = p->piece[i];
		u64 to = q.gpa + q.size;

		for (u64 at = q.gpa; q.readonly && at < to;) {
			u64 end = to;

			if (!piece_list_armed(old, nold, at, &end))
				report_armed(t, s, &(struct piece){0, 1, at, end - at});
			at = end;
		}
	}
}

static void report_opened(struct slots *t, const struct agent_range *span, u32 n, enum why why)
{
	for (u32 i = 0; i < n; i++)
		t->ops->report(t->ctx, AGENT_OPENED, span[i].gpa, span[i].end - span[i].gpa, why);
}

/* A slot could not be split: its pages are not watched after all. */
static void slot_give_up(struct slots *t, const struct slot *s, u32 as)
{
	static struct span_set gone;

	if (as) {
		t->ops->report(t->ctx, AGENT_OPENED, s->gpa, s->size, WHY_SMRAM);
		return;
	}
	span_set_remove(&t->watch, s->gpa, s->gpa + s->size, &gone);
	report_opened(t, gone.span, gone.n, WHY_NOT_WATCHED);
}

/* --- a slot in line with the plan --- */

/* Reshapes a live slot. 0 also when it had to be given up; an error means that nothing changed. */
static int slot_sync(struct slots *t, struct slot *s, u32 id)
{
	static struct plan p;
	static struct piece old[SLOTS_PIECES];
	struct piece whole;
	u32 nold;
	const struct piece *have = slots_pieces(t, s, id, &whole, &nold);
	int err = plan_make(t, s, id >> 16, &p);
	bool same = !err && p.n == nold;

	for (u32 i = 0; i < nold && same; i++)
		same = piece_same(&have[i], &p.piece[i]);
	if (same)
		return 0;
	if (err) { /* too many pieces: in one, then */
		p.n = 0;
		plan_add(&p, s->gpa, s->gpa + s->size, 0);
	}
	memcpy(old, have, nold * sizeof(*have));
	if (t->ops->pause(t->ctx))
		return -ETIMEDOUT;
	if (slot_move(t, s, id, old, nold, &p))
		err = -ENOSPC;
	if (err) {
		s->whole = 1;
		slot_give_up(t, s, id >> 16);
	} else {
		if (id >> 16 == 0)
			report_new(t, s, &p, old, nold);
		if (p.n > nold)
			t->ops->report(t->ctx, AGENT_CHANGE, s->gpa, s->size, p.n);
	}
	t->ops->resume(t->ctx);
	return 0;
}

static int space_sync(struct slots *t, u32 as, u64 gpa, u64 end)
{
	int err = 0;

	for (u32 i = 0; i < t->nslots[as]; i++) {
		struct slot *s = &t->slot[as][i];
		int e;

		if (!s->used || gpa >= s->gpa + s->size || s->gpa >= end)
			continue;
		e = slot_sync(t, s, as << 16 | i);
		err = err ? err : e;
	}
	return err;
}

int slots_sync(struct slots *t)
{
	int err0 = space_sync(t, 0, 0, ~0ull), err1 = space_sync(t, 1, 0, ~0ull);

	return err0 ? err0 : err1;
}

int slots_arm(struct slots *t)
{
	t->armed = 1;
	return slots_sync(t);
}

int slots_open(struct slots *t, u64 gpa, u64 end, enum why why)
{
	static struct span_set gone;
	int err;

	gpa &= ~(SLOTS_PAGE - 1);
	end = end > ~0ull - SLOTS_PAGE ? ~0ull : (end + SLOTS_PAGE - 1) & ~(SLOTS_PAGE - 1);
	span_set_remove(&t->watch, gpa, end, &gone);
	if (!gone.n)
		return 0;
	/* The report first: no store may go unseen while they still count as watched. */
	err = t->ops->pause(t->ctx);
	report_opened(t, gone.span, gone.n, why);
	if (err)
		return err;
	err = slots_sync(t);
	t->ops->resume(t->ctx);
	return err;
}

/* --- the VMM's calls --- */

/* SMM sees other memory than the main address space somewhere in a watched range: say so once. */
static void smram_report(struct slots *t, const struct slot *s)
{
	for (u32 i = 0; i < t->nconfigured; i++) {
		u64 from = max_u64(t->configured[i].gpa, s->gpa);
		u64 to = min_u64(t->configured[i].end, s->gpa + s->size);

		while (from < to && !(t->smram_told >> i & 1)) {
			u64 end = to;

			if (!plan_same_memory(t, s, from, &end)) {
				t->smram_told |= 1ull << i;
				t->ops->report(t->ctx, AGENT_OPENED, from, end - from, WHY_SMRAM);
			}
			from = end;
		}
	}
}

static int slot_create(struct slots *t, struct slot *s, u32 id, const struct slot *want)
{
	static struct plan p;
	struct piece whole = {id, 0, want->gpa, want->size};
	u32 as = id >> 16, i = id & 0xffff;
	int err, split_err;

	*s = *want;
	s->used = 1;
	split_err = plan_make(t, s, as, &p);
	err = split_err ? split_err : slot_move(t, s, id, NULL, 0, &p);
	if (err && !split_err && !plan_split(&p)) {
		memset(s, 0, sizeof(*s));
		return err;
	}
	if (err) {
		err = piece_set(t, s, &whole);
		if (err) {
			memset(s, 0, sizeof(*s));
			return err;
		}
		s->whole = 1;
		slot_give_up(t, s, as);
	} else if (plan_split(&p)) {
		if (as == 0)
			report_new(t, s, &p, NULL, 0);
		t->ops->report(t->ctx, AGENT_CHANGE, s->gpa, s->size, p.n);
	}
	if (i >= t->nslots[as])
		t->nslots[as] = i + 1;
	if (as == 1 && !(s->flags & KVM_MEM_READONLY))
		smram_report(t, s);
	else if (as == 0 && t->nslots[1])
		space_sync(t, 1, s->gpa, s->gpa + s->size);
	return 0;
}

static int slot_delete(struct slots *t, struct slot *s, u32 id)
{
	struct piece whole;
	u32 n;
	const struct piece *p = slots_pieces(t, s, id, &whole, &n);
	int err = 0;

	for (u32 i = 0; i < n; i++) {
		int e = piece_delete(t, s, &p[i]);

		err = err ? err : e;
	}
	for (u32 i = 0; i < n && id >> 16 == 0; i++)
		if (p[i].readonly)
			t->ops->report(t->ctx, AGENT_OPENED, p[i].gpa, p[i].size, WHY_NO_RAM);
	if (s->split)
		t->splits[s->split - 1].used = 0;
	memset(s, 0, sizeof(*s));
	return err;
}

static int slot_reflag(struct slots *t, struct slot *s, u32 id, u32 flags)
{
	struct slot before = *s;
	struct piece whole;
	u32 n;
	const struct piece *p = slots_pieces(t, s, id, &whole, &n);
	int err = 0;

	s->flags = flags;
	for (u32 i = 0; i < n && !err; i++) {
		err = piece_set(t, s, &p[i]);
		for (u32 k = i; err && k > 0; k--)
			piece_set(t, &before, &p[k - 1]);
	}
	if (err)
		s->flags = before.flags;
	else if (!(flags & KVM_MEM_LOG_DIRTY_PAGES))
		s->all_dirty = 0;
	return err;
}

void slots_skip(struct slots *t, u32 as, u64 gpa, u64 size)
{
	struct slot s = {.gpa = gpa, .size = size};

	slot_give_up(t, &s, as);
}

int slots_set(struct slots *t, u32 id, u32 flags, u64 gpa, u64 size, u64 hva)
{
	struct slot want = {.gpa = gpa, .size = size, .hva = hva, .flags = flags};
	u32 as = id >> 16, i = id & 0xffff;
	struct slot *s = slots_find(t, id);
	int err;

	if (as >= SLOTS_SPACES || i >= SLOTS_TRACKED || (gpa | size | hva) & (SLOTS_PAGE - 1) ||
	    gpa + size < gpa) {
		err = t->ops->set(t->ctx, id, flags, gpa, size, hva);
		if (!err && size && as == 0)
			slot_give_up(t, &want, 0);
		return err;
	}
	if (!size)
		return s ? slot_delete(t, s, id) : t->ops->set(t->ctx, id, flags, gpa, 0, hva);
	if (!s) {
		/* No store to it may come before the report that every store to it exits. */
		const bool paused = as == 0 && t->armed && slots_watched(t, gpa, gpa + size) &&
				    !t->ops->pause(t->ctx);

		err = slot_create(t, &t->slot[as][i], id, &want);
		if (paused)
			t->ops->resume(t->ctx);
		return err;
	}
	if (size != s->size || hva != s->hva || (flags ^ s->flags) & KVM_MEM_READONLY)
		return -EINVAL; /* as KVM says of the slot in one piece */
	if (gpa == s->gpa)
		return slot_reflag(t, s, id, flags);
	err = t->ops->pause(t->ctx);
	if (err)
		return err;
	err = slot_delete(t, s, id);
	if (!err)
		err = slot_create(t, s, id, &want);
	t->ops->resume(t->ctx);
	return err;
}
