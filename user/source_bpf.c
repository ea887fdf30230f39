// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The BPF programs as a source of events.
 */
#include "user/source_bpf.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/agent.h"
#include "user/elfsym.h"
#include "vmblame.skel.h"

enum probe_kind { TRACEPOINT, UPROBE, URETPROBE };

struct probe {
	const char *name;
	const char *target;
	const char *what_for;
	enum probe_kind kind;
	enum origin origin;
	enum probe_mode modes;
};

static const struct probe probes[] = {
#define PROBE(program, how, target, serves, modes, what) \
	{#program, #target, what, how, ORIGIN_##serves, PROBE_##modes},
#include "user/probes.def"
#undef PROBE
};

#define NPROBES (sizeof(probes) / sizeof(probes[0]))
_Static_assert(NPROBES <= PROBES_MAX, "PROBES_MAX holds every probe");

struct attached {
	struct bpf_program *prog;
	struct bpf_link *link;
	u8 how; /* enum probe_how */
	bool slow;
	int err;
};

struct source_bpf {
	struct vmblame_bpf *skel;
	struct ring_buffer *rings;
	int ring_fd[MAX_RINGS];
	size_t nrings;
	struct place *places; /* CPU 0's, then CPU 1's, ... */
	u32 nplaces;	      /* of one CPU */
	struct attached attached[NPROBES];
	int (*fn)(void *arg, const struct event *ev);
	void *arg;
	struct type_ids type_ids;
	bool typed_reads;
};

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level != LIBBPF_WARN || !getenv("VMBLAME_DEBUG"))
		return 0;
	return vfprintf(stderr, format, args);
}

/* The back end by the module that is in use; PVM is known by its structure in the kernel's BTF. */
static u32 find_backend(void)
{
	if (!access("/sys/module/kvm_amd", F_OK))
		return BACKEND_SVM;
	if (!access("/sys/module/kvm_intel", F_OK))
		return BACKEND_VMX;
	return BACKEND_PVM;
}

/* KVM built into the kernel: its structures' numbers are those of the kernel's BTF. */
static bool find_types(struct type_ids *ids)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int id;

	if (!btf)
		return false;
#define FIND(name)                                                \
	id = btf__find_by_name_kind(btf, #name, BTF_KIND_STRUCT); \
	ids->name = id > 0 ? (u32)id : 0;
	KERNEL_TYPES(FIND)
#undef FIND
	btf__free(btf);
	return ids->kvm_vcpu && ids->x86_emulate_ctxt;
}

static u32 cpu_count(void)
{
	int n = libbpf_num_possible_cpus();

	return n < 1 ? 1 : n > MAX_RINGS ? MAX_RINGS : n;
}

/* A power of two, and never so few that the spare ones are all there is. */
static u32 place_count(size_t ring_bytes)
{
	u32 n = 2 * PLACES_SPARE;

	while (2 * n * sizeof(struct place) <= ring_bytes)
		n *= 2;
	return n;
}

static void configure(struct source_bpf *s, const struct source_bpf_opts *opts)
{
	struct vmblame_bpf *skel = s->skel;

	s->nplaces = place_count(opts->ring_bytes);
	skel->rodata->nplaces = s->nplaces;
	skel->rodata->typed_reads = s->typed_reads;
	skel->rodata->type_ids = s->type_ids;
	bpf_map__set_max_entries(skel->maps.places, s->nplaces * cpu_count());
	skel->rodata->backend = find_backend();
	skel->rodata->only_vm = opts->vm;
	skel->rodata->want_stacks = opts->stacks;
	skel->rodata->nwatch = opts->nwatch;
	skel->rodata->nasked = opts->nasked;
	for (size_t i = 0; i < opts->nwatch; i++) {
		skel->rodata->watch[i].gpa = opts->watch_ranges[i].gpa;
		skel->rodata->watch[i].end = opts->watch_ranges[i].end;
	}
	for (size_t i = 0; i < opts->nasked; i++) {
		skel->rodata->asked[i].gpa = opts->asked[i].gpa;
		skel->rodata->asked[i].end = opts->asked[i].end;
	}
}

