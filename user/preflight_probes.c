// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The preflight's probes: all of them are loaded and attached, those on the VMM's functions to a
 * process of its program that stands still, and taken off again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/desc.h"
#include "user/elfsym.h"
#include "user/preflight.h"
#include "user/preflight_spawn.h"
#include "user/probes.h"
#include "user/source_bpf.h"

/* About what a hit costs, by the first instruction at the place: emulated by the kernel (nop, push)
 * or single-stepped; and what a return takes on top. Measured on the reference machine. */
#define COST_EMULATED_NS 800
#define COST_STEPPED_NS	 12000
#define COST_RETURN_NS	 500

#define NAME_ROW(num, name, text) {num, text},
static const struct enum_name hows[] = {ENUM_PROBE_HOW(NAME_ROW){0, NULL}};
#undef NAME_ROW

static const char *error_text(int err)
{
	switch (err) {
	case 0:
		return "not tried, for want of a VMM";
	case ENOENT:
	case ESRCH:
		return "there is none";
	case EPERM:
	case EACCES:
		return "this kernel refuses it";
	case 524: /* ENOTSUPP of the kernel's own */
	case EOPNOTSUPP:
		return "this kernel cannot";
	case EPROTO:
		return "its arguments are others here";
	default:
		return strerror(err);
	}
}

static bool is_return(const struct probe_state *s)
{
	const size_t len = strlen(s->name);

	return s->how == PROBE_HOW_UPROBE && len > 4 && !strcmp(s->name + len - 4, "_ret");
}

static unsigned modes_of(const char *name)
{
	for (size_t i = 0; i < NPROBES; i++)
		if (!strcmp(probe_rows[i].name, name))
			return probe_rows[i].modes;
	return PROBE_EVENTS;
}

static void tell_attached(struct preflight *p, const struct probe_state *s)
{
	const bool uprobe = s->how == PROBE_HOW_UPROBE;
	const char *how = is_return(s) ? "uretprobe" : enum_name(hows, s->how);
	char detail[512], cost[64] = "", off[64] = "";
	struct fact fact = {
		.what = "probe",
		.name = s->name,
		.available = true,
		.detail = detail,
		.how = how,
		.target = s->target,
		.cost_ns = !uprobe ? 0
				   : (s->slow ? COST_STEPPED_NS : COST_EMULATED_NS) +
					     (is_return(s) ? COST_RETURN_NS : 0),
	};

	if (modes_of(s->name) & PROBE_VMM)
		snprintf(off, sizeof(off), "; in pages mode");
	else if (!(modes_of(s->name) & (PROBE_EVENTS | PROBE_WATCH)))
		snprintf(off, sizeof(off), "; off unless --with %.*s",
			 (int)(strstr(s->name, "__") - s->name), s->name);
	if (uprobe)
		snprintf(cost, sizeof(cost), ", %g us a hit%s", (double)fact.cost_ns / 1000,
			 s->slow ? " (single-stepped)" : "");
	snprintf(detail, sizeof(detail), "%s on %s%s: %s%s", how, s->target, cost, s->what_for,
		 off);
	p->tell(p->arg, &fact);
}

static void tell_missing(struct preflight *p, const struct probe_state *s)
{
	char detail[1024];
	size_t len = 0;

	for (size_t i = 0; i < s->nways && len < sizeof(detail); i++)
		len += (size_t)snprintf(detail + len, sizeof(detail) - len, "%s %s: %s; ",
					enum_name(hows, s->ways[i].how), s->ways[i].target,
					error_text(s->ways[i].err));
	if (!s->nways)
		len = (size_t)snprintf(detail, sizeof(detail), "%s: %s; ", s->target,
				       s->how == PROBE_HOW_OFF ? "off" : error_text(s->err));
	if (len < sizeof(detail))
		snprintf(detail + len, sizeof(detail) - len, "without it: no %s", s->what_for);
	preflight_tell(p, "probe", s->name, false, "%s", detail);
}

/* The program as a process that does nothing: no machine, and stopped. 0 where it is not QEMU,
 * whose options these are. */
static pid_t start_vmm(const struct preflight *p)
{
	char *argv[] = {(char *)p->path, "-S",	     "-machine", "none",     "-no-user-config",
			"-nodefaults",	 "-display", "none",	 "-monitor", "none",
			"-serial",	 "none",     NULL};
	const char *base = strrchr(p->path, '/');
	pid_t pid;

	if (!*p->path || !strstr(base ? base : p->path, "qemu"))
		return 0;
	pid = preflight_spawn(argv, NULL);
	return pid > 0 ? pid : 0;
}

static void attach_vmm(struct preflight *p, struct source_bpf *s)
{
	const pid_t vmm = start_vmm(p);
	/* A script has no functions of its own, so what a process runs counts. */
	const pid_t pid = vmm ? vmm : getpid();
	char exe[64];
	int err;

	snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)pid);
	err = source_bpf_attach_vmm(s, pid, vmm ? exe : p->path);
	if (err)
		preflight_tell(p, "vmm", "functions", false, "%s", strerror(-err));
	source_bpf_detach(s);
	if (vmm)
		preflight_reap(vmm);
}

void preflight_probes(struct preflight *p)
{
	static const struct gpa_range nowhere = {0, 0x1000};
	static const char *const with[] = {"mmu", "vmm", NULL};
	const struct source_bpf_opts opts = {
		.watch = true,
		.nwatch = 1,
		.nasked = 1,
		.watch_ranges = &nowhere,
		.asked = &nowhere,
		.ring_bytes = 4096,
		.with = with,
	};
	struct probe_state states[PROBES_MAX];
	struct source_bpf *s;
	char text[512];
	size_t n, attached = 0;
	int err;

	if (!p->btf || !p->root)
		return;
	err = source_bpf_open(&s, &opts, text, sizeof(text));
	if (err) {
		preflight_tell(p, "host", "BPF", false, "%s", text);
		return;
	}
	p->bpf = true;
	if (*p->path)
		attach_vmm(p, s);
	n = source_bpf_probes(s, states, PROBES_MAX);
	for (size_t i = 0; i < n; i++) {
		if (states[i].how > PROBE_HOW_OFF) {
			tell_attached(p, &states[i]);
			attached++;
		} else {
			tell_missing(p, &states[i]);
		}
	}
	preflight_tell(p, "host", "BPF", true, "%zu of %zu probes can be attached", attached, n);
	p->vcpu_seen = source_bpf_covers(s, ORIGIN_VCPU);
	p->vhost_seen = source_bpf_covers(s, ORIGIN_VHOST);
	p->devices_seen = source_bpf_covers(s, ORIGIN_VIRTQUEUE);
	p->vmm_seen = source_bpf_covers(s, ORIGIN_DMA) && source_bpf_covers(s, ORIGIN_VMM);
	source_bpf_close(s);
}
