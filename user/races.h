/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which stores raced: vCPUs that run at once tell of their stores in rings of their own, and the
 * order in which these are drained is the stores' own only as far as this can be sure of it.
 *
 * Rings are drained in passes, each of them as far as it was filled. A store that was drained in
 * pass k was told of before the end of that pass. One before which its thread had told of another,
 * drained in pass k + 2, was made after the beginning of the one before: so after it. Everything
 * closer to each other may have happened in the other order: it raced.
 */
#ifndef VMBLAME_RACES_H
#define VMBLAME_RACES_H

#include <stdbool.h>

#include "formats/event.h"

struct races;

/* Stores from pass `since` on are told of. 0 or -ENOMEM. */
int races_open(struct races **out, u32 since);
void races_close(struct races *r); /* NULL is fine */

/* A store of 1 to 8 bytes to address `at` (anything by which memory is known), drained from `ring`
 * in this pass, whose thread's store before it was drained in the pass `before` (0: there was
 * none). Whether it raced with one of another ring; sometimes also with one to other bytes. */
bool races_store(struct races *r, u32 ring, u32 before, u32 pass, u64 at, u32 size);
/* Whether a store to one of these bytes raced in this pass or after. */
bool races_since(const struct races *r, u32 pass, u64 at, u32 size);

#endif
