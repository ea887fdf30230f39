// SPDX-License-Identifier: GPL-2.0-or-later
/* What the aarch64 `stores` guest does to memory, in C, without a processor and without a libc. */
#include "stores.h"

const struct store_desc store_descs[STORE_OPS] = {
#define OP(name, needs, kind, bytes, align, arg, ...) \
	[STORE_##name] = {#name, NEEDS_##needs, KIND_##kind, bytes, align, arg},
#include "stores_ops.def"
#undef OP
};

const uint64_t window_gpa[WINDOW_COUNT] = {
#define WINDOW_GPA(number, gpa) [number] = RAM_GPA + (gpa),
	WINDOW_PAGES(WINDOW_GPA)
#undef WINDOW_GPA
};

static const struct {
	uint64_t gpa, end;
} ranges[] = {
	{RAM_GPA + RANGE_A_GPA, RAM_GPA + RANGE_A_GPA + RANGE_A_BYTES},
	{RAM_GPA + RANGE_B_GPA, RAM_GPA + RANGE_B_GPA + RANGE_B_BYTES},
};

static bool inside(uint64_t gva, uint64_t len, uint64_t start, uint64_t end)
{
	return gva >= start && gva <= end && len <= end - gva;
}

bool model_allows(const struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];
	const uint64_t len = desc->bytes ? desc->bytes : 1;
	const bool in_window = inside(op->gva, len, WINDOW, WINDOW + WINDOW_COUNT * PAGE);

	if (op->gva % desc->align)
		return false;
	return in_window || (desc->kind != KIND_UNMAP &&
			     inside(op->gva, len, RAM_GPA + ARENA_GPA, RAM_GPA + ARENA_END));
}

static uint64_t gpa_of(uint64_t gva)
{
	if (gva < WINDOW)
		return gva;
	return window_gpa[(gva - WINDOW) / PAGE] + gva % PAGE;
}

/* The guest takes one fault for each absent page and starts the access again. */
static void touch(struct stores_model *m, uint64_t gva, unsigned len)
{
	if (gva < WINDOW)
		return;
	for (uint64_t page = (gva - WINDOW) / PAGE; page <= (gva + len - 1 - WINDOW) / PAGE;
	     page++) {
		m->faults += m->absent[page];
		m->absent[page] = false;
	}
}

uint64_t model_peek(const struct stores_model *m, uint64_t gva, unsigned len)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)m->arena[gpa_of(gva + i) - RAM_GPA - ARENA_GPA] << (8 * i);
	return value;
}

/* Tells the part of [gpa, gpa+len) that lies in a range; true when there is one. */
static bool tell_piece(struct stores_model *m, struct store_piece piece)
{
	const uint64_t gpa = piece.gpa, end = gpa + piece.len;

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		const uint64_t from = gpa > ranges[i].gpa ? gpa : ranges[i].gpa;
		const uint64_t to = end < ranges[i].end ? end : ranges[i].end;

		if (from >= to)
			continue;
		piece.gpa = from;
		piece.len = (uint32_t)(to - from);
		piece.bytes += from - gpa;
		if (m->tell)
			m->tell(m->tell_arg, &piece);
		return true;
	}
	return false;
}

/* Cuts the access where its bytes do not lie together in guest-physical memory. */
static bool tell(struct stores_model *m, const struct store_op *op, const uint8_t *bytes,
		 uint64_t index)
{
	const unsigned len = store_descs[op->op].bytes;
	unsigned start = 0;
	bool told = false;

	for (unsigned i = 1; i <= len; i++) {
		const uint64_t gva = op->gva + i;
		const bool cut = i == len || gpa_of(gva) != gpa_of(gva - 1) + 1 ||
				 (m->split_pages && gva % PAGE == 0);

		if (!cut)
			continue;
		told |= tell_piece(m, (struct store_piece){.index = index,
							   .gpa = gpa_of(op->gva + start),
							   .len = i - start,
							   .bytes = bytes + start,
							   .op = (enum store_op_number)op->op});
		start = i;
	}
	return told;
}

