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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/record_pages.h"
#include "user/vfio.h"

#define HOLD_NS	 2000000000ull
#define DRAIN_NS 500000000ull
#define VFIO_NS	 1000000000ull

/* Bytes; 0 when it cannot be told. */
static u64 memory_available(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && !kib && fgets(line, sizeof(line), f))
		sscanf(line, "MemAvailable: %llu kB", &kib);
	if (f)
		fclose(f);
	return kib << 10;
}

static u64 from_start(const struct record *r, u64 t_ns)
{
	return t_ns > r->start_ns ? t_ns - r->start_ns : 0;
}

int record_pages_open(struct record *r)
{
	struct record_pages *p = calloc(1, sizeof(*p));

	if (!p || regions_open(&p->copies, REGION_BYTES / PAGE * sizeof(struct page_state))) {
		free(p);
		return -ENOMEM;
	}
	p->memory.pagemap = p->memory.file = -1;
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

/* --- slots --- */

static void cover_slot(struct record *r, u64 t_ns, const struct ram *ram, bool on, enum why why)
{
	static const enum origin origins[] = {ORIGIN_VCPU, ORIGIN_KVM, ORIGIN_MAP};

	for (size_t i = 0; i < 3; i++) {
		struct event_cover ev = {
			.h = {.t_ns = t_ns, .kind = EVENT_cover, .vcpu = VCPU_NONE},
			.origin = origins[i],
			.on = on,
			.why = why,
			.gpa = ram->gpa,
			.size = ram->size,
		};
		record_take(r, &ev.h);
	}
}

/* What is there of a slot is not any more. False when it is the same, with other flags. */
static bool slot_gone(struct record *r, const struct ram *now, u64 t_ns)
{
	struct record_pages *p = r->log;

	for (size_t i = 0; i < p->nram;) {
		if (p->ram[i].id != now->id) {
			i++;
			continue;
		}
		if (p->ram[i].slot_gpa == now->slot_gpa && p->ram[i].slot_size == now->slot_size)
			return false;
		if (p->begun)
			cover_slot(r, t_ns, &p->ram[i], false, WHY_NO_RAM);
		p->ram[i] = p->ram[--p->nram];
	}
	return true;
}

/* ROM is not logged, and must be looked at now; what is RAM comes with the next harvest, all of it.
 */
static void part_add(struct record *r, const struct ram *ram, u64 t_ns)
{
	struct record_pages *p = r->log;

	if (p->nram == RECORD_SLOTS) {
		record_say("more than %u memory slots: memory at 0x%llx is not followed",
			   RECORD_SLOTS, (unsigned long long)ram->gpa);
		return;
	}
	p->ram[p->nram++] = *ram;
	if (p->begun)
		cover_slot(r, t_ns, ram, true, WHY_NONE);
	if (p->begun && ram->readonly && !p->failed) {
		int err = copies_add_run(r, ram->hva, ram->size / PAGE, VERSION_HOW_MAP);

		err = err ? err : copies_flush(r);
		if (err)
			give_up(r, err);
	}
}

void record_pages_slot(struct record *r, const struct agent_msg *msg, u64 t_ns)
{
	static const struct gpa_range all = {0, UINT64_MAX};
	const struct gpa_range *range = r->opts->nram ? r->opts->ram : &all;
	const size_t n = r->opts->nram ? r->opts->nram : 1;
	const struct ram slot = {
		.id = (u32)msg->num[1],
		.slot_gpa = msg->num[3],
		.slot_size = msg->num[4],
		.hva = msg->num[5],
		.readonly = msg->num[2] & 2, /* KVM_MEM_READONLY */
	};
	const u64 end = slot.slot_gpa + slot.slot_size;

	if (msg->num[0]) /* SMM's */
		return;
	if ((slot.slot_gpa | slot.slot_size | slot.hva) & (PAGE - 1) || end < slot.slot_gpa ||
	    slot.hva + slot.slot_size < slot.hva)
		return;
	if (!slot_gone(r, &slot, t_ns))
		return;
	r->log->scrub.whole_ns = r->log->scrub.turn_ns = 0;
	for (size_t i = 0; i < n && slot.slot_size; i++) {
		const u64 from = range[i].gpa > slot.slot_gpa ? range[i].gpa : slot.slot_gpa;
		const u64 to = range[i].end < end ? range[i].end : end;
		struct ram part = slot;

		if (from >= to)
			continue;
		part.gpa = from;
		part.size = to - from;
		part.hva = slot.hva + (from - slot.slot_gpa);
		part_add(r, &part, t_ns);
	}
}

/* Whether there is room for a copy of every page; else the VM ends before it began. */
static bool fits(struct record *r)
{
	const struct record_pages *p = r->log;
	const u64 max = r->opts->shadow_max ? r->opts->shadow_max : memory_available();
	u64 need = 0;

	for (size_t i = 0; i < p->nram; i++)
		need += p->ram[i].size / PAGE * (PAGE + sizeof(struct page_state));
	if (need <= max || !max)
		return true;
	record_say("copies of the guest's memory may take %.1f MiB, more than the %.1f MiB %s; "
		   "--ram RANGE records a part of it",
		   (double)need / (1 << 20), (double)max / (1 << 20),
		   r->opts->shadow_max ? "of --shadow-max" : "that are available");
	r->refused = true;
	r->log->failed = true;
	kill(r->vmm, SIGKILL);
	return false;
}

/* --- epochs --- */

static void compared_put(struct record *r, u64 t_ns)
{
	struct record_pages *p = r->log;
	struct event_compared ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_compared, .vcpu = VCPU_NONE},
		.t0_ns = p->exact_ns,
	};

	p->exact_ns = t_ns;
	for (size_t i = 0; i < r->opts->nram; i++) {
		ev.gpa = r->opts->ram[i].gpa;
		ev.size = r->opts->ram[i].end - ev.gpa;
		record_take(r, &ev.h);
	}
	if (r->opts->nram)
		return;
	for (size_t i = 0; i < p->nram; i++)
		if (p->ram[i].gpa + p->ram[i].size > ev.size)
			ev.size = p->ram[i].gpa + p->ram[i].size;
	record_take(r, &ev.h);
}

