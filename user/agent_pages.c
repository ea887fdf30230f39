// SPDX-License-Identifier: GPL-2.0-or-later
/* The dirty log on its way to the recorder, and what of it is the VMM's. */
#include "agent_pages.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/mman.h>

#define WORD_BITS 64
/* Words without a page between two with one that are cleared along: a system call costs more. */
#define CLEAR_GAP 32

static u64 words_for(u64 bits)
{
	return (bits + WORD_BITS - 1) / WORD_BITS;
}

static u64 slot_pages(const struct slot *s)
{
	return s->size / SLOTS_PAGE;
}

u32 pages_flags(const struct pages *p, u32 flags, u64 size)
{
	return p->on && size && !(flags & KVM_MEM_READONLY) ? flags | KVM_MEM_LOG_DIRTY_PAGES
							    : flags;
}

/* --- blocks --- */

/* Files [hva, hva+size) as far as no block has it. */
static void block_add(struct agent_pages *shared, u64 hva, u64 size)
{
	const u32 n = shared->nblocks;
	const struct agent_block *last = n ? &shared->block[n - 1] : NULL;
	const u64 npages = size / SLOTS_PAGE;
	const u64 first = last ? last->first + last->npages : 0;

	if (n == AGENT_BLOCKS || npages > AGENT_PAGES - first) {
		__atomic_store_n(&shared->beyond, shared->beyond + npages, __ATOMIC_RELAXED);
		return;
	}
	shared->block[n] = (struct agent_block){hva, npages, first};
	__atomic_store_n(&shared->nblocks, n + 1, __ATOMIC_RELEASE);
}

static void blocks_cover(struct agent_pages *shared, u64 hva, u64 end)
{
	while (hva < end) {
		u64 to = end;
		bool there = false;

		for (u32 i = 0; i < shared->nblocks; i++) {
			const struct agent_block *b = &shared->block[i];
			const u64 b_end = b->hva + b->npages * SLOTS_PAGE;

			if (hva >= b->hva && hva < b_end) {
				there = true;
				to = b_end < end ? b_end : end;
				break;
			}
			if (b->hva > hva && b->hva < to)
				to = b->hva;
		}
		if (!there)
			block_add(shared, hva, to - hva);
		hva = to;
	}
}

/* Pages [first, first+n) of the slot, those whose bit is set; NULL: all of them. */
static void note(struct pages *p, const struct slot *s, u64 first, u64 n, const u64 *bits)
{
	struct agent_pages *shared = p->shared;
	u64 *set = shared->bits[p->set];
	const u64 hva = s->hva + first * SLOTS_PAGE, end = hva + n * SLOTS_PAGE;

	for (u32 i = 0; i < shared->nblocks; i++) {
		const struct agent_block *b = &shared->block[i];
		const u64 b_end = b->hva + b->npages * SLOTS_PAGE;
		const u64 from = hva > b->hva ? hva : b->hva, to = end < b_end ? end : b_end;

		if (from >= to)
			continue;
		u64 at = b->first + (from - b->hva) / SLOTS_PAGE;
		u64 count = (to - from) / SLOTS_PAGE;

		if (bits)
			dirty_bits_or(set, at, bits, (from - hva) / SLOTS_PAGE, count);
		for (; !bits && count; count--, at++)
			set[at / WORD_BITS] |= 1ull << at % WORD_BITS;
	}
}

void pages_note_all(struct pages *p, const struct slot *s)
{
	if (!p->on || s->flags & KVM_MEM_READONLY)
		return;
	blocks_cover(p->shared, s->hva, s->hva + s->size);
	note(p, s, 0, slot_pages(s), NULL);
}

/* --- what is the VMM's --- */

static struct owed *owed_find(struct pages *p, u32 id)
{
	for (u32 i = 0; i < PAGES_OWED; i++)
		if (p->owed[i].words && p->owed[i].id == id)
			return &p->owed[i];
	return NULL;
}

static void owed_free(struct owed *o)
{
	munmap(o->words, o->nwords * sizeof(u64));
	o->words = NULL;
}

