/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues and the machine: uprobes on QEMU's functions, found by name in the VMM's executable.
 * What a virtio device writes is known when it completes a request: its element tells where, and
 * the bytes are copied before virtqueue_flush() lets the guest see the completion.
 */
#ifndef VMBLAME_VIRTQUEUE_BPF_H
#define VMBLAME_VIRTQUEUE_BPF_H

#include "core.bpf.h"

#define CONTENT_MAX    4096
#define QUEUE_SIZE_MAX 1024			       /* QEMU's VIRTQUEUE_MAX_SIZE */
#define USED_BYTES_MAX (4 + 8ull * QUEUE_SIZE_MAX + 2) /* Virtio 1.2 section 2.7 */

struct virtio_dev_ref {
	u32 dev;
	u32 pad;
	u64 base;   /* the device's first VirtQueue */
	u64 stride; /* from one to the next, 0 while there is but one */
};

struct virtio_queue_ref {
	u32 dev;
	u32 queue;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct virtio_dev_ref);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct virtio_queue_ref);
} queues SEC(".maps");

/* Requests that a device holds: VirtQueueElement -> number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, u64);
} requests SEC(".maps");

struct queue_key {
	u64 vdev;
	u32 queue;
	u32 pad;
};

/* Where a queue lies (all 0 when it is taken down), and who serves it. */
struct queue_place {
	u64 desc, avail, used;
	u64 backend; /* enum queue_backend */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct queue_key);
	__type(value, struct queue_place);
} queue_places SEC(".maps");

u32 ndevices;
u64 nrequests;

/* VirtQueueElement, include/hw/virtio/virtio.h: offsets the same from QEMU 4.0 to 10.0. */

struct vq_element {
	u32 index;    /* @0 */
	u32 len;      /* @4 */
	u32 out_num;  /* @12 */
	u32 in_num;   /* @16 */
	u64 in_addr;  /* @24: gpa[in_num] */
	u64 out_addr; /* @32 */
	u64 in_sg;    /* @40: struct iovec[in_num] */
	u64 out_sg;   /* @48 */
};

static __always_inline int element_read(struct vq_element *el, u64 elem)
{
	u32 words[14]; /* 56 bytes */

	if (bpf_probe_read_user(words, sizeof(words), (void *)elem)) {
		COUNT(bad_read);
		return -1;
	}
	el->index = words[0];
	el->len = words[1];
	el->out_num = words[3];
	el->in_num = words[4];
	el->in_addr = words[6] | (u64)words[7] << 32;
	el->out_addr = words[8] | (u64)words[9] << 32;
	el->in_sg = words[10] | (u64)words[11] << 32;
	el->out_sg = words[12] | (u64)words[13] << 32;
	return 0;
}

/* The request's header as the driver wrote it; returns how many bytes are known. */
static __always_inline u8 read_header(const struct vq_element *el, u8 *header)
{
	u64 iov[2] = {};
	u32 len;

	__builtin_memset(header, 0, 16);
	if (!el->out_num || bpf_probe_read_user(iov, sizeof(iov), (void *)el->out_sg))
		return 0;
	len = iov[1] < 16 ? iov[1] : 16;
	if (len == 16)
		return bpf_probe_read_user(header, 16, (void *)iov[0]) ? 0 : 16;
	if (!len || bpf_probe_read_user(header, len & 15, (void *)iov[0]))
		return 0;
	return len;
}

/* Segments of one direction, for bpf_loop(). */
struct segments {
	struct thread *th;
	u64 t_ns, req;
	u64 addr, sg;	   /* arrays in the VMM */
	u64 left;	   /* bytes that the device wrote of what remains */
	u64 gpa, hva, len; /* the segment whose bytes are being copied */
	u64 at;
	u32 n, dev;
	u16 queue;
	u8 write;
};

static __always_inline bool segment_read(struct segments *s, u32 i)
{
	u64 iov[2];

	if (bpf_probe_read_user(&s->gpa, 8, (void *)(s->addr + 8ull * i)) ||
	    bpf_probe_read_user(iov, sizeof(iov), (void *)(s->sg + 16ull * i))) {
		COUNT(bad_read);
		if (s->write)
			lose(loss_of_uprobe(), s->t_ns, 0, 0, ORIGIN_VIRTQUEUE);
		return false;
	}
	s->hva = iov[0];
	s->len = iov[1];
	if (s->write && s->len > s->left)
		s->len = s->left;
	s->left -= s->write ? s->len : 0;
	return s->len != 0;
}

