/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A look into an events chunk for addresses alone: does any event touch a range? It decodes two or
 * three columns of the kinds that have a range, and so takes a tenth of the time of decode.h. It
 * spares the decoding of chunks whose page set holds a page but none of the bytes asked for.
 */
#ifndef VMBLAME_PROBE_H
#define VMBLAME_PROBE_H

#include "wire.h"

struct probe;

int probe_open(struct probe **out);
void probe_close(struct probe *p); /* NULL is fine */

/* Whether an event of the chunk may touch [gpa,end), from its fields (block 0). True also when the
 * columns are malformed: decoding will tell. */
bool probe_run(struct probe *p, struct span fields, u32 events, u64 gpa, u64 end);

#endif
