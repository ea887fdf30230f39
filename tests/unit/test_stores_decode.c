// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Malformed chunks of stores: what is wrong is said, and nothing worse happens.
 */
#include "formats/stores.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/guest_stores.h"
#include "tests/unit/sealed_stores.h"

#define NOT_AS_MANY "a chunk's stores are not as many as its header says"
#define SITES_BAD   "a chunk's sites are malformed"
#define ASIDE_BAD   "what is told beside the stores is malformed"
#define ASIDE_CUT   "what is told beside the stores is cut"
#define ASIDE_KIND  "a kind of remark beside the stores that there is not"
#define MAP_BAD	    "a page is mapped through a place that there is not"
#define SITE_BAD    "a store of a site that there is not"
#define GVA_BAD	    "a store's address is malformed"
#define COLUMN_CUT  "a column of stores is cut"
#define PAGE_BAD    "a store to a page that is not mapped"
#define LAST_BAD    "a chunk's last store is not the one its header names"

struct text {
	const char *data;
	size_t n;
};
#define TEXT(text)                     \
	{                              \
		text, sizeof(text) - 1 \
	}

static struct stores_decoder *dec;

/* Three stores by hand: a byte to 0x1000 by a new site, eight bytes to the same address by another,
 * and the byte again. */
static const struct text hand[STORES_BLOCKS] = {
	[STORES_WORDS] = TEXT("\1\0\0\0\0\0\0\0"),
	[STORES_SITE] = TEXT("\x20\0\2\3"),
	[STORES_ASIDE] = TEXT("\0\2\2\0"),
	[STORES_CODES] = TEXT("\xf3\xeb\x0a"),
	[STORES_KNOWN] = TEXT("\0\0"),
	[STORES_SIDE] = TEXT("\x80\x40"),
	[STORES_VALUE1] = TEXT("\x55"),
	[STORES_VALUE8] = TEXT("\1\2\3\4\5\6\7\x08"),
};
static const struct chunk_head hand_head = {
	.type = CHUNK_STORES,
	.stream = STREAM_STORES,
	.events = 3,
	.seq_min = 7,
	.seq_max = 9,
	.t_min = 100,
	.t_max = 100,
};

/* Another content of one of the blocks, and what is said of it. */
static const struct {
	const char *name;
	enum stores_block block;
	struct text text;
	const char *why;
} malformed[] = {
	{"a code too few", STORES_CODES, TEXT("\xf3\xeb"), NOT_AS_MANY},
	{"a code too many", STORES_CODES, TEXT("\xf3\xeb\x0a\x0a"), NOT_AS_MANY},
	{"a site without its shape", STORES_SITE, TEXT("\x20\0\2"), SITES_BAD},
	{"a site's pc is cut", STORES_SITE, TEXT("\x20\0\x80"), SITES_BAD},
	{"a site's pc is too long", STORES_SITE,
	 TEXT("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0\0"), SITES_BAD},
	{"a site's highest bit", STORES_SITE, TEXT("\x20\0\2\x83"), SITES_BAD},
	{"a remark behind the end", STORES_ASIDE, TEXT("\4\2\2\0"), ASIDE_BAD},
	{"a second one behind the end", STORES_ASIDE, TEXT("\0\2\2\0\4\0\5"), ASIDE_BAD},
	{"a remark's place is cut", STORES_ASIDE, TEXT("\x80"), ASIDE_BAD},
	{"a map of place 4096", STORES_ASIDE, TEXT("\0\2\x80\x40\0"), MAP_BAD},
	{"a remark of kind 5", STORES_ASIDE, TEXT("\0\5\0"), ASIDE_KIND},
	{"a remark without a kind", STORES_ASIDE, TEXT("\0"), ASIDE_CUT},
	{"a time that is missing", STORES_ASIDE, TEXT("\0\0"), ASIDE_CUT},
	{"a time that is cut", STORES_ASIDE, TEXT("\0\0\x80"), ASIDE_CUT},
	{"a thread without a vCPU", STORES_ASIDE, TEXT("\0\1\5"), ASIDE_CUT},
	{"a map without a delta", STORES_ASIDE, TEXT("\0\2\2"), ASIDE_CUT},
	{"numbers that are missing", STORES_ASIDE, TEXT("\0\2\2\0\0\3"), ASIDE_CUT},
	{"a path nobody went", STORES_CODES, TEXT("\0\xeb\x0a"), SITE_BAD},
	{"a path nobody went, coded", STORES_CODES, TEXT("\x08\xeb\x0a"), SITE_BAD},
	{"what follows nothing", STORES_CODES, TEXT("\1\xeb\x0a"), SITE_BAD},
	{"what follows the first site", STORES_CODES, TEXT("\xf3\1\x0a"), SITE_BAD},
	{"a known site is not stored by", STORES_KNOWN, TEXT("\2\0"), SITE_BAD},
	{"site number 65535", STORES_KNOWN, TEXT("\xff\xff"), SITE_BAD},
	{"one site too few", STORES_SITE, TEXT("\x20\0"), SITE_BAD},
	{"no sites", STORES_SITE, TEXT(""), SITE_BAD},
	{"an address of code 5", STORES_CODES, TEXT("\xf3\xeb\x16"), GVA_BAD},
	{"an address of code 6", STORES_CODES, TEXT("\xf3\xeb\x1a"), GVA_BAD},
	{"an address of code 7", STORES_CODES, TEXT("\xf3\xeb\x1e"), GVA_BAD},
	{"a step that is missing", STORES_CODES, TEXT("\xf3\xeb\x0e"), GVA_BAD},
	{"a side step that is cut", STORES_SIDE, TEXT("\x80"), GVA_BAD},
	{"a side step that is too long", STORES_SIDE,
	 TEXT("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"), GVA_BAD},
	{"a known site that is cut", STORES_KNOWN, TEXT("\0"), COLUMN_CUT},
	{"no value of 1 byte", STORES_VALUE1, TEXT(""), COLUMN_CUT},
	{"seven bytes of a value of 8", STORES_VALUE8, TEXT("\1\2\3\4\5\6\7"), COLUMN_CUT},
	{"no value of 2 bytes", STORES_SITE, TEXT("\x20\1\2\3"), COLUMN_CUT},
	{"no value of 4 bytes", STORES_SITE, TEXT("\x20\2\2\3"), COLUMN_CUT},
	{"no near value of 1 byte", STORES_CODES, TEXT("\xf3\xeb\xaa"), COLUMN_CUT},
	{"no near value of 2 bytes", STORES_CODES, TEXT("\xf3\xeb\xca"), COLUMN_CUT},
	{"no page", STORES_ASIDE, TEXT(""), PAGE_BAD},
	{"another page", STORES_ASIDE, TEXT("\0\2\4\0"), PAGE_BAD},
	{"a page that is told too late", STORES_ASIDE, TEXT("\1\2\2\0"), PAGE_BAD},
	{"a store beyond its page", STORES_SIDE, TEXT("\xf2\x7f"), PAGE_BAD},
	{"no page, all as predicted", STORES_CODES, TEXT("\xf3\0\0"), PAGE_BAD},
	{"numbers are left out", STORES_ASIDE, TEXT("\0\2\2\0\1\3\1"), LAST_BAD},
};
#define NMALFORMED (sizeof(malformed) / sizeof(*malformed))

