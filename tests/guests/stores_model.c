// SPDX-License-Identifier: GPL-2.0-or-later
/* What the `stores` guest does to memory, in C and without a processor. */
#include "stores_model.h"

#include <assert.h>
#include <string.h>

#define PAGE 4096u

const struct store_desc store_descs[STORE_OPS] = {
#define OP(name, kind, bytes, arg, ...) [STORE_##name] = {#name, KIND_##kind, bytes, arg},
#include "stores_ops.def"
#undef OP
};

static const uint64_t window_gpa[WINDOW_COUNT] = {
#define WINDOW_GPA(number, gpa) [number] = (gpa),
	WINDOW_PAGES(WINDOW_GPA)
#undef WINDOW_GPA
};

static const struct {
	uint64_t gpa, end;
} ranges[] = {
	{RANGE_A_GPA, RANGE_A_GPA + RANGE_A_BYTES},
	{RANGE_B_GPA, RANGE_B_GPA + RANGE_B_BYTES},
};

static bool inside(uint64_t gva, uint64_t len, uint64_t start, uint64_t end)
{
	return gva >= start && gva <= end && len <= end - gva;
}

bool model_writable(uint64_t gva, uint64_t len)
{
	return inside(gva, len, ARENA_GPA, ARENA_END) ||
	       inside(gva, len, WINDOW_GVA, WINDOW_GVA + WINDOW_COUNT * PAGE);
}

bool model_readable(const struct stores_model *m, uint64_t gva, uint64_t len)
{
	return model_writable(gva, len) || inside(gva, len, TABLE_GPA, TABLE_GPA + m->table_bytes);
}

static uint64_t gpa_of(uint64_t gva)
{
	if (gva < WINDOW_GVA)
		return gva;
	return window_gpa[(gva - WINDOW_GVA) / PAGE] + gva % PAGE;
}

/* The guest takes a fault for each absent page, lowest first, and starts the access again. */
static void touch(struct stores_model *m, uint64_t gva, unsigned len)
{
	if (gva < WINDOW_GVA)
		return;
	for (uint64_t page = (gva - WINDOW_GVA) / PAGE; page <= (gva + len - 1 - WINDOW_GVA) / PAGE;
	     page++) {
		m->faults += m->absent[page];
		m->absent[page] = false;
	}
}

static const uint8_t *byte_at(const struct stores_model *m, uint64_t gva)
{
	const uint64_t gpa = gpa_of(gva);

	if (gpa < ARENA_GPA)
		return &m->table[gpa - TABLE_GPA];
	return &m->arena[gpa - ARENA_GPA];
}

uint64_t model_peek(const struct stores_model *m, uint64_t gva, unsigned len)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)*byte_at(m, gva + i) << (8 * i);
	return value;
}

static uint64_t load(struct stores_model *m, uint64_t gva, unsigned len)
{
	assert(model_readable(m, gva, len));
	touch(m, gva, len);
	return model_peek(m, gva, len);
}

/* Tells the part of [gpa, gpa+len) that lies in a range; true when there is one. */
static bool tell_piece(struct stores_model *m, enum store_op_number op, uint64_t gpa, unsigned len,
		       const uint8_t *bytes, uint64_t index)
{
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		const uint64_t from = gpa > ranges[i].gpa ? gpa : ranges[i].gpa;
		const uint64_t to = gpa + len < ranges[i].end ? gpa + len : ranges[i].end;

		if (from >= to)
			continue;

		const struct store_piece piece = {
			.index = index,
			.gpa = from,
			.len = (uint32_t)(to - from),
			.bytes = bytes + (from - gpa),
			.op = op,
		};
		if (m->tell)
			m->tell(m->tell_arg, &piece);
		return true;
	}
	return false;
}

static void store(struct stores_model *m, enum store_op_number op, uint64_t gva, unsigned len,
		  uint64_t value)
{
	uint8_t bytes[8];
	unsigned start = 0;
	bool told = false;

	assert(len <= sizeof(bytes) && model_writable(gva, len));
	touch(m, gva, len);
	for (unsigned i = 0; i < len; i++) {
		bytes[i] = (uint8_t)(value >> (8 * i));
		m->arena[gpa_of(gva + i) - ARENA_GPA] = bytes[i];
	}
	for (unsigned i = 1; i <= len; i++) {
		const bool cut = i == len || gpa_of(gva + i) != gpa_of(gva + i - 1) + 1 ||
				 (m->split_pages && (gva + i) % PAGE == 0);

		if (!cut)
			continue;
		told |= tell_piece(m, op, gpa_of(gva + start), i - start, &bytes[start],
				   m->stores + 1);
		start = i;
	}
	m->stores += told;
}

