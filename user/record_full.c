// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Full mode: QEMU's TCG runs the guest, and a plugin in it tells of every store of every vCPU.
 *
 * What writes to RAM past the plugin (devices, page-table walks, the frames of interrupts) is found
 * by comparison: the vCPUs stand still for it, everything that the rings hold is taken, and what
 * the VMM's memory then holds otherwise than the replica is an `unseen` event.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/writer.h"
#include "user/cleanup.h"
#include "user/privileges.h"
#include "user/races.h"
#include "user/record_full.h"

#define RING_RECORDS (1u << 18)
#define TICK_NS	     250000ull
#define SEAL_NS	     2000000000ull

static void tick(struct full *f)
{
	const u64 now = record_now(f->r);

	if (now - f->ticked_ns < TICK_NS)
		return;
	f->ticked_ns = now;
	rings_tick(f->rings);
}

/* Time never goes back in the file. */
static u64 at_least(struct full *f, u64 t_ns)
{
	if (t_ns > f->t_ns)
		f->t_ns = t_ns;
	return f->t_ns;
}

int full_put(struct full *f, struct event *ev)
{
	ev->t_ns = at_least(f, record_now(f->r));
	ev->boot = BOOT_UNKNOWN;
	const int err = writer_put(f->r->writer, ev, NULL);

	stores_time(f->stores, f->t_ns);
	return err;
}

void full_cover(struct full *f, enum origin origin, bool on, enum why why, u64 gpa, u64 size)
{
	struct event_cover ev = {
		.h = {.kind = EVENT_cover, .vcpu = VCPU_NONE},
		.origin = origin,
		.on = on,
		.why = on ? WHY_NONE : why,
		.gpa = gpa,
		.size = size,
	};

	full_put(f, &ev.h);
}

/* t0_ns: since when, from the start. */
static int lost(struct full *f, u32 ring, u64 stores, u64 t0_ns)
{
	struct event_lost ev = {
		.h = {.kind = EVENT_lost, .vcpu = VCPU_NONE},
		.ring = ring,
		.count = stores,
		.t0_ns = t0_ns,
		.t1_ns = at_least(f, record_now(f->r)),
		.origins = 1u << ORIGIN_VCPU,
	};

	f->dropped += stores;
	return full_put(f, &ev.h);
}

/* Whether a store raced with another vCPU's; `before` as in races_store(). */
static bool has_raced(struct full *f, u32 ring, u32 before, const u8 *at, u32 size)
{
	return f->races && races_store(f->races, ring, before, f->pass, (u64)(uintptr_t)at, size);
}

/* A store into two pages, as stores of single bytes. */
static int store_cross(struct full *f, u32 ring, u32 before, const struct store_raw *raw)
{
	const struct rings_site *site = rings_site(f->rings, raw->site);
	u32 place = 0;

	while (place < f->ncross && f->cross[place] != raw->site)
		place++;
	const u32 base = STORES_SITE_IDS - 8 * (CROSS_SITES_MAX - place);
	if (place == f->ncross) {
		if (place == CROSS_SITES_MAX)
			return lost(f, UINT32_MAX, 1, f->t_ns);
		for (u8 i = 0; i < site->size; i++) {
			const struct store_site part = {.pc = site->pc, .size = 1, .part = i};
			const int err = stores_site(f->stores, base + i, &part);

			if (err)
				return err;
		}
		f->cross[f->ncross++] = raw->site;
	}
	for (u8 i = 0; i < site->size; i++) {
		const struct store_raw byte = {
			.gva = raw->gva + i, .value = raw->value >> 8 * i & 0xff, .site = base + i};
		u8 *page = f->page[ring][ring_map_slot(byte.gva)];

		if (!page && f->r->npages) /* not asked for */
			continue;
		if (page) {
			page += byte.gva & 0xfff;
			*page = (u8)byte.value;
			if (has_raced(f, ring, before, page, 1))
				stores_raced(f->stores);
		}
		const int err = writer_put_stores(f->r->writer, ring, &byte, 1);
		if (err)
			return err;
	}
	return 0;
}

/* The pass in which the thread's store before was drained. Parts of an access are told of together:
 * all of them have it from the first. */
