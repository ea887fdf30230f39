// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page tables in watched pages, where KVM emulates the guest or the probes that tell of them
 * (bpf/tables.bpf.h) are missing: they are looked for whenever an event shows another CR3, and
 * again once a second; the pages that hold tables are opened for good.
 */
#include <string.h>
#include <unistd.h>

#include "user/record_state.h"

#define AGAIN_NS   1000000000ull
#define TABLES_MAX 8192 /* tables read in one go */
#define PRESENT	   1ull
#define LARGE	   (1ull << 7)
#define ENTRY_ADDR 0x000ffffffffff000ull

/* Where guest RAM lies as a whole: what the VMM's memory slots say. */
void record_slot(struct record *r, const struct event_memslot *ev)
{
	struct guestram_part *slot;

	if (ev->as || ev->slot >= RECORD_SLOTS)
		return;
	slot = &r->slots[ev->slot];
	if (slot->size)
		guestram_unmap(&r->ram, slot->gpa, slot->size);
	*slot = (struct guestram_part){ev->gpa, ev->size, ev->hva};
	if (slot->size)
		guestram_map(&r->ram, slot->gpa, slot->size, slot->hva);
}

static void open_if_watched(struct record *r, u64 page)
{
	for (size_t i = 0; i < r->armed.n; i++)
		if (page - r->armed.part[i].gpa < r->armed.part[i].size) {
			link_send(r->link, AGENT_OPEN, page, 4096, WHY_PAGE_TABLE);
			return;
		}
}

static void walk(struct record *r, u64 table, int level, unsigned *left)
{
	u64 entries[512];

	if (!*left)
		return;
	--*left;
	open_if_watched(r, table);
	if (level == 1 ||
	    guestram_read(&r->ram, table, entries, sizeof(entries)) != sizeof(entries))
		return;
	for (unsigned i = 0; i < 512; i++) {
		if (!(entries[i] & PRESENT) || (level <= 3 && entries[i] & LARGE))
			continue;
		walk(r, entries[i] & ENTRY_ADDR, level - 1, left);
	}
}

static void look_for_tables(struct record *r, u64 cr3, unsigned mode)
{
	unsigned left = TABLES_MAX;

	r->tables_ns = record_now(r);
	/* 64-bit code runs on four levels (five are told by CR4, which events do not carry: then
	 * the lowest level is missed). Elsewhere paging may be off or of two kinds: only the root
	 * is sure. */
	if (mode == CPU_MODE_PROT64)
		walk(r, cr3 & ENTRY_ADDR, 4, &left);
	else
		open_if_watched(r, cr3 & ENTRY_ADDR);
}

/* The guest is entered, not emulated, and the first use of each table is seen. */
static bool probed(struct record *r)
{
	struct probe_state states[PROBES_MAX];
	size_t n, attached = 0;

	if (r->tables_asked)
		return r->tables_probed;
	r->tables_asked = true;
	if (access("/sys/module/kvm_amd", F_OK) && access("/sys/module/kvm_intel", F_OK))
		return false;
	n = source_bpf_probes(r->bpf, states, PROBES_MAX);
	for (size_t i = 0; i < n; i++)
		attached += !strncmp(states[i].name, "tables__", 8) &&
			    states[i].how == PROBE_HOW_TRACEPOINT;
	r->tables_probed = attached == 2;
	return r->tables_probed;
}

void record_tables(struct record *r, const struct event_mmio *ev)
{
	if (!r->npages || !r->armed.n || ev->done == MMIO_DONE_REQUESTED || !ev->cr3 || probed(r))
		return;
	if (ev->mode != CPU_MODE_PROT64 && ev->mode != CPU_MODE_PROT32)
		return;
	if (ev->cr3 == r->last_cr3 && record_now(r) - r->tables_ns < AGAIN_NS)
		return;
	r->last_cr3 = ev->cr3;
	look_for_tables(r, ev->cr3, ev->mode);
}
