// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs the VMM's program for a moment.
 */
#include "user/preflight_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/launch.h"

static int become(const struct caller *c)
{
	if (geteuid() || !c->uid)
		return 0;
	if ((c->name[0] ? initgroups(c->name, c->gid) : setgroups(0, NULL)) || setgid(c->gid) ||
	    setuid(c->uid))
		return -errno;
	return 0;
}

static void child(char *const *argv, int out, int failed, pid_t parent)
{
	/* There may be no /dev/null. */
	const int null = memfd_create("null", MFD_CLOEXEC);
	struct caller caller;
	int err;

	caller_find(&caller);
	err = become(&caller);
	/* Changing who we are has taken it back before; the parent may have gone meanwhile. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	signal(SIGPIPE, SIG_DFL);
	dup2(null, STDIN_FILENO);
	dup2(out >= 0 ? out : null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	if (!err) {
		execv(argv[0], argv);
		err = -errno;
	}
	while (write(failed, &err, sizeof(err)) < 0 && errno == EINTR)
		;
	_exit(125);
}

pid_t preflight_spawn(char *const *argv, int *out_fd)
{
	int failed[2], out[2] = {-1, -1}, err = 0;
	const pid_t parent = getpid();
	pid_t pid;
	ssize_t n;

	if (pipe2(failed, O_CLOEXEC))
		return -errno;
	if (out_fd && pipe2(out, O_CLOEXEC)) {
		err = -errno;
		close(failed[0]);
		close(failed[1]);
		return err;
	}
	pid = fork();
	err = pid < 0 ? -errno : 0;
	if (!pid)
		child(argv, out[1], failed[1], parent);
	close(failed[1]);
	if (out_fd)
		close(out[1]);
	if (!err) {
		do
			n = read(failed[0], &err, sizeof(err));
		while (n < 0 && errno == EINTR);
		if (err)
			preflight_reap(pid);
	}
	close(failed[0]);
	if (out_fd && err)
		close(out[0]);
	else if (out_fd)
		*out_fd = out[0];
	return err ? err : pid;
}

void preflight_reap(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
