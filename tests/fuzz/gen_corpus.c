// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Makes a fuzzing seed of a trace: the same chunks, their blocks not compressed, without index and
 * trailer; or, with "index", the same file with only its index not compressed.
 *
 *	gen_corpus FROM TO chunks|index
 */
#include <stdio.h>
#include <stdlib.h>

#include <xxhash.h>

#include "formats/chunk.h"
#include "formats/encode.h"
#include "formats/stores.h"

static struct buf in, out;
static ZSTD_DCtx *zstd;

static void die(const char *what)
{
	fprintf(stderr, "gen_corpus: %s\n", what);
	exit(1);
}

static void chunk_unpack(struct chunk_head h, const u8 *body)
{
	const unsigned nblocks = h.type == CHUNK_EVENTS	  ? BLOCKS
				 : h.type == CHUNK_STORES ? STORES_BLOCKS
							  : 1;
	struct buf raw = {0}, made = {0};
	struct span blocks[CHUNK_BLOCKS_MAX];
	const char *why;

	if (chunk_decode(&h, body, &raw, blocks, nblocks, CHUNK_ALL_BLOCKS, zstd, &why))
		die(why);
	buf_put(&made, body, h.pages_bytes);
	buf_varint(&made, nblocks);
	for (unsigned i = 0; i < nblocks; i++) {
		buf_varint(&made, span_left(&blocks[i]));
		buf_varint(&made, span_left(&blocks[i]));
	}
	for (unsigned i = 0; i < nblocks; i++)
		buf_put(&made, blocks[i].p, span_left(&blocks[i]));
	h.off = out.len;
	h.size = (u32)(sizeof(h) + made.len);
	h.body_checksum = XXH64(made.data, made.len, 0);
	h.checksum = XXH64(&h, sizeof(h) - sizeof(u64), 0);
	buf_put(&out, &h, sizeof(h));
	buf_put(&out, made.data, made.len);
	buf_free(&raw);
	buf_free(&made);
}

int main(int argc, char **argv)
{
	struct trailer t;
	size_t off = sizeof(struct file_head);

	if (argc != 4) {
		fprintf(stderr, "usage: gen_corpus FROM TO chunks|index\n");
		return 2;
	}
	const bool index = strcmp(argv[3], "index") == 0;
	FILE *f = fopen(argv[1], "rb");

	zstd = ZSTD_createDCtx();
	if (!f || !zstd || !buf_reserve(&in, 1 << 20))
		die(argv[1]);
	in.len = fread(in.data, 1, 1 << 20, f);
	fclose(f);
	if (in.len < off + sizeof(t))
		die("too short");
	buf_put(&out, in.data, off);
	while (in.len - off >= sizeof(struct chunk_head)) {
		struct chunk_head h;

		memcpy(&h, in.data + off, sizeof(h));
		if (h.size < sizeof(h) || h.size > in.len - off)
			die("not a whole trace");
		if (index && h.type != CHUNK_INDEX)
			buf_put(&out, in.data + off, h.size);
		else if (index || h.type != CHUNK_INDEX)
			chunk_unpack(h, in.data + off + sizeof(h));
		off += h.size;
	}
	if (index) {
		memcpy(&t, in.data + off, sizeof(t));
		t.file_bytes = out.len + sizeof(t);
		trailer_seal(&t);
		buf_put(&out, &t, sizeof(t));
	}
	f = fopen(argv[2], "wb");
	if (!f || fwrite(out.data, 1, out.len, f) != out.len || fclose(f))
		die(argv[2]);
	return 0;
}
