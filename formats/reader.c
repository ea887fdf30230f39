// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opens a trace: header, trailer, index, facts. Whatever is wrong with trailer or index leads to a
 * scan.
 */
#include "reader_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "by_page.h"
#include "decode.h"

#define FIRST_BYTES	4000 /* what the first block of most chunks takes, with all before it */
#define METAS_MAX	4096 /* keys */
#define METAS_BYTES_MAX (16u << 20)

int reader_pread(const struct reader *r, void *to, size_t n, u64 off)
{
	u8 *p = to;

	while (n > 0) {
		const ssize_t got = pread(r->fd, p, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA;
		p += got;
		off += (u64)got;
		n -= (size_t)got;
	}
	return 0;
}

void reader_complain(struct reader *r, u64 off, const char *why)
{
	if (r->message[0] == '\0')
		snprintf(r->message, sizeof(r->message), "%s: offset %llu: %s", r->path,
			 (unsigned long long)off, why);
}

int reader_chunk(const struct reader *r, u64 off, u32 size, struct buf *to, struct chunk_head *h,
		 const char **why)
{
	int err = reader_pread(r, h, sizeof(*h), off);

	*why = "a chunk is cut";
	if (!err && !chunk_head_valid(h, off, why))
		err = -EBADMSG;
	if (err) {
		h->size = 0;
		return err;
	}
	if (size && h->size != size) {
		*why = "a chunk is not as the index says";
		return -EBADMSG;
	}
	*why = "a chunk is cut";
	if (off > r->info.file_bytes || h->size > r->info.file_bytes - off)
		return -ENODATA;
	const size_t n = h->size - sizeof(*h);

	to->len = 0;
	if (!buf_reserve(to, n + 1)) {
		to->failed = false;
		return -ENOMEM;
	}
	err = reader_pread(r, to->data, n, off + sizeof(*h));
	if (err)
		return err;
	to->len = n;
	if (!chunk_body_valid(h, to->data)) {
		*why = "a chunk's checksum is wrong";
		return -EBADMSG;
	}
	return 0;
}

int reader_first_block(const struct reader *r, u64 off, struct buf *to, struct buf *raw,
		       ZSTD_DCtx *zstd, struct chunk_head *h, struct span *pages,
		       struct span *block)
{
	size_t need = FIRST_BYTES;
	const char *why;
	int err;

	for (int tries = 0; tries < 3; tries++) {
		const u64 left = r->info.file_bytes - off;
		const size_t n = left < need + sizeof(*h) ? left : need + sizeof(*h);

		to->len = 0;
		if (off > r->info.file_bytes || n < sizeof(*h) || !buf_reserve(to, n))
			return -ENODATA;
		err = reader_pread(r, to->data, n, off);
		if (err)
			return err;
		memcpy(h, to->data, sizeof(*h));
		if (!chunk_head_valid(h, off, &why))
			return -EBADMSG;
		err = chunk_first_block(h, to->data + sizeof(*h), n - sizeof(*h), raw, block, zstd,
					&need);
		*pages = span_of(to->data + sizeof(*h), h->pages_bytes);
		if (err != -EAGAIN)
			return err;
	}
	return -EBADMSG;
}

static struct meta *meta_find(const struct reader *r, const char *key, size_t len)
{
	for (size_t i = 0; i < r->nmetas; i++)
		if (strncmp(r->metas[i].key, key, len) == 0 && r->metas[i].key[len] == '\0')
			return &r->metas[i];
	return NULL;
}

/* -E2BIG when there are more than anybody needs. */
static int meta_set(struct reader *r, const char *key, size_t key_len, const char *value,
		    size_t value_len)
{
	struct meta *m = meta_find(r, key, key_len);

	if (value_len > METAS_BYTES_MAX - r->metas_bytes || (!m && r->nmetas == METAS_MAX))
		return -E2BIG;
	char *copy = strndup(value, value_len);

	if (!copy)
		return -ENOMEM;
	r->metas_bytes += value_len;
	if (m) {
		r->metas_bytes -= strlen(m->value);
		free(m->value);
		m->value = copy;
		return 0;
	}
	struct meta *metas = realloc(r->metas, (r->nmetas + 1) * sizeof(*metas));

	if (metas)
		r->metas = metas;
	char *name = strndup(key, key_len);

	if (!metas || !name) {
		free(copy);
		free(name);
		return -ENOMEM;
	}
	r->metas[r->nmetas++] = (struct meta){name, copy};
	return 0;
}

static int metas_take(struct reader *r, struct span s, u64 off)
{
	while (span_left(&s)) {
		const u64 key_len = span_varint(&s);
		const char *key = (const char *)span_take(&s, key_len);
		const u64 value_len = span_varint(&s);
		const char *value = (const char *)span_take(&s, value_len);
		int err = -EBADMSG;

		if (key && value && key_len && !memchr(key, 0, key_len) &&
		    !memchr(value, 0, value_len))
			err = meta_set(r, key, key_len, value, value_len);
		if (err == -ENOMEM)
			return err;
		if (err) {
			r->info.damaged = true;
			reader_complain(r, off,
					err == -E2BIG ? "too many facts" : "a fact is malformed");
			return 0;
		}
	}
	return 0;
}

int reader_metas(struct reader *r, u64 off, u32 size)
{
	struct chunk_head h;
	struct span block;
	const char *why;
	int err = reader_chunk(r, off, size, &r->chunk, &h, &why);

	if (!err && h.type != CHUNK_META) {
		why = "a chunk is not as the index says";
		err = -EBADMSG;
	}
	if (!err)
		err = chunk_decode(&h, r->chunk.data, &r->raw, &block, 1, CHUNK_ALL_BLOCKS, r->zstd,
				   &why);
	if (!err)
		return metas_take(r, block, off);
	if (err != -EBADMSG && err != -ENODATA)
		return err;
	r->info.damaged = true;
	reader_complain(r, off, why);
	return 0;
}

int reader_unknown_stream(struct reader *r, u64 off)
{
	r->info.damaged = true;
	reader_complain(r, off, "a chunk of a stream that there is not");
	return 0;
}

static int reader_load(struct reader *r)
{
	const u64 size = r->info.file_bytes;
	struct trailer t;

	if (size >= sizeof(struct file_head) + sizeof(t)) {
		int err = reader_pread(r, &t, sizeof(t), size - sizeof(t));

		if (err)
			return err;
		if (trailer_valid(&t, size)) {
			r->info.whole_bytes = size;
			err = reader_index(r, t.index_off, size - sizeof(t));
			if (err != -EBADMSG)
				return err;
			r->info.damaged = true;
			reader_complain(r, t.index_off, "the index is damaged");
		}
	}
	return reader_scan(r);
}

static int head_load(struct reader *r, const char **why)
{
	struct file_head h = {0};
	const size_t n = r->info.file_bytes < sizeof(h) ? r->info.file_bytes : sizeof(h);
	int err = reader_pread(r, &h, n, 0);

	*why = "cannot be read";
	if (err)
		return err;
	*why = r->info.file_bytes ? "not a vmblame trace" : "empty";
	if (n < sizeof(h) && n > 0 &&
	    memcmp(h.magic, FILE_MAGIC, n < MAGIC_BYTES ? n : MAGIC_BYTES) == 0) {
		*why = "cut within its header";
		return -EBADMSG;
	}
	if (n < sizeof(h))
		return -EPROTO;
	r->info.version_major = h.version_major;
	r->info.version_minor = h.version_minor;
	r->info.start_mono_ns = h.start_mono_ns;
	r->info.start_real_ns = h.start_real_ns;
	memcpy(r->uuid, h.uuid, sizeof(r->uuid));
	r->is_by_page = h.incompat & INCOMPAT_BY_PAGE;
	return file_head_check(&h, why);
}

enum what { TRACE, STORES_BY_PAGE, HEADER };

/* Everything after open(2); *why stays NULL when the errno says it all. */
static int reader_begin(struct reader *r, enum what what, const char **why)
{
	struct stat st;

	if (fstat(r->fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode)) {
		*why = "not a regular file";
		return -EPROTO;
	}
	r->info.file_bytes = (u64)st.st_size;
	int err = head_load(r, why);

	if (err)
		return err;
	*why = NULL;
	if (what == HEADER)
		return 0;
	r->zstd = ZSTD_createDCtx();
	return r->zstd ? reader_load(r) : -ENOMEM;
}

static int file_open(struct reader **out, const char *path, enum what what, char *err,
		     size_t err_size)
{
	struct reader *r = calloc(1, sizeof(*r));
	const char *why = NULL;
	int code = -ENOMEM;

	if (r) {
		r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		r->path = strdup(path);
		code = r->fd < 0 ? -errno : !r->path ? -ENOMEM : reader_begin(r, what, &why);
	}
	if (!code && r->is_by_page != (what == STORES_BY_PAGE)) {
		why = what == STORES_BY_PAGE
			      ? "not the stores of a trace by pages"
			      : "no trace, but the stores of one by pages: name the trace";
		code = -EPROTO;
	}
	if (!code) {
		*out = r;
		return 0;
	}
	if (why && code != -EIO)
		snprintf(err, err_size, "%s: offset 0: %s", path, why);
	else
		snprintf(err, err_size, "%s: %s", path, strerror(-code));
	reader_close(r);
	return code;
}

/* The stores by pages, when they are there and of this very file. */
static void by_page_find(struct reader *r, const char *path)
{
	char beside[4096], err[512], of[128];
	const char *said;

	if (!reader_chunks(r, STREAM_STORES) || r->info.truncated || r->info.damaged ||
	    snprintf(beside, sizeof(beside), "%s%s", path, BY_PAGE_SUFFIX) >= (int)sizeof(beside) ||
	    access(beside, F_OK))
		return;
	if (file_open(&r->by_page, beside, STORES_BY_PAGE, err, sizeof(err))) {
		r->by_page_why = "it cannot be read";
		return;
	}
	by_page_of(r, of, sizeof(of));
	said = reader_meta(r->by_page, BY_PAGE_OF);
	if (r->by_page->info.damaged || r->by_page->info.truncated)
		r->by_page_why = "it is cut or damaged";
	else if (!said || strcmp(said, of))
		r->by_page_why = "it is of another trace";
	if (!r->by_page_why)
		return;
	reader_close(r->by_page);
	r->by_page = NULL;
}

int reader_uuid(const char *path, u8 *uuid, char *err, size_t err_size)
{
	struct reader *r;
	const int code = file_open(&r, path, HEADER, err, err_size);

	if (code)
		return code;
	memcpy(uuid, r->uuid, sizeof(r->uuid));
	reader_close(r);
	return 0;
}

int reader_open(struct reader **out, const char *path, char *err, size_t err_size)
{
	const int code = file_open(out, path, TRACE, err, err_size);

	if (!code)
		by_page_find(*out, path);
	return code;
}

bool reader_by_page(const struct reader *r, const char **why)
{
	*why = r->by_page_why;
	return r->by_page != NULL;
}

void reader_close(struct reader *r)
{
	if (!r)
		return;
	reader_close(r->by_page);
	if (r->fd >= 0)
		close(r->fd);
	for (size_t i = 0; i < r->nmetas; i++) {
		free(r->metas[i].key);
		free(r->metas[i].value);
	}
	free(r->metas);
	reader_rows_free(r);
	buf_free(&r->sets);
	buf_free(&r->chunk);
	buf_free(&r->raw);
	ZSTD_freeDCtx(r->zstd);
	free(r->path);
	free(r);
}

const struct trace_info *reader_info(const struct reader *r)
{
	return &r->info;
}

const char *reader_message(const struct reader *r)
{
	return r->message[0] ? r->message : NULL;
}

const char *reader_meta(const struct reader *r, const char *key)
{
	const struct meta *m = meta_find(r, key, strlen(key));

	return m ? m->value : NULL;
}

int reader_meta_each(const struct reader *r,
		     int (*fn)(void *arg, const char *key, const char *value), void *arg)
{
	for (size_t i = 0; i < r->nmetas; i++) {
		const int ret = fn(arg, r->metas[i].key, r->metas[i].value);

		if (ret)
			return ret;
	}
	return 0;
}
