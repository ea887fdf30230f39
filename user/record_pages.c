// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages mode: every epoch the agent hands over which pages KVM's log calls dirty; each is copied
 * and compared with its copy before, and what differs is a `version` event.
 *
 * Copies are kept by guest-physical address: they are what a reader of the trace makes of it. The
 * guest runs while its pages are copied, so a version happened between the beginning of the copy
 * before and the end of this one.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/delta.h"
#include "user/record_state.h"
#include "user/regions.h"
#include "user/vmm_memory.h"

#define PAGE	     VMM_PAGE
#define REGION_PAGES (REGION_BYTES / PAGE)
/* A page's content is told as a whole again after so many deltas, or bytes of them. */
#define KEYFRAME_DELTAS 64
#define KEYFRAME_BYTES	16384
#define HOLD_NS		2000000000ull
#define DEVICE_PAGES	16384
#define USED_RINGS	1024

struct page_state {
	u64 since_ns; /* when its last copy was begun, and when it was done */
	u64 until_ns;
	u64 hva; /* where it was then */
	u32 deltas, bytes;
};

/* A slot of the main address space. */
struct ram {
	u32 id;
	u64 gpa, size, hva; /* size 0: free */
	bool readonly;
};

struct record_pages {
	struct vmm_memory memory;
	struct regions copies; /* by guest-physical address; more: struct page_state of each page */
	struct ram ram[RECORD_SLOTS];
	size_t nram;
	u64 epoch_ns, due_ns; /* from the start */
	bool asked;	      /* the agent has not answered yet */
	bool held;	      /* the vCPUs stand still, as its last answer has it */
	unsigned marks;
	bool begun; /* the first pass is done */
	bool failed;
	u64 log_ns; /* when the log was read before the last time, from the start */
	u64 next_log_ns;
	u64 exact_ns; /* the last moment at which all copies were made while nobody ran */
	u64 versions, changed, copied, epochs;
	/* Pages that devices wrote to since the last harvest. */
	u64 device[DEVICE_PAGES];
	size_t ndevice;
	struct used {
		u32 dev;
		u16 queue;
		u64 gpa, end;
	} used[USED_RINGS]; /* rings that the VMM writes */
	size_t nused;
	bool device_more; /* there was no room for all of them */
	/* Pages that wait to be copied. */
	size_t n;
	u64 gpa[VMM_WINDOW_MAX], hva[VMM_WINDOW_MAX];
	u8 how[VMM_WINDOW_MAX];
	u8 window[VMM_WINDOW_MAX * PAGE];
};

static u64 from_start(const struct record *r, u64 t_ns)
{
	return t_ns > r->start_ns ? t_ns - r->start_ns : 0;
}

int record_pages_open(struct record *r)
{
	struct record_pages *p = calloc(1, sizeof(*p));

	if (!p || regions_open(&p->copies, REGION_PAGES * sizeof(struct page_state))) {
		free(p);
		return -ENOMEM;
	}
	p->memory.pagemap = -1;
	p->epoch_ns = r->opts->epoch_ns;
	r->log = p;
	return 0;
}

void record_pages_close(struct record *r)
{
	if (!r->log)
		return;
	vmm_memory_close(&r->log->memory);
	regions_close(&r->log->copies);
	free(r->log);
	r->log = NULL;
}

void record_pages_vmm(struct record *r)
{
	vmm_memory_open(&r->log->memory, r->vmm);
}

/* Nothing is known of the guest's memory any more. */
static void give_up(struct record *r, int err)
{
	struct event_cover ev = {
		.h = {.t_ns = record_now(r), .kind = EVENT_cover, .vcpu = VCPU_NONE},
		.origin = ORIGIN_VCPU,
		.why = WHY_NO_AGENT,
	};

	if (r->log->failed)
		return;
	r->log->failed = true;
	if (err != -ESRCH) /* it ends, which is no news */
		record_say("cannot read the guest's memory: %s; what follows in it is not known",
			   strerror(-err));
	record_take(r, &ev.h);
}

/* --- copies --- */

