/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions of an executable by name, as file offsets for uprobes, and variables: from .dynsym,
 * .symtab, or the separate debug file that its build-id or .gnu_debuglink names.
 */
#ifndef VMBLAME_ELFSYM_H
#define VMBLAME_ELFSYM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "formats/event.h"

struct elfsym {
	const char *name; /* in: the function, without a version */
	bool data;	  /* in: it is a variable */
	u64 vaddr;	  /* out: its address as the file has it; 0 when not found */
	u64 file_off; /* out: bytes from the start of the file; 0 when not found, or a variable */
	u8 first[8];  /* out: the first bytes of its code */
};

/* Fills in what it finds of n symbols. 0, -errno, or -ENOEXEC for a file that is not ELF. */
int elfsym_find(const char *path, struct elfsym *syms, size_t n);

/* Where a process has its executable: what is to be added to its symbols' addresses. 0 or -errno.
 */
int elfsym_bias(const char *path, pid_t pid, u64 *bias);

/* Build-id as hex into out (empty when there is none). 0 or -errno. */
int elfsym_build_id(const char *path, char *out, size_t out_size);

/* A file that no LD_PRELOAD reaches: not ELF-dynamic, set-uid or set-gid, or with file
 * capabilities. Scripts count by their interpreter. Returns NULL, or a few words that say why. */
const char *elfsym_no_preload(const char *path);

/* A uprobe here costs under a microsecond: the kernel emulates the first instruction (nop, push).
 */
bool elfsym_cheap(const u8 first[8]);

#endif
