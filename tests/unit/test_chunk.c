// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The container: blocks come back, and headers that lie are refused.
 */
#include "formats/chunk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <xxhash.h>

static struct buf chunk;
static struct chunk_head head;
static struct buf blocks[3];
static ZSTD_CCtx *cctx;
static ZSTD_DCtx *dctx;

static int setup(void **state)
{
	struct buf pages = {.data = (u8 *)"\x01\x02", .len = 2};
	const struct buf *const list[] = {&blocks[0], &blocks[1], &blocks[2]};

	(void)state;
	cctx = ZSTD_createCCtx();
	dctx = ZSTD_createDCtx();
	for (unsigned i = 0; i < 10000; i++)
		buf_u8(&blocks[0], (u8)(i / 100)); /* compresses */
	buf_put(&blocks[2], "abc", 3);		   /* does not; block 1 is empty */
	chunk.len = 0;
	head = (struct chunk_head){.off = 72, .type = CHUNK_EVENTS, .events = 1};
	return chunk_encode(&chunk, &head, &pages, list, 3, cctx, 3);
}

static int teardown(void **state)
{
	(void)state;
	ZSTD_freeCCtx(cctx);
	ZSTD_freeDCtx(dctx);
	buf_free(&chunk);
	for (unsigned i = 0; i < 3; i++)
		buf_free(&blocks[i]);
	return 0;
}

static void test_round_trip(void **state)
{
	const u8 *body = chunk.data + sizeof(head);
	struct span got[3];
	struct buf raw = {0};
	const char *why;

	(void)state;
	assert_true(chunk_head_valid((struct chunk_head *)chunk.data, 72, &why));
	assert_true(chunk_body_valid(&head, body));
	assert_int_equal(head.size, chunk.len);
	assert_true(head.size < 1000);
	assert_int_equal(chunk_decode(&head, body, &raw, got, 3, CHUNK_ALL_BLOCKS, dctx, &why), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(span_left(&got[i]), blocks[i].len);
		assert_true(blocks[i].len == 0 ||
			    memcmp(got[i].p, blocks[i].data, blocks[i].len) == 0);
	}
	assert_int_equal(chunk_decode(&head, body, &raw, got, 2, CHUNK_ALL_BLOCKS, dctx, &why),
			 -EBADMSG);
	buf_free(&raw);
}

static void test_head_refused(void **state)
{
	struct chunk_head h = head;
	const char *why;

	(void)state;
	assert_false(chunk_head_valid(&h, 73, &why));
	for (size_t i = 0; i < sizeof(h); i++) {
		((u8 *)&h)[i] ^= 1;
		assert_false(chunk_head_valid(&h, 72, &why));
		((u8 *)&h)[i] ^= 1;
	}
	assert_true(chunk_head_valid(&h, 72, &why));
}

/* A header with a good checksum may still lie. */
static void test_sizes_refused(void **state)
{
	static const struct chunk_head lies[] = {
		{.size = 95},
		{.size = CHUNK_SIZE_MAX + 1},
		{.size = 200, .pages_bytes = 105},
		{.size = 200, .raw_bytes = CHUNK_RAW_MAX + 1},
		{.size = CHUNK_SIZE_MAX, .pages_bytes = CHUNK_PAGES_MAX + 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		struct chunk_head h = lies[i];
		const char *why;

		memcpy(h.magic, CHUNK_MAGIC, MAGIC_BYTES);
		h.checksum = XXH64(&h, sizeof(h) - 8, 0);
		assert_false(chunk_head_valid(&h, 0, &why));
		assert_non_null(strstr(why, "sizes"));
	}
}

/* Bodies whose checksum nobody looked at: refused or decoded, never more. */
static void test_body_flips(void **state)
{
	const size_t n = head.size - sizeof(head);
	u8 *body = malloc(n);
	struct buf raw = {0};
	struct span got[3];
	const char *why;
	size_t refused = 0;

	(void)state;
	assert_non_null(body);
	for (size_t i = 0; i < n; i++) {
		memcpy(body, chunk.data + sizeof(head), n);
		body[i] ^= 0xff;
		assert_false(chunk_body_valid(&head, body));
		refused +=
			chunk_decode(&head, body, &raw, got, 3, CHUNK_ALL_BLOCKS, dctx, &why) != 0;
	}
	assert_true(refused > 10);
	buf_free(&raw);
	free(body);
}

static void test_file_head(void **state)
{
	struct file_head h = {.version_major = 1};
	const char *why;

	(void)state;
	file_head_seal(&h);
	assert_int_equal(file_head_check(&h, &why), 0);
	h.start_real_ns++;
	assert_int_equal(file_head_check(&h, &why), -EBADMSG);
	h.compat = 1ull << 63;
	h.version_minor = 9;
	file_head_seal(&h);
	assert_int_equal(file_head_check(&h, &why), 0);
	h.incompat = INCOMPAT_STORES;
	file_head_seal(&h);
	assert_int_equal(file_head_check(&h, &why), 0);
	h.incompat = INCOMPAT_STORES | 4;
	file_head_seal(&h);
	assert_int_equal(file_head_check(&h, &why), -EPROTONOSUPPORT);
	h.incompat = 0;
	h.version_major = 2;
	assert_int_equal(file_head_check(&h, &why), -EPROTONOSUPPORT);
	h.magic[0] = 0;
	assert_int_equal(file_head_check(&h, &why), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_head_refused),
		cmocka_unit_test(test_sizes_refused), cmocka_unit_test(test_body_flips),
		cmocka_unit_test(test_file_head),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