static u32 before_of(struct full *f, u32 ring, u32 number, bool first)
{
	const struct rings_site *site = rings_site(f->rings, number);

	if (site && !site->part)
		f->access[ring] = first ? f->before[ring] : f->pass;
	return f->access[ring];
}

/* Puts those of v from *from to before `to`; *from becomes that. */
static int stores_put_until(struct full *f, u32 ring, const struct store_raw *v, size_t *from,
			    size_t to)
{
	const size_t first = *from;

	*from = to;
	return to > first ? writer_put_stores(f->r->writer, ring, v + first, to - first) : 0;
}

/* Copies stores, since the VMM can write to the ring at any time, and does them in the replica.
 * Those that cross into another page are told apart. */
static int stores_take(struct full *f, u32 ring, const struct ring_record *rec, size_t n)
{
	const struct rings_map *maps = rings_maps(f->rings, ring);
	u8 *const *pages = f->page[ring];
	struct store_raw copy[RINGS_BATCH];
	size_t from = 0;
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		const u32 where = __atomic_load_n(&rec[i].at, __ATOMIC_RELAXED);
		const u32 site = __atomic_load_n(&rec[i].site, __ATOMIC_RELAXED);
		const u32 slot = where >> 12 & (RING_MAPS - 1), at = where & 0xfff;

		copy[i].gva = maps[slot].gva + at;
		copy[i].value = __atomic_load_n(&rec[i].word, __ATOMIC_RELAXED);
		copy[i].site = site;
		const u32 before = f->races ? before_of(f, ring, site, !i) : 0;
		const u8 size = site < STORES_SITE_IDS ? f->size[site] : 0;
		u8 *page = pages[slot];

		if (!size || maps[slot].gva == RINGS_NO_PAGE)
			return -EBADMSG;
		if (at + size > 0x1000) {
			err = stores_put_until(f, ring, copy, &from, i);
			if (!err)
				err = store_cross(f, ring, before, &copy[i]);
			from = i + 1;
		} else if (page) {
			store_le(page + at, copy[i].value, size);
			if (has_raced(f, ring, before, page + at, size)) {
				err = stores_put_until(f, ring, copy, &from, i);
				stores_raced(f->stores);
			}
		} else if (f->r->npages) { /* not asked for */
			err = stores_put_until(f, ring, copy, &from, i);
			from = i + 1;
		}
	}
	if (!err)
		err = stores_put_until(f, ring, copy, &from, n);
	f->before[ring] = f->pass;
	return err == -EINVAL ? -EBADMSG : err;
}

/* vCPUs in several threads: the order in which their stores come out of the rings may not be
 * theirs. */
static int tell_racy(struct full *f)
{
	struct event_change ev = {
		.h = {.kind = EVENT_change, .vcpu = VCPU_NONE},
		.what = CHANGE_WHAT_RACES_MARKED,
		.why = WHY_MULTI_VCPU,
		.count = 1,
	};

	const int err = races_open(&f->races, f->pass);

	return err ? err : full_put(f, &ev.h);
}

static int on_stores(void *arg, u32 ring, const struct ring_record *rec, size_t n)
{
	struct full *f = arg;
	int err = 0;

	tick(f);
	/* What was stored before is in what is read at the beginning. */
	if (f->stage == STAGE_BEGIN)
		return 0;
	if (!f->ring)
		f->ring = ring + 1;
	if (ring + 1 != f->ring && !f->races)
		err = tell_racy(f);
	stores_thread(f->stores, rings_thread(f->rings, ring), (u16)f->vcpu[ring]);
	return err ? err : stores_take(f, ring, rec, n);
}

static int on_site(void *arg, u32 ring, u32 number, const struct rings_site *site)
{
	struct full *f = arg;
	const struct store_site s = {.pc = site->pc, .size = site->size, .part = (u8)site->part};

	(void)ring;
	if (number >= STORES_SITE_IDS - 8 * CROSS_SITES_MAX)
		return -E2BIG;
	f->size[number] = site->size;
	return stores_site(f->stores, number, &s);
}

static int on_map(void *arg, u32 ring, const struct rings_map *map)
{
	struct full *f = arg;

	f->page[ring][ring_map_slot(map->gva)] = replica_page(f->replica, map->gpa, map->smm);
	return stores_map(f->stores, ring, map->gva, map->gpa, map->smm);
}

