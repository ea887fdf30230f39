/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What QEMU itself writes to guest RAM, which KVM's log of dirty pages does not hold: uprobes on
 * the functions that its devices, loaders and monitors write by (softmmu/physmem.c, since 8.2
 * system/physmem.c; memory.c; migration/). Offsets were looked up in 7.2 and 10.x, and each is
 * checked against the VMM's memory; where it does not hold, the write is told of without a place.
 *
 * No return of a function is probed that may yield: a coroutine goes on on another stack, and the
 * kernel would take its return addresses for abandoned.
 */
#ifndef VMBLAME_VMM_BPF_H
#define VMBLAME_VMM_BPF_H

#include "core.bpf.h"

#define NOWHERE	     (~0ull)
#define GUEST_PAGE   4096
#define SPACE_ROOT   24 /* struct AddressSpace: rcu, name, root, current_map */
#define VIEW_ROOT    48 /* struct FlatView: rcu, ref, ranges, nr, nr_allocated, dispatch, root */
#define BLOCK_REGION 16 /* struct RAMBlock: rcu, mr, host */
#define REGION_WORDS 32 /* of struct MemoryRegion, among which is ram_block */
#define MSI_START    0xfee00000ull /* x86: a device's write there is an interrupt */
#define MSI_END	     0xfef00000ull

struct vmm_spaces vmm_spaces;
bool vmm_debug_placed; /* where a debugger writes is told by a probe of its own */
u32 vmm_under_way;     /* bits 1 << enum vmm_site: LOADVM, RESET */
u32 region_block;      /* offset of ram_block in struct MemoryRegion, once found */

enum space { SPACE_UNKNOWN, SPACE_MEMORY, SPACE_PORTS };

/*
 * Whether addresses in an address space are guest-physical. Those that have the same root region
 * share one FlatView (flatviews_init(), memory.c), as a PCI device's does without an IOMMU.
 */
__noinline u32 vmm_space(u64 as)
{
	u64 memory[2] = {}, other[2] = {}, root = 0; /* root, current_map */

	if (!vmm_spaces.memory)
		return SPACE_UNKNOWN;
	if (as == vmm_spaces.memory)
		return SPACE_MEMORY;
	if (as == vmm_spaces.ports)
		return SPACE_PORTS;
	if (bpf_probe_read_user(memory, sizeof(memory), (void *)(vmm_spaces.memory + SPACE_ROOT)) ||
	    bpf_probe_read_user(other, sizeof(other), (void *)(as + SPACE_ROOT)) || !memory[0] ||
	    bpf_probe_read_user(&root, sizeof(root), (void *)(memory[1] + VIEW_ROOT)))
		return SPACE_UNKNOWN;
	return root == memory[0] && other[1] == memory[1] ? SPACE_MEMORY : SPACE_UNKNOWN;
}

/* Whether memory that the VMM's functions write lies there: not a device, nor a ROM. */
__noinline int vmm_ram(u64 gpa, u64 end, u32 rom_too)
{
	u32 i;

	if (!slots_seen || slots_more)
		return true;
	for (i = 0; i < MAX_SLOTS; i++)
		if (slots[i].size && gpa < slots[i].gpa + slots[i].size && end > slots[i].gpa &&
		    (rom_too || !(slots[i].flags & MEM_READONLY)))
			return true;
	return false;
}

/* The guest's address, or NOWHERE when the guest does not see it. */
__noinline u64 vmm_gpa(u64 hva)
{
	u32 i;

	for (i = 0; i < MAX_SLOTS; i++)
		if (hva - slots[i].hva < slots[i].size)
			return slots[i].gpa + (hva - slots[i].hva);
	return NOWHERE;
}

struct vmm_write {
	u64 gpa; /* or NOWHERE */
	u64 len, hva, span;
	u32 site, phase;
};

__noinline int vmm_tell(const struct vmm_write *w)
{
	struct thread *th = thread_get();
	u64 t_ns = bpf_ktime_get_ns(), gpa, end;
	struct event_vmm_write *e;
	u32 origin;

	if (!th || !w)
		return 0;
	gpa = w->gpa == NOWHERE ? 0 : w->gpa;
	end = w->gpa == NOWHERE ? 0 : gpa + (w->span > w->len ? w->span : w->len);
	origin = w->site == VMM_SITE_MAP ? ORIGIN_DMA : ORIGIN_VMM;
	e = reserve(th, sizeof(*e), t_ns, gpa, end, origin);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_vmm_write, t_ns);
	e->gpa = gpa;
	e->placed = w->gpa != NOWHERE;
	e->len = w->len;
	e->hva = w->hva;
	e->span = w->span;
	e->site = w->site;
	e->phase = w->phase;
	submit(e);
	return 0;
}

