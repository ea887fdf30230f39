// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The preflight's beginning and end: the host as a whole, and what follows for each mode.
 */
#include "user/preflight.h"
#include "user/elfsym.h"

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef VMBLAME_VERSION
#define VMBLAME_VERSION "unknown"
#endif

void preflight_tell(struct preflight *p, const char *what, const char *name, bool available,
		    const char *fmt, ...)
{
	struct fact fact = {.what = what, .name = name, .available = available};
	char detail[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	fact.detail = detail;
	p->tell(p->arg, &fact);
}

bool preflight_parameter(const char *module, const char *name, char *buf, unsigned size)
{
	char path[256];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(buf, (int)size, f);
	fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

/* "Y (integrity)" of "none [integrity] confidentiality"; empty when there is no lockdown. */
static void lockdown(char *buf, size_t size)
{
	FILE *f = fopen("/sys/kernel/security/lockdown", "re");
	char line[128] = "", *from, *to;

	*buf = '\0';
	if (!f)
		return;
	if (fgets(line, sizeof(line), f)) {
		from = strchr(line, '[');
		to = from ? strchr(from, ']') : NULL;
		if (to)
			snprintf(buf, size, "%.*s", (int)(to - from - 1), from + 1);
	}
	fclose(f);
}

void preflight_host(struct preflight *p)
{
	const bool module_btf = !access("/sys/kernel/btf/kvm", F_OK);
	struct utsname host;
	char locked[32];

	preflight_tell(p, "version", "vmblame", true, "%s", VMBLAME_VERSION);
	if (!uname(&host))
		preflight_tell(p, "version", "kernel", true, "%s %s", host.release, host.machine);
	preflight_tell(p, "version", "libbpf", true, "%s", libbpf_version_string());
	p->btf = !access("/sys/kernel/btf/vmlinux", R_OK);
	preflight_tell(p, "host", "BTF", p->btf, "%s",
		       !p->btf	    ? "the kernel needs CONFIG_DEBUG_INFO_BTF"
		       : module_btf ? "of the kernel, and of KVM as a module"
				    : "of the kernel, KVM built in or not loaded");
	p->root = !geteuid();
	preflight_tell(
		p, "host", "root", p->root, "%s",
		p->root ? ""
			: "BPF and uprobes need it: with it the probes below would be tried, "
			  "and events and watch may be there");
	lockdown(locked, sizeof(locked));
	if (*locked)
		preflight_tell(p, "host", "lockdown", !strcmp(locked, "none"), "%s%s", locked,
			       strcmp(locked, "confidentiality")
				       ? ""
				       : ": BPF may not read kernel memory; boot without it");
}

/* What the plugin calls of QEMU. */
static bool takes_plugins(const struct preflight *p)
{
	struct elfsym syms[] = {
		{.name = "qemu_plugin_register_vcpu_mem_cb"},
		{.name = "flatview_for_each_range"},
	};
	const size_t n = sizeof(syms) / sizeof(syms[0]);

	if (!*p->path || elfsym_find(p->path, syms, n))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!syms[i].file_off)
			return false;
	return true;
}

bool preflight_modes(struct preflight *p)
{
	const bool found = *p->path, events = found && p->bpf;
	const bool watch = events && p->kvm && p->readonly && !p->no_preload && p->vcpu_seen;

	preflight_tell(p, "mode", "events", events, "%s",
		       events	  ? "what devices write, and accesses to devices"
		       : !found	  ? "needs a VMM: name one"
		       : !p->btf  ? "needs BTF"
		       : !p->root ? "needs root"
				  : "needs BPF programs that load and attach");
	preflight_tell(p, "mode", "watch", watch, "%s",
		       watch	       ? "also every guest store to the range"
		       : p->no_preload ? "the agent cannot be loaded into this VMM"
		       : !p->kvm       ? "needs KVM: /dev/kvm that can be opened"
		       : !p->readonly  ? "needs read-only memory slots"
		       : !events       ? "needs what events needs"
				       : "needs the probes that see stores");
	const bool pages = events && p->kvm && !p->no_preload;
	preflight_tell(p, "mode", "pages", pages, "%s",
		       p->no_preload ? "the agent cannot be loaded into this VMM"
		       : !p->kvm     ? "needs KVM: /dev/kvm that can be opened"
		       : !events     ? "needs what events needs"
				     : "what every page held, and who could have written it");
	const bool full = takes_plugins(p);
	preflight_tell(p, "mode", "full", full, "%s",
		       full	? "every store of the guest, under TCG; needs neither KVM nor root"
		       : !found ? "needs a VMM: name one"
				: "needs a QEMU that takes TCG plugins and exports its functions");
	return pages && watch;
}
