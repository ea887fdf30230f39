/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhost: uprobes on QEMU's functions that hand a queue to the kernel, to another process or to
 * hardware, and take it back. What is written there meanwhile is not seen; which queue it is, is.
 */
#ifndef VMBLAME_VHOST_BPF_H
#define VMBLAME_VHOST_BPF_H

#include "virtqueue.bpf.h"

/* struct vhost_dev -> enum queue_backend, by vhost_dev_init(). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u32);
} vhost_backends SEC(".maps");

/* What a thread that is starting or stopping a device has told of its queues. */
struct vhost_call {
	u64 hdev, vdev;
	u64 stopped; /* bit 1 << queue for those that are stopping; to be told once they have */
	u32 queues;  /* how many were told one by one, those included */
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct vhost_call);
} vhost_calls SEC(".maps");

static __always_inline u32 vhost_backend(u64 hdev)
{
	u32 *backend = bpf_map_lookup_elem(&vhost_backends, &hdev);

	/* enum VhostBackendType: none, kernel, user, vdpa. One that was not seen: the kernel. */
	return backend && *backend >= QUEUE_BACKEND_VHOST && *backend <= QUEUE_BACKEND_VDPA
		       ? *backend
		       : QUEUE_BACKEND_VHOST;
}

/*
 * Where a queue lies, as QEMU has it: VRing's desc, avail and used follow num, num_default and
 * align (see queue_size()). False when it cannot be told.
 */
static __always_inline bool vhost_place(u64 vdev, u32 queue, struct queue_place *at)
{
	struct virtio_dev_ref *d = bpf_map_lookup_elem(&devices, &vdev);
	u64 vring[3];

	if (!d || !d->base || (queue && !d->stride) ||
	    bpf_probe_read_user(vring, sizeof(vring), (void *)(d->base + queue * d->stride + 16)))
		return false;
	at->desc = vring[0];
	at->avail = vring[1];
	at->used = vring[2];
	return true;
}

static __noinline int vhost_queue(u64 vdev, u32 queue, u32 backend)
{
	struct queue_key key = {.vdev = vdev, .queue = queue};
	struct queue_place *known = bpf_map_lookup_elem(&queue_places, &key);
	struct queue_place at = {};

	if (known)
		at = *known;
	/* A queue that the driver has not set up is not handed over. */
	if (backend && queue != QUEUE_ALL && !at.desc && vhost_place(vdev, queue, &at) && !at.desc)
		return 0;
	at.backend = backend;
	bpf_map_update_elem(&queue_places, &key, &at, BPF_ANY);
	return emit_rings(vdev, queue, &at);
}

static __always_inline struct vhost_call *vhost_call(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return thread_get() ? bpf_map_lookup_elem(&vhost_calls, &tid) : NULL;
}

static __always_inline int vhost_begin(u64 hdev, u64 vdev)
{
	struct vhost_call call = {.hdev = hdev, .vdev = vdev};
	u32 tid = bpf_get_current_pid_tgid();

	if (thread_get())
		bpf_map_update_elem(&vhost_calls, &tid, &call, BPF_ANY);
	return 0;
}

static long vhost_stopped(u32 queue, struct vhost_call *call)
{
	if (call->stopped & 1ull << (queue & 63))
		vhost_queue(call->vdev, queue, QUEUE_BACKEND_VMM);
	return 0;
}

/* Where the queues were told of one by one there is no more to say. */
static __always_inline int vhost_end(bool starts)
{
	struct vhost_call *known = vhost_call(), call;
	u32 tid = bpf_get_current_pid_tgid();

	if (!known)
		return 0;
	call = *known;
	bpf_map_delete_elem(&vhost_calls, &tid);
	if (!call.queues)
		return vhost_queue(call.vdev, QUEUE_ALL,
				   starts ? vhost_backend(call.hdev) : QUEUE_BACKEND_VMM);
	if (call.stopped)
		bpf_loop(64, vhost_stopped, &call, 0);
	return 0;
}

/* int vhost_dev_init(struct vhost_dev *, void *opaque, VhostBackendType, ...) */
SEC("?uprobe")
int BPF_KPROBE(vhost__vhost_dev_init, u64 hdev, u64 opaque, u32 type)
{
	if (thread_get())
		bpf_map_update_elem(&vhost_backends, &hdev, &type, BPF_ANY);
	return 0;
}

/* int vhost_dev_start(struct vhost_dev *, VirtIODevice *, ...) */
SEC("?uprobe")
int BPF_KPROBE(vhost__vhost_dev_start, u64 hdev, u64 vdev)
{
	return vhost_begin(hdev, vdev);
}

SEC("?uretprobe")
int BPF_KRETPROBE(vhost__vhost_dev_start_ret)
{
	return vhost_end(true);
}

/* int vhost_virtqueue_start(struct vhost_dev *, VirtIODevice *, struct vhost_virtqueue *,
 * unsigned idx): before the back end hears of the queue. */
SEC("?uprobe")
int BPF_KPROBE(vhost__vhost_virtqueue_start, u64 hdev, u64 vdev, u64 vq, u32 idx)
{
	struct vhost_call *call = vhost_call();

	if (call)
		call->queues++;
	return vhost_queue(vdev, idx, vhost_backend(hdev));
}

/* void vhost_virtqueue_stop(struct vhost_dev *, VirtIODevice *, struct vhost_virtqueue *,
 * unsigned idx): the back end still has the queue, until vhost_dev_stop() ends. */
SEC("?uprobe")
int BPF_KPROBE(vhost__vhost_virtqueue_stop, u64 hdev, u64 vdev, u64 vq, u32 idx)
{
	struct vhost_call *call = vhost_call();

	if (!call)
		return 0;
	call->queues++;
	if (idx < 64)
		call->stopped |= 1ull << idx;
	return 0;
}

u32 vhost_translates;

/* int vhost_device_iotlb_miss(struct vhost_dev *, uint64_t iova, int write): with a virtual IOMMU
 * the addresses in the rings are not those of memory, so what vhost may write is not known. */
SEC("?uprobe")
int BPF_KPROBE(vhost__vhost_device_iotlb_miss, u64 hdev)
{
	if (!thread_get() || __sync_lock_test_and_set(&vhost_translates, 1))
		return 0;
	return vhost_queue(0, QUEUE_ALL, vhost_backend(hdev));
}

/* void vhost_dev_stop(struct vhost_dev *, VirtIODevice *, ...) */
SEC("?uprobe")
int BPF_KPROBE(vhost__vhost_dev_stop, u64 hdev, u64 vdev)
{
	return vhost_begin(hdev, vdev);
}

SEC("?uretprobe")
int BPF_KRETPROBE(vhost__vhost_dev_stop_ret)
{
	return vhost_end(false);
}

#endif
