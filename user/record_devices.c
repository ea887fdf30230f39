// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages mode: what devices and the VMM itself write, past KVM's log. A write that is about to be
 * made is told of before it is: its pages are copied in each harvest for a while. Where no page is
 * told, all of memory is compared, but not all the time.
 */
#include "user/record_pages.h"

#define WHOLE_MAX_NS 10000000000ull /* of a loadvm or reset whose end is not told */
#define MAPPED_PAGES 4096	    /* copied in one harvest because devices have them mapped */
#define PASS_SHARE   4		    /* a pass as long as 1 is followed by 4 without */

static void pages_at(struct record *r, u64 gpa, u64 end, u64 until_ns)
{
	struct record_pages *p = r->log;

	/* What was written before the first pass is in it. */
	if (p->begun && !flights_add(&p->flights, gpa, end, until_ns))
		p->device_more = true;
}

/* Calls for each place where the guest sees a part of [hva,end). */
static void pages_at_hva(struct record *r, u64 hva, u64 end, u64 until_ns)
{
	const struct record_pages *p = r->log;

	for (size_t i = 0; i < p->nram; i++) {
		const struct ram *ram = &p->ram[i];
		const u64 from = hva > ram->hva ? hva : ram->hva;
		const u64 to = end < ram->hva + ram->size ? end : ram->hva + ram->size;

		if (from < to)
			pages_at(r, ram->gpa + (from - ram->hva), ram->gpa + (to - ram->hva),
				 until_ns);
	}
}

static void somewhere(struct record *r, u64 t_ns)
{
	struct record_pages *p = r->log;

	if (!p->begun)
		return;
	p->device_more = true;
	if (p->device_more_ns < t_ns + VMM_LATE_NS)
		p->device_more_ns = t_ns + VMM_LATE_NS;
}

static void take_mapping(struct record *r, const struct event_vmm_write *w)
{
	struct flights *f = &r->log->flights;

	if (w->phase == VMM_PHASE_OPENED)
		flights_map(f, w->hva, w->span, w->h.t_ns);
	if (w->phase != VMM_PHASE_CLOSED)
		return;
	flights_unmap(f, w->hva, w->span, w->h.t_ns);
	if (w->hva + w->span > w->hva)
		pages_at_hva(r, w->hva, w->hva + w->span, 0);
}

static void take_vmm_write(struct record *r, const struct event_vmm_write *w)
{
	const u64 until_ns = w->h.t_ns + VMM_LATE_NS;
	struct record_pages *p = r->log;

	if (w->site == VMM_SITE_MAP) {
		take_mapping(r, w);
		return;
	}
	if (w->phase == VMM_PHASE_OPENED)
		p->whole_ns = w->h.t_ns;
	else if (w->phase == VMM_PHASE_CLOSED)
		p->whole_ns = 0;
	if (w->hva && w->hva + w->len > w->hva)
		pages_at_hva(r, w->hva, w->hva + w->len, until_ns);
	else if (w->placed && w->gpa + w->len > w->gpa)
		pages_at(r, w->gpa, w->gpa + w->len, until_ns);
	else
		somewhere(r, w->h.t_ns);
}

static bool same_queue(const struct vmm_ring *ring, u32 dev, u16 queue)
{
	return ring->dev == dev && ring->queue == queue;
}

/* Virtio 1.2, 2.7.8: flags and index, an element of 8 bytes each, an event index. A packed queue
 * (2.8) has its one ring where others have descriptors, of 16 bytes each. */
