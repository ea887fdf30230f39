// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How a recording begins: the pages to watch, the sources, the VMM with the agent in it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "user/options.h"
#include "user/record_state.h"

/* Whole pages around the ranges asked for, joined where they touch. */
void record_round_out(struct record *r)
{
	for (size_t i = 0; i < r->opts->nasked; i++) {
		struct gpa_range p = r->opts->asked[i];

		p.gpa &= ~0xfffull;
		p.end = (p.end + 0xfff) & ~0xfffull;
		if (r->npages && p.gpa <= r->pages[r->npages - 1].end) {
			if (p.end > r->pages[r->npages - 1].end)
				r->pages[r->npages - 1].end = p.end;
			continue;
		}
		r->pages[r->npages++] = p;
	}
	if (r->opts->whole_pages) {
		memcpy(r->opts->asked, r->pages, sizeof(r->pages));
		r->opts->nasked = r->npages;
	}
}

/* Probes that tell who had a page opened for writing, and what the VMM writes. */
static const char *const pages_probes[] = {"mmu__page_fault", "mmu__fast_fault", "mmu__dirty_log",
					   "vmm"};
#define NPROBES_MORE (sizeof(pages_probes) / sizeof(pages_probes[0]))

/* What is turned on besides: of the user's, and in pages mode. */
static void with_list(const struct record *r, const char **with)
{
	size_t n = 0;

	for (const char *const *v = r->opts->with; v && *v; v++)
		with[n++] = *v;
	for (size_t i = 0; i < NPROBES_MORE && r->opts->epoch_ns; i++)
		with[n++] = pages_probes[i];
	with[n] = NULL;
}

int record_open_sources(struct record *r, const char *no_preload)
{
	const char *with[OPTION_LIST_MAX + NPROBES_MORE + 1];
	struct source_bpf_opts bpf = {
		.watch = r->npages > 0,
		.capture = r->opts->epoch_ns > 0,
		.stacks = r->opts->stacks,
		.nwatch = r->npages,
		.nasked = r->opts->nasked,
		.watch_ranges = r->pages,
		.asked = r->opts->asked,
		.ring_bytes = r->opts->ring_bytes,
		.vm = r->opts->vm,
		.with = with,
		.without = r->opts->without,
	};
	struct agent_range ranges[MAX_WATCH];
	struct link_opts link = {
		.flags = (r->opts->from.kind == TRIGGER_NONE ? AGENT_ARM : 0) |
			 (r->opts->racy ? AGENT_RACY : 0) | (r->opts->epoch_ns ? AGENT_LOG : 0),
		.nranges = no_preload ? 0 : r->npages,
		.range = ranges,
		.uid = r->opts->run_as ? r->opts->run_as->uid : geteuid(),
	};
	char err[512];
	int ret;

	for (size_t i = 0; i < r->npages; i++)
		ranges[i] = (struct agent_range){r->pages[i].gpa, r->pages[i].end};
	with_list(r, with);
	ret = source_bpf_open(&r->bpf, &bpf, err, sizeof(err));
	if (ret) {
		record_say("%s", err);
		return ret;
	}
	link.dropped_fd = source_bpf_dropped_fd(r->bpf);
	ret = link_open(&r->link, &link);
	if (ret)
		record_say("cannot listen for the agent: %s", strerror(-ret));
	return ret;
}

int record_start_vmm(struct record *r, const char *no_preload)
{
	char agent[8192];
	struct launch_opts launch = {
		.argv = r->opts->argv,
		.as = r->opts->run_as,
		.agent_name = link_name(r->link),
	};
	int err;

	if (!no_preload) {
		if (!launch_beside("libvmblame-agent.so", agent, sizeof(agent))) {
			record_say("libvmblame-agent.so is not beside the program");
			return EXIT_OURS;
		}
		launch.preload = agent;
	}
	err = launch_start(&r->child, &launch);
	if (!err)
		err = source_bpf_track(r->bpf, r->child.pid);
	if (!err && no_preload)
		err = source_bpf_attach_vmm(r->bpf, r->child.pid, r->child.path);
	if (err) {
		record_say("cannot start %s: %s", r->child.path, strerror(-err));
		return EXIT_OURS;
	}
	err = launch_go(&r->child);
	if (err == -ELIBACC) {
		record_say("%s cannot be read by the user that runs the VMM", agent);
		return EXIT_OURS;
	}
	if (err) {
		record_say("cannot run %s: %s", r->child.path, strerror(-err));
		return err == -ENOENT ? 127 : 126;
	}
	return 0;
}
