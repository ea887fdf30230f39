/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm_mmu: how KVM maps guest memory: faults, entries made and dropped, pages marked dirty, and
 * what must not be writable mapped writable. Each probe is one function and a shell for each of its
 * ways.
 *
 * Faults and dirty-ring pushes happen in the vCPU's own KVM_RUN. Mappings may be changed, and pages
 * marked, by any task of the host (the VMM, another process that migrates pages, the kernel's own
 * threads): there `kvm`, where the hook has it, says whose they are.
 */
#ifndef VMBLAME_MMU_BPF_H
#define VMBLAME_MMU_BPF_H

#include "vcpu.bpf.h"

#define KVM_UNTOLD 0 /* the hook has no struct kvm */

/* Whose event this is, and who caused it. */
struct cause {
	struct thread *th; /* NULL for a task that is not of the VMM */
	bool ours;	   /* of the VM that is recorded */
	bool run;	   /* one of its vCPUs, in KVM_RUN: its registers are those of the moment */
};

static __always_inline struct cause cause_of(u64 kvm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct cause c = {.th = thread_of(task)};
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	u32 vm = only_vm & (MAX_VMS - 1);

	if (c.th && regs->orig_ax == NR_IOCTL_X86_64 && (u32)regs->si == KVM_RUN_IOCTL) {
		if (c.th->fd != (u32)regs->di && thread_learn(c.th, regs->di))
			return c;
		c.run = c.th->vm == only_vm;
	}
	if (kvm != KVM_UNTOLD)
		c.ours = kvm == vms[vm] &&
			 vm_pids[vm] == (u32)BPF_CORE_READ((struct kvm *)kvm, userspace_pid);
	else if (c.th && c.th->fd != ~0u)
		c.ours = c.th->vm == only_vm;
	else if (c.th) /* another thread of the VMM: certain while the VMM has but one VM */
		c.ours = !only_vm && vms[0] && !vms[1];
	else
		COUNT(unattributed);
	return c;
}

/* Room for an event of that kind, its header filled in and the rest 0; or NULL, counted as lost.
 * None of them tells of a writer, so that no answer suffers when one is lost. */
static __always_inline void *mmu_reserve(const struct cause *c, u64 size, u16 kind)
{
	u64 t_ns = bpf_ktime_get_ns();
	struct event *h;

	h = reserve(c->th, size, t_ns, 0, 0, ORIGIN_NONE);
	if (!h)
		return NULL;
	__builtin_memset(h, 0, size);
	if (c->th)
		stamp(h, c->th, kind, t_ns);
	else
		stamp_foreign(h, kind, t_ns);
	if (c->th && c->th->vm != only_vm)
		h->vcpu = VCPU_NONE; /* a vCPU of another VM in the same process */
	return h;
}

/* VMX reads registers when it needs them: what is not there yet belongs to an earlier exit. */
static __always_inline bool reg_known(u64 vcpu, u32 reg)
{
	return backend != BACKEND_VMX ||
	       BPF_CORE_READ((struct kvm_vcpu *)vcpu, arch.regs_avail) & (1u << (reg & 31));
}

/* The fields of EVENT_AT_FIELDS. */
#define FILL_AT(c, e)                                                                       \
	do {                                                                                \
		struct thread *th_ = (c)->th;                                               \
                                                                                            \
		(e)->cpl = 0xff;                                                            \
		if (!th_ || !(c)->run)                                                      \
			break;                                                              \
		if (reg_known(th_->vcpu, REG_RIP))                                          \
			(e)->rip = KVM_READ(kvm_vcpu, th_->vcpu, arch.regs[REG_RIP]);       \
		if (reg_known(th_->vcpu,                                                    \
			      bpf_core_enum_value(enum kvm_reg___vb, VCPU_EXREG_CR3___vb))) \
			(e)->cr3 = KVM_READ(kvm_vcpu, th_->vcpu, arch.cr3);                 \
		fill_segment(th_, &(e)->cs_base, &(e)->cpl);                                \
	} while (0)

/* Page faults. */