static long emit_segment(u32 i, struct segments *s)
{
	struct event_vq_sg *e;

	if (i >= s->n)
		return 1;
	if (!segment_read(s, i))
		return s->write && !s->left;
	e = reserve(s->th, sizeof(*e), s->t_ns, s->write ? s->gpa : 0,
		    s->write ? s->gpa + s->len : 0, s->write ? ORIGIN_VIRTQUEUE : ORIGIN_NONE);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, s->th, EVENT_vq_sg, s->t_ns);
	e->dev = s->dev;
	e->queue = s->queue;
	e->index = i;
	e->req = s->req;
	e->write = s->write;
	e->gpa = s->gpa;
	e->len = s->len;
	e->hva = s->hva;
	submit(e);
	return 0;
}

/* One piece of at most CONTENT_MAX bytes, not across a page, of the segment in `s`. */
static long copy_piece(u32 i, struct segments *s)
{
	u64 gpa = s->gpa + s->at, end = s->gpa + s->len, stop = (gpa | 0xfff) + 1;
	struct event_content *e;
	u32 len;

	if (gpa >= end)
		return 1;
	if (stop > end)
		stop = end;
	len = stop - gpa;
	s->at += len;
	if (!capture && !in_watch(gpa, stop))
		return 0;
	/* That it was written is told anyway; pages are copied. */
	e = reserve(s->th, sizeof(*e), s->t_ns, gpa, stop,
		    capture ? ORIGIN_NONE : ORIGIN_VIRTQUEUE);
	if (!e)
		return 0;
	stamp(&e->h, s->th, EVENT_content, s->t_ns);
	e->gpa = gpa;
	e->why = CONTENT_WHY_DEVICE;
	e->req = s->req;
	e->len = len;
	barrier_var(len);
	if (len > CONTENT_MAX)
		len = CONTENT_MAX;
	if (bpf_copy_from_user(e->data, len, (void *)(s->hva + (gpa - s->gpa)))) {
		COUNT(bad_read);
		e->len = 0;
	}
	submit(e);
	return 0;
}

static long copy_segment(u32 i, struct segments *s)
{
	if (i >= s->n || !s->left)
		return 1;
	if (!segment_read(s, i))
		return 0;
	if (!capture && !in_watch(s->gpa, s->gpa + s->len))
		return 0;
	s->at = 0;
	bpf_loop((s->len >> 12) + 2 < (1 << 16) ? (s->len >> 12) + 2 : (1 << 16), copy_piece, s, 0);
	return 0;
}

/* Global functions: the verifier looks at the loops once, not for each way that leads to them. What
 * bpf_loop() hands on has to lie on the stack, and a pointer in it has to be found again. */
__noinline int emit_segments(struct segments *from)
{
	struct segments s;

	if (!from)
		return 0;
	s = *from;
	s.th = thread_get();
	if (s.th)
		bpf_loop(s.n, emit_segment, &s, 0);
	return 0;
}

__noinline int copy_segments(struct segments *from)
{
	struct segments s;

	if (!from)
		return 0;
	s = *from;
	s.th = thread_get();
	if (s.th)
		bpf_loop(s.n, copy_segment, &s, 0);
	return 0;
}

SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtio_init, u64 vdev, u64 arg2, u64 arg3)
{
	struct thread *th = thread_get();
	struct virtio_dev_ref d = {};
	struct event_vq_device *e;
	u64 t_ns = bpf_ktime_get_ns();

	if (!th)
		return 0;
	d.dev = __sync_fetch_and_add(&ndevices, 1);
	bpf_map_update_elem(&devices, &vdev, &d, BPF_ANY);
	e = reserve(th, sizeof(*e), t_ns, 0, 0, ORIGIN_NONE);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_vq_device, t_ns);
	e->dev = d.dev;
	/* Before QEMU 7.0 a name came before the id. */
	e->device_id = arg2 > 0xffff ? arg3 : arg2;
	e->vdev = vdev;
	submit(e);
	return 0;
}

SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtio_add_queue, u64 vdev)
{
	struct thread *th = thread_get();

	if (th)
		th->vdev = vdev;
	return 0;
}

SEC("?uretprobe")
int BPF_KRETPROBE(virtqueue__virtio_add_queue_ret, u64 vq)
{
	struct thread *th = thread_get();
	struct virtio_queue_ref q = {};
	struct virtio_dev_ref *d;
	u64 vdev;

	if (!th || !vq)
		return 0;
	vdev = th->vdev;
	d = bpf_map_lookup_elem(&devices, &vdev);
	if (!d)
		return 0;
	if (!d->base)
		d->base = vq;
	else if (!d->stride && vq > d->base)
		d->stride = vq - d->base;
	q.dev = d->dev;
	q.queue = d->stride ? (vq - d->base) / d->stride : 0;
	bpf_map_update_elem(&queues, &vq, &q, BPF_ANY);
	return 0;
}

