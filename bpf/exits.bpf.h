/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exits: what a vCPU asked KVM to do that its RAM could not: MMIO and port I/O, and which of the
 * stores to watched pages were really done.
 *
 * kvm_mmio tells of a request. For a device that is what we want to know. For a watched page (a
 * read-only memory slot) only the exit to user space makes it a store: a fault on the second half
 * of the access makes the guest ask again, and of several stores by one instruction KVM performs
 * just the last (emulator_read_write() resets mmio_nr_fragments, arch/x86/kvm/x86.c). So requests
 * are held until kvm_userspace_exit.
 */
#ifndef VMBLAME_EXITS_BPF_H
#define VMBLAME_EXITS_BPF_H

#include "guestmem.bpf.h"
#include "tables.bpf.h"

/* 1 to 16 bytes, in a form whose bounds the verifier sees; the rest of the 16 is zeroed. */
static __always_inline void read_bytes(u8 *bytes, u32 len, const void *from)
{
	long err;

	if (typed_reads && len <= 8) {
		read_words(bytes, from, 1);
		if (len < 8)
			*(volatile u64 *)bytes &= (1ull << (8 * (len & 7))) - 1;
		((volatile u64 *)bytes)[1] = 0;
		return;
	}
	__builtin_memset(bytes, 0, 16);
	if (len & 15)
		err = bpf_probe_read_kernel(bytes, len & 15, from);
	else
		err = bpf_probe_read_kernel(bytes, 16, from);
	if (err)
		COUNT(bad_read);
}

/* The i-th store that was held. Global functions are verified once, not in each turn of a loop. */
__noinline int emit_store(struct thread *th, u32 i, u32 done)
{
	struct store_request *req;
	struct event_mmio *e;
	struct place *place;
	u64 t_ns;

	if (!th)
		return 0;
	req = &th->req[i & (MAX_REQUESTS - 1)];
	if (!in_asked(req->gpa, req->gpa + req->len)) {
		COUNT(unasked);
		return 0;
	}
	t_ns = th->held.h.t_ns;
	place = place_reserve(th, t_ns, req->gpa, req->gpa + req->len, ORIGIN_VCPU);
	if (!place)
		return 0;
	e = &place->mmio;
	__builtin_memcpy(e, &th->held, sizeof(*e));
	stamp(&e->h, th, EVENT_mmio, t_ns);
	e->gpa = req->gpa;
	e->len = req->len;
	e->write = 1;
	e->done = done;
	__builtin_memcpy(e->bytes, req->bytes, 16);
	place_submit(place);
	return 0;
}

/* A store to a watched page was asked for. `n` is the number held already. */
__noinline int hold(struct thread *th, u64 gpa, u32 len, u64 val)
{
	u32 n;
	struct store_request *req;

	if (!th)
		return 0;
	n = th->nreq;
	if (n >= MAX_REQUESTS) {
		COUNT(too_many_requests);
		th->seq++;
		lose(loss_of_tracepoint(), bpf_ktime_get_ns(), gpa, gpa + len, ORIGIN_VCPU);
		return 0;
	}
	if (!n) {
		FILL_VCPU(th, &th->held, true);
		th->held.nret = walk_stack(th, &th->held);
	}
	req = &th->req[n & (MAX_REQUESTS - 1)];
	req->gpa = gpa;
	req->len = len;
	read_bytes(req->bytes, len, (void *)val);
	th->nreq = n + 1;
	return 0;
}

SEC("?tp_btf/kvm_mmio")
int BPF_PROG(exits__kvm_mmio, int type, int len, u64 gpa, void *val)
{
	struct event_mmio *e;
	struct place *place;
	struct thread *th;
	u64 t_ns;

	if (type != KVM_MMIO_READ && type != KVM_MMIO_WRITE)
		return 0;
	th = thread_get_vcpu();
	if (!th || len <= 0)
		return 0;
	FIRED(exits__kvm_mmio);
	/* Wider than what an event holds: what is beyond is told as lost. */
	if (len > 16) {
		if (type == KVM_MMIO_WRITE)
			lose(loss_of_tracepoint(), bpf_ktime_get_ns(), gpa + 16, gpa + len,
			     ORIGIN_VCPU);
		len = 16;
	}
	if (type == KVM_MMIO_WRITE && confirm_stores && in_watch(gpa, gpa + len)) {
		hold(th, gpa, len, (u64)val);
		return 0;
	}
	t_ns = bpf_ktime_get_ns();
	/* A load, or a store to a device, changes no RAM: no writer is missed when it is lost. */
	place = place_reserve(th, t_ns, gpa, gpa + len, ORIGIN_NONE);
	if (!place)
		return 0;
	e = &place->mmio;
	stamp(&e->h, th, EVENT_mmio, t_ns);
	e->gpa = gpa;
	e->len = len;
	e->write = type == KVM_MMIO_WRITE;
	e->done = MMIO_DONE_REQUESTED;
	read_bytes(e->bytes, len, val);
	FILL_VCPU(th, e, true);
	if (want_stacks)
		e->nret = walk_stack(th, e);
	place_submit(place);
	return 0;
}

