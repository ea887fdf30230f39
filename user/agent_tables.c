// SPDX-License-Identifier: GPL-2.0-or-later
/* Opens pages that hold page tables, or take the frame of an interrupt, and undoes what KVM did
 * while they were read-only. */
#include "agent_tables.h"

#include "agent_sys.h"

#define EFER_LMA       (1ull << 10)
#define RFLAGS_IF      (1ull << 9)
#define ENTRY_PRESENT  1u
#define ENTRY_WRITABLE 2u
#define ENTRY_ACCESSED 0x20u
#define ENTRY_DIRTY    0x40u
#define FINISH_ROUNDS  4

/*
 * KVM's emulator walked the tables without setting what the processor would have set (it leaves
 * read-only slots alone: update_accessed_dirty_bits(), arch/x86/kvm/mmu/paging_tmpl.h). A dirty bit
 * too many costs the guest a write-back, one too few costs it data. Long mode alone: elsewhere
 * there are entries in which these bits must be 0.
 */
static void entry_touch(struct agent *a, struct vcpu *v, u64 gpa)
{
	struct kvm_sregs sregs;
	u64 hva = slots_hva(&a->slots, gpa, 1);
	u8 entry, bits = ENTRY_ACCESSED;

	if (!hva || kvm_call(v->fd, KVM_GET_SREGS, &sregs) || !(sregs.efer & EFER_LMA))
		return;
	entry = __atomic_load_n((u8 *)hva, __ATOMIC_SEQ_CST);
	if (entry & ENTRY_WRITABLE)
		bits |= ENTRY_DIRTY;
	if (entry & ENTRY_PRESENT)
		__atomic_or_fetch((u8 *)hva, bits, __ATOMIC_SEQ_CST);
}

/* Lets KVM finish what it asked the VMM for, without entering the guest; its outcome is void. */
static int finish(struct vcpu *v)
{
	u8 kicked = __atomic_exchange_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	int ret = 0;

	for (int i = 0; i < FINISH_ROUNDS && !ret; i++)
		ret = kvm_call(v->fd, KVM_RUN, NULL);
	__atomic_store_n(&v->run->immediate_exit, kicked, __ATOMIC_SEQ_CST);
	return ret == -EINTR ? 0 : ret ? ret : -EBUSY;
}

static bool segment_restore(struct kvm_segment *s, const struct agent_segment *to)
{
	const u16 bits = to->attributes;
	const struct kvm_segment was = {
		.base = to->base,
		.limit = to->limit,
		.selector = to->selector,
		.type = bits & 15,
		.s = bits >> 4 & 1,
		.dpl = bits >> 5 & 3,
		.present = bits >> 7 & 1,
		.avl = bits >> 8 & 1,
		.l = bits >> 9 & 1,
		.db = bits >> 10 & 1,
		.g = bits >> 11 & 1,
	};

	if (s->selector == was.selector && s->base == was.base && s->dpl == was.dpl)
		return false;
	*s = was;
	return true;
}

/* Of what KVM emulates, SYSCALL and far transfers change them. */
static int segments_restore(struct vcpu *v, const struct agent_tables *t)
{
	struct kvm_sregs sregs;
	int err = kvm_call(v->fd, KVM_GET_SREGS, &sregs);
	bool other;

	if (err)
		return err;
	other = segment_restore(&sregs.cs, &t->cs);
	other |= segment_restore(&sregs.ss, &t->ss);
	return other ? kvm_call(v->fd, KVM_SET_SREGS, &sregs) : 0;
}

/* HLT may have been emulated: it has not happened, or what it waits for is here. */
static int wake(struct vcpu *v)
{
	struct kvm_mp_state mp;
	int err = kvm_call(v->fd, KVM_GET_MP_STATE, &mp);

	if (err || mp.mp_state != KVM_MP_STATE_HALTED)
		return err;
	mp.mp_state = KVM_MP_STATE_RUNNABLE;
	return kvm_call(v->fd, KVM_SET_MP_STATE, &mp);
}

static int registers_restore(struct vcpu *v, const struct agent_tables *t)
{
	int err = segments_restore(v, t);
	struct kvm_regs regs = {
		.rax = t->regs[0],
		.rcx = t->regs[1],
		.rdx = t->regs[2],
		.rbx = t->regs[3],
		.rsp = t->regs[4],
		.rbp = t->regs[5],
		.rsi = t->regs[6],
		.rdi = t->regs[7],
		.r8 = t->regs[8],
		.r9 = t->regs[9],
		.r10 = t->regs[10],
		.r11 = t->regs[11],
		.r12 = t->regs[12],
		.r13 = t->regs[13],
		.r14 = t->regs[14],
		.r15 = t->regs[15],
		.rip = t->rip,
		.rflags = t->rflags,
	};

	if (!err)
		err = wake(v);
	return err ? err : kvm_call(v->fd, KVM_SET_REGS, &regs);
}