static bool listed(const char *const *list, const char *name)
{
	for (; list && *list; list++)
		if (!strcmp(*list, name))
			return true;
	return false;
}

static struct attached *find_attached(struct source_bpf *s, const char *name)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (!strcmp(probes[i].name, name))
			return &s->attached[i];
	return NULL;
}

static int ring_event(void *arg, void *data, size_t size)
{
	struct source_bpf *s = arg;

	/* The ring is the kernel's and the programs are ours, but a short record is still no event.
	 */
	if (size < sizeof(struct event))
		return 0;
	return s->fn(s->arg, data);
}

static int make_rings(struct source_bpf *s, size_t bytes)
{
	int outer = bpf_map__fd(s->skel->maps.rings);
	void *p = mmap(NULL, cpu_count() * s->nplaces * sizeof(struct place), PROT_READ, MAP_SHARED,
		       bpf_map__fd(s->skel->maps.places), 0);

	if (p == MAP_FAILED)
		return -errno;
	s->places = p;
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "vmblame_ring", 0, 0, bytes, NULL);

		if (fd < 0)
			return -errno;
		s->ring_fd[s->nrings++] = fd;
		if (bpf_map_update_elem(outer, &cpu, &fd, BPF_ANY))
			return -errno;
		if (!s->rings) {
			s->rings = ring_buffer__new(fd, ring_event, s, NULL);
			if (!s->rings)
				return -errno;
		} else if (ring_buffer__add(s->rings, fd, ring_event, s)) {
			return -errno;
		}
	}
	return 0;
}

/* Attach what needs no process: the tracepoints. */
static void attach_tracepoints(struct source_bpf *s)
{
	for (size_t i = 0; i < NPROBES; i++) {
		struct attached *a = &s->attached[i];

		if (probes[i].kind != TRACEPOINT || a->how != PROBE_HOW_UNAVAILABLE)
			continue;
		a->link = bpf_program__attach(a->prog);
		if (a->link)
			a->how = PROBE_HOW_TRACEPOINT;
		else
			a->err = errno;
	}
}

/*
 * One program that the kernel refuses fails the whole object. So load with all of them, and when
 * that fails, find out one by one which cannot be loaded and leave those off.
 */
static int load(struct source_bpf *s, const struct source_bpf_opts *opts, const bool *off)
{
	s->skel = vmblame_bpf__open();
	if (!s->skel)
		return -errno;
	configure(s, opts);
	for (size_t i = 0; i < NPROBES; i++) {
		struct attached *a = &s->attached[i];

		a->prog = bpf_object__find_program_by_name(s->skel->obj, probes[i].name);
		if (!a->prog)
			return -ENOENT;
		/* What copies a device's bytes may have to wait for a page of the VMM. */
		bpf_program__set_autoload(a->prog, !off[i]);
		a->how = off[i] ? PROBE_HOW_OFF : PROBE_HOW_UNAVAILABLE;
	}
	s->skel->rodata->confirm_stores =
		opts->watch && find_attached(s, "exits__kvm_userspace_exit")->how != PROBE_HOW_OFF;
	return vmblame_bpf__load(s->skel);
}

static int load_what_loads(struct source_bpf *s, const struct source_bpf_opts *opts, bool *off)
{
	int errs[NPROBES] = {0};
	int err;

	s->typed_reads = find_types(&s->type_ids);
	if (s->typed_reads) {
		err = load(s, opts, off);
		if (!err || err == -EPERM)
			return err;
		vmblame_bpf__destroy(s->skel); /* an older kernel */
		s->typed_reads = false;
	}
	err = load(s, opts, off);
	if (!err)
		return 0;
	for (size_t i = 0; i < NPROBES; i++) {
		bool alone[NPROBES];

		if (off[i])
			continue;
		memset(alone, true, sizeof(alone));
		alone[i] = false;
		vmblame_bpf__destroy(s->skel);
		errs[i] = -load(s, opts, alone);
	}
	for (size_t i = 0; i < NPROBES; i++)
		off[i] |= errs[i] != 0;
	vmblame_bpf__destroy(s->skel);
	err = load(s, opts, off);
	for (size_t i = 0; i < NPROBES; i++)
		if (errs[i]) {
			s->attached[i].how = PROBE_HOW_UNAVAILABLE;
			s->attached[i].err = errs[i];
		}
	return err;
}

