// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Headers, checksums, and blocks through zstd.
 */
#include "chunk.h"

#include <errno.h>
#include <xxhash.h>

/* Every header ends with the checksum of what comes before it. */
#define SAMPLE_BYTES 8192
#define HEAD_SUM(h)  XXH64((h), sizeof(*(h)) - sizeof(u64), 0)

void file_head_seal(struct file_head *h)
{
	memcpy(h->magic, FILE_MAGIC, MAGIC_BYTES);
	h->checksum = HEAD_SUM(h);
}

void trailer_seal(struct trailer *t)
{
	memcpy(t->magic, TRAILER_MAGIC, MAGIC_BYTES);
	t->checksum = HEAD_SUM(t);
}

int file_head_check(const struct file_head *h, const char **why)
{
	*why = "not a vmblame trace";
	if (memcmp(h->magic, FILE_MAGIC, MAGIC_BYTES) != 0)
		return -EPROTO;
	*why = "made by a newer version";
	if (h->version_major > VERSION_MAJOR)
		return -EPROTONOSUPPORT;
	*why = "the file header's checksum is wrong";
	if (h->checksum != HEAD_SUM(h) || h->version_major == 0)
		return -EBADMSG;
	*why = "uses features of a newer version";
	if (h->incompat & ~INCOMPAT_KNOWN)
		return -EPROTONOSUPPORT;
	return 0;
}

bool trailer_valid(const struct trailer *t, u64 file_bytes)
{
	return memcmp(t->magic, TRAILER_MAGIC, MAGIC_BYTES) == 0 && t->checksum == HEAD_SUM(t) &&
	       t->file_bytes == file_bytes && t->index_off >= sizeof(struct file_head) &&
	       t->index_off <= file_bytes - sizeof(*t);
}

bool chunk_head_valid(const struct chunk_head *h, u64 off, const char **why)
{
	*why = "no chunk header where one should be";
	if (memcmp(h->magic, CHUNK_MAGIC, MAGIC_BYTES) != 0)
		return false;
	*why = "a chunk header's checksum is wrong";
	if (h->checksum != HEAD_SUM(h))
		return false;
	*why = "a chunk header is not where it says";
	if (h->off != off)
		return false;
	*why = "a chunk header's sizes are out of bounds";
	return h->size >= sizeof(*h) && h->size <= CHUNK_SIZE_MAX &&
	       h->raw_bytes <= CHUNK_RAW_MAX && h->pages_bytes <= CHUNK_PAGES_MAX &&
	       h->pages_bytes <= h->size - sizeof(*h);
}

bool chunk_body_valid(const struct chunk_head *h, const void *body)
{
	return XXH64(body, h->size - sizeof(*h), 0) == h->body_checksum;
}

/* Whether compressing a large block is worth the time, by some of it: random numbers are not. */
static bool block_compresses(const struct buf *block, void *scratch, size_t scratch_size,
			     ZSTD_CCtx *zstd)
{
	if (block->len < 8 * SAMPLE_BYTES)
		return block->len > 0;
	const size_t got =
		ZSTD_compressCCtx(zstd, scratch, scratch_size,
				  block->data + (block->len / 2 & ~(size_t)7), SAMPLE_BYTES, 1);
	return ZSTD_isError(got) || got < SAMPLE_BYTES - SAMPLE_BYTES / 16;
}

/* Appends a block to `data`, compressed if that helps, and its sizes to `sizes`. */
static int block_encode(struct buf *sizes, struct buf *data, const struct buf *block,
			ZSTD_CCtx *zstd, int level)
{
	size_t stored = block->len;
	const size_t bound = ZSTD_compressBound(block->len);

	if (!buf_reserve(data, bound))
		return -ENOMEM;
	if (!block_compresses(block, data->data + data->len, bound, zstd)) {
		if (block->len)
			memcpy(data->data + data->len, block->data, block->len);
	} else {
		stored = ZSTD_compressCCtx(zstd, data->data + data->len, bound, block->data,
					   block->len, level);
		if (ZSTD_isError(stored))
			return -ENOMEM;
		if (stored >= block->len) {
			memcpy(data->data + data->len, block->data, block->len);
			stored = block->len;
		}
	}
	buf_varint(sizes, block->len);
	buf_varint(sizes, stored);
	data->len += stored;
	return 0;
}

static int body_encode(struct buf *body, const struct buf *pages, const struct buf *const *blocks,
		       unsigned nblocks, ZSTD_CCtx *zstd, int level)
{
	struct buf data = {0};
	int err = 0;

	if (pages)
		buf_put(body, pages->data, pages->len);
	buf_varint(body, nblocks);
	for (unsigned i = 0; i < nblocks && !err; i++)
		err = block_encode(body, &data, blocks[i], zstd, level);
	buf_put(body, data.data, data.len);
	if (body->failed || data.failed || (pages && pages->failed))
		err = -ENOMEM;
	buf_free(&data);
	return err;
}

