/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core that every probe stands on: configuration, the thread's state (which vCPU it runs), and
 * the rings: reserve, stamp, submit, count what did not fit. Only this file knows the rings.
 */
#ifndef VMBLAME_CORE_BPF_H
#define VMBLAME_CORE_BPF_H

#include "compat.bpf.h"
#include "shared.h"

/* Configuration, set before loading. */
const volatile u32 backend;
const volatile u32 only_vm; /* number of the VM to record */
const volatile u32 nwatch;  /* watched ranges, whole pages */
const volatile u32 capture; /* 1: what devices write is copied wherever it goes */
const volatile struct gpa_range watch[MAX_WATCH];
const volatile u32 nasked; /* the bytes asked for within them */
const volatile struct gpa_range asked[MAX_WATCH];
const volatile bool confirm_stores; /* kvm_userspace_exit is attached */
const volatile bool want_stacks;    /* return addresses for device accesses too */
const volatile bool typed_reads;    /* bpf_rdonly_cast() works on KVM's structures */
const volatile struct type_ids type_ids;
const volatile u32 nplaces; /* of one CPU: a power of two */
const volatile struct mmu_facts mmu_facts;

/* Resets seen, and the VMs of the process in the order in which they were seen. */
u32 boot;
u64 vms[MAX_VMS];
u32 vm_pids[MAX_VMS]; /* who made them: a struct kvm may be freed and its address used again */
struct counters counters;
struct ring_loss losses[MAX_LOSSES];
struct ring_pos pos[MAX_RINGS];
struct ram_slot slots[MAX_SLOTS];
bool slots_seen; /* the VMM has set one */
bool slots_more; /* there are some that there is no room for */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_RINGS);
	__type(key, u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_RINGBUF);
			__uint(max_entries, 4096);
		});
} rings SEC(".maps");

/* CPU 0's places, then CPU 1's, ... The recorder sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct place);
} places SEC(".maps");

/* One entry a CPU; the recorder sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct fired);
} fired SEC(".maps");

/* Processes that belong to the recording: the one that was launched and what it forked. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u32);
} procs SEC(".maps");

/* Stores that KVM dropped, for the agent to do. One entry a vCPU, mapped into the VMM. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, AGENT_VCPUS);
	__type(key, u32);
	__type(value, struct agent_dropped);
} dropped SEC(".maps");

struct store_request {
	u64 gpa;
	u32 len;
	u32 pad;
	u8 bytes[32]; /* 16, and room to join the second half of a store */
};

/* Of QEMU's own writes to guest RAM (vmm.bpf.h). */
struct vmm_call {
	u64 map_len;		  /* argument of the address_space_map() that is running, 0: none */
	u64 debug_gva, debug_end; /* what the cpu_memory_rw_debug() that is running writes */
	u64 dirty_page, dirty_ns; /* told last: a page in the VMM, */
	u64 somewhere_ns;	  /* and that it wrote, not known where */
};

