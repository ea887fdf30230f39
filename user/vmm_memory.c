// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads by process_vm_readv(2); what was touched by proc_pid_pagemap(5). */
#include "user/vmm_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "user/cleanup.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)

void vmm_memory_open(struct vmm_memory *m, pid_t pid)
{
	char path[64];

	*m = (struct vmm_memory){.pid = pid};
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	m->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	m->maps = fopen(path, "re");
}

void vmm_memory_close(struct vmm_memory *m)
{
	fd_cleanup(&m->pagemap);
	file_cleanup(&m->maps);
	m->pagemap = -1;
	m->maps = NULL;
}

int vmm_memory_read(const struct vmm_memory *m, const u64 *hva, size_t n, u8 *to)
{
	struct iovec remote[VMM_WINDOW_MAX];
	size_t runs = 0;

	for (size_t i = 0; i < n; i++) {
		struct iovec *last = runs ? &remote[runs - 1] : NULL;

		if (last && (u64)(uintptr_t)last->iov_base + last->iov_len == hva[i])
			last->iov_len += VMM_PAGE;
		else
			remote[runs++] = (struct iovec){(void *)(uintptr_t)hva[i], VMM_PAGE};
	}
	const struct iovec local = {to, n * VMM_PAGE};
	const ssize_t got = process_vm_readv(m->pid, &local, 1, remote, runs, 0);

	if (got < 0)
		return -errno;
	return (size_t)got == n * VMM_PAGE ? 0 : -EFAULT;
}

static void mapping_find(struct vmm_memory *m, u64 hva)
{
	char line[512];

	if (hva >= m->start && hva < m->end)
		return;
	m->anonymous = false;
	m->start = hva;
	m->end = hva + 1;
	rewind(m->maps);
	while (fgets(line, sizeof(line), m->maps)) {
		unsigned long long start, end, inode;
		char mode[8];

		if (sscanf(line, "%llx-%llx %7s %*x %*s %llu", &start, &end, mode, &inode) != 4)
			continue;
		if (hva < start || hva >= end)
			continue;
		m->start = start;
		m->end = end;
		m->anonymous = !inode && mode[3] == 'p';
		return;
	}
}

void vmm_memory_touched(struct vmm_memory *m, u64 hva, size_t n, bool *touched)
{
	u64 entries[VMM_WINDOW_MAX];

	for (size_t i = 0; i < n; i++)
		touched[i] = true;
	if (m->pagemap < 0 || !m->maps)
		return;
	mapping_find(m, hva);
	if (!m->anonymous || hva + n * VMM_PAGE > m->end)
		return;
	if (pread(m->pagemap, entries, n * sizeof(u64), (off_t)(hva / VMM_PAGE * sizeof(u64))) !=
	    (ssize_t)(n * sizeof(u64)))
		return;
	for (size_t i = 0; i < n; i++)
		touched[i] = entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED);
}