static __noinline int page_fault(u64 addr, u64 error)
{
	struct cause c = {.th = thread_get_vcpu(), .ours = true, .run = true};
	struct event_page_fault *e;

	if (!c.th)
		return 0;
	FIRED_ATOMIC(mmu__page_fault);
	c.th->fault = error & FAULT_MMIO ? 0 : error | DIRTY_IN_FAULT;
	c.th->fault_rip = KVM_READ(kvm_vcpu, c.th->vcpu, arch.regs[REG_RIP]);
	if (error & FAULT_MMIO) {
		COUNT(mmio_faults);
		return 0;
	}
	e = mmu_reserve(&c, sizeof(*e), EVENT_page_fault);
	if (!e)
		return 0;
	e->linear = !maps_directly(c.th->vcpu);
	if (e->linear)
		e->gva = addr;
	else
		e->gpa = addr;
	e->error = error;
	FILL_AT(&c, e);
	submit(e);
	return 0;
}

SEC("?raw_tp/kvm_page_fault")
int BPF_PROG(mmu__page_fault_tp, u64 vcpu, u64 addr, u64 error)
{
	return page_fault(addr, error);
}

SEC("?fentry/kvm_mmu_page_fault")
int BPF_PROG(mmu__page_fault_fentry, u64 vcpu, u64 addr, u64 error)
{
	return page_fault(addr, error);
}

SEC("?kprobe/kvm_mmu_page_fault")
int mmu__page_fault_kprobe(struct pt_regs *ctx)
{
	return page_fault(PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx));
}

/* sptep 0: the entries are not known. */
static __noinline int fast_fault(u64 fault, u64 sptep, u64 old, u32 result)
{
	struct cause c = {.th = thread_get_vcpu(), .ours = true, .run = true};
	struct event_fast_fault *e;

	if (!c.th)
		return 0;
	FIRED_ATOMIC(mmu__fast_fault);
	/* What the fast path leaves to the slow one is no event of its own. */
	if (mmu_facts.ret_fixed != ~0u && result != mmu_facts.ret_fixed &&
	    result != mmu_facts.ret_spurious)
		return 0;
	e = mmu_reserve(&c, sizeof(*e), EVENT_fast_fault);
	if (!e)
		return 0;
	e->gpa = BPF_CORE_READ((struct kvm_page_fault___vb *)fault, addr);
	e->error = fault_error((void *)fault);
	e->result = mmu_facts.ret_fixed == ~0u	    ? FAST_RESULT_UNKNOWN
		    : result == mmu_facts.ret_fixed ? FAST_RESULT_FIXED
						    : FAST_RESULT_SPURIOUS;
	e->old = old;
	if (sptep)
		bpf_probe_read_kernel(&e->spte, sizeof(e->spte), (void *)sptep);
	FILL_AT(&c, e);
	submit(e);
	return 0;
}

SEC("?raw_tp/fast_page_fault")
int BPF_PROG(mmu__fast_fault_tp, u64 vcpu, u64 fault, u64 sptep, u64 old, int result)
{
	return fast_fault(fault, sptep, old, result);
}

SEC("?fexit/fast_page_fault")
int BPF_PROG(mmu__fast_fault_fexit, u64 vcpu, u64 fault, int result)
{
	return fast_fault(fault, 0, 0, result);
}

/* Entries. */

struct entry_change {
	u64 gfn, old, spte;
	u32 as, level;
};

static __noinline int spte_tdp(u64 kvm, const struct entry_change *change)
{
	struct cause c = cause_of(kvm);
	struct event_spte *e;

	if (!c.ours || !change)
		return 0;
	FIRED_ATOMIC(mmu__spte_tdp);
	if (change->old == change->spte)
		return 0;
	e = mmu_reserve(&c, sizeof(*e), EVENT_spte);
	if (!e)
		return 0;
	e->gpa = change->gfn << 12;
	e->level = change->level;
	e->as = change->as;
	e->mmu = MMU_TDP;
	e->old = change->old;
	e->spte = change->spte;
	FILL_AT(&c, e);
	submit(e);
	return 0;
}

SEC("?fentry/handle_changed_spte")
int BPF_PROG(mmu__spte_tdp_fentry, u64 kvm, int as, u64 gfn, u64 old, u64 spte, int level)
{
	struct entry_change change = {gfn, old, spte, as, level};

	return spte_tdp(kvm, &change);
}

