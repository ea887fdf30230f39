// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes the golden traces into a directory. Run by hand only (make golden-update): what old files
 *say must not change, so a difference is a break of the format, not a reason to run this.
 *
 *	gen_golden DIRECTORY [STORES]
 *
 * With a number only stores.vmb is written, with so many stores: a long one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/chunk.h"
#include "formats/delta.h"
#include "formats/desc.h"
#include "formats/writer.h"
#include "tests/unit/guest_stores.h"

static void die(const char *what, int err)
{
	fprintf(stderr, "gen_golden: %s: %s\n", what, strerror(-err));
	exit(1);
}

static struct writer *begin(const char *name, u32 chunk_events)
{
	const struct writer_opts opts = {.start_mono_ns = 1000000000,
					 .start_real_ns = 1700000000000000000ull,
					 .chunk_events = chunk_events,
					 .stores = strcmp(name, "stores.vmb") == 0};
	const int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
	struct writer *w = NULL;
	const int err = fd < 0 ? -errno : writer_open(&w, fd, &opts);

	if (err)
		die(name, err);
	return w;
}

static void put(struct writer *w, const void *ev)
{
	const int err = writer_put(w, ev, NULL);

	if (err)
		die("put", err);
}

/* Closes, and gives the file a UUID that is always the same. */
static void finish(struct writer *w, const char *name)
{
	struct file_head h;
	const int err = writer_close(w);
	const int fd = open(name, O_RDWR);

	if (err || fd < 0 || pread(fd, &h, sizeof(h), 0) != sizeof(h))
		die(name, err ? err : -errno);
	for (unsigned i = 0; i < sizeof(h.uuid); i++)
		h.uuid[i] = (u8)(i * 17);
	file_head_seal(&h);
	if (pwrite(fd, &h, sizeof(h), 0) != sizeof(h))
		die(name, -errno);
	close(fd);
}

static struct event_mmio store(u64 i)
{
	struct event_mmio ev = {
		.h = {.t_ns = 5000 + 555 * i + i * i % 7,
		      .tid = 4711,
		      .tseq = (u32)(i + 1),
		      .kind = EVENT_mmio},
		.gpa = 0xb8000 + 2 * i,
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