static void content_put(struct record *r, u64 t_ns, u64 gpa, const u8 *bytes, enum content_why why)
{
	struct event_content ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_content, .vcpu = VCPU_NONE},
		.gpa = gpa,
		.why = why,
		.len = PAGE,
	};

	memcpy(ev.data, bytes, PAGE);
	record_take(r, &ev.h);
}

/* now NULL: zeroes. */
static int page_take(struct record *r, u64 gpa, u64 hva, u8 how, const u8 *now, u64 t0_ns, u64 t_ns)
{
	static const u8 zeroes[PAGE];
	struct record_pages *p = r->log;
	struct region *region = regions_find(&p->copies, gpa, now != NULL);

	if (!region)
		return now ? -ENOMEM : 0; /* never written: zeroes */
	u8 *was = region->bytes + (gpa - region->start);
	struct page_state *state = (struct page_state *)region->more + (gpa - region->start) / PAGE;
	const u64 since_ns = state->since_ns > p->exact_ns ? state->since_ns : p->exact_ns;

	if (state->hva && state->hva != hva)
		how = VERSION_HOW_MAP;
	now = now ? now : zeroes;
	state->hva = hva;
	state->since_ns = t0_ns;
	state->until_ns = t_ns;
	if (!memcmp(was, now, PAGE))
		return 0;
	if (!p->begun) {
		content_put(r, t_ns, gpa, now, CONTENT_WHY_START);
	} else {
		struct event_version ev = {
			.h = {.t_ns = t_ns, .kind = EVENT_version, .vcpu = VCPU_NONE},
			.gpa = gpa,
			.t0_ns = since_ns,
			.log_ns = p->log_ns > since_ns ? p->log_ns : since_ns,
			.how = how,
		};
		_Static_assert(sizeof(ev.data) == DELTA_MAX, "any delta fits");
		ev.len = (u16)delta_make(was, now, ev.data);
		record_take(r, &ev.h);
		p->versions++;
		p->changed += ev.len;
		state->bytes += ev.len;
		if (++state->deltas >= KEYFRAME_DELTAS || state->bytes >= KEYFRAME_BYTES) {
			content_put(r, t_ns, gpa, now, CONTENT_WHY_KEYFRAME);
			state->deltas = state->bytes = 0;
		}
	}
	memcpy(was, now, PAGE);
	return 0;
}

/* Copies the pages that wait. */
static int flush(struct record *r)
{
	struct record_pages *p = r->log;
	const u64 t0_ns = record_now(r);
	int err = p->n ? vmm_memory_read(&p->memory, p->hva, p->n, p->window) : 0;
	const u64 t_ns = record_now(r);

	p->copied += p->n;
	for (size_t i = 0; i < p->n && !err; i++)
		err = page_take(r, p->gpa[i], p->hva[i], p->how[i], p->window + i * PAGE, t0_ns,
				t_ns);
	p->n = 0;
	return err;
}

static int page_add(struct record *r, u64 gpa, u64 hva, u8 how)
{
	struct record_pages *p = r->log;
	int err = p->n == VMM_WINDOW_MAX ? flush(r) : 0;

	p->gpa[p->n] = gpa;
	p->hva[p->n] = hva;
	p->how[p->n++] = how;
	return err;
}

/* [hva, hva + n pages), wherever the guest sees it. Of many at once those that were never touched
 * are not read. */
static int run_add(struct record *r, u64 hva, u64 n, u8 how)
{
	struct record_pages *p = r->log;
	const u64 end = hva + n * PAGE;
	int err = 0;

	for (size_t i = 0; i < p->nram; i++) {
		const struct ram *ram = &p->ram[i];
		const u64 from = hva > ram->hva ? hva : ram->hva;
		const u64 to = end < ram->hva + ram->size ? end : ram->hva + ram->size;

		for (u64 at = from, step; at < to && !err; at += step * PAGE) {
			bool touched[VMM_WINDOW_MAX];

			step = (to - at) / PAGE;
			if (step > VMM_WINDOW_MAX)
				step = VMM_WINDOW_MAX;
			memset(touched, true, sizeof(touched));
			if (n >= VMM_WINDOW_MAX)
				vmm_memory_touched(&p->memory, at, step, touched);
			for (u64 k = 0; k < step && !err; k++) {
				const u64 page = at + k * PAGE, gpa = ram->gpa + (page - ram->hva);
				const u64 t_ns = touched[k] ? 0 : record_now(r);

				err = touched[k] ? page_add(r, gpa, page, how)
						 : page_take(r, gpa, page, how, NULL, t_ns, t_ns);
			}
		}
	}
	return err;
}

