// SPDX-License-Identifier: GPL-2.0-or-later
/* A thread for each. */
#include "user/uprobes.h"

#include <errno.h>
#include <pthread.h>

#define TASKS_MAX 128

struct call {
	struct uprobe_task *task;
	pid_t pid;
	const char *exe;
	struct bpf_link *link; /* to be destroyed */
};

static void *attach(void *arg)
{
	const struct call *call = arg;
	struct uprobe_task *task = call->task;

	task->link = bpf_program__attach_uprobe(task->prog, task->ret, call->pid, call->exe,
						task->file_off);
	task->err = task->link ? 0 : errno;
	return NULL;
}

static void *destroy(void *arg)
{
	bpf_link__destroy(((const struct call *)arg)->link);
	return NULL;
}

static void all(void *(*fn)(void *), struct call *calls, size_t n)
{
	pthread_t threads[TASKS_MAX];
	bool started[TASKS_MAX];

	for (size_t i = 0; i < n; i++) {
		started[i] = !pthread_create(&threads[i], NULL, fn, &calls[i]);
		if (!started[i])
			fn(&calls[i]);
	}
	for (size_t i = 0; i < n; i++)
		if (started[i])
			pthread_join(threads[i], NULL);
}

void uprobes_attach(struct uprobe_task *tasks, size_t n, pid_t pid, const char *exe)
{
	struct call calls[TASKS_MAX];
	size_t ncalls = 0;

	for (size_t i = 0; i < n; i++) {
		tasks[i].link = NULL;
		tasks[i].err = tasks[i].prog ? ENOENT : 0;
		if (tasks[i].prog && tasks[i].file_off && ncalls < TASKS_MAX)
			calls[ncalls++] = (struct call){&tasks[i], pid, exe, NULL};
	}
	all(attach, calls, ncalls);
}

void links_destroy(struct bpf_link *const *links, size_t n)
{
	struct call calls[TASKS_MAX];
	size_t ncalls = 0;

	for (size_t i = 0; i < n; i++)
		if (links[i] && ncalls < TASKS_MAX)
			calls[ncalls++] = (struct call){.link = links[i]};
	all(destroy, calls, ncalls);
}
