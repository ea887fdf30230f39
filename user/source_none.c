// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In place of source_bpf.c where there was no BTF to build the BPF programs from: nothing can be
 * attached here, and full mode is what is left.
 */
#include <errno.h>
#include <stdio.h>

#include "user/source_bpf.h"

int source_bpf_open(struct source_bpf **out, const struct source_bpf_opts *opts, char *err,
		    size_t err_size)
{
	(void)opts;
	*out = NULL;
	snprintf(err, err_size, "built on a machine without BTF: only --mode full is there");
	return -ENOTSUP;
}

void source_bpf_close(struct source_bpf *s)
{
	(void)s;
}

int source_bpf_track(struct source_bpf *s, pid_t pid)
{
	(void)s;
	(void)pid;
	return -ENOTSUP;
}

int source_bpf_attach_vmm(struct source_bpf *s, pid_t pid, const char *exe)
{
	(void)s;
	(void)pid;
	(void)exe;
	return -ENOTSUP;
}

void source_bpf_attach(struct source_bpf *s)
{
	(void)s;
}

void source_bpf_detach(struct source_bpf *s)
{
	(void)s;
}

int source_bpf_drain(struct source_bpf *s, int (*fn)(void *arg, const struct event *ev), void *arg)
{
	(void)s;
	(void)fn;
	(void)arg;
	return 0;
}

int source_bpf_losses(struct source_bpf *s, int (*fn)(void *arg, const struct event *ev), void *arg)
{
	(void)s;
	(void)fn;
	(void)arg;
	return 0;
}

int source_bpf_dropped_fd(const struct source_bpf *s)
{
	(void)s;
	return -1;
}

size_t source_bpf_probes(struct source_bpf *s, struct probe_state *states, size_t max)
{
	(void)s;
	(void)states;
	(void)max;
	return 0;
}

void source_bpf_counters(const struct source_bpf *s, struct counters *out)
{
	(void)s;
	*out = (struct counters){0};
}

bool source_bpf_known(const char *name)
{
	(void)name;
	return false;
}

bool source_bpf_known_group(const char *name)
{
	(void)name;
	return false;
}

bool source_bpf_covers(const struct source_bpf *s, enum origin origin)
{
	(void)s;
	(void)origin;
	return false;
}