SEC("?kprobe/handle_changed_spte")
int mmu__spte_tdp_kprobe(struct pt_regs *ctx)
{
	struct entry_change change = {PT_REGS_PARM3(ctx), PT_REGS_PARM4(ctx), PT_REGS_PARM5(ctx),
				      PT_REGS_PARM2(ctx), ctx->r9};

	return spte_tdp(PT_REGS_PARM1(ctx), &change);
}

SEC("?raw_tp/kvm_tdp_mmu_spte_changed")
int BPF_PROG(mmu__spte_tdp_tp, int as, u64 gfn, int level, u64 old, u64 spte)
{
	struct entry_change change = {gfn, old, spte, as, level};

	return spte_tdp(KVM_UNTOLD, &change);
}

static __always_inline bool holds(const struct kvm_memory_slot___vb *slot, u64 gfn)
{
	return gfn - BPF_CORE_READ(slot, base_gfn) < BPF_CORE_READ(slot, npages);
}

/* In KVM's tree of slots by gfn, search_memslots() in include/linux/kvm_host.h. */
__noinline u64 search_slots(u64 vcpu, u64 gfn, u32 as)
{
	struct kvm___vb *kvm = (void *)BPF_CORE_READ((struct kvm_vcpu *)vcpu, kvm);
	struct kvm_memslots___vb *slots = BPF_CORE_READ(kvm, memslots[as & 1]);
	u32 node = BPF_CORE_READ(slots, node_idx) & 1, i;
	struct rb_node *at = BPF_CORE_READ(slots, gfn_tree.rb_node);

	for (i = 0; i < SLOT_TREE_DEPTH && at; i++) {
		struct kvm_memory_slot___vb *slot =
			(void *)at - bpf_core_field_offset(struct kvm_memory_slot___vb, gfn_node) -
			node * sizeof(struct rb_node);

		if (holds(slot, gfn))
			return (u64)slot;
		at = gfn < BPF_CORE_READ(slot, base_gfn) ? BPF_CORE_READ(at, rb_left)
							 : BPF_CORE_READ(at, rb_right);
	}
	return 0;
}

/* The slot of gfn, NULL when there is none. Most often it is the one that the vCPU looked up last.
 */
static __always_inline struct kvm_memory_slot___vb *slot_of(u64 vcpu, u64 gfn)
{
	struct kvm_memory_slot___vb *slot =
		(void *)BPF_CORE_READ((struct kvm_vcpu *)vcpu, last_used_slot);
	struct kvm_mmu___vb *mmu = (void *)BPF_CORE_READ((struct kvm_vcpu *)vcpu, arch.mmu);

	if (slot && holds(slot, gfn))
		return slot;
	return (void *)search_slots(vcpu, gfn,
				    BPF_CORE_READ_BITFIELD_PROBED(mmu, root_role.smm) ? 1 : 0);
}

SEC("?raw_tp/kvm_mmu_set_spte")
int BPF_PROG(mmu__spte_shadow_tp, int level, u64 gfn, u64 sptep)
{
	struct cause c = {.th = thread_get_vcpu(), .ours = true, .run = true};
	struct kvm_memory_slot___vb *slot;
	struct event_spte *e;

	/* The TDP MMU's entries go by here too, and were told when they changed. */
	if (!c.th || (mmu_facts.tdp_mmu && maps_directly(c.th->vcpu)))
		return 0;
	FIRED(mmu__spte_shadow);
	e = mmu_reserve(&c, sizeof(*e), EVENT_spte);
	if (!e)
		return 0;
	slot = slot_of(c.th->vcpu, gfn);
	e->gpa = gfn << 12;
	e->level = level;
	e->as = slot ? BPF_CORE_READ(slot, as_id) : 0;
	e->mmu = MMU_SHADOW;
	bpf_probe_read_kernel(&e->spte, sizeof(e->spte), (void *)sptep);
	FILL_AT(&c, e);
	submit(e);
	return 0;
}