	return ev;
}

/* The worked example of docs/format.md. */
static void gen_tiny(void)
{
	struct writer *w = begin("tiny.vmb", 0);
	const struct event_mark mark = {
		.h = {.t_ns = 4000, .kind = EVENT_mark, .vcpu = VCPU_NONE, .tseq = 1},
		.name_len = 4,
		.name = "boot"};

	writer_meta(w, "vm.args", "qemu");
	put(w, &mark);
	for (u64 i = 0; i < 3; i++) {
		const struct event_mmio ev = store(i);

		put(w, &ev);
	}
	finish(w, "tiny.vmb");
}

/* A string store, a spike in it, and another site. */
static void gen_stos(void)
{
	struct writer *w = begin("stos.vmb", 50);

	for (u64 i = 0; i < 120; i++) {
		struct event_mmio ev = store(i);

		if (i >= 90)
			ev.h.t_ns += 7000;
		if (i % 20 == 19) {
			ev.rip = 0xffffffff81000123ull;
			ev.gpa = 0x3fffffff000ull + i;
			ev.len = 16;
			memset(ev.bytes, (int)i, 16);
			ev.nret = 8;
			for (unsigned k = 0; k < 8; k++)
				ev.ret[k] = ev.rip + k * 0x100;
		}
		put(w, &ev);
	}
	finish(w, "stos.vmb");
}

/* Every kind, regular and not, in small chunks of all streams. */
static void gen_kinds(void)
{
	static union any_event last[EVENT_MAX];
	struct writer *w = begin("kinds.vmb", 24);
	u64 seed = 88172645463325252ull, t_ns = 0;

	writer_meta(w, "key", "first");
	writer_meta(w, "utf8", "\xc3\xa9t\xc3\xa9");
	for (unsigned i = 0; i < 140; i++) {
		unsigned kind = 1 + (unsigned)(random_next(&seed) % EVENT_change);

		if (kind == EVENT_content && i % 5)
			kind = EVENT_pio;
		random_event(&seed, kind, &last[kind]);
		if (kind == EVENT_content && last[kind].content.len > 96) {
			memset(last[kind].content.data + 96, 0,
			       sizeof(last[kind].content.data) - 96);
			last[kind].content.len = 96;
		}
		t_ns += last[kind].h.t_ns % 977;
		union any_event ev = last[kind];

		ev.h.t_ns = t_ns;
		put(w, &ev);
	}
	writer_meta(w, "key", "last");
	finish(w, "kinds.vmb");
}

/* The kinds of the kvm_mmu probes, as a guest's first touches make them. */
static void gen_mmu(void)
{
	struct writer *w = begin("mmu.vmb", 0);
	const struct event_mapped_writable found = {
		.h = {.t_ns = 9000, .tid = 4711, .tseq = 13, .kind = EVENT_mapped_writable},
		.gpa = 0xfffc0000,
		.spte = 0x8000000123456867ull,
		.level = 1,
		.what = WRITABLE_READONLY_SLOT,
		.slot = 3,
		.flags = 2,
		.rip = 0xfff0,
		.cs_base = 0xffff0000,
	};

	for (u32 i = 0; i < 3; i++) {
		const u64 gpa = 0x100000 + 4096 * i;
		const struct event h = {.t_ns = 1000 * (i + 1), .tid = 4711, .tseq = 4 * i + 1};
		struct event_page_fault fault = {.h = h,
						 .gpa = gpa,
						 .error = 0x100000006,
						 .rip = 0x8000 + i % 2,
						 .cr3 = 0x9000};
		struct event_spte spte = {.h = h,
					  .gpa = gpa,
					  .level = 1,
					  .mmu = MMU_SHADOW,
					  .spte = 0x8000000000000867ull | gpa,
					  .rip = 0x8000 + i % 2,
					  .cr3 = 0x9000};
		struct event_dirty dirty = {.h = h,
					    .gpa = gpa,
					    .offset = gpa >> 12,
					    .slot = 1,
					    .via = DIRTY_VIA_RING,
					    .rip = 0x8000,
					    .cpl = 3};
		struct event_zap zap = {.h = h,
					.gpa = gpa,
					.size = 4096,
					.hva = 0x7f0000000000 + gpa,
					.what = ZAP_NOTIFIER,
					.cpl = 0xff};
		struct event_fast_fault fast = {.h = h,
						.gpa = gpa,
						.error = 0x100000007,
						.result = FAST_RESULT_FIXED,
						.old = 0x865 | gpa,
						.spte = 0x867 | gpa,
						.rip = 0x8003};

		fault.h.kind = EVENT_page_fault;
		spte.h.kind = EVENT_spte;
		spte.h.tseq++;
		dirty.h.kind = EVENT_dirty;
		dirty.h.tseq += 2;
		fast.h.kind = EVENT_fast_fault;
		fast.h.tseq += 3;
		zap.h.kind = EVENT_zap;
		zap.h.vcpu = VCPU_NONE;
		zap.h.tid = 17;
		zap.h.tseq = 0;
		put(w, &fault);
		put(w, &spte);
		put(w, &dirty);
		put(w, &fast);
		put(w, &zap);
	}
	put(w, &found);
	finish(w, "mmu.vmb");
}

/* Stores of three vCPUs, and what else there is of RAM, between them. */
static void gen_stores(u64 stores)
{
	static struct guest g = {.seed = 88172645463325252ull, .t_ns = 1000, .burst = 14};
	static struct guest_burst b;
	struct writer *w = begin("stores.vmb", 0);
	struct stores_encoder *e = writer_stores(w);
	u64 n = 0;

	if (!e)
		die("stores", -ENOMEM);
	writer_meta(w, "vm.args", "qemu");
	for (unsigned i = 0; n < stores; i++) {
		struct event_mark mark = {.h = {.kind = EVENT_mark, .vcpu = VCPU_NONE},
					  .name_len = 4,
					  .name = "mark"};
		struct event_unseen unseen = {.h = {.kind = EVENT_unseen, .vcpu = VCPU_NONE},
					      .gpa = 0x1000 * i + 8,
					      .t0_ns = g.t_ns,
					      .why = WHY_EMULATOR,
					      .len = 3,
					      .data = {1, 2, (u8)i}};
		struct event_compared compared = {.h = {.kind = EVENT_compared, .vcpu = VCPU_NONE},
						  .size = 1 << 20,
						  .t0_ns = g.t_ns,
						  .differed = 3};

		guest_next(&g, &b);
		int err = guest_tell(&b, e);

		if (!err)
			err = writer_put_stores(w, b.lane, b.raw, b.n);
		if (err)
			die("stores", err);
		n += b.n;
		mark.h.t_ns = unseen.h.t_ns = compared.h.t_ns = g.t_ns;
		if (i % 4 == 1)
			put(w, &mark);
		if (i % 8 == 2) {
			put(w, &unseen);
			put(w, &compared);
		}
		if (i == 20) /* what follows is in a chunk of its own */
			writer_seal(w);
	}
	finish(w, "stores.vmb");
}

#define VERSION_PAGES 4u

static void put_state(struct writer *w, u64 t_ns)
{
	static const u8 origins[] = {ORIGIN_VCPU, ORIGIN_KVM, ORIGIN_VIRTQUEUE};

	for (size_t i = 0; i < sizeof(origins); i++) {
		const struct event_cover cover = {
			.h = {.t_ns = t_ns, .kind = EVENT_cover, .vcpu = VCPU_NONE},
			.origin = origins[i],
			.on = 1,
			.size = VERSION_PAGES * DELTA_PAGE,
		};

		put(w, &cover);
	}
}

static void put_compared(struct writer *w, u64 t_ns)
{
	const struct event_compared ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_compared, .vcpu = VCPU_NONE},
		.size = VERSION_PAGES * DELTA_PAGE,
	};

	put(w, &ev);
}

