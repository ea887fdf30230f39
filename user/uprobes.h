/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many probes at once: each waits for a grace period of the kernel's as it is attached and as it is
 * taken off, and they may as well wait together.
 */
#ifndef VMBLAME_UPROBES_H
#define VMBLAME_UPROBES_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "formats/event.h"

struct uprobe_task {
	struct bpf_program *prog; /* in: NULL: none */
	bool ret;		  /* in: of the function's return */
	u64 file_off;		  /* in: 0: the function was not found */
	struct bpf_link *link;	  /* out: the caller's, or NULL */
	int err;		  /* out: 0 or errno */
};

/* In a process, whose executable opens by exe; at most 128. */
void uprobes_attach(struct uprobe_task *tasks, size_t n, pid_t pid, const char *exe);
/* Links may be NULL; at most 128. */
void links_destroy(struct bpf_link *const *links, size_t n);

#endif
