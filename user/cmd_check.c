// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmblame check: what this host lets us observe, found out by loading and attaching for real.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "formats/print.h"
#include "user/commands.h"
#include "user/elfsym.h"
#include "user/launch.h"
#include "user/source_bpf.h"

struct args {
	const char *vmm;
	bool json;
};

const struct option cmd_check_options[] = {
	OPTION_TEXT(0, "vmm", "PROGRAM", struct args, vmm,
		    "look for probe sites in this VMM; qemu-system-x86_64 when not given"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
	OPTION_END,
};

/* One line of the report: what, whether it is there, and what to say about it. */
static void tell(bool json, const char *what, const char *name, bool ok, const char *detail)
{
	struct json j = {.f = stdout};

	if (!json) {
		printf("%-12s %-40s %-4s %s\n", what, name, ok ? "yes" : "no", detail);
		return;
	}
	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_str(&j, "what", what);
	json_str(&j, "name", name);
	json_bool(&j, "available", ok);
	if (*detail)
		json_str(&j, "detail", detail);
	json_close(&j, '}');
	json_end(&j);
}

static bool check_kvm(bool json)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool readonly;

	if (fd < 0) {
		tell(json, "host", "/dev/kvm", false, strerror(errno));
		return false;
	}
	readonly = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0;
	close(fd);
	tell(json, "host", "/dev/kvm", true, "");
	tell(json, "host", "read-only memory slots", readonly,
	     readonly ? "" : "watch mode needs KVM_CAP_READONLY_MEM");
	return readonly;
}

static const char *how_text(const struct probe_state *p, char *buf, size_t size)
{
	const char *by = p->how == PROBE_HOW_TRACEPOINT ? "tracepoint" : "uprobe";

	if (p->how > PROBE_HOW_OFF)
		snprintf(buf, size, "%s%s; %s", by,
			 p->slow ? ", single-stepped: about 12 us a hit" : "", p->what_for);
	else
		snprintf(buf, size, "%s; without it: no %s",
			 p->err == ENOENT ? "no such function in the VMM" : strerror(p->err),
			 p->what_for);
	return buf;
}

/* Uprobes are attached to a process: this one, which has the VMM's file nowhere mapped, so that
 * they cost nobody anything. */
static bool check_probes(bool json, const char *vmm)
{
	static const struct gpa_range nowhere = {0, 0x1000};
	struct source_bpf_opts opts = {
		.watch = true,
		.nwatch = 1,
		.nasked = 1,
		.watch_ranges = &nowhere,
		.asked = &nowhere,
		.ring_bytes = 4096,
	};
	struct probe_state states[PROBES_MAX];
	struct source_bpf *s;
	char text[512];
	size_t n;
	bool ok;
	int err = source_bpf_open(&s, &opts, text, sizeof(text));

	if (err) {
		tell(json, "host", "BPF", false, text);
		return false;
	}
	tell(json, "host", "BPF", true, "");
	err = vmm ? source_bpf_attach_vmm(s, getpid(), vmm) : 0;
	if (err)
		tell(json, "vmm", vmm, false, strerror(-err));
	n = source_bpf_probes(s, states, PROBES_MAX);
	for (size_t i = 0; i < n; i++)
		tell(json, "probe", states[i].name, states[i].how > PROBE_HOW_OFF,
		     how_text(&states[i], text, sizeof(text)));
	ok = source_bpf_covers(s, ORIGIN_VCPU);
	source_bpf_close(s);
	return ok;
}

int cmd_check(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands = {0};
	struct utsname host;
	char vmm[4096];
	const char *name, *no_preload = NULL;
	bool kvm, bpf, btf, found;
	int err;

	switch (options_parse(argc, argv, &args, &operands)) {
	case OPTIONS_OK:
		break;
	case OPTIONS_HELP:
		return 0;
	case OPTIONS_USAGE:
		return 2;
	}
	if (operands.n || operands.nrest)
		return usage_error("check", "it takes no operands");
	name = args.vmm ? args.vmm : "qemu-system-x86_64";
	if (!uname(&host))
		tell(args.json, "host", "kernel", true, host.release);
	btf = !access("/sys/kernel/btf/vmlinux", R_OK);
	tell(args.json, "host", "BTF", btf, btf ? "" : "the kernel needs CONFIG_DEBUG_INFO_BTF");
	tell(args.json, "host", "root", !geteuid(), geteuid() ? "BPF and uprobes need it" : "");
	kvm = check_kvm(args.json);
	err = launch_find(name, vmm, sizeof(vmm));
	found = !err;
	if (found)
		no_preload = elfsym_no_preload(vmm);
	tell(args.json, "vmm", found ? vmm : name, found,
	     found ? (no_preload ? no_preload : "") : strerror(-err));
	bpf = btf && !geteuid() && check_probes(args.json, found ? vmm : NULL);
	tell(args.json, "mode", "events", bpf, bpf ? "" : "needs root, BTF and BPF");
	tell(args.json, "mode", "watch", found && bpf && kvm && !no_preload,
	     no_preload ? "the agent cannot be loaded into this VMM"
	     : kvm	? "one vCPU"
			: "needs KVM");
	tell(args.json, "mode", "pages", false, "this version does not have it");
	tell(args.json, "mode", "full", false, "this version does not have it");
	for (unsigned i = 0; i < 4; i++) {
		static const char *const blind[] = {"dma", "vmm", "kvm", "vhost"};

		tell(args.json, "writer", blind[i], false, "this version has no probes for it");
	}
	return found && bpf && kvm && !no_preload ? 0 : 1;
}