int source_bpf_open(struct source_bpf **out, const struct source_bpf_opts *opts, char *err,
		    size_t err_size)
{
	struct source_bpf *s = calloc(1, sizeof(*s));
	bool off[NPROBES];
	int ret;

	*out = NULL;
	if (!s)
		return -ENOMEM;
	libbpf_set_print(quiet);
	for (size_t i = 0; i < NPROBES; i++)
		off[i] = listed(opts->without, probes[i].name) ||
			 (probes[i].modes == PROBE_WATCH && !opts->watch);
	ret = load_what_loads(s, opts, off);
	if (ret) {
		snprintf(err, err_size, "cannot load the BPF programs: %s%s", strerror(-ret),
			 ret == -EPERM ? " (root, or CAP_BPF and CAP_PERFMON, is needed)" : "");
		source_bpf_close(s);
		return ret;
	}
	ret = make_rings(s, opts->ring_bytes);
	if (ret) {
		snprintf(err, err_size, "cannot make the ring buffers: %s", strerror(-ret));
		source_bpf_close(s);
		return ret;
	}
	attach_tracepoints(s);
	*out = s;
	return 0;
}

static void *destroy_link(void *link)
{
	bpf_link__destroy(link);
	return NULL;
}

/* Each uprobe's end waits for a grace period of the kernel's: they may as well wait together. */
void source_bpf_detach(struct source_bpf *s)
{
	pthread_t threads[NPROBES];
	bool started[NPROBES] = {false};

	for (size_t i = 0; i < NPROBES; i++) {
		struct bpf_link *link = s->attached[i].link;

		s->attached[i].link = NULL;
		if (link && !pthread_create(&threads[i], NULL, destroy_link, link))
			started[i] = true;
		else
			destroy_link(link);
	}
	for (size_t i = 0; i < NPROBES; i++)
		if (started[i])
			pthread_join(threads[i], NULL);
}

void source_bpf_close(struct source_bpf *s)
{
	if (!s)
		return;
	source_bpf_detach(s);
	ring_buffer__free(s->rings);
	if (s->places)
		munmap(s->places, cpu_count() * s->nplaces * sizeof(struct place));
	for (size_t i = 0; i < s->nrings; i++)
		close(s->ring_fd[i]);
	vmblame_bpf__destroy(s->skel);
	free(s);
}

int source_bpf_track(struct source_bpf *s, pid_t pid)
{
	int procs = bpf_map__fd(s->skel->maps.procs);
	u32 key = pid, value = pid, old;

	while (!bpf_map_get_next_key(procs, NULL, &old) && !bpf_map_delete_elem(procs, &old))
		;
	return bpf_map_update_elem(procs, &key, &value, BPF_ANY) ? -errno : 0;
}

int source_bpf_attach_vmm(struct source_bpf *s, pid_t pid, const char *exe)
{
	struct elfsym syms[NPROBES];
	int err;

	/* A boot that is not counted is not known, rather than the first. */
	s->skel->bss->boot = BOOT_UNKNOWN;
	for (size_t i = 0; i < NPROBES; i++)
		syms[i] = (struct elfsym){.name = probes[i].kind == TRACEPOINT ? ""
									       : probes[i].target};
	err = elfsym_find(exe, syms, NPROBES);
	if (err)
		return err;
	for (size_t i = 0; i < NPROBES; i++) {
		struct attached *a = &s->attached[i];
		bool ret = probes[i].kind == URETPROBE;

		if (probes[i].kind == TRACEPOINT || a->how != PROBE_HOW_UNAVAILABLE || a->err)
			continue;
		if (!syms[i].file_off) {
			a->err = ENOENT;
			continue;
		}
		a->link = bpf_program__attach_uprobe(a->prog, ret, pid, exe, syms[i].file_off);
		if (!a->link) {
			a->err = errno;
			continue;
		}
		a->how = PROBE_HOW_UPROBE;
		a->slow = !elfsym_cheap(syms[i].first);
	}
	if (find_attached(s, "machine__qemu_system_reset")->how > PROBE_HOW_OFF)
		s->skel->bss->boot = 0;
	return 0;
}

