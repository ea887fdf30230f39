// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * until_text [-f FROM] -t TO [-k] [-o FILE] COMMAND...: runs a VMM whose console is its standard
 * output, passes that on, and tells what its process cost between the text FROM (without it, from
 * the start) and the text TO: "CPU_NS WALL_NS", to FILE or standard error. With -k the VMM is ended
 * at TO. Exits 0 when both texts were seen, else 1.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 256

struct search {
	const char *text; /* NULL: found from the start */
	size_t matched;
	bool found;
};

static volatile sig_atomic_t ended_by;

static void on_signal(int sig)
{
	ended_by = sig;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts = {0};

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* True when this byte completes the text. A mismatch starts over: enough for texts whose first byte
 * comes but once. */
static bool search_byte(struct search *s, char byte)
{
	if (s->found)
		return false;
	if (s->text[s->matched] != byte)
		s->matched = 0;
	if (s->text[s->matched] == byte)
		s->matched++;
	s->found = !s->text[s->matched];
	return s->found;
}

static pid_t start(char **argv, int *out_fd)
{
	int fds[2];

	if (pipe(fds))
		return -1;
	const pid_t pid = fork();

	if (!pid) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execvp(argv[0], argv);
		fprintf(stderr, "until_text: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	*out_fd = fds[0];
	return pid;
}

/* Reads the console to its end; true when both texts came. */
static bool follow(int fd, pid_t pid, struct search *from, struct search *to, bool end_at_to,
		   uint64_t *cpu_ns, uint64_t *wall_ns)
{
	clockid_t clock;
	char buf[512];
	bool cpu_known = !clock_getcpuclockid(pid, &clock);
	uint64_t cpu0_ns = 0, wall0_ns = clock_ns(CLOCK_MONOTONIC);

	while (!ended_by) {
		const ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0 && !(n < 0 && errno == EINTR))
			break;
		if (n > 0 && write(STDOUT_FILENO, buf, (size_t)n) != n)
			break;
		for (ssize_t i = 0; i < n; i++) {
			if (from->text && search_byte(from, buf[i])) {
				cpu0_ns = clock_ns(clock);
				wall0_ns = clock_ns(CLOCK_MONOTONIC);
			}
			if (!search_byte(to, buf[i]) || !from->found)
				continue;
			*cpu_ns = clock_ns(clock) - cpu0_ns;
			*wall_ns = clock_ns(CLOCK_MONOTONIC) - wall0_ns;
			if (end_at_to)
				kill(pid, SIGTERM);
		}
	}
	if (ended_by)
		kill(pid, SIGTERM);
	return cpu_known && from->found && to->found;
}

int main(int argc, char **argv)
{
	const struct sigaction action = {.sa_handler = on_signal};
	struct search from = {.found = true}, to = {0};
	const char *out_path = NULL;
	uint64_t cpu_ns = 0, wall_ns = 0;
	bool end_at_to = false;
	int opt, fd = -1, status;

	while ((opt = getopt(argc, argv, "+f:t:ko:")) != -1) {
		if (opt == 'f')
			from = (struct search){.text = optarg};
		else if (opt == 't')
			to.text = optarg;
		else if (opt == 'k')
			end_at_to = true;
		else if (opt == 'o')
			out_path = optarg;
		else
			return 2;
	}
	if (!to.text || !to.text[0] || (from.text && !from.text[0]) || optind >= argc) {
		fprintf(stderr, "usage: until_text [-f FROM] -t TO [-k] [-o FILE] COMMAND...\n");
		return 2;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	const pid_t pid = start(argv + optind, &fd);

	if (pid < 0)
		return 1;
	const bool seen = follow(fd, pid, &from, &to, end_at_to, &cpu_ns, &wall_ns);

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!seen) {
		fprintf(stderr, "until_text: the console did not show %s\n",
			from.found ? to.text : from.text);
		return 1;
	}
	FILE *const out = out_path ? fopen(out_path, "w") : stderr;

	if (!out)
		return 1;
	fprintf(out, "%llu %llu\n", (unsigned long long)cpu_ns, (unsigned long long)wall_ns);
	return 0;
}