/* That the VMM wrote is known, but not where: once in VMM_SLACK_NS. */
static __always_inline int vmm_somewhere(struct thread *th, u32 site, u64 len)
{
	struct vmm_write w = {.gpa = NOWHERE, .len = len, .site = site};
	u64 t_ns = bpf_ktime_get_ns();

	if (t_ns - th->vmm.somewhere_ns < VMM_SLACK_NS)
		return 0;
	th->vmm.somewhere_ns = t_ns;
	return vmm_tell(&w);
}

/* About to write to an address space. Most calls are a vCPU's accesses to devices, and dropped. */
static __always_inline int vmm_about(u64 as, u64 gpa, u64 len, u32 site)
{
	struct vmm_write w = {.gpa = gpa, .len = len, .site = site};
	struct thread *th = thread_get();
	u32 space;

	if (!th || !len || (gpa >= MSI_START && gpa < MSI_END))
		return 0;
	space = vmm_space(as);
	if (space == SPACE_PORTS)
		return 0;
	if (space == SPACE_UNKNOWN || gpa + len < gpa)
		return vmm_somewhere(th, site, len);
	if (!vmm_ram(gpa, gpa + len, site == VMM_SITE_ROM))
		return 0;
	return vmm_tell(&w);
}

/* MemTxResult address_space_write(AddressSpace *, hwaddr addr, MemTxAttrs, const void *,
 * hwaddr len) */
SEC("?uprobe")
int BPF_KPROBE(vmm__address_space_write, u64 as, u64 addr, u64 attrs, u64 buf, u64 len)
{
	return vmm_about(as, addr, len, VMM_SITE_WRITE);
}

/* MemTxResult address_space_rw(AddressSpace *, hwaddr addr, MemTxAttrs, void *, hwaddr len,
 * bool is_write). Of its arguments libbpf hands on five. */
SEC("?uprobe")
int BPF_KPROBE(vmm__address_space_rw, u64 as, u64 addr, u64 attrs, u64 buf, u64 len)
{
	return (u8)ctx->r9 ? vmm_about(as, addr, len, VMM_SITE_RW) : 0;
}

/* MemTxResult address_space_set(AddressSpace *, hwaddr addr, uint8_t c, hwaddr len, MemTxAttrs) */
SEC("?uprobe")
int BPF_KPROBE(vmm__address_space_set, u64 as, u64 addr, u64 c, u64 len)
{
	return vmm_about(as, addr, len, VMM_SITE_SET);
}

/* void cpu_physical_memory_rw(hwaddr addr, void *, hwaddr len, bool is_write) */
SEC("?uprobe")
int BPF_KPROBE(vmm__cpu_physical_memory_rw, u64 addr, u64 buf, u64 len, u64 is_write)
{
	struct vmm_write w = {.gpa = addr, .len = len, .site = VMM_SITE_PHYSICAL};

	if (!(u8)is_write || !len || addr + len < addr || !vmm_ram(addr, addr + len, false))
		return 0;
	return vmm_tell(&w);
}

/* MemTxResult address_space_write_rom(AddressSpace *, hwaddr addr, MemTxAttrs, const void *,
 * hwaddr len) */
SEC("?uprobe")
int BPF_KPROBE(vmm__address_space_write_rom, u64 as, u64 addr, u64 attrs, u64 buf, u64 len)
{
	return vmm_about(as, addr, len, VMM_SITE_ROM);
}

/* int cpu_memory_rw_debug(CPUState *, vaddr addr, void *, size_t len, bool is_write): addresses are
 * the guest's virtual ones, translated page by page. */
SEC("?uprobe")
int BPF_KPROBE(vmm__cpu_memory_rw_debug, u64 cpu, u64 addr, u64 buf, u64 len, u64 is_write)
{
	struct thread *th = thread_get();

	if (!th)
		return 0;
	th->vmm.debug_gva = th->vmm.debug_end = 0;
	if (!(u8)is_write || !len)
		return 0;
	if (!vmm_debug_placed || addr + len < addr)
		return vmm_somewhere(th, VMM_SITE_DEBUG, len);
	th->vmm.debug_gva = addr;
	th->vmm.debug_end = addr + len;
	return 0;
}