static void ring_set(struct record *r, const struct event_vq_rings *ev)
{
	struct record_pages *p = r->log;
	const u64 size = ev->size ? ev->size : 1024;
	size_t i = 0;

	while (i < p->nrings && !same_queue(&p->ring[i], ev->dev, ev->queue))
		i++;
	if (!ev->desc || ev->backend || ev->used > UINT64_MAX - 6 - 8 * size ||
	    ev->desc > UINT64_MAX - 16 * size) {
		if (i < p->nrings)
			p->ring[i] = p->ring[--p->nrings];
		return;
	}
	if (i == VMM_RINGS) {
		p->rings_more = true;
		return;
	}
	p->ring[i] =
		(struct vmm_ring){ev->dev,  ev->queue,		 ev->used, ev->used + 6 + 8 * size,
				  ev->desc, ev->desc + 16 * size};
	p->nrings += i == p->nrings;
}

/* A queue is being served: its index, its flags, what it wants to be told of. */
static void ring_served(struct record *r, u64 t_ns, u32 dev, u16 queue)
{
	const struct record_pages *p = r->log;

	if (p->rings_more)
		somewhere(r, t_ns);
	for (size_t i = 0; i < p->nrings; i++) {
		const struct vmm_ring *ring = &p->ring[i];

		if (!same_queue(ring, dev, queue))
			continue;
		pages_at(r, ring->used, ring->used_end, t_ns + VMM_LATE_NS);
		pages_at(r, ring->desc, ring->desc_end, t_ns + VMM_LATE_NS);
	}
}

static void take_lost(struct record *r, const struct event_lost *lost)
{
	if (lost->origins & (1u << ORIGIN_DMA | 1u << ORIGIN_VMM | 1u << ORIGIN_VIRTQUEUE))
		somewhere(r, lost->h.t_ns);
	if (lost->origins & 1u << ORIGIN_DMA)
		r->log->flights.lost = true;
}

void record_pages_device(struct record *r, const struct event *ev)
{
	const struct event_vq_sg *sg = (const struct event_vq_sg *)ev;
	const struct event_vq_push *push = (const struct event_vq_push *)ev;
	const struct event_vq_pop *pop = (const struct event_vq_pop *)ev;

	switch (ev->kind) {
	case EVENT_content:
		copies_content(r, (const struct event_content *)ev);
		break;
	case EVENT_version:
		copies_version(r, (const struct event_version *)ev);
		break;
	case EVENT_vq_sg:
		if (sg->write)
			pages_at(r, sg->gpa, sg->gpa + sg->len, 0);
		break;
	case EVENT_vq_rings:
		ring_set(r, (const struct event_vq_rings *)ev);
		break;
	case EVENT_vq_push:
		ring_served(r, ev->t_ns, push->dev, push->queue);
		break;
	case EVENT_vq_pop:
		ring_served(r, ev->t_ns, pop->dev, pop->queue);
		break;
	case EVENT_vmm_write:
		take_vmm_write(r, (const struct event_vmm_write *)ev);
		break;
	case EVENT_lost:
		take_lost(r, (const struct event_lost *)ev);
		break;
	default:
		break;
	}
}

/* Unless it was since the harvest began. */
static int page_copy(struct record *r, u64 gpa, u64 t0_ns)
{
	struct record_pages *p = r->log;
	struct region *region = regions_find(&p->copies, gpa, false);
	const struct page_state *state =
		region ? (struct page_state *)region->more + (gpa - region->start) / PAGE : NULL;
	int err = 0;

	if (state && state->since_ns >= t0_ns)
		return 0;
	for (size_t k = 0; k < p->nram && !err; k++)
		if (gpa - p->ram[k].gpa < p->ram[k].size)
			err = copies_add(r, gpa, p->ram[k].hva + (gpa - p->ram[k].gpa),
					 VERSION_HOW_DEVICE);
	return err;
}