/* All of memory. False when nothing is known of it any more. */
static bool copy_all(struct record *r, u8 how)
{
	int err = 0;

	/* Copies are to be as of now. */
	record_drain(r);
	record_flush(r, record_now(r));
	if (!r->log->failed)
		err = copies_pass(r, how);
	if (!err && !r->log->failed)
		err = scrub_settle(r);
	if (err)
		give_up(r, err);
	return !r->log->failed;
}

/* Nobody runs. Everything is as it was found from now on. */
static void exact_pass(struct record *r, u8 how)
{
	if (copy_all(r, how))
		compared_put(r, record_now(r));
}

void record_pages_start(struct record *r, u64 asked_ns)
{
	struct record_pages *p = r->log;
	const u64 since_ns = record_now(r);

	if (p->begun || r->over || !fits(r) || !copy_all(r, VERSION_HOW_PASS))
		return;
	if (record_now(r) >= asked_ns + AGENT_START_NS) {
		record_say("to copy the guest's memory took %.1f s, and it began meanwhile: what "
			   "was stored until now is not known",
			   (double)(record_now(r) - asked_ns) / 1e9);
		p->late = r->arm_due = true;
		return;
	}
	compared_put(r, record_now(r));
	for (size_t i = 0; i < p->nram; i++)
		cover_slot(r, since_ns, &p->ram[i], true, WHY_NONE);
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

		err = copies_add_run(r, hva + (u64)first * PAGE, n, VERSION_HOW_LOG);
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
	return err ? err : copies_flush(r);
}

/* The end of the block that holds hva; hva when none does. */
static u64 block_end(const struct agent_pages *shared, u64 hva)
{
	const u64 nblocks = __atomic_load_n(&shared->nblocks, __ATOMIC_ACQUIRE);

	for (u64 i = 0; i < nblocks && i < AGENT_BLOCKS; i++) {
		const u64 start = __atomic_load_n(&shared->block[i].hva, __ATOMIC_RELAXED);
		const u64 size = __atomic_load_n(&shared->block[i].npages, __ATOMIC_RELAXED) * PAGE;

		if (hva - start < size && start + size > hva)
			return start + size;
	}
	return hva;
}

static bool followed(const struct agent_pages *shared, const struct ram *ram)
{
	const u64 end = ram->hva + ram->size;
	u64 at = ram->hva;

	for (unsigned n = 0; at < end && n < AGENT_BLOCKS; n++)
		at = block_end(shared, at);
	return at >= end || ram->readonly;
}

/* The guest has more memory than the agent has bits for: what vCPUs store to the rest is not known.
 */
static void look_beyond(struct record *r, const struct agent_pages *shared)
{
	struct record_pages *p = r->log;
	const u64 beyond = __atomic_load_n(&shared->beyond, __ATOMIC_RELAXED);

	for (size_t i = 0; i < p->nram && beyond != p->beyond; i++) {
		if (p->ram[i].left_out || followed(shared, &p->ram[i]))
			continue;
		p->ram[i].left_out = true;
		record_say("memory at 0x%" PRIx64 " is more than can be followed (%u GiB in %u "
			   "slots): the vCPUs' stores to it are not known",
			   p->ram[i].gpa, (unsigned)(AGENT_PAGES >> 18), AGENT_BLOCKS);
		cover_slot(r, record_now(r), &p->ram[i], false, WHY_NOT_WATCHED);
	}
	p->beyond = beyond;
}

void record_pages_harvested(struct record *r, const struct agent_msg *msg)
{
	struct record_pages *p = r->log;
	struct agent_pages *shared = link_pages(r->link);
	int err;

	p->asked = false;
	p->held = msg->num[2];
	p->epochs++;
	p->log_ns = p->next_log_ns;
	p->next_log_ns = from_start(r, msg->num[0]);
	if (!p->begun || p->failed || p->ended || r->over)
		return;
	const u64 t0_ns = record_now(r);
	/* What devices wrote, as far as it is told. */
	record_drain(r);
	look_beyond(r, shared);
	err = set_take(r, shared, msg->num[1] & 1);
	if (!err)
		err = copies_devices(r, t0_ns);
	if (!err)
		err = scrub_step(r);
	if (err)
		give_up(r, err);
}

