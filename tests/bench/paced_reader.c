// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * paced_reader BYTES RATE: reads its standard input and drops it, so many bytes as fast as they
 * come, the rest at RATE bytes a second.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STEP 65536

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void wait_until(uint64_t ns)
{
	const struct timespec ts = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL))
		;
}

int main(int argc, char **argv)
{
	static char buf[STEP];
	uint64_t fast, next_ns;
	double rate;
	ssize_t n;

	if (argc != 3 || (rate = atof(argv[2])) <= 0) {
		fprintf(stderr, "usage: paced_reader BYTES RATE\n");
		return 2;
	}
	for (fast = strtoull(argv[1], NULL, 0); fast;
	     fast -= (uint64_t)n < fast ? (uint64_t)n : fast)
		if ((n = read(STDIN_FILENO, buf, STEP)) <= 0)
			return n < 0;
	for (next_ns = now_ns(); (n = read(STDIN_FILENO, buf, STEP)) > 0;) {
		next_ns += (uint64_t)((double)n / rate * 1e9);
		wait_until(next_ns);
		/* What was not there in time is not made up for. */
		if (now_ns() > next_ns + 20000000)
			next_ns = now_ns();
	}
	return n < 0;
}
