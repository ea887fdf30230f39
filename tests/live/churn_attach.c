// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Loads, attaches to a running VMM, detaches and closes, again and again; says what that left
 *behind.
 *
 *	churn_attach PID LOADS ATTACHES	all probes; LOADS times, each attached ATTACHES times
 *
 * Prints one line, "attached N events N fds FIRST LAST rss FIRST LAST left N", in kB, from after
 *the first load to the end; `left` are BPF programs, maps and links of ours that the kernel still
 *has.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "user/cleanup.h"
#include "user/source_bpf.h"

#define IDS_MAX	   (1u << 20)
#define PATIENCE_S 60

enum object { PROGRAM, MAP, LINK };

struct id {
	enum object object;
	u32 id;
};

static struct id *ids;
static size_t nids;

static void die(const char *what, int err)
{
	fprintf(stderr, "churn_attach: %s: %s\n", what, strerror(err));
	exit(1);
}

static void note_id(const char *line)
{
	static const char *const labels[] = {
		[PROGRAM] = "prog_id:", [MAP] = "map_id:", [LINK] = "link_id:"};

	for (size_t i = 0; i < 3; i++)
		if (!strncmp(line, labels[i], strlen(labels[i])) && nids < IDS_MAX)
			ids[nids++] = (struct id){(enum object)i,
						  strtoul(line + strlen(labels[i]), NULL, 10)};
}

/* How many descriptors there are; with `note` the BPF objects behind them are kept in mind. */
static unsigned descriptors(bool note)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	struct dirent *entry;
	unsigned n = 0;

	if (!dir)
		die("/proc/self/fdinfo", errno);
	while ((entry = readdir(dir))) {
		char path[300], line[256];

		n += entry->d_name[0] != '.';
		if (!note || entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", entry->d_name);
		CLEANUP_FILE FILE *f = fopen(path, "r");

		while (f && fgets(line, sizeof(line), f))
			note_id(line);
	}
	closedir(dir);
	return n - 1; /* opendir()'s own */
}

static unsigned long rss_kb(void)
{
	unsigned long size = 0, resident = 0;
	CLEANUP_FILE FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
		die("/proc/self/statm", errno);
	return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static bool alive(const struct id *id)
{
	const int fd = id->object == PROGRAM ? bpf_prog_get_fd_by_id(id->id)
		       : id->object == MAP   ? bpf_map_get_fd_by_id(id->id)
					     : bpf_link_get_fd_by_id(id->id);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* The kernel frees them after grace periods: asked until none is left, or for a minute. */
static size_t left_behind(void)
{
	const time_t end = time(NULL) + PATIENCE_S;
	const struct timespec pause = {.tv_nsec = 10000000};
	size_t n;

	do {
		n = 0;
		for (size_t i = 0; i < nids; i++)
			if (alive(&ids[i]))
				ids[n++] = ids[i];
		nids = n;
	} while (n && time(NULL) < end && !nanosleep(&pause, NULL));
	return n;
}

static int count_event(void *arg, const struct event *ev)
{
	(void)ev;
	++*(unsigned long *)arg;
	return 0;
}

/* Until the guest was seen to do something: a probe that is attached but dead fails the test. */
static void see_something(struct source_bpf *s, unsigned long *events)
{
	const unsigned long before = *events;
	const time_t end = time(NULL) + PATIENCE_S;

	while (*events == before) {
		const int n = source_bpf_drain(s, count_event, events);

		if (n < 0)
			die("drain", -n);
		if (time(NULL) > end)
			die("no event of a guest that runs", ETIME);
	}
}

int main(int argc, char **argv)
{
	static const char *const with[] = {"mmu", NULL};
	static const struct gpa_range nowhere = {0x1000, 0x2000};
	const struct source_bpf_opts opts = {
		.watch = true,
		.nwatch = 1,
		.nasked = 1,
		.watch_ranges = &nowhere,
		.asked = &nowhere,
		.ring_bytes = 65536,
		.with = with,
	};
	unsigned long events = 0, attached = 0, rss = 0;
	unsigned fds = 0;
	char exe[64], err[512];

	if (argc != 4) {
		fprintf(stderr, "usage: churn_attach PID LOADS ATTACHES\n");
		return 2;
	}
	const pid_t pid = atoi(argv[1]);
	const unsigned loads = atoi(argv[2]), attaches = atoi(argv[3]);

	ids = calloc(IDS_MAX, sizeof(*ids));
	if (!ids)
		die("memory", ENOMEM);
	snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)pid);
	for (unsigned i = 0; i < loads; i++) {
		struct source_bpf *s;

		if (source_bpf_open(&s, &opts, err, sizeof(err)))
			die(err, EINVAL);
		for (unsigned k = 0; k < attaches; k++) {
			if (k)
				source_bpf_attach(s);
			if (source_bpf_track(s, pid) || source_bpf_attach_vmm(s, pid, exe))
				die("attach", EINVAL);
			descriptors(true);
			see_something(s, &events);
			source_bpf_detach(s);
			attached++;
		}
		source_bpf_close(s);
		if (!i) {
			fds = descriptors(false);
			rss = rss_kb();
		}
	}
	const unsigned long rss_last = rss_kb();
	const unsigned fds_last = descriptors(false);

	printf("attached %lu events %lu fds %u %u rss %lu %lu objects %zu", attached, events, fds,
	       fds_last, rss, rss_last, nids);
	printf(" left %zu\n", left_behind());
	free(ids);
	return 0;
}
