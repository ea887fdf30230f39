/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory as a vCPU sees it, read from its own thread: guest-virtual to guest-physical by the
 * guest's page tables, that to the VMM's address by the memory slots, then a read of user memory.
 */
#ifndef VMBLAME_GUESTMEM_BPF_H
#define VMBLAME_GUESTMEM_BPF_H

#include "vcpu.bpf.h"

#define PTE_PRESENT 1ull
#define PTE_LARGE   (1ull << 7)
#define PTE_ADDR    0x000ffffffffff000ull

struct walk {
	u64 cr0, cr3, cr4, efer;
	u64 page; /* guest-virtual page translated last, ~0 for none */
	u64 hva;  /* where it lies */
};

/* Global functions are verified once, by themselves, not at each place they are called from. */
__noinline u64 gpa_to_hva(u64 gpa)
{
	u32 i;

	for (i = 0; i < MAX_SLOTS; i++)
		if (gpa - slots[i].gpa < slots[i].size)
			return slots[i].hva + (gpa - slots[i].gpa);
	return 0;
}

__noinline u64 read_entry(u64 gpa, u32 size)
{
	u64 entry = 0, hva = gpa_to_hva(gpa);

	if (!hva || bpf_probe_read_user(&entry, size == 4 ? 4 : 8, (void *)hva))
		return 0;
	return entry;
}

/* 0 when it is not mapped or cannot be read. Linear addresses; Intel SDM volume 3, chapter 4. */
__noinline u64 walk_page(struct walk *w, u64 gva)
{
	u64 table, entry;
	int level, shift;

	if (!w)
		return 0;
	if (!(w->cr0 & CR0_PG))
		return gpa_to_hva(gva & ~0xfffull);
	if (w->efer & EFER_LMA) {
		table = w->cr3 & PTE_ADDR;
		for (level = 4; level >= 0; level--) {
			if (level == 4 && !(w->cr4 & CR4_LA57))
				continue;
			shift = 12 + 9 * level;
			entry = read_entry(table + ((gva >> shift) & 511) * 8, 8);
			if (!(entry & PTE_PRESENT))
				return 0;
			table = entry & PTE_ADDR;
			if (level == 0)
				return gpa_to_hva(table);
			if ((level == 1 || level == 2) && (entry & PTE_LARGE)) {
				u64 mask = (1ull << shift) - 1;

				return gpa_to_hva((table & ~mask) | (gva & mask & ~0xfffull));
			}
		}
		return 0;
	}
	if (w->cr4 & CR4_PAE) {
		entry = read_entry((w->cr3 & ~31ull) + ((gva >> 30) & 3) * 8, 8);
		if (!(entry & PTE_PRESENT))
			return 0;
		entry = read_entry((entry & PTE_ADDR) + ((gva >> 21) & 511) * 8, 8);
		if (!(entry & PTE_PRESENT))
			return 0;
		if (entry & PTE_LARGE)
			return gpa_to_hva((entry & PTE_ADDR & ~0x1fffffull) | (gva & 0x1ff000));
		entry = read_entry((entry & PTE_ADDR) + ((gva >> 12) & 511) * 8, 8);
		return entry & PTE_PRESENT ? gpa_to_hva(entry & PTE_ADDR) : 0;
	}
	entry = read_entry((w->cr3 & ~0xfffull) + ((gva >> 22) & 1023) * 4, 4);
	if (!(entry & PTE_PRESENT))
		return 0;
	if (entry & PTE_LARGE)
		return gpa_to_hva((entry & 0xffc00000) | (gva & 0x3ff000));
	entry = read_entry((entry & ~0xfffull) + ((gva >> 12) & 1023) * 4, 4);
	return entry & PTE_PRESENT ? gpa_to_hva(entry & ~0xfffull) : 0;
}

/* A word of `size` bytes (4 or 8) at a linear address. Words across a page are not read. */
__noinline int read_word(struct walk *w, u64 gva, u32 size, u64 *word)
{
	if (!w || !word)
		return -1;
	*word = 0;
	if ((gva & 0xfff) > 0x1000 - size)
		return -1;
	if (w->page != (gva & ~0xfffull)) {
		w->hva = walk_page(w, gva & ~0xfffull);
		w->page = gva & ~0xfffull;
	}
	if (!w->hva)
		return -1;
	return bpf_probe_read_user(word, size == 4 ? 4 : 8, (void *)(w->hva + (gva & 0xfff)));
}

/*
 * Return addresses by frame pointers, up to 8, into e->ret. Flat 32 and 64 bit code only: elsewhere
 * the stack segment would have to be known. Ends at the first frame that does not lie above the one
 * before it or cannot be read.
 */
__noinline u32 walk_stack(struct thread *th, struct event_mmio *e)
{
	struct walk w = {.page = ~0ull};
	struct kvm_vcpu *vcpu;
	u64 frame, caller, up;
	u32 n, size;

	if (!th || !e)
		return 0;
	if (e->mode != CPU_MODE_PROT32 && e->mode != CPU_MODE_PROT64)
		return 0;
	size = e->mode == CPU_MODE_PROT64 ? 8 : 4;
	vcpu = (void *)th->vcpu;
	w.cr0 = BPF_CORE_READ(vcpu, arch.cr0);
	w.cr3 = e->cr3;
	w.cr4 = BPF_CORE_READ(vcpu, arch.cr4);
	w.efer = BPF_CORE_READ(vcpu, arch.efer);
	frame = e->rbp;
	for (n = 0; n < 8; n++) {
		if (frame & (size - 1) || frame < e->rsp ||
		    read_word(&w, frame + size, size, &caller) || read_word(&w, frame, size, &up) ||
		    !caller)
			break;
		e->ret[n & 7] = caller;
		if (up <= frame || up - frame > (1 << 20)) {
			n++;
			break;
		}
		frame = up;
	}
	return n;
}

#endif
