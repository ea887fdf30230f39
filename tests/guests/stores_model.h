/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's model of the `stores` guest: does what the interpreter (stores_ops.S) does, on an
 * image of the arena, and tells each store to the ranges as it should appear in a ledger.
 *
 * A store of the guest has one index. It is told as one piece where its bytes lie together in
 * guest- physical memory, as two where they do not (it crossed between two pages of the window),
 * each cut down to the bytes that lie in a range; a store that touches no range has no index.
 */
#ifndef GUESTS_STORES_MODEL_H
#define GUESTS_STORES_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "stores_table.h"

enum store_kind {
	KIND_MOV, /* value >> arg */
	KIND_IMM, /* arg */
	KIND_SIB, /* value, at gva + 4*count + arg */
	KIND_ABS, /* value, at arg */
	KIND_ADD, /* value + arg */
	KIND_SUB, /* value + arg */
	KIND_AND,
	KIND_OR,
	KIND_XOR,
	KIND_INC, /* by arg */
	KIND_NEG,
	KIND_NOT,
	KIND_SHL, /* by arg */
	KIND_SHR,
	KIND_SAR,
	KIND_ROL,
	KIND_SHLD,
	KIND_XCHG,
	KIND_CMPXCHG,	/* value expected, extra new; writes back what it found otherwise */
	KIND_CMPXCHG8B, /* extra:value (32 bits each) expected, count:op new */
	KIND_BTS,	/* bit `extra`, signed, from gva on */
	KIND_BTRI,	/* bit arg */
	KIND_BTCI,
	KIND_STOS, /* count times; arg 1 up, -1 down */
	KIND_MOVS, /* from extra */
	KIND_LOAD,
	KIND_UNMAP,
	KIND_DELAY,
};

struct store_desc {
	const char *name; /* the ELF symbol is store_<name> */
	enum store_kind kind;
	uint8_t bytes; /* of one store */
	int64_t arg;
};

extern const struct store_desc store_descs[STORE_OPS];

struct store_piece {
	uint64_t index; /* of the store, from 1 */
	uint64_t gpa;
	uint32_t len;
	const uint8_t *bytes;
	enum store_op_number op;
};

struct stores_model {
	uint8_t arena[ARENA_END - ARENA_GPA];
	bool absent[WINDOW_COUNT];
	uint64_t stores; /* that touched a range */
	uint32_t faults;
	const uint8_t *table; /* what lies at TABLE_GPA: copies may come from there */
	uint32_t table_bytes;
	bool split_pages; /* cut pieces at 4 KiB boundaries too, as KVM asks for them */
	void (*tell)(void *arg, const struct store_piece *piece); /* may be NULL */
	void *tell_arg;
};

/* Can the guest access these bytes: all of them in the arena, or in the window? */
bool model_writable(uint64_t gva, uint64_t len);
/* The same or in the table. */
bool model_readable(const struct stores_model *m, uint64_t gva, uint64_t len);
/* Reads up to 8 bytes as the guest would, without a fault. */
uint64_t model_peek(const struct stores_model *m, uint64_t gva, unsigned len);
/* All that the operation would access is accessible: model_run() asserts it. */
bool model_allows(const struct stores_model *m, const struct store_op *op);
void model_run(struct stores_model *m, const struct store_op *op);

#endif
