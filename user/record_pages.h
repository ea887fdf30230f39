/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of pages mode, shared by record_pages.c (epochs, slots, moments), record_copies.c
 * (copies of pages, and what differs) and record_devices.c (what devices write).
 *
 * Functions return 0 or -errno of a read of the VMM's memory, or -ENOMEM.
 */
#ifndef VMBLAME_RECORD_PAGES_H
#define VMBLAME_RECORD_PAGES_H

#include "user/flights.h"
#include "user/record_state.h"
#include "user/regions.h"
#include "user/vmm_memory.h"

#define PAGE	  VMM_PAGE
#define WAITING	  64 /* pages that are read at once */
#define VMM_RINGS 1024

struct page_state {
	u64 since_ns; /* when its last copy was begun, and when it was done */
	u64 until_ns;
	u64 hva;    /* where it was then */
	u64 log_ns; /* record_pages.log_ns then */
	u32 deltas, bytes;
	u32 waiting; /* what is still to be told of it, in the order of time */
	bool same;   /* that copy found nothing new */
};

/* A slot of the main address space, or what --ram leaves of it. */
struct ram {
	u32 id;
	u64 gpa, size, hva;
	bool readonly;
	bool left_out;		 /* by the agent: it is not in the log */
	u64 slot_gpa, slot_size; /* all of it */
};

/* How a page was copied. */
struct copy {
	u64 gpa, hva, t0_ns, t_ns, log_ns;
	u8 how; /* enum version_how */
	bool torn;
};

#define DOUBTS	    256
#define SILENT_TOLD 4

/* The scrub, which compares memory with its copies slice by slice (record_scrub.c). */
struct scrub {
	size_t slot; /* where it stands */
	u64 off;
	u64 then_ns;  /* when it went on last; 0: never */
	u64 turn_ns;  /* when it began with the first slot; 0: before there were these slots */
	u64 whole_ns; /* all of RAM was compared since then at least once; 0: it was not */
	u64 compared; /* bytes */
	/* Pages that were found changed, until it is certain that nobody told of it. */
	struct doubt {
		struct copy copy;
		u64 harvests; /* until then */
		u8 bytes[PAGE];
	} doubt[DOUBTS];
	size_t n;
	u64 silent[SILENT_TOLD]; /* the first of those pages */
	u64 nsilent;
};

struct record_pages {
	struct vmm_memory memory;
	struct regions copies; /* by guest-physical address; more: struct page_state of each page */
	struct ram ram[RECORD_SLOTS];
	size_t nram;
	u64 epoch_ns, due_ns; /* from the start */
	bool asked;	      /* the agent has not answered yet */
	bool held;	      /* the vCPUs stand still, as its last answer has it */
	bool begun;	      /* the first pass is done */
	bool late;	      /* it came to its end when the guest ran already */
	bool failed;	      /* its memory cannot be read any more */
	bool ended;	      /* and need not: the last pass is done */
	bool ending;	      /* the VMM ends: its vCPUs stand still, and the log was read */
	struct scrub scrub;
	u64 log_ns; /* when the log was read before the last time, from the start */
	u64 next_log_ns;
	u64 exact_ns; /* the last moment at which all copies were made while nobody ran */
	u64 versions, copied, torn, epochs;
	bool vfio;	 /* there is hardware that writes unseen */
	u64 vfio_due_ns; /* when to look for it again */
	u64 beyond;	 /* pages that the agent had no room for */
	/* What the VMM and its devices write, past the log (record_devices.c). */
	struct flights flights;
	struct vmm_ring {
		u32 dev;
		u16 queue;
		u64 used, used_end, desc, desc_end;
	} ring[VMM_RINGS]; /* rings that the VMM writes */
	size_t nrings;
	bool rings_more;	      /* there was no room for all of them */
	bool device_more;	      /* it wrote where no page could be told */
	u64 device_more_ns;	      /* and may still be at it then */
	u64 whole_ns;		      /* since when all of memory is being written; 0: it is not */
	u64 pass_due_ns;	      /* no pass on that account before */
	struct event_version version; /* that is being told */
	/* Pages that wait to be copied. */
	size_t n;
	u64 gpa[WAITING], hva[WAITING];
	u8 how[WAITING];
	u8 window[WAITING][2][PAGE]; /* each is read twice, while the guest runs */
};

/* Copies a page, soon; copies_flush() ends it. */
int copies_add(struct record *r, u64 gpa, u64 hva, u8 how);
/* The n pages from hva on, wherever the guest sees them. */
int copies_add_run(struct record *r, u64 hva, u64 n, u8 how);
int copies_flush(struct record *r);
/* All of RAM, and of ROM; what was never touched is not read. */
int copies_pass(struct record *r, u8 how);
/* Bytes [from, to) of a slot, soon. */
int copies_range(struct record *r, const struct ram *ram, u64 from, u64 to, u8 how);
/* A copy that was made. now NULL: zeroes. */
int copies_put(struct record *r, struct copy *copy, const u8 *now);
/* NULL when it was never copied. */
const struct page_state *copies_state(struct record *r, u64 gpa);
/* They are on their way into the trace. */
void copies_content(struct record *r, const struct event_content *ev);
void copies_version(struct record *r, const struct event_version *ev);

/* After each harvest: what was in doubt, and the next slice. */
int scrub_step(struct record *r);
/* A page differs from its copy, and is in no log. */
int scrub_doubt(struct record *r, const struct copy *copy, const u8 *now);
/* What can be said of the doubts by now; all of them while the vCPUs stand still. */
int scrub_settle(struct record *r);

/* Copies the pages that the VMM and its devices wrote to, as far as they were not since t0_ns. */
int copies_devices(struct record *r, u64 t0_ns);
/* Before a version since since_ns of the page at gpa, hva: what a device has it mapped for. */
void copies_devices_open(struct record *r, u64 gpa, u64 hva, u64 since_ns, u64 t_ns);

/*
 * Whether the VMM or a device of its may be writing to [gpa,end), or has since it was copied; as
 * far as events have been drained: who found memory changed drains before he asks. A change there
 * says nothing yet; the next harvest tells.
 */
bool record_pages_in_flight(const struct record *r, u64 gpa, u64 end);

#endif