static void hand_blocks(struct span blocks[STORES_BLOCKS])
{
	for (unsigned b = 0; b < STORES_BLOCKS; b++)
		blocks[b] = span_copy(hand[b].data, hand[b].n);
}

static void hand_free(struct span blocks[STORES_BLOCKS])
{
	for (unsigned b = 0; b < STORES_BLOCKS; b++)
		free((void *)blocks[b].p);
}

/* What the decoder says, or NULL when it gave all stores; each that it gave lies within a page. */
static const char *decode(const struct chunk_head *h, const struct span *blocks)
{
	const char *why = NULL;
	struct stores s;
	u64 n = 0;
	int ret = stores_begin(dec, h, blocks, &why);

	if (ret) {
		assert_int_equal(ret, -EBADMSG);
		assert_non_null(why);
		return why;
	}
	while ((ret = stores_next(dec, &s, &why)) == 1) {
		assert_in_range(s.n, 1, STORES_BATCH);
		for (u32 i = 0; i < s.n; i++) {
			const struct store *v = &s.v[i];

			if (v->size != s.sites[v->site].size || (v->gpa & 4095) + v->size > 4096 ||
			    (v->gpa & 4095) != (v->gva & 4095) || v->value & ~bytes_mask(v->size))
				fail_msg("store %u of %u", i, s.n);
		}
		n += s.n;
	}
	if (!ret) {
		assert_int_equal(n, h->events);
		return NULL;
	}
	assert_int_equal(ret, -EBADMSG);
	assert_non_null(why);
	assert_int_equal(stores_next(dec, &s, &why), 0); /* and that is the end */
	return why;
}

static void test_by_hand(void **state)
{
	static const u64 values[] = {0x55, 0x0807060504030201, 0x55};
	struct span blocks[STORES_BLOCKS];
	struct stores s;
	const char *why;

	(void)state;
	hand_blocks(blocks);
	assert_int_equal(stores_begin(dec, &hand_head, blocks, &why), 0);
	assert_int_equal(stores_next(dec, &s, &why), 1);
	assert_int_equal(s.n, 3);
	assert_int_equal(s.seq, 7);
	assert_int_equal(s.t_ns, 100);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s.v[i].gva, 0x1000);
		assert_int_equal(s.v[i].gpa, 0x1000);
		assert_int_equal(s.v[i].value, values[i]);
		assert_int_equal(s.v[i].site, i % 2);
		assert_int_equal(s.v[i].size, i % 2 ? 8 : 1);
	}
	assert_int_equal(s.sites[0].pc, 0x10);
	assert_int_equal(s.sites[1].pc, 0x11);
	assert_int_equal(stores_next(dec, &s, &why), 0);
	hand_free(blocks);
}