/* hwaddr cpu_get_phys_page_attrs_debug(CPUState *, vaddr page, MemTxAttrs *): each page once. */
SEC("?uretprobe")
int BPF_KRETPROBE(vmm__cpu_get_phys_page_attrs_debug_ret, u64 page)
{
	struct thread *th = thread_get();
	struct vmm_write w = {.site = VMM_SITE_DEBUG};
	u64 next;

	if (!th || th->vmm.debug_gva >= th->vmm.debug_end)
		return 0;
	next = (th->vmm.debug_gva | (GUEST_PAGE - 1)) + 1;
	if (!next || next > th->vmm.debug_end)
		next = th->vmm.debug_end;
	w.gpa = page + (th->vmm.debug_gva & (GUEST_PAGE - 1));
	w.len = next - th->vmm.debug_gva;
	th->vmm.debug_gva = next;
	if (page == NOWHERE || !vmm_ram(w.gpa, w.gpa + w.len, true))
		return 0;
	return vmm_tell(&w);
}

/* void *address_space_map(AddressSpace *, hwaddr addr, hwaddr *plen, bool is_write, MemTxAttrs) */
SEC("?uprobe")
int BPF_KPROBE(vmm__address_space_map, u64 as, u64 addr, u64 plen, u64 is_write)
{
	struct thread *th = thread_get();

	if (th)
		th->vmm.map_len = (u8)is_write ? plen : 0;
	return 0;
}

SEC("?uretprobe")
int BPF_KRETPROBE(vmm__address_space_map_ret, u64 hva)
{
	struct vmm_write w = {.hva = hva, .site = VMM_SITE_MAP, .phase = VMM_PHASE_OPENED};
	struct thread *th = thread_get();
	u64 plen;

	if (!th || !th->vmm.map_len)
		return 0;
	plen = th->vmm.map_len;
	th->vmm.map_len = 0;
	if (!hva)
		return 0;
	if (bpf_probe_read_user(&w.span, sizeof(w.span), (void *)plen)) {
		COUNT(bad_read);
		lose(loss_of_uprobe(), bpf_ktime_get_ns(), 0, 0, ORIGIN_DMA);
		return 0;
	}
	w.gpa = vmm_gpa(hva);
	return vmm_tell(&w);
}

/* void address_space_unmap(AddressSpace *, void *buffer, hwaddr len, bool is_write,
 * hwaddr access_len) */
SEC("?uprobe")
int BPF_KPROBE(vmm__address_space_unmap, u64 as, u64 buffer, u64 len, u64 is_write, u64 written)
{
	struct vmm_write w = {.hva = buffer,
			      .len = written < len ? written : len,
			      .span = len,
			      .site = VMM_SITE_MAP,
			      .phase = VMM_PHASE_CLOSED};

	if (!(u8)is_write)
		return 0;
	w.gpa = vmm_gpa(buffer);
	return vmm_tell(&w);
}

/* Rings whose cache has no pointer to memory, as a virtual IOMMU translates their addresses: each
 * update ends with a word. */
SEC("?uprobe")
int BPF_KPROBE(vmm__address_space_stw_le_cached_slow)
{
	struct thread *th = thread_get();

	return th ? vmm_somewhere(th, VMM_SITE_CACHED, 2) : 0;
}

/* void address_space_stl_le(AddressSpace *, hwaddr addr, uint32_t val, MemTxAttrs, MemTxResult *),
 * and the like. The other variants serve QEMU's emulator, and devices of big-endian machines. */
