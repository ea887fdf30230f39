// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the agent says, as events: what is watched from when until when, and looks at it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "user/elfsym.h"
#include "user/privileges.h"
#include "user/record_state.h"

#define ANSWER_NS 2000000000ull

static void cover(struct record *r, u64 t_ns, enum origin origin, bool on, enum why why, u64 gpa,
		  u64 size)
{
	struct event_cover ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_cover, .vcpu = VCPU_NONE},
		.origin = origin,
		.on = on,
		.why = on ? WHY_NONE : why,
		.gpa = gpa,
		.size = size,
	};

	record_take(r, &ev.h);
}

/* Devices and the VMM itself write by the same functions. */
bool record_covers_vmm(const struct record *r)
{
	return r->log && source_bpf_covers(r->bpf, ORIGIN_DMA) &&
	       source_bpf_covers(r->bpf, ORIGIN_VMM);
}

void record_cover_devices(struct record *r)
{
	cover(r, record_now(r), ORIGIN_VIRTQUEUE, source_bpf_covers(r->bpf, ORIGIN_VIRTQUEUE),
	      WHY_NO_PROBE, 0, 0);
	if (!r->log)
		return;
	/* Elsewhere their writes are not looked for, if told of. */
	cover(r, record_now(r), ORIGIN_DMA, record_covers_vmm(r), WHY_NO_PROBE, 0, 0);
	cover(r, record_now(r), ORIGIN_VMM, record_covers_vmm(r), WHY_NO_PROBE, 0, 0);
}

/* The part of [gpa,gpa+size) that lies in the i-th range asked for; false when none does. */
static bool asked_part(const struct record *r, size_t i, u64 gpa, u64 size, u64 *from, u64 *to)
{
	const struct gpa_range *asked = &r->opts->asked[i];

	*from = asked->gpa > gpa ? asked->gpa : gpa;
	*to = asked->end < gpa + size ? asked->end : gpa + size;
	return *from < *to;
}

static void cover_asked(struct record *r, u64 t_ns, bool on, enum why why, u64 gpa, u64 size)
{
	u64 from, to;

	for (size_t i = 0; i < r->opts->nasked; i++)
		if (asked_part(r, i, gpa, size, &from, &to))
			cover(r, t_ns, ORIGIN_VCPU, on, why, from, to - from);
}

/* Each page as of its own moment: the guest may be running. */
static void look(struct record *r, u64 gpa, u64 size, enum content_why why)
{
	u64 from, to, next;

	for (size_t i = 0; i < r->opts->nasked; i++) {
		if (!asked_part(r, i, gpa, size, &from, &to))
			continue;
		for (; from < to; from = next) {
			next = (from | 0xfff) + 1 < to ? (from | 0xfff) + 1 : to;
			guestram_look(&r->looked, from, next, record_now(r), why, record_take, r);
		}
	}
}

/* Whether other memory lay there when it was looked at. */
static bool replaced(const struct record *r, u64 gpa, u64 size, u64 hva)
{
	for (size_t i = 0; i < r->looked.n; i++) {
		const struct guestram_part *p = &r->looked.part[i];

		if (gpa < p->gpa + p->size && p->gpa < gpa + size && hva - gpa != p->hva - p->gpa)
			return true;
	}
	return false;
}

/* Content fills in what was there before the first store. Memory that was looked at before and only
 * left the guest's address space for a while is not looked at again. */
static void look_first(struct record *r, u64 gpa, u64 size, u64 hva)
{
	for (size_t i = 0; i < r->looked.n; i++) {
		const struct guestram_part *p = &r->looked.part[i];

		if (gpa - p->gpa < p->size && gpa + size <= p->gpa + p->size &&
		    hva == p->hva + (gpa - p->gpa))
			return;
	}
	if (size > r->look_left)
		return;
	r->look_left -= size;
	guestram_map(&r->looked, gpa, size, hva);
	look(r, gpa, size, CONTENT_WHY_START);
}

void record_look(struct record *r, enum content_why why)
{
	for (size_t k = 0; k < r->looked.n; k++)
		look(r, r->looked.part[k].gpa, r->looked.part[k].size, why);
}

static void armed(struct record *r, const struct agent_msg *msg, u64 t_ns)
{
	bool seen = source_bpf_covers(r->bpf, ORIGIN_VCPU);

	r->armed_once = true;
	guestram_map(&r->armed, msg->num[0], msg->num[1], msg->num[2]);
	/* What was stored to the memory before it is no answer any more. */
	if (replaced(r, msg->num[0], msg->num[1], msg->num[2]))
		cover_asked(r, t_ns, false, WHY_NOT_WATCHED, msg->num[0], msg->num[1]);
	cover_asked(r, t_ns, seen, WHY_NO_PROBE, msg->num[0], msg->num[1]);
	look_first(r, msg->num[0], msg->num[1], msg->num[2]);
}

static void opened(struct record *r, const struct agent_msg *msg, u64 t_ns)
{
	enum why why = msg->num[2] < WHY_MAX ? msg->num[2] : WHY_NONE;

	guestram_unmap(&r->armed, msg->num[0], msg->num[1]);
	cover_asked(r, t_ns, false, why, msg->num[0], msg->num[1]);
	r->opened_bytes[why] += msg->num[1];
}

static void changed(struct record *r, const struct agent_msg *msg, u64 t_ns)
{
	struct event_change ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_change, .vcpu = VCPU_NONE},
		.what = msg->num[0],
		.gpa = msg->num[1],
		.size = msg->num[2],
		.count = msg->num[3],
	};

	if (msg->num[0] < sizeof(r->changes) / sizeof(r->changes[0]))
		r->changes[msg->num[0]] += msg->num[3];
	record_take(r, &ev.h);
}

