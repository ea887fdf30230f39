// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The BPF programs as a source of events.
 */
#include "user/source_bpf.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/agent.h"
#include "user/elfsym.h"
#include "user/host_mmu.h"
#include "user/kernel_btf.h"
#include "user/probes.h"
#include "user/uprobes.h"
#include "vmblame.skel.h"

/* Of one program, what the verifier says when it refuses it; only what is written to is there. */
#define LOG_BYTES (1u << 20)

struct attached {
	struct bpf_program *prog;
	struct bpf_link *link;
	bool use; /* it is wanted and, as far as could be told, there */
	int err;
};

/* What became of a probe: how, and by which of its ways. */
struct fate {
	u8 how; /* enum probe_how */
	u8 way; /* row in way_rows of the one that is attached, else of the best */
	bool slow;
};

struct source_bpf {
	struct vmblame_bpf *skel;
	struct ring_buffer *rings;
	int ring_fd[MAX_RINGS];
	size_t nrings;
	struct place *places; /* CPU 0's, then CPU 1's, ... */
	u32 nplaces;	      /* of one CPU */
	struct attached ways[WAYS_MAX];
	struct fate fates[NPROBES];
	char (*logs)[LOG_BYTES]; /* of each way's program; NULL while all is well */
	int (*fn)(void *arg, const struct event *ev);
	void *arg;
	struct type_ids type_ids;
	struct mmu_facts mmu_facts;
	bool typed_reads;
	int types_fd; /* a file of the kernel's types that the programs ask for, or -1 */
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

/* KVM built into the kernel: its structures' numbers are those of the kernel's BTF. Older kernels
 * have no bpf_rdonly_cast(). */
static bool find_types(const struct kernel_btf *btf, struct type_ids *ids)
{
#define FIND(name) ids->name = kernel_btf_struct_id(btf, #name);
	KERNEL_TYPES(FIND)
#undef FIND
	return ids->kvm_vcpu && ids->x86_emulate_ctxt &&
	       kernel_btf_function(btf, "bpf_rdonly_cast", NULL) == BTF_MATCHES;
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
	skel->rodata->mmu_facts = s->mmu_facts;
	bpf_map__set_max_entries(skel->maps.places, s->nplaces * cpu_count());
	bpf_map__set_max_entries(skel->maps.fired, cpu_count());
	skel->rodata->backend = find_backend();
	skel->rodata->only_vm = opts->vm;
	skel->rodata->want_stacks = opts->stacks;
	skel->rodata->nwatch = opts->nwatch;
	skel->rodata->nasked = opts->nasked;
	skel->rodata->capture = opts->capture;
	for (size_t i = 0; i < opts->nwatch; i++) {
		skel->rodata->watch[i].gpa = opts->watch_ranges[i].gpa;
		skel->rodata->watch[i].end = opts->watch_ranges[i].end;
	}
	for (size_t i = 0; i < opts->nasked; i++) {
		skel->rodata->asked[i].gpa = opts->asked[i].gpa;
		skel->rodata->asked[i].end = opts->asked[i].end;
	}
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

static void set_fate(struct source_bpf *s, size_t w)
{
	struct fate *fate = &s->fates[way_rows[w].probe];

	fate->how = way_how(&way_rows[w]);
	fate->way = w;
}

/* Attach what needs no process: of each probe the first way that works. */
static void attach_kernel(struct source_bpf *s)
{
	for (size_t w = 0; w < nway_rows; w++) {
		const struct way_row *row = &way_rows[w];
		struct attached *a = &s->ways[w];

		if (!a->use || way_in_vmm(row) || s->fates[row->probe].how != PROBE_HOW_UNAVAILABLE)
			continue;
		a->link = row->kind == KPROBE
				  ? bpf_program__attach_kprobe(a->prog, false, row->target)
				  : bpf_program__attach(a->prog);
		if (a->link)
			set_fate(s, w);
		else
			a->err = errno;
	}
}

void source_bpf_attach(struct source_bpf *s)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (s->fates[i].how > PROBE_HOW_OFF)
			s->fates[i].how = PROBE_HOW_UNAVAILABLE;
	attach_kernel(s);
}

/* Which probes are wanted, and which of their ways may be there. */
static void choose(struct source_bpf *s, const struct source_bpf_opts *opts,
		   const struct kernel_btf *btf)
{
	struct means means = {0};

	if (opts->watch || opts->with)
		means_find(btf, &means);
	for (size_t w = nway_rows; w-- > 0;) {
		const struct way_row *row = &way_rows[w];
		const struct probe_row *probe = &probe_rows[row->probe];
		const bool on = (probe->modes & PROBE_EVENTS) ||
				(opts->watch && (probe->modes & PROBE_WATCH)) ||
				probe_listed(opts->with, probe->name);

		if (row->kind == WAYS)
			continue;
		s->fates[row->probe] = (struct fate){.how = PROBE_HOW_OFF, .way = w};
		if (!on || probe_listed(opts->without, probe->name))
			continue;
		s->fates[row->probe].how = PROBE_HOW_UNAVAILABLE;
		s->ways[w].err = way_lacks(row, btf, &means);
		s->ways[w].use = !s->ways[w].err;
	}
}

/* libbpf takes them as a file. Without one it looks through all the kernel's types, to the same
 * end. */
static int types_file(const struct kernel_btf *btf)
{
	size_t elf_size;
	const void *elf = vmblame_bpf__elf_bytes(&elf_size);
	struct bpf_object *object = bpf_object__open_mem(elf, elf_size, NULL);
	struct btf *types = NULL;
	const void *data = NULL;
	u32 size = 0;
	int fd = -1;

	if (object && !kernel_btf_subset(btf, bpf_object__btf(object), &types))
		data = btf__raw_data(types, &size);
	if (data)
		fd = memfd_create("vmblame-types", MFD_CLOEXEC);
	if (fd >= 0 && write(fd, data, size) != (ssize_t)size) {
		close(fd);
		fd = -1;
	}
	btf__free(types);
	bpf_object__close(object);
	return fd;
}

/* Opens the object anew, with the programs of the ways that are in use. */
static int load(struct source_bpf *s, const struct source_bpf_opts *opts)
{
	char types[32];
	LIBBPF_OPTS(bpf_object_open_opts, open_opts);

	if (s->types_fd >= 0) {
		snprintf(types, sizeof(types), "/proc/self/fd/%d", s->types_fd);
		open_opts.btf_custom_path = types;
	}
	vmblame_bpf__destroy(s->skel);
	s->skel = vmblame_bpf__open_opts(&open_opts);
	if (!s->skel)
		return -errno;
	configure(s, opts);
	for (size_t w = 0; w < nway_rows; w++) {
		struct attached *a = &s->ways[w];

		if (way_rows[w].kind == WAYS)
			continue;
		a->prog = bpf_object__find_program_by_name(s->skel->obj, way_rows[w].program);
		if (!a->prog)
			return -ENOENT;
		bpf_program__set_autoload(a->prog, false);
		if (s->logs)
			bpf_program__set_log_buf(a->prog, s->logs[w], LOG_BYTES);
	}
	for (size_t w = 0; w < nway_rows; w++) {
		struct attached *a = &s->ways[w];

		if (!a->use)
			continue;
		/* Of two names for one program the first that exists will do. */
		if (bpf_program__autoload(a->prog)) {
			a->use = false;
			continue;
		}
		bpf_program__set_autoload(a->prog, true);
		if (way_rows[w].kind == FENTRY)
			bpf_program__set_attach_target(a->prog, 0, way_rows[w].target);
	}
	s->skel->rodata->confirm_stores =
		opts->watch && s->fates[PROBE_ID_exits__kvm_userspace_exit].how != PROBE_HOW_OFF;
	return vmblame_bpf__load(s->skel);
}

/* The way whose program the verifier had something to say about, or -1. */
static int culprit(const struct source_bpf *s)
{
	for (size_t w = 0; s->logs && w < nway_rows; w++)
		if (s->ways[w].use && s->logs[w][0]) {
			if (getenv("VMBLAME_DEBUG"))
				fprintf(stderr, "%s: %s\n", way_rows[w].program, s->logs[w]);
			return w;
		}
	return -1;
}

/* Nothing says which program it was: each by itself, and those that fail are left off. */
static int load_one_by_one(struct source_bpf *s, const struct source_bpf_opts *opts)
{
	bool use[WAYS_MAX];

	for (size_t w = 0; w < nway_rows; w++) {
		use[w] = s->ways[w].use;
		s->ways[w].use = false;
	}
	for (size_t w = 0; w < nway_rows; w++) {
		if (!use[w])
			continue;
		s->ways[w].use = true;
		s->ways[w].err = -load(s, opts);
		s->ways[w].use = false;
		use[w] = !s->ways[w].err;
	}
	for (size_t w = 0; w < nway_rows; w++)
		s->ways[w].use = use[w];
	return load(s, opts);
}

/*
 * One program that the kernel refuses fails the whole object. So load with all of them; what the
 * verifier refuses is left off, and the rest loaded again.
 */
static int load_what_loads(struct source_bpf *s, const struct source_bpf_opts *opts)
{
	int err = load(s, opts), w;

	if (!err || err == -EPERM)
		return err;
	s->logs = calloc(nway_rows, LOG_BYTES);
	for (size_t tries = 0; err && tries < nway_rows; tries++) {
		for (size_t i = 0; i < nway_rows; i++)
			s->logs[i][0] = '\0';
		err = load(s, opts);
		w = err ? culprit(s) : -1;
		if (w < 0)
			break;
		/* Programs that all hosts run fail for one reason: plain loads do not work here. */
		if (s->typed_reads &&
		    !(probe_rows[way_rows[w].probe].modes & (PROBE_MMU | PROBE_VMM))) {
			s->typed_reads = false;
			continue;
		}
		s->ways[w].use = false;
		s->ways[w].err = -err;
	}
	free(s->logs);
	s->logs = NULL;
	return err ? load_one_by_one(s, opts) : 0;
}

static int prepare(struct source_bpf *s, const struct source_bpf_opts *opts)
{
	struct kernel_btf *btf;
	int err = kernel_btf_open(&btf);

	if (err)
		return err;
	s->typed_reads = find_types(btf, &s->type_ids);
	if (opts->watch || opts->with)
		host_mmu_facts(btf, &s->mmu_facts);
	choose(s, opts, btf);
	s->types_fd = types_file(btf);
	kernel_btf_close(btf);
	err = load_what_loads(s, opts);
	if (s->types_fd >= 0)
		close(s->types_fd);
	return err;
}

int source_bpf_open(struct source_bpf **out, const struct source_bpf_opts *opts, char *err,
		    size_t err_size)
{
	struct source_bpf *s = calloc(1, sizeof(*s));
	int ret;

	*out = NULL;
	if (!s)
		return -ENOMEM;
	libbpf_set_print(quiet);
	ret = prepare(s, opts);
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
	attach_kernel(s);
	*out = s;
	return 0;
}

void source_bpf_detach(struct source_bpf *s)
{
	struct bpf_link *links[WAYS_MAX];

	for (size_t w = 0; w < nway_rows; w++) {
		links[w] = s->ways[w].link;
		s->ways[w].link = NULL;
	}
	links_destroy(links, nway_rows);
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

/* Before a probe needs them. */
static void find_spaces(struct source_bpf *s, pid_t pid, const char *exe)
{
	struct elfsym syms[] = {{.name = "address_space_memory", .data = true},
				{.name = "address_space_io", .data = true}};
	struct vmm_spaces *spaces = &s->skel->bss->vmm_spaces;
	u64 bias;

	*spaces = (struct vmm_spaces){0};
	if (elfsym_find(exe, syms, 2) || elfsym_bias(exe, pid, &bias))
		return;
	spaces->memory = syms[0].vaddr ? syms[0].vaddr + bias : 0;
	spaces->ports = syms[1].vaddr ? syms[1].vaddr + bias : 0;
}

int source_bpf_attach_vmm(struct source_bpf *s, pid_t pid, const char *exe)
{
	struct uprobe_task tasks[WAYS_MAX];
	struct elfsym syms[WAYS_MAX];
	int err;

	/* A boot that is not counted is not known, rather than the first. */
	s->skel->bss->boot = BOOT_UNKNOWN;
	for (size_t w = 0; w < nway_rows; w++)
		syms[w] =
			(struct elfsym){.name = way_in_vmm(&way_rows[w]) ? way_rows[w].target : ""};
	err = elfsym_find(exe, syms, nway_rows);
	if (err)
		return err;
	find_spaces(s, pid, exe);
	for (size_t w = 0; w < nway_rows; w++) {
		struct attached *a = &s->ways[w];

		tasks[w] = (struct uprobe_task){
			.prog = a->prog,
			.ret = way_rows[w].kind == URETPROBE,
			.file_off = syms[w].file_off,
		};
		if (!a->use || !way_in_vmm(&way_rows[w]) || a->link)
			tasks[w].prog = NULL;
	}
	uprobes_attach(tasks, nway_rows, pid, exe);
	for (size_t w = 0; w < nway_rows; w++) {
		struct attached *a = &s->ways[w];

		if (!tasks[w].prog)
			continue;
		a->link = tasks[w].link;
		a->err = tasks[w].err;
		if (!a->link)
			continue;
		set_fate(s, w);
		s->fates[way_rows[w].probe].slow = !elfsym_cheap(syms[w].first);
	}
	if (s->fates[PROBE_ID_machine__qemu_system_reset].how > PROBE_HOW_OFF)
		s->skel->bss->boot = 0;
	s->skel->bss->vmm_debug_placed =
		s->fates[PROBE_ID_vmm__cpu_get_phys_page_attrs_debug_ret].how > PROBE_HOW_OFF;
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
		struct ring_loss *loss = &s->skel->bss->losses[i];
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

static void count_fired(const struct source_bpf *s, struct fired *sum)
{
	const int fd = bpf_map__fd(s->skel->maps.fired);

	memset(sum, 0, sizeof(*sum));
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		struct fired one;

		if (bpf_map_lookup_elem(fd, &cpu, &one))
			continue;
		for (size_t i = 0; i < NPROBES; i++)
			sum->n[i] += one.n[i];
	}
}

static void add_way(const struct source_bpf *s, size_t w, struct probe_state *state)
{
	struct probe_way *way = &state->ways[state->nways];

	if (way_rows[w].kind == WAYS || state->nways == PROBE_WAYS_MAX)
		return;
	*way = (struct probe_way){
		.how = way_how(&way_rows[w]),
		.target = way_rows[w].target,
		.err = s->ways[w].err,
	};
	/* The best way's reason stands for all. */
	if (!state->nways++ && state->how == PROBE_HOW_UNAVAILABLE)
		state->err = way->err;
}

size_t source_bpf_probes(struct source_bpf *s, struct probe_state *states, size_t max)
{
	const size_t n = max < NPROBES ? max : NPROBES;
	struct fired fired;

	count_fired(s, &fired);
	for (size_t i = 0; i < n; i++)
		states[i] = (struct probe_state){
			.name = probe_rows[i].name,
			.what_for = probe_rows[i].what_for,
			.how = s->fates[i].how,
			.origin = probe_rows[i].origin,
			.slow = s->fates[i].slow,
			.fired = fired.n[i],
			.target = way_rows[s->fates[i].way].target,
		};
	for (size_t w = 0; w < nway_rows; w++)
		if (way_rows[w].probe < n)
			add_way(s, w, &states[way_rows[w].probe]);
	return n;
}

void source_bpf_counters(const struct source_bpf *s, struct counters *out)
{
	memcpy(out, &s->skel->bss->counters, sizeof(*out));
}

bool source_bpf_known(const char *name)
{
	return probe_known(name);
}

bool source_bpf_known_group(const char *name)
{
	return probe_group_known(name);
}

bool source_bpf_covers(const struct source_bpf *s, enum origin origin)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (probe_rows[i].origin == origin && s->fates[i].how <= PROBE_HOW_OFF)
			return false;
	return true;
}
