// SPDX-License-Identifier: GPL-2.0-or-later
/* What KVM_RUN came back with: stores to count and to do, pages to open, MSR writes to carry out.
 */
#include "agent_state.h"

#include "agent_step.h"
#include "agent_sys.h"
#include "agent_tables.h"

#include <string.h>

void agent_say(struct agent *a, enum agent_type type, u64 n0, u64 n1, u64 n2, u64 n3)
{
	const u64 num[6] = {n0, n1, n2, n3};

	agent_link_send(&a->link, type, num, NULL);
}

/* With the capability on, an instruction that KVM cannot emulate comes out of KVM_RUN as an error
 * at every privilege level, instead of as #UD into the guest; off, the guest is as without us. */
static int emulation_cap_set(struct agent *a, bool on)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {on}};

	if (a->emulation_cap_vmm || a->emulation_cap == on)
		return 0;
	if (kvm_call(a->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_EXIT_ON_EMULATION_FAILURE) <= 0)
		return -EOPNOTSUPP;
	a->emulation_cap = on;
	return kvm_call(a->vm_fd, KVM_ENABLE_CAP, &cap);
}

int agent_turns(struct agent *a)
{
	bool several = a->watching && a->slots.armed && a->slots.watch.n && a->run.nvcpus > 1;
	bool turns = several && !(a->link.flags & AGENT_RACY);
	int err = run_take_turns(&a->run, turns);

	if (several && !a->several_told && !err)
		agent_say(a, AGENT_CHANGE,
			  turns ? CHANGE_WHAT_VCPUS_SERIALISED : CHANGE_WHAT_ORDER_RACY, 0, 0, 1);
	a->several_told |= several && !err;
	return err;
}

int agent_arm(struct agent *a)
{
	static const u64 why[6] = {WHY_EMULATION};

	agent_log(a, true);
	if (!a->slots.watch.n)
		return 0;
	if (emulation_cap_set(a, true))
		agent_link_send(&a->link, AGENT_LACKS, why,
				"KVM has no KVM_CAP_EXIT_ON_EMULATION_FAILURE");
	a->slots.armed = 1;
	/* In turns before the first page is read-only. */
	if (agent_turns(a)) {
		agent_disarm(a, WHY_MULTI_VCPU, true);
		return -ETIMEDOUT;
	}
	a->sync_pending = slots_sync(&a->slots) != 0;
	return a->sync_pending ? -ETIMEDOUT : 0;
}

void agent_disarm(struct agent *a, enum why why, bool self)
{
	u64 now_ns = sys_now_ns();

	if (a->held)
		run_resume(&a->run);
	a->held = false;
	agent_log(a, false);
	if (!a->slots.watch.n)
		return;
	if (slots_open(&a->slots, 0, ~0ull, why))
		a->sync_pending = true;
	if (emulation_cap_set(a, false))
		a->sync_pending = true;
	if (a->msr.installed) {
		kvm_call(a->vm_fd, KVM_X86_SET_MSR_FILTER, &a->msr.vmm);
		a->msr.installed = false;
	}
	agent_turns(a);
	if (self) {
		__atomic_store_n(&a->link.shared->disarm_why, why, __ATOMIC_RELAXED);
		__atomic_store_n(&a->link.shared->disarmed_ns, now_ns, __ATOMIC_RELEASE);
		agent_say(a, AGENT_CHANGE, CHANGE_WHAT_DISARMED, 0, 0, 1);
	}
}

void agent_open_kvm_page(struct agent *a, u32 msr, u64 data)
{
	u64 gpa, len;

	if (!msr_page(msr, data, &gpa, &len) || gpa + len < gpa ||
	    !slots_watched(&a->slots, gpa, gpa + len))
		return;
	if (slots_open(&a->slots, gpa, gpa + len, WHY_KVM_WRITES))
		a->sync_pending = true;
	agent_say(a, AGENT_CHANGE, CHANGE_WHAT_PAGE_OPENED, gpa & ~(SLOTS_PAGE - 1), SLOTS_PAGE, 1);
}

