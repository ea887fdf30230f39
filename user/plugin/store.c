// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The callback of a store, which QEMU calls right after it. The fast path is a store of 8 bytes or
 * less, within a page of RAM that was said before, by a site that was said before; everything else
 * goes the slow way.
 */
#include "plugin.h"

#include <string.h>

/* Records that one store may take: time, loss, vCPU, and site, mapping and store of each byte of a
 * store that is cut. */
#define GROUP (16 + 64 * (4 + 2 + 4))

/* What a store's mapping is known by: the page's address in QEMU, or the guest-physical one. */
static u64 place_page(const struct place *at)
{
	return (place_layout == PLACE_V6 ? at->host : at->gpa) & PAGE_MASK;
}

static u64 bytes_read(u64 host, u32 shift)
{
	const void *at = (const void *)(uintptr_t)host;
	u64 value = 0;

	switch (shift) {
	case 0:
		return *(const u8 *)at;
	case 1:
		memcpy(&value, at, 2);
		return value;
	case 2:
		memcpy(&value, at, 4);
		return value;
	default:
		memcpy(&value, at, 8);
		return value;
	}
}

static inline bool said(const struct producer *p, u32 site)
{
	return p->said[site >> 6] >> (site & 63) & 1;
}

static void say_site(struct producer *p, const struct insn *insn, u32 site, u32 size, u32 part)
{
	u64 words[4] = {insn->pc, size | (u32)insn->len << 8 | part << 16};

	if (said(p, site))
		return;
	memcpy(&words[2], insn->bytes, 16);
	producer_say(p, RING_SITE, site, words);
	p->said[site >> 6] |= (u64)1 << (site & 63);
}

static void say_map(struct producer *p, u64 gva, const struct place *at)
{
	const u32 slot = ring_map_slot(gva);
	const u64 page = place_page(at);

	if (p->map[slot].gva == (gva & PAGE_MASK) && p->map[slot].place == page)
		return;
	producer_say(p, RING_MAP, at->hidden, (u64[]){gva & PAGE_MASK, at->gpa & PAGE_MASK});
	p->map[slot].gva = gva & PAGE_MASK;
	p->map[slot].place = page;
}

/* Sends the map; it is void as long as that does not succeed. */
static bool say_ram(struct producer *p)
{
	const struct ram *ram = &p->ram;

	if (!producer_room(p, 2 + 3 * ram->n))
		return false;
	/* No page of a store is at address 1. */
	for (u32 i = 0; i < RING_MAPS; i++)
		p->map[i].gva = 1;
	producer_say_one(p, RING_RAM, 0, 0);
	for (u32 i = 0; i < ram->n; i++) {
		const struct ram_range *r = &ram->range[i];

		producer_say(p, RING_RANGE,
			     (r->readonly ? RING_ROM : 0) | (r->hidden ? RING_HIDDEN : 0),
			     (u64[]){r->gpa, r->host, r->size});
	}
	producer_say_one(p, RING_RAM_END, 0, 0);
	return true;
}

/* The bytes of an access as memory holds them, by what QEMU says of the running callback. */
static bool value_told(u32 info, u8 *bytes, u32 size)
{
	struct qemu_plugin_mem_value v;

	if (!qemu_plugin_mem_get_value || size > 16)
		return false;
	v = qemu_plugin_mem_get_value(info);
	switch (size) {
	case 1:
		bytes[0] = v.data.u8;
		break;
	case 2:
		memcpy(bytes, &v.data.u16, 2);
		break;
	case 4:
		memcpy(bytes, &v.data.u32, 4);
		break;
	default:
		memcpy(bytes, &v.data.u64, 8);
		if (size == 16)
			memcpy(bytes + 8, &v.data.u128.high, 8);
		break;
	}
	if (qemu_plugin_mem_is_big_endian(info))
		for (u32 i = 0; i < size / 2; i++) {
			const u8 b = bytes[i];

			bytes[i] = bytes[size - 1 - i];
			bytes[size - 1 - i] = b;
		}
	return true;
}

/* Of 8 bytes at most, by a QEMU that tells. */
static __attribute__((noinline)) u64 value_small(u32 info, u32 size)
{
	u64 value = 0;

	value_told(info, (u8 *)&value, size);
	return value;
}

/* What a store says of its address. */
static inline u32 store_at(u64 gva)
{
	return ring_map_slot(gva) << 12 | (u32)(gva & 0xfff);
}

