// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The table of probes, expanded from probes.def, and what can be told of a way without trying it.
 */
#include "user/probes.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

const struct probe_row probe_rows[NPROBES] = {
#define PROBE(name, how, target, serves, modes, what) {#name, what, ORIGIN_##serves, PROBE_##modes},
#include "user/probes.def"
#undef PROBE
};

/* A row with WAYS is no way itself. */
const struct way_row way_rows[] = {
#define PROBE(name, how, target, serves, modes, what) {PROBE_ID_##name, how, #name, #target, NULL},
#define WAY(name, how, program, target, types)	      {PROBE_ID_##name, how, #program, #target, types},
#include "user/probes.def"
#undef PROBE
};
const size_t nway_rows = sizeof(way_rows) / sizeof(way_rows[0]);

_Static_assert(NPROBES <= PROBES_MAX, "PROBES_MAX holds every probe");
_Static_assert(sizeof(way_rows) / sizeof(way_rows[0]) <= WAYS_MAX, "WAYS_MAX holds every way");

enum probe_how way_how(const struct way_row *way)
{
	switch (way->kind) {
	case TRACEPOINT:
		return PROBE_HOW_TRACEPOINT;
	case FENTRY:
		return PROBE_HOW_FENTRY;
	case KPROBE:
		return PROBE_HOW_KPROBE;
	case UPROBE:
	case URETPROBE:
		return PROBE_HOW_UPROBE;
	case WAYS:
		break;
	}
	return PROBE_HOW_UNAVAILABLE;
}

/* A program that does nothing, for a function that is there to be tried on: some kernels have all
 * that fentry needs, and refuse it to everybody. */
static int try_fentry(u32 function)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_FENTRY,
		    .attach_btf_id = function);
	const int fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "vmblame_try", "GPL", insns, 2, &opts);

	if (fd < 0)
		return -fd;
	close(fd);
	return 0;
}

void means_find(const struct kernel_btf *btf, struct means *means)
{
	const u32 function = kernel_btf_function_id(btf, "bpf_fentry_test1");

	means->fentry = function ? try_fentry(function) : 0;
	means->kprobe = access("/sys/bus/event_source/devices/kprobe", F_OK) ? EOPNOTSUPP : 0;
}

int way_lacks(const struct way_row *way, const struct kernel_btf *btf, const struct means *means)
{
	const int lacks = way->kind == FENTRY	? means->fentry
			  : way->kind == KPROBE ? means->kprobe
						: 0;
	enum btf_match match;

	if (!way->types || lacks)
		return lacks;
	match = way->kind == TRACEPOINT ? kernel_btf_tracepoint(btf, way->target, way->types)
					: kernel_btf_function(btf, way->target, way->types);
	return match == BTF_MATCHES ? 0 : match == BTF_DIFFERS ? EPROTO : ENOENT;
}

static bool in_group(const char *name, const char *group)
{
	const size_t len = strlen(group);

	return len && !strncmp(name, group, len) && !strncmp(name + len, "__", 2);
}

bool probe_listed(const char *const *list, const char *name)
{
	for (; list && *list; list++)
		if (!strcmp(*list, name) || in_group(name, *list))
			return true;
	return false;
}

bool probe_known(const char *name)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (!strcmp(probe_rows[i].name, name))
			return true;
	return false;
}

bool probe_group_known(const char *name)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (in_group(probe_rows[i].name, name))
			return true;
	return false;
}