/* --- devices --- */

/* What a device left is in the trace: the copy is to be as a reader has it. A page that was copied
 * later than that, but before it was known, is told once more. */
static void device_bytes(struct record *r, const struct event_content *ev)
{
	struct record_pages *p = r->log;
	const u64 gpa = ev->gpa, off = gpa & (PAGE - 1);
	struct region *region = regions_find(&p->copies, gpa, true);

	if (!region || !p->begun || ev->len > PAGE - off)
		return;
	u8 *page = region->bytes + (gpa - off - region->start);
	const struct page_state *state =
		(struct page_state *)region->more + (gpa - region->start) / PAGE;

	if (ev->h.t_ns >= state->until_ns)
		memcpy(page + off, ev->data, ev->len);
	else if (memcmp(page + off, ev->data, ev->len))
		content_put(r, state->until_ns, gpa - off, page, CONTENT_WHY_KEYFRAME);
}

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
	const struct event_content *content = (const struct event_content *)ev;
	const struct event_vq_sg *sg = (const struct event_vq_sg *)ev;
	const struct event_vq_push *push = (const struct event_vq_push *)ev;
	const struct record_pages *p = r->log;

	switch (ev->kind) {
	case EVENT_content:
		if (content->why == CONTENT_WHY_DEVICE && content->len)
			device_bytes(r, content);
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
static int devices_take(struct record *r, u64 t0_ns)
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
				err = page_add(r, gpa, p->ram[k].hva + (gpa - p->ram[k].gpa),
					       VERSION_HOW_DEVICE);
	}
	p->ndevice = 0;
	return err ? err : flush(r);
}

/* All of RAM, and of ROM. */
static int pass(struct record *r, u8 how)
{
	struct record_pages *p = r->log;
	int err = 0;

	for (size_t i = 0; i < p->nram && !err; i++) {
		const struct ram *ram = &p->ram[i];

		for (u64 at = 0, step; at < ram->size && !err; at += step * PAGE) {
			bool touched[VMM_WINDOW_MAX];

			step = (ram->size - at) / PAGE;
			if (step > VMM_WINDOW_MAX)
				step = VMM_WINDOW_MAX;
			vmm_memory_touched(&p->memory, ram->hva + at, step, touched);
			for (u64 k = 0; k < step && !err; k++) {
				const u64 off = at + k * PAGE,
					  t_ns = touched[k] ? 0 : record_now(r);

				err = touched[k] ? page_add(r, ram->gpa + off, ram->hva + off, how)
						 : page_take(r, ram->gpa + off, ram->hva + off, how,
							     NULL, t_ns, t_ns);
			}
			link_beat(r->link);
		}
	}
	return err ? err : flush(r);
}

/* --- slots --- */

static void cover_slot(struct record *r, u64 t_ns, const struct ram *ram, bool on)
{
	static const enum origin origins[] = {ORIGIN_VCPU, ORIGIN_KVM};

	for (size_t i = 0; i < 2; i++) {
		struct event_cover ev = {
			.h = {.t_ns = t_ns, .kind = EVENT_cover, .vcpu = VCPU_NONE},
			.origin = origins[i],
			.on = on,
			.why = on ? WHY_NONE : WHY_NO_RAM,
			.gpa = ram->gpa,
			.size = ram->size,
		};
		record_take(r, &ev.h);
	}
}