static void put_io(struct producer *p, u64 gpa, u64 gva, const u8 *bytes, u32 size, u32 site,
		   bool known)
{
	u64 value = 0;

	memcpy(&value, bytes, size);
	producer_say(p, RING_IO, site, (u64[]){gpa, known ? value : 0, gva, known});
}

static void put_piece(struct producer *p, const struct place *at, u64 gva, const u8 *bytes,
		      u32 size, u32 site, bool known)
{
	u64 value = 0;

	if (at->kind == PLACE_IO) {
		put_io(p, at->gpa, gva, bytes, size, site, known);
	} else if (at->kind == PLACE_RAM) {
		memcpy(&value, bytes, size);
		say_map(p, gva, at);
		producer_put(p, value, site, store_at(gva));
	} else if (at->kind == PLACE_ROM) {
		__atomic_store_n(&p->shared->rom, p->shared->rom + 1, __ATOMIC_RELAXED);
	} else {
		producer_lost(p, RING_LOST_PLACE);
	}
}

struct access {
	u64 gva;
	u32 info, how, size;
	struct place at[2]; /* the page of its first byte, and of its last */
	u32 first;	    /* bytes in the first page */
	u8 bytes[64];
	bool known;
};

/* Byte by byte: two pages that are not the same kind of thing. */
static void put_cut(struct producer *p, struct insn *insn, const struct access *a)
{
	const u32 site = site_bytes(insn);

	if (site == HOW_LOST) {
		producer_lost(p, RING_LOST_SITES);
		return;
	}
	for (u32 i = 0; i < a->size; i++) {
		struct place at = a->at[i >= a->first];

		if (i < a->first) {
			at.gpa += i;
			at.host += i;
		} else {
			at.gpa = (at.gpa & PAGE_MASK) + (i - a->first);
		}
		say_site(p, insn, site + i, 1, i);
		put_piece(p, &at, a->gva + i, &a->bytes[i], 1, site + i, a->known);
	}
}

static void put_whole(struct producer *p, struct insn *insn, const struct access *a)
{
	const u32 size = a->size < 8 ? a->size : 8;

	for (u32 i = 0; i < a->size; i += size) {
		const u32 site = HOW_SITE(a->how) + i / size;
		struct place at = a->at[0];

		if (i >= a->first)
			at = a->at[1]; /* of the last byte: the page is what counts */
		else
			at.gpa += i;
		say_site(p, insn, site, size, i / size);
		if (at.kind == PLACE_RAM && i < a->first && i + size > a->first)
			say_map(p, a->gva + a->size - 1, &a->at[1]);
		put_piece(p, &at, a->gva + i, &a->bytes[i], size, site, a->known);
	}
}

static void access_read(struct access *a)
{
	a->known = value_told(a->info, a->bytes, a->size);
	if (a->known)
		return;
	if (a->at[0].kind == PLACE_RAM)
		memcpy(a->bytes, (const void *)(uintptr_t)a->at[0].host, a->first);
	if (a->first < a->size && a->at[1].kind == PLACE_RAM)
		memcpy(a->bytes + a->first, (const void *)(uintptr_t)(a->at[1].host & PAGE_MASK),
		       a->size - a->first);
}

#define MAP_UNWANTED 2 /* in a map's gva: stores there are left out */

static bool unwanted(const struct place *at)
{
	return (at->kind == PLACE_RAM || at->kind == PLACE_IO) && !producer_wants(at->gpa);
}

/* The same as last time: a store to a page that nobody asked for. */
static __attribute__((noinline)) bool store_unwanted(struct producer *p, unsigned vcpu, u32 info,
						     u64 gva, u32 how)
{
	const u32 slot = ring_map_slot(gva);
	const struct hwaddr_v6 *hw;

	if (!p || p->map[slot].gva != ((gva & PAGE_MASK) | MAP_UNWANTED) || p->quick_vcpu != vcpu ||
	    __atomic_load_n(&shared_ring->tick, __ATOMIC_RELAXED) != p->tick || how == HOW_LOST ||
	    (gva & 0xfff) + (1u << HOW_SHIFT(how)) > 0x1000 || ram_is_old(&p->ram))
		return false;
	hw = (const void *)qemu_plugin_get_hwaddr(info, gva);
	return hw && !hw->is_io && p->map[slot].place == (hw->host & PAGE_MASK);
}

