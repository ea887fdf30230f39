/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A trace's events in order, stores as many as follow one another: what the helpers of full.sh are
 * built on. They end the process with a line on stderr when something goes wrong.
 */
#ifndef BENCH_STORES_EACH_H
#define BENCH_STORES_EACH_H

#include "formats/reader.h"
#include "formats/stores.h"

struct reader *each_open(const char *path);
/* As reader_each(), stores in bulk; streams as in struct cursor_spec. */
void each_run(struct reader *r, unsigned streams, each_fn *fn, void *arg);
/* The bytes of the file from the first index chunk on. */
u64 each_index_bytes(const char *path);
_Noreturn void die(const char *what, const char *why);
/* CPU time of this thread. */
double cpu_ns(void);

#endif
