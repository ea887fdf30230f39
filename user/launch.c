// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Starts the VMM.
 */
#include "user/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/agent.h"

/* An id from the environment, which only root may have set. */
static bool id_from_env(const char *name, unsigned *id)
{
	const char *text = getenv(name);
	unsigned long n;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (*end || errno || n >= UINT_MAX)
		return false;
	*id = (unsigned)n;
	return true;
}

void caller_find(struct caller *c)
{
	const char *doas = getenv("DOAS_USER");
	const struct passwd *pw;
	unsigned id;

	*c = (struct caller){.uid = getuid(), .gid = getgid()};
	if (!geteuid() && id_from_env("SUDO_UID", &id)) {
		c->uid = id;
		/* Without a group of its own it must not keep root's. */
		c->gid = id_from_env("SUDO_GID", &id) ? id : c->uid;
	} else if (!geteuid() && doas && !caller_named(c, doas)) {
		return;
	}
	pw = getpwuid(c->uid);
	if (!pw)
		return;
	if (c->uid != getuid())
		c->gid = pw->pw_gid;
	snprintf(c->name, sizeof(c->name), "%s", pw->pw_name);
}

int launch_find(const char *file, char *path, size_t path_size)
{
	const char *dirs = getenv("PATH");
	int err = -ENOENT;
	struct stat st;

	if (strchr(file, '/')) {
		if (snprintf(path, path_size, "%s", file) >= (int)path_size)
			return -ENAMETOOLONG;
		if (stat(path, &st))
			return -errno;
		return S_ISREG(st.st_mode) && !access(path, X_OK) ? 0 : -EACCES;
	}
	if (!*file)
		return -ENOENT;
	for (const char *dir = dirs ? dirs : "/usr/bin:/bin", *next; dir; dir = next) {
		size_t len = strcspn(dir, ":");

		next = dir[len] ? dir + len + 1 : NULL;
		if (snprintf(path, path_size, "%.*s/%s", len ? (int)len : 1, len ? dir : ".",
			     file) >= (int)path_size)
			continue;
		if (stat(path, &st) || !S_ISREG(st.st_mode))
			continue;
		if (!access(path, X_OK))
			return 0;
		err = -EACCES;
	}
	return err;
}

bool launch_beside(const char *name, char *path, size_t path_size)
{
	char exe[4096], *slash;
	const ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return false;
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	if (!slash)
		return false;
	*slash = '\0';
	snprintf(path, path_size, "%s/%s", exe, name);
	if (!access(path, R_OK))
		return true;
	snprintf(path, path_size, "%s/../lib/vmblame/%s", exe, name);
	return !access(path, R_OK);
}

int caller_named(struct caller *c, const char *name)
{
	const struct passwd *pw = getpwnam(name);

	if (!pw)
		return -ENOENT;
	c->uid = pw->pw_uid;
	c->gid = pw->pw_gid;
	snprintf(c->name, sizeof(c->name), "%s", pw->pw_name);
	return 0;
}

/* In the child: no more rights than the caller has. */
static int become(const struct caller *c)
{
	if (geteuid() || !c->uid)
		return 0;
	if ((c->name[0] ? initgroups(c->name, c->gid) : setgroups(0, NULL)) || setgid(c->gid) ||
	    setuid(c->uid))
		return -errno;
	return 0;
}

static int preload(const struct launch_opts *opts)
{
	const char *old = getenv("LD_PRELOAD");
	char list[2 * PATH_MAX];

	if (!opts->preload)
		return 0;
	if (access(opts->preload, R_OK))
		return -ELIBACC; /* ld.so would only warn */
	/* The agent first: it must be the one whose ioctl() is called. */
	if (snprintf(list, sizeof(list), "%s%s%s", opts->preload, old && *old ? ":" : "",
		     old ? old : "") >= (int)sizeof(list))
		return -E2BIG;
	if (setenv("LD_PRELOAD", list, 1) || setenv(AGENT_ENV, opts->agent_name, 1))
		return -errno;
	return 0;
}

static void child(const struct launch_opts *opts, const char *path, int go_fd, int failed_fd)
{
	sigset_t none;
	ssize_t n;
	char c;
	int err;

	do
		n = read(go_fd, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(125); /* the recorder gave up */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	err = opts->as ? become(opts->as) : 0;
	if (!err)
		err = preload(opts);
	for (size_t i = 0; i < 2 && !err; i++)
		if (opts->inherit[i] && fcntl(opts->inherit[i], F_SETFD, 0))
			err = -errno;
	if (!err) {
		execv(path, opts->argv);
		err = -errno;
	}
	while (write(failed_fd, &err, sizeof(err)) < 0 && errno == EINTR)
		;
	_exit(err == -ENOENT ? 127 : 126);
}

int launch_start(struct launch *l, const struct launch_opts *opts)
{
	int go[2], failed[2], err;

	if (pipe2(go, O_CLOEXEC))
		return -errno;
	if (pipe2(failed, O_CLOEXEC)) {
		err = -errno;
		close(go[0]);
		close(go[1]);
		return err;
	}
	l->pid = fork();
	err = l->pid < 0 ? -errno : 0;
	if (!l->pid) {
		close(go[1]);
		close(failed[0]);
		child(opts, l->path, go[0], failed[1]);
	}
	close(go[0]);
	close(failed[1]);
	l->go_fd = go[1];
	l->failed_fd = failed[0];
	return err;
}

int launch_go(struct launch *l)
{
	ssize_t n;
	int err = 0;

	n = write(l->go_fd, "g", 1);
	close(l->go_fd);
	if (n == 1) {
		do
			n = read(l->failed_fd, &err, sizeof(err));
		while (n < 0 && errno == EINTR);
	}
	close(l->failed_fd);
	return n == sizeof(err) ? err : 0;
}
