// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Goes through a file without an index, chunk by chunk. A chunk counts only when both its checksums
 * are right; after damage the scan goes on at the next header that belongs where it stands.
 */
#include <errno.h>
#include <stdlib.h>

#include "pages.h"
#include "reader_file.h"

#define WINDOW_BYTES (1u << 20)

static void reader_forget(struct reader *r)
{
	for (size_t i = 0; i < r->nmetas; i++) {
		free(r->metas[i].key);
		free(r->metas[i].value);
	}
	r->nmetas = r->metas_bytes = 0;
	reader_rows_free(r);
	r->info.nchunks = 0;
	r->info.events = r->info.lost = r->info.t_end_ns = 0;
}

/* Next offset from `off` on where a valid chunk header or the trailer stands, or the file's size.
 */
static int resync(struct reader *r, u64 off, u64 *found)
{
	const u64 size = r->info.file_bytes;
	u8 *window = malloc(WINDOW_BYTES);
	int err = window ? 0 : -ENOMEM;

	*found = size;
	while (!err && off < size) {
		const size_t n = size - off < WINDOW_BYTES ? size - off : WINDOW_BYTES;
		const u8 *p = window, *end = window + n;

		err = reader_pread(r, window, n, off);
		while (!err && (p = memmem(p, (size_t)(end - p), CHUNK_MAGIC, MAGIC_BYTES))) {
			struct chunk_head h;
			const u64 at = off + (u64)(p - window);
			const char *why;

			p++;
			if (reader_pread(r, &h, sizeof(h), at) || !chunk_head_valid(&h, at, &why))
				continue;
			*found = at;
			free(window);
			return 0;
		}
		if (n < WINDOW_BYTES)
			break;
		off += n - (MAGIC_BYTES - 1); /* a magic may lie across the edge */
	}
	free(window);
	return err;
}

static int chunk_found(struct reader *r, const struct chunk_head *h, bool damaged)
{
	struct chunk_info info = chunk_info_of(h);

	info.damaged = damaged;
	if (h->type == CHUNK_META && !damaged)
		return reader_metas(r, h->off, h->size);
	if (h->type != CHUNK_EVENTS && h->type != CHUNK_STORES)
		return 0;
	if (!chunk_stream_valid(h->type, h->stream))
		return reader_unknown_stream(r, h->off);
	return reader_add(r, &info, damaged ? span_of("", 0) : chunk_pages(h, r->chunk.data));
}

static void scan_damage(struct reader *r, u64 off, const char *why)
{
	r->info.damaged = true;
	reader_complain(r, off, why);
}

/* One step of the scan at *off. 0 to go on; 1 at the end of what is whole. */
static int scan_step(struct reader *r, u64 *off)
{
	const u64 size = r->info.file_bytes, left = size - *off;
	struct chunk_head h;
	struct trailer t;
	const char *why;
	int err;

	if (left == 0)
		return 1;
	if (left == sizeof(t)) {
		err = reader_pread(r, &t, sizeof(t), *off);
		if (err)
			return err;
		if (trailer_valid(&t, size)) {
			*off = size;
			r->info.truncated = false;
			return 1;
		}
	}
	err = reader_chunk(r, *off, 0, &r->chunk, &h, &why);
	if (!err || (err == -EBADMSG && h.size && h.size <= left)) {
		if (err)
			scan_damage(r, *off, why);
		err = chunk_found(r, &h, err);
		*off += h.size;
		return err;
	}
	if (err == -ENODATA) /* the last one is cut */
		return 1;
	if (err != -EBADMSG)
		return err;
	u64 found;

	err = resync(r, *off + 1, &found);
	if (err)
		return err;
	scan_damage(r, *off, why);
	if (!r->gap)
		r->gap_off = *off;
	r->gap = true;
	if (found == size) {
		struct trailer end;

		if (left >= sizeof(end) &&
		    !reader_pread(r, &end, sizeof(end), size - sizeof(end)) &&
		    trailer_valid(&end, size))
			r->info.truncated = false;
		return 1;
	}
	*off = found;
	return 0;
}

int reader_scan(struct reader *r)
{
	u64 off = sizeof(struct file_head);
	int ret = 0;

	reader_forget(r);
	r->info.truncated = true;
	while (ret == 0)
		ret = scan_step(r, &off);
	if (ret < 0)
		return ret;
	r->info.whole_bytes = off;
	if (r->info.truncated)
		reader_complain(r, off, "cut here: what was recorded after this is missing");
	return 0;
}