/* The process makes a VM now and waits for us: attach before its devices exist. */
static void hello(struct record *r, const struct agent_msg *msg, u64 t_ns)
{
	struct event_vm ev = {.h = {.t_ns = t_ns, .kind = EVENT_vm, .vcpu = VCPU_NONE}};
	char exe[64], path[4096], id[130];
	ssize_t n;
	int err;

	(void)msg;
	if (r->vmm) {
		/* Nothing probes it, and its memory is not that of the first. */
		record_say("process %d makes a second virtual machine, which is not recorded",
			   (int)link_pid(r->link));
		link_refuse(r->link);
		return;
	}
	r->vmm = link_pid(r->link);
	link_arm(r->link, r->from_hit && !r->over);
	if (r->over)
		return; /* --until came before there was a VM */
	snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)r->vmm);
	err = source_bpf_track(r->bpf, r->vmm);
	if (!err)
		err = source_bpf_attach_vmm(r->bpf, r->vmm, exe);
	if (err)
		record_say("cannot probe the VMM's executable: %s", strerror(-err));
	r->ram.mem_fd = r->looked.mem_fd = guestram_open(r->vmm, link_uid(r->link));
	if (r->ram.mem_fd < 0)
		record_say("cannot read the VMM's memory: %s", strerror(-r->ram.mem_fd));
	n = readlink(exe, path, sizeof(path) - 1);
	if (n > 0) {
		path[n] = '\0';
		writer_meta(r->writer, "vmm.exe", path);
	}
	if (!elfsym_build_id(exe, id, sizeof(id)) && id[0])
		writer_meta(r->writer, "vmm.build_id", id);
	if (r->log)
		record_pages_vmm(r);
	privileges_keep(r->log ? PRIVILEGES_READ : PRIVILEGES_SIGNAL);
	ev.pid = r->vmm;
	ev.vm = r->opts->vm;
	record_take(r, &ev.h);
	record_vhost_begin(r);
	if (r->from_hit)
		record_cover_devices(r);
}

static void message(struct record *r, const struct agent_msg *msg)
{
	u64 t_ns = msg->t_ns > r->start_ns ? msg->t_ns - r->start_ns : 0;

	switch ((enum agent_type)msg->type) {
	case AGENT_HELLO:
		hello(r, msg, t_ns);
		break;
	case AGENT_ARMED:
		armed(r, msg, t_ns);
		break;
	case AGENT_OPENED:
		opened(r, msg, t_ns);
		break;
	case AGENT_STEPPED:
		record_stepped(r, msg, t_ns);
		break;
	case AGENT_CHANGE:
		changed(r, msg, t_ns);
		break;
	case AGENT_SLOT:
		if (r->log)
			record_pages_slot(r, msg, t_ns);
		break;
	case AGENT_STARTING:
		if (r->log)
			record_pages_start(r, t_ns);
		link_send(r->link, AGENT_OK, AGENT_STARTING, 0, WHY_NONE);
		break;
	case AGENT_HARVESTED:
		if (r->log)
			record_pages_harvested(r, msg);
		break;
	case AGENT_VCPU:
		r->vcpu_ran = true;
		break;
	case AGENT_REFUSED:
		record_say("%s", msg->text);
		r->refused |= !r->vcpu_ran;
		cover_asked(r, t_ns, false, msg->num[0] < WHY_MAX ? msg->num[0] : WHY_NONE, 0,
			    UINT64_MAX);
		break;
	case AGENT_LACKS:
		record_say("%s", msg->text);
		if (r->writer)
			writer_meta(r->writer, "host.lacks", msg->text);
		break;
	case AGENT_ENDING:
		/* Guest RAM is still there, and nobody runs. */
		record_drain(r);
		record_vhost_look(r);
		if (!r->over && r->from_hit)
			record_look(r, CONTENT_WHY_END);
		if (r->log)
			record_pages_end(r);
		link_send(r->link, AGENT_OK, 0, 0, WHY_NONE);
		break;
	case AGENT_OK:
		r->ready_type = msg->num[0];
		break;
	default:
		break;
	}
}

void record_agent_messages(struct record *r)
{
	const struct agent_shared *shared = link_shared(r->link);
	const u64 now_ns = record_now(r);
	struct agent_msg msg;
	u64 unsent;

	while (link_receive(r->link, &msg) == LINK_MSG)
		message(r, &msg);
	unsent = __atomic_load_n(&shared->unsent, __ATOMIC_RELAXED);
	if (unsent != r->unsent && !r->over) {
		/* What it could not say may have been that a page was opened, and when. */
		r->unsent = unsent;
		cover(r, r->heard_ns, ORIGIN_VCPU, false, WHY_NO_AGENT, 0, 0);
	}
	r->heard_ns = now_ns;
}

void record_agent_command(struct record *r, enum agent_type type)
{
	u64 end_ns = record_now(r) + ANSWER_NS;

	r->ready_type = 0;
	if (link_send(r->link, type, 0, 0, WHY_NONE))
		return;
	while (r->ready_type != (int)type && record_now(r) < end_ns && link_pid(r->link)) {
		struct pollfd fd = {.fd = link_fd(r->link), .events = POLLIN};

		poll(&fd, 1, 100);
		link_beat(r->link);
		record_agent_messages(r);
	}
}
