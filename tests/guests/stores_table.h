/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table that drives the `stores` guest: made by stores_gen.c on the host, the guest's payload,
 * read again by stores_truth.c. A header, then operations, little-endian.
 */
#ifndef GUESTS_STORES_TABLE_H
#define GUESTS_STORES_TABLE_H

#include "stores_layout.h"

#define TABLE_MAGIC 0x736f7473

/* Offsets in struct store_op, for the assembler. */
#define OP_BYTES 32
#define OP_GVA	 0
#define OP_VALUE 8
#define OP_EXTRA 16
#define OP_COUNT 24
#define OP_OP	 28

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

struct stores_table {
	uint32_t magic;	 /* TABLE_MAGIC */
	uint32_t ops;	 /* operations that follow */
	uint32_t passes; /* how often the guest goes through them all */
	uint32_t stores; /* that touch the ranges, over all passes: what the ledger must hold */
	uint32_t faults; /* page faults that the guest must take */
	uint32_t sum_a;	 /* payload_sum() of range A at the end */
	uint32_t sum_b;
	uint32_t spare;
};

struct store_op {
	uint64_t gva;
	uint64_t value; /* rax */
	uint64_t extra; /* rdx and rsi */
	uint32_t count; /* rcx */
	uint16_t op;	/* enum store_op_number */
	uint16_t spare;
};

_Static_assert(sizeof(struct stores_table) == OP_BYTES, "the operations follow the header");
_Static_assert(sizeof(struct store_op) == OP_BYTES && offsetof(struct store_op, op) == OP_OP,
	       "the assembler's offsets hold");

#define OP(name, ...) STORE_##name,
enum store_op_number {
#include "stores_ops.def"
	STORE_OPS
};
#undef OP
#endif

#endif
