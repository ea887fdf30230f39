// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where guest RAM lies in QEMU: the flat view of main memory, taken by functions that QEMU exports
 * (softmmu/memory.c up to 8.2, system/memory.c after). All of them may be called by a vCPU's thread
 * while it runs guest code: they take what they need of RCU themselves.
 *
 * RAM that is hidden in main memory, such as SMRAM behind the VGA window or TSEG, is not in the
 * view; it is the part of a block that is mapped nowhere, next to a part that is, at the same
 * distance between guest and host addresses.
 */
#include "plugin.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define AS_WORDS 16 /* struct AddressSpace: look for its view in so many words */

/* One part of a block of RAM that is mapped. */
struct part {
	struct ram_range range;
	u64 block, block_end; /* host addresses */
};

typedef bool range_cb(__int128 start, __int128 size, const void *mr, u64 offset, void *arg);

static struct {
	void *address_space_memory;
	void *(*address_space_get_flatview)(void *as);
	void (*flatview_for_each_range)(void *view, range_cb *cb, void *arg);
	void (*flatview_unref)(void *view);
	u64 (*memory_region_get_ram_addr)(const void *mr);
	void *(*memory_region_get_ram_ptr)(const void *mr);
	u64 (*memory_region_size)(const void *mr);
	struct memory_section (*memory_region_find)(void *mr, u64 addr, u64 size);
	void (*memory_region_unref)(void *mr);
	void *(*get_system_memory)(void);
} qemu;

void **ram_current_map;

const char *ram_exports(void)
{
#define EXPORT(name)                       \
	{                                  \
#name, (void **)&qemu.name \
	}
	static const struct {
		const char *name;
		void **at;
	} exports[] = {EXPORT(address_space_memory),	   EXPORT(address_space_get_flatview),
		       EXPORT(flatview_for_each_range),	   EXPORT(flatview_unref),
		       EXPORT(memory_region_get_ram_addr), EXPORT(memory_region_get_ram_ptr),
		       EXPORT(memory_region_size),	   EXPORT(memory_region_find),
		       EXPORT(memory_region_unref),	   EXPORT(get_system_memory)};

	for (size_t i = 0; i < sizeof(exports) / sizeof(exports[0]); i++) {
		*exports[i].at = dlsym(RTLD_DEFAULT, exports[i].name);
		if (!*exports[i].at)
			return exports[i].name;
	}
	return NULL;
}

struct parts {
	u32 n;
	struct part part[RAM_RANGES];
};

static bool add_range(__int128 start, __int128 size, const void *mr, u64 offset, void *arg)
{
	struct parts *parts = arg;
	struct part *p = &parts->part[parts->n];
	struct memory_section section;

	/* RAM_ADDR_INVALID: no RAM behind it. */
	if (qemu.memory_region_get_ram_addr(mr) == ~(u64)0 || start < 0 || size <= 0 ||
	    (start + size) >> 64)
		return false;
	memset(p, 0, sizeof(*p));
	p->block = (u64)(uintptr_t)qemu.memory_region_get_ram_ptr(mr);
	if (!p->block)
		return false;
	p->block_end = p->block + qemu.memory_region_size(mr);
	p->range.gpa = (u64)start;
	p->range.size = (u64)size;
	p->range.host = p->block + offset;
	section = qemu.memory_region_find(qemu.get_system_memory(), p->range.gpa, 1);
	p->range.readonly = section.mr && section.readonly;
	if (section.mr)
		qemu.memory_region_unref(section.mr);
	return ++parts->n == RAM_RANGES;
}

static int by_host(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	if (x->range.host != y->range.host)
		return x->range.host < y->range.host ? -1 : 1;
	return (int)x->range.readonly - (int)y->range.readonly;
}

static int by_gpa(const void *a, const void *b)
{
	const struct ram_range *x = a, *y = b;

	if (x->hidden != y->hidden)
		return (int)x->hidden - (int)y->hidden;
	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static bool overlaps(const struct parts *parts, u64 gpa, u64 size)
{
	for (u32 i = 0; i < parts->n; i++)
		if (gpa < parts->part[i].range.gpa + parts->part[i].range.size &&
		    parts->part[i].range.gpa < gpa + size)
			return true;
	return false;
}

/* What lies behind a part of a block, up to the next part that is mapped. */
static void add_hidden(struct ram *ram, const struct parts *parts, u32 i)
{
	const struct part *p = &parts->part[i];
	const u64 start = p->range.host + p->range.size;
	u64 end = p->block_end;
	struct ram_range r = {0};

	for (u32 j = 0; j < parts->n; j++) {
		const struct part *q = &parts->part[j];

		if (q->block != p->block || q->range.host + q->range.size <= start)
			continue;
		if (q->range.host <= start)
			return;
		if (q->range.host < end)
			end = q->range.host;
	}
	r = (struct ram_range){.gpa = p->range.gpa + p->range.size,
			       .host = start,
			       .size = end - start,
			       .hidden = true};
	if (start < end && !p->range.readonly && ram->n < RAM_RANGES &&
	    !overlaps(parts, r.gpa, r.size))
		ram->range[ram->n++] = r;
}

static void find_current_map(void *view)
{
	void **word = qemu.address_space_memory, **found = NULL;

	for (u32 i = 0; i < AS_WORDS; i++)
		if (__atomic_load_n(&word[i], __ATOMIC_RELAXED) == view) {
			if (found)
				return;
			found = &word[i];
		}
	__atomic_store_n(&ram_current_map, found, __ATOMIC_RELAXED);
}

bool ram_refresh(struct ram *ram)
{
	static __thread struct parts *parts; /* large; kept */
	void *const view = qemu.address_space_get_flatview(qemu.address_space_memory);
	struct ram *fresh;
	bool differs;

	if (view == ram->view) {
		qemu.flatview_unref(view);
		return false;
	}
	if (!__atomic_load_n(&ram_current_map, __ATOMIC_RELAXED))
		find_current_map(view);
	if (!parts)
		parts = malloc(sizeof(*parts));
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh || !parts) {
		free(fresh);
		qemu.flatview_unref(view);
		return false;
	}
	/* The reference stays: a view at the same address is the same view. */
	fresh->view = view;
	parts->n = 0;
	qemu.flatview_for_each_range(view, add_range, parts);
	qsort(parts->part, parts->n, sizeof(parts->part[0]), by_host);
	for (u32 i = 0; i < parts->n; i++)
		fresh->range[fresh->n++] = parts->part[i].range;
	for (u32 i = 0; i < parts->n; i++)
		add_hidden(fresh, parts, i);
	qsort(fresh->range, fresh->n, sizeof(fresh->range[0]), by_gpa);
	differs = fresh->n != ram->n ||
		  memcmp(fresh->range, ram->range, fresh->n * sizeof(fresh->range[0]));
	if (ram->view)
		qemu.flatview_unref(ram->view);
	*ram = *fresh;
	free(fresh);
	return differs;
}

/* A block that is mapped twice is where it can be written to. */
const struct ram_range *ram_by_host(const struct ram *ram, u64 host)
{
	const struct ram_range *found = NULL;

	for (u32 i = 0; i < ram->n; i++)
		if (host - ram->range[i].host < ram->range[i].size) {
			if (!ram->range[i].readonly)
				return &ram->range[i];
			if (!found)
				found = &ram->range[i];
		}
	return found;
}

const struct ram_range *ram_by_gpa(const struct ram *ram, u64 gpa)
{
	for (u32 i = 0; i < ram->n; i++)
		if (gpa - ram->range[i].gpa < ram->range[i].size)
			return &ram->range[i];
	return NULL;
}
