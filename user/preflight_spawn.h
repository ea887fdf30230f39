/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs the VMM's program for a moment: with the rights of the caller of sudo, silent, and gone at
 * the latest when we are.
 */
#ifndef VMBLAME_PREFLIGHT_SPAWN_H
#define VMBLAME_PREFLIGHT_SPAWN_H

#include <sys/types.h>

/* Returns when exec has happened. out_fd: receives a descriptor of its standard output, or NULL for
 * none. The pid, which preflight_reap() must be given; or -errno. */
pid_t preflight_spawn(char *const *argv, int *out_fd);
/* Ends it, if it has not ended, and waits for it. */
void preflight_reap(pid_t pid);

#endif