static void store_put(struct producer *p, struct insn *insn, struct access *a)
{
	a->first = 0x1000 - (u32)(a->gva & 0xfff);
	a->at[0] = place_find(p, a->info, a->gva);
	if (a->first >= a->size) {
		a->first = a->size;
		a->at[1] = a->at[0];
	} else {
		a->at[1] = place_find(p, a->info, a->gva + a->size - 1);
	}
	if (unwanted(&a->at[0]) && unwanted(&a->at[1])) {
		const u32 slot = ring_map_slot(a->gva);

		p->map[slot].gva = (a->gva & PAGE_MASK) | MAP_UNWANTED;
		p->map[slot].place = place_page(&a->at[0]);
		return;
	}
	access_read(a);
	if (a->at[0].kind != a->at[1].kind ||
	    (a->first < a->size && (a->at[0].kind != PLACE_RAM ||
				    ring_map_slot(a->gva) == ring_map_slot(a->gva + a->size))))
		put_cut(p, insn, a);
	else if (a->at[0].kind == PLACE_LOST)
		producer_lost(p, RING_LOST_PLACE);
	else if (a->at[0].kind == PLACE_ROM)
		__atomic_store_n(&p->shared->rom, p->shared->rom + 1, __ATOMIC_RELAXED);
	else
		put_whole(p, insn, a);
}

static struct producer *thread_begins(void)
{
	struct producer *p;

	if (producer_dead()) {
		plugin_leave();
		return NULL;
	}
	p = producer_get();
	if (!p)
		__atomic_fetch_add(&shared_ring->unringed, 1, __ATOMIC_RELAXED);
	return p;
}

static __attribute__((noinline)) void store_slow(unsigned vcpu, u32 info, u64 gva,
						 struct insn *insn, u32 how)
{
	struct producer *p = thread_begins();
	struct access a = {.gva = gva, .info = info, .how = how};

	if (!p)
		return;
	if (__atomic_load_n(&shared_ring->tick, __ATOMIC_RELAXED) != p->tick)
		producer_tick(p);
	if (!p->ram.view || ram_is_old(&p->ram) || p->tick_ram != p->tick) {
		p->tick_ram = p->tick;
		if (ram_refresh(&p->ram))
			p->ram_said = false;
	}
	if (!p->ram_said)
		p->ram_said = say_ram(p);
	if (!p->ram_said || !producer_room(p, GROUP)) {
		producer_lost(p, RING_LOST_FULL);
		goto out;
	}
	if (p->lost)
		producer_say_lost(p);
	if (p->vcpu != vcpu) {
		producer_say_one(p, RING_VCPU, vcpu, 0);
		p->vcpu = vcpu;
	}
	if (place_layout == PLACE_V6 || (place_layout && qemu_plugin_mem_get_value))
		p->quick_vcpu = vcpu;
	if (how == HOW_LOST) {
		producer_lost(p, RING_LOST_SITES);
		goto out;
	}
	a.size = 1u << HOW_SHIFT(how);
	store_put(p, insn, &a);
out:
	producer_publish(p);
	/* Behind the store: who stands still has told of all that it stored. */
	if ((p->ticked && !producer_rest(p)) || producer_dead()) {
		own_producer = NULL;
		plugin_leave();
	}
}

void store_callback(unsigned vcpu, u32 info, u64 gva, void *arg)
{
	struct insn *insn = arg;
	struct producer *p = own_producer;
	const u32 how = site_how(insn, info), slot = ring_map_slot(gva);
	const struct hwaddr_v6 *hw;
	u64 value;

	if (how == HOW_LOAD)
		return;
	if (unlikely(!p || p->quick_vcpu != vcpu ||
		     __atomic_load_n(&shared_ring->tick, __ATOMIC_RELAXED) != p->tick ||
		     how >= HOW_WIDE || !said(p, HOW_SITE(how)) ||
		     (gva & 0xfff) + (1u << HOW_SHIFT(how)) > 0x1000 || ram_is_old(&p->ram) ||
		     p->head + 1 - p->tail > p->capacity))
		goto slow;
	/* host, or gpa in the later layout: what the mapping is known by. */
	hw = (const void *)qemu_plugin_get_hwaddr(info, gva);
	if (unlikely(!hw || hw->is_io || p->map[slot].gva != (gva & PAGE_MASK) ||
		     p->map[slot].place != (hw->host & PAGE_MASK)))
		goto slow;
	if (likely(place_layout == PLACE_V6))
		value = bytes_read(hw->host, HOW_SHIFT(how));
	else
		value = value_small(info, 1u << HOW_SHIFT(how));
	producer_ahead(p);
	producer_put(p, value, HOW_SITE(how), slot << 12 | (u32)(gva & 0xfff));
	producer_publish(p);
	return;
slow:
	if (!store_unwanted(p, vcpu, info, gva, how))
		store_slow(vcpu, info, gva, insn, how);
}
