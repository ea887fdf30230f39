/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of guest-physical addresses: half-open ranges, joined where they touch, at most so many.
 */
#ifndef VMBLAME_GPASET_H
#define VMBLAME_GPASET_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/shared.h"

#define GPASET_MAX 4096

struct gpaset {
	struct gpa_range range[GPASET_MAX]; /* sorted */
	size_t n;
};

/* Adds [gpa,end), which is not empty. False when all of it was in there before. A full set takes
 * what joins a range that it has, and forgets the rest. */
bool gpaset_add(struct gpaset *s, u64 gpa, u64 end);

#endif