static __noinline int found_writable(struct thread *th, u64 gfn, u32 level, u64 spte, u32 what)
{
	struct cause c = {.th = th, .ours = true, .run = true};
	struct kvm_memory_slot___vb *slot;
	struct event_mapped_writable *e;

	if (!th)
		return 0;
	e = mmu_reserve(&c, sizeof(*e), EVENT_mapped_writable);
	if (!e)
		return 0;
	slot = slot_of(th->vcpu, gfn);
	e->gpa = gfn << 12;
	e->spte = spte;
	e->level = level;
	e->what = what;
	if (slot) {
		e->as = BPF_CORE_READ(slot, as_id);
		e->slot = BPF_CORE_READ(slot, id);
		e->flags = BPF_CORE_READ(slot, flags);
	}
	FILL_AT(&c, e);
	submit(e);
	return 0;
}

SEC("?raw_tp/kvm_mmu_set_spte")
int BPF_PROG(mmu__mapped_writable_tp, int level, u64 gfn, u64 sptep)
{
	struct thread *th = thread_get_vcpu();
	struct kvm_memory_slot___vb *slot;
	u64 spte = 0;

	if (!th)
		return 0;
	FIRED(mmu__mapped_writable);
	bpf_probe_read_kernel(&spte, sizeof(spte), (void *)sptep);
	if (!(spte & SPTE_WRITABLE))
		return 0;
	slot = slot_of(th->vcpu, gfn);
	if (!slot)
		COUNT(no_slot);
	else if (BPF_CORE_READ(slot, flags) & MEM_READONLY)
		return found_writable(th, gfn, level, spte, WRITABLE_READONLY_SLOT);
	if (mmu_facts.zero_pfn && (spte & SPTE_PFN) >> 12 == mmu_facts.zero_pfn)
		return found_writable(th, gfn, level, spte, WRITABLE_ZERO_PAGE);
	return 0;
}

/* Mappings dropped. */

static __noinline int zap(const struct cause *c, u64 gpa, u64 size, u64 hva, u32 what)
{
	struct event_zap *e;

	if (!c)
		return 0;
	e = mmu_reserve(c, sizeof(*e), EVENT_zap);
	if (!e)
		return 0;
	e->gpa = gpa;
	e->size = size;
	e->hva = hva;
	e->what = what;
	FILL_AT(c, e);
	submit(e);
	return 0;
}

static __noinline int zap_range(u64 kvm, u64 range_at)
{
	struct kvm_gfn_range___vb *range = (void *)range_at;
	struct cause c = cause_of(kvm);
	struct kvm_memory_slot___vb *slot;
	u64 start, end;

	if (!c.ours)
		return 0;
	FIRED_ATOMIC(mmu__zap_range);
	slot = BPF_CORE_READ(range, slot);
	start = BPF_CORE_READ(range, start);
	end = BPF_CORE_READ(range, end);
	return zap(&c, start << 12, (end - start) << 12,
		   BPF_CORE_READ(slot, userspace_addr) +
			   ((start - BPF_CORE_READ(slot, base_gfn)) << 12),
		   ZAP_NOTIFIER);
}

SEC("?fentry/kvm_unmap_gfn_range")
int BPF_PROG(mmu__zap_range_fentry, u64 kvm, u64 range)
{
	return zap_range(kvm, range);
}

