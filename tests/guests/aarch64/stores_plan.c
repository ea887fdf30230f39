// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which operations the aarch64 `stores` guest does: every one once, then random ones, mostly in the
 * watched ranges, and more often where it is awkward: at a range's end, at or across a page's.
 */
#include "stores.h"

#define MOVZ 0x52800000ull	   /* movz w0, imm16 << 5 */
#define RET  0xd65f03c000000000ull /* the second instruction */

/* splitmix64. */
static uint64_t plan_random(struct stores_plan *p)
{
	uint64_t z = p->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint64_t plan_below(struct stores_plan *p, uint64_t n)
{
	return plan_random(p) % n;
}

static uint64_t plan_gva(struct stores_plan *p)
{
	static const uint64_t edges[] = {
		RAM_GPA + RANGE_A_GPA,
		RAM_GPA + RANGE_A_GPA + RANGE_A_BYTES,
		RAM_GPA + RANGE_B_GPA,
		RAM_GPA + RANGE_B_GPA + RANGE_B_BYTES,
	};
	const uint64_t kind = plan_below(p, 100);
	const uint64_t before = plan_below(p, STORE_BYTES_MAX);

	if (kind < 34)
		return RAM_GPA + RANGE_A_GPA + plan_below(p, RANGE_A_BYTES);
	if (kind < 56)
		return RAM_GPA + RANGE_B_GPA + plan_below(p, RANGE_B_BYTES);
	if (kind < 66)
		return edges[plan_below(p, 4)] - before;
	if (kind < 74)
		return RAM_GPA + RANGE_A_GPA + PAGE * plan_below(p, 16) - before;
	if (kind < 90)
		return WINDOW + PAGE * plan_below(p, WINDOW_COUNT) - before;
	if (kind < 96)
		return WINDOW + plan_below(p, WINDOW_COUNT * PAGE);
	return RAM_GPA + ARENA_GPA + plan_below(p, ARENA_END - ARENA_GPA); /* watched or not */
}

static enum store_op_number plan_op(struct stores_plan *p)
{
	if (p->done < STORE_OPS)
		return p->done;
	return plan_below(p, 16) ? plan_below(p, STORE_OPS) : STORE_unmap;
}

/* Makes every other comparison succeed. */
static void plan_expect(struct stores_plan *p, const struct stores_model *m, struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];
	const unsigned half = desc->bytes / 2;

	if (plan_below(p, 2))
		return;
	if (desc->kind == KIND_CAS)
		op->value = model_peek(m, op->gva, desc->bytes);
	if (desc->kind == KIND_CASP) {
		op->value = model_peek(m, op->gva, half);
		op->extra = model_peek(m, op->gva + half, half);
	}
}

bool plan_next(struct stores_plan *p, const struct stores_model *m, struct store_op *op)
{
	if (p->done == p->operations)
		return false;
	do {
		op->op = plan_op(p);
		if (store_descs[op->op].needs == NEEDS_LSE && !p->lse)
			op->op = STORE_strx;
		op->gva = plan_gva(p) & ~(store_descs[op->op].align - 1ull);
		op->value = plan_random(p);
		op->extra = plan_random(p);
	} while (!model_allows(op));
	if (store_descs[op->op].kind == KIND_CODE)
		op->value = RET | MOVZ | (op->value & 0xffff) << 5;
	plan_expect(p, m, op);
	p->done++;
	return true;
}