static int on_time(void *arg, u32 ring, u64 t_ns)
{
	struct full *f = arg;

	(void)ring;
	if (t_ns >= f->r->start_ns)
		stores_time(f->stores, at_least(f, t_ns - f->r->start_ns));
	return 0;
}

static int on_vcpu(void *arg, u32 ring, u32 vcpu)
{
	struct full *f = arg;

	f->vcpu[ring] = vcpu;
	return 0;
}

static int on_io(void *arg, u32 ring, const struct rings_io *io)
{
	struct full *f = arg;
	const struct rings_site *site = rings_site(f->rings, io->site);
	struct event_mmio ev = {
		.h = {.kind = EVENT_mmio,
		      .tid = rings_thread(f->rings, ring),
		      .vcpu = (u16)f->vcpu[ring]},
		.gpa = io->gpa,
		.write = 1,
		.done = io->known ? MMIO_DONE_EXITED : MMIO_DONE_UNREAD,
		.cpl = 0xff,
	};

	if (!site)
		return -EBADMSG;
	if (f->stage == STAGE_BEGIN || !full_asked(f, io->gpa))
		return 0;
	ev.rip = site->pc;
	ev.len = site->size;
	ev.insn_len = site->len < sizeof(ev.insn) ? site->len : sizeof(ev.insn);
	memcpy(ev.insn, site->insn, ev.insn_len);
	store_le(ev.bytes, io->known ? io->value : 0, 8);
	return full_put(f, &ev.h);
}

static int on_lost(void *arg, u32 ring, u64 stores, u64 since_ns, enum ring_lost why)
{
	struct full *f = arg;

	return lost(f, why == RING_LOST_FULL ? ring : UINT32_MAX, stores,
		    since_ns > f->r->start_ns ? since_ns - f->r->start_ns : 0);
}

static int on_end(void *arg, u64 t_ns)
{
	struct full *f = arg;

	(void)t_ns;
	f->ended = true;
	return 0;
}

static const struct rings_ops ops = {
	.unchecked = true,
	.stores = on_stores,
	.site = on_site,
	.map = on_map,
	.time = on_time,
	.vcpu = on_vcpu,
	.io = on_io,
	.ram = full_ram,
	.lost = on_lost,
	.end = on_end,
};

/* Recording ends; the VMM goes on as if there were no plugin. */
void full_give_up(struct full *f, int err)
{
	if (f->failed)
		return;
	f->failed = true;
	if (err == -EBADMSG)
		record_say("%s; recording ends here, the VM goes on",
			   rings_error(f->rings)[0] ? rings_error(f->rings) : "malformed records");
	else
		record_say("%s: %s; recording ends here, the VM goes on", f->r->opts->out_path,
			   strerror(-err));
	f->r->write_err = err == -EBADMSG ? 0 : err;
	rings_close(f->rings);
	f->rings = NULL;
	f->stage = STAGE_OVER;
}

s64 full_drain(struct full *f)
{
	f->pass++;
	const s64 n = rings_drain(f->rings, &ops, f);

	if (n < 0)
		full_give_up(f, (int)n);
	else /* who keeps up can afford to compress harder */
		writer_stores_level(f->r->writer, n < RING_RECORDS / 8 ? 3 : 1);
	return n;
}

static void reap(struct full *f)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == f->r->child.pid) {
			f->r->child_gone = true;
			f->r->child_status = status;
		}
}

static void signals(struct full *f, int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(f);
		else if (info.ssi_signo == SIGUSR1)
			record_marks_signal(f->r);
		else if (info.ssi_signo != SIGINT || info.ssi_code != SI_KERNEL)
			kill(f->r->child.pid, (int)info.ssi_signo);
	}
}

