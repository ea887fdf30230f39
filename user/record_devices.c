// SPDX-License-Identifier: GPL-2.0-or-later
/* Pages mode: pages that devices write, past KVM's log. */
#include "user/record_pages.h"

static void device_pages(struct record *r, u64 gpa, u64 end)
{
	struct record_pages *p = r->log;

	for (gpa &= ~(u64)(PAGE - 1); gpa < end; gpa += PAGE) {
		if (p->ndevice && p->device[p->ndevice - 1] == gpa)
			continue;
		if (p->ndevice == DEVICE_PAGES) {
			p->device_more = true;
			break;
		}
		p->device[p->ndevice++] = gpa;
	}
}

/* Virtio 1.2, 2.7.8: flags and index, an element of 8 bytes each, an event index. */
static void ring_set(struct record *r, const struct event_vq_rings *ev)
{
	struct record_pages *p = r->log;
	const u32 size = ev->size ? ev->size : 1024;
	size_t i = 0;

	while (i < p->nused && (p->used[i].dev != ev->dev || p->used[i].queue != ev->queue))
		i++;
	if (!ev->desc || ev->backend || ev->used > UINT64_MAX - 6 - 8 * size) {
		if (i < p->nused)
			p->used[i] = p->used[--p->nused];
		return;
	}
	if (i == USED_RINGS)
		return;
	p->used[i] = (struct used){ev->dev, ev->queue, ev->used, ev->used + 6 + 8 * size};
	p->nused += i == p->nused;
}

void record_pages_device(struct record *r, const struct event *ev)
{
	const struct event_vq_sg *sg = (const struct event_vq_sg *)ev;
	const struct event_vq_push *push = (const struct event_vq_push *)ev;
	const struct record_pages *p = r->log;

	switch (ev->kind) {
	case EVENT_content:
		copies_content(r, (const struct event_content *)ev);
		break;
	case EVENT_version:
		copies_version(r, (const struct event_version *)ev);
		break;
	case EVENT_vq_sg:
		if (sg->write)
			device_pages(r, sg->gpa, sg->gpa + sg->len);
		break;
	case EVENT_vq_rings:
		ring_set(r, (const struct event_vq_rings *)ev);
		break;
	case EVENT_vq_push:
		for (size_t i = 0; i < p->nused; i++)
			if (p->used[i].dev == push->dev && p->used[i].queue == push->queue)
				device_pages(r, p->used[i].gpa, p->used[i].end);
		break;
	default:
		break;
	}
}

/* Those that are still as they were before this harvest. */
int copies_devices(struct record *r, u64 t0_ns)
{
	struct record_pages *p = r->log;
	int err = 0;

	for (size_t i = 0; i < p->ndevice && !err; i++) {
		const u64 gpa = p->device[i];
		struct region *region = regions_find(&p->copies, gpa, false);
		const struct page_state *state =
			region ? (struct page_state *)region->more + (gpa - region->start) / PAGE
			       : NULL;

		if (state && state->since_ns >= t0_ns)
			continue;
		for (size_t k = 0; k < p->nram && !err; k++)
			if (gpa - p->ram[k].gpa < p->ram[k].size)
				err = copies_add(r, gpa, p->ram[k].hva + (gpa - p->ram[k].gpa),
						 VERSION_HOW_DEVICE);
	}
	p->ndevice = 0;
	return err ? err : copies_flush(r);
}
