// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host's KVM: the page of zeroes, which MMU it uses, numbers that its BTF tells.
 */
#include "user/host_mmu.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/cleanup.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_PFN	((1ull << 55) - 1)

/* Anonymous memory that was only read is the page of zeroes; pagemap tells its frame to root. */
static u64 find_zero_pfn(void)
{
	const long page = sysconf(_SC_PAGESIZE);
	CLEANUP_FD int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile const char *p;
	u64 entry = 0;

	if (fd < 0)
		return 0;
	p = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return 0;
	(void)*p;
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / page * sizeof(entry)) != sizeof(entry))
		entry = 0;
	munmap((void *)p, page);
	return entry & PAGEMAP_PRESENT ? entry & PAGEMAP_PFN : 0;
}

/* A module's parameter that is a flag; false when there is no such module or parameter. */
static bool parameter(const char *module, const char *name)
{
	char path[128], value = 'N';

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module, name);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && read(fd, &value, 1) == 1 && (value == 'Y' || value == '1');
}

void host_mmu_facts(const struct kernel_btf *k, struct mmu_facts *facts)
{
	facts->zero_pfn = find_zero_pfn();
	facts->tdp_mmu = (parameter("kvm_amd", "npt") || parameter("kvm_intel", "ept")) &&
			 parameter("kvm", "tdp_mmu");
	if (!kernel_btf_enumerator(k, "RET_PF_FIXED", &facts->ret_fixed) ||
	    !kernel_btf_enumerator(k, "RET_PF_SPURIOUS", &facts->ret_spurious))
		facts->ret_fixed = facts->ret_spurious = ~0u;
}
