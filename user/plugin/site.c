// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Instructions and the numbers of their sites. The table finds an instruction again when its code
 * is translated anew; it has a lock, which is taken at translation only.
 */
#include "plugin.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define INSNS_MAX   (1u << 23)
#define INSNS_CHUNK 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct insn **table, *chunk;
static u32 table_size, ninsns, chunk_left;
static u32 nsites;

static u64 hash(u64 pc, const u8 *bytes, size_t len)
{
	u64 h = pc * 0x9e3779b97f4a7c15ull + len, word[2] = {0};

	memcpy(word, bytes, len);
	h = (h ^ h >> 32 ^ word[0]) * 0xff51afd7ed558ccdull;
	h = (h ^ h >> 32 ^ word[1]) * 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 29;
}

/* The place of the instruction, or the free one where it belongs. */
static struct insn **find(struct insn **t, u32 size, u64 pc, const u8 *bytes, size_t len)
{
	for (u32 i = (u32)hash(pc, bytes, len);; i++) {
		struct insn **at = &t[i & (size - 1)];

		if (!*at ||
		    ((*at)->pc == pc && (*at)->len == len && !memcmp((*at)->bytes, bytes, len)))
			return at;
	}
}

static bool grow(void)
{
	const u32 size = table_size ? table_size * 2 : 1 << 16;
	struct insn **t = calloc(size, sizeof(*t));

	if (!t)
		return false;
	for (u32 i = 0; i < table_size; i++)
		if (table[i])
			*find(t, size, table[i]->pc, table[i]->bytes, table[i]->len) = table[i];
	free(table);
	table = t;
	table_size = size;
	return true;
}

static struct insn *insn_new(void)
{
	if (ninsns >= INSNS_MAX)
		return NULL;
	if (!chunk_left) {
		chunk = calloc(INSNS_CHUNK, sizeof(*chunk));
		if (!chunk)
			return NULL;
		chunk_left = INSNS_CHUNK;
	}
	ninsns++;
	return &chunk[--chunk_left];
}

static struct insn *get_locked(u64 pc, const u8 *bytes, size_t len, enum insn_stores stores)
{
	struct insn **at, *insn;

	if (ninsns >= table_size / 2 && !grow() && ninsns + 1 >= table_size)
		return NULL;
	at = find(table, table_size, pc, bytes, len);
	if (!*at) {
		insn = insn_new();
		if (!insn)
			return NULL;
		insn->pc = pc;
		insn->len = (u8)len;
		insn->stores = (u8)stores;
		memcpy(insn->bytes, bytes, len);
		*at = insn;
	}
	return *at;
}

struct insn *insn_get(u64 pc, const u8 *bytes, size_t len, enum insn_stores stores)
{
	struct insn *insn;

	pthread_mutex_lock(&lock);
	insn = get_locked(pc, bytes, len, stores);
	pthread_mutex_unlock(&lock);
	return insn;
}

/* n numbers for the place, unless it has some already. */
static u32 number(u32 *place, u32 n)
{
	u32 have = __atomic_load_n(place, __ATOMIC_RELAXED), first;

	if (have)
		return have - 1;
	if (__atomic_load_n(&nsites, __ATOMIC_RELAXED) >= RING_SITES - 2 * n)
		return HOW_LOST;
	first = __atomic_fetch_add(&nsites, n, __ATOMIC_RELAXED);
	if (first >= RING_SITES - n)
		return HOW_LOST;
	if (__atomic_compare_exchange_n(place, &have, first + 1, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		return first;
	return have - 1;
}

u32 site_bytes(struct insn *insn)
{
	return number(&insn->site[INSN_BYTES], 64);
}

u32 site_how_slow(struct insn *insn, u32 info)
{
	u64 fast = __atomic_load_n(&insn->fast[1], __ATOMIC_RELAXED);
	u32 shift, site, how;

	if ((u32)fast == info)
		return (u32)(fast >> 32);
	if (info == __atomic_load_n(&insn->load, __ATOMIC_RELAXED) ||
	    !qemu_plugin_mem_is_store(info)) {
		__atomic_store_n(&insn->load, info, __ATOMIC_RELAXED);
		if (insn->stores != INSN_MAYBE)
			calibrate_load();
		return HOW_LOAD;
	}
	shift = qemu_plugin_mem_size_shift(info);
	if (shift >= INSN_BYTES)
		return HOW_LOST;
	site = number(&insn->site[shift], INSN_PARTS(shift));
	if (site == HOW_LOST)
		return HOW_LOST;
	how = site | shift << 24;
	for (int i = 0; i < 2; i++) {
		fast = 0;
		if (__atomic_compare_exchange_n(&insn->fast[i], &fast, (u64)how << 32 | info, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
		    (u32)fast == info)
			break;
	}
	return how;
}