/* Does the stores that KVM gave up for a later one of the same instruction, in order. */
static void dropped_replay(struct agent *a, struct agent_dropped *d)
{
	u32 n = d->n;

	pthread_mutex_lock(&a->lock);
	for (u32 i = 0; i < n && i < sizeof(d->store) / sizeof(d->store[0]); i++) {
		u64 gpa = d->store[i].gpa, len = d->store[i].len;
		struct slot *s = NULL;
		u64 hva = len && len <= sizeof(d->store[i].bytes)
				  ? slots_armed_hva(&a->slots, gpa, len, &s)
				  : 0;

		if (!hva) {
			__atomic_fetch_add(&a->link.shared->unreplayed, 1, __ATOMIC_RELAXED);
			continue;
		}
		memcpy((void *)hva, d->store[i].bytes, len);
		s->all_dirty = !!(s->flags & KVM_MEM_LOG_DIRTY_PAGES);
		__atomic_fetch_add(&a->link.shared->replayed, 1, __ATOMIC_RELAXED);
		a->replayed_gpa = gpa;
		a->replayed_untold++;
	}
	pthread_mutex_unlock(&a->lock);
	__atomic_store_n(&d->n, 0, __ATOMIC_RELEASE);
}

/* Whether the store that the VMM is asked for goes to a watched page. */
static bool store_count(struct agent *a, u64 gpa, u32 len)
{
	bool armed;

	if (!slots_configured(&a->slots, gpa, gpa + len))
		return false;
	pthread_mutex_lock(&a->lock);
	armed = slots_armed_hva(&a->slots, gpa, len, NULL) != 0;
	if (armed)
		__atomic_fetch_add(&a->link.shared->stores, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&a->lock);
	return armed;
}

/* True when the guest can go on: the instruction was run with its pages open, or nothing is armed
 * any more. */
static bool emulation_failed(struct agent *a, struct vcpu *v)
{
	bool again = false;
	int ret;

	pthread_mutex_lock(&a->lock);
	if (a->slots.armed && a->slots.watch.n) {
		ret = step_failed_instruction(a, v);
		if (ret < 0)
			agent_disarm(a, WHY_EMULATION, true);
		again = ret != 1;
	}
	pthread_mutex_unlock(&a->lock);
	return again;
}

static bool looked(struct agent *a, struct vcpu *v)
{
	bool again;

	__atomic_store_n(&v->looks, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&a->lock);
	again = a->slots.armed && a->slots.watch.n && step_stuck_instruction(a, v);
	pthread_mutex_unlock(&a->lock);
	return again;
}

/* True when the guest can go on: what KVM_RUN came back with is void. */
static bool tables_done(struct agent *a, struct vcpu *v, struct agent_tables *t)
{
	bool again;

	pthread_mutex_lock(&a->lock);
	again = tables_open(a, v, t);
	pthread_mutex_unlock(&a->lock);
	return again;
}

/* An access that a filter stopped: ours is carried out here, one of the VMM's is the VMM's, or a
 * #GP where the VMM did not ask to be told. */
static bool msr_stopped(struct agent *a, struct vcpu *v, bool write)
{
	struct kvm_run *run = v->run;
	bool mine = false, again;

	if (run->msr.reason != KVM_MSR_EXIT_REASON_FILTER)
		return false;
	pthread_mutex_lock(&a->lock);
	if (write && msr_ours(run->msr.index)) {
		agent_open_kvm_page(a, run->msr.index, run->msr.data);
		mine = msr_vmm_allows(&a->msr, run->msr.index);
	}
	again = mine || !(a->msr.vmm_reasons & KVM_MSR_EXIT_REASON_FILTER);
	pthread_mutex_unlock(&a->lock);
	if (again)
		run->msr.error = mine ? msr_write(v->fd, run->msr.index, run->msr.data) : 1;
	return again;
}

bool agent_exit(struct agent *a, struct vcpu *v, int ret, bool *storing)
{
	struct agent_dropped *dropped = agent_dropped_of(a, v);
	struct kvm_run *run = v->run;
	struct agent_tables *tables;

	if (dropped && __builtin_expect(__atomic_load_n(&dropped->n, __ATOMIC_ACQUIRE), 0))
		dropped_replay(a, dropped);
	tables = tables_filed(a, v);
	if (tables && tables_done(a, v, tables))
		return true;
	if (__builtin_expect(ret, 0))
		return __atomic_load_n(&v->looks, __ATOMIC_SEQ_CST) && looked(a, v);
	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		if (run->mmio.is_write)
			*storing = store_count(a, run->mmio.phys_addr, run->mmio.len);
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		return run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
		       emulation_failed(a, v);
	case KVM_EXIT_X86_WRMSR:
		return msr_stopped(a, v, true);
	case KVM_EXIT_X86_RDMSR:
		return msr_stopped(a, v, false);
	default:
		return false;
	}
}
