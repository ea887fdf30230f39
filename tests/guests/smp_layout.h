/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the `smp` guest's contended words lie, and what it does there.
 *
 *	0x01800040	the word: 16 bytes, each operation counts in it
 *	0x01800100	a flag that goes round between the vCPUs, in the same page
 *	0x01900000	one that nobody watches
 */
#ifndef GUESTS_SMP_LAYOUT_H
#define GUESTS_SMP_LAYOUT_H

#define WORD_GPA 0x1800040
#define FLAG_GPA 0x1800100
#define FREE_GPA 0x1900000

/* What the vCPUs do; smp_config.ops has a bit for each. */
#define SMP_OPS(X)                                                                  \
	X(0, inc, "lock inc: one instruction, one store")                           \
	X(1, xadd, "lock xadd: the old values are checked too")                     \
	X(2, cmpxchg, "lock cmpxchg in a loop")                                     \
	X(3, cmpxchg8b, "lock cmpxchg8b in a loop: n and 3n")                       \
	X(4, cmpxchg16b, "the same, twice as wide")                                 \
	X(5, ipi, "sleep in hlt, be woken by an interrupt, count, wake the sender") \
	X(6, spin, "pass the watched flag round, waiting in a loop with pause")     \
	X(7, spin_free, "the same with the flag that is not watched")

#define SMP_VCPUS     8
#define SMP_OPS_COUNT 8

#endif
