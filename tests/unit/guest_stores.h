/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stores as guests make them, in bursts of one thread: loops, memset, copies, pushes, structures,
 * lists, counters, wide accesses and noise; with what must be told of them before, and the events
 * that must come back.
 */
#ifndef VMBLAME_TEST_GUEST_STORES_H
#define VMBLAME_TEST_GUEST_STORES_H

#include "formats/stores.h"
#include "tests/unit/random_event.h"

#define GUEST_SITES 96u
#define GUEST_LANES 3u
#define GUEST_BURST 64u

struct guest_map {
	u64 gva, gpa; /* of the page */
	bool smm, told;
};

struct guest_burst {
	unsigned lane;
	u32 tid, n, nmaps, nsites;
	u16 vcpu;
	bool raced; /* the first of them */
	u64 t_ns;
	struct guest_map maps[GUEST_BURST];
	u32 ids[GUEST_SITES]; /* sites that are new, or have new facts */
	struct store_site sites[GUEST_SITES];
	struct store_raw raw[GUEST_BURST];
	struct event_store ev[GUEST_BURST];
};

/* Zeros at first, but for the seed. */
struct guest {
	u64 seed, t_ns, sp;
	u32 burst; /* stores of a burst at most; 0: GUEST_BURST */
	bool begun;
	struct store_site sites[GUEST_SITES];
	struct guest_map maps[GUEST_LANES][STORES_MAPS];
};

static inline struct store_site guest_site(u64 *seed, u32 id)
{
	return (struct store_site){
		.pc = id % 8 ? 0xffffffff81000000ull + id * 0x2347 : random_next(seed),
		.size = (u8)(1 << id % 4),
		.part = (u8)(id % 16 == 11 ? random_next(seed) % 32 : 0),
	};
}

/* Tells of a store's page where that is not known. False when the burst has to end before it. */
static inline bool guest_map(struct guest *g, struct guest_burst *b, u64 gva)
{
	struct guest_map *m = &g->maps[b->lane][stores_map_slot(gva)];
	const u64 page = gva & ~4095ull;

	if (m->told && m->gva == page && random_next(&g->seed) % 200)
		return true;
	for (u32 i = 0; i < b->n; i++)
		if (stores_map_slot(b->ev[i].gva) == stores_map_slot(gva))
			return m->told && m->gva == page;
	*m = (struct guest_map){
		.gva = page,
		.gpa = (page & 0x3ffff000) + (random_next(&g->seed) % 8 ? b->lane << 30 : 0),
		.smm = random_next(&g->seed) % 16 == 0,
		.told = true,
	};
	b->maps[b->nmaps++] = *m;
	return true;
}

/* False when the burst is over. A store that would reach beyond its page is moved into it. */
static inline bool guest_put(struct guest *g, struct guest_burst *b, u32 id, u64 gva, u64 value)
{
	const struct store_site *site = &g->sites[id];

	if (b->n == GUEST_BURST)
		return false;
	if ((gva & 4095) + site->size > 4096)
		gva -= site->size;
	if (!guest_map(g, b, gva))
		return false;
	const struct guest_map *m = &g->maps[b->lane][stores_map_slot(gva)];

	value &= bytes_mask(site->size);
	b->raw[b->n] = (struct store_raw){.gva = gva, .value = value, .site = id};
	b->ev[b->n] = (struct event_store){
		.h = {.t_ns = b->t_ns,
		      .tid = b->tid,
		      .kind = EVENT_store,
		      .vcpu = b->vcpu,
		      .boot = BOOT_UNKNOWN},
		.gpa = m->gpa | (gva & 4095),
		.gva = gva,
		.pc = site->pc,
		.smm = m->smm,
		.part = site->part,
		.len = site->size,
	};
	store_le(b->ev[b->n].bytes, value, 8);
	b->n++;
	return true;
}

