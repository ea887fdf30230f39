// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Instructions that the agent ran with their pages open, as stores: the bytes that the instruction
 * is known to write, and whatever else was found changed.
 */
#include <string.h>

#include "user/insn.h"
#include "user/record_state.h"

static void emit(struct record *r, const struct agent_stepped *what, u64 t_ns, unsigned at,
		 unsigned len)
{
	struct event_mmio ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_mmio, .vcpu = (u16)what->vcpu},
		.gpa = what->gpa + at,
		.len = (u8)len,
		.write = 1,
		.done = MMIO_DONE_STEPPED,
		.rip = what->rip,
		.cs_base = what->cs_base,
		.cr3 = what->cr3,
		.rsp = what->rsp,
		.rbp = what->rbp,
		.cpl = what->cpl,
		.mode = what->mode,
		.insn_len = what->insn_len,
	};

	memcpy(ev.bytes, what->bytes + at, len);
	memcpy(ev.insn, what->insn, what->insn_len);
	record_take(r, &ev.h);
}

/* The bytes of one event that belong to a range asked for. */
static void emit_asked(struct record *r, const struct agent_stepped *what, u64 t_ns, unsigned at,
		       unsigned len)
{
	const u64 gpa = what->gpa + at, end = gpa + len;

	for (size_t i = 0; i < r->opts->nasked; i++)
		if (r->opts->asked[i].gpa < end && r->opts->asked[i].end > gpa) {
			emit(r, what, t_ns, at, len);
			return;
		}
}

static bool stored(const struct agent_stepped *what, unsigned at)
{
	return what->changed[at / 8] >> at % 8 & 1 ||
	       (what->operand &&
		insn_operand_stores(what->mode, what->insn, what->insn_len, what->offset + at));
}

void record_stepped(struct record *r, const struct agent_msg *msg, u64 t_ns)
{
	struct agent_stepped what;

	memcpy(&what, msg->text, sizeof(what));
	if (what.len > sizeof(what.bytes) || what.insn_len > sizeof(what.insn))
		return;
	for (unsigned at = 0; at < what.len;) {
		unsigned n = 0;

		while (at + n < what.len && n < sizeof(((struct event_mmio *)0)->bytes) &&
		       stored(&what, at + n))
			n++;
		if (n)
			emit_asked(r, &what, t_ns, at, n);
		at += n ? n : 1;
	}
}
