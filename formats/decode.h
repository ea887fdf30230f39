/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The body of an events chunk, turned back into events: all of them at once, in a compact form that
 * goes both ways; blobs stay in the raw bytes. Nothing in the body is trusted.
 */
#ifndef VMBLAME_DECODE_H
#define VMBLAME_DECODE_H

#include "encode.h"

#define DECODE_EVENTS (1u << 17) /* of one chunk, at most */

/* The events of one chunk. All zero: none yet. */
struct decoded {
	u32 n;	      /* events of known kinds */
	u32 nunknown; /* events of kinds that this version does not know; left out */
	u64 seq_last; /* number of the last event, known or not */
	u32 *offs;    /* where each record begins */
	struct buf records;
	struct buf raw; /* the blocks, where the blobs lie */
};

/* Sites and columns, kept from chunk to chunk. */
struct decoder;

int decoder_open(struct decoder **out);
void decoder_close(struct decoder *d); /* NULL is fine */

/* Decodes `events` events whose first has the number seq_first from out->raw, cut into blocks. 0,
 * or -EBADMSG (*why: a constant string) or -ENOMEM; `out` holds no events then. */
int decoder_run(struct decoder *d, const struct span blocks[BLOCKS], u32 events, u64 seq_first,
		struct decoded *out, const char **why);

/* Number of event i, and the event. Kinds with a blob are put together in `scratch` (an event of
 * the greatest size); others are returned where they lie. */
u64 decoded_seq(const struct decoded *d, u32 i);
const struct event *decoded_event(const struct decoded *d, u32 i, void *scratch);
/* Without the blob: enough for the header and event_range(). */
const struct event *decoded_peek(const struct decoded *d, u32 i);
void decoded_free(struct decoded *d);

/* The size of the greatest event. */
size_t event_size_max(void);

#endif
