// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes a trace of N events (25 million unless told) with the statistics of watched guest stores:
 * runs of string stores, copies, stack-like pokes and device registers, over many pages.
 *
 *	gen_synthetic FILE [EVENTS]
 *
 * One byte at TARGET_GPA is stored to once, in the middle of the run: a question about it has one
 * answer and needs one chunk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/writer.h"

#define TARGET_GPA 0x7fff0123ull

static u64 seed = 0x9e3779b97f4a7c15ull;

/* xorshift64*: the same trace on every machine. */
static u64 rnd(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1dull;
}

/* What one loop of the guest does, until `left` is used up. */
struct run {
	u64 rip, gpa, step, value, cr3, rsp;
	u64 left;
	u8 len, nret;
	bool constant; /* the value stays; else it is data being copied */
	u32 pace_ns;
};

static void run_next(struct run *r)
{
	static const u8 lens[] = {1, 2, 4, 4, 8, 8};
	const u64 kind = rnd() % 10;

	*r = (struct run){
		.rip = 0xffffffff81000000ull + rnd() % 400 * 0x1730,
		.cr3 = 0x1000000 + rnd() % 8 * 0x1000,
		.gpa = 0x100000 + (rnd() % 0x4000 << 12) + rnd() % 512 * 8,
		.rsp = 0xffffc90000003f00ull - rnd() % 64 * 8,
		.len = lens[rnd() % 6],
		.nret = (u8)(rnd() % 8),
		.constant = kind < 6,
		.value = rnd(),
		.left = kind < 3 ? 1 + rnd() % 8 : 64 + rnd() % 4096,
		.pace_ns = 500 + (u32)(rnd() % 700),
	};
	r->step = r->len;
	if (kind == 9) { /* a register */
		r->gpa = 0xfebf0000 + rnd() % 64 * 4;
		r->step = 0;
		r->len = 4;
	}
}

static void event_fill(struct event_mmio *ev, struct run *r)
{
	const u64 value = r->constant ? r->value : rnd() & 0x00ff00ff00ff00ffull;

	ev->gpa = r->gpa;
	ev->len = r->len;
	ev->write = 1;
	ev->done = MMIO_DONE_EXITED;
	memset(ev->bytes, 0, sizeof(ev->bytes));
	memcpy(ev->bytes, &value, r->len);
	ev->rip = r->rip;
	ev->cr3 = r->cr3;
	ev->rsp = r->rsp;
	ev->rbp = r->rsp + 0x30;
	ev->mode = CPU_MODE_PROT64;
	ev->insn_len = 15;
	for (unsigned i = 0; i < ev->insn_len; i++)
		ev->insn[i] = (u8)(r->rip >> (i % 6) ^ i * 29);
	ev->nret = r->nret;
	for (unsigned i = 0; i < 8; i++)
		ev->ret[i] =
			i < r->nret ? 0xffffffff81200000ull + (r->rip + i * 977) % 0x100000 : 0;
	r->gpa += r->step;
	r->left--;
}

int main(int argc, char **argv)
{
	const u64 n = argc > 2 ? strtoull(argv[2], NULL, 0) : 25000000;
	const struct writer_opts opts = {.start_mono_ns = 1,
					 .start_real_ns = 1700000000000000000ull};
	struct event_mmio ev = {.h = {.tid = 4242, .kind = EVENT_mmio}};
	struct event_cover cover = {.h = {.tid = 4242, .kind = EVENT_cover, .vcpu = VCPU_NONE},
				    .origin = ORIGIN_VCPU,
				    .on = 1,
				    .size = 0x80000000};
	struct run run = {0};
	struct writer *w;
	struct timespec t0, t1;

	if (argc < 2) {
		fprintf(stderr, "usage: gen_synthetic FILE [EVENTS]\n");
		return 2;
	}
	const int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int err = fd < 0 ? -errno : writer_open(&w, fd, &opts);

	if (err) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	writer_meta(w, "vm.args", "synthetic");
	err = writer_put(w, &cover.h, NULL);
	cover.origin = ORIGIN_VIRTQUEUE;
	cover.size = 0; /* everywhere */
	if (!err)
		err = writer_put(w, &cover.h, NULL);
	for (u64 i = 0; i < n && !err; i++) {
		if (run.left == 0)
			run_next(&run);
		ev.h.t_ns += run.pace_ns + rnd() % 32 + (rnd() % 200 == 0 ? rnd() % 8000 : 0);
		ev.h.tseq++;
		event_fill(&ev, &run);
		if (i == n / 2) {
			ev.gpa = TARGET_GPA;
			ev.len = 1;
			memset(ev.bytes + 1, 0, sizeof(ev.bytes) - 1);
		}
		err = writer_put(w, &ev.h, NULL);
	}
	const int close_err = writer_close(w);

	clock_gettime(CLOCK_MONOTONIC, &t1);
	if (err || close_err) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(err ? -err : -close_err));
		return 1;
	}
	const double ns = (double)(t1.tv_sec - t0.tv_sec) * 1e9 + (double)(t1.tv_nsec - t0.tv_nsec);

	printf("%llu events, %.1f ns an event\n", (unsigned long long)n, ns / (double)n);
	return 0;
}
