// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The recorder's loop: launch, drain, order, write; triggers; signals; the end.
 */
#include "user/record.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "formats/desc.h"
#include "user/elfsym.h"
#include "user/privileges.h"
#include "user/record_state.h"

#define SEAL_NS	     2000000000ull
#define POLL_BUSY_MS 1
#define POLL_IDLE_MS 5
#define NICE	     (-5)

void record_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("vmblame: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static u64 clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void record_clocks(struct writer_opts *opts)
{
	opts->start_mono_ns = clock_ns(CLOCK_MONOTONIC);
	opts->start_real_ns = clock_ns(CLOCK_REALTIME);
}

int record_signals_open(void)
{
	static const int passed[] = {SIGCHLD, SIGUSR1, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		sigaddset(&set, passed[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

u64 record_now(const struct record *r)
{
	return clock_ns(CLOCK_MONOTONIC) - r->start_ns;
}

int record_write(struct record *r, const struct event *ev)
{
	const struct event_mmio *mmio = (const struct event_mmio *)ev;
	const int err = writer_put(r->writer, ev, NULL);

	if (err)
		return err == -EINVAL ? 0 : err;
	r->kept++;
	if (ev->kind == EVENT_mmio && mmio->write && mmio->done != MMIO_DONE_REQUESTED)
		r->stores++;
	return 0;
}

int record_keep(void *arg, const struct event *ev)
{
	struct record *r = arg;
	const bool within = event_desc(ev->kind)->stream == STREAM_STATE ||
			    (ev->t_ns >= r->from_ns && ev->t_ns <= r->until_ns);

	if (r->log && (ev->kind == EVENT_version || ev->kind == EVENT_content))
		return record_pages_keep(r, ev, within);
	return within ? record_write(r, ev) : 0;
}

static void write_failed(struct record *r, int err)
{
	if (r->write_err)
		return;
	r->write_err = err;
	record_say("%s: %s; recording ends here, the VM goes on", r->opts->out_path,
		   strerror(-err));
}

void record_flush(struct record *r, u64 until_ns)
{
	int err = merge_flush(r->merge, until_ns, record_keep, r);

	if (!err && record_now(r) - r->sealed_ns > SEAL_NS) {
		err = writer_seal(r->writer);
		r->sealed_ns = record_now(r);
	}
	if (err)
		write_failed(r, err);
}

static void begin(struct record *r, u64 t_ns)
{
	r->from_hit = true;
	r->from_ns = t_ns;
	if (!r->vmm)
		return;
	record_cover_devices(r);
	r->arm_due = r->npages > 0 || r->log;
}

int record_take(void *arg, const struct event *ev)
{
	struct record *r = arg;

	r->line_open = console_line_open(r->line_open, ev);
	if (!r->from_hit && trigger_event(&r->opts->from, ev))
		begin(r, ev->t_ns);
	if (r->from_hit && r->until_ns == UINT64_MAX && trigger_event(&r->opts->until, ev))
		r->until_ns = ev->t_ns;
	if (ev->kind == EVENT_memslot)
		record_slot(r, (const struct event_memslot *)ev);
	else if (ev->kind == EVENT_mmio)
		record_tables(r, (const struct event_mmio *)ev);
	else if (ev->kind == EVENT_vq_rings)
		record_vhost_rings(r, (const struct event_vq_rings *)ev);
	if (r->log)
		record_pages_device(r, ev);
	record_marks_event(r, ev);
	return r->over ? 0 : merge_put(r->merge, ev);
}

/* Ring events carry CLOCK_MONOTONIC. */
static int take_from_ring(void *arg, const struct event *ev)
{
	struct record *r = arg;
	union {
		struct event h;
		struct event_lost lost;
		struct event_content content;
	} copy;
	const struct event_desc *desc = event_desc(ev->kind);

	if (!desc || desc->size > sizeof(copy))
		return 0;
	memcpy(&copy, ev, desc->size);
	copy.h.t_ns = ev->t_ns > r->start_ns ? ev->t_ns - r->start_ns : 0;
	if (ev->kind == EVENT_lost) {
		copy.lost.t0_ns -= copy.lost.t0_ns > r->start_ns ? r->start_ns : copy.lost.t0_ns;
		copy.lost.t1_ns -= copy.lost.t1_ns > r->start_ns ? r->start_ns : copy.lost.t1_ns;
	}
	return record_take(r, &copy.h);
}

void record_drain(struct record *r)
{
	int err = source_bpf_drain(r->bpf, take_from_ring, r);

	if (err == -ENOMEM)
		write_failed(r, err);
}

/* Recording ends while the VM runs on: nothing of ours stays in its way. */
static void release_vmm(struct record *r)
{
	if (!r->npages && !r->log)
		return;
	if (r->log && r->from_hit && !r->write_err && record_pages_stop(r))
		record_say("memory is known as of %.6f s, %.1f ms after --until",
			   (double)record_now(r) / 1e9,
			   (double)(record_now(r) - r->until_ns) / 1e6);
	if (r->from_hit && !r->write_err) {
		record_look(r, CONTENT_WHY_MARK);
		/* The look counts, and so does what was stored while it lasted. */
		r->until_ns = record_now(r);
	}
	record_agent_command(r, AGENT_DISARM);
}

static void finish_sources(struct record *r)
{
	if (r->over)
		return;
	record_marks_close(r);
	record_drain(r);
	/* Detaching takes its time, a tenth of a second a probe, which is no part of the recording.
	 */
	r->ended_ns = r->until_ns < record_now(r) ? r->until_ns : record_now(r);
	source_bpf_detach(r->bpf);
	record_drain(r);
	source_bpf_losses(r->bpf, take_from_ring, r);
	r->over = true;
}

/* Nothing more comes: the file gets its index, and is whole even while the VM runs on. */
static void finish_file(struct record *r)
{
	const int size_fd = fcntl(r->opts->out_fd, F_DUPFD_CLOEXEC, 0);
	struct stat st;
	int err = merge_flush(r->merge, UINT64_MAX, record_keep, r);

	if (err)
		write_failed(r, err);
	if (!r->write_err)
		record_outcome(r);
	writer_seal(r->writer);
	r->stats = *writer_stats(r->writer);
	err = writer_close(r->writer);
	r->writer = NULL;
	if (err)
		write_failed(r, err);
	if (size_fd >= 0 && !fstat(size_fd, &st) && S_ISREG(st.st_mode))
		r->stats.bytes = st.st_size;
	if (size_fd >= 0)
		close(size_fd);
	if (!r->opts->quiet)
		record_summary(r);
}

static void reap(struct record *r)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == r->child.pid) {
			r->child_gone = true;
			r->child_status = status;
		}
		if (pid == r->vmm) {
			r->vmm_gone = true;
			r->vmm_status = status;
		}
	}
}

/* The VMM while it is there; a wrapper may outlive it. */
static pid_t signal_target(const struct record *r)
{
	return link_pid(r->link) ? r->vmm : r->child.pid;
}

static void signals(struct record *r, int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			reap(r);
			continue;
		}
		if (info.ssi_signo == SIGUSR1) {
			record_marks_signal(r);
			continue;
		}
		/* The terminal's Ctrl-C went to the VMM as well; one for us alone is passed on. */
		if (info.ssi_signo == SIGINT && info.ssi_code == SI_KERNEL)
			continue;
		kill(signal_target(r), info.ssi_signo);
	}
}

