// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The preflight's look at KVM: which back end runs guests, how it maps their memory, and the
 * capabilities that a watch stands on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bpf/shared.h"
#include "user/preflight.h"

/* Both modules' directories are there where both are built in: the processor decides. */
static bool processor_has(const char *flag)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];
	bool found = false;

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5))
			continue;
		for (char *rest = line, *word; !found && (word = strtok_r(rest, " \t\n", &rest));)
			found = !strcmp(word, flag);
		break;
	}
	fclose(f);
	return found;
}

static enum backend backend_find(void)
{
	if (!access("/sys/module/kvm_amd", F_OK) && processor_has("svm"))
		return BACKEND_SVM;
	if (!access("/sys/module/kvm_intel", F_OK) && processor_has("vmx"))
		return BACKEND_VMX;
	if (!access("/sys/module/kvm_pvm", F_OK))
		return BACKEND_PVM;
	return BACKEND_UNKNOWN;
}

static bool parameter_on(const char *module, const char *name)
{
	char value[32];

	return preflight_parameter(module, name, value, sizeof(value)) &&
	       (*value == 'Y' || *value == 'y' || *value == '1');
}

static void tell_backend(struct preflight *p, enum backend backend)
{
	static const char *const names[] = {"unknown", "svm", "vmx", "pvm"};
	static const char *const tested[] = {
		[BACKEND_UNKNOWN] = "never tested on this back end",
		[BACKEND_SVM] = "svm: tested on nested hosts, with npt=1 and npt=0",
		[BACKEND_VMX] = "vmx: never tested",
		[BACKEND_PVM] = "pvm: tested",
	};
	const char *paging = "";

	if (backend == BACKEND_SVM)
		paging = parameter_on("kvm_amd", "npt") ? "two-dimensional paging (npt=1)"
							: "shadow paging (npt=0)";
	else if (backend == BACKEND_VMX)
		paging = parameter_on("kvm_intel", "ept") ? "two-dimensional paging (ept=1)"
							  : "shadow paging (ept=0)";
	else if (backend == BACKEND_PVM)
		paging =
			"shadow paging; guests may be emulated rather than entered, and then fault "
			"nowhere in KVM";
	preflight_tell(p, "kvm", "back end", backend != BACKEND_UNKNOWN, "%s%s%s", names[backend],
		       *paging ? ", " : "", paging);
	preflight_tell(p, "kvm", "tested", backend == BACKEND_SVM || backend == BACKEND_PVM, "%s",
		       tested[backend]);
	if (backend == BACKEND_VMX && parameter_on("kvm_intel", "pml"))
		preflight_tell(p, "kvm", "first stores", false,
			       "page-modification logging is on (pml=1): pages become dirty "
			       "without a fault, so the first store's code is not known; "
			       "kvm_intel.pml=0 would change it");
	else if (backend == BACKEND_VMX)
		preflight_tell(p, "kvm", "first stores", true,
			       "page-modification logging is off (pml=0)");
}

static void tell_capabilities(struct preflight *p, enum backend backend, int fd)
{
	static const struct {
		int cap;
		const char *name, *what_for;
	} caps[] = {
		{KVM_CAP_READONLY_MEM, "read-only memory slots", "watch stands on them"},
		{KVM_CAP_X86_MSR_FILTER, "MSR filter",
		 "finds kvmclock's pages before KVM writes them"},
		{KVM_CAP_EXIT_ON_EMULATION_FAILURE, "emulation failures exit",
		 "stores that KVM cannot emulate, at CPL 3"},
		{KVM_CAP_SET_GUEST_DEBUG2, "single steps without interrupts",
		 "stores that KVM cannot emulate"},
		{KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "dirty log", "pages written to, by epoch"},
	};

	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		const bool has = ioctl(fd, KVM_CHECK_EXTENSION, caps[i].cap) > 0;

		if (caps[i].cap == KVM_CAP_READONLY_MEM)
			p->readonly = has;
		preflight_tell(p, "kvm", caps[i].name, has, "%s%s",
			       has ? "" : "KVM lacks it: ", caps[i].what_for);
	}
	const bool ring = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) > 0 ||
			  ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_ACQ_REL) > 0;

	preflight_tell(
		p, "kvm", "dirty ring", ring && backend != BACKEND_PVM, "%s",
		!ring ? "KVM lacks it; the dirty log does the same"
		: backend == BACKEND_PVM
			? "broken under pvm: it fills and the guest exits without end; leave "
			  "dirty-ring-size alone"
			: "usable; hidden from the VMM while its slots are split");
}

void preflight_kvm(struct preflight *p)
{
	const int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	enum backend backend;

	p->kvm = fd >= 0;
	preflight_tell(p, "host", "/dev/kvm", p->kvm, "%s",
		       p->kvm		 ? ""
		       : errno == ENOENT ? "No such file or directory: load kvm_amd or kvm_intel"
		       : errno == EACCES ? "Permission denied: join the group kvm, or be root"
					 : strerror(errno));
	if (!p->kvm)
		return;
	backend = backend_find();
	tell_backend(p, backend);
	tell_capabilities(p, backend, fd);
	close(fd);
}
