// SPDX-License-Identifier: GPL-2.0-or-later
/* Opens pages, runs one instruction, tells what it changed, closes the pages. */
#include "agent_step.h"

#include "agent_insn.h"
#include "agent_sys.h"
#include "agent_tables.h"

#include <string.h>
#include <sys/mman.h>

#define COPY_BYTES    (4u << 20) /* of watched memory, where the operand is not known */
#define COPY_PARTS    256
#define STEP_WAIT_NS  1000000000ull
#define STUCK_LOOKS   2
#define RAN_ON	      2
#define DR7_EXECUTE_0 0x402 /* global, exact; on execution of one byte */
#define EFER_LMA      (1ull << 10)
#define VECTOR_UD     6

/* Older kernel headers lack it (Linux 5.15, commit 61e5f69ef083). */
#ifndef KVM_GUESTDBG_BLOCKIRQ
#define KVM_GUESTDBG_BLOCKIRQ 0x00100000
#endif

struct part {
	u64 gpa, hva;
	u32 size;
	u32 at;	    /* in the copy */
	u32 offset; /* from the operand's start, where that is known */
};

struct step {
	struct vcpu *v;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	u8 insn[15];
	u32 insn_len;
	bool known; /* the operand is */
	struct insn_operand operand;
	struct part part[COPY_PARTS];
	u32 nparts, bytes;
	bool full; /* there was more */
	u8 *copy;
};

static u64 linear_gpa(const struct step *st, u64 linear)
{
	struct kvm_translation tr = {.linear_address = linear};

	if (kvm_call(st->v->fd, KVM_TRANSLATE, &tr) || !tr.valid)
		return ~0ull;
	return tr.physical_address;
}

/* The bytes of the instruction: as KVM fetched them, or from guest memory. */
static void fetch(struct agent *a, struct step *st)
{
	u64 linear = st->regs.rip + st->sregs.cs.base;

	while (st->insn_len < sizeof(st->insn)) {
		u64 gpa = linear_gpa(st, linear + st->insn_len);
		u64 left = SLOTS_PAGE - (linear + st->insn_len) % SLOTS_PAGE;
		u64 n = sizeof(st->insn) - st->insn_len, hva;

		if (gpa == ~0ull)
			return;
		n = n < left ? n : left;
		hva = slots_hva(&a->slots, gpa, n);
		if (!hva)
			return;
		memcpy(st->insn + st->insn_len, (void *)hva, n);
		st->insn_len += (u32)n;
	}
}

static void part_add(void *arg, u64 gpa, u64 size, u64 hva)
{
	struct step *st = arg;

	if (st->nparts == COPY_PARTS || size > COPY_BYTES - st->bytes) {
		st->full = true;
		return;
	}
	st->part[st->nparts++] = (struct part){gpa, hva, (u32)size, st->bytes, 0};
	st->bytes += (u32)size;
}

/* The watched bytes that the operand may touch. */
static void operand_parts(struct agent *a, struct step *st)
{
	u64 at = st->operand.linear, end = at + st->operand.max;

	while (at < end) {
		u64 n = SLOTS_PAGE - at % SLOTS_PAGE, gpa = linear_gpa(st, at), hva;

		n = n < end - at ? n : end - at;
		hva = gpa == ~0ull ? 0 : slots_armed_hva(&a->slots, gpa, n, NULL);
		if (hva && st->nparts < COPY_PARTS) {
			part_add(st, gpa, n, hva);
			st->part[st->nparts - 1].offset = (u32)(at - st->operand.linear);
		}
		at += n;
	}
}