/* Nothing more comes: the file is whole even while the VM runs on. */
static void finish_file(struct full *f)
{
	struct writer_stats s;
	char text[64];
	u64 stores;
	int err;

	if (!f->r->writer)
		return;
	record_marks_close(f->r);
	stores = writer_stats(f->r->writer)->kinds[EVENT_store];

	snprintf(text, sizeof(text), "%" PRIu64, stores);
	writer_meta(f->r->writer, "count.stores", text);
	f->r->ended_ns = f->until_ns ? f->until_ns : record_now(f->r);
	writer_seal(f->r->writer);
	s = *writer_stats(f->r->writer);
	err = writer_close(f->r->writer);
	f->r->writer = NULL;
	if (err && !f->r->write_err) {
		f->r->write_err = err;
		record_say("%s: %s", f->r->opts->out_path, strerror(-err));
	}
	if (f->r->opts->quiet || !f->heard || f->failed)
		return;
	record_say("%s: kept %" PRIu64 " stores of %.3f s, lost %" PRIu64
		   " (%.1f MB, %.2f bytes a store)",
		   f->r->opts->out_path, stores, f->r->ended_ns / 1e9, f->dropped, s.bytes / 1e6,
		   stores ? (double)s.bytes / stores : 0);
	record_say("not seen as stores, but found: %" PRIu64 " bytes, in %" PRIu64
		   " comparisons of the guest's memory",
		   f->differed, f->comparisons);
}

void full_until(struct full *f)
{
	f->until_ns = f->t_ns;
	if (f->r->opts->then == THEN_KILL)
		kill(f->r->child.pid, SIGTERM);
	else if (f->r->opts->then == THEN_PAUSE)
		kill(f->r->child.pid, SIGSTOP);
	rings_close(f->rings);
	f->rings = NULL;
	f->stage = STAGE_OVER;
	finish_file(f);
}

/* Seconds only: what the guest says on a port, the plugin does not see. */
static void triggers(struct full *f)
{
	const u64 now = record_now(f->r);

	if (!f->r->from_hit && trigger_time(&f->r->opts->from, now))
		f->r->from_hit = true;
	if (!f->until_hit && trigger_time(&f->r->opts->until, now))
		f->until_hit = true;
	record_marks_step(f->r, now);
}

static void the_end(struct full *f)
{
	if (f->compared_ns != UINT64_MAX)
		compare(f);
	if (!f->failed)
		rings_end(f->rings);
	f->stage = STAGE_OVER;
}

static void loop(struct full *f, int signal_fd)
{
	struct pollfd fds = {.fd = signal_fd, .events = POLLIN};
	const struct timespec nap = {.tv_nsec = TICK_NS};

	while (!f->r->child_gone) {
		s64 n = 0;

		if (f->stage != STAGE_OVER) {
			tick(f);
			triggers(f);
			const int ready = rings_ready(f->rings);

			f->heard |= ready > 0;
			if (ready < 0)
				full_give_up(f, -EBADMSG);
			else
				n = full_drain(f);
		}
		if (f->stage != STAGE_OVER && f->ended)
			the_end(f);
		else if (f->stage != STAGE_OVER && f->mapped)
			compare_step(f);
		/* Who looks all the time slows the vCPUs down: both pull at the line with the
		 * ring's ends. */
		if (n < RING_RECORDS / 8)
			ppoll(&fds, 1, f->stage == STAGE_OVER ? NULL : &nap, NULL);
		signals(f, signal_fd);
		if (f->stage != STAGE_OVER && record_now(f->r) - f->r->sealed_ns > SEAL_NS) {
			f->r->sealed_ns = record_now(f->r);
			writer_seal(f->r->writer);
		}
	}
	/* What it had published when it was killed. */
	if (f->stage != STAGE_OVER)
		full_drain(f);
	if (!f->heard)
		record_say("%s did not load the plugin: full mode needs QEMU's TCG, with plugins",
			   f->r->child.path);
	else if (!f->mapped)
		record_say("no store was told of: full mode needs -accel tcg");
}

/* The VMM's command line with the plugin at its end. The caller frees the array. */
static char **with_plugin(char *const *argv, char *plugin)
{
	size_t n = 0;
	char **all;

	while (argv[n])
		n++;
	all = calloc(n + 3, sizeof(*all));
	if (!all)
		return NULL;
	memcpy(all, argv, n * sizeof(*all));
	all[n] = "-plugin";
	all[n + 1] = plugin;
	return all;
}

