/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recorder: launches the VMM, drains the sources, writes the trace.
 */
#ifndef VMBLAME_RECORD_H
#define VMBLAME_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/shared.h"
#include "user/launch.h"
#include "user/trigger.h"

#define EXIT_OURS 125 /* a failure of vmblame's own, as opposed to an exit status of the VMM's */

/* A moment that is to be marked, as often as it comes. */
struct mark_opt {
	struct trigger trigger;
	bool exact;	/* memory is to be known then */
	bool by_itself; /* not asked for */
};

enum then { THEN_CONTINUE, THEN_PAUSE, THEN_KILL };

struct record_opts {
	char *const *argv; /* the VMM, ended by NULL */
	const char *mode;  /* "events", "pages", "watch" or "full" */
	bool mode_chosen;  /* by the user: it is that or nothing */
	u64 epoch_ns;	   /* pages: how often the log of dirty pages is read; 0: other modes */
	size_t nram;	   /* pages: whole pages to be recorded, sorted; 0: all of RAM */
	struct gpa_range ram[MAX_WATCH];
	u64 scrub_rate; /* bytes a second that are compared with their copies */
	u64 shadow_max; /* bytes of copies of pages; 0: what memory is available */
	bool lossy;	/* full: rather drop stores than hold up the guest */
	/* --watch, in full mode --only: sorted, not overlapping; at most MAX_WATCH */
	size_t nasked;
	struct gpa_range asked[MAX_WATCH];
	bool whole_pages; /* report all of the pages that were watched */
	bool racy;	  /* vCPUs need not take turns */
	bool stacks;
	struct trigger from, until;
	size_t nmarks;
	struct mark_opt *marks; /* those that come by themselves at the end */
	enum then then;
	size_t ring_bytes;
	unsigned vm;
	const char *const *with;    /* probes to turn on besides, ended by NULL; may be NULL */
	const char *const *without; /* probes to leave off, ended by NULL */
	struct caller caller;
	const struct caller *run_as; /* NULL: as ourselves */
	const char *out_path;	     /* for messages */
	int out_fd;		     /* taken over */
	void (*started)(void *arg);  /* called once the VMM runs; may be NULL */
	void *started_arg;
	bool quiet;
};

/* Runs it all. The VMM's exit status, or EXIT_OURS, 126, 127 after a message on stderr. *never_ran
 * is set when the VMM was not started: the file can go. */
int record_run(struct record_opts *opts, bool *never_ran);

/* The same for full mode, which needs neither KVM nor BPF nor privileges. */
int record_full_run(struct record_opts *opts, bool *never_ran);

/* "vmblame: TEXT" on stderr. */
void record_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
