/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The body of an events chunk: events of one stream, taken one by one, become columns at once;
 *sealing only puts the columns together. The body is a fixed number of blocks, each compressed by
 *itself:
 *
 *	block 0		fields: the header's columns, then the columns of each kind
 *	block 1		literals: bytes of the word and blob columns
 *	block 2		the bits of the times
 *	block 3...	the tokens of the times, one block a class
 */
#ifndef VMBLAME_ENCODE_H
#define VMBLAME_ENCODE_H

#include "step.h"

#define BLOCK_FIELDS   0
#define BLOCK_LITERALS 1
#define BLOCK_BITS     2
#define BLOCK_TOKENS   3
#define BLOCKS	       (BLOCK_TOKENS + STEP_CLASSES)

struct encoder;

int encoder_open(struct encoder **out);
void encoder_close(struct encoder *e); /* NULL is fine */

/* -EINVAL for an event that the table does not allow; nothing was added then. -ENOMEM may also come
 * from encoder_seal(). seq rises. */
int encoder_put(struct encoder *e, const struct event *ev, u64 seq);
/* Bytes that the blocks will have together, about; never less than their true size. */
size_t encoder_size(const struct encoder *e);
u32 encoder_events(const struct encoder *e);
/* Makes the blocks; they live until encoder_reset(). 0 or -ENOMEM. */
int encoder_seal(struct encoder *e, const struct buf *blocks[BLOCKS]);
/* Empties it for the next chunk. */
void encoder_reset(struct encoder *e);

#endif
