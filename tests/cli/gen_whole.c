// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes a small trace of full mode and a file that lay in its memory, for the tests of the
 *commands that look at all of memory: gen_whole TRACE FILE. Number N of the trace is at N us.
 *
 *	 1	guest stores are observed
 *	 2	"hello world" at 0x1000, from the beginning
 *	 3	compared
 *	 4	0x2000: u8 0x5a, by the instruction at 0x401000
 *	 5	0x2010: u16 0x1234
 *	 6	0x2020: u32 0xdeadbeef
 *	 7, 8	0x2ffc, 0x3000: together u64 0x1122334455667788
 *	 9	the mark "middle"
 *	10, 11	0x2020: u32 0, and 0xdeadbeef again
 *	12..15	FILE comes to 0x8000, unseen: a page, a page, one with a damaged byte (0xa123), the
 *		last 200 bytes to 0xc000; the block at 0xb000 is zero
 *	16	compared
 *	17	0x8010: a byte of FILE, damaged by the instruction at 0x402000
 *	18	compared
 *	19	the mark "end"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/writer.h"

#define FILE_SIZE (4 * 4096 + 200)

static struct writer *writer;
static u64 now_ns;
static u8 file[5 * 4096];

static void need(int err, const char *what)
{
	if (err) {
		fprintf(stderr, "gen_whole: %s: %s\n", what, strerror(-err));
		exit(1);
	}
}

static void put(struct event *ev, enum event_kind kind)
{
	now_ns += 1000;
	ev->t_ns = now_ns;
	ev->kind = kind;
	ev->vcpu = VCPU_NONE;
	ev->boot = BOOT_UNKNOWN;
	need(writer_put(writer, ev, NULL), "writer_put");
}

static void store(u64 gpa, u8 size, u64 value, u64 pc)
{
	static u32 id;
	const struct store_site site = {.pc = pc, .size = size};
	const u64 gva = gpa + 0xffff888000000000;
	const struct store_raw raw = {.gva = gva, .value = value, .site = ++id};
	struct stores_encoder *e = writer_stores(writer);

	now_ns += 1000;
	need(e ? 0 : -ENOMEM, "writer_stores");
	need(stores_site(e, id, &site), "stores_site");
	need(stores_map(e, 0, gva & ~0xfffull, gpa & ~0xfffull, false), "stores_map");
	stores_time(e, now_ns);
	stores_thread(e, 4711, 0);
	need(writer_put_stores(writer, 0, &raw, 1), "writer_put_stores");
}

static void compared(void)
{
	static u64 before_ns;
	struct event_compared ev = {.size = 1 << 24, .t0_ns = before_ns};

	put(&ev.h, EVENT_compared);
	before_ns = now_ns;
}

static void unseen(u64 gpa, const u8 *bytes, u16 len)
{
	struct event_unseen ev = {.gpa = gpa, .t0_ns = 3000, .why = WHY_EMULATOR, .len = len};

	memcpy(ev.data, bytes, len);
	put(&ev.h, EVENT_unseen);
}

static void mark(const char *name)
{
	struct event_mark ev = {.name_len = (u8)strlen(name)};

	memcpy(ev.name, name, ev.name_len);
	put(&ev.h, EVENT_mark);
}

static void story(void)
{
	struct event_cover cover = {.origin = ORIGIN_VCPU, .on = 1};
	struct event_content hello = {
		.gpa = 0x1000, .why = CONTENT_WHY_START, .len = 11, .data = "hello world"};

	put(&cover.h, EVENT_cover);
	put(&hello.h, EVENT_content);
	compared();
	store(0x2000, 1, 0x5a, 0x401000);
	store(0x2010, 2, 0x1234, 0x401010);
	store(0x2020, 4, 0xdeadbeef, 0x401020);
	store(0x2ffc, 4, 0x55667788, 0x401030);
	store(0x3000, 4, 0x11223344, 0x401030);
	mark("middle");
	store(0x2020, 4, 0, 0x401040);
	store(0x2020, 4, 0xdeadbeef, 0x401050);
	unseen(0x8000, file, 4096);
	unseen(0x9000, file + 4096, 4096);
	file[0x2123] ^= 0xff;
	unseen(0xa000, file + 0x2000, 4096);
	unseen(0xc000, file + 0x4000, FILE_SIZE - 0x4000);
	compared();
	store(0x8010, 1, file[0x10] ^ 0xff, 0x402000);
	compared();
	mark("end");
}

static void file_write(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = (u8)(i / 4096 == 3 ? 0 : i * 7 + i / 251 + 1);
	if (fd < 0 || write(fd, file, FILE_SIZE) != FILE_SIZE)
		need(-errno, path);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct writer_opts opts = {
		.start_mono_ns = 1000000000, .start_real_ns = 1700000000000000000, .stores = true};

	if (argc != 3) {
		fputs("usage: gen_whole TRACE FILE\n", stderr);
		return 2;
	}
	file_write(argv[2]);
	const int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	need(fd < 0 ? -errno : writer_open(&writer, fd, &opts), argv[1]);
	story();
	need(writer_close(writer), argv[1]);
	return 0;
}