/* The VMM is gone: the child, and behind a wrapper or -daemonize the process that made the VM. */
static bool ended(const struct record *r)
{
	siginfo_t info;

	if (!r->child_gone)
		return false;
	if (!r->vmm || r->vmm == r->child.pid || r->vmm_gone)
		return true;
	/* An orphan is ours: it runs, or reap() will have its status. One that another process
	 * waits for is gone when its agent is. */
	return waitid(P_PID, r->vmm, &info, WEXITED | WNOHANG | WNOWAIT) && !link_pid(r->link);
}

static void until_reached(struct record *r)
{
	release_vmm(r);
	if (r->opts->then == THEN_KILL)
		kill(signal_target(r), SIGTERM);
	else if (r->opts->then == THEN_PAUSE)
		kill(signal_target(r), SIGSTOP);
	finish_sources(r);
	finish_file(r);
}

/* Marks at which memory is to be known, where it can be. */
static void marks_put(struct record *r)
{
	struct mark_due due;

	while (record_marks_next(r, &due)) {
		const bool exact = r->log && record_pages_stop(r);

		if (r->npages)
			record_look(r, CONTENT_WHY_MARK);
		/* Ahead of all that comes after the comparison. */
		const u64 t_ns = exact ? record_pages_exact_ns(r) : record_now(r);
		const struct event_mark ev = mark_event(due.name, t_ns);
		record_take(r, &ev.h);
		if (r->log)
			record_pages_go_on(r);
		record_marks_done(&due, ev.h.t_ns, exact);
	}
}

