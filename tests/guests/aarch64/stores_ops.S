/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The aarch64 `stores` guest's operations: one labelled instruction for each.
 */
#include "stores.h"

/* The instruction's displacement, taken off beforehand: the access begins at x2. */
#define BACK(n)            sub x2, x2, n
#define INDEX(i, size)     mov x4, i; sub x2, x2, (i) * (size)
#define EXCLUSIVE(load, reg, op) load reg, [x2]; op x4, x4, x0
#define EXCLUSIVE_PAIR(a, b) ldaxp a, b, [x2]
#define LOST(reg)          ldxr reg, [x2]; clrex
#define NEW_PAIR           mvn x4, x0; mvn x5, x1
#define TOUCH              ldrb w4, [x2]

	.arch armv8-a+lse
	.text
	/* bool stores_run(const struct store_op *op): false when the processor did otherwise. */
	.globl stores_run
	.type stores_run, @function
stores_run:
	stp	x29, x30, [sp, -16]!
	mov	x29, sp
	ldr	x2, [x0, OP_GVA]
	ldr	x6, [x0, OP_OP]
	ldr	x1, [x0, OP_EXTRA]
	ldr	x0, [x0, OP_VALUE]
	mvn	x4, x0
	mvn	x5, x1
	mov	v0.d[0], x0
	mov	v0.d[1], x1
	mov	v1.d[0], x4
	mov	v1.d[1], x5
	mov	v2.d[0], x1
	mov	v2.d[1], x0
	mov	v3.d[0], x5
	mov	v3.d[1], x4
	adrp	x7, stores_ops
	add	x7, x7, :lo12:stores_ops
	ldr	x7, [x7, x6, lsl 3]
	br	x7
stores_next:
	mov	w0, 1
	ldp	x29, x30, [sp], 16
	ret
stores_wrong:
	mov	w0, 0
	ldp	x29, x30, [sp], 16
	ret

	/* A function was stored at x2: calls it. It returns the number in its first instruction. */
stores_code:
	dc	cvau, x2
	dsb	ish
	ic	ivau, x2
	dsb	ish
	isb
	ubfx	w7, w0, 5, 16
	blr	x2
	cmp	w0, w7
	b.ne	stores_wrong
	b	stores_next
	.size stores_run, . - stores_run

#define OP(name, needs, kind, bytes, align, arg, prelude, ...)                                     \
op_##name: prelude; .globl store_##name; .type store_##name, @function;                            \
store_##name: __VA_ARGS__; .size store_##name, . - store_##name; b stores_next;
#include "stores_ops.def"
#undef OP

	.section .rodata
	.balign 8
stores_ops:
#define OP(name, ...) .quad op_##name;
#include "stores_ops.def"
#undef OP

	.section .note.GNU-stack, "", @progbits