static int start(struct full *f)
{
	struct record *r = f->r;
	char path[8192], plugin[8192 + 64];
	struct ring_range only[RING_ONLY];
	int err;

	if (!launch_beside("vmblame-plugin.so", path, sizeof(path))) {
		record_say("vmblame-plugin.so is not beside the program");
		return EXIT_OURS;
	}
	err = rings_open(&f->rings, RING_RECORDS, r->opts->lossy ? RING_LOSSY : 0);
	if (!err)
		err = replica_open(&f->replica);
	f->stores = writer_stores(r->writer);
	for (size_t i = 0; i < r->npages; i++)
		only[i] = (struct ring_range){r->pages[i].gpa, r->pages[i].end};
	if (!err)
		rings_only(f->rings, only, r->npages);
	f->size = calloc(STORES_SITE_IDS, 1); /* what is not touched takes no memory */
	if (err || !f->stores || !f->size) {
		record_say("cannot share memory with the VMM: %s", strerror(err ? -err : ENOMEM));
		return EXIT_OURS;
	}
	r->from_hit = r->opts->from.kind == TRIGGER_NONE;
	/* The first store waits until what RAM holds before it has been read. */
	if (r->from_hit) {
		rings_park(f->rings);
		f->parked_ns = record_now(r);
	}
	snprintf(plugin, sizeof(plugin), "%s,fd=%d,alive=%d", path, rings_fd(f->rings),
		 rings_alive_fd(f->rings));
	CLEANUP_FREE char **argv = with_plugin(r->opts->argv, plugin);
	const struct launch_opts launch = {
		.argv = argv,
		.as = r->opts->run_as,
		.inherit = {rings_fd(f->rings), rings_alive_fd(f->rings)},
	};
	err = argv ? launch_start(&r->child, &launch) : -ENOMEM;
	if (err) {
		record_say("cannot start %s: %s", r->child.path, strerror(-err));
		return EXIT_OURS;
	}
	f->vmm = r->child.pid;
	err = launch_go(&r->child);
	rings_handed_over(f->rings);
	if (err) {
		record_say("cannot run %s: %s", r->child.path, strerror(-err));
		return err == -ENOENT ? 127 : 126;
	}
	return 0;
}

static int run(struct full *f, bool *never_ran)
{
	struct record *r = f->r;
	int ret = launch_find(r->opts->argv[0], r->child.path, sizeof(r->child.path));

	if (ret) {
		record_say("%s: %s", r->opts->argv[0], strerror(-ret));
		return ret == -ENOENT ? 127 : 126;
	}
	const int fd = record_signals_open();
	if (fd < 0)
		return EXIT_OURS;
	/* --only is by pages. */
	r->opts->whole_pages = true;
	record_round_out(r);
	record_facts(r);
	record_marks_open(r);
	ret = start(f);
	if (!ret) {
		*never_ran = false;
		if (r->opts->started)
			r->opts->started(r->opts->started_arg);
		privileges_keep(PRIVILEGES_ATTACH);
		loop(f, fd);
		finish_file(f);
		ret = record_wait_status(r->child_status);
		/* A VMM that failed by itself has said why. */
		if (f->failed || r->write_err || (!f->heard && !ret))
			ret = EXIT_OURS;
	}
	close(fd);
	return ret;
}

int record_full_run(struct record_opts *opts, bool *never_ran)
{
	struct full *f = calloc(1, sizeof(*f));
	struct record *r = calloc(1, sizeof(*r));
	struct writer_opts wopts = {.stores = true};
	int ret = EXIT_OURS, err;

	*never_ran = true;
	if (!f || !r)
		goto out;
	record_clocks(&wopts);
	f->r = r;
	r->opts = opts;
	r->start_ns = wopts.start_mono_ns;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	err = writer_open(&r->writer, opts->out_fd, &wopts);
	if (err)
		record_say("%s: %s", opts->out_path, strerror(-err));
	else
		ret = run(f, never_ran);
	record_marks_close(r);
	writer_close(r->writer); /* the VMM never ran */
	rings_close(f->rings);
	races_close(f->races);
	replica_close(f->replica);
	free(f->found);
	free(f->size);
	buf_free(&f->bytes);
out:
	free(r);
	free(f);
	return ret;
}