static inline void guest_run(struct guest *g, struct guest_burst *b)
{
	const u64 what = random_next(&g->seed) % 10, r = random_next(&g->seed);
	const u32 n = 1 + (u32)(random_next(&g->seed) % (g->burst ?: GUEST_BURST)),
		  id = (u32)(r % GUEST_SITES);
	const u32 size = g->sites[id].size;
	const u64 base = 0xffff888000000000ull + (r >> 20 & 0xfff) * 4096 + (r >> 40 & 0xff8);
	u64 gva = base, value = r;

	for (u32 i = 0; i < n; i++) {
		u32 by = id;

		switch (what) {
		case 0: /* a loop over an array; now and then a value is stored elsewhere, too */
			if (random_next(&g->seed) % 4 == 0) {
				gva = base ^ (r & 0x7f00);
				by = (id + 1) % GUEST_SITES;
				break;
			}
			gva = base + 16 * i;
			value = 3 * i;
			break;
		case 1: /* memset */
			gva += size;
			break;
		case 2: /* a copy */
			gva += size;
			value = random_next(&g->seed);
			break;
		case 3: /* pushes and calls */
			by = (id + i % 5) % GUEST_SITES;
			g->sp -= 8;
			gva = 0xffffc90000004000ull + g->sp % 0x2000;
			value = 0xffffffff81000000ull + by * 0x1111;
			break;
		case 4: /* structures, member by member */
			by = (id + i % 4) % GUEST_SITES;
			gva += i % 4 ? 8 : 40;
			value = i % 4 == 2 ? i : r;
			break;
		case 5: /* an empty list head: it points to itself */
			gva += 64 + (random_next(&g->seed) % 4 ? 0 : 8);
			value = gva;
			break;
		case 6: /* a counter */
			value = r + i * (i % 7 ? 1 : 300);
			break;
		case 7: /* a wide access, part by part; zeros */
			gva += 8;
			value = 0;
			by = (id + i % 2) % GUEST_SITES;
			break;
		case 8: /* a few addresses again and again, each with its value */
			gva = (gva & ~0x3full) + i * 24 % 64;
			value = gva * r;
			by = (id + (u32)(random_next(&g->seed) % 3)) % GUEST_SITES;
			break;
		default: /* noise */
			gva = random_next(&g->seed);
			value = random_next(&g->seed);
			by = (u32)(random_next(&g->seed) % GUEST_SITES);
		}
		if (!guest_put(g, b, by, gva, value))
			return;
	}
}

/* The next burst: 1 store at least. */
static inline void guest_next(struct guest *g, struct guest_burst *b)
{
	const u64 thread = random_next(&g->seed) % GUEST_LANES;

	b->n = b->nmaps = b->nsites = 0;
	for (u32 i = 0; i < GUEST_SITES; i++) {
		if (g->begun && random_next(&g->seed) % 10000)
			continue;
		g->sites[i] = guest_site(&g->seed, i);
		if (g->begun)
			g->sites[i].pc += random_next(&g->seed) % 1000;
		b->ids[b->nsites] = i;
		b->sites[b->nsites++] = g->sites[i];
	}
	g->begun = true;
	if (random_next(&g->seed) % 3 == 0)
		g->t_ns += random_next(&g->seed) % 100000;
	b->t_ns = g->t_ns;
	b->lane = (unsigned)thread;
	b->tid = 4000 + (u32)thread;
	b->vcpu = (u16)thread;
	guest_run(g, b);
	b->raced = b->raw[0].value % 5 == 3;
	b->ev[0].raced = b->raced;
}

/* Tells of what holds for the burst. */
static inline int guest_tell(const struct guest_burst *b, struct stores_encoder *e)
{
	int err = 0;

	for (u32 i = 0; i < b->nsites && !err; i++)
		err = stores_site(e, b->ids[i], &b->sites[i]);
	for (u32 i = 0; i < b->nmaps && !err; i++)
		err = stores_map(e, b->lane, b->maps[i].gva, b->maps[i].gpa, b->maps[i].smm);
	stores_time(e, b->t_ns);
	stores_thread(e, b->tid, b->vcpu);
	if (b->raced)
		stores_raced(e);
	return err;
}

#endif
