/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts the VMM: as the caller (of sudo), with the caller's groups, the agent preloaded, terminal
 * and descriptors untouched, and held back until launch_go().
 */
#ifndef VMBLAME_LAUNCH_H
#define VMBLAME_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Who runs vmblame: the user behind sudo or doas, or the user itself. */
struct caller {
	uid_t uid;
	gid_t gid;
	char name[64];
};
void caller_find(struct caller *c);
/* 0, or -ENOENT when there is no such user. */
int caller_named(struct caller *c, const char *name);

struct launch {
	pid_t pid;	 /* the child; not reaped */
	int go_fd;	 /* pipe that holds it back */
	int failed_fd;	 /* errno of a failed exec comes here */
	char path[4096]; /* what execvp() will run */
};

struct launch_opts {
	char *const *argv;	 /* ended by NULL */
	const struct caller *as; /* NULL: as ourselves */
	const char *preload;	 /* the agent's path, or NULL */
	const char *agent_name;	 /* value of AGENT_ENV */
	int inherit[2];		 /* descriptors that the VMM is to have, too; 0: none */
};

/* Resolves argv[0] along PATH. 0, -ENOENT (127) or -EACCES (126). */
int launch_find(const char *file, char *path, size_t path_size);
/* A file of ours: beside the program, or in the library directory of the same prefix. False when it
 * is in neither. */
bool launch_beside(const char *name, char *path, size_t path_size);
/* Forks. 0 or -errno; the path must have been found. */
int launch_start(struct launch *l, const struct launch_opts *opts);
/* Lets it run; waits until exec has happened. 0, or -errno of exec. */
int launch_go(struct launch *l);

#endif
