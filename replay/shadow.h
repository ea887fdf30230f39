/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shadow: what a range is known to hold as a trace is played forward. Pages are allocated as
 * they become known.
 */
#ifndef VMBLAME_SHADOW_H
#define VMBLAME_SHADOW_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/event.h"

struct shadow {
	u64 gpa, end;
	struct shadow_page **pages; /* NULL: nothing is ever known */
};

/* A range beyond max bytes gets a shadow that knows nothing. 0 or -ENOMEM. */
int shadow_init(struct shadow *s, u64 gpa, u64 end, u64 max);
void shadow_free(struct shadow *s);
/* All within the shadow's range. bytes are those of [gpa,end). */
int shadow_set(struct shadow *s, u64 gpa, u64 end, const u8 *bytes);
void shadow_forget(struct shadow *s, u64 gpa, u64 end); /* clips by itself */
/* False when any byte is not known. */
bool shadow_get(const struct shadow *s, u64 gpa, u64 end, u8 *bytes);

#endif