/* What is known of a thread of the VMM. */
struct thread {
	u64 vcpu;   /* struct kvm_vcpu, 0 while not known */
	u64 ctxt;   /* its emulator's context */
	u64 elem;   /* the element that virtqueue_push() is filling in */
	u64 vdev;   /* argument of the virtio_add_queue() that is running */
	u64 pop_vq; /* argument of the virtqueue_pop() that is running */
	struct vmm_call vmm;
	u32 fd; /* the descriptor that KVM_RUN was called on */
	u32 vm;
	u32 seq;       /* events of this thread so far, the lost ones too */
	u64 fault;     /* error code of its last page fault, and DIRTY_IN_FAULT; 0: none */
	u64 fault_rip; /* where that was */
	u16 vcpu_id;
	u16 nreq; /* stores that the running instruction asked for */
	struct store_request req[MAX_REQUESTS];
	struct event_mmio held; /* the vCPU's state when it asked */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

#define COUNT(name) __sync_fetch_and_add(&counters.name, 1)

/*
 * A probe fired for what is recorded. FIRED() is for tracepoints, which nothing preempts; elsewhere
 * FIRED_ATOMIC().
 */
#define FIRED(probe)                                                       \
	do {                                                               \
		u32 cpu_ = bpf_get_smp_processor_id();                     \
		struct fired *fired_ = bpf_map_lookup_elem(&fired, &cpu_); \
                                                                           \
		if (fired_)                                                \
			fired_->n[PROBE_ID_##probe]++;                     \
	} while (0)
#define FIRED_ATOMIC(probe)                                                    \
	do {                                                                   \
		u32 cpu_ = bpf_get_smp_processor_id();                         \
		struct fired *fired_ = bpf_map_lookup_elem(&fired, &cpu_);     \
                                                                               \
		if (fired_)                                                    \
			__sync_fetch_and_add(&fired_->n[PROBE_ID_##probe], 1); \
	} while (0)

/* Uprobes are on the VMM's process alone, so the program's entry counts: one that has no row in
 * probes.def does not compile. */
#define COUNTED_PROBE(name, unpack, args...)                                                       \
	name(struct pt_regs *ctx);                                                                 \
	static __always_inline int body_##name(struct pt_regs *ctx, ##args);                       \
	int name(struct pt_regs *ctx)                                                              \
	{                                                                                          \
		FIRED_ATOMIC(name);                                                                \
		_Pragma("GCC diagnostic push")                                                     \
			_Pragma("GCC diagnostic ignored \"-Wint-conversion\"") return body_##name( \
				unpack(args));                                                     \
		_Pragma("GCC diagnostic pop")                                                      \
	}                                                                                          \
	static __always_inline int body_##name(struct pt_regs *ctx, ##args)
#undef BPF_KPROBE
#undef BPF_KRETPROBE
#define BPF_KPROBE(name, args...)    COUNTED_PROBE(name, ___bpf_kprobe_args, ##args)
#define BPF_KRETPROBE(name, args...) COUNTED_PROBE(name, ___bpf_kretprobe_args, ##args)

/* Tracepoints run with preemption off, uprobes do not: each have a loss of their own on a CPU, so
 * that they cannot tear the other's span. */
static __always_inline u32 loss_of_tracepoint(void)
{
	return bpf_get_smp_processor_id() & (MAX_RINGS - 1);
}

static __always_inline u32 loss_of_uprobe(void)
{
	return MAX_RINGS + loss_of_tracepoint();
}

/* An event did not fit: count it, widen the span of what was lost. Events that tell of no writer
 * (ORIGIN_NONE) have no span of addresses; for the others gpa_end 0 means that any could be meant.
 */
__noinline int lose(u32 index, u64 t_ns, u64 gpa, u64 gpa_end, u32 origin)
{
	struct ring_loss *loss = &losses[index & (MAX_LOSSES - 1)];
	bool first = !(loss->origins & ~(1ull << ORIGIN_NONE));

	if (!loss->count || t_ns < loss->t0_ns)
		loss->t0_ns = t_ns;
	if (t_ns > loss->t1_ns)
		loss->t1_ns = t_ns;
	if (origin != ORIGIN_NONE) {
		if (first || gpa < loss->gpa)
			loss->gpa = gpa;
		if (first || (loss->gpa_end && (!gpa_end || gpa_end > loss->gpa_end)))
			loss->gpa_end = gpa_end;
		if (!loss->gpa_end)
			loss->gpa = 0;
	}
	loss->origins |= 1u << origin;
	__sync_fetch_and_add(&loss->count, 1);
	return 0;
}

/* The first event of a thread: NULL when its process is not one of ours. */
static __noinline struct thread *thread_make(struct task_struct *task)
{
	struct thread *th;
	u32 tgid;

	tgid = bpf_get_current_pid_tgid() >> 32;
	if (!bpf_map_lookup_elem(&procs, &tgid))
		return NULL;
	th = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!th) {
		COUNT(no_thread);
		lose(loss_of_uprobe(), bpf_ktime_get_ns(), 0, 0, ORIGIN_VCPU);
		lose(loss_of_uprobe(), bpf_ktime_get_ns(), 0, 0, ORIGIN_VIRTQUEUE);
		return NULL;
	}
	th->vcpu_id = VCPU_NONE;
	th->fd = ~0u;
	return th;
}

/* The thread's state, or NULL when it is not one of ours. */
static __always_inline struct thread *thread_of(struct task_struct *task)
{
	struct thread *th = bpf_task_storage_get(&threads, task, 0, 0);

	return th ? th : thread_make(task);
}

static __always_inline struct thread *thread_get(void)
{
	return thread_of(bpf_get_current_task_btf());
}

/*
 * A vCPU's tracepoints run inside its thread's KVM_RUN: the descriptor is the system call's first
 * argument, and its file's private_data is the struct kvm_vcpu (kvm_vcpu_ioctl(),
 * virt/kvm/kvm_main.c). Looked up again only when the descriptor changes.
 */
static __noinline int thread_learn(struct thread *th, u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct file **fds, *file = NULL;
	struct kvm_vcpu *vcpu;
	u64 kvm;
	u32 i;

	if (!th)
		return -1;
	if (!BPF_CORE_READ(task, files))
		return -1; /* it is exiting: what runs now is not the vCPU */
	fds = BPF_CORE_READ(task, files, fdt, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), fds + fd) || !file) {
		COUNT(bad_read);
		lose(loss_of_tracepoint(), bpf_ktime_get_ns(), 0, 0, ORIGIN_VCPU);
		return -1;
	}
	vcpu = BPF_CORE_READ(file, private_data);
	kvm = (u64)BPF_CORE_READ(vcpu, kvm);
	for (i = 0; i < MAX_VMS; i++) {
		if (!vms[i]) {
			vm_pids[i] = BPF_CORE_READ((struct kvm *)kvm, userspace_pid);
			vms[i] = kvm;
		}
		if (vms[i] == kvm)
			break;
	}
	th->vm = i;
	th->vcpu = (u64)vcpu;
	th->vcpu_id = BPF_CORE_READ(vcpu, vcpu_id);
	th->ctxt = (u64)BPF_CORE_READ(vcpu, arch.emulate_ctxt);
	th->fd = fd;
	th->nreq = 0;
	return 0;
}