/* What devices have mapped, as far as the guest sees it in a slot. */
static int mapped_copy(struct record *r, const struct ram *ram, u64 t0_ns, u64 *left)
{
	const struct flights *f = &r->log->flights;
	const u64 end = ram->hva + ram->size;
	const struct flight_map *map;
	int err = 0;

	for (size_t i = 0; !err && (map = flights_mapped(f, &i, ram->hva, end));) {
		const u64 last = end - map->hva < map->size ? end : map->hva + map->size;
		u64 hva = map->hva > ram->hva ? map->hva & ~(u64)(PAGE - 1) : ram->hva;

		for (; hva < last && *left && !err; hva += PAGE, (*left)--)
			err = page_copy(r, ram->gpa + (hva - ram->hva), t0_ns);
		if (hva < last)
			r->log->device_more = true;
	}
	return err;
}

static bool whole(const struct record_pages *p, u64 t_ns)
{
	return p->whole_ns && t_ns < p->whole_ns + WHOLE_MAX_NS;
}

/* All of memory, where it is not known which of it was written. */
static int pass_if_due(struct record *r, u64 t0_ns)
{
	struct record_pages *p = r->log;
	int err;

	if (p->device_more_ns > t0_ns || whole(p, t0_ns) || p->flights.beyond)
		p->device_more = true;
	if (!p->device_more || t0_ns < p->pass_due_ns)
		return 0;
	err = copies_pass(r, VERSION_HOW_DEVICE);
	const u64 now_ns = record_now(r);

	p->pass_due_ns = now_ns + PASS_SHARE * (now_ns - t0_ns);
	p->device_more = false;
	return err;
}

int copies_devices(struct record *r, u64 t0_ns)
{
	struct record_pages *p = r->log;
	u64 left = MAPPED_PAGES;
	int err = 0;

	for (size_t i = 0; i < p->flights.npages && !err; i++)
		err = page_copy(r, p->flights.page[i].gpa, t0_ns);
	for (size_t i = 0; i < p->nram && !err; i++)
		err = mapped_copy(r, &p->ram[i], t0_ns, &left);
	flights_copied(&p->flights, t0_ns);
	err = err ? err : copies_flush(r);
	return err ? err : pass_if_due(r, t0_ns);
}

/* One that was mapped within the window is in the trace there. */
void copies_devices_open(struct record *r, u64 gpa, u64 hva, u64 since_ns, u64 t_ns)
{
	const struct flight_map *map;

	for (size_t i = 0; (map = flights_mapped(&r->log->flights, &i, hva, hva + PAGE));) {
		const u64 from = map->hva > hva ? map->hva : hva;
		const u64 to =
			map->hva + map->size < hva + PAGE ? map->hva + map->size : hva + PAGE;
		const struct event_vmm_write ev = {
			.h = {.t_ns = t_ns, .kind = EVENT_vmm_write, .vcpu = VCPU_NONE},
			.gpa = gpa + (from - hva),
			.site = VMM_SITE_MAP,
			.hva = from,
			.placed = 1,
			.phase = VMM_PHASE_OPEN,
			.span = to - from,
		};

		if (map->t_ns <= since_ns)
			record_take(r, &ev.h);
	}
}

bool record_pages_in_flight(const struct record *r, u64 gpa, u64 end)
{
	const struct record_pages *p = r->log;
	const struct flights *f = &p->flights;

	if (p->device_more || p->rings_more || f->lost || f->beyond ||
	    p->device_more_ns > record_now(r) || whole(p, record_now(r)) ||
	    flights_has(f, gpa, end))
		return true;
	for (size_t i = 0; i < p->nrings; i++)
		if ((p->ring[i].used < end && gpa < p->ring[i].used_end) ||
		    (p->ring[i].desc < end && gpa < p->ring[i].desc_end))
			return true;
	for (size_t k = 0; k < p->nram; k++) {
		const struct ram *ram = &p->ram[k];
		const u64 from = gpa > ram->gpa ? gpa : ram->gpa;
		const u64 to = end < ram->gpa + ram->size ? end : ram->gpa + ram->size;
		size_t i = 0;

		if (from < to &&
		    flights_mapped(f, &i, ram->hva + (from - ram->gpa), ram->hva + (to - ram->gpa)))
			return true;
	}
	return false;
}
