/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The preflight behind `vmblame check`: what this host lets us observe. Each part looks at one side
 * of it, tells facts one by one, and leaves in struct preflight what the parts after it need.
 */
#ifndef VMBLAME_PREFLIGHT_H
#define VMBLAME_PREFLIGHT_H

#include <stdbool.h>

#include "formats/event.h"

/* One line of the report. Strings are valid during the call only. */
struct fact {
	const char *what; /* section: version, host, kvm, vmm, probe, writer, mode */
	const char *name;
	bool available;
	const char *detail; /* prose, or the value; "" when there is nothing to say */
	/* Of a probe, else NULL or 0: */
	const char *how;    /* as it is attached: tracepoint, fentry, kprobe, uprobe, uretprobe */
	const char *target; /* tracepoint or function */
	u64 cost_ns;	    /* about what a hit costs, where that depends on the place */
};

struct preflight {
	void (*tell)(void *arg, const struct fact *fact);
	void *arg;
	const char *vmm; /* program asked for */
	/* Found out along the way: */
	bool root, btf, kvm, readonly, bpf, vcpu_seen, devices_seen, vhost_seen, vmm_seen;
	char path[4096];	/* of the VMM, "" when it was not found */
	const char *no_preload; /* why the agent cannot be loaded into it, or NULL */
};

/* In this order. */
void preflight_host(struct preflight *p);    /* kernel, privileges, versions */
void preflight_kvm(struct preflight *p);     /* its back end, and what it can do */
void preflight_vmm(struct preflight *p);     /* the program; starts it once for its version */
void preflight_probes(struct preflight *p);  /* attaches to a VMM of its own, and detaches */
void preflight_writers(struct preflight *p); /* who writes guest RAM, and who is seen to */
/* True when every mode that is there by default is available. */
bool preflight_modes(struct preflight *p);

/* Tells one fact; the detail is a format. */
void preflight_tell(struct preflight *p, const char *what, const char *name, bool available,
		    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A parameter of a kernel module, without its newline; false when it is not there. */
bool preflight_parameter(const char *module, const char *name, char *buf, unsigned size);

#endif
