/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM as all that was seen makes it, kept while recording, and compared now and then with
 * what the VMM's process really holds: what differs was written by somebody who was not seen.
 *
 * It is kept by address in the VMM, so that it does not matter where the guest finds it; memory is
 * taken as pages are written.
 */
#ifndef VMBLAME_REPLICA_H
#define VMBLAME_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "formats/event.h"

#define REPLICA_PARTS 512

/* Where a part of guest-physical memory lies in the VMM; bytes, multiples of 4096. */
struct replica_part {
	u64 gpa, size, hva;
	bool readonly; /* stores change nothing */
	bool hidden;   /* another address space has it (SMM's), at a place where the main one has a
			* device */
};

struct replica;
/* 0 or -ENOMEM. */
int replica_open(struct replica **out);
void replica_close(struct replica *r); /* NULL is fine */

/* RAM lies so from now on. What is known of an address in the VMM stays known. 0 or -E2BIG. */
int replica_map(struct replica *r, const struct replica_part *parts, size_t n);
const struct replica_part *replica_parts(const struct replica *r, size_t *n);

/* The 4096 bytes of the page at gpa, to write what was stored there; NULL when it is no RAM, or
 * without memory. Valid until replica_close(). */
u8 *replica_page(struct replica *r, u64 gpa, bool hidden);

struct replica_difference {
	u64 gpa;
	const u8 *now, *was; /* len bytes each; `was` as the replica had it */
	u16 len;
	bool hidden;
};

/* Compares with the memory of the process, whose vCPUs stand still. Calls fn for each run of bytes
 * that differ, in pieces within a page, until it returns less than 0. Returns the number of bytes
 * that differed, what fn returned, or -errno: -EPERM, -ESRCH when the memory cannot be read. *read
 * (may be NULL) receives the bytes that were read. */
s64 replica_compare(struct replica *r, pid_t pid,
		    int (*fn)(void *arg, const struct replica_difference *d), void *arg, u64 *read);

#endif
