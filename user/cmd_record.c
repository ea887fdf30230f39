// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmblame record: options, the preconditions, the output file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/commands.h"
#include "user/range.h"
#include "user/record.h"
#include "user/source_bpf.h"

#define DEFAULT_PATH "vmblame.vmb"
#define RING_BYTES   (8u << 20)
#define EPOCH_NS     10000000ull
#define SCRUB_RATE   (64u << 20)
#define EPOCH_MIN_NS 1000000ull
#define EPOCH_MAX_NS 10000000000ull

struct args {
	const char *output, *mode, *epoch, *from, *until, *then, *ring_size, *user, *vm,
		*shadow_max, *scrub;
	struct option_list watch, only, ram, with, without, mark, exact;
	bool force, whole_pages, stacks, quiet, racy, lossy;
};

const struct option cmd_record_options[] = {
	OPTION_TEXT('o', "output", "FILE", struct args, output,
		    "the trace (" DEFAULT_PATH "; an older one becomes " DEFAULT_PATH ".old)"),
	OPTION_FLAG(0, "force", struct args, force, "overwrite the file that -o names"),
	OPTION_TEXT(0, "mode", "MODE", struct args, mode,
		    "events, pages, watch or full (watch if there is a --watch, else pages)"),
	OPTION_TEXT(0, "epoch", "TIME", struct args, epoch,
		    "pages mode: how often written pages are copied (10ms)"),
	OPTION_LIST(0, "ram", "RANGE", struct args, ram,
		    "pages mode: only the pages of this range"),
	OPTION_TEXT(0, "shadow-max", "SIZE", struct args, shadow_max,
		    "pages mode: refuse to begin where copies of pages may take more"),
	OPTION_TEXT(0, "scrub", "RATE", struct args, scrub,
		    "pages mode: compare so many bytes a second with their copies (64M)"),
	OPTION_LIST('w', "watch", "RANGE", struct args, watch,
		    "see every store of the guest to this range of its memory"),
	OPTION_FLAG(0, "whole-pages", struct args, whole_pages,
		    "report stores to all of the pages that --watch touches"),
	OPTION_FLAG(0, "racy", struct args, racy,
		    "vCPUs need not take turns: locked updates may get lost"),
	OPTION_LIST(0, "only", "RANGE", struct args, only,
		    "full mode: only stores to the pages of this range"),
	OPTION_FLAG(0, "lossy", struct args, lossy,
		    "full mode: rather drop stores than hold up the guest"),
	OPTION_TEXT(0, "from", "EVENT", struct args, from,
		    "start at SECONDS, reset, panic, console:REGEX, mark:NAME, ... (below)"),
	OPTION_TEXT(0, "until", "EVENT", struct args, until, "end at such an event"),
	OPTION_TEXT(0, "then", "WHAT", struct args, then,
		    "after --until: continue (the VM runs on), pause or kill"),
	OPTION_LIST(0, "mark", "EVENT", struct args, mark,
		    "give the moments of such an event a name"),
	OPTION_LIST(0, "exact", "EVENT", struct args, exact,
		    "the same, and stop the vCPUs there, so that memory is known as of then"),
	OPTION_FLAG(0, "stacks", struct args, stacks,
		    "return addresses for accesses to devices too"),
	OPTION_TEXT(0, "user", "NAME", struct args, user,
		    "run the VMM as this user; without it as the caller of sudo"),
	OPTION_TEXT(0, "vm", "N", struct args, vm, "record the N-th VM of the process, from 0"),
	OPTION_TEXT(0, "ring-size", "SIZE", struct args, ring_size,
		    "of the ring buffer of each CPU, a power of two; 8M when not given"),
	OPTION_LIST(0, "with", "GROUP", struct args, with,
		    "turn on probes: mmu (faults, mappings), vmm (QEMU's writes)"),
	OPTION_LIST(0, "without", "PROBE", struct args, without,
		    "leave a probe off (vmblame check lists them)"),
	OPTION_FLAG('q', "quiet", struct args, quiet, "no closing lines"),
	OPTION_END,
};

static int ours(const char *fmt, const char *what, const char *why)
{
	record_say(fmt, what, why);
	return EXIT_OURS;
}