static void put_content(struct writer *w, u64 t_ns, enum content_why why, u64 gpa, const u8 *bytes,
			u16 len)
{
	struct event_content ev = {.h = {.t_ns = t_ns, .kind = EVENT_content, .vcpu = VCPU_NONE},
				   .gpa = gpa,
				   .why = why,
				   .req = why == CONTENT_WHY_DEVICE ? 1 : 0,
				   .len = len};

	memcpy(ev.data, bytes, len);
	put(w, &ev);
}

/* Pages mode: versions and keyframes of three pages, and between them what a device left. The
 * fourth page is never written. With `wrong` a byte of a delta is another one. */
static void gen_versions(const char *name, bool wrong)
{
	static u8 ram[VERSION_PAGES][DELTA_PAGE], was[DELTA_PAGE];
	struct writer *w = begin(name, 24);
	u64 seed = 88172645463325252ull, t_ns = 1000;

	memset(ram, 0, sizeof(ram));
	put_state(w, t_ns);
	memset(ram[1], 'A', 512);
	put_content(w, t_ns, CONTENT_WHY_START, DELTA_PAGE, ram[1], DELTA_PAGE);
	put_compared(w, t_ns);
	for (unsigned i = 0; i < 60; i++) {
		const u32 page = (u32)(random_next(&seed) % (VERSION_PAGES - 1));
		struct event_version ev = {
			.h = {.kind = EVENT_version, .vcpu = VCPU_NONE},
			.gpa = (u64)page * DELTA_PAGE,
			.t0_ns = t_ns,
			.log_ns = t_ns - 500,
			.how = i % 7 ? VERSION_HOW_LOG : VERSION_HOW_DEVICE,
			.torn = i == 20,
		};
		const struct event_mark mark = {
			.h = {.t_ns = t_ns, .kind = EVENT_mark, .vcpu = VCPU_NONE},
			.name_len = 4,
			.name = "half"};

		if (i % 9 == 8) { /* up to the end of the page and of the one before it */
			const u64 gpa = ((u64)page + 1) * DELTA_PAGE - 24;
			u8 *left = &ram[0][0] + gpa;

			memset(left, (int)i, 24);
			put_content(w, t_ns + 400, CONTENT_WHY_DEVICE, gpa, left, 24);
		}
		memcpy(was, ram[page], sizeof(was));
		for (unsigned k = 0; k <= i % 5; k++)
			ram[page][random_next(&seed) % DELTA_PAGE] ^= (u8)(i + 1);
		t_ns += 1000 + i;
		ev.h.t_ns = t_ns;
		ev.sum = delta_sum(ram[page]);
		ev.len = (u16)delta_make(was, ram[page], ev.data);
		if (wrong && i == 30)
			ev.data[ev.len - 1] ^= 0x20;
		put(w, &ev);
		if (i % 16 == 15)
			put_content(w, t_ns, CONTENT_WHY_KEYFRAME, ev.gpa, ram[page], DELTA_PAGE);
		if (i == 30)
			put(w, &mark);
	}
	put_compared(w, t_ns + 1000);
	finish(w, name);
}

/* `to` is `from` up to `size` bytes (0: all), then changed at off. */
static void derive(const char *from, const char *to, size_t size, long off, u8 byte)
{
	static u8 bytes[1 << 20];
	FILE *f = fopen(from, "rb");
	size_t n = f ? fread(bytes, 1, sizeof(bytes), f) : 0;
	const int fd = open(to, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (f)
		fclose(f);
	if (n == 0 || fd < 0)
		die(to, -errno);
	if (size && size < n)
		n = size;
	if (off >= 0)
		bytes[off] = byte;
	if (write(fd, bytes, n) != (ssize_t)n)
		die(to, -errno);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 2 || argc > 3 || chdir(argv[1])) {
		fprintf(stderr, "usage: gen_golden DIRECTORY [STORES]\n");
		return 2;
	}
	if (argc == 3) {
		gen_stores(strtoull(argv[2], NULL, 0));
		return 0;
	}
	gen_tiny();
	gen_stos();
	gen_kinds();
	gen_mmu();
	gen_stores(300);
	gen_versions("versions.vmb", false);
	gen_versions("wrong-sum.vmb", true);
	struct stat st;

	if (stat("kinds.vmb", &st))
		die("kinds.vmb", -errno);
	derive("kinds.vmb", "cut.vmb", (size_t)st.st_size / 2, -1, 0);
	derive("kinds.vmb", "damaged-body.vmb", 0, 1000, 0x55);
	derive("kinds.vmb", "damaged-index.vmb", 0, st.st_size - 60, 0x55);
	derive("tiny.vmb", "newer.vmb", 0, offsetof(struct file_head, version_major), 2);
	derive("tiny.vmb", "foreign.vmb", 0, 1, 'X');
	return 0;
}