void record_pages_slot(struct record *r, const struct agent_msg *msg, u64 t_ns)
{
	struct record_pages *p = r->log;
	const u32 id = (u32)msg->num[1];
	struct ram ram = {
		.id = id,
		.gpa = msg->num[3],
		.size = msg->num[4],
		.hva = msg->num[5],
		.readonly = msg->num[2] & 2, /* KVM_MEM_READONLY */
	};
	size_t i = 0;

	if (msg->num[0]) /* SMM's */
		return;
	if ((ram.gpa | ram.size | ram.hva) & (PAGE - 1) || ram.gpa + ram.size < ram.gpa ||
	    ram.hva + ram.size < ram.hva)
		return;
	while (i < p->nram && p->ram[i].id != id)
		i++;
	if (i < p->nram) {
		if (p->ram[i].gpa == ram.gpa && p->ram[i].size == ram.size)
			return; /* other flags */
		if (p->begun)
			cover_slot(r, t_ns, &p->ram[i], false);
		p->ram[i] = p->ram[--p->nram];
	}
	if (!ram.size)
		return;
	if (p->nram == RECORD_SLOTS) {
		record_say("more than %u memory slots: memory at 0x%llx is not followed",
			   RECORD_SLOTS, (unsigned long long)ram.gpa);
		return;
	}
	p->ram[p->nram++] = ram;
	if (p->begun)
		cover_slot(r, t_ns, &ram, true);
	/* ROM is not logged, and must be looked at now; what is RAM comes with the next harvest,
	 * all of it. */
	if (p->begun && ram.readonly && !p->failed) {
		int err = run_add(r, ram.hva, ram.size / PAGE, VERSION_HOW_MAP);

		err = err ? err : flush(r);
		if (err)
			give_up(r, err);
	}
}

/* --- epochs --- */

static void compared_put(struct record *r, u64 t_ns)
{
	struct record_pages *p = r->log;
	struct event_compared ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_compared, .vcpu = VCPU_NONE},
		.t0_ns = p->exact_ns,
	};

	for (size_t i = 0; i < p->nram; i++)
		if (p->ram[i].gpa + p->ram[i].size > ev.size)
			ev.size = p->ram[i].gpa + p->ram[i].size;
	record_take(r, &ev.h);
	p->exact_ns = t_ns;
}

/* Nobody runs. Everything is as it was found from now on. */
static void exact_pass(struct record *r, u8 how)
{
	const int err = r->log->failed ? 0 : pass(r, how);

	if (err)
		give_up(r, err);
	else if (!r->log->failed)
		compared_put(r, record_now(r));
}

void record_pages_start(struct record *r)
{
	struct record_pages *p = r->log;

	if (p->begun || r->over)
		return;
	for (size_t i = 0; i < p->nram; i++)
		cover_slot(r, record_now(r), &p->ram[i], true);
	exact_pass(r, VERSION_HOW_PASS);
	p->begun = true;
	p->log_ns = p->next_log_ns = record_now(r);
}

/* The pages of a word of the set. */
static int word_take(struct record *r, u64 hva, u64 word)
{
	int err = 0;

	while (word && !err) {
		const u32 first = (u32)__builtin_ctzll(word);
		const u64 rest = ~(word >> first);
		const u32 n = rest ? (u32)__builtin_ctzll(rest) : 64;

		err = run_add(r, hva + (u64)first * PAGE, n, VERSION_HOW_LOG);
		word = n + first >= 64 ? 0 : word >> (first + n) << (first + n);
	}
	return err;
}

/* The VMM can write to the memory at any time: each number is read once, and checked. */
static int set_take(struct record *r, struct agent_pages *shared, u32 set)
{
	u64 nblocks = __atomic_load_n(&shared->nblocks, __ATOMIC_ACQUIRE);
	int err = 0;

	for (u64 i = 0; i < nblocks && i < AGENT_BLOCKS; i++) {
		const struct agent_block b = {
			__atomic_load_n(&shared->block[i].hva, __ATOMIC_RELAXED),
			__atomic_load_n(&shared->block[i].npages, __ATOMIC_RELAXED),
			__atomic_load_n(&shared->block[i].first, __ATOMIC_RELAXED),
		};
		if (b.npages > AGENT_PAGES || b.first > AGENT_PAGES - b.npages ||
		    (b.hva & (PAGE - 1)) || b.hva + b.npages * PAGE < b.hva)
			return -EBADMSG;
		for (u64 page = 0; page < b.npages;) {
			const u64 bit = b.first + page, in = bit % 64;
			const u64 n = 64 - in < b.npages - page ? 64 - in : b.npages - page;
			const u64 mask = (n == 64 ? ~0ull : (1ull << n) - 1) << in;
			u64 *at = &shared->bits[set][bit / 64];
			const u64 word = __atomic_load_n(at, __ATOMIC_RELAXED) & mask;

			if (word) {
				__atomic_fetch_and(at, ~mask, __ATOMIC_RELAXED);
				if (!err)
					err = word_take(r, b.hva + (page - in) * PAGE, word);
			}
			page += n;
		}
	}
	return err ? err : flush(r);
}