/*
 * A queue's size. struct VirtQueue begins with its VRing, and that with num, num_default and align
 * (hw/virtio/virtio.c, QEMU 2.x to 10.0). 0 when it cannot be told.
 */
static __always_inline u32 queue_size(const struct virtio_dev_ref *d, u32 queue)
{
	u32 num = 0;

	if (!d || !d->base || (queue && !d->stride) ||
	    bpf_probe_read_user(&num, sizeof(num), (void *)(d->base + queue * d->stride)))
		return 0;
	return num <= QUEUE_SIZE_MAX ? num : 0;
}

static __noinline int emit_rings(u64 vdev, u32 queue, const struct queue_place *at)
{
	struct thread *th = thread_get();
	struct virtio_dev_ref *d = bpf_map_lookup_elem(&devices, &vdev);
	u64 t_ns = bpf_ktime_get_ns();
	struct event_vq_rings *e;

	if (!th)
		return 0;
	/* Who does not know of the used ring would miss what the device writes there. */
	e = reserve(th, sizeof(*e), t_ns, at->backend ? 0 : at->used,
		    at->backend ? 0 : at->used + USED_BYTES_MAX,
		    at->backend ? ORIGIN_VHOST
		    : at->desc	? ORIGIN_VIRTQUEUE
				: ORIGIN_NONE);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_vq_rings, t_ns);
	e->dev = d ? d->dev : ~0u;
	e->queue = queue;
	e->desc = at->desc;
	e->avail = at->avail;
	e->used = at->used;
	e->size = queue_size(d, queue);
	e->backend = at->backend;
	submit(e);
	return 0;
}

static __always_inline int place_rings(u64 vdev, u32 queue, u64 desc, u64 avail, u64 used)
{
	struct queue_place at = {.desc = desc, .avail = avail, .used = used}, *before;
	struct queue_key key = {.vdev = vdev, .queue = queue};

	if (!thread_get())
		return 0;
	before = bpf_map_lookup_elem(&queue_places, &key);
	if (before)
		at.backend = before->backend;
	bpf_map_update_elem(&queue_places, &key, &at, BPF_ANY);
	return emit_rings(vdev, queue, &at);
}

SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtio_queue_set_rings, u64 vdev, int n, u64 desc, u64 avail, u64 used)
{
	return place_rings(vdev, n, desc, avail, used);
}

/*
 * The older interface tells one address; the rings follow from it and the queue's size, as in
 * virtio_queue_update_rings().
 */
SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtio_queue_set_addr, u64 vdev, u32 n, u64 addr)
{
	struct virtio_dev_ref *d = bpf_map_lookup_elem(&devices, &vdev);
	u32 vring[3] = {};
	u64 avail, used;

	if (!addr)
		return place_rings(vdev, n, 0, 0, 0);
	if (!d || !d->base || (n && !d->stride) ||
	    bpf_probe_read_user(vring, sizeof(vring), (void *)(d->base + n * d->stride)) ||
	    !vring[0] || vring[0] > QUEUE_SIZE_MAX || !vring[2]) {
		COUNT(bad_read);
		lose(loss_of_uprobe(), bpf_ktime_get_ns(), 0, 0, ORIGIN_VIRTQUEUE);
		return 0;
	}
	avail = addr + 16ull * vring[0];
	used = (avail + 4 + 2ull * vring[0] + vring[2] - 1) & ~((u64)vring[2] - 1);
	return place_rings(vdev, n, addr, avail, used);
}

SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtqueue_pop, u64 vq)
{
	struct thread *th = thread_get();

	if (th)
		th->pop_vq = vq;
	return 0;
}

SEC("?uretprobe")
int BPF_KRETPROBE(virtqueue__virtqueue_pop_ret, u64 elem)
{
	struct thread *th = thread_get();
	struct segments s = {};
	struct event_vq_pop *e;
	struct vq_element el;
	struct virtio_queue_ref *q;
	u64 req, vq;

	if (!th || !elem || element_read(&el, elem))
		return 0;
	vq = th->pop_vq;
	q = bpf_map_lookup_elem(&queues, &vq);
	if (!q)
		COUNT(unknown_queue);
	req = __sync_fetch_and_add(&nrequests, 1) + 1;
	bpf_map_update_elem(&requests, &elem, &req, BPF_ANY);
	s.th = th;
	s.t_ns = bpf_ktime_get_ns();
	s.req = req;
	s.dev = q ? q->dev : ~0u;
	s.queue = q ? q->queue : 0;
	e = reserve(th, sizeof(*e), s.t_ns, 0, 0, ORIGIN_NONE);
	if (e) {
		__builtin_memset(e, 0, sizeof(*e));
		stamp(&e->h, th, EVENT_vq_pop, s.t_ns);
		e->dev = s.dev;
		e->queue = s.queue;
		e->head = el.index;
		e->req = req;
		e->nout = el.out_num;
		e->nin = el.in_num;
		e->head_len = read_header(&el, e->header);
		submit(e);
	}
	s.addr = el.out_addr;
	s.sg = el.out_sg;
	s.n = el.out_num < MAX_SG ? el.out_num : MAX_SG;
	if (el.out_num > MAX_SG)
		COUNT(sg_left_out);
	emit_segments(&s);
	return 0;
}