/* The same, for probes that run in KVM_RUN: NULL also when the vCPU is not of the VM asked for. */
static __always_inline struct thread *thread_get_vcpu(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *th = thread_of(task);
	struct pt_regs *regs;
	u32 fd;

	if (!th)
		return NULL;
	regs = (void *)bpf_task_pt_regs(task);
	fd = regs->di;
	if (th->fd != fd) {
		if (regs->orig_ax != NR_IOCTL_X86_64 || (u32)regs->si != KVM_RUN_IOCTL ||
		    thread_learn(th, fd))
			return NULL;
	}
	return th->vm == only_vm ? th : NULL;
}

static __always_inline void stamp(struct event *h, struct thread *th, u16 kind, u64 t_ns)
{
	h->t_ns = t_ns;
	h->tid = (u32)bpf_get_current_pid_tgid();
	h->tseq = th->seq;
	h->kind = kind;
	h->vcpu = th->vcpu_id;
	h->boot = boot;
}

/* Before the first event that fits again: what was lost since the last one. */
static __noinline int tell_loss(void *ring, u32 index, struct thread *th)
{
	struct ring_loss *loss = &losses[index & (MAX_LOSSES - 1)];
	struct event_lost *e;

	if (!ring || !th)
		return 0;
	e = bpf_ringbuf_reserve(ring, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->ring = index & (MAX_RINGS - 1);
	e->count = __sync_lock_test_and_set(&loss->count, 0);
	e->t0_ns = loss->t0_ns;
	e->t1_ns = loss->t1_ns;
	e->gpa = loss->gpa;
	e->gpa_end = loss->gpa_end;
	e->origins = loss->origins;
	loss->t1_ns = 0;
	loss->origins = 0;
	stamp(&e->h, th, EVENT_lost, e->t1_ns);
	e->h.tseq = 0; /* not one of the thread's own */
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/*
 * For uprobes: room for an event of `size` bytes in this CPU's ring, or NULL (then it is counted as
 * lost, with the addresses and the class of writer that it would have told of). Not zeroed. `th` is
 * NULL for a task that is not of the VMM.
 */
static __always_inline void *reserve(struct thread *th, u64 size, u64 t_ns, u64 gpa, u64 gpa_end,
				     u32 origin)
{
	u32 cpu = bpf_get_smp_processor_id(), index = loss_of_uprobe();
	void *ring = bpf_map_lookup_elem(&rings, &cpu);
	void *e = NULL;

	if (th)
		th->seq++;
	if (ring) {
		if (th && losses[index].count)
			tell_loss(ring, index, th);
		e = bpf_ringbuf_reserve(ring, size, 0);
	}
	if (!e)
		lose(index, t_ns, gpa, gpa_end, origin);
	return e;
}

/* Of a task that is not of the VMM: such events are not numbered. */
static __always_inline void stamp_foreign(struct event *h, u16 kind, u64 t_ns)
{
	h->t_ns = t_ns;
	h->tid = (u32)bpf_get_current_pid_tgid();
	h->tseq = 0;
	h->kind = kind;
	h->vcpu = VCPU_NONE;
	h->boot = boot;
}

/* For tracepoints: a place for an access of a vCPU, or NULL; as reserve() in all else. */
static __always_inline struct place *place_reserve(struct thread *th, u64 t_ns, u64 gpa,
						   u64 gpa_end, u32 origin)
{
	u32 cpu = loss_of_tracepoint(), at;
	struct ring_pos *p = &pos[cpu];
	struct place *place;
	u64 n;

	th->seq++;
	if (p->head - p->tail >= nplaces - PLACES_SPARE) {
		lose(cpu, t_ns, gpa, gpa_end, origin);
		return NULL;
	}
	if (losses[cpu].count)
		tell_loss(bpf_map_lookup_elem(&rings, &cpu), cpu, th);
	n = __sync_fetch_and_add(&p->head, 1);
	at = cpu * nplaces + (n & (nplaces - 1));
	place = bpf_map_lookup_elem(&places, &at);
	if (!place) {
		lose(cpu, t_ns, gpa, gpa_end, origin);
		return NULL;
	}
	place->commit = n; /* not yet n + 1 */
	return place;
}

static __always_inline void place_submit(struct place *place)
{
	barrier();
	place->commit++;
}

/* The recorder polls: a wake-up would cost the vCPU more than the event does. */
static __always_inline void submit(void *e)
{
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* Global functions: the verifier takes their loops once, not at each call. */
__noinline int in_watch(u64 gpa, u64 end)
{
	u32 i;

	for (i = 0; i < MAX_WATCH && i < nwatch; i++)
		if (gpa < watch[i].end && end > watch[i].gpa)
			return true;
	return false;
}

__noinline int in_asked(u64 gpa, u64 end)
{
	u32 i;

	for (i = 0; i < MAX_WATCH && i < nasked; i++)
		if (gpa < asked[i].end && end > asked[i].gpa)
			return true;
	return false;
}

#endif