/* As it was when its delivery faulted; what KVM emulated since may have made other ones. */
static int event_restore(struct vcpu *v, u64 event)
{
	const u64 kind = DELIVERY_KIND(event);
	struct kvm_vcpu_events events;
	int err = kvm_call(v->fd, KVM_GET_VCPU_EVENTS, &events);

	if (err)
		return err;
	events.exception.pending = 0;
	events.exception.injected = kind == DELIVERY_EXCEPTION;
	if (events.exception.injected) {
		events.exception.nr = DELIVERY_VECTOR(event);
		events.exception.has_error_code = DELIVERY_HAS_ERROR(event);
		events.exception.error_code = DELIVERY_ERROR(event);
	}
	events.interrupt.injected = kind == DELIVERY_INTERRUPT;
	events.interrupt.soft = 0;
	if (events.interrupt.injected)
		events.interrupt.nr = DELIVERY_VECTOR(event);
	events.nmi.injected = kind == DELIVERY_NMI;
	return kvm_call(v->fd, KVM_SET_VCPU_EVENTS, &events);
}

/*
 * An interrupt comes as well behind the instruction that KVM emulated in its place, whose stores
 * are done, as before it; unless that left interrupts off or held up (CLI, POPF, SYSCALL, MOV SS).
 * Such a one stores nothing: it is undone. An NMI comes behind any.
 */
static int event_settle(struct vcpu *v, const struct agent_tables *t)
{
	struct kvm_vcpu_events events;
	struct kvm_regs regs;
	int err = kvm_call(v->fd, KVM_GET_REGS, &regs);

	if (!err)
		err = kvm_call(v->fd, KVM_GET_VCPU_EVENTS, &events);
	if (err)
		return err;
	if ((regs.rflags & RFLAGS_IF && !events.interrupt.shadow) || regs.rip == t->rip ||
	    DELIVERY_KIND(t->event) == DELIVERY_NMI)
		return wake(v);
	err = registers_restore(v, t);
	return err ? err : event_restore(v, t->event);
}

static void pages_open(struct agent *a, struct vcpu *v, const struct agent_tables *t, u32 first,
		       u32 end)
{
	for (u32 i = first; i < end && i < AGENT_TABLES; i++) {
		u64 page = t->gpa[i] & ~(SLOTS_PAGE - 1);
		bool watched = a->slots.armed && slots_watched(&a->slots, page, page + SLOTS_PAGE);

		if (!watched)
			continue;
		if (slots_open(&a->slots, page, page + SLOTS_PAGE,
			       t->event ? WHY_EMULATION : WHY_PAGE_TABLE))
			a->sync_pending = true;
		agent_say(a, AGENT_CHANGE, CHANGE_WHAT_PAGE_OPENED, page, SLOTS_PAGE, 1);
		if (!i && t->walk && !t->again)
			entry_touch(a, v, t->gpa[0]);
	}
}

/* Whether the address is one of a watched page; t->gpa[0] is physical then. */
static bool linear_watched(struct agent *a, struct vcpu *v, struct agent_tables *t)
{
	struct kvm_translation tr = {.linear_address = t->gpa[0]};
	u64 page;

	if (kvm_call(v->fd, KVM_TRANSLATE, &tr) || !tr.valid)
		return false;
	t->gpa[0] = tr.physical_address;
	page = t->gpa[0] & ~(SLOTS_PAGE - 1);
	return a->slots.armed && slots_watched(&a->slots, page, page + SLOTS_PAGE);
}

struct agent_tables *tables_filed(const struct agent *a, const struct vcpu *v)
{
	struct agent_dropped *d = agent_dropped_of(a, v);

	return d && __builtin_expect(__atomic_load_n(&d->tables.n, __ATOMIC_ACQUIRE), 0)
		       ? &d->tables
		       : NULL;
}

bool tables_open(struct agent *a, struct vcpu *v, struct agent_tables *t)
{
	u32 n = __atomic_load_n(&t->n, __ATOMIC_ACQUIRE);
	u32 first = 0;
	bool again;
	int err = 0;

	/* A fault like any other, that KVM has dealt with. */
	if (t->linear && !linear_watched(a, v, t)) {
		t->walk = 0;
		first = 1;
	}
	/* What KVM cannot emulate has not happened, nor been seen. */
	if (t->event && v->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		t->again = 1;
	again = t->walk && t->again;
	pages_open(a, v, t, first, n);
	if (again) {
		err = finish(v);
		err = err ? err : registers_restore(v, t);
		err = err || !t->event ? err : event_restore(v, t->event);
	} else if (t->walk && t->event) {
		err = event_settle(v, t);
	}
	if (err) /* the guest is lost to nothing that we can still mend */
		agent_disarm(a, WHY_PAGE_TABLE, true);
	t->walk = t->again = t->linear = 0;
	t->event = 0;
	__atomic_store_n(&t->n, 0, __ATOMIC_RELEASE);
	return again;
}
