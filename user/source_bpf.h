/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The BPF programs as a source of events: load, attach, drain, tell what was lost.
 *
 * Needs CAP_BPF, CAP_PERFMON and, for uprobes on another user's process, CAP_SYS_PTRACE; after
 * source_bpf_attach_vmm() nothing more than the descriptors it holds.
 */
#ifndef VMBLAME_SOURCE_BPF_H
#define VMBLAME_SOURCE_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "bpf/shared.h"
#include "formats/event.h"

struct source_bpf;

struct source_bpf_opts {
	bool watch;			      /* hold stores to `watch` until they are done */
	bool capture;			      /* copy what devices write wherever it goes */
	bool stacks;			      /* return addresses for device accesses too */
	size_t nwatch, nasked;		      /* at most MAX_WATCH each */
	const struct gpa_range *watch_ranges; /* whole pages */
	const struct gpa_range *asked;	      /* what to report of them */
	size_t ring_bytes;	    /* of one CPU's ring: a power of two, at least a page */
	unsigned vm;		    /* number of the VM within the process */
	const char *const *without; /* probes or groups to leave off, ended by NULL; may be NULL */
	const char *const *with;    /* those to turn on that are off by default: "mmu" */
};

/* One of the ways to attach a probe; see probes.def. */
struct probe_way {
	u8 how;		    /* enum probe_how of this way */
	const char *target; /* tracepoint or function */
	int err;	    /* 0: this one is attached, or was not needed; else the errno */
};

#define PROBE_WAYS_MAX 6

/* What became of one probe. */
struct probe_state {
	const char *name; /* group__hook */
	const char *what_for;
	u8 how;		    /* enum probe_how */
	u8 origin;	    /* enum origin: class of writer it serves */
	int err;	    /* errno when unavailable */
	bool slow;	    /* a uprobe that is single-stepped */
	u64 fired;	    /* times that it ran for what is recorded */
	const char *target; /* what it is attached to; the best way's when it is not */
	size_t nways;
	struct probe_way ways[PROBE_WAYS_MAX]; /* in the order in which they are tried */
};

/* Loads and attaches what the kernel offers. 0, or -errno with one line in err. */
int source_bpf_open(struct source_bpf **out, const struct source_bpf_opts *opts, char *err,
		    size_t err_size);
void source_bpf_close(struct source_bpf *s);

/* From now on the process and what it forks belong to the recording, and nothing else does. 0 or
 * -errno. */
int source_bpf_track(struct source_bpf *s, pid_t pid);

/* Attaches the uprobes to the VMM's process. exe is a path that opens its executable
 * (/proc/PID/exe). A function that is not found makes its probe unavailable, no error. */
int source_bpf_attach_vmm(struct source_bpf *s, pid_t pid, const char *exe);

/* Attaches the kernel's probes again after source_bpf_detach(); then source_bpf_attach_vmm(). */
void source_bpf_attach(struct source_bpf *s);

/* Detaches everything: the VMM runs at full speed from here on. Rings can still be drained. */
void source_bpf_detach(struct source_bpf *s);

/* Hands every event that the rings hold to fn, ring by ring; each ring in the order of its CPU.
 * The event is valid during the call. Returns the number of events, or fn's negative value. */
int source_bpf_drain(struct source_bpf *s, int (*fn)(void *arg, const struct event *ev), void *arg);

/* After the last drain: what was lost and could not be told in the ring any more. Calls fn with
 * EVENT_lost for each. */
int source_bpf_losses(struct source_bpf *s, int (*fn)(void *arg, const struct event *ev),
		      void *arg);

/* The map for the agent (struct agent_dropped[AGENT_VCPUS]); owned by s. */
int source_bpf_dropped_fd(const struct source_bpf *s);

size_t source_bpf_probes(struct source_bpf *s, struct probe_state *states, size_t max);
void source_bpf_counters(const struct source_bpf *s, struct counters *out);

/* True for the name of a probe in the table, and of a group of them. */
bool source_bpf_known(const char *name);
bool source_bpf_known_group(const char *name);

/* True when every probe that serves this class is attached. */
bool source_bpf_covers(const struct source_bpf *s, enum origin origin);

#endif