static void loop(struct record *r, int signal_fd)
{
	struct pollfd fds[] = {
		{.fd = signal_fd, .events = POLLIN},
		{.fd = link_fd(r->link), .events = POLLIN},
		{.events = POLLIN},
	};
	u64 before = 0;

	while (!ended(r)) {
		u64 t_ns = record_now(r);

		link_beat(r->link);
		if (!r->over) {
			record_drain(r);
			record_vhost_look(r);
			if (!r->from_hit && trigger_time(&r->opts->from, t_ns))
				begin(r, t_ns);
			if (r->until_ns == UINT64_MAX && trigger_time(&r->opts->until, t_ns))
				r->until_ns = t_ns;
			/* Not from within the draining, which hearing the agent may call for. */
			if (r->log)
				record_pages_step(r, t_ns);
			if (r->arm_due)
				record_agent_command(r, AGENT_ARM_NOW);
			if (r->arm_due && r->log)
				record_pages_armed(r);
			r->arm_due = false;
			record_marks_step(r, t_ns);
			marks_put(r);
			record_flush(r, t_ns > SETTLE_NS ? t_ns - SETTLE_NS : 0);
			if (r->write_err) {
				release_vmm(r);
				finish_sources(r);
			} else if (r->until_ns != UINT64_MAX) {
				until_reached(r);
			}
		}
		fds[2].fd = r->marks.control ? control_fd(r->marks.control) : -1;
		poll(fds, 3, r->over ? 100 : r->kept != before ? POLL_BUSY_MS : POLL_IDLE_MS);
		before = r->kept;
		record_agent_messages(r);
		signals(r, signal_fd);
	}
}

int record_wait_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int exit_status(const struct record *r)
{
	if (r->write_err || r->refused)
		return EXIT_OURS;
	/* A daemon's own status is the VMM's; a wrapper's is what its caller asked for. */
	if (r->vmm_gone && r->vmm != r->child.pid && WIFEXITED(r->child_status) &&
	    !WEXITSTATUS(r->child_status))
		return record_wait_status(r->vmm_status);
	return record_wait_status(r->child_status);
}

static int run(struct record *r, bool *never_ran)
{
	const char *no_preload;
	int fd, ret;

	ret = launch_find(r->opts->argv[0], r->child.path, sizeof(r->child.path));
	if (ret) {
		record_say("%s: %s", r->opts->argv[0], strerror(-ret));
		return ret == -ENOENT ? 127 : 126;
	}
	no_preload = elfsym_no_preload(r->child.path);
	if (no_preload && r->opts->epoch_ns && !r->opts->mode_chosen) {
		record_say("events mode, which sees no page: %s, so the agent cannot be loaded "
			   "into it",
			   no_preload);
		r->opts->mode = "events";
		r->opts->epoch_ns = 0;
	}
	if (no_preload && (r->npages || r->opts->epoch_ns)) {
		record_say("%s: %s cannot be used: %s, so the agent cannot be loaded into it",
			   r->child.path, r->npages ? "--watch" : "--mode pages", no_preload);
		return EXIT_OURS;
	}
	if (record_open_sources(r, no_preload))
		return EXIT_OURS;
	if (merge_open(&r->merge) || (r->opts->epoch_ns && record_pages_open(r)))
		return EXIT_OURS;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fd = record_signals_open();
	if (fd < 0)
		return EXIT_OURS;
	record_facts(r);
	record_marks_open(r);
	ret = record_start_vmm(r, no_preload);
	if (!ret) {
		/* Who drains late loses events: ahead of what else runs here, where that may be. */
		if (getpriority(PRIO_PROCESS, 0) > NICE)
			setpriority(PRIO_PROCESS, 0, NICE);
		*never_ran = false;
		if (r->opts->started)
			r->opts->started(r->opts->started_arg);
		privileges_keep(no_preload ? PRIVILEGES_SIGNAL : PRIVILEGES_ATTACH);
		loop(r, fd);
		record_agent_messages(r);
		finish_sources(r);
		if (r->writer)
			finish_file(r);
		ret = exit_status(r);
	}
	close(fd);
	return ret;
}

int record_run(struct record_opts *opts, bool *never_ran)
{
	struct record *r = calloc(1, sizeof(*r));
	struct writer_opts wopts = {0};
	int ret, err;

	*never_ran = true;
	if (!r)
		return EXIT_OURS;
	record_clocks(&wopts);
	r->opts = opts;
	r->start_ns = wopts.start_mono_ns;
	r->until_ns = UINT64_MAX;
	r->ram.mem_fd = r->looked.mem_fd = r->armed.mem_fd = -1;
	r->from_hit = opts->from.kind == TRIGGER_NONE;
	r->from_ns = r->from_hit ? 0 : UINT64_MAX;
	record_round_out(r);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	err = writer_open(&r->writer, opts->out_fd, &wopts);
	if (err) {
		record_say("%s: %s", opts->out_path, strerror(-err));
		ret = EXIT_OURS;
	} else {
		ret = run(r, never_ran);
	}
	writer_close(r->writer); /* the VMM never ran */
	record_marks_close(r);
	link_close(r->link);
	source_bpf_close(r->bpf);
	merge_close(r->merge);
	record_pages_close(r);
	free(r->vhost);
	if (r->ram.mem_fd >= 0)
		close(r->ram.mem_fd);
	free(r);
	return ret;
}
