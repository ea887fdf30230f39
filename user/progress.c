// SPDX-License-Identifier: GPL-2.0-or-later
#include "progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define FIRST_NS 1000000000ll
#define EACH_NS	 200000000ll

static bool shown;

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

void progress_show(u64 done, u64 all)
{
	static long long next_ns;
	const long long now = now_ns();

	if (!next_ns)
		next_ns = now + FIRST_NS;
	if (now < next_ns || !all || !isatty(STDERR_FILENO))
		return;
	next_ns = now + EACH_NS;
	shown = true;
	fprintf(stderr, "\rvmblame: %d %% ",
		done < all ? (int)(100.0 * (double)done / (double)all) : 99);
	fflush(stderr);
}

void progress_end(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
}
