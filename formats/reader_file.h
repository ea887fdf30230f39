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

/* A chunk, and where its page set is in its part's `pages`. */
struct reader_row {
	struct chunk_info info;
	size_t off;
	u32 size;
	bool kept;
	bool unsure; /* of its page set */
};

/* Rows of a stream's chunks that follow one another. */
struct reader_part {
	u64 off;	 /* of its index chunk, */
	u32 size;	 /* and its bytes; 0: the rows were found otherwise, and stay */
	size_t first, n; /* rows of the stream before these; rows */
	u64 t_min, t_max, seq_min, seq_max;
	size_t set_off; /* in reader.sets: the pages of all of them */
	u32 set_size;
	bool has_set;
	struct reader_row *rows; /* NULL: not read */
	size_t nrows, cap;
	struct buf pages;
	size_t bytes; /* of memory */
	u64 used;
	bool bad; /* its rows cannot be had */
};

struct reader_rows {
	struct reader_part *parts;
	size_t nparts, cap;
	size_t n; /* rows */
};

struct meta {
	char *key, *value;
};

struct reader {
	int fd;
	char *path;
	struct trace_info info;
	struct reader_rows rows[STREAM_MAX];
	struct buf sets;
	size_t loaded; /* bytes of rows in memory */
	u64 clock, index_off;
	unsigned rebuilt; /* parts */
	u8 uuid[16];
	bool is_by_page;
	struct reader *by_page;	 /* by_page.h; NULL: there is none that fits */
	const char *by_page_why; /* why one that there is does not; or NULL */
	struct buf chunk, raw;	 /* for reading meta and index chunks */
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

/* Reads the index chunks that lie in [off,end), as far as is needed now. 0; -EBADMSG when they are
 * not whole. */
int reader_index(struct reader *r, u64 off, u64 end);
void reader_rows_free(struct reader *r);

/* Calls fn for each run [start,end) of the pages of the i-th chunk of a stream, as far as they can
 * be had. */
void reader_chunk_pages(struct reader *r, enum stream stream, size_t i,
			void (*fn)(void *arg, u64 start, u64 end), void *arg);
/* Whether the i-th chunk of a stream may hold events that touch [gpa,end). */
bool reader_chunk_touches(struct reader *r, enum stream stream, size_t i, u64 gpa, u64 end);

/* Whether the chunks around the i-th, from *first to before *end, hold nothing that the cursor asks
 * for by time or range, as far as can be told without reading their rows. */
bool reader_part_misses(struct reader *r, enum stream stream, size_t i,
			const struct cursor_spec *spec, size_t *first, size_t *end);

/* In place of the chunks around the i-th, which reader_chunk_info() cannot find: a damaged one of
 * no events. */
struct chunk_info reader_part_info(struct reader *r, enum stream stream, size_t i);

static inline struct chunk_info chunk_info_of(const struct chunk_head *h)
{
	return (struct chunk_info){
		.off = h->off,
		.size = h->size,
		.events = h->events,
		.stream = h->stream,
		.t_min = h->t_min,
		.t_max = h->t_max,
		.seq_min = h->seq_min,
		.seq_max = h->seq_max,
		.lost = h->lost,
	};
}

/* Forgets all chunks and facts, then finds them by going through the file. */
int reader_scan(struct reader *r);

#endif