void record_pages_harvested(struct record *r, const struct agent_msg *msg)
{
	struct record_pages *p = r->log;
	struct agent_pages *shared = link_pages(r->link);
	int err;

	p->asked = false;
	p->held = msg->num[3];
	p->epochs++;
	p->log_ns = p->next_log_ns;
	p->next_log_ns = from_start(r, msg->num[0]);
	if (!p->begun || p->failed || r->over)
		return;
	const u64 t0_ns = record_now(r);
	/* What devices wrote, as far as it is told. */
	record_drain(r);
	err = set_take(r, shared, msg->num[2] & 1);
	if (!err)
		err = devices_take(r, t0_ns);
	if (!err && p->device_more)
		err = pass(r, VERSION_HOW_DEVICE);
	p->device_more = false;
	if (err)
		give_up(r, err);
}

void record_pages_step(struct record *r, u64 now_ns)
{
	struct record_pages *p = r->log;

	if (!p->begun || p->asked || p->failed || now_ns < p->due_ns)
		return;
	p->due_ns = now_ns + p->epoch_ns;
	p->asked = !link_send(r->link, AGENT_HARVEST, 0, 0, WHY_NONE);
}

/* Stops the vCPUs, and copies all there is. What keeps them from stopping is said. */
static void stand_still(struct record *r)
{
	struct record_pages *p = r->log;
	const u64 until_ns = record_now(r) + HOLD_NS;

	/* The answer to one that was asked before comes first. */
	for (int i = 0; i < 2 && !p->held; i++) {
		if (!p->asked)
			p->asked = !link_send(r->link, AGENT_HARVEST, 1, 0, WHY_NONE);
		while (p->asked && link_pid(r->link) && record_now(r) < until_ns) {
			struct pollfd fd = {.fd = link_fd(r->link), .events = POLLIN};

			poll(&fd, 1, 100);
			link_beat(r->link);
			record_agent_messages(r);
		}
	}
	if (p->held)
		exact_pass(r, VERSION_HOW_LOG);
	else if (link_pid(r->link))
		record_say("the vCPUs did not stop: memory is as of several moments");
}

static void go_on(struct record *r)
{
	if (r->log->held)
		link_send(r->link, AGENT_RESUME, 0, 0, WHY_NONE);
	r->log->held = false;
}

void record_pages_armed(struct record *r)
{
	if (r->log->begun)
		return;
	stand_still(r);
	for (size_t i = 0; i < r->log->nram; i++)
		cover_slot(r, record_now(r), &r->log->ram[i], true);
	r->log->begun = true;
	go_on(r);
}

void record_pages_mark(struct record *r)
{
	struct event_mark ev = {.h = {.kind = EVENT_mark, .vcpu = VCPU_NONE}};
	struct record_pages *p = r->log;

	if (!p->begun || r->over)
		return;
	stand_still(r);
	ev.h.t_ns = record_now(r);
	ev.name_len = (u8)snprintf((char *)ev.name, sizeof(ev.name), "mark-%u", ++p->marks);
	record_take(r, &ev.h);
	go_on(r);
	record_say("mark-%u at %.6f s", p->marks, (double)ev.h.t_ns / 1e9);
}

void record_pages_until(struct record *r)
{
	if (r->log->begun)
		stand_still(r);
}

void record_pages_end(struct record *r)
{
	if (r->log->begun && !r->over)
		exact_pass(r, VERSION_HOW_LOG);
}

void record_pages_summary(const struct record *r)
{
	const struct record_pages *p = r->log;

	record_say("%" PRIu64 " versions of pages in %" PRIu64 " epochs; %" PRIu64
		   " pages were copied",
		   p->versions, p->epochs, p->copied);
}
