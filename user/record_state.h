/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of one recording, shared by the files record*.c.
 */
#ifndef VMBLAME_RECORD_STATE_H
#define VMBLAME_RECORD_STATE_H

#include "formats/writer.h"
#include "user/guestram.h"
#include "user/link.h"
#include "user/merge.h"
#include "user/record.h"
#include "user/record_marks.h"
#include "user/source_bpf.h"

#define RECORD_SLOTS 512
#define LOOK_MAX     (64u << 20) /* bytes of watched memory that we look at as a whole */

/* How long an event may be on its way from its time stamp to its ring. */
#define SETTLE_NS 50000000ull

struct record {
	struct record_opts *opts;
	struct gpa_range pages[MAX_WATCH]; /* opts->asked, rounded out and joined */
	size_t npages;
	struct source_bpf *bpf;
	struct link *link;
	struct writer *writer;	   /* NULL once the file is finished */
	struct writer_stats stats; /* as it was then */
	struct merge *merge;
	struct launch child;
	struct guestram armed;	/* watched now, and where it lies */
	struct guestram looked; /* watched once, and looked at when it began */
	u64 start_ns;		/* CLOCK_MONOTONIC */
	u64 from_ns, until_ns;	/* what is kept of activity, from the start */
	u64 sealed_ns;		/* when the last chunk was sealed */
	u64 ended_ns;		/* length of the recording */
	pid_t vmm;		/* the process that made the VM; 0 before */
	bool from_hit;		/* recording proper has begun */
	bool arm_due;		/* the agent is to be told so */
	bool over;		/* it has ended: sources detached */
	bool line_open;		/* the guest's console is in the middle of a line */
	bool refused;		/* the VM cannot be watched */
	bool armed_once;	/* something was watched */
	bool child_gone, vmm_gone;
	int child_status, vmm_status; /* of waitpid() */
	int ready_type;		      /* enum agent_type that the agent answered last */
	int write_err;
	u64 unsent, heard_ns; /* of the agent, and when that was looked at */
	u64 stores, kept;     /* stores to watched memory; events */
	u64 changes[16];      /* by enum change_what */
	u64 opened_bytes[WHY_MAX];
	bool vcpu_ran; /* the guest has executed something */
	u64 look_left; /* bytes that may still be looked at when they are armed */
	u64 last_cr3, tables_ns;
	bool tables_asked, tables_probed; /* whether probes tell of page tables */
	bool vhost_blind;		  /* it ran, or would not have been seen */
	struct record_marks marks;
	struct record_pages *log;   /* pages mode, else NULL */
	struct record_vhost *vhost; /* NULL while no queue was ever served by vhost */
	struct guestram ram;	    /* all of it, by the VMM's slots */
	struct guestram_part slots[RECORD_SLOTS];
};

/* The clocks, as the recording begins. */
void record_clocks(struct writer_opts *opts);
/* Signals that go to the VMM, SIGCHLD and SIGUSR1, which makes a mark, come by the descriptor from
 * now on. -1: errno tells. */
int record_signals_open(void);
/* Of waitpid(), as a shell tells it. */
int record_wait_status(int status);
/* Nanoseconds since the recording began. */
u64 record_now(const struct record *r);
/* Hands an event to the order of time; its t_ns counts from the start. Negative on error. */
int record_take(void *arg, const struct event *ev);
/* In the order of time: to the file, if it belongs there. 0 or -errno. */
int record_keep(void *arg, const struct event *ev);
int record_write(struct record *r, const struct event *ev);
/* Writes what waits for its place in the order of time, up to then. */
void record_flush(struct record *r, u64 until_ns);
/* Takes everything the rings hold. */
void record_drain(struct record *r);

/* The beginning (record_start.c). no_preload: why the agent cannot be loaded into the VMM, or NULL.
 */
void record_round_out(struct record *r);
/* 0 or -errno after a message. */
int record_open_sources(struct record *r, const char *no_preload);
/* 0, or the exit status after a message. */
int record_start_vmm(struct record *r, const char *no_preload);

/* What the agent says (record_agent.c). */
void record_agent_messages(struct record *r);
/* Sends a command and waits for its answer, at most two seconds. */
void record_agent_command(struct record *r, enum agent_type type);
/* Looks at all that is watched. */
void record_look(struct record *r, enum content_why why);
/* States what is observed of devices, from now on. */
void record_cover_devices(struct record *r);
/* Pages mode: whether what the VMM itself writes is told of. */
bool record_covers_vmm(const struct record *r);

/* What an instruction did that was run with its pages open (record_step.c). */
void record_stepped(struct record *r, const struct agent_msg *msg, u64 t_ns);

/* Pages that cannot be watched because they hold page tables (record_tables.c). */
void record_slot(struct record *r, const struct event_memslot *ev);
void record_tables(struct record *r, const struct event_mmio *ev);

/* Queues that vhost serves (record_vhost.c): whether they would be seen at all, a queue whose rings
 * or server change, and a look at what their drivers have given away since the last one. */
void record_vhost_begin(struct record *r);
void record_vhost_rings(struct record *r, const struct event_vq_rings *ev);
void record_vhost_look(struct record *r);

/* Pages mode (record_pages.c). The process that made the VM is known; the VMM set a slot; the first
 * vCPU is about to run; the log was read; the VM is about to end, and stands still. */
int record_pages_open(struct record *r); /* 0 or -ENOMEM */
void record_pages_close(struct record *r);
void record_pages_vmm(struct record *r);
void record_pages_slot(struct record *r, const struct agent_msg *msg, u64 t_ns);
void record_pages_start(struct record *r, u64 asked_ns);
/* The log is on, in a guest that runs already. */
void record_pages_armed(struct record *r);
/* Stops the vCPUs and copies what changed: memory is known exactly until they go on. False when it
 * is not, which has been said. */
bool record_pages_stop(struct record *r);
u64 record_pages_exact_ns(const struct record *r); /* when that was */
void record_pages_go_on(struct record *r);
void record_pages_summary(const struct record *r);
/* A version or a content has its place in the order of time; within: it belongs to the recording.
 * 0 or -errno. */
int record_pages_keep(struct record *r, const struct event *ev, bool within);
/* Any event: what devices write, and left. */
void record_pages_device(struct record *r, const struct event *ev);
void record_pages_harvested(struct record *r, const struct agent_msg *msg);
void record_pages_end(struct record *r);
/* Asks for the log where it is time to. */
void record_pages_step(struct record *r, u64 now_ns);

/* What a recording says about itself (record_report.c). */
void record_facts(struct record *r);
void record_outcome(struct record *r);
void record_summary(struct record *r);

#endif
