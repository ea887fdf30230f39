// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stores_gen: makes the `stores` guest's table, pseudo-random and the same every time: every
 * operation once, the awkward places by hand, then random ones until there are enough stores.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "payload.h"
#include "stores_model.h"

#define PAGE	4096u
#define OPS_MAX ((TABLE_END - TABLE_GPA) / OP_BYTES - 1)
#define TRIES	100

struct gen {
	uint64_t state;
	struct stores_model *model;
	struct {
		struct stores_table header;
		struct store_op ops[OPS_MAX];
	} * table;
};

static uint64_t gen_random(struct gen *g)
{
	g->state ^= g->state >> 12;
	g->state ^= g->state << 25;
	g->state ^= g->state >> 27;
	return g->state * 0x2545f4914f6cdd1dull;
}

static uint64_t gen_below(struct gen *g, uint64_t n)
{
	return (gen_random(g) >> 20) % n;
}

/* Adds the operation and does it on the model; false when it would leave the arena. */
static bool gen_add(struct gen *g, const struct store_op *op)
{
	/* Copies may come from the part of the table that is made already, not from its header. */
	g->model->table_bytes = OP_BYTES * (1 + g->table->header.ops);
	if (op->op != STORE_unmap && op->op != STORE_delay && op->extra >= TABLE_GPA &&
	    op->extra < TABLE_GPA + OP_BYTES)
		return false;
	if (g->table->header.ops == OPS_MAX || !model_allows(g->model, op))
		return false;
	g->table->ops[g->table->header.ops++] = *op;
	model_run(g->model, op);
	return true;
}

static void gen_unmap(struct gen *g, unsigned page)
{
	gen_add(g, &(struct store_op){.gva = WINDOW_GVA + page * PAGE, .op = STORE_unmap});
}

static uint64_t gen_window(struct gen *g)
{
	const uint64_t page = WINDOW_GVA + PAGE * gen_below(g, WINDOW_COUNT);

	if (gen_below(g, 3))
		return page - 8 + gen_below(g, 16); /* at the edge, or across it */
	return page + gen_below(g, PAGE);
}

/* An address for an operation: mostly in the ranges, and more often where it is awkward. */
static uint64_t gen_gva(struct gen *g)
{
	static const uint64_t edges[] = {
		RANGE_A_GPA,
		RANGE_A_GPA + RANGE_A_BYTES,
		RANGE_B_GPA,
		RANGE_B_GPA + RANGE_B_BYTES,
	};
	const uint64_t kind = gen_below(g, 100);
	const uint64_t which = gen_random(g) >> 20;
	const uint64_t near = gen_below(g, 16) - 8;

	if (kind < 38)
		return RANGE_A_GPA + which % RANGE_A_BYTES;
	if (kind < 66)
		return RANGE_B_GPA + which % RANGE_B_BYTES;
	if (kind < 74)
		return edges[which % 4] + near;
	if (kind < 80)
		return RANGE_A_GPA + PAGE * (1 + which % 15) + near;
	if (kind < 84)
		return 0x1235000 + PAGE * (which % 2) + near;
	if (kind < 98)
		return gen_window(g);
	return ARENA_GPA + which % (ARENA_END - ARENA_GPA); /* watched or not */
}

/* The same operation, its address chosen so that its access (SIB, bit offset) begins at gva. */
static void gen_aim(struct gen *g, struct store_op *op, uint64_t gva)
{
	const struct store_desc *desc = &store_descs[op->op];

	op->gva = gva;
	op->count = (uint32_t)gen_below(g, 64);
	if (desc->kind == KIND_SIB) {
		op->gva = gva - 4ull * op->count - (uint64_t)desc->arg;
	} else if (desc->kind == KIND_BTS) {
		const int64_t bit = (int64_t)gen_below(g, 4000) - 2000;

		op->extra = (uint64_t)bit;
		op->gva = gva - desc->bytes * (uint64_t)(bit >> (desc->bytes == 8 ? 6 : 5));
	} else if (desc->kind == KIND_STOS || desc->kind == KIND_MOVS) {
		if (!gen_below(g, 20))
			op->count = (uint32_t)gen_below(g, 300);
		else if (!gen_below(g, 20))
			op->count = 0;
	}
}

static void gen_values(struct gen *g, struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];

	op->value = gen_random(g);
	if (desc->kind == KIND_MOVS) {
		op->extra = gen_below(g, 2) ? gen_gva(g)
					    : TABLE_GPA + gen_below(g, g->model->table_bytes);
		if (!gen_below(g, 4)) /* overlap */
			op->extra = op->gva + gen_below(g, 64) - 32;
	} else if (desc->kind != KIND_BTS) {
		op->extra = gen_random(g);
	}
	if (desc->kind == KIND_CMPXCHG && gen_below(g, 2) && model_writable(op->gva, desc->bytes))
		op->value = model_peek(g->model, op->gva, desc->bytes);
	if (desc->kind == KIND_CMPXCHG8B && gen_below(g, 2) && model_writable(op->gva, 8)) {
		op->value = model_peek(g->model, op->gva, 4);
		op->extra = model_peek(g->model, op->gva + 4, 4);
	}
}

static bool gen_at(struct gen *g, enum store_op_number number, uint64_t gva)
{
	struct store_op op = {.op = (uint16_t)number};

	gen_aim(g, &op, gva);
	gen_values(g, &op);
	return gen_add(g, &op);
}