/* Where the operation's single access lies. */
static uint64_t op_gva(const struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];

	switch (desc->kind) {
	case KIND_SIB:
		return op->gva + 4ull * op->count + (uint64_t)desc->arg;
	case KIND_ABS:
		return (uint64_t)desc->arg;
	case KIND_BTS:
		if (desc->bytes == 8)
			return op->gva + 8 * (uint64_t)((int64_t)op->extra >> 6);
		return op->gva + 4 * (uint64_t)(int64_t)((int32_t)op->extra >> 5);
	default:
		return op->gva;
	}
}

bool model_allows(const struct stores_model *m, const struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];
	const uint64_t all = (uint64_t)desc->bytes * op->count;
	const uint64_t below = desc->arg < 0 && op->count ? all - desc->bytes : 0;

	switch (desc->kind) {
	case KIND_DELAY:
		return op->count > 0;
	case KIND_UNMAP:
		return op->gva >= WINDOW_GVA && model_writable(op->gva, 1);
	case KIND_MOVS:
		if (below > op->extra || !model_readable(m, op->extra - below, all))
			return false;
		/* fall through */
	case KIND_STOS:
		return below <= op->gva && model_writable(op->gva - below, all);
	default:
		return model_writable(op_gva(op), desc->bytes);
	}
}

/* A value of `bits` bits as a signed one. */
static int64_t sign_extend(uint64_t value, unsigned bits)
{
	return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

/* What a read-modify-write makes of `old`. */
static uint64_t op_result(const struct store_op *op, uint64_t old)
{
	const struct store_desc *desc = &store_descs[op->op];
	const unsigned bits = desc->bytes * 8;
	const uint64_t mask = ~0ull >> (64 - bits);
	const uint64_t arg = (uint64_t)desc->arg;

	switch (desc->kind) {
	case KIND_ADD:
		return old + op->value + arg;
	case KIND_SUB:
		return old - op->value - arg;
	case KIND_AND:
		return old & op->value;
	case KIND_OR:
		return old | op->value;
	case KIND_XOR:
		return old ^ op->value;
	case KIND_INC:
		return old + arg;
	case KIND_NEG:
		return -old;
	case KIND_NOT:
		return ~old;
	case KIND_SHL:
		return old << arg;
	case KIND_SHR:
		return old >> arg;
	case KIND_SAR:
		return (uint64_t)(sign_extend(old, bits) >> arg);
	case KIND_ROL:
		return old << arg | old >> (bits - arg);
	case KIND_SHLD:
		return old << arg | (op->value & mask) >> (bits - arg);
	case KIND_CMPXCHG:
		return old == (op->value & mask) ? op->extra : old;
	case KIND_CMPXCHG8B:
		if (old != ((op->extra & 0xffffffff) << 32 | (op->value & 0xffffffff)))
			return old;
		return (uint64_t)op->count << 32 | op->op;
	case KIND_BTS:
		return old | 1ull << (op->extra % bits);
	case KIND_BTRI:
		return old & ~(1ull << arg);
	case KIND_BTCI:
		return old ^ 1ull << arg;
	default:
		return op->value;
	}
}

static void string_run(struct stores_model *m, const struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];
	uint64_t to = op->gva, from = op->extra;

	for (uint32_t i = 0; i < op->count; i++) {
		uint64_t value = op->value;

		if (desc->kind == KIND_MOVS)
			value = load(m, from, desc->bytes);
		store(m, op->op, to, desc->bytes, value);
		to += desc->bytes * (uint64_t)desc->arg;
		from += desc->bytes * (uint64_t)desc->arg;
	}
}

void model_run(struct stores_model *m, const struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];
	const uint64_t gva = op_gva(op);

	assert(model_allows(m, op));
	switch (desc->kind) {
	case KIND_DELAY:
		break;
	case KIND_UNMAP:
		m->absent[(op->gva - WINDOW_GVA) / PAGE] = true;
		break;
	case KIND_LOAD:
		load(m, gva, desc->bytes);
		break;
	case KIND_STOS:
	case KIND_MOVS:
		string_run(m, op);
		break;
	case KIND_MOV:
		store(m, op->op, gva, desc->bytes, op->value >> desc->arg);
		break;
	case KIND_IMM:
		store(m, op->op, gva, desc->bytes, (uint64_t)desc->arg);
		break;
	case KIND_SIB:
	case KIND_ABS:
	case KIND_XCHG:
		store(m, op->op, gva, desc->bytes, op->value);
		break;
	default:
		store(m, op->op, gva, desc->bytes, op_result(op, load(m, gva, desc->bytes)));
	}
}