static __always_inline int complete(u64 vq, u64 elem, u32 len)
{
	struct thread *th = thread_get();
	struct segments s = {};
	struct event_vq_push *e;
	struct vq_element el;
	struct virtio_queue_ref *q;
	u64 *req;

	if (!th)
		return 0;
	if (element_read(&el, elem)) {
		lose(loss_of_uprobe(), bpf_ktime_get_ns(), 0, 0, ORIGIN_VIRTQUEUE);
		return 0;
	}
	q = bpf_map_lookup_elem(&queues, &vq);
	req = bpf_map_lookup_elem(&requests, &elem);
	s.th = th;
	s.t_ns = bpf_ktime_get_ns();
	s.req = req ? *req : 0;
	if (req)
		bpf_map_delete_elem(&requests, &elem);
	s.dev = q ? q->dev : ~0u;
	s.queue = q ? q->queue : 0;
	s.write = 1;
	s.addr = el.in_addr;
	s.sg = el.in_sg;
	e = reserve(th, sizeof(*e), s.t_ns, 0, 0, ORIGIN_NONE);
	if (e) {
		__builtin_memset(e, 0, sizeof(*e));
		stamp(&e->h, th, EVENT_vq_push, s.t_ns);
		e->dev = s.dev;
		e->queue = s.queue;
		e->head = el.index;
		e->req = s.req;
		e->written = len;
		e->nin = el.in_num;
		e->head_len = read_header(&el, e->header);
		submit(e);
	}
	s.n = el.in_num < QUEUE_SIZE_MAX ? el.in_num : QUEUE_SIZE_MAX;
	s.left = len;
	emit_segments(&s);
	if (nwatch || capture)
		copy_segments(&s);
	return 0;
}

/* virtqueue_push() calls virtqueue_fill(), unless the compiler put it inside: count one of the two.
 */
SEC("?uprobe.s")
int BPF_KPROBE(virtqueue__virtqueue_push, u64 vq, u64 elem, u32 len)
{
	struct thread *th = thread_get();

	if (!th)
		return 0;
	th->elem = elem;
	return complete(vq, elem, len);
}

SEC("?uprobe.s")
int BPF_KPROBE(virtqueue__virtqueue_fill, u64 vq, u64 elem, u32 len)
{
	struct thread *th = thread_get();

	if (!th)
		return 0;
	if (th->elem == elem) {
		th->elem = 0;
		return 0;
	}
	return complete(vq, elem, len);
}

static __always_inline int notified(u64 vdev, u64 vq)
{
	struct thread *th = thread_get();
	struct virtio_queue_ref *q = bpf_map_lookup_elem(&queues, &vq);
	u64 t_ns = bpf_ktime_get_ns();
	struct event_vq_notify *e;

	if (!th)
		return 0;
	th->elem = 0;
	e = reserve(th, sizeof(*e), t_ns, 0, 0, ORIGIN_NONE);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_vq_notify, t_ns);
	e->dev = q ? q->dev : ~0u;
	e->queue = q ? q->queue : 0;
	submit(e);
	return 0;
}

SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtio_notify, u64 vdev, u64 vq)
{
	return notified(vdev, vq);
}

SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtio_notify_irqfd, u64 vdev, u64 vq)
{
	return notified(vdev, vq);
}

SEC("?uprobe")
int BPF_KPROBE(virtqueue__virtio_error, u64 vdev, u64 format)
{
	struct thread *th = thread_get();
	struct virtio_dev_ref *d = bpf_map_lookup_elem(&devices, &vdev);
	u64 t_ns = bpf_ktime_get_ns();
	struct event_vq_error *e;
	long len;

	if (!th)
		return 0;
	e = reserve(th, sizeof(*e), t_ns, 0, 0, ORIGIN_NONE);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	stamp(&e->h, th, EVENT_vq_error, t_ns);
	e->dev = d ? d->dev : ~0u;
	len = bpf_probe_read_user_str(e->text, sizeof(e->text), (void *)format);
	e->text_len = len > 0 ? len - 1 : 0;
	submit(e);
	return 0;
}

#endif
