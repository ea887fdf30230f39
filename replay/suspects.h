/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who could have changed a page in a window: everybody who is known to have had it open for
 * writing, or to have written near it. None of them was seen to store the bytes.
 */
#ifndef VMBLAME_SUSPECTS_H
#define VMBLAME_SUSPECTS_H

#include "ledger.h"

enum suspect_kind {
	SUSPECT_RING,	/* a device took or completed a request: its used ring lies here, which the
			 * VMM writes */
	SUSPECT_DEVICE, /* a transfer wrote to the page; `bytes` says whether to the bytes in
			   question */
	SUSPECT_VMM,   /* the VMM wrote to the page by itself, or let a device of its write; `bytes`
			*/
	SUSPECT_STORE, /* a vCPU's store made the page writable: the first of the window, others may
			* have followed, by any vCPU */
	SUSPECT_LOAD,  /* a vCPU's load did: any vCPU may have stored afterwards */
	SUSPECT_WALK,  /* the walk of the guest's page tables, which this page is one of, for a
			* vCPU's  access: accessed and dirty bits */
	SUSPECT_MARK,  /* KVM marked it dirty in a vCPU's KVM_RUN, outside a fault of its: it
			* emulated an  instruction, or wrote something of its own */
	SUSPECT_KVM,   /* KVM marked it dirty, and no vCPU was running: a write of its own */
	SUSPECT_VMM_SOMEWHERE, /* the VMM wrote, it is not known where */
};

struct suspect {
	enum suspect_kind kind;
	struct moment at;
	u16 vcpu;
	u32 tid;
	/* Of the instruction, where rip_known. */
	bool rip_known;
	u64 rip, cs_base, cr3;
	u8 cpl;
	/* SUSPECT_DEVICE, SUSPECT_RING, SUSPECT_VMM: the transfer, the ring, what was written or
	 * was open to be */
	u64 gpa, end;
	struct request request;
	bool bytes;
	bool taken;	/* SUSPECT_RING: when it took the request, not when it completed it */
	u8 site, phase; /* SUSPECT_VMM*: enum vmm_site, vmm_phase */
};

enum origin suspect_origin(const struct suspect *s);

#define SUSPECTS_MAX 32

struct suspects {
	size_t n;
	u64 more;			   /* that there was no room for */
	struct suspect list[SUSPECTS_MAX]; /* most telling first */
};

/* The bytes [gpa,end) of a page, and the window in which they changed. */
struct suspicion {
	u64 gpa, end;
	u64 since_ns; /* who wrote did so in (since_ns, at], */
	u64 log_ns;   /* and a vCPU that did had it opened in (log_ns, at] */
	struct moment at;
};

/* What happened to the pages of [gpa,end) in (since_ns, until_ns], read once for many questions.
 * Memory is bounded: what there is no room for is counted in `more` of each answer. 0 or -errno
 * with a line in err. */
struct suspects_book;
int suspects_read(struct suspects_book **out, struct reader *r, const struct state *state, u64 gpa,
		  u64 end, u64 since_ns, u64 until_ns, char *err, size_t err_size);
void suspects_close(struct suspects_book *b); /* NULL is fine */
void suspects_find(const struct suspects_book *b, const struct suspicion *of, struct suspects *out);

/* The one class of writer that all of them are of, where every class was observed (`covers`, of the
 * answer) and what found the change tells of no other; else ORIGIN_NONE. */
enum origin suspects_class(const struct suspects *s, const struct write *w, u16 covers);

#endif