static int by_gpa(const void *a, const void *b)
{
	const struct gpa_range *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* Sorted and joined, so that each byte belongs to one range; each a multiple of `unit`. */
static int parse_ranges(const char *name, const struct option_list *list, u64 unit,
			struct gpa_range *out, size_t *nout)
{
	struct gpa_range all[OPTION_LIST_MAX] = {0};
	const size_t n = list->n;

	_Static_assert(OPTION_LIST_MAX <= MAX_WATCH, "there is room for all");
	for (size_t i = 0; i < n; i++) {
		struct range range;
		int err = range_parse(list->v[i], &range);

		if (!err && range.end > 1ull << 52)
			err = -ERANGE;
		if (err)
			return usage_error("record", "%s %s: %s", name, list->v[i],
					   range_complaint(err));
		all[i].gpa = range.gpa & ~(unit - 1);
		all[i].end = (range.end + unit - 1) & ~(unit - 1);
	}
	qsort(all, n, sizeof(all[0]), by_gpa);
	for (size_t i = 0; i < n; i++) {
		struct gpa_range *last = *nout ? &out[*nout - 1] : NULL;

		if (!last || all[i].gpa > last->end)
			out[(*nout)++] = all[i];
		else if (all[i].end > last->end)
			last->end = all[i].end;
	}
	return 0;
}

static int parse_pages(const struct args *args, struct record_opts *opts)
{
	opts->epoch_ns = EPOCH_NS;
	if (args->watch.n)
		return usage_error("record", "--mode pages sees all of RAM: no --watch");
	if (args->epoch && (duration_parse(args->epoch, &opts->epoch_ns) ||
			    opts->epoch_ns < EPOCH_MIN_NS || opts->epoch_ns > EPOCH_MAX_NS))
		return usage_error("record", "--epoch %s: expected a time from 1ms to 10s",
				   args->epoch);
	opts->scrub_rate = SCRUB_RATE;
	if (args->scrub && size_parse(args->scrub, &opts->scrub_rate))
		return usage_error("record", "--scrub %s: expected bytes a second, 0 for none",
				   args->scrub);
	if (args->shadow_max &&
	    (size_parse(args->shadow_max, &opts->shadow_max) || !opts->shadow_max))
		return usage_error("record", "--shadow-max %s: expected a size", args->shadow_max);
	return parse_ranges("--ram", &args->ram, 4096, opts->ram, &opts->nram);
}

static int parse_mode(const struct args *args, struct record_opts *opts)
{
	const char *of_pages = args->epoch	  ? "--epoch"
			       : args->scrub	  ? "--scrub"
			       : args->ram.n	  ? "--ram"
			       : args->shadow_max ? "--shadow-max"
						  : NULL;

	opts->mode = args->mode ? args->mode : args->watch.n ? "watch" : "pages";
	opts->mode_chosen = args->mode || of_pages;
	if (of_pages && strcmp(opts->mode, "pages"))
		return usage_error("record", "%s needs --mode pages", of_pages);
	if (strcmp(opts->mode, "full") && (args->only.n || args->lossy))
		return usage_error("record", "%s needs --mode full",
				   args->only.n ? "--only" : "--lossy");
	if (!strcmp(opts->mode, "watch"))
		return args->watch.n ? 0
				     : usage_error("record", "--mode watch needs a --watch RANGE");
	if (!strcmp(opts->mode, "events"))
		return args->watch.n ? usage_error("record", "--mode events sees no --watch RANGE")
				     : 0;
	if (!strcmp(opts->mode, "full")) {
		opts->lossy = args->lossy;
		return args->watch.n
			       ? usage_error("record", "--mode full sees all of RAM: no --watch; "
						       "--only RANGE leaves the rest out")
			       : parse_ranges("--only", &args->only, 1, opts->asked, &opts->nasked);
	}
	if (!strcmp(opts->mode, "pages"))
		return parse_pages(args, opts);
	return usage_error("record", "--mode %s: expected events, pages, watch or full",
			   opts->mode);
}

static int parse_triggers(const struct args *args, struct record_opts *opts)
{
	char err[256];

	if (args->from && trigger_parse(&opts->from, args->from, err, sizeof(err)))
		return usage_error("record", "--from %s", err);
	if (args->until && trigger_parse(&opts->until, args->until, err, sizeof(err)))
		return usage_error("record", "--until %s", err);
	if (!args->then || !strcmp(args->then, "continue"))
		opts->then = THEN_CONTINUE;
	else if (!strcmp(args->then, "pause"))
		opts->then = THEN_PAUSE;
	else if (!strcmp(args->then, "kill"))
		opts->then = THEN_KILL;
	else
		return usage_error("record", "--then %s: expected continue, pause or kill",
				   args->then);
	return 0;
}

static int parse_marks(const struct args *args, struct record_opts *opts)
{
	static const enum trigger_kind by_itself[] = {TRIGGER_RESET, TRIGGER_PANIC,
						      TRIGGER_TRIPLE_FAULT, TRIGGER_VIRTIO_ERROR};
	const struct {
		const char *name;
		const struct option_list *list;
	} given[] = {{"--exact", &args->exact}, {"--mark", &args->mark}};
	const size_t n = sizeof(by_itself) / sizeof(by_itself[0]);
	char err[256];

	opts->marks = calloc(args->exact.n + args->mark.n + n, sizeof(*opts->marks));
	if (!opts->marks)
		return ours("%s%s", strerror(ENOMEM), "");
	for (size_t k = 0; k < 2; k++)
		for (unsigned i = 0; i < given[k].list->n; i++) {
			struct mark_opt *mark = &opts->marks[opts->nmarks++];
			const char *text = given[k].list->v[i];

			mark->exact = given[k].list == &args->exact;
			if (trigger_parse(&mark->trigger, text, err, sizeof(err)))
				return usage_error("record", "%s %s", given[k].name, err);
			if (mark->trigger.kind == TRIGGER_EXIT ||
			    mark->trigger.kind == TRIGGER_MARK)
				return usage_error("record", "%s %s: that has a name already",
						   given[k].name, text);
		}
	if (args->exact.n && (!strcmp(opts->mode, "events") || !strcmp(opts->mode, "watch")))
		return usage_error("record", "--exact needs --mode pages or full");
	for (size_t i = 0; i < n && strcmp(opts->mode, "full"); i++)
		opts->marks[opts->nmarks++] =
			(struct mark_opt){.trigger = {.kind = by_itself[i]}, .by_itself = true};
	return 0;
}

static bool takes_events(const struct trigger *t)
{
	return t->kind != TRIGGER_NONE && t->kind != TRIGGER_TIME;
}

/* Full mode hears nothing of ports and resets. */
static int parse_full(const struct record_opts *opts)
{
	bool events = takes_events(&opts->from) || takes_events(&opts->until);

	for (size_t i = 0; i < opts->nmarks; i++)
		events |= takes_events(&opts->marks[i].trigger);
	return events && !strcmp(opts->mode, "full")
		       ? usage_error("record", "--mode full: --from, --until, --mark and --exact "
					       "take SECONDS")
		       : 0;
}

static int parse_sizes(const struct args *args, struct record_opts *opts)
{
	u64 n;

	opts->ring_bytes = RING_BYTES;
	if (args->ring_size) {
		if (size_parse(args->ring_size, &n) || n < 4096 || n > 1u << 30 || n & (n - 1))
			return usage_error("record",
					   "--ring-size %s: expected a power of two from 4K to 1G",
					   args->ring_size);
		opts->ring_bytes = n;
	}
	if (args->vm) {
		if (size_parse(args->vm, &n) || n >= MAX_VMS)
			return usage_error("record", "--vm %s: expected 0 to %d", args->vm,
					   MAX_VMS - 1);
		opts->vm = n;
	}
	return 0;
}

static int parse_user(const struct args *args, struct record_opts *opts, struct caller *as)
{
	caller_find(&opts->caller);
	*as = opts->caller;
	if (args->user) {
		if (geteuid())
			return usage_error("record", "--user needs root");
		if (caller_named(as, args->user))
			return ours("--user %s: %s", args->user, "there is no such user");
	}
	opts->run_as = as->uid != geteuid() ? as : NULL;
	return 0;
}

/* What must be there before anything is touched. */
static int check_host(void)
{
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		return ours("%s: %s", "/sys/kernel/btf/vmlinux",
			    "no BTF: this kernel cannot be probed (CONFIG_DEBUG_INFO_BTF)");
	if (access("/dev/kvm", F_OK))
		return ours("%s: %s", "/dev/kvm", strerror(errno));
	if (geteuid())
		return ours("%s%s", "root is needed to load BPF programs",
			    " (the VM itself runs as the caller of sudo)");
	return 0;
}

/* The trace. What it replaces stays until the VMM runs: till then it has a name of its own. */
struct output {
	const char *path;
	char temp[4096]; /* "" when the file is at its path already */
	bool rotates;	 /* what was there gets another name */
	bool ours;	 /* we made it: it goes again when the VMM never ran */
	int fd;
};

static int output_failed(const struct output *out, int err)
{
	return ours("%s: %s", out->path, strerror(err));
}

static int output_make(const struct args *args, struct output *out)
{
	struct stat st;
	const bool exists = !lstat(out->path, &st);

	if (exists && !stat(out->path, &st) && S_ISDIR(st.st_mode))
		return output_failed(out, EISDIR);
	if (args->output && exists && !S_ISLNK(st.st_mode) && !S_ISREG(st.st_mode)) {
		out->fd = open(out->path, O_WRONLY | O_CLOEXEC);
		return out->fd < 0 ? output_failed(out, errno) : 0;
	}
	if (args->output && exists && !args->force)
		return ours("%s: %s", out->path, "exists; --force overwrites it");
	if (exists) {
		if (snprintf(out->temp, sizeof(out->temp), "%s.XXXXXX", out->path) >=
		    (int)sizeof(out->temp))
			return output_failed(out, ENAMETOOLONG);
		out->fd = mkostemp(out->temp, O_CLOEXEC);
	} else {
		out->fd = open(out->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (out->fd < 0)
		return output_failed(out, errno);
	out->ours = true;
	return 0;
}

static int output_open(const struct args *args, const struct caller *caller, struct output *out)
{
	int ret;

	out->path = args->output ? args->output : DEFAULT_PATH;
	out->rotates = !args->output;
	ret = output_make(args, out);
	if (!ret && out->ours &&
	    (fchmod(out->fd, 0600) ||
	     (caller->uid != geteuid() && fchown(out->fd, caller->uid, caller->gid))))
		ret = output_failed(out, errno);
	return ret;
}

/* The VMM runs: the file takes its place. */
static void output_keep(void *arg)
{
	struct output *out = arg;

	if (!out->temp[0])
		return;
	if (out->rotates)
		rename(DEFAULT_PATH, DEFAULT_PATH ".old");
	if (rename(out->temp, out->path))
		record_say("%s: %s; the trace is %s", out->path, strerror(errno), out->temp);
	out->temp[0] = '\0';
}

static void output_undo(const struct output *out)
{
	if (out->ours)
		unlink(out->temp[0] ? out->temp : out->path);
}

/* A descriptor among the first three that is closed must not become the trace's: what is printed
 * would go there. The VMM gets it closed, as it was. */
static void hold_std_fds(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
			return;
}

static void opts_free(struct record_opts *opts)
{
	trigger_free(&opts->from);
	trigger_free(&opts->until);
	for (size_t i = 0; i < opts->nmarks; i++)
		trigger_free(&opts->marks[i].trigger);
	free(opts->marks);
}

int cmd_record(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands = {0};
	struct record_opts opts = {0};
	struct output out = {.fd = -1};
	const char *with[OPTION_LIST_MAX + 1] = {0}, *without[OPTION_LIST_MAX + 1] = {0};
	struct caller as;
	bool never_ran = true;
	char path[4096];
	int ret;

	hold_std_fds();
	switch (options_parse(argc, argv, &args, &operands)) {
	case OPTIONS_OK:
		break;
	case OPTIONS_HELP:
		return 0;
	case OPTIONS_USAGE:
		return 2;
	}
	if (operands.n)
		return usage_error("record", "'%s': the VMM's command line follows --",
				   operands.v[0]);
	if (!operands.nrest)
		return usage_error("record", "which VMM? Its command line follows --");
	ret = parse_ranges("--watch", &args.watch, 1, opts.asked, &opts.nasked);
	if (!ret)
		ret = parse_mode(&args, &opts);
	if (!ret)
		ret = parse_triggers(&args, &opts);
	if (!ret)
		ret = parse_marks(&args, &opts);
	if (!ret)
		ret = parse_full(&opts);
	if (!ret)
		ret = parse_sizes(&args, &opts);
	if (!ret)
		ret = parse_user(&args, &opts, &as);
	for (unsigned i = 0; !ret && i < args.without.n; i++)
		if (!source_bpf_known(args.without.v[i]))
			ret = usage_error("record", "--without %s: no such probe",
					  args.without.v[i]);
	for (unsigned i = 0; !ret && i < args.with.n; i++)
		if (!source_bpf_known(args.with.v[i]) && !source_bpf_known_group(args.with.v[i]))
			ret = usage_error("record", "--with %s: no such group of probes",
					  args.with.v[i]);
	const bool full = !ret && !strcmp(opts.mode, "full");
	if (!ret && !full)
		ret = check_host();
	if (!ret && (ret = launch_find(operands.rest[0], path, sizeof(path)))) {
		record_say("%s: %s", operands.rest[0], strerror(-ret));
		ret = ret == -ENOENT ? 127 : 126;
	}
	if (!ret)
		ret = output_open(&args, &opts.caller, &out);
	if (ret) {
		output_undo(&out);
		opts_free(&opts);
		return ret;
	}
	for (unsigned i = 0; i < args.without.n; i++)
		without[i] = args.without.v[i];
	for (unsigned i = 0; i < args.with.n; i++)
		with[i] = args.with.v[i];
	opts.argv = operands.rest;
	opts.whole_pages = args.whole_pages;
	opts.stacks = args.stacks;
	opts.racy = args.racy;
	opts.quiet = args.quiet;
	opts.with = with[0] ? with : NULL;
	opts.without = without;
	opts.out_path = out.path;
	opts.out_fd = out.fd;
	opts.started = output_keep;
	opts.started_arg = &out;
	ret = full ? record_full_run(&opts, &never_ran) : record_run(&opts, &never_ran);
	if (never_ran)
		output_undo(&out);
	opts_free(&opts);
	return ret;
}