int chunk_encode(struct buf *out, struct chunk_head *h, const struct buf *pages,
		 const struct buf *const *blocks, unsigned nblocks, ZSTD_CCtx *zstd, int level)
{
	struct buf body = {0};
	u64 raw = 0;

	for (unsigned i = 0; i < nblocks; i++)
		raw += blocks[i]->len;
	int err = body_encode(&body, pages, blocks, nblocks, zstd, level);
	const size_t pages_bytes = pages ? pages->len : 0;

	if (!err && (raw > CHUNK_RAW_MAX || pages_bytes > CHUNK_PAGES_MAX ||
		     body.len > CHUNK_SIZE_MAX - sizeof(*h)))
		err = -EFBIG;
	if (!err) {
		memcpy(h->magic, CHUNK_MAGIC, MAGIC_BYTES);
		h->size = (u32)(sizeof(*h) + body.len);
		h->raw_bytes = (u32)raw;
		h->pages_bytes = (u32)pages_bytes;
		h->body_checksum = XXH64(body.data, body.len, 0);
		h->checksum = HEAD_SUM(h);
		buf_put(out, h, sizeof(*h));
		buf_put(out, body.data, body.len);
		if (out->failed)
			err = -ENOMEM;
	}
	buf_free(&body);
	return err;
}

static int bad(const char **why, const char *text)
{
	*why = text;
	return -EBADMSG;
}

static int block_decode(struct span *data, u64 stored, u8 *raw, u64 nraw, ZSTD_DCtx *zstd,
			const char **why)
{
	const u8 *bytes = span_take(data, stored);

	if (!bytes)
		return bad(why, "a block is cut");
	if (stored == nraw) {
		memcpy(raw, bytes, nraw);
		return 0;
	}
	const size_t got = ZSTD_decompressDCtx(zstd, raw, nraw, bytes, stored);

	if (ZSTD_isError(got) || got != nraw)
		return bad(why, "a block does not decompress");
	return 0;
}

int chunk_decode(const struct chunk_head *h, const void *body, struct buf *raw, struct span *blocks,
		 unsigned nblocks, u64 wanted, ZSTD_DCtx *zstd, const char **why)
{
	struct span s = span_of(body, h->size - sizeof(*h));
	u64 sizes[CHUNK_BLOCKS_MAX][2], sum = 0;

	raw->len = 0;
	if (!span_take(&s, h->pages_bytes) || nblocks > CHUNK_BLOCKS_MAX ||
	    span_varint(&s) != nblocks)
		return bad(why, "a chunk has the wrong number of blocks");
	for (unsigned i = 0; i < nblocks; i++) {
		sizes[i][0] = span_varint(&s);
		sizes[i][1] = span_varint(&s);
		if (s.bad || sizes[i][0] > CHUNK_RAW_MAX || sizes[i][1] > sizes[i][0])
			return bad(why, "a block's sizes are out of bounds");
		sum += sizes[i][0];
	}
	if (sum != h->raw_bytes)
		return bad(why, "a chunk's raw size is wrong");
	if (!buf_reserve(raw, sum + CHUNK_RAW_SLACK)) {
		raw->failed = false;
		return -ENOMEM;
	}
	for (unsigned i = 0; i < nblocks; i++) {
		if (!(wanted >> i & 1)) {
			blocks[i] = span_of(raw->data, 0);
			if (!span_take(&s, sizes[i][1]))
				return bad(why, "a block is cut");
			continue;
		}
		const int err =
			block_decode(&s, sizes[i][1], raw->data + raw->len, sizes[i][0], zstd, why);

		if (err)
			return err;
		blocks[i] = span_of(raw->data + raw->len, sizes[i][0]);
		raw->len += sizes[i][0];
	}
	if (span_left(&s))
		return bad(why, "a chunk is longer than its blocks");
	return 0;
}

int chunk_first_block(const struct chunk_head *h, const void *body, size_t have, struct buf *raw,
		      struct span *block, ZSTD_DCtx *zstd, size_t *need)
{
	struct span s = span_of(body, have);
	const char *why;

	*need = h->pages_bytes + CHUNK_BLOCKS_MAX * 2 * 10 + 1;
	if (*need > h->size - sizeof(*h))
		*need = h->size - sizeof(*h);
	if (have < *need)
		return -EAGAIN;
	span_take(&s, h->pages_bytes);
	const u64 n = span_varint(&s), nraw = span_varint(&s), stored = span_varint(&s);
	for (u64 i = 1; i < n && i < CHUNK_BLOCKS_MAX; i++) {
		span_varint(&s);
		span_varint(&s);
	}
	if (s.bad || !n || n > CHUNK_BLOCKS_MAX || nraw > CHUNK_RAW_MAX || stored > nraw)
		return -EBADMSG;
	const size_t at = (size_t)(s.p - (const u8 *)body);
	if (stored > h->size - sizeof(*h) - at)
		return -EBADMSG;
	*need = at + stored;
	if (have < *need)
		return -EAGAIN;
	raw->len = 0;
	if (!buf_reserve(raw, nraw + CHUNK_RAW_SLACK)) {
		raw->failed = false;
		return -ENOMEM;
	}
	const int err = block_decode(&s, stored, raw->data, nraw, zstd, &why);
	*block = span_of(raw->data, nraw);
	return err;
}
