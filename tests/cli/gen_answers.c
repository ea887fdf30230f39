// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes a small trace in which every verdict of this version has a place, for the tests of the
 * reading commands: gen_answers FILE
 *
 *	0x1000..0x1100	watched throughout; 'A' at first
 *	  0x1008+8	a store in 64-bit mode, with instruction and stack; sequence number S
 *	  0x1010+4	three stores, between them the mark "milestone", behind them a reset
 *	  0x1040+32	virtio-blk, sector 77, its bytes captured
 *	  0x1080+16	virtio-blk, sector 78, its bytes not captured
 *	  0x10f8+8	what follows a store that crosses out of the range: 0x10fc+8
 *	0x3000..0x3100	watched at first, opened again: a page table
 *	0x5000..0x5100	watched, and 12 events on it lost
 *	elsewhere	not watched
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/writer.h"

static struct writer *writer;
static u64 now_ns;

static void put(struct event *ev, enum event_kind kind, u16 vcpu)
{
	static u32 tseq;
	int err;

	now_ns += 1000;
	ev->t_ns = now_ns;
	ev->kind = kind;
	ev->vcpu = vcpu;
	ev->tid = vcpu == VCPU_NONE ? 0 : 4711;
	ev->tseq = ev->tid ? ++tseq : 0;
	err = writer_put(writer, ev, NULL);
	if (err) {
		fprintf(stderr, "gen_answers: kind %d: %s\n", kind, strerror(-err));
		exit(1);
	}
}

static void cover(enum origin origin, bool on, enum why why, u64 gpa, u64 size)
{
	struct event_cover ev = {.origin = origin, .on = on, .why = why, .gpa = gpa, .size = size};

	put(&ev.h, EVENT_cover, VCPU_NONE);
}

static void content(u64 gpa, enum content_why why, u64 req, int byte, u16 len)
{
	struct event_content ev = {.gpa = gpa, .why = why, .req = req, .len = len};

	memset(ev.data, byte, len);
	put(&ev.h, EVENT_content, VCPU_NONE);
}

static void store(u64 gpa, u8 len, u64 value, u64 rip, u32 boot)
{
	struct event_mmio ev = {
		.h = {.boot = boot},
		.gpa = gpa,
		.len = len,
		.write = 1,
		.done = MMIO_DONE_EXITED,
		.rip = rip,
		.cr3 = 0x9000,
		.rsp = 0x7f00,
		.rbp = 0x7f40,
		.mode = CPU_MODE_PROT64,
		.insn_len = 3,
		.insn = {0x48, 0x89, 0x07},
		.nret = 2,
		.ret = {rip + 0x40, 0xffffffff81000123},
	};

	memcpy(ev.bytes, &value, len);
	put(&ev.h, EVENT_mmio, 0);
}

static void disk_read(u64 req, u64 sector, u64 gpa, u32 len)
{
	struct event_vq_pop pop = {.req = req, .nout = 1, .nin = 2, .head_len = 16};
	struct event_vq_push push = {.req = req, .written = len + 1, .nin = 2, .head_len = 16};
	struct event_vq_sg sg = {.req = req, .write = 1, .gpa = gpa, .len = len};

	memcpy(pop.header + 8, &sector, sizeof(sector));
	memcpy(push.header + 8, &sector, sizeof(sector));
	put(&pop.h, EVENT_vq_pop, VCPU_NONE);
	put(&push.h, EVENT_vq_push, VCPU_NONE);
	now_ns -= 1000; /* one moment */
	put(&sg.h, EVENT_vq_sg, VCPU_NONE);
}

static void story(void)
{
	struct event_vm vm = {.pid = 4700};
	struct event_vq_device disk = {.device_id = 2};
	struct event_mark mark = {.name_len = 9, .name = "milestone"};
	struct event_reset reset = {.reason = RESET_CAUSE_GUEST_RESET};
	struct event_lost lost = {
		.count = 12, .gpa = 0x5000, .gpa_end = 0x5100, .origins = 1 << ORIGIN_VCPU};
	struct event_probe probe = {.how = PROBE_HOW_TRACEPOINT,
				    .origin = ORIGIN_VCPU,
				    .name_len = 15,
				    .name = "exits__kvm_mmio"};
	struct event_change change = {
		.what = CHANGE_WHAT_SLOT_SPLIT, .gpa = 0x1000, .size = 0x1000, .count = 1};

	put(&vm.h, EVENT_vm, VCPU_NONE);
	put(&disk.h, EVENT_vq_device, VCPU_NONE);
	put(&change.h, EVENT_change, VCPU_NONE);
	cover(ORIGIN_VIRTQUEUE, true, WHY_NONE, 0, 0);
	cover(ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x100);
	cover(ORIGIN_VCPU, true, WHY_NONE, 0x3000, 0x100);
	cover(ORIGIN_VCPU, true, WHY_NONE, 0x5000, 0x100);
	content(0x1000, CONTENT_WHY_START, 0, 'A', 0x100);
	store(0x1008, 8, 0x1122334455667788, 0xffffffff81000100, 0);
	store(0x1010, 4, 1, 0xffffffff81000200, 0);
	put(&mark.h, EVENT_mark, VCPU_NONE);
	store(0x1010, 4, 2, 0xffffffff81000200, 0);
	disk_read(1, 77, 0x1040, 32);
	content(0x1040, CONTENT_WHY_DEVICE, 1, 'd', 32);
	disk_read(2, 78, 0x1080, 16);
	cover(ORIGIN_VCPU, false, WHY_PAGE_TABLE, 0x3000, 0x100);
	lost.t0_ns = now_ns;
	lost.t1_ns = now_ns + 500;
	put(&lost.h, EVENT_lost, VCPU_NONE);
	put(&reset.h, EVENT_reset, VCPU_NONE);
	store(0x1010, 4, 3, 0xffffffff81000300, 1);
	store(0x10fc, 8, 0x4242424242424242, 0xffffffff81000400, 1);
	put(&probe.h, EVENT_probe, VCPU_NONE);
}

int main(int argc, char **argv)
{
	const struct writer_opts opts = {.start_mono_ns = 1000000000,
					 .start_real_ns = 1700000000000000000};
	int fd = argc == 2 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
	int err = fd < 0 ? -errno : writer_open(&writer, fd, &opts);

	if (!err)
		err = writer_meta(writer, "vmm.args", "qemu-system-x86_64 -name 'two words'");
	if (err) {
		fprintf(stderr, "usage: gen_answers FILE (%s)\n", strerror(-err));
		return 2;
	}
	story();
	err = writer_close(writer);
	if (err)
		fprintf(stderr, "gen_answers: %s: %s\n", argv[1], strerror(-err));
	return err ? 1 : 0;
}