/* False when the guest could not be read, or the instruction has nothing to do with the watch. */
static bool prepare(struct agent *a, struct vcpu *v, struct step *st)
{
	static u8 *copy;

	*st = (struct step){.v = v};
	if (kvm_call(v->fd, KVM_GET_REGS, &st->regs) || kvm_call(v->fd, KVM_GET_SREGS, &st->sregs))
		return false;
	fetch(a, st);
	if (!copy) {
		void *map = mmap(NULL, COPY_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (map == MAP_FAILED)
			return false;
		copy = map;
	}
	st->copy = copy;
	st->known = insn_operand(st->insn, st->insn_len, &st->regs, &st->sregs, &st->operand);
	return true;
}

static void copy_parts(struct step *st)
{
	for (u32 i = 0; i < st->nparts; i++)
		memcpy(st->copy + st->part[i].at, (void *)st->part[i].hva, st->part[i].size);
}

static u8 mode_of(const struct step *st)
{
	if (!(st->sregs.cr0 & 1))
		return CPU_MODE_REAL;
	if (st->regs.rflags >> 17 & 1)
		return CPU_MODE_VM86;
	if (st->sregs.efer >> 10 & 1 && st->sregs.cs.l)
		return CPU_MODE_PROT64;
	return st->sregs.cs.db ? CPU_MODE_PROT32 : CPU_MODE_PROT16;
}

static u8 cpl_of(const struct step *st)
{
	return mode_of(st) == CPU_MODE_VM86 ? 3 : st->sregs.ss.dpl;
}

static void tell(struct agent *a, const struct step *st, u64 gpa, const u8 *now, const u8 *before,
		 u32 len, bool operand, u32 offset)
{
	static const u64 none[6];
	struct agent_stepped what = {
		.gpa = gpa,
		.rip = st->regs.rip,
		.cs_base = st->sregs.cs.base,
		.cr3 = st->sregs.cr3,
		.rsp = st->regs.rsp,
		.rbp = st->regs.rbp,
		.vcpu = st->v->id,
		.offset = offset,
		.operand = operand,
		.len = (u8)len,
		.cpl = cpl_of(st),
		.mode = mode_of(st),
		.insn_len = (u8)st->insn_len,
	};

	_Static_assert(sizeof(what) <= sizeof(((struct agent_msg *)0)->text), "fits the message");
	memcpy(what.insn, st->insn, st->insn_len);
	memcpy(what.bytes, now, len);
	for (u32 i = 0; i < len; i++)
		what.changed[i / 8] |= (u8)((now[i] != before[i]) << (i % 8));
	agent_link_send_data(&a->link, AGENT_STEPPED, none, &what, sizeof(what));
}

/* All of a short operand, and of anything else what changed. */
static void tell_part(struct agent *a, const struct step *st, const struct part *p)
{
	const u8 *now = (const u8 *)p->hva, *before = st->copy + p->at;
	const u32 most = sizeof(((struct agent_stepped *)0)->bytes);
	/* With EFER.FFXSR, FXSAVE leaves out the XMM registers at times. */
	bool whole = st->known && st->operand.max <= SLOTS_PAGE / 2 && !(st->sregs.efer >> 14 & 1);

	for (u32 at = 0; at < p->size;) {
		u32 n = 0;

		while (!whole && at < p->size && now[at] == before[at])
			at++;
		while (at + n < p->size && n < most && (whole || now[at + n] != before[at + n]))
			n++;
		if (n)
			tell(a, st, p->gpa + at, now + at, before + at, n, whole, p->offset + at);
		at += n;
	}
}

/*
 * INT n clears the trap flag, so the processor would run on, and pushes it with the others, where
 * the guest would see it: it is not stepped, but run up to its handler (linear address). 0: it is
 * something else, or has no handler in the table.
 */
static u64 int_handler(struct agent *a, const struct step *st)
{
	const u32 size = st->sregs.efer & EFER_LMA ? 16 : 8;
	u8 gate[16] = {0}, *at;
	u32 i = 0, vector;
	u64 gpa;

	while (i < st->insn_len && (st->insn[i] == 0x66 || (st->insn[i] & 0xf0) == 0x40))
		i++;
	if (i + 1 >= st->insn_len || !(st->sregs.cr0 & 1))
		return 0;
	if (st->insn[i] == 0xcd)
		vector = st->insn[i + 1];
	else if (st->insn[i] == 0xcc || st->insn[i] == 0xce)
		vector = st->insn[i] == 0xcc ? 3 : 4;
	else
		return 0;
	gpa = linear_gpa(st, st->sregs.idt.base + (u64)vector * size);
	at = gpa == ~0ull ? NULL : (u8 *)slots_hva(&a->slots, gpa, size);
	if (!at || vector * size + size - 1 > st->sregs.idt.limit)
		return 0;
	memcpy(gate, at, size);
	return gate[0] | (u64)gate[1] << 8 | (u64)gate[6] << 16 | (u64)gate[7] << 24 |
	       (u64)gate[8] << 32 | (u64)gate[9] << 40 | (u64)gate[10] << 48 | (u64)gate[11] << 56;
}

/* Runs one instruction, or up to `stop` where that is not 0. 0, or 1 when the VMM steps too and is
 * to know; RAN_ON when it ended elsewhere, after who knows what, with an exit for the VMM; -EAGAIN
 * when KVM still cannot; else -errno. */
static int run_one(struct agent *a, struct vcpu *v, u64 stop)
{
	struct kvm_guest_debug debug = v->debug;
	u64 until_ns = sys_now_ns() + STEP_WAIT_NS;
	struct agent_tables *t;
	u8 kicked = 0;
	bool again;
	int ret;

	debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_BLOCKIRQ;
	if (stop && !(debug.control & KVM_GUESTDBG_USE_HW_BP)) {
		debug.control |= KVM_GUESTDBG_USE_HW_BP;
		debug.arch.debugreg[0] = stop;
		debug.arch.debugreg[7] = DR7_EXECUTE_0;
	} else {
		debug.control |= KVM_GUESTDBG_SINGLESTEP;
	}
	ret = kvm_call(v->fd, KVM_SET_GUEST_DEBUG, &debug);
	if (ret == -EINVAL) {
		debug.control &= ~(u32)KVM_GUESTDBG_BLOCKIRQ;
		ret = kvm_call(v->fd, KVM_SET_GUEST_DEBUG, &debug);
	}
	if (ret)
		return ret;
	do {
		kicked |= __atomic_exchange_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		ret = kvm_call(v->fd, KVM_RUN, NULL);
		/* On its way it may come to page tables that are watched, too. */
		t = tables_filed(a, v);
		again = t && tables_open(a, v, t);
	} while ((again || ret == -EINTR || ret == -EAGAIN) && sys_now_ns() < until_ns);
	kvm_call(v->fd, KVM_SET_GUEST_DEBUG, &v->debug);
	if (kicked)
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (ret || again)
		return ret ? ret : -ETIMEDOUT;
	if (v->run->exit_reason == KVM_EXIT_DEBUG)
		return v->debug.control & KVM_GUESTDBG_SINGLESTEP ? 1 : 0;
	return v->run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? -EAGAIN : RAN_ON;
}

/* As run_one(), with the pages open that the parts lie in. */
static int run_opened(struct agent *a, struct step *st)
{
	u64 from = ~0ull, end = 0, stop;
	int ret;

	for (u32 i = 0; i < st->nparts; i++) {
		const struct part *p = &st->part[i];

		from = p->gpa < from ? p->gpa : from;
		end = p->gpa + p->size > end ? p->gpa + p->size : end;
	}
	ret = run_pause(&a->run);
	if (ret)
		return ret;
	copy_parts(st);
	ret = slots_lift(&a->slots, from, end, true);
	stop = int_handler(a, st);
	if (!ret)
		ret = run_one(a, st->v, stop);
	slots_lift(&a->slots, from, end, false);
	/* The handler of a fault may have stored there, too: whose bytes they are is not known. An
	 * emulated processor does not heed the breakpoint at INT's handler; its frame is told. */
	if (ret == RAN_ON && !stop)
		agent_disarm(a, WHY_EMULATION, true);
	else
		for (u32 i = 0; i < st->nparts && ret >= 0; i++)
			tell_part(a, st, &st->part[i]);
	run_resume(&a->run);
	if (ret < 0)
		return ret;
	a->stepped_gpa = st->part[0].gpa;
	a->stepped_untold++;
	return ret != 0;
}

static int step(struct agent *a, struct step *st)
{
	int ret;

	if (st->known) {
		operand_parts(a, st);
		if (!st->nparts)
			return -ENOENT; /* not watched memory: none of our doing */
		ret = run_opened(a, st);
		if (ret != -EAGAIN)
			return ret;
	}
	/* Somewhere in all that is watched. */
	st->known = false;
	st->nparts = st->bytes = 0;
	slots_each_armed(&a->slots, part_add, st);
	return st->full || !st->nparts ? -E2BIG : run_opened(a, st);
}

/* It fails without us too: above CPL 0 as #UD, if the VMM did not ask for an exit there as we did
 * (handle_emulation_failure(), arch/x86/kvm/x86.c). */
static int fail_as_ever(struct agent *a, const struct step *st)
{
	struct kvm_vcpu_events events;
	int err;

	if (a->emulation_cap_vmm || !cpl_of(st))
		return 1;
	err = kvm_call(st->v->fd, KVM_GET_VCPU_EVENTS, &events);
	if (err)
		return err;
	events.exception.injected = 1;
	events.exception.nr = VECTOR_UD;
	events.exception.has_error_code = 0;
	return kvm_call(st->v->fd, KVM_SET_VCPU_EVENTS, &events);
}

int step_failed_instruction(struct agent *a, struct vcpu *v)
{
	static struct step st;
	int ret;

	if (!prepare(a, v, &st))
		return -EFAULT;
	ret = step(a, &st);
	return ret == -EAGAIN || ret == -ENOENT ? fail_as_ever(a, &st) : ret;
}

void step_look(struct agent *a)
{
	if (!a->slots.armed || !a->slots.watch.n)
		return;
	for (u32 i = 0; i < a->run.nvcpus; i++) {
		struct vcpu *v = &a->run.vcpu[i];

		if (!v->run || !__atomic_load_n(&v->in, __ATOMIC_SEQ_CST))
			continue;
		__atomic_store_n(&v->looks, 1, __ATOMIC_SEQ_CST);
		vcpu_kick(v);
	}
}

/* Where KVM emulates all of a guest (PVM), a single-stepped FXSAVE above CPL 0 traps into the
 * guest. */
static bool cannot_step(const struct step *st)
{
	static int emulated = -1;

	if (emulated < 0)
		emulated = access("/sys/module/kvm_amd", F_OK) &&
			   access("/sys/module/kvm_intel", F_OK);
	return emulated && cpl_of(st) && st->operand.max == INSN_FXSAVE_LEN;
}

bool step_stuck_instruction(struct agent *a, struct vcpu *v)
{
	static struct step st;
	struct kvm_mp_state mp;
	bool same;
	int ret;

	if (!prepare(a, v, &st) || kvm_call(v->fd, KVM_GET_MP_STATE, &mp) ||
	    mp.mp_state != KVM_MP_STATE_RUNNABLE || !st.known || !st.operand.spins) {
		v->stuck = 0;
		return false;
	}
	same = v->stuck && v->stuck_rip == st.regs.rip && v->stuck_rsp == st.regs.rsp;
	v->stuck_rip = st.regs.rip;
	v->stuck_rsp = st.regs.rsp;
	v->stuck = same ? v->stuck + 1 : 1;
	if (v->stuck < STUCK_LOOKS)
		return false;
	v->stuck = 0;
	ret = cannot_step(&st) ? -EOPNOTSUPP : step(a, &st);
	if (ret < 0) /* it would never end */
		agent_disarm(a, WHY_EMULATION, true);
	return ret == 0;
}
