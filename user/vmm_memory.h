/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads of the memory of the VMM's process, in bulk. Needs the right to trace it (ptrace(2)).
 */
#ifndef VMBLAME_VMM_MEMORY_H
#define VMBLAME_VMM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "formats/event.h"

#define VMM_PAGE       4096u
#define VMM_WINDOW_MAX 256u /* pages at once */

struct vmm_memory {
	pid_t pid;
	int pagemap; /* /proc/PID/pagemap and maps; -1, NULL: they cannot be read */
	FILE *maps;
	u64 start, end; /* of the mapping that was asked for last */
	bool anonymous;
	int file;   /* what it maps, if that is a file that can be opened; else -1 */
	u64 offset; /* in it, of the start */
};

void vmm_memory_open(struct vmm_memory *m, pid_t pid);
void vmm_memory_close(struct vmm_memory *m);

/* Reads n pages, each from its address, one after the other into `to`. 0, -EFAULT when one of them
 * is not there (any more), or -errno: -EPERM, -ESRCH. */
int vmm_memory_read(const struct vmm_memory *m, const u64 *hva, size_t n, u8 *to);

/* Which of the n pages from hva on may hold anything but zeroes: private anonymous memory that was
 * never touched does not, nor do holes of a file (a memfd, shared memory, hugetlbfs), and both are
 * better not touched by us. n at most VMM_WINDOW_MAX. */
void vmm_memory_touched(struct vmm_memory *m, u64 hva, size_t n, bool *touched);

#endif
