// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads by process_vm_readv(2); what was touched by proc_pid_pagemap(5). */
#include "user/vmm_memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "user/cleanup.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)

void vmm_memory_open(struct vmm_memory *m, pid_t pid)
{
	char path[64];

	*m = (struct vmm_memory){.pid = pid, .file = -1};
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	m->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	m->maps = fopen(path, "re");
}

void vmm_memory_close(struct vmm_memory *m)
{
	fd_cleanup(&m->pagemap);
	fd_cleanup(&m->file);
	file_cleanup(&m->maps);
	m->pagemap = m->file = -1;
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

/* By one of the process' own descriptors; -1 when it has none, or we may not. */
static int file_open(pid_t pid, dev_t dev, ino_t inode)
{
	const struct dirent *entry;
	char path[64];
	int fd = -1;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	while (fds && fd < 0 && (entry = readdir(fds))) {
		struct stat st;

		if (!fstatat(dirfd(fds), entry->d_name, &st, 0) && S_ISREG(st.st_mode) &&
		    st.st_dev == dev && st.st_ino == inode)
			fd = openat(dirfd(fds), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	if (fds)
		closedir(fds);
	return fd;
}

static bool is_huge(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC;
}

static void mapping_find(struct vmm_memory *m, u64 hva)
{
	char line[512];

	if (hva >= m->start && hva < m->end)
		return;
	fd_cleanup(&m->file);
	m->file = -1;
	m->anonymous = false;
	m->start = hva;
	m->end = hva + 1;
	rewind(m->maps);
	while (fgets(line, sizeof(line), m->maps)) {
		unsigned long long start, end, offset, inode;
		unsigned major, minor;
		char mode[8];

		if (sscanf(line, "%llx-%llx %7s %llx %x:%x %llu", &start, &end, mode, &offset,
			   &major, &minor, &inode) != 7)
			continue;
		if (hva < start || hva >= end)
			continue;
		m->start = start;
		m->end = end;
		m->anonymous = !inode && mode[3] == 'p';
		m->offset = offset;
		if (inode)
			m->file = file_open(m->pid, makedev(major, minor), inode);
		/* Such a file says that all of it is data; no page of it is swapped, and what the
		 * guest or the VMM touched is in the VMM's page tables. */
		if (m->file >= 0 && is_huge(m->file))
			m->anonymous = true;
		/* Other private mappings have pages of their own besides the file's. */
		if (m->anonymous || mode[3] == 'p') {
			fd_cleanup(&m->file);
			m->file = -1;
		}
		return;
	}
}

/* Of a file: what its holes are. */
static void file_touched(const struct vmm_memory *m, u64 hva, size_t n, bool *touched)
{
	const off_t from = (off_t)(m->offset + (hva - m->start));
	const off_t end = from + (off_t)(n * VMM_PAGE);

	for (off_t at = from; at < end;) {
		const off_t data = lseek(m->file, at, SEEK_DATA);

		if (data < 0 && errno != ENXIO)
			return; /* it cannot tell */
		const off_t stop = data < 0 || data > end ? end : data;

		for (off_t hole = at; hole + (off_t)VMM_PAGE <= stop; hole += VMM_PAGE)
			touched[(hole - from) / VMM_PAGE] = false;
		if (data < 0 || data >= end)
			return;
		at = lseek(m->file, data, SEEK_HOLE);
		if (at <= data)
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
	if (hva + n * VMM_PAGE > m->end)
		return;
	if (m->file >= 0)
		file_touched(m, hva, n, touched);
	if (!m->anonymous)
		return;
	if (pread(m->pagemap, entries, n * sizeof(u64), (off_t)(hva / VMM_PAGE * sizeof(u64))) !=
	    (ssize_t)(n * sizeof(u64)))
		return;
	for (size_t i = 0; i < n; i++)
		touched[i] = entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED);
}
