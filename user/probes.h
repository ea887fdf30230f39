/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of probes (probes.def) as data: each probe, and the ways to attach it, best first.
 */
#ifndef VMBLAME_PROBES_H
#define VMBLAME_PROBES_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/shared.h"
#include "user/kernel_btf.h"

enum probe_mode { PROBE_EVENTS = 1, PROBE_WATCH = 2, PROBE_MMU = 4, PROBE_VMM = 8 };
enum way_kind { WAYS, TRACEPOINT, FENTRY, KPROBE, UPROBE, URETPROBE };

struct probe_row {
	const char *name;
	const char *what_for;
	enum origin origin;
	unsigned modes; /* enum probe_mode */
};

struct way_row {
	enum probe_id probe;
	enum way_kind kind;
	const char *program;
	const char *target;
	const char *types; /* of the arguments; NULL: not asked for before loading */
};

extern const struct probe_row probe_rows[NPROBES];
extern const struct way_row way_rows[];
extern const size_t nway_rows;

#define WAYS_MAX 128

static inline bool way_in_vmm(const struct way_row *way)
{
	return way->kind == UPROBE || way->kind == URETPROBE;
}

/* enum probe_how of what is attached this way. */
enum probe_how way_how(const struct way_row *way);

/* What a kernel has of the means to attach: 0, or the errno that says why not. */
struct means {
	int fentry, kprobe;
};

void means_find(const struct kernel_btf *btf, struct means *means);

/* 0 when the kernel offers it, as far as can be told without loading; or an errno: that of `means`,
 * ENOENT (no such tracepoint or function) or EPROTO (its arguments are others). */
int way_lacks(const struct way_row *way, const struct kernel_btf *btf, const struct means *means);

/* Whether `list` (ended by NULL; may be NULL) names the probe or its group. */
bool probe_listed(const char *const *list, const char *name);

/* True for the name of a probe, or of a group, in the table. */
bool probe_known(const char *name);
bool probe_group_known(const char *name);

#endif