void pages_vmm_logs(struct pages *p, const struct slot *s, u32 id, bool on)
{
	struct owed *o = owed_find(p, id);

	if (o)
		owed_free(o);
	for (u32 i = 0; on && i < PAGES_OWED; i++) {
		const size_t nwords = words_for(slot_pages(s));
		void *words;

		o = &p->owed[i];
		if (o->words)
			continue;
		words = mmap(NULL, nwords * sizeof(u64), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (words == MAP_FAILED)
			return;
		if (p->initially_set)
			memset(words, 0xff, nwords * sizeof(u64));
		*o = (struct owed){id, nwords, words};
		return;
	}
}

/* Pages of the slot that were taken out of the log while the VMM logs it as well. */
static void owe(struct pages *p, struct slot *s, u32 id, const u64 *bits)
{
	struct owed *o = owed_find(p, id);

	if (!(s->flags & KVM_MEM_LOG_DIRTY_PAGES))
		return;
	if (!o)
		s->all_dirty = 1; /* the VMM gets all of them */
	else
		for (size_t i = 0; i < o->nwords; i++)
			o->words[i] |= bits[i];
}

void pages_vmm_got(struct pages *p, const struct slot *s, u32 id, u64 *bitmap)
{
	struct owed *o = owed_find(p, id);
	const u64 npages = slot_pages(s);

	if (p->on && !p->manual) /* it has cleared the log */
		note(p, s, 0, npages, bitmap);
	if (!o)
		return;
	dirty_bits_or(bitmap, 0, o->words, 0, npages);
	if (!p->manual)
		memset(o->words, 0, o->nwords * sizeof(u64));
}

void pages_vmm_clears(struct pages *p, const struct slot *s, u32 id, u64 first, u32 npages,
		      const u64 *bitmap)
{
	struct owed *o = owed_find(p, id);
	const u64 all = slot_pages(s);

	/* What KVM refuses. */
	if (first % WORD_BITS || first > all || npages > all - first)
		return;
	if (p->on)
		note(p, s, first, npages, bitmap);
	for (u64 i = 0; o && i < words_for(npages); i++)
		o->words[first / WORD_BITS + i] &= ~bitmap[i];
}

/* --- taking the log --- */

/* The slot's log, and out of KVM with it. NULL: it cannot be had. */
static const u64 *slot_take(struct pages *p, struct slots *t, struct slot *s, u32 id,
			    const struct dirty_ops *ops, void *ctx, struct dirty_scratch *scratch)
{
	const u64 npages = slot_pages(s), nwords = words_for(npages);
	u64 *bits;

	if (dirty_scratch_grow(&p->bits, nwords))
		return NULL;
	bits = p->bits.words;
	if (dirty_get(t, s, id, ops, ctx, scratch, bits))
		return NULL;
	for (u64 w = 0, end; p->manual && w < nwords; w = end) {
		u64 gap = 0;

		end = w + 1;
		if (!bits[w])
			continue;
		for (u64 i = end; i < nwords && gap <= CLEAR_GAP; i++) {
			gap = bits[i] ? 0 : gap + 1;
			end = bits[i] ? i + 1 : end;
		}
		const u64 first = w * WORD_BITS, left = npages - first;
		const u64 n = (end - w) * WORD_BITS < left ? (end - w) * WORD_BITS : left;

		if (dirty_clear(t, s, id, ops, ctx, scratch, first, (u32)n, bits + w))
			return NULL;
	}
	return bits;
}

void pages_leave(struct pages *p, struct slots *t, struct slot *s, u32 id,
		 const struct dirty_ops *ops, void *ctx, struct dirty_scratch *scratch)
{
	const u64 *bits;

	pages_vmm_logs(p, s, id, false);
	if (!p->on || s->flags & KVM_MEM_READONLY)
		return;
	bits = slot_take(p, t, s, id, ops, ctx, scratch);
	note(p, s, 0, slot_pages(s), bits); /* NULL: all of it */
}

u32 pages_harvest(struct pages *p, struct slots *t, const struct dirty_ops *ops, void *ctx,
		  struct dirty_scratch *scratch)
{
	const u32 filled = p->set;

	for (u32 as = 0; as < SLOTS_SPACES; as++)
		for (u32 i = 0; i < t->nslots[as]; i++) {
			struct slot *s = &t->slot[as][i];
			const u32 id = as << 16 | i;
			const u64 *bits;

			if (!s->used || s->flags & KVM_MEM_READONLY)
				continue;
			bits = slot_take(p, t, s, id, ops, ctx, scratch);
			note(p, s, 0, slot_pages(s), bits);
			if (bits)
				owe(p, s, id, bits);
			else if (s->flags & KVM_MEM_LOG_DIRTY_PAGES)
				s->all_dirty = 1;
		}
	p->set ^= 1;
	return filled;
}

void pages_forget(struct pages *p)
{
	for (u32 i = 0; i < PAGES_OWED; i++)
		if (p->owed[i].words)
			owed_free(&p->owed[i]);
	p->manual = p->initially_set = false;
}