SEC("?kprobe/kvm_unmap_gfn_range")
int mmu__zap_range_kprobe(struct pt_regs *ctx)
{
	return zap_range(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
}

/* By the VMM's address, and of anything there; the part that lies in the i-th slot. */
__noinline int zap_in_slot(u32 i, u64 start, u64 end)
{
	struct ram_slot *slot = &slots[i & (MAX_SLOTS - 1)];
	u64 from = start > slot->hva ? start : slot->hva;
	u64 slot_end = slot->hva + slot->size;
	u64 to = end < slot_end ? end : slot_end;
	struct cause c = cause_of(KVM_UNTOLD);

	if (!c.ours || from >= to)
		return 0;
	return zap(&c, slot->gpa + (from - slot->hva), to - from, from, ZAP_NOTIFIER);
}

SEC("?raw_tp/kvm_unmap_hva_range")
int BPF_PROG(mmu__zap_range_tp, u64 start, u64 end)
{
	struct cause c = cause_of(KVM_UNTOLD);
	u32 i;

	if (!c.ours)
		return 0;
	FIRED(mmu__zap_range);
	for (i = 0; i < MAX_SLOTS; i++)
		if (slots[i].size && start < slots[i].hva + slots[i].size && end > slots[i].hva)
			zap_in_slot(i, start, end);
	return 0;
}

static __noinline int zap_page(u64 kvm, u64 page_at)
{
	struct kvm_mmu_page___vb *page = (void *)page_at;
	struct cause c = cause_of(kvm);
	u32 level, direct;

	if (!c.ours)
		return 0;
	FIRED_ATOMIC(mmu__zap_page);
	level = BPF_CORE_READ_BITFIELD_PROBED(page, role.level);
	direct = BPF_CORE_READ_BITFIELD_PROBED(page, role.direct);
	/* A direct page maps guest memory from its gfn on; another shadows the table at its gfn. */
	return zap(&c, BPF_CORE_READ(page, gfn) << 12,
		   direct ? 4096ull << (9 * (level < 6 ? level : 0)) : 4096, 0,
		   direct ? ZAP_DIRECT_PAGE : ZAP_SHADOW_PAGE);
}

SEC("?fentry/__kvm_mmu_prepare_zap_page")
int BPF_PROG(mmu__zap_page_fentry, u64 kvm, u64 page)
{
	return zap_page(kvm, page);
}

SEC("?kprobe/__kvm_mmu_prepare_zap_page")
int mmu__zap_page_kprobe(struct pt_regs *ctx)
{
	return zap_page(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
}

SEC("?raw_tp/kvm_mmu_prepare_zap_page")
int BPF_PROG(mmu__zap_page_tp, u64 page)
{
	return zap_page(KVM_UNTOLD, page);
}

/* Dirty pages. */

/* It is called for slots that nobody logs, too. */
static __noinline int dirty_log(u64 kvm, u64 slot_at, u64 gfn)
{
	struct kvm_memory_slot___vb *slot = (void *)slot_at;
	struct event_dirty *e;
	struct cause c;

	if (!slot || !(BPF_CORE_READ(slot, flags) & MEM_LOG_DIRTY))
		return 0;
	c = cause_of(kvm);
	if (!c.ours)
		return 0;
	FIRED_ATOMIC(mmu__dirty_log);
	e = mmu_reserve(&c, sizeof(*e), EVENT_dirty);
	if (!e)
		return 0;
	e->gpa = gfn << 12;
	e->offset = gfn - BPF_CORE_READ(slot, base_gfn);
	e->as = BPF_CORE_READ(slot, as_id);
	e->slot = BPF_CORE_READ(slot, id);
	e->via = DIRTY_VIA_LOG;
	FILL_AT(&c, e);
	if (c.run && c.th && c.th->fault &&
	    c.th->fault_rip == KVM_READ(kvm_vcpu, c.th->vcpu, arch.regs[REG_RIP]))
		e->error = c.th->fault;
	submit(e);
	return 0;
}

SEC("?fentry/mark_page_dirty_in_slot")
int BPF_PROG(mmu__dirty_log_fentry, u64 kvm, u64 slot, u64 gfn)
{
	return dirty_log(kvm, slot, gfn);
}

SEC("?kprobe/mark_page_dirty_in_slot")
int mmu__dirty_log_kprobe(struct pt_regs *ctx)
{
	return dirty_log(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx));
}

/* Where page `offset` of a slot lies; 0 when the slot was not seen or has no such page. */
__noinline u64 page_in_slot(u32 id, u64 offset)
{
	struct ram_slot *slot;

	if (id >= MAX_SLOTS)
		return 0;
	barrier_var(id);
	slot = &slots[id & (MAX_SLOTS - 1)];
	return offset < slot->size >> 12 ? slot->gpa + (offset << 12) : 0;
}

SEC("?raw_tp/kvm_dirty_ring_push")
int BPF_PROG(mmu__dirty_ring_tp, u64 ring, u32 slot, u64 offset)
{
	struct cause c = {.th = thread_get_vcpu(), .ours = true, .run = true};
	struct event_dirty *e;

	if (!c.th)
		return 0;
	FIRED(mmu__dirty_ring);
	e = mmu_reserve(&c, sizeof(*e), EVENT_dirty);
	if (!e)
		return 0;
	e->as = slot >> 16;
	e->slot = slot;
	e->offset = offset;
	e->gpa = page_in_slot(slot, offset);
	e->via = DIRTY_VIA_RING;
	FILL_AT(&c, e);
	submit(e);
	return 0;
}

#endif
