/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The container: file header, chunks, trailer. Knows nothing of events. docs/format.md says it in
 * words.
 *
 *	file    = file_head chunk* trailer
 *	chunk   = chunk_head pages blocks
 *	pages   = head.pages_bytes bytes, see pages.h; not compressed, so that a scan needs no zstd
 *	blocks  = nblocks:varint { raw:varint stored:varint }[nblocks] { stored bytes }[nblocks]
 *
 * A block is a zstd frame when stored < raw, and the raw bytes when they are equal.
 */
#ifndef VMBLAME_CHUNK_H
#define VMBLAME_CHUNK_H

#include <zstd.h>

#include "wire.h"

#define FILE_MAGIC "\x8fVMB\r\n\x1a\n"
#define CHUNK_MAGIC \
	"\x8f"      \
	"chunk\r\n"
#define TRAILER_MAGIC \
	"\x8f"        \
	"index\r\n"
#define MAGIC_BYTES 8

#define VERSION_MAJOR	 1
#define VERSION_MINOR	 0
#define INCOMPAT_STORES	 1ull /* there may be chunks of stores */
#define INCOMPAT_BY_PAGE 2ull /* no trace, but the stores of one by pages: by_page.h */
#define INCOMPAT_KNOWN	 (INCOMPAT_STORES | INCOMPAT_BY_PAGE)
#define CHUNK_RAW_MAX	 (64u << 20)
#define CHUNK_PAGES_MAX	 (4u << 20)
#define CHUNK_SIZE_MAX	 (72u << 20)
#define CHUNK_BLOCKS_MAX 64
/* So many bytes behind the blocks may be read: decoders take eight at once. */
#define CHUNK_RAW_SLACK 8

struct file_head {
	u8 magic[MAGIC_BYTES];
	u16 version_major; /* a greater one is another format */
	u16 version_minor; /* a greater one has kinds, fields, chunk types that may be left out */
	u32 reserved;
	u64 compat;   /* features that a reader may ignore */
	u64 incompat; /* features that it may not */
	u64 start_mono_ns;
	u64 start_real_ns;
	u8 uuid[16];
	u64 checksum; /* XXH64, seed 0, of the bytes before it */
};
_Static_assert(sizeof(struct file_head) == 72, "file header");

enum chunk_type { CHUNK_EVENTS = 1, CHUNK_META, CHUNK_INDEX, CHUNK_STORES };

struct chunk_head {
	u8 magic[MAGIC_BYTES];
	u64 off;       /* of this chunk in the file */
	u32 size;      /* with this header */
	u32 raw_bytes; /* sum of the blocks' raw sizes */
	u32 pages_bytes;
	u32 events; /* events or stores; of a meta chunk keys; of an index chunk rows */
	u8 type;    /* enum chunk_type; others are stepped over */
	u8 stream;  /* enum stream, 0 unless CHUNK_EVENTS or CHUNK_STORES */
	u16 reserved16;
	u32 words_sum;	      /* CHUNK_STORES: see stores_words_sum(); else 0 */
	u64 seq_min, seq_max; /* first and last, 0 unless CHUNK_EVENTS, as all that follow */
	u64 t_min, t_max;
	u64 lost;
	u64 body_checksum; /* XXH64, seed 0, of all that follows this header */
	u64 checksum;	   /* the same of the bytes of this header before it */
};
_Static_assert(sizeof(struct chunk_head) == 96, "chunk header");

/* Stores have a type of chunk of their own; the events of the other streams share one. */
static inline bool chunk_stream_valid(u8 type, u8 stream)
{
	return stream < STREAM_MAX && (type == CHUNK_STORES) == (stream == STREAM_STORES);
}

/* A row of an index chunk; its page set follows it. Names as above. */
struct index_row {
	u64 off;
	u32 size, events;
	u8 type, stream;
	u16 reserved16;
	u32 pages_bytes;
	u64 seq_min, seq_max, t_min, t_max, lost;
};
_Static_assert(sizeof(struct index_row) == 64, "index row");

struct trailer {
	u8 magic[MAGIC_BYTES];
	u64 index_off;	/* of the first index chunk; they run up to the trailer */
	u64 file_bytes; /* with this trailer */
	u64 nchunks;	/* chunks before the index */
	u64 checksum;	/* as above */
};
_Static_assert(sizeof(struct trailer) == 40, "trailer");

/* Fill in magic and checksum. */
void file_head_seal(struct file_head *h);
void trailer_seal(struct trailer *t);

/* 0; -EPROTO: not such a file; -EPROTONOSUPPORT: from a newer version; -EBADMSG: damaged. *why is a
 * constant string then. */
int file_head_check(const struct file_head *h, const char **why);
bool trailer_valid(const struct trailer *t, u64 file_bytes);
/* Whether these bytes are a chunk header that belongs at `off`. */
bool chunk_head_valid(const struct chunk_head *h, u64 off, const char **why);
bool chunk_body_valid(const struct chunk_head *h, const void *body);

/* Appends a chunk to `out`. Of *h the caller has set off, type, stream, events, seq_*, t_*, lost;
 * the rest is filled in. 0, -ENOMEM or -EFBIG. */
int chunk_encode(struct buf *out, struct chunk_head *h, const struct buf *pages,
		 const struct buf *const *blocks, unsigned nblocks, ZSTD_CCtx *zstd, int level);

#define CHUNK_ALL_BLOCKS (~0ull)

/* Unpacks those blocks of a valid chunk that are in `wanted` (bit 1 << block) into *raw (at most
 * CHUNK_RAW_MAX) and points blocks[] into it; the others come out empty. 0; -EBADMSG with *why,
 * also when there are not exactly nblocks of them; -ENOMEM. */
int chunk_decode(const struct chunk_head *h, const void *body, struct buf *raw, struct span *blocks,
		 unsigned nblocks, u64 wanted, ZSTD_DCtx *zstd, const char **why);

/* Unpacks the first block of a valid header's chunk from the first `have` bytes of its body, which
 * nobody has checked yet. 0; -EAGAIN: *need bytes of the body are needed; -EBADMSG; -ENOMEM. */
int chunk_first_block(const struct chunk_head *h, const void *body, size_t have, struct buf *raw,
		      struct span *block, ZSTD_DCtx *zstd, size_t *need);

static inline struct span chunk_pages(const struct chunk_head *h, const void *body)
{
	return span_of(body, h->pages_bytes);
}

#endif
