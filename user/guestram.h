/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM seen from outside: where it lies in the VMM's process, and reads of it.
 */
#ifndef VMBLAME_GUESTRAM_H
#define VMBLAME_GUESTRAM_H

#include <stddef.h>
#include <sys/types.h>

#include "formats/event.h"

#define GUESTRAM_PARTS 256

/* A part of guest-physical memory that lies in one piece in the VMM. */
struct guestram_part {
	u64 gpa, size, hva; /* bytes */
};

struct guestram {
	int mem_fd; /* of guestram_open(), whose owner closes it; -1: nothing can be read */
	size_t n;
	struct guestram_part part[GUESTRAM_PARTS];
};

/* The memory of a process as it is now: what it becomes by exec, or who gets its number, cannot be
 * read through the descriptor. It must run as uid: a set-uid program is refused. The descriptor, or
 * -errno. */
int guestram_open(pid_t pid, uid_t uid);

/* Learns that [gpa,gpa+size) lies at hva; replaces what was known of it. -ENOSPC when full. */
int guestram_map(struct guestram *g, u64 gpa, u64 size, u64 hva);
/* Forgets [gpa,gpa+size). */
void guestram_unmap(struct guestram *g, u64 gpa, u64 size);

/* Bytes read from the start, up to the first that is not known; or -errno when there is none
 * (-ENXIO: not RAM; -ESRCH: the VMM is gone). */
ssize_t guestram_read(const struct guestram *g, u64 gpa, void *buf, size_t len);

/* Calls fn with a content event for each page, or part of one, of [gpa,end) that can be read.
 * Returns the number of bytes that could be read, or fn's negative value. */
ssize_t guestram_look(const struct guestram *g, u64 gpa, u64 end, u64 t_ns, enum content_why why,
		      int (*fn)(void *arg, const struct event *ev), void *arg);

#endif
