// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest RAM seen from outside.
 */
#include "user/guestram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u

int guestram_open(pid_t pid, uid_t uid)
{
	struct stat st;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* In this order: had it become another program before, this would tell. */
	if (!stat(path, &st) && st.st_uid == uid)
		return fd;
	close(fd);
	return -EPERM;
}

static int add(struct guestram *g, u64 gpa, u64 size, u64 hva)
{
	if (!size)
		return 0;
	if (g->n == GUESTRAM_PARTS)
		return -ENOSPC;
	g->part[g->n++] = (struct guestram_part){gpa, size, hva};
	return 0;
}

void guestram_unmap(struct guestram *g, u64 gpa, u64 size)
{
	u64 end = gpa + size;

	for (size_t i = 0; i < g->n;) {
		struct guestram_part p = g->part[i];

		if (p.gpa >= end || p.gpa + p.size <= gpa) {
			i++;
			continue;
		}
		g->part[i] = g->part[--g->n];
		/* What sticks out on either side stays; there is room for one of them at least. */
		if (p.gpa < gpa)
			add(g, p.gpa, gpa - p.gpa, p.hva);
		if (p.gpa + p.size > end)
			add(g, end, p.gpa + p.size - end, p.hva + (end - p.gpa));
	}
}

int guestram_map(struct guestram *g, u64 gpa, u64 size, u64 hva)
{
	if (gpa + size < gpa)
		return -EINVAL;
	guestram_unmap(g, gpa, size);
	return add(g, gpa, size, hva);
}

ssize_t guestram_read(const struct guestram *g, u64 gpa, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		const struct guestram_part *p = NULL;
		size_t want = len - done;
		u64 at = gpa + done;
		ssize_t n;

		for (size_t i = 0; i < g->n; i++)
			if (at - g->part[i].gpa < g->part[i].size)
				p = &g->part[i];
		if (!p)
			return done ? (ssize_t)done : -ENXIO;
		if (want > p->size - (at - p->gpa))
			want = p->size - (at - p->gpa);
		n = pread(g->mem_fd, (u8 *)buf + done, want, (off_t)(p->hva + (at - p->gpa)));
		if (n <= 0)
			return done ? (ssize_t)done : n ? -errno : -ESRCH;
		done += n;
	}
	return done;
}

ssize_t guestram_look(const struct guestram *g, u64 gpa, u64 end, u64 t_ns, enum content_why why,
		      int (*fn)(void *arg, const struct event *ev), void *arg)
{
	struct event_content ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_content, .vcpu = VCPU_NONE},
		.why = why,
	};
	ssize_t total = 0;

	while (gpa < end) {
		u64 stop = (gpa | (PAGE - 1)) + 1;
		ssize_t n;
		int err;

		if (stop > end || !stop)
			stop = end;
		n = guestram_read(g, gpa, ev.data, stop - gpa);
		if (n > 0) {
			memset(ev.data + n, 0, sizeof(ev.data) - n);
			ev.gpa = gpa;
			ev.len = n;
			err = fn(arg, &ev.h);
			if (err < 0)
				return err;
			total += n;
		}
		gpa = stop;
	}
	return total;
}