static void test_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < NMALFORMED; i++) {
		struct span blocks[STORES_BLOCKS], *b = &blocks[malformed[i].block];

		hand_blocks(blocks);
		free((void *)b->p);
		*b = span_copy(malformed[i].text.data, malformed[i].text.n);
		const char *why = decode(&hand_head, blocks);

		if (!why || strcmp(why, malformed[i].why) != 0)
			fail_msg("%s: %s", malformed[i].name, why ?: "nothing");
		hand_free(blocks);
	}
}

static void test_header_lies(void **state)
{
	struct span blocks[STORES_BLOCKS];
	struct chunk_head h = hand_head;
	u8 *zeros = calloc(1, STORES_MAX + 1);

	(void)state;
	assert_non_null(zeros);
	hand_blocks(blocks);
	assert_null(decode(&h, blocks));
	h.seq_max = 10;
	assert_string_equal(decode(&h, blocks), LAST_BAD);
	h.seq_max = 8;
	assert_string_equal(decode(&h, blocks), LAST_BAD);
	h = hand_head;
	free((void *)blocks[STORES_CODES].p);
	blocks[STORES_CODES] = span_copy(zeros, STORES_MAX + 1);
	h.events = STORES_MAX + 1;
	assert_string_equal(decode(&h, blocks), NOT_AS_MANY);
	hand_free(blocks);
	free(zeros);
}

/* Number 65535 means that there is no site. */
static void test_too_many_sites(void **state)
{
	struct span blocks[STORES_BLOCKS];
	u8 *zeros = calloc(STORES_SITES + 1, 2);

	(void)state;
	assert_non_null(zeros);
	hand_blocks(blocks);
	free((void *)blocks[STORES_SITE].p);
	blocks[STORES_SITE] = span_copy(zeros, 2 * (STORES_SITES + 1));
	assert_string_equal(decode(&hand_head, blocks), SITES_BAD);
	blocks[STORES_SITE].end -= 2;
	assert_string_equal(decode(&hand_head, blocks), COLUMN_CUT); /* that many there may be */
	hand_free(blocks);
	free(zeros);
}

/* A chunk to be cut and damaged: one that has something in each of its blocks. */
static void varied_seal(struct sealed *c)
{
	static struct guest g;
	static struct guest_burst b;
	struct stores_encoder *enc;
	u64 seq = 1;

	assert_int_equal(stores_encoder_open(&enc), 0);
	g = (struct guest){.seed = 675248};
	while (stores_count(enc) < 2000) {
		guest_next(&g, &b);
		assert_int_equal(guest_tell(&b, enc), 0);
		seq += random_next(&g.seed) % 3;
		assert_int_equal(stores_put(enc, b.lane, b.raw, b.n, seq), b.n);
		seq += b.n;
	}
	seal(enc, c);
	stores_encoder_close(enc);
	for (unsigned i = 0; i < STORES_BLOCKS; i++)
		assert_true(span_left(&c->blocks[i]) > 0);
	assert_null(decode(&c->h, c->blocks));
}

/* A column that lacks its end is refused. Of the remarks those before the cut may be enough. */
static void test_blocks_cut(void **state)
{
	struct sealed c;
	u64 seed = 11;

	(void)state;
	varied_seal(&c);
	for (unsigned b = STORES_SITE; b < STORES_BLOCKS; b++) {
		const struct span whole = c.blocks[b];
		const size_t n = span_left(&whole);

		for (unsigned i = 0; i < 200; i++) {
			size_t left = (size_t)(random_next(&seed) % n);

			if (i < 2)
				left = i ? n - 1 : 0;
			c.blocks[b] = span_copy(whole.p, left);
			if (!decode(&c.h, c.blocks) && b != STORES_ASIDE)
				fail_msg("block %u cut to %zu of %zu bytes", b, left, n);
			free((void *)c.blocks[b].p);
		}
		c.blocks[b] = whole;
	}
	sealed_free(&c);
}

/* Damage of which no checksum told: refused or decoded, never more. */
static void test_corruption(void **state)
{
	struct sealed c;
	u64 seed = 12;
	unsigned wrong = 0;

	(void)state;
	varied_seal(&c);
	for (unsigned i = 0; i < 10000; i++) {
		u8 *at[4], was[4];
		const unsigned n = 1 + (unsigned)(random_next(&seed) % 4);

		for (unsigned k = 0; k < n; k++) {
			const struct span *b =
				&c.blocks[STORES_SITE + random_next(&seed) % (STORES_BLOCKS - 1)];

			at[k] = (u8 *)b->p + random_next(&seed) % span_left(b);
			was[k] = *at[k];
			*at[k] ^= (u8)(1 + random_next(&seed) % 255);
		}
		wrong += decode(&c.h, c.blocks) != NULL;
		for (unsigned k = n; k-- > 0;)
			*at[k] = was[k];
	}
	assert_in_range(wrong, 1000, 9999);
	assert_null(decode(&c.h, c.blocks));
	sealed_free(&c);
}

static int setup(void **state)
{
	(void)state;
	return stores_decoder_open(&dec);
}

static int teardown(void **state)
{
	(void)state;
	stores_decoder_close(dec);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_hand),	    cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_header_lies), cmocka_unit_test(test_too_many_sites),
		cmocka_unit_test(test_blocks_cut),  cmocka_unit_test(test_corruption),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