/* A value of `bits` bits as a signed one. */
static int64_t sign_extend(uint64_t value, unsigned bits)
{
	return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

/* What a read-modify-write of up to 8 bytes makes of `old`. */
static uint64_t op_result(const struct store_op *op, uint64_t old)
{
	const struct store_desc *desc = &store_descs[op->op];
	const unsigned bits = desc->bytes * 8;
	const uint64_t value = op->value & ~0ull >> (64 - bits);
	const bool less = sign_extend(old, bits) < sign_extend(value, bits);

	switch (desc->kind) {
	case KIND_ADD:
		return old + value;
	case KIND_CLR:
		return old & ~value;
	case KIND_EOR:
		return old ^ value;
	case KIND_SET:
		return old | value;
	case KIND_SMAX:
		return less ? value : old;
	case KIND_SMIN:
		return less ? old : value;
	case KIND_UMAX:
		return old < value ? value : old;
	case KIND_UMIN:
		return old < value ? old : value;
	default:
		return value;
	}
}

/* Does a comparison find what it expects? */
static bool op_matches(const struct stores_model *m, const struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];
	const unsigned len = desc->kind == KIND_CASP ? desc->bytes / 2 : desc->bytes;
	const uint64_t mask = ~0ull >> (64 - 8 * len);

	if (model_peek(m, op->gva, len) != (op->value & mask))
		return false;
	return desc->kind != KIND_CASP || model_peek(m, op->gva + len, len) == (op->extra & mask);
}

static void put(uint8_t *to, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

/* The bytes that the operation stores. */
static void op_bytes(const struct stores_model *m, const struct store_op *op, uint8_t *bytes)
{
	const struct store_desc *desc = &store_descs[op->op];
	const unsigned half = desc->bytes / 2, registers = desc->bytes / 16;
	uint8_t file[STORE_BYTES_MAX];

	for (unsigned i = 0; i < STORE_BYTES_MAX / 8; i++) {
		const bool swapped = i >= STORE_BYTES_MAX / 16;
		const uint64_t value = (i % 2 != swapped) ? op->extra : op->value;

		put(file + 8 * i, (i / 2) % 2 ? ~value : value, 8);
	}
	for (unsigned i = 0; i < desc->bytes; i++) {
		switch (desc->kind) {
		case KIND_REG:
		case KIND_CODE:
		case KIND_FAIL:
			bytes[i] = file[desc->arg + i];
			break;
		case KIND_PAIR:
			bytes[i] = file[i < half ? i : desc->arg + i - half];
			break;
		case KIND_MIX: {
			const unsigned element = i / desc->arg;

			bytes[i] = file[16 * (element % registers) +
					element / registers * desc->arg + i % desc->arg];
			break;
		}
		default:
			bytes[i] = 0;
		}
	}
	if (desc->kind == KIND_CAS) {
		put(bytes, op->extra, desc->bytes);
	} else if (desc->kind == KIND_CASP) {
		put(bytes, ~op->value, half);
		put(bytes + half, ~op->extra, half);
	} else if (desc->kind >= KIND_ADD && desc->kind <= KIND_UMIN) {
		put(bytes, op_result(op, model_peek(m, op->gva, desc->bytes)), desc->bytes);
	}
}

void model_run(struct stores_model *m, const struct store_op *op)
{
	const struct store_desc *desc = &store_descs[op->op];
	uint8_t bytes[STORE_BYTES_MAX];

	if (desc->kind == KIND_UNMAP) {
		m->absent[(op->gva - WINDOW) / PAGE] = true;
		return;
	}
	touch(m, op->gva, desc->bytes);
	if (desc->kind == KIND_LOAD)
		return;
	op_bytes(m, op, bytes);
	if (desc->kind == KIND_FAIL ||
	    ((desc->kind == KIND_CAS || desc->kind == KIND_CASP) && !op_matches(m, op))) {
		tell(m, op, bytes, 0);
		return;
	}
	for (unsigned i = 0; i < desc->bytes; i++)
		m->arena[gpa_of(op->gva + i) - RAM_GPA - ARENA_GPA] = bytes[i];
	m->stores += tell(m, op, bytes, m->stores + 1);
}
