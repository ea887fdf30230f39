/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The aarch64 `stores` guest: what it does to memory, and in which order. The model
 * (stores_model.c) and the plan (stores_plan.c) are compiled twice: into the guest, which compares
 * its memory with the model's, and into stores_truth, which tells each store as a recording should
 * hold it.
 *
 * Memory lies as in ../stores_layout.h, all of it, the window too, RAM_GPA higher.
 */
#ifndef GUESTS_AARCH64_STORES_H
#define GUESTS_AARCH64_STORES_H

#include "../stores_layout.h"

#define RAM_GPA 0x40000000

/* Offsets in struct store_op, for the assembler. */
#define OP_GVA	 0
#define OP_VALUE 8
#define OP_EXTRA 16
#define OP_OP	 24

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE		4096u
#define WINDOW		((uint64_t)RAM_GPA + WINDOW_GVA)
#define STORE_BYTES_MAX 64

enum store_needs { NEEDS_BASE, NEEDS_LSE };

enum store_kind {
	KIND_REG,  /* bytes arg.. of the register file */
	KIND_PAIR, /* half from its start, half from byte arg on */
	KIND_MIX,  /* bytes/16 registers, by elements of arg bytes in turns */
	KIND_ZERO,
	KIND_ADD, /* value, and what was there */
	KIND_CLR,
	KIND_EOR,
	KIND_SET,
	KIND_SMAX,
	KIND_SMIN,
	KIND_UMAX,
	KIND_UMIN,
	KIND_CAS,  /* value expected, extra new; not stored otherwise */
	KIND_CASP, /* value and extra expected, their complements new */
	KIND_FAIL, /* a store-exclusive that has lost its reservation: not stored */
	KIND_CODE, /* value, a function of two instructions, which is then called */
	KIND_LOAD,
	KIND_UNMAP,
};

#define OP(name, ...) STORE_##name,
enum store_op_number {
#include "stores_ops.def"
	STORE_OPS
};
#undef OP

struct store_desc {
	const char *name; /* the ELF symbol is store_<name> */
	enum store_needs needs;
	enum store_kind kind;
	uint8_t bytes;
	uint8_t align; /* of the address: a power of two */
	uint8_t arg;
};

extern const struct store_desc store_descs[STORE_OPS];

struct store_op {
	uint64_t gva;
	uint64_t value;
	uint64_t extra;
	uint64_t op; /* enum store_op_number */
};

_Static_assert(offsetof(struct store_op, op) == OP_OP, "the assembler's offsets hold");

struct store_piece {
	uint64_t index; /* of the store, from 1; 0: it was not made (KIND_FAIL, KIND_CAS) */
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
	bool split_pages; /* cut pieces at 4 KiB boundaries too */
	void (*tell)(void *arg, const struct store_piece *piece); /* may be NULL */
	void *tell_arg;
};

/* All that the operation would access is accessible, and aligned. model_run() does not ask. */
bool model_allows(const struct store_op *op);
/* Reads up to 8 bytes as the guest would, without a fault. */
uint64_t model_peek(const struct stores_model *m, uint64_t gva, unsigned len);
void model_run(struct stores_model *m, const struct store_op *op);

struct stores_plan {
	uint64_t state;
	uint32_t done, operations;
	bool lse;
};

/* The next operation: each once, then pseudo-random ones, the same every time. False at the end.
 * Memory must be as the model has it: a comparison is often made to succeed. */
bool plan_next(struct stores_plan *p, const struct stores_model *m, struct store_op *op);

/* What window page `number` leads to. */
extern const uint64_t window_gpa[WINDOW_COUNT];
#endif

#endif