static enum store_op_number gen_op(struct gen *g)
{
	for (;;) {
		const enum store_op_number number = (enum store_op_number)gen_below(g, STORE_OPS);
		const enum store_kind kind = store_descs[number].kind;

		if (kind == KIND_UNMAP || kind == KIND_DELAY)
			continue;
		if ((kind == KIND_STOS || kind == KIND_MOVS || kind == KIND_LOAD) &&
		    gen_below(g, 4))
			continue;
		return number;
	}
}

/* Each operation once, then across each boundary of the window with each page absent in turn. */
static void gen_prologue(struct gen *g)
{
	static const enum store_op_number across[] = {
		STORE_mov16,	  STORE_mov32,	   STORE_mov64,	    STORE_movi64,    STORE_add32,
		STORE_lock_add32, STORE_cmpxchg64, STORE_rep_movsl, STORE_rep_stosq,
	};

	for (unsigned number = 0; number < STORE_OPS; number++) {
		const enum store_kind kind = store_descs[number].kind;

		if (kind == KIND_UNMAP || kind == KIND_DELAY)
			continue;
		for (unsigned i = 0; i < TRIES; i++)
			if (gen_at(g, number, RANGE_A_GPA + 0x100 + gen_below(g, 0xe000)))
				break;
	}
	for (unsigned page = 1; page < WINDOW_COUNT; page++) {
		for (unsigned i = 0; i < sizeof(across) / sizeof(across[0]); i++) {
			const unsigned bytes = store_descs[across[i]].bytes;
			const unsigned absent = (unsigned)gen_below(g, 4);

			if (absent & 1)
				gen_unmap(g, page);
			if (absent & 2)
				gen_unmap(g, page - 1);
			gen_at(g, across[i],
			       WINDOW_GVA + page * PAGE - 1 - gen_below(g, bytes - 1));
		}
	}
}

static void gen_random_op(struct gen *g)
{
	const enum store_op_number number = gen_op(g);

	if (gen_below(g, 20)) {
		gen_at(g, number, gen_gva(g));
		return;
	}

	const unsigned page = (unsigned)gen_below(g, WINDOW_COUNT);

	gen_unmap(g, page);
	if (page && !gen_below(g, 3))
		gen_unmap(g, page - 1);
	gen_at(g, number, WINDOW_GVA + page * PAGE - gen_below(g, 8));
}

/* The header, from a run of the whole table on a fresh arena. */
static void gen_finish(struct gen *g, uint32_t passes)
{
	struct stores_model *m = g->model;

	memset(m, 0, sizeof(*m));
	m->table = (const uint8_t *)g->table;
	m->table_bytes = OP_BYTES * (1 + g->table->header.ops);
	for (uint32_t pass = 0; pass < passes; pass++)
		for (uint32_t i = 0; i < g->table->header.ops; i++)
			model_run(m, &g->table->ops[i]);
	g->table->header.magic = TABLE_MAGIC;
	g->table->header.passes = passes;
	g->table->header.stores = (uint32_t)m->stores;
	g->table->header.faults = m->faults;
	g->table->header.sum_a = payload_sum(&m->arena[RANGE_A_GPA - ARENA_GPA], RANGE_A_BYTES);
	g->table->header.sum_b = payload_sum(&m->arena[RANGE_B_GPA - ARENA_GPA], RANGE_B_BYTES);
}

static int usage(void)
{
	fprintf(stderr, "usage: stores_gen [-n STORES] [-p PASSES] [-s SEED] "
			"[-e OPERATIONS -d ITERATIONS] > TABLE\n"
			"  -n  stores to the ranges in one pass, at least (110000)\n"
			"  -e, -d  after so many operations, so many turns of an empty loop\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t stores = 110000, seed = 1;
	uint32_t passes = 1, every = 0, delay = 0;
	int c;

	while ((c = getopt(argc, argv, "n:p:s:e:d:")) != -1) {
		const uint64_t value = strtoull(c == '?' ? "" : optarg, NULL, 0);

		switch (c) {
		case 'n':
			stores = value;
			break;
		case 'p':
			passes = (uint32_t)value;
			break;
		case 's':
			seed = value;
			break;
		case 'e':
			every = (uint32_t)value;
			break;
		case 'd':
			delay = (uint32_t)value;
			break;
		default:
			return usage();
		}
	}
	if (optind != argc || !passes)
		return usage();

	struct gen g = {.state = seed * 0x9e3779b97f4a7c15ull + 1};

	g.model = calloc(1, sizeof(*g.model));
	g.table = calloc(1, sizeof(*g.table));
	if (!g.model || !g.table) {
		perror("stores_gen");
		return 1;
	}
	g.model->table = (const uint8_t *)g.table;
	gen_prologue(&g);
	for (uint32_t n = 1; g.model->stores < stores && g.table->header.ops < OPS_MAX; n++) {
		gen_random_op(&g);
		if (every && delay && n % every == 0)
			gen_add(&g, &(struct store_op){.op = STORE_delay, .count = delay});
	}
	const bool enough = g.model->stores >= stores;

	if (!enough)
		fprintf(stderr, "stores_gen: the table is full\n");
	gen_finish(&g, passes);

	const size_t bytes = OP_BYTES * (1 + (size_t)g.table->header.ops);
	const bool written = fwrite(g.table, 1, bytes, stdout) == bytes && !fflush(stdout);

	if (!written)
		perror("stores_gen");
	free(g.model);
	free(g.table);
	return enough && written ? 0 : 1;
}
