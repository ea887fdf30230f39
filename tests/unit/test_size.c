// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How small a trace is: the stores of a SeaBIOS boot, a `rep stosw` over the text screen with some
 * hundred other accesses, take at most 1.3 bytes each with all their fields and the whole file.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/writer.h"
#include "tests/unit/random_event.h"

static u64 seed = 88172645463325252ull;

/* Time between two stores of the string instruction as measured: mostly 540 to 575 ns, in stretches
 * where the host is busy 600 to 1100, and now and then some microseconds. */
static u64 pace(u64 i)
{
	const u64 jitter = random_next(&seed) % 16 + random_next(&seed) % 16;

	if (random_next(&seed) % 300 == 0)
		return 3000 + random_next(&seed) % 9000;
	return i / 900 % 4 == 3 ? 600 + random_next(&seed) % 256 + 4 * jitter : 541 + jitter;
}

static void store_fill(struct event_mmio *ev, u64 i)
{
	*ev = (struct event_mmio){
		.h = {.t_ns = ev->h.t_ns + pace(i),
		      .tid = 4711,
		      .tseq = (u32)i,
		      .kind = EVENT_mmio},
		.gpa = 0xb8000 + 2 * i % 0x8000,
		.len = 2,
		.write = 1,
		.done = MMIO_DONE_EXITED,
		.bytes = {0x20, 0x07},
		.rip = 0x3c7,
		.cs_base = 0xc0000,
		.rsp = 0x6ee0,
		.rbp = 0x6f00,
		.mode = CPU_MODE_REAL,
		.insn_len = 2,
		.nret = 1,
		.insn = {0xf3, 0xab},
		.ret = {0x1234},
	};
	if (i % 40 != 0)
		return;
	/* A device's register, read from one of many places. */
	ev->rip = 0xf0000 + random_next(&seed) % 60 * 0x51;
	ev->gpa = 0xfebf0000 + random_next(&seed) % 256;
	ev->len = 1;
	ev->write = 0;
	ev->bytes[0] = (u8)(random_next(&seed) % 3);
	ev->bytes[1] = 0;
	ev->rsp -= ev->rip % 7 * 16;
}

static void test_seabios(void **state)
{
	char path[] = "/tmp/vmblame-size-XXXXXX";
	const int fd = mkstemp(path);
	const struct writer_opts opts = {.start_mono_ns = 1};
	struct event_mmio ev = {0};
	struct writer *w;
	struct stat st;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(writer_open(&w, fd, &opts), 0);
	for (unsigned i = 0; i < 8; i++) {
		const struct event_memslot slot = {.h = {.t_ns = i, .kind = EVENT_memslot},
						   .gpa = i << 20,
						   .size = 1 << 20,
						   .hva = 0x7f0000000000 + (i << 20)};

		assert_int_equal(writer_put(w, &slot.h, NULL), 0);
	}
	writer_meta(w, "vm.args", "qemu-system-x86_64 -accel kvm -m 64 -nodefaults");
	for (u64 i = 1; i <= 20000; i++) {
		store_fill(&ev, i);
		assert_int_equal(writer_put(w, &ev.h, NULL), 0);
	}
	assert_int_equal(writer_close(w), 0);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
	print_message("# %.3f bytes a store\n", (double)st.st_size / 20000);
	assert_true(st.st_size <= 26000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seabios),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
