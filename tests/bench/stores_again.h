/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoded stores, given to a writer again as a recorder gives them: gathered first, with what has
 * to be told of sites, mappings, times and threads in between, then put.
 */
#ifndef BENCH_STORES_AGAIN_H
#define BENCH_STORES_AGAIN_H

#include "formats/writer.h"

struct again;
struct again *again_open(void);
void again_close(struct again *a);
/* Behind those gathered before; later_ns is added to their time. */
void again_add(struct again *a, const struct stores *s, u64 later_ns);
size_t again_count(const struct again *a);
/* Puts what was gathered. 0, or what the writer said. All of it goes to one writer. */
int again_put(struct again *a, struct writer *w);

#endif