/* Takes what is filled in, in order; one that is still being filled ends it for now. */
static int drain_places(struct source_bpf *s, u32 cpu)
{
	struct ring_pos *pos = &s->skel->bss->pos[cpu];
	struct place *places = s->places + (size_t)cpu * s->nplaces;
	u64 head = __atomic_load_n(&pos->head, __ATOMIC_ACQUIRE), tail = pos->tail;
	int n = 0, err = 0;

	while (tail != head && err >= 0) {
		struct place *place = &places[tail & (s->nplaces - 1)];

		if (__atomic_load_n(&place->commit, __ATOMIC_ACQUIRE) != tail + 1)
			break;
		err = s->fn(s->arg, &place->h);
		tail++;
		n++;
		/* Now and then, so that a busy vCPU finds room while we work. */
		if (!(tail & 63))
			__atomic_store_n(&pos->tail, tail, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&pos->tail, tail, __ATOMIC_RELEASE);
	return err < 0 ? err : n;
}

int source_bpf_drain(struct source_bpf *s, int (*fn)(void *arg, const struct event *ev), void *arg)
{
	int n = 0;

	s->fn = fn;
	s->arg = arg;
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		int ret = drain_places(s, cpu);

		if (ret < 0)
			return ret;
		n += ret;
	}
	const int ret = ring_buffer__consume(s->rings);

	return ret < 0 ? ret : n + ret;
}

int source_bpf_losses(struct source_bpf *s, int (*fn)(void *arg, const struct event *ev), void *arg)
{
	for (size_t i = 0; i < MAX_LOSSES; i++) {
		struct loss *loss = &s->skel->bss->losses[i];
		struct event_lost ev = {
			.h = {.t_ns = loss->t1_ns,
			      .kind = EVENT_lost,
			      .vcpu = VCPU_NONE,
			      .boot = s->skel->bss->boot},
			.ring = i % MAX_RINGS,
			.count = loss->count,
			.t0_ns = loss->t0_ns,
			.t1_ns = loss->t1_ns,
			.gpa = loss->gpa,
			.gpa_end = loss->gpa_end,
			.origins = loss->origins,
		};
		int err = loss->count ? fn(arg, &ev.h) : 0;

		if (err < 0)
			return err;
		loss->count = 0;
	}
	return 0;
}

int source_bpf_dropped_fd(const struct source_bpf *s)
{
	return bpf_map__fd(s->skel->maps.dropped);
}

static u64 times_run(struct bpf_program *prog)
{
	struct bpf_prog_info info = {0};
	u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		return 0;
	return info.run_cnt;
}

size_t source_bpf_probes(struct source_bpf *s, struct probe_state *states, size_t max)
{
	size_t n = 0;

	for (; n < NPROBES && n < max; n++) {
		const struct attached *a = &s->attached[n];

		states[n] = (struct probe_state){
			.name = probes[n].name,
			.what_for = probes[n].what_for,
			.how = a->how,
			.origin = probes[n].origin,
			.err = a->err,
			.slow = a->slow,
			.fired = a->how > PROBE_HOW_OFF ? times_run(a->prog) : 0,
		};
	}
	return n;
}

void source_bpf_counters(const struct source_bpf *s, struct counters *out)
{
	memcpy(out, &s->skel->bss->counters, sizeof(*out));
}

bool source_bpf_known(const char *name)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (!strcmp(probes[i].name, name))
			return true;
	return false;
}

bool source_bpf_covers(const struct source_bpf *s, enum origin origin)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (probes[i].origin == origin && s->attached[i].how <= PROBE_HOW_OFF)
			return false;
	return true;
}