#define STORE_PROBE(name, bytes)                                    \
	SEC("?uprobe")                                              \
	int BPF_KPROBE(vmm__address_space_##name, u64 as, u64 addr) \
	{                                                           \
		return vmm_about(as, addr, bytes, VMM_SITE_ST);     \
	}

STORE_PROBE(stb, 1)
STORE_PROBE(stw_le, 2)
STORE_PROBE(stl_le, 4)
STORE_PROBE(stq_le, 8)

/* struct RAMBlock's host, or 0. That it is one is known by its region, which points back to it. */
static __always_inline u64 block_host(u64 block, u64 region)
{
	u64 words[2] = {}; /* mr, host */

	if (!block || bpf_probe_read_user(words, sizeof(words), (void *)(block + BLOCK_REGION)))
		return 0;
	return words[0] == region ? words[1] : 0;
}

/* Where the memory of a MemoryRegion begins in the VMM, or 0. The place of ram_block is found once,
 * as it moves from version to version. */
__noinline u64 region_host(u64 region)
{
	u64 words[REGION_WORDS] = {}, host;
	u32 i;

	if (region_block && !bpf_probe_read_user(&words[0], 8, (void *)(region + region_block))) {
		host = block_host(words[0], region);
		if (host)
			return host;
	}
	if (bpf_probe_read_user(words, sizeof(words), (void *)region))
		return 0;
	for (i = 0; i < REGION_WORDS; i++) {
		host = block_host(words[i], region);
		if (host) {
			region_block = 8 * i;
			return host;
		}
	}
	return 0;
}

/* void memory_region_set_dirty(MemoryRegion *, hwaddr addr, hwaddr size): after the write, and for
 * each byte of some screens. */
SEC("?uprobe")
int BPF_KPROBE(vmm__memory_region_set_dirty, u64 region, u64 addr, u64 size)
{
	struct vmm_write w = {.len = size, .site = VMM_SITE_SET_DIRTY, .phase = VMM_PHASE_DONE};
	struct thread *th = thread_get();
	u64 host, t_ns, page;

	if (!th || !size)
		return 0;
	host = region_host(region);
	if (!host)
		return vmm_somewhere(th, VMM_SITE_SET_DIRTY, size);
	w.hva = host + addr;
	page = w.hva / GUEST_PAGE;
	t_ns = bpf_ktime_get_ns();
	if (page == (w.hva + size - 1) / GUEST_PAGE) {
		if (page == th->vmm.dirty_page && t_ns - th->vmm.dirty_ns < VMM_SLACK_NS)
			return 0;
		th->vmm.dirty_page = page;
		th->vmm.dirty_ns = t_ns;
		/* For all that follows in this page. */
		w.hva = page * GUEST_PAGE;
		w.len = GUEST_PAGE;
	}
	w.gpa = vmm_gpa(w.hva);
	/* What the guest does not see is compared when it comes to see it. */
	if (w.gpa == NOWHERE && slots_seen && !slots_more)
		return 0;
	return vmm_tell(&w);
}

/* int ram_block_discard_range(RAMBlock *, uint64_t start, size_t length) */
SEC("?uprobe")
int BPF_KPROBE(vmm__ram_block_discard_range, u64 block, u64 start, u64 length)
{
	struct vmm_write w = {.len = length, .site = VMM_SITE_DISCARD};
	struct thread *th = thread_get();
	u64 region = 0, host;

	if (!th || !length)
		return 0;
	if (bpf_probe_read_user(&region, sizeof(region), (void *)(block + BLOCK_REGION)))
		region = 0;
	host = region ? region_host(region) : 0;
	if (!host || block_host(block, region) != host)
		return vmm_somewhere(th, VMM_SITE_DISCARD, length);
	w.hva = host + start;
	w.gpa = vmm_gpa(w.hva);
	if (w.gpa == NOWHERE && slots_seen && !slots_more)
		return 0;
	return vmm_tell(&w);
}

/* All of memory, from now on or no longer. That it begins may be told more than once. */
static __always_inline int vmm_whole(u32 site, u32 phase)
{
	struct vmm_write w = {.gpa = NOWHERE, .site = site, .phase = phase};

	if (!thread_get())
		return 0;
	if (phase == VMM_PHASE_OPENED)
		vmm_under_way |= 1u << site;
	else if (!(vmm_under_way & 1u << site))
		return 0; /* the machine is being made */
	else
		vmm_under_way &= ~(1u << site);
	return vmm_tell(&w);
}

/* int qemu_loadvm_state(QEMUFile *, ...): by load_snapshot(), and by an incoming migration. */
SEC("?uprobe")
int BPF_KPROBE(vmm__qemu_loadvm_state)
{
	return vmm_whole(VMM_SITE_LOADVM, VMM_PHASE_OPENED);
}

/* The last that qemu_loadvm_state() does. */
SEC("?uprobe")
int BPF_KPROBE(vmm__cpu_synchronize_all_post_init)
{
	return vmm_whole(VMM_SITE_LOADVM, VMM_PHASE_CLOSED);
}

/* ROMs that are regions of their own are restored by a plain memcpy() (rom_reset(), loader.c). */
SEC("?uprobe")
int BPF_KPROBE(vmm__qemu_system_reset)
{
	return vmm_whole(VMM_SITE_RESET, VMM_PHASE_OPENED);
}

/* Of qemu_system_reset(), when all devices are reset. */
SEC("?uprobe")
int BPF_KPROBE(vmm__cpu_synchronize_all_post_reset)
{
	return vmm_whole(VMM_SITE_RESET, VMM_PHASE_CLOSED);
}

#endif