/* Hand a store that KVM dropped to the agent, and tell of it. */
__noinline int supersede(struct thread *th, u32 i)
{
	struct store_request *req;
	struct agent_dropped *d;
	u32 id, n;

	if (!th)
		return 0;
	id = th->vcpu_id;
	req = &th->req[i & (MAX_REQUESTS - 1)];
	d = bpf_map_lookup_elem(&dropped, &id);
	n = d ? d->n : MAX_REQUESTS;
	if (!d || n >= MAX_REQUESTS) {
		COUNT(too_many_requests);
		lose(loss_of_tracepoint(), th->held.h.t_ns, req->gpa, req->gpa + req->len,
		     ORIGIN_VCPU);
		return 0;
	}
	d->store[n & 15].gpa = req->gpa;
	d->store[n & 15].len = req->len;
	__builtin_memcpy(d->store[n & 15].bytes, req->bytes, 16);
	d->n = n + 1;
	COUNT(superseded);
	return emit_store(th, i, MMIO_DONE_SUPERSEDED);
}

/* The i-th of n stores was done. True when it took in the one after it: a store across a page
 * boundary came as two requests, and is one store again. */
__noinline int emit_done(struct thread *th, u32 i, u32 n)
{
	struct store_request *req, *next;
	bool joined;

	if (!th)
		return false;
	req = &th->req[i & (MAX_REQUESTS - 1)];
	next = &th->req[(i + 1) & (MAX_REQUESTS - 1)];
	joined = i + 1 < n && req->gpa + req->len == next->gpa && !(next->gpa & 0xfff) &&
		 req->len + next->len <= 16;
	if (joined) {
		bpf_probe_read_kernel(req->bytes + (req->len & 15), 16, next->bytes);
		req->len += next->len;
	}
	emit_store(th, i, MMIO_DONE_EXITED);
	return joined;
}

SEC("?tp_btf/kvm_userspace_exit")
int BPF_PROG(exits__kvm_userspace_exit, u32 reason, int err)
{
	struct thread *th = thread_get_vcpu();
	struct kvm_vcpu *vcpu;
	u32 n, i, first, done;

	if (!th)
		return 0;
	FIRED(exits__kvm_userspace_exit);
	n = th->nreq;
	th->nreq = 0;
	if (tables_settle(th, reason, n ? th->req[(n - 1) & (MAX_REQUESTS - 1)].gpa : ~0ull) || !n)
		return 0;
	if (reason != KVM_EXIT_MMIO || n > MAX_REQUESTS) {
		COUNT(retried);
		return 0;
	}
	/* The VMM does them now, hence not before what devices wrote since they were asked for. */
	th->held.h.t_ns = bpf_ktime_get_ns();
	/* The last store's fragments are those that exit; what came before was dropped. */
	vcpu = (void *)th->vcpu;
	done = BPF_CORE_READ(vcpu, mmio_nr_fragments);
	first = done < n ? n - done : 0;
	for (i = 0; i < MAX_REQUESTS && i < n; i++) {
		if (i < first)
			supersede(th, i);
		else if (emit_done(th, i, n))
			i++;
	}
	return 0;
}

/* The instruction ended in an exception: its stores were not done, it will be run again. */
SEC("?tp_btf/kvm_inj_exception")
int BPF_PROG(exits__kvm_inj_exception)
{
	struct thread *th = thread_get_vcpu();

	if (!th)
		return 0;
	FIRED(exits__kvm_inj_exception);
	if (th->nreq) {
		th->nreq = 0;
		COUNT(retried);
	}
	return 0;
}

struct pio_run {
	struct thread *th;
	const u8 *data;
	struct event_pio proto;
	u64 t_ns;
	u32 total;
};

/* One event holds 16 bytes; a string instruction's come as several. */
static long emit_pio(u32 i, struct pio_run *pio)
{
	u32 off = i * 16, left = pio->total - off, len = left < 16 ? left : 16;
	struct place *place;
	struct event_pio *e;

	if (off >= pio->total)
		return 1;
	place = place_reserve(pio->th, pio->t_ns, 0, 0, ORIGIN_NONE);
	if (!place)
		return 0;
	e = &place->pio;
	__builtin_memcpy(e, &pio->proto, sizeof(*e));
	stamp(&e->h, pio->th, EVENT_pio, pio->t_ns);
	e->left = (left - len) / (e->size ? e->size : 1);
	e->len = len;
	read_bytes(e->bytes, len, pio->data + off);
	place_submit(place);
	return 0;
}

/* Not tp_btf: before Linux 6.13 the verifier takes no `const void *` among its arguments. */
SEC("?raw_tp/kvm_pio")
int BPF_PROG(exits__kvm_pio, unsigned int rw, unsigned int port, unsigned int size,
	     unsigned int count, const void *data)
{
	struct thread *th = thread_get_vcpu();
	struct pio_run pio = {};

	if (!th || !size || size > 4 || count > 4096)
		return 0;
	FIRED(exits__kvm_pio);
	pio.th = th;
	pio.data = data;
	pio.t_ns = bpf_ktime_get_ns();
	pio.total = size * count;
	pio.proto.port = port;
	pio.proto.size = size;
	pio.proto.write = rw == KVM_PIO_OUT_RW;
	FILL_VCPU(th, &pio.proto, false);
	if (pio.total <= 16)
		emit_pio(0, &pio);
	else
		bpf_loop((pio.total + 15) / 16, emit_pio, &pio, 0);
	return 0;
}

/* Processes of the recording: what it launched, and what that forked. */
SEC("?tp_btf/sched_process_fork")
int BPF_PROG(core__sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	u32 from = parent->tgid, to = child->tgid;

	if (from != to && bpf_map_lookup_elem(&procs, &from)) {
		FIRED(core__sched_process_fork);
		bpf_map_update_elem(&procs, &to, &from, BPF_ANY);
	}
	return 0;
}

#endif
