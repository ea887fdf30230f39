// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * run_cold [-e STATUS] FILE COMMAND...: drops FILE, and FILE.pages where it is there, from the page
 * cache, runs COMMAND in a fresh
 * process with its output thrown away, and prints "WALL_MS MAXRSS_KIB". -e: a second exit status,
 * besides 0, that counts as an answer. Exits 1 when nothing was measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int fail(const char *what)
{
	fprintf(stderr, "run_cold: %s: %s\n", what, strerror(errno));
	return 1;
}

/* Pages of the file that the cache still holds, or -1. */
static long pages_cached(int fd)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	long n = 0;

	if (fstat(fd, &st) || !st.st_size)
		return -1;
	const size_t size = (size_t)st.st_size, npages = (size + page - 1) / page;
	unsigned char *const in_core = malloc(npages);
	void *const map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	if (!in_core || map == MAP_FAILED || mincore(map, size, in_core)) {
		free(in_core);
		return -1;
	}
	for (size_t i = 0; i < npages; i++)
		n += in_core[i] & 1;
	munmap(map, size);
	free(in_core);
	return n;
}

/* 0, or 1 after a message. */
static int file_drop(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail(path);
	fsync(fd); /* what is dirty is not dropped */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	const long cached = pages_cached(fd);
	close(fd);
	if (cached)
		fprintf(stderr, "run_cold: %s stays in the page cache\n", path);
	return cached != 0;
}

int main(int argc, char **argv)
{
	int opt, also = 0, status = 0;
	struct rusage usage;

	while ((opt = getopt(argc, argv, "+e:")) == 'e')
		also = atoi(optarg);
	if (opt != -1 || argc - optind < 2) {
		fprintf(stderr, "usage: run_cold [-e STATUS] FILE COMMAND...\n");
		return 2;
	}
	char pages[4096];

	snprintf(pages, sizeof(pages), "%s.pages", argv[optind]);
	if (file_drop(argv[optind]) || (!access(pages, F_OK) && file_drop(pages)))
		return 1;
	const double start_ms = now_ms();
	const pid_t pid = fork();

	if (!pid) {
		const int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		execvp(argv[optind + 1], argv + optind + 1);
		fail(argv[optind + 1]);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
		return fail("wait4");
	const double wall_ms = now_ms() - start_ms;

	if (!WIFEXITED(status) || (WEXITSTATUS(status) && WEXITSTATUS(status) != also)) {
		fprintf(stderr, "run_cold: %s: status %d\n", argv[optind + 1], status);
		return 1;
	}
	printf("%.2f %ld\n", wall_ms, usage.ru_maxrss);
	return 0;
}
