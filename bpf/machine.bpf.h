/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine as a whole: resets, asked for and done, and the memory slots that the VMM sets.
 * Uprobes on QEMU's functions, like those of the virtqueue group.
 */
#ifndef VMBLAME_MACHINE_BPF_H
#define VMBLAME_MACHINE_BPF_H

#include "core.bpf.h"

/* ShutdownCause NONE: the first reset, which makes the machine. */
SEC("?uprobe")
int BPF_KPROBE(machine__qemu_system_reset, u32 reason)
{
	struct thread *th = thread_get();
	u64 t_ns = bpf_ktime_get_ns();
	struct event_reset *e;

	if (!th || !reason)
		return 0;
	e = reserve(th, sizeof(*e), t_ns, 0, 0, ORIGIN_NONE);
	if (e) {
		__builtin_memset(e, 0, sizeof(*e));
		stamp(&e->h, th, EVENT_reset, t_ns);
		e->reason = reason;
		submit(e);
	}
	__sync_fetch_and_add(&boot, 1);
	return 0;
}

SEC("?uprobe")
int BPF_KPROBE(machine__qemu_system_reset_request, u32 reason)
{
	struct thread *th = thread_get();
	u64 t_ns = bpf_ktime_get_ns();
	struct event_reset_request *e;

	if (!th)
		return 0;
	e = reserve(th, sizeof(*e), t_ns, 0, 0, ORIGIN_NONE);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_reset_request, t_ns);
	e->reason = reason;
	submit(e);
	return 0;
}

/* The guest came to its end, as `what` says (enum crash). */
static __always_inline void crashed(struct thread *th, u8 what)
{
	u64 t_ns = bpf_ktime_get_ns();
	struct event_crash *e;

	if (!th)
		return;
	e = reserve(th, sizeof(*e), t_ns, 0, 0, ORIGIN_NONE);
	if (!e)
		return;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_crash, t_ns);
	e->what = what;
	submit(e);
}

/* softmmu/runstate.c; pvpanic and others call them. */
SEC("?uprobe")
int BPF_KPROBE(machine__qemu_system_guest_panicked)
{
	crashed(thread_get(), CRASH_PANIC);
	return 0;
}

SEC("?uprobe")
int BPF_KPROBE(machine__qemu_system_guest_crashloaded)
{
	crashed(thread_get(), CRASH_CRASHLOADED);
	return 0;
}

/* KVM_EXIT_SHUTDOWN: a triple fault. After an error the reason is that of the exit before. */
SEC("?tp_btf/kvm_userspace_exit")
int BPF_PROG(machine__kvm_userspace_exit, u32 reason, int err)
{
	struct thread *th;

	if (reason != KVM_EXIT_SHUTDOWN || err)
		return 0;
	th = thread_get_vcpu();
	if (!th)
		return 0;
	FIRED(machine__kvm_userspace_exit);
	crashed(th, CRASH_TRIPLE_FAULT);
	return 0;
}

/* int kvm_vm_ioctl(KVMState *s, int type, void *arg), accel/kvm/kvm-all.c. */
SEC("?uprobe")
int BPF_KPROBE(machine__kvm_vm_ioctl, u64 s, u32 type, u64 arg)
{
	struct kvm_userspace_memory_region region;
	u64 t_ns = bpf_ktime_get_ns();
	struct event_memslot *e;
	struct thread *th;
	u32 id;

	if (type != SET_REGION && type != SET_REGION2)
		return 0;
	th = thread_get();
	/* Both structures start alike. */
	if (!th || bpf_probe_read_user(&region, sizeof(region), (void *)arg))
		return 0;
	id = region.slot;
	if (id < MAX_SLOTS) { /* of address space 0 */
		slots[id].size = 0;
		slots[id].gpa = region.guest_phys_addr;
		slots[id].hva = region.userspace_addr;
		slots[id].flags = region.flags;
		slots[id].size = region.memory_size;
	}
	slots_seen = true;
	if (id >= MAX_SLOTS && id < 1 << 16 && region.memory_size)
		slots_more = true;
	e = reserve(th, sizeof(*e), t_ns, 0, 0, ORIGIN_NONE);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_memslot, t_ns);
	e->as = id >> 16;
	e->slot = id & 0xffff;
	e->flags = region.flags;
	e->gpa = region.guest_phys_addr;
	e->size = region.memory_size;
	e->hva = region.userspace_addr;
	submit(e);
	return 0;
}

#endif
