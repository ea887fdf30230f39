/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reader from inside: what opening, scanning and cursors share. Not for users of the library.
 */
#ifndef VMBLAME_READER_FILE_H
#define VMBLAME_READER_FILE_H

#include "chunk.h"
#include "reader.h"

/* Page sets are kept in memory up to this much; beyond it they are read from their chunks. */
#define READER_PAGES_MAX (32u << 20)

/* Beside each chunk_info: where its page set is in `pages`. */
struct chunk_pages_at {
	size_t off;
	u32 size;
	bool kept;
};

struct meta {
	char *key, *value;
};

struct reader {
	int fd;
	char *path;
	struct trace_info info;
	struct chunk_info *chunks;
	struct chunk_pages_at *at;
	size_t cap;
	struct buf pages;
	struct buf chunk, raw; /* for reading meta and index chunks */
	ZSTD_DCtx *zstd;
	struct meta *metas;
	size_t nmetas, metas_bytes;
	u64 gap_off; /* some bytes here belong to no chunk, when gap */
	bool gap;
	char message[512];
};

/* n bytes at off: 0, -EIO and the like, -ENODATA when the file ends before. */
int reader_pread(const struct reader *r, void *to, size_t n, u64 off);

/* Notes what is wrong; the first message stays. */
void reader_complain(struct reader *r, u64 off, const char *why);

/* Reads the chunk at off, which is *size bytes long (0: as its header says), into `to` and checks
 * both checksums. 0 with *h set; -EBADMSG with *why; -ENODATA when it is cut; -ENOMEM; -EIO and the
 * like. After -EBADMSG and -ENODATA *h is set when the header is whole, else h->size is 0. */
int reader_chunk(const struct reader *r, u64 off, u32 size, struct buf *to, struct chunk_head *h,
		 const char **why);

/* The header, the page set and the first block of a chunk, no more of it being read; they live
 * until the next call with the same buffers. 0 or a negative errno: read the whole chunk, which
 * will tell. */
int reader_first_block(const struct reader *r, u64 off, struct buf *to, struct buf *raw,
		       ZSTD_DCtx *zstd, struct chunk_head *h, struct span *pages,
		       struct span *block);

/* Adds an events chunk with its page set. 0 or -ENOMEM. */
int reader_add(struct reader *r, const struct chunk_info *info, struct span pages);

/* Takes the facts of the meta chunk at off. */
/* A new stream needs a feature bit: without one this is damage, and said. 0. */
int reader_unknown_stream(struct reader *r, u64 off);
int reader_metas(struct reader *r, u64 off, u32 size);

/* Whether a chunk may hold events that touch [gpa,end). */
bool reader_chunk_touches(const struct reader *r, size_t chunk, u64 gpa, u64 end);

/* Forgets all chunks and facts, then finds them by going through the file. */
int reader_scan(struct reader *r);

#endif