/* Hardware that the guest drives itself writes past all probes. It may come later (hotplug). */
static void look_for_vfio(struct record *r, u64 now_ns)
{
	struct record_pages *p = r->log;
	const struct event_cover ev = {
		.h = {.t_ns = now_ns, .kind = EVENT_cover, .vcpu = VCPU_NONE},
		.origin = ORIGIN_DMA,
		.why = WHY_VFIO,
	};

	if (p->vfio || now_ns < p->vfio_due_ns)
		return;
	p->vfio_due_ns = now_ns + VFIO_NS;
	p->vfio = vfio_used(r->vmm);
	if (!p->vfio)
		return;
	record_say("the VMM uses VFIO: what such a device writes is not seen");
	record_take(r, &ev.h);
}

void record_pages_step(struct record *r, u64 now_ns)
{
	struct record_pages *p = r->log;

	if (p->begun && !p->ended)
		look_for_vfio(r, now_ns);
	if (!p->begun || p->asked || p->failed || p->ended || now_ns < p->due_ns)
		return;
	p->due_ns = now_ns + p->epoch_ns;
	p->asked = !link_send(r->link, AGENT_HARVEST, 0, 0, WHY_NONE);
}

/* The answer to one that was asked before comes first. */
static void ask_to_hold(struct record *r)
{
	struct record_pages *p = r->log;
	const u64 until_ns = record_now(r) + HOLD_NS;

	for (int i = 0; i < 2 && !p->held && !p->ended; i++) {
		if (!p->asked)
			p->asked = !link_send(r->link, AGENT_HARVEST, 1, 0, WHY_NONE);
		while (p->asked && !p->ended && link_pid(r->link) && record_now(r) < until_ns) {
			struct pollfd fd = {.fd = link_fd(r->link), .events = POLLIN};

			poll(&fd, 1, 100);
			link_beat(r->link);
			record_agent_messages(r);
		}
	}
}

/* What devices have begun comes to its end while the vCPUs stand still, and is in what is known
 * then.
 */
static void io_wait(struct record *r)
{
	const u64 until_ns = record_now(r) + DRAIN_NS;
	u64 n;

	for (;;) {
		record_drain(r);
		n = flights_open(&r->log->flights);
		if (!n || record_now(r) >= until_ns)
			break;
		poll(NULL, 0, 1);
		link_beat(r->link);
	}
	if (n)
		record_say("%" PRIu64 " transfers of devices are still under way: what they write "
			   "to may change yet",
			   n);
}

bool record_pages_stop(struct record *r)
{
	struct record_pages *p = r->log;

	if (!p->begun || p->failed || r->over)
		return false;
	ask_to_hold(r);
	/* The VMM came to its end meanwhile: all was compared then, and has not changed since. */
	if (p->ended)
		return !p->failed;
	if (p->held) {
		io_wait(r);
		exact_pass(r, VERSION_HOW_SCRUB);
	} else if (link_pid(r->link)) {
		record_say("the vCPUs did not stop: memory is as of several moments");
	}
	return p->held && !p->failed;
}

u64 record_pages_exact_ns(const struct record *r)
{
	return r->log->exact_ns;
}

void record_pages_go_on(struct record *r)
{
	if (r->log->held)
		link_send(r->link, AGENT_RESUME, 0, 0, WHY_NONE);
	r->log->held = false;
}

void record_pages_armed(struct record *r)
{
	struct record_pages *p = r->log;

	if (p->begun)
		return;
	ask_to_hold(r);
	/* What is found now is what was there when it began to be observed, not before. */
	const u64 since_ns = record_now(r);
	if (p->held)
		exact_pass(r, VERSION_HOW_PASS);
	for (size_t i = 0; i < p->nram; i++)
		cover_slot(r, since_ns, &p->ram[i], true, WHY_NONE);
	p->begun = true;
	record_pages_go_on(r);
}

void record_pages_end(struct record *r)
{
	struct record_pages *p = r->log;

	if (!p->begun || r->over)
		return;
	/* The log was read just now, unless the agent does not do that. */
	p->ending = true;
	exact_pass(r, VERSION_HOW_SCRUB);
	p->ended = true;
}

void record_pages_summary(const struct record *r)
{
	const struct record_pages *p = r->log;

	record_say("%" PRIu64 " versions of pages in %" PRIu64 " epochs, %" PRIu64
		   " of them not of one moment; %" PRIu64 " pages were copied",
		   p->versions, p->epochs, p->torn, p->copied);
	if (!p->scrub.nsilent)
		return;
	record_say("%" PRIu64 " changes of pages that nobody was seen to make:", p->scrub.nsilent);
	for (u64 i = 0; i < p->scrub.nsilent && i < SILENT_TOLD; i++)
		record_say("  vmblame history %s 0x%" PRIx64 "+4096", r->opts->out_path,
			   p->scrub.silent[i]);
}
